"""Folders as pools: the images in them are the volumes.

A snapshot of a qcow2 image lies within it; one of any other image is a file beside it, web1.img@before, which shares its
blocks where the file system can do so (btrfs, xfs), and is a copy elsewhere. Images that are in use are left alone: their
guests' QEMU has them locked.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from xmcompat.storage import image_convert
from xmcompat.storage.image_copy import copy, size_of
from xmcompat.storage.image_device import held, refuse_in_use
from xmcompat.storage.image_format import Header
from xmcompat.storage.image_output import draft, refuse_links
from xmcompat.storage.image_programs import Confinement, ImageError, ProgramFailed, own_path, run
from xmcompat.storage.image_source import open_file
from xmcompat.storage.mounts import Mount, holding, mounted
from xmcompat.storage.programs import StorageError
from xmcompat.storage.volume import Pool, Progress, Volume, Wanted, quiet
from xmcompat.storage.volume_file import header_of, looked_at, node, overlay_of, snapshots
from xmcompat.writing_out import begin_writing_out

REFUSES: dict[str, str] = {}
LIVE = frozenset({"resize"})
FILES = True

#: Folders that are pools by themselves, where they are there.
USUAL = ("/var/lib/xen/images", "/srv/xen", "/var/lib/libvirt/images")

#: What the ending of a name says of the format.
FORMATS = {
    ".img": "raw", ".raw": "raw", ".qcow2": "qcow2", ".qcow": "qcow", ".vhd": "vpc", ".vpc": "vpc", ".vmdk": "vmdk",
    ".vdi": "vdi",
}  # fmt: skip

_NO_FOLDERS = ("/dev", "/proc", "/sys")
_LONGEST_NAME = 200

#: qemu-img's words for an image whose room is taken at once, where a format knows that.
_WHOLE = {"qcow2": "preallocation=falloc", "vdi": "static=on", "vpc": "subformat=fixed,force_size=on"}
_THIN = {"vpc": "force_size=on"}


def pools(paths: Sequence[str]) -> Sequence[Pool]:
    """The usual folders, and those of PATHS, but for those on NFS."""
    mounts = mounted()
    folders = [*USUAL, *(os.path.dirname(os.path.abspath(path)) for path in paths)]
    here = [one for one in dict.fromkeys(folders) if not on_nfs(one, mounts) and is_folder(one)]
    real = {os.path.realpath(one): one for one in reversed(here)}
    return tuple(pool for one in sorted(real.values()) if (pool := pool_named(one)))


def on_nfs(path: str, mounts: Sequence[Mount] | None = None) -> Mount | None:
    """The mount of NFS on which the absolute PATH lies, None for none; PATH itself is not looked at."""
    found = holding(path, mounted() if mounts is None else mounts)
    return found if found and found.is_nfs else None


def is_folder(path: str) -> bool:
    """Whether PATH is one in which volumes can be."""
    inside = any(path == one or path.startswith(f"{one}/") for one in _NO_FOLDERS)
    return path.startswith("/") and not inside and os.path.isdir(path)


def pool_named(name: str) -> Pool | None:
    """The folder of that path. A path relative to the current folder begins with a dot."""
    path = whole_path(name)
    if not path or on_nfs(path) or not is_folder(path):
        return None
    try:
        room = os.statvfs(path)
    except OSError as error:
        return Pool(kind="folder", name=path, remark=error.strerror or "")
    return Pool(kind="folder", name=path, size=room.f_blocks * room.f_frsize, free=room.f_bavail * room.f_frsize)


def whole_path(name: str) -> str:
    """The absolute path that NAME is, "" where it is a word that means something else."""
    return os.path.abspath(name) if name.startswith(("/", "./", "../")) or name in (".", "..") else ""


def volumes(pool: Pool) -> Sequence[Volume]:
    """The images in it, each followed by its snapshots. Hidden files, and those that cannot be disks, are none."""
    try:
        names = sorted(os.listdir(pool.name))
    except OSError as error:
        raise StorageError(f"{pool.name}: {error.strerror}") from None
    found: list[Volume] = []
    for name in names:
        volume = None if name.startswith(".") else looked_at(os.path.join(pool.name, name), kind=pool.kind, pool=pool.name)
        if volume:
            found += [volume, *_within(volume)]
    return found


def _within(volume: Volume) -> Iterator[Volume]:
    """Snapshots inside of the image. One that cannot be read has none."""
    with suppress(ImageError):
        for one in snapshots(volume.path) if volume.format == "qcow2" else ():
            remark = "with the guest's memory" if one.size else ""
            yield Volume(
                kind=volume.kind, pool=volume.pool, name=f"{volume.name}@{one.name}", path="", size=None,
                format="qcow2", origin=volume.name, thin=True, remark=remark,
            )  # fmt: skip


def volume_named(word: str) -> Volume | None:
    """The image at the path WORD, or the snapshot "/srv/xen/web1.qcow2@before" within one."""
    place = place_of(word)
    return find(*place) if place else None


def find(pool: Pool, name: str) -> Volume | None:
    """The volume of that name in POOL."""
    volume = looked_at(os.path.join(pool.name, name), kind=pool.kind, pool=pool.name)
    if volume or "@" not in name:
        return volume
    origin = looked_at(os.path.join(pool.name, name.rpartition("@")[0]), kind=pool.kind, pool=pool.name)
    return next((one for one in _within(origin) if one.name == name), None) if origin else None


def place_of(word: str) -> tuple[Pool, str] | None:
    """The folder and the file name of a path."""
    folder, name = split(word)
    pool = pool_named(folder) if name else None
    return (pool, name) if pool else None


def split(word: str) -> tuple[str, str]:
    """The folder and the name of a path; "" and "" for a word that is none. A bare name is that of a file of the current
    folder if there is one, or by its ending."""
    if "/" not in word:
        ending = os.path.splitext(word.partition("@")[0])[1].lower()
        return (".", word) if ending in FORMATS or os.path.isfile(word) else ("", "")
    path = word.startswith(("/", "./", "../"))
    return os.path.split(word) if path and not word.endswith("/") else ("", "")


def create(pool: Pool, name: str, wanted: Wanted) -> Volume:
    """A new image of zeros, for root alone. Its room is taken at once unless it is to be thin, and where its format can."""
    path = new_path(pool, name)
    format = wanted.format or format_of(name)
    _refuse_size(path, wanted.size)
    with private(), draft(path, force=wanted.force) as (_, fd):
        if format == "raw":
            os.ftruncate(fd, wanted.size)
        else:
            option = (_THIN if wanted.thin else {**_THIN, **_WHOLE}).get(format)
            options = ["-o", option] if option else []
            run(["qemu-img", "create", "-q", "-f", format, *options, own_path(fd), str(wanted.size)], fds=(fd,))
        if not wanted.thin:
            os.posix_fallocate(fd, 0, size_of(fd))
    return _there(pool, name)


def resize(volume: Volume, size: int) -> Volume:
    """Give the image SIZE bytes; what is beyond the end of a smaller one is lost."""
    path = whole_file(volume, "resized")
    _refuse_size(path, size)
    if volume.size and size < volume.size:
        _refuse_overlays(volume)
    with _mine(volume, os.O_RDWR) as fd:
        header = header_of(fd, path)
        if header.format == "raw":
            with held(path, fd):
                _resize_raw(fd, size)
        else:
            shrinks = ["--shrink"] if volume.size and size < volume.size else []
            try:
                _qemu_img(["resize", "-q", *shrinks], fd, header, str(size))
            except ProgramFailed as error:
                hint = f"'xmcompat image convert {path} OUT --format raw' first"
                raise StorageError(f"{path} cannot be resized: {error.said}", hint=hint) from None
    return _there(Pool(kind=volume.kind, name=volume.pool), volume.name)


def _resize_raw(fd: int, size: int) -> None:
    before = os.fstat(fd)
    os.ftruncate(fd, size)
    if size > before.st_size and before.st_blocks * 512 >= before.st_size:
        try:
            os.posix_fallocate(fd, before.st_size, size - before.st_size)
        except OSError as error:
            os.ftruncate(fd, before.st_size)
            raise StorageError(f"the image cannot grow: {error.strerror}", hint="free some space") from None


def snapshot(volume: Volume, name: str, *, progress: Progress = quiet) -> Volume:
    """What the image holds now, under its name, "@" and NAME."""
    path = whole_file(volume, "a snapshot's origin")
    if not name or any(sign in name for sign in "/@,=\0\n") or name.startswith("-") or len(name) > 100:
        raise StorageError(f"'{name}' cannot be the name of a snapshot", hint="use letters, digits, '-', '_' and '.'")
    pool = Pool(kind=volume.kind, name=volume.pool)
    with _mine(volume, os.O_RDWR) as fd:
        header = header_of(fd, path)
        if header.format == "qcow2":
            if any(one.name == name for one in snapshots(path)):
                raise StorageError(f"{path} has a snapshot '{name}' already", hint=f"remove {path}@{name} first")
            _qemu_img(["snapshot", "-q", "-c", name], fd, header)
        else:
            with held(path, fd):
                _copied(fd, new_path(pool, f"{volume.name}@{name}", snapshot=True), progress, like=fd)
    return _there(pool, f"{volume.name}@{name}")


def rollback(volume: Volume, snapshot: Volume, *, progress: Progress = quiet) -> Volume:
    """Put what the snapshot holds into the image; the snapshot stays."""
    path = whole_file(volume, "rolled back")
    if snapshot.pool != volume.pool or snapshot.origin != volume.name:
        raise StorageError(f"{snapshot.full_name} is no snapshot of {path}", hint="'xmcompat storage list' shows which are")
    _refuse_overlays(volume)
    with _mine(volume, os.O_RDWR) as fd:
        if not snapshot.path:
            _qemu_img(["snapshot", "-q", "-a", snapshot.name.rpartition("@")[2]], fd, header_of(fd, path))
        else:
            refuse_links(path, fd)
            with open(open_file(snapshot.path), "rb") as source, held(path, fd):
                _copied(source.fileno(), path, progress, like=fd, force=True)
    return _there(Pool(kind=volume.kind, name=volume.pool), volume.name)


def clone(volume: Volume, pool: Pool, name: str, *, progress: Progress = quiet) -> Volume:
    """A copy of its own, in the format that NAME says, else in that of VOLUME."""
    path = new_path(pool, name)
    format = format_of(name, volume.format)
    if not volume.path:
        _clone_within(volume, path, format, progress)
    elif format != volume.format or (format == "qcow2" and snapshots(volume.path)):
        with private():
            image_convert.convert(volume.path, path, format, source_format=volume.format, progress=progress)
    else:
        with _mine(volume, os.O_RDONLY) as fd, held(volume.path, fd), private():
            header = header_of(fd, volume.path)
            if header.backing:
                raise StorageError(
                    f"{volume.path} lies upon {header.backing}",
                    hint=f"'xmcompat image convert --backing-ok {volume.path} {path} --format {format}' makes one of both",
                )
            _copied(fd, path, progress)
    return _there(pool, name)


def _clone_within(volume: Volume, path: str, format: str, progress: Progress) -> None:
    """A copy of a snapshot within its image."""
    origin, _, name = volume.name.rpartition("@")
    fd = open_file(os.path.join(volume.pool, origin))
    try:
        words = ["qemu-img", "convert", "-l", f"snapshot.name={name}", "-O", format]
        progress("clone", 0.0)
        with private(), draft(path) as (_, new):
            run([*words, node(fd, header_of(fd, path)), own_path(new)], fds=(fd, new), confined=_as_owner(fd))
        progress("clone", 1.0)
    finally:
        os.close(fd)


def remove(volume: Volume, *, force: bool = False) -> None:
    """Delete the image, or one snapshot."""
    if not volume.path:
        origin = find(Pool(kind=volume.kind, name=volume.pool), volume.origin)
        if origin:
            with _mine(origin, os.O_RDWR) as fd:
                _qemu_img(["snapshot", "-q", "-d", volume.name.rpartition("@")[2]], fd, header_of(fd, origin.path))
        return
    whole_file(volume, "removed", snapshots_too=True)
    mine = [one.name for one in volumes(Pool(kind=volume.kind, name=volume.pool)) if one.origin == volume.name]
    if mine:
        raise StorageError(f"{volume.path} has snapshots: {', '.join(mine)}", hint="remove those first")
    _refuse_overlays(volume)
    with _mine(volume, os.O_RDONLY) as fd:
        found = "" if force else contents(volume)
        if found:
            raise StorageError(f"{volume.path} holds something: {found}", hint="--force removes it all the same")
        with held(volume.path, fd):
            os.unlink(volume.path)


def contents(volume: Volume) -> str:
    """What is known to be in the image, in words; "" for nothing. What cannot be looked into counts as something."""
    from xmcompat.storage.image_show import examine

    try:
        seen = examine(volume.path, format=volume.format or None)
    except ImageError as error:
        return error.message
    if seen.table:
        return f"a partition table ({seen.table.label}) with {len(seen.table.partitions)} partitions"
    for one in seen.file_systems:
        if one.type:
            return f"{one.type} '{one.label}'" if one.label else one.type
    return seen.remark


@contextmanager
def ready(volume: Volume) -> Iterator[str]:
    """A file is always there."""
    if not volume.path:
        raise StorageError(f"{volume.full_name} lies within its image", hint="clone it to have it by itself")
    yield volume.path


# -- what these share


def format_of(name: str, otherwise: str = "raw") -> str:
    """The format that the ending of NAME says."""
    return FORMATS.get(os.path.splitext(name)[1].lower(), otherwise)


def new_path(pool: Pool, name: str, *, snapshot: bool = False) -> str:
    """Where a new volume goes. Raises StorageError for names that it cannot have."""
    odd = not name or name.startswith((".", "-")) or len(name) > _LONGEST_NAME or any(sign in name for sign in "/\0\n")
    if odd or ("@" in name and not snapshot):
        raise StorageError(f"'{name}' cannot be the name of a volume", hint="use letters, digits, '-', '_' and '.'")
    return os.path.join(pool.name, name)


def whole_file(volume: Volume, what: str, *, snapshots_too: bool = False) -> str:
    """The path of its file. Raises StorageError for a snapshot, which is never changed, and for a link."""
    if volume.origin and not snapshots_too:
        raise StorageError(f"{volume.full_name} is a snapshot, and cannot be {what}", hint="clone it, and use the clone")
    if os.path.islink(volume.path):
        raise StorageError(f"{volume.path} is a link to {os.path.realpath(volume.path)}", hint="name that path itself")
    return volume.path


@contextmanager
def _mine(volume: Volume, flags: int) -> Iterator[int]:
    """The open image, that nobody uses. Raises ImageInUse."""
    fd = open_file(volume.path, flags | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise StorageError(f"{volume.path} is no regular file")
        refuse_in_use(volume.path, fd)
        yield fd
    finally:
        os.close(fd)


def _qemu_img(words: list[str], fd: int, header: Header, *more: str) -> None:
    """qemu-img, which locks the image itself, as the image's owner."""
    run(["qemu-img", *words, node(fd, header), *more], fds=(fd,), confined=_as_owner(fd))


