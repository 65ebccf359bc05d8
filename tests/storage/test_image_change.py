"""What is in an image, and changes to it: host name, fstab, console, keys, password, size. Nothing is mounted."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.storage import image_edit, image_ext
from xmcompat.storage import image_guest as guest
from xmcompat.storage.image_build import Wanted, build
from xmcompat.storage.image_edit import Edits, edit
from xmcompat.storage.image_programs import ImageError, ImageInUse
from xmcompat.storage.image_resize import resize, sparsify
from xmcompat.storage.image_show import checksum, examine

MIB = 1 << 20
ALL = Edits(hostname="new", xvda_to_vda=True, console="hvc0", keys=("ssh-ed25519 AAAA me",), lock_root=True)
FSTAB = "# /dev/xvda1 was here\n/dev/xvda1 / ext4 defaults 0 1\n/dev/xvdb none swap sw 0 0\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the tree of a small guest."""
    monkeypatch.chdir(tmp_path)
    for folder in ("etc", "root", "usr/lib", "lib/systemd/system"):
        (tmp_path / "tree" / folder).mkdir(parents=True)
    files = {
        "etc/hostname": "web1\n", "etc/fstab": FSTAB, "etc/shadow": "root:$6$x:1:0:9:7:::\nme:$6$y:1:::::\n",
        "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 web1.example web1\n", "usr/lib/os-release": 'PRETTY_NAME="A system"\n',
        "lib/systemd/system/serial-getty@.service": "",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / "tree" / name).write_text(text)
    os.chmod("tree/etc/shadow", 0o640)
    os.chown("tree/etc/shadow", 0, 42)
    os.setxattr("tree/etc/shadow", "security.selinux", b"system_u:object_r:shadow_t:s0\0")
    os.symlink("../usr/lib/os-release", "tree/etc/os-release")
    return tmp_path


def ask(image: str, command: str) -> str:
    return subprocess.run(["debugfs", "-R", command, image], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("format", "partition"), [("raw", False), ("raw", True), ("qcow2", True), ("vpc", False)])
