"""What xend leaves out of the command line that it puts together for a kernel, and why. Pure.

Source: xm's create command and xend, Xen 4.1. ``build.compose_cmdline`` is the line itself.
"""

from __future__ import annotations

from xmcompat.config.build import extra_arguments, ip_argument
from xmcompat.config.keys import KEYS
from xmcompat.config.xm_values import Values, text

#: The settings that become a part of the line.
PARTS = ("root", "ip", "gateway", "netmask", "hostname", "interface", "dhcp", "nfs_server", "nfs_root", "extra")
#: Those that are fields of ip=.
_FIELDS = ("ip", "gateway", "netmask", "hostname", "interface", "dhcp")
_AS_WELL = "xend leaves this one out as well"


def left_out(options: Values, key: str) -> str:
    """Why the setting KEY of xm's is no part of the kernel's command line; "" for one that is, or that asks for nothing.

    A clause that fits behind "no meaning: ". OPTIONS are those of a guest that was built.
    """
    if key not in PARTS or options.get(key, "") in ("", KEYS[key].xm_default):
        return ""
    ip, extra = ip_argument(options), extra_arguments(options)
    written = bool(ip) and "ip=" not in extra
    if key == "root":
        line = f"ip={ip} {extra}" if written else extra
        return _double_root(options) if "root=" in line else ""
    if key == "nfs_server":
        used = written or bool(text(options, "nfs_root"))
        return "" if used else "xend does not follow it without nfs_root, ip or dhcp either"
    if key not in _FIELDS or written:
        return ""
    return f"extra has ip= already; {_AS_WELL}" if ip else "xend does not follow it without ip or dhcp either"


def _double_root(options: Values) -> str:
    if "root=" in text(options, "extra"):
        return f"extra has root= already; {_AS_WELL}"
    if text(options, "nfs_root"):
        return f"nfs_root becomes nfsroot=, which has root= in it; {_AS_WELL}"
    return f"the command line has root= already; {_AS_WELL}"
