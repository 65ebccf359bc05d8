"""Small things for reading and writing XML elements. Pure; loads lxml."""

from __future__ import annotations

import re
from enum import Enum
from typing import TypeVar

from lxml import etree

from xmcompat.errors import ConfigError
from xmcompat.units import parse_cpus

#: What XML 1.0 cannot hold; all but what it can takes 2 ms to compile.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

_DECIMAL, _BINARY = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}, {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}

#: libvirt's two pairs of words for no and yes.
YES_NO, ON_OFF = ("no", "yes"), ("off", "on")

_Word = TypeVar("_Word", bound=Enum)


def add(parent: etree._Element, tag: str, content: str | None = None, **attributes: str | int | None) -> etree._Element:
    """A child with CONTENT, and those attributes that are neither None nor ""."""
    element = etree.SubElement(parent, tag)
    for name, value in attributes.items():
        if value is not None and value != "":
            element.set(name, exact(str(value)))
    if content is not None:
        element.text = exact(content)
    return element


def exact(text: str) -> str:
    """TEXT, which must not be changed."""
    if _UNFIT.search(text):
        raise ConfigError(f"{text!a} has characters that libvirt's XML cannot hold", hint="write it without them")
    return text


def legible(text: str) -> str:
    """TEXT for people, with U+FFFD for what XML cannot hold."""
    return _UNFIT.sub("\ufffd", text)


def attribute(element: etree._Element | None, name: str) -> str:
    return "" if element is None else element.get(name, "")


def number(text: str | None) -> int | None:
    try:
        return int(text) if text else None
    except ValueError:
        return None


def word(kind: type[_Word], text: str, default: _Word) -> _Word:
    try:
        return kind(text)
    except ValueError:
        return default


def said(value: bool | None, words: tuple[str, str] = YES_NO) -> str | None:
    """VALUE in one of the two WORDS, None where nothing is to be said."""
    return None if value is None else words[value]


def heard(text: str, words: tuple[str, str] = YES_NO) -> bool | None:
    """What ``said`` has written; None for other text."""
    return bool(words.index(text)) if text in words else None


def kibibytes(text: str | None, unit: str = "KiB", default: int = 0) -> int:
    """An amount of memory, rounded up. "KB" is 1000 bytes, "K" and "KiB" are 1024."""
    if not text:
        return default
    unit = unit.lower()
    table = _DECIMAL if len(unit) == 2 and unit.endswith("b") else _BINARY
    return -(-(number(text) or 0) * table.get(unit[:1], 1) // 1024)


def cpuset(text: str) -> tuple[int, ...]:
    """The numbers in a list of CPUs or nodes, "0,2-3", by size; () for what is no such list."""
    try:
        return parse_cpus(text)
    except ConfigError:
        return ()
