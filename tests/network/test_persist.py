"""Networks in the host's own configuration: what is written, that it is written once, and that it can be taken back."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.network import persist_hosts as hosts
from tests.network.persist_hosts import BRIDGE, CASES, facts, host, shown, written
from xmcompat.network import interfaces, keyfile
from xmcompat.network.configured import HEADER, Facts, Stored, kept
from xmcompat.network.host import Link, Route
from xmcompat.network.persist import Change, System, changed_since, changes, forgotten, system_of, writing
from xmcompat.network.programs import NetworkError
from xmcompat.network.wanted import Bridge, Nat


@contextmanager
def refused(pattern: str) -> Iterator[None]:
    """What is inside raises NetworkError, whose line with its hint has PATTERN."""
    with pytest.raises(NetworkError) as caught:
        yield
    assert re.search(pattern, caught.value.line())


GOLDEN = Path(__file__).parent / "golden_persist"


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_is_written(name: str, request: pytest.FixtureRequest) -> None:
    actual = shown(written(CASES[name]))
    golden = GOLDEN / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(actual)
    assert actual == golden.read_text()


def after(known: Facts, made: tuple[Change, ...]) -> Facts:
    """The files once CHANGES are made."""
    files = {path: one for path, one in known.files.items() if path not in {change.path for change in made}}
    files |= {change.path: Stored(change.after, known.files.get(change.path, Stored("", change.mode)).mode)
              for change in made if change.after is not None}  # fmt: skip
    return Facts(files=files, programs=known.programs)


def persisted(name: str) -> Facts:
    known = CASES[name][3]
    return after(known, changes(written(CASES[name]), known))


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_second_time_nothing_is_to_be_done(name: str) -> None:
    system, wanted, before, _ = CASES[name]
    now = persisted(name)
    assert changes(writing(wanted, before, now, system), now) == ()


@pytest.mark.parametrize("name", sorted(CASES))
def test_forgetting_brings_back_every_byte(name: str) -> None:
    now = persisted(name)
    assert after(now, forgotten(now)) == CASES[name][3]


@pytest.mark.parametrize("name", sorted(CASES))
def test_each_file_says_whose_it_is_and_how_to_remove_it(name: str) -> None:
    assert written(CASES[name]).files
    for file in written(CASES[name]).files:
        assert file.text.startswith(f"{HEADER}\n")
        assert file.mode == (0o600 if file.path.endswith(".nmconnection") else 0o644)


def test_networks_that_are_gone_leave_the_files() -> None:
    system, _, before, _ = CASES["networkd-segments-overlays-routing"]
    now = persisted("networkd-segments-overlays-routing")
    made = changes(writing([BRIDGE], before, now, system), now)
    assert "/etc/systemd/network/10-xmcompat-xendmz0.netdev" in {one.path for one in made if one.after is None}
    assert not any("xenbr0.netdev" in one.path for one in made)


def test_a_file_that_is_not_ours_is_not_overwritten() -> None:
    system, wanted, before, known = CASES["networkd-static"]
    path = "/etc/systemd/network/10-xmcompat-xenbr0.netdev"
    other = Facts(files={**known.files, path: Stored("[NetDev]\n")})
    with refused(rf"{path} is there already, and is not ours"):
        changes(writing(wanted, before, other, system), other)


# -- which system


def test_the_system_is_the_one_that_has_the_card() -> None:
    for name, (system, wanted, before, known) in CASES.items():
        if name not in ("networkd-from-kernel", "networkmanager-from-kernel"):
            assert system_of(wanted, before, known) is system, name


def test_two_systems_are_named() -> None:
    both = facts({"/etc/network/interfaces": hosts.STATIC, **hosts.NM_MANAGED}, "ifup")
    with refused(r"NetworkManager \(eth0\) and ifupdown \(eth0\); say which, with --system"):
        system_of([BRIDGE], host(), both)
    assert system_of([BRIDGE], host(), both, System.IFUPDOWN) is System.IFUPDOWN


def test_no_system_is_refused_with_what_to_do() -> None:
    with refused(r"NetworkManager configures eth0; let 'xend start' make the networks"):
        system_of([BRIDGE], host(), Facts())


def test_interfaces_without_ifupdown_are_nobodys() -> None:
    assert not interfaces.manages("eth0", facts({"/etc/network/interfaces": hosts.STATIC}))
    assert interfaces.manages("eth0", facts({"/etc/network/interfaces": hosts.STATIC}, "ifup"))


def test_an_unmanaged_card_is_not_networkds() -> None:
    known = facts({"/run/systemd/netif/links/2": "ADMIN_STATE=unmanaged\n"})
    with refused("neither systemd-networkd"):
        system_of([BRIDGE], host(), known)


# -- what cannot be


@pytest.mark.parametrize(("text", "why"), [
    ("mapping eth*\n  script x\n" + hosts.STATIC, "interfaces:1: a mapping chooses what eth0 gets"),
    ("iface eth0 inet static inherits base\n", "interfaces:1: 'iface eth0 inet static inherits base' is not understood"),
    (hosts.STATIC + "iface xenbr0 inet dhcp\n", "has a stanza for xenbr0 already"),
    (hosts.STATIC + f"{interfaces.ASIDE}x\n", "interfaces: the file has lines that look like xmcompat's"),
])  # fmt: skip
def test_interfaces_that_cannot_be_changed(text: str, why: str) -> None:
    known = facts({"/etc/network/interfaces": text}, "ifup")
    with refused(why):
        writing([BRIDGE], host(), known, System.IFUPDOWN)


@pytest.mark.parametrize(("old", "new", "why"), [
    ("[ethernet]", "[802-1x]\neap=tls\n[ethernet]", r"has \[802-1x\], which xmcompat does not write"),
    ("type=", "autoconnect-priority=999\ntype=", "highest autoconnect-priority"),
    ("type=", "controller=br7\ntype=", "makes eth0 a port of br7 already"),
])  # fmt: skip
def test_profiles_whose_place_cannot_be_taken(old: str, new: str, why: str) -> None:
    case = hosts._manager(hosts.PROFILE.replace(old, new, 1), BRIDGE, host=host())
    with refused(why):
        written(case)


def test_ports_of_a_bond_that_name_its_profile_are_refused() -> None:
    system, wanted, before, known = CASES["networkmanager-bond"]
    port = {f"{hosts.NM_FOLDER}/p.nmconnection": Stored("[connection]\nmaster=11111111-2222-3333-4444-555555555555\n")}
    with refused("is a port of bond0 by its profile's uuid; write master=bond0 there"):
        writing(wanted, before, Facts(files={**known.files, **port}), system)


def test_a_card_that_networkd_has_in_another_bridge_is_refused() -> None:
    case = hosts._networkd(hosts.NETWORKD_STATIC.replace("LLDP=yes", "Bridge=br7"), BRIDGE, host=host())
    with refused("puts eth0 into br7 already"):
        written(case)


@pytest.mark.parametrize(("name", "first"), [("20-lan", "10-"), ("05-lan", "00-"), ("00-lan", "0-"), ("00-z", "00-"),
                                             ("00", "00-"), ("0", "0-")])  # fmt: skip
def test_our_file_goes_before_the_cards_own(name: str, first: str) -> None:
    case = hosts._networkd(hosts.NETWORKD_STATIC, BRIDGE, host=host(), path=f"/etc/systemd/network/{name}.network")
    (path,) = [one.path for one in written(case).files if one.path.endswith("-eth0.network")]
    assert path == f"/etc/systemd/network/{first}xmcompat-eth0.network"
    assert path < f"/etc/systemd/network/{name}.network"


def test_what_stays_with_xend_is_said() -> None:
    made = writing([BRIDGE, Nat(uplink="xenbr0")], host(), CASES["networkd-static"][3], System.NETWORKD)
    assert "NAT behind xennat0, with its firewall and DHCP: 'xend start' does that at boot" in made.notes
    assert not any("xennat0" in one.path for one in made.files)


def test_a_lease_that_was_taken_over_is_asked_for_again() -> None:
    """After 'network up' the address has no end any more; the mark of the bridge remembers that it had."""
    up = host()
    bridge = replace(up.links[1], index=9, name="xenbr0", kind="bridge", alias="xmcompat bridge uplink=eth0 "
                     "lease=192.0.2.2/3600/3600 state=up")  # fmt: skip
    up = replace(up, links=(*up.links, bridge), addresses=tuple(replace(one, device="xenbr0") for one in up.addresses))
    text = shown(writing([BRIDGE], up, Facts(), System.NETWORKD))
    assert "DHCP=ipv4\n" in text
    assert "Address=192.0.2.2" not in text


@pytest.mark.parametrize("system", list(System))
def test_routes_that_no_file_can_have_are_told(system: System) -> None:
    def route(destination: str, *words: str, **values: Any) -> Route:
        return Route(device="eth0", destination=destination, gateway="192.0.2.3", words=(destination, *words), **values)

    up = host()
    more = (
        route("203.0.113.0/24"), route("10.8.0.0/16", "table", "7", table="7"), route("10.9.0.0/16", "tos", "0x10"),
        route("default", "metric", "900", metric=900),
    )  # fmt: skip
    known = facts({"/etc/network/interfaces": "auto lo\niface lo inet loopback\n", **hosts.HOOK})
    made = writing([BRIDGE], replace(up, routes=(*up.routes, *more)), known, system)
    assert [note for note in made.notes if "stands in no file" in note] == [
        f"'ip -4 route add {words} dev xenbr0' stands in no file: see to it yourself"
        for words in ("10.8.0.0/16 table 7", "10.9.0.0/16 tos 0x10", "default metric 900")
    ]
    assert not any("10.8.0.0" in one.text or "10.9.0.0" in one.text for one in made.files)


def test_a_profile_that_networkmanager_has_rewritten_is_still_ours() -> None:
    now = persisted("networkmanager-static")
    bare = {path: replace(one, text=one.text.removeprefix(f"{HEADER}\n")) for path, one in now.files.items()
            if path.endswith(".nmconnection")}  # fmt: skip
    gone = {one.path for one in forgotten(Facts(files={**now.files, **bare})) if one.after is None}
    assert f"{hosts.NM_FOLDER}/xmcompat-xenbr0.nmconnection" in gone
    assert f"{hosts.NM_FOLDER}/Wired.nmconnection" not in gone


# -- a file of others that is changed


def test_what_others_change_later_is_kept() -> None:
    now = persisted("ifupdown-static")
    main = now.files[interfaces.MAIN]
    more = main.text + "auto eth7\niface eth7 inet dhcp\n"
    changed = Facts(files={**now.files, interfaces.MAIN: Stored(more)}, programs=now.programs)
    assert after(changed, forgotten(changed)).text(interfaces.MAIN) == hosts.STATIC + "auto eth7\niface eth7 inet dhcp\n"
    assert changed_since(changed) == {interfaces.MAIN: (hosts.STATIC, hosts.STATIC + "auto eth7\niface eth7 inet dhcp\n")}
    assert changed_since(now) == {}


def test_our_own_line_changed_by_others_is_refused() -> None:
    now = persisted("ifupdown-static")
    text = now.text(interfaces.MAIN).replace("iface eth0 inet manual", "iface eth0 inet dhcp")
    changed = Facts(files={**now.files, interfaces.MAIN: Stored(text)})
    with refused(f"has become 'iface eth0 inet dhcp'; .*{kept(interfaces.MAIN)} is how it was"):
        forgotten(changed)


_WORD = st.text(alphabet=string.ascii_lowercase + string.digits + "./:-", min_size=1, max_size=8)
_OPTION = st.builds("{}{} {}{}".format, st.sampled_from(["", "  ", "\t"]),
                    st.sampled_from(["address", "gateway", "mtu", "up", "dns-search", "post-up"]), _WORD,
                    st.sampled_from(["", " ", " \\\n more"]))  # fmt: skip
_STANZA = st.builds(
    lambda device, family, method, options: "\n".join((f"iface {device} {family} {method}", *options)),
    st.sampled_from(["eth0", "eth0:1", "eth1", "lo"]), st.sampled_from(["inet", "inet6"]),
    st.sampled_from(["static", "dhcp", "manual", "auto"]), st.lists(_OPTION, max_size=3),
)  # fmt: skip
_LINE = st.one_of(_STANZA, st.sampled_from(["", "# a comment", "#", "auto eth0", "allow-hotplug eth1", "\t"]))
_FILE = st.builds(lambda lines, end: "\n".join(lines) + end, st.lists(_LINE, max_size=8), st.sampled_from(["", "\n", "\n\n"]))


@given(_FILE, st.sampled_from(["", "source /etc/network/interfaces.d/*\n"]))
def test_any_interfaces_file_comes_back_byte_for_byte(text: str, source: str) -> None:
    known = facts({interfaces.MAIN: source + text}, "ifup")
    made = changes(writing([BRIDGE, hosts.DMZ], host(), known, System.IFUPDOWN), known)
    now = after(known, made)
    assert changes(writing([BRIDGE, hosts.DMZ], host(), now, System.IFUPDOWN), now) == ()
    assert after(now, forgotten(now)) == known
    left = interfaces.of_device("eth0", {path: one.text for path, one in now.files.items()})
    assert all(one.method == "manual" for one in left)


@given(_FILE)
def test_no_option_is_lost(text: str) -> None:
    """Each option of the card's stanzas is an option of the card, or of its bridge."""
    known = facts({interfaces.MAIN: text}, "ifup")
    now = after(known, changes(writing([BRIDGE], host(), known, System.IFUPDOWN), known))
    files = {path: one.text for path, one in now.files.items()}
    given_options = [line.words for one in interfaces.of_device("eth0", {interfaces.MAIN: text}) for line in one.options]
    kept_options = [line.words for name in ("eth0", "xenbr0") for one in interfaces.of_device(name, files)
                    for line in one.options]  # fmt: skip
    for words in given_options:
        assert words in kept_options


