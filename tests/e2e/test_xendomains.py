"""``xendomains`` on real guests, and ``xm`` as scripts of that kind call it and read what it says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.backends.test_libvirt_lifecycle import eventually, ticks
from tests.e2e.conftest import Bench, Writer
from tests.lab.fixtures import CHECKOUT, Outcome, Starter
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.private_libvirtd import PrivateLibvirtd

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]


class Host(NamedTuple):
    """A node with settings of xendomains, and an ``xm`` on the PATH for scripts."""

    bench: Bench

    @property
    def save(self) -> Path:
        return self.bench.directory / "save"

    @property
    def auto(self) -> Path:
        return self.bench.directory / "auto"

    @property
    def variables(self) -> dict[str, str]:
        directory = self.bench.directory
        return {
            "XMCOMPAT_URI": self.bench.node.uri, "PYTHONPATH": str(CHECKOUT), "LC_ALL": "C.UTF-8",
            "XMCOMPAT_ACCELERATOR": "tcg", "XENDOMAINS_CONFIG": f"{directory}/config",
            "XENDOMAINS_LOCKFILE": f"{directory}/lock", "PATH": f"{directory}/bin:{os.environ['PATH']}",
        }  # fmt: skip

    def configure(self, **settings: object) -> None:
        values = {"save": self.save, "auto": self.auto, "create_usleep": 0, "stop_maxwait": 30, **settings}
        text = "".join(f'XENDOMAINS_{name.upper()}="{value}"\n' for name, value in values.items())
        (self.bench.directory / "config").write_text(text)

    def run(self, *argv: str, timeout: float = 90.0) -> Outcome:
        command = self.bench.node.enter(list(argv), cwd=self.bench.directory, env=self.variables)
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        return Outcome(done.stdout, done.stderr, done.returncode)

    def xendomains(self, word: str) -> Outcome:
        return self.run(sys.executable, "-m", "xmcompat.xend.xendomains", word)

    def shell(self, script: str) -> Outcome:
        return self.run("bash", "-c", script)


@pytest.fixture
def host(bench: Bench) -> Host:
    made = Host(bench)
    for folder in (made.save, made.auto, bench.directory / "bin"):
        folder.mkdir(exist_ok=True)
    program = bench.directory / "bin/xm"
    program.write_text(f"#!{sys.executable}\nfrom xmcompat.xm.main import run\nrun()\n")
    program.chmod(0o755)
    made.configure()
    return made


def counting(host: Host, start: Starter, name: str) -> DomainInfo:
    """A guest that has come so far that it obeys its power button; NAME.log is what it says."""
    log = host.bench.directory / f"{name}.log"
    info = start(name, log=log)
    eventually(lambda: ticks(log) > 0)
    return info


def test_guests_go_and_come_with_their_host(
    host: Host, hypervisor: LibvirtKvm, start: Starter, pv: Writer
) -> None:
    """Two that count, one of them paused, and one of the auto directory."""
    logs = [host.bench.directory / f"{name}.log" for name in ("web1", "web2")]
    infos = [start(log.stem, log=log) for log in logs]
    eventually(lambda: all(ticks(log) > 2 for log in logs))
    hypervisor.pause(infos[1].uuid)
    assert host.xendomains("stop") == ("Stopping Xen domains: web1(save) web2(save)\n", "", 0)
    assert hypervisor.domains() == []
    assert sorted(path.name for path in host.save.iterdir()) == ["web1", "web2"]
    pv("db.cfg")
    (host.auto / "db").symlink_to(host.bench.directory / "db.cfg")
    assert host.xendomains("start") == ("Restoring Xen domains: web1 web2\nStarting auto Xen domains: db\n", "", 0)
    assert list(host.save.iterdir()) == []
    assert hypervisor.find("web1").state == DomainState.RUNNING
    assert hypervisor.find("web2").state == DomainState.PAUSED
    hypervisor.unpause(infos[1].uuid)
    for log in logs:
        count = ticks(log)
        eventually(lambda log=log, count=count: ticks(log) > count)  # type: ignore[misc]
        assert log.read_bytes().count(b"TICKROM-UP") == 1
    assert host.xendomains("status") == ("Checking for xendomains: db\n", "", 0)
    assert host.xendomains("start").stdout == "xendomains already running (lockfile exists)\n"


def test_guests_that_cannot_be_saved_are_shut_down_together(host: Host, hypervisor: LibvirtKvm, start: Starter) -> None:
    """There is no directory for them; the counting ROM obeys its power button."""
    (host.bench.directory / "file").touch()
    host.configure(save=host.bench.directory / "file/save")
    for name in ("web1", "web2"):
        counting(host, start, name)
    outcome = host.xendomains("stop")
    assert (outcome.status, hypervisor.domains()) == (0, [])
    assert outcome.stderr == f"Error: {host.bench.directory}/file/save: Not a directory; guests are not saved\n"
    assert " web1(shutdown)" in outcome.stdout
    assert " web2(shutdown)" in outcome.stdout


def test_a_guest_that_does_not_listen_is_named_when_the_time_is_over(
    host: Host, hypervisor: LibvirtKvm, pv: Writer
) -> None:
    host.configure(save="", stop_maxwait=1)
    pv("deaf.cfg")
    host.bench.xm("create", "-q", "deaf.cfg")
    begun = time.monotonic()
    outcome = host.xendomains("stop")
    assert (outcome.status, outcome.stderr) == (1, "Error: these guests are still there: deaf\n")
    assert time.monotonic() - begun < 15
    assert hypervisor.find("deaf").started


# -- scripts that call xm: the calls that such a script makes, and its way to read the answers

#: The ids and names of guests, from the lines of the long list that end after the value.
GUESTS = r"""
xm list -l | grep -E '\((domain|domid|name)' | while read -r line; do
    case "$line" in
        *'(domain'*) id=; name= ;;
        *'(domid '*) id=$(printf '%s\n' "$line" | sed -n 's/^.*(domid \([^()]*\))$/\1/p') ;;
        *'(name '*) name=$(printf '%s\n' "$line" | sed -n 's/^.*(name \([^()]*\))$/\1/p') ;;
    esac
    if [ -n "$id" ] && [ -n "$name" ] && [ "$id" != 0 ]; then echo "$id $name"; id=; name=; fi
