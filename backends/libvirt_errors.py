"""libvirt's errors in our words. Pure: (code, domain, message) in, an error of ``xmcompat.errors`` out.

libvirt's codes are coarse (1, 9 and 38 stand for nearly everything), so texts are looked at as well; they are
libvirt's and QEMU's own, untranslated since xm runs in the C locale.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from xmcompat.backends.libvirt_servers import server_error
from xmcompat.backends.libvirt_starts import without_reason
from xmcompat.errors import (
    ConnectionLost,
    ConsoleBusy,
    DeviceError,
    DiskBusy,
    DiskRefused,
    DomainBusy,
    DomainEnding,
    DomainNotFound,
    HypervisorError,
    HypervisorUnreachable,
    XmError,
)
from xmcompat.vdev import vdev_number

# libvirt's numbers (virErrorNumber, virErrorDomain); they never change
INTERNAL_ERROR = 1
NO_CONNECT = 5
INVALID_CONN = 6
OPERATION_FAILED = 9
SYSTEM_ERROR = 38
RPC = 39
NO_DOMAIN = 42
AUTH_FAILED = 45
OPERATION_INVALID = 55
AUTH_CANCELLED = 79
NO_DOMAIN_METADATA = 80
AUTH_UNAVAILABLE = 93
FROM_RPC = 7

START_HINT = "start {daemon} (systemctl start {daemon}), or set XMCOMPAT_URI"
LOST = (
    "client socket is closed", "End of file while reading data", "Cannot write data", "Cannot recv data",
    "Unable to read from socket", "Unable to write to socket", "Connection reset by peer", "Broken pipe",
    "connection was not responding", "received hangup event",
)  # fmt: skip
#: What is said of a domain that ends, or whose QEMU does, while something is asked of it.
ENDING = (
    "domain is not running", "domain is no longer running", "Unable to read from monitor", "Unable to write to monitor",
    "End of file from qemu monitor", "End of file from monitor", "unexpectedly closed the monitor",
    "monitor was closed", "guest unexpectedly quit", "domain is being destroyed",
)  # fmt: skip
DENIED = ("Permission denied", "Operation not permitted", "access denied", "authentication")


class LibvirtError(Protocol):
    """What is used of libvirt's exception."""

    def get_error_code(self) -> int | None: ...

    def get_error_domain(self) -> int | None: ...

    def get_error_message(self) -> str | None: ...


class Failure:
    """What libvirt reported: numbers and one line of text."""

    def __init__(self, code: int | None, domain: int | None, message: str) -> None:
        self.code = code or 0
        self.domain = domain or 0
        self.text = message

    @property
    def line(self) -> str:
        return one_line(self.text)

    def has(self, *parts: str) -> bool:
        return any(part in self.text for part in parts)


def failure_of(error: LibvirtError) -> Failure:
    return Failure(error.get_error_code(), error.get_error_domain(), error.get_error_message() or str(error))


def one_line(message: str) -> str:
    """The line of a message that says what is wrong, without the noise QEMU and libvirt put before it."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return "unknown error"
    if "qemu-system" in message:
        # "2024-01-01T00:00:00.0Z qemu-system-x86_64: -blockdev {...}: What is wrong"
        reports = [line for line in lines if re.search(r"qemu-system-\S+: ", line) and ": warning: " not in line]
        if reports:
            told = re.sub(r"^.*?qemu-system-\S+: ", "", reports[-1])
            return re.sub(r"^-\S+ (\{.*?\}|\S+): ", "", told)
    return lines[-1].removeprefix("internal error: ") if len(lines) == 1 else " ".join(lines)


def unreachable(failure: Failure, uri: str, *, euid: int) -> HypervisorUnreachable:
    """An error of opening a connection. The beginnings are xm's own, for scripts; the hint is ours."""
    socket = _socket(failure.text)
    daemon = "virtqemud" if "virtqemud" in socket else "libvirtd"
    denied = failure.has(*DENIED) or failure.code in (AUTH_FAILED, AUTH_CANCELLED, AUTH_UNAVAILABLE)
    if euid != 0 and denied:
        return HypervisorUnreachable(
            "Most commands need root access. Please try again as root.",
            hint="members of the group libvirt need not be root",
        )
    if euid != 0 and socket:
        return HypervisorUnreachable("Most commands need root access. Please try again as root.")
    for reason in ("No such file or directory", "Connection refused"):
        if socket and reason in failure.text:
            return HypervisorUnreachable(
                f"Unable to connect to xend: {reason}. Is xend running?", hint=START_HINT.format(daemon=daemon)
            )
    if failure.code == NO_CONNECT:
        return HypervisorUnreachable(
            f"Unable to connect to xend: {failure.line}.", hint="install libvirt-daemon-system, or set XMCOMPAT_URI"
        )
    return HypervisorUnreachable(f"Unable to connect to xend: {failure.line}.", hint=f"the hypervisor is {uri}")


