"""The table of keys: complete, and consistent in itself."""

from __future__ import annotations

import dataclasses

import pytest

from xmcompat.config.keys import KEYS, Key, KeyType
from xmcompat.guest import Dialect, GuestConfig
from xmcompat.notes import Fate

#: The options that xm of Xen 4.1 declares.
XM_41 = """
access_control acpi apic blkif boot bootargs bootentry bootloader builder cpu cpu_cap cpu_weight cpuid cpuid_check cpus
description device_model dhcp disk display extra fda fdb features gateway gfx_passthru guest_os_type hap hostname hpet
interface ioports ip irq isa kernel keymap loader localtime machine_address_size maxmem memory memory_sharing monitor
monitor_path name netif netmask nfs_root nfs_server nics nographic nomigrate on_crash on_poweroff on_reboot on_xend_start
on_xend_stop oos opengl pae parallel pci pci_msitranslate pci_power_mgmt pool ramdisk restart root rtc_timeoffset
s3_integrity sdl serial shadow_memory soundhw stdvga superpages suppress_spurious_page_faults target timer_mode tpmif
tsc_mode usb usbdevice uuid vcpu_avail vcpus vfb vhpt videoram vif vif2 viridian vnc vncconsole vncdisplay vnclisten
vncpasswd vncunused vncviewer vpt_align vscsi vtpm vusb xauthority xen_platform_pci
""".split()
UNDECLARED = ["maxvcpus", "xen_extended_power_mgmt"]

#: Names of xl 4.17's guest configurations that xm lacks.
XL_417 = """
type cap cmdline seclabel init_seclabel xend_suspend_evtchn_compat driver_domain claim_mode max_grant_frames
max_maptrack_frames max_grant_version max_event_channels vnuma mmio_hole rdm rdm_mem_boundary e820_host cpus_soft period
slice latency extratime nestedhvm nx altp2m altp2mhvm vmtrace_buf_kb vpmu msr_relaxed mca_caps bootloader_args firmware
bios bios_path_override firmware_override acpi_firmware smbios_firmware device_tree tee gic_version vuart dtdev
on_watchdog on_soft_reset vendor_device ms_vm_genid acpi_s3 acpi_s4 acpi_laptop_slate hdtype usbctrl usbdev irqs iomem
channel p9 pvcalls vdispl vsnd vkb usbversion vkb_device vga spice spicehost spiceport spicetls_port
spicedisable_ticketing spicepasswd spiceagent_mouse spicevdagent spice_clipboard_sharing spiceusbredirection
spice_image_compression spice_streaming_video device_model_version device_model_override device_model_args
device_model_args_pv device_model_args_hvm device_model_stubdomain_override device_model_stubdomain_seclabel
stubdomain_kernel stubdomain_ramdisk stubdomain_cmdline stubdomain_memory dm_restrict device_model_user pvshim
pci_permissive pci_seize
""".split()

#: Those that the command line takes as yes or no, of xm 4.1.
BOOLEANS = """
memory_sharing vncviewer vncconsole blkif netif monitor localtime usb stdvga isa nographic vncunused
suppress_spurious_page_faults
""".split()
REPEATABLE = "tpmif disk vif vif2 vfb vtpm pci vscsi vusb ioports irq access_control cpuid cpuid_check".split()
NUMBERS = """
memory maxmem shadow_memory vcpus cpu cpu_cap cpu_weight rtc_timeoffset pae acpi apic hpet timer_mode tsc_mode nomigrate
vpt_align viridian hap oos s3_integrity vhpt superpages machine_address_size target nics pci_msitranslate pci_power_mgmt
videoram xen_platform_pci
""".split()


def of(dialect: Dialect) -> set[str]:
    return {name for name, key in KEYS.items() if dialect in key.dialects}


def test_every_option_of_xm_has_a_row_and_nothing_else_does() -> None:
    assert len(XM_41) == 106
    assert of(Dialect.XM) == {*XM_41, *UNDECLARED}


def test_every_key_of_xl_has_a_row() -> None:
    assert set(XL_417) - of(Dialect.XL) == set()
    assert set(XL_417) & of(Dialect.XM) == set()


def test_keys_that_both_tools_read() -> None:
    both = of(Dialect.XM) & of(Dialect.XL)
    assert {"name", "memory", "vcpus", "disk", "vif", "vfb", "kernel", "root", "extra", "on_crash", "cpu_weight"} <= both
    assert {"cpu_cap", "bootargs", "ip", "dhcp", "nfs_root", "restart", "description"} & both == set()


@pytest.mark.parametrize(
    ("names", "kind"), [(BOOLEANS, KeyType.BOOL), (REPEATABLE, KeyType.LIST), (NUMBERS, KeyType.INT)]
)
def test_the_command_line_reads_each_as_xm_does(names: list[str], kind: KeyType) -> None:
    assert {name for name in XM_41 if KEYS[name].type is kind} == set(names)


@pytest.mark.parametrize("key", KEYS.values(), ids=lambda key: key.name)
def test_each_row_says_what_becomes_of_it(key: Key) -> None:
    assert key.meaning
    assert key.dialects
    if key.fate is not Fate.CARRIED:
        assert key.reason, "why it is not carried over"
        assert not key.harmless or key.fate in (Fate.NO_MEANING, Fate.APPROXIMATED)
    else:
        assert key.field in {field.name for field in dataclasses.fields(GuestConfig)}


def test_what_this_release_carries() -> None:
    carried = """name pool uuid memory maxmem vcpus maxvcpus kernel ramdisk root extra ip gateway netmask hostname
    interface dhcp nfs_server nfs_root builder boot disk vif vfb vnc vnclisten vncdisplay vncunused vncpasswd keymap
    stdvga videoram nographic serial parallel on_poweroff on_reboot on_crash restart localtime rtc_timeoffset acpi pae
    hpet usb usbdevice description nics cpu cpus fda fdb gfx_passthru memory_sharing nomigrate pci soundhw sdl
    vscsi vtpm vusb on_xend_start on_xend_stop""".split()
    assert {name for name in XM_41 + UNDECLARED if KEYS[name].fate is Fate.CARRIED} == set(carried)


def test_what_is_never_done_is_refused() -> None:
    refused = {name for name in XM_41 if KEYS[name].fate is Fate.REFUSED}
    assert refused == {"target", "blkif", "netif", "tpmif", "ioports", "irq"}


def test_the_tools_disagree_on_some_defaults() -> None:
    defaults = {name: (KEYS[name].xm_default, KEYS[name].xl_default) for name in KEYS}
    assert defaults["memory"] == (128, 32)
    assert defaults["hpet"] == (0, 1)
    assert defaults["boot"] == ("c", "cda")
    assert defaults["vnc"] == (None, 1)
    assert defaults["on_crash"] == ("restart", "destroy")
    assert defaults["pci_msitranslate"] == (1, 0)
    assert defaults["disk"] == ([], [])
    assert defaults["acpi"] == (1, 1)
    assert defaults["cpu_cap"] == (0, None)
    assert defaults["cap"] == (None, 0)
