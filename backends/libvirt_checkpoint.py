"""A guest's memory and its disks of the same moment, while it lives on: a snapshot of its memory, a backup of its disks.

The guest stands still meanwhile. Nothing is put between it and its disks, so that nothing has to be merged back, and a
copying that is broken off leaves them as they are. They are copied first: once its memory is written, QEMU holds the disks
for handed over until the guest goes on. QEMU 10 begins no copying of such disks ("Inactive ... can't be a file child"), and
QEMU 7.2 opens them anew then, so that a copying under way reads through a descriptor that is closed.
"""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from lxml import etree

from xmcompat.errors import HypervisorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

#: Seconds between two looks at the copying.
_LOOK = 0.1
#: Seconds that libvirt may take to give up the copying.
_ENDS = 60.0
_WAS_LET_RUN = "somebody has let it run while it was saved; try again"


def backup_xml(disks: Mapping[str, str], others: list[str]) -> str:
    """What asks libvirt for copies of DISKS (file, by target), and of none of the OTHERS."""
    root = etree.Element("domainbackup", mode="push")
    listed = etree.SubElement(root, "disks")
    for target, file in disks.items():
        disk = etree.SubElement(listed, "disk", name=target, backup="yes", type="file")
        etree.SubElement(disk, "target", file=file)
        etree.SubElement(disk, "driver", type="qcow2")
    for target in others:
        etree.SubElement(listed, "disk", name=target, backup="no")
    return etree.tostring(root, encoding="unicode")


def checkpoint(
    libvirt: Any, domain: Any, disks: Mapping[str, str], remember: Callable[[], object], moment: Callable[[], None]
) -> None:
    """While DOMAIN stands still, copy DISKS, REMEMBER its memory and call MOMENT; then let it run on.

    Raises libvirt's errors and HypervisorError.
    """
    stood = domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED
    targets = [one.get("dev") or "" for one in etree.fromstring(domain.XMLDesc(0)).iterfind("devices/disk/target")]
    if not stood:
        domain.suspend()
    try:
        domain.backupBegin(backup_xml(disks, [target for target in targets if target not in disks]), None, 0)
        _await_copies(libvirt, domain)
        remember()
        moment()
        if _runs(libvirt, domain):
            raise HypervisorError(_WAS_LET_RUN)
    except BaseException:
        _give_up(libvirt, domain)
        if not stood:
            with suppress(libvirt.libvirtError):  # it has ended, or libvirtd has
                domain.resume()
        raise
    if not stood:
        domain.resume()


def _give_up(libvirt: Any, domain: Any) -> None:
    """Have the copying end, if it goes on, before the domain does; silent where it does not in _ENDS."""
    deadline = time.monotonic() + _ENDS
    with suppress(libvirt.libvirtError):  # the domain has ended, or libvirtd has
        while not is_idle(libvirt, domain) and time.monotonic() < deadline:
            with suppress(libvirt.libvirtError):  # over at this moment, or a lock
                domain.abortJob()
            time.sleep(_LOOK)


def is_idle(libvirt: Any, domain: Any) -> bool:
    """Whether libvirt does nothing with DOMAIN. A backup whose files are still being made is told by an error, and cannot
    be given up yet, though libvirt says that it was. Raises libvirt's errors."""
    try:
        return bool(domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_OPERATION_TIMEOUT):
            return False
        raise


def _runs(libvirt: Any, domain: Any) -> bool:
    """Whether somebody has let it run: its memory is not of the moment of its disks."""
    return domain.state()[0] in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED)


def _await_copies(libvirt: Any, domain: Any) -> None:
    """Raises HypervisorError where they are not whole, or are given up, since somebody lets the domain run meanwhile."""
    ran = False
    while domain.jobStats(0).get("type", libvirt.VIR_DOMAIN_JOB_NONE) != libvirt.VIR_DOMAIN_JOB_NONE:
        ran = ran or _runs(libvirt, domain)
        if ran:
            with suppress(libvirt.libvirtError):  # over at this moment
                domain.abortJob()
        time.sleep(_LOOK)
    if ran or _runs(libvirt, domain):
        raise HypervisorError(_WAS_LET_RUN)
    ended = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    if ended.get("type") != libvirt.VIR_DOMAIN_JOB_COMPLETED or not ended.get("success", True):
        raise HypervisorError(ended.get("errmsg") or "the copying of its disks was broken off")
