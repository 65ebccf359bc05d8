"""Multicast groups of addresses: none is lost where an address goes right after it has come."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.lab.lan import BareHost
from tests.lab.networks import OneHost
from xmcompat.network import memberships, steps

LINK_LOCAL, ADDED = "fe80000000000000000000fffe000011", "20010db8000100000000000000000011"
GROUP = "ff0200000000000000000001ff000011"


def addresses(*digits: str, device: str = "up0") -> str:
    return "".join(f"{one} 02 40 20 80      {device}\n" for one in digits)


def groups(times: int, device: str = "up0") -> str:
    lines = f"2    {device:15} {GROUP} {times:5} 00000004 0\n" if times else ""
    return f"{lines}2    {device:15} ff020000000000000000000000000001     1 0000000C 0\n"


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    monkeypatch.setattr(memberships, "_PROC", tmp_path)

    def write(shown: str, joined: str) -> None:
        (tmp_path / "if_inet6").write_text(shown)
        (tmp_path / "igmp6").write_text(joined)

    return write


@pytest.mark.parametrize(
    ("shown", "joined", "address", "waits"),
    [
        (addresses(LINK_LOCAL, ADDED), groups(1), "2001:db8:1::11/64", True),
        (addresses(LINK_LOCAL, ADDED), groups(2), "2001:db8:1::11/64", False),
        (addresses(LINK_LOCAL), groups(1), "2001:db8:1::11/64", False),
        (addresses(LINK_LOCAL, ADDED), groups(0), "2001:db8:1::11/64", False),
        (addresses(LINK_LOCAL, ADDED, device="up01"), groups(1), "2001:db8:1::11/64", False),
        (addresses(LINK_LOCAL, ADDED), groups(1, device="up01"), "2001:db8:1::11/64", False),
        (addresses(LINK_LOCAL, ADDED), groups(1), "198.51.100.11/24", False),
    ],
    ids=["not joined yet", "joined", "no such address", "nothing to lose", "on another", "another in it", "of IPv4"],
)
def test_it_waits_while_the_membership_of_another_would_go(
    tables: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, shown: str, joined: str, address: str, waits: bool
) -> None:
    tables(shown, joined)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        tables(shown, groups(2))

    monkeypatch.setattr(time, "sleep", sleep)
    memberships.await_joined(address, "up0")
    assert bool(slept) is waits
    assert len(slept) <= 1


def test_one_that_joins_late_is_waited_for(tables: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another network of the host may keep the kernel from it for seconds."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += 0.1
        tables(addresses(LINK_LOCAL, ADDED), groups(1 if now < 5 else 2))

    tables(addresses(LINK_LOCAL, ADDED), groups(1))
    monkeypatch.setattr(memberships, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    memberships.await_joined("2001:db8:1::11/64", "up0")
    assert 5 <= now < 6


def test_a_membership_that_was_lost_before_is_not_waited_for_for_ever(
    tables: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables(addresses(LINK_LOCAL, ADDED), groups(1))
    monkeypatch.setattr(memberships, "PATIENCE", 0.05)
    begun = time.monotonic()
    memberships.await_joined("2001:db8:1::11/64", "up0")
    assert 0.05 <= time.monotonic() - begun < 5


def test_it_is_waited_for_before_an_address_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(memberships, "await_joined", lambda *words: said.append(("await", *words)))
    monkeypatch.setattr(steps.programs, "run", lambda words, text="": said.append(words) or "")
    for words in ("ip addr add fd00::1/64 dev up0", "ip addr del fd00::1/64 peer fd00::2/64 dev up0"):
        steps.act(steps.Command(tuple(words.split())))
    assert said == [
        ("ip", "addr", "add", "fd00::1/64", "dev", "up0"),
        ("await", "fd00::1/64", "up0"),
        ("ip", "addr", "del", "fd00::1/64", "peer", "fd00::2/64", "dev", "up0"),
    ]


def comes_and_goes(host: BareHost, times: int) -> int:
    """How often an address with the end of the link-local one came and went, before that one's group was lost."""

    def go() -> int:
        with subprocess.Popen(["ip", "-batch", "-"], stdin=subprocess.PIPE, text=True) as ip:
            assert ip.stdin is not None
            for number in range(times):
                print("addr add fd00::11/64 dev up0", file=ip.stdin, flush=True)
                while "fd000000000000000000000000000011" not in Path("/proc/net/if_inet6").read_text():
                    pass
                memberships.await_joined("fd00::11/64", "up0")
                print("addr del fd00::11/64 dev up0", file=ip.stdin, flush=True)
                while "fd000000000000000000000000000011" in Path("/proc/net/if_inet6").read_text():
                    pass
                if not any(line.split()[1:3] == ["up0", GROUP] for line in Path("/proc/net/igmp6").read_text().splitlines()):
                    return number
        return times

    return host.call(go, timeout=110)


def test_an_address_that_goes_at_once_leaves_the_others_group(lan: OneHost) -> None:
    lan.host.run("ip", "addr", "del", "2001:db8:1::11/64", "dev", "up0")
    assert comes_and_goes(lan.host, times=1000) == 1000
