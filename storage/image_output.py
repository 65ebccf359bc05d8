"""The file that is made: whole under its name, or not there at all, and by one process at a time.

A draft lies beside it, ``.NAME.part``; whoever holds its lock may write it. A draft that somebody has left, whose process
was killed, is used again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from xmcompat.errors import StillWritten
from xmcompat.storage.image_programs import ImageError, ImageInUse


def refuse_present(path: str, force: bool) -> None:
    """Raises ImageError where PATH is there and FORCE does not allow to replace it, or is no regular file."""
    if os.path.islink(path):
        raise ImageError(f"{path} is a symbolic link to {os.path.realpath(path)}", hint="name that path itself")
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: {getattr(error, 'strerror', None) or 'the name is not usable'}") from None
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(f"{path} is no regular file", hint="name a file")
    if not force:
        raise ImageError(f"{path} is there already", hint="--force replaces it")


def refuse_links(path: str, fd: int) -> None:
    """Raises ImageError where the file FD at PATH has other names (hard links): a new file takes PATH alone, and those
    would go on to name the old one."""
    names = os.fstat(fd).st_nlink
    if names > 1:
        raise ImageError(
            f"{path} is one of {names} names of that file, and the others would keep it as it was",
            hint=f"'find -samefile {path}' shows those in a folder; remove them, or change a copy",
        )


def is_block_device(path: str) -> bool:
    """Whether PATH leads to a block device; links such as /dev/vg0/web1 are followed."""
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


@contextmanager
def draft(
    path: str, *, force: bool = False, like: int | None = None, made_of: Sequence[int] = ()
) -> Iterator[tuple[str, int]]:
    """The path and descriptor of a draft that gets the name PATH when the body ends well, and goes away when it does not.

    LIKE is the descriptor of a file whose owner and mode it takes. Nobody may read or write it who may not do so with the
    open files that it is MADE_OF. Raises ImageError where PATH is there and not FORCE,
    and ImageInUse where another process is making it. After StillWritten, the body's, the draft stays.
    """
    refuse_present(path, force)
    place = os.path.join(os.path.dirname(path) or ".", f".{os.path.basename(path)[:200]}.part")
    fd = _locked(place, path)
    try:
        os.ftruncate(fd, 0)
        os.fchmod(fd, 0o600)
        yield place, fd
        _dress(fd, like, made_of)
        refuse_present(path, force)
        if force:
            os.replace(place, path)
        else:
            _give_name(place, path)
    except StillWritten:
        raise
    except OSError as error:
        _drop(place)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ImageError(f"{path}: {error.strerror}", hint="free some space; nothing is left of it") from None
        raise
    except BaseException:
        _drop(place)
        raise
    finally:
        os.close(fd)


def _locked(place: str, path: str) -> int:
    """The draft, opened and locked. A draft that became PATH meanwhile is somebody else's image."""
    for _ in range(10):
        try:
            fd = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        except OSError as error:
            raise ImageError(f"{place if os.path.lexists(place) else path}: {error.strerror}") from None
        found = os.fstat(fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(found, os.lstat(place)):
                if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1:
                    _refuse_written(place, fd)
                    return fd
                os.unlink(place)  # left by a process that was killed, or laid there by somebody else
        except BlockingIOError:
            os.close(fd)
            raise ImageInUse(f"{path} is being made by another process", hint="wait for it") from None
        except FileNotFoundError:
            pass
        os.close(fd)
    raise ImageInUse(f"{path} is being made by other processes", hint="try again")


def _refuse_written(place: str, fd: int) -> None:
    """Raises ImageInUse where an installer still writes the draft that its xmcompat has left."""
    from xmcompat.storage.image_device import locked_by_qemu  # which loads much

    if os.fstat(fd).st_size and locked_by_qemu(fd):
        os.close(fd)
        raise ImageInUse(f"{place} is in use: QEMU has it open", hint="end that guest first: see xm list")


def _give_name(place: str, path: str) -> None:
    """Never over a file that came up in the meantime."""
    try:
        os.link(place, path)
    except FileExistsError:
        raise ImageError(f"{path} is there already", hint="--force replaces it") from None
    except OSError:  # a file system without hard links
        os.rename(place, path)
    else:
        os.unlink(place)


def _dress(fd: int, like: int | None, made_of: Sequence[int]) -> None:
    if like is None:
        mask = os.umask(0o077)
        os.umask(mask)
        os.fchown(fd, os.geteuid(), os.getegid())
        mode = 0o666 & ~mask
        for one in made_of:
            found = os.fstat(one)
            mode &= stat.S_IMODE(found.st_mode) | 0o600 if stat.S_ISREG(found.st_mode) else 0o600  # a device is root's
        os.fchmod(fd, mode)
        return
    found = os.fstat(like)
    with suppress(PermissionError):
        os.fchown(fd, found.st_uid, found.st_gid)
    os.fchmod(fd, stat.S_IMODE(found.st_mode))


def _drop(place: str) -> None:
    with suppress(OSError):
        os.unlink(place)
