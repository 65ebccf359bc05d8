"""Bridges without a card: the plans, and who reaches whom."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.lab.lan import OUTSIDE, address, address6
from tests.lab.networks import Joiner, OneHost
from tests.network.undoing import Made, bring_up, tried, wrong_of
from xmcompat.network import segment
from xmcompat.network.found import MAKING, UP, Found
from xmcompat.network.host import Address, Host, Link
from xmcompat.network.programs import NetworkError
from xmcompat.network.wanted import Segment

pytestmark = pytest.mark.timeout(300)

DEFAULTS = {
    "net.ipv4.conf.default.arp_ignore": "0", "net.ipv4.conf.default.rp_filter": "0", "net.ipv6.conf.default.accept_ra": "1",
    "net.ipv6.conf.default.disable_ipv6": "0",
}  # fmt: skip
HOST = Host(
    links=(Link(index=2, name="eth0", up=True),), settings=DEFAULTS,
    addresses=(Address(device="eth0", address="198.51.100.11", prefix=24),),
)  # fmt: skip
DMZ = Segment(name="xendmz0")


def made(wanted: Segment, *, state: str = UP, **values: Any) -> Host:
    words = f" addresses={','.join(wanted.addresses)}" if wanted.addresses else ""
    words += " antispoof=yes" if wanted.antispoof else ""
    link = Link(**{"index": 3, "name": wanted.name, "kind": "bridge", "up": True,
                   "alias": f"xmcompat segment{words} state={state}", **values})  # fmt: skip
    ipv6 = "0" if any(":" in text for text in wanted.addresses) else "1"
    settings = {"ipv4.conf.*.arp_ignore": "1", "ipv4.conf.*.rp_filter": "1", "ipv6.conf.*.accept_ra": "0",
                "ipv6.conf.*.disable_ipv6": ipv6}  # fmt: skip
    own = {f"net.{key.replace('*', wanted.name)}": value for key, value in settings.items()}
    addresses = [Address(device=wanted.name, address=text.split("/")[0], prefix=int(text.split("/")[1])) for text in wanted.addresses]
    return replace(HOST, links=(*HOST.links, link), settings={**DEFAULTS, **own}, addresses=(*HOST.addresses, *addresses))


def test_the_commands_without_addresses() -> None:
    assert [str(step.do) for step in segment.up(DMZ, HOST)] == [
        "ip -batch - <<'END'\n"
        "link add name xendmz0 address 02:16:3e:b4:c4:82 type bridge stp_state 0 forward_delay 0\n"
        'link set dev xendmz0 alias "xmcompat segment state=making"\nEND',
        "sysctl -w net.ipv4.conf.xendmz0.arp_ignore=1",
        "sysctl -w net.ipv4.conf.xendmz0.rp_filter=1",
        "sysctl -w net.ipv6.conf.xendmz0.accept_ra=0",
        "sysctl -w net.ipv6.conf.xendmz0.disable_ipv6=1",
        "ip link set dev xendmz0 up",
        "ip link set dev xendmz0 alias 'xmcompat segment state=up'",
    ]


def test_with_addresses_the_host_is_on_it() -> None:
    wanted = replace(DMZ, addresses=("192.0.2.1/24", "2001:DB8:4::1/64"), antispoof=True)
    commands = [str(step.do) for step in segment.up(wanted, HOST)]
    assert "ip addr add 192.0.2.1/24 broadcast + dev xendmz0" in commands
    assert "ip addr add 2001:db8:4::1/64 nodad dev xendmz0" in commands
    assert not any("disable_ipv6" in command for command in commands)
    assert commands[-1].endswith("alias 'xmcompat segment addresses=192.0.2.1/24,2001:db8:4::1/64 antispoof=yes state=up'")


@pytest.mark.parametrize("wanted", [DMZ, replace(DMZ, addresses=("192.0.2.1/24",), antispoof=True)])
def test_what_is_there_is_found_and_left(wanted: Segment) -> None:
    host = made(wanted)
    assert segment.up(wanted, host) == ()
    assert segment.found(host) == (Found(wanted, UP),)
    assert segment.verify(wanted, host) == []
    (step,) = segment.down(wanted, host)
    assert str(step.do) == "ip link del dev xendmz0"


def test_what_has_changed_is_changed() -> None:
    host = made(replace(DMZ, addresses=("192.0.2.1/24",)))
    steps = segment.up(replace(DMZ, addresses=("192.0.2.9/24",), antispoof=True), host)
    assert [step.text for step in steps] == [
        "give xendmz0 the address 192.0.2.9/24", "take the address 192.0.2.1/24 from xendmz0", "note that xendmz0 is whole",
    ]  # fmt: skip
    assert segment.found(made(DMZ, state=MAKING)) == (Found(DMZ, MAKING),)
    assert segment.verify(DMZ, made(DMZ, state=MAKING, up=False)) == ["xendmz0 is down", "xendmz0 is half made"]
    assert segment.verify(DMZ, HOST) == ["there is no bridge xendmz0"]


@pytest.mark.parametrize(
    ("wanted", "links", "said"),
    [
        (Segment(name="a-bridge-of-sixteen"), (), "'a-bridge-of-sixteen' is longer than the 15 bytes that a link's name may have"),
        (Segment(name="a b"), (), "'a b' cannot be the name of a link; write letters, digits, '.', '_' or '-'"),
        (Segment(name="x", addresses=("192.0.2.300/24",)), (), "'192.0.2.300/24' of x is no address with a prefix; write 192.0.2.1/24"),
        (Segment(name="x", addresses=("198.51.100.65/26",)), (),
         "x cannot have the address 198.51.100.65/26: eth0 has 198.51.100.11/24; choose another network"),
        (Segment(name="x", addresses=("239.1.2.3/24",)), (),
         "x cannot have the address 239.1.2.3/24: that is a multicast address; write 192.0.2.1/24"),
        (Segment(name="x", addresses=("192.0.2.0/24",)), (),
         "x cannot have the address 192.0.2.0/24: that is the network 192.0.2.0/24 itself; write 192.0.2.1/24"),
        (Segment(name="x", addresses=("192.0.2.255/24",)), (),
         "x cannot have the address 192.0.2.255/24: that is for all hosts of 192.0.2.0/24; write 192.0.2.1/24"),
        (Segment(name="x", addresses=("2001:db8::/64",)), (),
         "x cannot have the address 2001:db8::/64: that is the network 2001:db8::/64 itself; write 192.0.2.1/24"),
        (Segment(name="x", addresses=("127.0.0.5/8",)), (),
         "x cannot have the address 127.0.0.5/8: that is each host's own; write 192.0.2.1/24"),
        (DMZ, (Link(index=9, name="xendmz0", kind="tun"),), "there is a link 'xendmz0' already, and it is no bridge; choose another name"),
        (DMZ, (Link(index=9, name="xendmz0", kind="bridge", alias="xmcompat bridge uplink=eth0"),),
         "the bridge xendmz0 is there already, of the kind 'bridge'; take it down first"),
        (DMZ, (Link(index=9, name="xendmz0", kind="bridge"), Link(index=10, name="eth5", master="xendmz0")),
         "the bridge xendmz0 leads outside by eth5; choose another name"),
        (replace(DMZ, addresses=("192.0.2.1/24",)), (Link(index=9, name="xendmz0", kind="bridge"),),
         "the bridge xendmz0 is not ours and has no address 192.0.2.1/24; give it that, or choose another name"),
    ],
)  # fmt: skip
def test_what_cannot_be(wanted: Segment, links: tuple[Link, ...], said: str) -> None:
    with pytest.raises(NetworkError) as caught:
        segment.up(wanted, replace(HOST, links=(*HOST.links, *links)))
    assert caught.value.line() == said


def test_a_bridge_of_somebody_else_is_used_and_left() -> None:
    host = replace(HOST, links=(*HOST.links, Link(index=9, name="xendmz0", kind="bridge", up=True)))
    assert (segment.up(DMZ, host), segment.down(DMZ, host), segment.found(host)) == ((), (), ())
    assert segment.verify(DMZ, host) == []


def test_it_stays_while_guests_are_on_it() -> None:
    host = made(DMZ)
    host = replace(host, links=(*host.links, Link(index=7, name="vif1.0", kind="tun", master="xendmz0")))
    with pytest.raises(NetworkError, match=r"^the bridge xendmz0 has ports: vif1\.0$"):
        segment.down(DMZ, host)


@pytest.mark.parametrize("verb", ["up", "down"])
@pytest.mark.parametrize("addresses", [(), ("192.0.2.1/24", "2001:db8:4::1/64")])
def test_whatever_fails_leaves_the_host_as_it_was(lan: OneHost, verb: str, addresses: tuple[str, ...]) -> None:
    wanted = Segment(name="xen.dmz-of-15-b", addresses=addresses)
    actions, breaches = tried(lan.host, Made(wanted), verb)
    assert breaches == []
    assert actions >= {"up": 6, "down": 1}[verb]


def test_guests_reach_each_other_and_nobody_else(lan: OneHost, station: Joiner) -> None:
    lan.host.sysctl("net.ipv4.ip_forward", "1")
    segments = [Segment(name="dmz0"), Segment(name="dmz1"), Segment(name="dmz2", addresses=("10.9.2.1/24",))]
    bring_up(lan.host, *segments)
    assert [wrong_of(lan.host, one) for one in segments] == [[], [], []]
    guests = {}
    for number, bridge in enumerate(("dmz0", "dmz0", "dmz1", "dmz2"), 1):
        guests[number] = station(
            lan.host, port=f"vif{number}.0", mac=f"00:16:3e:00:00:0{number}", gateway="10.9.2.1" if number == 4 else None,
            addresses=[f"10.9.2.1{number}/24", f"2001:db8:9::{number}/64", f"198.51.100.6{number}/24"],
        )  # fmt: skip
        lan.host.run("ip", "link", "set", f"vif{number}.0", "master", bridge)
    assert guests[1].pings("10.9.2.12")
    assert guests[1].pings("2001:db8:9::2")
    assert guests[4].pings("10.9.2.1")
    others = [(1, "10.9.2.13"), (1, "2001:db8:9::3"), (1, address(1)), (1, address6(1)), (1, OUTSIDE), (1, "10.9.2.1"), (4, "10.9.2.11")]
    with ThreadPoolExecutor(len(others)) as at_once:
        answers = at_once.map(lambda pair: guests[pair[0]].pings(pair[1], count=2, seconds=1), others)
    assert [pair for pair, answered in zip(others, answers, strict=True) if answered] == []
    assert not any("fe80" in line for line in lan.host.snapshot().section("addr") if " dmz0 " in line)
