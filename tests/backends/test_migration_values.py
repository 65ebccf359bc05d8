"""What libvirt's numbers and texts about migrations mean, without a libvirt."""

from __future__ import annotations

from contextlib import nullcontext
from typing import cast

import libvirt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.backends.libvirt_errors import Failure
from xmcompat.backends.libvirt_migration_calls import MigrationCalls, progress_of, state_of
from xmcompat.backends.libvirt_migration_errors import named_host, not_migrated
from xmcompat.backends.libvirt_translated import Translated
from xmcompat.backends.migration import MigrationPhase, MigrationState, Transfer
from xmcompat.backends.migration_xml import host_identity, wanted_cpu
from xmcompat.errors import (
    DomainBusy,
    DomainEnding,
    HypervisorError,
    MigrationAborted,
    MigrationLost,
    MigrationRefused,
)

RUNNING, PAUSED, SHUTOFF = 1, 3, 5
INCOMING, OUTGOING = 4, 5
TRANSFER = Transfer("qemu+tls://host2/system")


@pytest.mark.parametrize(
    ("numbers", "active", "word"),
    [
        ((RUNNING, 1, 0), True, MigrationState.NONE),
        ((RUNNING, 1, 2), True, MigrationState.NONE),  # a save
        ((RUNNING, 1, OUTGOING), True, MigrationState.OUTGOING),
        ((RUNNING, 2, OUTGOING), True, MigrationState.OUTGOING),  # it has come, and goes on
        ((PAUSED, 1, OUTGOING), True, MigrationState.OUTGOING),  # paused by somebody
        ((PAUSED, 2, OUTGOING), True, MigrationState.OUTGOING),
        ((PAUSED, 2, 0), True, MigrationState.CUT_OFF),
        ((PAUSED, 2, 0), False, MigrationState.LEFT),
        ((PAUSED, 12, 0), False, MigrationState.LEFT),
        ((PAUSED, 11, INCOMING), True, MigrationState.INCOMING),
        ((PAUSED, 2, INCOMING), True, MigrationState.INCOMING),
        ((RUNNING, 2, 0), True, MigrationState.ARRIVED),
        ((RUNNING, 10, INCOMING), True, MigrationState.POSTCOPY_IN),
        ((PAUSED, 12, OUTGOING), True, MigrationState.POSTCOPY_OUT),
        ((PAUSED, 13, OUTGOING), True, MigrationState.STALLED_OUT),
        ((RUNNING, 11, 0), True, MigrationState.STALLED_IN),
        ((SHUTOFF, 4, 0), False, MigrationState.LEFT),
        ((SHUTOFF, 1, 0), False, MigrationState.NONE),
    ],
)
def test_the_state_of_a_domain_tells_what_becomes_of_it(
    numbers: tuple[int, int, int], active: bool, word: str
) -> None:
    assert state_of(*numbers, active=active) == word


@given(st.integers(0, 9), st.integers(0, 15), st.integers(0, 9))
def test_a_domain_that_is_off_is_never_on_its_way(state: int, reason: int, operation: int) -> None:
    assert state_of(state, reason, operation) in vars(MigrationState).values()
    off = state_of(PAUSED, reason, 0, active=False)
    assert off == MigrationState.LEFT


