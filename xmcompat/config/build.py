"""Values of a configuration to GuestConfig. Pure.

Source: xm's create command and xend, Xen 4.1, whose errors are kept word for word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from xmcompat.config import xm_devices
from xmcompat.config.keys import KEYS
from xmcompat.config.specs import is_on
from xmcompat.config.specs_more import CHECKED, check
from xmcompat.config.xm_values import Values, entries, number, text
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
)
from xmcompat.notes import Fate
from xmcompat.units import parse_cpus

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

#: An arbitrary bound that no x86 guest exceeds, so that nonsense does not reach libvirt.
MOST_VCPUS = 4096
_HIGHEST_WEIGHT = 65535


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
        check(option, entries(known, option) if isinstance(known.get(option, []), list) else [])
    kind = _kind(known)
    vcpus, online = _vcpus(known)
    memory, maxmem = _memory(known)
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
        disks=xm_devices.disks(known),
        vifs=xm_devices.vifs(known),
        vfbs=xm_devices.vfbs(known, kind),
        serials=xm_devices.serials(known),
        on_poweroff=poweroff,
        on_reboot=reboot,
        on_crash=crash,
        localtime=is_on(known.get("localtime", 0)),
        rtc_timeoffset=number(known, "rtc_timeoffset", 0),
        acpi=is_on(known.get("acpi", 1)),
        description=text(known, "description"),
        pins=_pins(known, vcpus),
        weight=_weight(known),
        cap=_cap(known, vcpus),
        pci=xm_devices.pci_devices(known),
        usb_controllers=xm_devices.usb_controllers(known),
        usb_devices=xm_devices.usb_devices(known, kind),
        scsi_devices=xm_devices.scsi_devices(known),
        tpms=xm_devices.tpms(known),
        options=known,
        unknown={key: value for key, value in values.items() if key not in KEYS},
        lines=dict(lines or {}),
    )


def _memory(known: Values) -> tuple[int, int | None]:
    """In MiB: what the guest has, and the most that it can get, None where that is the same."""
    memory = number(known, "memory", 128)
    maxmem = number(known, "maxmem", 0) or None
    if memory <= 0:
        raise ConfigError("Invalid Configuration: memory_dynamic_max must be greater than zero")
    if maxmem is not None and maxmem < memory:
        raise ConfigError(
            "Invalid Configuration: memory_dynamic_max must be less than or equal to memory_static_max"
        )
    return memory, maxmem


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


def _name(known: Values, default: str) -> str:
    name = text(known, "name") if "name" in known else default
    if not name:
        raise ConfigError("Missing VM Name")
    if not _NAME.fullmatch(name):
        raise ConfigError("Invalid VM Name")
    return name


def _uuid(known: Values) -> str | None:
    written = text(known, "uuid")
    if not written:
        return None
    if not _UUID.fullmatch(written):
        raise ConfigError(f"uuid = {written!r} is not a uuid")
    digits = written.replace("-", "").lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _kind(known: Values) -> GuestKind:
    builder = text(known, "builder") or "linux"
    if builder not in ("linux", "hvm"):
        raise ConfigError(f"unknown image type: {builder}")
    return GuestKind.HVM if builder == "hvm" else GuestKind.PV


def _vcpus(known: Values) -> tuple[int, int | None]:
    """(most, online at the start): with maxvcpus, vcpus are those online."""
    vcpus = number(known, "vcpus", 1)
    most = number(known, "maxvcpus", 0)
    for key, value, least in (("vcpus", vcpus, 1), ("maxvcpus", most, 0)):
        if not least <= value <= MOST_VCPUS:
            raise ConfigError(f"{key} = {value} is not a number of vcpus")
    return most or vcpus, vcpus if 0 < vcpus < most else None


def _pins(known: Values, vcpus: int) -> tuple[tuple[int, ...], ...]:
    """The CPUs of each vcpu: one text is for all, a list has one entry for each; a CPU of ``cpu`` comes first.

    Differs from xm: a negative ``cpu``, which old files write for any CPU, is none.
    """
    cpus = known.get("cpus", "")
    cpu = number(known, "cpu", -1)
    if not isinstance(cpus, list):
        pins = [parse_cpus(",".join(filter(None, (str(cpu) if cpu >= 0 else "", str(cpus).strip()))))] * vcpus
    elif len(cpus) != vcpus:
        raise ConfigError("Invalid Configuration: vcpus and the item number of cpus are not same")
    elif cpu >= 0:
        raise ConfigError(f"cpu = {cpu} cannot be joined to a list of cpus", hint="leave out cpu")
    else:
        pins = [_cpus_of(item) for item in cpus]
    return tuple(pins) if any(pins) else ()


def _cpus_of(item: Value) -> tuple[int, ...]:
    """One entry of the list: a text, a number, or a list of numbers."""
    return parse_cpus(",".join(map(str, item)) if isinstance(item, list) else str(item))


def _weight(known: Values) -> int | None:
    """None where it is not given; xm does not pass on 0."""
    weight = number(known, "cpu_weight", 0)
    if not 0 <= weight <= _HIGHEST_WEIGHT:
        raise ConfigError(f"Cpu weight out of range, valid values are within range from 1 to {_HIGHEST_WEIGHT}")
    return weight or None


def _cap(known: Values, vcpus: int) -> int:
    cap = number(known, "cpu_cap", 0)
    if not 0 <= cap <= 100 * vcpus:
        raise ConfigError(
            f"Cpu cap out of range, valid range is from 0 to {100 * vcpus} for specified number of vcpus"
        )
    return cap


def _action(known: Values, event: str) -> EventAction:
    word = text(known, event)
    restart = text(known, "restart")
    if not word and restart in RESTARTS:
        word = RESTARTS[restart][list(_EVENTS).index(event)]
    if not word:
        return _DEFAULT_ACTIONS[event]
    if word not in _ACTIONS:
        raise ConfigError(f"Invalid Configuration: Invalid event handling mode: {_EVENTS[event]}")
    return _ACTIONS[word]


def _boot(known: Values, kind: GuestKind) -> Boot:
    kernel, ramdisk, cmdline = text(known, "kernel"), text(known, "ramdisk"), compose_cmdline(known)
    if kind is GuestKind.HVM:
        if boots_kernel(known):
            return KernelBoot(kernel=kernel, ramdisk=ramdisk, cmdline=cmdline)
        return FirmwareBoot(order=text(known, "boot") or "c")
    loader = text(known, "bootloader")
    if loader or not kernel:
        return LoaderBoot(bootloader=loader, args=text(known, "bootargs"), cmdline=cmdline)
    return KernelBoot(kernel=kernel, ramdisk=ramdisk, cmdline=cmdline)


def boots_kernel(known: Values) -> bool:
    """Whether a guest with builder hvm starts a kernel of the host; else kernel= is Xen's firmware."""
    kernel = text(known, "kernel")
    return bool(kernel) and kernel.rpartition("/")[2] != "hvmloader" and bool(text(known, "loader"))


def extra_arguments(known: Values) -> str:
    """``extra`` as xm passes it on: behind the NFS root. Raises ConfigError."""
    extra = text(known, "extra")
    root = text(known, "nfs_root")
    if not root:
        return extra
    server = text(known, "nfs_server")
    if not server:
        raise ConfigError("Must set nfs root and nfs server")
    return f"nfsroot={server}:{root} {extra}"


def ip_argument(known: Values) -> str:
    """The kernel's own network set-up, "" for none."""
    ip, dhcp = text(known, "ip"), text(known, "dhcp") or "off"
    if not ip and dhcp == "off":
        return ""
    fields = (
        ip, text(known, "nfs_server") or "127.0.255.255", text(known, "gateway"), text(known, "netmask"),
        text(known, "hostname"), text(known, "interface") or "eth0", dhcp,
    )  # fmt: skip
    return ":".join(fields)


def root_argument(known: Values) -> str:
    return text(known, "root").removeprefix("root=")


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
