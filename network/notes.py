"""What a mode must remember of the host, kept in the kernel: a chain of our inet table that nothing jumps to. Pure.

A note's first rule has the mode's mark as its comment; each further one a setting that the mode has changed, with its value
before. A setting that two modes need has its first value in the notes of both: the last of them to go puts it back.

Others flush all rules of nftables, our notes with them. So each has a copy in a file of /run, which counts where the note
is gone, and only while the kernel agrees: of the settings that it says were changed, one at least must be as it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from xmcompat.network import marks
from xmcompat.network.found import MAKING, UP
from xmcompat.network.host import TABLE, Host
from xmcompat.network.marks import Mark
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Action, Command, File, Setting, Step

#: What is wrong where a copy is all that is left of a note.
FLUSHED = "its note has gone, as when all rules are flushed: 'xmcompat network up' writes it again"

_CHAIN = "note-"
_RULE = re.compile(rf'add rule inet {TABLE} {_CHAIN}(\S+) continue comment "(.*)"')
_GONE = re.compile(rf"delete (?:chain inet {TABLE} {_CHAIN}(\S+)|table inet {TABLE})")


class Earlier(NamedTuple):
    """A setting KEY that was WAS before one of ours made it NOW.

    Both are the same for one that changes by itself when another is set.
    """

    key: str
    was: str
    now: str


def identifier(text: str) -> str:
    """TEXT, a link's name, as it can be a part of an nft name."""
    return "".join(c if (c.isascii() and c.isalnum()) or c in "._-" else f"/{ord(c):02x}" for c in text)


# -- what the kernel has


def comments(host: Host) -> Iterator[tuple[str, Mark]]:
    """The marks in all notes, each with the note's name, in their order; those of copies where a note is gone."""
    written = list(_written(host))
    yield from written
    names = {name for name, _ in written}
    for name, lines in host.copies.items():
        copied = [mark for line in lines if (mark := marks.read(line))]
        if name not in names and _agrees(host, copied):
            yield from ((name, mark) for mark in copied)


def _written(host: Host) -> Iterator[tuple[str, Mark]]:
    for entry in host.tables.get("inet", ()):
        rule = entry.get("rule", {})
        chain = str(rule.get("chain", ""))
        mark = marks.read(str(rule.get("comment", "")))
        if chain.startswith(_CHAIN) and mark:
            yield chain.removeprefix(_CHAIN), mark


def is_written(host: Host, name: str) -> bool:
    """Whether the note itself is there, and not its copy alone."""
    return any(one == name for one, _ in _written(host))


def _agrees(host: Host, copied: Iterable[Mark]) -> bool:
    changed = [one for one in map(_earlier, copied) if one and one.was != one.now]
    return not changed or any(host.setting(one.key) == one.now for one in changed)


def noted(host: Host, kind: str) -> dict[str, Mark]:
    """The marks of a mode's KIND, by the notes' names."""
    return {name: mark for name, mark in comments(host) if mark.kind == kind}


def earlier(host: Host, name: str) -> tuple[Earlier, ...]:
    """What the note NAME remembers."""
    return tuple(one for note, one in _settings(host) if note == name)


def _settings(host: Host) -> Iterator[tuple[str, Earlier]]:
    for name, mark in comments(host):
        if one := _earlier(mark):
            yield name, one


def _earlier(mark: Mark) -> Earlier | None:
    if mark.kind != "setting" or not all(mark.values.get(key) for key in Earlier._fields):
        return None
    return Earlier(mark.values["key"], mark.values["was"], mark.values["now"])


def now(host: Host, key: str) -> str:
    """The setting's value; for a link that will only be made, what it will begin with."""
    found = re.fullmatch(r"(net\.ipv[46]\.conf\.)([^.]+)(\.[a-z_]+)", key)
    link = host.link(found[2].replace("/", ".")) if found else None
    return host.setting(key) or (host.setting(f"{found[1]}default{found[3]}") if found and link and not link.index else "")


def to_remember(host: Host, wanted: Mapping[str, str]) -> tuple[Earlier, ...]:
    """What must be noted by whoever sets WANTED: what he changes, and what others of ours have changed before him."""
    first = {one.key: one.was for _, one in reversed(tuple(_settings(host)))}
    found = []
    for key, value in wanted.items():
        was = first.get(key, now(host, key))
        if was and (key in first or was != value):
            found.append(Earlier(key, was, value))
    return tuple(found)


# -- steps


