"""``xmcompat migrate setup``: this host makes certificates for itself and others, which then believe each other.

It is the authority: its keys stay here, those of other hosts with them. What goes over ssh is public, and nothing goes
another way. Each host says by which names it is known; a name that is another host's is refused.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from xmcompat.enrolled import Certified, Installed, Introduced, LocalHost, OverSsh
from xmcompat.errors import OperationError
from xmcompat.migration import certificate_files, certificates
from xmcompat.migration.certificate_files import Places
from xmcompat.migration.certificates import CONTROL, DATA, PURPOSES, Authority
from xmcompat.migration.json_form import NotOfForm, from_json, to_json

#: Seconds by which a host's clock may be behind: its certificates are good from now on.
_BEHIND = 30.0
#: Seconds after which a certificate is made anew, long before it ends.
_OLD = certificates.DAYS * 86400 / 2
#: What every host is for itself.
_LOOPBACK = ("localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback")


class Done(NamedTuple):
    """A host, the ``names`` in its certificate, and what was written there; nothing where all was as it should be."""

    host: str
    names: tuple[str, ...]
    outcome: Installed


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A host that has certificates of this authority: how it was called, the names and addresses in them, their
    fingerprints, and when they were made (Unix time)."""

    host: str
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    control: str = ""
    data: str = ""
    made: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """All of them; the one called "" is this host."""

    hosts: tuple[Known, ...] = ()


class Enrolling(Protocol):
    """One of the hosts, this one among them."""

    def introduce(self) -> Introduced: ...

    def install(self, certified: Certified) -> Installed: ...

    def undo(self) -> Installed: ...


def setup(
    hosts: Sequence[str], places: Places, ssh: str = "ssh", *, expects: str = "", renew: bool = False
) -> tuple[Done, ...]:  # fmt: skip
    """Have this host and HOSTS believe each other, and all those that were set up from here before. May be repeated.

    All are asked before anything is changed. EXPECTS is where this host wants guests' memory, "" for no such place. RENEW
    makes a new authority, in place of whatever these hosts believed in: the hosts that are not named are left out.

    Raises OperationError.
    """
    folder = f"{places.folder}/ca"
    with _locked(folder), ExitStack() as stack:
        local = LocalHost(places, expects)
        authorities = _files_of_authorities(folder)
        there = _refuse_other_authority(authorities, places, renew=renew)
        register = Register() if renew else _register(folder)
        me = local.introduce()
        introduced = []
        for host in dict.fromkeys(hosts):  # one after the other: ssh may ask for passwords
            remote = stack.enter_context(OverSsh(host, ssh))
            introduced.append((host, remote, remote.introduce()))
        own = certificates.fingerprint(_text(authorities[CONTROL].certificate)) if there else ""
        for host, _, found in introduced:
            _refuse_unfit(host, found, me, own, renew=renew)
        wanted: list[tuple[Enrolling, Known, Introduced]] = [
            (one, _known(host, found), found) for host, one, found in introduced
        ]  # fmt: skip
        wanted.append((local, _myself(me, hosts, introduced, register), me))
        register = _without(register, introduced)
        _refuse_twins([known for _, known, _ in wanted], register)
        if renew or not there:
            _make_authorities(authorities)
            _write_register(folder, register)
        done = []
        for one, known, found in wanted:
            renewed, outcome = _enrol(one, known, found, authorities, register)
            register = _with(register, renewed)
            _write_register(folder, register)
            done.append(Done(known.host, (*known.names, *known.addresses), outcome))
    return tuple(done)


def undo(hosts: Sequence[str], places: Places, ssh: str = "ssh") -> tuple[Done, ...]:
    """Take away what ``setup`` has written: on HOSTS, or on this host where none are named, its authority with it."""
    folder = f"{places.folder}/ca"
    done = []
    if hosts:
        for host in dict.fromkeys(hosts):
            with OverSsh(host, ssh) as remote:
                done.append(Done(host, (), remote.undo()))
            if os.path.isdir(folder):
                with _locked(folder):
                    register = _register(folder)
                    _write_register(folder, Register(hosts=tuple(one for one in register.hosts if one.host != host)))
        return tuple(done)
    outcome = LocalHost(places).undo()
    removed = [path for path in _files_of(folder) if _removed(path)]
    for path in (folder, places.folder):
        with suppress(OSError):
            os.rmdir(path)
    return (Done("", (), outcome.with_written(removed)),)


