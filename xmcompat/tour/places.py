"""Where the tour's guest runs: in the system's libvirt where that answers, else in a private one."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from xmcompat.backends.domain_xml import read_record
from xmcompat.backends.libvirt_kvm import connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.disk_needs import sweep, sweep_after
from xmcompat.errors import DomainNotFound, HypervisorUnreachable, XmError
from xmcompat.tour.programs import run

SYSTEM_URI = "qemu:///system"
IP_SECONDS = 10.0

#: The bridge in the private network, and the one on the host, which carries our mark.
PRIVATE_BRIDGE, SYSTEM_BRIDGE = "xenbr0", "xmtour0"
MARK = "made by the tour of xmcompat"


class Place(Protocol):
    """A hypervisor with a bridge for the guest."""

    uri: str
    bridge: str

    def describe(self) -> str:
        """One line about it."""
        ...

    def start(self) -> None:
        """Make what it needs. Raises XmError; then ``remove`` must still be called."""
        ...

    def remove(self, name: str, config: Path) -> None:
        """Remove what ``start`` made, and the guest NAME that CONFIG has started. May be repeated."""
        ...

    def log(self, name: str) -> Path:
        """Where QEMU's messages about the guest NAME are."""
        ...


class PrivatePlace:
    """A libvirtd of the tour's own, in a folder, with a network of its own."""

    def __init__(self, directory: Path) -> None:
        self._libvirtd = PrivateLibvirtd(directory, name="tour-host", own_network=True, bridges=[PRIVATE_BRIDGE])
        self.uri = self._libvirtd.uri
        self.bridge = PRIVATE_BRIDGE

    def describe(self) -> str:
        return f"No libvirtd answers here; the tour starts one of its own, in {self._libvirtd.directory}."

    def start(self) -> None:
        self._libvirtd.start()

    def remove(self, name: str, config: Path) -> None:
        self._libvirtd.stop()
        with suppress(XmError):  # another xm does it, then
            sweep_after(self.uri)
        shutil.rmtree(self._libvirtd.directory, ignore_errors=True)

    def log(self, name: str) -> Path:
        return self._libvirtd.directory / "log/qemu" / f"{name}.log"


class SystemPlace:
    """The libvirt of the host, and a bridge that leads nowhere."""

    uri = SYSTEM_URI
    bridge = SYSTEM_BRIDGE

    def describe(self) -> str:
        return f"libvirt runs here: the tour uses it, with a bridge of its own, {SYSTEM_BRIDGE}."

    def start(self) -> None:
        if self._is_there():
            if not self._is_ours():
                raise XmError(f"there is a bridge {SYSTEM_BRIDGE} that the tour has not made")
            return
        run(("ip", "link", "add", "name", SYSTEM_BRIDGE, "type", "bridge"), seconds=IP_SECONDS)
        run(("ip", "link", "set", "dev", SYSTEM_BRIDGE, "alias", MARK), seconds=IP_SECONDS)
        run(("ip", "link", "set", "dev", SYSTEM_BRIDGE, "up"), seconds=IP_SECONDS)

    def remove(self, name: str, config: Path) -> None:
        with suppress(HypervisorUnreachable):
            _destroy(name, config)
        if self._is_ours():
            run(("ip", "link", "delete", "dev", SYSTEM_BRIDGE), seconds=IP_SECONDS)

    @staticmethod
    def _is_there() -> bool:
        return Path("/sys/class/net", SYSTEM_BRIDGE).exists()

    @staticmethod
    def _is_ours() -> bool:
        with suppress(OSError):
            return Path("/sys/class/net", SYSTEM_BRIDGE, "ifalias").read_text().strip() == MARK
        return False

    def log(self, name: str) -> Path:
        return Path("/var/log/libvirt/qemu", f"{name}.log")


def _destroy(name: str, config: Path) -> None:
    """Destroy the guest NAME of the system's libvirt, if it is the one that CONFIG has started, and give back what was held
    for its disks."""
    hypervisor = connect(SYSTEM_URI)
    try:
        info = hypervisor.find(name)
        text = hypervisor.metadata(info.uuid)
        record = read_record(text) if text else None
        if record and record.source == os.path.abspath(config) and info.domid is not None:
            hypervisor.destroy(info.uuid)
    except DomainNotFound:
        pass  # what it held may still be held
    finally:
        with suppress(XmError):  # another xm does it, then
            sweep(hypervisor)
        hypervisor.close()


def system_answers() -> bool:
    """Whether the host's libvirt can be reached. Raises XmError where its Python module is missing."""
    try:
        connect(SYSTEM_URI).close()
    except HypervisorUnreachable:
        return False
    return True


def choose(directory: Path) -> Place:
    """The system's libvirt where it answers, else a private one in DIRECTORY."""
    return SystemPlace() if system_answers() else PrivatePlace(directory)
