"""Why a logical volume does not come up, or stays: who keeps it, what hides it, and what to type."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence

from xmcompat.storage import lvm_read
from xmcompat.storage.lvm_read import Lv
from xmcompat.storage.needs import Need
from xmcompat.storage.programs import ProgramFailed, StorageError, is_there, package_hint, run

#: Its files lvm.conf and lvmlocal.conf count alike.
_CONF = "/etc/lvm"
_ALL = '["a|.*|"]'

#: What can hide a disk from LVM, and the setting that lifts it.
_VEILS = {
    "the devices file": "use_devicesfile=0",
    "devices/global_filter": f"global_filter={_ALL}",
    "devices/filter": f"filter={_ALL}",
}

_BAD_POOL = re.compile(r"Check of pool (\S+) failed")

#: What LVM says, what that means, and what to do. {name} is the volume's, {group} its group's.
_SAYINGS = (
    (" is exported", "the volume group {group} is exported", "run 'vgimport {group}', once no other host has it"),
    (" with system ID ", "the volume group {group} belongs to another host",
     "once that host uses it no longer, 'vgchange --systemid NAME {group}' there gives it over to the host NAME"),
    ("lustered", "the volume group {group} is of a cluster, by clvmd",
     "make it one of lvmlockd's, or of this host's alone: 'vgchange -cn {group}'"),
    ("locked by other host", "{name} is active on another host", "end the guest there, or deactivate it there"),
    (" lock ", "lvmlockd does not grant the lock of {group}", "is lvmlockd running? then 'vgchange --lockstart {group}'"),
    ("duplicate devices", "disks of the volume group {group} are seen twice, by several paths",
     "let LVM see the multipath device alone: devices/global_filter in " + _CONF),
)  # fmt: skip


def usable(need: Need) -> Lv:
    """What LVM says of the volume. Raises StorageError for what no guest can have, and where it is not to be seen.

    Asked of what is to be activated alone: of a volume that is up, also one that is half made and that the host has
    activated when it started, nothing is asked, for that would cost each start a program.
    """
    if not is_there("lvm"):
        why = f"{need.words['path']} is not there, and could be a volume of LVM alone"
        raise StorageError(why, hint=package_hint("lvm"))
    lv = lvm_read.volumes(need.name)[0]
    what = (
        f"a {' '.join(sorted(lv.layout - {'pool', 'sparse'}))} pool" if "pool" in lv.layout
        else "a snapshot that is being merged into its origin" if lv.is_old_snapshot and lv.merging
        else "" if lv.is_for_guests else "a part of another volume"
    )  # fmt: skip
    if what:
        raise StorageError(f"{need.words['path']}: {need.name} is {what}, and no disk", hint="give a volume")
    if lvm_read.HALF_MADE in lv.tags and "half_made" not in need.words:
        why = f"{need.words['path']}: {need.name} is half made: the copy into it was cut off, or is going on"
        raise StorageError(why, hint="wait for it, or make it again")
    return lv


def explain(need: Need, error: StorageError) -> StorageError:
    """The failure of an activation in words for who starts a guest. ERROR itself where nothing is known of it."""
    failed = error if isinstance(error, ProgramFailed) else error.__cause__
    if not isinstance(failed, ProgramFailed):
        return error
    group = need.name.partition("/")[0]
    path, complaint = need.words["path"], failed.complaint
    if "Permission denied" in complaint or "non-root" in complaint:
        return StorageError(f"{path}: volumes of LVM cannot be looked at", hint="only root may do that")
    if f'olume group "{group}" not found' in complaint:
        return _no_group(need, path)
    if "Failed to find logical volume" in complaint:
        return _no_volume(need, path)
    if found := _BAD_POOL.search(complaint):
        return _bad_pool(path, found[1])
    if "artial" in complaint or "missing" in complaint:
        why = f"disks of the volume group {group} are missing{_missing(group)}"
        return StorageError(f"{path}: {why}", hint="'pvs' shows which are there")
    for said, meaning, advice in _SAYINGS:
        if said in complaint:
            words = {"name": need.name, "group": group}
            return StorageError(f"{path}: {meaning.format(**words)}", hint=advice.format(**words))
    return StorageError(f"{path}: LVM says: {lvm_read.reason(failed)}", hint=failed.hint)


def kept_down(need: Need) -> StorageError:
    """LVM has said nothing, and the volume is not up."""
    volume_list = _setting("activation/volume_list")
    if volume_list:
        why = f"activation/{volume_list} in {_CONF} does not let {need.name} up"
        return StorageError(f"{need.words['path']}: {why}", hint=f'add "{need.name}" to that list')
    return StorageError(f"{need.words['path']}: LVM did not activate {need.name}, and says no reason")


def refuse_broken(need: Need, lv: Lv) -> None:
    """Raises for what can be activated and is of no use: a snapshot that has overflowed, a thin pool that has failed.

    LV is as it was before: what has become of it, LVM tells of what is active alone.
    """
    if lv.is_old_snapshot and lvm_read.volumes(need.name)[0].invalid:
        raise StorageError(
            f"{need.words['path']}: the snapshot {need.name} is invalid, for its space has run out",
            hint="nothing brings it back; remove it, and give the next one more space",
        )
    if lv.is_thin:
        pool = lvm_read.volumes(f"{lv.group}/{lv.pool}")[0]
        if pool.health == "failed" or pool.check_needed:
            raise _bad_pool(need.words["path"], f"{pool.group}/{pool.name}")


def _bad_pool(path: str, pool: str) -> StorageError:
    return StorageError(
        f"{path}: the metadata of the thin pool {pool} needs a repair",
        hint=f"deactivate its volumes, then run 'lvconvert --repair {pool}'",
    )


def in_use(need: Need, device: str, error: ProgramFailed) -> StorageError:
    """A volume that cannot be deactivated. DEVICE is the kernel's name of it."""
    try:
        above = sorted(os.listdir(f"/sys/block/{device}/holders"))
    except OSError:
        above = []
    if above:
        names = ", ".join(_mapper_name(name) for name in above)
        why = f"{names} of this host lies on it"
        return StorageError(f"{need.name} stays active: {why}", hint=f"'lsblk /dev/{device}' shows it")
    if "in use" in error.complaint:
        return StorageError(f"{need.name} stays active: something has it open", hint=f"'fuser -v /dev/{device}' shows what")
    return StorageError(f"{need.name} stays active: {error.said}", hint=error.hint)


