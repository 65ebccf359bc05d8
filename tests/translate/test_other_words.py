"""A guest in another tool's words becomes the same machine, but for what the notes on those words name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace

from hypothesis import given

from tests.config.strategies import xl_guests, xm_guests
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator, Disk, FileSource, Machine
from xmcompat.config.build import build
from xmcompat.config.to_xl import xl_values
from xmcompat.config.to_xm import xm_values
from xmcompat.config.write_xl import print_xl
from xmcompat.config.xl import parse
from xmcompat.config.xl_build import build_xl
from xmcompat.errors import ConfigError, DeviceError
from xmcompat.guest import Dialect, GuestConfig
from xmcompat.notes import Note
from xmcompat.translate.machine import translate

HOST = HostFacts(accelerator=Accelerator.KVM, bridges=("xenbr0", "eth1"), cpus=8, cpu_vendor="Intel")
MACS = tuple(f"00:16:3e:00:00:{number:02x}" for number in range(16))

#: The parts of a machine that a setting has a hand in, so that a loud note on it excuses them.
EXCUSED = {
    "disk": {"disks", "boot", "scsi"}, "fda": {"disks"}, "parallel": {"consoles"}, "vif": {"nics"}, "hdtype": {"disks", "scsi"},
    "cpuid": {"cpu_features"}, "cpuid_check": {"cpu_features"}, "nx": {"cpu_features"}, "nestedhvm": {"cpu_features"},
    "tsc_mode": {"clock"}, "timer_mode": {"clock"}, "viridian": {"hyperv", "clock", "panics"}, "vtpm": {"tpm"},
    "usbctrl": {"usb", "hostdevs"}, "usbdev": {"usb", "hostdevs"}, "usbdevice": {"usb", "hostdevs", "inputs"},
    "vusb": {"usb", "hostdevs"}, "vscsi": {"hostdevs", "scsi"}, "vga": {"video"}, "channel": {"channels"},
    "spice": {"graphics", "channels", "redirections", "usb", "video"}, "p9": {"folders"}, "on_watchdog": {"watchdog"},
    "ms_vm_genid": {"genid"}, "firmware": {"boot", "acpi"}, "pci": {"hostdevs"}, "superpages": {"hugepages"},
    "on_reboot": {"on_reboot"}, "description": {"description"}, "vnc": {"video"},
}  # fmt: skip
#: What a note in a low voice excuses.
EXCUSED_QUIETLY = {"description": {"description"}, "usbdev": {"usb", "hostdevs"}, "on_watchdog": {"watchdog"},
                   "nestedhvm": {"cpu_features"}}  # fmt: skip


def machine(guest: GuestConfig) -> Machine | None:
    """None for a guest that cannot run here."""
    try:
        return translate(guest, HOST, macs=MACS).machine
    except (ConfigError, DeviceError):
        return None


def check_same(guest: GuestConfig, again: GuestConfig, notes: Collection[Note]) -> None:
    one, other = machine(guest), machine(again)
    loud = {note.key.partition("[")[0].partition(".")[0] for note in notes if not note.harmless}
    quiet = {note.key.partition("[")[0].partition(".")[0] for note in notes if note.harmless}
    if one is None:  # what kept the guest from running may be among what is left out
        assert other is None or loud | quiet
        return
    if other is None:  # of two disks with different words for one path, the other tool sees one
        assert "disk" in loud | quiet
        return
    excused = set().union(*(EXCUSED.get(key, set()) for key in loud), *(EXCUSED_QUIETLY.get(key, set()) for key in quiet))
    one, other = plain(one, guest), plain(other, guest)
    different = {field.name for field in fields(Machine) if getattr(one, field.name) != getattr(other, field.name)}
    assert different <= excused, [(name, getattr(one, name), getattr(other, name)) for name in different - excused]


def plain(machine: Machine, guest: GuestConfig) -> Machine:
    """Without what a tool chooses of itself, and says so: that xl's disks give space back, and the cache of tap:sync and
    of images with a format that xl says are direct-io-safe."""
    return replace(machine, disks=tuple(_plain(disk, from_xl=guest.dialect is Dialect.XL) for disk in machine.disks))


def _plain(disk: Disk, *, from_xl: bool) -> Disk:
    own = disk.cache == "directsync" or (isinstance(disk.source, FileSource) and disk.driver != "raw")
    # that nothing is given back is QEMU's own choice too
    discard = "" if from_xl or disk.discard == "ignore" else disk.discard
    return replace(disk, discard=discard, **({"cache": "", "io": ""} if own else {}))


@given(xm_guests())
def test_from_xm_to_xl(guest: GuestConfig) -> None:
    values, notes = xl_values(guest)
    again, _ = build_xl(parse(print_xl(values), "web1.cfg").values, path="web1.cfg", lines={})
    check_same(guest, again, notes)


@given(xl_guests())
def test_from_xl_to_xm(guest: GuestConfig) -> None:
    values, notes = xm_values(guest)
    try:
        again = build(values, path="web1.cfg", default_name="")
    except ConfigError:  # xm refuses what xl takes: something that is there twice
        return
    check_same(guest, again, notes)
