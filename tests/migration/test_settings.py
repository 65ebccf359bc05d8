"""The table [migration] of the settings file: each key, and what cannot be meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_docs import CHECKOUT
from xmcompat.backends.settings import parse
from xmcompat.errors import ConfigError
from xmcompat.migration.settings import MigrationSettings, read

FILE = "xmcompat.toml"


def settings(text: str) -> MigrationSettings:
    return read(parse(f"[migration]\n{text}\n".encode(), FILE).migration, FILE)


def test_without_a_table_guests_go_as_is_usual() -> None:
    assert read(parse(b"", FILE).migration, FILE) == MigrationSettings()
    assert not MigrationSettings().allow_tcp


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('transport = "ssh"', {"transport": "ssh"}),
        ("allow_tcp = true", {"allow_tcp": True}),
        ("bandwidth = 100", {"bandwidth": 100}),
        ("deadline = 60", {"deadline": 60.0}),
        ('policy = "post-copy"', {"policy": "post-copy"}),
        ("ports = [50000, 50010]", {"ports": (50000, 50010)}),
        ('address = "192.0.2.7"', {"address": "192.0.2.7"}),
        ("silence = 5", {"silence": 5.0}),
        ('certificates = "/srv/certificates/"', {"certificates": "/srv/certificates"}),
        ('pki = "/srv/pki"', {"pki": "/srv/pki"}),
        ('ssh = "/usr/bin/ssh"', {"ssh": "/usr/bin/ssh"}),
        ('hosts = ["node2", "node3"]', {"hosts": ("node2", "node3")}),
    ],
)
def test_each_key_is_read(text: str, wanted: dict[str, object]) -> None:
    assert settings(text) == MigrationSettings()._replace(**wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("speed = 1", "[migration] unknown setting 'speed'; known: transport, allow_tcp, bandwidth, "),
        ('transport = "rdma"', "[migration] transport = 'rdma' is unknown; known: tls, ssh, tcp"),
        ("allow_tcp = 1", "[migration] allow_tcp = 1 is neither true nor false; "),
        ("bandwidth = 0", "[migration] bandwidth = 0 is no whole number from 1 to 1048576; "),
        ("bandwidth = true", "[migration] bandwidth = True is no whole number"),
        ("deadline = 1.5", "[migration] deadline = 1.5 is no whole number"),
        ('policy = "hope"', "[migration] policy = 'hope' is unknown; known: auto-converge, post-copy, stop, give-up"),
        ("ports = [2, 1]", "[migration] ports = [2, 1] ends before it begins; write ports = [49152, 49215]"),
        ("ports = 49152", "[migration] ports = 49152 is no pair of ports"),
        ('certificates = "here"', "[migration] certificates = 'here' is no absolute path of a folder"),
        ('hosts = "node2"', "[migration] hosts = 'node2' is no list of names; "),
    ],
)
def test_what_cannot_be_meant_is_named(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings(text)
    assert raised.value.line().startswith(f"{FILE}: {why}")


def test_it_must_be_a_table() -> None:
    with pytest.raises(ConfigError, match="migration must be a table"):
        parse(b'migration = "fast"', FILE)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)


@given(st.dictionaries(st.sampled_from(MigrationSettings._fields) | st.text(), _VALUES, max_size=4))
def test_any_table_is_read_or_refused_with_its_place(table: dict[str, object]) -> None:
    try:
        read(table, FILE)
    except ConfigError as error:
        assert error.line().startswith(f"{FILE}: [migration] ")


def test_all_keys_are_in_the_documents() -> None:
    text = (CHECKOUT / "docs/howto-migrate.md").read_text()
    assert [name for name in MigrationSettings._fields if f"| `{name}` |" not in text] == []
