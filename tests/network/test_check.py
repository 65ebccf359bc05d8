"""``check``: what drops guests' packets is named, with what to do; what is well is not complained of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.lab.lan import OUTSIDE, OUTSIDE6, BareHost, address
from tests.lab.networks import Joiner, OneHost
from tests.lab.snapshot import same
from tests.lab.stations import Station
from tests.network.undoing import Change, tried
from xmcompat.network import host as hosts
from xmcompat.network import survive
from xmcompat.network.check import DROPS, MAY_DROP, ODD, Finding, Policy, bridges_of, check, look
from xmcompat.network.check import lines as said_once
from xmcompat.network.features import Missing
from xmcompat.network.host import Address, Host, Link, Route
from xmcompat.network.rules import Chain, Ruleset
from xmcompat.network.rules_read import iptables, read
from xmcompat.network.steps import Step, take
from xmcompat.network.wanted import Bridge, Forward, Nat, Port, Routing, Segment

pytestmark = pytest.mark.timeout(300)

BRIDGE = Link(index=3, name="xenbr0", kind="bridge", mac="02:00:00:00:00:11", up=True, carrier=True, details={"stp_state": 0})
CARD = Link(index=2, name="eth0", mac="02:00:00:00:00:11", up=True, carrier=True, master="xenbr0")
TAP = Link(index=4, name="vif1.0", kind="tun", mac="fe:ff:ff:ff:ff:ff", up=True, carrier=True, master="xenbr0")
HOST = Host(
    links=(CARD, BRIDGE, TAP),
    addresses=(Address(device="xenbr0", address="198.51.100.11", prefix=24),),
    routes=(Route(device="xenbr0", destination="default"),),
    settings={"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"},
)
FILTERED = replace(HOST, settings={**HOST.settings, "net.bridge.bridge-nf-call-iptables": "1"})
PORT = Port(device="vif1.0", mac="00:16:3e:00:00:01", bridge="xenbr0")
BRIDGED = Bridge(name="xenbr0", uplink="eth0")
CLOSED = Ruleset(iptables("-P FORWARD DROP\n-N DOCKER-USER\n-A FORWARD -j DOCKER-USER\n-A FORWARD -i docker0 -j ACCEPT\n",
                          "ip", legacy=False))  # fmt: skip


def lines(host: Host = HOST, ruleset: Ruleset | None = None, ports: Any = (PORT,), networks: Any = (BRIDGED,)) -> list[str]:
    return [f"{one.severity}: {one.line()}" for one in check(host, ruleset or Ruleset(), ports, networks)]


def test_a_host_that_is_well_has_no_findings() -> None:
    assert lines() == []
    assert lines(FILTERED) == []
    assert lines(ruleset=CLOSED) == []


def test_a_firewall_that_sees_the_bridge_is_named_with_two_ways_out() -> None:
    assert lines(FILTERED, CLOSED) == [
        "drops: IPv4 between ports of the bridge 'xenbr0' are dropped, since net.bridge.bridge-nf-call-iptables is 1, by "
        "table 'ip filter', chain FORWARD, policy drop; type 'sysctl -w net.bridge.bridge-nf-call-iptables=0', or "
        "'iptables -I DOCKER-USER -i xenbr0 -o xenbr0 -j ACCEPT' where containers need that setting"
    ]


def test_bridges_that_one_remedy_helps_are_named_together() -> None:
    other = replace(BRIDGE, index=5, name="inner", mac="02:00:00:00:00:12")
    (line,) = lines(replace(FILTERED, links=(*FILTERED.links, other)), CLOSED, networks=(BRIDGED, Segment(name="inner")))
    assert line.startswith("drops: IPv4 between ports of the bridges 'xenbr0', 'inner' are dropped, since ")
    assert line.count("sysctl -w") == 1
    assert "-i xenbr0 -o xenbr0 -j ACCEPT' and 'iptables -I DOCKER-USER -i inner -o inner -j ACCEPT' where" in line


def test_what_helps_against_several_is_said_once() -> None:
    found = [Finding(DROPS, "a", "one", "", "do that"), Finding(ODD, "b", "two", "here", "do that"), Finding(ODD, "c", "three")]
    assert list(said_once(found)) == ["drops: one; do that", "odd: two by here", "odd: three"]


def test_a_bridge_may_be_filtered_by_its_own_setting() -> None:
    own = replace(BRIDGE, details={"nf_call_iptables": 1})
    (line,) = lines(replace(HOST, links=(CARD, own, TAP)), CLOSED)
    assert "since nf_call_iptables of the bridge is 1" in line
    assert "type 'ip link set xenbr0 type bridge nf_call_iptables 0'" in line


def test_what_cannot_be_told_may_drop() -> None:
    some = Ruleset(iptables("-P FORWARD DROP\n-A FORWARD -s 10.0.0.0/8 -j ACCEPT\n", "ip", legacy=False))
    (line,) = lines(FILTERED, some)
    assert line.startswith("may drop: IPv4 between ports of the bridge 'xenbr0' may be dropped")


ROUTED = replace(HOST, links=(replace(CARD, master=""), replace(TAP, master="")))
ROUTING = Routing(uplink="eth0", ipv6=False)
NAT = Nat(uplink="eth0", bridge="xennat0")


def test_routed_guests_and_those_of_nat_are_dropped_without_bridge_filtering_too() -> None:
    found = lines(ROUTED, CLOSED, networks=[ROUTING])
    assert [line.partition(" by ")[0] for line in found] == [
        "drops: IPv4 from 'vif1.0' to 'eth0' are dropped", "drops: IPv4 from 'eth0' to 'vif1.0' are dropped",
    ]  # fmt: skip
    assert "type 'iptables -I FORWARD -i vif1.0 -o eth0 -j ACCEPT'" in found[0]
    (line,) = lines(ROUTED, CLOSED, [], [NAT])
    assert line.startswith("drops: IPv4 from 'xennat0' to 'eth0' are dropped by table 'ip filter', chain FORWARD, policy")
    forwarding = replace(NAT, forwards=(Forward(protocol="tcp", port=80, address="10.0.0.2", port_inside=80),))
    assert len(lines(ROUTED, CLOSED, [], [forwarding])) == 2


def test_routing_without_guests_yet_is_looked_at_as_well() -> None:
    found = lines(ROUTED, CLOSED, [], [ROUTING])
    assert [line.partition(" by ")[0] for line in found] == [
        "drops: IPv4 from 'eth0' to routed guests are dropped", "may drop: IPv4 from routed guests to 'eth0' may be dropped",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("host", "networks", "said"),
    [
        (replace(ROUTED, settings={"net.ipv4.ip_forward": "0"}), [ROUTING],
         "drops: the host does not forward what guests send by 'eth0' by net.ipv4.ip_forward = 0; type 'xmcompat network up'"),
        (replace(ROUTED, settings={"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.rp_filter": "1"}, routes=(
            Route(device="eth0", destination="default"), Route(device="eth1", destination="default", metric=5))), [ROUTING],
         "may drop: answers to guests that come in at 'eth0' may be dropped where the way back is by eth1 by rp_filter = 1 "
         "of 'eth0'; type 'sysctl -w net.ipv4.conf.eth0.rp_filter=2'"),
        (replace(HOST, links=(BRIDGE, TAP)), [BRIDGED],
         "drops: the bridge 'xenbr0' has lost its uplink: there is no 'eth0'; find the card, or type 'xmcompat network down "
         "xenbr0'"),
        (replace(HOST, links=(replace(CARD, master=""), BRIDGE, TAP)), [BRIDGED],
         "drops: the bridge 'xenbr0' has lost its uplink 'eth0'; type 'xmcompat network up'"),
        (replace(HOST, links=(replace(CARD, carrier=False), BRIDGE, TAP)), [BRIDGED],
         "drops: the uplink 'eth0' of 'xenbr0' has no carrier; see to its cable"),
        (replace(HOST, links=(CARD, replace(BRIDGE, details={"stp_state": 1, "forward_delay": 1500}), TAP)), [BRIDGED],
         "odd: the bridge 'xenbr0' speaks STP: a guest that starts waits 30 s for its network; type 'ip link set xenbr0 type "
         "bridge stp_state 0'"),
        (replace(HOST, links=(replace(CARD, mtu=9000), BRIDGE, TAP)), [BRIDGED],
         "may drop: 'eth0' has the MTU 9000, its bridge 'xenbr0' 1500: packets of more than 1500 bytes may be lost; type 'ip "
         "link set eth0 mtu 1500'"),
        (replace(HOST, links=(*HOST.links, replace(BRIDGE, name="br9", index=9))), [BRIDGED],
         "may drop: the bridges 'xenbr0' and 'br9' have the same MAC address 02:00:00:00:00:11; type 'ip link set br9 address "
         "...' with one of its own"),
        (replace(HOST, links=(CARD, BRIDGE, replace(TAP, carrier=False))), [BRIDGED],
         "drops: 'vif1.0' has no carrier: its guest's link is off; see 'virsh domif-setlink'"),
        (replace(HOST, links=(CARD, BRIDGE)), [BRIDGED],
         "drops: the guest's end 'vif1.0' has gone; detach the interface, and attach it"),
    ],
)  # fmt: skip
def test_each_trouble_has_its_line(host: Host, networks: Any, said: str) -> None:
    assert lines(host, networks=networks) == [said]


def test_a_mac_address_that_two_guests_have_is_told() -> None:
    twin = replace(PORT, device="vif2.0", mac=PORT.mac.upper())
    host = replace(HOST, links=(*HOST.links, replace(TAP, name="vif2.0", index=5)))
    (line,) = lines(host, ports=[PORT, twin])
    assert "two guests on 'xenbr0' have the MAC address 00:16:3E:00:00:01: those at 'vif1.0' and 'vif2.0'" in line


def test_a_port_that_its_bridge_has_lost_is_missed() -> None:
    host = replace(HOST, links=tuple(replace(link, master="") if link.name == "vif1.0" else link for link in HOST.links))
    (line,) = lines(host, ports=[replace(PORT, bridge="xenbr0")])
    assert line == ("drops: 'vif1.0' is not on its guest's bridge 'xenbr0': that was taken away, and made again;"
                    " type 'xmcompat network repair'")  # fmt: skip


def test_rules_of_a_port_that_somebody_flushed_are_missed() -> None:
    held = replace(PORT, held=True)
    (line,) = lines(ports=[held])
    assert line == "odd: the rules that keep 'vif1.0' to its addresses have gone: all rules were flushed; type 'xmcompat network repair'"
    assert lines(ports=[held], ruleset=Ruleset((Chain(table="netdev xmcompat", name="in/vif1.0"),))) == []


def test_what_the_host_lacks_is_worse_where_it_is_needed() -> None:
    gaps = [Missing("no VLANs", "CONFIG_VLAN_8021Q", False), Missing("no nft", "install the package nftables", True)]
    assert check(HOST, Ruleset(), missing=gaps) == [
        Finding(DROPS, "", "no nft", "", "install the package nftables"), Finding(ODD, "", "no VLANs", "", "CONFIG_VLAN_8021Q"),
    ]  # fmt: skip


def test_the_worst_comes_first_and_nothing_twice() -> None:
    host = replace(FILTERED, links=(replace(CARD, mtu=9000), replace(BRIDGE, details={"stp_state": 1, "forward_delay": 200}), TAP))
    severities = [one.severity for one in check(host, CLOSED, [PORT, replace(PORT, mac="")], [BRIDGED, BRIDGED])]
    assert severities == [DROPS, MAY_DROP, ODD]


def test_bridges_that_guests_are_on_are_looked_at_though_not_ours() -> None:
    assert bridges_of(HOST, [], []) == ("xenbr0",)
    assert bridges_of(replace(HOST, links=(CARD, BRIDGE)), [], []) == ()


# -- real rules, in a namespace

class Survival(Change):
    """The bridge xenbr0 is out of a firewall's sight."""

    unseen = ("file /run/xtables.lock",)

    def up(self) -> Sequence[Step]:
        return survive.up(hosts.read(), read(), ["xenbr0"])

    def down(self) -> Sequence[Step]:
        return survive.down(hosts.read())


