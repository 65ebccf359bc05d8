"""NAT: plans, addresses and forwards, over values of a host that nobody has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.network import dhcp, forwards, nat, notes, route
from xmcompat.network.found import MAKING, UP, Found
from xmcompat.network.host import Address, Host, Link, Route, Server
from xmcompat.network.nat_addresses import nat_address, router_address
from xmcompat.network.plans import plan_up
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Setting, Step
from xmcompat.network.wanted import Forward, Nat, Routing

HOST = Host(
    links=(Link(index=1, name="lo", up=True), Link(index=2, name="up0", up=True, carrier=True)),
    addresses=(Address(device="up0", address="198.51.100.11", prefix=24),),
    routes=(
        Route(device="up0", destination="default", gateway="198.51.100.1"),
        Route(device="up0", destination="198.51.100.0/24", protocol="kernel"),
    ),
    settings={
        "net.ipv4.ip_forward": "0", "net.ipv4.conf.all.accept_redirects": "1", "net.ipv4.conf.up0.forwarding": "0",
        "net.ipv4.conf.default.forwarding": "0", "net.ipv6.conf.default.disable_ipv6": "0",
        "net.ipv4.conf.up0.proxy_arp": "0",
    },
)  # fmt: skip
WANTED = Nat(uplink="up0", dhcp=False)
WEB = Forward(protocol="tcp", port=8080, address="10.0.3.1", port_inside=80)
ALIAS = "xmcompat nat uplink=up0 network=10.0.0.0/16 dhcp=no"
OURS = Link(index=3, name="xennat0", kind="bridge", up=True, alias=ALIAS)


def written(steps: tuple[Step, ...]) -> list[str]:
    return [str(step.do) for step in steps if isinstance(step.do, Setting)]


def test_a_bridge_with_an_address_and_rules_of_its_own() -> None:
    steps = nat.up(WANTED, HOST, dhcp.Names())
    assert [step.text for step in steps] == [
        "note what the host was before 'xennat0'", "make the bridge 'xennat0'",
        "set net.ipv6.conf.xennat0.disable_ipv6 to 1", "set net.ipv4.conf.xennat0.forwarding to 1",
        "give 'xennat0' the address 10.0.0.1/16", "set xennat0 up", "set net.ipv4.ip_forward to 1",
        "translate addresses between 'xennat0' and 'up0'", "note that 'xennat0' is whole",
    ]  # fmt: skip
    assert f'link set dev xennat0 alias "{ALIAS}"' in str(steps[1].do)
    assert 'ip saddr 10.0.0.0/16 oifname "up0" masquerade' in str(steps[7].do)
    assert "was=0 now=1" in str(steps[0].do)


def test_nothing_is_rejected_that_others_route_to_guests() -> None:
    """Xen's vif-nat left guests open to those who know the way."""
    text = "".join(str(step.do) for step in nat.up(WANTED, HOST, dhcp.Names()))
    assert "drop" not in text
    assert "reject" not in text


def test_forwards_are_elements_of_one_map() -> None:
    steps = nat.up(replace(WANTED, forwards=(WEB,)), HOST, dhcp.Names())
    assert "nat-forwards-xennat0 { tcp . 8080 : 10.0.3.1 . 80 }" in str(steps[7].do)


def test_forwards_that_are_wanted_no_more_go_in_one_step_with_those_that_come() -> None:
    moved = replace(WEB, address="10.0.3.7")
    key, data = {"concat": ["tcp", 8080]}, {"concat": ["10.0.3.1", 80]}
    tables = {"inet": ({"map": {"name": "nat-forwards-xennat0", "elem": [[key, data]]}},)}
    steps = nat.up(replace(WANTED, forwards=(moved,)), replace(HOST, links=(*HOST.links, OURS), tables=tables), dhcp.Names())
    (step,) = [step for step in steps if "delete element" in str(step.do)]
    assert str(step.do).index("delete element") < str(step.do).index("add element")


