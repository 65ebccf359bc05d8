"""Virtual network interfaces: addresses, bridges, models, rates."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.translate.guests import HOST, HVM, PV, REMOTE, said
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator, Nic
from xmcompat.errors import DeviceError, NotConvertible
from xmcompat.guest import Dialect, GuestConfig, Vif
from xmcompat.notes import Fate
from xmcompat.translate.bandwidth import bandwidth
from xmcompat.translate.machine import Translation, missing_macs, translate

MAC = "00:16:3e:00:00:01"
SWITCHED = replace(HOST, openvswitch=("ovs0",), bridge_aliases=(("old0", "ovs0"),))


def done(vif: Vif, guest: GuestConfig = PV, facts: HostFacts = HOST) -> Translation:
    return translate(replace(guest, vifs=(vif,)), facts)


def nic(vif: Vif, guest: GuestConfig = PV, facts: HostFacts = HOST) -> Nic:
    return done(vif, guest, facts).machine.nics[0]


def test_addresses_are_drawn_for_those_without_one_in_their_order() -> None:
    guest = replace(PV, vifs=(Vif(), Vif(mac="00:16:3E:AA:BB:CC"), Vif()))
    assert missing_macs(guest) == 2
    macs = ["00:16:3e:00:00:01", "00:16:3e:00:00:02"]
    assert [one.mac for one in translate(guest, HOST, macs=macs).machine.nics] == [
        "00:16:3e:00:00:01", "00:16:3e:aa:bb:cc", "00:16:3e:00:00:02",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mac", "reason"),
    [
        ("fe:16:3e:00:00:01", "KVM keeps addresses that begin with fe for the host's end; take one in 00:16:3e"),
        ("01:16:3e:00:00:01", "an interface cannot have a multicast address; take one in 00:16:3e"),
        ("00:16:3e", "that is no MAC address; write six bytes as in 00:16:3e:12:34:56"),
    ],
)
def test_addresses_that_libvirt_would_refuse(mac: str, reason: str) -> None:
    with pytest.raises(NotConvertible) as caught:
        done(Vif(mac=mac))
    assert caught.value.line() == f"web1.cfg: vif[0] = mac={mac}: {reason}"


def test_one_address_for_two_interfaces() -> None:
    with pytest.raises(DeviceError, match=f'^The mac "{MAC}" is already defined$'):
        translate(replace(PV, vifs=(Vif(mac=MAC), Vif(mac=MAC.upper()))), HOST)


@pytest.mark.parametrize(("named", "bridge"), [("", "xenbr0"), ("eth1", "eth1"), ("xenbr1", "eth1")])
def test_bridges(named: str, bridge: str) -> None:
    assert nic(Vif(bridge=named)).bridge == bridge


@pytest.mark.parametrize("named", ["br9", "xenbr2", "eth2"])
def test_a_bridge_that_is_not_there(named: str) -> None:
    with pytest.raises(DeviceError) as caught:
        translate(replace(PV, vifs=(Vif(), Vif(bridge=named))), HOST)
    assert caught.value.line() == f"Device 1 (vif) could not be connected. Could not find bridge device {named}"


def test_a_host_without_bridges() -> None:
    bare = HostFacts(accelerator=Accelerator.KVM)
    with pytest.raises(DeviceError) as caught:
        nic(Vif(), facts=bare)
    assert caught.value.line() == (
        "Device 0 (vif) could not be connected. Could not find bridge, and none was specified"
    )
    with pytest.raises(DeviceError, match="Could not find bridge device br9"):
        nic(Vif(bridge="br9"), facts=bare)


def test_the_bridges_of_another_host_are_left_to_it() -> None:
    assert nic(Vif(bridge="br9"), facts=replace(REMOTE, bridges=("a",))).bridge == "br9"
    assert nic(Vif(), facts=replace(REMOTE, bridges=("a",))).bridge == "a"
    translation = done(Vif(), facts=REMOTE)
    assert translation.machine.nics[0].bridge == "xenbr0"
    assert said(translation, "vif[0]")[0][0] is Fate.APPROXIMATED


def test_refusals_are_told_before_what_this_host_lacks() -> None:
    with pytest.raises(NotConvertible):
        translate(replace(PV, vifs=(Vif(bridge="br9"), Vif(backend="netdom"))), HOST)


@pytest.mark.parametrize(
    ("dialect", "vif", "model"),
    [
        (Dialect.XM, Vif(), "rtl8139"),
        (Dialect.XM, Vif(model="e1000"), "e1000"),
        (Dialect.XM, Vif(type="ioemu", model="ne2000"), "ne2k_pci"),
        (Dialect.XM, Vif(type="netfront", model="e1000"), "virtio"),
        (Dialect.XM, Vif(type="anything"), "virtio"),
        (Dialect.XM, Vif(model="nosuch"), "rtl8139"),
        (Dialect.XM, Vif(model="virtio-net-pci"), "virtio"),
        (Dialect.XL, Vif(type="vif"), "virtio"),
        (Dialect.XL, Vif(type="netfront"), "rtl8139"),
        (Dialect.XL, Vif(type="ioemu", model="e1000"), "e1000"),
    ],
)
def test_models_of_a_guest_with_a_bios(dialect: Dialect, vif: Vif, model: str) -> None:
    assert nic(vif, replace(HVM, dialect=dialect)).model == model


def test_a_paravirtual_guest_has_virtio_whatever_is_said() -> None:
    assert nic(Vif(type="ioemu", model="e1000")).model == "virtio"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("web1.0", "web1.0"), ("vif1.0", "vif1.0"), ("123456789012345", "123456789012345"), ("1234567890123456", ""),
        ("a/b", ""), ("a b", ""), ("..", ""), ("vnet0", ""), ("macvtap3", ""),
    ],
)  # fmt: skip
def test_names_of_the_hosts_end(name: str, target: str) -> None:
    translation = done(Vif(vifname=name))
    assert translation.machine.nics[0].target == target
    assert bool(said(translation, "vif[0]")) == (not target)


@pytest.mark.parametrize(
    ("rate", "limit"),
    [
        ("10Mb/s", (1250, 64)),
        ("1MB/s@20ms", (1000, 64)),
        ("250KB/s@20ms", (250, 64)),
        ("1Gb/s", (125000, 6104)),
        ("1MB/s@1s", (1000, 977)),
        ("1MB/s@500us", (1000, 64)),
        ("1b/s", (1, 64)),
        ("1500B/s", (2, 64)),
        ("0MB/s", None),
        ("1MB/s@0ms", None),
        ("100GB/s@1s", None),
        ("fast", None),
        ("10Mb", None),
        ("", None),
    ],
)
def test_rates(rate: str, limit: tuple[int, int] | None) -> None:
    assert bandwidth(rate) == limit


def test_what_is_no_rate_is_told_by_xm_and_refused_by_xl() -> None:
    assert said(done(Vif(rate="fast")), "vif[0]") == [
        (Fate.APPROXIMATED, "that is no rate; the interface is not limited, as with xm")
    ]
    with pytest.raises(NotConvertible, match="that is no rate"):
        done(Vif(rate="fast"), replace(PV, dialect=Dialect.XL))


@pytest.mark.parametrize("rate", ["fast", "10Mb", "-10Mb/s"])
def test_where_limits_are_ours_what_is_no_rate_is_refused(rate: str) -> None:
    with pytest.raises(NotConvertible, match=f"rate={rate}: that is no rate; write one like 10Mb/s@50ms"):
        done(Vif(rate=rate), facts=PORTS)


@pytest.mark.parametrize("rate", ["0MB/s", "1MB/s@0ms", "100GB/s@1s"])
def test_a_rate_that_limits_nothing_is_told(rate: str) -> None:
    assert said(done(Vif(rate=rate), facts=PORTS), "vif[0]") == [(Fate.APPROXIMATED, "that limits nothing, as with xm")]


@pytest.mark.parametrize("name", ["1234567890123456", "a/b", ".."])
def test_where_its_end_is_ours_a_name_that_no_link_can_have_is_refused(name: str) -> None:
    with pytest.raises(NotConvertible, match=f"vifname={name}: "):
        done(Vif(vifname=name), facts=PORTS)


def test_an_address_of_zeros_is_refused() -> None:
    with pytest.raises(NotConvertible, match="that is no MAC address"):
        done(Vif(mac="00:00:00:00:00:00"))


@pytest.mark.parametrize("script", ["vif-route", "/etc/xen/scripts/vif-nat"])
def test_libvirt_alone_neither_routes_nor_translates(script: str) -> None:
    found = done(Vif(script=script, ip="192.0.2.1", gatewaydev="eth0"))
    assert (found.machine.nics[0].bridge, found.machine.nics[0].filter) == ("xenbr0", "")
    told = [note.value for note in found.notes if note.fate is Fate.APPROXIMATED and note.key == "vif[0]"]
    assert told == [f"script={script}", "ip=192.0.2.1"]


PORTS = replace(HOST, ports=True)


def test_where_we_set_up_the_hosts_ends_libvirt_filters_and_limits_nothing() -> None:
    one = nic(Vif(ip="192.0.2.10 2001:db8::/64", rate="10Mb/s"), facts=PORTS)
    assert (one.filter, one.addresses, one.outbound_average, one.outbound_burst) == ("", (), None, None)
    assert said(done(Vif(ip="192.0.2.10", rate="10Mb/s"), facts=PORTS), "vif[0]") == []


@pytest.mark.parametrize(
    ("vif", "default", "bridge"),
    [
        (Vif(script="vif-route", ip="192.0.2.1"), "", ""),
        (Vif(script="vif-route", bridge="xenbr0"), "", ""),
        (Vif(ip="192.0.2.1"), "vif-route netdev=eth1", ""),
        (Vif(script="vif-bridge"), "vif-route netdev=eth1", "xenbr0"),
        (Vif(script="vif-nat"), "", "xennat0"),
        (Vif(bridge="eth1"), "vif-nat", "xennat0"),
        (Vif(script="vif-mine"), "", ""),
        (Vif(script="vif-mine bridge=eth1"), "", "eth1"),
        (Vif(script="/etc/xen/scripts/vif-mine", bridge="eth1"), "vif-nat", "eth1"),
        (Vif(script="vif-bridge bridge=eth1"), "", "eth1"),
        (Vif(), "vif-bridge bridge=eth1", "eth1"),
    ],
)
def test_where_interfaces_are_plugged_in_by_their_scripts(vif: Vif, default: str, bridge: str) -> None:
    facts = replace(PORTS, vif_script=default, nat_bridge="xennat0", bridges=(*HOST.bridges, "xennat0"))
    assert nic(vif, facts=facts).bridge == bridge


def test_translation_needs_its_network() -> None:
    with pytest.raises(DeviceError) as caught:
        nic(Vif(script="vif-nat"), facts=PORTS)
    assert caught.value.line() == (
        "Device 0 (vif) could not be connected. No network-nat is up on this host, which vif-nat needs"
    )


@pytest.mark.parametrize(("ip", "word"), [("192.0.2.300", "192.0.2.300"), ("192.0.2.1 web", "web"), ("10/8x", "10/8x")])
def test_what_is_no_address_is_refused_where_it_would_be_a_filter(ip: str, word: str) -> None:
    with pytest.raises(NotConvertible) as caught:
        done(Vif(ip=ip), facts=PORTS)
    assert caught.value.line() == (
        f"web1.cfg: vif[0] = ip={ip}: '{word}' is no IP address; write one like 192.0.2.10 or 192.0.2.0/24"
    )


def test_the_gateway_of_a_routed_interface_is_carried() -> None:
    assert said(done(Vif(script="vif-route", gatewaydev="eth1"), facts=PORTS), "vif[0]") == []
    notes = done(Vif(gatewaydev="eth1"), facts=PORTS).notes
    assert [note.fate for note in notes if note.key == "vif[0]"] == [Fate.NO_MEANING]


def test_scripts_of_the_users_own_are_not_run() -> None:
    assert said(done(Vif(script="vif-mine")), "vif[0]") == [
        (Fate.APPROXIMATED, "the interface joins a bridge; the script is not run")
    ]
    assert said(done(Vif(script="/etc/xen/scripts/vif-bridge")), "vif[0]") == []


@pytest.mark.parametrize(
    ("ip", "addresses"),
    [
        ("192.0.2.10", ("192.0.2.10",)), ("192.0.2.10 192.0.2.11/32", ("192.0.2.10", "192.0.2.11")),
        ("192.0.2.10 192.0.2.10", ("192.0.2.10",)), ("192.0.2.10 10.0.0.0/24", ()), ("2001:db8::1", ()), ("nonsense", ()),
        ("", ()),
    ],
)  # fmt: skip
def test_addresses_that_a_guest_may_use(ip: str, addresses: tuple[str, ...]) -> None:
    found = done(Vif(ip=ip))
    one = found.machine.nics[0]
    assert (one.filter, one.addresses) == ("clean-traffic" if addresses else "", addresses)
    told = [reason for _, reason in said(found, "vif[0]")]
    if not ip:
        assert told == []
    elif addresses:
        assert told[0].startswith("the filter clean-traffic lets the guest use these alone")
    else:
        assert told[0].startswith("nothing keeps the guest from using other addresses")


def test_filters_do_not_work_on_open_vswitch() -> None:
    found = done(Vif(ip="192.0.2.10", bridge="ovs0"), facts=SWITCHED)
    assert (found.machine.nics[0].openvswitch, found.machine.nics[0].filter) == (True, "")
    assert said(found, "vif[0]")[0][1].endswith("libvirt's filters do not work on Open vSwitch")


@pytest.mark.parametrize(
    ("bridge", "plugged"),
    [
        ("ovs0", ("ovs0", None, ())), ("ovs0.100", ("ovs0", 100, ())), ("ovs0:20:30", ("ovs0", None, (20, 30))),
        ("ovs0.10:20:10:20", ("ovs0", 10, (20,))), ("", ("ovs0", None, ())), ("old0.7", ("ovs0", 7, ())),
    ],
)  # fmt: skip
def test_vlans_of_open_vswitch(bridge: str, plugged: tuple[str, int | None, tuple[int, ...]]) -> None:
    one = nic(Vif(bridge=bridge, script="vif-openvswitch"), facts=SWITCHED)
    assert (one.bridge, one.vlan, one.trunk, one.openvswitch) == (*plugged, True)


@pytest.mark.parametrize("bridge", ["ovs0.", "ovs0.5000", "ovs0:x", "ovs0.1.2"])
def test_what_names_no_vlan_is_refused(bridge: str) -> None:
    with pytest.raises(NotConvertible, match=r"write the bridge as NAME, NAME\.TAG"):
        nic(Vif(bridge=bridge, script="vif-openvswitch"), facts=SWITCHED)


def test_only_the_script_for_open_vswitch_reads_vlans() -> None:
    assert nic(Vif(bridge="br0.100"), facts=replace(HOST, bridges=("br0.100",))).bridge == "br0.100"


def test_a_switch_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match="Could not find bridge device ovs9"):
        nic(Vif(bridge="ovs9", script="vif-openvswitch"), facts=SWITCHED)
    assert nic(Vif(bridge="ovs9", script="vif-openvswitch")).bridge == "ovs9"  # none is known: QEMU will tell


def test_another_name_for_a_bridge_goes_before_the_rules_of_xens_scripts() -> None:
    facts = replace(HOST, bridge_aliases=(("xenbr1", "xenbr0"), ("lan", "br9")))
    found = done(Vif(bridge="xenbr1"), facts=facts)
    assert found.machine.nics[0].bridge == "xenbr0"
    assert [note.reason for note in found.notes if note.key == "vif[0]"] == ["xenbr0 serves, by the host's aliases"]
    with pytest.raises(DeviceError, match="Could not find bridge device br9"):
        nic(Vif(bridge="lan"), facts=facts)


def test_the_bridge_of_xends_settings_serves_an_interface_that_names_none() -> None:
    facts = replace(HOST, default_bridge="eth1")
    assert nic(Vif(), facts=facts).bridge == "eth1"
    assert nic(Vif(bridge="xenbr0"), facts=facts).bridge == "xenbr0"
    with pytest.raises(DeviceError, match="Could not find bridge device xenbr9"):
        nic(Vif(), facts=replace(HOST, default_bridge="xenbr9"))
    switched = replace(SWITCHED, openvswitch=("ovs0", "ovs1"), default_bridge="ovs1")
    assert nic(Vif(script="vif-openvswitch"), facts=switched).bridge == "ovs1"


@pytest.mark.parametrize(("mtu", "kept"), [(None, None), (1500, 1500), (9000, 9000), (0, None), (70000, None)])
def test_the_mtu(mtu: int | None, kept: int | None) -> None:
    found = done(Vif(mtu=mtu))
    assert found.machine.nics[0].mtu == kept
    assert bool(said(found, "vif[0]")) == (mtu != kept)


def test_a_guest_on_an_overlay_knows_the_size_of_its_packets() -> None:
    host = replace(HOST, bridges=("xenbr0", "vnet0004"), small_mtus=(("vnet0004", 1450),))
    vifs = (Vif(bridge="vnet0004"), Vif(bridge="xenbr0"), Vif(bridge="vnet0004", mtu=1400))
    found = translate(replace(PV, vifs=vifs), host)
    assert [nic.mtu for nic in found.machine.nics] == [1450, None, 1400]


def test_interfaces_come_in_the_order_of_the_numbers_that_they_ask_for() -> None:
    guest = replace(PV, vifs=(Vif(bridge="eth1"), Vif(devid=4), Vif(devid=1), Vif(mac="00:16:3e:00:00:09")))
    found = translate(guest, HOST, macs=["00:16:3e:00:00:01", "00:16:3e:00:00:02", "00:16:3e:00:00:03"]).machine
    assert [one.mac[-1] for one in found.nics] == ["3", "2", "1", "9"]
    with pytest.raises(NotConvertible, match="another interface has that number"):
        translate(replace(PV, vifs=(Vif(devid=1), Vif(devid=1))), HOST)


def test_what_xen_alone_reads_is_told_and_harmless() -> None:
    notes = done(Vif(trusted=False, gatewaydev="eth0", accel="sfc")).notes
    assert [(note.value, note.fate, note.harmless) for note in notes if note.key == "vif[0]"] == [
        ("gatewaydev=eth0", Fate.NO_MEANING, True), ("accel=sfc", Fate.NO_MEANING, False), ("trusted=0", Fate.NO_MEANING, True),
    ]  # fmt: skip


@given(st.integers(0, 10**6), st.sampled_from(["", "K", "M", "G"]))
def test_bits_and_bytes_agree(number: int, scale: str) -> None:
    assert bandwidth(f"{number * 8}{scale}b/s") == bandwidth(f"{number}{scale}B/s")


@given(st.text())
def test_no_rate_fails_in_an_unplanned_way(text: str) -> None:
    limit = bandwidth(text)
    assert limit is None or (limit[0] >= 1 and limit[1] >= 64)


@pytest.mark.parametrize("named", ["eth7", "xenbr7"])
def test_the_name_of_a_card_means_our_bridge_that_it_is_in(named: str) -> None:
    facts = replace(HOST, bridges=("br-out",), cards=(("eth7", "br-out"),))
    assert nic(Vif(bridge=named), facts=facts).bridge == "br-out"
    with pytest.raises(DeviceError, match="Could not find bridge device eth8"):
        nic(Vif(bridge="eth8"), facts=facts)
