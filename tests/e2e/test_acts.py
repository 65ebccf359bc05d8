"""A real Linux guest under TCG: SysRq and triggers as its kernel sees them, its devices, dumps of it, its reset."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench, Writer
from tests.e2e.test_linux_guest import ask, console, log_in
from tests.lab.terminal import Terminal
from xmcompat.backends import domain_xml
from xmcompat.tour.guest import GuestFiles, build_guest, xen_config

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(300)]

#: libvirt's number for the state of a guest that sleeps, "pmsuspended".
ASLEEP = 7
VDEVS = ["51714", "51713"]  # xvda2 and xvda1


@pytest.fixture(scope="module")
def files(lab_directory: Path) -> GuestFiles:
    return build_guest(lab_directory / "acts", name="linux1")


@pytest.fixture
def terminal(bench: Bench, files: GuestFiles) -> Iterator[Terminal]:
    """The console of a guest that has booted, logged in."""
    bench.config("linux1.cfg", xen_config(files, name="linux1", mac="00:16:3e:11:22:33", bridge="xenbr0"))
    with console(bench, "create", "-c", "linux1.cfg") as terminal:
        log_in(terminal)
        yield terminal


def file_type(path: Path) -> str:
    return subprocess.run(["file", "-b", path], capture_output=True, text=True, check=True, timeout=30).stdout


def test_what_happens_to_a_guest(bench: Bench, terminal: Terminal) -> None:
    _its_kernel_hears(bench, terminal)
    _its_devices_are_listed(bench)
    _its_state_has_a_word(bench)
    _its_memory_is_dumped(bench, terminal)
    _it_sleeps_and_wakes(bench, terminal)
    _it_starts_anew_and_ends(bench, terminal)


def _its_kernel_hears(bench: Bench, terminal: Terminal) -> None:
    assert bench.xm("sysrq", "linux1", "s") == ("", "", 0)
    hears(terminal, b"sysrq: Emergency Sync")
    assert bench.xm("sysrq", "linux1", "h") == ("", "", 0)
    hears(terminal, b"sysrq: HELP")
    assert bench.xm("trigger", "linux1", "nmi") == ("", "", 0)
    hears(terminal, b"NMI received")


def hears(terminal: Terminal, text: bytes) -> None:
    """Its kernel says TEXT, within some seconds. Raises AssertionError where it does not."""
    look = b"dmesg | grep -q '%b'" % text
    terminal.send(b"for try in $(seq 100); do %b && break; sleep 0.2; done; %b; echo =$?=\n" % (look, look))
    terminal.expect(b"=0=", 60)


def _its_devices_are_listed(bench: Bench) -> None:
    domid = bench.xm("domid", "linux1").stdout.strip()
    blocks = [line.split() for line in bench.xm("block-list", "linux1").stdout.splitlines()[1:]]
    assert [row[0] for row in blocks] == VDEVS
    assert {row[3] for row in blocks} == {"4"}
    assert [row[6] for row in blocks] == [f"/local/domain/0/backend/vbd/{domid}/{number}" for number in VDEVS]
    (nic,) = [line.split() for line in bench.xm("network-list", domid).stdout.splitlines()[1:]]
    assert nic[2:5] == ["00:16:3e:11:22:33", "0", "4"]
    assert bench.xm("network-list", "--long", "linux1").stdout.startswith("(0\n    ((mac 00:16:3e:11:22:33)\n")
    assert bench.xm("vtpm-list", "linux1") == ("", "", 0)


def _its_state_has_a_word(bench: Bench) -> None:
    assert bench.xm("domstate", "linux1") in (("", "", 0), ("idle\n", "", 0))
    assert bench.xm("pause", "linux1").status == 0
    assert bench.xm("domstate", "linux1") == ("paused by admin\n", "", 0)
    assert bench.xm("unpause", "linux1").status == 0
    assert bench.xm("domstate", "linux1").stdout in ("", "idle\n")


def _its_memory_is_dumped(bench: Bench, terminal: Terminal) -> None:
    said = ("Dumping core of domain: linux1 ...\n", "", 0)
    for option, name in (("-L", "live.core"), ("", "still.core")):
        assert bench.xm("dump-core", *filter(None, [option]), "linux1", name, timeout=120) == said
        core = bench.directory / name
        assert file_type(core).startswith("ELF 64-bit LSB core file, x86-64")
        assert core.stat().st_size > 256 * 1024 * 1024
        core.unlink()
    assert b"alive" in ask(terminal, b"echo al''ive")


def _it_sleeps_and_wakes(bench: Bench, terminal: Terminal) -> None:
    assert bench.xm("trigger", "linux1", "s3resume") == ("", "", 0)  # it is awake
    terminal.send(b"echo mem > /sys/power/state; echo aw''ake\n")
    deadline = time.monotonic() + 30
    while bench.hypervisor._connection.lookupByName("linux1").state()[0] != ASLEEP:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with pytest.raises(AssertionError):
        terminal.expect(b"awake", 2)
    assert bench.xm("domstate", "linux1") == ("idle\n", "", 0)
    assert bench.xm("trigger", "linux1", "S3resume") == ("", "", 0)
    terminal.expect(b"awake", 60)


def _it_starts_anew_and_ends(bench: Bench, terminal: Terminal) -> None:
    assert bench.xm("reset", "linux1") == ("", "", 0)
    log_in(terminal)
    assert b"\n0\r\n" in ask(terminal, b"dmesg | grep -c 'NMI received'; true")
    assert bench.xm("trigger", "linux1", "power") == ("", "", 0)
    assert terminal.wait(60) == 0
    assert bench.xm("dump-core", "linux1", "late.core") == (
        "Dumping core of domain: linux1 ...\n", "Error: Domain 'linux1' does not exist.\n", 3,
    )  # fmt: skip
    assert bench.remains() == ([], [])


def test_a_crash_dump_ends_a_guest(bench: Bench, terminal: Terminal) -> None:
    assert bench.xm("dump-core", "-C", "linux1", "crash.core", timeout=120).status == 0
    assert file_type(bench.directory / "crash.core").startswith("ELF 64-bit LSB core file, x86-64")
    assert terminal.wait(60) == 0
    assert bench.remains() == ([], [])


def test_what_the_host_tells(bench: Bench) -> None:
    done = bench.xm("info", "-n")
    assert (done.status, done.stderr) == (0, "")
    keys = [line[:23].rstrip() for line in done.stdout.splitlines() if line[23:25] == ": "]
    assert keys[:3] == ["host", "release", "version"]
    assert keys[-1] == "xend_config_format"
    assert "cpu:    core    socket     node" in done.stdout
    values = dict(line.split(": ", 1) for line in done.stdout.splitlines() if line[23:25] == ": ")
    assert int(values["free_memory            "]) <= int(values["total_memory           "])
    assert bench.xm("dmesg").stdout.count("\n") > 3
    gone = bench.xm("info", XMCOMPAT_URI="qemu+unix:///system?socket=/nonexistent/socket")
    assert (gone.status, gone.stdout) == (1, "")
    assert gone.stderr.startswith("Error: Unable to connect to xend: No such file or directory. Is xend running?\n")


def test_the_viewer_is_started_for_the_display_of_a_guest(bench: Bench, pv: Writer) -> None:
    programs = bench.directory / "programs"
    programs.mkdir()
    viewer = programs / "vncviewer"
    viewer.write_text("#!/bin/sh\necho \"$@\"\ncat; echo .\n")
    viewer.chmod(0o755)
    path = f"{programs}:/usr/bin:/bin"
    pv("shown.cfg", vfb=["vnc=1,vncpasswd=geheim"])
    assert bench.xm("create", "-q", "-p", "shown.cfg").status == 0
    try:
        plain = bench.xm("vncviewer", "shown", PATH=path)
        assert (plain.stderr, plain.status) == ("", 0)
        first, second, _ = plain.stdout.splitlines()
        assert first == f"invoking  vncviewer {second}"
        assert second.startswith("localhost:")
        assert bench.xm("vncviewer", "--autopass", "shown", PATH=path).stdout == (
            f"invoking  vncviewer -autopass {second}\n-autopass {second}\ngeheim.\n"
        )
        missing = bench.xm("vncviewer", "shown", PATH="/nonexistent")
        assert (missing.stdout, missing.status) == (f"{first}\n", 255)
        assert missing.stderr.startswith("Error: external vncviewer missing or not in the path\nExiting\nHint: ")
    finally:
        assert bench.xm("destroy", "shown").status == 0


def test_a_domain_that_is_known_and_off(bench: Bench, pv: Writer) -> None:
    """One with a record of xm's, as somebody can define it with libvirt's own tools."""
    pv("known.cfg", vtpm=["instance=1,backend=0"], uuid="0b1c2d3e-0000-4000-8000-00000000abcd")
    assert bench.xm("create", "-q", "-p", "known.cfg").status == 0
    row = bench.xm("vtpm-list", "known").stdout.splitlines()[1].split()
    assert row[:4] == ["0", "0", "0", "4"]
    xml = bench.hypervisor.domain_xml(bench.hypervisor.find("known").uuid)
    assert bench.xm("destroy", "known").status == 0
    bench.hypervisor._connection.defineXML(xml)
    assert bench.xm("domstate", "known") == ("shutoff\n", "", 0)
    assert bench.xm("block-list", "known").stdout.splitlines()[1] == f"51714  -1   0     -1     -1     -1    ??{' ' * 30}"
    assert bench.xm("network-list", "known").stdout.splitlines()[1].split()[1:3] == ["-1", _mac(xml)]
    assert f"file:{bench.directory}/root.img\n" in bench.xm("block-list", "--long", "known").stdout
    assert bench.xm("rename", "known", "renamed") == ("", "", 0)
    assert bench.xm("domid", "renamed") == ("None\n", "", 0)
    assert bench.xm("domid", "known").status == 3
    assert "renamed" in bench.xm("list", "--long", "renamed").stdout


def _mac(xml: str) -> str:
    return domain_xml.parse(xml).nics[0].mac
