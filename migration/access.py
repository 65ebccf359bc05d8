"""Who may send guests to this host: ``xend-relocation-hosts-allow`` as rules that mean one thing. Pure.

xend split the text at single blanks and tried each piece, a regular expression, on the beginning of the peer's name and of
its address. ``^192.0.2.1`` so let 192.0.2.150 in, and two blanks in a row let everybody in. Here a piece is an address, a
network, a host name or all names below one; each is matched whole. What could be read in two ways is not guessed: it is
``unclear``, and nothing is opened until it is written otherwise.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LOCAL = ("localhost", "localhost.localdomain", "localhost6", "localhost6.localdomain6")
_LOOPBACK: tuple[Network, ...] = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_DIGITS = re.compile(r"[0-9.]+")
#: Characters of a piece that are shown.
_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One piece: addresses in one of ``networks``, or the host ``name``; with ``below`` every host below that name."""

    piece: str
    networks: tuple[Network, ...] = ()
    name: str = ""
    below: bool = False

    def admits(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address, names: Collection[str]) -> bool:
        if any(address in network for network in self.networks):
            return True
        if not self.name:
            return False
        return any(name.endswith(f".{self.name}") if self.below else name == self.name for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """``everybody``: a piece that is empty, or matches all. ``unclear`` are sentences about pieces that are not guessed at,
    ``told`` about those that admit fewer than xend did."""

    rules: tuple[Rule, ...] = ()
    everybody: bool = False
    unclear: tuple[str, ...] = ()
    told: tuple[str, ...] = ()

    @property
    def asks_names(self) -> bool:
        """Whether a host's name matters at all."""
        return any(rule.name for rule in self.rules)

    @property
    def is_local(self) -> bool:
        """Whether it admits nobody but this host itself."""
        networks = [network for rule in self.rules for network in rule.networks]
        return not self.everybody and not self.asks_names and all(network.is_loopback for network in networks)

    def admits(self, address: str, names: Collection[str] = ()) -> bool:
        """Whether the peer at ADDRESS, known by these NAMES, may send guests. False for what is no address."""
        try:
            peer = _plain(ipaddress.ip_address(address.partition("%")[0]))
        except ValueError:
            return False
        known = [name.rstrip(".").lower() for name in names]
        return self.everybody or any(rule.admits(peer, known) for rule in self.rules)


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IPv4 address as such, also where the socket speaks IPv6."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """A piece taken apart: its plain ``text``, whether anything may stand before it or behind it, and whether it says where
    it ends ($)."""

    text: str
    any_before: bool
    any_behind: bool
    ends: bool


def read_access(text: str) -> Access:
    """The rules of a value of ``xend-relocation-hosts-allow``. Never raises."""
    rules: list[Rule] = []
    unclear: list[str] = []
    told: list[str] = []
    everybody = False
    for piece in text.split(" "):
        words = _taken_apart(piece)
        if words is None:
            unclear.append(_unclear(piece, "it is more than a name or an address", "name each host on its own"))
        elif not words.text and (words.any_before or words.any_behind or not words.ends):
            everybody = True
        else:
            found = _rule(piece, words)
            if isinstance(found, str):
                unclear.append(found)
                continue
            rules.append(found)
            if not words.ends and not all(network.num_addresses > 1 for network in found.networks):
                told.append(
                    f"'{_shown(piece)}' admits {_whom(found)} alone; xend admitted all that begin so (write $ behind it)"
                )
    return Access(rules=tuple(rules), everybody=everybody, unclear=tuple(unclear), told=tuple(told))


def _taken_apart(piece: str) -> _Words | None:
    """None for a regular expression of which it takes more to say what it matches."""
    rest = piece.removeprefix("^")
    any_before = rest.startswith(".*")
    rest = rest.removeprefix(".*")
    ends = rest.endswith("$") and not rest.endswith("\\$")
    rest = rest.removesuffix("$") if ends else rest
    any_behind = rest.endswith(".*") and not rest.endswith("\\.*")
    rest = rest.removesuffix(".*") if any_behind else rest
    plain = re.sub(r"\\([.:_-])|\[([.:])\]", lambda found: found[1] or found[2], rest)
    if not re.fullmatch(r"[A-Za-z0-9_.:-]*", plain):
        return None
    return _Words(text=plain.lower(), any_before=any_before, any_behind=any_behind, ends=ends and not any_behind)


def _rule(piece: str, words: _Words) -> Rule | str:
    """The rule, or why there is none."""
    text = words.text
    if words.any_before:
        return _below(piece, words)
    if text in _LOCAL and not words.any_behind:
        return Rule(piece=piece, networks=_LOOPBACK)
    if not text:
        return _unclear(piece, "no host has an empty name", "leave it out")
    if _DIGITS.fullmatch(text) or ":" in text:
        return _of_address(piece, words)
    if words.any_behind or text.endswith("."):
        whole = f"write the whole name: ^{_escaped(text)}example\\.org$"
        return _unclear(piece, "it matches names of foreign domains", whole)
    if not _is_name(text):
        return _unclear(piece, "it is no host name", "write it as ^host\\.example\\.org$")
    return Rule(piece=piece, name=text)


def _below(piece: str, words: _Words) -> Rule | str:
    text = words.text
    name = text.removeprefix(".")
    if words.any_behind or not _is_name(name) or _DIGITS.fullmatch(name):
        return _unclear(piece, "it does not say which domain", "write .*\\.example\\.org$")
    if text == name:
        hint = f"write .*\\.{_escaped(name)}$ or ^{_escaped(name)}$"
        return _unclear(piece, f"it matches other domains whose names end so (not{name})", hint)
    return Rule(piece=piece, name=name, below=True)


def _of_address(piece: str, words: _Words) -> Rule | str:
    text = words.text
    if text.endswith(".") and not words.ends:
        return _of_prefix(piece, text)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return _unclear(piece, "it ends in the middle of an address", _hint_for(text))
    if words.any_behind:
        return _unclear(piece, "it matches longer addresses, too", f"write ^{_escaped(text)}$")
    return Rule(piece=piece, networks=(ipaddress.ip_network(address),))


def _of_prefix(piece: str, text: str) -> Rule | str:
    """``^192\\.0\\.2\\.`` is a network: one to three whole numbers of an IPv4 address."""
    octets = text.rstrip(".").split(".")
    missing = 4 - len(octets)
    try:
        if not 1 <= missing <= 3 or not text.endswith(octets[-1] + "."):
            raise ValueError
        network = ipaddress.IPv4Network(f"{'.'.join((*octets, *('0',) * missing))}/{8 * len(octets)}")
    except ValueError:
        return _unclear(piece, "it is no beginning of an address", "write ^192\\.0\\.2\\. for a network")
    return Rule(piece=piece, networks=(network,))


def _is_name(text: str) -> bool:
    return len(text) <= 253 and _NAME.fullmatch(text) is not None


def _hint_for(text: str) -> str:
    octets = [octet for octet in text.split(".") if octet]
    whole = ":" not in text and 1 <= len(octets) <= 3
    beginning = "\\.".join(octets)
    return f"write ^{beginning}\\. for the network" if whole else "write the whole address"


def _whom(rule: Rule) -> str:
    if rule.networks == _LOOPBACK:
        return "this host"
    return f"all below {rule.name}" if rule.below else rule.name or str(rule.networks[0].network_address)


def _escaped(name: str) -> str:
    return name.replace(".", "\\.")


def _shown(piece: str) -> str:
    printable = "".join(character if character.isprintable() else "?" for character in piece)
    return printable if len(printable) <= _SHOWN else printable[: _SHOWN - 3] + "..."


def _unclear(piece: str, why: str, hint: str) -> str:
    return f"'{_shown(piece)}' is not guessed at: {why}; {hint}"
