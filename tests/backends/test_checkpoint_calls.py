"""What is asked of libvirt for a checkpoint, and what is made of its answers: by a stand-in for a domain."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from xmcompat.backends import libvirt_checkpoint
from xmcompat.backends.libvirt_checkpoint import checkpoint
from xmcompat.backends.libvirt_save_calls import SaveCalls
from xmcompat.backends.libvirt_translated import Translated
from xmcompat.errors import DomainEnding, DomainNotFound, HypervisorError, HypervisorUnreachable

RUNNING, BLOCKED, PAUSED = 1, 2, 3
NONE, UNBOUNDED, COMPLETED = 0, 2, 3
LET_RUN = "somebody has let it run while it was saved"


class LibvirtError(Exception):
    """As much of libvirt's exception as is looked at."""

    def __init__(self, code: int, message: str, domain: int = 10) -> None:
        super().__init__(message)
        self._said = code, message, domain

    def get_error_code(self) -> int:
        return self._said[0]

    def get_error_message(self) -> str:
        return self._said[1]

    def get_error_domain(self) -> int:
        return self._said[2]


LIBVIRT = SimpleNamespace(
    libvirtError=LibvirtError, VIR_DOMAIN_RUNNING=RUNNING, VIR_DOMAIN_BLOCKED=BLOCKED, VIR_DOMAIN_PAUSED=PAUSED,
    VIR_DOMAIN_JOB_NONE=NONE, VIR_DOMAIN_JOB_COMPLETED=COMPLETED, VIR_DOMAIN_JOB_STATS_COMPLETED=1,
    VIR_ERR_INTERNAL_ERROR=1, VIR_ERR_OPERATION_TIMEOUT=68,
)  # fmt: skip


class FakeDomain:
    """Its copying takes LOOKS, at each of which AT is called with their number; an abortion ends it."""

    def __init__(self, looks: int, at: Callable[[FakeDomain, int], object] = lambda domain, look: None) -> None:
        self.now = RUNNING
        self.calls = list[str]()
        self._looks, self._at = looks, at
        self._aborted = False

    def state(self) -> tuple[int, int]:
        return self.now, 1

    def suspend(self) -> None:
        self.now = PAUSED
        self.calls.append("suspend")

    def resume(self) -> None:
        self.now = RUNNING
        self.calls.append("resume")

    def abortJob(self) -> None:
        self._aborted = True
        self.calls.append("abort")

    def backupBegin(self, xml: str, _checkpoint: None, _flags: int) -> None:
        assert "<target file='/copy'/>" in xml.replace('"', "'")
        self.calls.append("backup")

    def jobInfo(self) -> list[int]:
        return [NONE if self._aborted or self._looks < 0 else UNBOUNDED, 0, 0]

    def jobStats(self, flags: int) -> dict[str, object]:
        if flags:
            return {"type": COMPLETED, "success": not self._aborted, "errmsg": "aborted"}
        self._looks -= 1
        self._at(self, self._looks)
        return {"type": NONE if self._aborted or self._looks < 0 else UNBOUNDED}

    def XMLDesc(self, _flags: int) -> str:
        return "<domain><devices><disk><target dev='vda'/></disk></devices></domain>"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt_checkpoint, "_LOOK", 0.0)


def made(domain: FakeDomain, remember: Callable[[], object] = lambda: None) -> list[str]:
    """Make a checkpoint of DOMAIN; all that is done, in its order."""

    def remembered() -> None:
        remember()
        domain.calls.append("memory")

    checkpoint(LIBVIRT, domain, {"vda": "/copy"}, remembered, lambda: domain.calls.append("moment"))
    return domain.calls


def test_its_disks_are_copied_and_its_memory_is_written_while_it_stands_still() -> None:
    assert made(FakeDomain(3)) == ["suspend", "backup", "memory", "moment", "resume"]


def test_the_copying_for_one_that_somebody_lets_run_is_given_up_and_it_stays_as_he_wants_it() -> None:
    """It is noticed at the next look, also where it is paused again after that."""

    def meddle(domain: FakeDomain, look: int) -> None:
        domain.now = {7: RUNNING, 6: PAUSED}.get(look, domain.now)

    domain = FakeDomain(10, meddle)
    with pytest.raises(HypervisorError, match=LET_RUN):
        made(domain)
    assert domain.calls == ["suspend", "backup", "abort", "resume"]


