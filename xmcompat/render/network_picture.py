"""The host's networks as a drawing in SVG: cards and overlays to the left, bridges in the middle, guests to the right.

Each bridge has a band of its own, as high as what hangs on it; many guests stand in several columns. Pure.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from xmcompat.render.network_values import Box, Group, Picture

_WIDTH, _GAP, _LINE, _PAD = 230, 14, 15, 10
_LEFT, _MIDDLE, _RIGHT = 20, 330, 650
_BAND = 30                              # between two bridges
#: Guests in one column, until there are more than fit into all columns.
_ROWS, _COLUMNS = 8, 4
#: Characters that fit into a box: of its title, and of the small print.
_TITLE, _SMALL = 26, 34


def drawing(picture: Picture) -> str:
    """One element <svg>, with a text for those who cannot see it."""
    bands, y = [], 20
    for group in picture.groups:
        band, height = _band(group, y)
        bands.append(band)
        y += height + _BAND
    columns = max((_columns(len(group.right)) for group in picture.groups), default=1)
    width = _RIGHT + columns * (_WIDTH + _GAP) + 10
    height = max(y, 80)
    told = f"{picture.host}: {words(picture.groups)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img"><title>{esc(told)}</title>' + "".join(bands) + "</svg>"
    )


def esc(text: str) -> str:
    """TEXT between tags or in a quoted attribute; characters that nobody can see are shown as U+FFFD."""
    return html.escape(re.sub(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]",
                              "\ufffd", text))  # fmt: skip


def _columns(guests: int) -> int:
    return min(max(-(-guests // _ROWS), 1), _COLUMNS)


def _rows(guests: int) -> int:
    return -(-guests // _columns(guests))


def _band(group: Group, top: int) -> tuple[str, int]:
    """What is drawn of a group whose band begins at TOP, and how high it is."""
    cell = max((_height(box) for box in group.right), default=0)
    rows = _rows(len(group.right)) if group.right else 0
    left = sum(_height(box) + _GAP for box in group.left) - _GAP if group.left else 0
    right = rows * (cell + _GAP) - _GAP if rows else 0
    centre = _height(group.centre)
    height = max(left, right, centre)
    middle = top + height // 2
    wires, boxes = [], [_box(group.centre, _MIDDLE, middle - centre // 2, "ours" if group.ours else "")]
    y = middle - left // 2
    for box in group.left:
        boxes.append(_box(box, _LEFT, y))
        wires.append(_wire(_LEFT + _WIDTH, y + _height(box) // 2, _MIDDLE, middle))
        y += _height(box) + _GAP
    start = middle - right // 2
    for number, box in enumerate(group.right):
        column, row = divmod(number, rows)
        x, y = _RIGHT + column * (_WIDTH + _GAP), start + row * (cell + _GAP)
        boxes.append(_box(box, x, y))
        if column == 0:
            wires.append(_wire(_MIDDLE + _WIDTH, middle, x, y + _height(box) // 2))
        else:
            wires.append(_wire(x - _GAP, y + _height(box) // 2, x, y + _height(box) // 2))
    return f'<g class="network">{"".join((*wires, *boxes))}</g>', height


def _height(box: Box) -> int:
    return 2 * _PAD + 18 + _LINE * len(box.lines)


def _box(box: Box, x: int, y: int, extra: str = "") -> str:
    return (
        f'<g class="box {esc(box.kind)} {extra}"><title>{esc(_told(box))}</title>'
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_height(box)}" rx="7"/>{"".join(_texts(box, x, y))}</g>'
    )


def _texts(box: Box, x: int, y: int) -> Iterator[str]:
    yield f'<text class="name" x="{x + _PAD}" y="{y + _PAD + 13}">{esc(_fit(box.title, _TITLE))}</text>'
    for number, line in enumerate(box.lines, 1):
        yield f'<text x="{x + _PAD}" y="{y + _PAD + 14 + number * _LINE}">{esc(_fit(line, _SMALL))}</text>'


def _told(box: Box) -> str:
    return ", ".join((box.title, *box.lines))


def _fit(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "\u2026"


def _wire(x1: int, y1: int, x2: int, y2: int) -> str:
    half = (x1 + x2) // 2
    return f'<path d="M{x1} {y1} C{half} {y1} {half} {y2} {x2} {y2}"/>'


def words(groups: Sequence[Group]) -> str:
    """How much there is to see: "2 networks, 5 guests"."""
    guests = sum(1 for group in groups for box in group.right if box.kind == "guest")
    count = sum(1 for group in groups if group.centre.kind != "card")
    return f"{count} network{'' if count == 1 else 's'}, {guests} guest{'' if guests == 1 else 's'}"
