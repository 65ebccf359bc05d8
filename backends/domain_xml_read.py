"""libvirt XML to Machine, and the record in a domain's metadata. Pure; loads lxml. The door is ``domain_xml``.

Domains of any maker are read; what a Machine has no word for is passed over.
"""

from __future__ import annotations

from enum import Enum
from fractions import Fraction
from typing import TypeVar

from lxml import etree

from xmcompat.backends.domain_xml import METADATA_URI
from xmcompat.backends.machine import (
    Accelerator,
    BlockSource,
    Bus,
    CharDevice,
    Clock,
    DeviceBoot,
    DirectKernel,
    Disk,
    DiskDevice,
    DiskSource,
    FileSource,
    Graphics,
    Machine,
    MachineBoot,
    NetworkSource,
    Nic,
    Timer,
    Video,
    XenRecord,
)
from xmcompat.errors import HypervisorError

_DECIMAL, _BINARY = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}, {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
#: libvirt's default model of a USB controller on a PC.
_USB = "piix3-uhci"
_PS2 = ("ps2", "xen", "")

_Word = TypeVar("_Word", bound=Enum)


def parse(xml: str) -> Machine:
    """See ``domain_xml.parse``."""
    root = _root(xml)
    if root.tag != "domain":
        raise HypervisorError(f"this is not the XML of a domain: <{root.tag}>")
    memory = _memory(root.find("memory"), 0)
    cpu = root.find("cpu")
    return Machine(
        name=root.findtext("name") or "",
        uuid=root.findtext("uuid"),
        accelerator=Accelerator.KVM if root.get("type") == "kvm" else Accelerator.TCG,
        memory=memory,
        current_memory=_memory(root.find("currentMemory"), memory),
        vcpus=_number(root.findtext("vcpu")) or 1,
        vcpus_online=_number(_attribute(root.find("vcpu"), "current")),
        boot=_boot(root.find("os")),
        machine_type=_attribute(root.find("os/type"), "machine") or "pc",
        arch=_attribute(root.find("os/type"), "arch") or "x86_64",
        cpu_mode=_attribute(cpu, "mode"),
        cpu_features=tuple(
            (feature.get("name", ""), feature.get("policy", "require")) for feature in root.iterfind("cpu/feature")
        ),
        acpi=root.find("features/acpi") is not None,
        apic=root.find("features/apic") is not None,
        clock=_clock(root.find("clock")),
        on_poweroff=root.findtext("on_poweroff") or "destroy",
        on_reboot=root.findtext("on_reboot") or "restart",
        on_crash=root.findtext("on_crash") or "destroy",
        disks=tuple(_disk(element) for element in root.iterfind("devices/disk")),
        scsi=_controller(root, "scsi", ""),
        nics=tuple(_nic(element) for element in root.iterfind("devices/interface")),
        consoles=_consoles(root),
        graphics=tuple(_graphics(element) for element in root.iterfind("devices/graphics")),
        video=_video(root.find("devices/video/model")),
        usb=_controller(root, "usb", _USB) or "none",
        inputs=tuple(
            (element.get("type", ""), element.get("bus", ""))
            for element in root.iterfind("devices/input")
            if element.get("bus", "") not in _PS2  # every PC has those
        ),
        panic=root.find("devices/panic") is not None,
        description=root.findtext("description") or "",
        record=_record(root.find(f"metadata/{{{METADATA_URI}}}guest")),
    )


def read_record(metadata_xml: str) -> XenRecord | None:
    """See ``domain_xml.read_record``."""
    root = _root(metadata_xml)
    tag = f"{{{METADATA_URI}}}guest"
    # libvirt gives the element alone without its namespace
    return _record(root if root.tag in (tag, "guest") else root.find(f".//{tag}"))


def _root(xml: str) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    try:
        return etree.fromstring(xml, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise HypervisorError(f"the XML of a domain cannot be read: {error}".partition("\n")[0]) from None


def _record(element: etree._Element | None) -> XenRecord | None:
    if element is None:
        return None
    try:
        started = float(element.get("started", ""))
    except ValueError:
        started = None
    return XenRecord(
        sxp=element.text or "",
        source=element.get("source", ""),
        dialect=element.get("dialect", "xm"),
        started=started,
        consoles=tuple(element.get("consoles", "").split()),
    )


# -- words and numbers


def _attribute(element: etree._Element | None, name: str) -> str:
    return "" if element is None else element.get(name, "")


def _number(text: str | None) -> int | None:
    try:
        return int(text) if text else None
    except ValueError:
        return None


def _word(kind: type[_Word], text: str, default: _Word) -> _Word:
    try:
        return kind(text)
    except ValueError:
        return default


def _memory(element: etree._Element | None, default: int) -> int:
    """KiB, rounded up. "KB" is 1000 bytes, "K" and "KiB" are 1024."""
    if element is None or not element.text:
        return default
    unit = element.get("unit", "KiB").lower()
    table = _DECIMAL if len(unit) == 2 and unit.endswith("b") else _BINARY
    size = Fraction((_number(element.text) or 0) * table.get(unit[:1], 1), 1024)
    return -(-size.numerator // size.denominator)


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
    if element.get("firmware") == "efi" or _attribute(loader, "type") == "pflash":
        firmware = "efi"
    elif loader is not None:
        firmware = loader.text or ""
    return DeviceBoot(order=tuple(boot.get("dev", "") for boot in element.iterfind("boot")), firmware=firmware)


def _clock(element: etree._Element | None) -> Clock:
    if element is None:
        return Clock()
    timers = tuple(
        Timer(
            name=timer.get("name", ""),
            present={"yes": True, "no": False}.get(timer.get("present", "")),
            tickpolicy=timer.get("tickpolicy", ""),
        )
        for timer in element.iterfind("timer")
    )
    return Clock(
        offset=element.get("offset", "utc"),
        adjustment=_number(element.get("adjustment")),
        basis=element.get("basis", ""),
        timers=timers,
    )


# -- devices


def _disk(element: etree._Element) -> Disk:
    driver, target = element.find("driver"), element.find("target")
    alias = _attribute(element.find("alias"), "name")
    return Disk(
        source=_source(element.find("source")),
        target=_attribute(target, "dev"),
        bus=_word(Bus, _attribute(target, "bus"), Bus.VIRTIO),
        device=_word(DiskDevice, element.get("device", "disk"), DiskDevice.DISK),
        driver=_attribute(driver, "type") or "raw",
        cache=_attribute(driver, "cache"),
        io=_attribute(driver, "io"),
        readonly=element.find("readonly") is not None,
        shareable=element.find("shareable") is not None,
        boot_order=_number(_attribute(element.find("boot"), "order")),
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
        host=_attribute(host, "name"),
        port=_number(_attribute(host, "port")),
        socket=_attribute(host, "socket"),
    )


def _nic(element: etree._Element) -> Nic:
    source, outbound = element.find("source"), element.find("bandwidth/outbound")
    target = _attribute(element.find("target"), "dev")
    return Nic(
        mac=_attribute(element.find("mac"), "address"),
        bridge=_attribute(source, "bridge") or _attribute(source, "network") or _attribute(source, "dev"),
        model=_attribute(element.find("model"), "type"),
        target="" if target.startswith("vnet") else target,  # libvirt's choice
        outbound_average=_number(_attribute(outbound, "average")),
        outbound_burst=_number(_attribute(outbound, "burst")),
    )


def _consoles(root: etree._Element) -> tuple[CharDevice, ...]:
    """Serial and parallel ports, then virtio consoles. A console that only repeats a port is left out."""
    found = [_char(element, kind) for kind in ("serial", "parallel") for element in root.iterfind(f"devices/{kind}")]
    for element in root.iterfind("devices/console"):
        kind = _attribute(element.find("target"), "type") or "serial"
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
        path="" if type_ == "pty" else _attribute(source, "path"),  # that of a pty is another each time
        mode=_attribute(source, "mode"),
        host=_attribute(source, "host"),
        service=_attribute(source, "service"),
        protocol=_attribute(element.find("protocol"), "type"),
        bind_host=_attribute(bound, "host"),
        bind_service=_attribute(bound, "service"),
    )


def _graphics(element: etree._Element) -> Graphics:
    port = _number(element.get("port"))
    return Graphics(
        type=element.get("type", "vnc"),
        listen=_attribute(element.find("listen"), "address") or element.get("listen", ""),
        port=None if element.get("autoport") == "yes" or port == -1 else port,
        password=element.get("passwd"),
        keymap=element.get("keymap", ""),
    )


def _video(model: etree._Element | None) -> Video:
    return Video() if model is None else Video(model=model.get("type", "none"), vram=_number(model.get("vram")))


def _controller(root: etree._Element, kind: str, default: str) -> str:
    """The model of the first controller of that kind, DEFAULT where it names none, "" where there is no controller."""
    for element in root.iterfind("devices/controller"):
        if element.get("type") == kind:
            return element.get("model") or default
    return ""
