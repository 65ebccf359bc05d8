"""The record as XML. Pure; loads lxml. The door is ``domain_xml``."""

from __future__ import annotations

from lxml import etree

from xmcompat.backends.record import XenRecord
from xmcompat.backends.xml_elements import legible


def render_record(record: XenRecord) -> str:
    """See ``domain_xml.render_record``."""
    element = etree.Element("guest")
    fill(element, record)
    return etree.tostring(element, encoding="unicode")


def fill(element: etree._Element, record: XenRecord) -> None:
    """Put RECORD into the empty ELEMENT."""
    element.set("source", legible(record.source))
    element.set("dialect", record.dialect)
    if record.started is not None:
        element.set("started", repr(record.started))
    if record.consoles:
        element.set("consoles", " ".join(record.consoles))
    if record.restarts:
        element.set("restarts", str(record.restarts))
    if record.sizes:
        element.set("sizes", " ".join(record.sizes))
    if record.vifs is not None:
        element.set("vifs", f"{record.vifs[0]}:{record.vifs[1]}")
    element.text = legible(record.sxp)
