"""DRBD: the resource of a disk is promoted on this host before the guest starts, and demoted after it.

A resource that is primary already, by Pacemaker or its administrator, is left as it is. Whether a host may have it, DRBD
decides by its own rules: nothing is forced. Source: drbdadm(8) of drbd-utils 9, with DRBD 8.4 and 9.
"""

from __future__ import annotations

import os
import re

from xmcompat.storage.needs import Need
from xmcompat.storage.programs import ProgramFailed, StorageError, run
from xmcompat.storage.waiting import wait_for

_BY_RESOURCE = re.compile(r"/dev/drbd/by-res/([A-Za-z0-9_.+][A-Za-z0-9_.+:-]*)(?:/([0-9]+))?")
_BY_NUMBER = re.compile(r"/dev/drbd([0-9]+)")

_ON = re.compile(r"^ *on (\S+) \{", re.MULTILINE)


def need_of(path: str) -> Need | None:
    """A volume of a resource by /dev/drbd/by-res/RESOURCE[/VOLUME] or /dev/drbdMINOR. Of a number DRBD's configuration
    tells the resource, so that one resource is one need by all its names; "minor-0" where it does not. Never raises."""
    if found := _BY_RESOURCE.fullmatch(path):
        return Need(kind="drbd", name=found[1], words={"path": path, "volume": found[2] or ""})
    if found := _BY_NUMBER.fullmatch(path):
        return Need(kind="drbd", name=_resource_of(f"minor-{int(found[1])}"), words={"path": path, "volume": ""})
    return None


def _resource_of(minor: str) -> str:
    try:
        return run(["drbdadm", "sh-resource", minor]).strip() or minor
    except StorageError:
        return minor  # to promote it will fail, with a reason


def is_up(need: Need) -> bool:
    """Whether the resource is primary on this host; one that is down or not known is not. Raises StorageError where DRBD
    does not say: what is taken for secondary here may be demoted later."""
    try:
        return _roles(need)[0] == "Primary"
    except ProgramFailed:
        return False


def assemble(need: Need, deadline: float) -> str:
    """Promote the resource; returns the device of its volume. Raises StorageError."""
    if not is_up(need):
        run(["drbdadm", "primary", need.name], deadline=deadline)
    device = _device(need)
    wait_for(device, deadline)
    return device


def release(need: Need) -> None:
    """Demote the resource; silent where it is secondary, or down.

    Raises StorageError where something has it open.
    """
    if not is_up(need):
        return
    try:
        run(["drbdadm", "secondary", need.name])
    except ProgramFailed as error:
        if "held open" in error.complaint or "in use" in error.complaint:
            why, hint = "something has it open", f"'fuser -v {_device(need)}' shows what"
        else:
            why, hint = _told(error), error.hint or ""
        raise StorageError(f"the resource {_shown(need)} stays primary: {why}", hint=hint or None) from None


def explain(need: Need, error: StorageError) -> StorageError:
    """Why this host may not have the resource: another one has it, its data are not good, it is down or not known."""
    if not isinstance(error, ProgramFailed):
        return error
    path, said = need.words["path"], error.complaint
    if "not defined in your config" in said or "no resources defined" in said:
        what = "has that device" if need.name.startswith("minor-") else f"is called '{need.name}'"
        return StorageError(
            f"{path}: no resource of DRBD's configuration for this host {what}", hint="'drbdadm dump' shows what there is"
        )
    name = _resource(need)
    if "unknown minor" in said or "o such resource" in said or "not allocated" in said or "load the module" in said:
        return StorageError(f"{path}: the resource {name} is down", hint=f"run 'drbdadm up {name}'")
    why = _states(need)
    if "two-primaries" in said.lower() or "Multiple primaries" in said or why.startswith("it is primary"):
        return StorageError(
            f"{path}: {name} may not be promoted: {why}", hint="end the guest there, and 'drbdadm secondary' there"
        )
    if "UpToDate" in said:
        return StorageError(
            f"{path}: the data of {name} on this host are not known to be good: {why}",
            hint=f"see to the network between the hosts; 'drbdadm connect {name}' lets them be fetched from the other one",
        )
    return StorageError(f"{path}: DRBD does not promote {name}: {_told(error)} ({why})", hint=error.hint)


def _roles(need: Need) -> tuple[str, ...]:
    """This host's role, and those of the others that are known: DRBD 9 tells of this host alone. Raises ProgramFailed."""
    said = run(["drbdadm", "role", need.name]).split()
    return tuple(said[0].split("/")) if said else ("Unknown",)


def _device(need: Need) -> str:
    """The device of the volume that was asked for. A resource may have several."""
    path, volume = need.words["path"], need.words["volume"]
    if _BY_NUMBER.fullmatch(path):
        return path
    devices = run(["drbdadm", "sh-dev", f"{need.name}/{volume}" if volume else need.name]).split()
    if len(devices) != 1:
        raise StorageError(
            f"{path}: the resource {need.name} has {len(devices)} volumes", hint=f"write {path}/NUMBER for one of them"
        )
    return devices[0]


def _states(need: Need) -> str:
    """What keeps the resource from this host, in a few words."""
    try:
        status = run(["drbdadm", "status", _resource(need)])
    except StorageError as error:
        return error.message
    peer = ""
    for line in status.splitlines():
        words = line.split()
        if line.startswith("  ") and not line.startswith("    ") and words and ":" not in words[0]:
            peer = words[0]
            if "role:Primary" in words:
                return f"it is primary on {_peer(need, peer)}"
    disk = re.search(r"^  (?:volume:\d+ )?.*?\bdisk:(\w+)", status, re.MULTILINE)
    connection = re.search(r"connection:(\w+)", status)
    connected = connection[1] if connection else "established"
    return f"its disk is {disk[1] if disk else 'absent'}, the connection is {connected}"


def _peer(need: Need, name: str) -> str:
    """DRBD 8.4 calls the other host "peer": its name is in the configuration."""
    if name != "peer":
        return name
    try:
        hosts = _ON.findall(run(["drbdadm", "dump", _resource(need)]))
    except StorageError:
        return "the other host"
    here = os.uname().nodename
    others = [host for host in hosts if host not in {here, here.partition(".")[0]}]
    return others[0] if len(others) == 1 else "the other host"


def _resource(need: Need) -> str:
    return run(["drbdadm", "sh-resource", need.name]).strip() if need.name.startswith("minor-") else need.name


def _shown(need: Need) -> str:
    return need.words["path"] if need.name.startswith("minor-") else need.name


def _told(error: ProgramFailed) -> str:
    """DRBD's own sentence: the last line of drbdadm only repeats the command."""
    lines = [line.strip() for line in error.complaint.splitlines() if line.strip() and not line.startswith("Command ")]
    return lines[0] if lines else error.said
