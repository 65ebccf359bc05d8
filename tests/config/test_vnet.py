"""Configurations of vnets."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.config import sxp
from xmcompat.config.vnet import Vnet, VnetId, form, parse_id, read
from xmcompat.errors import ConfigError

FOUR = "0000:0000:0000:0000:0000:0000:0000:0004"
LONG = "1:23:456:789a:bcde:f:10:ffff"


@pytest.mark.parametrize("text", ["4", "0004", FOUR, "0:0:0:0:0:0:0:4"])
def test_an_id_has_a_short_form(text: str) -> None:
    assert str(parse_id(text)) == FOUR
    assert (parse_id(text).vni, parse_id(text).short) == (4, "0004")


def test_digits_are_hexadecimal() -> None:
    assert (parse_id("10").vni, parse_id("Ab").short) == (16, "00ab")


def test_a_long_id_is_hashed_to_a_number_above_the_short_ones() -> None:
    number = parse_id(LONG)
    assert str(number) == "0001:0023:0456:789a:bcde:000f:0010:ffff"
    assert number.vni == 0x923FE7  # the same on every host, for ever
    assert number.vni == parse_id(LONG.upper()).vni
    assert len(f"vnet{number.short}") <= 15


@given(st.integers(2, 2**128 - 1))
def test_every_id_has_a_number_that_a_vxlan_can_have(value: int) -> None:
    number = VnetId(value)
    assert 2 <= number.vni < 2**24
    assert (number.vni <= 0xFFFF) == (value <= 0xFFFF)
    assert parse_id(str(number)) == number


@pytest.mark.parametrize("text", ["", "x", "12345", "1:2", "0:0:0:0:0:0:0:0", "0", "1", "0001", "-4", "4 ", "1:2:3:4:5:6:7:8:9", "é"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_id(text)


def test_a_vnet_of_xend() -> None:
    assert read("(vnet (id 4)(bridge vnet4)(vnetif vnif4)(security none))", "f") == (
        Vnet(id=VnetId(4), bridge="vnet4", vnetif="vnif4"),
    )


def test_what_it_leaves_out_follows_from_its_id() -> None:
    (vnet,) = read("(vnet (id 00a4))", "f")
    assert (vnet.bridge, vnet.vnetif, vnet.security) == ("vnet00a4", "vnif00a4", "none")


def test_where_the_other_hosts_are() -> None:
    (vnet,) = read("(vnet (id 4) (underlay eth1) (peers 192.0.2.1 192.0.2.2) (local 192.0.2.1) (port 8472))", "f")
    assert (vnet.underlay, vnet.peers, vnet.local, vnet.port) == ("eth1", ("192.0.2.1", "192.0.2.2"), "192.0.2.1", 8472)
    assert read(sxp.write(form(vnet)), "f") == (vnet,)


def test_a_file_may_have_several() -> None:
    assert [vnet.id.vni for vnet in read("(vnet (id 4))\n(vnet (id 5))\n", "f")] == [4, 5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f: there is no vnet in it"),
        ("(vm (name a))", "f: '(vm (name a))' is no vnet"),
        ("vnet", "f: 'vnet' is no vnet"),
        ("(vnet)", "f: a vnet has no id"),
        ("(vnet (id 1))", "f: the vnet 1 is the physical network"),
        ("(vnet (id 4) (id 5))", "f: 'id' stands twice in a vnet"),
        ("(vnet (id 4 5))", "f: '(id 4 5)' has not the one value that it needs"),
        ("(vnet (id 4) (bridge))", "f: '(bridge)' has not the one value"),
        ("(vnet (id 4) (bridge ''))", "has not the one value"),
        ("(vnet (id 4) (colour red))", "f: a vnet has no 'colour'"),
        ("(vnet (id 4) bridge)", "f: 'bridge' says nothing of a vnet"),
        ("(vnet (id 4) (bridge (a b)))", "says nothing of a vnet"),
        ("(vnet (id 4) (security high))", "f: security 'high' is unknown"),
        ("(vnet (id 4) (port 70000))", "f: port '70000' is not a number from 1 to 65535"),
        ("(vnet (id 4)", "f"),
    ],
)
def test_what_cannot_be_used_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, "f")
    assert said in caught.value.line()


@given(st.text() | st.text("(vnetidbr ge4:)'\"", max_size=60))
def test_it_fails_only_as_config_error(text: str) -> None:
    with suppress(ConfigError):
        read(text, "f")
