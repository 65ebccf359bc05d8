"""Somebody flushes all rules of nftables, our notes with them: what the host was before is known all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.lab.lan import BareHost, set_sysctls
from tests.lab.networks import OneHost
from tests.lab.snapshot import same
from tests.network.undoing import Made, bring_up, seen, take_all_down, tried, wrong_of
from xmcompat.network import notes, programs, route
from xmcompat.network.found import UP, Found
from xmcompat.network.host import Host, Link
from xmcompat.network.wanted import Nat, Network, Routing

pytestmark = pytest.mark.timeout(300)

ROUTING = Routing(uplink="up0")
NAT = Nat(uplink="up0", dhcp=False)
HARDENED = {"net.ipv4.conf.all.accept_redirects": "0", "net.ipv4.conf.lo.forwarding": "1"}


def flush(host: BareHost) -> None:
    host.run("nft", "flush", "ruleset")


@pytest.mark.parametrize("wanted", [ROUTING, NAT], ids=["routing", "nat"])
def test_all_settings_come_back_after_a_flush(lan: OneHost, wanted: Network) -> None:
    set_sysctls(lan.host, HARDENED)
    before = lan.host.call(seen)
    bring_up(lan.host, wanted)
    flush(lan.host)
    assert any("gone" in text or "missing" in text for text in wrong_of(lan.host, wanted))
    take_all_down(lan.host, wanted)
    assert same(before, lambda: lan.host.call(seen))


@pytest.mark.parametrize("wanted", [ROUTING, NAT], ids=["routing", "nat"])
def test_up_writes_the_note_again(lan: OneHost, wanted: Network) -> None:
    before = lan.host.call(seen)
    bring_up(lan.host, wanted)
    whole = lan.host.call(seen)
    flush(lan.host)
    bring_up(lan.host, wanted)
    assert wrong_of(lan.host, wanted) == []
    assert same(whole, lambda: lan.host.call(seen))
    take_all_down(lan.host, wanted)
    assert same(before, lambda: lan.host.call(seen))


def test_the_last_of_two_puts_the_hosts_settings_back(lan: OneHost) -> None:
    before = lan.host.call(seen)
    bring_up(lan.host, ROUTING, NAT)
    flush(lan.host)
    take_all_down(lan.host, ROUTING)
    assert lan.host.sysctl("net.ipv4.ip_forward") == "1"
    take_all_down(lan.host, NAT)
    assert same(before, lambda: lan.host.call(seen))


def test_one_plan_that_takes_all_away_puts_back_what_two_have_shared(lan: OneHost) -> None:
    lan.host.run("mkdir", "-p", "/etc/xmcompat")
    lan.host.run("tee", "/etc/xmcompat/xmcompat.toml", input="[network.routing]\n[network.nat]\ndhcp = false\n")
    before = lan.host.snapshot()
    for words in (("up",), ("down",)):
        assert lan.host.program("xmcompat.tool", "network", *words) == ("", "", 0)
    assert same(before, lan.host.snapshot)


class Flushed(Made):
    """A network whose rules somebody flushes whenever it has been taken up or down."""

    def mend(self) -> None:
        programs.run(("nft", "flush", "ruleset"))

    def wrong(self) -> list[str]:
        return [text for text in super().wrong() if "still to do" not in text and notes.FLUSHED not in text]


def test_status_knows_routing_after_a_flush(lan: OneHost) -> None:
    lan.host.run("mkdir", "-p", "/etc/xmcompat")
    lan.host.run("tee", "/etc/xmcompat/xmcompat.toml", input="[network.routing]\n")
    assert lan.host.program("xmcompat.tool", "network", "up").status == 0
    assert lan.host.program("xmcompat.tool", "network", "status").status == 0
    flush(lan.host)
    said = lan.host.program("xmcompat.tool", "network", "status")
    assert said.status == 1
    assert said.stdout == (
        "routing  routing between up0 and guests: up\n"
        "         ! routing: its note has gone, as when all rules are flushed: 'xmcompat network up' writes it again\n"
    )
    assert lan.host.program("xmcompat.tool", "network", "up") == ("", "", 0)
    assert lan.host.program("xmcompat.tool", "network", "status").status == 0


def test_the_law_of_undoing_holds_after_a_flush(lan: OneHost) -> None:
    set_sysctls(lan.host, HARDENED)
    assert tried(lan.host, Flushed(ROUTING), "down") == (10, [])


# -- when the copy is believed

NOTE = ("xmcompat route uplink=up0 state=up", "xmcompat setting key=net.ipv4.ip_forward was=0 now=1")
HOST = Host(links=(Link(index=2, name="up0", up=True),), settings={"net.ipv4.ip_forward": "1"}, copies={"route-up0": NOTE})


def test_a_copy_is_believed_while_the_kernel_agrees() -> None:
    assert route.found(HOST) == (Found(ROUTING, UP),)
    assert route.found(replace(HOST, settings={"net.ipv4.ip_forward": "0"})) == ()


def test_the_kernels_own_note_counts_before_the_copy() -> None:
    rules = tuple({"rule": {"chain": "note-route-up0", "comment": text.replace("was=0", "was=2")}} for text in NOTE)
    assert [one.was for one in notes.earlier(replace(HOST, tables={"inet": rules}), "route-up0")] == ["2"]


def test_a_copy_that_was_cut_off_says_what_it_can() -> None:
    cut = replace(HOST, copies={"route-up0": (*NOTE, "xmcompat setting key=net.ipv4.conf.up0.proxy_arp was", "xm", "")})
    assert [one.key for one in notes.earlier(cut, "route-up0")] == ["net.ipv4.ip_forward"]
