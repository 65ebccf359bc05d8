"""xentop's words and keys, and the figures between two looks."""

from __future__ import annotations

import curses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat.backends.counters import DiskCounters, DomainCounters
from xmcompat.errors import ConnectionLost, UsageError
from xmcompat.render.top import Form
from xmcompat.statistics import Statistics
from xmcompat.toolstack import Toolstack
from xmcompat.xm import top
from xmcompat.xm.top_screen import View, pressed

WEB = domain("web", 2, cpu_time=10 * 10**9)


def looks(host: FakeHypervisor, *counted: list[DomainCounters], seconds: float = 2.0) -> list[dict[str, float]]:
    """The shares of a CPU at each look, which are SECONDS apart."""
    host.counted = list(counted)
    clock = iter(seconds * number for number in range(100))
    statistics = Statistics(Toolstack(lambda: host), clock=lambda: next(clock))
    return [{one.info.name: one.cpu_percent for one in statistics.picture().usages} for _ in counted]


def counters(nanoseconds: int, **changes: object) -> DomainCounters:
    return DomainCounters(WEB._replace(cpu_time=nanoseconds), ((0, nanoseconds),), (), ())._replace(**changes)  # type: ignore[arg-type]


def test_a_share_is_of_the_time_since_the_look_before(host: FakeHypervisor) -> None:
    assert looks(host, [counters(10**9)], [counters(2 * 10**9)], []) == [
        {"Domain-0": 0.0, "web": 0.0}, {"Domain-0": 0.0, "web": 50.0}, {"Domain-0": 0.0},
    ]  # fmt: skip


def test_a_domain_that_was_started_anew_is_another_one(host: FakeHypervisor) -> None:
    again = counters(10**9)._replace(info=WEB._replace(domid=3, cpu_time=10**9))
    assert looks(host, [counters(9 * 10**9)], [again])[1]["web"] == 50.0


def test_what_is_not_told_is_as_before(host: FakeHypervisor) -> None:
    disk = DiskCounters("vda", 5)
    silent = DomainCounters(WEB._replace(memory=0, max_memory=0, vcpus=0, cpu_time=11 * 10**9), None, (), None)
    host.counted = [[counters(10 * 10**9, disks=(disk,))], [silent]]
    statistics = Statistics(Toolstack(lambda: host))
    statistics.picture()
    (_, usage) = statistics.picture().usages
    assert (usage.disks, usage.vcpus, usage.info.memory, usage.info.vcpus) == ((disk,), ((0, 10 * 10**9),), 262144, 1)


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        ([], top.Wish()), (["-b", "-i2", "-d", "1.5"], top.Wish(batch=True, iterations=2, delay=1.5)),
        (["-nxvrf"], top.Wish(Form(True, True, True, True, True))),
        (["--networks", "--vbds", "--vcpus", "--repeat-header", "--full-name"], top.Wish(Form(True, True, True, True, True))),
        (["--vb", "--iter=7"], top.Wish(Form(disks=True), iterations=7)), (["-h"], top.Wish(text=top.USAGE)),
    ],
)  # fmt: skip
def test_words_of_xentop(words: list[str], wish: top.Wish) -> None:
    assert top.wished(words) == wish


@pytest.mark.parametrize("words", [["-z"], ["-d", "x"], ["-d0"], ["-i", "0"], ["-i", "-1"], ["operand"], ["--v"]])
def test_wrong_words_of_xentop(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError):
        top.wished(words)
    assert top.xentop(words) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("xentop: ") and captured.err.endswith(top.USAGE)


def test_version_and_help_need_no_libvirt(capsys: pytest.CaptureFixture[str]) -> None:
    assert (top.xentop(["-V"]), top.xentop(["--help"])) == (0, 0)
    assert capsys.readouterr().out.startswith("xentop 4.1 (xmcompat ")


def test_batch_form_and_its_end(host: FakeHypervisor, capsys: pytest.CaptureFixture[str]) -> None:
    host.known = {WEB.uuid: WEB}
    assert top.xentop(["-b", "-i", "2", "-d", "0.01"]) == 0
    assert capsys.readouterr().out.count("       web -----r ") == 2


def test_a_lost_connection_is_one_line(host: FakeHypervisor, xm: Xm, capsys: pytest.CaptureFixture[str]) -> None:
    host.refusal = ConnectionLost("the connection is lost", hint="see its log")
    assert xm("top") == (0, "", "Error: the connection is lost\nHint: see its log\n")
    assert top.xentop(["-b"]) == 1
    assert capsys.readouterr().err.startswith("xentop: the connection is lost\n")


VIEW = View(Form(), 3.0)


def test_keys() -> None:
    assert pressed(VIEW, ord("N"), 10).form == Form(networks=True)
    assert pressed(VIEW, ord("x"), 10).form == pressed(VIEW, ord("B"), 10).form == Form(disks=True)
    assert pressed(pressed(VIEW, ord("v"), 10), ord("v"), 10) == VIEW
    assert pressed(VIEW, ord("s"), 10).form.column == 0
    assert pressed(VIEW, ord("Q"), 10).ends and pressed(VIEW, 27, 10).ends
    assert pressed(pressed(VIEW, curses.KEY_NPAGE, 10), curses.KEY_UP, 10).first == 9
    assert pressed(VIEW, curses.KEY_UP, 10).first == 0
    assert pressed(VIEW, -1, 10) == pressed(VIEW, curses.KEY_RESIZE, 10) == VIEW


def typed(*keys: int) -> View:
    view = VIEW
    for key in (ord("d"), *keys):
        view = pressed(view, key, 10)
    return view


def test_the_delay_is_typed() -> None:
    assert typed(ord("1"), ord("7"), 127, ord("."), ord("5"), ord("q")) == VIEW._replace(typed="1.5")
    assert typed(ord("1"), ord("."), ord("5"), 10) == VIEW._replace(delay=1.5)
    assert typed(ord("0"), 10) == typed(10) == typed(ord("9"), 27) == VIEW


@given(st.lists(st.integers(-1, 600), max_size=30))
def test_no_key_breaks_it(keys: list[int]) -> None:
    view = VIEW
    for key in keys:
        view = pressed(view, key, 10)
        assert view.first >= 0 and view.delay > 0
