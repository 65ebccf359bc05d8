"""``xmcompat storage create``, ``resize``, ``snapshot``, ``rollback``, ``clone``, ``remove`` and ``import``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from xmcompat.tool.image_words import Format, Size, size_text, work
from xmcompat.tool.output import printable

if TYPE_CHECKING:
    from xmcompat.errors import XmError
    from xmcompat.storage.image_programs import Progress
    from xmcompat.storage.volume import Pool, Volume
    from xmcompat.tool.storage_uses import Use

_format = click.option(
    "--format", "format_", type=Format(), metavar="FORMAT", help="raw, qcow2, qcow, vhd, vmdk or vdi; else as NAME ends."
)
_thin = click.option("--thin", is_flag=True, help="Room is taken as the guest writes, not at once.")


@click.command("create")
@click.argument("volume", metavar="POOL/NAME")
@click.argument("size", type=Size(), metavar="SIZE")
@_format
@_thin
@click.option("--force", is_flag=True, help="Also where the room has the signature of something on it.")
def create(volume: str, size: int, format_: str | None, thin: bool, force: bool) -> None:
    """Make an empty volume, and print its path. What is there already is never replaced."""
    from xmcompat.storage.volume import Wanted, refuse
    from xmcompat.tool.storage_words import module_of, place_for

    pool, name = place_for(volume)
    refuse(pool.kind, "create")
    module = module_of(pool)
    _refuse_there(pool, name)
    _refuse_format(pool, format_)
    with work():
        made = module.create(pool, name, Wanted(size=size, format=format_ or "", thin=thin, force=force))
    click.echo(printable(made.path))


@click.command("resize")
@click.argument("volume", metavar="VOLUME")
@click.argument("size", type=Size(), metavar="SIZE")
@click.option("--shrink", is_flag=True, help="SIZE may be smaller: what lies behind it is lost.")
@click.option("--force", is_flag=True, help="With --shrink, which nothing else protects from.")
def resize(volume: str, size: int, shrink: bool, force: bool) -> None:
    """Make a volume larger. A guest that runs sees the new size of its disk at once.

    File systems and partitions on it stay as they are: the guest grows them. A volume gets smaller with --shrink --force
    alone, and while no guest has it.
    """
    from xmcompat.storage.volume import refuse
    from xmcompat.tool.storage_words import module_of, refuse_used, users, volume_of

    found = volume_of(volume)
    refuse(found.kind, "resize")
    module = module_of(found)
    _refuse_smaller(found, size, shrink=shrink, force=force)
    using = users(found, destroys=found.size is not None and size < found.size)
    running = [use for use in using if use.running]
    if found.size is not None and size < found.size:
        refuse_used(found, "resize", using, known_too=True)
        running = []
    if running and module.FILES:
        if not all(use.direct for use in running):  # a server here has the file open, which does not grow it
            refuse_used(found, "resize", using)
        _tell(running, size, grown=False)
        after = volume_of(volume)
    else:
        if not running and module.FILES:
            refuse_used(found, "resize", using)
        with work():
            after = module.resize(found, size) if found.size != size else found
        _tell(running, after.size or size, grown=True)
    click.echo(f"{_amount(found.size)} -> {_amount(after.size)}")


def _refuse_smaller(volume: Volume, size: int, *, shrink: bool, force: bool) -> None:
    from xmcompat.storage.programs import StorageError

    if volume.size is not None and size < volume.size and not (shrink and force):
        raise StorageError(
            f"{volume.full_name} has {size_text(volume.size)}: what lies behind {size_text(size)} would be lost",
            hint="--shrink --force makes it smaller all the same; shrink what is on it first",
        )


def _tell(running: Sequence[Use], size: int, *, grown: bool) -> None:
    """Let the QEMU of each guest know; of a file that is not GROWN yet, it is QEMU that makes it larger. All are told;
    raises the first error of them."""
    from xmcompat.errors import XmError
    from xmcompat.toolstack import Toolstack

    errors: list[XmError] = []
    with Toolstack.open() as toolstack:
        for use in running:
            try:
                if not use.direct:
                    raise XmError("its disk is made of several volumes")
                toolstack.hypervisor.resize_disk(toolstack.find(use.domain).uuid, use.path, size)
            except XmError as error:
                errors.append(_untold(use, error, grown))
    if errors:
        raise errors[0]


def _untold(use: Use, error: XmError, grown: bool) -> XmError:
    from xmcompat.storage.programs import StorageError

    if not grown:
        return StorageError(f"{use.path} was not made larger by the guest {use.domain}: {error.message}", hint=error.hint)
    return StorageError(
        f"{use.path} is larger now, but the guest {use.domain} could not be told: {error.message}",
        hint="it sees the new size when it is shut down and started",
    )


@click.command("snapshot")
@click.argument("volume", metavar="VOLUME")
@click.argument("name", metavar="NAME")
def snapshot(volume: str, name: str) -> None:
    """Keep what VOLUME holds now under NAME, and print how the snapshot is called.

    Of a volume group also while the guest runs: the snapshot is then like the disk after a power cut.
    """
    from xmcompat.storage.volume import refuse
    from xmcompat.tool.storage_words import module_of, refuse_used, users, volume_of

    found = volume_of(volume)
    refuse(found.kind, "snapshot")
    module = module_of(found)
    if "snapshot" not in module.LIVE:
        refuse_used(found, "snapshot", users(found, destroys=False), reads=True)
    with work() as progress:
        made = module.snapshot(found, name, progress=progress)
    click.echo(printable(made.full_name))


@click.command("rollback")
@click.argument("volume", metavar="VOLUME")
@click.argument("name", metavar="NAME")
def rollback(volume: str, name: str) -> None:
    """Have VOLUME as it was when its snapshot NAME was made. What was written since is lost."""
    from xmcompat.storage.volume import refuse
    from xmcompat.tool.storage_words import module_of, refuse_used, users, volume_of

    found = volume_of(volume)
    refuse(found.kind, "rollback")
    kept = _snapshot_of(found, name)
    refuse_used(found, "rollback", users(found))
    refuse_used(kept, "rollback", users(kept) if kept.path else ())
    with work() as progress:
        module_of(found).rollback(found, kept, progress=progress)


def _snapshot_of(volume: Volume, name: str) -> Volume:
    """By its own name, or by its full one."""
    from xmcompat.storage.programs import StorageError
    from xmcompat.storage.volume import Pool
    from xmcompat.tool.storage_words import module_of

    every = module_of(volume).volumes(Pool(kind=volume.kind, name=volume.pool))
    mine = [one for one in every if one.origin == volume.name]
    for one in mine:
        if name in (one.name, one.full_name, one.name.removeprefix(f"{volume.name}@")):
            return one
    names = ", ".join(one.name for one in mine)
    raise StorageError(
        f"{volume.full_name} has no snapshot '{name}'", hint=f"it has {names}" if mine else "it has none"
    )


@click.command("clone")
@click.argument("volume", metavar="VOLUME")
@click.argument("new", metavar="POOL/NAME")
def clone(volume: str, new: str) -> None:
    """Make another volume with what VOLUME holds, in the same pool or another one, and print its path."""
    from xmcompat.storage.volume import refuse
    from xmcompat.tool.storage_words import module_of, place_for, refuse_used, users, volume_of

    found = volume_of(volume)
    pool, name = place_for(new)
    refuse(pool.kind, "create")
    module = module_of(found)
    alike = pool.kind == found.kind or (module.FILES and module_of(pool).FILES)
    if "clone" not in module.LIVE or not alike:
        refuse_used(found, "clone", users(found, destroys=False), reads=True)
    _refuse_there(pool, name)
    with work() as progress:
        if alike:
            refuse(found.kind, "clone")
            made = module.clone(found, pool, name, progress=progress)
        else:
            with module.ready(found) as path:
                made = _filled(path, pool, name, _Filling(source_format=found.format), progress)
    click.echo(printable(made.path))


@click.command("remove")
@click.argument("volume", metavar="VOLUME")
@click.option("--force", is_flag=True, help="Though it holds something, or a configuration in /etc/xen names it.")
def remove(volume: str, force: bool) -> None:
    """Remove a volume, or one snapshot. Nobody is asked: it must be named in full.

    Refused while a guest that runs or is known has it, while this host has it mounted, and while it has snapshots; with
    file systems, partitions or the like on it only with --force.
    """
    from xmcompat.storage.programs import StorageError
    from xmcompat.storage.volume import refuse
    from xmcompat.tool.storage_uses import configured
    from xmcompat.tool.storage_words import module_of, refuse_used, users, volume_of

    found = volume_of(volume)
    refuse(found.kind, "remove")
    if found.path:
        refuse_used(found, "remove", users(found, force=force), known_too=True)
        named = () if force else configured(found)
        if named:
            raise StorageError(f"{named[0]} names {found.path}", hint="--force removes it all the same")
    else:
        refuse_used(found, "remove", [use for use in users(found, force=force) if use.running])
    with work():
        module_of(found).remove(found, force=force)


class _Filling(NamedTuple):
    """How an image is read, and what may be written over."""

    source_format: str | None = None
    format: str = ""
    thin: bool = False
    backing_ok: bool = False
    force: bool = False


@click.command("import")
@click.argument("file", metavar="FILE")
@click.argument("volume", metavar="VOLUME")
@click.option("--from", "source_format", type=Format(), metavar="FORMAT", help="The format of FILE, not what it shows.")
@_format
@_thin
@click.option("--backing-ok", is_flag=True, help="Read the backing files of FILE, too.")
@click.option("--force", is_flag=True, help="Write over what is in a volume that is there.")
def fill(
    file: str, volume: str, source_format: str | None, format_: str | None, thin: bool, backing_ok: bool, force: bool
) -> None:
    """Put the image FILE into a volume, which is made of its size where there is none, and print its path.

    A volume that is there keeps its size, and must be as large. One that was made for it goes away where this fails or is
    stopped.
    """
    from xmcompat.storage.pool_folder import refuse_replacing
    from xmcompat.storage.volume import refuse
    from xmcompat.tool.storage_words import maybe_volume, module_of, place_for, refuse_used, users

    filling = _Filling(source_format, format_ or "", thin, backing_ok, force)
    there = maybe_volume(volume)
    if there is not None and there.half_made:
        there = None  # left by a process that was killed, and made anew
    if there is not None:
        refuse_used(there, "import", users(there, force=force))
    with work() as progress:
        if there is not None and not module_of(there).FILES:
            _refuse_format(there, format_)
            with module_of(there).ready(there) as path:
                _convert(file, path, "raw", filling, progress)
            click.echo(printable(there.path))
            return
        if there is not None:
            refuse_replacing(there)
        pool, name = place_for(volume)
        refuse(pool.kind, "create")
        _refuse_format(pool, format_)
        made = _filled(file, pool, name, filling, progress)
    click.echo(printable(made.path))


def _filled(file: str, pool: Pool, name: str, filling: _Filling, progress: Progress) -> Volume:
    """The new volume NAME with what is in FILE."""
    from xmcompat.storage.image_convert import virtual_size
    from xmcompat.storage.image_source import opened
    from xmcompat.storage.pool_folder import format_of, new_path, private
    from xmcompat.storage.volume import Wanted
    from xmcompat.tool.storage_words import module_of, volume_of

    module = module_of(pool)
    if module.FILES:
        path = new_path(pool, name)
        with private():
            _convert(file, path, filling.format or format_of(name), filling, progress)
        return volume_of(path)
    with opened(file, format=filling.source_format, backing_ok=filling.backing_ok) as source:
        size = -(-virtual_size(source) // 512) * 512
    wanted = Wanted(size=size, thin=filling.thin, force=True)  # all of it is written over
    with module.filling(pool, name, wanted) as volume, module.ready(volume) as path:
        _convert(file, path, "raw", filling, progress, force=True, zeroed=volume.zeroed)  # what is on it is of before
    return volume_of(volume.full_name)


def _convert(
    file: str, out: str, format: str, filling: _Filling, progress: Progress, *, force: bool = False, zeroed: bool = False
) -> None:
    from xmcompat.storage.image_convert import convert

    convert(
        file, out, format, source_format=filling.source_format, backing_ok=filling.backing_ok,
        force=force or filling.force, zeroed=zeroed, progress=progress,
    )  # fmt: skip


def _refuse_there(pool: Pool, name: str) -> None:
    from xmcompat.storage.programs import StorageError
    from xmcompat.tool.storage_words import module_of

    full = f"{pool.name}/{name}"
    if module_of(pool).volume_named(full) is not None or (module_of(pool).FILES and os.path.lexists(full)):
        raise StorageError(f"{full} is there already", hint="'xmcompat storage remove' takes it away")


def _refuse_format(where: Pool | Volume, format: str | None) -> None:
    from xmcompat.storage.programs import StorageError
    from xmcompat.tool.storage_words import module_of

    if format not in (None, "raw") and not module_of(where).FILES:
        raise StorageError(f"a volume of kind {where.kind} has no format but raw", hint="leave --format away")


def _amount(size: int | None) -> str:
    return "?" if size is None else size_text(size)
