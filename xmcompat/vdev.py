"""Names and numbers of virtual block devices: "xvda1" is 51713. Pure.

Source: the numbering of Xen's block front end; the same figures name devices in xm's tables and errors.
"""

from __future__ import annotations

import re

_HD_MAJORS = (3, 22, 33, 34, 56, 57, 88, 89, 90, 91)
_SD_MAJORS = (8, 65, 66, 67, 68, 69, 70, 71, 128, 129, 130, 131, 132, 133, 134, 135)
_XVD_MAJOR = 202
_EXTENDED = 1 << 28
_LAST_LETTERS = 26 + 9 * 26  # "a" to "iz"


def letters_index(letters: str) -> int:
    """"a" is 0, "z" 25, "aa" 26."""
    index = 0
    for letter in letters:
        index = index * 26 + ord(letter) - ord("a") + 1
    return index - 1


def index_letters(index: int) -> str:
    """0 is "a", 26 is "aa"."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters


def vdev_number(name: str) -> int | None:
    """The number of a device name, None for a name that Xen does not know. "/dev/" in front is no matter.

    A decimal or "0x" number stands for itself.
    """
    name = name.removeprefix("/dev/")
    if re.fullmatch(r"[0-9]+", name):
        return int(name)
    if re.fullmatch(r"0x[0-9a-fA-F]+", name):
        return int(name, 16)
    found = re.fullmatch(r"(xvd|sd|hd)([a-z]{1,2})([1-9][0-9]?)?", name)
    if not found:
        return None
    kind, letters, digits = found.groups()
    index, part = letters_index(letters), int(digits or 0)
    if kind == "hd":
        if index >= 2 * len(_HD_MAJORS) or part > 63:
            return None
        return _HD_MAJORS[index // 2] << 8 | (index & 1) << 6 | part
    if index >= _LAST_LETTERS or part > 15:
        return None
    if kind == "sd":
        return _SD_MAJORS[index // 16] << 8 | (index % 16) << 4 | part
    if index < 16:
        return _XVD_MAJOR << 8 | index << 4 | part
    return _EXTENDED | index << 8 | part


def vdev_name(number: int) -> str | None:
    """The name of a device number; None where no name has it."""
    major, minor = number >> 8, number & 0xFF
    if number & _EXTENDED:
        index, part = (number & ~_EXTENDED) >> 8, number & 0xFF
        return _named("xvd", index, part) if 16 <= index < _LAST_LETTERS and part <= 15 else None
    if major == _XVD_MAJOR:
        return _named("xvd", minor >> 4, minor & 15)
    if major in _SD_MAJORS:
        index = _SD_MAJORS.index(major) * 16 + (minor >> 4)
        return _named("sd", index, minor & 15) if index < _LAST_LETTERS else None
    if major in _HD_MAJORS and minor < 128:
        return _named("hd", _HD_MAJORS.index(major) * 2 + (minor >> 6), minor & 63)
    return None


def _named(kind: str, index: int, part: int) -> str:
    return f"{kind}{index_letters(index)}{part or ''}"


def split_vdev(name: str) -> tuple[str, str, int]:
    """("xvd", "a", 2) of "xvda2"; part 0 is the whole disk. ("", "", 0) for a number without a name."""
    number = vdev_number(name)
    canonical = vdev_name(number) if number is not None else None
    found = re.fullmatch(r"(xvd|sd|hd)([a-z]+)([0-9]*)", canonical or "")
    return (found[1], found[2], int(found[3] or 0)) if found else ("", "", 0)
