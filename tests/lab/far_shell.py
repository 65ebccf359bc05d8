"""A stand-in for ssh between hosts of the lab: a program that runs a command on another host, over the link between them.

    with far_shell(hosts) as shell:
        # xmcompat.toml says: migration = { ssh = "SHELL.PROGRAM" }
        shell.renew()    # once a host has crashed, and was booted
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.lab.fixtures import CHECKOUT
from tests.lab.hosts import Hosts, MovingHost
from tests.lab.lan import end
from xmcompat.errors import XmError

PORT = 2222
PROGRAM = """\
#!{python}
import json, os, socket, sys, threading
words = sys.argv[1:]
while words and words[0].startswith("-"):
    option = words.pop(0)
    if option == "--":
        break
    if option in ("-o", "-e", "-p", "-l"):
        words.pop(0)
host = words.pop(0)
if words and words[0] == "--":
    words.pop(0)
try:
    there = socket.create_connection((host, {port}), timeout=3)
except OSError as error:
    sys.exit(f"ssh: connect to host {{host}} port 22: {{error.strerror or error}}")
there.settimeout(None)
there.sendall(json.dumps(" ".join(words)).encode() + b"\\n")
def up():
    while data := os.read(0, 65536):
        there.sendall(data)
    there.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while data := there.recv(65536):
    os.write(1, data)
"""
#: Waits while somebody holds it up, and says so.
XMCOMPAT = """\
#!/bin/sh
[ ! -e {gate} ] || : > {gate}.reached
while [ -e {gate} ]; do sleep 0.02; done
exec {python} -m xmcompat.tool "$@"
"""


class FarShell:
    """``program`` finds all HOSTS by their names."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._folder = hosts.shared / "ssh"
        self._folder.mkdir()
        self.program = self._folder / "ssh"
        #: Where this file is, xmcompat begins nowhere that is reached through the shell.
        self.gate = self._folder / "gate"
        for name, text in (("ssh", PROGRAM), ("xmcompat", XMCOMPAT)):
            (self._folder / name).write_text(text.format(python=sys.executable, port=PORT, gate=self.gate))
            (self._folder / name).chmod(0o755)
        self._servers: list[_Server] = []
        self.renew()

    def renew(self) -> None:
        """Listen in the networks that the hosts have now; what was running is ended."""
        self.close()
        self._servers = [_Server(host, str(self._folder)) for host in self._hosts.nodes]

    def close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers = []


@contextmanager
def far_shell(hosts: Hosts) -> Iterator[FarShell]:
    shell = FarShell(hosts)
    try:
        yield shell
    finally:
        shell.close()


class _Server:
    """Runs what comes in for one host."""

    def __init__(self, host: MovingHost, folder: str) -> None:
        self._host = host
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._listener = host.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("", PORT))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, suppress(XmError, OSError, ValueError):
                    self._run(connection)

    def _run(self, connection: socket.socket) -> None:
        line = b""
        while not line.endswith(b"\n"):
            if not (letter := connection.recv(1)):
                return
            line += letter
        path = f"{self._folder}:/usr/sbin:/usr/bin:/sbin:/bin"
        env = {**self._host.program_env(), "PATH": path, "PYTHONPATH": str(CHECKOUT)}
        argv = self._host.enter(["sh", "-c", json.loads(line)], env=env)
        self._processes.append(
            subprocess.Popen(argv, stdin=connection, stdout=connection, stderr=subprocess.DEVNULL, start_new_session=True)
        )

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for process in self._processes:
            end(process)
