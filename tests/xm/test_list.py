"""``xm list``, ``uptime``, ``domid``, ``domname``: tables byte for byte, filters, streams and statuses."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat.backends.hypervisor import DomainInfo, DomainState, HostInfo
from xmcompat.render import tables
from xmcompat.render.state import letters, power_number, power_word
from xmcompat.xm.help import usage_text

MIB = 1024
SECOND = 1_000_000_000
HEADER = "Name                                        ID   Mem VCPUs      State   Time(s)\n"
DOM0 = "Domain-0                                     0  1024     4     r-----   1234.6\n"
ORCHID = "orchid                                       3   512     2     -b----     12.3\n"
QUARTZ = "quartz                                      14  2048     1     --p---      0.1\n"
BASALT = "basalt                                           256     1                 7.0\n"


@pytest.fixture
def guests(host: FakeHypervisor) -> FakeHypervisor:
    """The host and guests of the examples."""
    infos = (
        domain("quartz", 14, memory=2048 * MIB, state=DomainState.PAUSED, cpu_time=SECOND // 20),
        domain("basalt", None, memory=256 * MIB, cpu_time=7 * SECOND),
        domain("orchid", 3, memory=512 * MIB, vcpus=2, state=DomainState.BLOCKED, cpu_time=12_300_000_000),
    )
    host.known = {info.uuid: info for info in infos}
    spent = sum(info.cpu_time for info in infos)
    host.host_info = HostInfo("node7", 1024 * MIB, 4, 1_234_560_000_000 + spent)
    return host


def test_all_domains_by_name(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("list") == (0, HEADER + DOM0 + BASALT + ORCHID + QUARTZ, "")


def test_named_domains_in_their_order(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("list", "orchid", "0", "14", "orchid") == (0, HEADER + ORCHID + DOM0 + QUARTZ + ORCHID, "")


def test_an_unknown_domain_leaves_stdout_empty(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("list", "orchid", "nosuch") == (3, "", "Error: Domain 'nosuch' does not exist.\n")


@pytest.mark.parametrize(
    ("state", "rows"),
    [
        ("running", DOM0 + ORCHID),
        ("RUNNING", DOM0 + ORCHID),
        ("paused", QUARTZ),
        ("halted", BASALT),
        ("suspended", ""),
        ("crashed", ""),
        ("unknown", ""),
        ("nonsense", ""),
        ("all", DOM0 + BASALT + ORCHID + QUARTZ),
    ],
)
def test_a_state_selects_and_an_unknown_one_selects_nothing(
    xm: Xm, guests: FakeHypervisor, state: str, rows: str
) -> None:
    assert xm("list", f"--state={state}") == (0, HEADER + rows, "")


@pytest.mark.parametrize(("pool", "rows"), [("Pool-0", DOM0 + BASALT + ORCHID + QUARTZ), ("Pool-1", "")])
def test_every_domain_is_in_pool_0(xm: Xm, guests: FakeHypervisor, pool: str, rows: str) -> None:
    assert xm("list", "--pool", pool) == (0, HEADER + rows, "")


def test_nothing_selected_prints_nothing_in_the_long_form(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("list", "-l", "--state=crashed") == (0, "", "")


@pytest.mark.parametrize(("option", "what"), [("--state=paused", "state"), ("--pool=Pool-0", "pool")])
def test_a_filter_and_a_name_exclude_each_other(xm: Xm, guests: FakeHypervisor, option: str, what: str) -> None:
    line = f"Error: You may specify either a {what} or a particular VM, but not both\n"
    assert xm("list", option, "orchid") == (1, usage_text("list") + "\n", line)
    assert xm("list", "--state=all", "orchid") == (0, HEADER + ORCHID, "")


def test_labels_add_a_column_that_is_empty(xm: Xm, guests: FakeHypervisor) -> None:
    out = xm("list", "--label").out.split("\n")
    assert out[0] == HEADER[:-1] + " Label     "
    assert out[1] == DOM0[:-1] + " " * 11


@pytest.mark.parametrize("flag", ["-v", "--vcpus"])
@pytest.mark.parametrize("named", [[], ["orchid"]])
def test_the_old_option_for_vcpus_says_what_to_use_and_does_it(
    xm: Xm, guests: FakeHypervisor, flag: str, named: list[str]
) -> None:
    status, out, err = xm("list", flag, *named)
    assert (status, out) == xm("vcpu-list", *named)[:2]
    assert out.startswith("Name ")
    assert err == "xm list -v is deprecated.  Please use xm vcpu-list.\n"
    assert xm("list", flag, "nosuch") == (3, "", err + "Error: Domain 'nosuch' does not exist.\n")


def test_long_names_and_large_numbers_push_the_rest_to_the_right() -> None:
    info = domain("n" * 45, 123456, memory=1234567 * MIB, vcpus=1, cpu_time=123456789 * SECOND)
    assert tables.list_table([info]).split("\n")[1] == f"{'n' * 45} 123456 1234567     1     r----- 123456789.0"


infos = st.builds(
    DomainInfo,
    domid=st.integers(0, 2**16) | st.none(),
    name=st.text(alphabet="abcXYZ019_-.:+", min_size=1, max_size=60),
    uuid=st.just("00000000-0000-4000-8000-000000000001"),
    state=st.sampled_from([DomainState.RUNNING, DomainState.PAUSED, DomainState.CRASHED]),
    memory=st.integers(0, 2**40),
    max_memory=st.integers(0, 2**40),
    vcpus=st.integers(1, 512),
    cpu_time=st.integers(0, 10**18),
    persistent=st.booleans(),
)


@given(st.lists(infos, max_size=5))
def test_rows_have_six_fields_and_no_trailing_blank(rows: list[DomainInfo]) -> None:
    for line, info in zip(tables.list_table(rows).split("\n")[1:], rows, strict=False):
        fields = line.split()
        assert fields[0] == info.name
        assert len(fields) == (6 if info.domid is not None else 5)
        assert line == line.rstrip()


@pytest.mark.parametrize(
    ("state", "shown", "word", "number"),
    [
        (DomainState.RUNNING, "r-----", "running", 2),
        (DomainState.BLOCKED, "-b----", "running", 2),
        (DomainState.PAUSED, "--p---", "paused", 1),
        (DomainState.SHUTDOWN, "r-----", "running", 2),
        (DomainState.CRASHED, "----c-", "crashed", 5),
        (DomainState.DYING, "-----d", "running", 2),
        (DomainState.SHUTOFF, "", "halted", 0),
    ],
)
def test_states_in_letters_words_and_numbers(state: str, shown: str, word: str, number: int) -> None:
    assert (letters(state), power_word(state), power_number(state)) == (shown, word, number)


# -- uptime

UP = [
    (domain("Domain-0", 0), 2151.4),
    (domain("orchid", 3), 90064.5),
    (domain("quartz", 14), 2 * 86400 + 11 * 3600),
    (domain("basalt", None), 0.0),
]


def test_uptime_rows() -> None:
    assert tables.uptime_table(UP) == (
        "Name                                ID Uptime \n"
        "Domain-0                             0  0:35:51\n"
        "orchid                               3 1 day,  1:01:05\n"
        "quartz                              14 2 days, 11:00:00\n"
        "basalt                                  0:00:00\n"
    )


def test_short_uptime_lines() -> None:
    assert tables.uptime_lines(UP, "11:03:14") == (
        " 11:03:14 up  0:35, Domain-0 (0)\n"
        " 11:03:14 up 1 day,  1:01, orchid (3)\n"
        " 11:03:14 up 2 days, 11:00, quartz (14)\n"
        " 11:03:14 up  0:00, basalt ()\n"
    )


@given(st.floats(0, 10**8))
def test_an_uptime_reads_back_as_the_seconds_it_was(seconds: float) -> None:
    row = tables.uptime_table([(domain("a", 1), seconds)]).split("\n")[1]
    found = re.fullmatch(r"a {36}1 (?:(\d+) days?, )?([ \d]\d):(\d\d):(\d\d)", row)
    assert found
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    assert ((days * 24 + hours) * 60 + minutes) * 60 + rest == int(seconds + 0.5)


def test_uptime_of_all_and_of_some(xm: Xm, guests: FakeHypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(guests, "start_time", lambda uuid: now - 61)
    lines = xm("uptime").out.split("\n")
    assert [line.split()[0] for line in lines[1:-1]] == ["Domain-0", "basalt", "orchid", "quartz"]
    assert lines[2] == "basalt                                  0:00:00"
    assert lines[3] == "orchid                               3  0:01:01"
    assert xm("uptime", "quartz").out.split("\n")[1:] == ["quartz                              14  0:01:01", ""]


def test_uptime_short(xm: Xm, guests: FakeHypervisor) -> None:
    status, out, err = xm("uptime", "-s", "basalt")
    assert (status, err) == (0, "")
    assert re.fullmatch(r" \d\d:\d\d:\d\d up  0:00, basalt \(\)\n", out)


@pytest.mark.parametrize("option", [["-s"], []])
def test_uptime_of_an_unknown_domain(xm: Xm, guests: FakeHypervisor, option: list[str]) -> None:
    assert xm("uptime", *option, "nosuch") == (3, "", "Error: Domain 'nosuch' does not exist.\n")


# -- domid, domname


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["domid", "orchid"], "3\n"),
        (["domid", "3"], "3\n"),
        (["domid", "Domain-0"], "0\n"),
        (["domid", "basalt"], "None\n"),
        (["domname", "3"], "orchid\n"),
        (["domname", "0"], "Domain-0\n"),
        (["domname", "basalt"], "basalt\n"),
    ],
)
def test_ids_and_names(xm: Xm, guests: FakeHypervisor, words: list[str], out: str) -> None:
    assert xm(*words) == (0, out, "")


@pytest.mark.parametrize("verb", ["domid", "domname"])
def test_the_id_or_name_of_an_unknown_domain(xm: Xm, guests: FakeHypervisor, verb: str) -> None:
    assert xm(verb, "nosuch") == (3, "", "Error: Domain 'nosuch' does not exist.\n")
