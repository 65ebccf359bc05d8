"""What the commands of ``xmcompat image`` share: sizes, formats, a bar for long work, and an orderly end."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from xmcompat.errors import XmError

if TYPE_CHECKING:
    from xmcompat.storage.image_programs import Progress

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_WIDTH = 30

#: Bytes: what the kernel's 64 bits, and qemu-img, count up to.
_LARGEST = (1 << 62) - 1


class Size(click.ParamType):
    """An amount with a unit, 512M or 1.5G, in bytes. A bare number is bytes."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?)(?:i?B)?", str(value), re.IGNORECASE)
        if found is None:
            self.fail(f"'{value}' is no size; write 512M, 2G or a number of bytes", param, ctx)
        unit = _UNITS[found[2].upper()]
        size = int(float(found[1]) * unit) if "." in found[1] else int(found[1]) * unit
        if size > _LARGEST:
            self.fail(f"'{value}' is more than any disk has", param, ctx)
        return size


class Format(click.ParamType):
    """A format of images by its name; vhd is QEMU's vpc."""

    name = "format"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from xmcompat.storage.image_format import format_named

        try:
            return format_named(str(value))
        except XmError as error:
            self.fail(error.line(), param, ctx)


def size_text(size: int) -> str:
    """SIZE in bytes for people: "1.5 GiB"."""
    for unit, name in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}".replace(".0 ", " ")
    return f"{size} bytes"


@contextmanager
def work() -> Iterator[Progress]:
    """Shows progress on a terminal, and ends in order on SIGTERM and SIGHUP as it does on Ctrl-C."""
    from xmcompat.storage.image_programs import quiet

    bar = _Bar()
    before = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield bar.show if sys.stderr.isatty() else quiet
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        bar.clear()


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class _Bar:
    """One line on stderr, written over and at last removed."""

    def __init__(self) -> None:
        self._shown = ""
        self._at = 0.0

    def show(self, stage: str, share: float) -> None:
        now = time.monotonic()
        if now - self._at < 0.1 and share < 1.0:
            return
        self._at = now
        done = int(max(0.0, min(share, 1.0)) * _WIDTH)
        text = f"{stage:<8} [{'#' * done}{'.' * (_WIDTH - done)}] {int(share * 100):3d}%"
        if text != self._shown:
            click.echo(f"\r{text}", nl=False, err=True)
            self._shown = text

    def clear(self) -> None:
        if self._shown:
            click.echo(f"\r{' ' * len(self._shown)}\r", nl=False, err=True)
