"""Bridges with a card, on hosts that are namespaces: nothing is lost on the way up and down, whatever fails."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.frames import ALL_NODES_MAC, ethernet, router_advertisement
from tests.lab.lan import OUTSIDE, BareHost, address, address6, end
from tests.lab.networks import Joiner, OneHost
from tests.lab.snapshot import same
from tests.lab.stations import send
from tests.network.undoing import AFTER, BEFORE, FINISHED, WAYS, Made, tried
from xmcompat.network import bridge, host, plans, steps
from xmcompat.network.programs import NetworkError
from xmcompat.network.wanted import Bridge

pytestmark = pytest.mark.timeout(300)

#: What a host's card may have beside a plain address: more addresses, a label, a second address of the same network,
#: routes of other tables, one to a gateway outside all networks, metrics, a lifetime.
RICH = """\
addr add 198.51.100.77/24 dev up0 label up0:1
addr add 203.0.113.5/32 dev up0
addr add 192.0.2.1/32 peer 192.0.2.2/32 dev up0
addr add 198.51.100.90/24 dev up0 valid_lft 5000 preferred_lft 4000
addr add 2001:db8:1::77/64 dev up0 nodad preferred_lft 0
addr add 2001:db8:9::1/64 dev up0 nodad valid_lft 6000 preferred_lft 3000
route add 203.0.113.1 dev up0
route add 203.0.113.128/25 via 203.0.113.1 dev up0 mtu 1400
route add 10.1.0.0/16 via 198.51.100.1 dev up0 metric 7 table 77
route add default via 198.51.100.1 dev up0 metric 500 src 198.51.100.77
"""
RICH6 = """\
route add 2001:db8:77::/48 via fe80::1 dev up0 metric 5
route add 2001:db8:78::/48 dev up0
"""


def bridged(host: BareHost, verb: str, *pairs: tuple[str, str]) -> list[Any]:
    """Take bridges with these names and uplinks up or down; what each has seen, or the line of its error."""
    return host.call(lambda: [one_bridged(verb, *pair) for pair in pairs or [("xenbr0", "up0")]])


def one_bridged(verb: str, name: str, uplink: str) -> str | dict[str, Any]:
    """The steps, what remains to be done, the milliseconds, what is wrong and found afterwards."""
    wanted = Bridge(name=name, uplink=uplink)
    begun = time.perf_counter()
    try:
        plan = getattr(bridge, verb)(wanted, host.read())
        steps.take(plan)
    except NetworkError as error:
        return error.line()
    took = 1000 * (time.perf_counter() - begun)
    now = host.read()
    return {"steps": [step.text for step in plan], "again": len(getattr(bridge, verb)(wanted, now)), "ms": took,
            "wrong": bridge.verify(wanted, now), "found": [one.state for one in bridge.found(now)]}  # fmt: skip


@pytest.fixture
def rich(lan: OneHost) -> OneHost:
    lan.host.sysctl("net.ipv4.conf.all.promote_secondaries", "0")
    lan.host.sysctl("net.ipv4.conf.up0.rp_filter", "2")
    lan.host.run("ip", "-batch", "-", input=RICH)
    lan.host.run("ip", "-6", "-batch", "-", input=RICH6)
    return lan


#: What was half taken down and is taken up again has a longer mark than before.
WAYS_OF = {"up": WAYS, "down": (BEFORE, AFTER, FINISHED)}


@pytest.mark.parametrize("verb", ["up", "down"])
def test_whatever_fails_leaves_the_host_as_it_was(rich: OneHost, verb: str) -> None:
    actions, breaches = tried(rich.host, Made(Bridge(name="xenbr0", uplink="up0")), verb, WAYS_OF[verb])
    assert breaches == []
    assert actions >= 25


@pytest.mark.parametrize("verb", ["up", "down"])
def test_whatever_fails_leaves_a_card_down_that_was(lan: OneHost, verb: str) -> None:
    lan.host.run("ip", "link", "add", "spare.0", "type", "veth", "peer", "name", "other")
    lan.host.run("ip", "link", "set", "other", "up")
    for state in ("up", "down"):  # the first time gives it a queue that stays
        lan.host.run("ip", "link", "set", "spare.0", state)
    assert not lan.host.outcome("ip", "link", "show", "dev", "spare.0", "up").stdout
    actions, breaches = tried(lan.host, Made(Bridge(name="br.spare.fiftee", uplink="spare.0")), verb, WAYS_OF[verb])
    assert breaches == []
    assert actions >= 4


def test_the_bridge_has_what_the_card_had(rich: OneHost) -> None:
    before = rich.host.snapshot()
    (made,) = bridged(rich.host, "up")
    assert (made["again"], made["wrong"], made["found"]) == (0, [], ["up"])
    after = rich.host.snapshot()

    def of(snapshot: object, device: str) -> set[str]:
        sections = snapshot.section("addr", "route4", "route6")  # type: ignore[attr-defined]
        lines = (line for line in sections if f" {device} " in line and "fe80::" not in line)
        moving = ("ff00::", "_time", "dynamic")
        return {line.replace(device, "CARD") for line in lines if not any(word in line for word in moving)}

    assert of(after, "xenbr0") == of(before, "up0")
    assert of(after, "up0") == set()
    assert rich.outside.pings(address(1))
    assert rich.outside.pings(address6(1))
    assert rich.outside.pings("198.51.100.77")
    bridged(rich.host, "down")
    assert same(before, rich.host.snapshot)


def test_an_address_from_dhcp_does_not_end_on_the_bridge(lan: OneHost) -> None:
    lan.host.run("ip", "addr", "change", f"{address(1)}/24", "brd", "+", "dev", "up0", "valid_lft", "3600", "preferred_lft", "1800")
    before = lan.host.snapshot()
    bridged(lan.host, "up")
    (shown,) = lan.host.json("ip", "-j", "-4", "addr", "show", "dev", "xenbr0")
    assert shown["addr_info"][0]["valid_life_time"] == 2**32 - 1
    bridged(lan.host, "down")
    (shown,) = lan.host.json("ip", "-j", "-4", "addr", "show", "dev", "up0")
    assert 3500 < shown["addr_info"][0]["valid_life_time"] <= 3600
    assert same(before, lan.host.snapshot)


SERVER = """
import socket, sys
listening = socket.create_server(("0.0.0.0", 7))
print("ready", flush=True)
taken, _ = listening.accept()
while word := taken.recv(100):
    taken.sendall(word)
