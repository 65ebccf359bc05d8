"""info, dmesg, log, debug-keys: byte for byte, with streams and statuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor
from tests.xm.conftest import Xm
from xmcompat.errors import HypervisorUnreachable
from xmcompat.toolstack import Toolstack
from xmcompat.xend.client_options import client_options
from xmcompat.xm.help import usage_text

FIRST = """\
host                   : node7
release                : 6.1.0-50-amd64
version                : #1 SMP Debian 6.1.176-1 (2026-09-01)
machine                : x86_64
nr_cpus                : 4
nr_nodes               : 1
cores_per_socket       : 2
threads_per_core       : 2
cpu_mhz                : 2593
hw_caps                : bfebfbff:2c100800:00000000:00000000:029ee3ff:00000000:00000001:00000000
virt_caps              : hvm
total_memory           : 8182
free_memory            : 4096
free_cpus              : 0
"""
NUMA = """\
cpu_topology           : \ncpu:    core    socket     node
  0:       0        0        0
  1:       1        0        0
  2:       0        0        0
  3:       1        0        0
numa_info              : none
"""
LAST = """\
xen_major              : 4
xen_minor              : 1
xen_extra              : .6-xmcompat
xen_caps               : xen-3.0-x86_64 xen-3.0-x86_32p hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 \n\
xen_scheduler          : credit
xen_pagesize           : 4096
platform_params        : virt_start=0xffff800000000000
xen_changeset          : unavailable
xen_commandline        : root=/dev/sda1 ro quiet
cc_compiler            : gcc-12 (Debian 12.2.0-14) 12.2.0
cc_compile_by          : debian-kernel
cc_compile_domain      : lists.debian.org
cc_compile_date        : #1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-09-01)
xend_config_format     : 4
"""


def test_every_key_in_its_order(xm: Xm) -> None:
    assert xm("info") == (0, FIRST + LAST, "")


@pytest.mark.parametrize("word", ["-n", "--numa", "--nu"])
def test_with_numa_two_more(xm: Xm, word: str) -> None:
    assert xm("info", word) == (0, FIRST + NUMA + LAST, "")


def test_an_operand_is_ignored(xm: Xm) -> None:
    assert xm("info", "web") == (0, FIRST + LAST, "")


def test_one_word_at_most(xm: Xm) -> None:
    line = "Error: 'xm info' requires between 0 and 1 arguments.\n\n"
    assert xm("info", "-c", "-n") == (1, usage_text("info"), line)


def test_what_is_not_known(xm: Xm, host: FakeHypervisor) -> None:
    host.node_info = host.node_info._replace(
        release="", version="", build="something else", virtualises=False, command_line="", directs_io=True
    )
    lines = xm("info").out.splitlines()
    for line in (
        "release                : (none)", "version                : (none)", "virt_caps              : hvm_directio",
        "xen_commandline        : ", "cc_compiler            : (none)", "cc_compile_date        : (none)",
    ):  # fmt: skip
        assert line in lines
    host.node_info = host.node_info._replace(directs_io=False)
    assert "virt_caps              : " in xm("info").out.splitlines()


# -- info -c

SETTINGS = """\
# a comment
(logfile /var/log/xen/xend.log)
(xend-relocation-server yes)
(xen-api-server ((9363 pam '^localhost$ example\\\\.com$') (unix none)))
(network-script 'network-bridge netdev=eth1')
(vncpasswd 'geheim')
(keymap)
(dom0-min-mem 196)
"""
SHOWN = """\
block_script_dir                      : /etc/xen/scripts
logfile                               : /var/log/xen/xend.log
xend-relocation-server                : yes
xen-api-server                        : [['9363', 'pam', '^localhost$ example\\\\.com$'], ['unix', 'none']]
network-script                        : network-bridge netdev=eth1
vncpasswd                             : (not shown)
keymap                                : (none)
dom0-min-mem                          : 196
config_default                        : /etc/xen/xend-config.sxp
config_path                           : {path}
config_var                            : XEND_CONFIG
device_create_timeout_default         : 100
"""


@pytest.fixture
def no_xend(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(cls: type[Toolstack], uri: str | None = None) -> Toolstack:
        raise HypervisorUnreachable("nothing is to be contacted")

    monkeypatch.setattr(Toolstack, "open", classmethod(refuse))


@pytest.mark.usefixtures("no_xend")
@pytest.mark.parametrize("word", ["-c", "--config", "-cn", "-nc"])
def test_the_settings_of_xend(xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    path = tmp_path / "xend-config.sxp"
    path.write_text(SETTINGS)
    monkeypatch.setenv("XEND_CONFIG", str(path))
    status, out, err = xm("info", word)
    assert (status, err) == (0, "")
    assert out.startswith(SHOWN.format(path=path))
    assert "vncpasswd_default                     : (none)\n" in out
    assert "xend_address_default                  : \n" in out
    assert out.endswith("\nxsm_module_default                    : dummy\n")
    assert "geheim" not in out


@pytest.mark.usefixtures("no_xend")
def test_without_a_file_the_defaults_remain(xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XEND_CONFIG", str(tmp_path / "none.sxp"))
    status, out, err = xm("info", "-c")
    assert (status, err) == (0, f"xend [ERROR] Config file does not exist: {tmp_path}/none.sxp\n")
    names = [line.partition(":")[0].strip() for line in out.splitlines()]
    assert names == sorted(names)
    assert len(names) == len({*names}) == len(client_options("", "x"))


@pytest.mark.usefixtures("no_xend")
def test_a_file_that_is_no_sxp_is_one_line(xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "xend-config.sxp"
    path.write_text("(logfile")
    monkeypatch.setenv("XEND_CONFIG", str(path))
    status, out, err = xm("info", "-c")
    assert (status, out) == (1, "")
    assert err.startswith(f"Error: {path}:1: ")
    assert err.count("\n") == 1


# -- dmesg


@pytest.mark.parametrize(("ring", "out"), [("a\nb\n", "a\nb\n"), ("a\nb", "a\nb\n"), ("", "\n")])
@pytest.mark.parametrize(("words", "cleared"), [([], False), (["-c"], True), (["--clear"], True)])
def test_the_ring_of_messages(
    xm: Xm, host: FakeHypervisor, ring: str, out: str, words: list[str], cleared: bool
) -> None:
    host.kernel_messages = ring
    assert xm("dmesg", *words) == (0, out, "")
    assert host.cleared == cleared


def test_dmesg_takes_no_parameter(xm: Xm, host: FakeHypervisor) -> None:
    assert xm("dmesg", "x") == (1, usage_text("dmesg") + "\n", "Error: No parameter required\n")
    assert not host.cleared


# -- log


@pytest.fixture
def xends_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where xend's settings have its log, which is not there yet."""
    (tmp_path / "xend-config.sxp").write_text(f"(logfile {tmp_path}/xend.log)")
    monkeypatch.setenv("XEND_CONFIG", str(tmp_path / "xend-config.sxp"))
    return tmp_path / "xend.log"