def _files_of(folder: str) -> list[str]:
    with suppress(OSError):
        return [f"{folder}/{name}" for name in sorted(os.listdir(folder))]
    return []


def _removed(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


# -- the authority


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """One setup at a time. Raises OperationError."""
    try:
        os.makedirs(os.path.dirname(folder), 0o755, exist_ok=True)
        os.makedirs(folder, 0o700, exist_ok=True)
        handle = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = "only root may do that" if isinstance(error, PermissionError) else None
        raise OperationError(f"{error.filename}: {error.strerror}", hint=hint) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise OperationError("another 'xmcompat migrate setup' is at work on this host") from None
    finally:
        os.close(handle)


def _files_of_authorities(folder: str) -> dict[str, Authority]:
    return {purpose: Authority(f"{folder}/{purpose}-key.pem", f"{folder}/{purpose}-cert.pem") for purpose in PURPOSES}


def _refuse_other_authority(files: dict[str, Authority], places: Places, *, renew: bool) -> bool:
    """Whether the authorities of this host are there. Raises OperationError where this host belongs to another's."""
    there = all(os.path.exists(path) for one in files.values() for path in one)
    if certificate_files.is_certified(places.folder) and not there and not renew:
        raise OperationError(
            "the certificates of this host were made on another one",
            hint="add hosts there; or make this host the authority of all those that you name by --renew",
        )
    return there


def _make_authorities(files: dict[str, Authority]) -> None:
    """New ones, in place of those that are there. One that was begun is no authority: its certificate is the last file."""
    for one in files.values():
        with suppress(FileNotFoundError):
            os.unlink(one.certificate)
    for one in files.values():
        certificate_files.write(one.key, certificates.new_key(), 0o600)
        name = f"xmcompat at {os.uname().nodename}"[:60]
        certificate_files.write(one.certificate, certificates.new_authority(one.key, name), 0o644)


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


# -- who is who


def _refuse_unfit(host: str, found: Introduced, me: Introduced, own: str, *, renew: bool) -> None:
    """Raise OperationError for a host that cannot be given a certificate. OWN: this host's authority, "" for none yet."""
    if found.control == me.control:
        raise OperationError(f"'{host}' is this host itself", hint="name the other hosts")
    if me.clock - found.clock > _BEHIND:
        raise OperationError(
            f"the clock of {host} is {me.clock - found.clock:.0f} s behind: certificates would not be valid there yet",
            hint="set the clocks of both hosts",
        )
    if found.believes not in ("", own) and not renew:
        raise OperationError(
            f"{host} has certificates that were made on another host",
            hint=f"add this host there; or type 'xmcompat migrate setup --undo {host}' before; or use --renew",
        )


def _known(host: str, found: Introduced) -> Known:
    """HOST by the names that it has from here, and the one that it gives itself."""
    called = host.rpartition("@")[2].lower().rstrip(".")
    names = list(filter(_is_own_name, (called, *found.names, found.expects)))
    if not names:
        raise OperationError(f"{host} has no name that could stand in a certificate")
    addresses = dict.fromkeys((*_addresses(called), *filter(_is_address, (found.address, found.expects))))
    return Known(host=host, names=tuple(dict.fromkeys(names)), addresses=tuple(addresses))


def _myself(
    me: Introduced, hosts: Sequence[str], introduced: Sequence[tuple[str, OverSsh, Introduced]], register: Register
) -> Known:  # fmt: skip
    before = next((one for one in register.hosts if one.host == ""), Known(host=""))
    seen = [_source_address(host.rpartition("@")[2]) for host in hosts]
    said = [found.client for _, _, found in introduced if found.client in _own_addresses(found.client)]
    addresses = dict.fromkeys((*before.addresses, *filter(_is_address, (*seen, *said, me.expects))))
    names = tuple(dict.fromkeys(filter(_is_own_name, (*me.names, me.expects))))
    if not names:
        raise OperationError("this host has no name that could stand in a certificate", hint="see 'hostname'")
    return Known(host="", names=names, addresses=tuple(addresses))


def _without(register: Register, introduced: Sequence[tuple[str, OverSsh, Introduced]]) -> Register:
    """REGISTER without those of the hosts that are INTRODUCED by another name now: each has one place in it."""
    held = {found.has_control: host for host, _, found in introduced if found.has_control}
    return Register(hosts=tuple(one for one in register.hosts if held.get(one.control, one.host) == one.host))


def _refuse_twins(wanted: Sequence[Known], register: Register) -> None:
    """Raise OperationError where a host calls itself by the name or address of another one."""
    fresh = {one.host for one in wanted}
    every = [*wanted, *(one for one in register.hosts if one.host not in fresh)]
    for one in wanted:
        for other in every:
            same = {*one.names, *one.addresses} & {*other.names, *other.addresses}
            if other.host != one.host and same:
                first, second = (name or "this host" for name in (one.host, other.host))
                raise OperationError(
                    f"{first} and {second} both are '{min(same)}'", hint="give each host a name of its own (hostnamectl)"
                )


def _is_own_name(name: str) -> bool:
    """Whether NAME can be that of one host: each calls itself localhost."""
    return certificates.is_name(name) and name.partition(".")[0] not in _LOOPBACK


def _is_address(text: str) -> bool:
    """Whether TEXT is an address by which other hosts may know one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_link_local or address.is_unspecified)


def _addresses(name: str) -> list[str]:
    with suppress(OSError, UnicodeError):
        found = [str(where[0]) for *_, where in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
        return [one for one in dict.fromkeys(found) if _is_address(one)]
    return []


def _source_address(host: str) -> str:
    """The address of this host from which HOST is reached, "" where that is not known. No packet is sent."""
    with suppress(OSError, UnicodeError):
        for family, *_, where in socket.getaddrinfo(host, 22, type=socket.SOCK_DGRAM):
            with socket.socket(family, socket.SOCK_DGRAM) as out:
                out.connect(where)
                return str(out.getsockname()[0])
    return ""


def _own_addresses(address: str) -> list[str]:
    """[ADDRESS] where it is one of this host's."""
    with suppress(OSError), socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))
        return [address]
    return []


