"""What lies behind a virtual block device: an image, a volume, or a server that QEMU itself asks. Pure."""

from __future__ import annotations

import re

from xmcompat import iscsi_names
from xmcompat.backends.devices import BlockSource, DiskSource, FileSource, HostNeed, NetworkSource
from xmcompat.disk_logins import login_of, masked, rbd_words, secret_name
from xmcompat.guest import Vbd
from xmcompat.translate.addresses import is_host
from xmcompat.translate.findings import Findings

#: Words for a plain image or volume of the host; "tap:aio" counts by its first.
LOCAL = ("", "phy", "file", "tap", "tap2", "vhd", "qcow", "qcow2", "raw", "vmdk", "aio", "ioemu", "tapdisk")
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
_DRBD = re.compile(r"[A-Za-z0-9_.+][A-Za-z0-9_.+:-]*(/[0-9]+)?")
_RBD = re.compile(r"([^/@:]+/[^@:]+)(?:@([^:]+))?")
_NBD_PORT = 10809
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
    if word == "nfs":
        from xmcompat.translate import nfs

        return nfs.source(vbd, key, findings, shown(vbd))
    if word == "drbd":
        return _drbd(vbd, key, findings)
    if word not in LOCAL and not vbd.script:
        hint = f"a script block-{word} in the folder of Xen's scripts would bring it up"
        findings.unconnected(f'Block device type "{word}" is invalid.', hint=hint)
        return None
    if word not in LOCAL:
        findings.refuse(
            key, f"this host has no script {vbd.script.rpartition('/')[2]} in its folder for them; put it there, or attach "
            "the volume to this host and give it as phy:/dev/...", value=shown(vbd),
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


def _is_device(path: str) -> bool:
    return path.startswith("/dev/") and not path.startswith("/dev/shm/")


def _drbd(vbd: Vbd, key: str, findings: Findings) -> DiskSource | None:
    """"RESOURCE", "RESOURCE/VOLUME" or a path in /dev: promoted before the guest starts, demoted when it has gone."""
    if vbd.path.startswith("/"):
        return BlockSource(path=vbd.path)
    if not _DRBD.fullmatch(vbd.path):
        findings.refuse(key, "that names no DRBD resource; write drbd:RESOURCE or drbd:RESOURCE/VOLUME", value=shown(vbd))
        return None
    findings.approximated(
        key, "the DRBD resource is promoted by xm before the guest starts, and demoted when it has gone", value=shown(vbd),
        suggestion=f"for a guest that libvirt starts by itself, run 'drbdadm primary {vbd.path.partition('/')[0]}' before",
    )  # fmt: skip
    return BlockSource(path=f"/dev/drbd/by-res/{vbd.path}")


def _nbd(vbd: Vbd, key: str, findings: Findings) -> DiskSource | None:
    """"HOST PORT", "HOST:PORT", each with a name after it, "//HOST:PORT/NAME", "unix:PATH"."""
    path = vbd.path.strip()
    findings.carried(
        key, "while its server is away the guest is paused, and tries again at 'xm unpause'", value=shown(vbd)
    )  # fmt: skip
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
    lun = iscsi_names.of_words(vbd.path)
    if lun is None:
        findings.refuse(
            key, "that does not say on which server the target is; log in with iscsiadm and give the disk as "
            "phy:/dev/disk/by-path/ip-HOST:PORT-iscsi-TARGET-lun-N", value=shown(vbd),
        )  # fmt: skip
        return None
    if not 0 < lun.port <= _LAST_PORT or not is_host(lun.host):
        findings.refuse(key, "that names no server; write portal=HOST:PORT", value=shown(vbd))
        return None
    if not iscsi_names.is_target(lun.target):
        findings.refuse(key, f"'{lun.target}' is no target's name; it begins with iqn., eui. or naa.", value=shown(vbd))
        return None
    if lun.multipath:
        return _by_host(vbd, lun, key, findings)
    findings.approximated(
        key, f"QEMU itself logs in, under a name of its own, and uses LUN {lun.lun}", value=shown(vbd),
        suggestion="the target must admit it",
    )  # fmt: skip
    user, secret = _login(vbd, key, findings)
    return NetworkSource(
        protocol="iscsi", name=f"{lun.target}/{lun.lun}", host=lun.host, port=lun.port, user=user, secret=secret
    )  # fmt: skip


def _by_host(vbd: Vbd, lun: iscsi_names.Lun, key: str, findings: Findings) -> BlockSource:
    """The host logs in, by all portals of the target, and multipathd makes one device of its devices."""
    findings.carried(
        key, "this host logs in to all portals of the target; it needs open-iscsi, and multipathd to run", value=shown(vbd),
        harmless=False,
    )  # fmt: skip
    words = {
        "host": lun.host, "port": str(lun.port), "target": lun.target, "lun": str(lun.lun), "path": "", "user": lun.user,
        "multipath": "y",
    }  # fmt: skip
    need = HostNeed(
        kind="iscsi", name=f"{lun.target}@{lun.portal}", words=tuple(words.items()),
        secret=(("password", lun.password),) if lun.password is not None else (),
    )  # fmt: skip
    return BlockSource(path=lun.device, need=need)


def _login(vbd: Vbd, key: str, findings: Findings) -> tuple[str, str]:
    """(user, name of the secret) for the disk's server; no password is in them."""
    login = login_of(vbd.protocol, vbd.path)
    if login is None:
        return "", ""
    name = secret_name(findings.owner, vbd.vdev)
    findings.carried(
        key, f"libvirt keeps the password of '{login.user}' in a secret ({login.kind} '{name}'), and no XML has it",
        value=shown(vbd), suggestion="xm makes the secret; without xm, 'virsh secret-define' does",
    )  # fmt: skip
    return login.user, name


def _rbd(vbd: Vbd, key: str, findings: Findings) -> DiskSource | None:
    """"POOL/IMAGE[@SNAPSHOT][:name=value]...", as QEMU writes it; a backslash keeps the character after it."""
    image, words = rbd_words(vbd.path.removeprefix("//"))
    found = _RBD.fullmatch(image.lstrip("/"))
    monitors = _monitors(words.get("mon_host", ""))
    if not found or monitors is None:
        findings.refuse(key, "that is no image of Ceph's; write rbd:POOL/IMAGE", value=shown(vbd))
        return None
    first = monitors[0] if monitors else ("", None)
    user, secret = _login(vbd, key, findings)
    return NetworkSource(
        protocol="rbd", name=found[1], host=first[0], port=first[1], more_hosts=tuple(monitors[1:]),
        snapshot=found[2] or "", config=words.get("conf", ""), user=user, secret=secret,
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
