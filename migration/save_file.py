"""The file of ``xm save``: Xen's header with the configuration, then the image that libvirt has written.

16 bytes ``LinuxGuestRecord``, 4 bytes with the length of what follows (big-endian), the configuration as SXP text, then
the image. The text ends in one more form, with the image's size, its checksum and what is known of the guest's disks, and
in blanks, so that the image begins on a block of the file system. Source: the format of Xen 3 and 4.1.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shlex
import tempfile
import zlib

from xmcompat.errors import OperationError
from xmcompat.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

MAGIC = b"LinuxGuestRecord"
#: What libvirt's image begins with, and what it begins with until it is whole.
IMAGE_MAGIC, HALF_MAGIC = b"LibvirtQemudSave", b"LibvirtQemudPart"
#: What a file of xl's begins with. Source: libxl's header of a saved domain.
XL_MAGIC = b"Xen saved domain"
#: Ends the name of a file that is not finished.
UNFINISHED = ".unfinished"
#: The end of a name that ``unfinished`` has given.
UNFINISHED_NAME = re.compile(r"\.[a-z0-9_]{8}\.unfinished\Z")

#: Bytes of libvirt's header before the domain's XML, of a configuration at most, and of one step of copying.
IMAGE_HEADER = 92
_LARGEST_TEXT = 16 << 20
_CHUNK = 64 << 20
_SMALLEST_BLOCK = 512

#: Modes of fallocate(2).
_COLLAPSE_RANGE, _INSERT_RANGE = 0x08, 0x20
_IMAGE_FORM = "\n(image_file (size "
_TOLD = re.compile(
    r"\n\(image_file \(size ([0-9]{1,18})\)(?: \(crc32 ([0-9a-f]{8})\) \(text_crc32 ([0-9a-f]{8})\)(.*))?\)\s*\Z", re.DOTALL
)
#: The formats of images that libvirt writes from their first byte to their last; others may be filled in any order.
_STREAMED = range(6)


class SaveFile(NamedTuple):
    """``config`` is the SXP text, "" for an image of libvirt's own; ``offset`` is where the image begins, ``xml`` the
    domain's XML in it. ``running``: it was not paused when it was saved. ``checksum`` is that of ``checksum.Checksum``,
    None where the file has none; ``forms`` are SXP texts of what else is known."""

    config: str
    offset: int
    xml: str
    running: bool
    checksum: int | None = None
    forms: str = ""

    @property
    def memory(self) -> int:
        """The byte from which on the checksum counts."""
        return self.offset + IMAGE_HEADER


def header(config: str, size: int, block: int, *, checksum: int | None = None, forms: str = "") -> bytes:
    """What stands before an image of SIZE bytes: a whole number of blocks of BLOCK bytes. FORMS are SXP texts, which have a
    CHECKSUM beside them."""
    config, forms = config.rstrip(), f" {forms}" if forms else ""
    told = f" (crc32 {checksum:08x}) (text_crc32 {_text_crc(config, forms):08x}){forms}" if checksum is not None else ""
    text = f"{config}{_IMAGE_FORM}{size}){told})\n".encode("utf-8", "surrogateescape")
    bare = len(MAGIC) + 4 + len(text)
    text += b"\n" * (-bare % block)
    return MAGIC + len(text).to_bytes(4, "big") + text


def _text_crc(config: str, forms: str) -> int:
    return zlib.crc32(f"{config}\n{forms.strip()}".encode("utf-8", "surrogateescape"))


def is_save_file(path: str) -> bool:
    """Whether a regular file at PATH begins as those of ``xm save`` do."""
    try:
        return os.path.isfile(path) and _head(path) == MAGIC
    except OSError:
        return False


def is_whole_image(path: str) -> bool:
    """Whether libvirt has finished the image at PATH, before which nothing has been put yet."""
    try:
        return _head(path) == IMAGE_MAGIC
    except OSError:
        return False


def lacks_header(path: str) -> bool:
    """Whether the image at PATH is whole, and whoever was to put the header before it was ended while doing so."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            return os.pread(file.fileno(), len(MAGIC), 0) == bytes(len(MAGIC)) and _behind_hole(file.fileno()) > 0
    except OSError:
        return False


