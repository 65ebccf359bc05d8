"""What the words after each verb can be, read from the table of verbs."""

from __future__ import annotations

import pytest

from xmcompat.xm.verbs import ALIASES, HELP, JSON, VERBS
from xmcompat.xm.wanted import row, rows


def test_every_verb_and_alias_has_a_row() -> None:
    made = rows()
    assert {each.name for each in made} == {*VERBS, HELP.name}
    assert {alias for each in made for alias in each.aliases} == set(ALIASES)


def test_flags_are_the_options_and_json_where_there_is_json() -> None:
    for each in rows():
        verb = VERBS.get(each.name, HELP)
        assert ("--json" in each.flags) == (each.name in JSON)
        assert all(flag in "".join(verb.options) for flag in each.flags if flag != "--json")


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("pause", ("domain",)), ("list", ("domain",)), ("domname", ("domain",)), ("rename", ("domain", "-")),
        ("mem-set", ("domain", "-")), ("create", ("config",)), ("save", ("domain", "file")), ("restore", ("file",)),
        ("trigger", ("domain", "nmi|reset|init|s3resume|power", "-")), ("vcpu-pin", ("domain", "all", "all")),
        ("block-attach", ("domain", "-", "-", "r|w", "domain")), ("pci-detach", ("domain", "-")),
        ("pci-attach", ("domain", "-", "-")), ("usb-add", ("domain", "-")), ("network-detach", ("domain", "-")),
        ("setenforce", ("Enforcing|Permissive|1|0",)), ("getlabel", ("dom|res|mgt", "config")),
        ("addlabel", ("-", "dom|res|mgt", "config", "-")), ("cpupool-migrate", ("domain", "pool")),
        ("cpupool-list", ("pool",)), ("tmem-set", ("domain",)), ("sched-credit", ()), ("info", ()), ("top", ()),
    ],
)  # fmt: skip
def test_places(name: str, places: tuple[str, ...]) -> None:
    assert row(VERBS[name]).places == places


@pytest.mark.parametrize("name", ["list", "uptime", "vcpu-list"])
def test_several_domains_can_be_named(name: str) -> None:
    assert row(VERBS[name]).repeats


def test_only_those_verbs_repeat() -> None:
    assert [each.name for each in rows() if each.repeats] == ["list", "uptime", "vcpu-list", "vnet-list"]


def test_keys_and_the_values_that_they_take() -> None:
    assert dict(row(VERBS["network-attach"]).keys)["backend"] == "domain"
    assert dict(row(VERBS["network2-attach"]).keys)["trusted"] == "0|1"
    assert dict(row(VERBS["tmem-set"]).keys) == {"weight": "-", "cap": "-", "compress": "-"}
    variables = dict(row(VERBS["create"]).keys)
    assert variables["on_poweroff"] == "destroy|restart|preserve|rename-restart"
    assert (variables["memory"], variables["acpi"], variables["kernel"]) == ("-", "-", "file")
    assert dict(row(VERBS["cpupool-create"]).keys)["cpus"] == "-"


def test_values_of_options() -> None:
    assert dict(row(VERBS["list"]).valued) == {"--state": "halted|paused|running|suspended|crashed", "--pool": "pool"}
    assert dict(row(VERBS["sched-credit"]).valued)["-d"] == "domain"
    assert dict(row(VERBS["create"]).valued)["-f"] == "config"
