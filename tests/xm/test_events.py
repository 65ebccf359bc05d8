"""reset, rename, sysrq, trigger, dump-core: what is asked of the hypervisor, and every line that is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat import events
from xmcompat.backends.hypervisor import DomainState
from xmcompat.errors import HypervisorError
from xmcompat.xm.help import usage_text

ALT, SYSRQ = 56, 99


@pytest.fixture(autouse=True)
def guests(host: FakeHypervisor) -> FakeHypervisor:
    for info in (domain("web", 5, vcpus=2), domain("idle", 7, state=DomainState.PAUSED), domain("off", None)):
        host.known[info.uuid] = info
    return host


VERBS = [["reset", "{}"], ["sysrq", "{}", "h"], ["trigger", "{}", "nmi"], ["dump-core", "{}", "/tmp/core"]]
each_verb = pytest.mark.parametrize("words", VERBS, ids=lambda words: words[0])


def said_first(verb: str, designation: str) -> str:
    return f"Dumping core of domain: {designation} ...\n" if verb == "dump-core" else ""


@each_verb
def test_an_unknown_domain_ends_in_3_without_usage(xm: Xm, words: list[str]) -> None:
    verb, *rest = [word.format("nosuch") for word in words]
    assert xm(verb, *rest) == (3, said_first(verb, "nosuch"), "Error: Domain 'nosuch' does not exist.\n")


@each_verb
def test_a_halted_domain_is_not_started(xm: Xm, words: list[str]) -> None:
    verb, *rest = [word.format("off") for word in words]
    assert xm(verb, *rest) == (1, said_first(verb, "off") + usage_text(verb), "Error: Domain 'off' is not started\n")


@pytest.mark.parametrize("designation", ["0", "Domain-0"])
@pytest.mark.parametrize(("verb", "words"), [("reset", "reset"), ("dump-core", "dump core for")])
def test_domain_0_is_privileged(xm: Xm, verb: str, words: str, designation: str) -> None:
    out = said_first(verb, designation) + usage_text(verb)
    assert xm(verb, designation) == (1, out, f"Error: Cannot {words} privileged domain {designation}\n")


@pytest.mark.parametrize("words", [["sysrq", "0", "h"], ["trigger", "0", "nmi"]])
def test_nothing_is_sent_to_domain_0(xm: Xm, guests: FakeHypervisor, words: list[str]) -> None:
    status, out, err = xm(*words)
    assert (status, out) == (1, usage_text(words[0]))
    assert err.endswith(" privileged domain 0\n")
    assert guests.calls == []


# -- reset


@pytest.mark.parametrize("name", ["web", "idle"])
def test_a_domain_that_is_reset_runs_afterwards(xm: Xm, guests: FakeHypervisor, name: str) -> None:
    assert xm("reset", name) == (0, "", "")
    assert guests.calls == [("reset", name), ("unpause", name)]


# -- rename


def test_a_halted_domain_gets_its_new_name(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("rename", "off", "new-1.2_3:4+5") == (0, "", "")
    assert xm("domname", "new-1.2_3:4+5").out == "new-1.2_3:4+5\n"
    assert xm("domname", "off").status == 3


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("", "Missing VM Name"),
        ("a b", "Invalid VM Name"),
        ("a/b", "Invalid VM Name"),
        ("é", "Invalid VM Name"),
        ("web", "VM name 'web' already exists as domain 5"),
        ("Domain-0", "VM name 'Domain-0' already exists as domain 0"),
    ],
)
def test_names_that_a_domain_cannot_get(xm: Xm, guests: FakeHypervisor, name: str, line: str) -> None:
    assert xm("rename", "off", name) == (1, usage_text("rename"), f"Error: {line}\n")
    assert guests.calls == []


def test_the_name_of_a_halted_domain_is_taken(xm: Xm) -> None:
    assert xm("rename", "web", "off") == (1, usage_text("rename"), "Error: VM name 'off' already exists\n")


def test_an_unknown_domain_cannot_be_renamed(xm: Xm) -> None:
    assert xm("rename", "nosuch", "a b") == (3, "", "Error: Domain 'nosuch' does not exist.\n")


def test_its_own_name_is_no_change(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("rename", "web", "web") == (0, "", "")
    assert guests.calls == []


def test_a_suspended_domain_keeps_its_name(xm: Xm, guests: FakeHypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    halted = next(info for info in guests.known.values() if info.domid is None)
    monkeypatch.setattr(guests, "suspended", lambda: {halted.uuid})
    line = (
        f"Error: Domain '{halted.name}' is suspended, and libvirt renames only domains that are halted; "
        f"resume it first: xm resume {halted.name}\n"
    )
    assert xm("rename", halted.name, "www") == (1, usage_text("rename"), line)
    assert guests.calls == []


def test_a_running_domain_keeps_its_name(xm: Xm, guests: FakeHypervisor) -> None:
    line = (
        "Error: Domain '5' is running, and libvirt renames only domains that are off; "
        "end it, then create it under the name www\n"
    )
    assert xm("rename", "5", "www") == (1, usage_text("rename"), line)
    assert xm("rename", "0", "www") == (
        1, usage_text("rename"), "Error: Domain '0' is this host itself; its name stays\n",
    )  # fmt: skip
    assert guests.calls == []


# -- sysrq


@pytest.mark.parametrize(("letter", "code"), [("h", 35), ("s", 31), ("b", 48), ("0", 11), ("9", 10), ("m", 50)])
def test_alt_sysrq_and_the_letter_are_pressed(xm: Xm, guests: FakeHypervisor, letter: str, code: int) -> None:
    assert xm("sysrq", "web", letter) == (0, "", "")
    assert guests.keys == [(ALT, SYSRQ, code)]


@pytest.mark.parametrize(
    ("letter", "line"),
    [
        ("sync", "sync is not convertible to a character"),
        ("", " is not convertible to a character"),
        ("B", "SysRq has no key 'B'; send a small letter or a digit"),
        ("ä", "SysRq has no key 'ä'; send a small letter or a digit"),
    ],
)
def test_what_is_no_key(xm: Xm, guests: FakeHypervisor, letter: str, line: str) -> None:
    assert xm("sysrq", "web", letter) == (1, usage_text("sysrq"), f"Error: {line}\n")
    assert guests.keys == []


def test_the_character_is_looked_at_before_the_domain(xm: Xm) -> None:
    assert xm("sysrq", "nosuch", "xx").err == "Error: xx is not convertible to a character\n"


def test_a_halted_domain_is_named_by_its_name(xm: Xm, guests: FakeHypervisor) -> None:
    uuid = next(info.uuid for info in guests.known.values() if info.name == "off")
    assert xm("sysrq", uuid, "h").err == "Error: Domain 'off' is not started\n"


# -- trigger


@pytest.mark.parametrize(
    ("event", "call"),
    [("nmi", "inject_nmi"), ("NMI", "inject_nmi"), ("Reset", "reset"), ("s3resume", "wake"), ("power", "shutdown")],
)
@pytest.mark.parametrize("vcpu", [[], ["0"], ["1"], ["01"]])
def test_each_trigger(xm: Xm, guests: FakeHypervisor, event: str, call: str, vcpu: list[str]) -> None:
    assert xm("trigger", "web", event, *vcpu) == (0, "", "")
    assert guests.calls == [(call, "web")]


@pytest.mark.parametrize(
    ("words", "err"),
    [
        (["sci"], "Error: Invalid trigger: sci\n"),
        (["SCI"], "Error: Invalid trigger: SCI\n"),
        (["nmi", "x"], "Error: Invalid argument.\n"),
        (["nmi", "2"], "Error: (3, 'No such process')\n"),
        (["nmi", "-1"], "Error: (22, 'Invalid argument')\n"),
        (["init"], "Error: (38, 'Function not implemented')\nHint: QEMU has no INIT to send; use nmi or reset\n"),
    ],
)
def test_triggers_that_are_refused(xm: Xm, guests: FakeHypervisor, words: list[str], err: str) -> None:
    assert xm("trigger", "web", *words) == (1, usage_text("trigger"), err)
    assert guests.calls == []


# -- dump-core


@pytest.mark.parametrize(
    ("options", "live", "calls"),
    [
        ([], False, []),
        (["-L"], True, []),
        (["--live"], True, []),
        (["-C"], False, [("destroy", "web")]),
        (["--crash"], False, [("destroy", "web")]),
        (["-R"], False, [("reset", "web"), ("unpause", "web")]),
        (["--reset"], False, [("reset", "web"), ("unpause", "web")]),
        (["-LC"], True, [("destroy", "web")]),
    ],
)
def test_a_dump_and_what_follows_it(
    xm: Xm, guests: FakeHypervisor, tmp_path: Path, options: list[str], live: bool, calls: list[tuple[str, str]]
) -> None:
    path = str(tmp_path / "web.core")
    assert xm("dump-core", *options, "5", path) == (0, "Dumping core of domain: 5 ...\n", "")
    assert guests.dumps == [(path, live)]
    assert guests.calls == [("dump_core", "web"), *calls]


def test_a_relative_path_is_that_of_the_working_directory(
    xm: Xm, guests: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert xm("dump-core", "web", "web.core").status == 0
    assert guests.dumps == [(str(tmp_path / "web.core"), False)]


def test_without_a_path_it_is_named_for_domain_and_time(
    xm: Xm, guests: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "DUMP_DIRECTORY", str(tmp_path / "dump"))
    assert xm("dump-core", "web") == (0, "Dumping core of domain: web ...\n", "")
    ((path, _),) = guests.dumps
    name = re.escape(str(tmp_path / "dump" / "web")) + r"/\d{4}-\d{4}-\d{4}\.\d\d-web\.5\.core"
    assert re.fullmatch(name, path)
    assert (tmp_path / "dump/web").is_dir()


def test_where_its_folder_cannot_be_made_it_is_the_one_above(
    xm: Xm, guests: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "web").write_text("a file")
    monkeypatch.setattr(events, "DUMP_DIRECTORY", str(tmp_path))
    assert xm("dump-core", "web").status == 0
    assert Path(guests.dumps[0][0]).parent == tmp_path


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["-CR", "web"], "You may not specify more than one '-CR' option"),
        (["--crash", "--reset", "web"], "You may not specify more than one '-CR' option"),
        ([], "Expects 1 or 2 argument(s)"),
        (["web", "a", "b"], "Expects 1 or 2 argument(s)"),
    ],
)
def test_words_that_dump_core_does_not_take(xm: Xm, guests: FakeHypervisor, words: list[str], line: str) -> None:
    assert xm("dump-core", *words) == (1, usage_text("dump-core") + "\n", f"Error: {line}\n")
    assert guests.calls == []


def test_a_core_is_no_directory(xm: Xm, guests: FakeHypervisor, tmp_path: Path) -> None:
    out = "Dumping core of domain: web ...\n" + usage_text("dump-core")
    line = f"Error: Cannot dump core in a directory: {tmp_path}\n"
    assert xm("dump-core", "web", str(tmp_path)) == (1, out, line)
    assert guests.calls == []


def test_a_dump_that_fails_leaves_the_domain_alone_and_its_file_incomplete(
    xm: Xm, guests: FakeHypervisor, tmp_path: Path
) -> None:
    path = tmp_path / "web.core"

    def fail(target: str) -> None:
        Path(target).write_text("half")
        raise HypervisorError("No space left on device")

    guests.on_dump = fail
    out = "Dumping core of domain: web ...\n" + usage_text("dump-core")
    assert xm("dump-core", "-C", "web", str(path)) == (1, out, "Error: Failed to dump core: No space left on device\n")
    assert not path.exists()
    assert (tmp_path / "web.core-incomplete").read_text() == "half"
    assert guests.calls == [("dump_core", "web")]
