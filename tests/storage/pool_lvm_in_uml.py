"""What ``test_pool_lvm`` shows on a kernel with device-mapper: a program for ``tests.lab.uml`` with one disk of 640 MiB.

Prints JSON: what each case of ``CASES`` has met, "" where it is as it should be.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.lab import disk_guest, lvm_library
from tests.lab.storage_uml import eventually, inside, libvirtd, sh, volume_group
from xmcompat.errors import XmError
from xmcompat.storage import holds, lvm_fill, lvm_read, pool_lvm
from xmcompat.storage.volume import Pool, Volume, Wanted
from xmcompat.tool.storage import storage

MIB = 1 << 20

#: No dmeventd, and no check of a pool at each of its starts: they cost seconds.
_CONF = """activation { monitoring = 0 }
global { thin_check_executable = "" }
"""


def pool(name: str) -> Pool:
    found = pool_lvm.pool_named(name)
    assert found is not None, name
    return found


def at(name: str) -> Pool:
    """The place for a new volume; costs no program."""
    return Pool(kind="lvm", name=name)


def volume(word: str) -> Volume:
    found = pool_lvm.volume_named(word)
    assert found is not None, word
    return found


def is_there(word: str) -> bool:
    return pool_lvm.volume_named(word) is not None


def make(name: str, size: int = 8 * MIB, *, where: str = "vg0", force: bool = True) -> Volume:
    return pool_lvm.create(at(where), name, Wanted(size=size, force=force))


def thin_pool(size: int = 48, name: str = "thin") -> None:
    """The pool "thin" is made once, and stays from case to case."""
    if name != "thin" or lvm_read.volume("vg0", "thin") is None:
        sh("lvcreate", "-y", "--type", "thin-pool", "-L", f"{size}M", "-n", name, "vg0")


@cache
def bytes_of(seed: str, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def fill(path: str, seed: str, size: int = 8 * MIB) -> None:
    with open(path, "r+b", buffering=0) as file:
        assert file.write(bytes_of(seed, size)) == size
        os.fsync(file.fileno())


def holds_bytes(path: str, seed: str, size: int = 8 * MIB) -> bool:
    """Whether the medium has these bytes, and not the cache."""
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return b"".join(iter(lambda: file.read(MIB), b""))[:size] == bytes_of(seed, size)


def refusal(call: Callable[..., object], *words: object, **more: object) -> str:
    with pytest.raises(XmError) as caught:
        call(*words, **more)
    assert "\n" not in caught.value.line()
    return caught.value.line()


def command(*words: str) -> str:
    """What ``xmcompat storage`` prints, with "failed: " before it where it fails."""
    done = CliRunner().invoke(storage, words)
    error = done.exception
    return f"failed: {error.line()}" if isinstance(error, XmError) else done.stdout


def clean() -> None:
    """No volumes in the group, and nothing held."""
    shutil.rmtree(holds.FOLDER, ignore_errors=True)
    sh("lvremove", "-y", "-f", "-S", "vg_name=vg0 && lv_name!=thin")


@contextmanager
def killed(at: Callable[[], object], doing: Callable[[], object]) -> Iterator[None]:
    """A process that is DOING something, killed with its children once AT says so."""
    child = os.fork()
    if child == 0:
        os.setsid()
        with suppress(BaseException):
            doing()
        os._exit(0)
    try:
        eventually(at, 20)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)


def lvm_says_the_same_within_this_process_as_in_programs_of_its_own() -> None:
    """The other cases stand on that."""
    make("web")
    report = ("--reportformat", "json", "--units", "b", "--nosuffix", "-o", "+lv_active,lv_device_open,lv_tags")
    size = ("-L", "4M", "vg0")
    for words in (
        ("lvs", "-a", *report), ("vgs", "nosuch"), ("lvs", "vg0/nosuch"), ("lvm", "systemid"), ("lvcreate", "--nosuch"),
        ("lvcreate", "-n", "web", *size), ("lvcreate", "-n", "a b", *size), ("lvcreate", "-n", "", *size),
        ("lvcreate", "-n", "snapshot1", *size), ("lvcreate", "-n", "big", "-L", "4T", "vg0"), ("lvremove", "vg0/web"),
        ("lvs", "-S", 'lv_name="web" && vg_name=vg0'), ("lvmconfig", "--typeconfig", "full", "activation/monitoring"),
    ):  # fmt: skip
        program, here = lvm_library.answers(words)
        assert program == here, words
        assert program.out or program.complaint, words
    assert lvm_library.run(("lvs", "--noheadings", "-o", "lv_name", "vg0")).out.split() == ["web"]


def groups_thin_pools_and_volumes_have_names_in_every_spelling() -> None:
    assert [(one.name, one.kind, one.remark) for one in pool_lvm.pools(())] == [("vg0", "lvm", "")]
    assert "make one: lvcreate --type thin-pool" in refusal(pool_lvm.create, at("vg0"), "t", Wanted(size=MIB, thin=True))
    thin_pool()
    web, thin = make("web-1"), make("t1", 64 * MIB, where="vg0/thin")
    assert (web.size, web.allocated, web.thin, web.full_name) == (8 * MIB, 8 * MIB, False, "vg0/web-1")
    assert (thin.size, thin.allocated, thin.thin, thin.full_name) == (64 * MIB, 0, True, "vg0/thin/t1")
    (group, pool_of_thin) = pool_lvm.pools(())
    assert (group.size, group.free) == (636 * MIB, 636 * MIB - 8 * MIB - 48 * MIB - 2 * 4 * MIB)
    assert (pool_of_thin.name, pool_of_thin.size, pool_of_thin.free) == ("vg0/thin", 48 * MIB, 48 * MIB)
    assert ("promised", "64 MiB to 1 volume") in pool_of_thin.figures and ("grows by itself", "no") in pool_of_thin.figures
    assert [one.name for one in pool_lvm.volumes(group)] == ["web-1"]
    assert [one.name for one in pool_lvm.volumes(pool_of_thin)] == ["t1"]
    os.symlink("/dev/mapper/vg0-web--1", "/run/link")
    words = ("vg0/web-1", "/dev/vg0/web-1", "/dev/mapper/vg0-web--1", "/run/link", os.path.realpath("/dev/vg0/web-1"))
    assert {volume(word) for word in words} == {web}
    assert volume("vg0/t1") == volume("vg0/thin/t1") == thin
    for word in ("vg0", "vg0/nosuch", "other/web-1", "vg0/thin", "vg0/other/t1", "/dev/ubda", "/dev/null", "/etc/passwd", ""):
        assert pool_lvm.volume_named(word) is None, word
    assert pool_lvm.place_of("vg0/new") == (group, "new") and pool_lvm.place_of("/dev/vg0/new") == (group, "new")
    assert pool_lvm.place_of("vg0/thin/new") == (pool_of_thin, "new")
    for word in ("new", "other/new", "/srv/new", "vg0/other/new", "./vg0/new"):
        assert pool_lvm.place_of(word) is None, word


def what_cannot_be_made_is_told() -> None:
    place = at("vg0")
    for name, why in (
        ("-x", "'-x' is no name for a logical volume"), ("a b", "is no name"), ("..", "is no name"), ("", "is no name"),
        ("snapshot1", 'Names starting "snapshot" are reserved'), ("x_tdata", 'Names including "_tdata" are reserved'),
    ):  # fmt: skip
        assert why in refusal(pool_lvm.create, place, name, Wanted(size=MIB)), name
    assert refusal(make, "big", 1 << 30) == (
        "cannot make vg0/big: vg0 has 580 MiB free, which is not enough; "
        "choose a smaller size, or add a disk: vgextend vg0 /dev/DISK"
    )
    assert "raw disk, and not qcow2" in refusal(pool_lvm.create, place, "t", Wanted(size=MIB, format="qcow2"))
    make("web")
    assert 'cannot make vg0/web: Logical Volume "web" already exists' in refusal(make, "web")
    assert pool_lvm.create(at("vg0"), "t", Wanted(size=64 * MIB, thin=True)).full_name == "vg0/thin/t"
    thin_pool(8, "other")
    assert "name the volume in one: vg0/other/NAME" in refusal(pool_lvm.create, place, "t2", Wanted(size=MIB, thin=True))
    assert {one.name for one in lvm_read.volumes("vg0") if one.is_for_guests} == {"web", "t"}


def an_old_signature_in_the_room_of_a_new_volume_is_not_wiped_unless_that_is_asked_for() -> None:
    sh("mkfs.ext4", "-q", make("old").path)
    sh("lvremove", "-y", "vg0/old")
    assert refusal(make, "new", force=False) == (
        "cannot make vg0/new: the room that LVM gives it begins with an old ext4, left by a volume that was removed; "
        "--force wipes that"
    )
    assert not is_there("vg0/new")
    made = make("new", force=True)
    assert subprocess.run(["blkid", "-p", made.path], capture_output=True).returncode == 2


def a_roll_back_of_a_linear_volume_gives_every_byte_back() -> None:
    web = make("web", 8 * MIB)
    fill(web.path, "before", 8 * MIB)
    snap = pool_lvm.snapshot(web, "before")
    assert (snap.origin, snap.size, snap.full_name) == ("web", 8 * MIB, "vg0/before")
    assert snap.allocated is not None and snap.allocated > 8 * MIB  # cannot run full
    fill(web.path, "after", 8 * MIB)
    assert holds_bytes(snap.path, "before", 8 * MIB) and holds_bytes(web.path, "after", 8 * MIB)
    assert volume("vg0/before").remark == ""  # though most of its room is taken
    seen: list[float] = []
    web = pool_lvm.rollback(web, volume("vg0/before"), progress=lambda _, share: seen.append(share))
    assert holds_bytes(web.path, "before", 8 * MIB) and not is_there("vg0/before")
    assert seen == sorted(seen) and seen[-1] == 1.0
    pool_lvm.snapshot(web, "again")
    fill(web.path, "other", 8 * MIB)
    sh("lvchange", "-an", "-y", "vg0/web")
    web = pool_lvm.rollback(volume("vg0/web"), volume("vg0/again"))
    assert not web.active and not os.path.exists(web.path)  # as it was
    sh("lvchange", "-ay", "vg0/web")
    assert holds_bytes(web.path, "before", 8 * MIB)


def a_roll_back_of_a_thin_volume_gives_every_byte_back() -> None:
    thin_pool()
    web = make("web", where="vg0/thin")
    fill(web.path, "before")
    snap = pool_lvm.snapshot(web, "before")
    assert (snap.origin, snap.full_name, snap.active, snap.thin) == ("web", "vg0/thin/before", False, True)
    fill(web.path, "after")
    with pool_lvm.ready(snap) as path:
        assert holds_bytes(path, "before")
    assert not os.path.exists(snap.path)
    web = pool_lvm.rollback(web, snap)
    assert holds_bytes(web.path, "before") and not is_there("vg0/before")
    snap = pool_lvm.snapshot(web, "small")
    web = pool_lvm.resize(web, 16 * MIB)
    assert pool_lvm.rollback(web, snap).size == 8 * MIB


def a_roll_back_is_refused_while_something_is_open_and_for_what_is_no_snapshot_of_it() -> None:
    thin_pool()
    other = make("other")
    for where, name in (("vg0", "web"), ("vg0/thin", "thin-web")):
        web = make(name, where=where)
        snap = pool_lvm.snapshot(web, f"{name}-s")
        with open(web.path, "rb"):
            assert f"vg0/{name} is in use: its device is open" in refusal(pool_lvm.rollback, web, snap)
        with pool_lvm.ready(snap) as path, open(path, "rb"):
            assert f"vg0/{name}-s is in use: its device is open" in refusal(pool_lvm.rollback, web, snap)
        assert f"vg0/{name}-s is no snapshot of vg0/other; it is one of {name}" in refusal(pool_lvm.rollback, other, snap)
        assert f"vg0/other is no snapshot of vg0/{name}" in refusal(pool_lvm.rollback, web, other)
    assert not [lv for lv in lvm_read.volumes("vg0") if lv.merging]


def a_roll_back_that_waits_for_a_volume_to_be_closed_says_so_and_is_done_when_asked_for_again() -> None:
    web = make("web")
    fill(web.path, "before")
    snap = pool_lvm.snapshot(web, "before")
    fill(web.path, "after")
    with open(web.path, "rb"):  # as where it is opened between the look at it and the merge, or lvconvert is killed
        sh("lvconvert", "--merge", "vg0/before")
        assert volume("vg0/web").remark == "a snapshot is being merged into it"
        assert "'lvchange -an vg0/web' and 'lvchange -ay vg0/web'" in refusal(pool_lvm.rollback, web, snap)
    web = pool_lvm.rollback(web, snap)
    assert holds_bytes(web.path, "before") and web.active and not is_there("vg0/before")


def a_roll_back_that_is_cut_off_goes_on_by_itself_or_when_it_is_asked_for_again() -> None:
    web = make("web", 16 * MIB)
    for nobody_is_left in (False, True):
        fill(web.path, "before", 16 * MIB)
        snap = pool_lvm.snapshot(web, "before")
        fill(web.path, "after", 16 * MIB)
        mark = Path(f"/run/begun-{nobody_is_left}")
        with killed(mark.exists, lambda snap=snap, mark=mark: roll_back_and_wait(web, snap, mark)):  # type: ignore[misc]
            assert holds_bytes(web.path, "before", 16 * MIB)  # from the first moment on
        if nobody_is_left:
            for line in sh("ps", "-e", "-o", "pid=,args=").splitlines():
                number, _, args = line.strip().partition(" ")
                if "(lvm2)" in args:
                    with suppress(ProcessLookupError):  # it has just ended by itself
                        os.kill(int(number), signal.SIGKILL)
            if is_there("vg0/before"):
                pool_lvm._STUCK = 1.0
                pool_lvm.rollback(web, snap)
        else:
            while is_there("vg0/before"):  # the whole run has a bound
                time.sleep(0.5)
        assert holds_bytes(web.path, "before", 16 * MIB) and not is_there("vg0/before")
        holds.sweep((), hypervisor=holds.COMMAND)


def roll_back_and_wait(web: Volume, snap: Volume, mark: Path) -> None:
    def wait(*_: object) -> None:
        mark.touch()
        time.sleep(60)

    pool_lvm._follow_merge = wait  # type: ignore[assignment]
    pool_lvm.rollback(web, snap)


def a_snapshot_that_ran_full_is_spoilt_and_its_origin_is_not() -> None:
    web = make("web")
    sh("lvcreate", "-s", "-L", "4M", "-n", "small", "vg0/web")
    fill(web.path, "some", 3 * MIB + MIB // 2)
    small = volume("vg0/small")
    assert small.remark.startswith("its room for differences is ") and small.figures[0][1].endswith("% of 4 MiB")
    fill(web.path, "after")
    small = volume("vg0/small")
    assert small.remark == "spoilt: its room for differences ran full; remove it"
    assert refusal(pool_lvm.rollback, web, small) == (
        "vg0/small is spoilt: its room for differences ran full; remove it; it cannot be read"
    )
    assert "is spoilt" in refusal(pool_lvm.clone, small, at("vg0"), "copy")
    assert holds_bytes(web.path, "after")
    pool_lvm.remove(small)
    assert not is_there("vg0/small") and not is_there("vg0/copy") and holds_bytes(web.path, "after")


def a_snapshot_that_finds_no_room_is_not_made() -> None:
    web = make("web", 400 * MIB)
    said = refusal(pool_lvm.snapshot, web, "before")
    assert said.startswith("cannot make vg0/before: vg0 has 180 MiB free, which is not enough; ")
    assert "'lvcreate -s -L SIZE -n before vg0/web' makes a smaller one" in said
    sh("lvcreate", "-s", "-L", "4M", "-n", "before", "vg0/web")
    assert "clone it" in refusal(pool_lvm.snapshot, volume("vg0/before"), "second")


def volumes_grow_while_they_are_open_and_shrink_only_when_they_are_not() -> None:
    thin_pool()
    for where in ("vg0", "vg0/thin"):
        name = "web" if where == "vg0" else "thin-web"
        web = make(name, where=where)
        fill(web.path, "kept")
        with open(web.path, "rb") as file:
            web = pool_lvm.resize(web, 16 * MIB - 5)
            assert web.size == 16 * MIB == os.lseek(file.fileno(), 0, os.SEEK_END)
            assert pool_lvm.resize(web, 16 * MIB - 9) == web  # within the last extent
            assert f"vg0/{name} is in use" in refusal(pool_lvm.resize, web, 8 * MIB)
        assert pool_lvm.resize(web, 8 * MIB).size == 8 * MIB and holds_bytes(web.path, "kept")
    web = volume("vg0/web")
    assert "cannot grow vg0/web: vg0 has " in refusal(pool_lvm.resize, web, 1 << 30)
    snap = pool_lvm.snapshot(web, "before")
    assert "has the snapshot before, which keeps its size" in refusal(pool_lvm.resize, web, 16 * MIB)
    assert "'lvextend -L +SIZE vg0/before' gives it more room" in refusal(pool_lvm.resize, snap, 16 * MIB)


def a_clone_is_a_volume_of_its_own() -> None:
    thin_pool()
    sh("lvcreate", "-y", "-L", "8M", "-n", "rubbish", "vg0")
    fill("/dev/vg0/rubbish", "rubbish", 8 * MIB)
    sh("lvremove", "-y", "vg0/rubbish")
    web = make("web")
    with open(web.path, "r+b") as file:  # some, holes, some
        file.write(bytes_of("a", 3 * MIB) + bytes(2 * MIB) + bytes_of("b", 3 * MIB))
    contents = Path(web.path).read_bytes()
    seen: list[float] = []
    copy = pool_lvm.clone(web, at("vg0"), "copy", progress=lambda _, share: seen.append(share))
    assert Path(copy.path).read_bytes() == contents and copy.origin == "" and copy.remark == "" and seen[-1] == 1.0
    thin = pool_lvm.clone(copy, at("vg0/thin"), "t1")
    assert Path(thin.path).read_bytes() == contents and thin.allocated is not None and thin.allocated < 7 * MIB
    for where, name in (("vg0/thin", "t2"), ("vg0", "t3")):
        second = pool_lvm.clone(thin, at(where), name)
        assert (second.pool, second.origin, second.active) == ("vg0/thin", "", True)
        assert second.figures == (("clone of", "t1"),) and Path(second.path).read_bytes() == contents
    pool_lvm.remove(thin, force=True)  # its clones stay
    fill(volume("vg0/t2").path, "own")
    assert Path(volume("vg0/t3").path).read_bytes() == contents
    snap = pool_lvm.snapshot(volume("vg0/t3"), "snap")
    back = pool_lvm.clone(snap, at("vg0"), "snapcopy")
    assert back.thin and Path(back.path).read_bytes() == contents and not volume("vg0/snap").active
    with open(web.path, "rb"):
        assert "clone a snapshot of it" in refusal(pool_lvm.clone, web, at("vg0"), "live")
    assert not is_there("vg0/live") and holds.held() == ()
    assert "already exists" in refusal(pool_lvm.clone, web, at("vg0"), "copy")
    assert Path(copy.path).read_bytes() == contents


def a_clone_that_is_cut_off_leaves_nothing_or_is_made_again() -> None:
    web = make("web", 16 * MIB)
    fill(web.path, "all", 16 * MIB)

    def stop(_stage: str, _share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool_lvm.clone(web, at("vg0"), "copy", progress=stop)
    assert not is_there("vg0/copy") and holds.held() == ()
    place, fill_really, mark = at("vg0"), lvm_fill.fill, Path("/run/filled")

    def fill_and_wait(*words: object, **more: object) -> None:
        fill_really(*words, **more)  # type: ignore[arg-type]
        with open("/dev/vg0/copy", "rb"):
            mark.touch()
            time.sleep(60)

    pool_lvm.fill = fill_and_wait  # type: ignore[attr-defined]
    try:
        with killed(mark.exists, lambda: pool_lvm.clone(web, place, "copy")):
            assert volume("vg0/copy").remark.startswith("half made")
            assert refusal(pool_lvm.clone, web, place, "copy") == (
                "vg0/copy is being made by another process; wait for it"
            )
    finally:
        pool_lvm.fill = fill_really  # type: ignore[attr-defined]
    sh("lvchange", "--addtag", "of.somebody", "vg0/copy")
    copy = pool_lvm.clone(web, place, "copy")
    assert copy.remark == "" and holds_bytes(copy.path, "all", 16 * MIB)
    holds.sweep((), hypervisor=holds.COMMAND)
    assert holds.held() == ()


def an_image_is_put_into_volumes_and_its_holes_take_no_room_of_a_thin_one() -> None:
    thin_pool()
    image = Path("/dev/shm/web.img")
    contents = bytes(4 * MIB) + bytes_of("image", 2 * MIB) + bytes(10 * MIB)
    image.write_bytes(contents)
    assert command("import", str(image), "vg0/thin/web") == "/dev/vg0/web\n"
    web = volume("vg0/web")
    assert Path(web.path).read_bytes() == contents and web.remark == "" and not web.half_made
    assert web.allocated is not None and web.allocated < 3 * MIB
    fill(make("linear", 16 * MIB).path, "rubbish", 16 * MIB)
    assert "failed: " not in command("import", str(image), "vg0/linear", "--force")
    assert Path("/dev/vg0/linear").read_bytes() == contents
    assert "failed: vg0/linear is there already" in command("create", "vg0/linear", "8M")
    assert command("create", "vg0/new", "8M", "--force") == "/dev/vg0/new\n"
    assert command("snapshot", "vg0/new", "before") == "vg0/before\n"
    listed = [line.split()[:6] for line in command("list", "vg0").splitlines()]
    assert ["before", "8", "MiB", "12", "MiB", "raw"] in listed and ["new", "8", "MiB", "8", "MiB", "raw"] in listed


def what_is_in_use_has_snapshots_or_holds_something_is_not_removed() -> None:
    web = make("web")
    with open(web.path, "rb"):
        assert "vg0/web is in use" in refusal(pool_lvm.remove, web, force=True)
    sh("mkfs.ext4", "-q", "-L", "root", web.path)
    assert refusal(pool_lvm.remove, web) == 'vg0/web holds something: ext4 "root"; --force removes it'
    sh("lvchange", "-an", "vg0/web")
    assert "holds something" in refusal(pool_lvm.remove, volume("vg0/web"))
    assert not volume("vg0/web").active  # as it was
    snap = pool_lvm.snapshot(web, "before")
    assert "vg0/web has the snapshot before" in refusal(pool_lvm.remove, web, force=True)
    look = pool_lvm._refuse_signature
    pool_lvm.remove(snap, force=True)

    def meanwhile(volume: Volume) -> None:
        sh("lvcreate", "-s", "-L", "4M", "-n", "late", "vg0/web")

    pool_lvm._refuse_signature = meanwhile
    try:
        assert "a snapshot of it was made in that moment" in refusal(pool_lvm.remove, web)
    finally:
        pool_lvm._refuse_signature = look
    assert is_there("vg0/web") and is_there("vg0/late")
    pool_lvm.remove(volume("vg0/late"), force=True)
    pool_lvm.remove(web, force=True)
    make("web")
    for change in (pool_lvm.remove, lambda one: pool_lvm.resize(one, MIB), lambda one: pool_lvm.snapshot(one, "s")):
        assert refusal(change, web) == (
            "vg0/web is not there any more; another command changed it; look again"
        )
    assert is_there("vg0/web")


def a_thin_origin_stays_while_it_has_snapshots_and_goes_before_its_clones() -> None:
    thin_pool()
    web = make("web", where="vg0/thin")
    fill(web.path, "data")
    snap = pool_lvm.snapshot(web, "before")
    assert "vg0/web has the snapshot before" in refusal(pool_lvm.remove, web)
    clone = pool_lvm.clone(snap, at("vg0/thin"), "mine")
    pool_lvm.remove(snap)
    pool_lvm.remove(web)
    assert holds_bytes(clone.path, "data") and [one.name for one in pool_lvm.volumes(at("vg0/thin"))] == ["mine"]


def a_guest_on_a_full_thin_pool_waits_and_goes_on_when_the_pool_has_grown() -> None:
    Path("/sys/module/dm_thin_pool/parameters/no_space_timeout").write_text("1")
    thin_pool(4, "small")
    web = make("web", 32 * MIB, where="vg0/small")
    disk_guest.make(web.path, "thin", batches=4)
    console = Path("/run/thin.console")
    with open(web.path, "r+b") as file:  # the guest writes more than ``make`` has laid out, and than the pool has
        file.write(disk_guest.boot_sector(250))
    with libvirtd() as hypervisor:
        uuid = hypervisor.create(disk_guest.guest_xml("thin", disk_guest.block(web.path), console)).uuid

        def state() -> str:
            return next((one.state for one in hypervisor.domains() if one.uuid == uuid), "gone")

        eventually(lambda: state() == "paused", 60)
        assert hypervisor.paused_by_error(uuid)
        full = pool("vg0/small")
        assert full.free == 0 and full.remark == (
            "full: guests that write new blocks are paused; lvextend -L +SIZE vg0/small, then xm unpause"
        )
        said = refusal(make, "more", where="vg0/small")
        assert said == "cannot make vg0/more: the thin pool vg0/small is full; lvextend -L +SIZE vg0/small"
        assert "the thin pool vg0/small is full" in refusal(pool_lvm.snapshot, web, "before")
        assert full.remark in command("usage")
        for change in (("remove", "vg0/web", "--force"), ("resize", "vg0/web", "8M", "--shrink", "--force")):
            assert "vg0/small/web is in use by the guest thin" in command(*change), change
        assert command("resize", "vg0/web", "40M") == "32 MiB -> 40 MiB\n"
        assert f"Capacity:       {40 * MIB}" in sh("virsh", "-c", "qemu:///system", "domblkinfo", "thin", "vda")
        hypervisor.unpause(uuid)
        eventually(lambda: state() == "paused", 30)  # again, and nothing is lost
        sh("lvextend", "-L", "+16M", "vg0/small")
        hypervisor.unpause(uuid)
        eventually(lambda: state() == "gone", 60)
    assert console.read_text().rstrip().endswith("DONE") and "FAIL" not in console.read_text()
    assert disk_guest.written(web.path, 250)
    assert pool("vg0/small").remark == ""


def a_group_that_lost_a_disk_or_went_elsewhere_says_so() -> None:
    for name in ("a", "b"):
        with open(f"/dev/shm/{name}.img", "wb") as file:
            file.truncate(24 * MIB)
    loops = [sh("losetup", "-f", "--show", f"/dev/shm/{name}.img").strip() for name in ("a", "b")]
    sh("vgcreate", "-y", "vgl", *loops)
    sh("lvcreate", "-y", "-L", "28M", "-n", "wide", "vgl")
    sh("vgchange", "-an", "vgl")
    sh("vgexport", "vgl")
    assert pool("vgl").remark == "exported; vgimport takes it in"
    said = refusal(pool_lvm.create, at("vgl"), "x", Wanted(size=MIB))
    assert "vgl is exported; vgimport takes it in, if no other host uses it" in said
    sh("vgimport", "vgl")
    sh("losetup", "-d", loops[1])
    assert pool("vgl").remark == "a disk of it is missing"
    assert volume("vgl/wide").remark == "partial"
    sh("losetup", loops[1], "/dev/shm/b.img")
    sh("vgchange", "-y", "--systemid", "other-host", "vgl")
    assert pool("vgl").remark == "another host's, with the system ID other-host"
    assert [one.name for one in pool_lvm.pools(())] == ["vg0", "vg0/thin", "vgl"]
    assert "another host has it" in refusal(pool_lvm.create, at("vgl"), "x", Wanted(size=MIB))
    for loop in loops:
        sh("losetup", "-d", loop)


def a_command_that_is_killed_leaves_a_volume_active_until_the_next_sweep() -> None:
    web = make("web")
    sh("lvchange", "-an", "vg0/web")

    def stay() -> None:
        with pool_lvm.ready(web):
            time.sleep(60)

    with killed(lambda: os.path.exists(web.path), stay):
        holds.sweep((), hypervisor=holds.COMMAND)
        assert os.path.exists(web.path)  # it lives
    assert os.path.exists(web.path)
    holds.sweep((), hypervisor=holds.COMMAND)
    assert not os.path.exists(web.path) and holds.held() == ()


CASES = (
    lvm_says_the_same_within_this_process_as_in_programs_of_its_own,
    groups_thin_pools_and_volumes_have_names_in_every_spelling,
    what_cannot_be_made_is_told,
    an_old_signature_in_the_room_of_a_new_volume_is_not_wiped_unless_that_is_asked_for,
    a_roll_back_of_a_linear_volume_gives_every_byte_back,
    a_roll_back_of_a_thin_volume_gives_every_byte_back,
    a_roll_back_is_refused_while_something_is_open_and_for_what_is_no_snapshot_of_it,
    a_roll_back_that_waits_for_a_volume_to_be_closed_says_so_and_is_done_when_asked_for_again,
    a_roll_back_that_is_cut_off_goes_on_by_itself_or_when_it_is_asked_for_again,
    a_snapshot_that_ran_full_is_spoilt_and_its_origin_is_not,
    a_snapshot_that_finds_no_room_is_not_made,
    volumes_grow_while_they_are_open_and_shrink_only_when_they_are_not,
    a_clone_is_a_volume_of_its_own,
    a_clone_that_is_cut_off_leaves_nothing_or_is_made_again,
    an_image_is_put_into_volumes_and_its_holes_take_no_room_of_a_thin_one,
    what_is_in_use_has_snapshots_or_holds_something_is_not_removed,
    a_thin_origin_stays_while_it_has_snapshots_and_goes_before_its_clones,
    a_guest_on_a_full_thin_pool_waits_and_goes_on_when_the_pool_has_grown,
    a_command_that_is_killed_leaves_a_volume_active_until_the_next_sweep,
    a_group_that_lost_a_disk_or_went_elsewhere_says_so,
)


def main() -> None:
    inside()
    Path("/etc/lvm/lvmlocal.conf").write_text(_CONF)
    volume_group()
    results = {}
    for case in [one for one in CASES if len(sys.argv) < 2 or any(word in one.__name__ for word in sys.argv[1:])]:
        begun, spent = time.monotonic(), sum(os.times()[:4])
        try:
            case()
            results[case.__name__] = ""
        except BaseException:  # noqa: BLE001 - it is told outside
            results[case.__name__] = traceback.format_exc()
        try:
            clean()
        except BaseException:  # noqa: BLE001
            results[case.__name__] += f"and cannot be cleaned: {traceback.format_exc()}"
        sys.stderr.write(f"{case.__name__} took {time.monotonic() - begun:.1f} s, {sum(os.times()[:4]) - spent:.1f} s of processor\n")
        sys.stderr.flush()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
