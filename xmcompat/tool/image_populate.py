"""``xmcompat image populate``: a disk that an installer fills, from an ISO image or from the installer's kernel."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from xmcompat.errors import OperationError, StillWritten
from xmcompat.tool.image_words import Format, Size, work
from xmcompat.tool.output import printable

if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import DomainInfo, Hypervisor
    from xmcompat.toolstack import Toolstack

_BUSES = ("virtio", "ide", "sata")


@click.command("populate")
@click.argument("out", metavar="OUT_FILE")
@click.option("--size", type=Size(), metavar="SIZE", help="Size of the disk: 8G. A volume has its own.")
@click.option("--format", "format_", type=Format(), default="raw", metavar="FORMAT", help="raw, qcow2, vhd and others.")
@click.option("--cdrom", default="", metavar="ISO", help="The image that starts, or lies in the drive.")
@click.option("--kernel", default="", metavar="FILE", help="The installer's kernel.")
@click.option("--ramdisk", default="", metavar="FILE", help="The installer's RAM disk.")
@click.option("--args", "cmdline", default="", metavar="TEXT", help="The kernel's command line: 'console=ttyS0'.")
@click.option("--memory", type=click.IntRange(16), default=1024, metavar="MIB", help="Memory of the installer (1024).")
@click.option("--vcpus", type=click.IntRange(1, 255), default=1, metavar="NUMBER", help="Its processors (1).")
@click.option("--bridge", default="", metavar="NAME", help="Its network; without one it has none.")
@click.option("--bus", type=click.Choice(_BUSES), default="virtio", help="How it sees the disk (virtio).")
@click.option("--vnc", is_flag=True, help="With a screen, on this host alone.")
@click.option("--force", is_flag=True, help="Replace what is there.")
def populate(
    out: str, size: int | None, format_: str, cdrom: str, kernel: str, ramdisk: str, cmdline: str, memory: int, vcpus: int,
    bridge: str, bus: str, vnc: bool, force: bool,
) -> None:  # fmt: skip
    """Have an installer fill the disk OUT, with this terminal on its serial port. After Ctrl-], Ctrl-C ends it.

    It is done when the installer switches itself off or starts anew; whatever else ends it leaves nothing of OUT.
    """
    from xmcompat import populating
    from xmcompat.storage.image_populate import empty_disk
    from xmcompat.tool.storage_words import refuse_needed
    from xmcompat.toolstack import Toolstack

    installer = populating.Installer(kernel, ramdisk, cmdline, cdrom, memory, vcpus, bus, bridge, vnc)
    name = re.sub(r"[^\w.+-]", "_", os.path.basename(out), flags=re.ASCII).partition(".")[0] or "disk"
    populating.refuse_unfit(installer, name)
    if force:
        refuse_needed(out)
    with work(), _left_open(Toolstack.open()) as toolstack, empty_disk(out, size, format_, force=force) as disk:
        ended = populating.run(
            toolstack.hypervisor, installer, name, disk, format_, lambda info: _attend(toolstack, info, vnc=vnc),
            lambda: _anew(toolstack),
        )
        if ended.how not in ("off", "reset"):
            why = {"crash": "it crashed", "untold": "libvirt has not told how it ended"}.get(ended.how, "somebody ended it")
            raise OperationError(f"the installer did not come to its end: {why}; nothing is left of {printable(out)}")


@contextmanager
def _left_open(toolstack: Toolstack) -> Iterator[Toolstack]:
    """TOOLSTACK, closed at the end; but not after StillWritten: libvirtd may not answer to that either, and another thread
    may use it yet. It goes with the program."""
    try:
        yield toolstack
    except StillWritten:
        raise
    except BaseException:
        toolstack.close()
        raise
    toolstack.close()


def _anew(toolstack: Toolstack) -> Hypervisor:
    toolstack.close()
    return toolstack.hypervisor


def _attend(toolstack: Toolstack, info: DomainInfo, *, vnc: bool) -> None:
    """Let the domain run, with this terminal on its consoles, until it has gone or is left alone."""
    from xmcompat.xm.console import STDIN, STDOUT, Attachment

    attachment = Attachment(STDIN, STDOUT)
    with closing(toolstack.open_console(info.name, number=None, on_data=attachment.on_data)) as session:
        if vnc:
            from xmcompat.display import vnc_display

            shown = vnc_display(toolstack, info.name)
            click.echo(f"its screen is on VNC {shown.host}:{shown.number}", err=True)
        toolstack.hypervisor.unpause(info.uuid)
        attachment.run(session)
        if not session.ended and sys.stdin.isatty():
            click.echo(f"{info.name} goes on; Ctrl-C ends it, and leaves nothing", err=True)
