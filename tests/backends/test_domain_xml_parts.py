"""Processors and devices in libvirt XML: what is written for them, and what is read of those that others wrote."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lxml import etree

from tests.backends.machines import HVM, SMALL
from xmcompat.backends.domain_xml import parse, render
from xmcompat.backends.machine import (
    CpuTune,
    Filesystem,
    Graphics,
    GuestChannel,
    Machine,
    Nic,
    NumaCell,
    PciHostdev,
    ScsiHostdev,
    UsbBus,
    UsbHostdev,
)


def written(machine: Machine, path: str) -> list[str]:
    """The elements at PATH, each in one line."""
    parser = etree.XMLParser(remove_blank_text=True)
    return [etree.tostring(one, encoding="unicode") for one in etree.fromstring(render(machine), parser).iterfind(path)]


def read(content: str, *, devices: str = "") -> Machine:
    return parse(f"<domain type='kvm'><vcpu>3</vcpu>{content}<devices>{devices}</devices></domain>")


# -- processors


def test_pins_shares_and_quota() -> None:
    tune = CpuTune(pins=((0, 2, 3), (2,), ()), shares=2048, quota=150000)
    assert written(replace(SMALL, vcpus=3, tune=tune), "cputune") == [
        "<cputune><shares>2048</shares><global_period>100000</global_period><global_quota>150000</global_quota>"
        '<vcpupin vcpu="0" cpuset="0,2-3"/><vcpupin vcpu="1" cpuset="2"/></cputune>'
    ]


def test_every_vcpu_but_the_first_can_go_where_there_is_acpi() -> None:
    assert written(replace(SMALL, vcpus=3, vcpus_online=2), "vcpus") == [
        '<vcpus><vcpu id="0" enabled="yes" hotpluggable="no"/><vcpu id="1" enabled="yes" hotpluggable="yes"/>'
        '<vcpu id="2" enabled="no" hotpluggable="yes"/></vcpus>'
    ]
    assert written(replace(SMALL, vcpus=2), "vcpus/vcpu[@enabled='no']") == []
    assert written(replace(SMALL, vcpus=1), "vcpus") == written(replace(SMALL, vcpus=3, acpi=False), "vcpus") == []


def test_nothing_is_written_where_nothing_is_tuned() -> None:
    machine = replace(SMALL, acpi=False, apic=False)
    for path in ("cputune", "numatune", "cpu", "features", "memoryBacking", "pm", "genid", "os/acpi"):
        assert written(machine, path) == []


def test_numa_cells_and_their_nodes() -> None:
    cells = (
        NumaCell(vcpus=(0, 1), memory=1024, distances=(10, 21), host_node=1),
        NumaCell(vcpus=(), memory=512, distances=(21, 10)),
    )
    machine = replace(SMALL, numa=cells)
    assert written(machine, "cpu") == [
        '<cpu><numa><cell id="0" cpus="0-1" memory="1024" unit="KiB"><distances><sibling id="0" value="10"/>'
        '<sibling id="1" value="21"/></distances></cell><cell id="1" memory="512" unit="KiB"><distances>'
        '<sibling id="0" value="21"/><sibling id="1" value="10"/></distances></cell></numa></cpu>'
    ]
    assert written(machine, "numatune") == ['<numatune><memnode cellid="0" mode="strict" nodeset="1"/></numatune>']


def test_spinlocks_get_their_number_of_tries() -> None:
    assert written(replace(SMALL, hyperv=("relaxed", "spinlocks")), "features/hyperv") == [
        '<hyperv mode="custom"><relaxed state="on"/><spinlocks state="on" retries="8191"/></hyperv>'
    ]


@pytest.mark.parametrize(
    ("content", "tune"),
    [
        ("<vcpupin vcpu='1' cpuset='0-3,^1'/>", CpuTune(pins=((), (0, 2, 3), ()))),
        ("<vcpupin vcpu='3' cpuset='0'/>", CpuTune()),
        ("<vcpupin vcpu='x' cpuset='0'/>", CpuTune()),
        ("<vcpupin vcpu='0' cpuset='all'/>", CpuTune()),
        ("<global_period>50000</global_period><global_quota>25000</global_quota>", CpuTune(quota=50000)),
        ("<global_quota>30000</global_quota>", CpuTune(quota=30000)),
        ("<global_quota>-1</global_quota>", CpuTune()),
        ("<global_quota>17592186044415</global_quota>", CpuTune()),
        ("<period>50000</period><quota>25000</quota>", CpuTune()),
    ],
)
def test_tuning_of_another_maker(content: str, tune: CpuTune) -> None:
    assert read(f"<cputune>{content}</cputune>").tune == tune


def test_the_pins_of_more_cpus_than_any_host_has_are_not_spelt_out() -> None:
    xml = "<domain><vcpu>999999999</vcpu><cputune><vcpupin vcpu='0' cpuset='1'/></cputune></domain>"
    assert parse(xml).tune.pins[:2] == ((1,), ())


def test_numa_of_another_maker() -> None:
    machine = read(
        "<cpu><numa><cell cpus='2' memory='1' unit='MiB'><distances><sibling id='1' value='31'/></distances></cell>"
        "<cell cpus='0-1' memory='2'/></numa></cpu><numatune><memory mode='preferred' nodeset='0'/>"
        "<memnode cellid='0' mode='strict' nodeset='0-1'/><memnode cellid='1' mode='preferred' nodeset='1'/></numatune>"
    )
    assert machine.numa == (
        NumaCell(vcpus=(2,), memory=1024, distances=(10, 31)), NumaCell(vcpus=(0, 1), memory=2),
    )  # fmt: skip


def test_a_vendor_named_to_windows_and_what_is_off_are_passed_over() -> None:
    content = "<vapic state='on'/><synic state='off'/><stimer state='on'><direct state='on'/></stimer>"
    content += "<vendor_id state='on' value='Someone'/>"
    assert read(f"<features><hyperv>{content}</hyperv></features>").hyperv == ("vapic", "stimer")
    assert read("<features><hyperv mode='passthrough'/></features>").hyperv == ()


# -- devices


def test_a_guest_without_usb_says_so() -> None:
    """libvirt adds a controller otherwise."""
    assert written(SMALL, "devices/controller") == ['<controller type="usb" model="none"/>']


def test_usb_2_has_controllers_for_slow_devices_beside_it() -> None:
    machine = replace(SMALL, usb=(UsbBus(model="qemu-xhci", ports=8), UsbBus(model="ich9-ehci1")))
    assert written(machine, "devices/controller") == [
        '<controller type="usb" index="0" model="qemu-xhci" ports="8"/>',
        '<controller type="usb" index="1" model="ich9-ehci1"/>',
        *(f'<controller type="usb" index="1" model="ich9-uhci{number}"><master startport="{port}"/></controller>'
          for number, port in ((1, 0), (2, 2), (3, 4))),
    ]  # fmt: skip


def test_controllers_are_read_by_their_number() -> None:
    machine = read("", devices="<controller type='usb' index='1' model='nec-xhci'/><controller type='usb' index='0'/>"
                   "<controller type='scsi' index='1' model='lsilogic'/><controller type='scsi' index='0' model='auto'/>")  # fmt: skip
    assert machine.usb == (UsbBus(model="piix3-uhci"), UsbBus(model="nec-xhci"))
    assert machine.scsi == ("auto", "lsilogic")


def test_an_empty_password_keeps_everybody_out_and_none_lets_everybody_in() -> None:
    for password in ("", None):
        machine = replace(SMALL, graphics=(Graphics(password=password),))
        assert parse(render(machine)) == machine
        assert ("passwd" in render(machine)) is (password is not None)


@pytest.mark.parametrize(
    ("graphics", "attributes"),
    [
        (Graphics(), {"type": "vnc", "autoport": "yes"}),
        (Graphics(port=5903), {"type": "vnc", "port": "5903", "autoport": "no"}),
        (Graphics(type="spice", tls_port=6001), {"type": "spice", "tlsPort": "6001", "autoport": "no"}),
    ],
)
def test_the_ports_of_a_display(graphics: Graphics, attributes: dict[str, str]) -> None:
    element = etree.fromstring(render(replace(SMALL, graphics=(graphics,)))).find("devices/graphics")
    assert element is not None
    assert dict(element.attrib) == attributes


def test_devices_of_the_host() -> None:
    pci, usb, scsi = HVM.hostdevs[1], HVM.hostdevs[3], HVM.hostdevs[5]
    assert written(replace(SMALL, hostdevs=(pci, usb, scsi)), "devices/hostdev") == [
        '<hostdev mode="subsystem" type="pci" managed="yes"><source><address domain="0x0000" bus="0x03" slot="0x00" '
        'function="0x1"/></source><address type="pci" domain="0x0000" bus="0x00" slot="0x06" function="0x1"/></hostdev>',
        '<hostdev mode="subsystem" type="usb" managed="no"><source><vendor id="0x0951"/><product id="0x1666"/></source>'
        '<address type="usb" bus="0"/></hostdev>',
        '<hostdev mode="subsystem" type="scsi" managed="no" rawio="yes"><source><adapter name="scsi_host2"/>'
        '<address bus="1" target="3" unit="4"/></source>'
        '<address type="drive" controller="1" bus="0" target="5" unit="6"/></hostdev>',
    ]


HOSTDEVS = """
<hostdev mode='subsystem' type='pci'><source><address domain='0x0000' bus='0x5' slot='0x0' function='0x0'/></source>
  <address type='pci' domain='0x0000' bus='0x04' slot='0x01' function='0x0'/></hostdev>
