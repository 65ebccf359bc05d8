"""Which of this host's connections are those of a transfer, and that these alone are ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.lan import BareHost
from xmcompat import programs
from xmcompat.backends import migration_sockets
from xmcompat.backends.migration import Transfer
from xmcompat.backends.migration_sockets import Connection, Sending, connections, ending, of_transfer
from xmcompat.errors import HypervisorError

UUID = "11111111-2222-4333-8444-555555555555"
TRANSFER = Transfer("qemu+tls://host2/system", migrate_uri="tcp://198.51.100.12")
LISTED = """\
LISTEN 0      128             127.0.0.1:5900            0.0.0.0:*     ino:10 sk:104b cgroup:/ <->
LISTEN 0      128                     *:16514                 *:*     ino:11 sk:104e cgroup:/ v6only:0 <->
ESTAB  0      65536       198.51.100.11:58666     198.51.100.12:49152 timer:(on,12sec,6) uid:107 ino:20 sk:104d cgroup:/ <->
ESTAB  0      0      [::ffff:198.51.100.11]:35548 [::ffff:198.51.100.12]:49153 ino:21 sk:1052 cgroup:/ <->
ESTAB  0      0       [2001:db8:1::11]:44564   [2001:db8:1::12]:49154 ino:22 sk:1051 <->
FIN-WAIT-1 0  9           198.51.100.11:58668     198.51.100.12:49152 timer:(on,1min,4) ino:0 sk:9
"""
NORMAL = Connection("198.51.100.11", 58666, "198.51.100.12", 49152, 20)


def test_what_ss_lists_is_read() -> None:
    assert connections(LISTED) == (
        Connection("127.0.0.1", 5900, "0.0.0.0", 0, 10, listens=True),
        Connection("*", 16514, "*", 0, 11, listens=True),
        NORMAL,
        Connection("::ffff:198.51.100.11", 35548, "::ffff:198.51.100.12", 49153, 21),
        Connection("2001:db8:1::11", 44564, "2001:db8:1::12", 49154, 22),
        Connection("198.51.100.11", 58668, "198.51.100.12", 49152, 0),
    )


@given(st.text())
def test_whatever_is_listed_is_read_or_passed_over(text: str) -> None:
    for one in connections(text):
        assert one.inode >= 0


def test_those_of_qemu_to_the_other_host_are_of_the_transfer() -> None:
    found = connections(LISTED)
    assert of_transfer(found, {20, 21, 22}, {"198.51.100.12"}) == found[2:4]  # parallel ones, too
    assert of_transfer(found, {20, 21, 22}, {"198.51.100.12", "2001:db8:1::12"}) == found[2:5]
    assert of_transfer(found, {20, 21}, {"198.51.100.12"}, 49152) == (NORMAL,)


@pytest.mark.parametrize(
    "other",
    [
        NORMAL._replace(inode=30),  # of somebody else, or QEMU's from before
        NORMAL._replace(remote="198.51.100.13"),
        NORMAL._replace(remote="host2"),
        NORMAL._replace(local_port=5900, remote_port=49160),  # looks at the screen, from there
        NORMAL._replace(listens=True),
    ],
)
def test_no_other_is(other: Connection) -> None:
    screen = Connection("0.0.0.0", 5900, "0.0.0.0", 0, 10, listens=True)
    assert of_transfer([screen, other], {20}, {"198.51.100.12"}) == ()


def test_nothing_is_chosen_where_nothing_is_known() -> None:
    assert of_transfer(connections(LISTED), {20, 21}, set()) == ()
    assert of_transfer(connections(LISTED), set(), {"198.51.100.12"}) == ()


def test_an_address_counts_without_its_device() -> None:
    one = Connection("fe80::1%up0", 44564, "fe80::2%up0", 49152, 20)
    assert of_transfer([one], {20}, {"fe80::2"}) == (one,)


def test_the_command_names_both_ends() -> None:
    assert ending(NORMAL) == [
        "ss", "-K", "-Htn", "src", "198.51.100.11", "sport", "=", ":58666", "dst", "198.51.100.12", "dport", "=", ":49152",
    ]  # fmt: skip
    words = ending(Connection("2001:db8:1::11", 44564, "2001:db8:1::12", 49154, 22))
    assert words[words.index("src") + 1] == "[2001:db8:1::11]" and words[words.index("dst") + 1] == "[2001:db8:1::12]"


# -- what cannot be done

TYPED = "ss -tK dst 198.51.100.12 dport ge :49152 dport le :49215"
Run = Callable[..., programs.Ended]


@pytest.fixture
def sending(monkeypatch: pytest.MonkeyPatch) -> Sending:
    """A transfer whose QEMU has made a connection."""
    made = Sending(UUID, TRANSFER)
    monkeypatch.setattr(made, "_inodes", lambda: {20})
    return made


def said(sending: Sending) -> str:
    with pytest.raises(HypervisorError) as error:
        sending.end()
    line = error.value.line()
    assert line.startswith("QEMU waits for 198.51.100.12, and stands still until TCP gives up: "), line
    return line.partition("TCP gives up: ")[2]


def test_without_ss_it_is_said_what_to_install_and_to_type(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration_sockets, "LISTING", ("ss-that-is-missing",))
    monkeypatch.setitem(programs.PACKAGES, "ss-that-is-missing", "iproute2")
    assert said(sending) == (
        f"the program 'ss-that-is-missing' is missing; install the package iproute2, and type: {TYPED}"
    )


@pytest.mark.parametrize("listed", [LISTED])
def test_a_kernel_that_does_not_end_it_is_said(sending: Sending, monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    """ss passes over in silence what the kernel refuses to end."""
    ran: list[list[str]] = []
    monkeypatch.setattr(
        programs, "run",
        lambda words, **more: ran.append(words) or programs.Ended(0, "" if "-K" in words else listed, ""),
    )  # fmt: skip
    assert said(sending) == (
        "this kernel does not end a connection from outside: 198.51.100.12:49152; "
        "'sysctl net.ipv4.tcp_retries2=3' has TCP give up sooner, with all hosts that are silent; 15 is usual"
    )
    assert [words for words in ran if "-K" in words] == [ending(NORMAL)]


def test_who_may_not_is_told_to_be_root(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(words: list[str], **more: object) -> programs.Ended:
        refused = "SOCK_DESTROY answers: Operation not permitted\n"
        return programs.Ended(0, "", refused) if "-K" in words else programs.Ended(0, LISTED, "")

    monkeypatch.setattr(programs, "run", run)
    assert said(sending).endswith(f"SOCK_DESTROY answers: Operation not permitted; as root, type: {TYPED}")
    sending._before = None
    assert said(sending) == f"only root sees QEMU's connections; as root, type: {TYPED}"


# -- for real


@pytest.fixture
def place(lab_directory: Path) -> Iterator[BareHost]:
    made = BareHost(lab_directory / "ended", "ended")
    made.run("ip", "link", "set", "lo", "up")
    yield made
    made.stop()


#: A process with a guest's arguments and connections made before and after; which of them are there at the end.
LIVE = """
import os, socket, sys, time
from xmcompat.backends import migration_sockets
from xmcompat.backends.migration import Transfer
def pair(host):
    door = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    return socket.create_connection(door.getsockname()[:2]), door.accept()[0], door
