"""Machine to libvirt XML. Pure; loads lxml. The door is ``domain_xml``."""

from __future__ import annotations

import re

from lxml import etree

from xmcompat.backends.domain_xml import METADATA_PREFIX, METADATA_URI
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
    Video,
    XenRecord,
)
from xmcompat.errors import ConfigError

#: What XML 1.0 cannot hold.
_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: What libvirt keeps of a name that we give to a device.
_ALIAS = re.compile(r"[A-Za-z0-9_-]+")


def render(machine: Machine) -> str:
    """See ``domain_xml.render``."""
    root = etree.Element("domain", type=machine.accelerator.value)
    _add(root, "name", machine.name)
    if machine.uuid:
        _add(root, "uuid", machine.uuid)
    if machine.description:
        _add(root, "description", _legible(machine.description))
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


def _add(parent: etree._Element, tag: str, content: str | None = None, **attributes: str | int | None) -> etree._Element:
    """A child with CONTENT, and those attributes that are neither None nor ""."""
    element = etree.SubElement(parent, tag)
    for name, value in attributes.items():
        if value is not None and value != "":
            element.set(name, _exact(str(value)))
    if content is not None:
        element.text = _exact(content)
    return element


def _exact(text: str) -> str:
    """TEXT, which must not be changed."""
    if _UNFIT.search(text):
        raise ConfigError(f"{text!a} has characters that libvirt's XML cannot hold", hint="write it without them")
    return text


def _legible(text: str) -> str:
    """TEXT for people, with U+FFFD for what XML cannot hold."""
    return _UNFIT.sub("\ufffd", text)


def _record(parent: etree._Element, record: XenRecord) -> None:
    element = etree.SubElement(parent, f"{{{METADATA_URI}}}guest", nsmap={METADATA_PREFIX: METADATA_URI})
    element.set("source", _legible(record.source))
    element.set("dialect", record.dialect)
    if record.started is not None:
        element.set("started", repr(record.started))
    if record.consoles:
        element.set("consoles", " ".join(record.consoles))
    element.text = _legible(record.sxp)


def _boot(parent: etree._Element, machine: Machine) -> None:
    boot = machine.boot
    if not isinstance(boot, DirectKernel) and boot.firmware == "efi":
        parent.set("firmware", "efi")
    _add(parent, "type", "hvm", arch=machine.arch, machine=machine.machine_type)
    if isinstance(boot, DirectKernel):
        for tag, text in (("kernel", boot.kernel), ("initrd", boot.initrd), ("cmdline", boot.cmdline)):
            if text:
                _add(parent, tag, text)
        return
    if boot.firmware not in ("", "efi"):
        _add(parent, "loader", boot.firmware, readonly="yes", type="rom")
    for device in boot.order:
        _add(parent, "boot", dev=device)


def _features(root: etree._Element, machine: Machine) -> None:
    names = [name for name, on in (("acpi", machine.acpi), ("apic", machine.apic)) if on]
    if names:
        features = _add(root, "features")
        for name in names:
            _add(features, name)


def _cpu(root: etree._Element, machine: Machine) -> None:
    if not machine.cpu_mode and not machine.cpu_features:
        return
    check = {"host-model": "partial", "maximum": "none"}.get(machine.cpu_mode)
    cpu = _add(root, "cpu", mode=machine.cpu_mode, check=check)
    for name, policy in machine.cpu_features:
        _add(cpu, "feature", policy=policy, name=name)


def _clock(root: etree._Element, clock: Clock) -> None:
    element = _add(root, "clock", offset=clock.offset, adjustment=clock.adjustment, basis=clock.basis)
    for timer in clock.timers:
        present = None if timer.present is None else "yes" if timer.present else "no"
        _add(element, "timer", name=timer.name, present=present, tickpolicy=timer.tickpolicy)


# -- devices


def _devices(parent: etree._Element, machine: Machine) -> None:
    for disk in machine.disks:
        _disk(parent, disk)
    _add(parent, "controller", type="usb", model=machine.usb)
    if machine.scsi:
        _add(parent, "controller", type="scsi", index=0, model=machine.scsi)
    for nic in machine.nics:
        _nic(parent, nic)
    _consoles(parent, machine.consoles)
    for kind, bus in machine.inputs:
        _add(parent, "input", type=kind, bus=bus)
    for graphics in machine.graphics:
        _graphics(parent, graphics)
    _video(parent, machine.video)
    _add(parent, "memballoon", model="virtio")
    if machine.panic:
        _add(parent, "panic", model="isa")


def _disk(parent: etree._Element, disk: Disk) -> None:
    element = _add(parent, "disk", type=_disk_type(disk.source), device=disk.device.value)
    _add(element, "driver", name="qemu", type=disk.driver, cache=disk.cache, io=disk.io)
    if disk.source is not None:
        _source(element, disk.source)
    _add(element, "target", dev=disk.target, bus=disk.bus.value)
    if disk.boot_order is not None:
        _add(element, "boot", order=disk.boot_order)
    if disk.readonly:
        _add(element, "readonly")
    if disk.shareable:
        _add(element, "shareable")
    if _ALIAS.fullmatch(disk.vdev):
        _add(element, "alias", name=f"ua-{disk.vdev}")


def _disk_type(source: DiskSource | None) -> str:
    if isinstance(source, BlockSource):
        return "block"
    return "file" if source is None or isinstance(source, FileSource) else "network"


def _source(parent: etree._Element, source: DiskSource) -> None:
    if isinstance(source, FileSource):
        _add(parent, "source", file=source.path)
    elif isinstance(source, BlockSource):
        _add(parent, "source", dev=source.path)
    else:
        element = _add(parent, "source", protocol=source.protocol, name=source.name)
        if source.socket:
            _add(element, "host", transport="unix", socket=source.socket)
        elif source.host:
            _add(element, "host", name=source.host, port=source.port)


def _nic(parent: etree._Element, nic: Nic) -> None:
    element = _add(parent, "interface", type="bridge")
    if nic.mac:
        _add(element, "mac", address=nic.mac)
    _add(element, "source", bridge=nic.bridge)
    if nic.target:
        _add(element, "target", dev=nic.target)
    if nic.model:
        _add(element, "model", type=nic.model)
    if nic.outbound_average is not None:
        _add(_add(element, "bandwidth"), "outbound", average=nic.outbound_average, burst=nic.outbound_burst)


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
        _add(element, "source", mode=device.mode, path=device.path, host=device.host, service=device.service)
    if device.protocol:
        _add(element, "protocol", type=device.protocol)
    _add(element, "target", type=target, port=port)


def _graphics(parent: etree._Element, graphics: Graphics) -> None:
    auto = "yes" if graphics.port is None else "no"
    element = _add(
        parent, "graphics", type=graphics.type, port=graphics.port, autoport=auto, keymap=graphics.keymap,
        passwd=graphics.password,
    )  # fmt: skip
    if graphics.listen:
        _add(element, "listen", type="address", address=graphics.listen)


def _video(parent: etree._Element, video: Video) -> None:
    heads = None if video.model == "none" else 1
    _add(_add(parent, "video"), "model", type=video.model, vram=video.vram, heads=heads)
