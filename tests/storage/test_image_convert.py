"""Formats: told from headers, converted there and back; images that would have other files read are refused."""

from __future__ import annotations

import os
import random
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmcompat.storage.image_convert import convert
from xmcompat.storage.image_device import held, locked_by_qemu
from xmcompat.storage.image_format import FORMATS, recognise
from xmcompat.storage.image_join import join, split
from xmcompat.storage.image_programs import ImageError, ImageInUse, require
from xmcompat.storage.image_source import opened


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a sparse disk that has some bytes in it, raw.img."""
    monkeypatch.chdir(tmp_path)
    with open("raw.img", "wb") as file:
        file.truncate(8 << 20)
        for start in (0, 3 << 20, (8 << 20) - 512):
            file.seek(start)
            file.write(random.Random(start).randbytes(512))
    return tmp_path


def qemu_img(*words: str) -> None:
    subprocess.run(["qemu-img", *words], check=True, capture_output=True)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_there_and_back_is_the_same(format: str, place: Path) -> None:
    convert("raw.img", "there", format)
    with opened("there") as source:
        assert source.header.format == format
    convert("there", "back", "raw")
    assert Path("back").read_bytes() == Path("raw.img").read_bytes()
    assert Path("back").stat().st_blocks * 512 < 1 << 20
    assert sorted(os.listdir()) == ["back", "raw.img", "there"]


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_an_image_of_another_user_is_read_with_his_rights(mode: int, place: Path) -> None:
    os.chmod(".", 0o700)
    os.chmod("raw.img", mode)
    os.chown("raw.img", 12345, 12345)
    convert("raw.img", "out", "qcow2")
    assert (os.stat("out").st_uid, os.stat("out").st_gid) == (os.geteuid(), os.getegid())


def test_an_image_that_names_a_file_of_the_host_is_refused(place: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", "evil.qcow2")
    with pytest.raises(ImageError, match="has the backing file '/etc/passwd'"):
        convert("evil.qcow2", "out", "raw")
    qemu_img("create", "-f", "qcow2", "-o", "data_file=other,data_file_raw=on", "data.qcow2", "1M")
    for allowed in (False, True):
        with pytest.raises(ImageError, match="a data file of its own"):
            convert("data.qcow2", "out", "raw", backing_ok=allowed)
    qemu_img("create", "-f", "vmdk", "-o", "subformat=monolithicFlat", "flat.vmdk", "1M")
    with pytest.raises(ImageError, match="vmdk descriptor, which is not read"):
        convert("flat.vmdk", "out", "raw")
    assert not Path("out").exists()


def test_a_chain_is_read_where_that_is_allowed(place: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-b", "raw.img", "-F", "raw", "over.qcow2")
    convert("over.qcow2", "out", "raw", backing_ok=True)
    assert Path("out").read_bytes() == Path("raw.img").read_bytes()
    qemu_img("create", "-u", "-f", "qcow2", "-b", "nbd://127.0.0.1:1/x", "-F", "raw", "net.qcow2", "1M")
    with pytest.raises(ImageError, match="is no plain file"):
        convert("net.qcow2", "out2", "raw", backing_ok=True)
    qemu_img("create", "-f", "qcow2", "round.qcow2", "1M")
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", "round.qcow2", "-F", "qcow2", "round.qcow2")
    with pytest.raises(ImageError, match="lead back to it"):
        convert("round.qcow2", "out2", "raw", backing_ok=True)


def test_a_disk_is_raw_where_it_is_said_so_whatever_a_guest_wrote_in_it(place: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", "evil.qcow2")
    convert("evil.qcow2", "out", "raw", source_format="raw")
    assert Path("out").read_bytes().rstrip(b"\0") == Path("evil.qcow2").read_bytes().rstrip(b"\0")
    with pytest.raises(ImageError, match=r"raw\.img is not vmdk: its header says raw"):
        convert("raw.img", "out2", "vmdk", source_format="vmdk")


@given(st.sampled_from([b"QFI\xfb", b"KDMV", b"conectix", b"", b"QFI\xfb\0\0\0\3", b"vhdxfile"]), st.binary(max_size=600))
@settings(deadline=None)
def test_any_header_is_a_format_or_one_error(magic: bytes, rest: bytes) -> None:
    fd = os.memfd_create("header")
    try:
        os.write(fd, magic + rest)
        with suppress(ImageError):
            assert recognise(fd, "x").format in FORMATS
    finally:
        os.close(fd)


def test_nothing_is_replaced_unasked_and_no_half_file_stays(place: Path) -> None:
    Path("out").write_text("precious")
    with pytest.raises(ImageError, match="out is there already") as caught:
        convert("raw.img", "out", "qcow2")
    assert caught.value.line() == "out is there already; --force replaces it"
    os.symlink("elsewhere", "link")
    with pytest.raises(ImageError, match="link is a symbolic link to"):
        convert("raw.img", "link", "qcow2", force=True)
    Path("broken").write_bytes(b"QFI\xfb\0\0\0\3" + bytes(600))
    with pytest.raises(ImageError, match="qemu-img failed"):
        convert("broken", "out", "raw", force=True)
    assert Path("out").read_text() == "precious"
    assert sorted(os.listdir()) == ["broken", "link", "out", "raw.img"]
    convert("raw.img", "out", "raw", force=True)
    assert Path("out").read_bytes() == Path("raw.img").read_bytes()


@pytest.mark.parametrize(("before", "after"), [(0o600, 0o600), (0o640, 0o640), (0o644, 0o644), (0o777, 0o644)])
def test_what_is_made_of_a_private_image_is_as_private(before: int, after: int, place: Path) -> None:
    mask = os.umask(0o022)
    try:
        os.chmod("raw.img", before)
        convert("raw.img", "out", "qcow2")
        join([(1, "raw.img")], "joined")
        os.chmod("joined", before)
        split("joined", ".")
    finally:
        os.umask(mask)
    assert {stat.S_IMODE(os.stat(name).st_mode) for name in ("out", "xvda1.img")} == {after}


def test_two_at_once_on_one_output_is_refused_and_a_draft_that_was_left_is_not(place: Path) -> None:
    import fcntl

    with open(".out.part", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ImageInUse, match="out is being made by another process"):
            convert("raw.img", "out", "raw")
    os.chown(".out.part", 65534, 65534)
    convert("raw.img", "out", "raw")
    assert sorted(os.listdir()) == ["out", "raw.img"]


def test_an_image_that_qemu_has_open_is_in_use_and_one_that_is_held_is_for_qemu(place: Path) -> None:
    qemu = subprocess.Popen(["qemu-io", "-f", "raw", "raw.img"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert qemu.stdout is not None and qemu.stdin is not None
        assert qemu.stdout.read(8) == b"qemu-io>"
        with open("raw.img", "rb") as file:
            assert locked_by_qemu(file.fileno())
            with pytest.raises(ImageInUse, match="QEMU has it open"), held("raw.img", file.fileno()):
                pass
    finally:
        qemu.communicate(b"quit\n", timeout=10)
    with open("raw.img", "rb") as file, held("raw.img", file.fileno()):
        done = subprocess.run(["qemu-io", "-f", "raw", "raw.img"], input=b"", capture_output=True, check=False)
        assert b"Failed to get" in done.stderr


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xmcompat.storage.image_programs.has", lambda _: False)
    with pytest.raises(ImageError, match="the program .qemu-img. is missing") as caught:
        require("qemu-img")
    assert caught.value.hint == "install the package qemu-utils"
