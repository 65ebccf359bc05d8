"""A kind of need: a disk of several volumes, which must be served before its guest starts (``composite``).

Its words are what a ``Composite`` is made of; it never is up before it is needed, and has one holder.
"""

from __future__ import annotations

import json

from xmcompat.errors import DeviceError
from xmcompat.storage import composite
from xmcompat.storage.composite import Composite, Part
from xmcompat.storage.needs import Need
from xmcompat.storage.programs import StorageError

KIND = "served"


def need(wanted: Composite) -> Need:
    """That WANTED is served."""
    words = {"folder": wanted.folder, "domain": wanted.domain, "parts": json.dumps(wanted.parts)}
    return Need(kind=KIND, name=wanted.folder, words=words)


def composite_of(need: Need) -> Composite:
    return Composite(need.words["folder"], need.words["domain"], parts_of(need))


def parts_of(need: Need) -> tuple[Part, ...]:
    """The parts in the words of a NEED of this kind, or of one that is joined by the kernel."""
    return tuple(Part(*part) for part in json.loads(need.words["parts"]))


def need_of(path: str) -> Need | None:
    """None: no path of a volume shows that it is a part of a disk."""
    return None


def is_up(need: Need) -> bool:
    """Never: what is served now is left over, or the guest's before."""
    return False


def assemble(need: Need, deadline: float) -> str:
    """Serve it to QEMU's user, once what served it before has written all, within DEADLINE seconds; returns "".

    Raises DeviceError.
    """
    composite.assemble(composite_of(need), composite.socket_owner(), deadline=deadline)
    return ""


def release(need: Need) -> None:
    """Raises StorageError where a guest has it."""
    try:
        composite.release(composite_of(need))
    except DeviceError as error:
        raise StorageError(error.message, hint=error.hint) from None


def explain(need: Need, error: StorageError) -> StorageError:
    return error
