"""Lines of configurations whose meaning is settled, and what must come of them: from the text to libvirt's XML."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from lxml import etree

from xmcompat.backends.domain_xml import render
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator
from xmcompat.config.read import Document, offline_host, read
from xmcompat.errors import ConfigError, DeviceError, NotConvertible, XmError
from xmcompat.guest import Dialect, GuestConfig, GuestKind, KernelBoot
from xmcompat.network import mac
from xmcompat.notes import Fate, Note
from xmcompat.translate.machine import missing_macs, translate

HOST = HostFacts(accelerator=Accelerator.KVM, bridges=("xenbr0", "xenbr1"), cpus=8)
XM, XL = Dialect.XM, Dialect.XL
PV = "kernel = '/boot/vmlinuz'\n"
HVM = "builder = 'hvm'\nkernel = 'hvmloader'\n"
XL_PV = "name = 'web1'\nkernel = '/boot/vmlinuz'\n"
XL_HVM = "name = 'web1'\ntype = 'hvm'\n"


def document(text: str, dialect: Dialect = XM) -> Document:
    (found,) = read(text.encode(), "web1", dialect=dialect, host=offline_host())
    return found


def guest(text: str, dialect: Dialect = XM) -> GuestConfig:
    return document(text, dialect).guest


def xml(text: str, dialect: Dialect = XM, facts: HostFacts = HOST) -> etree._Element:
    found = guest(text, dialect)
    macs = [mac.generate() for _ in range(missing_macs(found))]
    return etree.fromstring(render(translate(found, facts, macs=macs).machine))


def loud(text: str, key: str, dialect: Dialect = XM) -> list[Note]:
    """What is said of KEY that the guest could miss, by reading and by translation."""
    found = document(text, dialect)
    macs = ["00:16:3e:00:00:01"] * missing_macs(found.guest)
    notes = (*found.notes, *translate(found.guest, HOST, macs=macs).notes)
    return [note for note in notes if note.key == key and not note.harmless]


def message(text: str, dialect: Dialect = XM) -> str:
    with pytest.raises(XmError) as caught:
        xml(text, dialect)
    return caught.value.message


def the(root: etree._Element, path: str) -> dict[str, str]:
    """The attributes of the one element at PATH."""
    (found,) = root.iterfind(path)
    return dict(found.attrib)


def events(root: etree._Element) -> list[str | None]:
    return [root.findtext(f"on_{event}") for event in ("poweroff", "reboot", "crash")]


# -- the language


def test_1_numbers_divide_as_in_python_2() -> None:
    assert xml(PV + "memory = 1024/3").findtext("memory") == str(341 * 1024)


def test_2_a_truth_value_is_no_number_and_told() -> None:
    text = HVM + "localtime = True"
    assert the(xml(text), "clock")["offset"] == "utc"
    assert [note.suggestion for note in loud(text, "localtime")] == ["write 1"]


# -- disks


def test_3_a_text_in_the_place_of_the_list_of_disks() -> None:
    assert message(PV + "disk = 'phy:a,xvda,w'") == "Invalid disk specifier: p"


def test_4_a_comma_missing_between_two_disks_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        guest(PV + "disk = ['phy:vg/a,xvda1,w' 'phy:vg/b,xvda2,w']")
    assert "a comma is missing between two disks" in caught.value.line()


def test_5_blanks_belong_to_the_device_name() -> None:
    assert message(PV + "disk = ['phy:vg/a, xvda ,w']") == "Unable to find number for device ( xvda )"


@pytest.mark.parametrize(("uname", "file"), [("file:/a.iso", "/a.iso"), ("", None)], ids=["6", "7"])
def test_6_and_7_cd_rom_drives_of_a_guest_with_a_bios(uname: str, file: str | None) -> None:
    (disk,) = xml(HVM + f"disk = ['{uname},hdc:cdrom,r']").iterfind("devices/disk")
    source = disk.find("source")
    assert disk.get("device") == "cdrom"
    assert the(disk, "target") == {"dev": "hdc", "bus": "ide"}
    assert disk.find("readonly") is not None
    assert (source.get("file") if source is not None else None) == file


def test_8_vhd_is_qemus_vpc() -> None:
    assert the(xml(PV + "disk = ['tap:vhd:/x.vhd,xvda,w']"), "devices/disk/driver")["type"] == "vpc"


def test_9_a_disk_for_several_writers() -> None:
    (disk,) = xml(PV + "disk = ['phy:/dev/v/x,xvda,w!']").iterfind("devices/disk")
    assert disk.find("shareable") is not None
    assert the(disk, "driver")["type"] == "raw"
    assert the(disk, "driver")["cache"] == "none"


def test_10_an_image_with_a_format_is_not_for_several_writers() -> None:
    with pytest.raises(NotConvertible, match="would be destroyed by a second writer"):
        xml(PV + "disk = ['tap:qcow2:/x,xvda,w!']")


# -- interfaces


def test_11_an_empty_interface_is_one_on_the_first_bridge_with_an_address_of_xens() -> None:
    (nic,) = xml(PV + "vif = ['']").iterfind("devices/interface")
    assert nic.get("type") == "bridge"
    assert the(nic, "source") == {"bridge": "xenbr0"}
    assert re.fullmatch("00:16:3e:[0-7][0-9a-f](:[0-9a-f]{2}){2}", the(nic, "mac")["address"])


def test_12_blanks_around_the_settings_of_an_interface_and_the_case_of_its_address() -> None:
    text = PV + "vif = ['mac=00:16:3E:AA:BB:CC, bridge=xenbr1']"
    assert guest(text).vifs[0].mac == "00:16:3E:AA:BB:CC"
    assert the(xml(text), "devices/interface/mac") == {"address": "00:16:3e:aa:bb:cc"}
    assert the(xml(text), "devices/interface/source") == {"bridge": "xenbr1"}


def test_13_a_comma_too_many() -> None:
    assert message(PV + "vif = ['bridge=xenbr0,']") == " should be a pair, separated by an equals sign."


@pytest.mark.parametrize(
    ("rate", "average", "burst"), [("10Mb/s", "1250", "64"), ("1MB/s@20ms", "1000", "64")], ids=["14", "15"]
)
def test_14_and_15_rates(rate: str, average: str, burst: str) -> None:
    root = xml(PV + f"vif = ['rate={rate}']")
    assert the(root, "devices/interface/bandwidth/outbound") == {"average": average, "burst": burst}
    assert root.find("devices/interface/bandwidth/inbound") is None


def test_16_a_rate_that_is_none() -> None:
    assert xml(PV + "vif = ['rate=fast']").find("devices/interface/bandwidth") is None
    assert loud(PV + "vif = ['rate=fast']", "vif[0]")
    assert "rate" in message(XL_PV + "vif = ['rate=fast']", XL)


# -- processors


def pins(root: etree._Element) -> dict[str, str]:
    return {one.get("vcpu", ""): one.get("cpuset", "") for one in root.iterfind("cputune/vcpupin")}


def test_17_the_cpus_of_each_vcpu() -> None:
    assert pins(xml(PV + "vcpus = 2; cpus = ['0-3,^1', '2']")) == {"0": "0,2-3", "1": "2"}


def test_18_fewer_entries_than_vcpus() -> None:
    assert message(PV + "vcpus = 4; cpus = ['0', '1']") == (
        "Invalid Configuration: vcpus and the item number of cpus are not same"
    )
    assert pins(xml(XL_PV + "vcpus = 4; cpus = ['0', '1']", XL)) == {"0": "0", "1": "1"}


def test_19_vcpus_that_are_offline_at_the_start() -> None:
    root = xml(PV + "vcpus = 1; maxvcpus = 4")
    assert (root.findtext("vcpu"), the(root, "vcpu")["current"]) == ("4", "1")


def test_20_a_cap_is_for_the_whole_guest() -> None:
    root = xml(PV + "cpu_cap = 150; vcpus = 2")
    assert (root.findtext("cputune/global_quota"), root.findtext("cputune/global_period")) == ("150000", "100000")


def test_21_a_weight_in_the_scale_of_the_hosts_cgroups() -> None:
    for facts, shares in ((HOST, "2048"), (replace(HOST, cgroup_v2=True), "200")):
        assert xml(PV + "cpu_weight = 512", facts=facts).findtext("cputune/shares") == shares


# -- events


def test_22_a_crashed_guest_that_is_to_be_kept_and_started_anew() -> None:
    """It comes back by itself, in place; that the crashed one stays beside it is xend's work, while it runs."""
    text = PV + "on_crash = 'rename-restart'"
    assert events(xml(text)) == ["destroy", "restart", "restart"]
    assert [note.fate for note in loud(text, "on_crash")] == [Fate.APPROXIMATED]


