"""Guests whose disk is made of several volumes: from their start to their end, and what happens when something dies."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench, Writer
from tests.e2e.test_linux_guest import BOOT, ask, console, log_in
from tests.lab.fixtures import CHECKOUT
from xmcompat import disk_needs
from xmcompat.backends import domain_xml
from xmcompat.errors import XmError
from xmcompat.tour.guest import GuestFiles, build_guest, xen_config
from xmcompat.translate import partitions

pytestmark = [pytest.mark.libvirt, pytest.mark.timeout(300)]

MIB = 1 << 20
UUID = "99999999-2222-4333-8444-555555555555"
HOLDS = "/run/xmcompat/storage"


#: What xend does now and then.
TEND = """
import json
from xmcompat.xend.keeper import Keeper
said = []
Keeper(toolstack, lambda level, text: said.append(text)).tend()
print(json.dumps(said))
"""


def until(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def inside(bench: Bench, code: str) -> str:
    """What Python CODE prints in the node, with a toolstack in it."""
    begin = f"from xmcompat.toolstack import Toolstack\ntoolstack = Toolstack.open({bench.node.uri!r})\n"
    env = {"PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        bench.node.enter([sys.executable, "-c", begin + code], env=env), capture_output=True, text=True, check=True, timeout=60
    ).stdout


def uuid_of(bench: Bench, name: str = "web1") -> str:
    return bench.hypervisor.find(name).uuid


def served(bench: Bench, uuid: str) -> Path:
    """The folder of the guest's disk, which is in the node's own /run."""
    return bench.node.directory / "run/xmcompat/joined" / f"{uuid}-xvda"


def is_served(folder: Path) -> bool:
    from xmcompat.storage import composite

    return composite.is_served(str(folder))


#: What other files' tests have left there.
EARLIER: set[str] = set()


@pytest.fixture(scope="module", autouse=True)
def _earlier(held_before: frozenset[str]) -> None:
    EARLIER.update(held_before)


def held(bench: Bench) -> list[str]:
    """The kinds of what is held in the node."""
    listed = subprocess.run(bench.node.enter(["ls", HOLDS]), capture_output=True, text=True, check=False).stdout
    return [name.partition("-")[0] for name in listed.split() if name not in EARLIER]


def server_of(bench: Bench, folder: Path) -> int:
    """The process that serves it, by its number in the node."""
    return int((folder / "pid").read_text())


def kill_server(bench: Bench, folder: Path) -> None:
    subprocess.run(bench.node.enter(["kill", "-9", str(server_of(bench, folder))]), check=True)
    assert until(lambda: not is_served(folder))


@pytest.fixture
def parts(bench: Bench, pv: Writer) -> Iterator[Path]:
    """A guest web1 of swap, on xvda1, and a root file system on xvda3, whose kernel does nothing."""
    (bench.directory / "swap.img").write_bytes(bytes(MIB))
    disks = [f"file:{bench.directory}/root.img,xvda3,w", f"file:{bench.directory}/swap.img,xvda1,w"]
    yield pv(disk=disks, root="/dev/xvda3 ro")
    bench.xm("destroy", "web1")


def test_the_guest_has_one_disk_and_xm_shows_its_partitions(bench: Bench, parts: Path) -> None:
    done = bench.xm("create", "web1.cfg")
    assert done.status == 0, done.stderr
    assert "the partition xvda1 is /dev/vda1 in the guest" in done.stderr + done.stdout
    assert "the partition xvda3 is /dev/vda3 in the guest" in done.stderr + done.stdout
    xml = bench.hypervisor.domain_xml(uuid_of(bench))
    assert xml.count("<disk ") == 1
    assert "root=/dev/vda3 ro" in xml
    listed = [line.split()[0] for line in bench.xm("block-list", "web1").stdout.splitlines()[1:]]
    assert sorted(listed) == ["51713", "51715"]
    form = bench.xm("list", "--long", "web1").stdout
    assert sorted(re.findall(r"\(dev (xvda[0-9]*)", form)) == ["xvda1", "xvda3"]
    assert "swap.img" in form


def test_it_is_served_while_the_guest_lives_and_leaves_nothing(bench: Bench, parts: Path) -> None:
    assert bench.xm("create", "-q", "web1.cfg").status == 0
    folder = served(bench, uuid_of(bench))
    assert is_served(folder)
    assert held(bench) == ["served"]
    assert bench.xm("destroy", "web1") == ("", "", 0)
    assert not folder.exists()
    assert held(bench) == []


def test_a_start_that_fails_leaves_nothing(bench: Bench, parts: Path) -> None:
    text = parts.read_text().replace("xenbr0", "nobridge")
    bench.config("web1.cfg", f"{text}uuid = {UUID!r}\n")
    assert bench.xm("create", "-q", "web1.cfg").status == 1
    assert held(bench) == []
    assert not served(bench, UUID).exists()


def test_the_volumes_are_no_other_guests(bench: Bench, parts: Path, pv: Writer) -> None:
    assert bench.xm("create", "-q", "web1.cfg").status == 0
    pv("web2.cfg", disk=[f"file:{bench.directory}/root.img,xvda1,w"])
    said = bench.xm("create", "-q", "web2.cfg")
    assert said.status == 1
    assert "root.img is mounted in a guest domain" in said.stderr
    pv("web2.cfg", disk=[f"file:{bench.directory}/root.img,xvda,w"], root="/dev/xvda")
    said = bench.xm("create", "-q", "web2.cfg")
    assert said.status == 1
    assert "root.img is mounted in a guest domain" in said.stderr
    assert held(bench) == ["served"]


def test_a_volume_of_it_is_not_taken_out(bench: Bench, parts: Path) -> None:
    assert bench.xm("create", "-q", "web1.cfg").status == 0
    for name in ("xvda1", "51715", "xvda"):
        said = bench.xm("block-detach", "web1", name)
        assert said.status == 1
        assert "make up the disk xvda of the guest, and stay together" in said.stderr
    assert "swap.img" in bench.xm("list", "--long", "web1").stdout


def test_a_disk_more_is_one_of_its_own(bench: Bench, parts: Path) -> None:
    assert bench.xm("create", "-q", "web1.cfg").status == 0
    (bench.directory / "more.img").write_bytes(bytes(MIB))
    done = bench.xm("block-attach", "web1", f"file:{bench.directory}/more.img", "xvda4", "w")
    assert done.status == 0, done.stderr
    listed = [line.split()[0] for line in bench.xm("block-list", "web1").stdout.splitlines()[1:]]
    assert sorted(listed) == ["51713", "51715", "51716"]


def test_it_can_be_created_again_at_once(bench: Bench, parts: Path) -> None:
    for _ in range(3):
        assert bench.xm("create", "-q", "web1.cfg").status == 0
        bench.hypervisor.destroy(uuid_of(bench))  # nobody of xm's sees its end
    done = bench.xm("create", "-q", "web1.cfg")
    assert done.status == 0, done.stderr
    assert held(bench) == ["served"], "what was left of the earlier ones has gone"


def test_saved_and_restored(bench: Bench, parts: Path) -> None:
    assert bench.xm("create", "-q", "web1.cfg").status == 0
    folder = served(bench, uuid_of(bench))
    file = bench.directory / "web1.save"
    assert bench.xm("save", "web1", str(file)) == ("", "", 0)
    assert not folder.exists()
    assert held(bench) == []
    done = bench.xm("restore", str(file))
    assert done.status == 0, done.stderr
    assert is_served(folder)
    checkpoint = bench.xm("save", "-c", "web1", str(file))
    assert (checkpoint.stdout, checkpoint.status) == ("", 0)
    assert f"'xm restore --disks {file}' brings both back" in checkpoint.stderr
    assert is_served(folder), "it runs on"
    os.rename(bench.directory / "swap.img", bench.directory / "away.img")
    assert bench.xm("destroy", "web1").status == 0
    said = bench.xm("restore", str(file))
    assert said.status == 1
    assert "Restore failed: Device 51713 (vbd) could not be connected." in said.stderr
    assert "swap.img does not exist" in said.stderr
    assert held(bench) == []
    os.rename(bench.directory / "away.img", swap := bench.directory / "swap.img")
    before = swap.read_bytes()
    with open(swap, "r+b") as volume:
        volume.write(b"written since")
    assert "have been written since" in bench.xm("restore", str(file)).stderr
    done = bench.xm("restore", "--disks", str(file))
    assert (done.stderr, done.status) == ("", 0)
    assert swap.read_bytes() == before, "a part of the joined disk"
    assert is_served(folder)


def test_known_started_suspended_and_resumed(bench: Bench, parts: Path) -> None:
    assert bench.xm("new", "-q", "web1.cfg").status == 0
    folder = served(bench, uuid_of(bench))
    assert not folder.exists()
    with pytest.raises(XmError):
        bench.hypervisor.start_known(uuid_of(bench))  # as virsh start would: nothing serves its disk
    assert bench.xm("start", "web1") == ("", "", 0)
    assert is_served(folder)
    assert bench.xm("suspend", "web1") == ("", "", 0)
    assert not folder.exists()
    assert bench.xm("resume", "web1") == ("", "", 0)
    assert is_served(folder)
    assert bench.xm("destroy", "web1") == ("", "", 0)
    assert not folder.exists()
    assert bench.xm("delete", "web1") == ("", "", 0)


def test_what_the_kernel_has_joined_elsewhere_is_served_here(bench: Bench, parts: Path) -> None:
    """Definition and image say that device-mapper does it, as where it is there; both are changed, and nothing else."""
    assert bench.xm("new", "-q", "web1.cfg").status == 0
    uuid = uuid_of(bench)
    folder, hypervisor = served(bench, uuid), bench.hypervisor

    def by_kernel(xml: str) -> str:
        disks = tuple(replace(partitions.by_kernel(disk), members=(disk,)) for disk in domain_xml.parse(xml).disks)
        changed = disk_needs.renewed(xml, disks)
        assert f"/dev/mapper/xmc-{uuid}-xvda" in changed and str(folder.name) + "/nbd" not in changed
        return changed

    def is_by_server() -> bool:
        return is_served(folder) and f"{folder.name}/nbd" in hypervisor.domain_xml(uuid)

    hypervisor.define_again(by_kernel(hypervisor.definition(uuid)))
    assert bench.xm("start", "web1") == ("", "", 0)
    assert is_by_server() and f"{folder.name}/nbd" in hypervisor.definition(uuid)
    assert bench.xm("suspend", "web1") == ("", "", 0)
    hypervisor.change_image(uuid, by_kernel(hypervisor.image(uuid)))
    assert bench.xm("resume", "web1") == ("", "", 0)
    assert is_by_server()
    assert bench.xm("destroy", "web1") == ("", "", 0)
    assert not folder.exists()
    assert bench.xm("delete", "web1") == ("", "", 0)


def test_xend_tends_what_nobody_saw(bench: Bench, parts: Path) -> None:
    """A server that is killed is there again, and what a guest that ended by itself had is given back."""
    assert bench.xm("create", "-q", "web1.cfg").status == 0
    folder = served(bench, uuid_of(bench))
    kill_server(bench, folder)
    assert json.loads(inside(bench, TEND)) == ["What served a disk of 'web1' had died; it is served again."]
    assert is_served(folder)
    assert json.loads(inside(bench, TEND)) == []
    bench.hypervisor.destroy(uuid_of(bench))
    assert json.loads(inside(bench, TEND)) == []
    assert not folder.exists()
    assert held(bench) == []


def test_built_anew_by_xend(bench: Bench, parts: Path) -> None:
    """The keeper's steps for a guest that reboots: the domain is another one, on the same disk."""
    assert bench.xm("create", "-q", "web1.cfg").status == 0
    uuid, first = uuid_of(bench), server_of(bench, served(bench, uuid_of(bench)))
    domid = bench.hypervisor.find(uuid).domid
    inside(bench, f"""
import time
from xmcompat.xend.keeper import Keeper, Options, REBOOT
from xmcompat.backends.hypervisor import GuestEvent
keeper = Keeper(toolstack, lambda level, text: print(level, text), Options(loop=0.0, fresh=60.0))
keeper.watch()
keeper.on_event(GuestEvent({uuid!r}, "reset", True, True, time.time(), toolstack.hypervisor.find({uuid!r}).domid))
keeper.finish()
""")
    folder = served(bench, uuid)
    assert is_served(folder)
    assert server_of(bench, folder) != first
    assert bench.hypervisor.find(uuid).domid not in (None, domid)
    assert held(bench) == ["served"]
    assert bench.xm("destroy", "web1").status == 0
    assert held(bench) == []


