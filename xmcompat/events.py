"""What can happen to a guest besides its life: reset, another name, magic SysRq keys, triggers, a dump of its memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from xmcompat import moving, recorded
from xmcompat.backends.hypervisor import DomainInfo, Hypervisor
from xmcompat.errors import DomainNotFound, HypervisorError, OperationError
from xmcompat.toolstack import DOM0_UUID, Toolstack
from xmcompat.tuning import with_values

DUMP_DIRECTORY = "/var/xen/dump"

#: Characters that the name of a domain may have.
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:+")

#: Linux's numbers of keys: Alt, SysRq, and by character.
_ALT, _SYSRQ = 56, 99
_ROWS = (("1234567890", 2), ("qwertyuiop", 16), ("asdfghjkl", 30), ("zxcvbnm", 44))
_KEYS = {char: first + place for row, first in _ROWS for place, char in enumerate(row)} | {" ": 57, "?": 53, "/": 53}

TRIGGERS = ("nmi", "reset", "init", "s3resume", "power")


def reset(toolstack: Toolstack, designation: str) -> None:
    """Press the reset button of a running or paused domain, which runs afterwards. Raises OperationError where it stands
    still while its disks are copied.

    Differs from xm: the domain and its id stay; xend destroyed it and built another one.
    """
    moving.refuse_standing(toolstack.hypervisor.uri, toolstack.find(designation))
    toolstack.on_started(designation, "reset", toolstack.hypervisor.reset)
    toolstack.unpause(designation)


def rename(toolstack: Toolstack, designation: str, name: str) -> None:
    """Give a domain that is known and off the NAME.

    Raises OperationError for a name that is none or is taken. Differs from xm: libvirt cannot rename a running one.
    """
    info = toolstack.find(designation)
    if not name:
        raise OperationError("Missing VM Name")
    if not _NAME.issuperset(name):
        raise OperationError("Invalid VM Name")
    _refuse_taken(toolstack, name, info)
    if info.uuid == DOM0_UUID:
        raise OperationError(f"Domain '{designation}' is this host itself; its name stays")
    if name == info.name:
        return
    if info.domid is not None:
        raise OperationError(
            f"Domain '{designation}' is running, and libvirt renames only domains that are off",
            hint=f"end it, then create it under the name {name}",
        )
    if info.uuid in toolstack.hypervisor.suspended():
        raise OperationError(
            f"Domain '{designation}' is suspended, and libvirt renames only domains that are halted",
            hint=f"resume it first: xm resume {info.name}",
        )
    try:
        toolstack.hypervisor.rename(info.uuid, name)
    except DomainNotFound:
        raise DomainNotFound(designation) from None
    recorded.change_forms(toolstack.hypervisor, info, lambda form: with_values(form, {"name": name}))


def _refuse_taken(toolstack: Toolstack, name: str, wanting: DomainInfo) -> None:
    """Raise OperationError where another domain than the one WANTING it has the NAME."""
    holder = next((info for info in toolstack.domains() if info.name == name), None)
    if holder is not None and holder.uuid != wanting.uuid:
        where = "" if holder.domid is None else f" as domain {holder.domid}"
        raise OperationError(f"VM name '{name}' already exists{where}")


def sysrq(toolstack: Toolstack, designation: str, letter: str) -> None:
    """Press Alt, SysRq and the key LETTER on the guest's keyboard.

    Differs from xm: every guest with a keyboard sees it, not paravirtual ones alone; a character without a key of
    its own (capital letters) is refused.
    """
    if len(letter) != 1:
        raise OperationError(f"{letter} is not convertible to a character")
    info = toolstack.find(designation)
    if info.domid is None:
        raise OperationError(f"Domain '{info.name}' is not started")
    if letter not in _KEYS:
        raise OperationError(f"SysRq has no key '{letter}'", hint="send a small letter or a digit")
    codes = (_ALT, _SYSRQ, _KEYS[letter])
    toolstack.on_started(
        designation, "send SysRq to", lambda uuid: toolstack.hypervisor.send_keys(uuid, codes)
    )  # fmt: skip


def trigger(toolstack: Toolstack, designation: str, name: str, vcpu: int = 0) -> None:
    """Send a domain one of TRIGGERS, whatever the case of its letters.

    A domain has one NMI and one INIT for all vcpus here; VCPU must be there. Raises OperationError for init, which
    QEMU cannot send.
    """
    info = toolstack.find(designation)
    toolstack.on_started(designation, "trigger", lambda uuid: None)
    word = name.lower()
    if word not in TRIGGERS:
        raise OperationError(f"Invalid trigger: {name}")
    if not 0 <= vcpu < info.vcpus:
        raise OperationError("(3, 'No such process')" if vcpu >= 0 else "(22, 'Invalid argument')")
    if word == "init":
        error = OperationError("(38, 'Function not implemented')", hint="QEMU has no INIT to send; use nmi or reset")
        error.hint_apart = True
        raise error
    toolstack.on_started(designation, "trigger", _trigger_of(toolstack.hypervisor, word))


def _trigger_of(hypervisor: Hypervisor, word: str) -> Callable[[str], None]:
    return {
        "nmi": hypervisor.inject_nmi, "reset": hypervisor.reset, "s3resume": hypervisor.wake,
        "power": hypervisor.shutdown,
    }[word]  # fmt: skip


def dump_core(
    toolstack: Toolstack, designation: str, path: str | None = None, *, live: bool = False, crash: bool = False,
    then_reset: bool = False,
) -> str:  # fmt: skip
    """Write the memory of a domain to the file PATH, as an ELF core; returns its path.

    Without PATH it is /var/xen/dump/NAME/YYYY-MMDD-hhmm.ss-NAME.ID.core. Afterwards the domain is destroyed (CRASH)
    or reset (THEN_RESET). Raises OperationError; what has been written until then is called PATH-incomplete.
    Differs from xm: QEMU stops the vcpus of a LIVE dump, too.
    """
    info = toolstack.find(designation)
    toolstack.on_started(designation, "dump core for", lambda uuid: None)
    path = _default_path(info) if path is None else path
    if os.path.isdir(path):
        raise OperationError(f"Cannot dump core in a directory: {path}")
    try:
        toolstack.on_started(
            designation, "dump core for", lambda uuid: toolstack.hypervisor.dump_core(uuid, path, live=live)
        )  # fmt: skip
    except (DomainNotFound, OperationError):
        raise
    except HypervisorError as error:
        if os.path.isfile(path):
            os.replace(path, f"{path}-incomplete")
        raise OperationError(f"Failed to dump core: {error.line()}") from None
    if crash:
        toolstack.destroy(designation)
    elif then_reset:
        reset(toolstack, designation)
    return path


def _default_path(info: DomainInfo) -> str:
    """In a folder of the domain's own, made now; in DUMP_DIRECTORY itself where that cannot be."""
    folder = Path(DUMP_DIRECTORY, info.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(DUMP_DIRECTORY)
    return str(folder / time.strftime(f"%Y-%m%d-%H%M.%S-{info.name.replace('%', '%%')}.{info.domid}.core"))
