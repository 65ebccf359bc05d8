"""KVM or TCG: who decides, what is remembered, and what the operator is told."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xmcompat.backends import accelerator, kvm_probe
from xmcompat.backends.accelerator import Boot, Verdict, decide, judge, read_word, recall, remember, this_boot
from xmcompat.backends.kvm_probe import BROKEN, COMPLETE, FAILED, HALTED, HUNG, REFUSED, SLOW, Outcome, probe
from xmcompat.backends.machine import Accelerator
from xmcompat.errors import ConfigError

GOOD = Outcome(COMPLETE, HALTED, "", 0.01)
BAD = Outcome("RPL", FAILED, "KVM internal error 1", 0.01)
INSTEAD = "; XMCOMPAT_ACCELERATOR=kvm uses it all the same"
#: A character device that is there on every host: stands for /dev/kvm.
DEVICE = "/dev/null"


class Settings(NamedTuple):
    accelerator: str = ""


class Host:
    """One host's answers, and how often each was asked for."""

    def __init__(self, directory: Path, outcome: Outcome = GOOD, *, offers_kvm: bool = True) -> None:
        self.directories = [str(directory)]
        self.outcome = outcome
        self.offers_kvm = offers_kvm
        self.first: list[Outcome] = []  # of the tries before those that end with OUTCOME
        self.probes: list[str] = []
        self.deadlines: list[float] = []
        self.questions = 0

    def probe(self, device: str, deadline: float) -> Outcome:
        self.probes.append(device)
        self.deadlines.append(deadline)
        return self.first.pop(0) if self.first else self.outcome

    def supports_kvm(self) -> bool:
        self.questions += 1
        return self.offers_kvm

    def decide(
        self, *, local: bool = True, chosen: str = "", setting: str = "", device: str = DEVICE, again: bool = False
    ) -> Verdict:
        return decide(
            local=local, supports_kvm=self.supports_kvm, settings=Settings(setting), device=device, again=again,
            environ={"XMCOMPAT_ACCELERATOR": chosen} if chosen else {}, directories=self.directories,
            run_probe=self.probe,
        )


# -- on this very host


def test_auto_on_this_host_is_what_the_probe_proves(tmp_path: Path) -> None:
    outcome = probe()
    verdict = decide(
        local=True, supports_kvm=lambda: True, environ={}, settings=Settings("auto"), directories=[str(tmp_path)]
    )
    assert verdict.accelerator is (Accelerator.KVM if outcome.works else Accelerator.TCG)
    assert verdict.reason
    assert not verdict.chosen


@pytest.mark.parametrize("step", ["CREATE_VM", "RUN"])
def test_a_kvm_that_sleeps_on_a_host_with_time_is_not_used(tmp_path: Path, step: str) -> None:
    path = tmp_path / "asleep.py"
    source = Path(kvm_probe.__file__).read_text()
    asleep = (
        f"        __import__('time').sleep(60 if name == {step!r} else 0)\n"
        "        return {'GET_API_VERSION': 12}.get(name, 4096)\n"
    )
    path.write_text(source.replace("        import fcntl\n\n", asleep).replace("mmap.mmap(self._vcpu,", "mmap.mmap(-1,"))
    for number in range(5):  # until the host has time, so that nothing else holds it up
        host = Host(tmp_path / str(number))
        verdict = decide(
            local=True, supports_kvm=lambda: True, environ={}, settings=Settings(), device=DEVICE,
            directories=host.directories, run_probe=lambda device, deadline: probe(device, deadline, program=str(path)),
        )
        if verdict.accelerator is Accelerator.TCG:
            break
    assert (verdict.accelerator, verdict.untried, verdict.remembered) == (Accelerator.TCG, False, "")
    assert verdict.reason.startswith(f"{DEVICE} opens but runs no kernel: a test guest did not run its first instruction and")


# -- who decides


@pytest.mark.parametrize(
    ("chosen", "setting", "expected"),
    [
        ("tcg", "", Verdict(Accelerator.TCG, "chosen by XMCOMPAT_ACCELERATOR", chosen=True)),
        ("kvm", "tcg", Verdict(Accelerator.KVM, "chosen by XMCOMPAT_ACCELERATOR", chosen=True)),
        ("", "kvm", Verdict(Accelerator.KVM, "chosen by the setting accelerator", chosen=True)),
        ("", "tcg", Verdict(Accelerator.TCG, "chosen by the setting accelerator", chosen=True)),
        (" KVM ", "auto", Verdict(Accelerator.KVM, "chosen by XMCOMPAT_ACCELERATOR", chosen=True)),
    ],
)
def test_the_users_choice_is_taken_untried(tmp_path: Path, chosen: str, setting: str, expected: Verdict) -> None:
    host = Host(tmp_path, BAD, offers_kvm=False)
    assert host.decide(chosen=chosen, setting=setting) == expected
    assert (host.probes, host.questions) == ([], 0)


