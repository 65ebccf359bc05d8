"""The table of xm top, byte for byte, and its order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import domain
from xmcompat.backends.counters import DiskCounters, NicCounters, Picture, Usage
from xmcompat.backends.hypervisor import DomainState
from xmcompat.render import top
from xmcompat.render.top import COLUMNS, Form

TITLES = (
    "      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) NETRX(k) VBDS   "
    "VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID\n"
)
NIC = NicCounters(7604726 * 1024, 8, 0, 1, 17270964 * 1024 + 1023, 9, 2, 3)
DISK = DiskCounters("vda", 181258, 3374788, 7781018 * 512, 69690752 * 512)


def usage(name: str = "orchid", domid: int = 3, **changes: object) -> Usage:
    info = domain(name, domid, memory=1048576, max_memory=2097152, vcpus=2, cpu_time=128529 * 10**9)
    made = Usage(info, 12.34, 2097152, ((0, 5155 * 10**9), (1, 10**9)), (NIC,), (DISK, DISK._replace(target="sda")))
    return made._replace(**changes)  # type: ignore[arg-type]


DOM0 = Usage(domain("Domain-0", 0, memory=8388608, cpu_time=161513 * 10**9, vcpus=4), 0.0, None, (), (), ())
PICTURE = Picture(0.0, 8388608, 4096, 4, 2992, (usage(), DOM0))


def test_a_look_has_titles_and_a_row_for_each_domain() -> None:
    assert top.batch(PICTURE, Form()) == TITLES + (
        "  Domain-0 -----r     161513    0.0    8388608  100.0   no limit       n/a     4    0        0        0    0        0"
        "        0        0          0          0    0\n"
        "    orchid -----r     128529   12.3    1048576   12.5    2097152      25.0     2    1 17270964  7604726    2        0"
        "   362516  6749576   15562036  139381504    0\n"
    )  # fmt: skip


def test_details_stand_beneath_their_domain() -> None:
    only = PICTURE._replace(usages=(usage(),))
    lines = top.batch(only, Form(networks=True, disks=True, vcpus=True, repeat_header=True)).splitlines()
    assert lines[0] + "\n" == TITLES
    assert lines[2:] == [
        "VCPUs(sec):   0:       5155s  1:          1s",
        "Net0 RX: 7787239424bytes        8pkts        0err        1drop  TX: 17685468159bytes        9pkts        2err"
        "        3drop",
        "VBD BlkBack 51712 [ca: 0]  OO:        0   RD:   181258   WR:  3374788  RSECT:    7781018  WSECT:   69690752",
        "VBD BlkBack 2048 [ 8: 0]  OO:        0   RD:   181258   WR:  3374788  RSECT:    7781018  WSECT:   69690752",
    ]


def test_more_than_five_vcpus_take_more_lines() -> None:
    many = PICTURE._replace(usages=(usage(vcpus=tuple((number, 0) for number in range(6))),))
    lines = top.batch(many, Form(vcpus=True)).splitlines()
    assert (lines[-1], lines[-2].count("0s")) == ("          5:          0s", 5)


def test_long_names_are_cut_unless_they_are_wanted() -> None:
    picture = PICTURE._replace(usages=(usage("a-name-of-20-letters"), DOM0))
    assert "\na-name-of- -----r " in top.batch(picture, Form())
    full = top.batch(picture, Form(full_names=True)).splitlines()
    assert full[0] + "\n" == " " * 10 + TITLES
    assert [line[:27] for line in full[1:]] == ["            Domain-0 -----r", "a-name-of-20-letters -----r"]


@pytest.mark.parametrize(
    ("state", "shown"),
    [(DomainState.BLOCKED, "--b---"), (DomainState.PAUSED, "----p-"), (DomainState.CRASHED, "---c--"),
     (DomainState.DYING, "d-----"), (DomainState.DEAD, "-s----"), (DomainState.SHUTOFF, "------")],
)  # fmt: skip
def test_letters_stand_in_xentops_order(state: str, shown: str) -> None:
    assert top.state(usage(info=domain("web", 1, state=state))) == shown


def test_the_summary_counts_states() -> None:
    paused = usage(info=domain("web", 1, state=DomainState.PAUSED))
    assert top.summary(PICTURE._replace(usages=(DOM0, usage(), paused)), "18:03:17") == [
        "xentop - 18:03:17   Xen 4.1.6-xmcompat",
        "3 domains: 2 running, 0 blocked, 1 paused, 0 crashed, 0 dying, 0 shutdown",
        "Mem: 8388608k total, 8384512k used, 4096k free    CPUs: 4 @ 2992MHz",
    ]


def test_s_goes_through_all_columns_and_comes_back_to_the_id() -> None:
    column, seen = None, []
    for _ in range(len(COLUMNS) + 1):
        column = top.next_column(column)
        seen.append(column)
    assert seen == [*range(len(COLUMNS)), None]


@given(st.lists(st.tuples(st.text("ab", max_size=3), st.integers(0, 9)), max_size=6), st.sampled_from(range(len(COLUMNS))))
def test_rows_are_sorted_whatever_the_column(rows: list[tuple[str, int]], column: int) -> None:
    usages = [usage(name, domid, cpu_percent=float(domid)) for name, domid in rows]
    ordered = top.ordered(usages, Form(column=column))
    ranks = [COLUMNS[column].rank(one) for one in ordered]
    assert ranks == sorted(ranks)  # type: ignore[type-var]
    assert sorted(map(repr, ordered)) == sorted(map(repr, usages))


def test_no_domain_at_all_leaves_the_titles() -> None:
    assert top.batch(PICTURE._replace(usages=()), Form(repeat_header=True)) == TITLES
