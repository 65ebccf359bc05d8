"""The Python API is what its document says: every public name in it, and its example works."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from xmcompat.toolstack import Toolstack

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/reference-python.md"


def operations() -> dict[str, type]:
    """The class of each operations object by the property of Toolstack that gives it."""
    found = {}
    for name, member in inspect.getmembers(Toolstack, lambda member: isinstance(member, property)):
        word = member.fget.__annotations__["return"]
        module = re.search(rf"from (\S+) import (?:\w+, )*{word}\b", inspect.getsource(sys.modules[Toolstack.__module__]))
        assert module is not None, name
        if name != "hypervisor":
            found[name] = getattr(__import__(module[1], fromlist=[word]), word)
    return found


def public(kind: type) -> list[str]:
    """The methods of a class, those of the classes that it is made of among them, that are no one's secret."""
    return [
        name
        for one in kind.__mro__[:-1]
        for name, member in vars(one).items()
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, classmethod | staticmethod))
    ]


def headings() -> dict[str, str]:
    """The text under each heading of the second level."""
    parts = re.split(r"^## (.*)\n", DOCUMENT.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def example() -> str:
    block = re.search(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    return block[1]


def test_there_are_operations_besides_those_of_the_toolstack_itself() -> None:
    assert "tuning" in operations()


@pytest.mark.parametrize("name", ["", *operations()])
def test_every_public_method_is_in_the_document_and_no_other(name: str) -> None:
    kind = operations()[name] if name else Toolstack
    text = headings()[f"`toolstack.{name}`" if name else "`Toolstack`"]
    rows = re.findall(r"^\| `(\w+)\(", text, re.MULTILINE)
    assert sorted(rows) == sorted(public(kind))


@pytest.mark.parametrize("name", ["", *operations()])
def test_the_document_gives_the_parameters_that_there_are(name: str) -> None:
    kind = operations()[name] if name else Toolstack
    text = headings()[f"`toolstack.{name}`" if name else "`Toolstack`"]
    for method, written in re.findall(r"^\| `(\w+)\((.*?)\)`", text, re.MULTILINE):
        parameters = [word for word in inspect.signature(getattr(kind, method)).parameters if word not in ("self", "cls")]
        assert [word.split("=")[0].strip() for word in written.split(",") if word.strip() not in ("", "*")] == parameters


@pytest.mark.parametrize("name", ["", *operations()])
def test_every_public_method_says_what_it_returns(name: str) -> None:
    kind = operations()[name] if name else Toolstack
    for method in public(kind):
        assert "return" in typing.cast("dict[str, object]", getattr(kind, method).__annotations__), method


def test_the_example_is_ten_lines_and_passes_the_strict_type_checker(tmp_path: Path) -> None:
    lines = [line for line in example().splitlines() if line.strip()]
    assert len(lines) <= 10
    (tmp_path / "example.py").write_text(example())
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "example.py")], capture_output=True, text=True,
        cwd=DOCUMENT.parents[1], timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
