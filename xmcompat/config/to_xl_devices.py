"""The devices of a guest of xm's in the words of xl. Pure.

Each text is read back before it is taken: what xl would end with is left out, and noted.
"""

from __future__ import annotations

from xmcompat.config.conversion import Conversion
from xmcompat.config.specs import pairs, vfb_values
from xmcompat.config.xl_disk import parse_disk
from xmcompat.config.xl_specs import parse_vif
from xmcompat.errors import ConfigError
from xmcompat.guest import PciDevice, Value, Vbd, VbdMode, Vfb, Vif

#: Words before a disk for which Xen runs no script; all others are called for theirs.
_PLAIN = ("", "phy", "file", "tap", "tap2", "vhd", "rbd", "nfs")
#: What no image in a file stands for.
_LOST = {
    "ram": "xl has no disks in memory", "remus": "xl has no disks of Remus",
}  # fmt: skip
_ACCESS = {VbdMode.READ_ONLY: "ro", VbdMode.READ_WRITE: "rw", VbdMode.SHARED: "rw"}
#: Least video memory in MiB that xl takes, for each card.
_LEAST_VIDEORAM = {"stdvga": 16, "cirrus": 8}
#: Keys of a vif2 that an ordinary interface has under the same or another name.
_SECOND_KIND = ("front_mac", "bridge", "backend")


def put_devices(into: Conversion) -> None:
    """Disks, interfaces, frame buffers of paravirtual guests, and what else is in a list."""
    _put_list(into, "disk", [_disk(into, vbd, f"disk[{index}]") for index, vbd in enumerate(into.guest.disks)])
    _tell_twins(into)
    into.take("vif", "vif2", "nics")
    _put_list(into, "vif", [_vif(into, vif, f"vif[{index}]") for index, vif in enumerate(into.guest.vifs)])
    _tell_second_kind(into)
    if not into.hvm:
        _put_list(into, "vfb", [vfb_text(vfb) for vfb in into.guest.vfbs])
    _tell_frame_buffers(into)
    _put_pci(into)
    _put_usb(into)
    _put_tpm(into)
    if into.given("vscsi"):
        into.lacking("vscsi", "xl has no SCSI devices", suggestion="give a disk of the host in disk, as /dev/...")


def _put_list(into: Conversion, key: str, texts: list[str | None]) -> None:
    into.take(key)
    found: list[Value] = [text for text in texts if text is not None]
    if found:
        into.put(key, found)


# -- disks


def _disk(into: Conversion, vbd: Vbd, key: str) -> str | None:
    """The disk as xl writes it; None for one that it has no words for."""
    word, kind = vbd.protocol.split(":")[0], vbd.protocol.rpartition(":")[2]
    if kind in _LOST and word in ("tap", "tap2"):
        into.lacking(key, _LOST[kind], value=vbd.uname)
        return None
    if vbd.image_format == "vmdk":
        into.lacking(key, "xl does not read vmdk images; left out", value=vbd.uname,
                     suggestion="qemu-img convert -O qcow2, and give that")  # fmt: skip
        return None
    if word == "nfs" and not vbd.path.startswith("//"):
        into.lacking(key, "xl mounts no directories of servers; left out", value=vbd.uname,
                     suggestion="have it in /etc/fstab, and give the file by its path there")  # fmt: skip
        return None
    text = disk_text(vbd)
    try:
        parse_disk(text)
    except ConfigError as error:
        into.lacking(key, f"left out: {error.message}", value=vbd.uname)
        return None
    _tell_disk(into, vbd, key)
    return text


def disk_text(vbd: Vbd) -> str:
    """A disk of xm's: ``PATH,FORMAT,VDEV,ACCESS``; in named parameters where a path or back end needs it, the path last."""
    word = vbd.protocol.split(":")[0]
    script = "" if word in _PLAIN else f"block-{word}"
    target = f"{word}:{vbd.path}" if word in ("rbd", "nfs") else vbd.path
    # phy: is a device wherever it lies; xl takes one outside of /dev for a file
    more = ["cdrom"] * vbd.cdrom + [f"backend={vbd.backend}"] * bool(vbd.backend)
    more += ["direct-io-safe"] * (_is_direct(vbd) and not vbd.cdrom)
    # xl lets a guest give space back unless told not to
    more += ["no-discard"] * (not vbd.cdrom and vbd.mode is not VbdMode.READ_ONLY)
    more += ["backendtype=phy"] * (word == "phy" and not vbd.path.startswith("/dev/"))
    access = _ACCESS[vbd.mode]
    if not target or (target.startswith("/") and not script and not set(target) & set(",=")):
        return ",".join((target, vbd.image_format if target else "", vbd.vdev, access, *more))
    named = [f"format={vbd.image_format}", f"vdev={vbd.vdev}", f"access={access}", *more]
    return ",".join((*named, *([f"script={script}"] if script else []), f"target={target}"))


def _is_direct(vbd: Vbd) -> bool:
    """Whether Xen went past the host's cache to the image: tap:aio, tap2:tapdisk:aio and so on."""
    return vbd.protocol.startswith("tap") and vbd.protocol.rpartition(":")[2] == "aio" and vbd.image_format == "raw"


