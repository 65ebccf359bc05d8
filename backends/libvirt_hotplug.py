"""Devices that libvirt adds to a domain, takes away, or changes while it runs."""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

from xmcompat.errors import DeviceError, DevicePresent, HypervisorError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from xmcompat.backends.libvirt_errors import Failure
    from xmcompat.backends.libvirt_translated import Translated
    from xmcompat.errors import XmError

#: What libvirt and QEMU say of a device that is there already, of one that is being let go of, and of one that is gone.
_PRESENT = ("already exists", "non unique alias detected", "duplicated for disk sources", "Duplicate ID")
_PENDING = ("already in the process of unplug",)
_ABSENT = (
    "device not found", "no device found with alias", "not found in the domain", "no target device",
    "no matching network device", "no device matching MAC", "not found: disk", "no such device",
)  # fmt: skip

#: Of the name of an interface on the host.
_TAKEN_NAME = r"The (\S+) interface already exists"


#: How often a medium is changed in a tray that the guest shuts again.
_TRIES = 4


class LibvirtHotplug:
    """The part of ``libvirt_kvm.LibvirtKvm`` that these calls are."""

    uri: str

    if TYPE_CHECKING:

        @property
        def _libvirt(self) -> Any: ...

        @property
        def _connection(self) -> Any: ...

        def _translated(self, designation: str = "") -> Translated: ...

        def _affected(self, domain: Any) -> int: ...

    def attach_device(self, uuid: str, xml: str) -> None:
        """Plug the device of XML into the domain where it runs, and put it into its definition where it is known."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            try:
                self._attach(domain, xml)
            except self._libvirt.libvirtError as error:
                refusal = not_plugged(_failure(error), self.uri, xml)
                if refusal is None:
                    raise
                raise refusal from None

    def _attach(self, domain: Any, xml: str) -> None:
        """What a libvirtd that was killed meanwhile has left of an earlier device of that name is taken away first."""
        flags = self._affected(domain)
        try:
            domain.attachDeviceFlags(xml, flags)
        except self._libvirt.libvirtError as error:
            from xmcompat.backends import libvirt_leftovers as leftovers

            message, alias = error.get_error_message() or "", _alias_in(xml)
            if not leftovers.is_in_the_way(message, alias, domain.XMLDesc(0)):
                raise
            leftovers.take_away(domain, alias, message)
            domain.attachDeviceFlags(xml, flags)

    def change_device(self, uuid: str, xml: str, *, force: bool = False) -> None:
        """Change the medium of a drive to that in XML, in the definition as well. FORCE: though the guest has locked it."""
        libvirt = self._libvirt
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            flags = self._affected(domain) | (libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE if force else 0)
            try:
                self._change(domain, xml, flags, force)
            except libvirt.libvirtError as error:
                refusal = not_plugged(_failure(error), self.uri, xml)
                if refusal is None:
                    raise
                raise refusal from None

    def _change(self, domain: Any, xml: str, flags: int, force: bool) -> None:
        """libvirt does not open the tray of a drive that was plugged in later: it has not asked whether it has one. A guest
        that resets the drive's controller meanwhile shuts it again."""
        opened = ""
        try:
            for left in reversed(range(_TRIES)):
                try:
                    domain.updateDeviceFlags(xml, flags)
                    return
                except self._libvirt.libvirtError as error:
                    alias = _alias(domain.XMLDesc(0), xml)
                    if not force or not alias or not left or "Tray of" not in (error.get_error_message() or ""):
                        raise
                opened = alias
                _move_tray(domain, "open", alias, force=True)
        finally:
            if opened:
                _move_tray(domain, "close", opened)

    def unplug_device(self, uuid: str, alias: str) -> None:
        """Ask the guest to let go of the device that libvirt calls ALIAS. Returns at once; silent for one that is gone,
        or asked for already."""
        libvirt = self._libvirt
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            try:
                domain.detachDeviceAlias(alias, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            except libvirt.libvirtError as error:
                if not _failure(error).has(*_PENDING, *_ABSENT):
                    raise

    def forget_device(self, uuid: str, xml: str) -> None:
        """Take the device of XML out of the definition of a known domain; silent where it is not in it."""
        libvirt = self._libvirt
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            if not domain.isPersistent():
                return
            try:
                domain.detachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
            except libvirt.libvirtError as error:
                if not _failure(error).has(*_ABSENT):
                    raise


def _alias_in(xml: str) -> str:
    """The name that a device's XML gives it, "" for none."""
    import re

    found = re.search(r"""<alias name=['"]([\w.-]+)['"]""", xml)
    return found[1] if found else ""


def _alias(domain_xml: str, xml: str) -> str:
    """libvirt's name for the domain's disk that has the name of that of XML, "" for none."""
    from xmcompat.backends.domain_xml_hotplug import plugged_disks

    (new,) = plugged_disks(f"<domain><devices>{xml}</devices></domain>")
    return next((one.alias for one in plugged_disks(domain_xml) if one.disk.target == new.disk.target), "")


def _move_tray(domain: Any, where: str, alias: str, **arguments: bool) -> None:
    import json

    import libvirt_qemu

    command = {"execute": f"blockdev-{where}-tray", "arguments": {"id": alias, **arguments}}
    libvirt_qemu.qemuMonitorCommand(domain, json.dumps(command), 0)


def _failure(error: Any) -> Failure:
    from xmcompat.backends.libvirt_errors import failure_of

    return failure_of(error)


def not_plugged(failure: Failure, uri: str, xml: str) -> XmError | None:
    """Why the device of XML could not be plugged in; None for what may go wrong with any call. Pure."""
    import re

    from xmcompat.backends.libvirt_devices import named_devices
    from xmcompat.backends.libvirt_errors import ENDING, NO_DOMAIN, is_lost, not_created

    if is_lost(failure) or failure.code == NO_DOMAIN or failure.has(*ENDING, "cannot acquire state change lock"):
        return None
    if failure.has("No more available PCI slots"):
        return HypervisorError("The guest has no free PCI slot", hint="take another device away first")
    if failure.has("argument key 'filename' must not have null value"):
        return HypervisorError(
            "libvirt plugs no empty drive into a guest that runs",
            hint="name a medium, which 'xm block-configure' can take out again",
        )
    other = re.search(_TAKEN_NAME, failure.text)
    if other:
        return DeviceError(f"Device 0 (vif) could not be connected. This host has a network device {other[1]} already")
    if failure.has(*_PRESENT):
        return DevicePresent(failure.line)
    bridges, disks = named_devices(f"<domain><devices>{xml}</devices></domain>")
    return not_created(failure, uri, bridges, disks)
