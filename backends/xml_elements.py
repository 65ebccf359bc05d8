"""Small things for reading and writing XML elements. Pure; loads lxml."""

from __future__ import annotations

import re
from enum import Enum
from typing import TypeVar

from lxml import etree

from xmcompat.errors import ConfigError

#: What XML 1.0 cannot hold.
_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

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
