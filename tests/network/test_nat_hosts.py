"""NAT in a real network: the law of undoing, packets, leases, forwards."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from tests.lab.frames import DHCP_ACK, DHCP_DISCOVER, DHCP_OFFER, DHCP_REQUEST, Frame, dhcp
from tests.lab.hosts import eventually
from tests.lab.lan import OUTSIDE, Place, set_sysctls
from tests.lab.networks import Joiner, OneHost, QemuBooter
from tests.lab.snapshot import same
from tests.lab.stations import Ear, Station
from tests.network.undoing import Made, bring_up, take_all_down, take_down, tried, wrong_of
from xmcompat.network import dhcp as dhcp_hosts
from xmcompat.network import host, nat, programs
from xmcompat.network.steps import take
from xmcompat.network.wanted import Forward, Nat, Routing

pytestmark = pytest.mark.timeout(300)

HOST = "198.51.100.11"
GUEST, MAC = "10.0.3.1", "00:16:3e:00:00:01"
WEB = Forward(protocol="tcp", port=8080, address=GUEST, port_inside=80)
WANTED = Nat(uplink="up0", forwards=(WEB, Forward(protocol="udp", port=5300, address=GUEST, port_inside=53)))
PLAIN = replace(WANTED, dhcp=False)

HARDENED = {"net.ipv4.conf.all.accept_redirects": "0", "net.ipv4.conf.lo.forwarding": "1"}
#: Seconds for dnsmasq to do what it is asked for.
PATIENCE = 15.0
#: Somebody else's rules: they stay as they are.
OTHERS = "table inet theirs {\n chain c {\n type filter hook forward priority 0; policy accept;\n }\n}\n"


def know(host: Place, mac: str, address: str, name: str) -> None:
    """The guest with MAC is called NAME and has ADDRESS."""
    host.call(lambda: take(dhcp_hosts.guest_up("xennat0", mac, address, name, leases=dhcp_hosts.read_leases("xennat0"))))


def forget(host: Place, mac: str) -> None:
    host.call(lambda: take(dhcp_hosts.guest_down("xennat0", mac)))


def servers(host: Place) -> list[str]:
    """The numbers of the dnsmasqs in the host's own table."""
    return host.outcome("pidof", "dnsmasq").stdout.split()


# -- the law of undoing


class WithPort(Made):
    """A guest's port is in the bridge whenever that is there."""

    def mend(self) -> None:
        if host.read_link("xennat0"):
            programs.run(("ip", "link", "set", "vif1.0", "master", "xennat0"))


@pytest.mark.parametrize("verb", ["up", "down"])
@pytest.mark.parametrize("wanted", [PLAIN, WANTED], ids=["plain", "dhcp"])
def test_the_law_of_undoing(lan: OneHost, wanted: Nat, verb: str) -> None:
    set_sysctls(lan.host, HARDENED)
    lan.host.run("nft", "-f", "-", input=OTHERS)
    actions, breaches = tried(lan.host, Made(wanted), verb)
    assert breaches == []
    assert actions == {"up": 13, "down": 10}[verb] - {"up": 3, "down": 2}[verb] * (not wanted.dhcp)
    assert lan.host.outcome("ls", "/run/xmcompat/nat/xennat0").status != 0


def test_the_way_back_can_be_finished_at_any_point(lan: OneHost) -> None:
    lan.host.run("ip", "-batch", "-", input="link add vif1.0 type veth peer name x\n")
    actions, breaches = tried(lan.host, WithPort(WANTED), "down")
    assert breaches == []
    assert actions > 4


def test_two_nats_and_routing_leave_in_any_order(lan: OneHost) -> None:
    before = lan.host.snapshot()
    other = Nat(uplink="up0", bridge="xennat1", network="10.9.0.0/24", dhcp=False)
    routing = Routing(uplink="up0")
    for first, second, third in ((PLAIN, other, routing), (routing, PLAIN, other), (other, routing, PLAIN)):
        bring_up(lan.host, PLAIN, other, routing)
        for going, staying in ((first, (second, third)), (second, (third,))):
            take_down(lan.host, going)
            assert [wrong_of(lan.host, one) for one in staying] == [[] for _ in staying]
        take_down(lan.host, third)
        assert same(before, lan.host.snapshot)


