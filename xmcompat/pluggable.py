"""What plugging in disks and network interfaces have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from xmcompat.backends.devices import Bus
from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.config import device_forms as forms
from xmcompat.errors import ConfigError, DevicePresent, DomainNotFound, OperationError
from xmcompat.guest import Dialect, FirmwareBoot, GuestConfig, GuestKind, Vbd, Vif
from xmcompat.notes import Fate
from xmcompat.plugging import Plugging, Seen
from xmcompat.toolstack import DOM0_NAME, DOM0_UUID, Toolstack
from xmcompat.translate.findings import Findings

Tree = list[object]

#: How often a free name is looked for again, where somebody else has taken the one that was found.
_TRIES = 8

#: The class of a device may stand before its number.
CLASSED = re.compile(r"(?:vbd|tap2?|vif)/([0-9]+)")
_TOLD = (Fate.APPROXIMATED, Fate.NO_MEANING, Fate.NOT_YET)


class Pluggable:
    """The kinds of devices are classes over this one."""

    def __init__(self, toolstack: Toolstack) -> None:
        self._toolstack = toolstack
        self._hypervisor = toolstack.hypervisor
        self._plugging = Plugging(toolstack)

    def _guest(
        self, seen: Seen, disks: tuple[Vbd, ...] = (), vifs: tuple[Vif, ...] = ()
    ) -> tuple[GuestConfig, Findings]:
        """A guest of the domain's kind with the new device alone."""
        on_sata = bool(disks) and any(one.disk.bus is Bus.SATA for one in seen.disks)
        guest = GuestConfig(
            name=seen.info.name, uuid=seen.info.uuid, kind=GuestKind.HVM if seen.hvm else GuestKind.PV, disks=disks,
            vifs=vifs, boot=FirmwareBoot(), dialect=Dialect.XL if on_sata else Dialect.SXP,
            options={"hdtype": "ahci"} if on_sata else {},
        )  # fmt: skip
        return guest, Findings(guest)

    def _refuse_unknown_back_end(self, domain: str) -> None:
        """Raise xend's sentence for a domain that is not there; of one that is, translation says why it cannot serve."""
        if domain in ("", "0", DOM0_NAME):
            return
        try:
            self._toolstack.find(domain)
        except DomainNotFound:
            raise OperationError(f"Cannot configure device for unknown backend {domain}") from None


def again(attach: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """ATTACH until nobody else has just taken the name that it found free."""
    for _ in range(_TRIES):
        try:
            return attach()
        except DevicePresent:
            continue
    return attach()


def refuse_domain0(info: DomainInfo, hint: str) -> None:
    if info.uuid == DOM0_UUID:
        raise OperationError("Domain-0 is this host itself, to which no devices are added", hint=hint)


def settled(findings: Findings) -> tuple[str, ...]:
    """What the operator should know. Raises OperationError for what cannot be, else DeviceError."""
    try:
        findings.settle()
    except ConfigError as error:
        raise OperationError(_plain(error.message), hint=error.hint) from None
    return tuple(_plain(note.text()) for note in findings.notes if note.fate in _TOLD and not note.harmless)


def _plain(text: str) -> str:
    """Without the places of devices in a configuration, which there is none of."""
    return re.sub(r"\b(disk|vif)\[[0-9]+\](?= =|:)", r"\1", text)


def without(seen: Seen, is_it: Callable[[Tree], bool], kinds: Iterable[str]) -> tuple[Tree, str]:
    """The form without the device, and its class."""
    for place, device in forms.devices_of(seen.form, tuple(kinds)):
        if is_it(device):
            return forms.without_device(seen.form, place, seen.info.uuid), str(device[0])
    return seen.form, next(iter(kinds))
