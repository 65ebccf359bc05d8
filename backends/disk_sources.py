"""The XML of a domain whose disks come from other places than before. Pure; loads lxml."""

from __future__ import annotations

from collections.abc import Iterable

from lxml import etree

from xmcompat.backends.devices import Disk
from xmcompat.backends.domain_xml_write_devices import write_disk
from xmcompat.backends.kept_xml import root_of, text_of


def with_sources(xml: str, disks: Iterable[Disk]) -> str:
    """XML in which those of DISKS, by the names that Xen gives them, have their sources, and the caches that go with them.
    All else of them stays, so that an image of the domain's memory still fits."""
    root = root_of(xml)
    wanted = {f"ua-{disk.vdev}": disk for disk in disks}
    for element in root.iterfind("devices/disk"):
        alias = element.find("alias")
        if alias is not None and (disk := wanted.get(alias.get("name", ""))):
            _exchange(element, disk)
    return text_of(root)


def _exchange(element: etree._Element, disk: Disk) -> None:
    new = etree.Element("devices")
    write_disk(new, disk)
    made = new[0]
    element.set("type", made.get("type", ""))
    driver, of_new = element.find("driver"), made.find("driver")
    for name in ("cache", "io"):
        if driver is not None and of_new is not None:
            driver.attrib.pop(name, "")
            driver.attrib.update({name: of_new.attrib[name]} if name in of_new.attrib else {})
    old, source = element.find("source"), made.find("source")
    if old is not None and source is not None:
        element.replace(old, source)
