"""DHCP for guests behind NAT: what dnsmasq is told. Pure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xmcompat.network import dhcp
from xmcompat.network.dhcp import Names
from xmcompat.network.host import Host, Server
from xmcompat.network.wanted import Nat

NAT = Nat(uplink="up0")
PLACE = "/run/xmcompat/nat/xennat0"
MAC = "00:16:3e:00:00:01"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("nameserver 192.0.2.53\nnameserver 192.0.2.54\nsearch example.com example.org\n",
         Names(("192.0.2.53", "192.0.2.54"), "example.com")),
        ("nameserver 127.0.0.53\noptions edns0\n", Names((), "", True)),
        ("nameserver 127.0.0.53\nnameserver 192.0.2.53\n", Names(("192.0.2.53",))),
        ("nameserver 2001:db8::53\n", Names((), "", True)),
        ("# nothing\n\ndomain\n", Names()),
        ("domain a,b\n", Names()),
    ],
)  # fmt: skip
def test_what_a_resolv_conf_says(text: str, names: Names) -> None:
    assert dhcp.names(text) == names


def test_guests_are_told_the_hosts_name_servers_and_its_domain() -> None:
    text = dhcp.configuration(NAT, Names(("192.0.2.53", "192.0.2.54"), "example.com"), PLACE)
    assert text.splitlines()[1:] == [
        "interface=xennat0", "except-interface=lo", "bind-dynamic", "no-hosts", "user=nobody",
        "pid-file=/run/xmcompat/nat/xennat0/pid", "dhcp-leasefile=/run/xmcompat/nat/xennat0/leases",
        "dhcp-hostsdir=/run/xmcompat/nat/xennat0/hosts", "dhcp-range=10.0.0.0,static,255.255.0.0,12h",
        "dhcp-authoritative", "dhcp-option=option:router,10.0.0.1", "port=0",
        "dhcp-option=option:dns-server,192.0.2.53,192.0.2.54", "dhcp-option=option:domain-name,example.com",
    ]  # fmt: skip


def test_where_guests_cannot_reach_the_name_servers_dnsmasq_asks_them() -> None:
    text = dhcp.configuration(NAT, Names(own=True), PLACE)
    assert "dhcp-option=option:dns-server,10.0.0.1" in text
    assert "port=0" not in text
    assert "dns-server" not in dhcp.configuration(NAT, Names(), PLACE)


def test_one_that_runs_is_left_alone() -> None:
    host = Host(servers=(Server("xennat0", PLACE),))
    assert dhcp.up(NAT, host, Names()) == ()
    assert dhcp.runs(NAT, host)
    assert not dhcp.runs(replace(NAT, bridge="xennat1"), host)


@pytest.mark.parametrize(
    ("domain", "index", "name"),
    [("web1", 0, "web1"), ("web_1.a:b/c+d", 0, "web-1-a-b-c-d"), ("web1", 1, "web1-2"), ("-", 0, "guest"), ("", 2, "3"),
     ("ignore", 0, "ignore-0"), ("12h", 0, "12h-0"), ("x" * 80, 0, "x" * 63), ("x" * 80, 1, "x" * 61 + "-2"),
     ("wéb,x\ny", 0, "w-b-x-y")],
)  # fmt: skip
def test_the_name_of_a_guest(domain: str, index: int, name: str) -> None:
    assert dhcp.guest_name(domain, index) == (name if name != "3" else "3-0")


def test_a_guest_is_a_file() -> None:
    (step,) = dhcp.guest_up("xennat0", MAC, "10.0.3.1", "web1", leases=f"1 {MAC} 10.0.3.1 web1 *\n")
    assert str(step.do) == f"cat > {PLACE}/hosts/00-16-3e-00-00-01 <<'END'\n{MAC},10.0.3.1,web1,12h\nEND"
    assert [str(step.do) for step in dhcp.guest_down("xennat0", MAC)] == [
        f"rm -f {PLACE}/hosts/00-16-3e-00-00-01", f"pkill -HUP -f -- '--conf-file={PLACE}/dnsmasq.conf'"
    ]  # fmt: skip


def test_an_address_that_another_mac_was_given_is_freed() -> None:
    """Without mac= a guest has another MAC at every start, and dnsmasq would keep its address for the old one."""
    leases = "1 00:16:3e:00:00:99 10.0.3.1 web1 *\n2 00:16:3e:00:00:77 10.0.3.7 db *\n"
    steps = dhcp.guest_up("xennat0", MAC, "10.0.3.1", "web1", leases=leases)
    assert [step.text for step in steps[1:]] == ["stop dnsmasq of 'xennat0'", "free 10.0.3.1", "start dnsmasq for 'xennat0'"]
    assert "00:16:3e:00:00:77" in str(steps[2].do)
    assert "00:16:3e:00:00:99" not in str(steps[2].do)
