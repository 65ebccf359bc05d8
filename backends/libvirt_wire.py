"""The list of domains over libvirt's wire protocol, without libvirt's library.

Why: of the 37 ms that a listing of one guest took, 21 went into loading the library and its Python module, and of
the 10 more that a hundred guests took, half went into waiting for one answer before asking the next. This asks for
all of them at once and loads nothing. The protocol is libvirt's own promise to every older client: numbers and
layouts (remote_protocol.x) never change. It is used for one purpose, on a local socket that wants no
authentication; for all else, and whenever anything is not as expected, there is libvirt.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_STREAM, socket
from struct import Struct, error

from xmcompat.backends.hypervisor import DomainInfo, DomainState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM, VERSION = 0x20008086, 1
OPEN, CLOSE, DOMAIN_GET_INFO, AUTH_LIST, LIST_ALL_DOMAINS = 1, 2, 16, 66, 273
CALL, REPLY, OK = 0, 1, 0
AUTH_NONE = 0
LIST_TRANSIENT = 8
NO_DOMAIN = 42

#: Calls that are under way at once; their answers must fit into the socket.
BATCH = 100

SOCKETS = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock")
SYSTEM = "qemu:///system"
EXPLICIT = "qemu+unix:///system?socket="

#: libvirt's numbers for states.
STATES = {
    1: DomainState.RUNNING, 2: DomainState.BLOCKED, 3: DomainState.PAUSED, 4: DomainState.SHUTDOWN,
    5: DomainState.SHUTOFF, 6: DomainState.CRASHED, 7: DomainState.BLOCKED,
}  # fmt: skip

_HEADER = Struct(">IIIiiIi")   # length, program, version, procedure, type, serial, status
_INFO = Struct(">IQQIQ")       # state, maximum and current memory, vcpus, processor time
_PAIR = Struct(">II")
_WORD = Struct(">I")
_SIGNED = Struct(">i")

#: A call that failed: libvirt's error code.
Failed = int


class NotAsExpected(Exception):
    """The other end is not what this knows how to talk to."""


class Wire:
    """One connection. Raises OSError when the other end goes away, NotAsExpected for all that is not foreseen."""

    def __init__(self, path: str) -> None:
        self._serial = 0
        self._buffer = b""
        self._socket = socket(AF_UNIX, SOCK_STREAM)
        try:
            self._socket.connect(path)
            auth = self._call([(AUTH_LIST, b"")])[0]
            if isinstance(auth, Failed) or _PAIR.unpack_from(auth) != (1, AUTH_NONE):
                raise NotAsExpected
            opened = self._call([(OPEN, _WORD.pack(1) + _text(SYSTEM) + _WORD.pack(0))])[0]
            if isinstance(opened, Failed):
                raise NotAsExpected
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Say goodbye: libvirtd notes it as an error where a client just goes."""
        try:
            self._call([(CLOSE, b"")])
        except (OSError, NotAsExpected):
            return
        finally:
            self._socket.close()

    def drop(self) -> None:
        """Close it without a word: what was said is not known. May be repeated."""
        self._socket.close()

    def domains(self) -> list[DomainInfo]:
        """Every domain, as ``Hypervisor.domains`` wants them."""
        return self.domains_and((), lambda: None)[0]

    def domains_and(
        self, more: tuple[tuple[int, bytes], ...], meanwhile: Callable[[], None]
    ) -> tuple[list[DomainInfo], list[tuple[str, bytes | Failed]]]:
        """The same, and with their uuids the answers to MORE (procedure, what follows the domain) of every domain.

        MEANWHILE is called when all has been asked and nothing answered.
        """
        everyone, transient = self._call(
            [(LIST_ALL_DOMAINS, _PAIR.pack(1, 0)), (LIST_ALL_DOMAINS, _PAIR.pack(1, LIST_TRANSIENT))]
        )
        if isinstance(everyone, Failed) or isinstance(transient, Failed):
            raise NotAsExpected
        short_lived = {uuid for _, uuid, _, _ in _listed(transient)}
        domains = _listed(everyone)
        infos = [(DOMAIN_GET_INFO, packed) for *_, packed in domains]
        others = [(procedure, packed + rest) for procedure, rest in more for *_, packed in domains]
        answers = self.calls([*infos, *others], meanwhile)
        rows = [
            (_info(name, uuid, number, answer, uuid not in short_lived), packed)
            for (name, uuid, number, packed), answer in zip(domains, answers[: len(domains)], strict=True)
            if answer != NO_DOMAIN
        ]
        uuids = [_dashed(uuid) for _, uuid, *_ in domains]
        answered = list(zip(uuids * len(more), answers[len(domains) :], strict=True))
        if all(info.domid is not None for info, _ in rows):
            return [info for info, _ in rows], answered
        from xmcompat.backends.libvirt_wire_kept import as_shown

        return as_shown(self, rows), answered

    def calls(
        self, calls: list[tuple[int, bytes]], meanwhile: Callable[[], None] = lambda: None
    ) -> list[bytes | Failed]:
        """Make any number of CALLS (procedure, arguments), many at once; their answers, in order."""
        answers: list[bytes | Failed] = []
        for start in range(0, len(calls), BATCH):
            answers += self._call(calls[start : start + BATCH], meanwhile)
        return answers

    def _call(
        self, calls: list[tuple[int, bytes]], meanwhile: Callable[[], None] = lambda: None
    ) -> list[bytes | Failed]:
        """Make all CALLS (procedure, arguments) at once; their answers, in order. MEANWHILE is called before the first."""
        first = self._serial
        messages = []
        for procedure, arguments in calls:
            size = _HEADER.size + len(arguments)
            messages.append(_HEADER.pack(size, PROGRAM, VERSION, procedure, CALL, self._serial, OK) + arguments)
            self._serial += 1
        self._socket.sendall(b"".join(messages))
        meanwhile()
        answers: dict[int, bytes | Failed] = {}
        while len(answers) < len(calls):
            message = self._receive()
            try:
                _, program, _, _, kind, serial, status = _HEADER.unpack_from(message)
                if program == PROGRAM and kind == REPLY and serial >= first:  # earlier ones: somebody was interrupted
                    body = message[_HEADER.size :]
                    answers[serial] = body if status == OK else _SIGNED.unpack_from(body)[0]
            except error:
                raise NotAsExpected from None
        return [answers[serial] for serial in range(first, self._serial)]

    def _receive(self) -> bytes:
        """The next whole message."""
        while True:
            if len(self._buffer) >= 4:
                (size,) = _WORD.unpack_from(self._buffer)
                if size < _HEADER.size:
                    raise NotAsExpected
                if len(self._buffer) >= size:
                    message, self._buffer = self._buffer[:size], self._buffer[size:]
                    return message
            data = self._socket.recv(1 << 18)
            if not data:
                raise ConnectionResetError
            self._buffer += data


