"""new, start, delete, suspend, resume: their words, their lines, what they refuse; and how halted domains are shown."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from tests.xm.test_console import FakeSession
from xmcompat import moving, vif_traces
from xmcompat.backends.domain_xml import parse, read_record
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.kept_mark import Mark, Phase
from xmcompat.errors import (
    ConnectionLost,
    DomainBusy,
    DomainEnding,
    DomainExists,
    DomainNotFound,
    HypervisorError,
    HypervisorUnreachable,
)
from xmcompat.toolstack import Toolstack
from xmcompat.xm import console
from xmcompat.xm.help import after_usage, usage_text

UUID = "83caefad-e5d4-82f0-82f4-757e2375c399"
OTHER = "83caefad-e5d4-82f0-82f4-757e2375c398"
CONFIG = f"""\
builder = "hvm"
memory = 256
name = "web1"
uuid = "{UUID}"
on_xend_start = "start"
on_xend_stop = "suspend"
vif = ["type=ioemu,model=e1000,bridge=xenbr0"]
"""
USING = 'Using config file "./web1.cfg".\n'
USAGE_OF_NEW = usage_text("new") + after_usage("new") + "\n"


@pytest.fixture
def config(host: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``web1.cfg`` in the current directory."""
    monkeypatch.setenv("XMCOMPAT_ACCELERATOR", "tcg")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "web1.cfg"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def halted(xm: Xm, host: FakeHypervisor, config: Path) -> FakeHypervisor:
    """web1 is known and halted."""
    assert xm("new", "-q", "web1.cfg") == (0, "", "")
    host.calls.clear()
    return host


def suspend(host: FakeHypervisor) -> None:
    host.images[UUID] = host.xml[UUID]


def run(host: FakeHypervisor, **changes: object) -> DomainInfo:
    """web1 runs as domain 7."""
    changes = {"domid": 7, "state": DomainState.RUNNING, **changes}
    host.known[UUID] = host.known[UUID]._replace(**changes)  # type: ignore[arg-type]
    return host.known[UUID]


# -- new


def test_a_new_domain_is_halted_and_only_its_file_is_said(xm: Xm, host: FakeHypervisor, config: Path) -> None:
    assert xm("new", "web1.cfg") == (0, USING, "")
    info = host.known[UUID]
    assert (info.name, info.domid, info.state) == ("web1", None, DomainState.SHUTOFF)
    machine = parse(host.xml[UUID])
    assert machine.record is not None
    assert machine.record.started is None
    assert machine.record.restarts == 0
    assert f"(mac {machine.nics[0].mac})" in machine.record.sxp
    assert host.calls == [("define", "web1")]


def test_a_uuid_is_drawn_once_and_kept(xm: Xm, host: FakeHypervisor, config: Path) -> None:
    config.write_text(CONFIG.replace(f'uuid = "{UUID}"', ""))
    assert xm("new", "web1.cfg").status == 0
    (uuid,) = host.known
    assert f"(uuid {uuid})" in host.xml[uuid]
    assert xm("new", "web1.cfg") == (1, USING, "Error: VM name 'web1' already exists\n")


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
def test_new_can_be_silent(xm: Xm, config: Path, flag: str) -> None:
    assert xm("new", flag, "web1.cfg") == (0, "", "")


@pytest.mark.parametrize("flag", ["-f", "--defconfig"])
def test_new_takes_its_file_by_option_and_the_last_one_wins(xm: Xm, host: FakeHypervisor, config: Path, flag: str) -> None:
    assert xm("new", "other.cfg", flag, "web1.cfg", "memory=300") == (0, USING, "")
    assert host.known[UUID].memory == 300 * 1024


@pytest.mark.parametrize("flag", ["-n", "--dryrun", "-x", "--xmldryrun"])
def test_a_dry_run_of_new_defines_nothing(xm: Xm, host: FakeHypervisor, config: Path, flag: str) -> None:
    status, out, err = xm("new", flag, "web1.cfg")
    assert (status, err) == (0, "")
    assert out == xm("create", flag, "web1.cfg").out
    assert host.known == {}


