"""The mark of a change that nobody has confirmed yet: notes in our nftables table, one for each network that it makes.

Should the command and its watchdog both be killed, the notes tell the next call what to take away. Without nft there are
no notes, and the watchdog alone has to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xmcompat.network import marks, programs
from xmcompat.network.host import TABLE, Host, note, table, unnote
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Command, Step, act

_CHAIN = "note-trial-"


def names(host: Host) -> tuple[str, ...]:
    """The networks whose making has not been confirmed."""
    found = []
    for entry in host.tables.get("inet", ()):
        rule = entry.get("rule", {})
        mark = marks.read(str(rule.get("comment", ""))) if str(rule.get("chain", "")).startswith(_CHAIN) else None
        if mark:
            found.append(mark.values.get("name", ""))
    return tuple(found)


def noted(host: Host, networks: Sequence[str]) -> tuple[tuple[Step, ...], Host]:
    """The step that notes NETWORKS, none where there is no nft; and HOST with the notes. Pure but for the look for nft."""
    if not networks or not programs.is_there("nft"):
        return (), host
    kinds = [f"trial-{number}" for number in range(len(networks))]
    made = "".join(note(kind, name=name) for kind, name in zip(kinds, networks, strict=True))
    there = host.tables.get("inet", ())
    table_gone = f"add table inet {TABLE}\ndelete table inet {TABLE}\n"
    gone = made + "".join(unnote(kind) for kind in kinds) if there else table_gone
    step = Step(text="note that the change is on trial", do=_nft(made), undo=(_nft(gone),))
    entries = [{"table": {"family": "inet", "name": TABLE}}] if not there else []
    for kind, name in zip(kinds, networks, strict=True):
        entries.append({"chain": {"family": "inet", "table": TABLE, "name": f"note-{kind}"}})
        entries.append({"rule": {"chain": f"note-{kind}", "comment": marks.text(kind, name=name)}})
    return (step,), replace(host, tables={**host.tables, "inet": (*there, *entries)})


def tidy() -> None:
    """Remove the notes, and our inet table if nothing else is in it. May be repeated. Raises NetworkError."""
    entries = table("inet")
    if not entries:
        return
    chains = [str(entry["chain"]["name"]) for entry in entries if "chain" in entry]
    notes = [name.removeprefix("note-") for name in chains if name.startswith(_CHAIN)]
    others = [entry for entry in entries if not _belongs_to_notes(entry)]
    text = "".join(unnote(kind) for kind in notes) if others else f"delete table inet {TABLE}\n"
    if text:
        act(_nft(text))


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


def _nft(text: str) -> Command:
    return Command(("nft", "-f", "-"), text)
