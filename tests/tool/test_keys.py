"""``xmcompat keys``: the whole table, one key, and help with a misspelt one."""

from __future__ import annotations

import json

import pytest

from xmcompat.config.keys import KEYS, KeyType
from xmcompat.guest import Dialect
from xmcompat.notes import Fate
from xmcompat.tool.main import main


def test_every_key_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(KEYS)
    for line in lines:
        key = KEYS[line.split()[0]]
        assert f"{key.meaning}: {key.fate.value}" in line
        assert key.reason in line


def test_a_key_shows_type_tools_meaning_and_fate(capsys: pytest.CaptureFixture[str]) -> None:
    key = KEYS["memory"]
    assert (key.type, key.fate, key.dialects) == (KeyType.INT, Fate.CARRIED, {Dialect.XM, Dialect.XL})
    assert main(["keys", "memory"]) == 0
    assert capsys.readouterr().out == f"memory  number        xl,xm  {key.meaning}: carried over\n"


def test_keys_come_in_the_order_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "vif", "disk"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["vif", "disk"]


def test_json_holds_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "--json"]) == 0
    documents = {document["name"]: document for document in json.loads(capsys.readouterr().out)}
    assert set(documents) == set(KEYS)
    for name, key in KEYS.items():
        assert documents[name] == {
            "name": name,
            "type": key.type.value,
            "dialects": sorted(dialect.value for dialect in key.dialects),
            "meaning": key.meaning,
            "fate": key.fate.value,
            "reason": key.reason or None,
            "suggestion": key.suggestion or None,
            "harmless": key.harmless,
            "defaults": {"xm": key.xm_default, "xl": key.xl_default},
        }


def test_a_misspelt_key_is_answered_with_its_like(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "memory", "Bootlaoder"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: no Xen tool knows the key 'Bootlaoder'; similar: bootloader")


def test_a_key_like_none_points_to_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "qqqqqqqq"]) == 1
    assert capsys.readouterr().err == "Error: no Xen tool knows the key 'qqqqqqqq'; xmcompat keys lists all\n"


def test_the_table_for_documents_has_a_row_for_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "--markdown"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == sorted(KEYS)
    assert all(row.count(" | ") == 5 for row in rows)
    memory = next(row for row in rows if row.startswith("| `memory` "))
    assert memory == "| `memory` | xl,xm | number | xm: `128`, xl: `32` | memory at the start, in MiB | carried over |"


def test_two_forms_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "--json", "--markdown"]) == 2
    assert "choose one" in capsys.readouterr().err
