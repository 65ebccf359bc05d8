"""``xm block-attach``, ``block-detach``, ``block-configure``, ``network-attach``, ``network-detach``."""

from __future__ import annotations

import sys
from collections.abc import Callable

from xmcompat.errors import OperationError
from xmcompat.hotplug import Devices
from xmcompat.toolstack import Toolstack
from xmcompat.xm.options import Words
from xmcompat.xm.output import warn

NIC_KEYS = ("type", "mac", "bridge", "ip", "script", "backend", "vifname", "rate", "model", "accel")


def block_attach(words: Words) -> int:
    """``xm block-attach DOMAIN BACKDEV FRONTDEV MODE [BACKDOMAIN]``."""
    with Toolstack.open() as toolstack:
        warn(toolstack.devices.attach_disk(*words.operands))
    return 0


def block_configure(words: Words) -> int:
    """``xm block-configure DOMAIN BACKDEV FRONTDEV MODE [BACKDOMAIN]``: another medium; with an empty BACKDEV none."""
    with Toolstack.open() as toolstack:
        warn(toolstack.devices.configure_disk(*words.operands))
    return 0


def block_detach(words: Words) -> int:
    """``xm block-detach DOMAIN DEVID [-f]``."""
    return _detach(words, Devices.detach_disk)


def network_attach(words: Words) -> int:
    """``xm network-attach DOMAIN [KEY=VALUE ...]``: of a key that is given twice, the last value counts."""
    domain, *pairs = words.operands
    given: dict[str, str] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if pair.count("=") != 1 or key not in NIC_KEYS or not value:
            raise OperationError(f"Invalid argument: {pair}")
        given[key] = value
    from xmcompat.xm import signals

    with Toolstack.open() as toolstack:
        with signals.raised():
            told = toolstack.devices.attach_nic(domain, given)
        warn(told)
    return 0


def network_detach(words: Words) -> int:
    """``xm network-detach DOMAIN NUMBER|MAC [-f]``."""
    return _detach(words, Devices.detach_nic)


def _detach(words: Words, detach: Callable[..., None]) -> int:
    """Of the words after the first two only one that asks for force counts; another is named, as xm did."""
    domain, device, *option = words.operands
    force = option[:1] in (["-f"], ["--force"])
    if option and not force:
        sys.stdout.write(f"Ignoring option {option[0]}\n")
    with Toolstack.open() as toolstack:
        detach(toolstack.devices, domain, device, force=force)
    return 0
