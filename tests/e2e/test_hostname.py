"""A host that cannot look up its own name: libvirt waits for that at every start, and xm says why it took so long."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.fixtures import run_xm
from xmcompat.backends.libvirt_kvm import connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd

pytestmark = pytest.mark.libvirt

ROUTER = "198.51.100.2"


@pytest.fixture
def nameless(lab_directory: Path) -> Iterator[PrivateLibvirtd]:
    """A host whose name server swallows every question."""
    node = PrivateLibvirtd(lab_directory / "nameless", name="nameless", own_network=True, bridges=["xenbr0"])
    node.start()
    try:
        (node.directory / "hosts").write_text("127.0.0.1 localhost\n")
        (node.directory / "resolv.conf").write_text("nameserver 192.0.2.1\n")
        for words in (
            "addr add 198.51.100.1/24 dev xenbr0",
            f"neigh add {ROUTER} lladdr 02:00:00:00:00:02 dev xenbr0",
            f"route add default via {ROUTER}",
        ):
            subprocess.run(node.enter(["ip", *words.split()]), check=True, capture_output=True, timeout=10)
        yield node
    finally:
        node.stop()


@pytest.mark.timeout(180)
def test_create_says_that_the_hosts_own_name_does_not_resolve(nameless: PrivateLibvirtd) -> None:
    config = nameless.directory / "hvm1.cfg"
    config.write_text("builder = 'hvm'\nname = 'hvm1'\nmemory = 16\n")
    begun = time.monotonic()
    outcome = run_xm(nameless, "create", str(config), timeout=120, env={"XMCOMPAT_ACCELERATOR": "tcg"})
    took = time.monotonic() - begun
    hypervisor = connect(nameless.uri)
    try:
        assert hypervisor.find("hvm1").state == "running"
    finally:
        hypervisor.close()
    assert outcome.status == 0, outcome
    assert took > 2
    warning = next(line for line in outcome.stderr.splitlines() if "own name" in line)
    assert warning.startswith("Warning: this host's own name 'nameless' does not resolve")
    assert warning.endswith("add '127.0.1.1 nameless' to /etc/hosts")
