"""Images that are, and are not, what they are said to be: with headers of qemu-img's own making."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from pathlib import Path

import pytest

from xmcompat.backends.devices import BlockSource, Bus, Disk, FileSource, NetworkSource
from xmcompat.disk_files import looked_at, refuse_unreadable
from xmcompat.errors import DeviceError
from xmcompat.storage.files import Look, look
from xmcompat.storage.image_blktap import is_little_endian
from xmcompat.storage.image_convert import convert
from xmcompat.storage.programs import StorageError

FORMATS = ("raw", "qcow2", "qcow", "vpc", "vmdk", "qed")


def image(path: Path, format: str, *words: str) -> str:
    subprocess.run(["qemu-img", "create", "-q", "-f", format, *words, str(path), "1M"], check=True, timeout=20)
    return str(path)


def refusal(path: str, driver: str, **how: bool) -> str:
    with pytest.raises(StorageError) as error:
        look(path, driver, **how)
    return error.value.line()


@pytest.mark.parametrize("format", FORMATS)
def test_an_image_that_is_what_it_is_said_to_be_is_nothing_to_tell_of(tmp_path: Path, format: str) -> None:
    assert look(image(tmp_path / "a", format), format) == Look(format, False, ())


def test_a_vhd_of_fixed_size_is_known_by_its_end(tmp_path: Path) -> None:
    assert look(image(tmp_path / "a.vhd", "vpc", "-o", "subformat=fixed"), "vpc").driver == "vpc"


@pytest.mark.parametrize(("said", "real"), [("qcow", "qcow2"), ("qcow2", "qcow")])
def test_of_the_two_kinds_of_qcow_the_header_decides(tmp_path: Path, said: str, real: str) -> None:
    path = image(tmp_path / "a", real)
    assert look(path, said) == Look(real, False, (f"{path} is an image of {real}, not of {said}, and is read as such",))


@pytest.mark.parametrize(("said", "real", "hint"), [
    ("qcow2", "raw", "if raw, write file:{}"), ("vpc", "raw", "if raw, write file:{}"), ("qed", "raw", "if raw, write file:{}"),
    ("vmdk", "qcow2", "write tap:qcow2:{}"), ("qcow2", "vpc", "write tap:vhd:{}"), ("vpc", "vmdk", "write tap:vmdk:{}"),
])  # fmt: skip
def test_a_format_that_the_header_does_not_bear_out_is_refused(tmp_path: Path, said: str, real: str, hint: str) -> None:
    path = image(tmp_path / "a", real)
    line = refusal(path, said)
    assert line.startswith(path) and line.endswith(hint.format(path)) and said in line


@pytest.mark.parametrize(("real", "word"), [("qcow2", "tap:qcow2"), ("qcow", "tap:qcow"), ("vmdk", "tap:vmdk"), ("vpc", "tap:vhd")])
def test_a_raw_disk_stays_raw_whatever_its_guest_wrote_into_it(tmp_path: Path, real: str, word: str) -> None:
    path = image(tmp_path / "a", real)
    found = look(path, "raw")
    assert (found.driver, len(found.told)) == ("raw", 1)
    assert found.told[0].endswith(f"if it is one, write {word}:{path}")


def test_an_ordinary_raw_disk_is_nothing_to_tell_of(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xeb\x63\x90" + bytes(509))
    os.truncate(tmp_path / "a", 8 << 30)  # sparse
    assert look(str(tmp_path / "a"), "raw") == Look("raw", False, ())
    (tmp_path / "empty").touch()
    assert look(str(tmp_path / "empty"), "raw") == Look("raw", False, ())


@pytest.mark.parametrize("format", ["qcow", "qcow2"])
@pytest.mark.parametrize("method", [1, 2])
def test_an_encrypted_image_is_refused(tmp_path: Path, format: str, method: int) -> None:
    path = image(tmp_path / "a", format)
    with open(path, "r+b") as file:
        file.seek({"qcow": 36, "qcow2": 32}[format])
        file.write(struct.pack(">I", method))
    assert refusal(path, format).startswith(f"{path} is encrypted")


def blktap(path: Path, flags: int) -> str:
    """A qcow of blktap's: with its mark in the extended header."""
    image(path, "qcow")
    with open(path, "r+b") as file:
        file.seek(48)
        file.write(struct.pack(">4sIII", b"XEN\xfb", 4096, 1, flags))
    return str(path)


