"""The XML of a domain with another start: another kernel or command line, or its own boot loader. Pure; loads lxml."""

from __future__ import annotations

from collections.abc import Sequence

from lxml import etree

from xmcompat.backends.domain_xml import METADATA_URI
from xmcompat.backends.kept_xml import root_of, text_of
from xmcompat.backends.machine import DirectKernel, MachineBoot


def with_boot(xml: str, boot: MachineBoot, *, disk: str = "", consoles: Sequence[str] = ()) -> str:
    """XML that starts by BOOT, and from the disk that Xen calls DISK before all others, "" for none. CONSOLES are libvirt's
    names of its consoles, the main one first."""
    root = root_of(xml)
    system = root.find("os")
    if system is None:
        system = etree.SubElement(root, "os")
    for tag in ("kernel", "initrd", "cmdline", "boot"):
        for old in system.findall(tag):
            system.remove(old)
    if isinstance(boot, DirectKernel):
        for tag, text in (("kernel", boot.kernel), ("initrd", boot.initrd), ("cmdline", boot.cmdline)):
            if text:
                etree.SubElement(system, tag).text = text
    else:
        for device in boot.order:
            etree.SubElement(system, "boot", dev=device)
    for element in root.iterfind("devices/disk"):
        _order(element, disk)
    record = root.find(f"metadata/{{{METADATA_URI}}}guest")
    if record is not None and consoles:
        record.set("consoles", " ".join(consoles))
    return text_of(root)


def _order(element: etree._Element, disk: str) -> None:
    for old in element.findall("boot"):
        element.remove(old)
    alias = element.find("alias")
    if disk and alias is not None and alias.get("name") == f"ua-{disk}":
        etree.SubElement(element, "boot", order="1")
