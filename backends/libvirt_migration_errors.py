"""What libvirt says when a domain does not go to another host, in our words. Pure.

Its codes are too coarse to act on, so texts are looked at; what is not known is told as it is. None of this says which copy
runs: both ends have to be asked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.backends.libvirt_errors import ENDING, LOST, Failure
from xmcompat.backends.libvirt_servers import server_error
from xmcompat.errors import (
    DomainBusy,
    DomainEnding,
    DomainThere,
    HypervisorError,
    MigrationAborted,
    MigrationLost,
    MigrationRefused,
)
from xmcompat.ssh_complaints import meant

if TYPE_CHECKING:
    from collections.abc import Callable

    from xmcompat.backends.migration import Transfer

OPERATION_ABORTED = 78
OPERATION_INVALID = 55

#: What its ssh has said, which is the last of it that is told.
_SSH = re.compile(
    r"(ssh: .*?|Host key verification failed\.|Permission denied \([a-z,-]*(?:publickey|password|interactive)[a-z,-]*\)\.?)"
    r"(?:: Connection reset by peer)?$",
    re.MULTILINE,
)
#: What is said when the other host, its libvirtd or its QEMU goes away in the middle.
GONE = (
    *LOST, "unexpectedly closed the monitor", "load of migration failed", "Lost connection to destination host",
    "no domain with matching",
)  # fmt: skip
#: What libvirt says here of a domain that has been ended here, and what it passes on of one that was ended there.
OF_EITHER = ("no domain with matching uuid", "domain is no longer running")
SETUP = "run 'xmcompat migrate setup {host}'"


class Refusal(NamedTuple):
    """What a text of libvirt's means: a pattern of it, our message, with the pattern's groups and the HOST, a hint, and the
    error's class."""

    pattern: str
    message: str
    hint: str | None = None
    kind: type[HypervisorError] = MigrationRefused


REFUSALS = (
    Refusal(r"Unable to resolve address '([^']*)'", "Cannot find the address of {0}",
            "give it to this host's /etc/hosts, or to its name server"),
    Refusal(r"unable to connect to server at '([^']*)': (.*)", "Cannot connect to {0}: {1}",
            "libvirtd, or QEMU, must be reachable there: " + SETUP),
    Refusal(r"Cannot read (?:[\w ]*certificate|private key) '([^']*)'", "There is no {0} here, for TLS to {host}", SETUP),
    Refusal(r"peer's certificate|TLS handshake failed|[Cc]ertificate .*(?:expired|trusted|issuer|revoked|valid|owner)",
            "The certificates of {host} and of this host do not fit each other", SETUP),
    Refusal(r"Attempt to migrate guest to the same host", "{host} is this host itself"),
    Refusal(r"domain '([^']*)' already exists with uuid (\S+)", "{host} has another domain '{0}', with the uuid {1}",
            "rename or delete one of the two", DomainThere),
    Refusal(r"domain '([^']*)' is already defined with uuid (\S+)", "{host} has a domain of the same uuid, '{0}'",
            "rename it to that, or give it another uuid", DomainThere),
    Refusal(r"domain '([^']*)' is already active|domain is already active as '([^']*)'",
            "{host} runs a domain '{0}' already", kind=DomainThere),
    Refusal(r"Cannot get interface MTU on '([^']*)'", "{host} has no bridge {0}", "make it there, with 'xmcompat network'"),
    Refusal(r"Cannot access (?:storage|backing) file '([^']*)'[^:]*(?::\d+)?(?:, gid:\d+\))?: ([^\n]*)",
            "{host} cannot open the disk {0}: {1}"),
    Refusal(r"no storage pool with matching target path '([^']*)'",
            "{host} has nothing in {0} to which a disk could be copied"),
    Refusal(r"Failed to get (?:shared )?\"[a-z ]+\" lock", "A disk is in use on {host}"),
    Refusal(r"Lockspace resource '([^']*)' is locked", "The disk {0} is leased to another guest"),
    Refusal(r"guest CPU doesn't match specification: (.*)", "{host} has not the processor that the guest runs on: {0}",
            "give the guest a model that both have"),
    Refusal(r"Unsafe migration: (.*)", "{0}", "the disks must be the same on both hosts, and without a cache"),
    Refusal(r"[Cc]annot migrate (?:a )?domain with (.*)", "A domain with {0} cannot go to another host"),
    Refusal(r"Failed to bind socket: (.*)", "{host} cannot wait for the guest: {0}",
            "the address is not one of its own, or its ports are taken"),
)  # fmt: skip


def not_migrated(failure: Failure, transfer: Transfer, is_here: Callable[[], bool] = lambda: True) -> HypervisorError:
    """An error of the TRANSFER, while this host's own libvirtd answers. IS_HERE says whether the domain is still active
    here, and is called where the text alone does not tell."""
    if failure.code == OPERATION_ABORTED or failure.has("canceled by client"):
        return MigrationAborted("The migration was given up")
    if failure.has("migration is still running", "actively monitored by another thread"):
        return DomainBusy("The migration goes on by itself")
    if failure.has("another migration job is already running", "cannot acquire state change lock"):
        return DomainBusy("The domain is being migrated, or busy with something else", hint="try again later")
    if re.search(r"domain( '.*')? is not running", failure.text):
        return DomainEnding(failure.line)
    if failure.has(*OF_EITHER) and not is_here():
        return DomainEnding(failure.line)
    host = named_host(transfer.uri) or "the other host"
    if transfer.uri.startswith("qemu+ssh:") and (complained := _SSH.search(failure.text)):
        return _not_by_ssh(failure.text[: complained.end(1)], host)
    for refusal in REFUSALS:
        found = re.search(refusal.pattern, failure.text, re.MULTILINE)
        if found:
            groups = [group for group in found.groups() if group is not None]
            hint = refusal.hint and refusal.hint.format(host=host)
            return refusal.kind(refusal.message.format(*groups, host=host), hint=hint)
    refused = server_error(failure.text, ()) if failure.has("iSCSI: ", "no secret with matching usage") else None
    if refused is not None:
        return MigrationRefused(f"{host} does not take the domain: {refused.message}")
    if failure.has(*GONE, *ENDING):
        return MigrationLost(f"{host} was lost on the way: {failure.line}")
    return MigrationRefused(f"{host} does not take the domain: {failure.line}")


def _not_by_ssh(text: str, host: str) -> MigrationRefused:
    """Of TEXT, which ends with what ssh has said: not that of xm, but libvirtd's own."""
    said = meant(text.partition("Cannot recv data: ")[2] or text, host)
    hint = f"libvirtd runs ssh by itself, as root and without an agent: {said.hint}" if said.of_keys else said.hint
    return MigrationRefused(f"Cannot reach {host} by ssh: {said.message.removeprefix('ssh: ')}", hint=hint)


def named_host(uri: str) -> str:
    """The host that a URI names, "" where it names none: "host2" of "qemu+tls://root@host2:16514/system"."""
    authority = uri.partition("://")[2].partition("/")[0].rpartition("@")[2]
    return authority[1:].partition("]")[0] if authority.startswith("[") else authority.partition(":")[0]
