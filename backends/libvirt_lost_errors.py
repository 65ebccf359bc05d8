"""Errors that libvirt's binding for Python has lost.

The binding makes a call, and then asks libvirt for the last error of this thread. Garbage collection may come at any
new object: where it lets go of a handle in between, freeing that wipes the error out, and what is left is the name of the
call, "virDomainLookupByName() failed". libvirt tells its handler of every error as it happens, in the thread of the call.
What that was told last is kept, and goes into the exception that comes without any.
"""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

from _thread import _local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def keep(libvirt: Any) -> None:
    """From now on no error of the module LIBVIRT is lost, and none is written to stderr. May be repeated."""
    error_type = libvirt.libvirtError
    if hasattr(error_type, "_xmcompat_told"):
        return
    told = error_type._xmcompat_told = _local()
    own = error_type.__init__

    def note(_context: object, error: Sequence[object]) -> None:
        told.last = tuple(error)

    def init(self: Any, *words: object) -> None:
        own(self, *words)
        last = told.__dict__.pop("last", None)
        if self.err is None and last is not None:
            self.err = last
            self.args = (last[2],)

    error_type.__init__ = init
    libvirt.registerErrorHandler(note, None)
