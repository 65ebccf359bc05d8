"""``xmcompat storage`` as it is typed, with folders as pools: what it prints, what it refuses, and that no byte is lost."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor
from tests.lab.terminal import Terminal
from tests.tool.holding import held
from xmcompat.tool.main import main
from xmcompat.tool.storage import storage
from xmcompat.toolstack import Toolstack

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-m", "xmcompat.tool", "storage"]
MIB = 1 << 20
FORMATS = {"raw": "img", "qcow2": "qcow2", "vpc": "vhd"}

Said = Callable[..., str]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeHypervisor:
    """A hypervisor of this host without guests; in the place of libvirt."""
    hypervisor = FakeHypervisor()
    hypervisor.uri = "qemu:///system"
    monkeypatch.setattr(Toolstack, "open", classmethod(lambda cls, uri=None: cls(lambda: hypervisor)))
    monkeypatch.setattr("xmcompat.tool.storage_uses.FOLDERS", ())
    return hypervisor


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: FakeHypervisor) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    return tmp_path


@pytest.fixture
def said(place: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """What a command prints; it must go well, without a word on stderr."""

    def run(*words: str) -> str:
        status = main(["storage", *words])
        out, err = capsys.readouterr()
        assert (status, err) == (0, ""), err
        return out.rstrip("\n")

    return run


@pytest.fixture
def refused(place: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """The one line that a command is refused with; nothing is printed, and all files stay as they are."""

    def run(*words: str) -> str:
        before = state(place)
        assert main(["storage", *words]) == 1
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("Error: ") and err.count("\n") == 1, (out, err)
        assert state(place) == before
        return err.removeprefix("Error: ").rstrip("\n")

    return run


def state(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}


def write(path: str, pattern: int, offset: int = 0, length: int = MIB) -> None:
    """In the disk of an image of any format."""
    subprocess.run(["qemu-io", "-f", format_of(path), "-c", f"write -P {pattern} {offset} {length}", path],
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip


def disk(path: str) -> bytes:
    """All that a guest would read from the image."""
    if format_of(path) == "raw":
        return Path(path).read_bytes()
    subprocess.run(["qemu-img", "convert", "-f", format_of(path), "-O", "raw", path, ".raw"], check=True)
    data = Path(".raw").read_bytes()
    Path(".raw").unlink()
    return data


def format_of(path: str) -> str:
    return next((name for name, ending in FORMATS.items() if path.partition("@")[0].endswith(ending)), "raw")


def patterns(*values: int) -> bytes:
    return b"".join(bytes([value]) * MIB for value in values)


def test_volumes_of_every_format_are_made_listed_and_counted(said: Said, place: Path) -> None:
    for format, ending in FORMATS.items():
        assert said("create", f"./{format}.{ending}", "4M") == f"{place}/{format}.{ending}"
        assert stat.S_IMODE(os.stat(f"{format}.{ending}").st_mode) == 0o600
        assert disk(f"{format}.{ending}") == bytes(4 * MIB)
    assert said("create", "thin.img", "1G", "--thin") == f"{place}/thin.img"
    assert os.stat("thin.img").st_blocks * 512 < MIB <= 4 * MIB <= os.stat("raw.img").st_blocks * 512
    Path("notes.txt").write_text("no disk")
    lines = said("list", ".").splitlines()
    assert lines[0].split() == ["VOLUME", "SIZE", "ALLOCATED", "FORMAT", "ORIGIN", "USED", "BY", "REMARK"]
    rows = {line.split()[0]: line.split() for line in lines[1:]}
    assert set(rows) == {"raw.img", "qcow2.qcow2", "vpc.vhd", "thin.img"}
    assert rows["thin.img"][1:3] == ["1", "GiB"] and rows["vpc.vhd"][5] == "vpc"
    document = json.loads(said("list", ".", "--json"))
    assert [(one["name"], one["size_bytes"], one["format"]) for one in document] == [
        ("qcow2.qcow2", 4 * MIB, "qcow2"), ("raw.img", 4 * MIB, "raw"), ("thin.img", 1 << 30, "raw"),
        ("vpc.vhd", 4 * MIB, "vpc"),
    ]  # fmt: skip
    usage = json.loads(said("usage", str(place), "--json"))
    assert usage[0]["promised_bytes"] == (1 << 30) + 12 * MIB
    found = os.statvfs(place)
    assert usage[0]["size_bytes"] == found.f_blocks * found.f_frsize
    assert f"pool      {place}" in said("usage", ".").splitlines()


@pytest.mark.parametrize("ending", FORMATS.values())
def test_a_roll_back_brings_every_byte_back_and_a_clone_stands_by_itself(ending: str, said: Said, place: Path) -> None:
    name = f"a.{ending}"
    said("create", name, "4M")
    write(name, 1), write(name, 2, 3 * MIB)
    assert said("snapshot", name, "before") == f"{place}/{name}@before"
    write(name, 3), write(name, 4, MIB, 2 * MIB)
    assert said("clone", name, f"b.{ending}") == f"{place}/b.{ending}"
    assert f"{name}@before" in said("list", ".")
    assert said("rollback", name, "before") == ""
    assert disk(name) == patterns(1, 0, 0, 2)
    assert disk(f"b.{ending}") == patterns(3, 4, 4, 2)
    said("clone", f"{name}@before", "c.img")
    write(name, 5, 0, 4 * MIB)
    assert disk("c.img") == patterns(1, 0, 0, 2)
    assert said("rollback", name, f"{place}/{name}@before") == ""
    assert disk(name) == patterns(1, 0, 0, 2)
    said("remove", f"{name}@before")
    assert "@before" not in said("list", ".")
    assert disk(name) == patterns(1, 0, 0, 2)


def test_a_roll_back_over_a_growth_has_the_old_size(said: Said) -> None:
    for name in ("a.img", "a.qcow2"):
        said("create", name, "2M")
        write(name, 7)
        said("snapshot", name, "small")
        assert said("resize", name, "4M") == "2 MiB -> 4 MiB"
        write(name, 8, 3 * MIB)
        said("rollback", name, "small")
        assert disk(name) == patterns(7, 0)


def test_growth_keeps_what_is_there_and_is_taken_at_once_where_the_rest_was(said: Said) -> None:
    said("create", "a.img", "2M"), said("create", "t.img", "2M", "--thin"), said("create", "q.qcow2", "2M")
    for name in ("a.img", "t.img", "q.qcow2"):
        write(name, 9, 0, 2 * MIB)
        assert said("resize", name, "4M") == "2 MiB -> 4 MiB"
        assert said("resize", name, "4M") == "4 MiB -> 4 MiB"
        assert disk(name) == patterns(9, 9, 0, 0)
    assert os.stat("a.img").st_blocks * 512 >= 4 * MIB


def test_shrinking_must_be_asked_for_twice(said: Said, refused: Said) -> None:
    said("create", "a.img", "4M"), said("create", "q.qcow2", "4M")
    for name in ("a.img", "q.qcow2"):
        for words in ([], ["--shrink"], ["--force"]):
            assert "what lies behind 2 MiB would be lost; --shrink --force" in refused("resize", name, "2M", *words)
        write(name, 5, 0, 4 * MIB)
        assert said("resize", name, "2M", "--shrink", "--force") == "4 MiB -> 2 MiB"
        assert disk(name) == patterns(5, 5)


def test_what_holds_something_is_removed_with_force_alone(said: Said, refused: Said, place: Path) -> None:
    subprocess.run(["mke2fs", "-q", "-L", "root", "fs.img", "4M"], check=True)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", "fs.img", "fs.qcow2"], check=True)
    said("create", "table.img", "4M")
    subprocess.run(["sfdisk", "-q", "table.img"], input="label: dos\n,,83\n", text=True, check=True)
    Path("other.luks").write_bytes(b"LUKS\xba\xbe\0\1".ljust(2 * MIB, b"\0"))
    said("create", "empty.img", "4M")
    assert refused("remove", "fs.img") == f"{place}/fs.img holds something: ext2 'root'; --force removes it all the same"
    assert "holds something: ext2 'root'" in refused("remove", "fs.qcow2")
    assert "holds something: a partition table (dos) with 1 partitions" in refused("remove", "table.img")
    assert refused("remove", "./other.luks").endswith("holds something: crypto_LUKS; --force removes it all the same")
    for name in ("fs.img", "fs.qcow2", "table.img", "./other.luks"):
        said("remove", name, "--force")
    said("remove", "empty.img")
    assert state(place) == {}


def test_a_volume_with_snapshots_or_images_upon_it_stays(said: Said, refused: Said, place: Path) -> None:
    for name in ("a.img", "a.qcow2"):
        said("create", name, "2M"), said("snapshot", name, "one")
        assert refused("remove", name, "--force") == f"{place}/{name} has snapshots: {name}@one; remove those first"
        said("remove", f"{name}@one"), said("remove", name)
    said("create", "base.img", "2M")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.img", "-F", "raw", "top.qcow2"], check=True)
    said("snapshot", "base.img", "old")
    assert "top.qcow2 lies upon" in refused("rollback", "base.img", "old")
    said("remove", "base.img@old")
    assert f"{place}/top.qcow2 lies upon {place}/base.img" in refused("remove", "base.img", "--force")
    assert "lies upon base.img" in said("list", ".")
    for words in (["import", "top.qcow2", "base.img", "--force"], ["resize", "base.img", "1M", "--shrink", "--force"]):
        assert f"{place}/top.qcow2 lies upon {place}/base.img" in refused(*words)
    said("create", "s.qcow2", "2M"), said("snapshot", "s.qcow2", "one")
    assert refused("import", "base.img", "s.qcow2", "--force") == (
        f"{place}/s.qcow2 has snapshots: s.qcow2@one; remove those first"
    )
    assert "lies upon base.img; 'xmcompat image convert --backing-ok" in refused("clone", "top.qcow2", "b.qcow2")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["create", "a.img", "4M"], "{place}/a.img is there already; 'xmcompat storage remove' takes it away"),
        (["create", "./link.img", "4M"], "{place}/link.img is there already; 'xmcompat storage remove' takes it away"),
        (["create", "./.hidden.img", "4M"],
         "'.hidden.img' cannot be the name of a volume; use letters, digits, '-', '_' and '.'"),
        (["create", "./a@b.img", "4M"], "'a@b.img' cannot be the name of a volume; use letters, digits, '-', '_' and '.'"),
        (["create", "./b.img", "1000"], "{place}/b.img cannot have 1000 bytes; a disk has whole sectors of 512 bytes: 512M, 10G"),
        (["create", "./nowhere/b.img", "4M"],
         "'./nowhere/b.img' names no place in a pool; write POOL/NAME; 'xmcompat storage list' shows which there are"),
        (["create", "/dev/b.img", "4M"],
         "'/dev/b.img' names no place in a pool; write POOL/NAME; 'xmcompat storage list' shows which there are"),
        (["remove", "./nix.img"], "there is no volume './nix.img'; 'xmcompat storage list' shows which there are"),
        (["remove", "."], "there is no volume '.'; '.' is a pool; name a volume in it, ./NAME"),
        (["remove", "./link.img"], "{place}/link.img is a link to {place}/a.img; name that path itself"),
        (["rollback", "a.img", "one"], "{place}/a.img has no snapshot 'one'; it has none"),
        (["snapshot", "a.img", "../x"],
         "'../x' cannot be the name of a snapshot; use letters, digits, '-', '_' and '.'"),
        (["clone", "a.img", "a.img"], "{place}/a.img is there already; 'xmcompat storage remove' takes it away"),
        (["list", "nix"], "there is no pool 'nix'; 'xmcompat storage list' shows which there are"),
        (["list", "./nix\n"], "there is no pool './nix\\n'; 'xmcompat storage list' shows which there are"),
        (["import", "./nix.img", "b.img"], "./nix.img: No such file or directory"),
        (["import", "a.img", "a.img"], "{place}/a.img is there already; --force replaces it"),
        (["resize", "v.vhd", "8M"],
         "{place}/v.vhd cannot be resized: Image format driver does not support resize; "
         "'xmcompat image convert {place}/v.vhd OUT --format raw' first"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(words: list[str], line: str, said: Said, refused: Said, place: Path) -> None:
    said("create", "a.img", "2M")
    said("create", "v.vhd", "4M")
    Path("link.img").symlink_to("a.img")
    assert refused(*words) == line.format(place=place)


def test_images_of_strangers_are_listed_and_never_followed(said: Said, place: Path) -> None:
    Path("secret").write_bytes(os.urandom(MIB))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", "secret", "-F", "raw", "evil.qcow2", "1M"], check=True)
    Path("bad.qcow2").write_bytes(b"QFI\xfb\0\0\0\3" + b"\xff" * 100)
    Path("short.qcow2").write_bytes(b"QFI\xfb")
    os.mkfifo("pipe")
    Path("esc\x1b[2J.img").write_bytes(bytes(MIB))
    Path("loop").symlink_to("loop")
    text = said("list", ".")
    assert "\x1b" not in text and "esc\\x1b[2J.img" in text
    remarks = {one["name"]: one["remark"] for one in json.loads(said("list", ".", "--json"))}
    assert remarks["evil.qcow2"] == "lies upon secret" and remarks["short.qcow2"] == "the header is damaged"
    assert "pipe" not in remarks and "loop" not in remarks
    assert said("usage", ".")


def test_an_image_is_imported_in_any_format_and_replaced_with_force_alone(said: Said, refused: Said, place: Path) -> None:
    data = os.urandom(2 * MIB)
    Path("in.bin").write_bytes(data)
    for name in ("a.img", "a.qcow2", "a.vhd"):
        assert said("import", "./in.bin", name) == f"{place}/{name}"
        assert disk(name) == data and stat.S_IMODE(os.stat(name).st_mode) == 0o600
    assert said("import", "a.qcow2", "./plain", "--format", "raw") == f"{place}/plain"
    assert disk("plain") == data
    Path("other.bin").write_bytes(bytes(2 * MIB))
    assert "is there already; --force replaces it" in refused("import", "other.bin", "a.img")
    said("import", "./other.bin", "a.img", "--force")
    assert disk("a.img") == bytes(2 * MIB)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", "in.bin", "-F", "raw", "top.qcow2"], check=True)
    assert "has the backing file 'in.bin'; --backing-ok reads it as well" in refused("import", "top.qcow2", "b.img")
    said("import", "--backing-ok", "top.qcow2", "b.img")
    assert disk("b.img") == data


FULL = """
mount -t tmpfs -o size=6m tmpfs small && cp in.img small/a.img && cd small
"$@"; status=$?
ls -A >../left; exit $status
"""


@pytest.mark.parametrize(
    "words",
    [
        ["create", "./b.img", "16M"], ["create", "./b.qcow2", "16M"], ["clone", "a.img", "b.img"], ["resize", "a.img", "16M"],
        ["snapshot", "a.img", "one"], ["import", "../big.img", "./b.img"],
    ],
)  # fmt: skip
def test_a_full_pool_leaves_nothing_and_says_so(words: list[str], place: Path) -> None:
    Path("small").mkdir()
    Path("in.img").write_bytes(os.urandom(4 * MIB))
    Path("big.img").write_bytes(os.urandom(8 * MIB))
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", FULL, "sh", *PROGRAM, *words], capture_output=True, text=True, check=False
    )
    told = [line for line in done.stderr.splitlines() if not line.startswith("Warning: whether a guest has")]
    assert done.returncode == 1 and len(told) == 1, done.stderr
    assert "No space left on device" in told[0]
    assert Path("left").read_text() == "a.img\n"


def slow_import(place: Path) -> subprocess.Popen[str]:
    """One that has begun to write, and is held."""
    with open("big.img", "wb") as file:
        for _ in range(150):
            file.write(os.urandom(MIB))

    def writes() -> bool:
        with suppress(FileNotFoundError):  # before, and when it has its name
            return (place / ".b.qcow2.part").stat().st_size > MIB
        return False

    return held([*PROGRAM, "import", "./big.img", "./b.qcow2"], writes, place / "b.qcow2")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_import_that_is_stopped_leaves_nothing(number: signal.Signals, status: int, place: Path) -> None:
    child = slow_import(place)
    child.send_signal(number)
    child.send_signal(signal.SIGCONT)
    assert child.wait(20) == status
    assert sorted(os.listdir()) == ["big.img"]


def test_an_import_that_was_killed_is_done_by_the_next(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    child = slow_import(place)
    child.kill()
    child.wait()
    assert "b.qcow2" not in os.listdir()
    until = time.monotonic() + 20
    while main(["storage", "import", "./big.img", "./b.qcow2"]):  # what it had started ends with it, but not at once
        assert "is being made by another process" in capsys.readouterr().err and time.monotonic() < until
        time.sleep(0.02)
    assert sorted(os.listdir()) == ["b.qcow2", "big.img"]
    assert disk("b.qcow2") == Path("big.img").read_bytes()


def test_a_bar_is_for_terminals(place: Path) -> None:
    Path("a.img").write_bytes(os.urandom(64 * MIB))
    with Terminal([*PROGRAM, "clone", "a.img", "b.img"]) as terminal:
        terminal.expect(b"100%")
        assert terminal.wait() == 0
    done = subprocess.run([*PROGRAM, "clone", "a.img", "c.img"], capture_output=True, text=True, check=True)
    assert "%" not in done.stderr and Path("b.img").read_bytes() == Path("c.img").read_bytes()


def test_every_command_has_help_a_page_and_completion(capsys: pytest.CaptureFixture[str]) -> None:
    from xmcompat.tool.completion import script
    from xmcompat.tool.man import page

    assert main(["storage", "--help"]) == 0
    out = capsys.readouterr().out
    assert set(storage.commands) >= {
        "clone", "create", "import", "list", "remove", "resize", "rollback", "snapshot", "usage",
    }  # fmt: skip
    for name, command in storage.commands.items():
        assert f"\n  {name} " in out and command.help
        assert f"storage {name}" in page("xmcompat").replace("\\-", "-")
    assert "|".join(sorted(storage.commands)) in script("bash")