def test_a_guest_is_shown_changed_and_resized_in_every_form(
    format: str, partition: bool, place: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path_factory.mktemp("mounts")
    monkeypatch.setattr(tempfile, "tempdir", str(mounts))
    build("tree", "x", Wanted(size=24 * MIB, format=format, partition=partition, label="root fs"))
    before = examine("x")
    assert (before.format, before.virtual_size, before.remark) == (format, 24 * MIB, "")
    system = before.file_systems[0]
    assert (system.partition, system.type, system.label) == (int(partition), "ext4", "root fs")
    assert before.guest is not None
    assert (before.guest.name, before.guest.hostname) == ("A system", "web1")
    assert "/etc/hostname" in edit("x", ALL)
    assert edit("x", ALL) == []
    assert resize("x", 40 * MIB, grow=True).after == 40 * MIB
    assert resize("x", None, grow=False).after < 24 * MIB
    sparsify("x")
    after = examine("x")
    assert after.guest is not None
    assert (after.guest.hostname, after.guest.fstab[0]) == ("new", "/dev/vda1 / ext4 defaults 0 1")
    assert after.file_systems[0].uuid == system.uuid
    assert sorted(os.listdir()) == ["tree", "x"]
    assert str(mounts) not in Path("/proc/self/mountinfo").read_text()


def test_the_files_keep_their_owners_modes_and_labels(place: Path) -> None:
    build("tree", "x", Wanted(size=8 * MIB))
    os.chown("x", 12345, 12345)
    os.chmod("x", 0o600)
    edit("x", ALL)
    assert ask("x", "cat /etc/shadow") == "root:!$6$x:1:0:9:7:::\nme:$6$y:1:::::\n"
    said = ask("x", "stat /etc/shadow")
    assert "Mode:  0640" in said and "Group:    42" in said
    assert "shadow_t" in ask("x", "ea_list /etc/shadow")
    assert ask("x", "cat /etc/hosts") == "127.0.0.1 localhost\n127.0.1.1 new.example new\n"
    assert ask("x", "cat /etc/fstab").splitlines() == [
        "# /dev/xvda1 was here", "/dev/vda1 / ext4 defaults 0 1", "/dev/vdb none swap sw 0 0"
    ]  # fmt: skip
    assert "Mode:  0700" in ask("x", "stat /root/.ssh") and "Mode:  0600" in ask("x", "stat /root/.ssh/authorized_keys")
    wants = "/etc/systemd/system/getty.target.wants/serial-getty@hvc0.service"
    assert "serial-getty@.service" in ask("x", f"stat {wants}")
    assert subprocess.run(["e2fsck", "-fn", "x"], capture_output=True, check=False).returncode == 0
    assert (os.stat("x").st_uid, os.stat("x").st_mode & 0o777) == (12345, 0o600)


@pytest.mark.parametrize("error", [ImageError("no"), KeyboardInterrupt()])
def test_what_fails_in_the_middle_leaves_the_image_as_it_was(
    error: BaseException, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build("tree", "x", Wanted(size=8 * MIB, partition=True))

    def fail(*_: object) -> str:
        raise error

    monkeypatch.setattr(image_edit, "check", fail)
    with pytest.raises(type(error)):
        edit("x", ALL)
    found = examine("x").guest
    assert found is not None and found.hostname == "web1"
    assert subprocess.run(["e2fsck", "-fn", "x?offset=1048576"], capture_output=True, check=False).returncode == 0
    assert sorted(os.listdir()) == ["tree", "x"]


def test_a_full_file_system_leaves_the_image_as_it_was(place: Path) -> None:
    build("tree", "x", Wanted(size=8 * MIB))
    room = int(subprocess.run(["dumpe2fs", "-h", "x"], capture_output=True, text=True, check=True).stdout.split("Free blocks:")[1].split()[0])
    Path("fill").write_bytes(b"x" * 1024 * (room - 40))
    subprocess.run(["debugfs", "-w", "-R", "write fill fill", "x"], capture_output=True, check=True)
    with pytest.raises(ImageError, match="may be full"):
        edit("x", Edits(keys=("ssh-rsa AAAA " + "y" * 100_000,)))
    assert ask("x", "stat /root/.ssh") == ""
    assert subprocess.run(["e2fsck", "-fn", "x"], capture_output=True, check=False).returncode == 0


def test_what_must_not_be_changed_is_refused(place: Path) -> None:
    build("tree", "x", Wanted(size=8 * MIB))
    with pytest.raises(ImageError, match="'a_b' is no host name"):
        edit("x", Edits(hostname="a_b"))
    Path(".x.undo").write_text("")
    with pytest.raises(ImageError, match="left of a change that was interrupted"):
        edit("x", ALL)
    os.unlink(".x.undo")
    subprocess.run(["debugfs", "-w", "-R", "feature needs_recovery", "x"], capture_output=True, check=True)
    with pytest.raises(ImageError, match="the journal is not empty") as caught:
        edit("x", ALL)
    assert "e2fsck -E journal_only -p x" in caught.value.line()
    assert examine("x").file_systems[0].journal_dirty
    Path("empty").write_bytes(bytes(MIB))
    for act in (lambda: edit("empty", ALL), lambda: resize("empty", 2 * MIB, grow=True)):
        with pytest.raises(ImageError, match="no ext2, ext3 or ext4 file system"):
            act()
    with pytest.raises(ImageError, match="has only 1048576 bytes"):
        resize("empty", 2 * MIB, grow=False)
    with pytest.raises(ImageError, match="no whole number of sectors"):
        resize("empty", 2 * MIB + 1, grow=True)


def test_an_image_in_use_is_shown_and_not_changed(place: Path) -> None:
    build("tree", "x", Wanted(size=8 * MIB, format="qcow2"))
    build("tree", "y", Wanted(size=8 * MIB))
    for name, format in (("x", "qcow2"), ("y", "raw")):
        qemu = subprocess.Popen(["qemu-io", "-f", format, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert qemu.stdout is not None
            assert qemu.stdout.read(8) == b"qemu-io>"
            shown = examine(name)
            assert shown.in_use and shown.virtual_size == 8 * MIB
            for act in (lambda name=name: edit(name, ALL), lambda name=name: resize(name, None, grow=False)):
                with pytest.raises(ImageInUse):
                    act()
        finally:
            qemu.communicate(b"quit\n", timeout=10)
    device = subprocess.run(["losetup", "-f", "--show", "y"], capture_output=True, text=True, check=True).stdout.strip()
    try:
        with pytest.raises(ImageInUse, match=f"{device} stands on it"):
            edit("y", ALL)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def test_links_within_a_hostile_image_lead_nowhere_on_the_host(place: Path) -> None:
    os.unlink("tree/etc/hostname")
    os.symlink("../../../../../../etc/hostname", "tree/etc/hostname")
    os.unlink("tree/etc/fstab")
    os.symlink("fstab", "tree/etc/fstab")
    build("tree", "x", Wanted(size=8 * MIB))
    found = examine("x").guest
    assert found is not None and (found.hostname, found.fstab) == ("", ())
    with pytest.raises(ImageError, match="/etc/hostname in the image is a link that leads nowhere"):
        edit("x", Edits(hostname="new"))


def test_a_gpt_grows_and_keeps_what_is_in_it(place: Path) -> None:
    from xmcompat.storage.image_join import join

    build("tree", "p", Wanted(size=8 * MIB))
    join([(1, "p"), (6, "p")], "x")
    before = subprocess.run(["partx", "-g", "-r", "-o", "NR,START,UUID,NAME", "x"], capture_output=True, text=True, check=True)
    resize("x", 64 * MIB, grow=True)
    after = subprocess.run(["partx", "-g", "-r", "-o", "NR,START,UUID,NAME", "x"], capture_output=True, text=True, check=True)
    assert after.stdout == before.stdout
    shown = examine("x")
    assert shown.table is not None and shown.remark == "" and shown.table.partitions[1].size > 40 * MIB // 512


@pytest.mark.parametrize("program", ["e2fsck", "resize2fs"])
@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_a_file_system_that_is_larger_than_its_disk_does_not_fill_the_hosts(
    program: str, format: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an image talks the program into: it writes no byte behind the disk's end, and no other file that is larger."""
    build("tree", "x", Wanted(size=8 * MIB, format=format))
    before = Path("x").read_bytes()
    (place / "bin").mkdir()
    Path("bin", program).write_text(
        "#!/bin/sh\nfor word; do case $word in /dev/fd/*) disk=$word;; esac; done\n"
        "printf x | dd of=$disk bs=1 seek=$((64 << 20)) conv=notrunc status=none\n"
        f"head -c $((64 << 20)) /dev/zero > {place}/huge\nstat -Lc 'size=%s' $disk >&2\nexit 8\n"
    )
    os.chmod(f"bin/{program}", 0o755)
    monkeypatch.setenv("PATH", f"{place}/bin:{os.environ['PATH']}")
    with pytest.raises(ImageError, match="size=") as caught:
        resize("x", 16 * MIB, grow=True)
    assert int(caught.value.message.rpartition("size=")[2]) <= 16 * MIB
    assert not os.path.exists("huge") or os.path.getsize("huge") <= 16 * MIB
    assert Path("x").read_bytes() == before


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_an_image_with_two_names_keeps_both(format: str, place: Path) -> None:
    """The changed file would have one of them alone, and a guest that uses the other would never see it."""
    build("tree", "x", Wanted(size=8 * MIB, format=format))
    os.link("x", "y")
    acts = (lambda: resize("x", 16 * MIB, grow=True), lambda: resize("x", None, grow=False), lambda: sparsify("x"))
    for act in acts:
        with pytest.raises(ImageError, match="^x is one of 2 names of that file, and the others would keep it as it was$"):
            act()
    assert os.path.samefile("x", "y")
    os.unlink("y")
    assert resize("x", 16 * MIB, grow=True).after == 16 * MIB


def test_a_checksum_is_that_of_the_file(place: Path) -> None:
    Path("x").write_bytes(b"abc" * 1000)
    said = subprocess.run(["sha256sum", "x"], capture_output=True, text=True, check=True).stdout.split()[0]
    assert checksum("x") == said


@given(st.text(max_size=200))
def test_changes_of_texts_are_the_same_twice(text: str) -> None:
    fstab = guest.vda_for_xvda(text)
    assert guest.vda_for_xvda(fstab) == fstab
    inittab = guest.inittab_console(text, "hvc0")
    assert guest.inittab_console(inittab, "hvc0") == inittab
    keys = guest.with_keys(text, ["ssh-rsa AAAA x"])
    assert guest.with_keys(keys, ["ssh-rsa AAAA x"]) == keys


@pytest.mark.parametrize(
    ("text", "says"),
    [("-----BEGIN OPENSSH PRIVATE KEY-----\n", "is a private key"), ("rm -rf /\n", "k:1: this is no public key"), ("\n", "no key")],
)
def test_what_is_no_public_key_is_refused(text: str, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        guest.checked_keys(text, "k")


def test_a_console_of_an_old_init() -> None:
    text = "id:2:initdefault:\n1:2345:respawn:/sbin/getty 38400 tty1\nco:2345:respawn:/sbin/getty -L xvc0 9600 vt100\n"
    assert guest.inittab_console(text, "ttyS0").splitlines()[1:] == [
        "1:2345:respawn:/sbin/getty 38400 tty1", "co:2345:respawn:/sbin/getty -L ttyS0 9600 vt100"
    ]  # fmt: skip
    assert guest.inittab_console("id:2:initdefault:\n", "hvc0").splitlines()[1] == "h0:2345:respawn:/sbin/getty -L hvc0 115200 vt100"
    assert image_ext.Put(path="/x", data=b"", mode="0644").owner == (0, 0)


@pytest.mark.parametrize("act", [examine, lambda path: edit(path, ALL), lambda path: resize(path, None, grow=False)])
def test_an_image_that_cannot_be_read_in_places_ends_in_one_line(act: object, place: Path) -> None:
    """A qcow2 whose tables lead nowhere: QEMU gives errors of reading, as a bad medium does."""
    build("tree", "x", Wanted(size=24 * MIB, format="qcow2"))
    data = bytearray(Path("x").read_bytes())
    level1 = int.from_bytes(data[40:48], "big")
    level2 = int.from_bytes(data[level1 : level1 + 8], "big") & ((1 << 56) - 512)
    data[level2 : level2 + 8] = (1 << 63 | 1 << 50 | 512).to_bytes(8, "big")
    Path("x").write_bytes(data)
    assert callable(act)
    try:
        remark = act("x").remark
    except ImageError as error:
        remark = error.line()
    assert remark and "\n" not in remark
