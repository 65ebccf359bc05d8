"""What lies behind a virtual block device: an image, a volume, or a server that QEMU itself asks. Pure."""

from __future__ import annotations

import re

from xmcompat.backends.devices import BlockSource, DiskSource, FileSource, NetworkSource
from xmcompat.guest import Vbd
from xmcompat.translate.addresses import is_host
from xmcompat.translate.findings import Findings

#: Words for a plain image or volume of the host; "tap:aio" counts by its first.
_LOCAL = ("", "phy", "file", "tap", "tap2", "vhd", "qcow", "qcow2", "raw", "vmdk", "aio", "ioemu", "tapdisk")
#: Words of Xen that nothing on KVM stands for, and what to do.
_FOREIGN = {
    "ram": "a disk in memory is gone with its host; give an image or a volume",
    "remus": "KVM does not keep a second host in step with Remus; give the image itself as tap:aio:PATH",
    "enbd": "there is no enhanced NBD any more; serve the disk by nbd and give it as nbd:HOST:PORT",
    "npiv": "make the virtual adapter with 'virsh nodedev-create' and give its disk as phy:/dev/disk/by-path/...",
    "hdd": "there is no such back end; give the disk as phy:/dev/...",
}

_HOST = r"(?:\[[0-9a-fA-F:.]+\]|[^\s:/,\[\]]+)"
_PORT = r"[0-9]{1,5}"
_NBD = re.compile(rf"({_HOST})[\s:]+({_PORT})(?:[\s:](?:exportname=)?(.*))?", re.DOTALL)
_NBD_URL = re.compile(rf"//({_HOST})(?::({_PORT}))?(?:/(.*))?", re.DOTALL)
_NBD_SOCKET = re.compile(r"unix:([^:]+)(?::exportname=(.*))?", re.DOTALL)
_ISCSI_URL = re.compile(rf"//({_HOST})(?::({_PORT}))?/([^/]+)(?:/([0-9]+))?")
_PORTAL = re.compile(rf"({_HOST})(?::({_PORT}))?(?:,[0-9]+)?")
_RBD = re.compile(r"([^/@:]+/[^@:]+)(?:@([^:]+))?")
_SECRET = re.compile(r"((?:password|key)=)[^,:]*")
_NBD_PORT, _ISCSI_PORT = 10809, 3260
_LAST_PORT = 65535


def source(vbd: Vbd, key: str, findings: Findings) -> DiskSource | None:
    """None for a drive without a medium, and for what is refused."""
    word = vbd.protocol.partition(":")[0]
    if not vbd.path:
        if not vbd.cdrom:
            findings.refuse(key, "a disk needs an image or a volume before its first comma", value=shown(vbd))
        return None
    if foreign := _foreign(vbd):
        findings.refuse(key, f"'{vbd.protocol}:' does not exist on KVM: {foreign}", value=shown(vbd))
        return None
    if word in ("nbd", "iscsi", "rbd"):
        return {"nbd": _nbd, "iscsi": _iscsi, "rbd": _rbd}[word](vbd, key, findings)
    if word == "drbd":
        return _drbd(vbd, key, findings)
    if word not in _LOCAL:
        findings.refuse(
            key, f"KVM runs no script block-{word}; attach the volume to this host and give it as phy:/dev/...",
            value=shown(vbd),
        )  # fmt: skip
        return None
    if word == "phy" or _is_device(vbd.path):
        return BlockSource(path=vbd.path)
    return FileSource(path=vbd.path)


def is_foreign(vbd: Vbd) -> bool:
    """Whether nothing on KVM stands for what lies behind the device."""
    return bool(vbd.path and _foreign(vbd))


def _foreign(vbd: Vbd) -> str:
    word, _, kind = vbd.protocol.partition(":")
    return _FOREIGN.get(kind.rpartition(":")[2] or word) or _FOREIGN.get(word, "")


def shown(vbd: Vbd) -> str:
    """The disk as xm writes it, without passwords."""
    return f"{masked(vbd.uname)},{vbd.vdev},{vbd.mode.value}"


def masked(text: str) -> str:
    """The TEXT of a disk without passwords."""
    return _SECRET.sub(r"\1...", text)


def _is_device(path: str) -> bool:
    return path.startswith("/dev/") and not path.startswith("/dev/shm/")


def _drbd(vbd: Vbd, key: str, findings: Findings) -> DiskSource:
    findings.approximated(
        key, "nothing promotes the DRBD resource at the start, or demotes it at the end", value=shown(vbd),
        suggestion=f"run 'drbdadm primary {vbd.path}' first",
    )  # fmt: skip
    return BlockSource(path=vbd.path if vbd.path.startswith("/") else f"/dev/drbd/by-res/{vbd.path}")


