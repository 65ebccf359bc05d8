"""The disks of a saved guest: what they were when its memory was written, so that the two are never of different moments.

A guest that goes on from its memory believes that its disks hold what it knows of them, and damages their file systems
where they do not. The file of ``xm save`` therefore says what its disks were like; ``restore`` refuses where they were
written since. Beside the file of a checkpoint lie copies of the disks, which can be put back.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from xmcompat import composites
from xmcompat.backends.devices import BlockSource, Disk, DiskDevice, FileSource
from xmcompat.config import sxp
from xmcompat.errors import DeviceError, OperationError, XmError
from xmcompat.migration import disk_stamps
from xmcompat.vdev import split_vdev

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xmcompat.backends.machine import Machine

#: The capabilities of what writes disks, whoever owns their files.
_WRITER = ("dac_override", "dac_read_search")
#: For qemu-img, which does not wait for the disk unless it is told to: the guest believes that all of it is there.
_ONTO_DISK = ("-t", "writeback")
#: Between the name of a file and what makes the name of its folder its own.
_MARK = ".disks-"
_PLACE = re.compile(r"[0-9]{1,18}\+[0-9]{1,18}")


class SavedDisk(NamedTuple):
    """One that the guest may write. ``vdev`` as the guest's configuration names it, ``path`` "" for one that QEMU itself
    fetches. ``stamp`` as in ``disk_stamps``; ``copy`` is the name of its copy in the folder, "" where there is none.
    ``place``: of a volume that is a part of that copy, "START+LENGTH" in bytes."""

    vdev: str
    path: str
    stamp: str = ""
    copy: str = ""
    place: str = ""


class SavedDisks(NamedTuple):
    """Those of one file. ``folder`` lies beside it, "" where nothing was copied. ``checkpoint``: the guest ran on.
    ``running``: whether it ran, None where the image itself tells."""

    disks: tuple[SavedDisk, ...] = ()
    folder: str = ""
    checkpoint: bool = False
    running: bool | None = None


# -- as text


def written(saved: SavedDisks) -> str:
    """SXP forms for the file's header."""
    forms: list[object] = [["checkpoint", 1]] if saved.checkpoint else []
    if saved.running is not None:
        forms.append(["running", int(saved.running)])
    if saved.folder:
        forms.append(["folder", saved.folder])
    for disk in saved.disks:
        forms.append(["disk", *([name, value] for name, value in disk._asdict().items() if value)])
    return " ".join(map(sxp.write, forms))


def read(forms: str) -> SavedDisks:
    """What ``written`` has written; nothing of what cannot be read, or would lead out of the folder."""
    try:
        tree: sxp.Tree = ["image_file", *sxp.parse(forms)]
    except XmError:
        return SavedDisks()
    disks = tuple(
        SavedDisk(*(str(sxp.value(form, name, "")) for name in SavedDisk._fields)) for form in sxp.children(tree, "disk")
    )
    running = sxp.value(tree, "running")
    return SavedDisks(
        tuple(disk._replace(copy=_name(disk.copy), place=_place(disk.place)) for disk in disks),
        _name(str(sxp.value(tree, "folder", ""))), sxp.value(tree, "checkpoint") == "1",
        None if running is None else running == "1",
    )  # fmt: skip


def _name(text: str) -> str:
    return text if text not in (".", "..") and "/" not in text and "\0" not in text else ""


def _place(text: str) -> str:
    return text if _PLACE.fullmatch(text) else ""


# -- looked at


def seen(machine: Machine, copies: Mapping[str, str] | None = None) -> tuple[SavedDisk, ...]:
    """The disks of MACHINE, read from its XML, that it alone may write, as they are now. COPIES (names, by target in the
    machine) are made of them."""
    found = []
    for disk in _disks(machine):
        copy = (copies or {}).get(disk.target, "")
        if not disk.members and _is_its_own(disk):
            found.append(_seen(disk, copy))
        own = [one for one in disk.members if _is_its_own(one)]
        places = _places(machine, disk) if own and copy else {}
        found += [_seen(one, copy if one.vdev in places else "", places.get(one.vdev, "")) for one in own]
    return tuple(found)


def _seen(disk: Disk, copy: str, place: str = "") -> SavedDisk:
    path = _path(disk)
    return SavedDisk(disk.vdev or disk.target, path, disk_stamps.stamp(path) if path else "", copy if path else "", place)


