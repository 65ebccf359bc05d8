"""Whether a domain may leave something in the host's network when it ends: a cheap look, before ``connecting`` is loaded.

On the path of ``xm destroy``, and of a plain guest's end: only what is cheap is imported.
"""

from __future__ import annotations

import os
import re

from xmcompat.backends.local_host import link_alias
from xmcompat.backends.settings import is_local
from xmcompat.errors import XmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xmcompat.backends.hypervisor import DomainInfo, Hypervisor
    from xmcompat.vifs import BackEnd

_CONFIG = "/etc/xen/xend-config.sxp"
#: In the form of a configuration, or in libvirt's XML: what is more than an interface on a bridge.
_MORE = ("(ip ", "(rate ", "(script ", "type='ethernet'")


def leaving(hypervisor: Hypervisor, info: DomainInfo, environ: Mapping[str, str] = os.environ) -> tuple[BackEnd, ...]:
    """What ``connecting.gone`` needs to know once the domain has gone, () mostly. Never raises XmError."""
    if info.domid is None or os.geteuid() != 0 or not is_local(hypervisor.uri):
        return ()
    try:
        xml = hypervisor.domain_xml(info.uuid)
    except XmError:
        return ()
    if not may_leave(xml, environ):
        return ()
    from xmcompat import connecting

    return connecting.leaving(hypervisor, info, environ=environ)


def gone(back_ends: tuple[BackEnd, ...], info: DomainInfo, environ: Mapping[str, str] = os.environ) -> None:
    if back_ends:
        from xmcompat import connecting

        connecting.gone(back_ends, info, environ=environ)


def end(hypervisor: Hypervisor, info: DomainInfo, call: Callable[[str], None]) -> None:
    """Make the CALL that ends a domain, and take away what those of its interfaces leave that had been connected: where its
    start fails the others have been taken back already."""
    back_ends = leaving(hypervisor, info)
    if back_ends:
        from xmcompat import connecting

        back_ends = tuple(one for one in back_ends if connecting.is_marked(one.port))
    call(info.uuid)
    gone(back_ends, info)


def repair(hypervisor: Hypervisor, info: DomainInfo, environ: Mapping[str, str] = os.environ) -> None:
    """Before a domain that is paused goes on: set up what is missing of its interfaces, since whoever has started it may
    have been cut off. Raises DeviceError."""
    if os.geteuid() == 0 and is_local(hypervisor.uri) and may_leave(hypervisor.domain_xml(info.uuid), environ):
        from xmcompat import connecting

        connecting.repair(hypervisor, info, environ=environ)


def may_leave(xml: str, environ: Mapping[str, str] = os.environ) -> bool:
    """False where the domain of XML surely leaves nothing."""
    if "<interface " not in xml:
        return False
    if any(word in xml for word in _MORE) or _script_of_xend(environ.get("XEND_CONFIG", _CONFIG)):
        return True
    return any(link_alias(bridge).startswith("xmcompat ") for bridge in set(re.findall(r" bridge='([^'/]+)'", xml)))


def _script_of_xend(path: str) -> bool:
    """Whether xend's settings may name another script than Xen's for bridges."""
    try:
        with open(path, "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return False
    return any(b"vif-script" in line and b"vif-bridge" not in line and line.lstrip()[:1] != b"#" for line in lines)
