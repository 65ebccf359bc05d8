"""Values of xl's files to guests: defaults, kinds, boot, and what xl warns of."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.config.keys import KEYS
from xmcompat.config.xl import parse
from xmcompat.config.xl_build import build_xl
from xmcompat.errors import ConfigError, NotConvertible
from xmcompat.guest import (
    Dialect,
    EventAction,
    FirmwareBoot,
    GuestConfig,
    GuestKind,
    KernelBoot,
    LoaderBoot,
    NumaNode,
    PciDevice,
    Tpm,
    UsbController,
    UsbDevice,
    Vfb,
    Vif,
)
from xmcompat.notes import Fate, Note

PV = "name = 'web'\nkernel = '/boot/k'\n"
HVM = "name = 'web'\ntype = 'hvm'\n"
VNC = Vfb(vnc=True, listen="127.0.0.1", password="")


def built(text: str) -> tuple[GuestConfig, tuple[Note, ...]]:
    found = parse(text, "web.cfg")
    return build_xl(found.values, path="web.cfg", lines=found.lines)


def guest(text: str) -> GuestConfig:
    return built(text)[0]


def notes(text: str) -> list[str]:
    return [note.text() for note in built(text)[1]]


def message(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        built(text)
    return caught.value.message


def test_a_paravirtual_guest_by_default() -> None:
    assert built(PV) == (
        GuestConfig(
            name="web", source="web.cfg", dialect=Dialect.XL, kind=GuestKind.PV, memory=32, vcpus=1,
            boot=KernelBoot(kernel="/boot/k"), on_poweroff=EventAction.DESTROY, on_reboot=EventAction.RESTART,
            on_crash=EventAction.DESTROY, options={"name": "web", "kernel": "/boot/k"}, lines={"name": 1, "kernel": 2},
        ),
        (),
    )  # fmt: skip


def test_a_guest_with_a_bios_by_default() -> None:
    found = guest(HVM)
    assert (found.kind, found.boot, found.vfbs) == (GuestKind.HVM, FirmwareBoot(order="cda", firmware="bios"), (VNC,))


def test_a_name_must_be_given() -> None:
    assert message("kernel='/k'") == "web.cfg: Domain name must be specified."
    assert build_xl({"kernel": "/k"}, path="p", lines={}, default_name="x")[0].name == "x"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("type='h'", GuestKind.HVM), ("type=''", GuestKind.HVM), ("type='pv'", GuestKind.PV), ("type='p'", GuestKind.PV),
        ("type='pvh'", GuestKind.PVH), ("builder='hvm'", GuestKind.HVM), ("builder='gen'", GuestKind.PV),
        ("builder='hvm'\ntype='hvm'", GuestKind.HVM), ("type=[]", GuestKind.PV),
    ],
)  # fmt: skip
def test_kinds_are_told_by_the_beginning_of_a_word(text: str, kind: GuestKind) -> None:
    assert guest(PV + text).kind is kind


def test_kinds_that_are_none() -> None:
    assert message(PV + "builder='linux'") == "web.cfg:3: Invalid domain type linux."
    assert message(PV + "type='xen'") == "web.cfg:3: Invalid domain type xen."
    assert message(PV + "type='pv'\nbuilder='hvm'") == (
        'web.cfg:4: Contradicting "builder" and "type" options specified.'
    )
    assert message(PV + "type='pvh'\nbuilder='generic'") == (
        'web.cfg:4: Contradicting "builder" and "type" options specified.'
    )


@pytest.mark.parametrize(
    ("text", "memory", "maxmem"),
    [("", 32, None), ("memory=512", 512, None), ("maxmem=512", 512, 512), ("memory='0x100'\nmaxmem=01000", 256, 512)],
)
def test_memory(text: str, memory: int, maxmem: int | None) -> None:
    found = guest(PV + text)
    assert (found.memory, found.maxmem) == (memory, maxmem)


@pytest.mark.parametrize(
    ("text", "vcpus", "online"),
    [("vcpus=4", 4, None), ("vcpus=2\nmaxvcpus=4", 4, 2), ("maxvcpus=4", 4, 1), ("vcpus=4\nmaxvcpus=4", 4, None)],
)
def test_vcpus(text: str, vcpus: int, online: int | None) -> None:
    found = guest(PV + text)
    assert (found.vcpus, found.vcpus_online) == (vcpus, online)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vcpus=4\nmaxvcpus=2", "web.cfg:4: xl: maxvcpus < vcpus"),
        ("vcpus=0", "web.cfg:3: vcpus = 0 is not a number of vcpus"),
        ("memory=0", "web.cfg:3: no guest runs with 0 MiB"),
        ("memory=64\nmaxmem=32", "web.cfg:4: maxmem = 32 is less than memory = 64"),
        ("uuid='x'", "web.cfg:3: Failed to parse UUID: x"),
        ("on_crash='explode'", 'web.cfg:3: Unknown on_crash action "explode" specified'),
        ("on_watchdog='bark'", 'web.cfg:3: Unknown on_watchdog action "bark" specified'),
        ("cpu_weight=0", "web.cfg:3: Cpu weight out of range, valid values are within range from 1 to 65535"),
        ("cap=101", "web.cfg:3: Cpu cap out of range, valid range is from 0 to 100 for specified number of vcpus"),
        ("cpus=''", "web.cfg:3: cpus = : '' is no CPU or range of them"),
        ("vtpm=['uuid=1']", "web.cfg:3: vtpm[0]: vtpm spec missing required backend field!"),
        ("vif=['','rate=fast']", "web.cfg:3: vif[1]: invalid rate 'fast'"),
        ("vif=['type=ioemu']", "web.cfg:3: vif[0]: trying to create PV guest with an emulated interface"),
        ("disk=[['a']]", "web.cfg:3: disk[0] is a list but should be a text"),
        ("disk=[\n'/dev/v/a,xvda,w']",
         "web.cfg:3: disk[0]: config parsing error in disk specification: unknown value for format: near `xvda' in "
         "`/dev/v/a,xvda,w'"),
        ("timer_mode=1", 'web.cfg:3: "timer_mode" is not for PV guests'),
        ("tsc_mode='own'", 'web.cfg:3: invalid value "own" for "tsc_mode"'),
        ("vnuma=[['size=1','vcpus=0']]", "web.cfg:3: vnuma: the nodes have 1 MiB together, the guest 32"),
        ("root='\\a'", "web.cfg:3: root has a character that no setting can have"),
        ("firmware='pvgrub64'", "web.cfg:3: firmware and kernel cannot both be specified"),
        ("disk=[" + "'a'," * 257 + "]", "web.cfg:3: disk has 257 entries, which no guest has"),
    ],
)  # fmt: skip
def test_what_ends_xl_names_its_line(text: str, expected: str) -> None:
    assert message(PV + text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bios='efi'", 'web.cfg:3: invalid value "efi" for "bios"'),
        ("firmware='efi'", 'web.cfg:3: invalid value "efi" for "firmware"'),
        ("vga='matrox'", 'web.cfg:3: invalid value "matrox" for "vga"'),
        ("hdtype='scsi'", 'web.cfg:3: invalid value "scsi" for "hdtype"'),
        ("viridian=['base','own']", 'web.cfg:3: invalid viridian group "own"'),
        ("gfx_passthru='own'", 'web.cfg:3: invalid value "own" for "gfx_passthru"'),
        ("timer_mode=4", 'web.cfg:3: invalid value "4" for "timer_mode"'),
        ("usbversion=4", "web.cfg:3: usbversion = 4 is none of 1, 2, 3"),
        ("usbversion=2\nusb=1", "web.cfg:3: usbversion cannot be enabled with usb or usbdevice"),
        ("vnclisten='0.0.0.0:5'\nvncdisplay=1", "web.cfg:3: vncdisplay set, vnclisten=0.0.0.0:5 contains display"),
    ],
)
def test_what_ends_xl_for_a_guest_with_a_bios(text: str, expected: str) -> None:
    assert message(HVM + text) == expected


def test_no_kernel_and_no_loader() -> None:
    assert message("name='a'") == "web.cfg: neither kernel nor bootloader specified"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("root='/dev/xvda1 ro'\nextra='3'", "root=/dev/xvda1 ro 3"),
        ("root='/dev/sda1'\nextra='root=/dev/sda2'", "root=/dev/sda1 root=/dev/sda2"),
        ("extra='quiet'", "quiet"),
        ("root='/dev/xvda1'", "root=/dev/xvda1"),
        ("ip='10.0.0.1'\nextra='a'", "a"),
        ("", ""),
    ],
)
def test_the_command_line(text: str, line: str) -> None:
    assert guest(PV + text).boot == KernelBoot(kernel="/boot/k", cmdline=line)


def test_cmdline_stands_for_root_and_extra() -> None:
    text = PV + "cmdline='c'\nroot='r'\nextra='e'"
    assert guest(text).boot == KernelBoot(kernel="/boot/k", cmdline="c")
    assert set(guest(text).options) == {"name", "kernel", "cmdline"}
    assert notes(text) == [
        "web.cfg:4: root = 'r': no meaning on KVM; ignored in favour of cmdline",
        "web.cfg:5: extra = 'e': no meaning on KVM; ignored in favour of cmdline",
    ]


def test_boot_loaders() -> None:
    assert guest("name='a'\nbootloader='pygrub'\nbootloader_args='-q  --entry=1'\nextra='x'").boot == LoaderBoot(
        bootloader="pygrub", args="-q --entry=1", cmdline="x"
    )
    assert guest("name='a'\nbootloader='pygrub'\nbootloader_args=['--args=a b']\nbootargs='c'").boot == LoaderBoot(
        bootloader="pygrub", args="'--args=a b'"
    )
    assert guest("name='a'\nfirmware='pvgrub64'").boot == LoaderBoot(bootloader="pvgrub64")
    assert guest("name='a'\ntype='pvh'\nbootloader='pygrub'").boot == LoaderBoot(bootloader="pygrub")


@pytest.mark.parametrize(
    ("text", "boot"),
    [
        ("boot='dc'", FirmwareBoot(order="dc")),
        ("kernel='hvmloader'", FirmwareBoot(order="cda")),
        ("kernel='/usr/lib/xen/boot/hvmloader'", FirmwareBoot(order="cda")),
        ("kernel='/k'\nramdisk='/r'\nroot='a'\nextra='b'", KernelBoot(kernel="/k", ramdisk="/r", cmdline="root=a b")),
        ("bios='ovmf'", FirmwareBoot(order="cda", firmware="ovmf")),
        ("firmware='uefi'", FirmwareBoot(order="cda", firmware="ovmf")),
        ("firmware='bios'", FirmwareBoot(order="cda", firmware="bios")),
        ("bios='seabios'", FirmwareBoot(order="cda", firmware="seabios")),
        ("firmware='/srv/own.fd'", FirmwareBoot(order="cda", firmware="/srv/own.fd")),
        ("bootloader='pygrub'", FirmwareBoot(order="cda")),
    ],
)
def test_boot_of_a_guest_with_a_bios(text: str, boot: object) -> None:
    assert guest(HVM + text).boot == boot


def test_xens_firmware_is_passed_over_in_silence() -> None:
    (note,) = built(HVM + "kernel='hvmloader'")[1]
    assert (note.key, note.fate, note.harmless) == ("kernel", Fate.NO_MEANING, True)


def test_pins() -> None:
    assert guest(PV + "vcpus=2\ncpus=['0-3,^1','2']").pins == ((0, 2, 3), (2,))
    assert guest(PV + "vcpus=4\ncpus=['0','1']").pins == ((0,), (1,), (), ())
    assert guest(PV + "vcpus=1\ncpus=['0','1']").pins == ((0,),)
    assert guest(PV + "vcpus=1\nmaxvcpus=2\ncpus='0-1'").pins == ((0, 1), (0, 1))
    assert guest(PV + "cpus=[3]").pins == ((3,),)
    assert built(PV + "cpus='all'")[1] == ()
    assert guest(PV + "cpus='all'").pins == guest(PV).pins == ()


def test_cpus_that_only_the_host_knows_are_told() -> None:
    text = PV + "vcpus=2\ncpus=['node:0','1']"
    assert guest(text).pins == ((), (1,))
    assert guest(text).options["cpus"] == ["node:0", "1"]
    assert notes(text) == [
        "web.cfg:4: cpus = ['node:0', 1]: approximated; which CPUs these are depends on the host of the guest; its "
        "vcpus may run anywhere; write the numbers of the CPUs"
    ]


def test_shares_of_cpu_time() -> None:
    found = guest(PV + "cpu_weight='512'\nvcpus=2\ncap=150")
    assert (found.weight, found.cap) == (512, 150)
    assert (guest(PV).weight, guest(PV).cap) == (None, 0)
    assert guest(PV + "cpu_cap=50").cap == 0


def test_numbers_of_options_are_numbers_and_the_rest_is_as_read() -> None:
    found = guest(HVM + "hpet='0'\nrtc_timeoffset='-0x3c'\ntsc_mode='native'\nviridian=1\ncpuid='host,htt=0'\nzz=5")
    assert found.rtc_timeoffset == -60
    assert found.options == {
        "name": "web", "type": "hvm", "hpet": 0, "rtc_timeoffset": -60, "tsc_mode": "native", "viridian": "1",
        "cpuid": "host,htt=0",
    }  # fmt: skip
    assert found.unknown == {"zz": "5"}


def test_values_of_the_wrong_type_are_passed_over_and_told() -> None:
    text = HVM + "memory='1g'\nlocaltime='yes'\nvcpus=[2]\ndisk='/x,raw,hda'\nviridian='yes'"
    found = guest(text)
    assert (found.memory, found.localtime, found.vcpus, found.disks) == (32, False, 1, ())
    assert set(found.options) == {"name", "type"}
    assert notes(text) == [
        "web.cfg:3: memory = '1g': no meaning on KVM; it is not a valid number; xl passes it over",
        "web.cfg:4: localtime = 'yes': no meaning on KVM; it is not a valid number; xl passes it over; write 1 or 0",
        "web.cfg:5: vcpus = [2]: no meaning on KVM; it is a list but should be a single value; xl passes it over",
        "web.cfg:6: disk = '/x,raw,hda': no meaning on KVM; it is a single value but should be a list; xl passes it "
        "over; write it in brackets",
        "web.cfg:7: viridian = 'yes': no meaning on KVM; it is not a valid number; xl passes it over; write 1, or a "
        "list of groups",
    ]


def test_what_xl_no_longer_follows_is_told() -> None:
    text = HVM + "vif2=['a']\ndevice_model='/usr/lib/xen/bin/stubdom-dm'\nvncviewer=1\nbootloader='pygrub'"
    assert [(note.key, note.harmless) for note in built(text)[1]] == [
        ("vif2", False), ("device_model", False), ("vncviewer", False), ("bootloader", False),
    ]  # fmt: skip
    assert set(guest(text).options) == {"name", "type"}


def test_warnings_of_devices_name_the_entry() -> None:
    assert notes(PV + "vif=['','foo=1']\nvfb=['vncpasswd=s,oops']") == [
        "web.cfg:3: vif[1] = 'foo=1': no meaning on KVM; unrecognized argument `foo=1'",
        "web.cfg:4: vfb[0] = (not shown): no meaning on KVM; 'oops' has no value; nothing after it counts",
    ]


def test_displays() -> None:
    assert guest(HVM + "vnc=0").vfbs == ()
    assert guest(HVM + "nographic=1").vfbs == ()
    assert guest(HVM + "vncpasswd=''\nvncdisplay=5\nvncunused=0\nkeymap='de'").vfbs == (
        Vfb(vnc=True, listen="127.0.0.1", password="", display=5, unused=False, keymap="de"),
    )
    assert guest(HVM + "vnc=0\nsdl=1").vfbs == (Vfb(sdl=True, listen="127.0.0.1", password=""),)
    assert guest(HVM + "vnclisten='0.0.0.0:3'").vfbs == (Vfb(vnc=True, listen="0.0.0.0", password="", display=3),)


def test_a_frame_buffer_beside_the_display_of_a_guest_with_a_bios() -> None:
    own = Vfb(vnc=True, listen="127.0.0.1", password="", display=5)
    assert guest(HVM + "vfb=['vncdisplay=5']").vfbs == (own, VNC)
    assert guest(HVM + "vfb=['vncdisplay=5']\nvnc=1").vfbs == (VNC, own)


def test_displays_of_paravirtual_guests() -> None:
    assert guest(PV).vfbs == guest(PV + "vncdisplay=1").vfbs == ()
    assert guest(PV + "vnc=1\nvncdisplay=1").vfbs == (Vfb(vnc=True, listen="127.0.0.1", password="", display=1),)
    assert guest(PV + "vnc=1\nvfb=['type=vnc']").vfbs == (VNC,)


def test_devices() -> None:
    found = guest(
        HVM + "pci=['03:00.0']\nusbctrl=['version=3']\nusbdev=['hostbus=1,hostaddr=2']\nvtpm=['backend=t']\n"
        "usbdevice=['tablet','host:0951:1666']\nserial=['pty','none','file:/x']\nvif=['type=ioemu']\n"
        "memory=64\nvnuma=[['pnode=0','size=64','vcpus=0']]"
    )
    assert found.pci == (PciDevice(bus=3, slot=0),)
    assert found.usb_controllers == (UsbController(version=3, ports=8, type="auto"),)
    assert found.usb_devices == (UsbDevice(bus=1, address=2), UsbDevice(vendor=0x0951, product=0x1666))
    assert found.tpms == (Tpm(backend="t"),)
    assert found.serials == ("pty", "file:/x")
    assert found.vifs == (Vif(bridge="xenbr0", type="ioemu"),)
    assert found.numa == (NumaNode(host_node=0, size=64, vcpus=(0,)),)
    assert guest(PV + "serial='pty'\nusbdevice='host:1.2'").usb_devices == ()


def test_events() -> None:
    found = guest(PV + "on_poweroff='preserve'\non_reboot='soft-reset'\non_crash='rename-restart'")
    assert (found.on_poweroff, found.on_reboot, found.on_crash) == (
        EventAction.PRESERVE, EventAction.SOFT_RESET, EventAction.RENAME_RESTART,
    )  # fmt: skip


def test_the_uuid_has_one_form() -> None:
    uuid = "0123abcd-0000-1111-2222-333344445555"
    assert guest(PV + f"uuid='{uuid.upper()}'").uuid == guest(PV + f"uuid='{uuid.replace('-', '')}'").uuid == uuid


@pytest.mark.parametrize("text", ["driver_domain=1", "ioports=['2f8-2ff']", "iomem=['a0,1']", "irqs=[5]", "pvcalls=['']"])
def test_what_is_never_done_is_refused(text: str) -> None:
    with pytest.raises(NotConvertible, match=r"^web.cfg:3: [a-z_]+ = .* cannot be had on KVM: "):
        built(PV + text)
    built(PV + "driver_domain=0\nioports=[]")


_XL_KEYS = sorted(key for key, row in KEYS.items() if Dialect.XL in row.dialects and key.isidentifier())
_LEAF = st.sampled_from(["", "0", "1", "-1", "hvm", "pv", "all", "0-1", "a=b", "/x,raw,hda", "phy:a,xvda,w", "bridge=b"])
_VALUE = _LEAF | st.text(max_size=8) | st.lists(_LEAF | st.lists(_LEAF, max_size=2), max_size=3)


@given(st.dictionaries(st.sampled_from(_XL_KEYS), _VALUE, max_size=6))
def test_any_values_are_a_guest_or_an_error(values: dict) -> None:
    with suppress(ConfigError):
        found, _ = build_xl({"name": "a", "kernel": "/k", **values}, path="p", lines={})
        assert set(found.options) <= {"name", "kernel", *values}
        assert found.memory > 0
        assert found.vcpus > 0


@given(st.sampled_from(_XL_KEYS), _VALUE)
def test_each_key_is_kept_or_told(key: str, value: object) -> None:
    with suppress(ConfigError):
        found, told = build_xl({"name": "a", "kernel": "/k", key: value}, path="p", lines={})  # type: ignore[dict-item]
        assert key in found.options or key in {note.key for note in told}
