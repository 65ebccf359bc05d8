"""sched-credit with weights and caps on cgroups; sched-credit2 and sched-sedf, whose schedulers are not here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat import tuning
from xmcompat.backends.domain_xml import read_record, render_record
from xmcompat.backends.hypervisor import Scheduling
from xmcompat.backends.machine import XenRecord
from xmcompat.config import sxp
from xmcompat.errors import DomainNotFound, HypervisorUnreachable
from xmcompat.toolstack import Toolstack
from xmcompat.translate import shares
from xmcompat.xm.help import usage_text

ORCHID = domain("orchid", 3, vcpus=2)
BASALT = domain("basalt", None)
FORM = "(vm (name orchid) (vcpus 2) (cpu_cap 50) (cpu_weight 512) (image (linux)))"
HEADER = "Name                                ID Weight  Cap\n"
DOM0 = "Domain-0                             0    256    0\n"


@pytest.fixture(autouse=True)
def guests(host: FakeHypervisor) -> FakeHypervisor:
    host.known = {info.uuid: info for info in (ORCHID, BASALT)}
    host.schedulings = {ORCHID.uuid: Scheduling(2048, 50_000), BASALT.uuid: Scheduling(0, 0)}
    host.records[ORCHID.uuid] = render_record(XenRecord(sxp=FORM))
    return host


def kept(host: FakeHypervisor, key: str) -> object:
    record = read_record(host.records[ORCHID.uuid])
    assert record is not None
    form = sxp.parse(record.sxp)[0]
    assert isinstance(form, list)
    return sxp.value(form, key)


def test_the_table_has_all_domains_by_name(xm: Xm) -> None:
    assert xm("sched-credit") == (
        0,
        HEADER + DOM0
        + "basalt                                    256    0\n"
        + "orchid                               3    512   50\n",
        "",
    )  # fmt: skip


@pytest.mark.parametrize("words", [["-d", "orchid"], ["-d", "3"], ["--domain=orchid"], ["--dom", "3", "ignored", "-z"]])
def test_one_domain_by_name_or_id(xm: Xm, words: list[str]) -> None:
    assert xm("sched-credit", *words) == (0, HEADER + "orchid                               3    512   50\n", "")


def test_domain_0_has_the_usual_weight(xm: Xm) -> None:
    assert xm("sched-credit", "-d", "0") == (0, HEADER + DOM0, "")


@pytest.mark.parametrize("designation", ["nosuch", ORCHID.uuid, "003"], ids=["a name", "a uuid", "a number"])
def test_a_domain_that_is_not_in_the_table_ends_in_1_with_usage(xm: Xm, designation: str) -> None:
    line = f"Error: Domain '{designation}' does not exist.\n"
    assert xm("sched-credit", "-d", designation) == (1, usage_text("sched-credit"), line)


def test_setting_values_of_an_unknown_domain_ends_in_3(xm: Xm) -> None:
    assert xm("sched-credit", "-d", "nosuch", "-w", "5") == (3, "", "Error: Domain 'nosuch' does not exist.\n")


def test_a_domain_that_goes_meanwhile_is_left_out(
    xm: Xm, guests: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(uuid: str) -> Scheduling:
        raise DomainNotFound(uuid)

    monkeypatch.setattr(guests, "scheduling", gone)
    assert xm("sched-credit") == (0, HEADER + DOM0, "")


def test_what_cannot_be_read_is_minus_one(xm: Xm, guests: FakeHypervisor) -> None:
    guests.schedulings[ORCHID.uuid] = None
    assert xm("sched-credit", "-d", "3").out == HEADER + "orchid                               3     -1   -1\n"


@pytest.mark.parametrize(
    ("words", "asked", "row"),
    [
        (["-w", "300"], (1200, None), "orchid                               3    300   50\n"),
        (["--weight=1"], (4, None), "orchid                               3      1   50\n"),
        (["-c", "0"], (None, 0), "orchid                               3    512    0\n"),
        (["-c150", "-w256"], (1024, 150_000), "orchid                               3    256  150\n"),
        (["--cap", "200", "--weight", "65535"], (262140, 200_000), "orchid                               3  65535  200\n"),
    ],
)
def test_setting_is_silent_and_is_seen_afterwards(
    xm: Xm, guests: FakeHypervisor, words: list[str], asked: tuple[int | None, int | None], row: str
) -> None:
    assert xm("sched-credit", "-d", "orchid", *words) == (0, "", "")
    assert guests.tuned == [("scheduling", "orchid", *asked)]
    assert xm("sched-credit", "-d", "orchid").out == HEADER + row


def test_weight_and_cap_are_kept_in_the_record_and_shown_by_list(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("sched-credit", "-d", ORCHID.uuid, "-w", "700", "-c", "20") == (0, "", "")
    assert (kept(guests, "cpu_weight"), kept(guests, "cpu_cap")) == ("700", "20")
    assert "    (cpu_weight 700)\n    (cpu_cap 20)\n" in xm("list", "-l", "orchid").out


def test_with_coarse_shares_the_weight_is_still_told_exactly(
    xm: Xm, guests: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning.Tuning, "_cgroup_v2", True)
    assert xm("sched-credit", "-d", "orchid", "-w", "301") == (0, "", "")
    assert guests.schedulings[ORCHID.uuid] == Scheduling(118, 50_000)
    assert xm("sched-credit", "-d", "3").out.split()[-2:] == ["301", "50"]
    guests.schedulings[ORCHID.uuid] = Scheduling(200, 50_000)  # somebody else has set it since
    assert xm("sched-credit", "-d", "3").out.split()[-2:] == ["512", "50"]
    assert xm("sched-credit", "-d", "3", "-w", "60000") == (
        0, "", "Warning: a weight of 60000 counts as 25600, the most that this host's cgroups can tell\n",
    )  # fmt: skip
    assert xm("sched-credit", "-d", "3").out.split()[-2:] == ["60000", "50"]


def test_of_a_domain_without_record_the_weight_is_computed_back(xm: Xm, guests: FakeHypervisor) -> None:
    del guests.records[ORCHID.uuid]
    guests.schedulings[ORCHID.uuid] = Scheduling(4096, 25_000)
    assert xm("sched-credit", "-d", "3").out.split()[-2:] == ["1024", "25"]
    assert xm("sched-credit", "-d", "3", "-w", "10") == (0, "", "")
    assert guests.records == {}


@pytest.mark.parametrize("words", [["-w", "5"], ["-c", "5"], ["--weight=5", "--cap=5"]])
def test_values_need_a_domain(xm: Xm, guests: FakeHypervisor, words: list[str]) -> None:
    assert xm("sched-credit", *words) == (1, usage_text("sched-credit"), "Error: No domain given.\n")
    assert guests.tuned == []


WEIGHT = "Cpu weight out of range, valid values are within range from 1 to 65535"
CAP = "Cpu cap out of range, valid range is from 0 to 200 for specified number of vcpus"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["-w", "0"], WEIGHT), (["-w", "65536"], WEIGHT), (["-w", "-1"], WEIGHT), (["-w", "0", "-c", "999"], WEIGHT),
        (["-c", "201"], CAP), (["-c", "-1"], CAP), (["-w", "5", "-c", "201"], CAP),
        (["-w", "x"], "Invalid argument."), (["-w", ""], "Invalid argument."), (["-w=5"], "Invalid argument."),
        (["-c", "9999999999"], "Invalid argument."), (["-c", "5%"], "Invalid argument."),
    ],
)  # fmt: skip
def test_what_sched_credit_refuses(xm: Xm, guests: FakeHypervisor, words: list[str], line: str) -> None:
    assert xm("sched-credit", "-d", "orchid", *words) == (1, usage_text("sched-credit"), f"Error: {line}\n")
    assert guests.tuned == []


@pytest.mark.parametrize(
    ("words", "line"),
    [(["-z"], "option -z not recognized"), (["-d"], "option -d requires argument"), (["--zap"], "option --zap not recognized")],
)
def test_options_that_it_does_not_know(xm: Xm, words: list[str], line: str) -> None:
    assert xm("sched-credit", *words) == (1, usage_text("sched-credit"), f"Error: {line}\n")


def test_a_halted_domain_keeps_it_for_its_next_start(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("sched-credit", "-d", "basalt", "-w", "512", "-c", "100") == (0, "", "")
    assert xm("sched-credit", "-d", "basalt").out.split()[-2:] == ["512", "100"]


def test_domain_0_is_not_weighed_against_guests(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("sched-credit", "-d", "0", "-w", "512") == (
        1, usage_text("sched-credit"),
        "Error: Domain-0 is this host itself, which runs on all that its guests leave it; use 'systemctl set-property "
        "system.slice CPUWeight=WEIGHT CPUQuota=CAP%' for its processes\n",
    )  # fmt: skip
    assert guests.tuned == []


OTHER = (
    "Error: Xen is running with the credit scheduler\n"
    "Hint: KVM's guests are scheduled by weight and cap, use 'xm sched-credit' to see and set them\n"
)


@pytest.mark.parametrize(
    "words",
    [
        "sched-credit2", "sched-credit2 -d orchid -w 5", "sched-credit2 --domain=orchid --weight=5", "sched-credit2 -z",
        "sched-sedf", "sched-sedf orchid -p 100 -s 5 -l 0 -e 1 -w 0", "sched-sedf nosuch", "sched-sedf -z",
        "sched-sedf orchid --period=1 --slice=1 --latency=1 --extra=1 --weight=1", "sched-sedf " + "x " * 12,
    ],
)  # fmt: skip
def test_the_other_schedulers_are_not_here_whatever_the_words(xm: Xm, words: str) -> None:
    assert xm(*words.split()) == (1, "", OTHER)


@pytest.mark.parametrize("verb", ["sched-credit2", "sched-sedf"])
def test_who_cannot_reach_the_hypervisor_is_told_so_first(
    xm: Xm, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> FakeHypervisor:
        raise HypervisorUnreachable("Unable to connect to xend: Connection refused. Is xend running?")

    monkeypatch.setattr(Toolstack, "open", classmethod(lambda cls, uri=None: cls(refuse)))
    assert xm(verb) == (1, "", "Error: Unable to connect to xend: Connection refused. Is xend running?\n")


# -- weights and shares


@given(st.integers(1, 65535))
def test_every_weight_has_shares_of_its_own_in_version_1(weight: int) -> None:
    assert shares.weight_of(shares.shares_of(weight, cgroup_v2=False), cgroup_v2=False) == weight
    assert shares.limit_passed(weight, cgroup_v2=False) == ""


@given(st.integers(1, 65535), st.integers(1, 65535))
def test_in_version_2_more_weight_never_has_fewer_shares(one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert 2 <= shares.shares_of(less, cgroup_v2=True) <= shares.shares_of(more, cgroup_v2=True) <= 10000


@given(st.integers(0, 100_000))
def test_a_cap_and_its_quota_are_the_same(cap: int) -> None:
    assert shares.cap_of(shares.quota_of(cap)) == cap
