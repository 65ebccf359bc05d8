"""A bridge without a card, in the place of ``network-bridge netdev=dummy0``: its guests reach each other, nobody else.

The host is on it only where it gets addresses there. Without them the bridge has no IPv6, hence no link-local address, and
packets that guests send to the host's other addresses are dropped.

Differs from xm: no ``dummy0`` is needed, and none is made.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Mapping

from xmcompat.network import links, marks, sysctl
from xmcompat.network.found import MAKING, UP, Found
from xmcompat.network.host import Host, Link
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Command, Setting, Step
from xmcompat.network.wanted import Segment

KIND = "segment"

#: What keeps the host out of it: only its addresses on the bridge are announced there, and no others' packets let in.
_APART = {"net.ipv4.conf.*.arp_ignore": "1", "net.ipv4.conf.*.rp_filter": "1", "net.ipv6.conf.*.accept_ra": "0"}
_WITHOUT_IPV6 = "net.ipv6.conf.*.disable_ipv6"


def up(wanted: Segment, host: Host) -> tuple[Step, ...]:
    """The steps that make it, or mend it; () where it is there. Raises NetworkError where it cannot be."""
    links.check_name(wanted.name)
    addresses = _checked(wanted, host)
    there = host.link(wanted.name)
    mark = there.mark if there else None
    if there is not None and (mark is None or mark.kind != KIND):
        _refuse_others(wanted, there, addresses, host)
        return ()
    values: Mapping[str, str] = {"addresses": ",".join(addresses), "antispoof": "yes" if wanted.antispoof else ""}
    marked = mark.values if mark else {**values, "state": MAKING}
    work = [
        *_settings(wanted.name, addresses, host, there),
        *([] if there and there.up else [links.set_up(wanted.name)]),
        *_addresses(wanted.name, addresses, marked.get("addresses", "") if there else "", host),
    ]
    making = links.check_mark(marks.text(KIND, **values, state=MAKING))
    begin = [] if there else [_making(wanted.name, _mac(wanted.name), making)]
    whole = {key: value for key, value in {**values, "state": UP}.items() if value}
    if marked == whole and not work:
        return ()
    end = links.marked(wanted.name, KIND, marked, whole, text=f"note that {wanted.name} is whole")
    return (*begin, *work, *([] if marked == whole else [end]))


def _making(name: str, mac: str, mark: str) -> Step:
    return links.made(name, _words(mac), mark, text=f"make the bridge {name}", needs="bridges (bridge)")


def _words(mac: str) -> tuple[str, ...]:
    return ("address", mac, "type", "bridge", "stp_state", "0", "forward_delay", "0")


def _mac(name: str) -> str:
    """One that does not change with the bridge's ports, and is the same each time."""
    digest = hashlib.sha256(f"{KIND}\0{name}".encode()).digest()
    return "02:16:3e:" + ":".join(f"{byte:02x}" for byte in digest[:3])


def _checked(wanted: Segment, host: Host) -> tuple[str, ...]:
    """The addresses as the kernel writes them. Raises NetworkError for what is none, and for what is somewhere else."""
    found = []
    for text in wanted.addresses:
        try:
            one = ipaddress.ip_interface(text)
        except ValueError:
            wrong = f"'{text}' of {wanted.name} is no address with a prefix"
            raise NetworkError(wrong, hint="write 192.0.2.1/24") from None
        if why := _no_hosts(one):
            raise NetworkError(f"{wanted.name} cannot have the address {text}: that is {why}", hint="write 192.0.2.1/24")
        for other in host.addresses:
            beside = ipaddress.ip_interface(str(other))
            if other.device != wanted.name and beside.version == one.version and beside.network.overlaps(one.network):
                raise NetworkError(
                    f"{wanted.name} cannot have the address {text}: {other.device} has {other}",
                    hint="choose another network",
                )
        found.append(one.with_prefixlen)
    return tuple(dict.fromkeys(found))