# -- packets


@pytest.fixture
def translated(lan: OneHost) -> OneHost:
    bring_up(lan.host, WANTED)
    assert wrong_of(lan.host, WANTED) == []
    return lan


@pytest.fixture
def guest(translated: OneHost, station: Joiner) -> Station:
    return joined(translated, station, 1, GUEST)


def joined(lan: OneHost, station: Joiner, number: int, address: str = "", gateway: str = "10.0.0.1") -> Station:
    one = station(
        lan.host, port=f"vif{number}.0", mac=f"00:16:3e:00:00:{number:02x}",
        addresses=[f"{address}/16"] if address else [], gateway=gateway if address else None,
    )  # fmt: skip
    lan.host.run("ip", "link", "set", one.port, "master", "xennat0")
    return one


@contextmanager
def served(place: Place, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> Iterator[list[str]]:
    """PLACE says its name on PORT; the addresses that asked are collected."""
    asked: list[str] = []
    with place.socket(socket.AF_INET, kind) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", port))
        server.settimeout(10)
        if kind == socket.SOCK_STREAM:
            server.listen(5)

        def answer() -> None:
            try:
                if kind == socket.SOCK_STREAM:
                    connection, who = server.accept()
                    with connection:
                        connection.sendall(place.name.encode())
                else:
                    _, who = server.recvfrom(100)
                    server.sendto(place.name.encode(), who)
                asked.append(who[0])
            except OSError:
                return

        thread = threading.Thread(target=answer)
        thread.start()
        yield asked
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)  # wakes one that nobody has asked
        thread.join(12)


