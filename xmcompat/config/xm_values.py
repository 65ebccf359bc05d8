"""Values of a configuration by the type that a setting needs, as xm and xend take them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from xmcompat.config.specs import integer
from xmcompat.errors import ConfigError
from xmcompat.guest import Value

Values = Mapping[str, Value]

#: Arbitrary, above what any guest has.
MOST_DEVICES = 256


def text(known: Values, key: str) -> str:
    """The text of a setting, "" where it is not given. Raises ConfigError for a list."""
    value = known.get(key, "")
    if isinstance(value, list):
        raise ConfigError(f"{key} = {value!r} should be a text")
    return str(value)


def number(known: Values, key: str, default: int) -> int:
    """The number of a setting, DEFAULT where it is not given or empty. Raises ConfigError."""
    value = known.get(key, default)
    return default if value == "" else integer(value, key)


def entries(known: Values, key: str) -> list[str]:
    """The entries of a list, none where it is not given. Raises ConfigError."""
    value = known.get(key, [])
    if isinstance(value, str):
        # xm walks through the characters of a text, and stumbles over the first
        return list(value)
    if not isinstance(value, list):
        raise ConfigError(f"{key} = {value!r} should be a list")
    if len(value) > MOST_DEVICES:
        raise ConfigError(f"{key} has {len(value)} entries, which no guest has")
    return [str(item) for item in value]
