"""Hosts of many kinds, as facts: what their kernel has, and which files configure them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from xmcompat.network.configured import Facts, Stored
from xmcompat.network.host import Address, Host, Link, Route
from xmcompat.network.persist import System, Writing, writing
from xmcompat.network.wanted import Bridge, Network, Overlay, Routing, Segment, Vlan

ETH0, ETH1 = "52:54:00:00:00:01", "52:54:00:00:00:02"
BRIDGE = Bridge(name="xenbr0", uplink="eth0")


def host(*, dhcp: bool = False, ipv6: bool = False) -> Host:
    """Two cards; eth0 has the default route."""
    life = ("valid_lft", "3600", "preferred_lft", "3600") if dhcp else ()
    addresses = [Address(device="eth0", address="192.0.2.2", prefix=24, dynamic=dhcp, rest=life)]
    routes = [
        Route(device="eth0", destination="default", gateway="192.0.2.1", words=("default", "via", "192.0.2.1")),
        Route(device="eth0", destination="192.0.2.0/24", protocol="kernel"),
        Route(device="eth0", destination="203.0.113.0/24", gateway="192.0.2.3", metric=5,
              words=("203.0.113.0/24", "via", "192.0.2.3", "metric", "5")),
    ]  # fmt: skip
    if ipv6:
        addresses.append(Address(device="eth0", address="2001:db8::2", prefix=64))
        routes.append(Route(device="eth0", destination="default", family=6, gateway="2001:db8::1"))
    return Host(
        links=(Link(index=1, name="lo"), Link(index=2, name="eth0", mac=ETH0, up=True), Link(index=3, name="eth1", mac=ETH1)),
        addresses=tuple(addresses), routes=tuple(routes),
    )  # fmt: skip


def bonded() -> Host:
    """The card is a bond of two."""
    plain = host()
    links = (Link(index=2, name="bond0", kind="bond", mac=ETH0, mtu=9000), Link(index=3, name="eth0", master="bond0"),
             Link(index=4, name="eth1", master="bond0"))  # fmt: skip
    return replace(plain, links=links, addresses=tuple(replace(one, device="bond0") for one in plain.addresses))


def facts(files: dict[str, str], *programs: str) -> Facts:
    return Facts(files={path: Stored(text) for path, text in files.items()}, programs=frozenset(programs))


HOOK = {"/etc/network/if-pre-up.d/bridge": ""}
STATIC = """\
# of this host
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

allow-hotplug eth0
iface eth0 inet static
\taddress 192.0.2.2/24
\t# the router
\tgateway 192.0.2.1
\tdns-nameservers 192.0.2.53 \\
\t  192.0.2.54
\tmtu 1400
\tup ip route add 203.0.113.0/24 via 192.0.2.3 dev eth0
\tpost-up ethtool -K eth0 tso off
"""
IPV6 = STATIC + "iface eth0 inet6 static\n  address 2001:db8::2/64\n  gateway 2001:db8::1\n"
DHCP = "auto eth0\niface eth0 inet dhcp\nauto eth0:1\niface eth0:1 inet static\n  address 10.0.0.5/8\n"
BOND = """\
auto bond0
iface bond0 inet static
  bond-slaves eth0 eth1
  bond-mode 802.3ad
  address 192.0.2.2/24
  gateway 192.0.2.1
"""
NETWORKD_STATIC = """\
[Match]
Name=eth0
[Link]
RequiredForOnline=routable
[Network]
Address=192.0.2.2/24
Gateway=192.0.2.1
DNS=192.0.2.53
LLDP=yes
[Route]
Destination=203.0.113.0/24
Gateway=192.0.2.3
"""
NETWORKD_DHCP = "[Match]\nName=e*\n[Network]\nDHCP=yes\n[DHCPv4]\nUseDomains=yes\n"
MANAGED = "ADMIN_STATE=configured\nNETWORK_FILE={}\n"
PROFILE = """\
[connection]
id=Wired
uuid=11111111-2222-3333-4444-555555555555
type=ethernet
interface-name=eth0

[ethernet]
mtu=1400

[ipv4]
address1=192.0.2.2/24,192.0.2.1
dns=192.0.2.53;
method=manual

