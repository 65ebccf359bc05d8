"""``xmcompat storage`` on the disks of guests: those that run see a growth, and lose nothing to a mistyped command."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.lab.fixtures import Starter
from tests.lab.guests import tick_xml
from xmcompat.backends.hypervisor import DiskUse
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.errors import HypervisorError, HypervisorUnreachable
from xmcompat.storage import pool_folder, volume_file
from xmcompat.tool import storage_uses
from xmcompat.tool.main import main
from xmcompat.toolstack import Toolstack

MIB = 1 << 20

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    node: PrivateLibvirtd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> Run:
    """Status, stdout and stderr of a command, for the guests of the node."""
    monkeypatch.setenv("XMCOMPAT_URI", node.uri)
    monkeypatch.setattr(storage_uses, "FOLDERS", ())

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["storage", *words])
        return status, *(text.rstrip("\n") for text in capsys.readouterr())

    return run


@pytest.fixture
def folder(lab_directory: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """With two disks of 2 MiB, one raw and one qcow2."""
    folder = lab_directory / f"storage-{abs(hash(request.node.name)) % 10**6}"
    folder.mkdir(exist_ok=True)
    yield folder


def known(hypervisor: LibvirtKvm, roms: Path, name: str, disk: Path) -> None:
    """Have a guest known that does not run."""
    hypervisor.define(tick_xml(name, roms, kvm=False, disks=[disk]))


@pytest.mark.libvirt
def test_a_running_guests_disk_grows_and_nothing_else_is_done_to_it(
    run: Run, start: Starter, hypervisor: LibvirtKvm, folder: Path
) -> None:
    disk = folder / "web1.img"
    assert run("create", str(disk), "2M") == (0, str(disk), "")
    assert run("snapshot", str(disk), "before")[0] == 0
    start("web1", kvm=False, disks=[disk])
    assert json.loads(run("list", str(folder), "--json")[1])[0]["used_by"] == [{"domain": "web1", "running": True}]
    assert "web1" in run("list", str(folder))[1].splitlines()[1]
    for words, verb in (
        (["snapshot", str(disk), "x"], "snapshot"), (["rollback", str(disk), "before"], "rollback"),
        (["clone", str(disk), f"{folder}/b.img"], "clone"), (["remove", str(disk), "--force"], "remove"),
        (["import", str(folder / "web1.img@before"), str(disk), "--force"], "import"),
        (["resize", str(disk), "1M", "--shrink", "--force"], "resize"),
    ):  # fmt: skip
        status, out, err = run(*words)
        assert (status, out) == (1, ""), words
        assert err == f"Error: {disk} is in use by the guest web1; shut it down before '{verb}'"
    assert run("resize", str(disk), "4M") == (0, "2 MiB -> 4 MiB", "")
    assert hypervisor._connection.lookupByName("web1").blockInfo("vda")[0] == 4 * MIB == disk.stat().st_size
    assert run("resize", str(disk), "4M") == (0, "4 MiB -> 4 MiB", "")
    assert sorted(path.name for path in folder.iterdir()) == ["web1.img", "web1.img@before"]
    assert run("usage")[1].count(str(folder)) == 1


@pytest.mark.libvirt
def test_the_disk_of_a_known_guest_stays_until_the_guest_is_forgotten(
    run: Run, hypervisor: LibvirtKvm, roms: Path, folder: Path
) -> None:
    disk = folder / "off.qcow2"
    assert run("create", str(disk), "2M")[0] == 0
    known(hypervisor, roms, "off1", disk)
    assert "off1 (off)" in run("list", str(folder))[1]
    status, _, err = run("remove", str(disk), "--force")
    assert (status, err) == (1, (
        f"Error: {disk} is a disk of the guest off1, which is off; 'xm delete off1' forgets the guest, "
        "'xm block-detach' takes the disk from it"
    ))  # fmt: skip
    assert run("snapshot", str(disk), "one") == (0, f"{disk}@one", "")
    assert run("resize", str(disk), "4M") == (0, "2 MiB -> 4 MiB", "")
    assert run("rollback", str(disk), "one") == (0, "", "")
    assert run("remove", f"{disk}@one") == (0, "", "")
    status, _, err = run("resize", str(disk), "1M", "--shrink", "--force")
    assert status == 1 and "which is off" in err
    hypervisor._connection.lookupByName("off1").undefine()
    assert run("remove", str(disk)) == (0, "", "")
    assert list(folder.iterdir()) == []


@pytest.mark.libvirt
def test_libvirts_names_of_its_own_pools_are_understood(run: Run, hypervisor: LibvirtKvm, folder: Path) -> None:
    pool = hypervisor._connection.storagePoolDefineXML(
        f"<pool type='dir'><name>guests</name><target><path>{folder}</path></target></pool>"
    )
    try:
        assert run("create", "guests/a.img", "2M") == (0, f"{folder}/a.img", "")
        assert run("list", "guests")[1].splitlines()[1].split()[0] == "a.img"
        assert run("remove", "guests/a.img") == (0, "", "")
        assert "there is no volume 'guests/a.img'" in run("remove", "guests/a.img")[2]
    finally:
        pool.undefine()


# -- without a libvirt


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHypervisor:
    hypervisor = FakeHypervisor()
    hypervisor.uri = "qemu:///system"
    monkeypatch.setattr(Toolstack, "open", classmethod(lambda cls, uri=None: cls(lambda: hypervisor)))
    monkeypatch.setattr(storage_uses, "FOLDERS", (str(tmp_path / "etc"),))
    monkeypatch.chdir(tmp_path)
    Path("a.img").write_bytes(bytes(2 * MIB))
    return hypervisor


def error(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["storage", *words]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err.rstrip("\n").removeprefix("Error: ")


def test_a_disk_is_known_by_every_name_that_leads_to_it(
    fake: FakeHypervisor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    Path("hard.img").hardlink_to("a.img")
    for path in (f"{tmp_path}/link/a.img", f"{tmp_path}/hard.img", f"{tmp_path}/../{tmp_path.name}/a.img"):
        fake.uses = [DiskUse("web1", path, False, False)]
        assert "in use by the guest web1" in error(capsys, "remove", "a.img", "--force")
    fake.uses = [DiskUse("web1", f"{tmp_path}/other.img", False, False)]
    assert main(["storage", "remove", "a.img"]) == 0


def test_a_part_of_a_disk_of_several_volumes_is_in_use_too(
    fake: FakeHypervisor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = domain("web1")
    fake.known[info.uuid] = info
    form = f"(vm (name web1) (device (vbd (uname file:{tmp_path}/a.img) (dev xvda1) (mode w))))"
    fake.records[info.uuid] = f'<guest dialect="xm">{form}</guest>'
    for words in (["remove", "a.img", "--force"], ["resize", "a.img", "4M"]):
        assert "in use by the guest web1" in error(capsys, *words)
    assert Path("a.img").stat().st_size == 2 * MIB and fake.resized == []


def test_what_a_configuration_of_xen_names_is_removed_with_force_alone(
    fake: FakeHypervisor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "broken").write_text("disk = [\n")
    (tmp_path / "etc" / "web1").write_text(f"kernel = '/nowhere'\ndisk = ['tap:aio:{tmp_path}/a.img,xvda,w']\n")
    assert error(capsys, "remove", "a.img") == (
        f"{tmp_path}/etc/web1 names {tmp_path}/a.img; --force removes it all the same"
    )
    assert main(["storage", "remove", "a.img", "--force"]) == 0
    assert not Path("a.img").exists()


def test_without_a_libvirtd_nothing_is_destroyed_and_the_rest_is_done(
    fake: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable() -> list[DiskUse]:
        raise HypervisorUnreachable("Unable to connect to xend")

    monkeypatch.setattr(fake, "disk_uses", unreachable)
    for words in (["remove", "a.img"], ["resize", "a.img", "1M", "--shrink", "--force"]):
        assert error(capsys, *words).endswith("cannot be told: Unable to connect to xend; start libvirtd first")
    assert main(["storage", "snapshot", "a.img", "one"]) == 0
    out, err = capsys.readouterr()
    assert out.endswith("a.img@one\n") and err.startswith("Warning: whether a guest has ")
    assert main(["storage", "list", "."]) == 0
    assert capsys.readouterr().err.startswith("Warning: which guests use what is not known: ")
    assert main(["storage", "remove", "a.img@one", "--force"]) == 0


def test_the_guests_of_another_host_say_nothing_of_this_ones_disks(
    fake: FakeHypervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.uri = "qemu+ssh://other/system"
    assert error(capsys, "remove", "a.img") == (
        "XMCOMPAT_URI names qemu+ssh://other/system, whose guests do not use the disks of this host; "
        "run this without XMCOMPAT_URI"
    )


def test_a_guest_is_told_once_though_its_configuration_names_the_disk_otherwise(
    fake: FakeHypervisor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    info = domain("web1")
    fake.known[info.uuid] = info
    fake.uses = [DiskUse("web1", f"{tmp_path}/a.img", False, False)]
    form = f"(vm (name web1) (device (vbd (uname file:{tmp_path}/link/a.img) (dev xvda) (mode w))))"
    fake.records[info.uuid] = f'<guest dialect="xm">{form}</guest>'
    assert main(["storage", "resize", "a.img", "4M"]) == 0
    assert fake.resized == [(info.uuid, f"{tmp_path}/a.img", 4 * MIB)]


def test_a_guest_that_cannot_be_told_is_named(
    fake: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    info = domain("web1")
    fake.known[info.uuid] = info
    fake.uses = [DiskUse("web1", f"{tmp_path}/a.img", True, False)]
    fake.resize_refusal = HypervisorError("it is read-only in the guest")
    assert error(capsys, "resize", "a.img", "4M") == (
        f"{tmp_path}/a.img was not made larger by the guest web1: it is read-only in the guest"
    )
    assert Path("a.img").stat().st_size == 2 * MIB
    monkeypatch.setattr(pool_folder, "FILES", False)  # as with a volume group: first the volume, then its guest
    assert error(capsys, "resize", "a.img", "4M") == (
        f"{tmp_path}/a.img is larger now, but the guest web1 could not be told: it is read-only in the guest; "
        "it sees the new size when it is shut down and started"
    )
    assert Path("a.img").stat().st_size == 4 * MIB


def test_the_disk_of_a_suspended_guest_stays_as_its_memory_knows_it(
    fake: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["storage", "snapshot", "a.img", "one"]) == 0
    capsys.readouterr()
    info = domain("web1", None)
    fake.known[info.uuid] = info
    fake.known_uses = [DiskUse("web1", f"{tmp_path}/a.img", False, False)]
    monkeypatch.setattr(fake, "suspended", lambda: {info.uuid})
    for words in (["rollback", "a.img", "one"], ["import", "a.img@one", "a.img", "--force"]):
        assert error(capsys, *words) == (
            f"{tmp_path}/a.img is a disk of the guest web1, which is suspended and goes on with it as it is; "
            "'xm resume web1', and shut it down"
        )


def overlay(path: Path, base: str) -> None:
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "raw", "-b", base, str(path), "2M"]
    subprocess.run(words, check=True)


#: How the header of an image names the one beneath it.
BASES = [
    "{0}/a.img", "../{1}/a.img", "file:{0}/a.img", 'json:{{"driver":"raw","file":{{"driver":"file","filename":"{0}/a.img"}}}}',
    'json:{{"driver":"raw","file.driver":"file","file.filename":"{0}/a.img"}}', "{0}/link.img",
]  # fmt: skip


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("running", [False, True])
def test_an_image_beneath_a_guests_in_another_folder_stays(
    base: str, running: bool, fake: FakeHypervisor, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Also through an image between the two, and where the guest is off."""
    assert main(["storage", "snapshot", "a.img", "one"]) == 0
    (tmp_path / "link.img").symlink_to("a.img")
    capsys.readouterr()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    overlay(elsewhere / "middle.qcow2", base.format(tmp_path, tmp_path.name))
    overlay(elsewhere / "web1.qcow2", "middle.qcow2")
    use = DiskUse("web1", f"{elsewhere}/web1.qcow2", False, False, "qcow2")
    fake.uses, fake.known_uses = ([use], []) if running else ([], [use])
    before = Path("a.img").read_bytes()
    refused = [
        ["remove", "a.img", "--force"], ["resize", "a.img", "1M", "--shrink", "--force"], ["rollback", "a.img", "one"],
        ["import", "a.img@one", "a.img", "--force"],
    ]  # fmt: skip
    for words in refused:
        said = error(capsys, *words)
        assert ("in use by the guest web1" if running else "an image of the guest web1 lies upon ") in said, words
    for path in ("a.img", f"{tmp_path}/link.img", f"{elsewhere}/middle.qcow2"):
        for verb in (["edit", path, "--hostname", "x"], ["grow", path, "4M"], ["shrink", path], ["sparsify", path],
                     ["convert", "a.img@one", path, "--format", "raw", "--force"]):  # fmt: skip
            assert main(["image", *verb]) == 1
            assert capsys.readouterr().err == (
                f"Error: an image of the guest web1 lies upon {path}, which must stay as it is; "
                "'xmcompat image convert --backing-ok' makes one image of both\n"
            )
    assert Path("a.img").read_bytes() == before
    if not running:
        assert main(["storage", "snapshot", "a.img", "two"]) == main(["storage", "clone", "a.img", "b.img"]) == 0


