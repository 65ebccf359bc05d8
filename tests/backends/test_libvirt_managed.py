"""Managed domains against a real libvirtd: definitions, images, and that what is set stays set."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.fixtures import run_xm
from tests.lab.guests import tick_xml
from xmcompat.backends.domain_xml import METADATA_URI, parse, read_record
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.backends.record import XenRecord
from xmcompat.errors import DeviceError, DomainExists, HypervisorError, OperationError
from xmcompat.toolstack import Toolstack

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

UUID = "2d3c5f10-6a2b-4d2f-9d62-0a7c5c1f9e02"
OTHER = "2d3c5f10-6a2b-4d2f-9d62-0a7c5c1f9e03"


def record(text: str = "(vm (name web1) (memory 16) (maxmem 32) (vcpus 2) (image (hvm (kernel ''))))") -> str:
    return f"<x:guest xmlns:x='{METADATA_URI}' dialect='xm'>{text}</x:guest>"


def xml(roms: Path, *, memory: int = 32 * 1024, name: str = "web1", uuid: str = UUID, metadata: str | None = None) -> str:
    """A guest of two vcpus with a balloon."""
    text = tick_xml(
        name, roms, kvm=False, uuid=uuid, memory=memory, metadata=record() if metadata is None else metadata, idle=True
    )  # fmt: skip
    text = text.replace("<vcpu>1</vcpu>", "<currentMemory unit='KiB'>16384</currentMemory><vcpu current='1'>2</vcpu>")
    return text.replace("<memballoon model='none'/>", "<memballoon model='virtio'/>")


@pytest.fixture
def toolstack(hypervisor: LibvirtKvm) -> Toolstack:
    return Toolstack(lambda: hypervisor)


@pytest.fixture
def web1(hypervisor: LibvirtKvm, roms: Path) -> DomainInfo:
    """A managed domain, halted."""
    hypervisor.define(xml(roms))
    return hypervisor.find("web1")


@pytest.fixture
def without_wire(node: PrivateLibvirtd) -> Iterator[LibvirtKvm]:
    hypervisor = connect(node.uri)
    hypervisor._close_wire()
    yield hypervisor
    hypervisor.close()


def live(hypervisor: LibvirtKvm) -> XenRecord:
    found = read_record(hypervisor.metadata(UUID) or "")
    assert found is not None
    return found


def known(hypervisor: LibvirtKvm) -> XenRecord:
    found = read_record(hypervisor.known_metadata(UUID) or "")
    assert found is not None
    return found


# -- definitions


def test_a_definition_is_halted_until_it_is_removed(hypervisor: LibvirtKvm, web1: DomainInfo) -> None:
    assert (web1.domid, web1.state, web1.persistent, web1.memory) == (None, DomainState.SHUTOFF, True, 16384)
    hypervisor.remove(UUID)
    assert hypervisor.domains() == []


@pytest.mark.parametrize(("name", "uuid"), [("web1", OTHER), ("other", UUID)])
def test_a_name_or_uuid_of_another_domain_is_not_defined(
    hypervisor: LibvirtKvm, web1: DomainInfo, roms: Path, name: str, uuid: str
) -> None:
    with pytest.raises(DomainExists):
        hypervisor.define(xml(roms, name=name, uuid=uuid))
    assert [info.uuid for info in hypervisor.domains()] == [UUID]


def test_a_start_is_paused_and_a_second_one_is_refused(hypervisor: LibvirtKvm, web1: DomainInfo) -> None:
    info = hypervisor.start_known(UUID)
    assert (info.state, info.persistent) == (DomainState.PAUSED, True)
    with pytest.raises(DomainExists):
        hypervisor.start_known(UUID)


def test_create_over_a_halted_domain_leaves_its_definition_as_it_was(
    hypervisor: LibvirtKvm, web1: DomainInfo, roms: Path
) -> None:
    hypervisor.create(xml(roms, memory=48 * 1024, metadata=record("(vm (name web1) (memory 48))")))
    assert hypervisor.find(UUID).max_memory == 48 * 1024
    assert "(memory 48)" in live(hypervisor).sxp
    assert "(memory 16)" in known(hypervisor).sxp
    hypervisor.destroy(UUID)
    assert hypervisor.find(UUID) == web1
    with pytest.raises(HypervisorError):
        hypervisor.create(xml(roms / "nowhere", memory=48 * 1024))
    assert hypervisor.find(UUID) == web1


# -- images


def test_an_image_is_told_alike_with_and_without_the_wire(
    hypervisor: LibvirtKvm, without_wire: LibvirtKvm, web1: DomainInfo, toolstack: Toolstack
) -> None:
    toolstack.managed.start("web1")
    assert hypervisor.suspended() == without_wire.suspended() == set()
    toolstack.managed.suspend("web1")
    assert hypervisor.suspended() == without_wire.suspended() == {UUID}
    assert parse(hypervisor.image(UUID)).name == "web1"
    with pytest.raises(HypervisorError):
        hypervisor.remove(UUID)
    assert hypervisor.find(UUID).domid is None


def test_a_suspended_domain_goes_on_under_a_new_id(hypervisor: LibvirtKvm, web1: DomainInfo, toolstack: Toolstack) -> None:
    first = toolstack.managed.start("web1").info
    started = live(hypervisor).started
    assert started is not None
    toolstack.managed.suspend("web1")
    info = toolstack.managed.resume("web1")
    assert info.domid != first.domid
    assert info.state in (DomainState.RUNNING, DomainState.BLOCKED)
    assert hypervisor.suspended() == set()
    again = live(hypervisor).started
    assert again is not None
    assert again > started
    assert known(hypervisor).started is None


def test_a_disk_that_has_gone_keeps_the_image(
    hypervisor: LibvirtKvm, toolstack: Toolstack, roms: Path, tmp_path: Path
) -> None:
    disk = roms / "web1-disk.img"
    disk.write_bytes(bytes(1 << 20))
    disk.chmod(0o666)
    hypervisor.define(tick_xml("web1", roms, kvm=False, uuid=UUID, disks=[disk], idle=True))
    toolstack.managed.start("web1")
    toolstack.managed.suspend("web1")
    disk.rename(disk.with_suffix(".away"))
    with pytest.raises(OperationError, match="^Error occurred when resuming: Device .* does not exist"):
        toolstack.managed.resume("web1")
    assert hypervisor.suspended() == {UUID}
    disk.with_suffix(".away").rename(disk)
    assert toolstack.managed.resume("web1", paused=True).state == DomainState.PAUSED


def test_a_save_that_fails_lets_the_domain_run_on(
    hypervisor: LibvirtKvm, web1: DomainInfo, toolstack: Toolstack, node: PrivateLibvirtd
) -> None:
    info = toolstack.managed.start("web1").info
    place = "/var/lib/libvirt/qemu/save/web1.save"
    assert run(node, "mkdir", "-p", place) == 0  # a folder in the place of the image: it cannot be written
    try:
        with pytest.raises(OperationError, match="could not be suspended: .*; it runs on$"):
            toolstack.managed.suspend("web1")
    finally:
        run(node, "rmdir", place)
    assert hypervisor.find(UUID).domid == info.domid
    assert hypervisor.find(UUID).state in (DomainState.RUNNING, DomainState.BLOCKED)


def run(node: PrivateLibvirtd, *words: str) -> int:
    return subprocess.run(node.enter(list(words)), check=False, timeout=30).returncode


# -- what is set stays set


def test_what_is_set_while_it_runs_is_so_after_its_next_start(
    hypervisor: LibvirtKvm, web1: DomainInfo, toolstack: Toolstack
) -> None:
    toolstack.managed.start("web1", paused=True)
    toolstack.tuning.set_memory("web1", 24)
    toolstack.tuning.set_vcpus("web1", 2)
    toolstack.tuning.pin("web1", "all", [0])
    assert known(hypervisor).started is None
    for _ in range(2):
        toolstack.destroy("web1")
        info = toolstack.managed.start("web1", paused=True).info
        assert (parse(hypervisor.domain_xml(UUID)).memory, info.vcpus) == (32 * 1024, 2)
        assert parse(hypervisor.definition(UUID)).current_memory == 24 * 1024
        assert [row.affinity for row in hypervisor.vcpus(UUID)] == [(0,), (0,)]
        for kept in (live(hypervisor), known(hypervisor)):
            assert {"(memory 24)", "(vcpu_avail 3)", "(cpus ((0) (0)))"} <= _forms(kept)


def _forms(kept: XenRecord) -> set[str]:
    return {text for text in ("(memory 24)", "(vcpu_avail 3)", "(cpus ((0) (0)))", "(maxmem 28)", "(vcpus 1)",
                              "(cpu_weight 512)", "(cpu_cap 50)") if text in kept.sxp}  # fmt: skip


def test_what_is_set_while_it_is_off_is_so_when_it_starts(
    hypervisor: LibvirtKvm, web1: DomainInfo, toolstack: Toolstack
) -> None:
    toolstack.tuning.set_max_memory("web1", 28)
    toolstack.tuning.set_vcpus("web1", 1)
    assert hypervisor.find(UUID).memory == 16 * 1024
    info = toolstack.managed.start("web1", paused=True).info
    assert (info.max_memory, info.vcpus) == (28 * 1024, 1)
    assert _forms(live(hypervisor)) == {"(maxmem 28)", "(vcpus 1)"}


def test_weight_and_cap_of_a_halted_domain_are_kept(hypervisor: LibvirtKvm, web1: DomainInfo, toolstack: Toolstack) -> None:
    toolstack.tuning.set_credit("web1", weight=512, cap=50)
    assert [(row.weight, row.cap) for row in toolstack.tuning.credits("web1")] == [(512, 50)]
    assert _forms(known(hypervisor)) == {"(cpu_weight 512)", "(cpu_cap 50)"}


def test_setting_a_domain_that_was_created_over_a_definition_keeps_both_records_apart(
    hypervisor: LibvirtKvm, web1: DomainInfo, toolstack: Toolstack, roms: Path
) -> None:
    hypervisor.create(xml(roms, metadata=record("(vm (name web1) (memory 16) (description other))")), paused=True)
    toolstack.tuning.set_memory("web1", 24)
    assert "(description other)" in live(hypervisor).sxp
    assert "(memory 24)" in live(hypervisor).sxp
    assert "(description other)" not in known(hypervisor).sxp
    assert "(memory 24)" in known(hypervisor).sxp


def test_a_mark_of_pause_is_gone_with_the_run(hypervisor: LibvirtKvm, web1: DomainInfo, toolstack: Toolstack) -> None:
    info = toolstack.managed.start("web1").info
    toolstack.pause("web1")
    assert hypervisor.marked_paused(info.uuid)
    toolstack.destroy("web1")
    toolstack.managed.start("web1", paused=True)
    assert not hypervisor.marked_paused(info.uuid)


# -- the program


def test_the_life_of_a_managed_domain(node: PrivateLibvirtd, hypervisor: LibvirtKvm, tmp_path: Path) -> None:
    (tmp_path / "web1.cfg").write_text(
        f"builder = 'hvm'\nname = 'web1'\nmemory = 16\nuuid = '{UUID}'\nboot = 'n'\nvif = ['bridge=xenbr0']\n"
        "on_xend_start = 'start'\n"
    )
    env = {"XMCOMPAT_ACCELERATOR": "tcg"}

    def xm(*words: str) -> tuple[str, str, int]:
        return run_xm(node, *words, cwd=tmp_path, env=env)

    out, err, status = xm("new", "web1.cfg")
    assert (out, status) == ('Using config file "./web1.cfg".\n', 0), err
    assert xm("list", "web1")[0].splitlines()[1].split() == ["web1", "16", "1", "0.0"]
    assert xm("domid", "web1")[0] == "None\n"
    mac = parse(hypervisor.domain_xml(UUID)).nics[0].mac
    out, err, status = xm("start", "web1")
    assert (out, status) == ("", 0), err
    assert parse(hypervisor.domain_xml(UUID)).nics[0].mac == mac
    assert xm("start", "web1")[1:] == ("Error: Domain is already running\n", 1)
    assert xm("delete", "web1")[1:] == ("Error: Domain is not halted.\n", 1)
    assert xm("suspend", "web1") == ("", "", 0)
    assert xm("list", "--state=suspended")[0].splitlines()[1].split() == ["web1", "16", "1", "0.0"]
    assert "    (status 3)\n" in xm("list", "-l", "web1")[0]
    assert "is suspended; its memory would be lost" in xm("create", "web1.cfg")[1]
    assert xm("resume", "web1", "-p") == ("", "", 0)
    assert xm("list", "web1")[0].splitlines()[1].split()[4] == "--p---"
    assert xm("destroy", "web1") == ("", "", 0)
    out, err, status = xm("create", "web1.cfg", "memory=24")
    assert status == 0, err
    assert hypervisor.find(UUID).memory == 24 * 1024
    assert xm("destroy", "web1") == ("", "", 0)
    assert hypervisor.find(UUID).memory == 16 * 1024
    assert xm("delete", "web1") == ("", "", 0)
    assert hypervisor.domains() == []


def test_a_missing_disk_is_told_before_the_start(hypervisor: LibvirtKvm, toolstack: Toolstack, roms: Path) -> None:
    hypervisor.define(tick_xml("web1", roms, kvm=False, uuid=UUID, disks=[Path("/nowhere/x.img")]))
    with pytest.raises(DeviceError, match="/nowhere/x.img does not exist"):
        toolstack.managed.start("web1")
    assert hypervisor.find(UUID).domid is None
