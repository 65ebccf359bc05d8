"""The texts of xl's other list options: vif, vfb, pci, USB, channels, folders, NUMA nodes, TPMs, lists of CPUs. Pure.

Each reader raises ConfigError for what ends xl, and puts what xl only warns of into WARNINGS, one line each.
Source: xl of Xen 4.17, whose words are kept where scripts may know them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from xmcompat.config.xl import number
from xmcompat.errors import ConfigError, NotConvertible
from xmcompat.guest import (
    Channel,
    NumaNode,
    PciDevice,
    SharedFolder,
    Tpm,
    UsbController,
    UsbDevice,
    Value,
    Vfb,
    Vif,
)
from xmcompat.units import MOST_CPUS

Warnings = list[str]

_VIF_TEXTS = {
    "mac": "mac", "bridge": "bridge", "ip": "ip", "script": "script", "model": "model", "vifname": "vifname",
    "backend": "backend", "accel": "accel", "policy": "policy", "label": "label", "gatewaydev": "gatewaydev",
    "netdev": "gatewaydev",
}  # fmt: skip
_RATE = re.compile(r"([0-9]+[GMK]?[Bb]/s)(?:@([0-9]+)([mu]?s)?)?")
_LISTEN = re.compile(r"(\[[^\]]*\]|[^:\[]*):([0-9]{1,5})")

_HEX = "[0-9a-fA-F]"
_BDF = re.compile(
    rf"(?:({_HEX}{{1,4}}):)?({_HEX}{{1,2}}):({_HEX}{{1,2}})\.([0-7*])(?:@({_HEX}{{1,2}}))?"
)
_PCI_OPTIONS = ("permissive", "msitranslate", "seize", "power_mgmt", "rdm_policy")
_RDM_POLICIES = ("strict", "relaxed")
_HOST_USB = re.compile(rf"host:(?:([0-9]{{1,3}})\.([0-9]{{1,3}})|({_HEX}{{1,4}}):({_HEX}{{1,4}}))")
_USB_TYPES = ("auto", "pv", "qusb", "devicemodel")


def parse_vif(text: str, warnings: Warnings, *, default_bridge: str = "xenbr0") -> Vif:
    """``key=value,...``. Only blanks in front of a key are dropped; what xl does not know is warned of.

    DEFAULT_BRIDGE is joined where none is named. Raises ConfigError for a rate that is none, NotConvertible for COLO.
    """
    texts: dict[str, str] = {}
    numbers: dict[str, int] = {}
    trusted: bool | None = None
    for piece in filter(None, (piece.lstrip(" ") for piece in text.split(","))):
        key, equals, value = piece.partition("=")
        if key in _VIF_TEXTS and equals:
            texts[_VIF_TEXTS[key]] = value
            if key == "accel":
                warnings.append("the accel parameter for vifs is currently not supported")
        elif key == "type":
            texts["type"] = _vif_type(value, warnings)
        elif key == "rate" and equals:
            texts["rate"] = _rate(value)
        elif key in ("mtu", "devid") and equals and (value.isascii() and value.isdecimal() and len(value) < 10):
            numbers[key] = int(value)
        elif key in ("trusted", "untrusted"):
            trusted = (not equals or number(value) not in (0, None)) is (key == "trusted")
        elif key.startswith(("colo_", "forwarddev")):
            raise NotConvertible(f"vif '{text}': COLO keeps a second host in step, which KVM cannot")
        else:
            warnings.append(f"unrecognized argument `{piece}'")
    if texts.get("script", "").rpartition("/")[2] not in ("vif-route", "vif-nat"):
        texts.setdefault("bridge", default_bridge)
    return Vif(**texts, mtu=numbers.get("mtu"), devid=numbers.get("devid"), trusted=trusted)


def _vif_type(value: str, warnings: Warnings) -> str:
    if value not in ("vif", "ioemu"):
        warnings.append(f"type={value} is passed over; write type=vif for an interface of Xen's kind alone")
        return ""
    return value


def _rate(text: str) -> str:
    """The rate with its unit of time: a bare interval is seconds."""
    found = _RATE.fullmatch(text)
    if not found:
        raise ConfigError(f"invalid rate '{text}'", hint="write one like 10Mb/s@50ms")
    return f"{found[1]}@{found[2]}{found[3] or 's'}" if found[2] else found[1]


def vfb_values(text: str, warnings: Warnings) -> dict[str, str]:
    """The keys of one frame buffer; a piece without "=" ends it."""
    values: dict[str, str] = {}
    for piece in filter(None, (piece.lstrip(" ") for piece in text.split(","))):
        key, equals, value = piece.partition("=")
        if not equals:
            warnings.append(f"'{piece}' has no value; nothing after it counts")
            break
        values[key] = value
    return values


def vfb_from(values: Mapping[str, str], warnings: Warnings) -> Vfb:
    """A frame buffer of xl's words: VNC on 127.0.0.1 without a password, on a free display, unless they say otherwise."""
    unknown = [key for key in values if key not in _VFB_KEYS]
    warnings += [f"{key} is no part of a frame buffer; xl passes it over" for key in unknown]

    def given(key: str) -> int | None:
        found = number(values[key]) if key in values else None
        if key in values and found is None:
            warnings.append(f"{key}={values[key]} is not a valid number")
        return found

    vnc, sdl, unused = (given(key) for key in ("vnc", "sdl", "vncunused"))
    display, opengl, videoram = (given(key) for key in ("vncdisplay", "opengl", "videoram"))
    listen, inner = values.get("vnclisten") or "127.0.0.1", None
    if found := _LISTEN.fullmatch(listen):
        listen, inner = found[1] or "127.0.0.1", int(found[2])
        if display:
            raise ConfigError(f"vncdisplay set, vnclisten={values['vnclisten']} contains display")
    return Vfb(
        vnc=vnc != 0, sdl=bool(sdl) or values.get("type") == "sdl", listen=listen,
        display=inner if inner is not None else display, unused=unused != 0, password=values.get("vncpasswd", ""),
        keymap=values.get("keymap", ""), x_display=values.get("display", ""), xauthority=values.get("xauthority", ""),
        opengl=None if opengl is None else opengl != 0, videoram=videoram,
    )  # fmt: skip


