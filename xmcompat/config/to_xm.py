"""A guest in the words of xm: the settings of a file that says the same. Pure.

Source: xm and xend of Xen 4.1, xl of Xen 4.17. Where the two take different things for granted, it is said.
"""

from __future__ import annotations

import re

from xmcompat.config.build import compose_cmdline
from xmcompat.config.conversion import Conversion
from xmcompat.config.specs_more import check
from xmcompat.config.to_xl import VIRIDIAN_OF_XM
from xmcompat.config.to_xm_devices import put_devices, put_display
from xmcompat.config.xl_checks import TIMER_MODES, TSC_MODES
from xmcompat.errors import ConfigError
from xmcompat.guest import Dialect, EventAction, FirmwareBoot, GuestConfig, GuestKind, KernelBoot, LoaderBoot, Value
from xmcompat.notes import Note
from xmcompat.units import format_cpus

_PV_GRUBS = ("pvgrub32", "pvgrub64")
_BIOS = ("bios", "seabios", "rombios")
_FIRMWARE = ("firmware", "bios")


def xm_values(guest: GuestConfig) -> tuple[dict[str, Value], tuple[Note, ...]]:
    """The settings of an xm file that say the same as GUEST, and what xm has no word for.

    Those of a guest of xm's, or of an SXP form, are as they were read. Names that no Xen tool knows are not among them.
    """
    if guest.dialect is not Dialect.XL:
        return {"name": guest.name, **guest.options}, ()
    into = Conversion(guest, Dialect.XM)
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
    into.take("name", "uuid", "builder", "type", "memory", "maxmem")
    into.put("name", guest.name)
    into.put("builder", "hvm" if into.hvm else "linux")
    if guest.kind is GuestKind.PVH:
        into.approximated("type", "xm knows no PVH; it is a paravirtual guest",
                          suggestion="see that its kernel runs as one")  # fmt: skip
    into.put_given(uuid=guest.uuid)
    into.put("memory", guest.memory)
    into.put_given(maxmem=guest.maxmem, shadow_memory=into.number("shadow_memory"))
    into.copy("pool")
    into.copy_numbers("nomigrate", "oos")


def _put_processors(into: Conversion) -> None:
    guest = into.guest
    into.take("vcpus", "maxvcpus", "cpus", "cpu_weight", "cap")
    into.put("vcpus", guest.vcpus_online or guest.vcpus)
    if guest.vcpus_online:
        into.put("maxvcpus", guest.vcpus)
    if guest.pins:
        pins: list[Value] = [format_cpus(cpus) for cpus in guest.pins]
        into.put("cpus", pins[0] if len(set(guest.pins)) == 1 else pins)
    if any(re.search("node", text) for text in into.texts("cpus")):
        into.approximated("cpus", "which CPUs these are depends on the host of the guest; its vcpus may run anywhere",
                          suggestion="write the numbers of the CPUs")  # fmt: skip
    into.put_given(cpu_weight=guest.weight, cpu_cap=guest.cap)
    masks = into.given("cpuid")
    if isinstance(masks, list):
        try:
            check("cpuid", [str(mask) for mask in masks])
            into.put("cpuid", masks)
        except ConfigError as error:
            into.lacking("cpuid", f"left out: {error.message}")
    elif masks is not None:
        into.lacking("cpuid", "xm takes masks of bits alone", suggestion="write LEAF:REGISTER=BITS")
    if into.number("nx") == 0:
        into.lacking("nx", "xm cannot hide the NX bit")


# -- boot


def _put_boot(into: Conversion) -> None:
    boot = into.guest.boot
    into.take("kernel", "ramdisk", "root", "extra", "cmdline", "bootloader", "bootloader_args")
    if isinstance(boot, FirmwareBoot):
        into.take("boot", *_FIRMWARE)
        into.put("kernel", "hvmloader")
        into.put("boot", boot.order)
        _tell_firmware(into, boot.firmware)
        _tell_idle(into, ("ramdisk", "root", "extra", "cmdline"), "it has no effect on a guest that boots by BIOS")
        return
    _put_cmdline(into, boot.cmdline)
    if isinstance(boot, KernelBoot):
        into.put("kernel", boot.kernel)
        into.put_given(ramdisk=boot.ramdisk)
        if into.hvm:
            into.put("loader", "hvmloader")  # what makes xm take kernel for the guest's
            into.copy("boot")
        return
    _put_loader(into, boot)


