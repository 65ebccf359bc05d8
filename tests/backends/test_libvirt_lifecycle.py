"""A guest's life through the Hypervisor protocol, under real KVM and under TCG, against a real libvirtd."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.fixtures import Starter
from tests.lab.guests import tick_xml
from xmcompat.backends.hypervisor import DomainState
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.record import METADATA_URI
from xmcompat.errors import DomainNotFound

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

both = pytest.mark.parametrize("kvm", [True, False], ids=["kvm", "tcg"])


def eventually(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until TRUE() holds. Raises AssertionError after SECONDS."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def ticks(log: Path) -> int:
    """How many lines the guest's clock has printed; 0 where it has printed nothing yet."""
    return log.read_bytes().count(b"TICK ") if log.exists() else 0


def gone(hypervisor: LibvirtKvm, name: str) -> bool:
    return name not in {info.name for info in hypervisor.domains()}


@both
def test_a_guest_runs_and_ticks(hypervisor: LibvirtKvm, start: Starter, lab_directory: Path, kvm: bool) -> None:
    log = lab_directory / f"ticks-{kvm}.log"
    info = start("ticks", kvm=kvm, log=log)
    assert (info.name, info.state, info.persistent) == ("ticks", DomainState.RUNNING, False)
    assert f"<domain type='{'kvm' if kvm else 'qemu'}'" in hypervisor.domain_xml(info.uuid)
    eventually(lambda: ticks(log) > 3)
    assert log.read_bytes().startswith(b"TICKROM-UP\r\nTICK 00000000\r\nTICK 00000001\r\n")
    assert hypervisor.domains() != []


@both
def test_a_paused_guest_stands_still_and_goes_on(
    hypervisor: LibvirtKvm, start: Starter, lab_directory: Path, kvm: bool
) -> None:
    log = lab_directory / f"pause-{kvm}.log"
    info = start("stops", kvm=kvm, log=log)
    eventually(lambda: ticks(log) > 1)
    hypervisor.pause(info.uuid)
    hypervisor.pause(info.uuid)
    assert hypervisor.find("stops").state == DomainState.PAUSED
    count, before = ticks(log), -1
    deadline = time.monotonic() + 10
    while count != before:  # what was under way
        assert time.monotonic() < deadline
        time.sleep(0.4)
        count, before = ticks(log), count
    hypervisor.unpause(info.uuid)
    hypervisor.unpause(info.uuid)
    assert hypervisor.find("stops").state == DomainState.RUNNING
    eventually(lambda: ticks(log) > count)


def test_a_guest_created_paused_has_not_run(hypervisor: LibvirtKvm, start: Starter, lab_directory: Path) -> None:
    log = lab_directory / "paused.log"
    info = start("waits", paused=True, log=log)
    assert info.state == DomainState.PAUSED
    time.sleep(0.4)
    assert ticks(log) == 0
    hypervisor.unpause(info.uuid)
    eventually(lambda: ticks(log) > 0)


@both
def test_the_power_button_ends_a_guest(
    hypervisor: LibvirtKvm, start: Starter, lab_directory: Path, kvm: bool
) -> None:
    log = lab_directory / f"button-{kvm}.log"
    info = start("ends", kvm=kvm, log=log)
    eventually(lambda: ticks(log) > 0)
    begun = time.monotonic()
    hypervisor.shutdown(info.uuid)
    assert time.monotonic() - begun < 10  # that it does not wait for the guest at all, the next test shows
    eventually(lambda: gone(hypervisor, "ends"))
    eventually(lambda: log.read_bytes().endswith(b"POWERBUTTON\r\n"))


@both
def test_a_guest_that_is_paused_finds_the_power_button_pressed_when_it_goes_on(
    hypervisor: LibvirtKvm, start: Starter, lab_directory: Path, kvm: bool
) -> None:
    log = lab_directory / f"later-{kvm}.log"
    info = start("later", kvm=kvm, log=log)
    eventually(lambda: ticks(log) > 0)
    hypervisor.pause(info.uuid)
    hypervisor.shutdown(info.uuid)
    hypervisor.shutdown(info.uuid)
    time.sleep(0.3)
    assert hypervisor.find("later").state == DomainState.PAUSED
    hypervisor.unpause(info.uuid)
    eventually(lambda: gone(hypervisor, "later"))
    eventually(lambda: log.read_bytes().endswith(b"POWERBUTTON\r\n"))


def test_a_guest_that_is_paused_reboots_when_it_goes_on(
    hypervisor: LibvirtKvm, start: Starter, lab_directory: Path
) -> None:
    log = lab_directory / "reboots-later.log"
    info = start("anew", log=log)
    eventually(lambda: ticks(log) > 0)
    hypervisor.pause(info.uuid)
    hypervisor.reboot(info.uuid)
    hypervisor.unpause(info.uuid)
    eventually(lambda: log.read_bytes().count(b"TICKROM-UP") == 2)


