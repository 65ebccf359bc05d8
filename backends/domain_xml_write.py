"""Machine to libvirt XML. Pure; loads lxml. The door is ``domain_xml``."""

from __future__ import annotations

from lxml import etree

from xmcompat.backends import domain_xml_write_cpu as processor
from xmcompat.backends.domain_xml import METADATA_PREFIX, METADATA_URI
from xmcompat.backends.domain_xml_write_devices import devices
from xmcompat.backends.machine import (
    Clock,
    DirectKernel,
    Machine,
    XenRecord,
)
from xmcompat.backends.record_write import fill
from xmcompat.backends.xml_elements import ON_OFF, add, legible, said


def render(machine: Machine) -> str:
    """See ``domain_xml.render``."""
    root = etree.Element("domain", type=machine.accelerator.value)
    add(root, "name", machine.name)
    if machine.uuid:
        add(root, "uuid", machine.uuid)
    if machine.genid:
        add(root, "genid")
    if machine.description:
        add(root, "description", legible(machine.description))
    if machine.record is not None:
        _record(add(root, "metadata"), machine.record)
    add(root, "memory", str(machine.memory), unit="KiB")
    add(root, "currentMemory", str(machine.current_memory), unit="KiB")
    _memory_backing(root, machine)
    add(root, "vcpu", str(machine.vcpus), placement="static", current=machine.vcpus_online)
    processor.vcpus(root, machine)
    processor.tune(root, machine.tune)
    processor.numatune(root, machine.numa)
    _boot(add(root, "os"), machine)
    _features(root, machine)
    processor.cpu(root, machine)
    _clock(root, machine.clock)
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        add(root, event, getattr(machine, event))
    _sleep(root, machine)
    devices(add(root, "devices"), machine)
    etree.indent(root)
    return etree.tostring(root, encoding="unicode") + "\n"


def _record(parent: etree._Element, record: XenRecord) -> None:
    fill(etree.SubElement(parent, f"{{{METADATA_URI}}}guest", nsmap={METADATA_PREFIX: METADATA_URI}), record)


def _boot(parent: etree._Element, machine: Machine) -> None:
    boot = machine.boot
    if not isinstance(boot, DirectKernel) and boot.firmware == "efi":
        parent.set("firmware", "efi")
    add(parent, "type", "hvm", arch=machine.arch, machine=machine.machine_type)
    if isinstance(boot, DirectKernel):
        for tag, text in (("kernel", boot.kernel), ("initrd", boot.initrd), ("cmdline", boot.cmdline)):
            if text:
                add(parent, tag, text)
    elif boot.firmware not in ("", "efi"):
        add(parent, "loader", boot.firmware, readonly="yes", type="rom")
    if machine.acpi_table:
        add(add(parent, "acpi"), "table", machine.acpi_table, type="slic")
    for device in () if isinstance(boot, DirectKernel) else boot.order:
        add(parent, "boot", dev=device)


def _memory_backing(root: etree._Element, machine: Machine) -> None:
    names = [name for name, on in (("hugepages", machine.hugepages), ("nosharepages", machine.private_pages)) if on]
    if names:
        backing = add(root, "memoryBacking")
        for name in names:
            add(backing, name)


def _features(root: etree._Element, machine: Machine) -> None:
    features = etree.Element("features")
    for name in [name for name, on in (("acpi", machine.acpi), ("apic", machine.apic)) if on]:
        add(features, name)
    processor.hyperv(features, machine.hyperv)
    if machine.pmu is not None:
        add(features, "pmu", state=said(machine.pmu, ON_OFF))
    if len(features):
        root.append(features)


def _sleep(root: etree._Element, machine: Machine) -> None:
    states = {"suspend-to-mem": machine.sleep_to_memory, "suspend-to-disk": machine.sleep_to_disk}
    known = {name: said(state) for name, state in states.items() if state is not None}
    if known:
        pm = add(root, "pm")
        for name, word in known.items():
            add(pm, name, enabled=word)


def _clock(root: etree._Element, clock: Clock) -> None:
    element = add(root, "clock", offset=clock.offset, adjustment=clock.adjustment, basis=clock.basis)
    for timer in clock.timers:
        add(element, "timer", name=timer.name, present=said(timer.present), tickpolicy=timer.tickpolicy)
