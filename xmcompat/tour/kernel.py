"""A distribution's own kernel for guests: fetched as a package, with its modules in the order they must be loaded."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from xmcompat.errors import XmError
from xmcompat.tour.packages import Package, Say, candidate, unpacked, update_lists
from xmcompat.tour.programs import run

#: Packages that stand for the newest kernel, those made for guests first: Debian's, then Ubuntu's.
META_PACKAGES = ("linux-image-cloud-amd64", "linux-image-virtual", "linux-image-generic", "linux-image-amd64")

#: What a guest needs of its kernel; what is built in is no module.
MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "virtio_balloon", "virtio_rng", "ext4",
           "crc32c_generic", "button", "evdev")  # fmt: skip

DEPMOD_SECONDS = 120.0
ZSTD_SECONDS = 60.0


class Kernel(NamedTuple):
    """An unpacked kernel. ``modules`` is the folder of its modules, somewhere in the unpacked package ``place``."""

    version: str
    image: Path
    modules: Path
    place: Path


def fetch_kernel(cache: Path, say: Say) -> Kernel:
    """The newest kernel for guests that apt offers, from CACHE where it is there already.

    Without a word from apt, the newest one of the cache. Raises XmError where there is neither, and ProgramFailed.
    """
    found = _newest()
    if found is None:
        cached = _cached(cache)
        if cached is not None:
            return cached
        update_lists(say)
        found = _newest()
    if found is None:
        raise XmError(f"apt offers none of {', '.join(META_PACKAGES)}", hint="the tour needs an amd64 Debian or Ubuntu")
    image, extra = found
    folder = unpacked(image, cache, say)
    modules = [unpacked(package, cache, say) for package in extra]
    return _indexed(_kernel_in(folder, [*modules, folder]))


def _newest() -> tuple[Package, tuple[Package, ...]] | None:
    """The kernel's package, and the one of its modules where that is apart."""
    for meta in META_PACKAGES:
        package = candidate(meta)
        name = _named(package.depends, r"linux-image-(unsigned-)?[0-9].*") if package else None
        image = candidate(name) if name else None
        if image is None:
            continue
        modules = _named(image.depends, r"linux-modules-[0-9].*")
        apart = candidate(modules) if modules else None
        return image, (apart,) if apart else ()
    return None


def _named(names: Sequence[str], pattern: str) -> str | None:
    return next((name for name in names if re.fullmatch(pattern, name)), None)


def _cached(cache: Path) -> Kernel | None:
    """The newest kernel of the cache, for when apt has no lists."""
    folders = [folder for folder in (cache / "unpacked").glob("linux-*") if folder.suffix != ".part"]
    for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True):
        try:
            return _indexed(_kernel_in(folder, folders))
        except XmError:
            continue
    return None


def _kernel_in(folder: Path, module_folders: Sequence[Path]) -> Kernel:
    images = sorted(folder.glob("boot/vmlinuz-*"))
    if not images:
        raise XmError(f"there is no kernel in {folder}")
    version = images[-1].name.removeprefix("vmlinuz-")
    for place in module_folders:
        for modules in (place / "lib/modules" / version, place / "usr/lib/modules" / version):
            if (modules / "kernel").is_dir():
                return Kernel(version, images[-1], modules, place)
    raise XmError(f"the modules of kernel {version} are missing")


def _indexed(kernel: Kernel) -> Kernel:
    """The kernel, with its modules.dep made if it is not there: packages come without."""
    if not (kernel.modules / "modules.dep").exists():
        links = {kernel.place / "lib": "usr/lib", kernel.place / "usr/lib": "../lib"}
        for link, target in links.items():  # depmod looks in one or the other, by its release
            if not link.exists():
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(target)
        run(("depmod", "-b", kernel.place, kernel.version), seconds=DEPMOD_SECONDS)
    return kernel


def load_order(dependencies: Mapping[str, Sequence[str]], wanted: Sequence[str]) -> list[str]:
    """The module files to load for WANTED, each after those it needs. Pure.

    DEPENDENCIES maps each file to the files it needs. Names that no file has are built in, or not there: left out.
    """
    by_name = {_module_name(file): file for file in dependencies}
    order: dict[str, None] = {}

    def visit(file: str) -> None:
        for needed in dependencies.get(file, ()):
            if needed not in order:
                visit(needed)
        order[file] = None

    for name in wanted:
        file = by_name.get(name.replace("-", "_"))
        if file is not None:
            visit(file)
    return list(order)


def _module_name(file: str) -> str:
    return Path(file).name.partition(".")[0].replace("-", "_")


def parse_dependencies(text: str) -> dict[str, list[str]]:
    """The text of a modules.dep. Pure."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {file: needed.split() for file, colon, needed in pairs if colon}


def module_contents(kernel: Kernel, wanted: Sequence[str] = MODULES) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each module to load, in order, decompressed."""
    text = (kernel.modules / "modules.dep").read_text()
    for file in load_order(parse_dependencies(text), wanted):
        yield f"{_module_name(file)}.ko", _decompressed(kernel.modules / file)


def _decompressed(path: Path) -> bytes:
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        target = path.with_suffix(".plain")
        run(("zstd", "-q", "-d", "-f", path, "-o", target), seconds=ZSTD_SECONDS)
        data = target.read_bytes()
        target.unlink()
        return data
    return path.read_bytes()