def test_an_old_image_of_blktaps_that_qemu_would_misread_is_refused(tmp_path: Path) -> None:
    path = blktap(tmp_path / "a", 1)
    assert refusal(path, "qcow").startswith(f"{path} was written by a blktap whose table QEMU would read the wrong way round")
    assert look(blktap(tmp_path / "b", 3), "qcow").driver == "qcow"
    assert not is_little_endian(bytes(64))


def test_such_an_image_is_converted_to_what_its_guest_wrote(tmp_path: Path) -> None:
    written = b"".join(struct.pack("<Q", number) for number in range(300_000))
    (tmp_path / "raw").write_bytes(bytes(7 << 20) + written)
    path = tmp_path / "a.qcow"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow", tmp_path / "raw", path], check=True, timeout=60)
    image = bytearray(path.read_bytes())
    size, cluster_bits, table_bits = struct.unpack_from(">QBB", image, 24)
    (place,) = struct.unpack_from(">Q", image, 40)
    entries = -(-size >> (cluster_bits + table_bits))
    table = struct.unpack_from(f">{entries}Q", image, place)
    assert len([entry for entry in table if entry]) > 1
    image += bytes(-len(image) % 4096)  # blktap's table lies behind its longer header, QEMU's at the place of that
    struct.pack_into(">Q4sIII", image, 40, len(image), b"XEN\xfb", 4096, 1, 1)
    before = bytes(image) + struct.pack(f"<{entries}Q", *table)
    path.write_bytes(before)
    misread = subprocess.run(["qemu-img", "compare", "-f", "qcow", path, tmp_path / "raw"], capture_output=True)
    assert misread.returncode, "QEMU reads it right: there is nothing to mend"
    convert(str(path), str(tmp_path / "out"), "raw")
    assert (tmp_path / "out").read_bytes()[: (7 << 20) + len(written)] == bytes(7 << 20) + written
    assert path.read_bytes() == before


# -- images upon others


def overlay(path: Path, backing: str, format: str, *, said: bool = True) -> str:
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", format, str(path)], check=True, timeout=20
    )
    if not said:
        subprocess.run(["qemu-img", "rebase", "-u", "-b", "", str(path)], check=True, timeout=20)
        with open(path, "r+b") as file:  # qemu-img itself writes no backing file without its format any more
            end = 1024
            file.seek(8)
            file.write(struct.pack(">QI", end, len(backing)))
            file.seek(end)
            file.write(backing.encode())
    return str(path)


def test_a_chain_that_is_whole_is_nothing_to_tell_of(tmp_path: Path) -> None:
    base = image(tmp_path / "base", "raw")
    overlay(tmp_path / "middle", base, "raw")
    top = overlay(tmp_path / "top", "middle", "qcow2")
    assert look(top, "qcow2") == Look("qcow2", False, ())


def test_the_name_of_a_base_is_taken_from_where_the_path_is_as_qemu_takes_it(tmp_path: Path) -> None:
    for folder in ("images", "links"):
        (tmp_path / folder).mkdir()
    base = image(tmp_path / "images" / "base", "raw")
    top = overlay(tmp_path / "images" / "top", "base", "raw")
    link = tmp_path / "links" / "web1"
    link.symlink_to(top)

    def opened() -> int:
        return subprocess.run(["qemu-img", "info", "--backing-chain", link], capture_output=True, timeout=20).returncode

    assert opened() != 0
    assert refusal(str(link), "qcow2") == (
        f"{link} lies upon {tmp_path}/links/base, which is not there; {link} is a link: write {top}"
    )
    os.rename(base, tmp_path / "links" / "base")
    assert opened() == 0
    assert look(str(link), "qcow2") == Look("qcow2", False, ())


def test_what_a_chain_lacks_is_named(tmp_path: Path) -> None:
    base = image(tmp_path / "base", "raw")
    middle = overlay(tmp_path / "middle", base, "raw")
    top = overlay(tmp_path / "top", middle, "qcow2")
    os.unlink(base)
    assert refusal(top, "qcow2").startswith(f"{middle} lies upon {base}, which is not there; ")


