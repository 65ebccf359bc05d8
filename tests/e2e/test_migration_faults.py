"""Whatever breaks while a guest is on its way: one copy of it runs, or none where its own host or QEMU died, and never two.

Each row is a phase and a fault; docs/howto-migrate.md has the table of what is seen.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.moving_hosts import Ticking, fault_hosts, names
from tests.lab.fixtures import CHECKOUT
from tests.lab.hosts import Hosts, MovingHost, eventually
from tests.lab.lan import end
from xmcompat.backends.hypervisor import DomainState
from xmcompat.errors import XmError

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def lab(lab_directory: Path) -> Iterator[tuple[Hosts, Callable[[], None]]]:
    with fault_hosts(lab_directory) as made:
        yield made


_started: list[subprocess.Popen[str]] = []


@pytest.fixture
def hosts(lab: tuple[Hosts, Callable[[], None]]) -> Iterator[Hosts]:
    hosts, clear = lab
    yield hosts
    for process in _started:
        end(process)
    _started.clear()
    clear()


class Ending(NamedTuple):
    """What is left when it is over: where the guest runs ("here", "there", "nowhere"), and what xm says (a pattern)."""

    runs: str
    said: str


def one(hosts: Hosts) -> MovingHost:
    return hosts.nodes[0]


def two(hosts: Hosts) -> MovingHost:
    return hosts.nodes[1]


FAULTS: dict[str, Callable[[Hosts], None]] = {
    "QEMU of the destination killed": lambda hosts: two(hosts).kill_qemu(),
    "libvirtd of the destination killed": lambda hosts: two(hosts).kill_libvirtd(),
    "link down": lambda hosts: hosts.cut(two(hosts)),
    "destination without power": lambda hosts: two(hosts).crash(),
    "link of 1 Mbit/s": lambda hosts: hosts.slow("1mbit"),
    "disk of the destination full": lambda hosts: fill(two(hosts)),
    "libvirtd of the source killed": lambda hosts: one(hosts).kill_libvirtd(),
    "QEMU of the source killed": lambda hosts: one(hosts).kill_qemu(),
    "Ctrl-C": lambda hosts: interrupt(),
}
ASKING, COPYING, SWITCHING, FINISHING = PHASES = (
    "both hosts are asked", "memory is copied", "the guest is paused, the rest goes over", "libvirt lets it go there"
)
HERE = "'web1' runs on here"
#: What is seen of each fault in each phase. Where there is none, there is nothing to break, or it changes nothing.
ENDINGS: dict[tuple[str, str], Ending] = {
    (ASKING, "libvirtd of the destination killed"): Ending("here", "Error: .*[Cc]onnect.*"),
    (ASKING, "link down"): Ending("here", "Error: can't connect: host2 .*"),
    (ASKING, "destination without power"): Ending("here", "Error: can't connect: .*"),
    (ASKING, "link of 1 Mbit/s"): Ending("there", ""),
    (ASKING, "disk of the destination full"): Ending("here", "Error: disk vda: .* needs [0-9]+ bytes on host2, .*"),
    (ASKING, "libvirtd of the source killed"): Ending("here", "Error: .*"),
    (ASKING, "QEMU of the source killed"): Ending("nowhere", "Error: .*"),
    (ASKING, "Ctrl-C"): Ending("here", ""),
    (COPYING, "QEMU of the destination killed"): Ending("here", f"Error: .+; {HERE}"),
    (COPYING, "libvirtd of the destination killed"): Ending("here", f"Error: .+; {HERE}"),
    (COPYING, "link down"): Ending("here", f"Error: .+; {HERE}"),
    (COPYING, "destination without power"): Ending("here", f"Error: .+; {HERE}; host2 cannot be asked; .*"),
    (COPYING, "link of 1 Mbit/s"): Ending("there", "Warning: web1: it is not over after 2 s: it is paused for the rest$"),
    (COPYING, "disk of the destination full"): Ending("here", f"Error: .+; {HERE}"),
    (COPYING, "libvirtd of the source killed"): Ending("here", f"Error: .+; {HERE}"),
    (COPYING, "QEMU of the source killed"): Ending("nowhere", "Error: .+; 'web1' has ended here; start it again"),
    (COPYING, "Ctrl-C"): Ending("here", f"Warning: {HERE}"),
    (SWITCHING, "QEMU of the destination killed"): Ending("here", f"Error: .+; {HERE}"),
    (SWITCHING, "libvirtd of the destination killed"): Ending("here", f"Error: .+; {HERE}"),
    (SWITCHING, "link down"): Ending("here", f"Error: .+; {HERE}; host2 cannot be asked; .*"),
    (SWITCHING, "destination without power"): Ending("here", f"Error: .+; {HERE}; host2 cannot be asked; .*"),
    (SWITCHING, "link of 1 Mbit/s"): Ending("there", ""),
    (SWITCHING, "libvirtd of the source killed"): Ending("here", f"Error: .+; {HERE}"),
    (SWITCHING, "QEMU of the source killed"): Ending("nowhere", "Error: .+; 'web1' has ended here; start it again"),
    (SWITCHING, "Ctrl-C"): Ending("here", f"Warning: {HERE}"),
    (FINISHING, "QEMU of the destination killed"): Ending("here", f"Error: .+; {HERE}"),
    (FINISHING, "libvirtd of the destination killed"): Ending("here", f"Error: .+; {HERE}"),
    (FINISHING, "link down"): Ending(
        "there", "Error: .+; 'web1' is paused here, and may run on host2, .*; run 'xm unpause' here only if it is not .*"
    ),
    (FINISHING, "destination without power"): Ending("here", f"Error: .+; {HERE}; host2 cannot be asked; .*"),
    (FINISHING, "libvirtd of the source killed"): Ending("there", "Warning: .* was lost; .*"),
    (FINISHING, "QEMU of the source killed"): Ending("there", ""),
    (FINISHING, "Ctrl-C"): Ending("there", "Warning: it was too late .*"),
}
#: What takes the other host away, and seconds in which the guest goes on that stood still for it: TCP alone takes 900.
LOST, STANDS_STILL = ("link down", "destination without power"), 30.0
#: Where the disk is that is copied, on a file system of a few MiB at the destination.
DISK = "/run/disks/web1.img"


def fill(host: MovingHost) -> None:
    """Nothing more can be written beside the copied disk."""
    host.outcome("sh", "-c", "head -c 64M /dev/zero >/run/disks/others")


def with_disk(hosts: Hosts) -> Path:
    """A disk that the source alone has; there is room for one as large at the destination."""
    for host in hosts.nodes:
        host.outcome("umount", "/run/disks")
        host.run("mkdir", "-p", "/run/disks")
        host.run("mount", "-t", "tmpfs", "-o", "size=24m", "none", "/run/disks")
    one(hosts).run("sh", "-c", f"head -c 16M /dev/urandom >{DISK}")
    return Path(DISK)


def shared(hosts: Hosts) -> Path:
    """A disk that both have: QEMU's lock on it keeps the two from running at once."""
    disk = hosts.shared / "web1.img"
    disk.write_bytes(bytes(1 << 20))
    return disk