def test_progress_is_in_bytes_and_seconds_whatever_libvirt_leaves_out() -> None:
    assert progress_of({}, RUNNING, 1) is None
    assert progress_of({"type": 0, "operation": OUTGOING}, RUNNING, 1) is None
    assert progress_of({"type": 2, "operation": 2}, RUNNING, 1) is None, "a save"
    setup = progress_of({"type": 2, "operation": OUTGOING, "time_elapsed": 1500}, RUNNING, 1)
    assert setup is not None
    assert (setup.phase, setup.elapsed, setup.downtime) == (MigrationPhase.SETUP, 1.5, -1)
    told = progress_of(
        {"type": 2, "operation": OUTGOING, "memory_total": 99, "data_total": 120, "data_processed": 60, "data_remaining": 50,
         "disk_total": 21, "disk_remaining": 1, "memory_dirty_rate": 3, "memory_page_size": 4096, "memory_bps": 1000,
         "memory_iteration": 2, "downtime": 300, "auto_converge_throttle": 20, "setup_time": 100}, RUNNING, 1,
    )  # fmt: skip
    assert told is not None
    assert told._asdict() == {
        "phase": MigrationPhase.MEMORY, "elapsed": 0.0, "setup": 0.1, "total": 120, "processed": 60, "remaining": 50,
        "disk_total": 21, "disk_remaining": 1, "memory_rate": 1000, "disk_rate": 0, "dirty_rate": 12288, "iteration": 2,
        "downtime": 300, "throttle": 20,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stats", "state", "phase"),
    [
        ({"type": 2, "disk_total": 1}, (RUNNING, 1), MigrationPhase.DISKS),
        ({"type": 2, "memory_total": 1, "disk_total": 1}, (RUNNING, 1), MigrationPhase.MEMORY),
        ({"type": 2, "memory_total": 1}, (PAUSED, 1), MigrationPhase.MEMORY),
        ({"type": 2, "memory_total": 1}, (PAUSED, 2), MigrationPhase.SWITCH),
        ({"type": 2, "memory_total": 1}, (PAUSED, 12), MigrationPhase.POSTCOPY),
        ({"type": 2, "memory_total": 1}, (PAUSED, 13), MigrationPhase.POSTCOPY),
        ({"type": 3}, (RUNNING, 2), MigrationPhase.COMPLETED),
        ({"type": 4}, (RUNNING, 1), MigrationPhase.FAILED),
        ({"type": 5}, (RUNNING, 1), MigrationPhase.CANCELLED),
    ],
)
def test_the_phase_is_told(stats: dict[str, int], state: tuple[int, int], phase: str) -> None:
    told = progress_of({"operation": OUTGOING, **stats}, *state)
    assert told is not None
    assert told.phase == phase


@pytest.mark.parametrize(
    ("code", "domain", "text", "kind", "line"),
    [
        (78, 10, "operation aborted: job 'migration out' canceled by client", MigrationAborted, "The migration was given up"),
        (9, 10, "operation failed: job 'migration out' failed: Unable to write to socket: Broken pipe", MigrationLost,
         "host2 was lost on the way: operation failed: job 'migration out' failed: Unable to write to socket: Broken pipe"),
        (1, 7, "internal error: client socket is closed", MigrationLost, "host2 was lost on the way: client socket is closed"),
        (1, 10, "internal error: qemu unexpectedly closed the monitor", MigrationLost,
         "host2 was lost on the way: qemu unexpectedly closed the monitor"),
        (1, 10, "internal error: qemu unexpectedly closed the monitor: 2026-11-27T17:26:52.587476Z qemu-system-x86_64: -blockdev "
         '{"driver":"iscsi","portal":"192.0.2.8:3260","target":"iqn.x:a","lun":1,"user":"alice"}: iSCSI: Failed to connect to LUN : '
         "Failed to log in to target. Status: Authentication failure(513)", MigrationRefused,
         "host2 does not take the domain: A device (vbd) could not be connected. "
         "The target iqn.x:a at 192.0.2.8:3260 refuses the user 'alice' or the password"),
        (66, 30, "Secret not found: no secret with matching usage 'xmcompat:11111111-2222-4333-8444-555555555555:xvda'",
         MigrationRefused, "host2 does not take the domain: Device 51712 (vbd) could not be connected. The hypervisor does not "
         "have its password any more ('xmcompat:11111111-2222-4333-8444-555555555555:xvda')"),
        (9, 20, "operation failed: domain is not running", DomainEnding, "operation failed: domain is not running"),
        (9, 10, "operation failed: domain 'a' is not running", DomainEnding, "operation failed: domain 'a' is not running"),
        (55, 10, "Requested operation is not valid: another migration job is already running for domain 'a'", DomainBusy,
         "The domain is being migrated, or busy with something else; try again later"),
        (68, 0, "Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatchDomain)",
         DomainBusy, "The domain is being migrated, or busy with something else; try again later"),
        (55, 10, "Requested operation is not valid: QEMU reports migration is still running", DomainBusy,
         "The migration goes on by itself"),
        (9, 31, "operation failed: guest CPU doesn't match specification: missing features: avx512f,pku", MigrationRefused,
         "host2 has not the processor that the guest runs on: missing features: avx512f,pku; "
         "give the guest a model that both have"),
        (55, 10, "Requested operation is not valid: cannot migrate domain with 1 snapshots", MigrationRefused,
         "A domain with 1 snapshots cannot go to another host"),
        (38, 18, "Cannot access storage file '/a b': No such file or directory", MigrationRefused,
         "host2 cannot open the disk /a b: No such file or directory"),
        (9, 0, "operation failed: The server certificate has expired", MigrationRefused,
         "The certificates of host2 and of this host do not fit each other; run 'xmcompat migrate setup host2'"),
        (1, 0, "internal error: {0} {host} nobody knows this", MigrationRefused,
         "host2 does not take the domain: {0} {host} nobody knows this"),
    ],
)  # fmt: skip
def test_an_error_of_libvirt_is_told_in_our_words(
    code: int, domain: int, text: str, kind: type[HypervisorError], line: str
) -> None:
    error = not_migrated(Failure(code, domain, text), TRANSFER)
    assert (type(error), error.line()) == (kind, line)


