"""libvirtd is killed in the middle of each verb that changes something: nothing is half done, and a second try works.

Each verb runs once undisturbed, so that it is known how long it takes and what the host looks like before and after
it. Then it runs again and again from the same beginning, and libvirtd is killed at several parts of that time.
Guests outlive their libvirtd, which the first process of the lab starts again.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.conftest import Bench, Writer
from tests.lab.fixtures import BRIDGES, destroy_all, xm_command
from xmcompat.backends.libvirt_kvm import connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.errors import XmError

pytestmark = pytest.mark.libvirt

#: Parts of a verb's own time after which libvirtd is killed: Python starts, the domain is looked for, it is changed.
MOMENTS = (0.65, 1.0)
UUID, MAC = "11111111-2222-4333-8444-555555555555", "00:16:3e:01:02:03"
#: What changes by itself, or names a number that a second start gives anew.
VOLATILE = re.compile(r"\s*\((domid|cpu_time|start_time|state|store_mfn|console_mfn|location|online_vcpus) [^()]*\)")


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

    bench: Bench

    def begin(self, fault: Fault) -> None:
        """The host as the verb finds it."""
        self.answering()
        destroy_all(self.bench.node)
        for path in self.bench.directory.glob("*.saved*"):
            path.unlink()
        for words in fault.begin:
            outcome = self.bench.xm(*self.placed(words))
            assert (outcome.stderr, outcome.status) == ("", 0), words

    def placed(self, words: Sequence[str]) -> list[str]:
        """The words with the files of this directory in full, since xend and its clients have other directories."""
        return [re.sub(r"(more\.img|web1\.saved)", f"{self.bench.directory}/\\1", word) for word in words]

    def answering(self) -> None:
        """Wait until libvirtd is there again."""
        deadline = time.monotonic() + 30
        while True:
            try:
                connect(self.bench.node.uri).close()
                return
            except XmError:
                assert time.monotonic() < deadline, "libvirtd has not come back"
                time.sleep(0.05)

    def look(self) -> str:
        """The host by what lasts of it: domains with their devices, states, and the saved images that are whole."""
        listed = self.bench.xm("list", "--long")
        assert (listed.stderr, listed.status) == ("", 0)
        hypervisor = connect(self.bench.node.uri)
        states = sorted(f"{info.name} {info.state} {info.persistent}" for info in hypervisor.domains())
        hypervisor.close()
        saved = sorted(path.name for path in self.bench.directory.glob("*.saved*"))
        guests = re.sub(r"(?ms)^\(domain\n    \(domid 0\)$.*?^\)$", "", listed.stdout)
        return VOLATILE.sub("", guests) + f"{states} {saved}"

    def start(self, words: Sequence[str]) -> subprocess.Popen[str]:
        argv = xm_command(
            self.bench.node, *self.placed(words), cwd=self.bench.directory, env={"XMCOMPAT_ACCELERATOR": "tcg"}
        )
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def kill(self) -> None:
        pid = self.bench.node.daemon_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def node(lab_directory: Path) -> Iterator[PrivateLibvirtd]:
    """One of its own: a libvirtd that has known few guests is back the sooner."""
    own = PrivateLibvirtd(lab_directory / "killed", name="killed", own_network=True, bridges=BRIDGES)
    own.start()
    try:
        yield own
    finally:
        own.stop()


@pytest.fixture
def lab() -> Iterator[Callable[[Bench], Lab]]:
    """Makes the lab of a bench; libvirtd answers again when the test is over."""
    labs: list[Lab] = []

    def make(bench: Bench) -> Lab:
        labs.append(Lab(bench))
        return labs[0]

    yield make
    for made in labs:
        made.answering()
        destroy_all(made.bench.node)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", FAULTS)
def test_a_verb_whose_libvirtd_is_killed_has_done_all_or_nothing_and_can_be_said_again(
    name: str, bench: Bench, pv: Writer, lab: Callable[[Bench], Lab]
) -> None:
    pv(uuid=UUID, vif=[f"mac={MAC},bridge=xenbr0"])
    (bench.directory / "more.img").write_bytes(bytes(1 << 20))
    fault, host = FAULTS[name], lab(bench)
    host.begin(fault)
    before = host.look()
    begun = time.monotonic()
    assert host.start(fault.verb).wait(60) == 0
    duration = time.monotonic() - begun
    after = host.look()
    ends = set()
    for part in MOMENTS:
        host.begin(fault)
        process = host.start(fault.verb)
        time.sleep(duration * part)
        host.kill()
        _, stderr = process.communicate(timeout=60)
        host.answering()
        found = host.look()
        ends.add((process.returncode, found == after))
        said = f"{part} of {duration:.3f} s: {stderr}"
        assert "Traceback" not in stderr, said
        assert found in (before, after), said
        assert process.returncode != 0 or found == after, said
        assert process.returncode == 0 or stderr.startswith("Error: "), said
        if found == before or fault.lasting:
            again = host.start(fault.verb)
            _, stderr = again.communicate(timeout=60)
            assert (again.returncode, stderr) == (0, ""), said
            assert host.look() == after
    assert ends, "no moment was tried"


def test_each_verb_that_changes_something_and_has_a_function_is_tried() -> None:
    """Those left out change nothing of a guest, or nothing that libvirtd is asked for at once (shutdown, sysrq)."""
    from xmcompat.xm.verbs import VERBS

    assert set(FAULTS) <= {verb.name for verb in VERBS.values() if verb.run}
