"""What translation has to say about a guest: notes, refusals, devices that cannot be connected. Pure."""

from __future__ import annotations

from xmcompat.errors import DeviceError, NotConvertible
from xmcompat.guest import GuestConfig
from xmcompat.notes import Fate, Note

_LOCAL_DOMAIN = ("", "0", "Domain-0")

#: Characters of a value in a note or refusal; more than any path of an honest configuration.
_LONGEST_VALUE = 200


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST_VALUE else value[: _LONGEST_VALUE - 3] + "..."


class Findings:
    """Collects everything, so that one run tells all there is to mend; ``settle`` raises at the end."""

    def __init__(self, guest: GuestConfig) -> None:
        self._guest = guest
        self._notes: dict[Note, None] = {}
        self._refusals: list[tuple[str, str]] = []
        self._device_errors: list[DeviceError] = []

    @property
    def owner(self) -> str:
        """What tells the guest from others: its uuid as libvirt writes it, or its name while it has none."""
        from uuid import UUID

        try:
            return str(UUID(self._guest.uuid or ""))
        except ValueError:
            return self._guest.name

    @property
    def notes(self) -> tuple[Note, ...]:
        return tuple(self._notes)

    def approximated(
        self, key: str, reason: str, *, value: str = "", suggestion: str = "", harmless: bool = False
    ) -> None:
        self._add(Fate.APPROXIMATED, key, reason, value, suggestion, harmless)

    def carried(
        self, key: str, reason: str, *, value: str = "", suggestion: str = "", harmless: bool = True
    ) -> None:
        self._add(Fate.CARRIED, key, reason, value, suggestion, harmless)

    def no_meaning(
        self, key: str, reason: str, *, value: str = "", suggestion: str = "", harmless: bool = False
    ) -> None:
        self._add(Fate.NO_MEANING, key, reason, value, suggestion, harmless)

    def not_yet(self, key: str, reason: str, *, value: str = "", suggestion: str = "") -> None:
        self._add(Fate.NOT_YET, key, reason, value, suggestion, False)

    def refuse(self, key: str, reason: str, *, value: str = "") -> None:
        """Going on would lose data, security or the ability to boot. REASON ends with what to do."""
        self._refusals.append((key, f"{key} = {_cut(value)}: {reason}" if value else f"{key}: {reason}"))

    def back_end(self, key: str, domain: str, *, value: str) -> None:
        """Refuse a device whose back end is another DOMAIN than the host itself."""
        if domain not in _LOCAL_DOMAIN:
            self.refuse(key, f"KVM has no driver domains (back end '{domain}'); give one of this host", value=value)

    def unconnected(self, message: str, *, hint: str | None = None) -> None:
        """A device that this host cannot connect; MESSAGE is xm's own sentence, HINT follows on a line of its own."""
        error = DeviceError(message, hint=hint)
        error.hint_apart = True
        self._device_errors.append(error)

    def settle(self) -> None:
        """Raise NotConvertible with every refusal, else DeviceError for the first device that cannot be connected."""
        if self._refusals:
            lines = {self._line(key) for key, _ in self._refusals}
            raise NotConvertible(
                "; ".join(dict.fromkeys(text for _, text in self._refusals)),
                path=self._guest.source or None,
                line=lines.pop() if len(lines) == 1 else None,
            )
        if self._device_errors:
            raise self._device_errors[0]

    def _line(self, key: str) -> int | None:
        return self._guest.lines.get(key.partition("[")[0].partition(".")[0])

    def _add(self, fate: Fate, key: str, reason: str, value: str, suggestion: str, harmless: bool) -> None:
        note = Note(
            key=key, fate=fate, reason=reason, value=_cut(value), path=self._guest.source or None,
            line=self._line(key), suggestion=suggestion, harmless=harmless,
        )  # fmt: skip
        self._notes.setdefault(note)