def _text(text: str) -> bytes:
    data = text.encode()
    return _WORD.pack(len(data)) + data + bytes(-len(data) % 4)


def _listed(body: bytes) -> list[tuple[str, bytes, int, bytes]]:
    """(name, uuid, id or -1, all three as they came) of each domain of a list."""
    try:
        (count,) = _WORD.unpack_from(body)
        found = []
        place = 4
        for _ in range(count):
            (size,) = _WORD.unpack_from(body, place)
            after_name = place + 4 + size + -size % 4
            end = after_name + 20
            (number,) = _SIGNED.unpack_from(body, after_name + 16)
            name = body[place + 4 : place + 4 + size].decode(errors="surrogateescape")
            found.append((name, body[after_name : end - 4], number, body[place:end]))
            place = end
    except error:
        raise NotAsExpected from None
    return found


def _dashed(uuid: bytes) -> str:
    digits = uuid.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _info(name: str, uuid: bytes, number: int, answer: bytes | Failed, persistent: bool) -> DomainInfo:
    domid = None if number == -1 else number
    dashed = _dashed(uuid)
    if isinstance(answer, Failed):
        return unanswered(domid, name, dashed, persistent)
    try:
        state, max_memory, memory, vcpus, cpu_time = _INFO.unpack_from(answer)
    except error:
        raise NotAsExpected from None
    return DomainInfo(
        domid, name, dashed, STATES.get(state, DomainState.BLOCKED), memory, max_memory, vcpus, cpu_time, persistent
    )


def unanswered(domid: int | None, name: str, uuid: str, persistent: bool) -> DomainInfo:
    """A domain that is there and does not say how it is."""
    return DomainInfo(
        domid, name, uuid, DomainState.SHUTOFF if domid is None else DomainState.BLOCKED, 0, 0, 0, 0, persistent
    )


def socket_of(uri: str) -> str | None:
    """The local socket of the hypervisor at URI, where this module may be used for it."""
    if uri == SYSTEM:
        return next((path for path in SOCKETS if os.path.exists(path)), None)
    path = uri.removeprefix(EXPLICIT)
    return path if path != uri and path.startswith("/") and not set(path) & set("&%;") else None


def open_wire(uri: str) -> Wire | None:
    """A connection to the hypervisor at URI; None where only libvirt can make it, or say why it cannot be made."""
    path = socket_of(uri)
    if path is None:
        return None
    try:
        return Wire(path)
    except (OSError, NotAsExpected):
        return None
