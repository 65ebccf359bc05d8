"""A guest that stands still while its disks are copied and its memory is written for a checkpoint goes on also where
``xm`` is killed meanwhile.

A second process, which loads nothing until then, waits for the end of the first: libvirt lets a guest go by itself only
where it has stopped it itself.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from xmcompat.errors import DomainEnding, DomainNotFound, XmError

if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import Hypervisor

#: Seconds in which the guest must go on.
PATIENCE = 300.0
#: Seconds of them in which libvirt may give up what it does with the guest: a copying that was under way when libvirtd was
#: killed may never be over for it.
_ENDS = 60.0
#: Seconds between two looks at what libvirt still does with it.
_LOOK = 0.05

_WAIT = """
import sys
if not sys.stdin.buffer.read(1):
    sys.path.insert(0, sys.argv[1])
    from xmcompat.standing import let_go
    let_go(*sys.argv[2:])
"""


class Guard:
    """Lets the domain UUID of the libvirt at URI go on, and removes the unfinished file MADE and FOLDER, when this process
    dies; FOLDER stays where MADE has got its name. It has the file LOCK as well, by which the domain is moving."""

    def __init__(self, uri: str, uuid: str, made: str, folder: str, lock: int | None) -> None:
        """Raises OSError."""
        import subprocess

        above = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WAIT, above, uri, uuid, made, folder], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd="/",
            pass_fds=() if lock is None else (lock,),
        )  # fmt: skip

    def dismiss(self) -> None:
        """The guest goes on, or has ended. May be repeated."""
        assert self._child.stdin is not None
        with suppress(OSError):
            if not self._child.stdin.closed:
                self._child.stdin.write(b"x")
                self._child.stdin.close()
        self._child.wait()

    def leave(self) -> None:
        """The guest may still stand still: have it go on now, whatever becomes of this process."""
        assert self._child.stdin is not None
        with suppress(OSError):
            self._child.stdin.close()


def let_go(uri: str, uuid: str, made: str, folder: str) -> None:
    """Have the domain go on once libvirt has given up what it does with it, or does not, and remove what was begun: the
    file MADE, and FOLDER. After PATIENCE it is as it is."""
    import site

    site.main()  # libraries lie where the interpreter has not looked yet
    from xmcompat import saved_disks
    from xmcompat.migration import save_file
    from xmcompat.toolstack import Toolstack

    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with Toolstack.open(uri) as toolstack:
                await_given_up(toolstack.hypervisor, uuid)
                toolstack.hypervisor.pause(uuid)  # after what libvirt still does with it: it may be about to stand still
                toolstack.hypervisor.unpause(uuid)
                break
        except (DomainNotFound, DomainEnding):
            break
        except XmError:
            time.sleep(0.2)
    if os.path.exists(made):  # else it has its name, and the folder is its own
        saved_disks.remove_folder(folder)
        save_file.remove(made)


def await_given_up(hypervisor: Hypervisor, uuid: str) -> None:
    """Have what libvirt does with the domain end: a QEMU that goes on while it makes the files of copies may fall.

    QEMU 7.2: ``cont`` in the moment in which an image is closed ("blk_ref: Assertion `blk->refcnt > 0' failed"). Raises
    DomainNotFound, HypervisorError, HypervisorUnreachable.
    """
    deadline = time.monotonic() + _ENDS
    while not hypervisor.give_up_save(uuid) and time.monotonic() < deadline:
        time.sleep(_LOOK)
