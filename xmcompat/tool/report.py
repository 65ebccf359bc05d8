"""``xmcompat report``: the folder of a dead host, and what becomes of each guest in it. No hypervisor is asked."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

import click

from xmcompat.errors import XmError
from xmcompat.tool.output import printable

if TYPE_CHECKING:
    from xmcompat.render.report_values import Report


@click.command("report")
@click.argument("folder", metavar="DIR")
@click.option("--format", "form", type=click.Choice(["text", "json", "html"]), default="text", show_default=True,
              help="A table, one JSON document, or one page that needs nothing else.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="Write to FILE, which is whole or as it was; else to stdout.")
def report(folder: str, form: str, output: str | None) -> int:
    """Show all guests of a Xen host that is known by its files in DIR, and what becomes of them on KVM.

    DIR holds a whole host (DIR/etc/xen, DIR/var/lib/xend), is its /etc/xen, or holds configurations. No file outside
    DIR is read. Exits 1 where nothing in DIR can be read; guests that cannot be taken over are part of the report.
    """
    from xmcompat.tool.report_host import survey

    if not folder:
        raise click.UsageError("DIR is empty; name a folder")
    found = survey(folder, made=time.strftime("%Y-%m-%d"))
    text = _rendered(found, form)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_whole(output, text.encode("utf-8", "backslashreplace"))
    return 0


def _rendered(found: Report, form: str) -> str:
    if form == "json":
        from xmcompat.render.report_json import json_text

        return json_text(found)
    if form == "html":
        from xmcompat.render.report_html import page

        return page(found)
    from xmcompat.render import report_text

    return report_text.text(found)


def write_whole(path: str, data: bytes) -> None:
    """Put DATA into the file PATH, at once or not at all. Raises XmError for what is no file, OSError."""
    path = os.path.realpath(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise XmError(f"{printable(path)} is no file", hint="leave --output out, and send stdout there")
    except FileNotFoundError:
        pass
    part = os.path.join(os.path.dirname(path), f".{os.path.basename(path)[:200]}.{os.getpid()}.part")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(file, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(file)
        os.replace(part, path)
    except BaseException as error:
        os.unlink(part)
        if isinstance(error, OSError):
            error.filename = path
        raise
