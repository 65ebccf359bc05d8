"""Guests saved to files and brought back by a real libvirtd: their memory goes on where it was, and failures leave them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.test_libvirt_lifecycle import eventually, ticks
from tests.e2e.conftest import Bench
from tests.lab.fixtures import Starter, xm_command
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.migration import save_file

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]


class Ticking:
    """A guest that counts, and the file with what it says."""

    def __init__(self, bench: Bench, start: Starter, name: str, **details: object) -> None:
        self.log = bench.directory / f"{name}.log"
        self.log.unlink(missing_ok=True)
        self.info: DomainInfo = start(name, log=self.log, **details)
        eventually(lambda: ticks(self.log) > 2)

    def goes_on(self) -> None:
        """It says the next numbers, and never began anew."""
        count = ticks(self.log)
        eventually(lambda: ticks(self.log) > count + 1)
        said = self.log.read_bytes()
        assert said.count(b"TICKROM-UP") == 1
        numbers = [int(line.split()[1], 16) for line in said.split(b"\r\n")[:-1] if line.startswith(b"TICK ")]
        assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("kvm", [True, False], ids=["kvm", "tcg"])
def test_a_guest_is_saved_and_counts_on(bench: Bench, hypervisor: LibvirtKvm, start: Starter, kvm: bool) -> None:
    guest = Ticking(bench, start, "counts", kvm=kvm)
    file = bench.directory / f"counts-{kvm}.save"
    assert bench.xm("save", "counts", str(file)) == ("", "", 0)
    assert bench.remains() == ([], [])
    assert file.read_bytes()[:16] == b"LinuxGuestRecord"
    assert file.stat().st_mode & 0o777 == 0o600
    assert bench.xm("restore", str(file)) == ("", "", 0)
    info = hypervisor.find("counts")
    assert info.uuid == guest.info.uuid
    assert info.domid != guest.info.domid
    guest.goes_on()
    assert [path.name for path in bench.directory.iterdir() if path.name.startswith((".", file.stem))] == [file.name]


def test_a_checkpoint_is_a_saved_guest_and_the_guest_lives_on(
    bench: Bench, hypervisor: LibvirtKvm, start: Starter, lab_directory: Path
) -> None:
    """And its disk of that moment can be had again."""
    disk = lab_directory / "checkpoint.img"
    disk.write_bytes(before := os.urandom(1 << 20))
    guest = Ticking(bench, start, "checked", disks=[disk])
    file = str(bench.directory / "checked.save")
    outcome = bench.xm("save", "-c", "checked", file)
    assert (outcome.stdout, outcome.status) == ("", 0)
    assert f"'xm restore --disks {file}' brings both back" in outcome.stderr
    assert hypervisor.find("checked").domid == guest.info.domid
    guest.goes_on()
    hypervisor.destroy(guest.info.uuid)
    disk.write_bytes(os.urandom(1 << 20))
    assert bench.xm("restore", "-p", file).status == 1
    assert bench.xm("restore", "-p", "--disks", file) == ("", "", 0)
    assert disk.read_bytes() == before
    assert hypervisor.find("checked").state == DomainState.PAUSED
    assert bench.xm("unpause", "checked").status == 0
    count = ticks(guest.log)
    eventually(lambda: ticks(guest.log) > count)
    assert guest.log.read_bytes().count(b"TICKROM-UP") == 1


def test_a_known_domain_stays_known(bench: Bench, hypervisor: LibvirtKvm, start: Starter) -> None:
    guest = Ticking(bench, start, "known")
    hypervisor.define_again(hypervisor.domain_xml(guest.info.uuid))
    file = str(bench.directory / "known.save")
    assert bench.xm("save", "known", file).status == 0
    assert hypervisor.find("known").state == DomainState.SHUTOFF
    assert bench.xm("restore", file) == ("", "", 0)
    assert hypervisor.find("known").persistent
    guest.goes_on()


def test_an_image_that_libvirt_saved_by_itself_is_taken(bench: Bench, hypervisor: LibvirtKvm, start: Starter) -> None:
    guest = Ticking(bench, start, "virsh")
    file = str(bench.directory / "virsh.save")
    hypervisor._connection.lookupByName("virsh").save(file)
    assert bench.xm("restore", file) == ("", "", 0)
    guest.goes_on()


def test_a_file_that_lost_its_end_starts_nothing(bench: Bench, hypervisor: LibvirtKvm, start: Starter) -> None:
    Ticking(bench, start, "cut")
    file = str(bench.directory / "cut.save")
    assert bench.xm("save", "cut", file).status == 0
    data = Path(file).read_bytes()
    (head, stream) = save_file.read(file).spans
    Path(file).write_bytes(data[: stream[0] + 100_000])
    outcome = bench.xm("restore", file)
    assert (outcome.status, "cut short" in outcome.stderr) == (1, True)
    cut = data[slice(*head)] + data[stream[0] : stream[0] + 50_000]
    Path(file).write_bytes(b"LinuxGuestRecord\0\0\0\x08(domain)" + cut)  # nothing tells its size
    outcome = bench.xm("restore", file)
    assert outcome.status == 1
    assert outcome.stderr.startswith("Error: Restore failed: ")
    assert bench.remains() == ([], [])


@pytest.fixture
def small_disk(node: PrivateLibvirtd, bench: Bench) -> Iterator[Path]:
    """A file system of 256 KiB, inside the lab alone."""
    place = bench.directory / "small"
    place.mkdir(exist_ok=True)
    mount = node.enter(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)])
    subprocess.run(mount, check=True, timeout=10)
    try:
        yield place
    finally:
        subprocess.run(node.enter(["umount", str(place)]), check=True, timeout=10)


def listed(node: PrivateLibvirtd, place: Path) -> list[str]:
    """What is in PLACE inside the lab."""
    done = subprocess.run(node.enter(["ls", "-A", str(place)]), capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.split()


@pytest.mark.parametrize("size", ["256k", "320k"], ids=["for the image", "for the header"])
def test_a_full_disk_leaves_the_guest_running_and_no_file(
    bench: Bench, node: PrivateLibvirtd, hypervisor: LibvirtKvm, start: Starter, small_disk: Path, size: str
) -> None:
    """Libvirt's own header goes behind the image before ours takes its place."""
    subprocess.run(node.enter(["mount", "-o", f"remount,size={size}", str(small_disk)]), check=True, timeout=10)
    guest = Ticking(bench, start, "full")
    outcome = bench.xm("save", "full", f"{small_disk}/full.save")
    assert outcome.stderr == f"Error: can't write guest state file {small_disk}/full.save: No space left on device\n"
    assert outcome.status == 1
    assert hypervisor.find("full").state == DomainState.RUNNING
    assert listed(node, small_disk) == []
    guest.goes_on()


