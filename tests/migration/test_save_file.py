"""The file of xm save: its layout, its header put in front of an image, and what is said of files that are none."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes_saving import MEMORY, image, image_in
from xmcompat.errors import OperationError
from xmcompat.migration import image_head, save_file

XML = "<domain><name>web1</name></domain>"
CONFIG = "(domain\n    (domid 7)\n    (name web1)\n)\n"


#: Images whose header has room for ours, and whose has none.
IMAGES = {"room": image(XML), "no room": image(XML, room=0)}


def saved(tmp_path: Path, data: bytes | None = None, *, config: str = CONFIG, of: bytes = IMAGES["room"]) -> str:
    path = str(tmp_path / "web1")
    Path(path).write_bytes(of if data is None else data)
    if data is None:
        save_file.complete(path, config, checksum=0x12345678, forms="(disk (vdev xvda))")
    return path


@given(st.text(), st.integers(0, 2**50), st.sampled_from([512, 1024, 4096, 65536]))
def test_a_header_is_whole_blocks_and_says_how_long_it_is(config: str, size: int, block: int) -> None:
    head = save_file.header(config, size, block)
    assert len(head) % block == 0
    assert head[:16] == b"LinuxGuestRecord"
    assert int.from_bytes(head[16:20], "big") == len(head) - 20
    assert head[20:].rstrip().endswith(b"(image_file (size %d))" % size)


@given(st.text(), st.integers(0, 2**50), st.integers(20, 300))
def test_a_header_takes_just_the_place_of_libvirts_or_has_none(config: str, size: int, length: int) -> None:
    head = save_file.header_over(config, size, length)
    alone = save_file.header(config, size, 1)
    if head is None:
        assert length < len(alone) + len(" (head behind)")
        return
    assert len(head) == length
    assert int.from_bytes(head[16:20], "big") == length - 20
    assert head[20:].rstrip().endswith(b"(image_file (size %d) (head behind))" % size)


@pytest.mark.parametrize("of", IMAGES.values(), ids=IMAGES)
def test_what_was_given_a_header_is_read_back_and_the_image_is_untouched(tmp_path: Path, of: bytes) -> None:
    path = saved(tmp_path, of=of)
    found = save_file.read(path)
    assert (found.config.strip(), found.xml, found.running) == (CONFIG.strip(), XML, True)
    assert (found.checksum, found.forms) == (0x12345678, "(disk (vdev xvda))")
    assert image_in(path, found.spans) == of
    assert image_in(path, found.memory) == of[92:]
    assert Path(path).read_bytes()[:16] == b"LinuxGuestRecord"
    assert os.listdir(tmp_path) == ["web1"]


def test_where_there_is_room_the_memory_stays_where_it_was(tmp_path: Path) -> None:
    place = IMAGES["room"].index(MEMORY)
    data = Path(saved(tmp_path)).read_bytes()
    assert data[place : place + len(MEMORY)] == MEMORY
    assert data[16:20] == (place - 20).to_bytes(4, "big")


def test_where_the_file_system_cannot_move_blocks_the_image_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(save_file, "_fallocate", lambda *words: False)
    path = saved(tmp_path, of=IMAGES["no room"])
    assert image_in(path, save_file.read(path).spans) == IMAGES["no room"]
    assert os.listdir(tmp_path) == ["web1"]


@pytest.mark.parametrize("way", ["over", "moved", "copied"])
@pytest.mark.parametrize("call", range(4))
@pytest.mark.parametrize("ending", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_image_that_gets_no_header_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: BaseException, call: int, way: str
) -> None:
    path = tmp_path / "web1"
    of = IMAGES["room" if way == "over" else "no room"]
    path.write_bytes(of)
    write, calls = image_head.write_all, count()

    def fail(handle: int, data: bytes, place: int = 0) -> None:
        write(handle, data[: len(data) // 2], place)
        if next(calls) == min(call, {"over": 3, "moved": 1, "copied": 0}[way]):
            raise ending
        write(handle, data, place)

    if way == "copied":
        monkeypatch.setattr(save_file, "_fallocate", lambda *words: False)
    for module in (save_file, image_head):
        monkeypatch.setattr(module, "write_all", fail)
    with pytest.raises(type(ending)):
        save_file.complete(str(path), CONFIG)
    assert path.read_bytes() == of
    assert os.listdir(tmp_path) == ["web1"]


@pytest.mark.parametrize("failing", ["writing", "syncing"])
def test_libvirts_header_is_kept_until_it_stands_in_its_place_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """The disk takes nothing any more: what was written over is nowhere but behind the image."""
    path, of, whole = tmp_path / "web1.abcdefgh.unfinished", IMAGES["room"], list[int]()
    path.write_bytes(of)
    write, sync = os.pwrite, os.fsync

    def written(handle: int, data: bytes, place: int) -> int:
        if whole and failing == "writing":
            raise OSError(5, "Input/output error")
        whole.extend([1] if place == 16 else ())
        return write(handle, data[:1000] if whole else data, place)

    def synced(handle: int) -> None:
        if whole:
            raise OSError(5, "Input/output error")
        sync(handle)

    monkeypatch.setattr(os, "pwrite", written)
    monkeypatch.setattr(os, "fsync", synced)
    with pytest.raises(OSError, match="Input/output error"):
        save_file.complete(str(path), CONFIG)
    assert image_in(str(path), save_file.read(str(path)).spans) == of


def test_a_header_that_is_read_in_part_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "web1", os.pread
    path.write_bytes(IMAGES["room"])
    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", lambda handle, count, place: read(handle, min(count, 4096), place))
        with pytest.raises(OSError, match="Input/output error"):
            save_file.complete(str(path), CONFIG)
    assert path.read_bytes() == IMAGES["room"]


@given(st.integers(0, 5), st.floats(0, 1))
def test_wherever_the_writing_of_the_header_ends_the_image_is_found(
    tmp_path_factory: pytest.TempPathFactory, step: int, share: float
) -> None:
    """As after SIGKILL, or when power was lost: some of the bytes of one step are there. Programs that compress take an
    image for damaged that has more bytes behind it."""
    of = image(XML, room=3000)
    folder = tmp_path_factory.mktemp("any")
    done = Path(saved(folder, of=of)).read_bytes()
    kept, ours = done[len(of) :], done[: len(of) - len(MEMORY)]
    length = len(ours)
    part = int(len((b"", kept[:length], ours[16:], ours[:16], ours, b"")[step]) * share)
    states = [
        of,
        of + kept[:part].ljust(length, b"\0") + kept[length:],  # libvirt's header is copied, the end is there
        ours_over(of, ours[16:][:part], 16) + kept,
        ours_over(ours_over(of, ours[16:], 16), ours[:16][:part], 0) + kept,
        ours_over(of, ours[:part], 0) + kept,  # the disk took the first bytes first
        done,
    ]
    path = folder / "web1.abcdefgh.unfinished"
    path.write_bytes(states[step])
    found = save_file.read(str(path))
    assert found.xml == XML
    assert image_in(str(path), found.spans) == of


def ours_over(data: bytes, part: bytes, place: int) -> bytes:
    return data[:place] + part + data[place + len(part) :]


def test_an_image_of_libvirts_own_is_taken(tmp_path: Path) -> None:
    found = save_file.read(saved(tmp_path, image(XML, running=False)))
    assert found == save_file.SaveFile("", ((0, os.path.getsize(tmp_path / "web1")),), XML, False)


def test_xens_text_needs_no_form_about_the_image(tmp_path: Path) -> None:
    text = CONFIG.encode()
    data = b"LinuxGuestRecord" + len(text).to_bytes(4, "big") + text + image(XML)
    spans = ((20 + len(text), len(data)),)
    assert save_file.read(saved(tmp_path, data)) == save_file.SaveFile(CONFIG, spans, XML, True)


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


@pytest.mark.parametrize("of", IMAGES.values(), ids=IMAGES)
def test_a_file_that_lost_its_end_is_noticed_before_anything_is_started(tmp_path: Path, of: bytes) -> None:
    path = saved(tmp_path, of=of)
    os.truncate(path, os.path.getsize(path) - 1)
    with pytest.raises(OperationError, match=rf"cut short: {len(of) - 1} of the image's {len(of)} bytes"):
        save_file.read(path)
    os.truncate(path, 4096 if of is IMAGES["no room"] else len(of) - len(MEMORY))
    with pytest.raises(OperationError, match=rf"cut short: 0 of the image's {len(of)} bytes"):
        save_file.read(path)


@pytest.mark.parametrize("place", [0, 50, 92, 150, -1, -10, -20, -28])
def test_a_byte_of_libvirts_header_behind_the_image_that_has_changed_is_noticed(tmp_path: Path, place: int) -> None:
    path = saved(tmp_path)
    data = bytearray(Path(path).read_bytes())
    data[place if place < 0 else len(IMAGES["room"]) + place] ^= 1
    Path(path).write_bytes(data)
    with pytest.raises(OperationError, match="damaged: by its checksum, what stands behind the image is not what was written"):
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
    assert save_file.may_be_whole(path)
    for other in (tmp_path, tmp_path / "none"):
        assert not save_file.is_save_file(str(other))
        assert save_file.may_be_whole(str(other)) == other.exists()  # one that cannot be read may be
    os.mkfifo(tmp_path / "pipe")
    assert not save_file.is_save_file(str(tmp_path / "pipe"))


@pytest.mark.parametrize(("data", "may_be"), [(image(XML), True), (bytes(4096), True), (image(XML, whole=False), False), (b"", False)])
def test_an_image_that_libvirt_has_not_finished_is_none(tmp_path: Path, data: bytes, may_be: bool) -> None:
    (tmp_path / "f").write_bytes(data)
    assert save_file.may_be_whole(str(tmp_path / "f")) == may_be


def test_a_range_is_copied_at_any_place(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(MEMORY)
    with open(tmp_path / "a", "rb") as source, open(tmp_path / "b", "w+b") as target:
        save_file.copy_range(source.fileno(), 5, target.fileno(), 11)
    assert (tmp_path / "b").read_bytes() == bytes(11) + MEMORY[5:]
