"""ATA over Ethernet: /dev/etherd/eSHELF.SLOT, found by asking the networks for it.

There is no session to end: the kernel knows a device once it has answered, and asks again each minute by itself. It is
asked to forget only what answers no more; told to forget a device by its name, it would take that from those who use it.
Source: Linux, Documentation/admin-guide/aoe (the files of /dev/etherd and /sys/block/etherd!eS.L).
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress

from xmcompat.storage.needs import Need
from xmcompat.storage.programs import ProgramFailed, StorageError, run
from xmcompat.storage.waiting import wait_for

FOLDER = "/dev/etherd"

_DEVICE = re.compile(rf"{FOLDER}/((e[0-9]{{1,5}}\.[0-9]{{1,3}})(?:p[0-9]{{1,3}})?)")
_MODULE = "/sys/module/aoe"
_NETWORKS = "/sys/class/net"
_IFF_UP, _IFF_LOOPBACK, _ETHERNET = 1, 8, "1"
#: Seconds between two questions to the networks, and between two looks at a device that is down.
_AGAIN, _PAUSE = 1.0, 0.1


def need_of(path: str) -> Need | None:
    """"e0.1" of /dev/etherd/e0.1, and "e0.1p2" of its partition. Pure."""
    found = _DEVICE.fullmatch(path)
    return Need(kind="aoe", name=found[1], words={"device": found[2]}) if found else None


def is_up(need: Need) -> bool:
    """Whether the node is there, and its shelf answers."""
    return os.path.exists(_node(need)) and _state(need).startswith("up")


def assemble(need: Need, deadline: float) -> str:
    """Load the kernel's module, and ask the networks until the device has answered. Raises StorageError."""
    end = time.monotonic() + deadline
    if not os.path.isdir(_MODULE):
        run(["modprobe", "aoe"], deadline=deadline)
    if os.path.exists(_node(need)) and not is_up(need):
        _tell("revalidate", need.words["device"])
    asked = 0.0

    def ask() -> None:
        nonlocal asked
        if time.monotonic() - asked >= _AGAIN:
            asked = time.monotonic()
            _tell("discover", "")

    wait_for(_node(need), max(end - time.monotonic(), 0), ask)
    while not is_up(need):
        if time.monotonic() >= end:
            raise StorageError(f"{need.name} does not answer any more")
        ask()
        time.sleep(_PAUSE)
    return ""


def release(need: Need) -> None:
    """Have the kernel forget the devices that answer no more and are not open. One that answers stays: it would be found
    again a minute later."""
    if os.path.exists(_node(need)) and not is_up(need):
        with suppress(StorageError):
            _tell("flush", "")


def explain(need: Need, error: StorageError) -> StorageError:
    """Why the device does not come up: no module, no network that is up, none of the name on the networks."""
    if not os.path.isdir(_MODULE):
        if isinstance(error, ProgramFailed) and "not found" in error.complaint:
            return StorageError(
                f"{_node(need)} needs the kernel's module aoe, which is not there for the kernel {os.uname().release}",
                hint="install a kernel that has it",
            )
        return error
    if not os.path.exists(f"{FOLDER}/discover"):
        return StorageError(
            f"{FOLDER}/discover is missing, by which the kernel is told to look for {need.name}",
            hint="start udev, or run 'aoe-mkdevs /dev/etherd' of aoetools",
        )
    asked = _asked()
    up = [name for name in _interfaces() if not asked or name in asked]
    if not up:
        limit = f" among those that the module's aoe_iflist names ({', '.join(asked)})" if asked else ""
        return StorageError(
            f"{need.name} cannot be found: no Ethernet interface is up{limit}",
            hint=f"run 'ip link set {asked[0] if asked else 'INTERFACE'} up'",
        )
    seen = _seen()
    answers = f"; {_listed(seen)} answered" if seen else ", and no other shelf has answered"
    return StorageError(
        f"{need.name} does not answer on {_listed(up)}{answers}",
        hint=f"see that the shelf serves {need.words['device']} there, to the MAC address of this host",
    )


def _node(need: Need) -> str:
    return f"{FOLDER}/{need.name}"


def _state(need: Need) -> str:
    """"up", "down", "up,kickme" or "closewait", as the kernel writes it; "" where it knows none."""
    return _text(f"/sys/block/etherd!{need.words['device']}/state")


def _seen() -> list[str]:
    """The devices that the kernel knows, and whose shelves answer."""
    names = (name.removeprefix("etherd!") for name in os.listdir("/sys/block") if name.startswith("etherd!"))
    return sorted(name for name in names if _text(f"/sys/block/etherd!{name}/state").startswith("up"))


def _asked() -> list[str]:
    """The interfaces that the module is held to; none where it asks on all."""
    return re.split(r"[\s,]+", text) if (text := _text(f"{_MODULE}/parameters/aoe_iflist").strip("\0\n ")) else []


def _interfaces() -> list[str]:
    """The Ethernet interfaces of this host that are up."""
    found = []
    for name in sorted(os.listdir(_NETWORKS)):
        flags = int(_text(f"{_NETWORKS}/{name}/flags") or "0", 16)
        if flags & _IFF_UP and not flags & _IFF_LOOPBACK and _text(f"{_NETWORKS}/{name}/type") == _ETHERNET:
            found.append(name)
    return found


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (" and others" if len(names) > 8 else "")


def _tell(file: str, word: str) -> None:
    """Write to one of the files by which the kernel's module is told what to do. Raises StorageError."""
    path = f"{FOLDER}/{file}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, f"{word}\n".encode())
        finally:
            os.close(fd)
    except OSError as error:
        hint = "only root may do that" if isinstance(error, PermissionError) else None
        raise StorageError(f"{path}: {error.strerror}", hint=hint) from None


def _text(path: str) -> str:
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return ""
