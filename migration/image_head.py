"""libvirt's header of an image, once ours stands over it: behind the image, with a mark at the end of the file.

QEMU's stream stays where libvirt has written it. What is to be restored is the header at the end, and then the stream.
"""

from __future__ import annotations

import errno
import os
import zlib
from struct import Struct

from xmcompat.light import NamedTuple

#: What a header of libvirt's begins with, its bytes before the domain's XML, and the most that is taken for one.
IMAGE_MAGIC = b"LibvirtQemudSave"
IMAGE_HEADER = 92
_LARGEST = 32 << 20
#: The last bytes of the file: what they are, where the header begins, and its checksum.
_FOOT = Struct(">16sQI")
_FOOT_MAGIC = b"xmcompat headend"

#: Parts of a file, (start, end) in bytes, one after the other.
Spans = tuple[tuple[int, int], ...]


class Kept(NamedTuple):
    """A header of ``length`` bytes that begins at byte ``place`` of its file."""

    place: int
    length: int

    @property
    def spans(self) -> Spans:
        """The image as libvirt has written it."""
        return (self.place, self.place + self.length), (self.length, self.place)


def kept_in(fd: int, end: int) -> Kept | None:
    """The header at the end of a file of END bytes, None where none is kept, or it is not what was written."""
    found = _foot_of(fd, end)
    if found is None:
        return None
    kept, crc = found
    head = os.pread(fd, kept.length, kept.place)
    return kept if zlib.crc32(head) == crc and head.startswith(IMAGE_MAGIC) else None


def image_end(fd: int, end: int) -> int:
    """Where an image with its own header ends, in a file of END bytes: behind it another one may be kept in part."""
    found = _foot_of(fd, end)
    return end if found is None else found[0].place


def _foot_of(fd: int, end: int) -> tuple[Kept, int] | None:
    """What is kept in a file of END bytes by what its last bytes say, and the checksum of that."""
    foot = os.pread(fd, _FOOT.size, max(end - _FOOT.size, 0))
    if len(foot) < _FOOT.size:
        return None
    magic, place, crc = _FOOT.unpack(foot)
    length = end - _FOOT.size - place
    return (Kept(place, length), crc) if magic == _FOOT_MAGIC and IMAGE_HEADER <= length <= min(place, _LARGEST) else None


def length_behind(length: int) -> int:
    """Bytes behind an image whose header has LENGTH."""
    return length + _FOOT.size


def put_over(fd: int, ours: bytes) -> None:
    """Have OURS, which is as long as the header of the image in FD, stand in its place. On any error, and on Ctrl-C, the
    image is as it was. It is on the disk then. Raises OSError.

    Nothing stands behind the image before the disk knows where that ends: programs that compress take no more than they
    have written. Nothing is written over before it is kept on the disk, and its first bytes come last: ``kept_in`` finds
    it then. What is kept stays where the disk does not take it back.
    """
    end, over = os.fstat(fd).st_size, False
    head = os.pread(fd, len(ours), 0)
    if len(head) < len(ours):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    try:
        write_all(fd, _FOOT.pack(_FOOT_MAGIC, end, zlib.crc32(head)), end + len(head))
        os.fsync(fd)
        write_all(fd, head, end)
        os.fsync(fd)
        over = True
        write_all(fd, ours[len(IMAGE_MAGIC) :], len(IMAGE_MAGIC))
        write_all(fd, ours[: len(IMAGE_MAGIC)])
        os.fsync(fd)
    except BaseException:
        if over:
            write_all(fd, head)
            os.fsync(fd)
        os.ftruncate(fd, end)
        raise


def write_all(fd: int, data: bytes, place: int = 0) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], place + done)