@pytest.mark.parametrize("flag", ["-F", "--config"])
def test_new_takes_an_sxp_file(xm: Xm, host: FakeHypervisor, config: Path, tmp_path: Path, flag: str) -> None:
    (tmp_path / "web1.sxp").write_text(xm("new", "-qn", "web1.cfg").out)
    assert xm("new", flag, "web1.sxp") == (0, 'Using config file "web1.sxp".\n', "")
    assert host.known[UUID].name == "web1"


def test_new_looks_along_its_path(xm: Xm, host: FakeHypervisor, config: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    config.rename(tmp_path / "etc" / "db.cfg")
    assert xm("new", f"--path={tmp_path}/etc", "db.cfg").out == f'Using config file "{tmp_path}/etc/db.cfg".\n'


@pytest.mark.parametrize(
    "words", [["-p"], ["--paused"], ["-c"], ["--console_autoconnect"], ["--vncviewer"], ["--vncviewer-autopass"],
              ["-s"], ["--skipdtd"]],
)  # fmt: skip
def test_options_for_a_start_change_nothing_of_new(xm: Xm, host: FakeHypervisor, config: Path, words: list[str]) -> None:
    assert xm("new", *words, "web1.cfg") == (0, USING, "")
    assert host.known[UUID].domid is None


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_after_new_is_its_usage(xm: Xm, flag: str) -> None:
    assert xm("new", flag) == (1, usage_text("new"), "")


def test_help_config_of_new_lists_the_variables(xm: Xm) -> None:
    assert xm("new", "--help_config") == xm("create", "--help_config")


def test_a_configuration_that_is_not_there_shows_what_there_is_to_say_of_new(xm: Xm, config: Path) -> None:
    assert xm("new", "--path=.", "nofile") == (1, USAGE_OF_NEW, "Error: Unable to open config file: nofile\n")
    assert xm("new", "web1.cfg", "-z") == (1, USAGE_OF_NEW, "Error: option -z not recognized\n")


@pytest.mark.parametrize(
    ("holder", "line"),
    [
        (domain("web1", 5, uuid=OTHER), "VM name 'web1' already exists as domain 5"),
        (domain("web1", None, uuid=OTHER), "VM name 'web1' already exists"),
        (domain("other", None, uuid=UUID), "VM name 'other' already exists"),
    ],
)
def test_a_name_that_is_taken_is_told_without_usage(
    xm: Xm, host: FakeHypervisor, config: Path, holder: DomainInfo, line: str
) -> None:
    host.known = {holder.uuid: holder}
    assert xm("new", "web1.cfg") == (1, USING, f"Error: {line}\n")
    assert host.calls == []


def test_the_name_of_domain_0_is_taken(xm: Xm, config: Path) -> None:
    line = "Error: VM name 'Domain-0' already exists as domain 0\n"
    assert xm("new", "web1.cfg", "name=Domain-0") == (1, USING, line)


def test_a_halted_domain_of_the_same_name_and_uuid_gets_the_new_configuration(xm: Xm, halted: FakeHypervisor) -> None:
    assert xm("new", "web1.cfg", "memory=512") == (0, USING, "")
    assert halted.known[UUID].memory == 512 * 1024


@pytest.mark.parametrize("verb", ["new", "create"])
def test_the_memory_of_a_suspended_domain_is_not_lost(xm: Xm, halted: FakeHypervisor, verb: str) -> None:
    suspend(halted)
    status, out, err = xm(verb, "web1.cfg")
    assert (status, out) == (1, USING)
    assert err.startswith("Error: Domain 'web1' is suspended; its memory would be lost")
    assert "xm resume web1" in err
    assert halted.calls == []


def test_create_of_a_halted_domain_of_another_uuid(xm: Xm, halted: FakeHypervisor) -> None:
    assert xm("create", "web1.cfg", f"uuid={OTHER}") == (1, USING, "Error: VM name 'web1' already exists\n")


def test_disks_are_not_looked_at_before_the_domain_starts(xm: Xm, host: FakeHypervisor, config: Path) -> None:
    host.uri = "qemu:///system"
    words = ("web1.cfg", "disk=file:/nowhere/x.img,hda,w", "vif=")
    assert xm("new", *words).status == 0
    status, out, err = xm("start", "web1")
    assert (status, out) == (1, usage_text("start"))
    assert err == "Error: Device 768 (vbd) could not be connected. /nowhere/x.img does not exist.\n"
    assert host.calls == [("define", "web1")]


# -- start


@pytest.mark.parametrize("designation", ["web1", UUID])
def test_a_start_is_silent(xm: Xm, halted: FakeHypervisor, designation: str) -> None:
    status, out, err = xm("start", designation)
    assert (status, out) == (0, "")
    assert re.fullmatch(r"(Warning: 'web1' runs emulated.*\n)?", err)
    assert halted.known[UUID].state == DomainState.RUNNING
    assert halted.calls == [("start", "web1"), ("unpause", "web1")]


@pytest.mark.parametrize("flag", ["-p", "--paused"])
def test_start_can_leave_it_paused(xm: Xm, halted: FakeHypervisor, flag: str) -> None:
    assert xm("start", flag, "web1")[:2] == (0, "")
    assert halted.known[UUID].state == DomainState.PAUSED


def test_the_record_tells_of_the_start_and_the_definition_stays(xm: Xm, halted: FakeHypervisor) -> None:
    before = halted.records[UUID]
    xm("start", "web1")
    live = read_record(halted.records[UUID])
    assert live is not None
    assert live.started is not None
    assert halted.known_records[UUID] == before


@pytest.mark.parametrize("words", [[], ["web1", "web2"], ["-p"]])
def test_start_wants_one_domain(xm: Xm, halted: FakeHypervisor, words: list[str]) -> None:
    assert xm("start", *words) == (1, usage_text("start") + "\n", "Error: Expects 1 argument\n")


def test_what_is_not_halted_is_already_running(xm: Xm, halted: FakeHypervisor) -> None:
    line = "Error: Domain is already running\n"
    assert xm("start", "Domain-0") == (1, usage_text("start"), line)
    suspend(halted)
    assert xm("start", "web1") == (1, usage_text("start"), line)
    halted.images.clear()
    for state in (DomainState.RUNNING, DomainState.PAUSED, DomainState.DEAD):
        run(halted, state=state)
        assert xm("start", "web1") == (1, usage_text("start"), line)
    assert halted.calls == []


def test_a_start_that_another_one_was_faster_with(xm: Xm, halted: FakeHypervisor) -> None:
    halted.start_refusal = DomainExists("web1", 8)
    status, out, err = xm("start", "web1")
    assert (status, out) == (1, usage_text("start"))
    assert err.endswith("Error: Domain is already running\n")


def test_starting_an_unknown_domain_ends_in_3(xm: Xm, halted: FakeHypervisor) -> None:
    assert xm("start", "nosuch") == (3, "", "Error: Domain 'nosuch' does not exist.\n")


@pytest.mark.parametrize("lost_at", ["start_known", "unpause"])
def test_what_a_start_has_begun_is_taken_back_when_libvirtd_is_there_again(
    halted: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, lost_at: str
) -> None:
    started = halted.start_known

    def lose(uuid: str) -> DomainInfo:
        if lost_at == "start_known":
            started(uuid)
        away.append(2)
        raise ConnectionLost("Xend has probably crashed!", hint="see the log of libvirtd")

    def find(designation: str) -> DomainInfo:
        if away and away[-1]:
            away.append(away[-1] - 1)
            raise HypervisorUnreachable("nothing answers")
        return found(designation)

    away: list[int] = []
    found = halted.find
    monkeypatch.setattr(halted, lost_at, lose)
    monkeypatch.setattr(halted, "find", find)
    with pytest.raises(ConnectionLost, match="probably crashed"):
        Toolstack(lambda: halted).managed.start("web1")
    assert away == [2, 1, 0]
    assert halted.calls == [("start", "web1"), ("destroy", "web1")]


@pytest.mark.parametrize("paused", [False, True])
def test_a_resumed_guest_whose_start_loses_libvirtd_is_let_go_when_it_is_back(
    halted: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, paused: bool
) -> None:
    """Its image is gone: to end it would lose its memory. One that is to stay paused stays so."""
    def lose(uuid: str) -> DomainInfo:
        resumed(uuid)
        raise ConnectionLost("Xend has probably crashed!", hint="see the log of libvirtd")

    suspend(halted)
    resumed = halted.start_known
    monkeypatch.setattr(halted, "start_known", lose)
    with pytest.raises(ConnectionLost, match="probably crashed"):
        Toolstack(lambda: halted).managed.resume("web1", paused=paused)
    assert (halted.find("web1").state == DomainState.PAUSED) == paused
    assert ("destroy", "web1") not in halted.calls


def test_where_libvirtd_does_not_let_go_the_error_says_what_to_do(
    halted: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(uuid: str) -> DomainInfo:
        started(uuid)
        raise ConnectionLost("Xend has probably crashed!", hint="see the log of libvirtd")

    def busy(_uuid: str) -> None:
        raise DomainBusy("The domain is busy with something else", hint="try again later")

    started = halted.start_known
    monkeypatch.setattr(halted, "start_known", lose)
    monkeypatch.setattr(halted, "destroy", busy)
    with pytest.raises(ConnectionLost) as caught:
        Toolstack(lambda: halted).managed.start("web1")
    assert caught.value.lines() == (
        "Xend has probably crashed!", "Hint: libvirtd holds 'web1' for a start that was broken off: where 'ps' shows no QEMU "
        "of it, remove /run/libvirt/qemu/web1.xml, restart libvirtd, and try again",
    )  # fmt: skip


def test_where_libvirtd_does_not_come_back_the_error_says_what_may_remain(
    halted: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(_designation: str) -> DomainInfo:
        raise ConnectionLost("Xend has probably crashed!", hint="see the log of libvirtd")

    def begin(uuid: str) -> DomainInfo:
        info = started(uuid)
        for name in ("unpause", "find"):
            monkeypatch.setattr(halted, name, lose)
        return info

    started = halted.start_known
    monkeypatch.setattr(halted, "start_known", begin)
    monkeypatch.setattr("xmcompat.losses.BACK", 0.3)
    with pytest.raises(ConnectionLost) as caught:
        Toolstack(lambda: halted).managed.start("web1")
    assert caught.value.lines() == (
        "Xend has probably crashed!", "Hint: 'web1' may be there, and paused: see 'xm list' when libvirtd is back",
    )  # fmt: skip


def test_a_domain_that_ends_before_it_could_run_is_not_started(
    xm: Xm, halted: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(self: FakeHypervisor, uuid: str) -> None:
        self.known[uuid] = self.known[uuid]._replace(domid=None, state=DomainState.SHUTOFF)
        raise DomainEnding("domain is not running")

    monkeypatch.setattr(FakeHypervisor, "unpause", ended)
    monkeypatch.setattr(FakeHypervisor, "destroy", lambda self, uuid: None)
    assert xm("start", "web1") == (1, usage_text("start"), "Error: Domain 'web1' is not started\n")


def test_memory_that_the_host_has_not(xm: Xm, halted: FakeHypervisor) -> None:
    xm("new", "web1.cfg", "memory=100000")
    status, out, err = xm("start", "web1")
    assert (status, out) == (1, usage_text("start"))
    assert err.startswith("Error: I need 102400000 KiB, but dom0_min_mem is 200704 and shrinking to 200704 KiB would leave")


@pytest.mark.parametrize("flag", ["-c", "--console_autoconnect"])
def test_the_console_is_open_before_the_guest_runs(
    xm: Xm, halted: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    seen: list[str] = []

    def open_console(self: Toolstack, designation: str, **_details: object) -> FakeSession:
        seen.append(halted.known[UUID].state)
        return FakeSession()

    monkeypatch.setattr(Toolstack, "open_console", open_console)
    monkeypatch.setattr(console.Attachment, "run", lambda self, session: seen.append(halted.known[UUID].state))
    assert xm("start", flag, "web1")[:2] == (0, "")
    assert seen == [DomainState.PAUSED, DomainState.RUNNING]
    assert xm("start", flag, "web1") == (1, usage_text("start"), "Error: Domain is already running\n")


@pytest.mark.parametrize("flag", ["--vncviewer", "--vncviewer-autopass"])
def test_without_a_viewer_the_start_is_none_the_worse(
    xm: Xm, halted: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flag: str
) -> None:
    assert xm("new", "-q", "web1.cfg", "vnc=yes", "vncunused=no", "vncdisplay=3") == (0, "", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    status, out, err = xm("start", flag, "web1")
    assert (status, out) == (0, "invoking  vncviewer -autopass localhost:3\n")
    assert "Error: external vncviewer missing or not in the path\nExiting\n" in err
    assert halted.known[UUID].state == DomainState.RUNNING


def test_a_domain_without_a_screen_is_started_all_the_same(xm: Xm, halted: FakeHypervisor) -> None:
    status, out, err = xm("start", "--vncviewer", "web1")
    assert (status, out) == (0, "")
    assert "Warning: Domain 'web1' has no VNC display" in err


# -- delete


def test_a_halted_domain_is_forgotten_in_silence(xm: Xm, halted: FakeHypervisor) -> None:
    assert xm("delete", "web1") == (0, "", "")
    assert halted.known == {}


def test_what_is_not_halted_is_not_forgotten(xm: Xm, halted: FakeHypervisor) -> None:
    line = "Error: Domain is not halted.\n"
    assert xm("delete", "0") == (1, usage_text("delete"), line)
    suspend(halted)
    assert xm("delete", "web1") == (1, usage_text("delete"), line)
    halted.images.clear()
    for state in (DomainState.RUNNING, DomainState.PAUSED, DomainState.DEAD):
        run(halted, state=state)
        assert xm("delete", "web1") == (1, usage_text("delete"), line)
    assert halted.calls == []


def test_deleting_an_unknown_domain_is_a_fault(xm: Xm, halted: FakeHypervisor) -> None:
    assert xm("delete", "nosuch") == (1, usage_text("delete"), "Error: <Fault 3: 'nosuch'>\n")


# -- suspend


def test_a_managed_domain_that_runs_is_suspended_in_silence(xm: Xm, halted: FakeHypervisor) -> None:
    run(halted)
    assert xm("suspend", "web1") == (0, "", "")
    assert halted.suspended() == {UUID}
    assert halted.known[UUID].domid is None


def test_what_cannot_be_suspended(xm: Xm, halted: FakeHypervisor) -> None:
    usage = usage_text("suspend")
    assert xm("suspend", "0") == (1, usage, "Error: Cannot suspend privileged domain 0\n")
    assert xm("suspend", "web1") == (1, usage, "Error: Domain is not running\n")
    run(halted, state=DomainState.PAUSED)
    assert xm("suspend", "web1") == (1, usage, "Error: Domain is not running\n")
    run(halted, persistent=False)
    assert xm("suspend", "web1") == (1, usage, "Error: Domain is not managed by Xend lifecycle support.\n")
    assert xm("suspend", "nosuch") == (3, "", "Error: Domain 'nosuch' does not exist.\n")
    assert ("suspend", "web1") not in halted.calls


def test_a_domain_that_could_not_be_suspended_runs_on_and_that_is_said(xm: Xm, halted: FakeHypervisor) -> None:
    run(halted)
    halted.suspend_refusal = HypervisorError("No space left on device")
    line = "Error: Domain 'web1' could not be suspended: No space left on device; it runs on\n"
    assert xm("suspend", "web1") == (1, usage_text("suspend"), line)
    assert halted.known[UUID].state == DomainState.RUNNING


def test_a_domain_that_is_off_after_the_failure_is_not_said_to_run(xm: Xm, halted: FakeHypervisor) -> None:
    run(halted)
    halted.suspend_refusal = HypervisorError("the guest has gone mad")
    halted.on_suspending = halted.known.clear
    assert xm("suspend", "web1").err.endswith("; it does not run any more\n")


# -- resume


@pytest.mark.parametrize("words", [["web1"], [UUID]])
def test_a_suspended_domain_goes_on(xm: Xm, halted: FakeHypervisor, words: list[str]) -> None:
    suspend(halted)
    assert xm("resume", *words) == (0, "", "")
    assert halted.known[UUID].state == DomainState.RUNNING
    assert halted.suspended() == set()


@pytest.mark.parametrize("flag", ["-p", "--paused"])
def test_resume_can_leave_it_paused(xm: Xm, halted: FakeHypervisor, flag: str) -> None:
    suspend(halted)
    assert xm("resume", "web1", flag) == (0, "", "")
    assert halted.known[UUID].state == DomainState.PAUSED


def test_every_error_of_resume_has_the_same_beginning(xm: Xm, halted: FakeHypervisor) -> None:
    def said(designation: str) -> str:
        status, out, err = xm("resume", designation)
        assert (status, out) == (1, usage_text("resume"))
        assert err.startswith("Error: Error occurred when resuming: ")
        return err.removeprefix("Error: Error occurred when resuming: ")

    assert said("nosuch") == "<Fault 3: 'nosuch'>\n"
    assert said("0") == "Cannot resume privileged domain 0\n"
    assert said("web1") == "Cannot resume domain that is not suspended.\n"
    suspend(halted)
    halted.start_refusal = HypervisorError("Cannot allocate memory")
    assert said("web1") == "Cannot allocate memory\n"
    assert halted.suspended() == {UUID}
    halted.images[UUID] = ""
    assert said("web1") == (
        "Failed to read stored checkpoint file: save image is incomplete; put the file back, or give its memory up by "
        "'xm start --discard-saved web1'\n"
    )
    assert halted.calls == []


# -- on its way


@pytest.mark.parametrize(("place", "what"), [(UUID, "saved, or moved"), (f"{UUID}.restored", "restored")])
def test_nobody_starts_what_is_not_done_with_its_disks(
    xm: Xm, halted: FakeHypervisor, config: Path, place: str, what: str
) -> None:
    """Who suspends it gives back what they need when it is off; who restores it may write them."""
    said = f"'web1' is being {what}; try again when that is over\n"
    with moving._held(halted.uri, place):
        assert xm("start", "web1").err == f"Error: {said}"
        assert xm("create", "-q", "web1.cfg").err == f"Error: {said}"
        suspend(halted)
        assert xm("resume", "web1").err == f"Error: Error occurred when resuming: {said}"
        assert halted.calls == []
    assert xm("resume", "web1") == (0, "", "")


def test_who_looks_for_what_was_left_stops_no_start(
    xm: Xm, halted: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """'xm list' has the file of a process that was killed for a moment."""
    with ExitStack() as stack:
        stack.enter_context(moving._held(halted.uri, UUID))
        sleep, pauses = time.sleep, list[float]()
        monkeypatch.setattr(time, "sleep", lambda pause: (pauses.append(pause), stack.close() if pause else None, sleep(pause)))
        assert xm("start", "web1") == (0, "", "")
    assert max(pauses) > 0


@pytest.mark.parametrize("again", [True, False])
def test_the_mark_of_a_guest_that_goes_on_already_stays(
    xm: Xm, halted: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """Somebody else than xm may have let it go on while its interfaces are taken away."""
    run(halted)
    mark = Mark(Phase.RUNNING, 7, managed=True)
    halted.set_mark(UUID, mark, live=False)
    monkeypatch.setattr(vif_traces, "gone", lambda *_: run(halted, domid=8) if again else None)
    assert xm("suspend", "web1") == (0, "", "")
    assert halted.marks(UUID)[1] == (mark if again else None)


# -- how they are shown


def test_halted_and_suspended_domains_in_each_answer(xm: Xm, halted: FakeHypervisor) -> None:
    header = "Name                                        ID   Mem VCPUs      State   Time(s)\n"
    row = "web1                                             256     1                 0.0\n"
    assert xm("list", "web1").out == header + row
    assert xm("list", "--state=halted").out == header + row
    assert xm("list", "--state=suspended").out == header
    assert xm("list", "--label", "web1").out == header[:-1] + " Label     \n" + row[:-1] + " " * 11 + "\n"
    assert xm("domid", "web1").out == "None\n"
    assert xm("domstate", "web1").out == "shutoff\n"
    assert xm("uptime", "web1").out.splitlines()[1] == "web1" + 36 * " " + "0:00:00"
    assert re.fullmatch(r" \d\d:\d\d:\d\d up  0:00, web1 \(\)\n", xm("uptime", "-s", "web1").out)
    assert xm("vcpu-list", "web1").out.splitlines()[1] == (
        "web1                                       0                   0.0 any cpu"
    )
    assert xm("sched-credit", "-d", "web1").out.splitlines()[1] == "web1                                      256    0"
    suspend(halted)
    assert xm("list", "--state=Suspended").out == header + row
    assert xm("list", "--state=halted").out == header
    assert xm("domstate", "web1").out == "shutoff\n"


def test_the_long_form_of_a_halted_domain(xm: Xm, halted: FakeHypervisor) -> None:
    xm("new", "-q", "web1.cfg", "disk=file:/srv/web1.img,hda,w")
    mac = parse(halted.xml[UUID]).nics[0].mac
    lines = [line.strip() for line in xm("list", "-l", "web1").out.splitlines()]
    keys = [line.removeprefix("    ") for line in xm("list", "-l", "web1").out.splitlines() if line.startswith("    (")]
    assert [key.strip("()").partition(" ")[0] for key in keys] == [
        "cpu_weight", "cpu_cap", "pool_name", "bootloader", "vcpus", "cpus", "on_poweroff", "description", "on_crash",
        "uuid", "bootloader_args", "name", "on_reboot", "maxmem", "memory", "shadow_memory", "features",
        "on_xend_start", "on_xend_stop", "image", "status", "device", "device",
    ]  # fmt: skip
    assert {"(status 0)", "(on_xend_start start)", "(on_xend_stop suspend)", f"(mac {mac})"} <= set(lines)
    vbd = lines.index("(vbd")
    assert [line.strip("()").partition(" ")[0] for line in lines[vbd + 1 : vbd + 7]] == [
        "uuid", "bootable", "driver", "dev", "uname", "mode",
    ]  # fmt: skip
    suspend(halted)
    assert "    (status 3)\n" in xm("list", "-l", "web1").out


def test_a_new_name_is_kept_in_the_record_as_well(xm: Xm, halted: FakeHypervisor) -> None:
    assert xm("rename", "web1", "web2") == (0, "", "")
    record = read_record(halted.records[UUID])
    assert record is not None
    assert "(name web2)" in record.sxp


# -- for xend


def test_what_xend_does_with_a_domain_is_kept(halted: FakeHypervisor) -> None:
    managed = Toolstack(lambda: halted).managed
    info = halted.known[UUID]
    assert managed.setting(info, "on_xend_start", "ignore") == "start"
    assert managed.setting(info, "on_xend_stop", "ignore") == "suspend"
    assert managed.is_managed(info)
    assert not managed.is_suspended("web1")
    suspend(halted)
    assert managed.is_suspended("web1")
    with pytest.raises(DomainNotFound):
        managed.is_suspended("nosuch")
