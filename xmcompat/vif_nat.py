"""Guests behind NAT: which address each has, and what the host keeps for it beside its tap."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from xmcompat.backends.local_host import link_alias
from xmcompat.network import dhcp, files, marks, nat
from xmcompat.network.host import Host
from xmcompat.network.nat_addresses import nat_address
from xmcompat.network.steps import Step
from xmcompat.network.wanted import Nat, Port

_SYS = "/sys/class/net"


class Guest(NamedTuple):
    """What dnsmasq is told of a guest."""

    mac: str
    address: str


def wanted_of(bridge: str) -> Nat:
    """The network of a bridge, from the mark that it has."""
    mark = marks.read(link_alias(bridge))
    values = mark.values if mark is not None else {}
    nat_of_it = Nat(uplink=values.get("uplink", ""), bridge=bridge, dhcp=values.get("dhcp") != "no")
    return replace(nat_of_it, network=values["network"]) if values.get("network") else nat_of_it


def addressed(port: Port) -> Port:
    """PORT with the address that its guest has: the one that is given, else one of its own. Raises NetworkError."""
    given, *more = port.addresses or ("",)
    taken = [guest.address for guest in guests(port.bridge) if guest.mac != port.mac]
    address = nat_address(port.mac, wanted_of(port.bridge).network, taken, given)
    return replace(port, addresses=(address, *more))


def up(port: Port, name: str, number: int, host: Host) -> tuple[Step, ...]:
    """What PORT, which has its address, needs beside its filter, for the interface NUMBER of the domain NAME."""
    wanted, address = wanted_of(port.bridge), port.addresses[0]
    known = tuple(one.address for one in host.addresses_of(port.bridge, 4))
    steps = nat.guest_up(port.bridge, address, wanted.network, known)
    if not wanted.dhcp:
        return steps
    leases = dhcp.read_leases(port.bridge)
    return (*steps, *dhcp.guest_up(port.bridge, port.mac, address, dhcp.guest_name(name, number), leases=leases))


def down(bridge: str, guest: Guest, host: Host) -> tuple[Step, ...]:
    """What takes away what the host keeps for a guest that has gone."""
    wanted = wanted_of(bridge)
    known = tuple(one.address for one in host.addresses_of(bridge, 4))
    steps = nat.guest_down(bridge, guest.address, wanted.network, known)
    return (*steps, *dhcp.guest_down(bridge, guest.mac)) if wanted.dhcp else steps


def guests(bridge: str) -> tuple[Guest, ...]:
    """The guests that dnsmasq of the BRIDGE is told of. Raises NetworkError."""
    folder = f"{dhcp.folder(bridge)}/hosts"
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ()
    rows = (files.read(f"{folder}/{name}").strip().split(",") for name in names)
    return tuple(Guest(row[0], row[1]) for row in rows if len(row) > 1)


def gone() -> Iterator[tuple[str, Guest]]:
    """The guests that it is told of whose taps have gone, with their bridges. No program is started.

    A tap's address is the guest's but for the first byte.
    """
    try:
        bridges = os.listdir(dhcp.DIRECTORY)
    except OSError:
        return
    for bridge in bridges:
        there = set(_macs(bridge))
        yield from ((bridge, guest) for guest in guests(bridge) if guest.mac[2:] not in there)


def _macs(bridge: str) -> Iterator[str]:
    """The addresses of the links on a bridge, without their first bytes."""
    try:
        names = os.listdir(f"{_SYS}/{bridge}/brif")
    except OSError:
        return
    for name in names:
        yield files.read(f"{_SYS}/{name}/address").strip()[2:]
