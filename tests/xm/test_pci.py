"""pci-attach, pci-detach, pci-list, pci-list-assignable-devices, over a made-up host."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes_host import OTHER, PV, UUID, Host, KeepingHypervisor, form, installed, known
from tests.xm.conftest import Xm
from xmcompat.backends import host_devices
from xmcompat.backends.devices import PciHostdev
from xmcompat.backends.domain_xml import parse
from xmcompat.config.sxp import parse as parse_sxp
from xmcompat.errors import HypervisorError
from xmcompat.xm.help import usage_text

FIRST, SECOND, THIRD = "0000:01:00.0", "0000:01:00.1", "0000:02:00.0"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> KeepingHypervisor:
    return installed(monkeypatch)


@pytest.fixture
def sys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Two functions of one device, and another device, held for guests; a network card that the host uses."""
    monkeypatch.setattr(host_devices, "SYSFS", tmp_path)
    made = Host(tmp_path)
    for group, address in enumerate((FIRST, SECOND, THIRD)):
        made.pci(address, "vfio-pci", group=group)
    made.pci("0000:03:00.0", "e1000e", group=9)
    made.pci("0000:04:00.0")
    return made


def functions(xml: str) -> list[PciHostdev]:
    return [device for device in parse(xml).hostdevs if isinstance(device, PciHostdev)]


def test_attach_and_detach_leave_machine_and_record_as_they_were(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host)
    before = host.xml[UUID], form(host)
    assert xm("pci-attach", "web1", FIRST, "5") == (0, "", "")
    assert functions(host.xml[UUID]) == [PciHostdev(bus=1, slot=0, guest_slot=5)]
    assert form(host) == (
        "(vm (name web1) (image (hvm (kernel ''))) (device (pci (dev (domain 0x0000) (bus 0x01) (slot 0x00) (func 0x0) "
        "(vdevfn 0x28) (key '0000:01:00.0@5')))))"
    )
    assert xm("pci-list", "web1") == (0, f"Vdev Device\n05.0 {FIRST}\n", "")
    assert xm("pci-detach", "web1", FIRST) == (0, "", "")
    assert (parse(host.xml[UUID]), form(host)) == (parse(before[0]), before[1])
    assert xm("pci-list", "web1") == (0, "", "")


def test_a_known_domain_keeps_what_it_is_given(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, persistent=True)
    assert xm("pci-attach", "web1", "01:00.0").status == 0
    assert functions(host.definitions[UUID]) == functions(host.xml[UUID]) == [PciHostdev(bus=1, slot=0)]
    assert xm("pci-detach", "web1", "01:00.0").status == 0
    assert functions(host.definitions[UUID]) == functions(host.xml[UUID]) == []


def test_for_a_domain_that_is_off_it_is_only_stored(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, domid=None)
    assert xm("pci-attach", "-o", "msitranslate=1", "web1", "01:00.*") == (0, "", "")
    assert xm("pci-attach", "web1", f"{THIRD}@06") == (0, "", "")
    assert functions(host.xml[UUID]) == [
        PciHostdev(bus=1, slot=0, function=1), PciHostdev(bus=1, slot=0), PciHostdev(bus=2, slot=0, guest_slot=6)
    ]  # fmt: skip
    assert xm("pci-list", "web1").out == f"Vdev Device\n06.0 {THIRD}\n-    {FIRST}\n-    {SECOND}\n"
    assert form(host).count("(opts (msitranslate 1))") == 2
    assert form(host).count("(device (pci ") == 1
    assert host.unplugged == []
    assert xm("pci-detach", "web1", "01:00.*") == (0, "", "")
    assert xm("pci-list", "web1").out == f"Vdev Device\n06.0 {THIRD}\n"
    assert functions(host.xml[UUID]) == [PciHostdev(bus=2, slot=0, guest_slot=6)]


def test_functions_that_share_a_slot_go_together(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, domid=None)
    assert xm("pci-attach", "web1", "01:00.0-1@05").status == 0
    assert xm("pci-list", "web1").out == f"Vdev Device\n05.0 {FIRST}\n05.1 {SECOND}\n"
    result = xm("pci-detach", "web1", FIRST)
    assert (result.status, result.out) == (1, usage_text("pci-detach"))
    assert result.err == (
        f"Error: Not all functions in slot 0x05 have had detachment requested.\nHint: name {SECOND} as well\n"
    )
    assert xm("pci-detach", "web1", "01:00.0,1").status == 0
    assert xm("pci-list", "web1").out == ""


