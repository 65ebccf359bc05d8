"""Disks, media and interfaces that come and go through xm alone, as a real Linux guest sees them, and two at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench, Writer
from tests.e2e.test_block_script import Volumes
from tests.e2e.test_concurrency import started
from tests.e2e.test_linux_guest import ask, console, log_in
from tests.e2e.test_tuning import until
from tests.lab.fixtures import CHECKOUT
from tests.lab.terminal import Terminal
from xmcompat.tour.guest import BUSYBOX, GuestFiles, build_guest, xen_config
from xmcompat.tour.kernel import MODULES, fetch_kernel, module_contents
from xmcompat.tour.packages import default_cache
from xmcompat.tour.ramdisk import ramdisk

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def files(lab_directory: Path) -> GuestFiles:
    """The tour's guest, which loads the drivers of SCSI drives as well."""
    made = build_guest(lab_directory / "plugged", name="linux1")
    kernel = fetch_kernel(default_cache(), lambda _line: None)
    (busybox,) = sorted((default_cache() / "unpacked").glob(f"{BUSYBOX}_*/*bin/busybox"))[-1:] or sorted(
        (default_cache() / "unpacked").glob(f"{BUSYBOX}_*/usr/bin/busybox")
    )[-1:]
    modules = module_contents(kernel, (*MODULES, "virtio_scsi", "sr_mod"))
    made.ramdisk.write_bytes(ramdisk(busybox.read_bytes(), modules))
    return made


@pytest.fixture
def config(bench: Bench, files: GuestFiles) -> Iterator[Path]:
    yield bench.config("linux1.cfg", xen_config(files, name="linux1", mac="00:16:3e:11:22:55", bridge="xenbr0"))


def image(bench: Bench, name: str, content: bytes) -> Path:
    path = bench.directory / name
    path.write_bytes(content.ljust(1024 * 1024, b"\0"))
    return path


def rows(bench: Bench, verb: str = "block-list") -> list[tuple[str, str]]:
    """Number and state of each device."""
    place = {"block-list": 3, "network-list": 4}[verb]
    lines = [line.split() for line in bench.xm(verb, "linux1").stdout.splitlines()[1:]]
    return [(line[0], line[place]) for line in lines]


def test_a_real_guest_sees_what_comes_and_goes(bench: Bench, config: Path) -> None:
    assert bench.xm("create", "-q", "linux1.cfg").status == 0
    with console(bench, "console", "linux1") as terminal:
        log_in(terminal)
        _disk(bench, terminal)
        _disk_of_a_script(bench, terminal)
        _medium(bench, terminal)
        _interface(bench, terminal)
        terminal.send(b"\x1d")
        assert terminal.wait() == 0
    form = bench.xm("list", "-l", "linux1").stdout
    assert form.count("(vbd") == 3 and form.count("(vif") == 2


def _disk(bench: Bench, terminal: Terminal) -> None:
    data = image(bench, "data.img", b"from the host")
    assert bench.xm("block-attach", "linux1", f"file:{data}", "xvdb", "w") == ("", "", 0)
    assert rows(bench) == [("51714", "4"), ("51713", "4"), ("51728", "4")]
    until(terminal, b"grep -c vdb /proc/partitions || true", b"1")
    assert b"from the host" in ask(terminal, b"head -c 13 /dev/vdb")
    ask(terminal, b"echo from the guest | dd of=/dev/vdb conv=notrunc,fsync 2>/dev/null")
    assert data.read_bytes().startswith(b"from the guest\n")
    _grow(bench, terminal, data)
    assert bench.xm("block-detach", "linux1", "xvdb") == ("", "", 0)
    assert rows(bench) == [("51714", "4"), ("51713", "4")]
    until(terminal, b"grep -c vdb /proc/partitions || true", b"0")
    assert bench.xm("block-attach", "linux1", f"file:{data}", "xvdb", "r") == ("", "", 0)
    until(terminal, b"cat /sys/block/vdb/ro || true", b"1")
    assert bench.xm("block-detach", "linux1", "51728") == ("", "", 0)


def _disk_of_a_script(bench: Bench, terminal: Terminal) -> None:
    """It is removed when the guest has let go of it, and not before."""
    volumes = Volumes(bench)
    (volumes.folder / "vol1").write_bytes(b"from the script".ljust(1 << 20, b"\0"))
    before = ask(terminal, b"ls /sys/block | grep -c vd")
    assert volumes.xm("block-attach", "linux1", "mine:vol1", "xvdb", "w") == ("", "", 0)
    until(terminal, b"head -c 15 /dev/$(ls /sys/block | grep vd | tail -1); echo", b"from the script")
    ask(terminal, b"echo from the guest | dd of=/dev/$(ls /sys/block | grep vd | tail -1) conv=notrunc,fsync 2>/dev/null")
    assert volumes.calls() == ["add xvdb vol1 w linux1"]
    assert volumes.xm("block-detach", "linux1", "xvdb") == ("", "", 0)
    assert volumes.calls() == ["remove xvdb vol1 w linux1"] and volumes.devices() == []
    assert (volumes.folder / "vol1").read_bytes().startswith(b"from the guest\n")
    assert ask(terminal, b"ls /sys/block | grep -c vd") == before