_VFB_KEYS = (
    "vnc", "sdl", "vnclisten", "vncdisplay", "vncunused", "vncpasswd", "keymap", "display", "xauthority", "opengl",
    "videoram", "type",
)  # fmt: skip


def _pieces(text: str, what: str, keys: Sequence[str]) -> dict[str, str]:
    """``key=value,...`` with blanks around both dropped. Raises ConfigError for other keys."""
    values: dict[str, str] = {}
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        key, equals, value = (part.strip() for part in piece.partition("="))
        if not equals or key not in keys:
            raise ConfigError(f"Unknown string `{piece}' in {what} spec")
        values[key] = value
    return values


def _number_of(values: Mapping[str, str], key: str, what: str, low: int, high: int) -> int | None:
    if key not in values:
        return None
    found = number(values[key])
    if found is None or not low <= found <= high:
        raise ConfigError(f"{what}: {key}={values[key]} is no number from {low} to {high}")
    return found


def parse_pci(text: str) -> PciDevice:
    """``[BDF[@VSLOT]][,KEY=VALUE]...``, all numbers of the address hexadecimal. Raises ConfigError.

    NotConvertible for a device that is only named, since names are kept by Xen's host.
    """
    first, _, rest = text.partition(",")
    fields = [field.strip() for field in (text if "=" in first else rest).split(",")]
    place, slot, options = "" if "=" in first else first.strip(), "", []
    for field in filter(None, fields):
        key, equals, value = field.partition("=")
        if key == "bdf" and not place:
            place = value
        elif key == "vslot":
            slot = value
        elif key == "name":
            raise NotConvertible(f"pci '{text}': names of devices are known to Xen's host alone", hint="write its address")
        elif not equals or key not in _PCI_OPTIONS or not _is_option(key, value):
            raise _wrong_pci(text)
        else:
            options.append((key, value))
    found = _BDF.fullmatch(place)
    virtual = slot or (found[5] if found else "") or ""
    if not found or int(found[3], 16) > 0x1F or (virtual and not re.fullmatch(r"(?:0x)?0?[01]?[0-9a-fA-F]", virtual)):
        raise _wrong_pci(text)
    return PciDevice(
        domain=int(found[1] or "0", 16), bus=int(found[2], 16), slot=int(found[3], 16),
        function=None if found[4] == "*" else int(found[4]), virtual_slot=int(virtual, 16) if virtual else None,
        options=tuple(options),
    )  # fmt: skip


