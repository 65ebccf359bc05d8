"""Guests that go from one real libvirtd to another, and what libvirt tells of it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.guests import tick_xml
from tests.lab.hosts import Hosts, MovingHost, eventually, new_hosts
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.migrates import MigrationJob
from xmcompat.backends.migration import MigrationPhase, MigrationState, Progress, Transfer
from xmcompat.errors import (
    ConnectionLost,
    DomainBusy,
    DomainEnding,
    DomainNotFound,
    HypervisorError,
    MigrationAborted,
    MigrationLost,
    MigrationRefused,
    XmError,
)

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

#: The tiny guests run under KVM where it is.
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
#: A folder that each host has for itself.
OWN = Path("/var/lib/libvirt/own")


@pytest.fixture(scope="module")
def both(lab_directory: Path) -> Iterator[Hosts]:
    with new_hosts(lab_directory) as hosts:
        yield hosts


@pytest.fixture
def hosts(both: Hosts) -> Iterator[Hosts]:
    yield both
    both.clear()


@pytest.fixture
def one(hosts: Hosts) -> MovingHost:
    return hosts.nodes[0]


@pytest.fixture
def two(hosts: Hosts) -> MovingHost:
    return hosts.nodes[1]


@pytest.fixture
def web1(hosts: Hosts, one: MovingHost) -> DomainInfo:
    """A guest that ticks."""
    return one.hypervisor.create(xml(hosts, "web1"))


@pytest.fixture
def busy1(hosts: Hosts, one: MovingHost) -> DomainInfo:
    """A guest that changes its memory faster than 5 Mbit/s can carry it."""
    return one.hypervisor.create(xml(hosts, "busy1", busy=True))


def log_of(hosts: Hosts, name: str) -> Path:
    return hosts.shared / f"{name}.log"


def xml(hosts: Hosts, name: str, **details: object) -> str:
    log = log_of(hosts, name)
    log.unlink(missing_ok=True)
    return tick_xml(name, hosts.shared, kvm=KVM, bridges=["xenbr0"], log=log, **details)  # type: ignore[arg-type]


def to(host: MovingHost, **words: object) -> Transfer:
    return Transfer(host.tcp, host.migrate_uri)._replace(**words)  # type: ignore[arg-type]


def wait(job: MigrationJob, seconds: float = 40.0) -> None:
    """Until it is over; raises what it raises."""
    assert job.ended(seconds)
    job.result()


def moved(one: MovingHost, uuid: str, transfer: Transfer) -> None:
    wait(one.hypervisor.begin_migration(uuid, transfer))


def refusal(one: MovingHost, uuid: str, transfer: Transfer) -> str:
    with pytest.raises(MigrationRefused) as refused:
        moved(one, uuid, transfer)
    assert one.hypervisor.find(uuid).state == DomainState.RUNNING
    assert one.hypervisor.migration_state(uuid) == MigrationState.NONE
    return refused.value.line()


def copying(one: MovingHost, uuid: str) -> Progress:
    """The first that is told while memory is copied."""
    deadline = time.monotonic() + 20
    while (told := one.hypervisor.migration_progress(uuid)) is None or told.phase != MigrationPhase.MEMORY:
        assert time.monotonic() < deadline, told
        time.sleep(0.005)
    return told


def ticks(hosts: Hosts, name: str) -> list[int]:
    return [int(number, 16) for number in re.findall(rb"TICK ([0-9a-f]{8})\r\n", log_of(hosts, name).read_bytes())]


def assert_ticks_on(hosts: Hosts, name: str) -> None:
    """It ticks, and no tick of all was lost or came twice."""
    before = len(ticks(hosts, name))
    eventually(lambda: len(ticks(hosts, name)) >= before + 3, what="it ticks")
    numbers = ticks(hosts, name)
    assert numbers == list(range(len(numbers)))


def assert_gone(host: MovingHost, uuid: str) -> None:
    with pytest.raises(DomainNotFound):
        host.hypervisor.find(uuid)


# -- ways to go


@pytest.mark.parametrize("way", ["tcp", "tls", "unix"])
def test_a_running_guest_goes_on_there_without_losing_a_tick(
    hosts: Hosts, one: MovingHost, two: MovingHost, web1: DomainInfo, way: str
) -> None:
    eventually(lambda: ticks(hosts, "web1"), what="it ticks")
    assert (one.hypervisor.migration_state(web1.uuid), one.hypervisor.migration_progress(web1.uuid)) == ("none", None)
    moved(one, web1.uuid, to(two, uri=getattr(two, way), tls=way == "tls"))
    assert_gone(one, web1.uuid)
    there = two.hypervisor.find("web1")
    assert (there.uuid, there.state, there.persistent) == (web1.uuid, DomainState.RUNNING, False)
    assert two.hypervisor.migration_state(web1.uuid) == MigrationState.ARRIVED
    assert_ticks_on(hosts, "web1")
    told = two.hypervisor.last_migration(web1.uuid)
    assert told is not None
    assert (told.phase, told.remaining) == (MigrationPhase.COMPLETED, 0)
    assert 0 <= told.downtime < 2000
    assert told.total > 16 * 1024 * 1024 > told.processed > 0


def test_a_unix_socket_carries_memory_and_disks(hosts: Hosts, one: MovingHost, two: MovingHost) -> None:
    own_disk(one, filled=True)
    own_disk(two)
    web1 = one.hypervisor.create(xml(hosts, "web1", disks=[OWN / "a.img"]))
    moved(one, web1.uuid, to(
        two, uri=two.unix, migrate_uri=f"unix://{hosts.directory}/memory.sock", copy=("vda",),
        disks_uri=f"unix://{hosts.directory}/disks.sock",
    ))  # fmt: skip
    assert sums(one) == sums(two)
    assert_ticks_on(hosts, "web1")


def test_a_cold_guest_is_paused_first_and_goes_on_there(
    hosts: Hosts, one: MovingHost, two: MovingHost, busy1: DomainInfo
) -> None:
    moved(one, busy1.uuid, to(two, live=False))
    told = two.hypervisor.last_migration(busy1.uuid)
    assert told is not None
    assert told.iteration <= 2
    assert_ticks_on(hosts, "busy1")


def test_a_paused_guest_arrives_paused_and_one_that_runs_if_asked(
    hosts: Hosts, one: MovingHost, two: MovingHost, web1: DomainInfo
) -> None:
    one.hypervisor.pause(web1.uuid)
    moved(one, web1.uuid, to(two))
    assert two.hypervisor.find("web1").state == DomainState.PAUSED
    assert two.hypervisor.migration_state(web1.uuid) == MigrationState.NONE
    two.hypervisor.unpause(web1.uuid)
    moved(two, web1.uuid, to(one, paused=True))
    assert one.hypervisor.find("web1").state == DomainState.PAUSED
    one.hypervisor.unpause(web1.uuid)
    assert_ticks_on(hosts, "web1")


def test_a_known_domain_is_known_where_it_was_asked_to_be(hosts: Hosts, one: MovingHost, two: MovingHost) -> None:
    one.hypervisor.define(xml(hosts, "web1"))
    uuid = one.hypervisor.find("web1").uuid
    one.hypervisor.unpause(one.hypervisor.start_known(uuid).uuid)
    moved(one, uuid, to(two, persist=True, keep=True))
    assert one.hypervisor.migration_state(uuid) == MigrationState.LEFT
    assert one.hypervisor.find(uuid).state == DomainState.SHUTOFF
    moved(two, uuid, to(one, persist=True))
    assert one.hypervisor.find(uuid).persistent
    assert_gone(two, uuid)
    moved(one, uuid, to(two))
    assert (one.hypervisor.find(uuid).started, two.hypervisor.find(uuid).persistent) == (False, False)


def test_what_a_domain_is_there_can_be_changed(hosts: Hosts, one: MovingHost, two: MovingHost, web1: DomainInfo) -> None:
    two.run("ip", "link", "add", "other0", "type", "bridge")
    two.run("ip", "link", "set", "other0", "up")
    text = one.hypervisor.migratable_xml(web1.uuid)
    moved(one, web1.uuid, to(two, xml=text.replace("'xenbr0'", "'other0'"), parallel=2, auto_converge=True))
    assert "<source bridge='other0'/>" in two.hypervisor.domain_xml(web1.uuid)


# -- disks


def own_disk(host: MovingHost, *, filled: bool = False) -> None:
    host.run("mkdir", "-p", str(OWN))
    host.run("dd", f"if=/dev/{'urandom' if filled else 'zero'}", f"of={OWN}/a.img", "bs=1M", "count=8", "status=none")


def sums(host: MovingHost) -> str:
    return host.run("sha256sum", f"{OWN}/a.img")


def test_a_disk_is_copied_encrypted_and_memory_alone_waits_for_the_word(
    hosts: Hosts, one: MovingHost, two: MovingHost
) -> None:
    own_disk(one, filled=True)
    own_disk(two)
    busy1 = one.hypervisor.create(xml(hosts, "busy1", busy=True, disks=[OWN / "a.img"]))
    hosts.slow("60mbit")
    two.run("ip", "addr", "add", "198.51.100.98/24", "dev", "up0")  # no certificate has it: the host's name counts
    tls = to(two, uri=two.tls, migrate_uri="tcp://198.51.100.98", tls=True, copy=("vda",))
    job = one.hypervisor.begin_migration(busy1.uuid, tls)
    phases: list[str] = []
    while not phases or phases[-1] != MigrationPhase.MEMORY:
        assert not job.ended(0.005), phases
        told = one.hypervisor.migration_progress(busy1.uuid)
        if told is not None and told.phase not in phases:
            phases.append(told.phase)
            if told.phase == MigrationPhase.DISKS:
                assert told.disk_total == 8 * 1024 * 1024
                one.hypervisor.set_bandwidth(busy1.uuid, 1)
    assert phases == [MigrationPhase.SETUP, MigrationPhase.DISKS, MigrationPhase.MEMORY]
    assert not job.ended(1.5), "it changes 5 MiB/s, and 1 MiB/s goes over"
    one.hypervisor.set_bandwidth(busy1.uuid, None)
    wait(job)
    assert sums(one) == sums(two)


# -- on the way


def test_a_guest_that_outruns_the_link_is_told_and_ends_with_a_longer_pause(
    hosts: Hosts, one: MovingHost, two: MovingHost, busy1: DomainInfo
) -> None:
    hosts.slow("5mbit")
    job = one.hypervisor.begin_migration(busy1.uuid, to(two))
    told = copying(one, busy1.uuid)
    assert one.hypervisor.migration_state(busy1.uuid) == MigrationState.OUTGOING
    assert two.hypervisor.migration_state(busy1.uuid) == MigrationState.INCOMING
    assert two.hypervisor.find(busy1.uuid).state == DomainState.PAUSED
    while told.iteration < 3:
        assert not job.ended(0.1)
        told = one.hypervisor.migration_progress(busy1.uuid) or told
    deadline = time.monotonic() + 40

    def is_outrun() -> bool:
        """At the rates of the guest and of the link, and with a pause that is longer than it may be: a moment may be unlike."""
        return told.dirty_rate > 100_000 and 300_000 < told.memory_rate < 1_000_000 and told.downtime > 300

    while not is_outrun():
        assert not job.ended(0.1)
        assert time.monotonic() < deadline, told
        told = one.hypervisor.migration_progress(busy1.uuid) or told
    with pytest.raises(DomainBusy):
        moved(one, busy1.uuid, to(two))
    one.hypervisor.set_max_downtime(busy1.uuid, 5000)
    wait(job)
    last = two.hypervisor.last_migration(busy1.uuid)
    assert last is not None
    assert 300 < last.downtime < 8000
    assert_ticks_on(hosts, "busy1")


def test_a_migration_that_is_given_up_leaves_the_guest_here(
    hosts: Hosts, one: MovingHost, two: MovingHost, busy1: DomainInfo
) -> None:
    hosts.slow("5mbit")
    job = one.hypervisor.begin_migration(busy1.uuid, to(two))
    copying(one, busy1.uuid)
    job.abort()
    with pytest.raises(MigrationAborted):
        job.result()
    assert one.hypervisor.migration_state(busy1.uuid) == MigrationState.NONE
    assert one.hypervisor.migration_progress(busy1.uuid) is None
    assert_gone(two, busy1.uuid)
    assert_ticks_on(hosts, "busy1")


def in_postcopy(one: MovingHost, two: MovingHost, uuid: str) -> MigrationJob:
    """A transfer of a guest that runs there, and has most of its memory here."""
    job = one.hypervisor.begin_migration(uuid, to(two, postcopy=True))
    copying(one, uuid)
    one.hypervisor.to_postcopy(uuid)
    eventually(lambda: two.hypervisor.migration_state(uuid) == MigrationState.POSTCOPY_IN, what="it runs there")
    assert one.hypervisor.migration_state(uuid) == MigrationState.POSTCOPY_OUT
    return job


def test_a_guest_in_postcopy_runs_there_and_cannot_be_called_back_but_taken_up_again(
    hosts: Hosts, one: MovingHost, two: MovingHost, busy1: DomainInfo
) -> None:
    hosts.slow("1mbit")
    job = in_postcopy(one, two, busy1.uuid)
    told = one.hypervisor.migration_progress(busy1.uuid)
    assert told is not None
    assert told.phase == MigrationPhase.POSTCOPY
    assert two.hypervisor.find(busy1.uuid).state == DomainState.RUNNING
    with pytest.raises(HypervisorError, match="too late to give it up"):
        job.abort()
    with pytest.raises(HypervisorError, match="its connection is needed"):
        job.sever()
    postcopy = one.hypervisor._libvirt.VIR_DOMAIN_ABORT_JOB_POSTCOPY
    one.hypervisor._connection.lookupByUUIDString(busy1.uuid).abortJobFlags(postcopy)
    assert job.ended(10)
    with pytest.raises(HypervisorError):
        job.result()
    assert one.hypervisor.migration_state(busy1.uuid) == MigrationState.STALLED_OUT
    assert two.hypervisor.migration_state(busy1.uuid) == MigrationState.STALLED_IN
    hosts.fast()
    wait(one.hypervisor.recover_postcopy(busy1.uuid, to(two, postcopy=True)))
    assert two.hypervisor.migration_state(busy1.uuid) == MigrationState.ARRIVED
    assert_gone(one, busy1.uuid)
    assert_ticks_on(hosts, "busy1")


def test_a_postcopy_over_a_link_that_was_cut_goes_on_by_itself(
    hosts: Hosts, one: MovingHost, two: MovingHost, busy1: DomainInfo
) -> None:
    hosts.slow("1mbit")
    job = in_postcopy(one, two, busy1.uuid)
    hosts.cut(two)
    with pytest.raises(MigrationLost):
        wait(job)
    assert one.hypervisor.migration_state(busy1.uuid) == MigrationState.STALLED_OUT
    hosts.heal(two)
    with pytest.raises(DomainBusy, match="goes on by itself"):
        wait(one.hypervisor.recover_postcopy(busy1.uuid, to(two, postcopy=True)))
    hosts.fast()
    eventually(lambda: two.hypervisor.migration_state(busy1.uuid) == MigrationState.ARRIVED, 40, what="it arrives")
    eventually(lambda: not one.hypervisor.domains(), what="nothing is left")
    assert_ticks_on(hosts, "busy1")


def test_a_link_cut_before_a_guest_in_postcopy_runs_there_leaves_it_stalled_here(
    hosts: Hosts, one: MovingHost, two: MovingHost, busy1: DomainInfo
) -> None:
    """QEMU 7.2 lets it run on nowhere: it can only be ended, and started anew."""
    hosts.slow("1mbit")
    job = one.hypervisor.begin_migration(busy1.uuid, to(two, postcopy=True))
    copying(one, busy1.uuid)
    one.hypervisor.to_postcopy(busy1.uuid)
    eventually(lambda: one.hypervisor.migration_state(busy1.uuid) == MigrationState.POSTCOPY_OUT, what="it stops here")
    hosts.cut(two)
    with pytest.raises(MigrationLost):
        wait(job)
    hosts.heal(two)
    eventually(lambda: not two.hypervisor.domains(), what="nothing is there")
    assert one.hypervisor.find(busy1.uuid).state == DomainState.PAUSED
    assert one.hypervisor.migration_state(busy1.uuid) == MigrationState.STALLED_OUT
    one.hypervisor.destroy(busy1.uuid)
    assert one.hypervisor.create(xml(hosts, "busy1", uuid=busy1.uuid)).started


# -- what does not go


def test_each_reason_why_the_other_host_does_not_have_it_is_told(
    hosts: Hosts, one: MovingHost, two: MovingHost, web1: DomainInfo
) -> None:
    def said(**words: object) -> str:
        return refusal(one, web1.uuid, to(two, **words))

    assert said(uri="qemu+tcp://nowhere/system").startswith("Cannot find the address of nowhere; ")
    assert said(uri="qemu+tcp://host2:1/system") == (
        "Cannot connect to host2:1: Connection refused; libvirtd, or QEMU, must be reachable there: "
        "run 'xmcompat migrate setup host2'"
    )
    assert said(uri=two.tls + "?pkipath=/nonexistent") == (
        "There is no /nonexistent/cacert.pem here, for TLS to host2; run 'xmcompat migrate setup host2'"
    )
    two.run("ip", "addr", "add", "198.51.100.99/24", "dev", "up0")
    assert said(uri="qemu+tls://198.51.100.99/system").startswith("The certificates of 198.51.100.99 and of this host")
    two.run("ip", "addr", "del", "198.51.100.99/24", "dev", "up0")
    assert said(uri="qemu+ssh://host2/system").startswith("Cannot reach host2 by ssh: ")
    assert said(uri=one.tcp) == "host1 is this host itself"
    assert said(copy=("vdz",)) == "host2 does not take the domain: invalid argument: disk target vdz not found"
    assert said(listen="198.51.100.77").startswith("host2 cannot wait for the guest: Cannot assign requested address; ")
    two.run("ip", "link", "set", "xenbr0", "name", "hidden0")
    assert said() == "host2 has no bridge xenbr0; make it there, with 'xmcompat network'"
    two.run("ip", "link", "set", "hidden0", "name", "xenbr0")
    other = two.hypervisor.create(xml(hosts, "other", idle=True).replace("<name>other", "<name>web1"))
    assert said().startswith(f"host2 has another domain 'web1', with the uuid {other.uuid}; ")
    two.hypervisor.destroy(other.uuid)
    two.hypervisor.create(xml(hosts, "other", idle=True, uuid=web1.uuid))
    assert said().startswith("host2 has a domain of the same uuid, 'other'; ")


def test_a_disk_that_is_not_fit_or_not_there_is_told(hosts: Hosts, one: MovingHost, two: MovingHost) -> None:
    own_disk(one)
    web1 = one.hypervisor.create(xml(hosts, "web1", disks=[OWN / "a.img"]))
    two.run("rm", "-rf", str(OWN))
    assert "shared storage" in refusal(one, web1.uuid, to(two))
    assert refusal(one, web1.uuid, to(two, unsafe=True)) == f"host2 cannot open the disk {OWN}/a.img: No such file or directory"
    assert refusal(one, web1.uuid, to(two, copy=("vda",))) == f"host2 has nothing in {OWN} to which a disk could be copied"


# -- what goes wrong

#: A fault while memory is copied, what it is told as, and on which of the two hosts the guest is alive then.
FAULTS: list[tuple[str, Callable[[Hosts, LibvirtKvm, str], object], type[XmError], tuple[bool, bool]]] = [
    ("QEMU there is killed", lambda hosts, _h, _u: hosts.nodes[1].kill_qemu(), MigrationLost, (True, False)),
    ("libvirtd there is killed", lambda hosts, _h, _u: hosts.nodes[1].kill_libvirtd(), MigrationLost, (True, False)),
    ("the other host loses power", lambda hosts, _h, _u: hosts.nodes[1].crash(), MigrationLost, (True, False)),
    ("the link is cut", lambda hosts, _h, _u: hosts.cut(hosts.nodes[1]), MigrationLost, (True, False)),
    ("libvirtd here is killed", lambda hosts, _h, _u: hosts.nodes[0].kill_libvirtd(), ConnectionLost, (True, False)),
    ("QEMU here is killed", lambda hosts, _h, _u: hosts.nodes[0].kill_qemu(), DomainEnding, (False, False)),
    ("it is destroyed here", lambda _hosts, here, uuid: here.destroy(uuid), DomainEnding, (False, False)),
    ("it is destroyed there", lambda hosts, _h, uuid: hosts.nodes[1].hypervisor.destroy(uuid), MigrationLost, (True, False)),
]


@pytest.mark.parametrize(("fault", "error", "alive"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_a_fault_while_memory_is_copied_leaves_no_second_guest(
    hosts: Hosts, one: MovingHost, two: MovingHost, busy1: DomainInfo, fault: Callable[[Hosts, LibvirtKvm, str], object],
    error: type[XmError], alive: tuple[bool, bool],
) -> None:  # fmt: skip
    hosts.slow("1mbit")
    job = one.hypervisor.begin_migration(busy1.uuid, to(two))
    copying(one, busy1.uuid)
    fault(hosts, one.hypervisor, busy1.uuid)
    with pytest.raises(XmError) as raised:
        wait(job)
    assert type(raised.value) is error, raised.value
    if not two.node.running:
        hosts.boot(two)
    hosts.heal(two)
    for host in hosts.nodes:
        host.await_libvirtd()
    eventually(
        lambda: tuple(bool(host.hypervisor.domains()) for host in hosts.nodes) == alive, what=f"it is alive: {alive}"
    )  # fmt: skip
    if alive[0]:
        assert one.hypervisor.migration_state(busy1.uuid) == MigrationState.NONE
        assert_ticks_on(hosts, "busy1")


# -- hosts


def test_a_host_tells_what_decides_about_a_migration(hosts: Hosts, one: MovingHost, two: MovingHost) -> None:
    here, there = (host.hypervisor.migration_host() for host in (one, two))
    assert here.uuid == (one.node.directory / "host_uuid").read_text() != there.uuid
    assert (here.name, there.name) == ("host1", "host2")
    assert (here.libvirt, here.emulator) == (there.libvirt, there.emulator)
    assert re.fullmatch(r"\d+\.\d+\.\d+", here.libvirt)
    assert re.fullmatch(r"\d+\.\d+\.\d+", here.emulator)
    assert {"pc", "q35"} <= set(here.machines)
    assert any(name.startswith("pc-i440fx-") for name in here.machines)


def test_a_host_tells_which_features_its_processor_lacks(hosts: Hosts, one: MovingHost) -> None:
    def domain(cpu: str) -> str:
        return tick_xml("web1", hosts.shared, kvm=False).replace("<devices>", f"{cpu}<devices>")

    # no emulator by TCG of a processor with AVX-512
    wanting = "<cpu mode='custom' match='exact' check='partial'><model fallback='forbid'>Skylake-Server</model></cpu>"
    assert "avx512f" in one.hypervisor.cpu_refusal(domain(wanting))
    fitting = "<cpu mode='custom' match='exact' check='partial'><model fallback='forbid'>qemu64</model></cpu>"
    assert one.hypervisor.cpu_refusal(domain(fitting.replace("partial", "none"))) == ""
    assert one.hypervisor.cpu_refusal(domain("")) == ""
    assert one.hypervisor.cpu_refusal(domain("<cpu mode='host-passthrough'/>")) == ""
