"""``xm create -n``: a guest as the ``(vm ...)`` form that xm would send to xend. Pure.

Source: xm's create command, Xen 4.1: which keys are there, and in which order. Keys of a device keep the order in
which the configuration gives them.
"""

from __future__ import annotations

from collections.abc import Iterable

from xmcompat.config.build import extra_arguments, ip_argument, root_argument
from xmcompat.config.specs import vfb_values
from xmcompat.config.sxp import Long
from xmcompat.guest import GuestConfig, GuestKind, LoaderBoot, Value, Vbd, Vif

Tree = list[object]

#: The image's own block for guests that boot by BIOS, in order, with the values that xm gives where none is set.
_HVM = (
    ("acpi", 1), ("apic", 1), ("boot", "c"), ("cpuid", None), ("cpuid_check", None), ("device_model", None),
    ("display", None), ("fda", ""), ("fdb", ""), ("gfx_passthru", None), ("guest_os_type", "default"), ("hap", 1),
    ("hpet", 0), ("isa", 0), ("keymap", ""), ("localtime", 0), ("nographic", 0), ("opengl", None), ("oos", 1),
    ("pae", 1), ("pci", None), ("pci_msitranslate", 1), ("pci_power_mgmt", 0), ("rtc_timeoffset", 0), ("sdl", None),
    ("soundhw", ""), ("stdvga", 0), ("timer_mode", 1), ("usb", 0), ("usbdevice", ""), ("vcpus", 1), ("vnc", None),
    ("vncconsole", None), ("vncdisplay", None), ("vnclisten", None), ("vncunused", 1), ("viridian", 0),
    ("vpt_align", 1), ("xauthority", None), ("xen_extended_power_mgmt", None), ("xen_platform_pci", 1),
    ("memory_sharing", 0),
)  # fmt: skip

_BEFORE_VCPUS = (
    "restart", "on_poweroff", "tsc_mode", "nomigrate", "on_reboot", "on_crash", "features",
)  # fmt: skip


def dry_run(guest: GuestConfig, *, secrets: bool = True) -> Tree:
    """The form. Without SECRETS, passwords are left out: it then may travel where others can read it."""
    options = guest.options
    tree: Tree = ["vm", ["name", guest.name], ["memory", guest.memory]]
    tree += _given((("maxmem", guest.maxmem), ("shadow_memory", options.get("shadow_memory"))))
    tree += _given((key, options.get(key)) for key in _BEFORE_VCPUS)
    tree += [["on_xend_start", options.get("on_xend_start", "ignore")]]
    tree += [["on_xend_stop", options.get("on_xend_stop", "ignore")]]
    tree += _given(
        (key, options.get(key))
        for key in (
            "target", "cpuid", "cpuid_check", "machine_address_size", "suppress_spurious_page_faults", "description",
        )
    )
    if options.get("maxvcpus"):
        tree.append(["vcpu_avail", Long((1 << (guest.vcpus_online or guest.vcpus)) - 1)])
    tree.append(["vcpus", guest.vcpus])
    tree += _given((("uuid", guest.uuid),))
    tree += _given((key, options.get(key)) for key in ("cpu", "cpus", "cpu_cap", "cpu_weight", "localtime"))
    tree.append(["oos", options.get("oos", 1)])
    tree += _given((("pool_name", options.get("pool")),))
    if isinstance(guest.boot, LoaderBoot) and guest.boot.bootloader:
        tree += [["bootloader", guest.boot.bootloader], ["bootloader_args", guest.boot.args or "-q"]]
    tree.append(["image", _image(guest, secrets=secrets)])
    tree.append(["s3_integrity", options.get("s3_integrity", 1)])
    return tree + _devices(guest, secrets=secrets)


def _given(pairs: Iterable[tuple[str, object]]) -> Tree:
    """Those with a value that is neither empty nor zero."""
    return [[key, value] for key, value in pairs if value]


def _image(guest: GuestConfig, *, secrets: bool) -> Tree:
    options, hvm = guest.options, guest.kind is GuestKind.HVM
    image: Tree = ["hvm" if hvm else "linux"]
    image += _given(
        (
            ("kernel", options.get("kernel")),
            ("ramdisk", options.get("ramdisk")),
            ("loader", options.get("loader")),
            ("ip", ip_argument(options)),
            ("root", root_argument(options)),
            ("videoram", options.get("videoram", 4)),
            ("parallel", options.get("parallel")),
            ("serial", options.get("serial")),
            ("monitor_path", options.get("monitor_path")),
            ("monitor", options.get("monitor")),
            ("args", extra_arguments(options)),
            ("superpages", options.get("superpages")),
        )
    )
    if hvm:
        image += [[key, value] for key, value in _hvm_values(guest) if value is not None]
        if secrets and "vncpasswd" in options:
            image.append(["vncpasswd", options["vncpasswd"]])
    image += _given(
        (key, options.get(key)) for key in ("vhpt", "machine_address_size", "suppress_spurious_page_faults")
    )
    return [*image, ["tsc_mode", options.get("tsc_mode", 0)], ["nomigrate", options.get("nomigrate", 0)]]


def _hvm_values(guest: GuestConfig) -> Iterable[tuple[str, Value | None]]:
    for key, default in _HVM:
        yield key, guest.vcpus if key == "vcpus" else guest.options.get(key, default)


def _devices(guest: GuestConfig, *, secrets: bool) -> Tree:
    devices: Tree = [["device", _vbd(disk)] for disk in guest.disks]
    devices += [["device", ["vif", *_vif(vif)]] for vif in guest.vifs]
    frame_buffers = guest.options.get("vfb", [])
    for text in frame_buffers if isinstance(frame_buffers, list) else []:
        values = vfb_values(str(text))
        if not secrets:
            values.pop("vncpasswd", None)
        devices += [["device", ["vkbd"]], ["device", ["vfb", *([key, value] for key, value in values.items())]]]
    return devices


def _vbd(disk: Vbd) -> Tree:
    protocol = disk.protocol.split(":")[0]
    name = ("ioemu:" if disk.ioemu else "") + disk.vdev + (":cdrom" if disk.cdrom else "")
    tree: Tree = [protocol if protocol in ("tap", "tap2") else "vbd"]
    tree += [["uname", disk.uname], ["dev", name], ["mode", disk.mode.value]]
    return tree + _given((("backend", disk.backend), ("protocol", disk.abi)))


def _vif(vif: Vif) -> Tree:
    names = ("bridge", "mac", "ip", "script", "type", "model", "vifname", "rate", "backend", "accel", "policy", "label")
    return _given((name, getattr(vif, name)) for name in names)
