"""Volumes that several hosts reach: what is known of them, and whether anything locks them on all hosts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xmcompat.storage import lockspace
from xmcompat.storage.lockspace import Disk, Manager, Reach, look, manager, reach
from xmcompat.storage.mounts import Mount

NFS = Mount("store:/xen", "/srv/nfs", "nfs4", "rw,vers=4.2,hard")
NOLOCK = Mount("store:/xen", "/srv/nfs", "nfs", "rw,vers=3,nolock,local_lock=all")
ROOT = Mount("/dev/vda1", "/", "ext4", "rw")
LOCKD = Manager("lockd", files="/srv/nfs/locks")


@pytest.fixture
def nfs(tmp_path: Path) -> Mount:
    """A file system that is said to be NFS."""
    (tmp_path / "web1.img").write_bytes(bytes(512))
    return NFS._replace(point=str(tmp_path))


class Devices:
    """Devices, with what /sys would say of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "dev/block").mkdir(parents=True)

    def add(self, minor: int, folder: str, **files: str) -> str:
        """A device 253:MINOR whose folder in /sys is FOLDER; the path of its node."""
        place = self.root / folder
        place.mkdir(parents=True)
        for name, text in {"dev": f"253:{minor}", **files}.items():
            file = place / name.replace("__", "/")
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{text}\n")
        (self.root / f"dev/block/253:{minor}").symlink_to(place)
        node = self.root / f"node{minor}"
        os.mknod(node, 0o060600, os.makedev(253, minor))
        return str(node)

    def stands_on(self, upper: str, *lower: str) -> None:
        (self.root / upper / "slaves").mkdir()
        for one in lower:
            (self.root / upper / "slaves" / one.rpartition("/")[2]).symlink_to(self.root / one)


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Devices:
    monkeypatch.setattr(lockspace, "SYS", str(tmp_path / "sys"))
    return Devices(tmp_path / "sys")


LUN = "devices/platform/host3/session1/target3:0:0/3:0:0:1/block/sdb"


def test_what_libvirts_files_say(tmp_path: Path) -> None:
    qemu, lockd = tmp_path / "qemu.conf", tmp_path / "qemu-lockd.conf"
    assert manager(str(qemu), str(lockd)) == Manager()
    qemu.write_text('# lock_manager = "sanlock"\nuser = "root"\n lock_manager = "lockd" # both hosts\n')
    assert manager(str(qemu), str(lockd)) == Manager("lockd")
    lockd.write_text('#file_lockspace_dir = "/no"\nauto_disk_leases = 0\nfile_lockspace_dir="/srv/locks"\n'
                     'lvm_lockspace_dir = "/srv/lvm"\nscsi_lockspace_dir = "/srv/scsi"\n')  # fmt: skip
    assert manager(str(qemu), str(lockd)) == Manager("lockd", False, "/srv/locks", "/srv/lvm", "/srv/scsi")


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        (NFS, Reach("NFS (store:/xen)", False, "", True)), (NOLOCK, Reach("NFS (store:/xen)", False, "", False)),
        (NFS._replace(type="ocfs2", source="/dev/sdb"), Reach("OCFS2 (/dev/sdb)", False, "", True)),
        (NFS._replace(type="fuse.sshfs"), Reach("SSHFS (store:/xen)", False, "", False)),
        (NFS._replace(type="xfs"), None),
    ],
)
def test_files_are_reached_where_their_file_system_is(tmp_path: Path, mount: Mount, expected: Reach | None) -> None:
    image = tmp_path / "a.img"
    image.write_bytes(b"")
    (tmp_path / "link").symlink_to(image)
    mounts = [ROOT, mount._replace(point=str(tmp_path))]
    assert reach(str(image), mounts) == reach(str(tmp_path / "link"), mounts) == expected
    assert reach("/etc/hosts", mounts) is None and reach("/no/such", mounts) is None