def test_what_a_guest_writes_into_its_raw_disk_keeps_no_image_of_others(fake: FakeHypervisor, tmp_path: Path) -> None:
    overlay(tmp_path / "web1.img", f"{tmp_path}/a.img")
    fake.uses = [DiskUse("web1", f"{tmp_path}/web1.img", False, False, "raw")]
    assert main(["storage", "remove", "a.img"]) == 1  # an image of the same folder: who has made that, nobody can tell
    (tmp_path / "sub").mkdir()
    (tmp_path / "web1.img").rename(tmp_path / "sub" / "web1.img")
    fake.uses = [DiskUse("web1", f"{tmp_path}/sub/web1.img", False, False, "raw")]
    assert main(["storage", "remove", "a.img"]) == 0


@pytest.mark.parametrize("base", ["json:{", "json:[]", "json:" + "[" * 1000, 'json:{"driver":"nbd"}', "nbd:x:1", "", "x\u2028y"])
def test_a_name_of_an_image_beneath_that_leads_nowhere_says_nothing(base: str, fake: FakeHypervisor, tmp_path: Path) -> None:
    overlay(tmp_path / "x.qcow2", base or "y")
    fake.known_uses = [DiskUse("web1", f"{tmp_path}/x.qcow2", False, False, "qcow2")]
    assert main(["storage", "remove", "a.img"]) == 0


