"""A private libvirtd: what it hides, what it leaves alone, how it is found again, and that nothing of it remains."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lab.fixtures import CHECKOUT, remove_stale_labs
from tests.lab.guests import tick_xml
from xmcompat.backends import private_init, private_libvirtd
from xmcompat.backends.libvirt_kvm import connect
from xmcompat.backends.private_init import Hierarchy, hierarchies, own_cgroup, process_start
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.errors import HypervisorUnreachable, XmError

V1 = """\
30 25 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:5 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
40 25 0:50 / /home rw - ext4 /dev/sda2 rw
"""
V2 = "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"


def own_cgroups(private: PrivateLibvirtd) -> list[Path]:
    """The cgroups of that one, wherever they are."""
    return [Path(folder) for folder, _, _ in os.walk("/sys/fs/cgroup") if f"/{private.cgroup}" in folder]


def processes_of(private: PrivateLibvirtd) -> list[str]:
    """The processes whose command line names its directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(private.directory) in path.read_bytes():
                found.append(path.parent.name)
    return found


def inside(private: PrivateLibvirtd, *argv: str) -> str:
    done = subprocess.run(private.enter(argv), capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


@pytest.fixture
def private(lab_directory: Path, request: pytest.FixtureRequest) -> Iterator[PrivateLibvirtd]:
    """One with a network of its own, not started."""
    private = PrivateLibvirtd(
        lab_directory / "private", name="private", own_network=True, bridges=["xenbr0", "xenbr1"]
    )
    try:
        yield private
    finally:
        private.stop()


@pytest.mark.libvirt
def test_it_starts_quickly_answers_and_leaves_nothing_when_stopped(private: PrivateLibvirtd, roms: Path) -> None:
    assert private.pid is None
    private.start()
    hypervisor = connect(private.uri)
    info = hypervisor.create(tick_xml("guest", roms))
    hypervisor.close()
    assert own_cgroups(private) != []
    private.stop()
    assert not private.running
    assert own_cgroups(private) == []
    assert not private.socket.exists()
    assert all(info.uuid.encode() not in _cmdline(pid) for pid in _pids())
    private.stop()


def _pids() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]


def _cmdline(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.libvirt
def test_a_stopped_one_starts_again_as_after_a_boot(private: PrivateLibvirtd) -> None:
    private.start()
    uuid = (private.directory / "host_uuid").read_text()
    private.stop()
    private.start()
    hypervisor = connect(private.uri)
    assert hypervisor.domains() == []
    hypervisor.close()
    assert (private.directory / "host_uuid").read_text() == uuid


@pytest.mark.libvirt
def test_what_is_inside_is_its_own(private: PrivateLibvirtd) -> None:
    private.start()
    assert inside(private, "hostname") == "private\n"
    assert inside(private, "ls", "/sys/class/net").split() == ["lo", "xenbr0", "xenbr1"]
    assert inside(private, "cat", "/etc/resolv.conf") == ""
    assert inside(private, "ls", "/etc/libvirt").split() == sorted(os.listdir(private.directory / "etc"))
    begun = time.monotonic()
    assert inside(private, "getent", "hosts", "private").split()[0] == "127.0.1.1"
    assert time.monotonic() - begun < 5, "a name server that does not answer is waited for that long"
    commands = inside(private, "ps", "-e", "-o", "comm=").split()
    assert commands[0].startswith("python")
    assert {"virtlogd", "libvirtd"} < set(commands)
    assert private.enter(["id"], cwd=Path("/tmp"), env={"A": "b c"})[-4:] == ["env", "--chdir=/tmp", "A=b c", "id"]


@pytest.mark.libvirt
def test_the_system_is_left_alone(private: PrivateLibvirtd) -> None:
    places = ("/run", "/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/sys/class/net", "/etc/hosts")

    def look() -> list[object]:
        found = [
            sorted(os.listdir(place)) if os.path.isdir(place) else Path(place).read_text() for place in places
        ]
        return [*found, os.uname().nodename, Path("/proc/self/mounts").read_text()]

    deadline = time.monotonic() + 60
    while True:  # until nobody else has changed the host meanwhile
        before = look()
        private.start()
        after = look()
        if after == before:
            return
        assert time.monotonic() < deadline, [(old, new) for old, new in zip(before, after, strict=True) if old != new]
        private.stop()


@pytest.mark.libvirt
def test_two_run_side_by_side_with_the_same_names(
    private: PrivateLibvirtd, lab_directory: Path, roms: Path
) -> None:
    other = PrivateLibvirtd(lab_directory / "other", name="private", own_network=True, bridges=["xenbr0"])
    try:
        for one in (private, other):
            one.start()
            hypervisor = connect(one.uri)
            assert hypervisor.create(tick_xml("twin", roms, bridges=["xenbr0"])).domid == 1
            hypervisor.close()
        other.stop()
        hypervisor = connect(private.uri)
        assert [info.name for info in hypervisor.domains()] == ["twin"]
        hypervisor.close()
    finally:
        other.stop()


@pytest.mark.libvirt
def test_it_outlives_its_starter_and_is_found_and_stopped_by_another(private: PrivateLibvirtd) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from xmcompat.backends.private_libvirtd import PrivateLibvirtd\n"
        "PrivateLibvirtd(Path(sys.argv[1]), name='private', own_network=True).start()\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(private.directory)],
        env={"PYTHONPATH": str(CHECKOUT)}, timeout=30, check=True, start_new_session=True,
    )  # fmt: skip
    found = PrivateLibvirtd.at(private.directory)
    assert (found.name, found.own_network, found.bridges) == ("private", True, ())
    assert found.running
    connect(found.uri).close()
    found.stop()
    assert not private.running
    assert own_cgroups(private) == []