def _is_option(key: str, value: str) -> bool:
    return value in _RDM_POLICIES if key == "rdm_policy" else number(value) is not None


def _wrong_pci(text: str) -> ConfigError:
    return ConfigError(f"unable to parse PCI BDF `{text}' for passthrough")


def parse_usbctrl(text: str) -> UsbController:
    """``type=T,version=V,ports=P``. Raises ConfigError."""
    values = _pieces(text, "usbctrl", ("type", "version", "ports", "usbversion", "backend", "devid"))
    kind = values.get("type", "auto")
    if kind not in _USB_TYPES:
        raise ConfigError(f"usbctrl: type={kind} is none of {', '.join(_USB_TYPES)}")
    version = _number_of(values, "version" if "version" in values else "usbversion", "usbctrl", 1, 3)
    ports = _number_of(values, "ports", "usbctrl", 1, 31)
    return UsbController(version=version or 2, ports=ports or 8, type=kind)


def parse_usbdev(text: str) -> UsbDevice:
    """``type=hostdev,hostbus=B,hostaddr=A[,controller=C[,port=P]]``. Raises ConfigError."""
    values = _pieces(text, "usbdev", ("type", "hostbus", "hostaddr", "controller", "port"))
    if values.get("type", "hostdev") != "hostdev":
        raise ConfigError(f"usbdev: type={values['type']} is not hostdev")
    bus, address = (_number_of(values, key, "usbdev", 1, 255) for key in ("hostbus", "hostaddr"))
    if bus is None or address is None:
        raise ConfigError("usbdev: hostbus and hostaddr must be given")
    controller, port = (_number_of(values, key, "usbdev", 0, 255) for key in ("controller", "port"))
    return UsbDevice(bus=bus, address=address, controller=controller, port=port)


def host_usb(text: str) -> UsbDevice | None:
    """The device that a usbdevice of "host:BUS.ADDRESS" or "host:VENDOR:PRODUCT" names; None for any other text."""
    found = _HOST_USB.fullmatch(text.strip())
    if not found:
        return None
    if found[1]:
        return UsbDevice(bus=int(found[1]), address=int(found[2]))
    return UsbDevice(vendor=int(found[3], 16), product=int(found[4], 16))


def parse_channel(text: str) -> Channel:
    """``name=N,connection=pty|socket[,path=P][,backend=D]``. Raises ConfigError."""
    values = _pieces(text, "channel", ("name", "connection", "path", "backend"))
    connection, path = values.get("connection", ""), values.get("path", "")
    if not values.get("name"):
        raise ConfigError("channel: a name must be given")
    if connection not in ("pty", "socket"):
        raise ConfigError(f"channel: connection={connection} is neither pty nor socket")
    if (connection == "socket") is not bool(path):
        raise ConfigError(f"channel: connection {connection} {'needs a path' if not path else 'has no path'}")
    return Channel(name=values["name"], connection=connection, path=path, backend=values.get("backend", ""))


def parse_p9(text: str) -> SharedFolder:
    """``tag=T,path=P,security_model=M[,backend=D]``, the first three required. Raises ConfigError."""
    values = _pieces(text, "p9", ("tag", "path", "security_model", "backend"))
    if not (values.get("tag") and values.get("path") and values.get("security_model")):
        raise ConfigError("p9 spec missing required field!")
    return SharedFolder(
        tag=values["tag"], path=values["path"], security_model=values["security_model"],
        backend=values.get("backend", ""),
    )  # fmt: skip


def parse_vtpm(text: str) -> Tpm:
    """``backend=DOMAIN[,uuid=U]``. Raises ConfigError."""
    values = _pieces(text, "vtpm", ("backend", "uuid"))
    if not values.get("backend"):
        raise ConfigError("vtpm spec missing required backend field!")
    return Tpm(backend=values["backend"], uuid=values.get("uuid", ""))


