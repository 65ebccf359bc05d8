"""``xm list --long`` of one domain: what is known of it, from its record and from the hypervisor."""

from __future__ import annotations

from xmcompat.config.sxp import parse as parse_sxp
from xmcompat.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import DomainInfo, Hypervisor
    from xmcompat.backends.machine import Machine, XenRecord


def describe(hypervisor: Hypervisor, info: DomainInfo, record: XenRecord | None) -> list[object]:
    """The ``(domain ...)`` tree. A domain that xm did not start is described from its libvirt XML."""
    from xmcompat.render.domain_sxp import domain_tree

    if info.domid == 0:
        return domain_tree(info, None)
    vm = recorded_form(record)
    machine = _machine(hypervisor.domain_xml(info.uuid)) if vm is None else None
    started = None
    if info.domid is not None:
        started = record.started if record and record.started else hypervisor.start_time(info.uuid)
    tree = domain_tree(info, vm, start_time=started, machine=machine)
    if vm is not None:
        return tree
    from xmcompat.pools import Pools
    from xmcompat.tuning import with_values

    return with_values(tree, {"pool_name": Pools(hypervisor).name_of(info)})


def _machine(xml: str) -> Machine:
    from xmcompat.backends.domain_xml import parse

    return parse(xml)


def recorded_form(record: XenRecord | None) -> list[object] | None:
    """The ``(vm ...)`` form that was kept; None where there is none, or somebody has spoilt it."""
    if record is None:
        return None
    try:
        forms = parse_sxp(record.sxp)
    except ConfigError:
        return None
    return forms[0] if forms and isinstance(forms[0], list) else None