def test_a_killed_create_leaves_nothing_after_the_next(bench: Bench, parts: Path, pv: Writer) -> None:
    """Killed when its disk is served and before it has asked libvirt for the domain."""
    code = (
        "import os, signal\nfrom xmcompat import creation\nfrom xmcompat.config.load import load\n"
        "creation.start = lambda *args, **named: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"toolstack.create(load({str(parts)!r}))\n"
    )
    bench.config("web1.cfg", f"{parts.read_text()}uuid = {UUID!r}\n")
    with pytest.raises(subprocess.CalledProcessError):
        inside(bench, code)
    assert held(bench) == ["served"]
    assert is_served(served(bench, UUID))
    bench.config("web1.cfg", f"{parts.read_text()}uuid = {UUID.replace('9', '8')!r}\n")
    done = bench.xm("create", "-q", "web1.cfg")
    assert done.status == 0, done.stderr
    assert held(bench) == ["served"]
    assert not served(bench, UUID).exists()


# -- a real guest


@pytest.fixture(scope="module")
def files(lab_directory: Path) -> GuestFiles:
    return build_guest(lab_directory / "parted", name="linux1")


def in_image(image: Path, path: str) -> str:
    return subprocess.run(["debugfs", "-R", f"cat {path}", image], capture_output=True, text=True, check=True).stdout


