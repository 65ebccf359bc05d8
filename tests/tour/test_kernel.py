"""The kernel of the tour's guest: which package, where its modules are, and in what order they are loaded."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.errors import XmError
from xmcompat.tour import kernel
from xmcompat.tour.kernel import Kernel, fetch_kernel, load_order, module_contents, parse_dependencies
from xmcompat.tour.packages import Package

DEPENDENCIES = """\
kernel/virtio.ko:
kernel/virtio_ring.ko:
kernel/virtio_pci.ko: kernel/virtio.ko kernel/virtio_ring.ko
kernel/virtio-rng.ko.xz: kernel/virtio.ko
"""


def test_modules_come_after_those_they_need_and_once() -> None:
    order = load_order(parse_dependencies(DEPENDENCIES), ["virtio_rng", "virtio_pci", "ext4"])
    assert order == ["kernel/virtio.ko", "kernel/virtio-rng.ko.xz", "kernel/virtio_ring.ko", "kernel/virtio_pci.ko"]


@given(st.integers(1, 12).flatmap(lambda size: st.lists(st.sets(st.integers(0, 11)), min_size=size, max_size=size)))
def test_whatever_the_dependencies_each_is_there_before_it_is_needed(needs: list[set[int]]) -> None:
    dependencies = {f"m{number}.ko": [f"m{other}.ko" for other in wanted if other < number]
                    for number, wanted in enumerate(needs)}  # fmt: skip
    order = load_order(dependencies, [f"m{number}" for number in reversed(range(len(needs)))])
    assert sorted(order) == sorted(dependencies)
    for place, file in enumerate(order):
        assert set(dependencies[file]) <= set(order[:place])


def unpack(cache: Path, package: str, version: str, *, image: bool = True, modules: str = "lib/modules") -> Path:
    folder = cache / "unpacked" / package
    if image:
        (folder / "boot").mkdir(parents=True)
        (folder / "boot" / f"vmlinuz-{version}").write_bytes(b"kernel")
    if modules:
        (folder / modules / version / "kernel").mkdir(parents=True)
        (folder / modules / version / "modules.dep").write_text("")
    return folder


def test_debians_kernel_has_its_modules_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered = {
        "linux-image-cloud-amd64": Package("linux-image-cloud-amd64", "6.1", ("linux-image-6.1-cloud-amd64",)),
        "linux-image-6.1-cloud-amd64": Package("linux-image-6.1-cloud-amd64", "6.1.9", ("kmod", "linux-base")),
    }
    monkeypatch.setattr(kernel, "candidate", offered.get)
    folder = unpack(tmp_path, "linux-image-6.1-cloud-amd64_6.1.9", "6.1-cloud-amd64", modules="usr/lib/modules")
    assert fetch_kernel(tmp_path, print) == Kernel(
        "6.1-cloud-amd64", folder / "boot/vmlinuz-6.1-cloud-amd64", folder / "usr/lib/modules/6.1-cloud-amd64", folder
    )


def test_ubuntus_kernel_has_them_in_a_package_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered = {
        "linux-image-virtual": Package("linux-image-virtual", "6.8", ("linux-image-6.8.0-45-generic",)),
        "linux-image-6.8.0-45-generic": Package(
            "linux-image-6.8.0-45-generic", "6.8", ("kmod", "linux-modules-6.8.0-45-generic")
        ),
        "linux-modules-6.8.0-45-generic": Package("linux-modules-6.8.0-45-generic", "6.8"),
    }
    monkeypatch.setattr(kernel, "candidate", offered.get)
    image = unpack(tmp_path, "linux-image-6.8.0-45-generic_6.8", "6.8.0-45-generic", modules="")
    modules = unpack(tmp_path, "linux-modules-6.8.0-45-generic_6.8", "6.8.0-45-generic", image=False)
    assert fetch_kernel(tmp_path, print) == Kernel(
        "6.8.0-45-generic", image / "boot/vmlinuz-6.8.0-45-generic", modules / "lib/modules/6.8.0-45-generic", modules
    )


def test_without_a_word_from_apt_the_cache_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "candidate", lambda _name: None)
    unpack(tmp_path, "linux-image-6.1_1.part", "6.1", modules="")
    unpack(tmp_path, "linux-image-6.0_1", "6.0")
    assert fetch_kernel(tmp_path, print).version == "6.0"


def test_where_there_is_neither_it_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "candidate", lambda _name: None)
    monkeypatch.setattr(kernel, "update_lists", lambda _say: None)
    with pytest.raises(XmError, match="apt offers none of linux-image-cloud-amd64, ") as caught:
        fetch_kernel(tmp_path, print)
    assert caught.value.hint == "the tour needs an amd64 Debian or Ubuntu"


def test_compressed_modules_are_given_as_the_guest_needs_them(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text("b.ko.xz: a.ko\na.ko:\n")
    (tmp_path / "a.ko").write_bytes(b"A")
    (tmp_path / "b.ko.xz").write_bytes(lzma.compress(b"B"))
    made = Kernel("1", tmp_path / "vmlinuz", tmp_path, tmp_path)
    assert list(module_contents(made, ["b"])) == [("a.ko", b"A"), ("b.ko", b"B")]


def test_modules_compressed_by_zstd_as_well(tmp_path: Path) -> None:
    from xmcompat.tour.programs import run

    (tmp_path / "modules.dep").write_text("a.ko.zst:\n")
    (tmp_path / "a.ko").write_bytes(b"A" * 1000)
    run(["zstd", "-q", "--rm", tmp_path / "a.ko"], seconds=10)
    made = Kernel("1", tmp_path / "vmlinuz", tmp_path, tmp_path)
    assert list(module_contents(made, ["a"])) == [("a.ko", b"A" * 1000)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ko.zst", "modules.dep"]
