"""What Windows is shown of Hyper-V, by the groups of Xen's viridian option. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator
from xmcompat.guest import Dialect, GuestConfig, GuestKind
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import flag, given, texts

_DEFAULTS = ("base", "freq", "time_ref_count", "apic_assist", "crash_ctl", "stimer", "no_vp_limit", "cpu_hotplug")
#: What xm's number stands for.
_XM_GROUPS = frozenset(["base", "time_ref_count", "apic_assist"])

#: libvirt's names, each with all that it needs.
_NAMES = {
    "base": ("relaxed", "vapic", "spinlocks", "vpindex"),
    "freq": ("frequencies",),
    "apic_assist": ("vapic",),
    "synic": ("vpindex", "synic"),
    "stimer": ("vpindex", "synic", "stimer"),
    "hcall_remote_tlb_flush": ("vpindex", "tlbflush"),
    "hcall_ipi": ("vpindex", "ipi"),
}
_CLOCK = frozenset(["time_ref_count", "reference_tsc", "stimer"])
_PANIC = "crash_ctl"
_WITHOUT_NAMES = ("time_ref_count", "reference_tsc", "crash_ctl", "ex_processor_masks", "no_vp_limit", "cpu_hotplug")
_ALL = (*_NAMES, *_WITHOUT_NAMES)
_SETS = {"defaults": _DEFAULTS, "all": _ALL}

#: The order in which libvirt writes them.
_ORDER = ("relaxed", "vapic", "spinlocks", "vpindex", "synic", "stimer", "frequencies", "tlbflush", "ipi")


@dataclass(frozen=True, slots=True, kw_only=True)
class Enlightenments:
    """``names`` are libvirt's; ``clock_timer`` asks for the timer "hypervclock", ``panic`` for a panic device of
    model "hyperv"."""

    names: tuple[str, ...] = ()
    clock_timer: bool = False
    panic: bool = False


def hyperv(guest: GuestConfig, facts: HostFacts, findings: Findings) -> Enlightenments:
    """None for a paravirtual guest, and none where no KVM is: QEMU's emulator has no Hyper-V interface."""
    groups = _groups(guest, findings) if guest.kind is GuestKind.HVM else frozenset()
    if not groups:
        return Enlightenments()
    if facts.accelerator is not Accelerator.KVM:
        findings.no_meaning("viridian", "the Hyper-V interface goes with KVM alone, and this guest is emulated")
        return Enlightenments()
    names = {name for group in groups for name in _NAMES.get(group, ())}
    return Enlightenments(
        names=tuple(name for name in _ORDER if name in names),
        clock_timer=bool(groups & _CLOCK),
        panic=_PANIC in groups,
    )


def _groups(guest: GuestConfig, findings: Findings) -> frozenset[str]:
    """The groups of a list, less those with "!" in front wherever they stand; a number is for xl's defaults, or xm's
    one set. A list says nothing to xm."""
    value = given(guest, "viridian")
    if isinstance(value, list) and guest.dialect is not Dialect.XL:
        if value:
            findings.no_meaning("viridian", "xm takes a number; groups are xl's", value=str(value), suggestion="write 1")
        return frozenset()
    if not isinstance(value, list):
        wanted = flag(guest, "viridian", False)
        own = _XM_GROUPS if guest.dialect is not Dialect.XL else frozenset(_DEFAULTS)
        return own if wanted else frozenset()
    words = texts(guest, "viridian")
    taken = frozenset(group for word in words if word.startswith("!") for group in _set_of(word[1:]))
    return frozenset(group for word in words if not word.startswith("!") for group in _set_of(word)) - taken


def _set_of(word: str) -> tuple[str, ...]:
    return _SETS.get(word, (word,))
