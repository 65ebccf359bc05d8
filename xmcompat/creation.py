"""``xm create``: from a configuration that has been read to a running domain, in steps that know their way back."""

from __future__ import annotations

import os
import time
import uuid as uuids
from collections.abc import Callable
from dataclasses import replace

from xmcompat.backends import domain_xml
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.gather import gather
from xmcompat.backends.hypervisor import DomainInfo, Hypervisor
from xmcompat.backends.machine import Accelerator, BlockSource, Disk, FileSource, Machine, XenRecord
from xmcompat.config import sxp
from xmcompat.config.load import Loaded
from xmcompat.config.sxp_form import record_form
from xmcompat.errors import DomainEnding, DomainNotFound, XmError
from xmcompat.guest import GuestConfig
from xmcompat.network import mac
from xmcompat.network.hostname import HostnameLookup
from xmcompat.notes import joined
from xmcompat.preflight import (
    overcommitted,
    refuse_foreign_kernel,
    refuse_missing_ramdisk,
    refuse_overlong,
    refuse_taken,
    refuse_too_large,
    refuse_unstartable,
)
from xmcompat.storage.check import Source, assemble
from xmcompat.storage.sharing import Held
from xmcompat.toolstack import Created
from xmcompat.translate.machine import Translation, translate
from xmcompat.vdev import vdev_number


def create(
    hypervisor: Hypervisor, loaded: Loaded, *, paused: bool, attend: Callable[[Created], None] | None = None
) -> Created:
    """Start the guest: translate, check, assemble, one libvirt call. Nothing is changed before that call.

    With ATTEND the domain is made paused, ATTEND is called with it, and then it is let go (unless PAUSED).
    Raises DomainExists, NotConvertible, DeviceError, HypervisorError, and DomainNotFound for a domain that has ended
    before it could be let go; KeyboardInterrupt, and whatever else ends ATTEND, leaves nothing behind.
    """
    guest = loaded.guest
    refuse_overlong(guest.name)
    refuse_taken(hypervisor, guest)
    facts = gather(hypervisor, environ=os.environ, bridges=bool(guest.vifs))
    lookup = HostnameLookup() if facts.local else None
    refuse_too_large(guest, facts.memory)
    if facts.local:
        refuse_missing_ramdisk(guest)
        refuse_foreign_kernel(guest)
    guest = identified(guest)
    translation = translate(guest, facts, record=_record(guest))
    warnings = _warnings(hypervisor, guest, facts)
    machine = _with_real_paths(hypervisor, translation.machine, guest, local=facts.local)
    if facts.local:
        refuse_unstartable(guest, machine)
    xml = domain_xml.render(machine)
    try:
        info = hypervisor.create(xml, paused=paused or attend is not None)
        complaint = lookup.complaint() if lookup else None
        created = Created(info, joined(loaded.notes, translation.notes), (*warnings, *filter(None, (complaint,))))
        if attend is not None:
            attend(created)
            if not paused:
                _let_go(hypervisor, info)
    except BaseException:  # Ctrl-C is noticed when the call is over
        _remove(hypervisor, xml, machine.record)
        raise
    return created


def identified(guest: GuestConfig) -> GuestConfig:
    """The guest with a uuid and MAC addresses where its configuration gives none.

    xend draws new ones at each create; they travel in the domain's record, so that ``list -l`` shows them.
    """
    return replace(
        guest,
        uuid=guest.uuid or str(uuids.uuid4()),
        vifs=tuple(vif if vif.mac else replace(vif, mac=mac.generate()) for vif in guest.vifs),
    )


def planned(guest: GuestConfig, facts: HostFacts) -> Translation:
    """What ``create`` would start on a host of these facts; nothing is asked or changed."""
    guest = identified(guest)
    return translate(guest, facts, record=_record(guest))


def _record(guest: GuestConfig) -> XenRecord:
    source = guest.source if guest.source.startswith("/") or not guest.source else os.path.abspath(guest.source)
    return XenRecord(
        sxp=sxp.write(record_form(guest)), source=source, dialect=guest.dialect.value, started=time.time()
    )


def _let_go(hypervisor: Hypervisor, info: DomainInfo) -> None:
    """Let the new domain run. Raises DomainNotFound where it has ended meanwhile."""
    try:
        hypervisor.unpause(info.uuid)
    except (DomainNotFound, DomainEnding):
        raise DomainNotFound(info.name) from None


def _remove(hypervisor: Hypervisor, xml: str, record: XenRecord | None) -> None:
    """Destroy the domain that this very call has made, if it has; never one that another create has made."""
    uuid = domain_xml.parse(xml).uuid or ""
    try:
        found = hypervisor.metadata(uuid)
        if found is not None and domain_xml.read_record(found) == record:
            hypervisor.destroy(uuid)
    except XmError:
        return  # it never was, or has ended by itself


def _warnings(hypervisor: Hypervisor, guest: GuestConfig, facts: HostFacts) -> tuple[str, ...]:
    slow = None
    if facts.accelerator is Accelerator.TCG and facts.accelerator_reason:
        slow = f"'{guest.name}' runs emulated, without KVM: {facts.accelerator_reason}"
    return tuple(filter(None, (slow, overcommitted(guest, facts.memory, hypervisor.domains()))))


def _with_real_paths(hypervisor: Hypervisor, machine: Machine, guest: GuestConfig, *, local: bool) -> Machine:
    """The machine with its disks checked, and named by their real paths. Raises DeviceError."""
    if not local:
        return machine
    local_disks = [disk for disk in machine.disks if isinstance(disk.source, FileSource | BlockSource)]
    if not local_disks:
        return machine
    held = [
        Held(domain=use.domain, path=use.path, readonly=use.readonly, shareable=use.shareable)
        for use in hypervisor.disk_uses()
    ]
    paths = assemble([_source(disk, guest) for disk in local_disks], others=held)
    real = dict(zip(map(id, local_disks), paths, strict=True))
    return replace(machine, disks=tuple(_at(disk, real.get(id(disk))) for disk in machine.disks))


def _at(disk: Disk, path: str | None) -> Disk:
    if path is None or not isinstance(disk.source, FileSource | BlockSource):
        return disk
    return replace(disk, source=replace(disk.source, path=path))


def _source(disk: Disk, guest: GuestConfig) -> Source:
    assert isinstance(disk.source, FileSource | BlockSource)
    vbd = next((vbd for vbd in guest.disks if vbd.vdev == disk.vdev), None)
    protocol = vbd.protocol if vbd else ""
    return Source(
        kind="block" if isinstance(disk.source, BlockSource) else "file",
        path=disk.source.path,
        writable=not disk.readonly,
        shareable=disk.shareable,
        device_number=vdev_number(disk.vdev) or disk.vdev or disk.target,
        device_class=protocol.split(":")[0] if protocol.startswith("tap") else "vbd",
    )
