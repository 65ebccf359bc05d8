"""libvirtd is killed in the middle of each verb that changes something: nothing is half done, and a second try works.

Each verb runs once undisturbed, so that it is known how long it takes and what the host looks like before and after
it. Then it runs again and again from the same beginning, and libvirtd is killed at several parts of that time.
Guests outlive their libvirtd, which the first process of the lab starts again. Two libvirtds share the moments: most of
the time is waiting for QEMU and for a libvirtd that starts.
"""

from __future__ import annotations

import difflib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.conftest import pv_writer
from tests.lab.fixtures import Outcome, destroy_all, run_xm, running_node, xm_command
from xmcompat.backends.libvirt_kvm import connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.errors import XmError

pytestmark = pytest.mark.libvirt

#: Parts of a verb's own time after which libvirtd is killed: Python starts, the domain is looked for, it is changed.
MOMENTS = (0.45, 0.65, 0.85, 1.0)
TCG = {"XMCOMPAT_ACCELERATOR": "tcg"}
UUID, MAC = "11111111-2222-4333-8444-555555555555", "00:16:3e:01:02:03"
#: What changes by itself, or names a number that a second start gives anew.
VOLATILE = re.compile(r"\s*\((domid|cpu_time|start_time|state|store_mfn|console_mfn|location|online_vcpus) [^()]*\)")

#: What is said of a guest that libvirtd holds for a start that it was killed in.
HELD = re.compile(r"remove (/run/libvirt/qemu/web1\.xml), restart libvirtd, and try again")


class Fault(NamedTuple):
    """A verb, and the verbs that lead to where it begins. ``lasting``: it may be said twice."""

    verb: tuple[str, ...]
    begin: tuple[tuple[str, ...], ...] = (("create", "-q", "web1.cfg"),)
    lasting: bool = False


NEW, START = ("new", "-q", "web1.cfg"), ("start", "web1")
FAULTS = {
    "create": Fault(("create", "-q", "web1.cfg"), ()),
    "destroy": Fault(("destroy", "web1")),
    "pause": Fault(("pause", "web1"), lasting=True),
    "unpause": Fault(("unpause", "web1"), (("create", "-qp", "web1.cfg"),), lasting=True),
    "mem-set": Fault(("mem-set", "web1", "24"), lasting=True),
    "vcpu-pin": Fault(("vcpu-pin", "web1", "0", "0"), lasting=True),
    "sched-credit": Fault(("sched-credit", "-d", "web1", "-w", "512"), lasting=True),
    "reset": Fault(("reset", "web1"), lasting=True),
    "new": Fault(NEW, ()),
    "start": Fault(START, (NEW,)),
    "delete": Fault(("delete", "web1"), (NEW,)),
    "rename": Fault(("rename", "web1", "web2"), (NEW,)),
    "suspend": Fault(("suspend", "web1"), (NEW, START)),
    "resume": Fault(("resume", "web1"), (NEW, START, ("suspend", "web1"))),
    "block-attach": Fault(("block-attach", "web1", "file:more.img", "xvdb", "w")),
    "block-detach": Fault(
        ("block-detach", "web1", "xvdb", "-f"),  # the guest does nothing, and would never let go
        (("create", "-q", "web1.cfg"), ("block-attach", "web1", "file:more.img", "xvdb", "w")),
    ),
    "network-attach": Fault(("network-attach", "web1", "bridge=xenbr1", "mac=00:16:3e:0a:0b:0c")),
    "save": Fault(("save", "web1", "web1.saved")),
    "restore": Fault(("restore", "web1.saved"), (("create", "-q", "web1.cfg"), ("save", "web1", "web1.saved"))),
}


