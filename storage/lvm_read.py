"""What LVM says of its volume groups and logical volumes, as values. Nothing is changed.

Source: lvs(8), vgs(8), lvmreport(7), LVM 2.03. Fields of segments are not asked for: they give a row for each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from xmcompat.storage.programs import ProgramFailed, StorageError, is_there, run

#: Seconds that LVM may take, which waits for its own locks and for slow disks.
DEADLINE = 120.0

#: The tag of a volume that is being filled by a copy: what bears it is not whole.
HALF_MADE = "xmcompat.half_made"

_FORM = ("--reportformat", "json", "--units", "b", "--nosuffix")
_GROUP = ("vg_name", "vg_size", "vg_free", "vg_extent_size", "vg_exported", "vg_partial", "vg_systemid", "vg_permissions")
_VOLUME = (
    "vg_name", "lv_name", "lv_uuid", "lv_size", "origin_size", "lv_role", "lv_layout", "origin", "pool_lv", "data_percent",
    "metadata_percent", "lv_active", "lv_device_open", "lv_permissions", "lv_merging", "lv_snapshot_invalid",
    "lv_health_status", "lv_when_full", "lv_check_needed", "lv_skip_activation", "lv_tags", "lv_attr",
    "vg_extent_size",
)  # fmt: skip


class Group(NamedTuple):
    """A volume group; sizes in bytes. ``owner`` is the system ID of the host that it belongs to, "" for any."""

    name: str
    size: int
    free: int
    extent: int
    exported: bool = False
    partial: bool = False
    owner: str = ""
    writable: bool = True


class Lv(NamedTuple):
    """A logical volume. ``size`` is what it takes of the group (a thin one takes nothing), in bytes; a snapshot of the old
    kind shows the ``origin_size`` to who reads it. ``data`` and ``metadata`` are percentages, None while it is not active.

    ``extent`` is the unit of sizes in its group. ``zeroing``: what a thin pool gives out reads as zeros where nothing was
    written. ``kept``: it is left out when volumes are activated, as thin snapshots are.
    """

    group: str
    name: str
    uuid: str
    size: int
    origin_size: int = 0
    roles: frozenset[str] = frozenset()
    layout: frozenset[str] = frozenset()
    origin: str = ""
    pool: str = ""
    data: float | None = None
    metadata: float | None = None
    active: bool = False
    open: bool = False
    writable: bool = True
    merging: bool = False
    invalid: bool = False
    health: str = ""
    when_full: str = ""
    check_needed: bool = False
    zeroing: bool = False
    kept: bool = False
    tags: frozenset[str] = frozenset()
    extent: int = 1

    @property
    def path(self) -> str:
        return f"/dev/{self.group}/{self.name}"

    @property
    def full_name(self) -> str:
        """How LVM's programs call it: "vg0/web1"."""
        return f"{self.group}/{self.name}"

    @property
    def is_thin_pool(self) -> bool:
        return {"thin", "pool"} <= self.layout

    @property
    def is_thin(self) -> bool:
        return "thin" in self.layout and not self.is_thin_pool

    @property
    def is_old_snapshot(self) -> bool:
        """With room of its own for the differences from its origin, which can run full."""
        return "thicksnapshot" in self.roles

    @property
    def is_for_guests(self) -> bool:
        """False for what LVM made for itself."""
        return "public" in self.roles


def groups() -> tuple[Group, ...]:
    """All volume groups that this host sees, also those of other hosts; none where LVM is not installed."""
    if not is_there("lvm"):
        return ()
    rows = _report(["vgs", *_FORM, "--foreign", "-o", ",".join(_GROUP)], "vg")
    return tuple(_group(row) for row in rows)


def volumes(*names: str) -> tuple[Lv, ...]:
    """The logical volumes of the groups NAMES, hidden ones included; a name may be "vg0/web1".

    Raises StorageError for a name that is none, or a group that is exported or another host's.
    """
    if not names or not is_there("lvm"):
        return ()
    rows = _report(["lvs", "-a", *_FORM, "-o", ",".join(_VOLUME), *names], "lv")
    return tuple({row["lv_uuid"]: _volume(row) for row in rows}.values())


