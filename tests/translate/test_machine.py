"""The whole machine: memory, processors, boot, events, clock, displays; and what cannot be had."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from tests.translate.guests import HOST, HVM, PV, XL, said, vbd
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import (
    Accelerator,
    CharDevice,
    Clock,
    DeviceBoot,
    DirectKernel,
    Machine,
    Timer,
    XenRecord,
)
from xmcompat.errors import NotConvertible
from xmcompat.guest import Dialect, EventAction, FirmwareBoot, GuestConfig, GuestKind, KernelBoot, LoaderBoot, Vfb
from xmcompat.notes import Fate
from xmcompat.translate.machine import translate


def machine(guest: GuestConfig, **options: object) -> Machine:
    return translate(replace(guest, options=options), HOST).machine


def test_memory_is_counted_in_kib() -> None:
    found = translate(replace(PV, memory=256, maxmem=512), HOST)
    assert (found.machine.memory, found.machine.current_memory) == (524288, 262144)
    assert said(found, "maxmem")[0][0] is Fate.APPROXIMATED
    equal = translate(replace(PV, memory=256, maxmem=256), HOST)
    assert (equal.machine.memory, equal.machine.current_memory, said(equal, "maxmem")) == (262144, 262144, [])


@pytest.mark.parametrize(("online", "shown"), [(None, None), (2, 2), (4, None), (0, None)])
def test_vcpus(online: int | None, shown: int | None) -> None:
    found = machine(replace(PV, vcpus=4, vcpus_online=online))
    assert (found.vcpus, found.vcpus_online) == (4, shown)


def test_the_processor_is_the_hosts_or_all_that_the_emulator_can_do() -> None:
    assert (machine(PV).cpu_mode, machine(PV).cpu_features) == ("host-model", ())
    emulated = translate(PV, HostFacts(accelerator=Accelerator.TCG)).machine
    assert (emulated.accelerator, emulated.cpu_mode, emulated.cpu_features) == (Accelerator.TCG, "maximum", ())
    assert machine(XL, pae=0, nx="0").cpu_features == (("nx", "disable"), ("pae", "disable"))


def test_pvh_is_run_as_pv() -> None:
    guest = replace(PV, disks=(vbd("file:/a,xvda1,w"),))
    assert machine(replace(guest, kind=GuestKind.PVH)) == machine(guest)


@pytest.mark.parametrize(
    ("boot", "becomes"),
    [
        (FirmwareBoot(order="dca"), DeviceBoot(order=("cdrom", "hd", "fd"))),
        (FirmwareBoot(order="cnc"), DeviceBoot(order=("hd", "network"))),
        (FirmwareBoot(order=""), DeviceBoot(order=("hd",))),
        (FirmwareBoot(firmware="ovmf"), DeviceBoot(order=("hd",), firmware="efi")),
        (FirmwareBoot(firmware="/opt/bios.bin"), DeviceBoot(order=("hd",))),
        (KernelBoot(kernel="/k", ramdisk="/r", cmdline="root=/dev/xvda1 console=xvc0"),
         DirectKernel(kernel="/k", initrd="/r", cmdline="root=/dev/xvda1 console=xvc0")),
    ],
)  # fmt: skip
def test_boot_of_a_guest_with_a_bios(boot: FirmwareBoot | KernelBoot, becomes: DeviceBoot | DirectKernel) -> None:
    assert machine(replace(HVM, boot=boot)).boot == becomes


@pytest.mark.parametrize(
    ("options", "firmware", "key", "fate"),
    [
        ({"bios": "ovmf"}, "ovmf", "bios", Fate.CARRIED),
        ({"firmware": "uefi"}, "ovmf", "firmware", Fate.CARRIED),
        ({"firmware": "/opt/bios.bin"}, "/opt/bios.bin", "firmware", Fate.APPROXIMATED),
    ],
)
def test_firmware_is_told_by_the_key_that_names_it(options: dict[str, object], firmware: str, key: str, fate: Fate) -> None:
    notes = translate(replace(XL, boot=FirmwareBoot(firmware=firmware), options=options), HOST).notes
    assert [note.fate for note in notes if note.key == key] == [fate]


def test_firmware_beside_a_kernel_of_the_host_is_told() -> None:
    found = translate(replace(XL, boot=KernelBoot(kernel="/k"), options={"bios": "ovmf"}), HOST)
    assert said(found, "bios") == [(Fate.APPROXIMATED, "QEMU's BIOS starts the kernel of the host")]


def test_every_refusal_is_told_at_once() -> None:
    guest = replace(
        PV, boot=LoaderBoot(bootloader="eliloader"), disks=(vbd("iscsi:x,xvda,w"), vbd("tap:x,xvdb,w", protocol="tap:ram"))
    )
    with pytest.raises(NotConvertible) as caught:
        translate(guest, HOST)
    line = caught.value.line()
    assert [key in line for key in ("bootloader", "disk[0]", "disk[1]")] == [True] * 3
    assert "\n" not in line


EVERY = tuple(EventAction)
DESTROYS = (EventAction.DESTROY, EventAction.PRESERVE, EventAction.COREDUMP_DESTROY)
CRASH = ("destroy", "restart", "preserve", "coredump-destroy", "coredump-restart")


@pytest.mark.parametrize(("poweroff", "reboot", "crash"), list(itertools.product(EVERY, EVERY, EVERY)))
def test_only_events_that_libvirt_takes_come_out_and_the_others_are_told(
    poweroff: EventAction, reboot: EventAction, crash: EventAction
) -> None:
    given = replace(PV, on_poweroff=poweroff, on_reboot=reboot, on_crash=crash)
    found = translate(given, HOST)
    became = (found.machine.on_poweroff, found.machine.on_reboot, found.machine.on_crash)
    assert became[0] in ("destroy", "restart")
    assert became[1] in ("destroy", "restart")
    assert became[2] in CRASH
    assert became[:2] != ("restart", "destroy")
    for key, wish, is_now in zip(("on_poweroff", "on_reboot", "on_crash"), (poweroff, reboot, crash), became, strict=True):
        assert said(found, key) or wish.value == is_now
    for wish, is_now in ((poweroff, became[0]), (reboot, became[1]), (crash, became[2])):
        assert wish in DESTROYS or "restart" in is_now, "no guest is lost that was to restart"


@pytest.mark.parametrize(
    ("guest", "options", "clock"),
    [
        (PV, {}, Clock(offset="utc")),
        (replace(PV, localtime=True), {}, Clock(offset="localtime")),
        (replace(PV, rtc_timeoffset=-60), {}, Clock(offset="variable", adjustment=-60, basis="utc")),
        (replace(HVM, localtime=True, rtc_timeoffset=60), {}, Clock(offset="variable", adjustment=60, basis="localtime")),
    ],
)
def test_clocks(guest: GuestConfig, options: dict[str, object], clock: Clock) -> None:
    assert replace(machine(guest, **options).clock, timers=()) == clock


@pytest.mark.parametrize(
    ("dialect", "options", "present"),
    [
        (Dialect.XM, {}, False), (Dialect.XL, {}, True), (Dialect.XM, {"hpet": 1}, True), (Dialect.XL, {"hpet": 0}, False),
    ],
)  # fmt: skip
def test_the_hpet_is_off_with_xm_and_on_with_xl(dialect: Dialect, options: dict[str, object], present: bool) -> None:
    assert machine(replace(HVM, dialect=dialect), **options).clock.timers[-1] == Timer(name="hpet", present=present)
    assert machine(replace(PV, dialect=dialect), **options).clock.timers[-1] == Timer(name="hpet", present=False)


@pytest.mark.parametrize(
    ("mode", "timers"),
    [
        (0, [("rtc", "catchup"), ("pit", "delay")]), ("1", [("rtc", "catchup"), ("pit", "delay")]),
        (2, [("pit", "discard")]), ("one_missed_tick_pending", [("pit", "delay")]),
    ],
)  # fmt: skip
def test_timer_modes(mode: object, timers: list[tuple[str, str]]) -> None:
    assert [(one.name, one.tickpolicy) for one in machine(HVM, timer_mode=mode).clock.timers[:-1]] == timers


@pytest.mark.parametrize(
    ("serial", "device"),
    [
        ("null", CharDevice(kind="serial", type="null")),
        ("stdio", CharDevice(kind="serial")),
        ("vc:80x25", CharDevice(kind="serial")),
        ("mon:pty", CharDevice(kind="serial")),
        ("file:/var/log/a", CharDevice(kind="serial", type="file", path="/var/log/a")),
        ("pipe:/run/a", CharDevice(kind="serial", type="pipe", path="/run/a")),
        ("/dev/ttyS1", CharDevice(kind="serial", type="dev", path="/dev/ttyS1")),
        ("tcp::4555,server,nowait",
         CharDevice(kind="serial", type="tcp", mode="bind", host="0.0.0.0", service="4555", protocol="raw")),
        ("tcp:[::1]:4555",
         CharDevice(kind="serial", type="tcp", mode="connect", host="::1", service="4555", protocol="raw")),
        ("telnet:localhost:23,server=on",
         CharDevice(kind="serial", type="tcp", mode="bind", host="localhost", service="23", protocol="telnet")),
        ("udp::9@:10",
         CharDevice(kind="serial", type="udp", mode="connect", host="127.0.0.1", service="9", bind_service="10")),
        ("unix:/run/a", CharDevice(kind="serial", type="unix", mode="connect", path="/run/a")),
        ("braille", CharDevice(kind="serial")),
        ("none", CharDevice(kind="serial")),
    ],
)  # fmt: skip
def test_serial_ports(serial: str, device: CharDevice) -> None:
    assert machine(replace(HVM, serials=(serial,))).consoles == (device,)


def test_the_record_names_the_serial_ports_that_can_be_opened() -> None:
    guest = replace(HVM, serials=("null", "pty", "file:/a", "pty"))
    record = translate(guest, HOST, record=XenRecord(sxp="(vm)")).machine.record
    assert record == XenRecord(sxp="(vm)", consoles=("serial1", "serial3"))


def test_acpi_and_apic() -> None:
    assert [(one.acpi, one.apic) for one in (machine(PV), machine(replace(PV, acpi=False), apic=0), machine(HVM))] == [
        (True, True)
    ] * 3
    off = translate(replace(HVM, acpi=False, options={"apic": 0}), HOST)
    assert (off.machine.acpi, off.machine.apic) == (False, False)
    assert said(off, "acpi")[0][0] is Fate.APPROXIMATED
    efi = replace(HVM, acpi=False, boot=FirmwareBoot(firmware="ovmf"))
    assert machine(efi).acpi


@pytest.mark.parametrize("on_crash", list(EventAction))
def test_every_guest_can_tell_that_it_has_crashed(on_crash: EventAction) -> None:
    """Without a panic device it would stay there for ever, whatever on_crash says."""
    assert machine(replace(PV, on_crash=on_crash)).panics == ("isa",)
    assert machine(replace(HVM, on_crash=on_crash)).panics == ("isa",)
    assert machine(replace(HVM, on_crash=on_crash), viridian=1).panics == ("isa",)


@pytest.mark.parametrize("on_crash", list(EventAction))
def test_windows_tells_of_a_crash_as_hyper_v_has_it_where_that_group_is_shown(on_crash: EventAction) -> None:
    assert machine(replace(XL, on_crash=on_crash), viridian=["base", "crash_ctl"]).panics == ("hyperv",)
    assert machine(replace(XL, on_crash=on_crash), viridian=1).panics == ("hyperv",)
    assert machine(replace(XL, on_crash=on_crash), viridian=["defaults", "!crash_ctl"]).panics == ("isa",)


def test_translation_is_pure() -> None:
    guest = replace(PV, disks=(vbd("file:/a,xvda1,w"),), vfbs=(Vfb(vnc=True, password="x"),))
    assert translate(guest, HOST) == translate(guest, HOST)


def test_notes_name_file_and_line() -> None:
    guest = replace(PV, disks=(vbd("file:/a,xvda1,w"),), lines={"disk": 12})
    notes = [note for note in translate(guest, HOST).notes if note.key == "disk[0]"]
    assert [(note.path, note.line) for note in notes] == [("web1.cfg", 12)]
    assert notes[0].text().startswith("web1.cfg:12: disk[0] = xvda1: approximated; ")


@pytest.mark.parametrize(
    "kernel",
    ["/usr/xen/netbsd-XEN3_DOMU", "/usr/xen/netbsd-INSTALL_XEN3PAE_DOMU.gz", "/platform/i86xpv/kernel/amd64/unix",
     "/srv/mini-os.gz", "/srv/xnloader.sys"],
)  # fmt: skip
def test_a_system_with_kernels_for_xen_alone_is_refused_by_its_kernels_name(kernel: str) -> None:
    with pytest.raises(NotConvertible) as caught:
        translate(replace(PV, boot=KernelBoot(kernel=kernel)), HOST)
    assert f"kernel = {kernel}: it runs on Xen alone; " in caught.value.line()
    assert ("GENERIC" in caught.value.line()) is ("netbsd" in kernel)


def test_a_kernel_whose_name_is_that_of_one_for_xen_alone_is_told_aloud_but_not_refused() -> None:
    """The name proves nothing: create looks into the file."""
    found = translate(replace(PV, boot=KernelBoot(kernel="/boot/vmlinuz-2.6.18-398.el5xen")), HOST)
    assert isinstance(found.machine.boot, DirectKernel)
    (note,) = [note for note in found.notes if note.key == "kernel"]
    assert (note.fate, note.harmless) == (Fate.APPROXIMATED, False)
    assert note.reason == "most kernels called so are for Xen alone, and those do not boot on KVM"
    assert note.suggestion.startswith("install RHEL 5.3's kernel package or later in the guest")
    other = translate(replace(PV, boot=KernelBoot(kernel="/boot/vmlinuz-2.6.32-5-xen-amd64")), HOST)
    assert said(other, "kernel") == []
    full = replace(HVM, boot=KernelBoot(kernel="/boot/vmlinuz-2.6.18-xen"))
    assert said(translate(full, HOST), "kernel") == []


@pytest.mark.parametrize("name", [".", "..", "a/b", "../../z", "a\nb", "  ", "x" * 248, "é" * 124])
def test_a_name_that_libvirt_has_no_files_for_is_refused(name: str) -> None:
    with pytest.raises(NotConvertible) as caught:
        translate(replace(PV, name=name, lines={"name": 2}), HOST)
    assert caught.value.line().startswith("web1.cfg:2: name = ")
    assert "\n" not in caught.value.line()
    assert len(caught.value.line()) < 300


@pytest.mark.parametrize("name", ["web1", "x" * 247, "...", "a b", "-x", "ä"])
def test_other_names_are_taken(name: str) -> None:
    assert translate(replace(PV, name=name), HOST).machine.name == name


@pytest.mark.parametrize(("vcpus", "key"), [(256, "vcpus"), (4096, "maxvcpus")])
def test_more_vcpus_than_a_pc_has_are_refused(vcpus: int, key: str) -> None:
    with pytest.raises(NotConvertible, match=rf"{key} = {vcpus}: QEMU's PC has 255"):
        translate(replace(PV, vcpus=vcpus, options={key: vcpus}), HOST)
    assert translate(replace(PV, vcpus=255), HOST).machine.vcpus == 255
