"""Displays and graphics cards: VNC, SPICE, the host's own card, displays of Xen's kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.translate.guests import HOST, HVM, PV, XL, said
from xmcompat.backends.devices import Graphics, GuestChannel, UsbBus, Video
from xmcompat.backends.machine import Machine
from xmcompat.config.account import account
from xmcompat.errors import NotConvertible
from xmcompat.guest import Dialect, GuestConfig, GuestKind, KernelBoot, PciDevice, Vfb
from xmcompat.notes import Fate
from xmcompat.translate.machine import translate

SPICE = {"spice": 1, "spicedisable_ticketing": 1, "spiceport": 6000}


def machine(guest: GuestConfig, **options: object) -> Machine:
    return translate(replace(guest, options=options), HOST).machine


@pytest.mark.parametrize(
    ("vfb", "graphics"),
    [
        (Vfb(vnc=True), Graphics()),
        (Vfb(vnc=True, display=5), Graphics()),
        (Vfb(vnc=True, display=5, unused=False), Graphics(port=5905)),
        (Vfb(vnc=True, unused=False), Graphics(port=5900)),
        (Vfb(vnc=True, listen="[::1]"), Graphics(listen="::1")),
        (Vfb(vnc=True, password=""), Graphics()),
        (Vfb(vnc=True, password="12345678"), Graphics(password="12345678")),
        (Vfb(vnc=True, password="123456789"), Graphics(password="12345678")),
        (Vfb(vnc=True, password="ääääää"), Graphics(password="ääää")),
        (Vfb(vnc=True, keymap="de"), Graphics(keymap="de")),
        (Vfb(vnc=True, keymap="klingon"), Graphics()),
        (Vfb(sdl=True), Graphics()),
    ],
)
def test_displays(vfb: Vfb, graphics: Graphics) -> None:
    assert machine(replace(PV, vfbs=(vfb,))).graphics == (graphics,)
    assert machine(replace(HVM, vfbs=(vfb,))).graphics == (graphics,)


def test_the_hosts_password_and_address_serve_where_the_guest_says_nothing() -> None:
    facts = replace(HOST, vnc_password="hostpass", vnc_listen="0.0.0.0")
    given = replace(PV, vfbs=(Vfb(vnc=True),))
    assert translate(given, facts).machine.graphics == (Graphics(listen="0.0.0.0", password="hostpass"),)
    given = replace(PV, vfbs=(Vfb(vnc=True, password=""),))
    assert translate(given, facts).machine.graphics == (Graphics(listen="0.0.0.0"),)


def test_the_hosts_keymap_serves_where_the_guest_names_none() -> None:
    facts = replace(HOST, keymap="de")
    assert translate(replace(PV, vfbs=(Vfb(vnc=True),)), facts).machine.graphics[0].keymap == "de"
    assert translate(replace(PV, vfbs=(Vfb(vnc=True, keymap="fr"),)), facts).machine.graphics[0].keymap == "fr"


@pytest.mark.parametrize(("listen", "fits"), [("0.0.0.0", True), ("host-1.example", True), ("[::1]", True), ("/srv", False),
                                              ("a b", False), ("fe80::1%eth0", False)])  # fmt: skip
def test_the_address_must_be_one(listen: str, fits: bool) -> None:
    guest = replace(PV, vfbs=(Vfb(vnc=True, listen=listen),))
    if fits:
        assert machine(guest).graphics[0].listen == listen.strip("[]")
        return
    with pytest.raises(NotConvertible, match="that is no address; write one like"):
        machine(guest)


def test_a_display_beyond_the_last_port_is_refused() -> None:
    with pytest.raises(NotConvertible, match="no such display; write one of 0 to 59635"):
        machine(replace(PV, vfbs=(Vfb(vnc=True, display=59636, unused=False),)))


@pytest.mark.parametrize(
    ("options", "video"),
    [
        ({}, Video(model="cirrus", vram=16384)),
        ({"stdvga": 1}, Video(model="vga", vram=16384)),
        ({"stdvga": 1, "videoram": 33}, Video(model="vga", vram=65536)),
        ({"stdvga": 1, "videoram": "1024"}, Video(model="vga", vram=524288)),
        ({"nographic": 1}, Video()),
        ({"vga": "qxl"}, Video(model="cirrus", vram=16384)),  # xm does not know it
    ],
)
def test_video_of_a_guest_of_xm_with_a_bios(options: dict[str, object], video: Video) -> None:
    assert machine(replace(HVM, vfbs=(Vfb(vnc=True),)), **options).video == video


@pytest.mark.parametrize(
    ("options", "video"),
    [
        ({}, Video(model="cirrus", vram=16384)),
        ({"vga": "stdvga"}, Video(model="vga", vram=16384)),
        ({"vga": "none"}, Video()),
        ({"vga": "qxl"}, Video(model="qxl", ram=65536, vram=65536, vgamem=16384)),
        ({"vga": "qxl", "videoram": 256}, Video(model="qxl", ram=131072, vram=131072, vgamem=16384)),
    ],
)
def test_video_of_a_guest_of_xl_with_a_bios(options: dict[str, object], video: Video) -> None:
    assert machine(replace(XL, vfbs=(Vfb(vnc=True),)), **options).video == video


@pytest.mark.parametrize(
    ("options", "video"),
    [
        ({"vnc": 0}, Video(model="cirrus", vram=16384)),
        ({"vnc": 0, "vga": "stdvga"}, Video(model="vga", vram=16384)),
        ({"vnc": 0, "vga": "none"}, Video()),
        ({"vnc": 0, "nographic": 1}, Video()),
    ],
)
def test_a_guest_of_xl_keeps_its_card_where_nobody_looks_at_it(options: dict[str, object], video: Video) -> None:
    found = machine(XL, **options)
    assert (found.graphics, found.video) == ((), video)


@pytest.mark.parametrize("kind", [GuestKind.PV, GuestKind.PVH])
def test_a_paravirtual_guest_of_xl_has_no_card(kind: GuestKind) -> None:
    assert machine(replace(PV, dialect=Dialect.XL, kind=kind)).video == Video()


def test_without_a_display_there_is_no_video_and_no_usb() -> None:
    for guest in (PV, HVM, replace(PV, vfbs=(Vfb(),))):
        found = machine(guest)
        assert (found.graphics, found.video, found.usb, found.inputs) == ((), Video(), (), ())


def test_a_frame_buffer_of_xens_kind_brings_a_pointer_that_knows_where_it_is() -> None:
    found = machine(replace(PV, vfbs=(Vfb(vnc=True, videoram=40),)))
    assert (found.video, found.inputs, found.usb) == (
        Video(model="vga", vram=65536), (("tablet", "usb"),), (UsbBus(model="piix3-uhci"),),
    )  # fmt: skip


def test_the_second_display_is_left_out_and_told_by_its_key() -> None:
    both = (Vfb(vnc=True, display=1, unused=False), Vfb(vnc=True, display=2, unused=False))
    found = translate(replace(PV, vfbs=both, options={"vfb": ["a", "b"]}), HOST)
    assert [one.port for one in found.machine.graphics] == [5901]
    assert said(found, "vfb[1]") == [(Fate.APPROXIMATED, "left out: a guest has one VNC display on KVM")]


def test_xls_own_display_gives_way_to_a_frame_buffer_in_silence_unless_it_is_asked_for() -> None:
    both = (Vfb(vnc=True), Vfb(vnc=True))
    default = translate(replace(XL, vfbs=both, options={"vfb": ["vnc=1"]}), HOST)
    assert [note.key for note in default.notes if "left out" in note.reason] == []
    asked = translate(replace(XL, vfbs=both, options={"vfb": ["vnc=1"], "vnc": 1}), HOST)
    assert said(asked, "vfb[0]") == [(Fate.APPROXIMATED, "left out: a guest has one VNC display on KVM")]


def test_the_hosts_card_takes_the_place_of_every_display() -> None:
    guest = replace(HVM, vfbs=(Vfb(vnc=True),), pci=(PciDevice(bus=1, slot=0),))
    found = translate(replace(guest, options={"gfx_passthru": "1"}), HOST)
    assert (found.machine.graphics, found.machine.video, len(found.machine.hostdevs)) == ((), Video(), 1)
    assert said(found, "gfx_passthru")[0][0] is Fate.APPROXIMATED
    assert machine(guest, gfx_passthru=0).graphics == (Graphics(),)


def test_the_hosts_card_must_be_given() -> None:
    found = translate(replace(HVM, vfbs=(Vfb(vnc=True),), options={"gfx_passthru": "igd"}), HOST)
    assert found.machine.graphics == (Graphics(),)
    assert said(found, "gfx_passthru") == [
        (Fate.APPROXIMATED, "no device of the host is given; the emulated card stays")
    ]


# -- SPICE


def test_spice_stands_before_vnc_where_both_are_on() -> None:
    found = machine(replace(XL, vfbs=(Vfb(vnc=True),)), **SPICE)
    assert found.graphics == (
        Graphics(type="spice", listen="0.0.0.0", port=6000, clipboard=False), Graphics(type="vnc"),
    )  # fmt: skip
    assert found.video == Video(model="cirrus", vram=16384)


def test_all_of_spice() -> None:
    found = machine(
        XL, spice=1, spicehost="192.0.2.1", spiceport=6000, spicetls_port=6001, spicepasswd="s3cret",
        spiceagent_mouse=0, spicevdagent=1, spice_clipboard_sharing=1, spiceusbredirection=3, keymap="de",
        spice_image_compression="auto_glz", spice_streaming_video="filter", vga="qxl",
    )  # fmt: skip
    assert found.graphics == (
        Graphics(
            type="spice", listen="192.0.2.1", port=6000, tls_port=6001, password="s3cret", keymap="de", mouse="server",
            clipboard=True, image_compression="auto_glz", streaming="filter",
        ),
    )  # fmt: skip
    assert found.channels == (GuestChannel(name="com.redhat.spice.0", type="spicevmc"),)
    assert (found.redirections, found.usb) == (3, (UsbBus(model="ich9-ehci1"),))


@pytest.mark.parametrize(
    ("options", "key", "reason"),
    [
        ({"spiceport": 0}, "spice", "no port is given; a free one is taken"),
        ({"spicetls_port": 6001}, "spicetls_port", "the host's libvirt must have TLS for SPICE on"),
        ({"spice_clipboard_sharing": 1}, "spice_clipboard_sharing",
         "the clipboard goes through the guest's agent, which is off"),
        ({"spiceusbredirection": 9}, "spiceusbredirection", "4 at most, as with xl"),
        ({"spice_streaming_video": "fast"}, "spice_streaming_video", "left out: it is none of filter, all, off"),
        ({"keymap": "klingon"}, "keymap", "left out: QEMU has no such keymap"),
        ({"nographic": 1}, "spice", "left out: nographic asks for no display"),
    ],
)  # fmt: skip
def test_what_spice_cannot_be_is_told(options: dict[str, object], key: str, reason: str) -> None:
    found = translate(replace(XL, options={**SPICE, **options}), HOST)
    assert said(found, key) == [(Fate.APPROXIMATED, reason)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spicedisable_ticketing": 0}, "there is no password; give one, or let everybody in"),
        ({"spiceport": 70000}, "that is no port; write one of 1 to 65535"),
        ({"spiceport": "9" * 5000}, "that is no port; write one of 1 to 65535"),
    ],
)
def test_spice_without_a_password_or_with_no_port_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(NotConvertible, match=message):
        machine(XL, **{**SPICE, **options})


def test_spice_is_nothing_to_a_paravirtual_guest_or_to_xm() -> None:
    for guest in (PV, HVM):
        assert machine(guest, **SPICE).graphics == ()


# -- displays of Xen's kind


def test_displays_of_xens_kind_are_one_virtio_card() -> None:
    guest = replace(XL, kind=PV.kind, boot=PV.boot)
    found = translate(
        replace(guest, options={"vdispl": ["be-alloc=1,connectors=id0:1920x1080;id1:800x600", "connectors=id2:1x1"]}), HOST
    )
    assert found.machine.video == Video(model="virtio", heads=3)
    assert said(found, "vdispl")[0][0] is Fate.APPROXIMATED
    with pytest.raises(NotConvertible, match="KVM has no driver domains"):
        machine(guest, vdispl=["backend=dispdom,connectors=id0:1x1"])


@pytest.mark.parametrize(
    ("guest", "key", "reason"),
    [
        (replace(HVM, vfbs=(Vfb(sdl=True),), options={"sdl": 1}), "sdl", "an SDL window is a VNC display here, on 127.0.0.1"),
        (replace(HVM, vfbs=(Vfb(sdl=True, vnc=True),), options={"sdl": 1, "vnc": 1}), "sdl",
         "no SDL window opens; the VNC display alone is there, on 127.0.0.1"),
        (replace(PV, boot=KernelBoot(kernel="/k"), vfbs=(Vfb(sdl=True),), options={"vfb": ["sdl=1"]}), "vfb[0]",
         "an SDL window is a VNC display here, on 127.0.0.1"),
    ],
)  # fmt: skip
def test_an_sdl_window_is_told_once_with_its_value(guest: GuestConfig, key: str, reason: str) -> None:
    loud = [note for note in (*account(guest), *translate(guest, HOST).notes) if not note.harmless]
    assert [(note.key, note.value, note.reason) for note in loud] == [(key, "1" if key == "sdl" else "sdl=1", reason)]


@pytest.mark.parametrize(("word", "card"), [("igd", "0000:03:00.0"), ("1", "0000:00:02.0")])
def test_an_intel_card_lacks_what_libvirt_does_not_set(word: str, card: str) -> None:
    bus, slot = int(card[5:7], 16), int(card[8:10], 16)
    guest = replace(XL, pci=(PciDevice(bus=bus, slot=slot),), options={"gfx_passthru": word})
    reasons = [reason for _, reason in said(translate(guest, HOST), "gfx_passthru")]
    assert len(reasons) == 2
    assert "x-igd-opregion" in reasons[1]
    other = replace(guest, pci=(PciDevice(bus=3, slot=0),), options={"gfx_passthru": "1"})
    assert len(said(translate(other, HOST), "gfx_passthru")) == 1
