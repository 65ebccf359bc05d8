"""The mark of a change that nobody has confirmed yet: notes in our nftables table, one for each network that it makes.

Should the command and its watchdog both be killed, the notes tell the next call what to take away. Without nft there are
no notes, and the watchdog alone has to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xmcompat.network import marks, notes, programs
from xmcompat.network.host import TABLE, Host, table
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Step, act

_NAME = "trial-"
_CHAIN = notes.chain(_NAME)


def names(host: Host) -> tuple[str, ...]:
    """The networks whose making has not been confirmed."""
    return tuple(mark.values.get("name", "") for name, mark in notes.comments(host) if name.startswith(_NAME))


def noted(host: Host, networks: Sequence[str]) -> tuple[tuple[Step, ...], Host]:
    """The step that notes NETWORKS, none where there is no nft; and HOST with the notes. Pure but for the look for nft."""
    if not networks or not programs.is_there("nft"):
        return (), host
    kinds = [f"{_NAME}{number}" for number in range(len(networks))]
    made = "".join(notes.text(kind, marks.text(kind, name=name)) for kind, name in zip(kinds, networks, strict=True))
    there = host.tables.get("inet", ())
    table_gone = f"add table inet {TABLE}\ndelete table inet {TABLE}\n"
    gone = made + "".join(_without(notes.chain(kind)) for kind in kinds) if there else table_gone
    step = Step(text="note that the change is on trial", do=notes.nft(made), undo=(notes.nft(gone),))
    marked = there or ({"table": {"family": "inet", "name": TABLE}},)
    return (step,), notes.foreseen(replace(host, tables={**host.tables, "inet": marked}), (step,))


def tidy() -> None:
    """Remove the notes, and our inet table if nothing else is in it. May be repeated. Raises NetworkError."""
    entries = table("inet")
    if not entries:
        return
    chains = [str(entry["chain"]["name"]) for entry in entries if "chain" in entry]
    others = [entry for entry in entries if not _belongs_to_notes(entry)]
    gone = "".join(_without(name) for name in chains if name.startswith(_CHAIN))
    if text := gone if others else f"delete table inet {TABLE}\n":
        act(notes.nft(text))


def tidied() -> str:
    """As ``tidy``; the line of what went wrong, "" for nothing."""
    try:
        tidy()
    except NetworkError as error:
        return error.line()
    return ""


def _belongs_to_notes(entry: object) -> bool:
    assert isinstance(entry, dict)
    name = entry.get("chain", {}).get("name", "") or entry.get("rule", {}).get("chain", "")
    return "table" in entry or str(name).startswith(_CHAIN)


def _without(chain: str) -> str:
    """What nft reads to remove it. It must be there."""
    return f"flush chain inet {TABLE} {chain}\ndelete chain inet {TABLE} {chain}\n"