class Said(libvirt.libvirtError):
    """What libvirt says without having been asked."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.err = (code, 10, text, 2, None, None, None, 0, 0)


GONE = Said(42, "Domain not found: no domain with matching uuid '8ac1f0a4-1111-4222-8333-444455556666' (web1)")
OFF = Said(9, "operation failed: domain is no longer running")


class Ends:
    """A connection, and its domain, whose transfer fails: what libvirt says of that, and then of whether it is alive here."""

    def __init__(self, said: Said, active: bool | Said) -> None:
        self._said, self._active = said, active

    def lookupByUUIDString(self, uuid: str) -> Ends:
        return self

    def migrateToURI3(self, uri: str, words: object, flags: int) -> None:
        raise self._said

    def isActive(self) -> bool:
        if isinstance(self._active, Said):
            raise self._active
        return self._active

    def getLibVersion(self) -> int:
        return 9_000_000

    def close(self) -> None:
        return


@pytest.mark.parametrize("said", [GONE, OFF], ids=["forgotten", "off"])
@pytest.mark.parametrize(
    ("active", "kind"),
    [(True, MigrationLost), (False, DomainEnding), (GONE, DomainEnding), (Said(1, "internal error: who knows"), MigrationLost)],
    ids=["alive here", "off here", "forgotten here", "unknown"],
)  # fmt: skip
def test_a_domain_that_is_not_there_any_more_was_ended_here_only_where_it_is_not_alive_here(
    said: Said, active: bool | Said, kind: type[HypervisorError]
) -> None:
    """Both hosts' libvirts say the same of one that is ended in the very moment in which they want to ask its QEMU."""
    ends = Ends(said, active)
    calls = MigrationCalls(libvirt, ends, lambda: ends, lambda uuid: cast("Translated", nullcontext()), "qemu:///system")
    job = calls.begin("8ac1f0a4-1111-4222-8333-444455556666", TRANSFER)
    assert job.ended(30)
    with pytest.raises(HypervisorError) as raised:
        job.result()
    assert type(raised.value) is kind


@given(st.integers(0, 110), st.integers(0, 80), st.text(max_size=200))
def test_any_text_is_an_error_in_one_line(code: int, domain: int, text: str) -> None:
    line = not_migrated(Failure(code, domain, text), TRANSFER).line()
    assert line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("qemu+tls://host2/system", "host2"), ("qemu+ssh://root@host2:22/system?x=/a@b", "host2"),
        ("qemu+tcp://[2001:db8::2]:16509/system", "2001:db8::2"), ("qemu+unix:///system?socket=/run/s", ""),
    ],
)  # fmt: skip
def test_the_named_host_a_uri(uri: str, host: str) -> None:
    assert named_host(uri) == host


def test_the_processor_that_a_domain_wants_is_read_from_its_xml() -> None:
    def domain(cpu: str) -> str:
        return (
            f"<domain type='kvm'><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>{cpu}"
            "<devices><emulator>/usr/bin/qemu</emulator></devices></domain>"
        )

    cpu = '<cpu mode="custom" match="exact" check="full"><model>EPYC</model></cpu>'
    assert wanted_cpu(domain(cpu)) == ("/usr/bin/qemu", "x86_64", "pc-q35-7.2", "kvm", cpu)
    assert wanted_cpu(domain("")) is None
    assert wanted_cpu(domain("<cpu mode='host-passthrough'/>")) is None
    assert wanted_cpu(domain(cpu.replace("full", "none"))) is None
    assert wanted_cpu("<domain><cpu mode='host-model'/></domain>") == (None, None, None, "qemu", '<cpu mode="host-model"/>')


def test_a_host_is_known_by_its_uuid_and_its_machine_types_by_both_names() -> None:
    text = (
        "<capabilities><host><uuid>u</uuid></host><guest><arch name='i686'><machine canonical='pc-7'>pc</machine></arch></guest>"
        "<guest><arch name='x86_64'><machine>pc-7</machine><machine>none</machine></arch></guest></capabilities>"
    )
    assert host_identity(text) == ("u", ("pc", "pc-7", "none"))
    assert host_identity("<capabilities/>") == ("", ())
