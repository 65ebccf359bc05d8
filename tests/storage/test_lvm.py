"""Logical volumes come up for a guest and go down after it; what keeps them down is told. With a real LVM, on a kernel that
has device-mapper; what each part does there is in ``lvm_inside``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.lab.storage_uml import LVM_MODULES
from tests.lab.uml import python_in_uml
from xmcompat import programs
from xmcompat.storage import holds, lvm, lvm_explain, lvm_read
from xmcompat.storage.needs import Need, need_of
from xmcompat.storage.programs import ProgramFailed, StorageError

pytestmark = pytest.mark.timeout(300)

Report = dict[str, Any]

POOL = ["vg0-pool-tpool", "vg0-pool_tdata", "vg0-pool_tmeta"]
INSIDE = "from tests.storage import lvm_inside; lvm_inside.main()"


@pytest.fixture(scope="module")
def report(lab_directory: Path) -> Report:
    """What the parts of ``lvm_inside`` have found, all in one run."""
    disk = lab_directory / "lvm.img"
    with open(disk, "wb") as file:
        file.truncate(256 << 20)
    said = python_in_uml(
        lab_directory / "uml-lvm", INSIDE, modules=LVM_MODULES, disks=[disk], memory="768M", timeout=280.0
    )  # fmt: skip
    found: Report = json.loads(said)
    return found


# -- which volume a path means


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/dev/vg0/web1", "vg0/web1"),
        ("/dev/xen/web1", "xen/web1"),
        ("/dev/xen-guests/web1-disk", "xen-guests/web1-disk"),
        ("/dev/mapper/vg0-web1", "vg0/web1"),
        ("/dev/mapper/xen--guests-web1--disk", "xen-guests/web1-disk"),
        ("/dev/mapper/a----b-c", "a--b/c"),
    ],
)
def test_a_path_names_a_volume(path: str, name: str) -> None:
    need = need_of(path)
    assert need is not None
    assert (need.kind, need.name, need.words["path"]) == ("lvm", name, path)
    assert lvm.mapped_name(name) == Path(f"/dev/mapper/{lvm.mapped_name(name)}").name
    assert lvm.need_of(f"/dev/mapper/{lvm.mapped_name(name)}") == Need(
        kind="lvm", name=name, words={"path": f"/dev/mapper/{lvm.mapped_name(name)}"}
    )


@pytest.mark.parametrize(
    "path",
    [
        "/dev/sda", "/dev/vg0/web1/part", "/srv/xen/web1", "vg0/web1", "/dev/mapper/control", "/dev/mapper/mpatha",
        "/dev/mapper/luks-0e1f1f44-8f2b", "/dev/mapper/vg0-web1-real", "/dev/disk/by-id", "/dev/cciss/c0d0", "/dev/drbd/by-res",
        "/dev/vg0/..", "/dev/vg0/-rf", "/dev/-a/b", "/dev/vg0/a b", "/dev/mapper/--a-b", "/dev/mapper/----config-a", "",
    ],
)  # fmt: skip
def test_other_paths_name_none(path: str) -> None:
    assert lvm.need_of(path) is None


def test_a_volume_that_is_not_filled_yet_is_for_who_fills_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    lv = lvm_read.Lv("vg0", "copy", "x", 1 << 20, roles=frozenset({"public"}), layout=frozenset({"linear"}))
    assert lv.is_for_guests
    monkeypatch.setattr(lvm_explain, "is_there", lambda program: True)
    monkeypatch.setattr(lvm_read, "volumes", lambda name: (lv._replace(tags=frozenset({lvm_read.HALF_MADE})),))
    need = lvm.need_of("/dev/vg0/copy")
    assert need is not None
    with pytest.raises(StorageError, match="vg0/copy is half made: the copy into it was cut off, or is going on"):
        lvm_explain.usable(need)
    assert lvm_explain.usable(replace(need, words={**need.words, "half_made": "y"})).name == "copy"


# -- up and down


@pytest.mark.parametrize(
    ("path", "devices"),
    [
        ("/dev/mapper/vg0-web--1", ["vg0-web--1"]),
        ("/dev/vg0/thin", [*POOL, "vg0-thin"]),
        ("/dev/vg0/thinsnap", [*POOL, "vg0-thinsnap"]),
        ("/dev/vg0/origin", ["vg0-origin", "vg0-origin-real", "vg0-snap", "vg0-snap-cow"]),
    ],
)
def test_a_volume_is_up_from_its_first_holder_to_its_last(report: Report, path: str, devices: list[str]) -> None:
    found = report["comes_up"][path]
    assert report["comes_up"]["before"] == []
    assert (found["said"], found["there"]) == ("", True)
    assert (found["one left"], found["none left"]) == (devices, [])
    assert found["again"] == 0 < found["programs"]  # no program is started for a volume that is up


def test_a_volume_that_was_up_stays_up(report: Report) -> None:
    assert report["was_up"]["left"] == ["vg0-web--1"]


def test_an_origin_stays_as_long_as_its_snapshot_is_held(report: Report) -> None:
    assert report["together"] == {
        "said": "vg0/origin stays active, for vg0/snap is held; it goes after that one",
        "kept": ["vg0-origin", "vg0-origin-real", "vg0-snap", "vg0-snap-cow"], "swept": [], "held": 0,
    }  # fmt: skip


def test_what_has_it_open_is_told_and_it_is_swept_later(report: Report) -> None:
    assert report["in_use"] == {
        "open": "vg0/web-1 stays active: something has it open; 'fuser -v /dev/dm-0' shows what",
        "under": "vg0/web-1 stays active: over of this host lies on it; 'lsblk /dev/dm-0' shows it", "left": [], "held": 0,
    }  # fmt: skip


# -- what keeps a volume down


def test_a_volume_that_is_not_there_is_told_with_what_is(report: Report) -> None:
    found = report["mistakes"]
    assert found["/dev/vg0/web1"] == "/dev/vg0/web1: the volume group vg0 has no volume 'web1'; did you mean web-1?"
    assert found["/dev/vg0/zz"] == (
        "/dev/vg0/zz: the volume group vg0 has no volume 'zz'; there are origin, snap, thin, thinsnap, web-1"
    )
    assert found["/dev/vg1/web-1"] == "/dev/vg1/web-1: there is no volume group 'vg1'; did you mean vg0?"
    assert found["/dev/mapper/mpatha-part1"] == (
        "/dev/mapper/mpatha-part1: there is no volume group 'mpatha', and no other device has that name; there are vg0"
    )
    assert (found["second try"], found["left"], found["held"]) == ("was taken", [], 0)


def test_what_is_no_disk_is_refused_and_stays_down(report: Report) -> None:
    found = report["mistakes"]
    assert found["/dev/vg0/pool"] == "/dev/vg0/pool: vg0/pool is a thin pool, and no disk; give a volume"
    assert found["/dev/vg0/pool_tdata"] == (
        "/dev/vg0/pool_tdata: vg0/pool_tdata is a part of another volume, and no disk; give a volume"
    )


def test_the_filter_that_hides_a_volume_is_told(report: Report) -> None:
    found = report["hidden"]
    for name in ("filter", "global_filter"):
        assert found[name] == (
            f'/dev/vg0/web-1: {name}="r|/dev/ubd|" in /etc/lvm hides /dev/ubda, with the volume group vg0; '
            "let /dev/ubda through there"
        )
    assert found["two"].startswith(
        "/dev/vg0/web-1: the filters and the devices file of LVM hide /dev/ubda, with the volume group vg0; let /dev/ubda"
    )


def test_the_devices_file_that_hides_a_volume_is_told(report: Report) -> None:
    said = report["hidden"]["devices file"]
    assert said.startswith("/dev/vg0/web-1: the devices file of LVM hides /dev/ubda, with the volume group vg0; ")
    assert said.endswith(("run 'lvmdevices --adddev /dev/ubda'", "use_devicesfile = 0 in /etc/lvm lifts it"))


def test_what_else_keeps_a_volume_down_is_told(report: Report) -> None:
    found = report["hidden"]
    assert found["volume_list"] == (
        '/dev/vg0/web-1: activation/volume_list="vg7" in /etc/lvm does not let vg0/web-1 up; add "vg0/web-1" to that list'
    )
    assert found["exported"] == (
        "/dev/vg0/web-1: the volume group vg0 is exported; run 'vgimport vg0', once no other host has it"
    )
    assert (found["second try"], found["left"], found["held"]) == ("was taken", [], 0)


def test_a_group_of_another_host_and_a_missing_disk_are_told(report: Report) -> None:
    found = report["of_others"]
    assert found["foreign"] == (
        "/dev/vgx/web: the volume group vgx belongs to another host; once that host uses it no longer, "
        "'vgchange --systemid NAME vgx' there gives it over to the host NAME"
    )
    assert found["partial"] == (
        f"/dev/vgy/web: disks of the volume group vgy are missing: {found['missing']}; 'pvs' shows which are there"
    )
    assert (found["again"], found["left"]) == ("was taken", [])


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("  Skipping clustered volume group vg0", "/dev/vg0/web1: the volume group vg0 is of a cluster, by clvmd; "
         "make it one of lvmlockd's, or of this host's alone: 'vgchange -cn vg0'"),
        ("  LV locked by other host: vg0/web1\n  Failed to lock logical volume vg0/web1.",
         "/dev/vg0/web1: vg0/web1 is active on another host; end the guest there, or deactivate it there"),
        ("  VG vg0 lock failed: lock start in progress", "/dev/vg0/web1: lvmlockd does not grant the lock of vg0; "
         "is lvmlockd running? then 'vgchange --lockstart vg0'"),
        ("  Cannot activate LVs in VG vg0 while PVs appear on duplicate devices.",
         "/dev/vg0/web1: disks of the volume group vg0 are seen twice, by several paths; "
         "let LVM see the multipath device alone: devices/global_filter in /etc/lvm"),
        ("  WARNING: Running as a non-root user.\n  /run/lock/lvm/V_vg0:aux: open failed: Permission denied",
         "/dev/vg0/web1: volumes of LVM cannot be looked at; only root may do that"),
        ("  Something new.\n", "/dev/vg0/web1: LVM says: Something new"),
    ],
)  # fmt: skip
def test_what_lvm_says_is_told_in_words_for_who_starts_a_guest(said: str, line: str) -> None:
    failed = ProgramFailed(["lvchange", "vg0/web1"], 5, said)
    wrapped = StorageError("cannot read vg0/web1")
    wrapped.__cause__ = failed
    for error in (failed, wrapped):
        assert lvm.explain(Need(kind="lvm", name="vg0/web1", words={"path": "/dev/vg0/web1"}), error).line() == line


def test_a_host_without_lvm_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "SBIN", ())
    monkeypatch.setattr(lvm, "_LOCK", str(tmp_path / "lock"))
    with pytest.raises(StorageError) as error:
        holds.take(Need(kind="lvm", name="vg0/web1", words={"path": "/dev/vg0/web1"}), "web1", folder=str(tmp_path / "holds"))
    assert error.value.line() == (
        "/dev/vg0/web1 is not there, and could be a volume of LVM alone; install the package lvm2"
    )
    assert holds.held(str(tmp_path / "holds")) == ()


def test_a_failure_of_another_kind_is_left_as_it_is() -> None:
    error = StorageError("the program 'lvs' is missing", hint="install the package lvm2")
    assert lvm.explain(Need(kind="lvm", name="vg0/web1", words={"path": "/dev/vg0/web1"}), error) is error


def test_a_read_only_volume_is_for_reading_alone(report: Report) -> None:
    assert report["read_only"] == {
        "True": "Device 51712 (vbd) could not be connected. /dev/vg0/web-1 is a read-only device, and not for a guest to write "
        "to; give it with the mode r; 'lvchange -prw' makes a volume writable, 'blockdev --setrw' another device",
        "False": "is free",
    }


def test_what_is_damaged_is_not_given_to_a_guest(report: Report) -> None:
    assert report["broken"] == {
        "overflowed": "/dev/vg0/full: the snapshot vg0/full is invalid, for its space has run out; nothing brings it back; "
        "remove it, and give the next one more space",
        "damaged": "/dev/vg0/lost: the metadata of the thin pool vg0/bad needs a repair; "
        "deactivate its volumes, then run 'lvconvert --repair vg0/bad'",
        "left": [], "held": 0,
    }  # fmt: skip


# -- faults


def test_nothing_is_left_by_who_is_killed_at_any_step(report: Report) -> None:
    found = report["killed"]
    assert found["faults"] == []
    assert found["points"] >= 7  # before: two files, lvs, lvchange, two files' ends, lvchange
    assert (found["again"], found["left"]) == ("was taken", [])


def test_a_sweep_waits_for_an_activation_that_is_on_its_way(report: Report) -> None:
    assert report["half_way"] == {"left": [], "held": 0}


# -- guests


def test_xm_starts_a_guest_from_volumes_that_were_down_and_what_it_wrote_is_there(report: Report) -> None:
    found = report["guests"]
    assert found["blank"] == [False, False]
    stdout, _, status = found["created"]
    assert (stdout, status) == ('Using config file "/run/web7.cfg".\nStarted domain web7 (id=1)\n', 0)
    assert found["up"] == [*POOL, "vg0-thinsnap", "vg0-web7"]
    assert found["said"].splitlines() == ["UP", "from the linear volume", "........DONE", "from the thin origin", "........DONE"]
    assert found["down"] == []
    assert (found["web7"], found["thinsnap"]) == (True, True)
    assert (found["left"], found["held"]) == ([], 0)


def test_what_a_guest_wrote_to_a_snapshot_is_not_in_its_origin(report: Report) -> None:
    assert report["guests"]["thin"] is False


def test_a_guest_whose_second_volume_is_missing_leaves_the_first_down(report: Report) -> None:
    found = report["guests"]
    _, stderr, status = found["missing"]
    assert status == 1
    assert stderr == (
        "Error: Device 768 (vbd) could not be connected. /dev/vg0/web7: the volume group vg0 has no volume 'web7'; "
        "did you mean web1 or web-1?\n"
    )
    assert found["down at first"] == []
