"""Starts the programs that change and show the host's network: ip, bridge, tc, nft and their like.

One place for all of them: argument lists and no shell, the C locale, a deadline, and the program's own last line when it
fails. A process of ``ip`` takes 3 to 8 ms, the import of a netlink library 360 ms: these commands are short-lived.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from xmcompat.errors import XmError

#: Seconds after which a program hangs rather than works.
DEADLINE = 20.0

#: Where administrators' programs lie; an ordinary PATH may leave them out.
_SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")

#: The package that has a program, for the hint.
_PACKAGES = {
    "ip": "iproute2", "bridge": "iproute2", "tc": "iproute2", "nft": "nftables", "dnsmasq": "dnsmasq-base",
    "ovs-vsctl": "openvswitch-switch",
}  # fmt: skip


class NetworkError(XmError):
    """Something about the host's networks that cannot be done, or was refused."""


class ProgramFailed(NetworkError):
    """A program ended with another status than 0. ``said`` is the last line on its stderr, "" for none."""

    def __init__(self, words: Sequence[str], status: int, said: str) -> None:
        hint = "only root may do that" if "Operation not permitted" in said else None
        super().__init__(f"'{' '.join(words)}' failed: {said or f'status {status}'}", hint=hint)
        self.status = status
        self.said = said


def run(words: Sequence[str], *, text: str = "", deadline: float = DEADLINE) -> str:
    """What the program prints, fed with TEXT. Ctrl-C at the terminal does not reach it.

    Raises ProgramFailed, and NetworkError where it is missing or takes longer than DEADLINE seconds.
    """
    try:
        done = subprocess.run(
            list(words), input=text, capture_output=True, encoding="utf-8", errors="surrogateescape", timeout=deadline,
            env=_environment(), check=False, start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError:
        raise NetworkError(f"the program '{words[0]}' is missing", hint=package_hint(words[0])) from None
    except subprocess.TimeoutExpired:
        raise NetworkError(f"'{' '.join(words)}' did not end within {deadline:.0f} s") from None
    except OSError as error:
        raise NetworkError(f"'{words[0]}' cannot be started: {error.strerror}") from None
    if done.returncode:
        raise ProgramFailed(words, done.returncode, _last_line(done.stderr))
    return done.stdout


def package_hint(program: str) -> str | None:
    """What to do where PROGRAM is missing."""
    package = _PACKAGES.get(program)
    return f"install the package {package}" if package else None


def is_there(program: str) -> bool:
    """Whether PROGRAM is installed."""
    import shutil

    return shutil.which(program, path=_environment()["PATH"]) is not None


def _environment() -> dict[str, str]:
    path = os.environ.get("PATH", "/usr/bin:/bin").split(":")
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("LC_")},
        "PATH": ":".join((*path, *(folder for folder in _SBIN if folder not in path))),
        "LC_ALL": "C",
    }


def _last_line(text: str) -> str:
    """The last line that says something; nft marks the place of an error below its own line, "ip -batch" counts lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" ^~-\t") and not line.startswith("Command failed")]
    told = [line for line in lines if "rror" in line]
    return (told or lines or [""])[-1].removeprefix("Error: ")
