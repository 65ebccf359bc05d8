"""Links that are made with their mark, as steps; and which names a link may have. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from xmcompat.network import marks
from xmcompat.network.host import Host, Link
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Action, Command, Setting, Step
from xmcompat.network.wanted import LONGEST_NAME


def check_name(name: str) -> None:
    """Raises NetworkError where no link can have it, or none that is written into a mark."""
    if len(name.encode("utf-8", "surrogateescape")) > LONGEST_NAME:
        raise NetworkError(f"'{name}' is longer than the {LONGEST_NAME} bytes that a link's name may have")
    if not re.fullmatch(r"[A-Za-z0-9_.:@+~][A-Za-z0-9_.:@+~-]*", name) or name in (".", "..", "all", "default"):
        raise NetworkError(f"'{name}' cannot be the name of a link", hint="write letters, digits, '.', '_' or '-'")


def made(name: str, words: Sequence[str], mark: str, *, text: str, needs: str) -> Step:
    """The step that makes NAME with its MARK. One process does both: the end of this one cannot come in between.

    WORDS are those behind "link add name NAME".
    """
    commands = f'link add name {name} {" ".join(words)}\nlink set dev {name} alias "{mark}"\n'
    return Step(text=text, do=Command(("ip", "-batch", "-"), commands), undo=(gone(name),), needs=needs)


def gone(name: str) -> Command:
    return Command(("ip", "link", "del", "dev", name))


def marked(name: str, kind: str, before: Mapping[str, str], after: Mapping[str, str], *, text: str) -> Step:
    """The step that changes the values of a mark. Raises NetworkError where they do not fit."""
    was, to_be = (check_mark(marks.text(kind, **values)) for values in (before, after))
    return Step(text=text, do=_alias(name, to_be), undo=(_alias(name, was),))


def check_mark(mark: str) -> str:
    """MARK itself. Raises NetworkError where it is longer than an alias may be."""
    if len(mark) > marks.LONGEST_ALIAS:
        raise NetworkError(f"what must be remembered does not fit into the alias of a link: '{mark}'")
    return mark


def _alias(name: str, mark: str) -> Command:
    return Command(("ip", "link", "set", "dev", name, "alias", mark))


def set_up(name: str, *, needs: str = "") -> Step:
    return Step(text=f"set {name} up", do=Command(("ip", "link", "set", "dev", name, "up")),
                undo=(Command(("ip", "link", "set", "dev", name, "down")),), needs=needs)  # fmt: skip


def setting(key: str, value: str, *, text: str, back: str = "") -> Step:
    """The step that sets a sysctl; its undoing sets it BACK, or does nothing where the link goes with it."""
    undo: tuple[Action, ...] = (Setting(key, back),) if back else ()
    return Step(text=text, do=Setting(key, value), undo=undo)


def card(name: str, host: Host) -> Link:
    """The link that is to be an uplink or a parent. Raises NetworkError where there is none, with those that are there."""
    link = host.link(name)
    if link is None:
        cards = sorted(one.name for one in host.links if one.kind in ("", "bond", "vlan", "veth") and one.name != "lo")
        raise NetworkError(
            f"there is no network card '{name}' on this host", hint=f"there are: {', '.join(cards)}" if cards else None
        )
    return link


def ports_of_guests(name: str, host: Host, uplink: str = "") -> tuple[str, ...]:
    """The ports of a bridge, its UPLINK left out."""
    return tuple(port.name for port in host.ports(name) if port.name != uplink)


def check_unused(name: str, host: Host, uplink: str = "") -> None:
    """Raises NetworkError where the bridge NAME cannot go: guests are on it, or other links were made on it."""
    if ports := ports_of_guests(name, host, uplink):
        raise NetworkError(
            f"the bridge {name} has ports: {', '.join(ports)}",
            hint="shut these guests down, or move them to another bridge, first",
        )
    check_bare(name, host)


def check_bare(name: str, host: Host) -> None:
    """Raises NetworkError where other links were made on NAME: they would go with it."""
    if above := [link.name for link in host.links if link.parent == name]:
        made = f"{', '.join(above)} {'is' if len(above) == 1 else 'are'} made"
        raise NetworkError(f"{made} on {name}", hint="remove that first")
