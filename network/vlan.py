"""A VLAN of a card (IEEE 802.1Q), to be the uplink of a bridge: what Xen's hosts had as ``netdev=eth0.100``."""

from __future__ import annotations

from collections.abc import Mapping

from xmcompat.network import links, marks
from xmcompat.network.found import MAKING, UP, Found
from xmcompat.network.host import Host, Link
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Step
from xmcompat.network.wanted import LAST_TAG, Vlan

KIND = "vlan"


def up(wanted: Vlan, host: Host) -> tuple[Step, ...]:
    """The steps that make it; () where it is there, by whomever made. Raises NetworkError where it cannot be."""
    links.check_name(wanted.name)
    if not 1 <= wanted.tag <= LAST_TAG:
        raise NetworkError(f"'{wanted.tag}' is no VLAN", hint=f"write a number from 1 to {LAST_TAG}")
    parent = links.card(wanted.parent, host)
    there = host.link(wanted.name)
    if there is None:
        _refuse_other(wanted, host)
        return _made(wanted, parent)
    if there.kind != "vlan" or there.parent != parent.name or there.details.get("id") != wanted.tag:
        is_now = f"VLAN {there.details.get('id')} of {there.parent}" if there.kind == "vlan" else "no VLAN"
        raise NetworkError(f"there is a link '{there.name}' already, and it is {is_now}", hint="choose another name")
    mark = there.mark
    ends = [] if mark is None or mark.values.get("state") == UP else [_whole(there.name, mark.values)]
    return (*_up(parent), *([] if there.up else [links.set_up(there.name)]), *ends)


def _refuse_other(wanted: Vlan, host: Host) -> None:
    """Raises NetworkError where the kernel has that VLAN by another name: it has each once."""
    for link in host.links:
        if link.kind == "vlan" and link.parent == wanted.parent and link.details.get("id") == wanted.tag:
            raise NetworkError(f"VLAN {wanted.tag} of {wanted.parent} is there already, as {link.name}",
                               hint=f"use {link.name}")  # fmt: skip


def _made(wanted: Vlan, parent: Link) -> tuple[Step, ...]:
    values = {"was": "" if parent.up else "down", "state": MAKING}
    words = ("link", parent.name, "type", "vlan", "id", str(wanted.tag))
    return (
        links.made(wanted.name, words, marks.text(KIND, **values), needs="VLANs (8021q)",
                   text=f"make {wanted.name}, the VLAN {wanted.tag} of {parent.name}"),
        *_up(parent),
        links.set_up(wanted.name),
        _whole(wanted.name, values),
    )  # fmt: skip


def _up(parent: Link) -> list[Step]:
    return [] if parent.up else [links.set_up(parent.name)]


def _whole(name: str, values: Mapping[str, str]) -> Step:
    return links.marked(name, KIND, values, {**values, "state": UP}, text=f"note that {name} is whole")


def found(host: Host) -> tuple[Found[Vlan], ...]:
    """Our VLANs."""
    return tuple(
        Found(Vlan(name=link.name, parent=link.parent, tag=int(link.details.get("id", 0))),
              UP if mark.values.get("state") == UP else MAKING)
        for link, mark in host.marked(KIND)
    )  # fmt: skip


def down(wanted: Vlan, host: Host) -> tuple[Step, ...]:
    """The steps that remove it; () where there is none of ours. Raises NetworkError while it is in a bridge."""
    link = host.link(wanted.name)
    mark = link.mark if link else None
    if link is None or mark is None or mark.kind != KIND:
        return ()
    if link.master:
        raise NetworkError(f"{link.name} is in the bridge {link.master}", hint="take that down first")
    links.check_bare(link.name, host)
    parent = host.link(link.parent)
    steps = []
    others = [one for one in host.links if one.parent == link.parent and one.name != link.name]
    if mark.values.get("was") == "down" and parent and parent.up and not others and not host.addresses_of(parent.name, 4):
        lower, raised = links.set_up(parent.name).undo, links.set_up(parent.name).do
        steps.append(Step(text=f"set {parent.name} down, as it was", do=lower[0], undo=(raised,)))
    words = ("link", link.parent, "type", "vlan", "id", str(link.details.get("id", 0)))
    again = links.remade(link, words, KIND, host)
    steps.append(Step(text=f"remove the VLAN {link.name}", do=links.gone(link.name), undo=again))
    return tuple(steps)


def verify(wanted: Vlan, host: Host) -> list[str]:
    """What is not as WANTED, in sentences; [] where all is right."""
    link = host.link(wanted.name)
    if link is None:
        return [f"there is no VLAN {wanted.name}"]
    wrong = []
    if link.kind != "vlan" or link.parent != wanted.parent or link.details.get("id") != wanted.tag:
        wrong.append(f"{link.name} is not the VLAN {wanted.tag} of {wanted.parent}")
    parent = host.link(wanted.parent)
    wrong += [f"{one.name} is down" for one in (link, parent) if one and not one.up]
    if link.mark is not None and link.mark.values.get("state") != UP:
        wrong.append(f"{link.name} is half made")
    return wrong
