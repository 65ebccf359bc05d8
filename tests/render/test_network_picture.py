"""The drawing of the networks: every box in its place, nothing of a name is markup, many guests and few."""

from __future__ import annotations

import re
from itertools import combinations
from typing import NamedTuple

import pytest
from lxml import etree

from xmcompat.render.network_html import page
from xmcompat.render.network_picture import drawing
from xmcompat.render.network_text import difference, picture_document, picture_lines, plan_document, plan_lines, state_lines
from xmcompat.render.network_values import Action, Box, Change, Group, Network, Picture, Plan, State

SVG = "{http://www.w3.org/2000/svg}"
CARD = Box("card", "eth0", ("02:00:00:00:00:01",))


def guest(number: int) -> Box:
    return Box("guest", f"web{number}", (f"vif{number}.0  00:16:3e:00:00:{number:02x}", f"192.0.2.{number}"))


def picture(guests: int) -> Picture:
    first = Group(Box("bridge", "xenbr0", ("192.0.2.7/24",)), (CARD,), tuple(map(guest, range(1, guests + 1))), ours=True)
    overlay = Group(Box("bridge", "ov4"), (Box("overlay", "vxlan4", ("VXLAN 4 over xenbr0", "192.0.2.2")),))
    return Picture("host1", (first, overlay, Group(Box("card", "eth1", ("down",)))))


class Rectangle(NamedTuple):
    x: float
    y: float
    width: float
    height: float

    def meets(self, other: Rectangle) -> bool:
        return (self.x < other.x + other.width and other.x < self.x + self.width
                and self.y < other.y + other.height and other.y < self.y + self.height)  # fmt: skip


def boxes(svg: str) -> list[Rectangle]:
    found = etree.fromstring(svg).iter(f"{SVG}rect")
    return [Rectangle(*(float(rect.get(key, "")) for key in Rectangle._fields)) for rect in found]


@pytest.mark.parametrize("guests", [0, 1, 2, 9, 50, 200])
def test_all_boxes_are_in_the_drawing_and_no_two_meet(guests: int) -> None:
    svg = drawing(picture(guests))
    found = boxes(svg)
    assert len(found) == guests + 5
    assert not [pair for pair in combinations(found, 2) if pair[0].meets(pair[1])]
    _, _, width, height = map(float, etree.fromstring(svg).get("viewBox", "").split())
    assert all(box.x >= 0 and box.y >= 0 and box.x + box.width <= width and box.y + box.height <= height for box in found)


def test_guests_stand_right_of_their_bridge_and_cards_left() -> None:
    svg = drawing(picture(1))
    texts = {text.text: float(text.get("x", "")) for text in etree.fromstring(svg).iter(f"{SVG}text")}
    assert texts["eth0"] < texts["xenbr0"] < texts["web1"]
    assert "192.0.2.1" in texts


def test_every_box_is_wired() -> None:
    assert len(list(etree.fromstring(drawing(picture(12))).iter(f"{SVG}path"))) == 12 + 2


def test_what_does_not_fit_is_whole_in_the_tip() -> None:
    name = "a-guest-with-a-name-that-goes-on-and-on"
    svg = drawing(Picture("h", (Group(Box("bridge", "b"), (), (Box("guest", name),)),)))
    assert f"<title>{name}</title>" in svg
    assert f">{name}</text>" not in svg


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><b>', "a&b", "nul\0\x1b[31m", "\u202eabc"])
def test_nothing_in_a_name_is_markup_or_hidden(evil: str) -> None:
    shown = page(Picture(evil, (Group(Box("bridge", evil, (evil,)), (), (Box("guest", evil, (evil,)),)),), (evil,)),
                 Plan((Network(evil, evil, (Action(evil, evil),)),), (Change(evil, (evil,), ()),), ((evil, True),), evil))  # fmt: skip
    assert "<script" not in shown
    assert "<b>" not in shown.replace("<b>Warning:</b>", "").replace("<b>This needs --confirm:</b>", "")
    assert not re.search("[\x00\x1b\u202e]", shown)
    etree.fromstring(shown.replace("<!DOCTYPE html>", "").replace('<meta charset="utf-8">', "")
                     .replace('initial-scale=1">', 'initial-scale=1"/>').replace("'unsafe-inline'\">", "'unsafe-inline'\"/>")
                     .replace('no-referrer">', 'no-referrer"/>'))  # fmt: skip


