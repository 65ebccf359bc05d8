"""What receivers leave that were killed: it is given back, and what a domain may have written here stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmcompat import arrival_disks, arrivals, disk_needs, disk_secrets
from xmcompat.backends.migration import MigrationState
from xmcompat.copies import copy_of
from xmcompat.migration.facts import Copy, Life

if TYPE_CHECKING:
    from collections.abc import Callable

    from xmcompat.backends.hypervisor import Hypervisor


def removed(promise: arrivals.Promise, *, sure: bool) -> tuple[str, ...]:
    """Remove the files that were made for it; a sentence for each that is left."""
    return tuple(
        f"{path} was made for {promise.name}, and may have what it has written here: it is left"
        for path in arrival_disks.remove(promise.made, sure=sure)
    )


def sweep(hypervisor: Hypervisor, log: Callable[[str, str], None] = lambda level, text: None) -> None:
    """Give back what receivers had prepared that were killed. What the domain may have written stays, since it may have
    come, and ended here since. Raises HypervisorUnreachable."""
    for one in arrivals.left(hypervisor.uri):
        with arrivals.taken_over(hypervisor.uri, one.uuid) as kept:
            copy = copy_of(hypervisor, one.uuid)
            if kept is None or copy.moving == MigrationState.INCOMING or _stands_still(copy):
                continue  # the next sweep sees more
            if copy.life in (Life.GONE, Life.OFF):
                for sentence in removed(kept.promise, sure=False):
                    log("ERROR", sentence)
                disk_needs.gone(hypervisor, one.uuid)
                disk_secrets.gone(hypervisor, one.uuid)
            else:
                disk_needs.settle(one.uuid)
            kept.let_go()


def came(uri: str, uuid: str) -> None:
    """The domain is here, and settled: forget what a receiver had promised of it that was killed on the way."""
    with arrivals.taken_over(uri, uuid) as kept:
        if kept is not None:
            kept.let_go()


def stays_away(uri: str, uuid: str) -> None:
    """The domain runs at its source, which says so: remove what is left that a receiver has made for it which was killed,
    or which does not know yet."""
    with arrivals.taken_over(uri, uuid) as kept:
        if kept is not None:
            arrival_disks.remove(kept.promise.made, sure=True)
            kept.let_go()
    for one in arrivals.promised(uri):
        if one.uuid == uuid:
            arrival_disks.remove(one.made, sure=True)


def _stands_still(copy: Copy) -> bool:
    return copy.life == Life.PAUSED and copy.moving == MigrationState.NONE
