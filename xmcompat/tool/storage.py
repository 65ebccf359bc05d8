"""``xmcompat storage``: the places where guests' disks are kept, and the disks in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from xmcompat.tool.image_words import size_text
from xmcompat.tool.output import print_json, print_pairs
from xmcompat.tool.storage_change import clone, create, fill, remove, resize, rollback, snapshot
from xmcompat.tool.storage_check import check

if TYPE_CHECKING:
    from xmcompat.storage.volume import Pool, Volume
    from xmcompat.tool.storage_uses import Use

_json = click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")


@click.group("storage")
def storage() -> None:
    """Pools and volumes for guests' disks: list, usage, create, resize, snapshot, rollback, clone, remove, import, check.

    A pool is called by what it is: a volume group (vg0), a thin pool (vg0/pool), a folder (/srv/xen), a target of iSCSI
    (IQN@HOST:PORT), a shelf of AoE (e0). libvirt's names for its own pools are taken as well.
    """


for command in (create, resize, snapshot, rollback, clone, remove, fill, check):
    storage.add_command(command)


@storage.command("list")
@click.argument("pool", metavar="[POOL]", required=False)
@_json
def list_(pool: str | None, as_json: bool) -> None:
    """Show the pools of this host, or the volumes in POOL with the guests that have them."""
    from xmcompat.tool.storage_words import all_pools, pool_of, print_table, uses_if_told

    uses = uses_if_told()
    if pool is not None:
        _list_volumes(pool_of(pool), uses, as_json)
        return
    pools = all_pools([use.path for use in uses if use.path.startswith("/")])
    if as_json:
        print_json([_pool_document(one) for one in pools])
    else:
        rows = [(one.name, one.kind, _amount(one.size), _amount(one.free), one.remark) for one in pools]
        print_table(("POOL", "KIND", "SIZE", "FREE", "REMARK"), rows, right=(2, 3))


def _list_volumes(pool: Pool, uses: Sequence[Use], as_json: bool) -> None:
    from xmcompat.tool.storage_uses import of_volume
    from xmcompat.tool.storage_words import print_table

    found = [(volume, of_volume(volume, uses)) for volume in _volumes(pool)]
    if as_json:
        print_json([_volume_document(volume, used) for volume, used in found])
        return
    rows = [
        (
            volume.name, _amount(volume.size), _amount(volume.allocated), volume.format or "-", volume.origin or "-",
            ", ".join(_users(used)) or "-", _remark(volume),
        )
        for volume, used in found
    ]  # fmt: skip
    print_table(("VOLUME", "SIZE", "ALLOCATED", "FORMAT", "ORIGIN", "USED BY", "REMARK"), rows, right=(1, 2))


@storage.command("usage")
@click.argument("pool", metavar="[POOL]", required=False)
@_json
def usage(pool: str | None, as_json: bool) -> None:
    """Show how full the pools of this host are, or POOL with all that is known of it.

    PROMISED is what the guests could fill: more than SIZE where volumes take room only as they are written.
    """
    from xmcompat.tool.storage_words import all_pools, pool_of, print_table, uses_if_told

    pools = [pool_of(pool)] if pool is not None else all_pools(
        [use.path for use in uses_if_told() if use.path.startswith("/")]
    )  # fmt: skip
    promised = {one.name: sum(volume.size or 0 for volume in _volumes(one) if volume.path) for one in pools}
    if as_json:
        print_json([_pool_document(one) | {"promised_bytes": promised[one.name]} for one in pools])
    elif pool is None:
        rows = [
            (
                one.name, one.kind, _amount(one.size), _amount(_used(one)), _share(one), _amount(promised[one.name]),
                one.remark,
            )
            for one in pools
        ]  # fmt: skip
        heads = ("POOL", "KIND", "SIZE", "USED", "USE%", "PROMISED", "REMARK")
        print_table(heads, rows, right=(2, 3, 4, 5))
    else:
        (one,) = pools
        pairs = [("pool", one.name), ("kind", one.kind), ("size", _amount(one.size)), ("used", _amount(_used(one)))]
        pairs += [("free", _amount(one.free)), ("use", _share(one))]
        pairs += [] if "promised" in dict(one.figures) else [("promised", _amount(promised[one.name]))]
        pairs += [*one.figures, *([("remark", one.remark)] if one.remark else [])]
        print_pairs((name, value) for name, value in pairs if value not in ("", "-"))


def _volumes(pool: Pool) -> list[Volume]:
    """Those of POOL; none, and a warning, where they cannot be told."""
    from xmcompat.errors import XmError
    from xmcompat.tool.storage_words import module_of, warn

    try:
        return list(module_of(pool).volumes(pool))
    except XmError as error:
        warn(error.line())
        return []


def _users(used: Sequence[Use]) -> list[str]:
    """The names of the guests; a guest that runs is told as that alone."""
    running = {use.domain for use in used if use.running}
    return sorted(running) + sorted(f"{name} (off)" for name in {use.domain for use in used} - running)


def _remark(volume: Volume) -> str:
    words = [volume.remark] if volume.remark else []
    words += ["" if volume.active else "not active", "read-only" if volume.readonly else ""]
    words += [f"{name} {value}" for name, value in volume.figures]
    return ", ".join(filter(None, words))


def _used(pool: Pool) -> int | None:
    return None if pool.size is None or pool.free is None else pool.size - pool.free


def _share(pool: Pool) -> str:
    used = _used(pool)
    return "-" if used is None or not pool.size else f"{100 * used / pool.size:.0f}%"


def _amount(size: int | None) -> str:
    return "-" if size is None else size_text(size)


def _pool_document(pool: Pool) -> dict[str, object]:
    return {
        "name": pool.name, "kind": pool.kind, "size_bytes": pool.size, "free_bytes": pool.free,
        "remark": pool.remark or None, "figures": dict(pool.figures),
    }  # fmt: skip


def _volume_document(volume: Volume, used: Sequence[Use]) -> dict[str, object]:
    return {
        "name": volume.name, "pool": volume.pool, "kind": volume.kind, "path": volume.path or None,
        "size_bytes": volume.size, "allocated_bytes": volume.allocated, "format": volume.format or None,
        "origin": volume.origin or None, "thin": volume.thin, "active": volume.active, "readonly": volume.readonly,
        "used_by": [{"domain": name, "running": any(use.running for use in used if use.domain == name)}
                    for name in sorted({use.domain for use in used})],
        "remark": volume.remark or None, "figures": dict(volume.figures),
    }  # fmt: skip
