"""A disk on an NFS server: a file of a directory that is mounted on this host, or one that QEMU itself asks for. Pure."""

from __future__ import annotations

import re

from xmcompat.backends.devices import DiskSource, FileSource, NetworkSource
from xmcompat.guest import Vbd
from xmcompat.nfs_names import mounted_path
from xmcompat.translate.addresses import is_host
from xmcompat.translate.findings import Findings

_URL = re.compile(r"//(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+)(:[0-9]+)?(/[^?]+)(?:\?(.*))?", re.DOTALL)
_LAST_ID = 2**32 - 2


def source(vbd: Vbd, key: str, findings: Findings, shown: str) -> DiskSource | None:
    """"HOST:/DIRECTORY/FILE" is mounted by the host; "//HOST/DIRECTORY/FILE", QEMU's own way to write it, is QEMU's
    matter, with "?uid=N&gid=N" for another user than QEMU's own. None for what is refused.

    ``storage.nfs`` mounts what the path of such a file tells.
    """
    if vbd.path.startswith("//"):
        return _asked_by_qemu(vbd, key, findings, shown)
    path = mounted_path(vbd.path)
    host = vbd.path.partition(":/")[0].strip("[]")
    if path is None or not is_host(host):
        findings.refuse(key, "that names no file of a server; write nfs:HOST:/DIRECTORY/FILE", value=shown)
        return None
    findings.approximated(
        key, "xm mounts its directory for as long as a guest needs it", value=shown,
        suggestion=f"for a guest that libvirt starts by itself, have it mounted at {path.rpartition('/')[0]} before",
    )  # fmt: skip
    return FileSource(path=path)


def _asked_by_qemu(vbd: Vbd, key: str, findings: Findings, shown: str) -> DiskSource | None:
    found = _URL.fullmatch(vbd.path)
    if not found or not is_host(found[1].strip("[]")) or found[3].endswith("/"):
        findings.refuse(key, "that names no file of a server; write nfs://HOST/DIRECTORY/FILE", value=shown)
        return None
    if found[2]:
        findings.refuse(key, "QEMU asks the server itself for its port; leave it out", value=shown)
        return None
    words = dict(word.partition("=")[::2] for word in (found[4] or "").split("&") if word)
    numbers = [words.pop(name, "") for name in ("uid", "gid")]
    if words or numbers.count("") == 1 or not all(_is_id(number) for number in numbers if number):
        findings.refuse(
            key, "after a question mark QEMU takes uid=N&gid=N here; leave the rest to it, or give the disk as "
            f"nfs:{found[1]}:{found[3]}, which is mounted", value=shown,
        )  # fmt: skip
        return None
    findings.approximated(
        key, "QEMU itself asks the server, from a port above 1023", value=shown, suggestion="export it as 'insecure'"
    )
    identity = (int(numbers[0]), int(numbers[1])) if numbers[0] else None
    return NetworkSource(protocol="nfs", name=_unquoted(found[3]), host=found[1].strip("[]"), identity=identity)


def _unquoted(text: str) -> str:
    """Without the numbers in hexadecimal that stand for bytes."""
    data = text.encode("utf-8", "surrogateescape")
    data = re.sub(rb"%([0-9A-Fa-f]{2})", lambda quoted: bytes([int(quoted[1], 16)]), data)
    return data.decode("utf-8", "surrogateescape")


def _is_id(text: str) -> bool:
    return text.isdecimal() and text.isascii() and int(text) <= _LAST_ID
