"""Is an image what it is said to be, and can QEMU read it right? Told from its first bytes and its file system.

A guest can write any header into a raw disk: what is said to be raw stays raw, and its header is only told of. What is said
to be of a format must have that format's header, since QEMU would guess nothing either.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from xmcompat.light import NamedTuple
from xmcompat.storage.programs import StorageError

#: What Xen's people call QEMU's formats, as a disk's first word.
_WORDS = {"qcow2": "tap:qcow2", "qcow": "tap:qcow", "vpc": "tap:vhd", "vmdk": "tap:vmdk"}
#: Beginnings of images that no raw disk has by chance, where its guest has not been at work.
_MAGICS = ((b"QFI\xfb\0\0\0\x01", "qcow"), (b"QFI\xfb", "qcow2"), (b"KDMV", "vmdk"), (b"conectix", "vpc"))
#: An image is an overlay of another, which is one of another: more than anybody makes.
_DEEPEST = 100


class Look(NamedTuple):
    """``driver`` is QEMU's that reads the image, ``direct`` whether its file system can do without the host's cache;
    ``told`` are sentences for the operator."""

    driver: str
    direct: bool
    told: tuple[str, ...] = ()


def look(path: str, driver: str, *, direct: bool = False, shareable: bool = False) -> Look:
    """Examine the image or volume at PATH, which is to be read by QEMU's DRIVER, past the host's cache where DIRECT.

    Raises StorageError for what QEMU would read wrong, or not at all, with what to do. What this user cannot open is
    taken as it is said: QEMU's may.
    Source: which word of Xen's means which header, xend 4.1; blktap's layout of the first qcow, its qcow.c.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return Look(driver, direct)
    try:
        found, told = (driver, _raw(fd, path)) if driver == "raw" else _formatted(fd, path, driver)
        if direct and stat.S_ISREG(os.fstat(fd).st_mode) and not _can_be_direct(path):
            if shareable:
                raise StorageError(
                    f"{path} lies on a file system that caches all, so that two guests would not see what the other writes",
                    hint="put it onto another one, or onto a volume",
                )
            direct, told = False, (*told, f"{path} goes through the host's cache: its file system has no way past it")
        return Look(found, direct, told)
    finally:
        os.close(fd)


def _raw(fd: int, path: str) -> tuple[str, ...]:
    head = _read(fd, 8)
    known = next((name for magic, name in _MAGICS if head.startswith(magic)), "")
    if not known:
        return ()
    return (f"{path} begins as an image of {known} does, and is given to the guest byte for byte; if it is one, write "
            f"{_WORDS[known]}:{path}",)  # fmt: skip


def _formatted(fd: int, path: str, driver: str) -> tuple[str, tuple[str, ...]]:
    """The driver for an image that is said to be of DRIVER, and what is to be told."""
    from xmcompat.storage.image_format import recognise
    from xmcompat.storage.image_programs import ImageError

    if driver == "qed":
        if _read(fd, 4) != b"QED\0":
            raise _mistaken(path, driver, "")
        return driver, ()
    try:
        header = recognise(fd, path)
    except ImageError as error:
        raise StorageError(error.message, hint=error.hint) from None
    if {header.format, driver} == {"qcow", "qcow2"}:
        told: tuple[str, ...] = (f"{path} is an image of {header.format}, not of {driver}, and is read as such",)
    elif header.format == driver:
        told = ()
    else:
        raise _mistaken(path, driver, header.format)
    _refuse_unreadable(fd, path, header.format)
    if header.format == "vpc" and header.outside:
        raise StorageError(
            f"{path} needs {header.outside}, which QEMU does not open",
            hint="merge the two with 'vhd-util coalesce' of Xen's tools",
        )
    _follow(path, header.backing, header.backing_format)
    return header.format, told


def _mistaken(path: str, driver: str, format: str) -> StorageError:
    if format in ("", "raw"):
        return StorageError(f"{path} is no image of {driver}: it has no such header", hint=f"if raw, write file:{path}")
    word = _WORDS.get(format, format)
    return StorageError(f"{path} is an image of {format}, not of {driver}", hint=f"write {word}:{path}")


def _refuse_unreadable(fd: int, path: str, format: str) -> None:
    from xmcompat.storage.image_blktap import is_little_endian

    head = _read(fd, 64)
    place = {"qcow": 36, "qcow2": 32}.get(format)
    if place is None or len(head) < 64:
        return
    if struct.unpack_from(">I", head, place)[0]:
        raise StorageError(
            f"{path} is encrypted, and its key is kept nowhere that a guest could be started with it",
            hint="make a plain copy of it with 'qemu-img convert' and --object secret",
        )
    if format == "qcow" and is_little_endian(head):
        raise StorageError(
            f"{path} was written by a blktap whose table QEMU would read the wrong way round",
            hint=f"make a copy that it reads: 'xmcompat image convert --format qcow2 {path} NEW'",
        )


def _follow(path: str, backing: str, said: str) -> None:
    """Raise where one of the images that PATH lies upon is not there, or nothing says how it is to be read."""
    from xmcompat.storage.image_format import recognise
    from xmcompat.storage.image_programs import ImageError

    for _ in range(_DEEPEST):
        if not backing or ":" in backing.partition("/")[0]:  # "nbd://...", "json:..." are QEMU's matter
            return
        lower = os.path.join(os.path.dirname(path), backing)  # as QEMU and libvirt do, also where PATH is a link
        try:
            fd = os.open(lower, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            real = os.path.realpath(path)
            beside = os.path.exists(os.path.join(os.path.dirname(real), backing))
            hint = f"{path} is a link: write {real}" if beside else "bring it back, or merge the two where both are"
            raise StorageError(f"{path} lies upon {lower}, which is not there", hint=hint) from None
        except (OSError, ValueError):
            return
        try:
            header = recognise(fd, lower)
        except ImageError as error:
            raise StorageError(f"{path} lies upon {lower}: {error.message}", hint=error.hint) from None
        finally:
            os.close(fd)
        if not said and header.format != "raw":
            raise StorageError(
                f"{path} lies upon {lower} and does not say that this is an image of {header.format}",
                hint=f"if it is, run 'qemu-img rebase -u -b {backing} -F {header.format} {path}'",
            )
        if said in ("", "raw"):
            return
        path, backing, said = lower, header.backing, header.backing_format
    raise StorageError(f"{path} lies upon more than {_DEEPEST} other images", hint="merge some of them")


def _can_be_direct(path: str) -> bool:
    """Only what says that it cannot, cannot; this user may lack the right to try."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC))
    except OSError as error:
        return error.errno != errno.EINVAL
    return True


def _read(fd: int, size: int) -> bytes:
    try:
        return os.pread(fd, size, 0)
    except OSError:
        return b""