def test_23_restart_never() -> None:
    assert events(xml(PV + "restart = 'never'")) == ["destroy"] * 3
    assert loud(PV + "restart = 'never'", "restart")


# -- displays


def test_24_an_empty_password_is_the_daemons_or_none() -> None:
    text = HVM + "vnc = 1; vncpasswd = ''"
    assert "passwd" not in the(xml(text), "devices/graphics")
    assert the(xml(text, facts=replace(HOST, vnc_password="s3cret")), "devices/graphics")["passwd"] == "s3cret"


def test_25_any_free_display() -> None:
    graphics = the(xml(PV + "vfb = ['type=vnc,vncunused=1,vncdisplay=5']"), "devices/graphics")
    assert (graphics["type"], graphics["autoport"], graphics.get("port")) == ("vnc", "yes", None)


def test_26_a_fixed_display() -> None:
    graphics = the(xml(PV + "vfb = ['vnc=1,vncunused=0,vncdisplay=5']"), "devices/graphics")
    assert (graphics["port"], graphics.get("autoport", "no")) == ("5905", "no")


# -- the kernel's command line


def cmdline(text: str) -> str:
    """Without the words that KVM's consoles and the panic device need."""
    line = xml(text).findtext("os/cmdline") or ""
    return " ".join(word for word in line.split() if not word.startswith(("console=", "panic=")))


