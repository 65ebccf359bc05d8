"""The Hypervisor protocol: what the toolstack asks of the place where guests run, in our words and types.

No libvirt type leaks through. This module is on the path of ``xm list`` and imports only what is cheap.
"""

from __future__ import annotations

from xmcompat.backends.migrates import Migrates
from xmcompat.backends.persistence import Persistence
from xmcompat.backends.volumes import Volumes
from xmcompat.light import NamedTuple, Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from xmcompat.backends.counters import DomainCounters
    from xmcompat.backends.image_feed import Along
    from xmcompat.backends.kept_mark import Mark


class DomainState:
    """Words for the state of a domain (plain text: cheap to import and to compare)."""

    RUNNING = "running"
    BLOCKED = "blocked"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"      # ending, still there
    CRASHED = "crashed"
    DYING = "dying"
    DEAD = "dead"              # has ended, and stays in the list
    SHUTOFF = "shutoff"        # known, not there
    SUSPENDED = "suspended"    # the same, with an image to go on from; told where it is asked for


class DomainInfo(NamedTuple):
    """One domain. ``domid`` is None for one that is known but not there. Memory in KiB, time in nanoseconds."""

    domid: int | None
    name: str
    uuid: str
    state: str
    memory: int
    max_memory: int
    vcpus: int
    cpu_time: int
    persistent: bool

    @property
    def started(self) -> bool:
        """Whether it is there. One that has ended may stay in the list, with the id that it had."""
        return self.domid is not None and self.state != DomainState.DEAD


class HostInfo(NamedTuple):
    """The machine. Memory in KiB; ``cpu_time`` is all the time its cpus were busy, in nanoseconds."""

    hostname: str
    memory: int
    cpus: int
    cpu_time: int


class NodeInfo(NamedTuple):
    """What ``xm info`` tells of the machine; 0, "" and () for what is not known. Memory in KiB.

    ``hw_caps`` are Xen's eight words of processor features, ``places`` (cpu, core, socket, node) of each processor,
    ``build`` what the kernel says of its own making.
    """

    hostname: str
    release: str
    version: str
    machine: str
    cpus: int
    nodes: int
    cores_per_socket: int
    threads_per_core: int
    mhz: int
    hw_caps: tuple[int, ...]
    virtualises: bool
    directs_io: bool
    memory: int
    free: int
    places: tuple[tuple[int, int, int, int], ...]
    command_line: str
    build: str


class VcpuInfo(NamedTuple):
    """One vcpu of a domain, or one CPU of the host. Time in nanoseconds.

    ``cpu`` is the host's CPU that it runs on, None where it is offline or nothing tells; ``state`` is RUNNING or
    BLOCKED of DomainState. ``affinity`` has the host's CPUs that it may use.
    """

    number: int
    online: bool
    cpu: int | None
    state: str
    cpu_time: int
    affinity: tuple[int, ...]


class Scheduling(NamedTuple):
    """``shares`` in the scale of the host's cgroups, 0 for their default. ``quota`` is the time of the whole domain
    in microseconds for each 100 ms, 0 for no limit."""

    shares: int
    quota: int


class DiskUse(NamedTuple):
    """A disk image or volume that a running domain holds. ``format`` in QEMU's words, "" where it is not said."""

    domain: str
    path: str
    readonly: bool
    shareable: bool
    format: str = ""


class GuestEvent(NamedTuple):
    """What happens to a guest: it is "off", has met a "crash", or starts anew ("reset"); libvirt tells besides when it has
    begun to run ("runs"), and when nothing is left of it ("gone").

    ``by_guest`` False: somebody outside has done it. ``to_reset``: it is off for it wanted to start anew.
    ``time`` is Unix time; ``domid`` is the id that the guest has then.
    """

    uuid: str
    kind: str
    by_guest: bool
    to_reset: bool
    time: float
    domid: int | None = None