def test_routing_and_nat_that_are_planned_together_both_know_what_was_before() -> None:
    plan = plan_up([Routing(uplink="up0", ipv6=False), WANTED], HOST, {Routing: route, Nat: nat})
    noted = "".join(str(step.do) for step in plan.steps if "note" in step.text)
    assert noted.count("note-nat-xennat0 continue comment \"xmcompat setting key=net.ipv4.ip_forward was=0 now=1\"") == 2
    assert written(plan.steps).count("sysctl -w net.ipv4.ip_forward=1") == 1
    both = replace(plan.after, settings={**plan.after.settings, "net.ipv4.ip_forward": "1"})
    assert written(route.down(Routing(uplink="up0", ipv6=False), both)) == ["sysctl -w net.ipv4.conf.up0.proxy_arp=0"]


@pytest.mark.parametrize(
    ("values", "host", "said"),
    [
        ({"uplink": "up1"}, {}, "there is no network card 'up1' on this host; there are: up0"),
        ({}, {"links": (Link(index=2, name="up0", master="xenbr0"),)},
         "'up0' is a port of 'xenbr0', by which packets leave; write 'xenbr0' as the uplink"),
        ({"network": "10.0.0.1/16"}, {}, "'10.0.0.1/16' is no IPv4 network for NAT: 10.0.0.1/16 has host bits set; write 10.0.0.0/16"),
        ({"network": "10.0.0.0/31"}, {}, "'10.0.0.0/31' cannot be the network of guests behind NAT; write 10.0.0.0/16"),
        ({"network": "198.51.0.0/16"}, {},
         "the network 198.51.0.0/16 of 'xennat0' overlaps 198.51.100.0/24, which is at 'up0';"
         " choose another one: network=10.64.0.0/16"),
        ({"bridge": "a-name-of-16-byt"}, {},
         "'a-name-of-16-byt' is longer than the 15 bytes that a link's name may have"),
        ({}, {"links": (*HOST.links, Link(index=3, name="xennat0", kind="bridge"))},
         "there is a link 'xennat0' already, which is not ours; name another bridge for NAT"),
        ({"network": "10.1.0.0/16"}, {"links": (*HOST.links, OURS)},
         "'xennat0' has the network 10.0.0.0/16, not 10.1.0.0/16; take it down first"),
        ({"forwards": (WEB, replace(WEB, address="10.0.3.2"))}, {},
         "tcp port 8080 is to lead to 10.0.3.1:80 and to 10.0.3.2:80"),
        ({"forwards": (replace(WEB, address="10.0.0.1"),)}, {},
         "forward 'tcp 8080 10.0.0.1:80': no guest behind 'xennat0' can have 10.0.0.1; choose one in 10.0.0.0/16"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_one_line(values: dict[str, Any], host: dict[str, Any], said: str) -> None:
    with pytest.raises(NetworkError) as caught:
        nat.up(replace(WANTED, **values), replace(HOST, **host), dhcp.Names())
    assert caught.value.line() == said


def test_rules_name_the_uplink_by_its_own_name() -> None:
    host = replace(HOST, links=(HOST.links[0], replace(HOST.links[1], altnames=("enp3s0",))))
    assert 'oifname "up0"' in str(nat.up(replace(WANTED, uplink="enp3s0"), host, dhcp.Names())[7].do)


def test_without_dnsmasq_there_is_no_dhcp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xmcompat.network.programs.is_there", lambda program: False)
    with pytest.raises(NetworkError) as caught:
        nat.up(Nat(uplink="up0"), HOST, dhcp.Names())
    assert caught.value.line() == (
        "'xennat0' is to have DHCP, and the program 'dnsmasq' is missing; install the package dnsmasq-base, or write dhcp=no"
    )
    assert nat.up(WANTED, HOST, dhcp.Names())


def test_whatever_is_left_is_found() -> None:
    left = replace(HOST, links=(*HOST.links, OURS))
    assert nat.found(left) == (Found(WANTED, UP),)
    assert "NAT on 'xennat0': rules are missing" in nat.verify(WANTED, left)
    noted = notes.foreseen(HOST, nat.up(WANTED, HOST, dhcp.Names())[:1])
    assert nat.found(noted) == (Found(WANTED, MAKING),)
    left = replace(HOST, servers=(Server("xennat0", "/run/xmcompat/nat/xennat0"),))
    assert nat.found(left) == (Found(Nat(uplink="", bridge="xennat0"), MAKING),)
    assert [step.text for step in nat.down(Nat(uplink="", bridge="xennat0"), left)] == [
        "stop dnsmasq of 'xennat0'", "remove /run/xmcompat/nat/xennat0",
    ]  # fmt: skip
    assert nat.down(WANTED, HOST) == ()


def test_a_bridge_of_somebody_else_is_not_removed() -> None:
    theirs = replace(HOST, links=(*HOST.links, replace(OURS, alias="")))
    steps = notes.foreseen(theirs, nat.up(WANTED, HOST, dhcp.Names()))
    assert "remove the bridge 'xennat0'" not in [step.text for step in nat.down(WANTED, steps)]


# -- addresses


def test_an_address_follows_from_the_mac() -> None:
    first = nat_address("00:16:3e:00:00:01", "10.0.0.0/16")
    assert first == nat_address("00:16:3E:00:00:01", "10.0.0.0/16")
    assert first != nat_address("00:16:3e:00:00:02", "10.0.0.0/16")
    second = nat_address("00:16:3e:00:00:01", "10.0.0.0/16", {first})
    assert second == nat_address("00:16:3e:00:00:01", "10.0.0.0/16", {first}) != first


@given(st.integers(0, 2**24 - 1), st.sampled_from(["10.0.0.0/16", "10.0.0.0/8", "192.168.7.0/24", "10.9.8.0/28", "10.9.8.0/30"]))
def test_an_address_is_one_that_a_guest_can_have(number: int, network: str) -> None:
    from ipaddress import IPv4Address, IPv4Network

    inside = IPv4Network(network)
    address = nat_address(f"00:16:3e:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}", network)
    assert IPv4Address(address) in inside
    assert IPv4Address(address) not in (inside[0], inside[1], inside[-1])
    assert inside.prefixlen > 24 or (1 <= int(address.rpartition(".")[2]) <= 127 and router_address(address, network))


def test_no_two_guests_have_an_address_until_all_are_taken() -> None:
    taken: set[str] = set()
    for number in range(126):
        taken.add(nat_address(f"00:16:3e:00:00:{number:02x}", "192.168.7.0/24", taken))
    assert len(taken) == 126
    with pytest.raises(NetworkError, match=r"^all addresses of 192\.168\.7\.0/24 are taken$"):
        nat_address("00:16:3e:00:01:00", "192.168.7.0/24", taken)


@pytest.mark.parametrize(
    ("ip", "said"),
    [
        ("192.0.2.1", "ip='192.0.2.1' lies outside of 10.0.0.0/16, the network behind NAT; choose one in 10.0.0.0/16"),
        ("10.0.0.1", "ip='10.0.0.1' is the host's own address in 10.0.0.0/16; choose another one"),
        ("10.0.255.255", "ip='10.0.255.255' is the first or last number of 10.0.0.0/16, which no guest can have"),
        ("10.0.3.9", "ip='10.0.3.9' is another guest's address; choose another one"),
        ("2001:db8::1", "ip='2001:db8::1' is no IPv4 address; guests behind NAT have one: write ip=10.0.3.1"),
    ],
)
def test_an_address_that_cannot_be_is_refused(ip: str, said: str) -> None:
    with pytest.raises(NetworkError) as caught:
        nat_address("00:16:3e:00:00:01", "10.0.0.0/16", {"10.0.3.9"}, ip)
    assert caught.value.line() == said


def test_an_address_that_is_given_is_taken_with_any_prefix() -> None:
    assert nat_address("00:16:3e:00:00:01", "10.0.0.0/16", (), "10.0.3.1/16") == "10.0.3.1"


@pytest.mark.parametrize(
    ("address", "router"),
    [("10.0.3.1", "10.0.3.128"), ("10.0.3.127", "10.0.3.254"), ("10.0.3.128", ""), ("10.0.3.200", "")],
)
def test_the_router_of_xens_numbers(address: str, router: str) -> None:
    assert router_address(address, "10.0.0.0/16") == router
    assert router_address("10.9.8.3", "10.9.8.0/28") == ""


def test_the_host_is_the_router_of_a_static_guest_while_it_is_there() -> None:
    (step,) = nat.guest_up("xennat0", "10.0.3.1", "10.0.0.0/16")
    assert str(step.do) == "ip addr add 10.0.3.128/32 dev xennat0"
    assert nat.guest_up("xennat0", "10.0.3.1", "10.0.0.0/16", ("10.0.3.128",)) == ()
    (step,) = nat.guest_down("xennat0", "10.0.3.1", "10.0.0.0/16", ("10.0.0.1", "10.0.3.128"))
    assert str(step.do) == "ip addr del 10.0.3.128/32 dev xennat0"
    assert nat.guest_down("xennat0", "10.0.3.1", "10.0.0.0/16", ("10.0.0.1",)) == ()


# -- forwards


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"protocol": "icmp"}, "forward 'icmp 8080 10.0.3.1:80': 'icmp' cannot be forwarded; write tcp or udp"),
        ({"port": 0}, "forward 'tcp 0 10.0.3.1:80': there is no port 0; ports are 1 to 65535"),
        ({"port_inside": 65536}, "forward 'tcp 8080 10.0.3.1:65536': there is no port 65536; ports are 1 to 65535"),
        ({"address": "www"}, "forward 'tcp 8080 www:80': no guest behind 'xennat0' can have www; choose one in 10.0.0.0/16"),
        ({"address": "fd00::5"}, "forward 'tcp 8080 [fd00::5]:80': no guest behind 'xennat0' can have fd00::5; choose one in 10.0.0.0/16"),
    ],
)  # fmt: skip
def test_a_forward_that_cannot_be_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(NetworkError) as caught:
        forwards.check(replace(WEB, **values), WANTED)
    assert caught.value.line() == said


