"""The mark of a domain that stays after its end: written, read back, and what is shown of the domain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from tests.backends.machines import SMALL
from tests.fakes import domain
from xmcompat.backends import domain_xml, kept_xml
from xmcompat.backends.hypervisor import DomainState
from xmcompat.backends.kept_mark import KEPT_URI, Mark, Phase, read, shown, this_boot, write
from xmcompat.render.state import letters, power_number, power_word, state_word
from xmcompat.render.tables import list_table

PHASES = (Phase.MAKING, Phase.RUNNING, Phase.HALTED, Phase.CRASHED, Phase.DOOMED, Phase.REBUILDING)
marks = st.builds(
    Mark, st.sampled_from(PHASES), st.none() | st.integers(1, 2**31 - 1), st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from(["", "reboot", "crash"]), st.sampled_from(["", "2d3c5f10-6a2b-4d2f-9d62-0a7c5c1f9e01"]),
    st.integers(0, 2**33).map(float), st.sampled_from(["", "6f1c0a52-1f61-4b7e-9d53-6a3a6f2f8c11"]),
)  # fmt: skip

SHUTDOWN, DESTROYED, CRASHED, MIGRATED, SAVED, FAILED = 1, 2, 3, 4, 5, 6


@given(marks)
def test_a_mark_is_read_as_it_was_written_whatever_its_quotes(mark: Mark) -> None:
    text = write(mark)
    assert read(text) == mark
    assert read(text.replace('"', "'")) == mark


@given(marks, marks)
def test_the_mark_of_a_domain_takes_the_place_of_another(mark: Mark, other: Mark) -> None:
    xml = kept_xml.marked(kept_xml.marked(domain_xml.render(SMALL), other), mark)
    (element,) = etree.fromstring(xml).findall(f"metadata/{{{KEPT_URI}}}kept")
    assert read(etree.tostring(element, encoding="unicode")) == mark
    assert domain_xml.parse(xml) == SMALL


@given(st.text())
def test_no_spoilt_mark_is_fatal(text: str) -> None:
    assert read(text) is None or isinstance(read(text), Mark)
    assert isinstance(read(f'<kept phase="x" since="{text}" domid="{text}"/>'), Mark)
    assert read(f'<kept phase="x" domid="{"9" * 5000}"/>') == Mark("x")


@pytest.mark.parametrize(
    ("phase", "reason", "state"),
    [
        (Phase.RUNNING, SHUTDOWN, DomainState.DEAD),
        (Phase.RUNNING, 0, DomainState.DEAD),
        (Phase.RUNNING, CRASHED, DomainState.CRASHED),
        (Phase.RUNNING, DESTROYED, None),
        (Phase.RUNNING, MIGRATED, None),
        (Phase.RUNNING, SAVED, None),
        (Phase.RUNNING, FAILED, None),
        (Phase.MAKING, 0, None),
        (Phase.HALTED, DESTROYED, DomainState.DEAD),
        (Phase.CRASHED, DESTROYED, DomainState.CRASHED),
        (Phase.REBUILDING, DESTROYED, DomainState.DYING),
    ],
)
def test_what_is_shown_of_a_domain_that_is_off(phase: str, reason: int, state: str | None) -> None:
    off = domain("web1", None)
    unmanaged, managed = (shown(off, Mark(phase, 7, managed=managed), reason) for managed in (False, True))
    if state is None:
        assert (unmanaged, managed) == (None, off)
    else:
        assert unmanaged == managed == off._replace(domid=7, state=state)


def test_a_crash_that_destroys_leaves_nothing_to_be_shown() -> None:
    assert shown(domain("web1", None), Mark(Phase.RUNNING, 7, crash_ends=True), CRASHED) is None


def test_a_dead_domain_has_its_letters_and_counts_as_halted() -> None:
    assert letters(DomainState.DEAD) == "---s--"
    assert (power_word(DomainState.DEAD), power_number(DomainState.DEAD)) == ("halted", 0)
    assert state_word(DomainState.DEAD, by_admin=False) == "shutoff"
    dead = domain("web1", 7, state=DomainState.DEAD)
    assert list_table([dead]).splitlines()[1].split() == ["web1", "7", "256", "1", "---s--", "0.0"]
    assert not dead.started


def test_a_renewed_domain_counts_its_restarts() -> None:
    xml = domain_xml.render(SMALL).replace("<memory ", '<metadata><x:guest xmlns:x="urn:xmcompat:guest:1"/></metadata><memory ')
    for count in (1, 2):
        xml = kept_xml.renewed(xml, Mark(Phase.REBUILDING, 7), started=10.5 * count)
        record = domain_xml.read_record(xml)
        assert record is not None
        assert (record.restarts, record.started) == (count, 10.5 * count)


def test_a_renamed_domain_is_another_one() -> None:
    parsed = domain_xml.parse(kept_xml.renamed(domain_xml.render(SMALL), "Domain-x", "2d3c5f10-6a2b-4d2f-9d62-0a7c5c1f9e01",
                                               Mark(Phase.HALTED, 7)))  # fmt: skip
    assert (parsed.name, parsed.uuid, parsed.memory) == ("Domain-x", "2d3c5f10-6a2b-4d2f-9d62-0a7c5c1f9e01", SMALL.memory)


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.HALTED, Phase.CRASHED, Phase.REBUILDING])
def test_what_was_there_before_the_host_was_started_anew_is_not_shown(phase: str) -> None:
    info = domain("web1", None)
    mark = Mark(phase, 7, boot="before")
    assert shown(info, mark, SHUTDOWN, "now") is None
    assert shown(info, mark._replace(managed=True), SHUTDOWN, "now") == info
    for boot in ("before", ""):
        there = shown(info, mark, SHUTDOWN, boot)
        assert there is not None
        assert there.domid == 7


def test_the_run_of_a_host_is_told_by_its_kernel() -> None:
    assert len(this_boot()) == 36
    assert this_boot("/proc/no-such-file") == ""
