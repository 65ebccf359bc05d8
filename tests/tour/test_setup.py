"""The set-up that ./tour and ./check share, with a system that is played; and the end of ./check."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

#: Plays dpkg-query, apt-cache and apt-get by files in $STATE: installed, known, and "server" for what update brings.
DPKG_QUERY = 'for name; do :; done; grep -qx "$name" "$STATE/installed" && printf installed\nexit 0\n'
APT_CACHE = """shift
for name; do grep -qx "$name" "$STATE/known" && printf '%s:\\n  Installed: (none)\\n  Candidate: 1.0\\n' "$name"; done
exit 0
"""
APT_GET = """echo "apt-get $*" >>"$STATE/calls"
case " $* " in
    *" update "*) [ -e "$STATE/offline" ] && exit 100; cp "$STATE/server" "$STATE/known" ;;
    *" install "*) [ -e "$STATE/stale" ] && { rm "$STATE/stale"; exit 100; }
        for name; do case $name in -* | *=* | install) ;; *) echo "$name" >>"$STATE/installed" ;; esac; done ;;
esac
"""

Installer = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    for name in ("installed", "known", "server", "calls"):
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.fixture
def install(state: Path) -> Installer:
    """Run install_packages with these names."""
    programs = state / "bin"
    programs.mkdir()
    for name, text in (("dpkg-query", DPKG_QUERY), ("apt-cache", APT_CACHE), ("apt-get", APT_GET), ("dpkg", "exit 0\n")):
        (programs / name).write_text(f"#!/bin/bash\n{text}")
        (programs / name).chmod(0o755)

    def run(*names: str, script: str = 'install_packages "$@"') -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "STATE": str(state), "PATH": f"{programs}:{os.environ['PATH']}"}
        return subprocess.run(
            ["bash", "-c", f"set -euo pipefail; . .setup/host.sh; {script}", "./tour", *names], cwd=CHECKOUT, env=environ,
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    return run


def calls(state: Path) -> list[str]:
    """What apt-get was asked for: the last words of each call."""
    return [line.split(" Dpkg::Use-Pty=0 ", 1)[1].rsplit("\n")[0] for line in (state / "calls").read_text().splitlines()]


def test_what_is_installed_is_left_alone(state: Path, install: Installer) -> None:
    (state / "installed").write_text("one\ntwo\n")
    assert install("one", "two").stdout == ""
    assert calls(state) == []


def test_only_what_is_missing_is_installed_and_lists_that_know_it_are_not_fetched(state: Path, install: Installer) -> None:
    (state / "installed").write_text("one\n")
    (state / "known").write_text("one\ntwo\n")
    done = install("one", "two")
    assert (done.returncode, done.stdout) == (0, "[setup] packages to install: two\n")
    assert calls(state) == ["install -y --no-install-recommends two"]


def test_lists_are_fetched_where_they_do_not_know_a_package(state: Path, install: Installer) -> None:
    (state / "server").write_text("one\n")
    assert install("one").returncode == 0
    assert calls(state) == ["update", "install -y --no-install-recommends one"]


def test_lists_that_are_stale_are_fetched_and_it_is_tried_again(state: Path, install: Installer) -> None:
    (state / "known").write_text("one\n")
    (state / "server").write_text("one\n")
    (state / "stale").write_text("")
    assert install("one").returncode == 0
    assert calls(state) == [
        "install -y --no-install-recommends one", "update", "install -y --no-install-recommends one",
    ]  # fmt: skip


AT_REST = """
systemctl() { echo "$*" >>"$STATE/units"; }
apt_get() { cat "$POLICY_RC_D" >"$STATE/policy_then"; "$POLICY_RC_D" || echo "$?" >"$STATE/answer"; }
install_at_rest "$@"
"""


def test_services_of_the_lab_are_not_started(state: Path, install: Installer, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = state / "policy-rc.d"
    monkeypatch.setenv("POLICY_RC_D", str(policy))
    (state / "known").write_text("one\n")
    done = install("one", script=AT_REST)
    assert (done.returncode, done.stderr) == (0, "")
    assert (state / "answer").read_text() == "101\n"
    assert not policy.exists()
    assert "disable -q rpcbind.socket" in (state / "units").read_text().splitlines()


@pytest.mark.parametrize(("there", "touched"), [(False, ["ssh.service", "ssh.socket"]), (True, [])])
def test_ssh_is_switched_off_only_where_it_was_installed_for_the_lab(
    state: Path, install: Installer, monkeypatch: pytest.MonkeyPatch, there: bool, touched: list[str]
) -> None:
    monkeypatch.setenv("POLICY_RC_D", str(state / "policy-rc.d"))
    (state / "known").write_text("one\nopenssh-server\n")
    (state / "installed").write_text("openssh-server\n" if there else "")
    assert install("one", "openssh-server", script=AT_REST).returncode == 0
    units = [line.split()[-1] for line in (state / "units").read_text().splitlines()]
    assert [unit for unit in units if unit.startswith("ssh")] == touched


def test_the_policy_of_the_administrator_stays(state: Path, install: Installer, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = state / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 104\n")
    policy.chmod(0o755)
    monkeypatch.setenv("POLICY_RC_D", str(policy))
    (state / "known").write_text("one\n")
    install("one", script=AT_REST)
    assert (state / "answer").read_text() == "104\n"
    assert policy.read_text() == "#!/bin/sh\nexit 104\n"


def test_no_service_is_touched_where_nothing_is_missing(state: Path, install: Installer) -> None:
    (state / "installed").write_text("one\n")
    assert install("one", script=AT_REST).returncode == 0
    assert not (state / "units").exists()


def test_the_policy_goes_also_where_packages_cannot_be_had(
    state: Path, install: Installer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLICY_RC_D", str(state / "policy-rc.d"))
    done = install("one", script='install_at_rest "$@"')
    assert done.returncode == 1
    assert "apt knows no package 'one'" in done.stderr
    assert not (state / "policy-rc.d").exists()


def test_a_package_that_nobody_knows_is_one_line(state: Path, install: Installer) -> None:
    done = install("one")
    assert (done.returncode, done.stderr) == (1, "tour: apt knows no package 'one'; on Ubuntu, enable 'universe'\n")


def test_without_a_network_it_says_so(state: Path, install: Installer) -> None:
    (state / "offline").write_text("")
    done = install("one")
    assert done.returncode == 1
    assert done.stderr == "tour: apt-get update failed: is there a network, and are apt's sources right?\n"


def test_without_root_and_sudo_it_says_so(state: Path, install: Installer) -> None:
    script = 'id() { echo 1000; }; command() { [ "$2" != sudo ]; }; as_root apt-get update'
    done = install(script=script)
    assert (done.returncode, done.stderr) == (
        1, "tour: 'apt-get' must run as root, and there is no sudo here; become root and try again\n",
    )  # fmt: skip
    assert calls(state) == []


def test_an_option_that_is_none_is_refused_before_anything_is_done() -> None:
    done = subprocess.run(["./tour", "--kep"], cwd=CHECKOUT, capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ./tour [--keep | --clean]\n")


@pytest.fixture
def summary() -> ModuleType:
    spec = importlib.util.spec_from_file_location("summary", CHECKOUT / ".setup/summary.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RESULTS = """<testsuites><testsuite>
