"""Files beside guests' configurations that are none. What is in them tells; a name alone tells of few.

``xmcompat convert`` and ``xmcompat report``, which look through folders, both go by this.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection

from xmcompat.config.detect import is_sxp
from xmcompat.config.read import SAVED, is_of_xm_save
from xmcompat.guest import GuestConfig

#: Names of files that are passed over whatever is in them: it would be a guest that nobody has, or has twice.
_EXAMPLES = ("xmexample*", "xlexample*")
_COPIES = re.compile(
    r".+(?:~|\.(?:bak|old|orig|save|sav|sw[opx]|tmp|disabled|rpm(?:save|new|orig)|dpkg-[a-z]+|ucf-[a-z]+|cfsaved))|#.+#",
    re.IGNORECASE,
)
#: A date behind a name: a copy, where the file of that name is there too.
_DATED = re.compile(r"(.+?)[._-](?:bak[._-]?)?(?:19|20)[0-9]{2}[._-]?[01][0-9][._-]?[0-3][0-9](?:[._T-]?[0-9:._-]{2,9})?")

#: What files of these names are, if they are no guest's: who calls a guest "notes" has it read.
_CALLED = (
    (re.compile(r"xend-config.*\.sxp|xl\.conf|xen\.conf|xm-config\.xml|xencommons|xendomains"), "settings of Xen itself"),
    (re.compile(r"xend-pci-.*\.sxp"), "which PCI registers guests may write; vfio has rules of its own"),
    (re.compile(r"oxenstored\.conf"), "settings of Xen's store"),
    (re.compile(r"cpupool.*"), "a pool of CPUs, which KVM does not have"),
    (re.compile(r".*\.(?:sh|pl)"), "a script"),
    (re.compile(r".*\.(?:crt|key|pem|csr)"), "a key or certificate"),
    (re.compile(r".*\.(?:img|iso|qcow2?|vmdk|vhd|raw)"), "a disk image"),
    (re.compile(r"(?:readme|changelog|copying|license|install|notes?|todo)(?:[._-].*)?|.*\.(?:md|rst|html?|pdf)"),
     "a text for people"),
)  # fmt: skip
#: Names in Xen's folder of scripts.
_XENS_SCRIPTS = re.compile(
    r"(?:network|vif)-(?:bridge|nat|route)|block|block-.*|(?:xen|vif|block)-.*common\.sh|hotplugpath\.sh"
)

#: Keys without which nothing is a guest: one of them is in every configuration.
_TELLING = ("memory", "kernel", "builder", "type", "disk", "bootloader", "firmware", "firmware_override", "vcpus", "vif")
_SETS = rb"(name|" + "|".join(_TELLING).encode() + rb")[ \t]*\+?=(?!=)"
_ASSIGNED = re.compile(rb"(?:^|[\n;])[ \t]*" + _SETS)
_AT_MARGIN = re.compile(rb"(?:^|\n)" + _SETS)
#: So many different keys, each at the beginning of a line, make a file a guest's, even where it cannot be read.
_ENOUGH = 2


class NoGuest(Exception):
    """A file is no guest's configuration, in words."""


class SavedGuest(NoGuest):
    """A file holds the memory of a guest."""


def kept_aside(name: str, beside: Collection[str] = ()) -> str:
    """Why a file of that NAME is not even opened; "" for most. BESIDE are the names in its folder."""
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _EXAMPLES):
        return "an example that comes with Xen"
    dated = _DATED.fullmatch(name)
    if _COPIES.fullmatch(name) or (dated and (dated[1] in beside or f"{dated[1]}.cfg" in beside)):
        return "a copy that is kept aside, by its name"
    return ""


def folder_of_scripts(name: str, inside: Collection[str]) -> bool:
    """Whether a folder of that NAME, with those names INSIDE, is Xen's own with its scripts."""
    return name == "scripts" and any(map(_XENS_SCRIPTS.fullmatch, inside))


def called(name: str) -> str:
    """What a file of that NAME is, if it is no guest's; "" where the name does not tell."""
    return next((what for pattern, what in _CALLED if pattern.fullmatch(name.lower())), "")


def refuse_others(data: bytes) -> None:
    """Say what a file is that is no configuration. Raises NoGuest."""
    head = data[:4096]
    if not data.strip():
        raise NoGuest("it is empty")
    if head.startswith((SAVED, b"Xen saved domain")):
        if is_of_xm_save(data):
            raise SavedGuest("a guest that xm has saved: 'xm restore' starts it")
        raise SavedGuest("the memory of a saved guest, which KVM cannot use")
    if b"\0" in head:
        raise NoGuest("it is no text")
    if head.lstrip().startswith(b"<"):
        raise NoGuest("libvirt's XML" if b"<domain" in head else "XML")
    if re.match(rb"\s*(?:\{|\[\s*\{)", head):
        raise NoGuest("JSON, no configuration of xm or xl")
    if head.startswith(b"-----BEGIN"):
        raise NoGuest("a key or certificate")
    if head.startswith(b"#!") and not re.match(rb"#!\s*\S*(?:python|env python|/x[ml])", head):
        raise NoGuest("a script")
    if is_sxp(data):
        if not re.search(rb"\(\s*(?:vm|domain)[\s()]", data):
            raise NoGuest("SXP, but no guest's")
    elif not _ASSIGNED.search(data):
        raise NoGuest("it sets nothing that makes a guest")


def refuse_unreadable(name: str, data: bytes, reason: str) -> None:
    """Raise NoGuest for a file called NAME that cannot be read for that REASON, and does not look like a guest's."""
    if what := called(name):
        raise NoGuest(what)
    if len(set(_AT_MARGIN.findall(data))) < _ENOUGH and not is_sxp(data):
        raise NoGuest(f"no guest's configuration: {reason}")


def is_guest(guest: GuestConfig) -> bool:
    """Whether what has been read is a guest, and no file of another kind that happens to be readable."""
    return guest.name != "Domain-0" and any(key in guest.options for key in _TELLING)
