"""A kind of need: a disk of several volumes that the kernel joins (device-mapper), for volumes that are block devices.

    0       2048    linear 7:3 0          the table of partitions, on a loop device of a file that is gone already
    2048    2097152 linear 252:0 0        the volume of partition 1
    2099200 ...     zero                  up to whole mebibytes

Nothing is copied, no process stands between QEMU and the volumes, and all of it is in the kernel: the device's name tells
the guest and the disk, its table the volumes. The host's kernel looks for no partitions on it. What the guest writes to the
table is gone at its next start. Source: the kernel's device-mapper targets "linear" and "zero".
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress

from xmcompat.storage import loops, programs
from xmcompat.storage.composite import Composite, Part, Use, opened, volume_of
from xmcompat.storage.needs import Need
from xmcompat.storage.partitions import SECTOR, Layout, layout
from xmcompat.storage.programs import ProgramFailed, StorageError
from xmcompat.storage.waiting import wait_for

KIND = "mapped"
#: Names of our devices begin so: "xmc-UUID-xvda".
PREFIX = "xmc-"
FOLDER = "/dev/mapper"
_CONTROL = f"{FOLDER}/control"
_SYS = "/sys/block"
#: Where the table of partitions is written, for a moment.
_RUN = "/run/xmcompat"


def need(wanted: Composite) -> Need:
    """That the disk of WANTED is there; the last part of its folder is the name of its device."""
    name = f"{PREFIX}{os.path.basename(wanted.folder)}"
    return Need(kind=KIND, name=name, words={"domain": wanted.domain, "parts": json.dumps(wanted.parts)})


def possible() -> bool:
    """Whether this host's kernel and programs can do it."""
    return os.path.exists(_CONTROL) and loops.possible() and programs.is_there("dmsetup")


def fits(parts: Sequence[Part]) -> bool:
    """Whether volumes can be joined so: block devices of ordinary sectors, of which either all are written to, or none."""
    return len({part.writable for part in parts}) == 1 and all(_has_sectors(part.path) for part in parts)


def _has_sectors(path: str) -> bool:
    with suppress(OSError, ValueError):
        found = os.stat(path)
        place = f"/sys/dev/block/{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        for name in ("queue", "../queue"):  # a partition has that of its disk
            with suppress(FileNotFoundError), open(f"{place}/{name}/logical_block_size", encoding="ascii") as file:
                return stat.S_ISBLK(found.st_mode) and int(file.read()) == SECTOR
    return False


def device(name: str) -> str:
    return f"{FOLDER}/{name}"


def need_of(path: str) -> Need | None:
    """None: no path of a volume shows that it is a part of a disk."""
    return None


def is_up(need: Need) -> bool:
    """Never: what is there now is left over, or the guest's before."""
    return False


def assemble(need: Need, deadline: float) -> str:
    """Have the disk at the path that is returned; what an earlier try left goes. Raises DeviceError, StorageError."""
    _remove(need.name)
    parts = _parts(need)
    with ExitStack() as stack:
        fds = [opened(part, stack) for part in parts]
        volumes = [volume_of(part, fd) for part, fd in zip(parts, fds, strict=True)]
        made = layout(volumes, "\n".join(part.path for part in parts))
        numbers = {part.number: _number(fd) for part, fd in zip(parts, fds, strict=True)}
        loop = _tables(made, need.name)
        stack.callback(os.close, loop)
        rows = list(table(made, numbers, _number(loop)))
        readonly = () if parts[0].writable else ("--readonly",)
        programs.run(("dmsetup", "create", need.name, *readonly), text="\n".join(rows) + "\n", deadline=deadline)
    wait_for(device(need.name), deadline)
    return device(need.name)


def table(made: Layout, volumes: dict[int, str], loop: str) -> Iterator[str]:
    """The lines of device-mapper's table for the disk MADE. VOLUMES are the devices ("252:0") by the partitions' numbers,
    LOOP that on which the tables of partitions lie, one behind the other."""
    slots = {slot.start: slot for slot in made.slots}
    tables = dict(made.tables)
    at = offset = 0
    for start in sorted({*slots, *tables}):
        if at < start:
            yield f"{at // SECTOR} {(start - at) // SECTOR} zero"
        if start in slots:
            length = slots[start].length
            yield f"{start // SECTOR} {length // SECTOR} linear {volumes[slots[start].number]} 0"
        else:
            length = len(tables[start])
            yield f"{start // SECTOR} {length // SECTOR} linear {loop} {offset // SECTOR}"
            offset += length
        at = start + length
    if at < made.size:
        yield f"{at // SECTOR} {(made.size - at) // SECTOR} zero"


def release(need: Need) -> None:
    """Silent where it is not there. Raises StorageError where a guest has it."""
    _remove(need.name)


def explain(need: Need, error: StorageError) -> StorageError:
    domain = need.words.get("domain", "")
    if isinstance(error, ProgramFailed) and "Device or resource busy" in error.complaint:
        what = f"a volume of the disk {need.name} is in use"
        return StorageError(what, hint=f"see 'xm list {domain}', 'lsblk' and 'mount'")
    return error


def held(holds: Sequence[tuple[Need, bool]]) -> list[Use]:
    """The volumes of the disks that are there, of HOLDS (needs of any kind, and whether they are up)."""
    uses = []
    for need, _ in holds:
        if need.kind == KIND and os.path.exists(device(need.name)):
            name = need.name.removeprefix(PREFIX)
            uses += [Use(need.words["domain"], part.path, not part.writable, part.shareable, name) for part in _parts(need)]
    return uses


def _parts(need: Need) -> tuple[Part, ...]:
    return tuple(Part(*part) for part in json.loads(need.words["parts"]))


def _number(fd: int) -> str:
    found = os.fstat(fd).st_rdev
    return f"{os.major(found)}:{os.minor(found)}"


def _tables(made: Layout, name: str) -> int:
    """A loop device with the tables of MADE one behind the other, of a file that has no name any more."""
    os.makedirs(_RUN, mode=0o755, exist_ok=True)
    path = f"{_RUN}/{name}.tables"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        content = b"".join(content for _, content in sorted(made.tables))
        with open(fd, "wb", closefd=False) as file:
            file.write(content)
        return loops.attach(fd, name)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
    finally:
        os.close(fd)
        with suppress(OSError):
            os.unlink(path)


def _remove(name: str) -> None:
    if os.path.exists(device(name)):
        programs.run(("dmsetup", "remove", "--retry", name))
