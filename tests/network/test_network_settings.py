"""The table [network] of xmcompat.toml: what it asks for, and errors that name file and key."""

from __future__ import annotations

import tomllib

import pytest

from xmcompat.backends import settings as backend_settings
from xmcompat.errors import ConfigError
from xmcompat.network.settings import cards, parse
from xmcompat.network.wanted import Bridge, Forward, Nat, Overlay, Routing, Segment, Switch, Vlan

WHOLE = """
[network.cards]
eth0 = "enp1s0"
[network.bridges.xenbr1]
uplink = "eth1"
antispoof = true
[network.bridges.xenbr100]
uplink = "eth0"
vlan = 100
[network.bridges.plain]
[network.segments.xendmz0]
addresses = ["10.1.0.1/24", "2001:db8:9::1/64"]
antispoof = true
[network.switches.ovsbr0]
uplink = "eth2"
[network.overlays.tenant4]
vni = 4
underlay = "eth0"
peers = ["192.0.2.2", "192.0.2.3"]
[network.overlays.tenant5]
vni = 5
group = "239.1.0.5"
[network.routing]
uplink = "eth0"
ipv6 = false
[network.nat]
network = "10.5.0.0/24"
dhcp = false
forwards = ["tcp 8080 10.5.0.5:80", "udp 53 10.5.0.6:5353"]
"""


def test_every_kind_of_network() -> None:
    table = tomllib.loads(WHOLE)["network"]
    assert parse(table, "x.toml") == (
        Bridge(name="xenbr1", uplink="eth1", antispoof=True),
        Vlan(name="eth0.100", parent="eth0", tag=100), Bridge(name="xenbr100", uplink="eth0.100"),
        Bridge(name="plain", uplink=""),
        Segment(name="xendmz0", addresses=("10.1.0.1/24", "2001:db8:9::1/64"), antispoof=True),
        Switch(name="ovsbr0", uplink="eth2"),
        Overlay(vni=4, bridge="tenant4", device="vxlan4", underlay="eth0", peers=("192.0.2.2", "192.0.2.3")),
        Overlay(vni=5, bridge="tenant5", device="vxlan5", underlay="", group="239.1.0.5"),
        Routing(uplink="eth0", ipv6=False),
        Nat(uplink="", network="10.5.0.0/24", dhcp=False, forwards=(
            Forward(protocol="tcp", port=8080, address="10.5.0.5", port_inside=80),
            Forward(protocol="udp", port=53, address="10.5.0.6", port_inside=5353),
        )),
    )  # fmt: skip
    assert cards(table, "x.toml") == {"eth0": "enp1s0"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[network.bridges.b]\nuplnk = 'e'", "network.bridges.b.uplnk is not known"),
        ("[network.brigdes.b]", "network.brigdes is not known"),
        ("[network.bridges.b]\nuplink = 3", "network.bridges.b.uplink must be text"),
        ("[network.bridges.b]\nuplink = 'a name that is long'", "network.bridges.b.uplink 'a name that is long' is longer than"),
        ("[network.bridges.a-name-that-is-too-long]", "network.bridges has a name that cannot be"),
        ("[network.segments.-x]", "network.segments has a name that cannot be: '-x'"),
        ("[network.bridges.b]\nvlan = 5", "network.bridges.b.uplink is missing"),
        ("[network.bridges.b]\nuplink='e'\nvlan = 4095", "network.bridges.b.vlan must be a number from 1 to 4094"),
        ("[network.bridges.b]\nuplink='eth0123456789'\nvlan = 100", "network.bridges.b.vlan 'eth0123456789.100' is longer"),
        ("[network.bridges.b]\nantispoof = 'yes'", "network.bridges.b.antispoof must be true or false"),
        ("[network.segments.s]\naddresses = ['10.0.0.1']", "network.segments.s.addresses has '10.0.0.1'"),
        ("[network.segments.s]\naddresses = '10.0.0.1/8'", "network.segments.s.addresses must be a list"),
        ("[network.overlays.o]", "network.overlays.o.vni is missing"),
        ("[network.overlays.o]\nvni = 1\ngroup='239.0.0.1'\npeers=['192.0.2.1']", "network.overlays.o has both"),
        ("[network.overlays.o]\nvni = 1\ngroup='192.0.2.1'", "network.overlays.o.group '192.0.2.1' is no multicast"),
        ("[network.overlays.o]\nvni = 1\npeers=['x']", "network.overlays.o.peers has 'x'"),
        ("[network.nat]\nnetwork='10.0.0.1/16'", "network.nat.network '10.0.0.1/16' is no IPv4 network"),
        ("[network.nat]\nforwards=['sctp 1 10.0.0.1:1']", "network.nat.forwards has 'sctp 1 10.0.0.1:1'"),
        ("[network.nat]\nforwards=['tcp 70000 10.0.0.1:1']", "network.nat.forwards has 'tcp 70000"),
        ("[network.routing]\nipv6 = 1", "network.routing.ipv6 must be true or false"),
        ("[network.cards]\neth0 = 1", "network.cards.eth0 must be text"),
        ("[network]\nnat = 3", "network.nat must be a table"),
        ("[network]\nbridges = 3", "network.bridges must be a table"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_key(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(tomllib.loads(text)["network"], "/etc/x.toml")
    assert caught.value.line().startswith(f"/etc/x.toml: {said}"), caught.value.line()
    assert "\n" not in caught.value.line()


def test_the_settings_file_has_the_table_and_other_commands_do_not_stumble_over_it() -> None:
    found = backend_settings.parse(b"[network.bridges.b]\nuplnk = 1", "f")
    assert found.network == {"bridges": {"b": {"uplnk": 1}}}
    with pytest.raises(ConfigError, match="network must be a table"):
        backend_settings.parse(b"network = 'eth0'", "f")


def test_the_datapath_of_a_switch_is_the_kernels_or_a_process() -> None:
    def parsed(datapath: str) -> object:
        return parse({"switches": {"ovs": {"datapath": datapath}}}, "f")

    assert parsed("netdev") == (Switch(name="ovs", datapath="netdev"),)
    assert parsed("system") == (Switch(name="ovs"),)
    with pytest.raises(ConfigError, match="network.switches.ovs.datapath 'fast' is not known"):
        parsed("fast")