<hostdev mode='subsystem' type='pci'><source><address bus='10' slot='1' function='0'/></source></hostdev>
<hostdev mode='subsystem' type='mdev' model='vfio-pci'><source><address uuid='x'/></source></hostdev>
<hostdev mode='subsystem' type='scsi'><source protocol='iscsi' name='iqn/1'><host name='a'/></source></hostdev>
<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/><address bus='0' target='0' unit='0'/></source>
  <address type='drive' controller='0' bus='0' target='0' unit='3'/></hostdev>
<hostdev mode='subsystem' type='usb'><source><vendor id='0x0951'/><product id='0x1666'/></source></hostdev>
<hostdev mode='capabilities' type='misc'><source><char>/dev/null</char></source></hostdev>"""


def test_devices_of_the_host_that_others_have_given() -> None:
    """A slot behind a bridge is libvirt's own choice; what has no word is passed over."""
    assert read("", devices=HOSTDEVS).hostdevs == (
        PciHostdev(bus=5, slot=0), PciHostdev(bus=10, slot=1), ScsiHostdev(host=0, target=0, unit=0, guest_unit=3),
        UsbHostdev(vendor=0x951, product=0x1666),
    )  # fmt: skip


OTHERS = """
<filesystem type='mount'><source dir='/a'/><target dir='a'/></filesystem>
<filesystem type='mount'><driver type='virtiofs'/><source dir='/b'/><target dir='b'/></filesystem>
<filesystem type='ram'><source usage='10'/><target dir='c'/></filesystem>
<channel type='pty'><source path='/dev/pts/3'/><target type='virtio' name='a'/></channel>
<channel type='unix'><source mode='bind' path='/a.sock'/><target type='virtio' name='b'/></channel>
<channel type='tcp'><source mode='bind' host='a' service='1'/><target type='virtio' name='c'/></channel>
<channel type='pty'><target type='guestfwd' address='10.0.2.1' port='4600'/></channel>
<redirdev bus='usb' type='tcp'><source mode='connect' host='a' service='1'/></redirdev>
<redirdev bus='usb' type='spicevmc'/>
<watchdog model='itco' action='reset'/><watchdog model='i6300esb'/>
<tpm model='tpm-crb'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>
<panic model='pvpanic'/><panic/>
<sound model='ich9'><codec type='micro'/></sound>"""