def test_a_server_that_is_away_keeps_no_command_for_ever(
    fake: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it asked for the image that lies on it."""
    overlay(tmp_path / "x.qcow2", f"{tmp_path}/y.qcow2")
    fake.known_uses = [DiskUse("web1", f"{tmp_path}/x.qcow2", False, False, "qcow2")]
    away, real = threading.Event(), volume_file.open_file

    def silent(path: str) -> int:
        if path.endswith("x.qcow2"):
            away.wait()
        return real(path)

    monkeypatch.setattr(volume_file, "open_file", silent)
    monkeypatch.setattr(volume_file.looking.answered, "__defaults__", (0.2,))
    begun = time.monotonic()
    assert volume_file.beneath(f"{tmp_path}/x.qcow2") == ()
    assert main(["image", "convert", "a.img", "b.img", "--format", "raw"]) == 0
    assert main(["image", "convert", "a.img", "b.img", "--format", "raw", "--force"]) == 0
    assert time.monotonic() - begun < 15
    away.set()


def test_a_ring_of_images_ends(fake: FakeHypervisor, tmp_path: Path) -> None:
    overlay(tmp_path / "x.qcow2", "y.qcow2")
    overlay(tmp_path / "y.qcow2", "x.qcow2")
    fake.known_uses = [DiskUse("web1", f"{tmp_path}/x.qcow2", False, False, "qcow2")]
    assert main(["storage", "remove", "a.img"]) == 0


def test_images_are_changed_with_a_warning_where_no_libvirtd_tells_of_guests(
    fake: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable() -> list[DiskUse]:
        raise HypervisorUnreachable("Unable to connect to xend")

    monkeypatch.setattr(fake, "disk_uses", unreachable)
    assert main(["image", "convert", "a.img", "b.img", "--format", "raw"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["image", "convert", "a.img", "b.img", "--format", "raw", "--force"]) == 0
    assert capsys.readouterr().err == "Warning: whether a guest needs b.img is not known: Unable to connect to xend\n"


@pytest.mark.libvirt
def test_a_disk_that_a_guest_only_reads_and_one_of_qcow2(
    run: Run, roms: Path, hypervisor: LibvirtKvm, folder: Path
) -> None:
    raw, cow = folder / "r.img", folder / "w.qcow2"
    assert run("create", str(raw), "2M")[0] == run("create", str(cow), "2M")[0] == 0
    xml = tick_xml("web1", roms, kvm=False, disks=[raw, cow])
    xml = xml.replace("<target dev='vda' bus='virtio'/>", "<target dev='vda' bus='virtio'/><readonly/>")
    head, _, tail = xml.partition(f"type='raw'/><source file=\"{cow}\"")
    hypervisor.create(f"{head}type='qcow2'/><source file=\"{cow}\"{tail}")
    status, _, err = run("resize", str(raw), "4M")
    assert (status, err) == (
        1, f"Error: {raw} was not made larger by the guest web1: it only reads this disk, whose size stays as it knows it"
    )  # fmt: skip
    assert raw.stat().st_size == 2 * MIB
    assert run("resize", str(cow), "4M") == (0, "2 MiB -> 4 MiB", "")
    assert hypervisor._connection.lookupByName("web1").blockInfo("vdb")[0] == 4 * MIB
