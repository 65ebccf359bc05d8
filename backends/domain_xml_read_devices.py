"""Devices of libvirt XML to those of a Machine. Pure; loads lxml."""

from __future__ import annotations

from lxml import etree

from xmcompat.backends.devices import (
    BlockSource,
    Bus,
    CharDevice,
    Disk,
    DiskDevice,
    DiskSource,
    FileSource,
    Filesystem,
    Graphics,
    GuestChannel,
    NetworkSource,
    Nic,
    UsbBus,
    Video,
)
from xmcompat.backends.xml_elements import attribute, heard, number, word

#: libvirt's default model of a USB controller on a PC.
USB = "piix3-uhci"
#: The channels that a Machine has words for.
_CHANNELS = ("pty", "unix", "spicevmc")

#: Buses of pointers and keyboards that every PC has.
_PS2 = ("ps2", "xen", "")


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
        discard=attribute(driver, "discard"),
        on_error=attribute(driver, "error_policy"),
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
    hosts = source.findall("host")
    host = hosts[0] if hosts else None
    first = 1 if host is not None and (host.get("name") or host.get("socket")) else 0
    return NetworkSource(
        protocol=protocol,
        name=source.get("name", ""),
        host=attribute(host, "name"),
        port=number(attribute(host, "port")),
        socket=attribute(host, "socket"),
        more_hosts=tuple((one.get("name", ""), number(one.get("port"))) for one in hosts[first:]),
        snapshot=attribute(source.find("snapshot"), "name"),
        config=attribute(source.find("config"), "file"),
        identity=_identity(source.find("identity")),
        user=attribute(source.find("auth"), "username"),
        secret=attribute(source.find("auth/secret"), "usage"),
    )


def _identity(element: etree._Element | None) -> tuple[int, int] | None:
    """Numbers alone; libvirt takes names of this host's as well."""
    user, group = (number(attribute(element, name).removeprefix("+")) for name in ("user", "group"))
    return None if user is None or group is None else (user, group)


def nic(element: etree._Element) -> Nic:
    source, outbound = element.find("source"), element.find("bandwidth/outbound")
    target = attribute(element.find("target"), "dev")
    vlan, trunk = _vlan(element.find("vlan"))
    reference = element.find("filterref")
    return Nic(
        mac=attribute(element.find("mac"), "address"),
        bridge=attribute(source, "bridge") or attribute(source, "network") or attribute(source, "dev"),
        model=attribute(element.find("model"), "type"),
        target="" if target.startswith("vnet") else target,  # libvirt's choice
        outbound_average=number(attribute(outbound, "average")),
        outbound_burst=number(attribute(outbound, "burst")),
        mtu=number(attribute(element.find("mtu"), "size")),
        filter=attribute(reference, "filter"),
        addresses=tuple(
            one.get("value", "") for one in element.iterfind("filterref/parameter") if one.get("name") == "IP"
        ),
        openvswitch=attribute(element.find("virtualport"), "type") == "openvswitch",
        vlan=vlan,
        trunk=trunk,
    )


def _vlan(element: etree._Element | None) -> tuple[int | None, tuple[int, ...]]:
    """The tag of what goes without one, and those of a trunk."""
    if element is None:
        return None, ()
    tags = [(number(tag.get("id")) or 0, tag.get("nativeMode")) for tag in element.iterfind("tag")]
    if element.get("trunk") != "yes" and len(tags) < 2:
        return (tags[0][0] if tags else None), ()
    native = next((tag for tag, mode in tags if mode), None)
    return native, tuple(tag for tag, mode in tags if not mode)


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


def channels(root: etree._Element) -> tuple[GuestChannel, ...]:
    """The channels on virtio. The path of a pty is another each time; channels of other types are passed over."""
    found = []
    for element in root.iterfind("devices/channel"):
        target, type_ = element.find("target"), element.get("type", "pty")
        if attribute(target, "type") == "virtio" and type_ in _CHANNELS:
            path = attribute(element.find("source"), "path") if type_ == "unix" else ""
            found.append(GuestChannel(name=attribute(target, "name"), type=type_, path=path))
    return tuple(found)


