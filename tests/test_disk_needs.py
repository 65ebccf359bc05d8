"""What the disks of a guest need: taken before it starts, given back when it has gone, and nothing where nothing is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.fakes_lifecycle import DefinitionsAndDomains
from tests.lab.fixtures import CHECKOUT
from tests.storage.test_holds import Shelf
from xmcompat import disk_needs, disk_secrets, guest_kernels
from xmcompat.backends import domain_xml
from xmcompat.backends.devices import BlockSource, Bus, Disk, FileSource, HostNeed, NetworkSource
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.machine import Accelerator
from xmcompat.creation import planned
from xmcompat.errors import DeviceError
from xmcompat.guest import FirmwareBoot, GuestConfig, Vbd
from xmcompat.storage import holds, mapped, needs, served
from xmcompat.translate import partitions

WEB1, WEB2 = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
GUEST = GuestConfig(name="web1", boot=FirmwareBoot())
FACTS = HostFacts(accelerator=Accelerator.TCG)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """A kind "shelf" of storage: what is in a folder is up. Nothing is written to this host's /run."""
    shelf = Shelf(tmp_path / "shelf")
    shelf.folder.mkdir()
    monkeypatch.setattr(disk_needs, "FOLDER", str(tmp_path / "holds"))
    for module, name in ((disk_secrets, "secrets"), (guest_kernels, "boot")):
        monkeypatch.setattr(module, "FOLDER", str(tmp_path / name))
    monkeypatch.setattr(needs, "KINDS", ("shelf",))
    for module in (holds, needs):
        monkeypatch.setattr(module, "kind", lambda name: shelf)
    monkeypatch.setattr(shelf, "need_of", lambda path: needs.Need(kind="shelf", name=os.path.basename(path))
                        if os.path.dirname(path) == str(shelf.folder) else None)  # fmt: skip
    yield shelf


@pytest.fixture
def plain(tmp_path: Path) -> str:
    path = tmp_path / "plain.img"
    path.write_bytes(bytes(4096))
    return str(path)


def disk(path: str | Path, vdev: str = "xvda", need: HostNeed | None = None) -> Disk:
    return Disk(source=FileSource(path=str(path), need=need), target="vda", bus=Bus.VIRTIO, vdev=vdev)


def there(domid: int, name: str, uuid: str) -> DomainInfo:
    return domain(name, domid=domid, uuid=uuid)


def ready(*disks: Disk, uuid: str = WEB1, hypervisor: FakeHypervisor | None = None) -> list[str]:
    found = disk_needs.ready(hypervisor or FakeHypervisor(), disks, GUEST, uuid)
    return [one.source.path for one in found if one.source is not None]


def holders() -> list[str]:
    return sorted(holder for hold in holds.held(disk_needs.FOLDER) for holder in hold.holders)


def test_what_a_path_shows_to_be_needed_is_brought_up_and_held(shelf: Shelf, plain: str) -> None:
    assert ready(disk(plain), disk(shelf.folder / "lun0", "xvdb")) == [plain, f"{shelf.folder}/lun0"]
    assert "lun0" in shelf.there()
    assert holders() == [f"{WEB1}.51728"]
    disk_needs.gone(FakeHypervisor(), WEB1)
    assert shelf.there() == []
    assert not disk_needs.is_any()


def test_what_a_disk_says_to_be_needed_is_found_where_it_comes_up(shelf: Shelf) -> None:
    assert ready(disk("", need=HostNeed(kind="shelf", name="lun7"))) == [f"{shelf.folder}/lun7"]
    assert holders() == [f"{WEB1}.51712"]


def test_a_guest_without_needs_leaves_no_trace(shelf: Shelf, plain: str) -> None:
    assert ready(disk(plain)) == [plain]
    assert not os.path.exists(disk_needs.FOLDER)


