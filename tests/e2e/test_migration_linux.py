"""A Linux guest on a bridge, moved live: it answers from outside on the other host, and is held there to what it was held to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.moving_hosts import WARNED, migrate, moving_hosts, names
from tests.e2e.network_hosts import LEAST, MOST, RATE, lies_that_pass, sending_speed
from tests.lab.hosts import GUESTS_OUTSIDE, GUESTS_PORT, Hosts
from tests.lab.networks import Booter

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(400)]

MAC, ADDRESS = "00:16:3e:00:00:01", "203.0.113.21"


@pytest.fixture(scope="module")
def hosts(lab_directory: Path) -> Iterator[Hosts]:
    with moving_hosts(lab_directory, 2, kvm=False) as hosts:
        yield hosts


def test_a_guest_on_a_bridge_goes_live_with_its_filters_and_its_rate(hosts: Hosts, boot: Booter) -> None:
    one, two = hosts.nodes
    vif = f"bridge=xenbr0,mac={MAC},ip={ADDRESS},rate={int(RATE)}Mb/s"
    guest = boot(one, {"web1": [vif]})["web1"]
    guest.use(f"{ADDRESS}/24")
    guest.check("(i=0; while :; do echo $i >>/tmp/ticks; i=$((i + 1)); sleep 0.1; done) >/dev/null 2>&1 &")
    before = guest.check("head -c 8388608 /dev/urandom >/tmp/random; md5sum /tmp/random")
    assert hosts.outside.pings(ADDRESS)
    done = migrate(one, "-l", "web1", two.name, timeout=180.0)
    assert (done.stdout, done.status) == ("", 0)
    assert re.fullmatch(WARNED, done.stderr)
    assert (names(one), names(two)) == ([], ["web1"])
    assert one.links() == [name for name in one.links() if not name.startswith("vnet")]
    assert hosts.outside.pings(ADDRESS)
    guest.host = two
    guest.await_shell()
    ticks = [int(line) for line in guest.check("cat /tmp/ticks").split()]
    assert ticks == list(range(len(ticks)))
    assert guest.check("md5sum /tmp/random") == before
    assert lies_that_pass(
        guest, two, GUESTS_PORT, mac=MAC, foreign="203.0.113.99", target=GUESTS_OUTSIDE
    ) == []  # fmt: skip
    assert LEAST < sending_speed(guest, hosts.outside, GUESTS_OUTSIDE, seconds=10) < MOST
