"""Routing: the plans, over values of a host that nobody has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xmcompat.network import forwarding, notes, route
from xmcompat.network.found import MAKING, UP, Found
from xmcompat.network.host import Address, Host, Link, Proxy, Route
from xmcompat.network.notes import Earlier
from xmcompat.network.plans import plan_up
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Command, Setting, Step
from xmcompat.network.wanted import Bridge, Mode, Port, Routing

SETTINGS = {
    "net.ipv4.ip_forward": "0", "net.ipv4.conf.all.accept_redirects": "1", "net.ipv4.conf.up0.proxy_arp": "0",
    "net.ipv4.conf.up0.forwarding": "0", "net.ipv4.conf.default.proxy_arp": "0", "net.ipv4.conf.default.forwarding": "0",
    "net.ipv6.conf.all.forwarding": "0", "net.ipv6.conf.up0.forwarding": "0", "net.ipv6.conf.up0.accept_ra": "1",
    "net.ipv6.conf.up0.disable_ipv6": "0", "net.ipv6.conf.up0.proxy_ndp": "0", "net.ipv6.conf.default.disable_ipv6": "0",
}  # fmt: skip
HOST = Host(
    links=(Link(index=1, name="lo", up=True), Link(index=2, name="up0", up=True, carrier=True)),
    addresses=(
        Address(device="up0", address="198.51.100.11", prefix=24),
        Address(device="up0", address="2001:db8:1::11", prefix=64),
    ),
    routes=(Route(device="up0", destination="default", gateway="198.51.100.1"),),
    settings=SETTINGS,
)
WANTED = Routing(uplink="up0")
PORT = Port(device="vif1.0", mac="00:16:3e:00:00:01", mode=Mode.ROUTE, uplink="up0")


def written(steps: tuple[Step, ...]) -> list[str]:
    return [str(step.do) for step in steps if isinstance(step.do, Setting)]


def with_settings(**values: str) -> Host:
    return replace(HOST, settings={**SETTINGS, **{key.replace("__", "."): value for key, value in values.items()}})


def after(host: Host, steps: tuple[Step, ...]) -> Host:
    """HOST once STEPS are taken, as far as plans look at it."""
    values = {step.do.key: step.do.value for step in steps if isinstance(step.do, Setting)}
    return notes.foreseen(replace(host, settings={**host.settings, **values}), steps)


def test_the_card_is_told_to_answer_and_the_host_to_forward() -> None:
    steps = route.up(WANTED, HOST)
    assert written(steps) == [
        "sysctl -w net.ipv4.ip_forward=1", "sysctl -w net.ipv6.conf.up0.accept_ra=2",
        "sysctl -w net.ipv6.conf.all.forwarding=1", "sysctl -w net.ipv4.conf.up0.proxy_arp=1",
        "sysctl -w net.ipv6.conf.up0.proxy_ndp=1",
    ]  # fmt: skip
    assert isinstance(steps[0].do, Command)
    assert "xmcompat route uplink=up0 state=making" in steps[0].do.text
    assert "xmcompat setting key=net.ipv6.conf.up0.accept_ra was=1 now=2" in steps[0].do.text
    assert steps[0].undo == (Command(("nft", "-f", "-"), "delete table inet xmcompat\n"),)


def test_what_is_there_needs_nothing() -> None:
    whole = after(HOST, route.up(WANTED, HOST))
    assert route.up(WANTED, whole) == ()
    assert route.found(whole) == (Found(WANTED, UP),)


def test_all_settings_come_back() -> None:
    whole = after(HOST, route.up(WANTED, HOST))
    back = after(whole, route.down(WANTED, whole))
    assert back.settings == SETTINGS
    assert route.found(back) == ()


def test_a_setting_that_somebody_has_changed_since_stays() -> None:
    whole = after(HOST, route.up(WANTED, HOST))
    whole = replace(whole, settings={**whole.settings, "net.ipv6.conf.up0.accept_ra": "0"})
    assert "net.ipv6.conf.up0.accept_ra" not in str(written(route.down(WANTED, whole)))


def test_what_was_right_before_is_neither_noted_nor_put_back() -> None:
    host = with_settings(net__ipv4__ip_forward="1", net__ipv4__conf__up0__forwarding="1")
    steps = route.up(replace(WANTED, ipv6=False), host)
    assert written(steps) == ["sysctl -w net.ipv4.conf.up0.proxy_arp=1"]
    whole = after(host, steps)
    assert written(route.down(WANTED, whole)) == ["sysctl -w net.ipv4.conf.up0.proxy_arp=0"]


def test_a_half_made_one_is_found_finished_and_undone() -> None:
    steps = route.up(WANTED, HOST)
    half = after(HOST, steps[:3])
    assert route.found(half) == (Found(WANTED, MAKING),)
    assert after(half, route.up(WANTED, half)).settings == after(HOST, steps).settings
    assert after(half, route.down(WANTED, half)).settings == SETTINGS


def test_the_last_of_two_puts_the_hosts_own_settings_back() -> None:
    host = replace(HOST, links=(*HOST.links, Link(index=3, name="up1", up=True)), settings={
        **SETTINGS, "net.ipv4.conf.up1.proxy_arp": "0", "net.ipv4.conf.up1.forwarding": "0",
    })  # fmt: skip
    other = Routing(uplink="up1", ipv6=False)
    both = after(host, route.up(WANTED, host))
    both = after(both, route.up(other, both))
    one = after(both, route.down(WANTED, both))
    assert one.setting("net.ipv4.ip_forward") == "1"
    assert one.setting("net.ipv6.conf.all.forwarding") == "0"
    assert after(one, route.down(other, one)).setting("net.ipv4.ip_forward") == "0"


def test_settings_that_change_by_themselves_are_noted_too() -> None:
    host = with_settings(net__ipv4__conf__all__accept_redirects="0", net__ipv6__conf__default__forwarding="1")
    needed = forwarding.to_remember(host, "up0", ipv6=True)
    assert Earlier("net.ipv4.conf.all.accept_redirects", "0", "0") in needed
    assert Earlier("net.ipv6.conf.default.forwarding", "1", "1") in needed
    whole = after(host, route.up(WANTED, host))
    back = written(route.down(WANTED, whole))
    assert back.index("sysctl -w net.ipv4.conf.all.accept_redirects=0") == back.index("sysctl -w net.ipv4.ip_forward=0") + 1


def test_a_card_elsewhere_that_hears_router_advertisements_goes_on_hearing_them() -> None:
    other = Address(device="up1", address="2001:db8:2::7", prefix=64, dynamic=True)
    host = replace(
        HOST, links=(*HOST.links, Link(index=3, name="up1", up=True)), addresses=(*HOST.addresses, other),
        settings={**SETTINGS, "net.ipv6.conf.up1.accept_ra": "1", "net.ipv6.conf.up1.forwarding": "0"},
    )  # fmt: skip
    lines = written(route.up(WANTED, host))
    assert lines.index("sysctl -w net.ipv6.conf.up1.accept_ra=2") < lines.index("sysctl -w net.ipv6.conf.all.forwarding=1")


def test_a_host_without_ipv6_is_left_alone_in_that() -> None:
    host = with_settings(net__ipv6__conf__up0__disable_ipv6="1")
    assert "ipv6" not in str(written(route.up(WANTED, host)))


def test_a_bridge_that_is_only_planned_can_be_routed_over() -> None:
    def no_bridge(wanted: object, host: Host) -> tuple[Step, ...]:
        return ()

    class Made:
        KIND = "bridge"
        up = down = staticmethod(no_bridge)
        found = staticmethod(lambda host: ())
        verify = staticmethod(lambda wanted, host: [])

    plan = plan_up([Bridge(name="xenbr0", uplink="up0"), WANTED], HOST, {Bridge: Made(), Routing: route})
    assert "sysctl -w net.ipv4.conf.xenbr0.proxy_arp=1" in written(plan.steps)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (replace(HOST, links=HOST.links[:1]), "there is no network card 'up0' on this host"),
        (replace(HOST, links=(Link(index=2, name="up0", master="xenbr0"),)),
         "'up0' is a port of 'xenbr0' and has no address of its own; route over 'xenbr0'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_one_line(host: Host, said: str) -> None:
    with pytest.raises(NetworkError) as caught:
        route.up(WANTED, host)
    assert caught.value.line() == said


def test_what_is_missing_is_told() -> None:
    assert route.verify(WANTED, replace(HOST, addresses=())) == [
        "routing: 'up0' has no IPv4 address", "routing: 'up0' does not forward IPv4",
        "routing: 'up0' does not answer ARP for guests", "routing: the host does not forward IPv4",
        "routing: is not noted as ours",
    ]  # fmt: skip


# -- guests


def commands(steps: tuple[Step, ...]) -> list[str]:
    return [str(step.do) for step in steps if isinstance(step.do, Command)]


def test_a_guest_has_a_route_for_each_word() -> None:
    steps = route.port_up(replace(PORT, addresses=("198.51.100.50", "203.0.113.16/28")), "198.51.100.11")
    assert commands(steps)[1:] == [
        "ip route add 198.51.100.50/32 dev vif1.0 src 198.51.100.11 metric 2",
        "ip route add 203.0.113.16/28 dev vif1.0 src 198.51.100.11 metric 2",
    ]
    assert "addr add 198.51.100.11/32 dev vif1.0" in commands(steps)[0]
    assert "ipv6" not in str(written(steps))


def test_a_guest_with_ipv6_is_answered_for_on_the_card() -> None:
    port = replace(PORT, addresses=("2001:db8:1::65", "2001:db8:7::/64"))
    steps = route.port_up(port, "198.51.100.11", "2001:db8:1::11")
    assert commands(steps)[1:] == [
        "ip route add 2001:db8:1::65/128 dev vif1.0 metric 2", "ip route add 2001:db8:7::/64 dev vif1.0 metric 2",
        "ip -6 neigh add proxy 2001:db8:1::65 dev up0 protocol 120",
    ]
    assert "addr add fe80::1/64 dev vif1.0 nodad\nneigh add proxy 2001:db8:1::11 dev vif1.0" in commands(steps)[0]
    left = (Proxy("up0", "2001:db8:1::65"), Proxy("up0", "2001:db8:1::66"))
    there = Route(device="vif2.0", destination="2001:db8:1::66", family=6)
    gone = route.sweep(replace(HOST, proxies=left, routes=(*HOST.routes, there)))
    assert commands(gone) == ["ip -6 neigh del proxy 2001:db8:1::65 dev up0"]


def test_a_host_without_an_address_cannot_route_guests() -> None:
    with pytest.raises(NetworkError, match=r"^'vif1\.0': 'up0' has no IPv4 address that guests could be routed by$"):
        route.port_up(replace(PORT, addresses=("198.51.100.50",)), "")


@pytest.mark.parametrize(
    ("word", "to"),
    [("192.0.2.5", "192.0.2.5/32"), ("192.0.2.5/24", "192.0.2.5/32"), ("192.0.2.0/24", "192.0.2.0/24"),
     ("2001:db8::5", "2001:db8::5/128"), ("2001:db8::5/64", "2001:db8::5/128"), ("2001:db8::/64", "2001:db8::/64")],
)  # fmt: skip
def test_a_word_is_an_address_or_a_network(word: str, to: str) -> None:
    assert str(route.destination(word)) == to


def test_a_word_that_is_neither_is_refused() -> None:
    with pytest.raises(NetworkError) as caught:
        route.destination("192.0.2.500")
    assert caught.value.line() == "'192.0.2.500' is neither an address nor a network; write 192.0.2.10 or 192.0.2.0/28"


def test_neighbours_of_guests_that_are_gone_are_swept() -> None:
    there = Route(device="vif1.0", destination="2001:db8:1::65", family=6)
    host = replace(HOST, routes=(there,), proxies=(Proxy("up0", "2001:db8:1::65"), Proxy("up0", "2001:db8:1::66")))
    assert commands(route.sweep(host)) == ["ip -6 neigh del proxy 2001:db8:1::66 dev up0"]
