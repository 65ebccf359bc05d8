"""Reads the files that configure the host's network, and changes them: all of them, or none.

Every new text lies complete on the disk before the first file takes its place, and every old file stays at hand until the
last one has, so that neither a full disk nor a failure in the middle leaves anything changed. ROOT is for tests.
"""

from __future__ import annotations

import glob
import os
import signal
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from xmcompat.network import interfaces, programs
from xmcompat.network.configured import KEPT, Facts, Stored
from xmcompat.network.persist import SYSCTLS, Change
from xmcompat.network.programs import NetworkError

#: Where the files lie that tell how the host is configured.
_PLACES = (
    interfaces.MAIN, "/etc/network/interfaces.d/*", "/etc/network/if-pre-up.d/bridge", "/run/network/ifstate*",
    *(f"{folder}/systemd/network/{name}" for folder in ("/etc", "/run", "/usr/local/lib", "/usr/lib")
      for name in ("*.network", "*.netdev", "*.link", "*.network.d/*.conf")),
    "/run/systemd/netif/links/*", "/run/systemd/netif/leases/*", "/run/NetworkManager/devices/*",
    *(f"{folder}/NetworkManager/system-connections/*" for folder in ("/etc", "/run", "/usr/lib")),
    SYSCTLS, "/etc/resolv.conf",
)  # fmt: skip
_PROGRAMS = ("ifup",)
#: Bytes of a file beyond which it is none that configures a network.
_LARGEST = 1 << 20

#: The ends of the names of new and old texts; with a dot in front, nobody else reads such files.
_DRAFT, _OLD = ".xmcompat-new", ".xmcompat-old"


def read_facts(root: str = "") -> Facts:
    """Read them all. Raises NetworkError where one cannot be read."""
    files: dict[str, Stored] = {}
    todo = [*_PLACES, *(f"{path}/*" for path in _folders(root + KEPT, root))]
    _read(todo, files, root)
    while sourced := [
        pattern for path in interfaces.read_files({path: one.text for path, one in files.items()})
        for pattern in interfaces.sources(files[path].text)
    ]:  # fmt: skip
        known = len(files)
        _read(sourced, files, root)
        if len(files) == known:
            break
    return Facts(files=files, programs=frozenset(name for name in _PROGRAMS if programs.is_there(name)))


def _read(patterns: Sequence[str], files: dict[str, Stored], root: str) -> None:
    """Add the files of PATTERNS to FILES."""
    for pattern in patterns:
        for found in sorted(glob.glob(root + pattern)):
            path = found.removeprefix(root)
            if path not in files and os.path.isfile(found):
                files[path] = _stored(found)


def _folders(top: str, root: str) -> list[str]:
    return [glob.escape(folder.removeprefix(root)) for folder, _, _ in os.walk(top)]


def _stored(path: str) -> Stored:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return Stored(file.read(_LARGEST), stat.S_IMODE(os.fstat(file.fileno()).st_mode))
    except OSError as error:
        hint = "only root may read it" if isinstance(error, PermissionError) else None
        raise NetworkError(f"{path} cannot be read: {error.strerror}", hint=hint) from None


def apply(changes: Sequence[Change], root: str = "") -> None:
    """Make all CHANGES, or none. Raises NetworkError; where something could not be put back, it names that."""
    for change in changes:
        _check(change, root)
    folders: list[str] = []
    try:
        for change in changes:
            folders += _made_folders(os.path.dirname(root + change.path))
            _prepare(change, root)
        with _signals_later():
            _replace_all(changes, root)
    except OSError as error:
        _remove_folders(folders)
        raise NetworkError(
            f"{error.filename or 'the disk'}: {error.strerror}; no file is changed",
            hint="only root may do that" if isinstance(error, PermissionError) else None,
        ) from None
    except BaseException:
        _remove_folders(folders)
        raise
    finally:
        for change in changes:
            _tidy(_beside(root + change.path, _DRAFT))
    _remove_emptied({os.path.dirname(root + one.path) for one in changes if one.after is None}, root)


