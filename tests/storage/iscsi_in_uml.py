"""What ``test_iscsi`` shows on a kernel with an initiator: a program for ``tests.lab.uml``, with tgtd as the target.

Prints JSON: what each case of ``CASES`` has met, "" where it is as it should be.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import disk_guest
from tests.lab.outages import stands
from tests.lab.storage_uml import URI, eventually, inside, libvirtd, sh
from xmcompat import disk_needs
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.iscsi_names import Lun
from xmcompat.storage import holds, iscsi, iscsi_records, iscsi_sysfs
from xmcompat.storage.needs import Need, need_of
from xmcompat.storage.programs import StorageError

IQN, LOCKED = "iqn.2010-01.com.example:store", "iqn.2010-01.com.example:locked"
PORT = 13260
KERNELS, KERNEL_PORTS = "iqn.2010-01.com.example:kernels", (13270, 13271)
PASSWORD = "Chap-Secret-77"
RECORDS = Path("/etc/iscsi/nodes")
FOLDER = Path("/dev/shm")
A, B = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"


class Target:
    """tgtd with two targets on two portals, which can go and come back."""

    def __init__(self) -> None:
        for lun in (1, 2, 3):
            (FOLDER / f"{lun}.img").touch()
            os.truncate(FOLDER / f"{lun}.img", 48 << 20)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(["tgtd", "-f", "--iscsi", f"portal=127.0.0.1:{PORT}"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: subprocess.run(["tgtadm", "--mode", "sys", "--op", "show"], capture_output=True).returncode == 0)
        for tid, name, luns in ((1, IQN, (1, 2)), (2, LOCKED, (3,))):
            tell("target", "new", tid, "-T", name)
            for lun in luns:
                self.add(tid, lun)
            tell("target", "bind", tid, "-I", "ALL")
        sh("tgtadm", "--lld", "iscsi", "--mode", "account", "--op", "new", "--user", "alice", "--password", PASSWORD)
        tell("account", "bind", 2, "--user", "alice")

    def add(self, tid: int, lun: int, image: int = 0) -> None:
        tell("logicalunit", "new", tid, "--lun", str(lun), "-b", str(FOLDER / f"{image or lun}.img"))

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def tell(mode: str, act: str, tid: int, *words: str) -> None:
    sh("tgtadm", "--lld", "iscsi", "--mode", mode, "--op", act, "--tid", str(tid), *words)


TARGET = Target()


def of(lun: int, target: str = IQN, port: int = PORT) -> Need:
    found = need_of(f"/dev/disk/by-path/ip-127.0.0.1:{port}-iscsi-{target}-lun-{lun}")
    assert found is not None
    return found


def sessions() -> list[str]:
    return os.listdir("/sys/class/iscsi_session")


def records() -> list[str]:
    return [str(path) for path in RECORDS.rglob("*") if path.is_file()]


def nothing_left() -> None:
    assert (sessions(), records(), holds.held()) == ([], [], ())


def refusal(need: Need) -> str:
    begun = time.monotonic()
    with pytest.raises(StorageError) as caught:
        holds.take(need, A, deadline=3)
    assert time.monotonic() - begun < 15
    nothing_left()
    return f"{caught.value.message} [{caught.value.hint}]"


def the_second_guest_shares_the_session_of_the_first_and_the_last_one_ends_it() -> None:
    first, second = holds.take(of(1), A), holds.take(of(2), B)
    assert first != second and os.path.exists(first) and os.path.exists(second)
    assert len(sessions()) == 1 and len(records()) == 1
    assert holds.take(of(1), A) == first  # again
    holds.give(of(1), A)
    assert len(sessions()) == 1 and os.path.exists(second)
    holds.give(of(2), B)
    eventually(lambda: not os.path.exists(first) and not os.path.exists(second), 10)
    nothing_left()


def what_an_administrator_has_logged_in_to_stays() -> None:
    words = ["iscsiadm", "-m", "node", "-T", IQN, "-p", f"127.0.0.1:{PORT}"]
    sh(*words, "-o", "new")
    sh(*words, "--login")
    before = Path(records()[0]).read_bytes()
    holds.take(of(1), A)
    holds.give(of(1), A)
    assert len(sessions()) == 1 and Path(records()[0]).read_bytes() == before
    sh(*words, "--logout")
    holds.take(of(1), A)  # the record that is there serves, and outlives the session
    holds.give(of(1), A)
    assert (sessions(), Path(records()[0]).read_bytes()) == ([], before)
    sh(*words, "-o", "delete")


def a_session_stays_while_a_disk_of_it_is_open_and_goes_at_the_next_sweep() -> None:
    device = holds.take(of(1), A)
    with open(device, "rb"):
        with pytest.raises(StorageError, match=rf"{device} is open in \S+ \({os.getpid()}\)"):
            holds.give(of(1), A)
        holds.sweep(())
        assert len(sessions()) == 1
    sectors = int(Path(f"/sys/block/{device[5:]}/size").read_text())
    sh("dmsetup", "create", "upon", "--table", f"0 {sectors} linear {device} 0")
    assert f"dm-0 stands on {device}" in sweep_errors()
    sh("dmsetup", "remove", "upon")
    sh("mkfs.ext4", "-q", device)
    sh("mount", device, "/mnt")
    assert f"{device} is mounted on /mnt" in sweep_errors()
    sh("umount", "/mnt")
    holds.sweep(())
    nothing_left()


def sweep_errors() -> str:
    return "; ".join(error.message for error in holds.sweep(()))


def a_lun_that_the_target_has_got_since_the_login_is_found() -> None:
    holds.take(of(1), A)
    TARGET.add(1, 7, image=3)
    device = holds.take(of(7), B)
    assert os.path.getsize(FOLDER / "3.img") == int(Path(f"/sys/block/{device[5:]}/size").read_text()) * 512
    holds.give(of(7), B)
    holds.give(of(1), A)
    tell("logicalunit", "delete", 1, "--lun", "7")


def a_user_and_a_password_open_the_target_and_no_command_line_shows_them() -> None:
    lun = Lun(host="127.0.0.1", port=PORT, target=LOCKED, lun=3, user="alice", password=PASSWORD)
    seen: list[str] = []
    run = iscsi_records.run

    def spy(words: list[str], **more: object) -> str:
        seen.extend(words)
        return run(words, **more)  # type: ignore[arg-type]

    iscsi_records.run = iscsi.run = spy  # type: ignore[assignment]
    try:
        device = holds.take(iscsi.need(lun), A)
    finally:
        iscsi_records.run = iscsi.run = run
    (record,) = records()
    assert os.path.exists(device) and os.stat(record).st_mode & 0o777 == 0o600 and PASSWORD in Path(record).read_text()
    assert seen and not any(PASSWORD in word for word in seen)
    kept = [path.read_text() for path in Path(holds.FOLDER).rglob("*") if path.is_file()]
    assert kept and not any(PASSWORD in text for text in kept)
    holds.give(iscsi.need(lun), A)
    nothing_left()


def what_does_not_work_is_told_in_a_sentence() -> None:
    wrong = Lun(host="127.0.0.1", port=PORT, target=LOCKED, lun=3, user="alice", password="not-this-one-1")
    said = refusal(iscsi.need(wrong))
    assert said.startswith(f"the target {LOCKED} at 127.0.0.1:{PORT} refuses the user 'alice' or the password")
    assert "not-this" not in said
    assert "refuses this host without a user and a password" in refusal(of(3, LOCKED))
    said = refusal(of(1, "iqn.2010-01.com.example:nobody"))
    assert f"there is no target iqn.2010-01.com.example:nobody at 127.0.0.1:{PORT} for this host; there are " in said
    assert IQN in said and LOCKED in said
    assert f"{IQN} at 127.0.0.1:{PORT} has no LUN 9: it has 1, 2" in refusal(of(9))
    assert f"the portal 127.0.0.1:{PORT + 5} cannot be reached: Connection refused" in refusal(of(1, port=PORT + 5))
    assert "no address for" in refusal(iscsi.need(Lun(host="store.invalid", port=PORT, target=IQN)))


def a_take_that_is_killed_at_any_step_leaves_what_a_sweep_takes_away() -> None:
    for step in ("made", "marked", "logged in", "found"):
        child = os.fork()
        if child == 0:
            try:
                die_at(step)
                holds.take(of(1), A)
            finally:
                os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, step
        assert records(), step
        holds.sweep(())
        nothing_left()


def die_at(step: str) -> None:
    def dying(call: Callable[..., object]) -> Callable[..., object]:
        def killed(*words: object, **more: object) -> object:
            call(*words, **more)
            os.kill(os.getpid(), signal.SIGKILL)
            return None

        return killed

    if step == "made":
        iscsi_records._iscsiadm = dying(iscsi_records._iscsiadm)  # type: ignore[assignment]
    elif step == "marked":
        iscsi_records._write = dying(iscsi_records._write)  # type: ignore[assignment]
    elif step == "logged in":
        iscsi._iscsiadm = dying(iscsi._iscsiadm)  # type: ignore[assignment]
    else:
        iscsi._device = dying(iscsi._device)  # type: ignore[assignment]


def all_ways_to_a_target_are_used_by_the_device_that_stands_on_them() -> None:
    kernel_target()
    need = need_of(f"iscsi:iqn={KERNELS},portal=127.0.0.1:{KERNEL_PORTS[0]},multipath=y")
    assert need is not None
    with pytest.raises(StorageError, match="no multipath device takes in /dev/sd"):
        holds.take(need, A, deadline=1)
    nothing_left()
    child = os.fork()
    if child == 0:
        try:
            play_multipathd()
        finally:
            os._exit(0)
    try:
        assert holds.take(need, A, deadline=20) == "/dev/mapper/mpatha"
        assert len(sessions()) == 2
        with open("/dev/mapper/mpatha", "rb"), pytest.raises(StorageError, match="/dev/dm-0 is open in"):
            holds.give(need, A)
    finally:
        os.waitpid(child, 0)
        sh("dmsetup", "remove", "mpatha")
    holds.sweep(())
    nothing_left()


def kernel_target() -> None:
    """The kernel's own target, which tells of all its portals; tgtd tells of the one that is asked. Its only LUN is 0."""
    sh("mount", "-t", "configfs", "none", "/sys/kernel/config")
    for folder in ("/etc/target", "/var/target/alua", "/var/target/pr"):
        os.makedirs(folder, exist_ok=True)
    root = Path("/sys/kernel/config/target")
    disk, group = root / "core/fileio_0/ways", root / f"iscsi/{KERNELS}/tpgt_1"
    disk.mkdir(parents=True)
    (disk / "control").write_text(f"fd_dev_name={FOLDER}/3.img,fd_dev_size={48 << 20}")
    (disk / "enable").write_text("1")
    (root / "iscsi").mkdir()
    (group / "lun/lun_0").mkdir(parents=True)
    for port in KERNEL_PORTS:
        (group / f"np/127.0.0.1:{port}").mkdir()
    (group / "lun/lun_0/ways").symlink_to(disk)
    for name, value in (("generate_node_acls", 1), ("cache_dynamic_acls", 1), ("demo_mode_write_protect", 0), ("authentication", 0)):
        (group / f"attrib/{name}").write_text(str(value))
    (group / "enable").write_text("1")


