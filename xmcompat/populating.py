"""Disks that an installer fills: a domain that lives for it alone, with the disk, the installer's kernel or ISO image, and
a console. It ends when the installer switches itself off or starts anew."""

from __future__ import annotations

import os
import stat
import time
import uuid as uuids
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from xmcompat import losses
from xmcompat.backends import domain_xml
from xmcompat.backends.call_thread import Call
from xmcompat.backends.devices import BlockSource, Bus, CharDevice, Disk, DiskDevice, FileSource, Graphics, Nic, Video
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.gather import gather
from xmcompat.backends.hypervisor import DomainInfo, GuestEvent, Hypervisor
from xmcompat.backends.machine import DeviceBoot, DirectKernel, Machine
from xmcompat.backends.settings import is_local
from xmcompat.deferred import undisturbed
from xmcompat.disk_files import who_denies
from xmcompat.errors import (
    ConnectionLost,
    DiskRefused,
    DomainEnding,
    DomainNotFound,
    HypervisorUnreachable,
    OperationError,
    StillWritten,
    XmError,
)
from xmcompat.network import mac
from xmcompat.preflight import KERNEL_HEAD, refuse_overlong
from xmcompat.translate.kernel import kernel_verdict

#: What the disk is called, by its bus.
_TARGETS = {"virtio": (Bus.VIRTIO, "vda"), "ide": (Bus.IDE, "hda"), "sata": (Bus.SATA, "sda")}
BUSES = tuple(_TARGETS)
#: Seconds that libvirt has to tell how a domain ended, once it has gone.
TOLD = 10.0
#: Seconds that libvirtd has to end a domain, beside those in which it may come back.
ENDING = 15.0


class Installer(NamedTuple):
    """What is started: ``kernel`` with ``ramdisk`` and ``cmdline``, or the boot loader of ``cdrom``, "" for none of each.

    ``memory`` is in MiB; ``bus`` of BUSES; ``bridge`` "" for no network; ``vnc`` for a screen to look at.
    """

    kernel: str = ""
    ramdisk: str = ""
    cmdline: str = ""
    cdrom: str = ""
    memory: int = 1024
    vcpus: int = 1
    bus: str = "virtio"
    bridge: str = ""
    vnc: bool = False


class Outcome(NamedTuple):
    """How the domain ended: ``how`` "off" or "reset" by the installer itself, "crash", "" where somebody ended it, or
    "untold" where libvirt did not say."""

    how: str


def refuse_unfit(installer: Installer, name: str) -> None:
    """Raise XmError where INSTALLER has nothing to start from, or files that are not there."""
    refuse_overlong(f"install-{name}")
    if not installer.kernel and not installer.cdrom:
        raise XmError("there is nothing to install from", hint="give --cdrom with an ISO image, or --kernel")
    for option, path in (("ramdisk", installer.ramdisk), ("args", installer.cmdline)):
        if path and not installer.kernel:
            raise XmError(f"--{option} is for a kernel, and there is none", hint="give --kernel as well")
    for path in filter(None, (installer.kernel, installer.ramdisk, installer.cdrom)):
        head = _head(path)
        verdict = kernel_verdict(head, path) if path == installer.kernel else None
        if verdict is not None and not verdict.bootable:
            raise XmError(f"kernel '{path}' cannot boot on KVM: {verdict.reason}")


