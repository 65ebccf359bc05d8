"""A bridge of Open vSwitch, where the host has that, for guests whose ``vif-script`` is ``vif-openvswitch``.

With an uplink it takes over the card's addresses and routes as a kernel's bridge does (``bridge.py``).
"""

from __future__ import annotations

from collections.abc import Mapping

from xmcompat.network import bridge, links, marks, moving, sysctl
from xmcompat.network.found import MAKING, UP, Found
from xmcompat.network.host import Host, Link
from xmcompat.network.moving import ACCEPT_DAD, Move
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Command, Setting, Step
from xmcompat.network.switches import KEY, OpenSwitch, vsctl
from xmcompat.network.wanted import Switch

KIND = "switch"

_NEEDS = "Open vSwitch (openvswitch): the datapath 'netdev' does without"


def up(wanted: Switch, host: Host) -> tuple[Step, ...]:
    """The steps that make it, or mend it; () where it is there, by whomever made.

    Raises NetworkError where it cannot be.
    """
    links.check_name(wanted.name)
    uplink = links.card(wanted.uplink, host) if wanted.uplink else None
    if host.switch_stopped:
        raise NetworkError(f"'{wanted.name}' is to be a bridge of Open vSwitch, which does not run on this host",
                           hint="start it: 'systemctl start openvswitch-switch', or 'openvswitch'")  # fmt: skip
    there = _switch(wanted.name, host)
    if there is None and host.link(wanted.name):
        raise NetworkError(f"there is a link '{wanted.name}' already, and it is no bridge of Open vSwitch",
                           hint="choose another name")  # fmt: skip
    other = next((one.name for one in host.switches if uplink and uplink.name in one.ports and one is not there), "")
    if other and uplink:
        raise NetworkError(f"{uplink.name} belongs to {other} already", hint=f"use {other}")
    mark = marks.read(there.mark) if there else None
    if there is None or mark is not None:
        if mark and mark.values.get("uplink", "") != wanted.uplink:
            has = f"the uplink {mark.values['uplink']}" if "uplink" in mark.values else "no uplink"
            raise NetworkError(f"the bridge {wanted.name} is there already, with {has}", hint="take it down first")
        if there and mark and _state(there, mark) == UP:
            return ()
        return _made(wanted, uplink, host, there)
    if uplink is not None and uplink.name not in there.ports:
        raise NetworkError(f"there is a bridge '{wanted.name}' already, and {uplink.name} is not in it",
                           hint=f"put {uplink.name} into it, or choose another name")  # fmt: skip
    return ()


def _switch(name: str, host: Host) -> OpenSwitch | None:
    return next((one for one in host.switches if one.name == name), None)


def _made(wanted: Switch, uplink: Link | None, host: Host, there: OpenSwitch | None) -> tuple[Step, ...]:
    """What makes the bridge, or what is missing of that which is THERE."""
    name = wanted.name
    card = uplink.name if uplink else ""
    if uplink and not (there and card in there.ports):
        bridge.check_uplink(uplink, name, host)
    leases = moving.leases(host, card) if card else {}
    values: Mapping[str, str] = {"uplink": card, "lease": moving.leases_text(leases), "state": MAKING}
    old = marks.read(there.mark) if there else None
    values = old.values if old else values
    link = host.link(name)
    ready = [] if link and link.up else [links.set_up(name, needs=_NEEDS)]
    join = [] if uplink is None or uplink.up else [links.set_up(card)]
    if card and not (there and card in there.ports):
        join.append(_join(name, card))
    move = Move(host, card, name, dict.fromkeys(leases, ()), host.setting(ACCEPT_DAD.replace("*", "default")))
    return (
        *([] if there else [_making(name, uplink.mac if uplink else "", wanted.datapath, values)]),
        *ready,
        *(moving.taken_over(name, card, host) if card else ()),
        *(move.steps(join) if card else ()),
        _marked(name, values, {**values, "state": UP}, f"note that {name} is whole"),
    )  # fmt: skip


def _making(name: str, mac: str, datapath: str, values: Mapping[str, str]) -> Step:
    """One transaction of its database makes the bridge and its mark."""
    words = ["add-br", name, "--", "set", "Bridge", name, _mark_word(values)]
    words += [f'other_config:hwaddr="{mac}"'] if mac else []
    words += [f"datapath_type={datapath}"] if datapath else []
    return Step(text=f"make the bridge {name} of Open vSwitch", do=Command(vsctl(*words)), undo=(_gone(name),))