def play_multipathd() -> None:
    """Half of its device lies on each way: a test reads what is on one alone."""
    eventually(lambda: len(ways()) == 2, 20)
    first, second = ways()
    half = int(Path(f"/sys/block/{first}/size").read_text()) // 2
    table = Path("/run/table")
    table.write_text(f"0 {half} linear /dev/{first} 0\n{half} {half} linear /dev/{second} {half}\n")
    sh("dmsetup", "create", "mpatha", "--uuid", "mpath-1", str(table))


def ways() -> list[str]:
    found = [iscsi_sysfs.device(one, 0) for one in iscsi_sysfs.sessions_of(KERNELS)]
    return sorted({path[5:] for path in found if path})


def a_guest_waits_for_a_target_that_goes_and_comes_back_and_loses_nothing() -> None:
    device = holds.take(of(1), A)
    disk_guest.make(device, "iscsi", batches=200)
    with libvirtd() as hypervisor:
        console = Path("/run/waits.console")
        uuid = hypervisor.create(disk_guest.guest_xml("waits", disk_guest.block(device), console)).uuid
        dots = lambda: console.read_text().count(".") if console.exists() else 0  # noqa: E731
        eventually(lambda: dots() > 5, 60)
        TARGET.kill()
        assert dots() < 190, "it was too quick"
        eventually(lambda: stands(dots), 20)
        seen = dots()
        with pytest.raises(StorageError, match="has gone: its session waits for it"):
            holds.take(of(2), B, deadline=1)
        assert any(info.uuid == uuid for info in hypervisor.domains()) and dots() == seen < 200
        TARGET.start()
        eventually(lambda: all(info.uuid != uuid for info in hypervisor.domains()), 90)
        assert console.read_text().rstrip().endswith("DONE"), console.read_text()[-100:]
        disk_guest.make(FOLDER / "2.img", "again")
        create_and_wait(hypervisor)
        holds.give(of(1), A)
        assert len(sessions()) == 1  # nobody has seen the end of that guest
        disk_needs.sweep(hypervisor)
    assert disk_guest.written(FOLDER / "1.img", 200) and disk_guest.written(FOLDER / "2.img")
    nothing_left()


