"""The devices in a ``(vm ...)`` form: which there are, one more, one less. Pure: a changed form is a new tree."""

from __future__ import annotations

from collections.abc import Sequence

from xmcompat.config.specs import vbd_of
from xmcompat.config.sxp import Tree, children, value
from xmcompat.errors import ConfigError
from xmcompat.guest import Vbd
from xmcompat.vdev import vdev_number


def devices_of(form: Tree, kinds: Sequence[str]) -> list[tuple[int, Tree]]:
    """The devices of these classes, each with the place of its ``(device ...)`` in the form."""
    found = []
    for place, child in enumerate(form):
        if isinstance(child, list) and child[:1] == ["device"] and len(child) > 1:
            device = child[1]
            if isinstance(device, list) and device and device[0] in kinds:
                found.append((place, device))
    return found


def disk_number(device: Tree) -> int | None:
    """The number of the disk that a form describes."""
    return front_end_number(text(device, "dev"))


def front_end_number(name: str) -> int | None:
    """The number of "ioemu:hdc:cdrom"; None for a name that Xen does not know."""
    return vdev_number(name.removeprefix("ioemu:").partition(":")[0])


def vbd_in(device: Tree) -> Vbd | None:
    """The disk that a form describes; None for one that is not understood."""
    try:
        return vbd_of(text(device, "uname"), text(device, "dev"), text(device, "mode") or "r")
    except ConfigError:
        return None


def text(device: Tree, key: str) -> str:
    found = value(device, key, "")
    return "" if isinstance(found, list) else str(found)


def with_device(form: Tree, device: Tree) -> Tree:
    """FORM with the device behind all others."""
    return [*form, ["device", device]]


def with_value(form: Tree, place: int, key: str, new: str) -> Tree:
    """FORM in which the device at PLACE has another value for the KEY."""
    child = form[place]
    assert isinstance(child, list)
    device = child[1]
    changed = [[key, new] if isinstance(row, list) and row[:1] == [key] else row for row in device]
    if changed == device and text(device, key) != new:
        changed.append([key, new])
    return [*form[:place], ["device", changed], *form[place + 1 :]]


def without_device(form: Tree, place: int, domain: str) -> Tree:
    """FORM without the device at PLACE. The others of its class keep the uuids that they have by their places in the
    domain with the uuid DOMAIN."""
    import uuid as uuids

    child = form[place]
    assert isinstance(child, list)
    kind = str(child[1][0])
    for index, (other, device) in enumerate(devices_of(form, (kind,))):
        if not text(device, "uuid"):
            form = with_value(form, other, "uuid", str(uuids.uuid5(uuids.UUID(domain), f"{kind}/{index}")))
    return [*form[:place], *form[place + 1 :]]


def carried_over(before: Tree, after: Tree, other: Tree) -> Tree:
    """The form OTHER of the same domain with what has changed from BEFORE to AFTER: devices that came and went, and parts
    of those that all three have."""
    old, new = ({_key(row): row for row in form} for form in (before, after))
    left = [row for row in other if _key(row) in new or _key(row) not in old]
    both = old.keys() & new.keys()
    changed = [_merged(old[key], new[key], row) if (key := _key(row)) in both else row for row in left]
    there = {_key(row) for row in other}
    return [*changed, *(row for key, row in new.items() if key not in old and key not in there)]


def _key(row: object) -> tuple[object, ...]:
    """What there is one of in a form."""
    if not isinstance(row, list) or len(row) < 2 or row[0] != "device" or not isinstance(row[1], list) or not row[1]:
        return (str(row[0]) if isinstance(row, list) and row else str(row),)
    device = row[1]
    named = {"vif": text(device, "mac").lower(), "vusb": text(device, "devid"), "vscsi": str(children(device, "dev"))}
    if device[0] in ("vbd", "tap", "tap2"):
        return ("disk", disk_number(device))
    return (str(device[0]), named.get(str(device[0]), ""))


def _merged(old: object, new: object, row: object) -> object:
    """ROW with what has changed from OLD to NEW, where they are of one kind."""
    if old == new or row == old:
        return new if row == old else row
    if not all(isinstance(one, list) and one[:1] == new[:1] for one in (old, new, row) if isinstance(new, list)):
        return row
    assert isinstance(old, list) and isinstance(new, list) and isinstance(row, list)
    if new[:1] in (["device"], ["image"]):
        return [row[0], _merged(old[1], new[1], row[1])]
    gone, came = [part for part in old if part not in new], [part for part in new if part not in old]
    single = {part[0] for part in came if isinstance(part, list) and part and part[:1] != ["dev"]}
    stay = [
        part for part in row
        if part not in gone and not (isinstance(part, list) and part and part[0] in single)
    ]  # fmt: skip
    return [*stay, *(part for part in came if part not in stay)]