def test_auto_in_the_environment_overrides_a_setting(tmp_path: Path) -> None:
    verdict = Host(tmp_path, BAD).decide(chosen="auto", setting="kvm")
    assert (verdict.accelerator, verdict.chosen) == (Accelerator.TCG, False)


@given(st.text())
def test_any_word_is_an_accelerator_or_refused_by_name(word: str) -> None:
    if word.strip().lower() in ("auto", "kvm", "tcg"):
        read_word(word, "HERE")
        return
    with pytest.raises(ConfigError) as error:
        read_word(word, "HERE")
    shown = word.replace("\n", "\\n").replace("\r", "\\r")
    assert error.value.line() == f"HERE: '{shown}' is not an accelerator; write auto, kvm or tcg"


def test_a_remote_hypervisor_is_believed(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert host.decide(local=False) == Verdict(Accelerator.KVM, "the hypervisor's host offers KVM")
    host.offers_kvm = False
    assert host.decide(local=False) == Verdict(Accelerator.TCG, "the hypervisor's host offers no KVM")
    assert host.probes == []


def test_kvm_that_libvirt_does_not_offer_is_not_used(tmp_path: Path) -> None:
    verdict = Host(tmp_path, GOOD, offers_kvm=False).decide()
    assert verdict.accelerator is Accelerator.TCG
    assert verdict.reason.startswith("KVM works, but libvirt offers none; ")


def test_libvirt_is_not_asked_where_kvm_does_not_work(tmp_path: Path) -> None:
    host = Host(tmp_path, BAD)
    assert host.decide().accelerator is Accelerator.TCG
    assert host.questions == 0


# -- what stands in the way


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu vmx", "DEVICE does not exist; load the module: modprobe kvm_intel or modprobe kvm_amd"),
        ("fpu svm", "DEVICE does not exist; load the module: modprobe kvm_intel or modprobe kvm_amd"),
        ("fpu", "this host's CPU offers no virtualization; switch it on in the firmware, or, in a virtual machine, "
                "let the outer host pass it on"),
    ],
)
def test_a_missing_device_is_blamed_on_module_or_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, expected: str
) -> None:
    device = str(tmp_path / "kvm")
    monkeypatch.setattr(accelerator, "_cpu_virtualizes", lambda: bool({"vmx", "svm"} & set(flags.split())))
    host = Host(tmp_path)
    assert host.decide(device=device) == Verdict(Accelerator.TCG, expected.replace("DEVICE", device))
    assert host.probes == []
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_may_not_be_opened_says_who_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    host = Host(tmp_path)
    expected = f"you may not open {DEVICE}; join the group kvm or work as root"
    assert host.decide() == Verdict(Accelerator.TCG, expected)
    assert (host.probes, list(tmp_path.iterdir())) == ([], [])


def test_roots_proof_serves_a_user_who_may_not_open_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Host(tmp_path, GOOD).decide()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert Host(tmp_path, GOOD).decide().accelerator is Accelerator.KVM


def test_a_file_in_the_devices_place_is_no_device(tmp_path: Path) -> None:
    (tmp_path / "kvm").touch()
    verdict = Host(tmp_path).decide(device=str(tmp_path / "kvm"))
    assert verdict == Verdict(Accelerator.TCG, f"{tmp_path}/kvm is not a device")


def test_another_architecture_emulates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "h", "6", "1", "aarch64")))
    verdict = Host(tmp_path).decide()
    assert verdict == Verdict(Accelerator.TCG, "this host is aarch64; guests for x86 are emulated on it")


# -- what a try says


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (BAD, "/dev/kvm opens but runs no kernel: a test guest stopped in 64-bit mode at its first breakpoint trap "
              "(KVM internal error 1)"),
        (Outcome("R", HUNG, "", 2.9),
         "/dev/kvm opens but runs no kernel: a test guest stopped between real and protected mode and hung"),
        (Outcome("RPLTIM", SLOW, "345 ns an instruction"),
         "/dev/kvm runs guests far slower than QEMU's own emulation: 345 ns an instruction"),
        (Outcome("", REFUSED, "KVM_CREATE_VM: Device or resource busy"),
         "/dev/kvm runs no guest: KVM_CREATE_VM: Device or resource busy"),
        (Outcome("", BROKEN, "the test ended without a result"),
         "KVM could not be tried: the test ended without a result"),
        (Outcome("RP", HALTED), "KVM could not be tried: stopped between protected and 64-bit mode"),
    ],
)
def test_each_end_has_a_reason_of_its_own(outcome: Outcome, expected: str) -> None:
    assert judge(outcome) == (Accelerator.TCG, expected + INSTEAD)


