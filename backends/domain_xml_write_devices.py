"""Devices of a Machine to libvirt XML. Pure; loads lxml."""

from __future__ import annotations

import re

from lxml import etree

from xmcompat.backends.machine import (
    BlockSource,
    CharDevice,
    Disk,
    DiskSource,
    FileSource,
    Graphics,
    Machine,
    Nic,
    Video,
)
from xmcompat.backends.xml_elements import add

#: What libvirt keeps of a name that we give to a device.
_ALIAS = re.compile(r"[A-Za-z0-9_-]+")


def devices(parent: etree._Element, machine: Machine) -> None:
    for disk in machine.disks:
        _disk(parent, disk)
    add(parent, "controller", type="usb", model=machine.usb)
    if machine.scsi:
        add(parent, "controller", type="scsi", index=0, model=machine.scsi)
    for nic in machine.nics:
        _nic(parent, nic)
    _consoles(parent, machine.consoles)
    for kind, bus in machine.inputs:
        add(parent, "input", type=kind, bus=bus)
    for graphics in machine.graphics:
        _graphics(parent, graphics)
    _video(parent, machine.video)
    add(parent, "memballoon", model="virtio")
    if machine.panic:
        add(parent, "panic", model="isa")


def _disk(parent: etree._Element, disk: Disk) -> None:
    element = add(parent, "disk", type=_disk_type(disk.source), device=disk.device.value)
    add(element, "driver", name="qemu", type=disk.driver, cache=disk.cache, io=disk.io)
    if disk.source is not None:
        _source(element, disk.source)
    add(element, "target", dev=disk.target, bus=disk.bus.value)
    if disk.boot_order is not None:
        add(element, "boot", order=disk.boot_order)
    if disk.readonly:
        add(element, "readonly")
    if disk.shareable:
        add(element, "shareable")
    if _ALIAS.fullmatch(disk.vdev):
        add(element, "alias", name=f"ua-{disk.vdev}")


def _disk_type(source: DiskSource | None) -> str:
    if isinstance(source, BlockSource):
        return "block"
    return "file" if source is None or isinstance(source, FileSource) else "network"


def _source(parent: etree._Element, source: DiskSource) -> None:
    if isinstance(source, FileSource):
        add(parent, "source", file=source.path)
    elif isinstance(source, BlockSource):
        add(parent, "source", dev=source.path)
    else:
        element = add(parent, "source", protocol=source.protocol, name=source.name)
        if source.socket:
            add(element, "host", transport="unix", socket=source.socket)
        elif source.host:
            add(element, "host", name=source.host, port=source.port)


def _nic(parent: etree._Element, nic: Nic) -> None:
    element = add(parent, "interface", type="bridge")
    if nic.mac:
        add(element, "mac", address=nic.mac)
    add(element, "source", bridge=nic.bridge)
    if nic.target:
        add(element, "target", dev=nic.target)
    if nic.model:
        add(element, "model", type=nic.model)
    if nic.outbound_average is not None:
        add(add(element, "bandwidth"), "outbound", average=nic.outbound_average, burst=nic.outbound_burst)


def _consoles(parent: etree._Element, consoles: tuple[CharDevice, ...]) -> None:
    """Serial and parallel ports in their order; then the consoles, of which the first serial port is number 0."""
    for kind in ("serial", "parallel"):
        for port, device in enumerate(one for one in consoles if one.kind == kind):
            _char(add(parent, kind, type=device.type), device, port=port)
    serials = [device for device in consoles if device.kind == "serial"]
    if serials:
        _char(add(parent, "console", type=serials[0].type), serials[0], target="serial", port=0)
    virtios = [device for device in consoles if device.kind == "virtio"]
    for port, device in enumerate(virtios, start=1 if serials else 0):
        _char(add(parent, "console", type=device.type), device, target="virtio", port=port)


def _char(element: etree._Element, device: CharDevice, *, port: int, target: str = "") -> None:
    if device.bind_host or device.bind_service:
        add(element, "source", mode="bind", host=device.bind_host, service=device.bind_service)
    if device.path or device.host or device.service:
        add(element, "source", mode=device.mode, path=device.path, host=device.host, service=device.service)
    if device.protocol:
        add(element, "protocol", type=device.protocol)
    add(element, "target", type=target, port=port)


def _graphics(parent: etree._Element, graphics: Graphics) -> None:
    auto = "yes" if graphics.port is None else "no"
    element = add(
        parent, "graphics", type=graphics.type, port=graphics.port, autoport=auto, keymap=graphics.keymap,
        passwd=graphics.password,
    )  # fmt: skip
    if graphics.listen:
        add(element, "listen", type="address", address=graphics.listen)


def _video(parent: etree._Element, video: Video) -> None:
    heads = None if video.model == "none" else 1
    add(add(parent, "video"), "model", type=video.model, vram=video.vram, heads=heads)