[ipv6]
addr-gen-mode=stable-privacy
method=auto
"""
NM_MANAGED = {"/run/NetworkManager/devices/2":
              "[device]\nmanaged=true\nconnection-uuid=11111111-2222-3333-4444-555555555555\n"}  # fmt: skip
NM_FOLDER = "/etc/NetworkManager/system-connections"

DMZ = Segment(name="xendmz0", addresses=("10.9.0.1/24", "fd00::1/64"))
DEAD = Segment(name="dead0", antispoof=True)
VLAN = (Vlan(name="eth0.100", parent="eth0", tag=100), Bridge(name="xenbr100", uplink="eth0.100"))
PEERS = Overlay(vni=7, bridge="vnet7", device="vnx7", underlay="xenbr0", local="192.0.2.2", peers=("192.0.2.9",))
GROUP = Overlay(vni=8, bridge="vnet8", device="vnx8", underlay="eth1", local="198.51.100.2", group="239.1.1.1")

Case = tuple[System, tuple[Network, ...], Host, Facts]


def _ifupdown(text: str, *wanted: Network, host: Host, more: dict[str, str] | None = None) -> Case:
    return System.IFUPDOWN, wanted, host, facts({"/etc/network/interfaces": text, **(more or {})}, "ifup")


def _networkd(text: str, *wanted: Network, host: Host, path: str = "/etc/systemd/network/20-lan.network",
              more: dict[str, str] | None = None) -> Case:  # fmt: skip
    state = {"/run/systemd/netif/links/2": MANAGED.format(path), path: text} if text else {}
    return System.NETWORKD, wanted, host, facts({**state, **(more or {})})


def _manager(text: str, *wanted: Network, host: Host) -> Case:
    files = {**NM_MANAGED, **({f"{NM_FOLDER}/Wired.nmconnection": text} if text else {})}
    return System.NETWORKMANAGER, wanted, host, facts(files)


CASES: dict[str, Case] = {
    "ifupdown-static": _ifupdown(STATIC, BRIDGE, host=host(), more=HOOK),
    "ifupdown-ipv6-by-ip": _ifupdown(IPV6, BRIDGE, host=host(ipv6=True)),
    "ifupdown-dhcp-with-label": _ifupdown(DHCP, BRIDGE, host=host(dhcp=True), more=HOOK),
    "ifupdown-two-bridges": _ifupdown(
        STATIC, BRIDGE, Bridge(name="xenbr1", uplink="eth1", antispoof=True), host=host(), more=HOOK
    ),
    "ifupdown-bond": _ifupdown(BOND, Bridge(name="xenbr0", uplink="bond0"), host=bonded(), more=HOOK),
    "ifupdown-vlan": _ifupdown(STATIC, *VLAN, host=host(), more=HOOK),
    "ifupdown-segments-overlays": _ifupdown(STATIC, DMZ, DEAD, PEERS, GROUP, host=host()),
    "networkd-static": _networkd(NETWORKD_STATIC, BRIDGE, host=host()),
    "networkd-dhcp-same-client": _networkd(
        NETWORKD_DHCP, BRIDGE, host=host(dhcp=True), path="/run/systemd/network/10-netplan-eth0.network",
        more={"/run/systemd/netif/leases/2": "ADDRESS=192.0.2.2\nCLIENTID=ff0a0b0c0d00020000ab11\n"},
    ),
    "networkd-from-kernel": _networkd("", BRIDGE, host=host(ipv6=True),
                                      more={"/etc/resolv.conf": "nameserver 127.0.0.53\nnameserver 192.0.2.53\n"}),
    "networkd-vlan-drop-in": _networkd(NETWORKD_STATIC, *VLAN, host=host()),
    "networkd-vlan-of-many": _networkd(NETWORKD_DHCP, *VLAN, host=host(dhcp=True)),
    "networkd-segments-overlays-routing": _networkd(NETWORKD_STATIC, BRIDGE, DMZ, DEAD, PEERS, GROUP,
                                                    Routing(uplink="xenbr0"), host=host()),
    "networkmanager-static": _manager(PROFILE, BRIDGE, host=host()),
    "networkmanager-from-kernel": _manager("", BRIDGE, host=host(ipv6=True)),
    "networkmanager-bond": _manager(
        PROFILE.replace("ethernet", "bond").replace("eth0", "bond0").replace("mtu=1400", "mode=802.3ad"),
        Bridge(name="xenbr0", uplink="bond0"), host=bonded(),
    ),
    "networkmanager-vlan-segment-overlay": _manager(PROFILE, *VLAN, DMZ, DEAD, PEERS, host=host()),
}  # fmt: skip


def written(case: Case) -> Writing:
    system, wanted, host, known = case
    return writing(wanted, host, known, system)


def shown(made: Writing) -> str:
    """All that is written, as one text."""
    files = [f"==> {one.path} {one.mode:o}\n{one.text}" for one in (*made.files, *made.edited)]
    return "\n".join((*files, *(f"Note: {note}" for note in made.notes))) + "\n"


def store(root: Path, known: Facts) -> None:
    """Put the files of KNOWN below ROOT."""
    for path, one in known.files.items():
        place = Path(f"{root}{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(one.text.encode("utf-8", "surrogateescape"))
        place.chmod(one.mode)


def content(root: Path) -> dict[str, tuple[bytes, int]]:
    """All files below ROOT, with their modes."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mode) for path in sorted(root.rglob("*"))
        if path.is_file()
    }  # fmt: skip
