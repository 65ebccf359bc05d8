"""Domains that stay in the list after their end: how they start, and what can be done with a dead one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.backends.machines import SMALL
from tests.fakes import FakeHypervisor, domain
from xmcompat import kept
from xmcompat.backends import domain_xml
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.hypervisor import DomainState
from xmcompat.backends.kept_mark import Phase
from xmcompat.backends.machine import Accelerator
from xmcompat.errors import DomainExists, OperationError
from xmcompat.guest import EventAction, FirmwareBoot, GuestConfig
from xmcompat.host_settings import with_host_settings
from xmcompat.preflight import refuse_taken
from xmcompat.toolstack import Toolstack

UUID = "5d3f0a44-8a7d-4b7c-9a53-0f1f4f7f1c01"
MACHINE = replace(SMALL, name="web1", uuid=UUID)
GUEST = GuestConfig(name="web1", memory=256, uuid=UUID, boot=FirmwareBoot())
KEPT = replace(GUEST, on_poweroff=EventAction.PRESERVE)
DEAD = domain("web1", 7, state=DomainState.DEAD, persistent=True)


def started(fake: FakeHypervisor, guest: GuestConfig, *, on_crash: str = "restart", paused: bool = False) -> None:
    machine = replace(MACHINE, on_crash=on_crash)
    kept.start(fake, domain_xml.render(machine), machine, guest, paused=paused)


def test_an_ordinary_guest_starts_without_a_mark_once_what_was_left_is_gone() -> None:
    fake = FakeHypervisor()
    started(fake, GUEST)
    assert (fake.swept, fake.marks(UUID)) == (["web1", UUID], (None, None))


@pytest.mark.parametrize(("on_crash", "ends"), [("destroy", True), ("coredump-destroy", True), ("restart", False)])
def test_a_preserved_guest_is_marked_with_its_id(on_crash: str, ends: bool) -> None:
    fake = FakeHypervisor()
    started(fake, KEPT, on_crash=on_crash)
    live, known = fake.marks(UUID)
    assert live is not None
    assert (live.phase, live.domid, live.managed, live.crash_ends) == (Phase.RUNNING, 1, False, ends)
    assert known == live


@pytest.mark.parametrize("paused", [False, True])
def test_a_managed_guest_that_is_preserved_stays_managed(paused: bool) -> None:
    fake = FakeHypervisor.with_domains(domain("web1", None, uuid=UUID))
    started(fake, KEPT, paused=paused)
    live, _ = fake.marks(UUID)
    assert live is not None
    assert (live.managed, live.domid) == (True, fake.find("web1").domid)
    assert (fake.find("web1").state == DomainState.PAUSED) is paused


def test_the_name_of_a_dead_domain_is_taken() -> None:
    with pytest.raises(DomainExists, match="Domain 'web1' already exists with ID '7'"):
        refuse_taken(FakeHypervisor.with_domains(DEAD), replace(GUEST, uuid=None))


@pytest.mark.parametrize("call", [Toolstack.pause, Toolstack.unpause])
def test_a_dead_domain_is_not_started(call: Callable[[Toolstack, str], None]) -> None:
    stack = Toolstack(lambda: FakeHypervisor.with_domains(DEAD))
    with pytest.raises(OperationError, match="Domain 'web1' is not started"):
        call(stack, "web1")
    with pytest.raises(OperationError, match="Domain 'web1' is not started"):
        stack.open_console("web1", on_data=lambda index, data: None)
    with pytest.raises(OperationError, match="Domain cannot be shutdown"):
        stack.shutdown("web1")


def test_a_dead_domain_is_destroyed_by_name_or_id() -> None:
    for designation in ("web1", "7"):
        fake = FakeHypervisor.with_domains(DEAD)
        Toolstack(lambda fake=fake: fake).destroy(designation)  # type: ignore[misc]
        assert fake.calls == [("destroy", "web1")]


def test_a_guest_that_is_being_built_anew_has_not_rebooted_yet() -> None:
    info = domain("web1", 7)
    fake = FakeHypervisor.with_domains(info._replace(domid=8, state=DomainState.DYING))
    polls: list[None] = []

    def back() -> None:
        polls.append(None)
        fake.known[info.uuid] = info._replace(domid=8)

    fake.on_wait = back
    seen: list[bool] = []
    Toolstack(lambda: fake).wait_rebooted([info], lambda info, rebooted: seen.append(rebooted))
    assert (seen, len(polls)) == ([True], 1)


@pytest.mark.parametrize(("text", "dumps"), [
    ("(enable-dump yes)", True), ("(enable-dump no)", False), ("(loglevel INFO)", False), ("(enable-dump maybe)", False),
    ("(enable-dump yes", False), (None, False),
])  # fmt: skip
def test_enable_dump_is_read_from_the_file_that_xend_reads(tmp_path: Path, text: str | None, dumps: bool) -> None:
    path = tmp_path / "xend-config.sxp"
    if text is not None:
        path.write_text(text)
    facts = HostFacts(accelerator=Accelerator.KVM)
    assert with_host_settings(facts, {"XEND_CONFIG": str(path)}).dump_crashes is dumps
    assert not with_host_settings(replace(facts, local=False), {"XEND_CONFIG": str(path)}).dump_crashes
