"""xend-config.sxp: every key, its default, and what somebody has to see to."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmcompat.errors import ConfigSyntax, XmError
from xmcompat.notes import Fate
from xmcompat.xend.config import HostBridge, Setting, XendConfig, network_bridges, read_xend_config, wrapper_bridges
from xmcompat.xend.config_keys import XEND_KEYS


def setting(text: str, name: str) -> Setting:
    found = [row for row in read_xend_config(text).settings if row.name == name]
    assert len(found) == 1, found
    return found[0]


def test_every_key_has_a_row_with_its_default_where_the_file_is_empty() -> None:
    rows = read_xend_config("").settings
    assert [row.name for row in rows] == list(XEND_KEYS)
    assert all(row.value == row.default and not row.given and not row.attention for row in rows)
    assert all(row.meaning for row in rows)
    assert setting("", "xend-relocation-port").value == "8002"


def test_what_the_file_gives_counts_with_its_line() -> None:
    row = setting("# words\n\n(xend-relocation-port 9002)\n", "xend-relocation-port")
    assert (row.value, row.default, row.given, row.line) == ("9002", "8002", True, 3)


def test_the_first_of_two_counts_and_the_second_is_told() -> None:
    text = "(loglevel INFO)(loglevel DEBUG)"
    first, second = [row for row in read_xend_config(text).settings if row.name == "loglevel"]
    assert first.value == "INFO"
    assert "the first one counts" in second.meaning


def test_a_key_that_xend_does_not_know_is_told() -> None:
    row = setting("(device-model /usr/lib/xen/bin/qemu-dm)\n", "device-model")
    assert row.fate is Fate.NO_MEANING
    assert row.value == "/usr/lib/xen/bin/qemu-dm"
    assert "does not know" in row.meaning


def test_a_word_outside_of_all_forms_is_told() -> None:
    assert setting("stray (loglevel INFO)", "stray").given


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("(enable-dump maybe)", "enable-dump", "neither yes nor no"),
        ("(xend-port http)", "xend-port", "is no number"),
        ("(network-script)", "network-script", "it has no value"),
        ("(network-script network-bridge netdev=eth1)", "network-script", "eth0"),
        ("(vif-script vif-bridge bridge=xenbr2)", "vif-script", "only its first value counts"),
        ("(xend-relocation-server yes)(xend-relocation-hosts-allow '')", "xend-relocation-server", "any host could"),
        ("(xend-relocation-server yes)", "xend-relocation-server", "any host could"),
        ("(xend-relocation-server yes)(xend-relocation-hosts-allow '^a  ^b')", "xend-relocation-hosts-allow", "everybody"),
        ("(xend-relocation-server yes)(xend-relocation-hosts-allow '^localhost$ ^db')", "xend-relocation-hosts-allow", "^db"),
        ("(vif-script vif-nat)", "vif-script", "vif-nat needs a network of network-nat"),
        ("(vif-script /etc/xen/scripts/vif-mine)", "vif-script", "bring it to /etc/xen/scripts"),
        ("(network-script network-nat)", "network-script", "translated (NAT)"),
        ("(network-script /etc/xen/scripts/my-network)", "network-script", "my-network is a script of this host"),
        ("(network-script network-bridge)", "network-script", "call it otherwise"),
        ("(vnc-listen 0.0.0.0)", "vnc-listen", "without a password"),
        ("(xen-api-server ((9363 pam)))", "xen-api-server", "other hosts"),
        ("(xsm_module_name flask)", "xsm_module_name", "not enforced"),
        ("(pci-passthrough-strict-check no)", "pci-passthrough-strict-check", "relaxed_acs_check"),
        ("(enable-dump yes)", "enable-dump", "xm create obeys it"),
    ],
)  # fmt: skip
def test_what_needs_attention_is_said(text: str, name: str, said: str) -> None:
    assert said in setting(text, name).attention


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("(xend-relocation-server no)(xend-relocation-hosts-allow '')", "xend-relocation-server"),
        (r"(xend-relocation-server yes)(xend-relocation-hosts-allow '^localhost$ ^localhost\\.localdomain$')",
         "xend-relocation-server"),
        ("(vnc-listen 0.0.0.0)(vncpasswd 'hostsecret')", "vnc-listen"),
        ("(vnc-listen '127.0.0.1')", "vnc-listen"),
        ("(xen-api-server ((unix)))", "xen-api-server"),
        ("(vif-script vif-bridge)", "vif-script"),
        ("(network-script /bin/true)", "network-script"),
        ("(vncpasswd '')", "vncpasswd"),
        ("(enable-dump False)", "enable-dump"),
    ],
)  # fmt: skip
def test_what_is_as_it_should_be_needs_none(text: str, name: str) -> None:
    assert setting(text, name).attention == ""


def test_a_value_that_xend_refuses_leaves_the_default() -> None:
    assert setting("(xend-port http)", "xend-port").value == "8000"


def test_passwords_are_in_no_setting() -> None:
    config = read_xend_config("(vncpasswd 'hostsecret')(vncpaswd 'typosecret')(my-password third)")
    assert config.vnc_password
    assert "secret" not in repr(config.settings)
    assert "third" not in repr(config.settings)


@pytest.mark.parametrize(
    ("script", "bridges"),
    [
        ("network-bridge netdev=eth1", (HostBridge("eth1", "eth1"),)),
        ("network-bridge bridge=xenbr0", (HostBridge("xenbr0", ""),)),
        ("/etc/xen/scripts/network-bridge netdev=bond0 bridge=br9", (HostBridge("br9", "bond0"),)),
        ("network-bridge", (HostBridge("eth0", ""),)),
        ("network-bridge bridge=null", ()),
        ("network-route", ()),
        ("", ()),
    ],
)
def test_the_bridges_that_the_network_script_made(script: str, bridges: tuple[HostBridge, ...]) -> None:
    assert network_bridges(script) == bridges
    assert read_xend_config(f"(network-script '{script}')").bridges == bridges


def test_a_script_of_ones_own_is_read_for_plain_words_alone() -> None:
    script = (
        "#!/bin/sh\ndir=$(dirname \"$0\")\n# \"$dir/network-bridge\" \"$@\" netdev=eth9 bridge=no\n"
        "\"$dir/network-bridge\" \"$@\" vifnum=0 netdev=eth0 bridge=xenbr0\n"
        "$dir/network-bridge \"$@\" netdev=dummy0 bridge=xenbr1\n$dir/network-bridge $1 netdev=$DEV\n"
    )
    assert wrapper_bridges(script) == (HostBridge("xenbr0", "eth0"), HostBridge("xenbr1", "dummy0"))


def test_the_bridge_of_interfaces_that_name_none() -> None:
    assert read_xend_config("(vif-script 'vif-bridge bridge=xenbr2')").default_bridge == "xenbr2"
    assert XendConfig().default_bridge == ""


def test_what_is_no_sxp_is_one_error() -> None:
    with pytest.raises(ConfigSyntax):
        read_xend_config("(loglevel")


@given(st.text(alphabet="()'\" #\\\nabcxend-=01yes", max_size=80))
@settings(max_examples=150)
def test_no_text_fails_otherwise(text: str) -> None:
    with suppress(XmError):
        config = read_xend_config(text)
        assert [row.name for row in config.settings][: len(XEND_KEYS)] == list(XEND_KEYS)


@given(st.sampled_from(sorted(XEND_KEYS)), st.text(alphabet="()'\" $=.,^\\\nab01yesno", max_size=30))
def test_no_value_fails(name: str, value: str) -> None:
    from xmcompat.config.sxp import write

    row = next(row for row in read_xend_config(f"({name} {write(value)})").settings if row.name == name)
    assert row.given


def test_a_value_with_a_nul_byte_is_refused() -> None:
    (setting,) = [one for one in read_xend_config("(logfile /x\0y)").settings if one.name == "logfile"]
    assert (setting.value, setting.wrong) == (setting.default, "it holds a NUL byte; xend refuses it")
