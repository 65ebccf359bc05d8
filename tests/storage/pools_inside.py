"""What ``test_pool_kinds`` shows on a kernel with LVM, iSCSI, AoE and NFS: ``xmcompat storage`` on all of them.

A program for ``tests.lab.uml``. Prints JSON: what each case of ``CASES`` has met, "" where it is as it should be.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

from tests.fakes import FakeHypervisor
from tests.lab.storage_uml import eventually, inside, sh, volume_group
from xmcompat.backends.hypervisor import DiskUse
from xmcompat.tool import storage_uses
from xmcompat.tool.main import main as tool
from xmcompat.toolstack import Toolstack

IQN, PORT = "iqn.2010-01.com.example:store", 13260
TARGET = f"{IQN}@127.0.0.1:{PORT}"
EXPORT, MOUNT = "/srv/ex", "/srv/nfs"
SHM = Path("/dev/shm")
MIB = 1 << 20
HYPERVISOR = FakeHypervisor()


def run(*words: str) -> tuple[int, str, str]:
    """Status, stdout and stderr of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = tool(["storage", *words])
    return status, out.getvalue().rstrip("\n"), err.getvalue().rstrip("\n")


def said(*words: str) -> str:
    status, out, err = run(*words)
    assert (status, err) == (0, ""), (words, status, err)
    return out


def refused(*words: str) -> str:
    status, out, err = run(*words)
    assert (status, out) == (1, "") and err.count("\n") == 0, (words, status, out, err)
    return err.removeprefix("Error: ")


def tgt(mode: str, act: str, *words: str) -> None:
    sh("tgtadm", "--lld", "iscsi", "--mode", mode, "--op", act, "--tid", "1", *words)


