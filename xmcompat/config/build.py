"""Values of a configuration to GuestConfig. Pure.

Source: xm's create command and xend, Xen 4.1, whose errors are kept word for word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from xmcompat.config.keys import KEYS
from xmcompat.config.specs import integer, is_on, parse_disk, parse_vif, vfb_from, vfb_values
from xmcompat.config.specs_more import CHECKED, check
from xmcompat.errors import ConfigError, NotConvertible
from xmcompat.guest import (
    Boot,
    Dialect,
    EventAction,
    FirmwareBoot,
    GuestConfig,
    GuestKind,
    KernelBoot,
    LoaderBoot,
    Value,
    Vbd,
    Vfb,
    Vif,
)
from xmcompat.notes import Fate
from xmcompat.units import parse_cpus
from xmcompat.vdev import vdev_number

Values = Mapping[str, Value]

_NAME = re.compile(r"[A-Za-z0-9_.:+-]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
#: Characters that no XML document, and so no guest of libvirt, can hold.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ACTIONS = {action.value: action for action in EventAction if action is not EventAction.SOFT_RESET}
_EVENTS = {"on_poweroff": "shutdown", "on_reboot": "reboot", "on_crash": "crash"}
_DEFAULT_ACTIONS = {
    "on_poweroff": EventAction.DESTROY, "on_reboot": EventAction.RESTART, "on_crash": EventAction.RESTART,
}  # fmt: skip
#: What the obsolete restart option makes of the three. xend 4.1 stumbled over "never"; its meaning is plain.
RESTARTS = {
    "onreboot": ("destroy", "restart", "destroy"), "always": ("restart",) * 3, "never": ("destroy",) * 3,
}  # fmt: skip

#: Arbitrary bounds that no x86 guest exceeds, so that nonsense does not reach libvirt.
MOST_VCPUS = 4096
MOST_NICS = 64
MOST_DEVICES = 256


def build(
    values: Values,
    *,
    path: str,
    default_name: str,
    dialect: Dialect = Dialect.XM,
    lines: Mapping[str, int] | None = None,
) -> GuestConfig:
    """The guest that VALUES describe. PATH is for messages, DEFAULT_NAME serves where no name is set.

    Raises ConfigError with xm's sentences, NotConvertible for what is never done on KVM.
    """
    known = {key: value for key, value in values.items() if key in KEYS}
    _refuse_unfit(known)
    _refuse(known, dialect, path, lines or {})
    for option in CHECKED:
        check(option, _list(known, option) if isinstance(known.get(option, []), list) else [])
    kind = _kind(known)
    vcpus, online = _vcpus(known)
    memory = _number(known, "memory", 128)
    maxmem = _number(known, "maxmem", 0) or None
    if memory <= 0:
        raise ConfigError("Invalid Configuration: memory_dynamic_max must be greater than zero")
    if maxmem is not None and maxmem < memory:
        raise ConfigError(
            "Invalid Configuration: memory_dynamic_max must be less than or equal to memory_static_max"
        )
    _check_cpus(known, vcpus)
    poweroff, reboot, crash = (_action(known, event) for event in _EVENTS)
    return GuestConfig(
        name=_name(known, default_name),
        source=path,
        dialect=dialect,
        kind=kind,
        uuid=_uuid(known),
        memory=memory,
        maxmem=maxmem,
        vcpus=vcpus,
        vcpus_online=online,
        boot=_boot(known, kind),
        disks=_disks(known),
        vifs=_vifs(known),
        vfbs=_vfbs(known, kind),
        serials=_serials(known),
        on_poweroff=poweroff,
        on_reboot=reboot,
        on_crash=crash,
        localtime=is_on(known.get("localtime", 0)),
        rtc_timeoffset=_number(known, "rtc_timeoffset", 0),
        acpi=is_on(known.get("acpi", 1)),
        description=_text(known, "description"),
        options=known,
        unknown={key: value for key, value in values.items() if key not in KEYS},
        lines=dict(lines or {}),
    )


def _refuse_unfit(known: Values) -> None:
    for key, value in known.items():
        if _UNFIT.search("\n".join(map(str, value)) if isinstance(value, list) else str(value)):
            raise ConfigError(f"{key} has a character that no setting can have")


def _refuse(known: Values, dialect: Dialect, path: str, lines: Mapping[str, int]) -> None:
    """What would endanger data or the host: never started. What the dialect does not know was never followed."""
    for key, value in known.items():
        row = KEYS[key]
        foreign = dialect is not Dialect.XL and Dialect.XM not in row.dialects
        if row.fate is Fate.REFUSED and not foreign and value not in (0, "", "0", []):
            raise NotConvertible(
                f"{key} = {value!r} cannot be had on KVM: {row.reason}", path=path, line=lines.get(key),
                hint="remove it from the configuration",
            )  # fmt: skip


def _text(known: Values, key: str) -> str:
    value = known.get(key, "")
    if isinstance(value, list):
        raise ConfigError(f"{key} = {value!r} should be a text")
    return str(value)


def _number(known: Values, key: str, default: int) -> int:
    value = known.get(key, default)
    return default if value == "" else integer(value, key)


def _list(known: Values, key: str) -> list[str]:
    value = known.get(key, [])
    if isinstance(value, str):
        # xm walks through the characters of a text, and stumbles over the first
        return list(value)
    if not isinstance(value, list):
        raise ConfigError(f"{key} = {value!r} should be a list")
    if len(value) > MOST_DEVICES:
        raise ConfigError(f"{key} has {len(value)} entries, which no guest has")
    return [str(item) for item in value]


def _name(known: Values, default: str) -> str:
    name = _text(known, "name") if "name" in known else default
    if not name:
        raise ConfigError("Missing VM Name")
    if not _NAME.fullmatch(name):
        raise ConfigError("Invalid VM Name")
    return name


def _uuid(known: Values) -> str | None:
    text = _text(known, "uuid")
    if not text:
        return None
    if not _UUID.fullmatch(text):
        raise ConfigError(f"uuid = {text!r} is not a uuid")
    digits = text.replace("-", "").lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _kind(known: Values) -> GuestKind:
    builder = _text(known, "builder") or "linux"
    if builder not in ("linux", "hvm"):
        raise ConfigError(f"unknown image type: {builder}")
    return GuestKind.HVM if builder == "hvm" else GuestKind.PV


def _vcpus(known: Values) -> tuple[int, int | None]:
    """(most, online at the start): with maxvcpus, vcpus are those online."""
    vcpus = _number(known, "vcpus", 1)
    most = _number(known, "maxvcpus", 0)
    if not 0 < vcpus <= MOST_VCPUS or most > MOST_VCPUS:
        raise ConfigError(f"vcpus = {vcpus} is not a number of vcpus")
    return most or vcpus, vcpus if 0 < vcpus < most else None


def _check_cpus(known: Values, vcpus: int) -> None:
    cpus = known.get("cpus")
    if isinstance(cpus, list) and len(cpus) != vcpus:
        raise ConfigError("Invalid Configuration: vcpus and the item number of cpus are not same")
    for text in cpus if isinstance(cpus, list) else [cpus]:
        if isinstance(text, str):
            parse_cpus(text)


def _action(known: Values, event: str) -> EventAction:
    word = _text(known, event)
    restart = _text(known, "restart")
    if not word and restart in RESTARTS:
        word = RESTARTS[restart][list(_EVENTS).index(event)]
    if not word:
        return _DEFAULT_ACTIONS[event]
    if word not in _ACTIONS:
        raise ConfigError(f"Invalid Configuration: Invalid event handling mode: {_EVENTS[event]}")
    return _ACTIONS[word]


def _boot(known: Values, kind: GuestKind) -> Boot:
    kernel, ramdisk, cmdline = _text(known, "kernel"), _text(known, "ramdisk"), compose_cmdline(known)
    if kind is GuestKind.HVM:
        if boots_kernel(known):
            return KernelBoot(kernel=kernel, ramdisk=ramdisk, cmdline=cmdline)
        return FirmwareBoot(order=_text(known, "boot") or "c")
    loader = _text(known, "bootloader")
    if loader or not kernel:
        return LoaderBoot(bootloader=loader, args=_text(known, "bootargs"), cmdline=cmdline)
    return KernelBoot(kernel=kernel, ramdisk=ramdisk, cmdline=cmdline)


def boots_kernel(known: Values) -> bool:
    """Whether a guest with builder hvm starts a kernel of the host; else kernel= is Xen's firmware."""
    kernel = _text(known, "kernel")
    return bool(kernel) and kernel.rpartition("/")[2] != "hvmloader" and bool(_text(known, "loader"))


