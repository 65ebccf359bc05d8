"""The texts of disk, vif, vfb and the rarer lists: what they mean, and xm's own words for mistakes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.config import specs, specs_more
from xmcompat.config.specs import parse_disk, parse_vif, vfb_from, vfb_values
from xmcompat.errors import ConfigError, XmError
from xmcompat.guest import Vbd, VbdMode, Vfb, Vif
from xmcompat.vdev import vdev_name, vdev_number


def message(read: object, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)  # type: ignore[operator]
    return caught.value.line()


# -- disk


@pytest.mark.parametrize(
    ("uname", "protocol", "path", "image_format"),
    [
        ("phy:/dev/vg0/web1", "phy", "/dev/vg0/web1", "raw"),
        ("phy:vg0/web1", "phy", "/dev/vg0/web1", "raw"),
        ("phy:sda7", "phy", "/dev/sda7", "raw"),
        ("file:/srv/web1.img", "file", "/srv/web1.img", "raw"),
        ("tap:aio:/srv/x", "tap:aio", "/srv/x", "raw"),
        ("tap:sync:/srv/x", "tap:sync", "/srv/x", "raw"),
        ("tap2:aio:/srv/x", "tap2:aio", "/srv/x", "raw"),
        ("tap:tapdisk:aio:/srv/x", "tap:tapdisk:aio", "/srv/x", "raw"),
        ("tap2:tapdisk:vhd:/srv/x", "tap2:tapdisk:vhd", "/srv/x", "vhd"),
        ("tap:qcow:/srv/x", "tap:qcow", "/srv/x", "qcow"),
        ("tap:qcow2:/srv/x", "tap:qcow2", "/srv/x", "qcow2"),
        ("tap:vmdk:/srv/x", "tap:vmdk", "/srv/x", "vmdk"),
        ("tap:vhd:/srv/x", "tap:vhd", "/srv/x", "vhd"),
        ("vhd:/srv/x", "vhd", "/srv/x", "vhd"),
        ("tap:ioemu:/srv/x", "tap:ioemu", "/srv/x", "raw"),
        ("tap:ioemu:qcow2:/srv/x", "tap:ioemu:qcow2", "/srv/x", "qcow2"),
        ("tap:aio:/srv/a:b", "tap:aio", "/srv/a:b", "raw"),
        ("file:/srv/a:b", "file", "/srv/a:b", "raw"),
        ("tap:ram:4096", "tap:ram", "4096", "ram"),
        ("drbd:web1", "drbd", "web1", "raw"),
        ("iscsi:iqn.2010-01.com.example:store", "iscsi", "iqn.2010-01.com.example:store", "raw"),
        ("nbd:192.0.2.7 10809", "nbd", "192.0.2.7 10809", "raw"),
        ("file:web1.img", "file", "/web1.img", "raw"),
        ("tap:aio:a/web1.img", "tap:aio", "/a/web1.img", "raw"),
        ("vhd:web1.vhd", "vhd", "/web1.vhd", "vhd"),
    ],
)
def test_back_ends(uname: str, protocol: str, path: str, image_format: str) -> None:
    assert parse_disk(f"{uname},xvda,w") == Vbd(
        uname=uname, protocol=protocol, path=path, image_format=image_format, vdev="xvda"
    )


@pytest.mark.parametrize(
    ("vdev", "name", "cdrom", "ioemu"),
    [
        ("xvda", "xvda", False, False),
        ("xvda2", "xvda2", False, False),
        ("/dev/sda1", "sda1", False, False),
        ("ioemu:hda", "hda", False, True),
        ("hdc:cdrom", "hdc", True, False),
        ("ioemu:hdc:cdrom", "hdc", True, True),
        ("hda:disk", "hda", False, False),
        ("51713", "51713", False, False),
        ("0xca01", "0xca01", False, False),
        ("xvdaa3", "xvdaa3", False, False),
    ],
)
def test_front_ends(vdev: str, name: str, cdrom: bool, ioemu: bool) -> None:
    disk = parse_disk(f"phy:a,{vdev},w")
    assert (disk.vdev, disk.cdrom, disk.ioemu) == (name, cdrom, ioemu)


@pytest.mark.parametrize(("mode", "meaning"), [("r", "r"), ("w", "w"), ("w!", "w!")])
def test_modes(mode: str, meaning: str) -> None:
    assert parse_disk(f"phy:a,xvda,{mode}").mode is VbdMode(meaning)


def test_a_cdrom_drive_may_be_empty() -> None:
    disk = parse_disk(",hdc:cdrom,r")
    assert (disk.uname, disk.path, disk.vdev, disk.cdrom) == ("", "", "hdc", True)


def test_a_cdrom_drive_whose_kind_is_given_may_be_empty() -> None:
    assert [parse_disk(f"{kind}:,hdc:cdrom,r").path for kind in ("phy", "file")] == ["", ""]


def test_the_fourth_and_fifth_field() -> None:
    disk = parse_disk("phy:a,xvda,r,0,x86_64-abi")
    assert (disk.mode, disk.backend, disk.abi) == (VbdMode.READ_ONLY, "0", "x86_64-abi")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("p", "Invalid disk specifier: p"),
        ("phy:a,xvda", "Invalid disk specifier: phy:a,xvda"),
        ("phy:a,xvda,w,0,x,y", "Invalid disk specifier: phy:a,xvda,w,0,x,y"),
        ("phy:a,xvda,rw", "Invalid mode"),
        ("phy:a,xvda,ro", "Invalid mode"),
        ("phy:a,xvda, w", "Invalid mode"),
        ("phy:a,xvda,!", "Invalid mode"),
        ("phy:a,xvda,", "Invalid mode"),
        ("phy:vg/a, xvda ,w", "Unable to find number for device ( xvda )"),
        ("phy:a,xyz,w", "Unable to find number for device (xyz)"),
        ("phy:a,hdc:dvd,w", "Unable to find number for device (hdc:dvd)"),
        ("phy:a,xvda16,w", "Unable to find number for device (xvda16)"),
        (",xvda,w", "Block device must have physical details specified"),
        ("/dev/vg/a,xvda,w", "Block device must have physical details specified"),
        ("no word:a,xvda,w", 'Block device type "no word" is invalid.'),
        ("../foo:a,xvda,w", 'Block device type "../foo" is invalid.'),
        ("tap:raw:/a,xvda,w", "tap:raw not a valid disk type"),
        ("tap:/a,xvda,w", "tap:/a not a valid disk type"),
        ("phy:,xvda,w", "Block device must have physical details specified"),
        ("file:,xvda,w", "Block device must have physical details specified"),
    ],
)
def test_mistakes_in_disks_have_xms_words(text: str, line: str) -> None:
    assert message(parse_disk, text) == line


@pytest.mark.parametrize(
    "text",
    [
        "phy:vg/a,xvda1,w" "phy:vg/b,xvda2,w",
        "phy:vg/a,xvda1,w!" "phy:vg/b,xvda2,r",
        "phy:vg/a,xvda1,w" "phy:vg/b,xvda2,w" "phy:vg/c,xvda3,w",
        "phy:vg/a,hda,w" ",hdc:cdrom,r",
        "phy:vg/a,ioemu:hda,w" "file:/b,ioemu:hdb,w",
    ],
)
def test_a_missing_comma_between_two_disks_is_named(text: str) -> None:
    assert message(parse_disk, text) == (
        f"Invalid disk specifier: {text}; a comma is missing between two disks of the list"
    )


# -- vif


def test_an_interface_with_all_defaults() -> None:
    assert parse_vif("") == parse_vif("  ") == Vif()


def test_every_key_of_an_interface_is_kept_and_blanks_around_it_are_not() -> None:
    text = ", ".join(f"{key} = the {key}" for key in specs.VIF_KEYS)
    assert parse_vif(text) == Vif(**{key: f"the {key}" for key in specs.VIF_KEYS})


def test_the_case_of_an_address_is_kept() -> None:
    assert parse_vif("mac=00:16:3E:AA:BB:CC, bridge=xenbr1") == Vif(mac="00:16:3E:AA:BB:CC", bridge="xenbr1")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("bridge=xenbr0,", " should be a pair, separated by an equals sign."),
        ("xenbr0", "xenbr0 should be a pair, separated by an equals sign."),
        ("brigde=xenbr0", "Invalid vif option: brigde"),
        ("mac=00:16:3e:00:00:01,mtu=1500", "Invalid vif option: mtu"),
    ],
)
def test_mistakes_in_interfaces_have_xms_words(text: str, line: str) -> None:
    assert message(parse_vif, text) == line


# -- vfb


@pytest.mark.parametrize(
    ("text", "vfb"),
    [
        ("type=vnc,vncunused=1,vncdisplay=5", Vfb(vnc=True, unused=True, display=5)),
        ("vnc=1,vncunused=0,vncdisplay=5", Vfb(vnc=True, unused=False, display=5)),
        ("vnc=1, vncpasswd=, keymap=de", Vfb(vnc=True, password="", keymap="de")),
        ("vnc=1,vncpasswd=s3cret,vnclisten=0.0.0.0", Vfb(vnc=True, password="s3cret", listen="0.0.0.0")),
        ("type=sdl,display=:0,xauthority=/x,opengl=0", Vfb(sdl=True, x_display=":0", xauthority="/x", opengl=False)),
        ("vnc=0,videoram=8", Vfb(videoram=8)),
        ("", Vfb()),
    ],
)
def test_frame_buffers(text: str, vfb: Vfb) -> None:
    assert vfb_from(vfb_values(text)) == vfb


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("vnc=1,foo=2", "configuration option foo unknown to vfbs"),
        ("type=spice", "configuration option spice unknown to vfbs"),
        ("vnc", "vnc should be a pair, separated by an equals sign."),
    ],
)
def test_mistakes_in_frame_buffers_have_xms_words(text: str, line: str) -> None:
    assert message(vfb_values, text) == line


def test_a_display_is_a_number() -> None:
    with pytest.raises(ConfigError) as caught:
        vfb_from({"vncdisplay": "x"})
    assert caught.value.line() == "vncdisplay = 'x' is not a whole number"


# -- the rarer ones


@pytest.mark.parametrize(
    ("option", "texts", "line"),
    [
        ("vif2", ["bridge=a,foo=1"], "Invalid vif2 option: foo"),
        ("vtpm", ["instance=1,back=0"], "Invalid vtpm specifier: instance=1,back=0"),
        ("vtpm", ["instance=1"], "Invalid vtpm specifier: instance=1"),
        ("vtpm", ["backend=0"], "Invalid vtpm specifier: backend=0"),
        ("vtpm", ["instance=1,backend=0,"], "Invalid vtpm specifier: instance=1,backend=0,"),
        ("vtpm", ["instance=x,backend=0"], "Invalid vtpm specifier: instance=x,backend=0"),
        ("vtpm", ["instance=0,backend=0"], "VM config error: vTPM instance must not be 0."),
        ("vscsi", ["/dev/sdb"], 'vscsi syntax error "/dev/sdb"'),
        ("vscsi", ["a,b,c,d"], 'vscsi syntax error "a,b,c,d"'),
        ("vusb", ["usbver=3"], "Invalid vusb option: usbver"),
        ("vusb", ["numports=17"], "Invalid vusb option: numports"),
        ("vusb", ["numports=2,port_3=1-1"], "Invalid vusb option: port_3"),
        ("access_control", ["policy=a,label=b", "policy=a,label=b"], "Multiple access_control definitions."),
        ("access_control", ["policy=a"], "access_control: 'policy=a' is not policy=P,label=L"),
        ("pci", ["1"], "Failed to parse pci device: 1"),
        ("pci", ["00:20.0"], "Failed to parse pci device: 00:20.0"),
        ("pci", ["00:1d.0,foo=1"], "Invalid pci option foo=1: "),
        ("cpuid", ["1:ecx=1"], "cpuid: '1:ecx=1' needs 32 characters of 0, 1, x, k, s for each register"),
        ("cpuid", ["host"], "cpuid: 'host' is not LEAF:eax=BITS,..."),
    ],
)
def test_mistakes_in_the_rarer_lists(option: str, texts: list[str], line: str) -> None:
    assert message(lambda _: specs_more.check(option, texts), "") == line


def test_a_pci_device_with_slot_and_option() -> None:
    assert specs_more.pci_trees("03:00.0@6,msitranslate=1") == [
        [
            "dev", ["domain", "0x0000"], ["bus", "0x03"], ["slot", "0x00"], ["func", "0x0"], ["vdevfn", "0x30"],
            ["opts", ["msitranslate", "1"]], ["key", "0000:03:00.0@6"],
        ]
    ]  # fmt: skip


def test_several_functions_of_a_pci_device_end_with_the_first() -> None:
    functions = [dict(map(tuple, tree[1:]))["func"] for tree in specs_more.pci_trees("0:1d.0,2-3")]  # type: ignore[arg-type]
    assert functions == ["0x3", "0x2", "0x0"]


@pytest.mark.parametrize("text", ["0000:03:00.0@6,msitranslate=1", "0001:1d:02.*", "0000:00:1d.0,2-3"])
def test_a_pci_device_is_read_back(text: str) -> None:
    assert specs_more.pci_texts(["pci", *specs_more.pci_trees(text)]) == [text]


def test_cpuid_masks_are_read_back() -> None:
    bits = "x" * 30 + "0k"
    texts = [f"1:ecx={bits},edx={bits}", f"0x80000001,0:eax={bits}"]
    assert specs_more.cpuid_texts(specs_more.cpuid_literal(texts)) == texts


@pytest.mark.parametrize("literal", ["{", "1", "[" * 1000, "{'1': 2}", "{'1': {'eax': 'x'}}", [["1"]]])
def test_a_cpuid_mask_that_is_none_is_an_error_of_ours(literal: object) -> None:
    with suppress(ConfigError):
        specs_more.cpuid_texts(literal)


# -- names and numbers of devices


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("xvda", 51712), ("xvda1", 51713), ("xvdp15", 51967), ("xvdq", 1 << 28 | 16 << 8), ("xvdiz15", 268501775),
        ("hda", 768), ("hdb1", 833), ("hdc", 5632), ("sda", 2048), ("sdb3", 2067), ("sdq", 16640), ("hdt63", 23423),
    ],
)  # fmt: skip
def test_numbers_of_devices(name: str, number: int) -> None:
    assert vdev_number(name) == number
    assert vdev_name(number) == name


@pytest.mark.parametrize(("name", "number"), [("51712", 51712), ("0xca01", 51713), ("/dev/sda", 2048)])
def test_a_number_is_its_own(name: str, number: int) -> None:
    assert vdev_number(name) == number


@pytest.mark.parametrize("name", ["", "xvd", "vda", "xvda16", "hdu", "hda64", "sdja", "xvdA", "sda01", "xvda1p", " sda"])
def test_what_is_no_device(name: str) -> None:
    assert vdev_number(name) is None


@given(st.integers(0, 1 << 29))
def test_names_and_numbers_agree(number: int) -> None:
    name = vdev_name(number)
    assert name is None or vdev_number(name) == number


# -- laws

PIECES = st.sampled_from(
    [*"phy: file: tap: aio: qcow2: /dev/x xvda hdc:cdrom sda1 w r w! , , , = mac bridge vnc 1 0 : . @ -".split(), " "]
)


@given(st.lists(PIECES, max_size=14).map("".join))
def test_nothing_fails_but_as_an_error_of_ours(text: str) -> None:
    options = ("vif2", "vtpm", "vscsi", "vusb", "pci", "cpuid", "access_control")
    for read in (parse_disk, parse_vif, vfb_values, *(lambda t, o=option: specs_more.check(o, [t]) for option in options)):
        with suppress(XmError):
            read(text)
