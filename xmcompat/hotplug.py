"""Disks and network interfaces of domains that are there or known: beneath ``xm block-attach`` and its like.

The texts of errors are xend's. Domain-0 is this host itself: its devices are no matter of xm's here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count

from xmcompat import connecting
from xmcompat.backends.devices import BlockSource, Bus, Disk, DiskDevice, FileSource
from xmcompat.backends.domain_xml_hotplug import (
    Drive,
    PluggedDisk,
    PluggedNic,
    controller_xml,
    disk_xml,
    nic_xml,
    plugged_disks,
    scsi_place,
)
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.backends.machine import Accelerator
from xmcompat.backends.openvswitch import switches_here
from xmcompat.backends.settings import is_local
from xmcompat.backends.settings import read as read_settings
from xmcompat.config import device_forms as forms
from xmcompat.config.dryrun import vbd_form, vif_form
from xmcompat.config.specs import vbd_of
from xmcompat.creation import with_real_paths
from xmcompat.errors import ConfigError, DeviceError, DevicePresent, DomainNotFound, OperationError
from xmcompat.guest import Dialect, FirmwareBoot, GuestConfig, GuestKind, Vbd, Vif
from xmcompat.host_settings import with_host_settings
from xmcompat.network import mac as macs
from xmcompat.notes import Fate
from xmcompat.plugging import Device, Plugging, Seen
from xmcompat.toolstack import DOM0_NAME, DOM0_UUID, Toolstack
from xmcompat.translate.findings import Findings
from xmcompat.translate.hotplug import FIXED, added_disk, added_nic
from xmcompat.vdev import vdev_name, vdev_number

Tree = list[object]

DISKS, NICS = ("vbd", "tap", "tap2"), ("vif",)
#: How often a free name is looked for again, where somebody else has taken the one that was found.
_TRIES = 8

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
#: The class of a device may stand before its number.
_CLASSED = re.compile(r"(?:vbd|tap2?|vif)/([0-9]+)")
_TOLD = (Fate.APPROXIMATED, Fate.NO_MEANING, Fate.NOT_YET)


class Devices:
    """The operations over a TOOLSTACK. A setter returns what the operator should know: sentences, mostly none."""

    def __init__(self, toolstack: Toolstack) -> None:
        self._toolstack = toolstack
        self._hypervisor = toolstack.hypervisor
        self._plugging = Plugging(toolstack)

    # -- disks

    def attach_disk(self, designation: str, uname: str, vdev: str, mode: str, backend: str = "") -> tuple[str, ...]:
        """Give the domain one disk more; a CD-ROM drive that it has gets another medium.

        The words are those of ``xm block-attach``. Raises OperationError, DeviceError, HypervisorError. Differs from xm:
        a disk that is called hda is one of virtio in a guest that runs, since QEMU adds no others.
        """
        with self._plugging.domain(designation) as info:
            _refuse_domain0(info, "mount what is to be seen here itself")
            vbd = self._vbd(uname, vdev, mode, backend)
            seen = self._plugging.look(info, designation)
            if self._is_unrecorded(seen, vbd):
                self._plugging.keep(seen, forms.with_device(seen.form, vbd_form(vbd)))
                return ()

            def attach() -> tuple[str, ...]:
                seen = self._plugging.look(info, designation)
                drive = _drive(seen, _number(vbd))
                if vbd.cdrom and drive is not None:
                    return self._change_medium(seen, drive, vbd)
                return self._attach_disk(seen, vbd)

            return _again(attach)

    def _attach_disk(self, seen: Seen, vbd: Vbd) -> tuple[str, ...]:
        _refuse_taken_disk(seen, vbd)
        guest, findings = self._guest(seen, disks=(vbd,))
        taken = [one.disk.target for xml in seen.xmls for one in plugged_disks(xml)]
        disk = added_disk(guest, taken, findings, live=seen.live)
        told = _settled(findings)
        assert disk is not None
        disk = replace(self._checked(seen, guest, disk), vdev=vdev_name(_number(vbd)) or vbd.vdev)
        place: Drive | None = None
        if disk.bus is Bus.SCSI and seen.live:
            place = scsi_place(seen.xmls)
            if place.new:
                self._plugging.attach(seen, controller_xml(place.controller))
        form = vbd_form(vbd)
        device = Device(_number(vbd), str(form[0]), f"ua-{disk.vdev}" if seen.live else "", disk_xml(disk, place))
        try:
            self._plugging.plug(seen, device, forms.with_device(seen.form, form))
        except BaseException:
            if place is not None and place.new:
                self._plugging.take_controller(seen, place.controller)
            raise
        return told

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
            _refuse_domain0(info, "mount what is to be seen here itself")
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
        disk = added_disk(guest, (), findings, live=False)
        _settled(findings)
        assert disk is not None
        changed = replace(drive.disk, source=self._checked(seen, guest, disk).source, driver=disk.driver)
        form = seen.form
        for place, device in forms.devices_of(form, DISKS):
            if forms.disk_number(device) == _number(vbd):
                form = forms.with_value(form, place, "uname", vbd.uname)
        self._plugging.change(seen, disk_xml(changed), form)
        return ()

    def detach_disk(self, designation: str, name: str, *, force: bool = False) -> None:
        """Take a disk away, by its name, number or class/number; returns when the guest has let go of it, with FORCE at
        once. Raises OperationError where it does not; what is kept of the domain has the disk no longer, all the same."""
        number = _disk_number(name)
        with self._plugging.domain(designation) as info:
            if info.uuid == DOM0_UUID:
                raise OperationError(f"Device {number} not connected")
            seen = self._plugging.look(info, designation)
            form, kind = _without(seen, lambda device: forms.disk_number(device) == number, DISKS)
            found = next((one for one in seen.disks if number is not None and _number_of(one.disk) == number), None)
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

    def _vbd(self, uname: str, vdev: str, mode: str, backend: str) -> Vbd:
        try:
            vbd = vbd_of(uname, vdev, mode, backend)
        except ConfigError as error:
            raise OperationError(error.message, hint=error.hint) from None
        self._refuse_unknown_back_end(backend)
        return vbd

    def _checked(self, seen: Seen, guest: GuestConfig, disk: Disk) -> Disk:
        """The disk by its real path, once it is there and free; of a domain that is off nothing is looked at yet."""
        if not seen.live or not is_local(self._hypervisor.uri):
            return disk
        return with_real_paths(self._hypervisor, (disk,), guest, own=seen.info.name)[0]

    # -- network interfaces

    def attach_nic(self, designation: str, words: Mapping[str, str]) -> tuple[str, ...]:
        """Give the domain one network interface more. WORDS are those of a vif, "mac" and the like; an address is drawn
        where there is none."""
        with self._plugging.domain(designation) as info:
            _refuse_domain0(info, "see 'ip link' for its interfaces")
            vif = Vif(**{"mac": macs.generate(), **words})  # type: ignore[arg-type]  # its keys are those of texts
            if not _MAC.fullmatch(vif.mac):
                raise OperationError("Cannot create a new virtual network interface - MAC address is not valid!")
            self._refuse_unknown_back_end(vif.backend)
            tries = count()
            return _again(lambda: self._attach_nic(self._plugging.look(info, designation), vif, next(tries)))

    def _attach_nic(self, seen: Seen, vif: Vif, passed: int) -> tuple[str, ...]:
        """PASSED numbers are left out: QEMU may hold them for interfaces of which libvirt lost its own knowledge when it
        was killed."""
        there = {one.nic.mac.lower(): one.alias for one in seen.nics}
        recorded = {forms.text(device, "mac").lower() for _, device in forms.devices_of(seen.form, NICS)}
        if self._is_left(seen, there.get(vif.mac.lower(), "")) and vif.mac.lower() not in recorded:
            self._connect(seen, vif)
            self._plugging.keep(seen, forms.with_device(seen.form, vif_form(vif)))
            return ()
        if vif.mac.lower() in {*there, *recorded}:
            raise OperationError(f'The mac "{vif.mac}" is already defined')
        number = _next_number(seen) + passed
        guest, findings = self._guest(seen, vifs=(vif,))
        nic = added_nic(guest, self._facts(), number, findings)
        told = _settled(findings)
        if seen.live and connecting.is_ours(self._hypervisor):
            connecting.prepared((vif,), (nic,), number=number)
        own = number if seen.live else None
        device = Device(number, "vif", f"ua-vif-{number}" if seen.live else "", nic_xml(nic, own))
        try:
            self._plugging.plug(
                seen, device, forms.with_device(seen.form, vif_form(vif)), vifs=number + 1,
                then=lambda: self._connect(seen, vif),
            )  # fmt: skip
        except DeviceError as error:  # libvirt counts no other interface
            raise DeviceError(error.message.replace("Device 0 (vif)", f"Device {number} (vif)"), hint=error.hint) from None
        return told

    def _is_left(self, seen: Seen, alias: str) -> bool:
        """Whether the interface of that ALIAS is one that a call has plugged in, of which nothing may be recorded."""
        return alias.startswith("ua-vif-") and seen.live and is_local(self._hypervisor.uri)

    def _connect(self, seen: Seen, vif: Vif) -> None:
        """Where that fails, and the guest does not let go of the interface, it is at least on no network."""
        if not seen.live:
            return
        try:
            connecting.connect(self._hypervisor, seen.info, (vif,), only=vif.mac)
        except BaseException:
            connecting.cut_off(self._hypervisor, seen.info, vif.mac)
            raise

    def detach_nic(self, designation: str, name: str, *, force: bool = False) -> None:
        """Take an interface away, by its number or MAC address; as ``detach_disk``."""
        with self._plugging.domain(designation) as info:
            if info.uuid == DOM0_UUID:
                raise OperationError(f"Device {name} not connected")
            seen = self._plugging.look(info, designation)
            found = _nic(seen, name)
            same = found.nic.mac.lower()
            form, _ = _without(seen, lambda device: forms.text(device, "mac").lower() == same, NICS)
            alias = found.alias if seen.live else ""
            device = Device(found.number, "vif", alias, nic_xml(found.nic))
            back_ends = connecting.leaving(self._hypervisor, seen.info, only=same) if seen.live else ()
            self._plugging.take_away(seen, device, form, vifs=_next_number(seen))
        if seen.live and not force:
            self._plugging.wait(seen, device, os.environ)
        connecting.gone(back_ends, seen.info)

    # -- what both have in common

    def _guest(self, seen: Seen, disks: tuple[Vbd, ...] = (), vifs: tuple[Vif, ...] = ()) -> tuple[GuestConfig, Findings]:
        """A guest of the domain's kind with the new device alone."""
        on_sata = bool(disks) and any(one.disk.bus is Bus.SATA for one in seen.disks)
        guest = GuestConfig(
            name=seen.info.name, kind=GuestKind.HVM if seen.hvm else GuestKind.PV, boot=FirmwareBoot(), disks=disks,
            vifs=vifs, dialect=Dialect.XL if on_sata else Dialect.SXP, options={"hdtype": "ahci"} if on_sata else {},
        )  # fmt: skip
        return guest, Findings(guest)

    def _facts(self) -> HostFacts:
        """What is to be known of the host for an interface."""
        local = is_local(self._hypervisor.uri)
        facts = HostFacts(
            accelerator=Accelerator.KVM,
            bridges=tuple(self._hypervisor.bridges()),
            bridge_aliases=read_settings(os.environ).bridge_aliases,
            openvswitch=tuple(switches_here()) if local else (),
            local=local,
        )
        return with_host_settings(facts, os.environ)

    def _refuse_unknown_back_end(self, domain: str) -> None:
        """Raise xend's sentence for a domain that is not there; of one that is, translation says why it cannot serve."""
        if domain in ("", "0", DOM0_NAME):
            return
        try:
            self._toolstack.find(domain)
        except DomainNotFound:
            raise OperationError(f"Cannot configure device for unknown backend {domain}") from None