def _disks(machine: Machine) -> tuple[Disk, ...]:
    return composites.disks_of(machine, composites.guest_in(machine)) if machine.disks else ()


def _is_its_own(disk: Disk) -> bool:
    return disk.device is DiskDevice.DISK and disk.source is not None and not disk.readonly and not disk.shareable


def _path(disk: Disk) -> str:
    return disk.source.path if isinstance(disk.source, FileSource | BlockSource) else ""


def is_disk(machine: Machine, path: str) -> bool:
    """Whether the file at PATH is one that MACHINE has as a disk."""
    with suppress(OSError):
        found = os.stat(path)
        for one in (one for disk in _disks(machine) for one in disk.members or (disk,)):
            with suppress(OSError):
                if _path(one) and os.path.samestat(os.stat(_path(one)), found):
                    return True
    return False


def _places(machine: Machine, disk: Disk) -> dict[str, str]:
    """Where the volumes of DISK lie in it, by their vdevs."""
    from xmcompat.storage.partitions import Volume, layout
    from xmcompat.storage.served import parts_of

    parts = parts_of(composites.need_of(disk, machine.name, composites.sizes_in(machine)))
    try:
        made = layout([Volume(part.number, part.size) for part in parts], "")
    except DeviceError:
        return {}
    vdevs = {split_vdev(one.vdev)[2]: one.vdev for one in disk.members}
    return {vdevs[slot.number]: f"{slot.start}+{slot.length}" for slot in made.slots if slot.number in vdevs}


def copied(machine: Machine) -> dict[str, str]:
    """The disks of MACHINE of which copies can be made and put back: the vdev of each, by its target in the machine."""
    return {
        disk.target: disk.vdev or disk.target for disk in _disks(machine)
        if any(_is_its_own(one) and _path(one) for one in disk.members or (disk,))
    }  # fmt: skip


def moved_on(saved: SavedDisks) -> list[SavedDisk]:
    """Those that were written since; of a checkpoint, whose guest ran on, also those of which nobody can tell."""
    found = []
    for disk in saved.disks:
        moved = disk_stamps.moved_on(disk.stamp, disk_stamps.stamp(disk.path) if disk.path else "")
        if moved or (moved is None and saved.checkpoint):
            found.append(disk)
    return found


def refuse_moved_on(saved: SavedDisks, name: str, path: str, *, uncopied: bool = False) -> None:
    """Raise OperationError where the disks of the guest NAME are not what they were when PATH was written; with UNCOPIED
    only those count that cannot be put back."""
    _refuse([disk for disk in moved_on(saved) if not (uncopied and disk.copy)], name, path)


def refuse_written_after(machine: Machine, path: str) -> None:
    """The same for the image of MACHINE at PATH that says nothing of its disks: one that libvirt has saved by itself, or
    whose xm was killed. The guest had written its last when that was whole. Raises OSError as well."""
    whole = os.stat(path).st_mtime_ns
    _refuse([disk for disk in seen(machine) if disk_stamps.written_after(disk.stamp, whole)], machine.name, path)


def _refuse(moved: Sequence[SavedDisk], name: str, path: str) -> None:
    if not moved:
        return
    told = ", ".join(f"{disk.vdev} ({disk.path})" if disk.path else disk.vdev for disk in moved)
    force = f"'xm restore --force {path}' starts it all the same"
    if all(disk.copy for disk in moved):
        hint = f"'xm restore --disks {path}' puts them back as they were, and what was written since is lost; {force}"
    else:
        hint = f"put them back as they were then; {force}"
    raise OperationError(
        f"Restore failed: the disks of '{name}' have been written since {path} was saved: {told}; going on from its memory "
        "would damage what is on them", hint=hint,
    )  # fmt: skip


# -- the folder of copies


def new_folder(path: str, vdevs: Sequence[str]) -> tuple[str, list[str]]:
    """Make a folder beside PATH for copies of VDEVS: its path, and theirs. QEMU opens them: it may pass through, and nobody
    may read. Raises OSError."""
    folder = f"{path}{_MARK}{os.urandom(4).hex()}"
    os.mkdir(folder, 0o711)
    return folder, [os.path.join(folder, f"{vdev.replace('/', '-')}.qcow2") for vdev in vdevs]


def remove_folder(folder: str) -> None:
    """With all in it, if its name is that of such a folder; silent for what may not be removed."""
    if _MARK not in os.path.basename(folder):
        return
    try:
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
    except OSError:
        return


