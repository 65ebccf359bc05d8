"""``xm save`` and ``restore`` over a hypervisor in memory: words, files, errors, and what is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.fakes_saving import image, xml_of
from tests.xm.conftest import Xm
from xmcompat.backends.hypervisor import DomainInfo, DomainState, SaveJob
from xmcompat.backends.image_feed import Along
from xmcompat.backends.kept_mark import Mark, Phase
from xmcompat.errors import (
    ConnectionLost,
    DomainEnding,
    DomainExists,
    DomainNotFound,
    HypervisorError,
    HypervisorUnreachable,
    XmError,
)
from xmcompat.migration import save_file
from xmcompat.toolstack import Toolstack
from xmcompat.xm.signals import Ended, raised

WEB1 = domain("web1", 7, uuid="11111111-2222-4333-8444-555555555555")
SAVE_USAGE = "Usage: xm save [-c] <Domain> <CheckpointFile>\n"


@pytest.fixture
def web1(host: FakeHypervisor) -> FakeHypervisor:
    host.known[WEB1.uuid] = WEB1
    host.xml[WEB1.uuid] = xml_of(WEB1)
    return host


def test_a_saved_domain_is_gone_and_its_file_says_what_it_was(web1: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    file = tmp_path / "web1.save"
    assert xm("save", "web1", str(file)) == (0, "", "")
    assert web1.known == {}
    assert file.read_bytes()[:16] == b"LinuxGuestRecord"
    found = save_file.read(str(file))
    assert found.config.startswith("(domain\n    (domid 7)\n")
    assert "    (name web1)\n" in found.config
    assert os.listdir(tmp_path) == ["web1.save"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_it_comes_back_under_a_new_id_and_the_file_stays(web1: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    file = str(tmp_path / "web1.save")
    xm("save", "7", file)
    assert xm("restore", file) == (0, "", "")
    (info,) = web1.known.values()
    assert (info.name, info.uuid, info.domid, info.state) == ("web1", WEB1.uuid, 101, DomainState.RUNNING)
    assert os.path.exists(file)


@pytest.mark.parametrize("words", [("-p", "FILE"), ("FILE", "-p"), ("FILE", "--paused")])
def test_it_comes_back_paused_where_that_is_asked_for(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = str(tmp_path / "web1.save")
    xm("save", "web1", file)
    assert xm("restore", *(file if word == "FILE" else word for word in words)) == (0, "", "")
    assert web1.find("web1").state == DomainState.PAUSED


@pytest.mark.parametrize("option", ["-c", "--checkpoint"])
def test_with_a_checkpoint_the_domain_runs_on(web1: FakeHypervisor, xm: Xm, tmp_path: Path, option: str) -> None:
    file = tmp_path / "web1.save"
    told = f"{file} has the domain's memory, and it writes no disk: 'xm restore {file}' brings it back.\n"
    assert xm("save", option, "web1", str(file)) == (0, "", told)
    assert web1.known == {WEB1.uuid: WEB1}
    assert save_file.is_save_file(str(file))


def test_a_file_name_is_below_the_current_directory(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert xm("save", "web1", "there") == (0, "", "")
    assert xm("restore", "there") == (0, "", "")


def test_a_link_stays_a_link_and_an_old_file_is_replaced(web1: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("older")
    (tmp_path / "link").symlink_to("old")
    assert xm("save", "web1", str(tmp_path / "link")) == (0, "", "")
    assert (tmp_path / "link").is_symlink()
    assert save_file.is_save_file(str(tmp_path / "old"))


def test_a_known_domain_stays_known_and_is_restored_to_that(web1: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    web1.known[WEB1.uuid] = WEB1._replace(persistent=True)
    file = str(tmp_path / "web1.save")
    xm("save", "web1", file)
    assert web1.find("web1").state == DomainState.SHUTOFF
    assert xm("restore", file) == (0, "", "")
    assert web1.find("web1").persistent


def test_a_domain_that_stays_after_its_end_does_so_after_its_return(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tmp_path / "web1.save")
    xm("save", "web1", file)
    web1.kept_marks[WEB1.uuid] = (Mark(Phase.RUNNING, 7), None)
    defined: list[str] = []
    monkeypatch.setattr(web1, "definition", lambda uuid: xml_of(WEB1), raising=False)
    monkeypatch.setattr(web1, "define_again", defined.append, raising=False)
    assert xm("restore", file) == (0, "", "")
    assert len(defined) == 1
    assert web1.marks(WEB1.uuid)[0] == web1.marks(WEB1.uuid)[1]
    assert web1.marks(WEB1.uuid)[0].domid == 101  # type: ignore[union-attr]


def test_its_start_is_now(web1: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    from xmcompat.backends.domain_xml import read_record, render_record
    from xmcompat.backends.record import XenRecord

    web1.records[WEB1.uuid] = render_record(XenRecord("(vm (name web1))", started=1000.0, restarts=3))
    file = str(tmp_path / "web1.save")
    xm("save", "web1", file)
    xm("restore", file)
    record = read_record(web1.records[WEB1.uuid])
    assert record is not None
    assert record.started is not None
    assert record.started > 1e9
    assert record.restarts == 3


# -- refusals


def errors(tmp_path: Path) -> dict[tuple[str, ...], tuple[int, str, bool]]:
    """Words: status, the line after "Error: ", and whether usage follows."""
    return {
        ("save", "nosuch", f"{tmp_path}/f"): (3, "Domain 'nosuch' does not exist.", False),
        ("save", "0", f"{tmp_path}/f"): (1, "Cannot save privileged domain 0", True),
        ("save", "Domain-0", f"{tmp_path}/f"): (1, "Cannot save privileged domain Domain-0", True),
        ("save", "web1", "/nonexistent/f"): (1, "xm save: Unable to create file /nonexistent/f", False),
        ("save", "web1", f"{tmp_path}"): (1, f"can't write guest state file {tmp_path}: Is a directory", True),
        ("save", "web1", "/dev/null"): (1, "can't write guest state file /dev/null: it is no regular file", True),
        ("save", "-c", "web1"): (1, "Wrong number of parameters", True),
        ("save", "a", "b", "c"): (1, "Wrong number of parameters", True),
        ("save", "-x", "web1"): (1, "option -x not recognized", True),
        ("restore", f"{tmp_path}/none"): (1, f"xm restore: Unable to read file {tmp_path}/none", False),
        ("restore", "a", "b"): (1, "Wrong number of parameters", True),
        ("restore", f"{tmp_path}/foreign"):
            (1, "not a valid guest state file: found 'something else i'", True),
        ("restore", f"{tmp_path}"): (1, f"can't read guest state file {tmp_path}: Is a directory", True),
    }  # fmt: skip


@pytest.mark.parametrize("index", range(13))
def test_what_is_refused(web1: FakeHypervisor, xm: Xm, tmp_path: Path, index: int) -> None:
    (tmp_path / "foreign").write_text("something else is in here")
    words, (status, line, usage) = list(errors(tmp_path).items())[index]
    result = xm(*words)
    assert (result.status, result.err) == (status, f"Error: {line}\n")
    assert result.out.startswith("Usage: xm ") == usage
    assert web1.known == {WEB1.uuid: WEB1}
    assert os.listdir(tmp_path) == ["foreign"]


def test_the_number_of_words(web1: FakeHypervisor, xm: Xm) -> None:
    assert xm("save", "web1").err == "Error: 'xm save' requires between 2 and 3 arguments.\n\n"
    assert xm("restore").err == "Error: 'xm restore' requires between 1 and 2 arguments.\n\n"


@pytest.mark.parametrize("state", [DomainState.PAUSED, DomainState.SHUTDOWN, DomainState.CRASHED, DomainState.SHUTOFF])
def test_only_what_runs_is_saved(web1: FakeHypervisor, xm: Xm, tmp_path: Path, state: str) -> None:
    web1.known[WEB1.uuid] = WEB1._replace(state=state, domid=None if state == DomainState.SHUTOFF else 7)
    result = xm("save", "web1", str(tmp_path / "f"))
    assert (result.status, result.err) == (1, "Error: Domain is not running\n")
    assert result.out.startswith(SAVE_USAGE)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("libvirt_iohelper: failure with /x: No space left on device",
         "can't write guest state file {file}: No space left on device"),
        ("something went wrong", "something went wrong"),
    ],
)  # fmt: skip
def test_a_save_that_fails_leaves_the_guest_and_no_file(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, said: str, told: str
) -> None:
    web1.save_errors["web1"] = HypervisorError(said)
    file = tmp_path / "f"
    file.write_text("older")
    result = xm("save", "web1", str(file))
    assert (result.status, result.err) == (1, f"Error: {told.format(file=file)}\n")
    assert web1.known == {WEB1.uuid: WEB1}
    assert file.read_text() == "older"
    assert os.listdir(tmp_path) == ["f"]


def test_a_guest_that_ends_while_it_is_saved(web1: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    web1.save_errors["web1"] = DomainEnding("domain is not running")
    assert xm("save", "web1", str(tmp_path / "f")).err == "Error: Domain is not running\n"
    assert os.listdir(tmp_path) == []


def test_where_the_header_finds_no_room_the_guest_goes_on_from_its_image(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, config: str, **details: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(save_file, "complete", full)
    result = xm("save", "web1", str(tmp_path / "f"))
    assert result.err == f"Error: can't write guest state file {tmp_path}/f: No space left on device\n"
    assert web1.find("web1").state == DomainState.RUNNING
    assert os.listdir(tmp_path) == []


def test_where_even_that_fails_the_message_names_the_file(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, config: str, **details: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(save_file, "complete", full)
    web1.restore_error = HypervisorError("no memory")
    result = xm("save", "web1", str(tmp_path / "f"))
    (left,) = os.listdir(tmp_path)
    assert left.startswith("f.")
    assert left.endswith(".unfinished")
    assert f"'web1' is off and its memory is in {tmp_path}/{left}" in result.err
    assert result.err.endswith(f"no memory; try: xm restore {tmp_path}/{left}\n")
    web1.restore_error = None
    assert xm("restore", f"{tmp_path}/{left}") == (0, "", "")


@pytest.mark.parametrize("looks", [0, 5])
def test_a_save_that_is_given_up_leaves_the_guest_and_no_file(
    web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    """Whether the hypervisor was ready (0 looks) or not."""
    web1.save_looks["web1"] = looks
    toolstack = Toolstack(lambda: web1)
    pending = toolstack.saving.begin("web1", str(tmp_path / "f"))
    pending.ended(0.0)
    pending.abandon()
    pending.abandon()
    assert web1.find("web1").state == DomainState.RUNNING
    assert os.listdir(tmp_path) == []


# -- restoring


def saved(tmp_path: Path, info: object = WEB1, *, config: bytes = b"(domain (name web1))", running: bool = True) -> str:
    path = tmp_path / "saved"
    image_of = image(xml_of(info), running=running)  # type: ignore[arg-type]
    path.write_bytes(b"LinuxGuestRecord" + len(config).to_bytes(4, "big") + config + image_of)
    return str(path)


def test_a_bridge_that_has_gone_meanwhile_is_named_as_create_names_it(
    host: FakeHypervisor, xm: Xm, tmp_path: Path
) -> None:
    path = Path(saved(tmp_path))
    devices = "<devices><interface type='bridge'><mac address='00:16:3e:00:00:01'/><source bridge='%s'/></interface></devices>"
    there, gone = (xml_of(WEB1).replace("</domain>", f"{devices % name}</domain>") for name in ("xenbr0", "xenbr7"))
    head = b"LinuxGuestRecord" + len(b"(domain)").to_bytes(4, "big") + b"(domain)"
    path.write_bytes(head + image(gone))
    result = xm("restore", str(path))
    said = "Error: Device 0 (vif) could not be connected. Could not find bridge device xenbr7\n"
    assert (result.status, result.err, host.known) == (1, said, {})
    path.write_bytes(head + image(there))
    assert xm("restore", str(path)).status == 0


def test_a_name_that_is_taken(web1: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    result = xm("restore", saved(tmp_path))
    assert (result.status, result.err) == (1, "Error: Domain 'web1' already exists with ID '7'\n")
    assert result.out.startswith("Usage: xm restore ")
    other = domain("web1", None, uuid="99999999-2222-4333-8444-555555555555")
    web1.known = {other.uuid: other}
    assert xm("restore", saved(tmp_path)).err == "Error: VM name 'web1' already exists\n"


def test_a_uuid_that_is_taken(web1: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    web1.known[WEB1.uuid] = WEB1._replace(name="other")
    assert xm("restore", saved(tmp_path)).err == "Error: Domain 'other' already exists with ID '7'\n"


def test_more_memory_than_there_is(host: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    large = WEB1._replace(max_memory=16 * 1024 * 1024)
    assert xm("restore", saved(tmp_path, large)).err == (
        "Error: I need 16777216 KiB, but dom0_min_mem is 200704 and shrinking to 200704 KiB would leave only 8187904 KiB "
        "free.\n"
    )
    assert host.known == {}


def test_a_configuration_that_is_none(host: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    assert xm("restore", saved(tmp_path, config=b"(domain (name")).err == (
        "Error: not a valid guest state file: config parse\n"
    )


def test_a_restore_that_fails(host: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    host.restore_error = HypervisorError("Cannot access storage file '/x.img'")
    assert xm("restore", saved(tmp_path)).err == "Error: Restore failed: Cannot access storage file '/x.img'\n"
    assert host.known == {}


@pytest.mark.parametrize("error", [HypervisorError("domain 'web1' is already active"), DomainExists("web1", 9)])
def test_of_two_restores_at_once_the_loser_names_the_domain_that_is_there(
    host: FakeHypervisor, xm: Xm, tmp_path: Path, error: XmError
) -> None:
    class Winner(FakeHypervisor):
        def restore(
            self, uuid: str, path: str, spans: Sequence[tuple[int, int]], xml: str = "", along: Along | None = None
        ) -> DomainInfo:
            self.known[WEB1.uuid] = WEB1._replace(domid=9)
            raise error

    host.__class__ = Winner
    status, _, err = xm("restore", saved(tmp_path))
    assert (status, err) == (1, "Error: Domain 'web1' already exists with ID '9'\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_between_the_file_and_the_save_leaves_neither(
    web1: FakeHypervisor, tmp_path: Path, number: signal.Signals
) -> None:
    class Interrupted(FakeHypervisor):
        def begin_save(self, uuid: str, path: str, **details: object) -> SaveJob:  # type: ignore[override]
            signal.raise_signal(number)  # to this thread, whatever others there are
            return super().begin_save(uuid, path, **details)  # type: ignore[arg-type]

    web1.__class__ = Interrupted
    with pytest.raises(Ended), raised():
        Toolstack(lambda: web1).saving.save("web1", str(tmp_path / "web1.save"))
    assert list(tmp_path.iterdir()) == []
    assert web1.find("web1").state == WEB1.state


def test_one_that_was_saved_paused_stays_so(host: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    assert xm("restore", saved(tmp_path, running=False)).status == 0
    assert host.find("web1").state == DomainState.PAUSED


def test_what_fails_before_it_runs_leaves_no_domain(host: FakeHypervisor, tmp_path: Path) -> None:
    def refuse(_info: object) -> None:
        raise OSError(30, "Read-only file system")

    toolstack = Toolstack(lambda: host)
    with pytest.raises(OSError, match="Read-only"):
        toolstack.saving.restore(saved(tmp_path), attend=refuse)
    assert host.known == {}


@pytest.mark.parametrize("error", [HypervisorError("no monitor"), ConnectionLost("gone"), KeyboardInterrupt()])
def test_one_whose_file_is_gone_is_not_ended(
    host: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Nothing else has its memory by then."""

    def fail(_uuid: str) -> None:
        raise error

    monkeypatch.setattr(host, "unpause", fail, raising=False)
    path = saved(tmp_path)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else XmError) as raised:
        Toolstack(lambda: host).saving.restore(path, attend=lambda _info: os.unlink(path))
    assert host.find("web1").state == DomainState.PAUSED
    if isinstance(raised.value, XmError):
        assert "'web1' is restored, and paused" in raised.value.line()
        assert "xm unpause web1" in raised.value.line()


