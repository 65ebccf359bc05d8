"""Where a running domain's display listens, by its XML: what a Machine leaves to libvirt is settled there. Pure."""

from __future__ import annotations

from typing import NamedTuple

from lxml import etree

from xmcompat.backends.xml_elements import attribute, number


class VncServer(NamedTuple):
    """``port`` is None as long as there is none; ``listen`` is "" for libvirt's default."""

    listen: str
    port: int | None
    password: str | None


def vnc_server(xml: str) -> VncServer | None:
    """The first VNC display of a domain that listens on the network; None where it has none."""
    for element in etree.fromstring(xml).iterfind("devices/graphics[@type='vnc']"):
        listen = element.find("listen")
        if element.get("socket") or attribute(listen, "type") in ("socket", "none"):
            continue
        port = number(element.get("port"))
        return VncServer(
            attribute(listen, "address") or element.get("listen", ""), port if port and port > 0 else None,
            element.get("passwd"),
        )  # fmt: skip
    return None