def folder_of(saved: SavedDisks, path: str) -> str:
    """Where the copies of the file at PATH lie, "" where it has none."""
    return os.path.join(os.path.dirname(os.path.realpath(path)), saved.folder) if saved.folder else ""


def put_back(saved: SavedDisks, path: str, disks: Sequence[Disk]) -> None:
    """Write the copies of the file at PATH onto DISKS, which are free. Raises OperationError; a disk whose writing has
    begun by then is neither what it was nor what it is to be, until this has succeeded once."""
    from xmcompat.storage.image_programs import Confinement, run

    folder = folder_of(saved, path)
    copies = [(os.path.join(folder, disk.copy), disk) for disk in saved.disks if disk.copy]
    missing = [copy for copy, _ in copies if not os.path.isfile(copy)]
    if not copies or missing:
        what = f"{missing[0]} is not there" if missing else f"{path} has no copies of its disks"
        raise OperationError(f"Restore failed: the disks cannot be put back: {what}")
    wanted = [(_target(disk, disks), copy, disk) for copy, disk in copies]
    for copy in dict.fromkeys(copy for copy, _ in copies):
        _refuse_led_away(copy)
    with _alone([_path(target) for target, _, _ in wanted]):
        for target, copy, disk in wanted:
            try:
                run(_writing(copy, disk, target), confined=Confinement(capabilities=_WRITER))
            except (XmError, OSError) as error:
                told = error.line() if isinstance(error, XmError) else error.strerror
                raise OperationError(
                    f"Restore failed: the disk {disk.vdev} ({_path(target)}) is not put back: {told}",
                    hint=f"mend that, and call 'xm restore --disks {path}' again before anybody uses the disk",
                ) from None


@contextmanager
def _alone(paths: Sequence[str]) -> Iterator[None]:
    """Nobody else fills those of PATHS that are devices, nor starts a guest on them, while the body runs. Files QEMU's
    programs lock by themselves. Raises OperationError."""
    from xmcompat.storage import device_locks

    with ExitStack() as stack:
        for path in dict.fromkeys(paths):
            try:
                if stat.S_ISBLK(os.stat(path).st_mode):
                    stack.enter_context(device_locks.taken(path))
            except (XmError, OSError) as error:
                told = error.line() if isinstance(error, XmError) else f"{path}: {error.strerror}"
                raise OperationError(f"Restore failed: the disks cannot be put back: {told}") from None
        yield


def _target(disk: SavedDisk, disks: Sequence[Disk]) -> Disk:
    """That of DISKS onto which DISK is put back. Raises OperationError."""
    target = _named(disk.vdev, disks)
    if target is None or not _path(target):
        raise OperationError(f"Restore failed: the disk {disk.vdev} cannot be put back: the guest has no such disk")
    return target


def _refuse_led_away(copy: str) -> None:
    """Raise OperationError where COPY, which the guest's own QEMU has written, is no image by itself: with what lies below
    it, files of the host would be written onto the guest's disk."""
    from xmcompat.storage.image_source import opened

    try:
        with opened(copy, format="qcow2"):
            return
    except XmError as error:
        raise OperationError(f"Restore failed: the disks cannot be put back: {error.line()}") from None


def _writing(copy: str, disk: SavedDisk, target: Disk) -> list[str]:
    """The command that writes COPY onto TARGET; or, of a disk that several volumes are, the part of it that TARGET is. That
    is locked already, for this very guest."""
    path = _path(target)
    if not disk.place:
        return ["qemu-img", "convert", "-n", *_ONTO_DISK, "-f", "qcow2", "-O", target.driver, copy, path]
    start, _, length = disk.place.partition("+")
    below = f"file.driver=qcow2,file.file.driver=file,file.file.filename={_word(copy)}"
    source = f"driver=raw,offset={start},size={length},{below}"
    driver = "host_device" if stat.S_ISBLK(os.stat(path).st_mode) else "file"
    onto = f"driver=raw,file.driver={driver},file.filename={_word(path)},file.locking=off"
    return ["qemu-img", "convert", "-n", *_ONTO_DISK, "--image-opts", "--target-image-opts", source, onto]


def _word(path: str) -> str:
    """PATH as a value among others."""
    return path.replace(",", ",,")


def _named(vdev: str, disks: Sequence[Disk]) -> Disk | None:
    flat = (one for disk in disks for one in disk.members or (disk,))
    return next((disk for disk in flat if (disk.vdev or disk.target) == vdev), None)
