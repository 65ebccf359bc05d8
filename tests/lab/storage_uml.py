"""What tests of the host's storage need on the kernel of ``tests.lab.uml``: volumes, a libvirtd, and a guest that proves a disk.

To be used in there alone: it overwrites /etc/libvirt and starts daemons, all of which go with that kernel.
"""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab import disk_guest, lvm_library
from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.errors import DomainNotFound, XmError

URI = "qemu:///system"

#: What a test of LVM needs.
LVM_MODULES = ("loop", "dm-mod", "dm-snapshot", "dm-thin-pool")

#: Without the filter libvirt asks QEMU for 400 settings of the processor one by one at each start of a guest; each byte of a
#: question costs QEMU a round of system calls, and the whole five seconds of processor.
_QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
seccomp_sandbox = 0
stdio_handler = "file"
capability_filters = [ "cpu-unavailable-features" ]
"""

_LVM_CONF = """\
activation { monitoring = 0 reserved_memory = 0 reserved_stack = 0 }
backup { backup = 0 archive = 0 }
"""


def inside() -> None:
    """Raises where this is the machine's own kernel."""
    assert "User Mode Linux" in Path("/proc/cpuinfo").read_text(), "not for this machine's own kernel"


def sh(*words: str, timeout: float = 60.0) -> str:
    """What the program prints. Raises where it fails, with what it said."""
    status, out, complaint = lvm_library.run(words, deadline=timeout)
    assert status == 0, f"{' '.join(words)}: {status}: {out}{complaint}"
    return out


def eventually(true: Callable[[], object], seconds: float = 30.0, what: str = "") -> None:
    """Wait until TRUE says so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what or true}"
        time.sleep(0.05)


def volume_group(name: str = "vg0", disk: str = "/dev/ubda") -> None:
    """A volume group on the first disk of this kernel, or on DISK; from now on LVM's programs run within this process.

    Debian's lvm.conf is 110 KiB of comments, in which every program of LVM spends half of its time here. LVM's dmeventd, and
    the 8 MiB that a program touches for fear of a full memory before it stops a device, take the half of the rest.
    """
    inside()
    Path("/etc/lvm/lvm.conf").write_text(_LVM_CONF)
    lvm_library.in_this_process()
    sh("pvcreate", "-y", disk)
    sh("vgcreate", name, disk)


@contextmanager
def libvirtd() -> Iterator[LibvirtKvm]:
    """A libvirtd of this kernel's, with nothing in it; its guests end with it."""
    inside()
    Path("/etc/libvirt/qemu.conf").write_text(_QEMU_CONF)
    for folder in ("/run/libvirt", "/var/log/libvirt/qemu", "/var/lib/libvirt/qemu"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    with open("/run/libvirtd.out", "wb") as out:
        process = subprocess.Popen(
            ["libvirtd"], stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=_few_files,
        )  # fmt: skip
    try:
        hypervisor = _answer(process)
        try:
            yield hypervisor
        finally:
            for info in hypervisor.domains():
                with suppress(DomainNotFound):
                    hypervisor.destroy(info.uuid)
            hypervisor.close()
    finally:
        process.terminate()
        process.wait(20)


def _few_files() -> None:
    """libvirt closes each that could be open, at each start of a program."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))


def _answer(process: subprocess.Popen[bytes], seconds: float = 60.0) -> LibvirtKvm:
    end = time.monotonic() + seconds
    while True:
        try:
            return connect(URI)
        except XmError as error:
            said = Path("/run/libvirtd.out").read_text()
            assert process.poll() is None and time.monotonic() < end, f"libvirtd does not answer: {error}: {said}"
            time.sleep(0.2)


def boot(hypervisor: LibvirtKvm, name: str, disks: str, *, seconds: float = 60.0) -> str:
    """Start the guest of ``disk_guest`` from libvirt's elements DISKS and wait until it has switched itself off.

    Returns what it has said. Several disks of one guest cost one start.
    """
    console = Path(f"/run/{name}.console")
    uuid = hypervisor.create(disk_guest.guest_xml(name, disks, console)).uuid
    eventually(lambda: all(info.uuid != uuid for info in hypervisor.domains()), seconds, f"{name} goes on")
    return console.read_text()
