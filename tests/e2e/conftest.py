"""What the tests of the whole program share: configurations that a private libvirtd can start, and what is left."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from lxml import etree

from tests.lab.fixtures import Outcome, is_open, run_xm
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.private_libvirtd import PrivateLibvirtd

Writer = Callable[..., Path]


class Bench(NamedTuple):
    """A directory with guest configurations, and xm run in it inside the node."""

    node: PrivateLibvirtd
    hypervisor: LibvirtKvm
    directory: Path

    def xm(self, *words: str, timeout: float = 60.0, **env: str) -> Outcome:
        return run_xm(
            self.node, *words, cwd=self.directory, timeout=timeout, env={"XMCOMPAT_ACCELERATOR": "tcg", **env}
        )

    def config(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def await_console(self, name: str, device: str = "serial") -> None:
        """Return when somebody reads that DEVICE of the domain (an XPath): what it says before is lost."""
        xml = self.hypervisor._connection.lookupByName(name).XMLDesc()
        (path,) = etree.fromstring(xml).xpath(f"devices/{device}/source/@path")
        deadline = time.monotonic() + 60
        while not is_open(path):
            assert time.monotonic() < deadline, f"nobody opens {path}, the console of {name}"
            time.sleep(0.1)

    def remains(self) -> tuple[list[str], list[str]]:
        """The domains of the node, and the network devices of its namespace that are no bridge and not lo."""
        links = subprocess.run(
            self.node.enter(["ls", "/sys/class/net"]), capture_output=True, text=True, check=True, timeout=10
        ).stdout.split()
        devices = [name for name in links if name not in ("lo", "xenbr0", "xenbr1")]
        return [info.name for info in self.hypervisor.domains()], devices


@pytest.fixture
def bench(node: PrivateLibvirtd, hypervisor: LibvirtKvm, lab_directory: Path, request: pytest.FixtureRequest) -> Bench:
    directory = lab_directory / request.node.name.partition("[")[0][-60:]
    directory.mkdir(exist_ok=True)
    return Bench(node, hypervisor, directory)


@pytest.fixture(scope="module")
def held_before(node: PrivateLibvirtd) -> frozenset[str]:
    """The names of what is held in the node when a file's tests begin: another file's guests may have been there under
    another address of their libvirtd, which alone tells what has become of them."""
    folder = node.directory / "run/xmcompat/storage"
    return frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()


@pytest.fixture
def pv(bench: Bench) -> Writer:
    """Write a PV configuration for the bench; see ``pv_writer``."""
    return pv_writer(bench.directory)


def pv_writer(directory: Path) -> Writer:
    """Writes PV configurations to DIRECTORY whose kernel file has the marks of a bzImage; it starts, and does nothing."""
    kernel = bytearray(64 * 1024)
    kernel[0x1FE:0x200] = b"\x55\xaa"
    kernel[0x200:0x202] = b"\xeb\x62"
    kernel[0x202:0x206] = b"HdrS"
    kernel[0x206:0x208] = b"\x0d\x02"
    kernel[0x211] = 1
    kernel[0x264:0x268] = b"\xfa\xf4\xeb\xfd"  # where it begins: cli; hlt; jmp to the hlt, so that the processor is free
    (directory / "vmlinuz").write_bytes(kernel)
    (directory / "root.img").write_bytes(bytes(1024 * 1024))

    def write(name: str = "web1.cfg", **settings: object) -> Path:
        values: dict[str, object] = {
            "kernel": str(directory / "vmlinuz"),
            "memory": 32,
            "name": name.removesuffix(".cfg"),
            "root": "/dev/xvda2 ro",
            "disk": [f"file:{directory}/root.img,xvda2,w"],
            "vif": ["bridge=xenbr0"],
            **settings,
        }
        path = directory / name
        path.write_text("".join(f"{key} = {value!r}\n" for key, value in values.items() if value is not None))
        return path

    return write
