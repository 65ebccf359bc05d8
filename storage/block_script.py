"""Disks that a script of the user's own brings up ("X:WORDS" by block-X, xl's ``script=``), as Xen had them brought up.

The script is called with "add" before the guest is there and with "remove" when it has gone. It finds in XenStore what xend
put there (params, mode, type), and tells there which device it has made. The disk's path is a link to that device, which
has the same name whatever device it is. Source: xend 4.1, its agents, and libxl 4.17 for physical-device-path.

Differs from Xen: each disk of each guest has an XenStore of its own, in files that are kept until the script has removed
the disk; the guest's number in it is made from its uuid, as it has none before it starts.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import stat
import time
from contextlib import suppress

from xmcompat import hotplug_script
from xmcompat.errors import XmError
from xmcompat.hotplug_script import DEADLINE, FOLDER, LOG, Call
from xmcompat.script_store import Store, below, opened
from xmcompat.storage.needs import Need
from xmcompat.storage.programs import StorageError
from xmcompat.storage.waiting import wait_for

#: Where the nodes of each disk are kept between "add" and "remove"; only root may look.
STORES = "/run/xmcompat/scripts"

#: What Xen's scripts find in its XenStore of a device that is to be connected.
_WAITS = "2"
_MAJOR_MINOR = re.compile(r"([0-9a-fA-F]{1,8}):([0-9a-fA-F]{1,8})")
#: How often a script is asked to remove what it could not: the device may be busy for a moment.
_TRIES, _PAUSE = 3, 0.3
#: Seconds in which it must remove what it did not add to the end; an error is told at once.
_PATIENCE = 10.0
#: How often a disk's folder is made again that goes at once.
_LINKS = 5
_LAST_DOMID = 2**31 - 1


def need_of(path: str) -> Need | None:
    """None: no path tells of a script; the disk itself says so."""
    return None


def is_up(need: Need) -> bool:
    """Whether the script's device is there. Nobody else than we makes it."""
    return False


def assemble(need: Need, deadline: float) -> str:
    """Have the script add the disk, and return the path that leads to its device. May be repeated.

    The script has as long as xend's settings say, its device DEADLINE seconds more. What an "add" that was cut off has
    done is removed first. Raises StorageError: what the script says in xm's words.
    """
    path, kept = need.words["path"], _kept(need)
    if os.path.exists(path) and os.path.exists(kept):
        return path
    _clear(need, kept)
    try:
        os.makedirs(STORES, 0o700, exist_ok=True)
        with opened(_nodes(need), kept=kept, purpose="vbd") as store:
            call, limit, log = _call(need, "add"), _deadline(need), _log(need)
            ended = hotplug_script.run(call, store, deadline=limit, log=log, bound=True)
            hotplug_script.refuse_failed(call, ended, store, deadline=limit, log=log)
            device = _device(need, call, store, deadline)
        _link(path, device)
    except BaseException as error:
        _clear(need, kept)
        if isinstance(error, XmError | OSError):
            raise _told(error) from None
        raise
    return path


def release(need: Need) -> None:
    """Have the script remove the disk. Silent where none is there. Raises StorageError where the script fails time and
    again: what it has left is its own then, as under Xen, and it is not called again."""
    if not os.path.exists(_kept(need)):
        _unlink(need.words["path"])
        return
    try:
        for left in reversed(range(_TRIES)):
            ended = _run(need, "remove", _kept(need))
            if ended.status == 0:
                return
            if ended.status is None or not left:
                break
            time.sleep(_PAUSE)
    finally:
        _forget(need)
    script = need.words["script"]
    why = "did not end" if ended.status is None else ended.said or f"ended with status {ended.status}"
    raise StorageError(f"{script} could not remove {need.words['params']}: {why}", hint=f"see {_log(need)}")


def explain(need: Need, error: StorageError) -> StorageError:
    """The script has said it already."""
    return error


def _clear(need: Need, kept: str) -> None:
    """Have the script remove what it did not add to the end, whatever it says to that."""
    if os.path.exists(kept):
        with suppress(StorageError):
            _run(need, "remove", kept, _PATIENCE)
        _forget(need)


# -- the call


def _run(need: Need, command: str, kept: str, longest: float = math.inf) -> hotplug_script.Ended:
    """Have the script do it within LONGEST seconds, if that is less than it has. Raises StorageError where it cannot be
    started."""
    try:
        with opened({}, kept=kept, purpose="vbd") as store:
            call = _call(need, command)
            return hotplug_script.run(call, store, deadline=min(_deadline(need), longest), log=_log(need), bound=True)
    except XmError as error:
        raise _told(error) from None


def _call(need: Need, command: str) -> Call:
    file = hotplug_script.find(need.words["script"], need.words.get("scripts", FOLDER))
    shown = f"{need.words['domain']} {need.words['vdev']}"
    return Call(file, (command,), _place(need), shown, {"XENBUS_TYPE": "vbd", "TYPE": need.words["type"]})


