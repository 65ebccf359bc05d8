"""SCSI: controllers, and devices of the host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.translate.guests import HOST, HVM, PV, said, vbd
from xmcompat.backends.devices import ScsiHostdev
from xmcompat.errors import NotConvertible
from xmcompat.guest import GuestConfig, ScsiDevice
from xmcompat.notes import Fate
from xmcompat.translate.machine import Translation, translate


def done(guest: GuestConfig, *devices: tuple[str, str]) -> Translation:
    return translate(replace(guest, scsi_devices=tuple(ScsiDevice(host=a, guest=b) for a, b in devices)), HOST)


def test_without_scsi_disks_there_is_no_controller() -> None:
    assert done(PV).machine.scsi == done(HVM).machine.scsi == ()


def test_a_device_of_the_host_is_on_a_fast_controller_of_its_own() -> None:
    found = done(replace(HVM, disks=(vbd("file:/a,sda,w"),)), ("2:0:1:3", "0:0:5:0"))
    assert found.machine.scsi == ("lsilogic", "virtio-scsi")
    assert found.machine.hostdevs == (ScsiHostdev(host=2, bus=0, target=1, unit=3, controller=1, guest_target=5),)
    assert said(found, "vscsi") == [(Fate.APPROXIMATED, "the guest finds them on a virtio-scsi controller")]


def test_each_adapter_of_the_guest_has_a_controller_in_their_order() -> None:
    found = done(PV, ("2:0:0:1", "4:0:0:0"), ("2:0:0:2", "1:0:0:7"), ("2:0:0:3", "4:0:1:0")).machine
    assert found.scsi == ("virtio-scsi", "virtio-scsi")
    assert [(one.unit, one.controller, one.guest_target, one.guest_unit) for one in found.hostdevs] == [
        (1, 1, 0, 0), (2, 0, 0, 7), (3, 1, 1, 0),
    ]  # fmt: skip


def test_a_second_channel_is_told() -> None:
    assert said(done(PV, ("2:0:0:1", "0:1:0:0")), "vscsi[0]") == [
        (Fate.APPROXIMATED, "a controller has one channel, number 0")
    ]


@pytest.mark.parametrize(
    ("host", "there", "reason"),
    [
        ("/dev/sdb", "0:0:0:0", "write both devices as HOST:CHANNEL:TARGET:LUN; 'lsscsi' shows those of this host"),
        ("host", "host", "write both devices as HOST:CHANNEL:TARGET:LUN"),
        ("2:0:0:1", "0:0:256:0", "targets go to 255, LUNs to 16383"),
        ("2:0:0:1", "0:0:0:16384", "targets go to 255, LUNs to 16383"),
    ],
)
def test_what_tells_no_device_is_refused(host: str, there: str, reason: str) -> None:
    with pytest.raises(NotConvertible) as caught:
        done(PV, (host, there))
    assert reason in caught.value.line()


def test_a_back_end_that_is_not_the_host_is_refused() -> None:
    device = ScsiDevice(host="2:0:0:1", guest="0:0:0:0", backend="storagedom")
    with pytest.raises(NotConvertible, match="KVM has no driver domains"):
        translate(replace(PV, scsi_devices=(device,)), HOST)
