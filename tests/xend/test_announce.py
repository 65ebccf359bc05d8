"""What the log says of the settings when the daemon starts: every key, once, and no password."""

from __future__ import annotations

import re
from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmcompat.errors import XmError
from xmcompat.xend.announce import Entry, announced
from xmcompat.xend.config import read_xend_config
from xmcompat.xend.config_keys import XEND_KEYS


def said(text: str, bridges: Collection[str] | None = (), aliases: dict[str, str] | None = None) -> list[Entry]:
    return list(announced(read_xend_config(text), "/etc/xen/xend-config.sxp", bridges, aliases or {}))


def about(name: str, text: str) -> Entry:
    (found,) = [entry for entry in said(text) if re.search(rf": {re.escape(name)}( =|:)", entry.text)]
    return found


def test_every_key_is_told_once_and_quietly_where_it_is_not_given() -> None:
    entries = said("")
    assert [entry.text.split(": ")[1].split(" = ")[0] for entry in entries] == list(XEND_KEYS)
    assert {entry.level for entry in entries} == {"DEBUG"}


@pytest.mark.parametrize("name", XEND_KEYS)
def test_a_key_that_is_given_is_told_with_its_line_its_value_and_its_fate(name: str) -> None:
    key = XEND_KEYS[name]
    value = {"yes or no": "yes", "number": "7", "list": "((unix))", "text": "word"}[key.type.value]
    entry = about(name, f"\n({name} {value})\n")
    shown = "(not shown)" if name == "vncpasswd" else value
    assert entry.text.startswith(f"/etc/xen/xend-config.sxp:2: {name} = {shown}: {key.fate.value}; {key.meaning}")
    assert entry.level in ("INFO", "WARNING")


@pytest.mark.parametrize(
    ("text", "name", "level", "words"),
    [
        ("(enable-dump maybe)", "enable-dump", "WARNING", "neither yes nor no"),
        ("(enable-dump yes)", "enable-dump", "INFO", "every guest that crashes is dumped"),
        ("(loglevel LOUD)", "loglevel", "WARNING", "there is no such level; DEBUG is taken"),
        ("(loglevel INFO)", "loglevel", "INFO", "what xend logs"),
        ("(vnc-listen 0.0.0.0)", "vnc-listen", "WARNING", "without a password"),
        ("(network-script network-nat)", "network-script", "INFO", "makes the host's networks"),
        ("(network-script 'network-bridge netdev=eth1')", "network-script", "INFO", "makes the host's networks"),
        ("(network-script network-bridge netdev=eth1)", "network-script", "WARNING", "only its first value counts"),
        ("(dom0-cpus 2)", "dom0-cpus", "WARNING", "share all CPUs"),
        ("(device-model x)", "device-model", "INFO", "xend does not know it"),
        ("(xend-relocation-server yes)", "xend-relocation-server", "WARNING", "any host could send guests"),
    ],
)
def test_what_somebody_has_to_see_to_is_a_warning(text: str, name: str, level: str, words: str) -> None:
    entry = about(name, text)
    assert entry.level == level
    assert words in entry.text


def test_of_two_the_first_is_told_and_the_second_as_well() -> None:
    texts = [entry.text for entry in said("(loglevel INFO)(loglevel ERROR)")]
    assert sum("loglevel = INFO: carried over" in text for text in texts) == 1
    assert sum("a second time" in text for text in texts) == 1


BRIDGE = "(network-script 'network-bridge netdev=eth1 bridge=xenbr0')"


@pytest.mark.parametrize(
    ("text", "there", "aliases", "last"),
    [
        (BRIDGE, ("xenbr0",), {}, Entry("INFO", "The bridge xenbr0 is there.")),
        (BRIDGE, ("br0",), {"xenbr0": "br0"}, Entry("INFO", "The bridge br0, which stands for xenbr0, is there.")),
        (BRIDGE, (), {}, Entry("WARNING", "The bridge xenbr0 is missing, which has eth1 in it: guests that need it cannot "
                                          "start.")),
        ("(network-script network-bridge)", (), {}, Entry(
            "WARNING", "The bridge xenbr0 is missing, which has the network card of the default route in it: guests that need "
            "it cannot start.")),
        ("(network-script network-bridge)", ("xenbr0",), {}, Entry("INFO", "The bridge xenbr0 is there.")),
        ("(vif-script 'vif-bridge bridge=xenbr2')", (), {}, Entry(
            "WARNING", "The bridge xenbr2 is missing: guests that need it cannot start.")),
    ],
)  # fmt: skip
def test_bridges_that_are_needed_are_looked_for(
    text: str, there: Collection[str], aliases: dict[str, str], last: Entry
) -> None:
    assert said(text, there, aliases)[-1] == last
    assert not any(entry.text.startswith("The bridge") for entry in said(text, None, aliases)), "nothing tells"


def test_no_password_is_in_the_log() -> None:
    texts = "".join(entry.text for entry in said("(vncpasswd 'hostsecret')(vncpaswd typosecret)(my-password third)"))
    assert "secret" not in texts.replace("secrets", "")
    assert "third" not in texts


@given(st.text(alphabet="()'\" #\\\nabcxend-=01yes", max_size=80))
@settings(max_examples=100)
def test_every_key_is_told_whatever_the_file_holds(text: str) -> None:
    try:
        entries = said(text)
    except XmError:
        return
    assert len(entries) >= len(XEND_KEYS)
