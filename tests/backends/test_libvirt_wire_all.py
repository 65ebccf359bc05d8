"""What is asked of many domains at once over the wire: the same as libvirt's own answers, and no domain's end harms it."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backends.test_libvirt_wire import Peer, listed
from tests.lab.fixtures import Starter
from tests.lab.guests import tick_xml
from xmcompat.backends import libvirt_wire_all
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.kept_mark import Mark, Phase
from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.backends.libvirt_wire import NotAsExpected
from xmcompat.backends.libvirt_wire_domain import LOOKUP_BY_UUID
from xmcompat.backends.record import METADATA_URI

RECORD = "<x:guest xmlns:x='urn:xmcompat:guest:1' dialect='xm'>(vm (name r\u00f6se))</x:guest>"
UUID = str(uuids.UUID(bytes=bytes(range(16))))


@pytest.fixture
def several(both: tuple[LibvirtKvm, LibvirtKvm], start: Starter, roms: Path) -> list[DomainInfo]:
    """One that runs, one that waits and is pinned, one that is known and off."""
    wired, plain = both
    start("runs", idle=True)
    waiting = start("waits", paused=True, metadata=RECORD)
    plain._connection.defineXML(tick_xml("halted", roms, uuid=str(uuids.uuid4()), metadata=RECORD))
    plain.pin_vcpu(waiting.uuid, 0, [1])
    return wired.domains()


QUESTIONS: dict[str, Callable[[LibvirtKvm, list[DomainInfo]], dict[str, object]]] = {
    "metadata": lambda hypervisor, infos: {**hypervisor.metadata_of(infos)},
    "metadata of all": lambda hypervisor, _: {**hypervisor.domains_with_metadata()[1]},
    "scheduling": lambda hypervisor, infos: {**hypervisor.scheduling_of(infos)},
    "vcpus": lambda hypervisor, infos: {
        uuid: [(row.number, row.online, row.affinity) for row in rows]
        for uuid, rows in hypervisor.vcpus_of(infos).items()
    },
}


@pytest.mark.libvirt
@pytest.mark.parametrize("question", QUESTIONS)
def test_wire_and_libvirt_tell_the_same_of_all_domains(
    both: tuple[LibvirtKvm, LibvirtKvm], several: list[DomainInfo], question: str
) -> None:
    wired, plain = (QUESTIONS[question](hypervisor, several) for hypervisor in both)
    assert wired == plain
    assert set(wired) == {info.uuid for info in several}


@pytest.mark.libvirt
def test_the_vcpus_of_one_that_has_some_offline_are_all_told(
    both: tuple[LibvirtKvm, LibvirtKvm], hypervisor: LibvirtKvm, roms: Path
) -> None:
    xml = tick_xml("some", roms, idle=True).replace("<vcpu>1</vcpu>", "<vcpu current='1'>3</vcpu>")
    assert "current='1'" in xml
    info = hypervisor.create(xml)
    rows = both[0].vcpus_of([info])[info.uuid]
    assert [row.online for row in rows] == [True, False, False]
    assert [row._replace(cpu=0, cpu_time=0, state="") for row in rows] == [
        row._replace(cpu=0, cpu_time=0, state="") for row in both[1].vcpus(info.uuid)
    ]


@pytest.mark.libvirt
@pytest.mark.parametrize("question", ["metadata", "scheduling", "vcpus"])
def test_a_domain_that_has_ended_meanwhile_is_left_out_and_the_others_are_there(
    both: tuple[LibvirtKvm, LibvirtKvm], several: list[DomainInfo], question: str
) -> None:
    gone = several[0]._replace(name="gone", uuid=str(uuids.uuid4()), domid=99, state=DomainState.RUNNING)
    off = next(info for info in several if info.domid is None)
    ended = off._replace(domid=98, state=DomainState.RUNNING, vcpus=1)  # there a moment ago
    infos = [gone, *(ended if info is off else info for info in several)]
    wired = connect(both[0].uri)
    assert QUESTIONS[question](wired, infos) == QUESTIONS[question](both[1], several)
    wired.close()


@pytest.mark.libvirt
def test_no_domain_is_looked_up_and_the_calls_do_not_wait_for_one_another(
    both: tuple[LibvirtKvm, LibvirtKvm], several: list[DomainInfo]
) -> None:
    wire = both[0]._wire
    assert wire is not None
    batches: list[list[int]] = []
    call = wire._call

    def noted(calls: list[tuple[int, bytes]], meanwhile: Callable[[], None] = lambda: None) -> list[bytes | int]:
        batches.append([procedure for procedure, _ in calls])
        return call(calls, meanwhile)

    wire._call = noted  # type: ignore[method-assign]
    waited: list[str] = []
    both[0].domains_with_metadata(lambda: waited.append("meanwhile"))
    assert [len(batch) for batch in batches][:2] == [2, 2 * len(several)]
    assert waited == ["meanwhile"]
    del batches[:]
    both[0].metadata_of(several)
    both[0].scheduling_of(several)
    assert len(batches) == 2
    both[0].vcpus_of(several)
    assert len(batches) == 5
    assert not any(LOOKUP_BY_UUID in batch for batch in batches)


@pytest.mark.libvirt
@pytest.mark.parametrize("question", ["disk_uses", "known_disks"])
def test_wire_and_libvirt_tell_of_the_same_disks(
    both: tuple[LibvirtKvm, LibvirtKvm], several: list[DomainInfo], roms: Path, tmp_path: Path, question: str
) -> None:
    """Also of those that xm shows as there, or does not show: that is no matter of who has a disk."""
    image = tmp_path / "known.img"
    image.write_bytes(bytes(1 << 20))
    plain = both[1]
    for name, mark in (("other", None), ("crashed", Mark(Phase.CRASHED, 5)), ("left", Mark(Phase.MAKING))):
        uuid = str(uuids.uuid4())
        plain._connection.defineXML(tick_xml(name, roms, uuid=uuid, disks=[image]))
        plain.set_mark(uuid, mark, live=False)
    plain.create(tick_xml(" writes", roms, idle=True, disks=[image]))
    assert {info.name: info.state for info in both[0].domains()}["crashed"] == DomainState.CRASHED
    wired, told = (sorted(tuple(use) for use in getattr(hypervisor, question)()) for hypervisor in both)
    names = {"disk_uses": [" writes"], "known_disks": ["crashed", "left", "other"]}[question]
    assert wired == told == [(name, str(image), False, False, "raw") for name in names]
    assert both[0]._opened is None  # libvirt itself was not asked


def test_a_domain_whose_disks_cannot_be_told_is_not_passed_over() -> None:
    peer = Peer()
    two = pack(">I", 2) + listed(b"gone", 7) + listed(b"silent", 8) + pack(">I", 2)
    peer.answer(two)
    peer.answer(pack(">i", 42), status=1, first=1)
    peer.answer(pack(">i", 38), status=1, first=2)
    with pytest.raises(NotAsExpected):
        libvirt_wire_all.disk_uses(peer.wire)
    peer.answer(two, first=3)
    for serial in (4, 5):
        peer.answer(pack(">i", 42), status=1, first=serial)
    assert libvirt_wire_all.known_disks(peer.wire) == []
    peer.answer(pack(">i", 38), status=1, first=6)
    with pytest.raises(NotAsExpected):
        libvirt_wire_all.disk_uses(peer.wire)
    peer.close()


INFO = DomainInfo(7, "web", UUID, DomainState.RUNNING, 1024, 1024, 1, 0, False)


def test_an_error_about_one_domain_is_no_answer_and_none_about_metadata_is_no_record() -> None:
    peer = Peer()
    peer.answer(pack(">I", 1) + b"x\0\0\0")
    peer.answer(pack(">i", 80), status=1, first=1)
    peer.answer(pack(">i", 38), status=1, first=2)
    infos = [INFO._replace(uuid=str(uuids.UUID(int=number))) for number in range(3)]
    assert libvirt_wire_all.metadata(peer.wire, infos, METADATA_URI) == {infos[0].uuid: "x", infos[1].uuid: None}
    peer.close()


@settings(max_examples=200, deadline=None)
@given(bodies=st.lists(st.binary(max_size=80), min_size=4, max_size=4), first=st.sampled_from([b"", listed(b"web1", 7)]))
def test_nonsense_in_answers_is_handed_to_libvirt(bodies: list[bytes], first: bytes) -> None:
    for ask in (
        lambda wire: libvirt_wire_all.metadata(wire, [INFO], METADATA_URI),
        lambda wire: libvirt_wire_all.domains(wire, METADATA_URI, lambda: None),
        lambda wire: libvirt_wire_all.scheduling(wire, [INFO]),
        lambda wire: libvirt_wire_all.vcpus(wire, [INFO]),
        libvirt_wire_all.disk_uses,
    ):
        peer = Peer()
        try:
            peer.answer(first + bodies[0], *bodies[1:])
            peer.theirs.shutdown(1)
            ask(peer.wire)
        except (NotAsExpected, ConnectionResetError):
            pass
        finally:
            peer.close()
