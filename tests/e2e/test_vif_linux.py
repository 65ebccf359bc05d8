"""A real Linux guest that is held to its address, from its start, over a reboot, and with one interface more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Bench
from tests.e2e.test_linux_guest import ask, console, log_in
from tests.e2e.test_tuning import until
from tests.e2e.test_vifs import filtered, inside
from tests.lab.terminal import Terminal
from xmcompat.tour.guest import GuestFiles, build_guest, xen_config

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def files(lab_directory: Path) -> GuestFiles:
    return build_guest(lab_directory / "held", name="linux1")


def reaches(terminal: Terminal, address: bytes, *, tries: int = 10) -> bool:
    """Whether ADDRESS answers one of so many TRIES; the first answer is enough."""
    loop = b"for try in $(seq %d); do ping -c 1 -W 2 %b && break; done || true"
    return b"1 packets received" in ask(terminal, loop % (tries, address))


def test_a_real_guest_uses_its_own_address_and_no_other(bench: Bench, files: GuestFiles) -> None:
    inside(bench, "ip", "addr", "add", "192.0.2.1/24", "dev", "xenbr0")
    try:
        text = xen_config(files, name="linux1", mac="00:16:3e:11:22:44", bridge="xenbr0,ip=192.0.2.10,rate=50Mb/s")
        bench.config("linux1.cfg", text)
        assert bench.xm("create", "-q", "linux1.cfg").status == 0
        with console(bench, "console", "linux1") as terminal:
            log_in(terminal)
            ask(terminal, b"ip link set eth0 up; ip addr add 192.0.2.10/24 dev eth0")
            assert reaches(terminal, b"192.0.2.1")
            ask(terminal, b"ip addr del 192.0.2.10/24 dev eth0; ip addr add 192.0.2.11/24 dev eth0")
            assert not reaches(terminal, b"192.0.2.1", tries=1)
            before = filtered(bench)
            added = bench.xm("network-attach", "linux1", "mac=00:16:3e:11:22:45", "bridge=xenbr1", "ip=198.51.100.9")
            assert added == ("", "", 0)
            until(terminal, b"cat /sys/class/net/eth1/address || true", b"00:16:3e:11:22:45")
            assert len(filtered(bench)) == len(before) + 1
            assert bench.xm("network-detach", "linux1", "1") == ("", "", 0)
            assert filtered(bench) == before
            terminal.send(b"\x1d")
            assert terminal.wait() == 0
        assert bench.xm("reboot", "-w", "linux1", timeout=120).status == 0
        assert filtered(bench) == before  # its tap has stayed
        assert bench.xm("destroy", "linux1").status == 0
        assert filtered(bench) == []
    finally:
        inside(bench, "ip", "addr", "del", "192.0.2.1/24", "dev", "xenbr0")
