"""A Hypervisor in memory: the protocol's rules without a daemon, for tests of what stands above it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.fakes_hotplug import FakeHotplug
from tests.fakes_lifecycle import FakeLifecycle
from tests.fakes_migration import FakeMigration
from tests.fakes_persistence import FakePersistence
from tests.fakes_saving import FakeSaving
from tests.fakes_volumes import FakeVolumes
from xmcompat.backends import domain_xml
from xmcompat.backends.counters import DomainCounters
from xmcompat.backends.hypervisor import Console, DiskUse, DomainInfo, DomainState, HostInfo, NodeInfo, Scheduling, VcpuInfo
from xmcompat.backends.libvirt_queries import each_of
from xmcompat.errors import DomainExists, DomainNotFound, XmError


def domain(name: str, domid: int | None = 1, **changes: object) -> DomainInfo:
    """A running domain of 256 MiB, or a halted one where DOMID is None."""
    info = DomainInfo(
        domid=domid,
        name=name,
        uuid=f"00000000-0000-4000-8000-{zlib.crc32(name.encode()):012d}",
        state=DomainState.RUNNING if domid is not None else DomainState.SHUTOFF,
        memory=262144,
        max_memory=262144,
        vcpus=1,
        cpu_time=0,
        persistent=domid is None,
    )
    return info._replace(**changes)  # type: ignore[arg-type]


class FakeConsole:
    def __init__(self) -> None:
        self.sent = b""
        self.closed = False

    def send(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = True


NODE = NodeInfo(
    hostname="node7", release="6.1.0-50-amd64", version="#1 SMP Debian 6.1.176-1 (2026-09-01)", machine="x86_64", cpus=4,
    nodes=1, cores_per_socket=2, threads_per_core=2, mhz=2593, hw_caps=(0xBFEBFBFF, 0x2C100800, 0, 0, 0x029EE3FF, 0, 1, 0),
    virtualises=True, directs_io=False, memory=8182 * 1024 + 1023, free=4096 * 1024 + 1,
    places=((0, 0, 0, 0), (1, 1, 0, 0), (2, 0, 0, 0), (3, 1, 0, 0)), command_line="root=/dev/sda1 ro quiet",
    build="Linux version 6.1.0-50-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld (GNU "
    "Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-09-01)",
)  # fmt: skip


@dataclass
class FakeActs:
    """What a guest can be made to do besides running, and what the host tells."""

    known: dict[str, DomainInfo] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    keys: list[Sequence[int]] = field(default_factory=list)
    dumps: list[tuple[str, bool]] = field(default_factory=list)
    on_dump: Callable[[str], None] | None = None
    marked: set[str] = field(default_factory=set)
    node_info: NodeInfo = NODE
    kernel_messages: str = ""
    cleared: bool = False
    log: str = ""

    def _call(self, call: str, uuid: str, **changes: object) -> None:
        if uuid not in self.known:
            raise DomainNotFound(uuid)
        self.calls.append((call, self.known[uuid].name))
        self.known[uuid] = self.known[uuid]._replace(**changes)  # type: ignore[arg-type]

    def mark_paused(self, uuid: str, paused: bool) -> None:
        if paused:
            self.marked.add(uuid)
        else:
            self.marked.discard(uuid)

    def marked_paused(self, uuid: str) -> bool:
        return uuid in self.marked

    def reset(self, uuid: str) -> None:
        self._call("reset", uuid)

    def rename(self, uuid: str, name: str) -> None:
        self._call("rename", uuid, name=name)

    def send_keys(self, uuid: str, codes: Sequence[int]) -> None:
        self._call("send_keys", uuid)
        self.keys.append(codes)

    def inject_nmi(self, uuid: str) -> None:
        self._call("inject_nmi", uuid)

    def wake(self, uuid: str) -> None:
        self._call("wake", uuid)

    def dump_core(self, uuid: str, path: str, *, live: bool = False) -> None:
        self._call("dump_core", uuid)
        if self.on_dump is not None:
            self.on_dump(path)
        self.dumps.append((path, live))

    def node(self) -> NodeInfo:
        return self.node_info

    def kernel_log(self, *, clear: bool = False) -> str:
        self.cleared = self.cleared or clear
        return self.kernel_messages

    def daemon_log(self) -> str:
        return self.log


@dataclass
class FakeTuning:
    """Memory, vcpus and shares of guests. A guest has given back what it was asked for at once."""

    known: dict[str, DomainInfo] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    tuned: list[tuple[object, ...]] = field(default_factory=list)
    vcpu_rows: dict[str, list[VcpuInfo]] = field(default_factory=dict)
    schedulings: dict[str, Scheduling | None] = field(default_factory=dict)
    cpus: int = 4
    refusal: XmError | None = None
    counted: list[list[DomainCounters]] = field(default_factory=list)

    def _tune(self, uuid: str, *what: object, **changes: object) -> None:
        if uuid not in self.known:
            raise DomainNotFound(uuid)
        if self.refusal is not None:
            raise self.refusal
        self.tuned.append((what[0], self.known[uuid].name, *what[1:]))
        self.known[uuid] = self.known[uuid]._replace(**changes)  # type: ignore[arg-type]

    def set_memory(self, uuid: str, memory: int) -> None:
        self._tune(uuid, "memory", memory, memory=memory)

    def set_max_memory(self, uuid: str, memory: int) -> None:
        self._tune(uuid, "max_memory", memory, max_memory=memory)

    def vcpus(self, uuid: str) -> list[VcpuInfo]:
        if uuid not in self.known:
            raise DomainNotFound(uuid)
        there = self.known[uuid].domid is not None
        everything = tuple(range(self.cpus))
        made = [
            VcpuInfo(number, there, number % self.cpus if there else None, DomainState.RUNNING, 0, everything)
            for number in range(self.known[uuid].vcpus)
        ]
        return self.vcpu_rows.get(uuid, made)

    def vcpus_of(self, infos: Sequence[DomainInfo]) -> dict[str, list[VcpuInfo]]:
        return each_of(infos, {}, self.vcpus)

    def scheduling_of(self, infos: Sequence[DomainInfo]) -> dict[str, Scheduling | None]:
        return each_of(infos, {}, self.scheduling)

    def set_vcpus(self, uuid: str, count: int) -> None:
        self._tune(uuid, "vcpus", count, vcpus=count)

    def pin_vcpu(self, uuid: str, vcpu: int, cpus: Sequence[int]) -> None:
        self._tune(uuid, "pin", vcpu, tuple(cpus))

    def pin_emulator(self, uuid: str, cpus: Sequence[int]) -> None:
        self._tune(uuid, "emulator", tuple(cpus))

    def counters(self) -> list[DomainCounters]:
        if self.refusal is not None:
            raise self.refusal
        made = [DomainCounters(info, None, (), None) for info in self.known.values() if info.domid is not None]
        return self.counted.pop(0) if self.counted else made

    def scheduling(self, uuid: str) -> Scheduling | None:
        if uuid not in self.known:
            raise DomainNotFound(uuid)
        return self.schedulings.get(uuid, Scheduling(1024, 0))

    def set_scheduling(self, uuid: str, *, shares: int | None = None, quota: int | None = None) -> None:
        self._tune(uuid, "scheduling", shares, quota)
        now = self.scheduling(uuid) or Scheduling(0, 0)
        self.schedulings[uuid] = Scheduling(
            now.shares if shares is None else shares, now.quota if quota is None else quota
        )

    def host_cpus(self) -> list[VcpuInfo]:
        everything = tuple(range(self.cpus))
        return [VcpuInfo(cpu, True, cpu, DomainState.RUNNING, 3_000_000_000, everything) for cpu in everything]


@dataclass
class FakeHypervisor(
    FakeActs, FakeTuning, FakeHotplug, FakeLifecycle, FakePersistence, FakeSaving, FakeVolumes, FakeMigration
):
    """Holds domains by uuid and keeps a list of what was asked of it."""

    uri: str = "fake:///"
    xml: dict[str, str] = field(default_factory=dict)
    uses: list[DiskUse] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    host_info: HostInfo = HostInfo("fake", 8 * 1024 * 1024, 4, 60_000_000_000)
    host_bridges: list[str] = field(default_factory=lambda: ["xenbr0"])
    records: dict[str, str] = field(default_factory=dict)
    consoles: dict[str, FakeConsole] = field(default_factory=dict)
    on_create: Callable[[], None] | None = None
    on_wait: Callable[[], None] | None = None
    reboot_watchers: list[Callable[[str], None]] = field(default_factory=list)
    closed: bool = False

    @classmethod
    def with_domains(cls, *infos: DomainInfo) -> FakeHypervisor:
        return cls(known={info.uuid: info for info in infos})

    def domains(self) -> list[DomainInfo]:
        return list(self.known.values())

    def find(self, designation: str) -> DomainInfo:
        for info in self.known.values():
            if info.name == designation:
                return info
        for info in self.known.values():
            if designation.isdecimal() and info.domid == int(designation):
                return info
        if designation in self.known:
            return self.known[designation]
        raise DomainNotFound(designation)

    def create(self, xml: str, *, paused: bool = False, bound: bool = False) -> DomainInfo:
        machine = domain_xml.parse(xml)
        assert machine.uuid is not None
        for info in self.known.values():
            if info.name == machine.name and info.domid is not None:
                raise DomainExists(machine.name, info.domid)
        state = DomainState.PAUSED if paused else DomainState.RUNNING
        info = domain(machine.name, len(self.known) + 1, uuid=machine.uuid, state=state)
        info = info._replace(memory=machine.current_memory, max_memory=machine.memory, vcpus=machine.vcpus)
        self.known[machine.uuid] = info
        self.xml[machine.uuid] = xml
        self.records[machine.uuid] = xml
        self.calls.append(("create", machine.name))
        if self.on_create is not None:
            self.on_create()
        return info

    def _set(self, call: str, uuid: str, **changes: object) -> None:
        if uuid not in self.known:
            raise DomainNotFound(uuid)
        self.calls.append((call, self.known[uuid].name))
        self.known[uuid] = self.known[uuid]._replace(**changes)  # type: ignore[arg-type]

    def pause(self, uuid: str) -> None:
        self._set("pause", uuid, state=DomainState.PAUSED)

    def unpause(self, uuid: str) -> None:
        self._set("unpause", uuid, state=DomainState.RUNNING)

    def shutdown(self, uuid: str) -> None:
        self._set("shutdown", uuid)

    def reboot(self, uuid: str) -> None:
        self._set("reboot", uuid)

    def destroy(self, uuid: str) -> None:
        if uuid not in self.known:
            raise DomainNotFound(uuid)
        self.calls.append(("destroy", self.known.pop(uuid).name))

    def domain_xml(self, uuid: str, *, secrets: bool = False) -> str:
        if uuid not in self.known:
            raise DomainNotFound(uuid)
        return self.xml.get(uuid, "<domain/>")

    def metadata(self, uuid: str) -> str | None:
        if uuid not in self.known:
            raise DomainNotFound(uuid)
        return self.records.get(uuid)

    def domains_with_metadata(
        self, meanwhile: Callable[[], None] = lambda: None
    ) -> tuple[list[DomainInfo], dict[str, str | None]]:
        meanwhile()
        infos = self.domains()
        return infos, self.metadata_of(infos)

    def metadata_of(self, infos: Sequence[DomainInfo]) -> dict[str, str | None]:
        return each_of(infos, {}, self.metadata)

    def start_time(self, uuid: str) -> float | None:
        return None

    def open_console(
        self,
        uuid: str,
        device: str,
        on_data: Callable[[bytes], None],
        on_end: Callable[[str | None], None],
        *,
        force: bool = False,
    ) -> Console:
        return self.consoles.setdefault(device, FakeConsole())

    def watch_reboots(self, on_reboot: Callable[[str], None]) -> None:
        self.reboot_watchers.append(on_reboot)

    def watch_input(self, fd: int, on_ready: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    def wait_event(self, seconds: float) -> None:
        if self.on_wait is not None:
            self.on_wait()

    def host(self) -> HostInfo:
        return self.host_info

    def bridges(self) -> list[str]:
        return self.host_bridges

    def paused_by_error(self, uuid: str) -> bool:
        return uuid in self.failing

    def disk_uses(self) -> Sequence[DiskUse]:
        return self.uses

    def supports_kvm(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True
