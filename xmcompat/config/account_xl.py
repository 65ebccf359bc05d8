"""What becomes of the settings of xl's files, where that is not what becomes of xm's. Pure.

Source: xl of Xen 4.17, and which of its settings it follows for which kind of guest.
"""

from __future__ import annotations

from collections.abc import Mapping

from xmcompat.config import xl_specs
from xmcompat.config.xl import number
from xmcompat.guest import FirmwareBoot, GuestConfig, GuestKind, Value

#: Settings of the device model and of the firmware, which paravirtual guests do not have.
HVM_ONLY = frozenset(
    """boot pae hpet viridian vpt_align xen_platform_pci gfx_passthru serial soundhw usb usbdevice usbversion stdvga vga
    videoram nographic hdtype bios bios_path_override acpi_s3 acpi_s4 acpi_laptop_slate acpi_firmware
    smbios_firmware mca_caps nestedhvm ms_vm_genid mmio_hole rdm rdm_mem_boundary vendor_device altp2mhvm nx spice
    spicehost spiceport spicetls_port spicepasswd spicedisable_ticketing spiceagent_mouse spicevdagent
    spice_clipboard_sharing spiceusbredirection spice_image_compression spice_streaming_video""".split()
)
#: Settings of the one display; a paravirtual guest has it by vnc = 1, and only where it has no vfb.
_DISPLAY = frozenset(
    "vnclisten vncdisplay vncunused vncpasswd sdl opengl display xauthority keymap".split()
)
#: Settings of a kernel that the host starts.
KERNEL_ONLY = frozenset(["root", "extra", "cmdline", "ramdisk"])
#: xl's own words for what xm calls otherwise.
WORDS = {
    "cpu_cap": "cap", "bootargs": "bootloader_args", "irq": "irqs", "vusb": "usbctrl and usbdev",
    "cpu": "cpus", "restart": "on_poweroff, on_reboot and on_crash", "ip": "extra", "description": "",
}  # fmt: skip
_MODES = {
    "tsc_mode": ("default", "always_emulate", "native", "native_paravirt"),
    "timer_mode": (
        "delay_for_missed_ticks", "no_delay_for_missed_ticks", "no_missed_ticks_pending", "one_missed_tick_pending",
    ),
}  # fmt: skip


def out_of_place(guest: GuestConfig, key: str) -> str:
    """Why xl does not follow KEY for this kind of guest, "" where it does."""
    if guest.kind is not GuestKind.HVM:
        if key in HVM_ONLY:
            return "xl does not follow it for paravirtual guests either"
        if key == "vnc" and "vfb" in guest.options:
            return "xl does not follow it beside vfb either"
        if key in _DISPLAY and ("vfb" in guest.options or not guest.options.get("vnc")):
            return "xl does not follow it without vnc = 1 either, nor beside vfb"
        return ""
    if key in KERNEL_ONLY and isinstance(guest.boot, FirmwareBoot):
        return "xl does not follow it for guests that boot by BIOS either"
    return ""


def plain(key: str, value: Value) -> Value:
    """VALUE as xm would write it: a number for a text of digits, or for the name of a mode."""
    if isinstance(value, str):
        if value in _MODES.get(key, ()):
            return _MODES[key].index(value)
        found = number(value)
        return value if found is None else found
    return value


def vfb_values(text: str) -> Mapping[str, str]:
    """The keys of a frame buffer, as xl reads them; what it warns of is told by the reading."""
    return xl_specs.vfb_values(text, [])
