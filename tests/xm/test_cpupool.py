"""cpupool-*: texts, tables, statuses, and what is asked of the hypervisor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat import pool_store, pools
from xmcompat.backends.domain_xml import read_record, render_record
from xmcompat.backends.machine import XenRecord
from xmcompat.config import sxp
from xmcompat.pool_rules import PoolError
from xmcompat.pool_store import Store
from xmcompat.pools import Pools
from xmcompat.xm.help import usage_text

ORCHID, STRANGER, BASALT = domain("orchid", 3, vcpus=2), domain("stranger", 4), domain("basalt", None)
FORM = "(vm (name orchid) (vcpus 2) (cpus ((0 1) ())) (image (linux)))"
TITLES = "Name               CPUs   Sched     Active   Domain count\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: FakeHypervisor) -> Path:
    """The directory of this test's pools and configurations, where xm runs."""
    monkeypatch.setattr(pool_store, "RUN_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr(pools, "state_directory", lambda _environ: str(tmp_path / "state"))
    monkeypatch.setattr(pools, "Store", lambda state: Store(state, str(tmp_path / "run")))
    monkeypatch.chdir(tmp_path)
    host.known = {info.uuid: info for info in (ORCHID, STRANGER, BASALT)}
    host.records = {ORCHID.uuid: render_record(XenRecord(sxp=FORM))}
    (tmp_path / "fast").write_text("cpus = [3]\nother_config = ['a=1', 'b=x y']\n")
    return tmp_path


def refusal(xm: Xm, *words: str) -> str:
    """The first line of an error that ends in 1 and shows the usage."""
    status, out, err = xm(*words)
    assert (status, out) == (1, usage_text(words[0]))
    return err.splitlines()[0]


def test_at_first_all_is_in_pool_0(xm: Xm) -> None:
    assert xm("cpupool-list") == (0, TITLES + "Pool-0               4    credit       y          3\n", "")
    assert xm("cpupool-list", "-c") == (0, "Name             CPU list\nPool-0           0,1,2,3\n", "")
    assert xm("pool-list", "Pool-0").err == "Command pool-list is deprecated.  Please use xm cpupool-list instead.\n"


def test_a_pool_takes_free_cpus_and_its_domains_are_kept_to_them(xm: Xm, host: FakeHypervisor) -> None:
    assert xm("cpupool-cpu-remove", "Pool-0", "3") == (0, "", "")
    assert ("pin", "stranger", 0, (0, 1, 2)) in host.tuned
    assert "free_cpus              : 1\n" in xm("info").out
    assert xm("cpupool-create", "fast") == (0, "", "")
    assert xm("cpupool-list").out == (
        TITLES + "Pool-0               3    credit       y          3\n" + "fast                 1    credit       y          0\n"
    )
    host.tuned.clear()
    assert xm("cpupool-migrate", "3", "fast") == (0, "", "")
    assert host.tuned == [("pin", "orchid", 0, (3,)), ("pin", "orchid", 1, (3,)), ("emulator", "orchid", (3,))]
    record = read_record(host.records[ORCHID.uuid])
    assert record is not None
    form = sxp.parse(record.sxp)[0]
    assert isinstance(form, list)
    assert (sxp.value(form, "pool_name"), sxp.value(form, "cpus")) == ("fast", [["0", "1"], []])
    assert [line.split()[0] for line in xm("list", "--pool=fast").out.splitlines()[1:]] == ["orchid"]
    assert [line.split()[0] for line in xm("list", "--pool", "Pool-0").out.splitlines()[1:]] == [
        "Domain-0", "basalt", "stranger"
    ]  # fmt: skip
    assert xm("list", "--pool=nosuch").out.count("\n") == 1
    assert xm("cpupool-list", "1").out == TITLES + "fast                 1    credit       y          1\n"


def test_the_long_form_has_every_key(xm: Xm) -> None:
    xm("cpupool-cpu-remove", "Pool-0", "3")
    xm("cpupool-create", "fast", "name=Pool-1")
    (form,) = sxp.parse(xm("cpupool-list", "-l", "Pool-1").out)
    assert isinstance(form, list)
    assert form[0] == sxp.value(form, "uuid")
    assert {row[0]: row[1:] for row in form[1:]} == {
        "started_VM_names": [], "host_CPUs": [sxp.value(form, "host_CPUs")], "activated": ["True"], "ncpu": ["1"],
        "auto_power_on": ["False"], "name_description": [""], "host_CPU_numbers": ["3"], "started_VMs": [],
        "uuid": [form[0]], "sched_policy": ["credit"], "other_config": [["a", "1"], ["b", "x y"]],
        "name_label": ["Pool-1"], "resident_on": [sxp.value(form, "resident_on")], "proposed_CPUs": ["3"],
    }  # fmt: skip


def test_errors_are_xends_own_texts(xm: Xm) -> None:
    assert refusal(xm, "cpupool-create", "fast") == "Error: ['INSUFFICIENT_CPUS', '1', '0']"
    assert refusal(xm, "cpupool-create", "fast", "sched=other") == "Error: ['UNKOWN_SCHED_POLICY']"
    assert refusal(xm, "cpupool-new", "fast", "name=Pool-0") == (
        """Error: ['PARAMETER_ERROR', 'Pool name "Pool-0" already exists']"""
    )
    assert refusal(xm, "cpupool-new", "fast", "name=a b") == """Error: ['PARAMETER_ERROR', 'Invalid pool name "a b"']"""
    assert xm("cpupool-new", "fast") == (0, "", "")
    assert xm("cpupool-list", "fast").out == TITLES + "fast                 1    credit       n          0\n"
    assert xm("cpupool-list", "fast", "-c").out.endswith("fast             -\n")
    for verb in ("cpupool-start", "cpupool-destroy", "cpupool-delete"):
        assert refusal(xm, verb, "nosuch") == "Error: unknown pool nosuch"
    assert refusal(xm, "cpupool-destroy", "fast") == "Error: ['POOL_BAD_STATE', 'deactivated']"
    assert refusal(xm, "cpupool-destroy", "Pool-0") == "Error: ['POOL_BAD_STATE', 'in use']"
    assert refusal(xm, "cpupool-start", "0") == "Error: ['POOL_BAD_STATE', 'activated']"
    assert refusal(xm, "cpupool-delete", "Pool-0") == "Error: ['POOL_BAD_STATE', 'activated']"
    assert refusal(xm, "cpupool-cpu-add", "Pool-0", "9") == "Error: ['INVAILD_CPU', 'CPU unknown']"
    assert refusal(xm, "cpupool-cpu-remove", "Pool-0", "9") == "Error: ['INVAILD_CPU', 'CPU not assigned to pool']"
    assert refusal(xm, "cpupool-cpu-add", "Pool-0", "x") == "Error: Invalid argument."
    for cpu in ("0", "1", "2"):
        assert xm("cpupool-cpu-remove", "Pool-0", cpu).status == 0
    assert refusal(xm, "cpupool-cpu-remove", "Pool-0", "3") == (
        "Error: ['LAST_CPU_NOT_REMOVEABLE', 'could not remove last cpu']"
    )
    assert refusal(xm, "cpupool-migrate", "nosuch", "fast") == "Error: unknown domain nosuch"
    assert refusal(xm, "cpupool-migrate", "orchid", "nosuch") == "Error: unknown pool nosuch"
    assert refusal(xm, "cpupool-migrate", "orchid", "fast") == "Error: could not move domain"
    assert refusal(xm, "cpupool-migrate", "0", "Pool-0") == "Error: could not move Domain-0"


def test_a_pool_that_is_not_there_is_told_and_ends_in_0(xm: Xm) -> None:
    assert xm("cpupool-list", "nosuch") == (0, "", "Error: Pool 'nosuch' does not exist.\n")
    status, out, err = xm("cpupool-list", "a", "b")
    assert (status, err) == (1, "Error: Only one cpupool name for selection allowed\n")
    assert out.startswith(usage_text("cpupool-list"))


@pytest.mark.parametrize(
    ("cpus", "form"),
    [
        ("cpus = 2", "(ncpu 2) (proposed_CPUs)"), ("cpus = '#3'", "(ncpu 3) (proposed_CPUs)"),
        ("cpus = '0-2,^1'", "(ncpu 2) (proposed_CPUs 0 2)"), ("cpus = [1, '3']", "(ncpu 2) (proposed_CPUs 1 3)"),
        ("", "(ncpu 1) (proposed_CPUs)"),
    ],
)  # fmt: skip
def test_a_dry_run_prints_the_pool(xm: Xm, place: Path, cpus: str, form: str) -> None:
    (place / "p1").write_text(cpus + "\n")
    status, out, err = xm("cpupool-create", "-n", "p1")
    assert (status, err) == (0, "")
    assert sxp.parse(out) == sxp.parse(f"(pool (name_label p1) (sched_policy credit) {form} (other_config))")
    (place / "p.sxp").write_text(out)
    assert xm("cpupool-new", "-n", "-F", "p.sxp") == (0, out, "")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("fast", "cpus=x"), "cpus = x: invalid literal for int() with base 10: 'x'"),
        (("fast", "cpus=#0"), "cpus = #0: a pool has one CPU or more"),
        (("fast", "cpus=#-1"), "cpus = #-1: a pool has one CPU or more"),
        (("fast", f"cpus=#{'1' * 5000}"), "no host has so many CPUs"),
        (("endless",), "cpus = inf: invalid literal for int() with base 10: 'inf'"),
        (("fast", "other_config=x"), "other_config = x: write 'key=value'"),
        (("nosuch",), "Unable to open config file: nosuch"),
        (("-F", "nosuch"), "Cannot open file nosuch"),
        (("broken",), "broken"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_configuration_ends_in_255(xm: Xm, place: Path, words: tuple[str, ...], line: str) -> None:
    (place / "broken").write_text("cpus = (\n")
    (place / "endless").write_text("cpus = 1e999\n")
    for verb in ("cpupool-create", "cpupool-new"):
        status, out, err = xm(verb, *words)
        assert (status, out) == (255, "")
        assert err.startswith("Error: ") and line in err and "Traceback" not in err


@pytest.mark.parametrize("verb", ["cpupool-create", "cpupool-new"])
def test_the_options_of_both(xm: Xm, place: Path, verb: str) -> None:
    for words in (("-h",), ("--help",)):
        status, out, err = xm(verb, *words)
        assert (status, err) == (1, "") and out.startswith(f"Usage: xm {verb} <ConfigFile> [vars]\n")
    assert "\nname=TEXT " in xm(verb, "--help_config").out
    (place / "pools").mkdir()
    (place / "pools/far").write_text("name = 'p2'\n")
    for words in (
        ("--path=pools", "far"), ("--path", "pools", "-f", "far"), ("--path=pools", "--defconfig=far"), ("pools/far",),
    ):  # fmt: skip
        status, out, err = xm(verb, "-n", *words)
        assert (status, err) == (0, "") and "(name_label p2)" in out
        assert xm(verb, "--dryrun", *words).out == out
    (place / "p.sxp").write_text(out)
    assert xm(verb, "-n", "--config=p.sxp").out == xm(verb, "-n", "-F", "p.sxp").out == out


@pytest.mark.parametrize("words", [("-l",), ("--long",), ("-c",), ("--cpus",)])
def test_the_options_of_cpupool_list(xm: Xm, words: tuple[str, ...]) -> None:
    assert "Pool-0" in xm("cpupool-list", *words).out


def test_a_bad_option_shows_the_usage_and_ends_in_1(xm: Xm) -> None:
    status, out, err = xm("cpupool-create", "-z", "fast")
    assert (status, err) == (1, "Error: option -z not recognized\n")
    assert out.startswith(usage_text("cpupool-create"))
    assert xm("cpupool-create", "--help_config").out.startswith("\nValues:\n\nname=TEXT ")


def test_pools_that_start_with_xend_take_their_cpus_from_pool_0(host: FakeHypervisor, xm: Xm, place: Path) -> None:
    (place / "auto.sxp").write_text("(pool (name_label auto) (ncpu 2) (proposed_CPUs 2 3) (auto_power_on True))")
    (place / "large.sxp").write_text("(pool (name_label large) (ncpu 9) (auto_power_on True))")
    assert xm("cpupool-new", "-F", "auto.sxp").status == xm("cpupool-new", "-F", "large.sxp").status == 0
    told = Pools(host, Store(str(place / "state"), str(place / "run"))).start_marked()
    (line,) = told
    assert line.startswith("the CPU pool large was not started: ['INSUFFICIENT_CPUS', '9', '1']")
    assert xm("cpupool-list", "-c").out == (
        "Name             CPU list\nPool-0           0,1\nauto             2,3\nlarge            -\n"
    )


def test_a_guests_own_pins_are_kept_while_its_pool_narrows_them(xm: Xm, host: FakeHypervisor) -> None:
    for cpu in ("1", "2", "3"):
        assert xm("cpupool-cpu-remove", "Pool-0", cpu).status == 0
    assert ("pin", "orchid", 0, (0, 1)) not in host.tuned and ("pin", "orchid", 1, (0,)) in host.tuned
    assert xm("vcpu-pin", "orchid", "1", "0-2") == (0, "", "")
    record = read_record(host.records[ORCHID.uuid])
    assert record is not None and "(cpus ((0 1) (0 1 2)))" in record.sxp
    assert xm("vcpu-pin", "orchid", "1", "3").err.endswith(" - (22, 'Invalid argument')\n")


def test_a_pool_whose_cpus_are_all_offline_takes_no_domain(xm: Xm, place: Path, host: FakeHypervisor) -> None:
    (place / "run").mkdir(exist_ok=True)
    (place / "run/cpupools.sxp").write_text("(cpupools (pool (name_label far) (managed False) (id 1) (host_CPU_numbers 7 9)))")
    status, _, err = xm("cpupool-migrate", "orchid", "far")
    assert (status, err.splitlines()[0]) == (1, "Error: none of the CPUs of the pool far is online")
    assert (host.tuned, "pool_name" in host.records[ORCHID.uuid]) == ([], False)
    with pytest.raises(PoolError, match="none of the CPUs of the pool far is online"):
        Pools(host).cpus_for("far")  # type: ignore[arg-type]
    assert xm("cpupool-migrate", "basalt", "far").status == 0  # it is off


def test_a_spoilt_file_is_one_line(xm: Xm, place: Path) -> None:
    (place / "state").mkdir()
    (place / "state/cpupools.sxp").write_text("(cpupools (pool")
    status, _, err = xm("cpupool-list")
    assert (status, err.count("\n")) == (1, 1) and "cpupools.sxp" in err and "remove it" in err
