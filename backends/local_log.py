"""The messages of this host's kernel, and the log of its libvirt daemon."""

from __future__ import annotations

import os
import re

from xmcompat.errors import HypervisorError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: Files to which libvirt's daemons log where they are told to; the journal has the rest.
LOGS = ("/var/log/libvirt/virtqemud.log", "/var/log/libvirt/libvirtd.log")
JOURNAL = ("journalctl", "--no-pager", "--quiet", "--unit=libvirtd.service", "--unit=virtqemud.service")
JOURNAL_SECONDS = 60.0

#: syslog(2): read all, the same and clear, size of the buffer.
_READ_ALL, _READ_CLEAR, _SIZE = 3, 4, 10


def kernel_log(*, clear: bool = False) -> str:
    """The kernel's ring of messages, without the levels; with CLEAR, what was there is not shown again.

    Raises HypervisorError where the kernel does not give it.
    """
    size = _syslog(_SIZE, None, 0)
    import ctypes

    buffer = ctypes.create_string_buffer(max(size, 1))
    length = _syslog(_READ_CLEAR if clear else _READ_ALL, buffer, size)
    return re.sub(r"^<\d+>", "", buffer.raw[:length].decode("utf-8", "replace"), flags=re.MULTILINE)


def _syslog(action: int, buffer: object, size: int) -> int:
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    done: int = library.klogctl(action, buffer, size)
    if done < 0:
        reason = os.strerror(ctypes.get_errno())
        raise HypervisorError(f"the kernel's messages cannot be read: {reason}")
    return done


def daemon_log(logs: Sequence[str] = LOGS, journal: Sequence[str] = JOURNAL) -> str:
    """The log of libvirt's daemon: the newest of the files LOGS, else what the command JOURNAL prints.

    Raises HypervisorError where there is neither.
    """
    found = sorted((path for path in logs if os.path.isfile(path)), key=os.path.getmtime)
    if found:
        with open(found[-1], encoding="utf-8", errors="replace") as file:
            return file.read()
    import subprocess

    try:
        done = subprocess.run(
            journal, capture_output=True, encoding="utf-8", errors="replace", timeout=JOURNAL_SECONDS, check=False,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else "it does not answer"
        raise HypervisorError(f"there is no log of libvirt: no {' or '.join(logs)}, and {journal[0]}: {reason}") from None
    if done.returncode:
        told = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise HypervisorError(f"there is no log of libvirt: no {' or '.join(logs)}, and {journal[0]}: {told}")
    return done.stdout
