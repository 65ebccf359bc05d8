"""From words to a verb: order of the rules, aliases, prefixes, counts, getopt; what goes to which stream."""

from __future__ import annotations

from importlib import import_module

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat.errors import DomainNotFound, HypervisorUnreachable, OperationError, XmError
from xmcompat.xm import dispatch
from xmcompat.xm.help import short_help_text, usage_text
from xmcompat.xm.verbs import ALIASES, GROUPS, HIDDEN, VERBS, Verb

IMPLEMENTED = {
    "create", "list", "console", "pause", "unpause", "shutdown", "reboot", "destroy", "domid", "domname", "uptime",
    "info", "domstate", "dmesg", "log", "reset", "rename", "sysrq", "trigger", "debug-keys", "dump-core", "vncviewer",
    "block-list", "network-list", "vtpm-list",
    "mem-max", "mem-set", "sched-credit", "sched-credit2", "sched-sedf", "vcpu-list", "vcpu-pin", "vcpu-set",
    "setpolicy", "labels", "addlabel", "rmlabel", "getlabel", "dry-run", "resources", "dumppolicy", "resetpolicy",
    "getpolicy", "getenforce", "setenforce", "vnet-list", "vnet-create", "vnet-delete", "serve", "shell", "event-monitor",
    "tmem-list", "tmem-thaw", "tmem-freeze", "tmem-destroy", "tmem-set", "tmem-shared-auth", "tmem-flush", "tmem-freeable",
    "network2-attach", "network2-detach", "network2-list", "network-new", "network-del", "network-show",
    "block-attach", "block-detach", "block-configure", "network-attach", "network-detach",
    "top", "cpupool-create", "cpupool-new", "cpupool-start", "cpupool-list", "cpupool-destroy", "cpupool-delete",
    "cpupool-cpu-add", "cpupool-cpu-remove", "cpupool-migrate",
    "pci-attach", "pci-detach", "pci-list", "pci-list-assignable-devices", "scsi-attach", "scsi-detach", "scsi-list",
    "usb-add", "usb-del", "usb-attach", "usb-detach", "usb-list", "usb-list-assignable-devices", "usb-hc-create",
    "usb-hc-destroy", "new", "start", "delete", "suspend", "resume", "save", "restore", "migrate",
}  # fmt: skip

ORDER = {
    "domain": "console vncviewer create new delete destroy domid domname dump-core list mem-max mem-set migrate "
    "pause reboot rename reset restore resume save shutdown start suspend sysrq trigger top unpause uptime usb-add "
    "usb-del domstate vcpu-list vcpu-pin vcpu-set",
    "host": "debug-keys dmesg info log serve",
    "scheduler": "sched-credit2 sched-credit sched-sedf",
    "device": "block-attach block-detach block-list block-configure network-attach network-detach network-list "
    "network2-attach network2-detach network2-list vtpm-list pci-attach pci-detach pci-list "
    "pci-list-assignable-devices scsi-attach scsi-detach scsi-list usb-attach usb-detach usb-list "
    "usb-list-assignable-devices usb-hc-create usb-hc-destroy",
    "vnet": "vnet-list vnet-create vnet-delete",
    "security": "setpolicy labels addlabel rmlabel getlabel dry-run resources dumppolicy resetpolicy getpolicy "
    "getenforce setenforce",
    "tmem": "tmem-list tmem-thaw tmem-freeze tmem-destroy tmem-set tmem-shared-auth",
    "cpupool": "cpupool-create cpupool-new cpupool-start cpupool-list cpupool-destroy cpupool-delete cpupool-cpu-add "
    "cpupool-cpu-remove cpupool-migrate",
    "last": "shell",
}


def test_the_table_has_the_103_verbs_of_xm_in_its_order() -> None:
    assert {group: " ".join(verb.name for verb in verbs) for group, verbs in GROUPS.items()} == ORDER
    assert {verb.name for verb in HIDDEN} == {
        "event-monitor", "network-new", "network-del", "network-show", "tmem-flush", "tmem-freeable",
    }  # fmt: skip
    assert len(VERBS) == 103


