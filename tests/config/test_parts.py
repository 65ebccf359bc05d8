"""The typed parts of a guest that xm's rarer options fill: pins, shares, PCI, USB, SCSI, TPM, interfaces of vif2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.config.build import build
from xmcompat.config.dryrun import dry_run
from xmcompat.config.from_sxp import values_of
from xmcompat.errors import ConfigError
from xmcompat.guest import Dialect, GuestConfig, PciDevice, ScsiDevice, Tpm, UsbController, UsbDevice, Value, Vif


def guest(**values: Value) -> GuestConfig:
    return build({"kernel": "/k", **values}, path="./a", default_name="a")


def refusal(**values: Value) -> str:
    with pytest.raises(ConfigError) as caught:
        guest(**values)
    return caught.value.line()


# -- CPUs


@pytest.mark.parametrize(
    ("values", "pins"),
    [
        ({}, ()),
        ({"cpus": ""}, ()),
        ({"cpus": "0-3,^1"}, ((0, 2, 3), (0, 2, 3))),
        ({"cpus": "^1,0-3"}, ((0, 1, 2, 3), (0, 1, 2, 3))),
        ({"cpus": 3}, ((3,), (3,))),
        ({"cpus": ["0-1", "2"]}, ((0, 1), (2,))),
        ({"cpus": [5, ""]}, ((5,), ())),
        ({"cpus": ["", ""]}, ()),
        ({"cpu": 2}, ((2,), (2,))),
        ({"cpu": 0}, ((0,), (0,))),
        ({"cpu": -1}, ()),
        ({"cpu": ""}, ()),
        ({"cpu": 2, "cpus": "0-3,^1"}, ((0, 2, 3), (0, 2, 3))),
        ({"cpu": 1, "cpus": "0-3,^1"}, ((0, 2, 3), (0, 2, 3))),
        ({"cpu": 7, "cpus": "0-1"}, ((0, 1, 7), (0, 1, 7))),
        ({"cpu": -1, "cpus": ["0", "1"]}, ((0,), (1,))),
    ],
)
def test_pins(values: dict[str, Value], pins: tuple[tuple[int, ...], ...]) -> None:
    assert guest(vcpus=2, **values).pins == pins


def test_pins_are_those_of_all_vcpus_that_there_can_be() -> None:
    assert guest(vcpus=1, maxvcpus=3, cpus="4").pins == ((4,), (4,), (4,))


def test_one_cpu_cannot_be_joined_to_a_list() -> None:
    assert refusal(vcpus=2, cpu=1, cpus=["0", "1"]) == "cpu = 1 cannot be joined to a list of cpus; leave out cpu"


@given(st.integers(1, 8), st.lists(st.integers(0, 60), min_size=1, max_size=6))
def test_one_text_and_the_same_for_each_vcpu_are_equal(vcpus: int, cpus: list[int]) -> None:
    text = ",".join(map(str, cpus))
    assert guest(vcpus=vcpus, cpus=text).pins == guest(vcpus=vcpus, cpus=[text] * vcpus).pins == (tuple(sorted({*cpus})),) * vcpus


@pytest.mark.parametrize(("value", "weight"), [(1, 1), (65535, 65535), ("512", 512), (256.0, 256), (0, None), ("", None)])
def test_weight(value: Value, weight: int | None) -> None:
    assert guest(cpu_weight=value).weight == weight


def test_a_guest_without_weight_and_cap() -> None:
    assert (guest().weight, guest().cap) == (None, 0)


@pytest.mark.parametrize("value", [-1, 65536])
def test_a_weight_out_of_range(value: int) -> None:
    assert refusal(cpu_weight=value) == "Cpu weight out of range, valid values are within range from 1 to 65535"


@pytest.mark.parametrize(("value", "cap"), [(0, 0), (50, 50), ("200", 200)])
def test_cap(value: Value, cap: int) -> None:
    assert guest(vcpus=2, cpu_cap=value).cap == cap


@pytest.mark.parametrize("value", [-1, 201])
def test_a_cap_out_of_range(value: int) -> None:
    assert refusal(vcpus=2, cpu_cap=value) == (
        "Cpu cap out of range, valid range is from 0 to 200 for specified number of vcpus"
    )


def test_xls_cap_is_none_of_xms() -> None:
    assert guest(cap=50).cap == 0


# -- devices of the host


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("03:00.0", (PciDevice(bus=3, slot=0, function=0),)),
        ("0001:a0:1f.7", (PciDevice(domain=1, bus=0xA0, slot=0x1F, function=7),)),
        ("03:00.0@6", (PciDevice(bus=3, slot=0, function=0, virtual_slot=6),)),
        (
            "3:0.0-2",
            (PciDevice(bus=3, slot=0, function=2), PciDevice(bus=3, slot=0, function=1), PciDevice(bus=3, slot=0)),
        ),
        ("3:0.0,3@1f", (PciDevice(bus=3, slot=0, function=3, virtual_slot=31), PciDevice(bus=3, slot=0, virtual_slot=31))),
        ("3:0.*", (PciDevice(bus=3, slot=0, function=None),)),
        (
            "3:0.0,msitranslate=1,power_mgmt=no",
            (PciDevice(bus=3, slot=0, options=(("msitranslate", "1"), ("power_mgmt", "0"))),),
        ),
    ],
)
def test_pci(text: str, devices: tuple[PciDevice, ...]) -> None:
    assert guest(pci=[text]).pci == devices


def test_a_pci_device_that_is_there_twice() -> None:
    assert refusal(pci=["03:00.0-1", "0000:3:0.1"]) == "the PCI device 0000:3:0.1 is there twice"


def test_usb_ports() -> None:
    found = guest(vusb=["usbver=1,numports=4,port_1=1-2.3,port_4=2-1", "port_2=3-1,port_3="])
    assert found.usb_controllers == (UsbController(version=1, ports=4), UsbController(version=2, ports=8))
    assert found.usb_devices == (
        UsbDevice(bus_id="1-2.3", controller=0, port=1), UsbDevice(bus_id="2-1", controller=0, port=4),
        UsbDevice(bus_id="3-1", controller=1, port=2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "devices"),
    [
        ("tablet", ()), ("", ()), ("host:1.2", (UsbDevice(bus=1, address=2),)),
        ("host:0951:1666", (UsbDevice(vendor=0x951, product=0x1666),)),
        (["tablet", "host:1.2"], (UsbDevice(bus=1, address=2),)),
    ],
)  # fmt: skip
def test_usb_devices_of_the_host(value: Value, devices: tuple[UsbDevice, ...]) -> None:
    assert guest(builder="hvm", usbdevice=value).usb_devices == devices
    assert guest(usbdevice=value).usb_devices == ()


def test_scsi_devices() -> None:
    assert guest(vscsi=["/dev/sdb, 0:0:0:0", "2:0:0:1,0:0:0:1,3"]).scsi_devices == (
        ScsiDevice(host="/dev/sdb", guest="0:0:0:0"), ScsiDevice(host="2:0:0:1", guest="0:0:0:1", backend="3"),
    )  # fmt: skip


def test_only_the_first_tpm_counts() -> None:
    assert guest(vtpm=["instance=1,backend=0,type=vtpm", "instance=2,backend=0"]).tpms == (
        Tpm(instance="1", backend="0", type="vtpm"),
    )  # fmt: skip
    assert guest(vtpm=[]).tpms == ()


def test_a_number_below_0_is_any_tpm() -> None:
    assert guest(vtpm=["instance=-1,backend=0"]).tpms == (Tpm(instance="0", backend="0"),)


# -- interfaces of the second kind


def test_an_interface_of_the_second_kind_is_an_ordinary_one_behind_the_others() -> None:
    found = guest(vif=["bridge=br0"], vif2=["front_mac=00:16:3e:00:00:01,bridge=br1,pdev=eth0", ""])
    assert found.vifs == (Vif(bridge="br0"), Vif(mac="00:16:3e:00:00:01", bridge="br1"), Vif())


def test_they_have_macs_of_their_own() -> None:
    assert refusal(vif=["mac=00:16:3e:00:00:0A"], vif2=["front_mac=00:16:3e:00:00:0a"]) == (
        'The mac "00:16:3e:00:00:0a" is already defined'
    )


# -- all of them, through a dry run


PARTS: dict[str, Value] = {
    "builder": "hvm", "kernel": "hvmloader", "vcpus": 2, "cpus": ["0-1", "2"], "cpu_weight": 300, "cpu_cap": 50,
    "pci": ["03:00.0-1@6,msitranslate=1", "0001:04:1f.0", "05:00.*"], "vusb": ["usbver=1,numports=4,port_1=1-2.3"],
    "usbdevice": "host:1.2", "vscsi": ["/dev/sdb,0:0:0:0,3"], "vtpm": ["instance=1,backend=0"], "vif": ["bridge=br0"],
    "vif2": ["front_mac=00:16:3e:00:00:01,bridge=br1,pdev=eth0"],
}  # fmt: skip


def test_what_a_dry_run_prints_has_the_same_parts() -> None:
    given = guest(**PARTS)
    again = build(values_of(dry_run(given), "./a"), path="./a", default_name="a", dialect=Dialect.SXP)
    names = (
        "pins", "weight", "cap", "pci", "usb_controllers", "usb_devices", "scsi_devices", "tpms", "vifs",
    )  # fmt: skip
    assert {name: getattr(again, name) for name in names} == {name: getattr(given, name) for name in names}
