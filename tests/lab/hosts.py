"""Several hosts between which guests move: each a private libvirtd that the others reach over TLS and TCP.

    with new_hosts(lab_directory, 2) as hosts:
        one, two = hosts.nodes
        one.hypervisor.begin_migration(uuid, Transfer(two.tls, migrate_uri=two.migrate_uri))
        hosts.slow("20mbit"); hosts.cut(two); two.crash(); two.boot(); two.kill_libvirtd()

The first is ``host1``, at 198.51.100.11. Each has the bridge ``xenbr0``, which a cable joins to the guests' network,
the bridge ``guests`` of the outside; links between hosts are cut and slowed down without it. ``shared`` is a folder that all
have at the same place. Each believes in the certificates of the lab's own authority.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from tests.lab.fixtures import destroy_all
from tests.lab.guests import write_roms
from tests.lab.lan import UPLINK, Lan, NodeHost, Place, address, wire
from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd

GUESTS_BRIDGE = "xenbr0"
#: The outside's address in the guests' network, and what its devices there are called.
GUESTS_OUTSIDE = "203.0.113.1"
GUESTS_PORT = "gst0"

LIBVIRTD_CONF = """\
listen_tcp = 1
auth_tcp = "none"
auth_tls = "none"
key_file = "{pki}/libvirt/private/serverkey.pem"
cert_file = "{pki}/libvirt/servercert.pem"
ca_file = "{pki}/CA/cacert.pem"
keepalive_interval = 1
keepalive_count = 3
"""
QEMU_CONF = """\
migrate_tls_x509_cert_dir = "{pki}/qemu"
default_tls_x509_cert_dir = "{pki}/qemu"
keepalive_interval = 1
keepalive_count = 3
"""

_numbers = count(1)


class MovingHost(NodeHost):
    """One of the hosts. ``host.name`` is how the others know it."""

    def __init__(self, directory: Path, name: str, pki: Path, number: int) -> None:
        """Starts it; ``Hosts`` gives it its cables."""
        self.number = number
        self.pki = pki
        self.outside: Place | None = None
        self.accelerator = "tcg"  # what xm is told that there is: Linux does not run on every KVM
        self._hypervisor: LibvirtKvm | None = None
        super().__init__(
            directory, name, [GUESTS_BRIDGE],
            node=PrivateLibvirtd(
                directory, name=name, own_network=True, bridges=[GUESTS_BRIDGE], listens=True,
                libvirtd_conf=LIBVIRTD_CONF.format(pki=pki), qemu_conf=QEMU_CONF.format(pki=pki),
            ),
        )  # fmt: skip

    def start_node(self) -> None:
        """Start it, without a cable, with its certificates where libvirt looks for them, and a /var/lib/xmcompat of its own."""
        super().start_node()
        own = self.node.directory / "lib"
        self.run("mkdir", "-p", str(own), "/var/lib/xmcompat")
        self.run("mount", "--bind", str(own), "/var/lib/xmcompat")
        self.run("cp", "-r", str(self.pki), "/etc/pki")

    def program_env(self) -> dict[str, str]:
        return {**super().program_env(), "XMCOMPAT_ACCELERATOR": self.accelerator}

    @property
    def hypervisor(self) -> LibvirtKvm:
        """A connection of the tests' to its libvirtd, the same until that is killed."""
        if self._hypervisor is None:
            self._hypervisor = connect(self.node.uri)
            threading.Thread(target=self._live, args=(self._hypervisor,), daemon=True).start()
        return self._hypervisor

    def _live(self, hypervisor: LibvirtKvm) -> None:
        """Have the connection speak: libvirtd lets a client go that is silent for some seconds."""
        with suppress(Exception):  # it is closed, or libvirtd is killed
            while hypervisor is self._hypervisor:
                hypervisor._connection.getLibVersion()
                time.sleep(1.0)

    def _forget_connection(self) -> None:
        if self._hypervisor is not None:
            self._hypervisor.close()
            self._hypervisor = None

    @property
    def tcp(self) -> str:
        """The URI of its libvirtd for the other hosts' libvirtds."""
        return f"qemu+tcp://{self.name}/system"

    @property
    def tls(self) -> str:
        """The same over TLS, with the lab's certificates."""
        return f"qemu+tls://{self.name}/system"

    @property
    def unix(self) -> str:
        """The same by its socket, which all hosts find in their file system."""
        return self.node.uri

    @property
    def migrate_uri(self) -> str:
        """Where memory goes to it, over the link that can be cut."""
        return f"tcp://{address(self.number)}"

    def qemu_pids(self) -> list[int]:
        """Of its guests, by their numbers outside."""
        return [int(pid) for pid in self._children() if _comm(pid).startswith("qemu-system")]

    def _children(self) -> list[str]:
        return Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()

    def kill_qemu(self, count: int = 1) -> None:
        """Kill its guests' QEMUs, of which there are COUNT."""
        pids = self.qemu_pids()
        assert len(pids) == count, pids
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def kill_libvirtd(self, number: int = signal.SIGKILL) -> None:
        """Kill its libvirtd, which is started again after half a second; guests live on."""
        pid = self.node.daemon_pid()
        assert pid is not None
        os.kill(pid, number)
        eventually(lambda: self.node.daemon_pid() != pid, what="libvirtd ends")
        self._forget_connection()

    @contextmanager
    def without_libvirtd(self) -> Iterator[None]:
        """Its libvirtd is killed, and is not started again before the end of the body."""
        pid = self.node.daemon_pid()
        assert pid is not None
        os.kill(self.pid, signal.SIGSTOP)
        try:
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: _state(pid) in "ZX", what="libvirtd ends")
            self._forget_connection()
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)
        self.await_libvirtd()

    def await_libvirtd(self) -> None:
        """Return when its libvirtd answers."""
        self._forget_connection()
        self.node.start()
        eventually(lambda: self.node.daemon_pid() is not None, what="libvirtd is started")
        self.node._await_answer()

    def crash(self) -> None:
        """As a power cut: every process in it ends at once, and nobody is told."""
        self.unplug()
        self._forget_connection()
        self.node.stop()

    def unplug(self) -> None:
        """Take away its cables, which a network that nobody is in any more may hold for a while."""
        if self.outside is not None:
            for cable in (f"h{self.number}", f"g{self.number}"):
                self.outside.outcome("ip", "link", "del", cable)

    @contextmanager
    def limited_memory(self, more: int) -> Iterator[None]:
        """All that runs in it, libvirtd too, gets no more than MORE bytes beyond what it has: the kernel kills what wants it."""
        for line in (self.node.directory / "cgroups").read_text().splitlines():
            for name, used in (("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current")):
                limit = Path(line) / name
                if limit.exists():
                    before = limit.read_text()
                    limit.write_text(str(int((Path(line) / used).read_text()) + more))
                    try:
                        yield
                    finally:
                        limit.write_text(before)
                    return
        raise AssertionError("no memory controller")

    def stop(self) -> None:
        self._forget_connection()
        super().stop()