@pytest.mark.parametrize("state", [RUNNING, BLOCKED])
def test_one_that_runs_before_or_while_its_memory_is_written_has_no_checkpoint(state: int) -> None:
    domain = FakeDomain(3, lambda domain, look: setattr(domain, "now", state if look < 0 else PAUSED))
    with pytest.raises(HypervisorError, match=LET_RUN):
        made(domain)
    assert "memory" not in domain.calls
    domain = FakeDomain(3)
    with pytest.raises(HypervisorError, match=LET_RUN):
        made(domain, remember=lambda: setattr(domain, "now", state))
    assert domain.calls[-2:] == ["moment", "resume"]


def test_a_copying_that_cannot_be_asked_for_is_given_up_before_the_guest_goes_on() -> None:
    """libvirt has a lock on the domain, or makes the files of copies still."""
    busy = [LibvirtError(68, "cannot acquire state change lock"), LibvirtError(1, "backup job data missing")]

    def fail(domain: FakeDomain, look: int) -> None:
        raise LibvirtError(68, "cannot acquire state change lock")

    class Busy(FakeDomain):
        def jobInfo(self) -> list[int]:
            if busy:
                raise busy.pop(0)
            return super().jobInfo()

        def abortJob(self) -> None:
            """libvirt says that it has given it up, and has not."""
            super().abortJob()
            self._aborted = not busy

    domain = Busy(3, fail)
    with pytest.raises(LibvirtError, match="state change lock"):
        made(domain)
    assert domain.calls == ["suspend", "backup", "abort", "abort", "resume"]
    assert domain.jobInfo()[0] == NONE


def test_a_domain_that_has_ended_is_not_waited_for() -> None:
    def fail(domain: FakeDomain, look: int) -> None:
        raise LibvirtError(55, "domain is not running")

    class Ended(FakeDomain):
        def jobInfo(self) -> list[int]:
            raise LibvirtError(55, "domain is not running")

    domain = Ended(3, fail)
    with pytest.raises(LibvirtError, match="not running"):
        made(domain)
    assert "abort" not in domain.calls


def calls(answer: Callable[[], int]) -> SaveCalls:
    """Those of a libvirt that says what is under way by ANSWER."""
    domain = SimpleNamespace(jobInfo=lambda: [answer(), 0, 0])
    connection = SimpleNamespace(lookupByUUIDString=lambda _uuid: domain)
    return SaveCalls(
        LIBVIRT, lambda: connection, lambda: connection, lambda about="": Translated(LibvirtError, "fake:///", about),
        lambda: 9_000_000, lambda _connection: False,
    )  # fmt: skip


def fails(code: int, message: str, domain: int = 10) -> Callable[[], int]:
    def answer() -> int:
        raise LibvirtError(code, message, domain)

    return answer


@pytest.mark.parametrize(
    ("answer", "idle"),
    [
        (lambda: NONE, True),
        (lambda: UNBOUNDED, False),
        (fails(1, "internal error: backup job data missing"), False),
        (fails(68, "Timed out during operation: cannot acquire state change lock (held by agent=x)"), False),
    ],
    ids=["nothing", "a job", "a backup of which the files are made", "a lock"],
)
def test_a_domain_is_idle_only_where_libvirt_says_that_there_is_no_job(answer: Callable[[], int], idle: bool) -> None:
    assert calls(answer).is_idle("uuid") is idle


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (fails(55, "Requested operation is not valid: domain is not running"), DomainEnding),
        (fails(42, "Domain not found: no domain with matching uuid 'uuid'"), DomainNotFound),
        (fails(38, "Cannot write data: Broken pipe", domain=7), HypervisorUnreachable),
    ],
    ids=["off", "unknown", "lost"],
)
def test_one_that_has_ended_or_cannot_be_asked_for_is_said(answer: Callable[[], int], error: type[Exception]) -> None:
    with pytest.raises(error):
        calls(answer).is_idle("uuid")
