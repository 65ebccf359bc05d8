"""What is asked of many domains at once over libvirt's wire protocol: no domain's answer is waited for before the next is
asked, and none is looked up first, since libvirtd goes by the uuid alone.

Answers go by uuid. A domain whose answer is an error, or is not understood, is left out: whoever asks about it alone
learns what is the matter.
"""

from __future__ import annotations

from struct import error

from xmcompat.backends.libvirt_wire import (
    _PAIR,
    _SIGNED,
    _WORD,
    LIST_ALL_DOMAINS,
    NO_DOMAIN,
    Failed,
    NotAsExpected,
    _listed,
    _text,
)
from xmcompat.backends.libvirt_wire_domain import (
    GET_METADATA,
    GET_XML,
    METADATA_ELEMENT,
    NO_METADATA,
    _bytes_of,
    _number,
    _string,
)  # fmt: skip
from xmcompat.errors import HypervisorError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from xmcompat.backends.hypervisor import DiskUse, DomainInfo
    from xmcompat.backends.libvirt_wire import Wire
    from xmcompat.backends.libvirt_wire_tuning import Row

GET_MAX_VCPUS = 18

#: Which domains a list is to have; and the XML of a domain's definition, whether it runs or not.
_ACTIVE, _PERSISTENT = 1, 4
_INACTIVE = 2

#: What ``libvirt_wire_tuning.vcpus`` tells of a domain, without the host's CPUs; and how many vcpus it can have. The XML
#: is "" where every vcpu has its row.
Vcpus = tuple["list[Row]", "list[tuple[int, ...]]", str, int]


def metadata(wire: Wire, infos: Sequence[DomainInfo], uri: str) -> dict[str, str | None]:
    """The element of the namespace URI in each domain's metadata, None where there is none."""
    return _elements((info.uuid, answer) for info, answer in _each(wire, infos, GET_METADATA, _element_of(uri)))


def domains(wire: Wire, uri: str, meanwhile: Callable[[], None]) -> tuple[list[DomainInfo], dict[str, str | None]]:
    """Every domain, and ``metadata`` of all. MEANWHILE is called while libvirtd looks for the answers."""
    infos, answers = wire.domains_and(((GET_METADATA, _element_of(uri)),), meanwhile)
    return infos, _elements(answers)


def _element_of(uri: str) -> bytes:
    return _PAIR.pack(METADATA_ELEMENT, 1) + _text(uri) + _WORD.pack(0)


def _elements(answers: Iterable[tuple[str, bytes | Failed]]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for uuid, answer in answers:
        if not isinstance(answer, Failed):
            found[uuid] = _string(answer)
        elif answer == NO_METADATA:
            found[uuid] = None
    return found


def scheduling(wire: Wire, infos: Sequence[DomainInfo]) -> dict[str, tuple[int, dict[str, int]]]:
    """The number of vcpus and libvirt's parameters of each domain's scheduling."""
    from xmcompat.backends.libvirt_wire_tuning import GET_SCHEDULER, MOST_PARAMETERS, _parameters

    known = [info for info in infos if info.vcpus]
    try:
        return {
            info.uuid: (info.vcpus, _parameters(answer))
            for info, answer in _each(wire, known, GET_SCHEDULER, _PAIR.pack(MOST_PARAMETERS, 0))
            if not isinstance(answer, Failed)
        }
    except error:
        raise NotAsExpected from None


def vcpus(wire: Wire, infos: Sequence[DomainInfo]) -> tuple[dict[str, Vcpus], int]:
    """Of each domain its vcpus, and the number of the host's CPUs. For those that are off, the XML alone tells."""
    from xmcompat.backends.libvirt_wire_tuning import _CPU_MAP, GET_VCPUS, NODE_GET_CPU_MAP, _answers, _rows

    (cpus,) = _answers(wire, (NODE_GET_CPU_MAP, _CPU_MAP.pack(0, 0, 0)))
    try:
        count: int = _SIGNED.unpack_from(cpus, len(cpus) - 4)[0]
        size = (count + 7) // 8
        there = [info for info in infos if info.started and info.vcpus]
        named = [packed(info) for info in there]
        now = [(GET_VCPUS, name + _PAIR.pack(info.vcpus, size)) for info, name in zip(there, named, strict=True)]
        answers = wire.calls([*now, *((GET_MAX_VCPUS, name) for name in named)])
        rows = {
            info.uuid: (*_rows(online, size), _number(most))
            for info, online, most in zip(there, answers[: len(there)], answers[len(there) :], strict=True)
            if not isinstance(online, Failed) and not isinstance(most, Failed)
        }
    except error:
        raise NotAsExpected from None
    off = [info for info in infos if not info.started]
    with_more = [info for info in there if info.uuid in rows and len(rows[info.uuid][0]) != rows[info.uuid][2]]
    xml = dict(_texts(wire, [*off, *with_more]))
    found: dict[str, Vcpus] = {info.uuid: ([], [], xml[info.uuid], 0) for info in off if info.uuid in xml}
    for uuid, (online_rows, masks, most) in rows.items():
        if len(online_rows) == most or uuid in xml:
            found[uuid] = (online_rows, masks, xml.get(uuid, ""), most)
    return found, count


def packed(info: DomainInfo) -> bytes:
    """A domain as the protocol names it. The id is libvirt's own where it is there, and does not count."""
    name = info.name.encode("utf-8", "surrogateescape")
    key = _bytes_of(info.uuid)
    if key is None:
        raise NotAsExpected
    number = info.domid if info.started and info.domid is not None else -1
    return _WORD.pack(len(name)) + name + bytes(-len(name) % 4) + key + _SIGNED.pack(number)


def disk_uses(wire: Wire) -> list[DiskUse]:
    """The disks of all domains that run. Raises NotAsExpected where one cannot be asked: libvirt says why."""
    return _disk_uses(wire, _ACTIVE, 0)


def known_disks(wire: Wire) -> list[DiskUse]:
    """The disks of all definitions. Raises as ``disk_uses``."""
    return _disk_uses(wire, _PERSISTENT, _INACTIVE)


def _disk_uses(wire: Wire, which: int, flags: int) -> list[DiskUse]:
    """Those of the domains that libvirt has: what xm shows as there may be off, and hold no disk."""
    from xmcompat.backends.devices_glance import disk_uses

    (domains,) = wire.calls([(LIST_ALL_DOMAINS, _PAIR.pack(1, which))])
    if isinstance(domains, Failed):
        raise NotAsExpected
    uses: list[DiskUse] = []
    for answer in wire.calls([(GET_XML, packed + _WORD.pack(flags)) for *_, packed in _listed(domains)]):
        if not isinstance(answer, Failed):
            try:
                uses += disk_uses(_string(answer))
            except HypervisorError:
                raise NotAsExpected from None
        elif answer != NO_DOMAIN:  # else it has ended meanwhile
            raise NotAsExpected
    return uses


def _each(
    wire: Wire, infos: Sequence[DomainInfo], procedure: int, arguments: bytes
) -> Iterator[tuple[DomainInfo, bytes | Failed]]:
    answers = wire.calls([(procedure, packed(info) + arguments) for info in infos])
    return zip(infos, answers, strict=True)


def _texts(wire: Wire, infos: Sequence[DomainInfo]) -> Iterator[tuple[str, str]]:
    for info, answer in _each(wire, infos, GET_XML, _WORD.pack(0)):
        if not isinstance(answer, Failed):
            yield info.uuid, _string(answer)
