"""Moves what a host is reached by, its addresses and routes, from one device to another, as steps. Pure.

The new device gets everything before the old one loses it, and the cable changes in between (``join``), so that neither an
address nor the default route is missing at any time. Link-local IPv6 addresses are left to the kernel.

What comes from router advertisements is renewed by the kernel on the device that hears them. Its addresses are moved with
their lifetimes; the kernel finds and renews them. A default route of its own cannot be made by anybody else: the new
device gets one that is preferred and ends by itself, and the old one is left alone until the kernel ends it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from xmcompat.network import links, sysctl
from xmcompat.network.host import Address, Host, Route
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Action, Command, Setting, Step
from xmcompat.network.wanted import LONGEST_NAME

ACCEPT_DAD = "net.ipv6.conf.*.accept_dad"

#: Settings of the card that the device in its place takes over where they are not as those of any new link.
TAKEN_OVER = (
    "net.ipv4.conf.*.forwarding", "net.ipv4.conf.*.rp_filter", "net.ipv4.conf.*.arp_ignore", "net.ipv4.conf.*.proxy_arp",
    "net.ipv6.conf.*.disable_ipv6", "net.ipv6.conf.*.forwarding", "net.ipv6.conf.*.accept_ra", "net.ipv6.conf.*.autoconf",
    "net.ipv6.conf.*.use_tempaddr", "net.ipv6.conf.*.addr_gen_mode", "net.ipv6.conf.*.proxy_ndp",
)  # fmt: skip

_FLAGS = ("home", "mngtmpaddr", "nodad", "noprefixroute", "autojoin")
_LIVES = ("valid_lft", "preferred_lft")

#: Routes that cannot be made again by their words, and why.
_UNLIKE = {
    "multipath": "has several next hops, {} among them",
    "nexthop": "leads by {} to a nexthop object, which others share",
    "encapsulated": "by {} is encapsulated",
}


class Lease(NamedTuple):
    """How long an address is valid and preferred: seconds or "forever", as ``ip`` writes them."""

    valid: str
    preferred: str

    def words(self) -> tuple[str, ...]:
        return ("valid_lft", self.valid, "preferred_lft", self.preferred)


def leases(host: Host, device: str) -> dict[str, Lease]:
    """The addresses of DEVICE that end unless a program renews them (DHCP); not those that the kernel renews."""
    by_kernel = kernel_hears_routers(host, device)
    found = {}
    for address in addresses(host, device):
        if address.dynamic and not address.temporary and not (address.family == 6 and by_kernel):
            words = dict(_pairs(address.rest))
            found[address.address] = Lease(words.get("valid_lft", "forever"), words.get("preferred_lft", "forever"))
    return found


def leases_text(found: Mapping[str, Lease]) -> str:
    """For a mark: "198.51.100.11/86400/43200,..."."""
    return ",".join(f"{address}/{lease.valid}/{lease.preferred}" for address, lease in found.items())


def read_leases(text: str) -> dict[str, Lease]:
    """From a mark. What is not understood is left out."""
    parts = (word.split("/") for word in text.split(",") if word.count("/") == 2)
    return {address: Lease(valid, preferred) for address, valid, preferred in parts}


def lifetimes(device: str, text: str, host: Host) -> dict[str, tuple[str, ...]]:
    """Those that addresses of DEVICE had before, by the mark's TEXT, where nobody has given them new ones."""
    before = read_leases(text)
    kept = (one.address for one in addresses(host, device) if not one.dynamic)
    return {address: before[address].words() for address in kept if address in before}


def addresses(host: Host, device: str) -> tuple[Address, ...]:
    """Those that are moved, first to last: not those that the kernel gives to each link, nor those of the host itself."""
    return tuple(
        one for one in host.addresses_of(device)
        if one.scope != "host" and not (one.family == 6 and ipaddress.ip_address(one.address).is_link_local)
    )  # fmt: skip


def kernel_hears_routers(host: Host, device: str) -> bool:
    """Whether the kernel takes addresses and routes from router advertisements on DEVICE."""
    accept = host.setting_of("net.ipv6.conf.*.accept_ra", device)
    return accept == "2" or (accept == "1" and host.setting_of("net.ipv6.conf.*.forwarding", device) != "1")


def taken_over(target: str, card: str, host: Host) -> Iterator[Step]:
    """The settings of CARD that TARGET does not have, or will not have when it is made."""
    for pattern in TAKEN_OVER:
        value, key = host.setting_of(pattern, card), sysctl.of_device(pattern, target)
        if value and value != (host.setting(key) or host.setting(pattern.replace("*", "default"))):
            yield links.setting(key, value, text=f"set {pattern.rpartition('.')[2]} of {target} as {card} has it")