def _socket(text: str) -> str:
    found = re.search(r"Failed to connect socket to '([^']*)'", text)
    return found.group(1) if found else ""


def is_lost(failure: Failure) -> bool:
    """Whether the connection went away in the middle of a call."""
    return failure.code == INVALID_CONN or (failure.domain == FROM_RPC and failure.has(*LOST))


def lost(uri: str) -> ConnectionLost:
    """Differs from xm: it spoke of HTTP after the exclamation mark."""
    return ConnectionLost(
        f"Xend has probably crashed!  The connection to {uri} was lost", hint="see the log of libvirtd, and try again"
    )


def refused(failure: Failure, uri: str, designation: str = "") -> XmError:
    """An error of any call about the domain DESIGNATION, but for ``create``."""
    if is_lost(failure):
        return lost(uri)
    if failure.code == NO_DOMAIN:
        return DomainNotFound(designation)
    if failure.has(*ENDING):
        return DomainEnding(failure.line)
    if failure.has("cannot acquire state change lock"):
        return DomainBusy("The domain is busy with something else", hint="try again later")
    if failure.has("Active console session exists", "is locked by lock file"):
        return ConsoleBusy("The console is open elsewhere", hint="close it there first")
    return HypervisorError(failure.line)


def not_created(failure: Failure, uri: str, bridges: Sequence[str], disks: Sequence[tuple[str, str]]) -> XmError:
    """An error of ``create``, but for a name that is taken.

    BRIDGES are those of the guest's interfaces, in order; DISKS its (path, Xen's name of the device, or QEMU's).
    """
    if is_lost(failure):
        return lost(uri)
    return (
        _bridge_error(failure, bridges)
        or disk_error(failure, disks)
        or leased(failure, disks)
        or server_error(failure.text, disks)
        or _nfs_error(failure, disks)
        or _filter_error(failure)
        or _kvm_error(failure)
        or _memory_error(failure)
        or without_reason(failure)
        or HypervisorError(failure.line)
    )


def is_taken(failure: Failure) -> bool:
    """Whether name or uuid of a new domain belong to another one, there or just being made."""
    return failure.code in (OPERATION_FAILED, OPERATION_INVALID) and failure.has(
        "already exists with uuid", "is already defined with uuid", "already active", "already being started"
    )


def _bridge_error(failure: Failure, bridges: Sequence[str]) -> DeviceError | None:
    found = re.search(
        r"Cannot get interface MTU on '([^']*)'|Unable to add bridge (\S+) port|"
        r"[Ff]ailed to add tap interface to bridge '([^']*)'",
        failure.text,
    )
    if not found:
        return None
    bridge = next(name for name in found.groups() if name)
    index = bridges.index(bridge) if bridge in bridges else 0
    return DeviceError(f"Device {index} (vif) could not be connected. Could not find bridge device {bridge}")


def disk_error(failure: Failure, disks: Sequence[tuple[str, str]]) -> DiskRefused | None:
    """The error of a disk that may not be opened; None for another's. DISKS are as for ``not_created``."""
    found = re.search(
        r"Cannot access (?:storage|backing) file '([^']*)'[^:]*(?::\d+)?(?:, gid:\d+\))?: ([^\n]*)|"
        r"[Uu]nable to set user and group to '[^']*' on '([^']*)': ([^\n]*)|"
        r"Could not open '([^']*)': ([^\n]*)",
        failure.text,
    )
    locked = re.search(r"Failed to get (?:shared )?\"[a-z ]+\" lock", failure.text)
    if found:
        path, reason = (one for one in found.groups() if one is not None)
        why = f"{path}: {reason}"
    elif locked:
        image = re.search(r"using the image \[([^\]]*)\]", failure.text)
        path = image.group(1) if image else disks[0][0] if len(disks) == 1 else ""
        reason = "is in use by another guest or program"
        why = f"{path or 'its image'} {reason}"
    else:
        return None
    name = next((name for known, name in disks if known == path), "")
    device = vdev_number(name) or name
    return DiskRefused(
        f"Device {device or path} (vbd) could not be connected. {why}", path=path, reason=reason, user=_user(failure.text)
    )


