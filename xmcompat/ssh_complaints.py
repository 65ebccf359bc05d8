"""What OpenSSH's client says where it cannot be used, and what there is to do about it. Pure.

Source: ssh.c, sshconnect.c and sshconnect2.c of OpenSSH 9.2.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: What a shell ends with where it does not find a command, and where it may not run it.
_MISSING, _NO_PROGRAM = 127, 126

_KEY = "Host key verification failed."
_CHANGED = re.compile(r"^Offending \S+ key in ([\w./~+-]+):(\d+)$", re.MULTILINE)
_DENIED = re.compile(r"Permission denied \([a-z,-]+\)")
_CLOSED = re.compile(r"closed by|Connection reset|kex_exchange_identification")
_UNREACHED = re.compile(r"^ssh: connect to host .*: (?:Connection refused|Connection timed out|No route to host)$")


class Complaint(NamedTuple):
    """What is wrong, "" where nothing was said, and what to do; OF_KEYS: it depends on who runs ssh."""

    message: str = ""
    hint: str | None = None
    of_keys: bool = False


def meant(said: str, host: str, *, program: str = "ssh", status: int | None = None) -> Complaint:
    """Of all that PROGRAM has SAID on stderr of HOST (USER@HOST), and the STATUS that it ended with."""
    said = said.replace("\r", "")
    last = _last(said)
    if last == _KEY:
        return _of_key(said, host, program)
    if status in (_MISSING, _NO_PROGRAM):
        return Complaint(
            f"xmcompat cannot be started on {host}: {last or f'status {status}'}",
            f"install it there, where '{program} {host} xmcompat --version' finds it",
        )
    if _DENIED.search(last):
        return Complaint(last, f"have a key without a passphrase let in there: 'ssh-copy-id {host}'", of_keys=True)
    if _UNREACHED.search(last):
        return Complaint(last, f"is {host} up, and does its sshd listen there?")
    if "Could not resolve hostname" in last:
        return Complaint(last, "give its address to this host's /etc/hosts, or to its name server")
    if _CLOSED.search(last):
        return Complaint(last, f"see the log of sshd on {host}")
    return Complaint(last)


def _of_key(said: str, host: str, program: str) -> Complaint:
    changed = _CHANGED.search(said)
    if changed is None:
        return Complaint(
            f"ssh does not know the key of {host}: {_KEY}",
            f"type '{program} {host}' once as this user, and compare its key",
            of_keys=True,
        )
    file, line = changed.groups()
    name = host.rpartition("@")[2]
    return Complaint(
        f"the key of {host} is not the one in line {line} of {file}: {_KEY}",
        f"if it was installed anew, type 'ssh-keygen -f {file} -R {name}' and '{program} {host}', and compare its key",
        of_keys=True,
    )


def _last(said: str) -> str:
    """The last line that is not empty, safe to print."""
    lines = [line.strip().removeprefix("Error: ") for line in said.split("\n") if line.strip()]
    return "".join(letter if letter.isprintable() else "?" for letter in lines[-1][:300]) if lines else ""