class Move(NamedTuple):
    """From SOURCE to TARGET. ``lifetimes`` are those that addresses are to have there, by address, () for endless; others
    keep theirs. ``dad`` is what the target's accept_dad is to be in the end, "" for as it is: until then its addresses
    can be used at once. ``back``: the target had them before, and what the kernel has left there is still good."""

    host: Host
    source: str
    target: str
    lifetimes: Mapping[str, tuple[str, ...]]
    dad: str = ""
    back: bool = False

    def steps(self, join: Sequence[Step]) -> tuple[Step, ...]:
        """All of it; the target must be up. JOIN are the steps that give it the cable.

        Raises NetworkError for what cannot be moved.
        """
        direct, gateways, advertised = self._routes()
        here = {str(one) for one in self.host.addresses_of(self.target)}
        moved = addresses(self.host, self.source)
        quick = self.dad not in ("", "0") and any(one.family == 6 for one in moved)
        return (
            *(self._dad(quick)),
            *(self._give(one) for one in moved if str(one) not in here),
            *(step for route in direct if (step := self._append(route))),
            *join,
            *(step for route in gateways for step in self._through(route)),
            *(step for route in advertised for step in self._advertised(route)),
            *(self._drop(route) for route in reversed(direct)),
            *(self._take(one) for one in reversed(moved) if not one.temporary),
            *(self._drop_left(one) for one in moved if _leaves_route(one) and self._has_route(one, self.source)),
            *(self._dad_again(quick)),
        )

    # addresses

    def _give(self, address: Address) -> Step:
        words = self._address_words(address)
        limited = replace(address, dynamic="valid_lft" in words)
        leaves = _leaves_route(limited) and not self._has_route(address, self.target)
        left = (_flush(address, self.target),) if leaves else ()
        return Step(
            text=f"give {self.target} the address {address}{_ending(words)}",
            do=Command(("ip", "addr", "add", str(address), *words, "dev", self.target)),
            undo=(self._removal(address, self.target), *left),
        )

    def _take(self, address: Address) -> Step:
        again: tuple[Action, ...] = (
            Command(("ip", "addr", "add", str(address), *address.rest, "dev", self.source)),
        )  # fmt: skip
        key = sysctl.of_device(ACCEPT_DAD, self.source)
        if address.family == 6 and (now := self.host.setting(key)) not in ("", "0"):
            again = (Setting(key, "0"), *again, Setting(key, now))
        text = f"take the address {address} from {self.source}"
        return Step(text=text, do=self._removal(address, self.source), undo=again)

    @staticmethod
    def _removal(address: Address, device: str) -> Command:
        words = dict(_pairs(address.rest))
        peer = ("peer", words["peer"]) if "peer" in words else ()
        return Command(("ip", "addr", "del", str(address), *peer, "dev", device))

    def _address_words(self, address: Address) -> tuple[str, ...]:
        words: list[str] = []
        lifetimes = self.lifetimes.get(address.address)
        for key, value in _pairs(address.rest):
            if key in _LIVES and lifetimes is not None:
                continue
            words += [key, self._label(address, value)] if key == "label" else [key, value] if value else [key]
        if address.temporary and "noprefixroute" not in words:
            words.append("noprefixroute")
        return (*words, *(lifetimes or ()))

    def _label(self, address: Address, label: str) -> str:
        """ "eth0:1" is "xenbr0:1" there. Raises NetworkError where that is too long."""
        new = self.target + label.removeprefix(self.source)
        if not label.startswith(self.source) or len(new) > LONGEST_NAME:
            raise NetworkError(
                f"the address {address} of {self.source} has the label '{label}', which {self.target} cannot take over",
                hint="give the address without a label, or choose a shorter name",
            )
        return new

    # routes

    def _routes(self) -> tuple[list[Route], list[Route], list[Route]]:
        """Those to the link, those through a gateway, and default routes that the kernel has heard of."""
        direct: list[Route] = []
        gateways: list[Route] = []
        advertised: list[Route] = []
        heard = kernel_hears_routers(self.host, self.source)
        for route in self.host.routes_of(self.source):
            if why := _UNLIKE.get(route.type):
                raise NetworkError(
                    f"the route to {route.destination} {why.format(self.source)}: it cannot follow to {self.target}",
                    hint="remove that route, or make the bridge by hand",
                )
            if self._is_kernels(route):
                continue
            if route.protocol == "ra" and route.gateway and heard:
                advertised.append(route)
            else:
                (gateways if route.gateway or "via" in route.words else direct).append(route)
        return direct, gateways, advertised

    def _is_kernels(self, route: Route) -> bool:
        """Whether it comes and goes with an address or with the link."""
        if route.table == "local" or route.type in ("local", "broadcast", "anycast", "multicast"):
            return True
        if route.protocol != "kernel":
            return False
        made = (_network(one) for one in addresses(self.host, self.source) if "noprefixroute" not in one.rest)
        return route.destination in ("fe80::/64", "ff00::/8", *made)

    def _append(self, route: Route) -> Step | None:
        if any(_same(route, one) for one in self.host.routes_of(self.target)):
            return None
        return Step(
            text=f"let {_described(route)} lead through {self.target}",
            do=_command(route, "append", self.target), undo=(_command(route, "del", self.target),),
        )  # fmt: skip

    def _drop(self, route: Route) -> Step:
        return Step(
            text=f"let {_described(route)} no longer lead through {self.source}",
            do=_command(route, "del", self.source), undo=(_command(route, "append", self.source),),
        )  # fmt: skip

    def _through(self, route: Route) -> Iterator[Step]:
        """IPv4 keeps both while they change; IPv6 would share the traffic among both, but replaces in one go."""
        if route.family == 4:
            if step := self._append(route):
                yield step
            yield self._drop(route)
            return
        yield Step(
            text=f"let {_described(route)} lead through {self.target}",
            do=_command(route, "replace", self.target), undo=(_command(route, "replace", self.source),),
        )  # fmt: skip

    def _advertised(self, route: Route) -> Iterator[Step]:
        """One that goes before the kernel's own on the old device; on the way back, behind what comes there soon."""
        if any(one.protocol == "ra" and _same(replace(one, metric=0), replace(route, metric=0))
               for one in self.host.routes_of(self.target)):  # fmt: skip
            return
        metric = max(1, route.metric + (1 if self.back else -1))
        copy = replace(route, metric=metric, words=_with_metric(route.words, metric))
        yield Step(
            text=f"let {_described(route)} lead through {self.target} until the next router advertisement there",
            do=_command(copy, "append", self.target), undo=(_command(copy, "del", self.target),),
        )  # fmt: skip

    def _has_route(self, address: Address, device: str) -> bool:
        routes = self.host.routes_of(device)
        return any(one.destination == _network(address) and one.protocol == "kernel" for one in routes)

    def _drop_left(self, address: Address) -> Step:
        text = f"let the route to {_network(address)} no longer lead through {self.source}"
        return Step(text=text, do=_flush(address, self.source))

    # the search for duplicate addresses: nobody new is on the cable

    def _dad(self, quick: bool) -> Iterable[Step]:
        if quick:
            key = sysctl.of_device(ACCEPT_DAD, self.target)
            text = f"let addresses of {self.target} be used at once"
            yield links.setting(key, "0", text=text, back=self.host.setting(key))

    def _dad_again(self, quick: bool) -> Iterable[Step]:
        key = sysctl.of_device(ACCEPT_DAD, self.target)
        stopped = bool(self.dad) and self.host.setting(key) not in ("", self.dad)
        if quick or stopped:
            text = f"let further addresses of {self.target} be tried before they are used"
            yield links.setting(key, self.dad, text=text, back="0")