def test_while_a_guest_runs_each_function_has_a_slot_of_its_own(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host)
    result = xm("pci-attach", "web1", "01:00.0-1@05")
    assert (result.status, result.out) == (0, "")
    assert result.err == "Warning: while the guest runs, each function comes to a slot of its own, which libvirt chooses\n"
    assert functions(host.xml[UUID]) == [PciHostdev(bus=1, slot=0, function=1), PciHostdev(bus=1, slot=0)]


def test_a_slot_that_the_machine_has_itself_is_told(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host)
    result = xm("pci-attach", "web1", FIRST, "02")
    assert (result.status, result.out) == (0, "")
    assert result.err == (
        "Warning: pci = @02: approximated; libvirt chooses its slot in the guest: QEMU's machine has that slot itself\n"
    )


def test_the_slots_of_a_paravirtual_guest_are_shown_where_asked_for(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host, sxp=PV)
    assert xm("pci-attach", "web1", FIRST).status == 0
    for words in (("pci-list", "web1"), ("pci-list", "-l", "web1"), ("pci-list", "web1", "--long")):
        assert xm(*words) == (0, f"Device\n{FIRST}\n", "")
    known(host, sxp="", hostdevs=(PciHostdev(bus=1, slot=0, guest_slot=7),))
    assert xm("pci-list", "web1").out == f"Vdev Device\n07.0 {FIRST}\n"


BAD = {
    "Failed to parse pci device: nonsense": (["nonsense"], True),
    "Failed to parse pci device: 01:20.0": (["01:20.0"], True),
    "Failed to parse pci device: 01:00.0@20": (["01:00.0", "20"], True),
    "Invalid pci option permissive=1: ": (["-o", "permissive=1", "01:00.0"], True),
    "Invalid pci option msitranslate=2: ": (["-omsitranslate=2", "01:00.0"], True),
    "Invalid pci attach option: msitranslate": (["--options=msitranslate", "01:00.0"], False),
    "Invalid argument for 'xm pci-attach'": ([], False),
}


@pytest.mark.parametrize("message", BAD)
def test_words_that_are_not_understood(host: KeepingHypervisor, sys: Host, xm: Xm, message: str) -> None:
    known(host)
    words, empty_line = BAD[message]
    result = xm("pci-attach", "web1", *words)
    assert result == (1, usage_text("pci-attach") + ("\n" if empty_line else ""), f"Error: {message}\n")
    assert host.plugged == []


def test_what_is_there_already_or_is_not(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host)
    shown = usage_text("pci-attach"), usage_text("pci-detach")
    assert xm("pci-detach", "web1", FIRST) == (
        1, shown[1], "Error: Cannot detach when pci platform does not exist\n"
    )  # fmt: skip
    assert xm("pci-attach", "web1", FIRST).status == 0
    assert xm("pci-attach", "web1", FIRST) == (1, shown[0], f"Error: pci: device {FIRST} has been attached! \n")
    assert xm("pci-detach", "web1", THIRD) == (1, shown[1], f"Error: pci: device {THIRD} is not attached!\n")
    for verb in ("pci-attach", "pci-detach"):
        assert xm(verb, "web9", FIRST) == (3, "", "Error: Domain 'web9' does not exist.\n")
    assert xm("pci-list", "web9") == (3, "", "Error: Domain 'web9' does not exist.\n")


def test_what_the_host_uses_itself_stays_with_it(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host)
    result = xm("pci-attach", "web1", "03:00.0")
    assert (result.status, result.out) == (1, usage_text("pci-attach"))
    assert result.err == (
        "Error: pci: PCI Backend and pci-stub don't own device 0000:03:00.0\n"
        "Hint: this host's driver e1000e has it, 'driverctl set-override 0000:03:00.0 vfio-pci' takes it away\n"
    )
    for missing in ("0b:00.0", "0b:00.*"):
        assert "don't own device" in xm("pci-attach", "web1", missing).err
    assert xm("pci-attach", "web1", "04:00.0").status == 0, "no driver has it"


