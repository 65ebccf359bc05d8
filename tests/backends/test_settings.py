"""Where the hypervisor's address comes from, and what a bad settings file says."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.backends.settings import Settings, hypervisor_uri, is_local, parse, read
from xmcompat.errors import ConfigError


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment that names a settings file with an address in it."""
    path = tmp_path / "xmcompat.toml"
    path.write_text('uri = "qemu+ssh://setting/system"\naccelerator = "tcg"\n')
    return {"XMCOMPAT_CONFIG": str(path)}


def test_the_settings_file_is_read(environ: dict[str, str]) -> None:
    assert read(environ) == Settings(uri="qemu+ssh://setting/system", accelerator="tcg")


def test_bridges_that_stand_for_others_are_read_in_their_order() -> None:
    both = parse(b'[bridge_aliases]\nxenbr1 = "br1"\n"eth0.12" = "br12"\n', "f.toml")
    assert both == Settings(bridge_aliases=(("xenbr1", "br1"), ("eth0.12", "br12")))
    assert parse(b'bridge_aliases = { xenbr0 = "br0" }', "f.toml").bridge_aliases == (("xenbr0", "br0"),)


def test_the_nearest_word_wins(environ: dict[str, str]) -> None:
    environ |= {"XMCOMPAT_URI": "ours:///", "LIBVIRT_DEFAULT_URI": "libvirts:///"}
    assert hypervisor_uri("argument:///", environ) == "argument:///"
    assert hypervisor_uri(None, environ) == "ours:///"
    del environ["XMCOMPAT_URI"]
    assert hypervisor_uri(None, environ) == "qemu+ssh://setting/system"
    Path(environ["XMCOMPAT_CONFIG"]).write_text("")
    assert hypervisor_uri(None, environ) == "libvirts:///"
    del environ["LIBVIRT_DEFAULT_URI"]
    assert hypervisor_uri(None, environ) == "qemu:///system"


def test_an_address_in_the_environment_needs_no_settings_file() -> None:
    assert hypervisor_uri(None, {"XMCOMPAT_URI": "ours:///", "XMCOMPAT_CONFIG": "/nowhere"}) == "ours:///"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("colour = 'red'", "f.toml: unknown setting 'colour'; known: uri, accelerator, bridge_aliases, script_folder, network, migration"),
        ("uri = 1", "f.toml: uri must be text in quotes"),
        ("accelerator = 'xen'", "f.toml: accelerator 'xen' is unknown; known: auto, kvm, tcg"),
        ("bridge_aliases = 'br0'", 'f.toml: bridge_aliases must be a table; '
         'write [bridge_aliases], and below it lines old = "new"'),
        ("[bridge_aliases]\nxenbr0 = 0", "f.toml: bridge_aliases.xenbr0 must be the name of a bridge in quotes"),
        ("[bridge_aliases]\nxenbr0 = ''", "f.toml: bridge_aliases.xenbr0 must be the name of a bridge in quotes"),
        ("[bridge_aliases]\npeth0.12 = 'br12'", "f.toml: bridge_aliases.peth0 must be the name of a bridge in quotes; "
         "a dot in a name needs quotes"),
        ("uri = ", "f.toml: not valid TOML: Invalid value (at end of document)"),
    ],
)
def test_a_bad_settings_file_is_an_error_with_its_name(text: str, line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text.encode(), "f.toml")
    assert raised.value.line() == line


def test_a_settings_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        read({"XMCOMPAT_CONFIG": str(tmp_path / "none")})
    assert raised.value.line() == f"{tmp_path}/none: there is no such file; XMCOMPAT_CONFIG names it"
    with pytest.raises(ConfigError) as raised:
        read({"XMCOMPAT_CONFIG": str(tmp_path)})
    assert raised.value.line() == f"{tmp_path}: Is a directory"


@given(st.binary(max_size=100))
def test_no_settings_file_fails_in_an_unplanned_way(data: bytes) -> None:
    try:
        parse(data, "f.toml")
    except ConfigError as error:
        assert error.path == "f.toml"


@pytest.mark.parametrize(
    ("uri", "local"),
    [
        ("qemu:///system", True),
        ("qemu:///session", True),
        ("qemu+unix:///system?socket=/tmp/x", True),
        ("test:///default", True),
        ("qemu+ssh://h1/system", False),
        ("qemu+ssh:///system", False),
        ("qemu://h1/system", False),
        ("qemu+tls:///system", False),
        ("nonsense", False),
    ],
)
def test_which_addresses_are_of_this_machine(uri: str, local: bool) -> None:
    assert is_local(uri) is local