def test_devices_are_reached_by_what_they_stand_on(devices: Devices) -> None:
    local = devices.add(1, "devices/pci0/virtio1/block/vda")
    lun = devices.add(2, LUN)
    shelf = devices.add(3, "devices/virtual/block/etherd!e0.1")
    volume = devices.add(4, "devices/virtual/block/dm-0", dm__uuid="LVM-abc")
    devices.stands_on("devices/virtual/block/dm-0", LUN)
    paths = devices.add(5, "devices/virtual/block/dm-1", dm__uuid="mpath-3600")
    devices.stands_on("devices/virtual/block/dm-1", LUN)
    own = devices.add(6, "devices/virtual/block/dm-2", dm__uuid="LVM-def")
    devices.stands_on("devices/virtual/block/dm-2", "devices/pci0/virtio1/block/vda")
    part = devices.add(7, f"{LUN}/sdb1", partition="1")
    found = [reach(path, [ROOT]) for path in (local, own, lun, shelf, volume, paths, part)]
    assert found[:2] == [None, None]
    assert found[2:] == [
        Reach("iSCSI", True, "scsi"), Reach("AoE", True), Reach("iSCSI", True, "lvm"), Reach("iSCSI", True, "scsi"),
        Reach("iSCSI", True, "scsi"),
    ]  # fmt: skip


def test_a_loop_device_is_its_file_whose_locks_it_does_not_take(devices: Devices, nfs: Mount) -> None:
    loop = devices.add(1, "devices/virtual/block/loop0", loop__backing_file=f"{nfs.point}/web1.img")
    assert reach(loop, [ROOT, nfs]) == Reach("NFS (store:/xen)", True, "", False)


def why(path: str, found: Manager, mounts: list[Mount], **disk: bool) -> str:
    findings = look([Disk("web1", path, **disk)], found, mounts)
    return findings[0].why if findings else ""


def test_images_are_locked_by_qemu_where_locks_are_passed_on(nfs: Mount) -> None:
    image, nolock = f"{nfs.point}/web1.img", NOLOCK._replace(point=nfs.point)
    assert why(image, Manager(), [nfs]) == ""
    assert why(image, Manager(), [nolock]) == (
        "other hosts reach it by NFS (store:/xen): its locks stay on this host, and libvirt's lock manager is off"
    )
    assert "locks the disk itself" in why(image, Manager("lockd"), [nolock])
    assert "whose locks stay on their host" in why(image, Manager("lockd", files=nfs.point), [nolock])


def test_devices_need_a_lock_manager_with_a_folder_that_all_hosts_share(devices: Devices, nfs: Mount) -> None:
    lun = devices.add(2, LUN)
    here = [ROOT, nfs]
    locks = f"{nfs.point}/locks"
    assert "libvirt's lock manager is off" in why(lun, Manager(), here)
    assert "locks the disk itself" in why(lun, Manager("lockd"), here)
    assert "file_lockspace_dir = /var/lib/locks lies on this host alone" in why(lun, Manager("lockd", files="/var/lib/locks"), here)
    assert "auto_disk_leases is off" in why(lun, Manager("lockd", False, locks), here)
    assert why(lun, Manager("lockd", files=locks), here) == why(lun, Manager("sanlock"), here) == ""
    assert why(lun, Manager("lockd", scsi=locks), here) == ""
    assert "locks the disk itself" in why(lun, Manager("lockd", lvm=locks), here)
    assert "scsi_lockspace_dir = /var/lib/scsi lies" in why(lun, Manager("lockd", files=locks, scsi="/var/lib/scsi"), here)


def test_what_is_shared_on_purpose_or_only_read_is_left_alone(devices: Devices) -> None:
    lun = devices.add(2, LUN)
    assert why(lun, Manager(), [ROOT], shareable=True) == why(lun, Manager(), [ROOT], readonly=True) == ""
    assert "a part of a disk made of several" in why(lun, LOCKD, [ROOT, NFS], direct=False)


def test_settings_that_libvirt_has_not_read_are_not_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf, pid = tmp_path / "qemu.conf", tmp_path / "libvirtd.pid"
    monkeypatch.setattr(lockspace, "PID_FILES", (str(pid), str(tmp_path / "none")))
    conf.touch()
    assert not lockspace.is_unread(str(conf))  # it does not run
    pid.touch()
    os.utime(conf, (1000, 1000))
    assert not lockspace.is_unread(str(conf), str(tmp_path / "none"))
    os.utime(pid, (999, 999))
    assert lockspace.is_unread(str(conf), str(tmp_path / "none"))


def test_a_disk_is_told_of_once(devices: Devices) -> None:
    lun = devices.add(2, LUN)
    assert len(look([Disk("web1", lun), Disk("web1", lun), Disk("web2", lun)], Manager(), [ROOT])) == 2
