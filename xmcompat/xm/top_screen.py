"""The screen of ``xm top``: a table that is drawn anew after each look, each key and each change of the size."""

from __future__ import annotations

import curses
import locale
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.errors import UsageError
from xmcompat.render import top as render
from xmcompat.xm import signals

if TYPE_CHECKING:
    from xmcompat.backends.counters import Picture
    from xmcompat.statistics import Statistics
    from xmcompat.xm.top import Wish

QUIT = frozenset(("q", "\x1b"))
TOGGLES = {"n": "networks", "x": "disks", "b": "disks", "v": "vcpus", "r": "repeat_header"}
KEYS = "Delay  Networks  X disks  Vcpus  Repeat titles  Sort  Quit"
_LINES_ABOVE = 3
#: Milliseconds in which the rest of an arrow key's sequence follows its Esc.
_ESCAPE_DELAY = "25"
_ESCAPE, _LONGEST_SEQUENCE = 27, 8
#: By the last letter of the sequence.
_SEQUENCES = {"A": curses.KEY_UP, "B": curses.KEY_DOWN, "C": curses.KEY_RIGHT, "D": curses.KEY_LEFT}


class View(NamedTuple):
    """What the keys have chosen. ``first`` is the number of the line at the top; ``typed`` is the delay while it is
    being typed, None otherwise."""

    form: render.Form
    delay: float
    first: int = 0
    typed: str | None = None
    ends: bool = False


def can_show() -> bool:
    """Whether this terminal is one that a screen can be drawn on."""
    try:
        curses.setupterm(os.environ.get("TERM", "dumb"), 1)
        return bool(curses.tigetstr("cup") and curses.tigetstr("clear"))
    except curses.error:
        return False


def show(statistics: Statistics, wish: Wish) -> None:
    """Run until a key or Ctrl-C ends it. However it ends, the terminal is as it was.

    Raises what the looks raise, and Ended for a signal other than Ctrl-C.
    """
    os.environ.setdefault("ESCDELAY", _ESCAPE_DELAY)
    locale.setlocale(locale.LC_CTYPE, "")
    try:
        with signals.raised():
            curses.wrapper(_run, statistics, wish)
    except signals.Ended as ended:
        if ended.number != signal.SIGINT:
            raise


def _run(window: curses.window, statistics: Statistics, wish: Wish) -> None:
    """One look after the other; keys are heard meanwhile."""
    with suppress(curses.error):  # a terminal may always show its cursor, and have one colour
        curses.use_default_colors()
    with suppress(curses.error):
        curses.curs_set(0)
    view, looks = View(wish.form, wish.delay), 0
    while not view.ends:
        picture = statistics.picture()
        looks += 1
        due = time.monotonic()
        while not view.ends:
            _draw(window, picture, view)
            left = due + view.delay - time.monotonic()
            if left <= 0:
                break
            window.timeout(max(int(left * 1000), 1))
            view = pressed(view, _key(window), _page(window))
        if looks == wish.iterations:
            return


def _key(window: curses.window) -> int:
    """The key that is pressed next, -1 for none; of what a terminal sends for one that it does not know, the arrows."""
    key = window.getch()
    if key != _ESCAPE:
        return key
    window.timeout(int(_ESCAPE_DELAY))
    sequence = ""
    while len(sequence) < _LONGEST_SEQUENCE and (more := window.getch()) != -1:
        sequence += chr(more) if 0 <= more < 128 else ""
        if len(sequence) > 1 and sequence[-1] not in "0123456789;":
            break
    return _SEQUENCES.get(sequence[-1], -1) if sequence else key


def _page(window: curses.window) -> int:
    return max(window.getmaxyx()[0] - _LINES_ABOVE - 2, 1)


def pressed(view: View, key: int, page: int) -> View:
    """VIEW after a key, of which PAGE lines are to be seen; -1 is none."""
    moves = {
        curses.KEY_UP: -1, curses.KEY_DOWN: 1, curses.KEY_PPAGE: -page, curses.KEY_NPAGE: page,
        curses.KEY_LEFT: -1, curses.KEY_RIGHT: 1,
    }  # fmt: skip
    if view.typed is not None:
        return _typed(view, key)
    if key in moves:
        return view._replace(first=max(view.first + moves[key], 0))
    letter = chr(key).lower() if 0 <= key < 128 else ""
    if letter in QUIT and letter:
        return view._replace(ends=True)
    if letter in TOGGLES:
        field = TOGGLES[letter]
        return view._replace(form=view.form._replace(**{field: not getattr(view.form, field)}))
    if letter == "s":
        return view._replace(form=view.form._replace(column=render.next_column(view.form.column)))
    return view._replace(typed="") if letter == "d" else view


def _typed(view: View, key: int) -> View:
    """VIEW while the delay is typed: Enter takes it, Esc and what is no number do not."""
    typed = view.typed or ""
    if key in (10, 13, curses.KEY_ENTER):
        from xmcompat.xm.top import delay_of

        try:
            return view._replace(typed=None, delay=delay_of(typed))
        except UsageError:
            return view._replace(typed=None)
    if key == _ESCAPE:
        return view._replace(typed=None)
    if key in (8, 127, curses.KEY_BACKSPACE):
        return view._replace(typed=typed[:-1])
    if 0 <= key < 128 and chr(key) in "0123456789.":
        return view._replace(typed=(typed + chr(key))[:8])
    return view


def _draw(window: curses.window, picture: Picture, view: View) -> None:
    lines, columns = window.getmaxyx()
    usages = render.ordered(picture.usages, view.form)
    width = render.name_width(usages, view.form)
    clock = time.strftime("%H:%M:%S", time.localtime(picture.time))
    window.erase()
    for number, text in enumerate(render.summary(picture, clock)):
        _put(window, number, text, curses.A_NORMAL)
    if view.typed is not None:
        _put(window, 0, f"Seconds from one look to the next ({view.delay:g}): {view.typed}", curses.A_BOLD)
    body = body_lines(picture, view.form)
    room = max(lines - _LINES_ABOVE - 1, 0)
    titles = 0 if view.form.repeat_header else 1
    first = min(view.first, max(len(body) - max(room - titles, 1), 0))
    shown = [(render.header(width), True)] * titles + body[first : first + max(room - titles, 0)]
    for number, (text, title) in enumerate(shown[:room], _LINES_ABOVE):
        _put(window, number, text, curses.A_REVERSE if title else curses.A_NORMAL)
        if title and view.form.column is not None:
            place, places = render.header_place(view.form.column, width)
            if place < columns:
                window.chgat(number, place, min(places, columns - place), curses.A_BOLD)
    _put(window, lines - 1, KEYS, curses.A_NORMAL)
    window.refresh()


def body_lines(picture: Picture, form: render.Form) -> list[tuple[str, bool]]:
    """What stands beneath the titles, line by line; True for titles that are repeated."""
    usages = render.ordered(picture.usages, form)
    width = render.name_width(usages, form)
    body: list[tuple[str, bool]] = []
    for usage in usages:
        body += [(render.header(width), True)] if form.repeat_header else []
        body += [(line, False) for line in render.block(usage, picture.memory, width, form)]
    return body


def _put(window: curses.window, number: int, text: str, attribute: int) -> None:
    """Write TEXT on a line, cut to the width. What cannot be written there is left out."""
    lines, columns = window.getmaxyx()
    if not 0 <= number < lines or columns < 2:
        return
    printable = "".join(char if char.isprintable() else "?" for char in text)
    try:
        window.addnstr(number, 0, printable.encode("utf-8", "replace").decode(), columns - 1, attribute)
    except curses.error:
        return  # the window has just become smaller
