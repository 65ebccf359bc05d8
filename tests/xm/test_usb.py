"""usb-hc-create, usb-hc-destroy, usb-attach, usb-detach, usb-list, usb-add, usb-del, over a made-up host."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes_host import HVM, OTHER, PV, UUID, Host, KeepingHypervisor, form, installed, known
from tests.xm.conftest import Xm
from xmcompat.backends import host_devices
from xmcompat.backends.devices import UsbBus, UsbHostdev
from xmcompat.backends.domain_xml import parse
from xmcompat.errors import HypervisorError
from xmcompat.xm.help import usage_text

STICK, MOUSE = UsbHostdev(vendor=0x781, product=0x5567), UsbHostdev(vendor=0x46D, product=0xC077)
UHCI, EHCI = UsbBus(model="piix3-uhci"), UsbBus(model="ich9-ehci1")
PORTS = "(vm (name web1) (image (linux)) (device (vusb (usb-ver 2) (num-ports 3) (port-1 '') (port-2 1-9))))"
LATER = "Warning: KVM adds no USB controller to a guest that runs: "


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> KeepingHypervisor:
    return installed(monkeypatch)


@pytest.fixture
def sys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(host_devices, "SYSFS", tmp_path)
    made = Host(tmp_path)
    made.usb("usb1", 1, "1d6b:0002", hub=True)
    made.usb("1-1", 2, "05e3:0608", "Hub", hub=True)
    made.usb("1-1.4", 4, "046d:c077", "Mouse")
    made.usb("1-2", 3)
    return made


def devices(xml: str) -> list[UsbHostdev]:
    return [device for device in parse(xml).hostdevs if isinstance(device, UsbHostdev)]


def ports(xm: Xm, name: str = "web1") -> list[str]:
    return [line for line in xm("usb-list", name).out.splitlines() if line.startswith("port")]


# -- controllers


def test_a_domain_that_is_off_gets_controllers_of_its_own(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, domid=None, sxp=PV)
    assert xm("usb-hc-create", "web1", "2", "3") == (0, "", "")
    assert xm("usb-hc-create", "web1", "1", "2") == (0, "", "")
    assert parse(host.xml[UUID]).usb == (EHCI, UHCI)
    assert form(host).endswith(
        "(device (vusb (devid 0) (usb-ver 2) (num-ports 3))) (device (vusb (devid 1) (usb-ver 1) (num-ports 2))))"
    )
    assert xm("usb-attach", "web1", "1", "2", "1-1.4") == (0, "", "")
    assert parse(host.xml[UUID]).hostdevs == (UsbHostdev(vendor=0x46D, product=0xC077, guest_bus=1),)
    header = "Idx BE  state usb-ver  BE-path                       \n"
    row = "-1  -1    {}  ??                              \n"
    assert xm("usb-list", "web1").out == (
        f"{header}0   {row.format('USB2.0')}port 1: \nport 2: \nport 3: \n"
        f"{header}1   {row.format('USB1.1')}port 1: \nport 2: 1-1.4 [ID 046d:c077 Mouse]\n"
    )
    assert xm("usb-hc-destroy", "web1", "0") == (0, "", "")
    assert parse(host.xml[UUID]).usb == (UHCI,)
    assert parse(host.xml[UUID]).hostdevs == (UsbHostdev(vendor=0x46D, product=0xC077, guest_bus=0),)
    assert "(devid 1)" in form(host)
    assert xm("usb-detach", "web1", "1", "2") == (0, "", "")
    assert xm("usb-hc-destroy", "web1", "1") == (0, "", "")
    machine = parse(host.xml[UUID])
    assert (machine.usb, machine.hostdevs, "vusb" in form(host)) == ((), (), False)
    assert xm("usb-list", "web1") == (0, "", "")


def test_a_controller_goes_with_what_is_on_it(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, domid=None, sxp=HVM.replace("(kernel '')", "(kernel '') (usb 1)"), usb=(UHCI,))
    assert xm("usb-hc-create", "web1", "2", "8").status == 0
    assert xm("usb-attach", "web1", "0", "8", "1-2").status == 0
    assert parse(host.xml[UUID]).hostdevs == (UsbHostdev(vendor=0x781, product=0x5567, guest_bus=1),)
    assert xm("usb-hc-destroy", "web1", "0").status == 0
    assert parse(host.xml[UUID]).usb == (UHCI,)
    assert parse(host.xml[UUID]).hostdevs == ()


def test_a_guest_that_runs_has_to_do_with_the_controllers_it_has(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, sxp=PV)
    result = xm("usb-hc-create", "web1", "2", "8")
    assert (result.status, result.out) == (1, usage_text("usb-hc-create"))
    assert result.err == (
        "Error: KVM adds no USB controller to a guest that runs; write vusb = ['usbver=2,numports=8'] in its "
        "configuration and start it anew\n"
    )
    known(host, sxp=HVM, usb=(UHCI,))
    result = xm("usb-hc-create", "web1", "2", "8")
    assert (result.status, result.out) == (0, "")
    assert result.err == f"{LATER}until it is started anew, what is attached to number 0 comes to one that it has\n"
    assert xm("usb-attach", "web1", "0", "1", "1-2") == (0, "", "")
    assert devices(host.xml[UUID]) == [STICK]
    assert xm("usb-detach", "web1", "0", "1") == (0, "", "")
    assert (devices(host.xml[UUID]), ports(xm)[0]) == ([], "port 1: ")


def test_a_known_one_that_runs_has_it_when_it_is_started_anew(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, sxp=PV, persistent=True)
    assert xm("usb-hc-create", "web1", "2", "2").err == f"{LATER}it has number 0 once started anew\n"
    assert (parse(host.xml[UUID]).usb, parse(host.definitions[UUID]).usb) == ((), (EHCI,))
    result = xm("usb-attach", "web1", "0", "1", "1-2")
    assert (result.status, result.err) == (1, "Error: The guest has no USB controller until it is started anew\n")
    assert ports(xm) == ["port 1: ", "port 2: "]
    assert xm("usb-hc-destroy", "web1", "0").status == 0
    assert parse(host.definitions[UUID]).usb == ()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("3", "8"), "Invalid argument: 3"), (("2", "0"), "Invalid argument: 0"), (("2", "17"), "Invalid argument: 17"),
        (("two", "8"), "Invalid argument."), (("2", "x"), "Invalid argument."),
    ],
)  # fmt: skip
def test_versions_and_ports(host: KeepingHypervisor, sys: Host, xm: Xm, words: tuple[str, str], message: str) -> None:
    known(host, domid=None)
    result = xm("usb-hc-create", "web1", *words)
    assert (result.status, result.err) == (1, f"Error: {message}\n")
    assert "vusb" not in form(host)


def test_only_a_domain_of_xms_has_a_place_to_keep_ports(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, sxp="", usb=(UHCI,))
    assert xm("usb-hc-create", "web1", "2", "8").err == (
        "Error: Domain 'web1' was not started by xm, which has no place to keep its ports; use 'virsh attach-device'\n"
    )
    assert xm("usb-list", "web1") == (0, "", "")


# -- ports


REFUSALS = {
    "Cannot find device '1' in domain 'web1'": ("1", "1", "1-2"),
    "Invalid Port Number '0'": ("0", "0", "1-2"),
    "Invalid Port Number '4'": ("0", "4", "1-2"),
    "Invalid Port Number 'x'": ("0", "x", "1-2"),
    "Invalid Busid '1'": ("0", "1", "1"),
    "Invalid Busid '1-2/3'": ("0", "1", "1-2/3"),
    "Cannot assign already attached bus '1-9', detach first.": ("0", "1", "1-9"),
    "Cannot assign already attached bus '1-1.4', detach first.": ("0", "1", "1-1.4"),
    "Cannot override already attached port '2', detach first.": ("0", "2", "1-2"),
}


@pytest.mark.parametrize("message", REFUSALS)
def test_refusals_of_usb_attach_are_no_errors(host: KeepingHypervisor, sys: Host, xm: Xm, message: str) -> None:
    known(host, sxp=PORTS, usb=(EHCI,))
    known(host, "web2", 4, OTHER, sxp="", hostdevs=(MOUSE,))
    assert xm("usb-attach", "web1", *REFUSALS[message]) == (0, f"{message}\n", "")
    assert host.plugged == []


def test_attach_and_detach(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, sxp=PORTS, usb=(EHCI,))
    before = form(host)
    assert xm("usb-attach", "web1", "0", "3", "1-2") == (0, "", "")
    assert devices(host.xml[UUID]) == [UsbHostdev(vendor=0x781, product=0x5567, guest_bus=0)]
    assert xm("usb-list", "web1").out == (
        "Idx BE  state usb-ver  BE-path                       \n"
        "0   0   4     USB2.0  /local/domain/0/backend/vusb/3/0  \n"
        "port 1: \nport 2: 1-9\nport 3: 1-2 [ID 0781:5567 Cruzer Blade]\n"
    )
    assert xm("usb-list-assignable-devices") == (0, "1-1.4        : ID 046d:c077 Mouse\n", "")
    assert xm("usb-detach", "web1", "0", "3") == (0, "", "")
    assert devices(host.xml[UUID]) == []
    assert form(host) == before.replace(" (port-1 '')", "")


def test_of_several_alike_the_one_at_the_place_is_given(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, sxp=PORTS, usb=(EHCI,))
    sys.usb("1-3", 7)
    assert xm("usb-attach", "web1", "0", "1", "1-3").status == 0
    assert devices(host.xml[UUID]) == [UsbHostdev(bus=1, address=7, guest_bus=0)]
    assert xm("usb-list-assignable-devices").out.splitlines()[1:] == ["1-2          : ID 0781:5567 Cruzer Blade"]


@pytest.mark.parametrize(("bus", "what"), [("1-5", "Nothing is plugged in at 1-5"), ("1-1", "The device at 1-1 is a hub")])
def test_what_is_no_device(host: KeepingHypervisor, sys: Host, xm: Xm, bus: str, what: str) -> None:
    known(host, sxp=PORTS, usb=(EHCI,))
    result = xm("usb-attach", "web1", "0", "1", bus)
    assert (result.status, result.out) == (1, usage_text("usb-attach"))
    assert result.err == f"Error: {what}; 'xm usb-list-assignable-devices' shows what can be given away\n"
    assert bus not in form(host)


def test_a_domain_that_is_off_may_wait_for_what_is_not_there(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, domid=None, sxp=PORTS, usb=(EHCI,))
    result = xm("usb-attach", "web1", "0", "1", "2-7")
    assert (result.status, result.out) == (0, "")
    assert result.err.startswith("Warning: nothing is plugged in at 2-7 now")
    assert ports(xm) == ["port 1: 2-7", "port 2: 1-9", "port 3: "]
    assert xm("usb-detach", "web1", "0", "1") == (0, "", "")
    assert ports(xm) == ["port 1: ", "port 2: 1-9", "port 3: "]


def test_a_refusal_leaves_machine_and_record_as_they_were(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, sxp=PORTS, usb=(EHCI,))
    before = host.xml[UUID]
    host.refusal = HypervisorError("No free USB ports")
    assert xm("usb-attach", "web1", "0", "1", "1-2").err.startswith("Error: The guest has no free USB port; ")
    assert host.xml[UUID] == before


def test_errors_of_detach_and_destroy(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, sxp=PORTS, usb=(EHCI,))
    assert xm("usb-detach", "web1", "4", "1").err == "Error: Cannot find device '4' in domain 'web1'\n"
    assert xm("usb-detach", "web1", "0", "9").err == "Error: Invalid Port Number '9'\n"
    assert xm("usb-hc-destroy", "web1", "4").err == "Error: Device 4 not connected\n"
    assert xm("usb-detach", "web1", "0", "1") == (0, "", "Warning: port 1 was free already\n")
    for words in (("usb-list", "x"), ("usb-attach", "x", "0", "1", "1-2"), ("usb-detach", "x", "0", "1"),
                  ("usb-hc-create", "x", "2", "8"), ("usb-hc-destroy", "x", "0"), ("usb-add", "x", "host:1.2")):  # fmt: skip
        assert xm(*words) == (3, "", "Error: Domain 'x' does not exist.\n")


def test_what_can_be_given_away(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, sxp="", hostdevs=(UsbHostdev(bus=1, address=4),))
    assert xm("usb-list-assignable-devices") == (0, "1-2          : ID 0781:5567 Cruzer Blade\n", "")


def test_a_host_without_usb_has_nothing_to_give(
    host: KeepingHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, xm: Xm
) -> None:
    monkeypatch.setattr(host_devices, "SYSFS", tmp_path)
    assert xm("usb-list-assignable-devices") == (0, "", "")
    assert xm("usb-list", "0") == (0, "", "")


# -- emulated USB


def test_usb_add_and_del(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, sxp=HVM.replace("(kernel '')", "(kernel '') (usbdevice tablet)"), usb=(UHCI,))
    before = form(host)
    assert xm("usb-add", "web1", "host:0781:5567") == (0, "", "")
    assert xm("usb-add", "web1", "host:1.4") == (0, "", "")
    assert devices(host.xml[UUID]) == [STICK, UsbHostdev(bus=1, address=4)]
    assert "(usbdevice (tablet host:0781:5567 host:1.4))" in form(host)
    assert xm("usb-add", "web1", "host:1.4").err == "Error: The usb device host:1.4 is already defined\n"
    assert xm("usb-del", "web1", "host:0781:5567") == (0, "", "")
    assert xm("usb-del", "web1", "host:1.4") == (0, "", "")
    assert (devices(host.xml[UUID]), form(host)) == ([], before)
    assert xm("usb-del", "web1", "host:1.4").err == "Error: The guest has no usb device host:1.4\n"
    assert xm("usb-add", "web1", "disk:/a").err == (
        "Error: disk:/a names no usb device; write host:BUS.ADDRESS or host:VENDOR:PRODUCT\n"
    )


def test_guests_without_emulated_usb(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, sxp=PV)
    assert xm("usb-add", "web1", "host:1.4").err == "Error: Can't add usb device to a non-hvm guest\n"
    assert xm("usb-del", "web1", "host:1.4").err == "Error: Can't del usb to a non-hvm guest\n"
    known(host)
    for verb in ("usb-add", "usb-del"):
        result = xm(verb, "web1", "host:1.4")
        assert result == (
            1, usage_text(verb), "Error: Can't add usb device to a guest with usb disabled in configure file\n"
        )  # fmt: skip
