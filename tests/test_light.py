"""Our quick NamedTuple does what that of ``typing`` does, for as much of it as we use."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple as Reference

import pytest

from xmcompat.light import NamedTuple


class Ours(NamedTuple):
    name: str
    size: int = 3

    @property
    def double(self) -> int:
        return self.size * 2


class Theirs(Reference):
    name: str
    size: int = 3

    @property
    def double(self) -> int:
        return self.size * 2


@pytest.mark.parametrize("kind", [Ours, Theirs])
def test_making_reading_changing_and_comparing(kind: type[Ours]) -> None:
    value = kind("a", size=4)
    assert (value.name, value.size, value.double) == ("a", 4, 8)
    assert kind(name="a") == kind("a") == ("a", 3)
    assert kind._fields == ("name", "size")
    assert value._replace(name="b") == ("b", 4)
    assert value._asdict() == {"name": "a", "size": 4}
    assert repr(value) == f"{kind.__name__}(name='a', size=4)"
    assert sorted([kind("b"), kind("a")])[0].name == "a"
    assert pickle.loads(pickle.dumps(value)) == value
    assert len({kind("a"), kind("a")}) == 1
    name, size = value
    assert (name, size) == ("a", 4)


@pytest.mark.parametrize("kind", [Ours, Theirs])
def test_what_does_not_fit_is_a_type_error(kind: type[Ours]) -> None:
    with pytest.raises(TypeError):
        kind()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        kind("a", 1, 2)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        kind("a", colour=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        kind("a", name="b")  # type: ignore[misc]
    with pytest.raises(AttributeError):
        kind("a").name = "b"  # type: ignore[misc]


def test_the_listing_loads_none_of_what_is_slow_to_load() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "import xmcompat.backends.libvirt_kvm, xmcompat.backends.local_host\n"
        "print(sorted(name for name in set(sys.modules) - before if not name.startswith('xmcompat')))"
    )
    checkout = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '{checkout}')\n{code}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "['__future__', '_operator', '_socket', '_struct', 'struct']\n", done.stderr
