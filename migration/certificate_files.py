"""Where the certificates of hosts lie: for xmcompat itself, for libvirt's own listener, and for QEMU.

    FOLDER/                    cacert servercert serverkey clientcert clientkey (.pem), as libvirt's pkipath= wants them
    PKI/CA, PKI/libvirt        the same for libvirt: "virsh -c qemu+tls://HOST/system" finds them there
    PKI/libvirt-migrate        those of QEMU, by another authority; QEMU's user may read them (or where qemu.conf says,
                               migrate_tls_x509_cert_dir)

What others have put there is left as it is. What is written is noted with its digest, and ``remove`` takes that away alone.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.errors import OperationError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

QEMU_CONF = "/etc/libvirt/qemu.conf"
#: The users that distributions have QEMU run as.
_QEMU_USERS = ("libvirt-qemu", "qemu")
_NOTE = "installed.json"
_QEMU_FOLDER = "libvirt-migrate"
_OWN = ("cacert.pem", "servercert.pem", "serverkey.pem", "clientcert.pem", "clientkey.pem")
_OF_DATA = ("data-key.pem", "data-cert.pem", "data-cacert.pem")


class Places(NamedTuple):
    """``folder`` is xmcompat's own, ``pki`` that of libvirt and QEMU, ``qemu_conf`` QEMU's settings in libvirt."""

    folder: str
    pki: str
    qemu_conf: str = QEMU_CONF


class Bundle(NamedTuple):
    """What one host has for one purpose, in PEM: its private key, its certificate, and that of the authority."""

    key: str
    certificate: str
    authority: str


class Outcome(NamedTuple):
    """Paths that were ``written`` (or removed), and those that were ``left`` since they are somebody else's. ``restart``:
    libvirtd finds QEMU's certificates once it is started anew."""

    written: tuple[str, ...]
    left: tuple[str, ...] = ()
    restart: bool = False


class _File(NamedTuple):
    path: str
    text: str
    mode: int = 0o644
    group: int = 0


def key_file(folder: str, purpose: str) -> str:
    """Where a host's own key for PURPOSE is made."""
    from xmcompat.migration.certificates import CONTROL

    return f"{folder}/serverkey.pem" if purpose == CONTROL else f"{folder}/data-key.pem"


def install(places: Places, bundles: Mapping[str, Bundle]) -> Outcome:
    """Write them all, each at once; a group of files in which one is somebody else's is left. Raises OperationError."""
    noted = _noted(places.folder)
    qemu = _qemu_folder(places)
    fresh = not os.path.isdir(qemu)
    written: list[str] = []
    left: list[str] = []
    for files in _groups(places, bundles):
        foreign = [file.path for file in files if _is_foreign(file.path, places.folder, noted)]
        if foreign:
            left += foreign
            continue
        for file in files:  # noted before they are there: who is killed in between must not take them for somebody else's
            noted.digests[file.path] = {*noted.digests.get(file.path, ()), _digest(file.text)}
        _note(places.folder, noted)
        for file in files:
            if write(file.path, file.text, file.mode, file.group, made=noted.folders):
                written.append(file.path)
            noted.digests[file.path] = {_digest(file.text)}
        _note(places.folder, noted)
    restart = fresh and any(path.startswith(f"{qemu}/") for path in written)
    return Outcome(tuple(written), tuple(left), restart)


def remove(places: Places) -> Outcome:
    """Take away what ``install`` has written and nobody has changed since, keys included. May be repeated."""
    noted = _noted(places.folder)
    gone: list[str] = []
    left: list[str] = []
    own = [f"{places.folder}/{name}" for name in (*_OWN, *_OF_DATA)]
    for path in dict.fromkeys((*noted.digests, *own)):
        with suppress(OSError):
            os.unlink(_fresh(path))  # by one that was killed
        if not os.path.lexists(path):
            continue
        if _is_foreign(path, places.folder, noted):
            left.append(path)
        else:
            os.unlink(path)
            gone.append(path)
    with suppress(FileNotFoundError):
        os.unlink(f"{places.folder}/{_NOTE}")
    for folder in reversed(noted.folders):
        with suppress(OSError):
            os.rmdir(folder)
    return Outcome(tuple(gone), tuple(left))


def _groups(places: Places, bundles: Mapping[str, Bundle]) -> Iterator[list[_File]]:
    from xmcompat.migration.certificates import CONTROL, DATA

    control, data = bundles[CONTROL], bundles[DATA]
    own, libvirt, qemu = places.folder, f"{places.pki}/libvirt", _qemu_folder(places)
    yield [
        _File(f"{own}/cacert.pem", control.authority),
        *(_File(f"{own}/{role}cert.pem", control.certificate) for role in ("server", "client")),
        *(_File(f"{own}/{role}key.pem", control.key, 0o600) for role in ("server", "client")),
    ]
    yield [
        _File(f"{places.pki}/CA/cacert.pem", control.authority),
        *(_File(f"{libvirt}/{role}cert.pem", control.certificate) for role in ("server", "client")),
        *(_File(f"{libvirt}/private/{role}key.pem", control.key, 0o600) for role in ("server", "client")),
    ]
    group = qemu_group(places.qemu_conf)
    mode = 0o640 if group else 0o600
    yield [
        _File(f"{qemu}/ca-cert.pem", data.authority),
        *(_File(f"{qemu}/{role}-cert.pem", data.certificate) for role in ("server", "client")),
        *(_File(f"{qemu}/{role}-key.pem", data.key, mode, group) for role in ("server", "client")),
    ]


def _qemu_folder(places: Places) -> str:
    """Where QEMU looks for them."""
    return _settings(places.qemu_conf).get("migrate_tls_x509_cert_dir") or f"{places.pki}/{_QEMU_FOLDER}"


