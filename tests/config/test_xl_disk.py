"""The texts of xl's disk option."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.config.xl_disk import LONGEST, parse_disk
from xmcompat.errors import ConfigError, NotConvertible
from xmcompat.guest import Vbd, VbdMode

PLAIN = Vbd(uname="phy:/dev/vg/a", protocol="phy", path="/dev/vg/a", vdev="xvda")


@pytest.mark.parametrize(
    "text",
    [
        "/dev/vg/a,,xvda", "/dev/vg/a,raw,xvda", "/dev/vg/a,raw,xvda,rw", "/dev/vg/a,raw,xvda,w", "/dev/vg/a,raw,xvda,",
        "phy:/dev/vg/a,xvda,w", "phy:vg/a,xvda", "vg/a,,xvda", " /dev/vg/a, raw, xvda, rw", "raw:/dev/vg/a,xvda,w",
        "format=raw, vdev=xvda, access=rw, target=/dev/vg/a", "vdev=xvda,/dev/vg/a", "/dev/vg/a,vdev=xvda",
        "file:phy:/dev/vg/a,xvda,w", "/dev/vg/a,raw,d0", "/dev/vg/a,raw,xvda,rw,devtype=disk,trusted",
        "tap2:tapdisk:aio:/dev/vg/a,xvda,w", "/dev/vg/a,,/dev/xvda",
    ],
)  # fmt: skip
def test_spellings_of_one_volume_agree(text: str) -> None:
    assert parse_disk(text) == PLAIN


def test_images_and_their_formats() -> None:
    assert parse_disk("/srv/a.img,raw,xvda") == Vbd(uname="file:/srv/a.img", protocol="file", path="/srv/a.img", vdev="xvda")
    for text in ("/srv/a.q,qcow2,hda,r", "qcow2:/srv/a.q,hda,ro", "tap:qcow2:/srv/a.q,hda,r"):
        assert parse_disk(text) == Vbd(
            uname="tap:qcow2:/srv/a.q", protocol="tap:qcow2", path="/srv/a.q", image_format="qcow2", vdev="hda",
            mode=VbdMode.READ_ONLY,
        )  # fmt: skip
    assert [parse_disk(f"/srv/a,{word},hda").image_format for word in ("qcow", "vhd", "qed", "raw", "")] == [
        "qcow", "vhd", "qed", "raw", "raw",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [",hdc:cdrom,r", ",,hdc,r,cdrom", "vdev=hdc,cdrom", "devtype=cdrom,vdev=hdc,format=empty", "/x,empty,hdc,,cdrom",
     ",,hdc:cdrom", "vdev=hdc:cdrom,access=rw"],
)  # fmt: skip
def test_a_drive_without_medium(text: str) -> None:
    assert parse_disk(text) == Vbd(
        uname="", protocol="", path="", vdev="hdc", mode=VbdMode.READ_ONLY, cdrom=True
    )


def test_a_cdrom_is_read_only_whatever_is_said() -> None:
    for text in ("file:/x.iso,hdc:cdrom,r", "/x.iso,raw,hdc,w,cdrom", "/x.iso,,hdc,devtype=cdrom", "file:/x.iso,ioemu:hdc:cdrom,w"):
        assert parse_disk(text) == Vbd(
            uname="file:/x.iso", protocol="file", path="/x.iso", vdev="hdc", mode=VbdMode.READ_ONLY, cdrom=True
        )


def test_target_takes_the_rest_of_the_text() -> None:
    assert parse_disk("vdev=xvda,target=/srv/a=b, c,d").path == "/srv/a=b, c,d"


def test_scripts() -> None:
    for text in ("iscsi:iqn.2001-05:x,xvda,w", "script=block-iscsi,vdev=xvda,target=iqn.2001-05:x"):
        vbd = parse_disk(text)
        assert (vbd.uname, vbd.protocol, vbd.path, vbd.script) == (
            "iscsi:iqn.2001-05:x", "iscsi", "iqn.2001-05:x", "block-iscsi",
        )  # fmt: skip
    assert parse_disk("drbd:r0,xvda,w").uname == "drbd:r0"
    assert parse_disk("vdev=xvda,script=/etc/xen/scripts/block-own,target=a").protocol == "own"


def test_a_scheme_of_qemus_is_no_path() -> None:
    vbd = parse_disk("vdev=xvda,backendtype=qdisk,target=rbd:pool/image:id=admin")
    assert (vbd.protocol, vbd.path, vbd.backendtype) == ("rbd", "pool/image:id=admin", "qdisk")


def test_the_rarer_parameters() -> None:
    vbd = parse_disk("/dev/vg/a,,xvda,,direct-io-safe,discard,backend=2,backendtype=phy,specification=virtio")
    assert (vbd.direct_io_safe, vbd.discard, vbd.backend, vbd.backendtype, vbd.specification) == (
        True, True, "2", "phy", "virtio",
    )  # fmt: skip
    assert parse_disk("/dev/vg/a,,xvda,no-discard").discard is False
    assert parse_disk("/dev/vg/a,,xvda").discard is None
    assert parse_disk("/dev/vg/a,,d3p1").vdev == "xvdd1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/dev/v/a,xvda,w", "unknown value for format: near `xvda'"),
        ("/dev/v/a,,xvda,w!", "unknown value for access: near `w!'"),
        ("phy:/dev/v/a,xvda,w!", "unknown value for access: near `w!'"),
        ("/dev/v/a", "no vdev specified:"),
        ("", "no vdev specified:"),
        ("/dev/v/a,raw,,w", "no vdev specified:"),
        ("vdev=xvda", "no target specified:"),
        (",,xvda", "no target specified:"),
        ("/dev/v/a,raw,xvda,w,w", "too many positional parameters: near `w'"),
        ("phy:/dev/v/a,xvda,w,0", "too many positional parameters: near `0'"),
        ("/dev/v/a,raw,xvda,vdev=xvdb", "vdev respecified: near `vdev=xvdb'"),
        ("/dev/v/a,raw,xvda,target=/x", "target respecified: near `target=/x'"),
        ("iscsi:nbd:x,xvda", "script respecified: near `nbd:'"),
        ("/dev/v/a,raw,xvda,backendtype=own", "unknown value for backendtype: near `backendtype=own'"),
        ("/dev/v/a,raw,xvda,devtype=tape", "unknown value for devtype: near `devtype=tape'"),
        ("/dev/v/a,raw,xvda:tape", "unknown value for devtype: near `xvda:tape'"),
        ("/dev/v/a,raw,xvda,size=5", "unknown parameter: near `size=5'"),
        ("/dev/a=b,raw,xvda", "bad disk syntax: near `/dev/a=b'"),
        ("foo:/x,xvda,w", "unknown deprecated disk prefix: near `foo:/x'"),
    ],
)
def test_errors_are_xls(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_disk(text)
    assert caught.value.message == f"config parsing error in disk specification: {message} in `{text}'"


def test_blanks_after_a_parameter_belong_to_it() -> None:
    with pytest.raises(ConfigError, match=r"^Invalid or unsupported virtual disk identifier xvda $"):
        parse_disk("/dev/v/a, raw, xvda , rw")


@pytest.mark.parametrize("word", ["colo", "colo-host=10.0.0.1", "active-disk=/a", "hidden-disk=/b"])
def test_a_disk_that_a_second_host_follows_is_refused(word: str) -> None:
    with pytest.raises(NotConvertible, match="COLO"):
        parse_disk(f"/dev/v/a,raw,xvda,w,{word}")


def test_long_texts_are_refused() -> None:
    with pytest.raises(ConfigError, match="no more than 8192 characters"):
        parse_disk("cdrom," * LONGEST)


_WORD = st.sampled_from(
    "phy: qcow2: ioemu: raw xvda hdc:cdrom w r rw /dev/vg/a target=/x vdev=xvdb cdrom discard format=vhd , =".split()
)


@given(st.lists(_WORD, max_size=8).map(",".join) | st.text(max_size=40))
def test_any_text_is_a_disk_or_an_error(text: str) -> None:
    with suppress(ConfigError):
        vbd = parse_disk(text)
        assert vbd.vdev
        assert vbd.uname == (f"{vbd.protocol}:{vbd.path}" if vbd.protocol else "")
        assert not vbd.cdrom or vbd.mode is VbdMode.READ_ONLY
