"""Changes a guest's files in its image: host name, fstab, console, keys, root's password. All of it, or nothing.

Nothing is mounted. What was there before is kept in a file beside the image until the file system has been checked, and
put back where anything fails, Ctrl-C too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from xmcompat.storage import image_guest as guest
from xmcompat.storage.image_copy import read_at, size_of
from xmcompat.storage.image_device import held
from xmcompat.storage.image_ext import Change, Ext, MakeFolder, MakeLink, Put, apply, check, superblock, take_back
from xmcompat.storage.image_programs import ImageError, require
from xmcompat.storage.image_source import opened
from xmcompat.storage.image_table import SECTOR, read_table
from xmcompat.storage.image_view import View, viewed


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """What is to change; None and False leave it. ``keys`` are lines of public keys, for root."""

    hostname: str | None = None
    xvda_to_vda: bool = False
    console: str | None = None
    keys: tuple[str, ...] = ()
    lock_root: bool = False


def edit(
    path: str, edits: Edits, *, partition: int | None = None, format: str | None = None, backing_ok: bool = False
) -> list[str]:
    """Make EDITS in the image at PATH; returns the paths within it that changed, none where all is so already.

    PARTITION None: the one that has /etc. Raises ImageInUse for an image of a running guest, ImageError for a file system
    that is not of the ext family, whose journal is to be replayed first, or that has errors.
    """
    require("debugfs")
    with opened(path, format=format, backing_ok=backing_ok, flags=os.O_RDWR) as source:
        raw = source.header.format == "raw"
        with held(path, source.fd) if raw else _nothing(), viewed(source, writable=True) as view:
            ext = root_of(view, path, partition)
            changes = wanted_changes(ext, edits)
            if changes:
                _change(path, ext, changes)
            return [one.path for one in changes]


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def offsets(view: View, partition: int | None = None) -> list[int]:
    """Where the file systems of a disk begin, in bytes; 0 alone where it has no table. Raises ImageError."""
    table = read_table(read_at(view.fd), size_of(view.fd))
    if table is None:
        return [0]
    found = [one.start * SECTOR for one in table.partitions if partition in (None, one.number)]
    if not found and partition is not None:
        raise ImageError(f"the image has no partition {partition}")
    return found


def root_of(view: View, path: str, partition: int | None) -> Ext:
    """The file system that has /etc. Raises ImageError where there is none that can be changed."""
    for offset in offsets(view, partition):
        facts = superblock(view.fd, offset)
        ext = Ext(view=view, offset=offset)
        if facts is None or ext.real("/etc") is None:
            continue
        if facts.needs_recovery:
            raise ImageError(
                f"{path}: the journal is not empty, for the guest was not shut down",
                hint="start it and shut it down" + ("" if offset else f", or type e2fsck -E journal_only -p {path}"),
            )
        if facts.has_errors:
            raise ImageError(f"{path}: the file system is marked as having errors", hint="check it with e2fsck -f first")
        return ext
    raise ImageError(f"{path}: no ext2, ext3 or ext4 file system with /etc in it", hint="change it within the guest")


def wanted_changes(ext: Ext, edits: Edits) -> list[Change]:
    """What is to be done for EDITS, in order. Raises ImageError where the image lacks what they need."""
    changes: list[Change] = []
    if edits.hostname is not None:
        name = guest.checked_hostname(edits.hostname)
        old = (ext.read("/etc/hostname") or b"").decode("utf-8", "replace").strip()
        changes += _text(ext, "/etc/hostname", name + "\n", new=True)
        hosts = ext.read("/etc/hosts")
        if hosts is not None and old and old != "localhost":
            changes += _text(ext, "/etc/hosts", guest.renamed_hosts(_decoded(hosts), old, name))
    if edits.xvda_to_vda:
        changes += _text(ext, "/etc/fstab", guest.vda_for_xvda(_required(ext, "/etc/fstab")))
    if edits.console is not None:
        changes += _console(ext, edits.console)
    if edits.keys:
        if ext.real("/root") is None:
            raise ImageError("the image has no /root")
        if ext.real("/root/.ssh") is None:
            changes.append(MakeFolder(path="/root/.ssh", mode="0700"))
        before = _decoded(ext.read("/root/.ssh/authorized_keys") or b"")
        text = guest.with_keys(before, list(edits.keys))
        changes += _text(ext, "/root/.ssh/authorized_keys", text, new=True, mode="0600")
    if edits.lock_root:
        changes += _text(ext, "/etc/shadow", guest.locked_root(_required(ext, "/etc/shadow")))
    return changes


def _console(ext: Ext, console: str) -> list[Change]:
    """A login on CONSOLE, in the manner of the guest's init."""
    changes: list[Change] = []
    securetty = ext.read("/etc/securetty")
    if securetty is not None:
        changes += _text(ext, "/etc/securetty", guest.with_terminal(_decoded(securetty), console))
    inittab = ext.read("/etc/inittab")
    unit = next((f"{place}/serial-getty@.service" for place in ("/lib/systemd/system", "/usr/lib/systemd/system")
                 if ext.real(f"{place}/serial-getty@.service")), None)  # fmt: skip
    if unit is not None:
        folder = "/etc/systemd/system/getty.target.wants"
        link = f"{folder}/serial-getty@{console}.service"
        changes += _folders(ext, folder)
        if ext.inode(link) is None:
            changes.append(MakeLink(path=link, target=unit))
    elif inittab is not None:
        changes += _text(ext, "/etc/inittab", guest.inittab_console(_decoded(inittab), console))
    elif ext.inode("/etc/init") is not None:
        changes += _text(ext, f"/etc/init/{console}.conf", guest.upstart_console(console), new=True)
    else:
        raise ImageError("the image has neither systemd nor an inittab nor upstart", hint="give it a login by hand")
    return changes


