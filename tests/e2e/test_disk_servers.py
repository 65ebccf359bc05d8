"""Disks that QEMU itself fetches from servers: iSCSI with a password, and NBD that goes and comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench
from tests.lab import disk_guest
from tests.lab.iscsi_target import IQN, PASSWORD, PORT, Target
from xmcompat import disk_secrets
from xmcompat.backends.hypervisor import DomainState
from xmcompat.backends.private_libvirtd import PrivateLibvirtd

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

CONFIG = """\
name = %(name)r
builder = 'hvm'
memory = 32
boot = 'c'
usb = 0
sdl = 0
vnc = 0
%(more)s
serial = 'file:%(console)s'
disk = [%(disk)r]
"""


def eventually(true: Callable[[], object], seconds: float = 30.0, what: Callable[[], str] = str) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def image(lab_directory: Path) -> Path:
    path = lab_directory / "lun.img"
    disk_guest.make(path, "served", batches=4, size=8 << 20)
    (lab_directory / "lun.img.blank").write_bytes(bytes(8 << 20))
    disk_guest.make(lab_directory / "lun.img.long", "long", batches=300, size=16 << 20)
    return path


@pytest.fixture(scope="module")
def target(node: PrivateLibvirtd, image: Path) -> Iterator[Target]:
    blank = Path(f"{image}.blank")  # its guest waits for a boot sector
    target = Target(node, [image, blank, Path(f"{image}.long")])
    try:
        yield target
    finally:
        target.end()


def config(bench: Bench, name: str, disk: str, more: str = "") -> str:
    console = bench.directory / f"{name}.console"
    bench.config(f"{name}.cfg", CONFIG % {"name": name, "console": console, "disk": disk, "more": more})
    return f"{name}.cfg"


def said(bench: Bench, name: str) -> str:
    path = bench.directory / f"{name}.console"
    return path.read_text() if path.exists() else ""


def ended(bench: Bench, name: str) -> bool:
    return all(info.name != name for info in bench.hypervisor.domains())


def secrets(bench: Bench) -> list[str]:
    return bench.hypervisor.secret_names("xmcompat:")


def all_that_is_written(bench: Bench, name: str) -> str:
    """What anybody may read of the domain, its processes and the daemon's log."""
    arguments = [path.read_bytes().decode(errors="replace") for path in processes()]
    logs = subprocess.run(
        bench.node.enter(["sh", "-c", "cat /var/log/libvirt/qemu/*.log /run/xmcompat/storage/*/* 2>/dev/null"]),
        capture_output=True, text=True, timeout=10,
    ).stdout  # fmt: skip
    uuid = bench.hypervisor.find(name).uuid
    xml = bench.hypervisor.domain_xml(uuid, secrets=True)
    kept = (Path(disk_secrets.FOLDER) / uuid).read_text()
    return "\n".join((*arguments, logs, xml, kept, bench.xm("list", "--long", name).stdout))


def processes() -> Iterator[Path]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            path.read_bytes()
        except OSError:
            continue
        yield path


@pytest.fixture(autouse=True)
def swept(bench: Bench) -> Iterator[None]:
    """What a guest leaves that has ended by itself is swept with the next start."""
    yield
    for info in bench.hypervisor.domains():
        bench.hypervisor.destroy(info.uuid)
    disk_secrets.sweep(bench.hypervisor)


def test_a_guest_starts_from_a_lun_that_a_password_opens_and_nothing_shows_it(bench: Bench, target: Target, image: Path) -> None:
    file = config(bench, "chap", f"iscsi://alice%{PASSWORD}@127.0.0.1:{PORT}/{IQN}/1,hda,w")
    done = bench.xm("create", "-p", file)
    assert done.status == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    uuid = bench.hypervisor.find("chap").uuid
    assert secrets(bench) == [f"xmcompat:{uuid}:hda"]
    assert bench.hypervisor.secret("iscsi", f"xmcompat:{uuid}:hda") == b""
    written = all_that_is_written(bench, "chap")
    assert f"iscsi://alice@127.0.0.1:{PORT}/{IQN}/1" in written
    assert PASSWORD not in written
    assert bench.xm("unpause", "chap").status == 0
    eventually(lambda: ended(bench, "chap"), 60)
    assert said(bench, "chap").rstrip().endswith("DONE")
    assert disk_guest.written(image, 4)
    disk_secrets.sweep(bench.hypervisor)
    assert secrets(bench) == []


