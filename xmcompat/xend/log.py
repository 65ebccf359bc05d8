"""xend's log: its lines, its levels, its generations of 1 MiB.

Source: the format of xend 4.1. Differs from xend: an entry is one line whatever a name in it holds, and a log that
cannot be written, be it for a full disk, never stops anything.
"""

from __future__ import annotations

import logging
import os
import re
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler

FORMAT = "[%(asctime)s %(process)d] %(levelname)s (%(module)s:%(lineno)d) %(message)s"
DATE_FORMAT = "%Y-%m-%d %H:%M:%S"
LARGEST, GENERATIONS = 1 << 20, 5
MODE = 0o600

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
DEFAULT_LEVEL = "DEBUG"


class XendLog:
    """A log that is called with a level ("INFO") and a text. ``problem`` says why its file cannot be written, or ""."""

    def __init__(self, path: str, level: str = DEFAULT_LEVEL) -> None:
        self._logger = logging.Logger("xend")
        self.path = ""
        self.problem = ""
        self.move(path, level)

    def __call__(self, level: str, text: str) -> None:
        self._logger.log(LEVELS[level], text, stacklevel=2)

    def move(self, path: str, level: str) -> None:
        """Write to PATH from now on, opened anew, what is of LEVEL or above; DEBUG for a level that there is not."""
        self.close()
        self.path = path
        self.problem = _problem(path)
        handler = _Handler(path)
        handler.setFormatter(_OneLine(FORMAT, DATE_FORMAT))
        handler.setLevel(LEVELS.get(level, LEVELS[DEFAULT_LEVEL]))  # that of a logger without a name is kept in mind
        self._logger.addHandler(handler)

    def close(self) -> None:
        """What is logged later goes nowhere, until ``move``."""
        for handler in list(self._logger.handlers):
            self._logger.removeHandler(handler)
            handler.close()


def _problem(path: str) -> str:
    """Make the log's folder and the log, where they are not there; why that cannot be, or ""."""
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        os.close(_open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return ""


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY, MODE)


class _Handler(RotatingFileHandler):
    """Opens its file when there is something to write, and again after each failure or where somebody has removed it."""

    def __init__(self, path: str) -> None:
        super().__init__(
            path, maxBytes=LARGEST, backupCount=GENERATIONS, encoding="utf-8", delay=True, errors="backslashreplace"
        )

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=_open)

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream is not None and not os.path.exists(self.baseFilename):
            self._drop()
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Let the entry go: what could not be written must not fill the memory, either."""
        self._drop()

    def close(self) -> None:
        self._drop()
        super().close()

    def _drop(self) -> None:
        stream = self.stream
        self.stream = None
        if stream is not None:
            try:
                stream.close()
            except OSError:
                return  # the descriptor is closed nevertheless


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return re.sub(r"[\x00-\x1f\x7f]", lambda found: repr(found[0])[1:-1], super().format(record))