def _folders(ext: Ext, path: str) -> list[Change]:
    """The directories down to PATH that are missing."""
    parts = path.strip("/").split("/")
    paths = ["/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return [MakeFolder(path=one, mode="0755") for one in paths if ext.real(one) is None]


def _text(ext: Ext, path: str, text: str, *, new: bool = False, mode: str = "0644") -> list[Change]:
    """The change that makes TEXT of a file; none where it is so already. Mode and owner stay."""
    data = text.encode("utf-8", "surrogateescape")
    found = ext.real(path)
    if found is None:
        if ext.inode(path) is not None:
            raise ImageError(f"{path} in the image is a link that leads nowhere")
        return [Put(path=path, data=data, mode=mode)] if new else []
    place, inode = found
    if inode.kind != "regular":
        raise ImageError(f"{path} in the image is no regular file")
    if ext.read(place) == data:
        return []
    return [
        Put(path=place, data=data, mode=inode.mode, owner=(inode.uid, inode.gid), present=True, kept=ext.attributes(place))
    ]


def _required(ext: Ext, path: str) -> str:
    data = ext.read(path)
    if data is None:
        raise ImageError(f"the image has no {path}")
    return _decoded(data)


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _change(path: str, ext: Ext, changes: list[Change]) -> None:
    place = os.path.join(os.path.dirname(path) or ".", f".{os.path.basename(path)[:200]}.undo")
    if os.path.lexists(place):
        where = f"-o {ext.offset} " if ext.offset else ""
        raise ImageError(
            f"{place} is left of a change that was interrupted",
            hint=f"e2undo {where}{place} {path} takes that back; then remove it",
        )
    undo = os.open(place, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    done = False
    try:
        if ext.view.user and os.geteuid() == 0:
            os.fchown(undo, ext.view.user, -1)
        try:
            apply(ext, changes, undo)
            wrong = check(ext.view, ext.offset)
            if wrong:
                raise ImageError(f"{path}: the file system is not sound, and is left as it was: {wrong}", hint="e2fsck -f")
            done = True
        except BaseException:
            if os.fstat(undo).st_size:
                take_back(ext.view, ext.offset, undo)
            done = True
            raise
    finally:
        os.close(undo)
        if done:
            with suppress(OSError):
                os.unlink(place)