def test_each_verb_runs() -> None:
    assert {name for name, verb in VERBS.items() if verb.run} == IMPLEMENTED == set(VERBS)
    for verb in VERBS.values():
        module, _, function = verb.run.partition(":")
        assert callable(getattr(import_module(f"xmcompat.xm.{module}"), function))


# -- sections 1.1 and 2.5


def test_no_word_at_all_prints_the_short_help_and_ends_in_1(xm: Xm) -> None:
    assert xm() == (1, short_help_text(), "")


@pytest.mark.parametrize(
    "word", ["bogus", "--version", "-V", "", "x", "maxmem", "cpus-list", "cpus-set", "domains", "vbd-refresh"]
)
def test_a_word_that_is_no_verb(xm: Xm, word: str) -> None:
    assert xm(word, "operand") == (1, short_help_text(), f"Error: Subcommand {word} not found!\n")


@pytest.mark.parametrize("words", [["help"], ["--help"], ["-h"], ["help", "list"], ["help", "--long"], ["-h", "list"],
                                   ["help", "nosuch"]])  # fmt: skip
def test_help_lists_everything_and_ends_in_0(xm: Xm, words: list[str]) -> None:
    status, out, err = xm(*words)
    assert (status, err) == (0, "")
    assert "\n\nxm full list of subcommands:\n\n" in out


@pytest.mark.parametrize("words", [["list", "-h"], ["list", "--help"], ["li", "a", "-h"], ["list", "-h", "--help"]])
def test_help_after_a_verb_is_its_usage_and_ends_in_1(xm: Xm, words: list[str]) -> None:
    assert xm(*words) == (1, usage_text("list"), "")


def test_help_of_help_ends_in_1(xm: Xm) -> None:
    assert xm("help", "-h") == (1, usage_text("help"), "")


def test_the_long_help_flag_is_looked_for_first(xm: Xm) -> None:
    assert xm("-h", "--help") == (1, short_help_text(), "")


@pytest.mark.parametrize("word", ["bogus", "balloon"])
def test_help_after_a_word_that_begins_no_verb_is_the_short_help(xm: Xm, word: str) -> None:
    assert xm(word, "-h") == (1, short_help_text(), "")


@pytest.mark.parametrize(("flag", "cluster"), [("-h", "-wh"), ("--help", "--hel")])
def test_help_in_a_cluster_or_shortened_is_the_usage_too(xm: Xm, flag: str, cluster: str) -> None:
    assert xm("shutdown", cluster, "web") == xm("shutdown", flag)


# -- 1.2 aliases


