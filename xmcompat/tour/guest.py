"""A small Linux guest, made from the distribution's packages, and the Xen configuration that starts it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from xmcompat.errors import XmError
from xmcompat.tour.kernel import Kernel, fetch_kernel, module_contents
from xmcompat.tour.packages import Say, candidate, default_cache, unpacked, update_lists
from xmcompat.tour.ramdisk import ramdisk
from xmcompat.tour.rootfs import write_root_image, write_swap_image

BUSYBOX = "busybox-static"


class GuestFiles(NamedTuple):
    """What a guest needs to boot; all in one folder."""

    kernel: Path
    ramdisk: Path
    root_image: Path
    swap_image: Path
    kernel_version: str


def _silent(_line: str) -> None:
    """Nobody wants to know."""


def build_guest(
    directory: Path, *, name: str, cache: Path | None = None, root_mib: int = 64, swap_mib: int = 32,
    say: Say = _silent,
) -> GuestFiles:  # fmt: skip
    """Make the guest NAME in DIRECTORY: kernel, RAM disk, root and swap image; what was there is replaced.

    It has a login on hvc0 and on ttyS0 (root, no password), is called NAME, and obeys the power button. Packages
    come from CACHE (see ``packages.default_cache``), through apt where they are not there yet; nothing is installed.
    SAY is told of what takes time. Raises XmError, and OSError where DIRECTORY cannot be written.
    """
    cache = default_cache() if cache is None else cache
    kernel = fetch_kernel(cache, say)
    busybox = _busybox(cache, say)
    directory.mkdir(parents=True, exist_ok=True)
    made = GuestFiles(
        directory / "vmlinuz", directory / "initrd.img", directory / "root.img", directory / "swap.img", kernel.version
    )
    say(f"make the images of the guest '{name}' with kernel {kernel.version}")
    _write_boot_files(made, kernel, busybox)
    write_root_image(made.root_image, name=name, busybox=busybox, mebibytes=root_mib)
    write_swap_image(made.swap_image, mebibytes=swap_mib)
    return made


def _write_boot_files(made: GuestFiles, kernel: Kernel, busybox: Path) -> None:
    for path in (made.kernel, made.ramdisk):
        path.unlink(missing_ok=True)
    shutil.copyfile(kernel.image, made.kernel)
    made.kernel.chmod(0o644)
    made.ramdisk.write_bytes(ramdisk(busybox.read_bytes(), module_contents(kernel)))


def _busybox(cache: Path, say: Say) -> Path:
    """The program, of the newest package that apt offers, else of the cache."""
    folders = sorted((cache / "unpacked").glob(f"{BUSYBOX}_*"), key=lambda folder: folder.stat().st_mtime)
    package = candidate(BUSYBOX)
    if package is None and not folders:
        update_lists(say)
        package = candidate(BUSYBOX)
    for folder in [unpacked(package, cache, say)] if package else reversed(folders):
        for path in (folder / "bin/busybox", folder / "usr/bin/busybox"):
            if path.is_file():
                return path
    raise XmError(f"apt offers no {BUSYBOX}")


def xen_config(
    files: GuestFiles, *, name: str, memory: int = 256, vcpus: int = 1, mac: str, bridge: str, extra: str = ""
) -> str:
    """The configuration in the layout that xen-tools gives it. MEMORY in MiB. Pure."""
    sections: dict[str, Mapping[str, str]] = {
        "Kernel and memory": {
            "kernel": f"'{files.kernel}'",
            "ramdisk": f"'{files.ramdisk}'",
            **({"extra": f"'{extra}'"} if extra else {}),
            "vcpus": f"'{vcpus}'",
            "memory": f"'{memory}'",
        },
        "Disks; the guest calls them /dev/xvda2 and /dev/xvda1": {
            "root": "'/dev/xvda2 ro'",
            "disk": f"[\n    'file:{files.root_image},xvda2,w',\n    'file:{files.swap_image},xvda1,w',\n]",
        },
        "Name": {"name": f"'{name}'"},
        "Network": {"vif": f"[ 'mac={mac},bridge={bridge}' ]"},
        "What to do when the guest ends by itself, reboots or crashes": {
            "on_poweroff": "'destroy'",
            "on_reboot": "'restart'",
            "on_crash": "'restart'",
        },
    }
    return "\n".join(
        f"#  {title}.\n" + "".join(f"{key:<11} = {value}\n" for key, value in keys.items())
        for title, keys in sections.items()
    )
