"""The daemon as a process, over a real libvirtd: started, stopped, killed, and without its libvirtd for a while."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.backends.test_libvirt_kept import press, record
from tests.lab.fixtures import CHECKOUT, Outcome, Starter
from tests.lab.guests import tick_xml
from xmcompat.backends import domain_xml
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.backends.machine import XenRecord
from xmcompat.backends.private_libvirtd import PrivateLibvirtd

pytestmark = pytest.mark.libvirt


@dataclass
class Bench:
    """A xend with a folder of its own, for pid file, settings and log."""

    node: PrivateLibvirtd
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings("")
        self.env = {
            **os.environ, "XMCOMPAT_URI": self.node.uri, "PYTHONPATH": str(CHECKOUT), "LC_ALL": "C.UTF-8",
            "XEND_RUN": str(self.folder), "XEND_CONFIG": str(self.folder / "xend-config.sxp"),
        }  # fmt: skip

    def settings(self, text: str) -> None:
        (self.folder / "xend-config.sxp").write_text(f"(logfile {self.folder}/log/xend.log)\n{text}\n")

    def begin(self, *words: str, program: str = "xend", **options: object) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", f"xmcompat.{program}", *words]
        return subprocess.Popen(argv, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]

    def run(self, *words: str, program: str = "xend") -> Outcome:
        with self.begin(*words, program=program, stdin=subprocess.DEVNULL) as process:
            out, err = process.communicate(timeout=60)
        return Outcome(out, err, process.returncode)

    def silently(self, *words: str) -> None:
        assert self.run(*words) == Outcome("", "", 0), self.log()

    def status(self) -> int:
        outcome = self.run("status")
        assert (outcome.stdout, outcome.stderr) == ("", "")
        return outcome.status

    @property
    def pid(self) -> int:
        return int((self.folder / "xend.pid").read_text())

    @property
    def child(self) -> int:
        """The daemon that process PID looks after; 0 where there is none just now."""
        words = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(words[0]) if words else 0

    def log(self, name: str = "xend.log") -> str:
        path = self.folder / "log" / name
        return path.read_text() if path.exists() else ""

    def wait(self, what: Callable[[], object], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def gone(self) -> bool:
        """Whether no process of it is left, which is later than that it is said to have ended."""
        from xmcompat.xend.run_files import RunFiles

        return RunFiles(self.env).state() is None


def lives(pid: int) -> bool:
    """Whether it runs; one that has ended, and of which nobody has taken note, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def bench(node: PrivateLibvirtd, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(node, tmp_path)
    yield bench
    bench.run("stop")
    bench.wait(bench.gone)


def test_start_and_stop_twice_each(bench: Bench) -> None:
    assert bench.status() == 3
    bench.silently("start")
    first = bench.pid
    assert bench.status() == 0
    bench.silently("start")
    assert bench.pid == first
    assert bench.log().count("Xend Daemon started") == 1
    bench.silently("stop")
    assert bench.status() == 3
    bench.silently("stop")
    bench.wait(bench.gone)
    assert bench.log().rstrip().endswith("Xend Daemon ends")
    assert not (bench.folder / "xend.pid").exists()
    assert bench.log("xend-debug.log").startswith("Xend started at ")


def test_it_keeps_nothing_of_whoever_started_it(bench: Bench, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    old = os.umask(0o077)
    try:
        with bench.begin("start", cwd=tmp_path, pass_fds=[writer], stdin=subprocess.PIPE) as process:
            assert process.communicate(timeout=60) == ("", ""), "its streams are closed, or this would wait for ever"
    finally:
        os.umask(old)
    os.close(writer)
    os.set_blocking(reader, False)
    assert os.read(reader, 1) == b"", "no process has the other end any more"
    os.close(reader)
    for pid in (bench.pid, bench.child):
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert os.getsid(pid) not in (os.getsid(0), pid), "a session of its own, of which it is not the leader"
        status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        assert status["Umask"] == "0022"
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)} == {
            "/dev/null", str(bench.folder / "log/xend-debug.log")
        }  # fmt: skip
    assert Path(f"/proc/{bench.pid}/task/{bench.pid}/stat").read_text().split()[6] == "0", "no terminal"


def test_many_starts_at_once_give_one_daemon(bench: Bench) -> None:
    starts = [bench.begin("start", stdin=subprocess.DEVNULL) for _ in range(6)]
    for process in starts:
        out, err = process.communicate(timeout=60)
        assert (out, err, process.returncode) == ("", "", 0)
    assert bench.log().count("Xend Daemon started") == 1


