"""Can this host run the guest now? Asked before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xmcompat.errors import ConfigError, DomainExists, DomainNotFound, XmError
from xmcompat.guest import GuestConfig, KernelBoot

if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import DomainInfo, Hypervisor

#: What xend leaves to Domain-0 at least (dom0-min-mem, 196 MiB), in KiB.
DOM0_MIN_MEM = 200704

#: As much of a kernel file as tells what it is.
KERNEL_HEAD = 64 * 1024


def refuse_taken(hypervisor: Hypervisor, guest: GuestConfig) -> None:
    """Raise DomainExists where name or uuid belong to another domain.

    A halted, known domain of the same name *and* uuid is no obstacle: it runs with the new configuration.
    Source: xm-create's name rules, Xen 4.1.
    """
    for designation in filter(None, (guest.name, guest.uuid)):
        try:
            holder = hypervisor.find(designation)
        except DomainNotFound:
            continue
        if guest.name != holder.name and guest.uuid != holder.uuid:
            continue  # a name that reads as somebody's id
        if holder.domid is not None:
            raise DomainExists(guest.name, holder.domid)
        if (guest.name, guest.uuid) != (holder.name, holder.uuid):
            raise DomainExists(holder.name, None)


def refuse_too_large(guest: GuestConfig, host_memory: int) -> None:
    """Raise where the guest wants more memory than the host (HOST_MEMORY KiB, 0: unknown) has at all.

    Differs from xm: memory that other guests could give back counts as there; see overcommitted().
    """
    wanted = guest.memory * 1024
    left = host_memory - DOM0_MIN_MEM
    if host_memory and wanted > left:
        raise XmError(
            f"I need {wanted} KiB, but dom0_min_mem is {DOM0_MIN_MEM} and shrinking to "
            f"{DOM0_MIN_MEM} KiB would leave only {max(left, 0)} KiB free."
        )


def overcommitted(guest: GuestConfig, host_memory: int, running: Sequence[DomainInfo]) -> str | None:
    """One line where all running guests and this one together are promised more than the host has."""
    promised = guest.memory + sum(info.memory for info in running if info.domid is not None) // 1024
    if not host_memory or promised <= host_memory // 1024:
        return None
    return (
        f"the running guests and '{guest.name}' together may use {promised} MiB; "
        f"this host has {host_memory // 1024} MiB"
    )


def refuse_foreign_kernel(guest: GuestConfig) -> None:
    """Raise where the configured kernel cannot boot on KVM at all (a classic, PV-only Xen kernel)."""
    if not isinstance(guest.boot, KernelBoot):
        return
    from xmcompat.translate.kernel import kernel_verdict

    path = guest.boot.kernel
    try:
        with open(path, "rb") as file:
            head = file.read(KERNEL_HEAD)
    except FileNotFoundError:
        raise XmError(f"Kernel image does not exist: {path}") from None
    except OSError as error:
        raise XmError(f"Kernel image cannot be read: {path}: {error.strerror}") from None
    verdict = kernel_verdict(head, path)
    if not verdict.bootable:
        raise ConfigError(
            f"kernel '{path}' cannot boot on KVM: {verdict.reason}",
            path=guest.source or None,
            line=guest.lines.get("kernel"),
        )
