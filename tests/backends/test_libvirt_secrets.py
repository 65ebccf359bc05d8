"""Passwords in libvirt's keeping, on a private libvirtd."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.errors import XmError

pytestmark = pytest.mark.libvirt

NAME = "xmcompat:11111111-2222-4333-8444-555555555555:xvda"


@pytest.fixture(autouse=True)
def forgotten(hypervisor: LibvirtKvm, node: PrivateLibvirtd) -> Iterator[None]:
    yield
    anew = connect(node.uri)
    for name in anew.secret_names("xmcompat:"):
        anew.forget_secret(name)
    anew.close()


def test_a_secret_is_told_to_qemu_alone_unless_it_is_readable(hypervisor: LibvirtKvm) -> None:
    assert hypervisor.secret("iscsi", NAME) is None
    hypervisor.keep_secret("iscsi", NAME, b"one", lasting=False)
    assert hypervisor.secret("iscsi", NAME) == b""
    with pytest.raises(hypervisor._libvirt.libvirtError, match="secret is private"):
        hypervisor._connection.secretLookupByUsage(3, NAME).value(0)
    hypervisor.keep_secret("iscsi", NAME, b"two", lasting=False, readable=True)
    assert hypervisor.secret("iscsi", NAME) == b"two"
    hypervisor.keep_secret("iscsi", NAME, b"three", lasting=True)
    assert hypervisor.secret("iscsi", NAME) == b""
    assert hypervisor.secret("ceph", NAME) is None


def test_secrets_are_found_by_the_beginnings_of_their_names_and_forgotten_one_by_one(hypervisor: LibvirtKvm) -> None:
    hypervisor.keep_secret("ceph", f"{NAME}1", b"\0\xff", lasting=False, readable=True)
    hypervisor.keep_secret("iscsi", NAME, b"x", lasting=False)
    assert sorted(hypervisor.secret_names(NAME)) == [NAME, f"{NAME}1"]
    assert hypervisor.secret_names("xmcompat:2") == []
    hypervisor.forget_secret(NAME)
    hypervisor.forget_secret(NAME)
    assert hypervisor.secret_names("xmcompat:") == [f"{NAME}1"]
    assert hypervisor.secret("ceph", f"{NAME}1") == b"\0\xff"


def test_a_secret_that_lasts_outlives_the_daemon_with_its_value_and_the_others_do_not(node: PrivateLibvirtd) -> None:
    hypervisor = connect(node.uri)
    hypervisor.keep_secret("iscsi", NAME, b"kept", lasting=False, readable=True)
    hypervisor.keep_secret("iscsi", f"{NAME}1", b"gone", lasting=False, readable=True)
    hypervisor.let_secrets_last(f"{NAME}")
    hypervisor.keep_secret("iscsi", f"{NAME}1", b"gone", lasting=False, readable=True)
    pid = node.daemon_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    hypervisor.close()
    anew = answering(node, pid)
    assert anew.secret("iscsi", NAME) == b"kept"
    assert anew.secret("iscsi", f"{NAME}1") is None
    anew.close()


def answering(node: PrivateLibvirtd, old: int) -> LibvirtKvm:
    """A connection to the libvirtd that the first process of the lab has started in place of OLD."""
    end = time.monotonic() + 30
    while True:
        try:
            hypervisor = connect(node.uri)
            hypervisor.domains()
            hypervisor.secret_names("")
            assert node.daemon_pid() != old
            return hypervisor
        except (XmError, AssertionError):
            assert time.monotonic() < end
            time.sleep(0.2)