def is_streamed(path: str) -> bool:
    """Whether the image at PATH, of libvirt's own, was written from its first byte to its last. Raises OSError."""
    with open(path, "rb") as file:
        head = file.read(IMAGE_HEADER)
    return int.from_bytes(head[28:32], _order(head)) in _STREAMED


def _order(head: bytes) -> Literal["big", "little"]:
    return "big" if head[16:17] == b"\0" else "little"


def _head(path: str) -> bytes:
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        return file.read(len(MAGIC))


def read(path: str) -> SaveFile:
    """The file at PATH, or an image of libvirt's own. Raises OperationError, with xend's words where it has some."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            return _read(file.fileno(), path)
    except OSError as error:
        raise OperationError(f"can't read guest state file {path}: {error.strerror}") from None


def _read(fd: int, path: str) -> SaveFile:
    end = os.fstat(fd).st_size
    magic = os.pread(fd, len(MAGIC), 0)
    if len(magic) < len(MAGIC):
        raise _invalid("signature read")
    if magic in (IMAGE_MAGIC, HALF_MAGIC):
        return SaveFile("", 0, *_image(fd, 0, end, path))
    if magic != MAGIC:
        if magic == bytes(len(MAGIC)) and (place := _behind_hole(fd)):
            return SaveFile("", place, *_image(fd, place, end, path))
        if magic == XL_MAGIC:
            raise OperationError(
                f"{path} was saved by Xen's xl; memory images of Xen do not run on KVM", hint=_XENS
            )
        raise _invalid(f"found '{magic.decode('latin-1').encode('unicode_escape').decode()}'")
    word = os.pread(fd, 4, len(MAGIC))
    length, offset = int.from_bytes(word, "big"), len(MAGIC) + 4
    if len(word) < 4 or length > _LARGEST_TEXT:
        raise _invalid("config size read")
    text = os.pread(fd, length, offset)
    if len(text) < length:
        raise _invalid("config read")
    config, offset = text.decode("utf-8", "surrogateescape"), offset + length
    told = _TOLD.match(config, max(config.rfind(_IMAGE_FORM), 0))
    if not _is_as_written(config, told):
        raise OperationError(
            f"{path} is damaged: by its checksum, what stands before the image is not what was written", hint="copy it anew"
        )
    if told and end - offset < int(told[1]):
        raise OperationError(
            f"{path} is cut short: {end - offset} of the image's {told[1]} bytes are there", hint="copy it anew"
        )
    xml, running = _image(fd, offset, end, path)
    if told is None:
        return SaveFile(config, offset, xml, running)
    crc = int(told[2], 16) if told[2] else None
    return SaveFile(config[: told.start()], offset, xml, running, crc, (told[4] or "").strip())


def _is_as_written(config: str, told: re.Match[str] | None) -> bool:
    """Whether CONFIG, with what is TOLD behind it, has its checksum; Xen's text, and files from before, have none."""
    if told is None:
        return _IMAGE_FORM not in config and "(text_crc32 " not in config
    return not told[3] or _text_crc(config[: told.start()], told[4]) == int(told[3], 16)


def _behind_hole(fd: int) -> int:
    """Where the image begins for which room was made, and whose header is not there: 0 where there is none such."""
    data, place = os.pread(fd, _LARGEST_TEXT, 0), 0
    while (place := data.find(IMAGE_MAGIC, place + 1)) > 0:
        if place % _SMALLEST_BLOCK == 0:
            return place
    return 0


_XENS = "start the guest from its configuration; 'xmcompat convert' makes one for KVM of it"


def _invalid(what: str) -> OperationError:
    return OperationError(f"not a valid guest state file: {what}")


