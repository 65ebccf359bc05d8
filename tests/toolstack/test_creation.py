"""``create`` over a hypervisor in memory: what is refused before anything is changed, and what is undone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.fakes_host import Host
from xmcompat.backends import host_devices
from xmcompat.backends.accelerator import Verdict
from xmcompat.backends.devices import UsbHostdev
from xmcompat.backends.domain_xml import parse, read_record
from xmcompat.backends.hypervisor import DomainInfo, HostInfo
from xmcompat.backends.machine import Accelerator
from xmcompat.config.load import Loaded
from xmcompat.creation import create
from xmcompat.errors import (
    ConfigError,
    ConnectionLost,
    DeviceError,
    DomainExists,
    DomainNotFound,
    HypervisorUnreachable,
    XmError,
)
from xmcompat.guest import GuestConfig, GuestKind, KernelBoot, UsbController, UsbDevice, Vbd, Vfb, Vif
from xmcompat.toolstack import Created, Toolstack

UUID = "5d3f0a44-8a7d-4b7c-9a53-0f1f4f7f1c01"


@pytest.fixture(autouse=True)
def _emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XMCOMPAT_ACCELERATOR", "tcg")
    monkeypatch.setattr("xmcompat.host_settings.sets_up_ports", lambda: False)
    monkeypatch.setattr("xmcompat.connecting.sets_up_ports", lambda: False)


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    """A file with the marks of a bzImage: boot sector magic and the setup header."""
    image = bytearray(4096)
    image[0x1FE:0x200] = b"\x55\xaa"
    image[0x202:0x206] = b"HdrS"
    image[0x206:0x208] = b"\x0f\x02"
    path = tmp_path / "vmlinuz"
    path.write_bytes(image)
    return str(path)


@pytest.fixture
def disk(tmp_path: Path) -> str:
    path = tmp_path / "root.img"
    path.write_bytes(bytes(4096))
    return str(path)


@pytest.fixture
def guest(kernel: str, disk: str) -> GuestConfig:
    return GuestConfig(
        name="web1",
        source="/etc/xen/web1.cfg",
        memory=256,
        boot=KernelBoot(kernel=kernel, cmdline="root=/dev/xvda2 ro"),
        disks=(Vbd(uname=f"file:{disk}", protocol="file", path=disk, vdev="xvda2"),),
        vifs=(Vif(bridge="xenbr0"),),
    )


def loaded(guest: GuestConfig) -> Loaded:
    return Loaded(guest=guest, notes=(), printed="", path="./web1.cfg")


def test_a_created_domain_keeps_its_configuration_with_the_drawn_uuid_and_mac(guest: GuestConfig) -> None:
    fake = FakeHypervisor()
    created = create(fake, loaded(guest), paused=False)
    machine = parse(fake.xml[created.info.uuid])
    assert machine.record is not None
    assert machine.record.source == "/etc/xen/web1.cfg"
    assert machine.nics[0].mac.startswith("00:16:3e:")
    assert f"(mac {machine.nics[0].mac})" in machine.record.sxp
    assert f"(uuid {created.info.uuid})" in machine.record.sxp
    assert machine.record.started is not None


def test_no_password_travels_in_the_record(guest: GuestConfig) -> None:
    fake = FakeHypervisor()
    vfb = Vfb(vnc=True, password="s3cretpw")
    secret = replace(guest, vfbs=(vfb,), options={"vfb": ["vnc=1,vncpasswd=s3cretpw"]})
    info = create(fake, loaded(secret), paused=False).info
    record = read_record(fake.xml[info.uuid])
    assert record is not None
    assert "s3cretpw" not in record.sxp
    assert parse(fake.xml[info.uuid]).graphics[0].password == "s3cretpw"


def test_a_running_holder_of_the_name_is_named_with_its_id(guest: GuestConfig) -> None:
    fake = FakeHypervisor.with_domains(domain("web1", 5))
    with pytest.raises(DomainExists, match="^Domain 'web1' already exists with ID '5'$"):
        create(fake, loaded(guest), paused=False)
    assert fake.calls == []


def test_a_running_holder_of_the_uuid_is_no_better(guest: GuestConfig) -> None:
    fake = FakeHypervisor.with_domains(domain("other", 5, uuid=UUID))
    with pytest.raises(DomainExists, match="^Domain 'web1' already exists with ID '5'$"):
        create(fake, loaded(replace(guest, uuid=UUID)), paused=False)


def test_a_halted_known_domain_of_another_uuid_keeps_its_name(guest: GuestConfig) -> None:
    fake = FakeHypervisor.with_domains(domain("web1", None))
    with pytest.raises(DomainExists, match="^VM name 'web1' already exists$"):
        create(fake, loaded(guest), paused=False)


def test_a_halted_known_domain_of_the_same_name_and_uuid_is_run(guest: GuestConfig) -> None:
    fake = FakeHypervisor.with_domains(domain("web1", None, uuid=UUID))
    assert create(fake, loaded(replace(guest, uuid=UUID)), paused=False).info.uuid == UUID


def test_more_memory_than_the_host_has_is_refused_with_xends_figures(guest: GuestConfig) -> None:
    fake = FakeHypervisor(host_info=HostInfo("fake", 1020 * 1024 + 700, 4, 0))
    with pytest.raises(XmError) as caught:
        create(fake, loaded(replace(guest, memory=4096)), paused=False)
    assert caught.value.line() == (
        "I need 4194304 KiB, but dom0_min_mem is 200704 and shrinking to 200704 KiB would leave only 844476 KiB free."
    )
    assert fake.calls == []


def test_overcommitted_memory_is_said_but_not_refused(guest: GuestConfig) -> None:
    fake = FakeHypervisor.with_domains(domain("big", 1, memory=6 * 1024 * 1024))
    created = create(fake, loaded(replace(guest, memory=4096)), paused=False)
    assert "together may use 10240 MiB; this host has 8192 MiB" in created.warnings[0]


def test_a_guest_whose_host_was_too_busy_to_try_kvm_is_told(guest: GuestConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    untried = Verdict(Accelerator.KVM, "this host is busy", untried=True)
    monkeypatch.setattr("xmcompat.backends.gather.decide", lambda **_: untried)
    created = create(FakeHypervisor(), loaded(guest), paused=False)
    assert created.warnings == ("'web1' runs with KVM untried: this host is busy",)


def test_a_classic_xen_kernel_is_refused_by_name(guest: GuestConfig, tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz-2.6.18-xen"
    path.write_bytes(b"\x1f\x8b\x08" + bytes(4096))
    fake = FakeHypervisor()
    with pytest.raises(ConfigError, match="cannot boot on KVM"):
        create(fake, loaded(replace(guest, boot=KernelBoot(kernel=str(path)))), paused=False)
    assert fake.calls == []


def test_a_missing_disk_is_named_with_its_device_number(guest: GuestConfig) -> None:
    fake = FakeHypervisor()
    gone = Vbd(uname="file:/nowhere/x.img", protocol="file", path="/nowhere/x.img", vdev="xvda2")
    with pytest.raises(DeviceError) as caught:
        create(fake, loaded(replace(guest, disks=(gone,))), paused=False)
    assert caught.value.message == "Device 51714 (vbd) could not be connected. /nowhere/x.img does not exist."
    assert fake.calls == []


def test_a_bridge_that_is_not_there_is_named(guest: GuestConfig) -> None:
    fake = FakeHypervisor(uri="qemu:///system")
    with pytest.raises(DeviceError, match="^Device 0 \\(vif\\) could not be connected. Could not find bridge device br9"):
        create(fake, loaded(replace(guest, vifs=(Vif(bridge="br9"),))), paused=False)
    assert fake.calls == []


def test_ctrl_c_during_the_call_leaves_nothing(guest: GuestConfig) -> None:
    fake = FakeHypervisor()

    def interrupt() -> None:
        raise KeyboardInterrupt

    fake.on_create = interrupt
    with pytest.raises(KeyboardInterrupt):
        create(fake, loaded(guest), paused=False)
    assert fake.calls == [("create", "web1"), ("destroy", "web1")]
    assert fake.known == {}


def test_ctrl_c_never_destroys_the_domain_of_another_create(guest: GuestConfig) -> None:
    fake = FakeHypervisor()

    def lose_the_race() -> None:
        fake.records[UUID] = fake.records[UUID].replace("started=", "started='1' was=", 1)
        raise KeyboardInterrupt

    fake.on_create = lose_the_race
    with pytest.raises(KeyboardInterrupt):
        create(fake, loaded(replace(guest, uuid=UUID)), paused=False)
    assert UUID in fake.known


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), RuntimeError("fault"), OSError(5, "no terminal")])
def test_whatever_ends_the_attendance_of_a_start_leaves_nothing(guest: GuestConfig, error: BaseException) -> None:
    fake = FakeHypervisor()

    def attend(created: Created) -> None:
        assert fake.known[created.info.uuid].state == "paused"
        raise error

    with pytest.raises(type(error)):
        create(fake, loaded(guest), paused=False, attend=attend)
    assert fake.calls == [("create", "web1"), ("destroy", "web1")]
    assert fake.known == {}


def test_an_interruption_while_it_is_let_go_leaves_nothing(
    guest: GuestConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeHypervisor()

    def interrupted(self: FakeHypervisor, uuid: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeHypervisor, "unpause", interrupted)
    with pytest.raises(KeyboardInterrupt):
        create(fake, loaded(guest), paused=False, attend=lambda created: None)
    assert fake.known == {}


@pytest.mark.parametrize(("paused", "state"), [(False, "running"), (True, "paused")])
def test_an_attended_domain_runs_afterwards_unless_it_is_to_be_paused(
    guest: GuestConfig, paused: bool, state: str
) -> None:
    fake = FakeHypervisor()
    created = create(fake, loaded(guest), paused=paused, attend=lambda created: None)
    assert fake.known[created.info.uuid].state == state


def test_a_domain_that_ends_while_it_is_attended_is_told_by_its_name(guest: GuestConfig) -> None:
    fake = FakeHypervisor()
    with pytest.raises(DomainNotFound, match="^Domain 'web1' does not exist.$"):
        create(fake, loaded(guest), paused=False, attend=lambda created: fake.destroy(created.info.uuid))


@pytest.mark.parametrize("changes", [{"name": "Domain-0"}, {"uuid": "00000000-0000-0000-0000-000000000000"}])
def test_name_and_uuid_of_domain_0_are_taken(guest: GuestConfig, changes: dict[str, str]) -> None:
    fake = FakeHypervisor()
    with pytest.raises(DomainExists, match="^Domain 'Domain-0' already exists with ID '0'$") as caught:
        create(fake, loaded(replace(guest, **changes)), paused=False)  # type: ignore[arg-type]
    assert caught.value.exit_code == 1
    assert fake.calls == []


def test_a_name_of_which_libvirt_cannot_make_file_names_is_refused_with_the_limit(guest: GuestConfig) -> None:
    fake = FakeHypervisor()
    with pytest.raises(XmError) as caught:
        create(fake, loaded(replace(guest, name="n" * 100_000)), paused=False)
    assert caught.value.line() == f"VM name '{'n' * 40}...' is too long: 100000 bytes; 247 is the limit"
    assert fake.calls == []
    create(fake, loaded(replace(guest, name="n" * 247)), paused=False)


@pytest.mark.parametrize("key", ["kernel", "ramdisk"])
@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_a_kernel_or_ramdisk_that_is_no_file_is_refused_at_once(
    guest: GuestConfig, tmp_path: Path, key: str, kind: str
) -> None:
    path = {"pipe": str(tmp_path / "pipe"), "device": "/dev/zero", "directory": str(tmp_path)}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    assert isinstance(guest.boot, KernelBoot)
    fake = FakeHypervisor(uri="qemu:///system")
    with pytest.raises(XmError) as caught:
        create(fake, loaded(replace(guest, boot=replace(guest.boot, **{key: path}))), paused=False)
    what = "Kernel image" if key == "kernel" else "Kernel ramdisk"
    reason = f"cannot be read: {path}: Is a directory" if kind == "directory" else f"is not a regular file: {path}"
    assert caught.value.line() == f"{what} {reason}"
    assert fake.calls == []


def test_a_ramdisk_that_is_not_there_is_named(guest: GuestConfig) -> None:
    assert isinstance(guest.boot, KernelBoot)
    missing = replace(guest, boot=replace(guest.boot, ramdisk="/nowhere/initrd"))
    with pytest.raises(XmError, match="^Kernel ramdisk does not exist: /nowhere/initrd$"):
        create(FakeHypervisor(uri="qemu:///system"), loaded(missing), paused=False)


def test_a_guest_that_waits_is_taken_back_when_libvirtd_is_there_again(
    guest: GuestConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else would ever let it go on."""
    connections: list[FakeHypervisor] = []

    def connect() -> FakeHypervisor:
        connections.append(host)
        if len(connections) == 2:
            raise HypervisorUnreachable("nothing answers")
        return host

    def metadata(uuid: str) -> str | None:
        if len(connections) == 1:
            raise ConnectionLost("Xend has probably crashed!")
        return asked(uuid)

    def lose(created: Created) -> None:
        assert created.info.state == "paused"
        monkeypatch.setattr(host, "metadata", metadata)
        raise ConnectionLost("Xend has probably crashed!")

    host = FakeHypervisor()
    asked = host.metadata
    with pytest.raises(ConnectionLost):
        Toolstack(connect).create(loaded(guest), attend=lose)
    assert len(connections) == 3
    assert host.known == {}