def test_a_plain_guest_costs_a_look_and_loads_nothing(tmp_path: Path, plain: str) -> None:
    """One look at the disk and at each of the folders where something could be kept for a guest."""
    code = f"""
import os, sys
from types import SimpleNamespace
from xmcompat import disk_needs, disk_secrets, guest_kernels
from xmcompat.backends.devices import Bus, Disk, FileSource
for module in (disk_needs, disk_secrets, guest_kernels):
    module.FOLDER = {str(tmp_path)!r} + "/" + module.__name__
here, looks = SimpleNamespace(uri="qemu:///system"), []
sys.addaudithook(lambda event, args: looks.append(args[0]) if event in ("os.listdir", "os.scandir", "open") else None)
disk = Disk(source=FileSource(path={plain!r}), target="vda", bus=Bus.VIRTIO, vdev="xvda")
before, looks[:] = set(sys.modules), []
assert disk_needs.ready(here, (disk,), None, "x", check=False) == (disk,)
at_start = len(looks)
disk_needs.settle("x")
assert disk_needs.gone(here, "x") == ()
assert disk_needs.sweep(here) == disk_needs.repaired(here) == ()
print(sorted(set(sys.modules) - before), at_start <= 5, all(str(one).startswith({str(tmp_path)!r}) for one in looks))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}
    )
    assert (done.stdout, done.stderr) == ("[] True True\n", "")


def test_both_rooms_mean_the_same_folder() -> None:
    assert disk_needs.FOLDER == holds.FOLDER


def test_where_one_disk_fails_the_others_are_given_back(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="Device 51728 .*does not exist"):
        ready(disk(shelf.folder / "lun0"), disk(tmp_path / "missing", "xvdb"))
    assert shelf.there() == []
    assert not disk_needs.is_any()


def test_what_does_not_come_up_is_told_of_the_device(shelf: Shelf) -> None:
    shelf.fails_at = "session"
    with pytest.raises(DeviceError, match=r"Device 51712 \(vbd\) could not be connected. lun0: no session"):
        ready(disk(shelf.folder / "lun0"))
    assert not disk_needs.is_any()


def test_what_was_up_before_stays_so(shelf: Shelf) -> None:
    for name in ("lun0", "lun1"):
        (shelf.folder / name).touch()
    ready(disk(shelf.folder / "lun0"))
    assert not disk_needs.is_any()
    ready(disk(shelf.folder / "lun2"), uuid=WEB2)
    ready(disk(shelf.folder / "lun1"))
    disk_needs.gone(FakeHypervisor(), WEB1)
    assert "lun1" in shelf.there()
    assert holders() == [f"{WEB2}.51712"]


def test_the_last_of_two_guests_takes_it_down(shelf: Shelf) -> None:
    hypervisor = FakeHypervisor.with_domains(there(1, "web1", WEB1), there(2, "web2", WEB2))
    lun = disk(shelf.folder / "lun0")
    for uuid in (WEB1, WEB2):
        disk_needs.ready(hypervisor, (lun,), GUEST, uuid, check=False)
    disk_needs.gone(FakeHypervisor(), WEB1)
    assert "lun0" in shelf.there()
    disk_needs.gone(FakeHypervisor(), WEB2)
    assert shelf.there() == []


def test_what_nobody_saw_ending_is_swept_by_the_next_start(shelf: Shelf, plain: str) -> None:
    hypervisor = FakeHypervisor.with_domains(there(1, "web1", WEB1))
    ready(disk(shelf.folder / "lun0"), hypervisor=hypervisor)
    disk_needs.settle(WEB1)
    ready(disk(plain), uuid=WEB2, hypervisor=hypervisor)
    assert "lun0" in shelf.there()
    del hypervisor.known[WEB1]
    ready(disk(plain), uuid=WEB2, hypervisor=hypervisor)
    assert shelf.there() == []


def test_one_that_is_known_and_off_holds_nothing(shelf: Shelf) -> None:
    hypervisor = FakeHypervisor.with_domains(there(1, "web1", WEB1))
    ready(disk(shelf.folder / "lun0"), hypervisor=hypervisor)
    disk_needs.settle(WEB1)
    hypervisor.known[WEB1] = hypervisor.known[WEB1]._replace(domid=None)
    disk_needs.sweep(hypervisor)
    assert shelf.there() == []


@pytest.mark.parametrize("lives", [True, False])
def test_a_start_that_fails_gives_back_unless_the_domain_is_there(shelf: Shelf, lives: bool) -> None:
    hypervisor = FakeHypervisor.with_domains(*([there(1, "web1", WEB1)] if lives else []))
    with pytest.raises(KeyboardInterrupt), disk_needs.given_back(hypervisor, WEB1):
        ready(disk(shelf.folder / "lun0"), hypervisor=hypervisor)
        raise KeyboardInterrupt
    assert bool(shelf.there()) == lives


def test_another_medium_in_the_drive(shelf: Shelf, plain: str) -> None:
    """The old one is given back once the new one is in, the new one where it could not be put in."""
    drive = disk(shelf.folder / "cd1", "hdc")
    ready(drive)
    new = disk(shelf.folder / "cd2", "hdc")
    for failing in (True, False):
        ready(new)
        try:
            with disk_needs.exchanged(WEB1, drive, new):
                assert {"cd1", "cd2"} <= set(shelf.there())
                if failing:
                    raise RuntimeError
        except RuntimeError:
            assert shelf.there() == ["cd1", "cd1.device", "cd1.session"]
    assert shelf.there() == ["cd2", "cd2.device", "cd2.session"]
    with disk_needs.exchanged(WEB1, new, disk(plain, "hdc")):
        pass
    assert shelf.there() == []


def test_one_disk_of_a_guest_is_given_back_alone(shelf: Shelf) -> None:
    ready(disk(shelf.folder / "lun0"), disk(shelf.folder / "lun1", "xvdb"))
    disk_needs.gone(FakeHypervisor(), WEB1, "xvdb")
    assert shelf.there() == ["lun0", "lun0.device", "lun0.session"]


@pytest.mark.parametrize(("state", "shown", "lives"), [
    (DomainState.RUNNING, "<domain type='kvm' id='4'><name>web1</name></domain>", True),
    (DomainState.PAUSED, "<domain type='kvm' id='4'/>", True),
    (DomainState.DYING, "<domain type='kvm' id='4'/>", True),
    (DomainState.DYING, "<domain type='kvm'><devices id='4'/></domain>", False),
    (DomainState.CRASHED, "<domain type='kvm'/>", False),
    (DomainState.DEAD, "<domain type='kvm'/>", False),
])  # fmt: skip
def test_what_a_domain_has_stays_where_it_was_started_again_since_its_end(
    shelf: Shelf, state: DomainState, shown: str, lives: bool
) -> None:
    """One that has ended may stay listed as if it were there: it has nothing more."""
    hypervisor = FakeHypervisor.with_domains(there(4, "web1", WEB1)._replace(state=state))
    hypervisor.xml[WEB1] = shown
    ready(disk(shelf.folder / "lun0"), hypervisor=hypervisor)
    disk_needs.settle(WEB1)
    assert disk_needs.gone(hypervisor, WEB1) == ()
    assert bool(shelf.there()) == lives


def test_a_disk_that_was_plugged_in_again_keeps_what_it_needs(shelf: Shelf) -> None:
    hypervisor = FakeHypervisor.with_domains(there(1, "web1", WEB1))
    lun = disk(shelf.folder / "lun0", "xvdb")
    ready(lun, hypervisor=hypervisor)
    disk_needs.settle(WEB1)
    hypervisor.xml[WEB1] = domain_xml.render(replace(planned(replace(GUEST, uuid=WEB1, memory=64), FACTS).machine, disks=(lun,)))
    disk_needs.gone(hypervisor, WEB1, "xvdb")
    assert holders() == [f"{WEB1}.51728"]
    hypervisor.xml[WEB1] = hypervisor.xml[WEB1].replace("lun0", "lun1").replace("ua-xvdb", "ua-xvdc")
    disk_needs.gone(hypervisor, WEB1, "xvdb")
    assert shelf.there() == []


def test_what_no_path_tells_of_is_kept_by_a_guest_that_has_a_disk_of_that_name(shelf: Shelf) -> None:
    """A script's disk is a link to a device, which may be a volume of a kind of its own."""
    hypervisor = FakeHypervisor.with_domains(there(1, "web1", WEB1))
    lun = disk(shelf.folder / "lun0", "xvdb", HostNeed(kind="block_script", name="script"))
    ready(lun, hypervisor=hypervisor)
    disk_needs.settle(WEB1)
    hypervisor.xml[WEB1] = domain_xml.render(replace(
        planned(replace(GUEST, uuid=WEB1, memory=64), FACTS).machine, disks=(disk(shelf.folder / "lun1", "xvdb"),)
    ))  # fmt: skip
    disk_needs.gone(hypervisor, WEB1, "xvdb")
    assert holders() == [f"{WEB1}.51728"]


