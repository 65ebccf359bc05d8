"""Volume groups and thin pools: on another kernel, with real volumes; and what LVM's programs say, read here."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.storage_uml import LVM_MODULES
from tests.lab.uml import in_uml
from tests.storage import pool_lvm_in_uml
from xmcompat.storage import lvm_read, lvm_volume, pool_lvm
from xmcompat.storage.programs import ProgramFailed, StorageError
from xmcompat.storage.volume import Pool

pytestmark = pytest.mark.timeout(700)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each case has met, in one run of that kernel."""
    folder = tmp_path_factory.mktemp("lvm")
    disk = folder / "disk"
    with open(disk, "wb") as file:
        file.truncate(640 << 20)
    argv = [sys.executable, "-m", "tests.storage.pool_lvm_in_uml"]
    stdout, stderr, status = in_uml(folder / "run", argv, modules=LVM_MODULES, timeout=600, disks=[disk], memory="512M")
    assert status == 0, f"{status}: {stdout}{stderr}"
    found: dict[str, str] = json.loads(stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("case", [case.__name__ for case in pool_lvm_in_uml.CASES])
def test_on_a_kernel_with_device_mapper(outcome: dict[str, str], case: str) -> None:
    assert outcome[case] == ""


#: As lvs 2.03 prints it: a linear volume of two segments (its row comes twice), its snapshot, one that is being merged, a
#: thin pool with its hidden parts, and a thin snapshot.
ROWS = (
    {"lv_name": "web", "lv_uuid": "u1", "lv_size": "16777216", "origin_size": "16777216", "lv_role": "public,origin,thickorigin",
     "lv_attr": "owi-aos---", "lv_active": "active", "lv_device_open": "open"},
    {"lv_name": "web", "lv_uuid": "u1", "lv_size": "16777216", "origin_size": "16777216", "lv_role": "public,origin,thickorigin",
     "lv_attr": "owi-aos---", "lv_active": "active", "lv_device_open": "open"},
    {"lv_name": "snap", "lv_uuid": "u2", "lv_size": "8388608", "origin_size": "16777216", "origin": "web",
     "lv_role": "public,snapshot,thicksnapshot", "data_percent": "93.20", "lv_active": "active", "lv_snapshot_invalid": ""},
    {"lv_name": "[old]", "lv_uuid": "u3", "lv_size": "20971520", "origin_size": "16777216", "origin": "web",
     "lv_role": "public,snapshot,thicksnapshot", "data_percent": "12.00", "lv_merging": "merging"},
    {"lv_name": "thin", "lv_uuid": "u4", "lv_size": "33554432", "lv_role": "private", "lv_layout": "thin,pool",
     "data_percent": "81.26", "metadata_percent": "10.94", "lv_when_full": "error", "lv_attr": "twi-aotz--"},
    {"lv_name": "[thin_tdata]", "lv_uuid": "u5", "lv_size": "33554432", "lv_role": "private,thin,pool,data"},
    {"lv_name": "t1", "lv_uuid": "u6", "lv_size": "67108864", "lv_role": "public,origin,thinorigin", "pool_lv": "thin",
     "lv_layout": "thin,sparse", "data_percent": "50.00", "lv_attr": "Vwi-a-tz--", "lv_active": "active"},
    {"lv_name": "t1s", "lv_uuid": "u7", "lv_size": "67108864", "lv_role": "public,snapshot,thinsnapshot", "pool_lv": "thin",
     "lv_layout": "thin,sparse", "origin": "t1", "lv_skip_activation": "skip activation", "lv_permissions": "read-only"},
)  # fmt: skip
GROUPS = (
    {"vg_name": "vg0", "vg_size": "415236096", "vg_free": "1048576", "vg_extent_size": "4194304"},
    {"vg_name": "far", "vg_size": "1099511627776", "vg_free": "0", "vg_extent_size": "4194304", "vg_systemid": "other"},
    {"vg_name": "out", "vg_size": "1048576", "vg_free": "0", "vg_extent_size": "4194304", "vg_exported": "exported"},
)
FIELDS = {
    "vg": ("vg_exported", "vg_partial", "vg_systemid", "vg_permissions"),
    "lv": (
        "origin_size", "lv_layout", "origin", "pool_lv", "data_percent", "metadata_percent", "lv_active", "lv_device_open",
        "lv_permissions", "lv_merging", "lv_snapshot_invalid", "lv_health_status", "lv_when_full", "lv_check_needed",
        "lv_skip_activation", "lv_tags", "lv_attr", "vg_extent_size",
    ),
}  # fmt: skip


def report(part: str, rows: Sequence[Mapping[str, str]]) -> str:
    whole = [{**{"vg_name": "vg0", "lv_role": "public"}, **dict.fromkeys(FIELDS[part], ""), **row} for row in rows]
    return json.dumps({"report": [{part: whole}]})


@pytest.fixture
def lvm(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """LVM's programs, played: what they are asked comes into the list."""
    asked: list[list[str]] = []

    def answer(words: Sequence[str], **_: object) -> str:
        asked.append(list(words))
        if words[0] == "vgs":
            return report("vg", GROUPS)
        if words[0] == "lvs":
            assert words[-1] == "vg0" and words.count("vg0") == 1, words  # no other group can be read
            return report("lv", ROWS)
        if words[0] == "lvmconfig":
            return "thin_pool_autoextend_threshold=70\nthin_pool_autoextend_percent=20\n"
        assert list(words) == ["lvm", "systemid"]
        return "  system ID: here\n"

    monkeypatch.setattr(lvm_read, "run", answer)
    monkeypatch.setattr(lvm_volume, "run", answer)
    monkeypatch.setattr(lvm_read, "is_there", lambda _: True)
    return asked


def test_what_lvs_says_becomes_volumes(lvm: list[list[str]]) -> None:
    found = {one.name: one for one in pool_lvm.volumes(Pool(kind="lvm", name="vg0"))}
    assert list(found) == ["old", "snap", "web"]
    assert (found["web"].size, found["web"].active, found["web"].origin, found["web"].identity) == (16 << 20, True, "", "u1")
    snap = found["snap"]
    assert (snap.size, snap.allocated, snap.origin) == (16 << 20, 8 << 20, "web")
    assert snap.remark == "its room for differences is 93% full; at 100% it is spoilt"
    assert snap.figures == (("room for differences", "93.2% of 8 MiB"),)
    assert found["old"].remark == "it is being merged into web"
    first, second = pool_lvm.volumes(Pool(kind="lvm", name="vg0/thin"))
    assert (first.full_name, first.path, first.thin, first.allocated) == ("vg0/thin/t1", "/dev/vg0/t1", True, 32 << 20)
    assert (second.origin, second.readonly, second.active, second.allocated) == ("t1", True, False, None)
    assert len(lvm) == 2


def test_what_vgs_says_becomes_pools(lvm: list[list[str]]) -> None:
    assert [(one.name, one.size, one.free, one.remark) for one in pool_lvm.pools(())] == [
        ("far", 1 << 40, 0, "another host's, with the system ID other"),
        ("out", 1 << 20, 0, "exported; vgimport takes it in"),
        ("vg0", 415236096, 1 << 20, ""),
        ("vg0/thin", 32 << 20, (32 << 20) - 27266331, "81% full; lvextend -L +SIZE vg0/thin"),
    ]
    thin = pool_lvm.pool_named("vg0/thin")
    assert thin is not None and thin.figures == (
        ("data", "81.3%"), ("metadata", "10.9%"), ("promised", "128 MiB to 2 volumes"), ("when full", "writes fail at once"),
        ("grows by itself", "from 70% on, by 20%"),
    )  # fmt: skip


@pytest.mark.parametrize("word", ["", "/", "/dev", "/srv/xen", "vg0/a/b", "./vg0", "nosuch", "vg0/web", "-x", "vg0/../x"])
def test_what_is_no_pool(lvm: list[list[str]], word: str) -> None:
    assert pool_lvm.pool_named(word) is None


@pytest.mark.parametrize("word", ["", "/srv/xen/a.img", "web", "./vg0/web", "a b/c", "-x/y", "vg0/", "/dev/null", "x\0/y"])
def test_words_that_cannot_be_volumes_cost_no_program(lvm: list[list[str]], word: str) -> None:
    assert pool_lvm.volume_named(word) is None
    assert lvm == []


def test_a_host_without_lvm_has_no_pools_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lvm_read, "is_there", lambda _: False)
    assert (pool_lvm.pools(()), pool_lvm.pool_named("vg0"), pool_lvm.volume_named("vg0/web")) == ((), None, None)


@pytest.mark.parametrize(
    ("complaint", "said"),
    [
        ("  WARNING: Sum of all thin volume sizes (1 GiB) exceeds the pool.\n  Volume group \"x\" not found\n  Cannot process "
         "volume group x\n", 'Volume group "x" not found'),
        ("  Rounding up size to full physical extent 4.00 MiB\n  Names starting \"snapshot\" are reserved. Please choose a "
         "different LV name.\n  Run `lvcreate --help' for more information.\n",
         'Names starting "snapshot" are reserved. Please choose a different LV name'),
        ("  WARNING: only this.\n", "WARNING: only this"),
        ("", "status 5"),
    ],
)  # fmt: skip
def test_what_lvm_means_is_found_among_what_it_says(complaint: str, said: str) -> None:
    assert lvm_read.reason(ProgramFailed(["lvcreate"], 5, complaint)) == said


def test_a_user_who_may_not_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(words: Sequence[str], **_: object) -> str:
        raise ProgramFailed(words, 5, "  WARNING: Running as a non-root user. Functionality may be unavailable.\n"
                            "  /run/lock/lvm/P_global:aux: open failed: Permission denied\n")  # fmt: skip

    monkeypatch.setattr(lvm_read, "run", refuse)
    with pytest.raises(StorageError) as caught:
        lvm_read.lvm(["lvremove", "vg0/web"], doing="cannot remove vg0/web")
    assert caught.value.line() == (
        "cannot remove vg0/web: /run/lock/lvm/P_global:aux: open failed: Permission denied; only root may do that"
    )


@given(st.integers(min_value=0, max_value=1 << 60))
def test_sizes_for_people_are_right_to_a_twentieth(size: int) -> None:
    number, unit = lvm_volume.size_text(size).split()
    shown = float(number) * {"bytes": 1, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}[unit]
    assert abs(shown - size) <= 0.05 * max(size, 1)
