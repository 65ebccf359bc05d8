"""Values of an xl file to GuestConfig, with the defaults that xl has. Pure.

Source: xl and libxl of Xen 4.17, whose errors are kept in their words.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from xmcompat.config import xl_specs
from xmcompat.config.xl_checks import check_words
from xmcompat.config.xl_disk import parse_disk
from xmcompat.config.xl_values import Settings
from xmcompat.errors import ConfigError
from xmcompat.guest import (
    Boot,
    Dialect,
    EventAction,
    FirmwareBoot,
    GuestConfig,
    GuestKind,
    KernelBoot,
    LoaderBoot,
    UsbDevice,
    Value,
    Vfb,
    Vif,
)
from xmcompat.notes import Fate, Note

MOST_VCPUS = 4096
_DEFAULT_MEMORY = 32
_HIGHEST_WEIGHT = 65535
_DEFAULT_ORDER = "cda"

_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_ACTIONS = {action.value: action for action in EventAction}
_FIRMWARES = {"bios": "bios", "uefi": "ovmf", "ovmf": "ovmf", "seabios": "seabios", "rombios": "rombios"}
_PV_GRUBS = ("pvgrub32", "pvgrub64")
_DISPLAY = ("vnc", "sdl", "vnclisten", "vncdisplay", "vncunused", "vncpasswd", "keymap", "display", "xauthority", "opengl")


def build_xl(
    values: Mapping[str, Value],
    *,
    path: str,
    lines: Mapping[str, int],
    default_name: str | None = None,
    default_bridge: str = "xenbr0",
) -> tuple[GuestConfig, tuple[Note, ...]]:
    """The guest that VALUES describe, and what xl itself warns of or passes over, which is left out of the guest.

    PATH and LINES are for messages. DEFAULT_NAME serves where no name is set; DEFAULT_BRIDGE is that of xl.conf.
    In ``options``, numbers are numbers and all else is as read. CPUs that only the host can tell ("all", "node:0")
    leave their vcpus unpinned. Raises ConfigError where xl ends, NotConvertible for what is never done on KVM.
    """
    settings = Settings(values, path=path, lines=lines)
    kind = _kind(settings)
    _pass_over(settings, kind)
    check_words(settings, kind)
    vcpus, online = _vcpus(settings)
    memory, maxmem = _memory(settings)
    with settings.at("vnuma"):
        numa = xl_specs.parse_vnuma(settings.items("vnuma"), vcpus=vcpus, memory=maxmem or memory)
    guest = GuestConfig(
        name=_name(settings, default_name),
        source=path,
        dialect=Dialect.XL,
        kind=kind,
        uuid=_uuid(settings),
        memory=memory,
        maxmem=maxmem,
        vcpus=vcpus,
        vcpus_online=online,
        boot=_boot(settings, kind),
        disks=settings.devices("disk", lambda text, _: parse_disk(text)),
        vifs=_vifs(settings, kind, default_bridge),
        vfbs=_vfbs(settings, kind),
        serials=tuple(text for text in settings.texts("serial") if text not in ("", "none")),
        on_poweroff=_action(settings, "on_poweroff", EventAction.DESTROY),
        on_reboot=_action(settings, "on_reboot", EventAction.RESTART),
        on_crash=_action(settings, "on_crash", EventAction.DESTROY),
        localtime=settings.flag("localtime", False),
        rtc_timeoffset=settings.number("rtc_timeoffset") or 0,
        acpi=settings.flag("acpi", True),
        pins=_pins(settings, vcpus),
        weight=_weight(settings),
        cap=_cap(settings, vcpus),
        pci=settings.devices("pci", lambda text, _: xl_specs.parse_pci(text)),
        usb_controllers=settings.devices("usbctrl", lambda text, _: xl_specs.parse_usbctrl(text)),
        usb_devices=settings.devices("usbdev", lambda text, _: xl_specs.parse_usbdev(text)) + _host_usb(settings, kind),
        channels=settings.devices("channel", lambda text, _: xl_specs.parse_channel(text)),
        folders=settings.devices("p9", lambda text, _: xl_specs.parse_p9(text)),
        numa=numa,
        tpms=settings.devices("vtpm", lambda text, _: xl_specs.parse_vtpm(text)),
        options=settings.known,
        unknown=settings.unknown,
        lines=dict(lines),
    )
    return guest, tuple(settings.notes)


def _kind(settings: Settings) -> GuestKind:
    """By type or builder, of which the beginning of a word is enough; "" is hvm, as with xl."""
    kind: GuestKind | None = None
    if "type" in settings.known:
        words = (("hvm", GuestKind.HVM), ("pv", GuestKind.PV), ("pvh", GuestKind.PVH))
        kind = _by_prefix(settings, "type", words)
    if "builder" in settings.known:
        built = _by_prefix(settings, "builder", (("hvm", GuestKind.HVM), ("generic", GuestKind.PV)))
        if kind not in (None, built):
            raise settings.error("builder", 'Contradicting "builder" and "type" options specified.')
        kind = built
    return kind or GuestKind.PV


def _by_prefix(settings: Settings, key: str, words: tuple[tuple[str, GuestKind], ...]) -> GuestKind:
    value = settings.text(key)
    for word, kind in words:
        if word.startswith(value):
            return kind
    raise settings.error(key, f"Invalid domain type {value}.")


def _pass_over(settings: Settings, kind: GuestKind) -> None:
    """Leave out what xl reads and does not follow."""
    known = settings.known
    hvm = kind is GuestKind.HVM
    if "vif2" in known:
        settings.ignore(
            "vif2", "netchannel2 is deprecated and not supported by xl", "give each interface in vif",
            harmless=not known["vif2"],
        )  # fmt: skip
    if "device_model" in known:
        stub = "stubdom-dm" in settings.text("device_model")
        settings.ignore(
            "device_model", "xl ignores it; there are no stub domains" if stub else "xl ignores it", harmless=not stub
        )
    for key in ("vncviewer", "vncconsole"):
        if key in known:
            settings.ignore(key, "xl ignores it", "start the viewer yourself", harmless=not settings.number(key))
    for key in ("root", "extra"):
        if key in known and "cmdline" in known:
            settings.ignore(key, "ignored in favour of cmdline", harmless=not known[key])
    if hvm and settings.text("kernel").rpartition("/")[2] == "hvmloader":
        settings.ignore("kernel", "it is Xen's firmware; xl ignores it as well", harmless=True)
    for key in ("bootloader", "bootloader_args"):
        if hvm and key in known:
            settings.ignore(key, "xl follows it for paravirtual guests alone", harmless=not known[key])


def _name(settings: Settings, default: str | None) -> str:
    """Differs from xl: a name that libvirt refuses is refused here."""
    name = settings.text("name") or default
    if not name:
        raise settings.error("name", "Domain name must be specified.")
    if "/" in name or "\n" in name or not name.strip():
        raise settings.error("name", f"name = {name!r} is no name for a guest of libvirt", "leave out / and line ends")
    return name


def _uuid(settings: Settings) -> str | None:
    text = settings.text("uuid")
    if "uuid" not in settings.known:
        return None
    if not _UUID.fullmatch(text):
        raise settings.error("uuid", f"Failed to parse UUID: {text}")
    digits = text.replace("-", "").lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _memory(settings: Settings) -> tuple[int, int | None]:
    """(at the start, at most), in MiB; maxmem alone is both."""
    memory, maxmem = settings.number("memory"), settings.number("maxmem")
    if memory is None:
        memory = _DEFAULT_MEMORY if maxmem is None else maxmem
    if memory <= 0:
        raise settings.error("memory" if "memory" in settings.known else "maxmem", f"no guest runs with {memory} MiB")
    if maxmem is not None and maxmem < memory:
        raise settings.error("maxmem", f"maxmem = {maxmem} is less than memory = {memory}")
    return memory, maxmem


def _vcpus(settings: Settings) -> tuple[int, int | None]:
    """(most, online at the start where these are fewer)."""
    vcpus, most = settings.number("vcpus"), settings.number("maxvcpus")
    for key, value in (("vcpus", vcpus), ("maxvcpus", most)):
        if value is not None and not 0 < value <= MOST_VCPUS:
            raise settings.error(key, f"{key} = {value} is not a number of vcpus")
    online = vcpus or 1
    if most is not None and most < online:
        raise settings.error("maxvcpus", "xl: maxvcpus < vcpus")
    return most or online, online if online < (most or online) else None


def _pins(settings: Settings, vcpus: int) -> tuple[tuple[int, ...], ...]:
    """One text is for all vcpus; of a list, each entry is for one, and vcpus beyond its end are not pinned."""
    if "cpus" not in settings.known:
        return ()
    value = settings.known["cpus"]
    items = settings.texts("cpus")[:vcpus]
    asks_host = False
    pins: list[tuple[int, ...]] = []
    for index, text in enumerate(items):
        with settings.at("cpus", index if isinstance(value, list) else None):
            cpus = xl_specs.parse_cpus(text)
        asks_host |= cpus is None and text.strip() != "all"
        pins.append(cpus or ())
    if asks_host:
        settings.note(
            "cpus", Fate.APPROXIMATED, "which CPUs these are depends on the host of the guest; its vcpus may run anywhere",
            "write the numbers of the CPUs",
        )  # fmt: skip
    pins = pins + [()] * (vcpus - len(pins)) if isinstance(value, list) else pins * vcpus
    return tuple(pins) if any(pins) else ()


def _weight(settings: Settings) -> int | None:
    weight = settings.number("cpu_weight")
    if weight is not None and not 1 <= weight <= _HIGHEST_WEIGHT:
        raise settings.error(
            "cpu_weight", f"Cpu weight out of range, valid values are within range from 1 to {_HIGHEST_WEIGHT}"
        )
    return weight


def _cap(settings: Settings, vcpus: int) -> int:
    cap = settings.number("cap") or 0
    if not 0 <= cap <= 100 * vcpus:
        raise settings.error(
            "cap", f"Cpu cap out of range, valid range is from 0 to {100 * vcpus} for specified number of vcpus"
        )
    return cap


def _action(settings: Settings, event: str, default: EventAction) -> EventAction:
    if event not in settings.known:
        return default
    word = settings.text(event)
    if word not in _ACTIONS:
        raise settings.error(event, f'Unknown {event} action "{word}" specified')
    return _ACTIONS[word]


def compose_cmdline(cmdline: str | None, root: str | None, extra: str | None) -> str:
    """The kernel's command line as xl puts it together: CMDLINE, or root=ROOT EXTRA. None is not given.

    Nothing is left out where EXTRA says the same again.
    """
    if cmdline is not None:
        return cmdline
    return " ".join(([f"root={root}"] if root is not None else []) + ([extra] if extra is not None else []))


def _boot(settings: Settings, kind: GuestKind) -> Boot:
    known = settings.known
    cmdline, root, extra = (settings.text(key) if key in known else None for key in ("cmdline", "root", "extra"))
    line = compose_cmdline(cmdline, root, extra)
    kernel, ramdisk, firmware = (settings.text(key) for key in ("kernel", "ramdisk", "firmware"))
    if kind is GuestKind.HVM:
        found = _firmware(settings)
        if kernel:
            return KernelBoot(kernel=kernel, ramdisk=ramdisk, cmdline=line)
        return FirmwareBoot(order=settings.text("boot") or _DEFAULT_ORDER, firmware=found)
    if firmware:
        if firmware not in _PV_GRUBS:
            raise settings.error("firmware", f'invalid value "{firmware}" for "firmware"')
        if kernel:
            raise settings.error("firmware", "firmware and kernel cannot both be specified")
        return LoaderBoot(bootloader=firmware, cmdline=line)
    loader = settings.text("bootloader")
    if loader:
        return LoaderBoot(bootloader=loader, args=_loader_args(settings), cmdline=line)
    if not kernel:
        raise settings.error("kernel", "neither kernel nor bootloader specified")
    return KernelBoot(kernel=kernel, ramdisk=ramdisk, cmdline=line)


def _firmware(settings: Settings) -> str:
    """One of Xen's words, or the path of an image."""
    bios, firmware = settings.text("bios"), settings.text("firmware")
    if "bios" in settings.known and bios not in ("rombios", "seabios", "ovmf"):
        raise settings.error("bios", f'invalid value "{bios}" for "bios"')
    if not firmware:
        return bios or "bios"
    if firmware not in _FIRMWARES and "/" not in firmware:
        raise settings.error("firmware", f'invalid value "{firmware}" for "firmware"')
    return _FIRMWARES.get(firmware, firmware)


