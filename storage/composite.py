"""One disk of several volumes, assembled before its guest starts and gone with it.

A composite is a folder with a Unix socket in it, and a process that serves the disk there (``nbd_server``) as long as QEMU
is connected. Nothing is copied, and nothing remembers it but the kernel: the process holds a lock for its life and another
one while it has a client, so that whatever was killed in the middle, the next command sees what there is.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

from xmcompat.errors import DeviceError
from xmcompat.storage import direct, image_locks, turns
from xmcompat.storage.partitions import SECTOR, Volume, layout

#: Where composites lie: the same inside and outside of libvirt's name spaces, and gone with a reboot as they are.
FOLDER = "/run/xmcompat/joined"
#: The name of the socket in the folder of a composite.
SOCKET = "nbd"
#: Seconds in which an old server must end, and a guest's connection that has just been closed be gone.
PATIENCE = 5.0
#: Seconds in which others have made or ended theirs; each takes less than PATIENCE and a little.
_TURN = 60.0
#: Seconds in which a server that was ended has let go of its volumes: the kernel unlocks its files in any order.
_LETS_GO = 0.5
#: The longest path of a Unix socket, in bytes.
_LONGEST = 107
_SWAP_MAGIC, _PAGES = (b"SWAPSPACE2", b"SWAP-SPACE"), (4096, 8192, 16384, 65536)
_FILES = (SOCKET, "alive", "busy", "pid", "about", "log")
_OOM_SCORE = "-500"
_UUID = 36  # characters


class Part(NamedTuple):
    """The volume of partition NUMBER. ``device`` is what xm calls it in errors: 51713. ``size``: the bytes of it that the
    guest knows of, where it has the disk already; 0: all."""

    number: int
    path: str
    writable: bool = True
    shareable: bool = False
    device: int | str = 0
    size: int = 0


class Composite(NamedTuple):
    """A disk of PARTS for the guest DOMAIN, served in FOLDER, which lies in a folder of such folders, and whose name begins
    with the guest's UUID."""

    folder: str
    domain: str
    parts: tuple[Part, ...]

    @property
    def socket(self) -> str:
        return f"{self.folder}/{SOCKET}"


class Use(NamedTuple):
    """A volume of a composite that is served now."""

    domain: str
    path: str
    readonly: bool
    shareable: bool
    folder: str = ""


Step = Callable[[str], None]


def _nothing(_name: str) -> None:
    """No step is looked at."""


def assemble(
    composite: Composite, owner: tuple[int, int], step: Step = _nothing, *, deadline: float = 0.0
) -> None:  # fmt: skip
    """Have the disk served at its socket, for the user OWNER (uid, gid) alone. What an earlier try left is replaced, once
    its server has written what its guest had last, at most DEADLINE seconds.

    Returns when QEMU may connect; takes 20 to 50 ms. Raises DeviceError, and StorageError where it is never its turn;
    nothing is left then. STEP is called before each step, with its name.
    """
    if len(os.fsencode(composite.socket)) > _LONGEST:
        raise DeviceError(f"{composite.socket} is too long a path for a Unix socket")
    root = os.path.dirname(composite.folder)
    try:
        os.makedirs(root, mode=0o711, exist_ok=True)
        # The turn is others' meanwhile. Whether a guest runs, all processes are looked at for.
        _until(lambda: not _is_busy(composite.folder) or _runs(composite.folder), deadline, pause=0.2)
        with _turn(root):
            step("clear")
            _end(composite.folder, composite.domain)
            try:
                _make(composite, owner, step)
            except BaseException:
                _kill(composite.folder)
                _remove(composite.folder)
                raise
    except OSError as error:
        name = error.filename or composite.folder
        raise DeviceError(f"the disk of {_shown(composite)} cannot be made: {name}: {error.strerror}") from None


def release(composite: Composite) -> None:
    """Take the disk away, if no guest has it; silent where there is none. Raises DeviceError where a guest keeps it,
    and StorageError where it is never its turn."""
    root = os.path.dirname(composite.folder)
    if os.path.isdir(root):
        with _turn(root):
            _end(composite.folder, composite.domain)


def sweep(root: str = FOLDER) -> None:
    """Remove what is left of composites whose server has ended. May be repeated."""
    with suppress(OSError):
        names = os.listdir(root)
        with _turn(root):
            for folder in (f"{root}/{name}" for name in names):
                if os.path.isdir(folder) and not _is_locked(f"{folder}/alive"):
                    _remove(folder)


