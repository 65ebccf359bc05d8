"""Devices of a Machine to libvirt XML. Pure; loads lxml."""

from __future__ import annotations

import re

from lxml import etree

from xmcompat.backends import domain_xml_write_hostdevs as hostdevs
from xmcompat.backends.devices import (
    BlockSource,
    CharDevice,
    Disk,
    DiskSource,
    FileSource,
    Graphics,
    GuestChannel,
    NetworkSource,
    Nic,
    UsbBus,
    Video,
)
from xmcompat.backends.machine import Machine
from xmcompat.backends.xml_elements import add, exact, said

#: What libvirt keeps of a name that we give to a device.
_ALIAS = re.compile(r"[A-Za-z0-9_-]+")

EHCI = "ich9-ehci1"
#: The controllers beside it, and the first of its ports that each serves.
COMPANIONS = ((0, "ich9-uhci1"), (2, "ich9-uhci2"), (4, "ich9-uhci3"))


def devices(parent: etree._Element, machine: Machine) -> None:
    """In libvirt's own order."""
    _storage(parent, machine)
    for nic in machine.nics:
        write_nic(parent, nic)
    _consoles(parent, machine.consoles)
    for channel in machine.channels:
        _channel(parent, channel)
    for kind, bus in machine.inputs:
        add(parent, "input", type=kind, bus=bus)
    if machine.tpm:
        add(add(parent, "tpm", model="tpm-tis"), "backend", type="emulator", version=machine.tpm)
    _screen(parent, machine)
    hostdevs.hostdevs(parent, machine.hostdevs)
    for _ in range(machine.redirections):
        add(parent, "redirdev", bus="usb", type="spicevmc")
    if machine.watchdog:
        add(parent, "watchdog", model="i6300esb", action=machine.watchdog)
    add(parent, "memballoon", model="virtio")
    for panic in machine.panics:
        add(parent, "panic", model=panic)


def _storage(parent: etree._Element, machine: Machine) -> None:
    for disk in machine.disks:
        write_disk(parent, disk)
    write_usb(parent, machine.usb)
    for index, model in enumerate(machine.scsi):
        add(parent, "controller", type="scsi", index=index, model=model)
    for folder in machine.folders:
        element = add(parent, "filesystem", type="mount", accessmode=folder.accessmode)
        add(element, "source", dir=folder.path)
        add(element, "target", dir=folder.tag)


def _screen(parent: etree._Element, machine: Machine) -> None:
    """What the guest shows and plays."""
    for graphics in machine.graphics:
        _graphics(parent, graphics)
    for sound in machine.sounds:
        add(parent, "sound", model=sound)
    _video(parent, machine.video)


def write_usb(parent: etree._Element, buses: tuple[UsbBus, ...], first: int = 0) -> None:
    """Controllers from number FIRST on. One of no model says that there is none. USB 2 needs others beside it for slow
    devices."""
    if not buses:
        add(parent, "controller", type="usb", model="none")
    for index, bus in enumerate(buses, first):
        add(parent, "controller", type="usb", index=index, model=bus.model, ports=bus.ports)
        for startport, companion in COMPANIONS if bus.model == EHCI else ():
            element = add(parent, "controller", type="usb", index=index, model=companion)
            add(element, "master", startport=startport)


def write_disk(parent: etree._Element, disk: Disk) -> None:
    element = add(parent, "disk", type=_disk_type(disk.source), device=disk.device.value)
    add(element, "driver", name="qemu", type=disk.driver, cache=disk.cache, error_policy=disk.on_error, io=disk.io,
        discard=disk.discard)  # fmt: skip
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
        _network_source(add(parent, "source", protocol=source.protocol, name=source.name), source)


def _network_source(element: etree._Element, source: NetworkSource) -> None:
    if source.socket:
        add(element, "host", transport="unix", socket=source.socket)
    elif source.host:
        add(element, "host", name=source.host, port=source.port)
    for name, port in source.more_hosts:
        add(element, "host", name=name, port=port)
    if source.snapshot:
        add(element, "snapshot", name=source.snapshot)
    if source.config:
        add(element, "config", file=source.config)
    if source.user:
        kind = "ceph" if source.protocol == "rbd" else source.protocol
        add(add(element, "auth", username=source.user), "secret", type=kind, usage=source.secret)
    if source.protocol == "nfs":  # which libvirt's schema always wants
        user, group = (f"+{number}" for number in source.identity) if source.identity else (None, None)
        add(element, "identity", user=user, group=group)


def write_nic(parent: etree._Element, nic: Nic) -> None:
    element = add(parent, "interface", type="bridge" if nic.bridge else "ethernet")
    if nic.mac:
        add(element, "mac", address=nic.mac)
    if nic.bridge:
        add(element, "source", bridge=nic.bridge)
    if nic.openvswitch:
        add(element, "virtualport", type="openvswitch")
    _vlan(element, nic)
    if nic.target:
        add(element, "target", dev=nic.target)
    if nic.model:
        add(element, "model", type=nic.model)
    if nic.outbound_average is not None:
        add(add(element, "bandwidth"), "outbound", average=nic.outbound_average, burst=nic.outbound_burst)
    if nic.mtu is not None:
        add(element, "mtu", size=nic.mtu)
    if nic.filter:
        reference = add(element, "filterref", filter=nic.filter)
        for address in nic.addresses:
            add(reference, "parameter", name="IP", value=address)


def _vlan(parent: etree._Element, nic: Nic) -> None:
    if nic.vlan is None and not nic.trunk:
        return
    element = add(parent, "vlan", trunk="yes" if nic.trunk else None)
    if nic.vlan is not None:
        add(element, "tag", id=nic.vlan, nativeMode="untagged" if nic.trunk else None)
    for tag in nic.trunk:
        add(element, "tag", id=tag)


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


def _channel(parent: etree._Element, channel: GuestChannel) -> None:
    element = add(parent, "channel", type=channel.type)
    if channel.path:
        add(element, "source", mode="bind", path=channel.path)
    add(element, "target", type="virtio", name=channel.name)


def _graphics(parent: etree._Element, graphics: Graphics) -> None:
    auto = "yes" if graphics.port is None and graphics.tls_port is None else "no"
    element = add(
        parent, "graphics", type=graphics.type, port=graphics.port, tlsPort=graphics.tls_port, autoport=auto,
        keymap=graphics.keymap,
    )  # fmt: skip
    if graphics.password is not None:
        element.set("passwd", exact(graphics.password))  # "" keeps everybody out; without it, everybody may look
    if graphics.listen:
        add(element, "listen", type="address", address=graphics.listen)
    if graphics.image_compression:
        add(element, "image", compression=graphics.image_compression)
    if graphics.streaming:
        add(element, "streaming", mode=graphics.streaming)
    if graphics.clipboard is not None:
        add(element, "clipboard", copypaste=said(graphics.clipboard))
    if graphics.mouse:
        add(element, "mouse", mode=graphics.mouse)


def _video(parent: etree._Element, video: Video) -> None:
    heads = None if video.model == "none" else video.heads
    add(
        add(parent, "video"), "model", type=video.model, ram=video.ram, vram=video.vram, vgamem=video.vgamem,
        heads=heads,
    )  # fmt: skip
