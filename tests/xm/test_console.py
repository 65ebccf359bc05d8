"""The console: which one is shown, the terminal before and after, ends of every kind."""

from __future__ import annotations

import os
import pty
import select
import signal
import termios
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat.console_session import ConsoleSession
from xmcompat.errors import ConnectionLost, ConsoleBusy, XmError
from xmcompat.xm import console
from xmcompat.xm.console import Attachment, ConsoleMixer
from xmcompat.xm.help import usage_text
from xmcompat.xm.signals import Ended


def test_input_goes_to_the_primary_console_at_first() -> None:
    assert ConsoleMixer().targets(b"root\r", 2) == (0,)


@pytest.mark.parametrize("enter", [b"\r", b"\n", b"\r\n\r"])
def test_enter_wakes_all_consoles_until_one_has_spoken(enter: bytes) -> None:
    mixer = ConsoleMixer()
    assert list(mixer.targets(enter, 2)) == [0, 1]
    mixer.show(1, b"login: ")
    assert mixer.targets(enter, 2) == (1,)


def test_the_serial_port_is_shown_until_the_primary_console_speaks() -> None:
    mixer = ConsoleMixer()
    assert mixer.show(1, b"Linux version") == b"Linux version"
    assert mixer.targets(b"a", 2) == (1,)
    assert mixer.show(0, b"login: ") == b"login: "
    assert mixer.targets(b"a", 2) == (0,)
    assert mixer.show(1, b"late message") == b""
    assert mixer.targets(b"\r", 2) == (0,)


def test_an_empty_word_is_no_word() -> None:
    mixer = ConsoleMixer()
    assert mixer.show(0, b"") == b""
    assert mixer.show(1, b"early") == b"early"


@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=3))))
def test_what_the_primary_console_says_is_always_shown_and_silences_the_others(said: list[tuple[int, bytes]]) -> None:
    mixer, primary_spoke = ConsoleMixer(), False
    for index, data in said:
        shown = mixer.show(index, data)
        primary_spoke = primary_spoke or (index == 0 and bool(data))
        assert shown in (data, b"")
        if index == 0:
            assert shown == data
        elif primary_spoke:
            assert shown == b""
            assert mixer.targets(b"a", 3) == (0,)


class FakeSession(ConsoleSession):
    """Consoles whose guest follows a script: one step for each wait in which no input came."""

    def __init__(self, *steps: Callable[[FakeSession], None]) -> None:
        super().__init__(FakeHypervisor(), ("console0", "serial0"))
        self.steps = list(steps)
        self.sent: list[tuple[int, bytes]] = []
        self.watched: dict[int, Callable[[], None]] = {}
        self.say: Callable[[int, bytes], None] = lambda index, data: None
        self.waits: list[float] = []

    def send(self, index: int, data: bytes) -> None:
        self.sent.append((index, data))

    def watch_input(self, fd: int, on_ready: Callable[[], None]) -> Callable[[], None]:
        self.watched[fd] = on_ready
        return lambda: self.watched.pop(fd, lambda: None) and None

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        ready, _, _ = select.select(list(self.watched), [], [], 0 if self.steps else min(seconds, 5))
        for fd in ready:
            self.watched[fd]()
        if not ready and self.steps:
            self.steps.pop(0)(self)


def end(session: FakeSession) -> None:
    session.ended = True


def says(index: int, data: bytes) -> Callable[[FakeSession], None]:
    return lambda session: session.say(index, data)


def attach(session: FakeSession, input_fd: int, output_fd: int) -> None:
    attachment = Attachment(input_fd, output_fd)
    session.say = attachment.on_data
    attachment.run(session)


@pytest.fixture
def pipes() -> Iterator[tuple[int, int, int, int]]:
    """Read and write end of the input, then of the output."""
    fds = (*os.pipe(), *os.pipe())
    yield fds
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            continue


def read_all(fd: int) -> bytes:
    return os.read(fd, 65536) if select.select([fd], [], [], 0)[0] else b""


