"""Which bridge of the host an interface joins, and with which VLANs. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from xmcompat.backends.facts import HostFacts
from xmcompat.guest import Vif
from xmcompat.translate.findings import Findings
from xmcompat.translate.scripts import Kind, Script, script_of

_GUESSED_BRIDGE = "xenbr0"
_OPEN_VSWITCH = re.compile(r"([^.:]+)(?:\.([0-9]{1,4}))?((?::[0-9]{1,4})*)")
#: Characters that libvirt takes in the name of a device.
_NAME = re.compile(r"[a-zA-Z0-9_.\-:]+")
_LAST_TAG = 4095


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """``vlan`` is the tag of what the guest sends without one, ``trunk`` are those that it may use itself."""

    bridge: str
    openvswitch: bool = False
    vlan: int | None = None
    trunk: tuple[int, ...] = ()


def port(facts: HostFacts, vif: Vif, index: int, findings: Findings) -> Port:
    """Where the interface is plugged in. Only Xen's script for Open vSwitch reads VLANs behind a bridge's name."""
    if vif.bridge and not _NAME.fullmatch(vif.bridge):
        findings.refuse(f"vif[{index}]", "no bridge can be called that", value=f"bridge={vif.bridge}")
    script = script_of(vif, facts.vif_script)
    if facts.ports and script.kind is not Kind.BRIDGE:
        return _unlike_xens(facts, vif, script, index, findings)
    if script.base != "vif-openvswitch":
        bridge = _bridge(facts, vif.bridge or _named(script), index, findings)
        return Port(bridge=bridge, openvswitch=bridge in facts.openvswitch)
    found = _OPEN_VSWITCH.fullmatch(vif.bridge)
    tags = [int(tag) for tag in re.findall("[.:]([0-9]+)", vif.bridge)]
    if vif.bridge and (not found or any(tag > _LAST_TAG for tag in tags)):
        findings.refuse(
            f"vif[{index}]", "write the bridge as NAME, NAME.TAG, NAME:TAG:TAG or NAME.TAG:TAG:TAG, tags up to 4095",
            value=f"bridge={vif.bridge}",
        )  # fmt: skip
    if not found:
        return Port(bridge=_switch(facts, vif.bridge, index, findings), openvswitch=True)
    name, tag, trunk = found.groups()
    own = int(tag) if tag else None
    others = dict.fromkeys(int(word) for word in trunk.split(":") if word)
    return Port(
        bridge=_switch(facts, name, index, findings), openvswitch=True, vlan=own,
        trunk=tuple(one for one in others if one != own),
    )  # fmt: skip


def _named(script: Script) -> str:
    return script.value("bridge") if script.base == "vif-bridge" else ""


def _unlike_xens(facts: HostFacts, vif: Vif, script: Script, index: int, findings: Findings) -> Port:
    """What is routed has a tap on no bridge, as has what a script of the user's own connects unless it is told of a
    bridge."""
    if script.kind is Kind.NAT:
        if not facts.nat_bridge:
            findings.unconnected(
                f"Device {index} (vif) could not be connected. No network-nat is up on this host, which "
                f"{script.base} needs"
            )
        return Port(bridge=facts.nat_bridge or _GUESSED_BRIDGE)
    named = vif.bridge or script.value("bridge")
    if script.kind is Kind.ROUTE or not named:
        return Port(bridge="")
    bridge = _bridge(facts, named, index, findings)
    return Port(bridge=bridge, openvswitch=bridge in facts.openvswitch)


def _switch(facts: HostFacts, name: str, index: int, findings: Findings) -> str:
    """The bridge of Open vSwitch: looked for among those that are known, where any is."""
    if not name and facts.default_bridge in facts.openvswitch:
        return facts.default_bridge
    if not name:
        return facts.openvswitch[0] if facts.openvswitch else _bridge(facts, "", index, findings)
    name = dict(facts.bridge_aliases).get(name, name)
    if facts.local and facts.openvswitch and name not in facts.openvswitch:
        findings.unconnected(f"Device {index} (vif) could not be connected. Could not find bridge device {name}")
    return name


def _bridge(facts: HostFacts, named: str, index: int, findings: Findings) -> str:
    """The one that stands for the bridge named; eth0 for a missing xenbr0 (the later naming); our bridge of the card eth0
    for either; the first one where none is named."""
    there = facts.bridges
    named = named or facts.default_bridge
    device = f"Device {index} (vif) could not be connected."
    if not named:
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
    bridge = dict(facts.bridge_aliases).get(named, named)
    if bridge != named:
        findings.carried(f"vif[{index}]", f"{bridge} serves, by the host's aliases", value=f"bridge={named}")
    if bridge in (*there, *facts.openvswitch) or not facts.local:
        return bridge
    old_name = re.fullmatch(r"xenbr([0-9]{1,10})", bridge)
    if old_name and f"eth{old_name[1]}" in there:
        findings.carried(f"vif[{index}]", f"eth{old_name[1]} serves, as with Xen's scripts", value=f"bridge={bridge}")
        return f"eth{old_name[1]}"
    ours = dict(facts.cards)
    made = ours.get(bridge) or (ours.get(f"eth{old_name[1]}") if old_name else None)
    if made:
        findings.carried(f"vif[{index}]", f"{made} serves, the bridge of that card", value=f"bridge={bridge}")
        return made
    findings.unconnected(f"{device} Could not find bridge device {bridge}")
    return bridge