"""


@contextmanager
def echo_server(host: BareHost) -> Iterator[None]:
    server = host.start([sys.executable, "-c", SERVER])
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    try:
        yield
    finally:
        end(server)


CLIENT = """
import socket, sys, time
link = socket.create_connection((sys.argv[1], 7), timeout=5)
longest = count = 0
print("ready", flush=True)
import select
while not select.select([sys.stdin], [], [], 0.002)[0]:
    begun = time.monotonic()
    link.sendall(b"x")
    assert link.recv(1) == b"x"
    longest = max(longest, time.monotonic() - begun)
    count += 1
print(count, round(1000 * longest))
"""


def test_a_connection_from_outside_lives_through_up_and_down(lan: OneHost) -> None:
    with echo_server(lan.host):
        client = lan.outside.start([sys.executable, "-c", CLIENT, address(1)])
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        for _ in range(2):
            (up,) = bridged(lan.host, "up")
            time.sleep(0.1)
            (down,) = bridged(lan.host, "down")
            time.sleep(0.1)
        said, complained = client.communicate("\n", timeout=20)
    assert client.returncode == 0, complained
    count, longest = map(int, said.split())
    assert count > 100
    print(f"longest pause {longest} ms, up {up['ms']:.0f} ms, down {down['ms']:.0f} ms")
    assert longest < 3000


def watched() -> list[tuple[str, ...]]:
    """The bridge comes and goes; the steps after which an address or a default route is missing, with what is."""
    found = []
    for verb in ("up", "down"):
        for step in getattr(bridge, verb)(Bridge(name="xenbr0", uplink="up0"), host.read()):
            steps.act(step.do)
            now = host.read(tables=False)
            there = {str(route.family) for route in now.routes if route.destination == "default"}
            there |= {one.address for one in now.addresses}
            if missing := {"4", "6", address(1), address6(1)} - there:
                found.append((verb, step.text, *sorted(missing)))
    return found


def test_neither_an_address_nor_a_default_route_is_ever_missing(lan: OneHost) -> None:
    assert lan.host.call(watched) == []


def test_ipv6_can_be_used_at_once_although_addresses_are_tried(lan: OneHost) -> None:
    for name in ("default", "up0"):
        lan.host.sysctl(f"net.ipv6.conf.{name}.accept_dad", "1")
    before = lan.host.snapshot()
    bridged(lan.host, "up")
    assert lan.outside.pings(address6(1), seconds=1)
    assert lan.host.sysctl("net.ipv6.conf.xenbr0.accept_dad") == "1"
    bridged(lan.host, "down")
    assert lan.outside.pings(address6(1), seconds=1)
    assert same(before, lan.host.snapshot)


def test_a_guest_on_the_bridge_reaches_the_outside_with_its_own_mac(lan: OneHost, station: Joiner) -> None:
    bridged(lan.host, "up")
    guest = station(lan.host, port="vif1.0", mac="00:16:3e:00:00:01", addresses=["198.51.100.101/24"])
    lan.host.run("ip", "link", "set", "vif1.0", "master", "xenbr0")
    assert guest.pings(OUTSIDE)
    assert guest.pings(address(1))
    assert lan.outside.pings("198.51.100.101")
    assert "00:16:3e:00:00:01" in lan.outside.run("ip", "neigh", "show", "198.51.100.101")
    (refused,) = bridged(lan.host, "down")
    assert refused == (
        "the bridge xenbr0 has ports: vif1.0; shut these guests down, or move them to another bridge, first"
    )
    assert guest.pings(OUTSIDE)
    lan.host.run("ip", "link", "set", "vif1.0", "nomaster")
    (gone,) = bridged(lan.host, "down")
    assert gone["found"] == []
    assert lan.outside.pings(address(1))


def test_two_bridges_are_made_and_go_in_any_order(lan: OneHost) -> None:
    lan.host.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "far1")
    lan.host.run("ip", "link", "set", "eth1", "up")
    lan.host.run("ip", "link", "set", "far1", "up")
    lan.host.run("ip", "addr", "add", "192.0.2.11/24", "dev", "eth1")
    before = lan.host.snapshot()
    one, two = bridged(lan.host, "up", ("xenbr0", "up0"), ("eth1", "eth1"))
    assert (one["wrong"], two["wrong"], two["found"]) == ([], [], ["up", "up"])
    assert lan.host.links() == ["eth1", "far1", "lo", "up0", "xenbr0", "xenbr1"]
    bridged(lan.host, "down", ("xenbr0", "up0"), ("eth1", "eth1"))
    assert same(before, lan.host.snapshot)


def advertised(lan: OneHost, device: str, metric: int) -> list[dict[str, object]]:
    """Send a router advertisement; what the host then has on DEVICE as default routes, once one has METRIC."""
    advert = router_advertisement("02:00:00:00:00:01", "fe80::ff:fe00:1", prefix="2001:db8:5::")
    send(lan.outside, "lan", ethernet("02:00:00:00:00:01", ALL_NODES_MAC, advert))
    for _ in range(40):
        routes: list[dict[str, object]] = lan.host.json("ip", "-j", "-6", "route", "show", "default", "dev", device)
        if any(route["metric"] == metric for route in routes):
            return routes
        time.sleep(0.05)
    raise AssertionError(f"no router is heard on {device}: {routes}")


def test_what_a_router_advertises_follows_the_card_and_is_not_doubled(lan: OneHost) -> None:
    lan.host.run("ip", "-6", "route", "del", "default")
    advertised(lan, "up0", 1024)
    (own,) = [info["local"] for link in lan.host.json("ip", "-j", "-6", "addr", "show", "dev", "up0")
              for info in link["addr_info"] if info["local"].startswith("2001:db8:5:")]  # fmt: skip
    before = lan.host.snapshot()
    (made,) = bridged(lan.host, "up")
    assert made["wrong"] == []
    assert lan.outside.outcome("ip", "-6", "addr", "add", "2001:db8:5::1/64", "dev", "lan", "nodad").status == 0
    assert lan.outside.pings(own)
    found = lan.host.json("ip", "-j", "-6", "route", "get", "2001:db8:ffff::1")
    assert found[0]["dev"] == "xenbr0"
    advertised(lan, "xenbr0", 1024)
    found = lan.host.json("ip", "-j", "-6", "route", "get", "2001:db8:ffff::1")
    assert found[0]["dev"] == "xenbr0"
    assert lan.outside.pings(own)
    infos = [info for link in lan.host.json("ip", "-j", "-6", "addr") for info in link["addr_info"]]
    assert [info["local"] for info in infos].count(own) == 1
    bridged(lan.host, "down")
    assert lan.outside.pings(own)
    assert same(before, lan.host.snapshot)
    advertised(lan, "up0", 1024)
    assert same(before, lan.host.snapshot)


def by_default() -> list[tuple[bool, list[str], list[str]]]:
    """What "network-bridge" without words wants: a bridge of the default route's device, with its name. Twice, then away."""
    said = []
    for name in ("up0", "up0", "br-up0"):
        plan = plans.plan_up([Bridge(name=name, uplink="")], host.read())
        steps.take(plan.steps)
        said.append((len(plan.steps) > 0, plans.complaints(host.read()), [link.name for link in host.read().links]))
    steps.take(plans.plan_down(host.read()).steps)
    return said


