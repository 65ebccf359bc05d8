"""Guests beside a firewall that forwards nothing, as Docker makes one: bridges are taken out of its sight.

Others' tables are never touched, and a rule of ours cannot save a packet that one of theirs drops. So rules for IP are kept
from what stays on a bridge, as on a Xen host: the settings before are remembered, and put back with the last network.

That is done only where every packet of guests would be dropped. Rules that drop some may be meant for them, and are only
reported. The setting is the whole host's: containers that rules keep apart on one bridge are apart no more. When Docker
starts again it sets it anew, which ``check`` sees and ``up`` mends.
"""

from __future__ import annotations

from collections.abc import Iterable

from xmcompat.network import marks, notes
from xmcompat.network.check import BRIDGE_FILTER, on_bridge
from xmcompat.network.host import Host
from xmcompat.network.rules import Fate, Ruleset
from xmcompat.network.steps import Step

KIND = "survive"


def up(host: Host, ruleset: Ruleset, bridges: Iterable[str]) -> tuple[Step, ...]:
    """What lets the packets between ports of BRIDGES pass; () where they do already."""
    names = tuple(bridges)
    wanted = {key: "0" for family, key in BRIDGE_FILTER.items() if _drops(host, ruleset, names, family)}
    before = {one.key: one for one in notes.earlier(host, KIND)}
    remembered = {**before, **{one.key: one for one in notes.to_remember(host, wanted)}}
    changes = notes.set_steps(host, [one for key, one in remembered.items() if key in wanted])
    noted = remembered == before and notes.is_written(host, KIND)
    if not remembered or (not changes and noted):
        return notes.copied(host, KIND, marks.text(KIND), remembered.values()) if remembered else ()
    note = notes.step(host, KIND, marks.text(KIND), remembered.values(), words="note how bridges were filtered before")
    copy = notes.copied(host, KIND, marks.text(KIND), remembered.values())
    return (*(() if noted else (note,)), *changes, *copy)


def down(host: Host) -> tuple[Step, ...]:
    """What puts the settings back; () where none was changed."""
    if KIND not in notes.noted(host, KIND):
        return ()
    remembered = notes.earlier(host, KIND)
    begin = () if notes.is_written(host, KIND) else (
        notes.step(host, KIND, marks.text(KIND), remembered, words="note it again, until it is put back"),)  # fmt: skip
    host = notes.foreseen(host, begin)
    back = notes.text(KIND, marks.text(KIND), remembered)
    gone = notes.nft(notes.removal(host, chains=(notes.chain(KIND),)))
    forget = Step(text="forget how bridges were filtered before", do=gone, undo=(notes.nft(back),))
    return (*begin, *notes.restore_steps(host, KIND), *notes.uncopied(host, KIND), forget)


def _drops(host: Host, ruleset: Ruleset, bridges: tuple[str, ...], family: int) -> bool:
    """Whether the setting for all bridges has every packet of FAMILY dropped on one of BRIDGES."""
    return host.setting(BRIDGE_FILTER[family]) == "1" and any(
        on_bridge(host, ruleset, name, family).fate is Fate.DROPS for name in bridges
    )
