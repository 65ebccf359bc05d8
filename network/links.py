"""Links that are made with their mark, as steps; and which names a link may have. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xmcompat.network import marks
from xmcompat.network.host import Host, Link
from xmcompat.network.names import unusable
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Action, Command, Setting, Step


def check_name(name: str) -> None:
    """Raises NetworkError where no link can have it, or none that is written into a mark."""
    if why := unusable(name):
        raise NetworkError(why, hint="write letters, digits, '.', '_' or '-'" if "longer" not in why else None)


def made(name: str, words: Sequence[str], mark: str, *, text: str, needs: str) -> Step:
    """The step that makes NAME with its MARK. One process does both: the end of this one cannot come in between.

    WORDS are those behind "link add name NAME".
    """
    commands = f'link add name {name} {" ".join(words)}\nlink set dev {name} alias "{mark}"\n'
    return Step(text=text, do=Command(("ip", "-batch", "-"), commands), undo=(gone(name),), needs=needs)


def remade(link: Link, words: Sequence[str], kind: str, host: Host, settings: Sequence[Action] = ()) -> tuple[Action, ...]:
    """What makes LINK of ours again by WORDS, with its mark of KIND and all addresses, once it has gone."""
    values = link.mark.values if link.mark else {}
    return (
        made(link.name, words, marks.text(kind, **values), text="", needs="").do, *settings,
        *([set_up(link.name).do] if link.up else []),
        *(Command(("ip", "addr", "add", str(one), *one.rest, "dev", link.name)) for one in host.addresses_of(link.name)
          if one.scope != "link"),
    )  # fmt: skip


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
    if link.name == "lo":
        raise NetworkError(f"'{name}' is the host's way to itself, and leads to nobody else", hint="name a network card")
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
