"""``xm list --long`` of one domain: what is known of it, from its record and from the hypervisor."""

from __future__ import annotations

from xmcompat.backends import domain_xml
from xmcompat.backends.hypervisor import DomainInfo, Hypervisor
from xmcompat.backends.machine import XenRecord
from xmcompat.config import sxp
from xmcompat.render.domain_sxp import domain_tree


def describe(hypervisor: Hypervisor, info: DomainInfo, record: XenRecord | None) -> list[object]:
    """The ``(domain ...)`` tree. A domain that xm did not start is described from its libvirt XML."""
    if info.domid == 0:
        return domain_tree(info, None)
    vm = sxp.parse(record.sxp)[0] if record and record.sxp else None
    machine = None if vm is not None else domain_xml.parse(hypervisor.domain_xml(info.uuid))
    started = None
    if info.domid is not None:
        started = record.started if record and record.started else hypervisor.start_time(info.uuid)
    return domain_tree(info, vm, start_time=started, machine=machine)