def test_a_saved_guest_starts_again_without_its_configuration_and_its_password_goes_with_it(
    bench: Bench, target: Target
) -> None:
    (bench.directory / "chap.pw").write_text(f"{PASSWORD}\n")
    disk = f"iscsi://alice@127.0.0.1:{PORT}/{IQN}/2?password_file={bench.directory}/chap.pw,hda,w"
    assert bench.xm("create", config(bench, "kept", disk)).status == 0
    uuid = bench.hypervisor.find("kept").uuid
    done = bench.xm("save", "kept", "kept.save")
    assert done.status == 0, done.stderr
    assert PASSWORD.encode() not in (bench.directory / "kept.save").read_bytes()
    assert ended(bench, "kept") and secrets(bench) == [f"xmcompat:{uuid}:hda"]
    (bench.directory / "chap.pw").unlink()
    done = bench.xm("restore", "-p", "kept.save")
    assert done.status == 1 and "chap.pw: No such file or directory" in done.stderr
    (bench.directory / "chap.pw").write_text(PASSWORD)
    done = bench.xm("restore", "-p", "kept.save")
    assert done.status == 0, done.stderr
    (bench.directory / "kept.save").unlink()
    assert bench.xm("destroy", "kept").status == 0
    assert secrets(bench) == []


@pytest.mark.parametrize(
    ("disk", "said"),
    [
        (f"iscsi://alice%not-this-one-1@127.0.0.1:{PORT}/{IQN}/1",
         f"The target {IQN} at 127.0.0.1:{PORT} refuses the user 'alice' or the password"),
        (f"iscsi://alice%{PASSWORD}@127.0.0.1:{PORT}/{IQN}/7", f"The target {IQN} at 127.0.0.1:{PORT} has no LUN 7"),
        (f"iscsi://127.0.0.1:{PORT}/{IQN}x/1", f"There is no target {IQN}x at 127.0.0.1:{PORT} for QEMU"),
        (f"iscsi://127.0.0.1:1/{IQN}/1", "The server 127.0.0.1:1 cannot be reached: it does not answer"),
        (f"iscsi://alice@127.0.0.1:{PORT}/{IQN}/1",
         "The password of 'alice' is not known; write password_file=PATH into the disk; a domain's record has no passwords"),
        (f"iscsi://alice@127.0.0.1:{PORT}/{IQN}/1?password_file=/none",
         "The password of 'alice' cannot be read: /none: No such file or directory"),
        ("nbd:127.0.0.1:1", "The server 127.0.0.1:1 cannot be reached: Connection refused"),
    ],
)  # fmt: skip
def test_what_a_server_refuses_is_one_line_and_nothing_remains(bench: Bench, target: Target, disk: str, said: str) -> None:
    done = bench.xm("create", "-q", config(bench, "refused", f"{disk},hda,w"))
    assert (done.status, done.stderr) == (1, f"Error: Device 768 (vbd) could not be connected. {said}\n")
    assert bench.remains() == ([], [])
    assert secrets(bench) == []


def test_a_known_guest_keeps_its_password_until_it_is_deleted(bench: Bench, target: Target) -> None:
    file = config(bench, "known", f"iscsi://alice%{PASSWORD}@127.0.0.1:{PORT}/{IQN}/1,hda,w")
    assert bench.xm("new", file).status == 0
    uuid = bench.hypervisor.find("known").uuid
    assert PASSWORD not in bench.hypervisor.domain_xml(uuid, secrets=True)
    for _ in range(2):
        done = bench.xm("start", "-p", "known")
        assert done.status == 0, done.stderr
        assert bench.xm("destroy", "known").status == 0
    assert secrets(bench) == [f"xmcompat:{uuid}:hda"]
    bench.hypervisor.forget_secret(f"xmcompat:{uuid}:hda")
    done = bench.xm("start", "-p", "known")
    assert done.status == 1 and "The password of 'alice' is not known" in done.stderr
    assert bench.xm("delete", "known").status == 0
    assert secrets(bench) == []