def volume(group: str, name: str) -> Lv | None:
    """One logical volume, None where there is no such group, or none of that name in it."""
    try:
        found = volumes(group)
    except StorageError as error:
        if isinstance(error.__cause__, ProgramFailed) and f'Volume group "{group}" not found' in error.__cause__.complaint:
            return None
        raise
    return next((lv for lv in found if lv.name == name), None)


def autoextend() -> tuple[int, int]:
    """From how many percent on dmeventd makes a thin pool larger, and by how many; from 100 on it never does."""
    names = ("activation/thin_pool_autoextend_threshold", "activation/thin_pool_autoextend_percent")
    said = run(["lvmconfig", "--typeconfig", "full", *names], deadline=DEADLINE)
    values = dict(line.strip().partition("=")[::2] for line in said.splitlines())
    threshold, percent = (values.get(name.partition("/")[2], "") for name in names)
    return int(threshold) if threshold.isdecimal() else 100, int(percent) if percent.isdecimal() else 0


def lvm(words: Sequence[str], *, doing: str) -> str:
    """What a program of LVM's prints. Raises StorageError, which begins with what it was DOING ("cannot make vg0/web1")."""
    try:
        return run(words, deadline=DEADLINE)
    except ProgramFailed as error:
        raise StorageError(f"{doing}: {reason(error)}", hint=error.hint or _hint(error.complaint)) from error
    except StorageError as error:
        raise StorageError(f"{doing}: {error.message}", hint=error.hint) from None


def reason(error: ProgramFailed) -> str:
    """What LVM says is wrong, without its warnings, advice and numbers of rounding."""
    lines = [line.strip() for line in error.complaint.splitlines() if line.strip()]
    aside = ("WARNING:", "Run `", "File descriptor", "Rounding ", "Size of ")
    told = [line for line in lines if not line.startswith(aside)]
    return (told or lines or [f"status {error.status}"])[0].rstrip(".")


def _hint(complaint: str) -> str | None:
    if "Permission denied" in complaint or "non-root" in complaint:
        return "only root may do that"
    if "is exported" in complaint:
        return "vgimport takes it in, if no other host uses it"
    if "system ID" in complaint:
        return "another host has it; vgchange --systemid there gives it over"
    return None


def _report(words: Sequence[str], part: str) -> Iterable[Mapping[str, str]]:
    said = lvm(words, doing="LVM does not answer" if part == "vg" else f"cannot read {words[-1]}")
    try:
        return [row for report in json.loads(said)["report"] for row in report[part]]
    except (ValueError, KeyError, TypeError):
        raise StorageError(f"{words[0]} gives a report that is none", hint="is LVM 2.02.158 or newer installed?") from None


def _group(row: Mapping[str, str]) -> Group:
    return Group(
        name=row["vg_name"], size=_count(row["vg_size"]), free=_count(row["vg_free"]), extent=_count(row["vg_extent_size"]),
        exported=bool(row["vg_exported"]), partial=bool(row["vg_partial"]), owner=row["vg_systemid"],
        writable=row["vg_permissions"] != "read-only",
    )  # fmt: skip


def _volume(row: Mapping[str, str]) -> Lv:
    return Lv(
        group=row["vg_name"], name=row["lv_name"].strip("[]"), uuid=row["lv_uuid"], size=_count(row["lv_size"]),
        origin_size=_count(row["origin_size"]), roles=_words(row["lv_role"]), layout=_words(row["lv_layout"]),
        origin=row["origin"].strip("[]"), pool=row["pool_lv"].strip("[]"), data=_share(row["data_percent"]),
        metadata=_share(row["metadata_percent"]), active=_is(row["lv_active"]), open=_is(row["lv_device_open"]),
        writable=not row["lv_permissions"].startswith("read-only"), merging=_is(row["lv_merging"]),
        invalid=_is(row["lv_snapshot_invalid"]), health=row["lv_health_status"], when_full=row["lv_when_full"],
        check_needed=_is(row["lv_check_needed"]), zeroing=row["lv_attr"][7:8] == "z",
        kept=_is(row["lv_skip_activation"]), tags=_words(row["lv_tags"]),
        extent=_count(row["vg_extent_size"]),
    )  # fmt: skip


def _is(text: str) -> bool:
    """LVM writes a word where something is so, nothing where it is not, and "unknown" where it cannot tell."""
    return text not in ("", "unknown")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split(",")) - {""}


def _count(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _share(text: str) -> float | None:
    return float(text) if text else None