def interrupt() -> None:
    """Ctrl-C reaches xm."""
    process = _started[-1]
    (program,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(program), signal.SIGINT)


def begin(hosts: Hosts, *words: str) -> subprocess.Popen[str]:
    """xm that moves the guest."""
    here = one(hosts)
    process = here.start(here.program_argv("xmcompat.xm", "migrate", "-l", *words, "web1", "host2"), env=here.program_env())
    _started.append(process)
    return process


def begun(hosts: Hosts, guest: Ticking, *words: str) -> subprocess.Popen[str]:
    """The same, once memory is being copied, or a disk."""
    process = begin(hosts, *words)

    def copies() -> bool:
        assert process.poll() is None, process.communicate()
        try:
            progress = one(hosts).hypervisor.migration_progress(guest.info.uuid)
        except XmError:
            return False
        return progress is not None and progress.processed > 0

    eventually(copies, 60.0, what="memory is copied")
    return process


def switch(hosts: Hosts, guest: Ticking) -> None:
    """Have QEMU pause the guest for the rest, which takes seconds; return when it has."""
    hosts.slow("1mbit")
    # QEMU does not answer any more until the rest has gone over
    threading.Thread(target=lambda: one(hosts).hypervisor.set_max_downtime(guest.info.uuid, 60000), daemon=True).start()
    since, count = time.monotonic(), guest.count
    while time.monotonic() - since < 2.0:  # one that gets no processor for a while is not paused
        if guest.count != count:
            since, count = time.monotonic(), guest.count
        time.sleep(0.02)
    assert waiting(hosts), "the rest has not gone over yet"