def survived(host: BareHost, verb: str = "up") -> int:
    """The number of steps that it took to get there, or back ("down")."""

    def go() -> int:
        plan = Survival().plan(verb)
        take(plan)
        return len(plan)

    return host.call(go)


DOCKERLIKE = """\
{0} -P FORWARD DROP
{0} -N DOCKER-USER
{0} -A FORWARD -j DOCKER-USER
{0} -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
{0} -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
{0} -A DOCKER-USER -j RETURN
"""
BRIDGE_UP = f"""\
link add xenbr0 address 02:00:00:00:00:11 type bridge stp_state 0 forward_delay 0
link set xenbr0 up
addr del {address(1)}/24 dev up0
link set up0 master xenbr0
addr add {address(1)}/24 brd + dev xenbr0
route add default via {OUTSIDE}
"""


def found(host: BareHost) -> list[str]:
    """What is found, with a bridge that is there for guests."""
    return host.call(lambda: [one.line() for one in check(hosts.read(), read(), (), [Segment(name="xenbr0")])])


def told(host: BareHost) -> list[str]:
    """What is found of rules that see the bridge."""
    return [line for line in found(host) if "bridge-nf" in line]


@pytest.fixture
def docker(lan: OneHost, station: Joiner) -> Station:
    """A guest on the bridge of a host that has a container engine's rules for IPv4, and filters bridges."""
    lan.host.run("ip", "-batch", "-", input=BRIDGE_UP)
    guest = station(lan.host, port="vif1.0", mac="00:16:3e:00:00:01", addresses=["198.51.100.101/24", "2001:db8:1::65/64"])
    lan.host.run("ip", "link", "set", "vif1.0", "master", "xenbr0")
    for family in ("ip", "ip6"):
        lan.host.sysctl(f"net.bridge.bridge-nf-call-{family}tables", "1")
    assert guest.pings(OUTSIDE)
    return guest


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
def test_a_guest_lives_beside_docker(lan: OneHost, docker: Station, program: str) -> None:
    assert told(lan.host) == []
    lan.host.run("sh", "-e", input=DOCKERLIKE.format(program))
    before = lan.host.snapshot()
    assert not docker.pings(OUTSIDE, count=2, seconds=1)
    assert docker.pings(OUTSIDE6)
    (line,) = told(lan.host)
    assert "policy drop" in line and ("legacy" in line) == ("legacy" in program)
    assert survived(lan.host) == 3
    assert docker.pings(OUTSIDE)
    assert lan.host.sysctl("net.bridge.bridge-nf-call-ip6tables") == "1"  # it did no harm
    assert told(lan.host) == []
    assert survived(lan.host) == 0
    lan.host.sysctl("net.bridge.bridge-nf-call-iptables", "1")  # as Docker does when it starts
    assert len(told(lan.host)) == 1
    assert survived(lan.host) == 1
    assert docker.pings(OUTSIDE)
    assert survived(lan.host, "down") == 3
    assert not docker.pings(OUTSIDE, count=2, seconds=1)
    assert same(before, lan.host.snapshot)


