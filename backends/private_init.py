"""Process 1 of a private libvirtd: makes the namespaces, hides the system's libvirt, keeps the daemons running.

Run as a program with one argument, the directory of the private libvirtd (its ``settings.json`` says what to
do); ``private_libvirtd`` starts it. It needs the standard library alone, so that it starts at once and works
whichever way xmcompat is installed.

On its standard output it says one line, "ready" or what went wrong; then nothing any more.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18

#: Where the system's libvirt keeps its things, and the folder of ours that takes the place.
HIDDEN = {
    "/run": "run",
    "/etc/libvirt": "etc",
    "/var/lib/libvirt": "lib",
    "/var/cache/libvirt": "cache",
    "/var/log/libvirt": "log",
}
CGROUPS = Path("/sys/fs/cgroup")
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 30.0


class Plan:
    """What ``settings.json`` says to process 1; the rest of it is in the daemons' own files by now."""

    def __init__(
        self, *, name: str, own_network: bool, bridges: list[str], cgroup: str, listens: bool = False, **_files: str
    ) -> None:
        self.name = name
        self.own_network = own_network
        self.bridges = bridges
        self.cgroup = cgroup
        self.listens = listens

    @property
    def daemons(self) -> tuple[tuple[str, ...], ...]:
        return ("virtlogd",), ("libvirtd", "--listen") if self.listens else ("libvirtd",)


class Hierarchy:
    """One mounted cgroup hierarchy: where it is, its kind, and the options that mount it again."""

    def __init__(self, mountpoint: Path, kind: str, options: str) -> None:
        self.mountpoint = mountpoint
        self.kind = kind
        self.options = options


def hierarchies(mountinfo: str) -> list[Hierarchy]:
    """The hierarchies under /sys/fs/cgroup in the text of a mountinfo file."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        mountpoint = Path(left.split()[4])
        kind, _, options = right.split(" ", 2)
        if kind in ("cgroup", "cgroup2") and (mountpoint == CGROUPS or CGROUPS in mountpoint.parents):
            names = [word for word in options.split(",") if word not in ("rw", "ro", "xattr", "clone_children")]
            kept = [word for word in names if not word.startswith("release_agent=")]
            found.append(Hierarchy(mountpoint, kind, ",".join(kept) if kind == "cgroup" else ""))
    return found


def own_cgroup(hierarchy: Hierarchy, membership: str) -> Path | None:
    """Where this process is in HIERARCHY, by the text of /proc/self/cgroup; None outside of what is mounted."""
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        same = not controllers if hierarchy.kind == "cgroup2" else _same_controllers(controllers, hierarchy.options)
        if same and not path.startswith("/.."):
            return hierarchy.mountpoint / path.lstrip("/")
    return None


def _same_controllers(controllers: str, options: str) -> bool:
    return bool(controllers) and set(controllers.split(",")) <= set(options.split(","))


def join_cgroup(hierarchy: Hierarchy, home: Path, name: str) -> Path | None:
    """Make the child NAME of our own cgroup HOME and move this process there; None where that is not allowed."""
    child = home / name
    try:
        child.mkdir(exist_ok=True)
        if hierarchy.kind == "cgroup":
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (child / file).exists() and not (child / file).read_text().strip():
                    (child / file).write_text((home / file).read_text())
        (child / "cgroup.procs").write_text("0")
    except OSError:
        return None
    return child


_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "cannot make namespaces")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )
    _check(result, f"cannot mount {target}")


def _mount_cgroups(found: list[Hierarchy]) -> None:
    """Show the hierarchies from our own cgroup downwards, where libvirt looks for them."""
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    if any(hierarchy.mountpoint != CGROUPS for hierarchy in found):
        mount("tmpfs", str(CGROUPS), "tmpfs", flags, "mode=755")
    for hierarchy in found:
        hierarchy.mountpoint.mkdir(exist_ok=True)
        mount(hierarchy.kind, str(hierarchy.mountpoint), hierarchy.kind, flags, hierarchy.options)


def _leave_cgroup2_root(found: list[Hierarchy]) -> None:
    """Controllers can be given to guests only by a cgroup without processes of its own: move into a leaf."""
    for hierarchy in found:
        if hierarchy.kind == "cgroup2":
            leaf = hierarchy.mountpoint / "daemons"
            leaf.mkdir(exist_ok=True)
            (leaf / "cgroup.procs").write_text("0")


def _hide_system_libvirt(directory: Path) -> None:
    images = Path("/var/lib/libvirt/images")
    if images.is_dir():
        (directory / "lib/images").mkdir(exist_ok=True)
        mount(str(images), str(directory / "lib/images"), flags=MS_BIND | MS_REC)
    for path, ours in HIDDEN.items():
        Path(path).mkdir(parents=True, exist_ok=True)
        mount(str(directory / ours), path, flags=MS_BIND | MS_REC)
    mount(str(directory / "hosts"), "/etc/hosts", flags=MS_BIND)
    resolver = Path("/etc/resolv.conf").resolve()
    if resolver.is_relative_to("/run"):
        resolver.parent.mkdir(parents=True, exist_ok=True)
        resolver.write_text("")
    elif resolver.exists():
        mount(str(directory / "resolv.conf"), str(resolver), flags=MS_BIND)


def _make_network(bridges: list[str]) -> None:
    _ip("link", "set", "lo", "up")
    for bridge in bridges:
        _ip("link", "add", "name", bridge, "type", "bridge")
        _ip("link", "set", bridge, "up")


def _ip(*words: str) -> None:
    done = subprocess.run(("ip", *words), capture_output=True, text=True, timeout=10, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def prepare(directory: Path, plan: Plan, found: list[Hierarchy]) -> None:
    """Everything that must be in place before a daemon starts. Raises OSError."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    socket.sethostname(plan.name)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if plan.own_network:
        mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        _make_network(plan.bridges)
    if found:
        _mount_cgroups(found)
        _leave_cgroup2_root(found)
    _hide_system_libvirt(directory)


