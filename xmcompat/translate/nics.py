"""Virtual network interfaces to QEMU's. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction

from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Nic
from xmcompat.guest import Dialect, GuestConfig, GuestKind, Vif
from xmcompat.translate.disks import is_local
from xmcompat.translate.findings import Findings

#: Emulated models; Xen's users wrote some of them in QEMU's own way.
MODELS = {
    name: name for name in ("rtl8139", "e1000", "ne2k_pci", "ne2k_isa", "pcnet", "i82551", "i82557b", "i82559er",
                            "virtio", "e1000e", "vmxnet3")
} | {"virtio-net": "virtio", "virtio-net-pci": "virtio", "ne2000": "ne2k_pci", "ne2k": "ne2k_pci"}  # fmt: skip

#: Bytes that the kernel allows for a device's name.
LONGEST_NAME = 15
#: Beginnings of names that libvirt keeps for itself.
_LIBVIRTS = ("vnet", "macvtap", "macvlan")
_GUESSED_BRIDGE = "xenbr0"

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
_RATE = re.compile(r"([0-9]+)([GMK]?)([Bb])/s(?:@([0-9]+)([mu]?)s)?")
_SCALE = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_INTERVAL = {"": Fraction(1), "m": Fraction(1, 10**3), "u": Fraction(1, 10**6)}
_MOST_CREDIT = 2**32 - 1


def missing_macs(guest: GuestConfig) -> int:
    """The number of interfaces for which a MAC address must be drawn."""
    return sum(not vif.mac for vif in guest.vifs)


def nics(guest: GuestConfig, facts: HostFacts, macs: Sequence[str], findings: Findings) -> tuple[Nic, ...]:
    """The interfaces in order; MACS serve those without an address, which have none where MACS are too few."""
    drawn = iter(macs)
    found = tuple(
        _nic(guest, facts, index, vif.mac or next(drawn, ""), findings) for index, vif in enumerate(guest.vifs)
    )
    addresses = [nic.mac for nic in found if nic.mac]
    for mac in dict.fromkeys(addresses):
        if addresses.count(mac) > 1:
            findings.unconnected(f'The mac "{mac}" is already defined')
    return found


def _nic(guest: GuestConfig, facts: HostFacts, index: int, mac: str, findings: Findings) -> Nic:
    vif, key = guest.vifs[index], f"vif[{index}]"
    _check_mac(mac, key, findings)
    _tell_unused(vif, key, findings)
    average, burst = _bandwidth(guest, vif, key, findings)
    return Nic(
        mac=mac.lower(),
        bridge=_bridge(facts, vif, index, findings),
        model=_model(guest, vif, key, findings),
        target=_target(vif, key, findings),
        outbound_average=average,
        outbound_burst=burst,
    )


def _check_mac(mac: str, key: str, findings: Findings) -> None:
    if not mac:
        return
    if not _MAC.fullmatch(mac):
        findings.refuse(key, "that is no MAC address; write six bytes as in 00:16:3e:12:34:56", value=f"mac={mac}")
    elif mac[:2].lower() == "fe":
        findings.refuse(
            key, "KVM keeps addresses that begin with fe for the host's end; take one in 00:16:3e", value=f"mac={mac}"
        )
    elif int(mac[:2], 16) & 1:
        findings.refuse(key, "an interface cannot have a multicast address; take one in 00:16:3e", value=f"mac={mac}")


def _tell_unused(vif: Vif, key: str, findings: Findings) -> None:
    if not is_local(vif.backend):
        findings.refuse(
            key, "KVM has no driver domains; leave the back end out", value=f"backend={vif.backend}"
        )
    if vif.script and vif.script.rpartition("/")[2] != "vif-bridge":
        findings.not_yet(
            key, "the interface joins a bridge; the script is not run, so nothing is routed or translated",
            value=f"script={vif.script}",
        )  # fmt: skip
    if vif.ip:
        findings.not_yet(
            key, "nothing keeps the guest from using other addresses", value=f"ip={vif.ip}",
            suggestion="filter on the bridge until it is",
        )  # fmt: skip
    if vif.accel:
        findings.no_meaning(key, "a network card's acceleration for Xen", value=f"accel={vif.accel}", harmless=True)
    if vif.policy or vif.label:
        findings.no_meaning(key, "Xen's security labels do not exist", value=f"policy={vif.policy},label={vif.label}")


def _bridge(facts: HostFacts, vif: Vif, index: int, findings: Findings) -> str:
    """The bridge named; eth0 for a missing xenbr0 (the later naming); the first one where none is named."""
    there = facts.bridges
    device = f"Device {index} (vif) could not be connected."
    if not vif.bridge:
        if there:
            return there[0]
        if facts.local:
            findings.unconnected(f"{device} Could not find bridge, and none was specified")
        else:
            findings.approximated(
                f"vif[{index}]", f"no bridge is named and none of that host is known; {_GUESSED_BRIDGE} is tried",
                suggestion="name one with bridge=",
            )  # fmt: skip
        return _GUESSED_BRIDGE
    if vif.bridge in there or not there or not facts.local:
        return vif.bridge
    old_name = re.fullmatch(r"xenbr([0-9]+)", vif.bridge)
    if old_name and f"eth{old_name[1]}" in there:
        findings.carried(
            f"vif[{index}]", f"eth{old_name[1]} serves, as with Xen's scripts", value=f"bridge={vif.bridge}"
        )
        return f"eth{old_name[1]}"
    findings.unconnected(f"{device} Could not find bridge device {vif.bridge}")
    return vif.bridge


def _model(guest: GuestConfig, vif: Vif, key: str, findings: Findings) -> str:
    if guest.kind is not GuestKind.HVM:
        return "virtio"
    model = MODELS.get(vif.model or "rtl8139")
    if model is None:
        findings.approximated(key, "QEMU has no such model; it is an rtl8139", value=f"model={vif.model}")
        model = "rtl8139"
    paravirtual = vif.type == "vif" if guest.dialect is Dialect.XL else vif.type not in ("", "ioemu")
    if paravirtual:
        findings.approximated(
            key, "it is a virtio interface", value=f"type={vif.type}", suggestion="the guest needs a driver for it"
        )
        return "virtio"
    if model != "virtio" and (not vif.type or guest.dialect is Dialect.XL):
        findings.approximated(
            key, f"a guest that used Xen's network driver finds an emulated {model}",
            suggestion="set model=virtio once it has a driver for that",
        )  # fmt: skip
    return model


def _target(vif: Vif, key: str, findings: Findings) -> str:
    name = vif.vifname
    if not name:
        return ""
    why = ""
    if len(name.encode(errors="replace")) > LONGEST_NAME:
        why = f"it is longer than {LONGEST_NAME} characters"
    elif not re.fullmatch(r"[^/\s:%]+", name) or name in (".", ".."):
        why = "no network device can be called that"
    elif name.startswith(_LIBVIRTS):
        why = "libvirt keeps such names for itself"
    if why:
        findings.approximated(key, f"libvirt names the device: {why}", value=f"vifname={name}")
        return ""
    return name


def _bandwidth(guest: GuestConfig, vif: Vif, key: str, findings: Findings) -> tuple[int | None, int | None]:
    if not vif.rate:
        return None, None
    limit = bandwidth(vif.rate)
    if limit is not None:
        return limit
    if not _RATE.fullmatch(vif.rate.strip()):
        if guest.dialect is Dialect.XL:
            findings.refuse(key, "that is no rate; write one like 10Mb/s@50ms", value=f"rate={vif.rate}")
        else:
            findings.approximated(
                key, "that is no rate; the interface is not limited, as with xm", value=f"rate={vif.rate}",
                suggestion="write one like 10Mb/s@50ms",
            )  # fmt: skip
    return None, None


def bandwidth(rate: str) -> tuple[int, int] | None:
    """("average" in kilobytes a second, "burst" in KiB) of a Xen rate such as "10Mb/s@50ms"; None for no limit.

    Kilobytes are of 1000 bytes. Xen hands out credit for each interval of 50 ms, if none is given; less than 64 KiB
    of it would drop large segments here.
    """
    found = _RATE.fullmatch(rate.strip())
    if not found:
        return None
    number, scale, unit, interval, fraction = found.groups()
    speed = Fraction(int(number) * _SCALE[scale], 8 if unit == "b" else 1)
    credit = speed * (int(interval) * _INTERVAL[fraction] if interval else Fraction(50, 1000))
    if not speed or not credit or credit > _MOST_CREDIT:
        return None
    return max(1, math.floor(speed / 1000 + Fraction(1, 2))), max(64, math.ceil(credit / 1024))
