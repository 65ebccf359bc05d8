"""The ``(domain ...)`` form of ``xm list --long``. Pure: a tree of lists, texts and numbers comes out.

Keys and their order are those of xend 4.1. Differs from xm: ``store_mfn`` and ``console_mfn`` are 0, since KVM has no
such pages; ``device_model`` is shown only where the configuration names one.
"""

from __future__ import annotations

from xmcompat.render.state import letters, power_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from xmcompat.backends.hypervisor import DomainInfo
    from xmcompat.backends.machine import Machine

Tree = list[object]
#: The first list of each head in a tree.
Heads = dict[str, Tree]

#: MiB, as xend shows a domain without limit.
NO_LIMIT = 16777215
VIF_SCRIPT = "/etc/xen/scripts/vif-bridge"

#: Classes of devices in the order in which xend shows them.
CLASSES = (
    "tap2", "vif", "vkbd", "ioports", "tap", "vif2", "console", "vscsi", "vbd", "irq", "vfb", "pci", "vusb", "vtpm",
)  # fmt: skip

#: Settings of the image that are shown, those of paravirtual guests first.
PLATFORM = (
    "videoram", "localtime", "nomigrate", "tsc_mode", "device_model", "keymap", "acpi", "apic", "boot", "loader",
    "display", "fda", "fdb", "isa", "monitor", "monitor_path", "nographic", "pae", "rtc_timeoffset", "parallel",
    "serial", "sdl", "opengl", "soundhw", "stdvga", "usb", "usbdevice", "hpet", "vnc", "vncconsole", "vncdisplay",
    "vnclisten", "timer_mode", "vpt_align", "viridian", "vncpasswd", "vncunused", "xauthority", "pci", "vhpt",
    "guest_os_type", "hap", "xen_extended_power_mgmt", "pci_msitranslate", "pci_power_mgmt", "xen_platform_pci",
    "gfx_passthru", "oos",
)  # fmt: skip

#: Settings that a configuration may leave to xend.
UPKEEP = (("shadow_memory", 0), ("features", ""), ("on_xend_start", "ignore"), ("on_xend_stop", "ignore"))

#: The obsolete ``restart`` option: what it makes of on_poweroff, on_reboot, on_crash.
RESTART = {"onreboot": ("destroy", "restart", "destroy"), "always": ("restart", "restart", "restart")}

#: libvirt's boot devices in Xen's letters.
BOOT_LETTERS = {"fd": "a", "hd": "c", "cdrom": "d", "network": "n"}


