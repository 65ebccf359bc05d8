"""Damaged images, drawn at random from a fixed seed: whatever is in them, each ends in an answer or in one line."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.storage.boot_trees import debian, disk_image, partition_image
from xmcompat.errors import XmError
from xmcompat.guest_kernels import judge
from xmcompat.storage import guest_boot, image_edit, image_join, image_resize, image_show

ACTS: dict[str, Callable[[str], object]] = {
    "show": image_show.examine,
    "split": lambda path: image_join.split(path, "parts"),
    "boot": lambda path: guest_boot.take(
        guest_boot.Volume(path=path, format=_format(path), vdev="xvda"), guest_boot.Wish(), "boot/uuid", judge
    ),
    "edit": lambda path: image_edit.edit(path, image_edit.Edits(hostname="x")),
    "shrink": lambda path: image_resize.resize(path, None, grow=False),
}  # fmt: skip


def _format(path: str) -> str:
    return path.rpartition(".")[2] if path.endswith("qcow2") else "raw"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sound")
    root = partition_image(place / "root", debian(place / "tree"))
    disk_image(place / "mbr", {1: root, 3: root})
    disk_image(place / "gpt", {1: root, 7: root})
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", place / "mbr", place / "a.qcow2"], check=True)
    return place


def damaged(data: bytearray, draw: random.Random) -> bytearray:
    """A few bytes of its beginning, of the file system's beginning, or of its end are others, or a part is missing."""
    base = draw.choice([0, 0, 1024, 1 << 20, len(data) - 40000])
    area = min(draw.choice([512, 2048, 4096, 70000]), len(data) - base)
    for _ in range(draw.choice([1, 3, 10, 60])):
        place = base + draw.randrange(area)
        data[place : place + 1] = draw.choice([b"\xff", b"\0", b"\x80", draw.randbytes(1)])
    return data[: draw.choice([len(data), len(data), len(data) // 2, len(data) - 512])]


@pytest.mark.parametrize("name", ["root", "mbr", "gpt", "a.qcow2"])
def test_no_damage_leads_to_anything_but_an_answer(
    name: str, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw = random.Random(f"seed of {name}")
    before = (sound / name).read_bytes()
    for _ in range(4):
        Path(name).write_bytes(damaged(bytearray(before), draw))
        for act in ACTS.values():
            shutil.rmtree("parts", ignore_errors=True)
            os.mkdir("parts")
            try:
                act(name)
            except XmError as error:
                assert error.line() and "\n" not in error.line()
        assert [one for one in os.listdir() if one.startswith(".")] == []