class Lab(NamedTuple):
    """A node whose libvirtd may be killed, and a directory with web1.cfg."""

    node: PrivateLibvirtd
    directory: Path

    def xm(self, *words: str) -> Outcome:
        return run_xm(self.node, *self.placed(words), cwd=self.directory, env=TCG)

    def begin(self, fault: Fault) -> None:
        """The host as the verb finds it."""
        self.answering()
        destroy_all(self.node)
        for path in self.directory.glob("*.saved*"):
            path.unlink()
        for words in fault.begin:
            outcome = self.xm(*words)
            assert (outcome.stderr, outcome.status) == ("", 0), words

    def placed(self, words: Sequence[str]) -> list[str]:
        """The words with the files of this directory in full, since xend and its clients have other directories."""
        return [re.sub(r"(more\.img|web1\.saved)", f"{self.directory}/\\1", word) for word in words]

    def answering(self) -> None:
        """Wait until libvirtd is there again."""
        deadline = time.monotonic() + 30
        while True:
            try:
                connect(self.node.uri).close()
                return
            except XmError:
                assert time.monotonic() < deadline, "libvirtd has not come back"
                time.sleep(0.05)

    def look(self) -> str:
        """The host by what lasts of it: domains with their devices, states, and the saved images that are whole."""
        listed = self.xm("list", "--long")
        assert (listed.stderr, listed.status) == ("", 0)
        hypervisor = connect(self.node.uri)
        states = sorted(f"{info.name} {info.state} {info.persistent}" for info in hypervisor.domains())
        hypervisor.close()
        saved = sorted(path.name for path in self.directory.glob("*.saved*"))
        guests = re.sub(r"(?ms)^\(domain\n    \(domid 0\)$.*?^\)$", "", listed.stdout)
        return VOLATILE.sub("", guests).replace(str(self.directory), "") + f"{states} {saved}"

    def start(self, words: Sequence[str]) -> subprocess.Popen[str]:
        argv = xm_command(self.node, *self.placed(words), cwd=self.directory, env=TCG)
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def kill(self) -> None:
        pid = self.node.daemon_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)


    def release(self, stderr: str) -> None:
        """Do as a message says about a guest that libvirtd holds for a start that it was killed in. Raises where the message
        says nothing of that, or there is a QEMU."""
        said = HELD.search(stderr)
        assert said, stderr
        script = f"! ps ax | grep '[q]emu-system.*guest=web1' && rm {said[1]}"
        subprocess.run(self.node.enter(["sh", "-c", script]), check=True, timeout=20)
        self.kill()
        self.answering()

    def again(self, fault: Fault) -> tuple[int, str]:
        """The verb's status and errors when it is said once more; before that, a device that is told to be in the way of it
        goes as the message says: the guest does nothing, and lets go of none by itself."""
        for _ in range(2):
            process = self.start(fault.verb)
            _, stderr = process.communicate(timeout=60)
            if not re.search(r"'web1' still has the device 'ua-[\w-]+', .* try again, after 'xm reset web1'", stderr, re.DOTALL):
                break
            assert self.xm("reset", "web1").status == 0
        return process.returncode, stderr

    def settled(self, ends: Sequence[str], stderr: str) -> str:
        """The host once it is one of ENDS, or after a while: libvirtd answers before it has seen to guests that it finds, and
        asks each of their QEMUs hundreds of things. One that it holds for a start, as STDERR says, stays as it is."""
        deadline = time.monotonic() + (3 if HELD.search(stderr) else 20)
        while (found := self.look()) not in ends and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def cut_off(self, fault: Fault, seconds: float) -> tuple[int, str]:
        """Libvirtd is killed SECONDS after the verb has begun: the verb's status and errors."""
        self.begin(fault)
        process = self.start(fault.verb)
        time.sleep(seconds)
        self.kill()
        _, stderr = process.communicate(timeout=60)
        self.answering()
        return process.returncode, stderr


def differing(found: str, before: str, after: str) -> str:
    """What is FOUND that was not so BEFORE, nor AFTER."""
    return "\n".join(
        f"{name}:\n" + "\n".join(difflib.unified_diff(end.splitlines(), found.splitlines(), lineterm="", n=0))
        for name, end in (("before", before), ("after", after))
    )


@pytest.fixture(scope="module")
def labs(lab_directory: Path) -> Iterator[tuple[Lab, Lab]]:
    """Two of their own: a libvirtd that has known few guests is back the sooner."""
    folders = [lab_directory / name for name in ("killed1", "killed2")]
    with running_node(folders[0], "killed1") as one, running_node(folders[1], "killed2") as two:
        made = Lab(one, folders[0] / "guests"), Lab(two, folders[1] / "guests")
        for lab in made:
            lab.directory.mkdir()
            pv_writer(lab.directory)(uuid=UUID, vif=[f"mac={MAC},bridge=xenbr0"])
        yield made


@pytest.fixture(autouse=True)
def _answering(labs: tuple[Lab, Lab]) -> Iterator[None]:
    """Both answer again when the test is over, and have no guests."""
    yield
    for lab in labs:
        lab.answering()
        destroy_all(lab.node)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", FAULTS)
def test_a_verb_whose_libvirtd_is_killed_has_done_all_or_nothing_and_can_be_said_again(
    name: str, labs: tuple[Lab, Lab]
) -> None:
    for lab in labs:
        (lab.directory / "more.img").write_bytes(bytes(1 << 20))
    fault, host = FAULTS[name], labs[0]
    host.begin(fault)
    before = host.look()
    begun = time.monotonic()
    assert host.start(fault.verb).wait(60) == 0
    duration = time.monotonic() - begun
    after = host.look()

    def tried(lab: Lab, parts: Sequence[float]) -> int:
        for part in parts:
            status, stderr = lab.cut_off(fault, duration * part)
            found = lab.settled((before, after), stderr)
            said = f"{part} of {duration:.3f} s: {stderr}"
            assert "Traceback" not in stderr, said
            if found not in (before, after):
                lab.release(f"{said}\n{differing(found, before, after)}")
                found = lab.look()
            assert found in (before, after), said
            assert status != 0 or found == after, said
            assert status == 0 or stderr.startswith("Error: "), said
            if found == before or fault.lasting:
                status, stderr = lab.again(fault)
                assert (status, stderr) == (0, ""), said
                assert lab.look() == after
        return len(parts)

    with ThreadPoolExecutor(len(labs)) as side_by_side:
        counts = list(side_by_side.map(tried, labs, [MOMENTS[::2], MOMENTS[1::2]]))
    assert sum(counts) == len(MOMENTS)


def test_each_verb_that_changes_something_and_has_a_function_is_tried() -> None:
    """Those left out change nothing of a guest, or nothing that libvirtd is asked for at once (shutdown, sysrq)."""
    from xmcompat.xm.verbs import VERBS

    assert set(FAULTS) <= {verb.name for verb in VERBS.values() if verb.run}