def create_and_wait(hypervisor: LibvirtKvm) -> None:
    """A guest of ``xm create`` on LUN 2, while LUN 1 is held."""
    path = f"/dev/disk/by-path/ip-127.0.0.1:{PORT}-iscsi-{IQN}-lun-2"
    Path("/run/second.cfg").write_text(
        f"name = 'second'\nbuilder = 'hvm'\nmemory = 32\nboot = 'c'\ndisk = ['phy:{path},hda,w']\nusb = 0\nvnc = 0\n"
    )
    words = [sys.executable, "-m", "xmcompat.xm", "create", "-q", "/run/second.cfg"]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "XMCOMPAT_ACCELERATOR": "tcg",
                          "XMCOMPAT_URI": URI}, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    eventually(lambda: all(info.name != "second" for info in hypervisor.domains()), 60)


def without_the_daemon_it_says_what_to_start() -> None:
    sh("iscsiadm", "-k", "0")
    eventually(lambda: "ISCSIADM_ABSTRACT" not in Path("/proc/net/unix").read_text(), 10)
    assert "iscsid does not run [systemctl start iscsid]" in refusal(of(1))


CASES = (
    the_second_guest_shares_the_session_of_the_first_and_the_last_one_ends_it,
    what_an_administrator_has_logged_in_to_stays,
    a_session_stays_while_a_disk_of_it_is_open_and_goes_at_the_next_sweep,
    a_lun_that_the_target_has_got_since_the_login_is_found,
    a_user_and_a_password_open_the_target_and_no_command_line_shows_them,
    what_does_not_work_is_told_in_a_sentence,
    a_take_that_is_killed_at_any_step_leaves_what_a_sweep_takes_away,
    all_ways_to_a_target_are_used_by_the_device_that_stands_on_them,
    a_guest_waits_for_a_target_that_goes_and_comes_back_and_loses_nothing,
    without_the_daemon_it_says_what_to_start,
)


def main() -> None:
    inside()
    sh("rm", "-rf", "/etc/iscsi/nodes", "/etc/iscsi/send_targets")
    RECORDS.mkdir()
    os.makedirs("/run/lock/iscsi", exist_ok=True)
    sh("iscsid")
    TARGET.start()
    results = {}
    for case in CASES:
        begun = time.monotonic()
        try:
            case()
            results[case.__name__] = ""
        except BaseException:  # noqa: BLE001 - it is told outside
            results[case.__name__] = traceback.format_exc()
            clean()
        results[f"{case.__name__} took"] = f"{time.monotonic() - begun:.1f} s"
    print(json.dumps(results))


def clean() -> None:
    """After a case that has failed."""
    subprocess.run(["iscsiadm", "-m", "node", "--logoutall=all"], capture_output=True)
    subprocess.run(["rm", "-rf", "/etc/iscsi/nodes", holds.FOLDER], capture_output=True)
    RECORDS.mkdir()


if __name__ == "__main__":
    main()
