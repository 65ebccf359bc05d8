"""Files are changed all together or not at all, whatever fails and whenever."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.network.persist_hosts import CASES, STATIC, content, store, written
from xmcompat.network import persist_files
from xmcompat.network.configured import Facts, Stored
from xmcompat.network.persist import Change, changes, forgotten
from xmcompat.network.persist_files import apply, read_facts
from xmcompat.network.programs import NetworkError

MAIN = "/etc/network/interfaces"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host with ifupdown, whose configuration only its owner and a group can read."""
    place = tmp_path / "root"
    store(place, Facts(files={**CASES["ifupdown-static"][3].files, MAIN: Stored(STATIC, 0o640)}))
    Path(f"{place}/etc/network/interfaces.d").mkdir()
    return place


def planned(root: Path) -> tuple[Change, ...]:
    known = read_facts(str(root))
    return changes(written((*CASES["ifupdown-static"][:3], known)), known)


def test_mode_and_owner_of_a_changed_file_stay(root: Path) -> None:
    os.chown(f"{root}{MAIN}", 123, 456)
    apply(planned(root), str(root))
    there = os.stat(f"{root}{MAIN}")
    assert (there.st_mode & 0o7777, there.st_uid, there.st_gid) == (0o640, 123, 456)
    assert os.stat(f"{root}/var/lib/xmcompat/persist{MAIN}").st_mode & 0o7777 == 0o640
    assert "iface eth0 inet manual" in Path(f"{root}{MAIN}").read_text()


def test_what_is_read_back_needs_no_change_and_can_be_forgotten(root: Path) -> None:
    before = content(root)
    apply(planned(root), str(root))
    assert planned(root) == ()
    apply(forgotten(read_facts(str(root))), str(root))
    assert content(root) == before
    assert not Path(f"{root}/var/lib/xmcompat/persist").exists()


@pytest.mark.parametrize("case", ["networkd-segments-overlays-routing", "networkd-vlan-drop-in", "networkmanager-static"])
def test_files_of_every_system_come_and_go(case: str, tmp_path: Path) -> None:
    store(tmp_path, CASES[case][3])
    before = content(tmp_path)
    known = read_facts(str(tmp_path))
    assert set(known.files) == set(CASES[case][3].files)
    apply(changes(written((*CASES[case][:3], known)), known), str(tmp_path))
    assert content(tmp_path) != before
    profiles = list(Path(f"{tmp_path}/etc/NetworkManager").rglob("xmcompat-*")) if "manager" in case else []
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in profiles)
    apply(forgotten(read_facts(str(tmp_path))), str(tmp_path))
    assert content(tmp_path) == before
    assert not list(tmp_path.rglob("*.network.d"))


CALLS = ("link", "replace", "unlink", "fsync", "open", "mkdir", "fchmod", "fchown")


@pytest.mark.parametrize("direction", ["persist", "forget"])
@pytest.mark.parametrize("call", CALLS)
def test_a_failure_anywhere_leaves_all_as_it_was(
    root: Path, monkeypatch: pytest.MonkeyPatch, direction: str, call: str
) -> None:
    """Each call of the system fails once, at its first, second, ... time, as on a full disk."""
    if direction == "forget":
        apply(planned(root), str(root))
    before = content(root)
    hit = 0
    for number in range(1, 40):
        made = planned(root) if direction == "persist" else forgotten(read_facts(str(root)))
        real = getattr(os, call)
        count = 0

        def failing(*words: object, real: object = real, number: int = number, **more: object) -> object:
            nonlocal count, hit
            count += 1
            if count == number:
                hit += 1
                raise OSError(errno.ENOSPC, "No space left on device", str(words[0]))
            assert callable(real)
            return real(*words, **more)

        with monkeypatch.context() as patched:
            patched.setattr(persist_files.os, call, failing)
            try:
                apply(made, str(root))
            except NetworkError as error:
                assert "No space left on device" in error.line()
                assert content(root) == before, f"{call} number {number}"
            else:
                break                    # it has not failed any more, or in tidying up, when all was done
    assert hit or (call, direction) in {("mkdir", "forget")}
    now = read_facts(str(root))
    assert (planned(root) if direction == "persist" else forgotten(now)) == ()


def test_a_full_disk_is_said_in_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = planned(root)

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", f"{root}{MAIN}")

    monkeypatch.setattr(persist_files.os, "fsync", full)
    with pytest.raises(NetworkError) as caught:
        apply(made, str(root))
    assert caught.value.line() == f"{root}{MAIN}: No space left on device; no file is changed"


def test_symbolic_links_are_not_written_through(root: Path) -> None:
    made = planned(root)
    real = Path(f"{root}/elsewhere")
    Path(f"{root}{MAIN}").rename(real)
    Path(f"{root}{MAIN}").symlink_to(real)
    before = content(root)
    with pytest.raises(NetworkError, match="is a symbolic link, and xmcompat does not write through it"):
        apply(made, str(root))
    assert content(root) == before


def test_a_file_that_changes_meanwhile_stops_it(root: Path) -> None:
    made = planned(root)
    Path(f"{root}{MAIN}").write_text("auto lo\n")
    before = content(root)
    with pytest.raises(NetworkError, match="has been changed meanwhile"):
        apply(made, str(root))
    assert content(root) == before


def test_a_file_that_comes_meanwhile_stops_it(root: Path) -> None:
    made = planned(root)
    Path(f"{root}/etc/network/interfaces.d/xmcompat").write_text("auto lo\n")
    with pytest.raises(NetworkError, match="has been changed meanwhile"):
        apply(made, str(root))


def test_drafts_of_a_killed_run_do_not_matter(root: Path) -> None:
    before = content(root)
    for end in ("new", "old"):
        Path(f"{root}/etc/network/.interfaces.xmcompat-{end}").write_text("half")
    apply(planned(root), str(root))
    apply(forgotten(read_facts(str(root))), str(root))
    assert content(root) == before


def test_files_that_interfaces_names_are_read(root: Path) -> None:
    Path(f"{root}{MAIN}").write_text("source /etc/lan/*.cfg\nsource-directory extra\n")
    for path in ("/etc/lan/a.cfg", "/etc/lan/b.txt", "/etc/network/extra/eth1"):
        Path(f"{root}{path}").parent.mkdir(exist_ok=True, parents=True)
        Path(f"{root}{path}").write_text("auto eth1\n")
    Path(f"{root}/etc/lan/a.cfg").write_text("source /etc/lan/b.txt\n")
    known = set(read_facts(str(root)).files)
    assert {"/etc/lan/a.cfg", "/etc/network/extra/eth1"} <= known
