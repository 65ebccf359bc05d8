"""The lab: a libvirtd in namespaces of its own with two bridges, and guests small enough to start in a moment.

Loaded by ``tests/conftest.py`` as a plug-in. Nothing is skipped where the lab cannot be: root, libvirtd and QEMU are
needed. A lab that a killed run has left behind is removed when the next one starts.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab.guests import tick_xml, write_roms
from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.backends.private_init import process_start
from xmcompat.backends.private_libvirtd import PrivateLibvirtd, checksum, removed
from xmcompat.errors import DomainNotFound, XmError

CHECKOUT = Path(__file__).resolve().parents[2]

#: Short, for the sake of Unix sockets; one folder in it for each run, named for its process.
LABS = Path("/tmp/xmcompat-lab")
BRIDGES = ("xenbr0", "xenbr1")

#: With managed save images and metadata of snapshots.
UNDEFINE = 1 | 2

Starter = Callable[..., DomainInfo]

_files = count(1)


class Outcome(NamedTuple):
    stdout: str
    stderr: str
    status: int


def is_open(path: str | Path) -> bool:
    """Whether a process has the file or device PATH open."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # it has ended, or closed it
            if os.readlink(link) == os.fspath(path):
                return True
    return False


def remove_stale_labs(labs: Path = LABS) -> None:
    """Remove what runs that were killed have left: their libvirtds, guests, cgroups and files."""
    for lab in sorted(labs.glob("*")) if labs.is_dir() else ():
        if not _owner_lives(lab):
            remove_lab(lab)
    for pid, directory in _first_processes(labs):
        if not _owner_lives(labs / directory.relative_to(labs).parts[0]):
            os.kill(pid, signal.SIGKILL)  # all inside goes with it
            _remove_cgroups(directory)


def _first_processes(labs: Path) -> Iterator[tuple[int, Path]]:
    """The first process of each libvirtd of a lab that runs, and its directory, which may be gone."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdecimal() else []
        except OSError:
            continue  # it has ended
        directory = Path(os.fsdecode(words[-2])) if len(words) > 2 else Path()
        if any(word.endswith(b"/private_init.py") for word in words) and directory.is_relative_to(labs):
            yield int(entry.name), directory


def _remove_cgroups(directory: Path) -> None:
    """Those of the libvirtd of DIRECTORY, whatever its name was, once its processes have ended."""
    left = [path for root in Path("/sys/fs/cgroup").iterdir() for path in root.rglob(f"*-{checksum(directory)}")]
    deadline = time.monotonic() + 5
    while left and time.monotonic() < deadline:
        left = [path for path in left if not removed(path)]
        time.sleep(0.02)


def _owner_lives(lab: Path) -> bool:
    try:
        pid, start = (lab / "owner").read_text().split()
        return process_start(int(pid)) == start
    except (OSError, ValueError):
        return False


def remove_lab(lab: Path) -> None:
    for settings in (found for below in ("*", "*/*", "*/*/*") for found in lab.glob(f"{below}/settings.json")):
        try:
            PrivateLibvirtd.at(settings.parent).stop()
        except XmError:
            continue  # half made: nothing runs in it
    shutil.rmtree(lab, ignore_errors=True)


@pytest.fixture(scope="session")
def run_directory() -> Iterator[Path]:
    """This run's own folder in the lab."""
    remove_stale_labs()
    directory = LABS / str(os.getpid())
    LABS.mkdir(parents=True, exist_ok=True)
    new = LABS.with_name(f"{LABS.name}-{os.getpid()}")  # whoever starts at the same time takes one without an owner for stale
    new.mkdir(exist_ok=True)
    (new / "owner").write_text(f"{os.getpid()} {process_start(os.getpid())}")
    new.rename(directory)
    try:
        yield directory
    finally:
        remove_lab(directory)


@pytest.fixture(scope="module")
def lab_directory(run_directory: Path) -> Path:
    """A folder in it for each file of tests: no two of them meet over a name."""
    directory = run_directory / f"f{next(_files)}"
    directory.mkdir()
    return directory


@pytest.fixture(scope="session")
def node(run_directory: Path) -> Iterator[PrivateLibvirtd]:
    """A libvirtd in its own namespaces, with the bridges xenbr0 and xenbr1."""
    with running_node(run_directory / "node", "lab") as node:
        yield node


@contextmanager
def running_node(directory: Path, name: str) -> Iterator[PrivateLibvirtd]:
    """Another such libvirtd, of DIRECTORY."""
    node = PrivateLibvirtd(directory, name=name, own_network=True, bridges=BRIDGES)
    node.start()
    try:
        yield node
    finally:
        node.stop()


@pytest.fixture(scope="session")
def roms(run_directory: Path) -> Path:
    """The directory of the tiny guests' firmware."""
    write_roms(run_directory)
    return run_directory


@pytest.fixture
def hypervisor(node: PrivateLibvirtd) -> Iterator[LibvirtKvm]:
    """A connection to the node; guests that the test leaves are destroyed."""
    hypervisor = connect(node.uri)
    try:
        yield hypervisor
    finally:
        hypervisor.close()
        destroy_all(node)


@pytest.fixture
def start(hypervisor: LibvirtKvm, roms: Path) -> Starter:
    """Start a tiny guest: ``start("web1", paused=True, bridges=["xenbr0"])``; see ``guests.tick_xml``."""

    def start(name: str, *, paused: bool = False, **details: object) -> DomainInfo:
        return hypervisor.create(tick_xml(name, roms, **details), paused=paused)  # type: ignore[arg-type]

    return start


#: Where the programs that tests start note which guests are saved.
NOTES = Path("/var/lib/xmcompat/saved")


def destroy_all(node: PrivateLibvirtd) -> None:
    """End every guest of the node and forget those that are known, and those that are saved."""
    left = connect(node.uri)
    try:
        for info in left.domains():
            try:
                left.destroy(info.uuid)
            except DomainNotFound:
                continue  # it ended by itself
        for domain in left._connection.listAllDomains():
            domain.undefineFlags(UNDEFINE)
    finally:
        left.close()
    for folder in (NOTES, node.directory / "lib/saved"):
        for note in folder.glob("*-*"):
            with suppress(FileNotFoundError):  # tests on other nodes note and forget theirs meanwhile
                if node.uri in note.read_text():
                    note.unlink()


def xm_command(
    node: PrivateLibvirtd, *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> list[str]:
    """The command that runs ``xm WORDS`` inside the node."""
    variables = {"XMCOMPAT_URI": node.uri, "PYTHONPATH": str(CHECKOUT), "LC_ALL": "C.UTF-8", **(env or {})}
    return node.enter([sys.executable, "-m", "xmcompat.xm", *words], cwd=cwd, env=variables)


def run_xm(
    node: PrivateLibvirtd,
    *words: str,
    input: str | None = None,
    timeout: float = 60.0,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Outcome:
    """Run ``xm WORDS`` inside the node, in CWD, with ENV added. After TIMEOUT seconds it is killed; that raises."""
    with subprocess.Popen(
        xm_command(node, *words, cwd=cwd, env=env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(input or "", timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return Outcome(stdout, stderr, process.returncode)
