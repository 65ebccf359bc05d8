"""Where a directory of an NFS server is mounted here, told from its name alone, and back. Pure.

Each directory has one mount, all in one flat folder, so that none lies in another: "filer:/srv/xen/web1.img" is
"/run/xmcompat/nfs/filer:%2Fsrv%2Fxen/web1.img".
"""

from __future__ import annotations

import re
from typing import NamedTuple

FOLDER = "/run/xmcompat/nfs"

_PLAIN = re.compile(r"[A-Za-z0-9._:-]")
_QUOTED = re.compile(r"%([0-9A-F]{2})")
_MOUNTED = re.compile(rf"({re.escape(FOLDER)}/([^/]+))(?:/.*)?", re.DOTALL)
_ORIGIN = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]-][^\s:/\[\]]*):(/.*)", re.DOTALL)


class Export(NamedTuple):
    """A directory of a server, and where it is mounted. ``host`` of IPv6 stands in brackets."""

    host: str
    directory: str
    point: str

    @property
    def origin(self) -> str:
        """As mount writes it."""
        return f"{self.host}:{self.directory}"


def export_at(host: str, directory: str) -> Export:
    """DIRECTORY of HOST, and its place here."""
    return Export(host, directory, f"{FOLDER}/{''.join(map(_quoted, f'{host}:{directory}'))}")


def mounted_path(origin: str) -> str | None:
    """The path here of the file "HOST:/DIRECTORY/FILE"; None for what names no file of a server."""
    found = _ORIGIN.fullmatch(origin)
    if not found or "\0" in origin:
        return None
    directory, _, name = found[2].rpartition("/")
    words = [word for word in directory.split("/") if word not in ("", ".")]
    if name in ("", ".", "..") or ".." in words:
        return None
    return f"{export_at(found[1], '/' + '/'.join(words)).point}/{name}"


def export_of(path: str) -> Export | None:
    """The directory of a server on whose mount PATH lies; None for any other path."""
    found = _MOUNTED.fullmatch(path)
    origin = _ORIGIN.fullmatch(_unquoted(found[2])) if found else None
    if not found or not origin:
        return None
    export = export_at(origin[1], origin[2])
    return export if export.point == found[1] else None


def _quoted(character: str) -> str:
    if _PLAIN.fullmatch(character):
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))


def _unquoted(text: str) -> str:
    data = _QUOTED.sub(lambda found: chr(int(found[1], 16)), text).encode("latin-1", "replace")
    return data.decode("utf-8", "surrogateescape")
