"""``xmcompat image show`` and ``checksum``: what is in an image."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from xmcompat.tool.image_words import Format, size_text, work
from xmcompat.tool.output import print_json, print_pairs, printable

if TYPE_CHECKING:
    from xmcompat.storage.image_show import Contents, FileSystem

_json = click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")


@click.command("show")
@click.argument("path", metavar="FILE")
@click.option("--format", "format_", type=Format(), metavar="FORMAT", help="Its format, instead of what the file shows.")
@click.option("--backing-ok", is_flag=True, help="Read its backing files, too.")
@_json
def show(path: str, format_: str | None, backing_ok: bool, as_json: bool) -> None:
    """Show format, sizes, partitions and file systems of an image, and the guest in it."""
    from xmcompat.storage.image_show import examine

    with work():
        contents = examine(path, format=format_, backing_ok=backing_ok)
    if as_json:
        print_json(_document(contents))
    else:
        print_pairs(_pairs(contents))


def _pairs(contents: Contents) -> Iterator[tuple[str, str]]:
    yield "image", contents.path
    yield "format", contents.format
    yield "size", f"{size_text(contents.virtual_size)} ({contents.virtual_size} bytes)"
    yield "allocated", size_text(contents.allocated)
    if contents.backing:
        yield "backing file", contents.backing
    if contents.in_use:
        yield "in use", "a running guest has it open"
    if contents.table:
        yield "table", f"{contents.table.label} {contents.table.disk_id}"
    sizes = {one.number: one for one in contents.table.partitions} if contents.table else {}
    for system in contents.file_systems:
        one = sizes.get(system.partition)
        amount = f"{size_text(one.size * 512)} {one.type}{' bootable' if one.bootable else ''}, " if one else ""
        yield f"partition {system.partition}" if one else "contents", amount + _named(system)
    if contents.guest:
        yield "guest", contents.guest.name or "a system of an unknown name"
        yield "host name", contents.guest.hostname or "none"
        for number, line in enumerate(contents.guest.fstab):
            yield "" if number else "fstab", line
    if contents.remark:
        yield "remark", contents.remark


def _named(system: FileSystem) -> str:
    words = [system.type or "nothing that is known"]
    words += [f"label '{system.label}'"] if system.label else []
    words += [f"uuid {system.uuid}"] if system.uuid else []
    words += ["journal not empty"] if system.journal_dirty else []
    return " ".join(words)


def _document(contents: Contents) -> dict[str, object]:
    table, guest = contents.table, contents.guest
    return {
        "path": contents.path, "format": contents.format, "virtual_size_bytes": contents.virtual_size,
        "allocated_bytes": contents.allocated, "in_use": contents.in_use, "backing": contents.backing or None,
        "table": table and {
            "label": table.label, "disk_id": table.disk_id,
            "partitions": [
                {"number": one.number, "start_bytes": one.start * 512, "size_bytes": one.size * 512, "type": one.type,
                 "bootable": one.bootable} for one in table.partitions],
        },
        "file_systems": [
            {"partition": one.partition or None, "type": one.type or None, "label": one.label or None,
             "uuid": one.uuid or None, "journal_dirty": one.journal_dirty} for one in contents.file_systems],
        "guest": guest and {
            "partition": guest.partition or None, "name": guest.name or None, "hostname": guest.hostname or None,
            "fstab": list(guest.fstab)},
        "remark": contents.remark or None,
    }  # fmt: skip


@click.command("checksum")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True)
@_json
def checksum(paths: tuple[str, ...], as_json: bool) -> None:
    """Print the SHA-256 of images as sha256sum does: sha256sum -c reads it."""
    from xmcompat.storage import image_show

    found = []
    for path in paths:
        with work() as progress:
            found.append((path, image_show.checksum(path, progress=progress)))
        if not as_json:
            _print_sum(found[-1][1], path)
    if as_json:
        print_json([{"path": path, "sha256": digest} for path, digest in found])


def _print_sum(digest: str, path: str) -> None:
    """A line as sha256sum writes it: that of a name with a backslash or an end of line begins with a backslash, and has
    those escaped; all else of names is written as it is, but not to a terminal. Source: GNU coreutils 9.1."""
    name = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if name != path else ""
    if sys.stdout.isatty():
        click.echo(f"{mark}{digest}  {printable(name)}")
    else:
        click.echo(os.fsencode(f"{mark}{digest}  {name}"))
