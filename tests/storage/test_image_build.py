"""Images from trees and tars: what is kept, what is refused, and what is left when it fails. Nothing is mounted."""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from xmcompat.storage.image_build import Wanted, build, folder_beside
from xmcompat.storage.image_convert import convert
from xmcompat.storage.image_device import signature
from xmcompat.storage.image_programs import ImageError, ImageInUse

MIB = 1 << 20


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a small system of many kinds of files, tree."""
    monkeypatch.chdir(tmp_path)
    for folder in ("etc", "bin", "dev"):
        (tmp_path / "tree" / folder).mkdir(parents=True)
    Path("tree/etc/hostname").write_text("web1\n")
    os.link("tree/etc/hostname", "tree/etc/same")
    os.chown("tree/etc/hostname", 1000, 1001)
    os.symlink("/etc/hostname", "tree/etc/link")
    os.mknod("tree/dev/null", 0o020666, os.makedev(1, 3))
    Path("tree/bin/ping").write_bytes(b"#!")
    os.setxattr("tree/bin/ping", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    with open("tree/sparse", "wb") as file:
        file.truncate(20 * MIB)
    return tmp_path


def ask(image: str, command: str) -> str:
    return subprocess.run(["debugfs", "-R", command, image], capture_output=True, text=True, check=True).stdout


def sound(image: str) -> None:
    done = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def kept(image: str) -> None:
    sound(image)
    assert ask(image, "cat /etc/same") == "web1\n"
    assert "User:  1000   Group:  1001" in ask(image, "stat /etc/hostname")
    assert "Links: 2" in ask(image, "stat /etc/same")
    assert 'Fast link dest: "/etc/hostname"' in ask(image, "stat /etc/link")
    assert "Device major/minor number: 01:03" in ask(image, "stat /dev/null")
    assert "security.capability (20)" in ask(image, "ea_list /bin/ping")
    assert "Size: 20971520" in ask(image, "stat /sparse") and "Blockcount: 0" in ask(image, "stat /sparse")


@pytest.mark.parametrize("flag", ["", "z", "J", "j", "--zstd"])
def test_all_is_kept_of_a_tar(flag: str, place: Path) -> None:
    words = [flag] if flag.startswith("--") else [f"-{flag}"] if flag else []
    subprocess.run(["tar", "-cSf", "a.tar", *words, "--xattrs", "--xattrs-include=*", "-C", "tree", "."], check=True)
    build("a.tar", "out.img", Wanted(size=32 * MIB))
    kept("out.img")
    assert sorted(os.listdir()) == ["a.tar", "out.img", "tree"]
    assert os.stat("out.img").st_size == 32 * MIB


def test_all_is_kept_of_a_tree_in_a_partition_in_another_format(place: Path) -> None:
    build("tree", "out.qcow2", Wanted(size=32 * MIB, partition=True, format="qcow2", fs="ext3", label="root"))
    convert("out.qcow2", "out.img", "raw")
    kept("out.img?offset=1048576")
    assert sorted(os.listdir()) == ["out.img", "out.qcow2", "tree"]


def hostile(*members: tuple[str, bytes, str]) -> None:
    with tarfile.open("h.tar", "w") as tar:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            info.size = 5 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"EVIL\n"))


@pytest.mark.parametrize(
    "members",
    [
        [("../escaped", tarfile.REGTYPE, "")],
        [("a/../../escaped", tarfile.REGTYPE, "")],
        [("link", tarfile.SYMTYPE, "{out}"), ("link/escaped", tarfile.REGTYPE, "")],
        [("link", tarfile.SYMTYPE, "../../outside"), ("link/escaped", tarfile.REGTYPE, "")],
        [("one", tarfile.SYMTYPE, "."), ("one/two", tarfile.SYMTYPE, "../../outside"), ("two/escaped", tarfile.REGTYPE, "")],
        [("hard", tarfile.LNKTYPE, "{out}/secret")],
        [("hard", tarfile.LNKTYPE, "../../outside/secret")],
    ],
)
def test_no_member_of_a_tar_gets_out_of_its_directory(members: list[tuple[str, bytes, str]], place: Path) -> None:
    Path("outside").mkdir()
    Path("outside/secret").write_text("secret")
    hostile(*((name, kind, target.format(out=place / "outside")) for name, kind, target in members))
    with pytest.raises(ImageError, match=r"h\.tar cannot be unpacked") as caught:
        build("h.tar", "out.img", Wanted(size=8 * MIB))
    assert "\n" not in caught.value.line()
    assert os.listdir("outside") == ["secret"] and os.stat("outside/secret").st_nlink == 1
    assert sorted(os.listdir()) == ["h.tar", "outside", "tree"]


def test_absolute_names_are_within_and_devices_are_only_entries(place: Path) -> None:
    hostile(("/etc/passwd2", tarfile.REGTYPE, ""), ("dev/disk", tarfile.BLKTYPE, ""))
    build("h.tar", "out.img", Wanted(size=8 * MIB))
    assert ask("out.img", "cat /etc/passwd2") == "EVIL\n"
    assert "Type: block special" in ask("out.img", "stat /dev/disk")
    assert not os.path.exists("/etc/passwd2")


def test_a_bomb_is_stopped(place: Path) -> None:
    with open("bomb", "wb") as file:
        file.truncate(200 * MIB)
    subprocess.run(["tar", "-cf", "bomb.tar", "--zstd", "bomb"], check=True)
    with pytest.raises(ImageError, match="has a file that is larger than the image"):
        build("bomb.tar", "out.img", Wanted(size=8 * MIB))
    for number in range(20):
        Path(f"many{number}").write_bytes(bytes(8 * MIB))
    subprocess.run(["tar", "-cf", "many.tar", "--zstd", *(f"many{number}" for number in range(20))], check=True)
    with pytest.raises(ImageError, match="more in it than the image can hold|does not fit"):
        build("many.tar", "out.img", Wanted(size=8 * MIB))
    assert not [name for name in os.listdir() if name.startswith((".", "out"))]


def test_what_does_not_fit_says_so(place: Path) -> None:
    Path("tree/big").write_bytes(os.urandom(9 * MIB))
    with pytest.raises(ImageError, match="the tree does not fit into 8 MiB") as caught:
        build("tree", "out.img", Wanted(size=8 * MIB))
    assert caught.value.hint == "give a larger --size"
    assert os.listdir() == ["tree"]


def test_what_is_no_tar_or_is_damaged_says_so(place: Path) -> None:
    Path("text").write_text("hello")
    with pytest.raises(ImageError, match="text is no tar"):
        build("text", "out.img", Wanted(size=8 * MIB))
    subprocess.run(["tar", "-czf", "a.tgz", "-C", "/usr/bin", "env"], check=True)
    Path("cut.tgz").write_bytes(Path("a.tgz").read_bytes()[:3000])
    with pytest.raises(ImageError, match=r"cut\.tgz: gzip: .*unexpected end of file"):
        build("cut.tgz", "out.img", Wanted(size=8 * MIB))
    with pytest.raises(ImageError, match="/ is the tree of this host"):
        build("/", "out.img", Wanted(size=8 * MIB))
    with pytest.raises(ImageError, match="lies within tree"):
        build("tree", "tree/out.img", Wanted(size=8 * MIB))
    with pytest.raises(ImageError, match="too small"):
        build("tree", "out.img", Wanted(size=MIB))
    with pytest.raises(ImageError, match="No such file"):
        build("nothing", "out.img", Wanted(size=8 * MIB))
    assert not [name for name in os.listdir() if name.startswith((".", "out"))]


def test_a_device_with_something_on_it_is_refused_and_filled_where_forced(place: Path) -> None:
    with open("disk", "wb") as file:
        file.truncate(16 * MIB)
    device = subprocess.run(["losetup", "-f", "--show", "disk"], capture_output=True, text=True, check=True).stdout.strip()
    try:
        build("tree", device, Wanted(size=8 * MIB, label="first"))
        with pytest.raises(ImageError, match="holds something: ext4 \"first\""):
            build("tree", device, Wanted(size=8 * MIB))
        with pytest.raises(ImageError, match="has 16777216 bytes, and the image"):
            build("tree", device, Wanted(size=32 * MIB), force=True)
        with pytest.raises(ImageError, match="takes raw images only"):
            build("tree", device, Wanted(size=8 * MIB, format="qcow2"), force=True)
        Path("tree/big").write_bytes(os.urandom(9 * MIB))
        with pytest.raises(ImageError, match="filled in part, and its beginning is empty"):
            build("tree", device, Wanted(size=8 * MIB), force=True)
        os.unlink("tree/big")
        build("tree", device, Wanted(size=16 * MIB), force=True)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
    sound("disk")


@pytest.mark.parametrize("node", ["", "node"])
def test_a_device_that_a_process_has_open_is_never_filled(node: str, place: Path, request: pytest.FixtureRequest) -> None:
    """Not with force either, nor is its beginning emptied; a guest's QEMU has it by a node of its own, with other locks."""
    Path("disk").write_bytes(b"GUEST" * (2 * MIB // 5))
    device = subprocess.run(["losetup", "-f", "--show", "disk"], capture_output=True, text=True, check=True).stdout.strip()
    request.addfinalizer(lambda: subprocess.run(["losetup", "-d", device], check=True))
    os.makedirs("dev")
    if node:
        os.mknod("dev/node", 0o600 | stat.S_IFBLK, os.stat(device).st_rdev)
    path = str(place / "dev/node") if node else device
    with open(path, "r+b", buffering=0) as file:
        child = subprocess.Popen(["sleep", "60"], stdin=file)
    try:
        Path("small").write_bytes(bytes(MIB))
        with pytest.raises(ImageInUse, match=f"'sleep' \\(process {child.pid}\\) has it open"):
            build("tree", device, Wanted(size=2 * MIB), force=True)
        with pytest.raises(ImageInUse, match="in use"):
            convert("small", device, "raw", force=True)
    finally:
        child.kill()
        child.wait()
    assert Path("disk").read_bytes().startswith(b"GUEST" * 1000)


@pytest.mark.parametrize("owner", [0, 12345])
def test_a_volume_that_was_given_to_another_user_is_not_taken_for_empty(owner: int, place: Path) -> None:
    Path("disk").write_bytes(bytes(4 * MIB))
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "disk"], check=True)
    os.chown("disk", owner, owner)
    os.chmod("disk", 0o600)
    with open("disk", "rb") as file:
        assert signature(file.fileno()) == "ext4"


