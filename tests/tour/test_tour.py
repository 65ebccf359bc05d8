"""The tour itself, with a real guest: where no libvirtd answers, where one does, kept, cleaned, stopped and failing."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab.fixtures import CHECKOUT
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.config.load import load
from xmcompat.disk_needs import FOLDER
from xmcompat.errors import XmError
from xmcompat.guest import KernelBoot
from xmcompat.notes import Fate
from xmcompat.tour import places
from xmcompat.tour.guest import GuestFiles, build_guest
from xmcompat.tour.packages import default_cache
from xmcompat.tour.places import SYSTEM_BRIDGE
from xmcompat.tour.program import main, parse
from xmcompat.tour.walk import MAC, configuration

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(400)]


class Ended(NamedTuple):
    status: int
    stdout: str
    stderr: str


class Tour(NamedTuple):
    """Runs the tour with its files in DIRECTORY."""

    directory: Path

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "xmcompat.tour", "--directory", str(self.directory), *words]

    def start(self, argv: Sequence[str], **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            argv, cwd=CHECKOUT, env={**os.environ, "LC_ALL": "C.UTF-8", **env}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, *words: str, argv: Sequence[str] = (), **env: str) -> Ended:
        process = self.start(argv or self.argv(*words), **env)
        try:
            stdout, stderr = process.communicate(timeout=300)
        except BaseException:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=60)
            raise
        return Ended(process.returncode, stdout, stderr)


@pytest.fixture
def tour(lab_directory: Path) -> Iterator[Tour]:
    tour = Tour(lab_directory / "tour")
    yield tour
    libvirtd = tour.directory / "libvirtd"
    try:
        PrivateLibvirtd.at(libvirtd).stop()
    except XmError:
        assert not libvirtd.exists()
    shutil.rmtree(tour.directory, ignore_errors=True)


def commands(stdout: str) -> list[str]:
    return [line for line in stdout.splitlines() if line.startswith("# xm ")]


def whole(config: Path) -> list[str]:
    return [
        f"# xm create {config}", "# xm list", "# xm console tour", "# xm pause tour", "# xm list tour",
        "# xm unpause tour", "# xm list tour", "# xm list -l tour", "# xm uptime",
    ]  # fmt: skip


def test_without_a_libvirtd_it_goes_through_a_guests_whole_life_and_leaves_nothing(tour: Tour) -> None:
    config = tour.directory / "tour.cfg"
    status, stdout, stderr = tour.run()
    assert (status, stderr) == (0, ""), stdout
    assert commands(stdout) == [*whole(config), "# xm shutdown -w tour", "# xm list"]
    assert f"# export XMCOMPAT_URI='{PrivateLibvirtd(tour.directory / 'libvirtd').uri}'\n" in stdout
    assert "\ntour login: root\n" in stdout
    assert "# cat /proc/cmdline\nroot=/dev/vda2 ro quiet" in stdout
    assert "Domain tour terminated\nAll domains terminated\n" in stdout
    assert "\x1b" not in stdout
    assert not tour.directory.exists()


def held(tour: Tour) -> list[str]:
    """What this host still holds for the disks of its guest, by name."""
    here = os.fsencode(tour.directory)
    found = []
    for path in Path(FOLDER).glob("*/*"):
        with suppress(FileNotFoundError):  # others' come and go
            found += [str(path)] if path.is_file() and here in path.read_bytes() else []
    return found


def test_a_kept_guest_runs_until_it_is_cleaned_away(tour: Tour, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(default_cache(), cache, symlinks=True, copy_function=os.link)
    status, stdout, stderr = tour.run("--keep", XMCOMPAT_CACHE=str(cache))
    assert (status, stderr) == (0, ""), stdout
    assert commands(stdout) == whole(tour.directory / "tour.cfg")
    assert "download" not in stdout
    uri = PrivateLibvirtd.at(tour.directory / "libvirtd").uri
    assert f"  export XMCOMPAT_URI='{uri}'\n" in stdout
    argv = [sys.executable, "-m", "xmcompat.xm", "domid", "tour"]
    assert tour.run(argv=argv, XMCOMPAT_URI=uri) == Ended(0, "1\n", "")
    assert held(tour) != []
    assert tour.run("--clean", XMCOMPAT_CACHE=str(cache)).status == 0
    assert not tour.directory.exists()
    assert not cache.exists()
    assert held(tour) == []


def test_where_a_libvirtd_answers_it_is_used_with_a_bridge_of_the_tours_own(
    tour: Tour, node: PrivateLibvirtd
) -> None:
    build_guest(tour.directory / "guest", name="tour")  # the node has no network to download from
    argv = node.enter(tour.argv(), cwd=CHECKOUT)
    status, stdout, stderr = tour.run(argv=argv)
    assert (status, stderr) == (0, ""), stdout
    assert f"libvirt runs here: the tour uses it, with a bridge of its own, {SYSTEM_BRIDGE}." in stdout
    assert "XMCOMPAT_URI" not in stdout
    assert f"'mac={MAC},bridge={SYSTEM_BRIDGE}'" in stdout
    assert commands(stdout)[-2:] == ["# xm shutdown -w tour", "# xm list"]
    links = subprocess.run(node.enter(["ls", "/sys/class/net"]), capture_output=True, text=True, check=True).stdout
    assert SYSTEM_BRIDGE not in links.split()
    assert not tour.directory.exists()


def test_there_too_a_stopped_tour_takes_its_guest_and_bridge_along(tour: Tour, node: PrivateLibvirtd) -> None:
    process = tour.start(node.enter(tour.argv(), cwd=CHECKOUT))
    assert process.stdout is not None
    while "# xm console tour" not in process.stdout.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60)[1] == "\ntour: stopped; what it had made is removed\n"
    assert process.returncode in (130, -signal.SIGINT)  # nsenter may have been the first to hear of it
    look = node.enter(["sh", "-c", "ls /sys/class/net; virsh -q list --all --name"])
    left = subprocess.run(look, capture_output=True, text=True, check=True).stdout.split()
    assert SYSTEM_BRIDGE not in left
    assert "tour" not in left
    assert not tour.directory.exists()


def test_there_it_leaves_nothing_held_for_a_guest_that_was_kept(tour: Tour, node: PrivateLibvirtd) -> None:
    build_guest(tour.directory / "guest", name="tour")
    assert tour.run(argv=node.enter(tour.argv("--keep"), cwd=CHECKOUT)).status == 0
    look = node.enter(["find", "/run/xmcompat/storage", "-type", "f"])
    assert subprocess.run(look, capture_output=True, text=True, check=True).stdout != ""
    assert tour.run(argv=node.enter(tour.argv("--clean"), cwd=CHECKOUT), XMCOMPAT_CACHE="/tmp/no-cache").status == 0
    assert subprocess.run(look, capture_output=True, text=True, check=True).stdout == ""


#: The tour, which says when it can hear Ctrl-C: Python itself dies of one before.
BEGUN = """
import runpy, sys
try:
    print("begun", flush=True)
    runpy.run_module("xmcompat.tour", run_name="__main__", alter_sys=True)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("delay", [0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0])
