"""The lab's networks as fixtures; loaded by ``tests/conftest.py`` as a plug-in. See ``lan.py``, ``stations.py`` and
``linux_guests.py`` for what can be done with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from tests.lab.lan import BareHost, Lan, NodeHost, Place
from tests.lab.linux_guests import GuestFiles, QemuGuest, XmGuest, boot_guests, build_network_guest
from tests.lab.stations import Station, joined

_numbers = count(1)


class OneHost(NamedTuple):
    """An outside and the host that is joined to it."""

    outside: BareHost
    host: BareHost
    lan: Lan


class TwoHosts(NamedTuple):
    """An outside and two hosts that are joined to it."""

    outside: BareHost
    one: BareHost
    two: BareHost
    lan: Lan


class OneNode(NamedTuple):
    """An outside and the host with a libvirtd that is joined to it."""

    outside: BareHost
    host: NodeHost
    lan: Lan


class TwoNodes(NamedTuple):
    """An outside and two hosts with a libvirtd each."""

    outside: BareHost
    one: NodeHost
    two: NodeHost
    lan: Lan


@contextmanager
def new_lan(lab_directory: Path) -> Iterator[Lan]:
    """An outside without hosts, for tests that want other ones than the fixtures have."""
    lan = Lan(lab_directory / f"lan{next(_numbers)}")
    try:
        yield lan
    finally:
        lan.close()


@pytest.fixture
def lan(lab_directory: Path) -> Iterator[OneHost]:
    """``lan.outside`` and the bare ``lan.host``, new for each test."""
    with new_lan(lab_directory) as made:
        yield OneHost(made.outside, made.bare_host(), made)


@pytest.fixture
def two_hosts(lab_directory: Path) -> Iterator[TwoHosts]:
    """``outside`` and the bare hosts ``one`` and ``two``, new for each test."""
    with new_lan(lab_directory) as made:
        yield TwoHosts(made.outside, made.bare_host(), made.bare_host(), made)


@pytest.fixture(scope="module")
def lan_node(lab_directory: Path) -> Iterator[OneNode]:
    """``outside`` and ``host``, which has a libvirtd and no bridges; one for all tests of a file."""
    with new_lan(lab_directory) as made:
        yield OneNode(made.outside, made.node_host(), made)


@pytest.fixture(scope="module")
def two_nodes(lab_directory: Path) -> Iterator[TwoNodes]:
    """``outside`` and the hosts ``one`` and ``two``, each with a libvirtd and no bridges; for all tests of a file."""
    with new_lan(lab_directory) as made:
        yield TwoNodes(made.outside, made.node_host(), made.node_host(), made)


class Joiner(Protocol):
    """How a station is joined to a host; see ``stations.joined``."""

    def __call__(
        self, host: Place, *, port: str, mac: str, addresses: Sequence[str] = (), gateway: str | None = None
    ) -> Station: ...


class Booter(Protocol):
    """How Linux guests are started; see ``linux_guests.boot_guests``."""

    def __call__(
        self, host: NodeHost, vifs: Mapping[str, Sequence[str]], *, more: str = ""
    ) -> dict[str, XmGuest]: ...


@pytest.fixture
def station(lab_directory: Path) -> Iterator[Joiner]:
    """Join a station: ``station(lan.host, port="vif1.0", mac="00:16:3e:00:00:01", addresses=[...])``."""
    directory = lab_directory / f"stations{next(_numbers)}"
    made: list[Station] = []

    def join(
        host: Place, *, port: str, mac: str, addresses: Sequence[str] = (), gateway: str | None = None
    ) -> Station:
        made.append(joined(host, directory, port=port, mac=mac, addresses=addresses, gateway=gateway))
        return made[-1]

    yield join
    for one in made:
        one.stop()


@pytest.fixture(scope="session")
def network_guest(run_directory: Path) -> GuestFiles:
    """Kernel and RAM disk of the Linux guests for tests of networks."""
    return build_network_guest(run_directory / "netguest")


@pytest.fixture(scope="module")
def boot(network_guest: GuestFiles) -> Iterator[Booter]:
    """Start guests for all tests of a file: ``boot(lan_node.host, {"web1": ["bridge=xenbr0"]})["web1"]``."""
    made: list[XmGuest] = []

    def start(
        host: NodeHost, vifs: Mapping[str, Sequence[str]], *, more: str = ""
    ) -> dict[str, XmGuest]:
        guests = boot_guests(host, network_guest, vifs, more=more)
        made.extend(guests.values())
        return guests

    yield start
    for guest in made:
        guest.stop()


def boot_side_by_side(boot: Booter, vifs: Mapping[NodeHost, Mapping[str, Sequence[str]]]) -> dict[str, XmGuest]:
    """Guests of several hosts, which boot at the same time."""
    with ThreadPoolExecutor(len(vifs)) as at_once:
        booted = list(at_once.map(boot, vifs.keys(), vifs.values()))
    return {name: guest for guests in booted for name, guest in guests.items()}


class QemuBooter(Protocol):
    """How Linux guests are started without libvirt; see ``linux_guests.QemuGuest``."""

    def __call__(self, host: Place, taps: Mapping[str, Mapping[str, str]]) -> dict[str, QemuGuest]: ...


@pytest.fixture
def qemu(network_guest: GuestFiles) -> Iterator[QemuBooter]:
    """Start guests on taps of any host: ``qemu(lan.host, {"web1": {"vif1.0": "00:16:3e:00:00:01"}})["web1"]``."""
    made: list[QemuGuest] = []

    def start(host: Place, taps: Mapping[str, Mapping[str, str]]) -> dict[str, QemuGuest]:
        guests = {}
        for name, devices in taps.items():
            guests[name] = QemuGuest(host, network_guest, name, devices)
            made.append(guests[name])
        for guest in guests.values():
            guest.await_shell()
        return guests

    yield start
    for guest in made:
        guest.stop()
