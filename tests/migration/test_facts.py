"""The values that two hosts exchange, as JSON and back."""

from __future__ import annotations

import dataclasses
import json
import os
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmcompat.migration import facts, wire
from xmcompat.migration.facts import Finding, HostFacts, Identity, SeenDisk, Wanted
from xmcompat.migration.json_form import NotOfForm, from_json, to_json

VALUES = [kind for room in (facts, wire) for kind in vars(room).values()
          if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == room.__name__]  # fmt: skip
assert len(VALUES) > 15


def strategy(kind: object) -> st.SearchStrategy[Any]:
    """Any value of a field's type."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{field.name: strategy(hints[field.name]) for field in dataclasses.fields(kind)})
    if origin is tuple and parts[-1] is Ellipsis:
        return st.lists(strategy(parts[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(strategy, parts))
    if origin is not None or not isinstance(kind, type):
        return st.one_of(*(st.none() if part is type(None) else strategy(part) for part in parts))
    return {
        str: st.text(st.characters() | st.sampled_from(os.fsdecode(bytes(range(128, 256)))), max_size=5), int: st.integers(-(2**63), 2**63), bool: st.booleans(),
        float: st.floats(-1e18, 1e18),
    }[kind]  # fmt: skip


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_each_value_comes_back_from_json_as_it_was(kind: type) -> None:
    @settings(max_examples=15, deadline=None)
    @given(strategy(kind))
    def law(value: object) -> None:
        line = wire.encoded({"of": to_json(value)})
        assert line.count(b"\n") == 1 and line.isascii()
        assert from_json(kind, json.loads(line)["of"]) == value

    law()


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ([], "Wanted is list, which is no object"),
        ({"name": 1}, "Wanted lacks 'uuid'"),
        ({"name": "a", "evil\n": 1}, "Wanted has no 'evil\\n'; install the same xmcompat on both hosts"),
        ({"vcpus": True}, "Wanted.vcpus is True, which is no whole number"),
        ({"memory": 1 << 64}, "Wanted.memory is 18446744073709551616, which is no whole number"),
        ({"vcpus": 1.0}, "Wanted.vcpus is 1.0, which is no whole number"),
        ({"name": None}, "Wanted.name is None, which is no text"),
        ({"name": "\n" * 100, "live": "no"}, "Wanted.live is 'no', which is no yes or no"),
        ({"disks": {}}, "Wanted.disks is dict, which is no list"),
        ({"disks": [{"vdev": "xvda", "target": "vda", "kind": "file", "path": "/a", "needs": [["lvm"]]}]},
         "Wanted.disks[0].needs[0] is list, which is no list of 2"),
        ({"files": ["/a", 5]}, "Wanted.files[1] is 5, which is no text"),
        ({"name": 10**100}, f"Wanted.name is {'1' + '0' * 59}..., which is no text"),
    ],
)  # fmt: skip
def test_what_is_of_another_form_is_told_with_its_place(data: object, line: str) -> None:
    whole = {"name": "a", "uuid": "u", "memory": 1, "max_memory": 1, "vcpus": 1, "accelerator": "kvm"}
    full = whole | data if isinstance(data, dict) and "lacks" not in line else data
    with pytest.raises(NotOfForm) as raised:
        from_json(Wanted, full)
    assert raised.value.line() == line


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["hostname", "disks", "told", "clock", "what"]), inner)))  # fmt: skip
def test_any_json_is_a_value_or_an_error_in_one_line(data: object) -> None:
    try:
        assert isinstance(from_json(HostFacts, data), HostFacts)
    except NotOfForm as error:
        assert "\n" not in error.line()


def test_passwords_in_the_domain_are_not_shown_by_accident() -> None:
    password = facts.Password(vdev="xvda", value="s3cret")
    wanted = Wanted(
        name="a", uuid="u", memory=1, max_memory=1, vcpus=1, accelerator="kvm", xml="passwd='s3cret'", record="s3cret",
        passwords=(password,),
    )  # fmt: skip
    assert "s3cret" not in repr(wanted) + repr(facts.Prepared(xml="s3cret")) + repr(password)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"passwords": ["s3cret"]}, "Wanted.passwords is not what it should be"),
        ({"passwords": [{"vdev": 1, "value": "s3cret"}]}, "Wanted.passwords is not what it should be"),
        ({"xml": {"s3cret": "s3cret"}}, "Wanted.xml is not what it should be"),
    ],
)  # fmt: skip
def test_what_is_not_shown_is_in_no_error_either(more: dict[str, object], line: str) -> None:
    whole = {"name": "a", "uuid": "u", "memory": 1, "max_memory": 1, "vcpus": 1, "accelerator": "kvm"}
    with pytest.raises(NotOfForm) as raised:
        from_json(Wanted, whole | more)
    assert raised.value.line() == line


def test_what_is_as_usual_is_not_sent() -> None:
    disk = SeenDisk(target="vda", sight="found", identities=(Identity(kind="nfs", place="s:/a", number=7),))
    assert to_json(disk) == {"target": "vda", "sight": "found", "identities": [{"kind": "nfs", "place": "s:/a", "number": 7}]}
    assert to_json(Finding(stops=False, what="x")) == {"stops": False, "what": "x"}
    assert from_json(HostFacts, {"hostname": "a", "clock": 5}).clock == 5.0
