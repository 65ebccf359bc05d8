"""Overlays: a segment that reaches over several hosts, in the place of Xen's vnets. A bridge, and a VXLAN in it.

Each frame travels as a UDP datagram over the underlay, a network that the hosts share already. Where that carries
multicast, a group of the overlay's own finds the other hosts; else they are peers, to each of which goes what is for
everybody. Which guest lives behind which host is learnt from what they send. Nothing is encrypted: who can send to the
underlay is on the overlay. The bridge has neither an address of the host nor STP, and packets of guests on it are smaller
by a VXLAN's headers.

An overlay of peers is not tied to the device of the underlay: it stays when a bridge takes the card's address over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from xmcompat.network import marks
from xmcompat.network.found import MAKING, UP, Found
from xmcompat.network.host import EVERYBODY, Host, Link
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Action, Command, Setting, Step
from xmcompat.network.underlay import LEAST_MTU, called, mtu_of, settled
from xmcompat.network.wanted import VXLAN_PORT, Overlay

KIND = "overlay"

#: How many routers a datagram to the group may pass.
_TTL = {True: "8", False: "64"}
_OWN = "net.ipv6.conf.*.disable_ipv6"


def up(wanted: Overlay, host: Host) -> tuple[Step, ...]:
    """What is missing of it: all, or what somebody took away, or the peers that are new. Raises NetworkError."""
    wanted = settled(wanted, host)
    if (inner := mtu_of(wanted, host)) < LEAST_MTU:
        raise NetworkError(
            f"{called(wanted)}: the MTU of its underlay '{wanted.underlay}' leaves {inner} bytes for guests",
            hint=f"they need {LEAST_MTU}",
        )
    parts = _Parts(wanted, host)
    parts.refuse_others()
    return (*parts.bridge_steps(), *parts.device_steps())


def found(host: Host) -> tuple[Found[Overlay], ...]:
    """Ours: those that have a bridge of ours or a VXLAN of ours, or both."""
    all_found: dict[str, Found[Overlay]] = {}
    for link, mark in host.marked(KIND):
        vni = mark.values.get("vni", "")
        if not vni.isdecimal():
            continue
        device = host.link(mark.values.get("device", ""))
        device = device if device and device.mark and device.mark.kind == KIND else None
        details = device.details if device else {}
        state = device.mark.values.get("state", MAKING) if device and device.mark else MAKING
        if device and device.master != mark.values.get("bridge", ""):
            state = MAKING
        group = _detail(details, "group")
        flood = host.floods.get(device.name, ()) if device else ()
        all_found[mark.values.get("device", link.name)] = Found(Overlay(
            vni=int(vni), bridge=mark.values.get("bridge", ""), device=mark.values.get("device", ""),
            underlay=mark.values.get("underlay", ""), local=_detail(details, "local"), group=group,
            peers=tuple(peer for peer in flood if peer != group), port=int(details.get("port", VXLAN_PORT)),
            vnet=mark.values.get("vnet", ""),
        ), state)  # fmt: skip
    return tuple(all_found.values())


def down(wanted: Overlay, host: Host) -> tuple[Step, ...]:
    """Whatever there is of it, as ``found`` has it. A bridge that was there before stays."""
    parts = _Parts(wanted, host)
    steps = []
    mark = parts.our_device.mark if parts.our_device else None
    whole = mark is not None and mark.values.get("state") == UP
    if parts.our_device:
        back = parts.without(wanted.device).device_steps() if whole else ()
        steps.append(_removal(f"remove the VXLAN '{wanted.device}'", wanted.device, back))
    if parts.our_bridge:
        gone = parts.without(wanted.device, wanted.bridge)
        back = gone.bridge_steps() if whole else ()
        ports = [link.name for link in host.ports(wanted.bridge) if link.name != wanted.device]
        moved = [Command(("ip", "link", "set", "dev", port, "master", wanted.bridge)) for port in ports]
        steps.append(_removal(f"remove the bridge '{wanted.bridge}'", wanted.bridge, back, moved))
    return tuple(steps)


def verify(wanted: Overlay, host: Host) -> list[str]:
    """What is not as WANTED, read back from the kernel."""
    below = host.link(wanted.underlay)
    if below and below.master and not wanted.group:
        wanted = replace(wanted, underlay=below.master)  # a bridge has taken the card's address over
    try:
        wanted = settled(wanted, host)
    except NetworkError as error:
        return [error.line()]
    device, bridge = host.link(wanted.device), host.link(wanted.bridge)
    if not device or not bridge:
        missing = [name for name, link in ((wanted.bridge, bridge), (wanted.device, device)) if not link]
        return [f"{called(wanted)} lacks its {' and '.join(missing)}"]
    wrong = [
        f"{called(wanted)}: {text}" for text, right in (
            (f"'{device.name}' is not in the bridge", device.master == bridge.name),
            (f"'{device.name}' is down", device.up),
            (f"'{bridge.name}' is down", bridge.up),
            (f"'{device.name}' lets packets of {device.mtu} bytes through, not {mtu_of(wanted, host)}",
             device.mtu == mtu_of(wanted, host)),
            (f"'{bridge.name}' lets packets of {bridge.mtu} bytes through, less than its VXLAN's {device.mtu}",
             bridge.mtu >= device.mtu),
            (f"'{bridge.name}' speaks STP", not bridge.details.get("stp_state")),
        ) if not right
    ]  # fmt: skip
    wrong += [f"{called(wanted)}: {text}" for text in _differences(wanted, device)]
    peers, now = set(wanted.peers), set(host.floods.get(device.name, ())) - {wanted.group}
    wrong += [f"{called(wanted)}: nothing goes to the peer {peer}" for peer in wanted.peers if peer not in now]
    wrong += [f"{called(wanted)}: {peer} gets its frames, and is no peer" for peer in sorted(now - peers)]
    return wrong


# -- the parts


@dataclass(frozen=True, slots=True)
class _Parts:
    """An overlay, settled, and the host with what is there of it."""

    wanted: Overlay
    host: Host

    @property
    def our_device(self) -> Link | None:
        return _ours(self.host.link(self.wanted.device))

    @property
    def our_bridge(self) -> Link | None:
        return _ours(self.host.link(self.wanted.bridge))

    def without(self, *names: str) -> _Parts:
        links = tuple(link for link in self.host.links if link.name not in names)
        floods = {name: peers for name, peers in self.host.floods.items() if name not in names}
        return _Parts(self.wanted, replace(self.host, links=links, floods=floods))

    def refuse_others(self) -> None:
        """Raises NetworkError for links that are in the way."""
        wanted, host = self.wanted, self.host
        device, bridge = host.link(wanted.device), host.link(wanted.bridge)
        for link, kind in ((device, "vxlan"), (bridge, "bridge")):
            if link and link.kind != kind:
                raise NetworkError(f"{called(wanted)}: '{link.name}' is there already, and is no {kind}")
        if device and not _ours(device):
            raise NetworkError(f"{called(wanted)}: the VXLAN '{device.name}' is there already, and was not made here")
        if device and (others := _differences(wanted, device)):
            raise NetworkError(f"{called(wanted)} is there already: {others[0]}", hint="remove it before")
        for mine in (device, bridge):
            if mine and mine.mark and mine.mark.values.get("vni") != str(wanted.vni):
                raise NetworkError(f"{called(wanted)}: '{mine.name}' belongs to overlay {mine.mark.values.get('vni')}")
        for link in host.links:
            if link.kind == "vxlan" and link.name != wanted.device and _same_vni(link, wanted):
                raise NetworkError(f"{called(wanted)}: its number is taken by the VXLAN '{link.name}'")
        if bridge and not _ours(bridge) and wanted.underlay == bridge.name:
            raise NetworkError(
                f"{called(wanted)}: the bridge '{bridge.name}' is its underlay too: frames would go round for ever",
                hint="give it a bridge of its own",
            )

    def bridge_steps(self) -> list[Step]:
        """The bridge as it must be, unless it is somebody else's."""
        name, there = self.wanted.bridge, self.host.link(self.wanted.bridge)
        if there and not _ours(there):
            return []
        steps = []
        if not there:
            made = f"link add {name} address {self._mac(name)} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n"
            made += f'link set {name} alias "{_mark(self.wanted)}"\nlink set {name} mtu {mtu_of(self.wanted, self.host)}\n'
            steps.append(Step(text=f"make the bridge '{name}'", do=_batch(made), undo=(_delete(name),),
                              needs="bridges (bridge)"))  # fmt: skip
        elif there.mtu != mtu_of(self.wanted, self.host):
            steps.append(self._resized(there))
        if not there or self.host.setting_of(_OWN, name) == "0":
            steps.append(_without_ipv6(name, again=there is not None))
        if not there or not there.up:
            steps.append(_started(name, again=there is not None))
        return steps

    def device_steps(self) -> list[Step]:
        """The VXLAN as it must be, in the bridge, with the peers."""
        wanted, there = self.wanted, self.host.link(self.wanted.device)
        name = wanted.device
        again = there is not None
        steps = []
        if not there:
            steps.append(Step(text=f"make the VXLAN '{name}'", do=_batch(self._made()), undo=(_delete(name),),
                              needs="VXLAN (vxlan)"))  # fmt: skip
        elif there.mtu != mtu_of(wanted, self.host):
            steps.append(self._resized(there))
        if not there or self.host.setting_of(_OWN, name) == "0":
            steps.append(_without_ipv6(name, again=again))
        if not there or there.master != wanted.bridge:
            before = ("master", there.master) if there and there.master else ("nomaster",)
            back = (Command(("ip", "link", "set", "dev", name, *before)),) if again else ()
            join = Command(("ip", "link", "set", "dev", name, "master", wanted.bridge))
            steps.append(Step(text=f"put '{name}' into the bridge '{wanted.bridge}'", do=join, undo=back))
        steps += self._peer_steps(again)
        if not there or not there.up:
            steps.append(_started(name, again=again))
        if not there or not there.mark or there.mark.values.get("state") != UP:
            back = (_marked(name, there.alias),) if there else ()
            steps.append(Step(text=f"mark '{name}' as whole", do=_marked(name, _mark(wanted, state=UP)), undo=back))
        return steps

    def _mac(self, name: str) -> str:
        """The same each time, and another one on each host."""
        digest = hashlib.sha256(f"{name} {self.wanted.vni} {self.wanted.local}".encode()).digest()
        return digest[:5].hex(":").join(("02:", ""))

    def _made(self) -> str:
        wanted = self.wanted
        ways = f"dev {wanted.underlay} group {wanted.group}" if wanted.group else ""
        return (
            f"link add {wanted.device} address {self._mac(wanted.device)} type vxlan id {wanted.vni} dstport {wanted.port} "
            f"local {wanted.local} ttl {_TTL[bool(wanted.group)]} {ways}\n"
            f'link set {wanted.device} alias "{_mark(wanted, state=MAKING)}"\n'
            f"link set {wanted.device} mtu {mtu_of(wanted, self.host)}\n"
        )

    def _peer_steps(self, again: bool) -> list[Step]:
        wanted = self.wanted
        now = tuple(peer for peer in self.host.floods.get(wanted.device, ()) if peer != wanted.group)
        steps = [
            Step(text=f"send what is for everybody to {peer}", do=_entry("append", wanted.device, peer),
                 undo=(_entry("del", wanted.device, peer),) if again else ())
            for peer in wanted.peers if peer not in now
        ]  # fmt: skip
        gone = [peer for peer in now if peer not in wanted.peers]
        return steps + [
            Step(text=f"send nothing more to {peer}", do=_entry("del", wanted.device, peer),
                 undo=(_entry("append", wanted.device, peer),))
            for peer in gone
        ]  # fmt: skip

    def _resized(self, there: Link) -> Step:
        words = ("ip", "link", "set", "dev", there.name, "mtu")
        size = mtu_of(self.wanted, self.host)
        return Step(text=f"let '{there.name}' take packets of {size} bytes", do=Command((*words, str(size))),
                    undo=(Command((*words, str(there.mtu))),))  # fmt: skip