def waiting(hosts: Hosts) -> int | None:
    """Bytes that QEMU of the source has sent and that have not arrived; None once it has closed its connection."""
    rows = [line.split() for line in Path(f"/proc/{one(hosts).pid}/net/tcp").read_text().splitlines()[1:]]
    ports = range(49152, 49216)
    return next((int(row[4][:8], 16) for row in rows if row[3] == "01" and int(row[2].split(":")[1], 16) in ports), None)


@contextmanager
def finish(hosts: Hosts, guest: Ticking) -> Iterator[None]:
    """Inside, all has gone over, and the destination's libvirtd has not let it go yet: it stands still."""
    switch(hosts, guest)
    eventually(lambda: (waiting(hosts) or 0) < 20_000, 30.0, what="it is nearly over")
    pid = two(hosts).node.daemon_pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        hosts.slow("50mbit")  # what QEMU has not sent yet would take longer than the libvirtds wait for each other
        eventually(lambda: waiting(hosts) is None, 3.0, what="all has gone over")
        time.sleep(0.3)  # the source's libvirtd has asked for it
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def running(host: MovingHost) -> list[str]:
    """The guests that run on HOST: those of which QEMU's vcpus go on."""
    host.await_libvirtd()
    return [info.name for info in host.hypervisor.domains() if info.state in (DomainState.RUNNING, DomainState.BLOCKED)]


@pytest.mark.parametrize(("phase", "name"), ENDINGS)
def test_just_one_copy_is_left(hosts: Hosts, phase: str, name: str) -> None:
    fault, ending = FAULTS[name], ENDINGS[phase, name]
    full = name == "disk of the destination full"
    guest = Ticking(hosts, one(hosts), "web1", busy=phase != ASKING, disks=[with_disk(hosts) if full else shared(hosts)])
    words = ["--deadline=300", "--finish=give-up", *(["--with-disks"] if full else [])]
    if phase == ASKING:
        gate, reached = hosts.shared / "ssh/gate", hosts.shared / "ssh/gate.reached"
        reached.unlink(missing_ok=True)
        gate.touch()
        process = begin(hosts, *words)
        eventually(reached.exists, 30.0, what="the other host is asked")
        eventually(lambda: "migrating-web1" in names(one(hosts)), 30.0, what="it has begun")
        with two(hosts).without_libvirtd() if name == "libvirtd of the destination killed" else nullcontext():
            if name != "libvirtd of the destination killed":
                fault(hosts)
            gate.unlink()
            _, err = process.communicate(timeout=120)
    elif phase == COPYING:
        how = ["-r", "2", "--finish=stop", "--deadline=2"] if name == "link of 1 Mbit/s" else ["-r", "8", *words]
        if full:
            hosts.slow("50mbit")  # it takes seconds to copy the disk
        process = begun(hosts, guest, *how)
        fault(hosts)
        _, err = process.communicate(timeout=120)
    elif phase == SWITCHING:
        process = begun(hosts, guest, "-r", "8", *words)
        switch(hosts, guest)
        count = guest.count
        fault(hosts)
        if name in LOST:  # for good: neither link nor host comes back before the guest goes on, and xm has ended
            eventually(lambda: guest.count > count, STANDS_STILL, what="the guest goes on")
        _, err = process.communicate(timeout=120)
    else:
        process = begun(hosts, guest, "-r", "8", *words)
        with finish(hosts, guest):
            fault(hosts)
        _, err = process.communicate(timeout=120)
    hosts.fast()
    left(hosts, guest, ending, err)
    assert (process.returncode == 0) == ("Error: " not in err and "Ctrl-C" not in name), (process.returncode, err)


