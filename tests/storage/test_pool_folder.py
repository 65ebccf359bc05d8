"""Folders as pools, below the command: a kill at any step, two at once, and who may have an image open meanwhile."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from xmcompat.errors import XmError
from xmcompat.storage import pool_folder
from xmcompat.storage.image_device import locked_by_qemu
from xmcompat.storage.volume import Pool, Volume, Wanted

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

MIB = 1 << 20
OLD, NEW = (bytes([value]) * (2 * MIB) for value in (1, 2))

Act = Callable[[], object]


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    found = pool_folder.pool_named(str(tmp_path))
    assert found and found.kind == "folder" and found.size
    return found


@pytest.fixture
def volume(pool: Pool) -> Volume:
    """A raw one that holds NEW, with a snapshot "before" that holds OLD."""
    made = pool_folder.create(pool, "a.img", Wanted(size=2 * MIB))
    Path(made.path).write_bytes(OLD)
    pool_folder.snapshot(made, "before")
    Path(made.path).write_bytes(NEW)
    return made


def named(pool: Pool, name: str) -> Volume:
    found = pool_folder.find(pool, name)
    assert found
    return found


def acts(pool: Pool, volume: Volume, progress: Callable[[str, float], None] = lambda stage, share: None) -> dict[str, Act]:
    before = named(pool, "a.img@before")
    return {
        "snapshot": lambda: pool_folder.snapshot(volume, "later", progress=progress),
        "rollback": lambda: pool_folder.rollback(volume, before, progress=progress),
        "clone": lambda: pool_folder.clone(volume, pool, "b.img", progress=progress),
    }


def killed(act: Act) -> None:
    child = os.fork()
    if not child:
        try:
            act()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


STEPS = ("os.open", "os.ftruncate", "os.copy_file_range", "os.fsync", "os.fchmod", "os.link", "os.replace", "os.unlink")
RUN_THROUGH = {("snapshot", "os.replace"), ("clone", "os.replace"), ("rollback", "os.link"), ("rollback", "os.unlink")}


@pytest.mark.parametrize("verb", ["snapshot", "rollback", "clone"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_leaves_all_or_nothing_and_a_second_try_works(
    verb: str, step: str, when: str, pool: Pool, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (verb, step) in RUN_THROUGH:
        assert acts(pool, volume)[verb]()  # it does without this step
        return

    def act() -> None:
        module, name = step.split(".")
        real = getattr(sys.modules[module], name)

        def deadly(*words: object, **more: object) -> object:
            if when == "after":
                real(*words, **more)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

        made = acts(pool, volume)[verb]
        monkeypatch.setattr(sys.modules[module], name, deadly)
        made()

    killed(act)
    whole = {"a.img": (OLD, NEW), "a.img@before": (OLD,), "a.img@later": (NEW,), "b.img": (NEW,)}
    for one in pool_folder.volumes(pool):
        assert Path(one.path).read_bytes() in whole[one.name]
    assert {"a.img", "a.img@before"} <= {one.name for one in pool_folder.volumes(pool)}
    for name in ("a.img@later", "b.img"):
        if (left := pool_folder.find(pool, name)) is not None:
            pool_folder.remove(left, force=True)
    assert acts(pool, volume)[verb]()
    made = {"snapshot": ("a.img@later", NEW), "rollback": ("a.img", OLD), "clone": ("b.img", NEW)}[verb]
    assert (Path(pool.name) / made[0]).read_bytes() == made[1]
    assert not list(Path(pool.name).glob(".*"))


@pytest.mark.parametrize("verb", ["snapshot", "rollback", "clone"])
def test_no_guest_gets_the_image_while_it_is_worked_on(verb: str, pool: Pool, volume: Volume) -> None:
    said = []

    def progress(_stage: str, _share: float) -> None:
        words = ["qemu-io", "-f", "raw", "-c", "write 0 512", volume.path]
        said.append(subprocess.run(words, capture_output=True, text=True, check=False).stderr)

    assert acts(pool, volume, progress)[verb]()
    assert said and all("lock" in text for text in said)


@pytest.mark.parametrize("verb", ["snapshot", "rollback", "clone", "remove"])
def test_an_image_that_a_guest_has_open_is_left_alone(verb: str, pool: Pool, volume: Volume) -> None:
    child = subprocess.Popen(
        ["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=f,filename={volume.path}", "--nbd-server",
         f"addr.type=unix,addr.path={pool.name}/.nbd", "--export", "type=nbd,id=e,node-name=f,writable=on"],
    )  # fmt: skip
    try:
        with open(volume.path, "rb") as image:
            while not locked_by_qemu(image.fileno()):  # what it exports it locks, some time after it has made its socket
                assert child.poll() is None
        act = {**acts(pool, volume), "remove": lambda: pool_folder.remove(volume, force=True)}[verb]
        if verb == "remove":
            pool_folder.remove(named(pool, "a.img@before"), force=True)
        with pytest.raises(XmError, match="is in use: QEMU has it open"):
            act()
    finally:
        child.kill()
        child.wait()
    assert Path(volume.path).read_bytes() == NEW


def test_two_who_make_the_same_volume(pool: Pool, volume: Volume) -> None:
    said = []

    def progress(_stage: str, _share: float) -> None:
        with pytest.raises(XmError) as raised:
            pool_folder.create(pool, "b.img", Wanted(size=MIB))
        said.append(raised.value.message)

    pool_folder.clone(volume, pool, "b.img", progress=progress)
    assert set(said) == {f"{pool.name}/b.img is being made by another process"}
    assert (Path(pool.name) / "b.img").read_bytes() == NEW


def test_a_loop_device_on_an_image_is_a_user(pool: Pool, volume: Volume) -> None:
    device = subprocess.run(["losetup", "-f", "--show", volume.path], capture_output=True, text=True, check=True).stdout.strip()
    try:
        with pytest.raises(XmError, match=f"is in use: {device} stands on it"):
            acts(pool, volume)["rollback"]()
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
    assert Path(volume.path).read_bytes() == NEW


def test_a_file_keeps_owner_and_mode_over_a_roll_back(pool: Pool, volume: Volume) -> None:
    os.chown(volume.path, 1234, 2345)
    os.chmod(volume.path, 0o640)
    pool_folder.rollback(volume, named(pool, "a.img@before"))
    found = os.stat(volume.path)
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 2345, 0o640)
    assert Path(volume.path).read_bytes() == OLD


def test_a_file_with_two_names_is_not_rolled_back_under_one(pool: Pool, volume: Volume) -> None:
    os.link(volume.path, f"{volume.path}.too")
    before = Path(volume.path).read_bytes()
    with pytest.raises(XmError, match="is one of 2 names of that file"):
        pool_folder.rollback(volume, named(pool, "a.img@before"))
    assert os.path.samefile(volume.path, f"{volume.path}.too") and Path(volume.path).read_bytes() == before


def test_a_whole_image_of_every_format_has_its_room(pool: Pool) -> None:
    for name, whole in (("a.img", True), ("a.qcow2", True), ("a.vdi", True), ("a.vhd", True), ("a.vmdk", False)):
        made = pool_folder.create(pool, name, Wanted(size=4 * MIB))
        assert made.size == 4 * MIB and made.allocated is not None
        assert (made.allocated >= 4 * MIB) == whole, name
        thin = pool_folder.create(pool, f"thin-{name}", Wanted(size=64 * MIB, thin=True))
        assert thin.size == 64 * MIB and (thin.allocated or 0) < 3 * MIB, name


def test_a_lock_of_another_kind_is_none_of_a_guests(pool: Pool, volume: Volume) -> None:
    with open(volume.path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        pool_folder.snapshot(volume, "later")
    assert named(pool, "a.img@later").size == 2 * MIB
