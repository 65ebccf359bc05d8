"""What the host's ends of interfaces are to be: every key and mode, from configuration, taps and marks alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat import connecting, vif_traces
from xmcompat.backends import glance
from xmcompat.backends.devices import Nic
from xmcompat.backends.devices_glance import Tap, taps
from xmcompat.guest import Vif
from xmcompat.network import marks
from xmcompat.network.marks import Mark
from xmcompat.network.wanted import Mode, Port, Rate
from xmcompat.translate.scripts import Kind, Script, script_of, with_gateway
from xmcompat.vifs import BackEnd, Site, ports_of, values_of, wait_for

MAC = "00:16:3e:00:00:01"
SITE = Site(marks={
    "xenbr1": Mark("bridge", {"uplink": "eth1", "antispoof": "yes", "state": "up"}),
    "xenbr2": Mark("bridge", {"uplink": "eth2", "state": "up"}),
    "seg0": Mark("segment", {"antispoof": "yes"}),
    "xennat0": Mark("nat", {"network": "10.0.0.0/16"}),
})  # fmt: skip
PLAIN = Port(device="vnet0", mac=MAC, bridge="xenbr0", altnames=("vif7.0",))


def back_end(vif: Vif | None, bridge: str = "xenbr0", site: Site = SITE, device: str = "vnet0") -> BackEnd:
    vifs = None if vif is None else [replace(vif, mac=vif.mac or MAC)]
    (found,) = ports_of(vifs, [Tap(0, MAC, device, bridge)], site, 7)
    return found


def port(vif: Vif | None, bridge: str = "xenbr0", site: Site = SITE, device: str = "vnet0") -> Port:
    return back_end(vif, bridge, site, device).port


def test_a_plain_interface_has_xens_name_and_nothing_else() -> None:
    assert port(Vif()) == port(Vif(bridge="xenbr0", model="e1000", type="ioemu")) == PLAIN
    assert not back_end(Vif()).waits


def test_addresses_limit_both_ways_and_hold() -> None:
    limited = Rate(speed=1_250_000, burst=65536)
    assert port(Vif(ip="192.0.2.10 192.0.2.16/28;2001:db8::1 192.0.2.10", rate="10Mb/s")) == replace(
        PLAIN, addresses=("192.0.2.10", "192.0.2.16/28", "2001:db8::1"), sending=limited, receiving=limited
    )
    assert back_end(Vif(ip="192.0.2.10")).waits and back_end(Vif(rate="1MB/s")).waits


@pytest.mark.parametrize(
    ("rate", "limit"),
    [
        ("10Mb/s", Rate(speed=1_250_000, burst=65536)), ("1MB/s@1s", Rate(speed=10**6, burst=10**6)),
        ("1Gb/s", Rate(speed=125 * 10**6, burst=6_250_000)), ("1b/s", Rate(speed=1, burst=65536)), ("fast", None),
        ("0MB/s", None), ("", None),
    ],
)  # fmt: skip
def test_rates_are_in_bytes(rate: str, limit: Rate | None) -> None:
    found = port(Vif(rate=rate))
    assert (found.sending, found.receiving) == (limit, limit)


@pytest.mark.parametrize(("bridge", "held"), [("xenbr0", False), ("xenbr1", True), ("xenbr2", False), ("seg0", True)])
def test_guests_are_held_where_their_bridge_says_so(bridge: str, held: bool) -> None:
    assert port(Vif(), bridge).held is held
    assert port(None, bridge).held is held  # and also those that xm does not know
    assert back_end(Vif(), bridge).waits is held


@pytest.mark.parametrize(
    ("vif", "default", "bridge", "mode", "uplink"),
    [
        (Vif(script="vif-route"), "", "", Mode.ROUTE, ""),
        (Vif(script="/etc/xen/scripts/vif-route netdev=eth1"), "", "", Mode.ROUTE, "eth1"),
        (Vif(script="vif-route gatewaydev=eth2"), "", "", Mode.ROUTE, "eth2"),
        (Vif(), "vif-route netdev=eth1", "", Mode.ROUTE, "eth1"),
        (Vif(), "vif-bridge", "", Mode.ROUTE, ""),                          # defined while vif-route was the default
        (Vif(script="vif-route netdev=eth1"), "", "xenbr0", Mode.BRIDGE, ""),   # defined by an earlier xm
        (Vif(script="vif-bridge"), "vif-nat", "xennat0", Mode.BRIDGE, ""),
        (Vif(script="vif-nat"), "", "xennat0", Mode.NAT, ""),
        (Vif(), "vif-nat", "xennat0", Mode.NAT, ""),
        (Vif(script="vif-nat"), "", "xenbr0", Mode.BRIDGE, ""),
        (Vif(script="vif-mine"), "vif-nat", "", Mode.BRIDGE, ""),
        (None, "vif-route", "", Mode.BRIDGE, ""),                           # somebody else's
        (None, "vif-nat", "xennat0", Mode.BRIDGE, ""),
    ],
)
def test_modes(vif: Vif | None, default: str, bridge: str, mode: Mode, uplink: str) -> None:
    found = port(vif, bridge, SITE._replace(script=default))
    assert (found.mode, found.uplink) == (mode, uplink)


def test_a_script_of_ones_own_filters_itself() -> None:
    found = back_end(Vif(script="vif-mine zone=dmz", ip="192.0.2.10", rate="1MB/s"))
    assert found.script == Script("vif-mine", ("zone=dmz",))
    assert (found.port.addresses, found.port.sending) == ((), Rate(speed=10**6, burst=65536))
    assert found.waits
    assert back_end(Vif(script="vif-bridge")).script is None
    assert back_end(None, site=SITE._replace(script="vif-mine")).script is None


@pytest.mark.parametrize(
    ("vif", "device", "domid", "names"),
    [
        (Vif(), "vnet3", 7, ("vif7.2",)), (Vif(vifname="web"), "web", 7, ()), (Vif(vifname="web"), "vnet3", 7, ("vif7.2",)),
        (Vif(), "vif7.2", 7, ()), (None, "vnet3", 7, ("vif7.2",)), (Vif(), "vnet3", 10**12, ()),
    ],
)  # fmt: skip
def test_second_names(vif: Vif | None, device: str, domid: int, names: tuple[str, ...]) -> None:
    vifs = None if vif is None else [replace(vif, mac=MAC)]
    (found,) = ports_of(vifs, [Tap(2, MAC, device, "xenbr0")], SITE, domid)
    assert found.port.altnames == names


def test_interfaces_belong_to_taps_by_their_addresses_whatever_the_order() -> None:
    vifs = [Vif(mac="00:16:3E:00:00:0B", ip="192.0.2.2"), Vif(mac=MAC, ip="192.0.2.1")]
    ends = [Tap(0, MAC, "vnet0", "xenbr0"), Tap(1, "00:16:3e:00:00:0b", "vnet1", "xenbr0"),
            Tap(2, "52:54:00:00:00:01", "vnet2", "xenbr0"), Tap(3, "00:16:3e:00:00:0c", "", "xenbr0")]  # fmt: skip
    found = ports_of(vifs, ends, SITE, 1)
    assert [(one.number, one.port.addresses) for one in found] == [(0, ("192.0.2.1",)), (1, ("192.0.2.2",)), (2, ())]


def test_who_waits_is_known_before_there_are_taps() -> None:
    nics = [Nic(mac=MAC, bridge="xenbr0"), Nic(mac=MAC[:-1] + "2", bridge="xenbr1")]
    assert wait_for([Vif(mac=MAC)], nics, SITE)
    assert not wait_for([Vif(mac=MAC)], nics[:1], SITE)
    assert wait_for([Vif(mac=MAC, script="vif-route")], [Nic(mac=MAC, bridge="")], SITE)


def test_what_scripts_are_told() -> None:
    vif = Vif(mac=MAC, ip="192.0.2.1;192.0.2.2", rate="10Mb/s", script="vif-mine", vifname="web", bridge="old0")
    told = values_of(back_end(vif), domid=7, name="web1", uuid="u", file="/etc/xen/scripts/vif-mine")
    assert told == {
        "domain": "web1", "handle": "0", "uuid": "u", "mac": MAC, "script": "/etc/xen/scripts/vif-mine", "frontend-id": "7",
        "frontend": "/local/domain/7/device/vif/0", "state": "2", "online": "1", "bridge": "xenbr0",
        "ip": "192.0.2.1 192.0.2.2", "vifname": "web", "rate": "62500,50000",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kind", "base"),
    [
        ("", Kind.BRIDGE, ""), ("  ", Kind.BRIDGE, ""), ("vif-bridge bridge=a", Kind.BRIDGE, "vif-bridge"),
        ("/x/vif-openvswitch", Kind.BRIDGE, "vif-openvswitch"), ("vif-route", Kind.ROUTE, "vif-route"),
        ("/etc/xen/scripts/vif-nat dhcp=no", Kind.NAT, "vif-nat"), ("vif-routes", Kind.OWN, "vif-routes"),
    ],
)  # fmt: skip
def test_kinds_of_scripts(text: str, kind: Kind, base: str) -> None:
    found = script_of(Vif(script=text))
    assert (found.kind, found.base) == (kind, base)
    assert script_of(Vif(), text) == found


def test_the_gateway_of_xl_travels_as_a_word_of_the_script() -> None:
    assert with_gateway(Vif(script="vif-route", gatewaydev="eth1")).script == "vif-route netdev=eth1"
    for vif in (Vif(gatewaydev="eth1"), Vif(script="vif-route netdev=eth0", gatewaydev="eth1"), Vif(script="vif-route")):
        assert with_gateway(vif) == vif


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=20), st.sampled_from(["", "xenbr0", "xennat0"]))
def test_no_word_fails_in_an_unplanned_way(script: str, ip: str, rate: str, bridge: str) -> None:
    found = back_end(Vif(script=script, ip=ip, rate=rate), bridge)
    assert found.port.device == "vnet0"
    assert values_of(found, domid=7, name="web1", uuid="u", file="f")["mac"] == MAC


# -- from libvirt's XML

XML = f"""<domain type='kvm'><name>web1</name>
<metadata><x:guest xmlns:x="urn:xmcompat:guest:1" source="/w">(vm (name web1)
 (device (vif (mac 00:16:3E:00:00:01) (ip 192.0.2.10) (rate 10Mb/s)))
 (device (vif (mac 00:16:3e:00:00:02) (script 'vif-route netdev=eth1'))))</x:guest></metadata>