def test_restart_never_has_two_of_them(bench: Bench) -> None:
    bench.silently("restart")
    first = bench.pid
    bench.silently("restart")
    assert bench.pid != first
    assert not lives(first)
    events = [line.split(") ")[1] for line in bench.log().splitlines() if "Xend Daemon" in line]
    assert events == ["Xend Daemon started", "Xend Daemon ends", "Xend Daemon started"]


def test_restarts_at_once_wait_for_one_another_and_all_succeed(bench: Bench) -> None:
    bench.silently("start")
    restarts = [bench.begin("restart", stdin=subprocess.DEVNULL) for _ in range(3)]
    for process in restarts:
        out, err = process.communicate(timeout=120)
        assert (out, err, process.returncode) == ("", "", 0)
    assert bench.status() == 0
    events = [line.split(") ")[1] for line in bench.log().splitlines() if "Xend Daemon" in line]
    assert events == ["Xend Daemon started", *["Xend Daemon ends", "Xend Daemon started"] * 3]


def test_start_right_after_stop_waits_for_the_old_one(bench: Bench) -> None:
    bench.silently("start")
    bench.silently("stop")
    bench.silently("start")
    assert bench.status() == 0


def test_reload_reads_the_settings_anew_and_bad_ones_change_nothing(bench: Bench) -> None:
    bench.silently("start")
    bench.settings("(vnc-listen 0.0.0.0)\n(loglevel WARNING)")
    bench.silently("reload")
    bench.wait(lambda: "vnc-listen = 0.0.0.0" in bench.log())
    assert bench.log().rstrip().splitlines()[-1].split("] ")[1].startswith("WARNING")
    (bench.folder / "xend-config.sxp").write_text("(logfile")
    bench.silently("reload")
    bench.wait(lambda: "The settings stay as they were" in bench.log())
    assert bench.status() == 0


def test_a_daemon_that_is_killed_is_started_again(bench: Bench) -> None:
    bench.silently("start")
    first, child = bench.pid, bench.child
    os.kill(child, signal.SIGKILL)
    bench.wait(lambda: bench.child not in (0, child) and "started again" in bench.log())
    assert bench.pid == first
    assert "ERROR (supervisor" in bench.log()
    assert "Xend died due to signal 9! Restarting it." in bench.log()
    bench.silently("stop")
    bench.wait(bench.gone)


def test_one_that_dies_again_and_again_is_given_up(bench: Bench) -> None:
    bench.silently("start")
    deadline = time.monotonic() + 60
    while not bench.gone():
        assert time.monotonic() < deadline
        try:
            if child := bench.child:
                os.kill(child, signal.SIGKILL)
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    assert bench.log().count("Restarting it") == 5
    assert "It has died too often" in bench.log()
    assert bench.status() == 3


def test_where_both_are_killed_nothing_is_left_but_files_that_do_not_matter(bench: Bench) -> None:
    bench.silently("start")
    first, child = bench.pid, bench.child
    os.kill(first, signal.SIGKILL)
    bench.wait(lambda: not lives(child))
    assert bench.pid == first
    assert bench.status() == 3
    bench.silently("start")
    assert bench.pid != first
    assert bench.status() == 0


def test_the_child_that_is_asked_to_end_ends_all(bench: Bench) -> None:
    bench.silently("start")
    os.kill(bench.child, signal.SIGTERM)
    bench.wait(bench.gone)
    assert bench.status() == 3
    assert not (bench.folder / "xend.pid").exists()


def test_a_log_that_cannot_be_written_is_told_and_the_daemon_runs(bench: Bench) -> None:
    (bench.folder / "log").write_text("")
    outcome = bench.run("start")
    assert (outcome.stdout, outcome.status) == ("", 0)
    assert outcome.stderr.startswith("Warning: xend's log cannot be written: ")
    assert bench.status() == 0
    (bench.folder / "log").unlink()
    bench.silently("reload")
    bench.wait(lambda: "reads its settings anew" in bench.log() or "logfile" in bench.log())


def test_a_full_disk_does_not_end_it(bench: Bench) -> None:
    (bench.folder / "xend-config.sxp").write_text("(logfile /dev/full)")
    outcome = bench.run("start")
    assert outcome.status == 0
    bench.silently("reload")
    assert bench.status() == 0
    bench.settings("")
    bench.silently("reload")
    bench.wait(lambda: "/log/xend.log: carried over" in bench.log())


def test_libvirtd_may_be_killed_and_come_back(bench: Bench, node: PrivateLibvirtd, start: Starter) -> None:
    bench.silently("start")
    daemon = node.daemon_pid()
    assert daemon is not None
    os.kill(daemon, signal.SIGKILL)
    bench.wait(lambda: "libvirt answers again" in bench.log())
    assert "was lost." in bench.log()
    assert bench.status() == 0
    first = start("web1", actions=("destroy", "restart", "destroy"))
    assert first.domid is not None
    assert "Traceback" not in bench.log() + bench.log("xend-debug.log")


