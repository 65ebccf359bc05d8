"""The probe's guest, run for real: under this host's KVM, and the same bytes under QEMU's emulation."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.backends import kvm_probe
from xmcompat.backends.kvm_probe import (
    BROKEN,
    COMPLETE,
    FAILED,
    GUEST_CODE,
    HALTED,
    HUNG,
    REFUSED,
    SLOW,
    Outcome,
    probe,
    read_outcome,
    run_guest,
    times_of,
)

KVM = "/dev/kvm"

#: mark 'R'; halt
REAL_MODE_GUEST = bytes.fromhex("B052E6E9F4")
#: mark 'R'; jump to itself
ENDLESS_GUEST = bytes.fromhex("B052E6E9EBFE")
BREAKPOINT = 0x10AB - kvm_probe.ENTRY


def run_here(code: bytes) -> tuple[str, tuple[str, str]]:
    marks: list[str] = []
    end = run_guest(KVM, code, marks.append)
    return "".join(marks), end


def emulated(code: bytes, directory: Path) -> str:
    """The marks that CODE makes under TCG: a ROM copies it to where the probe puts it, and jumps there."""
    copier = bytes.fromhex(
        "FA31C08EC0"        # cli; xor ax,ax; mov es,ax
        "BE0001BF0010"      # mov si,0x100; mov di,0x1000
        f"B9{len(code).to_bytes(2, 'little').hex()}"  # mov cx,length
        "FCF32EA4"          # cld; rep cs movsb
        "8ED8EA00100000"    # mov ds,ax; jmp 0:0x1000
    )
    rom = bytearray(0x10000)
    rom[: len(copier)] = copier
    rom[0x100 : 0x100 + len(code)] = code
    rom[0xFFF0:0xFFF5] = bytes.fromhex("EA000000F0")  # reset: jmp 0xf000:0
    (directory / "rom").write_bytes(rom)
    marks = directory / "marks"
    qemu = subprocess.Popen(
        ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "pc,accel=tcg", "-m", "16",
         "-bios", str(directory / "rom"), "-debugcon", f"file:{marks}"],
        stdin=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and qemu.poll() is None:
            if marks.exists() and marks.read_text().endswith(COMPLETE[-1]):
                break
            time.sleep(0.02)
        return marks.read_text()
    finally:
        qemu.kill()
        qemu.wait()


def test_the_guest_is_right_it_makes_every_mark_under_emulation(tmp_path: Path) -> None:
    assert emulated(GUEST_CODE, tmp_path) == COMPLETE


def test_the_guests_breakpoint_is_what_makes_mark_t(tmp_path: Path) -> None:
    assert GUEST_CODE[BREAKPOINT] == 0xCC
    without = GUEST_CODE[:BREAKPOINT] + b"\x90" + GUEST_CODE[BREAKPOINT + 1 :]
    assert emulated(without + b"\x00", tmp_path) == COMPLETE.replace("T", "")


def test_this_hosts_kvm_fails_for_what_it_is_and_not_for_a_broken_probe() -> None:
    outcome = probe()
    if not os.access(KVM, os.R_OK | os.W_OK):
        assert (outcome.marks, outcome.end) == ("", REFUSED)
        return
    # the control: real mode runs here, by the same way
    assert run_here(REAL_MODE_GUEST) == ("R", (HALTED, ""))
    assert outcome.marks[:1] == "R"
    assert COMPLETE.startswith(outcome.marks)
    assert outcome.works == ((outcome.marks, outcome.end) == (COMPLETE, HALTED))
    if not outcome.works:
        assert outcome.end in (FAILED, SLOW, HUNG)
        assert outcome.end != FAILED or outcome.detail


def test_a_kvm_that_interprets_fails_in_the_loop_even_where_no_breakpoint_stops_it() -> None:
    if probe().detail != "KVM internal error 1":
        return  # this host's KVM has hardware behind it, or fails otherwise
    without = GUEST_CODE[:BREAKPOINT] + b"\x90" + GUEST_CODE[BREAKPOINT + 1 :]
    marks, (end, detail) = run_here(without)
    assert (marks, end) == ("RPLIM", SLOW)
    assert detail.endswith(" ns an instruction")


def test_a_probe_that_ends_by_itself_takes_no_time() -> None:
    probe()
    took: list[float] = []
    for _ in range(5):  # one of them is not held up by others
        start = time.monotonic()
        outcome = probe()
        took.append(time.monotonic() - start)
        if outcome.end not in (HALTED, FAILED, REFUSED) or took[-1] < 1.0:
            return
    raise AssertionError(took)


def test_two_probes_at_once_agree_with_one_and_leave_nothing_open() -> None:
    alone = probe()
    gc.collect()
    before = os.listdir("/proc/self/fd")
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: probe(), range(2)))
    assert [(one.marks, one.end, one.detail) for one in both] == [(alone.marks, alone.end, alone.detail)] * 2
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A probe that leaves its pid, makes three marks and hangs."""
    path = tmp_path / "hanging.py"
    path.write_text(
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "os.write(1, b'RPL')\n"
        "time.sleep(60)\n"
    )
    return path


