"""A QEMU that ends before libvirt has asked it why. libvirt's answers are played; the guests that start are real."""

from collections.abc import Callable
from pathlib import Path

import libvirt
import pytest

from tests.lab.guests import tick_xml
from xmcompat.backends.hypervisor import DomainState
from xmcompat.backends.kept_mark import Mark, Phase
from xmcompat.backends.libvirt_errors import Failure, not_created
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.errors import HypervisorError

pytestmark = pytest.mark.libvirt

NOT_REACHED = "internal error: failed to connect to monitor socket: Connection refused"
CLOSED = "internal error: qemu unexpectedly closed the monitor"
UNKNOWN = (
    "QEMU has ended while the guest was started, and libvirt does not say why; "
    "the guest's log below /var/log/libvirt/qemu does"
)


def failing(monkeypatch: pytest.MonkeyPatch, of: type, call: str, times: int, text: str) -> list[str]:
    """CALL fails with TEXT that often before it is libvirt's own; the list has an entry for each time it was made."""
    own: Callable[..., object] = getattr(of, call)
    made: list[str] = []

    def answer(self: object, *words: object) -> object:
        made.append(call)
        if len(made) > times:
            return own(self, *words)
        error = libvirt.libvirtError("failed")
        error.err = (1, 10, text, 2, None, None, None, -1, -1)
        raise error

    monkeypatch.setattr(of, call, answer)
    return made


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_guest_is_started_again_where_the_reason_is_unknown(
    hypervisor: LibvirtKvm, roms: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    made = failing(monkeypatch, libvirt.virConnect, "createXML", times, NOT_REACHED)
    assert hypervisor.create(tick_xml("web1", roms), paused=True).state == DomainState.PAUSED
    assert len(made) == times + 1


def test_one_that_stays_after_its_end_too(hypervisor: LibvirtKvm, roms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = failing(monkeypatch, libvirt.virDomain, "createWithFlags", 2, NOT_REACHED)
    assert hypervisor.create_kept(tick_xml("web1", roms), Mark(Phase.MAKING), paused=True).state == DomainState.PAUSED
    assert len(made) == 3


def test_it_is_started_three_times_and_no_more(
    hypervisor: LibvirtKvm, roms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = failing(monkeypatch, libvirt.virConnect, "createXML", 9, NOT_REACHED)
    with pytest.raises(HypervisorError) as raised:
        hypervisor.create(tick_xml("web1", roms))
    assert (raised.value.line(), len(made)) == (UNKNOWN, 3)
    assert hypervisor.domains() == []


def test_what_has_a_reason_is_not_started_again(
    hypervisor: LibvirtKvm, roms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{CLOSED}: 2026-01-01T00:00:00.0Z qemu-system-x86_64: -soundhw: invalid option"
    made = failing(monkeypatch, libvirt.virConnect, "createXML", 9, text)
    with pytest.raises(HypervisorError) as raised:
        hypervisor.create(tick_xml("web1", roms))
    assert (raised.value.line(), len(made)) == ("-soundhw: invalid option", 1)


def test_a_qemu_that_ended_in_silence_is_told_with_its_log() -> None:
    assert not_created(Failure(1, 10, CLOSED), "qemu:///system", [], []).line() == UNKNOWN


def test_a_guest_is_found_though_its_error_is_lost(
    hypervisor: LibvirtKvm, roms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libvirt's binding asks for the error after the call; what Python lets go of in between wipes it out."""
    info = hypervisor.create(tick_xml("web1", roms), paused=True)
    own = libvirt.virConnect.lookupByName
    lost = [libvirt.libvirtError("virDomainLookupByName() failed")]
    assert lost[0].get_error_code() is None

    def lookup(self: libvirt.virConnect, name: str) -> libvirt.virDomain:
        if lost:
            raise lost.pop()
        return own(self, name)

    monkeypatch.setattr(libvirt.virConnect, "lookupByName", lookup)
    monkeypatch.setattr(hypervisor, "_ask", lambda question: None)  # as where libvirt is not asked over its wire
    assert hypervisor.find("web1").uuid == info.uuid
    assert lost == []
