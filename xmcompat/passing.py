"""What the operations on devices of the host have in common: ``xm pci-attach`` and its like."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xmcompat.backends import host_devices
from xmcompat.backends.domain_xml_hostdevs import PluggedHostdev, plugged_hostdevs
from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.backends.settings import is_local
from xmcompat.errors import DomainEnding, DomainNotFound, HypervisorError, OperationError, XmError
from xmcompat.plugging import Device, Plugging, Seen
from xmcompat.toolstack import DOM0_UUID, Toolstack

Tree = list[object]

#: What libvirt, QEMU or the kernel say, what it means, and what to do about it.
_MEANINGS = (
    (("support passthrough of host PCI devices", "Failed to load PCI driver"), "This host cannot give PCI devices away",
     "it needs VT-d or AMD-Vi on in its BIOS, intel_iommu=on or iommu=pt on its kernel's command line, and the kernel "
     "module vfio-pci"),
    (("is not viable", "within the iommu_group are bound"),
     "Another device of the same IOMMU group is in use by this host", "bind all of the group to vfio-pci, or give them "
     "away; iommu_group/devices below the device in /sys/bus/pci/devices shows them"),
    (("double use of PCI Address", "PCI address"), "The guest has another device in that slot, or no such slot",
     "name another slot, or none"),
    (("Multiple USB devices for",), "This host has several USB devices of that kind",
     "name the one by its place, host:BUS.ADDRESS, as 'lsusb' shows it"),
    (("Did not find USB device", "/sys/bus/usb/devices"), "This host has no such USB device",
     "'lsusb' shows those that it has"),
    (("No free USB ports", "USB is disabled"), "The guest has no free USB port",
     "take another device away, or write usb=1 or vusb=[...] in its configuration and start it anew"),
    (("/sys/bus/scsi/devices", "scsi_generic"), "This host has no such SCSI device, or not the kernel module sg",
     "'lsscsi -g' shows what it has"),
    (("cannot limit locked memory", "VFIO_MAP_DMA failed"),
     "The guest's memory cannot all be kept in place, as the device needs it", "free some of the host's memory"),
)  # fmt: skip


class NotGiven(OperationError):
    """A device that a domain cannot be given. The message is xend's own."""

    hint_apart = True


class Passing:
    """Over a TOOLSTACK; SYSFS stands in the place of /sys."""

    def __init__(self, toolstack: Toolstack, sysfs: Path | None = None) -> None:
        self._toolstack = toolstack
        self._hypervisor = toolstack.hypervisor
        self._plugging = Plugging(toolstack)
        self._sysfs = sysfs or host_devices.SYSFS

    @property
    def _local(self) -> bool:
        return is_local(self._hypervisor.uri)

    def _refuse_elsewhere(self) -> None:
        """Raise OperationError where the devices are those of another host."""
        if not self._local:
            raise OperationError("The devices of another host cannot be seen from here", hint="run xm on that host")

    def _seen(self, designation: str) -> Seen | None:
        """The domain as it is; None for Domain-0, which is this host itself."""
        info = self._toolstack.find(designation)
        return None if info.uuid == DOM0_UUID else self._plugging.look(info, designation)

    @contextmanager
    def _changing(self, designation: str) -> Iterator[Seen]:
        """The domain, whose devices nobody else changes meanwhile. Raises DomainNotFound and OperationError."""
        with self._plugging.domain(designation) as info:
            if info.uuid == DOM0_UUID:
                raise OperationError("Domain-0 is this host itself, which has its devices already")
            yield self._plugging.look(info, designation)

    def _plug(self, seen: Seen, device: Device, form: Tree) -> None:
        try:
            self._plugging.plug(seen, device, form)
        except (DomainEnding, DomainNotFound):
            raise
        except XmError as error:
            raise explained(error) from None

    def _elsewhere(self, uuid: str = "") -> Iterator[tuple[DomainInfo, str]]:
        """The other domains, but for the one with that UUID, with what they are now."""
        for info in self._hypervisor.domains():
            if info.uuid != uuid:
                try:
                    yield info, self._hypervisor.domain_xml(info.uuid)
                except (DomainNotFound, DomainEnding):
                    continue

    def _given_away(self, uuid: str = "") -> list[PluggedHostdev]:
        """What the other domains that are there have."""
        return [one for info, xml in self._elsewhere(uuid) if info.started for one in plugged_hostdevs(xml)]


def explained(error: XmError) -> XmError:
    """ERROR of libvirt's in plain words, with what to do; any other as it is."""
    for texts, meaning, hint in _MEANINGS:
        if any(text in error.message for text in texts):
            return HypervisorError(meaning, hint=hint)
    return error
