"""What the words after each verb can be, read from the synopsis and the options of its row: for completion."""

from __future__ import annotations

import re
from collections.abc import Iterator

from xmcompat.render.completion import ANY, CONFIG, DOMAIN, FILE, POOL, Row
from xmcompat.xm.options import JSON_WORD
from xmcompat.xm.verbs import ALIASES, HELP, JSON, VERBS, Verb

#: Kinds of words by the names that synopses have for them; of others nothing is known.
_KINDS = (
    (r"\b(?:Domain|DomainName|DomId|domain|BackDomain)\b(?!:)", DOMAIN), (r"\bConfigFile\b", CONFIG),
    (r"\b(?:CheckpointFile|Filename)\b", FILE), (r"\bCPU Pool\b", POOL), (r"^<Mode>$", "r|w"),
)  # fmt: skip
#: The same for values of options.
_VALUES = {
    "DOMAIN": DOMAIN, "FILE": CONFIG, "PATH": FILE, "NAME": POOL, "FLAG": "0|1", "AUTH": "0|1",
    "POLICY": "auto-converge|post-copy|stop|give-up",
    "STATE": "halted|paused|running|suspended|crashed",
}  # fmt: skip
#: Words in alternatives of synopses that stand for something.
_STAND_INS = ("VCPU", "CPUs", "DevId", "mac")
_POOL_KEYS = (("name", ANY), ("sched", "credit"), ("cpus", ANY), ("other_config", ANY))
_ENDS = "destroy|restart|preserve|rename-restart"


def rows() -> list[Row]:
    """A row for each verb of xm, those that help does not list among them, and for help."""
    return [row(verb) for verb in (*VERBS.values(), HELP)]


def row(verb: Verb) -> Row:
    flags, valued = _options(verb)
    places: list[str] = []
    keys: list[tuple[str, str]] = []
    repeats = False
    for token in _tokens(verb.synopsis):
        pair = re.fullmatch(r"\[(\w+)=(.*)\]", token)
        if pair:
            keys.append((pair[1], _kind(pair[2])))
        elif token.startswith("{dom "):
            places += ["dom|res|mgt", CONFIG]
        elif not token.startswith("[-") and token not in ("[options]", "[vars]"):
            places.append(_kind(token))
            repeats = repeats or "..." in token
    return Row(
        program="xm", name=verb.name, aliases=tuple(alias for alias, name in ALIASES.items() if name == verb.name),
        flags=(*flags, *([JSON_WORD] if verb.name in JSON else ())), valued=tuple(valued), places=tuple(places),
        repeats=repeats, keys=(*keys, *(_variables(verb.name) if "[vars]" in verb.synopsis else ())),
    )  # fmt: skip


def _tokens(synopsis: str) -> Iterator[str]:
    """The words of a SYNOPSIS; what stands in brackets is one."""
    token, depth = "", 0
    for sign in synopsis + " ":
        if sign == " " and depth == 0:
            if token:
                yield token
            token = ""
            continue
        depth += (sign in "[<{") - (sign in "]>}")
        token += sign


def _kind(token: str) -> str:
    for pattern, kind in _KINDS:
        if re.search(pattern, token):
            return kind
    words = [word.strip() for word in token.strip("<>[] ").split("|")]
    chosen = [word for word in words if re.fullmatch(r"[A-Za-z0-9]+", word) and word not in _STAND_INS]
    return "|".join(chosen) if len(words) > 1 and chosen else ANY


def _options(verb: Verb) -> tuple[list[str], list[tuple[str, str]]]:
    """Flags, and those that take a value with its kind."""
    flags, valued = [], []
    for option in verb.options:
        for text in option.split(", "):
            flag, *value = re.split("[= ]", text, maxsplit=1)
            flags.append(flag)
            if value:
                valued.append((flag, _VALUES.get(value[0], ANY)))
    return flags, valued


def _variables(name: str) -> tuple[tuple[str, str], ...]:
    """The variables that a configuration can have and a command line can change."""
    if name.startswith("cpupool"):
        return _POOL_KEYS
    from xmcompat.config.keys import KEYS, KeyType
    from xmcompat.guest import Dialect

    keys = sorted((key for key in KEYS.values() if Dialect.XM in key.dialects), key=lambda key: key.name)
    kinds = {"on_poweroff": _ENDS, "on_reboot": _ENDS, "on_crash": f"{_ENDS}|coredump-destroy|coredump-restart",
             "kernel": FILE, "ramdisk": FILE}  # fmt: skip
    return tuple((key.name, kinds.get(key.name, "yes|no" if key.type is KeyType.BOOL else ANY)) for key in keys)
