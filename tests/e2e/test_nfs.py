"""A guest whose disk QEMU itself fetches from an NFS server: one in user space, as this machine's kernel has none."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench
from tests.lab import disk_guest
from tests.lab.lan import end

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

#: Without locks of the network's, and without the minute of grace after a start.
GANESHA = """\
NFS_CORE_PARAM {{ Protocols = 3; NFS_Port = 12049; MNT_Port = 12050; Enable_NLM = false; Enable_RQUOTA = false;
  Bind_addr = 127.0.0.1; }}
NFSV4 {{ Graceless = true; RecoveryRoot = {work}; RecoveryBackend = fs; }}
EXPORT {{ Export_Id = 1; Path = {folder}; Pseudo = /x; Access_Type = RW; Squash = No_Root_Squash; SecType = sys;
  Protocols = 3; Transports = TCP; FSAL {{ Name = VFS; }} }}
"""
START = "rpcbind -w; exec ganesha.nfsd -F -f {work}/conf -L {work}/log -p {work}/pid"

CONFIG = """\
builder = 'hvm'
name = '{name}'
memory = 32
boot = 'c'
disk = ['{disk},hda,w']
serial = 'file:{folder}/{name}.log'
on_poweroff = 'destroy'
"""


@contextmanager
def server(bench: Bench, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Serves FOLDER inside the node."""
    work = bench.directory / "ganesha"
    work.mkdir(exist_ok=True)
    (work / "conf").write_text(GANESHA.format(work=work, folder=folder))
    words = bench.node.enter(["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", START.format(work=work)])
    with open(work / "out", "wb") as out:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(bench.node.enter(["nfs-ls", f"nfs://127.0.0.1{folder}"]), capture_output=True).returncode:
            assert time.monotonic() < deadline and process.poll() is None, (work / "out").read_text()
            time.sleep(0.2)
        yield process
    finally:
        end(process)


def test_a_guest_boots_from_a_server_that_qemu_asks_and_writes_to_it(bench: Bench) -> None:
    folder = bench.directory / "export"
    folder.mkdir()
    disk_guest.make(folder / "web1.img", "asked by QEMU", size=4 << 20)
    with server(bench, folder):
        url = f"nfs://127.0.0.1{folder}"
        bench.config("web1.cfg", CONFIG.format(name="web1", disk=f"{url}/web1.img?uid=0&gid=0", folder=bench.directory))
        stdout, stderr, status = bench.xm("create", "web1.cfg")
        assert (stdout.splitlines()[-1][:19], status) == ("Started domain web1", 0), stderr
        assert "QEMU itself asks the server, from a port above 1023; export it as 'insecure'" in stderr
        deadline = time.monotonic() + 60
        while bench.hypervisor.domains():
            assert time.monotonic() < deadline, "the guest goes on"
            time.sleep(0.1)
        assert disk_guest.written(folder / "web1.img")
        bench.config("web2.cfg", CONFIG.format(name="web2", disk=f"{url}/missing.img?uid=0&gid=0", folder=bench.directory))
        _, stderr, status = bench.xm("create", "-q", "web2.cfg")
        assert status == 1
        assert stderr == (
            f"Error: Device 768 (vbd) could not be connected. {url}/missing.img: the server has no such file, or does not "
            "export its directory; mend the path\n"
        )
        (folder / "web1.img").chmod(0o600)
        bench.config("web3.cfg", CONFIG.format(name="web3", disk=f"{url}/web1.img?uid=99&gid=99", folder=bench.directory))
        assert bench.xm("create", "-q", "web3.cfg").stderr == (
            f"Error: Device 768 (vbd) could not be connected. {url}/web1.img: the server does not let QEMU's user have it; "
            "write ?uid=N&gid=N of the file's owner after it\n"
        )
    assert bench.xm("create", "-q", "web1.cfg").stderr == (
        f"Error: Device 768 (vbd) could not be connected. {url}/web1.img: no NFS server answers there; QEMU needs NFS version "
        "3 and rpcbind on the server\n"
    )
    assert bench.remains() == ([], [])
