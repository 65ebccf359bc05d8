"""SCSI devices of the host for domains that are there or known: beneath ``xm scsi-attach`` and its like.

The texts of errors are xend's. Each adapter that the guest sees is a fast controller of its own.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from xmcompat.backends import host_devices
from xmcompat.backends.devices import ScsiHostdev
from xmcompat.backends.domain_xml_hostdevs import PluggedHostdev, hostdev_xml, idle_adapter, plugged_hostdevs
from xmcompat.backends.domain_xml_hotplug import controller_xml
from xmcompat.backends.host_devices import ScsiUnit
from xmcompat.config.hostdev_forms import ScsiDevice, hctl, scsi_devices, with_scsi, without_scsi
from xmcompat.errors import DomainNotFound, OperationError, UsageError
from xmcompat.passing import Passing
from xmcompat.plugging import Device, Seen
from xmcompat.toolstack import DOM0_NAME

#: What QEMU's fast controller can tell apart.
_MOST_TARGETS, _MOST_UNITS = 255, 16383


class ScsiRow(NamedTuple):
    """A device that a domain has: its place on the host, its name there ("" where nothing tells), that in the guest."""

    adapter: int
    host: str
    name: str
    guest: str


class ScsiPassing(Passing):
    """The part of ``hostdevices.HostDevices`` that is SCSI."""

    def scsi(self, designation: str) -> tuple[int | None, list[ScsiRow]]:
        """The domain's id, and its devices by their places in the guest."""
        seen = self._seen(designation)
        if seen is None:
            return 0, []
        return seen.info.domid, sorted(_rows(seen), key=lambda row: hctl(row.guest))

    def attach_scsi(self, designation: str, physical: str, virtual: str, backend: str = "") -> tuple[str, ...]:
        """Give the domain the device PHYSICAL (a place, device file or id) at the place VIRTUAL.

        Raises UsageError for a device or place that is none, OperationError, HypervisorError.
        """
        unit = self._unit(physical)
        place = _virtual(virtual)
        with self._changing(designation) as seen:
            self._refuse_back_end(backend)
            _refuse_taken(seen, unit, virtual)
            if place[2] > _MOST_TARGETS or place[3] > _MOST_UNITS:
                raise OperationError(f"Targets go to {_MOST_TARGETS} and LUNs to {_MOST_UNITS}, not so {virtual}")
            if seen.live and not unit.generic:
                raise OperationError(f"The kernel has no generic device for {unit.place}", hint="load its module sg")
            self._attach(seen, unit, virtual, backend)
        return (f"a controller has one channel, number 0, where the guest finds {virtual}",) if place[1] else ()

    def _attach(self, seen: Seen, unit: ScsiUnit, virtual: str, backend: str) -> None:
        adapter, _, target, lun = hctl(virtual)
        host, channel, host_target, host_lun = hctl(unit.place)
        known = _controller_of(seen, adapter)
        idle = idle_adapter(seen.xmls) if known is None else None
        controller = known if idle is None else idle.number
        assert controller is not None
        if idle is not None and idle.new:
            self._plugging.attach(seen, controller_xml(controller))
        hostdev = ScsiHostdev(
            host=host, bus=channel, target=host_target, unit=host_lun, controller=controller, guest_target=target,
            guest_unit=lun,
        )  # fmt: skip
        alias = f"ua-scsi-{virtual.replace(':', '-')}"
        device = Device(adapter, "vscsi", alias if seen.live else "", hostdev_xml(hostdev, alias))
        try:
            self._plug(seen, device, with_scsi(seen.form, ScsiDevice(adapter, unit.place, unit.name, virtual), backend))
        except BaseException:
            if idle is not None and idle.new:
                self._plugging.take_controller(seen, controller)
            raise

    def detach_scsi(self, designation: str, virtual: str) -> None:
        """Take away the device at the place VIRTUAL; returns when the guest has let go of it."""
        _virtual(virtual)
        with self._changing(designation) as seen:
            row = next((row for row in _rows(seen) if hctl(row.guest) == hctl(virtual)), None)
            if row is None:
                raise OperationError("Cannot detach vscsi device does not exist")
            form = without_scsi(seen.form, virtual, seen.info.uuid)
            plugged = next((one for one in plugged_hostdevs(seen.xml) if _place(one) == hctl(row.host)), None)
            if plugged is None:
                self._plugging.forget(seen, None, form)
                return
            device = Device(row.adapter, "vscsi", plugged.alias if seen.live else "", plugged.xml)
            self._plugging.take_away(seen, device, form)
        if seen.live:
            self._plugging.wait(seen, device, os.environ)

    def _unit(self, physical: str) -> ScsiUnit:
        if not self._local:
            if not hctl(physical):
                raise OperationError(
                    "The devices of another host cannot be seen from here", hint="write HOST:CHANNEL:TARGET:LUN"
                )
            return ScsiUnit(physical, "")
        unit = host_devices.scsi_unit(physical, self._sysfs)
        if unit is None:
            raise UsageError(f"Cannot find device '{physical}'")
        return unit

    def _refuse_back_end(self, backend: str) -> None:
        if backend in ("", "0", DOM0_NAME):
            return
        try:
            self._toolstack.find(backend)
        except DomainNotFound:
            raise OperationError(f"Cannot configure device for unknown backend {backend}") from None
        raise OperationError(f"KVM has no driver domains (back end '{backend}')", hint="give a device of this host")


