"""Pins, weight, cap, NUMA nodes and pages."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.translate.guests import HOST, HVM, PV
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import CpuTune, NumaCell
from xmcompat.config.build import build
from xmcompat.guest import Dialect, GuestConfig, NumaNode
from xmcompat.notes import Fate
from xmcompat.translate.findings import Findings
from xmcompat.translate.tuning import Backing, backing, numa, tune

UNKNOWN = replace(HOST, cpus=0)
V2 = replace(UNKNOWN, cgroup_v2=True)
FOUR = replace(HOST, cpus=4)


def tuned(guest: GuestConfig, facts: HostFacts = UNKNOWN) -> tuple[CpuTune, list[tuple[str, str, str]]]:
    """The tuning, and (key, value, reason) of each note; all of them are loud approximations."""
    findings = Findings(guest)
    found = tune(guest, facts, findings)
    assert all((note.fate, note.harmless) == (Fate.APPROXIMATED, False) for note in findings.notes)
    return found, [(note.key, note.value, note.reason) for note in findings.notes]


def test_a_guest_that_asks_for_nothing_has_nothing() -> None:
    assert tuned(PV) == tuned(PV, V2) == tuned(PV, FOUR) == (CpuTune(), [])


# -- pins


def test_pins_are_the_configurations() -> None:
    guest = replace(PV, vcpus=2, pins=((0, 2, 3), (2,)))
    assert tuned(guest) == tuned(guest, FOUR) == (CpuTune(pins=((0, 2, 3), (2,))), [])


def test_cpus_that_this_host_lacks_are_left_out() -> None:
    guest = replace(PV, vcpus=2, pins=((0, 5), (3, 6, 7)), options={"cpus": ["0,5", "3,6-7"]})
    assert tuned(guest, FOUR) == (
        CpuTune(pins=((0,), (3,))),
        [("cpus", "5-7", "this host has the CPUs 0-3 alone; the vcpus keep to the others of their CPUs")],
    )


def test_a_vcpu_that_has_none_left_may_run_anywhere() -> None:
    guest = replace(PV, vcpus=3, pins=((0,), (6,), ()), options={"cpus": ["0", "6", ""]})
    assert tuned(guest, FOUR) == (
        CpuTune(pins=((0,), (), ())),
        [("cpus", "6", "this host has the CPUs 0-3 alone; vcpu 1 may run anywhere")],
    )
    lone = replace(PV, pins=((9,),), options={"cpu": 9})
    assert tuned(lone, FOUR) == (CpuTune(), [("cpu", "9", "this host has the CPUs 0-3 alone; vcpu 0 may run anywhere")])


def test_a_host_of_unknown_size_is_believed_to_have_them() -> None:
    guest = replace(PV, pins=((63,),), options={"cpus": "63"})
    assert tuned(guest) == (CpuTune(pins=((63,),)), [])


@given(st.lists(st.lists(st.integers(0, 9), max_size=4).map(lambda cpus: tuple(sorted(set(cpus)))), max_size=4))
def test_no_pin_names_a_cpu_that_is_not_there(pins: list[tuple[int, ...]]) -> None:
    found, notes = tuned(replace(PV, vcpus=4, pins=tuple(pins)), FOUR)
    assert all(cpu < 4 for cpus in found.pins for cpu in cpus)
    assert bool(notes) == any(cpu >= 4 for cpus in pins for cpu in cpus)


# -- weight and cap


@pytest.mark.parametrize(
    ("weight", "v1", "v2"),
    [(None, None, None), (256, None, None), (512, 2048, 200), (128, 512, 50), (1000, 4000, 391), (65535, 262140, 10000),
     (1, 4, 2)],
)  # fmt: skip
def test_a_weight_is_in_the_scale_of_the_hosts_cgroups(weight: int | None, v1: int | None, v2: int | None) -> None:
    guest = replace(PV, weight=weight)
    assert tuned(guest)[0].shares == v1
    assert tuned(guest, V2)[0].shares == v2


@pytest.mark.parametrize(
    ("weight", "reason"),
    [(65535, "25600 is the most that this host's cgroups can tell"), (2, "5 is the least that this host's cgroups can tell")],
)
def test_a_weight_beyond_the_scale_is_told(weight: int, reason: str) -> None:
    guest = replace(PV, weight=weight)
    assert tuned(guest)[1] == []
    assert tuned(guest, V2)[1] == [("cpu_weight", str(weight), reason)]


@given(st.integers(1, 65535), st.integers(1, 65535), st.booleans())
def test_the_heavier_guest_never_has_less(one: int, other: int, v2: bool) -> None:
    facts = V2 if v2 else UNKNOWN
    usual = 100 if v2 else 1024
    light, heavy = (tuned(replace(PV, weight=weight), facts)[0].shares or usual for weight in sorted((one, other)))
    assert light <= heavy


def test_a_cap_is_a_quota_of_the_whole_guest() -> None:
    assert tuned(replace(PV, vcpus=2, cap=150)) == (CpuTune(quota=150000), [])
    assert tuned(replace(PV, cap=1)) == (CpuTune(quota=1000), [])
    assert tuned(replace(PV, cap=0)) == (CpuTune(), [])


def test_from_the_text_of_a_file() -> None:
    values = {"kernel": "/k", "vcpus": 2, "cpus": ["0-3,^1", "2"], "cpu_weight": 512, "cpu_cap": 150}
    guest = build(values, path="./a", default_name="a")
    assert tuned(guest, FOUR) == (CpuTune(pins=((0, 2, 3), (2,)), shares=2048, quota=150000), [])


# -- NUMA


def nodes(*distances: tuple[int, ...]) -> tuple[NumaNode, ...]:
    return tuple(
        NumaNode(host_node=index, size=512, vcpus=(index,), distances=row) for index, row in enumerate(distances)
    )


def celled(guest: GuestConfig, facts: HostFacts | None = None) -> tuple[tuple[NumaCell, ...], list[tuple[str, str]]]:
    findings = Findings(guest)
    cells = numa(guest, findings, facts)
    return cells, [(note.key, note.value) for note in findings.notes]


def test_nodes_are_cells() -> None:
    guest = replace(PV, numa=nodes((10, 21), (21, 10)))
    cells = (
        NumaCell(vcpus=(0,), memory=512 * 1024, distances=(10, 21), host_node=0),
        NumaCell(vcpus=(1,), memory=512 * 1024, distances=(21, 10), host_node=1),
    )
    assert celled(guest) == celled(guest, replace(HOST, numa_nodes=2)) == (cells, [])
    assert celled(PV) == ((), [])


def test_memory_is_not_bound_to_a_node_that_the_host_lacks() -> None:
    cells, notes = celled(replace(PV, numa=nodes((), ())), replace(HOST, numa_nodes=1))
    assert [cell.host_node for cell in cells] == [0, None]
    assert notes == [("vnuma[1]", "pnode=1")]


@pytest.mark.parametrize("rows", [((10, 5), (5, 10)), ((10, 10), (10, 10)), ((20, 10), (10, 20)), ((10, 256), (20, 10)), ((0, 20), (20, 10))])
def test_distances_that_libvirt_does_not_take_are_left_to_it(rows: tuple[tuple[int, ...], ...]) -> None:
    cells, notes = celled(replace(PV, numa=nodes(*rows)))
    assert [cell.distances for cell in cells] == [(), ()]
    assert notes == [("vnuma", "")]


def test_a_node_without_memory_gives_its_vcpus_to_another() -> None:
    first, second, third = nodes((10, 20, 30), (20, 10, 40), (30, 40, 10))
    cells, notes = celled(replace(PV, numa=(replace(first, size=0), second, third)))
    assert [(cell.vcpus, cell.distances, cell.host_node) for cell in cells] == [((0, 1), (10, 40), 1), ((2,), (40, 10), 2)]
    assert notes == [("vnuma[0]", "")]


# -- pages


def backed(guest: GuestConfig, facts: HostFacts = HOST, **options: int) -> tuple[Backing, list[tuple[Fate, str]]]:
    guest = replace(guest, options=options)
    findings = Findings(guest)
    found = backing(guest, facts, findings)
    return found, [(note.fate, note.key) for note in findings.notes]


def test_pages_are_the_hosts_business() -> None:
    assert backed(PV) == backed(HVM) == (Backing(), [])


def test_huge_pages_where_the_host_has_enough() -> None:
    guest = replace(PV, memory=512, maxmem=1024)
    assert backed(guest, replace(HOST, hugepages=1024 * 1024), superpages=1) == (Backing(hugepages=True), [])
    assert backed(guest, replace(HOST, hugepages=1023 * 1024), superpages=1) == (
        Backing(), [(Fate.NO_MEANING, "superpages")],
    )  # fmt: skip
    assert backed(HVM, HOST, superpages=1) == backed(guest, HOST, superpages=0) == (Backing(), [])


def test_pages_that_are_not_to_be_shared() -> None:
    assert backed(HVM, memory_sharing=0) == (Backing(private_pages=True), [])
    assert backed(HVM, memory_sharing=1) == (Backing(), [(Fate.APPROXIMATED, "memory_sharing")])
    assert backed(PV, memory_sharing=0) == backed(PV, memory_sharing=1) == (Backing(), [])


def test_what_xend_prints_of_every_domain_says_nothing_of_sharing() -> None:
    assert backed(replace(HVM, dialect=Dialect.SXP), memory_sharing=0) == (Backing(), [])


# -- CPU pools


def test_a_guest_is_kept_to_the_cpus_of_its_pool() -> None:
    guest = replace(PV, vcpus=3, pins=((0, 2), (), (1,)), options={**PV.options, "pool": "fast", "cpus": ["0,2", "", "1"]})
    facts = replace(FOUR, pool_cpus=(2, 3), knows_pools=True)
    assert tuned(guest, facts) == (
        CpuTune(pins=((2,), (2, 3), (2, 3)), emulator=(2, 3)),
        [("cpus", "", "its pool fast has the CPUs 2-3 alone; vcpu 2 may run on all of them")],
    )


def test_where_the_pools_are_not_known_that_is_said() -> None:
    guest = replace(PV, options={**PV.options, "pool": "fast"})
    found, notes = tuned(guest, FOUR)
    assert found == CpuTune()
    assert [note[:2] for note in notes] == [("pool", "fast")]
    assert tuned(guest, replace(FOUR, knows_pools=True)) == (CpuTune(), [])
    assert tuned(replace(PV, options={**PV.options, "pool": "Pool-0"}), FOUR) == (CpuTune(), [])
