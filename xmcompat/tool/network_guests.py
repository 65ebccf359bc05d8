"""Which guest each end of an interface belongs to, as libvirt and the guests' own configurations tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xmcompat.errors import XmError
from xmcompat.tool.network_view import Guest

if TYPE_CHECKING:
    from xmcompat.network.wanted import Port


def guests() -> list[Guest]:
    """Of all guests that run; none where libvirt does not answer: the networks can be seen without it."""
    from xmcompat.toolstack import Toolstack

    found: list[Guest] = []
    try:
        with Toolstack.open() as toolstack:
            for info in toolstack.hypervisor.domains():
                if info.started:
                    try:
                        xml = toolstack.hypervisor.domain_xml(info.uuid)
                    except XmError:
                        continue  # it has ended meanwhile
                    found += interfaces(info.name, xml)
    except XmError:
        return found
    return found


def ports() -> list[Port]:
    """The ends of the interfaces of all guests that run, as their configurations want them; none without a libvirt."""
    from xmcompat.toolstack import Toolstack
    from xmcompat.vif_traces import leaving

    found: list[Port] = []
    try:
        with Toolstack.open() as toolstack:
            for info in toolstack.hypervisor.domains():
                if info.started:
                    found += (back_end.port for back_end in leaving(toolstack.hypervisor, info))
    except XmError:
        return found
    return found


def interfaces(name: str, xml: str) -> Iterator[Guest]:
    """Those of one guest. Pure."""
    from lxml import etree

    from xmcompat.backends.record import read_record

    record = read_record(xml)
    addresses = _addresses(record.sxp) if record else {}
    for element in etree.fromstring(xml.encode()).iterfind("devices/interface"):
        target, mac = element.find("target"), element.find("mac")
        device = target.get("dev", "") if target is not None else ""
        address = mac.get("address", "").lower() if mac is not None else ""
        if device:
            yield Guest(name, device, address, addresses.get(address, ()))


def _addresses(sxp: str) -> dict[str, tuple[str, ...]]:
    """The words of ``ip`` of each interface in a guest's recorded form, by MAC address."""
    from xmcompat.config.sxp import parse

    found: dict[str, tuple[str, ...]] = {}
    try:
        forms: list[object] = list(parse(sxp))
    except XmError:
        return found
    while forms:
        form = forms.pop()
        if not isinstance(form, list):
            continue
        if form[:1] == ["vif"]:
            pairs = {entry[0]: entry[1] for entry in form[1:] if isinstance(entry, list) and len(entry) == 2}
            if isinstance(pairs.get("ip"), str):
                found[str(pairs.get("mac", "")).lower()] = tuple(pairs["ip"].replace(",", " ").split())
        else:
            forms += form
    return found