def _grow(bench: Bench, terminal: Terminal, data: Path) -> None:
    """A disk in use gets larger, is seen to, and keeps what was on it and what is written behind its old end."""
    words = [sys.executable, "-m", "xmcompat.tool", "storage", "resize", str(data), "3M"]
    variables = {**os.environ, "XMCOMPAT_URI": bench.node.uri, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=variables)
    assert (done.stdout, done.stderr, done.returncode) == ("1 MiB -> 3 MiB\n", "", 0)
    until(terminal, b"cat /sys/block/vdb/size", str(3 * 2048).encode())
    ask(terminal, b"echo behind | dd of=/dev/vdb bs=512 seek=6143 conv=notrunc,fsync 2>/dev/null")
    content = data.read_bytes()
    assert content.startswith(b"from the guest\n") and content[6143 * 512 :].startswith(b"behind\n")
    assert len(content) == 3 * 1024 * 1024


def _medium(bench: Bench, terminal: Terminal) -> None:
    first, second = image(bench, "a.iso", b"disc one"), image(bench, "b.iso", b"disc two")
    assert bench.xm("block-attach", "linux1", f"file:{first}", "xvdd:cdrom", "r") == ("", "", 0)
    until(terminal, b"head -c 8 /dev/sr0; echo; true", b"disc one")
    assert bench.xm("block-configure", "linux1", f"file:{second}", "xvdd:cdrom", "r") == ("", "", 0)
    until(terminal, b"head -c 8 /dev/sr0; echo; true", b"disc two")
    assert bench.xm("block-configure", "linux1", "", "xvdd:cdrom", "r") == ("", "", 0)
    until(terminal, b"head -c 8 /dev/sr0 2>/dev/null || echo none", b"none")
    assert bench.xm("block-attach", "linux1", f"file:{first}", "xvdd:cdrom", "r") == ("", "", 0)
    until(terminal, b"head -c 8 /dev/sr0; echo; true", b"disc one")


def _interface(bench: Bench, terminal: Terminal) -> None:
    words = ("mac=00:16:3e:00:00:09", "bridge=xenbr1", "vifname=web-dmz")
    assert bench.xm("network-attach", "linux1", *words) == ("", "", 0)
    assert rows(bench, "network-list") == [("0", "4"), ("1", "4")]
    until(terminal, b"cat /sys/class/net/eth1/address || true", b"00:16:3e:00:00:09")
    assert bench.xm("network-detach", "linux1", "00:16:3E:00:00:09") == ("", "", 0)
    until(terminal, b"ls /sys/class/net | grep -c eth", b"1")
    assert bench.xm("network-attach", "linux1", "mac=00:16:3e:00:00:0a") == ("", "", 0)
    assert rows(bench, "network-list") == [("0", "4"), ("2", "4")]


def test_of_several_for_one_name_one_wins(bench: Bench, pv: Writer) -> None:
    pv("linux1.cfg")
    assert bench.xm("create", "-q", "linux1.cfg").status == 0
    images = [image(bench, f"{number}.img", b"") for number in range(4)]
    several = [started(bench, "linux1", f"file:{path}", "xvdb", "w", verb="block-attach") for path in images]
    ends = [(process.communicate(timeout=60)[1], process.returncode) for process in several]
    taken = 'Error: The device "xvdb" is already defined\n'
    assert sorted(ends) == [("", 0), *[(taken, 1)] * 3]
    assert [number for number, _ in rows(bench)] == ["51714", "51728"]


def test_all_of_several_at_once_are_kept(bench: Bench, pv: Writer) -> None:
    pv("linux1.cfg")
    assert bench.xm("create", "-q", "linux1.cfg").status == 0
    names = ["xvdb", "xvdc", "xvdd"]
    several = [
        started(bench, "linux1", f"file:{image(bench, f'{name}.img', b'')}", name, "w", verb="block-attach")
        for name in names
    ] + [started(bench, "linux1", verb="network-attach") for _ in range(2)]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in several] == [("", 0)] * 5
    form = bench.xm("list", "-l", "linux1").stdout
    assert all(f"(dev {name}:disk)" in form for name in names) and form.count("(vif") == 3
    assert sorted(number for number, _ in rows(bench)) == ["51714", "51728", "51744", "51760"]
    assert [number for number, _ in rows(bench, "network-list")] == ["0", "1", "2"]
