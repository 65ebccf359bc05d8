"""One text, two tools: what xm and xl each make of what they read otherwise, a test for each such difference."""

from __future__ import annotations

import pytest

from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator, Machine
from xmcompat.config.keys import KEYS
from xmcompat.config.read import Document, offline_host, read
from xmcompat.errors import XmError
from xmcompat.guest import Dialect, EventAction, FirmwareBoot, GuestConfig, GuestKind, KernelBoot, LoaderBoot, VbdMode
from xmcompat.notes import Note
from xmcompat.translate.machine import missing_macs, translate

HOST = HostFacts(accelerator=Accelerator.KVM, bridges=("br0", "xenbr0"), cpus=8)
XM, XL = Dialect.XM, Dialect.XL
BOTH = (XM, XL)
PV = "name = 'web1'; memory = 64; kernel = '/boot/vmlinuz'\n"
HVM = "name = 'web1'; memory = 64; builder = 'hvm'\n"


def document(text: str, dialect: Dialect) -> Document:
    (found,) = read(text.encode(), "file1", dialect=dialect, host=offline_host())
    return found


def guests(text: str) -> tuple[GuestConfig, GuestConfig]:
    """TEXT as xm's and as xl's."""
    xm, xl = (document(text, dialect).guest for dialect in BOTH)
    return xm, xl


def machines(text: str, facts: HostFacts = HOST) -> tuple[Machine, Machine]:
    xm, xl = (
        translate(guest, facts, macs=["00:16:3e:00:00:01"] * missing_macs(guest)).machine for guest in guests(text)
    )
    return xm, xl


def error(text: str, dialect: Dialect) -> str:
    with pytest.raises(XmError) as caught:
        document(text, dialect)
    return caught.value.line()


def notes(text: str, dialect: Dialect, key: str) -> list[Note]:
    """All that is said of KEY, or of an entry of its list."""
    found = document(text, dialect)
    more = translate(found.guest, HOST, macs=["00:16:3e:00:00:01"] * missing_macs(found.guest)).notes
    return [note for note in (*found.notes, *more) if note.key.partition("[")[0] == key]


# -- what is not said


def test_no_name() -> None:
    text = "memory = 64; kernel = '/k'\n"
    assert document(text, XM).guest.name == "file1"
    assert "Domain name must be specified." in error(text, XL)


def test_no_memory() -> None:
    assert [guest.memory for guest in guests("name = 'a'; kernel = '/k'\n")] == [128, 32]


def test_no_on_crash() -> None:
    assert [guest.on_crash for guest in guests(PV)] == [EventAction.RESTART, EventAction.DESTROY]


def test_no_hpet() -> None:
    hpets = [timer.present for machine in machines(HVM) for timer in machine.clock.timers if timer.name == "hpet"]
    assert hpets == [False, True]


def test_no_display() -> None:
    xm, xl = machines(HVM)
    assert xm.graphics == ()
    assert [(one.type, one.listen) for one in xl.graphics] == [("vnc", "127.0.0.1")]


def test_no_boot_order() -> None:
    orders = [guest.boot.order for guest in guests(HVM) if isinstance(guest.boot, FirmwareBoot)]
    assert orders == ["c", "cda"]


def test_no_bridge() -> None:
    assert [machine.nics[0].bridge for machine in machines(PV + "vif = ['']\n")] == ["br0", "xenbr0"]


def test_no_password() -> None:
    facts = HostFacts(accelerator=Accelerator.KVM, vnc_password="s3cret")
    displays = [machine.graphics[0].password for machine in machines(HVM + "vnc = 1; vncpasswd = ''\n", facts)]
    assert displays == ["s3cret", None]


def test_whether_pci_devices_have_their_messages_translated() -> None:
    assert (KEYS["pci_msitranslate"].xm_default, KEYS["pci_msitranslate"].xl_default) == (1, 0)


# -- interfaces


def test_type_ioemu() -> None:
    text = HVM + "vif = ['type=ioemu,bridge=xenbr0']\n"
    assert [machine.nics[0].model for machine in machines(text)] == ["rtl8139", "rtl8139"]
    assert not [note for note in notes(text, XM, "vif") if not note.harmless]
    assert [note for note in notes(text, XL, "vif") if not note.harmless and "Xen's network driver" in note.reason]


def test_type_netfront() -> None:
    text = HVM + "vif = ['type=netfront,bridge=xenbr0']\n"
    assert [machine.nics[0].model for machine in machines(text)] == ["virtio", "rtl8139"]
    assert any("passed over" in note.reason for note in notes(text, XL, "vif"))


def test_a_rate_that_is_none() -> None:
    text = PV + "vif = ['rate=fast']\n"
    found = document(text, XM).guest
    assert translate(found, HOST, macs=["00:16:3e:00:00:01"]).machine.nics[0].outbound_average is None
    assert [note for note in notes(text, XM, "vif") if not note.harmless]
    assert "invalid rate 'fast'" in error(text, XL)


def test_a_key_of_an_interface_that_nobody_knows() -> None:
    text = PV + "vif = ['colour=red']\n"
    assert "Invalid vif option: colour" in error(text, XM)
    assert any("unrecognized argument" in note.reason for note in notes(text, XL, "vif"))


# -- disks


def test_mode_for_several_writers() -> None:
    text = PV + "disk = ['phy:/dev/a,xvda,w!']\n"
    assert document(text, XM).guest.disks[0].mode is VbdMode.SHARED
    assert "unknown value for access" in error(text, XL)


