"""xend's start brings the networks up: in hosts of the lab, without a libvirt where none is needed."""

from __future__ import annotations

import time

import pytest

from tests.lab.lan import OUTSIDE, BareHost, address
from tests.lab.networks import OneHost, OneNode
from tests.lab.snapshot import same

BRIDGE = "(network-script 'network-bridge bridge=xenbr0')"

START = """
import json, os, sys
from xmcompat.xend.config_file import read_config_file
from xmcompat.xend.network_start import bring_up
said = []
warnings = bring_up(read_config_file(), os.environ, lambda level, text: said.append([level, text]))
print(json.dumps([warnings, said]))
"""


def start(host: BareHost, words: str = BRIDGE, settings: str = "") -> tuple[list[str], list[list[str]]]:
    """What xend tells at the terminal, and in its log."""
    import json

    host.run("mkdir", "-p", "/etc/xen", "/etc/xmcompat")
    host.run("tee", "/etc/xen/xend-config.sxp", input=words)
    host.run("tee", "/etc/xmcompat/xmcompat.toml", input=settings)
    warnings, said = json.loads(host.python(START))
    return warnings, [entry for entry in said if entry[0] != "DEBUG"]


def test_a_bridge_over_the_default_route_is_made_and_the_second_start_changes_nothing(lan: OneHost) -> None:
    assert start(lan.host) == ([], [["INFO", "The network xenbr0 is made."]])
    assert lan.outside.pings(address(1))
    made = lan.host.snapshot()
    assert start(lan.host) == ([], [["INFO", "The network xenbr0 is there."]])
    assert same(made, lan.host.snapshot)
    assert lan.host.run("nft", "list", "ruleset") == ""


def test_a_bridge_behind_which_the_router_is_silent_is_taken_away_again(lan: OneHost) -> None:
    """A rule of somebody else lets nothing through bridges."""
    rules = "".join(f"chain {hook} {{\ntype filter hook {hook} priority 0; policy drop;\n}}\n" for hook in ("input", "output"))
    lan.host.run("nft", "-f", "-", input=f"table bridge cut {{\n{rules}}}\n")
    before = lan.host.snapshot()
    warnings, said = start(lan.host)
    assert len(warnings) == 1
    assert f"the router {OUTSIDE}, which answered before, does not answer with the new networks" in warnings[0]
    assert said[-1][0] == "ERROR"
    assert same(before, lan.host.snapshot)


def test_a_router_that_was_silent_before_is_no_reason(lan: OneHost) -> None:
    lan.outside.run("ip", "link", "set", "lan", "down")
    lan.host.run("ip", "neigh", "flush", "all")
    began = time.monotonic()
    assert start(lan.host) == ([], [["INFO", "The network xenbr0 is made."]])
    assert time.monotonic() - began < 8


def test_what_fails_is_told_and_stops_nothing(lan: OneHost) -> None:
    before = lan.host.snapshot()
    warnings, said = start(lan.host, "(network-script 'network-bridge netdev=eth7')")
    assert "there is no network card 'eth7'" in warnings[0]
    assert warnings[0].endswith("; 'xmcompat network plan' shows more")
    assert said[-1] == ["ERROR", warnings[0].partition("; 'xmcompat")[0]]
    assert same(before, lan.host.snapshot)


def test_mistakes_in_the_settings_are_told(lan: OneHost) -> None:
    warnings, _ = start(lan.host, settings="[network.bridges.b]\nuplnk = 'x'")
    assert "/etc/xmcompat/xmcompat.toml: network.bridges.b.uplnk is not known" in warnings[0]


def test_what_is_not_understood_of_the_words_is_logged(lan: OneHost) -> None:
    warnings, said = start(lan.host, "(network-script my-own-network)")
    assert warnings == []
    assert said[0][0] == "WARNING"
    assert "my-own-network is not there" in said[0][1]


def test_what_a_bridge_cannot_take_over_is_logged_once(lan: OneHost) -> None:
    lan.host.run("ip", "addr", "change", f"{address(1)}/24", "dev", "up0", "valid_lft", "900", "preferred_lft", "900")
    warnings, said = start(lan.host)
    assert warnings == []
    cautions = [text for level, text in said if level == "WARNING"]
    assert len(cautions) == 1
    assert cautions[0].startswith(f"{address(1)} is configured by DHCP: xenbr0 keeps the address without end")
    assert [text for level, text in start(lan.host)[1] if level == "WARNING"] == []


def test_words_that_xend_passes_over_are_logged(lan: OneHost) -> None:
    _, said = start(lan.host, "(network-script network-dummy netdev=eth1)")
    assert ["WARNING", "network-script: only its first value counts; put a value with blanks into quotes"] in said


def test_a_script_that_is_a_pipe_keeps_nobody_waiting(lan: OneHost) -> None:
    lan.host.run("mkfifo", "/run/pipe")
    _, said = start(lan.host, "(network-script /run/pipe)")
    assert said[0][1].startswith("pipe is not there: the networks that it made are not known")


def test_a_host_that_asks_for_no_network_is_left_alone(lan: OneHost) -> None:
    assert start(lan.host, "(vif-script vif-bridge)") == ([], [])
    assert lan.host.outcome("test", "-e", "/run/xmcompat/network.lock").status == 1


@pytest.mark.libvirt
def test_xend_itself_makes_the_networks_and_leaves_them_when_it_stops(lan_node: OneNode) -> None:
    host = lan_node.host
    host.run("mkdir", "-p", "/etc/xen", "/run/p5")
    host.run("tee", "/etc/xen/xend-config.sxp", input=f"{BRIDGE}(logfile /run/p5/xend.log)")
    env = {"XEND_RUN": "/run/p5"}
    assert host.program("xmcompat.xend", "start", env=env) == ("", "", 0)
    try:
        log = host.run("cat", "/run/p5/xend.log")
        assert "The network xenbr0 is made." in log
        assert log.rstrip().count("The bridge xenbr0 is there.") == 1
        assert lan_node.outside.pings(address(1))
        made = host.snapshot()
        assert host.program("xmcompat.xend", "restart", env=env) == ("", "", 0)
        assert same(made, host.snapshot)
    finally:
        host.program("xmcompat.xend", "stop", env=env)
    assert "xenbr0" in host.links()
