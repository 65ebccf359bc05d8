"""A small network of namespaces: the outside, which is a switch, and hosts joined to it by their uplink ``up0``.

Nothing of it is ever in the machine's own network namespace. A host is *bare* (a namespace with files of its own,
there in a moment) or a *node* (a private libvirtd). In both, programs can be run, sysctls written, rules loaded; all
of it goes with the host. Duplicate address detection is off, so that IPv6 addresses can be used at once.

    lan.outside.run("ping", "-c1", "-W2", host.address)
    before = host.snapshot()
    ...
    assert same(before, host.snapshot)
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from tests.lab import bare_init
from tests.lab.fixtures import CHECKOUT, Outcome
from tests.lab.inside import echo_answered, forked, open_socket
from tests.lab.snapshot import Snapshot, taken
from xmcompat.backends.private_libvirtd import PrivateLibvirtd

OUTSIDE = "198.51.100.1"
OUTSIDE6 = "2001:db8:1::1"
UPLINK = "up0"

T = TypeVar("T")


class Place:
    """A network namespace of the lab, with what is in it. ``pid`` is a process in it that stays.

    ``address`` and ``address6`` are those on the LAN, "" where it is not on it.
    """

    name: str
    pid: int
    address = ""
    address6 = ""

    def enter(self, argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> list[str]:
        """The command that runs ARGV inside."""
        raise NotImplementedError

    def start(
        self, argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start ARGV inside and go on; all three streams are pipes. The caller ends it (``end``) or waits for it."""
        return subprocess.Popen(
            self.enter(argv, cwd=cwd, env=env), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def outcome(
        self, *argv: str, input: str = "", timeout: float = 60.0, cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Outcome:  # fmt: skip
        """Run ARGV inside, with INPUT. After TIMEOUT seconds it is killed with its children; that raises."""
        with self.start(argv, cwd=cwd, env=env) as process:
            try:
                stdout, stderr = process.communicate(input, timeout)
            except BaseException:
                end(process)
                raise
        return Outcome(stdout, stderr, process.returncode)

    def run(self, *argv: str, input: str = "", timeout: float = 60.0) -> str:
        """What ARGV says inside, its standard output. Raises AssertionError with all it said where it fails."""
        stdout, stderr, status = self.outcome(*argv, input=input, timeout=timeout)
        assert status == 0, f"{' '.join(argv)} in {self.name} gave {status}: {stdout}{stderr}"
        return stdout

    def json(self, *argv: str) -> Any:
        """What ARGV says inside, as JSON: ``host.json("ip", "-j", "link")``."""
        return json.loads(self.run(*argv) or "[]")

    def call(self, act: Callable[[], T], *, timeout: float = 60.0) -> T:
        """What the function ACT returns inside, in a process forked for it; see ``inside.forked``."""
        return forked(self.pid, act, seconds=timeout)

    def python(self, code: str, *words: str, input: str = "", timeout: float = 60.0) -> str:
        """What the Python program CODE prints inside; xmcompat and tests can be imported."""
        stdout, stderr, status = self.outcome(
            sys.executable, "-c", code, *words, input=input, timeout=timeout, env={"PYTHONPATH": str(CHECKOUT)}
        )
        assert status == 0, f"Python in {self.name} gave {status}: {stdout}{stderr}"
        return stdout

    def program(
        self, module: str, *words: str, input: str = "", timeout: float = 60.0, cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Outcome:  # fmt: skip
        """Run a program of xmcompat inside: ``host.program("xmcompat.tool", "network", "plan")``."""
        return self.outcome(*self.program_argv(module, *words), input=input, timeout=timeout, cwd=cwd,
                            env={**self.program_env(), **(env or {})})  # fmt: skip

    @staticmethod
    def program_argv(module: str, *words: str) -> list[str]:
        return [sys.executable, "-m", module, *words]

    def program_env(self) -> dict[str, str]:
        return {"PYTHONPATH": str(CHECKOUT), "LC_ALL": "C.UTF-8", "XMCOMPAT_ACCELERATOR": "tcg"}

    def sysctl(self, name: str, value: str | None = None) -> str:
        """The sysctl NAME ("net.ipv4.ip_forward"), after it was set to VALUE. Dots divide; "/" stands for a dot."""
        path = "/proc/sys/" + name.replace(".", "\0").replace("/", ".").replace("\0", "/")
        if value is not None:
            self.run("tee", path, input=value)
        return self.run("cat", path).strip()

    def snapshot(self) -> Snapshot:
        """The whole state of its network; waits until addresses that are being tried can be used."""
        return self.call(taken)

    def links(self) -> list[str]:
        """The names of its network devices."""
        return sorted(self.run("ls", "/sys/class/net").split())

    def mac_of(self, device: str) -> str:
        return self.run("cat", f"/sys/class/net/{device}/address").strip()

    def pings(self, address: str, *, count: int = 10, seconds: float = 1.0, source: str | None = None) -> bool:
        """Whether ADDRESS answers one of COUNT echo requests, each within SECONDS, from the address SOURCE."""
        return echo_answered(self.pid, address, count=count, seconds=seconds, source=source)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of the test in this place's network. The caller closes it."""
        return open_socket(self.pid, family, kind, protocol)


class BareHost(Place):
    """A namespace with a process table, /etc, /run, /var/lib and /var/log of its own; the rest is the machine's."""

    def __init__(self, directory: Path, name: str) -> None:
        """Starts it. Raises AssertionError where it cannot."""
        self.name = name
        directory.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-I", "-S", bare_init.__file__, str(directory), name]
        namespaces = ("--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child")
        with open(directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                ["unshare", *namespaces, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                start_new_session=True, cwd="/",
            )  # fmt: skip
        assert self._process.stdout is not None
        said = self._process.stdout.readline().decode().strip()
        if said != "ready":
            self.stop()
            raise AssertionError(f"the host {name} cannot start: {said or (directory / 'log').read_text()}")
        unshare = self._process.pid
        self.pid = int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()[0])

    def enter(self, argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> list[str]:
        namespaces = ("--mount", "--net", "--uts", "--ipc", "--pid")
        words = [f"{name}={value}" for name, value in (env or {}).items()]
        return ["nsenter", f"--target={self.pid}", *namespaces, "env", f"--chdir={cwd or '/'}", *words, *argv]

    def stop(self) -> None:
        """End all processes in it. May be repeated."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        end(self._process)


class NodeHost(Place):
    """A private libvirtd with a network and an /etc of its own; ``node`` is what ``run_xm`` and others take."""

    def __init__(self, directory: Path, name: str, bridges: Sequence[str] = (), node: PrivateLibvirtd | None = None) -> None:
        """Starts it, with BRIDGES; or NODE, which is one of DIRECTORY."""
        self.name = name
        self.node = node or PrivateLibvirtd(directory, name=name, own_network=True, bridges=bridges)
        self.start_node()

    def start_node(self) -> None:
        """Start it, without a cable."""
        self.node.start()
        pid = self.node.pid
        assert pid is not None
        self.pid = pid
        self.python(OWN_ETC, str(self.node.directory / "files"))

    def enter(self, argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> list[str]:
        return self.node.enter(argv, cwd=cwd, env=env)

    def program_env(self) -> dict[str, str]:
        return {**super().program_env(), "XMCOMPAT_URI": self.node.uri}

    def xm(self, *words: str, input: str = "", timeout: float = 60.0, cwd: Path | None = None) -> Outcome:
        """Run ``xm WORDS`` inside."""
        return self.program("xmcompat.xm", *words, input=input, timeout=timeout, cwd=cwd)

    def stop(self) -> None:
        """End all processes in it, guests included. May be repeated."""
        self.node.stop()


#: Run in a node: an /etc that can be written, with what the private libvirtd has mounted there.
OWN_ETC = """
import subprocess, sys
from pathlib import Path
place = Path(sys.argv[1])
place.mkdir(exist_ok=True)
def mount(*words):
    subprocess.run(["mount", *map(str, words)], check=True)
mount("-t", "tmpfs", "tmpfs", place)
upper, work, etc = place / "upper", place / "work", place / "etc"
for folder in (upper, work, etc):
    folder.mkdir()
mounted = [line.split()[4] for line in open("/proc/self/mountinfo") if line.split()[4].startswith("/etc/")]
mount("-t", "overlay", "-o", f"lowerdir=/etc,upperdir={upper},workdir={work}", "overlay", etc)
for path in mounted:
    mount("--bind", path, etc / path.removeprefix("/etc/"))
mount("--rbind", etc, "/etc")
"""


SWITCH = f"""\
link add lan address 02:00:00:00:00:01 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
link set lan up
addr add {OUTSIDE}/24 dev lan
addr add {OUTSIDE6}/64 dev lan
"""

H = TypeVar("H", bound="BareHost | NodeHost")


class Lan:
    """The outside and its hosts; ``close`` it in the end.

    The switch is the bridge ``lan`` of the outside, with 198.51.100.1/24 and 2001:db8:1::1/64; the uplink of the
    first host is its port ``h1``.
    """

    def __init__(self, directory: Path) -> None:
        """DIRECTORY takes the files of the outside and of all hosts: a short path, for the sake of Unix sockets."""
        self.directory = directory
        self.hosts: list[BareHost | NodeHost] = []
        self.outside = BareHost(directory / "out", "outside")
        self.outside.address, self.outside.address6 = OUTSIDE, OUTSIDE6
        with self._closed_on_failure():
            set_sysctls(self.outside, WITHOUT_DAD)
            self.outside.run("ip", "-batch", "-", input=SWITCH)
            if Path("/proc/sys/net/bridge").exists():
                set_sysctls(self.outside, UNFILTERED)

    def bare_host(self) -> BareHost:
        """One more host: the first has 198.51.100.11/24, 2001:db8:1::11/64 and default routes; the next .12, ::12."""
        return self.joined(BareHost)

    def node_host(self, bridges: Sequence[str] = ()) -> NodeHost:
        """One more host, with a libvirtd and BRIDGES, which do not have the uplink."""
        return self.joined(lambda directory, name: NodeHost(directory, name, bridges))

    def joined(self, make: Callable[[Path, str], H]) -> H:
        """One more host, which MAKE makes of its directory and its name."""
        number = len(self.hosts) + 1
        with self._closed_on_failure():
            host = make(self.directory / f"h{number}", f"host{number}")
            self.hosts.append(host)
            self.cable(host, number)
        return host

    def cable(self, host: BareHost | NodeHost, number: int) -> None:
        """Join host NUMBER to the switch, with addresses, routes and the others' names."""
        set_sysctls(host, WITHOUT_DAD)
        wire(host, UPLINK, self.outside, f"h{number}", mac=f"02:00:00:00:00:{10 + number}")
        self.outside.run("ip", "link", "set", f"h{number}", "master", "lan")
        host.run("ip", "-batch", "-", input=uplink_commands(number))
        host.run("tee", "-a", "/etc/hosts", input=other_hosts(number))
        host.address, host.address6 = address(number), address6(number)

    @contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End all processes of all hosts; their devices and mounts go with them. May be repeated."""
        for host in (*self.hosts, self.outside):
            host.stop()


UNFILTERED = {f"net.bridge.bridge-nf-call-{kind}tables": "0" for kind in ("ip", "ip6", "arp")}
WITHOUT_DAD = {"net.ipv6.conf.default.accept_dad": "0", "net.ipv6.conf.all.accept_dad": "0"}


def address(number: int) -> str:
    """Of the uplink of host NUMBER, from 1."""
    return f"198.51.100.{10 + number}"


def address6(number: int) -> str:
    """Of the uplink of host NUMBER, from 1."""
    return f"2001:db8:1::{10 + number}"


def uplink_commands(number: int) -> str:
    """What ``ip -batch`` does to give a host its addresses and routes. Pure."""
    return (
        f"addr add {address(number)}/24 brd + dev {UPLINK}\n"
        f"addr add {address6(number)}/64 dev {UPLINK}\n"
        f"route add default via {OUTSIDE} dev {UPLINK}\n"
        f"route add default via {OUTSIDE6} dev {UPLINK}\n"
    )


def other_hosts(number: int) -> str:
    """Lines of /etc/hosts for all but host NUMBER, who knows itself. Pure."""
    lines = {OUTSIDE: "outside", **{address(other): f"host{other}" for other in range(1, 5) if other != number}}
    return "".join(f"{there} {name}\n" for there, name in lines.items())


def set_sysctls(place: Place, values: Mapping[str, str]) -> None:
    """All VALUES at once, by one process."""
    place.run("sysctl", "-q", "-w", *(f"{name}={value}" for name, value in values.items()))


def wire(one: Place, device: str, other: Place, peer: str, *, mac: str | None = None) -> None:
    """Join DEVICE of ONE (with MAC) to PEER of OTHER by a cable; both are up. Neither is ever anywhere else."""
    own_mac = ("address", mac) if mac else ()
    argv = ("link", "add", device, *own_mac, "netns", str(one.pid), "type", "veth", "peer", "name", peer)
    # the network alone: process numbers are those of outside
    done = subprocess.run(
        ["nsenter", f"--target={one.pid}", "--net", "ip", *argv, "netns", str(other.pid)],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"no cable from {one.name} to {other.name}: {done.stderr}"
    one.run("ip", "link", "set", device, "up")
    other.run("ip", "link", "set", peer, "up")


def end(process: subprocess.Popen[Any]) -> None:
    """Kill PROCESS, started as a session of its own, with its children; wait for its end. May be repeated."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