def domain_tree(
    info: DomainInfo, vm: Tree | None, *, start_time: float | None = None, machine: Machine | None = None
) -> Tree:
    """The form of one domain.

    VM is the ``(vm ...)`` form it was started from; where there is none, MACHINE tells what is known of it. With
    neither (Domain-0) there are no devices. START_TIME is Unix time.
    """
    form = vm if vm is not None else form_of(machine) if machine is not None else _FORM_OF_DOMAIN0
    known = _heads(form)
    there = info.domid is not None
    dom0 = info.domid == 0
    tree: Tree = ["domain"]
    if there:
        tree.append(["domid", info.domid])
    tree += _settings(info, known)
    maxmem = NO_LIMIT if dom0 else _limit(info, known)
    tree += [["maxmem", maxmem], ["memory", info.memory // 1024]]
    tree += [[key, _value(known, key, default)] for key, default in UPKEEP]
    if start_time is not None and not dom0:
        tree.append(["start_time", _seconds(start_time)])
    if there:
        tree += [["cpu_time", _seconds(info.cpu_time / 1e9)], ["online_vcpus", info.vcpus]]
    cpu = _value(known, "cpu", None)
    if cpu is not None:
        tree.append(["cpu", cpu])
    tree.append(["image", _image(_value(known, "image", ["linux"]))])
    tree.append(["status", power_number(info.state)])
    if there:
        tree.append(["state", letters(info.state)])
        if not dom0:
            tree += [["store_mfn", 0], ["console_mfn", 0]]
    tree += _devices(info, form)
    return tree


def _seconds(time: float) -> float:
    """With twelve digits at most, as xend shows a float."""
    return float(f"{time:.12g}")


def _settings(info: DomainInfo, known: Heads) -> list[object]:
    """The keys between ``domid`` and ``maxmem``."""
    poweroff, reboot, crash = RESTART.get(str(_value(known, "restart", "")), ("destroy", "restart", "restart"))
    vcpus = int(str(_value(known, "vcpus", info.vcpus)))
    cpus = _affinity(_value(known, "cpus", ""), vcpus)
    return [
        ["cpu_weight", _value(known, "cpu_weight", 256)],
        ["cpu_cap", _value(known, "cpu_cap", 0)],
        ["pool_name", _value(known, "pool_name", "Pool-0")],
        ["bootloader", _value(known, "bootloader", "")],
        ["vcpus", vcpus],
        *([["cpus", cpus]] if cpus else []),
        ["on_poweroff", _value(known, "on_poweroff", poweroff)],
        ["description", _value(known, "description", "")],
        ["on_crash", _value(known, "on_crash", crash)],
        ["uuid", info.uuid],
        ["bootloader_args", _value(known, "bootloader_args", "")],
        ["name", info.name],
        ["on_reboot", _value(known, "on_reboot", reboot)],
    ]


def _heads(tree: Tree) -> Heads:
    known: Heads = {}
    for child in tree[1:]:
        if isinstance(child, list) and child and isinstance(child[0], str):
            known.setdefault(child[0], child)
    return known


def _value(known: Heads, key: str, default: object) -> object:
    """The value of the list with the head KEY; DEFAULT where there is none, or it has no value."""
    child = known.get(key)
    return default if child is None or len(child) < 2 else child[1]


def _limit(info: DomainInfo, known: Heads) -> int:
    """MiB: what the domain can have at most, or less where ``mem-max`` has said so."""
    most = info.max_memory // 1024
    kept = str(_value(known, "maxmem", ""))
    return min(most, int(kept)) if kept.isdecimal() and int(kept) > 0 else most


def _affinity(cpus: object, vcpus: int) -> list[list[int]]:
    """For each vcpu the cpus it may use; empty lists for any. CPUS is "0-3,^1", or a list with an item a vcpu."""
    items = cpus if isinstance(cpus, list) else [cpus] * vcpus
    return [_cpu_list(item) for item in items]


def _cpu_list(item: object) -> list[int]:
    """ "0-3,^1" is 0, 2, 3, read from left to right; what is not understood is left out."""
    if isinstance(item, list):
        return [int(str(cpu)) for cpu in item]
    chosen: set[int] = set()
    for part in str(item).replace(" ", "").split(","):
        first, _, last = part.lstrip("^").partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            continue
        cpus = range(int(first), int(last or first) + 1)
        chosen = chosen.difference(cpus) if part.startswith("^") else chosen.union(cpus)
    return sorted(chosen)


def _image(image: object) -> Tree:
    """The image with kernel, ramdisk, the composed command line, and the settings that were given."""
    tree = image if isinstance(image, list) else ["linux"]
    known = _heads(tree)
    hvm = tree[0] == "hvm"
    kernel = _value(known, "kernel", "")
    shown: Tree = [tree[0], ["kernel", "" if hvm else kernel]]
    if ramdisk := _value(known, "ramdisk", ""):
        shown.append(["ramdisk", ramdisk])
    if args := _command_line(known):
        shown.append(["args", args])
    shown.append(["superpages", _value(known, "superpages", 0)])
    for key in PLATFORM:
        default = kernel if hvm and key == "loader" else 0 if key in ("nomigrate", "tsc_mode") else None
        value = _value(known, key, default)
        if value is not None:
            shown.append([key, value])
    return shown


def _command_line(image: Heads) -> str:
    """``root=R ip=I EXTRA``, each part left out where the rest has it already, as xend composes it."""
    line = str(_value(image, "args", ""))
    for key in ("ip", "root"):
        value = str(_value(image, key, ""))
        if value and f"{key}=" not in line:
            line = f"{key}={value} {line}"
    return line


# -- devices


def _devices(info: DomainInfo, form: Tree) -> list[object]:
    """The ``(device ...)`` forms, by class; within a class in the order of the configuration."""
    configured = [child[1] for child in form[1:] if isinstance(child, list) and child[0] == "device" and child[1:]]
    devices = [device for device in configured if isinstance(device, list) and device]
    bootable = next((device for device in devices if device[0] in ("vbd", "tap", "tap2")), None)
    shown: list[object] = []
    for name in (*CLASSES, *sorted({str(device[0]) for device in devices}.difference(CLASSES))):
        for index, device in enumerate(device for device in devices if device[0] == name):
            shown.append(["device", _device(info, device, index, bootable=device is bootable)])
    return shown


def _device(info: DomainInfo, device: Tree, index: int, *, bootable: bool) -> Tree:
    name = str(device[0])
    there = info.domid is not None
    known = {str(child[0]): child for child in device[1:] if isinstance(child, list) and len(child) > 1}
    uuid = _value(_heads(device), "uuid", None)
    known["uuid"] = ["uuid", _uuid(info, f"{name}/{index}") if uuid is None else uuid]
    if name in ("vbd", "tap", "tap2"):
        order = _complete_disk(known, there=there, bootable=bootable)
    elif name == "vif":
        order = ("bridge", "mac", "script", "uuid", "backend", "ip", "type", "vifname", "rate", "model", "accel")
        if there:
            known.setdefault("script", ["script", VIF_SCRIPT])
    elif name == "vkbd":
        order = ("backend",) if there else ("uuid",)
        known = {key: child for key, child in known.items() if there or key == "uuid"}
        if there:
            known.pop("uuid")
    else:
        order = ("type", "vncdisplay", "vnclisten", "vncpasswd", "vncunused", "display", "xauthority", "keymap",
                 "vnc", "sdl", "uuid", "location", "protocol", "opengl")  # fmt: skip
    if there and name != "vfb":
        known.setdefault("backend", ["backend", 0])
    ordered = [known.pop(key) for key in order if key in known]
    return [name, *ordered, *known.values()]


def _uuid(info: DomainInfo, device: str) -> str:
    """Of a DEVICE that has none: the same at each call, since nothing keeps one."""
    from uuid import UUID, uuid5

    return str(uuid5(UUID(info.uuid), device))


def _complete_disk(known: dict[str, Tree], *, there: bool, bootable: bool) -> tuple[str, ...]:
    """Add what xend adds to a disk; returns the order of its keys."""
    known["bootable"] = ["bootable", 1 if bootable else 0]
    vdev = str(known["dev"][1]) if "dev" in known else ""
    if not there:
        known["driver"] = ["driver", "ioemu" if vdev.startswith("ioemu:") else "paravirtualised"]
        return ("uuid", "bootable", "driver", "dev", "uname", "mode")
    if vdev:
        vdev = vdev.removeprefix("ioemu:")
        known["dev"] = ["dev", vdev if ":" in vdev else f"{vdev}:disk"]
    known["VDI"] = ["VDI", ""]
    return ("protocol", "uuid", "bootable", "dev", "uname", "mode", "backend", "VDI")


# -- domains that xm did not start

_FORM_OF_DOMAIN0: Tree = ["vm", ["image", ["linux", ["kernel", ""]]]]


def form_of(machine: Machine) -> Tree:
    """MACHINE as the configuration that would have said so, as far as it goes."""
    form: Tree = ["vm"]
    form += [["vcpus", machine.vcpus], ["description", machine.description]]
    form += [["on_poweroff", machine.on_poweroff], ["on_reboot", machine.on_reboot], ["on_crash", machine.on_crash]]
    form.append(["image", _image_of(machine)])
    form += [["device", _disk_of(disk)] for disk in machine.disks]
    for nic in machine.nics:
        given = (("bridge", nic.bridge), ("mac", nic.mac), ("vifname", nic.target), ("model", nic.model))
        form.append(["device", ["vif", *([key, value] for key, value in given if value)]])
    for graphics in machine.graphics:
        listen: Sequence[object] = [["vnclisten", graphics.listen]] if graphics.listen else []
        display: Sequence[object] = [["vncdisplay", graphics.port - 5900]] if graphics.port else []
        form.append(["device", ["vfb", *display, *listen, [graphics.type, 1]]])
    return form


def _image_of(machine: Machine) -> Tree:
    from xmcompat.backends.machine import DirectKernel

    boot = machine.boot
    if isinstance(boot, DirectKernel):
        return ["linux", ["kernel", boot.kernel], ["ramdisk", boot.initrd], ["args", boot.cmdline]]
    order = "".join(BOOT_LETTERS.get(word, "") for word in boot.order)
    acpi, apic = int(machine.acpi), int(machine.apic)
    return ["hvm", ["kernel", ""], ["acpi", acpi], ["apic", apic], ["boot", order or "c"]]


def _disk_of(disk: object) -> Tree:
    from xmcompat.backends.machine import BlockSource, Disk, DiskDevice, FileSource

    assert isinstance(disk, Disk)
    source = disk.source
    if source is None:
        uname = ""
    elif isinstance(source, FileSource):
        uname = f"file:{source.path}"
    elif isinstance(source, BlockSource):
        uname = f"phy:{source.path}"
    else:
        uname = f"{source.protocol}:{source.name}"
    dev = (disk.vdev or disk.target) + ("" if disk.device is DiskDevice.DISK else ":cdrom")
    mode = "r" if disk.readonly else "w!" if disk.shareable else "w"
    return ["vbd", ["dev", dev], ["uname", uname], ["mode", mode]]
