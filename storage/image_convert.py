"""One format to another, by qemu-img, which is told both formats and opens no file but the two."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence

from xmcompat.storage.image_copy import size_of
from xmcompat.storage.image_output import draft, is_block_device
from xmcompat.storage.image_programs import Confinement, ImageError, Progress, is_root, own_path, quiet, run, user_for
from xmcompat.storage.image_source import Source, opened

#: qemu-img's own options. A vpc is else rounded up to a whole number of cylinders.
_OPTIONS = {"vpc": ("-o", "force_size=on")}


def convert(
    path: str,
    out: str,
    format: str,
    *,
    source_format: str | None = None,
    backing_ok: bool = False,
    force: bool = False,
    zeroed: bool = False,
    progress: Progress = quiet,
) -> None:
    """Write the image at PATH to OUT in FORMAT. Zeros become holes; a chain of images becomes one.

    SOURCE_FORMAT None: as the header says. Onto a block device only raw; one that is ZEROED reads as zeros all over, and
    gets none written. qemu-img runs without privileges, as nobody where all may read PATH, else as its owner. Raises
    ImageError.
    """
    with opened(path, format=source_format, backing_ok=backing_ok) as source:
        if is_block_device(out):
            if format != "raw":
                raise ImageError(f"{out} is a block device, which takes raw images only", hint="--format raw")
            from xmcompat.storage.image_device import device_to_fill, spoilt_on_failure

            with device_to_fill(out, virtual_size(source), force) as fd, spoilt_on_failure(fd, out):
                _qemu_convert(source, fd, format, progress, more=["-n", *(["--target-is-zero"] if zeroed else [])])
        else:
            with draft(out, force=force, made_of=source.fds) as (_, fd):
                write_converted(source, fd, format, progress)


def write_converted(source: Source, fd: int, format: str, progress: Progress) -> None:
    """Write SOURCE in FORMAT to the draft FD."""
    if is_root():
        os.fchown(fd, user_for(source.fd), -1)
    _qemu_convert(source, fd, format, progress)


def virtual_size(source: Source) -> int:
    """The size of the disk that a guest sees, in bytes."""
    if source.header.format == "raw":
        return size_of(source.fd)
    words = ["qemu-img", "info", "--output=json", source.words()]
    said = json.loads(run(words, fds=source.fds, confined=Confinement(user=user_for(source.fd), fenced=True), deadline=60))
    return int(said["virtual-size"])


def _qemu_convert(source: Source, fd: int, format: str, progress: Progress, *, more: Sequence[str] = ()) -> None:
    """MORE: the words for a device, which is root's."""
    shown = progress is not quiet
    words = ["qemu-img", "convert", *(["-p"] if shown else []), "-O", format, *_OPTIONS.get(format, ()), *more]
    confined = Confinement(user=0 if more else user_for(source.fd), fenced=True)
    watch = _percent(progress) if shown else None
    run([*words, source.words(), own_path(fd)], fds=(*source.fds, fd), confined=confined, watch=watch)


def _percent(progress: Progress) -> Callable[[int, bytes], None]:
    """Reads "(12.34/100%)"."""

    def watch(_pid: int, printed: bytes) -> None:
        found = re.findall(rb"\((\d+\.\d+)/100%\)", printed)
        if found:
            progress("convert", float(found[-1]) / 100)

    return watch
