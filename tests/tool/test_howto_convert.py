"""Every command of docs/howto-convert.md, typed as it stands there, on a host's files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from tests.tool.dead_host import WEB1, XEND_CONFIG

CHECKOUT = Path(__file__).resolve().parents[2]
DOCUMENT = CHECKOUT / "docs" / "howto-convert.md"
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line.startswith("xmcompat ")
]

PV = """name = 'web1'\nmemory = 512\nkernel = '/boot/vmlinuz'\ndisk = ['phy:vg0/web1,xvda,w']\nvif = ['bridge=xenbr0']\n"""
NODE = "name = 'node%02d' % int(vmid)\nkernel = '/boot/vmlinuz'\n"
XL = 'name = "vm1"\ntype = "hvm"\ndisk = ["/dev/vg0/vm1,raw,hda,rw"]\n'


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The files that the document speaks of: /etc/xen, /mnt/old-dom0 and the current folder, all below TMP_PATH."""
    dead = tmp_path / "mnt/old-dom0/etc/xen"
    (tmp_path / "etc/xen").mkdir(parents=True)
    dead.mkdir(parents=True)
    for folder in (tmp_path / "etc/xen", tmp_path):
        (folder / "web1.cfg").write_text(PV)
    (tmp_path / "etc/xen/node.cfg").write_text(NODE)
    (tmp_path / "etc/xen/vm1.cfg").write_text(XL)
    (tmp_path / "web1.xl").write_text(XL)
    (dead / "web1.cfg").write_text(WEB1)
    (dead / "xend-config.sxp").write_text(XEND_CONFIG)
    return tmp_path


def run(command: str, files: Path) -> subprocess.CompletedProcess[str]:
    """COMMAND by the shell, with the folders of FILES in the place of the host's."""
    for path in ("/etc/xen", "/mnt/old-dom0"):
        command = command.replace(path, f"{files}{path}")
    program = f"xmcompat() {{ PYTHONPATH={CHECKOUT} {sys.executable} -m xmcompat.tool \"$@\"; }}"
    return subprocess.run(
        ["bash", "-c", f"{program}\n{command}"], cwd=files, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_document_has_commands() -> None:
    assert len(COMMANDS) >= 10
    assert {word for command in COMMANDS for word in command.split()[1:2]} == {"convert", "report"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_document_does_what_it_says(command: str, files: Path) -> None:
    done = run(command, files)
    vmid_missing = "--output-dir" in command  # node.cfg of that folder wants a vmid
    assert done.returncode == (1 if vmid_missing else 0), done.stderr
    assert "Traceback" not in done.stderr


def test_the_domain_goes_to_stdout_and_notes_to_stderr(files: Path) -> None:
    done = run("xmcompat convert /etc/xen/web1.cfg > web1.xml", files)
    assert etree.parse(files / "web1.xml").findtext("name") == "web1"
    assert "disk[0] = xvda: approximated" in done.stderr


def test_the_way_back_leads_home(files: Path) -> None:
    run("xmcompat convert --to xl web1.cfg > back.xl; xmcompat convert --to cfg back.xl > again.cfg", files)
    documents = [
        json.loads(run(f"xmcompat convert --notes none --to json {name}", files).stdout) for name in ("web1.cfg", "again.cfg")
    ]
    for document in documents:  # "vg0/web1" is written as "/dev/vg0/web1"
        document["disks"] = [(disk["path"], disk["vdev"], disk["mode"]) for disk in document["disks"]]
    for member in ("name", "memory", "kind", "disks", "on_crash", "on_reboot", "on_poweroff", "boot"):
        assert documents[0][member] == documents[1][member], member


def test_two_runs_write_the_same_bytes(files: Path) -> None:
    first, second = (run("xmcompat convert web1.cfg", files).stdout for _ in range(2))
    assert first == second
    assert re.search(r"<mac address=\"00:16:3e:", first)


def test_facts_of_the_document_are_taken(files: Path) -> None:
    (facts,) = re.findall(r"^```json\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    (files / "facts.json").write_text(facts)
    done = run("xmcompat convert --host-facts facts.json web1.cfg", files)
    assert done.returncode == 0, done.stderr
    assert '<source bridge="br0"/>' in done.stdout
