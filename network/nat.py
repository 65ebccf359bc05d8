"""NAT: a bridge of guests that speak to the outside in the host's name (network-nat, vif-nat).

The host has the first address of their network. What leaves by the uplink has the uplink's address; what others route
to the guests' network reaches them, as with Xen's scripts. Ports of the host lead to guests by a map (``forwards``),
addresses come from a dnsmasq of the bridge's own (``dhcp``). All of it in nftables lies in chains of the one bridge.

Guests with Xen's static numbers have a router of their own, their last byte and 127: the host has that address too while
they are there (``guest_up``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network

from xmcompat.network import dhcp, forwarding, forwards, links, mac, marks, notes, sysctl
from xmcompat.network.found import MAKING, UP, Found
from xmcompat.network.host import TABLE, Host, Link
from xmcompat.network.nat_addresses import gateway_of, network_of, router_address
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Action, Command, Step
from xmcompat.network.wanted import Nat

KIND = "nat"

#: What a NAT has of which nothing is left that could tell.
NETWORK = "10.0.0.0/16"


def up(wanted: Nat, host: Host, names: dhcp.Names | None = None) -> tuple[Step, ...]:
    """What is missing of it. NAMES are the host's name servers, read where dnsmasq is to start and they are not given.

    Raises NetworkError.
    """
    wanted = _checked(wanted, host)
    parts = _Parts(wanted, host)
    remembered = forwarding.to_remember(host, wanted.uplink, ipv6=False)
    changes = (
        *parts.link_steps(), *notes.set_steps(host, remembered), *parts.rule_steps(), *parts.dhcp_steps(names),
    )  # fmt: skip
    if not changes and parts.mark == parts.whole and notes.is_written(host, parts.note):
        return notes.copied(host, parts.note, parts.whole, notes.earlier(host, parts.note))
    making = notes.nft(notes.text(parts.note, parts.making, remembered))
    whole = notes.nft(notes.text(parts.note, parts.whole, remembered))
    return (
        notes.step(host, parts.note, parts.making, remembered, words=f"note what the host was before '{wanted.bridge}'"),
        *changes,
        Step(text=f"note that '{wanted.bridge}' is whole", do=whole, undo=(making,)),
        *notes.copied(host, parts.note, parts.whole, remembered),
    )


def found(host: Host) -> tuple[Found[Nat], ...]:
    """Ours: those of which there is a note, a bridge, or a dnsmasq."""
    seen: dict[str, Nat] = {server.bridge: Nat(uplink="", bridge=server.bridge) for server in host.servers}
    known = [*((link.name, mark) for link, mark in host.marked(KIND)),
             *((mark.values.get("bridge", ""), mark) for mark in notes.noted(host, KIND).values())]  # fmt: skip
    for bridge, mark in known:
        if bridge:
            seen[bridge] = _told(bridge, mark)
    return tuple(
        Found(replace(nat, forwards=forwards.found(bridge, host)), _state(nat, host)) for bridge, nat in seen.items()
    )


def _told(bridge: str, mark: marks.Mark) -> Nat:
    """What a mark says. A network that is none was written by somebody else."""
    network = mark.values.get("network", NETWORK)
    try:
        network_of(network)
    except NetworkError:
        network = NETWORK
    return Nat(uplink=mark.values.get("uplink", ""), bridge=bridge, network=network, dhcp=mark.values.get("dhcp") != "no")


def _state(nat: Nat, host: Host) -> str:
    """Rules that somebody has flushed, or a dnsmasq that has died, do not make it a half: ``up`` mends that."""
    parts = _Parts(nat, host)
    return UP if parts.ours and parts.mark != parts.making else MAKING


def down(wanted: Nat, host: Host) -> tuple[Step, ...]:
    """What takes away whatever there is of it. Guests that are still there are cut off."""
    parts = _Parts(wanted, host)
    if not parts.mark and not parts.ours and not dhcp.runs(wanted, host):
        return ()
    begin = notes.going(host, parts.note)
    steps = [*begin, *dhcp.down(wanted, host)]
    host = notes.foreseen(host, begin)
    chains = [name for name in (*parts.chains, forwards.map_of(wanted.bridge)) if name in notes.names(host)]
    if gone := notes.removal(host, chains=parts.chains, maps=(forwards.map_of(wanted.bridge),)) if chains else "":
        back = parts.rules() + forwards.elements("add", wanted.bridge, forwards.found(wanted.bridge, host))
        steps.append(Step(text=f"remove the rules of '{wanted.bridge}'", do=notes.nft(gone), undo=(notes.nft(back),)))
    if parts.ours:
        steps.append(Step(text=f"remove the bridge '{wanted.bridge}'", do=links.gone(wanted.bridge), undo=parts.remade()))
    steps += notes.restore_steps(host, parts.note)
    if wanted.dhcp or dhcp.runs(wanted, host):
        steps += dhcp.forget(wanted, host)
    return (*steps, *notes.forgotten(host, parts.note, *chains, words=f"forget '{wanted.bridge}'"))


def verify(wanted: Nat, host: Host) -> list[str]:
    """What is not as WANTED, read back from the kernel."""
    parts = _Parts(wanted, host)
    link, name = host.link(wanted.bridge), f"NAT on '{wanted.bridge}'"
    there = forwards.found(wanted.bridge, host)
    wrong = [
        f"{name}: {text}" for text, right in (
            (f"there is no bridge '{wanted.bridge}'", link is not None),
            (f"'{wanted.bridge}' is not marked as ours", link is None or parts.ours),
            (f"'{wanted.bridge}' is down", link is None or link.up),
            (f"the host has not its address {parts.address}", link is None or not parts.lacks_address),
            (f"there is no uplink '{wanted.uplink}'", host.link(wanted.uplink) is not None),
            ("the host does not forward IPv4", host.setting(forwarding.IPV4) == "1"),
            ("rules are missing", not parts.lacks_rules),
            ("no dnsmasq runs", not wanted.dhcp or dhcp.runs(wanted, host)),
            ("a change has stopped in the middle" if parts.mark else "is not noted as ours", parts.mark == parts.whole),
        ) if not right
    ]  # fmt: skip
    if parts.mark and not notes.is_written(host, parts.note):
        wrong.append(f"{name}: {notes.FLUSHED}")
    wrong += [f"{name}: '{forwards.shown_as(one)}' is not forwarded" for one in wanted.forwards if one not in there]
    return wrong


def guest_up(bridge: str, address: str, network: str, host_addresses: tuple[str, ...] = ()) -> tuple[Step, ...]:
    """What gives the host the router's address that Xen's numbers make of a guest's; () where there is none, or it is among
    HOST_ADDRESSES, those that the bridge has."""
    router = router_address(address, network)
    if not router or router in host_addresses:
        return ()
    do, back = (Command(("ip", "addr", verb, f"{router}/32", "dev", bridge)) for verb in ("add", "del"))
    return (Step(text=f"have the address {router} for the guest {address}", do=do, undo=(back,)),)


def guest_down(bridge: str, address: str, network: str, host_addresses: tuple[str, ...]) -> tuple[Step, ...]:
    """What takes it away again."""
    router = router_address(address, network)
    if router not in host_addresses:
        return ()
    return tuple(
        Step(text=step.text.replace("have", "give up", 1), do=step.undo[0], undo=(step.do,))
        for step in guest_up(bridge, address, network) if isinstance(step.undo[0], Command)
    )  # fmt: skip


def _checked(wanted: Nat, host: Host) -> Nat:
    """WANTED with the own name of its uplink. Raises NetworkError where it cannot be."""
    links.check_name(wanted.bridge)
    network = network_of(wanted.network)
    uplink = links.card(wanted.uplink, host)
    links.check_name(uplink.name)
    if uplink.master:
        raise NetworkError(
            f"'{uplink.name}' is a port of '{uplink.master}', by which packets leave",
            hint=f"write '{uplink.master}' as the uplink",
        )
    forwards.refuse_equal(wanted.forwards)
    for forward in wanted.forwards:
        forwards.check(forward, wanted)
    for route in host.routes if not host.link(wanted.bridge) else ():
        if route.family == 4 and route.device and _overlaps(route.destination, network):
            raise NetworkError(
                f"the network {network} of '{wanted.bridge}' overlaps {route.destination}, which is at '{route.device}'",
                hint="choose another one: network=10.64.0.0/16",
            )
    return replace(wanted, uplink=uplink.name)


def _overlaps(destination: str, network: IPv4Network) -> bool:
    if destination in ("default", "0.0.0.0/0"):
        return False
    try:
        return IPv4Network(destination).overlaps(network)
    except ValueError:
        return False


# -- the parts

#: What is set to 1 of the bridge.
_OF_BRIDGE = ("net.ipv6.conf.*.disable_ipv6", "net.ipv4.conf.*.forwarding")


@dataclass(frozen=True, slots=True)
class _Parts:
    """A NAT, and the host with what is there of it."""

    wanted: Nat
    host: Host

    @property
    def note(self) -> str:
        return f"{KIND}-{notes.identifier(self.wanted.bridge)}"

    @property
    def mark(self) -> str:
        """The mark that the note has now, "" for no note."""
        mark = notes.noted(self.host, KIND).get(self.note)
        return marks.text(KIND, **mark.values) if mark else ""

    @property
    def making(self) -> str:
        return self._mark(bridge=self.wanted.bridge, state=MAKING)

    @property
    def whole(self) -> str:
        return self._mark(bridge=self.wanted.bridge, state=UP)

    @property
    def alias(self) -> str:
        return self._mark()

    def _mark(self, *, bridge: str = "", state: str = "") -> str:
        return marks.text(KIND, bridge=bridge, uplink=self.wanted.uplink, network=self.wanted.network,
                          dhcp="" if self.wanted.dhcp else "no", state=state)  # fmt: skip

    @property
    def link(self) -> Link | None:
        return self.host.link(self.wanted.bridge)

    @property
    def ours(self) -> bool:
        mark = self.link.mark if self.link else None
        return mark is not None and mark.kind == KIND

    @property
    def address(self) -> str:
        return f"{gateway_of(self.wanted.network)}/{network_of(self.wanted.network).prefixlen}"

    @property
    def lacks_address(self) -> bool:
        return self.address not in map(str, self.host.addresses_of(self.wanted.bridge, 4))

    @property
    def chains(self) -> tuple[str, ...]:
        name = notes.identifier(self.wanted.bridge)
        return f"nat-in-{name}", f"nat-self-{name}", f"nat-out-{name}"

    @property
    def lacks_rules(self) -> bool:
        """Whether chains or rules are not there, or are for another uplink."""
        mark = notes.noted(self.host, KIND).get(self.note)
        entries = self.host.tables.get("inet", ())
        have = [entry["rule"]["chain"] for entry in entries if "rule" in entry]
        need = (1, 1, 2)
        return (
            mark is None or mark.values.get("uplink") != self.wanted.uplink
            or forwards.map_of(self.wanted.bridge) not in notes.names(self.host)
            or any(have.count(name) != number for name, number in zip(self.chains, need, strict=True))
        )  # fmt: skip

    def link_steps(self) -> Iterator[Step]:
        """What is missing of the bridge. Raises NetworkError where there is something else of its name."""
        name, link = self.wanted.bridge, self.link
        if link is None:
            words = ("address", bridge_mac(name), "type", "bridge", "stp_state", "0", "forward_delay", "0")
            yield links.made(name, words, self.alias, text=f"make the bridge '{name}'", needs="bridges (bridge)")
        elif not self.ours:
            raise NetworkError(f"there is a link '{name}' already, which is not ours", hint="name another bridge for NAT")
        elif link.mark and link.mark.values.get("network") != self.wanted.network:
            raise NetworkError(
                f"'{name}' has the network {link.mark.values.get('network')}, not {self.wanted.network}",
                hint="take it down first",
            )
        elif link.alias != self.alias:
            do, back = (Command(("ip", "link", "set", "dev", name, "alias", alias)) for alias in (self.alias, link.alias))
            yield Step(text=f"mark '{name}'", do=do, undo=(back,))
        yield from self._link_settings()
        if link is None or self.lacks_address:
            do, back = (Command(("ip", "addr", verb, self.address, *more, "dev", name))
                        for verb, more in (("add", ("brd", "+")), ("del", ())))  # fmt: skip
            yield Step(text=f"give '{name}' the address {self.address}", do=do, undo=(back,))
        if link is None or not link.up:
            yield links.set_up(name)

    def _link_settings(self) -> Iterator[Step]:
        """The bridge has no IPv6, and forwards even where the host's new links do not."""
        for pattern in _OF_BRIDGE:
            key = sysctl.of_device(pattern, self.wanted.bridge)
            known = self.host.setting(pattern.replace("*", "default"))
            if known and self.host.setting(key) != "1":
                yield links.setting(key, "1", text=f"set {key} to 1", back=self.host.setting(key))

    def rule_steps(self) -> Iterator[Step]:
        """What is missing of the rules and of the forwards; forwards that are not wanted go."""
        name = self.wanted.bridge
        there = forwards.found(name, self.host)
        missing = [one for one in self.wanted.forwards if one not in there]
        stale = [one for one in there if one not in self.wanted.forwards]
        changes, undoing = forwards.exchange(name, stale, missing), forwards.exchange(name, missing, stale)
        if self.lacks_rules:
            before = next((one.wanted for one in found(self.host) if one.wanted.bridge == name and not
                           _Parts(one.wanted, self.host).lacks_rules), None)  # fmt: skip
            maps = (forwards.map_of(name),)
            gone = notes.removal(_noted(self.host, self.note), chains=self.chains, maps=maps, planned=True)
            back = _Parts(before, self.host).rules() + undoing if before else gone
            text = self.rules() + changes
            words = f"translate addresses between '{name}' and '{self.wanted.uplink}'"
            yield Step(text=words, do=notes.nft(text), undo=(notes.nft(back),))
        elif missing or stale:
            said = [f"forward {forwards.shown_as(one)}" for one in missing]
            said += [f"forward {forwards.shown_as(one)} no more" for one in stale]
            yield Step(text="; ".join(said), do=notes.nft(changes), undo=(notes.nft(undoing),))

    def rules(self) -> str:
        """What nft reads to have the chains with their rules, and the map as it is."""
        bridge, network, gateway = self.wanted.bridge, self.wanted.network, gateway_of(self.wanted.network)
        inward, own, outward = self.chains
        to_us = f"fib daddr type local {forwards.lookup(bridge)}"
        chains = (
            (inward, "prerouting", -100, [f"ip daddr != {gateway} {to_us}"]),
            (own, "output", -100, [f"ip daddr != 127.0.0.0/8 ip daddr != {gateway} {to_us}"]),
            (outward, "postrouting", 100, [
                f'ip saddr {network} oifname "{self.wanted.uplink}" masquerade',
                f'ip saddr {network} oifname "{bridge}" ct status dnat masquerade',
            ]),
        )  # fmt: skip
        lines = [f"add table inet {TABLE}", forwards.declaration(bridge).rstrip()]
        for name, hook, priority, rules in chains:
            lines.append(f"add chain inet {TABLE} {name} {{ type nat hook {hook} priority {priority} ; policy accept ; }}")
            lines.append(f"flush chain inet {TABLE} {name}")
            lines += [f"add rule inet {TABLE} {name} {rule}" for rule in rules]
        return "".join(f"{line}\n" for line in lines)

    def dhcp_steps(self, names: dhcp.Names | None) -> tuple[Step, ...]:
        """What starts dnsmasq, or stops one that is not wanted any more."""
        return dhcp.up(self.wanted, self.host, names) if self.wanted.dhcp else dhcp.down(self.wanted, self.host)

    def remade(self) -> tuple[Action, ...]:
        """What makes the bridge again as it is, with its ports."""
        name = self.wanted.bridge
        own = {sysctl.of_device(pattern, name) for pattern in _OF_BRIDGE}
        bare = replace(
            self.host, links=tuple(link for link in self.host.links if link.name != name),
            addresses=tuple(one for one in self.host.addresses if one.device != name),
            settings={key: value for key, value in self.host.settings.items() if key not in own},
        )  # fmt: skip
        alias = self.link.alias if self.link else ""
        actions: list[Action] = [step.do for step in _Parts(self.wanted, bare).link_steps()]
        actions.append(Command(("ip", "link", "set", "dev", name, "alias", alias)))
        others = [one for one in self.host.addresses_of(name, 4) if str(one) != self.address]
        actions += [Command(("ip", "addr", "add", str(one), "dev", name)) for one in others]
        actions += [Command(("ip", "link", "set", "dev", port.name, "master", name)) for port in self.host.ports(name)]
        return tuple(actions)


def _noted(host: Host, note: str) -> Host:
    """HOST as it is once the note is there: the table does not go while it is."""
    return notes.foreseen(host, (Step(text="", do=notes.nft(notes.text(note, marks.text(KIND)))),))


def bridge_mac(name: str) -> str:
    """A bridge without one of its own takes a guest's, and changes it with them: the same for a name each time."""
    return f"fe{mac.derived(name, 0)[2:]}"
