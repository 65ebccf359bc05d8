"""Virtual network interfaces to QEMU's. Pure.

Where each is plugged in is settled in ``bridges``.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from xmcompat.backends.devices import Nic
from xmcompat.backends.facts import HostFacts
from xmcompat.guest import Dialect, GuestConfig, GuestKind, Vif
from xmcompat.translate.bandwidth import bandwidth, is_rate
from xmcompat.translate.bridges import port
from xmcompat.translate.findings import Findings
from xmcompat.translate.scripts import Kind, script_of

#: Emulated models; Xen's users wrote some of them in QEMU's own way.
MODELS = {
    name: name for name in ("rtl8139", "e1000", "ne2k_pci", "ne2k_isa", "pcnet", "i82551", "i82557b", "i82559er",
                            "virtio", "e1000e", "vmxnet3")
} | {"virtio-net": "virtio", "virtio-net-pci": "virtio", "ne2000": "ne2k_pci", "ne2k": "ne2k_pci"}  # fmt: skip

#: Bytes that the kernel allows for a device's name.
LONGEST_NAME = 15
#: Beginnings of names that libvirt keeps for itself.
_LIBVIRTS = ("vnet", "macvtap", "macvlan")
#: libvirt's filter that lets a guest use its own addresses alone.
FILTER = "clean-traffic"
#: What the kernel takes, in bytes.
_LEAST_MTU, _MOST_MTU = 68, 65535

#: Scripts of Xen's that do more than put an interface on a bridge, or otherwise.
_UNLIKE_BRIDGES = ("vif-vnic", "vif2")

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)


def missing_macs(guest: GuestConfig) -> int:
    """The number of interfaces for which a MAC address must be drawn."""
    return sum(not vif.mac for vif in guest.vifs)


def nics(guest: GuestConfig, facts: HostFacts, macs: Sequence[str], findings: Findings) -> tuple[Nic, ...]:
    """The interfaces in the guest's order; MACS serve those without an address, in the order of the configuration.

    Those for which MACS are too few have none.
    """
    drawn = iter(macs)
    found = [
        nic_at(guest, facts, index, replace(vif, mac=vif.mac or next(drawn, "")), findings)
        for index, vif in enumerate(guest.vifs)
    ]
    for mac, count in Counter(nic.mac for nic in found if nic.mac).items():
        if count > 1:
            findings.unconnected(f'The mac "{mac}" is already defined')
    return tuple(found[index] for index in _order(guest, findings))


def _order(guest: GuestConfig, findings: Findings) -> list[int]:
    """The interfaces by the numbers that they ask for; the others come behind, as with xl."""
    numbers = [vif.devid for vif in guest.vifs]
    wished = [number for number in numbers if number is not None]
    seen: set[int] = set()
    for index, number in enumerate(numbers):
        if number is None:
            continue
        if number in seen:
            findings.refuse(f"vif[{index}]", "another interface has that number", value=f"devid={number}")
        seen.add(number)
        findings.carried(f"vif[{index}]", "interfaces come in the order of these numbers", value=f"devid={number}")
    last = max(wished, default=-1)
    return sorted(range(len(numbers)), key=lambda index: (last + 1 if (devid := numbers[index]) is None else devid, index))


def nic_at(guest: GuestConfig, facts: HostFacts, index: int, vif: Vif, findings: Findings) -> Nic:
    """The interface VIF of the guest, which is its number INDEX."""
    key = f"vif[{index}]"
    _check_mac(vif.mac, key, findings)
    _tell_script(vif, facts, key, findings)
    _tell_unused(guest, vif, key, findings)
    plugged = port(facts, vif, index, findings)
    average, burst = _bandwidth(guest, facts, vif, key, findings)
    if facts.ports:
        average = burst = None
    nic = Nic(
        mac=vif.mac.lower(),
        bridge=plugged.bridge,
        model=_model(guest, vif, key, findings),
        target=_target(facts, vif, key, findings),
        outbound_average=average,
        outbound_burst=burst,
        mtu=_mtu(vif, key, findings) or dict(facts.small_mtus).get(plugged.bridge),
        openvswitch=plugged.openvswitch,
        vlan=plugged.vlan,
        trunk=plugged.trunk,
    )
    if facts.ports:
        _check_addresses(vif, key, findings)
        return nic
    addresses = _addresses(vif, key, findings, filtered=not nic.openvswitch)
    return replace(nic, filter=FILTER, addresses=addresses) if addresses else nic


def _check_mac(mac: str, key: str, findings: Findings) -> None:
    if not mac:
        return
    if not _MAC.fullmatch(mac) or not mac.strip("0:"):
        findings.refuse(key, "that is no MAC address; write six bytes as in 00:16:3e:12:34:56", value=f"mac={mac}")
    elif mac[:2].lower() == "fe":
        findings.refuse(
            key, "KVM keeps addresses that begin with fe for the host's end; take one in 00:16:3e", value=f"mac={mac}"
        )
    elif int(mac[:2], 16) & 1:
        findings.refuse(key, "an interface cannot have a multicast address; take one in 00:16:3e", value=f"mac={mac}")


def _tell_unused(guest: GuestConfig, vif: Vif, key: str, findings: Findings) -> None:
    findings.back_end(key, vif.backend, value=f"backend={vif.backend}")
    if vif.accel:
        findings.no_meaning(key, "a network card's acceleration for Xen", value=f"accel={vif.accel}",
                            harmless=guest.dialect is Dialect.XL)  # xl warns of it itself  # fmt: skip
    if vif.policy or vif.label:
        findings.no_meaning(key, "Xen's security labels do not exist", value=f"policy={vif.policy},label={vif.label}")
    if vif.trusted is not None:
        findings.no_meaning(key, "a hint for drivers of Xen's", value=f"trusted={vif.trusted:d}", harmless=True)


def _tell_script(vif: Vif, facts: HostFacts, key: str, findings: Findings) -> None:
    """What becomes of the interface's script."""
    script = script_of(vif)
    routed = script.kind in (Kind.ROUTE, Kind.NAT)
    if routed and not facts.ports:
        what = "routes" if script.kind is Kind.ROUTE else "translates"
        findings.approximated(
            key, f"the interface joins a bridge; libvirt alone {what} nothing for it, as xm create does",
            value=f"script={vif.script}", suggestion="start it by xm create, or set up the host's end yourself",
        )  # fmt: skip
    elif script.base in _UNLIKE_BRIDGES or (script.kind is Kind.OWN and not facts.ports):
        findings.approximated(
            key, "the interface joins a bridge; the script is not run", value=f"script={vif.script}",
            suggestion="do by hand what it did beyond that",
        )  # fmt: skip
    if vif.gatewaydev and not (facts.ports and script.kind is Kind.ROUTE):
        findings.no_meaning(key, "the host's interface for vif-route, which is not run",
                            value=f"gatewaydev={vif.gatewaydev}", harmless=script.kind is not Kind.ROUTE)  # fmt: skip


