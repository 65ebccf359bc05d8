"""Machine to libvirt XML. Pure; lxml is loaded here, so import this module at first need.

Every element is written out, so that libvirt guesses nothing: the format of each image above all, since a guest
could make a raw image look like one that names a file of the host. ``parse`` is in ``domain_xml_read``.
"""

from __future__ import annotations

import re

from lxml import etree

from xmcompat.backends.domain_xml_read import METADATA_URI, parse, read_record
from xmcompat.backends.machine import (
    BlockSource,
    CharDevice,
    Clock,
    DirectKernel,
    Disk,
    DiskSource,
    FileSource,
    Graphics,
    Machine,
    Nic,
    XenRecord,
)

__all__ = ["METADATA_URI", "METADATA_PREFIX", "parse", "read_record", "render", "xml_text"]

METADATA_PREFIX = "x"

#: What XML 1.0 cannot hold.
_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(text: str) -> str:
    """TEXT with what XML cannot hold replaced by U+FFFD."""
    return _UNFIT.sub("�", text)


def _add(parent: etree._Element, tag: str, text: str | None = None, **attributes: object) -> etree._Element:
    """A child with those attributes that are not None, "" or False; True is "yes"."""
    element = etree.SubElement(parent, tag)
    for name, value in attributes.items():
        if value is not None and value != "" and value is not False:
            element.set(name.rstrip("_"), "yes" if value is True else xml_text(str(value)))
    if text is not None:
        element.text = xml_text(text)
    return element


def render(machine: Machine) -> str:
    """The XML of a domain; the same text for the same machine."""
    root = etree.Element("domain", type=machine.accelerator.value)
    _add(root, "name", machine.name)
    if machine.uuid:
        _add(root, "uuid", machine.uuid)
    if machine.description:
        _add(root, "description", machine.description)
    if machine.record is not None:
        _record(_add(root, "metadata"), machine.record)
    _add(root, "memory", str(machine.memory), unit="KiB")
    _add(root, "currentMemory", str(machine.current_memory), unit="KiB")
    _add(root, "vcpu", str(machine.vcpus), placement="static", current=machine.vcpus_online)
    _boot(_add(root, "os"), machine)
    _features(root, machine)
    _cpu(root, machine)
    _clock(root, machine.clock)
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        _add(root, event, getattr(machine, event))
    _devices(_add(root, "devices"), machine)
    etree.indent(root)
    return etree.tostring(root, encoding="unicode") + "\n"


def _record(parent: etree._Element, record: XenRecord) -> None:
    element = etree.SubElement(parent, f"{{{METADATA_URI}}}guest", nsmap={METADATA_PREFIX: METADATA_URI})
    element.set("source", xml_text(record.source))
    element.set("dialect", record.dialect)
    if record.started is not None:
        element.set("started", repr(record.started))
    if record.consoles:
        element.set("consoles", " ".join(record.consoles))
    element.text = xml_text(record.sxp)


def _boot(parent: etree._Element, machine: Machine) -> None:
    boot = machine.boot
    if not isinstance(boot, DirectKernel) and boot.firmware == "efi":
        parent.set("firmware", "efi")
    _add(parent, "type", "hvm", arch=machine.arch, machine=machine.machine_type)
    if isinstance(boot, DirectKernel):
        _add(parent, "kernel", boot.kernel)
        if boot.initrd:
            _add(parent, "initrd", boot.initrd)
        if boot.cmdline:
            _add(parent, "cmdline", boot.cmdline)
        return
    if boot.firmware not in ("", "efi"):
        _add(parent, "loader", boot.firmware, readonly=True, type="rom")
    for device in boot.order:
        _add(parent, "boot", dev=device)


def _features(root: etree._Element, machine: Machine) -> None:
    if machine.acpi or machine.apic:
        features = _add(root, "features")
        for name in ("acpi", "apic"):
            if getattr(machine, name):
                _add(features, name)


def _cpu(root: etree._Element, machine: Machine) -> None:
    if machine.cpu_mode or machine.cpu_features:
        check = "partial" if machine.cpu_mode == "host-model" else None
        cpu = _add(root, "cpu", mode=machine.cpu_mode, check=check)
        for name, policy in machine.cpu_features:
            _add(cpu, "feature", policy=policy, name=name)


