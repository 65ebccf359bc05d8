"""Verbs that have nothing to act on: tmem, networks of the Xen-API, interfaces of the second kind, the relay."""

from __future__ import annotations

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat.errors import HypervisorUnreachable
from xmcompat.toolstack import Toolstack
from xmcompat.xm.help import usage_text

NOTHING_DONE = "Warning: KVM has no transcendent memory: nothing was done\n"


@pytest.fixture(autouse=True)
def guests(host: FakeHypervisor) -> None:
    host.known = {info.uuid: info for info in (domain("orchid", 3), domain("basalt", None))}


# -- tmem

CHANGING = ["tmem-thaw", "tmem-freeze", "tmem-destroy", "tmem-flush", "tmem-set", "tmem-shared-auth"]


@pytest.mark.parametrize("verb", CHANGING)
@pytest.mark.parametrize("words", ["-a", "--all", "3", "0", "-a 7"])
def test_what_would_change_tmem_says_that_nothing_was_done(xm: Xm, verb: str, words: str) -> None:
    if (verb, words) != ("tmem-set", "-a 7"):
        assert xm(verb, *words.split()) == (0, "", NOTHING_DONE)


@pytest.mark.parametrize("words", ["-a", "--all -l", "--long 3", "-l 3"])
def test_tmem_list_prints_nothing_and_says_why(xm: Xm, words: str) -> None:
    status, out, err = xm("tmem-list", *words.split())
    assert (status, out) == (0, "")
    assert err.startswith("Warning: KVM has no transcendent memory: there are no pools")


@pytest.mark.parametrize("words", ["tmem-thaw -a", "tmem-freeze --all", "tmem-destroy -a", "tmem-flush --all"])
def test_all_domains_can_be_meant(xm: Xm, words: str) -> None:
    assert xm(*words.split()) == (0, "", NOTHING_DONE)


@pytest.mark.parametrize("verb", ["tmem-list", *CHANGING])
def test_tmem_wants_a_domain_by_its_id(xm: Xm, verb: str) -> None:
    assert xm(verb) == (1, usage_text(verb), "Error: You must specify -a or --all or a domain id.\n")
    for word in ("5", "orchid", "basalt", "03", "x"):
        assert xm(verb, word) == (1, usage_text(verb), f"Error: Unrecognized domain id: {word}\n")


@pytest.mark.parametrize("words", ["3 weight=5", "-a weight=5 cap=0 compress=1", "3 weight=-1"])
def test_tmem_set_takes_its_settings(xm: Xm, words: str) -> None:
    assert xm("tmem-set", *words.split()) == (0, "", NOTHING_DONE)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("3 weight=x", "weight should be a integer"), ("-a cap=", "cap should be a integer"),
        ("3 compress=1.5", "compress should be a integer"), ("3 size=1", "Unrecognized tmem configuration option: size=1"),
        ("-a weight", "Unrecognized tmem configuration option: weight"), ("-a 3", "Unrecognized tmem configuration option: 3"),
        ("9 weight=x", "Unrecognized domain id: 9"),
    ],
)  # fmt: skip
def test_tmem_set_refuses_others(xm: Xm, words: str, line: str) -> None:
    assert xm("tmem-set", *words.split()) == (1, usage_text("tmem-set"), f"Error: {line}\n")


@pytest.mark.parametrize("words", ["3 -u U -A 1", "tmem-shared-auth -a --uuid=U --auth=0", "--all --auth 1"])
def test_tmem_shared_auth_takes_its_options(xm: Xm, words: str) -> None:
    assert xm("tmem-shared-auth", *words.removeprefix("tmem-shared-auth ").split()) == (0, "", NOTHING_DONE)


def test_tmem_shared_auth_wants_a_number(xm: Xm) -> None:
    assert xm("tmem-shared-auth", "-a", "--auth=x") == (1, usage_text("tmem-shared-auth"), "Error: Invalid argument.\n")


def test_no_tmem_can_be_had_back(xm: Xm) -> None:
    assert xm("tmem-freeable") == (0, "0\n", "")


