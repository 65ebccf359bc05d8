"""Two hosts that share a volume: the lock manager of libvirt keeps the guest of one from what a guest of the other has."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.conftest import pv_writer
from tests.lab.fixtures import CHECKOUT, Outcome, destroy_all, run_xm, running_node
from xmcompat.backends.private_libvirtd import PrivateLibvirtd

pytestmark = [pytest.mark.libvirt, pytest.mark.timeout(120)]

FREE = "No disk of a guest could be written to by a guest of another host at the same time."
HINT = "Hint: libvirt's lock manager says so: a guest of another host has it, or one of another libvirt here\n"


class Hosts(NamedTuple):
    """Two hosts, a folder and a device that both have, and the image behind the device."""

    nodes: tuple[PrivateLibvirtd, PrivateLibvirtd]
    folder: Path
    device: str

    def xm(self, host: int, *words: str) -> Outcome:
        return run_xm(self.nodes[host], *words, cwd=self.folder, env={"XMCOMPAT_ACCELERATOR": "tcg"})

    def guest(self, name: str, disk: str) -> None:
        pv_writer(self.folder)(f"{name}.cfg", disk=[disk], root="/dev/xvda ro", vif=[])

    def refused(self) -> str:
        """What is said of the device that a guest of the other host has."""
        return (
            f"Error: Device 51712 (vbd) could not be connected.\nDevice {self.device} is mounted in a guest domain,\n"
            f"and so cannot be mounted now.\n{HINT}"
        )


def lock(node: PrivateLibvirtd, leases: Path) -> None:
    """Have the libvirtd of NODE lock disks by files in LEASES."""
    with open(node.directory / "etc/qemu.conf", "a") as file:
        file.write('lock_manager = "lockd"\n')
    (node.directory / "etc/qemu-lockd.conf").write_text(f'file_lockspace_dir = "{leases}"\n')
    subprocess.run(node.enter(["virtlockd", "--daemon"]), check=True, timeout=20)
    before = node.daemon_pid()
    assert before is not None
    os.kill(before, 9)  # it reads its files when it starts; process 1 starts it again
    end = time.monotonic() + 20
    while node.daemon_pid() in (before, None) or subprocess.run(
        node.enter(["virsh", "-c", node.uri, "list"]), capture_output=True, timeout=20
    ).returncode:
        assert time.monotonic() < end, "libvirtd does not come back"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def shared(lab_directory: Path) -> Iterator[Hosts]:
    folder = lab_directory / "shared"
    folder.mkdir()
    (folder / "volume").write_bytes(bytes(1 << 20))
    with ExitStack() as stack:
        device = subprocess.run(["losetup", "-f", "--show", str(folder / "volume")], capture_output=True, text=True, check=True)
        path = device.stdout.strip()
        stack.callback(subprocess.run, ["losetup", "-d", path], check=False)
        nodes = tuple(stack.enter_context(running_node(lab_directory / name, name)) for name in ("h1", "h2"))
        for node in nodes:
            lock(node, folder / "leases")
        yield Hosts((nodes[0], nodes[1]), folder, path)


@pytest.fixture
def hosts(shared: Hosts) -> Iterator[Hosts]:
    yield shared
    for node in shared.nodes:
        destroy_all(node)


def test_the_second_host_is_refused_what_the_first_has(hosts: Hosts) -> None:
    hosts.guest("web1", f"phy:{hosts.device},xvda,w")
    hosts.guest("web2", f"phy:{hosts.device},xvda,w")
    assert hosts.xm(0, "create", "-q", "web1.cfg").status == 0
    lease = hosts.folder / "leases" / hashlib.sha256(hosts.device.encode()).hexdigest()
    assert lease.exists()
    _, stderr, status = hosts.xm(1, "create", "-q", "web2.cfg")
    assert (stderr, status) == (hosts.refused(), 1)
    assert hosts.xm(1, "list").stdout.count("\n") == 2  # the heads, and Domain-0
    assert hosts.xm(0, "destroy", "web1").status == 0
    assert not lease.exists()
    assert hosts.xm(1, "create", "-q", "web2.cfg").status == 0


def test_a_guest_that_waits_is_refused_when_it_is_to_run(hosts: Hosts) -> None:
    hosts.guest("web1", f"phy:{hosts.device},xvda,w")
    hosts.guest("web2", f"phy:{hosts.device},xvda,w")
    assert hosts.xm(1, "create", "-q", "-p", "web2.cfg").status == 0
    assert hosts.xm(0, "create", "-q", "web1.cfg").status == 0
    _, stderr, status = hosts.xm(1, "unpause", "web2")
    assert (stderr, status) == (hosts.refused(), 1)
    assert hosts.xm(0, "destroy", "web1").status == 0
    assert hosts.xm(1, "unpause", "web2").status == 0


def test_a_managed_guest_and_a_new_disk_are_refused_alike(hosts: Hosts) -> None:
    hosts.guest("web1", f"phy:{hosts.device},xvda,w")
    hosts.guest("web2", f"phy:{hosts.device},xvda,w")
    hosts.guest("web3", f"file:{hosts.folder}/root.img,xvda,w")
    assert hosts.xm(0, "create", "-q", "web1.cfg").status == 0
    assert hosts.xm(1, "new", "-q", "web2.cfg").status == 0
    _, stderr, status = hosts.xm(1, "start", "web2")
    assert (stderr, status) == (hosts.refused(), 1)
    assert hosts.xm(1, "create", "-q", "web3.cfg").status == 0
    _, stderr, status = hosts.xm(1, "block-attach", "web3", f"phy:{hosts.device}", "xvdb", "w")
    assert (stderr, status) == (hosts.refused().replace("51712", "51728"), 1)


def test_w_with_an_exclamation_mark_shares_it(hosts: Hosts) -> None:
    for name in ("web1", "web2"):
        hosts.guest(name, f"phy:{hosts.device},xvda,w!")
    hosts.guest("web3", f"phy:{hosts.device},xvda,w")
    assert hosts.xm(0, "create", "-q", "web1.cfg").status == 0
    assert hosts.xm(1, "create", "-q", "web2.cfg").status == 0
    assert hosts.xm(1, "destroy", "web2").status == 0
    _, stderr, status = hosts.xm(1, "create", "-q", "web3.cfg")
    assert (stderr, status) == (hosts.refused(), 1)


def test_a_host_tells_whether_its_settings_are_in_force(hosts: Hosts) -> None:
    node = hosts.nodes[0]
    check = node.enter([sys.executable, "-m", "xmcompat.tool", "storage", "check"], env={
        "XMCOMPAT_URI": node.uri, "PYTHONPATH": str(CHECKOUT)})  # fmt: skip

    def said() -> tuple[list[str], int]:
        done = subprocess.run(check, capture_output=True, text=True, timeout=30)
        return done.stdout.splitlines(), done.returncode

    assert said() == (["libvirt's lock manager: lockd", FREE], 0)
    conf = node.directory / "etc/qemu.conf"
    before = conf.stat().st_mtime
    os.utime(conf, (time.time() + 1, time.time() + 1))
    unread = "libvirt was started before its settings were changed, and has not read them"
    assert said() == (["libvirt's lock manager: lockd", unread, "  restart libvirtd", FREE], 1)
    os.utime(conf, (before, before))


def test_an_image_is_kept_by_qemu_itself(hosts: Hosts) -> None:
    (hosts.folder / "image").write_bytes(bytes(1 << 20))
    for name in ("web1", "web2"):
        hosts.guest(name, f"file:{hosts.folder}/image,xvda,w")
    assert hosts.xm(0, "create", "-q", "web1.cfg").status == 0
    _, stderr, status = hosts.xm(1, "create", "-q", "web2.cfg")
    assert stderr.startswith(f"Error: Device 51712 (vbd) could not be connected. {hosts.folder}/image is in use") and status == 1
    assert hosts.xm(0, "destroy", "web1").status == 0
    assert hosts.xm(1, "create", "-q", "web2.cfg").status == 0