def test_the_default_network_bridge_is_made_once_and_taken_away(lan: OneHost) -> None:
    before = lan.host.snapshot()
    there = ["lo", "up0", "br-up0"]
    assert lan.host.call(by_default) == [(True, [], there), (False, [], there), (False, [], there)]
    assert same(before, lan.host.snapshot)


#: Routes whose words ``ip -j`` does not tell as they can be given back.
PECULIAR = """\
route add 10.2.0.0/16 via 198.51.100.1 mtu lock 1400
route add 10.3.0.0/16 via 198.51.100.1 realm 3/4
route add 10.4.0.0/16 via 198.51.100.1 congctl cubic
route add 10.5.0.0/16 via 198.51.100.1 rto_min 200ms rtt 300ms
route add 10.6.0.0/16 via 198.51.100.1 features ecn initcwnd 20
"""


def test_routes_keep_their_realms_locks_and_times(lan: OneHost) -> None:
    lan.host.run("ip", "-batch", "-", input=PECULIAR)
    before = lan.host.run("ip", "route").splitlines()
    assert "again" in bridged(lan.host, "up")[0]
    assert sorted(lan.host.run("ip", "route").splitlines()) == sorted(line.replace("up0", "xenbr0") for line in before)
    assert "again" in bridged(lan.host, "down")[0]
    assert sorted(lan.host.run("ip", "route").splitlines()) == sorted(before)


def test_a_route_by_a_nexthop_object_is_refused_before_anything_changes(lan: OneHost) -> None:
    lan.host.run("ip", "nexthop", "add", "id", "7", "via", OUTSIDE, "dev", "up0")
    lan.host.run("ip", "route", "add", "10.7.0.0/16", "nhid", "7")
    before = lan.host.snapshot()
    (said,) = bridged(lan.host, "up")
    assert str(said).startswith("the route to 10.7.0.0/16 leads by up0 to a nexthop object, which others share: it cannot")
    assert same(before, lan.host.snapshot)
