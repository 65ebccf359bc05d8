"""``xm create`` and ``xm block-attach`` of disks that QEMU is denied, with a real libvirtd: one line that says who denies."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench, pv_writer
from tests.lab import disk_guest
from tests.lab.fixtures import is_open, running_node
from xmcompat.backends import private_libvirtd
from xmcompat.backends.libvirt_kvm import connect

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

CONFIG = "builder = 'hvm'\nname = 'web1'\nmemory = 32\nboot = 'c'\ndisk = ['{}:{},hda,{}']\non_poweroff = 'destroy'\n"
USER = "libvirt-qemu"


@pytest.fixture(scope="module")
def plain(lab_directory: Path) -> Iterator[Bench]:
    """A bench whose QEMU runs as a plain user in the group of /dev/kvm, as distributions have it: where a user may not use
    KVM, and root may, libvirt looks 16 times at each start of a guest what QEMU can do, for 9 s."""
    kvm = Path("/dev/kvm")
    group = kvm.stat().st_gid if kvm.exists() else pwd.getpwnam(USER).pw_gid
    with pytest.MonkeyPatch.context() as patch:
        conf = private_libvirtd.QEMU_CONF.replace('user = "root"', f'user = "{USER}"')
        conf = conf.replace('group = "root"', f'group = "+{group}"')
        assert USER in conf and f"+{group}" in conf
        patch.setattr(private_libvirtd, "QEMU_CONF", conf)
        with running_node(lab_directory / "plain", "plain") as node:
            hypervisor = connect(node.uri)
            directory = lab_directory / "denied"
            directory.mkdir()
            yield Bench(node, hypervisor, directory)
            hypervisor.close()


def refused(bench: Bench, path: Path, *, word: str = "file", mode: str = "w") -> str:
    """What ``xm create`` says of the disk; nothing is left of the guest."""
    bench.config("web1.cfg", CONFIG.format(word, path, mode))
    _, stderr, status = bench.xm("create", "-q", "web1.cfg")
    assert status == 1 and stderr.count("\n") == 1, stderr
    assert bench.remains() == ([], [])
    beginning = "Error: Device 768 (vbd) could not be connected. "
    assert stderr.startswith(beginning), stderr
    return stderr.removeprefix(beginning).rstrip("\n")


def image(bench: Bench, name: str = "web1.img") -> Path:
    path = bench.directory / name
    disk_guest.make(path, "a guest", size=4 << 20)
    path.chmod(0o666)
    return path


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_who_denies_a_disk_is_said_in_one_line(plain: Bench) -> None:
    path = image(plain)
    closed = plain.directory / "closed"
    closed.mkdir(mode=0o700)
    path.rename(closed / "web1.img")
    said = (
        f"{closed}/web1.img: Permission denied: {closed} is root's with mode 0700, and QEMU runs as {USER}, who may not pass "
        f"through it; move the image elsewhere, or run 'setfacl -m u:{USER}:x {closed}'"
    )
    assert refused(plain, closed / "web1.img") == said
    (plain.directory / "web2.cfg").write_text(pv_writer(plain.directory)("web2").read_text())
    created = plain.xm("create", "-q", "-p", "web2.cfg")
    assert created.status == 0, created.stderr
    done = plain.xm("block-attach", "web2", f"file:{closed}/web1.img", "xvdb", "w")
    assert (done.status, done.stderr.splitlines()[0]) == (1, f"Error: Device 51728 (vbd) could not be connected. {said}")
    assert plain.xm("destroy", "web2").status == 0
    (closed / "web1.img").rename(path)

    path.chmod(0o600)
    assert refused(plain, path) == (
        f"{path}: Permission denied: it is root's with mode 0600, and QEMU runs as {USER}; run 'chown {USER} {path}', or let "
        "libvirt do so: dynamic_ownership in /etc/libvirt/qemu.conf"
    )
    path.chmod(0o666)
    os.chown(path, pwd.getpwnam(USER).pw_uid, -1)
    subprocess.run(["chattr", "+i", path], check=True, timeout=10)
    try:
        assert refused(plain, path) == (
            f"{path}: Operation not permitted: it is marked as immutable; run 'chattr -i {path}'"
        )
    finally:
        subprocess.run(["chattr", "-i", path], check=True, timeout=10)


def test_the_program_that_holds_the_lock_of_an_image_is_named(plain: Bench) -> None:
    path = image(plain)
    words = plain.node.enter(["qemu-io", "-f", "raw", str(path)])
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as holder:
        wait_until(lambda: is_open(path), "qemu-io does not open it")
        said = refused(plain, path)
        holder.communicate(b"quit\n", timeout=10)
    assert re.sub(r"process \d+", "process PID", said) == (
        f"{path} is in use by another guest or program: 'qemu-io' (process PID) holds it; end that first, or give both guests "
        "the disk with the mode w!"
    )


def test_a_file_system_that_is_read_only_is_named(plain: Bench) -> None:
    path = image(plain)
    place = plain.directory / "readonly"
    place.mkdir()
    subprocess.run(plain.node.enter(["mount", "--bind", "-o", "ro", str(plain.directory), str(place)]), check=True, timeout=10)
    try:
        assert refused(plain, place / path.name) == (
            f"{place}/web1.img: Read-only file system: {place} is mounted read-only; run 'mount -o remount,rw {place}', or give "
            "the disk with the mode r"
        )
    finally:
        subprocess.run(plain.node.enter(["umount", str(place)]), check=True, timeout=10)


def test_a_format_that_is_not_the_images_is_refused_before_anything_is_started(plain: Bench) -> None:
    path = image(plain)
    assert refused(plain, path, word="tap:qcow2").endswith(
        f"{path} is no image of qcow2: it has no such header; if raw, write file:{path}"
    )
    log = plain.directory / "web1.log"
    subprocess.run(
        ["qemu-img", "convert", "-O", "qcow2", path, plain.directory / "web1.qcow2"], check=True, timeout=30
    )
    (plain.directory / "web1.qcow2").chmod(0o666)
    text = CONFIG.format("tap:qcow", plain.directory / "web1.qcow2", "w") + f"serial = 'file:{log}'\n"
    plain.config("web1.cfg", text)
    done = plain.xm("create", "web1.cfg", "-q")
    assert done.status == 0
    assert f"{path.parent}/web1.qcow2 is an image of qcow2, not of qcow, and is read as such" in done.stderr
    wait_until(lambda: not plain.hypervisor.domains(), "the guest goes on")
    assert "DONE" in log.read_text()
    back = plain.directory / "back.img"
    subprocess.run(["qemu-img", "convert", "-O", "raw", plain.directory / "web1.qcow2", back], check=True, timeout=30)
    assert disk_guest.written(back)


def test_a_restore_says_who_denies_the_disk(plain: Bench) -> None:
    path = image(plain, "web3.img")
    pv = pv_writer(plain.directory)("web3")
    pv.write_text(f"{pv.read_text()}disk = ['file:{path},xvda,w']\n")
    created = plain.xm("create", "-q", pv.name)
    assert created.status == 0, created.stderr
    saved = plain.directory / "web3.save"
    assert plain.xm("save", "web3", str(saved)).status == 0
    path.chmod(0o600)
    done = plain.xm("restore", str(saved))
    assert (done.status, done.stderr.splitlines()[0]) == (1, (
        f"Error: Restore failed: Device 51712 (vbd) could not be connected. {path}: Permission denied: it is root's with mode "
        f"0600, and QEMU runs as {USER}; run 'chown {USER} {path}', or let libvirt do so: dynamic_ownership in "
        "/etc/libvirt/qemu.conf"
    ))  # fmt: skip
    path.chmod(0o666)
    assert plain.xm("restore", str(saved)).status == 0
    assert plain.xm("destroy", "web3").status == 0
