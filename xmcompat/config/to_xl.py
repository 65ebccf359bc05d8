"""A guest in the words of xl: the settings of a file that says the same. Pure.

Source: xm and xend of Xen 4.1, xl of Xen 4.17. Where the two take different things for granted, it is said.
"""

from __future__ import annotations

import re
import shlex

from xmcompat.config.build import boots_kernel, root_argument
from xmcompat.config.conversion import Conversion
from xmcompat.config.specs_more import cpuid_leaves
from xmcompat.config.to_xl_devices import put_devices, put_display
from xmcompat.config.xl_checks import TIMER_MODES, TSC_MODES
from xmcompat.errors import ConfigError
from xmcompat.guest import Dialect, FirmwareBoot, GuestConfig, GuestKind, KernelBoot, LoaderBoot, Value
from xmcompat.notes import Note
from xmcompat.units import format_cpus

_TYPES = {GuestKind.HVM: "hvm", GuestKind.PV: "pv", GuestKind.PVH: "pvh"}
#: Groups of the Hyper-V interface that xm's viridian = 1 stands for.
VIRIDIAN_OF_XM = ("base", "time_ref_count", "apic_assist")
_CMDLINE = (
    "root", "extra", "ip", "gateway", "netmask", "hostname", "interface", "dhcp", "nfs_server", "nfs_root",
)  # fmt: skip


def xl_values(guest: GuestConfig) -> tuple[dict[str, Value], tuple[Note, ...]]:
    """The settings of an xl file that say the same as GUEST, and what xl has no word for.

    Those of a guest of xl's are as they were. Names that no Xen tool knows are not among them.
    """
    if guest.dialect is Dialect.XL:
        return {"name": guest.name, **guest.options}, ()
    into = Conversion(guest, Dialect.XL)
    _put_identity(into)
    _put_processors(into)
    _put_boot(into)
    _put_events(into)
    if into.hvm:
        _put_platform(into)
        put_display(into)
    _put_clocks(into)
    put_devices(into)
    return into.finish()


def _put_identity(into: Conversion) -> None:
    guest = into.guest
    into.take("name", "uuid", "builder", "memory", "maxmem")
    into.put("name", guest.name)
    into.put("type", _TYPES[guest.kind])
    into.put_given(uuid=guest.uuid)
    into.put("memory", guest.memory)
    into.put_given(maxmem=guest.maxmem, shadow_memory=into.number("shadow_memory"))
    into.copy("pool")
    into.copy_numbers("nomigrate", "oos")
    for key in ("on_xend_start", "on_xend_stop"):
        if into.guest.options.get(key, "") not in ("", "ignore"):
            into.take(key)
            into.lacking(key, "no daemon of xl's starts and stops guests",
                         suggestion="link the file into /etc/xen/auto for the xendomains service")  # fmt: skip


def _put_processors(into: Conversion) -> None:
    guest = into.guest
    into.take("vcpus", "maxvcpus", "cpus", "cpu", "cpu_weight", "cpu_cap")
    into.put("vcpus", guest.vcpus_online or guest.vcpus)
    if guest.vcpus_online:
        into.put("maxvcpus", guest.vcpus)
    if guest.pins:
        pins: list[Value] = [format_cpus(cpus) or "all" for cpus in guest.pins]
        into.put("cpus", pins[0] if len(set(guest.pins)) == 1 else pins)
    into.put_given(cpu_weight=guest.weight, cap=guest.cap)
    if into.given("vcpu_avail") is not None:
        into.lacking("vcpu_avail", "xm does not pass it on either", harmless=True)
    _put_cpuid(into)


def _put_cpuid(into: Conversion) -> None:
    """xl takes the 32 bits one by one, where xm takes a number in their place."""
    try:
        leaves = cpuid_leaves(into.texts("cpuid"))
    except ConfigError:
        into.lacking("cpuid", "it is not understood")
        return
    texts: list[Value] = [
        f"{leaf}:" + ",".join(f"{register}={_bits(bits)}" for register, bits in registers.items())
        for leaf, registers in leaves.items()
    ]
    if texts:
        into.put("cpuid", texts)


def _bits(text: str) -> str:
    return f"{int(text, 16):032b}" if text.startswith("0x") and len(text) <= 10 else text


# -- boot


