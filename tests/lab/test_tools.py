"""The lab's own tools: the tiny firmware, ``run_xm``, and the terminal."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.fixtures import remove_stale_labs, run_xm, xm_command
from tests.lab.terminal import Terminal
from tests.lab.tickrom import RESET_VECTOR, SIZE, rom
from xmcompat.backends.private_libvirtd import PrivateLibvirtd


@pytest.mark.parametrize("idle", [False, True])
def test_the_firmware_fills_its_place_and_begins_at_the_reset_vector(idle: bool) -> None:
    image = rom(idle=idle)
    assert len(image) == SIZE
    assert image == rom(idle=idle)
    assert image[RESET_VECTOR] == 0xEA  # far jump
    assert image[RESET_VECTOR + 3 : RESET_VECTOR + 5] == b"\x00\xf0"
    offset = int.from_bytes(image[RESET_VECTOR + 1 : RESET_VECTOR + 3], "little")
    assert image[offset : offset + 2] == b"\xfa\xfc"  # cli, cld


def test_a_terminal_carries_what_is_typed_and_said() -> None:
    code = "import os, sys; print('ready', os.isatty(0)); print('got', input()); sys.exit(7)"
    with Terminal([sys.executable, "-c", code]) as terminal:
        terminal.expect(b"ready True\r\n")
        terminal.send(b"hello\r")
        terminal.expect(b"got hello\r\n")
        assert terminal.wait() == 7
        assert terminal.modes() == terminal.saved_modes


def test_what_never_comes_is_an_error_with_what_came() -> None:
    with Terminal(["cat"]) as terminal:
        terminal.send(b"something\r")
        terminal.expect(b"something")
        with pytest.raises(AssertionError, match=r"no b'else' within 0\.2 s"):
            terminal.expect(b"else", timeout=0.2)


@pytest.mark.libvirt
def test_xm_runs_inside_the_node(node: PrivateLibvirtd) -> None:
    stdout, stderr, status = run_xm(node, "domid", "Domain-0")
    assert (stdout, stderr, status) == ("0\n", "", 0)


@pytest.mark.libvirt
def test_a_program_in_the_node_that_takes_too_long_is_killed_with_its_children(node: PrivateLibvirtd) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_xm(node, "list", timeout=0.001)
    assert xm_command(node, "list")[0] == "nsenter"


@pytest.mark.libvirt
def test_a_libvirtd_whose_folder_is_gone_ends_with_the_labs_of_dead_runs(tmp_path: Path) -> None:
    """A run that is killed while its libvirtd starts leaves one that no file tells of."""
    labs = Path(f"/tmp/xmcompat-dead-{tmp_path.parent.name}")
    left = PrivateLibvirtd(labs / "1999999999" / "node", name="left", own_network=True)
    (labs / "1999999999").mkdir(parents=True)
    try:
        left.start()
        assert left.pid is not None
        process = Path(f"/proc/{left.pid}")
        deadline = time.monotonic() + 20
        while (labs / "1999999999").exists():  # it runs, and makes files meanwhile
            assert time.monotonic() < deadline
            shutil.rmtree(labs / "1999999999", ignore_errors=True)
        remove_stale_labs(labs)
        subprocess.run(["timeout", "10", "tail", f"--pid={process.name}", "-f", "/dev/null"], check=True)
    finally:
        shutil.rmtree(labs, ignore_errors=True)
