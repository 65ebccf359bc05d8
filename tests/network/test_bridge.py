"""Bridges with a card: the plans, over values of hosts that nobody has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from xmcompat.network import bridge, moving
from xmcompat.network.found import MAKING, UP, Found
from xmcompat.network.host import Address, Host, Link, Route, root_server
from xmcompat.network.moving import Lease, Move
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Step
from xmcompat.network.wanted import Bridge

ETH0 = Link(index=2, name="eth0", mac="02:00:00:00:00:01", mtu=9000, up=True, carrier=True)
DEFAULTS = {
    "net.ipv6.conf.default.accept_dad": "1", "net.ipv6.conf.eth0.accept_dad": "1", "net.ipv6.conf.default.accept_ra": "1",
    "net.ipv6.conf.eth0.accept_ra": "1", "net.ipv6.conf.eth0.forwarding": "0", "net.ipv6.conf.default.forwarding": "0",
}  # fmt: skip
HOST = Host(
    links=(Link(index=1, name="lo", mac="00:00:00:00:00:00", up=True), ETH0), settings=DEFAULTS,
    addresses=(
        Address(device="eth0", address="198.51.100.11", prefix=24, rest=("broadcast", "198.51.100.255")),
        Address(device="eth0", address="198.51.100.12", prefix=24, rest=("label", "eth0:1")),
        Address(device="eth0", address="2001:db8:1::11", prefix=64),
        Address(device="eth0", address="fe80::1", prefix=64, scope="link"),
    ),
    routes=(
        Route(device="eth0", destination="198.51.100.0/24", protocol="kernel", words=("198.51.100.0/24", "proto", "kernel")),
        Route(device="eth0", destination="default", gateway="203.0.113.1", words=("default", "via", "203.0.113.1")),
        Route(device="eth0", destination="203.0.113.1", words=("203.0.113.1", "scope", "link")),
        Route(device="eth0", destination="default", family=6, gateway="fe80::9", metric=1024,
              words=("default", "via", "fe80::9", "metric", "1024")),
        Route(device="eth0", destination="2001:db8:1::/64", family=6, protocol="kernel", words=("2001:db8:1::/64",)),
    ),
)  # fmt: skip
XENBR0 = Bridge(name="xenbr0", uplink="eth0")


def commands(steps: tuple[Step, ...]) -> list[str]:
    return [str(step.do) for step in steps]


def with_links(*links: Link, host: Host = HOST) -> Host:
    names = {link.name for link in links}
    return replace(host, links=(*(link for link in host.links if link.name not in names), *links))


def made(alias: str = "xmcompat bridge uplink=eth0 state=up", **values: Any) -> Host:
    """HOST when it has the bridge."""
    own = Link(**{"index": 3, "name": "xenbr0", "kind": "bridge", "mac": ETH0.mac, "mtu": 9000, "up": True, "alias": alias,
                  **values})  # fmt: skip
    here = [replace(one, device="xenbr0") for one in HOST.addresses]
    routes = tuple(replace(route, device="xenbr0") for route in HOST.routes)
    host = replace(HOST, addresses=tuple(here), routes=routes)
    return with_links(replace(ETH0, master="xenbr0"), own, host=host)


def test_the_commands_on_the_way_up() -> None:
    assert commands(bridge.up(replace(XENBR0, antispoof=True), HOST)) == [
        "ip -batch - <<'END'\n"
        "link add name xenbr0 address 02:00:00:00:00:01 mtu 9000 type bridge stp_state 0 forward_delay 0\n"
        'link set dev xenbr0 alias "xmcompat bridge uplink=eth0 antispoof=yes state=making"\nEND',
        "ip link set dev xenbr0 up",
        "sysctl -w net.ipv6.conf.xenbr0.accept_dad=0",
        "ip addr add 198.51.100.11/24 broadcast 198.51.100.255 dev xenbr0",
        "ip addr add 198.51.100.12/24 label xenbr0:1 dev xenbr0",
        "ip addr add 2001:db8:1::11/64 dev xenbr0",
        "ip -4 route append 203.0.113.1 scope link dev xenbr0",
        "ip link set dev eth0 master xenbr0",
        "ip -4 route append default via 203.0.113.1 dev xenbr0",
        "ip -4 route del default via 203.0.113.1 dev eth0",
        "ip -6 route replace default via fe80::9 metric 1024 dev xenbr0",
        "ip -4 route del 203.0.113.1 scope link dev eth0",
        "ip addr del 2001:db8:1::11/64 dev eth0",
        "ip addr del 198.51.100.12/24 dev eth0",
        "ip addr del 198.51.100.11/24 dev eth0",
        "sysctl -w net.ipv6.conf.xenbr0.accept_dad=1",
        "ip link set dev xenbr0 alias 'xmcompat bridge uplink=eth0 antispoof=yes state=up'",
    ]


def test_the_commands_on_the_way_down() -> None:
    host = made()
    host = replace(host, addresses=tuple(
        replace(one, rest=("label", "xenbr0:1")) if "label" in one.rest else one for one in host.addresses
    ))  # fmt: skip
    found = commands(bridge.down(XENBR0, host))
    assert found[0] == "ip link set dev xenbr0 alias 'xmcompat bridge uplink=eth0 state=making dad=1'"
    assert found[-1] == "ip link del dev xenbr0"
    assert "ip addr add 198.51.100.12/24 label eth0:1 dev eth0" in found
    assert found.index("ip addr add 198.51.100.11/24 broadcast 198.51.100.255 dev eth0") < found.index("ip link set dev eth0 nomaster")
    assert found.index("ip -4 route append default via 203.0.113.1 dev eth0") < found.index("ip addr del 198.51.100.11/24 dev xenbr0")


def test_what_is_there_is_found_and_left() -> None:
    assert bridge.up(XENBR0, made()) == ()
    assert bridge.found(made()) == (Found(XENBR0, UP),)
    assert bridge.verify(XENBR0, made()) == []
    assert bridge.down(XENBR0, HOST) == ()
    (step,) = bridge.up(replace(XENBR0, antispoof=True), made())
    assert step.text == "hold the guests on xenbr0 to their MAC addresses"
    assert bridge.verify(replace(XENBR0, antispoof=True), made()) == ["the guests on xenbr0 are not held to their MAC addresses"]


def test_settings_of_the_card_are_taken_over() -> None:
    settings = {"net.ipv6.conf.eth0.accept_ra": "2", "net.ipv6.conf.eth0.forwarding": "1", "net.ipv4.conf.eth0.rp_filter": "2",
                "net.ipv4.conf.default.rp_filter": "0", "net.ipv6.conf.eth0.disable_ipv6": "0",
                "net.ipv6.conf.default.disable_ipv6": "0"}  # fmt: skip
    found = commands(bridge.up(XENBR0, replace(HOST, settings={**DEFAULTS, **settings})))
    assert [line for line in found if line.startswith("sysctl") and "accept_dad" not in line] == [
        "sysctl -w net.ipv4.conf.xenbr0.rp_filter=2", "sysctl -w net.ipv6.conf.xenbr0.forwarding=1",
        "sysctl -w net.ipv6.conf.xenbr0.accept_ra=2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "uplink", "called"),
    [("eth0", "eth0", "xenbr0"), ("eth12", "eth12", "xenbr12"), ("enp3s0", "enp3s0", "br-enp3s0"), ("eth0.100", "eth0.100", "br-eth0.100"),
     ("enx0123456789ab", "enx0123456789ab", "br-0123456789ab"), ("xenbr7", "eth0", "xenbr7")],
)  # fmt: skip
def test_the_name_of_a_bridge_is_not_that_of_its_card(name: str, uplink: str, called: str) -> None:
    host = with_links(replace(ETH0, name=uplink))
    assert bridge.named(Bridge(name=name, uplink=uplink), host).name == called


@pytest.mark.parametrize("wanted", [("xenbr0", "xenbr0"), ("eth0", "xenbr0"), ("eth0", "eth0"), ("xenbr0", "eth0")])
def test_the_device_of_the_default_route_is_the_bridge_when_it_is_there(wanted: tuple[str, str]) -> None:
    name, uplink = wanted
    assert bridge.up(Bridge(name=name, uplink=uplink), made()) == ()
    assert bridge.verify(Bridge(name=name, uplink=uplink), made()) == []


def test_guests_find_the_bridge_by_what_xen_called_it() -> None:
    assert [bridge.by_name(name, made()) for name in ("xenbr0", "eth0", "eth1")] == ["xenbr0", "xenbr0", ""]
    lan = with_links(replace(ETH0, master="lan"), Link(index=4, name="lan", kind="bridge"))
    assert [bridge.by_name(name, lan) for name in ("eth0", "xenbr0", "xenbr1", "lan")] == ["lan", "lan", "", "lan"]
    assert bridge.by_name("eth0", HOST) == ""


def test_a_bridge_that_somebody_else_has_made_is_used_and_left() -> None:
    lan = with_links(replace(ETH0, master="lan"), Link(index=4, name="lan", kind="bridge", mac=ETH0.mac))
    for wanted in (Bridge(name="lan", uplink="eth0"), Bridge(name="eth0", uplink="eth0"), Bridge(name="lan", uplink="lan"),
                   Bridge(name="eth0", uplink="lan")):  # fmt: skip
        assert bridge.up(wanted, lan) == ()
        assert bridge.verify(wanted, lan) == []
        assert bridge.down(wanted, lan) == ()


NFS = replace(HOST, root_server="192.0.2.9")
LAN = Link(index=4, name="lan", kind="bridge", mac="02:00:00:00:00:04")


@pytest.mark.parametrize(
    ("wanted", "host", "said"),
    [
        (Bridge(name="xenbr0", uplink="eth7"), HOST, "there is no network card 'eth7' on this host; there are: eth0"),
        (Bridge(name="a-name-of-16-byt", uplink="eth0"), HOST,
         "'a-name-of-16-byt' is longer than the 15 bytes that a link's name may have"),
        (Bridge(name="br/0", uplink="eth0"), HOST,
         "'br/0' cannot be the name of a link; write letters, digits, '.', '_' or '-'"),
        (XENBR0, with_links(LAN, replace(ETH0, master="lan")), "eth0 belongs to lan already; use lan, or take eth0 out of it"),
        (XENBR0, with_links(Link(index=4, name="bond0", kind="bond"), replace(ETH0, master="bond0")),
         "eth0 belongs to bond0 already; use bond0, or take eth0 out of it"),
        (Bridge(name="lan", uplink="eth0"), with_links(LAN),
         "there is a bridge 'lan' already, and eth0 is not in it; put eth0 into it, or choose another name"),
        (Bridge(name="tap0", uplink="eth0"), with_links(Link(index=4, name="tap0", kind="tun")),
         "there is a link 'tap0' already, and it is no bridge; choose another name"),
        (XENBR0, made("xmcompat bridge uplink=eth1 state=up"),
         "the bridge xenbr0 is there already, with the uplink eth1; take it down first"),
        (XENBR0, made("xmcompat segment state=up"),
         "the bridge xenbr0 is there already, with the kind 'segment'; take it down first"),
        (Bridge(name="xenbr0", uplink="lan"), with_links(LAN),
         "lan is a bridge, and cannot be in the bridge xenbr0; connect guests to lan"),
        (Bridge(name="xenbr0", uplink="lo"), HOST,
         "'lo' is the host's way to itself, and leads to nobody else; name a network card"),
        (Bridge(name="xenbr0", uplink="mv0"), with_links(Link(index=4, name="mv0", kind="macvlan", mac="02:00:00:00:00:05")),
         "mv0 (macvlan) cannot be in a bridge: it does not carry Ethernet of others; use a card"),
        (XENBR0, with_links(Link(index=4, name="mv0", kind="macvtap", parent="eth0")),
         "eth0 carries mv0, and cannot be in a bridge as well; remove that first"),
        (XENBR0, with_links(replace(ETH0, wireless=True)),
         "eth0 is a wireless card, which no bridge can have; use network-nat or network-route"),
        (XENBR0, NFS, "the root file system comes from 192.0.2.9 by eth0, which must not be cut off from it; use another card"),
        (XENBR0, replace(HOST, routes=(Route(device="eth0", destination="default", type="multipath"),)),
         "the route to default has several next hops, eth0 among them: it cannot follow to xenbr0; "
         "remove that route, or make the bridge by hand"),
        (Bridge(name="a-name-of-15-by", uplink="eth0"), HOST,
         "the address 198.51.100.12/24 of eth0 has the label 'eth0:1', which a-name-of-15-by cannot take over; "
         "give the address without a label, or choose a shorter name"),
    ],
)  # fmt: skip
def test_what_cannot_be(wanted: Bridge, host: Host, said: str) -> None:
    with pytest.raises(NetworkError) as caught:
        bridge.up(wanted, host)
    assert caught.value.line() == said


def test_a_root_file_system_by_another_card_does_not_matter() -> None:
    other = Route(device="eth1", destination="192.0.2.0/24", protocol="kernel", words=("192.0.2.0/24",))
    assert bridge.up(XENBR0, replace(NFS, routes=(*HOST.routes, other)))
    mounts = "proc /proc proc rw 0 0\n{} / {} rw,vers=4.2,addr=192.0.2.9,hard 0 0\n"
    assert root_server(mounts.format("nas:/srv/root", "nfs4")) == "192.0.2.9"
    assert root_server(mounts.format("/dev/sda1", "ext4")) == ""


def test_ports_and_links_on_it_keep_a_bridge() -> None:
    host = made()
    guests = with_links(*(Link(index=9, name=name, kind="tun", master="xenbr0") for name in ("vif1.0", "vif2.0")), host=host)
    with pytest.raises(NetworkError, match=r"^the bridge xenbr0 has ports: vif1\.0, vif2\.0$"):
        bridge.down(XENBR0, guests)
    with pytest.raises(NetworkError, match=r"^xenbr0\.5 is made on xenbr0$"):
        bridge.down(XENBR0, with_links(Link(index=9, name="xenbr0.5", kind="vlan", parent="xenbr0"), host=host))


def test_a_bridge_without_its_card_is_mended_or_removed() -> None:
    pulled = with_links(ETH0, host=made())
    assert bridge.found(pulled) == (Found(XENBR0, MAKING),)
    assert bridge.verify(XENBR0, pulled) == ["eth0 is not in xenbr0"]
    assert "put eth0 into xenbr0" in [step.text for step in bridge.up(XENBR0, pulled)]
    gone = replace(pulled, links=tuple(link for link in pulled.links if link.name != "eth0"))
    assert bridge.verify(XENBR0, gone) == ["xenbr0 has lost its card: there is no eth0"]
    assert commands(bridge.down(XENBR0, gone)) == ["ip link del dev xenbr0"]


def test_what_is_wrong_is_told() -> None:
    host = made(mac="02:00:00:00:00:99", mtu=1500, up=False, alias="xmcompat bridge uplink=eth0 state=making")
    host = with_links(replace(ETH0, master="xenbr0", carrier=False), host=host)
    host = replace(host, addresses=(*host.addresses, HOST.addresses[0]))
    assert bridge.verify(XENBR0, host) == [
        "xenbr0 is down",
        "eth0 has no carrier: is its cable plugged in?",
        "xenbr0 has the MAC address 02:00:00:00:00:99, not that of eth0, 02:00:00:00:00:01",
        "xenbr0 has the MTU 1500, eth0 has 9000",
        "eth0 has the address 198.51.100.11/24 beside xenbr0: does a program configure it?",
        "xenbr0 is half made",
    ]
    assert bridge.verify(XENBR0, HOST) == ["there is no bridge xenbr0"]


LEASED = replace(HOST.addresses[0], dynamic=True, rest=("valid_lft", "3600", "preferred_lft", "1800"))


def test_dhcp_on_the_card_is_told_and_its_address_kept() -> None:
    host = replace(HOST, addresses=(LEASED,))
    found = commands(bridge.up(XENBR0, host))
    assert "ip addr add 198.51.100.11/24 dev xenbr0" in found
    assert found[-1].endswith("uplink=eth0 lease=198.51.100.11/3600/1800 state=up'")
    (said,) = bridge.cautions(XENBR0, host, ["dhclient (process 412)"])
    assert said == (
        "198.51.100.11 is configured by DHCP (dhclient (process 412)): xenbr0 keeps the address without end; let the host's "
        "own configuration ask for it on xenbr0, not on eth0"
    )
    assert bridge.cautions(XENBR0, HOST) == []
    assert bridge.cautions(XENBR0, made(), ["dhclient"]) == []


def test_more_leases_than_a_mark_can_hold_are_refused() -> None:
    many = tuple(replace(LEASED, address=f"198.51.100.{number}") for number in range(100, 112))
    with pytest.raises(NetworkError, match=r"^what must be remembered does not fit into the alias of a link"):
        bridge.up(XENBR0, replace(HOST, addresses=many))


def test_leases_survive_their_writing() -> None:
    leases = {"198.51.100.11": Lease("3600", "1800"), "2001:db8::1": Lease("60", "forever")}
    assert moving.read_leases(moving.leases_text(leases)) == leases
    assert moving.read_leases("") == moving.read_leases("x/y") == {}


def test_what_a_router_advertised_keeps_its_lifetimes() -> None:
    own = Address(device="eth0", address="2001:db8:5::1", prefix=64, dynamic=True,
                  rest=("valid_lft", "86400", "preferred_lft", "14400", "mngtmpaddr"))  # fmt: skip
    drawn = replace(own, address="2001:db8:5::9", temporary=True, rest=("valid_lft", "600", "preferred_lft", "300"))
    route = Route(device="eth0", destination="default", family=6, protocol="ra", gateway="fe80::9", metric=1024,
                  words=("default", "via", "fe80::9", "metric", "1024", "proto", "ra", "expires", "1700"))  # fmt: skip
    prefix = Route(device="eth0", destination="2001:db8:5::/64", family=6, protocol="kernel", words=("2001:db8:5::/64",))
    host = replace(HOST, addresses=(own, drawn), routes=(prefix, route))
    found = commands(bridge.up(XENBR0, host))
    assert [line for line in found if "2001" in line or "route" in line] == [
        "ip addr add 2001:db8:5::1/64 valid_lft 86400 preferred_lft 14400 mngtmpaddr dev xenbr0",
        "ip addr add 2001:db8:5::9/64 valid_lft 600 preferred_lft 300 noprefixroute dev xenbr0",
        "ip -6 route append default via fe80::9 metric 1023 proto ra expires 1700 dev xenbr0",
        "ip addr del 2001:db8:5::1/64 dev eth0",
        "ip -6 route flush exact 2001:db8:5::/64 dev eth0 table main",
    ]
    assert bridge.cautions(XENBR0, host) == ["the temporary IPv6 addresses of eth0 end in time; xenbr0 draws its own"]


@pytest.mark.parametrize("words", [("from", "2001:db8:2::/64"), ("tos", "0x10")])
def test_a_route_that_differs_in_what_it_is_for_is_another_one(words: tuple[str, str]) -> None:
    plain = Route(device="eth0", destination="192.0.2.0/24", gateway="198.51.100.1", words=("192.0.2.0/24", "via", "198.51.100.1"))
    special = replace(plain, words=("192.0.2.0/24", *words, "via", "198.51.100.1"))
    there = replace(special, device="xenbr0")
    host = replace(HOST, routes=(*HOST.routes, plain, special, there))
    made = [str(step.do) for step in Move(host, "eth0", "xenbr0", {}).steps(()) if "append 192.0.2.0" in str(step.do)]
    assert made == ["ip -4 route append 192.0.2.0/24 via 198.51.100.1 dev xenbr0"]
