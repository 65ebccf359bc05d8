"""``xmcompat migrate``: its words, and its exit status."""

from __future__ import annotations

import json

import pytest

from xmcompat import enrolment
from xmcompat.enrolled import Installed
from xmcompat.enrolment import Done
from xmcompat.migrating import Migrating, Request
from xmcompat.migration.facts import Finding
from xmcompat.tool.main import main

STOPS = Finding(stops=True, what="web2 has no bridge 'xenbr0'", do="make it there")
NOTE = Finding(stops=False, what="the clocks differ by 3 s")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What the two hosts have to say."""
    findings: list[Finding] = []

    def check(self: Migrating, designation: str, request: Request) -> tuple[Finding, ...]:
        assert (designation, request.host, request.port) == ("mail", "web2", 8003)
        return tuple(findings)

    monkeypatch.setattr(Migrating, "check", check)
    return findings


CHECK = ["migrate", "check", "mail", "web2", "-p", "8003"]


def test_everything_that_stands_in_the_way_is_told(found: list[Finding], capsys: pytest.CaptureFixture[str]) -> None:
    found += [STOPS, NOTE]
    assert main(CHECK) == 1
    assert capsys.readouterr().out == "stops  web2 has no bridge 'xenbr0'; make it there\nnote   the clocks differ by 3 s\n"


def test_a_note_stops_nothing(found: list[Finding], capsys: pytest.CaptureFixture[str]) -> None:
    found += [NOTE]
    assert main(CHECK) == 0
    assert capsys.readouterr().out == "note   the clocks differ by 3 s\n'mail' can move to web2.\n"


def test_the_same_for_programs(found: list[Finding], capsys: pytest.CaptureFixture[str]) -> None:
    found += [STOPS, NOTE]
    assert main([*CHECK, "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "domain": "mail", "host": "web2", "moves": False,
        "findings": [
            {"stops": True, "what": "web2 has no bridge 'xenbr0'", "do": "make it there"},
            {"stops": False, "what": "the clocks differ by 3 s", "do": ""},
        ],
    }  # fmt: skip


@pytest.mark.parametrize("words", [[], ["--undo", "--renew", "web2"], ["--renew"]])
def test_setup_without_hosts_or_with_both(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "setup", *words]) == 2
    assert "Error: " in capsys.readouterr().err


def test_undo_says_what_is_gone_and_what_stays(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    done = Done("web2", (), Installed(written=("/a", "/b"), left=("/c\x1b",)))
    monkeypatch.setattr(enrolment, "undo", lambda hosts, places, ssh: (done,))
    assert main(["migrate", "setup", "--undo", "web2"]) == 0
    out, err = capsys.readouterr()
    assert out == "web2: 2 files are removed\n"
    assert err == "Warning: web2: /c\\x1b is somebody else's, and stays as it is\n"