def text(name: str, mark: str, remembered: Iterable[Earlier] = ()) -> str:
    """What nft reads to have the note, in place of one that is there. Raises NetworkError where it has no room."""
    chain = f"inet {TABLE} {_CHAIN}{name}"
    rules = _lines(mark, remembered)
    for rule in rules:
        if len(rule) > marks.LONGEST_COMMENT:
            raise NetworkError(f"what must be remembered does not fit into a comment of nftables: '{rule}'")
    lines = [f'add rule {chain} continue comment "{rule}"' for rule in rules]
    return "\n".join((f"add table inet {TABLE}", f"add chain {chain}", f"flush chain {chain}", *lines, ""))


def _lines(mark: str, remembered: Iterable[Earlier]) -> list[str]:
    return [mark, *(marks.text("setting", **one._asdict()) for one in remembered)]


def nft(text: str) -> Command:
    return Command(("nft", "-f", "-"), text)


def step(host: Host, name: str, mark: str, remembered: Iterable[Earlier], *, words: str) -> Step:
    """The step that writes a note; its undoing brings back the one that was there, or none."""
    own = [mark for note, mark in _written(host) if note == name]
    if own:
        before = marks.text(own[0].kind, **own[0].values)
        undo = nft(text(name, before, earlier(host, name)))
    else:
        undo = nft(removal(host, chains=(f"{_CHAIN}{name}",), planned=True))
    return Step(text=words, do=nft(text(name, mark, remembered)), undo=(undo,))


def copied(host: Host, name: str, mark: str, remembered: Iterable[Earlier]) -> tuple[Step, ...]:
    """The step that keeps a copy of a note; () where there is one like it."""
    lines, there = _lines(mark, remembered), host.copies.get(name)
    if not host.folder or there == tuple(lines):
        return ()
    text = "keep a copy of that where no flush of rules reaches it"
    return (Step(text=text, do=_copy(host, name, lines), undo=(_copy(host, name, there),)),)


def uncopied(host: Host, name: str) -> tuple[Step, ...]:
    """The step that removes the copy of a note; () where there is none."""
    if name not in host.copies:
        return ()
    back = _copy(host, name, host.copies[name])
    return (Step(text="remove the copy of the note", do=_copy(host, name, None), undo=(back,)),)


def _copy(host: Host, name: str, lines: Sequence[str] | None) -> File:
    text = None if lines is None else "".join(f"{line}\n" for line in lines)
    return File(f"{host.folder}/{name.replace('/', '%')}", text, folder=True)


def going(host: Host, name: str) -> tuple[Step, ...]:
    """The step that notes that what the note NAME is of goes: if that stops in the middle, it is finished later."""
    own = [mark for note, mark in comments(host) if note == name][:1]
    if own and not is_written(host, name):
        values = {**own[0].values, "state": MAKING}
        return (step(host, name, marks.text(own[0].kind, **values), earlier(host, name), words="note that it goes"),)
    texts = [text(name, marks.text(mark.kind, **{**mark.values, "state": state}), earlier(host, name))
             for mark in own for state in (MAKING, UP) if mark.values.get("state") == UP]  # fmt: skip
    return (Step(text="note that it goes", do=nft(texts[0]), undo=(nft(texts[1]),)),) if texts else ()


def forgotten(host: Host, name: str, *gone: str, words: str) -> tuple[Step, ...]:
    """The steps that remove the note NAME, which is the last, once the chains and maps GONE are no more; its copy first."""
    own = [mark for note, mark in comments(host) if note == name][:1]
    return (*uncopied(host, name), *(
        Step(text=words, do=nft(removal(without(host, *gone), chains=(chain(name),))),
             undo=(nft(text(name, marks.text(mark.kind, **{**mark.values, "state": MAKING}), earlier(host, name))),))
        for mark in own
    ))  # fmt: skip


def chain(name: str) -> str:
    """The chain of the note NAME."""
    return f"{_CHAIN}{name}"


def names(host: Host) -> set[str]:
    """The chains and maps of our inet table."""
    found = set()
    for entry in host.tables.get("inet", ()):
        for kind in ("chain", "map", "set", "counter", "quota", "limit", "flowtable"):
            if kind in entry:
                found.add(str(entry[kind]["name"]))
    return found