def test_a_path_without_a_prefix() -> None:
    text = PV + "disk = ['/dev/a,xvda,w']\n"
    with pytest.raises(XmError, match="Block device must have physical details specified"):
        read(text.encode(), "file1", dialect=XM, host=offline_host(), tolerant=False)
    assert document(text, XM).guest.disks[0].uname == "phy:/dev/a"
    assert [note.suggestion for note in notes(text, XM, "disk") if "word in front" in note.reason] == ["write phy:/dev/a"]
    assert "unknown value for format: near `xvda'" in error(text, XL)


@pytest.mark.parametrize(("mode", "means"), [("rw", VbdMode.READ_WRITE), ("ro", VbdMode.READ_ONLY)])
def test_modes_of_xls_own(mode: str, means: VbdMode) -> None:
    text = PV + f"disk = ['phy:/dev/a,xvda,{mode}']\n"
    assert "Invalid mode" in error(text, XM)
    assert document(text, XL).guest.disks[0].mode is means


# -- kinds and boot


def test_builder() -> None:
    linux, generic = (PV + f"builder = '{word}'\n" for word in ("linux", "generic"))
    assert document(linux, XM).guest.kind is document(generic, XL).guest.kind is GuestKind.PV
    assert "unknown image type: generic" in error(generic, XM)
    assert "Invalid domain type linux." in error(linux, XL)


def test_xens_firmware_as_kernel() -> None:
    text = HVM + "kernel = 'hvmloader'\n"
    assert all(isinstance(guest.boot, FirmwareBoot) for guest in guests(text))
    for dialect in BOTH:
        assert [note.harmless for note in notes(text, dialect, "kernel")] == [True]


def lines(text: str) -> list[str]:
    return [guest.boot.cmdline for guest in guests(text) if isinstance(guest.boot, KernelBoot)]


def test_root_beside_extra_that_has_one() -> None:
    assert lines(PV + "root = '/dev/xvda1'; extra = 'root=/dev/xvda2 3'\n") == [
        "root=/dev/xvda2 3", "root=/dev/xvda1 root=/dev/xvda2 3",
    ]  # fmt: skip


def test_the_kernels_network_set_up() -> None:
    text = PV + "ip = '10.0.0.5'; hostname = 'h'; dhcp = 'dhcp'; nfs_server = '10.0.0.9'; nfs_root = '/x'; extra = '3'\n"
    assert lines(text) == ["ip=10.0.0.5:10.0.0.9:::h:eth0:dhcp nfsroot=10.0.0.9:/x 3", "3"]
    for key in ("ip", "hostname", "dhcp", "nfs_server", "nfs_root"):
        assert [note.reason for note in notes(text, XL, key)] == ["xl does not know it; it is a key of xm"]


def test_arguments_of_a_boot_loader() -> None:
    def arguments(key: str) -> list[str]:
        text = f"name = 'a'; memory = 64; bootloader = 'pygrub'; {key} = '--quiet'\n"
        return [guest.boot.args for guest in guests(text) if isinstance(guest.boot, LoaderBoot)]

    assert arguments("bootargs") == ["--quiet", ""]
    assert arguments("bootloader_args") == ["", "--quiet"]


# -- processors


def test_cap() -> None:
    assert [guest.cap for guest in guests(PV + "cpu_cap = 50\n")] == [50, 0]
    assert [guest.cap for guest in guests(PV + "cap = 50\n")] == [0, 50]
    assert "cap" in notes(PV + "cpu_cap = 50\n", XL, "cpu_cap")[0].suggestion
    assert "cpu_cap" in notes(PV + "cap = 50\n", XM, "cap")[0].suggestion


def test_fewer_cpus_than_vcpus() -> None:
    text = PV + "vcpus = 4; cpus = ['0', '1']\n"
    assert "vcpus and the item number of cpus are not same" in error(text, XM)
    assert document(text, XL).guest.pins == ((0,), (1,), (), ())


def test_vcpus_and_maxvcpus_are_the_same_to_both() -> None:
    assert [(guest.vcpus, guest.vcpus_online) for guest in guests(PV + "vcpus = 2; maxvcpus = 4\n")] == [(4, 2)] * 2


def test_groups_of_viridian() -> None:
    text = HVM + "viridian = ['base']\n"
    xm, xl = machines(text)
    assert xm.hyperv == ()
    assert xl.hyperv == ("relaxed", "vapic", "spinlocks", "vpindex")
    assert [note.suggestion for note in notes(text, XM, "viridian") if not note.harmless] == ["write 1"]


def test_several_usb_devices() -> None:
    assert machines(HVM + "usbdevice = ['tablet', 'mouse']\n")[1].inputs == (("tablet", "usb"), ("mouse", "usb"))


# -- the language


def test_a_truth_value() -> None:
    text = PV + "localtime = True\n"
    assert document(text, XM).guest.localtime is False
    assert [note.suggestion for note in notes(text, XM, "localtime")] == ["write 1"]
    assert "near `True'" in error(text, XL)


def test_a_sum() -> None:
    text = "name = 'a'; kernel = '/k'; memory = 512+256\n"
    assert document(text, XM).guest.memory == 768
    assert "near `+'" in error(text, XL)


def test_a_name_in_capitals() -> None:
    text = "name = 'a'; kernel = '/k'\nMemory = 512\n"
    assert document(text, XM).guest.memory == 128
    assert [note.suggestion for note in notes(text, XM, "Memory")] == ["did you mean 'memory'?"]
    assert "near `Memory'" in error(text, XL)
