"""scsi-attach, scsi-detach, scsi-list, over a made-up host."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes_host import UUID, Host, KeepingHypervisor, form, installed, known
from tests.xm.conftest import Xm
from xmcompat.backends import host_devices
from xmcompat.backends.devices import PciHostdev, ScsiHostdev
from xmcompat.backends.domain_xml import parse
from xmcompat.errors import HypervisorError
from xmcompat.xm.help import usage_text

HEADER = "Idx BE  state host  phy-hctl   phy   vir-hctl   devstate\n"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> KeepingHypervisor:
    return installed(monkeypatch)


@pytest.fixture
def sys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(host_devices, "SYSFS", tmp_path)
    made = Host(tmp_path)
    made.scsi("2:0:0:0", block="sdc", scsi_generic="sg2", wwid="naa.600a0b8")
    made.scsi("2:0:0:1", block="sdd", scsi_generic="sg3")
    made.scsi("3:0:6:0", scsi_tape="st0", scsi_generic="sg4")
    return made


def devices(xml: str) -> list[ScsiHostdev | PciHostdev]:
    return [device for device in parse(xml).hostdevs if isinstance(device, ScsiHostdev | PciHostdev)]


def test_attach_and_detach(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, scsi=("lsilogic",))
    before = form(host)
    assert xm("scsi-attach", "web1", "/dev/sdc", "0:0:0:0") == (0, "", "")
    assert devices(host.xml[UUID]) == [ScsiHostdev(host=2, target=0, unit=0, controller=1)]
    assert parse(host.xml[UUID]).scsi == ("lsilogic", "virtio-scsi")
    assert form(host) == before[:-1] + (
        " (device (vscsi (feature-host 0) (dev (devid 0) (p-dev 2:0:0:0) (p-devname sdc) (v-dev 0:0:0:0)))))"
    )
    assert xm("scsi-list", "web1") == (
        0, f"{HEADER}0   0   4     0     2:0:0:0    sdc   0:0:0:0    4   \n", ""
    )  # fmt: skip
    assert xm("scsi-detach", "web1", "0:0:0:0") == (0, "", "")
    assert devices(host.xml[UUID]) == []
    assert form(host) == before
    assert xm("scsi-list", "web1") == (0, "", "")


def test_each_adapter_of_the_guest_is_a_controller_and_an_idle_one_serves_again(
    host: KeepingHypervisor, sys: Host, xm: Xm,
) -> None:
    known(host)
    assert xm("scsi-attach", "web1", "sdc", "0:0:0:0").status == 0
    assert xm("scsi-attach", "web1", "2:0:0:1", "0:0:3:4").status == 0
    assert xm("scsi-attach", "web1", "st0", "5:0:0:0", "Domain-0").status == 0
    places = [(one.controller, one.guest_target, one.guest_unit) for one in devices(host.xml[UUID])]  # type: ignore[union-attr]
    assert places == [(0, 0, 0), (0, 3, 4), (1, 0, 0)]
    lines = xm("scsi-list", "web1").out.splitlines()
    assert [line.split()[:2] + line.split()[4:7] for line in lines[1:]] == [
        ["0", "0", "2:0:0:0", "sdc", "0:0:0:0"], ["0", "0", "2:0:0:1", "sdd", "0:0:3:4"],
        ["5", "0", "3:0:6:0", "st0", "5:0:0:0"],
    ]  # fmt: skip
    assert xm("scsi-detach", "web1", "5:0:0:0").status == 0
    assert xm("scsi-attach", "web1", "st0", "7:0:0:0").status == 0
    assert parse(host.xml[UUID]).scsi == ("virtio-scsi", "virtio-scsi")


def test_for_a_domain_that_is_off_it_is_only_stored(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, domid=None)
    assert xm("scsi-attach", "web1", "3600a0b8", "1:0:0:0") == (0, "", "")
    assert devices(host.xml[UUID]) == [ScsiHostdev(host=2, target=0, unit=0, controller=0)]
    row = "1   -1  -1    0     2:0:0:0    sdc   1:0:0:0    ??  \n"
    assert xm("scsi-list", "web1") == (0, HEADER + row, "")
    assert xm("scsi-list", "-l", "web1").out == (
        "(1\n    ((dev (devid 1) (p-dev 2:0:0:0) (p-devname sdc) (v-dev 1:0:0:0))\n        (feature-host 0)\n    )\n)\n"
    )
    assert xm("scsi-detach", "web1", "1:0:0:0").status == 0
    assert devices(host.xml[UUID]) == []


def test_a_device_of_the_configuration_can_be_detached(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    sxp = "(vm (name web1) (image (linux)) (device (vscsi (dev (p-dev 2:0:0:1) (v-dev 0:0:0:0)) (dev (p-dev 2:0:0:0) (v-dev 0:0:1:0)))))"
    known(host, sxp=sxp, scsi=("virtio-scsi",), hostdevs=(
        ScsiHostdev(host=2, target=0, unit=1), ScsiHostdev(host=2, target=0, unit=0, guest_target=1),
    ))  # fmt: skip
    host.xml[UUID] = host.xml[UUID].replace("</hostdev>", "<alias name='hostdev0'/></hostdev>", 1)
    assert len(xm("scsi-list", "web1").out.splitlines()) == 3
    assert xm("scsi-detach", "web1", "0:0:0:0").status == 0
    assert "(v-dev 0:0:0:0)" not in form(host)
    assert "(v-dev 0:0:1:0)" in form(host)
    assert [device.unit for device in devices(host.xml[UUID])] == [0]  # type: ignore[union-attr]


WRONG = {
    "Cannot find device '/dev/sdx'": (("/dev/sdx", "0:0:0:0"), True),
    "Cannot find device '9:0:0:0'": (("9:0:0:0", "0:0:0:0"), True),
    "Invalid argument: 0:0:0": (("/dev/sdc", "0:0:0"), True),
    "Invalid argument: a:0:0:0": (("/dev/sdc", "a:0:0:0"), True),
    "Cannot configure device for unknown backend web9": (("/dev/sdc", "0:0:0:0", "web9"), False),
    "KVM has no driver domains (back end 'web1'); give a device of this host": (("/dev/sdc", "0:0:0:0", "web1"), False),
    "Targets go to 255 and LUNs to 16383, not so 0:0:256:0": (("/dev/sdc", "0:0:256:0"), False),
    "KVM gives no whole SCSI adapter away; attach each of its devices at a place HOST:CHANNEL:TARGET:LUN of its own":
        (("/dev/sdc", "host"), False),
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be(host: KeepingHypervisor, sys: Host, xm: Xm, message: str) -> None:
    known(host)
    words, empty_line = WRONG[message]
    result = xm("scsi-attach", "web1", *words)
    assert result == (1, usage_text("scsi-attach") + ("\n" if empty_line else ""), f"Error: {message}\n")
    assert host.plugged == []


def test_what_is_there_already_or_is_not(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host)
    assert xm("scsi-attach", "web1", "sdc", "0:0:0:0").status == 0
    assert xm("scsi-attach", "web1", "sg2", "0:0:0:1").err == 'Error: The physical device "2:0:0:0" is already defined\n'
    assert xm("scsi-attach", "web1", "sdd", "00:0:0:0").err == 'Error: The virtual device "00:0:0:0" is already defined\n'
    assert xm("scsi-detach", "web1", "0:0:0:1") == (
        1, usage_text("scsi-detach"), "Error: Cannot detach vscsi device does not exist\n"
    )  # fmt: skip
    assert xm("scsi-detach", "web1", "x").err == "Error: Invalid argument: x\n"
    assert xm("scsi-attach", "web9", "sdc", "0:0:0:0") == (3, "", "Error: Domain 'web9' does not exist.\n")
    assert xm("scsi-list", "0") == (0, "", "")


def test_a_refusal_takes_the_new_controller_back(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, persistent=True)
    before = form(host)

    def refuse() -> None:
        host.refusal = HypervisorError("cannot open directory '/sys/bus/scsi/devices/2:0:0:0/scsi_generic': No such file")

    host.on_attach = refuse
    assert xm("scsi-attach", "web1", "sdc", "0:0:0:0").err == (
        "Error: This host has no such SCSI device, or not the kernel module sg; 'lsscsi -g' shows what it has\n"
    )
    assert form(host) == before
    assert host.unplugged == ["scsi0"]


def test_without_the_generic_driver_nothing_is_tried(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host)
    sys.scsi("4:0:0:0", block="sde")
    assert xm("scsi-attach", "web1", "sde", "0:0:0:0").err == (
        "Error: The kernel has no generic device for 4:0:0:0; load its module sg\n"
    )
    assert host.plugged == []


def test_another_channel_is_told(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host)
    assert xm("scsi-attach", "web1", "sdc", "0:1:0:0").err == (
        "Warning: a controller has one channel, number 0, where the guest finds 0:1:0:0\n"
    )
