"""Memory, vcpus, pins, shares and quotas through the Hypervisor protocol, against a real libvirtd."""

from __future__ import annotations

import pytest

from tests.lab.fixtures import Starter
from xmcompat.backends import domain_xml
from xmcompat.backends.hypervisor import DomainState, Scheduling
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.local_host import busy_vcpus, host_cpus
from xmcompat.backends.machine import Accelerator, DeviceBoot, Machine, XenRecord
from xmcompat.errors import DomainNotFound, HypervisorError

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

both = pytest.mark.parametrize("accelerator", [Accelerator.KVM, Accelerator.TCG], ids=["kvm", "tcg"])
CPUS = tuple(cpu.number for cpu in host_cpus())


def machine(name: str, accelerator: Accelerator = Accelerator.TCG, **changes: object) -> str:
    """A guest with nothing to boot, as xm would have libvirt start it."""
    values: dict[str, object] = {
        "uuid": None, "memory": 64 * 1024, "current_memory": 64 * 1024, "vcpus": 3, "boot": DeviceBoot(), **changes,
    }  # fmt: skip
    return domain_xml.render(Machine(name=name, accelerator=accelerator, **values))  # type: ignore[arg-type]


def known(hypervisor: LibvirtKvm, name: str, **changes: object) -> str:
    """Define a guest that is off; returns its uuid."""
    return str(hypervisor._connection.defineXML(machine(name, **changes)).UUIDString())  # type: ignore[arg-type]


# -- vcpus


@both
def test_each_vcpu_has_a_place_and_its_time(hypervisor: LibvirtKvm, accelerator: Accelerator) -> None:
    info = hypervisor.create(machine("places", accelerator, vcpus_online=2))
    rows = hypervisor.vcpus(info.uuid)
    assert [(row.number, row.online, row.affinity) for row in rows] == [(0, True, CPUS), (1, True, CPUS), (2, False, CPUS)]
    assert all(row.cpu in CPUS and row.state in (DomainState.RUNNING, DomainState.BLOCKED) for row in rows[:2])
    assert rows[2].cpu is None
    assert hypervisor.find("places").cpu_time >= rows[0].cpu_time >= 0
    assert sorted(busy_vcpus(("-uuid", info.uuid))) == [0, 1]


def test_a_vcpu_of_a_paused_guest_waits(hypervisor: LibvirtKvm) -> None:
    info = hypervisor.create(machine("waits"), paused=True)
    assert {row.state for row in hypervisor.vcpus(info.uuid)} == {DomainState.BLOCKED}


@both
def test_more_vcpus_come_online_and_no_more_than_there_are(hypervisor: LibvirtKvm, accelerator: Accelerator) -> None:
    info = hypervisor.create(machine("grows", accelerator, vcpus_online=1))
    hypervisor.set_vcpus(info.uuid, 2)
    assert [row.online for row in hypervisor.vcpus(info.uuid)] == [True, True, False]
    assert hypervisor.find("grows").vcpus == 2
    with pytest.raises(HypervisorError, match="greater than max allowable vcpus"):
        hypervisor.set_vcpus(info.uuid, 4)


def test_a_guest_without_a_kernel_lets_go_of_no_vcpu(hypervisor: LibvirtKvm) -> None:
    info = hypervisor.create(machine("keeps", Accelerator.KVM))
    with pytest.raises(HypervisorError, match="^The guest cannot let go of vcpus now$") as raised:
        hypervisor.set_vcpus(info.uuid, 1)
    assert raised.value.hint == "it can once its kernel runs, if it has ACPI and xm has started it"
    fixed = hypervisor.create(machine("fixed", Accelerator.KVM, acpi=False))
    with pytest.raises(HypervisorError, match="^The guest cannot let go of vcpus now$"):
        hypervisor.set_vcpus(fixed.uuid, 1)


def test_an_emulated_guest_keeps_its_vcpus(hypervisor: LibvirtKvm) -> None:
    """QEMU itself would let go of one, but would not say so: libvirt would take it for online ever after."""
    info = hypervisor.create(machine("emulated"))
    with pytest.raises(HypervisorError, match="^An emulated guest keeps its vcpus$"):
        hypervisor.set_vcpus(info.uuid, 1)
    hypervisor.set_vcpus(info.uuid, 3)
    assert hypervisor.find("emulated").vcpus == 3


