"""``xmcompat network``, in hosts of the lab: what it shows, makes and takes away. See test_confirm for changes on trial."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.lab.fixtures import Outcome
from tests.lab.lan import BareHost, end
from tests.lab.networks import OneHost
from tests.lab.snapshot import same
from xmcompat.network.found import MAKING, UP, Found
from xmcompat.network.host import Address, Host, Link
from xmcompat.network.wanted import Bridge, Nat, Overlay, Routing, Segment
from xmcompat.tool.network_guests import interfaces
from xmcompat.tool.network_view import Guest, described, picture, states

SETTINGS = """
[network.segments.xendmz0]
addresses = ["10.1.0.1/24"]
[network.segments.inner]
"""


@pytest.fixture
def host(lan: OneHost) -> BareHost:
    lan.host.run("mkdir", "-p", "/etc/xen", "/etc/xmcompat")
    lan.host.run("tee", "/etc/xmcompat/xmcompat.toml", input=SETTINGS)
    return lan.host


def network(host: BareHost, *words: str, input: str = "") -> Outcome:
    return host.program("xmcompat.tool", "network", *words, input=input)


def test_up_makes_what_plan_has_shown_and_down_leaves_no_trace(host: BareHost) -> None:
    before = host.snapshot()
    shown = network(host, "plan").stdout
    assert "xendmz0: a segment of guests, this host has 10.1.0.1/24 there" in shown
    assert "  + 10.1.0.1/24 on xendmz0" in shown
    assert same(before, host.snapshot)
    assert network(host, "up") == ("", "", 0)
    assert network(host, "plan").stdout.endswith("Nothing is to be done.\n")
    made = host.snapshot()
    assert network(host, "up") == ("Nothing is to be done.\n", "", 0)
    assert same(made, host.snapshot)
    assert network(host, "down", "inner") == ("", "", 0)
    assert "xendmz0" in host.links()
    assert network(host, "down") == ("", "", 0)
    assert same(before, host.snapshot)
    assert network(host, "down") == ("No network has been made here.\n", "", 0)


def test_what_plan_foretells_is_what_there_is_afterwards(host: BareHost) -> None:
    host.run("tee", "-a", "/etc/xmcompat/xmcompat.toml", input="[network.bridges.xenbr0]\n")
    changes = json.loads(network(host, "plan", "--json").stdout)["changes"]
    assert network(host, "up", "--confirm", input="yes\n").status == 0
    now = json.loads(network(host, "plan", "--down", "--json").stdout)["changes"]
    for table in ("links", "addresses", "routes"):
        assert sorted(changes[table]["after"]) == sorted(now[table]["before"])
        assert sorted(changes[table]["before"]) == sorted(now[table]["after"])


def test_plan_shows_routes_of_all_tables_and_types(host: BareHost) -> None:
    for words in (
        "add unreachable 10.99.0.0/16", "add 10.98.0.0/16 via 198.51.100.1 table 100",
        "add 10.97.0.0/16 via 198.51.100.1 metric 50", "add 10.96.0.0/16 tos 0x10 via 198.51.100.1",
    ):  # fmt: skip
        host.run("ip", "route", *words.split())
    host.run("tee", "/etc/xmcompat/xmcompat.toml", input="[network.bridges.xenbr0]\n")
    routes = json.loads(network(host, "plan", "--json").stdout)["changes"]["routes"]
    assert "unreachable 10.99.0.0/16" in routes["before"] and "unreachable 10.99.0.0/16" in routes["after"]
    for route in (
        "10.98.0.0/16 by 198.51.100.1 on {} in table 100", "10.97.0.0/16 by 198.51.100.1 on {} metric 50",
        "10.96.0.0/16 tos 0x10 by 198.51.100.1 on {}",
    ):  # fmt: skip
        assert route.format("up0") in routes["before"]
        assert route.format("xenbr0") in routes["after"]


def test_the_rules_that_plan_foretells_are_those_that_there_are_afterwards(host: BareHost) -> None:
    def rules(*words: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = json.loads(network(host, "plan", "--json", *words).stdout)["changes"]["rules"]
        return found

    nat = '[network.nat]\ndhcp = false\nforwards = ["tcp 81 10.0.0.6:80", "tcp 80 10.0.0.5:80"]\n'
    host.run("tee", "/etc/xmcompat/xmcompat.toml", input=nat)
    first = rules()
    assert first["before"] == []
    assert network(host, "up").status == 0
    assert sorted(rules("--down")["before"]) == sorted(first["after"])
    assert rules("--down")["after"] == []
    host.run("tee", "/etc/xmcompat/xmcompat.toml", input=nat.replace("tcp 81 10.0.0.6:80", "udp 81 10.0.0.6:80"))
    second = rules()
    assert sorted(second["before"]) == sorted(first["after"])
    assert set(second["before"]) ^ set(second["after"]) == {
        "map nat-forwards-xennat0: tcp . 81 : 10.0.0.6 . 80", "map nat-forwards-xennat0: udp . 81 : 10.0.0.6 . 80",
    }  # fmt: skip


def test_every_command_of_plan_can_be_typed(host: BareHost) -> None:
    before = host.snapshot()
    host.run("tee", "/etc/xmcompat/xmcompat.toml", input=SETTINGS + "[network.bridges.xenbr0]\n[network.routing]\n")
    plan = json.loads(network(host, "plan", "--json").stdout)
    commands = [step["command"] for one in plan["networks"] for step in one["steps"]]
    host.run("sh", "-e", input="\n".join(commands))
    assert network(host, "status").status == 0
    assert network(host, "up") == ("Nothing is to be done.\n", "", 0)
    plan = json.loads(network(host, "plan", "--down", "--json").stdout)
    host.run("sh", "-e", input="\n".join(step["command"] for one in plan["networks"] for step in one["steps"]))
    assert same(before, host.snapshot)


def test_a_program_that_loses_its_port_to_a_forward_is_told_of(host: BareHost) -> None:
    listening = host.start([sys.executable, "-c", "import socket; s = socket.create_server(('', 8080)); print(flush=True); input()"])
    try:
        assert listening.stdout is not None
        listening.stdout.readline()
        nat = '[network.nat]\ndhcp = false\nforwards = ["tcp 8080 10.0.0.5:80"]\n'
        host.run("tee", "/etc/xmcompat/xmcompat.toml", input=nat)
        said = "Warning: forward 'tcp 8080 10.0.0.5:80': a program of this host serves tcp port 8080, and is reached no more\n"
        assert network(host, "plan").stdout.startswith(said)
        assert network(host, "up") == ("", said, 0)
        assert network(host, "up") == ("Nothing is to be done.\n", "", 0)
    finally:
        end(listening)


def test_a_signal_in_the_middle_is_told_by_the_exit_status(host: BareHost) -> None:
    code = """
