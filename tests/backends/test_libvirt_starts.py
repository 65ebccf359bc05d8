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

NOT_REACHED = "failed to connect to monitor socket: Connection refused"
CLOSED = "internal error: qemu unexpectedly closed the monitor"
UNKNOWN = (
    "QEMU has ended while the guest was started, and libvirt does not say why; "
    "see the guest's log on its host, below /var/log/libvirt/qemu"
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
        error.err = (38 if text.startswith("failed to") else 1, 10, text, 2, None, None, None, -1, -1)
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


@pytest.mark.parametrize("text", [CLOSED, "internal error: process exited while connecting to monitor"])
def test_a_qemu_that_ended_in_silence_is_told_with_its_log(text: str) -> None:
    assert not_created(Failure(1, 10, text), "qemu:///system", [], []).line() == UNKNOWN


def test_another_reason_for_a_monitor_that_is_not_reached_is_told(
    hypervisor: LibvirtKvm, roms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "failed to connect to monitor socket: Permission denied"
    made = failing(monkeypatch, libvirt.virConnect, "createXML", 9, text)
    with pytest.raises(HypervisorError) as raised:
        hypervisor.create(tick_xml("web1", roms))
    assert (raised.value.line(), len(made)) == (text, 1)


@pytest.mark.parametrize("start", ["start_known", "start_again"])
def test_a_known_one_too(
    hypervisor: LibvirtKvm, roms: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    hypervisor._connection.defineXML(tick_xml("web1", roms))
    made = failing(monkeypatch, libvirt.virDomain, "createWithFlags", 2, NOT_REACHED)
    getattr(hypervisor, start)(hypervisor.find("web1").uuid)
    assert len(made) == 3
    assert hypervisor.find("web1").domid is not None


def test_an_image_survives_the_tries(
    hypervisor: LibvirtKvm, roms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hypervisor._connection.defineXML(tick_xml("web1", roms))
    uuid = hypervisor.find("web1").uuid
    hypervisor.start_again(uuid)
    job = hypervisor.begin_suspend(uuid)
    assert job.ended(60.0)
    job.result()
    made = failing(monkeypatch, libvirt.virDomain, "createWithFlags", 3, NOT_REACHED)
    with pytest.raises(HypervisorError) as raised:
        hypervisor.start_known(uuid)
    assert (raised.value.line(), len(made)) == (UNKNOWN, 3)
    assert hypervisor.suspended() == {uuid}
    hypervisor.start_known(uuid)
    assert hypervisor.suspended() == set()