def test_of_a_halted_domain_the_number_of_vcpus_is_set(hypervisor: LibvirtKvm) -> None:
    uuid = known(hypervisor, "halted")
    for count in (5, 2, 1, 4):
        hypervisor.set_vcpus(uuid, count)
        rows = hypervisor.vcpus(uuid)
        assert [(row.number, row.online, row.cpu) for row in rows] == [(number, False, None) for number in range(count)]
        assert hypervisor.find("halted").vcpus == count


@both
def test_pins_hold_for_vcpus_that_are_online_or_not(hypervisor: LibvirtKvm, accelerator: Accelerator) -> None:
    info = hypervisor.create(machine("pinned", accelerator, vcpus_online=2))
    hypervisor.pin_vcpu(info.uuid, 0, [CPUS[-1], 4000])
    hypervisor.pin_vcpu(info.uuid, 2, [CPUS[0]])
    assert [row.affinity for row in hypervisor.vcpus(info.uuid)] == [CPUS[-1:], CPUS, CPUS[:1]]
    hypervisor.set_vcpus(info.uuid, 3)
    assert [row.affinity for row in hypervisor.vcpus(info.uuid)] == [CPUS[-1:], CPUS, CPUS[:1]]
    hypervisor.pin_vcpu(info.uuid, 0, CPUS)
    assert hypervisor.vcpus(info.uuid)[0].affinity == CPUS
    with pytest.raises(HypervisorError):
        hypervisor.pin_vcpu(info.uuid, 3, CPUS)


def test_pins_of_a_halted_domain_are_kept(hypervisor: LibvirtKvm) -> None:
    uuid = known(hypervisor, "pinned-off")
    hypervisor.pin_vcpu(uuid, 1, CPUS[:1])
    assert [row.affinity for row in hypervisor.vcpus(uuid)] == [CPUS, CPUS[:1], CPUS]


