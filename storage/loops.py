"""Loop devices that go by themselves: a file as a block device, for as long as somebody has the device open.

``losetup`` makes such a device in two calls, between which a kill leaves one that nobody takes away; the kernel does it in
one, with the flag that clears the device at its last close.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from contextlib import suppress

from xmcompat.storage.programs import StorageError

_CONTROL = "/dev/loop-control"
_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A
_AUTOCLEAR = 4
#: struct loop_info64: five numbers, four words, three texts, two numbers; and loop_config around it.
_INFO = "<5Q4I64s64s32s2Q"
_CONFIG = "<II232s64x"
_TRIES = 20


def attach(fd: int, name: str) -> int:
    """A descriptor of a loop device on the open file FD, which is cleared when the last of those is closed. NAME is what
    losetup shows. Raises StorageError."""
    info = struct.pack(_INFO, 0, 0, 0, 0, 0, 0, 0, 0, _AUTOCLEAR, os.fsencode(name)[:63], b"", b"", 0, 0)
    try:
        with open(_CONTROL, "rb", buffering=0) as control:
            for _ in range(_TRIES):
                device = os.open(f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}", os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.ioctl(device, _CONFIGURE, struct.pack(_CONFIG, fd, 0, info))
                    return device
                except OSError as error:
                    os.close(device)
                    if error.errno != errno.EBUSY:  # another process was quicker
                        raise
    except OSError as error:
        hint = "load the module loop" if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO) else None
        raise StorageError(f"no loop device can be made: {error.strerror}", hint=hint) from None
    raise StorageError(f"no loop device is free after {_TRIES} tries")


def possible() -> bool:
    """Whether this kernel can make them so: Linux 5.8 and newer."""
    with suppress(OSError, ValueError):
        major, minor = os.uname().release.split(".")[:2]
        return os.path.exists(_CONTROL) and (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= (5, 8)
    return False