def _put_loader(into: Conversion, boot: LoaderBoot) -> None:
    loader = boot.bootloader
    if loader in _PV_GRUBS:
        into.take("firmware")
        into.approximated("firmware", "xm knows no such word; pygrub reads the same menu, on the host")
        loader = "pygrub"
    into.put("bootloader", loader)
    into.put_given(bootargs=boot.args)
    _tell_idle(into, ("kernel", "ramdisk"), "the boot loader takes another out of the guest's disk")


def _tell_idle(into: Conversion, keys: tuple[str, ...], reason: str) -> None:
    for key in keys:
        if into.given(key) is not None:
            into.lacking(key, reason, harmless=True)


def _tell_firmware(into: Conversion, firmware: str) -> None:
    key = next((name for name in _FIRMWARE if into.given(name) is not None), "")
    if key and firmware in _BIOS:
        into.lacking(key, "xm has a BIOS of its own", harmless=True)
    elif key:
        into.lacking(key, "xm knows no firmware but its BIOS; a guest that needs UEFI does not start")


def _put_cmdline(into: Conversion, cmdline: str) -> None:
    """root and extra; xm leaves out a root that extra names again."""
    line = cmdline.rstrip()
    root = str(into.given("root") or "")
    head = f"root={root} "
    split: dict[str, Value] = {"root": root, "extra": line.removeprefix(head)}
    if line == head.rstrip():
        split["extra"] = ""
    if not root or compose_cmdline(split) != line:
        split = {"extra": line}
    into.put_given(**split)


def _put_events(into: Conversion) -> None:
    guest = into.guest
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        into.take(event)
        action: EventAction = getattr(guest, event)
        if action is EventAction.SOFT_RESET:
            into.approximated(event, "xm knows no soft reset; the domain is started anew")
            action = EventAction.RESTART
        into.put(event, action.value)


# -- platform


def _put_platform(into: Conversion) -> None:
    if into.given("acpi") is not None:
        into.put("acpi", int(into.guest.acpi))
    into.copy_numbers("apic", "pae", "hap", "vpt_align", "xen_platform_pci")
    hpet = into.number("hpet")
    into.put("hpet", 1 if hpet is None else hpet)
    _put_viridian(into)
    _put_mode(into, "timer_mode", TIMER_MODES)
    passed = into.given("gfx_passthru")
    if passed in ("igd", "default"):
        into.put("gfx_passthru", 1)
    else:
        into.copy_numbers("gfx_passthru")
    into.copy("soundhw")
    into.take("serial")
    serials: list[Value] = [*into.guest.serials]
    if serials:
        into.put("serial", serials[0] if len(serials) == 1 else serials)


def _put_viridian(into: Conversion) -> None:
    """xm has one set of the interface's groups, on or off."""
    groups = into.given("viridian")
    if isinstance(groups, list):
        wanted = {str(group) for group in groups if not str(group).startswith("!")}
    else:
        wanted = {"defaults"} if into.number("viridian") else set()
    if groups is not None:
        into.put("viridian", int(bool(wanted)))
    if wanted and wanted != set(VIRIDIAN_OF_XM):
        into.approximated("viridian", f"xm has one set of groups, on or off: {', '.join(VIRIDIAN_OF_XM)}")


def _put_mode(into: Conversion, key: str, names: tuple[str, ...]) -> None:
    """xl names what xm counts."""
    value = into.given(key)
    if value in names:
        into.put(key, names.index(str(value)))
    else:
        into.copy_numbers(key)


def _put_clocks(into: Conversion) -> None:
    into.take("localtime", "rtc_timeoffset")
    into.put_given(localtime=int(into.guest.localtime), rtc_timeoffset=into.guest.rtc_timeoffset)
    _put_mode(into, "tsc_mode", TSC_MODES)