@pytest.mark.parametrize(("alias", "target"), sorted(ALIASES.items()))
def test_an_alias_says_so_and_becomes_its_target(alias: str, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch.find(alias) is VERBS[target]
    assert capsys.readouterr().err == f"Command {alias} is deprecated.  Please use xm {target} instead.\n"


def test_an_alias_fails_as_its_target_under_the_targets_name(xm: Xm) -> None:
    err = (
        "Command balloon is deprecated.  Please use xm mem-set instead.\n"
        "Error: 'xm mem-set' requires 2 arguments.\n\n"
    )
    assert xm("balloon", "web1") == (1, usage_text("mem-set"), err)


# -- 1.3 prefixes

SHORTEST = {
    "ad": "addlabel", "co": "console", "cr": "create", "del": "delete", "des": "destroy", "dm": "dmesg",
    "domi": "domid", "domn": "domname", "doms": "domstate", "dump-": "dump-core", "in": "info", "li": "list",
    "lo": "log", "mem-m": "mem-max", "mem-s": "mem-set", "mi": "migrate", "pa": "pause", "reb": "reboot",
    "ren": "rename", "rest": "restore", "resu": "resume", "sa": "save", "shu": "shutdown", "st": "start",
    "su": "suspend", "sy": "sysrq", "to": "top", "tr": "trigger", "un": "unpause", "up": "uptime",
    "vcpu-l": "vcpu-list", "vcpu-p": "vcpu-pin", "vcpu-s": "vcpu-set", "vnc": "vncviewer",
    "block-a": "block-attach", "block-c": "block-configure", "block-d": "block-detach", "block-l": "block-list",
    "network-a": "network-attach", "network-det": "network-detach", "network-l": "network-list",
}  # fmt: skip


@pytest.mark.parametrize(("prefix", "name"), sorted(SHORTEST.items()))
def test_the_shortest_prefix_works_in_silence(prefix: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch.find(prefix) is VERBS[name]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("prefix", sorted(SHORTEST))
def test_one_letter_less_is_ambiguous_or_too_short(prefix: str) -> None:
    with pytest.raises(dispatch.UnknownVerb):
        dispatch.find(prefix[:-1])


@pytest.mark.parametrize(
    "word", ["ne", "re", "sh", "do", "de", "he", "hel", "ballo", "set-v", "pool-l", "network-de"]
)
def test_ambiguous_beginnings_and_those_of_aliases_and_help_are_unknown(word: str) -> None:
    with pytest.raises(dispatch.UnknownVerb, match=f"^Subcommand {word} not found!$"):
        dispatch.find(word)


@pytest.mark.parametrize("name", ["pci-list", "usb-list", "sched-credit", "new", "reset"])
def test_an_exact_name_is_never_ambiguous(name: str) -> None:
    assert dispatch.find(name) is VERBS[name]


@given(st.text(min_size=2))
def test_a_word_means_the_only_verb_that_begins_so(word: str) -> None:
    meant = [name for name in VERBS if name.startswith(word)]
    if word in VERBS or word in ALIASES or word == "help":
        return
    if len(meant) == 1:
        assert dispatch.find(word).name == meant[0]
    else:
        with pytest.raises(dispatch.UnknownVerb):
            dispatch.find(word)


# -- 1.6 counts

COUNTS = {
    (0, 0): "top log serve pci-list-assignable-devices usb-list-assignable-devices network-show",
    (1, 1): "delete suspend reset pause unpause domstate destroy domid domname debug-keys usb-list vnet-create "
    "vnet-delete network-new network-del cpupool-start cpupool-destroy cpupool-delete",
    (2, 2): "rename mem-max mem-set usb-add usb-del vcpu-set sysrq pci-detach scsi-detach usb-hc-destroy "
    "cpupool-cpu-add cpupool-cpu-remove cpupool-migrate",
    (3, 3): "vcpu-pin usb-detach usb-hc-create",
    (4, 4): "usb-attach",
    (0, 1): "info dmesg",
    (0, 2): "cpupool-list",
    (1, 2): "restore resume",
    (1, 3): "reboot console",
    (1, 4): "shutdown",
    (1, 11): "network-attach network2-attach",
    (2, 3): "save trigger block-detach network-detach network2-detach",
    (3, 4): "scsi-attach",
    (4, 5): "block-attach block-configure",
}


def test_the_counts_are_those_of_xm() -> None:
    assert {name: verb.counts for name, verb in VERBS.items() if verb.counts} == {
        name: counts for counts, names in COUNTS.items() for name in names.split()
    }


@pytest.mark.parametrize("verb", [verb for verb in VERBS.values() if verb.counts], ids=lambda verb: verb.name)
def test_a_wrong_count_is_an_error_with_an_empty_line_and_the_usage(xm: Xm, verb: Verb) -> None:
    assert verb.counts
    least, most = verb.counts
    wanted = f"{least} arguments" if least == most else f"between {least} and {most} arguments"
    expected = (1, usage_text(verb.name), f"Error: 'xm {verb.name}' requires {wanted}.\n\n")
    assert xm(verb.name, *["word"] * (most + 1)) == expected
    if least:
        assert xm(verb.name) == expected


def test_a_double_dash_is_not_counted_and_in_style_n_not_removed(xm: Xm) -> None:
    assert xm("pause", "--") == (1, usage_text("pause"), "Error: 'xm pause' requires 1 arguments.\n\n")
    assert xm("pause", "--", "5") == (3, "", "Error: Domain '--' does not exist.\n")


def test_options_are_counted(xm: Xm) -> None:
    assert xm("shutdown", "-w", "-w", "-w", "-w", "web").err == (
        "Error: 'xm shutdown' requires between 1 and 4 arguments.\n\n"
    )


def test_sched_sedf_may_be_given_no_word(xm: Xm) -> None:
    assert "requires" not in xm("sched-sedf").err


# -- every row answers


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_verb_has_a_usage(xm: Xm, name: str) -> None:
    status, out, err = xm(name, "--help")
    assert (status, err) == (1, "")
    assert out.startswith(f"Usage: xm {name} {VERBS[name].synopsis}\n\n")


# -- getopt


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["list", "-x"], "option -x not recognized"),
        (["list", "--zap"], "option --zap not recognized"),
        (["list", "--state"], "option --state requires argument"),
        (["list", "--long=yes"], "option --long must not have an argument"),
        (["list", "--l"], "option --l not a unique prefix"),
        (["console", "-n"], "option -n requires argument"),
    ],
)
def test_a_bad_option_is_getopts_line_and_the_usage(xm: Xm, words: list[str], line: str) -> None:
    assert xm(*words) == (1, usage_text(words[0]), f"Error: {line}\n")