# -- certificates


def _enrol(
    one: Enrolling, known: Known, found: Introduced, authorities: dict[str, Authority], register: Register
) -> tuple[Known, Installed]:
    """Give it certificates, unless those that it has are as they should be."""
    before = next((other for other in register.hosts if other.host == known.host), None)
    if before is not None and (before.names, before.addresses) == (known.names, known.addresses):
        held = found.has_control, found.has_data
        if held == (before.control, before.data) and time.time() - before.made < _OLD:
            return before, one.install(Certified())
    made = {
        purpose: certificates.signed(authorities[purpose], public, known.names, known.addresses)
        for purpose, public in ((CONTROL, found.control), (DATA, found.data))
    }
    certified = Certified(
        control=made[CONTROL], data=made[DATA], control_authority=_text(authorities[CONTROL].certificate),
        data_authority=_text(authorities[DATA].certificate),
    )  # fmt: skip
    outcome = one.install(certified)
    fingerprints = {purpose: certificates.fingerprint(made[purpose]) for purpose in PURPOSES}
    renewed = Known(
        host=known.host, names=known.names, addresses=known.addresses, control=fingerprints[CONTROL],
        data=fingerprints[DATA], made=time.time(),
    )  # fmt: skip
    return renewed, outcome


def _with(register: Register, known: Known) -> Register:
    return Register(hosts=(*(one for one in register.hosts if one.host != known.host), known))


def _register(folder: str) -> Register:
    """Raises OperationError for a file that somebody has spoilt."""
    path = f"{folder}/hosts.json"
    try:
        with open(path, encoding="utf-8") as file:
            return from_json(Register, json.load(file), "hosts.json")
    except FileNotFoundError:
        return Register()
    except (OSError, ValueError, NotOfForm):
        raise OperationError(f"{path} cannot be used", hint="--renew makes everything anew") from None


def _write_register(folder: str, register: Register) -> None:
    certificate_files.write(f"{folder}/hosts.json", json.dumps(to_json(register), indent=1), 0o600)

