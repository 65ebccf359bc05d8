"""Routing: the host forwards between its card and guests that have a route each (network-route, vif-route).

No guest is on the card's own segment: the host answers ARP, and neighbours in IPv6, with its own MAC for every address that
it has a route to on another device. The tap of each guest has the host's main address as a /32; the guest may take any
address as its gateway, for the host answers for all of them there. For IPv6 its gateway is fe80::1.

All that a guest needs goes with its tap, but for the neighbours in IPv6 that the card answers for. They carry a number by
which they are known; one to which no route to a guest is left is stale (``sweep``).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from typing import NamedTuple

from xmcompat.network import forwarding, links, marks, notes, programs, sysctl
from xmcompat.network.found import MAKING, UP, Found
from xmcompat.network.host import PROTOCOL, Host, Proxy
from xmcompat.network.notes import Earlier
from xmcompat.network.programs import NetworkError, ProgramFailed
from xmcompat.network.steps import Command, Setting, Step
from xmcompat.network.wanted import Port, Routing

KIND = "route"

#: The metric of a guest's route, vif-route's.
METRIC = "2"
#: The gateway of guests in IPv6.
GATEWAY6 = "fe80::1"

_PROXY_ARP = "net.ipv4.conf.*.proxy_arp"
_PROXY_NDP = "net.ipv6.conf.*.proxy_ndp"


# -- the host


def up(wanted: Routing, host: Host) -> tuple[Step, ...]:
    """What is missing so that the host routes between its card and guests. Raises NetworkError."""
    link = links.card(wanted.uplink, host)
    links.check_name(link.name)
    if link.master:
        raise NetworkError(
            f"'{link.name}' is a port of '{link.master}' and has no address of its own", hint=f"route over '{link.master}'"
        )
    name, there = _note(link.name), notes.noted(host, KIND).get(_note(link.name))
    remembered = (*forwarding.to_remember(host, link.name, ipv6=wanted.ipv6), *_answering(wanted, link.name, host))
    changes = notes.set_steps(host, remembered)
    values = {"uplink": link.name, "ipv6": "" if wanted.ipv6 else "no"}
    making, whole = (marks.text(KIND, **values, state=state) for state in (MAKING, UP))
    if there and not changes and marks.text(KIND, **there.values) == whole and notes.is_written(host, name):
        return notes.copied(host, name, whole, notes.earlier(host, name))
    made = notes.nft(notes.text(name, making, remembered))
    return (
        notes.step(host, name, making, remembered, words=f"note how '{link.name}' was before it routes"),
        *changes,
        Step(text=f"note that '{link.name}' routes", do=notes.nft(notes.text(name, whole, remembered)), undo=(made,)),
        *notes.copied(host, name, whole, remembered),
    )


def found(host: Host) -> tuple[Found[Routing], ...]:
    """The cards that route by our doing."""
    return tuple(
        Found(Routing(uplink=mark.values.get("uplink", ""), ipv6=mark.values.get("ipv6") != "no"),
              UP if mark.values.get("state") == UP else MAKING)
        for mark in notes.noted(host, KIND).values() if mark.values.get("uplink")
    )  # fmt: skip


def down(wanted: Routing, host: Host) -> tuple[Step, ...]:
    """What puts the host back to what it was. Guests that are still there are cut off."""
    name = _note(wanted.uplink)
    begin = notes.going(host, name)
    host = notes.foreseen(host, begin)
    return (
        *begin,
        *(_unproxied(proxy) for proxy in host.proxies if proxy.device == wanted.uplink),
        *notes.restore_steps(host, name),
        *notes.forgotten(host, name, words=f"forget that '{wanted.uplink}' routes"),
    )


def verify(wanted: Routing, host: Host) -> list[str]:
    """What is not as WANTED, read back from the kernel."""
    link = host.link(wanted.uplink)
    if link is None:
        return [f"routing: there is no network card '{wanted.uplink}'"]
    wrong = [
        f"routing: '{link.name}' {text}" for text, right in (
            ("is down", link.up),
            (f"is a port of '{link.master}'", not link.master),
            ("has no IPv4 address", bool(host.addresses_of(link.name, 4))),
            ("does not forward IPv4", host.setting_of("net.ipv4.conf.*.forwarding", link.name) == "1"),
            ("does not answer ARP for guests", host.setting_of(_PROXY_ARP, link.name) == "1"),
        ) if not right
    ]  # fmt: skip
    if host.setting(forwarding.IPV4) != "1":
        wrong.append("routing: the host does not forward IPv4")
    if wanted.ipv6 and forwarding.has_ipv6(host, link.name):
        if host.setting(forwarding.IPV6) != "1":
            wrong.append("routing: the host does not forward IPv6")
        if host.setting_of(_PROXY_NDP, link.name) != "1":
            wrong.append(f"routing: '{link.name}' does not answer neighbours in IPv6 for guests")
    mark = notes.noted(host, KIND).get(_note(link.name))
    if mark is None or mark.values.get("state") != UP:
        wrong.append("routing: a change has stopped in the middle" if mark else "routing: is not noted as ours")
    elif not notes.is_written(host, _note(link.name)):
        wrong.append(f"routing: {notes.FLUSHED}")
    return wrong


def sweep(host: Host) -> tuple[Step, ...]:
    """What removes the neighbours of guests that are gone: those to which no other device has a route."""
    there = {(route.destination.removesuffix("/128"), route.device) for route in host.routes if route.family == 6}
    return tuple(
        _unproxied(proxy) for proxy in host.proxies
        if not any(address == proxy.address and device != proxy.device for address, device in there)
    )  # fmt: skip


def _note(uplink: str) -> str:
    return f"{KIND}-{notes.identifier(uplink)}"


def _answering(wanted: Routing, uplink: str, host: Host) -> tuple[Earlier, ...]:
    settings = {sysctl.of_device(_PROXY_ARP, uplink): "1"}
    if wanted.ipv6 and forwarding.has_ipv6(host, uplink):
        settings[sysctl.of_device(_PROXY_NDP, uplink)] = "1"
    return notes.to_remember(host, settings)


def _unproxied(proxy: Proxy) -> Step:
    return Step(text=f"answer no longer for {proxy.address}", do=_proxy("del", proxy), undo=(_proxy("add", proxy),))


def _proxy(verb: str, proxy: Proxy) -> Command:
    mark = ("protocol", PROTOCOL) if verb == "add" else ()
    return Command(("ip", "-6", "neigh", verb, "proxy", proxy.address, "dev", proxy.device, *mark))


# -- a guest


class MainAddresses(NamedTuple):
    """The first addresses of a card, "" for none."""

    ipv4: str
    ipv6: str


def main_addresses(uplink: str) -> MainAddresses:
    """Ask the kernel for those of UPLINK alone. Raises NetworkError where there is no such card, or none of IPv4."""
    try:
        shown = json.loads(programs.run(("ip", "-j", "addr", "show", "dev", uplink, "scope", "global")) or "[]")
    except ProgramFailed as error:
        raise NetworkError(f"there is no network card '{uplink}' to route over", hint=error.said) from None
    infos = [info for entry in shown for info in entry.get("addr_info", ()) if "local" in info]
    four, six = ([info["local"] for info in infos if info["family"] == family] for family in ("inet", "inet6"))
    if not four:
        raise NetworkError(
            f"'{uplink}' has no IPv4 address that guests could be routed by",
            hint=f"give '{uplink}' one, or name another card",
        )
    return MainAddresses(four[0], six[0] if six else "")


def port_up(port: Port, host_address: str, host_address6: str = "") -> tuple[Step, ...]:
    """What makes the tap of PORT the way to a guest with its addresses. Raises NetworkError.

    HOST_ADDRESS and HOST_ADDRESS6 are the uplink's main addresses. Networks of IPv6 have to be routed to the host by the
    outside: neighbours are answered for one by one.
    """
    destinations = [destination(word) for word in port.addresses]
    six = [one for one in destinations if one.version == 6]
    if not host_address:
        raise NetworkError(f"'{port.device}': '{port.uplink}' has no IPv4 address that guests could be routed by")
    steps = [*_tap_settings(port.device, bool(six))]
    steps.append(_tap_addresses(port.device, host_address, host_address6 if six else "", six))
    for one in destinations:
        source = ("src", host_address) if one.version == 4 else ()
        route = ("route", "{}", str(one), "dev", port.device, *source, "metric", METRIC)
        add, delete = (Command(("ip", *(word.format(verb) for word in route))) for verb in ("add", "del"))
        steps.append(Step(text=f"route {one} to '{port.device}'", do=add, undo=(delete,)))
    for one in six:
        if one.prefixlen == 128:
            proxy = Proxy(port.uplink, str(one.network_address))
            text = f"answer on '{port.uplink}' for {proxy.address}"
            steps.append(Step(text=text, do=_proxy("add", proxy), undo=(_proxy("del", proxy),)))
    return tuple(steps)


def destination(word: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Where a word of ``ip=`` routes: an address, or a network. One with a prefix that is no network is an address.

    Raises NetworkError.
    """
    try:
        one = ipaddress.ip_interface(word)
    except ValueError:
        raise NetworkError(
            f"'{word}' is neither an address nor a network", hint="write 192.0.2.10 or 192.0.2.0/28"
        ) from None
    return one.network if one.ip == one.network.network_address else ipaddress.ip_network(one.ip)