def leased(failure: Failure, disks: Sequence[tuple[str, str]]) -> DiskBusy | None:
    """What libvirt's lock manager has refused. Its leases are called by the path of the disk, or by the hash of that; those
    of volumes of LVM and SCSI by ids that tell nothing, but for a guest of one disk. DISKS are as for ``not_created``."""
    found = re.search(r"Lockspace resource '([^']*)' is locked", failure.text)
    if not found:
        return None
    import hashlib

    named = (one for one in disks if found[1] in (one[0], hashlib.sha256(one[0].encode()).hexdigest()))
    path, name = next(named, disks[0] if len(disks) == 1 else ("", ""))
    device = f"Device {vdev_number(name) or name} (vbd)" if path else "A device (vbd)"
    return DiskBusy(
        f"{device} could not be connected.\nDevice {path or found[1]} is mounted in a guest domain,\n"
        "and so cannot be mounted now.",
        hint="libvirt's lock manager says so: a guest of another host has it, or one of another libvirt here",
    )


def _nfs_error(failure: Failure, disks: Sequence[tuple[str, str]]) -> DeviceError | None:
    """What QEMU says of a disk that it asks an NFS server for; the server's answers have the names of the protocol."""
    asked = re.search(r'"driver": ?"nfs",.*?"host": ?"([^"]*)".*?"path": ?"([^"]*)"', failure.text)
    if not asked or not failure.has("Failed to mount nfs share", "Failed to open file", "Failed to fstat file"):
        return None
    url = f"nfs://{asked[1]}{asked[2]}"
    answers = ((why, hint) for parts, why, hint in _NFS_ANSWERS if failure.has(*parts))
    why, hint = next(answers, (failure.line, None))
    name = next((name for known, name in disks if known == url), "")
    return DeviceError(f"Device {vdev_number(name) or name or url} (vbd) could not be connected. {url}: {why}", hint=hint)


_NFS_ANSWERS = (
    (("MNT3ERR_ACCES", "MNT3ERR_PERM"), "the server does not export it to QEMU on this host",
     "export it to this host, as 'insecure'"),
    (("MNT3ERR_NOENT", "NFS3ERR_NOENT"), "the server has no such file, or does not export its directory", "mend the path"),
    (("NFS3ERR_ACCES", "NFS3ERR_PERM", "NFS3ERR_ROFS", "ACCESS denied"), "the server does not let QEMU's user have it",
     "write ?uid=N&gid=N of the file's owner after it"),
    (("nfs_service failed", "RPC error", "Connection refused", "timed out"), "no NFS server answers there",
     "QEMU needs NFS version 3 and rpcbind on the server"),
)  # fmt: skip


def _user(text: str) -> tuple[int, int] | None:
    """QEMU's user and group, where libvirt says them."""
    found = re.search(r"uid:(\d+), gid:(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _filter_error(failure: Failure) -> HypervisorError | None:
    """An interface with ip= is held to its address by a filter that is a package of its own."""
    found = re.search(r"referenced filter '([^']*)' is missing", failure.text)
    if not found:
        return None
    return HypervisorError(
        f"A vif with ip= needs libvirt's filter '{found.group(1)}', which this host does not have",
        hint="install libvirt-daemon-config-nwfilter and restart libvirtd",
    )


def _kvm_error(failure: Failure) -> HypervisorError | None:
    if failure.has(
        "type=kvm", "virt type 'kvm'", "Could not access KVM", "failed to initialize kvm", "failed to initialize KVM",
        "failed to set MSR", "KVM is not supported", "KVM not supported", "domain type kvm", "'kvm' is not supported",
    ):  # fmt: skip
        return HypervisorError(f"KVM does not work here: {failure.line}", hint="set XMCOMPAT_ACCELERATOR=tcg")
    return None


def _memory_error(failure: Failure) -> HypervisorError | None:
    if failure.has("Cannot allocate memory", "cannot set up guest memory"):
        return HypervisorError(f"Not enough memory on the host: {failure.line}")
    return None
