"""The texts of xl's list options other than disk."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.config import xl_specs
from xmcompat.config.xl_specs import host_usb, parse_cpus, parse_pci, parse_vnuma
from xmcompat.errors import ConfigError, NotConvertible
from xmcompat.guest import (
    Channel,
    NumaNode,
    PciDevice,
    SharedFolder,
    Tpm,
    UsbController,
    UsbDevice,
    Vfb,
    Vif,
)


def vif(text: str) -> tuple[Vif, list[str]]:
    warnings: list[str] = []
    return xl_specs.parse_vif(text, warnings), warnings


def vfb(text: str) -> tuple[Vfb, list[str]]:
    warnings: list[str] = []
    return xl_specs.vfb_from(xl_specs.vfb_values(text, warnings), warnings), warnings


def test_an_interface_joins_xenbr0_unless_it_is_told_otherwise() -> None:
    assert vif("") == (Vif(bridge="xenbr0"), [])
    assert vif("mac=00:16:3E:AA:BB:CC, bridge=xenbr1,") == (Vif(mac="00:16:3E:AA:BB:CC", bridge="xenbr1"), [])
    assert xl_specs.parse_vif("", [], default_bridge="br0") == Vif(bridge="br0")
    assert vif("script=vif-route,ip=10.0.0.2 10.0.0.3,gatewaydev=eth0")[0] == Vif(
        script="vif-route", ip="10.0.0.2 10.0.0.3", gatewaydev="eth0"
    )


def test_every_key_of_an_interface() -> None:
    text = (
        "mac=00:16:3e:00:00:01,bridge=b,ip=1.2.3.4,script=s,type=ioemu,model=e1000,vifname=n,rate=10Mb/s@20ms,"
        "backend=0,mtu=9000,netdev=eth1,devid=3,trusted"
    )
    assert vif(text) == (
        Vif(
            mac="00:16:3e:00:00:01", bridge="b", ip="1.2.3.4", script="s", type="ioemu", model="e1000", vifname="n",
            rate="10Mb/s@20ms", backend="0", mtu=9000, gatewaydev="eth1", devid=3, trusted=True,
        ),
        [],
    )  # fmt: skip


def test_blanks_after_a_value_belong_to_it() -> None:
    assert vif("  bridge=br0 ,  model=e1000")[0] == Vif(bridge="br0 ", model="e1000")


def test_what_xl_passes_over_is_warned_of() -> None:
    assert vif("foo=1,bar,type=netfront,accel=sfc2") == (
        Vif(bridge="xenbr0", accel="sfc2"),
        ["unrecognized argument `foo=1'", "unrecognized argument `bar'",
         "type=netfront is passed over; write type=vif for an interface of Xen's kind alone",
         "the accel parameter for vifs is currently not supported"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "trusted"), [("trusted", True), ("untrusted", False), ("trusted=0", False), ("untrusted=0", True), ("", None)]
)
def test_trust(text: str, trusted: bool | None) -> None:
    assert vif(text)[0].trusted is trusted


def test_rates() -> None:
    assert [vif(f"rate={text}")[0].rate for text in ("10Mb/s", "1MB/s@20ms", "5B/s@2", "5B/s@7us", "1Gb/s@1s")] == [
        "10Mb/s", "1MB/s@20ms", "5B/s@2s", "5B/s@7us", "1Gb/s@1s",
    ]  # fmt: skip
    for text in ("fast", "10", "10Mb", "", "10Mb/s@", "10Tb/s"):
        with pytest.raises(ConfigError, match="^invalid rate"):
            vif(f"rate={text}")


@pytest.mark.parametrize("text", ["forwarddev=eth1", "colo_ft_forwarddev=eth1"])
def test_an_interface_that_a_second_host_follows_is_refused(text: str) -> None:
    with pytest.raises(NotConvertible):
        vif(text)


def test_a_frame_buffer_is_vnc_on_the_host_alone() -> None:
    assert vfb("") == (Vfb(vnc=True, listen="127.0.0.1", password=""), [])
    assert vfb("type=vnc,vncunused=0,vncdisplay=5,vncpasswd=s,keymap=de")[0] == Vfb(
        vnc=True, listen="127.0.0.1", unused=False, display=5, password="s", keymap="de"
    )
    assert vfb("vnc=0,sdl=1,opengl=1,display=:1,xauthority=/x")[0] == Vfb(
        sdl=True, listen="127.0.0.1", password="", opengl=True, x_display=":1", xauthority="/x"
    )


def test_an_address_may_hold_the_display() -> None:
    assert vfb("vnclisten=0.0.0.0:7")[0] == Vfb(vnc=True, listen="0.0.0.0", display=7, password="")
    assert vfb("vnclisten=[::1]:2")[0] == Vfb(vnc=True, listen="[::1]", display=2, password="")
    assert vfb("vnclisten=::1")[0] == Vfb(vnc=True, listen="::1", password="")
    with pytest.raises(ConfigError, match="vncdisplay set, vnclisten=0.0.0.0:7 contains display"):
        vfb("vnclisten=0.0.0.0:7,vncdisplay=1")


def test_a_piece_without_a_value_ends_a_frame_buffer() -> None:
    assert vfb("vncunused=0,oops,vncdisplay=5,") == (
        Vfb(vnc=True, listen="127.0.0.1", password="", unused=False), ["'oops' has no value; nothing after it counts"],
    )  # fmt: skip
    assert vfb("foo=1,vncdisplay=x") == (
        Vfb(vnc=True, listen="127.0.0.1", password=""),
        ["foo is no part of a frame buffer; xl passes it over", "vncdisplay=x is not a valid number"],
    )  # fmt: skip


def test_pci() -> None:
    assert parse_pci("00:1d.0@6,msitranslate=1") == PciDevice(
        bus=0, slot=0x1D, function=0, virtual_slot=6, options=(("msitranslate", "1"),)
    )
    assert parse_pci("0001:0a:1f.7") == PciDevice(domain=1, bus=10, slot=31, function=7)
    assert parse_pci("03:00.*").function is None
    assert parse_pci("bdf=03:00.0,vslot=1f,permissive=1,seize=1,power_mgmt=0,rdm_policy=strict") == PciDevice(
        bus=3, slot=0, virtual_slot=31,
        options=(("permissive", "1"), ("seize", "1"), ("power_mgmt", "0"), ("rdm_policy", "strict")),
    )  # fmt: skip
    with pytest.raises(NotConvertible, match="names of devices are known to Xen's host alone"):
        parse_pci("name=gpu")


@pytest.mark.parametrize(
    "text", ["", "x", "00:1d", "00:1d.8", "00:20.0", "00:1d.0@20", "00:1d.0,foo=1", "00:1d.0,permissive", "00:1d.0,seize=x"]
)
def test_pci_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_pci(text)
    assert caught.value.message == f"unable to parse PCI BDF `{text}' for passthrough"


def test_usb() -> None:
    assert xl_specs.parse_usbctrl("") == UsbController(version=2, ports=8, type="auto")
    assert xl_specs.parse_usbctrl("type=devicemodel, version=3, ports=15") == UsbController(
        version=3, ports=15, type="devicemodel"
    )
    assert xl_specs.parse_usbdev("type=hostdev,hostbus=1,hostaddr=0x2,controller=0,port=3") == UsbDevice(
        bus=1, address=2, controller=0, port=3
    )
    assert xl_specs.parse_usbdev("hostbus=1,hostaddr=2") == UsbDevice(bus=1, address=2)
    assert host_usb("host:1.2") == UsbDevice(bus=1, address=2)
    assert host_usb("host:0951:1666") == UsbDevice(vendor=0x0951, product=0x1666)
    assert host_usb("tablet") is None


def test_channels_folders_and_tpms() -> None:
    assert xl_specs.parse_channel("name=org.qemu.guest_agent.0,connection=socket,path=/run/x") == Channel(
        name="org.qemu.guest_agent.0", connection="socket", path="/run/x"
    )
    assert xl_specs.parse_channel("name=a, connection=pty") == Channel(name="a")
    assert xl_specs.parse_p9("tag=share,path=/srv,security_model=none") == SharedFolder(tag="share", path="/srv")
    assert xl_specs.parse_vtpm("backend=tpm,uuid=aa") == Tpm(backend="tpm", uuid="aa")


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (xl_specs.parse_vtpm, "uuid=1", "vtpm spec missing required backend field!"),
        (xl_specs.parse_vtpm, "instance=1,backend=0", "Unknown string `instance=1' in vtpm spec"),
        (xl_specs.parse_p9, "tag=a,path=/b", "p9 spec missing required field!"),
        (xl_specs.parse_channel, "connection=pty", "channel: a name must be given"),
        (xl_specs.parse_channel, "name=a", "channel: connection= is neither pty nor socket"),
        (xl_specs.parse_channel, "name=a,connection=socket", "channel: connection socket needs a path"),
        (xl_specs.parse_channel, "name=a,connection=pty,path=/x", "channel: connection pty has no path"),
        (xl_specs.parse_usbctrl, "version=4", "usbctrl: version=4 is no number from 1 to 3"),
        (xl_specs.parse_usbctrl, "ports=32", "usbctrl: ports=32 is no number from 1 to 31"),
        (xl_specs.parse_usbctrl, "type=own", "usbctrl: type=own is none of auto, pv, qusb, devicemodel"),
        (xl_specs.parse_usbctrl, "foo", "Unknown string `foo' in usbctrl spec"),
        (xl_specs.parse_usbdev, "hostbus=1", "usbdev: hostbus and hostaddr must be given"),
        (xl_specs.parse_usbdev, "type=other,hostbus=1", "usbdev: type=other is not hostdev"),
    ],
)
def test_what_ends_xl(read: Callable[[str], object], text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.message == message


def test_numa() -> None:
    nodes = [["pnode=0", "size=512", "vcpus=0-1", "vdistances=10,20"], ["pnode=1", "size=256", "vcpus=2", "vdistances=20,10"]]
    assert parse_vnuma(nodes, vcpus=3, memory=768) == (
        NumaNode(host_node=0, size=512, vcpus=(0, 1), distances=(10, 20)),
        NumaNode(host_node=1, size=256, vcpus=(2,), distances=(20, 10)),
    )
    assert parse_vnuma([], vcpus=3, memory=768) == ()


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([["size=1", "vcpus=0"]], "vnuma: the nodes have 1 MiB together, the guest 64"),
        ([["size=64", "vcpus=0"]], "vnuma: each of the 2 vcpus must be in one node"),
        ([["size=64", "vcpus=0-1", "vdistances=10,20"]], "vnuma: vdistances must have 1 numbers"),
        (["size=64"], "vnuma[0] should be a list"),
        ([["foo=64"]], "vnuma[0]: 'foo=64' is none of pnode=, size=, vcpus=, vdistances="),
        ([["size=x"]], "vnuma[0]: size=x is no number from 0 to 4294967296"),
    ],
)
def test_numa_that_does_not_add_up(nodes: list, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_vnuma(nodes, vcpus=2, memory=64)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0-3,^1", (0, 2, 3)), ("0-3,5,^1-2", (0, 3, 5)), ("^1,0-2", (0, 1, 2)), ("2", (2,)), (" 1 , 0 ", (0, 1)),
        ("all", None), ("node:0", None), ("nodes:0-1,^2", None), ("0-3,^node:1", None), ("all,^3", None),
    ],
)  # fmt: skip
def test_cpus(text: str, cpus: tuple[int, ...] | None) -> None:
    assert parse_cpus(text) == cpus


@pytest.mark.parametrize("text", ["", "0-", "3-1", "^all", "x", "0,,1", "0,^0", "4096", "0-99999999", "node:"])
def test_cpus_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="^cpus = "):
        parse_cpus(text)


@given(st.sets(st.integers(0, 200), min_size=1), st.randoms())
def test_the_order_of_cpus_does_not_matter(cpus: set[int], random: object) -> None:
    pieces = [str(cpu) for cpu in cpus]
    random.shuffle(pieces)  # type: ignore[attr-defined]
    assert parse_cpus(",".join(pieces)) == tuple(sorted(cpus))


READERS = [
    vif, vfb, parse_pci, parse_cpus, host_usb, xl_specs.parse_usbctrl, xl_specs.parse_usbdev, xl_specs.parse_channel,
    xl_specs.parse_p9, xl_specs.parse_vtpm,
]  # fmt: skip


@given(st.sampled_from(READERS), st.text(max_size=40) | st.text("=,:-^0123456789abfhostnpy. ", max_size=40))
def test_any_text_is_read_or_refused(read: Callable[[str], object], text: str) -> None:
    with suppress(ConfigError):
        read(text)