def _virtual(virtual: str) -> tuple[int, ...]:
    """The numbers of the place. Raises UsageError, and OperationError for a whole adapter."""
    if virtual == "host":
        raise OperationError(
            "KVM gives no whole SCSI adapter away",
            hint="attach each of its devices at a place HOST:CHANNEL:TARGET:LUN of its own",
        )
    numbers = hctl(virtual)
    if not numbers:
        raise UsageError(f"Invalid argument: {virtual}")
    return numbers


def _rows(seen: Seen) -> list[ScsiRow]:
    """What the domain has: where it is there, what libvirt says; else what its form says as well."""
    kept = {hctl(one.host): ScsiRow(one.adapter, one.host, one.name, one.guest) for one in scsi_devices(seen.form)}
    there = [(place, _shown(one)) for one in plugged_hostdevs(seen.xml) if (place := _place(one))]
    rows = [kept.get(place, shown) for place, shown in there]
    named = [row for row in kept.values() if not hctl(row.host)]  # by a device file, as its configuration has it
    if seen.live:
        return rows + [row for row in named if all(row.guest != other.guest for other in rows)]
    return rows + [row for row in kept.values() if row not in rows]


def _shown(plugged: PluggedHostdev) -> ScsiRow:
    device = plugged.device
    assert isinstance(device, ScsiHostdev)
    place = f"{device.host}:{device.bus}:{device.target}:{device.unit}"
    return ScsiRow(device.controller, place, "", f"{device.controller}:0:{device.guest_target}:{device.guest_unit}")


def _place(plugged: PluggedHostdev) -> tuple[int, ...]:
    device = plugged.device
    return (device.host, device.bus, device.target, device.unit) if isinstance(device, ScsiHostdev) else ()


def _controller_of(seen: Seen, adapter: int) -> int | None:
    """The controller that stands for the guest's ADAPTER, in each of the domain's XMLs; None where there is none yet."""
    places = [hctl(one.host) for one in scsi_devices(seen.form) if one.adapter == adapter]
    shared = set.intersection(*(_controllers(xml, places) for xml in seen.xmls))
    return min(shared) if shared else None


def _controllers(xml: str, places: list[tuple[int, ...]]) -> set[int]:
    """Those that have the devices at these PLACES of the host."""
    there = (one for one in plugged_hostdevs(xml) if _place(one) in places)
    return {one.device.controller for one in there if isinstance(one.device, ScsiHostdev)}


def _refuse_taken(seen: Seen, unit: ScsiUnit, virtual: str) -> None:
    for row in _rows(seen):
        if row.host in (unit.place, unit.name) or (unit.name and row.host == f"/dev/{unit.name}"):
            raise OperationError(f'The physical device "{unit.place}" is already defined')
        if hctl(row.guest) == hctl(virtual):
            raise OperationError(f'The virtual device "{virtual}" is already defined')
