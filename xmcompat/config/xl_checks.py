"""Words of xl's settings that must be of a certain few: xl ends where they are not. Pure.

Source: xl of Xen 4.17.
"""

from __future__ import annotations

from xmcompat.config.xl import number
from xmcompat.config.xl_values import Settings
from xmcompat.guest import EventAction, GuestKind

#: Groups of the Hyper-V interface; "!" in front takes one away.
VIRIDIAN = (
    "base", "freq", "time_ref_count", "reference_tsc", "hcall_remote_tlb_flush", "apic_assist", "crash_ctl", "stimer",
    "hcall_ipi", "synic", "ex_processor_masks", "no_vp_limit", "cpu_hotplug", "defaults", "all",
)  # fmt: skip
#: Names of the modes, in the order of their numbers.
TIMER_MODES = (
    "delay_for_missed_ticks", "no_delay_for_missed_ticks", "no_missed_ticks_pending", "one_missed_tick_pending",
)  # fmt: skip
TSC_MODES = ("default", "always_emulate", "native", "native_paravirt")
_WORDS = {
    "vga": ("none", "stdvga", "cirrus", "qxl"),
    "hdtype": ("ide", "ahci"),
    "ms_vm_genid": ("none", "generate"),
    "vendor_device": ("none", "xenserver"),
}  # fmt: skip
_ACTIONS = tuple(action.value for action in EventAction)


def check_words(settings: Settings, kind: GuestKind) -> None:
    """Raise ConfigError for a word that ends xl. What xl does not read for this kind of guest is not looked at."""
    _mode(settings, "tsc_mode", TSC_MODES)
    if "timer_mode" in settings.known and kind is GuestKind.PV:
        raise settings.error("timer_mode", '"timer_mode" is not for PV guests', "remove it from the configuration")
    _mode(settings, "timer_mode", TIMER_MODES)
    for event in ("on_watchdog", "on_soft_reset"):
        if event in settings.known and settings.text(event) not in _ACTIONS:
            raise settings.error(event, f'Unknown {event} action "{settings.text(event)}" specified')
    if kind is not GuestKind.HVM:
        return
    for key, words in _WORDS.items():
        if key in settings.known and settings.text(key) not in words:
            raise settings.error(key, f'invalid value "{settings.text(key)}" for "{key}"')
    if settings.text("gfx_passthru") not in ("", "default", "igd") and number(settings.text("gfx_passthru")) is None:
        raise settings.error("gfx_passthru", f'invalid value "{settings.text("gfx_passthru")}" for "gfx_passthru"')
    _viridian(settings)
    _usb(settings)


def _mode(settings: Settings, key: str, names: tuple[str, ...]) -> None:
    value = settings.text(key)
    if key not in settings.known or value in names:
        return
    found = number(value)
    if found is None or not 0 <= found < len(names):
        raise settings.error(key, f'invalid value "{value}" for "{key}"')


def _viridian(settings: Settings) -> None:
    value = settings.known.get("viridian")
    if isinstance(value, str) and number(value) is None:
        settings.ignore("viridian", "it is not a valid number; xl passes it over", "write 1, or a list of groups")
    elif isinstance(value, list):
        for group in settings.texts("viridian"):
            if group.removeprefix("!") not in VIRIDIAN:
                raise settings.error("viridian", f'invalid viridian group "{group}"')


def _usb(settings: Settings) -> None:
    version = settings.number("usbversion")
    if version is None:
        return
    if not 0 <= version <= 3:
        raise settings.error("usbversion", f"usbversion = {version} is none of 1, 2, 3")
    if version and (settings.number("usb") or any(settings.texts("usbdevice"))):
        raise settings.error("usbversion", "usbversion cannot be enabled with usb or usbdevice")
