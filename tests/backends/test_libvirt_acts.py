"""Reset, rename, keys, NMI, dumps and marks through the Hypervisor protocol, against a real libvirtd."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.backends.test_libvirt_lifecycle import eventually, ticks
from tests.lab.fixtures import Starter
from tests.lab.guests import tick_xml
from xmcompat.backends.hypervisor import DomainState
from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.errors import DomainNotFound, HypervisorError

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

UUID = "0b1c2d3e-0000-4000-8000-0000000000ff"


def test_reset_starts_a_guest_from_its_first_word(
    hypervisor: LibvirtKvm, start: Starter, lab_directory: Path
) -> None:
    log = lab_directory / "reset.log"
    info = start("resets", log=log)
    eventually(lambda: ticks(log) > 1)
    hypervisor.reset(info.uuid)
    eventually(lambda: log.read_bytes().count(b"TICKROM-UP") == 2)
    assert hypervisor.find("resets").domid == info.domid


def test_a_paused_guest_that_is_reset_stays_paused(hypervisor: LibvirtKvm, start: Starter, lab_directory: Path) -> None:
    log = lab_directory / "reset-paused.log"
    info = start("resets", log=log)
    eventually(lambda: ticks(log) > 1)
    hypervisor.pause(info.uuid)
    hypervisor.reset(info.uuid)
    assert hypervisor.find("resets").state == DomainState.PAUSED
    hypervisor.unpause(info.uuid)
    eventually(lambda: log.read_bytes().count(b"TICKROM-UP") == 2)


def test_a_known_domain_gets_another_name(hypervisor: LibvirtKvm, roms: Path) -> None:
    hypervisor._connection.defineXML(tick_xml("before", roms))
    uuid = hypervisor.find("before").uuid
    hypervisor.rename(uuid, "after")
    assert hypervisor.find("after").uuid == uuid
    with pytest.raises(DomainNotFound):
        hypervisor.find("before")


def test_libvirt_renames_no_domain_that_runs(hypervisor: LibvirtKvm, start: Starter) -> None:
    """Why ``xm rename`` refuses it."""
    info = start("runs", paused=True)
    with pytest.raises(HypervisorError):
        hypervisor.rename(info.uuid, "other")
    assert hypervisor.find("runs").uuid == info.uuid


def test_the_mark_of_a_pause_comes_and_goes(hypervisor: LibvirtKvm, start: Starter) -> None:
    ours = "<x:guest xmlns:x='urn:xmcompat:guest:1'><x:sxp>(vm)</x:sxp></x:guest>"
    info = start("marks", paused=True, metadata=ours)
    assert not hypervisor.marked_paused(info.uuid)
    hypervisor.mark_paused(info.uuid, False)
    for _ in range(2):
        hypervisor.mark_paused(info.uuid, True)
        assert hypervisor.marked_paused(info.uuid)
    hypervisor.mark_paused(info.uuid, False)
    assert not hypervisor.marked_paused(info.uuid)
    assert "(vm)" in (hypervisor.metadata(info.uuid) or "")


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("paused", [False, True])
def test_a_dump_is_an_elf_core_and_the_guest_goes_on(
    hypervisor: LibvirtKvm, start: Starter, lab_directory: Path, live: bool, paused: bool
) -> None:
    path = lab_directory / f"{live}-{paused}.core"
    info = start("dumps", paused=paused)
    if live:
        path.write_text("something older")
    hypervisor.dump_core(info.uuid, str(path), live=live)
    told = subprocess.run(["file", "-b", path], capture_output=True, text=True, check=True, timeout=10).stdout
    assert told.startswith("ELF ")
    assert " core file" in told
    assert path.stat().st_size > info.memory * 1024
    assert live or path.stat().st_mode & 0o077 == 0
    assert (hypervisor.find("dumps").state == DomainState.PAUSED) == paused


def test_a_dump_that_cannot_be_written_says_why(hypervisor: LibvirtKvm, start: Starter) -> None:
    info = start("dumps", paused=True)
    with pytest.raises(HypervisorError, match="No such file or directory"):
        hypervisor.dump_core(info.uuid, "/nonexistent/dumps.core")
    assert hypervisor.find("dumps").state == DomainState.PAUSED


def test_keys_and_a_wake_do_a_running_guest_no_harm(
    hypervisor: LibvirtKvm, start: Starter, lab_directory: Path
) -> None:
    log = lab_directory / "keys.log"
    info = start("keys", log=log)
    hypervisor.send_keys(info.uuid, (56, 99, 35))
    hypervisor.wake(info.uuid)
    count = ticks(log)
    eventually(lambda: ticks(log) > count)


def test_an_nmi_is_sent(hypervisor: LibvirtKvm, start: Starter) -> None:
    info = start("nmi", paused=True)
    hypervisor.inject_nmi(info.uuid)
    assert hypervisor.find("nmi").domid == info.domid


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("reset", ()), ("rename", ("x",)), ("send_keys", ((56,),)), ("inject_nmi", ()), ("wake", ()),
        ("dump_core", ("/tmp/never",)), ("mark_paused", (True,)), ("marked_paused", ()),
    ],
)  # fmt: skip
def test_every_call_about_a_domain_that_is_gone_says_so(
    hypervisor: LibvirtKvm, method: str, words: tuple[object, ...]
) -> None:
    with pytest.raises(DomainNotFound) as raised:
        getattr(hypervisor, method)(UUID, *words)
    assert raised.value.designation == UUID


def test_this_machine_and_what_libvirt_knows_of_one_agree(
    hypervisor: LibvirtKvm, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = hypervisor.node()
    assert here.hostname == os.uname().nodename
    monkeypatch.setattr("xmcompat.backends.libvirt_acts.is_local", lambda uri: False)
    there = hypervisor.node()
    assert (there.machine, there.cpus, there.nodes) == (here.machine, here.cpus, here.nodes)
    assert abs(there.memory - here.memory) < 1024 * 1024  # it may be plugged in meanwhile
    assert there.release == there.build == ""


def test_logs_are_those_of_this_host_alone(hypervisor: LibvirtKvm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xmcompat.backends.libvirt_acts.is_local", lambda uri: False)
    for call, what in ((hypervisor.kernel_log, "the kernel's messages"), (hypervisor.daemon_log, "libvirt's log")):
        with pytest.raises(HypervisorError) as raised:
            call()
        assert raised.value.line() == f"{what} can only be had on the host itself, not through {hypervisor.uri}"


def test_the_kernels_messages_are_read(hypervisor: LibvirtKvm) -> None:
    text = hypervisor.kernel_log()
    assert text.count("\n") > 3
    assert not text.startswith("<")


@pytest.mark.parametrize("method", ["node", "kernel_log", "daemon_log"])
def test_a_connection_that_is_refused(method: str) -> None:
    """``xm info``, ``dmesg`` and ``log`` end where nothing answers, as they did without xend."""
    from xmcompat.errors import HypervisorUnreachable

    with pytest.raises(HypervisorUnreachable):
        getattr(connect("qemu+unix:///system?socket=/nonexistent/socket"), method)()
