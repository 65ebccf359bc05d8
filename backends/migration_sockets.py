"""The connections over which a QEMU of this host sends a domain away: found exactly, and ended from outside.

Once the guest is paused, QEMU sends the rest with its main loop held up, and answers nobody. Where the other host is lost
just then, it waits until TCP gives up: a quarter of an hour. The kernel ends a connection at once (``ss -K``): QEMU's send
fails, it gives the migration up, and lets the guest go on here.

That never makes two. Whether a migration has failed or is over is one state of the source's QEMU. A connection that is
ended before leaves it failed, and libvirt's Perform with it; the other QEMU, which was started stopped, is let go by Finish
alone, which follows a Perform that was well. It is over once the other QEMU has said that it has everything, and then the
connection is closed: there is nothing left to end, whatever Finish does.

Not in post-copy, where the guest runs there and the connection is taken up again.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import TYPE_CHECKING, NamedTuple

from xmcompat import programs
from xmcompat.backends.call_thread import Call
from xmcompat.backends.libvirt_migration_errors import named_host
from xmcompat.backends.local_host import processes_with
from xmcompat.errors import HypervisorError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from xmcompat.backends.migration import Transfer

#: Without -p: which process has a socket is told by its descriptors, whatever it calls itself.
LISTING = ("ss", "-Hatne")
#: Seconds in which the name of the other host must have become addresses; it was asked for when the transfer began.
_NAMED = 5.0


class Connection(NamedTuple):
    """A TCP socket of this host. A port is 0 where it has none; ``inode`` is its number in /proc/PID/fd."""

    local: str
    local_port: int
    remote: str
    remote_port: int
    inode: int
    listens: bool = False


def connections(text: str) -> tuple[Connection, ...]:
    """Those that ``ss`` lists; what it does not say of a socket as wanted here is passed over. Pure."""
    found = []
    for line in text.splitlines():
        words = line.split()
        inode = next((word[4:] for word in words[5:] if word.startswith("ino:")), "")
        if len(words) > 5 and inode.isdigit():
            found.append(Connection(*_end(words[3]), *_end(words[4]), int(inode), words[0] == "LISTEN"))
    return tuple(found)


def _end(text: str) -> tuple[str, int]:
    """Address and port: ("2001:db8::1", 49152) of "[2001:db8::1]:49152"."""
    address, _, port = text.rpartition(":")
    return address.removeprefix("[").removesuffix("]"), int(port) if port.isdigit() else 0


def of_transfer(
    found: Iterable[Connection], owned: Collection[int], addresses: Collection[str], port: int = 0
) -> tuple[Connection, ...]:  # fmt: skip
    """Those of FOUND by which a domain goes to the host at ADDRESSES, by PORT where one was given. Pure.

    OWNED are the inodes of QEMU's sockets that it did not have before the transfer. A viewer of the guest's screen that
    runs there has come in by a port at which somebody listens here.
    """
    everything = tuple(found)
    doors = {one.local_port for one in everything if one.listens}
    wanted = {_plain(address) for address in addresses}
    return tuple(
        one for one in everything
        if one.inode in owned and not one.listens and one.local_port not in doors and _plain(one.remote) in wanted
        and port in (0, one.remote_port)
    )  # fmt: skip


def _plain(text: str) -> str:
    """An address as it is compared: without its device, and IPv4 as such where it is written as IPv6."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def ending(one: Connection) -> list[str]:
    """The command that has the kernel end it, and nothing else. Pure."""
    return ["ss", "-K", "-Htn", "src", _bracketed(one.local), "sport", "=", f":{one.local_port}",
            "dst", _bracketed(one.remote), "dport", "=", f":{one.remote_port}"]  # fmt: skip


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


class Sending:
    """The connections that QEMU makes from now on for the TRANSFER of the domain UUID."""

    def __init__(self, uuid: str, transfer: Transfer) -> None:
        """To be made before the transfer begins. Raises nothing."""
        self._words = ("-uuid", uuid)
        where = transfer.migrate_uri or transfer.uri
        self._host = named_host(where)
        told = where.rpartition(":")[2] if transfer.migrate_uri else ""
        self._port = int(told) if told.isdigit() and not transfer.copy else 0
        self._addresses: set[str] = set()
        self._named = Call(self._name)  # a name server may be lost with the other host
        try:
            self._before: set[int] | None = self._inodes()
        except OSError:
            self._before = None

    def _name(self) -> None:
        if self._host:
            self._addresses = {str(one[4][0]) for one in socket.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)}

    def _inodes(self) -> set[int]:
        """Of the sockets that QEMU has. Raises OSError."""
        found = set()
        for process in processes_with(self._words):
            for name in os.listdir(f"{process}/fd"):
                try:
                    link = os.readlink(f"{process}/fd/{name}")
                except FileNotFoundError:
                    continue  # closed meanwhile
                if link.startswith("socket:["):
                    found.add(int(link[8:-1]))
        return found

    def end(self) -> None:
        """Have the kernel end them; nothing where QEMU has closed them. Raises HypervisorError where that cannot be done,
        with what the operator can do."""
        for one in self._found():
            self._run(ending(one))
        if left := self._found():
            ends = ", ".join(sorted(f"{_bracketed(one.remote)}:{one.remote_port}" for one in left))
            raise self._error(f"this kernel does not end a connection from outside: {ends}", _SHORTER)

    def _found(self) -> tuple[Connection, ...]:
        if self._before is None:
            raise self._error("only root sees QEMU's connections", _AS_ROOT.format(self._typed()))
        self._named.ended(_NAMED)
        try:
            owned = self._inodes() - self._before
        except OSError as error:
            what = f"QEMU's connections cannot be seen: {error.strerror}"
            raise self._error(what, _AS_ROOT.format(self._typed())) from None
        return of_transfer(connections(self._run(LISTING)), owned, self._addresses, self._port)

    def _run(self, words: Iterable[str]) -> str:
        try:
            ended = programs.run(list(words), deadline=10.0)
        except programs.CannotRun as error:
            raise self._error(error.message, f"{error.hint or 'see to it'}, and type: {self._typed()}") from None
        said = programs.last_line(ended.complaint)
        if ended.status or "SOCK_DESTROY" in said:  # it complains of hosts without cgroups, too
            raise self._error(f"'{' '.join(words)}' failed: {said or ended.status}", _AS_ROOT.format(self._typed()))
        return ended.out

    def _typed(self) -> str:
        """What the operator types: the ports are those of libvirt, if qemu.conf there does not say otherwise."""
        at = _bracketed(min(self._addresses, default=self._host))
        return f"ss -tK dst {at} dport ge :49152 dport le :49215"

    def _error(self, what: str, hint: str) -> HypervisorError:
        return HypervisorError(f"QEMU waits for {self._host}, and stands still until TCP gives up: {what}", hint=hint)


_AS_ROOT = "as root, type: {}"
_SHORTER = "'sysctl net.ipv4.tcp_retries2=3' has TCP give up sooner, with all hosts that are silent; 15 is usual"
