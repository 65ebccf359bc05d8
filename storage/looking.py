"""Looks at paths that may lie on a server that is away: without a deadline they would last as long as that is so, and
Ctrl-C would not end them."""

from __future__ import annotations

import _thread  # "threading" costs more than what is done here
import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Answer = TypeVar("Answer")

#: Seconds in which a file system answers.
DEADLINE = 20.0


def stat(path: str, deadline: float = DEADLINE) -> os.stat_result:
    """As ``os.stat``. Raises TimeoutError, an OSError as well, where there is no answer within DEADLINE seconds: the look
    is left behind then, and ends with this process. Devices answer by themselves, and cost no more than before."""
    return os.stat(path) if path.startswith("/dev/") else answered(path, lambda: os.stat(path), deadline)


def answered(path: str, look: Callable[[], Answer], deadline: float = DEADLINE) -> Answer:
    """What LOOK, which looks at PATH, returns. Raises its OSError or ValueError, and TimeoutError as ``stat`` does."""
    found: list[Answer | OSError | ValueError] = []
    ended = _thread.allocate_lock()
    ended.acquire()

    def run() -> None:
        try:
            found.append(look())
        except (OSError, ValueError) as error:
            found.append(error)
        finally:
            ended.release()

    _thread.start_new_thread(run, ())
    if not ended.acquire(timeout=deadline):
        raise TimeoutError(errno.ETIMEDOUT, "the file system does not answer; its server may be away", path)
    (answer,) = found
    if isinstance(answer, OSError | ValueError):
        raise answer
    return answer


def exists(path: str, deadline: float = DEADLINE) -> bool:
    """As ``os.path.exists``. Raises TimeoutError."""
    if path.startswith("/dev/"):
        return os.path.exists(path)
    try:
        stat(path, deadline)
    except TimeoutError:
        raise
    except (OSError, ValueError):
        return False
    return True
