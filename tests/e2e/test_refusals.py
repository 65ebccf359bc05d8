"""Bad input, word for word: the line, the stream, the status of xm, and nothing left on the host."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest

from tests.e2e.conftest import Bench, Writer
from tests.lab.fixtures import xm_command

pytestmark = pytest.mark.libvirt


def test_a_configuration_that_is_not_there(bench: Bench) -> None:
    stdout, stderr, status = bench.xm("create", "nofile")
    assert stderr == "Error: Unable to open config file: nofile\n"
    assert stdout.startswith("Usage: xm create ")
    assert status == 1


def test_a_syntax_error_names_line_and_text(bench: Bench) -> None:
    bench.config("bad.cfg", "name = 'bad'\nmemory = = 12\n")
    stdout, stderr, status = bench.xm("create", "bad.cfg")
    assert stdout == 'Using config file "./bad.cfg".\n'
    assert stderr == "Error: Errors were found at line 2 while processing ./bad.cfg:\n\tmemory = = 12\n"
    assert status == 1


def test_a_disk_that_is_not_there_leaves_nothing(bench: Bench, pv: Writer) -> None:
    pv(disk=["file:/nowhere/x.img,xvda2,w"])
    stdout, stderr, status = bench.xm("create", "web1.cfg")
    assert stdout == 'Using config file "./web1.cfg".\n'
    assert stderr.splitlines()[-1] == (
        "Error: Device 51714 (vbd) could not be connected. /nowhere/x.img does not exist."
    )
    assert status == 1
    assert bench.remains() == ([], [])


def test_a_bridge_that_is_not_there_leaves_nothing(bench: Bench, pv: Writer) -> None:
    pv(vif=["bridge=xenbr0", "bridge=br9"])
    _, stderr, status = bench.xm("create", "web1.cfg")
    last = stderr.splitlines()[-1]
    assert last.startswith("Error: Device 1 (vif) could not be connected. Could not find bridge device br9")
    assert status == 1
    assert bench.remains() == ([], [])


def test_a_name_that_runs_already(bench: Bench, pv: Writer) -> None:
    pv()
    assert bench.xm("create", "web1.cfg").status == 0
    domid = bench.hypervisor.find("web1").domid
    stdout, stderr, status = bench.xm("create", "web1.cfg")
    assert stdout == 'Using config file "./web1.cfg".\n'
    assert stderr == f"Error: Domain 'web1' already exists with ID '{domid}'\n"
    assert status == 1
    assert [info.domid for info in bench.hypervisor.domains()] == [domid]


@pytest.mark.parametrize("word", ["name=Domain-0", "uuid=00000000-0000-0000-0000-000000000000"])
def test_a_second_domain_0(bench: Bench, pv: Writer, word: str) -> None:
    pv()
    assert bench.xm("create", "-q", "web1.cfg", word) == ("", "Error: Domain 'Domain-0' already exists with ID '0'\n", 1)
    assert bench.remains() == ([], [])


def test_an_overlong_name_is_refused_and_the_longest_one_starts(bench: Bench, pv: Writer) -> None:
    pv(disk=None)
    _, stderr, status = bench.xm("create", "-q", "web1.cfg", f"name={'n' * 300}")
    assert (stderr, status) == (f"Error: VM name '{'n' * 40}...' is too long: 300 bytes; 247 is the limit\n", 1)
    assert bench.xm("create", "-q", "web1.cfg", f"name={'n' * 247}") == ("", "", 0)
    assert bench.xm("destroy", "n" * 247) == ("", "", 0)


@pytest.mark.parametrize("key", ["kernel", "ramdisk"])
def test_a_kernel_or_ramdisk_that_is_no_file_is_not_waited_for(bench: Bench, pv: Writer, key: str) -> None:
    pv(disk=None)
    pipe = bench.directory / f"{key}-pipe"
    os.mkfifo(pipe)
    what = "Kernel image" if key == "kernel" else "Kernel ramdisk"
    for path in (str(pipe), "/dev/zero"):
        _, stderr, status = bench.xm("create", "-q", "web1.cfg", f"{key}={path}", timeout=20)
        assert (stderr, status) == (f"Error: {what} is not a regular file: {path}\n", 1)
    assert bench.remains() == ([], [])


def test_a_configuration_from_a_process_substitution_starts(bench: Bench, pv: Writer) -> None:
    pv(disk=None)
    command = shlex.join(xm_command(bench.node, "create", "-q", cwd=bench.directory, env={"XMCOMPAT_ACCELERATOR": "tcg"}))
    for source, name in (("<(cat web1.cfg)", "web1"), ("/dev/stdin name=web2 < <(cat web1.cfg)", "web2")):
        done = subprocess.run(
            ["bash", "-c", f"{command} {source}"], cwd=bench.directory, capture_output=True, text=True, timeout=60
        )
        assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
        assert bench.hypervisor.find(name).state == "running"


def test_more_memory_than_the_host_has(bench: Bench, pv: Writer) -> None:
    pv(memory=4_000_000)
    _, stderr, status = bench.xm("create", "web1.cfg")
    host = bench.hypervisor.host().memory
    assert stderr.splitlines()[-1] == (
        "Error: I need 4096000000 KiB, but dom0_min_mem is 200704 and shrinking to 200704 KiB would leave only "
        f"{host - 200704} KiB free."
    )
    assert status == 1
    assert bench.remains() == ([], [])


def test_a_volume_that_another_guest_writes_to_is_refused(bench: Bench, pv: Writer) -> None:
    pv("web1.cfg")
    pv("web2.cfg")
    assert bench.xm("create", "web1.cfg").status == 0
    _, stderr, status = bench.xm("create", "web2.cfg")
    image = bench.directory / "root.img"
    assert stderr.endswith(
        "Error: Device 51714 (vbd) could not be connected.\n"
        f"Device {image} is mounted in a guest domain,\nand so cannot be mounted now.\n"
        "Hint: the domain web1 has it\n"
    )
    assert status == 1
    assert bench.remains()[0] == ["web1"]


@pytest.mark.parametrize(
    "verb", ["pause", "unpause", "shutdown", "reboot", "destroy", "domid", "domname", "list", "console"]
)
def test_an_unknown_domain_is_status_3_and_no_usage(bench: Bench, verb: str) -> None:
    assert bench.xm(verb, "nosuch") == ("", "Error: Domain 'nosuch' does not exist.\n", 3)


def test_domain_0_cannot_be_paused(bench: Bench) -> None:
    stdout, stderr, status = bench.xm("pause", "0")
    assert stderr == "Error: Cannot pause privileged domain 0\n"
    assert stdout.startswith("Usage: xm pause <Domain>\n")
    assert status == 1


def test_no_libvirtd_at_all_is_xms_line_and_one_that_says_what_to_do(bench: Bench) -> None:
    stdout, stderr, status = bench.xm("list", XMCOMPAT_URI="qemu+unix:///system?socket=/nowhere/sock")
    assert stdout == ""
    assert stderr == (
        "Error: Unable to connect to xend: No such file or directory. Is xend running?\n"
        "Hint: start libvirtd (systemctl start libvirtd), or set XMCOMPAT_URI\n"
    )
    assert status == 1


def test_a_configuration_that_asks_for_a_shell_is_refused_with_its_line(bench: Bench) -> None:
    marker = bench.directory / "marker"
    bench.config("evil.cfg", f"import os\nname = 'evil'\nos.system('touch {marker}')\n")
    _, stderr, status = bench.xm("create", "evil.cfg")
    assert "evil.cfg:3: " in stderr
    assert "os.system" in stderr
    assert stderr.count("\n") == 1
    assert status == 1
    assert not marker.exists()
