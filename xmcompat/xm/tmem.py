"""``xm tmem-*``: transcendent memory, of which KVM has none. The words are looked at as xm did, and scripts go on."""

from __future__ import annotations

import sys

from xmcompat.errors import InvalidArgument, OperationError
from xmcompat.toolstack import Toolstack
from xmcompat.xm.numbers import integer
from xmcompat.xm.options import Words
from xmcompat.xm.output import warn

SETTINGS = ("weight", "cap", "compress")

NONE_TO_CHANGE = "KVM has no transcendent memory: nothing was done"
NONE_TO_LIST = "KVM has no transcendent memory: there are no pools; 'virsh dommemstat' shows the memory of a guest"


def show(words: Words) -> int:
    """``xm tmem-list [-l] DOMAIN|-a``: nothing on stdout."""
    _meant(words)
    warn([NONE_TO_LIST])
    return 0


def change(words: Words) -> int:
    """``xm tmem-thaw``, ``tmem-freeze``, ``tmem-destroy``, ``tmem-flush``."""
    _meant(words)
    warn([NONE_TO_CHANGE])
    return 0


def set_values(words: Words) -> int:
    """``xm tmem-set DOMAIN|-a [weight=N] [cap=N] [compress=N]``."""
    for pair in _meant(words):
        key, equals, value = pair.partition("=")
        if key not in SETTINGS or not equals:
            raise OperationError(f"Unrecognized tmem configuration option: {pair}")
        try:
            integer(value)
        except InvalidArgument:
            raise OperationError(f"{key} should be a integer") from None
    warn([NONE_TO_CHANGE])
    return 0


def shared_auth(words: Words) -> int:
    """``xm tmem-shared-auth DOMAIN|-a [-u UUID] [-A 0|1]``."""
    _meant(words)
    if words.has("auth"):
        integer(words.value("auth"))
    warn([NONE_TO_CHANGE])
    return 0


def freeable(_words: Words) -> int:
    """``xm tmem-freeable``: the MiB that could be had back."""
    sys.stdout.write("0\n")
    return 0


def _meant(words: Words) -> list[str]:
    """The words behind the domain, which only its id can name. Raises OperationError."""
    if words.has("all"):
        return words.operands
    if not words.operands:
        raise OperationError("You must specify -a or --all or a domain id.")
    designation, *rest = words.operands
    with Toolstack.open() as toolstack:
        ids = {str(info.domid) for info in toolstack.domains() if info.domid is not None}
    if designation not in ids:
        raise OperationError(f"Unrecognized domain id: {designation}")
    return rest