def qemu_group(conf: str = QEMU_CONF) -> int:
    """The group of the user that libvirt has QEMU run as; 0 for root."""
    import grp
    import pwd

    settings = _settings(conf)
    with suppress(KeyError, ValueError):
        if group := settings.get("group", "").removeprefix("+"):
            return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    names = (settings["user"].removeprefix("+"),) if settings.get("user") else _QEMU_USERS
    for name in names:
        with suppress(KeyError):
            return (pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)).pw_gid
    return 0


def _settings(conf: str) -> dict[str, str]:
    try:
        with open(conf, encoding="utf-8", errors="surrogateescape") as file:
            return dict(re.findall(r'^\s*(\w+)\s*=\s*"([^"]*)"', file.read(), re.MULTILINE))
    except OSError:
        return {}


# -- written and noted


class _Noted(NamedTuple):
    """``digests`` that each path may have: two while another one takes its place."""

    digests: dict[str, set[str]]
    folders: list[str]


def _noted(folder: str) -> _Noted:
    import json

    try:
        with open(f"{folder}/{_NOTE}", encoding="utf-8") as file:
            found = json.load(file)
        digests = {str(path): set(map(str, some)) for path, some in found["files"].items()}
        return _Noted(digests, list(map(str, found["folders"])))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return _Noted({}, [])


def _note(folder: str, noted: _Noted) -> None:
    import json

    files = {path: sorted(some) for path, some in noted.digests.items()}
    write(f"{folder}/{_NOTE}", json.dumps({"files": files, "folders": noted.folders}), 0o600)


def _is_foreign(path: str, folder: str, noted: _Noted) -> bool:
    """Whether somebody else has written the file; all in our own FOLDER is ours."""
    if path.startswith(f"{folder}/"):
        return False
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return _digest(file.read()) not in noted.digests.get(path, ())
    except FileNotFoundError:
        return os.path.islink(path)
    except OSError:
        return True


def _digest(text: str) -> str:
    from hashlib import sha256

    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def write(path: str, text: str, mode: int, group: int = 0, *, made: list[str] | None = None) -> bool:
    """Have TEXT at PATH, for nobody but MODE and GROUP at any moment; False where it was so. MADE gets the folders that had
    to be made. Raises OperationError."""
    try:
        _make_folders(os.path.dirname(path), made)
        found = os.stat(path) if os.path.exists(path) else None
        if found and (found.st_mode & 0o777, found.st_gid) == (mode, group) and _reads(path, text):
            return False
        fresh = _fresh(path)
        with suppress(FileNotFoundError):
            os.unlink(fresh)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            os.fchown(file.fileno(), -1, group)
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, path)
    except OSError as error:
        hint = "only root may do that" if isinstance(error, PermissionError) else None
        raise OperationError(f"{error.filename or path}: {error.strerror}", hint=hint) from None
    return True


def _fresh(path: str) -> str:
    """Where what is to be at PATH is written first."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.xmcompat")


def _reads(path: str, text: str) -> bool:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read() == text


def _make_folders(folder: str, made: list[str] | None) -> None:
    missing = []
    while folder and not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for path in reversed(missing):
        os.mkdir(path, 0o700 if path.endswith("/private") else 0o755)
        if made is not None and path not in made:
            made.append(path)


# -- used


def is_certified(folder: str) -> bool:
    """Whether there are certificates in FOLDER for speaking to other hosts."""
    return all(os.path.exists(f"{folder}/{name}") for name in _OWN)


def is_encrypting(pki: str, qemu_conf: str = QEMU_CONF) -> bool:
    """Whether QEMU has certificates for what it sends, ours or somebody else's.

    Source: libvirt's qemu.conf, "migrate_tls_x509_cert_dir".
    """
    settings = _settings(qemu_conf)
    own = settings.get("migrate_tls_x509_cert_dir")
    usual = settings.get("default_tls_x509_cert_dir") or f"{pki}/qemu"
    folder = own or (f"{pki}/{_QEMU_FOLDER}" if os.path.isdir(f"{pki}/{_QEMU_FOLDER}") else usual)
    return all(os.path.exists(f"{folder}/{name}.pem") for name in ("ca-cert", "client-cert", "client-key"))


def client_context(folder: str) -> ssl.SSLContext:
    """For speaking to hosts that have a certificate of the same authority. Raises OperationError."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _with(context, f"{folder}/cacert.pem", f"{folder}/clientcert.pem", f"{folder}/clientkey.pem")


def server_context(folder: str, certificate: str = "", key: str = "") -> ssl.SSLContext:
    """For hosts that have a certificate of the same authority, and no others; CERTIFICATE and KEY take the place of this
    host's own. Raises OperationError."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # libvirt takes what follows the handshake for its own
    return _with(
        context, f"{folder}/cacert.pem", certificate or f"{folder}/servercert.pem", key or f"{folder}/serverkey.pem"
    )


def _with(context: ssl.SSLContext, authority: str, certificate: str, key: str) -> ssl.SSLContext:
    import ssl

    context.minimum_version = ssl.TLSVersion.TLSv1_2
    at = certificate
    try:
        context.load_cert_chain(certificate, key)
        at = authority
        context.load_verify_locations(authority)
    except (OSError, ssl.SSLError) as error:  # an SSLError is an OSError, too
        missing = isinstance(error, FileNotFoundError)
        why = "there is no such file" if missing else getattr(error, "reason", None) or error.strerror or str(error)
        hint = "xmcompat migrate setup HOST makes them"
        raise OperationError(f"the certificates of this host cannot be used: {at}: {why}", hint=hint) from None
    return context
