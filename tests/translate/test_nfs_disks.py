"""Disks on NFS servers: what becomes of their words, whichever tool they were written for."""

from __future__ import annotations

import pytest

from tests.translate.guests import HOST
from xmcompat.backends.devices import FileSource, NetworkSource
from xmcompat.config.specs import vbd_of
from xmcompat.config.to_xl_devices import disk_text
from xmcompat.config.xl_disk import parse_disk
from xmcompat.errors import NotConvertible
from xmcompat.guest import FirmwareBoot, GuestConfig
from xmcompat.notes import Note
from xmcompat.translate.disks import disks
from xmcompat.translate.findings import Findings


def translated(uname: str) -> tuple[object, str, tuple[Note, ...]]:
    """What lies behind the disk, how it is cached, and the notes."""
    guest = GuestConfig(name="web1", boot=FirmwareBoot(), disks=(vbd_of(uname, "xvda", "w"),))
    findings = Findings(guest)
    (disk,) = disks(guest, HOST, findings)
    findings.settle()
    return disk.source, disk.cache, findings.notes


def test_a_directory_that_xm_mounts() -> None:
    source, cache, notes = translated("nfs:filer:/srv/xen/web1.img")
    assert source == FileSource(path="/run/xmcompat/nfs/filer:%2Fsrv%2Fxen/web1.img")
    assert cache == "none"
    assert (
        "for a guest that libvirt starts by itself, have it mounted at /run/xmcompat/nfs/filer:%2Fsrv%2Fxen before"
    ) in [note.suggestion for note in notes]


@pytest.mark.parametrize(("uname", "source"), [
    ("nfs://filer/srv/xen/web1.img", NetworkSource(protocol="nfs", name="/srv/xen/web1.img", host="filer")),
    ("nfs://[2001:db8::7]/a%20b/x", NetworkSource(protocol="nfs", name="/a b/x", host="2001:db8::7")),
    ("nfs://filer/x?uid=0&gid=107", NetworkSource(protocol="nfs", name="/x", host="filer", identity=(0, 107))),
])  # fmt: skip
def test_a_file_that_qemu_asks_for(uname: str, source: NetworkSource) -> None:
    found, _, notes = translated(uname)
    assert found == source
    assert "export it as 'insecure'" in [note.suggestion for note in notes]


@pytest.mark.parametrize("uname", [
    "nfs:filer", "nfs:filer:srv/x", "nfs:filer:/srv/", "nfs:filer:/../x", "nfs:-o:/srv/x", "nfs:fi ler:/srv/x", "nfs://filer",
    "nfs://filer/", "nfs://filer/srv/", "nfs://filer:2049/srv/x", "nfs://filer/x?uid=0", "nfs://filer/x?uid=a&gid=0",
    "nfs://filer/x?debug=9", "nfs://filer/x?uid=0&gid=99999999999",
])  # fmt: skip
def test_what_names_no_file_of_a_server_is_refused(uname: str) -> None:
    with pytest.raises(NotConvertible) as error:
        translated(uname)
    assert uname in error.value.line()


@pytest.mark.parametrize("text", [
    "vdev=xvda,access=rw,target=nfs://filer/srv/x.img", "vdev=xvda,format=raw,target=nfs://filer/srv/x.img",
])  # fmt: skip
def test_xl_names_it_as_qemu_does(text: str) -> None:
    vbd = parse_disk(text)
    assert (vbd.protocol, vbd.path) == ("nfs", "//filer/srv/x.img")
    again = parse_disk(disk_text(vbd))
    assert (again.protocol, again.path, again.vdev) == ("nfs", "//filer/srv/x.img", "xvda")