def test_output_is_shown_until_the_domain_ends(pipes: tuple[int, int, int, int]) -> None:
    source, _, shown, target = pipes
    session = FakeSession(says(1, b"boot\r\n"), says(0, b"login: "), says(1, b"noise"), end)
    attach(session, source, target)
    assert read_all(shown) == b"boot\r\nlogin: "
    assert session.watched == {}


def test_output_said_together_with_the_end_is_shown(pipes: tuple[int, int, int, int]) -> None:
    source, _, shown, target = pipes

    def last_words(session: FakeSession) -> None:
        session.say(0, b"Power down\r\n")
        session.ended = True

    attach(FakeSession(last_words), source, target)
    assert read_all(shown) == b"Power down\r\n"


def test_input_goes_to_the_console_that_is_shown(pipes: tuple[int, int, int, int]) -> None:
    source, keyboard, _, target = pipes
    session = FakeSession(
        lambda _: os.write(keyboard, b"a") and None,
        says(1, b"boot"),
        lambda _: os.write(keyboard, b"b") and None,
        says(0, b"login: "),
        lambda _: os.write(keyboard, b"c") and None,
        end,
    )
    attach(session, source, target)
    assert session.sent == [(0, b"a"), (1, b"b"), (0, b"c")]


def test_the_escape_key_ends_the_session_after_what_came_before_it(pipes: tuple[int, int, int, int]) -> None:
    source, keyboard, _, target = pipes
    os.write(keyboard, b"exit\r\x1dnot sent")
    session = FakeSession()
    attach(session, source, target)
    assert session.sent == [(0, b"exit\r")]


def test_after_the_end_of_a_piped_input_the_answer_is_waited_for(
    pipes: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "QUIET_TIME", 0.2)
    source, keyboard, shown, target = pipes
    os.write(keyboard, b"date\n")
    os.close(keyboard)
    session = FakeSession(says(0, b"Mon"), says(0, b" Jan"))
    attach(session, source, target)
    assert session.sent == [(0, b"date\n")]
    assert read_all(shown) == b"Mon Jan"
    assert all(wait <= 0.2 for wait in session.waits[2:])


def test_a_console_that_is_taken_away_is_an_error(pipes: tuple[int, int, int, int]) -> None:
    source, _, _, target = pipes

    def taken(session: FakeSession) -> None:
        session.ended, session.end_reason = True, "somebody else has taken the console"

    with pytest.raises(XmError, match="^somebody else has taken the console$"):
        attach(FakeSession(taken), source, target)