def iscsi() -> None:
    """A target with the LUNs 1 and 2, and a session with it."""
    sh("rm", "-rf", "/etc/iscsi/nodes", "/etc/iscsi/send_targets")
    os.makedirs("/run/lock/iscsi", exist_ok=True)
    sh("iscsid")
    subprocess.Popen(["tgtd", "-f", "--iscsi", f"portal=127.0.0.1:{PORT}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL)  # fmt: skip
    eventually(lambda: subprocess.run(["tgtadm", "--mode", "sys", "--op", "show"], capture_output=True).returncode == 0)
    tgt("target", "new", "-T", IQN)
    for lun in ("1", "2"):
        (SHM / f"lun{lun}").write_bytes(bytes(8 * MIB))
        tgt("logicalunit", "new", "--lun", lun, "-b", f"{SHM}/lun{lun}")
    tgt("target", "bind", "-I", "ALL")
    sh("iscsiadm", "-m", "discovery", "-t", "sendtargets", "-p", f"127.0.0.1:{PORT}")
    sh("iscsiadm", "-m", "node", "--login")


def aoe() -> None:
    sh("ip", "link", "add", "av0", "type", "veth", "peer", "name", "av1")
    for name in ("av0", "av1"):
        sh("ip", "link", "set", name, "up")
    (SHM / "slot").write_bytes(bytes(4 * MIB))
    sh("modprobe", "aoe")
    global SHELF
    SHELF = vblade()
    eventually(lambda: sh("aoe-discover") == "" and os.path.exists("/dev/etherd/e7.1"))


def vblade() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["vblade", "7", "1", "av1", f"{SHM}/slot"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


SHELF: subprocess.Popen[bytes]


def nfs() -> None:
    for folder in (EXPORT, MOUNT, "/run/rpc_pipefs", "/var/lib/nfs"):
        os.makedirs(folder, exist_ok=True)
    for folder in (EXPORT, "/var/lib/nfs"):
        sh("mount", "-t", "tmpfs", "tmpfs", folder)
    for name in ("sm", "sm.bak", "v4recovery"):
        os.mkdir(f"/var/lib/nfs/{name}")
    for name in ("etab", "rmtab"):
        Path(f"/var/lib/nfs/{name}").touch()
    sh("mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
    Path("/etc/exports").write_text("")
    sh("rpcbind", "-w")  # goes into the background once it can be asked
    sh("exportfs", "-o", "rw,no_root_squash,fsid=1,no_subtree_check", f"127.0.0.1:{EXPORT}")
    sh("rpc.nfsd", "2")
    sh("rpc.mountd")
    sh("mount", "-t", "nfs", "-o", "vers=3,nolock", f"127.0.0.1:{EXPORT}", MOUNT)


def all_kinds_are_found_without_being_registered() -> None:
    pools = {one["name"]: one for one in json.loads(said("list", "--json"))}
    kinds = {name: one["kind"] for name, one in pools.items()}
    assert {"vg0": "lvm", TARGET: "iscsi", "e7": "aoe", MOUNT: "nfs"}.items() <= kinds.items(), kinds
    assert pools[MOUNT]["figures"]["export"] == f"127.0.0.1:{EXPORT}"
    assert pools[TARGET]["size_bytes"] == 16 * MIB and pools["e7"]["size_bytes"] == 4 * MIB
    luns = json.loads(said("list", TARGET, "--json"))
    assert [(one["name"], one["size_bytes"]) for one in luns] == [("lun-1", 8 * MIB), ("lun-2", 8 * MIB)]
    assert json.loads(said("list", IQN, "--json")) == luns
    (slot,) = json.loads(said("list", "e7", "--json"))
    assert (slot["name"], slot["path"], slot["active"]) == ("e7.1", "/dev/etherd/e7.1", True)
    assert slot["figures"]["netif"] == "av0"
    assert [line.split()[0] for line in said("usage").splitlines()[1:]] == [name for name in pools]


def what_others_keep_is_refused_with_what_to_do() -> None:
    for words in (["snapshot", f"{TARGET}/lun-1", "x"], ["remove", f"{IQN}/lun-1", "--force"], ["create", f"{TARGET}/lun-9", "4M"]):
        assert "cannot be done in a pool of kind iscsi: the target keeps these disks" in refused(*words)
    assert "the shelf keeps these disks" in refused("remove", "e7.1")
    assert "there is no volume" in refused("remove", "e7.2")


def a_lun_is_filled_and_copied_to_other_pools_byte_by_byte() -> None:
    data = os.urandom(8 * MIB)
    (SHM / "in.img").write_bytes(data)
    assert said("import", f"{SHM}/in.img", f"{IQN}/lun-1") == said("import", f"{SHM}/in.img", f"{IQN}/lun-1")
    assert (SHM / "lun1").read_bytes() == data
    assert said("clone", f"{TARGET}/lun-1", "vg0/copy") == "/dev/vg0/copy"
    assert Path("/dev/vg0/copy").read_bytes() == data
    assert said("clone", "vg0/copy", f"{MOUNT}/copy.qcow2") == f"{MOUNT}/copy.qcow2"
    sh("qemu-img", "convert", "-O", "raw", f"{EXPORT}/copy.qcow2", f"{SHM}/back")
    assert (SHM / "back").read_bytes() == data
    assert "has 4194304 bytes, and the image 8388608; name a larger volume" in refused("import", f"{SHM}/in.img", "e7.1")
    sh("mke2fs", "-q", "-L", "root", f"{SHM}/slot.img", "4M")
    said("import", f"{SHM}/slot.img", "e7/e7.1")
    assert 'holds something: ext2 "root"; --force overwrites it' in refused("import", f"{SHM}/slot.img", "/dev/etherd/e7.1")
    said("import", f"{SHM}/slot.img", "e7.1", "--force")
    said("remove", "vg0/copy"), said("remove", f"{MOUNT}/copy.qcow2", "--force")


def a_disk_that_has_grown_where_it_comes_from_is_seen_to() -> None:
    assert "the target does not give it 16777216; grow it at the target first" in refused("resize", f"{IQN}/lun-2", "16M")
    os.truncate(SHM / "lun2", 16 * MIB)
    tgt("logicalunit", "delete", "--lun", "2")
    tgt("logicalunit", "new", "--lun", "2", "-b", f"{SHM}/lun2")
    status, out, err = run("resize", f"{IQN}/lun-2", "16M")
    assert (status, out) == (0, "8 MiB -> 16 MiB"), err
    SHELF.kill()
    SHELF.wait()
    os.truncate(SHM / "slot", 6 * MIB)
    vblade()
    assert said("resize", "e7.1", "6M").endswith("-> 6 MiB")  # the kernel may have asked the new one by itself
    assert json.loads(said("list", "e7", "--json"))[0]["size_bytes"] == 6 * MIB


def an_import_that_was_stopped_leaves_nothing_and_one_that_was_killed_is_made_anew() -> None:
    (SHM / "big.img").write_bytes(os.urandom(96 * MIB))
    for stopped in (signal.SIGTERM, signal.SIGKILL):
        child = subprocess.Popen([sys.executable, "-m", "xmcompat.tool", "storage", "import", f"{SHM}/big.img", "vg0/big"],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        eventually(lambda: open_in_qemu_img("/dev/vg0/big"), what="qemu-img")
        os.kill(child.pid, stopped)  # a program for it would come when all is over
        said_last = child.communicate()[0]
        there = json.loads(said("list", "vg0", "--json"))
        assert [one["name"] for one in there] == (["big"] if stopped == signal.SIGKILL else []), (stopped, there, said_last)
    assert there[0]["remark"].startswith("half made")
    assert said("import", f"{SHM}/big.img", "vg0/big") == "/dev/vg0/big"
    assert Path("/dev/vg0/big").read_bytes() == (SHM / "big.img").read_bytes()
    assert json.loads(said("list", "vg0", "--json"))[0]["remark"] is None
    said("remove", "vg0/big")


def open_in_qemu_img(path: str) -> bool:
    """Whether qemu-img writes to the device PATH."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "comm").read_text() == "qemu-img\n":
                number = os.stat(path).st_rdev
                return any(os.stat(fd).st_rdev == number for fd in (process / "fd").iterdir())
    return False


def a_silent_nfs_server_is_told_and_holds_up_nothing_for_long() -> None:
    data = os.urandom(2 * MIB)
    (SHM / "two.img").write_bytes(data)
    said("import", f"{SHM}/two.img", f"{MOUNT}/a.img")
    assert said("snapshot", f"{MOUNT}/a.img", "before") == f"{MOUNT}/a.img@before"
    said("import", "--force", f"{SHM}/in.img", f"{MOUNT}/a.img")
    said("rollback", f"{MOUNT}/a.img", "before")
    assert Path(f"{EXPORT}/a.img").read_bytes() == data
    sh("rpc.nfsd", "0")
    begun = time.monotonic()
    HYPERVISOR.uses = [DiskUse("web1", f"{MOUNT}/a.img", False, False)]
    try:
        storage_uses._answers.cache_clear()  # as in a command of its own
        assert said("list", "vg0")
        storage_uses._answers.cache_clear()  # as in a command of its own
        rows = {one["name"]: one for one in json.loads(said("list", "--json"))}
        assert rows[MOUNT]["remark"] == "the server does not answer within 5 s" and "vg0" in rows
        for words in (["remove", f"{MOUNT}/a.img"], ["create", f"{MOUNT}/b.img", "4M"]):
            assert refused(*words) == (
                f"{MOUNT}: the server does not answer within 5 s; see whether the server of that export runs"
            )
        assert time.monotonic() - begun < 100
    finally:
        storage_uses._answers.cache_clear()
        sh("rpc.nfsd", "2")
    eventually(lambda: json.loads(said("list", "--json")) and "a.img" in run("list", MOUNT)[1], 100)
    assert "in use by the guest web1" in refused("remove", f"{MOUNT}/a.img", "--force")
    HYPERVISOR.uses = []
    said("remove", f"{MOUNT}/a.img@before", "--force"), said("remove", f"{MOUNT}/a.img", "--force")
    eventually(lambda: os.listdir(EXPORT) == [])  # the client removes what was open meanwhile a little later


CASES = (
    all_kinds_are_found_without_being_registered,
    what_others_keep_is_refused_with_what_to_do,
    a_lun_is_filled_and_copied_to_other_pools_byte_by_byte,
    a_disk_that_has_grown_where_it_comes_from_is_seen_to,
    an_import_that_was_stopped_leaves_nothing_and_one_that_was_killed_is_made_anew,
    a_silent_nfs_server_is_told_and_holds_up_nothing_for_long,
)


def main() -> None:
    inside()
    HYPERVISOR.uri = "qemu:///system"
    Toolstack.open = classmethod(lambda cls, uri=None: cls(lambda: HYPERVISOR))  # type: ignore[method-assign,assignment]
    results = {}
    begun = time.monotonic()
    volume_group()
    iscsi(), aoe(), nfs()
    results["servers took"] = f"{time.monotonic() - begun:.1f} s"
    for case in CASES:
        begun = time.monotonic()
        try:
            case()
            results[case.__name__] = ""
        except BaseException:  # noqa: BLE001 - it is told outside
            results[case.__name__] = traceback.format_exc()
        results[f"{case.__name__} took"] = f"{time.monotonic() - begun:.1f} s"
    print(json.dumps(results))


if __name__ == "__main__":
    main()
