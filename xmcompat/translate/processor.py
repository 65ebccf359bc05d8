"""The guest's processor: all that the host's can do, less or more what the configuration says. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator
from xmcompat.guest import GuestConfig, GuestKind
from xmcompat.translate.cpuid import checked, masked
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import flag, text, texts

HOST_MODEL, HOST_PASSTHROUGH, MAXIMUM = "host-model", "host-passthrough", "maximum"

#: What each maker calls virtualization.
_VIRTUALIZATION = {"Intel": "vmx", "AMD": "svm"}
#: What libvirt starts no emulated guest with.
_INVARIANT_TSC = "invtsc"
#: A register of Intel's that some kernels and QEMUs offer on AMD's processors too. No AMD processor has it; where the
#: kernel does not let it be set, no guest starts ("failed to set MSR 0x10a").
_INTELS_OWN = "arch-capabilities"


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """``features`` are (libvirt's name, policy), each name once; ``migratable`` goes with mode "host-passthrough"."""

    mode: str
    features: tuple[tuple[str, str], ...] = ()
    migratable: bool | None = None


def processor(guest: GuestConfig, facts: HostFacts, findings: Findings) -> Processor:
    """The host's processor where KVM runs it, all that the emulator can do elsewhere.

    ``nomigrate`` and nested virtualization may ask for the host's as it is. What ``cpuid`` says of a feature goes before
    what other keys say.
    """
    kvm = facts.accelerator is Accelerator.KVM
    nested = _nested(guest)
    features = {name: "disable" for name in ("nx", "pae") if guest.kind is GuestKind.HVM and not flag(guest, name, True)}
    mode, migratable = HOST_MODEL if kvm else MAXIMUM, None
    if kvm and facts.cpu_vendor == "AMD":
        features[_INTELS_OWN] = "disable"
    if nested is not None:
        found = _virtualization(facts, nested, findings)
        features.update(found)
        if nested and kvm and not found:
            mode = HOST_PASSTHROUGH
    if flag(guest, "nomigrate", False):
        if kvm:
            mode, migratable = HOST_PASSTHROUGH, False
            findings.approximated(
                "nomigrate", "the guest has its host's processor as it is, which keeps QEMU from moving it", value="1"
            )
        else:
            findings.no_meaning("nomigrate", "an emulated processor is the same on every host", value="1")
    features.update(_by_cpuid(guest, mode, findings))
    if mode == MAXIMUM and features.get(_INVARIANT_TSC) == "force":
        del features[_INVARIANT_TSC]
        findings.no_meaning("cpuid", "an emulated processor does not have it", value=_INVARIANT_TSC)
    return Processor(mode=mode, features=tuple(features.items()), migratable=migratable)


def _nested(guest: GuestConfig) -> bool | None:
    """Whether the guest may run guests; None where the configuration does not say."""
    said = guest.kind is GuestKind.HVM and text(guest, "nestedhvm")
    return flag(guest, "nestedhvm", False) if said else None


def _virtualization(facts: HostFacts, nested: bool, findings: Findings) -> dict[str, str]:
    """vmx or svm, as the host's maker calls it; both are taken away where the maker is not known."""
    name = _VIRTUALIZATION.get(facts.cpu_vendor, "")
    if not nested:
        return {name: "disable"} if name else dict.fromkeys(_VIRTUALIZATION.values(), "disable")
    if facts.accelerator is not Accelerator.KVM:
        findings.approximated("nestedhvm", "the emulated processor has AMD's svm alone", value="1")
        return {}
    findings.approximated(
        "nestedhvm", f"the guest has its host's {name or 'vmx or svm'}, where the host's kvm module allows it", value="1",
        suggestion="load kvm_intel or kvm_amd with nested=1",
    )  # fmt: skip
    return {name: "require"} if name else {}


def _by_cpuid(guest: GuestConfig, mode: str, findings: Findings) -> dict[str, str]:
    features = masked(guest, findings)
    if not texts(guest, "cpuid_check"):
        return features
    if mode != HOST_MODEL:
        reason = "emulated: nothing is asked of the host" if mode == MAXIMUM else "the host's as it is: nothing is checked"
        findings.no_meaning("cpuid_check", f"the processor is {reason}")
        return features
    return checked(guest, features, findings)
