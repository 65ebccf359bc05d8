"""A guest's memory into a file and back. libvirt's calls run in threads, so that they can be given up."""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

import os
import time
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.backends.call_thread import Call
from xmcompat.backends.image_feed import Feed, copied
from xmcompat.errors import DomainNotFound, HypervisorError, HypervisorUnreachable, XmError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from xmcompat.backends.image_feed import Along
    from xmcompat.backends.libvirt_translated import Translated

#: The first libvirt that may open an image twice: it reads the header, and then both the header and the rest.
_OPENS_TWICE = 11_000_000
#: Seconds that libvirt may take to give up a job.
ABORT_PATIENCE = 60.0


class LibvirtSaveJob:
    """A save under way."""

    def __init__(self, call: Call, give_up: Callable[[], None]) -> None:
        self._call = call
        self._give_up = give_up

    def ended(self, seconds: float) -> bool:
        """Wait up to SECONDS; whether it is over."""
        return self._call.ended(seconds)

    def result(self) -> None:
        """Raises what the save has raised."""
        self._call.result()

    def abort(self) -> None:
        """Let the guest run on; returns when the call is over, which may have been too late to be given up.

        Raises HypervisorError after ABORT_PATIENCE seconds.
        """
        deadline = time.monotonic() + ABORT_PATIENCE
        while not self._call.ended(0.0):
            if time.monotonic() > deadline:
                raise HypervisorError("libvirt does not give up the save")
            with suppress(HypervisorUnreachable):  # the call has lost its own connection as well, or goes on
                self._give_up()
            self._call.ended(0.2)


class SaveCalls(NamedTuple):
    """The calls over connections of libvirt's: its module, what gives the connection that there is, how to open one more,
    what turns errors into our words, what tells libvirt's version, and what takes a connection over, or will not."""

    libvirt: Any
    connection: Callable[[], Any]
    open: Callable[[], Any]
    translated: Callable[..., Translated]
    version: Callable[[], int]
    keep: Callable[[Any], bool]

    def begin(
        self, uuid: str, path: str, *, running: bool = False, disks: Mapping[str, str] | None = None,
        moment: Callable[[], None] = lambda: None,
    ) -> LibvirtSaveJob:  # fmt: skip
        """Save the domain to the file PATH, which is there, and end it; with RUNNING it runs on, and DISKS (new files, by
        target) become copies of its disks of that MOMENT, at which it stands still."""
        if running and disks:
            return self.begun(uuid, lambda domain: self._checkpoint(domain, path, disks, moment))
        if running:
            return self.begun(uuid, lambda domain: self._snapshot(domain, path))
        return self.begun(uuid, lambda domain: domain.saveFlags(path, None, 0))

    def begun(self, uuid: str, act: Callable[[Any], object]) -> LibvirtSaveJob:
        """ACT, which saves the domain, in a thread of its own. Where there is no such domain, the job says so."""

        def save() -> None:
            with self._own_domain(uuid) as domain:
                act(domain)

        return LibvirtSaveJob(Call(save), lambda: self.give_up(uuid))

    def give_up(self, uuid: str) -> None:
        """Abort what libvirt does with the domain, if it does anything."""
        try:
            with self.translated(uuid):
                self.connection().lookupByUUIDString(uuid).abortJob()
        except (DomainNotFound, HypervisorError):
            return  # not begun yet, or over

    def is_idle(self, uuid: str) -> bool:
        """Whether libvirt does nothing with the domain. Raises DomainNotFound, HypervisorError, HypervisorUnreachable."""
        from xmcompat.backends.libvirt_checkpoint import is_idle

        with self.translated(uuid):
            return is_idle(self.libvirt, self.connection().lookupByUUIDString(uuid))

    @contextmanager
    def _own_domain(self, uuid: str) -> Iterator[Any]:
        """The domain over a connection of this thread's own."""
        connection = self.open()
        try:
            with self.translated(uuid):
                yield connection.lookupByUUIDString(uuid)
        finally:
            self._closed(connection)

    def _closed(self, connection: Any) -> None:
        try:
            connection.close()
        except self.libvirt.libvirtError:
            return  # it was lost before

    def _snapshot(self, domain: Any, path: str, *, live: bool = True) -> None:
        """Memory alone, without a trace in libvirt: the file is an ordinary image, and the domain is never stopped."""
        from xmcompat.backends.libvirt_devices import memory_snapshot

        libvirt = self.libvirt
        domain.snapshotCreateXML(
            memory_snapshot(domain.XMLDesc(0), path),
            libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA | (libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_LIVE if live else 0),
        )

    def _checkpoint(self, domain: Any, path: str, disks: Mapping[str, str], moment: Callable[[], None]) -> None:
        from xmcompat.backends.libvirt_checkpoint import checkpoint

        checkpoint(self.libvirt, domain, disks, lambda: self._snapshot(domain, path, live=False), moment)

    def restore(
        self, uuid: str, path: str, spans: Sequence[tuple[int, int]], xml: str = "", along: Along | None = None
    ) -> None:  # fmt: skip
        """Start the domain UUID, paused, from its image in SPANS of the file PATH, as XML says where it is told. ALONG
        reads the image along.

        On any error, and on Ctrl-C, it is not there. Raises what ``create`` raises; OSError.
        """
        whole = tuple(spans) == ((0, os.stat(path).st_size),)
        if not whole and self._fed(uuid, path, spans, xml, along):
            return
        if along is not None:
            along.beside()
        with nullcontext(path) if whole else copied(path, spans) as image:
            self._restore(uuid, image, xml)

    def _fed(
        self, uuid: str, path: str, spans: Sequence[tuple[int, int]], xml: str, along: Along | None
    ) -> bool:  # fmt: skip
        """Whether libvirt would have the image from a pipe, and did not complain of that by its name.

        Raises as ``restore`` does.
        """
        try:
            feed = Feed(path, spans, along, twice=self.version() >= _OPENS_TWICE)
        except OSError:
            return False
        over = True
        try:
            self._restore(uuid, feed.path, xml, feed.stop)
        except HypervisorUnreachable:
            over = False  # it may be about to open the image
            raise
        except HypervisorError as error:
            if feed.opened and feed.path not in error.message:
                raise
            return False
        finally:
            feed.stop(over=over)
        return True

    def _restore(self, uuid: str, path: str, xml: str, give_up: Callable[[], None] | None = None) -> None:
        """GIVE_UP ends the image early, so that the call comes to an end."""
        good: list[Any] = []

        def restore() -> None:
            connection = self.open()
            try:
                with self.translated(uuid):
                    connection.restoreFlags(path, xml or None, self.libvirt.VIR_DOMAIN_SAVE_PAUSED)
            except BaseException:
                self._closed(connection)
                raise
            good.append(connection)

        call = Call(restore)
        try:
            while not call.ended(1.0):
                continue
        except BaseException:
            if give_up is not None:
                give_up()
            call.ended(None)
            self._keep(good)
            self._undo(uuid, call)
            raise
        self._keep(good)
        call.result()

    def _keep(self, good: Sequence[Any]) -> None:
        """What comes next may go over the connection that is there."""
        for connection in good:
            if not self.keep(connection):
                self._closed(connection)

    def _undo(self, uuid: str, call: Call) -> None:
        """End the domain that CALL has started, if it has."""
        try:
            call.result()
            with self.translated(uuid):
                self.connection().lookupByUUIDString(uuid).destroy()
        except XmError:
            return
