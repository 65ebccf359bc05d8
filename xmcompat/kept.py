"""Guests that stay in the list after their end (preserve), until ``xm destroy``: which they are, and how they start."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from xmcompat.backends.kept_mark import Mark, Phase
from xmcompat.errors import DiskRefused, DomainNotFound
from xmcompat.translate.events import is_kept

if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import DomainInfo, Hypervisor
    from xmcompat.backends.machine import Machine
    from xmcompat.guest import GuestConfig

_DESTROYS = ("destroy", "coredump-destroy")


def start(hypervisor: Hypervisor, xml: str, machine: Machine, guest: GuestConfig, *, paused: bool) -> DomainInfo:
    """Start the guest of XML, which libvirt forgets at its end, or lists until ``xm destroy``.

    What is left of an ended domain of that name or uuid is forgotten first. Raises what ``Hypervisor.create`` raises.
    """
    try:
        return _started(hypervisor, xml, machine, guest, paused=paused)
    except DiskRefused as error:
        from xmcompat.disk_files import who_denies

        raise who_denies(hypervisor, error) from None


def _started(hypervisor: Hypervisor, xml: str, machine: Machine, guest: GuestConfig, *, paused: bool) -> DomainInfo:
    hypervisor.sweep(guest.name, *filter(None, (machine.uuid,)))
    if not is_kept(guest):
        return hypervisor.create(xml, paused=paused)
    crash_ends = machine.on_crash in _DESTROYS
    if not _is_managed(hypervisor, machine.uuid):
        return hypervisor.create_kept(xml, Mark(Phase.MAKING, crash_ends=crash_ends), paused=paused)
    info = hypervisor.create(xml, paused=True)
    mark_started(hypervisor, info, guest, crash_ends=crash_ends)
    if not paused:
        hypervisor.unpause(info.uuid)
    return info


def _is_managed(hypervisor: Hypervisor, uuid: str | None) -> bool:
    """Whether a domain of this uuid, which is off, is known and stays so."""
    try:
        return uuid is not None and hypervisor.find(uuid).uuid == uuid
    except DomainNotFound:
        return False


def mark_started(hypervisor: Hypervisor, info: DomainInfo, guest: GuestConfig, *, crash_ends: bool) -> None:
    """Mark a managed domain that has just been started, where it is to stay as an ended one; best while it is paused.

    ``Hypervisor.destroy`` takes the mark away and leaves the domain known.
    """
    if is_kept(guest):
        mark = Mark(Phase.RUNNING, info.domid, managed=True, crash_ends=crash_ends, since=time.time())
        hypervisor.set_mark(info.uuid, mark)