def test_a_guest_that_runs_when_the_connection_is_lost_runs_on(guest: GuestConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(xml: str, *, paused: bool = False) -> DomainInfo:
        made(xml, paused=paused)
        raise ConnectionLost("Xend has probably crashed!")

    host = FakeHypervisor()
    made = host.create
    monkeypatch.setattr(host, "create", create)
    with pytest.raises(ConnectionLost):
        Toolstack(lambda: host).create(loaded(guest))
    assert [info.state for info in host.known.values()] == ["running"]


def test_a_paused_start_is_one_call(guest: GuestConfig) -> None:
    fake = FakeHypervisor()
    assert create(fake, loaded(guest), paused=True).info.state == "paused"
    assert fake.calls == [("create", "web1")]


def test_a_firmware_guest_needs_no_kernel(guest: GuestConfig) -> None:
    from xmcompat.guest import FirmwareBoot

    fake = FakeHypervisor()
    disks = (replace(guest.disks[0], vdev="hda"),)
    hvm = replace(guest, kind=GuestKind.HVM, boot=FirmwareBoot(order="c"), disks=disks)
    assert create(fake, loaded(hvm), paused=False).info.name == "web1"


def test_a_guest_has_what_is_plugged_in_at_the_places_its_ports_name(
    guest: GuestConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_devices, "SYSFS", tmp_path)
    host = Host(tmp_path)
    for path, address in (("1-2", 3), ("1-3", 4)):
        host.usb(path, address)
    host.usb("2-1.4", 9, "046d:c077", "Mouse")
    ports = ("2-1.4", "1-3", "1-7")
    named = tuple(UsbDevice(bus_id=path, controller=0, port=place) for place, path in enumerate(ports, 1))
    guest = replace(guest, usb_controllers=(UsbController(version=2, ports=4),), usb_devices=named)
    hypervisor = FakeHypervisor()
    created = create(hypervisor, loaded(guest), paused=False)
    assert parse(hypervisor.xml[created.info.uuid]).hostdevs == (
        UsbHostdev(vendor=0x46D, product=0xC077), UsbHostdev(bus=1, address=4)
    )  # fmt: skip
    assert [note.value for note in created.notes if "left out" in note.reason] == ["1-7"]
