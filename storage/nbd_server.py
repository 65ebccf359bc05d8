"""Serves a disk made of volumes to QEMU, by NBD on a Unix socket: ``python -m xmcompat.storage.nbd_server``.

All that it works with is open when it starts: the socket, the volumes, the locks; standard input says which is which. It
ends when its last client has gone, or when none has come for a time. Reads that the host has in memory are answered at
once; what waits for a disk waits in threads, so that one slow volume does not hold up the others.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

from xmcompat.storage import nbd_wire as wire
from xmcompat.storage.joined import Joined, OpenVolume
from xmcompat.storage.partitions import Volume, layout

#: Seconds in which the first client must come: what was to start QEMU has died otherwise.
PATIENCE = 120.0
_THREADS = 16
_ERRORS = {errno.EPERM: wire.EPERM, errno.EACCES: wire.EPERM, errno.EROFS: wire.EPERM, errno.ENOSPC: wire.ENOSPC,
           errno.EDQUOT: wire.ENOSPC, errno.EFBIG: wire.ENOSPC, errno.EINVAL: wire.EINVAL}  # fmt: skip


class Work(NamedTuple):
    """What the server is told: open files by their numbers. ``busy`` is locked while a client is there."""

    listener: int
    busy: int
    identity: str
    volumes: list[tuple[int, int, int, bool, bool]]  # number, fd, size in bytes, swap, read-only

    def disk(self) -> Joined:
        plan = layout([Volume(number, size, swap) for number, _, size, swap, _ in self.volumes], self.identity)
        return Joined(plan, [OpenVolume(number, fd, readonly) for number, fd, _, _, readonly in self.volumes])


class _Gone(Exception):
    """The client has closed the connection, or says what no client may."""


class Client:
    """One connection: ``serve`` runs until it ends."""

    def __init__(self, connection: socket.socket, disk: Joined, pool: ThreadPoolExecutor) -> None:
        self._socket = connection
        self._stream = connection.makefile("rb", buffering=1 << 18)
        self._disk = disk
        self._pool = pool
        self._answering = threading.Lock()

    def serve(self) -> None:
        waiting: set[Future[None]] = set()
        try:
            if self._agree():
                while self._next(waiting):
                    pass
        except (_Gone, OSError):
            pass
        finally:
            for future in tuple(waiting):
                future.exception()  # what was asked for is done, whether anybody hears of it or not
            self._socket.close()

    def _exactly(self, count: int) -> bytes:
        data: bytes = self._stream.read(count)
        if len(data) < count:
            raise _Gone
        return data

    def _agree(self) -> bool:
        """The beginning of a connection; whether requests follow."""
        export = wire.Export(self._disk.size, self._disk.readonly)
        self._socket.sendall(wire.HELLO)
        (flags,) = wire.CLIENT_FLAGS.unpack(self._exactly(wire.CLIENT_FLAGS.size))
        while True:
            magic, option, length = wire.OPTION.unpack(self._exactly(wire.OPTION.size))
            if magic != wire.OPTION_MAGIC or length > wire.LONGEST_OPTION:
                raise _Gone
            self._exactly(length)
            if option == wire.EXPORT_NAME:
                self._socket.sendall(wire.export_named(export, flags))
                return True
            self._socket.sendall(wire.option_answer(option, export))
            if option in (wire.GO, wire.ABORT):
                return bool(option == wire.GO)

    def _next(self, waiting: set[Future[None]]) -> bool:
        """Take one request; False where it is the last."""
        magic, flags, kind, handle, offset, length = wire.REQUEST.unpack(self._exactly(wire.REQUEST.size))
        if magic != wire.REQUEST_MAGIC or (kind == wire.WRITE and length > wire.LONGEST):
            raise _Gone
        data = self._exactly(length) if kind == wire.WRITE else b""
        if kind == wire.DISCONNECT:
            return False
        if kind != wire.FLUSH and (offset + length > self._disk.size or (kind == wire.READ and length > wire.LONGEST)):
            self._answer(handle, wire.ENOSPC if kind == wire.WRITE else wire.EINVAL)
        elif kind == wire.READ and self._read(handle, offset, length, at_once=True):
            pass
        elif kind == wire.WRITE and not flags & wire.FUA:
            self._guarded(handle, lambda: self._disk.write(offset, memoryview(data)))
        elif act := self._act(kind, flags, offset, length, data):
            self._later(waiting, lambda: self._guarded(handle, act))
        elif kind == wire.READ:
            self._later(waiting, lambda: self._read_waiting(handle, offset, length))
        else:
            self._answer(handle, wire.EINVAL)
        return True

    def _later(self, waiting: set[Future[None]], act: Callable[[], None]) -> None:
        future = self._pool.submit(act)
        waiting.add(future)
        future.add_done_callback(waiting.discard)

    def _act(self, kind: int, flags: int, offset: int, length: int, data: bytes) -> Callable[[], None] | None:
        """What waits for the volumes and answers without data; None for other requests."""
        disk = self._disk
        acts: dict[int, Callable[[], None]] = {
            wire.WRITE: lambda: disk.write(offset, memoryview(data)),
            wire.TRIM: lambda: disk.trim(offset, length),
            wire.WRITE_ZEROES: lambda: disk.zero(offset, length, hole=not flags & wire.NO_HOLE),
            wire.FLUSH: disk.flush,
        }
        act = acts.get(kind)
        if act is None or not flags & wire.FUA or kind == wire.FLUSH:
            return act

        def durable() -> None:
            act()
            disk.flush()

        return durable

    def _read(self, handle: int, offset: int, length: int, *, at_once: bool) -> bool:
        try:
            data = self._disk.read(offset, length, at_once=at_once)
        except OSError as error:
            self._answer(handle, _ERRORS.get(error.errno or 0, wire.EIO))
            return True
        if data is None:
            return False
        self._answer(handle, 0, data)
        return True

    def _read_waiting(self, handle: int, offset: int, length: int) -> None:
        with suppress(OSError):  # nobody hears the answer any more
            self._read(handle, offset, length, at_once=False)

    def _guarded(self, handle: int, act: Callable[[], None]) -> None:
        number = 0
        try:
            act()
        except OSError as error:
            number = _ERRORS.get(error.errno or 0, wire.EIO)
        with suppress(OSError):
            self._answer(handle, number)

    def _answer(self, handle: int, number: int, data: bytes | bytearray = b"") -> None:
        head = wire.REPLY.pack(wire.REPLY_MAGIC, number, handle)
        with self._answering:
            sent = self._socket.sendmsg([head, data]) if data else self._socket.send(head)
            if sent < len(head) + len(data):
                self._socket.sendall((head + data)[sent:])


class Server:
    """Clients one after another or at the same time, until the last has gone."""

    def __init__(self, work: Work) -> None:
        self._busy = work.busy
        self._disk = work.disk()
        self._listener = socket.socket(fileno=work.listener)
        self._pool = ThreadPoolExecutor(_THREADS)
        self._clients = 0
        self._lock = threading.Lock()
        self._last_gone = threading.Event()

    def run(self, patience: float = PATIENCE) -> None:
        self._listener.settimeout(patience)
        try:
            connection, _ = self._listener.accept()
        except TimeoutError:
            return
        self._begin(connection)
        self._listener.settimeout(None)
        threading.Thread(target=self._accept, daemon=True).start()
        self._last_gone.wait()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        with self._lock:
            self._clients += 1
            fcntl.flock(self._busy, fcntl.LOCK_EX)  # who looks at it holds it for a moment
        threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            Client(connection, self._disk, self._pool).serve()
        finally:
            with self._lock:
                self._clients -= 1
                if not self._clients:
                    fcntl.flock(self._busy, fcntl.LOCK_UN)
                    self._last_gone.set()


def main() -> None:
    """Serve what standard input describes."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    told = json.loads(sys.stdin.read() or "null")
    if told is None:
        return  # whoever started it was killed before it could say more
    sys.setswitchinterval(0.0005)  # answers are short
    Server(Work(**told)).run()
    os._exit(0)  # nothing waits for threads that nobody needs


if __name__ == "__main__":
    main()