def test_the_page_needs_nothing_else() -> None:
    shown = page(picture(3))
    assert "<svg" in shown
    assert not re.search(r"<(?:script|link|img|iframe)|url\(|https?://(?!www\.w3\.org/2000/svg)", shown)
    assert "2 networks, 3 guests" in shown


# -- text

PLAN = Plan(
    (Network("xenbr0", "a bridge with the card eth0", (Action("make the bridge xenbr0", "ip link add xenbr0 type bridge"),
                                                       Action("feed nft", "nft -f - <<'END'\nadd table x\nEND"))),
     Network("in0", "a segment of guests, without this host")),
    (Change("Addresses", ("192.0.2.7/24 on eth0", "10.0.0.1/8 on lo"), ("192.0.2.7/24 on xenbr0", "10.0.0.1/8 on lo")),),
    (("eth0 is called enp1s0", True), ("a card keeps its name", False)), "the change takes eth0, which carries the default route",
)  # fmt: skip
TEXT = """\
Warning: eth0 is called enp1s0
Note: a card keeps its name

xenbr0: a bridge with the card eth0
   1. make the bridge xenbr0
        ip link add xenbr0 type bridge
   2. feed nft
        nft -f - <<'END'
        add table x
        END
in0: a segment of guests, without this host: there already

Addresses:
  - 192.0.2.7/24 on eth0
    10.0.0.1/8 on lo
  + 192.0.2.7/24 on xenbr0

This needs --confirm: the change takes eth0, which carries the default route.
"""


def test_a_plan_as_text() -> None:
    assert "".join(f"{line}\n" for line in plan_lines(PLAN)) == TEXT


def test_a_plan_as_a_document() -> None:
    document = plan_document(PLAN)
    assert document["networks"] == [
        {"name": "xenbr0", "what": "a bridge with the card eth0", "steps": [
            {"text": "make the bridge xenbr0", "command": "ip link add xenbr0 type bridge"},
            {"text": "feed nft", "command": "nft -f - <<'END'\nadd table x\nEND"}]},
        {"name": "in0", "what": "a segment of guests, without this host", "steps": []},
    ]  # fmt: skip
    assert document["needs_confirmation"] == PLAN.confirm
    assert list(document["changes"]) == ["addresses"]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(), ["No network is asked for."]),
        (Plan(down=True), ["Nothing is to be taken away: no network has been made here."]),
        (Plan((Network("b", "a bridge"),)), ["b: a bridge: there already", "Nothing is to be done."]),
    ],
)
def test_a_plan_with_nothing_to_do(plan: Plan, said: list[str]) -> None:
    assert list(plan_lines(plan)) == said


def test_what_stays_is_between_what_goes_and_what_comes() -> None:
    assert list(difference(("a", "b"), ("b", "c"))) == ["- a", "  b", "+ c"]


def test_the_state_as_text() -> None:
    states = [State("xenbr0", "a bridge", "up", ("web1", "web2")), State("in0", "a segment", "half made", (), ("it is down",))]
    assert list(state_lines(states, "Process 7 is changing the networks.")) == [
        "Process 7 is changing the networks.", "xenbr0  a bridge: up, with web1, web2",
        "in0     a segment: half made, or half taken away", "        ! it is down",
    ]  # fmt: skip
    assert list(state_lines([])) == ["No network has been made here."]


def test_the_picture_as_text_and_as_a_document() -> None:
    lines = list(picture_lines(picture(1)))
    assert lines[:4] == ["host1", "  xenbr0 (192.0.2.7/24)", "    <- eth0 (02:00:00:00:00:01)",
                         "    -> web1 (vif1.0  00:16:3e:00:00:01, 192.0.2.1)"]  # fmt: skip
    networks = picture_document(picture(1))["networks"]
    assert isinstance(networks, list)
    assert networks[0]["guests"] == [{"kind": "guest", "name": "web1", "details": list(guest(1).lines)}]