class Daemon:
    """One daemon that is started again whenever it ends, after a pause that grows where it ends by itself."""

    def __init__(self, argv: tuple[str, ...]) -> None:
        self.argv = argv
        self.pid = 0
        self.since = 0.0
        self.due = 0.0
        self.pause = SHORTEST_PAUSE

    def start(self) -> None:
        process = subprocess.Popen(
            self.argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True,
            preexec_fn=_unblock_children,
        )  # fmt: skip
        self.pid = process.pid
        self.since = time.monotonic()
        process.returncode = 0  # reaped by keep(), as all others

    def ended(self, now: float, status: int) -> None:
        """It has ended at NOW with STATUS, as ``os.waitpid`` tells it. One that was killed is not to blame."""
        self.pid = 0
        if now - self.since > LONGEST_PAUSE or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            self.pause = SHORTEST_PAUSE
        self.due = now + self.pause
        self.pause = min(self.pause * 2, LONGEST_PAUSE)


def _unblock_children() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def keep(daemons: list[Daemon]) -> NoReturn:
    """Reap every process that ends in here, and start the daemons again, for ever."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            pid, status = 0, 0
        now = time.monotonic()
        for daemon in daemons:
            if pid and daemon.pid == pid:
                sys.stderr.write(f"{daemon.argv[0]} ended with status {status}; starting it again\n")
                sys.stderr.flush()
                daemon.ended(now, status)
            elif not daemon.pid and daemon.due <= now:
                daemon.start()
        if not pid:
            signal.sigtimedwait({signal.SIGCHLD}, 0.5 if any(not daemon.pid for daemon in daemons) else 3600)


def first_process(directory: Path, plan: Plan, found: list[Hierarchy]) -> NoReturn:
    """Process 1 inside the namespaces."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        os.chdir("/")
        prepare(directory, plan, found)
        daemons = [Daemon(argv) for argv in plan.daemons]
        for daemon in daemons:
            daemon.start()
        _say("ready")
    except OSError as error:
        _say(str(error.strerror or error) if error.filename is None else f"{error.filename}: {error.strerror}")
        os._exit(1)
    keep(daemons)


def _say(line: str) -> None:
    os.write(1, line.encode() + b"\n")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.close(null)


def process_start(pid: int) -> str:
    """When PID was started, in ticks since the machine's boot: tells it from a later process of that number."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def main() -> None:
    """Leave the namespaces' first process behind, its number in DIRECTORY/init.pid, and end."""
    directory = Path(sys.argv[1])
    plan = Plan(**json.loads((directory / "settings.json").read_text()))
    found, made = [], []
    membership = Path("/proc/self/cgroup").read_text()
    for hierarchy in hierarchies(Path("/proc/self/mountinfo").read_text()):
        home = own_cgroup(hierarchy, membership)
        child = join_cgroup(hierarchy, home, plan.cgroup) if home else None
        if child:
            found.append(hierarchy)
            made.append(str(child))
    (directory / "cgroups").write_text("".join(f"{path}\n" for path in made))
    flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID
    try:
        unshare(flags | (CLONE_NEWCGROUP if found else 0) | (CLONE_NEWNET if plan.own_network else 0))
    except OSError as error:
        _say(str(error.strerror))
        return
    known, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(tell)
        if os.read(known, 1) == b"":
            os._exit(1)  # nobody would find it
        os.close(known)
        first_process(directory, plan, found)
    # the first process mounts another /proc, which this one sees too, and in which it has another number
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (directory / "init.pid").write_text(f"{pid} {process_start(pid)} {boot}\n")
    os.write(tell, b".")


if __name__ == "__main__":
    main()
