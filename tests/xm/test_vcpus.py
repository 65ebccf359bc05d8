"""vcpu-list, vcpu-set, vcpu-pin: the table byte for byte, what is asked of the hypervisor, and every refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat.backends.domain_xml import read_record, render_record
from xmcompat.backends.hypervisor import DomainState, VcpuInfo
from xmcompat.backends.machine import XenRecord
from xmcompat.config import sxp
from xmcompat.errors import DomainEnding, DomainNotFound, HypervisorError, InvalidArgument
from xmcompat.render.cpu_tables import affinity, vcpu_table
from xmcompat.units import parse_cpus
from xmcompat.xm.help import usage_text
from xmcompat.xm.numbers import cpu_list

SECOND = 1_000_000_000
ANY = (0, 1, 2, 3)
ORCHID = domain("orchid", 3, vcpus=2)
BASALT = domain("basalt", None, vcpus=2)
QUARTZ = domain("quartz", 14, state=DomainState.PAUSED)
FORM = "(vm (name orchid) (vcpus 2) (cpus 0-2) (image (linux)))"

HEADER = "Name                                ID  VCPU   CPU State   Time(s) CPU Affinity\n"
DOM0 = "".join(f"Domain-0                             0     {cpu}     {cpu}   r--       3.0 any cpu\n" for cpu in ANY)


@pytest.fixture(autouse=True)
def guests(host: FakeHypervisor) -> FakeHypervisor:
    host.known = {info.uuid: info for info in (ORCHID, BASALT, QUARTZ)}
    host.vcpu_rows = {
        ORCHID.uuid: [
            VcpuInfo(0, True, 2, DomainState.BLOCKED, 3 * SECOND, (1, 3)),
            VcpuInfo(1, False, None, DomainState.BLOCKED, 0, (0, 2, 3)),
        ],
        QUARTZ.uuid: [VcpuInfo(0, True, 2, DomainState.RUNNING, 100_250_000_000, (2, 64))],
    }
    host.records[ORCHID.uuid] = render_record(XenRecord(sxp=FORM, started=5.0))
    return host


def kept(host: FakeHypervisor, key: str) -> object:
    record = read_record(host.records[ORCHID.uuid])
    assert record is not None
    form = sxp.parse(record.sxp)[0]
    assert isinstance(form, list)
    return sxp.value(form, key)


# -- vcpu-list


def test_all_domains_are_listed_by_name_with_halted_ones_and_domain_0(xm: Xm) -> None:
    assert xm("vcpu-list") == (
        0,
        HEADER + DOM0
        + "basalt                                     0                   0.0 any cpu\n"
        + "basalt                                     1                   0.0 any cpu\n"
        + "orchid                               3     0     2   -b-       3.0 1,3\n"
        + "orchid                               3     1     -   --p       0.0 0,2-3\n"
        + "quartz                              14     0     2   ---     100.2 2\n",
        "",
    )  # fmt: skip


def test_those_named_are_listed_in_their_order(xm: Xm) -> None:
    out = xm("vcpu-list", "14", "Domain-0", "quartz").out.splitlines()
    assert [line.split()[0] for line in out] == ["Name", "quartz", *["Domain-0"] * 4, "quartz"]


def test_an_unknown_domain_hides_all_others(xm: Xm) -> None:
    assert xm("vcpu-list", "orchid", "nosuch") == (3, "", "Error: Domain 'nosuch' does not exist.\n")


@pytest.mark.parametrize("error", [DomainNotFound("x"), DomainEnding("domain is not running")])
def test_a_domain_that_goes_meanwhile_is_left_out_unless_it_was_named(
    xm: Xm, guests: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    vcpus = guests.vcpus

    def gone(uuid: str) -> list[VcpuInfo]:
        if uuid == ORCHID.uuid:
            raise error
        return vcpus(uuid)

    monkeypatch.setattr(guests, "vcpus", gone)
    status, out, err = xm("vcpu-list")
    assert (status, err) == (0, "")
    assert "quartz" in out
    assert "orchid" not in out
    assert xm("vcpu-list", "quartz", "3") == (3, "", "Error: Domain '3' does not exist.\n")


def test_a_word_with_a_dash_is_a_domain(xm: Xm) -> None:
    assert xm("vcpu-list", "-l") == (3, "", "Error: Domain '-l' does not exist.\n")


def test_a_running_vcpu_and_one_whose_place_is_not_known() -> None:
    rows = [
        VcpuInfo(0, True, 1, DomainState.RUNNING, 123456789 * SECOND, ()), VcpuInfo(1, True, None, "", 0, ANY),
    ]  # fmt: skip
    name = "n" * 40
    assert vcpu_table([(domain(name, 123456), rows)], ANY) == (
        HEADER
        + f"{name} 123456     0     1   r--  123456789.0 no cpus\n"
        + f"{name} 123456     1     -   ---       0.0 any cpu\n"
    )


@pytest.mark.parametrize(
    ("cpus", "text"),
    [(ANY, "any cpu"), ((*ANY, 7), "any cpu"), ((0, 1), "0-1"), ((0, 2, 3, 9), "0,2-3"), ((9,), "no cpus"), ((), "no cpus")],
)
def test_the_affinity_is_a_list_of_the_cpus_that_the_host_has(cpus: tuple[int, ...], text: str) -> None:
    assert affinity(cpus, ANY) == text


@given(st.sets(st.integers(0, 70), min_size=1), st.sets(st.integers(0, 70), min_size=1))
def test_an_affinity_that_is_a_list_names_just_the_cpus_of_the_host(cpus: set[int], host: set[int]) -> None:
    text = affinity(cpus, sorted(host))
    expected = cpus & host
    if text not in ("any cpu", "no cpus"):
        assert set(parse_cpus(text)) == expected
    else:
        assert expected == (host if text == "any cpu" else set())


# -- vcpu-set


def test_vcpu_set_is_silent_and_kept(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("vcpu-set", "orchid", "1") == (0, "", "")
    assert guests.tuned == [("vcpus", "orchid", 1)]
    assert (kept(guests, "vcpus"), kept(guests, "vcpu_avail")) == ("2", "1")
    assert xm("set-vcpus", "orchid", "2").err == "Command set-vcpus is deprecated.  Please use xm vcpu-set instead.\n"
    assert kept(guests, "vcpu_avail") == "3"


def test_of_a_halted_domain_the_maximum_is_changed(xm: Xm, guests: FakeHypervisor) -> None:
    guests.records[BASALT.uuid] = render_record(
        XenRecord(sxp="(vm (name basalt) (vcpus 2) (vcpu_avail 1) (cpus ((0) (1))) (image (linux)))")
    )
    assert xm("vcpu-set", "basalt", "3") == (0, "", "")
    assert guests.tuned == [("vcpus", "basalt", 3)]
    record = read_record(guests.records[BASALT.uuid])
    assert record is not None
    assert record.sxp == "(vm (name basalt) (vcpus 3) (cpus ((0) (1) ())) (image (linux)))"


@pytest.mark.parametrize(
    ("count", "line"),
    [
        ("0", "Zero or less VCPUs is invalid"), ("-1", "Zero or less VCPUs is invalid"),
        ("3", "Cannot set vcpus greater than max vcpus on running domain"),
        ("two", "Invalid argument."), ("1.0", "Invalid argument."), ("2147483648", "Invalid argument."),
    ],
)  # fmt: skip
def test_what_vcpu_set_refuses(xm: Xm, guests: FakeHypervisor, count: str, line: str) -> None:
    assert xm("vcpu-set", "orchid", count) == (1, usage_text("vcpu-set"), f"Error: {line}\n")
    assert guests.tuned == []


def test_a_domain_that_ends_meanwhile_is_not_started(xm: Xm, guests: FakeHypervisor) -> None:
    guests.refusal = DomainEnding("domain is not running")
    guests.known[ORCHID.uuid] = ORCHID
    find = guests.find
    answers = iter([ORCHID])

    def find_once(designation: str) -> object:
        return next(answers, ORCHID._replace(domid=None)) if designation in ("orchid", ORCHID.uuid) else find(designation)

    guests.find = find_once  # type: ignore[method-assign,assignment]
    assert xm("vcpu-set", "orchid", "1") == (1, usage_text("vcpu-set"), "Error: Domain 'orchid' is not started\n")


def test_domain_0_has_the_cpus_of_the_host(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("vcpu-set", "0", "4") == (0, "", "")
    line = (
        "Error: Domain-0 is this host itself, which runs on all that its guests leave it; keep its processes to some CPUs "
        "by 'systemctl set-property system.slice AllowedCPUs=LIST'\n"
    )
    assert xm("vcpu-set", "Domain-0", "1") == (1, usage_text("vcpu-set"), line)
    assert xm("vcpu-set", "0", "5").err == "Error: Cannot set vcpus greater than max vcpus on running domain\n"
    assert xm("vcpu-pin", "0", "0", "1") == (1, usage_text("vcpu-pin"), line)
    assert guests.tuned == []


# -- vcpu-pin


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("3", [3]), ("0-3,^1", [0, 2, 3]), ("0-3,^1,1", [0, 1, 2, 3]), ("^1,0-1", [0, 1]), (",2,,1,", [1, 2]), ("3-1", []),
        ("", []), ("1,1", [1, 1]), (" 1 , 2", [1, 2]), ("70", [70]),
    ],
)  # fmt: skip
def test_lists_of_cpus_count_from_left_to_right(text: str, cpus: list[int]) -> None:
    assert cpu_list(text) == cpus


@pytest.mark.parametrize("text", ["x", "1-x", "^2-3", "-1", "1-2-3", "^", "1-", "All", "0x1", "1;2"])
def test_a_list_of_what_is_no_cpu(xm: Xm, text: str) -> None:
    with pytest.raises(InvalidArgument):
        cpu_list(text)
    assert xm("vcpu-pin", "orchid", "0", text) == (1, usage_text("vcpu-pin"), "Error: Invalid argument.\n")


def test_a_range_without_end_ends() -> None:
    assert len(cpu_list("0-2000000000")) < 10_000


def test_one_vcpu_is_pinned_in_silence_and_it_is_kept(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("vcpu-pin", "orchid", "1", "0-3,^1,9") == (0, "", "")
    assert guests.tuned == [("pin", "orchid", 1, (0, 2, 3))]
    assert kept(guests, "cpus") == [["1", "3"], ["0", "2", "3"]]


@pytest.mark.parametrize("every", ["all", "ALL", "All"])
def test_all_vcpus_and_all_cpus(xm: Xm, guests: FakeHypervisor, every: str) -> None:
    assert xm("vcpu-pin", "3", every, "all") == (0, "", "")
    assert guests.tuned == [("pin", "orchid", 0, ANY), ("pin", "orchid", 1, ANY)]
    assert kept(guests, "cpus") is None


@pytest.mark.parametrize(
    ("vcpu", "cpus", "line"),
    [
        ("2", "0-1", "Cannot pin vcpu: 2 to cpu: [0, 1] - (22, 'Invalid argument')"),
        ("0", "9", "Cannot pin vcpu: 0 to cpu: [9] - (22, 'Invalid argument')"),
        ("x", "0", "invalid literal for int() with base 10: 'x'"),
        ("-1", "0", "Cannot pin vcpu: -1 to cpu: [0] - (22, 'Invalid argument')"),
        ("-+1", "0", "invalid literal for int() with base 10: '-+1'"),
        ("0", "", "invalid literal for int() with base 10: ''"),
        ("0", "1,^1", "invalid literal for int() with base 10: ''"),
    ],
)
def test_what_vcpu_pin_refuses(xm: Xm, guests: FakeHypervisor, vcpu: str, cpus: str, line: str) -> None:
    assert xm("vcpu-pin", "orchid", vcpu, cpus) == (1, usage_text("vcpu-pin"), f"Error: {line}\n")
    assert guests.tuned == []


def test_a_halted_domain_is_pinned_for_its_next_start(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("vcpu-pin", "basalt", "1", "2") == (0, "", "")
    assert guests.tuned == [("pin", "basalt", 1, (2,))]
    assert xm("vcpu-pin", "basalt", "7", "2").err == (
        "Error: Cannot pin vcpu: 7 to cpu: [2] - list assignment index out of range\n"
    )


def test_what_the_hypervisor_refuses_stands_behind_xends_words(xm: Xm, guests: FakeHypervisor) -> None:
    guests.refusal = HypervisorError("cpu affinity is not supported")
    line = "Error: Cannot pin vcpu: 0 to cpu: [1] - cpu affinity is not supported\n"
    assert xm("vcpu-pin", "orchid", "0", "1") == (1, usage_text("vcpu-pin"), line)


@pytest.mark.parametrize("words", [["vcpu-set", "nosuch", "1"], ["vcpu-pin", "nosuch", "x", ""]])
def test_an_unknown_domain_ends_in_3(xm: Xm, words: list[str]) -> None:
    assert xm(*words) == (3, "", "Error: Domain 'nosuch' does not exist.\n")