def extra_arguments(known: Values) -> str:
    """``extra`` as xm passes it on: behind the NFS root. Raises ConfigError."""
    extra = _text(known, "extra")
    root = _text(known, "nfs_root")
    if not root:
        return extra
    server = _text(known, "nfs_server")
    if not server:
        raise ConfigError("Must set nfs root and nfs server")
    return f"nfsroot={server}:{root} {extra}"


def ip_argument(known: Values) -> str:
    """The kernel's own network set-up, "" for none."""
    ip, dhcp = _text(known, "ip"), _text(known, "dhcp") or "off"
    if not ip and dhcp == "off":
        return ""
    fields = (
        ip, _text(known, "nfs_server") or "127.0.255.255", _text(known, "gateway"), _text(known, "netmask"),
        _text(known, "hostname"), _text(known, "interface") or "eth0", dhcp,
    )  # fmt: skip
    return ":".join(fields)


def root_argument(known: Values) -> str:
    return _text(known, "root").removeprefix("root=")


def compose_cmdline(known: Values) -> str:
    """The kernel's command line as xend puts it together: root=R ip=I EXTRA.

    Each is left out where EXTRA holds its word anywhere ("nfsroot=" holds "root=").
    """
    return merge_cmdline(root_argument(known), ip_argument(known), extra_arguments(known))


