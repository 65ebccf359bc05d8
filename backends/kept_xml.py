"""The XML of a domain with another mark, another name, or renewed for its next start. Pure; loads lxml."""

from __future__ import annotations

from lxml import etree

from xmcompat.backends.domain_xml import METADATA_URI
from xmcompat.backends.kept_mark import KEPT_PREFIX, KEPT_URI, Mark, write
from xmcompat.errors import HypervisorError


def marked(xml: str, mark: Mark) -> str:
    """XML with MARK in place of the mark that it has, if it has one."""
    root = root_of(xml)
    _put(root, mark)
    return text_of(root)


def renewed(xml: str, mark: Mark, *, started: float) -> str:
    """XML for the next start of the domain, at STARTED: one restart more, with MARK."""
    root = root_of(xml)
    record = root.find(f"metadata/{{{METADATA_URI}}}guest")
    if record is not None:
        record.set("started", repr(started))
        record.set("restarts", str(_restarts(record) + 1))
    _put(root, mark)
    return text_of(root)


def renamed(xml: str, name: str, uuid: str, mark: Mark) -> str:
    """XML as that of another domain, which is not meant to be started."""
    root = root_of(xml)
    for tag, text in (("name", name), ("uuid", uuid)):
        element = root.find(tag)
        if element is None:
            element = etree.SubElement(root, tag)
        element.text = text
    for nvram in root.iterfind("os/nvram"):
        nvram.getparent().remove(nvram)  # type: ignore[union-attr]
    _put(root, mark)
    return text_of(root)


def _restarts(record: etree._Element) -> int:
    text = record.get("restarts", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 11 else 0


def _put(root: etree._Element, mark: Mark) -> None:
    metadata = root.find("metadata")
    if metadata is None:
        metadata = etree.SubElement(root, "metadata")
    for old in metadata.findall(f"{{{KEPT_URI}}}kept"):
        metadata.remove(old)
    plain = etree.fromstring(write(mark))
    element = etree.SubElement(metadata, f"{{{KEPT_URI}}}kept", nsmap={KEPT_PREFIX: KEPT_URI})
    for name, value in plain.attrib.items():
        element.set(name, value)


def root_of(xml: str) -> etree._Element:
    """Raises HypervisorError for what is no XML."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        return etree.fromstring(xml, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise HypervisorError(f"the XML of a domain cannot be read: {error}".partition("\n")[0]) from None


def text_of(root: etree._Element) -> str:
    return etree.tostring(root, encoding="unicode")
