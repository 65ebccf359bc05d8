"""Limits on what a guest sends and receives, with what this kernel has for that.

What it sends is shaped: the port's chain hands it to a device of kind ifb, whose queue is a token bucket, and the kernel
goes on with what comes out of there as if it came from the guest just then. A filter of the chain has seen it before; a
redirection by tc would go past the filter. What it receives is shaped by a token bucket on the port itself. A kernel that
lacks any of it drops what is too much, by nftables alone.
"""

from __future__ import annotations

import functools
import hashlib
from typing import NamedTuple

from xmcompat.network import programs
from xmcompat.network.programs import NetworkError, ProgramFailed
from xmcompat.network.wanted import LONGEST_NAME, Port, Rate

#: Beginning of the names of our devices of kind ifb: with the port's own name behind it, or, where that is too long, with
#: what stands for it.
SHAPER, SHAPER_SHORT = "ifb-", "ifb."

#: What may wait in a queue: all that can be sent in so many milliseconds, and not less than so many packets of full size.
_WAITING_MS, _WAITING_PACKETS = 100, 32

#: Bytes of a frame that do not count for its MTU: Ethernet's header with the tags of two VLANs.
_HEADER = 22

_MOST = 2**32 - 1


class Means(NamedTuple):
    """How a limit is kept: ``sending`` "ifb" or "nft", ``receiving`` "tbf", "htb" or "nft"; "" for not at all."""

    sending: str = ""
    receiving: str = ""


_TBF = "tc qdisc add dev lo root tbf rate 1mbit burst 10000 limit 20000"
_HTB = "tc qdisc add dev lo root htb"
_IFB = "ip link add probe type ifb"
_NFT = "nft add table netdev t; add chain netdev t c {{ type filter hook {} device lo priority 0; }}; add rule netdev t c "
_DROPPING = "limit rate over 1 bytes/second drop"


def sending_means() -> str:
    if _works(_TBF) and _works(_IFB) and _works(_NFT.format("ingress") + "fwd to lo"):
        return "ifb"
    return "nft" if _works(_NFT.format("ingress") + _DROPPING) else ""


def receiving_means() -> str:
    if _works(_TBF):
        return "tbf"
    if _works(_HTB):
        return "htb"
    return "nft" if _works(_NFT.format("egress") + _DROPPING) else ""


@functools.cache
def _works(command: str) -> bool:
    """Whether COMMAND works, tried once in a network namespace that is gone with it (4 ms).

    Raises NetworkError where none can be made.
    """
    words = ("nft", command.removeprefix("nft ")) if command.startswith("nft ") else tuple(command.split())
    try:
        programs.run(("unshare", "--net", *words))
    except ProgramFailed as error:
        if error.said.startswith("unshare: failed to execute"):
            raise NetworkError(
                f"the program '{words[0]}' cannot be started", hint=programs.package_hint(words[0])
            ) from None
        if error.said.startswith("unshare:"):
            raise NetworkError(
                f"what this kernel can limit cannot be found out: {error.said}", hint="only root may do that"
            ) from None
        return False
    return True


def means_for(port: Port) -> Means:
    """Asks the kernel for no more than the port needs. Raises NetworkError where it can limit nothing of the kind."""
    found = Means(sending_means() if port.sending else "", receiving_means() if port.receiving else "")
    for rate, how, verb in ((port.sending, found.sending, "sends"), (port.receiving, found.receiving, "receives")):
        if rate and not how:
            raise NetworkError(
                f"{port.device}: this kernel cannot limit what a guest {verb}",
                hint="leave rate= out, or use a kernel with CONFIG_NET_SCH_TBF, CONFIG_IFB and CONFIG_NFT_FWD_NETDEV",
            )
    return found


def shaper_of(device: str) -> str:
    """The name of the ifb that shapes what comes from DEVICE."""
    data = device.encode("utf-8", "surrogateescape")
    if len(SHAPER) + len(data) <= LONGEST_NAME:
        return SHAPER + device
    return SHAPER_SHORT + hashlib.sha256(data).hexdigest()[: LONGEST_NAME - len(SHAPER_SHORT)]


def token_bucket(device: str, rate: Rate, mtu: int) -> str:
    """What "tc -batch" reads to let out no more than RATE of DEVICE. Packets larger than the burst are cut first."""
    burst = burst_of(rate, mtu)
    limit = min(_MOST, burst + max(rate.speed * _WAITING_MS // 1000, _WAITING_PACKETS * (mtu + _HEADER)))
    return f"qdisc replace dev {device} root tbf rate {rate.speed * 8}bit burst {burst} limit {limit}\n"


def classes(device: str, rate: Rate, mtu: int) -> str:
    """The same by a hierarchy of one class. Here a packet may be larger than the burst; the next ones wait for it."""
    burst = burst_of(rate, mtu)
    return (
        f"qdisc replace dev {device} root handle 1: htb default 1\n"
        f"class replace dev {device} parent 1: classid 1:1 htb rate {rate.speed * 8}bit burst {burst} cburst {burst}\n"
    )


def burst_of(rate: Rate, mtu: int) -> int:
    """What the rate allows, but never less than one packet, nor than what comes within a tick of a slow clock (10 ms)."""
    return min(_MOST // 2, max(rate.burst, rate.speed // 100, mtu + _HEADER))


def unqueue(device: str) -> str:
    """What "tc -batch" reads to give DEVICE the kernel's own queue again, whether or not it has another one."""
    return f"qdisc replace dev {device} root pfifo\nqdisc del dev {device} root\n"
