"""What Xen's boot loaders were told to take out of a guest's disk: pygrub, pv-grub and domUloader. Pure.

Source: the options of pygrub (Xen 4.1), domUloader's --entry, and the devices of GRUB that pv-grub's command line names.
"""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple
from uuid import UUID

from xmcompat.guest import GuestConfig, GuestKind, KernelBoot, LoaderBoot, Vbd
from xmcompat.translate.kernel_names import is_loader
from xmcompat.translate.options import text

#: Programs that take a kernel out of the guest's first disk, by their names.
READERS = re.compile(r"pygrub.*|pv-?grub.*|domUloader.*")

#: domUloader's own argument.
ENTRY = re.compile(r"""--entry[= ]["']?(?:(?P<device>[^:,\s"']*):)?(?P<files>[^:\s"']+)(?=[\s"']|$)""")

#: "(hd0,0)/boot/grub/menu.lst"; GRUB 2 writes (hd0,msdos1) and counts from 1.
_GRUB_FILE = re.compile(r"\(hd(\d{1,2})(?:,(msdos|gpt)?(\d{1,3}))?\)(/\S+)")

#: pygrub's options that say nothing about what is taken.
_QUIET = ("-q", "--quiet", "-i", "--interactive", "-n", "--not-really")


class Taken(NamedTuple):
    """What was taken: paths on this host, the menu's command line, and where it is from ("/boot/vmlinuz of xvda2")."""

    kernel: str
    ramdisk: str = ""
    args: str = ""
    source: str = ""
    remark: str = ""


class Wanted(NamedTuple):
    """What is to be taken out of the disk ``vdev``, "" where there is none; ``partition`` 0 is the first that has a menu.

    ``kernel`` and ``ramdisk`` are paths within the disk; ``config`` is that of the menu, "" for the usual ones; ``entry``
    is its number or title. ``args`` follow those of the menu. ``unread`` are words that nothing here understands.
    """

    vdev: str = ""
    partition: int = 0
    kernel: str = ""
    ramdisk: str = ""
    config: str = ""
    entry: str = ""
    args: str = ""
    unread: tuple[str, ...] = ()


def place_of(folder: str, uuid: str) -> str:
    """Where in FOLDER the files of the guest of UUID are, however that is written."""
    try:
        return f"{folder}/{UUID(uuid)}"
    except ValueError:  # nothing is started so
        return f"{folder}/{uuid}"


def wanted(guest: GuestConfig) -> Wanted | None:
    """None for a guest that starts otherwise."""
    boot = guest.boot
    if guest.kind is GuestKind.HVM:
        return None
    if isinstance(boot, KernelBoot):
        return _pv_grub(guest, boot.cmdline) if is_loader(boot.kernel) else None
    if not isinstance(boot, LoaderBoot):
        return None
    name = boot.bootloader.rpartition("/")[2]
    if name and not READERS.fullmatch(name):
        return None
    if name.startswith("domUloader"):
        return _dom_u_loader(guest, boot)
    if re.match("pv-?grub", name):
        return _pv_grub(guest, boot.cmdline)
    return _pygrub(guest, boot)


def _first(guest: GuestConfig) -> str:
    return guest.disks[0].vdev if guest.disks else ""


def _pygrub(guest: GuestConfig, boot: LoaderBoot) -> Wanted:
    """Later words win, and those of bootargs come behind what the configuration says."""
    values = {"kernel": text(guest, "kernel"), "ramdisk": text(guest, "ramdisk"), "args": boot.cmdline, "entry": ""}
    unread: list[str] = []
    words = _words(boot.args)
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if word in _QUIET:
            continue
        if not word.startswith("--") or name not in values or not (equals or words):
            unread.append(word)
            continue
        values[name] = value if equals else words.pop(0)
    return Wanted(
        vdev=_first(guest), kernel=values["kernel"], ramdisk=values["ramdisk"], entry=values["entry"],
        args=values["args"], unread=tuple(unread),
    )  # fmt: skip


def _words(args: str) -> list[str]:
    try:
        return shlex.split(args)
    except ValueError:  # a quote that does not end
        return args.split()


def _dom_u_loader(guest: GuestConfig, boot: LoaderBoot) -> Wanted:
    found = ENTRY.search(boot.args)
    files = [name for name in found["files"].split(",") if name] if found else []
    if not found or not files:
        return _pygrub(guest, boot)
    device = (found["device"] or "").removeprefix("/dev/")
    names = {vbd.vdev for vbd in guest.disks}
    whole = device.rstrip("0123456789")
    vdev, partition = (whole, int(device[len(whole) :] or 0)) if device not in names and whole in names else (device, 0)
    rest = (boot.args[: found.start()] + boot.args[found.end() :]).replace('"', " ").split()
    return Wanted(
        vdev=vdev if vdev in names else _first(guest), partition=partition, kernel=_absolute(files[0]),
        ramdisk=_absolute(files[1]) if len(files) > 1 else "", args=boot.cmdline,
        unread=tuple(word for word in rest if word not in _QUIET),
    )  # fmt: skip


def _absolute(path: str) -> str:
    return "/" + path.lstrip("/")


def _pv_grub(guest: GuestConfig, cmdline: str) -> Wanted:
    """The file that the command line names; its other words were never handed on."""
    found = _GRUB_FILE.search(cmdline)
    if not found:
        return Wanted(vdev=_first(guest), unread=tuple(cmdline.split()))
    place, style, number, config = found.groups()
    disk: Vbd | None = guest.disks[int(place)] if int(place) < len(guest.disks) else None
    partition = 0 if number is None else int(number) + (0 if style else 1)
    rest = (cmdline[: found.start()] + cmdline[found.end() :]).split()
    return Wanted(vdev=disk.vdev if disk else "", partition=partition, config=config, unread=tuple(rest))
