"""A guest whose disk's server goes away while it writes; and takes that must fail. For the kernel of ``tests.lab.uml``."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import disk_guest
from tests.lab.storage_uml import eventually, sh
from xmcompat.storage import holds
from xmcompat.storage.needs import Need
from xmcompat.storage.programs import StorageError

#: How often the guest writes 32 KiB.
BATCHES = 300


def refusal(need: Need, deadline: float = 10.0) -> str:
    """What a take says that must fail, and leave nothing."""
    try:
        holds.take(need, "refused", deadline=deadline)
    except StorageError as error:
        assert all(hold.need != need for hold in holds.held())
        return error.line()
    raise AssertionError(f"{need.name} was taken")


def without_modules(call: Callable[[], str]) -> str:
    """What CALL returns on a kernel that finds none of its modules."""
    sh("mount", "-t", "tmpfs", "tmpfs", "/lib/modules")
    try:
        return call()
    finally:
        sh("umount", "/lib/modules")


def line_of(call: Callable[[], object]) -> str:
    """The error of CALL in a line; "" where it raises none."""
    try:
        call()
    except StorageError as error:
        return error.line()
    return ""


@contextmanager
def guest(path: str, more: str = "") -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """QEMU with the guest of ``disk_guest``, and a function for what it has said."""
    log = Path("/run/guest.log")
    log.unlink(missing_ok=True)
    process = subprocess.Popen(
        ["qemu-system-x86_64", "-accel", "tcg", "-m", "32", "-nodefaults", "-display", "none", "-serial", f"file:{log}",
         "-drive", f"file={path},if=virtio,format=raw,cache=none{more}"], stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process, lambda: log.read_text() if log.exists() else ""
    finally:
        process.kill()
        process.wait()


def stands(count: Callable[[], int]) -> bool:
    """Whether COUNT is the same a second later."""
    before = count()
    time.sleep(1)
    return count() == before


def outage(path: str, image: str, away: Callable[[], object], back: Callable[[], object]) -> dict[str, object]:
    """What becomes of a guest that writes to PATH, whose server goes AWAY in the middle and comes BACK."""
    with guest(path) as (process, said):
        dots = lambda: said().count(".")  # noqa: E731
        eventually(lambda: dots() >= 2, what="the guest writes")
        away()
        eventually(lambda: stands(dots), 20, "the guest waits")
        before = dots()
        time.sleep(0.8)
        after, runs = dots(), process.poll() is None
        back()
        process.wait(100)
        return {"waits": before == after < BATCHES and runs, "ends": said().strip()[-4:],
                "whole": disk_guest.written(image, BATCHES)}  # fmt: skip
