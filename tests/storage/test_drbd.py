"""A resource of DRBD is promoted for a guest and demoted after it. With a real DRBD and its tools, on a kernel that has it;
what each part does there is in ``drbd_inside``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab.uml import python_in_uml
from xmcompat import disk_needs
from xmcompat.backends.devices import BlockSource
from xmcompat.config.specs import vbd_of
from xmcompat.errors import NotConvertible
from xmcompat.guest import FirmwareBoot, GuestConfig
from xmcompat.storage import drbd, holds
from xmcompat.storage.needs import need_of
from xmcompat.storage.programs import StorageError
from xmcompat.translate import sources
from xmcompat.translate.findings import Findings

pytestmark = pytest.mark.timeout(300)

Report = dict[str, Any]

INSIDE = "from tests.storage import drbd_inside; drbd_inside.main()"
R0 = "/dev/drbd/by-res/r0"


@pytest.fixture(scope="module")
def report(lab_directory: Path) -> Report:
    """What the parts of ``drbd_inside`` have found, all in one run."""
    said = python_in_uml(lab_directory / "uml-drbd", INSIDE, modules=("loop", "drbd"), timeout=200.0)
    found: Report = json.loads(said)
    return found


# -- which resource is meant


@pytest.mark.parametrize(
    ("path", "name", "volume"),
    [
        ("/dev/drbd/by-res/r0", "r0", ""), ("/dev/drbd/by-res/web1.disk/1", "web1.disk", "1"), ("/dev/drbd0", "minor-0", ""),
        ("/dev/drbd17", "minor-17", ""),
    ],
)  # fmt: skip
def test_a_path_names_a_resource(path: str, name: str, volume: str) -> None:
    need = need_of(path)
    assert need is not None
    assert (need.kind, need.name, need.words) == ("drbd", name, {"path": path, "volume": volume})


@pytest.mark.parametrize(
    "path", ["/dev/drbd", "/dev/drbd/by-res/", "/dev/drbd/by-res/-x", "/dev/drbd/by-res/r0/x", "/dev/drbd0p1", "/dev/drbd/by-disk/sda"]
)
def test_other_paths_name_none(path: str) -> None:
    assert drbd.need_of(path) is None


def translated(uname: str) -> tuple[object, Findings]:
    vbd = vbd_of(uname, "xvda", "w")
    findings = Findings(GuestConfig(name="web1", boot=FirmwareBoot(), disks=(vbd,)))
    return sources.source(vbd, "disk[0]", findings), findings


@pytest.mark.parametrize(
    ("uname", "device"), [("drbd:r0", R0), ("drbd:web1/1", "/dev/drbd/by-res/web1/1"), ("phy:/dev/drbd0", "/dev/drbd0")]
)
def test_the_prefix_of_xen_says_what_to_promote(uname: str, device: str) -> None:
    source, findings = translated(uname)
    assert source == BlockSource(path=device)
    need = need_of(device)
    assert need is not None
    assert need.kind == "drbd"
    findings.settle()


def test_a_device_that_is_there_unpromoted_is_needed_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(disk_needs, "FOLDER", str(tmp_path))
    monkeypatch.setattr(disk_needs.os.path, "exists", lambda path: True)
    need = disk_needs._need(BlockSource(path="/dev/drbd0"))
    assert need is not None
    assert need.kind == "drbd"
    assert disk_needs._need(BlockSource(path="/dev/vg0/web1")) is None


def test_a_guest_that_libvirt_starts_is_left_to_its_owner() -> None:
    (note,) = translated("drbd:r0")[1].notes
    assert note.suggestion == "for a guest that libvirt starts by itself, run 'drbdadm primary r0' before"


@pytest.mark.parametrize("path", ["-rf", "r0/x", "r 0"])
def test_a_name_that_is_none_is_refused(path: str) -> None:
    source, findings = translated(f"drbd:{path}")
    assert source is None
    with pytest.raises(NotConvertible, match=r"that names no DRBD resource; write drbd:RESOURCE or drbd:RESOURCE/VOLUME"):
        findings.settle()


# -- up and down


def test_a_resource_is_primary_from_its_first_holder_to_its_last(report: Report) -> None:
    secondary, primary = "Secondary/Secondary", "Primary/Secondary"
    assert report["promoted"] == {"said": "/dev/drbd0", "roles": [secondary, primary, primary, secondary]}


def test_a_resource_that_was_primary_stays_so(report: Report) -> None:
    assert report["was_primary"] == "Primary/Secondary"


def test_by_its_name_and_by_its_number_it_is_one_resource(report: Report) -> None:
    assert report["two_names"] == {
        "devices": ["/dev/drbd0", "/dev/drbd0"], "one": True, "said": "was given", "kept": "Primary/Secondary",
        "given": "Secondary/Secondary", "held": 0,
    }  # fmt: skip


def test_what_has_it_open_is_told_and_it_is_swept_later(report: Report) -> None:
    assert report["in_use"] == {
        "said": "the resource r0 stays primary: something has it open; 'fuser -v /dev/drbd0' shows what",
        "role": "Secondary/Secondary", "held": 0,
    }  # fmt: skip


def test_nothing_is_left_by_who_is_killed_at_any_step(report: Report) -> None:
    found = report["killed"]
    assert (found["faults"], found["status"]) == ([], 0)
    assert found["points"] >= 7  # before: two files, role, primary, sh-dev, role, secondary


def test_a_resource_of_which_drbd_does_not_tell_is_neither_promoted_nor_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def hangs(words: list[str], **_: object) -> str:
        calls.append(words)
        raise StorageError(f"'{' '.join(words)}' did not end within 20 s")

    monkeypatch.setattr(drbd, "run", hangs)
    need = need_of(R0)
    assert need is not None
    with pytest.raises(StorageError, match="did not end"):
        holds.take(need, "web1", folder=str(tmp_path))
    assert (calls, holds.held(str(tmp_path))) == ([["drbdadm", "role", "r0"]], ())
    with pytest.raises(StorageError, match="did not end"):
        drbd.release(need)


# -- why a host may not have it


def test_the_host_that_has_it_is_told_and_a_second_try_works(report: Report) -> None:
    assert report["primary_there"] == {
        "said": f"{R0}: r0 may not be promoted: it is primary on xen2; end the guest there, and 'drbdadm secondary' there",
        "again": "was taken: /dev/drbd0", "role": "Secondary/Secondary", "held": 0,
    }  # fmt: skip


def test_a_resource_that_is_down_or_unknown_is_told(report: Report) -> None:
    found = report["down"]
    assert found[R0] == f"{R0}: the resource r0 is down; run 'drbdadm up r0'"
    assert found["/dev/drbd0"] == "/dev/drbd0: the resource r0 is down; run 'drbdadm up r0'"
    assert found["/dev/drbd/by-res/r1"] == (
        "/dev/drbd/by-res/r1: no resource of DRBD's configuration for this host is called 'r1'; 'drbdadm dump' shows what there is"
    )
    assert found["/dev/drbd7"] == (
        "/dev/drbd7: no resource of DRBD's configuration for this host has that device; 'drbdadm dump' shows what there is"
    )


def test_data_that_are_not_known_to_be_good_are_not_given_to_a_guest(report: Report) -> None:
    assert report["down"]["inconsistent"] == (
        f"{R0}: the data of r0 on this host are not known to be good: its disk is Inconsistent, the connection is Connecting; "
        "see to the network between the hosts; 'drbdadm connect r0' lets them be fetched from the other one"
    )


def test_a_host_with_good_data_goes_on_without_its_peer(report: Report) -> None:
    assert report["cut_off"] == {
        "said": "was taken: /dev/drbd0", "down": f"{R0}: the resource r0 is down; run 'drbdadm up r0'", "held": 0,
    }  # fmt: skip


# -- a guest


def test_what_a_guest_writes_is_on_the_disks_of_both_hosts(report: Report) -> None:
    found = report["guest"]
    assert found["said"].splitlines() == ["UP", "from both hosts", "........DONE"]
    assert (found["blank"], found["written"], found["role"]) == ([False, False], [True, True], "Secondary/Secondary")
