"""The text of a port's table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.network import filters
from xmcompat.network.programs import NetworkError
from xmcompat.network.wanted import Mode, Port, Rate

MAC = "00:16:3e:00:00:01"


def port(*addresses: str, device: str = "vif3.0", held: bool = False, mac: str = MAC, mode: Mode = Mode.BRIDGE) -> Port:
    return Port(device=device, mac=mac, addresses=addresses, held=held, mode=mode)


def test_a_port_without_limits_needs_no_table() -> None:
    assert filters.text(port()) == ""


def test_a_ports_first_chain_hangs_on_its_device_and_tells_whose_it_is() -> None:
    text = filters.text(port(held=True))
    assert text.startswith('table netdev xmcompat {\n  chain in/vif3.0 {\n    type filter hook ingress device "vif3.0" priority -300;')
    assert f'comment "xmcompat port device=vif3.0 mac={MAC}"' in text


def test_no_chain_is_left_out_when_a_port_is_removed() -> None:
    text = filters.text(port("192.0.2.1", *(f"2001:db8:{number}::1" for number in range(9))), receiving=Rate(speed=1, burst=1))
    made = {line.split()[1] for line in text.splitlines() if line.startswith("  chain ")}
    removed = {line.split()[-1] for line in filters.remove("vif3.0").splitlines() if line.startswith("delete chain ")}
    assert made == removed == {f"{kind}/vif3.0" for kind in ("in", "out", "ipv6", "fragments", "targets")}


def test_a_held_port_without_addresses_has_its_mac_address_alone_checked() -> None:
    text = filters.text(port(held=True))
    assert text.count(" drop\n") == 3
    assert f"ether saddr != {MAC} drop" in text
    assert "ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop" in text
    assert f"arp saddr ether != {MAC} drop" in text


def test_overlapping_words_are_one_network() -> None:
    text = filters.text(port("192.0.2.1", "192.0.2.0/25", "192.0.2.128/25", "192.0.2.1"))
    assert "ip saddr != 192.0.2.0/24 ip saddr != 0.0.0.0 drop" in text


def test_many_addresses_are_a_set() -> None:
    words = [f"192.0.2.{2 * number}" for number in range(1, 9)]
    assert f"ip saddr != {{ {', '.join(words)}, 0.0.0.0 }} drop" in filters.text(port(*words))


@pytest.mark.parametrize(("word", "seen"), [("192.0.2.10/24", "192.0.2.10"), ("10.0.0.1/255.255.0.0", "10.0.0.1")])
def test_an_address_with_the_length_of_its_network_is_that_address(word: str, seen: str) -> None:
    assert f"ip saddr != {seen} ip saddr != 0.0.0.0 drop" in filters.text(port(word))


def test_any_link_local_address_is_the_guests_unless_one_is_named() -> None:
    assert "ip6 saddr != 2001:db8::1 ip6 saddr != fe80::/10 drop" in filters.text(port("2001:db8::1"))
    assert "ip6 saddr != 2001:db8::1 ip6 saddr != fe80::5 drop" in filters.text(port("2001:db8::1", "fe80::5"))


def test_the_other_version_of_ip_stays_open() -> None:
    assert "ip6 saddr" not in filters.text(port("192.0.2.1"))
    assert "arp saddr ip" not in filters.text(port("2001:db8::1"))
    assert "ip saddr" not in filters.text(port("2001:db8::1"))


@pytest.mark.parametrize(
    "word", ["foo", "192.0.2.300", "192.0.2.0/33", "fe80::1%eth0", "", "1.2.3.4 } drop", "::1/129", "192.0.2.1;", "0x7f.1", "10.1"]
)
def test_a_word_that_is_no_address_is_refused_in_one_line(word: str) -> None:
    with pytest.raises(NetworkError, match=r"^vif3\.0: '.*' in ip= is no address or network") as raised:
        filters.text(port("192.0.2.1", word))
    assert "\n" not in raised.value.line()


@pytest.mark.parametrize("mac", ["", "00:16:3e:00:00", "00:16:3e:00:00:0g", "00:16:3e:00:00:01 accept"])
def test_a_wrong_mac_address_is_refused(mac: str) -> None:
    with pytest.raises(NetworkError, match="is no MAC address"):
        filters.text(port(held=True, mac=mac))


def test_mac_addresses_are_written_in_small_letters() -> None:
    assert filters.text(port(held=True, mac=MAC.upper())) == filters.text(port(held=True))


@pytest.mark.parametrize("device", ['a"b', "a'b", "a b", "a\nb", "a#b", "a\\b", "eth*", "a\x7fb", "", "a/b", "a\u00a0b"])
def test_a_name_that_could_be_read_otherwise_is_refused(device: str) -> None:
    with pytest.raises(NetworkError, match="is no name for the host's end of an interface"):
        filters.text(port("192.0.2.1", device=device))


@given(st.binary(min_size=1, max_size=15))
def test_every_device_has_chains_of_its_own(name: bytes) -> None:
    device = name.decode("utf-8", "surrogateescape")
    chain = filters.chain_of(device, "ipv6")
    assert filters.device_of(chain) == device
    assert set(chain) <= {*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_/"}


def test_chains_of_others_tell_nothing() -> None:
    assert filters.device_of("in") == filters.device_of("note-nat") == filters.device_of("their/vif1.0") == ""
    assert filters.mac_of("") == filters.mac_of("mac=00:16:3e:00:00:01") == filters.mac_of("xmcompat nat mac=x") == ""
    assert filters.mac_of(f"xmcompat port device=vif1.0 mac={MAC}") == MAC


@given(st.lists(st.text(max_size=30), min_size=1, max_size=3), st.text(max_size=20), st.text(max_size=18))
def test_whatever_the_words_are_only_networkerror_is_raised(words: list[str], device: str, mac: str) -> None:
    try:
        text = filters.text(port(*words, device=device, mac=mac))
    except NetworkError:
        return
    assert '"' + device + '"' in text


def test_what_is_sent_goes_to_the_shaper_after_all_checks() -> None:
    text = filters.text(port("192.0.2.1"), shaper="ifb-vif3.0")
    chain = text[text.index("chain in/") :]
    assert chain.rstrip("} \n").endswith('fwd to "ifb-vif3.0"')


def test_a_burst_lets_the_largest_packet_pass() -> None:
    text = filters.text(port(), sending=Rate(speed=1000, burst=50), receiving=Rate(speed=2000, burst=10**6))
    assert f"limit rate over 1000 bytes/second burst {2 * 65536} bytes drop" in text
    assert 'type filter hook egress device "vif3.0"' in text
    assert "limit rate over 2000 bytes/second burst 1000000 bytes drop" in text