class Hosts:
    """The outside and its hosts; ``close`` it in the end."""

    def __init__(self, directory: Path, number: int) -> None:
        """Starts NUMBER of them. DIRECTORY is a short path, for the sake of Unix sockets."""
        self.directory = directory
        self.shared = directory / "shared"
        self.shared.mkdir(parents=True)
        write_roms(self.shared)
        self.nodes: list[MovingHost] = []
        self.lan = Lan(directory)
        self.outside: Place = self.lan.outside
        try:
            self.outside.run("ip", "-batch", "-", input=GUESTS_NETWORK)
            certificates(directory / "pki", [f"host{one}" for one in range(1, number + 1)])
            for _ in range(number):
                self._add()
        except BaseException:
            self.close()
            raise

    def _add(self) -> None:
        number = len(self.nodes) + 1
        host = self.lan.joined(
            lambda directory, name: MovingHost(directory, name, self.directory / f"pki/{name}", number)
        )
        self.nodes.append(host)
        self._cable(host)

    def _cable(self, host: MovingHost) -> None:
        """Join its guests to those of the others."""
        host.outside = self.outside
        wire(host, GUESTS_PORT, self.outside, f"g{host.number}")
        host.run("ip", "link", "set", GUESTS_PORT, "master", GUESTS_BRIDGE)
        self.outside.run("ip", "link", "set", f"g{host.number}", "master", "guests")

    def boot(self, host: MovingHost) -> None:
        """Start one that has crashed: its disks and definitions are as they were, nothing runs."""
        host.unplug()
        host.start_node()
        self.lan.cable(host, host.number)
        self._cable(host)

    def cut(self, host: MovingHost) -> None:
        """Nothing reaches it, nor leaves it; guests' frames do."""
        self.outside.run("ip", "link", "set", f"h{host.number}", "down")

    def heal(self, host: MovingHost) -> None:
        self.outside.run("ip", "link", "set", f"h{host.number}", "up")

    def slow(self, rate: str) -> None:
        """Let no more through between hosts, each way, than RATE ("20mbit").

        The kernel queues little, as it would next to larger guests: it takes all that a tiny guest has at once otherwise.
        """
        for host in self.nodes:
            host.sysctl("net.ipv4.tcp_wmem", "4096 16384 65536")
            host.run("tc", *shape(UPLINK, rate))
            self.outside.run("tc", *shape(f"h{host.number}", rate))

    def fast(self) -> None:
        """Take the limit away. May be repeated."""
        for host in self.nodes:
            if not host.node.running:
                continue
            host.sysctl("net.ipv4.tcp_wmem", "4096 16384 4194304")
            host.outcome("tc", "qdisc", "del", "dev", UPLINK, "root")
            self.outside.outcome("tc", "qdisc", "del", "dev", f"h{host.number}", "root")

    def clear(self) -> None:
        """End all guests, and forget them, on all hosts; links are whole and fast again."""
        for host in self.nodes:
            if not host.node.running:
                self.boot(host)
            self.heal(host)
            host.await_libvirtd()
            destroy_all(host.node)
        self.fast()

    def close(self) -> None:
        """End all processes of all hosts. May be repeated."""
        for host in self.nodes:
            host.stop()
        self.lan.close()


