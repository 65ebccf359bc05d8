#!/usr/bin/env python3
"""Time the building and conversion of images against the programs beneath, in turns, in one run.

    sudo .venv/bin/python benchmarks/images.py [--mib N] [--runs N] [--place DIR] [--only WORD]

Builds an image of a tar of /usr/share and random data, and of its tree, and converts and clones a disk with twice as much
in it, which is half full; who uses it is asked of a private libvirtd. Of the runs that counts which takes least: where
this host is a guest itself, memory that was free for long takes time to come back, and that counts for either. Exit
status 1 when ours, but for the start of the program, takes more than 1.1 times as long as tar, mke2fs, qemu-img and cp
alone. A clone of a raw image is on the disk once it is said to be there, as is the copy beside it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from side_by_side import CHECKOUT, environment

from xmcompat.backends.private_libvirtd import PrivateLibvirtd

BAR = 1.1
#: Seconds that do not count: conversions of small disks take less than the start of a program varies by.
NOISE = 0.1
#: What leads to the libvirtd that tells which guests use a volume: there are none.
_libvirts: dict[str, str] = {}
_TAR = ("tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf")


def ours(*words: str) -> None:
    verb("image", *words)


def verb(*words: str) -> None:
    environ = {**os.environ, **_libvirts, "PYTHONPATH": str(CHECKOUT)}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program is compiled
    command = [sys.executable, "-m", "xmcompat.tool", *words]
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)


def alone(*words: str) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def tree(place: Path, mib: int) -> None:
    """About MIB of small files and random data, as a tree and as a tar."""
    (place / "tree").mkdir()
    taken = 0
    for folder in sorted(Path("/usr/share").iterdir()):
        if taken < mib // 2 << 20 and folder.is_dir() and not folder.is_symlink():
            shutil.copytree(folder, place / "tree" / folder.name, symlinks=True, ignore_dangling_symlinks=True)
            taken += sum(path.lstat().st_size for path in (place / "tree" / folder.name).rglob("*"))
    for number in range(mib // 2):
        (place / "tree" / f"random{number}").write_bytes(os.urandom(1 << 20))
    subprocess.run(["tar", "-czf", place / "a.tgz", "-C", place / "tree", "."], check=True)


def disk(place: Path, mib: int) -> None:
    with open(place / "disk.img", "wb") as file:
        file.truncate(4 * mib << 20)
        for number in range(mib):
            file.seek(number * 2 << 20)
            file.write(os.urandom(1 << 20) if number % 2 else bytes([number % 255 + 1]) * (1 << 20))


def build_alone(place: Path, size: str) -> None:
    (place / "unpacked").mkdir()
    alone(*_TAR, str(place / "a.tgz"), "-C", str(place / "unpacked"))
    alone("mke2fs", "-q", "-F", "-t", "ext4", "-d", str(place / "unpacked"), str(place / "b.img"), size)
    shutil.rmtree(place / "unpacked")


def cases(place: Path, mib: int) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    size, at = f"{mib * 3}M", lambda name: str(place / name)
    found: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "build from tar.gz": (lambda: ours("build", at("a.tgz"), at("a.img"), "--size", size),
                              lambda: build_alone(place, size)),
        "build from tree": (lambda: ours("build", at("tree"), at("a.img"), "--size", size),
                            lambda: alone("mke2fs", "-q", "-F", "-t", "ext4", "-d", at("tree"), at("b.img"), size)),
    }  # fmt: skip
    for name in ("qcow2", "vmdk", "vpc", "raw"):
        found[f"convert to {name}"] = (
            lambda name=name: ours("convert", at("disk.img"), at(f"a.{name}"), "--format", name),  # type: ignore[misc]
            lambda name=name: alone("qemu-img", "convert", "-f", "raw", "-O", name, at("disk.img"), at(f"b.{name}")),  # type: ignore[misc]
        )
    found["clone a raw image"] = (
        lambda: verb("storage", "clone", at("disk.img"), at("a.clone.img")),
        lambda: [alone("cp", "--sparse=auto", at("disk.img"), at("b.img")), alone("sync", at("b.img"))],
    )
    found["clone to qcow2"] = (
        lambda: verb("storage", "clone", at("disk.img"), at("a.clone.qcow2")),
        lambda: alone("qemu-img", "convert", "-f", "raw", "-O", "qcow2", at("disk.img"), at("b.qcow2")),
    )
    return found


def timed(act: Callable[[], object], place: Path) -> float:
    """Seconds. What the last run made is removed first: some file systems write a file out that replaces another."""
    for path in (*place.glob("a.[!t]*"), *place.glob("b.*")):
        path.unlink()
    os.sync()
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description="building and conversion of images")
    parser.add_argument("--mib", type=int, default=512, help="data (default: 512)")
    parser.add_argument("--runs", type=int, default=10, help="runs of each (default: 10)")
    parser.add_argument("--only", default="", help="what has this word in its name, such as convert (default: all)")
    parser.add_argument("--place", default=CHECKOUT.parent, help="where to work (default: beside the checkout)")
    options = parser.parse_args()
    missed = False
    with tempfile.TemporaryDirectory(dir=options.place) as folder, ExitStack() as stack:
        place = Path(folder)
        node = PrivateLibvirtd(place / "n", name="images")
        stack.callback(node.stop)
        node.start()
        _libvirts["XMCOMPAT_URI"] = environment(node.uri)["XMCOMPAT_URI"]
        chosen = {name: case for name, case in cases(place, options.mib).items() if options.only in name}
        if any("build" in name for name in chosen):
            tree(place, options.mib)
        disk(place, 2 * options.mib)
        start = median(timed(lambda: ours("convert", "--help"), place) for _ in range(5))
        print(f"start of the program alone: {start:.2f} s, which the first ratio leaves out and the second has in it")
        for name, (mine, theirs) in chosen.items():
            times = []
            for number in range(options.runs + 1):
                acts = (mine, theirs) if number % 2 else (theirs, mine)
                pair = {act: timed(act, place) for act in acts}
                times.append((pair[mine], pair[theirs]))
            first, second = (min(one) for one in zip(*times[1:], strict=True))
            ratio = (first - start) / second
            over = ratio > BAR and first - start - second > NOISE
            missed = missed or over
            end = "  MISSED" if over else ""
            print(f"{name:<20} {first:7.2f} s {second:7.2f} s  {ratio:.2f}  {first / second:.2f}{end}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