def test_ctrl_c_at_any_moment_leaves_nothing(tour: Tour, delay: float) -> None:
    process = tour.start([sys.executable, "-c", BEGUN, *tour.argv()[3:]])
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr in ("", "\ntour: stopped; what it had made is removed\n")
    assert not tour.directory.exists()
    assert held(tour) == []


def test_a_step_that_fails_is_one_line_and_its_log_stays(tour: Tour) -> None:
    status, stdout, stderr = tour.run(XMCOMPAT_ACCELERATOR="steam")
    assert status == 1
    log = tour.directory / "tour.log"
    assert stderr == f"tour: 'xm create {tour.directory}/tour.cfg' failed with status 1 (see {log})\n"
    assert log.read_text().startswith(stdout)
    assert "XMCOMPAT_ACCELERATOR" in stdout
    assert sorted(path.name for path in tour.directory.iterdir()) == ["lock", "tour.log"]


def test_two_tours_at_once_are_one_too_many(tour: Tour) -> None:
    process = tour.start(tour.argv())
    assert process.stdout is not None
    process.stdout.readline(), process.stdout.readline()
    try:
        assert tour.run() == Ended(1, "", f"tour: another tour runs in {tour.directory}\n")
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)


def test_only_root_can_take_the_tour(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["--directory", "/nowhere"]) == 1
    assert capsys.readouterr() == ("", "tour: guests, bridges and libvirt are root's; run ./tour, which asks sudo\n")


def test_a_reader_who_has_read_enough_ends_it_quietly(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from xmcompat.tour import program\n"
        "program._tour = lambda options: print('line\\n' * 100000) or 0\n"
        f"sys.exit(program.main(['--keep', '--directory={tmp_path}/tour']))"
    )
    script = f"{shlex.join([sys.executable, '-c', code])} | head -3; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("line\n" * 3, "", 128 + signal.SIGPIPE)
    assert not (tmp_path / "tour").exists()


def test_words_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(["--keep", "--clean"])


def test_the_configuration_is_read_as_what_it_says(tmp_path: Path) -> None:
    files = GuestFiles(*(tmp_path / name for name in ("vmlinuz", "initrd.img", "root.img", "swap.img")), "6.1")
    for file in files[:4]:
        Path(file).touch()
    (tmp_path / "tour.cfg").write_text(configuration(files, "xenbr0"))
    loaded = load(str(tmp_path / "tour.cfg"))
    guest = loaded.guest
    assert (guest.name, guest.memory, guest.vcpus) == ("tour", 256, 1)
    assert isinstance(guest.boot, KernelBoot)
    assert (guest.boot.kernel, guest.boot.ramdisk) == (str(files.kernel), str(files.ramdisk))
    assert [(vbd.uname, vbd.vdev, vbd.mode.value) for vbd in guest.disks] == [
        (f"file:{files.root_image}", "xvda2", "w"), (f"file:{files.swap_image}", "xvda1", "w"),
    ]  # fmt: skip
    assert [(vif.mac, vif.bridge) for vif in guest.vifs] == [(MAC, "xenbr0")]
    assert {note.fate for note in loaded.notes} == {Fate.CARRIED}


def test_what_cannot_be_given_back_does_not_keep_the_tour_from_tidying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(uri: str) -> None:
        asked.append(uri)
        raise XmError("somebody else has it")

    monkeypatch.setattr(places, "sweep_after", refuse)
    place = places.PrivatePlace(tmp_path / "libvirtd")
    (tmp_path / "libvirtd").mkdir()
    place.remove("tour", tmp_path / "tour.cfg")
    assert asked == [place.uri]
    assert not (tmp_path / "libvirtd").exists()
