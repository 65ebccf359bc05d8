"""NFS: directories that are mounted for guests, on a kernel that has NFS; and the names that lead to them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.uml import in_uml
from xmcompat.nfs_names import FOLDER, export_of, mounted_path
from xmcompat.storage import holds, mounts, nfs
from xmcompat.storage.needs import Need, need_of
from xmcompat.storage.programs import ProgramFailed, StorageError

pytestmark = pytest.mark.timeout(300)

POINT = f"{FOLDER}/127.0.0.1:%2Fsrv%2Fex"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``nfs_inside`` found."""
    directory = tmp_path_factory.mktemp("uml") / "run"
    words = [sys.executable, "-m", "tests.storage.nfs_inside"]
    stdout, stderr, status = in_uml(directory, words, modules=("nfsd", "veth"), timeout=250, memory="640M")
    assert status == 0, stderr
    answers: dict[str, Any] = json.loads(stdout)
    return answers


# -- names


@pytest.mark.parametrize(("origin", "path"), [
    ("filer:/srv/xen/web1.img", f"{FOLDER}/filer:%2Fsrv%2Fxen/web1.img"),
    ("filer:/srv//xen/./web1.img", f"{FOLDER}/filer:%2Fsrv%2Fxen/web1.img"),
    ("filer:/web1.img", f"{FOLDER}/filer:%2F/web1.img"),
    ("[2001:db8::7]:/a b/x", f"{FOLDER}/%5B2001:db8::7%5D:%2Fa%20b/x"),
    ("filer:/srv%2Fxen/web1.img", f"{FOLDER}/filer:%2Fsrv%252Fxen/web1.img"),
])  # fmt: skip
def test_a_file_of_a_server_has_one_path_here(origin: str, path: str) -> None:
    assert mounted_path(origin) == path


@pytest.mark.parametrize("origin", [
    "filer", "filer:", "filer:web1.img", "filer:/", "filer:/srv/", "filer:/srv/..", "filer:/../etc/x", "filer:/srv/../../x",
    ":/srv/x", "-o:/srv/x", "a/b:/x", "filer:/x\0y", "",
])  # fmt: skip
def test_what_is_no_file_of_a_server_has_none(origin: str) -> None:
    assert mounted_path(origin) is None


@given(st.text(), st.text())
def test_the_path_says_whence_it_is(directory: str, name: str) -> None:
    path = mounted_path(f"filer:/{directory}/{name}")
    if path is not None:
        assert path.startswith(f"{FOLDER}/filer:") and path.count("/") == FOLDER.count("/") + 2
        export = export_of(path)
        assert export is not None and export.host == "filer" and f"{FOLDER}/" in export.point
        assert mounted_path(f"{export.origin}/{path.rpartition('/')[2]}") == path


@given(st.text())
def test_any_other_path_is_nobodys(text: str) -> None:
    for path in (text, f"/srv/{text}", f"{FOLDER}/{text}"):
        export = export_of(path)
        assert export is None or path.startswith(export.point)


def test_a_path_below_a_mount_of_fstab_needs_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text(
        "# filer:/no /srv nfs\n"
        "filer:/srv/xen  /srv/xen/  nfs  defaults,_netdev  0 0\n"
        "[2001:db8::7]:/x /srv/xen/two\\040words nfs4 ro 0 0\n"
        "/dev/sda2 /srv/xen/local ext4 defaults 0 2\n"
        "UUID=x none swap sw 0 0\nnonsense\n"
    )
    monkeypatch.setattr(mounts, "FSTAB", str(fstab))
    needs = {path: need_of(path) for path in (
        "/srv/xen/web1.img", "/srv/xen/two words/a/web1.img", "/srv/xen/local/web1.img", "/srv/xenon/web1.img", "/srv/web1.img"
    )}  # fmt: skip
    assert [need and (need.kind, need.name, need.words["host"], need.words["directory"]) for need in needs.values()] == [
        ("nfs", "/srv/xen", "filer", "/srv/xen"), ("nfs", "/srv/xen/two words", "[2001:db8::7]", "/x"), None, None, None,
    ]  # fmt: skip