def lives(one):
    try:
        one.send(b"x")
    except OSError as error:
        return os.strerror(error.errno)
    return "lives"
uri = "tcp://[::1]" if ":" in sys.argv[3] else "tcp://" + sys.argv[3]
before = pair(sys.argv[3])
sending = migration_sockets.Sending(sys.argv[2], Transfer("", migrate_uri=uri))
after, parallel, elsewhere = pair(sys.argv[3]), pair(sys.argv[3]), pair("127.0.0.9")
pid = os.fork()
if not pid:  # another process's own connection to the same host
    for one in (*before, *after, *parallel, *elsewhere):
        one.close()
    os.execv(sys.executable, [sys.executable, "-c", OTHER, sys.argv[3]])
time.sleep(0.5)
sending.end()
sending.end()
print(*(lives(one) for one in (before[0], after[0], parallel[0], elsewhere[0], before[1], elsewhere[1])), sep=", ")
_, status = os.waitpid(pid, 0)
print(os.waitstatus_to_exitcode(status))
"""
OTHER = """
import socket, sys, time
door = socket.create_server((sys.argv[1], 0), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
one, two = socket.create_connection(door.getsockname()[:2]), door.accept()[0]
time.sleep(1.5)
one.send(b"x")
assert two.recv(1) == b"x"
"""


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_kernel_ends_those_and_leaves_all_others(place: BareHost, address: str) -> None:
    told = place.python(f"OTHER = {OTHER!r}\n{LIVE}", "-uuid", UUID, address)
    ended = "Software caused connection abort"
    assert told.splitlines() == [f"lives, {ended}, {ended}, lives, lives, lives", "0"]