def _deadline(need: Need) -> float:
    return float(need.words.get("deadline", DEADLINE))


def _log(need: Need) -> str:
    return need.words.get("log", LOG)


def _domid(need: Need) -> int:
    """A number for a guest that has none yet, the same at each of its starts."""
    return 1 + int.from_bytes(hashlib.sha256(need.words["uuid"].encode()).digest()[:8], "big") % _LAST_DOMID


def _place(need: Need) -> str:
    return f"backend/vbd/{_domid(need)}/{need.words['number']}"


def _nodes(need: Need) -> dict[str, str]:
    """What XenStore would have of the disk, and of its guest."""
    words, domid = {**need.words, **need.secret}, _domid(need)
    disk = {
        "domain": words["domain"], "frontend": f"/local/domain/{domid}/device/vbd/{words['number']}",
        "frontend-id": str(domid), "uuid": words["uuid"], "bootable": words.get("bootable", "0"), "dev": words["vdev"],
        "state": _WAITS, "params": words["params"], "mode": words["mode"], "online": "1", "type": words["type"],
        "script": words["script"],
    }  # fmt: skip
    guest = {
        f"local/domain/{domid}/vm": f"/vm/{words['uuid']}", f"local/domain/{domid}/name": words["domain"],
        f"vm/{words['uuid']}/uuid": words["uuid"], f"vm/{words['uuid']}/name": words["domain"],
    }  # fmt: skip
    return {**below(_place(need), disk), **guest}


# -- the device


def _device(need: Need, call: Call, store: Store, deadline: float) -> str:
    """The device that the script told of, once it is there. Raises StorageError."""
    told = (store.told(f"{call.path}/{name}") for name in ("physical-device-path", "node"))
    path = next((one for one in told if one.startswith("/")), "")
    number = _MAJOR_MINOR.fullmatch(store.told(f"{call.path}/physical-device"))
    if not path and not number:
        raise StorageError(
            f"{call.file} told of no device for {need.words['params']}: it wrote no physical-device",
            hint=f"see {_log(need)}",
        )
    if os.path.isfile(path):
        raise StorageError(f"{call.file} told of {path}, which is a file", hint="it must make a block device of it")
    if number:
        numbers = (int(number[1], 16), int(number[2], 16))
        path = path if path and _numbers(path) in (numbers, None) else _node(*numbers)
    wait_for(path, deadline)
    return os.path.realpath(path)


def _numbers(path: str) -> tuple[int, int] | None:
    """The device's numbers, None where there is none yet."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (os.major(found.st_rdev), os.minor(found.st_rdev)) if stat.S_ISBLK(found.st_mode) else None


def _node(major: int, minor: int) -> str:
    """The file of the device with these numbers, by the kernel's own name for it where udev has made no link."""
    link = f"/dev/block/{major}:{minor}"
    with suppress(OSError), open(f"/sys/dev/block/{major}:{minor}/uevent", encoding="utf-8") as file:
        named = [line.partition("=")[2].strip() for line in file if line.startswith("DEVNAME=")]
        if named and not os.path.exists(link):
            return f"/dev/{named[0]}"
    return link


def _link(path: str, device: str) -> None:
    """Have PATH lead to DEVICE, whose folders QEMU's user can pass through. The last of them may be removed meanwhile, with
    another disk of the guest."""
    for _ in range(_LINKS - 1):
        try:
            _link_once(path, device)
            return
        except (FileNotFoundError, FileExistsError):
            continue
    _link_once(path, device)


def _link_once(path: str, device: str) -> None:
    folder = os.path.dirname(path)
    os.makedirs(folder, 0o755, exist_ok=True)
    for one in (folder, os.path.dirname(folder), os.path.dirname(os.path.dirname(folder))):
        mode = stat.S_IMODE(os.stat(one).st_mode)
        if mode & 0o011 != 0o011:  # whatever the umask says
            os.chmod(one, mode | 0o011)
    fresh = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(fresh)
    os.symlink(device, fresh)
    os.rename(fresh, path)


def _unlink(path: str) -> None:
    with suppress(OSError):
        if os.path.islink(path):
            os.unlink(path)
        os.rmdir(os.path.dirname(path))


def _kept(need: Need) -> str:
    return os.path.join(STORES, hashlib.sha256(need.name.encode("utf-8", "surrogateescape")).hexdigest()[:20])


def _forget(need: Need) -> None:
    _unlink(need.words["path"])
    shutil.rmtree(_kept(need), ignore_errors=True)


def _told(error: XmError | OSError) -> StorageError:
    if isinstance(error, OSError):
        return StorageError(f"{error.filename}: {error.strerror}")
    return error if isinstance(error, StorageError) else StorageError(error.message, hint=error.hint)
