"""``xend-relocation-hosts-allow``: each piece means one thing, or nothing is opened."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.migration.access import read_access


@pytest.mark.parametrize(
    ("text", "address", "names"),
    [
        (r"^192\.0\.2\.7$", "192.0.2.7", ()),
        (r"^192.0.2.7$", "192.0.2.7", ()),
        (r"^192\.0\.2\.7$", "::ffff:192.0.2.7", ()),
        (r"^192\.0\.2\.", "192.0.2.250", ()),
        (r"^192\.0\.2\..*$", "192.0.2.250", ()),
        (r"^10\.", "10.255.0.1", ()),
        (r"^2001:db8::1$", "2001:db8:0::1", ()),
        (r"^fe80::1$", "fe80::1%eth0", ()),
        (r"^localhost$ ^localhost\.localdomain$", "127.0.0.1", ()),
        (r"^localhost$", "::1", ()),
        (r"^web1\.example\.org$", "198.51.100.1", ("web1.example.org",)),
        (r"^web1[.]example[.]org$", "198.51.100.1", ("WEB1.Example.org.",)),
        (r"^web1$", "198.51.100.1", ("web1.example.org", "web1")),
        (r".*\.example\.org$", "198.51.100.1", ("web1.example.org",)),
        (r"^.*\.example\.org$", "198.51.100.1", ("a.b.example.org",)),
        (r"^web9$ ^192\.0\.2\.7$", "192.0.2.7", ("other",)),
    ],
)  # fmt: skip
def test_who_is_admitted(text: str, address: str, names: tuple[str, ...]) -> None:
    access = read_access(text)
    assert (access.unclear, access.everybody) == ((), False)
    assert access.admits(address, names)


@pytest.mark.parametrize(
    ("text", "address", "names"),
    [
        (r"^192.0.2.1", "192.0.2.10", ()),          # xend let it in
        (r"^192.0.2.1$", "192x0.2.1", ()),
        (r"192\.0\.2\.1", "192.0.2.100", ()),
        (r"^192\.0\.2\.", "192.0.20.1", ()),
        (r"example\.org$", "198.51.100.1", ("host.example.org",)),  # nor did xend
        (r".*\.example\.org", "198.51.100.1", ("web1.example.org.evil.test",)),  # xend let it in
        (r".*\.example\.org$", "198.51.100.1", ("example.org",)),
        (r".*\.example\.org$", "198.51.100.1", ("badexample.org",)),
        (r"^localhost$", "192.0.2.1", ("localhost",)),  # anybody may call his own address so
        (r"^web1$", "198.51.100.1", ("web10",)),
        (r"^web1$", "198.51.100.1", ()),
        (r"^web1$", "no address", ("web1",)),
    ],
)  # fmt: skip
def test_who_is_not(text: str, address: str, names: tuple[str, ...]) -> None:
    access = read_access(text)
    assert access.unclear == ()
    assert not access.admits(address, names)


@pytest.mark.parametrize("text", ["", " ", r"^web1$ ", r" ^web1$", r"^web1$  ^web2$", ".*", "^", "^.*$", r"^web1$ .*"])
def test_an_empty_piece_admits_everybody_and_is_told_apart(text: str) -> None:
    access = read_access(text)
    assert access.everybody and access.admits("203.0.113.9")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r"^192\.0\.2\.1[0-9]$", "more than a name or an address"),
        (r"^(web1|web2)$", "more than a name or an address"),
        (r"^192\.0\.2", r"write ^192\.0\.2\. for the network"),
        (r"^192\.0\.2\.1.*", r"write ^192\.0\.2\.1$"),
        (r".*example\.org$", r"(notexample.org); write .*\.example\.org$ or ^example\.org$"),
        (r"^web\.", r"write the whole name: ^web\.example\.org$"),
        (r"^web.*", "foreign domains"),
        (r"^$", "no host has an empty name"),
        (r"^2001:db8:", "write the whole address"),
        (r"^999\.1\.", "no beginning of an address"),
        (".*", ""),
        (r"^web1$ ^we(b)2$", "'^we(b)2$' is not guessed at"),
        ("^\x1b[31m$", "'^?[31m$'"),
    ],
)  # fmt: skip
def test_what_is_not_guessed_at_says_what_to_write(text: str, said: str) -> None:
    access = read_access(text)
    assert bool(access.unclear) == bool(said)
    assert said in "".join(access.unclear)


def test_what_admits_fewer_than_with_xend_is_told() -> None:
    assert read_access(r"^192\.0\.2\.1 ^web1\.a$").told == (
        r"'^192\.0\.2\.1' admits 192.0.2.1 alone; xend admitted all that begin so (write $ behind it)",
    )
    assert read_access(r"^192\.0\.2\. .*\.example\.org$").told == ()


def test_whether_names_matter_and_whether_it_is_this_host_alone() -> None:
    assert not read_access(r"^192\.0\.2\.").asks_names
    assert read_access(r"^192\.0\.2\. ^web1$").asks_names
    assert read_access(r"^localhost$ ^127\.0\.0\.1$").is_local
    assert not any(read_access(text).is_local for text in ("", r"^web1$", r"^localhost$ ^192\.0\.2\.1$"))


@given(st.text(max_size=80), st.one_of(st.ip_addresses().map(str), st.text(max_size=20)), st.lists(st.text(max_size=20)))
def test_any_text_and_any_peer(text: str, address: str, names: list[str]) -> None:
    assert read_access(text).admits(address, names) in (True, False)


WORDS = st.sampled_from(
    ["^", "$", ".*", r"\.", ".", "192", "0", "2", "1", "web1", "example", "org", "localhost", " ", "[.]", "-", ":", "(", "[0-9]"]
)


@given(st.lists(WORDS, min_size=1, max_size=10).map("".join), st.ip_addresses(v=4), st.sampled_from(["web1", "web1.example.org"]))
def test_nobody_is_admitted_whom_xend_would_have_rejected(text: str, peer: ipaddress.IPv4Address, name: str) -> None:
    """The law of reading narrowly, but for this host's own addresses, which xend knew by name."""
    access = read_access(text)
    if access.unclear or peer.is_loopback or not access.admits(str(peer), [name]):
        return
    pieces = text.split(" ")
    assert any(re.match(piece, str(peer)) or re.match(piece, name) for piece in pieces)