done
"""


def test_a_script_reads_ids_and_names_from_the_long_list(host: Host, hypervisor: LibvirtKvm, start: Starter, pv: Writer) -> None:
    start("tick", paused=True)
    pv("web1.cfg")
    assert host.shell("xm create --quiet --defconfig web1.cfg").status == 0
    outcome = host.shell(GUESTS)
    wanted = {f"{hypervisor.find(name).domid} {name}" for name in ("tick", "web1")}
    assert set(outcome.stdout.splitlines()) == wanted
    assert outcome.stderr == ""


def test_a_script_reads_the_name_of_a_configuration_from_a_dry_run(host: Host, pv: Writer) -> None:
    path = pv("other-file.cfg")
    path.write_text(path.read_text().replace("'other-file'", "'web-1.example'"))
    script = r"xm create --quiet --dryrun --defconfig other-file.cfg | sed -n 's/^.*(name \(.*\))$/\1/p'"
    assert host.shell(script) == ("web-1.example\n", "", 0)


def test_a_script_saves_by_id_checks_the_first_bytes_and_restores(
    host: Host, hypervisor: LibvirtKvm, start: Starter
) -> None:
    log = host.bench.directory / "tick.log"
    info = start("tick", log=log)
    eventually(lambda: ticks(log) > 1)
    script = rf"""
    why=$(xm save {info.domid} save/tick 2>&1 >/dev/null) || echo "save: $why"
    for file in save/*; do
        if [ -f "$file" ] && [ "$(head -c 16 "$file" | head -n 1 2>/dev/null)" = LinuxGuestRecord ]; then
            why=$(xm restore "$file" 2>&1 >/dev/null) && rm "$file" || echo "restore: $why"
        fi
    done
    """
    assert host.shell(script) == ("", "", 0)
    assert hypervisor.find("tick").domid != info.domid
    assert list(host.save.iterdir()) == []


def test_a_script_shuts_one_down_and_then_all(host: Host, hypervisor: LibvirtKvm, start: Starter) -> None:
    info = counting(host, start, "tick1")
    counting(host, start, "tick2")
    assert host.shell(f"xm sysrq {info.domid} s").status in (0, 1)
    outcome = host.shell(f"xm shutdown {info.domid} --halt --wait")
    assert outcome == ("Domain tick1 terminated\nAll domains terminated\n", "", 0)
    outcome = host.shell("xm shutdown --all --halt --wait")
    assert outcome == ("Domain tick2 terminated\nAll domains terminated\n", "", 0)
    assert hypervisor.domains() == []


def test_a_watchdog_finds_xm_save_among_the_processes_and_ends_it(
    host: Host, node: PrivateLibvirtd, hypervisor: LibvirtKvm, start: Starter
) -> None:
    """As ``ps axlw`` shows it; QEMU is stopped, so that the save takes its time. Where QEMU was quicker all the same, the guest
    goes on from what was saved."""
    from tests.e2e.test_saving import qemu_of

    log = host.bench.directory / "slow.log"
    info = counting(host, start, "slow")
    qemu = qemu_of(node, info)
    os.kill(qemu, 19)
    try:
        script = f"""
        unset COLUMNS
        xm save {info.domid} save/slow >/dev/null 2>&1 &
        while ! ls save | grep -q unfinished; do sleep 0.1; done
        line=$(ps axlw | grep 'xm save' | grep -v grep)
        set -- $line
        kill $3
        echo "$line" | grep -c "xm save {info.domid} save/slow"
        """
        (host.bench.directory / "watchdog").write_text(script)  # its own command line is not to be found
        assert host.run("bash", "watchdog") == ("1\n", "", 0)
        time.sleep(0.5)
    finally:
        os.kill(qemu, 18)
    eventually(lambda: list(host.save.iterdir()) == [])
    assert hypervisor.find("slow").state == DomainState.RUNNING
    assert log.read_bytes().count(b"TICKROM-UP") == 1, "it never began anew"
    count = ticks(log)
    eventually(lambda: ticks(log) > count)


