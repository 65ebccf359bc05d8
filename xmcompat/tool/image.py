"""``xmcompat image``: disk images from trees, into other formats, joined, taken apart, looked into and changed."""

from __future__ import annotations

import os

import click

from xmcompat.tool.image_change import edit, grow, shrink, sparsify
from xmcompat.tool.image_look import checksum, show
from xmcompat.tool.image_populate import populate
from xmcompat.tool.image_words import Format, Size, work
from xmcompat.tool.output import printable

_FILE_SYSTEMS = ("ext4", "ext3", "ext2")
_FORMATS = "raw, qcow2, qcow, vhd, vmdk or vdi."
_LAST_PARTITION = 128
_force = click.option("--force", is_flag=True, help="Replace what is there.")


@click.group("image")
def image() -> None:
    """Make, convert and change disk images, without mounting them: build, convert, join, split, show, edit and more."""


for command in (populate, show, checksum, edit, grow, shrink, sparsify):
    image.add_command(command)


def _refuse_needed(force: bool, *paths: str) -> None:
    """Before what is there is replaced; without FORCE it is refused by itself."""
    if force:
        from xmcompat.tool.storage_words import refuse_needed

        refuse_needed(*paths)


@image.command("build")
@click.argument("source", metavar="TAR|DIR")
@click.argument("out", metavar="OUT_FILE")
@click.option("--size", type=Size(), required=True, metavar="SIZE", help="Size of the disk: 512M, 4G.")
@click.option("--fs", type=click.Choice(_FILE_SYSTEMS), default="ext4", help="The file system (ext4).")
@click.option("--format", "format_", type=Format(), default="raw", metavar="FORMAT", help=_FORMATS)
@click.option("--partition", is_flag=True, help="With a partition table, and the file system in partition 1.")
@click.option("--label", default="", metavar="TEXT", help="Label of the file system.")
@click.option("--work-dir", metavar="DIR", help="Where a tar is unpacked, instead of beside OUT.")
@_force
def build(
    source: str, out: str, size: int, fs: str, format_: str, partition: bool, label: str, work_dir: str | None, force: bool
) -> None:
    """Make an image of a tar, plain or compressed, or of the directory of a whole system.

    Owners, hard links, devices, holes and capabilities are kept. A block device with something on it is refused.
    """
    from xmcompat.storage import image_build

    _refuse_needed(force, out)
    wanted = image_build.Wanted(size=size, fs=fs, format=format_, partition=partition, label=label)
    with work() as progress:
        image_build.build(source, out, wanted, force=force, work=work_dir, progress=progress)


@image.command("convert")
@click.argument("source", metavar="IN_FILE")
@click.argument("out", metavar="OUT_FILE")
@click.option("--format", "format_", type=Format(), required=True, metavar="FORMAT", help=_FORMATS)
@click.option("--from", "source_format", type=Format(), metavar="FORMAT", help="The format of IN, not what it shows.")
@click.option("--backing-ok", is_flag=True, help="Read the backing files of IN, too.")
@_force
def convert(source: str, out: str, format_: str, source_format: str | None, backing_ok: bool, force: bool) -> None:
    """Write the image IN to OUT in another format. Zeros become holes.

    An image that names other files is refused: it could name any file of this host.
    """
    from xmcompat.storage import image_convert

    _refuse_needed(force, out)
    with work() as progress:
        image_convert.convert(
            source, out, format_, source_format=source_format, backing_ok=backing_ok, force=force, progress=progress
        )


@image.command("join")
@click.argument("words", metavar="[NAME=]FILE... OUT", nargs=-1, required=True)
@_force
def join(words: tuple[str, ...], force: bool) -> None:
    """Join images of partitions to one disk image: xvda1=swap.img xvda2=root.img disk.img

    Numbers above 4 and disks of 2 TiB give a GPT, all others an MBR.
    """
    from xmcompat.storage import image_join

    if len(words) < 2:
        raise click.UsageError("Give at least one image of a partition, and the disk image to make.")
    _refuse_needed(force, words[-1])
    with work() as progress:
        table = image_join.join(image_join.numbered(words[:-1]), words[-1], force=force, progress=progress)
    for one in table.partitions:
        click.echo(f"{one.number}  {one.start:>10} {one.size:>10}  {one.type}")


@image.command("split")
@click.argument("disk", metavar="FILE")
@click.option("--output-dir", default=".", metavar="DIR", help="Where the files go, instead of here.")
@click.option("--name", default="xvda", metavar="NAME", help="What they are called, with a number behind it (xvda).")
@_force
def split(disk: str, output_dir: str, name: str, force: bool) -> None:
    """Take a disk image apart: each partition becomes a file, xvda1.img and so on."""
    from xmcompat.storage import image_join

    if not name or "/" in name:
        raise click.UsageError(f"'{name}' is no name of files.")
    _refuse_needed(force, *(os.path.join(output_dir, f"{name}{number}.img") for number in range(1, _LAST_PARTITION + 1)))
    with work() as progress:
        found = image_join.split(disk, output_dir, name=name, force=force, progress=progress)
    for number, path in found:
        click.echo(f"{number}  {printable(path)}")