def test_a_hanging_guest_is_ended_at_the_deadline_and_its_marks_are_known(program: Path) -> None:
    for deadline in (1.0, 4.0, 16.0):  # until it has come as far within it
        start = time.monotonic()
        outcome = probe(deadline=deadline, program=str(program))
        assert time.monotonic() - start < deadline + 1.0
        if outcome.marks:
            break
    assert (outcome.marks, outcome.end) == ("RPL", HUNG)
    pid = (program.parent / "pid").read_text()
    assert not os.path.exists(f"/proc/{pid}")


def test_a_child_that_sleeps_once_it_is_ready_was_not_held_up_by_its_host(program: Path) -> None:
    for deadline in (1.0, 4.0, 16.0):  # until it has come as far in a part of it
        outcome = probe(deadline=deadline, program=str(program))
        if outcome.held_up < 0.5:
            break
    assert (outcome.marks, outcome.end) == ("RPL", HUNG)
    assert outcome.held_up < 0.5
    assert outcome.cpu is not None


def test_a_child_that_was_not_loaded_by_the_deadline_was_held_up_all_the_time(tmp_path: Path) -> None:
    (tmp_path / "loading.py").write_text("import time; time.sleep(60)")
    outcome = probe(deadline=0.5, program=str(tmp_path / "loading.py"))
    assert (outcome.marks, outcome.end, outcome.held_up) == ("", HUNG, 1.0)


def test_a_child_that_was_loaded_late_was_held_up_until_then(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(
        "import os, time; time.sleep(1.5); os.write(1, b'%.3f ' % time.monotonic() + b'R'); time.sleep(60)"
    )
    outcome = probe(deadline=2.0, program=str(tmp_path / "late.py"))
    assert outcome.end == HUNG
    assert 0.7 < outcome.held_up <= 1.0


def test_a_child_whose_processor_others_have_was_held_up(tmp_path: Path) -> None:
    processor = min(os.sched_getaffinity(0))
    take = f"import os; os.sched_setaffinity(0, [{processor}])"
    (tmp_path / "starved.py").write_text(
        f"{take}; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)); os.write(1, b'R')\nwhile True: pass\n"
    )
    others = [subprocess.Popen([sys.executable, "-c", f"{take}\nwhile True: pass\n"]) for _ in range(2)]
    try:
        for deadline in (2.0, 4.0, 16.0):  # until it has been loaded within it, and they have long been there
            outcome = probe(deadline=deadline, program=str(tmp_path / "starved.py"))
            if outcome.marks and outcome.cpu is not None and outcome.cpu < deadline / 4:
                break
    finally:
        for one in others:
            one.kill()
            one.wait()
    assert (outcome.marks, outcome.end) == ("R", HUNG)
    assert outcome.held_up > 0.5


@pytest.mark.parametrize("tells", [True, False])
def test_a_child_that_cannot_be_collected_has_had_what_the_kernel_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tells: bool
) -> None:
    """It is not among those whose time is summed up, which is none then, whatever it used."""
    (tmp_path / "busy.py").write_text("import os; os.write(1, b'R')\nwhile True: pass\n")
    left: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(kvm_probe, "_end", left.append)
    if not tells:
        monkeypatch.setattr(kvm_probe, "times_of", lambda _pid: (None, 0.0))
    for deadline in (2.0, 4.0, 16.0):  # until it has had its share of a processor within it
        outcome = probe(deadline=deadline, program=str(tmp_path / "busy.py"))
        child = left.pop()
        child.kill()
        child.communicate()
        if outcome.cpu is None or outcome.cpu > 0.75:
            break
    assert outcome.end == HUNG
    assert (outcome.cpu or 0.0) > 0.75 if tells else outcome.cpu is None


def test_a_child_that_its_own_alarm_ended_was_held_up_as_its_caller_was(tmp_path: Path) -> None:
    (tmp_path / "alarm.py").write_text("import os, signal; os.write(1, b'R'); os.kill(os.getpid(), signal.SIGALRM)")
    outcome = probe(deadline=30.0, program=str(tmp_path / "alarm.py"))
    assert (outcome.marks, outcome.end, outcome.held_up) == ("R", HUNG, 1.0)


