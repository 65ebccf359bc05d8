"""Devices that come and go: the protocol's part in ``FakeHypervisor``. A guest lets go at once, unless it is ``stubborn``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lxml import etree

from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.errors import DevicePresent, DomainNotFound, XmError


@dataclass
class FakeHotplug:
    """``xml`` is what the domain has now, ``definitions`` what a known one that runs is started with."""

    known: dict[str, DomainInfo] = field(default_factory=dict)
    xml: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    plugged: list[str] = field(default_factory=list)
    unplugged: list[str] = field(default_factory=list)
    changed: list[tuple[str, bool]] = field(default_factory=list)
    stubborn: bool = False
    on_attach: Callable[[], None] | None = None
    refusal: XmError | None = None

    def definition(self, uuid: str) -> str:
        return self.definitions.get(uuid, self.xml[uuid])

    def define_again(self, xml: str) -> None:
        uuid = etree.fromstring(xml).findtext("uuid") or ""
        (self.xml if self.known[uuid].domid is None else self.definitions)[uuid] = xml

    def attach_device(self, uuid: str, xml: str) -> None:
        if uuid not in self.known:
            raise DomainNotFound(uuid)
        if self.refusal is not None:
            raise self.refusal
        self.plugged.append(xml)
        self._edit(uuid, lambda devices: _put(devices, xml))
        if self.on_attach is not None:
            self.on_attach()

    def change_device(self, uuid: str, xml: str, *, force: bool = False) -> None:
        if self.refusal is not None and not force:
            raise self.refusal
        self.changed.append((xml, force))
        self._edit(uuid, lambda devices: _take(devices, xml, alias=""))
        self._edit(uuid, lambda devices: _put(devices, xml))

    def unplug_device(self, uuid: str, alias: str) -> None:
        if uuid not in self.known:
            raise DomainNotFound(uuid)
        self.unplugged.append(alias)
        if not self.stubborn:
            self.xml[uuid] = _edited(self.xml[uuid], lambda devices: _take(devices, "", alias=alias))

    def forget_device(self, uuid: str, xml: str) -> None:
        if uuid in self.definitions:
            self.definitions[uuid] = _edited(self.definitions[uuid], lambda devices: _take(devices, xml, alias=""))
        elif self.known[uuid].domid is None:
            self.xml[uuid] = _edited(self.xml[uuid], lambda devices: _take(devices, xml, alias=""))

    def _edit(self, uuid: str, change: Callable[[etree._Element], object]) -> None:
        for xmls in (self.xml, self.definitions):
            if uuid in xmls:
                xmls[uuid] = _edited(xmls[uuid], change)


def _edited(xml: str, change: Callable[[etree._Element], object]) -> str:
    root = etree.fromstring(xml)
    devices = root.find("devices")
    assert devices is not None
    change(devices)
    return etree.tostring(root, encoding="unicode")


def _put(devices: etree._Element, xml: str) -> None:
    new = etree.fromstring(xml)
    for other in devices:
        if _key(new) == _key(other) or (_alias(new) and _alias(new) == _alias(other)):
            raise DevicePresent(f"target {_key(new)} already exists")
    devices.append(new)


def _take(devices: etree._Element, xml: str, *, alias: str) -> None:
    key = _key(etree.fromstring(xml)) if xml else ""
    for device in list(devices):
        if (alias and _alias(device) == alias) or (key and _key(device) == key):
            devices.remove(device)


def _key(device: etree._Element) -> str:
    """What there is one of: the name of a disk, the address of an interface, a device of the host."""
    target, mac = device.find("target"), device.find("mac")
    if device.tag == "disk" and target is not None:
        return target.get("dev", "")
    if device.tag == "interface" and mac is not None:
        return mac.get("address", "").lower()
    source = device.find("source")
    if device.tag == "hostdev" and source is not None:
        return etree.tostring(source, encoding="unicode", with_tail=False)
    return f"{device.tag}-{device.get('type')}-{device.get('index')}-{id(device)}"


def _alias(device: etree._Element) -> str:
    alias = device.find("alias")
    return "" if alias is None else alias.get("name", "")
