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
from xmcompat.translate.machine import Translation, missing_macs, translate
from xmcompat.translate.nics import bandwidth

MAC = "00:16:3e:00:00:01"


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
    assert nic(Vif(bridge="br9"), facts=bare).bridge == "br9"


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


def test_scripts_and_filters_that_are_not_there_yet_are_told_loudly() -> None:
    assert [fate for fate, _ in said(done(Vif(script="vif-nat", ip="192.0.2.1")), "vif[0]")] == [Fate.NOT_YET] * 2
    assert said(done(Vif(script="/etc/xen/scripts/vif-bridge")), "vif[0]") == []


@given(st.integers(0, 10**6), st.sampled_from(["", "K", "M", "G"]))
def test_bits_and_bytes_agree(number: int, scale: str) -> None:
    assert bandwidth(f"{number * 8}{scale}b/s") == bandwidth(f"{number}{scale}B/s")


@given(st.text())
def test_no_rate_fails_in_an_unplanned_way(text: str) -> None:
    limit = bandwidth(text)
    assert limit is None or (limit[0] >= 1 and limit[1] >= 64)
