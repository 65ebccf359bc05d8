"""After any end of a migration: which copy of the guest is the right one, and what is to be done. Pure.

Both ends are asked what libvirt says of the uuid; errors are too coarse to go by. What holds, whatever the two say:

- nothing is done while a transfer is under way, or while an end that may have the guest cannot be asked;
- nothing is ended at the first look, since the two are not asked in the same moment;
- a copy is resumed only where no other one is alive, and ended only where the other is alive and whole;
- in post-copy neither is touched: each has memory that the other lacks, until libvirt says there that it has all.

Source: how libvirt hands a domain over. The source's is paused, the destination's is let go, the source's is ended; before
it is let go the destination's has never run. Where the answer to that is lost, libvirt has the source's run on.
"""

from __future__ import annotations

from dataclasses import dataclass

from xmcompat.backends.migration import MigrationState
from xmcompat.migration.facts import Copy, Life


class Place:
    """Words for where the right copy is. NOWHERE: there is none any more; UNKNOWN: it cannot be told."""

    HERE = "here"
    THERE = "there"
    BOTH = "both"  # post-copy: each has a part of the memory
    NOWHERE = "nowhere"
    UNKNOWN = "unknown"


class Act:
    """Words for what is to be done. WAIT, always alone: ask both ends again a little later. RECOVER: take up a post-copy.

    Those there are the peer's: ``settle`` lets the guest run, ``release`` ends what has never run, ``end`` what is paused.
    """

    WAIT = "wait"
    RESUME_HERE = "resume here"
    DESTROY_HERE = "destroy here"
    SETTLE_THERE = "settle there"
    RELEASE_THERE = "release there"
    DESTROY_THERE = "destroy there"
    RECOVER = "recover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``place`` of the right copy; ``acts`` in their order: the next one only where the one before it was done.

    ``says`` is a sentence for the operator without its subject ("runs on here"), true once the acts are done; ``do`` is
    what is left to the operator. ``well``: the guest is where it was to go.
    """

    place: str
    says: str
    acts: tuple[str, ...] = ()
    do: str = ""
    well: bool = False


_SPLIT_OUT = (MigrationState.POSTCOPY_OUT, MigrationState.STALLED_OUT)
_SPLIT_IN = (MigrationState.POSTCOPY_IN, MigrationState.STALLED_IN)
_STALLED = (MigrationState.STALLED_OUT, MigrationState.STALLED_IN)
_ALIVE = (Life.RUNNING, Life.PAUSED)
_DEAD = (Life.OFF, Life.GONE, Life.CRASHED)
#: Seconds that libvirt has for what it does by itself: where it says that it has ended, and where it is at it.
_ENDED, _AT_IT = 3.0, 30.0


def outcome(
    here: Copy, there: Copy, *, was_paused: bool = False, waited: bool = False, host: str = "the other host"
) -> Outcome:
    """What has become of a guest that was to go to HOST.

    WAS_PAUSED: it was paused before, and is to stay so. WAITED: both were asked before, and what libvirt does by itself has
    had its time.
    """
    found = _split(here, there, host) or _silent(here, there, was_paused, host) or _told(here, there, was_paused, host)
    if not waited and not _is_final(found, here, there):
        return Outcome(place=found.place, says=found.says, acts=(Act.WAIT,), do=found.do)
    return found


def patience(here: Copy, there: Copy) -> float:
    """Seconds after which both ends were waited for, if they go on saying the same."""
    asked = Life.UNKNOWN not in (here.life, there.life)
    return _ENDED if asked and not _is_under_way(here) and not _is_under_way(there) else _AT_IT


def _is_final(found: Outcome, here: Copy, there: Copy) -> bool:
    """Whether more time cannot change it: one runs, and the other end has nothing of it."""
    none = (Life.GONE, Life.OFF)
    one_runs = (here.life == Life.RUNNING and there.life in none) or (here.life in none and there.life == Life.RUNNING)
    return found.place in (Place.HERE, Place.THERE) and one_runs and not _is_under_way(here) and not _is_under_way(there)


def _is_under_way(copy: Copy) -> bool:
    settled = (MigrationState.NONE, MigrationState.LEFT, MigrationState.ARRIVED)
    return copy.life in _ALIVE and copy.moving not in settled


def _split(here: Copy, there: Copy, host: str) -> Outcome | None:
    """Where an end says that the guest is in post-copy."""
    out = here.life in _ALIVE and here.moving in _SPLIT_OUT
    into = there.life in _ALIVE and there.moving in _SPLIT_IN
    if not out and not into:
        return None
    if here.life in _DEAD and here.moving == MigrationState.LEFT:
        return Outcome(place=Place.THERE, says=f"runs on {host}", acts=(Act.SETTLE_THERE,), well=True)
    if Life.UNKNOWN in (here.life, there.life):
        silent = host if there.life == Life.UNKNOWN else "the libvirtd of this host"
        return Outcome(
            place=Place.BOTH,
            says=f"runs on {host} with a part of its memory here, and {silent} cannot be asked",
            do="end neither of the two; see 'xm list' on both when they answer",
        )
    if (here.life in _ALIVE) is not (there.life in _ALIVE):
        return _half_lost(into, host)
    if here.moving == MigrationState.STALLED_OUT and there.life == Life.RUNNING and there.moving == MigrationState.ARRIVED:
        # all of its memory is there, and the last word of that was lost
        return Outcome(place=Place.THERE, says=f"runs on {host}", acts=(Act.DESTROY_HERE, Act.SETTLE_THERE), well=True)
    if here.moving in _STALLED or there.moving in _STALLED:
        return Outcome(
            place=Place.BOTH,
            says=f"runs on {host}, and waits for memory that is still here",
            acts=(Act.RECOVER,),
            do="end neither of the two; when the hosts reach each other again, it goes on",
        )
    if into:
        says = f"runs on {host}, and fetches the rest of its memory from here"
        return Outcome(place=Place.BOTH, says=says, acts=(Act.WAIT,), do="end neither of the two")
    return Outcome(
        place=Place.BOTH,
        says=f"runs on {host}; what is left of it here should go by itself",
        acts=(Act.WAIT,),
        do=f"if it stays in 'xm list' here, and the guest works on {host}, run 'xm destroy' here",
    )


def _half_lost(alive_there: bool, host: str) -> Outcome:
    lost, rest = ("here", f"on {host}") if alive_there else (f"on {host}", "here")
    return Outcome(
        place=Place.NOWHERE,
        says=f"is lost: a part of its memory was {lost}, and has gone with its QEMU",
        do=f"end what is left of it {rest} by 'xm destroy', and start it again",
    )


def _silent(here: Copy, there: Copy, was_paused: bool, host: str) -> Outcome | None:
    """Where an end cannot be asked: what is there is left as it is."""
    if here.life == there.life == Life.UNKNOWN:
        return Outcome(
            place=Place.UNKNOWN, says="cannot be asked for on either host", do="see 'xm list' on both when they answer"
        )
    if there.life == Life.UNKNOWN:
        return _destination_silent(here, was_paused, host)
    return _source_silent(there, host) if here.life == Life.UNKNOWN else None


def _destination_silent(here: Copy, was_paused: bool, host: str) -> Outcome:
    see = f"see 'xm list' on {host} when it answers"
    if here.life == Life.RUNNING and here.moving == MigrationState.OUTGOING:
        return Outcome(place=Place.HERE, says=f"runs on here, and {host} cannot be asked", acts=(Act.WAIT,), do=see)
    if here.life == Life.RUNNING:
        return Outcome(place=Place.HERE, says=f"runs on here; {host} cannot be asked", do=f"{see}: it must not be there")
    if here.life == Life.PAUSED and was_paused and here.moving == MigrationState.NONE:
        says = f"is still here, and paused as before; {host} cannot be asked"
        return Outcome(place=Place.HERE, says=says, do=f"{see}: it must not be there")
    if here.life == Life.PAUSED:
        return Outcome(
            place=Place.UNKNOWN,
            says=f"is paused here, and may run on {host}, which cannot be asked",
            do=f"run 'xm unpause' here only if it is not on {host}, or that host is off",
        )
    if here.moving == MigrationState.LEFT:
        return Outcome(place=Place.THERE, says=f"has gone to {host}, which cannot be asked", do=see)
    return Outcome(place=Place.UNKNOWN, says=f"is not here any more ({here.life}), and {host} cannot be asked", do=see)


def _source_silent(there: Copy, host: str) -> Outcome:
    see = "see 'xm list' here when libvirtd answers"
    whole = there.moving != MigrationState.INCOMING
    if there.life == Life.RUNNING and whole:
        says = f"runs on {host}; the libvirtd of this host cannot be asked"
        return Outcome(place=Place.THERE, says=says, do=f"{see}: it must not run here", well=True)
    if there.life == Life.PAUSED and whole:
        return Outcome(
            place=Place.UNKNOWN, says=f"is paused on {host}, and may run here, where libvirtd cannot be asked", do=see
        )
    if there.life in _ALIVE or there.life == Life.GONE:
        says = f"has not arrived on {host}, and should run on here, where libvirtd cannot be asked"
        return Outcome(place=Place.UNKNOWN, says=says, do=see)
    return Outcome(place=Place.UNKNOWN, says=f"is {there.life} on {host}, and libvirtd here cannot be asked", do=see)


def _told(here: Copy, there: Copy, was_paused: bool, host: str) -> Outcome:
    """Where both ends have answered, and none is in post-copy."""
    if here.life in _ALIVE and here.moving == MigrationState.OUTGOING:
        says = f"is still being moved to {host}"
        return Outcome(place=Place.UNKNOWN, says=says, acts=(Act.WAIT,), do="see 'xm list' on both hosts in a while")
    never_ran = there.life in _ALIVE and there.moving == MigrationState.INCOMING
    if there.life not in _ALIVE:
        return _only_here(here, there, was_paused, host)
    if here.life in _ALIVE:
        return _not_arrived(here, was_paused) if never_ran else _twice(here, there, host)
    if never_ran and here.moving != MigrationState.LEFT:
        return Outcome(
            place=Place.NOWHERE,
            says=f"is lost: it has ended here before its memory was on {host}",
            acts=(Act.RELEASE_THERE,),
            do="start it again",
        )
    paused = was_paused and there.life == Life.PAUSED
    says = f"is on {host}, and paused as before" if paused else f"runs on {host}"
    return Outcome(place=Place.THERE, says=says, acts=(Act.SETTLE_THERE,), well=True)


def _only_here(here: Copy, there: Copy, was_paused: bool, host: str) -> Outcome:
    """Nothing of it is alive there."""
    if here.life == Life.RUNNING:
        return Outcome(place=Place.HERE, says="runs on here", acts=(Act.RELEASE_THERE,))
    if here.life == Life.PAUSED and there.life == Life.CRASHED:
        return Outcome(
            place=Place.UNKNOWN,
            says=f"has crashed on {host}, and what is paused here is older than its disks",
            do="end it here by 'xm destroy', and start it again",
        )
    if here.life == Life.PAUSED:
        return _not_arrived(here, was_paused)
    if here.moving == MigrationState.LEFT:
        return Outcome(
            place=Place.NOWHERE,
            says=f"had gone to {host}, and has ended there",
            do=f"the log of its QEMU on {host} says why; start it again",
        )
    # it may have run there, too, and ended: what was copied there is not to be removed
    return Outcome(place=Place.NOWHERE, says="has ended here", do="start it again")


def _not_arrived(here: Copy, was_paused: bool) -> Outcome:
    """It is alive here, and has never run there: what is there goes first, and then the guest may run here."""
    if here.life == Life.RUNNING:
        return Outcome(place=Place.HERE, says="runs on here", acts=(Act.RELEASE_THERE,))
    if was_paused:
        return Outcome(place=Place.HERE, says="is still here, and paused as before", acts=(Act.RELEASE_THERE,))
    return Outcome(place=Place.HERE, says="runs on here", acts=(Act.RELEASE_THERE, Act.RESUME_HERE))


def _twice(here: Copy, there: Copy, host: str) -> Outcome:
    """Both are alive and whole. The one that stays is that which runs; where both do, the one that was let go first: here
    it went on only when libvirt had lost the other's answer."""
    if here.life == Life.RUNNING and there.life == Life.PAUSED:
        return Outcome(place=Place.HERE, says="runs on here", acts=(Act.DESTROY_THERE,))
    return Outcome(place=Place.THERE, says=f"runs on {host}", acts=(Act.DESTROY_HERE, Act.SETTLE_THERE), well=True)
