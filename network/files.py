"""Small files that other programs read, written whole."""

from __future__ import annotations

import os
from contextlib import suppress

from xmcompat.network.programs import NetworkError


def write(path: str, text: str | None, *, folder: bool = False) -> None:
    """Write it at once, readable by all; remove it where TEXT is None. May be repeated. With FOLDER its directory is made.

    Raises NetworkError.
    """
    draft = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}")
    try:
        if text is None:
            _remove(path)
            return
        if folder:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        try:
            with open(draft, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(draft, 0o644)  # whatever the umask
            os.replace(draft, path)
        except BaseException:
            _remove(draft)
            raise
    except OSError as error:
        raise NetworkError(f"{path} cannot be written: {error.strerror}") from None


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def read(path: str) -> str:
    """What is in it, "" where it is not there. Raises NetworkError."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise NetworkError(f"{path} cannot be read: {error.strerror}") from None
