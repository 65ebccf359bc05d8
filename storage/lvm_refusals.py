"""What LVM will not do, or must not be asked to do, with what to do instead."""

from __future__ import annotations

import re

from xmcompat.storage import lvm_read
from xmcompat.storage.lvm_read import Lv
from xmcompat.storage.lvm_volume import size_text
from xmcompat.storage.programs import ProgramFailed, StorageError
from xmcompat.storage.volume import Pool, Volume

_NAME = re.compile(r"[A-Za-z0-9_+.][A-Za-z0-9_+.-]*")
_SIGNATURE = re.compile(r"WARNING: (.+) signature detected")


def refuse_name(name: str) -> None:
    """Raises StorageError for what is no name to LVM. Reserved ones ("snapshot1", "web_tdata") it tells itself."""
    if not _NAME.fullmatch(name) or name in (".", "..") or len(name) > 127:
        raise StorageError(
            f"'{name}' is no name for a logical volume", hint="use letters, digits and '+_.-', with no '-' at the beginning"
        )


def refuse_open(lv: Lv, hint: str = "shut the guest down, or unmount it, first") -> None:
    """Raises StorageError where something has the device open."""
    if lv.open:
        raise StorageError(f"{lv.full_name} is in use: its device is open", hint=hint)


def only_thin_pool(group: str) -> str:
    """The name of the one thin pool of GROUP."""
    names = [lv.name for lv in lvm_read.volumes(group) if lv.is_thin_pool]
    if not names:
        raise StorageError(
            f"{group} has no thin pool", hint=f"make one: lvcreate --type thin-pool -L SIZE -n thin {group}"
        )
    if len(names) > 1:
        hint = f"name the volume in one: {group}/{min(names)}/NAME"
        raise StorageError(f"{group} has the thin pools {', '.join(sorted(names))}", hint=hint)
    return names[0]


def explained(error: StorageError, group: str, thin: str = "") -> StorageError:
    """A failure of lvcreate or lvextend in words for who wants room in GROUP, or in its thin pool THIN."""
    complaint = error.__cause__.complaint if isinstance(error.__cause__, ProgramFailed) else ""
    begun = error.message.partition(":")[0]
    if found := _SIGNATURE.search(complaint):
        return StorageError(
            f"{begun}: the room that LVM gives it begins with an old {found[1]}, left by a volume that was removed",
            hint="--force wipes that",
        )
    if "nsufficient free space" in complaint or "nsufficient suitable" in complaint:
        free = next((one.free for one in lvm_read.groups() if one.name == group), 0)
        return StorageError(
            f"{begun}: {group} has {size_text(free)} free, which is not enough",
            hint=f"choose a smaller size, or add a disk: vgextend {group} /dev/DISK",
        )
    if thin and ("free space in thin pool" in complaint or "out of data space" in complaint):
        return StorageError(f"{begun}: the thin pool {group}/{thin} is full", hint=f"lvextend -L +SIZE {group}/{thin}")
    if thin and "metadata space" in complaint:
        return StorageError(
            f"{begun}: the thin pool {group}/{thin} has no room for metadata left",
            hint=f"lvextend --poolmetadatasize +SIZE {group}/{thin}",
        )
    return error


def gone(volume: Volume | Pool) -> StorageError:
    """It is there no more, or another one has its name, since it was looked up."""
    name = volume.full_name if isinstance(volume, Volume) else volume.name
    return StorageError(f"{name} is not there any more", hint="another command changed it; look again")