def test_only_the_whole_way_is_kvm() -> None:
    assert judge(GOOD) == (Accelerator.KVM, "a test guest ran")
    for length in range(len(COMPLETE)):
        assert judge(Outcome(COMPLETE[:length], HALTED))[0] is Accelerator.TCG
    for end in (SLOW, REFUSED, FAILED, HUNG, BROKEN):
        assert judge(Outcome(COMPLETE, end))[0] is Accelerator.TCG


# -- a host that is too busy

BUSY = Outcome("", HUNG, "", 0.02, 0.9)


def test_a_host_that_is_busy_for_a_while_is_asked_with_more_time_and_uses_kvm(tmp_path: Path) -> None:
    host = Host(tmp_path / "run", GOOD)
    host.first = [BUSY]
    verdict = host.decide()
    assert (verdict.accelerator, verdict.reason, verdict.untried) == (Accelerator.KVM, "a test guest ran", False)
    assert verdict.remembered
    assert host.deadlines == [3.0, 30.0]


def test_a_busy_host_whose_kvm_hangs_all_the_same_emulates(tmp_path: Path) -> None:
    host = Host(tmp_path / "run", Outcome("R", HUNG, "", 2.0))
    host.first = [BUSY]
    verdict = host.decide()
    assert (verdict.accelerator, bool(verdict.remembered)) == (Accelerator.TCG, True)


def test_what_another_has_found_out_meanwhile_is_not_tried_again(tmp_path: Path) -> None:
    host = Host(tmp_path / "run", BUSY)

    def probe_beside_another(device: str, deadline: float) -> Outcome:
        Host(tmp_path / "run", GOOD).decide()
        return host.probe(device, deadline)

    verdict = decide(
        local=True, supports_kvm=lambda: True, environ={}, settings=Settings(), device=DEVICE, directories=host.directories,
        run_probe=probe_beside_another,
    )
    assert (verdict.accelerator, verdict.untried, host.deadlines) == (Accelerator.KVM, False, [3.0])


def test_a_host_that_is_too_busy_to_tell_uses_kvm_and_says_so_and_remembers_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path / "run", BUSY)
    assert host.decide() == Verdict(
        Accelerator.KVM,
        "it was given no time to answer within 30 s; this host is busy; XMCOMPAT_ACCELERATOR=tcg emulates",
        untried=True,
    )
    assert host.deadlines == [3.0, 30.0]
    host.offers_kvm = False
    verdict = host.decide()
    assert (verdict.accelerator, verdict.untried) == (Accelerator.TCG, False)
    assert verdict.reason.startswith("libvirt offers no KVM; ")


@pytest.mark.parametrize(
    "outcome", [Outcome("", HUNG, "", 0.02, 0.05), Outcome("RPL", HUNG, "", 0.0), Outcome("R", HUNG, "", None, 1.0)]
)
def test_a_kvm_that_sleeps_where_nothing_holds_it_up_is_none_and_no_more_time_is_given(
    tmp_path: Path, outcome: Outcome
) -> None:
    host = Host(tmp_path / "run", outcome)
    verdict = host.decide()
    assert (verdict.accelerator, verdict.untried, host.deadlines) == (Accelerator.TCG, False, [3.0])
    assert verdict.reason.endswith(f" and hung{INSTEAD}")


# -- once per boot


@pytest.mark.parametrize("outcome", [GOOD, BAD, Outcome("RPLTIM", SLOW, "350 ns"), Outcome("R", HUNG, "", 2.8)])
def test_a_verdict_is_tried_once_and_remembered(tmp_path: Path, outcome: Outcome) -> None:
    host = Host(tmp_path / "run", outcome)
    first, second = host.decide(), host.decide()
    assert host.probes == [DEVICE]
    assert first == second
    assert first.remembered == str(tmp_path / "run" / os.path.basename(first.remembered))
    assert stat.S_IMODE(os.stat(first.remembered).st_mode) == 0o644
    assert stat.S_IMODE(os.stat(tmp_path / "run").st_mode) == 0o755
    assert os.listdir(tmp_path / "run") == [os.path.basename(first.remembered)]