def test_where_a_vcpu_stays_half_gone_the_others_are_still_there(
    hypervisor: LibvirtKvm, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = hypervisor.create(machine("stuck", vcpus_online=2))
    libvirt = hypervisor._libvirt
    hypervisor._close_wire()

    def vcpus(_domain: object) -> None:
        error = libvirt.libvirtError("")
        error.err = (38, 10, "cannot get CPU affinity of process 57: No such process", 2, "", None, None, 3, -1)
        raise error

    monkeypatch.setattr(libvirt.virDomain, "vcpus", vcpus)
    monkeypatch.setattr("xmcompat.backends.libvirt_tuning._PATIENCE", 2)
    rows = hypervisor.vcpus(info.uuid)
    assert [(row.online, row.cpu, row.cpu_time, row.affinity) for row in rows] == [
        (True, None, 0, CPUS), (True, None, 0, CPUS), (False, None, 0, CPUS),
    ]  # fmt: skip


# -- memory


def test_the_balloon_is_told_at_once_and_the_limit_holds(hypervisor: LibvirtKvm) -> None:
    info = hypervisor.create(machine("balloon"))
    hypervisor.set_memory(info.uuid, 32 * 1024)
    assert hypervisor.find("balloon").max_memory == 64 * 1024
    with pytest.raises(HypervisorError, match="cannot set memory higher than max memory"):
        hypervisor.set_memory(info.uuid, 65 * 1024)


def test_a_guest_without_a_balloon_is_refused(hypervisor: LibvirtKvm, start: Starter) -> None:
    info = start("bare")
    with pytest.raises(HypervisorError, match="without the balloon device"):
        hypervisor.set_memory(info.uuid, 8 * 1024)


def test_memory_of_a_halted_domain_is_what_it_starts_with(hypervisor: LibvirtKvm) -> None:
    uuid = known(hypervisor, "halted")
    hypervisor.set_max_memory(uuid, 128 * 1024)
    hypervisor.set_memory(uuid, 96 * 1024)
    info = hypervisor.find("halted")
    assert (info.memory, info.max_memory) == (96 * 1024, 128 * 1024)
    hypervisor.set_max_memory(uuid, 80 * 1024)
    assert hypervisor.find("halted").max_memory == 80 * 1024


def test_what_is_set_on_a_known_domain_that_runs_counts_for_its_next_start_too(hypervisor: LibvirtKvm) -> None:
    uuid = known(hypervisor, "both")
    hypervisor._connection.lookupByUUIDString(uuid).create()
    hypervisor.set_memory(uuid, 32 * 1024)
    hypervisor.pin_vcpu(uuid, 0, CPUS[:1])
    hypervisor.set_scheduling(uuid, shares=2048, quota=50_000)
    hypervisor.destroy(uuid)
    assert hypervisor.find("both").memory == 32 * 1024
    assert hypervisor.vcpus(uuid)[0].affinity == CPUS[:1]
    assert hypervisor.scheduling(uuid) == Scheduling(2048, 50_000)


# -- shares and quotas


@both
def test_shares_and_quotas_are_set_read_and_lifted(hypervisor: LibvirtKvm, accelerator: Accelerator) -> None:
    info = hypervisor.create(machine("weighs", accelerator))
    usual = hypervisor.scheduling(info.uuid)
    assert usual is not None
    assert (usual.shares in (100, 1024), usual.quota) == (True, 0)
    hypervisor.set_scheduling(info.uuid, shares=usual.shares * 2)
    assert hypervisor.scheduling(info.uuid) == Scheduling(usual.shares * 2, 0)
    hypervisor.set_scheduling(info.uuid, quota=150_000)
    assert hypervisor.scheduling(info.uuid) == Scheduling(usual.shares * 2, 150_000)
    hypervisor.set_scheduling(info.uuid, shares=usual.shares, quota=0)
    assert hypervisor.scheduling(info.uuid) == usual


def test_a_quota_of_each_vcpu_counts_for_all_of_them(hypervisor: LibvirtKvm) -> None:
    info = hypervisor.create(machine("each"))
    domain = hypervisor._connection.lookupByUUIDString(info.uuid)
    domain.setSchedulerParametersFlags({"vcpu_period": 50_000, "vcpu_quota": 10_000}, 0)
    now = hypervisor.scheduling(info.uuid)
    assert now is not None
    assert now.quota == 60_000


def test_a_halted_domain_has_the_usual_shares_until_they_are_set(hypervisor: LibvirtKvm) -> None:
    uuid = known(hypervisor, "later")
    assert hypervisor.scheduling(uuid) == Scheduling(0, 0)
    hypervisor.set_scheduling(uuid, shares=512, quota=25_000)
    assert hypervisor.scheduling(uuid) == Scheduling(512, 25_000)
    hypervisor.set_scheduling(uuid, quota=0)
    assert hypervisor.scheduling(uuid) == Scheduling(512, 0)


# -- where it is kept


def test_the_record_is_replaced(hypervisor: LibvirtKvm) -> None:
    first = XenRecord(sxp="(vm (name kept))", source="/etc/xen/kept", started=12.5, consoles=("serial0", "console1"))
    info = hypervisor.create(machine("kept", record=first))
    second = XenRecord(sxp="(vm (name \"k'ept & <more>\"))", source="/etc/xen/kept", started=12.5)
    for record in (second, first):
        hypervisor.set_metadata(info.uuid, domain_xml.render_record(record))
        text = hypervisor.metadata(info.uuid)
        assert text is not None
        assert domain_xml.read_record(text) == record
        assert domain_xml.parse(hypervisor.domain_xml(info.uuid)).record == record


def test_the_metadata_of_others_stays(hypervisor: LibvirtKvm, start: Starter) -> None:
    info = start("others", paused=True, metadata="<y:thing xmlns:y='urn:somebody:else'/>")
    hypervisor.set_metadata(info.uuid, "<guest>(vm)</guest>")
    assert "urn:somebody:else" in hypervisor.domain_xml(info.uuid)
    assert hypervisor.metadata(info.uuid) == "<guest>(vm)</guest>"


GONE = "0b1c2d3e-0000-4000-8000-0000000000ff"


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("vcpus", ()), ("set_vcpus", (1,)), ("pin_vcpu", (0, [0])), ("set_memory", (1024,)), ("set_max_memory", (1024,)),
        ("scheduling", ()), ("set_scheduling", ()), ("set_metadata", ("<guest/>",)),
    ],
)  # fmt: skip
def test_every_call_about_a_domain_that_is_gone_says_so(
    hypervisor: LibvirtKvm, method: str, arguments: tuple[object, ...]
) -> None:
    with pytest.raises(DomainNotFound) as raised:
        getattr(hypervisor, method)(GONE, *arguments)
    assert raised.value.designation == GONE


def test_the_cpus_of_the_host(hypervisor: LibvirtKvm) -> None:
    cpus = hypervisor.host_cpus()
    assert len([cpu for cpu in cpus if cpu.online]) == hypervisor.host().cpus
    assert all(cpu.cpu == cpu.number and cpu.affinity == CPUS for cpu in cpus if cpu.online)
    assert 0 < sum(cpu.cpu_time for cpu in cpus) <= hypervisor.host().cpu_time
