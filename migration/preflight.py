"""May the domain go to that host? All that speaks against it at once, before a page of memory moves. Pure.

A finding that stops is one after which the guest could not arrive, would lose its disks or its network, or be killed: the
memory that a host lacks is missed by libvirt only when the guest is there already. What QEMU and libvirt refuse by
themselves, and leave the guest running here, is told as a thing to know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from xmcompat.migration.facts import INITIATOR, FileKind, Finding, HostFacts, Life, Wanted
from xmcompat.migration.same_disk import disk_findings

#: KiB that QEMU takes for itself, and of each so many KiB of the guest's memory one for its page tables and the like.
QEMU_MEMORY = 64 * 1024
_PART = 128
#: Seconds by which the hosts' clocks may differ: a question and its answer take some.
_CLOCKS = 5.0

_EVERYWHERE = ("", "0.0.0.0", "::", "127.0.0.1", "::1", "localhost")


class _Case(NamedTuple):
    wanted: Wanted
    here: HostFacts
    there: HostFacts
    host: str
    private: bool


def findings(
    wanted: Wanted, here: HostFacts, there: HostFacts, *, host: str = "", private: bool = False
) -> tuple[Finding, ...]:
    """What speaks against moving WANTED from HERE to THERE, first what stops it. HOST: what the operator calls it. PRIVATE:
    nobody else can read what the two tell each other."""
    case = _Case(wanted, here, there, host or there.hostname, private)
    checks = (
        _domain, _hosts, _names, _machine, _processor, _memory, _taken, _files, _disks, _secrets, _vifs, _screens, _around
    )  # fmt: skip
    found = dict.fromkeys(one for check in checks for one in check(case))
    return tuple(sorted(found, key=lambda one: not one.stops))


def stopping(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those for which it is refused."""
    return tuple(one for one in found if one.stops)


def memory_needed(memory: int) -> int:
    """KiB of a host that a guest of MEMORY KiB takes."""
    return memory + memory // _PART + QEMU_MEMORY


def _stop(what: str, do: str = "") -> Finding:
    return Finding(stops=True, what=what, do=do)


def _note(what: str, do: str = "") -> Finding:
    return Finding(stops=False, what=what, do=do)


def _domain(case: _Case) -> Iterator[Finding]:
    """What is in the domain itself. The sentences on devices are xend's, Xen 4.1."""
    wanted = case.wanted
    if wanted.nomigrate:
        yield _stop("cannot restore non-migratable domain", "its configuration says nomigrate = 1")
    words = {
        "pci": "Migration not permitted with assigned PCI device.",
        "usb": "Migration not permitted with assigned USB device.",
        "scsi": "Device of type 'vscsi' refuses migration.",
    }
    for passed in wanted.passed:
        yield _stop(
            words.get(passed.kind, f"Device of type '{passed.kind}' refuses migration."), f"detach {passed.name or 'it'}"
        )
    if wanted.snapshots:
        count = f"{wanted.snapshots} snapshot{'s' if wanted.snapshots > 1 else ''}"
        yield _stop(
            f"libvirt moves no domain that has snapshots, and this one has {count}",
            "remove them by 'virsh snapshot-delete'",
        )


def _hosts(case: _Case) -> Iterator[Finding]:
    here, there, host = case.here, case.there, case.host
    if here.uuid and here.uuid == there.uuid:
        if here.hostname == there.hostname:
            yield _stop(f"{host} is this host", "name another one")
        else:
            yield _stop(
                f"the libvirtd of {host} has the same host uuid as this one, {here.uuid}, and would be taken for it",
                "write another host_uuid into libvirtd.conf there, and restart it",
            )
    if case.wanted.arch != there.arch:
        yield _stop(f"the guest's processor is {case.wanted.arch}, and that of {host} is {there.arch}")
    if there.accelerators and case.wanted.accelerator not in there.accelerators:
        word = {"kvm": "KVM", "qemu": "emulation"}.get(case.wanted.accelerator, case.wanted.accelerator)
        yield _stop(f"the guest runs on {word}, which {host} does not offer", f"see 'xmcompat report' on {host}")
    for name, mine, theirs in (("QEMU", here.emulator, there.emulator), ("libvirt", here.libvirt, there.libvirt)):
        if _version(theirs) and _version(mine) > _version(theirs):
            yield _note(
                f"{name} is {theirs} on {host}, older than {mine} here: it may refuse what it does not know",
                "the guest runs on here then",
            )
    if case.wanted.accelerator == "qemu" and case.wanted.live and () < _version(here.emulator) < COUNTS_ALL:
        yield _note(
            f"the guest is emulated, and QEMU {here.emulator} may lose some of what it writes while its memory is copied",
            "without --live nothing is lost",
        )


