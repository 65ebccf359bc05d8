"""What QEMU says of the servers of disks that it fetches itself, in a sentence. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from xmcompat.errors import DeviceError
from xmcompat.vdev import vdev_number

_OPTIONS = re.compile(r"-blockdev (\{.*?\}): ([^\n]*)", re.DOTALL)
_MISSING = re.compile(r"no secret with matching usage '([^']*)'")
#: What QEMU's drivers say first, in this order; none of it is in the errors of others.
_SAID = re.compile(r"(iSCSI: [^\n]*|Requested export not available|Failed to connect to '[^\n]*|error connecting[^\n]*)")


class _Server(NamedTuple):
    """What is asked of a server: ``url`` as ``libvirt_devices.named_devices`` writes it, where it ``place``s the rest."""

    url: str
    place: str = ""
    thing: str = ""
    user: str = ""


def server_error(text: str, disks: Sequence[tuple[str, str]]) -> DeviceError | None:
    """The error of a disk's server in the TEXT of libvirt's; None for another's. DISKS are as for ``not_created``."""
    if missing := _MISSING.search(text):
        vdev = missing[1].rpartition(":")[2]
        return _device(vdev, f"The hypervisor does not have its password any more ('{missing[1]}')")
    said = _SAID.search(text)
    if not said:
        return None
    options = _OPTIONS.search(text)
    server = _server(options[1]) if options else None
    if server is None:
        known = [one for one in disks if "://" in one[0]]
        url, name = known[0] if len(known) == 1 else ("", "")
        server = _of_url(url)
    else:
        name = next((name for url, name in disks if url == server.url), "")
    return _device(name, _meaning(said[0], server))


def _device(name: str, why: str) -> DeviceError:
    device = f"Device {vdev_number(name) or name} (vbd)" if name else "A device (vbd)"
    return DeviceError(f"{device} could not be connected. {why}")


def _server(text: str) -> _Server | None:
    """From the options of QEMU's block driver."""
    import json

    try:
        options = json.loads(text)
        if options["driver"] == "iscsi":
            thing = f"{options['target']}/{options['lun']}"
            portal = str(options["portal"])
            return _Server(f"iscsi://{portal}/{thing}", portal, str(options["target"]), str(options.get("user", "")))
        if options["driver"] == "nbd":
            server, export = options["server"], str(options.get("export", ""))
            place = str(server["path"]) if server["type"] == "unix" else _place(str(server["host"]), str(server["port"]))
            return _Server(f"nbd://{place}/{export}", place, export)
    except (ValueError, KeyError, TypeError):
        return None
    return None


def _place(host: str, port: str) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _of_url(url: str) -> _Server:
    found = re.fullmatch(r"(iscsi|nbd)://(.*?)/(.*)", url)
    if not found:
        return _Server(url, "its server")
    thing = found[3].rpartition("/")[0] if found[1] == "iscsi" else found[3]
    return _Server(url, found[2], thing)


def _meaning(said: str, server: _Server) -> str:
    """One sentence, with the place and what was asked for there."""
    at = f"{server.thing} at {server.place}" if server.thing else server.place
    if said.startswith("Requested export"):
        return f"The server {server.place} has no export '{server.thing}'"
    if "Authentication failure" in said or "Authorization failure" in said:
        who = f"the user '{server.user}' or the password" if server.user else "the user or the password"
        return f"The target {at} refuses {who}"
    if "Target not found" in said:
        return f"There is no target {at} for QEMU"
    if "LOGICAL_UNIT_NOT_SUPPORTED" in said:
        return f"The target {at} has no LUN {server.url.rpartition('/')[2]}"
    if "reconnect" in said or said.startswith("Failed to connect to '"):
        why = said.rpartition(": ")[2] if said.startswith("Failed to connect to '") else "it does not answer"
        return f"The server {server.place} cannot be reached: {why}"
    return f"{at}: {said}"
