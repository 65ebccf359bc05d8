"""CPU pools through xm alone, and where the threads of QEMU may really run."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench, Writer
from tests.lab.fixtures import Outcome
from tests.lab.guests import tick_xml
from xmcompat.backends.local_host import host_cpus
from xmcompat.units import parse_cpus

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

CPUS = [cpu.number for cpu in host_cpus() if cpu.online]
FIRST, LAST = CPUS[0], CPUS[-1]
OTHERS = CPUS[:-1]
ALL = set(CPUS)

Xm = Callable[..., Outcome]


@pytest.fixture
def xm(bench: Bench) -> Iterator[Xm]:
    """xm with a state of pools of its own, which is gone afterwards."""
    assert len(CPUS) > 1, "CPU pools need a host with two CPUs"
    state = bench.directory / "state"
    settings = bench.config("xend-config.sxp", f"(xend-state-path {state})\n")
    yield lambda *words: bench.xm(*words, XEND_CONFIG=str(settings))
    for run in ("cpupools.sxp", "cpupools.lock"):
        (bench.node.directory / "run/xmcompat" / run).unlink(missing_ok=True)


def contents(file: Path) -> bytes:
    """What a file of a process or thread says; nothing where that has ended meanwhile."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return file.read_bytes()
    return b""


def threads(uuid: str) -> dict[str, set[int]]:
    """Where each thread of a guest's QEMU may run, by the kernel's own word: vcpus by "CPU 0", the others together."""
    (process,) = [
        entry for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and b"\0-uuid\0" + uuid.encode() in contents(entry / "cmdline")
    ]  # fmt: skip
    found: dict[str, set[int]] = {}
    for task in (process / "task").iterdir():
        status = contents(task / "status").decode()
        if not status:
            continue
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        name = lines["Name"].strip().partition("/")[0]
        cpus = set(parse_cpus(lines["Cpus_allowed_list"].strip()))
        key = name if name.startswith("CPU ") else "emulator"
        found[key] = found.get(key, set()) | cpus
    return found


def uuid_of(bench: Bench, name: str) -> str:
    return bench.hypervisor.find(name).uuid


def test_the_threads_of_a_guest_are_kept_to_the_cpus_of_its_pool(xm: Xm, bench: Bench, pv: Writer) -> None:
    assert xm("cpupool-list").stdout.splitlines()[1:] == [
        f"Pool-0             {len(CPUS):>3}    credit       y          1"
    ]  # fmt: skip
    bench.config("fast", f"cpus = '{LAST}'\n")
    none_free = xm("cpupool-create", "fast")
    assert (none_free.status, none_free.stderr.splitlines()[0]) == (1, "Error: ['INSUFFICIENT_CPUS', '1', '0']")
    pv("before.cfg", vcpus=2)
    assert xm("create", "-q", "before.cfg").status == 0
    assert xm("cpupool-cpu-remove", "Pool-0", str(LAST)) == ("", "", 0)
    assert "free_cpus              : 1\n" in xm("info").stdout
    assert threads(uuid_of(bench, "before")) == {
        "CPU 0": set(OTHERS), "CPU 1": set(OTHERS), "emulator": set(OTHERS)
    }  # fmt: skip
    assert xm("cpupool-create", "fast") == ("", "", 0)
    assert "free_cpus              : 0\n" in xm("info").stdout
    pv("inside.cfg", vcpus=2, pool="fast", cpus=str(FIRST), vif=[], disk=[])
    started = xm("create", "inside.cfg")
    assert started.status == 0, started.stderr
    assert f"its pool fast has the CPUs {LAST} alone; vcpu 0-1 may run on all of them" in started.stderr
    assert threads(uuid_of(bench, "inside")) == {"CPU 0": {LAST}, "CPU 1": {LAST}, "emulator": {LAST}}
    assert xm("cpupool-list", "-c").stdout.splitlines()[1:] == [
        f"Pool-0           {','.join(map(str, OTHERS))}", f"fast             {LAST}"
    ]  # fmt: skip
    assert [line.split()[0] for line in xm("list", "--pool=fast").stdout.splitlines()[1:]] == ["inside"]
    assert "    (pool_name fast)\n" in xm("list", "-l", "inside").stdout
    assert xm("cpupool-destroy", "fast").stderr == "Error: ['POOL_BAD_STATE', 'in use']\n"

    # its own pin comes back with a pool that has the CPU, and goes on being its own
    assert xm("cpupool-migrate", "inside", "Pool-0") == ("", "", 0)
    assert threads(uuid_of(bench, "inside")) == {"CPU 0": {FIRST}, "CPU 1": {FIRST}, "emulator": set(OTHERS)}
    assert xm("cpupool-migrate", "inside", "1") == ("", "", 0)
    assert threads(uuid_of(bench, "inside"))["CPU 1"] == {LAST}
    assert xm("vcpu-pin", "inside", "0", str(FIRST)).stderr.endswith("- (22, 'Invalid argument')\n")
    assert xm("destroy", "inside") == ("", "", 0)
    assert xm("cpupool-destroy", "fast") == ("", "", 0)
    assert xm("cpupool-cpu-add", "Pool-0", str(LAST)) == ("", "", 0)
    assert threads(uuid_of(bench, "before")) == {"CPU 0": ALL, "CPU 1": ALL, "emulator": ALL}


