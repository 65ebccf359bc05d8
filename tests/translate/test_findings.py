"""What is told: once, all at once, and by its line; and how settings are read."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.translate.guests import PV, XL
from xmcompat.errors import DeviceError, NotConvertible
from xmcompat.guest import Dialect
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import flag, pairs, text, texts
from xmcompat.translate.options import given as setting


def test_the_same_is_told_once() -> None:
    findings = Findings(PV)
    for _ in range(2):
        findings.approximated("vif[0]", "it is another", value="a")
    findings.approximated("vif[1]", "it is another", value="a")
    assert [note.key for note in findings.notes] == ["vif[0]", "vif[1]"]


def test_refusals_are_told_together_and_before_what_this_host_lacks() -> None:
    findings = Findings(replace(PV, lines={"disk": 3}))
    findings.unconnected("no bridge")
    findings.refuse("disk[0]", "mend it", value="x")
    findings.refuse("disk[0]", "mend it", value="x")
    findings.refuse("disk[1]", "mend that")
    with pytest.raises(NotConvertible) as caught:
        findings.settle()
    assert caught.value.line() == "web1.cfg:3: disk[0] = x: mend it; disk[1]: mend that"


def test_what_this_host_lacks_is_told_in_xms_words_alone() -> None:
    findings = Findings(PV)
    findings.unconnected("no bridge")
    findings.unconnected("no other bridge")
    with pytest.raises(DeviceError, match="^no bridge$"):
        findings.settle()


@pytest.mark.parametrize(("domain", "refused"), [("", False), ("0", False), ("Domain-0", False), ("netdom", True)])
def test_back_ends(domain: str, refused: bool) -> None:
    findings = Findings(PV)
    findings.back_end("vif[0]", domain, value=f"backend={domain}")
    if not refused:
        findings.settle()
        return
    with pytest.raises(NotConvertible, match=r"KVM has no driver domains \(back end 'netdom'\); give one of this host"):
        findings.settle()


def test_a_key_that_the_guests_own_tool_does_not_know_counts_as_not_given() -> None:
    given_ = {"hdtype": "ahci", "fda": "/a"}
    assert [setting(replace(XL, options=given_), key) for key in given_] == ["ahci", ""]
    for dialect in (Dialect.XM, Dialect.SXP):
        assert [setting(replace(XL, dialect=dialect, options=given_), key) for key in given_] == ["", "/a"]


@given(st.one_of(st.integers(), st.text(), st.lists(st.text()), st.from_regex(r"[0-9]{4400,4500}", fullmatch=True)))
def test_no_setting_fails_in_an_unplanned_way(value: object) -> None:
    guest = replace(PV, options={"usb": value})
    assert flag(guest, "usb", False) in (True, False)
    assert isinstance(text(guest, "usb"), str)
    assert all(word == word.strip() for word in texts(guest, "usb"))


@pytest.mark.parametrize(
    ("value", "on"), [(1, True), ("1", True), ("0", False), ("00", False), ("10", True), ("yes", None), ("", None), (-1, None)]
)
def test_truth_values_are_numbers(value: object, on: bool | None) -> None:
    guest = replace(PV, options={"usb": value})
    assert [flag(guest, "usb", default) for default in (True, False)] == ([True, False] if on is None else [on, on])


def test_the_pieces_of_a_device() -> None:
    assert pairs(" backend = dom7 ,word, a=b=c,,") == {"backend": "dom7", "word": "", "a": "b=c"}
