"""Disks that a script of the user's own brings up: what it is told, what it answers, and that nothing of it is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from xmcompat import script_store
from xmcompat.storage import block_script, holds
from xmcompat.storage.needs import Need, kind, need_of
from xmcompat.storage.programs import StorageError

UUID = "6f9b2d9c-1f5e-4c0e-9a53-0d6d5d4c8b11"
ADDS = 'xenstore-write "$XENBUS_PATH/physical-device" 7:c8 "$XENBUS_PATH/physical-device-path" {device} ' \
       '"$XENBUS_PATH/hotplug-status" connected'  # fmt: skip


class Site:
    """A folder of scripts, a device that they tell of, and what they write of their calls."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "scripts"
        self.folder.mkdir(mode=0o755)
        self.device = root / "device"
        os.mknod(self.device, 0o660 | 0o060000, os.makedev(7, 200))
        self.calls = root / "calls"

    def script(self, add: str = ADDS, remove: str = "", name: str = "block-mine") -> None:
        path = self.folder / name
        body = f'echo "$# $*" >>{self.calls}\ncase "$1" in\nadd) {add}\n;;\nremove) {remove or ":"}\n;;\nesac\n'
        path.write_text(f"#!/bin/sh\n{body.replace('{device}', str(self.device))}")
        path.chmod(0o755)

    def need(self, vdev: str = "xvda", **more: str) -> Need:
        words = {
            "script": "block-mine", "params": "pool/web1,a b", "mode": "w", "type": "mine", "vdev": vdev, "number": "51712",
            "uuid": UUID, "domain": "web1", "path": f"{self.root}/disks/{UUID}/{vdev}", "scripts": str(self.folder),
            "log": f"{self.root}/log", **more,
        }  # fmt: skip
        return Need(kind="block_script", name=f"{UUID}/{vdev}", words=words)

    @property
    def link(self) -> Path:
        return self.root / "disks" / UUID / "xvda"

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def left(self) -> list[str]:
        """What is on the host of disks and of what scripts have told."""
        places = (self.root / "disks" / UUID, self.root / "stores")
        return [str(path) for place in places if place.exists() for path in place.iterdir()]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(block_script, "STORES", str(tmp_path / "stores"))
    monkeypatch.setattr(script_store, "_PLACES", (str(tmp_path),))
    return Site(tmp_path)


def test_the_path_leads_to_what_the_script_tells_of(site: Site) -> None:
    site.script()
    path = block_script.assemble(site.need(), 5)
    assert path == str(site.link) and os.path.realpath(path) == str(site.device)
    assert site.called() == ["1 add"]
    assert block_script.assemble(site.need(), 5) == path
    assert site.called() == ["1 add"]
    block_script.release(site.need())
    assert site.called() == ["1 add", "1 remove"] and site.left() == []
    block_script.release(site.need())
    assert site.called() == ["1 add", "1 remove"]


def test_qemus_user_finds_the_device_whatever_the_umask(site: Site) -> None:
    site.script()
    before = os.umask(0o077)
    try:
        block_script.assemble(site.need(), 5)
    finally:
        os.umask(before)
    for folder in (site.link.parent, site.link.parents[1]):
        assert folder.stat().st_mode & 0o011 == 0o011
    assert (site.root / "stores").stat().st_mode & 0o077 == 0


def test_it_has_xens_environment_and_asks_what_xend_wrote(site: Site) -> None:
    told = site.root / "told"
    site.script(f"""env >{told}.env
for name in domain frontend frontend-id uuid dev state params mode online type; do
  echo "$name=$(xenstore-read "$XENBUS_PATH/$name")"
done >{told}
id=$(xenstore-read "$XENBUS_PATH/frontend-id"); vm=$(xenstore-read "/local/domain/$id/vm")
echo "$vm $(xenstore-read "$vm/uuid") $(xenstore-read "/local/domain/$id/name")" >>{told}
xenstore-list "$XENBUS_BASE_PATH/$XENBUS_TYPE/$id" >>{told}
{ADDS}""")
    block_script.assemble(site.need(), 5)
    *values, guest, devices = Path(told).read_text().splitlines()
    found = dict(line.split("=", 1) for line in values)
    number = found["frontend-id"]
    assert number.isdecimal() and 0 < int(number) < 2**31
    assert found == {
        "domain": "web1", "frontend": f"/local/domain/{number}/device/vbd/51712", "frontend-id": number, "uuid": UUID,
        "dev": "xvda", "state": "2", "params": "pool/web1,a b", "mode": "w", "online": "1", "type": "mine",
    }  # fmt: skip
    assert (guest, devices) == (f"/vm/{UUID} {UUID} web1", "51712")
    environment = dict(line.split("=", 1) for line in Path(f"{told}.env").read_text().splitlines() if "=" in line)
    assert environment["XENBUS_PATH"] == f"backend/vbd/{number}/51712"
    assert (environment["XENBUS_TYPE"], environment["XENBUS_BASE_PATH"]) == ("vbd", "backend")
    assert environment["script"] == str(site.folder / "block-mine")


