"""``xmcompat image`` as it is typed: what it prints, its statuses, one line for every error, and an orderly end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor
from tests.lab.terminal import Terminal
from tests.tool.holding import held
from xmcompat.tool.image import image
from xmcompat.tool.image_words import size_text
from xmcompat.tool.main import main
from xmcompat.toolstack import Toolstack

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-m", "xmcompat.tool", "image"]
MIB = 1 << 20


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    hypervisor = FakeHypervisor(uri="qemu:///system")  # without guests that need an image
    monkeypatch.setattr(Toolstack, "open", classmethod(lambda cls, uri=None: cls(lambda: hypervisor)))
    (tmp_path / "tree" / "etc").mkdir(parents=True)
    (tmp_path / "tree" / "etc" / "hostname").write_text("web1\n")
    (tmp_path / "tree" / "etc" / "fstab").write_text("/dev/xvda1 / ext4 defaults 0 1\n")
    return tmp_path


def test_a_tree_becomes_an_image_that_is_shown_changed_and_taken_apart(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["image", "build", "tree", "a.img", "--size", "8M", "--label", "root"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["image", "join", "xvda2=a.img", "disk.img"]) == 0
    assert capsys.readouterr().out == "2        2048      16384  linux\n"
    assert main(["image", "edit", "disk.img", "--hostname", "new", "--fstab-from-xvda-to-vda"]) == 0
    assert capsys.readouterr().out == "/etc/hostname\n/etc/fstab\n"
    assert main(["image", "convert", "disk.img", "disk.vhd", "--format", "vhd"]) == 0
    capsys.readouterr()
    assert main(["image", "show", "disk.vhd"]) == 0
    shown = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines() if not line.startswith("partition"))
    assert shown["format"] == "vpc" and shown["table"] == "dos 0x58454e31" and shown["fstab"] == "/dev/vda1 / ext4 defaults 0 1"
    assert main(["image", "show", "--json", "disk.img"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["virtual_size_bytes"] == 10 * MIB - MIB
    assert document["table"]["partitions"] == [
        {"number": 2, "start_bytes": MIB, "size_bytes": 8 * MIB, "type": "linux", "bootable": True}
    ]
    assert document["file_systems"][0]["label"] == "root"
    assert document["guest"]["hostname"] == "new"
    assert main(["image", "split", "disk.img", "--name", "out"]) == 0
    assert capsys.readouterr().out == "2  ./out2.img\n"
    assert main(["image", "grow", "out2.img", "16M"]) == 0
    assert capsys.readouterr().out == "8 MiB -> 16 MiB\n"
    assert main(["image", "shrink", "out2.img", "12M"]) == 0
    assert main(["image", "sparsify", "out2.img"]) == 0
    assert os.stat("out2.img").st_size == 12 * MIB
    capsys.readouterr()
    assert main(["image", "checksum", "a.img", "disk.img"]) == 0
    Path("sums").write_text(capsys.readouterr().out)
    assert subprocess.run(["sha256sum", "-c", "--status", "sums"], check=False).returncode == 0
    assert main(["image", "checksum", "--json", "a.img"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["path"] == "a.img"


@pytest.mark.parametrize("name", ["a b", "a\\b", "a\nb", "a\rb", "a\u2028b", os.fsdecode(b"a\xffb"), "a\x1b[2Jb"])
def test_sums_of_odd_names_are_read_by_sha256sum(name: str, place: Path) -> None:
    Path(name).write_bytes(b"x")
    done = subprocess.run([*PROGRAM, "checksum", name], capture_output=True, check=True)
    assert done.stdout == subprocess.run(["sha256sum", name], capture_output=True, check=True).stdout
    assert subprocess.run(["sha256sum", "-c", "--status", "-"], input=done.stdout, check=False).returncode == 0


def test_a_name_does_nothing_to_a_terminal(place: Path) -> None:
    Path("a\x1b[2Jb").write_bytes(b"x")
    with Terminal([*PROGRAM, "checksum", "a\x1b[2Jb"]) as terminal:
        terminal.expect(b"  a\\x1b[2Jb")


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["build", "nothing", "o", "--size", "8M"], 1, "Error: nothing: No such file or directory"),
        (["build", "tree", "tree", "--size", "8M"], 1, "Error: tree is no regular file; name a file"),
        (["build", "tree", "no/where", "--size", "8M"], 1, "Error: no/where: No such file or directory"),
        (["build", "tree", "o", "--size", "lots"], 2,
         "Error: Invalid value for '--size': 'lots' is no size; write 512M, 2G or a number of bytes"),
        (["build", "tree", "o", "--size", "8388608T"], 2,
         "Error: Invalid value for '--size': '8388608T' is more than any disk has"),
        (["build", "tree", "o"], 2, "Error: Missing option '--size'."),
        (["convert", "tree", "o", "--format", "raw"], 1, "Error: tree is a directory; name an image"),
        (["convert", "/dev/null", "o", "--format", "raw"], 1,
         "Error: /dev/null is neither a file nor a block device; name an image"),
        (["convert", "x", "o", "--format", "vhdx"], 2,
         "Error: Invalid value for '--format': 'vhdx' is no format of images here; use raw, qcow2, qcow, vpc, vmdk, vdi"),
        (["join", "one"], 2, "Error: Give at least one image of a partition, and the disk image to make."),
        (["split", "tree/etc/hostname"], 1,
         "Error: tree/etc/hostname has no partitions; it is an image of one file system, or empty"),
        (["edit", "tree/etc/hostname"], 2, "Error: Say what to change: --hostname, --console, --ssh-key or another."),
        (["edit", "x", "--ssh-key", "nokey", "--hostname", "a"], 1, "Error: nokey: No such file or directory"),
        (["grow", "x\x1b[2J", "1G"], 1, "Error: x\\x1b[2J: No such file or directory"),
        (["show", "x\0"], 1, "Error: x\\x00: the name is not usable"),
        (["checksum", "x"], 1, "Error: x: No such file or directory"),
    ],
)  # fmt: skip
def test_every_error_is_one_line(
    words: list[str], status: int, line: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["image", *words]) == status
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[-1]) == ("", line)
    assert status == 2 or err.count("\n") == 1
    assert os.listdir() == ["tree"]


def big_tar() -> None:
    with open("tree/big", "wb") as file:
        for _ in range(200):
            file.write(os.urandom(MIB))
    subprocess.run(["tar", "-cf", "a.tar", "tree"], check=True)


def slow_build(place: Path) -> subprocess.Popen[str]:
    """One that has begun to unpack, and is held."""
    big_tar()
    argv = [*PROGRAM, "build", "a.tar", "o", "--size", "400M"]
    return held(argv, lambda: bool(list(place.glob(".o.tree.*/root/tree/*"))), place / "o")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_that_is_stopped_leaves_nothing(number: signal.Signals, status: int, place: Path) -> None:
    child = slow_build(place)
    child.send_signal(number)
    child.send_signal(signal.SIGCONT)
    _, err = child.communicate(timeout=20)
    assert child.returncode == status
    assert err.strip() == ""
    assert sorted(os.listdir()) == ["a.tar", "tree"]


def test_one_that_was_killed_is_swept_by_the_next(place: Path) -> None:
    child = slow_build(place)
    child.kill()
    child.communicate()
    assert list(place.glob(".o.*"))
    done = subprocess.run([*PROGRAM, "build", "tree", "o", "--size", "300M"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir()) == ["a.tar", "o", "tree"]


FULL = """
mount -t tmpfs -o size=6m tmpfs small && cd small
"$@"; status=$?
ls -A >../left; exit $status
"""


@pytest.mark.parametrize(
    "words",
    [
        ["build", "../tree", "o", "--size", "64M"], ["build", "../a.tar", "o", "--size", "64M"],
        ["build", "../tree", "o", "--size", "64M", "--format", "qcow2"], ["convert", "../in.img", "o", "--format", "qcow2"],
        ["convert", "../in.img", "o", "--format", "raw"], ["join", "../in.img", "o"],
    ],
)  # fmt: skip
def test_a_full_disk_leaves_nothing_and_says_so(words: list[str], place: Path) -> None:
    Path("small").mkdir()
    data = os.urandom(9 * MIB)
    Path("tree/big").write_bytes(data)
    Path("in.img").write_bytes(bytes(MIB) + data)
    subprocess.run(["tar", "-cf", "a.tar", "tree"], check=True)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", FULL, "sh", *PROGRAM, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert Path("left").read_text() == ""


def test_a_bar_is_for_terminals(place: Path) -> None:
    Path("in.img").write_bytes(os.urandom(64 * MIB))
    words = [*PROGRAM, "checksum", "in.img"]
    with Terminal(words) as terminal:
        terminal.expect(b"100%")
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_every_command_has_help_a_page_and_completion(capsys: pytest.CaptureFixture[str]) -> None:
    from xmcompat.tool.completion import script
    from xmcompat.tool.man import page

    assert main(["image", "--help"]) == 0
    out = capsys.readouterr().out
    for name, command in image.commands.items():
        assert f"\n  {name} " in out and command.help
        assert f"image {name}" in page("xmcompat").replace("\\-", "-")
    assert "|".join(sorted(image.commands)) in script("bash")


@pytest.mark.parametrize(("size", "text"), [(0, "0 bytes"), (512, "512 bytes"), (8 * MIB, "8 MiB"), (3 << 29, "1.5 GiB")])
def test_sizes_for_people(size: int, text: str) -> None:
    assert size_text(size) == text
