"""Kernels taken out of guests' disks: taken anew by the keeper, kept as long as the domain is known, swept afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.fakes_lifecycle import DefinitionsAndDomains
from tests.storage.boot_trees import bzimage, partition_image, tree
from tests.xend.test_keeper import World
from xmcompat import disk_needs, guest_kernels
from xmcompat.backends import domain_xml
from xmcompat.backends.boot_xml import with_boot
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator, DeviceBoot, DirectKernel
from xmcompat.creation import planned
from xmcompat.errors import ConfigError
from xmcompat.guest import GuestConfig, LoaderBoot, Vbd

UUID = "11111111-2222-4333-8444-555555555555"
ONE = "title a\nkernel /boot/k root=/dev/xvda %s\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(guest_kernels.VARIABLE, str(tmp_path / "boot"))
    (tmp_path / "boot").mkdir()
    return tmp_path / "boot"


def write(place: Path, menu: str) -> Path:
    return partition_image(place / "root.img", tree(place / "tree", {"boot/grub/menu.lst": menu, "boot/k": bzimage()}))


def guest(place: Path) -> GuestConfig:
    disk = str(place / "root.img")
    return GuestConfig(
        name="web1", source="/etc/xen/web1.cfg", uuid=UUID, memory=64, boot=LoaderBoot(bootloader="pygrub", cmdline="own"),
        options={"bootloader": "pygrub", "extra": "own"}, lines={"bootloader": 4},
        disks=(Vbd(uname=f"file:{disk}", protocol="file", path=disk, vdev="xvda"),),
    )  # fmt: skip


def definition(of: GuestConfig, folder: Path) -> str:
    facts = HostFacts(accelerator=Accelerator.TCG, boot_folder=str(folder))
    machine = planned(of, facts).machine
    assert machine.record is not None
    record = machine.record._replace(started=time.time() - 3600)
    return domain_xml.render(replace(machine, boot=DirectKernel(kernel=f"{folder}/{UUID}/kernel", cmdline="old"), record=record))


def test_the_keeper_builds_a_guest_anew_with_the_kernel_of_the_moment(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_needs, "ready_again", lambda hypervisor, machine: machine.disks)
    monkeypatch.setattr(disk_needs, "sweep", lambda hypervisor: ())
    world = World(DefinitionsAndDomains(uri="fake:///"))
    world.libvirt.boot(definition(guest(tmp_path), folder))
    write(tmp_path, ONE % "new")
    world.end("reboot")
    boot = domain_xml.parse(world.libvirt.there[UUID].xml).boot
    assert isinstance(boot, DirectKernel)
    assert boot.cmdline.startswith("root=/dev/vda new own ")
    assert Path(boot.kernel).read_bytes() == bzimage()
    assert boot.initrd == ""
    write(tmp_path, "title a\nkernel /gone\n")
    world.record()
    world.libvirt.there[UUID].xml = definition(guest(tmp_path), folder)
    world.end("reboot")
    assert UUID not in world.libvirt.there
    assert "could not be started again" in world.logged[-1][1] and "/gone is not there" in world.logged[-1][1]


def test_a_disk_that_got_a_boot_sector_meanwhile_starts_by_itself(tmp_path: Path, folder: Path) -> None:
    image = write(tmp_path, ONE % "new")
    fake = DefinitionsAndDomains(uri="fake:///")
    xml = definition(guest(tmp_path), folder)
    fake.defined[UUID] = xml
    disks = domain_xml.parse(xml).disks
    assert guest_kernels.renew(fake, UUID, disks)  # type: ignore[arg-type]
    with open(image, "r+b") as file:
        file.write(b"\xeb\x63GRUB".ljust(440, b"\x90"))
        file.seek(510)
        file.write(b"\x55\xaa")
    assert not guest_kernels.renew(fake, UUID, disks)  # type: ignore[arg-type]
    machine = domain_xml.parse(fake.defined[UUID])
    assert (machine.boot, machine.disks[0].boot_order) == (DeviceBoot(order=()), 1)


def test_a_refusal_names_the_place_in_the_configuration(tmp_path: Path, folder: Path) -> None:
    write(tmp_path, "")
    of = guest(tmp_path)
    machine = domain_xml.parse(definition(of, folder))
    with pytest.raises(ConfigError) as caught:
        guest_kernels.take(of, machine, str(folder))
    assert caught.value.line().startswith(
        f"/etc/xen/web1.cfg:4: the disk xvda ({tmp_path}/root.img) has no boot loader in its boot sector, and gives no kernel: "
        "the boot menu /boot/grub/menu.lst of xvda has no entries; run grub-install in the guest, or copy kernel and"
    )


def test_what_was_taken_stays_while_the_domain_is_known(folder: Path) -> None:
    (folder / UUID).mkdir()
    fake = FakeHypervisor.with_domains(domain("web1", None, uuid=UUID))
    guest_kernels.gone(fake, UUID)
    assert (folder / UUID).exists()
    fake.known.clear()
    guest_kernels.gone(fake, UUID)
    assert not (folder / UUID).exists()
    guest_kernels.gone(fake, UUID)


def test_a_sweep_spares_what_may_just_be_starting(folder: Path) -> None:
    old = time.time() - 3600
    for name, age in ((UUID, old), ("22222222-2222-4333-8444-555555555555", None), (f".{UUID}.77", old), (".x.78", None)):
        (folder / name).mkdir()
        if age:
            os.utime(folder / name, (age, age))
    known = "33333333-2222-4333-8444-555555555555"
    (folder / known).mkdir()
    os.utime(folder / known, (old, old))
    guest_kernels.sweep(FakeHypervisor.with_domains(domain("web1", 1, uuid=known)))
    assert sorted(path.name for path in folder.iterdir()) == [".x.78", "22222222-2222-4333-8444-555555555555", known]
    guest_kernels.sweep(FakeHypervisor(uri="qemu+ssh://other/system"))
    assert len(list(folder.iterdir())) == 3


def test_nothing_but_the_start_changes_in_a_definition(tmp_path: Path, folder: Path) -> None:
    xml = definition(guest(tmp_path), folder)
    changed = with_boot(xml, DirectKernel(kernel="/k", initrd="/r", cmdline="a<b"), consoles=("console1", "serial0"))
    before, after = domain_xml.parse(xml), domain_xml.parse(changed)
    assert after.boot == DirectKernel(kernel="/k", initrd="/r", cmdline="a<b")
    assert before.record is not None
    record = before.record._replace(consoles=("console1", "serial0"))
    disks = tuple(replace(disk, boot_order=None) for disk in before.disks)
    assert replace(before, boot=after.boot, record=record, disks=disks) == after
    assert with_boot(changed, after.boot, consoles=("console1", "serial0")) == changed


def test_a_plain_guest_loads_none_of_it(tmp_path: Path) -> None:
    script = (
        "import sys; from xmcompat import guest_kernels\n"
        "assert not {'xmcompat.storage', 'xmcompat.translate', 'lxml', 're', 'subprocess'} & set(sys.modules), sys.modules.keys()"
    )
    checkout = str(Path(__file__).resolve().parents[1])
    words = [sys.executable, "-S", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={"PYTHONPATH": checkout})
    assert done.returncode == 0, done.stderr
