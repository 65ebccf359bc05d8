"""mem-set and mem-max: amounts, what is asked of the hypervisor and kept, and every line of refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat.backends.domain_xml import read_record, render_record
from xmcompat.backends.machine import XenRecord
from xmcompat.config import sxp
from xmcompat.errors import HypervisorError, InvalidArgument
from xmcompat.tuning import with_values
from xmcompat.xm import numbers
from xmcompat.xm.help import usage_text

WEB = domain("web", 5, memory=256 * 1024, max_memory=512 * 1024)
OFF = domain("off", None, memory=256 * 1024, max_memory=256 * 1024)
FORM = "(vm (name web) (memory 256) (maxmem 512) (vcpus 2) (image (linux (kernel /k))))"

ABOVE = "memory_dynamic_max must be less than or equal to memory_static_max"
HOST = "Domain-0 is this host itself"


@pytest.fixture(autouse=True)
def guests(host: FakeHypervisor) -> FakeHypervisor:
    for info in (WEB, OFF, domain("foreign", 7)):
        host.known[info.uuid] = info
    host.records[WEB.uuid] = render_record(XenRecord(sxp=FORM, source="/etc/xen/web", started=5.0, consoles=("serial0",)))
    return host


def kept(host: FakeHypervisor, key: str) -> object:
    """The value in the record of the guest "web"."""
    record = read_record(host.records[WEB.uuid])
    assert record is not None
    assert (record.source, record.started, record.consoles) == ("/etc/xen/web", 5.0, ("serial0",))
    form = sxp.parse(record.sxp)[0]
    assert isinstance(form, list)
    return sxp.value(form, key)


@pytest.mark.parametrize(
    ("amount", "mebibytes"),
    [
        ("512", 512), ("+5", 5), (" 7 ", 7), ("0128", 128), ("-5", -5),
        ("512m", 512), ("512M", 512), ("1g", 1024), ("2G", 2048), ("2048k", 2), ("2047k", 1), ("2047K", 1), ("0m", 0),
        ("-5k", -1), ("2147483647", 2147483647),
    ],
)  # fmt: skip
def test_amounts_are_mebibytes_or_have_a_unit(
    amount: str, mebibytes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert numbers.mebibytes(amount) == mebibytes
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("amount", "mebibytes"), [("5000000b", 4), ("3t", 0), ("1048576B", 1), ("1048575z", 0)])
def test_with_another_letter_the_number_is_bytes_and_that_is_said(
    amount: str, mebibytes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert numbers.mebibytes(amount) == mebibytes
    assert capsys.readouterr() == ("ignoring unknown unit\n", "")


@pytest.mark.parametrize("verb", ["mem-set", "mem-max"])
@pytest.mark.parametrize("amount", ["1.5", "1.5g", "m", "", "1_0", "0x10", "٣", "2147483648", "9999999g", "9" * 40, "5€"])
def test_what_is_no_number_is_an_invalid_argument(xm: Xm, verb: str, amount: str) -> None:
    assert xm(verb, "web", amount) == (1, usage_text(verb), "Error: Invalid argument.\n")


@pytest.mark.parametrize("verb", ["mem-set", "mem-max"])
def test_a_word_without_a_number_is_told_of_its_last_letter(xm: Xm, verb: str) -> None:
    assert xm(verb, "web", "abc") == (1, "ignoring unknown unit\n" + usage_text(verb), "Error: Invalid argument.\n")


@given(st.text(max_size=12) | st.from_regex(r"\A[-+ ]?[0-9_,^]{0,12}[a-zA-Z]?\Z"))
def test_any_word_is_a_number_or_an_invalid_argument(word: str) -> None:
    for read in (numbers.integer, numbers.mebibytes, numbers.cpu_list):
        try:
            read(word)  # type: ignore[operator]
        except InvalidArgument:
            continue


@pytest.mark.parametrize("designation", ["web", "5", WEB.uuid])
def test_mem_set_is_silent_and_asks_the_guest(xm: Xm, guests: FakeHypervisor, designation: str) -> None:
    assert xm("mem-set", designation, "128") == (0, "", "")
    assert guests.tuned == [("memory", "web", 128 * 1024)]
    assert kept(guests, "memory") == "128"


def test_the_alias_says_so_and_does_it(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("balloon", "web", "128") == (0, "", "Command balloon is deprecated.  Please use xm mem-set instead.\n")
    assert guests.tuned == [("memory", "web", 128 * 1024)]


def test_mem_set_of_a_halted_domain_changes_what_it_starts_with(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("mem-set", "off", "64m") == (0, "", "")
    assert guests.tuned == [("memory", "off", 64 * 1024)]
    assert OFF.uuid not in guests.records


@pytest.mark.parametrize(
    ("verb", "amount", "line"),
    [
        ("mem-set", "0", "memory_dynamic_max must be greater than zero"),
        ("mem-set", "-5", "memory_dynamic_max must be greater than zero"),
        ("mem-set", "512k", "memory_dynamic_max must be greater than zero"),
        ("mem-set", "513", ABOVE),
        ("mem-max", "255", ABOVE),
        ("mem-max", "0", ABOVE),
    ],
)
def test_what_xend_refuses(xm: Xm, guests: FakeHypervisor, verb: str, amount: str, line: str) -> None:
    assert xm(verb, "web", amount) == (1, usage_text(verb), f"Error: {line}\n")
    assert guests.tuned == []


@pytest.mark.parametrize("verb", ["mem-set", "mem-max"])
def test_an_unknown_domain_ends_in_3(xm: Xm, verb: str) -> None:
    assert xm(verb, "nosuch", "64") == (3, "", "Error: Domain 'nosuch' does not exist.\n")


def test_what_the_hypervisor_refuses_is_said_in_its_words(xm: Xm, guests: FakeHypervisor) -> None:
    guests.refusal = HypervisorError("Unable to change memory of active domain without the balloon device")
    status, out, err = xm("mem-set", "web", "64")
    assert (status, out) == (1, usage_text("mem-set"))
    assert err == "Error: Unable to change memory of active domain without the balloon device\n"
    assert kept(guests, "memory") == "256"


def test_mem_max_of_a_running_domain_is_kept_and_holds(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("mem-max", "web", "300") == (0, "", "")
    assert guests.tuned == []
    assert kept(guests, "maxmem") == "300"
    assert xm("mem-set", "web", "301").err == f"Error: {ABOVE}\n"
    assert xm("mem-set", "web", "300") == (0, "", "")
    assert "    (maxmem 300)\n    (memory 300)\n" in xm("list", "-l", "web").out
    assert xm("mem-max", "web", "512") == (0, "", "")
    assert xm("mem-set", "web", "512") == (0, "", "")


def test_mem_max_counts_the_target_and_not_what_the_guest_has_given_back_by_now(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("mem-set", "web", "128") == (0, "", "")
    guests.known[WEB.uuid] = guests.known[WEB.uuid]._replace(memory=250 * 1024)
    assert xm("mem-max", "web", "128") == (0, "", "")


def test_a_running_domain_gets_no_more_than_it_was_started_with(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("mem-max", "web", "600") == (
        1, usage_text("mem-max"),
        "Error: Domain 'web' was started with 512 MiB at most, and KVM adds none; set maxmem in its configuration and "
        "start it anew\n",
    )  # fmt: skip


def test_a_running_domain_of_another_maker_has_no_place_for_a_limit(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("mem-max", "foreign", "256") == (
        1, usage_text("mem-max"),
        "Error: Domain 'foreign' was not started by xm, which has no place to keep its limit; set its memory itself, by "
        "'xm mem-set'\n",
    )  # fmt: skip
    assert xm("mem-set", "foreign", "128") == (0, "", "")
    assert set(guests.records) == {WEB.uuid}


def test_mem_max_of_a_halted_domain_changes_its_configuration(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("mem-max", "off", "1g") == (0, "", "")
    assert guests.tuned == [("max_memory", "off", 1024 * 1024)]
    assert xm("mem-set", "off", "1g") == (0, "", "")


@pytest.mark.parametrize("designation", ["0", "Domain-0"])
def test_domain_0_keeps_its_memory(xm: Xm, guests: FakeHypervisor, designation: str) -> None:
    told = "it keeps its memory, and guests take theirs of it as they need it"
    assert xm("mem-set", designation, "1024") == (0, "", f"Warning: {HOST}: {told}\n")
    assert xm("mem-set", designation, "8192") == (0, "", f"Warning: {HOST}: {told}\n")
    for amount in ("195", "0", "-1"):
        assert xm("mem-set", designation, amount) == (
            1, usage_text("mem-set"), "Error: memory_dynamic_max too small\n",
        )  # fmt: skip
    assert xm("mem-set", designation, "8193").err == f"Error: {ABOVE}\n"
    assert guests.tuned == []


def test_the_limit_of_domain_0_is_the_kernels(xm: Xm) -> None:
    assert xm("mem-max", "0", "1024") == (
        1, usage_text("mem-max"),
        f"Error: {HOST}, which runs on all that its guests leave it; set mem=SIZE on the kernel's command line to limit "
        "its memory\n",
    )  # fmt: skip


def test_a_value_of_the_form_is_put_in_its_place() -> None:
    form: list[object] = ["vm", ["name", "a"], ["memory", "5"], ["image", ["linux"]], ["device", ["vbd"]]]
    assert with_values(form, {"memory": 7, "cpu_cap": 50, "gone": None, "name": None}) == [
        "vm", ["memory", 7], ["cpu_cap", 50], ["image", ["linux"]], ["device", ["vbd"]],
    ]  # fmt: skip
    assert with_values(["vm"], {"memory": 7}) == ["vm", ["memory", 7]]
