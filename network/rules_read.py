"""Reads other people's firewalls: nftables as JSON, and iptables as ``iptables -S`` writes it, which says more of its own
rules than nftables can."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xmcompat.network import programs
from xmcompat.network.programs import NetworkError
from xmcompat.network.rules import (
    ACCEPT,
    BRIDGED,
    DROP,
    FAMILY,
    GO_ON,
    GOTO,
    HEADER,
    IIF,
    JUMP,
    OIF,
    OTHER,
    RETURN,
    STATE,
    UNKNOWN,
    Chain,
    Condition,
    Rule,
    Ruleset,
)

#: The tables of iptables' program, by their family.
_IPTABLES = {"ip": "iptables", "ip6": "ip6tables"}
_FORWARD = "FORWARD"
_VERSIONS = {"ip": "4", "ipv4": "4", "ip6": "6", "ipv6": "6"}


def read() -> Ruleset:
    """All rules of this host's network. Raises NetworkError; without nft, only iptables' are read."""
    there = programs.is_there("nft")
    found = nft(json.loads(programs.run(("nft", "-j", "list", "ruleset")))["nftables"]) if there else Ruleset()
    chains = list(found.chains)
    for family, program in _IPTABLES.items():
        if any(chain.table == f"{family} filter" and chain.name == _FORWARD for chain in chains):
            told = _told(f"{program}-nft", family, legacy=False)
            if told:
                chains = [chain for chain in chains if chain.table != f"{family} filter"] + list(told)
        chains += _told(f"{program}-legacy", family, legacy=True)
    return Ruleset(tuple(chains))


def _told(program: str, family: str, *, legacy: bool) -> tuple[Chain, ...]:
    """The table "filter" in the words of PROGRAM; () where it is not installed, or has no such table."""
    if not programs.is_there(program):
        return ()
    try:
        text = programs.run((program, "-S"))
    except NetworkError:
        return ()
    chains = iptables(text, family, legacy=legacy)
    idle = all(not chain.rules and chain.policy == ACCEPT for chain in chains)
    return () if idle else chains


# -- nftables


def nft(entries: Iterable[Mapping[str, Any]]) -> Ruleset:
    """From the list of ``nft -j list ruleset``. Pure."""
    chains: dict[tuple[str, str], Chain] = {}
    rules: dict[tuple[str, str], list[Rule]] = {}
    sets: dict[tuple[str, str], tuple[str, ...] | None] = {}
    ours = list(entries)
    for entry in ours:
        for kind, item in entry.items():
            table = f"{item.get('family', '')} {item.get('table', '')}"
            if kind == "chain":
                chains[table, item["name"]] = Chain(
                    table=table, name=item["name"], hook=item.get("hook", ""), priority=_number(item.get("prio", 0)),
                    policy=item.get("policy", ACCEPT),
                )  # fmt: skip
            elif kind == "set":
                sets[table, item["name"]] = _elements(item.get("elem", []))
    for item in (entry["rule"] for entry in ours if "rule" in entry):
        table = f"{item['family']} {item['table']}"
        place = f"table '{table}', chain {item['chain']}, rule with handle {item.get('handle', '?')}"
        rules.setdefault((table, item["chain"]), []).extend(_nft_rules(item.get("expr", []), place, table, sets))
    return Ruleset(
        tuple(
            Chain(table=chain.table, name=chain.name, hook=chain.hook, priority=chain.priority, policy=chain.policy,
                  rules=tuple(rules.get(key, ())))
            for key, chain in chains.items()
        )
    )  # fmt: skip


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _elements(elements: object) -> tuple[str, ...] | None:
    """The texts in a set; None where it has others."""
    found = []
    for one in elements if isinstance(elements, list) else [elements]:
        value = one["elem"].get("val") if isinstance(one, dict) and isinstance(one.get("elem"), dict) else one
        if not isinstance(value, str):
            return None
        found.append(value)
    return tuple(found)


Sets = Mapping[tuple[str, str], tuple[str, ...] | None]


def _nft_rules(expressions: Sequence[Mapping[str, Any]], place: str, table: str, sets: Sets) -> list[Rule]:
    """One rule, or one for each entry of its verdict map."""
    conditions: list[Condition] = []
    for expression in expressions:
        word, value = next(iter(expression.items()))
        if word == "match":
            conditions.append(_nft_condition(value, table, sets))
        elif word == "vmap":
            return _mapped(value, conditions, place)
        elif word == "limit" or (word == "xt" and value.get("type") == "match"):
            conditions.append(Condition(OTHER))
        else:
            verdict, target = _nft_verdict(word, value)
            if verdict != GO_ON:
                return [Rule(place, tuple(conditions), verdict, target)]
    return []


def _nft_verdict(word: str, value: Any) -> tuple[str, str]:  # noqa: ANN401 - JSON
    if word in (ACCEPT, DROP, RETURN):
        return word, ""
    if word == "reject":
        return DROP, ""
    if word in (JUMP, GOTO):
        return word, str(value["target"])
    if word == "queue":
        return UNKNOWN, ""
    if word == "xt" and value.get("type") == "target":
        return (DROP if value.get("name") == "REJECT" else GO_ON), ""
    return GO_ON, ""


def _mapped(value: Any, conditions: Sequence[Condition], place: str) -> list[Rule]:  # noqa: ANN401 - JSON
    """The rules that a verdict map stands for."""
    entries = value.get("data", {})
    pairs = entries.get("set", []) if isinstance(entries, dict) else []
    if not pairs:
        return [Rule(place, (*conditions, Condition(OTHER)), UNKNOWN)]
    key = _nft_key(value.get("key", {}))
    rules = []
    for values, verdict in pairs:
        (word, target), = verdict.items()
        one = _condition(key, (values,) if isinstance(values, str) else None)
        rules.append(Rule(place, (*conditions, one), *_nft_verdict(word, target)))
    return rules


def _nft_key(left: Any) -> str:  # noqa: ANN401 - JSON
    meta = left.get("meta", {}).get("key") if isinstance(left, dict) else None
    if meta in ("iif", "iifname"):
        return IIF
    if meta in ("oif", "oifname"):
        return OIF
    if meta in ("nfproto", "protocol"):
        return FAMILY
    if isinstance(left, dict) and left.get("ct", {}).get("key") == "state":
        return STATE
    return OTHER


def _nft_condition(match: Mapping[str, Any], table: str, sets: Sets) -> Condition:
    left, right = match.get("left"), match.get("right")
    negated = match.get("op") == "!="
    key = _nft_key(left)
    protocol = left.get("payload", {}).get("protocol") if isinstance(left, dict) else None
    if isinstance(right, str) and right.startswith("@"):
        return _condition(key, sets.get((table, right[1:])), negated=negated)
    if protocol in _VERSIONS:
        return Condition(HEADER, (_VERSIONS[protocol],))
    if isinstance(right, dict):
        right = right.get("set")
    return _condition(key, _elements(right), negated=negated)


def _condition(key: str, values: tuple[str, ...] | None, *, negated: bool = False) -> Condition:
    if key == OTHER or values is None:
        return Condition(OTHER)
    if key == FAMILY:
        values = tuple(_VERSIONS.get(value, value) for value in values)
    return Condition(key, values, negated)


# -- iptables


def iptables(text: str, family: str, *, legacy: bool) -> tuple[Chain, ...]:
    """The table "filter" from what ``iptables -S`` prints. Pure."""
    table = f"{family} filter"
    policies: dict[str, str] = {}
    rules: dict[str, list[Rule]] = {}
    for line in text.splitlines():
        words = _words(line)
        if words[:1] == ["-P"]:
            policies[words[1]] = words[2].lower()
        elif words[:1] == ["-N"]:
            rules.setdefault(words[1], [])
        elif words[:1] == ["-A"]:
            kind = "iptables-legacy table" if legacy else "table"
            place = f"{kind} '{table}', chain {words[1]}, rule '{line}'"
            rules.setdefault(words[1], []).append(_iptables_rule(words[2:], place))
    return tuple(
        Chain(
            table=table, name=name, hook="forward" if name == _FORWARD else "", policy=policies.get(name, ACCEPT),
            rules=tuple(rules.get(name, ())), legacy=legacy,
        )
        for name in dict.fromkeys((*policies, *rules))
    )  # fmt: skip


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a comment with an odd quote
        return line.split()


#: Options of which it is known what they ask, with the key and the number of their values.
_LINKS = {"-i": IIF, "-o": OIF}
_STATES = ("--ctstate", "--state")


def _iptables_rule(words: Sequence[str], place: str) -> Rule:
    conditions: list[Condition] = []
    verdict, target = GO_ON, ""
    negated = False
    rest = iter(words)
    for word in rest:
        if word == "!":
            negated = True
            continue
        if word in _LINKS:
            name = next(rest)
            conditions.append(Condition(_LINKS[word], (f"{name[:-1]}*" if name.endswith("+") else name,), negated))
        elif word in _STATES:
            states = tuple(state.lower() for state in next(rest).split(","))
            conditions.append(Condition(STATE, states, negated))
        elif word == "--physdev-is-bridged":
            conditions.append(Condition(BRIDGED, ("yes",), negated))
        elif word in ("-j", "-g"):
            verdict, target = _iptables_verdict(next(rest), word)
            break  # what follows are the target's own
        elif word == "-m":
            if next(rest) not in ("comment", "conntrack", "state", "physdev", "tcp", "udp"):
                conditions.append(Condition(OTHER))
        elif word == "--comment":
            next(rest)
        elif word.startswith("-"):
            conditions.append(Condition(OTHER))
        negated = False
    return Rule(place, tuple(conditions), verdict, target)


#: Targets that leave the packet to the rules behind.
_GOING_ON = (
    "LOG", "NFLOG", "MARK", "CONNMARK", "TCPMSS", "SECMARK", "CONNSECMARK", "TRACE", "AUDIT", "CLASSIFY", "DSCP",
)  # fmt: skip


def _iptables_verdict(word: str, option: str) -> tuple[str, str]:
    known = {"ACCEPT": ACCEPT, "DROP": DROP, "REJECT": DROP, "RETURN": RETURN, "QUEUE": UNKNOWN, "NFQUEUE": UNKNOWN}
    if word in known:
        return known[word], ""
    if word in _GOING_ON:
        return GO_ON, ""
    return (GOTO if option == "-g" else JUMP), word
