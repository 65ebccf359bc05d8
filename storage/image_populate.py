"""An empty disk for an installer: the image, when the installer has done its work, and nothing when it has not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from xmcompat.storage.image_copy import size_of
from xmcompat.storage.image_device import device_to_fill, spoilt_on_failure
from xmcompat.storage.image_output import draft, is_block_device
from xmcompat.storage.image_programs import ImageError, own_path, run

#: The smallest disk in bytes that any installer can do with.
SMALLEST = 1 << 20


@contextmanager
def empty_disk(out: str, size: int | None, format: str, *, force: bool) -> Iterator[str]:
    """The path at which QEMU finds an empty disk of SIZE bytes in FORMAT, for OUT. A volume has its own size.

    When the body ends well, OUT is the disk. Else nothing is left under that name, or the volume's beginning is empty.
    Raises ImageError where OUT is there and not FORCE, or holds something.
    """
    with ExitStack() as stack:
        if is_block_device(out):
            if format != "raw":
                raise ImageError(f"{out} is a block device, which takes raw images only", hint="--format raw")
            fd = stack.enter_context(device_to_fill(out, size or 0, force))
            if size is not None and size != size_of(fd):
                raise ImageError(f"{out} has {size_of(fd)} bytes, all of which the disk gets", hint="leave out --size")
            stack.enter_context(spoilt_on_failure(fd, out))
            os.pwrite(fd, bytes(SMALLEST), 0)  # what lay there is not to be taken for a system
            os.fsync(fd)
            yield os.path.realpath(out)
            return
        if size is None:
            raise ImageError(f"{out} is to be made, and has no size", hint="give --size")
        if size < SMALLEST or size % 512:
            raise ImageError(f"{size} bytes are no size of a disk", hint="write --size in MiB: 8192M")
        place, fd = stack.enter_context(draft(out, force=force))
        if format == "raw":
            os.ftruncate(fd, size)
        else:
            run(["qemu-img", "create", "-q", "-f", format, own_path(fd), str(size)], fds=(fd,), deadline=60)
        yield os.path.abspath(place)
        os.fsync(fd)
