"""Every golden machine is one that libvirt takes and QEMU starts. The schema alone does not tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.translate.test_golden import CASES, translated
from xmcompat.backends.domain_xml import parse, render
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.machine import Accelerator, DirectKernel, Disk, FileSource, Machine

pytestmark = pytest.mark.libvirt

#: What libvirt keeps of a machine as it was given.
KEPT = (
    "name", "memory", "vcpus", "vcpus_online", "boot", "acpi", "apic", "clock", "on_poweroff",
    "on_reboot", "on_crash", "disks", "scsi", "nics", "consoles", "video", "usb", "inputs", "panic", "description",
)  # fmt: skip


@pytest.fixture
def kernel(lab_directory: Path) -> str:
    """The marks of a bzImage; it is never run."""
    image = bytearray(64 * 1024)
    image[0x1FE:0x202] = b"\x55\xaa\xeb\x62"
    image[0x202:0x208] = b"HdrS\x0d\x02"
    image[0x211] = 1
    image[0x22C:0x230] = b"\xff\xff\xff\x7f"  # the highest address for a ramdisk
    path = lab_directory / "no-kernel"
    path.write_bytes(image)
    return str(path)


def on_this_host(machine: Machine, directory: Path, kernel: str) -> Machine:
    """MACHINE with empty files, the lab's bridges and a kernel that is there; without limits of speed, for which not
    every kernel has the module."""
    disks = tuple(_with_file(disk, directory) for disk in machine.disks)
    bridges = {"eth2": "xenbr1"}
    nics = tuple(
        replace(nic, bridge=bridges.get(nic.bridge, nic.bridge), outbound_average=None, outbound_burst=None)
        for nic in machine.nics
    )
    consoles = tuple(replace(device, type="pty", path="", mode="") if device.type in ("file", "dev", "unix") else device
                     for device in machine.consoles)  # fmt: skip
    boot = machine.boot
    if isinstance(boot, DirectKernel):
        boot = replace(boot, kernel=kernel, initrd=kernel if boot.initrd else "")
    return replace(
        machine, disks=disks, nics=nics, consoles=consoles, boot=boot, accelerator=Accelerator.TCG,
        cpu_mode="maximum", memory=machine.memory // 8, current_memory=machine.current_memory // 8,
    )  # fmt: skip


def _with_file(disk: Disk, directory: Path) -> Disk:
    if disk.source is None:
        return disk
    path = directory / f"{disk.target}.img"
    path.write_bytes(bytes(1474560))  # a floppy's size; any will do for the others
    io = "" if disk.io == "native" else disk.io
    return replace(disk, source=FileSource(path=str(path)), driver="raw", cache="none" if disk.shareable else "", io=io)


@pytest.mark.parametrize("cfg", CASES, ids=lambda path: path.stem)
def test_libvirt_starts_the_machine_and_shows_it_as_it_was_given(
    cfg: Path, hypervisor: LibvirtKvm, lab_directory: Path, kernel: str, boot_files: None
) -> None:
    machine = on_this_host(translated(cfg).machine, lab_directory, kernel)
    info = hypervisor.create(render(machine), paused=True)
    shown = parse(hypervisor.domain_xml(info.uuid, secrets=True))
    if machine.clock.basis == "localtime":  # the shift of a running guest is counted from UTC
        machine, shown = (replace(one, clock=replace(one.clock, basis="", adjustment=0)) for one in (machine, shown))
    for field in KEPT:
        assert getattr(shown, field) == getattr(machine, field), field
    assert [one.listen for one in shown.graphics] == [one.listen for one in machine.graphics]
    assert [one.password for one in shown.graphics] == [one.password for one in machine.graphics]