@pytest.mark.parametrize(
    ("fails", "error", "said"),
    [
        ("find", HypervisorUnreachable("no libvirtd"), "'web1' may be there, running or paused; see 'xm list'"),
        ("find", DomainNotFound("web1"), "nothing was restored; see the log of libvirtd, and try again"),
        ("destroy", HypervisorError("QEMU does not end"), "'web1' is there, and cannot be ended: QEMU does not end; see 'xm list'"),
        ("", None, "nothing was restored; see the log of libvirtd, and try again"),
    ],
)
def test_after_a_loss_it_is_only_said_what_is_known(
    host: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, error: XmError | None, said: str
) -> None:
    """Who hears that nothing was restored may restore it on another host."""

    def lost(_uuid: str) -> None:
        def fail(_designation: str) -> None:
            assert error is not None
            raise error

        if fails:
            monkeypatch.setattr(host, fails, fail, raising=False)
        raise ConnectionLost("gone")

    monkeypatch.setattr("xmcompat.saving.BACK", 0.3)
    monkeypatch.setattr(host, "unpause", lost, raising=False)
    with pytest.raises(ConnectionLost) as raised:
        Toolstack(lambda: host).saving.restore(saved(tmp_path))
    assert f"The connection was lost; {said}" in raised.value.line()
    assert (host.known == {}) == (not fails)


@pytest.mark.parametrize("name", [b"\xff.save", b"\xff/web1.save"])
def test_a_name_that_libvirt_cannot_be_told_is_refused_and_nothing_is_left(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, name: bytes
) -> None:
    path = tmp_path / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    assert "its name is not UTF-8; give it another\n" in xm("save", "web1", str(path)).err
    assert os.listdir(path.parent) == []
    assert web1.known == {WEB1.uuid: WEB1}
    os.rename(saved(tmp_path), path)
    web1.known.clear()
    assert "its name is not UTF-8; give it another\n" in xm("restore", str(path)).err


def test_files_are_on_the_hypervisors_own_host(web1: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    web1.uri = "qemu+ssh://other/system"
    for words in (("save", "web1", str(tmp_path / "f")), ("restore", saved(tmp_path))):
        assert "on the host itself, not through qemu+ssh://other/system" in xm(*words).err