def test_elements_of_another_kind_are_none_of_ours() -> None:
    strange = {"map": {"name": "nat-forwards-xennat0", "elem": [["tcp", {"drop": None}], ["x"], 7, [{"concat": [1]}, 2]]}}
    assert forwards.found("xennat0", replace(HOST, tables={"inet": (strange,)})) == ()


@pytest.mark.parametrize("alias", ["xmcompat nat network=garbage", "xmcompat nat uplink= network="])
def test_a_mark_that_lies_is_taken_away_all_the_same(alias: str) -> None:
    host = replace(HOST, links=(*HOST.links, replace(OURS, alias=alias)))
    (one,) = nat.found(host)
    assert next(step.text for step in nat.down(one.wanted, host)) == "remove the bridge 'xennat0'"
    nameless = {"rule": {"chain": "note-nat-x", "comment": "xmcompat nat"}}
    assert nat.found(replace(HOST, tables={"inet": (nameless,)})) == ()


HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def test_a_port_that_the_host_serves_itself_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "tcp").write_text(
        f"{HEAD}   0: 00000000:1F90 00000000:0000 0A 0\n   1: 0100007F:0050 00000000:0000 0A 0\n"
        "   2: 0B6433C6:0016 0100000A:1234 01 0\n"
    )
    (tmp_path / "udp6").write_text(f"{HEAD}  9: {'0' * 32}:0035 {'0' * 32}:0000 07 0\n")
    served = forwards.listening(str(tmp_path))
    assert served == {("tcp", 8080), ("udp", 53)}
    assert forwards.warnings([WEB, replace(WEB, port=80)], served) == [
        "forward 'tcp 8080 10.0.3.1:80': a program of this host serves tcp port 8080, and is reached no more"
    ]