def test_a_base_whose_format_is_not_said_must_be_raw(tmp_path: Path) -> None:
    base = image(tmp_path / "base", "qcow2")
    top = overlay(tmp_path / "top", base, "qcow2", said=False)
    assert refusal(top, "qcow2") == (
        f"{top} lies upon {base} and does not say that this is an image of qcow2; if it is, run 'qemu-img rebase -u -b "
        f"{base} -F qcow2 {top}'"
    )
    subprocess.run(["qemu-img", "rebase", "-u", "-b", base, "-F", "qcow2", top], check=True, timeout=20)
    assert look(top, "qcow2").driver == "qcow2"
    raw = image(tmp_path / "raw", "raw")
    assert look(overlay(tmp_path / "over", raw, "raw", said=False), "qcow2").driver == "qcow2"


def test_images_that_lie_upon_each_other_are_refused(tmp_path: Path) -> None:
    one, other = image(tmp_path / "one", "qcow2"), image(tmp_path / "other", "qcow2")
    for top, base in ((one, other), (other, one)):
        subprocess.run(["qemu-img", "rebase", "-u", "-b", base, "-F", "qcow2", top], check=True, timeout=20)
    assert "lies upon more than 100 other images" in refusal(one, "qcow2")


def test_a_vhd_that_is_the_difference_to_another_is_refused(tmp_path: Path) -> None:
    path = image(tmp_path / "a", "vpc")
    with open(path, "r+b") as file:
        for place in (60, os.path.getsize(path) - 512 + 60):
            file.seek(place)
            file.write(struct.pack(">I", 4))
    assert "vhd-util coalesce" in refusal(path, "vpc")


# -- past the host's cache


def test_a_file_system_without_a_way_past_its_cache_is_told_of_and_cannot_be_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = image(tmp_path / "a", "raw")
    assert look(path, "raw", direct=True) == Look("raw", True, ())
    assert look(path, "raw", direct=True, shareable=True) == Look("raw", True, ())
    real = os.open

    def without(name: str, flags: int, *more: int) -> int:
        """As a file system of FUSE answers that has no such way."""
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return real(name, flags, *more)

    monkeypatch.setattr(os, "open", without)
    told = f"{path} goes through the host's cache: its file system has no way past it"
    assert look(path, "raw", direct=True) == Look("raw", False, (told,))
    assert look(path, "raw") == Look("raw", False, ())
    assert "two guests would not see" in refusal(path, "raw", direct=True, shareable=True)
    disk = Disk(source=FileSource(path=path), target="vda", bus=Bus.VIRTIO, cache="none", io="native")
    (mended,), said = looked_at([disk])
    assert (mended.cache, mended.io, said) == ("", "", (told,))


# -- disks


def test_disks_get_the_driver_that_reads_them_and_others_stay_as_they_are(tmp_path: Path) -> None:
    path = image(tmp_path / "a", "qcow2")
    mistaken = Disk(source=FileSource(path=path), target="vda", bus=Bus.VIRTIO, driver="qcow", vdev="xvda")
    others = (
        Disk(source=None, target="hdc", bus=Bus.IDE), Disk(source=BlockSource(path="/dev/null/x"), target="vdb", bus=Bus.VIRTIO),
        Disk(source=NetworkSource(protocol="nbd", host="h"), target="vdc", bus=Bus.VIRTIO, driver="qcow2"),
    )  # fmt: skip
    (mended, *rest), told = looked_at([mistaken, *others])
    assert (mended.driver, tuple(rest), len(told)) == ("qcow2", others, 1)
    with pytest.raises(DeviceError) as error:
        refuse_unreadable([mistaken])
    assert error.value.line() == (
        f"Device 51712 (vbd) could not be connected. {path} is an image of qcow2, not of qcow; write tap:qcow2:{path}, and "
        "run 'xm new' again"
    )


def test_qemu_reads_with_the_driver_that_was_found(tmp_path: Path) -> None:
    for format in FORMATS:
        path = image(tmp_path / format, format)
        words = ["qemu-img", "info", "--output=json", "-f", look(path, format).driver, path]
        said = json.loads(subprocess.run(words, capture_output=True, check=True, timeout=20).stdout)
        assert said["virtual-size"] >= 1 << 20
