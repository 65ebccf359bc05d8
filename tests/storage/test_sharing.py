"""Xen's rule for sharing, over every combination, and the reading of mountinfo."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.storage.sharing import Held, HostUse, Identity, Mount, conflict, parse_mountinfo

ONE = frozenset({Identity("block", 253, 3)})
OTHER = frozenset({Identity("block", 253, 4)})
FILE = frozenset({Identity("file", 253, 3)})
PATH = "/dev/vg0/web1"

MODES = {"r": (False, False), "w": (True, False), "w!": (True, True)}


def in_guest(mode: str, identities: frozenset[Identity] = ONE, path: str = "/dev/dm-3") -> Held:
    writable, shareable = MODES[mode]
    return Held("other", path, not writable, shareable, identities)


def why(mode: str, others: tuple[Held, ...] = (), mounts: tuple[HostUse, ...] = ()) -> str | None:
    writable, shareable = MODES[mode]
    found = conflict(PATH, ONE, writable=writable, shareable=shareable, others=others, mounts=mounts)
    return found.why if found else None


GUEST_W = "Device /dev/vg0/web1 is mounted in a guest domain,\nand so cannot be mounted now."
GUEST_R = "Device /dev/vg0/web1 is mounted read-write in a guest domain,\nand so cannot be mounted read-only now."
HOST_W = "Device /dev/vg0/web1 is mounted in the privileged domain,\nand so cannot be mounted by a guest."
HOST_R = (
    "Device /dev/vg0/web1 is mounted read-write in the privileged domain,\n"
    "and so cannot be mounted read-only by a guest."
)


@pytest.mark.parametrize(
    ("mode", "holder", "expected"),
    [
        ("r", "r", None), ("r", "w", GUEST_R), ("r", "w!", GUEST_R),
        ("w", "r", GUEST_W), ("w", "w", GUEST_W), ("w", "w!", GUEST_W),
        ("w!", "r", None), ("w!", "w", None), ("w!", "w!", None),
    ],
)
def test_another_guest(mode: str, holder: str, expected: str | None) -> None:
    assert why(mode, (in_guest(holder),)) == expected


@pytest.mark.parametrize(
    ("mode", "readonly", "expected"),
    [
        ("r", True, None), ("r", False, HOST_R),
        ("w", True, HOST_W), ("w", False, HOST_W),
        ("w!", True, None), ("w!", False, None),
    ],
)
def test_this_host(mode: str, readonly: bool, expected: str | None) -> None:
    assert why(mode, mounts=(HostUse(ONE, readonly),)) == expected


def test_who_has_it_is_told() -> None:
    rule = {"writable": True, "shareable": False}
    by_guest = conflict(PATH, ONE, **rule, others=(in_guest("r"),), mounts=())
    by_host = conflict(PATH, ONE, **rule, others=(), mounts=(HostUse(ONE, True, "/srv"),))
    assert by_guest and by_guest.holder == "the domain other has it"
    assert by_host and by_host.holder == "this host has it mounted on /srv"


@pytest.mark.parametrize(("mode", "identities"), list(product(MODES, (OTHER, FILE, frozenset[Identity]()))))
def test_another_object_is_no_conflict(mode: str, identities: frozenset[Identity]) -> None:
    assert why(mode, (in_guest("w", identities),), (HostUse(identities, False),)) is None


def test_what_cannot_be_seen_is_known_by_its_name() -> None:
    assert why("w", (in_guest("r", frozenset(), PATH),)) == GUEST_W


def test_a_loop_device_is_the_file_behind_it() -> None:
    both = FILE | {Identity("block", 7, 0)}
    assert conflict("/srv/x.img", FILE, writable=True, shareable=False, others=[in_guest("w", both)], mounts=[])


@given(st.sampled_from(sorted(MODES)), st.lists(st.sampled_from(sorted(MODES))))
def test_what_a_writer_may_a_reader_may_and_a_sharer_always(mode: str, holders: list[str]) -> None:
    others = tuple(in_guest(holder) for holder in holders)
    if why("w", others) is None:
        assert why("r", others) is None
    assert why("w!", others) is None


def test_mountinfo_of_a_real_host() -> None:
    text = (
        "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n"
        "23 22 0:21 / /proc rw,nosuid - proc proc rw\n"
        "40 22 7:0 / /mnt/a\\040b ro,relatime shared:5 master:3 propagate_from:2 - iso9660 /dev/loop0 ro,nojoliet\n"
        "41 22 8:1 /sub /bind ro - xfs /dev/sd\\134a1 rw\n"
    )
    assert parse_mountinfo(text) == [
        Mount(254, 0, "/dev/vda", "/", False),
        Mount(0, 21, "proc", "/proc", False),
        Mount(7, 0, "/dev/loop0", "/mnt/a b", True),
        # a read-only view of what is mounted read-write
        Mount(8, 1, "/dev/sd\\a1", "/bind", False),
    ]


@pytest.mark.parametrize("sign", ["\u2028", "\x85", "\x0b", "\r", "\u00a0"])
def test_a_sign_that_ends_lines_elsewhere_is_a_part_of_a_mounts_name(sign: str) -> None:
    """The kernel writes blanks, tabs and ends of lines as numbers, and all else as it is."""
    text = f"22 1 254:0 / /mnt/a{sign}b rw - ext4 /dev/vda rw\n23 22 8:1 / /b rw - xfs /dev/sda1 rw\n"
    assert parse_mountinfo(text) == [
        Mount(254, 0, "/dev/vda", f"/mnt/a{sign}b", False), Mount(8, 1, "/dev/sda1", "/b", False)
    ]  # fmt: skip


def test_this_hosts_mountinfo_is_read_whole() -> None:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
    mounts = parse_mountinfo(text)
    assert len(mounts) == len(text.splitlines())
    assert "/" in {mount.point for mount in mounts}


@given(st.text())
def test_any_text_is_read_without_failing(text: str) -> None:
    assert len(parse_mountinfo(text)) <= len(text.splitlines())
