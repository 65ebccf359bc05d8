"""The records of a domain: that of the domain as it runs, and that of its definition, where it has both.

They may differ: a halted domain that is known can be run with another configuration (``xm create``). What is changed is
changed in each, from what that one says.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext

from xmcompat.backends import domain_xml
from xmcompat.backends.domain_lock import locked
from xmcompat.backends.kept_mark import Phase
from xmcompat.backends.settings import is_local
from xmcompat.config import sxp
from xmcompat.describe import recorded_form
from xmcompat.errors import DomainNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import DomainInfo, Hypervisor

Tree = list[object]


def change_forms(hypervisor: Hypervisor, info: DomainInfo, change: Callable[[Tree], Tree]) -> None:
    """CHANGE the ``(vm ...)`` form of every record that the domain has, while nobody attaches devices or the like.

    Silent for one that has ended since. Not for those who have the domain's lock already: they would lose it.
    """
    with locked(info.uuid, os.environ) if is_local(hypervisor.uri) else nullcontext():
        try:
            _change_forms(hypervisor, info, change)
        except DomainNotFound:
            return


def _change_forms(hypervisor: Hypervisor, info: DomainInfo, change: Callable[[Tree], Tree]) -> None:
    two = info.persistent and info.started
    if two:
        change_known(hypervisor, info, change)
    own = _changed(hypervisor.metadata(info.uuid), change)
    if own is not None:
        hypervisor.set_metadata(info.uuid, own, known=not two)


def change_known(hypervisor: Hypervisor, info: DomainInfo, change: Callable[[Tree], Tree]) -> None:
    """CHANGE the form in the record of a domain's definition alone."""
    known = _changed(hypervisor.known_metadata(info.uuid), change)
    if known is not None:
        hypervisor.set_metadata(info.uuid, known, live=False)


def _changed(text: str | None, change: Callable[[Tree], Tree]) -> str | None:
    """The record in TEXT with its form changed; None where xm has none there, or somebody has spoilt it."""
    record = None if text is None else domain_xml.read_record(text)
    form = recorded_form(record)
    if record is None or form is None:
        return None
    return domain_xml.render_record(record._replace(sxp=sxp.write(change(form))))


def renew(hypervisor: Hypervisor, info: DomainInfo, *, afresh: bool = False) -> None:
    """The record and the mark of a domain that has just come back, paused: it was started now, under this id.

    AFRESH: its restarts are counted anew. The record of a definition stays as it is.
    """
    text = hypervisor.metadata(info.uuid)
    record = None if text is None else domain_xml.read_record(text)
    if record is not None:
        renewed = record._replace(started=time.time(), restarts=0 if afresh else record.restarts)
        hypervisor.set_metadata(info.uuid, domain_xml.render_record(renewed), known=False)
    live, _ = hypervisor.marks(info.uuid)
    if live is not None and live.keeps and live.phase == Phase.RUNNING:
        mark = live._replace(domid=info.domid, since=time.time())
        if not info.persistent:
            from xmcompat.backends import kept_xml

            hypervisor.define_again(kept_xml.marked(hypervisor.definition(info.uuid), mark))
        hypervisor.set_mark(info.uuid, mark)
