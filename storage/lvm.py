"""Logical volumes of LVM: linear, thin, snapshots. Activated for the first guest, deactivated after the last.

A snapshot of the old kind and its origin are up or down together. Volumes of a shared group (lvmlockd) are activated for
this host alone, as LVM does unless it is told otherwise.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from xmcompat.storage import holds, lvm_explain, lvm_read, turns
from xmcompat.storage.needs import Need
from xmcompat.storage.programs import ProgramFailed, StorageError, is_there, run
from xmcompat.storage.waiting import is_device, wait_for

#: Folders of /dev that are no volume groups.
_FOLDERS = frozenset((
    "block", "bsg", "bus", "cciss", "char", "cpu", "disk", "dma_heap", "dri", "drbd", "etherd", "fd", "hugepages", "ida",
    "infiniband", "input", "iscsi", "loop", "mapper", "md", "mqueue", "nbd", "net", "pts", "raw", "rbd", "rd", "shm", "snd",
    "usb", "vfio", "zvol",
))  # fmt: skip
_LOCK = "/run/xmcompat/lvm.lock"

_NAME = r"[A-Za-z0-9_+.][A-Za-z0-9_+.-]*"
_PATH = re.compile(rf"/dev/({_NAME})/({_NAME})")
_MAPPED = re.compile(r"/dev/mapper/((?:[A-Za-z0-9_+.]|--)+)-((?:[A-Za-z0-9_+.]|--)+)")

def need_of(path: str) -> Need | None:
    """A volume by /dev/GROUP/VOLUME or /dev/mapper/GROUP-VOLUME, with each dash of a name doubled. That the second is no
    other device of device-mapper's, ``assemble`` finds out. Never raises."""
    if found := _MAPPED.fullmatch(path):
        group, volume = found[1].replace("--", "-"), found[2].replace("--", "-")
    elif (found := _PATH.fullmatch(path)) and found[1] not in _FOLDERS:
        group, volume = found[1], found[2]
    else:
        return None
    if {group, volume} & {".", ".."} or "-" in (group[0], volume[0]):
        return None
    return Need(kind="lvm", name=f"{group}/{volume}", words={"path": path})


def is_up(need: Need) -> bool:
    """Whether the kernel has the device."""
    return bool(_mapped(need))


def assemble(need: Need, deadline: float) -> str:
    """Activate the volume, also where it is a thin snapshot that LVM skips; the device is there within DEADLINE seconds.
    Costs no program where it is up. Raises StorageError."""
    end = time.monotonic() + deadline
    path = need.words["path"]
    if is_up(need) and is_device(path):
        return ""
    with _turn():
        volume = lvm_explain.usable(need)
        if not is_up(need):
            run(["lvchange", "--yes", "--activate", "y", "--ignoreactivationskip", need.name], deadline=deadline)
        if not is_up(need):
            raise lvm_explain.kept_down(need)
    lvm_explain.refuse_broken(need, volume)
    wait_for(path, max(end - time.monotonic(), 1.0), lambda: run(["lvm", "vgmknodes", need.name]))
    return ""


def release(need: Need) -> None:
    """Deactivate the volume; silent where it is not active, is gone, or is none of LVM's, and where LVM is not installed.

    LVM is asked also where it is not active: an activation that was left behind by a process that was killed may still be
    on its way, and LVM lets it end first. Raises StorageError where something has it open, or its origin or a snapshot of
    it is held.
    """
    if not is_there("lvm") or (_mapped(need) and not _mapped(need, "LVM-")):
        return
    with _turn():
        if needed := _needed_by(need):
            raise StorageError(f"{need.name} stays active, for {needed} is held", hint="it goes after that one")
        try:
            run(["lvchange", "--yes", "--activate", "n", need.name])
        except ProgramFailed as error:
            if device := _mapped(need):
                raise lvm_explain.in_use(need, device, error) from None


def explain(need: Need, error: StorageError) -> StorageError:
    """What the failure means: a group or volume that is not there, or is hidden by a filter, what keeps it down, and what
    to type."""
    return lvm_explain.explain(need, error)


def mapped_name(name: str) -> str:
    """The name of the volume "vg0/web-1" for device-mapper: "vg0-web--1"."""
    group, _, volume = name.partition("/")
    return f"{group.replace('-', '--')}-{volume.replace('-', '--')}"


def _mapped(need: Need, uuid: str = "") -> str:
    """The kernel's name of the volume's device ("dm-3"), where its UUID begins with UUID; "" where it is not up."""
    name = mapped_name(need.name)
    for device in os.listdir("/sys/block"):
        if device.startswith("dm-") and _read(f"/sys/block/{device}/dm/name") == name:
            return device if _read(f"/sys/block/{device}/dm/uuid").startswith(uuid) else ""
    return ""


def _needed_by(need: Need) -> str:
    """The volume that goes up and down with this one and that somebody holds; "" where there is none."""
    group = need.name.partition("/")[0]
    held = {hold.need.name for hold in holds.held() if hold.need.kind == need.kind and hold.holders}
    near = {name for name in held if name.startswith(f"{group}/")} - {need.name}
    if not near:
        return ""
    volumes = lvm_read.volumes(group)
    mine = need.name.partition("/")[2]
    base = next((lv.origin for lv in volumes if lv.name == mine and lv.is_old_snapshot), mine)
    unit = {f"{group}/{lv.name}" for lv in volumes if lv.name == base or (lv.is_old_snapshot and lv.origin == base)}
    return next(iter(sorted(near & unit)), "")


@contextmanager
def _turn() -> Iterator[None]:
    """One activation or deactivation at a time: who looks whether a volume is needed is not overtaken by who needs it."""
    try:
        os.makedirs(os.path.dirname(_LOCK), mode=0o755, exist_ok=True)
        fd = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"{error.filename}: {error.strerror}") from None
    try:
        turns.take(fd, _LOCK)
        yield
    finally:
        os.close(fd)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().strip()
    except OSError:
        return ""