def asks(place: Place, address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> str:
    """What the server at ADDRESS says, "" for nothing."""
    with place.socket(socket.AF_INET, kind) as client:
        client.settimeout(3)
        try:
            client.connect((address, port))
            if kind == socket.SOCK_DGRAM:
                client.send(b"who")
            return client.recv(100).decode()
        except OSError:
            return ""


def test_the_outside_sees_the_hosts_address_alone(translated: OneHost, guest: Station) -> None:
    with Ear(translated.outside, "lan") as ear:
        assert guest.pings(OUTSIDE)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with served(translated.outside, 7000, kind) as asked:
                assert asks(guest, OUTSIDE, 7000, kind) == "outside"
            assert asked == [HOST]
        heard = ear.listen(0.2)
    assert {frame.source for frame in heard if frame.kind == "ipv4"} == {HOST}
    assert not any(frame.source.startswith("10.") or frame.target.startswith("10.") for frame in heard)


def test_what_others_route_to_guests_reaches_them(translated: OneHost, guest: Station) -> None:
    assert guest.name
    translated.outside.run("ip", "route", "add", "10.0.0.0/16", "via", HOST)
    assert translated.outside.pings(GUEST)


def test_a_port_leads_to_a_guest_from_everywhere(translated: OneHost, guest: Station, station: Joiner) -> None:
    other = joined(translated, station, 2, "10.0.3.2")
    translated.host.sysctl("net.bridge.bridge-nf-call-iptables", "0")
    for place, seen in ((translated.outside, OUTSIDE), (translated.host, HOST), (other, "10.0.0.1"), (guest, "10.0.0.1")):
        with served(guest, 80) as asked:
            assert asks(place, HOST, 8080) == guest.name, place.name
        assert asked == [seen]
    with served(guest, 53, socket.SOCK_DGRAM) as asked:
        assert asks(translated.outside, HOST, 5300, socket.SOCK_DGRAM) == guest.name
    assert asked == [OUTSIDE]


def test_a_forward_comes_and_goes_alone(translated: OneHost, guest: Station) -> None:
    start = time.monotonic()
    ssh = Forward(protocol="tcp", port=2222, address=GUEST, port_inside=22)
    bring_up(translated.host, replace(WANTED, forwards=(*WANTED.forwards, ssh)))
    print("forward added", time.monotonic() - start)
    with served(guest, 22):
        assert asks(translated.outside, HOST, 2222) == guest.name
    bring_up(translated.host, WANTED)
    assert asks(translated.outside, HOST, 2222) == ""
    with served(guest, 80):
        assert asks(translated.outside, HOST, 8080) == guest.name


def test_the_hosts_own_services_are_not_disturbed(translated: OneHost, guest: Station) -> None:
    with served(translated.host, 7001) as asked:
        assert asks(guest, "10.0.0.1", 7001) == "host1"
    assert asked == [GUEST]
    with served(translated.host, 7001):
        assert asks(translated.outside, HOST, 7001) == "host1"


def test_a_guest_with_xens_static_numbers_finds_its_router(translated: OneHost, station: Joiner) -> None:
    guest = joined(translated, station, 1, "10.0.7.1", gateway="10.0.7.128")
    assert not guest.pings(OUTSIDE, count=1)
    translated.host.call(lambda: take(nat.guest_up("xennat0", "10.0.7.1", WANTED.network)))
    assert guest.pings(OUTSIDE, count=3)


def test_rules_that_somebody_has_flushed_are_missed_and_come_back(translated: OneHost, guest: Station) -> None:
    translated.host.run("nft", "flush", "ruleset")
    assert wrong_of(translated.host, WANTED) != []
    assert not guest.pings(OUTSIDE, count=1)
    bring_up(translated.host, WANTED)
    assert wrong_of(translated.host, WANTED) == []
    assert guest.pings(OUTSIDE)


# -- leases


def said(guest: Station, kind: int, wanted: int, seconds: float = PATIENCE, **values: str) -> Frame | None:
    """What dnsmasq answers with WANTED to the message KIND, which is sent each second, as guests do."""
    deadline = time.monotonic() + seconds
    with Ear(guest, "eth0") as ear:
        while time.monotonic() < deadline:
            guest.send(dhcp(kind, guest.mac, **values))
            if ear.hears(lambda frame: frame.sport == 67 and bytes([53, 1, wanted]) in frame.data, seconds=1):
                return ear.heard[-1]
    return None


def gets_none(guest: Station) -> bool:
    """Whether nobody offers the guest an address for a while."""
    return said(guest, DHCP_DISCOVER, DHCP_OFFER, seconds=3) is None


def leased(guest: Station) -> str:
    """The address that the guest gets, "" for none."""
    offer = said(guest, DHCP_DISCOVER, DHCP_OFFER)
    if offer is None:
        return ""
    address = socket.inet_ntoa(offer.data[16:20])
    ack = said(guest, DHCP_REQUEST, DHCP_ACK, address=address, server="10.0.0.1")
    assert ack is not None
    assert socket.inet_ntoa(ack.data[16:20]) == address
    assert b"\x03\x04\x0a\x00\x00\x01" in ack.data[236:]
    return address


def test_a_guest_gets_its_address_and_a_stranger_none(translated: OneHost, station: Joiner) -> None:
    guest, stranger = joined(translated, station, 1), joined(translated, station, 2)
    know(translated.host, guest.mac, GUEST, "web1")
    assert leased(guest) == GUEST
    assert gets_none(stranger)
    know(translated.host, stranger.mac, "10.0.3.2", "web2")
    assert leased(stranger) == "10.0.3.2"
    forget(translated.host, stranger.mac)
    eventually(lambda: gets_none(stranger), PATIENCE, what="the stranger is forgotten")
    assert leased(guest) == GUEST


def test_an_address_moves_to_a_guest_with_another_mac(translated: OneHost, station: Joiner) -> None:
    old, new = joined(translated, station, 1), joined(translated, station, 2)
    know(translated.host, old.mac, GUEST, "web1")
    assert leased(old) == GUEST
    forget(translated.host, old.mac)
    know(translated.host, new.mac, GUEST, "web1")
    assert leased(new) == GUEST
    assert len(servers(translated.host)) == 1


def test_a_dnsmasq_that_was_killed_is_started_again_and_knows_its_guests(translated: OneHost, station: Joiner) -> None:
    guest = joined(translated, station, 1)
    know(translated.host, guest.mac, GUEST, "web1")
    (pid,) = servers(translated.host)
    translated.host.run("kill", "-9", pid)
    while servers(translated.host):
        time.sleep(0.05)
    assert gets_none(guest)
    bring_up(translated.host, WANTED)
    assert len(servers(translated.host)) == 1
    assert leased(guest) == GUEST


def test_names_are_asked_for_by_dnsmasq_where_the_hosts_server_is_its_own(lan: OneHost, station: Joiner) -> None:
    """As with systemd-resolved, whose 127.0.0.53 no guest can reach."""
    lan.host.run("tee", "/etc/resolv.conf", input="nameserver 127.0.0.53\n")
    server = ("--listen-address=127.0.0.53", "--bind-interfaces", "--address=/example.com/192.0.2.80", "--no-resolv")
    lan.host.run("dnsmasq", "--conf-file=/dev/null", "--pid-file=/run/their.pid", *server)
    bring_up(lan.host, WANTED)
    guest = joined(lan, station, 1, GUEST)
    question = bytes.fromhex("5eed01000001000000000000") + b"\x07example\x03com\x00" + bytes.fromhex("00010001")
    with guest.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(3)
        client.sendto(question, ("10.0.0.1", 53))
        assert client.recv(500).endswith(socket.inet_aton("192.0.2.80"))


def test_a_linux_guest_gets_its_lease_and_goes_out(lan: OneHost, qemu: QemuBooter) -> None:
    bring_up(lan.host, WANTED)
    know(lan.host, MAC, GUEST, "web1")
    guest = qemu(lan.host, {"web1": {"vif1.0": MAC}})["web1"]
    lan.host.run("ip", "link", "set", "vif1.0", "master", "xennat0", "up")
    assert GUEST in guest.lease()
    assert guest.pings(OUTSIDE)
    with served(lan.outside, 7000) as asked:
        assert "outside" in guest.check(f"nc {OUTSIDE} 7000 </dev/null")
    assert asked == [HOST]
    guest.check("echo hello >/page; (httpd -p 80 -h / &)")
    eventually(lambda: page(lan.outside).endswith(b"hello\n"), 20, what="the guest's server answers")


def page(place: Place) -> bytes:
    """What PLACE gets from the server of the guest by the host's port, b"" for nothing."""
    data = b""
    with place.socket(socket.AF_INET, socket.SOCK_STREAM) as client, suppress(OSError):
        client.settimeout(10)
        client.connect((HOST, 8080))
        client.sendall(b"GET /page HTTP/1.0\r\n\r\n")
        while part := client.recv(1000):
            data += part
    return data


def test_a_dnsmasq_of_somebody_else_is_left_alone(lan: OneHost, station: Joiner) -> None:
    """As libvirt has one for each of its networks, which holds port 67 too."""
    lan.host.run("ip", "-batch", "-", input="link add virbr0 type bridge\naddr add 10.1.0.1/24 dev virbr0\nlink set virbr0 up\n")
    words = ("--interface=virbr0", "--bind-dynamic", "--except-interface=lo", "--dhcp-range=10.1.0.10,10.1.0.20")
    lan.host.run("dnsmasq", "--conf-file=/dev/null", "--pid-file=/run/their.pid", "--port=0", *words)
    bring_up(lan.host, WANTED)
    assert len(servers(lan.host)) == 2
    guest = joined(lan, station, 1)
    know(lan.host, guest.mac, GUEST, "web1")
    assert leased(guest) == GUEST
    take_all_down(lan.host, WANTED)
    theirs = lan.host.run("cat", "/run/their.pid").strip()
    eventually(lambda: servers(lan.host) == [theirs], PATIENCE, what="theirs alone is left")


def test_a_stale_pid_file_means_nothing(lan: OneHost) -> None:
    lan.host.run("mkdir", "-p", "/run/xmcompat/nat/xennat0")
    lan.host.run("tee", "/run/xmcompat/nat/xennat0/pid", input="1\n")
    bring_up(lan.host, WANTED)
    assert wrong_of(lan.host, WANTED) == []
    take_all_down(lan.host, WANTED)
    eventually(lambda: servers(lan.host) == [], PATIENCE, what="it has ended")
    assert lan.host.run("true") == ""
