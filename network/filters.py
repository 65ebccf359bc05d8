"""The chains of nftables that hang on the host's end of one interface: what its guest may send. Pure.

They see bridged, routed and translated packets alike, before anybody else does. No packet meets those of another port, and
one port's are made, replaced and removed without a look at the others'. (A table for each would be simpler, but nft asks
the kernel for the contents of every table there is, whatever it is told to do.)

    table netdev xmcompat { chain in/vif3.0 { type filter hook ingress device "vif3.0" priority -300; ... } }

A port that has addresses is held to them, to its MAC address, and to what can be checked: ARP, IPv4 and IPv6 without tags
of VLANs. It may ask for an address (DHCP, SLAAC) but not give any: DHCP answers, router advertisements and redirects are
dropped, and neighbour discovery behind extension headers or in fragments. Addresses of one version of IP alone leave the
other one open but for that, as Xen left it. A port that is held without addresses has its MAC address alone checked, also
in ARP: such a guest may be a router or a DHCP server, and may use VLANs. What bridges say to each other (spanning tree,
link aggregation) neither may send: a switch that guards itself against that would shut the host's own port.
Differs from Xen: there ``ip=`` was about IPv4 alone, and about neither MAC addresses nor ARP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from xmcompat.network import marks
from xmcompat.network.host import TABLE
from xmcompat.network.programs import NetworkError
from xmcompat.network.wanted import Port, Rate

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

_IN_TABLE = f"netdev {TABLE}"

#: The chains that a port may have, those first that others jump to. What the guest sends comes in, what it gets goes out.
_KINDS = ("targets", "fragments", "ipv6", "in", "out")

#: The kind of the mark in a port's first chain.
MARK = "port"

#: Between all that a kernel does with a packet, its own hooks on the device come first.
_PRIORITY = -300

#: A packet that the card is to cut has up to 64 KiB: where less may come at once, none of those would ever pass.
LEAST_BURST = 2 * 65536

#: The networks of both versions of IP; None where the port's words name none.
Networks = tuple["list[IPv4Network] | None", "list[IPv6Network] | None"]

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LINK_LOCAL = "fe80::/10"
#: The first of the sixteen addresses for what does not leave a cable.
_BRIDGES = "01:80:c2:00:00:00"

#: Up to so many networks are compared one by one. nft asks the kernel for every chain and set there is, whatever it is told
#: to do: a port has as few of them as can be.
_FEW = 4

#: Types of ICMPv6 that come from "::": reports of multicast listeners, solicitations of routers and neighbours.
_UNSPECIFIED = ("131-133", "135", "143")


def chain_of(device: str, kind: str = "in") -> str:
    """A chain of a port: nft takes letters, digits, "." and "-", so that all else of the name is written "_2f"."""
    safe = (chr(byte) if chr(byte) in _PLAIN else f"_{byte:02x}" for byte in device.encode("utf-8", "surrogateescape"))
    return f"{kind}/{''.join(safe)}"


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")


def device_of(chain: str) -> str:
    """The device of a chain of a port's; "" for other chains."""
    kind, slash, name = chain.partition("/")
    if kind not in _KINDS or not slash:
        return ""
    plain = re.sub(rb"_([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), name.encode("utf-8", "surrogateescape"))
    return plain.decode("utf-8", "surrogateescape")


def mac_of(comment: str) -> str:
    """The MAC address of the guest that a chain with this COMMENT is for; "" for other chains."""
    mark = marks.read(comment)
    return mark.values.get("mac", "") if mark is not None and mark.kind == MARK else ""


def word(device: str) -> str:
    """DEVICE as nft, "ip -batch" and "tc -batch" all read it. Raises NetworkError for a name that one of them cannot."""
    if not device or any(letter in "\"'\\#*/" or letter.isspace() or not letter.isprintable() for letter in _seen(device)):
        raise NetworkError(
            f"{device!r} is no name for the host's end of an interface",
            hint="use letters, digits, '.', '-' and '_' in vifname",
        )
    return device


def _seen(device: str) -> str:
    """Bytes that are no UTF-8 count as letters: the programs pass them on."""
    return re.sub("[\udc80-\udcff]", "x", device)


def remove(device: str) -> str:
    """What nft reads to remove the port's chains, whichever of them are there. The table stays, empty or not."""
    chains = [f"{_IN_TABLE} {chain_of(device, kind)}\n" for kind in reversed(_KINDS)]
    made = "".join(f"add chain {chain}" for chain in chains) + "".join(f"flush chain {chain}" for chain in chains)
    return f"add table {_IN_TABLE}\n{made}{''.join(f'delete chain {chain}' for chain in chains)}"


def text(port: Port, *, shaper: str = "", sending: Rate | None = None, receiving: Rate | None = None) -> str:
    """What nft reads to make the port's chains, where none of them is there; "" where none is needed.

    What the guest sends goes through the device SHAPER, or is cut off at SENDING; what it receives at RECEIVING.
    Raises NetworkError for a word that is no address.
    """
    rules = [*_rules(port), *_limit(sending), *([f'fwd to "{word(shaper)}"'] if shaper else [])]
    if not rules and not receiving:
        return ""
    device = word(port.device)
    chains = _subchains(port) if port.addresses else []
    chains.append(_hook(device, "in", "ingress", [f'comment "{marks.text(MARK, device=device, mac=_mac(port))}"', *rules]))
    if receiving:
        chains.append(_hook(device, "out", "egress", _limit(receiving)))
    return f"table {_IN_TABLE} {{\n{''.join(chains)}}}\n"


def _mac(port: Port) -> str:
    mac = port.mac.lower()
    if not _MAC.fullmatch(mac):
        raise NetworkError(f"{port.device}: {port.mac!r} is no MAC address", hint="write one like 00:16:3e:12:34:56")
    return mac


def _chain(device: str, kind: str, rules: Iterable[str]) -> str:
    return f"  chain {chain_of(device, kind)} {{\n" + "".join(f"    {rule}\n" for rule in rules) + "  }\n"


def _hook(device: str, kind: str, hook: str, rules: Sequence[str]) -> str:
    return _chain(device, kind, [f'type filter hook {hook} device "{device}" priority {_PRIORITY}; policy accept;', *rules])


def _limit(rate: Rate | None) -> list[str]:
    if rate is None:
        return []
    return [f"limit rate over {rate.speed} bytes/second burst {max(rate.burst, LEAST_BURST)} bytes drop"]


def _rules(port: Port) -> Iterator[str]:
    if not port.addresses and not port.held:
        return
    mac = _mac(port)
    yield f"ether saddr != {mac} drop"
    if not port.addresses:
        yield f"ether daddr & ff:ff:ff:ff:ff:f0 == {_BRIDGES} drop"
        yield f"arp saddr ether != {mac} drop"
        return
    yield "ether type != arp ether type != ip ether type != ip6 drop"
    four, _ = networks(port)
    yield f"ether type ip6 jump {chain_of(port.device, 'ipv6')}"
    yield from _ipv4_rules(port.device, four)
    yield from _arp_rules(mac, four)


def _subchains(port: Port) -> list[str]:
    """Those that the port's chain jumps to. Who comes back from one has passed."""
    _, six = networks(port)
    device = port.device
    own = [] if six is None else _with_link_local(six)
    targets = [_chain(device, "targets", [*map(_within, own), "drop"])] if len(own) > _FEW else []
    return [*targets, _chain(device, "fragments", _FRAGMENTS), _chain(device, "ipv6", _ipv6_rules(device, own))]


def networks(port: Port) -> Networks:
    """What the words of ``ip=`` allow. One like 192.0.2.10/24 is an address with the length of its network: that alone.

    Raises NetworkError.
    Differs from Xen: there it was all of the network.
    """
    import ipaddress

    four: list[IPv4Network] = []
    six: list[IPv6Network] = []
    for given in port.addresses:
        try:
            if "%" in given:
                raise ValueError
            one = ipaddress.ip_interface(given)
        except ValueError:
            raise NetworkError(
                f"{port.device}: {given!r} in ip= is no address or network",
                hint="write one like 192.0.2.10, 192.0.2.0/28 or 2001:db8::10",
            ) from None
        network = one.network if one.ip == one.network.network_address else ipaddress.ip_network(one.ip)
        if isinstance(network, ipaddress.IPv4Network):
            four.append(network)
        else:
            six.append(network)
    return (
        list(ipaddress.collapse_addresses(four)) if four else None,
        list(ipaddress.collapse_addresses(six)) if six else None,
    )


def _unless(field: str, allowed: Sequence[object]) -> str:
    """The rule that drops a packet whose FIELD is in none of the networks ALLOWED."""
    words = [one.removesuffix("/128" if ":" in one else "/32") for one in map(str, allowed)]
    tests = [f"{field} != {one}" for one in words] if len(words) <= _FEW else [f"{field} != {{ {', '.join(words)} }}"]
    return f"{' '.join(tests)} drop"


def _arp_rules(mac: str, four: list[IPv4Network] | None) -> Iterator[str]:
    """Only Ethernet and IPv4. A request from 0.0.0.0 tries an address before it is used."""
    yield "arp htype != 1 drop"
    yield "arp ptype != ip drop"
    yield "arp hlen != 6 drop"
    yield "arp plen != 4 drop"
    yield f"arp saddr ether != {mac} drop"
    if four is not None:
        yield "arp operation != request arp saddr ip 0.0.0.0 drop"
        yield _unless("arp saddr ip", _or_none_yet(four))


def _ipv4_rules(device: str, four: list[IPv4Network] | None) -> Iterator[str]:
    """From 0.0.0.0 there comes what asks for an address, whole and to everybody.

    A packet that says that it is longer or shorter than it is has no ports for nftables, but for clients of DHCP.
    """
    yield "ip protocol udp udp sport 67 drop"
    yield f"ip protocol udp ip frag-off & 0x1fff == 0 jump {chain_of(device, 'fragments')}"
    if four is None:
        return
    yield _unless("ip saddr", _or_none_yet(four))
    if _has_none(four):
        return
    for test in _NO_DHCP:
        yield f"ip saddr 0.0.0.0 {test} drop"


_NO_DHCP = (
    "ip daddr != 255.255.255.255", "ip frag-off & 0x3fff != 0", "ip protocol != udp", "udp sport != 68", "udp dport != 67",
)  # fmt: skip


def _or_none_yet(four: list[IPv4Network]) -> list[IPv4Network]:
    import ipaddress

    return four if _has_none(four) else [*four, ipaddress.IPv4Network("0.0.0.0/32")]


def _has_none(four: list[IPv4Network]) -> bool:
    """Whether 0.0.0.0 is in one of the networks, as in 0.0.0.0/0."""
    return any(not int(network.network_address) for network in four)


def _ipv6_rules(device: str, own: list[IPv6Network]) -> Iterator[str]:
    yield f"exthdr frag exists jump {chain_of(device, 'fragments')}"
    yield "ip6 nexthdr != icmpv6 meta l4proto icmpv6 @th,0,8 133-137 drop"
    yield "icmpv6 type 134 drop"
    yield "icmpv6 type 137 drop"
    yield "udp sport 547 drop"
    if not own:
        return
    foreign = f"jump {chain_of(device, 'targets')}" if len(own) > _FEW else _foreign_target(own)
    if foreign:
        yield f"ip6 saddr :: icmpv6 type 135 {foreign}"
        yield f"icmpv6 type 136 {foreign}"
    yield from (f"ip6 saddr :: icmpv6 type {types} return" for types in _UNSPECIFIED)
    yield _unless("ip6 saddr", own)


#: The first of several fragments must show that it has nothing in it that is checked elsewhere; later ones are nothing
#: without it. Neighbour discovery is never in fragments (RFC 6980). UDP of IPv4 must show its ports, in fragments or not.
_FRAGMENTS = (
    "meta protocol ip udp sport 0-65535 return",
    "frag frag-off != 0 return",
    "icmpv6 type 128-129 return",             # echo
    "udp sport != 547 return",
    "tcp sport 0-65535 return",
    "meta l4proto != icmpv6 meta l4proto != udp meta l4proto != tcp return",
    "drop",
)


def _with_link_local(six: list[IPv6Network]) -> list[IPv6Network]:
    """A guest may have any link-local address, unless one is among its words: then those are the only ones."""
    import ipaddress

    all_of_them = ipaddress.IPv6Network(_LINK_LOCAL)
    return six if any(network.overlaps(all_of_them) for network in six) else [*six, all_of_them]


def _target(network: IPv6Network) -> tuple[str, str]:
    """The first bits of the target of a solicitation or an advertisement, and what they are in NETWORK."""
    length = network.prefixlen
    return f"@th,64,{length}", f"{int(network.network_address) >> (128 - length):#x}"


def _within(network: IPv6Network) -> str:
    return f"{' '.join(_target(network))} return" if network.prefixlen else "return"


def _foreign_target(own: list[IPv6Network]) -> str:
    """Drops what has a target in none of the networks OWN; "" where every target is in one."""
    if not all(network.prefixlen for network in own):
        return ""
    return " ".join(f"{bits} != {value}" for bits, value in map(_target, own)) + " drop"
