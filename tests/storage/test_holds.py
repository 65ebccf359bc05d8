"""Who holds what of the host's storage, and what is left when one is killed or fails in the middle of anything."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lab.nobody import Nobody
from xmcompat.storage import holds, needs
from xmcompat.storage.holds import give, give_all, held, settle, sweep, take
from xmcompat.storage.needs import Need
from xmcompat.storage.programs import StorageError

WEB1, WEB2 = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
#: What may be written down or taken away by a take or a give, as Python tells it.
CHANGES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}


class Shelf:
    """A kind of storage in a folder: a file there is a thing that is up. Each change is a step, at which it may fail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fails_at = ""
        self.steps: list[str] = []

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name == self.fails_at:
            raise StorageError(f"no {name}")

    def need_of(self, path: str) -> Need | None:
        return Need(kind="shelf", name=path) if path.startswith("/shelf/") else None

    def is_up(self, need: Need) -> bool:
        return (self.folder / need.name).exists()

    def assemble(self, need: Need, deadline: float) -> str:
        for half in ("session", "device"):
            self._step(half)
            (self.folder / f"{need.name}.{half}").touch()
        (self.folder / need.name).touch()
        return f"{self.folder}/{need.name}"

    def release(self, need: Need) -> None:
        for name in (need.name, f"{need.name}.device", f"{need.name}.session"):
            self._step("release")
            (self.folder / name).unlink(missing_ok=True)

    def explain(self, need: Need, error: StorageError) -> StorageError:
        return StorageError(f"{need.name}: {error.message}")

    def there(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path / "shelf")
    shelf.folder.mkdir()
    kind = needs.kind
    monkeypatch.setattr(holds, "kind", lambda name: shelf if name == "shelf" else kind(name))
    yield shelf


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "holds")


