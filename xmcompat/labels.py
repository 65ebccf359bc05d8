"""Security labels in configuration files: read, put in, taken out. The operations beneath ``xm getlabel`` and its like."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable

from xmcompat.config import labels
from xmcompat.config.detect import is_sxp
from xmcompat.config.load import find_config, read_file
from xmcompat.config.read import refuse_other_kinds
from xmcompat.errors import ConfigError, ConfigNotFound, OperationError, UnsupportedConfig, XmError


class SecurityError(XmError):
    """What xm's security module answers: a text in Python's quotes, without usage."""

    def __init__(self, message: str) -> None:
        super().__init__(repr(os.fsencode(message))[1:])  # as Python 2 wrote the bytes of a text


def label_of(name: str) -> tuple[str, str]:
    """(policy, label) of the file that NAME means. Raises ConfigNotFound, ConfigError, SecurityError without one."""
    path = _file(name)
    found = labels.label_of(_text(path), path)
    if found is None:
        raise SecurityError("Domain not labeled")
    return found


def add(name: str, *, policy: str, label: str) -> None:
    """Add the label to the file, which otherwise stays as it is, byte for byte. Raises SecurityError if it has one."""
    for word in (policy, label):
        if not word or word != word.strip() or any(sign in word for sign in "'\"\\,=\n\r\0"):
            raise OperationError(
                f"'{word}' is no word for a policy or label: it has a quote, comma, '=' or the like, or blanks around it"
            )
    path = _file(name)

    def change(text: str) -> str:
        if labels.label_of(text, path) is not None:
            raise SecurityError(f"Config file '{name}' is already labeled.")
        return labels.labelled(text, path, policy=policy, label=label)

    _rewrite(path, change)


def remove(name: str) -> None:
    """Make a comment of the label in the file. Raises SecurityError where it has none."""
    path = _file(name)

    def change(text: str) -> str:
        if labels.label_of(text, path) is None:
            raise SecurityError("Domain not labeled")
        return labels.unlabelled(text, path)

    _rewrite(path, change)


def _file(name: str) -> str:
    """The file that NAME means; an empty one means none, though elsewhere it means xmdefconfig. Raises ConfigNotFound."""
    if not name:
        raise ConfigNotFound("Unable to open config file: ")
    return find_config(name)


def _text(path: str) -> str:
    """What stands there, a character for each byte. Raises ConfigError for what is no script."""
    data = read_file(path)
    refuse_other_kinds(data, path)
    if is_sxp(data):
        raise UnsupportedConfig("this is an SXP file", path=path, hint="labels are looked for in scripts alone")
    return data.decode("latin-1")


def _rewrite(path: str, change: Callable[[str], str]) -> None:
    """Replace the file in one step; owner, mode and attributes stay, and so does a link that leads to it."""
    real = os.path.realpath(path)
    try:
        before = os.stat(real)
        if not stat.S_ISREG(before.st_mode):
            raise ConfigError("this is not a file", path=path)
        if before.st_nlink > 1:  # the other names would keep the old text
            names = f"this file has {before.st_nlink} names (hard links)"
            raise ConfigError(names, path=path, hint="give it one, or change it by hand")
        data = change(_text(path)).encode("latin-1")
        fd, new = tempfile.mkstemp(prefix=".xm-label.", dir=os.path.dirname(real))
        try:
            with open(fd, "wb") as file:
                os.fchown(fd, before.st_uid, before.st_gid)
                shutil.copystat(real, new)
                file.write(data)
                file.flush()
                os.fsync(fd)
            os.replace(new, real)
        except BaseException:
            os.unlink(new)
            raise
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be changed", path=path) from None
