"""``xm create``: from a configuration that has been read to a running domain, in steps that know their way back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from xmcompat import connecting, disk_needs, guest_kernels, mac_twins, vif_traces
from xmcompat.backends import domain_xml
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.gather import gather
from xmcompat.backends.hypervisor import DomainInfo, DomainState, Hypervisor
from xmcompat.backends.machine import Accelerator, Machine, XenRecord
from xmcompat.config import sxp
from xmcompat.config.load import Loaded
from xmcompat.config.sxp_form import record_form
from xmcompat.disk_files import looked_at
from xmcompat.errors import ConnectionLost, DomainEnding, DomainNotFound, XmError
from xmcompat.guest import GuestConfig, UsbDevice
from xmcompat.host_settings import with_host_settings
from xmcompat.kept import start
from xmcompat.losses import when_back
from xmcompat.network import mac
from xmcompat.network.hostname import HostnameLookup
from xmcompat.notes import joined
from xmcompat.pool_rules import POOL0
from xmcompat.pools import Pools
from xmcompat.preflight import (
    give_up_saved,
    overcommitted,
    refuse_foreign_kernel,
    refuse_missing_ramdisk,
    refuse_overlong,
    refuse_taken,
    refuse_too_large,
    refuse_unstartable,
)
from xmcompat.toolstack import Created
from xmcompat.translate.machine import Translation, translate
from xmcompat.translate.scripts import with_gateway
from xmcompat.translate.usb import plugged_in


def create(
    hypervisor: Hypervisor, loaded: Loaded, *, paused: bool, attend: Callable[[Created], None] | None = None,
    again: Callable[[], Hypervisor] | None = None, discard_saved: bool = False,
) -> Created:  # fmt: skip
    """Start the guest: translate, check, assemble, one libvirt call. Nothing is changed before that call.

    One whose memory is saved is refused, unless with DISCARD_SAVED: then that memory goes once it has started.
    AGAIN makes another connection where this one is lost, over which a domain that was not let go is ended.
    With ATTEND the domain is made paused, ATTEND is called with it, and then it is let go (unless PAUSED).
    Raises DomainExists, NotConvertible, DeviceError, HypervisorError, and DomainNotFound for a domain that has ended
    before it could be let go; KeyboardInterrupt, and whatever else ends ATTEND, leaves nothing behind.
    """
    guest = loaded.guest
    refuse_overlong(guest.name)
    refuse_taken(hypervisor, guest, discard_saved=discard_saved)
    facts = facts_for(hypervisor, guest)
    lookup = HostnameLookup() if facts.local else None
    refuse_too_large(guest, facts.memory)
    if facts.local:
        refuse_boot_files(guest)
    guest = identified(_plugged_in(guest) if facts.local else guest)
    translation = translate(guest, facts, record=record_of(guest))
    told = warnings(hypervisor, guest, facts)
    machine, uuid = translation.machine, disk_needs.owner(translation.machine.uuid)
    with disk_needs.given_back(hypervisor, uuid):
        if facts.local:
            disks, told_of_disks = looked_at(disk_needs.ready(hypervisor, machine.disks, guest, uuid))
            machine = replace(machine, disks=disks, record=disk_needs.noted(machine.record, uuid))
            told = (*told, *told_of_disks)
            translation, machine = _with_own_kernel(guest, facts, translation, machine)
            refuse_unstartable(guest, machine)
            told = (*told, *mac_twins.told(hypervisor, machine.nics))
        prepared = facts.ports and connecting.prepared(guest.vifs, machine.nics)
        waits = attend is not None or discard_saved or prepared
        xml = domain_xml.render(machine)
        try:
            info = start(hypervisor, xml, machine, guest, paused=paused or waits)
            disk_needs.settle(info.uuid)
            Pools(hypervisor).settle(info, facts.pool_cpus)
            if facts.ports and guest.vifs:
                connecting.connect(hypervisor, info, guest.vifs)
            complaint = lookup.complaint() if lookup else None
            created = Created(info, joined(loaded.notes, translation.notes), (*told, *filter(None, (complaint,))))
            if attend is not None:
                attend(created)
            if discard_saved:
                give_up_saved(hypervisor, info)
            if waits and not paused:
                _let_go(hypervisor, info)
        except ConnectionLost as error:
            if again is not None:
                when_back(guest.name, error, again, lambda now: _remove(now, machine, paused=True))
            raise
        except BaseException:  # Ctrl-C is noticed when the call is over
            with suppress(XmError):  # it never was, or has ended by itself
                _remove(hypervisor, machine)
            raise
    return created


def facts_for(hypervisor: Hypervisor, guest: GuestConfig) -> HostFacts:
    """What translation needs to know of the host for GUEST. Raises XmError."""
    facts = with_host_settings(gather(hypervisor, environ=os.environ, bridges=bool(guest.vifs)), os.environ)
    pool_cpus = Pools(hypervisor).cpus_for(str(guest.options.get("pool") or POOL0)) if facts.local else None
    return replace(facts, pool_cpus=pool_cpus, knows_pools=facts.local)


def _with_own_kernel(
    guest: GuestConfig, facts: HostFacts, translation: Translation, machine: Machine
) -> tuple[Translation, Machine]:
    """With the kernel that is taken out of the guest's disk, where it starts so. Raises ConfigError."""
    taken = guest_kernels.take(guest, machine, facts.boot_folder) if facts.boot_folder else None
    if taken is None:
        return translation, machine
    again = translate(guest, facts, record=machine.record, taken=taken)
    disks = tuple(replace(disk, boot_order=None) for disk in machine.disks)
    return again, replace(again.machine, disks=disks)


