"""A real Linux guest under TCG, from its Xen configuration to its shutdown, through xm alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench
from tests.lab.fixtures import xm_command
from tests.lab.terminal import Terminal
from xmcompat.tour.guest import GuestFiles, build_guest, xen_config

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(300)]

BOOT = 150.0


@pytest.fixture(scope="module")
def files(lab_directory: Path) -> GuestFiles:
    return build_guest(lab_directory / "linux", name="linux1")


@pytest.fixture
def config(bench: Bench, files: GuestFiles) -> Iterator[Path]:
    text = xen_config(files, name="linux1", mac="00:16:3e:11:22:33", bridge="xenbr0", vcpus=2)
    yield bench.config("linux1.cfg", text)


def console(bench: Bench, *words: str) -> Terminal:
    argv = xm_command(bench.node, *words, cwd=bench.directory, env={"XMCOMPAT_ACCELERATOR": "tcg"})
    return Terminal(argv)


def log_in(terminal: Terminal) -> None:
    terminal.expect(b"linux1 login: ", BOOT)
    terminal.send(b"root\n")
    terminal.expect(b"# ", 30)


def ask(terminal: Terminal, command: bytes) -> bytes:
    """What COMMAND prints in the guest."""
    terminal.send(command + b"; echo =$?=\n")
    return terminal.expect(b"=0=", 30)


def test_a_xen_tools_guest_boots_obeys_and_shuts_down(bench: Bench, config: Path) -> None:
    with console(bench, "create", "-c", "linux1.cfg") as terminal:
        terminal.expect(b"Started domain linux1 (id=")
        terminal.expect(b"Linux version", BOOT)  # the kernel's first words, from the serial port
        log_in(terminal)
        assert b"00:16:3e:11:22:33" in ask(terminal, b"cat /sys/class/net/eth0/address")
        assert b"hvc0" in ask(terminal, b"tty")
        assert b"\r\n1\t" in ask(terminal, b"cat /proc/sys/kernel/printk"), "the kernel's own lines come between"
        assert b" / ext4 " in ask(terminal, b"grep ' / ' /proc/mounts")
        assert b"\n2\r\n" in ask(terminal, b"nproc")
        assert b"root=/dev/vda2 ro" in ask(terminal, b"cat /proc/cmdline")
        terminal.send(b"exit\n")
        terminal.expect(b"login: ", 30)
        terminal.send(b"\x1d")
        assert terminal.wait() == 0
        assert terminal.modes() == terminal.saved_modes
    table = bench.xm("list").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["Name", "Domain-0", "linux1"]
    assert table[2].split()[2:4] == ["256", "2"]
    _reboots(bench)
    assert bench.xm("shutdown", "-w", "linux1", timeout=120) == (
        "Domain linux1 terminated\nAll domains terminated\n", "", 0,
    )  # fmt: skip
    assert bench.remains() == ([], [])


def _reboots(bench: Bench) -> None:
    """With the console open on the serial port, the kernel's first words come again."""
    with console(bench, "console", "-n", "1", "linux1") as terminal:
        terminal.send(b"\n")
        terminal.expect(b"login: ", 30)
        assert bench.xm("reboot", "-w", "linux1", timeout=120) == (
            "Domain linux1 rebooted\nAll domains rebooted\n", "", 0,
        )  # fmt: skip
        terminal.expect(b"Linux version", BOOT)
        terminal.expect(b"linux1 login: ", BOOT)
        terminal.send(b"\x1d")
        assert terminal.wait() == 0


def test_a_paused_guest_stands_still_and_goes_on(bench: Bench, config: Path) -> None:
    assert bench.xm("create", "-q", "linux1.cfg").status == 0
    with console(bench, "console", "linux1") as terminal:
        log_in(terminal)
        terminal.send(b"while :; do :; done & echo bu''sy\n")
        terminal.expect(b"busy", 30)
        assert bench.xm("pause", "linux1") == ("", "", 0)
        before = bench.xm("list", "linux1").stdout.split()
        terminal.send(b"echo aw''ake\n")
        with pytest.raises(AssertionError):
            terminal.expect(b"awake", 2)
        after = bench.xm("list", "linux1").stdout.split()
        assert before[-2] == after[-2] == "--p---"
        spent = float(after[-1]) - float(before[-1])  # QEMU itself takes what is typed, and the tenths are rounded
        assert spent < 0.15, "a guest that ran would have had most of two seconds"
        assert bench.xm("unpause", "linux1") == ("", "", 0)
        terminal.expect(b"awake", 30)
        terminal.send(b"\x1d")
        assert terminal.wait() == 0
    assert bench.xm("destroy", "linux1") == ("", "", 0)
