"""The host's ends of a guest's interfaces: what its configuration, libvirt's XML and the host's own marks make of each.
Pure.

Nothing is kept in files of ours: whoever has the domain, be it just created, restored, or started by somebody else, finds
the same here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from xmcompat.backends.devices import Nic
from xmcompat.backends.devices_glance import Tap
from xmcompat.guest import Vif
from xmcompat.network.marks import Mark
from xmcompat.network.wanted import LONGEST_NAME, Mode, Port, Rate
from xmcompat.translate.bandwidth import limit_in_bytes
from xmcompat.translate.scripts import Kind, Script, script_of

#: Microseconds for which xend hands out credit.
_INTERVAL = 50_000


class Site(NamedTuple):
    """What of the host matters. ``script`` is xend's vif-script, ``marks`` are those of bridges of ours, by name."""

    script: str = ""
    marks: Mapping[str, Mark] = {}

    def kind(self, bridge: str) -> str:
        return self.marks[bridge].kind if bridge in self.marks else ""

    def holds(self, bridge: str) -> bool:
        """Whether guests on the BRIDGE may use no other MAC addresses than their own."""
        return bridge in self.marks and self.marks[bridge].values.get("antispoof", "no") not in ("", "no", "0")


class BackEnd(NamedTuple):
    """The host's end of the interface NUMBER. ``vif`` is None where no configuration tells of it; ``script`` is one of the
    user's own, None for Xen's."""

    number: int
    port: Port
    vif: Vif | None = None
    script: Script | None = None

    @property
    def waits(self) -> bool:
        """Whether the guest is not to run before it is set up: it is to have more than another name."""
        port = self.port
        more = port.addresses or port.held or port.isolated or port.sending or port.receiving
        return bool(more) or self.script is not None or port.mode is not Mode.BRIDGE


def ports_of(vifs: Sequence[Vif] | None, taps: Sequence[Tap], site: Site, domid: int) -> tuple[BackEnd, ...]:
    """One for each of the TAPS of the domain DOMID that has a name. VIFS are those of its configuration, which belong to
    the taps by their MAC addresses; None for a domain that xm does not know."""
    known = {vif.mac.lower(): vif for vif in vifs or ()}
    return tuple(_port(known.get(tap.mac), tap, site, domid) for tap in taps if tap.device)


def _port(vif: Vif | None, tap: Tap, site: Site, domid: int) -> BackEnd:
    script = script_of(vif, site.script) if vif else Script()
    mode = _mode(script, tap, site) if vif else Mode.BRIDGE
    own = script if vif and script.kind is Kind.OWN else None
    rate = rate_of(vif) if vif else None
    name = f"vif{domid}.{tap.number}"
    named = (vif and vif.vifname == tap.device) or tap.device == name or len(name) > LONGEST_NAME
    port = Port(
        device=tap.device, mac=tap.mac, mode=mode, bridge=tap.bridge,
        uplink=script.value("netdev", "gatewaydev") if mode is not Mode.BRIDGE else "",
        addresses=() if vif is None or own else addresses_of(vif), held=site.holds(tap.bridge),
        sending=rate, receiving=rate, altnames=() if named else (name,),
    )  # fmt: skip
    return BackEnd(tap.number, port, vif, own)


def _mode(script: Script, tap: Tap, site: Site) -> Mode:
    """What the tap itself can be goes before the script's name: the domain may have been defined under another one."""
    if not tap.bridge:
        return Mode.BRIDGE if script.kind is Kind.OWN else Mode.ROUTE
    return Mode.NAT if script.kind is Kind.NAT and site.kind(tap.bridge) == "nat" else Mode.BRIDGE


def addresses_of(vif: Vif) -> tuple[str, ...]:
    """The words of ``ip=``."""
    return tuple(dict.fromkeys(vif.ip.replace(";", " ").split()))


def rate_of(vif: Vif) -> Rate | None:
    """The limit for either direction; None for none."""
    limit = limit_in_bytes(vif.rate)
    return None if limit is None else Rate(speed=limit[0], burst=limit[1])


def wait_for(vifs: Sequence[Vif], nics: Sequence[Nic], site: Site) -> bool:
    """Whether a guest of these VIFS, whose interfaces are to be the NICS, has one that is to be set up before it runs."""
    taps = [Tap(number, nic.mac.lower(), "tap", nic.bridge) for number, nic in enumerate(nics)]
    return any(back_end.waits for back_end in ports_of(vifs, taps, site, 0))


def values_of(back_end: BackEnd, *, domid: int, name: str, uuid: str, file: str) -> dict[str, str]:
    """What XenStore would have of the interface, for scripts; what is not set is not there."""
    vif, port = back_end.vif or Vif(), back_end.port
    limit = limit_in_bytes(vif.rate)
    given = {
        "bridge": port.bridge or vif.bridge, "ip": " ".join(vif.ip.replace(";", " ").split()), "vifname": vif.vifname,
        "type": vif.type, "model": vif.model, "gatewaydev": vif.gatewaydev,
        "rate": f"{max(1, limit[0] * _INTERVAL // 10**6)},{_INTERVAL}" if limit else "",
        "mtu": str(vif.mtu) if vif.mtu else "",
    }  # fmt: skip
    return {
        "domain": name, "handle": str(back_end.number), "uuid": uuid, "mac": port.mac, "script": file,
        "frontend": f"/local/domain/{domid}/device/vif/{back_end.number}", "frontend-id": str(domid),
        "state": "2", "online": "1", **{key: value for key, value in given.items() if value},
    }  # fmt: skip