@pytest.mark.parametrize(
    ("state", "counts", "expected"),
    [
        ("S", "250000000 1500000000 7\n", (0.25, 1.5 + 0.5)),
        ("D", "250000000 0 7\n", (0.25, 0.5)),
        ("R", "250000000 1500000000 7\n", (0.25, float("inf"))),
        ("S", "0 0 0\n", (None, 0.5)),
        ("S", None, (None, 0.5)),
        ("R", None, (None, float("inf"))),
        ("S", "garbled", (None, 0.5)),
        (None, None, (None, 0.0)),
    ],
)
def test_what_a_process_had_and_waited_for_is_read_as_far_as_the_kernel_tells(
    tmp_path: Path, state: str | None, counts: str | None, expected: tuple[float | None, float]
) -> None:
    (tmp_path / "7").mkdir()
    if state is not None:
        rest = " ".join(["0"] * 38)
        delay = os.sysconf("SC_CLK_TCK") // 2
        (tmp_path / "7/stat").write_text(f"7 (py) S thon) {state} {rest} {delay} 0 0\n")
    if counts is not None:
        (tmp_path / "7/schedstat").write_text(counts)
    assert times_of(7, str(tmp_path)) == expected


def test_a_guest_that_hangs_under_kvm_itself_is_ended_too(tmp_path: Path) -> None:
    if not os.access(KVM, os.R_OK | os.W_OK):
        return
    path = tmp_path / "endless.py"
    source = Path(kvm_probe.__file__).read_text()
    path.write_text(source.replace("(sys.argv[1], GUEST_CODE,", f"(sys.argv[1], {ENDLESS_GUEST!r},"))
    assert path.read_text() != source
    for deadline in (1.0, 2.0, 3.0):  # until it has had its share of a processor within it
        start = time.monotonic()
        outcome = probe(deadline=deadline, program=str(path))
        assert time.monotonic() - start < deadline + 1.5
        assert outcome.cpu is not None
        if outcome.cpu > 0.2:
            break
    assert (outcome.marks, outcome.end) == ("R", HUNG)
    assert outcome.cpu > 0.2


def test_the_child_whose_caller_is_gone_ends_by_itself_after_the_callers_own_deadline(tmp_path: Path) -> None:
    """A guest that takes longer than the usual deadline is not given up before that of who has more patience."""
    path = tmp_path / "slow.py"
    source = Path(kvm_probe.__file__).read_text()
    told = "    os.write(1, str(signal.alarm(0)).encode())\n"
    path.write_text(source.replace("    end = run_guest(", f"{told}    end = run_guest("))
    assert path.read_text() != source
    assert probe("/dev/null", 30.0, program=str(path)).marks == "31"
    assert probe("/dev/null", program=str(path)).marks == "4"


def test_ctrl_c_takes_the_child_along(program: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def press() -> None:
        deadline = time.monotonic() + 25
        while not written.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)  # until it is waited for
        os.kill(os.getpid(), signal.SIGUSR1)

    written = program.parent / "pid"
    previous = signal.signal(signal.SIGUSR1, interrupt)
    presser = threading.Thread(target=press)
    presser.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            probe(deadline=30.0, program=str(program))
    finally:
        presser.join()
        signal.signal(signal.SIGUSR1, previous)
    pid = written.read_text()
    assert not os.path.exists(f"/proc/{pid}")


def test_a_device_that_is_not_kvm_is_refused_by_name_of_the_request() -> None:
    assert run_guest("/dev/null", GUEST_CODE, print)[0] == REFUSED
    assert run_guest("/dev/null", GUEST_CODE, print)[1].startswith("KVM_GET_API_VERSION: ")
    assert run_guest("/dev/no-such", GUEST_CODE, print) == (REFUSED, "open: No such file or directory")


def test_a_child_that_dies_without_a_word_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "dies.py").write_text("import os; os.write(1, b'R'); raise SystemExit(1)")
    outcome = probe(program=str(tmp_path / "dies.py"))
    assert (outcome.marks, outcome.end) == ("R", BROKEN)
    assert not outcome.works


@given(st.binary(), st.booleans())
def test_no_output_of_the_child_is_taken_for_success_unless_it_says_so(output: bytes, hung: bool) -> None:
    outcome = read_outcome(output, hung=hung)
    assert isinstance(outcome, Outcome)
    assert not outcome.works
