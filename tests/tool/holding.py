"""A program that is held in the middle of what it does, however fast it is and however late it is looked at."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def held(argv: Sequence[str], has_begun: Callable[[], bool], made: Path) -> subprocess.Popen[str]:
    """The program ARGV, stopped (SIGSTOP) when it HAS_BEGUN and has not MADE yet what it is to make."""
    deadline = time.monotonic() + 60
    while True:
        child = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        while child.poll() is None and not has_begun():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        if child.poll() is None:
            child.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if not made.exists():
                return child
            child.send_signal(signal.SIGCONT)
        _, err = child.communicate(timeout=20)  # it was through before anybody looked
        assert child.returncode == 0, err
        made.unlink()