def _no_volume(need: Need, path: str) -> StorageError:
    group, _, name = need.name.partition("/")
    names = [lv.name for lv in lvm_read.volumes(group) if lv.is_for_guests]
    return StorageError(f"{path}: the volume group {group} has no volume '{name}'", hint=_there(name, names))


def _no_group(need: Need, path: str) -> StorageError:
    group = need.name.partition("/")[0]
    disks = _disks(group, *_VEILS.values())
    if not disks:
        other = ", and no other device has that name" if path.startswith("/dev/mapper/") else ""
        names = [found.name for found in lvm_read.groups()]
        return StorageError(f"{path}: there is no volume group '{group}'{other}", hint=_there(group, names))
    shown = ", ".join(disks)
    veil = next((veil for veil, lifted in _VEILS.items() if _disks(group, lifted)), "")
    if veil == "the devices file":
        adds = "; ".join(f"'lvmdevices --adddev {disk}'" for disk in disks)
        hint = f"run {adds}" if is_there("lvmdevices") else f"use_devicesfile = 0 in {_CONF} lifts it"
        return StorageError(f"{path}: the devices file of LVM hides {shown}, with the volume group {group}", hint=hint)
    if veil:
        why = f"{_setting(veil) or veil} in {_CONF} hides {shown}, with the volume group {group}"
        return StorageError(f"{path}: {why}", hint=f"let {shown} through there")
    return StorageError(
        f"{path}: the filters and the devices file of LVM hide {shown}, with the volume group {group}",
        hint=f"let {shown} through in {_CONF}; 'lvmconfig devices' shows what is set",
    )


def _disks(group: str, *lifted: str) -> tuple[str, ...]:
    """The disks of GROUP that LVM sees with these settings."""
    config = f"devices {{ {' '.join(lifted)} }}"
    try:
        report = run(["pvs", "--config", config, "--reportformat", "json", "-o", "pv_name,vg_name"])
        return tuple(row["pv_name"] for row in json.loads(report)["report"][0]["pv"] if row["vg_name"] == group)
    except StorageError:
        return ()


def _there(wanted: str, names: Sequence[str]) -> str:
    """A hint that names what resembles the wanted, or else what is there."""
    import difflib

    if near := difflib.get_close_matches(wanted, names, 3):
        return f"did you mean {' or '.join(near)}?"
    shown = f"{', '.join(sorted(names)[:8])}{' ...' if len(names) > 8 else ''}"
    return f"there are {shown}" if names else "there is none at all"


def _missing(group: str) -> str:
    try:
        report = run(["pvs", "--reportformat", "json", "-o", "pv_uuid,vg_name,pv_missing", "--select", f"vg_name={group}"])
        rows = [row for row in json.loads(report)["report"][0]["pv"] if row["pv_missing"]]
    except StorageError:
        return ""
    return f": {', '.join(row['pv_uuid'] for row in rows)}" if rows else ""


def _setting(name: str) -> str:
    """The setting as lvm.conf writes it, "" where it is not set."""
    try:
        return run(["lvmconfig", name]).strip()
    except StorageError:
        return ""


def _mapper_name(device: str) -> str:
    try:
        with open(f"/sys/block/{device}/dm/name", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return device
