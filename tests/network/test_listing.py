"""Our table as lines, before a plan and after it."""

from __future__ import annotations

from xmcompat.network import listing
from xmcompat.network.steps import Command, Setting, Step

LISTED = """table inet xmcompat {
\tmap nat-forwards-xennat0 {
\t\ttype inet_proto . inet_service : ipv4_addr . inet_service
\t\telements = { tcp . 80 : 10.0.0.5 . 80,
\t\t\t     tcp . 81 : 10.0.0.6 . 80 }
\t}

\tchain note-route-up0 {
\t\tcontinue comment "xmcompat route uplink=up0 state=up"
\t}

\tchain nat-in-xennat0 {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\tip daddr != 10.0.0.1 accept
\t}
}
"""
THERE = listing.parse(LISTED)


def nft(text: str) -> Step:
    return Step(text="", do=Command(("nft", "-f", "-"), text))


def after(text: str) -> list[str]:
    return list(listing.lines(listing.after(THERE, [nft(text), Step(text="", do=Setting("a", "b"))])))


def test_notes_are_left_out_of_the_lines() -> None:
    assert after("") == [
        "map nat-forwards-xennat0: type inet_proto . inet_service : ipv4_addr . inet_service",
        "map nat-forwards-xennat0: tcp . 80 : 10.0.0.5 . 80", "map nat-forwards-xennat0: tcp . 81 : 10.0.0.6 . 80",
        "chain nat-in-xennat0: type nat hook prerouting priority -100; policy accept",
        "chain nat-in-xennat0: ip daddr != 10.0.0.1 accept",
    ]  # fmt: skip


def test_writing_again_what_is_there_changes_nothing() -> None:
    again = (
        "add table inet xmcompat\n"
        "add chain inet xmcompat nat-in-xennat0 { type nat hook prerouting priority -100 ; policy accept ; }\n"
        "flush chain inet xmcompat nat-in-xennat0\nadd rule inet xmcompat nat-in-xennat0 ip daddr != 10.0.0.1 accept\n"
    )
    assert after(again) == after("")


def test_elements_come_and_go() -> None:
    text = (
        "delete element inet xmcompat nat-forwards-xennat0 { tcp . 80 : 10.0.0.5 . 80 }\n"
        "add element inet xmcompat nat-forwards-xennat0 { tcp . 82 : 10.0.0.7 . 80, udp . 5 : 10.0.0.7 . 5 }\n"
    )
    assert [line.partition(": ")[2] for line in after(text)[1:4]] == [
        "tcp . 81 : 10.0.0.6 . 80", "tcp . 82 : 10.0.0.7 . 80", "udp . 5 : 10.0.0.7 . 5",
    ]  # fmt: skip


def test_what_is_deleted_is_no_more() -> None:
    gone = "flush chain inet xmcompat nat-in-xennat0\ndelete chain inet xmcompat nat-in-xennat0\n"
    assert [line for line in after(gone) if "nat-in" in line] == []
    assert after("delete table inet xmcompat\n") == []
