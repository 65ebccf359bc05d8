"""The settings of one xl file, by their types: what xl warns of and passes over is noted, and left out. Pure.

Source: how xl of Xen 4.17 reads values: numbers may be in quotes, and nothing is made out of another type.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from xmcompat.config.keys import KEYS, KeyType
from xmcompat.config.keys_xl import XL_TYPES
from xmcompat.config.xl import number
from xmcompat.errors import ConfigError, NotConvertible
from xmcompat.guest import Dialect, Value
from xmcompat.notes import Fate, Note, is_secret

Device = TypeVar("Device")

#: Arbitrary, above what any guest has.
MOST_DEVICES = 256
_LONGEST_SHOWN = 60
_MOST_WARNINGS = 50  # of one device

_PLAIN = re.compile("[0-9][0-9a-fx]{0,30}")
_NUMBERS = (KeyType.INT, KeyType.LONG, KeyType.BOOL)
#: Characters that no XML document, and so no guest of libvirt, can hold.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class Settings:
    """The settings of the file at PATH, as xl takes them.

    ``known`` are those of the key table: numbers are numbers, texts and lists as read. ``notes`` tell what is left out.
    Raises ConfigError for a character that no guest of libvirt can hold, NotConvertible for what is never done on KVM.
    """

    def __init__(self, values: Mapping[str, Value], *, path: str, lines: Mapping[str, int]) -> None:
        self.path = path
        self.lines = lines
        self.known = {key: value for key, value in values.items() if key in KEYS}
        self.unknown = {key: value for key, value in values.items() if key not in KEYS}
        self.notes: list[Note] = []
        for key, value in tuple(self.known.items()):
            if _UNFIT.search("\n".join(_leaves(value))):
                raise self.error(key, f"{key} has a character that no setting can have")
            if Dialect.XL in KEYS[key].dialects:
                self._take(key, value)
            elif isinstance(value, str) and (found := number(value)) is not None:
                self.known[key] = found
        self._refuse()

    def _take(self, key: str, value: Value) -> None:
        type_ = XL_TYPES.get(key, KEYS[key].type)
        if isinstance(value, list):
            if type_ not in (KeyType.LIST, KeyType.STRING_OR_LIST):
                self.ignore(key, "it is a list but should be a single value; xl passes it over")
        elif type_ is KeyType.LIST:
            self.ignore(key, "it is a single value but should be a list; xl passes it over", "write it in brackets")
        elif type_ in _NUMBERS:
            found = value if isinstance(value, int) else number(str(value))
            if found is None:
                self.ignore(key, "it is not a valid number; xl passes it over", "write 1 or 0" * (type_ is KeyType.BOOL))
            else:
                self.known[key] = found

    def _refuse(self) -> None:
        """What would endanger data or the host: never started."""
        for key, value in self.known.items():
            row = KEYS[key]
            if row.fate is Fate.REFUSED and Dialect.XL in row.dialects and value not in (0, "", "0", []):
                raise NotConvertible(
                    f"{key} = {self._shown(key, value)} cannot be had on KVM: {row.reason}", path=self.path,
                    line=self.lines.get(key), hint="remove it from the configuration",
                )  # fmt: skip

    def error(self, key: str, message: str, hint: str | None = None) -> ConfigError:
        """A ConfigError at the line of KEY."""
        return ConfigError(message, path=self.path, line=self.lines.get(key), hint=hint)

    @contextmanager
    def at(self, key: str, index: int | None = None) -> Iterator[None]:
        """Give the errors of the body the place of KEY, or of its entry INDEX."""
        try:
            yield
        except ConfigError as error:
            message = error.message if index is None else f"{key}[{index}]: {error.message}"
            raise type(error)(message, path=self.path, line=self.lines.get(key), hint=error.hint) from None

    def ignore(self, key: str, reason: str, suggestion: str = "", *, harmless: bool = False) -> None:
        """Note that xl passes KEY over, and leave it out."""
        self.note(key, Fate.NO_MEANING, reason, suggestion, harmless=harmless)
        self.known.pop(key, None)

    def note(
        self, key: str, fate: Fate, reason: str, suggestion: str = "", *, harmless: bool = False,
        entry: int | None = None,
    ) -> None:  # fmt: skip
        """Note what becomes of KEY, or of the ENTRY of its list."""
        value = self.known.get(key, "")
        if entry is not None and isinstance(value, list):
            value = value[entry]
        self.notes.append(Note(
            key=key if entry is None else f"{key}[{entry}]", fate=fate, reason=reason, value=self._shown(key, value),
            path=self.path, line=self.lines.get(key), suggestion=suggestion, harmless=harmless,
        ))  # fmt: skip

    @staticmethod
    def _shown(key: str, value: Value) -> str:
        """The value as a file has it, shortened; without passwords."""
        if is_secret(key, value):
            return "(not shown)"
        text = _written(value)
        return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."

    def text(self, key: str) -> str:
        """The text, "" where it is not given."""
        value = self.known.get(key, "")
        return "" if isinstance(value, list) else str(value)

    def number(self, key: str) -> int | None:
        """The number, None where it is not given."""
        value = self.known.get(key)
        return value if isinstance(value, int) else None

    def flag(self, key: str, default: bool) -> bool:
        """The truth value of a number."""
        found = self.number(key)
        return default if found is None else found != 0

    def items(self, key: str) -> list[Value]:
        """The entries of a list, none where it is not given; a single text is a list of one. Raises ConfigError."""
        value = self.known.get(key, [])
        items: list[Value] = value if isinstance(value, list) else [value]
        if len(items) > MOST_DEVICES:
            raise self.error(key, f"{key} has {len(items)} entries, which no guest has")
        return items

    def texts(self, key: str) -> list[str]:
        """The entries of a list of texts. Raises ConfigError."""
        for index, item in enumerate(self.items(key)):
            if isinstance(item, list):
                raise self.error(key, f"{key}[{index}] is a list but should be a text")
        return [str(item) for item in self.items(key)]

    def devices(self, key: str, read: Callable[[str, list[str]], Device]) -> tuple[Device, ...]:
        """What READ makes of each entry of a list; what it warns of (its second argument) is noted."""
        found = []
        for index, text in enumerate(self.texts(key)):
            warnings: list[str] = []
            with self.at(key, index):
                found.append(read(text, warnings))
            for warning in warnings[:_MOST_WARNINGS]:
                self.note(key, Fate.NO_MEANING, warning, entry=index)
        return tuple(found)


def _written(value: Value) -> str:
    """VALUE as a file has it: numbers without quotes."""
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return value if isinstance(value, str) and _PLAIN.fullmatch(value) else repr(value)


def _leaves(value: Value) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield str(value)
