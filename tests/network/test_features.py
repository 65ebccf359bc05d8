"""What a host lacks is found by trying it where it does no harm."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from xmcompat.network import features, programs
from xmcompat.network.programs import NetworkError, ProgramFailed
from xmcompat.network.wanted import Nat, Overlay, Vlan

OVERLAY = Overlay(vni=4, bridge="vnet0004", device="vnif0004", underlay="eth0")
VLAN = Vlan(name="eth0.5", parent="eth0", tag=5)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands that a host with all programs, and without VLAN and VXLAN, was asked for."""
    asked: list[str] = []

    def run(words: Sequence[str]) -> str:
        asked.append(" ".join(words))
        if "vlan" in words or "vxlan" in words:
            raise ProgramFailed(words, 2, "Unknown device type.")
        return ""

    monkeypatch.setattr(programs, "run", run)
    monkeypatch.setattr(programs, "is_there", lambda name: name != "dnsmasq")
    return asked


def test_all_is_tried_in_a_network_of_its_own(tried: list[str]) -> None:
    features.missing([OVERLAY, VLAN])
    assert len(tried) == len(features.FEATURES)
    assert all(command.startswith("unshare -n ") for command in tried)


def test_what_is_missing_is_named_with_what_it_serves(tried: list[str]) -> None:
    assert [tuple(one) for one in features.missing([OVERLAY, VLAN])] == [
        ("this kernel lacks VLANs, for bridges of one VLAN of a card", "it needs the option CONFIG_VLAN_8021Q", True),
        ("this kernel lacks VXLAN, for overlays and vnets", "it needs the option CONFIG_VXLAN", True),
    ]


def test_what_no_network_needs_is_neither_tried_nor_missed(tried: list[str]) -> None:
    assert features.missing() == []
    assert not [command for command in tried if "vlan" in command or "vxlan" in command]


def test_what_a_network_needs_weighs_more(tried: list[str]) -> None:
    needed = {one.text.split(",")[0]: one.needed for one in features.missing([OVERLAY, Nat(uplink="eth0")])}
    assert needed == {"the program 'dnsmasq' is missing": True, "this kernel lacks VXLAN": True}
    assert [one.needed for one in features.missing([VLAN])] == [True]


def test_probes_of_a_missing_program_are_not_run(tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "is_there", lambda name: name not in ("tc", "nft"))
    found = features.missing()
    assert [one.hint for one in found[:2]] == ["install the package iproute2", "install the package nftables"]
    assert not [command for command in tried if " tc " in command or " nft " in command]


def test_who_may_not_try_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(words: Sequence[str]) -> str:
        raise ProgramFailed(words, 1, "unshare: unshare failed: Operation not permitted")

    monkeypatch.setattr(programs, "run", run)
    with pytest.raises(NetworkError, match="no network can be made to try things in"):
        features.missing()