def merge_cmdline(root: str, ip: str, extra: str) -> str:
    line = extra
    if ip and "ip=" not in line:
        line = f"ip={ip} {line}"
    if root and "root=" not in line:
        line = f"root={root} {line}"
    return line.rstrip()


def _disks(known: Values) -> tuple[Vbd, ...]:
    disks: list[Vbd] = []
    unames: set[str] = set()
    numbers: set[int | None] = set()
    for text in _list(known, "disk"):
        disk = parse_disk(text)
        number = vdev_number(disk.vdev)
        if disk.uname and disk.uname in unames:
            raise ConfigError(f'The file "{disk.uname}" is already used')
        if number in numbers:
            raise ConfigError(f'The device "{disk.vdev}" is already defined')
        unames.add(disk.uname)
        numbers.add(number)
        disks.append(disk)
    return tuple(disks)


def _vifs(known: Values) -> tuple[Vif, ...]:
    vifs: list[Vif] = []
    for text in _list(known, "vif"):
        vif = parse_vif(text)
        if vif.mac and vif.mac.lower() in (other.mac.lower() for other in vifs):
            raise ConfigError(f'The mac "{vif.mac}" is already defined')
        vifs.append(vif)
    wanted = _number(known, "nics", -1)
    if wanted > MOST_NICS:
        raise ConfigError(f"nics = {wanted} is not a number of interfaces")
    return tuple(vifs + [Vif()] * max(0, wanted - len(vifs)))


def _vfbs(known: Values, kind: GuestKind) -> tuple[Vfb, ...]:
    """Those of vfb; else, for a guest that boots by BIOS, the display of vnc and sdl."""
    vfbs = tuple(vfb_from(vfb_values(text)) for text in _list(known, "vfb"))
    if vfbs or kind is not GuestKind.HVM or is_on(known.get("nographic", 0)):
        return vfbs
    if not is_on(known.get("vnc", 0)) and not is_on(known.get("sdl", 0)):
        return ()
    names = ("vnc", "sdl", "vnclisten", "vncdisplay", "vncunused", "keymap", "videoram")
    values = {key: str(known[key]) for key in names if key in known}
    if known.get("vncpasswd"):  # an empty one leaves the host's default
        values["vncpasswd"] = str(known["vncpasswd"])
    return (vfb_from(values),)


def _serials(known: Values) -> tuple[str, ...]:
    value = known.get("serial", "")
    texts: Sequence[Value] = value if isinstance(value, list) else [value]
    return tuple(str(text) for text in texts if text not in ("", "none"))
