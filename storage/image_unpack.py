"""Unpacks a tar, plain or compressed, into a directory of its own that nobody but its owner can enter.

GNU tar does it, with the capabilities that owners, device nodes and file capabilities need and no others: it takes the
"/" off absolute names, makes links that lead outside last of all, and refuses "..". A member that it refuses fails the
whole, for nothing is left out in silence.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xmcompat.storage.image_programs import PLAIN, Confinement, ImageError, ProgramFailed, Progress, end, run, start
from xmcompat.storage.image_source import open_file

#: What a compressed file begins with, and what unpacks it.
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "-dc"), b"\xfd7zXZ\0": ("xz", "-dc", "-T0"), b"\x28\xb5\x2f\xfd": ("zstd", "-dcq", "--long=31"),
    b"BZh": ("bzip2", "-dc"),
}  # fmt: skip
_TAR = ("tar", "--extract", "--file=-", "--preserve-permissions", "--same-owner", "--numeric-owner", "--xattrs",
        "--xattrs-include=*", "--delay-directory-restore")  # fmt: skip
_NEEDED = ("chown", "dac_override", "fowner", "fsetid", "mknod", "setfcap")

#: The kernel counts the headers that tar reads to what it writes only in part; this much more is no bomb yet.
_SLACK = 64 << 20

#: A tar has a header of 512 bytes for each member, and an inode takes 256 of the image at least: one that is longer than so
#: many times the image has more files than fit, were they all empty.
_HEADERS = 2


def unpack(path: str, folder: str, *, limit: int, progress: Progress) -> int:
    """Unpack the tar at PATH into the empty FOLDER; returns the bytes of files that were written.

    Raises ImageError for what is no tar, has members that lead outside, or has more than LIMIT bytes.
    """
    fd = open_file(path)
    try:
        size = os.fstat(fd).st_size or os.lseek(fd, 0, os.SEEK_END)
        program = _decompressor(fd, path)
        os.lseek(fd, 0, os.SEEK_SET)
        written = [0]

        def watch(pid: int, _printed: bytes) -> None:
            written[0] = max(written[0], written_by(pid))
            if written[0] > limit + _SLACK or _read_by(pid) > _HEADERS * limit + _SLACK:
                raise ImageError(
                    f"{path} has more in it than the image can hold ({limit >> 20} MiB)", hint="give a larger --size"
                )
            progress("unpack", min(os.lseek(fd, 0, os.SEEK_CUR) / size, 1.0) if size else 1.0)

        with _stream(fd, program, path) as stream:
            _extract(path, folder, stream, limit, watch)
    finally:
        os.close(fd)
    return written[0]


def _extract(path: str, folder: str, stream: int, limit: int, watch: Callable[[int, bytes], None]) -> None:
    # The bound on one file is on its length, holes included, which an image holds though they fill nothing.
    confined = Confinement(capabilities=_NEEDED, write=max(limit, 1 << 20))
    try:
        run([*_TAR, "--directory", folder], stdin=stream, watch=watch, confined=confined)
    except ProgramFailed as error:
        if error.status < 0:
            raise ImageError(f"{path} has a file that is larger than the image", hint="give a larger --size") from None
        if "Cannot open: No such file" in error.said or "does not look like a tar" in error.said:
            raise ImageError(f"{path} is no tar: {error.said}") from None
        said, hint = error.said, error.hint
        if "Wrote only" in said:
            said, hint = f"{said}: No space left on device", "free some space, or name a place that has more by --work-dir"
        raise ImageError(f"{path} cannot be unpacked: {said}", hint=hint) from None


def _decompressor(fd: int, path: str) -> tuple[str, ...]:
    head = os.pread(fd, 512, 0)
    for magic, words in _COMPRESSED.items():
        if head.startswith(magic):
            return words
    if head[257:262] == b"ustar" or _is_old_tar(head):
        return ()
    raise ImageError(f"{path} is no tar", hint="give a tar, plain or compressed by gzip, xz, zstd or bzip2, or a directory")


def _is_old_tar(head: bytes) -> bool:
    """A header without magic has a checksum nevertheless."""
    if len(head) < 512:
        return False
    field = head[148:156].strip(b" \0")
    total = sum(head) - sum(head[148:156]) + 8 * 32
    return bool(field) and all(48 <= byte < 56 for byte in field) and int(field, 8) == total


@contextmanager
def _stream(fd: int, program: tuple[str, ...], path: str) -> Iterator[int]:
    """What tar is to read: the file itself, or what PROGRAM makes of it."""
    if not program:
        yield fd
        return
    child = start(program, stdin=fd, confined=PLAIN)
    assert child.stdout is not None and child.stderr is not None
    try:
        try:
            yield child.stdout.fileno()
        except ImageError as error:
            said = _complaint(child)
            raise ImageError(f"{path}: {program[0]}: {said}") if said else error from None
        said = _complaint(child)
        if said:
            raise ImageError(f"{path}: {program[0]}: {said}")
    finally:
        end(child)


def _complaint(child: subprocess.Popen[bytes]) -> str:
    """What the program says that has failed; "" for one that has not, or that nobody listens to any more."""
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()
    text = child.stderr.read() or b""
    status = child.wait()
    lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    if status == 0 or (status < 0 and not lines) or any("Broken pipe" in line for line in lines):
        return ""
    return lines[0].partition(": ")[2] or lines[0] if lines else f"status {status}"


def written_by(pid: int) -> int:
    """Bytes that a process has written so far; 0 where that cannot be told."""
    return _count(pid, "wchar:")


def _read_by(pid: int) -> int:
    return _count(pid, "rchar:")


def _count(pid: int, name: str) -> int:
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as file:
            return int(next((line.split()[1] for line in file if line.startswith(name)), "0"))
    except OSError:
        return 0
