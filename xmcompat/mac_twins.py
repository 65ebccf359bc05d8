"""Guests of one MAC address on one bridge: which of them a frame reaches is chance. A sentence for each; xm permits it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from xmcompat.errors import XmError

if TYPE_CHECKING:
    from xmcompat.backends.devices import Nic
    from xmcompat.backends.hypervisor import Hypervisor

_SYS = "/sys/class/net"
_XENS_NAME = re.compile(r"vif([0-9]+)\.[0-9]+")


def told(
    hypervisor: Hypervisor, nics: Iterable[Nic], number: int = 0, *, own: str = "", sys: str = _SYS
) -> tuple[str, ...]:  # fmt: skip
    """What the operator should know before a guest gets NICS, the first of which is vif NUMBER. Looks at the kernel's ports
    of each bridge, of which libvirt's have the guest's address but for the first byte. Never raises XmError.

    OWN is the name of a guest that runs and has no vif with these addresses: a tap that its QEMU holds was left to it by a
    libvirtd that was killed, and no frame comes out of it.
    """
    sentences = []
    for place, nic in enumerate(nics, number):
        for port in _ports(nic.bridge, sys) if nic.bridge else ():
            if _address(f"{sys}/{port}") == f"fe{nic.mac.lower()[2:]}" and not (own and _holds(own, port)):
                sentences.append(
                    f"vif {place} has the MAC address {nic.mac} of {_whose(hypervisor, port)} on the bridge '{nic.bridge}'"
                    ": frames for either reach one of them; give it another one"
                )
    return tuple(sentences)


def _ports(bridge: str, sys: str) -> list[str]:
    try:
        return sorted(os.listdir(f"{sys}/{bridge}/brif"))
    except OSError:
        return []


def _address(link: str) -> str:
    """The address of a tap; "" for another kind of link."""
    try:
        if not os.path.exists(f"{link}/tun_flags"):
            return ""
        with open(f"{link}/address", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _holds(guest: str, port: str) -> bool:
    from xmcompat.storage import processes

    return any(holder.guest == guest for holder in processes.having_tap(port))


def _whose(hypervisor: Hypervisor, port: str) -> str:
    """The guest at a tap by its name, as far as the second name that Xen's interfaces have tells."""
    from xmcompat.network import programs

    with suppress(XmError):
        found = _XENS_NAME.search(programs.run(("ip", "-j", "link", "show", "dev", port)))
        if found:
            return f"'{hypervisor.find(found[1]).name}'"
    return f"'{port}'"
