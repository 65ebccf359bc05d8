"""What networks need of this host: programs, and features of its kernel, each tried in a network that goes at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from xmcompat.network import programs
from xmcompat.network.programs import NetworkError
from xmcompat.network.wanted import Nat, Network, Overlay, Switch, Vlan


class Feature(NamedTuple):
    """``probe`` is a command that works only where it is there; ``option`` is the kernel's, ``serves`` what needs it."""

    name: str
    option: str
    probe: tuple[str, ...]
    serves: str


FEATURES = (
    Feature("bridges", "BRIDGE", ("ip", "link", "add", "x", "type", "bridge"), "every guest on a bridge"),
    Feature("VLANs", "VLAN_8021Q", ("ip", "link", "add", "link", "lo", "name", "x", "type", "vlan", "id", "5"),
            "bridges of one VLAN of a card"),
    Feature("VXLAN", "VXLAN", ("ip", "link", "add", "x", "type", "vxlan", "id", "5", "dstport", "4789"),
            "overlays and vnets"),
    Feature("the device ifb", "IFB", ("ip", "link", "add", "x", "type", "ifb"),
            "rate= of what guests send; it is cut off instead"),
    Feature("the queue tbf", "NET_SCH_TBF", (
        "tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "1mbit", "burst", "9999", "limit", "9999"),
        "rate= of what guests receive; others take its place"),
    Feature("nftables", "NF_TABLES", ("nft", "add", "table", "inet", "x"), "ip=, antispoof= and NAT"),
    Feature("netdev chains of nftables", "NF_TABLES_NETDEV", (
        "nft", "add table netdev x; add chain netdev x c { type filter hook ingress device lo priority 0; }"),
        "ip= and antispoof="),
)  # fmt: skip
PROGRAMS = {
    "ip": "every network", "bridge": "overlays and isolated interfaces", "tc": "rate=", "nft": "ip=, antispoof= and NAT",
}  # fmt: skip


#: The features that nothing but one kind of network needs.
_OF_ONE_KIND: dict[type[Network], str] = {Vlan: "VLANs", Overlay: "VXLAN"}


class Missing(NamedTuple):
    """``needed``: one of the networks at hand cannot do without it."""

    text: str
    hint: str
    needed: bool


def missing(networks: Iterable[Network] = ()) -> list[Missing]:
    """What is not there: programs first. VLANs and VXLAN are looked for only where one of NETWORKS needs them.

    Raises NetworkError where no network can be made to try it in.
    """
    networks = list(networks)
    programs_needed = dict(PROGRAMS)
    if any(isinstance(one, Nat) and one.dhcp for one in networks):
        programs_needed["dnsmasq"] = "DHCP for guests of NAT"
    if any(isinstance(one, Switch) for one in networks):
        programs_needed["ovs-vsctl"] = "bridges of Open vSwitch"
    absent = [name for name in programs_needed if not programs.is_there(name)]
    found = [
        Missing(f"the program '{name}' is missing, which serves {use}", programs.package_hint(name) or "", True)
        for name, use in programs_needed.items() if name in absent
    ]
    needed = {_OF_ONE_KIND[type(one)] for one in networks if type(one) in _OF_ONE_KIND}
    idle = set(_OF_ONE_KIND.values()) - needed
    for feature in FEATURES:
        if feature.name not in idle and feature.probe[0] not in absent and not _works(feature.probe):
            found.append(Missing(
                f"this kernel lacks {feature.name}, for {feature.serves}", f"it needs the option CONFIG_{feature.option}",
                feature.name in needed,
            ))  # fmt: skip
    return found


def _works(probe: tuple[str, ...]) -> bool:
    try:
        programs.run(("unshare", "-n", *probe))
    except programs.ProgramFailed as error:
        if "unshare" in error.said:
            raise NetworkError("no network can be made to try things in", hint="only root may do that") from None
        return False
    return True
