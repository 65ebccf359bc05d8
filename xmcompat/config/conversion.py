"""A guest on its way into another tool's words: the settings found, and what those words cannot say. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from xmcompat.config import account, account_xl
from xmcompat.config.keys import KEYS
from xmcompat.guest import Dialect, GuestConfig, GuestKind, Value
from xmcompat.notes import Fate, Note, is_secret

#: Settings of either tool that Xen does not follow for paravirtual guests.
_HVM_ONLY = account.HVM_ONLY | account_xl.HVM_ONLY
_LONGEST_SHOWN = 60


class Conversion:
    """GUEST, as the settings of the tool called INTO. Every option that is asked for here counts as told of."""

    def __init__(self, guest: GuestConfig, into: Dialect) -> None:
        self.guest = guest
        self.hvm = guest.kind is GuestKind.HVM
        self.values: dict[str, Value] = {}
        self._into = into
        self._own = Dialect.XL if guest.dialect is Dialect.XL else Dialect.XM
        self._notes: list[Note] = []
        self._told: set[str] = set()

    def given(self, key: str) -> Value | None:
        """The option as read; None where it is not given, empty, or a word that the guest's own tool does not know."""
        self._told.add(key)
        value = self.guest.options.get(key) if self._own in KEYS[key].dialects else None
        return None if value == "" else value

    def texts(self, key: str) -> list[str]:
        """The entries of a list; a single text is a list of one."""
        value = self.given(key)
        items = value if isinstance(value, list) else [] if value is None else [value]
        return [str(item) for item in items if not isinstance(item, list)]

    def take(self, *keys: str) -> None:
        """KEYS are told of by other settings, or by notes."""
        self._told.update(keys)

    def put(self, name: str, value: Value) -> None:
        self.values[name] = value

    def put_given(self, **values: Value | None) -> None:
        """Those that have a value that is neither empty nor zero."""
        self.values.update((name, value) for name, value in values.items() if value)

    def copy(self, *keys: str) -> None:
        """The same words serve."""
        for key in keys:
            value = self.given(key)
            if value is not None:
                self.values[key] = value

    def copy_numbers(self, *keys: str) -> None:
        """The same words serve; what is no whole number is left out, and noted."""
        for key in keys:
            value = self.number(key)
            if value is not None:
                self.values[key] = value

    def number(self, key: str) -> int | None:
        """The option as a whole number; None where it is not given, or is none, which is noted."""
        value = self.given(key)
        if value is None or isinstance(value, int):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal() and len(value) < 20:
            return int(value)
        self.note(key, Fate.NO_COUNTERPART, "it is no whole number")
        return None

    def note(
        self, key: str, fate: Fate, reason: str, *, value: Value | None = None, suggestion: str = "", harmless: bool = False
    ) -> None:
        """Note what becomes of KEY ("disk[1]" for an entry). VALUE is that of the option, unless given."""
        setting = key.partition("[")[0].partition(".")[0]
        shown = self.guest.options.get(setting, "") if value is None else value
        self._notes.append(
            Note(
                key=key, fate=fate, reason=reason, value=_shown(key, shown), path=self.guest.source or None,
                line=self.guest.lines.get(setting), suggestion=suggestion, harmless=harmless,
            )
        )  # fmt: skip

    def approximated(
        self, key: str, reason: str, *, value: Value | None = None, suggestion: str = "", harmless: bool = False
    ) -> None:
        self.note(key, Fate.APPROXIMATED, reason, value=value, suggestion=suggestion, harmless=harmless)

    def lacking(
        self, key: str, reason: str, *, value: Value | None = None, suggestion: str = "", harmless: bool = False
    ) -> None:
        """KEY has no counterpart; it is left out."""
        self.note(key, Fate.NO_COUNTERPART, reason, value=value, suggestion=suggestion, harmless=harmless)

    def finish(self) -> tuple[dict[str, Value], tuple[Note, ...]]:
        """The settings, and the notes: one at least for each option that no setting stands for."""
        for key in self._untold():
            row, value = KEYS[key], self.guest.options[key]
            if self._own not in row.dialects:
                self.lacking(key, f"{self._own.value} does not know it either", harmless=True)
            elif self._into in row.dialects or (not self.hvm and key in _HVM_ONLY):
                self.lacking(key, "it has no effect on such a guest", harmless=True)
            else:
                default = row.xl_default if self._own is Dialect.XL else row.xm_default
                asks_nothing = value in (0, "", "0", [], default)
                self.lacking(key, f"{self._into.value} has no word for it", harmless=asks_nothing)
        return self.values, tuple(self._notes)

    def _untold(self) -> Iterable[str]:
        foreign = {key for key in self.guest.options if self._own not in KEYS[key].dialects}
        return [key for key in self.guest.options if key in foreign or key not in self._told]


def _shown(key: str, value: Value) -> str:
    """The value as the user wrote it, shortened; without passwords."""
    if is_secret(key, value):
        return "(not shown)"
    text = str(value) if isinstance(value, str) and "[" in key else repr(value) if value != "" else ""
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