def test_xm_log_shows_it_and_a_newline_more(bench: Bench) -> None:
    bench.silently("start")
    bench.silently("stop")
    bench.wait(bench.gone)
    assert bench.run("log", program="xm") == Outcome(bench.log() + "\n", "", 0)


def test_in_the_foreground_it_tells_the_service_manager_and_ends_by_a_signal(bench: Bench) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(bench.folder / "notify"))
        manager.settimeout(30)
        bench.env["NOTIFY_SOCKET"] = str(bench.folder / "notify")
        with bench.begin("start", "--foreground", stdin=subprocess.DEVNULL) as process:
            assert manager.recv(100) == b"READY=1"
            assert bench.pid == process.pid
            assert bench.status() == 0
            assert bench.run("start", "--foreground").status == 1
            bench.silently("reload")
            bench.silently("stop")
            assert process.communicate(timeout=30) == ("", "")
            assert process.returncode == 0


def test_trace_start_logs_everything(bench: Bench) -> None:
    bench.settings("(loglevel ERROR)")
    bench.silently("trace_start")
    assert "DEBUG" in bench.log()


# -- domains


def known(hypervisor: LibvirtKvm, roms: Path, name: str, settings: str) -> str:
    """A managed domain, halted, of this name with these settings of its configuration; returns its uuid."""
    domain = hypervisor._connection.defineXML(tick_xml(name, roms, idle=True))
    uuid: str = domain.UUIDString()
    hypervisor.set_metadata(uuid, domain_xml.render_record(XenRecord(sxp=f"(vm (name {name}) {settings})")))
    return uuid


def test_domains_start_with_xend_and_are_treated_when_it_stops(bench: Bench, hypervisor: LibvirtKvm, roms: Path) -> None:
    wanted = known(hypervisor, roms, "web1", "(on_xend_start start) (on_xend_stop suspend)")
    other = known(hypervisor, roms, "web2", "(on_xend_start ignore)")
    bench.silently("start")
    bench.wait(lambda: "Domain web1 has been started" in bench.log())
    assert hypervisor.find(wanted).state in (DomainState.RUNNING, DomainState.BLOCKED)
    assert hypervisor.find(other).domid is None
    os.kill(bench.child, signal.SIGKILL)
    bench.wait(lambda: "started again" in bench.log())
    bench.silently("stop")
    bench.wait(bench.gone)
    assert "Domain web1 (" in bench.log()
    assert "has been suspended" in bench.log()
    assert hypervisor.find(wanted).domid is None
    bench.silently("start")
    time.sleep(0.3)
    assert hypervisor.find(wanted).domid is None, "it is suspended, which is not halted"


def restarted(bench: Bench, hypervisor: LibvirtKvm, info: DomainInfo) -> DomainInfo:
    """The guest of INFO once it has restarted with another id. On a busy machine the keeper may hear of it too late, which it
    says, and leaves it its id: then it restarts once more."""

    def told(what: str) -> int:
        return bench.log().count(what)

    def counted() -> bool:
        known = domain_xml.read_record(hypervisor.metadata(info.uuid) or "")
        return known is not None and known.restarts == 1

    anew, late = told("Domain web1 has been restarted"), told("it keeps its id")
    for tries in range(20):
        long_ago = time.time() - 100
        hypervisor.set_metadata(info.uuid, f"<guest started='{long_ago!r}'>(vm (name web1) (on_reboot restart))</guest>")
        press(hypervisor, info, "r")
        bench.wait(lambda: told("Domain web1 has been restarted") > anew or told("it keeps its id") > late + tries)  # noqa: B023
        if told("Domain web1 has been restarted") > anew:
            break
        bench.wait(counted)
    assert told("Domain web1 has been restarted") == anew + 1, bench.log()
    return hypervisor.find("web1")


def test_guests_that_restart_get_another_id_before_and_after_libvirtd_was_lost(
    bench: Bench, node: PrivateLibvirtd, hypervisor: LibvirtKvm, roms: Path
) -> None:
    old = hypervisor.create(tick_xml("web1", roms, kvm=False, metadata=record(on_reboot="restart")))
    bench.silently("start")
    new = restarted(bench, hypervisor, old)
    assert (new.uuid, new.domid != old.domid) == (old.uuid, True)
    assert "INFO (keeper:" in bench.log()
    hypervisor.close()
    daemon = node.daemon_pid()
    assert daemon is not None
    os.kill(daemon, signal.SIGKILL)
    bench.wait(lambda: "libvirt answers again" in bench.log())
    later = connect(node.uri)
    try:
        assert restarted(bench, later, new).domid not in (old.domid, new.domid)
    finally:
        later.close()