@pytest.mark.guest
def test_a_linux_guest_lives_on_two_volumes(bench: Bench, files: GuestFiles) -> None:
    """Swap on xvda1, root on xvda3: what it writes is in the images, through a server that dies, a save and a restore."""
    text = xen_config(files, name="linux1", mac="00:16:3e:11:22:44", bridge="xenbr0")
    bench.config("linux1.cfg", text.replace("xvda2", "xvda3"))
    with console(bench, "create", "-c", "linux1.cfg") as terminal:
        log_in(terminal)
        told = ask(terminal, b"cat /proc/partitions /proc/swaps /proc/cmdline")
        assert re.findall(rb" (vda[0-9]*)\r", told) == [b"vda", b"vda1", b"vda3"]
        assert b"/dev/vda1 " in told
        assert b"root=/dev/vda3 ro" in told
        ask(terminal, b"echo before >/root/before && sync")
        folder = served(bench, uuid_of(bench, "linux1"))
        kill_server(bench, folder)
        terminal.send(b"echo during >/root/during; sync; echo =$?=\n")
        assert until(lambda: bench.xm("list", "linux1").stdout.split()[-2] == "--p---", 30), "it stands still"
        assert "it is served again" in inside(bench, TEND)
        terminal.expect(b"=0=", 30)
        assert b"I/O error" not in terminal.output
        kill_server(bench, folder)
        terminal.send(b"echo again >/root/again; sync; echo =$?=\n")
        assert until(lambda: bench.xm("list", "linux1").stdout.split()[-2] == "--p---", 30)
        assert bench.xm("unpause", "linux1") == ("", "", 0), "what xend does, where there is none"
        terminal.expect(b"=0=", 30)
        assert b"I/O error" not in terminal.output
        ask(terminal, b"grep -q ' / ext4 rw' /proc/mounts")
        terminal.send(b"\x1d")
        assert terminal.wait() == 0
    assert in_image(files.root_image, "/root/before") == "before\n"
    assert in_image(files.root_image, "/root/during") == "during\n"
    assert in_image(files.root_image, "/root/again") == "again\n"
    file = bench.directory / "linux1.save"
    assert bench.xm("save", "linux1", str(file)) == ("", "", 0)
    assert bench.xm("restore", str(file)).status == 0
    with console(bench, "console", "linux1") as terminal:
        terminal.send(b"\n")
        terminal.expect(b"# ", BOOT)
        ask(terminal, b"echo after >/root/after && sync")
        assert in_image(files.root_image, "/root/after") == "after\n"
        terminal.send(b"\x1d")
        assert terminal.wait() == 0
    assert bench.xm("shutdown", "-w", "linux1", timeout=120).status == 0
    assert held(bench) == []
    assert subprocess.run(["e2fsck", "-fn", files.root_image], capture_output=True, check=False).returncode == 0
    assert not folder.exists()


