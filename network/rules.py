"""Other people's firewalls: what their rules do with a packet that the host forwards for a guest. Pure.

A rule is looked at with what is known of the packet: the links that it comes from and goes to, its version of IP, and that
it is the first of its connection. A condition on anything else may be met or not, so that an answer is one of three: the
packet passes, it is dropped, or it may be dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase

#: What a rule does with a packet that it matches, other than "jump" and "goto", which name a chain.
ACCEPT, DROP, RETURN, GO_ON, UNKNOWN = "accept", "drop", "return", "go on", "unknown"
JUMP, GOTO = "jump", "goto"

#: What is known of a packet: the KEYS of conditions. All else is "other".
IIF, OIF, STATE, FAMILY, BRIDGED, OTHER = "iif", "oif", "state", "family", "bridged", "other"
#: Something in the header of the version of IP that is the value: not met by packets of the other one.
HEADER = "header"


@dataclass(frozen=True, slots=True)
class Condition:
    """KEY has one of VALUES; a value may end in "*". With NEGATED it has none of them. Links are named."""

    key: str
    values: tuple[str, ...] = ()
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """``place`` is where it stands, as one would look for it."""

    place: str
    conditions: tuple[Condition, ...]
    verdict: str
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain of the table TABLE ("ip filter"). ``hook`` is "" for one that only others jump to."""

    table: str
    name: str
    hook: str = ""
    priority: int = 0
    policy: str = ACCEPT
    rules: tuple[Rule, ...] = ()
    legacy: bool = False

    @property
    def place(self) -> str:
        kind = "iptables-legacy table" if self.legacy else "table"
        return f"{kind} '{self.table}', chain {self.name}"

    @property
    def family(self) -> str:
        return self.table.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All chains of all tables."""

    chains: tuple[Chain, ...] = ()

    def forwarding(self, family: int) -> tuple[Chain, ...]:
        """The chains that see packets of that version of IP on their way through the host, in their order; of FAMILY 0
        those that see every frame between ports of a bridge."""
        names = {0: ("bridge",), 4: ("inet", "ip"), 6: ("inet", "ip6")}[family]
        found = [chain for chain in self.chains if chain.hook == "forward" and chain.family in names]
        return tuple(sorted(found, key=lambda chain: chain.priority))


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """The first of a connection, on its way from the link IIF to OIF; on a bridge both are the bridge.

    "" is a link that is not known; FAMILY is 0 for a frame of whatever kind.
    """

    iif: str
    oif: str
    family: int = 4
    bridged: bool = False


class Fate(Enum):
    PASSES = "passes"
    MAY_DROP = "may drop"
    DROPS = "drops"


@dataclass(frozen=True, slots=True)
class Answer:
    """``place`` is the first rule or policy that drops it, or may."""

    fate: Fate
    place: str = ""


def fate(ruleset: Ruleset, packet: Packet) -> Answer:
    """What becomes of PACKET: every chain must let it pass."""
    answers = [_through(ruleset, chain, packet) for chain in ruleset.forwarding(packet.family)]
    for kind in (Fate.DROPS, Fate.MAY_DROP):
        for answer in answers:
            if answer.fate is kind:
                return answer
    return Answer(Fate.PASSES)


def _through(ruleset: Ruleset, chain: Chain, packet: Packet) -> Answer:
    chains = {one.name: one for one in ruleset.chains if (one.table, one.legacy) == (chain.table, chain.legacy)}
    way = _walk(chains, chain, packet, ())
    drops = list(way.drops)
    if way.falls and chain.policy == DROP:
        drops.append(f"{chain.place}, policy drop")
    if not drops:
        return Answer(Fate.PASSES)
    passes = way.accepts or (way.falls and chain.policy != DROP)
    return Answer(Fate.MAY_DROP if passes else Fate.DROPS, drops[0])


@dataclass(slots=True)
class _Way:
    """The ends that a packet's way through a chain may have: places that drop it, acceptance, and falling out of it."""

    drops: list[str] = field(default_factory=list)
    accepts: bool = False
    falls: bool = False

    def take(self, other: _Way) -> None:
        self.drops += other.drops
        self.accepts |= other.accepts


def _walk(chains: Mapping[str, Chain], chain: Chain, packet: Packet, above: Sequence[str]) -> _Way:
    way = _Way()
    for rule in chain.rules:
        met = matches(rule, packet)
        if met is False:
            continue
        ends = _apply(rule, way, chains, packet, (*above, chain.name))
        if met and ends:
            return way
    way.falls = True
    return way


def _apply(rule: Rule, way: _Way, chains: Mapping[str, Chain], packet: Packet, above: Sequence[str]) -> bool:
    """Add to WAY where RULE may lead; whether a packet that meets it does not come to the next rule."""
    match rule.verdict:
        case "accept":
            way.accepts = True
        case "drop":
            way.drops.append(rule.place)
        case "return":
            way.falls = True
        case "unknown":
            way.accepts = True
            way.drops.append(rule.place)
            return False
        case "jump" | "goto":
            target = chains.get(rule.target)
            inner = _walk(chains, target, packet, above) if target and rule.target not in above else _Way(falls=True)
            way.take(inner)
            if rule.verdict == GOTO:
                way.falls |= inner.falls
                return True
            return not inner.falls
        case _:
            return False
    return True


def matches(rule: Rule, packet: Packet) -> bool | None:
    """Whether PACKET meets all conditions; None where that cannot be told."""
    found = [_met(condition, packet) for condition in rule.conditions]
    if False in found:
        return False
    return None if None in found else True


def _met(condition: Condition, packet: Packet) -> bool | None:
    if condition.key == HEADER:
        return None if not packet.family or str(packet.family) in condition.values else False
    bridged = "yes" if packet.bridged else "no"
    family = str(packet.family or "")
    value = {IIF: packet.iif, OIF: packet.oif, STATE: "new", FAMILY: family, BRIDGED: bridged}.get(condition.key)
    if not value or not condition.values:
        return None
    return any(fnmatchcase(value, _pattern(one)) for one in condition.values) != condition.negated


def _pattern(name: str) -> str:
    """NAME for fnmatch: only a star at its end means something."""
    star = name.endswith("*")
    plain = "".join(f"[{char}]" if char in "[?*" else char for char in (name[:-1] if star else name))
    return f"{plain}*" if star else plain
