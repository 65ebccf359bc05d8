"""libvirt XML to Machine, and the record that xm keeps in a domain's metadata. Pure; loads lxml.

For domains of any maker: what a Machine has no word for is passed over.
"""

from __future__ import annotations

from lxml import etree

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

METADATA_URI = "urn:xmcompat:guest:1"

#: KiB in libvirt's units.
_UNITS = {
    "b": 1 / 1024, "bytes": 1 / 1024, "KB": 1000 / 1024, "k": 1, "KiB": 1, "MB": 10**6 / 1024, "M": 1024, "MiB": 1024,
    "GB": 10**9 / 1024, "G": 1024**2, "GiB": 1024**2, "TB": 10**12 / 1024, "T": 1024**3, "TiB": 1024**3,
}  # fmt: skip


def _root(xml: str) -> etree._Element:
    try:
        return etree.fromstring(xml, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False))
    except etree.XMLSyntaxError as error:
        raise HypervisorError(f"the XML of a domain cannot be read: {error.msg}") from None


def parse(xml: str) -> Machine:
    """The machine of a domain's XML. Raises HypervisorError for text that is no XML."""
    root = _root(xml)
    memory = _memory(root.find("memory"))
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
        nics=tuple(_nic(element) for element in root.iterfind("devices/interface")),
        consoles=_consoles(root),
        graphics=tuple(_graphics(element) for element in root.iterfind("devices/graphics")),
        video=_video(root.find("devices/video/model")),
        usb=_usb(root),
        inputs=tuple(
            (element.get("type", ""), element.get("bus", "")) for element in root.iterfind("devices/input")
        ),
        panic=root.find("devices/panic") is not None,
        description=root.findtext("description") or "",
        record=_record(root.find(f"metadata/{{{METADATA_URI}}}guest")),
    )


def read_record(metadata_xml: str) -> XenRecord | None:
    """The record in our element of a domain's metadata (or in a whole domain's XML); None where there is none."""
    root = _root(metadata_xml)
    name = etree.QName(root)
    own = root if name.localname == "guest" else root.find(f".//{{{METADATA_URI}}}guest")
    return _record(own)


def _record(element: etree._Element | None) -> XenRecord | None:
    if element is None:
        return None
    started = element.get("started")
    try:
        when = float(started) if started else None
    except ValueError:
        when = None
    return XenRecord(
        sxp=element.text or "",
        source=element.get("source", ""),
        dialect=element.get("dialect", "xm"),
        started=when,
        consoles=tuple(element.get("consoles", "").split()),
    )


def _attribute(element: etree._Element | None, name: str) -> str:
    return "" if element is None else element.get(name, "")


def _number(text: str | None) -> int | None:
    return int(text) if text and text.strip().lstrip("-").isdecimal() else None


def _memory(element: etree._Element | None, default: int = 0) -> int:
    if element is None or not element.text:
        return default
    return int((_number(element.text) or 0) * _UNITS.get(element.get("unit", "KiB"), 1))


def _boot(element: etree._Element | None) -> MachineBoot:
    if element is None:
        return DeviceBoot()
    kernel = element.findtext("kernel")
    if kernel:
        return DirectKernel(
            kernel=kernel, initrd=element.findtext("initrd") or "", cmdline=element.findtext("cmdline") or ""
        )
    loader = element.find("loader")
    rom = loader.text or "" if loader is not None and loader.get("type") == "rom" else ""
    firmware = "efi" if element.get("firmware") == "efi" else rom
    return DeviceBoot(order=tuple(boot.get("dev", "") for boot in element.iterfind("boot")), firmware=firmware)


def _clock(element: etree._Element | None) -> Clock:
    if element is None:
        return Clock()
    timers = tuple(
        Timer(
            name=timer.get("name", ""),
            present=None if timer.get("present") is None else timer.get("present") == "yes",
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


def _disk(element: etree._Element) -> Disk:
    driver, target = element.find("driver"), element.find("target")
    alias = _attribute(element.find("alias"), "name")
    bus, device = _attribute(target, "bus"), element.get("device", "disk")
    return Disk(
        source=_source(element),
        target=_attribute(target, "dev"),
        bus=Bus(bus) if bus in {one.value for one in Bus} else Bus.VIRTIO,
        device=DiskDevice(device) if device in {one.value for one in DiskDevice} else DiskDevice.DISK,
        driver=_attribute(driver, "type") or "raw",
        cache=_attribute(driver, "cache"),
        io=_attribute(driver, "io"),
        readonly=element.find("readonly") is not None,
        shareable=element.find("shareable") is not None,
        boot_order=_number(_attribute(element.find("boot"), "order")),
        vdev=alias.removeprefix("ua-") if alias.startswith("ua-") else "",
    )


def _source(element: etree._Element) -> DiskSource | None:
    source = element.find("source")
    if source is None:
        return None
    if source.get("file"):
        return FileSource(path=source.get("file", ""))
    if source.get("dev"):
        return BlockSource(path=source.get("dev", ""))
    if source.get("protocol"):
        host = source.find("host")
        return NetworkSource(
            protocol=source.get("protocol", ""),
            name=source.get("name", ""),
            host=_attribute(host, "name"),
            port=_number(_attribute(host, "port")),
            socket=_attribute(host, "socket"),
        )
    return None


def _nic(element: etree._Element) -> Nic:
    source = element.find("source")
    outbound = element.find("bandwidth/outbound")
    return Nic(
        mac=_attribute(element.find("mac"), "address"),
        bridge=_attribute(source, "bridge") or _attribute(source, "network"),
        model=_attribute(element.find("model"), "type") or "virtio",
        target=_attribute(element.find("target"), "dev"),
        outbound_average=_number(_attribute(outbound, "average")),
        outbound_burst=_number(_attribute(outbound, "burst")),
    )


def _consoles(root: etree._Element) -> tuple[CharDevice, ...]:
    """Serial and parallel ports, then virtio consoles; a console that only repeats a port is left out."""
    found = [_char(element, kind) for kind in ("serial", "parallel") for element in root.iterfind(f"devices/{kind}")]
    for element in root.iterfind("devices/console"):
        if _attribute(element.find("target"), "type") == "virtio":
            found.append(_char(element, "virtio"))
    return tuple(found)


def _char(element: etree._Element, kind: str) -> CharDevice:
    sources = element.findall("source")
    bound = next((one for one in sources if one.get("mode") == "bind"), None) if len(sources) > 1 else None
    source = next((one for one in sources if one is not bound), None)
    type_ = element.get("type", "pty")
    return CharDevice(
        kind=kind,
        type=type_,
        path="" if type_ == "pty" else _attribute(source, "path"),
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
        listen=_attribute(element.find("listen"), "address") or element.get("listen", "127.0.0.1"),
        port=None if port in (None, -1) or element.get("autoport") == "yes" else port,
        password=element.get("passwd"),
        keymap=element.get("keymap", ""),
    )


def _video(element: etree._Element | None) -> Video:
    if element is None:
        return Video()
    return Video(model=element.get("type", "none"), vram=_number(element.get("vram")))


def _usb(root: etree._Element) -> str:
    for element in root.iterfind("devices/controller"):
        if element.get("type") == "usb":
            return element.get("model", "")
    return ""
