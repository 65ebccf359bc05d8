"""A fence around a program that reads what strangers have written: it opens the files that it was given, and no others.

By Landlock, where the kernel has it (Linux 5.13, and then where it is switched on); elsewhere there is none. Who owns a
file may read it without any capability: a program that reads an image of root's, as root, could read /etc/shadow as well.
Source: the kernel's documentation of Landlock (userspace-api/landlock).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION, _BENEATH = 1, 1
_NO_NEW_PRIVILEGES = 38

_EXECUTE, _WRITE, _READ, _LIST, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
#: What is forbidden but where a rule allows it, by the version of Landlock: all acts on files and folders.
_HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
_OF_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE

#: Where programs and their libraries lie, and what they ask of the kernel.
_PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")
_KERNEL = ("/proc", "/sys")
_SETTINGS = ("/etc/mke2fs.conf", "/etc/e2fsck.conf", "/etc/blkid.conf")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom")


def version() -> int:
    """That of the kernel's Landlock; 0 where there is none."""
    return max(_call(_CREATE, None, 0, _VERSION), 0)


@contextmanager
def around(program: str, fds: Iterable[int], *, lists: bool = False) -> Iterator[Callable[[], None] | None]:
    """What a new process of the PROGRAM (a path) is to call before it begins: then it can open the files that are open as
    FDS, for what they are open for, and the system's programs; one that LISTS sees names of files besides. None where this
    kernel has no fence."""
    ruleset = _ruleset()
    if ruleset < 0:
        yield None
        return
    try:
        for path in (*_PROGRAMS, program):
            _allow_path(ruleset, path, _EXECUTE | _READ | _LIST)
        if lists:
            _allow_path(ruleset, "/", _LIST)
        for path in (*_KERNEL, *_SETTINGS):
            _allow_path(ruleset, path, _READ | _LIST)
        for path in _DEVICES:
            _allow_path(ruleset, path, _READ | _WRITE)
        for fd in fds:
            _allow(ruleset, fd, _READ if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY else
                   _READ | _WRITE | _TRUNCATE)  # fmt: skip
        yield lambda: _enter(ruleset)
    finally:
        os.close(ruleset)


def _handled() -> int:
    found = version()
    return _HANDLED[min(found, max(_HANDLED))] if found else 0


def _ruleset() -> int:
    handled = _handled()
    return _call(_CREATE, struct.pack("=Q", handled), 8, 0) if handled else -1


def _allow_path(ruleset: int, path: str, acts: int) -> None:
    with suppress(OSError):  # a system without it
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            _allow(ruleset, fd, acts)
        finally:
            os.close(fd)


def _allow(ruleset: int, fd: int, acts: int) -> None:
    """Let what is open as FD be used for ACTS. What lies in no file system, as a pipe, is not fenced off anyway."""
    acts &= _handled() if stat.S_ISDIR(os.fstat(fd).st_mode) else _handled() & _OF_FILES
    if _call(_ADD, ruleset, _BENEATH, struct.pack("=Qi", acts, fd), 0) < 0:
        number = ctypes.get_errno()
        if number not in (errno.EBADFD, errno.EBADF):
            raise OSError(number, os.strerror(number))


def _enter(ruleset: int) -> None:
    """Raises OSError, and then the program does not begin."""
    if _LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or _call(_RESTRICT, ruleset, 0) < 0:
        raise OSError(ctypes.get_errno(), "no fence")


_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *words: int | bytes | None) -> int:
    return int(_LIBC.syscall(ctypes.c_long(number), *_plain(words)))


def _plain(words: Sequence[int | bytes | None]) -> list[object]:
    return [ctypes.c_long(word) if isinstance(word, int) else ctypes.c_char_p(word) for word in words]