def test_a_volume_goes_where_another_was_plugged_in_by_its_name(shelf: Shelf) -> None:
    hypervisor = FakeHypervisor.with_domains(there(1, "web1", WEB1))
    lun0, lun1 = disk(shelf.folder / "lun0", "xvdb"), disk(shelf.folder / "lun1", "xvdb")
    ready(lun0, hypervisor=hypervisor)
    ready(lun1, hypervisor=hypervisor)
    disk_needs.settle(WEB1)
    hypervisor.xml[WEB1] = domain_xml.render(replace(planned(replace(GUEST, uuid=WEB1, memory=64), FACTS).machine, disks=(lun1,)))
    disk_needs.gone(hypervisor, WEB1, "xvdb")
    assert shelf.there() == ["lun1", "lun1.device", "lun1.session"]


def test_what_cannot_be_taken_down_is_said_and_tried_again(shelf: Shelf) -> None:
    ready(disk(shelf.folder / "lun0"))
    shelf.fails_at = "release"
    assert disk_needs.gone(FakeHypervisor(), WEB1) == ("no release",)
    assert disk_needs.sweep(FakeHypervisor()) == ("no release",)
    shelf.fails_at = ""
    assert disk_needs.sweep(FakeHypervisor()) == ()
    assert not disk_needs.is_any()


