"""A host that is given certificates: this one, or another one over ssh. Its private keys are made on it, and stay there.

A conversation is lines of JSON: {"do": "introduce"}, {"do": "install", "of": {...}}, {"do": "undo"}; each has one line as
its answer, {"ok": {...}} or {"error": "..."}.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, TypeVar

from xmcompat.errors import OperationError, XmError
from xmcompat.migration import certificate_files, certificates
from xmcompat.migration.certificate_files import Bundle, Outcome, Places
from xmcompat.migration.certificates import CONTROL, DATA
from xmcompat.migration.json_form import NotOfForm, from_json, to_json

T = TypeVar("T")

#: Bytes of a line, and of what a login shell may say before.
_LONGEST, _NOISE = 1 << 17, 1 << 16
_ANSWER = re.compile(rb'\{"(?:ok|error)":')
#: ssh gives up where nobody answers; whoever is asked for a password has all the time.
_OPTIONS = ("-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """Certificates for a host, and those of their authorities, in PEM; "" where those that it has are to be put in place
    again."""

    control: str = ""
    data: str = ""
    control_authority: str = ""
    data_authority: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of the other host."""

    do: str
    of: Certified = Certified()  # of "install"


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduced:
    """Who a host is: its public keys, its names, its clock, the address by which it was reached and the one it was reached
    from, and where it expects guests (``expects``, "" for there); ``believes`` is the fingerprint of the authority that it
    has, ``has_`` those of its certificates, "" for none."""

    control: str
    data: str
    names: tuple[str, ...] = ()
    clock: float = 0.0
    address: str = ""
    client: str = ""
    expects: str = ""
    believes: str = ""
    has_control: str = ""
    has_data: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """As ``certificate_files.Outcome``."""

    written: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    restart: bool = False

    def with_written(self, more: list[str]) -> Installed:
        return Installed(written=(*self.written, *more), left=self.left, restart=self.restart)


class LocalHost:
    """This host, with its files in PLACES. EXPECTS is the address or name at which it expects guests, where that is set."""

    def __init__(self, places: Places, expects: str = "") -> None:
        self._places = places
        self._expects = expects

    def introduce(self) -> Introduced:
        """Raises OperationError, CertificateError."""
        folder = self._places.folder
        name = os.uname().nodename.lower()
        words = [*os.environ.get("SSH_CONNECTION", "").split(), "", "", ""]
        return Introduced(
            control=self._public(CONTROL), data=self._public(DATA),
            names=tuple(dict.fromkeys((name, socket.getfqdn(name).lower()))), clock=time.time(),
            client=words[0], address=words[2], expects=self._expects, believes=_fingerprint(f"{folder}/cacert.pem"),
            has_control=self._certificate("servercert.pem", CONTROL, "cacert.pem"),
            has_data=self._certificate("data-cert.pem", DATA, "data-cacert.pem"),
        )  # fmt: skip

    def _public(self, purpose: str) -> str:
        """The public key of the one that is made where it is not there."""
        path = certificate_files.key_file(self._places.folder, purpose)
        if not os.path.exists(path):
            certificate_files.write(path, certificates.new_key(), 0o600)
        return certificates.public_of(_read(path))

    def _certificate(self, name: str, purpose: str, authority: str) -> str:
        """The fingerprint of the one that it has for its key, "" where that is another key."""
        folder = self._places.folder
        try:
            key = _read(certificate_files.key_file(folder, purpose))
            certificate = _read(f"{folder}/{name}")
            fits = certificates.belongs(certificate, key, _read(f"{folder}/{authority}"))
            return certificates.fingerprint(certificate) if fits else ""
        except XmError:
            return ""

    def install(self, certified: Certified) -> Installed:
        """Raises OperationError for what is not made for the keys of this host."""
        folder = self._places.folder
        mine = {
            CONTROL: ("servercert.pem", certified.control, "cacert.pem", certified.control_authority),
            DATA: ("data-cert.pem", certified.data, "data-cacert.pem", certified.data_authority),
        }
        bundles = {}
        for purpose, (name, certificate, authority_name, authority) in mine.items():
            key = _read(certificate_files.key_file(folder, purpose))
            certificate = certificate or _read(f"{folder}/{name}")
            authority = authority or _read(f"{folder}/{authority_name}")
            certificates.fingerprint(certificate)
            certificates.fingerprint(authority)
            if not certificates.belongs(certificate, key, authority):
                raise OperationError("this certificate is not for this host")
            bundles[purpose] = Bundle(key, certificate, authority)
        certificate_files.write(f"{folder}/data-cert.pem", bundles[DATA].certificate, 0o644)
        certificate_files.write(f"{folder}/data-cacert.pem", bundles[DATA].authority, 0o644)
        return _told(certificate_files.install(self._places, bundles))

    def undo(self) -> Installed:
        return _told(certificate_files.remove(self._places))


