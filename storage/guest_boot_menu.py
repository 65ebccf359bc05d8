"""The menu of a boot loader: which kernels a guest's file system offers, and which of them is the default. Pure.

Source: what pygrub of Xen 4.1 reads, its order of files, its choice of the default; and the manuals of GRUB and SYSLINUX.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

#: The files that are looked for, in this order.
PLACES = (
    "/boot/grub/menu.lst", "/boot/grub/grub.conf", "/grub/menu.lst", "/grub/grub.conf", "/boot/grub/grub.cfg",
    "/grub/grub.cfg", "/boot/grub2/grub.cfg", "/grub2/grub.cfg", "/boot/isolinux/isolinux.cfg",
    "/boot/extlinux/extlinux.conf", "/boot/extlinux.conf",
)  # fmt: skip

#: More are in no honest menu.
_MOST_ENTRIES = 500

_SAVED = ("saved", "${saved_entry}", "${next_entry}", "$saved_entry", "$next_entry")
_DEVICE = re.compile(r"^\([^)]*\)")
_KERNELS = ("linux", "linux16", "linuxefi")
_RAMDISKS = ("initrd", "initrd16", "initrdefi")
_XEN = ("multiboot", "multiboot2", "module", "module2", "xen_hypervisor", "xen_module")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the menu. Paths are those within its file system. ``multiboot``: Xen itself comes first, with the kernel
    of its own domain; no guest starts so. ``names`` are other words that mean it."""

    title: str = ""
    kernel: str = ""
    ramdisks: tuple[str, ...] = ()
    args: str = ""
    multiboot: bool = False
    names: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        return bool(self.kernel) and not self.multiboot


@dataclass(frozen=True, slots=True, kw_only=True)
class Menu:
    """``remark`` says why there may be no entries, "" where nothing is known."""

    entries: tuple[Entry, ...] = ()
    default: int = 0
    remark: str = ""

    def chosen(self, word: str) -> Entry | None:
        """The entry that WORD means, by number from 0 or by title; None where there is none. "" is the default."""
        if not word:
            return self.entries[self.default] if self.default < len(self.entries) else next(iter(self.entries), None)
        if word.isascii() and word.isdecimal():
            return self.entries[int(word)] if len(word) < 6 and int(word) < len(self.entries) else None
        return next((one for one in self.entries if word in (one.title, *one.names)), None)


def read_menu(path: str, text: str) -> Menu:
    """The menu that the file PATH of PLACES, or one like them, has in TEXT. Never raises."""
    name = posixpath.basename(path)
    if name in ("extlinux.conf", "isolinux.cfg", "syslinux.cfg"):
        return _syslinux(text, posixpath.dirname(path))
    if name == "grub.cfg" or re.search(r"(?m)^\s*menuentry\s", text):
        return _grub2(text)
    return _legacy(text)


def _lines(text: str) -> Iterator[str]:
    """Lines that say something, those that a backslash ends joined."""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            yield line


def _halves(line: str) -> tuple[str, str]:
    """The first word, and what follows the blanks behind it."""
    word, *rest = line.split(None, 1) or [""]
    return word, rest[0].rstrip() if rest else ""


def _path(word: str) -> str:
    """PATH of "(hd0,0)/PATH"."""
    return _DEVICE.sub("", word)


# -- GRUB before version 2


def _legacy(text: str) -> Menu:
    entries: list[Entry] = []
    default = "0"
    for line in _lines(text):
        word, rest = _halves(re.sub(r"^(\w+)\s*=\s*", r"\1 ", line, count=1))
        if word == "title":
            if len(entries) == _MOST_ENTRIES:
                break
            entries.append(Entry(title=rest))
        elif not entries:
            default = rest if word == "default" else default
        elif word == "kernel":
            entries[-1] = _with_kernel(entries[-1], re.sub(r"^(--(type|no-mem-option)\S*\s+)+", "", rest))
        elif word == "initrd":
            entries[-1] = replace(entries[-1], ramdisks=tuple(map(_path, rest.split())))
        elif word.startswith("module"):
            entries[-1] = replace(entries[-1], multiboot=True)
    return Menu(entries=tuple(entries), default=_number(default))


def _with_kernel(entry: Entry, rest: str) -> Entry:
    kernel, args = _halves(rest)
    return replace(entry, kernel=_path(kernel), args=args)


