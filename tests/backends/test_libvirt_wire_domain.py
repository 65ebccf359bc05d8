"""What is asked of one domain over the wire is what libvirt itself answers."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backends.test_libvirt_wire import Peer
from tests.lab.fixtures import Starter
from tests.lab.guests import tick_xml
from xmcompat.backends import libvirt_wire_domain, libvirt_wire_tuning
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.libvirt_wire import NotAsExpected
from xmcompat.errors import DomainNotFound

RECORD = "<x:guest xmlns:x='urn:xmcompat:guest:1' dialect='xm'>(vm (name r\u00f6se))</x:guest>"


QUESTIONS: dict[str, Callable[[LibvirtKvm, str], object]] = {
    "find": lambda hypervisor, uuid: hypervisor.find(uuid),
    "xml": lambda hypervisor, uuid: hypervisor.domain_xml(uuid),
    "xml with secrets": lambda hypervisor, uuid: hypervisor.domain_xml(uuid, secrets=True),
    "metadata": lambda hypervisor, uuid: hypervisor.metadata(uuid),
    "scheduling": lambda hypervisor, uuid: hypervisor.scheduling(uuid),
    "affinity": lambda hypervisor, uuid: [(row.number, row.online, row.affinity) for row in hypervisor.vcpus(uuid)],
}


@pytest.mark.libvirt
@pytest.mark.parametrize("question", QUESTIONS)
def test_wire_and_libvirt_tell_the_same_of_running_paused_and_halted_domains(
    both: tuple[LibvirtKvm, LibvirtKvm], start: Starter, roms: Path, question: str
) -> None:
    wired, plain = both
    domains = [start("runs", idle=True), start("waits", paused=True, metadata=RECORD)]
    halted = str(uuids.uuid4())
    plain._connection.defineXML(tick_xml("halted", roms, uuid=halted, metadata=RECORD))
    plain.pin_vcpu(domains[1].uuid, 0, [1])
    for uuid in (*(info.uuid for info in domains), halted):
        answers = [QUESTIONS[question](hypervisor, uuid) for hypervisor in (wired, plain)]
        if question == "find":
            answers = [info._replace(cpu_time=0) for info in answers]  # type: ignore[attr-defined]
        assert answers[0] == answers[1]


@pytest.mark.libvirt
def test_the_wire_tells_what_is_known_by_name_or_uuid_and_no_id(
    both: tuple[LibvirtKvm, LibvirtKvm], start: Starter, roms: Path
) -> None:
    wired, plain = both
    runs, halted = start("runs", idle=True), str(uuids.uuid4())
    plain._connection.defineXML(tick_xml("halted", roms, uuid=halted))
    wire = wired._wire
    assert wire is not None
    for designation in ("runs", runs.uuid, "halted", halted):
        assert libvirt_wire_domain.is_known(wire, designation), designation
    for designation in ("nosuch", "", str(runs.domid), str(uuids.uuid4()), "a\0b", "\udcff"):
        assert not libvirt_wire_domain.is_known(wire, designation), designation


@pytest.mark.libvirt
def test_the_wire_tells_libvirts_version(both: tuple[LibvirtKvm, LibvirtKvm]) -> None:
    wired, plain = both
    assert wired._wire is not None
    assert libvirt_wire_domain.library_version(wired._wire) == plain._connection.getLibVersion()
    assert wired._version() == plain._version() == plain._connection.getLibVersion()


@pytest.mark.libvirt
def test_a_sweep_of_what_is_unknown_opens_no_library(both: tuple[LibvirtKvm, LibvirtKvm], start: Starter) -> None:
    wired, _ = both
    start("runs", idle=True)
    wired.sweep("nosuch", str(uuids.uuid4()))
    assert wired._opened is None
    wired.sweep("nosuch", "runs")
    assert wired._opened is not None
    assert wired.find("runs").name == "runs"


@pytest.mark.libvirt
def test_a_save_of_what_is_unknown_says_so(both: tuple[LibvirtKvm, LibvirtKvm], tmp_path: Path) -> None:
    for hypervisor in both:
        job = hypervisor.begin_save(str(uuids.uuid4()), str(tmp_path / "file"))
        assert job.ended(30.0)
        with pytest.raises(DomainNotFound):
            job.result()


@pytest.mark.libvirt
def test_the_wire_finds_by_name_then_id_then_uuid(both: tuple[LibvirtKvm, LibvirtKvm], start: Starter) -> None:
    wired, plain = both
    other = start("other", idle=True)
    hiding = start(str(other.domid), idle=True)
    for designation in ("other", str(other.domid), f"0{other.domid}", other.uuid, hiding.uuid, str(hiding.domid)):
        assert wired.find(designation).uuid == plain.find(designation).uuid, designation


@pytest.mark.libvirt
@pytest.mark.parametrize(
    "designation",
    ["", "nosuch", "9999", "99999999999999999999", "a\0b", "\udcff", "-1", "\u0661", "0" * 36, "x" * 5000, "9" * 5000,
     "11111111-2222-3333-4444-55555555555", "11111111-2222-4333-8444-555555555555",
     "11111111-2222-4333-8444-55555555555g", "AAAAAAAA-2222-4333-8444-555555555555"],
)  # fmt: skip
def test_what_names_no_domain_is_not_found_either_way(both: tuple[LibvirtKvm, LibvirtKvm], designation: str) -> None:
    for hypervisor in both:
        with pytest.raises(DomainNotFound):
            hypervisor.find(designation)


@pytest.mark.libvirt
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_domain_that_has_gone_is_not_found_either_way(both: tuple[LibvirtKvm, LibvirtKvm], question: str) -> None:
    for hypervisor in both:
        with pytest.raises(DomainNotFound):
            QUESTIONS[question](hypervisor, str(uuids.uuid4()))


PACKED = pack(">I", 3) + b"web\0" + bytes(range(16)) + pack(">i", 7)
UUID = str(uuids.UUID(bytes=bytes(range(16))))


@settings(max_examples=200, deadline=None)
@given(bodies=st.lists(st.binary(max_size=80), min_size=4, max_size=4))
def test_nonsense_in_answers_is_handed_to_libvirt(bodies: list[bytes]) -> None:
    for ask in (
        lambda wire: libvirt_wire_domain.find(wire, "web"),
        lambda wire: libvirt_wire_domain.xml(wire, UUID, 0),
        lambda wire: libvirt_wire_domain.metadata(wire, UUID, "urn:x"),
        lambda wire: libvirt_wire_tuning.vcpus(wire, UUID),
        lambda wire: libvirt_wire_tuning.scheduling(wire, UUID),
    ):
        peer = Peer()
        try:
            peer.answer(PACKED, *bodies)
            peer.theirs.shutdown(1)
            ask(peer.wire)
        except (NotAsExpected, ConnectionResetError):
            pass
        finally:
            peer.wire._socket.close()
            peer.theirs.close()
