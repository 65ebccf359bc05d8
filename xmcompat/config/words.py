"""The name=value words of a command line, which change what a configuration says. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xmcompat.config import xl
from xmcompat.config.keys import KEYS, KeyType
from xmcompat.errors import ConfigError, UsageError
from xmcompat.guest import Dialect, Value

#: What int() of Python 2 reads.
_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,30}\s*", re.ASCII)
_YES, _NO = ("yes", "y"), ("no", "n")
_XL_NAME = re.compile("[a-z][_0-9a-z]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The name=value words of a command line: as xm takes them, values of keys and texts for the script; and as given.

    ``wrong`` is why xm would not take them, where that is not for the command line itself to say.
    """

    values: dict[str, Value] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    texts: tuple[tuple[str, str], ...] = ()
    wrong: ConfigError | None = None


def parse_words(words: Sequence[str]) -> Words:
    """Sort NAME=VALUE words. Values of known keys are converted, lists gather; other names are the script's.

    Raises ConfigError (``Invalid value: X``) for a number that is none.
    """
    values: dict[str, Value] = {}
    variables: dict[str, str] = {}
    texts = _split(words)
    for name, text in texts:
        key = KEYS.get(name)
        if key is None or Dialect.XM not in key.dialects or name == "maxvcpus":
            variables[name.strip()] = text.strip()
        elif key.type is KeyType.LIST:
            gathered = values.setdefault(name, [])
            assert isinstance(gathered, list)
            gathered.append(text)
        else:
            values[name] = _converted(key.type, text)
    return Words(values=values, variables=variables, texts=texts)


def for_any_tool(words: Sequence[str]) -> Words:
    """As ``parse_words``, for files of either tool: what xm would not take is an error of the files that are xm's."""
    try:
        return parse_words(words)
    except ConfigError as error:
        return Words(texts=_split(words), wrong=error)


def _split(words: Sequence[str]) -> tuple[tuple[str, str], ...]:
    for word in words:
        if "=" not in word:
            raise UsageError(f"'{word}' is no name=value")
    return tuple((name, text) for name, _, text in (word.partition("=") for word in words))


def _converted(type_: KeyType, text: str) -> Value:
    if type_ is KeyType.BOOL:
        if text not in (*_YES, *_NO):
            raise ConfigError(f"Invalid value:{text}")
        return int(text in _YES)
    if type_ in (KeyType.INT, KeyType.LONG):
        if not _NUMBER.fullmatch(text):
            raise ConfigError(f"Invalid value: {text}")
        return int(text)
    return text


def for_xl(words: Words) -> Mapping[str, Value]:
    """The settings of an xl file that WORDS replace; entries of a list gather.

    Differs from xl: a text needs no quotes, and a list no brackets.
    """
    values: dict[str, Value] = {}
    for name, text in words.texts:
        value = _xls(name.strip(), text.strip())
        key = KEYS.get(name.strip())
        if isinstance(value, str) and key is not None and key.type is KeyType.LIST:
            old = values.get(name.strip(), [])
            value = [*(old if isinstance(old, list) else [old]), value]
        values[name.strip()] = value
    return values


def _xls(name: str, text: str) -> Value:
    if not _XL_NAME.fullmatch(name):
        return text
    try:
        return xl.parse(f"{name}={text}", "").values.get(name, text)
    except ConfigError:
        return text
