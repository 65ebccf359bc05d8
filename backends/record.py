"""The record that travels in a domain's metadata, and how it is read. Pure; loads neither lxml nor the machine."""

from __future__ import annotations

from xmcompat.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: The namespace of our element in a domain's <metadata>, the prefix it is written with, and its name there.
METADATA_URI, METADATA_PREFIX, ELEMENT = "urn:xmcompat:guest:1", "x", "guest"


class XenRecord(NamedTuple):
    """What travels in the domain's metadata: the configuration as Xen would print it, and how it was started.

    ``sxp`` is the ``(vm ...)`` form without passwords. ``started`` is Unix time in seconds.
    ``consoles`` are libvirt device names in the order in which ``xm console -n`` counts them; ``restarts`` counts how
    often it was started anew after an end of its own. ``vifs`` is the number of the next interface, for the domain of
    the id before it; None where none was ever added or taken away. ``sizes`` are those of the volumes that its disks are
    made of, as "51713=BYTES", when its memory was saved.
    """

    sxp: str
    source: str = ""
    dialect: str = "xm"
    started: float | None = None
    consoles: tuple[str, ...] = ()
    restarts: int = 0
    vifs: tuple[int, int] | None = None
    sizes: tuple[str, ...] = ()


def read_record(xml: str) -> XenRecord | None:
    """The record in our element of a domain's metadata, or in a whole domain's XML; None where there is none.

    Raises HypervisorError for text that is no XML.
    """
    plain = _plain(xml)
    if plain is not None:
        return record_of(*plain)
    from xmcompat.backends import glance

    root = glance.read(xml)
    # libvirt gives the element alone without its namespace
    own = root if root.name == ELEMENT and root.space in ("", METADATA_URI) else root.inside(METADATA_URI, ELEMENT)
    return None if own is None else record_of(own.attributes, own.text)


def _plain(xml: str) -> tuple[dict[str, str], str] | None:
    """Attributes and text of our element as libvirt gives it alone, where nothing in it is escaped; None for any other.

    Loading expat would take longer than reading all records of a listing.
    """
    beginning, end = f"<{ELEMENT} ", f"</{ELEMENT}>"
    if "&" in xml or "\r" in xml or not (xml.startswith(beginning) and xml.endswith(end)):
        return None
    head, closed, text = xml[len(beginning) : -len(end)].partition(">")
    *pairs, rest = head.split('"')
    if not closed or "<" in text or rest.strip() or len(pairs) % 2:
        return None
    names = [name.strip() for name in pairs[::2]]
    values = pairs[1::2]
    if any("<" in value or "\n" in value or "\t" in value for value in values) or len(set(names)) < len(names):
        return None
    if not all(name.endswith("=") and name[:-1].isascii() and name[:-1].isalpha() for name in names):
        return None
    return {name[:-1]: value for name, value in zip(names, values, strict=True)}, text


def record_of(attributes: Mapping[str, str], text: str) -> XenRecord:
    """The record of our element with these ATTRIBUTES and this TEXT; numbers that are none count as absent."""
    try:
        restarts = int(attributes.get("restarts", ""))
    except ValueError:
        restarts = 0
    try:
        started = float(attributes.get("started", ""))
    except ValueError:
        started = None
    return XenRecord(
        sxp=text,
        source=attributes.get("source", ""),
        dialect=attributes.get("dialect", "xm"),
        started=started,
        consoles=tuple(attributes.get("consoles", "").split()),
        restarts=restarts,
        vifs=_pair(attributes.get("vifs", "")),
        sizes=tuple(attributes.get("sizes", "").split()),
    )


def _pair(text: str) -> tuple[int, int] | None:
    """(5, 3) of "5:3"."""
    first, _, second = text.partition(":")
    try:
        return int(first), int(second)
    except ValueError:
        return None