def test_a_device_in_use_by_another_domain(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host)
    known(host, "web2", 4, OTHER, hostdevs=(PciHostdev(bus=1, slot=0),))
    assert xm("pci-attach", "web1", FIRST) == (
        1, usage_text("pci-attach"),
        f"Error: failed to assign device {FIRST} that has already been assigned to other domain.\n",
    )  # fmt: skip
    assert xm("pci-list-assignable-devices") == (0, f"{SECOND}\n{THIRD}\n", "")


def test_an_iommu_group_is_given_away_as_a_whole(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host)
    sys.pci("0000:06:00.0", "vfio-pci", group=12)
    sys.pci("0000:06:00.1", "snd_hda_intel", group=12)
    assert xm("pci-attach", "web1", "06:00.0").err == (
        "Error: pci: device 0000:06:00.0 is in IOMMU group 12 with 0000:06:00.1, which this host uses\n"
        "Hint: bind these to vfio-pci too, or give them to the same domain\n"
    )


def test_a_host_without_iommu_is_told_what_it_needs(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host)
    before = host.xml[UUID]
    host.refusal = HypervisorError("unsupported configuration: host doesn't support passthrough of host PCI devices")
    result = xm("pci-attach", "web1", FIRST)
    assert (result.status, result.out) == (1, usage_text("pci-attach"))
    assert result.err == (
        "Error: This host cannot give PCI devices away; it needs VT-d or AMD-Vi on in its BIOS, intel_iommu=on or iommu=pt "
        "on its kernel's command line, and the kernel module vfio-pci\n"
    )
    assert host.xml[UUID] == before


def test_of_several_functions_all_come_or_none(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    known(host)
    before = parse(host.xml[UUID])

    def refuse() -> None:
        host.refusal = HypervisorError("No more available PCI slots")

    host.on_attach = refuse
    assert xm("pci-attach", "web1", "01:00.0-1").status == 1
    assert parse(host.xml[UUID]) == before
    assert len(host.plugged) == len(host.unplugged) == 1


def test_domain_0_has_its_devices_already(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    assert xm("pci-list", "0") == (0, "", "")
    assert xm("pci-attach", "0", FIRST).err == "Error: Domain-0 is this host itself, which has its devices already\n"


def test_what_can_be_given_away(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    assert xm("pci-list-assignable-devices") == (0, f"{FIRST}\n{SECOND}\n{THIRD}\n", "")


def test_without_a_driver_for_guests_it_says_so_on_stdout(
    host: KeepingHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, xm: Xm
) -> None:
    monkeypatch.setattr(host_devices, "SYSFS", tmp_path)
    assert xm("pci-list-assignable-devices") == (0, "Error: pciback/pci-stub not loaded?\n", "")


def test_another_host_keeps_its_devices_to_itself(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    host.uri = "qemu+ssh://node2/system"
    assert xm("pci-list-assignable-devices").err == (
        "Error: The devices of another host cannot be seen from here; run xm on that host\n"
    )


@pytest.mark.parametrize("words", [(), ("a", "b")])
def test_pci_list_wants_one_domain(host: KeepingHypervisor, xm: Xm, words: tuple[str, ...]) -> None:
    result = xm("pci-list", *words)
    assert (result.status, result.err) == (1, "")
    assert result.out.startswith("No ")


def test_forms_of_old_and_broken_records_are_no_obstacle(host: KeepingHypervisor, sys: Host, xm: Xm) -> None:
    old = "(vm (name web1) (image (hvm)) (device (pci (domain 0x0) (bus 0x1) (dev 0x0) (func 0x0))))"
    known(host, domid=None, sxp=old)
    assert xm("pci-list", "web1").out == f"Device\n{FIRST}\n"
    assert xm("pci-attach", "web1", THIRD).status == 0
    assert xm("pci-list", "web1").out == f"Device\n{FIRST}\n{THIRD}\n"
    assert xm("pci-detach", "web1", FIRST).status == 0
    assert xm("pci-list", "web1").out == f"Device\n{THIRD}\n"
    known(host, domid=None, sxp="(vm (device (pci (dev (bus x)) (dev))))")
    assert xm("pci-list", "web1") == (0, "", "")
    assert parse_sxp(form(host))