def _clock(root: etree._Element, clock: Clock) -> None:
    element = _add(root, "clock", offset=clock.offset, adjustment=clock.adjustment, basis=clock.basis)
    for timer in clock.timers:
        present = None if timer.present is None else "yes" if timer.present else "no"
        _add(element, "timer", name=timer.name, present=present, tickpolicy=timer.tickpolicy)


def _devices(parent: etree._Element, machine: Machine) -> None:
    for disk in machine.disks:
        _disk(parent, disk)
    _add(parent, "controller", type="usb", model=machine.usb)
    for nic in machine.nics:
        _nic(parent, nic)
    _consoles(parent, machine.consoles)
    for kind, bus in machine.inputs:
        _add(parent, "input", type=kind, bus=bus)
    for graphics in machine.graphics:
        _graphics(parent, graphics)
    _add(_add(parent, "video"), "model", type=machine.video.model, vram=machine.video.vram)
    _add(parent, "memballoon", model="virtio")
    if machine.panic:
        _add(parent, "panic", model="isa")


def _disk(parent: etree._Element, disk: Disk) -> None:
    element = _add(parent, "disk", type=_disk_type(disk.source), device=disk.device.value)
    _add(element, "driver", name="qemu", type=disk.driver, cache=disk.cache, io=disk.io)
    if disk.source is not None:
        _source(element, disk.source)
    _add(element, "target", dev=disk.target, bus=disk.bus.value)
    if disk.readonly:
        _add(element, "readonly")
    if disk.shareable:
        _add(element, "shareable")
    if disk.boot_order is not None:
        _add(element, "boot", order=disk.boot_order)
    if disk.vdev:
        _add(element, "alias", name=f"ua-{disk.vdev}")


def _disk_type(source: DiskSource | None) -> str:
    if isinstance(source, BlockSource):
        return "block"
    return "file" if source is None or isinstance(source, FileSource) else "network"


def _source(element: etree._Element, source: DiskSource) -> None:
    if isinstance(source, FileSource):
        _add(element, "source", file=source.path)
    elif isinstance(source, BlockSource):
        _add(element, "source", dev=source.path)
    else:
        network = _add(element, "source", protocol=source.protocol, name=source.name)
        if source.socket:
            _add(network, "host", transport="unix", socket=source.socket)
        elif source.host:
            _add(network, "host", name=source.host, port=source.port)


def _nic(parent: etree._Element, nic: Nic) -> None:
    element = _add(parent, "interface", type="bridge")
    _add(element, "mac", address=nic.mac)
    _add(element, "source", bridge=nic.bridge)
    if nic.target:
        _add(element, "target", dev=nic.target)
    _add(element, "model", type=nic.model)
    if nic.outbound_average is not None:
        outbound = _add(element, "bandwidth")
        _add(outbound, "outbound", average=nic.outbound_average, burst=nic.outbound_burst)


def _consoles(parent: etree._Element, consoles: tuple[CharDevice, ...]) -> None:
    """Serial and parallel ports in their order; then the consoles, of which the first serial port is number 0."""
    for kind in ("serial", "parallel"):
        for port, device in enumerate(one for one in consoles if one.kind == kind):
            _char(_add(parent, kind, type=device.type), device, port=port)
    serials = [device for device in consoles if device.kind == "serial"]
    if serials:
        _char(_add(parent, "console", type=serials[0].type), serials[0], target="serial", port=0)
    virtios = [device for device in consoles if device.kind == "virtio"]
    for port, device in enumerate(virtios, start=1 if serials else 0):
        _char(_add(parent, "console", type=device.type), device, target="virtio", port=port)


def _char(element: etree._Element, device: CharDevice, *, port: int, target: str = "") -> None:
    if device.bind_host or device.bind_service:
        _add(element, "source", mode="bind", host=device.bind_host, service=device.bind_service)
    if device.path or device.host or device.service:
        _add(
            element, "source", mode=device.mode, path=device.path, host=device.host, service=device.service
        )  # fmt: skip
    if device.protocol:
        _add(element, "protocol", type=device.protocol)
    _add(element, "target", type=target, port=port)


def _graphics(parent: etree._Element, graphics: Graphics) -> None:
    free = graphics.port is None
    element = _add(
        parent, "graphics", type=graphics.type, port=graphics.port, autoport="yes" if free else "no",
        keymap=graphics.keymap, passwd=graphics.password,
    )  # fmt: skip
    _add(element, "listen", type="address", address=graphics.listen)
