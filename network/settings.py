"""The table ``[network]`` of /etc/xmcompat/xmcompat.toml: networks that xend-config.sxp has no words for. Pure.

Each table beneath it is a kind of network, with the name of its bridge in front of what it is to be:

    [network.bridges.xenbr1]
    uplink = "eth1"
    vlan = 100
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from xmcompat.errors import ConfigError
from xmcompat.network.names import unusable
from xmcompat.network.wanted import LAST_TAG, Bridge, Forward, Nat, Network, Overlay, Routing, Segment, Switch, Vlan

#: The kernel's own bounds.
LAST_VNI, LAST_PORT = 2**24 - 1, 65535

_FORWARD = re.compile(r"(tcp|udp) ([0-9]{1,5}) (?:([0-9.]+)|\[([0-9a-fA-F:]+)\]):([0-9]{1,5})")


class _Keys:
    """The keys of one table, taken out one by one; what is left in the end is unknown. Raises ConfigError."""

    def __init__(self, table: object, name: str, path: str, known: tuple[str, ...]) -> None:
        self.name = name
        self._path = path
        if not isinstance(table, dict):
            raise self.wrong("", "must be a table", hint=f"write [{name}]")
        self._table: Mapping[str, Any] = table
        for key in table:
            if key not in known:
                raise self.wrong(key, "is not known", hint=f"known: {', '.join(known)}")

    def wrong(self, key: str, why: str, hint: str | None = None) -> ConfigError:
        return ConfigError(f"{self.name}{'.' if key else ''}{key} {why}", path=self._path, hint=hint)

    def text(self, key: str, default: str = "") -> str:
        value = self._table.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "must be text in quotes")
        return value

    def device(self, key: str, default: str = "") -> str:
        value = self.text(key, default)
        if why := unusable(value) if value else "":
            raise self.wrong(key, why)
        return value

    def needed(self, key: str) -> str:
        if key not in self._table:
            raise self.wrong(key, "is missing")
        return self.device(key)

    def yes(self, key: str, default: bool) -> bool:
        value = self._table.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "must be true or false")
        return value

    def number(self, key: str, low: int, high: int, default: int | None = None) -> int:
        value = self._table.get(key, default)
        if value is None:
            raise self.wrong(key, "is missing")
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(key, f"must be a number from {low} to {high}")
        return value

    def has(self, key: str) -> bool:
        return key in self._table

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self.wrong(key, "must be a list of texts in quotes", hint=f'write {key} = ["...", "..."]')
        return tuple(value)

    def addresses(self, key: str, *, prefix: bool) -> tuple[str, ...]:
        return tuple(self.checked(key, value, prefix=prefix) for value in self.texts(key))

    def checked(self, key: str, value: str, *, prefix: bool) -> str:
        """VALUE if it is an address, with a PREFIX or without."""
        try:
            if not prefix:
                return str(ipaddress.ip_address(value))
            if "/" in value:
                return str(ipaddress.ip_interface(value))
        except ValueError:
            pass
        example = "192.0.2.1/24" if prefix else "192.0.2.1"
        raise self.wrong(key, f"has '{value}', which is no address{' with a prefix' if prefix else ''}", f"write {example}")


def parse(table: Mapping[str, Any], path: str) -> tuple[Network, ...]:
    """The networks that the table ``network`` of the file PATH asks for. ``uplink`` "" is the default route's device.

    Raises ConfigError, which names file and key.
    """
    keys = _Keys(table, "network", path, (*_MANY, "cards", "nat", "routing"))
    found: list[Network] = []
    for kind, read in _MANY.items():
        for name, inner in _tables(keys, table, kind):
            if why := unusable(name):
                raise keys.wrong(kind, f"has a name that cannot be: {why}")
            found += read(name, inner, f"network.{kind}.{name}", path)
    if "routing" in table:
        found.append(_routing(table["routing"], path))
    if "nat" in table:
        found.append(_nat(table["nat"], path))
    cards(table, path)
    return tuple(found)


def cards(table: Mapping[str, Any], path: str) -> dict[str, str]:
    """Which card of this host stands for which one of the words: the table ``network.cards``. Raises ConfigError."""
    inner = table.get("cards", {})
    keys = _Keys(inner, "network.cards", path, tuple(inner) if isinstance(inner, dict) else ())
    return {name: keys.needed(name) for name in inner}


def _tables(keys: _Keys, table: Mapping[str, Any], kind: str) -> Iterator[tuple[str, object]]:
    inner = table.get(kind, {})
    if not isinstance(inner, dict):
        raise keys.wrong(kind, "must be a table", hint=f"write [network.{kind}.NAME]")
    yield from inner.items()


def _bridge(name: str, table: object, place: str, path: str) -> Iterator[Network]:
    keys = _Keys(table, place, path, ("uplink", "vlan", "antispoof"))
    uplink, antispoof = keys.device("uplink"), keys.yes("antispoof", False)
    if keys.has("vlan"):
        tag = keys.number("vlan", 1, LAST_TAG)
        if not uplink:
            raise keys.wrong("uplink", "is missing", hint="a VLAN is one of a card")
        device = f"{uplink}.{tag}"
        if why := unusable(device):
            raise keys.wrong("vlan", why)
        yield Vlan(name=device, parent=uplink, tag=tag)
        uplink = device
    yield Bridge(name=name, uplink=uplink, antispoof=antispoof)


def _segment(name: str, table: object, place: str, path: str) -> Iterator[Network]:
    keys = _Keys(table, place, path, ("addresses", "antispoof"))
    addresses = keys.addresses("addresses", prefix=True)
    yield Segment(name=name, addresses=addresses, antispoof=keys.yes("antispoof", False))


def _switch(name: str, table: object, place: str, path: str) -> Iterator[Network]:
    keys = _Keys(table, place, path, ("uplink", "datapath"))
    datapath = keys.text("datapath")
    if datapath not in ("", "system", "netdev"):
        raise keys.wrong("datapath", f"'{datapath}' is not known", hint='write "system", the kernel\'s, or "netdev"')
    yield Switch(name=name, uplink=keys.device("uplink"), datapath="" if datapath == "system" else datapath)


def _overlay(name: str, table: object, place: str, path: str) -> Iterator[Network]:
    keys = _Keys(table, place, path, ("vni", "device", "underlay", "local", "group", "peers", "port"))
    vni = keys.number("vni", 1, LAST_VNI)
    group, peers, local = keys.text("group"), keys.addresses("peers", prefix=False), keys.text("local")
    if group and peers:
        raise keys.wrong("", "has both group and peers", hint="the other hosts are found in one of the two ways")
    if group and not ipaddress.ip_address(keys.checked("group", group, prefix=False)).is_multicast:
        raise keys.wrong("group", f"'{group}' is no multicast address", hint="write one from 239.0.0.0/8")
    yield Overlay(
        vni=vni, bridge=name, device=keys.device("device", f"vxlan{vni}"), underlay=keys.device("underlay"),
        local=keys.checked("local", local, prefix=False) if local else "", group=group, peers=peers,
        port=keys.number("port", 1, LAST_PORT, 4789),
    )  # fmt: skip


def _routing(table: object, path: str) -> Routing:
    keys = _Keys(table, "network.routing", path, ("uplink", "ipv6"))
    return Routing(uplink=keys.device("uplink"), ipv6=keys.yes("ipv6", True))


def _nat(table: object, path: str) -> Nat:
    keys = _Keys(table, "network.nat", path, ("uplink", "bridge", "network", "dhcp", "forwards"))
    network = keys.text("network", "10.0.0.0/16")
    try:
        ipaddress.IPv4Network(network)
    except ValueError as error:
        raise keys.wrong("network", f"'{network}' is no IPv4 network", hint=str(error)) from None
    return Nat(
        uplink=keys.device("uplink"), bridge=keys.device("bridge", "xennat0"), network=network,
        dhcp=keys.yes("dhcp", True), forwards=tuple(_forward(keys, text) for text in keys.texts("forwards")),
    )  # fmt: skip


def _forward(keys: _Keys, text: str) -> Forward:
    """From "tcp 8080 10.0.0.5:80"."""
    found = _FORWARD.fullmatch(" ".join(text.split()))
    if not found or not all(1 <= int(found[number]) <= LAST_PORT for number in (2, 5)):
        raise keys.wrong("forwards", f"has '{text}'", hint='write "tcp 8080 10.0.0.5:80": from port 8080 here to a guest')
    address = keys.checked("forwards", found[3] or found[4], prefix=False)
    return Forward(protocol=found[1], port=int(found[2]), address=address, port_inside=int(found[5]))


#: The kinds of which there may be many, each a table of tables by names.
_MANY: dict[str, Callable[[str, object, str, str], Iterator[Network]]] = {
    "bridges": _bridge, "segments": _segment, "switches": _switch, "overlays": _overlay,
}  # fmt: skip
