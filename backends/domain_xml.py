"""Machine to libvirt XML and back, and the record that travels in a domain's metadata. Pure.

This is the door; lxml is loaded at the first call, by ``domain_xml_write``, ``domain_xml_read`` or ``record_write``.
"""

from __future__ import annotations

from xmcompat.backends.record import METADATA_PREFIX, METADATA_URI, read_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xmcompat.backends.machine import Machine, XenRecord

#: Its own, and those of the record.
__all__ = ["METADATA_PREFIX", "METADATA_URI", "parse", "read_record", "render", "render_record"]


def render(machine: Machine) -> str:
    """The XML of a domain: the same text for the same machine.

    Every device is written out, and the format of each image above all, so that libvirt guesses nothing.
    Raises ConfigError for a name or path with characters that XML cannot hold.
    """
    from xmcompat.backends.domain_xml_write import render

    return render(machine)


def parse(xml: str) -> Machine:
    """The machine of a domain's XML, whoever made it; what a Machine has no word for is passed over.

    ``parse(render(machine)) == machine``. Raises HypervisorError for text that is no domain's XML.
    """
    from xmcompat.backends.domain_xml_read import parse

    return parse(xml)


def render_record(record: XenRecord) -> str:
    """The record as an element of no namespace, as ``Hypervisor.set_metadata`` takes it."""
    from xmcompat.backends.record_write import render_record

    return render_record(record)