# -- disks of several volumes


class Kernel:
    """``storage.mapped`` without a kernel: what is joined, and of what."""

    def __init__(self, possible: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there: dict[str, str] = {}
        monkeypatch.setattr(mapped, "possible", lambda: possible)
        monkeypatch.setattr(mapped, "fits", lambda parts: True)
        monkeypatch.setattr(mapped, "assemble", self._assemble)
        monkeypatch.setattr(mapped, "release", lambda need: self.there.pop(need.name, None))

    def _assemble(self, need: needs.Need, deadline: float) -> str:
        self.there[need.name] = need.words["parts"]
        return mapped.device(need.name)


def parts(*paths: str | Path, block: bool = True) -> Disk:
    kind = BlockSource if block else FileSource
    members = tuple(
        Disk(source=kind(path=str(path)), target=f"vda{number}", bus=Bus.VIRTIO, vdev=f"xvda{number}")
        for number, path in enumerate(paths, 1)
    )
    socket = f"{partitions.FOLDER}/{WEB1}-xvda/nbd"
    return Disk(source=NetworkSource(protocol="nbd", socket=socket), target="vda", bus=Bus.VIRTIO, vdev="xvda", members=members)


@pytest.mark.parametrize("possible", [True, False])
def test_volumes_are_joined_by_the_kernel_where_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, possible: bool
) -> None:
    monkeypatch.setattr(disk_needs, "FOLDER", str(tmp_path / "holds"))
    kernel, served_ones = Kernel(possible, monkeypatch), []
    monkeypatch.setattr(served, "assemble", lambda need, deadline: served_ones.append(need.name) or "")
    monkeypatch.setattr(served, "release", lambda need: served_ones.remove(need.name))
    joined = parts("/dev/null", "/dev/zero")
    (found,) = disk_needs.ready(FakeHypervisor(), (joined,), GUEST, WEB1, check=False)
    if possible:
        assert found.source == BlockSource(path=f"/dev/mapper/xmc-{WEB1}-xvda")
        assert [row[1] for row in json.loads(kernel.there[f"xmc-{WEB1}-xvda"])] == ["/dev/null", "/dev/zero"]
        assert (found.cache, found.io) == ("none", "native")
    else:
        assert found == joined
        assert served_ones == [f"{partitions.FOLDER}/{WEB1}-xvda"]
    assert disk_needs.gone(FakeHypervisor(), WEB1) == ()
    assert (kernel.there, served_ones) == ({}, [])