@given(st.text(max_size=80))
def test_any_text_is_read_as_sections(text: str) -> None:
    for section in keyfile.parse(text):
        assert all("=" not in key for key, _ in section.lines)


@pytest.mark.parametrize("name", ["networkd-static", "networkd-dhcp-same-client", "networkmanager-static"])
def test_after_the_reboot_the_files_are_the_same(name: str) -> None:
    """The system names a file of ours then; the one that the card had fits by words that only the system understands."""
    system, wanted, before, known = CASES[name]
    strange = {path: replace(one, text=one.text.replace("Name=e", "Driver=e").replace("interface-name=eth0", "multi=1"))
               for path, one in known.files.items()}  # fmt: skip
    known = replace(known, files=strange)
    now = after(known, changes(writing(wanted, before, known, system), known))
    booted = {path.replace("leases/2", "leases/9"): one for path, one in now.files.items()}
    before = replace(before, links=(*before.links, Link(index=9, name="xenbr0", kind="bridge", mac=hosts.ETH0)))
    for path in booted:
        if path.startswith("/run/systemd/netif/links"):
            booted[path] = Stored("ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/00-xmcompat-eth0.network\n")
        elif path.startswith("/run/NetworkManager"):
            booted[path] = Stored("[device]\nmanaged=true\nconnection-uuid=73812384-cb7f-59b7-b074-26bdcccfcd65\n")
    again = replace(now, files=booted)
    made = changes(writing(wanted, before, again, system), again)
    assert [one.path for one in made] == []


def test_two_bridges_of_one_segment_say_their_marks() -> None:
    text = shown(writing([Bridge(name="xenbr1", uplink="eth1", antispoof=True)], host(), Facts(), System.NETWORKD))
    assert "Alias=xmcompat bridge uplink=eth1 antispoof=yes state=up" in text
