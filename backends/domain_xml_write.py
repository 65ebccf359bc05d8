"""Machine to libvirt XML. Pure; loads lxml. The door is ``domain_xml``."""

from __future__ import annotations

from lxml import etree

from xmcompat.backends.domain_xml import METADATA_PREFIX, METADATA_URI
from xmcompat.backends.domain_xml_write_devices import devices
from xmcompat.backends.machine import (
    Clock,
    DirectKernel,
    Machine,
    XenRecord,
)
from xmcompat.backends.xml_elements import add, legible


def render(machine: Machine) -> str:
    """See ``domain_xml.render``."""
    root = etree.Element("domain", type=machine.accelerator.value)
    add(root, "name", machine.name)
    if machine.uuid:
        add(root, "uuid", machine.uuid)
    if machine.description:
        add(root, "description", legible(machine.description))
    if machine.record is not None:
        _record(add(root, "metadata"), machine.record)
    add(root, "memory", str(machine.memory), unit="KiB")
    add(root, "currentMemory", str(machine.current_memory), unit="KiB")
    add(root, "vcpu", str(machine.vcpus), placement="static", current=machine.vcpus_online)
    _boot(add(root, "os"), machine)
    _features(root, machine)
    _cpu(root, machine)
    _clock(root, machine.clock)
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        add(root, event, getattr(machine, event))
    devices(add(root, "devices"), machine)
    etree.indent(root)
    return etree.tostring(root, encoding="unicode") + "\n"


def _record(parent: etree._Element, record: XenRecord) -> None:
    element = etree.SubElement(parent, f"{{{METADATA_URI}}}guest", nsmap={METADATA_PREFIX: METADATA_URI})
    element.set("source", legible(record.source))
    element.set("dialect", record.dialect)
    if record.started is not None:
        element.set("started", repr(record.started))
    if record.consoles:
        element.set("consoles", " ".join(record.consoles))
    element.text = legible(record.sxp)


def _boot(parent: etree._Element, machine: Machine) -> None:
    boot = machine.boot
    if not isinstance(boot, DirectKernel) and boot.firmware == "efi":
        parent.set("firmware", "efi")
    add(parent, "type", "hvm", arch=machine.arch, machine=machine.machine_type)
    if isinstance(boot, DirectKernel):
        for tag, text in (("kernel", boot.kernel), ("initrd", boot.initrd), ("cmdline", boot.cmdline)):
            if text:
                add(parent, tag, text)
        return
    if boot.firmware not in ("", "efi"):
        add(parent, "loader", boot.firmware, readonly="yes", type="rom")
    for device in boot.order:
        add(parent, "boot", dev=device)


def _features(root: etree._Element, machine: Machine) -> None:
    names = [name for name, on in (("acpi", machine.acpi), ("apic", machine.apic)) if on]
    if names:
        features = add(root, "features")
        for name in names:
            add(features, name)


def _cpu(root: etree._Element, machine: Machine) -> None:
    if not machine.cpu_mode and not machine.cpu_features:
        return
    check = {"host-model": "partial", "maximum": "none"}.get(machine.cpu_mode)
    cpu = add(root, "cpu", mode=machine.cpu_mode, check=check)
    for name, policy in machine.cpu_features:
        add(cpu, "feature", policy=policy, name=name)


def _clock(root: etree._Element, clock: Clock) -> None:
    element = add(root, "clock", offset=clock.offset, adjustment=clock.adjustment, basis=clock.basis)
    for timer in clock.timers:
        present = None if timer.present is None else "yes" if timer.present else "no"
        add(element, "timer", name=timer.name, present=present, tickpolicy=timer.tickpolicy)