def _image(fd: int, offset: int, end: int, path: str) -> tuple[str, bool]:
    """The domain's XML in the image at OFFSET, and whether it ran. Raises OperationError where it is no whole one."""
    head = os.pread(fd, IMAGE_HEADER, offset)
    if head[:16] == HALF_MAGIC:
        raise OperationError(f"{path} is not finished: its saving was broken off")
    if head[:16] != IMAGE_MAGIC:
        raise OperationError(
            f"{path} was saved by Xen, whose memory images do not run on KVM",
            hint=f"its configuration can be used: xmcompat convert {shlex.quote(path)}",
        )
    length = int.from_bytes(head[20:24], _order(head))
    if len(head) < IMAGE_HEADER or end - offset < IMAGE_HEADER + length or length > _LARGEST_TEXT:
        raise OperationError(f"{path} is cut short: its image is not whole", hint="copy it anew")
    data = os.pread(fd, length, offset + IMAGE_HEADER)
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape"), any(head[24:28])


def unfinished(path: str) -> str:
    """A new, empty file beside PATH that only its owner can read, for what is to become PATH. Raises OSError."""
    handle, made = tempfile.mkstemp(
        prefix=f"{os.path.basename(path)}.", suffix=UNFINISHED, dir=os.path.dirname(path) or "."
    )
    os.close(handle)
    return made


def prepend(path: str, config: str, *, checksum: int | None = None, forms: str = "") -> None:
    """Put the header in front of the image at PATH. On any error, and on Ctrl-C, the image is as it was.

    Where the file system can move the image by blocks nothing is copied; elsewhere the copy needs as much room again.
    It is on the disk then, as libvirt's image was before: the guest is gone, and has no other memory. Raises OSError.
    """
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        head = header(config, os.fstat(handle).st_size, os.fstatvfs(handle).f_bsize, checksum=checksum, forms=forms)
        if not _inserted(handle, head):
            _copy_behind(handle, head, path)
    finally:
        os.close(handle)


def _inserted(handle: int, head: bytes) -> bool:
    """Whether the file system could move everything behind HEAD. Its first bytes come last: without them ``read`` looks
    for the image behind the hole."""
    if not _fallocate(handle, _INSERT_RANGE, len(head)):
        return False
    try:
        _write_all(handle, head[len(MAGIC) :], len(MAGIC))
        _write_all(handle, head[: len(MAGIC)])
        os.fsync(handle)
    except BaseException:
        _fallocate(handle, _COLLAPSE_RANGE, len(head))
        raise
    return True


def _write_all(handle: int, data: bytes, place: int = 0) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(handle, data[done:], place + done)


def _fallocate(handle: int, mode: int, length: int) -> bool:
    call = ctypes.CDLL(None, use_errno=True).fallocate
    return bool(call(handle, mode, ctypes.c_int64(0), ctypes.c_int64(length)) == 0)


def _copy_behind(handle: int, head: bytes, path: str) -> None:
    copy = unfinished(path.removesuffix(UNFINISHED))
    try:
        with open(copy, "r+b", buffering=0) as file:
            _write_all(file.fileno(), head)
            copy_range(handle, 0, file.fileno(), len(head))
            os.fsync(file.fileno())
        os.replace(copy, path)
    except BaseException:
        remove(copy)
        raise


def copy_range(source: int, start: int, target: int, place: int) -> None:
    """Copy the file SOURCE from byte START to byte PLACE of TARGET; where the file system can, blocks are shared."""
    end = os.fstat(source).st_size
    while start < end:
        try:
            count = os.copy_file_range(source, target, min(_CHUNK, end - start), start, place)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF):
                raise
            count = os.pwrite(target, os.pread(source, 1 << 20, start), place)
        if count == 0:
            return
        start, place = start + count, place + count


def publish(made: str, path: str) -> None:
    """Give the finished file MADE its name PATH, in one step. Raises OSError; then it has its old name.

    What is in it is on the disk. The new name is not waited for: a host that loses its power now finds it under one of the
    two.
    """
    os.replace(made, path)


def sync_folder(path: str) -> None:
    """Have the names in the folder PATH on the disk. Silent where its file system cannot."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        return
    finally:
        os.close(handle)


def remove(path: str) -> None:
    """Silent for one that is not there, or may not be removed."""
    try:
        os.unlink(path)
    except OSError:
        return