#: A client of the server at the socket of its first word: prints how large the disk is.
SIZE = """
import socket, struct, sys
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1])
server.recv(18)
server.sendall(struct.pack(">I8sII", 1, b"IHAVEOPT", 1, 0))
print(struct.unpack(">Q", server.recv(8))[0])
"""


def size_of(folder: Path) -> int:
    done = subprocess.run([sys.executable, "-c", SIZE, "nbd"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return int(done.stdout)


def test_the_memory_of_a_guest_finds_the_partitions_where_they_were(bench: Bench, parts: Path, pv: Writer) -> None:
    """A volume that grows while the guest is saved, or its server is dead, moves none of those behind it; one that shrinks
    is refused, and so are volumes that another guest has by then."""
    assert bench.xm("create", "-q", "web1.cfg").status == 0
    folder, file, swap = served(bench, uuid_of(bench)), bench.directory / "web1.save", bench.directory / "swap.img"
    before, more = size_of(folder), 8 << 20
    assert bench.xm("save", "web1", str(file)) == ("", "", 0)
    os.truncate(swap, swap.stat().st_size + more)
    assert "have been written since" in bench.xm("restore", str(file)).stderr
    done = bench.xm("restore", "--force", str(file))
    assert done.status == 0, done.stderr
    assert size_of(folder) == before
    assert bench.xm("pause", "web1").status == 0
    kill_server(bench, folder)
    assert bench.xm("unpause", "web1").status == 0
    assert size_of(folder) == before
    assert bench.xm("destroy", "web1").status == 0
    assert bench.xm("create", "-q", "web1.cfg").status == 0
    assert size_of(served(bench, uuid_of(bench))) == before + more, "it reads its table afresh"
    said = bench.xm("restore", str(file))
    assert said.status == 1
    assert bench.xm("destroy", "web1").status == 0
    os.truncate(swap, 4096)
    said = bench.xm("restore", str(file))
    assert said.status == 1
    assert "bytes when the guest began to use it, and has 4096 now" in said.stderr
    assert held(bench) == []
    pv("web2.cfg", disk=[f"file:{swap},xvda,w"], root="/dev/xvda")
    done = bench.xm("create", "-q", "web2.cfg")
    assert done.status == 0, done.stderr
    said = bench.xm("restore", str(file))
    assert said.status == 1
    assert "is mounted in a guest domain" in said.stderr


@pytest.mark.parametrize("start", [["create", "-q", "web1.cfg"], ["start", "web1"]])
def test_what_libvirt_saves_by_itself_finds_them_as_well(bench: Bench, parts: Path, start: list[str]) -> None:
    """``virsh save``, and libvirt's own service at the host's shutdown, ask nobody else."""
    if start[0] == "start":
        assert bench.xm("new", "-q", "web1.cfg").status == 0
    assert bench.xm(*start).status == 0
    folder, file, swap = served(bench, uuid_of(bench)), bench.directory / "web1.save", bench.directory / "swap.img"
    before = size_of(folder)
    bench.hypervisor._connection.lookupByName("web1").save(str(file))
    os.truncate(swap, swap.stat().st_size + (8 << 20))
    try:
        assert bench.xm("restore", str(file)).status == 1, "it was written since"
        done = bench.xm("restore", "--force", str(file))
        assert done.status == 0, done.stderr
        assert size_of(folder) == before
    finally:
        bench.xm("destroy", "web1")
        bench.xm("delete", "web1")
