"""Which guests are saved to files: one that is must not be started afresh, for its memory would be lost, and no longer fit
its disks.

libvirt knows nothing of a guest whose memory lies in a file of ``xm save``. Where that lies is noted from the beginning of
the save until the guest goes on; a note whose files are gone, or hold another guest, is void. It names several while one is
about to be called otherwise, and where a save goes on in libvirt whose ``xm`` was killed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.errors import OperationError, XmError
from xmcompat.storage import looking

if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import DomainInfo

FOLDER = "/var/lib/xmcompat/saved"

#: What creates and starts a guest whose saved memory is given up.
OPTION = "--discard-saved"


class SavedGuest(NamedTuple):
    """``path``: the file with its memory."""

    uuid: str
    name: str
    path: str


def note(uri: str, info: DomainInfo, *paths: str) -> None:
    """The memory of the domain of INFO, of the libvirt at URI, is, or is about to be, in the first of the files PATHS that
    is there, before those that are noted already. Silent where that cannot be noted."""
    try:
        os.makedirs(FOLDER, mode=0o700, exist_ok=True)
        noted = _read(info.uuid)
        earlier = [path for path in noted.paths if noted.hypervisor == uri and _may_be_there(path)]
        _write(info.uuid, _Note(uri, info.name, tuple(dict.fromkeys([*map(os.path.abspath, paths), *earlier]))))
        _sweep()
    except OSError:
        return


def settle(uuid: str, path: str) -> None:
    """Its memory is in the file PATH, and in no other. Silent where that cannot be noted."""
    with suppress(OSError):
        _write(uuid, _read(uuid)._replace(paths=(os.path.abspath(path),)))


class _Note(NamedTuple):
    hypervisor: str = ""
    name: str = ""
    paths: tuple[str, ...] = ()


def _write(uuid: str, noted: _Note) -> None:
    """Raises OSError."""
    import json

    text = json.dumps(noted._asdict())
    made = os.path.join(FOLDER, f".{uuid}.{os.urandom(4).hex()}")
    handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.replace(made, os.path.join(FOLDER, uuid))
    except BaseException:
        with suppress(OSError):
            os.unlink(made)
        raise


def _sweep() -> None:
    """Forget the guests of private libvirtds that are gone with their folders. Raises OSError."""
    for uuid in os.listdir(FOLDER):
        socket = _read(uuid).hypervisor.partition("socket=")[2].partition("&")[0]
        if socket and not os.path.exists(os.path.dirname(os.path.dirname(os.path.dirname(socket)))):
            forget(uuid)


def forget(uuid: str, path: str = "") -> None:
    """The domain of UUID goes on, or is given up; with PATH, that file alone does not have its memory."""
    with suppress(OSError):
        noted = _read(uuid)
        others = tuple(one for one in noted.paths if path and one != os.path.abspath(path))
        if others:
            _write(uuid, noted._replace(paths=others))
        else:
            os.unlink(os.path.join(FOLDER, uuid))


def find(uri: str, name: str, uuid: str | None) -> SavedGuest | None:
    """The saved guest of the libvirt at URI that has NAME or UUID; None where there is none."""
    try:
        uuids = sorted(os.listdir(FOLDER))
    except OSError:
        return None
    for noted in uuids:
        if noted.startswith("."):
            continue
        found = _read(noted)
        if found.hypervisor != uri or (found.name != name and noted != uuid):
            continue
        for path in found.paths:
            if _holds(guest := SavedGuest(noted, found.name, path)):
                return guest
    return None


def saved_in(uri: str, path: str, but: str) -> SavedGuest | None:
    """The guest of the libvirt at URI whose memory is in the file PATH, None where that is nobody's or that of the uuid
    BUT."""
    try:
        uuids = sorted(os.listdir(FOLDER)) if os.path.exists(path) else []
    except OSError:
        return None
    for uuid in uuids:
        found = _read(uuid)
        guest = SavedGuest(uuid, found.name, path)
        if uuid != but and found.hypervisor == uri and os.path.abspath(path) in found.paths and _holds(guest):
            return guest
    return None


def _read(uuid: str) -> _Note:
    try:
        with open(os.path.join(FOLDER, uuid), encoding="utf-8", errors="surrogateescape") as file:
            import json

            found = json.load(file)
        return _Note(str(found["hypervisor"]), str(found["name"]), tuple(map(str, found["paths"])))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return _Note()


def _may_be_there(path: str) -> bool:
    try:
        return looking.exists(path)
    except TimeoutError:
        return True


def _holds(guest: SavedGuest) -> bool:
    """Whether the file is there and holds that guest, or lies where nobody can look now."""
    from xmcompat.migration import save_file

    try:
        if not looking.exists(guest.path):
            return False
        return f"<uuid>{guest.uuid}</uuid>" in save_file.read(guest.path).xml
    except TimeoutError:
        return True
    except XmError:
        return False


def refuse(guest: SavedGuest) -> None:
    """Raises OperationError. Differs from xm: it started another one, and the memory was worth nothing from then on."""
    raise OperationError(
        f"Domain '{guest.name}' is saved in {guest.path}; its memory would be lost",
        hint=f"go on with it by 'xm restore {guest.path}', or give its memory up by {OPTION}",
    )


def discard(guest: SavedGuest) -> None:
    """Give its memory up: the file goes, and a note of it. Raises OperationError where it cannot."""
    try:
        os.unlink(guest.path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OperationError(
            f"the saved memory of '{guest.name}' cannot be given up: {guest.path}: {error.strerror}"
        ) from None
    forget(guest.uuid)