#: QEMU's version from which on its emulation notes all that a guest writes once dirty memory was counted. KVM always does.
#: Source: "physmem: Fix migration dirty bitmap coherency with TCG memory access", March 2024; seen with 7.2.
COUNTS_ALL = (9, 0)


def _version(text: str) -> tuple[int, ...]:
    """Its first two numbers: what comes after them does not change what is sent."""
    found = re.match(r"(\d{1,6})\.(\d{1,6})", text)
    return (int(found[1]), int(found[2])) if found else ()


def _names(case: _Case) -> Iterator[Finding]:
    """Each host must find the other by its name; libvirt and certificates go by it."""
    for asked, name_of, by, to in (
        (case.here.names, case.there, "this host", case.host),
        (case.there.names, case.here, case.host, "this host"),
    ):
        for name in asked:
            if not name.addresses:
                yield _note(
                    f"{by} does not know the name '{name.name}'", f"write it into /etc/hosts of {by}, or into the DNS"
                )
            elif name_of.addresses and not set(name.addresses) & set(name_of.addresses):
                yield _note(
                    f"{by} takes '{name.name}' for {', '.join(name.addresses)}, which is no address of {to}",
                    "mend /etc/hosts or DNS",
                )


def _machine(case: _Case) -> Iterator[Finding]:
    wanted, there = case.wanted, case.there
    if wanted.machine_type and there.machine_types and wanted.machine_type not in there.machine_types:
        yield _stop(
            f"the guest's machine type is {wanted.machine_type}, which QEMU on {case.host} does not know",
            f"install a newer QEMU on {case.host}, or start the guest anew with a machine type that both know",
        )


def _processor(case: _Case) -> Iterator[Finding]:
    if case.there.cpu_refusal:
        yield _stop(
            f"the guest's processor cannot be had on {case.host}: {case.there.cpu_refusal}",
            "start the guest anew with a cpu that both hosts have",
        )
    elif re.search(r"""mode=["']host-passthrough["']""", case.wanted.cpu):
        yield _note("the guest sees the processor of this host as it is", f"that of {case.host} must be the very same")
    if case.there.cpus and case.wanted.vcpus > case.there.cpus:
        yield _note(f"the guest has {case.wanted.vcpus} vcpus, and {case.host} only {case.there.cpus} CPUs")


def _memory(case: _Case) -> Iterator[Finding]:
    wanted, host = case.wanted, case.host
    if wanted.huge_pages:
        free = case.there.free_huge_pages
        if free is not None and free < wanted.memory:
            yield _stop(f"Not enough free huge pages on {host}: I need {wanted.memory} KiB but only have {free}.")
        return
    free, needed, most = case.there.free_memory, memory_needed(wanted.memory), memory_needed(wanted.max_memory)
    if free is None:
        yield _note(
            f"{host} does not say how much memory it has left", f"make sure of {needed} KiB: without, the guest is lost"
        )
    elif free < needed:
        yield _stop(
            f"Not enough free memory on {host}: I need {needed} KiB but only have {free}.", "end or shrink guests there"
        )
    elif free < most:
        yield _note(
            f"the guest may grow to {wanted.max_memory} KiB, for which {host} has not enough memory left: {free} KiB"
        )


def _taken(case: _Case) -> Iterator[Finding]:
    """Name and uuid must be free there. One that was there before, and is off, is the same domain."""
    wanted, host = case.wanted, case.host
    for taken in case.there.taken:
        if taken.uuid == wanted.uuid and taken.life not in (Life.OFF, Life.GONE):
            yield _stop(
                f"the domain is on {host} already, {taken.life}",
                "find out which of the two is the right one, and end the other",
            )
        elif taken.uuid == wanted.uuid and taken.name != wanted.name:
            yield _stop(f"{host} knows the domain's uuid by the name '{taken.name}'", f"run 'xm delete {taken.name}' there")
        elif taken.uuid == wanted.uuid and taken.life == Life.OFF and wanted.persist:
            yield _note(f"the definition of '{wanted.name}' that {host} has is replaced")
        elif taken.name == wanted.name and taken.uuid != wanted.uuid:
            yield _stop(f"VM name '{wanted.name}' already exists on {host}", "rename one of the two")


