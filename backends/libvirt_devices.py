"""What the backend itself needs to read from a domain's XML: its disks and bridges. Pure; loads lxml."""

from __future__ import annotations

from lxml import etree


def named_devices(xml: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The bridges of the interfaces of a new domain, in order, and (path, name) of its disks; or (URL, name).

    The name is Xen's ("xvda2") where it was kept, else QEMU's ("vda").
    Unreadable XML has neither; libvirt says what is wrong with it.
    """
    try:
        root = etree.fromstring(xml)
    except etree.XMLSyntaxError:
        return [], []
    bridges = [
        (source.get("bridge") or "") if (source := nic.find("source")) is not None else ""
        for nic in root.iterfind("devices/interface")
    ]
    disks = []
    for disk in root.iterfind("devices/disk"):
        source, target = disk.find("source"), disk.find("target")
        path = "" if source is None else source.get("file") or source.get("dev") or _url(source)
        alias = disk.find("alias")
        own = "" if alias is None else alias.get("name") or ""
        kept = own.removeprefix("ua-") if own.startswith("ua-") else ""
        disks.append((path, kept or ("" if target is None else target.get("dev") or "")))
    return bridges, disks


def _url(source: etree._Element) -> str:
    """A disk that QEMU itself fetches: "nfs://HOST/PATH", "nbd://HOST:PORT/EXPORT", "iscsi://HOST:PORT/TARGET/LUN"."""
    protocol, host = source.get("protocol"), source.find("host")
    if not protocol or host is None:
        return ""
    name = host.get("name") or ""
    if protocol == "nfs":
        return f"nfs://{name}{source.get('name')}"
    place = host.get("socket") or f"{f'[{name}]' if ':' in name else name}:{host.get('port') or ''}"
    return f"{protocol}://{place}/{source.get('name') or ''}"


def domain_identity(xml: str) -> tuple[str, str]:
    """Name and uuid ("" where libvirt will draw one) of a new domain; both "" for unreadable XML."""
    try:
        root = etree.fromstring(xml)
    except etree.XMLSyntaxError:
        return "", ""
    return (root.findtext("name") or "").strip(), (root.findtext("uuid") or "").strip()


def bridge_name(xml: str) -> str | None:
    """The name of a host interface, by its XML, if it is a bridge."""
    root = etree.fromstring(xml)
    return root.get("name") if root.get("type") == "bridge" else None


def memory_snapshot(xml: str, path: str) -> str:
    """What asks libvirt for the memory of the domain of XML in the file PATH, and for nothing of its disks."""
    root = etree.Element("domainsnapshot")
    etree.SubElement(root, "memory", snapshot="external", file=path)
    disks = etree.SubElement(root, "disks")
    for target in etree.fromstring(xml).iterfind("devices/disk/target"):
        etree.SubElement(disks, "disk", name=target.get("dev") or "", snapshot="no")
    return etree.tostring(root, encoding="unicode")