def test_remove_finds_what_add_has_written(site: Site) -> None:
    site.script(
        f'{ADDS} "$XENBUS_PATH/node" /dev/mine7 "$XENBUS_PATH/my/own" "two words"',
        f'xenstore-read "$XENBUS_PATH/node" "$XENBUS_PATH/my/own" "$XENBUS_PATH/params" >{site.root}/found',
    )
    block_script.assemble(site.need(), 5)
    stores = site.root / "stores"
    assert stores.stat().st_mode & 0o777 == 0o700
    block_script.release(site.need())
    assert (site.root / "found").read_text().splitlines() == ["/dev/mine7", "two words", "pool/web1,a b"]


@pytest.mark.parametrize(
    "answer",
    [
        'xenstore-write "$XENBUS_PATH/node" {device}',
        'xenstore-write "$XENBUS_PATH/physical-device-path" {device}',
        'xenstore-write "$XENBUS_PATH/physical-device" 7:c8 "$XENBUS_PATH/node" {device}',
    ],
)
def test_any_of_xens_ways_to_tell_of_a_device(site: Site, answer: str) -> None:
    site.script(answer)
    assert os.path.realpath(block_script.assemble(site.need(), 5)) == str(site.device)


def test_a_device_is_found_by_its_numbers_alone(site: Site) -> None:
    major, minor = next(Path("/sys/class/block").iterdir()).joinpath("dev").read_text().split(":")
    site.script(f'xenstore-write "$XENBUS_PATH/physical-device" {int(major):x}:{int(minor):x}')
    found = os.stat(block_script.assemble(site.need(), 5)).st_rdev
    assert (os.major(found), os.minor(found)) == (int(major), int(minor))


@pytest.mark.parametrize(
    ("add", "line"),
    [
        ('xenstore-write "$XENBUS_PATH/hotplug-error" "no volume pool/web1" "$XENBUS_PATH/hotplug-status" error; exit 1',
         "no volume pool/web1; {file} ended with status 1"),
        ('xenstore-write "$XENBUS_PATH/hotplug-error" "in use" "$XENBUS_PATH/hotplug-status" busy', "in use; see {log}"),
        ("echo 'server is down' >&2; exit 3", "server is down; {file} ended with status 3"),
        ("exit 3", "Backend device not found.; {file} ended with status 3"),
        (":", "{file} told of no device for pool/web1,a b: it wrote no physical-device; see {log}"),
        ('xenstore-write "$XENBUS_PATH/node" /etc/hosts',
         "{file} told of /etc/hosts, which is a file; it must make a block device of it"),
        ('xenstore-write "$XENBUS_PATH/node" /no/such', "/no/such is not there after 0.2 seconds"),
        ("sleep 30", "Hotplug scripts not working.; {file} did not end within 2 s; see {log}"),
    ],
)  # fmt: skip
def test_what_fails_is_one_line_and_is_taken_back(site: Site, add: str, line: str) -> None:
    site.script(add)
    need = site.need(deadline="2") if "sleep" in add else site.need()
    with pytest.raises(StorageError) as caught:
        holds.take(need, UUID, deadline=0.2, folder=str(site.root / "holds"))
    assert caught.value.line() == line.format(file=site.folder / "block-mine", log=site.root / "log")
    assert site.called() == ["1 add", "1 remove"] and site.left() == []
    assert holds.held(str(site.root / "holds")) == ()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda site: os.chmod(site.folder / "block-mine", 0o777), "is not trusted: others than root may write it"),
        (lambda site: os.chown(site.folder / "block-mine", 65534, -1), "is not trusted"),
        (lambda site: os.chmod(site.folder, 0o777), "is not trusted"),
        (lambda site: os.unlink(site.folder / "block-mine"), "No such file or directory"),
        (lambda site: (site.folder / "block-mine").rename(site.root / "x") and os.symlink(
            site.root / "x", site.folder / "block-mine"), "is not run: only those in"),
    ],
)  # fmt: skip
def test_only_what_root_trusts_is_run(site: Site, spoil: Callable[[Site], object], why: str) -> None:
    site.script()
    spoil(site)
    with pytest.raises(StorageError, match=why):
        block_script.assemble(site.need(), 1)
    assert site.called() == []


def test_a_busy_device_is_removed_at_the_next_try(site: Site) -> None:
    site.script(remove=f"[ -e {site.root}/second ] || {{ touch {site.root}/second; exit 1; }}")
    block_script.assemble(site.need(), 5)
    block_script.release(site.need())
    assert site.called() == ["1 add", "1 remove", "1 remove"] and site.left() == []


def test_a_script_that_cannot_remove_is_told_of_once(site: Site) -> None:
    site.script(remove="echo 'still in use'; exit 1")
    block_script.assemble(site.need(), 5)
    with pytest.raises(StorageError) as caught:
        block_script.release(site.need())
    assert caught.value.line() == f"block-mine could not remove pool/web1,a b: still in use; see {site.root}/log"
    assert site.called() == ["1 add", *["1 remove"] * 3] and site.left() == []
    block_script.release(site.need())
    assert len(site.called()) == 4


