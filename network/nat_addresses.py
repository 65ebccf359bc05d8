"""The addresses of guests behind NAT: Xen's own come from the number of the domain and change at every start; these do not.

Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from xmcompat.network.programs import NetworkError

#: What Xen adds to a guest's last byte to have its router's.
_TO_ROUTER = 127
#: Guests that share the last byte's range with their routers have the lower half of it.
_LAST_OF_GUESTS = 127
#: The longest prefix in which there is room for the host and a guest.
_LONGEST = 30


def network_of(text: str) -> IPv4Network:
    """The network of guests. Raises NetworkError where it is none, or has no room."""
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise NetworkError(f"'{text}' is no IPv4 network for NAT: {error}", hint="write 10.0.0.0/16") from None
    if not 8 <= network.prefixlen <= _LONGEST or network.is_multicast or network.is_loopback or network.is_unspecified:
        raise NetworkError(f"'{text}' cannot be the network of guests behind NAT", hint="write 10.0.0.0/16")
    return network


def gateway_of(network: str) -> str:
    """The host's address in it: the first."""
    return str(network_of(network)[1])


def nat_address(mac: str, network: str, taken: Collection[str] = (), ip: str = "") -> str:
    """The address of the guest with MAC: what ``ip=`` says, else one that follows from the MAC, the same each time.

    TAKEN are the addresses of other guests; where one has that address already, the next free one is it. A prefix of IP is
    left aside. Raises NetworkError where IP is taken, the host's or outside of NETWORK, and where NETWORK is full.
    Source: vif-nat, which numbers by domain. Differs from xm: a guest's address stays when its domain's number changes.
    """
    inside = network_of(network)
    if ip:
        return _given(ip, inside, taken)
    numbers = _Numbers(inside)
    first = int.from_bytes(hashlib.sha256(mac.lower().encode()).digest()[:8], "big") % numbers.count
    routers = {router for one in taken if (router := router_address(one, network))}
    for offset in range(min(numbers.count, len(taken) + len(routers) + 2)):
        address = str(numbers[(first + offset) % numbers.count])
        if address not in taken and address not in routers and address != str(inside[1]):
            return address
    raise NetworkError(f"all addresses of {network} are taken", hint="write a larger network")


def router_address(address: str, network: str) -> str:
    """What a guest that has ADDRESS by Xen's numbers has as its router, "" where there can be none.

    Source: vif-nat: the last byte and 127. Differs from xm: a sum above 254, or outside of NETWORK, is none; xm wrote it.
    """
    inside, guest = network_of(network), IPv4Address(address)
    last = int(guest) % 256 + _TO_ROUTER
    if last > 254:
        return ""
    router = IPv4Address(int(guest) - int(guest) % 256 + last)
    usable = router in inside and router not in (inside[0], inside[1], inside[-1])
    return str(router) if usable else ""


class _Numbers:
    """The addresses that are given out: of each 256 the lower half, the routers being in the upper; in smaller networks
    all."""

    def __init__(self, network: IPv4Network) -> None:
        self._network = network
        self._halved = network.prefixlen <= 24
        blocks = network.num_addresses // 256
        self.count = blocks * _LAST_OF_GUESTS if self._halved else network.num_addresses - 2

    def __getitem__(self, index: int) -> IPv4Address:
        if not self._halved:
            return self._network[index + 1]
        block, last = divmod(index, _LAST_OF_GUESTS)
        return self._network[block * 256 + last + 1]


def _given(ip: str, network: IPv4Network, taken: Collection[str]) -> str:
    try:
        address = IPv4Interface(ip).ip
    except ValueError:
        raise NetworkError(f"ip='{ip}' is no IPv4 address", hint="guests behind NAT have one: write ip=10.0.3.1") from None
    if address not in network:
        raise NetworkError(f"ip='{ip}' lies outside of {network}, the network behind NAT", hint=f"choose one in {network}")
    if address in (network[0], network[-1]):
        raise NetworkError(f"ip='{ip}' is the first or last number of {network}, which no guest can have")
    if address == network[1]:
        raise NetworkError(f"ip='{ip}' is the host's own address in {network}", hint="choose another one")
    if str(address) in taken:
        raise NetworkError(f"ip='{ip}' is another guest's address", hint="choose another one")
    return str(address)
