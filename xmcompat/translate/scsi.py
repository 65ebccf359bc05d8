"""SCSI: controllers, and devices of the host (xm's vscsi). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from xmcompat.backends.devices import Bus, Disk, ScsiHostdev
from xmcompat.guest import GuestConfig, GuestKind
from xmcompat.translate.findings import Findings
from xmcompat.translate.places import ON_SCSI
from xmcompat.vdev import letters_index

_ADDRESS = re.compile(r"([0-9]{1,4}):([0-9]{1,4}):([0-9]{1,4}):([0-9]{1,5})")
#: What QEMU's fast controller can tell apart.
_MOST_TARGETS, _MOST_UNITS = 255, 16383
FAST, EMULATED = "virtio-scsi", "lsilogic"


def scsi(
    guest: GuestConfig, machine_disks: Sequence[Disk], findings: Findings
) -> tuple[tuple[str, ...], tuple[ScsiHostdev, ...]]:
    """The controllers' models, and the host's devices on them.

    The disks' controllers are the first: those that Xen emulates, or the fast one for a paravirtual guest. Each host
    adapter that the guest sees has a fast one of its own.
    """
    numbers = [letters_index(disk.target[2:]) // ON_SCSI for disk in machine_disks if disk.bus is Bus.SCSI]
    models = [EMULATED if guest.kind is GuestKind.HVM else FAST] * (max(numbers) + 1 if numbers else 0)
    addresses = [_addresses(guest, index, findings) for index in range(len(guest.scsi_devices))]
    adapters = sorted({there[0] for _, there in filter(None, addresses)})
    found = []
    for index, pair in enumerate(addresses):
        if pair is None:
            continue
        (host, bus, target, unit), (adapter, channel, guest_target, guest_unit) = pair
        if channel:
            findings.approximated(f"vscsi[{index}]", "a controller has one channel, number 0",
                                  value=guest.scsi_devices[index].guest)  # fmt: skip
        found.append(
            ScsiHostdev(
                host=host,
                bus=bus,
                target=target,
                unit=unit,
                controller=len(models) + adapters.index(adapter),
                guest_target=guest_target,
                guest_unit=guest_unit,
            )
        )
    if found:
        findings.approximated("vscsi", f"the guest finds them on a {FAST} controller",
                              suggestion="it needs a driver for that")  # fmt: skip
    return (*models, *[FAST] * len(adapters)), tuple(found)


Address = tuple[int, int, int, int]


def _addresses(guest: GuestConfig, index: int, findings: Findings) -> tuple[Address, Address] | None:
    """Adapter, channel, target and unit on the host and in the guest; None for what is refused."""
    device, key = guest.scsi_devices[index], f"vscsi[{index}]"
    shown = f"{device.host},{device.guest}"
    findings.back_end(key, device.backend, value=shown)
    here, there = _ADDRESS.fullmatch(device.host.strip()), _ADDRESS.fullmatch(device.guest.strip())
    if not here or not there:
        findings.refuse(
            key, "write both devices as HOST:CHANNEL:TARGET:LUN; 'lsscsi' shows those of this host", value=shown
        )
        return None
    if int(there[3]) > _MOST_TARGETS or int(there[4]) > _MOST_UNITS:
        findings.refuse(key, f"targets go to {_MOST_TARGETS}, LUNs to {_MOST_UNITS}", value=shown)
        return None
    return _numbers(here), _numbers(there)


def _numbers(found: re.Match[str]) -> Address:
    host, channel, target, unit = map(int, found.groups())
    return host, channel, target, unit