@both
def test_a_reboot_starts_the_guest_anew_and_is_seen(
    hypervisor: LibvirtKvm, start: Starter, lab_directory: Path, kvm: bool
) -> None:
    log = lab_directory / f"reboot-{kvm}.log"
    seen: list[str] = []
    also: list[str] = []
    hypervisor.watch_reboots(seen.append)
    hypervisor.watch_reboots(also.append)
    info = start("again", kvm=kvm, log=log)
    eventually(lambda: ticks(log) > 1)
    hypervisor.reboot(info.uuid)
    deadline = time.monotonic() + 10
    while not seen and time.monotonic() < deadline:
        hypervisor.wait_event(1.0)
    assert seen == also == [info.uuid]
    eventually(lambda: log.read_bytes().count(b"TICKROM-UP") == 2)
    assert hypervisor.find("again").uuid == info.uuid


def test_destroy_ends_a_guest_at_once_and_is_silent_for_a_halted_one(
    hypervisor: LibvirtKvm, start: Starter, roms: Path
) -> None:
    info = start("victim")
    hypervisor.destroy(info.uuid)
    assert gone(hypervisor, "victim")
    with pytest.raises(DomainNotFound):
        hypervisor.destroy(info.uuid)
    hypervisor._connection.defineXML(tick_xml("known", roms))
    hypervisor.destroy(hypervisor.find("known").uuid)
    assert hypervisor.find("known").state == DomainState.SHUTOFF


@pytest.mark.parametrize(
    "method", ["pause", "unpause", "shutdown", "reboot", "destroy", "domain_xml", "metadata"]
)
def test_every_call_about_a_domain_that_is_gone_says_so(hypervisor: LibvirtKvm, method: str) -> None:
    uuid = "0b1c2d3e-0000-4000-8000-0000000000ff"
    with pytest.raises(DomainNotFound) as raised:
        getattr(hypervisor, method)(uuid)
    assert raised.value.designation == uuid


def test_our_metadata_travels_with_the_domain_and_nobody_elses_is_taken_for_it(
    hypervisor: LibvirtKvm, start: Starter
) -> None:
    ours = f"<x:guest xmlns:x='{METADATA_URI}'><x:sxp>(vm (name web1))</x:sxp></x:guest>"
    other = "<y:thing xmlns:y='urn:somebody:else'/>"
    with_both = start("with", paused=True, metadata=other + ours)
    without = start("without", paused=True, metadata=other)
    text = hypervisor.metadata(with_both.uuid)
    assert text is not None
    assert "(vm (name web1))" in text
    assert "urn:somebody:else" not in text
    assert hypervisor.metadata(without.uuid) is None


def test_a_password_is_in_the_xml_only_when_asked_for(hypervisor: LibvirtKvm, roms: Path) -> None:
    graphics = "<graphics type='vnc' passwd='s3cret'/><video><model type='vga'/></video>"
    xml = tick_xml("shows", roms).replace("<memballoon", f"{graphics}<memballoon")
    info = hypervisor.create(xml, paused=True)
    assert "s3cret" not in hypervisor.domain_xml(info.uuid)
    assert "passwd='s3cret'" in hypervisor.domain_xml(info.uuid, secrets=True)


def test_the_start_time_of_a_guest_is_that_of_its_process(hypervisor: LibvirtKvm, start: Starter) -> None:
    before = time.time()
    info = start("timed", paused=True)
    started = hypervisor.start_time(info.uuid)
    assert started is not None
    assert before - 0.1 <= started <= time.time() + 0.1
    hypervisor.destroy(info.uuid)
    assert hypervisor.start_time(info.uuid) is None


def test_disks_of_running_guests_are_known(
    hypervisor: LibvirtKvm, start: Starter, roms: Path, lab_directory: Path
) -> None:
    image, other = lab_directory / "used.img", lab_directory / "free.img"
    for path in (image, other):
        path.write_bytes(bytes(1 << 20))
    start("uses", paused=True, disks=[image])
    hypervisor._connection.defineXML(tick_xml("halted", roms, disks=[other]))
    assert [tuple(use) for use in hypervisor.disk_uses()] == [("uses", str(image), False, False, "raw")]


def test_one_that_another_lets_go_at_the_same_time_runs(
    hypervisor: LibvirtKvm, start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seen that it is paused."""
    info = start("raced", idle=True)
    domain = hypervisor._connection.lookupByUUIDString(info.uuid)

    class Seen:
        def lookupByUUIDString(self, uuid: str) -> object:
            return self

        def state(self, flags: int) -> list[int]:
            return [hypervisor._libvirt.VIR_DOMAIN_PAUSED, 0]

        def resume(self) -> None:
            domain.resume()

    monkeypatch.setattr(LibvirtKvm, "_connection", property(lambda self: Seen()))
    hypervisor.unpause(info.uuid)
    monkeypatch.undo()
    assert hypervisor.find(info.uuid).state in (DomainState.RUNNING, DomainState.BLOCKED)
