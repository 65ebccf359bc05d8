"""``xm create -n``: a guest as the ``(vm ...)`` form that xm would send to xend. Pure.

Source: xm's create command, Xen 4.1: which keys are there, and in which order. Differs from xm: keys of a frame
buffer keep the order in which the configuration gives them, those of an interface have a fixed one; xm's had none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xmcompat.config.build import extra_arguments, ip_argument, root_argument
from xmcompat.config.specs import vfb_values
from xmcompat.config.specs_more import TREES, access_control_pair, cpuid_literal, pci_trees
from xmcompat.config.sxp import Long
from xmcompat.disk_logins import without_password
from xmcompat.guest import GuestConfig, GuestKind, LoaderBoot, Value, Vbd, Vif

Tree = list[object]

#: The image's own block for guests that boot by BIOS, in order, with the values that xm gives where none is set.
_HVM: tuple[tuple[str, Value | None], ...] = (
    ("acpi", 1), ("apic", 1), ("boot", "c"), ("cpuid_check", []), ("device_model", None),
    ("display", None), ("fda", ""), ("fdb", ""), ("gfx_passthru", None), ("guest_os_type", "default"), ("hap", 1),
    ("hpet", 0), ("isa", 0), ("keymap", ""), ("localtime", 0), ("nographic", 0), ("opengl", None), ("oos", 1),
    ("pae", 1), ("pci", []), ("pci_msitranslate", 1), ("pci_power_mgmt", 0), ("rtc_timeoffset", 0), ("sdl", None),
    ("soundhw", ""), ("stdvga", 0), ("timer_mode", 1), ("usb", 0), ("usbdevice", ""), ("vcpus", 1), ("vnc", None),
    ("vncconsole", None), ("vncdisplay", None), ("vnclisten", None), ("vncunused", 1), ("viridian", 0),
    ("vpt_align", 1), ("xauthority", None), ("xen_extended_power_mgmt", None), ("xen_platform_pci", 1),
    ("memory_sharing", 0),
)  # fmt: skip

_BEFORE_VCPUS = (
    "restart", "on_poweroff", "tsc_mode", "nomigrate", "on_reboot", "on_crash", "features",
)  # fmt: skip


def dry_run(guest: GuestConfig, *, secrets: bool = True, environ: Mapping[str, str] | None = None) -> Tree:
    """The form. Without SECRETS, passwords are left out: it then may travel where others can read it.

    ENVIRON gives the X display and authority that xm adds to each display of the guest (HOME, XAUTHORITY, DISPLAY).
    """
    options = guest.options
    tree: Tree = ["vm", ["name", guest.name], ["memory", guest.memory]]
    tree += _given((("maxmem", guest.maxmem), ("shadow_memory", options.get("shadow_memory"))))
    tree += _given((key, options.get(key)) for key in _BEFORE_VCPUS)
    tree += [["on_xend_start", options.get("on_xend_start", "ignore")]]
    tree += [["on_xend_stop", options.get("on_xend_stop", "ignore")]]
    tree += _given((("target", options.get("target")),))
    tree += _given((key, _cpuid(options.get(key))) for key in ("cpuid", "cpuid_check"))
    tree += _given(
        (key, options.get(key)) for key in ("machine_address_size", "suppress_spurious_page_faults", "description")
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
    x_keys = _x_keys(environ or {})
    tree.append(["image", _image(guest, x_keys, secrets=secrets)])
    tree.append(["s3_integrity", options.get("s3_integrity", 1)])
    return tree + _security(options) + _devices(guest, x_keys, secrets=secrets)


def _x_keys(environ: Mapping[str, str]) -> dict[str, str]:
    home = environ.get("HOME")
    authority = environ.get("XAUTHORITY") or (f"{home.rstrip('/')}/.Xauthority" if home else "")
    keys = {"display": environ.get("DISPLAY", ""), "xauthority": authority}
    return {key: value for key, value in keys.items() if value}


def _texts(options: Mapping[str, Value], key: str) -> list[str]:
    items = options.get(key, [])
    return [str(item) for item in items] if isinstance(items, list) else []


def _cpuid(value: Value | None) -> object:
    """Masks are a dictionary in the text of the form."""
    return cpuid_literal([str(item) for item in value]) if isinstance(value, list) and value else value


def _security(options: Mapping[str, Value]) -> Tree:
    entries = _texts(options, "access_control")
    if not entries:
        return []
    policy, label = access_control_pair(entries)
    return [["security", [["access_control", ["policy", policy], ["label", label]]]]]


def _given(pairs: Iterable[tuple[str, object]]) -> Tree:
    """Those with a value that is neither empty nor zero."""
    return [[key, value] for key, value in pairs if value]


def _image(guest: GuestConfig, x_keys: Mapping[str, str], *, secrets: bool) -> Tree:
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
        image += [[key, value] for key, value in _hvm_values(guest, x_keys) if value is not None]
        if secrets and "vncpasswd" in options:
            image.append(["vncpasswd", options["vncpasswd"]])
    image += _given(
        (key, options.get(key)) for key in ("vhpt", "machine_address_size", "suppress_spurious_page_faults")
    )
    return [*image, ["tsc_mode", options.get("tsc_mode", 0)], ["nomigrate", options.get("nomigrate", 0)]]


def _hvm_values(guest: GuestConfig, x_keys: Mapping[str, str]) -> Iterable[tuple[str, object]]:
    for key, default in _HVM:
        value: object = guest.options.get(key, x_keys.get(key, default))
        if key == "vcpus":
            value = guest.vcpus
        elif key == "pci":
            value = [_pci_row(tree) for text in _texts(guest.options, "pci") for tree in pci_trees(text)]
        elif key == "cpuid_check":
            value = _cpuid(guest.options.get(key, []))
        yield key, value


def _pci_row(tree: Tree) -> Tree:
    """(DOMAIN BUS SLOT FUNC VDEVFN (OPTIONS) KEY): a PCI device as it stands in the image."""
    known = {str(item[0]): item[1:] for item in tree[1:] if isinstance(item, list)}
    numbers = [known[name][0] for name in ("domain", "bus", "slot", "func", "vdevfn")]
    return [*numbers, list(known.get("opts", [])), known["key"][0]]


def _devices(guest: GuestConfig, x_keys: Mapping[str, str], *, secrets: bool) -> Tree:
    """The devices, in the order of their classes that xm keeps."""
    options = guest.options
    devices: Tree = [["device", vbd_form(disk, secrets=secrets)] for disk in guest.disks]
    functions = [tree for text in _texts(options, "pci") for tree in pci_trees(text)]
    devices += [["device", ["pci", *functions]]] if functions else []
    devices += [["device", TREES[kind](text)] for kind in ("vscsi", "vusb") for text in _texts(options, kind)]
    second = _texts(options, "vif2")  # they are the last of the interfaces
    devices += [["device", vif_form(vif)] for vif in guest.vifs[: len(guest.vifs) - len(second)]]
    devices += [["device", TREES["vif2"](text)] for text in second]
    devices += [["device", TREES["vtpm"](text)] for text in _texts(options, "vtpm")[:1]]
    for text in _texts(options, "vfb"):
        values = {**vfb_values(text)}
        values |= {key: value for key, value in x_keys.items() if key not in values}
        if not secrets:
            values.pop("vncpasswd", None)
        devices += [["device", ["vkbd"]], ["device", ["vfb", *([key, value] for key, value in values.items())]]]
    return devices


def vbd_form(disk: Vbd, *, secrets: bool = True) -> Tree:
    """``(vbd (uname ...) ...)``, or of another class of disks. Without SECRETS as for ``dry_run``."""
    protocol = disk.protocol.split(":")[0]
    name = ("ioemu:" if disk.ioemu else "") + disk.vdev + (":cdrom" if disk.cdrom else "")
    tree: Tree = [protocol if protocol in ("tap", "tap2") else "vbd"]
    tree += [["uname", disk.uname if secrets else without_password(disk.uname)], ["dev", name], ["mode", disk.mode.value]]
    return tree + _given((("backend", disk.backend), ("protocol", disk.abi)))


def vif_form(vif: Vif) -> Tree:
    """``(vif (mac ...) ...)``."""
    names = ("bridge", "mac", "ip", "script", "type", "model", "vifname", "rate", "backend", "accel", "policy", "label")
    return ["vif", *_given((name, getattr(vif, name)) for name in names)]