def test_a_password_is_given_to_the_script_and_written_nowhere_else(site: Site) -> None:
    site.script(f'xenstore-read "$XENBUS_PATH/params" >{site.root}/asked; {ADDS}',
                f'xenstore-read "$XENBUS_PATH/params" >>{site.root}/asked')  # fmt: skip
    need = replace(site.need(params="vol,password=..."), secret={"params": "vol,password=geheim"})
    folder = site.root / "holds"
    holds.take(need, UUID, folder=str(folder))
    others = [path for place in (folder, site.root / "log", site.root / "disks")
              for path in (place, *place.rglob("*")) if path.is_file() and not path.is_symlink()]  # fmt: skip
    assert len(others) > 2 and not any("geheim" in path.read_text() for path in others)
    (kept,) = holds.held(str(folder))
    holds.give(kept.need, UUID, folder=str(folder))
    assert (site.root / "asked").read_text().splitlines() == ["vol,password=geheim"] * 2
    assert site.left() == []


def test_words_that_are_no_utf8_reach_the_script_and_the_log(site: Site) -> None:
    site.script(f'xenstore-read "$XENBUS_PATH/params" >{site.root}/asked; {ADDS}')
    need = site.need(params="pool/\udcff", domain="we\udcff")
    assert block_script.assemble(need, 5) == str(site.link)
    block_script.release(need)
    assert (site.root / "asked").read_bytes() == b"pool/\xff\n"
    assert "(we\\udcff xvda): " in (site.root / "log").read_text() and site.left() == []


def test_two_disks_of_one_guest_do_not_see_each_other(site: Site) -> None:
    site.script()
    for vdev in ("xvda", "xvdb"):
        block_script.assemble(site.need(vdev), 5)
    assert len(site.left()) == 4
    block_script.release(site.need("xvda"))
    assert site.called() == ["1 add", "1 add", "1 remove"] and len(site.left()) == 2
    block_script.release(site.need("xvdb"))
    assert site.left() == []


@pytest.mark.parametrize("step", ["stat", "symlink"])
def test_a_folder_that_goes_with_another_disk_of_the_guest_is_made_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    site.script()
    call, removed = getattr(os, step), list[str]()

    def late(path: str, *words: object, **more: object) -> object:
        if not removed and str(site.link.parent) in (path, *map(os.path.dirname, map(str, words))):
            removed.append(path)
            os.rmdir(site.link.parent)
        return call(path, *words, **more)

    monkeypatch.setattr(os, step, late)
    assert os.path.realpath(block_script.assemble(site.need(), 5)) == str(site.device)
    assert removed and site.called() == ["1 add"]


def test_a_folder_that_cannot_be_made_is_told(site: Site) -> None:
    site.script()
    site.link.parents[1].mkdir()
    site.link.parent.touch()
    with pytest.raises(StorageError, match=f"{site.link.parent}: File exists"):
        block_script.assemble(site.need(), 5)
    assert site.called() == ["1 add", "1 remove"]


#: Where a process that takes a disk is killed: before the script, in it, after it, at the link.
MOMENTS = {
    "before the script": "xmcompat.hotplug_script.run",
    "after the script": "xmcompat.storage.block_script._device",
    "at the link": "xmcompat.storage.block_script._link",
    "after the link": "xmcompat.storage.holds._this_process",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_who_is_killed_while_taking_leaves_nothing_after_the_next_sweep(
    site: Site, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    site.script()
    folder = str(site.root / "holds")
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(MOMENTS[moment], lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        holds.take(site.need(), UUID, folder=folder)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    holds.sweep((), folder=folder)
    assert site.called()[-1] == "1 remove" and site.left() == [] and holds.held(folder) == ()
    assert holds.take(site.need(), UUID, folder=folder) == str(site.link)
    holds.give(site.need(), UUID, folder=folder)
    assert site.left() == []


def test_a_script_does_not_go_on_after_its_caller_was_killed(site: Site) -> None:
    site.script(f"touch {site.root}/begun; sleep 5; touch {site.root}/went-on; {ADDS}")
    child = os.fork()
    if child == 0:
        block_script.assemble(site.need(), 60)
        os._exit(1)
    end = time.monotonic() + 20
    while not (site.root / "begun").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    block_script.release(site.need())
    time.sleep(5.2)
    assert not (site.root / "went-on").exists()
    assert site.called() == ["1 add", "1 remove"] and site.left() == []


def test_what_is_left_of_a_disk_is_removed_before_it_is_added_again(site: Site) -> None:
    site.script()
    block_script.assemble(site.need(), 5)
    site.link.unlink()
    block_script.assemble(site.need(), 5)
    assert site.called() == ["1 add", "1 remove", "1 add"] and site.link.is_symlink()


def test_no_path_shows_that_a_script_must_run() -> None:
    assert kind("block_script") is not None
    assert need_of("/run/xmcompat/disks/a/xvda") is None
