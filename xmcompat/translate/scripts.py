"""Which of Xen's scripts sets up the host's end of an interface, and with which words. Pure.

Source: the rules of xend 4.1: the interface's own ``script=`` stands in place of xend's vif-script, words included.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import NamedTuple

from xmcompat.guest import Vif


class Kind(Enum):
    """How a script connects the host's end; OWN ones are none of Xen's."""

    BRIDGE = "bridge"
    ROUTE = "route"
    NAT = "nat"
    OWN = "own"


_KINDS = {
    **dict.fromkeys(("", "vif-bridge", "vif-openvswitch", "vif-vnic", "vif2"), Kind.BRIDGE),
    "vif-route": Kind.ROUTE, "vif-nat": Kind.NAT,
}  # fmt: skip


class Script(NamedTuple):
    """``name`` as it is written, with or without its folder; ``words`` are the NAME=VALUE and others behind it."""

    name: str = ""
    words: tuple[str, ...] = ()

    @property
    def base(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def kind(self) -> Kind:
        return _KINDS.get(self.base, Kind.OWN)

    def value(self, *keys: str) -> str:
        """What the first of these KEYS is set to, "" for none."""
        pairs = {key: value for key, equals, value in (word.partition("=") for word in self.words) if equals}
        return next((pairs[key] for key in keys if key in pairs), "")


def script_of(vif: Vif, default: str = "") -> Script:
    """The interface's script, else the DEFAULT one."""
    words = (vif.script or default).split()
    return Script(words[0], tuple(words[1:])) if words else Script()


def with_gateway(vif: Vif) -> Vif:
    """VIF with what xl alone says in words for its script, as forms of xend can hold them."""
    script = script_of(vif)
    if not vif.gatewaydev or script.kind is not Kind.ROUTE or script.value("netdev", "gatewaydev"):
        return vif
    return replace(vif, script=f"{vif.script} netdev={vif.gatewaydev}")