def test_what_the_server_or_the_kernel_says_becomes_what_to_do() -> None:
    need = Need(kind="nfs", name="filer:/x", words={"point": "/mnt", "host": "filer", "directory": "/x"})

    def explained(complaint: str) -> str:
        return nfs.explain(need, ProgramFailed(["mount.nfs", "filer:/x"], 32, complaint)).line()

    assert "rpc-statd" in explained(
        "mount.nfs: rpc.statd is not running but is required for remote locking.\n"
        "mount.nfs: Either use '-o nolock' to keep locks local, or start statd.\n"
    )
    assert "option" in explained("mount.nfs: an incorrect mount option was specified")
    assert "exportfs -ra" in explained("mount.nfs: Stale file handle")
    assert explained("mount.nfs: something new") == "filer:/x cannot be mounted: something new"
    missing = StorageError("the program 'mount.nfs' is missing", hint="install the package nfs-common")
    assert nfs.explain(need, missing).hint == "install the package nfs-common"


@pytest.fixture
def fstab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Need:
    """What a line of fstab needs, on a host where nothing is mounted there; "mount.nfs" is played."""
    (tmp_path / "fstab").write_text(f"filer:/srv/xen {tmp_path}/point nfs defaults 0 0\n")
    (tmp_path / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    monkeypatch.setattr(mounts, "FSTAB", str(tmp_path / "fstab"))
    monkeypatch.setattr(mounts, "MOUNTINFO", str(tmp_path / "mountinfo"))
    program = tmp_path / "bin" / "mount.nfs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/begun\nsleep 5\ntouch {tmp_path}/mounted\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    need = need_of(f"{tmp_path}/point/web1.img")
    assert need is not None
    return need


@pytest.mark.parametrize(("type", "line"), [
    ("ext4", "filer:/srv/xen cannot be mounted: other is mounted at {point}; run 'umount {point}' if it should not be"),
    ("autofs", "filer:/srv/xen cannot be mounted: {point} is mounted on demand, which has failed; "
     "the log of autofs or systemd says why"),
])  # fmt: skip
def test_nothing_is_mounted_over_what_lies_there(fstab: Need, tmp_path: Path, type: str, line: str) -> None:
    point = fstab.words["point"]
    with open(tmp_path / "mountinfo", "a") as file:
        file.write(f"40 22 8:2 / {point} rw - {type} other rw\n")
    with pytest.raises(StorageError) as error:
        holds.take(fstab, "web1", folder=str(tmp_path / "holds"))
    assert error.value.line() == line.format(point=point)
    assert not (tmp_path / "begun").exists() and holds.held(str(tmp_path / "holds")) == ()


def test_what_others_have_mounted_over_it_is_not_unmounted(fstab: Need, tmp_path: Path) -> None:
    point = fstab.words["point"]
    with open(tmp_path / "mountinfo", "a") as file:
        file.write(f"40 22 0:40 / {point} rw - nfs4 filer:/srv/xen rw\n")
        assert not file.flush() and nfs.is_up(fstab)
        file.write(f"41 40 8:2 / {point} rw - ext4 /dev/sdb1 rw\n")
    assert not nfs.is_up(fstab)
    with pytest.raises(StorageError, match="stays mounted: /dev/sdb1 is mounted over it"):
        nfs.release(fstab)


def test_nothing_is_mounted_after_who_asked_for_it_was_killed(fstab: Need, tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        nfs.assemble(fstab, 60)
        os._exit(1)
    end = time.monotonic() + 10
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    time.sleep(5.2)
    assert not (tmp_path / "mounted").exists()


def test_a_mount_point_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text("40 22 0:40 / /srv/a\u2028b\rc\x0cd rw - nfs4 filer:/x rw\n", newline="")
    monkeypatch.setattr(mounts, "MOUNTINFO", str(tmp_path / "mountinfo"))
    assert [mount.point for mount in mounts.mounted()] == ["/srv/a\u2028b\rc\x0cd"]


# -- held


def test_a_directory_is_mounted_hard_with_the_servers_own_rules_and_no_programs(found: dict[str, Any]) -> None:
    assert found["path"] == ""
    assert {"hard", "nosuid", "nodev", "noexec", "rw", "vers=3", "nolock"} <= set(found["options"].split(","))


def test_a_guest_waits_for_a_server_that_is_started_anew_and_loses_nothing(found: dict[str, Any]) -> None:
    assert found["outage"] == {"waits": True, "ends": "DONE", "whole": True}


def test_it_stays_for_the_second_and_goes_with_the_last(found: dict[str, Any]) -> None:
    assert found["up for the second"] is True
    assert found["busy"] == (
        f"127.0.0.1:/srv/ex stays mounted: 'sleep' (process PID) still uses it; when that has ended, run 'umount {POINT}'"
    )
    assert found["up after the sweep"] is False
    assert found["folders left"] == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_who_is_killed_at_the_mount_leaves_nothing_after_a_sweep(found: dict[str, Any], moment: str) -> None:
    assert found[f"killed {moment}: mounted"] is (moment == "after")
    assert found[f"killed {moment}: left"] == [False, [], 0]


def test_what_fstab_has_is_mounted_as_it_says_and_its_folder_stays(found: dict[str, Any]) -> None:
    assert found["fstab: path"] == "" and found["fstab: there"] is True
    assert {"soft", "vers=3", "nolock"} <= set(found["fstab: options"].split(","))
    assert found["fstab: left"] == [False, True]


def test_what_was_mounted_before_stays_mounted(found: dict[str, Any]) -> None:
    assert found["fstab: found mounted"] is True


def test_a_look_at_a_server_that_is_away_ends_in_time_and_with_its_process(found: dict[str, Any]) -> None:
    said, status = found["look at a server that is away"]
    assert status == 1
    assert said == f"TimeoutError: [Errno 110] the file system does not answer; its server may be away: '{POINT}/never'"


# -- refused


@pytest.mark.parametrize(("case", "line"), [
    ("no kernel module", "127.0.0.1:/srv/ex cannot be mounted: this kernel has no NFS; load its module ('modprobe nfs'), or "
     "let QEMU ask the server itself: nfs://127.0.0.1/srv/ex/FILE"),
    ("no export", "127.0.0.1:/srv/other cannot be mounted: 127.0.0.1 does not export it to this host (it exports "
     "/srv/ex to 127.0.0.1; /srv/squashed to 127.0.0.1); add it to /etc/exports on 127.0.0.1 and run 'exportfs -ra' there"),
    ("no name", "nowhere.example:/srv/x cannot be mounted: the name nowhere.example is not known; mend it, or add it to "
     "/etc/hosts"),
    ("no server", "127.0.0.1:/srv/ex cannot be mounted: no NFS server of such a version answers there; see that it runs "
     "('rpcinfo 127.0.0.1'), and which version /etc/nfsmount.conf or /etc/fstab asks for"),
    ("silent server", "192.0.2.1:/srv/ex cannot be mounted: 192.0.2.1 does not answer; see that its NFS server runs: "
     "'rpcinfo 192.0.2.1'"),
])  # fmt: skip
def test_a_mount_that_fails_says_who_is_to_change_what(found: dict[str, Any], case: str, line: str) -> None:
    assert found[case] == line


def test_a_silent_server_is_given_up_in_time(found: dict[str, Any]) -> None:
    assert found["silent server: in time"] is True


# -- by xm


def test_xm_create_mounts_for_a_guest_which_writes_to_the_server(found: dict[str, Any]) -> None:
    stdout, stderr, status = found["xm"]
    assert (stdout.splitlines()[-1], stderr.count("\n"), status) == ("Started domain web2 (id=1)", 1, 0)
    assert "xm mounts its directory for as long as a guest needs it; for a guest that libvirt starts by itself" in stderr
    assert found["xm: whole"] is True


def test_xm_create_tells_of_root_squash_and_leaves_nothing(found: dict[str, Any]) -> None:
    _, stderr, status = found["xm squashed"]
    assert (status, stderr.partition("Error: ")[2]) == (1, (
        f"Device 768 (vbd) could not be connected. {FOLDER}/127.0.0.1:%2Fsrv%2Fsquashed/web3.img: Permission denied: "
        "the NFS server 127.0.0.1 takes this host's root, as which QEMU runs, for nobody (root_squash); export it with "
        "no_root_squash, or run 'chown nobody web3.img' in that folder on 127.0.0.1\n"
    ))  # fmt: skip
    assert found["xm: left"] == [False, False, 0]


def test_root_squash_is_told_for_a_qemu_of_another_user(found: dict[str, Any]) -> None:
    why, hint = found["squash for another user"]
    assert why.startswith("the NFS server 127.0.0.1 takes this host's root for nobody (root_squash), and lets ")
    assert hint == "export it with no_root_squash, or run 'chown 64055:107 web3.img' in that folder on 127.0.0.1"