def _no_hosts(one: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> str:
    """What an address is that no host can have, "" for one that it can."""
    network, last = one.network, one.max_prefixlen - 1
    if one.is_multicast:
        return "a multicast address"
    if one.is_loopback or one.is_unspecified:
        return "each host's own" if one.is_loopback else "no host's"
    if network.prefixlen < last and one.ip == network.network_address:
        return f"the network {network} itself"
    if network.prefixlen < last and one.version == 4 and one.ip == network.broadcast_address:
        return f"for all hosts of {network}"
    return ""


def _refuse_others(wanted: Segment, there: Link, addresses: tuple[str, ...], host: Host) -> None:
    """A bridge that somebody else has made serves as it is. Raises NetworkError where it does not."""
    if there.kind != "bridge":
        raise NetworkError(f"there is a link '{there.name}' already, and it is no bridge", hint="choose another name")
    if there.mark is not None:
        raise NetworkError(f"the bridge {there.name} is there already, of the kind '{there.mark.kind}'",
                           hint="take it down first")  # fmt: skip
    if cards := [port.name for port in host.ports(there.name) if port.kind in ("", "bond", "vlan")]:
        raise NetworkError(f"the bridge {there.name} leads outside by {', '.join(cards)}", hint="choose another name")
    have = {str(one) for one in host.addresses_of(there.name)}
    if missing := [text for text in addresses if text not in have]:
        raise NetworkError(f"the bridge {there.name} is not ours and has no address {', '.join(missing)}",
                           hint="give it that, or choose another name")  # fmt: skip


def _settings(name: str, addresses: tuple[str, ...], host: Host, there: Link | None) -> Iterator[Step]:
    ipv6 = any(":" in text for text in addresses)
    values = {**_APART, _WITHOUT_IPV6: "0" if ipv6 else "1"}
    for pattern, value in values.items():
        key = sysctl.of_device(pattern, name)
        now = host.setting(key) if there else host.setting(pattern.replace("*", "default"))
        if now not in ("", value):
            text = f"set {pattern.rpartition('.')[2]} of {name} to {value}"
            yield links.setting(key, value, text=text, back=now if there else "")


def _addresses(name: str, addresses: tuple[str, ...], ours: str, host: Host) -> Iterator[Step]:
    have = {str(one) for one in host.addresses_of(name)}
    for text in addresses:
        if text not in have:
            yield Step(text=f"give {name} the address {text}", do=_give(name, text), undo=(_take(name, text),))
    for text in filter(None, ours.split(",")):
        if text in have and text not in addresses:
            yield Step(text=f"take the address {text} from {name}", do=_take(name, text), undo=(_give(name, text),))


def _give(name: str, text: str) -> Command:
    return Command(("ip", "addr", "add", text, *(("nodad",) if ":" in text else ("broadcast", "+")), "dev", name))


def _take(name: str, text: str) -> Command:
    return Command(("ip", "addr", "del", text, "dev", name))


def found(host: Host) -> tuple[Found[Segment], ...]:
    """Our segments."""
    return tuple(
        Found(Segment(name=link.name, addresses=tuple(filter(None, mark.values.get("addresses", "").split(","))),
                      antispoof=bool(mark.values.get("antispoof"))),
              UP if mark.values.get("state") == UP else MAKING)
        for link, mark in host.marked(KIND)
    )  # fmt: skip


def down(wanted: Segment, host: Host) -> tuple[Step, ...]:
    """The step that removes it; () where there is none of ours. Raises NetworkError while guests are on it."""
    link = host.link(wanted.name)
    mark = link.mark if link else None
    if link is None or mark is None or mark.kind != KIND:
        return ()
    links.check_unused(link.name, host)
    settings = [Setting(key, value) for pattern in (*_APART, _WITHOUT_IPV6)
                if (value := host.setting(key := sysctl.of_device(pattern, link.name)))]  # fmt: skip
    again = links.remade(link, _words(link.mac), KIND, host, settings)
    return (Step(text=f"remove the bridge {link.name}", do=links.gone(link.name), undo=again),)


def verify(wanted: Segment, host: Host) -> list[str]:
    """What is not as WANTED, in sentences; [] where all is right."""
    link = host.link(wanted.name)
    if link is None:
        return [f"there is no bridge {wanted.name}"]
    wrong = [] if link.up else [f"{link.name} is down"]
    have = {str(one) for one in host.addresses_of(link.name)}
    wrong += [f"{link.name} has no address {text}" for text in wanted.addresses if text not in have]
    if cards := [port.name for port in host.ports(link.name) if port.kind in ("", "bond", "vlan")]:
        wrong.append(f"{link.name} leads outside by {', '.join(cards)}")
    if link.mark is None:
        return wrong
    if not any(":" in text for text in wanted.addresses) and host.setting_of(_WITHOUT_IPV6, link.name) == "0":
        wrong.append(f"the host has IPv6 on {link.name}: guests there reach it")
    if link.mark.values.get("state") != UP:
        wrong.append(f"{link.name} is half made")
    if bool(link.mark.values.get("antispoof")) != wanted.antispoof:
        wrong.append(f"the guests on {link.name} are {'not ' if wanted.antispoof else ''}held to their MAC addresses")
    return wrong