def _beside(path: str, end: str) -> str:
    folder, name = os.path.split(path)
    return f"{folder}/.{name}{end}"


def _check(change: Change, root: str) -> None:
    """Raises NetworkError where the file is not as it was when the change was thought of."""
    path = root + change.path
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        if change.before is not None:
            raise NetworkError(f"{path} has gone meanwhile", hint="try again") from None
        return
    except OSError as error:
        raise NetworkError(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(kind):
        what = "a symbolic link" if stat.S_ISLNK(kind) else "no file"
        raise NetworkError(f"{path} is {what}, and xmcompat does not write through it", hint="put a file there")
    if change.before is None or _stored(path).text != change.before:
        raise NetworkError(f"{path} has been changed meanwhile", hint="try again")


def _prepare(change: Change, root: str) -> None:
    """Write the new text beside the file, with the file's mode and owner. Raises OSError."""
    path = root + change.path
    _remove(_beside(path, _DRAFT))
    _remove(_beside(path, _OLD))
    if change.after is None:
        return
    fd = os.open(_beside(path, _DRAFT), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(change.after)
        file.flush()
        mode = change.mode
        if change.before is not None:
            there = os.lstat(path)
            os.fchown(fd, there.st_uid, there.st_gid)
            mode = stat.S_IMODE(there.st_mode)
            _copy_labels(path, fd)
        os.fchmod(fd, mode)
        os.fsync(fd)


def _copy_labels(path: str, fd: int) -> None:
    """Those of SELinux and its like, where there are any."""
    with suppress(OSError):
        for name in os.listxattr(path):
            os.setxattr(fd, name, os.getxattr(path, name))


def _replace_all(changes: Sequence[Change], root: str) -> None:
    """Put all texts in their places. Raises OSError, when what had been done is undone."""
    done: list[Change] = []
    try:
        for change in changes:
            path = root + change.path
            if change.before is not None:
                os.link(path, _beside(path, _OLD))
            done.append(change)
            if change.after is None:
                os.unlink(path)
            else:
                os.replace(_beside(path, _DRAFT), path)
        for folder in {os.path.dirname(root + change.path) for change in changes}:
            _sync(folder)
    except BaseException as error:
        if remain := [change for change in reversed(done) if not _put_back(root + change.path, change)]:
            names = ", ".join(_beside(root + change.path, _OLD) for change in remain)
            raise NetworkError(f"{error}; and not all could be undone", hint=f"put back by hand: {names}") from error
        raise
    for change in changes:
        _tidy(_beside(root + change.path, _OLD))


def _put_back(path: str, change: Change) -> bool:
    """Whether the file is as it was."""
    try:
        if change.before is None:
            _remove(path)
        else:
            os.rename(_beside(path, _OLD), path)     # of one and the same file: does nothing, and leaves both
            _remove(_beside(path, _OLD))
    except OSError:
        return False
    return True


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _tidy(path: str) -> None:
    """Remove what nobody reads; it does not matter if that fails."""
    with suppress(OSError):
        os.unlink(path)


def _sync(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _made_folders(folder: str) -> list[str]:
    """Make FOLDER; returns those that were not there, deepest last. Raises OSError."""
    missing: list[str] = []
    while folder and not os.path.isdir(folder):
        missing.insert(0, folder)
        folder = os.path.dirname(folder)
    for path in missing:
        os.mkdir(path, 0o755)
    return missing


def _remove_folders(folders: Sequence[str]) -> None:
    """Those that we have made, and that are empty."""
    for folder in reversed(folders):
        with suppress(OSError):
            os.rmdir(folder)


def _remove_emptied(folders: set[str], root: str) -> None:
    """Of the folders that a file of ours has left, those that nobody but us makes."""
    for folder in folders:
        while folder.startswith(root + KEPT) or folder.endswith(".network.d"):
            with suppress(OSError):
                os.rmdir(folder)
            folder = os.path.dirname(folder)


@contextmanager
def _signals_later() -> Iterator[None]:
    """Let signals wait that would end the program."""
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
