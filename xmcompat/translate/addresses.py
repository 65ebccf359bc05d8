"""Names and addresses of hosts, as libvirt takes them. Pure."""

from __future__ import annotations

import re

_NAME = re.compile(r"[a-zA-Z0-9.\-]+")


def is_host(text: str) -> bool:
    """Whether TEXT is an address of IPv4 or IPv6, without brackets, or can be a name of the DNS."""
    if _NAME.fullmatch(text):
        return True
    import ipaddress

    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text