def _tap_settings(tap: str, ipv6: bool) -> Iterator[Step]:
    """All of them go with the tap. The host answers a guest at once; on a segment of many it would wait up to 0.8 s."""
    settings = [("net.ipv4.conf.*.forwarding", "1"), (_PROXY_ARP, "1"), ("net.ipv4.neigh.*.proxy_delay", "0")]
    if ipv6:
        settings += [("net.ipv6.conf.*.disable_ipv6", "0"), ("net.ipv6.conf.*.accept_ra", "0"), (_PROXY_NDP, "1"),
                     ("net.ipv6.conf.*.forwarding", "1"), ("net.ipv6.neigh.*.proxy_delay", "0")]  # fmt: skip
    for pattern, value in settings:
        key = sysctl.of_device(pattern, tap)
        yield Step(text=f"set {key} to {value}", do=Setting(key, value))


def _tap_addresses(tap: str, address: str, address6: str, six: list[ipaddress.IPv6Network]) -> Step:
    lines = [f"addr add {address}/32 dev {tap}"]
    lines += [f"addr add {GATEWAY6}/64 dev {tap} nodad"] if six else []
    lines += [f"neigh add proxy {address6} dev {tap}"] if address6 else []
    up = [f"link set dev {tap} up", *lines]
    back = [line.replace(" add ", " del ", 1).removesuffix(" nodad") for line in reversed(lines)]
    add, delete = (Command(("ip", *words, "-batch", "-"), "".join(f"{line}\n" for line in some))
                   for words, some in (((), up), (("-force",), back)))  # fmt: skip
    return Step(text=f"give '{tap}' the host's address {address}", do=add, undo=(delete,))
