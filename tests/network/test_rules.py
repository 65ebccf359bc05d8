"""Other people's firewalls: what is known of a packet decides, and what is not known is never claimed."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.network.rules import Answer, Condition, Fate, Packet, Rule, Ruleset, fate, matches
from xmcompat.network.rules_read import iptables, nft

ON_BRIDGE = Packet(iif="xenbr0", oif="xenbr0", bridged=True)
OUT = Packet(iif="xennat0", oif="eth0")

DOCKER = """\
-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N DOCKER
-N DOCKER-ISOLATION-STAGE-1
-N DOCKER-ISOLATION-STAGE-2
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
"""


def told(text: str, packet: Packet = ON_BRIDGE) -> Answer:
    return fate(Ruleset(iptables(text, "ip", legacy=False)), packet)


def test_docker_drops_what_stays_on_a_bridge_and_what_leaves_by_nat() -> None:
    policy = Answer(Fate.DROPS, "table 'ip filter', chain FORWARD, policy drop")
    assert told(DOCKER) == told(DOCKER, OUT) == policy
    assert told(DOCKER, Packet(iif="docker0", oif="eth0")).fate is Fate.PASSES
    assert told(DOCKER, Packet(iif="xenbr0", oif="xenbr0", family=6)).fate is Fate.PASSES


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("-A DOCKER-USER -i xenbr0 -o xenbr0 -j ACCEPT", Fate.PASSES),
        ("-A DOCKER-USER -i xenbr+ -j ACCEPT", Fate.PASSES),
        ("-A DOCKER-USER -m physdev --physdev-is-bridged -j ACCEPT", Fate.PASSES),
        ("-A DOCKER-USER ! -i docker0 -m comment --comment \"let's -j DROP\" -j ACCEPT", Fate.PASSES),
        ("-A DOCKER-USER -i xenbr1 -j ACCEPT", Fate.DROPS),
        ("-A DOCKER-USER -m physdev ! --physdev-is-bridged -j ACCEPT", Fate.DROPS),
        ("-A DOCKER-USER -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", Fate.DROPS),
        ("-A DOCKER-USER -s 10.0.0.0/8 -j ACCEPT", Fate.MAY_DROP),
        ("-A DOCKER-USER -p tcp -m tcp --dport 22 -j ACCEPT", Fate.MAY_DROP),
        ("-A DOCKER-USER -m set --match-set guests src -j ACCEPT", Fate.MAY_DROP),
        ("-A DOCKER-USER -i xenbr0 -j NFQUEUE --queue-num 1", Fate.MAY_DROP),
        ("-A DOCKER-USER -i xenbr0 -j LOG --log-prefix \"-j ACCEPT\"", Fate.DROPS),
    ],
)
def test_one_rule_before_docker_s(rule: str, expected: Fate) -> None:
    before = DOCKER.replace("-A DOCKER-USER -j RETURN", f"{rule}\n-A DOCKER-USER -j RETURN")
    assert told(before).fate is expected


def test_the_rule_that_drops_is_named() -> None:
    libvirts = "-P FORWARD ACCEPT\n-N LIBVIRT_FWI\n-A FORWARD -j LIBVIRT_FWI\n" \
               "-A LIBVIRT_FWI -o virbr0 -j REJECT --reject-with icmp-port-unreachable\n"
    assert told(libvirts).fate is Fate.PASSES
    answer = told(libvirts, Packet(iif="eth0", oif="virbr0"))
    assert answer == Answer(Fate.DROPS, (
        "table 'ip filter', chain LIBVIRT_FWI, rule '-A LIBVIRT_FWI -o virbr0 -j REJECT --reject-with icmp-port-unreachable'"
    ))  # fmt: skip


def test_goto_does_not_come_back() -> None:
    text = "-P FORWARD ACCEPT\n-N A\n-A FORWARD -g A\n-A FORWARD -j DROP\n-A A -i other -j DROP\n"
    assert told(text).fate is Fate.PASSES
    assert told(text.replace("-g A", "-j A")).fate is Fate.DROPS


NFT = """
table inet firewalld {
  set inside { type ifname; elements = { "xenbr0", "xennat0" } }
  chain zones {
    iifname vmap { "lo" : accept, "eth9" : drop }
    %s
  }
  chain f { type filter hook forward priority 10; policy accept;
    ct state { established, related } accept
    ct state invalid drop
    iifname "lo" accept
    jump zones
    %s
  }
}
"""


def listed(first: str = "return", second: str = "return") -> Ruleset:
    """What nft itself makes of it, in a network that goes at once."""
    words = ["unshare", "-n", "bash", "-c", "nft -f - && nft -j list ruleset"]
    done = subprocess.run(words, input=NFT % (first, second), capture_output=True, text=True, timeout=20, check=True)
    return nft(json.loads(done.stdout)["nftables"])


@pytest.mark.parametrize(
    ("rule", "packet", "expected"),
    [
        ("return", ON_BRIDGE, Fate.PASSES),
        ("reject with icmpx type admin-prohibited", ON_BRIDGE, Fate.DROPS),
        ("drop", Packet(iif="lo", oif="eth0"), Fate.PASSES),
        ("iifname @inside drop", ON_BRIDGE, Fate.DROPS),
        ("iifname != @inside drop", ON_BRIDGE, Fate.PASSES),
        ("iifname { xenbr0, other } oifname xenbr* drop", ON_BRIDGE, Fate.DROPS),
        ("iifname xenbr0 oifname != xenbr0 drop", ON_BRIDGE, Fate.PASSES),
        ("meta nfproto ipv6 drop", ON_BRIDGE, Fate.PASSES),
        ("ip6 saddr fe80::/10 drop", ON_BRIDGE, Fate.PASSES),
        ("ip saddr 10.0.0.0/8 drop", ON_BRIDGE, Fate.MAY_DROP),
        ("ip saddr 10.0.0.0/8 accept\ndrop", ON_BRIDGE, Fate.MAY_DROP),
        ("tcp dport 25 reject", ON_BRIDGE, Fate.MAY_DROP),
        ("limit rate over 10/second drop", ON_BRIDGE, Fate.MAY_DROP),
        ("ct state new drop", ON_BRIDGE, Fate.DROPS),
        ("counter log prefix \"x\" drop", ON_BRIDGE, Fate.DROPS),
        ("oifname vmap { xenbr0 : drop, eth0 : accept }", ON_BRIDGE, Fate.DROPS),
        ("meta mark 1 accept\ndrop", ON_BRIDGE, Fate.MAY_DROP),
    ],
)
def test_rules_of_nftables(rule: str, packet: Packet, expected: Fate) -> None:
    assert fate(listed(second=rule), packet).fate is expected
    assert fate(listed(first=rule), packet).fate is expected


def test_the_place_in_nftables_has_the_handle() -> None:
    answer = fate(listed(second="drop"), ON_BRIDGE)
    assert answer.place.startswith("table 'inet firewalld', chain f, rule with handle ")


def test_every_chain_must_let_it_pass() -> None:
    one = iptables("-P FORWARD ACCEPT\n-A FORWARD -j ACCEPT\n", "ip", legacy=False)
    other = iptables("-P FORWARD DROP\n", "ip", legacy=True)
    answer = fate(Ruleset((*one, *other)), ON_BRIDGE)
    assert answer == Answer(Fate.DROPS, "iptables-legacy table 'ip filter', chain FORWARD, policy drop")


WORDS = ["-i", "-o", "xenbr0", "eth0", "!", "-s", "10.0.0.0/8", "-m", "conntrack", "--ctstate", "NEW"]


@given(st.lists(st.sampled_from(WORDS), max_size=6), st.sampled_from(["ACCEPT", "DROP"]))
def test_odd_rules_are_read_without_failing(words: list[str], target: str) -> None:
    text = f"-P FORWARD ACCEPT\n-A FORWARD {' '.join(words)} -j {target}\n"
    assert told(text).fate in Fate


@given(st.dictionaries(st.sampled_from(["iif", "oif", "family", "other"]), st.sampled_from(["xenbr0", "4", "6", "x*"])))
def test_a_condition_and_its_contrary_are_never_both_met(known: dict[str, Any]) -> None:
    for key, value in known.items():
        ways = [matches(Rule("", (Condition(key, (value,), negated),), "drop"), ON_BRIDGE) for negated in (False, True)]
        assert ways in ([True, False], [False, True], [None, None])