def _tell_disk(into: Conversion, vbd: Vbd, key: str) -> None:
    kind = vbd.protocol.rpartition(":")[2]
    if vbd.mode is VbdMode.SHARED:
        into.approximated(
            key, "xl has no w!; it is writable, and Xen's block script refuses a second guest with it", value=vbd.uname,
            suggestion="give a script of your own that does not look, with script=",
        )  # fmt: skip
    if vbd.path and not vbd.path.startswith("/") and vbd.protocol.split(":")[0] in _PLAIN and vbd.protocol != "rbd":
        into.approximated(key, "xl looks for a relative path below /dev", value=vbd.uname, suggestion="write all of it")
    if vbd.protocol.startswith("tap") and kind == "sync" and not vbd.cdrom:
        into.approximated(key, "xl chooses how it is read and written, where tap had sync", value=vbd.uname,
                          harmless=True)  # fmt: skip
    if vbd.abi:
        into.lacking(f"{key}.protocol", "xl has no word for it", value=vbd.abi, harmless=True)
    if vbd.ioemu:
        into.lacking(key, "ioemu: is of no account to xl", value=vbd.uname, harmless=True)
    if vbd.cdrom and vbd.mode is not VbdMode.READ_ONLY:
        into.approximated(key, "a CD-ROM cannot be written to", value=vbd.uname, harmless=True)


def _tell_twins(into: Conversion) -> None:
    """Two disks of one path under different words, which xm took for two: xl has no such words."""
    written = [vbd.mode is not VbdMode.READ_ONLY and not vbd.cdrom for vbd in into.guest.disks]
    for second, other in enumerate(into.guest.disks):
        for first, one in enumerate(into.guest.disks[:second]):
            if one.path and one.path == other.path and one.uname != other.uname and (written[first] or written[second]):
                into.approximated(
                    f"disk[{second}]",
                    f"disk[{first}] has {one.path} as well, and one of them writes to it: xl refuses that",
                    value=other.uname, suggestion="give each its own, or both read-only",
                )  # fmt: skip


# -- interfaces


def _vif(into: Conversion, vif: Vif, key: str) -> str | None:
    words = {name: getattr(vif, name) for name in (
        "mac", "bridge", "ip", "script", "model", "vifname", "rate", "backend", "policy", "label",
    )}  # fmt: skip
    if not vif.bridge and vif.script.rpartition("/")[2] not in ("vif-route", "vif-nat"):
        into.approximated(
            key, "no bridge is named: xl takes that of xl.conf (else xenbr0), where xm took the first of the host",
            value="", suggestion="name one with bridge=",
        )  # fmt: skip
    words["type"] = _vif_type(into, vif, key)
    if vif.rate and not _is_rate(vif.rate):
        into.lacking(key, "that is no rate; xl would end with it, where xm had no limit", value=f"rate={vif.rate}",
                     suggestion="write one like 10Mb/s@50ms")  # fmt: skip
        words["rate"] = ""
    if vif.accel:
        into.lacking(key, "xl does not support it", value=f"accel={vif.accel}", harmless=True)
    text = ",".join(f"{name}={value}" for name, value in words.items() if value)
    try:
        parse_vif(text, [])
    except ConfigError as error:
        into.lacking(key, f"left out: {error.message}", value=text)
        return None
    return text


def _vif_type(into: Conversion, vif: Vif, key: str) -> str:
    """xm's ioemu is emulated alone; any other word is an interface of Xen's kind alone. No word is both, with each."""
    if not vif.type:
        return ""
    if not into.hvm:
        into.lacking(key, "a paravirtual guest has one kind of interface", value=f"type={vif.type}", harmless=True)
        return ""
    if vif.type != "ioemu":
        return "vif"
    into.approximated(key, "xl gives the guest an interface of Xen's kind beside the emulated one", value="type=ioemu",
                      harmless=True)  # fmt: skip
    return "ioemu"


def _is_rate(text: str) -> bool:
    try:
        parse_vif(f"rate={text}", [])
    except ConfigError:
        return False
    return True


def _tell_second_kind(into: Conversion) -> None:
    for index, text in enumerate(into.texts("vif2")):
        into.approximated(f"vif2[{index}]", "it is an ordinary interface, in vif", value=text, harmless=True)
        for name, value in pairs(text):
            if name not in _SECOND_KIND:
                into.lacking(f"vif2[{index}].{name}", "xl has no word for it", value=value)


# -- displays


def vfb_text(vfb: Vfb) -> str:
    """A frame buffer in xl's words; the password only where there is one."""
    words: dict[str, object] = {"vnc": int(vfb.vnc), **({"sdl": 1} if vfb.sdl else {}), **_words(vfb)}
    if vfb.videoram:
        words["videoram"] = vfb.videoram
    return ",".join(f"{name}={value}" for name, value in words.items())


