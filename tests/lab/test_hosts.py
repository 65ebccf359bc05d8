"""The hosts between which guests move: that they reach each other, and that each fault is what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.guests import tick_xml
from tests.lab.hosts import Hosts, MovingHost, eventually, new_hosts, shape
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.errors import HypervisorUnreachable, XmError

pytestmark = pytest.mark.libvirt


@pytest.fixture(scope="module")
def hosts(lab_directory: Path) -> Iterator[Hosts]:
    with new_hosts(lab_directory, 3) as hosts:
        yield hosts


@pytest.fixture(autouse=True)
def whole(hosts: Hosts) -> Iterator[None]:
    yield
    hosts.clear()


def answers(host: MovingHost, uri: str) -> bool:
    """Whether the libvirtd at URI answers one in HOST. libvirt says what is wrong when it does not."""
    done = host.outcome("virsh", "-q", "-c", uri, "hostname", timeout=20)
    assert done.status == 0 or done.stderr.startswith("error: failed to connect"), done
    return done.status == 0


def idle(hosts: Hosts, name: str) -> str:
    return tick_xml(name, hosts.shared, kvm=False, idle=True)


@pytest.mark.parametrize("way", ["tcp", "tls", "unix"])
def test_each_reaches_the_others_in_every_way(hosts: Hosts, way: str) -> None:
    one, two, three = hosts.nodes
    assert [host.name for host in hosts.nodes] == ["host1", "host2", "host3"]
    assert answers(one, getattr(three, way))
    assert answers(three, getattr(two, way))
    assert two.run("virsh", "-q", "-c", getattr(one, way), "hostname").strip() == "host1"


def test_each_is_a_host_of_its_own_with_one_folder_in_common(hosts: Hosts) -> None:
    assert len({host.hypervisor.migration_host().uuid for host in hosts.nodes}) == 3
    one, two, _ = hosts.nodes
    one.hypervisor.create(idle(hosts, "web1"))
    assert two.hypervisor.domains() == []
    assert len(one.qemu_pids()) == 1
    one.run("touch", str(hosts.shared / "seen"))
    assert two.run("ls", str(hosts.shared / "seen"))
    one.run("touch", "/var/lib/libvirt/hidden")
    assert two.outcome("ls", "/var/lib/libvirt/hidden").status != 0


def test_guests_have_a_network_that_faults_of_the_hosts_leave_alone(hosts: Hosts) -> None:
    one, two, _ = hosts.nodes
    for number, host in ((21, one), (22, two)):
        host.run("ip", "addr", "add", f"203.0.113.{number}/24", "dev", "xenbr0")
    assert one.pings("203.0.113.22")
    hosts.cut(two)
    assert one.pings("203.0.113.22")
    assert not one.pings(two.address, count=1, seconds=0.3)
    assert hosts.outside.pings("203.0.113.22")
    hosts.heal(two)
    assert one.pings(two.address)


def test_a_slow_link_carries_what_it_may_and_a_fast_one_all(hosts: Hosts) -> None:
    one, two, _ = hosts.nodes
    assert shape("up0", "8mbit") == [
        "qdisc", "replace", "dev", "up0", "root", "tbf", "rate", "8mbit", "burst", "64kb", "latency", "200ms"
    ]  # fmt: skip

    def seconds(size: int) -> float:
        """What SIZE bytes take from the first to the second, from the first that comes to the last."""
        taking = two.start(["python3", "-c", TAKE, str(size)])
        assert taking.stdout is not None
        assert taking.stdout.readline() == "ready\n"
        one.run("python3", "-c", GIVE, two.address, str(size))
        took = float(taking.stdout.readline())
        assert taking.wait(20) == 0
        for stream in (taking.stdin, taking.stdout, taking.stderr):
            assert stream is not None
            stream.close()
        return took

    hosts.slow("8mbit")
    assert seconds(1_000_000) > 0.8
    hosts.fast()
    assert seconds(1_000_000) < 0.8


TAKE = """
import socket, sys, time
server = socket.create_server(("", 7000))
print("ready", flush=True)
taken, left = server.accept()[0], int(sys.argv[1])
left -= len(taken.recv(min(left, 65536)))
begun = time.monotonic()
while left:
    left -= len(taken.recv(min(left, 65536)))
print(time.monotonic() - begun)
"""
GIVE = """
import socket, sys
socket.create_connection((sys.argv[1], 7000)).sendall(bytes(int(sys.argv[2])))
"""


def test_a_crash_ends_all_at_once_and_a_boot_brings_back_what_is_on_disks(hosts: Hosts) -> None:
    one, two, _ = hosts.nodes
    uuid = two.hypervisor.migration_host().uuid
    two.hypervisor.create(idle(hosts, "web1"))
    two.hypervisor.define(idle(hosts, "web2"))
    pids = two.qemu_pids()
    two.crash()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not one.pings(two.address, count=1, seconds=0.3)
    with pytest.raises(HypervisorUnreachable):
        two.hypervisor.domains()
    hosts.boot(two)
    assert [info.name for info in two.hypervisor.domains()] == ["web2"]
    assert two.hypervisor.migration_host().uuid == uuid
    assert answers(one, two.tls)
    two.run("ip", "addr", "add", "203.0.113.32/24", "dev", "xenbr0")
    assert hosts.outside.pings("203.0.113.32")


def test_guests_live_on_without_libvirtd(hosts: Hosts) -> None:
    one, two, _ = hosts.nodes
    info = two.hypervisor.create(idle(hosts, "web1"))
    before = two.node.daemon_pid()
    two.kill_libvirtd()
    two.await_libvirtd()
    assert two.node.daemon_pid() != before
    assert two.hypervisor.find(info.uuid).domid == info.domid
    with two.without_libvirtd():
        assert not answers(one, two.tcp)
        assert len(two.qemu_pids()) == 1
    assert answers(one, two.tcp)
    two.kill_qemu()
    eventually(lambda: two.hypervisor.domains() == [], what="it is gone")


def test_one_has_no_more_memory_than_it_is_given(hosts: Hosts) -> None:
    two = hosts.nodes[1]
    large = tick_xml("large", hosts.shared, kvm=False, idle=True, memory=512 * 1024).replace(
        "<os>", "<memoryBacking><allocation mode='immediate'/></memoryBacking><os>"
    )
    with two.limited_memory(128 * 1024 * 1024):
        two.hypervisor.create(idle(hosts, "small"))
        with pytest.raises(XmError):
            two.hypervisor.create(large)
    two.await_libvirtd()
    two.hypervisor.create(large)
    assert len(two.qemu_pids()) >= 1


def test_a_private_libvirtd_is_found_again_with_how_it_is_reached(hosts: Hosts) -> None:
    node = hosts.nodes[0].node
    again = PrivateLibvirtd.at(node.directory)
    assert (again.listens, again.libvirtd_conf, again.qemu_conf) == (True, node.libvirtd_conf, node.qemu_conf)
    assert "tls_x509" in again.qemu_conf
