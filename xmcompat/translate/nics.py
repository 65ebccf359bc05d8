"""Virtual network interfaces to QEMU's. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Nic
from xmcompat.errors import DeviceError
from xmcompat.guest import GuestConfig, GuestKind, Vif
from xmcompat.notes import Fate, Note

#: Emulated models by the names that Xen's users write.
MODELS = ("rtl8139", "e1000", "ne2k_pci", "ne2k_isa", "pcnet", "i82551", "i82557b", "i82559er", "virtio")
LONGEST_DEVICE = 15
_REGENERATED = ("vnet", "macvtap", "macvlan")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", re.IGNORECASE)
_RATE = re.compile(r"\s*([0-9]+)([GMK]?)([Bb])/s(?:@([0-9]+)([mu]?)s)?\s*")
_SCALE = {"": 1, "K": 1000, "M": 10**6, "G": 10**9}
_INTERVAL = {"": 1.0, "m": 1e-3, "u": 1e-6}


class Nics(NamedTuple):
    nics: tuple[Nic, ...]
    notes: tuple[Note, ...]
    refusals: tuple[str, ...]


def translate_nics(guest: GuestConfig, facts: HostFacts, macs: Sequence[str]) -> Nics:
    """The interfaces in order; MACS serve those without an address.

    Raises DeviceError where a bridge is not on the host, with xm's sentence.
    """
    drawn = iter(macs)
    nics: list[Nic] = []
    notes: list[Note] = []
    refusals: list[str] = []
    for index, vif in enumerate(guest.vifs):
        key = f"vif[{index}]"
        mac = vif.mac or next(drawn, "")
        refusals += _refusals(key, vif, mac)
        target, average, burst = _target(key, vif, notes), None, None
        if vif.rate:
            limit = bandwidth(vif.rate)
            if limit is None:
                notes.append(_note(key, "rate", vif.rate, "it is no rate; xm does not limit the interface either"))
            else:
                average, burst = limit
        bridge = _bridge(index, vif, facts)
        if vif.bridge and bridge != vif.bridge:
            notes.append(
                Note(
                    key=f"{key}.bridge", value=vif.bridge, fate=Fate.APPROXIMATED,
                    reason=f"there is no such bridge; {bridge} has its place", harmless=True,
                )
            )  # fmt: skip
        notes += _unused(key, vif)
        nics.append(
            Nic(
                mac=mac.lower(), bridge=bridge, model=_model(guest, vif, key, notes), target=target,
                outbound_average=average, outbound_burst=burst,
            )
        )  # fmt: skip
    return Nics(tuple(nics), tuple(notes), tuple(refusals))


def _note(key: str, sub: str, value: str, reason: str, **more: str) -> Note:
    return Note(key=f"{key}.{sub}", value=value, fate=Fate.APPROXIMATED, reason=reason, **more)  # type: ignore[arg-type]


def _refusals(key: str, vif: Vif, mac: str) -> list[str]:
    found = []
    if vif.backend not in ("", "0", "Domain-0"):
        found.append(f"{key}: a driver domain (backend={vif.backend}) cannot be had on KVM")
    if mac and not _MAC.fullmatch(mac):
        found.append(f"{key}: '{mac}' is no MAC address")
    elif mac and int(mac[:2], 16) & 1:
        found.append(f"{key}: '{mac}' is a multicast address; an interface cannot have it")
    elif mac.lower().startswith("fe"):
        found.append(f"{key}: MAC addresses that begin with fe belong to the host's end on KVM; choose 00:16:3e:...")
    return found


def _bridge(index: int, vif: Vif, facts: HostFacts) -> str:
    """The bridge of the host: the one named; eth0 for a missing xenbr0; the first one where none is named."""
    there = facts.bridges
    if not vif.bridge:
        if not there:
            raise DeviceError(
                f"Device {index} (vif) could not be connected. Could not find bridge, and none was specified"
            )
        return there[0]
    if vif.bridge in there or not there:
        return vif.bridge
    renamed = re.fullmatch(r"xenbr([0-9]+)", vif.bridge)
    if renamed and f"eth{renamed[1]}" in there:
        return f"eth{renamed[1]}"
    raise DeviceError(
        f"Device {index} (vif) could not be connected. Could not find bridge device {vif.bridge}",
        hint=f"this host has: {', '.join(there)}",
    )


def _target(key: str, vif: Vif, notes: list[Note]) -> str:
    name = vif.vifname
    if len(name) > LONGEST_DEVICE or "/" in name or name.startswith(_REGENERATED):
        notes.append(_note(key, "vifname", name, "the kernel or libvirt does not take that name; it gets another"))
        return ""
    return name


def _model(guest: GuestConfig, vif: Vif, key: str, notes: list[Note]) -> str:
    if guest.kind is not GuestKind.HVM:
        return "virtio"
    if vif.type not in ("", "ioemu"):
        notes.append(_note(key, "type", vif.type, "it is a virtio interface here; the guest needs a driver for it"))
        return "virtio"
    model = vif.model or "rtl8139"
    if model not in MODELS:
        notes.append(_note(key, "model", model, "QEMU has no such model here; it is an rtl8139"))
        return "rtl8139"
    return model


def _unused(key: str, vif: Vif) -> list[Note]:
    notes = []
    if vif.script and vif.script.rpartition("/")[2] != "vif-bridge":
        notes.append(
            Note(
                key=f"{key}.script", value=vif.script, fate=Fate.NOT_YET,
                reason="the interface joins a bridge; routed and translated networks come later",
            )
        )  # fmt: skip
    if vif.ip:
        notes.append(
            Note(
                key=f"{key}.ip", value=vif.ip, fate=Fate.NOT_YET,
                reason="the guest is not kept from using other addresses",
            )
        )  # fmt: skip
    for sub in ("accel", "policy", "label"):
        if getattr(vif, sub):
            notes.append(
                Note(key=f"{key}.{sub}", value=getattr(vif, sub), fate=Fate.NO_MEANING, reason="it is Xen's own")
            )
    return notes


def bandwidth(rate: str) -> tuple[int, int] | None:
    """("average" in kilobytes a second, "burst" in KiB) of a Xen rate such as "10Mb/s@50ms"; None for no limit."""
    found = _RATE.fullmatch(rate)
    if not found:
        return None
    number, scale, unit, interval, fraction = found.groups()
    bytes_a_second = int(number) * _SCALE[scale] // (8 if unit == "b" else 1)
    seconds = int(interval) * _INTERVAL[fraction] if interval else 0.05
    credit = bytes_a_second * seconds
    if not bytes_a_second or credit > 2**32 - 1:
        return None
    return max(1, round(bytes_a_second / 1000)), max(64, math.ceil(credit / 1024))
