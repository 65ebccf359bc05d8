"""The file of xm save: its layout, its header put in front of an image, and what is said of files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes_saving import MEMORY, image
from xmcompat.errors import OperationError
from xmcompat.migration import save_file

XML = "<domain><name>web1</name></domain>"
CONFIG = "(domain\n    (domid 7)\n    (name web1)\n)\n"


def saved(tmp_path: Path, data: bytes | None = None, *, config: str = CONFIG) -> str:
    path = str(tmp_path / "web1")
    Path(path).write_bytes(image(XML) if data is None else data)
    if data is None:
        save_file.prepend(path, config)
    return path


@given(st.text(), st.integers(0, 2**50), st.sampled_from([512, 1024, 4096, 65536]))
def test_a_header_is_whole_blocks_and_says_how_long_it_is(config: str, size: int, block: int) -> None:
    head = save_file.header(config, size, block)
    assert len(head) % block == 0
    assert head[:16] == b"LinuxGuestRecord"
    assert int.from_bytes(head[16:20], "big") == len(head) - 20
    assert head[20:].rstrip().endswith(b"(image_file (size %d))" % size)


def test_what_was_put_in_front_is_read_back_and_the_image_is_untouched(tmp_path: Path) -> None:
    path = saved(tmp_path)
    found = save_file.read(path)
    assert (found.config.strip(), found.xml, found.running) == (CONFIG.strip(), XML, True)
    assert Path(path).read_bytes()[found.offset :] == image(XML)
    assert Path(path).read_bytes()[:16] == b"LinuxGuestRecord"
    assert os.listdir(tmp_path) == ["web1"]


def test_where_the_file_system_cannot_move_blocks_the_image_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(save_file, "_fallocate", lambda *words: False)
    path = saved(tmp_path)
    assert Path(path).read_bytes()[save_file.read(path).offset :] == image(XML)
    assert os.listdir(tmp_path) == ["web1"]


@pytest.mark.parametrize("moves", [True, False])
@pytest.mark.parametrize("ending", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_image_that_gets_no_header_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: BaseException, moves: bool
) -> None:
    path = tmp_path / "web1"
    path.write_bytes(image(XML))

    def fail(*words: object) -> None:
        raise ending

    if not moves:
        monkeypatch.setattr(save_file, "_fallocate", lambda *words: False)
    monkeypatch.setattr(save_file, "_write_all", fail)
    with pytest.raises(type(ending)):
        save_file.prepend(str(path), CONFIG)
    assert path.read_bytes() == image(XML)
    assert os.listdir(tmp_path) == ["web1"]


def test_an_image_of_libvirts_own_is_taken(tmp_path: Path) -> None:
    found = save_file.read(saved(tmp_path, image(XML, running=False)))
    assert found == save_file.SaveFile("", 0, XML, False)


def test_xens_text_needs_no_form_about_the_image(tmp_path: Path) -> None:
    text = CONFIG.encode()
    data = b"LinuxGuestRecord" + len(text).to_bytes(4, "big") + text + image(XML)
    assert save_file.read(saved(tmp_path, data)) == save_file.SaveFile(CONFIG, 20 + len(text), XML, True)


WRONG = {
    "empty": (b"", "not a valid guest state file: signature read"),
    "short": (b"LinuxGuest", "not a valid guest state file: signature read"),
    "foreign": (b"#!/bin/sh\necho hello\n", "not a valid guest state file: found '#!/bin/sh\\necho h'"),
    "no-length": (b"LinuxGuestRecord\0\0", "not a valid guest state file: config size read"),
    "long": (b"LinuxGuestRecord\xff\xff\xff\xff(domain)", "not a valid guest state file: config size read"),
    "cut-config": (b"LinuxGuestRecord\0\0\1\0(domain", "not a valid guest state file: config read"),
    "xen": (
        b"LinuxGuestRecord\0\0\0\x08(domain)" + bytes(4096),
        "{path} was saved by Xen, whose memory images do not run on KVM; its configuration can be used: "
        "xmcompat convert {path}",
    ),
    "xl": (
        b"Xen saved domain, xl format\n \0 \r\0\x04\x03\x02\x01" + bytes(64),
        "{path} was saved by Xen's xl; memory images of Xen do not run on KVM; start the guest from its configuration; "
        "'xmcompat convert' makes one for KVM of it",
    ),
    "half": (b"LinuxGuestRecord\0\0\0\x08(domain)" + image(XML, whole=False),
             "{path} is not finished: its saving was broken off"),
    "half-bare": (image(XML, whole=False), "{path} is not finished: its saving was broken off"),
    "cut-xml": (image(XML)[:100], "{path} is cut short: its image is not whole; copy it anew"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_saved_guest_is_named(tmp_path: Path, case: str) -> None:
    data, message = WRONG[case]
    path = saved(tmp_path, data)
    with pytest.raises(OperationError) as raised:
        save_file.read(path)
    assert raised.value.line() == message.format(path=path)


def test_a_file_that_lost_its_end_is_noticed_before_anything_is_started(tmp_path: Path) -> None:
    path = saved(tmp_path)
    os.truncate(path, os.path.getsize(path) - 1)
    with pytest.raises(OperationError, match=rf"cut short: {len(image(XML)) - 1} of the image's {len(image(XML))} bytes"):
        save_file.read(path)


@given(st.data())
def test_one_byte_of_the_header_that_has_changed_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """But for a blank that became another."""
    path = tmp_path_factory.mktemp("any") / "file"
    whole = save_file.header(CONFIG, len(image(XML)), 512, checksum=0x12345678, forms="(disk (vdev xvda))")
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole + image(XML))
    path.write_bytes(changed)
    found = save_file.read(str(path))
    assert (found.checksum, found.forms) == (0x12345678, "(disk (vdev xvda))")
    changed[place] = data.draw(st.integers(0, 255))
    path.write_bytes(changed)
    try:
        again = save_file.read(str(path))
    except OperationError:
        return
    blank = changed[place] < 128 and chr(changed[place]).isspace()
    assert again == found or again.checksum not in (None, found.checksum)  # which the image does not have
    assert changed[place] == whole[place] or blank or again.checksum != found.checksum


@given(st.binary(max_size=300))
def test_no_file_fails_in_an_unplanned_way(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    for data in (tail, b"LinuxGuestRecord" + tail, b"LinuxGuestRecord\0\0\0\0" + save_file.IMAGE_MAGIC + tail):
        path.write_bytes(data)
        try:
            save_file.read(str(path))
        except OperationError:
            continue


def test_the_first_bytes_tell_a_saved_guest(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert save_file.is_save_file(path)
    assert not save_file.is_whole_image(path)
    for other in (tmp_path, tmp_path / "none"):
        assert not save_file.is_save_file(str(other))
    os.mkfifo(tmp_path / "pipe")
    assert not save_file.is_save_file(str(tmp_path / "pipe"))


def test_a_range_is_copied_at_any_place(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(MEMORY)
    with open(tmp_path / "a", "rb") as source, open(tmp_path / "b", "w+b") as target:
        save_file.copy_range(source.fileno(), 5, target.fileno(), 11)
    assert (tmp_path / "b").read_bytes() == bytes(11) + MEMORY[5:]
