"""The devices of a guest of xl's in the words of xm. Pure.

Each text is read back before it is taken: what xm would refuse is left out, and noted. No text of xm's holds a comma.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xmcompat import iscsi_names
from xmcompat.config.conversion import Conversion
from xmcompat.config.specs import parse_disk, parse_vif, vfb_from, vfb_values
from xmcompat.config.specs_more import pci_trees, vtpm_tree
from xmcompat.config.to_xl_devices import pci_text
from xmcompat.disk_logins import masked
from xmcompat.errors import ConfigError
from xmcompat.guest import PciDevice, UsbController, UsbDevice, Value, Vbd, VbdMode, Vfb, Vif

_PCI_OPTIONS = ("msitranslate", "power_mgmt")
_MOST_PORTS = 16
#: Formats in whose images xl lets a guest give space back.
_SPARSE = ("raw", "qcow2")
_DISPLAY = (
    "vnc", "sdl", "vnclisten", "vncdisplay", "vncunused", "vncpasswd", "keymap", "display", "xauthority", "opengl",
)  # fmt: skip
_VGA = {"stdvga": 1, "cirrus": 0}


def put_devices(into: Conversion) -> None:
    """Disks, interfaces, frame buffers of paravirtual guests, and what else is in a list."""
    guest = into.guest
    _put_list(into, "disk", [_disk(into, vbd, f"disk[{index}]") for index, vbd in enumerate(guest.disks)])
    _put_list(into, "vif", [_vif(into, vif, f"vif[{index}]") for index, vif in enumerate(guest.vifs)])
    if not into.hvm:
        into.take(*_DISPLAY)
        _put_list(into, "vfb", [_vfb(into, vfb, f"vfb[{index}]") for index, vfb in enumerate(guest.vfbs)])
    _put_list(into, "pci", [_pci(into, device, f"pci[{index}]") for index, device in enumerate(guest.pci)])
    into.copy_numbers("pci_msitranslate", "pci_power_mgmt")
    if guest.pci:  # xl's default is 0, xm's is 1
        into.values.setdefault("pci_msitranslate", 0)
    _put_usb(into)
    into.take("vtpm")
    for index, tpm in enumerate(guest.tpms):
        if index:
            into.lacking(f"vtpm[{index}]", "xm follows the first alone; left out")
            continue
        words = _joined({"instance": "-1", "backend": tpm.backend, "uuid": tpm.uuid})  # any instance
        _put_list(into, "vtpm", [_tried(into, f"vtpm[{index}]", words, vtpm_tree)])


def _put_list(into: Conversion, key: str, texts: list[str | None]) -> None:
    into.take(key)
    found: list[Value] = [text for text in texts if text is not None]
    if found:
        into.put(key, found)


def _joined(words: Mapping[str, object]) -> str:
    """``key=value,...`` of those that have a value."""
    return ",".join(f"{name}={value}" for name, value in words.items() if value not in (None, ""))


def _tried(into: Conversion, key: str, text: str, read: Callable[[str], object]) -> str | None:
    """TEXT, or None where xm would refuse it, which is noted."""
    try:
        read(text)
    except ConfigError as error:
        into.lacking(key, f"left out, since xm would not take it: {error.message}", value="")
        return None
    return text


# -- disks and interfaces


def _without_commas(vbd: Vbd) -> str:
    """The back end of a disk; the words of block-iscsi, which have commas, as the address that says the same."""
    lun = iscsi_names.of_words(vbd.path) if vbd.protocol == "iscsi" and "," in vbd.path else None
    return f"iscsi:{lun.url}" if lun and iscsi_names.of_words(lun.url) == lun else vbd.uname


def _disk(into: Conversion, vbd: Vbd, key: str) -> str | None:
    """``UNAME,VDEV,MODE[,BACKEND]``."""
    plain = _without_commas(vbd)
    if "," in plain:
        into.lacking(key, "left out: no disk of xm's has a comma in it", value="")
        return None
    # what goes past the host's cache is xm's aio; volumes always do
    direct = vbd.direct_io_safe and vbd.protocol == "file" and not vbd.cdrom
    uname = f"tap:aio:{vbd.path}" if direct else plain
    fields = [uname, vbd.vdev + ":cdrom" * vbd.cdrom, vbd.mode.value, *([vbd.backend] if vbd.backend else [])]
    text = _tried(into, key, ",".join(fields), parse_disk)
    if text is None:
        return None
    if vbd.discard is not None and not vbd.cdrom:
        word = "discard" if vbd.discard else "no-discard"
        into.lacking(key, "xm's disks take no space back", value=word, harmless=not vbd.discard)
    elif vbd.mode is not VbdMode.READ_ONLY and not vbd.cdrom and vbd.image_format in _SPARSE:
        into.approximated(key, "xm's disks take no space back, which xl's do", value=masked(vbd.uname), harmless=True)
    if vbd.backendtype:
        into.lacking(key, "xm chooses by the first word", value=f"backendtype={vbd.backendtype}", harmless=True)
    if vbd.specification == "virtio":
        into.lacking(key, "xm knows Xen's kind alone", value="specification=virtio")
    if vbd.direct_io_safe and not direct and vbd.protocol != "phy":
        into.lacking(key, "xm has no word for it", value="direct-io-safe", harmless=True)
    if vbd.script not in ("", "block") and vbd.script != f"block-{vbd.protocol}":
        into.approximated(key, f"xm runs block-{vbd.protocol} of its own folder", value=f"script={vbd.script}")
    return text


def _vif(into: Conversion, vif: Vif, key: str) -> str | None:
    names = ("mac", "bridge", "ip", "script", "model", "vifname", "rate", "backend", "policy", "label")
    words = {name: getattr(vif, name) for name in names}
    if vif.type == "vif" and into.hvm:
        words["type"] = "netfront"
    for name, value in (("gatewaydev", vif.gatewaydev), ("mtu", vif.mtu)):
        if value:
            into.lacking(key, "xm has no word for it", value=f"{name}={value}")
    if vif.devid is not None:
        into.approximated(key, "xm numbers interfaces as they stand in the list", value=f"devid={vif.devid}",
                          suggestion="put them in that order")  # fmt: skip
    if vif.trusted is not None:
        into.lacking(key, "xm has no word for it", value=f"trusted={int(vif.trusted)}", harmless=True)
    if vif.accel:
        into.lacking(key, "xl does not follow it", value=f"accel={vif.accel}", harmless=True)
    return _tried(into, key, _joined(words), parse_vif)


# -- displays


def _vfb(into: Conversion, vfb: Vfb, key: str) -> str | None:
    """A frame buffer in xm's words; an empty password says that there is none."""
    words: dict[str, object] = {"vnc": int(vfb.vnc), "sdl": int(vfb.sdl) or None, **_words(vfb), "videoram": vfb.videoram}
    password = "" if vfb.password is None else f",vncpasswd={vfb.password}"
    values = [str(value) for value in (*words.values(), vfb.password or "")]
    if any("," in value or value != value.strip() for value in values):
        into.lacking(key, "left out: no frame buffer of xm's has a comma in it, or a blank at an end", value="")
        return None
    return _tried(into, key, _joined(words) + password, lambda text: vfb_from(vfb_values(text)))


