"""A libvirtd of our own beside the system's, or where there is none: own directories, sockets and processes.

It runs in namespaces of its own (mount, host name, IPC, processes, cgroups; the network too, if wanted), so that
nothing it does touches the system's libvirt: what it sees at /etc/libvirt, /var/lib/libvirt, /var/cache/libvirt,
/var/log/libvirt and /run are folders of its directory. It outlives the process that started it; a later one finds
it by its directory. Guests run as root, and nothing is relabelled or chowned for them.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from xmcompat.backends import private_init
from xmcompat.errors import HypervisorUnreachable, XmError

#: Seconds until a started libvirtd must answer, and until everything of a stopped one must be gone.
START_DEADLINE = 20.0
STOP_DEADLINE = 10.0

#: The longest path a Unix socket can have, in bytes.
SOCKET_PATH_MAX = 107

PROGRAMS = ("libvirtd", "virtlogd")
SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")

#: libvirt's own filters, "clean-traffic" among them.
FILTERS = "/usr/share/libvirt/nwfilter"

LIBVIRTD_CONF = """\
host_uuid = "{host_uuid}"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
unix_sock_ro_perms = "0700"
log_filters = "3:remote 4:event 3:object 3:json 3:rpc"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
"""
QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
"""


class PrivateLibvirtd:
    """One private libvirtd, known by its directory.

    ``name`` is the host name inside. With ``own_network`` it has a network of its own, with BRIDGES in it;
    without, guests use the host's bridges. One that LISTENS can be reached as ``libvirtd_conf`` says, over TLS unless that
    says otherwise; that and ``qemu_conf`` are lines that follow our own in its files.
    """

    def __init__(
        self, directory: Path, *, name: str = "xmcompat", own_network: bool = False, bridges: Sequence[str] = (),
        listens: bool = False, libvirtd_conf: str = "", qemu_conf: str = "",
    ) -> None:  # fmt: skip
        """Nothing is started or written yet. Raises XmError for a directory or name that cannot serve."""
        self.directory = Path(os.path.abspath(directory))
        self.name = name
        self.own_network = own_network
        self.bridges = tuple(bridges)
        self.listens = listens
        self.libvirtd_conf = libvirtd_conf
        self.qemu_conf = qemu_conf
        self._refuse_unusable()

    @classmethod
    def at(cls, directory: Path) -> PrivateLibvirtd:
        """The one that was started in DIRECTORY, running or not. Raises XmError where there is none."""
        try:
            settings = json.loads((Path(directory) / "settings.json").read_text())
            return cls(
                directory, name=settings["name"], own_network=settings["own_network"], bridges=settings["bridges"],
                listens=settings.get("listens", False), libvirtd_conf=settings.get("libvirtd_conf", ""),
                qemu_conf=settings.get("qemu_conf", ""),
            )  # fmt: skip
        except (OSError, ValueError, KeyError):
            raise XmError(f"there is no private libvirtd in {directory}") from None

    def _refuse_unusable(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", self.name):
            raise XmError(f"'{self.name}' cannot be a host name")
        if self.bridges and not self.own_network:
            raise XmError("a private libvirtd in the host's network makes no bridges")
        if len(os.fsencode(self.socket)) > SOCKET_PATH_MAX:
            raise XmError(f"{self.directory} is too long a path for Unix sockets", hint="use a shorter one")
        for hidden in private_init.HIDDEN:
            if self.directory.is_relative_to(hidden) or self.directory.resolve().is_relative_to(hidden):
                raise XmError(f"{self.directory} lies in {hidden}, which a private libvirtd hides")

    @property
    def socket(self) -> Path:
        return self.directory / "run/libvirt/libvirt-sock"

    @property
    def uri(self) -> str:
        """What reaches it from inside and from outside."""
        return f"qemu+unix:///system?socket={self.socket}"

    @property
    def log(self) -> Path:
        return self.directory / "log/libvirtd.log"

    @property
    def pid(self) -> int | None:
        """Process 1 inside, by its number outside; None where it does not run."""
        try:
            words = (self.directory / "init.pid").read_text().split()
            pid, start, boot = int(words[0]), words[1], words[2]
            if boot != Path("/proc/sys/kernel/random/boot_id").read_text().strip():
                return None
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError, IndexError):
            return None
        return pid if stat[19] == start and stat[0] not in "ZX" else None

    @property
    def running(self) -> bool:
        return self.pid is not None

    def start(self) -> None:
        """Start it and wait until it answers; does nothing where it runs already.

        Raises XmError without root or libvirtd, HypervisorUnreachable after START_DEADLINE; nothing is left then.
        """
        if os.geteuid() != 0:
            raise XmError("a private libvirtd needs root")
        self._refuse_missing_programs()
        with self._lock():
            if self.running:
                return
            self._write_files()
            try:
                self._launch()
                self._await_answer()
            except BaseException:
                self._stop()
                raise

    def stop(self) -> None:
        """End it with every guest and process in it, as a power cut would. May be repeated."""
        if self.directory.is_dir():
            with self._lock():
                self._stop()

    def enter(
        self, argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> list[str]:
        """The command that runs ARGV inside, in CWD, with ENV added. Raises HypervisorUnreachable when it is down.

        Such a program keeps its cgroups: it must not start a libvirtd.
        """
        pid = self.pid
        if pid is None:
            raise HypervisorUnreachable(f"the private libvirtd in {self.directory} does not run")
        namespaces = ["--mount", "--uts", "--ipc", "--pid", *(["--net"] if self.own_network else [])]
        words = [f"{name}={value}" for name, value in (env or {}).items()]
        return ["nsenter", f"--target={pid}", *namespaces, "env", f"--chdir={cwd or '/'}", *words, *argv]

    def daemon_pid(self, program: str = "libvirtd") -> int | None:
        """The number, outside, of the libvirtd (or virtlogd) that process 1 has started."""
        init = self.pid
        if init is None:
            return None
        for child in Path(f"/proc/{init}/task/{init}/children").read_text().split():
            with suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() == program:
                    return int(child)
        return None

    # -- parts of start and stop

    @staticmethod
    def _refuse_missing_programs() -> None:
        for program in (*PROGRAMS, "nsenter"):
            if not any(os.access(Path(folder) / program, os.X_OK) for folder in _search_path()):
                raise XmError(f"{program} is not installed", hint="install libvirt-daemon-system and util-linux")

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One start or stop at a time, among all processes."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(self.directory / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write_files(self) -> None:
        shutil.rmtree(self.directory / "run", ignore_errors=True)  # empty, as after a boot
        for folder in private_init.HIDDEN.values():
            (self.directory / folder).mkdir(exist_ok=True)
        (self.directory / "run/lock").mkdir()  # libvirtd locks consoles there
        (self.directory / "init.pid").unlink(missing_ok=True)
        host_uuid = self.directory / "host_uuid"
        if not host_uuid.exists():
            host_uuid.write_text(str(uuid.uuid4()))
        own_conf = LIBVIRTD_CONF.format(host_uuid=host_uuid.read_text())
        (self.directory / "etc/libvirtd.conf").write_text(own_conf + self.libvirtd_conf)
        (self.directory / "etc/qemu.conf").write_text(QEMU_CONF + self.qemu_conf)
        with suppress(FileNotFoundError):
            shutil.copytree(FILTERS, self.directory / "etc/nwfilter", dirs_exist_ok=True)
        with suppress(FileNotFoundError):
            system = Path("/etc/hosts").read_text()
            (self.directory / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n{system}")
        (self.directory / "resolv.conf").write_text("")
        settings = {
            "name": self.name,
            "own_network": self.own_network,
            "bridges": self.bridges,
            "cgroup": self.cgroup,
            "listens": self.listens,
            "libvirtd_conf": self.libvirtd_conf,
            "qemu_conf": self.qemu_conf,
        }
        (self.directory / "settings.json").write_text(json.dumps(settings, indent=1))

    @property
    def cgroup(self) -> str:
        """The name of its cgroup in each hierarchy, of the directory's own."""
        return f"xmcompat-{self.name}-{checksum(self.directory)}"

    def _launch(self) -> None:
        """Start process 1 and wait for its word that all is prepared."""
        argv = [sys.executable, "-I", "-S", private_init.__file__, str(self.directory)]
        path = ":".join(_search_path())
        with open(self.directory / "log/init.log", "ab") as log:
            launcher = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                cwd="/", env={"PATH": path, "LC_ALL": "C", "HOME": "/root"},
            )  # fmt: skip
        with launcher:
            try:
                output, _ = launcher.communicate(timeout=START_DEADLINE)
            except BaseException as error:
                # its group: process 1 belongs to it, and its number may not have been written down yet
                os.killpg(launcher.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                output = b"it did not get ready in time"
        last = output.decode(errors="replace").strip()
        if last != "ready":
            reason = last or f"see {self.directory / 'log/init.log'}"
            raise HypervisorUnreachable(f"the private libvirtd in {self.directory} cannot start: {reason}")

    def _await_answer(self) -> None:
        """Wait until a libvirt call goes through. Raises HypervisorUnreachable."""
        from xmcompat.backends.libvirt_kvm import connect

        answered = threading.Event()

        def ask() -> None:
            while not answered.is_set() and time.monotonic() < deadline:
                try:
                    connect(self.uri).close()
                except XmError:
                    time.sleep(0.05)
                else:
                    answered.set()

        deadline = time.monotonic() + START_DEADLINE
        threading.Thread(target=ask, name="await-libvirtd", daemon=True).start()
        while not answered.wait(0.25):
            if time.monotonic() > deadline or not self.running:
                raise HypervisorUnreachable(
                    f"the private libvirtd in {self.directory} does not answer", hint=f"see {self.log}"
                )

    def _stop(self) -> None:
        pid = self.pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + STOP_DEADLINE
            while self.pid == pid:
                if time.monotonic() > deadline:
                    raise HypervisorUnreachable(f"process {pid} of the private libvirtd does not end")
                time.sleep(0.01)
        self._remove_cgroups()
        for left in (self.directory / "init.pid", self.socket):
            left.unlink(missing_ok=True)

    def _remove_cgroups(self) -> None:
        """Remove what was made in each hierarchy; the kernel may take a moment to let go of ended processes."""
        listed = self.directory / "cgroups"
        if not listed.exists():
            return
        deadline = time.monotonic() + STOP_DEADLINE
        left = [Path(line) for line in listed.read_text().splitlines()]
        while left and time.monotonic() < deadline:
            left = [path for path in left if not removed(path)]
            if left:
                time.sleep(0.02)
        listed.unlink()


def _search_path() -> list[str]:
    """PATH, with the folders of administration that an ordinary user's PATH lacks."""
    words = [word for word in os.environ.get("PATH", os.defpath).split(":") if word.startswith("/")]
    return [*words, *(folder for folder in SBIN if folder not in words)]


def checksum(directory: Path) -> str:
    """What tells the cgroups of one directory's libvirtd from those of others."""
    return f"{zlib.crc32(os.fsencode(directory)):08x}"


def removed(cgroup: Path) -> bool:
    """Remove a cgroup and those in it, deepest first; True when it is gone."""
    try:
        for folder, _, _ in os.walk(cgroup, topdown=False):
            os.rmdir(folder)
    except FileNotFoundError:
        return not cgroup.exists()
    except OSError:
        return False
    return True