@pytest.mark.parametrize("text", ["", "first\nlast\n", "no end", "x" * 200000])
def test_the_log_of_xend_and_a_newline_more(xm: Xm, xends_log: Path, no_xend: None, text: str) -> None:
    xends_log.write_text(text)
    assert xm("log") == (0, f"{text}\n", "")


def test_where_xend_has_never_run_the_log_of_libvirt_and_a_newline_more(
    xm: Xm, host: FakeHypervisor, xends_log: Path
) -> None:
    host.log = "first\nlast\n"
    assert xm("log") == (0, "first\nlast\n\n", "")


def test_a_log_that_cannot_be_read_is_told(xm: Xm, xends_log: Path) -> None:
    xends_log.mkdir()
    assert xm("log") == (1, "", f"Error: {xends_log}: Is a directory\n")


def test_log_takes_no_word(xm: Xm) -> None:
    assert xm("log", "x") == (1, usage_text("log"), "Error: 'xm log' requires 0 arguments.\n\n")


# -- debug-keys


def test_debug_keys_do_nothing_and_succeed(xm: Xm) -> None:
    line = (
        "Warning: KVM has no debug keys: nothing was done for 'qw'; the host's own are in /proc/sysrq-trigger\n"
    )
    assert xm("debug-keys", "qw") == (0, "", line)


def test_debug_keys_want_one_word(xm: Xm) -> None:
    assert xm("debug-keys") == (1, usage_text("debug-keys"), "Error: 'xm debug-keys' requires 1 arguments.\n\n")
