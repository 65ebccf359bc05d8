"""``xmcompat image edit``, ``grow``, ``shrink`` and ``sparsify``: changes to images that no guest uses."""

from __future__ import annotations

import click

from xmcompat.tool.image_words import Size, size_text, work
from xmcompat.tool.output import printable

_CONSOLES = ("hvc0", "ttyS0")


@click.command("edit")
@click.argument("path", metavar="FILE")
@click.option("--hostname", metavar="NAME", help="The guest's host name, also in its /etc/hosts.")
@click.option("--fstab-from-xvda-to-vda", "xvda_to_vda", is_flag=True, help="/dev/vdX for /dev/xvdX in its fstab.")
@click.option("--console", type=click.Choice(_CONSOLES), help="A login on that console.")
@click.option("--ssh-key", "key_files", metavar="FILE", multiple=True, help="Let those with this public key in as root.")
@click.option("--root-password-locked", is_flag=True, help="No login as root by password.")
@click.option("--partition", type=click.IntRange(1, 128), metavar="NUMBER", help="The one to change, not that with /etc.")
@click.option("--backing-ok", is_flag=True, help="Read its backing files, too.")
def edit(
    path: str, hostname: str | None, xvda_to_vda: bool, console: str | None, key_files: tuple[str, ...],
    root_password_locked: bool, partition: int | None, backing_ok: bool,
) -> None:  # fmt: skip
    """Change a guest's files in its image; all that is asked for, or nothing. Prints which files have changed.

    File systems are ext2, ext3 and ext4. Images of running guests are refused.
    """
    from pathlib import Path

    from xmcompat.storage import image_edit
    from xmcompat.storage.image_guest import checked_keys
    from xmcompat.tool.storage_words import refuse_needed

    keys = [key for file in key_files for key in checked_keys(Path(file).read_text("utf-8", "replace"), file)]
    edits = image_edit.Edits(
        hostname=hostname, xvda_to_vda=xvda_to_vda, console=console, keys=tuple(keys), lock_root=root_password_locked
    )
    if edits == image_edit.Edits():
        raise click.UsageError("Say what to change: --hostname, --console, --ssh-key or another.")
    refuse_needed(path)
    with work():
        changed = image_edit.edit(path, edits, partition=partition, backing_ok=backing_ok)
    for name in changed:
        click.echo(printable(name))


@click.command("grow")
@click.argument("path", metavar="FILE")
@click.argument("size", type=Size(), metavar="SIZE")
def grow(path: str, size: int) -> None:
    """Make the disk larger, with its file system: that of the last partition where there are some."""
    _resize(path, size, growing=True)


@click.command("shrink")
@click.argument("path", metavar="FILE")
@click.argument("size", type=Size(), required=False, metavar="[SIZE]")
def shrink(path: str, size: int | None) -> None:
    """Make the disk smaller, with its file system: to SIZE, or as small as it can be."""
    _resize(path, size, growing=False)


def _resize(path: str, size: int | None, *, growing: bool) -> None:
    from xmcompat.storage import image_resize
    from xmcompat.tool.storage_words import refuse_needed

    refuse_needed(path)
    with work() as progress:
        sizes = image_resize.resize(path, size, grow=growing, progress=progress)
    click.echo(f"{size_text(sizes.before)} -> {size_text(sizes.after)}")


@click.command("sparsify")
@click.argument("path", metavar="FILE")
def sparsify(path: str) -> None:
    """Give back the room of what the guest does not use."""
    from xmcompat.storage import image_resize
    from xmcompat.tool.storage_words import refuse_needed

    refuse_needed(path)
    with work() as progress:
        sizes = image_resize.sparsify(path, progress=progress)
    click.echo(f"{size_text(sizes.before)} -> {size_text(sizes.after)} allocated")
