"""Every option of every verb is in a test of the verb."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat.xm.create import source_of
from xmcompat.xm.help import usage_text
from xmcompat.xm.options import read
from xmcompat.xm.verbs import VERBS, Verb

TESTS = Path(__file__).parents[1]
OPTIONS = [(verb, option) for verb in VERBS.values() for option in verb.options]


def flags(option: str) -> list[str]:
    """"-d DOMAIN, --domain=DOMAIN": -d and --domain."""
    return [re.split("[ =]", flag)[0] for flag in option.split(", ")]


@cache
def units() -> list[set[str]]:
    """The words of the texts of each test, with its decorators, and of each table of cases."""
    found = []
    for path in sorted((TESTS / "xm").glob("test_*.py")) + sorted((TESTS / "e2e").glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            said = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            found.append({word.partition("=")[0] for text in said for word in text.split()})
    return found


@pytest.mark.parametrize(
    ("verb", "option"), OPTIONS, ids=lambda part: getattr(part, "name", part)
)
def test_an_option_of_a_verb_that_runs_is_in_a_test_of_the_verb(verb: Verb, option: str) -> None:
    assert any(verb.name in unit and unit & set(flags(option)) for unit in units())


@pytest.mark.parametrize("flag", ["-s", "--skipdtd", "--vncviewer", "--vncviewer-autopass"])
def test_create_takes_options_that_change_nothing_here(flag: str) -> None:
    words = read(VERBS["create"], ["web1", flag, "memory=64"])
    assert source_of(words) == source_of(read(VERBS["create"], ["web1", "memory=64"]))


@pytest.mark.parametrize("flag", ["-a", "--all"])
def test_reboot_of_all_asks_each_that_runs(xm: Xm, host: FakeHypervisor, flag: str) -> None:
    host.known = {info.uuid: info for info in (domain("web", 1), domain("db", 2))}
    assert xm("reboot", flag) == (0, "", "")
    assert sorted(host.calls) == [("reboot", "db"), ("reboot", "web")]


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_after_reboot_is_its_usage(xm: Xm, flag: str) -> None:
    assert xm("reboot", flag) == (1, usage_text("reboot"), "")