# -- what only the Xen-API had


@pytest.mark.parametrize("words", ["network-new lan", "network-del lan", "network-show"])
def test_networks_are_of_the_xen_api(xm: Xm, words: str) -> None:
    status, out, err = xm(*words.split())
    assert (status, out) == (1, "")
    assert err.startswith("Error: This function is only supported by Xen-API\nHint: 'virsh net-")


@pytest.mark.parametrize("words", ["event-monitor", "event-monitor -x y"])
def test_events_are_an_error_that_ends_in_0(xm: Xm, words: str) -> None:
    assert xm(*words.split()) == (
        0, "",
        "Error: Event monitoring not supported unless using Xen-API.\nHint: 'virsh event --all --loop' shows events\n",
    )  # fmt: skip


# -- the relay


def test_nothing_is_relayed(xm: Xm) -> None:
    status, out, err = xm("serve")
    assert (status, out) == (1, "")
    assert "qemu+ssh://HOST/system" in err
    assert len(err.splitlines()) == 1


# -- interfaces of the second kind


@pytest.mark.parametrize("words", ["orchid", "3 -l", "--long basalt", "0"])
def test_no_domain_has_interfaces_of_the_second_kind(xm: Xm, words: str) -> None:
    assert xm("network2-list", *words.split()) == (0, "", "")


def test_network2_list_wants_one_domain(xm: Xm) -> None:
    usage = usage_text("network2-list")
    assert xm("network2-list") == (1, "No domain parameter given\n" + usage, "")
    assert xm("network2-list", "a", "b") == (1, "No multiple domain parameters allowed\n" + usage, "")


@pytest.mark.parametrize("words", ["network2-list nosuch", "network2-attach nosuch bridge=a", "network2-detach nosuch 0"])
def test_the_domain_is_looked_for(xm: Xm, words: str) -> None:
    assert xm(*words.split()) == (3, "", "Error: Domain 'nosuch' does not exist.\n")


@pytest.mark.parametrize("word", ["bridge", "bridge=", "mac=00:16:3e:00:00:01", "bridge=a=b", "=a", "trusted=1,"[:7]])
def test_network2_attach_knows_its_keys(xm: Xm, word: str) -> None:
    usage = usage_text("network2-attach")
    assert xm("network2-attach", "orchid", "pdev=eth0", word) == (1, usage + "\n", f"Error: Invalid argument: {word}\n")


@pytest.mark.parametrize("pairs", ["", "bridge=a trusted=1 front_mac=x back_mac=y backend=0 max_bypasses=5"])
def test_network2_attach_has_no_driver(xm: Xm, pairs: str) -> None:
    status, out, err = xm("network2-attach", "orchid", *pairs.split())
    assert (status, out) == (1, "")
    assert err.startswith("Error: Domain 'orchid' can have no network interface of Xen's second kind")


@pytest.mark.parametrize("words", ["orchid 0", "orchid 0 -f", "3 0 --force"])
def test_network2_detach_finds_none(xm: Xm, words: str) -> None:
    assert xm("network2-detach", *words.split()) == (1, usage_text("network2-detach"), "Error: Device 0 not connected\n")


@pytest.mark.parametrize("words", ["tmem-list 3", "getlabel mgt orchid", "network2-list orchid"])
def test_who_cannot_reach_the_hypervisor_is_told_so(xm: Xm, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> FakeHypervisor:
        raise HypervisorUnreachable("Unable to connect to xend: Connection refused. Is xend running?")

    monkeypatch.setattr(Toolstack, "open", classmethod(lambda cls, uri=None: cls(refuse)))
    assert xm(*words.split()) == (1, "", "Error: Unable to connect to xend: Connection refused. Is xend running?\n")


@pytest.mark.parametrize("verb", ["vnet-create", "vnet-delete", "network-new", "network2-attach"])
def test_a_double_dash_is_a_word_that_is_not_counted(xm: Xm, verb: str) -> None:
    status, _, err = xm(verb, "--", "nosuch")
    assert status in (1, 3)
    assert "internal error" not in err
