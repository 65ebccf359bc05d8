"""What ``domains``, ``find`` and ``host`` say, against a real libvirtd."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.lab.fixtures import Starter
from tests.lab.guests import tick_xml
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.backends.local_host import host_info
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.errors import DomainNotFound

pytestmark = pytest.mark.libvirt

UUID = "0b1c2d3e-0000-4000-8000-00163e000001"


def timeless(infos: list[DomainInfo]) -> set[DomainInfo]:
    return {info._replace(cpu_time=0) for info in infos}


def library_only(node: PrivateLibvirtd) -> LibvirtKvm:
    hypervisor = connect(node.uri)
    hypervisor._close_wire()
    return hypervisor


def test_running_paused_and_halted_domains_are_listed_with_all_their_numbers(
    hypervisor: LibvirtKvm, start: Starter, roms: Path
) -> None:
    start("runs", uuid=UUID, memory=24 * 1024)
    start("waits", paused=True, uuid=UUID[:-1] + "2")
    hypervisor._connection.defineXML(tick_xml("known", roms, uuid=UUID[:-1] + "3"))
    by_name = {info.name: info for info in hypervisor.domains()}
    assert set(by_name) == {"runs", "waits", "known"}
    runs = by_name["runs"]
    assert runs.cpu_time > 0
    assert runs == DomainInfo(
        domid=runs.domid, name="runs", uuid=UUID, state=DomainState.RUNNING, memory=24 * 1024, max_memory=24 * 1024,
        vcpus=1, cpu_time=runs.cpu_time, persistent=False,
    )  # fmt: skip
    assert by_name["waits"].state == DomainState.PAUSED
    assert by_name["known"] == DomainInfo(
        None, "known", UUID[:-1] + "3", DomainState.SHUTOFF, 16 * 1024, 16 * 1024, 1, 0, True
    )


def test_the_quick_listing_and_libvirts_library_agree(
    hypervisor: LibvirtKvm, node: PrivateLibvirtd, start: Starter, roms: Path
) -> None:
    start("runs")
    start("waits-é", paused=True)
    hypervisor._connection.defineXML(tick_xml("known", roms))
    slow = library_only(node)
    assert timeless(hypervisor.domains()) == timeless(slow.domains())
    assert len(slow.domains()) == 3
    slow.close()


def test_a_domain_whose_qemu_hangs_holds_nothing_up(
    hypervisor: LibvirtKvm, node: PrivateLibvirtd, start: Starter
) -> None:
    start("hangs")
    start("well")
    qemu = _qemu("hangs")
    os.kill(qemu, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        assert {info.name for info in hypervisor.domains()} == {"hangs", "well"}
        assert {info.name for info in library_only(node).domains()} == {"hangs", "well"}
        assert time.monotonic() - begun < 5
    finally:
        os.kill(qemu, signal.SIGCONT)


def _qemu(name: str) -> int:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if f"guest={name},debug-threads=on".encode() in words:
            return int(entry.parent.name)
    raise AssertionError(f"no QEMU of {name}")


def test_domains_that_vanish_or_break_during_the_listing_do_no_harm(node: PrivateLibvirtd) -> None:
    hypervisor = library_only(node)
    error = hypervisor._libvirt.libvirtError

    class Domain:
        def __init__(self, name: str, number: int, code: int) -> None:
            self._name, self._number, self._code = name, number, code

        def name(self) -> str:
            return self._name

        def ID(self) -> int:
            return self._number

        def UUID(self) -> bytes:
            return bytes([self._number] * 16)

        def UUIDString(self) -> str:
            return f"{self._number:032x}"

        def info(self) -> None:
            failure = error("failed")
            failure.err = (self._code, 10, "no good", 2, None, None, None, -1, -1)
            raise failure

    class Connection:
        def listAllDomains(self, flags: int = 0) -> list[Domain]:
            return [Domain("gone", 4, 42), Domain("broken", 5, 1)]

        def close(self) -> None:
            pass

    hypervisor._opened = Connection()
    assert hypervisor.domains() == [
        DomainInfo(5, "broken", f"{5:032x}", DomainState.BLOCKED, 0, 0, 0, 0, False)
    ]
    hypervisor.close()


def test_a_domain_is_found_by_name_then_id_then_uuid(hypervisor: LibvirtKvm, start: Starter) -> None:
    web = start("web1", paused=True, uuid=UUID)
    assert web.domid is not None
    for designation in ("web1", str(web.domid), f"00{web.domid}", UUID):
        assert hypervisor.find(designation)._replace(cpu_time=0) == web._replace(cpu_time=0)
    hides = start(str(web.domid), paused=True)
    assert hypervisor.find(str(web.domid)).uuid == hides.uuid


@pytest.mark.parametrize(
    "designation", ["nosuch", "", "web", "WEB1", "99999", "9" * 30, "9" * 5000, "-1", UUID.upper(), "a\0b", "\udcff", "²"]
)
def test_what_is_no_domain_is_not_found(hypervisor: LibvirtKvm, start: Starter, designation: str) -> None:
    start("web1", paused=True, uuid=UUID)
    with pytest.raises(DomainNotFound) as raised:
        hypervisor.find(designation)
    assert raised.value.message == f"Domain '{designation}' does not exist."


def test_an_id_never_finds_a_halted_domain(hypervisor: LibvirtKvm, roms: Path) -> None:
    hypervisor._connection.defineXML(tick_xml("halted", roms, uuid=UUID))
    assert hypervisor.find("halted").domid is None
    assert hypervisor.find(UUID).name == "halted"
    for number in ("0", "-1", str(2**32 - 1)):
        with pytest.raises(DomainNotFound):
            hypervisor.find(number)


def test_the_host_is_this_machine(hypervisor: LibvirtKvm) -> None:
    here = host_info()
    host = hypervisor.host()
    assert (host.hostname, host.memory, host.cpus) == (os.uname().nodename, here.memory, os.cpu_count())
    assert 0 < here.cpu_time <= host.cpu_time


def test_a_remote_host_is_asked_through_libvirt(
    node: PrivateLibvirtd, monkeypatch: pytest.MonkeyPatch
) -> None:
    hypervisor = connect(node.uri)
    monkeypatch.setattr("xmcompat.backends.libvirt_queries.is_local", lambda uri: False)
    before, host, after = host_info(), hypervisor.host(), host_info()
    tick = 10**9 // os.sysconf("SC_CLK_TCK")
    assert (host.hostname, host.memory, host.cpus) == ("lab", before.memory, before.cpus)
    assert before.cpu_time - tick <= host.cpu_time <= after.cpu_time + tick
    hypervisor.close()


def test_the_bridges_are_those_of_the_hypervisors_network(hypervisor: LibvirtKvm) -> None:
    assert hypervisor.bridges() == ["xenbr0", "xenbr1"]


def test_kvm_is_offered_here(hypervisor: LibvirtKvm) -> None:
    assert hypervisor.supports_kvm() is True