def _plugged_in(guest: GuestConfig) -> GuestConfig:
    """GUEST with what is plugged in now at the places of this host that its USB ports name."""
    if not any(device.bus_id for device in guest.usb_devices):
        return guest
    from xmcompat.backends import host_devices

    ports = [port for port in host_devices.usb_ports(host_devices.SYSFS) if not port.hub]
    kinds = {
        port.path: UsbDevice(vendor=port.vendor, product=port.product)
        if host_devices.is_one_of_its_kind(port, ports) else UsbDevice(bus=port.bus, address=port.address)
        for port in ports
    }  # fmt: skip
    return plugged_in(guest, kinds)


def refuse_boot_files(guest: GuestConfig) -> None:
    """Raise where the kernel or the RAM disk of GUEST are not there, or cannot boot on KVM."""
    refuse_missing_ramdisk(guest)
    refuse_foreign_kernel(guest)


def identified(guest: GuestConfig) -> GuestConfig:
    """The guest with a uuid and MAC addresses where its configuration gives none.

    xend draws new ones at each create; they travel in the domain's record, so that ``list -l`` shows them.
    """
    return replace(
        guest,
        uuid=guest.uuid or _new_uuid(),
        vifs=tuple(vif if vif.mac else replace(vif, mac=mac.generate()) for vif in guest.vifs),
    )


def _new_uuid() -> str:
    from uuid import uuid4

    return str(uuid4())


def planned(guest: GuestConfig, facts: HostFacts) -> Translation:
    """What ``create`` would start on a host of these facts; nothing is asked or changed."""
    guest = identified(guest)
    return translate(guest, facts, record=record_of(guest))


def record_of(guest: GuestConfig) -> XenRecord:
    """What travels with a domain that is started now."""
    source = guest.source if guest.source.startswith("/") or not guest.source else os.path.abspath(guest.source)
    guest = replace(guest, vifs=tuple(map(with_gateway, guest.vifs)))
    return XenRecord(
        sxp=sxp.write(record_form(guest)), source=source, dialect=guest.dialect.value, started=time.time()
    )


def _let_go(hypervisor: Hypervisor, info: DomainInfo) -> None:
    """Let the new domain run. Raises DomainNotFound where it has ended meanwhile."""
    try:
        hypervisor.unpause(info.uuid)
    except (DomainNotFound, DomainEnding):
        raise DomainNotFound(info.name) from None


def _remove(hypervisor: Hypervisor, machine: Machine, *, paused: bool = False) -> None:
    """Destroy the domain that this very call has made, if it has, and with PAUSED only if it has not run; never one that
    another create has made. Raises XmError."""
    uuid = machine.uuid or ""
    try:
        found = hypervisor.metadata(uuid)
        info = hypervisor.find(uuid)
    except DomainNotFound:
        return
    mine = found is not None and domain_xml.read_record(found) == machine.record
    if mine and (info.state == DomainState.PAUSED or not paused):
        vif_traces.end(hypervisor, info, hypervisor.destroy)


def warnings(hypervisor: Hypervisor, guest: GuestConfig, facts: HostFacts) -> tuple[str, ...]:
    """What the operator should know of the host before the guest runs."""
    slow = None
    if facts.accelerator is Accelerator.TCG and facts.accelerator_reason:
        slow = f"'{guest.name}' runs emulated, without KVM: {facts.accelerator_reason}"
    elif facts.kvm_untried:
        slow = f"'{guest.name}' runs with KVM untried: {facts.accelerator_reason}"
    return tuple(filter(None, (slow, overcommitted(guest, facts.memory, hypervisor.domains()))))