@pytest.mark.parametrize("verb", ["shutdown", "reboot"])
def test_a_bad_option_of_a_mixed_verb_adds_the_text_about_its_use(xm: Xm, verb: str) -> None:
    status, out, err = xm(verb, "-z", "web")
    assert (status, err) == (1, "Error: option -z not recognized\n")
    assert out.startswith(usage_text(verb) + "[options] [DOM]\n\n")


@pytest.mark.parametrize(
    "words", [["-l", "web"], ["web", "-l"], ["--lo", "web"], ["-l", "--", "web"], ["web", "-l", "--"]]
)
def test_options_and_operands_come_in_any_order(words: list[str]) -> None:
    parsed = dispatch.options.read(VERBS["list"], words)
    assert (parsed.has("long"), parsed.operands) == (True, ["web"])


def test_words_after_a_double_dash_are_operands() -> None:
    parsed = dispatch.options.read(VERBS["list"], ["--", "-l"])
    assert (parsed.has("long"), parsed.operands) == (False, ["-l"])


def test_posixly_correct_ends_the_options_at_the_first_operand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSIXLY_CORRECT", "1")
    assert dispatch.options.read(VERBS["list"], ["web", "-l"]).operands == ["web", "-l"]
    mixed = dispatch.options.read(VERBS["shutdown"], ["web", "-w"])
    assert (mixed.operands, mixed.has("wait")) == (["web"], True)


@pytest.mark.parametrize(
    "words", [["--state=running"], ["--state", "running"], ["--st=running"], ["--state=x", "--state=running"]]
)
def test_the_last_value_of_an_option_counts(words: list[str]) -> None:
    assert dispatch.options.read(VERBS["list"], words).value("state") == "running"


def test_letters_cluster_and_carry_their_value() -> None:
    parsed = dispatch.options.read(VERBS["console"], ["-qn1", "web"])
    assert (parsed.has("quiet"), parsed.value("n"), parsed.operands) == (True, "1", ["web"])


def test_style_p_ignores_what_follows_the_first_operand() -> None:
    parsed = dispatch.options.read(VERBS["sched-credit"], ["-d", "web", "-w", "5", "stop", "-c", "9"])
    assert [event for event in parsed.events if event[0]] == [("domain", "web"), ("weight", "5")]


def test_the_order_of_options_and_operands_is_kept_in_style_v() -> None:
    parsed = dispatch.options.read(VERBS["create"], ["a", "-f", "b", "-q", "c=d", "--", "-x"])
    assert parsed.events == (("", "a"), ("defconfig", "b"), ("quiet", ""), ("", "c=d"), ("", "-x"))


