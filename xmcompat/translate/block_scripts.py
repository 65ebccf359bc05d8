"""Disks that a script of this host's own brings up: "X:WORDS" by block-X, and xl's ``script=``. Pure."""

from __future__ import annotations

from collections.abc import Collection

from xmcompat.backends.devices import BlockSource, HostNeed
from xmcompat.disk_logins import masked
from xmcompat.guest import GuestConfig, Vbd
from xmcompat.translate.sources import LOCAL
from xmcompat.vdev import vdev_number

#: Words that have a meaning of their own here, whatever script there is; npiv and hdd have one by their scripts alone.
_KNOWN = (*LOCAL, "nbd", "enbd", "iscsi", "rbd", "drbd", "nfs", "ram", "remus")
#: Where the links to such disks lie, a folder for each guest.
FOLDER = "/run/xmcompat/disks"


def script_of(vbd: Vbd) -> str:
    """The name of the script that Xen would run for the disk, as it is written; "" where its word has a meaning here."""
    word = vbd.protocol.partition(":")[0]
    return "" if not vbd.path or word in _KNOWN else vbd.script or f"block-{word}"


def by_script(vbd: Vbd, guest: GuestConfig, scripts: Collection[str] | None = None) -> BlockSource | None:
    """The disk by its script. None where Xen would run no script for it, and where its script is none of SCRIPTS, those of
    the host; where these are not given, it is known to be one.

    A password among the words is kept out of all that others may read.
    """
    script = script_of(vbd)
    unknown = scripts is not None and script.rpartition("/")[2] not in scripts
    if not script or unknown or not guest.uuid:
        return None
    shown, uuid = masked(vbd.path), _plain(guest.uuid)
    words = {
        "script": script, "params": shown, "mode": vbd.mode.value, "type": "phy" if vbd.script else vbd.protocol,
        "vdev": vbd.vdev, "number": str(vdev_number(vbd.vdev)), "uuid": uuid, "domain": guest.name,
        "path": f"{FOLDER}/{uuid}/{vbd.vdev}",
    }  # fmt: skip
    need = HostNeed(
        kind="block_script", name=f"{uuid}/{vbd.vdev}", words=tuple(words.items()),
        secret=(("params", vbd.path),) if shown != vbd.path else (),
    )  # fmt: skip
    return BlockSource(path=words["path"], need=need)


def _plain(uuid: str) -> str:
    """UUID as libvirt writes it, however the configuration does."""
    from uuid import UUID

    try:
        return str(UUID(uuid))
    except ValueError:
        return uuid