@pytest.mark.parametrize("possible", [True, False])
def test_a_known_guest_has_them_joined_as_the_host_can_at_each_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, possible: bool
) -> None:
    """Whichever way its definition says; then the definition says it as it is, and keeps all else."""
    monkeypatch.setattr(disk_needs, "FOLDER", str(tmp_path / "holds"))
    kernel, served_ones = Kernel(possible, monkeypatch), []
    monkeypatch.setattr(served, "assemble", lambda need, deadline: served_ones.append(need.name) or "")
    by_server = parts("/dev/null", "/dev/zero")
    by_kernel = partitions.by_kernel(by_server)
    assert partitions.by_server(by_kernel) == by_server
    expected, other = (by_kernel, by_server) if possible else (by_server, by_kernel)
    for written in (by_server, by_kernel):
        (found,) = disk_needs.ready(FakeHypervisor(), (written,), GUEST, WEB1, check=False)
        assert found == expected
    assert (list(kernel.there), served_ones[:1]) == (
        ([f"xmc-{WEB1}-xvda"], []) if possible else ([], [f"{partitions.FOLDER}/{WEB1}-xvda"])
    )
    lone = replace(disk("/dev/full", "xvdb"), target="vdb")
    machine = replace(planned(replace(GUEST, uuid=WEB1, memory=64), FACTS).machine, disks=(other, lone))
    address = '<address type="pci" slot="0x07"/>'
    xml = domain_xml.render(machine).replace('<target dev="vda"', f'{address}<target dev="vda"')
    host = DefinitionsAndDomains()
    host.defined[WEB1] = xml
    disk_needs.renew(host, WEB1, (found, lone))  # type: ignore[arg-type]
    after = host.defined[WEB1]
    assert domain_xml.parse(after) == replace(machine, disks=(replace(expected, members=()), lone))
    assert address in after
    assert disk_needs.renewed(after, (found, lone)) == ""