def certificates(directory: Path, names: Sequence[str]) -> None:
    """Make an authority in DIRECTORY, and in a folder each what the hosts of NAMES need, in the layout of /etc/pki."""
    authority = ["-CA", str(directory / "ca.pem"), "-CAkey", str(directory / "ca.key")]
    directory.mkdir()
    _openssl(directory / "ca", "lab", ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign"], [])
    for number, name in enumerate(names, 1):
        made = directory / f"{name}-made"
        _openssl(
            made, name,
            ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature,keyEncipherment",
             "extendedKeyUsage=serverAuth,clientAuth", f"subjectAltName=DNS:{name},IP:{address(number)}"], authority,
        )  # fmt: skip
        for place, kind in PLACES.items():
            path = directory / name / place
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(directory / "ca.pem" if kind == "ca" else made.with_suffix(f".{kind}"), path)


#: Where libvirt and QEMU look for certificates, below /etc/pki.
PLACES = {
    "CA/cacert.pem": "ca",
    **{f"libvirt/{end}cert.pem": "pem" for end in ("server", "client")},
    **{f"libvirt/private/{end}key.pem": "key" for end in ("server", "client")},
    "qemu/ca-cert.pem": "ca",
    **{f"qemu/{end}-cert.pem": "pem" for end in ("server", "client")},
    **{f"qemu/{end}-key.pem": "key" for end in ("server", "client")},
}


def _openssl(made: Path, name: str, extensions: Sequence[str], authority: Sequence[str]) -> None:
    """Make the certificate MADE.pem and its key."""
    more = [word for extension in extensions for word in ("-addext", extension)]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
         "-subj", f"/CN={name}", "-config", "/dev/null", "-keyout", f"{made}.key", "-out", f"{made}.pem", *more, *authority],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip


GUESTS_NETWORK = f"""\
link add guests address 02:00:00:00:01:01 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
link set guests up
addr add {GUESTS_OUTSIDE}/24 dev guests
"""


def shape(device: str, rate: str) -> list[str]:
    """What ``tc`` does to let through no more than RATE at DEVICE. Pure."""
    return ["qdisc", "replace", "dev", device, "root", "tbf", "rate", rate, "burst", "64kb", "latency", "200ms"]


@contextmanager
def new_hosts(lab_directory: Path, number: int = 2) -> Iterator[Hosts]:
    """NUMBER of hosts, for a module's fixture."""
    hosts = Hosts(lab_directory / f"m{next(_numbers)}", number)
    try:
        yield hosts
    finally:
        hosts.close()


def eventually(true: Callable[[], object], seconds: float = 60.0, *, what: str) -> None:
    """Return when the function TRUE says so. Raises AssertionError, with WHAT was waited for, after SECONDS."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.01)


def _comm(pid: str | int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _state(pid: int) -> str:
    """The letter of a process; X where it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "X"