def held(root: str = FOLDER) -> list[Use]:
    """The volumes of the composites that guests have now, or are about to have."""
    uses: list[Use] = []
    with suppress(OSError):
        for name in os.listdir(root):
            if _is_locked(f"{root}/{name}/alive"):
                with suppress(OSError, ValueError, TypeError, KeyError), open(f"{root}/{name}/about") as file:
                    told = json.load(file)
                    uses += [
                        Use(told["domain"], path, readonly, shareable, f"{root}/{name}")
                        for path, readonly, shareable in told["volumes"]
                    ]
    return uses


def is_served(folder: str) -> bool:
    """Whether the process lives that serves the disk in FOLDER."""
    return _is_locked(f"{folder}/alive")


def _shown(composite: Composite) -> str:
    return f"the partitions {', '.join(str(part.number) for part in composite.parts)}"


# -- locks


@contextmanager
def _turn(root: str) -> Iterator[None]:
    """One at a time makes and ends composites. Raises StorageError where somebody else keeps the lock."""
    fd = os.open(f"{root}/.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        turns.take(fd, f"{root}/.lock", _TURN)
        yield
    finally:
        os.close(fd)


def _is_locked(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _until(free: Callable[[], bool], patience: float | None = None, pause: float = 0.01) -> bool:
    """Whether it is FREE within so many seconds, PATIENCE where nothing is said."""
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    while not free():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


# -- ending


def _end(folder: str, domain: str) -> None:
    """End the server in FOLDER, unless a guest has its disk, or it has not written all of that. Raises DeviceError then."""
    if not _until(lambda: not _is_busy(folder)):
        if _runs(folder):
            raise DeviceError(f"the disk in {folder} is in use by a running guest", hint=f"see 'xm list {domain}'")
        raise _not_free(folder, domain)
    _kill(folder)
    _remove(folder)


def unwritten(folder: str, domain: str, patience: float) -> DeviceError | None:
    """Why the disk in FOLDER cannot be served anew for DOMAIN, which has ended: what that had is not written after PATIENCE
    seconds. None where it can, and where nothing is served."""
    return None if _until(lambda: not _is_busy(folder), patience) else _not_free(folder, domain)


def _not_free(folder: str, domain: str) -> DeviceError:
    why = f"the disk in {folder} is not free yet: its server still writes what '{domain}' had, or a program has it open"
    return DeviceError(why, hint="try again when that is done")


def _is_busy(folder: str) -> bool:
    """Whether the server in FOLDER has a client, or has not written yet what that had."""
    return _is_locked(f"{folder}/busy")


def _runs(folder: str) -> bool:
    """Whether the guest runs whose disk is served in FOLDER."""
    from xmcompat.storage.processes import running

    return bool(running(os.path.basename(folder)[:_UUID]))


def _kill(folder: str) -> None:
    """The process that holds the lock is the one that is meant; its number may be that of another in a name space, and it
    has no words yet in the moment of its start."""

    def has_gone() -> bool:
        if not _is_locked(f"{folder}/alive"):
            return True
        with suppress(OSError, ValueError), open(f"{folder}/pid") as file:
            pid = int(file.read())
            with open(f"/proc/{pid}/cmdline", "rb") as words:
                if os.fsencode(os.path.basename(folder)) in words.read().split(b"\0"):
                    os.kill(pid, signal.SIGKILL)
        return False

    _until(has_gone)


def _remove(folder: str) -> None:
    for name in _FILES:
        with suppress(OSError):
            os.unlink(f"{folder}/{name}")
    with suppress(OSError):
        os.rmdir(folder)


# -- making


def _make(composite: Composite, owner: tuple[int, int], step: Step) -> None:
    folder = composite.folder
    step("folder")
    os.makedirs(folder, mode=0o711, exist_ok=True)
    with ExitStack() as stack:
        step("volumes")
        fds = [opened(part, stack) for part in composite.parts]
        volumes = [volume_of(part, fd) for part, fd in zip(composite.parts, fds, strict=True)]
        identity = "\n".join(part.path for part in composite.parts)
        layout(volumes, identity)  # refuses what can be none
        for part, fd in zip(composite.parts, fds, strict=True):
            if part.shareable:
                _go_direct(part, fd)
        step("about")
        _write(f"{folder}/about", json.dumps({
            "domain": composite.domain,
            "volumes": [(part.path, not part.writable, part.shareable) for part in composite.parts],
        }))  # fmt: skip
        step("socket")
        listener = stack.enter_context(_listener(composite.socket, owner))
        step("locks")
        alive, busy = (_created(f"{folder}/{name}", stack) for name in ("alive", "busy"))
        fcntl.flock(alive, fcntl.LOCK_EX)
        work = {
            "listener": listener.fileno(), "busy": busy, "identity": identity,
            "volumes": [
                (volume.number, fd, volume.size, volume.swap, not part.writable)
                for volume, fd, part in zip(volumes, fds, composite.parts, strict=True)
            ],
        }  # fmt: skip
        step("serve")
        child = _started(folder, [listener.fileno(), alive, busy, *fds])
        step("pid")
        _write(f"{folder}/pid", str(child.pid))
        step("go")
        _tell(child, json.dumps(work))
    step("done")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _created(path: str, stack: ExitStack) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, fd)
    return fd


def _refused(part: Part, why: str) -> DeviceError:
    return DeviceError(f"Device {part.device} (vbd) could not be connected. {why}")


def opened(part: Part, stack: ExitStack) -> int:
    """The volume, open and locked as QEMU would. Raises DeviceError."""
    flags = (os.O_RDWR if part.writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(part.path, flags)
    except OSError as error:
        raise _refused(part, f"{part.path}: {error.strerror}.") from None
    stack.callback(os.close, fd)
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise _refused(part, f"{part.path} is neither an image nor a volume.")
    os.set_blocking(fd, True)
    if not _until(lambda: image_locks.take(fd, writable=part.writable, shareable=part.shareable), _LETS_GO):
        raise _refused(part, f"{part.path} is locked by another program that uses it.")
    return fd


def volume_of(part: Part, fd: int) -> Volume:
    """What the layout has to know of the PART that is open as FD. Raises DeviceError for one that has become smaller than
    the guest knows it: what lies behind it would be found at other places."""
    size = os.lseek(fd, 0, os.SEEK_END)
    if size < part.size:
        raise _refused(part, f"{part.path} had {part.size} bytes when the guest began to use it, and has {size} now.")
    size = part.size or size
    magics = (os.pread(fd, 10, page - 10) for page in _PAGES)
    return Volume(part.number, size, swap=any(magic in _SWAP_MAGIC for magic in magics))


def _go_direct(part: Part, fd: int) -> None:
    """Read and write past the host's memory, as far as the file system can: another host may write there as well. Raises
    DeviceError for a file that would have to become longer for it."""
    with suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_DIRECT)
    size, grain = os.lseek(fd, 0, os.SEEK_END), direct.grain_of(fd)
    if size // SECTOR * SECTOR % grain:
        raise _refused(part, f"{part.path} has {size} bytes, and can be shared in whole numbers of {grain} bytes alone.")


def _listener(path: str, owner: tuple[int, int]) -> socket.socket:
    with suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        before = os.umask(0o777)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        os.chown(path, owner[0], owner[1])
        os.chmod(path, 0o660 if owner[1] == 0 else 0o600)
        listener.listen(4)
    except BaseException:
        listener.close()
        raise
    return listener


def _started(folder: str, fds: Sequence[int]) -> subprocess.Popen[bytes]:
    """The server, with these open files. It begins when it is told what they are, and ends by itself where nobody lives
    to tell it. What it says goes to the file "log"."""
    above = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    argv = [sys.executable or "python3", "-S", "-P", "-m", "xmcompat.storage.nbd_server", os.path.basename(folder)]
    with open(f"{folder}/log", "w") as log:
        return subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=fds, start_new_session=True, cwd="/",
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "PYTHONPATH": above, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip


def _tell(child: subprocess.Popen[bytes], text: str) -> None:
    with suppress(OSError):
        _write(f"/proc/{child.pid}/oom_score_adj", _OOM_SCORE)
    assert child.stdin is not None
    with suppress(BrokenPipeError), child.stdin:
        child.stdin.write(text.encode())
    child.returncode = 0  # it is nobody's child to wait for


def socket_owner(settings: str = "/etc/libvirt/qemu.conf") -> tuple[int, int]:
    """The user (uid) and group (gid) that QEMU runs as: as libvirt's SETTINGS say, else the distribution's own.

    A QEMU that runs as root has no rights above others': the group is root's, who may read and write as well.
    """
    import pwd

    named = ""
    with suppress(OSError), open(settings, errors="replace") as file:
        for line in file:
            key, _, value = line.partition("=")
            if key.strip() == "user":
                named = value.split("#")[0].strip().strip("\"'").removeprefix("+")
    for name in filter(None, (named, "libvirt-qemu", "qemu")):
        if name.isdecimal():
            return int(name), 0
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_uid, 0
    return 0, 0