def test_a_guest_that_starts_anew_has_its_disk_joined_in_one_way_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other way would still have the volumes open."""
    monkeypatch.setattr(disk_needs, "FOLDER", str(tmp_path / "holds"))
    order: list[str] = []
    for kind, name in ((mapped, "kernel"), (served, "server")):
        monkeypatch.setattr(kind, "assemble", lambda need, deadline, name=name: order.append(f"{name} up") or "")
        monkeypatch.setattr(kind, "release", lambda need, name=name: order.append(f"{name} down"))
    monkeypatch.setattr(mapped, "fits", lambda parts: True)
    for possible in (True, False, True):
        monkeypatch.setattr(mapped, "possible", lambda possible=possible: possible)
        disk_needs.ready(FakeHypervisor(), (parts("/dev/null", "/dev/zero"),), GUEST, WEB1, check=False)
    assert order == ["kernel up", "kernel down", "server up", "server down", "kernel up"]
    assert disk_needs.gone(FakeHypervisor(), WEB1) == ()
    assert order[5:] == ["kernel down"]
    assert not disk_needs.is_any()


def test_what_the_volumes_need_is_up_before_they_are_joined_and_goes_after(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    kinds = {"shelf": shelf, "mapped": mapped}
    for module in (holds, needs):
        monkeypatch.setattr(module, "kind", lambda name: kinds[name])
    Kernel(True, monkeypatch)
    assemble, release = shelf.assemble, shelf.release
    monkeypatch.setattr(shelf, "assemble", lambda need, deadline: order.append(f"{need.name} up") or assemble(need, deadline))
    monkeypatch.setattr(shelf, "release", lambda need: order.append(f"{need.name} down") or release(need))
    monkeypatch.setattr(mapped, "assemble", lambda need, deadline: order.append("joined") or "")
    monkeypatch.setattr(mapped, "release", lambda need: order.append("parted"))
    disk_needs.ready(FakeHypervisor(), (parts(shelf.folder / "lun1", shelf.folder / "lun2"),), GUEST, WEB1, check=False)
    assert order == ["lun1 up", "lun2 up", "joined"]
    disk_needs.gone(FakeHypervisor(), WEB1)
    assert order[3:][0] == "parted"
    assert sorted(order[4:]) == ["lun1 down", "lun2 down"]


LUN = "/dev/disk/by-path/ip-192.0.2.8:3260-iscsi-iqn.2010-01.com.example:store-lun-1"


@pytest.mark.parametrize("kernels_name", ["/dev/sda", "/dev/dm-7", "/dev/mapper/mpathb"])
def test_a_lun_is_found_by_its_own_name_when_its_guest_comes_back(
    kernels_name: str, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The XML has the kernel's name of the day, where no udev has made another: after a reboot another LUN has that."""
    monkeypatch.setattr(shelf, "need_of", lambda path: needs.Need(kind="shelf", name="lun1") if path == LUN else None)
    guest = replace(GUEST, uuid=WEB1, memory=64, disks=(Vbd(uname=f"phy:{LUN}", protocol="phy", path=LUN, vdev="xvda"),))
    machine = planned(guest, FACTS).machine
    (lun,) = machine.disks
    xml = domain_xml.render(replace(machine, disks=(replace(lun, source=BlockSource(path=kernels_name)),)))
    disks = disk_needs.ready_again(FakeHypervisor(), domain_xml.parse(xml), check=False, from_image=True)
    found = f"{shelf.folder}/lun1"
    assert [disk.source for disk in disks] == [BlockSource(path=found)]
    changed = disk_needs.renewed(xml, disks)
    assert [disk.source for disk in domain_xml.parse(changed).disks] == [BlockSource(path=found)]
    assert disk_needs.renewed(changed, disks) == ""
    host = DefinitionsAndDomains()
    host.defined[WEB1] = xml
    disk_needs.renew(host, WEB1, disks)  # type: ignore[arg-type]
    assert host.defined[WEB1] == changed