def test_27_several_words_in_root() -> None:
    """The partition is a whole disk here."""
    text = PV + "root = '/dev/xvda1 ro'; extra = '3'; disk = ['phy:vg/a,xvda1,w']"
    assert cmdline(text) == "root=/dev/vda ro 3"


def test_27_a_partition_of_a_whole_disk_keeps_its_number() -> None:
    assert cmdline(PV + "root = '/dev/xvda1 ro'; extra = '3'; disk = ['phy:vg/a,xvda,w']") == "root=/dev/vda1 ro 3"


@pytest.mark.parametrize(
    ("disks", "root"), [("['phy:vg/a,sda1,w', 'phy:vg/b,sda2,w']", "/dev/vdb"), ("['phy:vg/a,sda,w']", "/dev/vda2")]
)
def test_28_root_is_not_said_twice(disks: str, root: str) -> None:
    assert cmdline(PV + f"root = '/dev/sda1'; extra = 'root=/dev/sda2'; disk = {disks}") == f"root={root}"


def test_28a_a_root_by_nfs() -> None:
    text = PV + "nfs_root = '/exp'; nfs_server = '10.0.0.9'; root = '/dev/nfs'; dhcp = 'dhcp'; extra = 'quiet'"
    boot = guest(text).boot
    assert isinstance(boot, KernelBoot)
    assert boot.cmdline == "ip=:10.0.0.9::::eth0:dhcp nfsroot=10.0.0.9:/exp quiet"
    assert cmdline(text) == boot.cmdline


def test_29_the_kernels_own_network_set_up() -> None:
    assert cmdline(PV + "ip = '10.0.0.5'; hostname = 'h'; extra = '3'") == "ip=10.0.0.5:127.0.255.255:::h:eth0:off 3"


# -- xl


def test_30_the_beginning_of_a_word_is_enough() -> None:
    assert guest("name = 'a'; type = 'h'", XL).kind is GuestKind.HVM


def test_31_linux_is_no_builder_of_xls() -> None:
    assert message("name = 'a'; kernel = '/k'; builder = 'linux'", XL).endswith("Invalid domain type linux.")


def test_32_a_name_in_the_place_of_the_format() -> None:
    assert "unknown value for format" in message(XL_PV + "disk = ['/dev/v/a,xvda,w']", XL)


def test_33_an_empty_format() -> None:
    (disk,) = xml(XL_PV + "disk = ['/dev/v/a,,xvda']", XL).iterfind("devices/disk")
    assert (disk.get("type"), the(disk, "driver")["type"], the(disk, "source")) == ("block", "raw", {"dev": "/dev/v/a"})
    assert disk.find("readonly") is None


def test_34_negative_numbers_need_quotes() -> None:
    assert "near `-'" in message(XL_HVM + "rtc_timeoffset = -60", XL)
    clock = the(xml(XL_HVM + 'rtc_timeoffset = "-60"', XL), "clock")
    assert clock == {"offset": "variable", "adjustment": "-60", "basis": "utc"}


# -- the board


def test_35_the_order_of_boot_devices() -> None:
    order = [one.get("dev") for one in xml(HVM + "boot = 'dca'").iterfind("os/boot")]
    assert order == ["cdrom", "hd", "fd"]


def test_36_a_pci_device_in_a_slot_of_the_guest() -> None:
    root = xml(HVM + "pci = ['00:1d.0@6,msitranslate=1']")
    assert the(root, "devices/hostdev")["managed"] == "yes"
    source, own = the(root, "devices/hostdev/source/address"), the(root, "devices/hostdev/address")
    assert [int(source[part], 16) for part in ("domain", "bus", "slot", "function")] == [0, 0, 0x1D, 0]
    assert (own["type"], int(own["slot"], 16)) == ("pci", 6)


def test_37_acpi_is_off_without_its_element() -> None:
    assert xml(HVM + "acpi = 0").find("features/acpi") is None
    assert xml(HVM).find("features/acpi") is not None


@pytest.mark.parametrize(("dialect", "present"), [(XM, "no"), (XL, "yes")])
def test_38_the_hpet_is_xls_default_and_not_xms(dialect: Dialect, present: str) -> None:
    text = "name = 'a'; builder = 'hvm'; memory = 64"
    assert the(xml(text, dialect), "clock/timer[@name='hpet']")["present"] == present


def test_39_a_tablet_brings_its_controller() -> None:
    root = xml(HVM + "usbdevice = 'tablet'")
    assert the(root, "devices/input[@type='tablet']")["bus"] == "usb"
    assert the(root, "devices/controller[@type='usb']")["model"] == "piix3-uhci"


def test_40_all_sound_cards() -> None:
    models = [one.get("model") for one in xml(HVM + "soundhw = 'all'").iterfind("devices/sound")]
    assert models == ["sb16", "es1370"]


def test_what_cannot_be_connected_has_xms_sentence() -> None:
    with pytest.raises((ConfigError, DeviceError), match='The device "xvda" is already defined'):
        xml(PV + "disk = ['phy:a,xvda,w', 'phy:b,xvda,w']")
