"""Starts the programs that make, read and change images: qemu-img, mke2fs, debugfs, tar and their like.

Argument lists and no shell, the C locale, no new privileges, and the program's own last line when it fails. What reads
bytes of strangers runs confined: as nobody, without capabilities, with bounds on memory, time and what it may write. A
program that is running when this one is stopped is killed with it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from xmcompat.errors import XmError

#: Called with what is being done and how much of it is done, 0 to 1.
Progress = Callable[[str, float], None]

_SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")

#: The package that has a program, for the hint.
PACKAGES = {
    "mke2fs": "e2fsprogs", "debugfs": "e2fsprogs", "e2fsck": "e2fsprogs", "resize2fs": "e2fsprogs", "dumpe2fs": "e2fsprogs",
    "e2undo": "e2fsprogs", "qemu-img": "qemu-utils", "qemu-storage-daemon": "qemu-system-common", "blkid": "util-linux",
    "setpriv": "util-linux", "prlimit": "util-linux", "fallocate": "util-linux", "tar": "tar", "gzip": "gzip",
    "grub-fstest": "grub-common", "xz": "xz-utils", "zstd": "zstd", "bzip2": "bzip2",
}  # fmt: skip

#: Bytes of output that are kept; an honest program prints less.
_MOST_OUTPUT = 4 << 20

NOBODY = 65534
_MIB = 1 << 20


class ImageError(XmError):
    """Something about an image that cannot be done, or was refused."""


class ImageInUse(ImageError):
    """A guest, or this host, has the image open."""


class ProgramFailed(ImageError):
    """A program ended with a status that says it failed. ``said`` is the last line on its stderr, "" for none."""

    def __init__(self, program: str, status: int, said: str) -> None:
        hint = "free some space, or name a place that has more" if "No space left" in said else None
        super().__init__(f"{program} failed: {said or _ending(status)}", hint=hint)
        self.status = status
        self.said = said


class Confinement(NamedTuple):
    """What a program may do, where root starts it. ``user`` None is who asks, without root's capabilities but those named.

    ``write`` is the size of the largest file in bytes, None without bound; ``memory`` in bytes, ``seconds`` of processor.
    ``fenced``: it opens no file but those that it is given open, and the system's programs, where the kernel can see to
    that; one that ``lists`` sees the names of others.
    """

    user: int | None = None
    capabilities: tuple[str, ...] = ()
    write: int | None = None
    memory: int | None = None
    seconds: int | None = None
    fenced: bool = False
    lists: bool = False


#: For a program that writes its one file and needs no privilege for it.
PLAIN = Confinement()


def reader(user: int) -> Confinement:
    """For a program that reads what strangers have written: it writes nothing, and soon ends."""
    return Confinement(user=user, write=0, memory=1024 * _MIB, seconds=60, fenced=True)


def quiet(_stage: str, _share: float) -> None:
    """No progress is shown."""


def run(
    words: Sequence[str],
    *,
    confined: Confinement = PLAIN,
    fds: Sequence[int] = (),
    stdin: int | None = None,
    stdout: int | None = None,
    watch: Callable[[int, bytes], None] | None = None,
    statuses: Sequence[int] = (0,),
    deadline: float | None = None,
) -> str:
    """What the program prints, "" where it goes to STDOUT. FDS stay open for it, under their numbers.

    WATCH is called five times a second with the process's id and what has been printed of late; what it raises ends the
    program. Raises ProgramFailed for a status that is none of STATUSES, ImageError where the program is missing or takes
    longer than DEADLINE seconds. Ctrl-C at the terminal reaches the program as its end.
    """
    child = start(words, confined=confined, fds=fds, stdin=stdin, stdout=stdout)
    try:
        out, err = _follow(child, words[0], watch, deadline)
    except BaseException:
        end(child)
        raise
    if child.returncode not in statuses:
        raise _failure(words[0], child.returncode, err.decode("utf-8", "replace"))
    return out.decode("utf-8", "surrogateescape")


def start(
    words: Sequence[str], *, confined: Confinement = PLAIN, fds: Sequence[int] = (), stdin: int | None = None,
    stdout: int | None = None,
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Start the program, in a session of its own. Raises ImageError where it is missing."""
    require(words[0])
    environment = _environment()
    program = shutil.which(words[0], path=environment["PATH"]) or words[0]
    try:
        with _fence(program, fds, confined) as enter:
            return subprocess.Popen(
                [*_prefix(confined), *words], stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=subprocess.PIPE if stdout is None else stdout, stderr=subprocess.PIPE, env=environment,
                pass_fds=tuple(fds), start_new_session=True, bufsize=0, preexec_fn=enter,
            )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise ImageError(f"'{words[0]}' cannot be started: {getattr(error, 'strerror', None) or error}") from None