# -- the terminal


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Keyboard and screen of somebody, and the terminal of the program."""
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def test_the_terminal_is_raw_meanwhile_and_as_before_afterwards(terminal: tuple[int, int]) -> None:
    keyboard, tty = terminal
    before = termios.tcgetattr(tty)
    modes: list[list[object]] = []
    session = FakeSession(
        lambda _: modes.append(termios.tcgetattr(tty)),
        lambda _: os.write(keyboard, b"\x03\x1a\r") and None,
        lambda _: os.write(keyboard, b"\x1d") and None,
    )
    attach(session, tty, tty)
    assert session.sent == [(0, b"\x03\x1a\r")]
    assert isinstance(modes[0][3], int)
    assert not modes[0][3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    assert termios.tcgetattr(tty) == before


def test_what_was_typed_ahead_is_sent(terminal: tuple[int, int]) -> None:
    keyboard, tty = terminal
    os.write(keyboard, b"root\n")
    session = FakeSession(lambda _: None, lambda _: os.write(keyboard, b"\x1d") and None)
    attach(session, tty, tty)
    assert session.sent[0] == (0, b"root\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_session_with_the_terminal_as_before(terminal: tuple[int, int], number: int) -> None:
    _, tty = terminal
    before, handler = termios.tcgetattr(tty), signal.getsignal(number)
    session = FakeSession(lambda _: os.kill(os.getpid(), number), lambda _: pytest.fail("it went on"))
    with pytest.raises(Ended) as raised:
        attach(session, tty, tty)
    assert raised.value.number == number
    assert termios.tcgetattr(tty) == before
    assert signal.getsignal(number) == handler


def test_a_signal_wakes_a_loop_that_waits(terminal: tuple[int, int]) -> None:
    """The wait of libvirt goes on after a signal; only a file descriptor ends it."""
    _, tty = terminal

    class Deaf(FakeSession):
        def wait(self, seconds: float) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            super().wait(seconds)

    session = Deaf()
    with pytest.raises(Ended):
        attach(session, tty, tty)
    assert len(session.waits) == 1


@pytest.mark.parametrize("error", [ConnectionLost("Xend has probably crashed!"), RuntimeError("fault")])
def test_an_error_leaves_the_terminal_as_before(terminal: tuple[int, int], error: Exception) -> None:
    _, tty = terminal
    before = termios.tcgetattr(tty)

    def fail(session: FakeSession) -> None:
        raise error

    with pytest.raises(type(error)):
        attach(FakeSession(fail), tty, tty)
    assert termios.tcgetattr(tty) == before


def test_a_terminal_that_hangs_up_ends_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "QUIET_TIME", 0.0)
    master, slave = pty.openpty()
    reader, writer = os.pipe()
    try:
        attach(FakeSession(lambda _: os.close(master)), slave, writer)
    finally:
        for fd in (slave, reader, writer):
            os.close(fd)


# -- the verb


@pytest.fixture
def guests(host: FakeHypervisor) -> FakeHypervisor:
    for info in (domain("web", 5), domain("off", None)):
        host.known[info.uuid] = info
    return host


@pytest.mark.parametrize("words", [["-q"], ["web", "db"], ["-n", "0"]])
def test_exactly_one_domain_is_wanted(xm: Xm, guests: FakeHypervisor, words: list[str]) -> None:
    assert xm("console", *words) == (1, usage_text("console") + "\n", "Error: No domain given\n")


def test_a_missing_and_a_halted_domain(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("console", "nosuch") == (3, "", "Error: Domain 'nosuch' does not exist.\n")
    assert xm("console", "off") == (1, usage_text("console"), "Error: Domain 'off' is not started\n")


@pytest.mark.parametrize("name", ["nosuch", "off"])
def test_quiet_is_no_more_than_a_status(xm: Xm, guests: FakeHypervisor, name: str) -> None:
    assert xm("console", "-q", name) == (1, "", "")


def test_a_number_that_is_none(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("console", "-n", "x", "web") == (1, usage_text("console"), "Error: Invalid argument.\n")


@pytest.mark.parametrize("words", [["web"], ["-q", "web"]])
def test_a_busy_console_says_what_to_do(
    xm: Xm, guests: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    def busy(*args: object, **kwargs: object) -> None:
        raise ConsoleBusy("The console is open elsewhere", hint="close it there first")

    monkeypatch.setattr("xmcompat.toolstack.Toolstack.open_console", busy)
    status, _, err = xm("console", *words)
    assert (status, err) == (1, "Error: The console is open elsewhere; close it there first\n")


@pytest.mark.parametrize(("words", "number"), [([], None), (["-n", "1"], 1), (["-n1"], 1), (["-n", "10"], 1)])
def test_only_the_first_digit_of_the_number_counts(
    xm: Xm, guests: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, words: list[str], number: int | None
) -> None:
    asked: list[object] = []

    def open_console(self: object, domain: str, *, number: int | None, on_data: object) -> FakeSession:
        asked.append((domain, number))
        return FakeSession(end)

    monkeypatch.setattr("xmcompat.toolstack.Toolstack.open_console", open_console)
    monkeypatch.setattr(console, "STDIN", os.open(os.devnull, os.O_RDONLY))
    assert xm("console", "web", *words) == (0, "", "")
    assert asked == [("web", number)]
    os.close(console.STDIN)