def _number(word: str) -> int:
    """Anything but a number is the first, as "saved" is with pygrub."""
    return int(word) if word.isascii() and word.isdecimal() and len(word) < 6 else 0


# -- GRUB 2


def _grub2(text: str) -> Menu:
    """Entries of submenus are counted like all others, as pygrub counts them."""
    entries: list[Entry] = []
    values: dict[str, str] = {}
    default = ""
    for line in _lines(text):
        word, rest = _halves(line)
        if word == "menuentry":
            if len(entries) == _MOST_ENTRIES:
                break
            entries.append(_grub2_entry(rest))
        elif word == "set" and "=" in rest:
            name, _, value = rest.partition("=")
            value = value.strip("\"'")
            if name == "default":
                default = default if value in _SAVED and default else value
            elif not entries:
                values[name] = value
        elif entries:
            entries[-1] = _grub2_line(entries[-1], word, _expanded(rest, values))
    elsewhere = not entries and re.search(r"(?m)^\s*blscfg\b", text)
    remark = "its entries are in /boot/loader/entries, which are not read" if elsewhere else ""
    menu = Menu(entries=tuple(entries), remark=remark)
    if default in _SAVED or default.isdecimal():
        return replace(menu, default=_number(default))
    found = menu.chosen(_expanded(default, values).rpartition(">")[2]) if default else None
    return replace(menu, default=menu.entries.index(found)) if found else menu


def _grub2_entry(rest: str) -> Entry:
    """By its title, or the word behind --id or $menuentry_id_option."""
    found = re.match(r"""(?:'([^']*)'|"([^"]*)"|(\S+))""", rest)
    title = next((part for part in found.groups() if part is not None), "") if found else ""
    names = re.findall(r"""(?:--id|\$\{?menuentry_id_option\}?)[\s=]+['"]?([^'"\s{]+)""", rest)
    return Entry(title=title, names=tuple(names))


def _grub2_line(entry: Entry, word: str, rest: str) -> Entry:
    if word in _KERNELS:
        return _with_kernel(entry, rest)
    if word in _RAMDISKS:
        return replace(entry, ramdisks=tuple(map(_path, rest.split())))
    return replace(entry, multiboot=True) if word in _XEN else entry


def _expanded(text: str, values: dict[str, str]) -> str:
    """TEXT with the variables that the menu has set; those that it has not are empty."""
    return re.sub(r"\$\{?(\w+)\}?", lambda found: values.get(found[1], ""), text).strip() if "$" in text else text


# -- SYSLINUX, EXTLINUX, ISOLINUX


def _syslinux(text: str, folder: str) -> Menu:
    """Paths without "/" before them are in the FOLDER of the configuration."""
    entries: list[Entry] = []
    default, common = "", ""
    for line in _lines(text):
        word, rest = _halves(line)
        word = word.lower()
        if word == "label":
            if len(entries) == _MOST_ENTRIES:
                break
            entries.append(Entry(title=rest, args=common))
        elif word == "menu" and entries:
            kind, title = _halves(rest)
            if kind.lower() == "label":
                entries[-1] = replace(entries[-1], names=(title.replace("^", ""),))
            elif kind.lower() == "default":
                default = entries[-1].title
        elif word == "default":
            default = rest
        elif word == "append" and not entries:
            common = rest
        elif entries:
            entries[-1] = _syslinux_line(entries[-1], word, rest, folder)
    menu = Menu(entries=tuple(entries))
    found = menu.chosen(default) if default and not default.isdecimal() else None
    found = found or next((one for one in entries if one.title == default), None)
    return replace(menu, default=entries.index(found)) if found else menu


def _syslinux_line(entry: Entry, word: str, rest: str, folder: str) -> Entry:
    def within(path: str) -> str:
        return posixpath.normpath(posixpath.join(folder, path))

    if word in ("kernel", "linux"):
        multiboot = posixpath.basename(rest) in ("mboot.c32", "xen.gz")
        return replace(entry, kernel=within(rest), multiboot=multiboot)
    if word == "initrd":
        return replace(entry, ramdisks=tuple(within(one) for one in rest.split(",")))
    if word != "append":
        return entry
    words = rest.split()
    ramdisks = tuple(within(path) for one in words if one.startswith("initrd=") for path in one[7:].split(","))
    args = "" if rest == "-" else " ".join(one for one in words if not one.startswith("initrd="))
    return replace(entry, args=args, ramdisks=ramdisks or entry.ramdisks)