def test_two_images_of_one_name_are_made_at_once_in_one_directory(place: Path) -> None:
    """The second does not take what the first has unpacked for left by a killed process."""
    os.makedirs("a")
    os.makedirs("b")
    with folder_beside(str(place), "a/disk") as first:
        Path(first, "etc").mkdir()
        with folder_beside(str(place), "b/disk") as second:
            assert os.listdir(first) == ["etc"] and os.listdir(second) == []
    assert not list(place.glob(".disk.*"))


def test_a_tree_that_mke2fs_does_not_bear_is_refused_and_removed_again(place: Path) -> None:
    """It has more levels than Python can recurse into, too."""
    with tarfile.open("deep.tar", "w") as tar:
        for depth in range(1, 1501):
            member = tarfile.TarInfo("a/" * depth)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
    with pytest.raises(ImageError, match="deep.tar has paths of more than 2000 bytes"):
        build("deep.tar", "deep.img", Wanted(size=64 * MIB))
    assert sorted(os.listdir()) == ["deep.tar", "tree"]


def test_a_tar_of_more_files_than_any_image_could_hold_is_stopped(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty files cost an inode of this host each, and nothing in a compressed tar."""
    monkeypatch.setattr("xmcompat.storage.image_unpack._SLACK", 0)
    block = tarfile.TarInfo("x").tobuf()
    with gzip.open("many.tgz", "wb", compresslevel=1) as file:
        for number in range(15000):
            file.write(tarfile.TarInfo(f"d/{number:07d}").tobuf())
        file.write(bytes(len(block) * 2))
    with pytest.raises(ImageError, match="has more in it than the image can hold"):
        build("many.tgz", "many.img", Wanted(size=2 * MIB))
    assert [name for name in os.listdir() if name.startswith((".", "many.img"))] == []


def test_a_label_that_would_be_cut_off_is_refused(place: Path) -> None:
    with pytest.raises(ImageError, match="the label 'a-label-of-17-byt' has more than 16 bytes"):
        build("tree", "x.img", Wanted(size=8 * MIB, label="a-label-of-17-byt"))
    build("tree", "x.img", Wanted(size=8 * MIB, label="a-label-of-16-by"))
    assert "LABEL=a-label-of-16-by" in subprocess.run(["blkid", "-p", "-o", "export", "x.img"], capture_output=True, text=True,
                                                     check=True).stdout  # fmt: skip
