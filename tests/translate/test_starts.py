"""Every golden machine is one that libvirt takes and QEMU starts. The schema alone does not tell."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.translate.test_golden import CASES, HOST, translated
from xmcompat.backends.domain_xml import parse, render
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.machine import Accelerator, DirectKernel, Disk, FileSource, Machine
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.config.xl_build import build_xl
from xmcompat.guest import Value
from xmcompat.translate.machine import missing_macs, translate

pytestmark = pytest.mark.libvirt

#: What libvirt keeps of a machine as it was given.
KEPT = (
    "name", "memory", "vcpus", "vcpus_online", "boot", "acpi", "apic", "clock", "on_poweroff",
    "on_reboot", "on_crash", "disks", "scsi", "nics", "consoles", "video", "usb", "inputs", "sounds", "channels",
    "folders", "redirections", "hyperv", "genid", "watchdog", "sleep_to_memory", "sleep_to_disk", "panics", "tpm",
    "description",
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
    every kernel has the module, without VLANs, for which not every host has the program, and without devices of the host."""
    disks = tuple(_with_file(disk, directory) for disk in machine.disks)
    bridges = {"eth2": "xenbr1"}
    nics = tuple(
        replace(nic, bridge=bridges.get(nic.bridge, nic.bridge), outbound_average=None, outbound_burst=None,
                openvswitch=False, vlan=None, trunk=())
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
        hostdevs=(),
    )  # fmt: skip


def _with_file(disk: Disk, directory: Path) -> Disk:
    if disk.source is None:
        return disk
    path = directory / f"{disk.target}.img"
    path.write_bytes(bytes(1474560))  # a floppy's size; any will do for the others
    io = "" if disk.io == "native" else disk.io
    return replace(disk, source=FileSource(path=str(path)), driver="raw", cache="none" if disk.shareable else "", io=io)


def starts_and_is_shown_as_given(machine: Machine, hypervisor: LibvirtKvm) -> None:
    info = hypervisor.create(render(machine), paused=True)
    shown = parse(hypervisor.domain_xml(info.uuid, secrets=True))
    if machine.clock.basis == "localtime":  # the shift of a running guest is counted from UTC
        machine, shown = (replace(one, clock=replace(one.clock, basis="", adjustment=0)) for one in (machine, shown))
    for field in KEPT:
        assert getattr(shown, field) == getattr(machine, field), field
    assert [one.listen for one in shown.graphics] == [one.listen for one in machine.graphics]
    assert [one.password for one in shown.graphics] == [one.password for one in machine.graphics]


@pytest.mark.parametrize("cfg", CASES, ids=lambda path: path.stem)
def test_libvirt_starts_the_machine_and_shows_it_as_it_was_given(
    cfg: Path, hypervisor: LibvirtKvm, lab_directory: Path, kernel: str, boot_files: None
) -> None:
    starts_and_is_shown_as_given(on_this_host(translated(cfg).machine, lab_directory, kernel), hypervisor)


#: Guests of xl, for the devices that xm does not know. FOLDER stands for one of the test's.
XL_GUESTS: dict[str, dict[str, Value]] = {
    "spice": {
        "type": "hvm", "spice": 1, "spiceport": 6100, "spicepasswd": "s3cret", "spicevdagent": 1, "vga": "qxl",
        "spice_clipboard_sharing": 1, "spiceusbredirection": 4, "spiceagent_mouse": 0, "vncpasswd": "s3cret",
        "spice_image_compression": "auto_lz", "spice_streaming_video": "filter", "keymap": "de",
    },
    "usb-3-and-more-sound": {"type": "hvm", "usbversion": 3, "soundhw": "ac97,hda", "videoram": 64, "vga": "stdvga"},
    "ahci": {"type": "hvm", "hdtype": "ahci", "disk": ["/srv/a.img,raw,hda,rw", "/srv/b.iso,,hdc,cdrom", "/srv/c.img,qcow2,xvdb,rw"]},
    "a-card-that-nobody-looks-at": {"type": "hvm", "vnc": 0, "vga": "stdvga"},
    "controllers": {"type": "pv", "kernel": "/k", "usbctrl": ["version=1", "version=2", "version=3,ports=4"]},
    "channels-and-folders": {
        "type": "pvh", "kernel": "/k", "channel": ["name=org.a,connection=pty", "name=org.b,connection=socket,path=FOLDER/b.sock"],
        "p9": ["tag=srv,path=FOLDER,security_model=none", "tag=home,path=FOLDER,security_model=mapped"],
    },
    "uefi-and-a-tpm": {"type": "hvm", "bios": "ovmf", "vtpm": ["backend=0"], "disk": ["/srv/a.img,raw,hda,rw"]},
    "devices-of-xens-kind": {
        "type": "pv", "kernel": "/k", "vdispl": ["connectors=id0:1920x1080;id1:800x600"], "vkb": ["unique-id=a"],
        "vsnd": [["CARD, short-name=a"]], "vnc": 1, "vif": ["mtu=1400,bridge=xenbr0", "devid=0,bridge=xenbr1"],
    },
}  # fmt: skip


@pytest.fixture
def address(node: PrivateLibvirtd) -> Iterator[None]:
    """An address of the node's own: SPICE asks for none of IPv4 where it knows of none."""
    words = ["192.0.2.1/24", "dev", "xenbr1"]
    subprocess.run(node.enter(["ip", "address", "add", *words]), check=True)
    yield
    subprocess.run(node.enter(["ip", "address", "del", *words]), check=True)


@pytest.mark.usefixtures("address")
@pytest.mark.parametrize("name", XL_GUESTS)
def test_libvirt_starts_what_xl_alone_knows(
    name: str, hypervisor: LibvirtKvm, lab_directory: Path, kernel: str
) -> None:
    values = {key: _in(lab_directory, value) for key, value in XL_GUESTS[name].items()}
    guest, _ = build_xl({"name": name, "memory": 256, **values}, path="a.cfg", lines={})
    macs = [f"00:16:3e:00:00:{number:02x}" for number in range(missing_macs(guest))]
    machine = translate(guest, HOST, macs=macs).machine
    starts_and_is_shown_as_given(on_this_host(machine, lab_directory, kernel), hypervisor)


def _in(directory: Path, value: Value) -> Value:
    if isinstance(value, list):
        return [_in(directory, item) for item in value]
    return value.replace("FOLDER", str(directory)) if isinstance(value, str) else value