<devices>
<interface type='ethernet'><mac address='00:16:3e:00:00:02'/><target dev='vnet9'/><alias name='net1'/></interface>
<interface type='bridge'><mac address='{MAC}'/><source bridge='xenbr0'/><target dev='vnet8'/><alias name='net0'/></interface>
<interface type='network'><mac address='52:54:00:00:00:01'/><source network='default' bridge='virbr0'/>
<target dev='vnet7'/><alias name='ua-vif-4'/></interface>
</devices></domain>"""


def test_taps_of_a_domain() -> None:
    assert taps(glance.read(XML)) == [
        Tap(0, MAC, "vnet8", "xenbr0"), Tap(1, "00:16:3e:00:00:02", "vnet9", ""), Tap(4, "52:54:00:00:00:01", "vnet7", "virbr0")
    ]


def test_interfaces_as_recorded() -> None:
    first, second = connecting.recorded_vifs(glance.read(XML)) or []
    assert (first.ip, first.rate) == ("192.0.2.10", "10Mb/s")
    assert second.script == "vif-route netdev=eth1"
    assert connecting.recorded_vifs(glance.read("<domain/>")) is None
    assert connecting.waits(XML, {"XEND_CONFIG": "/nowhere"})
    assert not connecting.waits("<domain/>", {"XEND_CONFIG": "/nowhere"})


@pytest.mark.parametrize(
    ("xml", "leaves"),
    [
        (XML, True), ("<domain/>", False), ("<domain>(ip 192.0.2.1)</domain>", False),
        ("<interface type='bridge'><source bridge='xenbr0'/></interface>", False),
        ("<interface type='ethernet'/>", True), ("(rate 1MB/s)<interface type='bridge'/>", True),
        ("(script vif-mine)<interface type='bridge'/>", True),
    ],
)  # fmt: skip
def test_a_plain_guest_leaves_nothing_to_look_for(xml: str, leaves: bool) -> None:
    assert vif_traces.may_leave(xml, {"XEND_CONFIG": "/nowhere"}) is leaves


def test_marks_and_settings_of_the_host_make_a_guest_worth_a_look(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = "<interface type='bridge'><source bridge='xenbr9'/></interface>"
    monkeypatch.setattr(vif_traces, "link_alias", lambda name: marks.text("nat") if name == "xenbr9" else "")
    assert vif_traces.may_leave(plain, {"XEND_CONFIG": "/nowhere"})
    monkeypatch.setattr(vif_traces, "link_alias", lambda name: "")
    for line, leaves in (("(vif-script vif-nat)", True), ("#(vif-script vif-nat)", False), ("(vif-script vif-bridge)", False)):
        config = f"{tmp_path}/xend-config.sxp"
        with open(config, "w") as file:
            file.write(f"{line}\n")
        assert vif_traces.may_leave(plain, {"XEND_CONFIG": config}) is leaves