def _loader_args(settings: Settings) -> str:
    """The arguments as one line of words, quoted as for a shell where they need it."""
    value = settings.known.get("bootloader_args", "")
    words = settings.texts("bootloader_args") if isinstance(value, list) else str(value).split()
    return shlex.join(words)


def _vifs(settings: Settings, kind: GuestKind, default_bridge: str) -> tuple[Vif, ...]:
    def read(text: str, warnings: list[str]) -> Vif:
        vif = xl_specs.parse_vif(text, warnings, default_bridge=default_bridge)
        if vif.type == "ioemu" and kind is not GuestKind.HVM:
            raise ConfigError("trying to create PV guest with an emulated interface")
        return vif

    return settings.devices("vif", read)


def _vfbs(settings: Settings, kind: GuestKind) -> tuple[Vfb, ...]:
    """Those of vfb, and the display of vnc and sdl.

    A guest with a BIOS has that unless it is taken away; frame buffers come first where it is but the default.
    A paravirtual one has it with vnc=1 where there is no frame buffer.
    """

    def read(text: str, warnings: list[str]) -> Vfb:
        return xl_specs.vfb_from(xl_specs.vfb_values(text, warnings), warnings)

    vfbs = settings.devices("vfb", read)
    vnc, sdl = settings.number("vnc"), settings.number("sdl")
    if kind is not GuestKind.HVM:
        return vfbs or (_display(settings) if vnc else ())
    if settings.flag("nographic", False) or (vnc == 0 and not sdl):
        return vfbs
    if vfbs and vnc is None and sdl is None:
        return (*vfbs, *_display(settings))
    return (*_display(settings), *vfbs)


def _display(settings: Settings) -> tuple[Vfb, ...]:
    values = {key: settings.text(key) for key in _DISPLAY if key in settings.known}
    with settings.at("vnclisten"):
        return (xl_specs.vfb_from(values, []),)


def _host_usb(settings: Settings, kind: GuestKind) -> tuple[UsbDevice, ...]:
    """The devices of the host that usbdevice names, of a guest with a device model."""
    if kind is not GuestKind.HVM:
        return ()
    return tuple(device for text in settings.texts("usbdevice") if (device := xl_specs.host_usb(text)))