<testcase classname="tests.a" name="good"/>
<testcase classname="tests.a" name="left"><skipped message="no KVM"/></testcase>
{more}</testsuite></testsuites>"""


def test_the_end_of_a_check_counts_and_names_what_could_not_run(summary: ModuleType) -> None:
    read = summary.read(RESULTS.format(more=""))
    assert read.text() == (
        "[check] what could not run, and why:\n  tests.a::left: no KVM\n\n1 passed, 0 failed, 1 skipped"
    )
    assert read.succeeded({})
    assert not read.succeeded({"CI": "true"})


def test_failures_and_errors_fail_it_and_so_do_no_tests_at_all(summary: ModuleType) -> None:
    bad = '<testcase name="b"><failure/></testcase><testcase name="c"><error/></testcase>'
    read = summary.read(RESULTS.format(more=bad))
    assert read.text().endswith("\n1 passed, 2 failed, 1 skipped")
    assert not read.succeeded({})
    assert not summary.read("<testsuites/>").succeeded({})


def test_where_nothing_was_left_out_the_last_line_is_short(summary: ModuleType) -> None:
    read = summary.read('<testsuite><testcase name="a"/></testsuite>')
    assert read.text() == "[check] no test was left out\n\n1 passed, 0 failed"
    assert read.succeeded({"CI": "true"})
