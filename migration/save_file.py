"""The file of ``xm save``: Xen's header with the configuration, then the image that libvirt has written.

16 bytes ``LinuxGuestRecord``, 4 bytes with the length of what follows (big-endian), the configuration as SXP text, then
the image. The text ends in one more form, with the image's size, its checksum and what is known of the guest's disks, and
in blanks. It stands where libvirt's own header was, which is kept behind the image (``image_head``): libvirt leaves room
in it. Where it finds no room, the image begins behind it, on a block of the file system. Source: the format of Xen 3 and
4.1.
"""

from __future__ import annotations

import errno
import os
import re
import zlib

from xmcompat.errors import OperationError
from xmcompat.light import NamedTuple
from xmcompat.migration.image_head import (
    IMAGE_HEADER,
    IMAGE_MAGIC,
    Kept,
    Spans,
    image_end,
    kept_in,
    length_behind,
    put_over,
    write_all,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

MAGIC = b"LinuxGuestRecord"
#: What libvirt's image begins with until it is whole.
HALF_MAGIC = b"LibvirtQemudPart"
#: What a file of xl's begins with. Source: libxl's header of a saved domain.
XL_MAGIC = b"Xen saved domain"
#: Ends the name of a file that is not finished.
UNFINISHED = ".unfinished"
#: The end of a name that ``unfinished`` has given.
UNFINISHED_NAME = re.compile(r"\.[a-z0-9_]{8}\.unfinished\Z")

#: Bytes of a configuration at most, and of one step of copying.
_LARGEST_TEXT = 16 << 20
_CHUNK = 64 << 20
_SMALLEST_BLOCK = 512

#: Modes of fallocate(2).
_COLLAPSE_RANGE, _INSERT_RANGE = 0x08, 0x20
_IMAGE_FORM = "\n(image_file (size "
_TOLD = re.compile(
    r"\n\(image_file \(size (?P<size>[0-9]{1,18})\)(?P<over> \(head behind\))?"
    r"(?: \(crc32 (?P<crc>[0-9a-f]{8})\) \(text_crc32 (?P<text>[0-9a-f]{8})\)(?P<forms>.*))?\)\s*\Z", re.DOTALL
)
#: The formats of images that libvirt writes from their first byte to their last; others may be filled in any order.
_STREAMED = range(6)


class SaveFile(NamedTuple):
    """``config`` is the SXP text, "" for an image of libvirt's own; ``spans`` are the parts of the file that are the image,
    ``xml`` the domain's XML in it. ``running``: it was not paused when it was saved. ``checksum`` is that of
    ``checksum.Checksum``, None where the file has none; ``forms`` are SXP texts of what else is known."""

    config: str
    spans: Spans
    xml: str
    running: bool
    checksum: int | None = None
    forms: str = ""

    @property
    def memory(self) -> Spans:
        """The bytes that the checksum counts."""
        (start, end), *others = self.spans
        return (start + IMAGE_HEADER, end), *others


def header(config: str, size: int, block: int, *, checksum: int | None = None, forms: str = "") -> bytes:
    """What stands before an image of SIZE bytes: a whole number of blocks of BLOCK bytes. FORMS are SXP texts, which have a
    CHECKSUM beside them."""
    text = _text(config, f"{size})", checksum, forms)
    return _padded(text, -(len(MAGIC) + 4 + len(text)) % block)


def header_over(
    config: str, size: int, length: int, *, checksum: int | None = None, forms: str = ""
) -> bytes | None:  # fmt: skip
    """What stands in place of the LENGTH bytes of the header of an image of SIZE bytes, as ``header``; None where there is
    no room."""
    text = _text(config, f"{size}) (head behind)", checksum, forms)
    left = length - len(MAGIC) - 4 - len(text)
    return _padded(text, left) if left >= 0 else None


def _padded(text: bytes, blanks: int) -> bytes:
    return MAGIC + (len(text) + blanks).to_bytes(4, "big") + text + b"\n" * blanks


def _text(config: str, size: str, checksum: int | None, forms: str) -> bytes:
    config, forms = config.rstrip(), f" {forms}" if forms else ""
    told = f" (crc32 {checksum:08x}) (text_crc32 {_text_crc(config, forms):08x}){forms}" if checksum is not None else ""
    return f"{config}{_IMAGE_FORM}{size}{told})\n".encode("utf-8", "surrogateescape")


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


def may_be_whole(path: str) -> bool:
    """Whether libvirt may have finished the image at PATH, whatever has been written over it, or put before it, since."""
    try:
        head = _head(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return len(head) == len(MAGIC) and head != HALF_MAGIC


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
    kept = kept_in(fd, end)
    if magic == MAGIC:
        try:
            return _ours(fd, end, kept, path)
        except OperationError:
            if kept is None or not path.endswith(UNFINISHED):
                raise
    if kept and (magic == IMAGE_MAGIC or path.endswith(UNFINISHED)):
        return _bare(fd, kept.spans, path)  # who was to write the header was ended while doing so, or power was lost
    if magic in (IMAGE_MAGIC, HALF_MAGIC):
        return _bare(fd, ((0, image_end(fd, end)),), path)
    if magic == bytes(len(MAGIC)) and (place := _behind_hole(fd)):
        return _bare(fd, ((place, end),), path)
    if magic == XL_MAGIC:
        raise OperationError(f"{path} was saved by Xen's xl; memory images of Xen do not run on KVM", hint=_XENS)
    raise _invalid(f"found '{magic.decode('latin-1').encode('unicode_escape').decode()}'")


def _bare(fd: int, spans: Spans, path: str) -> SaveFile:
    return SaveFile("", spans, *_image(fd, spans, path))


def _ours(fd: int, end: int, kept: Kept | None, path: str) -> SaveFile:
    """What begins with Xen's header, of a file with END bytes that has KEPT libvirt's header."""
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
    if told is None:
        spans: Spans = ((offset, end),)
        return SaveFile(config, spans, *_image(fd, spans, path))
    spans = _spans(told, offset, end, kept, path)
    crc = int(told["crc"], 16) if told["crc"] else None
    return SaveFile(config[: told.start()], spans, *_image(fd, spans, path), crc, (told["forms"] or "").strip())


def _spans(told: re.Match[str], offset: int, end: int, kept: Kept | None, path: str) -> Spans:
    """The image of a file with END bytes whose header is over at OFFSET, by what is TOLD in it. Raises OperationError."""
    size = int(told["size"])
    there = end - (length_behind(offset) if told["over"] else offset)
    if there < size:
        raise OperationError(
            f"{path} is cut short: {max(there, 0)} of the image's {size} bytes are there", hint="copy it anew"
        )
    if not told["over"]:
        return ((offset, end),)
    if kept != Kept(size, offset):
        raise OperationError(
            f"{path} is damaged: by its checksum, what stands behind the image is not what was written", hint="copy it anew"
        )
    return kept.spans


def _is_as_written(config: str, told: re.Match[str] | None) -> bool:
    """Whether CONFIG, with what is TOLD behind it, has its checksum; Xen's text, and files from before, have none."""
    if told is None:
        return _IMAGE_FORM not in config and "(text_crc32 " not in config
    return not told["text"] or _text_crc(config[: told.start()], told["forms"]) == int(told["text"], 16)


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


def _image(fd: int, spans: Spans, path: str) -> tuple[str, bool]:
    """The domain's XML in the image in SPANS, and whether it ran. Raises OperationError where it is no whole one."""
    offset, end = spans[0]
    head = os.pread(fd, IMAGE_HEADER, offset)
    if head[:16] == HALF_MAGIC:
        raise OperationError(f"{path} is not finished: its saving was broken off")
    if head[:16] != IMAGE_MAGIC:
        import shlex

        raise OperationError(
            f"{path} was saved by Xen, whose memory images do not run on KVM",
            hint=f"its configuration can be used: xmcompat convert {shlex.quote(path)}",
        )
    length = _data_length(head)
    if len(head) < IMAGE_HEADER or end - offset < IMAGE_HEADER + length or length > _LARGEST_TEXT:
        raise OperationError(f"{path} is cut short: its image is not whole", hint="copy it anew")
    data = os.pread(fd, length, offset + IMAGE_HEADER)
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape"), any(head[24:28])


def _data_length(head: bytes) -> int:
    """Bytes of what libvirt's HEAD has behind it before the stream: the XML and more."""
    return int.from_bytes(head[20:24], _order(head))


def unfinished(path: str) -> str:
    """A new, empty file beside PATH that only its owner can read, for what is to become PATH. Raises OSError."""
    import tempfile

    handle, made = tempfile.mkstemp(
        prefix=f"{os.path.basename(path)}.", suffix=UNFINISHED, dir=os.path.dirname(path) or "."
    )
    os.close(handle)
    return made


def complete(path: str, config: str, *, checksum: int | None = None, forms: str = "") -> None:
    """Give the image at PATH its header. On any error, and on Ctrl-C, the image is as it was.

    It takes the place of libvirt's own; where there is no room, the image is moved by blocks where the file system can do
    that, else copied, which needs as much room again. It is on the disk then, as libvirt's image was before: the guest is
    gone, and has no other memory. Raises OSError.
    """
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        head, size = os.pread(handle, IMAGE_HEADER, 0), os.fstat(handle).st_size
        length = IMAGE_HEADER + _data_length(head)
        ours = header_over(config, size, length, checksum=checksum, forms=forms) if length <= size else None
        if ours is not None:
            put_over(handle, ours)
        else:
            head = header(config, size, os.fstatvfs(handle).f_bsize, checksum=checksum, forms=forms)
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
        write_all(handle, head[len(MAGIC) :], len(MAGIC))
        write_all(handle, head[: len(MAGIC)])
        os.fsync(handle)
    except BaseException:
        _fallocate(handle, _COLLAPSE_RANGE, len(head))
        raise
    return True


def _fallocate(handle: int, mode: int, length: int) -> bool:
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).fallocate
    return bool(call(handle, mode, ctypes.c_int64(0), ctypes.c_int64(length)) == 0)


def _copy_behind(handle: int, head: bytes, path: str) -> None:
    copy = unfinished(path.removesuffix(UNFINISHED))
    try:
        with open(copy, "r+b", buffering=0) as file:
            write_all(file.fileno(), head)
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
