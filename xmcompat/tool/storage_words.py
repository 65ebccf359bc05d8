"""What the commands of ``xmcompat storage`` share: how pools and volumes are found, and refused to those who use them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from xmcompat.errors import HypervisorUnreachable, XmError
from xmcompat.storage.programs import StorageError
from xmcompat.storage.volume import KINDS, Pool, PoolKind, Volume, kind
from xmcompat.tool.output import printable

if TYPE_CHECKING:
    from xmcompat.tool.storage_uses import Use

_SEE = "'xmcompat storage list' shows which there are"


def warn(text: str) -> None:
    click.echo(printable(f"Warning: {text}"), err=True)


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Columns as wide as they must be; those with the numbers RIGHT stand at the right."""
    table = [tuple(heads), *(tuple(map(printable, row)) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
    for row in table:
        cells = (cell.rjust(width) if number in right else cell.ljust(width)
                 for number, (cell, width) in enumerate(zip(row, widths, strict=True)))  # fmt: skip
        click.echo("  ".join(cells).rstrip())


# -- what a word means


def all_pools(paths: Sequence[str]) -> list[Pool]:
    """Those of all kinds. What a kind cannot tell is said on stderr, and the others are told."""
    found: list[Pool] = []
    for name in KINDS:
        try:
            found += kind(name).pools(paths)
        except XmError as error:
            warn(error.line())
    return found


def pool_of(word: str) -> Pool:
    """The pool that WORD means: by what it is, else by libvirt's name for it. Raises StorageError."""
    found = _pool(word) or _pool(_libvirts(word))
    if found is None:
        raise StorageError(f"there is no pool '{printable(word)}'", hint=_SEE)
    return found


def _pool(word: str) -> Pool | None:
    return next((pool for name in KINDS if (pool := kind(name).pool_named(word))), None) if word else None


def volume_of(word: str) -> Volume:
    """The volume that WORD means. Raises StorageError."""
    for one in (word, _by_libvirts_pool(word)):
        for name in KINDS if one else ():
            found = kind(name).volume_named(one)
            if found:
                return found
    raise StorageError(f"there is no volume '{printable(word)}'", hint=_hint(word))


def place_for(word: str) -> tuple[Pool, str]:
    """The pool and the name in it for a new volume. Raises StorageError."""
    for one in (word, _by_libvirts_pool(word)):
        for name in KINDS if one else ():
            place = kind(name).place_of(one)
            if place:
                return place
    raise StorageError(f"'{printable(word)}' names no place in a pool", hint=f"write POOL/NAME; {_SEE}")


def maybe_volume(word: str) -> Volume | None:
    """The volume that WORD means, None where there is none."""
    try:
        return volume_of(word)
    except StorageError:
        return None


def _hint(word: str) -> str:
    pool = _pool(word) if word else None
    return f"'{printable(word)}' is a pool; name a volume in it, {printable(word)}/NAME" if pool else _SEE


def _libvirts(word: str) -> str:
    """Where libvirt's pool WORD is, "" for none and where libvirt does not answer."""
    from xmcompat.toolstack import Toolstack

    if "/" in word or not word.isprintable():
        return ""
    with suppress(XmError), Toolstack.open() as toolstack:
        return toolstack.hypervisor.pool_place(word) or ""
    return ""


def _by_libvirts_pool(word: str) -> str:
    """"default/web1.img" as the path in libvirt's pool of that name, "" where there is none."""
    pool, _, name = word.partition("/")
    place = _libvirts(pool) if pool and name else ""
    return f"{place}/{name}" if place else ""


# -- who uses it


def uses() -> list[Use]:
    """The disks of all guests of this host. Raises XmError where libvirt does not answer."""
    from xmcompat.tool.storage_uses import guests_uses
    from xmcompat.toolstack import Toolstack

    with Toolstack.open() as toolstack:
        return guests_uses(toolstack.hypervisor)


def uses_if_told() -> list[Use]:
    """The same for a listing: none, and a warning, where nothing answers."""
    try:
        return uses()
    except XmError as error:
        warn(f"which guests use what is not known: {error.line()}")
        return []


def users(volume: Volume, *, destroys: bool = True, force: bool = False) -> list[Use]:
    """Who of the guests has VOLUME.

    Where that cannot be told, raises StorageError for a change that DESTROYS, unless with FORCE; else there is a warning.
    """
    from xmcompat.tool.storage_uses import of_volume

    try:
        return of_volume(volume, uses())
    except HypervisorUnreachable as error:
        if not destroys or force:
            warn(f"whether a guest has {volume.full_name} is not known: {error.message}")
            return []
        raise StorageError(
            f"whether a guest has {volume.full_name} cannot be told: {error.message}", hint="start libvirtd first"
        ) from None


def refuse_used(
    volume: Volume, change: str, found: Sequence[Use], *, known_too: bool = False, reads: bool = False
) -> None:
    """Raises StorageError (or ImageInUse) where a guest that runs, or this host, has VOLUME; with KNOWN_TOO, also where
    a guest would be started with it; and where the image of any guest lies upon it, unless the change only READS it."""
    running = sorted({use.domain for use in found if use.running})
    if running:
        raise StorageError(
            f"{volume.full_name} is in use by the guest {', '.join(running)}", hint=f"shut it down before '{change}'"
        )
    _refuse_asleep(volume.full_name, found)
    if not reads:
        _refuse_beneath(volume.full_name, found)
    known = sorted({use.domain for use in found if not use.beneath})
    if known and known_too:
        raise StorageError(
            f"{volume.full_name} is a disk of the guest {', '.join(known)}, which is off",
            hint=f"'xm delete {known[0]}' forgets the guest, 'xm block-detach' takes the disk from it",
        )
    if volume.path and volume.active:
        _refuse_on_host(volume)


def _refuse_beneath(name: str, found: Sequence[Use]) -> None:
    above = sorted({use.domain for use in found if use.beneath})
    if above:
        raise StorageError(
            f"an image of the guest {', '.join(above)} lies upon {name}, which must stay as it is",
            hint="'xmcompat image convert --backing-ok' makes one image of both",
        )


def refuse_needed(*paths: str) -> None:
    """Before the images at PATHS are changed or replaced: raises StorageError where a guest's image lies upon one of them,
    or a suspended guest goes on with it. Where the guests cannot be told, there is a warning: QEMU's locks keep what runs.
    """
    from xmcompat.tool.storage_uses import names_of

    there = [path for path in paths if os.path.lexists(path)]
    if not there:
        return
    try:
        known = [use for use in uses() if use.beneath or use.suspended]
    except XmError as error:
        warn(f"whether a guest needs {there[0]} is not known: {error.line()}")
        return
    for path in there:
        found = [use for use in known if names_of(use.path) & names_of(path)]
        _refuse_asleep(path, found)
        _refuse_beneath(path, found)


def _refuse_asleep(name: str, found: Sequence[Use]) -> None:
    asleep = sorted({use.domain for use in found if use.suspended and not use.beneath})
    if asleep:
        raise StorageError(
            f"{name} is a disk of the guest {asleep[0]}, which is suspended and goes on with it as it is",
            hint=f"'xm resume {asleep[0]}', and shut it down",
        )


def _refuse_on_host(volume: Volume) -> None:
    from xmcompat.storage.image_device import refuse_in_use

    try:
        fd = os.open(volume.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise StorageError(f"{volume.path}: {error.strerror}") from None
    try:
        refuse_in_use(volume.path, fd)
    finally:
        os.close(fd)


def module_of(pool_or_volume: Pool | Volume) -> PoolKind:
    return kind(pool_or_volume.kind)
