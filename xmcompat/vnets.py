"""Vnets: segments of guests that reach over several hosts. The operations beneath ``xm vnet-*``, on this host's networks.

A vnet is an overlay (``network.overlay``): the kernel has all of it, with the vnet's id in the alias of its links. Vnets
are not encrypted, so that one which is to be is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from xmcompat.backends.settings import hypervisor_uri, is_local
from xmcompat.config.vnet import Vnet, VnetId, parse_id
from xmcompat.errors import ConfigError, XmError
from xmcompat.network import host as kernel
from xmcompat.network import lock, overlay, steps
from xmcompat.network.found import UP, Found
from xmcompat.network.host import Host
from xmcompat.network.programs import NetworkError
from xmcompat.network.wanted import VXLAN_PORT, Overlay

#: The names that libvirt gives to guests' interfaces.
_LIBVIRTS = re.compile(r"vnet(0|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class VnetInfo:
    """A vnet as it is. ``whole`` is False for one that was half made, or that somebody has taken a part of."""

    vnet: Vnet
    vni: int
    port: int
    whole: bool


def overlay_of(vnet: Vnet) -> Overlay:
    """What the host must have for it. Raises XmError for one that is to be secure."""
    if vnet.security != "none":
        what = "nobody on the way may change them" if vnet.security == "auth" else "nobody on the way may read them"
        raise XmError(
            f"the vnet {vnet.id} has (security {vnet.security}), but its frames would travel as they are: '{what}' "
            "cannot be promised", hint="write (security none), and let an underlay of IPsec or WireGuard carry it",
        )  # fmt: skip
    return Overlay(
        vni=vnet.id.vni, bridge=vnet.bridge, device=vnet.vnetif, underlay=vnet.underlay, local=vnet.local, group=vnet.group,
        peers=vnet.peers, port=vnet.port or VXLAN_PORT, vnet=str(vnet.id),
    )  # fmt: skip


def create(vnets: Sequence[Vnet]) -> list[str]:
    """Make all VNETS, or none; one that is there gets the peers that are new. Returns what the operator should know.

    Raises NetworkError, and XmError for one that is to be secure.
    """
    refuse_far_hosts()
    wanted = [overlay_of(vnet) for vnet in vnets]
    with lock.locked():
        host = kernel.read(tables=False)
        known = [found.wanted for found in overlay.found(host)]
        plan: list[steps.Step] = []
        for number, one in enumerate(wanted):
            _refuse_twins(one, [*known, *wanted[:number]])
            plan += overlay.up(_underlay_kept(one, known), host)
        steps.take(plan)
    return [
        f"libvirt calls guests' interfaces so too: the bridge '{one.bridge}' cannot be made while a guest has that name; "
        f"it never takes 'vnet{vnet.id.short}'"
        for one, vnet in zip(wanted, vnets, strict=True) if _LIBVIRTS.fullmatch(one.bridge)
    ]  # fmt: skip


def overview(designations: Sequence[str] = ()) -> list[VnetInfo]:
    """All vnets of this host, by their ids, or those of DESIGNATIONS in that order.

    Raises NetworkError, for one that is not there as well, and ConfigError for what is no id.
    """
    refuse_far_hosts()
    ids = [str(parse_id(designation)) for designation in designations]
    found = [_info(one) for one in overlay.found(kernel.read(tables=False)) if one.wanted.vnet]
    if not designations:
        return sorted(found, key=lambda info: info.vnet.id.value)
    known = {str(info.vnet.id): info for info in found}
    for number, designation in zip(ids, designations, strict=True):
        if number not in known:
            raise _missing(designation)
    return [known[number] for number in ids]


def _missing(designation: str) -> NetworkError:
    return NetworkError(f"there is no vnet '{designation}'", hint="'xm vnet-list' shows those that there are")


def delete(designation: str) -> None:
    """Remove the vnet with that id, in whatever state it is.

    Raises ConfigError for what is no id, and NetworkError for one that is not there, or has guests on it.
    """
    refuse_far_hosts()
    wanted = str(parse_id(designation))
    with lock.locked():
        host = kernel.read(tables=False)
        found = next((one.wanted for one in overlay.found(host) if one.wanted.vnet == wanted), None)
        if found is None:
            raise _missing(designation)
        if guests := _guests_on(found, host):
            raise NetworkError(
                f"the vnet {designation} is used by {', '.join(guests)}",
                hint="detach these interfaces, or end their guests",
            )
        steps.take(overlay.down(found, host))


def refuse_far_hosts() -> None:
    """Raises XmError where libvirt is that of another host: its networks cannot be reached from here."""
    uri = hypervisor_uri(environ=os.environ)
    if not is_local(uri):
        raise XmError(f"vnets are those of the host itself, and libvirt is at '{uri}'", hint="type the command there")


def _refuse_twins(wanted: Overlay, others: Sequence[Overlay]) -> None:
    """Raises NetworkError where another overlay has the number, or the same one other links."""
    for other in others:
        if other.vni == wanted.vni and other.vnet != wanted.vnet:
            whose = f"the vnet {other.vnet}" if other.vnet else f"the bridge '{other.bridge}'"
            raise NetworkError(
                f"the vnet {wanted.vnet} would be VXLAN {wanted.vni}, as {whose} is", hint="give it another id on all hosts"
            )
        if other.vni == wanted.vni and (other.bridge, other.device) != (wanted.bridge, wanted.device):
            raise NetworkError(
                f"the vnet {wanted.vnet} is there already, with the bridge '{other.bridge}' and '{other.device}'",
                hint="remove it before",
            )


def _underlay_kept(wanted: Overlay, known: Sequence[Overlay]) -> Overlay:
    """WANTED; one that is there and names no underlay stays on its own, even if the default route has moved."""
    there = next((one for one in known if one.vnet == wanted.vnet and one.group and one.local), None)
    return replace(wanted, underlay=there.underlay) if there and not wanted.underlay else wanted


def _guests_on(wanted: Overlay, host: Host) -> list[str]:
    bridge = host.link(wanted.bridge)
    if not bridge or not bridge.mark:
        return []  # somebody else's bridge stays
    return [link.name for link in host.ports(wanted.bridge) if link.name != wanted.device]


def _info(found: Found[Overlay]) -> VnetInfo:
    wanted = found.wanted
    try:
        number = parse_id(wanted.vnet)
    except ConfigError:
        number = VnetId(wanted.vni)
    port = 0 if wanted.port == VXLAN_PORT else wanted.port
    vnet = Vnet(
        id=number, bridge=wanted.bridge, vnetif=wanted.device, underlay=wanted.underlay, local=wanted.local,
        group=wanted.group, peers=wanted.peers, port=port,
    )  # fmt: skip
    return VnetInfo(vnet=vnet, vni=wanted.vni, port=wanted.port, whole=found.state == UP)
