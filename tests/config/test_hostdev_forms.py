"""Devices of the host in a form: what is added can be taken away again, and nothing else changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xmcompat.config import hostdev_forms as forms
from xmcompat.config.hostdev_forms import ScsiDevice
from xmcompat.config.specs_more import pci_trees, vusb_tree
from xmcompat.config.sxp import parse, write

UUID = "83caefad-e5d4-82f0-82f4-757e2375c399"
FORM: list[object] = ["vm", ["name", "web1"], ["image", ["hvm", ["usb", "1"]]], ["device", ["vbd", ["dev", "xvda"]]]]

ADDRESSES = st.builds(
    "{:04x}:{:02x}:{:02x}.{:x}".format, st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.integers(0, 0x1F), st.integers(0, 7)
)
PLACES = st.builds("{}:{}:{}:{}".format, *[st.integers(0, 99)] * 4)


def read_back(form: list[object]) -> list[object]:
    (back,) = parse(write(form))
    assert isinstance(back, list)
    return back


@given(st.lists(ADDRESSES, min_size=1, max_size=4, unique=True), st.one_of(st.none(), st.integers(3, 0x1F)))
def test_pci_functions_come_and_go(addresses: list[str], slot: int | None) -> None:
    form = FORM
    for address in addresses:
        (tree,) = pci_trees(address if slot is None else f"{address}@{slot:02x}")
        form = forms.with_pci(form, [tree])
    there = forms.pci_functions(read_back(form))
    assert ["{:04x}:{:02x}:{:02x}.{:x}".format(*one.place) for one in there] == addresses
    assert {one.slot for one in there} == {slot}
    assert sum(child[0] == "device" for child in form[1:] if isinstance(child, list)) == 2, "all are in one device"
    assert forms.without_pci(form, [one.place for one in there]) == FORM
    left = forms.pci_functions(forms.without_pci(form, [there[0].place]))
    assert left == there[1:]


@given(st.lists(PLACES, min_size=1, max_size=4, unique=True))
def test_scsi_devices_come_and_go(places: list[str]) -> None:
    form = FORM
    for number, place in enumerate(places):
        form = forms.with_scsi(form, ScsiDevice(int(place.split(":")[0]), f"1:0:0:{number}", "", place))
    assert {one.guest for one in forms.scsi_devices(read_back(form))} == set(places)
    for place in places:
        form = forms.without_scsi(form, place, UUID)
    assert form == FORM


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(1, 16)), min_size=1, max_size=4), st.data())
def test_usb_controllers_keep_their_numbers_when_others_go(kinds: list[tuple[int, int]], data: st.DataObject) -> None:
    form = FORM
    for number, (version, ports) in enumerate(kinds):
        form, made = forms.with_usb_controller(form, version, ports)
        assert (made.number, len(made.ports)) == (number, ports)
    gone = data.draw(st.integers(0, len(kinds) - 1))
    form = read_back(forms.without_usb_controller(form, forms.usb_controllers(form)[gone], UUID))
    left = forms.usb_controllers(form)
    assert [one.number for one in left] == [number for number in range(len(kinds)) if number != gone]
    _, again = forms.with_usb_controller(form, 2, 1)
    assert again.number == gone


@given(st.integers(1, 16), st.data())
def test_ports_are_filled_and_freed(count: int, data: st.DataObject) -> None:
    form, controller = forms.with_usb_controller(FORM, 2, count)
    port = data.draw(st.integers(1, count))
    held = forms.with_port(form, controller, port, "1-2.3")
    (read,) = forms.usb_controllers(read_back(held))
    assert read.ports == tuple("1-2.3" if number == port else "" for number in range(1, count + 1))
    assert forms.with_port(held, read, port, "") == form


def test_both_ways_to_write_ports_are_read() -> None:
    of_the_configuration: list[object] = ["vm", ["device", vusb_tree("usbver=1,numports=2,port_2=1-2")]]
    of_xend = parse("(vm (device (vusb (usb-ver 1) (num-ports 2) (port (1 '') (2 1-2)))))")[0]
    assert isinstance(of_xend, list)
    assert forms.usb_controllers(of_the_configuration) == forms.usb_controllers(of_xend)
    (one,) = forms.usb_controllers(of_xend)
    assert (one.version, one.ports) == (1, ("", "1-2"))
    assert forms.with_port(of_xend, one, 2, "")[1] == ["device", ["vusb", ["usb-ver", "1"], ["num-ports", "2"]]]


def test_what_a_record_says_amiss_is_passed_over() -> None:
    spoilt = parse("(vm (device (pci (dev (bus zz)))) (device (vscsi (dev (v-dev 1:2)))) (device (vusb (num-ports x))))")[0]
    assert isinstance(spoilt, list)
    assert forms.pci_functions(spoilt) == []
    assert forms.scsi_devices(spoilt) == []
    assert [len(one.ports) for one in forms.usb_controllers(spoilt)] == [8]
