"""Several creates at once, and creates that are interrupted at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.e2e.conftest import Bench, Writer
from tests.lab.fixtures import xm_command

pytestmark = pytest.mark.libvirt


def started(bench: Bench, *words: str, verb: str = "create") -> subprocess.Popen[str]:
    quiet = ["-q"] if verb == "create" else []
    argv = xm_command(
        bench.node, verb, *quiet, *words, cwd=bench.directory, env={"XMCOMPAT_ACCELERATOR": "tcg"}
    )
    return subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_of_several_destroys_the_late_ones_find_no_domain_of_the_name_that_was_typed(bench: Bench, pv: Writer) -> None:
    pv(disk=None)
    for _ in range(4):
        assert bench.xm("create", "-q", "web1.cfg").status == 0
        several = [started(bench, "web1", verb="destroy") for _ in range(4)]
        ends = [(*process.communicate(timeout=60), process.returncode) for process in several]
        assert ("", "", 0) in ends
        assert set(ends) <= {("", "", 0), ("", "Error: Domain 'web1' does not exist.\n", 3)}


def test_pause_and_destroy_at_once_never_speak_of_the_monitor(bench: Bench, pv: Writer) -> None:
    pv(disk=None)
    for _ in range(6):
        assert bench.xm("create", "-q", "web1.cfg").status == 0
        both = [started(bench, "web1", verb=verb) for verb in ("pause", "unpause", "destroy", "shutdown")]
        ends = [(process.communicate(timeout=60)[1], process.returncode) for process in both]
        assert set(ends) <= {("", 0), ("Error: Domain 'web1' does not exist.\n", 3)}


def test_of_two_creates_of_one_configuration_one_wins_and_the_other_says_why(bench: Bench, pv: Writer) -> None:
    pv(disk=None)
    both = [started(bench, "web1.cfg") for _ in range(2)]
    ends = [(process.communicate(timeout=60)[1], process.returncode) for process in both]
    assert sorted(status for _, status in ends) == [0, 1]
    domid = bench.hypervisor.find("web1").domid
    assert next(text for text, status in ends if status) == (
        f"Error: Domain 'web1' already exists with ID '{domid}'\n"
    )
    assert bench.remains()[0] == ["web1"]


def test_ten_different_creates_at_once_all_start(bench: Bench, pv: Writer) -> None:
    names = [f"web{number}" for number in range(10)]
    for name in names:
        pv(f"{name}.cfg", disk=None)
    processes = [started(bench, f"{name}.cfg") for name in names]
    ends = [(process.communicate(timeout=100)[1], process.returncode) for process in processes]
    assert [status for _, status in ends] == [0] * 10, ends
    assert sorted(info.name for info in bench.hypervisor.domains()) == names


@pytest.mark.parametrize("words", [[], ["-c"]], ids=["plain", "console"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_create_interrupted_at_any_moment_leaves_a_running_domain_or_nothing(
    bench: Bench, pv: Writer, number: int, words: list[str]
) -> None:
    """Two guests start at the same time, and are interrupted one after the other."""
    for name in ("web1.cfg", "web2.cfg"):
        pv(name, disk=None)
    seen = set()
    for delays in ((0.02, 1.0), (0.05, 0.6), (0.1, 0.4), (0.15, 0.3), (0.2, 0.25)):
        begun = time.monotonic()
        processes = [started(bench, *words, name) for name in ("web1.cfg", "web2.cfg")]
        for process, delay in zip(processes, delays, strict=True):
            time.sleep(max(begun + delay - time.monotonic(), 0))
            os.killpg(process.pid, number)
        for process in processes:
            _, stderr = process.communicate(timeout=60)
            # Python's own start, before any line of ours, answers Ctrl-C in its own way
            assert "xmcompat" not in stderr.partition("Traceback")[2]
        time.sleep(0.2)
        domains, devices = settled(bench)
        assert sorted(domains) in ([], ["web1"], ["web2"], ["web1", "web2"])
        assert len(devices) == len(domains)
        for name in domains:
            assert bench.hypervisor.find(name).state == "running"
            bench.hypervisor.destroy(bench.hypervisor.find(name).uuid)
        seen.add(len(domains))
    assert seen, "no moment was tried"


def settled(bench: Bench) -> tuple[list[str], list[str]]:
    """What remains, once libvirtd has ended what it had begun: two looks that agree."""
    before = bench.remains()
    for _ in range(20):
        time.sleep(0.3)
        after = bench.remains()
        if after == before and len(after[0]) == len(after[1]):
            break
        before = after
    return before
