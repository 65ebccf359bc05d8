"""Which programs configure a card by DHCP."""

from __future__ import annotations

from tests.lab.networks import OneHost
from xmcompat.network.dhcp_clients import of_card


def test_clients_are_known_by_their_card() -> None:
    processes = [
        (1, ["/sbin/init"]),
        (412, ["/sbin/dhclient", "-4", "-pf", "/run/dhclient.eth0.pid", "eth0"]),
        (413, ["dhclient", "eth1"]),
        (414, ["udhcpc", "-i", "eth0"]),
        (415, ["dhcpcd:", "--background"]),
        (416, ["vim", "eth0"]),
        (417, []),
    ]
    assert list(of_card("eth0", processes)) == ["dhclient (process 412)", "udhcpc (process 414)", "dhcpcd (process 415)"]
    assert list(of_card("eth1", processes)) == ["dhclient (process 413)", "dhcpcd (process 415)"]


def test_a_client_that_runs_is_found(lan: OneHost) -> None:
    code = """
import os, subprocess
from pathlib import Path
from xmcompat.network.dhcp_clients import clients
Path("/run/systemd/netif/leases").mkdir(parents=True)
Path("/run/systemd/netif/leases/2").write_text("ADDRESS=198.51.100.11")
Path("/run/NetworkManager/devices").mkdir(parents=True)
Path("/run/NetworkManager/devices/2").write_text("[device]\\nnic=manual")
Path("/run/NetworkManager/devices/3").write_text("[device]\\n[dhcp4]")
process = subprocess.Popen(["udhcpc", "-i", "up0"], executable="/bin/sleep", stderr=subprocess.DEVNULL)
process.wait()
print(clients("up0", 2), clients("up0", 3))
"""
    assert lan.host.python(code).strip() == "['systemd-networkd'] ['NetworkManager']"
