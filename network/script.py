"""Scripts of the user's own for the host's ends of interfaces, with Xen's words and environment (see ``hotplug_script``).

Source: xend 4.1 and its hotplug agents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from xmcompat import hotplug_script
from xmcompat.errors import XmError
from xmcompat.hotplug_script import DEADLINE, FOLDER, LOG
from xmcompat.network.programs import NetworkError
from xmcompat.script_store import below, opened

__all__ = ["DEADLINE", "FOLDER", "LOG", "Call", "ScriptFailed", "find", "offline", "online"]


class ScriptFailed(NetworkError):
    """What xm says behind "Device N (vif) could not be connected. "."""


class Call(NamedTuple):
    """One interface for a script. ``file`` is its path, ``words`` are its own; ``values`` are those of the interface as
    XenStore would have them, by name."""

    file: str
    words: tuple[str, ...]
    domid: int
    number: int
    device: str
    values: Mapping[str, str]

    @property
    def path(self) -> str:
        return f"backend/vif/{self.domid}/{self.number}"


@contextmanager
def _as_network() -> Iterator[None]:
    try:
        yield
    except XmError as error:
        raise ScriptFailed(error.message, hint=error.hint) from None


def find(name: str, folder: str = FOLDER) -> str:
    """The path of the script NAME of FOLDER. Changes nothing. Raises ScriptFailed for one that is not to be run."""
    with _as_network():
        return hotplug_script.find(name, folder)


def online(call: Call, *, deadline: float = DEADLINE, log: str = LOG) -> None:
    """Have the script connect the interface. Raises ScriptFailed; what it has done by then is not known.

    Differs from Xen: one that ends well and tells XenStore nothing has connected it.
    """
    started = _started(call, "online")
    with _as_network(), opened(below(call.path, call.values), purpose="vif") as store:
        ended = hotplug_script.run(started, store, deadline=deadline, log=log)
        hotplug_script.refuse_failed(started, ended, store, deadline=deadline, log=log)


def offline(call: Call, *, deadline: float = DEADLINE, log: str = LOG) -> None:
    """Have the script take back what it did; what becomes of that is logged alone. Raises ScriptFailed where it cannot be
    started."""
    with _as_network(), opened(below(call.path, call.values), purpose="vif") as store:
        hotplug_script.run(_started(call, "offline"), store, deadline=deadline, log=log)


def _started(call: Call, command: str) -> hotplug_script.Call:
    words = (*call.words, command, "type_if=vif")
    return hotplug_script.Call(call.file, words, call.path, call.device, {"XENBUS_TYPE": "vif", "vif": call.device})
