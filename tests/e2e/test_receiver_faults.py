"""The receiving end of a migration is killed while libvirt moves a guest whose disk is copied: one copy of
the guest is left, and its disk."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.moving_hosts import Ticking, moving_hosts, names, tool
from tests.lab.hosts import Hosts, MovingHost, eventually
from tests.lab.lan import end

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(240)]

DISK = Path("/run/disks/own.img")


@pytest.fixture(scope="module")
def hosts(lab_directory: Path) -> Iterator[Hosts]:
    with moving_hosts(lab_directory) as hosts:
        for host in hosts.nodes:
            host.run("mkdir", "-p", str(DISK.parent))  # each has a /run of its own
        hosts.nodes[0].run("sh", "-c", f"head -c 5M /dev/urandom >{DISK}")
        yield hosts


def receivers(host: MovingHost) -> list[int]:
    """The receiving ends that are at work on HOST."""
    daemon = host.node.daemon_pid()
    mine = os.readlink(f"/proc/{daemon}/ns/net")
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            if words[-3:-1] == [b"migrate", b"receive"] and os.readlink(f"/proc/{name}/ns/net") == mine:
                found.append(int(name))
        except OSError:
            continue
    return found


def promised(host: MovingHost) -> list[str]:
    return host.outcome("ls", f"{host.node.directory}/run/xmcompat/arriving").stdout.split()


def begun(hosts: Hosts, guest: Ticking) -> tuple[subprocess.Popen[str], int]:
    """xm that moves GUEST, once its disk is being written there, and the process that receives it."""
    one, two = hosts.nodes
    words = ("migrate", "-l", "--with-disks", "-r", "6", guest.name, two.name)
    process = one.start(one.program_argv("xmcompat.xm", *words), env=one.program_env())
    eventually(lambda: two.outcome("sh", "-c", f"test $(stat -c %b {DISK}) -gt 100").status == 0, 30.0, what="it is copied")
    (receiver,) = receivers(two)
    return process, receiver


def test_a_receiver_is_killed_and_the_guest_comes_all_the_same(hosts: Hosts) -> None:
    one, two = hosts.nodes
    guest = Ticking(hosts, one, "killed1", disks=[DISK])
    process, receiver = begun(hosts, guest)
    try:
        os.kill(receiver, signal.SIGKILL)
        out, err = process.communicate(timeout=120)
    finally:
        end(process)
    assert (out, err, process.returncode) == ("", "", 0)
    assert (names(one), names(two), promised(two)) == ([], ["killed1"], [])
    guest.goes_on()
    assert two.run("sha256sum", str(DISK)) == one.run("sha256sum", str(DISK))
    two.hypervisor.destroy(guest.info.uuid)
    two.run("rm", str(DISK))


def test_the_disk_of_a_guest_stays_that_came_and_ended_while_nobody_was_left_to_see_it(hosts: Hosts) -> None:
    one, two = hosts.nodes
    guest = Ticking(hosts, one, "killed2", disks=[DISK])
    process, receiver = begun(hosts, guest)
    os.killpg(process.pid, signal.SIGSTOP)  # it would speak to another receiver at once
    for kill, pid in ((os.kill, receiver), (os.killpg, process.pid)):
        kill(pid, signal.SIGKILL)
    end(process)
    eventually(lambda: (names(one), names(two)) == ([], ["killed2"]), 60.0, what="the two libvirtds move it")
    guest.goes_on()
    two.hypervisor.destroy(guest.info.uuid)
    assert promised(two) == [guest.info.uuid]
    other = Ticking(hosts, one, "other2")
    assert tool(one, "migrate", "check", "other2", two.name).status == 0  # a conversation, at whose beginning all is swept
    assert promised(two) == []
    assert two.run("sha256sum", str(DISK)) == one.run("sha256sum", str(DISK))
    one.hypervisor.destroy(other.info.uuid)
    two.run("rm", str(DISK))