def _as_owner(fd: int) -> Confinement:
    return Confinement(user=os.fstat(fd).st_uid, fenced=True)


def _copied(source: int, path: str, progress: Progress, *, like: int | None = None, force: bool = False) -> None:
    """The bytes of the file SOURCE under the name PATH, all of them or none."""
    size = size_of(source) or 1
    with draft(path, like=like, force=force) as (_, fd):
        begun = 0

        def copied(done: int) -> None:
            nonlocal begun
            begin_writing_out(fd, begun, done - begun)
            begun = done
            progress("copy", done / size)

        os.ftruncate(fd, size_of(source))
        copy(source, fd, progress=copied)
        os.fsync(fd)


@contextmanager
def private() -> Iterator[None]:
    """Files that are made are for root alone; libvirt lets QEMU in."""
    mask = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(mask)


def refuse_replacing(volume: Volume) -> None:
    """Raises StorageError where something would be lost with what is in the image: snapshots within it, and images of the
    folder that lie upon it."""
    within = [one.name for one in _within(volume)]
    if within:
        raise StorageError(f"{volume.path} has snapshots: {', '.join(within)}", hint="remove those first")
    _refuse_overlays(volume)


def _refuse_overlays(volume: Volume) -> None:
    above = overlay_of(volume)
    if above:
        raise StorageError(f"{above} lies upon {volume.path}", hint="remove that first, or 'qemu-img rebase' it")


def _refuse_size(path: str, size: int) -> None:
    if size <= 0 or size % 512:
        raise StorageError(f"{path} cannot have {size} bytes", hint="a disk has whole sectors of 512 bytes: 512M, 10G")


def _there(pool: Pool, name: str) -> Volume:
    found = find(pool, name)
    if found is None:
        raise StorageError(f"{pool.name}/{name} is not there any more")
    return found
