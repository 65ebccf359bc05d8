"""``xmcompat image populate``: what an installer leaves on the disk, and that nothing is left of one that fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench
from tests.lab.fixtures import CHECKOUT, running_node
from tests.lab.installers import MARK, iso, linux
from tests.lab.terminal import Terminal
from xmcompat.backends.hypervisor import GuestEvent
from xmcompat.backends.libvirt_kvm import connect
from xmcompat.populating import how_it_ended

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(200)]


def command(bench: Bench, *words: str) -> list[str]:
    environ = {"XMCOMPAT_URI": bench.node.uri, "PYTHONPATH": str(CHECKOUT), "XMCOMPAT_ACCELERATOR": "tcg"}
    return bench.node.enter(
        [sys.executable, "-m", "xmcompat.tool", "image", "populate", *words, "--memory", "64"], cwd=bench.directory, env=environ
    )


def populate(bench: Bench, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(bench, *words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )


def left(bench: Bench) -> list[str]:
    """The files of the bench that begin with a dot or are images, and its domains."""
    names = [path.name for path in bench.directory.iterdir() if path.name.startswith(".") or path.suffix == ".img"]
    return names + [info.name for info in bench.hypervisor.domains()]


@pytest.mark.parametrize(("end", "format_"), [("off", "raw"), ("reset", "qcow2")])
def test_an_iso_image_installs_and_its_last_word_ends_it(bench: Bench, end: str, format_: str) -> None:
    iso(bench.directory / "a.iso", end)
    done = populate(bench, f"web1.{format_}", "--size", "8M", "--format", format_, "--cdrom", "a.iso")
    assert (done.returncode, done.stderr) == (0, "")
    assert "INSTALLING\nDONE\n" in done.stdout
    image = bench.directory / f"web1.{format_}"
    raw = image
    if format_ != "raw":
        raw = bench.directory / "raw"
        subprocess.run(["qemu-img", "convert", "-f", format_, "-O", "raw", image, raw], check=True)
    assert raw.stat().st_size == 8 << 20
    assert raw.read_bytes()[512:1024] == MARK
    assert (image.stat().st_uid, image.stat().st_mode & 0o777) == (0, 0o666 & ~umask())
    assert left(bench) == []
    done = populate(bench, image.name, "--size", "8M", "--cdrom", "a.iso")
    assert (done.returncode, done.stderr) == (1, f"Error: {image.name} is there already; --force replaces it\n")
    image.unlink()


def umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def test_a_linux_installer_is_spoken_to_on_its_serial_port(bench: Bench, lab_directory: Path) -> None:
    kernel, ramdisk = linux(lab_directory / "installer")
    words = ("web1.img", "--size", "16M", "--kernel", str(kernel), "--ramdisk", str(ramdisk), "--args", "quiet console=ttyS0 a=b",
             "--memory", "128")  # fmt: skip
    argv = command(bench, *words)
    argv = argv[: argv.index("--memory", argv.index("128") + 1)]
    with Terminal(argv) as terminal:
        terminal.expect(b"INSTALLING", 100)
        assert [info.name for info in bench.hypervisor.domains()] == ["install-web1"]
        assert not (bench.directory / "web1.img").exists()
        terminal.send(b"hello\n")
        terminal.expect(b"DONE", 30)
        assert terminal.wait() == 0, terminal.output
        assert terminal.modes() == terminal.saved_modes
    assert (bench.directory / "web1.img").read_bytes()[512:1024].startswith(b"hello quiet console=ttyS0 a=b\n")
    assert left(bench) == ["web1.img"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_the_program_ends_the_installer(bench: Bench, number: int) -> None:
    iso(bench.directory / "a.iso", "hang")
    with subprocess.Popen(
        command(bench, "web1.img", "--size", "8M", "--cdrom", "a.iso"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        said = ""
        while "DONE" not in said:
            said += process.stdout.read(1)
            assert process.poll() is None, said + process.stderr.read()
        (program,) = [pid for pid in processes() if b"populate" in cmdline(pid) and str(bench.directory) in cwd(pid)]
        os.kill(program, number)
        process.communicate(timeout=30)
    assert process.returncode != 0
    deadline = time.monotonic() + 20
    while bench.hypervisor.domains() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [name for name in left(bench) if number != signal.SIGKILL or name != ".web1.img.part"] == []
    if number == signal.SIGKILL:  # what it left is used again
        iso(bench.directory / "a.iso", "off")
        assert populate(bench, "web1.img", "--size", "8M", "--cdrom", "a.iso").returncode == 0
        assert left(bench) == ["web1.img"]


def test_an_installer_whose_libvirtd_is_killed_is_ended_before_its_disk_goes(lab_directory: Path) -> None:
    """Whose domain it is that ends with its connection is in libvirtd's memory alone."""
    directory = lab_directory / "killed"
    with running_node(directory, "killed") as node:
        bench = Bench(node, connect(node.uri), directory / "guests")
        bench.directory.mkdir()
        iso(bench.directory / "a.iso", "hang")
        with subprocess.Popen(
            command(bench, "web1.img", "--size", "8M", "--cdrom", "a.iso"), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            said = ""
            while "DONE" not in said:
                said += process.stdout.read(1)
            daemon = node.daemon_pid()
            assert daemon is not None
            os.kill(daemon, signal.SIGKILL)
            _, complaint = process.communicate(timeout=60)
        bench.hypervisor.close()
        assert (process.returncode, complaint.count("\n"), complaint[:7]) == (1, 1, "Error: "), complaint
        qemus = subprocess.run(node.enter(["pgrep", "-f", "guest=install-web1"]), capture_output=True, check=False)
        assert qemus.stdout == b""
        now = connect(node.uri)
        assert left(bench._replace(hypervisor=now)) == []
        now.close()


def processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() if b"python" in Path(f"/proc/{pid}/comm").read_bytes() else b""
    except OSError:
        return b""


def cwd(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def test_an_installer_that_somebody_ends_leaves_nothing(bench: Bench) -> None:
    iso(bench.directory / "a.iso", "hang")
    with subprocess.Popen(
        command(bench, "web1.img", "--size", "8M", "--cdrom", "a.iso"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        said = ""
        while "DONE" not in said:
            said += process.stdout.read(1)
        assert bench.xm("destroy", "install-web1").status == 0
        _, complaint = process.communicate(timeout=30)
    assert process.returncode == 1
    assert complaint == (
        "Error: the installer did not come to its end: somebody ended it; nothing is left of web1.img\n"
    )
    assert left(bench) == []


@pytest.mark.parametrize(("words", "message"), [
    (("--size", "8M"), "there is nothing to install from; give --cdrom with an ISO image, or --kernel"),
    (("--cdrom", "a.iso"), "web1.img is to be made, and has no size; give --size"),
    (("--size", "8M", "--cdrom", "gone.iso"), "gone.iso: No such file or directory"),
    (("--size", "8M", "--cdrom", "."), ".: Is a directory"),
    (("--size", "8M", "--cdrom", "a.iso", "--ramdisk", "a.iso"),
     "--ramdisk is for a kernel, and there is none; give --kernel as well"),
    (("--size", "8M", "--kernel", "a.iso"),
     "kernel 'a.iso' cannot boot on KVM: it is no Linux kernel for the PC (no boot header, no ELF image)"),
    (("--size", "1000", "--cdrom", "a.iso"), "1000 bytes are no size of a disk; write --size in MiB: 8192M"),
    (("--size", "8M", "--cdrom", "a.iso", "--bridge", "nosuch"),
     "there is no bridge nosuch; the bridges of this host: xenbr0, xenbr1"),
])  # fmt: skip
def test_what_cannot_be_installed_is_refused_in_one_line(bench: Bench, words: tuple[str, ...], message: str) -> None:
    iso(bench.directory / "a.iso")
    done = populate(bench, "web1.img", *words)
    assert (done.returncode, done.stderr) == (1, f"Error: {message}\n")
    assert left(bench) == []


#: Looks at nothing that libvirt tells until the domain has gone, as on a busy host.
LATE = """
import sys, time
from xmcompat import populating
from xmcompat.errors import DomainNotFound
from xmcompat.toolstack import Toolstack

def attend(info):
    toolstack.hypervisor.unpause(info.uuid)
    try:
        while toolstack.hypervisor.find(info.uuid):
            time.sleep(0.05)
    except DomainNotFound:
        return

with Toolstack.open() as toolstack:
    installer = populating.Installer(cdrom="a.iso", memory=64)
    print(populating.run(toolstack.hypervisor, installer, "late", sys.argv[1], "raw", attend, None).how)
"""


@pytest.mark.parametrize("end", ["off", "reset"])
def test_how_an_installer_ended_is_heard_after_it_has_gone(bench: Bench, end: str) -> None:
    iso(bench.directory / "a.iso", end)
    disk = bench.directory / "late.img"
    disk.write_bytes(bytes(1 << 20))
    environ = {"XMCOMPAT_URI": bench.node.uri, "PYTHONPATH": str(CHECKOUT), "XMCOMPAT_ACCELERATOR": "tcg"}
    argv = bench.node.enter([sys.executable, "-c", LATE, str(disk)], cwd=bench.directory, env=environ)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{end}\n", "")


def told(kind: str, by_guest: bool, to_reset: bool = False) -> GuestEvent:
    return GuestEvent("uuid", kind, by_guest, to_reset, 0.0)


@pytest.mark.parametrize(("events", "how"), [
    ([told("off", True), told("gone", True)], "off"),
    ([told("off", True, True), told("gone", True)], "reset"),
    ([told("reset", True), told("gone", True)], "reset"),
    ([told("crash", True), told("off", True), told("gone", False)], "crash"),
    ([told("runs", False), told("off", False), told("gone", False)], ""),
    ([told("runs", False), told("off", True)], "off"),
    ([told("runs", False)], "untold"),
])  # fmt: skip
def test_how_it_ended_is_what_was_told_of_the_guest(events: list[GuestEvent], how: str) -> None:
    assert how_it_ended(events) == how