def left(hosts: Hosts, guest: Ticking, ending: Ending, said: str) -> None:
    """Whatever has broken is mended, and just what was expected is left."""
    if not two(hosts).node.running:
        hosts.boot(two(hosts))
    hosts.heal(two(hosts))
    wanted = {"here": (["web1"], []), "there": ([], ["web1"]), "nowhere": ([], [])}[ending.runs]
    eventually(lambda: (running(one(hosts)), running(two(hosts))) == wanted, 30.0, what=f"it runs {ending.runs}; {said}")
    assert re.search(f"^{ending.said}", said, re.MULTILINE) if ending.said else said == "", said
    kept = ["web1"] if "is paused here" in said else wanted[0]  # it never goes on by itself
    assert (names(one(hosts)), names(two(hosts))) == (kept, wanted[1])
    if ending.runs != "nowhere":
        guest.goes_on()


def test_a_guest_that_cannot_be_over_in_time_runs_on(hosts: Hosts) -> None:
    guest = Ticking(hosts, one(hosts), "web1", busy=True)
    done = one(hosts).xm("migrate", "-l", "-r", "8", "--deadline=1", "--finish=give-up", "web1", "host2")
    assert done.status == 1
    assert done.stderr.endswith("Error: it is not over after 1 s: it is given up; 'web1' runs on here\n"), done.stderr
    assert (names(one(hosts)), names(two(hosts))) == (["web1"], [])
    guest.goes_on()


def test_xm_killed_leaves_the_two_libvirtds_to_finish(hosts: Hosts) -> None:
    """kill -9 at any moment: the transfer goes on between them, and the receiver settles it."""
    guest = Ticking(hosts, one(hosts), "web1")
    hosts.slow("1mbit")  # the little that it has takes seconds
    process = begun(hosts, guest)
    (program,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    subprocess.run(["kill", "-KILL", program], check=True)
    process.communicate(timeout=30)
    eventually(lambda: (names(one(hosts)), names(two(hosts))) == ([], ["web1"]), 60.0, what="it has moved")
    guest.goes_on()


def test_ctrl_c_where_qemu_waits_for_a_host_that_is_lost(hosts: Hosts) -> None:
    """libvirt, which waits for QEMU, does not give up what xm has it give up."""
    guest = Ticking(hosts, one(hosts), "web1", busy=True, disks=[shared(hosts)])
    process = begun(hosts, guest, "-r", "8", "--deadline=300", "--finish=give-up")
    switch(hosts, guest)
    count = guest.count
    hosts.cut(two(hosts))
    time.sleep(1.0)
    interrupt()
    eventually(lambda: guest.count > count, STANDS_STILL, what="the guest goes on")
    _, err = process.communicate(timeout=120)
    left(hosts, guest, Ending("here", f"Warning: {HERE}; host2 cannot be asked; .*"), err)


def test_the_link_goes_down_in_post_copy_and_comes_back(hosts: Hosts) -> None:
    guest = Ticking(hosts, one(hosts), "web1", busy=True)
    hosts.slow("1mbit")
    process = begun(hosts, guest, "--finish=post-copy", "--deadline=1")
    eventually(lambda: running(two(hosts)) == ["web1"], 60.0, what="it runs there")
    hosts.cut(two(hosts))
    time.sleep(6.0)  # the libvirtds have lost each other after 3
    assert process.poll() is None
    hosts.heal(two(hosts))
    _, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    assert (names(one(hosts)), names(two(hosts))) == ([], ["web1"])
    guest.goes_on()


def table() -> str:
    """The table of docs/howto-migrate.md: where the guest runs after each fault in each phase."""
    ways = {"here": "runs on here", "there": "runs there", "nowhere": "has ended"}
    lines = [f"| what breaks | {' | '.join(PHASES)} |", f"| --- |{' --- |' * len(PHASES)}"]
    for name in FAULTS:
        cells = [ways[ENDINGS[phase, name].runs] if (phase, name) in ENDINGS else "" for phase in PHASES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def test_the_documents_have_the_table_of_what_was_seen() -> None:
    assert table() in (CHECKOUT / "docs/howto-migrate.md").read_text()
