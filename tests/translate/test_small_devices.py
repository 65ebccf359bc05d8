"""Sound cards, the TPM, channels and folders."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.translate.guests import HOST, HVM, PV, XL, said
from xmcompat.backends.devices import Filesystem, GuestChannel
from xmcompat.errors import NotConvertible
from xmcompat.guest import Channel, GuestConfig, SharedFolder, Tpm
from xmcompat.notes import Fate
from xmcompat.translate.machine import Translation, translate


def done(guest: GuestConfig, **options: object) -> Translation:
    return translate(replace(guest, options=options), HOST)


# -- sound


@pytest.mark.parametrize(
    ("words", "models"),
    [
        ("", ()), ("sb16", ("sb16",)), ("hda", ("ich6",)), ("all", ("sb16", "es1370")), ("ac97, es1370", ("ac97", "es1370")),
        ("all,sb16", ("sb16", "es1370")),
    ],
)  # fmt: skip
def test_sound_cards(words: str, models: tuple[str, ...]) -> None:
    assert done(HVM, soundhw=words).machine.sounds == models
    assert done(PV, soundhw=words).machine.sounds == ()


def test_cards_that_libvirt_does_not_have_are_told() -> None:
    found = done(HVM, soundhw="adlib,es1370")
    assert found.machine.sounds == ("es1370",)
    assert said(found, "soundhw") == [(Fate.APPROXIMATED, "left out: libvirt has no such card")]


def test_the_speaker_stays_mute() -> None:
    found = done(HVM, soundhw="pcspk")
    assert found.machine.sounds == ()
    assert said(found, "soundhw")[0][1].startswith("left out: the guest has its speaker")


def test_a_card_of_xens_kind_is_an_emulated_one() -> None:
    found = done(replace(PV, dialect=XL.dialect), vsnd=[["CARD, short-name=a", ["PCM, name=b"]]])
    assert found.machine.sounds == ("ich9",)
    assert said(found, "vsnd") == [(Fate.APPROXIMATED, "a sound card of Xen's kind is an emulated ich9")]
    with pytest.raises(NotConvertible, match="KVM has no driver domains"):
        done(XL, vsnd=[["CARD, backend=sounddom"]])


# -- TPM


def test_a_tpm_is_new_and_empty_and_that_is_told_loudly() -> None:
    found = translate(replace(PV, tpms=(Tpm(instance="1", backend="0"), Tpm())), HOST)
    assert found.machine.tpm == "1.2"
    assert [fate for fate, _ in said(found, "vtpm")] == [Fate.APPROXIMATED]
    assert said(found, "vtpm[1]") == [(Fate.APPROXIMATED, "left out: a guest has one TPM")]
    assert done(PV).machine.tpm == ""


# -- channels and folders


def test_channels() -> None:
    guest = replace(
        PV, channels=(Channel(name="org.a"), Channel(name="org.b", connection="socket", path="/run/b.sock"))
    )
    found = translate(guest, HOST)
    assert found.machine.channels == (
        GuestChannel(name="org.a", type="pty"), GuestChannel(name="org.b", type="unix", path="/run/b.sock"),
    )  # fmt: skip
    assert said(found, "channel[0]") == [
        (Fate.APPROXIMATED, "the guest opens it as /dev/virtio-ports/org.a, not as a console of Xen's")
    ]


@pytest.mark.parametrize(
    ("channel", "reason"),
    [
        (Channel(name="a", connection="socket", path="b.sock"), "a socket needs an absolute path"),
        (Channel(name=""), "a channel needs a name"),
        (Channel(name="a", backend="dom7"), "KVM has no driver domains"),
    ],
)
def test_channels_that_cannot_be_had(channel: Channel, reason: str) -> None:
    with pytest.raises(NotConvertible, match=reason):
        translate(replace(PV, channels=(channel,)), HOST)


@pytest.mark.parametrize(
    ("model", "mode"),
    [("none", "squash"), ("passthrough", "passthrough"), ("mapped", "mapped"), ("mapped-xattr", "mapped")],
)
def test_folders(model: str, mode: str) -> None:
    found = translate(replace(PV, folders=(SharedFolder(tag="srv", path="/srv", security_model=model),)), HOST)
    assert found.machine.folders == (Filesystem(tag="srv", path="/srv", accessmode=mode),)
    assert said(found, "p9[0]")[0][1] == "the guest mounts it with 'mount -t 9p -o trans=virtio srv', not trans=xen"


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        (SharedFolder(tag="", path="/srv"), "a tag has 1 to 31 characters"),
        (SharedFolder(tag="a" * 32, path="/srv"), "a tag has 1 to 31 characters"),
        (SharedFolder(tag="a", path="srv"), "a folder needs an absolute path"),
        (SharedFolder(tag="a", path="/srv", security_model="open"), "that is no security model; write none"),
        (SharedFolder(tag="a", path="/srv", backend="filedom"), "KVM has no driver domains"),
    ],
)
def test_folders_that_cannot_be_had(folder: SharedFolder, reason: str) -> None:
    with pytest.raises(NotConvertible, match=reason):
        translate(replace(PV, folders=(folder,)), HOST)
