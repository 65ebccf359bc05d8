"""``xm block-list``, ``network-list``, ``vtpm-list``: tables byte for byte, and SXP. Pure.

KVM has no event channels, no ring references and no store: their numbers and paths are as Xen's would look, the same
at each call, and mean nothing. A device of a domain that is there is connected (state 4).
"""

from __future__ import annotations

from collections.abc import Sequence

from xmcompat.light import NamedTuple

Tree = list[object]

CONNECTED = 4
BLOCK_HEADER = "Vdev  BE handle state evt-ch ring-ref BE-path"
NETWORK_HEADER = "Idx BE     MAC Addr.     handle state evt-ch tx-/rx-ring-ref BE-path"
TPM_HEADER = "Idx  BE handle state evt-ch ring-ref BE-path"
PROTOCOL = "x86_64-abi"
UNKNOWN = "??"

#: The first event channel and ring reference of each class.
_FIRST = {"vif": (20, 768), "vtpm": (12, 6)}
_FIRST_OF_DISKS = (18, 8)


class FrontEnd(NamedTuple):
    """One device as Xen counts it: a disk by the number of its name, others by their place.

    ``kind`` is vbd, tap, tap2, vif or vtpm; ``place`` its place among its like; ``form`` what the configuration says.
    """

    kind: str
    number: int
    place: int
    mac: str = ""
    cdrom: bool = False
    form: Tree = []  # noqa: RUF012 - never changed


def _path(device: FrontEnd, domid: int) -> str:
    return f"/local/domain/0/backend/{device.kind}/{domid}/{device.number}"


def _numbers(device: FrontEnd) -> tuple[int, int]:
    """Event channel and ring reference."""
    channel, ring = _FIRST.get(device.kind, _FIRST_OF_DISKS)
    return channel + device.place, ring + device.place * (2 if device.kind == "vif" else 1)


def block_table(devices: Sequence[FrontEnd], domid: int | None) -> str:
    """Nothing at all where there are no DEVICES; DOMID is None for a domain that is off."""
    rows = []
    for device in devices:
        back, state, channel, ring, path = _columns(device, domid)
        rows.append(
            f"{device.number:<5d}  {back:<3d}  {0:<3d}   {state:<3d}    {channel:<3d}    {ring:<5d} {path:<30}  "
        )
    return _table(BLOCK_HEADER, rows)


def network_table(devices: Sequence[FrontEnd], domid: int | None) -> str:
    """As ``block_table``."""
    rows = []
    for device in devices:
        back, state, channel, ring, path = _columns(device, domid)
        handle, other = (0, -1) if domid is None else (device.number, ring + 1)
        rows.append(
            f"{device.number:<3d} {back:<3d}{device.mac or UNKNOWN:<17}    {handle:<3d}   {state:<3d}    "
            f"{channel:<3d}   {ring:<5d}/{other:<5d}   {path:<30}  "
        )
    return _table(NETWORK_HEADER, rows)


def tpm_table(devices: Sequence[FrontEnd], domid: int | None) -> str:
    """As ``block_table``."""
    rows = []
    for device in devices:
        back, state, channel, ring, path = _columns(device, domid)
        rows.append(
            f"{device.number:<3d}   {back:<3d}  {0:<3d}   {state:<3d}    {channel:<3d}    {ring:<5d} {path:<30}  "
        )
    return _table(TPM_HEADER, rows)


def _columns(device: FrontEnd, domid: int | None) -> tuple[int, int, int, int, str]:
    if domid is None:
        return -1, -1, -1, -1, UNKNOWN
    return 0, CONNECTED, *_numbers(device), _path(device, domid)


def _table(header: str, rows: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in (header, *rows)) if rows else ""


def device_tree(device: FrontEnd, domid: int | None) -> Tree:
    """``(NUMBER (...))`` for ``--long``: the front end's entries of the store, or for a domain that is off its form."""
    if domid is None:
        return [device.number, device.form]
    channel, ring = _numbers(device)
    shared: Tree = [["backend-id", 0], ["state", CONNECTED], ["backend", _path(device, domid)]]
    protocol: Tree = ["protocol", PROTOCOL]
    if device.kind == "vif":
        return [device.number, [
            ["mac", device.mac], ["handle", device.number], protocol, *shared, ["tx-ring-ref", ring],
            ["rx-ring-ref", ring + 1], ["event-channel", channel], ["request-rx-copy", 1],
        ]]  # fmt: skip
    if device.kind == "vtpm":
        return [device.number, [["handle", device.number], *shared, ["ring-ref", ring], ["event-channel", channel]]]
    kind = "cdrom" if device.cdrom else "disk"
    return [device.number, [
        ["virtual-device", device.number], ["device-type", kind], protocol, *shared, ["ring-ref", ring],
        ["event-channel", channel],
    ]]  # fmt: skip
