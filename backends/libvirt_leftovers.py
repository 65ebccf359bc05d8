"""Devices that QEMU has and libvirt does not know of: libvirtd was killed after it had plugged them in, and before it had
written that down. Until they have gone, libvirt can plug in no other of that name, or at that place (seen with 9.0).
"""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

import json
import re
import time

from xmcompat.errors import HypervisorError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: What QEMU says of a place that such a device has, and of a name: its own, its back end's, its image's.
_PLACE = r"in use by [\w-]+,id={}\b"
_NAME = r"Duplicate (?:device )?ID '(?:host)?{}'"
_NODE = r"Duplicate nodes with node-name='(libvirt-\d+)-\w+'"

#: Seconds that a guest has to let go of it.
_PATIENCE = 1.0
_POLL = 0.05
#: Seconds in which libvirt has heard that it has gone: later, it would take that for the next device of that name.
_HEARD = 0.3


def is_in_the_way(message: str, alias: str, domain_xml: str) -> bool:
    """Whether libvirt's MESSAGE is of such a device, or of what belongs to one, as ALIAS is to be plugged in. Pure."""
    if not alias or re.search(rf"""<alias name=['"]{re.escape(alias)}['"]""", domain_xml):
        return False
    return any(re.search(part.format(re.escape(alias)), message) for part in (_PLACE, _NAME, _NODE))


def take_away(domain: Any, alias: str, message: str) -> None:
    """Have the guest let go of the device ALIAS, if it still has it, and take away what belonged to it, which MESSAGE names
    for a disk. May be repeated. Raises HypervisorError where the guest does not let go."""
    deadline = time.monotonic() + _PATIENCE
    if _is_there(domain, alias):
        _tell(domain, "device_del", id=alias)
    while _is_there(domain, alias):
        if time.monotonic() > deadline:
            raise HypervisorError(
                f"'{domain.name()}' still has the device '{alias}', which libvirtd was killed over and does not know of",
                hint=f"it was asked to let go of it: try again, after 'xm reset {domain.name()}' if need be",
            )
        time.sleep(_POLL)
    time.sleep(_HEARD)
    _tell(domain, "netdev_del", id=f"host{alias}")
    node = re.search(_NODE, message)
    for layer in ("format", "storage") if node else ():
        _tell(domain, "blockdev-del", **{"node-name": f"{node[1]}-{layer}"})  # type: ignore[index]


def _is_there(domain: Any, alias: str) -> bool:
    devices = _tell(domain, "qom-list", path="/machine/peripheral").get("return", [])
    return any(device["name"] == alias for device in devices)


def _tell(domain: Any, command: str, **arguments: str) -> dict[str, Any]:
    """What QEMU answers; refusals are answers as well."""
    import libvirt_qemu

    answer = libvirt_qemu.qemuMonitorCommand(domain, json.dumps({"execute": command, "arguments": arguments}), 0)
    found: dict[str, Any] = json.loads(answer)
    return found