def parse_vnuma(nodes: Sequence[Value], *, vcpus: int, memory: int) -> tuple[NumaNode, ...]:
    """The nodes of ``[["pnode=N","size=MB","vcpus=LIST","vdistances=D,D"], ...]``. Raises ConfigError.

    Together they have MEMORY MiB, the most that the guest may have, and each of its VCPUS once.
    """
    found = tuple(_node(node, index, vcpus) for index, node in enumerate(nodes))
    if not found:
        return ()
    total = sum(node.size for node in found)
    if total != memory:
        raise ConfigError(f"vnuma: the nodes have {total} MiB together, the guest {memory}")
    if sorted(vcpu for node in found for vcpu in node.vcpus) != list(range(vcpus)):
        raise ConfigError(f"vnuma: each of the {vcpus} vcpus must be in one node")
    if any(len(node.distances) not in (0, len(found)) for node in found):
        raise ConfigError(f"vnuma: vdistances must have {len(found)} numbers")
    return found


def _node(node: Value, index: int, vcpus: int) -> NumaNode:
    if not isinstance(node, list):
        raise ConfigError(f"vnuma[{index}] should be a list")
    values: dict[str, str] = {}
    for piece in node:
        key, equals, value = str(piece).partition("=")
        if isinstance(piece, list) or not equals or key.strip() not in ("pnode", "size", "vcpus", "vdistances"):
            raise ConfigError(f"vnuma[{index}]: '{piece}' is none of pnode=, size=, vcpus=, vdistances=")
        values[key.strip()] = value.strip()
    what = f"vnuma[{index}]"
    chosen = parse_cpus(values.get("vcpus", ""), f"{what}: vcpus") if values.get("vcpus") else ()
    distances = [_number_of({"vdistances": word.strip()}, "vdistances", what, 0, 255)
                 for word in values.get("vdistances", "").split(",") if word.strip()]  # fmt: skip
    return NumaNode(
        host_node=_number_of(values, "pnode", what, 0, MOST_CPUS), size=_number_of(values, "size", what, 0, 2**32) or 0,
        vcpus=tuple(range(vcpus)) if chosen is None else chosen,
        distances=tuple(distance or 0 for distance in distances),
    )  # fmt: skip


def parse_cpus(text: str, what: str = "cpus") -> tuple[int, ...] | None:
    """The CPUs that "0-3,^1-2" names, in the order of their numbers; pieces count from left to right.

    None where the host must be asked: "all", "node:0", "nodes:0-1". Raises ConfigError, also for an empty text.
    """
    chosen = 0  # a mask: texts may be long, and ranges wide
    asks_host = False
    for piece in text.split(","):
        for excluded, low, high in _range(piece.strip(), text, what):
            asks_host |= low < 0
            if low >= 0:
                piece_mask = ((1 << high - low + 1) - 1) << low
                chosen = chosen & ~piece_mask if excluded else chosen | piece_mask
    if asks_host:
        return None
    if not chosen:
        raise ConfigError(f"{what} = {text}: no CPU is left")
    return tuple(cpu for cpu in range(chosen.bit_length()) if chosen >> cpu & 1)


def _range(piece: str, text: str, what: str) -> Iterator[tuple[bool, int, int]]:
    """(is excluded, first, last) of one piece; -1 for what the host knows alone."""
    excluded = piece.startswith("^")
    inner = piece.removeprefix("^")
    if inner == "all" and not excluded:
        yield False, -1, -1
        return
    nodes = re.fullmatch(r"nodes?:(.*)", inner)
    found = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", nodes[1] if nodes else inner)
    if not found:
        raise ConfigError(f"{what} = {text}: '{piece}' is no CPU or range of them")
    low, high = int(found[1]), int(found[2] or found[1])
    if low > high or high >= MOST_CPUS:
        raise ConfigError(f"{what} = {text}: there are no CPUs {inner}")
    yield (excluded, -1, -1) if nodes else (excluded, low, high)