@pytest.mark.parametrize("verb", ["up", "down"])
def test_an_error_on_the_way_leaves_the_settings_as_they_were(lan: OneHost, docker: Station, verb: str) -> None:
    for program in ("iptables", "ip6tables"):
        lan.host.run("sh", "-e", input=DOCKERLIKE.format(program))
    actions, breaches = tried(lan.host, Survival(), verb)
    assert breaches == []
    assert actions == 4


def test_the_rule_that_check_names_lets_packets_pass(lan: OneHost, docker: Station) -> None:
    lan.host.run("sh", "-e", input=DOCKERLIKE.format("iptables"))
    (line,) = told(lan.host)
    command = line.partition("or 'iptables ")[2].partition("'")[0]
    lan.host.run("iptables", *command.split())
    assert docker.pings(OUTSIDE)
    assert told(lan.host) == []


def test_rules_that_drop_some_are_reported_and_left_alone(lan: OneHost, docker: Station) -> None:
    lan.host.run("iptables", "-A", "FORWARD", "-d", OUTSIDE, "-j", "DROP")
    assert not docker.pings(OUTSIDE, count=2, seconds=1)
    (line,) = told(lan.host)
    assert f"rule '-A FORWARD -d {OUTSIDE}/32 -j DROP'" in line and "may be dropped" in line
    assert survived(lan.host) == 0