def _words(vfb: Vfb) -> dict[str, Value | None]:
    return {
        "vnclisten": vfb.listen, "vncdisplay": vfb.display, "vncunused": None if vfb.unused else 0,
        "keymap": vfb.keymap, "display": vfb.x_display, "xauthority": vfb.xauthority,
        "opengl": None if vfb.opengl is None else int(vfb.opengl),
    }  # fmt: skip


def put_display(into: Conversion) -> None:
    """The display of a guest that boots by BIOS: that of ``vnc`` for a single one, ``vfb`` for several."""
    vfbs = into.guest.vfbs
    into.take("vfb", *_DISPLAY)
    into.copy_numbers("nographic", "videoram")
    if not vfbs:
        into.put("vnc", 0)
    elif len(vfbs) == 1:
        into.put("vnc", int(vfbs[0].vnc))
        into.put_given(sdl=int(vfbs[0].sdl), vncpasswd=vfbs[0].password)
        into.values.update((name, value) for name, value in _words(vfbs[0]).items() if value not in (None, ""))
        if not vfbs[0].password:
            into.approximated("vncpasswd", "xm takes the host's password, if it has one", value="", harmless=True)
    else:
        _put_list(into, "vfb", [_vfb(into, vfb, f"vfb[{index}]") for index, vfb in enumerate(vfbs)])
    _put_card(into)
    _tell_card(into)


