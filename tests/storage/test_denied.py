"""Who denies QEMU a disk: real folders, owners, mounts, locks and flags, as QEMU's user meets them."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from xmcompat.backends.libvirt_errors import Failure, not_created
from xmcompat.errors import DeviceError, DiskRefused
from xmcompat.storage import denied, mounts
from xmcompat.storage.check import Source, assemble
from xmcompat.storage.denied import Denial, User, denial, explained

NOBODY = User(65534, 65534)
DENIED = "Permission denied"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where anybody may pass; pytest's own folders are closed."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="xmcompat-denied-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def image(folder: Path) -> Path:
    path = folder / "web1.img"
    path.write_bytes(bytes(4096))
    path.chmod(0o666)
    return path


def told(path: object, reason: str, user: User = NOBODY) -> Denial:
    found = denial(str(path), reason, user=user)
    assert found is not None
    return found


def test_the_folder_that_qemu_may_not_pass_is_named_with_its_owner(image: Path) -> None:
    closed = image.parent / "closed"
    (closed / "open").mkdir(parents=True)
    image.rename(closed / "open" / "web1.img")
    closed.chmod(0o700)
    assert told(closed / "open" / "web1.img", DENIED) == (
        f"{closed} is root's with mode 0700, and QEMU runs as nobody, who may not pass through it",
        f"move the image elsewhere, or run 'setfacl -m u:nobody:x {closed}'",
    )
    link = image.parent / "link"
    link.symlink_to(closed / "open" / "web1.img")
    assert told(link, DENIED).why.startswith(f"{closed} is root's")


def test_an_access_list_counts_as_it_does_for_qemu(image: Path) -> None:
    image.chmod(0o600)
    assert told(image, DENIED) == (
        "it is root's with mode 0600, and QEMU runs as nobody",
        f"run 'chown nobody {image}', or let libvirt do so: dynamic_ownership in /etc/libvirt/qemu.conf",
    )
    acl = struct.pack("<IHHIHHIHHIHHIHHI", 2, 1, 6, 2**32 - 1, 2, 6, 65534, 4, 0, 2**32 - 1, 16, 6, 2**32 - 1, 32, 0, 2**32 - 1)
    os.setxattr(image, "system.posix_acl_access", acl)
    assert denial(str(image), DENIED, user=NOBODY) is None


def test_owners_and_modes_deny_root_nothing(image: Path) -> None:
    os.chown(image, 65534, 65534)
    image.chmod(0o600)
    assert denial(str(image), DENIED, user=User(0, 0)) is None


def test_a_user_without_a_name_has_a_number(image: Path) -> None:
    image.chmod(0o600)
    assert told(image, DENIED, User(54321, 54321)).why.endswith("QEMU runs as 54321")


def test_where_owners_allow_it_the_profiles_of_the_host_are_named(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert denial(str(image), DENIED, user=NOBODY) is None
    monkeypatch.setattr(denied, "SYS", str(tmp_path / "sys"))
    parameters = tmp_path / "sys/module/apparmor/parameters"
    parameters.mkdir(parents=True)
    (parameters / "enabled").write_text("Y\n")
    found = told(image, DENIED)
    assert "AppArmor" in found.why
    assert found.hint is not None
    assert found.hint.startswith(f"add '{image} rwk,' to /etc/apparmor.d/local/abstractions/libvirt-qemu and start")
    (parameters / "enabled").write_text("N\n")
    (tmp_path / "sys/fs/selinux").mkdir(parents=True)
    (tmp_path / "sys/fs/selinux/enforce").write_text("1")
    assert told(image, DENIED) == (
        "owners and modes allow it, so it is SELinux: its label is unknown",
        f"run 'semanage fcontext -a -t virt_image_t {image}' and 'restorecon {image}'",
    )


def test_an_immutable_file_is_told(image: Path) -> None:
    subprocess.run(["chattr", "+i", image], check=True, timeout=10)
    try:
        assert told(image, "Operation not permitted") == ("it is marked as immutable", f"run 'chattr -i {image}'")
    finally:
        subprocess.run(["chattr", "-i", image], check=True, timeout=10)
    subprocess.run(["chattr", "+a", image], check=True, timeout=10)
    try:
        assert told(image, "Operation not permitted").hint == f"run 'chattr -a {image}'"
    finally:
        subprocess.run(["chattr", "-a", image], check=True, timeout=10)


MOUNTED = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 22 0:40 / {} ro,relatime - {} {} ro\n"


def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: Path, type: str, source: str) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTED.format(point, type, source))
    monkeypatch.setattr(mounts, "MOUNTINFO", str(tmp_path / "mountinfo"))


def test_a_read_only_file_system_is_told(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(tmp_path, monkeypatch, image.parent, "xfs", "/dev/sdb1")
    assert told(image, "Read-only file system") == (
        f"{image.parent} is mounted read-only",
        f"run 'mount -o remount,rw {image.parent}', or give the disk with the mode r",
    )


def test_a_folder_that_is_full_is_told(image: Path) -> None:
    found = told(image, "No space left on device")
    assert found.why.startswith(f"{image.parent} has ") and found.why.endswith(" MiB left")


def test_a_file_below_a_mount_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fstab").write_text(f"/dev/sdb1 {tmp_path}/guests xfs defaults 0 2\n")
    monkeypatch.setattr(mounts, "FSTAB", str(tmp_path / "fstab"))
    path = tmp_path / "guests" / "web1.img"
    assert told(path, "No such file or directory") == (
        f"{tmp_path}/guests of /etc/fstab is not mounted", f"run 'mount {tmp_path}/guests'"
    )  # fmt: skip
    with pytest.raises(DeviceError) as error:
        assemble([Source("file", str(path), True, False, 51712)], others=[])
    assert error.value.line() == (
        f"Device 51712 (vbd) could not be connected. {path} does not exist: {tmp_path}/guests of /etc/fstab is not mounted; "
        f"run 'mount {tmp_path}/guests'"
    )
    mounted(tmp_path, monkeypatch, tmp_path / "guests", "xfs", "/dev/sdb1")
    assert denial(str(path), "No such file or directory", user=NOBODY) is None


@pytest.fixture
def locked(image: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that holds one of QEMU's locks on the image, called as QEMU with a guest is."""
    code = (
        "import fcntl, struct, sys\n"
        "file = open(sys.argv[1], 'r+b')\n"
        "fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack('@hhqqi0q', fcntl.F_RDLCK, 0, 201, 1, 0))\n"
        "print('locked', flush=True)\nsys.stdin.read()\n"
    )
    words = [sys.executable, "-c", code, str(image), "-name", "guest=web,,7,debug-threads=on"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_the_guest_that_holds_the_lock_is_named(image: Path, locked: subprocess.Popen[str]) -> None:
    assert told(image, "is in use by another guest or program") == (
        "guest 'web,7' holds it", "end that first, or give both guests the disk with the mode w!"
    )  # fmt: skip


def test_a_program_that_holds_the_lock_is_named(image: Path) -> None:
    words = [sys.executable, "-c", "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_SH); print(flush=True);"
             "sys.stdin.read()", str(image)]  # fmt: skip
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        expected = f"'{os.path.basename(sys.executable)}' (process {process.pid}) holds it"
        assert told(image, 'Failed to get "write" lock').why == expected
        process.kill()


def test_a_lock_of_another_host_is_said_to_be_one(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert denial(str(image), "is in use by another guest or program") is None
    mounted(tmp_path, monkeypatch, image.parent, "nfs4", "filer:/srv/xen")
    assert told(image, "is in use by another guest or program").why.startswith("its lock is on the server of filer:/srv/xen")
    with open(image, "rb") as own:
        fcntl.flock(own, fcntl.LOCK_SH)  # this process's own lock is no answer
        assert "filer" in told(image, "is in use by another guest or program").why


def test_settings_and_distributions_say_whom_qemu_runs_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "qemu.conf"
    monkeypatch.setattr(denied, "QEMU_CONF", str(conf))
    monkeypatch.setattr(denied, "_USERS", ("nobody",))
    assert denied.qemu_user() == NOBODY
    conf.write_text('#user = "daemon"\n')
    assert denied.qemu_user() == NOBODY
    conf.write_text('user = "+0"\n  user = "daemon"\n')
    assert denied.qemu_user().name == "daemon"
    conf.write_text('user = "+0"\n')
    assert denied.qemu_user() == User(0, 0)
    monkeypatch.setattr(denied, "_USERS", ())
    conf.write_text('user = "no-such-user"\n')
    assert denied.qemu_user() == User(0, 0)


@pytest.mark.parametrize(("text", "path", "reason", "user"), [
    ("Cannot access storage file '/root/x.img' (as uid:64055, gid:107): Permission denied", "/root/x.img", DENIED, (64055, 107)),
    ("Cannot access backing file '/b' of storage file '/a' (as uid:1, gid:2): No such file or directory", "/b",
     "No such file or directory", (1, 2)),
    ("internal error: child reported (status=125): unable to set user and group to '64055:64055' on '/mnt/x.img': "
     "Operation not permitted", "/mnt/x.img", "Operation not permitted", None),
    ("internal error: process exited while connecting to monitor: 2024-01-01T00:00:00.0Z qemu-system-x86_64: -blockdev "
     '{"driver":"file"}: Could not open \'/x.img\': Read-only file system', "/x.img", "Read-only file system", None),
])  # fmt: skip
def test_what_libvirt_says_is_read(text: str, path: str, reason: str, user: tuple[int, int] | None) -> None:
    error = not_created(Failure(38, 10, text), "qemu:///system", [], [(path, "xvda")])
    assert isinstance(error, DiskRefused)
    assert (error.path, error.reason, error.user) == (path, reason, user)
    assert error.message == f"Device 51712 (vbd) could not be connected. {path}: {reason}"


def test_an_error_is_explained_in_one_line_or_left_as_it_is(image: Path) -> None:
    image.chmod(0o600)
    line = explained(DiskRefused("Device 51712 (vbd) could not be connected. X", path=str(image), reason=DENIED, user=NOBODY)).line()
    assert line.startswith("Device 51712 (vbd) could not be connected. X: it is root's with mode 0600, and QEMU runs as nobody; run")
    image.chmod(0o666)
    error = DiskRefused("as it was", path=str(image), reason=DENIED, user=NOBODY)
    assert explained(error) is error
    for path in ("", "nbd:x"):
        error = DiskRefused("as it was", path=path, reason=DENIED)
        assert explained(error) is error
