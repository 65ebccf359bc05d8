"""OpenSSH between hosts of the lab: each has an sshd, keys, and a home of root in which ssh finds what it knows of the others.

    with real_ssh(hosts) as ssh:
        # xmcompat.toml says nothing of ssh: the program is the real one
        ssh.of(two).stop(); ssh.of(two).start()
        ssh.forget(one, two)    # one does not know the key of two any more

All of it is in folders of the hosts alone: root's home is ``/run/root`` by their own /etc/passwd, so that neither the
machine's /root/.ssh nor its /etc/ssh is read for them or written.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab.fixtures import CHECKOUT
from tests.lab.hosts import Hosts, MovingHost, eventually
from tests.lab.lan import end

#: Root's home and the server's files, in the /run that each host has of its own.
HOME, SERVER = "/run/root", "/run/ssh-server"
KNOWN = f"{HOME}/.ssh/known_hosts"
AUTHORIZED = f"{HOME}/.ssh/authorized_keys"
#: Where a command of ssh finds xmcompat.
PROGRAMS = f"{SERVER}/bin"

SSHD_CONFIG = f"""\
Port 22
HostKey {SERVER}/host_key
PidFile {SERVER}/pid
AuthorizedKeysFile .ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication yes
KbdInteractiveAuthentication no
UsePAM no
LogLevel VERBOSE
SetEnv PATH={PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin
Banner {SERVER}/banner
"""
#: Run in a host: root's home is there, and the account is not locked, which sshd would refuse without PAM.
ACCOUNT = f"""
import re
from pathlib import Path
passwd, shadow = Path("/etc/passwd"), Path("/etc/shadow")
passwd.write_text(re.sub(r"(?m)^root:.*$", "root:x:0:0:root:{HOME}:/bin/bash", passwd.read_text()))
shadow.write_text(re.sub(r"(?m)^root:[^:]*:", "root:*:", shadow.read_text()))
"""
#: Waits while somebody holds it up, and says so.
XMCOMPAT = """\
#!/bin/sh
[ ! -e {gate} ] || : > {gate}.reached
while [ -e {gate} ]; do sleep 0.02; done
exec env {environment} {python} -m xmcompat.tool "$@"
"""


class Sshd:
    """The server of HOST."""

    def __init__(self, host: MovingHost, gate: Path) -> None:
        self.host = host
        self.log = host.node.directory / "sshd.log"
        self._process: subprocess.Popen[bytes] | None = None
        for folder in (f"{HOME}/.ssh", PROGRAMS, "/run/sshd"):
            host.run("mkdir", "-p", "-m", "700", folder)
        host.python(ACCOUNT)
        for key in (f"{HOME}/.ssh/id_ed25519", f"{SERVER}/host_key"):
            host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        environment = {**host.program_env(), "PYTHONPATH": str(CHECKOUT)}
        words = " ".join(f"'{name}={value}'" for name, value in environment.items())
        self._script = XMCOMPAT.format(gate=gate, python=sys.executable, environment=words)
        self.write(f"{SERVER}/sshd_config", SSHD_CONFIG)

    def write(self, path: str, text: str) -> None:
        """The file PATH of the host is this TEXT."""
        self.host.run("tee", path, input=text)

    def public(self, key: str) -> str:
        """The public half of KEY, without its comment."""
        return " ".join(self.host.run("cat", f"{key}.pub").split()[:2])

    @property
    def host_key(self) -> str:
        return self.public(f"{SERVER}/host_key")

    @property
    def user_key(self) -> str:
        return self.public(f"{HOME}/.ssh/id_ed25519")

    def mend(self) -> None:
        """Its programs are there, nobody has a word to say, and it listens."""
        self.host.outcome("sh", "-c", f"for path in {HOME}/.ssh/shared-*; do ssh -O exit -S $path x; done")
        self.host.run("rm", "-f", f"{HOME}/.ssh/config", f"{HOME}/.bashrc")
        self.write(f"{SERVER}/banner", "")
        self.write(f"{PROGRAMS}/xmcompat", self._script)
        self.host.run("chmod", "755", f"{PROGRAMS}/xmcompat")
        self.start()

    def start(self) -> None:
        """Listen; does nothing where it does already."""
        if self._process is not None:
            return
        argv = ["/usr/sbin/sshd", "-D", "-f", f"{SERVER}/sshd_config", "-E", str(self.log)]
        self._process = subprocess.Popen(
            self.host.enter(argv), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        eventually(lambda: self.host.outcome("test", "-s", f"{SERVER}/pid").status == 0, what="sshd listens")

    def stop(self, *, sessions: bool = True) -> None:
        """It ends, with its SESSIONS, or without. May be repeated."""
        if self._process is None:
            return
        kept = [] if not sessions else _below(self._process.pid)[1:]
        end(self._process)
        self._process = None
        for pid in kept:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.host.outcome("rm", "-f", f"{SERVER}/pid")

    def kill(self, word: str) -> None:
        """The command with this WORD, which somebody has started through it, ends at once."""
        assert self._process is not None
        (pid,) = [pid for pid in _below(self._process.pid) if word.encode() in _words(pid) and b"python" in _words(pid)[0]]
        os.kill(pid, signal.SIGKILL)

    @property
    def sessions(self) -> int:
        """How many it has let in so far."""
        return self.log.read_text().count("Accepted publickey for root") if self.log.exists() else 0


class RealSsh:
    """The servers of all HOSTS, each of which knows the others' keys and is let in by them."""

    def __init__(self, hosts: Hosts) -> None:
        #: Where this file is, xmcompat begins nowhere that is reached through ssh.
        self.gate = hosts.shared / "gate"
        self.reached = hosts.shared / "gate.reached"
        self._servers: list[Sshd] = []
        try:
            for host in hosts.nodes:
                self._servers.append(Sshd(host, self.gate))
            self.mend()
        except BaseException:
            self.close()
            raise

    def of(self, host: MovingHost) -> Sshd:
        return next(server for server in self._servers if server.host is host)

    def mend(self) -> None:
        """All is as it was in the beginning, whatever was changed in the files of ssh; all servers listen."""
        for path in (self.gate, self.reached):
            path.unlink(missing_ok=True)
        for one in self._servers:
            others = [other for other in self._servers if other is not one]
            one.write(KNOWN, "".join(f"{other.host.name} {other.host_key}\n" for other in others))
            one.write(AUTHORIZED, "".join(f"{other.user_key}\n" for other in others))
            one.mend()

    def forget(self, one: MovingHost, other: MovingHost, *, takes: str = "") -> None:
        """ONE does not know the key of OTHER, or TAKES another one for it."""
        self.of(one).write(KNOWN, f"{other.name} {takes}\n" if takes else "")

    def close(self) -> None:
        for server in self._servers:
            server.stop()


@contextmanager
def real_ssh(hosts: Hosts) -> Iterator[RealSsh]:
    ssh = RealSsh(hosts)
    try:
        yield ssh
    finally:
        ssh.close()


def _below(pid: int) -> list[int]:
    """The processes below PID, the nearest first."""
    found: list[int] = []
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *_below(int(child))]
    return found


def _words(pid: int) -> list[bytes]:
    """The command line of a process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return [b""]
