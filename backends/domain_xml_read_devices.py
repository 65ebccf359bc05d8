"""Devices of libvirt XML to those of a Machine. Pure; loads lxml."""

from __future__ import annotations

from lxml import etree

from xmcompat.backends.machine import (
    BlockSource,
    Bus,
    CharDevice,
    Disk,
    DiskDevice,
    DiskSource,
    FileSource,
    Graphics,
    NetworkSource,
    Nic,
    Video,
)
from xmcompat.backends.xml_elements import attribute, number, word

#: libvirt's default model of a USB controller on a PC.
USB = "piix3-uhci"


def disk(element: etree._Element) -> Disk:
    driver, target = element.find("driver"), element.find("target")
    alias = attribute(element.find("alias"), "name")
    return Disk(
        source=_source(element.find("source")),
        target=attribute(target, "dev"),
        bus=word(Bus, attribute(target, "bus"), Bus.VIRTIO),
        device=word(DiskDevice, element.get("device", "disk"), DiskDevice.DISK),
        driver=attribute(driver, "type") or "raw",
        cache=attribute(driver, "cache"),
        io=attribute(driver, "io"),
        readonly=element.find("readonly") is not None,
        shareable=element.find("shareable") is not None,
        boot_order=number(attribute(element.find("boot"), "order")),
        vdev=alias.removeprefix("ua-") if alias.startswith("ua-") else "",
    )


def _source(source: etree._Element | None) -> DiskSource | None:
    if source is None:
        return None
    if path := source.get("file"):
        return FileSource(path=path)
    if path := source.get("dev"):
        return BlockSource(path=path)
    protocol = source.get("protocol")
    if not protocol:
        return None
    host = source.find("host")
    return NetworkSource(
        protocol=protocol,
        name=source.get("name", ""),
        host=attribute(host, "name"),
        port=number(attribute(host, "port")),
        socket=attribute(host, "socket"),
    )


def nic(element: etree._Element) -> Nic:
    source, outbound = element.find("source"), element.find("bandwidth/outbound")
    target = attribute(element.find("target"), "dev")
    return Nic(
        mac=attribute(element.find("mac"), "address"),
        bridge=attribute(source, "bridge") or attribute(source, "network") or attribute(source, "dev"),
        model=attribute(element.find("model"), "type"),
        target="" if target.startswith("vnet") else target,  # libvirt's choice
        outbound_average=number(attribute(outbound, "average")),
        outbound_burst=number(attribute(outbound, "burst")),
    )


def consoles(root: etree._Element) -> tuple[CharDevice, ...]:
    """Serial and parallel ports, then virtio consoles. A console that only repeats a port is left out."""
    found = [_char(element, kind) for kind in ("serial", "parallel") for element in root.iterfind(f"devices/{kind}")]
    for element in root.iterfind("devices/console"):
        kind = attribute(element.find("target"), "type") or "serial"
        if kind == "virtio":
            found.append(_char(element, kind))
        elif kind == "serial" and all(device.kind != "serial" for device in found):
            found.insert(0, _char(element, kind))
    return tuple(found)


def _char(element: etree._Element, kind: str) -> CharDevice:
    sources = element.findall("source")
    bound = next((one for one in sources if one.get("mode") == "bind"), None) if len(sources) > 1 else None
    source = next((one for one in sources if one is not bound), None)
    type_ = element.get("type", "pty")
    return CharDevice(
        kind=kind,
        type=type_,
        path="" if type_ == "pty" else attribute(source, "path"),  # that of a pty is another each time
        mode=attribute(source, "mode"),
        host=attribute(source, "host"),
        service=attribute(source, "service"),
        protocol=attribute(element.find("protocol"), "type"),
        bind_host=attribute(bound, "host"),
        bind_service=attribute(bound, "service"),
    )


def graphics(element: etree._Element) -> Graphics:
    port = number(element.get("port"))
    return Graphics(
        type=element.get("type", "vnc"),
        listen=attribute(element.find("listen"), "address") or element.get("listen", ""),
        port=None if element.get("autoport") == "yes" or port == -1 else port,
        password=element.get("passwd"),
        keymap=element.get("keymap", ""),
    )


def video(model: etree._Element | None) -> Video:
    return Video() if model is None else Video(model=model.get("type", "none"), vram=number(model.get("vram")))


def controller(root: etree._Element, kind: str, default: str) -> str:
    """The model of the first controller of that kind, DEFAULT where it names none, "" where there is no controller."""
    for element in root.iterfind("devices/controller"):
        if element.get("type") == kind:
            return element.get("model") or default
    return ""
