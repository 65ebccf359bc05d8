"""Guests on a bridge of Open vSwitch whose frames pass by the kernel: nothing there can hold them, so that xm says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Writer, pv_writer
from tests.e2e.network_hosts import configure, left_over, network
from tests.lab.lan import NodeHost
from tests.lab.networks import OneNode
from tests.network.test_openvswitch import running

pytestmark = [pytest.mark.libvirt, pytest.mark.timeout(300)]

VIF = "mac=00:16:3e:00:00:01,bridge=ovsbr0"


@pytest.fixture(scope="module")
def host(lan_node: OneNode) -> Iterator[NodeHost]:
    configure(lan_node.host, "", "[network.switches.ovsbr0]\ndatapath = 'netdev'\n")
    with running(lan_node.host):
        network(lan_node.host, "up")
        yield lan_node.host


@pytest.fixture(scope="module")
def pv(host: NodeHost) -> Writer:
    return pv_writer(host.node.directory)


@pytest.mark.parametrize("word", ["ip=192.0.2.10", "rate=8Mb/s"])
def test_what_could_not_be_held_is_not_started(host: NodeHost, pv: Writer, word: str) -> None:
    before = host.snapshot()
    config = str(pv(vif=[f"{VIF},{word}"]))
    assert host.xm("create", "-q", config) == (
        "", "Error: Device 0 (vif) could not be connected. 'ovsbr0' is a bridge of Open vSwitch outside of the kernel (datapath "
        "netdev), where nothing holds a guest to ip=, antispoof or rate=; leave these words out, or use the kernel's datapath\n", 1,
    )  # fmt: skip
    assert "web1" not in host.xm("list").stdout
    assert left_over(before, host) == ""


def test_a_guest_without_such_words_has_its_port(host: NodeHost, pv: Writer) -> None:
    config = str(pv(vif=[VIF]))
    assert host.xm("create", "-q", config) == ("", "", 0)
    (port,) = host.run("ovs-vsctl", "list-ports", "ovsbr0").split()
    assert host.json("ip", "-j", "link", "show", "dev", port)[0]["address"] == "fe:16:3e:00:00:01"
    assert host.xm("destroy", "web1").status == 0
    assert host.run("ovs-vsctl", "list-ports", "ovsbr0") == ""