def removal(host: Host, *, chains: Iterable[str], maps: Iterable[str] = (), planned: bool = False) -> str:
    """What nft reads to remove those that are there, or are PLANNED; with the last of it goes the table."""
    there = names(host)
    chains, maps = ([name for name in some if planned or name in there] for some in (chains, maps))
    if not there - {*chains, *maps}:
        return f"delete table inet {TABLE}\n" if chains or maps or host.tables.get("inet") else ""
    lines = [f"flush chain inet {TABLE} {name}" for name in chains]
    lines += [f"delete chain inet {TABLE} {name}" for name in chains] + [f"delete map inet {TABLE} {name}" for name in maps]
    return "".join(f"{line}\n" for line in lines)


def without(host: Host, *gone: str) -> Host:
    """HOST without some chains and maps of our inet table."""
    def stays(entry: Mapping[str, Any]) -> bool:
        named = {str(entry[kind].get("name")) for kind in ("chain", "map") if kind in entry}
        return not named & set(gone) and entry.get("rule", {}).get("chain") not in gone

    return replace(host, tables={**host.tables, "inet": tuple(filter(stays, host.tables.get("inet", ())))})


def set_steps(host: Host, remembered: Iterable[Earlier]) -> tuple[Step, ...]:
    """The steps that bring the settings to what they are to be now."""
    remembered = tuple(remembered)
    steps = []
    for one in remembered:
        if one.was != one.now and now(host, one.key) != one.now:
            undo: list[Action] = [Setting(one.key, now(host, one.key))]
            undo += [Setting(other.key, other.was) for other in _moved_by(one.key, remembered)]
            steps.append(Step(text=f"set {one.key} to {one.now}", do=Setting(one.key, one.now), undo=tuple(undo)))
    return tuple(steps)


def restore_steps(host: Host, name: str) -> tuple[Step, ...]:
    """The steps that put back what the note NAME remembers, unless another note needs it, or somebody has changed it."""
    needed = {one.key for note, one in _settings(host) if note != name}
    own = [one for one in earlier(host, name) if one.key not in needed and host.setting(one.key)]
    steps = []
    for one in reversed(own):
        if one.was == one.now or host.setting(one.key) not in (one.was, one.now):
            continue
        back = host.setting(one.key) == one.now
        if back:
            steps.append(_restored(one, one.now))
        for other in _moved_by(one.key, own):
            if back or host.setting(other.key) != other.was:
                steps.append(_restored(other, host.setting(other.key)))
    return tuple(steps)


def _restored(one: Earlier, now: str) -> Step:
    return Step(text=f"set {one.key} back to {one.was}", do=Setting(one.key, one.was), undo=(Setting(one.key, now),))


def _moved_by(key: str, among: Iterable[Earlier]) -> tuple[Earlier, ...]:
    """The settings that change by themselves when KEY, that of the whole host, is set."""
    family = {"net.ipv4.ip_forward": "net.ipv4.", "net.ipv6.conf.all.forwarding": "net.ipv6."}.get(key)
    return tuple(one for one in among if family and one.key.startswith(family) and one.was == one.now)


# -- what the kernel will have


def foreseen(host: Host, steps: Iterable[Step]) -> Host:
    """HOST with the notes, and their copies, that STEPS write and remove."""
    entries = list(host.tables.get("inet", ()))
    copies = dict(host.copies)
    for action in (step.do for step in steps):
        if isinstance(action, File) and host.folder and action.path.startswith(f"{host.folder}/"):
            name = action.path.removeprefix(f"{host.folder}/").replace("%", "/")
            copies.pop(name, None)
            copies |= {name: tuple(action.text.splitlines())} if action.text is not None else {}
        if not isinstance(action, Command) or not action.text or action.words[0] != "nft":
            continue
        fresh = {found[1] for line in action.text.splitlines() if (found := _RULE.fullmatch(line))}
        gone = {found[1] for line in action.text.splitlines() if (found := _GONE.fullmatch(line))}
        entries = [] if None in gone else [one for one in entries if _note_of(one) not in fresh | gone]
        for line in action.text.splitlines():
            if found := _RULE.fullmatch(line):
                entries.append({"rule": {"chain": f"{_CHAIN}{found[1]}", "comment": found[2]}})
        entries += [{"chain": {"name": f"{_CHAIN}{name}"}} for name in fresh]
    return replace(host, tables={**host.tables, "inet": tuple(entries)}, copies=copies)


def _note_of(entry: Mapping[str, Any]) -> str:
    chain = str(entry.get("rule", {}).get("chain") or entry.get("chain", {}).get("name") or "")
    return chain.removeprefix(_CHAIN) if chain.startswith(_CHAIN) else ""