def _check_addresses(vif: Vif, key: str, findings: Findings) -> None:
    """Refuse what is no address or network in ``ip=``."""
    for word in vif.ip.replace(";", " ").split():
        try:
            ipaddress.ip_interface(word)
        except ValueError:
            findings.refuse(key, f"'{word}' is no IP address; write one like 192.0.2.10 or 192.0.2.0/24",
                            value=f"ip={vif.ip}")  # fmt: skip


def _addresses(vif: Vif, key: str, findings: Findings, *, filtered: bool) -> tuple[str, ...]:
    """The addresses for the filter, which takes single ones of IPv4 alone; () for no filter."""
    words = vif.ip.replace(";", " ").split()
    if not words:
        return ()
    if script_of(vif).kind in (Kind.ROUTE, Kind.NAT):
        findings.approximated(key, "nothing leads to it, or keeps the guest from using others", value=f"ip={vif.ip}")
        return ()
    single = [address for address in map(_single, words) if address]
    if not filtered or len(single) < len(words):
        why = "libvirt's filters do not work on Open vSwitch" if not filtered else (
            f"libvirt's filter {FILTER} takes single addresses of IPv4 alone"
        )  # fmt: skip
        findings.approximated(
            key, f"nothing keeps the guest from using other addresses: {why}", value=f"ip={vif.ip}",
            suggestion="filter on the bridge",
        )  # fmt: skip
        return ()
    findings.approximated(
        key, f"the filter {FILTER} lets the guest use these alone; it also holds it to its MAC address, and lets "
        "no IPv6 through", value=f"ip={vif.ip}",
    )  # fmt: skip
    return tuple(dict.fromkeys(single))


def _single(word: str) -> str:
    """The one IPv4 address in WORD, "" for a network, another kind, or none."""
    try:
        network = ipaddress.IPv4Network(word)
    except ValueError:
        return ""
    return str(network.network_address) if network.num_addresses == 1 else ""


def _mtu(vif: Vif, key: str, findings: Findings) -> int | None:
    if vif.mtu is None or _LEAST_MTU <= vif.mtu <= _MOST_MTU:
        return vif.mtu
    findings.approximated(
        key, "it has that of its bridge: no network has this one", value=f"mtu={vif.mtu}",
        suggestion=f"write one of {_LEAST_MTU} to {_MOST_MTU}",
    )  # fmt: skip
    return None


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


def _target(facts: HostFacts, vif: Vif, key: str, findings: Findings) -> str:
    name = vif.vifname
    if not name:
        return ""
    why = ""
    if len(name.encode(errors="replace")) > LONGEST_NAME:
        why = f"it is longer than {LONGEST_NAME} characters"
    elif not re.fullmatch(r"[a-zA-Z0-9_.\-]+", name) or name in (".", ".."):
        why = "no network device can be called that"
    if why and facts.ports:
        findings.refuse(key, f"{why}; write up to {LONGEST_NAME} letters, digits, '.', '-' or '_'", value=f"vifname={name}")
    elif name.startswith(_LIBVIRTS):
        why = "libvirt keeps such names for itself"
    if why:
        findings.approximated(key, f"libvirt names the device: {why}", value=f"vifname={name}")
        return ""
    return name


def _bandwidth(
    guest: GuestConfig, facts: HostFacts, vif: Vif, key: str, findings: Findings
) -> tuple[int | None, int | None]:  # fmt: skip
    if not vif.rate:
        return None, None
    limit = bandwidth(vif.rate)
    if limit is not None:
        return limit
    if is_rate(vif.rate):
        findings.approximated(key, "that limits nothing, as with xm", value=f"rate={vif.rate}",
                              suggestion="write one like 10Mb/s@50ms, or leave it out")  # fmt: skip
    elif guest.dialect is Dialect.XL or facts.ports:
        findings.refuse(key, "that is no rate; write one like 10Mb/s@50ms", value=f"rate={vif.rate}")
    else:
        findings.approximated(
            key, "that is no rate; the interface is not limited, as with xm", value=f"rate={vif.rate}",
            suggestion="write one like 10Mb/s@50ms",
        )  # fmt: skip
    return None, None