@given(st.lists(st.text(max_size=6), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_words_parse_or_are_a_bad_option(words: list[str]) -> None:
    for verb in VERBS.values():
        try:
            parsed = dispatch.options.read(verb, words)
        except dispatch.options.BadOption:
            continue
        assert all(operand in words for operand in parsed.operands)


# -- section 2: errors to streams and statuses


@pytest.mark.parametrize(
    ("error", "status", "shows_usage"),
    [
        (DomainNotFound("x"), 3, False),
        (OperationError("Domain is not running"), 1, True),
        (HypervisorUnreachable("Unable to connect to xend: Connection refused. Is xend running?"), 1, False),
        (XmError("plain", hint="do this"), 1, False),
    ],
)
def test_errors_of_an_operation(
    xm: Xm, host: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, error: XmError, status: int, shows_usage: bool
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(host, "find", fail)
    assert xm("pau", "x") == (status, usage_text("pause") if shows_usage else "", f"Error: {error.line()}\n")


def test_what_to_do_does_not_spoil_a_line_that_scripts_know(
    xm: Xm, host: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise HypervisorUnreachable("Most commands need root access. Please try again as root.", hint="join libvirt")

    monkeypatch.setattr(host, "find", fail)
    assert xm("pause", "x") == (
        1, "", "Error: Most commands need root access. Please try again as root.\nHint: join libvirt\n",
    )  # fmt: skip


def test_an_operand_error_adds_an_empty_line_after_the_usage(xm: Xm) -> None:
    line = "Error: You may specify either a state or a particular VM, but not both\n"
    assert xm("list", "--state=running", "web") == (1, usage_text("list") + "\n", line)


def test_a_fault_of_our_own_is_one_line(xm: Xm, host: FakeHypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "find", lambda name: {}["key"])
    assert xm("pause", "x") == (1, "", "Error: internal error: KeyError: 'key'; please report\n")


def test_the_traceback_is_there_for_those_who_ask(
    xm: Xm, host: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "find", lambda name: {}["key"])
    monkeypatch.setenv("XMCOMPAT_DEBUG", "1")
    err = xm("pause", "x").err
    assert err.startswith("Error: internal error: KeyError: 'key'; please report\nTraceback (most recent call last):")


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
def test_what_ends_the_process_by_a_signal_is_left_to_the_entry_point(
    xm: Xm, host: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def fail(name: str) -> None:
        raise error

    host.known["u"] = domain("web")
    monkeypatch.setattr(host, "find", fail)
    with pytest.raises(error):
        xm("pause", "x")


@pytest.mark.parametrize("verb", sorted(verb.name for verb in VERBS.values() if verb.style == "none" and verb.counts and verb.counts[1]))
def test_a_lone_double_dash_is_a_word_and_never_an_error_of_the_program(verb: str, xm: Xm) -> None:
    most = (VERBS[verb].counts or (0, 0))[1]
    result = xm(verb, "--", *["9"] * most)
    assert "internal error" not in result.err
    assert result.status in (0, 1, 3)


WORDS = ["-l", "--long", "--label", "--state=x", "--state", "--pool", "-v", "--vcpus", "--lo", "--", "-", "-lv", "a", "b"]


@given(words=st.lists(st.sampled_from(WORDS), max_size=5), name=st.sampled_from(["list", "uptime", "console", "info"]))
def test_plain_options_are_read_as_getopt_reads_them(words: list[str], name: str) -> None:
    def outcome(quick: bool) -> object:
        with pytest.MonkeyPatch.context() as patched:
            if not quick:
                patched.setattr(dispatch.options, "_is_plain", lambda *_: False)
            try:
                return dispatch.options.read(VERBS[name], words)
            except dispatch.options.BadOption as error:
                return error.line()

    assert outcome(True) == outcome(False)
