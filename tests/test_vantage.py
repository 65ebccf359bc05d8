"""What a host says of the disks of a domain that is to come: what would be lost if one were written anew."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor
from xmcompat import vantage
from xmcompat.backends import domain_xml
from xmcompat.backends.accelerator import Verdict
from xmcompat.backends.machine import Accelerator, DeviceBoot, Machine
from xmcompat.migration.facts import FileKind, SeenDisk, Wanted, WantedDisk

MIB = 1 << 20
UUID = "12345678-1234-1234-1234-123456789abc"


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[str]:
    """A block device of 8 MiB on which nothing is."""
    (tmp_path / "disk").write_bytes(bytes(8 * MIB))
    made = subprocess.run(["losetup", "-f", "--show", str(tmp_path / "disk")], capture_output=True, text=True, check=True)
    device = made.stdout.strip()
    yield device
    subprocess.run(["losetup", "-d", device], check=True)


def seen(path: str, *, copy: bool) -> SeenDisk:
    disk = WantedDisk(vdev="xvda", target="vda", kind=FileKind.BLOCK, path=path, size=8 * MIB, copy=copy)
    wanted = Wanted(name="web1", uuid="a", memory=1, max_memory=1, vcpus=1, accelerator="qemu", disks=(disk,))
    (found,) = vantage.seen_disks(FakeHypervisor(), wanted)
    return found


def test_a_volume_on_which_something_is_would_be_lost(volume: str) -> None:
    assert seen(volume, copy=True).why == ""
    subprocess.run(["mke2fs", "-q", "-L", "data", volume], check=True)
    assert seen(volume, copy=True).why == 'it holds something: ext2 "data"'
    assert seen(volume, copy=False).why == ""


def test_a_volume_that_a_process_has_open_would_be_torn_from_it(volume: str) -> None:
    with open(volume, "r+b", buffering=0) as file:
        child = subprocess.Popen(["sleep", "60"], stdin=file)
    try:
        assert f"(process {child.pid}) has it open" in seen(volume, copy=True).why
        assert seen(volume, copy=False).why == ""
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize(
    ("needs", "untried", "offers", "told"),
    [
        ("kvm", True, ("qemu",), ["KVM could not be tried on host2, which is too busy; try again when it is less so"]),
        ("qemu", True, ("qemu",), []),
        ("kvm", False, ("kvm", "qemu"), []),
    ],
)
def test_a_kvm_that_could_not_be_tried_is_not_offered_to_a_guest_that_runs_elsewhere(
    monkeypatch: pytest.MonkeyPatch, needs: str, untried: bool, offers: tuple[str, ...], told: list[str]
) -> None:
    monkeypatch.setattr(vantage, "accelerator", lambda *_, **__: Verdict(Accelerator.KVM, "busy", untried=untried))
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host2", "6", "1", "x86_64")))
    wanted = Wanted(name="web1", uuid="a", memory=1, max_memory=1, vcpus=1, accelerator=needs)
    facts = vantage.host_facts(FakeHypervisor(), wanted, environ={})
    assert (facts.accelerators, [finding.line() for finding in facts.told]) == (offers, told)


def test_the_host_that_a_guest_leaves_is_not_said_to_be_too_busy_for_its_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vantage, "accelerator", lambda *_, **__: Verdict(Accelerator.KVM, "busy", untried=True))
    hypervisor = FakeHypervisor()
    info = hypervisor.create(domain_xml.render(Machine(
        name="web1", uuid=UUID, accelerator=Accelerator.KVM, memory=65536, current_memory=65536, vcpus=1, boot=DeviceBoot(),
    )))  # fmt: skip
    wanted = Wanted(name="web1", uuid=info.uuid, memory=1, max_memory=1, vcpus=1, accelerator="kvm")
    assert vantage.host_facts(hypervisor, wanted, environ={}).told == ()