def test_a_managed_pool_stays_known_and_guests_need_it_active(xm: Xm, bench: Bench, pv: Writer) -> None:
    bench.config("slow", "name = 'slow'\ncpus = '#1'\n")
    pv("web1.cfg", pool="slow", vif=[], disk=[])
    assert xm("create", "-q", "web1.cfg").stderr.startswith("Error: unknown pool slow\n")
    assert xm("cpupool-new", "slow") == ("", "", 0)
    file = bench.directory / "state/cpupools.sxp"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert xm("create", "-q", "web1.cfg").stderr.startswith("Error: pool slow not activated\n")
    assert xm("cpupool-list").stdout.splitlines()[-1] == "slow                 1    credit       n          0"
    assert xm("cpupool-cpu-remove", "0", str(FIRST)) == ("", "", 0)
    assert xm("cpupool-start", "slow") == ("", "", 0)
    assert xm("create", "-q", "web1.cfg").status == 0
    assert threads(uuid_of(bench, "web1"))["CPU 0"] == {FIRST}
    assert xm("destroy", "web1") == ("", "", 0)
    (bench.node.directory / "run/xmcompat/cpupools.sxp").unlink()  # the host was started anew
    assert xm("cpupool-list").stdout.splitlines()[1:] == [
        f"Pool-0             {len(CPUS):>3}    credit       y          1",
        "slow                 1    credit       n          0",
    ]
    assert xm("cpupool-delete", "slow") == ("", "", 0)
    assert len(xm("cpupool-list").stdout.splitlines()) == 2


def test_a_guest_that_xm_did_not_start_keeps_its_pins_too(xm: Xm, bench: Bench, roms: Path) -> None:
    info = bench.hypervisor.create(tick_xml("stranger", roms, kvm=False))
    bench.hypervisor.pin_vcpu(info.uuid, 0, [LAST])
    bench.config("fast", f"cpus = [{LAST}]\n")
    assert xm("cpupool-cpu-remove", "Pool-0", str(LAST)) == ("", "", 0)
    assert threads(info.uuid)["CPU 0"] == set(OTHERS)
    assert xm("cpupool-create", "fast") == ("", "", 0)
    assert xm("cpupool-migrate", "stranger", "fast") == ("", "", 0)
    assert threads(info.uuid) == {"CPU 0": {LAST}, "emulator": {LAST}}
    assert "    (pool_name fast)\n" in xm("list", "-l", "stranger").stdout
    assert xm("cpupool-migrate", "stranger", "Pool-0") == ("", "", 0)
    assert xm("cpupool-destroy", "fast") == ("", "", 0)
    assert xm("cpupool-cpu-add", "0", str(LAST)) == ("", "", 0)
    assert threads(info.uuid) == {"CPU 0": {LAST}, "emulator": ALL}


def test_what_is_kept_is_for_root_alone(xm: Xm, bench: Bench) -> None:
    assert xm("cpupool-cpu-remove", "Pool-0", str(LAST)).status == 0
    file = bench.node.directory / "run/xmcompat/cpupools.sxp"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
