"""libvirt XML to Machine, and the record in a domain's metadata. Pure; loads lxml. The door is ``domain_xml``.

Domains of any maker are read; what a Machine has no word for is passed over.
"""

from __future__ import annotations

from lxml import etree

from xmcompat.backends import domain_xml_read_cpu as processor
from xmcompat.backends import domain_xml_read_devices as devices
from xmcompat.backends import domain_xml_read_hostdevs as hostdevs
from xmcompat.backends.domain_xml import METADATA_URI
from xmcompat.backends.machine import (
    Accelerator,
    Clock,
    DeviceBoot,
    DirectKernel,
    Machine,
    MachineBoot,
    Timer,
)
from xmcompat.backends.record import XenRecord, record_of
from xmcompat.backends.xml_elements import ON_OFF, attribute, heard, kibibytes, number
from xmcompat.errors import HypervisorError


def parse(xml: str) -> Machine:
    """See ``domain_xml.parse``."""
    root = root_of(xml)
    if root.tag != "domain":
        raise HypervisorError(f"this is not the XML of a domain: <{root.tag}>")
    memory = _memory(root.find("memory"), 0)
    vcpus = number(root.findtext("vcpu")) or 1
    return Machine(
        name=root.findtext("name") or "",
        uuid=root.findtext("uuid"),
        accelerator=Accelerator.KVM if root.get("type") == "kvm" else Accelerator.TCG,
        memory=memory,
        current_memory=_memory(root.find("currentMemory"), memory),
        vcpus=vcpus,
        vcpus_online=number(attribute(root.find("vcpu"), "current")),
        boot=_boot(root.find("os")),
        machine_type=attribute(root.find("os/type"), "machine") or "pc",
        arch=attribute(root.find("os/type"), "arch") or "x86_64",
        cpu_mode=attribute(root.find("cpu"), "mode"),
        cpu_features=processor.features(root),
        cpu_migratable=heard(attribute(root.find("cpu"), "migratable"), ON_OFF),
        acpi=root.find("features/acpi") is not None,
        apic=root.find("features/apic") is not None,
        hyperv=processor.hyperv(root),
        pmu=heard(attribute(root.find("features/pmu"), "state"), ON_OFF),
        tune=processor.tune(root, vcpus),
        numa=processor.numa(root),
        hugepages=root.find("memoryBacking/hugepages") is not None,
        private_pages=root.find("memoryBacking/nosharepages") is not None,
        genid=root.find("genid") is not None,
        acpi_table=_acpi_table(root),
        sleep_to_memory=heard(attribute(root.find("pm/suspend-to-mem"), "enabled")),
        sleep_to_disk=heard(attribute(root.find("pm/suspend-to-disk"), "enabled")),
        watchdog=devices.watchdog(root),
        clock=_clock(root.find("clock")),
        on_poweroff=root.findtext("on_poweroff") or "destroy",
        on_reboot=root.findtext("on_reboot") or "restart",
        on_crash=root.findtext("on_crash") or "destroy",
        disks=tuple(devices.disk(element) for element in root.iterfind("devices/disk")),
        scsi=devices.scsi(root),
        nics=tuple(devices.nic(element) for element in root.iterfind("devices/interface")),
        consoles=devices.consoles(root),
        graphics=tuple(devices.graphics(element) for element in root.iterfind("devices/graphics")),
        video=devices.video(root.find("devices/video/model")),
        usb=devices.usb(root),
        inputs=devices.inputs(root),
        sounds=tuple(element.get("model", "") for element in root.iterfind("devices/sound")),
        channels=devices.channels(root),
        folders=devices.folders(root),
        hostdevs=hostdevs.hostdevs(root),
        redirections=devices.redirections(root),
        tpm=devices.tpm(root),
        panics=tuple(element.get("model", "isa") for element in root.iterfind("devices/panic")),
        description=root.findtext("description") or "",
        record=_record(root.find(f"metadata/{{{METADATA_URI}}}guest")),
    )


def root_of(xml: str) -> etree._Element:
    """The outermost element. Raises HypervisorError for text that is no XML."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    try:
        return etree.fromstring(xml, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise HypervisorError(f"the XML of a domain cannot be read: {error}".partition("\n")[0]) from None


def _record(element: etree._Element | None) -> XenRecord | None:
    if element is None:
        return None
    return record_of({str(name): str(value) for name, value in element.attrib.items()}, element.text or "")


def _memory(element: etree._Element | None, default: int) -> int:
    return default if element is None else kibibytes(element.text, element.get("unit", "KiB"), default)


# -- boot and clock


def _boot(element: etree._Element | None) -> MachineBoot:
    if element is None:
        return DeviceBoot(order=())
    kernel = element.findtext("kernel")
    if kernel:
        return DirectKernel(
            kernel=kernel, initrd=element.findtext("initrd") or "", cmdline=element.findtext("cmdline") or ""
        )
    loader = element.find("loader")
    firmware = ""
    if element.get("firmware") == "efi" or attribute(loader, "type") == "pflash":
        firmware = "efi"
    elif loader is not None:
        firmware = loader.text or ""
    return DeviceBoot(order=tuple(boot.get("dev", "") for boot in element.iterfind("boot")), firmware=firmware)


def _acpi_table(root: etree._Element) -> str:
    """The one table that libvirt gives a guest besides QEMU's own."""
    return next((table.text or "" for table in root.iterfind("os/acpi/table") if table.get("type") == "slic"), "")


def _clock(element: etree._Element | None) -> Clock:
    if element is None:
        return Clock()
    timers = tuple(
        Timer(
            name=timer.get("name", ""),
            present=heard(timer.get("present", "")),
            tickpolicy=timer.get("tickpolicy", ""),
        )
        for timer in element.iterfind("timer")
    )
    return Clock(
        offset=element.get("offset", "utc"),
        adjustment=number(element.get("adjustment")),
        basis=element.get("basis", ""),
        timers=timers,
    )
