"""First process of a bare host: gives it files of its own, then waits until its owner lets go.

Run by ``unshare`` in new mount, network, host name, IPC and process namespaces, with the host's directory and name.
It needs the standard library alone. It says "ready" or what went wrong. Its standard input is a pipe from the run
that started it: when that run ends, however it ends, this process ends, and the kernel ends all others inside.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

#: Folders that a host may write to without the machine seeing it.
OVERLAID = ("/etc", "/var/lib", "/var/log")


def _do(*argv: str) -> None:
    subprocess.run(argv, check=True, timeout=20, stdout=sys.stderr, stdin=subprocess.DEVNULL)


def _prepare(directory: Path, name: str) -> None:
    _do("mount", "--make-rprivate", "/")
    socket.sethostname(name)
    _do("mount", "-t", "proc", "proc", "/proc")
    _do("mount", "-t", "sysfs", "sysfs", "/sys")
    writes = directory / "writes"
    writes.mkdir(exist_ok=True)
    _do("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(writes))
    for path in OVERLAID:
        upper, work = writes / f"{path.replace('/', '_')}.upper", writes / f"{path.replace('/', '_')}.work"
        upper.mkdir()
        work.mkdir()
        _do("mount", "-t", "overlay", "-o", f"lowerdir={path},upperdir={upper},workdir={work}", "overlay", path)
    _do("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    Path("/run/lock").mkdir()
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {name}\n")
    Path("/etc/resolv.conf").unlink(missing_ok=True)
    Path("/etc/resolv.conf").write_text("")
    _do("ip", "link", "set", "lo", "up")


def main() -> None:
    os.chdir("/")
    try:
        _prepare(Path(sys.argv[1]), sys.argv[2])
    except (OSError, subprocess.SubprocessError) as error:
        print(error, flush=True)
        sys.exit(1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps what others leave behind
    print("ready", flush=True)
    while os.read(0, 1):
        continue


if __name__ == "__main__":
    main()
