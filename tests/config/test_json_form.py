"""Guests as JSON documents: nothing is lost on the way there and back, and the published schema says what they hold."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.config.strategies import guests
from xmcompat import guest as parts
from xmcompat.config import json_form
from xmcompat.config.build import build
from xmcompat.config.json_form import guest_document, guest_from
from xmcompat.errors import ConfigError
from xmcompat.guest import GuestConfig, KernelBoot, Vfb

SCHEMA = json.loads((Path(json_form.__file__).parent / "guest.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
SMALL: dict[str, object] = {"version": 1, "name": "web1", "boot": {"kind": "kernel", "kernel": "/k"}}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=10,
)  # fmt: skip


@given(guests)
def test_the_way_there_and_back(made: GuestConfig) -> None:
    text = json.dumps(guest_document(made), allow_nan=False)
    assert guest_from(json.loads(text)) == made


@given(guests)
def test_every_document_is_valid(made: GuestConfig) -> None:
    for secrets in (True, False):
        VALIDATOR.validate(guest_document(made, secrets=secrets))


@given(guests)
def test_without_secrets_a_document_is_a_guest_still(made: GuestConfig) -> None:
    document = guest_document(made, secrets=False)
    assert "s3cret" not in json.dumps(document)
    assert guest_from(document).disks == made.disks


@given(st.sampled_from([field.name for field in fields(GuestConfig)]), json_values)
def test_schema_and_reader_agree_on_what_is_wrong(name: str, value: object) -> None:
    document = {**SMALL, name: value}
    try:
        guest_from(document)
    except ConfigError as error:
        assert "\n" not in error.message
        assert not VALIDATOR.is_valid(document) or "character" in error.message
    else:
        assert VALIDATOR.is_valid(document)


@given(json_values)
def test_any_document_fails_only_as_an_error_of_ours(document: object) -> None:
    with pytest.raises(ConfigError):
        guest_from(document)


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_names_every_field_and_no_other() -> None:
    assert set(SCHEMA["properties"]) == {"version", *(field.name for field in fields(GuestConfig))}
    for name, form in SCHEMA["$defs"].items():
        if "properties" in form:
            boot = {"kind"} if name.endswith("Boot") else set()
            assert set(form["properties"]) == {field.name for field in fields(getattr(parts, name))} | boot, name
        elif "enum" in form:
            assert form["enum"] == [member.value for member in getattr(parts, name)]


def test_the_schemas_defaults_are_those_of_the_fields() -> None:
    made = guest_document(GuestConfig(name="web1", boot=KernelBoot(kernel="/k")))
    for name, form in SCHEMA["properties"].items():
        if "default" in form:
            assert made[name] == form["default"], name


def test_a_small_document() -> None:
    assert guest_from(SMALL) == GuestConfig(name="web1", boot=KernelBoot(kernel="/k"))


def test_a_document_in_full() -> None:
    made = build(
        {"name": "web1", "kernel": "/k", "disk": ["phy:vg0/a,xvda,w!"], "vfb": ["vnc=1,vncpasswd=s3cret"], "vmid": 3},
        path="web1.cfg", default_name="", lines={"disk": 2},
    )  # fmt: skip
    document = guest_document(made)
    assert document["boot"] == {"kind": "kernel", "kernel": "/k", "ramdisk": "", "cmdline": ""}
    assert document["dialect"] == "xm"
    assert document["kind"] == "linux"
    assert document["unknown"] == {"vmid": 3}
    assert document["lines"] == {"disk": 2}
    (disk,) = document["disks"]  # type: ignore[misc, attr-defined]
    assert (disk["path"], disk["mode"], disk["discard"]) == ("/dev/vg0/a", "w!", None)
    (vfb,) = document["vfbs"]  # type: ignore[misc, attr-defined]
    assert vfb["password"] == "s3cret"


def test_passwords_are_left_out_on_demand() -> None:
    made = build(
        {"name": "web1", "kernel": "/k", "vfb": ["vncpasswd=s3cret,vnc=1", "vnc=1, vncpasswd = s3cret"],
         "vncpasswd": "s3cret", "mypassword": "s3cret"},
        path="web1.cfg", default_name="",
    )  # fmt: skip
    document = guest_document(made, secrets=False)
    assert "s3cret" not in json.dumps(document)
    assert document["options"]["vfb"] == ["vnc=1", "vnc=1"]  # type: ignore[index]
    assert guest_from(document).vfbs == (Vfb(vnc=True), Vfb(vnc=True))


def test_a_disk_without_its_password_is_that_disk_still() -> None:
    disks = ["iscsi://u%s3cret@a/iqn.2010-01.com.example:x/1,xvda,w", "rbd:p/i:id=u:key=s3cret,xvdb,w"]
    made = build({"name": "web1", "kernel": "/k", "disk": disks}, path="", default_name="")
    document = guest_document(made, secrets=False)
    assert "s3cret" not in json.dumps(document)
    found = guest_from(document).disks
    assert [(disk.uname, disk.path, disk.vdev) for disk in found] == [
        ("iscsi://u@a/iqn.2010-01.com.example:x/1", "//u@a/iqn.2010-01.com.example:x/1", "xvda"),
        ("rbd:p/i:id=u", "p/i:id=u", "xvdb"),
    ]
    assert document["options"]["disk"] == [  # type: ignore[index]
        "iscsi://u@a/iqn.2010-01.com.example:x/1,xvda,w", "rbd:p/i:id=u,xvdb,w"
    ]


def test_numbers_that_json_lacks_are_texts() -> None:
    made = build({"name": "web1", "kernel": "/k", "x": float("inf")}, path="", default_name="")
    assert guest_document(made)["unknown"] == {"x": "inf"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version: 2 is not 1"),
        ({"version": True}, "version: True is not 1"),
        ({"memory": "256"}, "memory: '256' is not a whole number"),
        ({"memory": True}, "memory: True is not a whole number"),
        ({"memory": 0}, "memory: 0 is less than 1"),
        ({"acpi": 1}, "acpi: 1 is not true or false"),
        ({"name": ""}, "name: it is empty"),
        ({"name": "a\0"}, "name: it has a character that no setting can have"),
        ({"colour": 1}, "colour: there is no such member"),
        ({"kind": "pv"}, "kind: 'pv' is not one of linux, hvm, pvh"),
        ({"boot": {"kind": "magic"}}, "boot.kind: 'magic' is not one of kernel, loader, firmware"),
        ({"boot": {"kind": "kernel"}}, "boot.kernel: it is missing"),
        ({"disks": {}}, "disks: an object is not a list"),
        ({"disks": [{"uname": "", "protocol": "", "path": "", "vdev": "xvda", "mode": "rw"}]},
         "disks[0].mode: 'rw' is not one of r, w, w!"),
        ({"pins": [[0], ["1"]]}, "pins[1][0]: '1' is not a whole number"),
        ({"options": {"acpi": None}}, "options.acpi: nothing is not a text, a number or a list"),
        ({"lines": {"disk": "1"}}, "lines.disk: '1' is not a whole number"),
        ({"pci": [{"bus": 1, "slot": 2, "options": [["a"]]}]}, "pci[0].options[0]: a list is not a list of 2"),
        ({"vfbs": [{"password": 12345}]}, "vfbs[0].password: the value is not a text"),
    ],
)  # fmt: skip
def test_the_place_of_what_is_wrong_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        guest_from({**SMALL, **changes})
    assert caught.value.message == message


def test_what_must_be_there() -> None:
    for name in ("name", "boot"):
        with pytest.raises(ConfigError, match=f"{name}: it is missing"):
            guest_from({key: value for key, value in SMALL.items() if key != name})


def test_lists_without_end_are_an_error() -> None:
    deep: list[object] = []
    for _ in range(500):
        deep = [deep]
    with pytest.raises(ConfigError, match="nested more than 100 deep"):
        guest_from({**SMALL, "options": {"disk": deep}})
