"""What the disks of a guest need of the host for as long as it lives: taken before it starts, given back when it has gone.

Volumes that are activated, sessions, mounts, and the servers of disks that are made of several volumes. All who start a
guest have its disks ``ready`` and ``settle`` when it is there; all who see its end call ``gone``; what nobody saw is swept
by the next start, and by xend. A guest whose disks are there already, on a host where nothing is held, costs a look at each
disk and at one folder, and no module is loaded for it: on the path of ``xm destroy``, only what is cheap is imported.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from xmcompat import disk_owners, disk_secrets, guest_kernels
from xmcompat.errors import DeviceError, XmError
from xmcompat.storage import looking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from xmcompat.backends.devices import Disk, DiskSource
    from xmcompat.backends.hypervisor import Hypervisor
    from xmcompat.backends.machine import Machine, XenRecord
    from xmcompat.guest import GuestConfig
    from xmcompat.storage.needs import Need

#: Where holds are written down: that of ``storage.holds``.
FOLDER = "/run/xmcompat/storage"

#: Seconds in which each need of a disk must be up; xend's device-create-timeout.
DEADLINE = 100.0
#: Seconds in which a guest must run again once its disk is served anew, and looks in a row at which nothing has failed.
_GOES_ON, _GOOD = 10.0, 5
_DIGITS = frozenset("0123456789abcdef-")


def is_any() -> bool:
    """Whether anything is held on this host."""
    try:
        with os.scandir(FOLDER) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def owner(uuid: str | None) -> str:
    """UUID as libvirt writes it."""
    if uuid and len(uuid) == 36 and _DIGITS.issuperset(uuid) and [*map(len, uuid.split("-"))] == [8, 4, 4, 4, 12]:
        return uuid
    from uuid import UUID  # which takes as long to load as all else that is done here

    return str(UUID(uuid or ""))


# -- up


def ready(
    hypervisor: Hypervisor, disks: tuple[Disk, ...], guest: GuestConfig, uuid: str, *, own: str = "", check: bool = True,
    sizes: Mapping[str, int] | None = None,
) -> tuple[Disk, ...]:  # fmt: skip
    """The disks of GUEST by their real paths: all that they need is up and held for the domain UUID, each is there and,
    with CHECK, free. What the domain OWN (its name) holds itself does not count. SIZES as in ``composites.need_of``.

    May be repeated while the domain is off. Raises DeviceError; then nothing new is held.
    """
    sweep(hypervisor)
    disks = disk_secrets.prepared(hypervisor, disks, guest, uuid)
    taken: list[tuple[Need, str]] = []
    try:
        there = tuple(_with_needs(hypervisor, disk, uuid, taken) for disk in disks)
        if check:
            from xmcompat.disk_paths import with_real_paths

            there = with_real_paths(hypervisor, there, guest, own=own, uuid=uuid)
        return tuple(
            _joined(hypervisor, disk, guest, uuid, taken, sizes) if disk.members else disk for disk in there
        )
    except BaseException:
        _give(taken[::-1], just_taken=True)
        raise


def ready_again(
    hypervisor: Hypervisor, machine: Machine, *, check: bool = True, from_image: bool = False
) -> tuple[Disk, ...]:
    """The same for a MACHINE that was read from XML; what its disks are made of, and need, is in its record. That XML may
    have to say how they are joined now: see ``renew`` and ``renewed``. FROM_IMAGE: it goes on from an image of its memory,
    which knows where the partitions of its disks begin, whatever has become of their volumes since."""
    if not machine.disks:
        sweep(hypervisor)
        return ()
    from xmcompat import composites

    guest, uuid = composites.guest_in(machine), owner(machine.uuid)
    sizes = composites.sizes_in(machine) if from_image else None
    return ready(hypervisor, composites.disks_of(machine, guest), guest, uuid, check=check, sizes=sizes)


def remember(hypervisor: Hypervisor, uuid: str) -> None:
    """Once the domain is there, and before it is saved: what its memory knows of its disks goes with it, also where libvirt
    saves it by itself."""
    if is_any():
        from xmcompat import composites

        composites.remember(hypervisor, uuid, _needs_of(uuid))


def noted(record: XenRecord | None, uuid: str) -> XenRecord | None:
    """RECORD of a domain that is about to be made, its disks being ready, with the same in it."""
    if record is None or not is_any():
        return record
    from xmcompat import composites

    return record._replace(sizes=composites.told_sizes(_needs_of(uuid)))


def _needs_of(uuid: str) -> list[Need]:
    from xmcompat.storage import holds

    return [hold.need for hold in holds.held(FOLDER) if uuid in map(holds.owner_of, hold.holders)]


def renew(hypervisor: Hypervisor, uuid: str, disks: tuple[Disk, ...]) -> None:
    """Before a known domain starts: have its definition say how those of DISKS, which are ``ready_again``, are joined, and
    at which devices the others are now."""
    if _may_move(disks) and (changed := renewed(hypervisor.definition(uuid), disks)):
        hypervisor.define_again(changed)


def renewed(xml: str, disks: tuple[Disk, ...]) -> str:
    """XML, of a domain that is about to start, as it has to be for that; "" where it is so already."""
    if not _may_move(disks):
        return ""
    from xmcompat import composites

    return composites.renewed(xml, disks)


def _may_move(disks: tuple[Disk, ...]) -> bool:
    """Whether one of DISKS may be at another device than before: what nothing was brought up for is where it was."""
    return is_any() or any(disk.members for disk in disks)


def _with_needs(hypervisor: Hypervisor, disk: Disk, uuid: str, taken: list[tuple[Need, str]]) -> Disk:
    """DISK by the path at which it is there, with what it and its members need added to TAKEN."""
    from dataclasses import replace

    from xmcompat.backends.devices import BlockSource, FileSource

    if disk.members:
        return replace(disk, members=tuple(_with_needs(hypervisor, one, uuid, taken) for one in disk.members))
    try:
        need = _need(disk.source)
    except TimeoutError as error:
        raise _unconnected(disk, f"{error.filename}: {error.strerror}") from None
    if need is None:
        return disk
    path = _take(hypervisor, need, _holder(uuid, disk), disk, taken)
    if not path or not isinstance(disk.source, FileSource | BlockSource):
        return disk
    return replace(disk, source=replace(disk.source, path=path))


def _joined(
    hypervisor: Hypervisor, disk: Disk, guest: GuestConfig, uuid: str, taken: list[tuple[Need, str]],
    sizes: Mapping[str, int] | None,
) -> Disk:  # fmt: skip
    """DISK, made of its members."""
    from xmcompat import composites

    composites.sweep(hypervisor.uri)
    disk = composites.chosen(disk, hypervisor.uri)
    need = composites.need_of(disk, guest.name, sizes)
    _part(need, _holder(uuid, disk))
    _take(hypervisor, need, _holder(uuid, disk), disk, taken)
    return disk


def _part(need: Need, holder: str) -> None:
    """Give back the disk of HOLDER that an earlier start joined in another way than NEED says: it has the volumes."""
    from xmcompat.storage import holds, mapped, served

    mine = [hold.need for hold in holds.held(FOLDER) if holder in hold.holders]
    _give([(other, holder) for other in mine if other.kind in {mapped.KIND, served.KIND} - {need.kind}])


def _need(source: DiskSource | None) -> Need | None:
    """What must be up for SOURCE; None for one that is there, and which no guest holds up. Raises TimeoutError."""
    from xmcompat.backends.devices import BlockSource, FileSource

    if not isinstance(source, FileSource | BlockSource):
        return None
    if source.need is not None:
        from xmcompat.storage.needs import Need

        wanted = source.need
        words = dict(wanted.words)
        if wanted.kind == "block_script":
            from xmcompat.host_settings import script_words

            words |= script_words(os.environ)
        return Need(kind=wanted.kind, name=wanted.name, words=words, secret=dict(wanted.secret))
    there = looking.exists(source.path) and not source.path.startswith("/dev/drbd")  # which is there unpromoted, too
    if not source.path or (there and not is_any()):
        return None
    from xmcompat.storage import holds, needs

    need = needs.need_of(os.path.abspath(source.path))
    if need is not None and there and all(hold.need.kind != need.kind for hold in holds.held(FOLDER)):
        return None  # it was up before, and stays so
    return need


def _take(hypervisor: Hypervisor, need: Need, holder: str, disk: Disk, taken: list[tuple[Need, str]]) -> str:
    """Take it, and add it to TAKEN unless the domain has it already."""
    from xmcompat.storage import holds
    from xmcompat.storage.programs import StorageError

    if not holds.has(need, holder, folder=FOLDER):
        taken.append((need, holder))
    try:
        return holds.take(need, holder, hypervisor=hypervisor.uri, deadline=DEADLINE, folder=FOLDER)
    except StorageError as error:
        raise _unconnected(disk, error.message, error.hint) from None


def _unconnected(disk: Disk, why: str, hint: str | None = None) -> DeviceError:
    from xmcompat.vdev import vdev_number

    device = vdev_number(disk.vdev) or disk.vdev or disk.target
    return DeviceError(f"Device {device} (vbd) could not be connected. {why}", hint=hint)


def _holder(uuid: str, disk: Disk) -> str:
    """Who holds what DISK needs: the domain of UUID, for this disk."""
    return _holder_named(uuid, disk.vdev or disk.target)


def _holder_named(uuid: str, vdev: str) -> str:
    return f"{uuid}.{_number(vdev)}"


def _number(vdev: str) -> str:
    from xmcompat.vdev import vdev_number

    return str(vdev_number(vdev) or vdev.replace("/", "-"))


def settle(uuid: str) -> None:
    """The domain is there, and what is held for it is held until it has gone."""
    disk_secrets.settle(uuid)
    if is_any():
        from xmcompat.storage import holds

        holds.settle(uuid, folder=FOLDER)


# -- down


def _give(held: Sequence[tuple[Need, str]], *, just_taken: bool = False) -> None:
    """Give it back; what this very call has JUST_TAKEN not where a domain has it that was started meanwhile."""
    from xmcompat.storage import holds
    from xmcompat.storage.programs import StorageError

    for need, holder in held:
        try:
            (holds.take_back if just_taken else holds.give)(need, holder, folder=FOLDER)
        except StorageError:
            continue  # the next sweep tries again


def gone(hypervisor: Hypervisor, uuid: str, vdev: str = "") -> tuple[str, ...]:
    """The domain has gone, or its disk VDEV alone: give back what is held for it, unless another process has started the
    domain since, or plugged the disk in. Returns sentences of what could not be taken down, which is tried again with the
    next start of a guest."""
    if not is_any():
        return ()
    from xmcompat.storage import holds
    from xmcompat.storage.programs import StorageError

    number = _number(vdev)

    def living(need: Need) -> Container[str]:
        def is_meant(disk: Disk) -> bool:
            return _number(disk.vdev or disk.target) == number and _may_need(disk, need)

        return disk_owners.Having(hypervisor, is_meant) if vdev else disk_owners.StartedAgain(hypervisor)

    try:
        holds.give_all(_holder_named(uuid, vdev) if vdev else uuid, living, folder=FOLDER)
    except StorageError as error:
        return (error.line(),)
    return ()


def _may_need(disk: Disk, need: Need) -> bool:
    """Whether DISK, as libvirt has it, may be of NEED: not every path tells."""
    from xmcompat.backends.devices import BlockSource, FileSource
    from xmcompat.storage import needs

    path = disk.source.path if isinstance(disk.source, FileSource | BlockSource) else ""
    wanted = needs.need_of(os.path.abspath(path)) if path else None
    return wanted is None or need.kind in needs.UNSEEN or wanted.same(need)


@contextmanager
def exchanged(uuid: str, disk: Disk, new: Disk) -> Iterator[None]:
    """The body gives the drive DISK the medium of NEW, which is ``ready``: what that of before needed is given back then;
    where the body fails, what NEW needs."""
    if not is_any():
        yield
        return
    from xmcompat.storage import holds

    holder, wanted = _holder(uuid, disk), _need(new.source)
    mine = [hold.need for hold in holds.held(FOLDER) if holder in hold.holders]
    try:
        yield
    except BaseException:
        _give([(need, holder) for need in mine if need.same(wanted)])
        raise
    _give([(need, holder) for need in mine if not need.same(wanted)])


@contextmanager
def given_back(hypervisor: Hypervisor, uuid: str) -> Iterator[None]:
    """Where the body fails: give back what is held for the domain, unless it is there all the same. Where nobody can tell,
    the next sweep does it."""
    try:
        yield
    except BaseException:
        gone(hypervisor, uuid)
        disk_secrets.gone(hypervisor, uuid)
        guest_kernels.gone(hypervisor, uuid)
        raise


def repaired(hypervisor: Hypervisor) -> tuple[str, ...]:
    """Serve anew the disks of guests that run whose servers have died, and let those guests go on that stood still for it.
    Returns a sentence for each, or for what keeps it from being served."""
    if not is_any():
        return ()
    from xmcompat.storage import composite, holds, served

    sentences = []
    guests = dict[str, tuple[str, bool]]()  # by their uuids: their names, and whether a disk is served anew
    for hold in holds.held(FOLDER):
        owners = [holds.owner_of(holder) for holder in hold.holders]
        if hold.need.kind != served.KIND or not owners or not _is_there(hypervisor, owners[0]):
            continue
        if not disk_owners.runs(hypervisor, owners[0]):
            continue  # it is being built anew
        domain = hold.need.words["domain"]
        name = hold.need.name
        if not composite.is_served(name):
            try:
                if holds.again(hold.need, lambda name=name: composite.is_served(name), folder=FOLDER):  # type: ignore[misc]
                    sentences.append(f"What served a disk of '{domain}' had died; it is served again.")
                    guests[owners[0]] = domain, True
            except XmError as error:
                sentences.append(f"What served a disk of '{domain}' has died: {error.line()}")
                continue
        guests.setdefault(owners[0], (domain, False))
    for uuid, (domain, anew) in guests.items():
        if not _goes_on(hypervisor, uuid, _GOES_ON if anew else 0.0):
            sentences.append(f"'{domain}' stands still, since a disk of its cannot be read or written.")
    return tuple(sentences)


def _goes_on(hypervisor: Hypervisor, uuid: str, patience: float) -> bool:
    """Whether the domain runs, or is paused for another reason than an error of its disks. It is let run for PATIENCE
    seconds, at least once: QEMU finds a new server at the second or third try, and tells of each that failed only later."""
    import time

    deadline, good = time.monotonic() + patience, _GOOD - 1
    tried = False
    try:
        while good < _GOOD:
            good = 0 if hypervisor.paused_by_error(uuid) else good + 1
            if not good:
                if tried and time.monotonic() > deadline:
                    return False
                hypervisor.unpause(uuid)
                tried = True
            if good < _GOOD:
                time.sleep(0.2)
    except XmError:
        return True  # it has gone
    return True


def _is_there(hypervisor: Hypervisor, uuid: str) -> bool:
    try:
        return hypervisor.find(uuid).domid is not None
    except XmError:
        return False


def sweep(hypervisor: Hypervisor) -> tuple[str, ...]:
    """Give back what domains hold that have gone without anybody seeing it. Returns sentences of what could not be taken
    down. Raises HypervisorUnreachable."""
    disk_secrets.sweep(hypervisor)
    guest_kernels.sweep(hypervisor)
    if not is_any():
        return ()
    from xmcompat.storage import holds

    errors = holds.sweep(disk_owners.Living(hypervisor), hypervisor=hypervisor.uri, folder=FOLDER)
    errors += holds.sweep((), hypervisor=holds.COMMAND, folder=FOLDER)
    return tuple(dict.fromkeys(error.line() for error in errors))


def sweep_after(uri: str) -> None:
    """Give back what the domains of the hypervisor at URI hold, which has gone with all of them. What cannot be taken down
    is told by a later ``sweep`` of somebody's."""
    if is_any():
        from xmcompat.storage import holds

        holds.sweep((), hypervisor=uri, folder=FOLDER)
