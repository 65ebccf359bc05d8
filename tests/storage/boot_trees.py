"""Trees of guests with a boot menu, and the file systems that are made of them without the host's kernel."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from xmcompat.storage.image_table import ALIGNMENT, SECTOR, laid_out, written

MENU = """\
default 1
timeout 5
title Xen 4.1
    root (hd0,0)
    kernel /boot/xen.gz dom0_mem=512M
    module /boot/vmlinuz-6.1 root=/dev/xvda2
title Debian
    root (hd0,0)
    kernel (hd0,0)/boot/vmlinuz-6.1 root=/dev/xvda2 ro console=hvc0
    initrd /boot/initrd.img-6.1
title Old
    kernel /boot/vmlinuz-2.6.18-xen root=/dev/xvda2
"""
RAMDISK = b"070701" + b"r" * 1000


def bzimage(release: str = "6.1.0-test", *, size: int = 70000) -> bytes:
    """What has the marks of a kernel for the PC; it boots nothing."""
    image = bytearray(b"\xeb" * size)
    image[0x1FE:0x200], image[0x202:0x206], image[0x206:0x208] = b"\x55\xaa", b"HdrS", b"\x0f\x02"
    image[0x20E:0x210] = (0x100).to_bytes(2, "little")
    image[0x300 : 0x300 + len(release) + 1] = release.encode() + b"\0"
    return bytes(image)


def classic() -> bytes:
    """The beginning of a packed image without that header, as kernels for Xen alone are."""
    return b"\x1f\x8b\x08" + b"x" * 5000


def tree(place: Path, files: Mapping[str, bytes | str]) -> Path:
    """PLACE with FILES; text that begins with "->" is a link."""
    place.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = place / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, str) and data.startswith("->"):
            path.symlink_to(data[2:])
        else:
            path.write_bytes(data.encode() if isinstance(data, str) else data)
    return place


def debian(place: Path, **more: bytes | str) -> Path:
    return tree(place, {
        "boot/grub/menu.lst": MENU, "boot/vmlinuz-6.1": bzimage(), "boot/initrd.img-6.1": RAMDISK,
        "boot/vmlinuz-2.6.18-xen": classic(), "boot/xen.gz": classic(), **more,
    })  # fmt: skip


def partition_image(path: Path, folder: Path, *, fs: str = "ext4", mib: int = 8) -> Path:
    """PATH with a file system of FOLDER, and no table."""
    path.unlink(missing_ok=True)
    subprocess.run(["mke2fs", "-q", "-F", "-t", fs, "-d", str(folder), str(path), f"{mib}M"], check=True)
    return path


def _write_sparse(file: BinaryIO, place: int, part: Path) -> None:
    with open(part, "rb") as source:
        while piece := source.read(1 << 20):
            file.seek(place)
            if piece.count(0) < len(piece):
                file.write(piece)
            place += len(piece)


def disk_image(path: Path, parts: Mapping[int, Path], *, active: int = 0) -> Path:
    """PATH as a disk with a table and no program in its boot sector; the numbers of PARTS are those of the partitions."""
    sizes = {number: part.stat().st_size // SECTOR for number, part in parts.items()}
    table = laid_out([(number, size, "linux" if active in (0, number) else "0x83") for number, size in sizes.items()])
    with open(path, "wb") as file:
        file.truncate((table.size + ALIGNMENT) * SECTOR)
        for one in table.partitions:
            _write_sparse(file, one.start * SECTOR, parts[one.number])
        for place, data in written(table):
            file.seek(place)
            file.write(data)
    return path