@pytest.mark.parametrize(
    "outcome", [Outcome("", HUNG, "", 0.0), Outcome("", REFUSED, "busy"), Outcome("", BROKEN, "no python")]
)
def test_what_may_pass_is_not_remembered(tmp_path: Path, outcome: Outcome) -> None:
    host = Host(tmp_path, outcome)
    assert host.decide().remembered == ""
    host.outcome = GOOD
    assert host.decide().accelerator is Accelerator.KVM


def test_again_tries_anew_and_remembers_that(tmp_path: Path) -> None:
    Host(tmp_path, BAD).decide()
    assert Host(tmp_path, GOOD).decide(again=True).accelerator is Accelerator.KVM
    assert Host(tmp_path, BAD).decide().accelerator is Accelerator.KVM


BOOT = Boot("11111111-2222-3333-4444-555555555555", 10, 20)
KVM_WORKS = Verdict(Accelerator.KVM, "a test guest ran")


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """A file that remembers KVM_WORKS for BOOT."""
    return Path(remember(KVM_WORKS, BOOT, [str(tmp_path)]).remembered)


def test_the_memory_is_named_for_the_boot(memory: Path) -> None:
    assert memory.name == "accelerator-11111111"
    assert recall(BOOT, [str(memory.parent)]) == KVM_WORKS._replace(remembered=str(memory))


@pytest.mark.parametrize(
    "other",
    [
        BOOT._replace(boot_id="11111111-0000-0000-0000-000000000000"),
        BOOT._replace(device=11),
        BOOT._replace(inode=21),
    ],
)
def test_another_boot_or_device_is_not_remembered(memory: Path, other: Boot) -> None:
    assert recall(other, [str(memory.parent)]) is None


def test_an_older_probes_verdict_does_not_count(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "PROBE_VERSION", accelerator.PROBE_VERSION + 1)
    assert recall(BOOT, [str(memory.parent)]) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_garbage_is_no_memory(memory: Path, content: bytes) -> None:
    memory.write_bytes(content)
    assert recall(BOOT, [str(memory.parent)]) is None


@pytest.mark.parametrize(
    "change", [{"accelerator": "xen"}, {"accelerator": None}, {"accelerator": []}, {"reason": 1}, {"boot_id": []}]
)
def test_a_file_with_one_wrong_value_is_no_memory(memory: Path, change: dict[str, object]) -> None:
    memory.write_text(json.dumps({**json.loads(memory.read_text()), **change}))
    assert recall(BOOT, [str(memory.parent)]) is None


def test_nested_lists_without_end_are_no_memory(memory: Path) -> None:
    memory.write_text("[" * 4000)
    assert recall(BOOT, [str(memory.parent)]) is None


def _group_may_write(path: Path) -> None:
    path.chmod(0o664)


def _anyone_may_replace(path: Path) -> None:
    path.parent.chmod(0o777)


def _link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o644)


def _unreadable(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [_group_may_write, _anyone_may_replace, _link, _pipe, _unreadable])
def test_a_file_that_others_could_have_made_is_not_believed(memory: Path, spoil: Callable[[Path], None]) -> None:
    spoil(memory)
    assert recall(BOOT, [str(memory.parent)]) is None


def test_a_file_or_directory_of_another_user_is_not_believed(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    trusted = os.stat(memory).st_uid == 0  # root's is believed by everybody
    assert (recall(BOOT, [str(memory.parent)]) is not None) == trusted
    if trusted:
        os.chown(memory, 4712, 4712)
        assert recall(BOOT, [str(memory.parent)]) is None


def test_nothing_is_written_where_others_may_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert remember(KVM_WORKS, BOOT, [str(tmp_path)]) == KVM_WORKS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("directory", ["/dev/null/xmcompat", "/proc/xmcompat", "/dev/null"])
def test_a_verdict_that_cannot_be_written_holds_all_the_same(directory: str) -> None:
    assert remember(KVM_WORKS, BOOT, [directory]) == KVM_WORKS


def test_a_user_reads_roots_memory_and_writes_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    directories = accelerator.default_directories
    assert directories({"XDG_RUNTIME_DIR": "/run/user/1000"}) == ["/run/xmcompat", "/run/user/1000/xmcompat"]
    assert directories({"XDG_RUNTIME_DIR": "here"}) == ["/run/xmcompat"]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert directories({"XDG_RUNTIME_DIR": "/run/user/0"}) == ["/run/xmcompat"]


def test_a_boot_is_told_from_the_next_and_a_device_from_another() -> None:
    first, other = this_boot("/dev/null"), this_boot("/dev/zero")
    assert first is not None
    assert other is not None
    assert first.boot_id == other.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert (first.device, first.inode) != (other.device, other.inode)
    assert this_boot("/dev/no-such") is None
