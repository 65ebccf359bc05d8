"""What a host will look like once a network is up, as far as later plans and the operator need to know. Pure.

Links, addresses and routes follow from what a network is; sysctls from the steps themselves.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace

from xmcompat.network import notes
from xmcompat.network.host import Address, Host, Link, Route
from xmcompat.network.steps import Setting, Step
from xmcompat.network.wanted import Bridge, Nat, Network, Overlay, Segment, Switch, Vlan

_NEW = 0                                 # the number of a link that is not there yet


def foreseen(network: Network, host: Host) -> Host:
    """HOST with NETWORK up. What is there already stays as it is."""
    match network:
        case Vlan():
            below = host.link(network.parent)
            vlan = Link(
                index=_NEW, name=network.name, kind="vlan", parent=network.parent, up=True, carrier=True,
                mac=below.mac if below else "", mtu=below.mtu if below else 1500,
            )  # fmt: skip
            return _with(host, vlan)
        case Bridge():
            return _bridged(host, network.name, network.uplink, network.name, "bridge")
        case Switch():
            made = _with(host, Link(index=_NEW, name=network.name, kind="openvswitch", up=True, carrier=True))
            return _bridged(made, network.name, network.uplink, "ovs-system", "openvswitch") if network.uplink else made
        case Segment():
            return _addressed(_with(host, _bridge(network.name)), network.name, network.addresses)
        case Nat():
            inner = ipaddress.IPv4Network(network.network)
            return _addressed(_with(host, _bridge(network.bridge)), network.bridge, (f"{inner[1]}/{inner.prefixlen}",))
        case Overlay():
            device = Link(
                index=_NEW, name=network.device, kind="vxlan", master=network.bridge, parent=network.underlay, up=True,
                carrier=True,
            )  # fmt: skip
            return _with(_with(host, _bridge(network.bridge)), device)
    return host


def gone(network: Network, host: Host) -> Host:
    """HOST without NETWORK: a bridge's addresses and routes are its card's again."""
    names = {getattr(network, key, "") for key in ("name", "bridge", "device")} - {""}
    if isinstance(network, Bridge | Switch) and network.uplink:
        host = _moved(host, network.name, network.uplink, "")
    return replace(
        host, links=tuple(link for link in host.links if link.name not in names),
        addresses=tuple(one for one in host.addresses if one.device not in names),
        routes=tuple(route for route in host.routes if route.device not in names),
    )  # fmt: skip


def with_settings(host: Host, steps: Iterable[Step]) -> Host:
    """HOST with the sysctls that STEPS write, and with what they note."""
    steps = tuple(steps)
    written = {step.do.key: step.do.value for step in steps if isinstance(step.do, Setting)}
    return notes.foreseen(replace(host, settings={**host.settings, **written}), steps)


def _bridge(name: str) -> Link:
    return Link(index=_NEW, name=name, kind="bridge", up=True, carrier=True)


def _with(host: Host, link: Link, like: str = "default") -> Host:
    """HOST with LINK, unless one of its name is there; its settings are those of the device LIKE, as of any new link."""
    if host.link(link.name):
        return host
    same, new = f".conf.{like.replace('.', '/')}.", f".conf.{link.name.replace('.', '/')}."
    settings = {key.replace(same, new): value for key, value in host.settings.items() if same in key}
    return replace(host, links=(*host.links, link), settings={**host.settings, **settings})


def _bridged(host: Host, name: str, uplink: str, master: str, kind: str) -> Host:
    """The bridge NAME with the card UPLINK in it, which gives it what the card has."""
    card = host.link(uplink)
    if card is None or card.master == master:
        return host
    made = Link(index=_NEW, name=name, kind=kind, mac=card.mac, mtu=card.mtu, up=True, carrier=True)
    host = _with(host, made, card.name)
    return _moved(host, card.name, name, master)


def _moved(host: Host, old: str, new: str, master: str) -> Host:
    """The addresses and routes of OLD are those of NEW; the one of both that is a card has the MASTER."""
    card = old if master else new
    return replace(
        host,
        links=tuple(replace(link, master=master) if link.name == card else link for link in host.links),
        addresses=tuple(_on(one, old, new) for one in host.addresses),
        routes=tuple(replace(route, device=new) if route.device == old else route for route in host.routes),
    )


def _on(address: Address, old: str, new: str) -> Address:
    return replace(address, device=new) if address.device == old and address.scope != "link" else address


def _addressed(host: Host, device: str, addresses: Iterable[str]) -> Host:
    there = {str(one) for one in host.addresses_of(device)}
    new = [ipaddress.ip_interface(text) for text in addresses if text not in there]
    return replace(
        host,
        addresses=(*host.addresses, *(
            Address(device=device, address=str(one.ip), prefix=one.network.prefixlen) for one in new
        )),
        routes=(*host.routes, *(
            Route(device=device, destination=str(one.network), family=one.version, protocol="kernel") for one in new
        )),
    )  # fmt: skip
