"""Errors that libvirt's binding for Python loses, and signals that it turns into errors of its own.

The binding makes a call, and then asks libvirt for the last error of this thread. Garbage collection may come in between,
at any new object: where it frees a handle, that wipes the error out, and what is left is the name of the call,
"virDomainLookupByName() failed", or an error without a number. So the error is kept before any handle is freed.

libvirt's handler of errors, which writes them to stderr unless there is another, runs within the call. A signal that comes
meanwhile would raise its exception in there, if that were a function in Python, and the binding takes it for a mistake
(SystemError). So it is one in C.
"""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

from _operator import is_
from _thread import _local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def keep(libvirt: Any) -> None:
    """From now on no error of the module LIBVIRT is lost, and none is written to stderr. May be repeated."""
    error_type = libvirt.libvirtError
    if hasattr(error_type, "_xmcompat_kept"):
        return
    kept = error_type._xmcompat_kept = _local()
    libvirt.registerErrorHandler(is_, None)
    ask, reset, own = libvirt.libvirtmod.virGetLastError, libvirt.libvirtmod.virResetLastError, error_type.__init__

    def init(self: Any, *words: Any, **values: Any) -> None:
        own(self, *words, **values)
        reset()  # this one is raised: a handle that is freed later is not to keep it for another call
        last = kept.__dict__.pop("last", None)
        if self.err is None or not self.err[0]:
            self.err = last
            if last is not None:
                self.args = (last[2],)

    def keeping(free: Callable[[object], None]) -> Callable[[object], None]:
        def delete(self: object) -> None:
            last = ask()
            if last is not None and last[0]:
                kept.last = last
            free(self)

        return delete

    error_type.__init__ = init
    for handle in vars(libvirt).values():
        if isinstance(handle, type) and "__del__" in vars(handle):
            handle.__del__ = keeping(handle.__del__)  # type: ignore[attr-defined]