def _gone(name: str) -> Command:
    return Command(vsctl("del-br", name))


def _mark_word(values: Mapping[str, str]) -> str:
    return f'external_ids:{KEY}="{marks.text(KIND, **values)}"'


def _marked(name: str, before: Mapping[str, str], after: Mapping[str, str], text: str) -> Step:
    done, undone = (Command(vsctl("set", "Bridge", name, _mark_word(values))) for values in (after, before))
    return Step(text=text, do=done, undo=(undone,))


def _join(name: str, card: str) -> Step:
    return Step(text=f"put {card} into {name}", do=Command(vsctl("add-port", name, card)),
                undo=(Command(vsctl("del-port", name, card)),))  # fmt: skip


def found(host: Host) -> tuple[Found[Switch], ...]:
    """Our bridges of Open vSwitch."""
    return tuple(
        Found(Switch(name=one.name, uplink=mark.values.get("uplink", ""), datapath=one.datapath), _state(one, mark))
        for one in host.switches if (mark := marks.read(one.mark)) is not None
    )  # fmt: skip


def _state(there: OpenSwitch, mark: marks.Mark) -> str:
    uplink = mark.values.get("uplink", "")
    return UP if mark.values.get("state") == UP and (not uplink or uplink in there.ports) else MAKING


def down(wanted: Switch, host: Host) -> tuple[Step, ...]:
    """The steps that give the card back what it had; () where there is none of ours. Raises NetworkError while guests, or
    links of others, are on it."""
    there = _switch(wanted.name, host)
    mark = marks.read(there.mark) if there else None
    if there is None or mark is None:
        return ()
    card = mark.values.get("uplink", "")
    if ports := [port for port in there.ports if port != card]:
        raise NetworkError(f"the bridge {there.name} has ports: {', '.join(ports)}",
                           hint="shut these guests down, or move them to another bridge, first")  # fmt: skip
    links.check_bare(there.name, host)
    link, uplink = host.link(there.name), host.link(card)
    dad = mark.values.get("dad") or (host.setting_of(ACCEPT_DAD, card) if uplink else "")
    making = {**mark.values, "state": MAKING, "dad": dad}
    moved: tuple[Step, ...] = ()
    if uplink is not None and link is not None:
        joined = _join(there.name, card)
        leave = Command(vsctl("del-port", there.name, card))
        left = Step(text=f"take {card} out of {there.name}", do=leave, undo=(joined.do,))
        leaving = [left] if card in there.ports else []
        lifetimes = moving.lifetimes(there.name, mark.values.get("lease", ""), host)
        moved = Move(host, there.name, card, lifetimes, dad, back=True).steps(leaving)
    again = _making(there.name, link.mac if link else "", there.datapath, making).do
    settings = [
        Setting(sysctl.of_device(pattern, there.name), value) for pattern in (*moving.TAKEN_OVER, ACCEPT_DAD)
        if (value := host.setting_of(pattern, there.name)) != host.setting(pattern.replace("*", "default"))
    ]  # fmt: skip
    opened = [links.set_up(there.name).do] if link and link.up else []
    return (
        *([_marked(there.name, mark.values, making, f"note that {there.name} is to go")] if making != mark.values else []),
        *moved,
        Step(text=f"remove the bridge {there.name}", do=_gone(there.name), undo=(again, *settings, *opened)),
    )  # fmt: skip


def verify(wanted: Switch, host: Host) -> list[str]:
    """What is not as WANTED, in sentences; [] where all is right."""
    there, link = _switch(wanted.name, host), host.link(wanted.name)
    if there is None:
        return [f"there is no bridge {wanted.name} of Open vSwitch"]
    if link is None:
        return [f"{wanted.name} is no link of the kernel: does ovs-vswitchd run?"]
    wrong = [] if link.up else [f"{link.name} is down"]
    if wanted.uplink:
        uplink = host.link(wanted.uplink)
        if wanted.uplink not in there.ports or uplink is None:
            wrong.append(f"{wanted.uplink} is not in {there.name}")
        elif not uplink.up:
            wrong.append(f"{uplink.name} is down")
    mark = marks.read(there.mark)
    if mark is not None and mark.values.get("state") != UP:
        wrong.append(f"{there.name} is half made")
    return wrong