def _pairs(rest: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The words behind an address with their values, "" for those that have none."""
    words = iter(rest)
    for word in words:
        yield (word, "") if word in _FLAGS else (word, next(words, ""))


def _network(address: Address) -> str:
    """The destination of the route that comes with it."""
    peer = dict(_pairs(address.rest)).get("peer")
    network = ipaddress.ip_interface(peer or str(address)).network
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _leaves_route(address: Address) -> bool:
    """The kernel keeps the route of an IPv6 address with a lifetime when the address is removed."""
    return address.family == 6 and address.dynamic and not address.temporary and "noprefixroute" not in address.rest


def _flush(address: Address, device: str) -> Command:
    """Removes the route that comes with it, if it is there."""
    return Command(("ip", "-6", "route", "flush", "exact", _network(address), "dev", device, "table", "main"))


def _same(one: Route, other: Route) -> bool:
    def key(route: Route) -> tuple[object, ...]:
        which = (route.family, route.table, route.destination, route.gateway, route.metric, route.type)
        return (*which, route.word("from"), route.word("tos"))

    return key(one) == key(other)


def _command(route: Route, verb: str, device: str) -> Command:
    return Command(("ip", f"-{route.family}", "route", verb, *route.words, "dev", device))


def _with_metric(words: Sequence[str], metric: int) -> tuple[str, ...]:
    kept = list(words)
    if "metric" in kept:
        kept[kept.index("metric") + 1] = str(metric)
        return tuple(kept)
    return (*kept, "metric", str(metric))


def _described(route: Route) -> str:
    what = f"the IPv{route.family} default route" if route.destination == "default" else f"the route to {route.destination}"
    return f"{what} by {route.gateway}" if route.gateway else what


def _ending(words: Sequence[str]) -> str:
    valid = dict(_pairs(words)).get("valid_lft", "forever")
    return "" if valid == "forever" else f", for {valid} s"