def _nbd(vbd: Vbd, key: str, findings: Findings) -> DiskSource | None:
    """"HOST PORT", "HOST:PORT", each with a name after it, "//HOST:PORT/NAME", "unix:PATH"."""
    path = vbd.path.strip()
    if found := _NBD_SOCKET.fullmatch(path):
        return NetworkSource(protocol="nbd", name=found[2] or "", socket=found[1])
    found = _NBD_URL.fullmatch(path) or _NBD.fullmatch(path)
    port = _port(found[2] if found else None, _NBD_PORT)
    if not found or port is None or not is_host(found[1].strip("[]")):
        findings.refuse(key, "that names no server; write nbd:HOST:PORT", value=shown(vbd))
        return None
    return NetworkSource(protocol="nbd", name=(found[3] or "").strip(), host=found[1].strip("[]"), port=port)


def _port(text: str | None, default: int) -> int | None:
    port = int(text) if text else default
    return port if 0 < port <= _LAST_PORT else None


def _iscsi(vbd: Vbd, key: str, findings: Findings) -> DiskSource | None:
    """"iqn=IQN,portal=HOST:PORT,..." of block-iscsi, or "//HOST:PORT/IQN/LUN"; an IQN alone says not where it is."""
    if found := _ISCSI_URL.fullmatch(vbd.path):
        host, port, target, lun = found.groups()
    else:
        words = dict(word.strip().partition("=")[::2] for word in vbd.path.split(","))
        portal = _PORTAL.fullmatch(words.get("portal", "").strip())
        target, lun = words.get("iqn", ""), None
        if not portal or not target:
            findings.refuse(
                key, "that does not say on which server the target is; log in with iscsiadm and give the disk as "
                "phy:/dev/disk/by-path/ip-HOST:PORT-iscsi-TARGET-lun-N", value=shown(vbd),
            )  # fmt: skip
            return None
        host, port = portal.groups()
        if words.get("user") or words.get("auth_method", "None").lower() != "none":
            findings.refuse(
                key, "passwords of iSCSI targets are not kept in guests here; log in with iscsiadm and give the disk "
                "as phy:/dev/disk/by-path/ip-HOST:PORT-iscsi-TARGET-lun-N", value=shown(vbd),
            )  # fmt: skip
        if words.get("multipath", "n").lower() in ("y", "yes", "1"):
            findings.approximated(key, "QEMU uses one path of several", value=shown(vbd),
                                  suggestion="for all of them, give the disk as phy:/dev/mapper/...")  # fmt: skip
    number = _port(port, _ISCSI_PORT)
    if number is None or not is_host(host.strip("[]")):
        findings.refuse(key, "that names no server; write portal=HOST:PORT", value=shown(vbd))
        return None
    findings.approximated(
        key, f"QEMU itself logs in, under a name of its own, and uses LUN {lun or 0}", value=shown(vbd),
        suggestion="the target must admit it",
    )  # fmt: skip
    return NetworkSource(protocol="iscsi", name=f"{target}/{lun or 0}", host=host.strip("[]"), port=number)


def _rbd(vbd: Vbd, key: str, findings: Findings) -> DiskSource | None:
    """"POOL/IMAGE[@SNAPSHOT][:name=value]...", as QEMU writes it; a backslash keeps the character after it."""
    pieces = [re.sub(r"\\(.)", r"\1", piece) for piece in re.split(r"(?<!\\):", vbd.path.removeprefix("//"))]
    found = _RBD.fullmatch(pieces[0].lstrip("/"))
    words = dict(piece.partition("=")[::2] for piece in pieces[1:])
    monitors = _monitors(words.get("mon_host", ""))
    if not found or monitors is None:
        findings.refuse(key, "that is no image of Ceph's; write rbd:POOL/IMAGE", value=shown(vbd))
        return None
    if words.get("id", "admin") != "admin" or "key" in words:
        findings.refuse(
            key, "users of Ceph other than admin are not kept in guests here; map it with 'rbd map' and give it as "
            f"phy:/dev/rbd/{found[1]}", value=shown(vbd),
        )  # fmt: skip
    first = monitors[0] if monitors else ("", None)
    return NetworkSource(
        protocol="rbd", name=found[1], host=first[0], port=first[1], more_hosts=tuple(monitors[1:]),
        snapshot=found[2] or "", config=words.get("conf", ""),
    )  # fmt: skip


def _monitors(text: str) -> list[tuple[str, int | None]] | None:
    """The servers in "a:6789;b,c"; None for what are none."""
    monitors: list[tuple[str, int | None]] = []
    for word in filter(None, (word.strip() for word in re.split("[;,]", text))):
        found = re.fullmatch(rf"({_HOST})(?::({_PORT}))?", word)
        if not found or not is_host(found[1].strip("[]")):
            return None
        monitors.append((found[1].strip("[]"), int(found[2]) if found[2] else None))
    return monitors
