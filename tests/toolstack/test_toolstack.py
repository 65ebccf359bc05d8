"""The operations over a hypervisor in memory: which domain is meant, what is refused, what is waited for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from xmcompat import moving
from xmcompat import toolstack as module
from xmcompat.backends.hypervisor import Console, DomainInfo, DomainState
from xmcompat.errors import DomainEnding, DomainNotFound, OperationError, XmError
from xmcompat.toolstack import DOM0_UUID, Toolstack


def over(*infos: DomainInfo) -> tuple[Toolstack, FakeHypervisor]:
    fake = FakeHypervisor.with_domains(*infos)
    return Toolstack(lambda: fake), fake


def test_domains_are_sorted_in_byte_order_with_domain_0_among_them() -> None:
    stack, _ = over(domain("web", 2), domain("Zope", 3), domain("Apache", 4), domain("9lives", 5))
    assert [info.name for info in stack.domains()] == ["9lives", "Apache", "Domain-0", "Zope", "web"]


def test_domain_0_has_the_hosts_memory_cpus_and_the_time_that_guests_did_not_use() -> None:
    stack, _ = over(domain("web", 2, cpu_time=20_000_000_000))
    dom0 = stack.domains(["Domain-0"])[0]
    assert (dom0.domid, dom0.uuid, dom0.memory, dom0.vcpus) == (0, DOM0_UUID, 8 * 1024 * 1024, 4)
    assert dom0.cpu_time == 40_000_000_000
    assert dom0.state == DomainState.RUNNING


@pytest.mark.parametrize("designation", ["0", "Domain-0", DOM0_UUID, "000"])
def test_domain_0_answers_to_name_id_and_uuid(designation: str) -> None:
    stack, _ = over(domain("web", 2))
    assert stack.find(designation).name == "Domain-0"


def test_a_domain_named_0_hides_the_id_0() -> None:
    stack, _ = over(domain("0", 7))
    assert stack.domid("0") == 7


def test_given_designations_keep_their_order_and_duplicates() -> None:
    stack, _ = over(domain("a", 1), domain("b", 2))
    assert [info.name for info in stack.domains(["b", "a", "2"])] == ["b", "a", "b"]


def test_one_unknown_designation_hides_all_others() -> None:
    stack, _ = over(domain("a", 1))
    with pytest.raises(DomainNotFound, match="^Domain 'nosuch' does not exist.$"):
        stack.domains(["a", "nosuch"])


@pytest.mark.parametrize("verb", ["pause", "unpause", "destroy"])
@pytest.mark.parametrize("designation", ["0", "Domain-0"])
def test_domain_0_is_privileged(verb: str, designation: str) -> None:
    stack, fake = over()
    with pytest.raises(OperationError, match=f"^Cannot {verb} privileged domain {designation}$"):
        getattr(stack, verb)(designation)
    assert fake.calls == []


@pytest.mark.parametrize("verb", ["pause", "unpause"])
def test_a_halted_domain_is_not_started(verb: str) -> None:
    stack, _ = over(domain("web", None))
    with pytest.raises(OperationError, match="^Domain 'web' is not started$"):
        getattr(stack, verb)("web")


def test_destroy_of_an_unknown_number_is_no_such_process_with_status_1() -> None:
    stack, _ = over()
    with pytest.raises(OperationError) as caught:
        stack.destroy("999")
    assert caught.value.line() == "(3, 'No such process')"
    assert caught.value.exit_code == 1


def test_destroy_of_an_unknown_name_is_not_found_with_status_3() -> None:
    stack, _ = over()
    with pytest.raises(DomainNotFound) as caught:
        stack.destroy("nosuch")
    assert caught.value.exit_code == 3


def test_destroy_of_a_halted_known_domain_is_silent() -> None:
    stack, fake = over(domain("web", None))
    stack.destroy("web")
    assert fake.calls == []


def test_shutdown_of_domain_0_and_of_a_halted_domain_are_refused() -> None:
    stack, _ = over(domain("web", None))
    with pytest.raises(OperationError, match="^Domain 0 cannot be shutdown$"):
        stack.shutdown("Domain-0")
    with pytest.raises(OperationError, match="^Domain cannot be shutdown$"):
        stack.shutdown("web")


def test_shutdown_all_leaves_domain_0_and_paused_domains_alone() -> None:
    stack, fake = over(domain("a", 1), domain("b", 2, state=DomainState.PAUSED), domain("c", None))
    assert [info.name for info in stack.shutdown_all()] == ["a"]
    assert fake.calls == [("shutdown", "a")]


# -- races: what was found may be gone when it is spoken to


class Racing(FakeHypervisor):
    """Each call about a domain finds that another program has just ended it; ERROR is what is said of that."""

    error: XmError | None = None
    lasts = 0

    def _lost(self, uuid: str) -> None:
        if not self.lasts:
            self.known.pop(uuid, None)
        raise self.error or DomainNotFound(uuid)

    pause = unpause = shutdown = reboot = destroy = _lost

    def open_console(self, uuid: str, *args: object, **kwargs: object) -> Console:
        self._lost(uuid)
        raise AssertionError

    def domain_xml(self, uuid: str, *, secrets: bool = False) -> str:
        self._lost(uuid)
        raise AssertionError


def racing(error: XmError | None, info: DomainInfo) -> tuple[Toolstack, Racing]:
    fake = Racing(known={info.uuid: info}, records={info.uuid: RECORD})
    fake.error = error
    return Toolstack(lambda: fake), fake


def test_a_crashed_domain_that_is_kept_is_not_waited_for() -> None:
    """What QEMU left says that it does not run, though it is in the list."""
    stack, fake = racing(DomainEnding("domain is not running"), domain("web", 7, state=DomainState.CRASHED))
    fake.lasts = 1
    begun = time.monotonic()
    with pytest.raises(OperationError) as caught:
        stack.pause("web")
    assert caught.value.line() == "Domain 'web' has crashed, and is only kept in the list; 'xm destroy web' takes it out"
    assert time.monotonic() - begun < 1


RECORD = """<domain type="qemu"><name>web</name><metadata><xc:guest xmlns:xc="urn:xmcompat:guest:1"
source="/w" dialect="xm" started="1.0" consoles="serial0">(vm)</xc:guest></metadata></domain>"""


def open_console(stack: Toolstack, name: str) -> None:
    stack.open_console(name, on_data=lambda index, data: None)


@pytest.mark.parametrize("error", [None, DomainEnding("Unable to read from monitor: Connection reset by peer")])
@pytest.mark.parametrize("verb", ["pause", "unpause", "shutdown", "destroy"])
def test_a_domain_that_goes_during_the_call_does_not_exist_as_it_was_typed(verb: str, error: XmError | None) -> None:
    info = domain("web", 7)
    for word in ("web", info.uuid, *(["7"] if verb != "destroy" else [])):
        stack, _ = racing(error, info)
        with pytest.raises(DomainNotFound) as caught:
            getattr(stack, verb)(word)
        assert caught.value.line() == f"Domain '{word}' does not exist."
        assert caught.value.exit_code == 3


def test_a_number_that_goes_while_it_is_destroyed_is_no_such_process() -> None:
    stack, _ = racing(None, domain("web", 7))
    with pytest.raises(OperationError, match="No such process"):
        stack.destroy("7")


@pytest.mark.parametrize("error", [None, DomainEnding("domain is not running")])
def test_a_console_of_a_domain_that_has_just_gone(error: XmError | None) -> None:
    stack, _ = racing(error, domain("web", 7))
    with pytest.raises(DomainNotFound, match="^Domain 'web' does not exist.$"):
        open_console(stack, "web")


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("pause", "Domain 'web' is not started"),
        ("unpause", "Domain 'web' is not started"),
        ("shutdown", "Domain cannot be shutdown"),
    ],
)
def test_a_known_domain_that_is_off_by_then_is_not_started(
    verb: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = domain("web", 7, persistent=True)
    stack, fake = racing(DomainEnding("domain is not running"), info)
    fake.lasts = 1
    monkeypatch.setattr(Racing, "find", lambda self, word: info._replace(domid=None if word == info.uuid else 7))
    with pytest.raises(OperationError, match=f"^{line}$"):
        getattr(stack, verb)("web")


def test_a_domain_that_neither_answers_nor_goes_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENDING_PATIENCE", 0.1)
    stack, fake = racing(DomainEnding("Unable to read from monitor: Connection reset by peer"), domain("web", 7))
    fake.lasts = 1
    with pytest.raises(OperationError, match="^Domain 'web' does not answer$"):
        stack.pause("web")


def test_shutdown_of_all_goes_on_where_one_has_ended_by_itself() -> None:
    stack, _ = racing(None, domain("a", 1))
    assert [info.name for info in stack.shutdown_all()] == ["a"]


def test_the_long_list_leaves_out_one_that_has_just_gone_unless_it_was_asked_for() -> None:
    info = domain("web", 7)
    stack, fake = racing(None, info)
    fake.known.clear()
    assert stack.describe([info]) == []
    with pytest.raises(DomainNotFound, match="^Domain '7' does not exist.$"):
        stack.describe([info], ["7"])
    assert stack.uptime(info) is None


def test_wait_gone_counts_a_paused_domain_as_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = domain("a", 1), domain("b", 2, state=DomainState.PAUSED)
    stack, fake = over(a, b)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: fake.known.pop(a.uuid))
    gone: list[str] = []
    stack.wait_gone([a, b], lambda info: gone.append(info.name))
    assert gone == ["b", "a"]


def test_wait_gone_waits_for_one_whose_qemu_still_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    a = domain("a", 1, state=DomainState.SHUTDOWN)
    stack, fake = over(a)
    steps: list[str] = []
    monkeypatch.setattr(module.time, "sleep", lambda seconds: (steps.append("looked"), fake.known.clear()))
    stack.wait_gone([a], lambda info: steps.append("gone"))
    assert steps == ["looked", "gone"]


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[DomainInfo]:
    """A guest that stands still while its disks are copied for a checkpoint."""
    monkeypatch.setattr(moving, "moving_folder", lambda uri: str(tmp_path))
    info = domain("web", 3, state=DomainState.PAUSED)
    with moving.held("fake:///", info) as handle:
        assert handle is not None
        moving.stand_still(handle, True)
        yield info


def goes_on(monkeypatch: pytest.MonkeyPatch, fake: FakeHypervisor, info: DomainInfo) -> list[str]:
    """Have it go on at the second look; what is done is in the list."""
    steps: list[str] = []

    def sleep(seconds: float) -> None:
        steps.append("waited")
        if len(steps) > 1:
            path = Path(moving.moving_folder("")) / info.uuid
            path.write_bytes(b"")
            fake.known[info.uuid] = info._replace(state=DomainState.RUNNING)

    monkeypatch.setattr(module.time, "sleep", sleep)
    return steps


@pytest.mark.parametrize("reason", ["poweroff", "halt", "reboot"])
def test_one_that_stands_still_for_a_checkpoint_is_asked_when_it_goes_on(
    standing: DomainInfo, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    stack, fake = over(standing)
    steps = goes_on(monkeypatch, fake, standing)
    stack.shutdown("web", reason=reason, on_wait=lambda info: steps.append(f"told of {info.name}: {len(fake.calls)} calls"))
    assert steps == ["told of web: 0 calls", "waited"]
    assert fake.calls == [("reboot" if reason == "reboot" else "shutdown", "web")]


def test_one_that_stands_still_for_a_checkpoint_is_among_all_and_asked_last(
    standing: DomainInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = domain("a", 1, state=DomainState.PAUSED)
    stack, fake = over(paused, standing, domain("z", 4))
    steps = goes_on(monkeypatch, fake, standing)
    assert [info.name for info in stack.shutdown_all()] == ["web", "z"]
    assert fake.calls == [("shutdown", "z"), ("shutdown", "web")]
    assert steps == ["waited", "waited"]


def test_wait_gone_waits_for_one_that_stands_still_for_a_checkpoint(
    standing: DomainInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, fake = over(standing)
    steps = goes_on(monkeypatch, fake, standing)
    goes = module.time.sleep

    def ends(seconds: float) -> None:
        if fake.known[standing.uuid].state == DomainState.PAUSED:
            goes(seconds)
            return
        steps.append("ends")
        fake.known.clear()

    monkeypatch.setattr(module.time, "sleep", ends)
    stack.wait_gone([standing], lambda info: steps.append("gone"))
    assert steps == ["waited", "waited", "ends", "gone"]


def test_wait_rebooted_ends_with_the_reboot_event() -> None:
    stack, fake = over(domain("a", 1))
    info = stack.shutdown("a", reason="reboot")
    assert fake.calls == [("reboot", "a")]
    fake.on_wait = lambda: fake.reboot_watchers[0](info.uuid)
    seen: list[tuple[str, bool]] = []
    stack.wait_rebooted([info], lambda info, back: seen.append((info.name, back)))
    assert seen == [("a", True)]


def test_wait_rebooted_accepts_a_new_id_as_a_reboot() -> None:
    stack, fake = over(domain("a", 1))
    info = stack.shutdown("a", reason="reboot")
    fake.on_wait = lambda: fake.known.update({info.uuid: info._replace(domid=2)})
    seen: list[bool] = []
    stack.wait_rebooted([info], lambda info, back: seen.append(back))
    assert seen == [True]


def test_wait_rebooted_waits_until_it_runs_anew() -> None:
    """libvirt tells of a reboot a little before."""
    stack, fake = over(domain("a", 1, state=DomainState.SHUTDOWN))
    info = stack.shutdown("a", reason="reboot")
    states = iter([DomainState.SHUTDOWN, DomainState.SHUTDOWN, DomainState.RUNNING])
    polls: list[str] = []

    def look() -> None:
        fake.reboot_watchers[0](info.uuid)
        polls.append(next(states))
        fake.known[info.uuid] = info._replace(state=polls[-1])

    fake.on_wait = look
    stack.wait_rebooted([info], lambda info, back: polls.append(str(back)))
    assert polls == ["shutdown", "shutdown", "running", "True"]


@pytest.mark.parametrize("each", [1.0, 0.01])
def test_wait_rebooted_gives_up_on_a_domain_that_stays_away_for_30_seconds(
    monkeypatch: pytest.MonkeyPatch, each: float
) -> None:
    """What happens to other guests makes it look more often, and not give up sooner."""
    stack, fake = over(domain("a", 1))
    info = stack.shutdown("a", reason="reboot")
    fake.known.clear()
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def look() -> None:
        now[0] += each

    fake.on_wait = look
    seen: list[bool] = []
    stack.wait_rebooted([info], lambda info, back: seen.append(back))
    assert seen == [False]
    assert now[0] == pytest.approx(130, abs=1.1 * each)


def test_the_console_of_a_halted_domain_and_of_domain_0_are_refused() -> None:
    stack, _ = over(domain("web", None))
    with pytest.raises(OperationError, match="^Domain 'web' is not started$"):
        stack.open_console("web", on_data=lambda index, data: None)
    with pytest.raises(OperationError, match="has no console"):
        stack.open_console("0", on_data=lambda index, data: None)


def test_nothing_is_contacted_before_it_is_needed_and_close_may_be_repeated() -> None:
    connected: list[FakeHypervisor] = []

    def connect() -> FakeHypervisor:
        connected.append(FakeHypervisor())
        return connected[-1]

    with Toolstack(connect) as stack:
        assert connected == []
        stack.domains()
        stack.domains()
    stack.close()
    assert len(connected) == 1
    assert connected[0].closed


def test_an_error_of_the_connection_is_an_xm_error() -> None:
    def connect() -> FakeHypervisor:
        raise XmError("nobody there")

    with pytest.raises(XmError, match="nobody there"):
        Toolstack(connect).domains()
