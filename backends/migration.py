"""The values in which the Hypervisor protocol speaks of a domain that goes to another host (see ``migrates``)."""

from __future__ import annotations

from typing import NamedTuple


class Transfer(NamedTuple):
    """How a domain goes to another host.

    ``uri`` is the other libvirtd as this host's libvirtd reaches it ("qemu+tls://host2/system"); the two look after the
    transfer between them, whatever becomes of the caller. ``migrate_uri`` is where the memory goes ("tcp://198.51.100.12",
    "tcp://host2:49152", "unix:///run/a.sock"), "" for the other's choice; ``listen`` is the address that the other's QEMU
    waits at, "" for all. ``disks_uri`` is the same for copied disks, "" for ``migrate_uri``'s host.

    Not ``live``: the guest is paused first. ``bandwidth`` is in MiB/s, of memory and of copied disks each, None for no
    limit; ``set_bandwidth``, on the way, is for memory alone. ``tls``: memory and disks are encrypted by QEMU, which
    believes a certificate of the host that ``uri`` names. ``postcopy`` and ``auto_converge`` allow for them; ``parallel``
    is the number of connections, 0 for one as usual. ``copy`` has the targets ("vda") of disks that are copied. ``xml``
    takes the place of the domain's own there, ``known_xml`` that of its definition; "" for what ``migratable_xml`` says.
    ``persist``: it is known there, and no longer here, once it has gone; ``keep``: but here, too. ``paused``: it is not let
    go there. ``unsafe``: libvirt takes the caller's word that disks and their caches are fit.
    """

    uri: str
    migrate_uri: str = ""
    live: bool = True
    bandwidth: int | None = None
    tls: bool = False
    postcopy: bool = False
    auto_converge: bool = False
    parallel: int = 0
    copy: tuple[str, ...] = ()
    disks_uri: str = ""
    persist: bool = False
    keep: bool = False
    paused: bool = False
    unsafe: bool = False
    xml: str = ""
    known_xml: str = ""
    listen: str = ""


class MigrationPhase:
    """Words for where a transfer is."""

    SETUP = "setup"            # the other host makes ready
    DISKS = "disks"            # disks are copied
    MEMORY = "memory"          # memory is copied, and copied again as the guest changes it
    SWITCH = "switch"          # the guest is paused here, and the rest goes over
    POSTCOPY = "postcopy"      # the guest runs there, and fetches from here what it lacks
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Progress(NamedTuple):
    """A transfer at one moment, memory and copied disks together. Sizes in bytes, rates in bytes/s, 0 for the unknown.

    ``phase`` is a word of MigrationPhase. ``elapsed`` and ``setup`` are in seconds; ``downtime`` in ms is the one that is
    expected, and the one that was measured once the phase is COMPLETED; -1 where it is not known. ``iteration`` counts the
    passes over memory from 1; ``dirty_rate`` is what the guest changes of it. ``throttle`` is the part of its time, in
    percent, that auto-converge takes from the guest.
    """

    phase: str
    elapsed: float = 0.0
    setup: float = 0.0
    total: int = 0
    processed: int = 0
    remaining: int = 0
    disk_total: int = 0
    disk_remaining: int = 0
    memory_rate: int = 0
    disk_rate: int = 0
    dirty_rate: int = 0
    iteration: int = 0
    downtime: int = -1
    throttle: int = 0


class MigrationState:
    """Words for what a transfer has made, or makes, of a domain here."""

    NONE = "none"
    OUTGOING = "outgoing"                 # to another host; the guest is here, paused while the last of it goes over
    CUT_OFF = "cut-off"                   # paused for the last of it, of which a libvirtd that was killed knows no more
    INCOMING = "incoming"                 # from another host; the guest is there
    POSTCOPY_OUT = "postcopy-out"         # paused for good: the guest runs there, and needs the memory that is still here
    POSTCOPY_IN = "postcopy-in"           # the guest runs here, and needs the memory that is still there
    STALLED_OUT = "stalled-out"           # the same two, when the two hosts have lost each other
    STALLED_IN = "stalled-in"
    LEFT = "left"                         # off, since it has gone to another host
    ARRIVED = "arrived"                   # runs, since it has come from another host


class MigrationHost(NamedTuple):
    """What decides whether a host can take a domain from another one.

    ``uuid`` is the host's, by which libvirtds know each other. Versions are "9.0.0"; ``emulator`` is that of QEMU.
    ``machines`` are the machine types ("pc-i440fx-7.2") by their full names and their short ones.
    """

    uuid: str
    name: str
    libvirt: str
    emulator: str
    machines: tuple[str, ...]
