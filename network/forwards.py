"""Ports of the host that lead to guests behind NAT: one map of nftables, an element each.

What comes to any address of the host is forwarded: from outside, from the host itself (but not to 127.0.0.1), from guests
(but not to the gateway's own address, where DHCP and names are served). A guest that reaches another one that way is
answered by it through the host, by the NAT's own rule. Only a guest that asks for itself that way hears nothing, where
the host's IP rules see bridged packets (``bridge-nf-call-iptables``): they may not go back into the port they came from.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xmcompat.network import notes
from xmcompat.network.host import TABLE, Host
from xmcompat.network.nat_addresses import network_of
from xmcompat.network.programs import NetworkError
from xmcompat.network.wanted import Forward, Nat

PROTOCOLS = ("tcp", "udp")


def map_of(bridge: str) -> str:
    """The name of the map of a NAT."""
    return f"nat-forwards-{notes.identifier(bridge)}"


def declaration(bridge: str) -> str:
    """What nft reads to have the map."""
    return f"add map inet {TABLE} {map_of(bridge)} {{ type inet_proto . inet_service : ipv4_addr . inet_service ; }}\n"


def lookup(bridge: str) -> str:
    """The words of a rule that send a packet where the map says."""
    return f"dnat ip to meta l4proto . th dport map @{map_of(bridge)}"


def elements(verb: str, bridge: str, some: Iterable[Forward]) -> str:
    """What nft reads to add or delete SOME."""
    listed = ", ".join(f"{one.protocol} . {one.port} : {one.address} . {one.port_inside}" for one in some)
    return f"{verb} element inet {TABLE} {map_of(bridge)} {{ {listed} }}\n" if listed else ""


def exchange(bridge: str, old: Iterable[Forward], new: Iterable[Forward]) -> str:
    """What nft reads to have NEW in the place of OLD."""
    return elements("delete", bridge, old) + elements("add", bridge, new)


def found(bridge: str, host: Host) -> tuple[Forward, ...]:
    """Those that are in the kernel."""
    for entry in host.tables.get("inet", ()):
        if entry.get("map", {}).get("name") == map_of(bridge):
            return tuple(filter(None, map(_forward, entry["map"].get("elem", ()))))
    return ()


def _forward(element: Any) -> Forward | None:  # noqa: ANN401 - whatever nft has there
    """None for an element of another kind, which is not ours."""
    try:
        key, data = element
        (protocol, port), (address, inside) = key["concat"], data["concat"]
        return Forward(protocol=_protocol(protocol), port=int(port), address=str(address), port_inside=int(inside))
    except (KeyError, TypeError, ValueError):
        return None


def _protocol(shown: object) -> str:
    """nft shows the name, or the number where the host has no list of names."""
    return {"6": "tcp", "17": "udp"}.get(str(shown), str(shown))


def check(forward: Forward, nat: Nat) -> None:
    """Raises NetworkError where it cannot be."""
    shown = shown_as(forward)
    if forward.protocol not in PROTOCOLS:
        raise NetworkError(f"forward '{shown}': '{forward.protocol}' cannot be forwarded", hint="write tcp or udp")
    for port in (forward.port, forward.port_inside):
        if not 1 <= port <= 65535:
            raise NetworkError(f"forward '{shown}': there is no port {port}", hint="ports are 1 to 65535")
    network = network_of(nat.network)
    if forward.address not in (str(one) for one in _ends(nat, forward.address)):
        raise NetworkError(
            f"forward '{shown}': no guest behind '{nat.bridge}' can have {forward.address}", hint=f"choose one in {network}"
        )


def _ends(nat: Nat, address: str) -> tuple[object, ...]:
    """ADDRESS where a guest can have it."""
    from ipaddress import IPv4Address

    network = network_of(nat.network)
    try:
        one = IPv4Address(address)
    except ValueError:
        return ()
    return (one,) if one in network and one not in (network[0], network[1], network[-1]) else ()


def refuse_equal(forwards: Iterable[Forward]) -> None:
    """Raises NetworkError where two of them begin at the same port."""
    seen: dict[tuple[str, int], Forward] = {}
    for one in forwards:
        other = seen.setdefault((one.protocol, one.port), one)
        if other != one:
            raise NetworkError(f"{one.protocol} port {one.port} is to lead to {end_of(other)} and to {end_of(one)}")


def shown_as(forward: Forward) -> str:
    """As it is written in the configuration: "tcp 8080 10.0.0.5:80"."""
    return f"{forward.protocol} {forward.port} {end_of(forward)}"


def end_of(forward: Forward) -> str:
    """Where it leads: "10.0.0.5:80", "[fd00::5]:80"."""
    address = f"[{forward.address}]" if ":" in forward.address else forward.address
    return f"{address}:{forward.port_inside}"


# -- what the host itself serves

#: The states of sockets that wait for others: TCP's LISTEN, and UDP's only one that is not connected.
_WAITING = {"tcp": "0A", "udp": "07"}


def warnings(some: Iterable[Forward], served: frozenset[tuple[str, int]] | None = None) -> list[str]:
    """Sentences about those whose port a program of the host serves: it is not reached from outside any more.

    SERVED is read from the kernel where it is not given.
    """
    served = listening() if served is None else served
    return [
        f"forward '{shown_as(one)}': a program of this host serves {one.protocol} port {one.port}, and is reached no more"
        for one in some if (one.protocol, one.port) in served
    ]  # fmt: skip


def listening(root: str = "/proc/self/net") -> frozenset[tuple[str, int]]:
    """The protocols and ports on which programs of the host wait on other addresses than loopback's."""
    found = set()
    for name in ("tcp", "tcp6", "udp", "udp6"):
        try:
            lines = Path(root, name).read_text().splitlines()[1:]
        except OSError:
            continue
        for words in (line.split() for line in lines):
            address, _, port = words[1].partition(":")
            if words[3] == _WAITING[name[:3]] and not _is_loopback(address):
                found.add((name[:3], int(port, 16)))
    return frozenset(found)


def _is_loopback(address: str) -> bool:
    """Of /proc's hexadecimal addresses, in the byte order of the machine."""
    return (len(address) == 8 and address.endswith("7F")) or address == "0" * 24 + "01000000"
