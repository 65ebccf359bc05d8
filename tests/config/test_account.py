"""The account: a note for every name that a configuration sets, and what it says."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.config.account import account
from xmcompat.config.build import build
from xmcompat.config.keys import KEYS
from xmcompat.errors import XmError
from xmcompat.guest import Dialect, Value
from xmcompat.notes import Fate, Note

HVM: dict[str, Value] = {"builder": "hvm", "kernel": "hvmloader"}
PV: dict[str, Value] = {"kernel": "/k"}


def note(values: dict[str, Value], key: str, dialect: Dialect = Dialect.XM) -> Note:
    guest = build(values, path="./web1.cfg", default_name="web1", dialect=dialect, lines={key: 7})
    (found,) = [entry for entry in account(guest) if entry.key == key]
    assert (found.path, found.line) == ("./web1.cfg", 7)
    return found


def told(values: dict[str, Value], key: str) -> tuple[Fate, str, str, bool]:
    found = note(values, key)
    return found.fate, found.reason, found.suggestion, found.harmless


@given(
    st.dictionaries(
        st.sampled_from(sorted(KEYS)) | st.sampled_from(["vmid", "memmory", "arch_libdir", "i"]),
        st.integers(0, 4) | st.sampled_from(["", "x", "pty"]) | st.just([]),
        max_size=8,
    ),
    st.sampled_from(["linux", "hvm"]),
)
def test_every_name_has_exactly_one_note(values: dict[str, Value], builder: str) -> None:
    try:
        guest = build({**values, "builder": builder}, path="./a", default_name="a")
    except XmError:
        return
    keys = [entry.key for entry in account(guest)]
    assert sorted(keys) == sorted({**values, "builder": builder})


def test_they_come_in_the_order_of_the_file() -> None:
    lines = {"vmid": 1, "memory": 2, "kernel": 3}
    guest = build({**PV, "memory": 64, "vmid": "1"}, path="./a", default_name="a", lines=lines)
    assert [entry.key for entry in account(guest)] == ["vmid", "memory", "kernel"]


# -- by key and value


@pytest.mark.parametrize("key", ["memory", "pool", "vcpus", "name", "kernel", "root", "extra", "disk", "vif", "on_crash", "on_xend_start"])
def test_what_is_carried_over_is_said_and_harmless(key: str) -> None:
    given: dict[str, Value] = {
        "kernel": "/k", "memory": 64, "pool": "fast", "vcpus": 1, "name": "a", "root": "/dev/xvda", "extra": "3", "disk": [], "vif": [],
        "on_crash": "restart", "on_xend_start": "start",
    }  # fmt: skip
    assert told(given, key) == (Fate.CARRIED, "", "", True)


@pytest.mark.parametrize(
    ("key", "value"),
    [("cpu_weight", 256), ("cpu_cap", 0), ("cpuid", []),
     ("cpuid_check", [])],
)  # fmt: skip
def test_asking_for_what_every_guest_gets_is_no_loss(key: str, value: Value) -> None:
    assert told({**PV, key: value}, key) == (Fate.CARRIED, "it asks for what every guest gets", "", True)


@pytest.mark.parametrize(
    ("key", "value"),
    [("cpu_weight", 512), ("cpu_cap", 50), ("cpuid", ["1:ecx=" + "x" * 31 + "0"]), ("viridian", 1)],
)
def test_what_is_nearly_the_same_is_said_quietly(key: str, value: Value) -> None:
    assert told({**HVM, key: value}, key) == (Fate.APPROXIMATED, KEYS[key].reason, "", True)


@pytest.mark.parametrize(
    ("key", "value"), [("cpus", "0"), ("cpu", 0), ("nomigrate", 1), ("memory_sharing", 1), ("sdl", 1)]
)
def test_what_the_translation_tells_of_is_not_told_twice(key: str, value: Value) -> None:
    values = {**(HVM if key in ("memory_sharing", "sdl") else PV), key: value}
    assert told(values, key) == (Fate.CARRIED, "", "", True)


@pytest.mark.parametrize(
    ("key", "value", "harmless"),
    [
        ("hap", 1, True), ("hap", 0, False), ("apic", 1, True), ("apic", 0, False), ("tsc_mode", 0, True),
        ("tsc_mode", 2, True), ("tsc_mode", 1, False), ("tsc_mode", 3, False),
        ("isa", 0, True), ("isa", 1, False), ("oos", 0, True), ("shadow_memory", 64, True),
        ("xen_platform_pci", 1, True), ("vhpt", 1, True), ("monitor", 1, False), ("guest_os_type", "linux", True),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_said_aloud_where_a_guest_can_miss_it(key: str, value: Value, harmless: bool) -> None:
    found = note({**HVM, key: value}, key)
    assert (found.fate, found.harmless) == (Fate.NO_MEANING, harmless)
    assert found.reason


@pytest.mark.parametrize("key", ["acpi", "apic", "boot", "stdvga", "serial", "usb", "hap"])
def test_settings_of_the_device_model_mean_nothing_to_a_paravirtual_guest(key: str) -> None:
    assert told({**PV, key: 0}, key) == (
        Fate.NO_MEANING, "Xen does not follow it for paravirtual guests either", "", True,
    )  # fmt: skip


def test_a_display_that_a_paravirtual_guest_never_had_is_said_aloud() -> None:
    assert told({**PV, "vnc": 1}, "vnc") == (
        Fate.NO_MEANING, "Xen does not follow it for paravirtual guests either", "write vfb = ['vnc=1']", False,
    )  # fmt: skip
    assert told({**PV, "vnc": 0}, "vnc")[3] is True


NFS: dict[str, Value] = {"nfs_root": "/exp", "nfs_server": "192.0.2.7"}


@pytest.mark.parametrize(
    ("settings", "key", "reason"),
    [
        ({"root": "/dev/sda1", "extra": "root=/dev/sda2"}, "root", "extra has root= already; xend leaves this one out as well"),
        ({"root": "/dev/nfs", **NFS}, "root", "nfs_root becomes nfsroot=, which has root= in it; xend leaves this one out as well"),
        ({"ip": "192.0.2.9", "extra": "ip=dhcp"}, "ip", "extra has ip= already; xend leaves this one out as well"),
        ({"dhcp": "dhcp", "gateway": "192.0.2.1", "extra": "a ip=dhcp"}, "gateway", "extra has ip= already; xend leaves this one out as well"),
        ({"dhcp": "dhcp", "extra": "a ip=dhcp"}, "dhcp", "extra has ip= already; xend leaves this one out as well"),
        ({"hostname": "h"}, "hostname", "xend does not follow it without ip or dhcp either"),
        ({"gateway": "192.0.2.1", "dhcp": "off"}, "gateway", "xend does not follow it without ip or dhcp either"),
        ({"netmask": "255.0.0.0", "ip": ""}, "netmask", "xend does not follow it without ip or dhcp either"),
        ({"interface": "eth1"}, "interface", "xend does not follow it without ip or dhcp either"),
        ({"nfs_server": "192.0.2.7"}, "nfs_server", "xend does not follow it without nfs_root, ip or dhcp either"),
        ({"nfs_server": "192.0.2.7", "ip": "192.0.2.9", "extra": "ip=dhcp"}, "nfs_server",
         "xend does not follow it without nfs_root, ip or dhcp either"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("start", [PV, {"builder": "hvm", "loader": "hvmloader", "kernel": "/k"}])
def test_what_xend_leaves_out_of_the_command_line_is_not_carried_over(
    start: dict[str, Value], settings: dict[str, Value], key: str, reason: str
) -> None:
    assert told({**start, **settings}, key) == (Fate.NO_MEANING, reason, "", True)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"root": "/dev/sda1", "extra": "ro"}, "root"), ({"root": "", "extra": "root=/dev/sda2"}, "root"),
        ({"extra": "root=/dev/sda2", "root": "/dev/sda1"}, "extra"), ({"ip": "192.0.2.9", "hostname": "h"}, "hostname"),
        ({"dhcp": "dhcp", "interface": "eth1"}, "interface"), (NFS, "nfs_server"), (NFS, "nfs_root"),
        ({"ip": "192.0.2.9", "nfs_server": "192.0.2.7"}, "nfs_server"), ({"hostname": ""}, "hostname"),
        ({"dhcp": "off"}, "dhcp"), ({"interface": "eth0"}, "interface"),
    ],
)  # fmt: skip
def test_what_xend_puts_into_the_command_line_is_carried_over(settings: dict[str, Value], key: str) -> None:
    assert told({**PV, **settings}, key) == (Fate.CARRIED, "", "", True)


def test_a_stub_domain_is_missed() -> None:
    path = "/usr/lib/xen/bin/stubdom-dm"
    assert told({**HVM, "device_model": path}, "device_model") == (
        Fate.NO_MEANING, "there are no stub domains; QEMU runs on the host itself",
        "confine it with the security driver and the sandbox in qemu.conf", False,
    )  # fmt: skip
    assert told({**HVM, "device_model": "/usr/lib/xen/bin/qemu-dm"}, "device_model")[3] is True
    assert told({**PV, "device_model": path}, "device_model")[3] is True


@pytest.mark.parametrize("key", ["root", "extra", "ramdisk", "ip", "bootloader"])
def test_settings_of_a_kernel_mean_nothing_to_a_guest_that_boots_by_bios(key: str) -> None:
    assert told({**HVM, key: "x"}, key) == (
        Fate.NO_MEANING, "Xen does not follow it for guests that boot by BIOS either", "", True,
    )  # fmt: skip


def test_xens_firmware_is_dropped_in_peace() -> None:
    assert told(HVM, "kernel") == (Fate.NO_MEANING, "it is Xen's firmware; QEMU brings its own", "", True)
    direct: dict[str, Value] = {"builder": "hvm", "kernel": "/k", "loader": "/usr/lib/xen/boot/hvmloader", "extra": "3"}
    assert told(direct, "kernel")[0] is told(direct, "extra")[0] is Fate.CARRIED


@pytest.mark.parametrize(
    ("word", "fate", "harmless"),
    [("onreboot", Fate.CARRIED, True), ("never", Fate.APPROXIMATED, False), ("sometimes", Fate.NO_MEANING, False)],
)
def test_the_old_restart(word: str, fate: Fate, harmless: bool) -> None:
    found = note({**PV, "restart": word}, "restart")
    assert (found.fate, found.harmless) == (fate, harmless)


# -- names of the other tool, and of none


def test_a_key_of_xl_is_named_with_xms_own_word() -> None:
    assert told({**PV, "cap": 50}, "cap") == (
        Fate.NO_MEANING, "xm does not know it; it is a key of xl", "xm's own word is cpu_cap", False,
    )  # fmt: skip
    assert told({**PV, "spice": 1}, "spice")[2:] == ("", False)
    assert told({**PV, "spice": 0}, "spice")[3] is True


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("memmory", "memory"), ("on_chrash", "on_crash"), ("bootlaoder", "bootloader"), ("Memory", "memory"),
        ("vcpu", "vcpus"),
    ],
)
def test_a_misspelt_key_is_said_aloud(name: str, meant: str) -> None:
    assert told({**PV, name: 1}, name) == (Fate.NO_MEANING, "no Xen tool knows it", f"did you mean '{meant}'?", False)


@pytest.mark.parametrize("name", ["arch_libdir", "arch", "i", "vmid", "x", "memory2", "kernel_version"])
def test_a_variable_of_the_script_is_not(name: str) -> None:
    assert told({**PV, name: "a"}, name) == (Fate.NO_MEANING, "no Xen tool knows it", "", True)


def test_a_name_like_a_key_that_is_set_as_well_is_a_variable() -> None:
    assert told({**PV, "memory": 64, "memmory": 64}, "memmory")[2:] == ("", True)


def test_what_xen_gave_up_is_named() -> None:
    assert told({**HVM, "cdrom": "/x.iso"}, "cdrom") == (
        Fate.NO_MEANING, "Xen 4.1 does not read it any more", "give it in disk, as 'file:/x.iso,hdc:cdrom,r'", False,
    )  # fmt: skip


def test_xends_own_records_are_no_settings() -> None:
    found = note({**PV, "security_label": "x"}, "security_label", Dialect.SXP)
    assert (found.fate, found.harmless) == (Fate.NO_MEANING, True)


# -- parts of devices


def test_parts_of_a_frame_buffer_that_have_no_effect() -> None:
    guest = build({**PV, "vfb": ["vnc=1,serial=pty,opengl=1"]}, path="./a", default_name="a", lines={"vfb": 4})
    parts = {entry.key: entry for entry in account(guest)}
    assert set(parts) == {"kernel", "vfb", "vfb[0].serial", "vfb[0].opengl"}
    assert parts["vfb[0].serial"].text() == (
        "./a:4: vfb[0].serial = 'pty': no meaning on KVM; give it as a key of the guest"
    )
    assert (parts["vfb[0].serial"].harmless, parts["vfb[0].opengl"].harmless) == (False, True)


def test_the_abi_of_a_disk() -> None:
    guest = build({**PV, "disk": ["phy:a,xvda,w,0,x86_64-abi"]}, path="./a", default_name="a")
    (part,) = [entry for entry in account(guest) if entry.key == "disk[0].protocol"]
    assert (part.fate, part.harmless, part.value) == (Fate.NO_MEANING, True, "'x86_64-abi'")


# -- what is shown


def test_passwords_are_not_shown() -> None:
    assert note({**HVM, "vncpasswd": "s3cret"}, "vncpasswd").value == "(not shown)"
    assert note({**PV, "vfb": ["vnc=1,vncpasswd=s3cret"]}, "vfb").value == "(not shown)"


def test_long_values_are_cut() -> None:
    assert len(note({**PV, "extra": "x" * 200}, "extra").value) == 60


@pytest.mark.parametrize("value", [0, "0", "", []])
@pytest.mark.parametrize("key", ["snapshot", "ne2000", "cdrom", "isa", "monitor", "vcpu_avail", "vncconsole", "monitor_path"])
def test_what_asks_for_nothing_is_not_said_aloud(key: str, value: Value) -> None:
    assert note({**HVM, key: value}, key).harmless


@pytest.mark.parametrize("name", ["OVM_description", "OVM_vcpus", "OVM_cpu_cap", "vm_description", "vm_memory"])
def test_names_of_other_tools_are_no_misspelt_keys(name: str) -> None:
    assert told({**PV, name: "x"}, name) == (Fate.NO_MEANING, "no Xen tool knows it", "", True)


def test_huge_pages_are_not_promised() -> None:
    """The host may have none; the translation tells."""
    assert told({**PV, "superpages": 1}, "superpages") == (
        Fate.APPROXIMATED, "huge pages are the host's, where enough of them are set aside", "", True,
    )  # fmt: skip
    assert told({**PV, "superpages": 0}, "superpages")[0] is Fate.CARRIED


def test_what_becomes_of_a_boot_loader_is_the_translations_to_tell() -> None:
    values: dict[str, Value] = {"bootloader": "/usr/bin/pygrub", "bootargs": "--entry=1"}
    assert [told(values, key)[3] for key in values] == [True, True]


def test_a_key_that_may_be_meant_is_looked_for_for_the_first_names_alone() -> None:
    strangers: dict[str, Value] = {f"memoryy_{number}x": 1 for number in range(20_000)}
    begun = time.monotonic()
    notes = account(build({**PV, **strangers}, path="a", default_name="a"))
    assert time.monotonic() - begun < 5
    assert len([entry for entry in notes if entry.reason == "no Xen tool knows it"]) == 20_000
    assert told({**PV, **dict.fromkeys(map("zz{}".format, range(150)), 1), "memmory": 1}, "memmory")[2] == "did you mean 'memory'?"
