"""Verbs that had nothing to talk to in Xen 4.1 already, or have nothing here: Xen-API networks, events, the relay.

Those that were to change something fail; those that only ask succeed, so that scripts go on.
"""

from __future__ import annotations

from xmcompat.errors import XmError
from xmcompat.xm.options import Words


class ApiOnly(XmError):
    """xm's own answer for what only the Xen-API could do."""

    hint_apart = True

    def __init__(self, hint: str) -> None:
        super().__init__("This function is only supported by Xen-API", hint=hint)


class NoMonitor(XmError):
    """xm's own answer: an error by its words, and none by its status."""

    exit_code = 0
    hint_apart = True

    def __init__(self) -> None:
        super().__init__(
            "Event monitoring not supported unless using Xen-API.", hint="'virsh event --all --loop' shows events"
        )


def serve(_words: Words) -> int:
    """``xm serve``: there is no xend whose socket could be relayed."""
    raise XmError(
        "there is no xend here to relay requests to",
        hint="type 'virsh -c qemu+ssh://HOST/system' or set XMCOMPAT_URI=qemu+ssh://HOST/system where they come from",
    )


def event_monitor(_words: Words) -> int:
    """``xm event-monitor``."""
    raise NoMonitor


def network_new(_words: Words) -> int:
    """``xm network-new NAME``."""
    raise ApiOnly("'virsh net-define' adds a network")


def network_del(_words: Words) -> int:
    """``xm network-del NAME``."""
    raise ApiOnly("'virsh net-undefine' removes a network")


def network_show(_words: Words) -> int:
    """``xm network-show``."""
    raise ApiOnly("'virsh net-list --all' lists networks")
