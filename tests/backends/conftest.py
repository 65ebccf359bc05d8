"""What tests of the wire share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd


@pytest.fixture
def both(node: PrivateLibvirtd) -> Iterator[tuple[LibvirtKvm, LibvirtKvm]]:
    """One that may use the wire, and one that has only libvirt."""
    wired, plain = connect(node.uri), connect(node.uri)
    plain._close_wire()
    assert wired._wire is not None
    yield wired, plain
    assert wired._wire is not None, "the wire was given up: something was not as expected"
    wired.close()
    plain.close()