def _put_boot(into: Conversion) -> None:
    boot = into.guest.boot
    if isinstance(boot, FirmwareBoot):
        into.put("boot", boot.order)
        into.take("boot", "loader")
        if into.given("kernel") is not None:
            into.lacking("kernel", "it is Xen's firmware; xl brings its own", harmless=True)
        for key in (*_CMDLINE, "ramdisk", "bootloader", "bootargs"):
            if into.given(key) is not None:
                into.lacking(key, "it has no effect on a guest that boots by BIOS", harmless=True)
        return
    _put_cmdline(into, boot.cmdline)
    if isinstance(boot, KernelBoot):
        into.take("kernel", "ramdisk")
        into.put("kernel", boot.kernel)
        into.put_given(ramdisk=boot.ramdisk)
        if into.hvm and boots_kernel(into.guest.options):
            into.take("loader")
            into.copy("boot")
        return
    _put_loader(into, boot)


def _put_loader(into: Conversion, boot: LoaderBoot) -> None:
    into.take("bootloader", "bootargs")
    # without kernel and boot loader, xend takes pygrub
    into.put("bootloader", boot.bootloader or "pygrub")
    words: list[Value] = [*_words(boot.args)]
    if words:
        into.put("bootloader_args", words)
    for key in ("kernel", "ramdisk"):
        if into.given(key) is not None:
            into.lacking(key, "the boot loader takes another out of the guest's disk", harmless=True)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _put_cmdline(into: Conversion, cmdline: str) -> None:
    """xl joins root and extra, and knows nothing of addresses and NFS: these are among the words of the line."""
    into.take(*_CMDLINE)
    root = root_argument(into.guest.options)
    head = f"root={root}"
    if root and cmdline == head:
        into.put("root", root)
    elif root and cmdline.startswith(f"{head} "):
        into.put("root", root)
        into.put_given(extra=cmdline.removeprefix(f"{head} "))
    else:
        into.put_given(extra=cmdline)


def _put_events(into: Conversion) -> None:
    guest = into.guest
    into.take("on_poweroff", "on_reboot", "on_crash", "restart")
    into.put("on_poweroff", guest.on_poweroff.value)
    into.put("on_reboot", guest.on_reboot.value)
    into.put("on_crash", guest.on_crash.value)


# -- platform


def _put_platform(into: Conversion) -> None:
    if into.given("acpi") is not None:
        into.put("acpi", int(into.guest.acpi))
    into.copy_numbers("apic", "pae", "hap", "vpt_align", "xen_platform_pci", "gfx_passthru")
    into.put("hpet", into.number("hpet") or 0)
    _put_viridian(into)
    _put_mode(into, "timer_mode", TIMER_MODES)
    model = into.given("device_model")
    if model is not None and "stubdom" in str(model):
        into.lacking("device_model", "xl ignores it", suggestion="write device_model_stubdomain_override = 1")
    elif model is not None:
        into.lacking("device_model", "xl has a device model of its own", harmless=True)
    for key in ("fda", "fdb"):
        if into.given(key) is not None:
            into.lacking(key, "xl knows no floppies", suggestion="make an image of a CD of it, for disk")
    if into.given("parallel") not in (None, "none"):
        into.lacking("parallel", "xl knows no parallel ports")
    into.copy_numbers("usb")
    into.copy("soundhw", "usbdevice")
    into.take("serial")
    serials: list[Value] = [*into.guest.serials]
    if serials:
        into.put("serial", serials[0] if len(serials) == 1 else serials)


def _put_viridian(into: Conversion) -> None:
    """xm's one set of groups is fewer than xl's number stands for."""
    if isinstance(into.given("viridian"), list):
        into.lacking("viridian", "a list has no meaning to xm")
    elif into.number("viridian"):
        into.put("viridian", [*VIRIDIAN_OF_XM])


def _put_mode(into: Conversion, key: str, names: tuple[str, ...]) -> None:
    """xm counts what xl names."""
    number = into.number(key)
    if number is None:
        return
    if 0 <= number < len(names):
        into.put(key, names[number])
    else:
        into.lacking(key, f"there is no such mode; 0 to {len(names) - 1} are")


def _put_clocks(into: Conversion) -> None:
    into.take("localtime", "rtc_timeoffset")
    into.put_given(localtime=int(into.guest.localtime), rtc_timeoffset=into.guest.rtc_timeoffset)
    _put_mode(into, "tsc_mode", TSC_MODES)
    if into.guest.description:
        into.take("description")
        into.lacking("description", "xl keeps none")
    for key in ("vncviewer", "vncconsole"):
        if into.given(key) is not None:
            into.lacking(key, "xl ignores it", suggestion="start the viewer yourself", harmless=not re.search(
                "[1-9y]", str(into.guest.options[key])))  # fmt: skip