def _words(vfb: Vfb) -> dict[str, Value]:
    words: dict[str, Value | None] = {
        "vnclisten": vfb.listen, "vncdisplay": vfb.display, "vncunused": None if vfb.unused else 0,
        "vncpasswd": vfb.password, "keymap": vfb.keymap, "display": vfb.x_display, "xauthority": vfb.xauthority,
        "opengl": None if vfb.opengl is None else int(vfb.opengl),
    }  # fmt: skip
    return {name: value for name, value in words.items() if value not in (None, "")}


def put_display(into: Conversion) -> None:
    """The display of a guest that boots by BIOS: xl shows one unless told otherwise; xm follows vfb before vnc."""
    shown = [(index, vfb) for index, vfb in enumerate(into.guest.vfbs) if vfb.vnc or vfb.sdl]
    into.take("vfb", "vnc", "sdl", "vnclisten", "vncdisplay", "vncunused", "vncpasswd", "keymap")
    into.copy_numbers("nographic", "stdvga")
    if not shown:
        into.put("vnc", 0)
        into.put("nographic", 1)  # xl keeps the card without a display; xm has none then
    else:
        first = shown[0][1]
        into.put("vnc", int(first.vnc))
        into.put_given(sdl=int(first.sdl))
        into.values.update(_words(first))
        if "vfb" not in into.guest.options:
            into.copy("display", "xauthority")
            into.copy_numbers("opengl")
        if first.password is None and into.guest.options.get("vncpasswd") == "":
            into.approximated("vncpasswd", "xm took the host's password, if it had one; xl asks for none")
        _put_list(into, "vfb", [vfb_text(vfb) for _, vfb in shown[1:]])
    for index, vfb in enumerate(into.guest.vfbs):
        if not vfb.vnc and not vfb.sdl:
            into.lacking(f"vfb[{index}]", "it is off", value="", harmless=True)
        elif vfb.videoram and "vfb" in into.guest.options:
            into.lacking(f"vfb[{index}].videoram", "it is for frame buffers alone", value=vfb.videoram, harmless=True)
    _put_videoram(into)


def _put_videoram(into: Conversion) -> None:
    megabytes = into.number("videoram")
    if megabytes is None:
        return
    card = "stdvga" if into.values.get("stdvga") else "cirrus"
    if megabytes >= _LEAST_VIDEORAM[card]:
        into.put("videoram", megabytes)
    else:
        into.approximated("videoram", f"xl takes no less than {_LEAST_VIDEORAM[card]} for a {card} card; so much it is",
                          harmless=True)  # fmt: skip


def _tell_frame_buffers(into: Conversion) -> None:
    for index, text in enumerate(into.texts("vfb")):
        for name, value in vfb_values(text).items():
            if name in ("serial", "monitor") and value:
                into.lacking(f"vfb[{index}].{name}", "xl has no word for it", value=value)


# -- devices of the host


def _put_pci(into: Conversion) -> None:
    _put_list(into, "pci", [pci_text(device) for device in into.guest.pci])
    into.copy_numbers("pci_msitranslate", "pci_power_mgmt")
    if into.guest.pci:  # xm's default is 1, xl's is 0
        into.values.setdefault("pci_msitranslate", 1)


def pci_text(device: PciDevice) -> str:
    """"0000:03:00.0@6,msitranslate=1"."""
    function = "*" if device.function is None else f"{device.function:x}"
    place = f"{device.domain:04x}:{device.bus:02x}:{device.slot:02x}.{function}"
    slot = "" if device.virtual_slot is None else f"@{device.virtual_slot:x}"
    return ",".join((place + slot, *(f"{name}={value}" for name, value in device.options)))


def _put_usb(into: Conversion) -> None:
    into.take("vusb")
    _put_list(into, "usbctrl", [
        f"type=pv,version={controller.version},ports={controller.ports}" for controller in into.guest.usb_controllers
    ])  # fmt: skip
    for device in into.guest.usb_devices:
        if device.bus_id:
            into.lacking(
                f"vusb[{device.controller or 0}]", "xl names a device by a number that it has only while it is plugged in",
                value=f"port_{device.port}={device.bus_id}",
                suggestion="write usbdev = ['hostbus=B,hostaddr=A'], as lsusb shows it",
            )  # fmt: skip


def _put_tpm(into: Conversion) -> None:
    into.take("vtpm")
    texts: list[str | None] = []
    for index, tpm in enumerate(into.guest.tpms):
        if not tpm.backend:
            into.lacking(f"vtpm[{index}]", "xl must know the back end; left out", suggestion="write backend=DOMAIN")
            continue
        for name, value in (("instance", tpm.instance), ("type", tpm.type)):
            if value and (name, value) != ("instance", "0"):
                into.lacking(f"vtpm[{index}].{name}", "xl has no word for it", value=value)
        texts.append(f"backend={tpm.backend}" + (f",uuid={tpm.uuid}" if tpm.uuid else ""))
    _put_list(into, "vtpm", texts)
    for index, text in enumerate(into.texts("vtpm")[1:], 1):
        into.lacking(f"vtpm[{index}]", "xm follows the first alone", value=text, harmless=True)