def _head(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return file.read(KERNEL_HEAD)
    except (OSError, ValueError) as error:
        raise XmError(f"{path}: {getattr(error, 'strerror', None) or 'the name is not usable'}") from None
    raise XmError(f"{path} is not a regular file")


def machine_for(installer: Installer, name: str, disk: str, driver: str, facts: HostFacts) -> Machine:
    """The machine NAME that the installer runs in. A file's writes wait for nobody: it is of no use before it is whole."""
    bus, target = _TARGETS[installer.bus]
    device = disk.startswith("/dev/") and not disk.startswith("/dev/shm/")
    disks = [Disk(
        source=BlockSource(path=disk) if device else FileSource(path=disk), target=target, bus=bus, driver=driver,
        cache="none" if device else "unsafe", discard="unmap",
    )]  # fmt: skip
    if installer.cdrom:
        place = (Bus.IDE, "hdc") if bus is not Bus.SATA else (Bus.SATA, "sdc")
        source = FileSource(path=os.path.realpath(installer.cdrom))
        disks.append(Disk(source=source, target=place[1], bus=place[0], device=DiskDevice.CDROM, readonly=True))
    boot = DirectKernel(
        kernel=os.path.realpath(installer.kernel), initrd=installer.ramdisk and os.path.realpath(installer.ramdisk),
        cmdline=installer.cmdline,
    ) if installer.kernel else DeviceBoot(order=("cdrom", "hd"))  # fmt: skip
    return Machine(
        name=name, uuid=str(uuids.uuid4()), accelerator=facts.accelerator, memory=installer.memory * 1024,
        current_memory=installer.memory * 1024, vcpus=installer.vcpus, boot=boot, disks=tuple(disks),
        nics=(Nic(mac=mac.generate(), bridge=installer.bridge),) if installer.bridge else (),
        consoles=(CharDevice(kind="serial"), CharDevice(kind="virtio")),
        graphics=(Graphics(),) if installer.vnc else (), video=Video(model="vga") if installer.vnc else Video(),
        on_poweroff="destroy", on_reboot="destroy", on_crash="destroy", panics=("isa",),
        description="xmcompat image populate",
    )  # fmt: skip


def run(
    hypervisor: Hypervisor, installer: Installer, name: str, disk: str, driver: str,
    attend: Callable[[DomainInfo], None], again: Callable[[], Hypervisor],
) -> Outcome:  # fmt: skip
    """Have INSTALLER fill the DISK, which QEMU opens by its DRIVER; returns when the domain has gone.

    ATTEND is called with the domain before it runs; it may come back sooner or later than the domain ends. Whatever ends
    this call, the end of this process too, ends the domain, over the connection that AGAIN makes where libvirtd went away:
    such a domain outlives it. Raises DomainExists, HypervisorError, OperationError, and StillWritten where it may go on.
    """
    if not is_local(hypervisor.uri):
        raise OperationError(f"disks can only be filled on the host itself, not through {hypervisor.uri}")
    facts = gather(hypervisor, environ=os.environ, bridges=bool(installer.bridge))
    if installer.bridge and installer.bridge not in facts.bridges:
        there = ", ".join(facts.bridges) or "none"
        raise OperationError(f"there is no bridge {installer.bridge}", hint=f"the bridges of this host: {there}")
    machine = machine_for(installer, f"install-{name}", disk, driver, facts)
    events: list[GuestEvent] = []
    hypervisor.watch_guests(lambda event: events.append(event) if event.uuid == machine.uuid else None)
    try:
        info = hypervisor.create(domain_xml.render(machine), paused=True, bound=True)
    except DiskRefused as error:
        raise who_denies(hypervisor, error) from None
    except ConnectionLost:
        _end(hypervisor, machine, disk, again)
        raise
    try:
        attend(info)
        while _is_there(hypervisor, info.uuid):
            hypervisor.wait_event(1.0)
    except BaseException:
        _end(hypervisor, machine, disk, again)
        raise
    _hear_out(hypervisor, events)
    return Outcome(how_it_ended(events))


def _hear_out(hypervisor: Hypervisor, events: list[GuestEvent]) -> None:
    """Have EVENTS end with what the domain went with: a look finds it gone before, where the host is busy."""
    deadline = time.monotonic() + TOLD
    while all(event.kind != "gone" for event in events) and (left := deadline - time.monotonic()) > 0:
        hypervisor.wait_event(left)


def how_it_ended(events: Sequence[GuestEvent]) -> str:
    """"off" or "reset" by the guest itself, "crash", "" where somebody ended it, "untold" where nothing was told. Pure."""
    if any(event.kind == "crash" for event in events):
        return "crash"
    end = next((event for event in events if event.kind in ("off", "reset") and event.by_guest), None)
    if end is not None:
        return "reset" if end.to_reset or end.kind == "reset" else "off"
    return "" if any(event.kind == "gone" for event in events) else "untold"


def _is_there(hypervisor: Hypervisor, uuid: str) -> bool:
    try:
        return hypervisor.find(uuid).domid is not None
    except DomainNotFound:
        return False


def _end(hypervisor: Hypervisor, machine: Machine, disk: str, again: Callable[[], Hypervisor]) -> None:
    """Raises StillWritten, whatever else comes, where MACHINE may still write the DISK. Back soon also where libvirtd takes
    calls and does not answer: Ctrl-C is not heard meanwhile."""
    failed: XmError | None = XmError("libvirtd does not answer")
    try:
        with undisturbed():
            try:
                ending = Call(lambda: _destroy(hypervisor, machine, again))
                if ending.ended(losses.BACK + ENDING):
                    ending.result()
                    failed = None
            except XmError as error:
                failed = error
    finally:
        if failed is not None:
            raise StillWritten(
                f"'{machine.name}' could not be ended and may still write {disk}, which is left as it is: {failed.message}",
                hint=failed.hint or f"end it with 'xm destroy {machine.name}', and try again",
            )


def _destroy(hypervisor: Hypervisor, machine: Machine, again: Callable[[], Hypervisor]) -> None:
    def ended(now: Hypervisor) -> None:
        with suppress(DomainNotFound, DomainEnding):
            now.destroy(machine.uuid or "")

    try:
        ended(hypervisor)
    except HypervisorUnreachable as error:
        losses.when_back(machine.name, ConnectionLost(error.message), again, ended)
