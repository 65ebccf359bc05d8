"""The file to which a guest is saved: whether it can be written, and what is said where it could not be."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from xmcompat.errors import OperationError
from xmcompat.migration import save_file

if TYPE_CHECKING:
    from xmcompat.errors import HypervisorError

#: The end of what libvirt says when a file cannot be written.
_REASON = re.compile(
    r"(No space left on device|Disk quota exceeded|File too large|Input/output error|Read-only file system|"
    r"Permission denied)$"
)
#: What libvirt says of a compression that it does not know, or whose program is missing.
_FORMAT = re.compile(r"save image format|[Cc]ompression program", re.IGNORECASE)


def refuse_name(path: str, use: str) -> None:
    """Raise OperationError for a PATH that libvirt cannot be told: it takes UTF-8 alone. USE is what it was to do."""
    try:
        path.encode()
    except UnicodeEncodeError:
        why = f"can't {use} guest state file {path}: its name is not UTF-8"
        raise OperationError(why, hint="give it another") from None


def unfinished(path: str) -> str:
    """The file that is to become PATH. Raises OperationError."""
    refuse_name(path, "write")
    why = None
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            why = "Is a directory" if stat.S_ISDIR(mode) else "it is no regular file"
    except FileNotFoundError:
        pass
    except OSError as error:
        why = error.strerror
    if why is None:
        try:
            return save_file.unfinished(path)
        except OSError as error:
            why = error.strerror
    raise OperationError(f"can't write guest state file {path}: {why}")


def unwritten(path: str, error: HypervisorError) -> OperationError:
    """What libvirt said of a save that failed, in xend's words where it is about the file."""
    found = _REASON.search(error.line())
    if found:
        return OperationError(f"can't write guest state file {path}: {found[1]}")
    if _FORMAT.search(error.line()):
        return OperationError(
            error.line(),
            hint="save_image_format in libvirt's qemu.conf is to be raw, or gzip, bzip2, xz or lzop with its program",
        )
    return OperationError(error.line())
