"""What is asked of one domain over libvirt's wire protocol: to find it, its XML, and our part of its metadata.

For the same reason as ``libvirt_wire``: loading libvirt's library takes longer than all that ``xm domid`` does of its own.
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
    _info,
    _listed,
    _text,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import DomainInfo
    from xmcompat.backends.libvirt_wire import Wire

GET_INFO, GET_XML, LOOKUP_BY_ID, LOOKUP_BY_NAME, LOOKUP_BY_UUID = 16, 14, 22, 23, 24
IS_PERSISTENT, GET_LIB_VERSION, GET_METADATA = 151, 157, 265
INVALID_ARG, NO_METADATA = 8, 80
METADATA_ELEMENT = 2
LIST_WITH_IMAGE = 256
LARGEST_ID = 2**31 - 1
LONGEST_NUMBER = 40


def is_number(designation: str) -> bool:
    """Whether it may be an id; Python refuses to convert thousands of digits."""
    return designation.isascii() and designation.isdigit() and len(designation) <= LONGEST_NUMBER


def find(wire: Wire, designation: str) -> DomainInfo | None:
    """By name, else by id of one that is there, else by uuid; None where there is none.

    Raises OSError when the other end goes away, NotAsExpected where only libvirt can tell.
    """
    try:
        packed = _look_up(wire, LOOKUP_BY_NAME, _text(designation)) if "\0" not in designation else None
    except UnicodeEncodeError:
        return None  # bytes that are no text: no domain is called that
    if packed is None and is_number(designation) and int(designation) <= LARGEST_ID:
        packed = _look_up(wire, LOOKUP_BY_ID, _SIGNED.pack(int(designation)))
    if packed is None:
        uuid = _bytes_of(designation)
        packed = _look_up(wire, LOOKUP_BY_UUID, uuid) if uuid else None
    if packed is None:
        return _kept_id(wire, designation)
    ((name, uuid, number, _),) = _listed(_WORD.pack(1) + packed)
    info, persistent = wire._call([(GET_INFO, packed), (IS_PERSISTENT, packed)])
    if isinstance(info, Failed) or isinstance(persistent, Failed):
        raise NotAsExpected
    there = _info(name, uuid, number, info, bool(_number(persistent)))
    if there.domid is not None:
        return there
    from xmcompat.backends.libvirt_wire_kept import as_shown

    return next(iter(as_shown(wire, [(there, packed)])), None)


def is_known(wire: Wire, designation: str) -> bool:
    """Whether a domain has this name or uuid, be it there or only defined, for whatever reason.

    Raises as ``find``.
    """
    try:
        if "\0" not in designation and _look_up(wire, LOOKUP_BY_NAME, _text(designation)) is not None:
            return True
    except UnicodeEncodeError:
        return False
    uuid = _bytes_of(designation)
    return uuid is not None and _look_up(wire, LOOKUP_BY_UUID, uuid) is not None


def _kept_id(wire: Wire, designation: str) -> DomainInfo | None:
    """The domain that has ended and stays in the list under an id that no other has now."""
    if not is_number(designation):
        return None
    return next((info for info in wire.domains() if info.domid == int(designation)), None)


def xml(wire: Wire, uuid: str, flags: int) -> str | None:
    """The XML of a domain; None where it is gone."""
    answer = _ask(wire, uuid, GET_XML, _WORD.pack(flags))
    return None if answer is None else _string(answer)


def metadata(wire: Wire, uuid: str, uri: str) -> tuple[str | None] | None:
    """The element of the namespace URI in a domain's metadata, None in it where there is none; None where it is gone."""
    answer = _ask(wire, uuid, GET_METADATA, _PAIR.pack(METADATA_ELEMENT, 1) + _text(uri) + _WORD.pack(0), NO_METADATA)
    return None if answer is None else (_string(answer) if answer else None,)


def with_image(wire: Wire) -> set[str]:
    """The uuids of the domains that were suspended to an image."""
    (answer,) = wire._call([(LIST_ALL_DOMAINS, _PAIR.pack(1, LIST_WITH_IMAGE))])
    if isinstance(answer, Failed):
        raise NotAsExpected
    return {_info(name, uuid, number, NO_DOMAIN, True).uuid for name, uuid, number, _ in _listed(answer)}


def library_version(wire: Wire) -> int:
    """libvirt's version, 1000000 times the major one and 1000 times the minor."""
    (answer,) = wire._call([(GET_LIB_VERSION, b"")])
    if isinstance(answer, Failed):
        raise NotAsExpected
    return int.from_bytes(answer[:8], "big")


def packed_domain(wire: Wire, uuid: str) -> tuple[bytes, bool] | None:
    """A domain as the protocol names it, and whether it is there; None where it is gone."""
    key = _bytes_of(uuid)
    packed = _look_up(wire, LOOKUP_BY_UUID, key) if key else None
    if packed is None:
        return None
    ((_, _, number, _),) = _listed(_WORD.pack(1) + packed)
    return packed, number != -1


def _look_up(wire: Wire, procedure: int, argument: bytes) -> bytes | None:
    (found,) = wire._call([(procedure, argument)])
    if not isinstance(found, Failed):
        return found
    if found in (NO_DOMAIN, INVALID_ARG):
        return None
    raise NotAsExpected


def _ask(wire: Wire, uuid: str, procedure: int, arguments: bytes, nothing: int = -1) -> bytes | None:
    """The answer about the domain of UUID; None where it is gone, b"" for the error NOTHING."""
    found = packed_domain(wire, uuid)
    if found is None:
        return None
    (answer,) = wire._call([(procedure, found[0] + arguments)])
    if not isinstance(answer, Failed):
        return answer
    if answer == NO_DOMAIN:
        return None
    if answer == nothing:
        return b""
    raise NotAsExpected


def _bytes_of(uuid: str) -> bytes | None:
    """The 16 bytes of a uuid in its canonical form; None for any other text."""
    if len(uuid) != 36 or uuid != uuid.lower() or any(uuid[place] != "-" for place in (8, 13, 18, 23)):
        return None
    try:
        key = bytes.fromhex(uuid.replace("-", ""))
    except ValueError:
        return None
    return key if len(key) == 16 else None


def _number(body: bytes) -> int:
    try:
        number: int = _SIGNED.unpack_from(body)[0]
    except error:
        raise NotAsExpected from None
    return number


def _string(body: bytes) -> str:
    try:
        (size,) = _WORD.unpack_from(body)
    except error:
        raise NotAsExpected from None
    if len(body) < 4 + size:
        raise NotAsExpected
    return body[4 : 4 + size].decode(errors="surrogateescape")