def qemu_of(node: PrivateLibvirtd, info: DomainInfo) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if info.uuid.encode() in words:
                return int(entry.name)
    raise AssertionError(f"no QEMU of {info.name}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_save_that_is_broken_off_leaves_the_guest_running_and_no_file(
    bench: Bench, node: PrivateLibvirtd, hypervisor: LibvirtKvm, start: Starter, number: signal.Signals
) -> None:
    """QEMU is stopped for a while, so that the save cannot be over before the signal comes."""
    guest = Ticking(bench, start, "broken")
    qemu = qemu_of(node, guest.info)
    file = bench.directory / "broken.save"
    os.kill(qemu, signal.SIGSTOP)
    try:
        process = subprocess.Popen(
            xm_command(node, "save", "broken", str(file)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        eventually(lambda: list(bench.directory.glob("broken.save.*.unfinished")))
        time.sleep(0.3)
        found = subprocess.run(["pgrep", "-f", f"xm save broken {file}"], capture_output=True, text=True, check=False)
        (pid,) = [pid for pid in found.stdout.split() if "python" in os.readlink(f"/proc/{pid}/exe")]
        os.kill(int(pid), number)
        time.sleep(0.3)
    finally:
        os.kill(qemu, signal.SIGCONT)
    _, stderr = process.communicate(timeout=60)
    assert stderr == ""
    assert process.returncode in (-number, 128 + number)
    assert hypervisor.find("broken").state == DomainState.RUNNING
    assert [path.name for path in bench.directory.iterdir()] == ["broken.log"]
    guest.goes_on()


def test_a_guest_with_a_configuration_keeps_it(bench: Bench, hypervisor: LibvirtKvm, pv: object) -> None:
    """What xm list -l shows is what it was, but for the id, the time of its start, and what it used."""
    pv("kept.cfg")  # type: ignore[operator]
    assert bench.xm("create", "-q", "kept.cfg").status == 0
    before = bench.xm("list", "-l", "kept").stdout
    file = str(bench.directory / "kept.save")
    assert bench.xm("save", "kept", file) == ("", "", 0)
    shown = save_file.read(file).config
    assert shown.splitlines()[1] == before.splitlines()[1]
    time.sleep(1.1)
    assert bench.xm("restore", file) == ("", "", 0)
    after = bench.xm("list", "-l", "kept").stdout
    changing = ("(domid ", "(start_time ", "(cpu_time ", "(state ")

    def stable(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.strip().startswith(changing)]

    assert stable(after) == stable(before)
    assert [line for line in after.splitlines() if "(start_time" in line] != [
        line for line in before.splitlines() if "(start_time" in line
    ]
    assert float(bench.xm("uptime", "kept").status) == 0


def test_a_domain_that_stays_after_its_end_still_does(bench: Bench, hypervisor: LibvirtKvm, pv: object) -> None:
    pv("stays.cfg", on_poweroff="preserve")  # type: ignore[operator]
    assert bench.xm("create", "-q", "stays.cfg").status == 0
    file = str(bench.directory / "stays.save")
    assert bench.xm("save", "stays", file) == ("", "", 0)
    assert bench.remains() == ([], [])
    assert bench.xm("restore", file) == ("", "", 0)
    info = hypervisor.find("stays")
    live, known = hypervisor.marks(info.uuid)
    assert live is not None
    assert (live, live.domid) == (known, info.domid)
    assert bench.xm("destroy", "stays").status == 0
    assert bench.remains() == ([], [])
    shutil.rmtree(bench.directory)
