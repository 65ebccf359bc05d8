"""Disks and network interfaces of domains that are there or known: beneath ``xm block-attach`` and its like.

The texts of errors are xend's. Domain-0 is this host itself: its devices are no matter of xm's here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from xmcompat import disk_needs, disk_secrets
from xmcompat.backends.devices import BlockSource, Bus, Disk, DiskDevice, FileSource
from xmcompat.backends.domain_xml_hotplug import Drive, PluggedDisk, controller_xml, disk_xml, plugged_disks, scsi_place
from xmcompat.backends.settings import is_local
from xmcompat.config import device_forms as forms
from xmcompat.config.dryrun import vbd_form
from xmcompat.config.specs import vbd_of
from xmcompat.disk_files import looked_at
from xmcompat.disk_logins import without_password
from xmcompat.errors import ConfigError, OperationError, XmError
from xmcompat.guest import GuestConfig, Vbd
from xmcompat.host_settings import disk_scripts
from xmcompat.hotplug_nics import Nics
from xmcompat.pluggable import CLASSED, again, refuse_domain0, settled, without
from xmcompat.plugging import Device, Seen
from xmcompat.toolstack import DOM0_UUID
from xmcompat.translate.hotplug import FIXED, added_disk
from xmcompat.translate.partitions import disk_of, joined_name
from xmcompat.vdev import vdev_name, vdev_number

DISKS = ("vbd", "tap", "tap2")


class Devices(Nics):
    """The operations over a TOOLSTACK. A setter returns what the operator should know: sentences, mostly none."""

    def attach_disk(self, designation: str, uname: str, vdev: str, mode: str, backend: str = "") -> tuple[str, ...]:
        """Give the domain one disk more; a CD-ROM drive that it has gets another medium.

        The words are those of ``xm block-attach``. Raises OperationError, DeviceError, HypervisorError. Differs from xm:
        a disk that is called hda is one of virtio in a guest that runs, since QEMU adds no others.
        """
        with self._plugging.domain(designation) as info:
            refuse_domain0(info, "mount what is to be seen here itself")
            vbd = self._vbd(uname, vdev, mode, backend)
            seen = self._plugging.look(info, designation)
            if self._is_unrecorded(seen, vbd):
                self._plugging.keep(seen, forms.with_device(seen.form, vbd_form(vbd, secrets=False)))
                return ()

            def attach() -> tuple[str, ...]:
                seen = self._plugging.look(info, designation)
                drive = _drive(seen, _number(vbd))
                if vbd.cdrom and drive is not None:
                    return self._change_medium(seen, drive, vbd)
                return self._attach_disk(seen, vbd)

            return again(attach)

    def _attach_disk(self, seen: Seen, vbd: Vbd) -> tuple[str, ...]:
        _refuse_taken_disk(seen, vbd)
        guest, findings = self._guest(seen, disks=(vbd,))
        taken = [one.disk.target for xml in seen.xmls for one in plugged_disks(xml)]
        disk = added_disk(guest, taken, findings, live=seen.live, scripts=self._scripts())
        told = settled(findings)
        assert disk is not None
        disk, told_of_disk = self._checked(seen, guest, disk)
        disk, told = replace(disk, vdev=vdev_name(_number(vbd)) or vbd.vdev), (*told, *told_of_disk)
        with self._given_back(seen, disk):
            self._plug(seen, disk, vbd)
        if seen.live:
            disk_needs.settle(seen.info.uuid)
        return told

    def _plug(self, seen: Seen, disk: Disk, vbd: Vbd) -> None:
        place: Drive | None = None
        if disk.bus is Bus.SCSI and seen.live:
            place = scsi_place(seen.xmls)
            if place.new:
                self._plugging.attach(seen, controller_xml(place.controller))
        form = vbd_form(vbd, secrets=False)
        device = Device(_number(vbd), str(form[0]), f"ua-{disk.vdev}" if seen.live else "", disk_xml(disk, place))
        try:
            self._plugging.plug(seen, device, forms.with_device(seen.form, form))
        except BaseException:
            if place is not None and place.new:
                self._plugging.take_controller(seen, place.controller)
            raise

    @contextmanager
    def _given_back(self, seen: Seen, disk: Disk) -> Iterator[None]:
        """Where the body fails, and the disk is not plugged in all the same: give back what it needs of the host."""
        try:
            yield
        except BaseException:
            try:
                there = plugged_disks(self._hypervisor.domain_xml(seen.info.uuid))
            except XmError:
                there = []
            if all(_number_of(one.disk) != _number_of(disk) for one in there):
                disk_needs.gone(self._hypervisor, seen.info.uuid, disk.vdev)
                disk_secrets.gone(self._hypervisor, seen.info.uuid, disk.vdev)
            raise

    def _is_unrecorded(self, seen: Seen, vbd: Vbd) -> bool:
        """Whether a call that was cut off has plugged in this very disk, and could not write so down."""
        known = any(forms.disk_number(device) == _number(vbd) for _, device in forms.devices_of(seen.form, DISKS))
        alias = f"ua-{vdev_name(_number(vbd)) or vbd.vdev}"
        ours = (one.disk for one in seen.disks if one.alias == alias)
        same = any(isinstance(disk.source, FileSource | BlockSource) and disk.source.path == vbd.path for disk in ours)
        return same and not known and seen.live and is_local(self._hypervisor.uri)

    def configure_disk(self, designation: str, uname: str, vdev: str, mode: str, backend: str = "") -> tuple[str, ...]:
        """Put another medium into a CD-ROM drive, none where UNAME is ""."""
        with self._plugging.domain(designation) as info:
            refuse_domain0(info, "mount what is to be seen here itself")
            vbd = self._vbd(uname, vdev, mode, backend)
            seen = self._plugging.look(info, designation)
            number = _number(vbd)
            if all(_number_of(one.disk) != number for one in seen.disks):
                raise OperationError(f"Device {number} not connected")
            drive = _drive(seen, number)
            if drive is None or not vbd.cdrom:
                shown = {"uname": uname, "dev": vdev, "mode": mode, **({"backend": backend} if backend else {})}
                raise OperationError(f"Refusing to reconfigure device {vbd_form(vbd)[0]}:{number} to {shown}")
            return self._change_medium(seen, drive, vbd)

    def _change_medium(self, seen: Seen, drive: PluggedDisk, vbd: Vbd) -> tuple[str, ...]:
        guest, findings = self._guest(seen, disks=(vbd,))
        disk = added_disk(guest, (), findings, live=False, scripts=self._scripts())
        settled(findings)
        assert disk is not None
        disk, told = self._checked(seen, guest, disk)
        changed = replace(drive.disk, source=disk.source, driver=disk.driver)
        form = seen.form
        for place, device in forms.devices_of(form, DISKS):
            if forms.disk_number(device) == _number(vbd):
                form = forms.with_value(form, place, "uname", without_password(vbd.uname))
        with disk_needs.exchanged(seen.info.uuid, drive.disk, disk):
            self._plugging.change(seen, disk_xml(changed), form)
        if seen.live:
            disk_needs.settle(seen.info.uuid)
        return told

    def detach_disk(self, designation: str, name: str, *, force: bool = False) -> None:
        """Take a disk away, by its name, number or class/number; returns when the guest has let go of it, with FORCE at
        once. Raises OperationError where it does not; what is kept of the domain has the disk no longer, all the same."""
        number = _disk_number(name)
        with self._plugging.domain(designation) as info:
            if info.uuid == DOM0_UUID:
                raise OperationError(f"Device {number} not connected")
            seen = self._plugging.look(info, designation)
            form, kind = without(seen, lambda device: forms.disk_number(device) == number, DISKS)
            found = next((one for one in seen.disks if number is not None and _number_of(one.disk) == number), None)
            _refuse_a_part(seen, number, found)
            if number is None or found is None:
                if form != seen.form:
                    self._plugging.forget(seen, None, form)
                missing = seen.live or number is None
                raise OperationError(f"Device {number} not connected" if missing else f"Device {name} is not defined")
            if seen.live and found.disk.bus in FIXED:
                raise OperationError(
                    f"Device {number} ({kind}) could not be disconnected. QEMU lets go of no emulated drive while the "
                    "guest runs", hint="shut it down first" if found.disk.device is DiskDevice.DISK else
                    "'xm block-configure' takes its medium out",
                )  # fmt: skip
            device = Device(number, kind, found.alias if seen.live else "", disk_xml(replace(found.disk, vdev="")))
            self._plugging.take_away(seen, device, form)
        if seen.live and not force:
            self._plugging.wait(seen, device, os.environ)
            disk_needs.gone(self._hypervisor, seen.info.uuid, found.disk.vdev or found.disk.target)
            disk_secrets.gone(self._hypervisor, seen.info.uuid, found.disk.vdev or found.disk.target)

    def _vbd(self, uname: str, vdev: str, mode: str, backend: str) -> Vbd:
        try:
            vbd = vbd_of(uname, vdev, mode, backend)
        except ConfigError as error:
            raise OperationError(error.message, hint=error.hint) from None
        self._refuse_unknown_back_end(backend)
        return vbd

    def _scripts(self) -> tuple[str, ...]:
        return disk_scripts(os.environ) if is_local(self._hypervisor.uri) else ()

    def _checked(self, seen: Seen, guest: GuestConfig, disk: Disk) -> tuple[Disk, tuple[str, ...]]:
        """The disk by its real path, once it is there and free, and what is to be told of it; of a domain that is off
        nothing is looked at yet."""
        if not is_local(self._hypervisor.uri):
            return disk, ()
        if not seen.live:
            disk_secrets.prepared(self._hypervisor, (disk,), guest, seen.info.uuid, lasting=True)
            return disk, ()
        with self._given_back(seen, disk):
            ready = disk_needs.ready(self._hypervisor, (disk,), guest, seen.info.uuid, own=seen.info.name)
            (disk,), told = looked_at(ready)
        return disk, told


def _refuse_a_part(seen: Seen, number: int | None, found: PluggedDisk | None) -> None:
    """Raise OperationError for the partition of a disk that is made of several volumes, and for that disk."""
    for whole in (one.disk for one in seen.disks if joined_name(one.disk)):
        vbds = (forms.vbd_in(device) for _, device in forms.devices_of(seen.form, DISKS))
        parts = [vbd.vdev for vbd in vbds if vbd is not None and disk_of(vbd) == whole.vdev]
        if (found is not None and found.disk == whole) or (found is None and number in map(vdev_number, parts)):
            raise OperationError(
                f"Device {number} (vbd) could not be disconnected. {', '.join(parts)} make up the disk {whole.vdev} of the "
                "guest, and stay together", hint="shut it down, and start it without what it is to lose",
            )  # fmt: skip


def _refuse_taken_disk(seen: Seen, vbd: Vbd) -> None:
    """Raise xend's sentences where the domain has such a disk already."""
    kind, number = vbd_form(vbd)[0], _number(vbd)
    connected = OperationError(f"Device {vbd.vdev} ({number}, {kind}) is already connected.")
    for _, device in forms.devices_of(seen.form, DISKS):
        other = forms.vbd_in(device)
        if vbd.path and other is not None and other.path == vbd.path:
            raise OperationError(f'The file "{vbd.path}" is already used')
        if vbd.uname and forms.text(device, "uname") == without_password(vbd.uname):
            raise OperationError(f'The uname "{without_password(vbd.uname)}" is already defined')
        if forms.disk_number(device) == number:
            same = device[0] == kind or not seen.live
            raise OperationError(f'The device "{vbd.vdev}" is already defined') if same else connected
    if any(_number_of(one.disk) == number for one in seen.disks):
        raise connected


def _number(vbd: Vbd) -> int:
    number = vdev_number(vbd.vdev)
    assert number is not None  # others are no Vbd
    return number


def _number_of(disk: Disk) -> int | None:
    """As in ``xm block-list``, where floppies are not counted, and KVM's vda has the number of xvda."""
    name = disk.vdev or disk.target
    return None if disk.device is DiskDevice.FLOPPY else vdev_number(f"x{name}" if name.startswith("vd") else name)


def _disk_number(name: str) -> int | None:
    """The number of "xvdb", "/dev/xvdb", "51728", "vbd/51728" or "ioemu:hdc:cdrom"."""
    classed = CLASSED.fullmatch(name)
    return int(classed[1]) if classed else forms.front_end_number(name)


def _drive(seen: Seen, number: int) -> PluggedDisk | None:
    """The CD-ROM drive of this number."""
    drives = (one for one in seen.disks if one.disk.device is DiskDevice.CDROM)
    return next((one for one in drives if _number_of(one.disk) == number), None)
