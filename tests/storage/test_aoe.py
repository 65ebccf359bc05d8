"""ATA over Ethernet: shelves that are found, lost and found again, on a kernel that has it."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.lab.uml import in_uml
from xmcompat.storage.needs import Need, need_of

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``aoe_inside`` found."""
    directory = tmp_path_factory.mktemp("uml") / "run"
    words = [sys.executable, "-m", "tests.storage.aoe_inside"]
    stdout, stderr, status = in_uml(directory, words, modules=("veth",), timeout=150)
    assert status == 0, stderr
    answers: dict[str, Any] = json.loads(stdout)
    return answers


@pytest.mark.parametrize(("path", "name", "device"), [
    ("/dev/etherd/e0.0", "e0.0", "e0.0"), ("/dev/etherd/e65534.254", "e65534.254", "e65534.254"),
    ("/dev/etherd/e1.2p3", "e1.2p3", "e1.2"),
])  # fmt: skip
def test_a_device_is_known_by_its_shelf_and_slot(path: str, name: str, device: str) -> None:
    assert need_of(path) == Need(kind="aoe", name=name, words={"device": device})


@pytest.mark.parametrize("path", [
    "/dev/etherd/discover", "/dev/etherd/e0", "/dev/etherd/e0.0p", "/dev/etherd/e0.0/x", "/dev/e0.0", "/srv/dev/etherd/e0.0",
])  # fmt: skip
def test_other_paths_are_no_shelves(path: str) -> None:
    need = need_of(path)
    assert need is None or need.kind != "aoe"


def test_a_shelf_is_found_and_is_the_one_for_two_guests(found: dict[str, Any]) -> None:
    assert found["aoe path"] == "" and found["aoe up"] is True


def test_a_guest_waits_for_a_shelf_that_is_away_and_loses_nothing(found: dict[str, Any]) -> None:
    assert found["aoe outage"] == {"waits": True, "ends": "DONE", "whole": True}


def test_who_has_it_open_keeps_it_though_the_last_guest_gave_it_back(found: dict[str, Any]) -> None:
    assert found["aoe given back while open"] == 512


def test_a_shelf_that_is_lost_fails_its_readers_and_is_forgotten_when_nobody_has_it_open(found: dict[str, Any]) -> None:
    assert found["aoe lost: read"] == 1
    assert found["aoe lost: known while open"] is True
    assert found["aoe lost: known"] is False
    assert found["aoe lost: others known"] is True


def test_a_shelf_that_is_back_is_found_again(found: dict[str, Any]) -> None:
    assert found["aoe back"] == ["", True]


@pytest.mark.parametrize(("case", "line"), [
    ("no module", "/dev/etherd/e0.0 needs the kernel's module aoe, which is not there for the kernel {kernel}; install a "
     "kernel that has it"),
    ("no interface", "e0.0 cannot be found: no Ethernet interface is up; run 'ip link set INTERFACE up'"),
    ("held to others", "e0.0 cannot be found: no Ethernet interface is up among those that the module's aoe_iflist names "
     "(eth2, eth3); run 'ip link set eth2 up'"),
    ("held to one", "e0.0 does not answer on av0, and no other shelf has answered; see that the shelf serves e0.0 there, to "
     "the MAC address of this host"),
    ("nobody answers", "e0.0 does not answer on av0, av1, and no other shelf has answered; see that the shelf serves e0.0 "
     "there, to the MAC address of this host"),
    ("another answers", "e0.0 does not answer on av0, av1; e1.0 answered; see that the shelf serves e0.0 there, to the MAC "
     "address of this host"),
])  # fmt: skip
def test_what_hides_a_shelf_is_told(found: dict[str, Any], case: str, line: str) -> None:
    assert found[case] == line.format(kernel=found["kernel"])
