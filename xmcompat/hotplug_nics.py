"""Network interfaces of domains that are there or known: beneath ``xm network-attach`` and its like."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import count

from xmcompat import connecting, mac_twins
from xmcompat.backends.domain_xml_hotplug import PluggedNic, nic_xml
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator
from xmcompat.backends.openvswitch import switches_here
from xmcompat.backends.settings import is_local
from xmcompat.backends.settings import read as read_settings
from xmcompat.config import device_forms as forms
from xmcompat.config.dryrun import vif_form
from xmcompat.errors import DeviceError, OperationError
from xmcompat.guest import Vif
from xmcompat.host_settings import with_host_settings
from xmcompat.network import mac as macs
from xmcompat.pluggable import CLASSED, Pluggable, again, refuse_domain0, settled, without
from xmcompat.plugging import Device, Seen, Stopped
from xmcompat.toolstack import DOM0_UUID
from xmcompat.translate.hotplug import added_nic
from xmcompat.translate.scripts import Kind, script_of
from xmcompat.vifs import BackEnd

NICS = ("vif",)

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)


class Nics(Pluggable):
    """The interfaces of domains."""

    def attach_nic(self, designation: str, words: Mapping[str, str]) -> tuple[str, ...]:
        """Give the domain one network interface more. WORDS are those of a vif, "mac" and the like; an address is drawn
        where there is none."""
        with self._plugging.domain(designation) as info:
            refuse_domain0(info, "see 'ip link' for its interfaces")
            vif = Vif(**{"mac": macs.generate(), **words})  # type: ignore[arg-type]  # its keys are those of texts
            if not _MAC.fullmatch(vif.mac):
                raise OperationError("Cannot create a new virtual network interface - MAC address is not valid!")
            self._refuse_unknown_back_end(vif.backend)
            tries = count()
            return again(lambda: self._attach_nic(self._plugging.look(info, designation), vif, next(tries)))

    def _attach_nic(self, seen: Seen, vif: Vif, passed: int) -> tuple[str, ...]:
        """PASSED numbers are left out: QEMU may hold them for interfaces of which libvirt lost its own knowledge when it
        was killed."""
        there = {one.nic.mac.lower(): one.alias for one in seen.nics}
        recorded = {forms.text(device, "mac").lower() for _, device in forms.devices_of(seen.form, NICS)}
        if self._is_left(seen, there.get(vif.mac.lower(), "")) and vif.mac.lower() not in recorded:
            self._connect(seen, vif, None)
            self._plugging.keep(seen, forms.with_device(seen.form, vif_form(vif)))
            return ()
        if vif.mac.lower() in {*there, *recorded}:
            raise OperationError(f'The mac "{vif.mac}" is already defined')
        number = _next_number(seen) + passed
        guest, findings = self._guest(seen, vifs=(vif,))
        facts = self._facts()
        nic = added_nic(guest, facts, number, findings)
        told = settled(findings)
        if seen.live and is_local(self._hypervisor.uri):
            told = (*told, *mac_twins.told(self._hypervisor, (nic,), number, own=seen.info.name))
        ours = seen.live and connecting.is_ours(self._hypervisor)
        waits = ours and connecting.prepared((vif,), (nic,), number=number)
        own = number if seen.live else None
        device = Device(number, "vif", f"ua-vif-{number}" if seen.live else "", nic_xml(nic, own))
        connected: list[BackEnd] = []
        short = script_of(vif, facts.vif_script).kind is not Kind.OWN  # others may take their time
        stopped = Stopped(self._hypervisor, seen.info) if waits and short else None
        try:
            self._plugging.plug(
                seen, device, forms.with_device(seen.form, vif_form(vif)), vifs=number + 1,
                then=lambda: connected.extend(self._connect(seen, vif, stopped)),
            )  # fmt: skip
        except BaseException as error:
            connecting.gone(connected, seen.info)
            if not isinstance(error, DeviceError):
                raise
            # libvirt counts no other interface
            raise DeviceError(error.message.replace("Device 0 (vif)", f"Device {number} (vif)"), hint=error.hint) from None
        finally:
            if stopped is not None:
                stopped.go_on()
        return told

    def _is_left(self, seen: Seen, alias: str) -> bool:
        """Whether the interface of that ALIAS is one that a call has plugged in, of which nothing may be recorded."""
        return alias.startswith("ua-vif-") and seen.live and is_local(self._hypervisor.uri)

    def _connect(self, seen: Seen, vif: Vif, stopped: Stopped | None) -> tuple[BackEnd, ...]:
        """What is to be taken back where it is not to stay. Where this fails, and the guest, which goes on, does not let go
        of the interface, it is at least on no network."""
        if not seen.live:
            return ()
        try:
            connecting.connect(self._hypervisor, seen.info, (vif,), only=vif.mac)
            return connecting.leaving(self._hypervisor, seen.info, only=vif.mac, vifs=(vif,))
        except BaseException:
            connecting.cut_off(self._hypervisor, seen.info, vif.mac)
            raise
        finally:
            if stopped is not None:
                stopped.go_on()

    def detach_nic(self, designation: str, name: str, *, force: bool = False) -> None:
        """Take an interface away, by its number or MAC address; as ``detach_disk``."""
        with self._plugging.domain(designation) as info:
            if info.uuid == DOM0_UUID:
                raise OperationError(f"Device {name} not connected")
            seen = self._plugging.look(info, designation)
            found = _nic(seen, name)
            same = found.nic.mac.lower()
            form, _ = without(seen, lambda device: forms.text(device, "mac").lower() == same, NICS)
            alias = found.alias if seen.live else ""
            device = Device(found.number, "vif", alias, nic_xml(found.nic))
            back_ends = connecting.leaving(self._hypervisor, seen.info, only=same) if seen.live else ()
            self._plugging.take_away(seen, device, form, vifs=_next_number(seen))
        if seen.live and not force:
            self._plugging.wait(seen, device, os.environ)
        connecting.gone(back_ends, seen.info)

    def _facts(self) -> HostFacts:
        """What is to be known of the host for an interface."""
        local = is_local(self._hypervisor.uri)
        facts = HostFacts(
            accelerator=Accelerator.KVM,
            bridges=tuple(self._hypervisor.bridges()),
            bridge_aliases=read_settings(os.environ).bridge_aliases,
            openvswitch=tuple(switches_here()) if local else (),
            local=local,
        )
        return with_host_settings(facts, os.environ)


def _next_number(seen: Seen) -> int:
    """The number of the next interface: none is given twice while the domain runs."""
    highest = max((one.number for one in seen.nics), default=-1)
    kept = seen.record.vifs if seen.record is not None else None
    return max(highest + 1, kept[1] if kept is not None and kept[0] == seen.info.domid else 0)


def _nic(seen: Seen, name: str) -> PluggedNic:
    """The interface of that number or MAC address. Raises OperationError."""
    if _MAC.fullmatch(name):
        found = [one for one in seen.nics if one.nic.mac.lower() == name.lower()]
        if not found:
            raise OperationError(f"Cannot find device '{name}' in domain '{seen.designation}'")
        return found[0]
    classed = CLASSED.fullmatch(name)
    digits = classed[1] if classed else name.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10):
        raise OperationError(f"unknown devid {name}")
    for one in seen.nics:
        if one.number == int(digits):
            return one
    raise OperationError(f"Device {digits} not connected" if seen.live else f"Device {name} is not defined")