def _tell_card(into: Conversion) -> None:
    """xl keeps the card of a guest without a display."""
    given = into.given("gfx_passthru")
    passed = bool(into.guest.pci) and str(given or 0) != "0"
    shown = any(vfb.vnc or vfb.sdl for vfb in into.guest.vfbs) or into.number("spice")
    if not (shown or passed or into.number("nographic") or into.given("vga") == "none"):
        into.lacking("vnc", "xm has no graphics card without a display; the guest has none there", value="",
                     suggestion="write vnc = 1, with vnclisten = '127.0.0.1'")  # fmt: skip


def _put_card(into: Conversion) -> None:
    vga = into.given("vga")
    into.copy_numbers("stdvga")
    if vga in _VGA:
        into.put("stdvga", _VGA[str(vga)])
    elif vga is not None:
        into.put("stdvga", 1)
        into.approximated("vga", "xm has the cards stdvga and cirrus alone; it is stdvga")
    if into.number("spice"):
        into.lacking("spice", "xm knows no SPICE", suggestion="use VNC")
        return
    for key in into.guest.options:
        if key.startswith("spice"):
            into.take(key)
            into.lacking(key, "SPICE is off", harmless=True)


# -- devices of the host


def _pci(into: Conversion, device: PciDevice, key: str) -> str | None:
    options = tuple((name, value) for name, value in device.options if name in _PCI_OPTIONS and value in ("0", "1"))
    for name, value in device.options:
        if (name, value) not in options:
            into.lacking(key, "xm has no word for it", value=f"{name}={value}", harmless=True)
    plain = PciDevice(
        domain=device.domain, bus=device.bus, slot=device.slot, function=device.function,
        virtual_slot=device.virtual_slot, options=options,
    )  # fmt: skip
    return _tried(into, key, pci_text(plain), pci_trees)


def _put_usb(into: Conversion) -> None:
    """xm takes one emulated device; devices of the host by their numbers are among these."""
    guest = into.guest
    into.take("usbctrl", "usbdev")
    controllers = [_usb_controller(into, one, f"usbctrl[{index}]") for index, one in enumerate(guest.usb_controllers)]
    _put_list(into, "vusb", [*controllers])
    words = into.texts("usbdevice") if into.hvm else []
    if into.hvm:
        into.copy_numbers("usb")
    for index, device in enumerate(guest.usb_devices):
        if device.bus is None or _named(device) in words:
            continue
        if into.hvm and not words:
            words.append(_named(device))
            into.approximated(f"usbdev[{index}]", "it is given in usbdevice", value=_named(device), harmless=True)
        else:
            into.lacking(f"usbdev[{index}]", "left out: xm takes one device by its number, of a guest with a BIOS",
                         value=_named(device))  # fmt: skip
    if words:
        into.put("usbdevice", words[0])
    for word in words[1:]:
        into.lacking("usbdevice", "left out: xm takes one device", value=word)


def _named(device: UsbDevice) -> str:
    return f"host:{device.bus}.{device.address}"


def _usb_controller(into: Conversion, controller: UsbController, key: str) -> str:
    if controller.version > 2 or controller.ports > _MOST_PORTS:
        into.approximated(key, f"xm has controllers of version 1 and 2, with {_MOST_PORTS} ports at most",
                          value=f"version={controller.version},ports={controller.ports}")  # fmt: skip
    elif controller.type in ("devicemodel", "qusb"):
        into.approximated(key, "xm's controllers are of Xen's kind", value=f"type={controller.type}")
    return f"usbver={min(controller.version, 2)},numports={min(controller.ports, _MOST_PORTS)}"