def _fence(
    program: str, fds: Sequence[int], confined: Confinement
) -> contextlib.AbstractContextManager[Callable[[], None] | None]:
    """What the program is to do first, so that it opens nothing else."""
    if not confined.fenced:
        return contextlib.nullcontext()
    from xmcompat.storage import fence

    return fence.around(program, fds, lists=confined.lists)


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill the program with all that it has started, and wait for it."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    for stream in (child.stdout, child.stderr):
        if stream is not None:
            stream.close()


def require(program: str) -> None:
    """Raises ImageError, with the package, where PROGRAM is missing."""
    if not has(program):
        package = PACKAGES.get(program)
        raise ImageError(f"the program '{program}' is missing", hint=f"install the package {package}" if package else None)


def has(program: str) -> bool:
    """Whether PROGRAM is installed."""
    return shutil.which(program, path=_environment()["PATH"]) is not None


@cache
def is_root() -> bool:
    """Whether this process is root in truth, not under fakeroot."""
    with open("/proc/self/status", encoding="ascii") as file:
        return "\nUid:\t0\t0\t" in file.read()


def user_for(fd: int) -> int:
    """Who can open the file FD with the least rights: nobody where all may read it, else its owner."""
    found = os.fstat(fd)
    return NOBODY if found.st_mode & 0o004 else found.st_uid


def own_path(fd: int) -> str:
    """A path that leads a program that has FD to its file, through no directory that it may not search."""
    return f"/dev/fd/{fd}"


def _prefix(confined: Confinement) -> list[str]:
    """The words that confine what follows them. Who is not root has no more than the bounds."""
    if not has("setpriv"):
        return []
    words = ["setpriv", "--no-new-privs", "--pdeathsig", "KILL"]
    if is_root():
        kept = "".join(f",+{name}" for name in confined.capabilities)
        words += ["--inh-caps=-all", f"--bounding-set=-all{kept}"]
        if confined.user:
            words += ["--reuid", str(confined.user), "--regid", str(confined.user), "--clear-groups"]
    bounds = [
        f"--{name}={value}"
        for name, value in (("fsize", confined.write), ("as", confined.memory), ("cpu", confined.seconds))
        if value is not None
    ]
    return [*words, "prlimit", "--core=0", *bounds] if bounds else words


def _follow(
    child: subprocess.Popen[bytes], name: str, watch: Callable[[int, bytes], None] | None, deadline: float | None
) -> tuple[bytes, bytes]:
    """Read both streams to their ends, and wait."""
    assert child.stderr is not None
    printed = child.stdout.fileno() if child.stdout is not None else -1
    texts = {fd: bytearray() for fd in (printed, child.stderr.fileno()) if fd >= 0}
    begun, fresh = time.monotonic(), b""
    with selectors.DefaultSelector() as selector:
        for fd in texts:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(0.2):
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fd)
                texts[key.fd] += data
                fresh += data if key.fd == printed else b""
                if len(texts[key.fd]) > _MOST_OUTPUT:
                    raise ImageError(f"{name} printed more than {_MOST_OUTPUT >> 20} MiB; the image is not what it says")
            if watch:
                watch(child.pid, fresh)
                fresh = b""
            if deadline is not None and time.monotonic() - begun > deadline:
                raise ImageError(f"{name} did not end within {deadline:.0f} s")
    child.wait()
    out, err = bytes(texts.get(printed, b"")), bytes(texts[child.stderr.fileno()])
    end(child)
    return out, err


def _failure(name: str, status: int, complaint: str) -> ImageError:
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    if any("Is another process using the image" in line for line in lines):
        return ImageInUse("the image is in use: QEMU has it open", hint="shut the guest down first")
    lines = [line for line in lines if not line.startswith(_BANNERS)] or lines
    told = [line for line in lines if "No space left" in line or "Could not allocate" in line] or lines[-1:]
    said = told[-1] if told else ""
    return ProgramFailed(name, status, said.removeprefix(f"{name}: "))


#: Lines that name a version, or say what is said above once more.
_BANNERS = ("debugfs 1.", "mke2fs 1.", "e2fsck 1.", "resize2fs 1.", "dumpe2fs 1.", "tar: Exiting with failure")


def _ending(status: int) -> str:
    return f"it was ended by {signal.Signals(-status).name}" if status < 0 else f"status {status}"


def _environment() -> dict[str, str]:
    path = os.environ.get("PATH", "/usr/bin:/bin").split(":")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LC_") and key != "LANGUAGE"}
    return {**kept, "PATH": ":".join((*path, *(one for one in _SBIN if one not in path))), "LC_ALL": "C",
            "E2FSPROGS_UNDO_DIR": "none", "MKE2FS_SKIP_PROGRESS": "1"}  # fmt: skip
