"""Starts the programs that the tour needs: argument lists, the C locale, a deadline, the last error line kept."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from xmcompat.errors import XmError

#: Programs of administration, which an ordinary user's PATH may lack.
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


class ProgramFailed(XmError):
    """A program ended with an error, took too long, or is not there."""


def environment() -> dict[str, str]:
    """Ours, with SBIN searched and messages in English."""
    words = [word for word in os.environ.get("PATH", os.defpath).split(":") if word]
    path = ":".join([*words, *(folder for folder in SBIN if folder not in words)])
    return {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def run(argv: Sequence[str | Path], *, seconds: float, cwd: Path | None = None) -> str:
    """Run ARGV and return what it prints. Raises ProgramFailed after SECONDS and for a status that is not 0."""
    program = str(argv[0])
    try:
        done = subprocess.run(
            [str(word) for word in argv], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds,
            cwd=cwd, env=environment(), check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise ProgramFailed(f"{program} is not installed") from None
    except subprocess.TimeoutExpired:
        raise ProgramFailed(f"{program} has not ended within {seconds:.0f} seconds") from None
    if done.returncode != 0:
        raise ProgramFailed(f"{program}: {_last_line(done.stderr) or f'status {done.returncode}'}")
    return done.stdout.decode(errors="replace")


def _last_line(output: bytes) -> str:
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
