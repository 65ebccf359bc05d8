"""A connection that is closed leaves no file descriptor open, whatever was done with it."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.lab.fixtures import Starter
from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.errors import DomainNotFound

pytestmark = pytest.mark.libvirt


def nothing(*_args: object) -> None:
    return


def open_console(hypervisor: LibvirtKvm, uuid: str) -> None:
    hypervisor.open_console(uuid, "serial0", nothing, nothing)


def fail(hypervisor: LibvirtKvm, _uuid: str) -> None:
    with suppress(DomainNotFound):
        hypervisor.pause("11111111-2222-4333-8444-555555555555")


ACTS: dict[str, Callable[[LibvirtKvm, str], object]] = {
    "none": lambda hypervisor, uuid: None,
    "list": lambda hypervisor, uuid: hypervisor.domains(),
    "change": lambda hypervisor, uuid: hypervisor.pause(uuid),
    "failed change": fail,
    "watch guests": lambda hypervisor, uuid: hypervisor.watch_guests(nothing),
    "watch reboots": lambda hypervisor, uuid: hypervisor.watch_reboots(nothing),
    "console": open_console,
}


@pytest.mark.parametrize("act", ACTS)
def test_after_its_close_nothing_of_a_connection_is_open(node: PrivateLibvirtd, start: Starter, act: str) -> None:
    uuid = start("quiet", idle=True).uuid

    def open_files_after_use() -> int:
        gc.collect()
        hypervisor = connect(node.uri)
        ACTS[act](hypervisor, uuid)
        hypervisor.wait_event(0.01)
        hypervisor.close()
        return len(os.listdir("/proc/self/fd"))

    for _ in range(3):  # libvirt's loop, once there is one, stays; what other tests have left goes when it turns
        first = open_files_after_use()
    assert [open_files_after_use() for _ in range(3)] == [first] * 3