def test_a_device_by_another_name_of_it_stays_as_it_is_written(shelf: Shelf, plain: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(plain)
    ready(disk(shelf.folder / "lun0", "xvdb"))  # something is held
    machine = replace(planned(replace(GUEST, uuid=WEB1, memory=64), FACTS).machine, disks=(disk(tmp_path / "link"),))
    assert disk_needs.renewed(domain_xml.render(machine), (disk(plain),)) == ""


@pytest.mark.parametrize("written", ["/dev/vg0/web1", "/dev/sda1", "/srv/a.img", "/dev/mapper/vg0-web1"])
def test_what_somebody_has_written_into_a_definition_stays(written: str, shelf: Shelf) -> None:
    guest = replace(GUEST, uuid=WEB1, memory=64, disks=(Vbd(uname=f"phy:{LUN}", protocol="phy", path=LUN, vdev="xvda"),))
    machine = planned(guest, FACTS).machine
    (lun,) = machine.disks
    xml = domain_xml.render(replace(machine, disks=(replace(lun, source=BlockSource(path=written)),)))
    (found,) = disk_needs.ready_again(FakeHypervisor(), domain_xml.parse(xml), check=False)
    assert found.source == BlockSource(path=written)


def test_a_link_to_what_is_not_up_says_what_is_needed(shelf: Shelf, tmp_path: Path) -> None:
    """Over as many links as there are, and where the link leads to nothing as long as that is not up."""
    (tmp_path / "inner").symlink_to(shelf.folder / "lun0")
    (tmp_path / "outer").symlink_to("inner")
    assert ready(disk(tmp_path / "outer")) == [f"{shelf.folder}/lun0"]
    assert "lun0" in shelf.there() and holders() == [f"{WEB1}.51712"]
    assert ready(disk(tmp_path / "outer"), uuid=WEB2) == [f"{shelf.folder}/lun0"]
    assert len(holders()) == 2, "what is up for another guest is held for this one too"
    for uuid in (WEB1, WEB2):
        assert disk_needs.gone(FakeHypervisor(), uuid) == ()
    assert shelf.there() == []


def test_a_folder_that_is_a_link_leads_there_too(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "disks").symlink_to(shelf.folder)
    assert ready(disk(tmp_path / "disks" / "lun0")) == [f"{shelf.folder}/lun0"]
    assert holders() == [f"{WEB1}.51712"]


def test_a_ring_of_links_needs_nothing(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(DeviceError, match="Too many levels of symbolic links"):
        ready(disk(tmp_path / "a"))


def test_a_password_is_found_for_a_volume_that_is_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the host logs in with, for a partition as for a whole disk."""
    monkeypatch.setattr(disk_secrets, "FOLDER", str(tmp_path / "secrets"))
    (tmp_path / "chap").write_text("hush\n")
    words = f"iqn=iqn.2010-01.com.example:a,portal=192.0.2.1:3260,user=xen,password_file={tmp_path}/chap,multipath=y"
    vbd = Vbd(uname=f"iscsi:{words}", protocol="iscsi", path=words, vdev="xvda1")
    need = HostNeed(kind="iscsi", name="a", words=(("user", "xen"),))
    member = Disk(source=BlockSource(path="/dev/sda", need=need), target="vda1", bus=Bus.VIRTIO, vdev="xvda1")
    whole = Disk(source=NetworkSource(protocol="nbd"), target="vda", bus=Bus.VIRTIO, vdev="xvda", members=(member,))
    guest = GuestConfig(name="web1", boot=FirmwareBoot(), disks=(vbd,))
    (found,) = disk_secrets.prepared(FakeHypervisor(), (whole,), guest, WEB1, lasting=False)
    (part,) = found.members
    assert isinstance(part.source, BlockSource)
    assert part.source.need is not None
    assert dict(part.source.need.secret) == {"password": "hush"}


@pytest.mark.parametrize(("failures", "unpaused", "looks"), [
    ([False], 0, 1),
    ([True, *[False] * 5], 1, 6),
    ([True, False, False, True, *[False] * 5], 2, 9),
])  # fmt: skip
def test_a_guest_whose_disk_is_served_again_is_looked_at_until_nothing_fails_any_more(
    monkeypatch: pytest.MonkeyPatch, failures: list[bool], unpaused: int, looks: int
) -> None:
    """QEMU tells of a try that failed only when the guest was seen to run."""
    fake, told = FakeHypervisor(), iter(failures)
    seen: list[bool] = []

    def paused_by_error(_uuid: str) -> bool:
        seen.append(next(told))
        return seen[-1]

    monkeypatch.setattr(fake, "paused_by_error", paused_by_error)
    monkeypatch.setattr(fake, "unpause", lambda uuid: fake.calls.append(("unpause", uuid)))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert disk_needs._goes_on(fake, "uuid", 10.0)
    assert (len(fake.calls), len(seen)) == (unpaused, looks)


def test_a_guest_whose_disk_fails_time_and_again_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeHypervisor()
    monkeypatch.setattr(fake, "paused_by_error", lambda _uuid: True)
    monkeypatch.setattr(fake, "unpause", lambda _uuid: None)
    assert not disk_needs._goes_on(fake, "uuid", 0.5)


def test_a_guest_whose_disks_are_served_is_let_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others wait for it: whoever unpauses a guest, and xend."""
    fake = FakeHypervisor()
    monkeypatch.setattr(fake, "paused_by_error", lambda _uuid: True)
    monkeypatch.setattr(fake, "unpause", lambda uuid: fake.calls.append(("unpause", uuid)))
    assert not disk_needs._goes_on(fake, "uuid", 0.0)
    assert fake.calls == [("unpause", "uuid")]
