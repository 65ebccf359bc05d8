"""That the host forwards packets: the settings of the whole host that routed and NAT networks share. Pure.

The kernel sets more than it is told: with ``ip_forward`` goes the forwarding of every link, and redirects are believed or
not; with IPv6's go the links as well, and a card that forwards hears no router advertisements unless ``accept_ra`` is 2.
What was otherwise before is remembered with it.
"""

from __future__ import annotations

from collections.abc import Iterator

from xmcompat.network import notes, sysctl
from xmcompat.network.host import Host
from xmcompat.network.notes import Earlier

IPV4 = "net.ipv4.ip_forward"
IPV6 = "net.ipv6.conf.all.forwarding"
_REDIRECTS = "net.ipv4.conf.all.accept_redirects"


def to_remember(host: Host, uplink: str, *, ipv6: bool) -> tuple[Earlier, ...]:
    """What is to be set so that packets go between UPLINK and guests, in this order, with the values before."""
    found = list(notes.to_remember(host, {IPV4: "1"}))
    found += _moved(host, IPV4, "net.ipv4.conf.*.forwarding", (_REDIRECTS,) if host.setting(_REDIRECTS) == "0" else ())
    if host.setting(IPV4) == "1" and not found:
        found += notes.to_remember(host, {sysctl.of_device("net.ipv4.conf.*.forwarding", uplink): "1"})
    if ipv6 and has_ipv6(host, uplink):
        listening = {sysctl.of_device("net.ipv6.conf.*.accept_ra", name): "2" for name in _listening(host, uplink)}
        found += notes.to_remember(host, listening)
        whole = notes.to_remember(host, {IPV6: "1"})
        found += (*whole, *_moved(host, IPV6, "net.ipv6.conf.*.forwarding"))
        if host.setting(IPV6) == "1" and not whole:
            found += notes.to_remember(host, {sysctl.of_device("net.ipv6.conf.*.forwarding", uplink): "1"})
    return tuple(dict.fromkeys(found))


def has_ipv6(host: Host, device: str) -> bool:
    """Whether DEVICE speaks IPv6 at all."""
    disabled = notes.now(host, sysctl.of_device("net.ipv6.conf.*.disable_ipv6", device))
    return disabled == "0" and bool(host.addresses_of(device, 6))


def _moved(host: Host, cause: str, pattern: str, more: tuple[str, ...] = ()) -> Iterator[Earlier]:
    """The settings that setting CAUSE changes as well, and that its setting back does not bring back."""
    known = {one.key: one for name in {name for name, _ in notes.comments(host)} for one in notes.earlier(host, name)}
    if cause in known:
        family = cause[: len("net.ipv4.")]
        yield from (one for one in known.values() if one.key.startswith(family) and one.was == one.now)
    elif host.setting(cause) == "0":
        links = ("default", *(link.name for link in host.links))
        ones = [key for name in links if host.setting(key := sysctl.of_device(pattern, name)) == "1"]
        yield from (Earlier(key, host.setting(key), host.setting(key)) for key in (*more, *ones))


def _listening(host: Host, uplink: str) -> Iterator[str]:
    """The links that have an address or a route by router advertisements, or may get one, and would lose it."""
    for link in host.links:
        told = any(one.dynamic for one in host.addresses_of(link.name, 6)) or any(
            route.family == 6 and route.protocol == "ra" for route in host.routes_of(link.name)
        )
        heard = notes.now(host, sysctl.of_device("net.ipv6.conf.*.accept_ra", link.name))
        before = {one.key for name, _ in notes.comments(host) for one in notes.earlier(host, name)}
        key = sysctl.of_device("net.ipv6.conf.*.accept_ra", link.name)
        if key in before or ((link.name == uplink or told) and heard == "1" and not _forwards(host, link.name)):
            yield link.name


def _forwards(host: Host, device: str) -> bool:
    return notes.now(host, sysctl.of_device("net.ipv6.conf.*.forwarding", device)) == "1"