def test_a_chain_of_bridges_is_seen_without_any_setting(lan: OneHost, docker: Station) -> None:
    for family in ("ip", "ip6"):
        lan.host.sysctl(f"net.bridge.bridge-nf-call-{family}tables", "0")
    rule = "add table bridge t\nadd chain bridge t f { type filter hook forward priority 0 ; policy drop ; }\n"
    lan.host.run("nft", "-f", "-", input=rule)
    assert not docker.pings(OUTSIDE, count=2, seconds=1)
    (line,) = [one for one in found(lan.host) if "table" in one]
    assert line == (
        "frames between ports of the bridge 'xenbr0' are dropped by table 'bridge t', chain f, policy drop; change that rule"
    )


def test_a_look_changes_nothing(lan: OneHost) -> None:
    before = lan.host.snapshot()
    lines = lan.host.call(lambda: [one.line() for one in look()])
    assert same(before, lan.host.snapshot)
    assert not [line for line in lines if "dropped" in line]


def test_rules_that_name_the_card_in_a_bridge_are_told() -> None:
    rules = Ruleset(iptables("-P INPUT ACCEPT\n-A INPUT -i eth0 -p tcp -j DROP\n-A INPUT -i eth9 -j DROP\n", "ip", legacy=False))
    policy = Policy(family=4, priority=100, word="iif", device="eth0")
    found = [one.line() for one in check(HOST, rules, (PORT,), (BRIDGED,), policies=[policy])]
    assert len(found) == 2
    assert found[0] == (
        "an 'ip rule' names 'eth0', but its packets come and go by 'xenbr0' now by ip -4 rule, priority 100, iif eth0; "
        "add one for xenbr0"
    )
    assert "a rule names 'eth0'" in found[1]
