"""What ``test_nfs`` looks at, done on a kernel that has NFS; prints what was found, as JSON.

Run by ``tests.lab.uml`` alone: it writes to /etc, mounts, and starts daemons, all of which go with that kernel.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.lab import disk_guest
from tests.lab.outages import BATCHES, line_of, outage, refusal, without_modules
from tests.lab.storage_uml import eventually, inside, libvirtd, sh
from xmcompat.nfs_names import FOLDER, mounted_path
from xmcompat.storage import denied, holds, mounts, needs, nfs
from xmcompat.storage.needs import Need

SERVER = "127.0.0.1"
EXPORT, SQUASHED = "/srv/ex", "/srv/squashed"
found: dict[str, object] = {}


def nfs_server() -> None:
    """The kernel's, with two exports: one of them takes root for nobody."""
    for folder in (EXPORT, SQUASHED, "/run/rpc_pipefs", "/var/lib/nfs"):
        os.makedirs(folder, exist_ok=True)
    for folder in (EXPORT, SQUASHED, "/var/lib/nfs"):
        sh("mount", "-t", "tmpfs", "tmpfs", folder)
    for folder in ("sm", "sm.bak", "v4recovery"):
        os.mkdir(f"/var/lib/nfs/{folder}")
    for name in ("etab", "rmtab"):
        Path(f"/var/lib/nfs/{name}").touch()
    sh("mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
    Path("/etc/exports").write_text("")
    sh("rpcbind", "-w")  # goes into the background once it can be asked
    sh("exportfs", "-o", "rw,no_root_squash,fsid=1,no_subtree_check", f"{SERVER}:{EXPORT}")
    sh("exportfs", "-o", "rw,root_squash,fsid=2,no_subtree_check", f"{SERVER}:{SQUASHED}")
    sh("rpc.nfsd", "2")
    sh("rpc.mountd")
    found["no kernel module"] = without_modules(lambda: refusal(need_at(EXPORT)))
    # its version 4 grants no lock for a minute after its start
    Path("/etc/nfsmount.conf").write_text(f'[ Server "{SERVER}" ]\nNfsvers=3\nLock=False\n')


def need_at(directory: str, host: str = SERVER) -> Need:
    need = needs.need_of(mounted_path(f"{host}:{directory}/web1.img") or "")
    assert need
    return need


def nfs_is_held() -> None:
    need = need_at(EXPORT)
    path = mounted_path(f"{SERVER}:{EXPORT}/web1.img") or ""
    disk_guest.make(f"{EXPORT}/web1.img", "a file", size=32 << 20, batches=BATCHES)
    found["path"] = holds.take(need, "one")
    holds.take(need, "two")
    (mount,) = (mount for mount in mounts.mounted() if mount.is_nfs)
    found["options"] = mount.options
    found["outage"] = outage(path, f"{EXPORT}/web1.img", lambda: sh("rpc.nfsd", "0"), lambda: sh("rpc.nfsd", "2"))
    holds.give(need, "one")
    found["up for the second"] = nfs.is_up(need)
    user = subprocess.Popen(["sleep", "100"], cwd=os.path.dirname(path))
    try:
        found["busy"] = line_of(lambda: holds.give(need, "two")).replace(str(user.pid), "PID")
    finally:
        user.kill()
        user.wait()
    holds.sweep([])
    found["up after the sweep"] = nfs.is_up(need)
    found["folders left"] = os.listdir(FOLDER)


def nfs_is_killed() -> None:
    """A process is killed just before and just after the mount."""
    need = need_at(EXPORT)
    real = nfs.run
    for moment in ("before", "after"):
        child = os.fork()
        if child == 0:

            def deadly(*words: object, moment: str = moment, **more: object) -> str:
                said = "" if moment == "before" else real(*words, **more)  # type: ignore[arg-type]
                os.kill(os.getpid(), signal.SIGKILL)
                return said

            nfs.run = deadly
            holds.take(need, "killed")
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        found[f"killed {moment}: mounted"] = nfs.is_up(need)
        holds.sweep([])
        found[f"killed {moment}: left"] = (nfs.is_up(need), os.listdir(FOLDER), len(holds.held()))


def nfs_does_not_answer() -> None:
    """A look at a file of a server that is away ends in time, and so does the process that looked."""
    need = need_at(EXPORT)
    holds.take(need, "one")
    sh("rpc.nfsd", "0")
    words = [sys.executable, "-c", f"from xmcompat.storage import looking; looking.exists({need.words['point'] + '/never'!r}, 1.0)"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    found["look at a server that is away"] = (done.stderr.splitlines()[-1], done.returncode)
    sh("rpc.nfsd", "2")
    holds.give(need, "one")


def nfs_is_refused() -> None:
    found["no export"] = refusal(need_at("/srv/other"))
    found["no name"] = refusal(need_at("/srv/x", "nowhere.example"))
    sh("rpc.nfsd", "0")
    found["no server"] = refusal(need_at(EXPORT))
    sh("rpc.nfsd", "2")
    sh("ip", "link", "add", "nv0", "type", "veth", "peer", "name", "nv1")
    sh("ip", "address", "add", "192.0.2.2/24", "dev", "nv0")
    for name in ("nv0", "nv1"):
        sh("ip", "link", "set", name, "up")
    begun = time.monotonic()
    found["silent server"] = refusal(need_at(EXPORT, "192.0.2.1"), 1.5)
    found["silent server: in time"] = time.monotonic() - begun < 15
    sh("ip", "link", "delete", "nv0")


def nfs_of_fstab() -> None:
    os.makedirs("/srv/guests", exist_ok=True)
    os.makedirs("/srv/local", exist_ok=True)
    Path("/etc/fstab").write_text(
        f"{SERVER}:{EXPORT} /srv/guests nfs vers=3,nolock,noauto,bg,x-systemd.automount,soft 0 0\n/dev/sdz1 /srv/local ext4 defaults 0 2\n"
    )
    need = needs.need_of("/srv/guests/web1.img")
    assert need
    found["fstab: path"] = holds.take(need, "one")
    found["fstab: there"] = os.path.exists("/srv/guests/web1.img")
    found["fstab: options"] = next(mount.options for mount in mounts.mounted() if mount.point == "/srv/guests")
    holds.give(need, "one")
    found["fstab: left"] = (os.path.exists("/srv/guests/web1.img"), os.path.isdir("/srv/guests"))
    sh("mount", "/srv/guests")
    holds.take(need, "one")
    holds.give(need, "one")
    found["fstab: found mounted"] = nfs.is_up(need)
    sh("umount", "/srv/guests")


def xm(*words: str) -> tuple[str, str, int]:
    done = subprocess.run(
        [sys.executable, "-m", "xmcompat.xm", *words], capture_output=True, text=True, timeout=100,
        env={**os.environ, "XMCOMPAT_URI": "qemu:///system", "XMCOMPAT_ACCELERATOR": "tcg"},
    )  # fmt: skip
    return done.stdout, done.stderr, done.returncode


def config(name: str, disk: str) -> str:
    path = f"/run/{name}.cfg"
    Path(path).write_text(
        f"builder = 'hvm'\nname = '{name}'\nmemory = 32\nboot = 'c'\ndisk = ['{disk},hda,w']\nserial = 'file:/run/{name}.log'\n"
        "on_poweroff = 'destroy'\n"
    )
    return path


def guests_of_xm() -> None:
    """Whole guests: their directories are mounted, and their devices found, by ``xm create``."""
    disk_guest.make(f"{EXPORT}/web2.img", "by xm", size=4 << 20)
    disk_guest.make(f"{SQUASHED}/web3.img", "squashed", size=4 << 20)
    os.chmod(f"{SQUASHED}/web3.img", 0o600)
    with libvirtd() as hypervisor:
        ends = lambda: not any(info.domid for info in hypervisor.domains())  # noqa: E731
        found["xm"] = xm("create", config("web2", f"nfs:{SERVER}:{EXPORT}/web2.img"))
        eventually(ends, 60, "web2 goes on")
        found["xm: whole"] = disk_guest.written(f"{EXPORT}/web2.img")
        found["xm: mounted while unseen"] = nfs.is_up(need_at(EXPORT))
        found["xm squashed"] = xm("create", config("web3", f"nfs:{SERVER}:{SQUASHED}/web3.img"))
        found["xm: left"] = (nfs.is_up(need_at(EXPORT)), nfs.is_up(need_at(SQUASHED)), len(holds.held()))
    holds.take(need_at(SQUASHED), "one")
    told = denied.denial(mounted_path(f"{SERVER}:{SQUASHED}/web3.img") or "", "Permission denied", user=denied.User(64055, 107))
    found["squash for another user"] = told
    holds.give(need_at(SQUASHED), "one")


if __name__ == "__main__":
    inside()
    nfs_server()
    for part in (nfs_is_held, nfs_is_killed, nfs_does_not_answer, nfs_is_refused, nfs_of_fstab, guests_of_xm):
        part()
    print(json.dumps(found))