def nbd(bench: Bench, image: Path) -> subprocess.Popen[bytes]:
    words = bench.node.enter(["qemu-nbd", "-t", "-f", "raw", "-x", "web1", "-b", "127.0.0.1", "-p", str(PORT + 1), str(image)])
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    probe = bench.node.enter(["qemu-img", "info", f"nbd://127.0.0.1:{PORT + 1}/web1"])
    eventually(lambda: subprocess.run(probe, capture_output=True, timeout=20).returncode == 0)
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def goes_on(bench: Bench, name: str) -> bool:
    """QEMU connects anew at the first request that fails: the guest may be paused once more. It may have ended as well."""
    if ended(bench, name):
        return True
    before = said(bench, name).count(".")
    done = bench.xm("unpause", name)
    assert done.status == 0 or ended(bench, name), done.stderr
    time.sleep(0.2)
    return ended(bench, name) or said(bench, name).count(".") > before


def test_a_guest_is_paused_while_its_nbd_server_is_away_and_loses_nothing(bench: Bench) -> None:
    image = bench.directory / "nbd.img"
    disk_guest.make(image, "nbd", batches=300, size=16 << 20)
    server = nbd(bench, image)
    try:
        done = bench.xm("create", "-q", config(bench, "nbd", f"nbd:127.0.0.1:{PORT + 1}:exportname=none,xvde,w"))
        assert (done.status, done.stderr) == (
            1, f"Error: Device 51776 (vbd) could not be connected. The server 127.0.0.1:{PORT + 1} has no export 'none'\n"
        )  # fmt: skip
        done = bench.xm("create", config(bench, "nbd", f"nbd:127.0.0.1:{PORT + 1}:exportname=web1,xvde,w"))
        assert done.status == 0, done.stderr
        eventually(lambda: said(bench, "nbd").count(".") > 5, 60)
        kill(server)
        eventually(lambda: bench.hypervisor.find("nbd").state == DomainState.PAUSED)
        seen = said(bench, "nbd").count(".")
        assert seen < 300
        server = nbd(bench, image)
        eventually(lambda: goes_on(bench, "nbd"), 20)
        eventually(lambda: ended(bench, "nbd"), 60, lambda: said(bench, "nbd")[-300:])
    finally:
        kill(server)
    assert said(bench, "nbd").rstrip().endswith("DONE")
    assert disk_guest.written(image, 300)


def test_a_guest_waits_for_a_target_that_goes_and_comes_back_and_loses_nothing(
    bench: Bench, target: Target, image: Path
) -> None:
    image = Path(f"{image}.long")
    done = bench.xm("create", config(bench, "waits", f"iscsi://alice%{PASSWORD}@127.0.0.1:{PORT}/{IQN}/3,xvde,w"))
    assert done.status == 0, done.stderr
    eventually(lambda: said(bench, "waits").count(".") > 5, 60)
    target.end()
    seen = said(bench, "waits").count(".")
    assert seen < 300
    time.sleep(2)
    assert bench.hypervisor.find("waits").started
    target.start()
    eventually(lambda: ended(bench, "waits"), 60, lambda: said(bench, "waits")[-300:])
    assert said(bench, "waits").rstrip().endswith("DONE")
    assert disk_guest.written(image, 300)


def test_a_disk_with_a_password_is_plugged_in_and_its_password_goes_with_the_guest(bench: Bench, target: Target) -> None:
    base = config(bench, "plug", f"iscsi://alice%{PASSWORD}@127.0.0.1:{PORT}/{IQN}/2,hda,w")
    assert bench.xm("create", base).status == 0
    uuid = bench.hypervisor.find("plug").uuid
    words = ("block-attach", "plug", f"iscsi://alice%{PASSWORD}@127.0.0.1:{PORT}/{IQN}/3", "xvdb", "w")
    done = bench.xm(*words)
    assert done.status == 0, done.stderr
    assert sorted(secrets(bench)) == [f"xmcompat:{uuid}:hda", f"xmcompat:{uuid}:xvdb"]
    assert PASSWORD not in bench.xm("list", "--long", "plug").stdout + bench.xm("block-list", "--long", "plug").stdout
    done = bench.xm(*words)
    assert done.status == 1 and PASSWORD not in done.stdout + done.stderr
    done = bench.xm("block-attach", "plug", f"iscsi://alice%not-this-one-1@127.0.0.1:{PORT}/{IQN}/1", "xvdc", "w")
    assert done.status == 1
    assert f"The target {IQN} at 127.0.0.1:{PORT} refuses the user" in done.stderr and "not-this" not in done.stderr
    assert f"xmcompat:{uuid}:xvdc" not in secrets(bench)
    assert bench.xm("block-detach", "plug", "xvdb", "-f").status == 0
    assert bench.xm("destroy", "plug").status == 0
    assert secrets(bench) == []