def _files(case: _Case) -> Iterator[Finding]:
    for path in case.there.missing_files:
        yield _stop(f"{path}, which the guest is started with, is not on {case.host}", "copy it there")


def _disks(case: _Case) -> Iterator[Finding]:
    yield from disk_findings(case.wanted, case.there.disks, case.host)
    shared = [disk for disk in case.wanted.disks if disk.kind == FileKind.BLOCK and not (disk.copy or disk.readonly)]
    mine, theirs = case.here.lock_manager, case.there.lock_manager
    if mine != theirs:
        yield _note(
            f"the lock manager is '{mine or 'none'}' here and '{theirs or 'none'}' on {case.host}",
            "set the same one in qemu.conf",
        )
    elif shared and not mine:
        paths = ", ".join(disk.path for disk in shared)
        yield _note(
            f"no lock manager keeps two hosts from writing to {paths} at once",
            "set lock_manager in qemu.conf of both hosts",
        )


def _secrets(case: _Case) -> Iterator[Finding]:
    """What opens the guest's disks must be there, or go along where nobody else can read it."""
    for secret in case.wanted.secrets:
        missing = f"disk {secret.vdev}: {case.host} does not have the password of '{secret.user}'"
        if secret.name in case.there.secrets or (secret.told and case.private):
            continue
        if secret.kind == INITIATOR:
            yield _stop(
                f"disk {secret.vdev}: the initiator of {case.host} has no record of {secret.name}, which logs in here",
                f"copy {secret.file} there",
            )
        elif secret.told:
            yield _stop(
                f"{missing}, and it would go there in clear",
                f"type: xmcompat migrate setup {case.host}" + (f"; or copy {secret.file} there" if secret.file else ""),
            )
        else:
            yield _stop(
                f"{missing}, and this host cannot tell it",
                f"write it into {secret.file} there" if secret.file else
                f"have libvirt keep it there, for {secret.kind} '{secret.name}': see 'virsh secret-define'",
            )  # fmt: skip


def _vifs(case: _Case) -> Iterator[Finding]:
    for vif in case.wanted.vifs:
        if vif.bridge and vif.bridge not in case.there.bridges:
            yield _stop(
                f"interface {vif.mac} is on the bridge '{vif.bridge}', which {case.host} has not", "make that bridge there"
            )
        if vif.network and vif.network not in case.there.networks:
            yield _stop(
                f"interface {vif.mac} is on libvirt's network '{vif.network}', which is not up on {case.host}",
                f"run 'virsh net-start {vif.network}' there",
            )


def _screens(case: _Case) -> Iterator[Finding]:
    for screen in case.wanted.screens:
        word = screen.kind.upper()
        if screen.port and screen.port in case.there.busy_ports:
            yield _stop(f"port {screen.port} of the guest's {word} display is in use on {case.host}", "free it there")
        if screen.listen not in _EVERYWHERE and case.there.addresses and screen.listen not in case.there.addresses:
            yield _stop(
                f"the guest's {word} display listens on {screen.listen}, which is no address of {case.host}",
                "let it listen on 127.0.0.1 or 0.0.0.0",
            )


def _around(case: _Case) -> Iterator[Finding]:
    here, there, host = case.here, case.there, case.host
    if there.free_ports == 0:
        yield _stop(
            f"all ports for migrations are in use on {host}", "wait for others to end, or widen the range in qemu.conf"
        )
    if here.security != there.security:
        yield _note(
            f"guests are confined by '{here.security or 'nothing'}' here and by '{there.security or 'nothing'}' on {host}",
            "libvirt may refuse the guest for it",
        )
    if here.clock and there.clock and abs(here.clock - there.clock) > _CLOCKS:
        yield _note(
            f"the clocks of the two hosts differ by {abs(here.clock - there.clock):.0f} s", "have both follow a time server"
        )
    yield from here.told
    yield from there.told
