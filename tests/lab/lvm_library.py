"""LVM's programs within this process, for the kernel of ``tests.lab.uml``, where a program of LVM's costs 115 ms of processor.

Debian's liblvm2cmd has all that ``lvm`` has but its ``main``; a command costs 20 ms. ``answers`` compares the two.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from xmcompat import programs
from xmcompat.programs import Ended

_PREFIXES = ("lv", "vg", "pv")

#: Words of what goes on in a process of its own, and of silence, which would last.
_NOT_HERE = frozenset(("-b", "--background", "--merge", "--poll", "-q", "-qq", "--quiet"))

_program = programs.run


class _Library:
    """A command has a handle of its own: some leave a state in it that a program would take with it (LVM 2.03.16)."""

    def __init__(self) -> None:
        self.code = ctypes.CDLL("liblvm2cmd.so.2.03")
        self.code.lvm2_init.restype = ctypes.c_void_p
        self.code.lvm2_run.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self.code.lvm2_exit.argtypes = [ctypes.c_void_p]
        self.c = ctypes.CDLL(None)

    def run(self, line: str) -> int:
        """The status that the program would have."""
        handle = self.code.lvm2_init()
        try:
            status: int = self.code.lvm2_run(handle, os.fsencode(line))
        finally:
            self.code.lvm2_exit(handle)
            self.c.fflush(None)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # LVM takes all children for its own once it has made one
        return 0 if status == 1 else status


_library: _Library | None = None


def in_this_process() -> None:
    """Have LVM's programs run here from now on, whoever of xmcompat or the tests starts them."""
    global _library
    _library = _Library()
    programs.run = run


@contextmanager
def as_programs() -> Iterator[None]:
    """They are programs again: where one is to be killed, replaced, or takes the time that it takes."""
    global _library
    kept, _library = _library, None
    try:
        yield
    finally:
        _library = kept


def serves(words: Sequence[str]) -> bool:
    """Whether the program would run here."""
    return _library is not None and words[0].startswith(_PREFIXES) and _NOT_HERE.isdisjoint(words)


def run(
    words: Sequence[str], *, text: str = "", deadline: float = programs.DEADLINE, more: Mapping[str, str] | None = None,
    inherited: Sequence[int] = (),
) -> Ended:  # fmt: skip
    """As ``programs.run``. Ctrl-C and DEADLINE do not end what runs here."""
    if not serves(words):
        return _program(words, text=text, deadline=deadline, more=more, inherited=inherited)
    assert _library
    line = " ".join(map(_quoted, words[1:] if words[0] == "lvm" else words))
    with _streams(text) as (out, complaint):
        status = _library.run(line)
    return Ended(status, _read(out), _read(complaint))


def answers(words: Sequence[str]) -> tuple[Ended, Ended]:
    """What the program says and what this process says, for a command that changes nothing."""
    with as_programs():
        program = run(words)
    return program, run(words)


def _quoted(word: str) -> str:
    """LVM takes the text between two marks at the beginning and the end of a word as it is."""
    mark = "'" if "'" not in word else '"'
    assert mark not in word, word
    return f"{mark}{word}{mark}"


@contextmanager
def _streams(text: str) -> Iterator[tuple[int, int]]:
    """Files in place of the three streams of this process: TEXT, and the two that are given to the body and closed later."""
    files = [os.memfd_create(name) for name in ("in", "out", "err")]
    os.write(files[0], text.encode())
    os.lseek(files[0], 0, os.SEEK_SET)
    kept = [os.dup(number) for number in range(3)]
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.close(files[0])
    try:
        yield files[1], files[2]
    finally:
        for number, file in enumerate(kept):
            os.dup2(file, number)
            os.close(file)


def _read(file: int) -> str:
    with open(file, encoding="utf-8", errors="surrogateescape") as stream:
        stream.seek(0)
        return stream.read()
