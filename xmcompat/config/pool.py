"""Configurations of CPU pools: a script in xm's Python form that sets name, sched, cpus and other_config, or SXP. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from xmcompat.config import sxp
from xmcompat.config.python import ScriptHost, evaluate
from xmcompat.errors import ConfigError
from xmcompat.guest import Value
from xmcompat.units import parse_cpus

#: What a script, or the words after it, may set, with the kind of value and what it means.
VARIABLES: tuple[tuple[str, str, str], ...] = (
    ("name", "TEXT", "name of the pool (default the file's)"),
    ("sched", "TEXT", "its scheduler (default credit)"),
    ("cpus", "NUMBER|#NUMBER|LIST", "how many CPUs it has, or which (default 1)"),
    ("other_config", "KEY=VALUE", "anything to be kept with it"),
)
_NAME = re.compile(r"[A-Za-z0-9_.:+/-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """What a configuration says of a pool. ``proposed`` are the CPUs that it names, () where it only counts them.

    ``passed_over`` has what xm ignores, each with its reason.
    """

    name: str
    sched: str = "credit"
    count: int = 1
    proposed: tuple[int, ...] = ()
    other_config: tuple[tuple[str, str], ...] = ()
    autostart: bool = False
    printed: str = ""
    complained: str = ""
    passed_over: tuple[tuple[str, str], ...] = ()

    @property
    def has_valid_name(self) -> bool:
        return _NAME.fullmatch(self.name) is not None


def read_script(data: bytes, path: str, words: Mapping[str, str], host: ScriptHost, name: str) -> PoolConfig:
    """The pool of the script DATA, changed by the WORDS of a command line; NAME is for one without.

    Words that are no variable of pools are the script's own. Raises ConfigError in its kinds.
    """
    known = {key for key, *_ in VARIABLES}
    told = evaluate(data, path=path, variables={key: text for key, text in words.items() if key not in known}, host=host)
    values: dict[str, Value] = {**told.values, **{key: text for key, text in words.items() if key in known}}
    if isinstance(values.get("other_config"), str):
        values["other_config"] = [values["other_config"]]
    count, proposed = _cpus(values.get("cpus", 1))
    ignored = [(one.name, one.reason) for one in told.ignored if one.name in known]
    return PoolConfig(
        name=str(values.get("name", "")) or name, sched=str(values.get("sched", "credit")), count=count,
        proposed=proposed, other_config=_pairs(values.get("other_config", [])), printed=told.printed,
        complained=told.complained, passed_over=tuple(ignored),
    )  # fmt: skip


def _cpus(value: Value) -> tuple[int, tuple[int, ...]]:
    """(number, CPUs by name) of "#2", 2, "0-3,^1" or a list. Raises ConfigError as xm says it."""
    if isinstance(value, int | float):
        return _counted(value, str(int(value)) if isfinite(value) else str(value))
    if isinstance(value, str) and value.startswith("#"):
        return _counted(value, value[1:])
    text = ",".join(map(str, value)) if isinstance(value, list) else value
    cpus = parse_cpus(text)
    if not cpus:
        raise ConfigError(f"cpus = {_shown(value)}: it names no CPU")
    return len(cpus), cpus


def _counted(value: Value, digits: str) -> tuple[int, tuple[int, ...]]:
    digits = digits.strip()
    if re.fullmatch(r"-?[0-9]+", digits) and len(digits) > 6:
        raise ConfigError(f"cpus = {_shown(value)}: no host has so many CPUs")
    if not (digits.isascii() and digits.removeprefix("-").isdecimal()):
        raise ConfigError(f"cpus = {_shown(value)}: invalid literal for int() with base 10: '{digits[:200]}'")
    if int(digits) <= 0:
        raise ConfigError(f"cpus = {_shown(value)}: a pool has one CPU or more")
    return int(digits), ()


def _shown(value: Value) -> str:
    return str(value)[:200]


def _pairs(value: Value) -> tuple[tuple[str, str], ...]:
    """The key=value texts of a list. Raises ConfigError."""
    if not isinstance(value, list):
        raise ConfigError(f"other_config = {_shown(value)}: write a list of 'key=value'")
    pairs = []
    for item in value:
        key, equals, text = str(item).partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"other_config = {_shown(item)}: write 'key=value'")
        pairs.append((key.strip(), text.strip()))
    return tuple(pairs)


def read_form(text: str, path: str) -> PoolConfig:
    """The pool of the form ``(pool ...)`` that a dry run prints. Raises ConfigError."""
    forms = [form for form in sxp.parse(text, path) if isinstance(form, list) and form[:1] == ["pool"]]
    if len(forms) != 1:
        raise ConfigError("there is no (pool ...) form" if not forms else "there are several pools", path=path)
    form = forms[0]
    proposed = _cpu_numbers(form, path)
    count, _ = _counted(str(sxp.value(form, "ncpu", "1")), str(sxp.value(form, "ncpu", "1")))
    others = next(iter(sxp.children(form, "other_config")), ["other_config"])[1:]
    known = ("name_label", "sched_policy", "ncpu", "proposed_CPUs", "other_config", "auto_power_on")
    return PoolConfig(
        name=str(sxp.value(form, "name_label", "")), sched=str(sxp.value(form, "sched_policy", "credit")),
        count=len(proposed) or count, proposed=proposed,
        other_config=tuple((str(pair[0]), str(pair[1])) for pair in others if isinstance(pair, list) and len(pair) > 1),
        autostart=str(sxp.value(form, "auto_power_on", "")).lower() in ("true", "1"),
        passed_over=tuple(
            (str(child[0]), "a configuration does not say it") for child in form[1:]
            if isinstance(child, list) and child and child[0] not in known
        ),
    )  # fmt: skip


def _cpu_numbers(form: Sequence[object], path: str) -> tuple[int, ...]:
    child = next(iter(sxp.children(form, "proposed_CPUs")), ["proposed_CPUs"])
    try:
        return parse_cpus(",".join(map(str, child[1:])))
    except ConfigError as error:
        raise ConfigError(error.message, path=path) from None


def dry_form(config: PoolConfig) -> list[object]:
    """What ``xm cpupool-create -n`` prints."""
    return [
        "pool", ["name_label", config.name], ["sched_policy", config.sched], ["ncpu", config.count],
        ["proposed_CPUs", *config.proposed], ["other_config", *([key, text] for key, text in config.other_config)],
    ]  # fmt: skip
