"""The certificates by which hosts know each other, made by openssl.

There are two authorities, so that a guest that breaks out into its QEMU cannot act as a host: CONTROL is for those who
speak to libvirt and to xend, DATA for the memory that QEMU sends, which QEMU's user must be able to read. A host's own keys
are made on it and never leave it; what travels is public.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import ssl
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from xmcompat import programs
from xmcompat.errors import XmError

CONTROL, DATA = "control", "data"
PURPOSES = (CONTROL, DATA)

#: Days for which certificates are good: as long as hosts are; ``migrate setup`` makes new ones at any time.
DAYS = 3650
#: Characters of a certificate or public key at most.
LARGEST = 16_384

_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")
_REQUEST = """\
[req]
distinguished_name = name
x509_extensions = authority
prompt = no
[name]
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
#: Server and client at once: each host is both. libvirt wants keyEncipherment, whatever kind of key it is.
_HOST = """\
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


class CertificateError(XmError):
    """openssl fails, or what was given to it is no key or certificate."""


class Authority(NamedTuple):
    """Files of an authority: its private key, which nobody else may read, and its certificate."""

    key: str
    certificate: str


def is_name(name: str) -> bool:
    """Whether NAME can stand in a certificate as the name of a host."""
    return len(name) <= 253 and _NAME.fullmatch(name) is not None and not _is_address(name)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def new_key() -> str:
    """A private key, in PEM. Raises CertificateError, CannotRun."""
    return _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


def public_of(key: str) -> str:
    """The public key, in PEM, of the private KEY. Raises CertificateError, CannotRun."""
    return _openssl("pkey", "-pubout", text=key)


def new_authority(key_file: str, name: str) -> str:
    """The certificate of a new authority called NAME that has its key in KEY_FILE. Raises CertificateError, CannotRun."""
    with tempfile.TemporaryDirectory(prefix="xmcompat-") as folder:
        config = _written(folder, "request", _REQUEST.format(name=name))
        return _openssl(
            "req", "-x509", "-new", "-key", key_file, "-config", config, "-sha256", "-days", str(DAYS),
            "-set_serial", _serial(),
        )  # fmt: skip


def signed(authority: Authority, public: str, names: Sequence[str], addresses: Sequence[str]) -> str:
    """A certificate for the host that has the PUBLIC key and is called by NAMES, the first one its own, and ADDRESSES.

    Raises CertificateError, also for a name or address that is none, and CannotRun.
    """
    wrong = [name for name in names if not is_name(name)] + [one for one in addresses if not _is_address(one)]
    if wrong or not names:
        raise CertificateError(f"'{wrong[0] if wrong else ''}' cannot stand in a certificate")
    refuse_no_public(public)
    listed = ", ".join((*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)))
    with tempfile.TemporaryDirectory(prefix="xmcompat-") as folder:
        config = _written(folder, "request", _REQUEST.format(name=names[0][:64]))
        wanted = _written(folder, "wanted", _openssl("req", "-new", "-key", authority.key, "-config", config))
        return _openssl(
            "x509", "-req", "-in", wanted, "-force_pubkey", _written(folder, "public", public),
            "-CA", authority.certificate, "-CAkey", authority.key, "-set_serial", _serial(), "-sha256",
            "-days", str(DAYS), "-extfile", _written(folder, "extensions", _HOST.format(names=listed)),
        )  # fmt: skip


def refuse_no_public(text: str) -> None:
    """Raises CertificateError where TEXT is no public key in PEM alone."""
    body = r"-----BEGIN PUBLIC KEY-----\n(?:[A-Za-z0-9+/=]+\n)+-----END PUBLIC KEY-----\n"
    if len(text) > LARGEST or not re.fullmatch(body, text):
        raise CertificateError("this is no public key")


def fingerprint(certificate: str) -> str:
    """What tells the CERTIFICATE, in PEM, from all others. Raises CertificateError where it is none."""
    try:
        if len(certificate) > LARGEST or certificate.count("-----BEGIN") != 1:
            raise ValueError
        return sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()
    except ValueError:
        raise CertificateError("this is no certificate") from None


def belongs(certificate: str, key: str, authority: str) -> bool:
    """Whether the CERTIFICATE is of the AUTHORITY (a certificate) and for the private KEY; all in PEM."""
    try:
        with tempfile.TemporaryDirectory(prefix="xmcompat-") as folder:
            _openssl("verify", "-CAfile", _written(folder, "authority", authority), _written(folder, "own", certificate))
        return _openssl("x509", "-pubkey", "-noout", text=certificate) == public_of(key)
    except CertificateError:
        return False


def _serial() -> str:
    return str(secrets.randbits(120) | 1)


def _written(folder: str, name: str, text: str) -> str:
    path = os.path.join(folder, name)
    with open(path, "w", encoding="ascii", errors="strict") as file:
        file.write(text)
    return path


def _openssl(*words: str, text: str = "") -> str:
    """What openssl says. Raises CertificateError with its last line, CannotRun where it is missing."""
    done = programs.run(("openssl", *words), text=text)
    if done.status:
        raise CertificateError(f"openssl {words[0]}: {_reason(done.complaint)}")
    return done.out


def _reason(complaint: str) -> str:
    """The words of openssl that mean something: it puts addresses and codes around them."""
    line = programs.last_line(complaint)
    parts = line.split(":")
    return parts[5] if len(parts) > 6 and parts[1] == "error" else line or "it fails"