@pytest.mark.libvirt
def test_many_starts_at_once_are_one(private: PrivateLibvirtd) -> None:
    pids: list[int | None] = []

    def start() -> None:
        one = PrivateLibvirtd(private.directory, name="private", own_network=True)
        one.start()
        pids.append(one.pid)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 4
    assert set(pids) == {private.pid}


@pytest.mark.libvirt
def test_its_first_process_is_known_however_late_its_starter_writes_it_down(
    private: PrivateLibvirtd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It mounts another /proc, which its starter sees too: what the starter looks up there, it must have before."""
    text = Path(private_init.__file__).read_text()
    late = text.replace("    boot = Path(", "    time.sleep(0.5)\n    boot = Path(")
    assert late != text
    (tmp_path / "private_init.py").write_text(late)
    monkeypatch.setattr(private_init, "__file__", str(tmp_path / "private_init.py"))
    private.start()
    assert private.running
    private.stop()
    assert own_cgroups(private) == []


@pytest.mark.libvirt
def test_a_daemon_that_dies_is_started_again(private: PrivateLibvirtd) -> None:
    private.start()
    for program in ("libvirtd", "virtlogd"):
        old = private.daemon_pid(program)
        assert old is not None
        os.kill(old, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while private.daemon_pid(program) in (old, None):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    deadline = time.monotonic() + 60
    while True:
        try:
            connect(private.uri).close()
            break
        except HypervisorUnreachable:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.libvirt
def test_without_a_network_of_its_own_it_sees_the_hosts(lab_directory: Path) -> None:
    shared = PrivateLibvirtd(lab_directory / "shared", name="shared")
    try:
        shared.start()
        assert inside(shared, "ls", "/sys/class/net").split() == sorted(os.listdir("/sys/class/net"))
    finally:
        shared.stop()


@pytest.mark.libvirt
@pytest.mark.guest
def test_a_guest_starts_where_there_is_only_cgroup_v2(private: PrivateLibvirtd, roms: Path) -> None:
    (roms / "v2.xml").write_text(tick_xml("v2", roms))
    code = (
        "import sys; from pathlib import Path\n"
        "from xmcompat.backends.libvirt_kvm import connect\n"
        "from xmcompat.backends.private_libvirtd import PrivateLibvirtd\n"
        "private = PrivateLibvirtd(Path(sys.argv[1]), name='private', own_network=True)\n"
        "private.start()\n"
        "print(connect(private.uri).create(Path(sys.argv[2]).read_text()).state)\n"
        "private.stop()\n"
    )
    only_v2 = "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\""
    words = [sys.executable, "-c", code, str(private.directory), str(roms / "v2.xml")]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", only_v2, "sh", *words],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("running\n", "")
    assert own_cgroups(private) == []


@pytest.mark.libvirt
def test_a_number_that_now_belongs_to_another_process_is_not_taken_for_it(private: PrivateLibvirtd) -> None:
    private.start()
    pid, start, boot = (private.directory / "init.pid").read_text().split()
    private.stop()
    with subprocess.Popen(["sleep", "60"]) as bystander:
        its_start = process_start(bystander.pid)
        for text in (f"{bystander.pid} {start} {boot}", f"{bystander.pid} {its_start} other-boot", f"{pid} x", ""):
            (private.directory / "init.pid").write_text(text)
            assert not private.running
            private.stop()
            assert bystander.poll() is None
        bystander.kill()


@pytest.mark.libvirt
def test_one_that_cannot_answer_is_an_error_that_names_the_log_and_leaves_nothing(
    private: PrivateLibvirtd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libvirtd").write_text("#!/bin/sh\nexec sleep 1000\n")
    (tmp_path / "libvirtd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    launch = PrivateLibvirtd._launch

    def launched(self: PrivateLibvirtd) -> None:
        launch(self)
        monkeypatch.setattr(private_libvirtd, "START_DEADLINE", 1.0)  # for the answer alone

    monkeypatch.setattr(PrivateLibvirtd, "_launch", launched)
    with pytest.raises(HypervisorUnreachable) as raised:
        private.start()
    assert raised.value.line() == (
        f"the private libvirtd in {private.directory} does not answer; see {private.directory}/log/libvirtd.log"
    )
    assert not private.running
    assert own_cgroups(private) == []


@pytest.mark.libvirt
def test_one_that_takes_too_long_to_prepare_leaves_nothing(
    private: PrivateLibvirtd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ip").write_text("#!/bin/sh\nexec sleep 1000\n")
    (tmp_path / "ip").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(private_libvirtd, "START_DEADLINE", 0.5)
    with pytest.raises(HypervisorUnreachable, match="it did not get ready in time$"):
        private.start()
    assert own_cgroups(private) == []
    assert processes_of(private) == []


@pytest.mark.libvirt
def test_one_that_cannot_be_prepared_says_why_and_leaves_nothing(lab_directory: Path) -> None:
    bad = PrivateLibvirtd(lab_directory / "bad", name="bad", own_network=True, bridges=["x" * 16])
    with pytest.raises(HypervisorUnreachable) as raised:
        bad.start()
    assert "cannot start: ip link add name xxxxxxxxxxxxxxxx" in raised.value.line()
    assert "\n" not in raised.value.line()
    assert not bad.running
    assert own_cgroups(bad) == []


@pytest.mark.libvirt
def test_a_lab_of_a_run_that_was_killed_isremoved(tmp_path: Path) -> None:
    labs = Path(f"/tmp/xmcompat-stale-{os.getpid()}")
    stale = PrivateLibvirtd(labs / "1" / "node", name="stale", own_network=True)
    stale.start()
    pid = stale.pid
    (labs / "1" / "owner").write_text("1 0")
    remove_stale_labs(labs)
    assert not (labs / "1").exists()
    assert _cmdline(str(pid)) == b""
    assert own_cgroups(stale) == []
    labs.rmdir()


def test_what_cannot_serve_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(XmError, match="too long a path"):
        PrivateLibvirtd(Path("/tmp") / ("x" * 90))
    for hidden in ("/run/x", "/var/lib/libvirt/x", "/etc/libvirt"):
        with pytest.raises(XmError, match="which a private libvirtd hides"):
            PrivateLibvirtd(Path(hidden))
    for name in ("", "-", "a b", "A", "a/b", "x" * 40):
        with pytest.raises(XmError, match="cannot be a host name"):
            PrivateLibvirtd(Path("/tmp/x"), name=name)
    with pytest.raises(XmError, match="makes no bridges"):
        PrivateLibvirtd(Path("/tmp/x"), bridges=["xenbr0"])
    with pytest.raises(XmError, match="there is no private libvirtd in"):
        PrivateLibvirtd.at(tmp_path)
    with pytest.raises(HypervisorUnreachable, match="does not run"):
        PrivateLibvirtd(Path("/tmp/x")).enter(["id"])
    PrivateLibvirtd(tmp_path / "none").stop()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(private_libvirtd, "SBIN", ())
    with pytest.raises(XmError) as raised:
        PrivateLibvirtd(Path(f"/tmp/xmcompat-none-{os.getpid()}")).start()
    assert raised.value.line() == "libvirtd is not installed; install libvirt-daemon-system and util-linux"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(XmError) as raised:
        PrivateLibvirtd(Path("/tmp/x")).start()
    assert raised.value.line() == "a private libvirtd needs root"


def test_cgroup_hierarchies_are_recognised() -> None:
    assert [(str(one.mountpoint), one.kind, one.options) for one in hierarchies(V1)] == [
        ("/sys/fs/cgroup/unified", "cgroup2", ""),
        ("/sys/fs/cgroup/systemd", "cgroup", "name=systemd"),
        ("/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct"),
    ]
    assert [(str(one.mountpoint), one.kind) for one in hierarchies(V2)] == [("/sys/fs/cgroup", "cgroup2")]
    assert hierarchies("") == []


def test_the_own_cgroup_is_found_in_each_hierarchy() -> None:
    membership = "9:name=systemd:/user.slice\n4:cpu,cpuacct:/a/b\n0::/user.slice/session-1.scope\n"
    unified, systemd, cpu = hierarchies(V1)
    assert str(own_cgroup(unified, membership)) == "/sys/fs/cgroup/unified/user.slice/session-1.scope"
    assert str(own_cgroup(systemd, membership)) == "/sys/fs/cgroup/systemd/user.slice"
    assert str(own_cgroup(cpu, membership)) == "/sys/fs/cgroup/cpu,cpuacct/a/b"
    assert str(own_cgroup(hierarchies(V2)[0], "0::/\n")) == "/sys/fs/cgroup"
    assert own_cgroup(Hierarchy(Path("/sys/fs/cgroup/pids"), "cgroup", "pids"), membership) is None
    assert own_cgroup(hierarchies(V2)[0], "0::/../elsewhere\n") is None