def _mark(wanted: Overlay, *, state: str = "") -> str:
    return marks.text(
        KIND, vni=str(wanted.vni), bridge=wanted.bridge, device=wanted.device, underlay=wanted.underlay, vnet=wanted.vnet,
        state=state,
    )  # fmt: skip


def _ours(link: Link | None) -> Link | None:
    return link if link and link.mark and link.mark.kind == KIND else None


def _same_vni(link: Link, wanted: Overlay) -> bool:
    return (link.details.get("id"), link.details.get("port")) == (wanted.vni, wanted.port)


def _differences(wanted: Overlay, device: Link) -> list[str]:
    """What of a VXLAN that is there cannot be changed, and is not as WANTED."""
    pairs = (
        ("number", str(device.details.get("id", "")), str(wanted.vni)),
        ("port", str(device.details.get("port", "")), str(wanted.port)),
        ("local address", _detail(device.details, "local"), wanted.local),
        ("multicast group", _detail(device.details, "group"), wanted.group),
        *((("underlay", device.parent, wanted.underlay),) if wanted.group else ()),
    )  # fmt: skip
    return [f"its {what} is {now or 'none'}, not {then or 'none'}" for what, now, then in pairs if now != then]


def _detail(details: object, key: str) -> str:
    assert isinstance(details, dict)
    return str(details.get(key, details.get(f"{key}6", "")))


# -- the actions


def _batch(text: str) -> Command:
    return Command(("ip", "-batch", "-"), text)


def _delete(name: str) -> Command:
    return Command(("ip", "link", "del", "dev", name))


def _marked(name: str, alias: str) -> Command:
    return Command(("ip", "link", "set", "dev", name, "alias", alias))


def _entry(verb: str, device: str, peer: str) -> Command:
    return Command(("bridge", "fdb", verb, EVERYBODY, "dev", device, "dst", peer))


def _started(name: str, *, again: bool) -> Step:
    back = (Command(("ip", "link", "set", "dev", name, "down")),) if again else ()
    return Step(text=f"switch '{name}' on", do=Command(("ip", "link", "set", "dev", name, "up")), undo=back)


def _without_ipv6(name: str, *, again: bool) -> Step:
    key = _OWN.replace("*", name.replace(".", "/"))
    back = (Setting(key, "0"),) if again else ()
    return Step(text=f"keep the host's IPv6 off '{name}'", do=Setting(key, "1"), undo=back)


def _removal(text: str, name: str, back: Sequence[Step], more: Sequence[Action] = ()) -> Step:
    return Step(text=text, do=_delete(name), undo=(*(step.do for step in back), *more))
