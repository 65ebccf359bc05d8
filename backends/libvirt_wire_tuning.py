"""Vcpus and scheduling of one domain over libvirt's wire protocol, for the reason of ``libvirt_wire``."""

from __future__ import annotations

from struct import Struct, error

from xmcompat.backends.libvirt_wire import _PAIR, _SIGNED, _WORD, Failed, NotAsExpected
from xmcompat.backends.libvirt_wire_domain import GET_INFO, GET_XML, _string, packed_domain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xmcompat.backends.libvirt_wire import Wire

GET_VCPUS, GET_SCHEDULER, NODE_GET_CPU_MAP = 20, 223, 293
#: More than QEMU's driver has.
MOST_PARAMETERS = 16
#: Of a typed parameter's value, by libvirt's numbers of types (int, unsigned, long, unsigned long).
_VALUES = {1: Struct(">i"), 2: Struct(">I"), 3: Struct(">q"), 4: Struct(">Q")}

_CPU_MAP = Struct(">iiI")
_INFO = Struct(">IQQIQ")
_VCPU = Struct(">IiQi")

#: libvirt's number, state, time in nanoseconds and CPU of a vcpu.
Row = tuple[int, int, int, int]


def vcpus(wire: Wire, uuid: str) -> tuple[list[Row], list[tuple[int, ...]], str, int] | None:
    """Of a domain: its vcpus that are online with the CPUs that each may use, its XML, and the number of the host's CPUs.

    Neither rows nor masks for one that is off; None for one that is gone.
    """
    found = packed_domain(wire, uuid)
    if found is None:
        return None
    packed, active = found
    info, xml, cpus = _answers(
        wire, (GET_INFO, packed), (GET_XML, packed + _WORD.pack(0)), (NODE_GET_CPU_MAP, _CPU_MAP.pack(0, 0, 0))
    )
    try:
        count: int = _SIGNED.unpack_from(cpus, len(cpus) - 4)[0]
        online: int = _INFO.unpack_from(info)[3]
        if not active:
            return [], [], _string(xml), count
        size = (count + 7) // 8
        (rows,) = _answers(wire, (GET_VCPUS, packed + _PAIR.pack(online, size)))
        return (*_rows(rows, size), _string(xml), count)
    except error:
        raise NotAsExpected from None


def _rows(body: bytes, size: int) -> tuple[list[Row], list[tuple[int, ...]]]:
    (count,) = _WORD.unpack_from(body)
    rows: list[Row] = [_VCPU.unpack_from(body, 4 + index * _VCPU.size) for index in range(count)]
    place = 4 + count * _VCPU.size
    (length,) = _WORD.unpack_from(body, place)
    if length < count * size:
        raise NotAsExpected
    masks = [body[place + 4 + index * size : place + 4 + (index + 1) * size] for index in range(count)]
    return rows, [tuple(cpu for cpu in range(size * 8) if mask[cpu // 8] >> cpu % 8 & 1) for mask in masks]


def scheduling(wire: Wire, uuid: str) -> tuple[int, dict[str, int]] | None:
    """The number of vcpus of a domain and libvirt's parameters of its scheduling; None for one that is gone."""
    found = packed_domain(wire, uuid)
    if found is None:
        return None
    packed, _ = found
    info, parameters = _answers(wire, (GET_INFO, packed), (GET_SCHEDULER, packed + _PAIR.pack(MOST_PARAMETERS, 0)))
    try:
        return _INFO.unpack_from(info)[3], _parameters(parameters)
    except error:
        raise NotAsExpected from None


def _parameters(body: bytes) -> dict[str, int]:
    (count,) = _WORD.unpack_from(body)
    place = 4
    values: dict[str, int] = {}
    for _ in range(count):
        name = _string(body[place:])
        size = len(name.encode(errors="surrogateescape"))
        place += 4 + size + -size % 4
        layout = _VALUES.get(_SIGNED.unpack_from(body, place)[0])
        if layout is None:
            raise NotAsExpected
        (values[name],) = layout.unpack_from(body, place + 4)
        place += 4 + layout.size
    return values


def _answers(wire: Wire, *calls: tuple[int, bytes]) -> list[bytes]:
    answers = []
    for answer in wire._call(list(calls)):
        if isinstance(answer, Failed):
            raise NotAsExpected  # libvirt itself says what is wrong
        answers.append(answer)
    return answers