def folders(root: etree._Element) -> tuple[Filesystem, ...]:
    """The folders on 9p; those on virtiofs, and what is no folder, are passed over."""
    return tuple(
        Filesystem(
            tag=attribute(element.find("target"), "dir"),
            path=attribute(element.find("source"), "dir"),
            accessmode=element.get("accessmode", "passthrough"),
        )
        for element in root.iterfind("devices/filesystem")
        if element.get("type", "mount") == "mount" and attribute(element.find("driver"), "type") != "virtiofs"
    )


def graphics(element: etree._Element) -> Graphics:
    automatic = element.get("autoport") == "yes"
    port, tls = (None if automatic else _port(element.get(name)) for name in ("port", "tlsPort"))
    return Graphics(
        type=element.get("type", "vnc"),
        listen=attribute(element.find("listen"), "address") or element.get("listen", ""),
        port=port,
        password=element.get("passwd"),
        keymap=element.get("keymap", ""),
        tls_port=tls,
        mouse=attribute(element.find("mouse"), "mode"),
        clipboard=heard(attribute(element.find("clipboard"), "copypaste")),
        image_compression=attribute(element.find("image"), "compression"),
        streaming=attribute(element.find("streaming"), "mode"),
    )


def _port(text: str | None) -> int | None:
    """0 and -1 are none."""
    port = number(text)
    return port if port is not None and port > 0 else None


def video(model: etree._Element | None) -> Video:
    if model is None:
        return Video()
    ram, vram, vgamem = (number(model.get(name)) for name in ("ram", "vram", "vgamem"))
    heads = number(model.get("heads")) or 1
    return Video(model=model.get("type", "none"), ram=ram, vram=vram, vgamem=vgamem, heads=heads)


def tpm(root: etree._Element) -> str:
    """The version of the emulated TPM; libvirt's default is 2.0."""
    for element in root.iterfind("devices/tpm/backend"):
        if element.get("type") == "emulator":
            return element.get("version", "2.0")
    return ""


def watchdog(root: etree._Element) -> str:
    """What an i6300esb does; watchdogs of other models are passed over."""
    for element in root.iterfind("devices/watchdog"):
        if element.get("model") == "i6300esb":
            return element.get("action", "reset")
    return ""


def redirections(root: etree._Element) -> int:
    """How many USB devices may come over SPICE."""
    return sum(element.get("type") == "spicevmc" for element in root.iterfind("devices/redirdev"))


def usb(root: etree._Element) -> tuple[UsbBus, ...]:
    """The controllers by number, without those that stand beside another for slow devices."""
    found = [
        (number(element.get("index")) or 0, UsbBus(model=model, ports=number(element.get("ports"))))
        for element in root.iterfind("devices/controller")
        if element.get("type") == "usb" and element.find("master") is None
        and (model := element.get("model") or USB) != "none"
    ]  # fmt: skip
    return tuple(bus for _, bus in sorted(found, key=lambda one: one[0]))


def scsi(root: etree._Element) -> tuple[str, ...]:
    """The models of the SCSI controllers by number, those without one left out."""
    found = [
        (number(element.get("index")) or 0, model)
        for element in root.iterfind("devices/controller")
        if element.get("type") == "scsi" and (model := element.get("model"))
    ]
    return tuple(model for _, model in sorted(found, key=lambda one: one[0]))


def inputs(root: etree._Element) -> tuple[tuple[str, str], ...]:
    """(type, bus) of pointers and keyboards, those that every PC has left out."""
    found = ((element.get("type", ""), element.get("bus", "")) for element in root.iterfind("devices/input"))
    return tuple(one for one in found if one[1] not in _PS2)