def test_what_was_said_of_a_need_is_remembered_until_it_is_taken_down(
    shelf: Shelf, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two guests want one target: by all ways, and by one. All ways are to be taken down after the last of them."""
    released: list[Need] = []
    wanted: list[str] = []
    assemble = shelf.assemble
    monkeypatch.setattr(shelf, "release", released.append)
    monkeypatch.setattr(
        shelf, "assemble", lambda need, deadline: wanted.append(need.words["multipath"]) or assemble(need, deadline)
    )
    one, all_ways = (Need(kind="shelf", name="lun0", words={"multipath": ways, "path": path})
                     for ways, path in (("", "/dev/a"), ("y", "")))  # fmt: skip
    for first, second in ((one, all_ways), (all_ways, one)):
        take(first, f"{WEB1}.1", folder=folder)
        take(second, f"{WEB2}.1", folder=folder)
        assert [hold.need.words for hold in held(folder)] == [{"multipath": "y", "path": "/dev/a"}]
        give(first, f"{WEB1}.1", folder=folder)
        give(second, f"{WEB2}.1", folder=folder)
        assert released.pop().words["multipath"] == "y" and not released
        assert [wanted.pop(0), wanted.pop(0)] == [first.words["multipath"], second.words["multipath"]], "each as it asks for"
        for path in shelf.folder.iterdir():
            path.unlink()


LUN = Need(kind="shelf", name="lun0", words={"portal": "store"}, secret={"password": "hush"})
UP = ["lun0", "lun0.device", "lun0.session"]


def nothing_left(shelf: Shelf, folder: str) -> bool:
    return shelf.there() == [] and held(folder) == () and (not os.path.exists(folder) or os.listdir(folder) == [])


def test_the_first_brings_it_up_and_the_last_takes_it_down(shelf: Shelf, folder: str) -> None:
    assert take(LUN, f"{WEB1}.51712", folder=folder) == f"{shelf.folder}/lun0"
    take(LUN, f"{WEB2}.51712", folder=folder)
    give(LUN, f"{WEB1}.51712", folder=folder)
    assert shelf.there() == UP
    assert [hold.holders for hold in held(folder)] == [(f"{WEB2}.51712",)]
    give(LUN, f"{WEB2}.51712", folder=folder)
    assert nothing_left(shelf, folder)


def test_two_disks_of_one_guest_are_two_holders(shelf: Shelf, folder: str) -> None:
    for number in (51712, 51728):
        take(LUN, f"{WEB1}.{number}", folder=folder)
    give_all(f"{WEB1}.51712", folder=folder)
    assert shelf.there() == UP
    give_all(WEB1, folder=folder)
    assert nothing_left(shelf, folder)


@pytest.mark.parametrize("act", [lambda folder: give_all(WEB1, folder=folder), lambda folder: sweep((), folder=folder)])
def test_what_stands_on_others_is_taken_down_first(
    shelf: Shelf, folder: str, monkeypatch: pytest.MonkeyPatch, act: Callable[[str], object]
) -> None:
    """A disk of several volumes holds them open."""
    down: list[str] = []
    monkeypatch.setattr(holds, "kind", lambda name: shelf)
    monkeypatch.setattr(shelf, "release", lambda need: down.append(need.kind))
    for kind in ("shelf", "served", "aoe", "mapped"):
        take(Need(kind=kind, name="one"), WEB1, folder=folder)
        (shelf.folder / "one").unlink()
    settle(WEB1, folder=folder)
    act(folder)
    assert down == ["mapped", "served", "aoe", "shelf"]


def test_what_was_up_before_is_left_as_it_was(shelf: Shelf, folder: str) -> None:
    for name in UP:
        (shelf.folder / name).touch()
    take(LUN, WEB1, folder=folder)
    assert not held(folder)[0].ours
    give(LUN, WEB1, folder=folder)
    assert shelf.there() == UP
    assert held(folder) == ()


def test_all_may_be_repeated(shelf: Shelf, folder: str) -> None:
    for _ in range(2):
        take(LUN, WEB1, folder=folder)
    for _ in range(2):
        give(LUN, WEB1, folder=folder)
        assert nothing_left(shelf, folder)


def test_a_secret_is_written_nowhere_and_nobody_else_reads_the_rest(shelf: Shelf, folder: str) -> None:
    take(LUN, WEB1, folder=folder)
    files = [Path(at, name) for at, _, names in os.walk(folder) for name in names]
    assert files
    assert all(b"hush" not in file.read_bytes() for file in files)
    assert {file.stat().st_mode & 0o077 for file in files} == {0}
    assert held(folder)[0].need.words == {"portal": "store"}


@pytest.mark.parametrize("step", ["session", "device"])
def test_what_cannot_come_up_leaves_nothing_and_is_explained(shelf: Shelf, folder: str, step: str) -> None:
    shelf.fails_at = step
    with pytest.raises(StorageError, match=f"lun0: no {step}"):
        take(LUN, WEB1, folder=folder)
    assert nothing_left(shelf, folder)
    shelf.fails_at = ""
    take(LUN, WEB1, folder=folder)
    assert shelf.there() == UP


def test_a_second_one_that_fails_does_not_take_it_from_the_first(shelf: Shelf, folder: str) -> None:
    take(LUN, WEB1, folder=folder)
    shelf.fails_at = "device"
    with pytest.raises(StorageError):
        take(LUN, WEB2, folder=folder)
    assert shelf.there() == UP
    assert held(folder)[0].holders == (WEB1,)


def test_what_cannot_be_taken_down_is_tried_again(shelf: Shelf, folder: str) -> None:
    take(LUN, WEB1, folder=folder)
    shelf.fails_at = "release"
    with pytest.raises(StorageError, match="no release"):
        give_all(WEB1, folder=folder)
    assert [hold.holders for hold in held(folder)] == [()]
    assert [error.message for error in sweep((), folder=folder)] == ["no release"]
    shelf.fails_at = ""
    assert sweep((), folder=folder) == ()
    assert nothing_left(shelf, folder)


def test_it_is_ours_still_for_one_who_comes_before_it_could_be_taken_down(shelf: Shelf, folder: str) -> None:
    take(LUN, WEB1, folder=folder)
    shelf.fails_at = "release"
    with pytest.raises(StorageError):
        give_all(WEB1, folder=folder)
    shelf.fails_at = ""
    take(LUN, WEB2, folder=folder)
    give_all(WEB2, folder=folder)
    assert nothing_left(shelf, folder)


# -- whose domains they are


def test_one_that_is_being_started_is_not_swept_until_it_is_settled(shelf: Shelf, folder: str) -> None:
    take(LUN, f"{WEB1}.51712", folder=folder)
    sweep((), folder=folder)
    assert shelf.there() == UP, "this process lives"
    settle(WEB1, folder=folder)
    sweep((WEB1,), folder=folder)
    assert shelf.there() == UP, "its domain lives"
    sweep((), folder=folder)
    assert nothing_left(shelf, folder)


def test_a_hypervisor_sweeps_its_own_domains_alone(shelf: Shelf, folder: str) -> None:
    take(LUN, WEB1, hypervisor="qemu:///system", folder=folder)
    take(LUN, WEB2, hypervisor="qemu+unix:///other", folder=folder)
    settle(WEB1, folder=folder)
    settle(WEB2, folder=folder)
    sweep((), hypervisor="qemu:///system", folder=folder)
    assert held(folder)[0].holders == (WEB2,)
    sweep((), hypervisor="qemu+unix:///other", folder=folder)
    assert nothing_left(shelf, folder)


def test_another_process_of_the_same_number_is_not_the_one_that_took_it(shelf: Shelf, folder: str) -> None:
    take(LUN, WEB1, folder=folder)
    (path,) = Path(folder).glob("*/for-*")
    path.write_text(f"{os.getpid()} 1\n")
    sweep((), folder=folder)
    assert nothing_left(shelf, folder)


def test_a_record_that_is_spoilt_stops_nobody(shelf: Shelf, folder: str) -> None:
    take(LUN, WEB1, folder=folder)
    (path,) = Path(folder).glob("*/record")
    for text in ("", "{}", "[1]", "\xff"):
        path.write_text(text, encoding="latin-1")
        assert held(folder) == ()
        sweep((), folder=folder)
    take(LUN, WEB1, folder=folder)
    give(LUN, WEB1, folder=folder)
    assert shelf.there() == UP, "nobody knows any more that it was brought up here"


def test_many_at_once_agree(shelf: Shelf, folder: str) -> None:
    """Processes take and give one thing at the same time; each sees it up while it has it."""
    children = []
    for number in range(6):
        if (child := os.fork()) == 0:
            status = 1
            try:
                for turn in range(25):
                    path = take(LUN, f"{WEB1}.{number}", folder=folder)
                    assert os.path.exists(path)
                    time.sleep(0.001 * ((turn * 7 + number) % 3))
                    assert os.path.exists(path)
                    give(LUN, f"{WEB1}.{number}", folder=folder)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    assert nothing_left(shelf, folder)


# -- killed, or failed, at every step


class Cut:
    """Kills this process, or raises, at the Nth change to the file system: what Python is about to do, and did not."""

    def __init__(self, at: int, act: Callable[[], None], below: str) -> None:
        self.at, self.act, self.below, self.seen = at, act, below, 0
        self.on = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[object, ...]) -> None:
        if self.on and event in CHANGES and str(args[0]).startswith(self.below):
            self.seen += 1
            if self.seen == self.at:
                self.on = False
                self.act()


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise StorageError("cut off")


def interrupt() -> None:
    raise KeyboardInterrupt


def cut_at(at: int, act: Callable[[], None], below: Path, body: Callable[[], None]) -> bool:
    """Run BODY in another process that is cut at its step AT; whether there was such a step."""
    child = os.fork()
    if child == 0:
        status = 7
        try:
            cut = Cut(at, act, str(below))
            cut.on = True
            with suppress(StorageError, KeyboardInterrupt):
                body()
            status = 0 if cut.seen >= at else 5
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) in (0, 5), status
    return os.WEXITSTATUS(status) == 0


@pytest.mark.parametrize("act", [kill, fail, interrupt])
@pytest.mark.parametrize("what", ["take", "give", "settle", "sweep"])
def test_cut_at_any_step_a_sweep_leaves_nothing(shelf: Shelf, folder: str, tmp_path: Path, act: Callable[[], None], what: str) -> None:
    bodies = {
        "take": lambda: take(LUN, f"{WEB1}.1", folder=folder) and None,
        "give": lambda: give_all(WEB1, folder=folder),
        "settle": lambda: settle(WEB1, folder=folder),
        "sweep": lambda: sweep((), folder=folder) and None,
    }
    steps = 0
    while True:
        steps += 1
        if what != "take":
            take(LUN, f"{WEB1}.1", folder=folder)
            settle(WEB1, folder=folder)
        more = cut_at(steps, act, tmp_path, bodies[what])
        settle(WEB1, folder=folder)
        sweep((), folder=folder)
        assert nothing_left(shelf, folder), (what, steps)
        if not more:
            break
    assert steps > 4


@pytest.mark.parametrize("act", [kill, fail])
def test_cut_at_any_step_the_other_guest_keeps_what_it_has(
    shelf: Shelf, folder: str, tmp_path: Path, act: Callable[[], None]
) -> None:
    take(LUN, f"{WEB2}.1", folder=folder)
    settle(WEB2, folder=folder)
    steps = 0
    while True:
        steps += 1
        more = cut_at(steps, act, tmp_path, lambda: take(LUN, f"{WEB1}.1", folder=folder) and give_all(WEB1, folder=folder))
        sweep((WEB2,), folder=folder)
        assert shelf.there() == UP, steps
        assert [hold.holders for hold in held(folder)] == [(f"{WEB2}.1",)], steps
        if not more:
            break
    give_all(WEB2, folder=folder)
    assert nothing_left(shelf, folder)
    assert steps > 8


def test_a_second_try_works_after_a_kill_at_any_step(shelf: Shelf, folder: str, tmp_path: Path) -> None:
    steps = 0
    while True:
        steps += 1
        more = cut_at(steps, kill, tmp_path, lambda: take(LUN, f"{WEB1}.1", folder=folder) and None)
        assert take(LUN, f"{WEB2}.1", folder=folder) == f"{shelf.folder}/lun0"
        sweep((WEB2,), folder=folder)
        assert [hold.holders for hold in held(folder)] == [(f"{WEB2}.1",)]
        give_all(WEB2, folder=folder)
        sweep((), folder=folder)
        assert nothing_left(shelf, folder), steps
        if not more:
            break
    assert steps > 4


def test_only_root_may(nobody: Nobody) -> None:
    code = (
        "from xmcompat.storage import holds, needs\n"
        "class Kind:\n    is_up = staticmethod(lambda need: False)\n"
        "holds.kind = lambda name: Kind\n"
        "try:\n    holds.take(needs.Need(kind='x', name='y'), 'z', folder='/usr/holds')\n"
        "except holds.StorageError as error:\n    print(error.message, error.hint, holds.held('/usr/holds'))\n"
    )
    assert nobody.python(["-c", code]) == ("/usr/holds: Permission denied only root may do that ()\n", "", 0)


# -- several processes at once


def test_the_domain_is_asked_for_after_its_process(shelf: Shelf, folder: str) -> None:
    take(LUN, WEB1, folder=folder)
    settle(WEB1, folder=folder)
    take(LUN, WEB2, folder=folder)
    asked: list[object] = []

    class Living:
        def __contains__(self, uuid: object) -> bool:
            asked.append(uuid)
            return True

    sweep(Living(), folder=folder)
    assert asked == [WEB1], "of one that is being started nobody knows yet"


def test_a_sweep_waits_for_nobody(shelf: Shelf, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may be at a target that does not answer."""
    monkeypatch.setattr(shelf, "assemble", lambda need, deadline: str(sweep((), folder=folder)))
    assert take(LUN, WEB1, folder=folder) == "()"
    assert held(folder)[0].holders == (WEB1,)


def test_a_place_that_goes_while_it_is_made_is_made_again(
    shelf: Shelf, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had it before removes it between the kernel's word that it is there and the look at it."""
    mkdir, gone = os.mkdir, []

    def late(path: str, mode: int = 0o777) -> None:
        if not gone and "/shelf-" in path:
            gone.append(path)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        mkdir(path, mode)

    monkeypatch.setattr(os, "mkdir", late)
    assert take(LUN, WEB1, folder=folder) == f"{shelf.folder}/lun0"
    assert gone and held(folder)[0].holders == (WEB1,)


def test_a_place_that_is_no_folder_is_named(shelf: Shelf, folder: str) -> None:
    take(LUN, WEB1, folder=folder)
    give(LUN, WEB1, folder=folder)
    place = holds._place(LUN, folder)
    Path(place).touch()
    with pytest.raises(StorageError, match=f"{place}: File exists"):
        take(LUN, WEB1, folder=folder)


def other_process(folder: str) -> int:
    """A process that lives, and has begun to start the domain of the one hold."""
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    (path,) = Path(folder).glob("*/for-*")
    path.write_text(f"{child} {holds._begun(child)}\n")
    return child


@pytest.mark.parametrize("act", [holds.take_back, give, lambda need, holder, folder: give_all(holder, folder=folder)])
def test_what_another_process_has_taken_for_the_same_domain_is_not_given_back(
    shelf: Shelf, folder: str, act: Callable[..., None]
) -> None:
    take(LUN, WEB1, folder=folder)
    child = other_process(folder)
    try:
        act(LUN, WEB1, folder=folder)
        assert shelf.there() == UP
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    give(LUN, WEB1, folder=folder)
    assert nothing_left(shelf, folder)


def test_what_a_domain_has_that_was_started_meanwhile_is_not_taken_back(shelf: Shelf, folder: str) -> None:
    take(LUN, WEB1, folder=folder)
    settle(WEB1, folder=folder)
    holds.take_back(LUN, WEB1, folder=folder)
    assert shelf.there() == UP
    assert holds.has(LUN, WEB1, folder=folder)


def test_what_a_domain_has_that_another_process_has_started_again_is_not_given_back(shelf: Shelf, folder: str) -> None:
    """Its end was seen here; it is asked for with the lock held, when nobody else can take or settle it."""
    take(LUN, f"{WEB1}.51712", folder=folder)
    settle(WEB1, folder=folder)
    child = os.fork()
    if child == 0:
        take(LUN, f"{WEB1}.51712", folder=folder)
        settle(WEB1, folder=folder)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    asked: list[object] = []

    class Living:
        def __contains__(self, uuid: object) -> bool:
            (lock,) = Path(folder).glob("*/lock")
            with lock.open() as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            asked.append(uuid)
            return len(asked) == 1

    living = Living()
    give_all(WEB1, lambda need: living, folder=folder)
    assert (shelf.there(), asked) == (UP, [WEB1])
    assert holds.has(LUN, f"{WEB1}.51712", folder=folder)
    give_all(WEB1, lambda need: living, folder=folder)
    assert nothing_left(shelf, folder)


def test_what_has_died_is_brought_up_again_while_it_is_held(shelf: Shelf, folder: str) -> None:
    def is_up() -> bool:
        return shelf.is_up(LUN)

    take(LUN, WEB1, folder=folder)
    assert not holds.again(LUN, is_up, folder=folder)
    (shelf.folder / "lun0").unlink()
    assert holds.again(LUN, is_up, folder=folder)
    assert shelf.there() == UP
    give(LUN, WEB1, folder=folder)
    assert not holds.again(LUN, is_up, folder=folder)
    assert nothing_left(shelf, folder)