import os, signal, sys
from xmcompat.network import steps
from xmcompat.tool.main import main
act = steps.programs.run
def run(words, **more):
    if words[:2] == ("ip", "-batch"):
        os.kill(os.getpid(), signal.SIGTERM)
    return act(words, **more)
steps.programs.run = run
sys.exit(main(["network", "up"]))
"""
    before = host.snapshot()
    said = host.outcome(sys.executable, "-c", code, env=host.program_env())
    assert said == ("", "Error: stopped by SIGTERM; nothing is changed\n", 143)
    assert same(before, host.snapshot)


@pytest.mark.parametrize(("option", "said"), [
    ("size=4k", "network.lock cannot be written: No space left on device"), ("ro", "network.lock: Read-only file system"),
    ("nr_inodes=3", "cannot be written: No space left on device"),
])  # fmt: skip
def test_a_full_run_is_told_in_one_line_and_nothing_is_changed(host: BareHost, option: str, said: str) -> None:
    host.run("tee", "/etc/xmcompat/xmcompat.toml", input="[network.routing]\n")
    before = host.snapshot()
    host.run("mount", "-t", "tmpfs", "-o", option, "tmpfs", "/run")
    if "size" in option:
        host.outcome("dd", "if=/dev/zero", "of=/run/big", "bs=4k", "count=9")
    out, err, status = network(host, "up")
    assert (out, status) == ("", 1)
    assert err.startswith("Error: /run/xmcompat/") and err.endswith(f"{said}\n") and err.count("\n") == 1
    assert same(before, host.snapshot)


def test_status_tells_by_its_exit_status(host: BareHost) -> None:
    assert network(host, "status") == ("No network has been made here.\n", "", 3)
    network(host, "up")
    assert network(host, "status").status == 0
    host.run("ip", "link", "set", "inner", "down")
    said = network(host, "status")
    assert said.status == 1
    assert "  ! " in said.stdout
    document = json.loads(network(host, "status", "--json").stdout)
    assert [(one["name"], bool(one["wrong"])) for one in document["networks"]] == [("inner", True), ("xendmz0", False)] or [
        (one["name"], bool(one["wrong"])) for one in document["networks"]
    ] == [("xendmz0", False), ("inner", True)]


def test_guests_keep_a_network_from_going(host: BareHost) -> None:
    network(host, "up")
    host.run("ip", "tuntap", "add", "vif3.0", "mode", "tap")
    host.run("ip", "link", "set", "vif3.0", "master", "inner")
    assert network(host, "down") == (
        "", "Error: guests are on 'inner': vif3.0; shut them down; --force takes it from them\n", 1,
    )  # fmt: skip
    assert {"inner", "xendmz0"} <= set(host.links())
    assert network(host, "down", "--force") == ("", "", 0)
    assert "inner" not in host.links()
    assert "vif3.0" in host.links()


def test_the_default_route_needs_a_confirmation(host: BareHost) -> None:
    before = host.snapshot()
    host.run("tee", "/etc/xen/xend-config.sxp", input="(network-script network-bridge)")
    said = network(host, "up")
    assert said.status == 1
    assert said.stderr == (
        "Error: the change takes up0, which carries the default route; a mistake there cuts this host off; "
        "add --confirm: then all comes back unless you say yes\n"
    )
    assert same(before, host.snapshot)
    assert "This needs --confirm" in network(host, "plan").stdout


def test_the_card_of_the_ssh_session_needs_one_too(host: BareHost) -> None:
    host.run("ip", "link", "add", "in9", "type", "veth", "peer", "name", "out9")
    host.run("ip", "addr", "add", "203.0.113.5/24", "dev", "in9")
    host.run("ip", "link", "set", "in9", "up")
    host.run("tee", "/etc/xmcompat/xmcompat.toml", input='[network.bridges.b9]\nuplink = "in9"\n')
    said = host.program("xmcompat.tool", "network", "up", env={"SSH_CONNECTION": "203.0.113.9 5000 203.0.113.5 22"})
    assert "the change takes in9, which carries your ssh session" in said.stderr
    assert network(host, "up").status == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("[network.bridges.b]\nuplink = 'eth77'", "there is no network card 'eth77'"),
        ("[network.bridges.b]\nuplnk = 'x'", "/etc/xmcompat/xmcompat.toml: network.bridges.b.uplnk is not known"),
        ("[network", "/etc/xmcompat/xmcompat.toml: not valid TOML"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(host: BareHost, settings: str, said: str) -> None:
    before = host.snapshot()
    host.run("tee", "/etc/xmcompat/xmcompat.toml", input=settings)
    for words in (("plan",), ("up",)):
        out, err, status = network(host, *words)
        assert (out, status) == ("", 1)
        assert err.startswith(f"Error: {said}")
        assert err.count("\n") == 1
    assert same(before, host.snapshot)


def test_an_ordinary_user_is_told_that_it_is_roots(host: BareHost) -> None:
    # the checkout may be root's alone: the program is told another uid than its own
    code = "import os, sys; os.geteuid = lambda: 1000; from xmcompat.tool.main import main; sys.exit(main(sys.argv[1:]))"
    for word in ("plan", "up", "status", "show", "down", "confirm"):
        said = host.outcome(sys.executable, "-c", code, "network", word, env=host.program_env())
        assert said == ("", "Error: the host's networks are root's to see and to change; run this as root\n", 1)


def test_the_pages_are_written(host: BareHost, tmp_path: Path) -> None:
    network(host, "up")
    assert network(host, "show", "--html", "/run/show.html") == ("", "", 0)
    assert "xendmz0" in host.run("cat", "/run/show.html")
    assert network(host, "plan", "--html", "/run/plan.html") == ("", "", 0)
    page = network(host, "plan", "--down", "--html", "-").stdout
    assert page.startswith("<!DOCTYPE html>")
    assert "remove the bridge" in page
    assert network(host, "show", "--html", "/nowhere/x").stderr == "Error: /nowhere/x: No such file or directory\n"
    assert json.loads(network(host, "show", "--json").stdout)["host"] == "host1"


# -- what is shown, by values


def test_every_kind_of_network_is_described() -> None:
    assert described(Bridge(name="b", uplink="eth0", antispoof=True)).endswith("; guests are held to their MAC addresses")
    assert described(Nat(uplink="eth0")) == "10.0.0.0/16 translated to the address of eth0, addresses by DHCP"
    assert described(Routing(uplink="eth0", ipv6=False)) == "routing between eth0 and guests, IPv4 alone"
    overlay = Overlay(vni=4, bridge="o", device="vxlan4", underlay="eth0", peers=("192.0.2.2",))
    assert described(overlay) == "overlay 4 over eth0, with 192.0.2.2"


HOST = Host(
    links=(
        Link(index=1, name="lo", up=True), Link(index=2, name="eth0", mac="02:00:00:00:00:01", master="xenbr0", up=True),
        Link(index=3, name="xenbr0", kind="bridge", up=True), Link(index=4, name="vif1.0", kind="tun", master="xenbr0"),
        Link(index=5, name="docker0", kind="bridge"), Link(index=6, name="eth1"),
    ),
    addresses=(Address(device="xenbr0", address="192.0.2.7", prefix=24),),
)  # fmt: skip
GUEST = Guest("web1", "vif1.0", "00:16:3e:00:00:01", ("192.0.2.50",))


def test_guests_are_shown_by_their_names() -> None:
    ours = [Found(Bridge(name="xenbr0", uplink="eth0"), UP), Found(Segment(name="in0"), MAKING)]
    rows = states(ours, HOST, [("in0", "it is gone")], [], [GUEST])
    assert [(row.name, row.state, row.guests, row.wrong) for row in rows] == [
        ("xenbr0", "up", ("web1",), ()), ("in0", "half made", (), ("it is gone",)),
    ]  # fmt: skip
    assert states(ours[:1], HOST, [], ["xenbr0"], [])[0].state == "trial"


def test_the_picture_has_bridges_of_others_and_lone_cards() -> None:
    groups = picture("h", HOST, [Found(Bridge(name="xenbr0", uplink="eth0"), UP)], [GUEST]).groups
    assert [(group.centre.title, group.ours) for group in groups] == [("xenbr0", True), ("docker0", False), ("eth1", False)]
    assert [box.title for box in groups[0].left] == ["eth0"]
    assert groups[0].right[0] == ("guest", "web1", ("vif1.0  00:16:3e:00:00:01", "192.0.2.50"))


def test_a_guests_interfaces_are_read_with_its_addresses() -> None:
    xml = """<domain><metadata/><devices><interface type='bridge'><mac address='00:16:3E:00:00:01'/>
    <target dev='vif1.0'/></interface><interface type='user'><mac address='00:16:3e:00:00:02'/></interface>
    </devices></domain>"""
    assert list(interfaces("web1", xml)) == [Guest("web1", "vif1.0", "00:16:3e:00:00:01", ())]


def test_check_names_the_rule_that_drops_what_guests_send(host: BareHost) -> None:
    network(host, "up")
    assert network(host, "check").status == 0
    host.sysctl("net.bridge.bridge-nf-call-iptables", "1")
    rules = "table ip docker {\nchain forward {\ntype filter hook forward priority 0; policy drop;\n}\n}\n"
    host.run("nft", "-f", "-", input=rules)
    said = network(host, "check")
    assert said.status == 1
    assert "IPv4 between ports of the bridges 'xendmz0', 'inner' are dropped" in said.stdout
    assert said.stdout.count("sysctl -w") == 1
    assert json.loads(network(host, "check", "--json").stdout)[0]["severity"] == "drops"


def test_up_keeps_bridges_from_a_firewall_that_lets_nothing_through_and_down_gives_them_back(host: BareHost) -> None:
    host.sysctl("net.bridge.bridge-nf-call-iptables", "1")
    rules = "table ip docker {\nchain forward {\ntype filter hook forward priority 0; policy drop;\n}\n}\n"
    host.run("nft", "-f", "-", input=rules)
    before = host.snapshot()
    assert "firewall: rules for IP, which drop all that is forwarded, are kept from bridges" in network(host, "plan").stdout
    assert network(host, "up") == ("", "", 0)
    assert host.sysctl("net.bridge.bridge-nf-call-iptables") == "0"
    assert network(host, "up") == ("Nothing is to be done.\n", "", 0)
    assert network(host, "down", "inner").status == 0
    assert host.sysctl("net.bridge.bridge-nf-call-iptables") == "0"
    assert network(host, "down").status == 0
    assert same(before, host.snapshot)


def test_a_card_with_a_lease_is_told_of_in_plan(host: BareHost) -> None:
    host.run("ip", "addr", "change", f"{host.address}/24", "dev", "up0", "valid_lft", "5000", "preferred_lft", "4000")
    host.run("tee", "/etc/xen/xend-config.sxp", input="(network-script network-bridge)")
    assert f"{host.address} is configured by DHCP: xenbr0 keeps the address without end" in network(host, "plan").stdout