class Console(Protocol):
    """An open console. Bytes both ways; ``close`` may be repeated."""

    def send(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class SaveJob(Protocol):
    """A save under way, which another thread waits for."""

    def ended(self, seconds: float) -> bool:
        """Wait up to SECONDS; whether it is over."""
        ...

    def result(self) -> None:
        """Once it is over: raises what went wrong."""
        ...

    def abort(self) -> None:
        """Let the guest run on, if it is not too late; returns when the save is over."""
        ...


class Hypervisor(Persistence, Volumes, Migrates, Protocol):
    """Where guests run. Every method raises HypervisorUnreachable or ConnectionLost when nothing answers,
    DomainNotFound for a domain that is gone, HypervisorError for a refusal."""

    uri: str

    def domains(self) -> list[DomainInfo]:
        """Every domain, running or known, in no order: the cheapest calls that fill the tuple.

        A domain that vanishes or breaks while being asked is left out or shown with what is known.
        """
        ...

    def find(self, designation: str) -> DomainInfo:
        """By name, else by id of one that is there, else by uuid. Raises DomainNotFound."""
        ...

    def create(self, xml: str, *, paused: bool = False, bound: bool = False) -> DomainInfo:
        """Start a transient domain in one call; one that is BOUND is destroyed when this connection ends.

        Raises DomainExists where name or uuid are taken.
        """
        ...

    def create_kept(self, xml: str, mark: Mark, *, paused: bool = False) -> DomainInfo:
        """The same for a domain that stays in the list after its end."""
        ...

    def sweep(self, *designations: str) -> None:
        """Forget what is left of ended domains of these names and uuids, if nobody wants it."""
        ...

    def pause(self, uuid: str) -> None: ...

    def unpause(self, uuid: str) -> None: ...

    def shutdown(self, uuid: str) -> None:
        """Ask the guest to power off (ACPI power button). Returns at once."""
        ...

    def reboot(self, uuid: str) -> None:
        """Ask the guest to reboot. Returns at once."""
        ...

    def destroy(self, uuid: str) -> None:
        """Stop it now. Silent for one that is known and already off."""
        ...

    def mark_paused(self, uuid: str, paused: bool) -> None:
        """Note that somebody has paused the domain, or no longer, for ``marked_paused`` to tell."""
        ...

    def marked_paused(self, uuid: str) -> bool: ...

    def reset(self, uuid: str) -> None:
        """Press the reset button. One that is paused stays so."""
        ...

    def rename(self, uuid: str, name: str) -> None:
        """Give a domain that is off another name."""
        ...

    def send_keys(self, uuid: str, codes: Sequence[int]) -> None:
        """Press keys at once on the guest's keyboard, by Linux's numbers, and let them go."""
        ...

    def inject_nmi(self, uuid: str) -> None: ...

    def wake(self, uuid: str) -> None:
        """Wake one that sleeps (S3). Silent for one that does not."""
        ...

    def dump_core(self, uuid: str, path: str, *, live: bool = False) -> None:
        """Write its memory as an ELF core to the file PATH of the hypervisor's host; paused meanwhile unless LIVE."""
        ...

    def begin_save(
        self, uuid: str, path: str, *, running: bool = False, disks: Mapping[str, str] | None = None,
        moment: Callable[[], None] = lambda: None,
    ) -> SaveJob:  # fmt: skip
        """Begin to save it to the file PATH, which is there, and to end it; with RUNNING it runs on. Where it does, DISKS
        (files that are not there yet, by target) become copies of its disks before its memory is written, and MOMENT is
        called after that: in a thread of the job, while the domain stands still."""
        ...

    def give_up_save(self, uuid: str) -> bool:
        """Have a save end whose process has ended; whether there is none (any more). To be repeated until there is none.
        Raises DomainNotFound, HypervisorError, HypervisorUnreachable."""
        ...

    def restore(
        self, uuid: str, path: str, spans: Sequence[tuple[int, int]], xml: str = "", along: Along | None = None
    ) -> DomainInfo:  # fmt: skip
        """Start it, paused, from its image in the file PATH, which is SPANS of it, (start, end) in bytes, one after the
        other, and which ALONG reads as well; as XML says in place of the image's own where it is told. Raises OSError."""
        ...

    def domain_xml(self, uuid: str, *, secrets: bool = False) -> str: ...

    def metadata(self, uuid: str) -> str | None:
        """The text of our element in the domain's metadata, None where it has none."""

    def metadata_of(self, infos: Sequence[DomainInfo]) -> dict[str, str | None]:
        """The same of many, by uuid. One that has gone is left out, here and from what ``vcpus_of`` tells."""

    def domains_with_metadata(self, meanwhile: Callable[[], None]) -> tuple[list[DomainInfo], dict[str, str | None]]:
        """``domains`` and ``metadata_of`` them. MEANWHILE may be called once, while answers are on their way."""

    def start_time(self, uuid: str) -> float | None:
        """Unix time at which the domain's process started, where this host can tell (for domains not made by us)."""
        ...

    def attach_device(self, uuid: str, xml: str) -> None:
        """Plug in the device of XML; a known domain keeps it. Raises DevicePresent and DeviceError as well."""

    def change_device(self, uuid: str, xml: str, *, force: bool = False) -> None:
        """Change the medium of a drive. FORCE: though the guest has locked it."""

    def unplug_device(self, uuid: str, alias: str) -> None:
        """Ask the guest to let go of a device. Returns at once; silent where it is gone or asked for already."""

    def forget_device(self, uuid: str, xml: str) -> None:
        """Take the device of XML out of the definition; silent where it is not in one."""

    def set_memory(self, uuid: str, memory: int) -> None:
        """Ask the guest to keep MEMORY KiB; returns at once. For a domain that is off, what it starts with."""
        ...

    def set_max_memory(self, uuid: str, memory: int) -> None:
        """The most memory that a known domain can have when it is started, in KiB."""
        ...

    def vcpus(self, uuid: str) -> list[VcpuInfo]:
        """Every vcpu that the domain can have, by number; those of a domain that is off are offline."""

    def vcpus_of(self, infos: Sequence[DomainInfo]) -> dict[str, list[VcpuInfo]]: ...

    def set_vcpus(self, uuid: str, count: int) -> None:
        """Have COUNT vcpus online; returns when the guest has let go of the others, or takes too long for it.

        For a domain that is off, how many it can have."""
        ...

    def pin_vcpu(self, uuid: str, vcpu: int, cpus: Sequence[int]) -> None:
        """Keep one vcpu to those of the CPUS that the host has."""
        ...

    def scheduling(self, uuid: str) -> Scheduling | None:
        """None where the host's cgroups do not tell."""

    def scheduling_of(self, infos: Sequence[DomainInfo]) -> dict[str, Scheduling | None]: ...

    def set_scheduling(self, uuid: str, *, shares: int | None = None, quota: int | None = None) -> None:
        """Set what is not None."""
        ...

    def host_cpus(self) -> list[VcpuInfo]:
        """The CPUs of the hypervisor's host by number, with the time in which they were busy, but not with guests."""
        ...

    def pin_emulator(self, uuid: str, cpus: Sequence[int]) -> None:
        """Keep what a domain runs besides its vcpus to those of the CPUS that the host has."""
        ...

    def counters(self) -> list[DomainCounters]:
        """Of every domain that is there. One that hangs holds up nothing."""
        ...

    def open_console(
        self, uuid: str, device: str, on_data: Callable[[bytes], None], on_end: Callable[[str | None], None], *,
        force: bool = False,
    ) -> Console:
        """Open console DEVICE ("serial0", "console1"); callbacks run inside ``wait_event``.

        Raises ConsoleBusy when somebody has it.
        """
        ...

    def watch_reboots(self, on_reboot: Callable[[str], None]) -> None:
        """Call ON_REBOOT(uuid) for each reboot seen from now on, inside ``wait_event``."""
        ...

    # -- for the keeper of xend (see ``kept_mark``)

    def watch_guests(self, on_event: Callable[[GuestEvent], None]) -> None:
        """Call ON_EVENT for what happens to any guest from now on, inside ``wait_event``."""
        ...

    def marked(self) -> list[tuple[str, str]]:
        """(uuid, name) of every domain with a mark, shown or not."""
        ...

    def marks(self, uuid: str) -> tuple[Mark | None, Mark | None]:
        """The marks of the domain that runs, and of its definition."""
        ...

    def set_mark(self, uuid: str, mark: Mark | None, *, live: bool = True, known: bool = True) -> None: ...

    def definition(self, uuid: str) -> str:
        """The XML, passwords included, with which the domain would be started again."""
        ...

    def define_again(self, xml: str) -> None:
        """Have the domain of XML, which may run, known by this definition."""
        ...

    def halt(self, uuid: str) -> None:
        """Stop it now and leave its definition and mark. Silent for one that is off."""
        ...

    def start_again(self, uuid: str, *, paused: bool = False) -> None:
        """Start it from its definition. Silent for one that is there."""
        ...

    def forget(self, uuid: str) -> None:
        """Take its definition away; if it runs, it goes on."""
        ...

    def watch_input(self, fd: int, on_ready: Callable[[], None]) -> Callable[[], None]:
        """Call ON_READY inside ``wait_event`` whenever FD can be read; returns how to stop that."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call CALLBACK once inside ``wait_event``, SECONDS from now or later."""
        ...

    def wait_event(self, seconds: float) -> None:
        """Run callbacks until one ran or SECONDS have passed."""
        ...

    def host(self) -> HostInfo: ...

    def node(self) -> NodeInfo:
        """More of the machine, for ``xm info``."""
        ...

    def kernel_log(self, *, clear: bool = False) -> str:
        """The messages of the kernel that runs the guests; CLEAR forgets them afterwards."""
        ...

    def daemon_log(self) -> str:
        """The log of what looks after the guests."""
        ...

    def bridges(self) -> list[str]:
        """Names of the bridges on the hypervisor's host, in the host's order; empty where it cannot tell."""
        ...

    def paused_by_error(self, uuid: str) -> bool:
        """Whether it is paused since one of its disks could not be read or written. Raises DomainNotFound."""
        ...

    def disk_uses(self) -> Sequence[DiskUse]:
        """The disks of all running domains."""
        ...

    def supports_kvm(self) -> bool:
        """Whether the hypervisor offers KVM at all (its capabilities; no guest is tried)."""
        ...

    def close(self) -> None: ...
