"""Laws of translation: whatever a guest says, it becomes a machine that libvirt's schema takes, or it is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from tests.translate.guests import HVM, PV, REMOTE
from tests.translate.test_golden import SCHEMA
from xmcompat.backends.domain_xml import parse, render
from xmcompat.config.xl_build import build_xl
from xmcompat.errors import DeviceError, NotConvertible, XmError
from xmcompat.guest import (
    Channel,
    Dialect,
    GuestConfig,
    PciDevice,
    ScsiDevice,
    SharedFolder,
    Tpm,
    UsbController,
    UsbDevice,
    Vfb,
    Vif,
)
from xmcompat.translate.machine import missing_macs, translate

small = st.integers(0, 40) | st.none()
words = st.sampled_from(["", "a", "/srv/a", "vif-route", "vif-openvswitch", "192.0.2.1", "10.0.0.0/8", "br0.7:8", "ä b", "e1000"])
vifs = st.builds(
    Vif, mac=st.sampled_from(["", "00:16:3e:00:00:01"]), bridge=words, ip=words, script=words, type=words, model=words,
    vifname=words, mtu=small, devid=small, trusted=st.none() | st.booleans(), rate=st.sampled_from(["", "1Mb/s", "x"]),
)  # fmt: skip
vfbs = st.builds(
    Vfb, vnc=st.booleans(), sdl=st.booleans(), listen=words, display=small, unused=st.booleans(),
    password=st.none() | words, keymap=st.sampled_from(["", "de", "xx"]), videoram=small,
)  # fmt: skip
pci = st.builds(PciDevice, bus=st.integers(0, 255), slot=st.integers(0, 31), function=st.integers(0, 7), virtual_slot=small)
number = st.integers(1, 40)
usb_devices = (
    st.builds(UsbDevice, bus=number, address=number, controller=small, port=small)
    | st.builds(UsbDevice, vendor=number, product=number)
    | st.builds(UsbDevice, bus_id=words, controller=small)
)
texts = st.lists(st.text(alphabet="abhost:/=,.0123;k ", max_size=20), max_size=3)
OPTIONS = {
    "usbdevice": st.lists(st.sampled_from(["tablet", "mouse", "host:1.2", "host:0951:1666", "disk:/a", "disk:x", "bt"])),
    "usb": st.integers(0, 1), "usbversion": st.integers(0, 3), "soundhw": st.sampled_from(["all", "hda,x", "ac97", "pcspk"]),
    "fda": st.sampled_from(["/a", "/dev/fd0"]), "gfx_passthru": st.integers(0, 1), "hdtype": st.sampled_from(["ide", "ahci"]),
    "vga": st.sampled_from(["none", "stdvga", "cirrus", "qxl"]), "videoram": st.integers(0, 2000), "nographic": st.integers(0, 1),
    "spice": st.integers(0, 1), "spiceport": st.integers(0, 65535), "spicepasswd": words, "spicevdagent": st.integers(0, 1),
    "spiceusbredirection": st.integers(0, 9), "spicedisable_ticketing": st.just(1), "vdispl": texts, "vkb": texts,
    "vsnd": texts, "vnc": st.integers(0, 1), "stdvga": st.integers(0, 1),
}  # fmt: skip
guests = st.builds(
    replace,
    st.sampled_from([PV, HVM]),
    dialect=st.sampled_from(Dialect),
    vifs=st.lists(vifs, max_size=3).map(tuple),
    vfbs=st.lists(vfbs, max_size=2).map(tuple),
    pci=st.lists(pci, max_size=3).map(tuple),
    usb_controllers=st.lists(
        st.builds(UsbController, version=st.integers(1, 3), ports=st.integers(1, 31), type=st.sampled_from(["", "auto"])),
        max_size=3,
    ).map(tuple),
    usb_devices=st.lists(usb_devices, max_size=3).map(tuple),
    scsi_devices=st.lists(st.builds(ScsiDevice, host=st.just("2:0:0:1"), guest=st.sampled_from(["0:0:0:1", "7:1:2:3"])),
                          max_size=2).map(tuple),
    channels=st.lists(st.builds(Channel, name=words, connection=st.sampled_from(["pty", "socket"]), path=words),
                      max_size=2).map(tuple),
    folders=st.lists(st.builds(SharedFolder, tag=words, path=words), max_size=2).map(tuple),
    tpms=st.lists(st.builds(Tpm), max_size=2).map(tuple),
    serials=st.lists(st.sampled_from(["pty", "tcp:ä:1", "udp::9@:10", "unix:/run/a,server", "file:/a", "telnet:[::1]:7"]),
                     max_size=5).map(tuple),
    options=st.fixed_dictionaries({}, optional=OPTIONS),
)  # fmt: skip


@pytest.fixture(scope="module")
def schema() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(SCHEMA))


def becomes_a_machine_or_is_refused(guest: GuestConfig, schema: etree.RelaxNG) -> None:
    macs = [f"00:16:3e:00:01:{number:02x}" for number in range(missing_macs(guest))]
    try:
        found = translate(guest, REMOTE, macs=macs)
    except (NotConvertible, DeviceError) as error:
        assert "\n" not in error.line()
        return
    schema.assertValid(etree.fromstring(render(found.machine)))
    assert parse(render(found.machine)) == found.machine
    assert translate(guest, REMOTE, macs=macs) == found
    assert not [note for note in found.notes if not note.reason or "\n" in note.text()]


@given(guests)
def test_every_guest_becomes_a_machine_or_is_refused(schema: etree.RelaxNG, guest: GuestConfig) -> None:
    becomes_a_machine_or_is_refused(guest, schema)


device_lists = {
    key: st.lists(st.text(alphabet="abhost:/=,.0123;k -@*", max_size=30) | st.sampled_from(some), max_size=3)
    for key, some in {
        "vif": ["bridge=br0:1:2,script=vif-openvswitch", "type=vif", "mtu=9000,devid=3", "rate=1Mb/s@20ms"],
        "disk": ["/srv/a.img,,xvda", "nbd:h 7,xvdb,w", "target=x,script=block-iscsi,vdev=hdb,rw", ",,hdc,cdrom"],
        "pci": ["03:00.0@6", "00:1d.7,permissive=1", "01:00.*"],
        "usbdev": ["hostbus=1,hostaddr=2,controller=1", "hostbus=3,hostaddr=4"],
        "usbctrl": ["version=3,ports=31", "type=pv"],
        "channel": ["name=a,connection=pty", "name=b,connection=socket,path=/run/b"],
        "p9": ["tag=a,path=/srv,security_model=none"],
        "vtpm": ["backend=0"],
        "vfb": ["vnc=1,vnclisten=[::1]:3", "sdl=1,videoram=900"],
    }.items()
}


@given(st.sampled_from(["pv", "pvh", "hvm"]), st.fixed_dictionaries({}, optional={**OPTIONS, **device_lists}))
def test_every_text_of_xl_becomes_a_machine_or_is_refused(
    schema: etree.RelaxNG, kind: str, values: dict[str, object]
) -> None:
    kernel = {} if kind == "hvm" else {"kernel": "/k"}
    try:
        guest, _ = build_xl({"name": "a", "type": kind, **kernel, **values}, path="a.cfg", lines={})  # type: ignore[dict-item]
    except XmError:
        return
    becomes_a_machine_or_is_refused(guest, schema)