def test_devices_of_another_maker_are_read_as_far_as_there_are_words_for_them() -> None:
    machine = read("", devices=OTHERS)
    assert machine.folders == (Filesystem(tag="a", path="/a", accessmode="passthrough"),)
    assert machine.channels == (GuestChannel(name="a"), GuestChannel(name="b", type="unix", path="/a.sock"))
    assert (machine.redirections, machine.watchdog, machine.tpm) == (1, "reset", "")
    assert (machine.panics, machine.sounds) == (("pvpanic", "isa"), ("ich9",))


@pytest.mark.parametrize(
    ("tags", "vlan", "trunk"),
    [
        ("<vlan><tag id='5'/></vlan>", 5, ()),
        ("<vlan><tag id='5'/><tag id='6'/></vlan>", None, (5, 6)),
        ("<vlan trunk='yes'><tag id='5' nativeMode='tagged'/><tag id='6'/></vlan>", 5, (6,)),
        ("<vlan trunk='yes'><tag id='5'/></vlan>", None, (5,)),
        ("<vlan/>", None, ()),
    ],
)
def test_vlans(tags: str, vlan: int | None, trunk: tuple[int, ...]) -> None:
    machine = read("", devices=f"<interface type='bridge'><source bridge='a'/>{tags}</interface>")
    assert machine.nics == (Nic(mac="", bridge="a", model="", vlan=vlan, trunk=trunk),)