def _told(outcome: Outcome) -> Installed:
    return Installed(written=outcome.written, left=outcome.left, restart=outcome.restart)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(_LONGEST)
    except OSError as error:
        raise OperationError(f"{path}: {error.strerror}") from None


def _fingerprint(path: str) -> str:
    """"" where there is no certificate."""
    try:
        return certificates.fingerprint(_read(path))
    except XmError:
        return ""


def answer(read: IO[bytes], write: IO[bytes], places: Places, expects: str = "") -> None:
    """Be asked, until there is nothing more to READ."""
    local = LocalHost(places, expects)
    while line := read.readline(_LONGEST):
        try:
            said = _said(from_json(Asked, json.loads(line), "what is asked"), local)
        except XmError as error:
            said = {"error": error.line()}
        except (ValueError, RecursionError):
            said = {"error": "what is asked is no JSON"}
        write.write(json.dumps(said).encode() + b"\n")
        write.flush()


def _said(asked: Asked, local: LocalHost) -> dict[str, object]:
    if asked.do == "introduce":
        return {"ok": to_json(local.introduce())}
    if asked.do == "install":
        return {"ok": to_json(local.install(asked.of))}
    if asked.do == "undo":
        return {"ok": to_json(local.undo())}
    raise OperationError("this host does not know what is asked", hint="install the same xmcompat on both")


class OverSsh:
    """Another host, asked by the program SSH, which may ask for a password. A context manager."""

    def __init__(self, host: str, ssh: str) -> None:
        """Raises OperationError where ssh cannot be started."""
        if host.startswith("-") or not host.isprintable() or not host or " " in host:
            raise OperationError(f"'{host}' is no name of a host")
        self.host = host
        try:
            self._process = subprocess.Popen(
                [ssh, *_OPTIONS, "-T", "--", host, "xmcompat", "migrate", "enrol"], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise OperationError(f"{ssh}: {error.strerror}", hint="install the package openssh-client") from None

    def __enter__(self) -> OverSsh:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # what it has not read any more is of no use
            self._process.stdin.close()
        with self._process:  # closes its streams and waits
            if error is not None and not isinstance(error, Exception):
                self._process.terminate()

    def introduce(self) -> Introduced:
        return self._asked(Introduced, Asked(do="introduce"))

    def install(self, certified: Certified) -> Installed:
        return self._asked(Installed, Asked(do="install", of=certified))

    def undo(self) -> Installed:
        return self._asked(Installed, Asked(do="undo"))

    def _asked(self, kind: type[T], asked: Asked) -> T:
        """Raises OperationError for what the other host reports, or says in another way than it should."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(to_json(asked)).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it has ended; what it said says why
        said = self._answer()
        try:
            if "error" in said:
                raise OperationError(f"{self.host}: {str(said['error'])[:500]}")
            return from_json(kind, said.get("ok"), f"what {self.host} says")
        except NotOfForm as error:
            raise OperationError(error.message, hint="install the same xmcompat on both") from None

    def _answer(self) -> dict[str, object]:
        """The next line of JSON; a login shell may have said something before."""
        assert self._process.stdout is not None
        noise = 0
        while noise < _NOISE and (line := self._process.stdout.readline(_LONGEST)):
            if begins := _ANSWER.search(line):  # whoever spoke before may not have ended the line
                try:
                    found = json.loads(line[begins.start() :])
                except (ValueError, RecursionError):
                    break
                if isinstance(found, dict):
                    return found
            noise += len(line)
        raise OperationError(
            f"{self.host} does not answer", hint=f"can you type 'ssh {self.host} xmcompat --version' as this user?"
        )
