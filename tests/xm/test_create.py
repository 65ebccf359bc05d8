"""``xm create``: its words, its lines, what it refuses, and that nothing is left when it is interrupted."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from tests.xm.test_console import FakeSession, end, says
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.config.load import Loaded
from xmcompat.errors import ConfigError, DeviceError, DomainExists, DomainNotFound, HypervisorError, XmError
from xmcompat.notes import Fate, Note
from xmcompat.toolstack import Created, Toolstack
from xmcompat.xm import console, signals
from xmcompat.xm.create import Source, source_of
from xmcompat.xm.help import after_usage, usage_text
from xmcompat.xm.options import read
from xmcompat.xm.signals import Ended
from xmcompat.xm.verbs import VERBS

CONFIG = """\
kernel = "/bin/true"
memory = 256
name = "web1"
root = "/dev/xvda1 ro"
extra = "console=hvc0"
"""
USING = 'Using config file "./web1.cfg".\n'
STARTED = "Started domain web1 (id=7)\n"


@dataclass
class Starts:
    """What ``Toolstack.create`` is asked for, and what it answers."""

    info: DomainInfo = domain("web1", 7)
    notes: tuple[Note, ...] = ()
    warnings: tuple[str, ...] = ()
    error: BaseException | None = None
    asked: list[tuple[Loaded, bool]] = field(default_factory=list)


@pytest.fixture
def starts(host: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Starts:
    """A toolstack that starts ``web1`` with the id 7; ``web1.cfg`` in the current directory."""
    answer = Starts()
    (tmp_path / "web1.cfg").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)

    def create(
        self: Toolstack, loaded: Loaded, *, paused: bool = False, attend: Callable[[Created], None] | None = None,
        discard_saved: bool = False,
    ) -> Created:  # fmt: skip
        answer.asked.append((loaded, paused))
        if answer.error is not None:
            raise answer.error
        state = DomainState.PAUSED if paused or attend else DomainState.RUNNING
        host.known[answer.info.uuid] = answer.info._replace(state=state)
        created = Created(answer.info, answer.notes, answer.warnings)
        if attend is not None:
            attend(created)
            if not paused:
                self.unpause(answer.info.name)
        return created

    monkeypatch.setattr(Toolstack, "create", create)
    return answer


# -- words


@pytest.mark.parametrize(
    ("words", "source"),
    [
        ([], Source("xmdefconfig", (), "")),
        (["a"], Source("a", (), "")),
        (["a", "b"], Source("b", (), "")),
        (["a", "-f", "b"], Source("b", (), "")),
        (["-fb", "a"], Source("a", (), "")),
        (["--defconfig=b"], Source("b", (), "")),
        (["-f=b"], Source("=b", (), "")),
        (["a", "name=x", "disk=phy:y,xvda,w", "-q"], Source("a", ("name=x", "disk=phy:y,xvda,w"), "")),
        (["a", "-F", "b", "x=y"], Source("a", ("x=y",), "b")),
        (["--conf", "b"], Source("xmdefconfig", (), "b")),
    ],
)
def test_which_file_and_which_variables(words: list[str], source: Source) -> None:
    assert source_of(read(VERBS["create"], words)) == source


# -- lines


def test_a_start_is_two_lines(xm: Xm, starts: Starts) -> None:
    assert xm("create", "web1.cfg") == (0, USING + STARTED, "")
    assert starts.asked[0][1] is False


def test_quiet_is_silent(xm: Xm, starts: Starts) -> None:
    assert xm("create", "-q", "web1.cfg") == (0, "", "")


def test_paused(xm: Xm, starts: Starts) -> None:
    assert xm("create", "web1.cfg", "-p") == (0, USING + STARTED, "")
    assert starts.asked[0][1] is True


def test_variables_reach_the_configuration(xm: Xm, starts: Starts) -> None:
    xm("create", "web1.cfg", "memory=384", "name=other")
    assert starts.asked[0][0].guest.memory == 384
    assert starts.asked[0][0].guest.name == "other"


def test_the_search_path(xm: Xm, starts: Starts, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "db.cfg").write_text(CONFIG)
    line = f'Using config file "{tmp_path}/etc/db.cfg".\n'
    assert xm("create", f"--path=nowhere:{tmp_path}/etc", "db.cfg") == (0, line + STARTED, "")


def test_what_a_script_prints_comes_after_the_line_about_the_file(xm: Xm, starts: Starts, tmp_path: Path) -> None:
    (tmp_path / "web1.cfg").write_text(CONFIG + 'print "hello", memory\n')
    assert xm("create", "web1.cfg").out == USING + "hello 256\n" + STARTED
    assert xm("create", "web1.cfg", "-q").out == "hello 256\n"


def note(key: str, fate: Fate, *, harmless: bool = False) -> Note:
    return Note(key=key, fate=fate, reason="because", harmless=harmless)


def test_settings_that_the_guest_could_miss_are_warnings(xm: Xm, starts: Starts) -> None:
    starts.notes = (
        note("memory", Fate.CARRIED),
        note("cpuid", Fate.NOT_YET),
        note("vtpm", Fate.NO_MEANING),
        note("disk[0]", Fate.APPROXIMATED),
        note("on_xend_stop", Fate.NO_MEANING, harmless=True),
    )
    assert xm("create", "web1.cfg") == (
        0,
        USING + STARTED,
        "Warning: cpuid: not supported yet; because\n"
        "Warning: vtpm: no meaning on KVM; because\n"
        "Warning: disk[0]: approximated; because\n",
    )
    assert xm("create", "-q", "web1.cfg") == (0, "", "")


def test_warnings_about_the_host_are_there_even_when_quiet(xm: Xm, starts: Starts) -> None:
    starts.warnings = ("'web1' runs emulated, without KVM: no /dev/kvm",)
    line = "Warning: 'web1' runs emulated, without KVM: no /dev/kvm\n"
    assert xm("create", "web1.cfg") == (0, USING + STARTED, line)
    assert xm("create", "-q", "web1.cfg") == (0, "", line)


# -- errors


@pytest.mark.parametrize(
    "error",
    [
        DomainExists("web1", 5),
        DeviceError("Device 51712 (vbd) could not be connected. /dev/vg0/web1 does not exist."),
        HypervisorError("Not enough memory on the host"),
        ConfigError("no way", path="./web1.cfg", line=3),
    ],
)
def test_an_error_is_one_line_without_usage(xm: Xm, starts: Starts, error: XmError) -> None:
    starts.error = error
    assert xm("create", "web1.cfg") == (1, USING, f"Error: {error.line()}\n")


def test_a_name_that_runs_already(xm: Xm, starts: Starts) -> None:
    starts.error = DomainExists("web1", 5)
    assert xm("create", "web1.cfg").err == "Error: Domain 'web1' already exists with ID '5'\n"


def test_a_domain_that_is_not_found_ends_create_in_1(xm: Xm, starts: Starts) -> None:
    starts.error = DomainNotFound("web1")
    assert xm("create", "web1.cfg")[:2] == (1, USING)


@pytest.mark.parametrize(("words", "name"), [(["nofile"], "nofile"), ([], "xmdefconfig"), (["a", "-f", "b"], "b")])
def test_a_configuration_that_is_not_there_shows_usage_options_and_use(
    xm: Xm, starts: Starts, words: list[str], name: str
) -> None:
    out = usage_text("create") + after_usage("create") + "\n"
    assert xm("create", "--path=.", *words) == (1, out, f"Error: Unable to open config file: {name}\n")
    assert "\nOptions:\n\n" in out


def test_control_characters_in_the_name_of_a_missing_file_are_shown_and_not_sent(xm: Xm, starts: Starts) -> None:
    line = "Error: Unable to open config file: no\\x1b[31m\\n\\x07\\x9bfile\n"
    assert xm("create", "--path=.", "no\x1b[31m\n\x07\x9bfile").err == line


def test_a_bad_option_shows_the_same(xm: Xm, starts: Starts) -> None:
    out = usage_text("create") + after_usage("create") + "\n"
    assert xm("create", "web1.cfg", "-z") == (1, out, "Error: option -z not recognized\n")
    assert starts.asked == []


@pytest.mark.parametrize(("word", "line"), [("memory=lots", "Invalid value: lots"), ("localtime=1", "Invalid value:1")])
def test_a_word_of_the_wrong_kind_fails_before_any_file_is_looked_for(
    xm: Xm, starts: Starts, word: str, line: str
) -> None:
    assert xm("create", "nofile", word) == (1, "", f"Error: {line}\n")


def test_a_script_that_fails_does_so_after_the_line_about_the_file(xm: Xm, starts: Starts, tmp_path: Path) -> None:
    (tmp_path / "web1.cfg").write_text("memory = nosuch\n")
    status, out, err = xm("create", "web1.cfg")
    assert (status, out) == (1, USING)
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert "nosuch" in err
    assert starts.asked == []


@pytest.mark.parametrize("status", [0, 3])
def test_a_script_that_ends_itself_gives_the_status(xm: Xm, starts: Starts, tmp_path: Path, status: int) -> None:
    (tmp_path / "web1.cfg").write_text(f"import sys\nprint 'bye'\nsys.exit({status})\n")
    result = xm("create", "web1.cfg")
    assert (result.status, result.out, result.err) == (status, USING + "bye\n", "")


def test_the_last_word_of_a_script_that_ends_itself_stands_alone(xm: Xm, starts: Starts, tmp_path: Path) -> None:
    (tmp_path / "web1.cfg").write_text("import sys\nprint 'hello'\nsys.exit('no vmid given')\n")
    result = xm("create", "web1.cfg")
    assert (result.status, result.out, result.err) == (1, USING + "hello\n", "no vmid given\n")


def test_what_a_script_wrote_before_it_failed_is_shown(xm: Xm, starts: Starts, tmp_path: Path) -> None:
    (tmp_path / "web1.cfg").write_text("import sys\nprint 'a'\nprint >>sys.stderr, 'b'\nsys.stdout.write('c\\n')\nx = nothing\n")
    result = xm("create", "web1.cfg")
    assert (result.status, result.out) == (1, USING + "a\nc\n")
    assert result.err.splitlines()[:2] == ["b", "Error: name 'nothing' is not defined; see ./web1.cfg:5"]
    assert starts.asked == []


def test_ctrl_c_goes_through(xm: Xm, starts: Starts) -> None:
    starts.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        xm("create", "web1.cfg")


# -- dry run


def test_a_dry_run_prints_the_form_and_asks_nobody(xm: Xm, starts: Starts, host: FakeHypervisor) -> None:
    status, out, err = xm("create", "-n", "web1.cfg")
    assert (status, err) == (0, "")
    assert out == USING + (
        "(vm\n"
        "    (name web1)\n"
        "    (memory 256)\n"
        "    (on_xend_start ignore)\n"
        "    (on_xend_stop ignore)\n"
        "    (vcpus 1)\n"
        "    (oos 1)\n"
        "    (image\n"
        "        (linux\n"
        "            (kernel /bin/true)\n"
        "            (root '/dev/xvda1 ro')\n"
        "            (videoram 4)\n"
        "            (args 'console=hvc0')\n"
        "            (tsc_mode 0)\n"
        "            (nomigrate 0)\n"
        "        )\n"
        "    )\n"
        "    (s3_integrity 1)\n"
        ")\n"
    )
    assert xm("create", "-qn", "web1.cfg").out == out.removeprefix(USING)
    assert starts.asked == []


def test_a_dry_run_in_xml_prints_nothing(xm: Xm, starts: Starts) -> None:
    assert xm("create", "-x", "web1.cfg") == (0, USING, "")
    assert starts.asked == []


def test_a_dry_run_of_an_sxp_file_prints_it_back(xm: Xm, starts: Starts, tmp_path: Path) -> None:
    out = xm("create", "-n", "-q", "web1.cfg").out
    (tmp_path / "web1.sxp").write_text(out)
    assert xm("create", "-qnF", "web1.sxp", "ignored", "memory=1") == (0, out, "")


def test_an_sxp_file_is_started(xm: Xm, starts: Starts, tmp_path: Path) -> None:
    (tmp_path / "web1.sxp").write_text(xm("create", "-n", "-q", "web1.cfg").out)
    assert xm("create", "-F", "web1.sxp", "name=ignored") == (0, 'Using config file "web1.sxp".\n' + STARTED, "")
    assert starts.asked[0][0].guest.name == "web1"


# -- the table of variables


def test_the_variables_are_listed_without_reading_anything(xm: Xm, starts: Starts) -> None:
    status, out, err = xm("create", "--help_config", "nofile")
    assert (status, err) == (0, "")
    assert out.startswith("\nValues:\n\n")
    assert out.endswith("\n\n")
    rows = [line for line in out.split("\n")[3:-2] if not line.startswith(" ")]
    names = [row.partition("=")[0] for row in rows]
    assert {"name", "memory", "vcpus", "disk", "vif", "kernel", "ramdisk", "extra", "on_crash"} <= set(names)
    assert len(names) == len(set(names))
    assert all(re.match(r"[a-z0-9_]+=(TEXT|NUMBER|MASK|ITEM|yes\|no)( |$)", row) for row in rows)
    assert "\nvcpus=NUMBER         number of vcpus (default 1)\n" in out


# -- with the console


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, host: FakeHypervisor) -> FakeSession:
    """The console of the new domain, with nothing on standard input; its guest says a word and ends."""
    fake = FakeSession(says(0, b"Linux\r\n"), end)

    def open_console(
        self: Toolstack, name: str, *, number: int | None, on_data: Callable[[int, bytes], None]
    ) -> FakeSession:
        assert host.find(name).state == DomainState.PAUSED
        fake.say = on_data
        return fake

    monkeypatch.setattr(Toolstack, "open_console", open_console)
    reader, _ = os.pipe()
    monkeypatch.setattr(console, "STDIN", reader)
    return fake


def test_the_console_is_open_before_the_guest_runs(
    starts: Starts, session: FakeSession, host: FakeHypervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    from xmcompat.xm.main import main

    assert main(["create", "-c", "web1.cfg"]) == 0
    assert capfd.readouterr() == (USING + STARTED + "Linux\r\n", "")
    assert starts.asked[0][1] is False
    assert host.calls == [("unpause", "web1")]


def test_with_paused_it_stays_so(xm: Xm, starts: Starts, session: FakeSession, host: FakeHypervisor) -> None:
    assert xm("create", "-cp", "web1.cfg").status == 0
    assert host.calls == []


def test_a_domain_without_console_runs_all_the_same(
    xm: Xm, starts: Starts, host: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise XmError("Domain 'web1' has no console to attach to")

    monkeypatch.setattr(Toolstack, "open_console", fail)
    assert xm("create", "-c", "web1.cfg") == (
        0, USING + STARTED + "Could not start console\n\n", "Warning: Domain 'web1' has no console to attach to\n",
    )  # fmt: skip
    assert host.calls == [("unpause", "web1")]


def test_a_domain_that_has_ended_before_its_console_opened(
    xm: Xm, starts: Starts, host: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*args: object, **kwargs: object) -> None:
        host.known.clear()
        raise DomainNotFound("web1")

    monkeypatch.setattr(Toolstack, "open_console", gone)
    assert xm("create", "-c", "web1.cfg") == (0, USING + STARTED + "Domain has already finished\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_it_runs_ends_the_start_and_others_do_not_cut_that_short(
    xm: Xm, starts: Starts, host: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    others = []

    def interrupted(*args: object, **kwargs: object) -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            others.append("cleaned up")

    monkeypatch.setattr(Toolstack, "open_console", interrupted)
    with pytest.raises(Ended) as caught:
        xm("create", "-c", "web1.cfg")
    assert caught.value.number == number
    assert others == ["cleaned up"]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.raised():
            signal.raise_signal(signal.SIGHUP)
        with signals.noted() as (_, came):
            signal.raise_signal(signal.SIGHUP)
        assert came == []
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_sxp_form_from_a_pipe_can_be_printed(xm: Xm, starts: Starts, tmp_path: Path) -> None:
    out = xm("create", "-n", "-q", "web1.cfg").out
    reader, writer = os.pipe()
    os.write(writer, out.encode())
    os.close(writer)
    try:
        assert xm("create", "-qnF", f"/dev/fd/{reader}") == (0, out, "")
    finally:
        os.close(reader)


def test_dev_null_with_variables_is_a_configuration(xm: Xm, starts: Starts) -> None:
    status, out, err = xm("create", "-n", "/dev/null", "name=foo", "memory=64", "kernel=/bin/true")
    assert (status, err) == (0, "")
    assert out.startswith('Using config file "/dev/null".\n(vm\n    (name foo)\n    (memory 64)\n')