def _again(attach: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """ATTACH until nobody else has just taken the name that it found free."""
    for _ in range(_TRIES):
        try:
            return attach()
        except DevicePresent:
            continue
    return attach()


def _refuse_domain0(info: DomainInfo, hint: str) -> None:
    if info.uuid == DOM0_UUID:
        raise OperationError("Domain-0 is this host itself, to which no devices are added", hint=hint)


def _refuse_taken_disk(seen: Seen, vbd: Vbd) -> None:
    """Raise xend's sentences where the domain has such a disk already."""
    kind, number = vbd_form(vbd)[0], _number(vbd)
    connected = OperationError(f"Device {vbd.vdev} ({number}, {kind}) is already connected.")
    for _, device in forms.devices_of(seen.form, DISKS):
        other = forms.vbd_in(device)
        if vbd.path and other is not None and other.path == vbd.path:
            raise OperationError(f'The file "{vbd.path}" is already used')
        if vbd.uname and forms.text(device, "uname") == vbd.uname:
            raise OperationError(f'The uname "{vbd.uname}" is already defined')
        if forms.disk_number(device) == number:
            same = device[0] == kind or not seen.live
            raise OperationError(f'The device "{vbd.vdev}" is already defined') if same else connected
    if any(_number_of(one.disk) == number for one in seen.disks):
        raise connected


def _settled(findings: Findings) -> tuple[str, ...]:
    """What the operator should know. Raises OperationError for what cannot be, else DeviceError."""
    try:
        findings.settle()
    except ConfigError as error:
        raise OperationError(_plain(error.message), hint=error.hint) from None
    return tuple(_plain(note.text()) for note in findings.notes if note.fate in _TOLD and not note.harmless)


def _plain(text: str) -> str:
    """Without the places of devices in a configuration, which there is none of."""
    return re.sub(r"\b(disk|vif)\[[0-9]+\](?= =|:)", r"\1", text)


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
    classed = _CLASSED.fullmatch(name)
    return int(classed[1]) if classed else forms.front_end_number(name)


def _drive(seen: Seen, number: int) -> PluggedDisk | None:
    """The CD-ROM drive of this number."""
    drives = (one for one in seen.disks if one.disk.device is DiskDevice.CDROM)
    return next((one for one in drives if _number_of(one.disk) == number), None)


def _next_number(seen: Seen) -> int:
    """The number of the next interface: none is given twice while the domain runs."""
    highest = max((one.number for one in seen.nics), default=-1)
    kept = seen.record.vifs if seen.record is not None else None
    return max(highest + 1, kept[1] if kept is not None and kept[0] == seen.info.domid else 0)


def _nic(seen: Seen, name: str) -> PluggedNic:
    """The interface of that number or MAC address. Raises OperationError."""
    if _MAC.fullmatch(name):
        found = [one for one in seen.nics if one.nic.mac.lower() == name.lower()]
        if not found:
            raise OperationError(f"Cannot find device '{name}' in domain '{seen.designation}'")
        return found[0]
    classed = _CLASSED.fullmatch(name)
    digits = classed[1] if classed else name.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10):
        raise OperationError(f"unknown devid {name}")
    for one in seen.nics:
        if one.number == int(digits):
            return one
    raise OperationError(f"Device {digits} not connected" if seen.live else f"Device {name} is not defined")


def _without(seen: Seen, is_it: Callable[[Tree], bool], kinds: Iterable[str]) -> tuple[Tree, str]:
    """The form without the device, and its class."""
    for place, device in forms.devices_of(seen.form, tuple(kinds)):
        if is_it(device):
            return forms.without_device(seen.form, place, seen.info.uuid), str(device[0])
    return seen.form, next(iter(kinds))
