"""Fifty invocations of mixed verbs at once on twenty guests: no traceback, no lost guest, no wrong answer."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench, Writer
from tests.lab.fixtures import xm_command
from tests.lab.guests import tick_xml
from xmcompat.backends.hypervisor import DomainInfo

pytestmark = pytest.mark.libvirt

#: Those that every look must find, whatever happens to the others.
STEADY = [f"steady{number:02}" for number in range(14)]
#: Destroyed once each, by two at once.
DOOMED = [f"doomed{number}" for number in range(3)]
#: Paused and let go by several at once.
CHANGING = [f"changing{number}" for number in range(3)]
CREATED = [f"created{number}" for number in range(4)]

GONE = re.compile(r"Error: Domain '(doomed\d)' does not exist\.\n")
ROW = re.compile(r"(\S+) +(\d+) +(\d+) +(\d+) +([r-][b-][p-][s-][c-][d-]) +(\d+\.\d)")


class Invocation:
    """One xm that runs, and what it may answer."""

    def __init__(self, bench: Bench, words: Sequence[str]) -> None:
        self.words = tuple(words)
        argv = xm_command(bench.node, *words, cwd=bench.directory, env={"XMCOMPAT_ACCELERATOR": "tcg"})
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def end(self) -> tuple[str, str, int]:
        stdout, stderr = self.process.communicate(timeout=110)
        return stdout, stderr, self.process.returncode


def mixed(guests: dict[str, DomainInfo]) -> list[tuple[str, ...]]:
    """Fifty command lines, in an order that is the same in every run."""
    one = [
        ("domid", STEADY[0]), ("domname", str(guests[STEADY[1]].domid)), ("domstate", STEADY[2]),
        ("uptime", STEADY[3]), ("vcpu-list", STEADY[4]), ("block-list", STEADY[5]), ("network-list", STEADY[6]),
        ("sched-credit", "-d", STEADY[7]), ("list", "--long", STEADY[8]), ("info",),
        ("vcpu-pin", STEADY[9], "0", "0"), ("vcpu-pin", STEADY[9], "0", "all"), ("sched-credit", "-d", STEADY[10], "-w", "300"),
        ("sched-credit", "-d", STEADY[10], "-w", "300"),
    ]  # fmt: skip
    words = [("list",)] * 8 + [("list", "--long")] * 2 + [("vcpu-list",), ("sched-credit",), ("uptime",)] + one
    for name in CHANGING:
        words += [("pause", name), ("unpause", name), ("pause", name), ("unpause", name)]
    for name in DOOMED:
        words += [("destroy", name)] * 2
    words += [("create", "-q", f"{name}.cfg") for name in CREATED]
    words.append(("list", STEADY[11]))
    random.Random(4).shuffle(words)
    return words


def listed(stdout: str) -> dict[str, tuple[str, ...]]:
    """The rows of a listing by their names; each has to be a whole row."""
    lines = stdout.splitlines()
    assert lines[0] == "Name                                        ID   Mem VCPUs      State   Time(s)"
    rows = {}
    for line in lines[1:]:
        row = ROW.fullmatch(line)
        assert row is not None, line
        assert row[1] not in rows, f"{row[1]} is there twice"
        rows[row[1]] = row.groups()
    return rows


@pytest.mark.timeout(240)
def test_fifty_at_once_lose_no_guest_and_give_no_wrong_answer(bench: Bench, pv: Writer, roms: Path) -> None:
    guests = {
        name: bench.hypervisor.create(tick_xml(name, roms, idle=True))
        for name in (*STEADY, *DOOMED, *CHANGING)
    }
    for name in CREATED:
        pv(f"{name}.cfg", disk=None, memory=16)
    words = mixed(guests)
    assert len(words) == 50
    answers = {}
    running = [Invocation(bench, each) for each in words]
    for invocation in running:
        stdout, stderr, status = invocation.end()
        answers.setdefault(invocation.words, []).append((stdout, stderr, status))
        said = f"{invocation.words}: {stderr}"
        assert "Traceback" not in stdout + stderr, said
        if invocation.words[0] == "destroy":
            assert (stderr, status) == ("", 0) or (GONE.fullmatch(stderr) and status == 3), said
        else:
            assert (stderr, status) == ("", 0), said
    for stdout, _, _ in answers["list",]:
        rows = listed(stdout)
        assert set(rows) >= {"Domain-0", *STEADY, *CHANGING}
        assert set(rows) <= {"Domain-0", *guests, *CREATED}
        assert list(rows) == sorted(rows)
        assert all(rows[name][1] == str(guests[name].domid) for name in STEADY)
    assert answers["domid", STEADY[0]] == [(f"{guests[STEADY[0]].domid}\n", "", 0)]
    assert answers["domname", str(guests[STEADY[1]].domid)] == [(f"{STEADY[1]}\n", "", 0)]
    for name in DOOMED:
        assert ("", "", 0) in answers["destroy", name]
    after = {info.name: info for info in bench.hypervisor.domains()}
    assert set(after) == {*STEADY, *CHANGING, *CREATED}
    assert all(after[name].domid == guests[name].domid for name in (*STEADY, *CHANGING))
    assert {after[name].state for name in CREATED} == {"running"}
    assert bench.xm("sched-credit", "-d", STEADY[10]).stdout.splitlines()[-1].split()[2] == "300"
