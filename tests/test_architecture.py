"""The arrows between the rooms of the house: who may import whom, and what verbs load."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes_saving import image
from tests.lab.fixtures import xm_command
from xmcompat.backends.local_host import moving_folder
from xmcompat.backends.private_libvirtd import PrivateLibvirtd

CHECKOUT = Path(__file__).resolve().parents[1]
ROOTS = {"xmcompat": CHECKOUT / "xmcompat", **{f"xmcompat.{name}": CHECKOUT / name
         for name in ("backends", "network", "storage", "migration")}}  # fmt: skip

#: Words, errors and small values that every room may use.
COMMON = {
    "units", "errors", "light", "vdev", "programs", "nfs_names", "iscsi_names", "disk_logins", "hotplug_script", "script_store",
    "writing_out", "ssh_complaints",
}  # fmt: skip
VALUES = {*COMMON, "guest", "notes", "backends.machine", "backends.devices", "backends.facts"}
OPERATIONS = {*VALUES, "backends", "config", "translate", "network", "storage", "migration"}
TOOLSTACK = {
    "toolstack", "tuning", "creation", "guest_kernels", "populating", "preflight", "describe", "console_session", "events", "frontends", "display", "kept",
    "labels", "statistics", "disk_files", "pools", "pool_store", "pool_rules", "hotplug", "hotplug_nics", "pluggable", "plugging", "saving", "pending_save", "save_target", "losses",
    "saved_disks", "saved_guests", "standing", "moving",
    "vnets", "hostdevices", "passing", "passing_pci", "passing_scsi", "passing_usb",
    "host_settings", "managed", "suspending", "recorded", "endings", "connecting", "vifs", "vif_steps", "vif_nat", "vif_traces", "vif_repair", "mac_twins",
    "disk_needs", "disk_owners", "disk_paths", "disk_secrets", "composites",
    "migrating", "departing", "departure", "crossing", "vigil", "moving_secrets", "deferred", "moving_many", "evacuation",
    "receiving", "arrivals", "arrival_disks", "arrival_sweep", "vantage", "copies", "peers", "peer_lines", "enrolment", "enrolled",
}  # fmt: skip
PROGRAM = {*OPERATIONS, *TOOLSTACK, "render", "__init__"}

#: A room, and the rooms it may import from, itself aside. A name stands for all that is in it.
MAY_IMPORT = {
    "__init__": set(),
    "light": set(),
    "errors": {"light"},
    "units": {"errors", "light"},
    "programs": {"errors"},
    "script_store": {"errors"},
    "writing_out": set(),
    "ssh_complaints": set(),
    "hotplug_script": {"errors", "script_store"},
    "nfs_names": set(),
    "iscsi_names": {"light"},
    "disk_logins": {"light", "iscsi_names"},
    "vdev": {"errors", "light"},
    "guest": COMMON,
    "notes": COMMON,
    "config": VALUES,
    "translate": {*VALUES, "config.keys"},
    "render": {*VALUES, "backends.hypervisor", "backends.counters", "backends.migration", "config.sxp", "config.dryrun"},
    "backends": {*COMMON, "guest", "notes"},
    "network": COMMON,
    "storage": COMMON,
    "migration": {*COMMON, "backends.migration"},  # values
    "toolstack": {*OPERATIONS, *TOOLSTACK},
    **{name: {*OPERATIONS, *TOOLSTACK} for name in ("creation", "guest_kernels", "populating")},
    "managed": {*OPERATIONS, *TOOLSTACK},
    "suspending": {*OPERATIONS, *TOOLSTACK},
    "recorded": {*OPERATIONS, *TOOLSTACK},
    "endings": {*OPERATIONS, *TOOLSTACK},
    "preflight": {*OPERATIONS, *TOOLSTACK},
    "describe": {*OPERATIONS, *TOOLSTACK, "render"},
    "console_session": {*OPERATIONS, *TOOLSTACK},
    "tuning": {*OPERATIONS, *TOOLSTACK},
    **{name: {*OPERATIONS, *TOOLSTACK} for name in ("saving", "pending_save", "save_target", "saved_disks", "saved_guests", "standing")},
    **{
        name: {*OPERATIONS, *TOOLSTACK, "__init__"}
        for name in ("receiving", "arrivals", "arrival_disks", "arrival_sweep", "vantage", "copies")
    },
    **{
        name: {*OPERATIONS, *TOOLSTACK}
        for name in ("migrating", "departing", "departure", "crossing", "vigil", "moving_secrets", "moving", "moving_many", "evacuation")
    },
    "peers": {*OPERATIONS, *TOOLSTACK, "__init__", "xend.config", "xend.config_file"},
    "peer_lines": {"errors", "migration", "ssh_complaints"},
    **{name: {"errors", "migration", "programs", "enrolled"} for name in ("enrolment", "enrolled")},
    "statistics": {*OPERATIONS, *TOOLSTACK},
    "pools": {*OPERATIONS, *TOOLSTACK},
    "pool_rules": {*OPERATIONS, *TOOLSTACK},
    "pool_store": {*OPERATIONS, *TOOLSTACK, "xend.config", "xend.client_options"},
    "events": {*OPERATIONS, *TOOLSTACK},
    "vnets": {*OPERATIONS, *TOOLSTACK},
    **{name: {*OPERATIONS, *TOOLSTACK} for name in ("hotplug", "hotplug_nics", "pluggable")},
    **{name: {*OPERATIONS, *TOOLSTACK} for name in ("hostdevices", "passing", "passing_pci", "passing_scsi", "passing_usb")},
    **{name: {*OPERATIONS, *TOOLSTACK} for name in ("disk_needs", "disk_owners", "disk_paths", "disk_secrets", "composites")},
    **{name: {*OPERATIONS, *TOOLSTACK} for name in ("connecting", "vifs", "vif_steps", "vif_nat", "vif_traces", "vif_repair", "mac_twins")},
    "plugging": {*OPERATIONS, *TOOLSTACK, "render", "xend.config", "xend.client_options"},
    "losses": {"errors", "backends.hypervisor"},
    "deferred": set(),
    "kept": {*OPERATIONS, *TOOLSTACK},
    "disk_files": {*OPERATIONS, *TOOLSTACK},
    "host_settings": {*OPERATIONS, "guest_kernels", "xend.config", "xend.config_file"},
    "frontends": {*OPERATIONS, *TOOLSTACK, "render"},
    "display": {*OPERATIONS, *TOOLSTACK},
    "labels": {"errors", "config"},
    "xm": {*PROGRAM, "xend"},
    "tool": {*PROGRAM, "xend", "xm.verbs", "xm.helptexts", "xm.wanted",  # the tables, for the manual
             "xm.console", "xm.signals"},
    "xend": {*PROGRAM, "xm.signals", "xm.migrate"},
    "tour": {
        *COMMON, "deferred", "disk_needs",
        *(f"backends.{name}" for name in ("domain_xml", "libvirt_kvm", "private_libvirtd")),
    },
}
#: Heavy libraries, and the only files that may name them.
LIBRARIES = {"libvirt": {"backends.libvirt_kvm"}}

#: What the rooms without I/O may not use. Scripts that config evaluates may ask for the time, and config reads files.
OUTSIDE = {"subprocess", "socket", "shutil", "tempfile", "select", "fcntl", "pty", "http", "urllib"}
IMPURE = {"config": OUTSIDE, "translate": {*OUTSIDE, "time", "random"}, "render": {*OUTSIDE, "time", "random"}}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module by its name below xmcompat ("backends.machine"), with its file."""
    for prefix, root in ROOTS.items():
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if prefix == "xmcompat" and f"xmcompat.{parts[0]}" in ROOTS:
                continue  # through a link
            full = ".".join((*prefix.split(".")[1:], *parts))
            yield full.removesuffix(".__init__") if full != "__init__" else full, path


MODULES = dict(modules())


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """What a file imports, anywhere in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide the arrow"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner.removeprefix("xmcompat.") in MODULES else node.module or "", node.lineno)


def allowed(target: str, rooms: set[str]) -> bool:
    return any(target == room or target.startswith(f"{room}.") for room in rooms)


def wrong_arrows(name: str, path: Path) -> list[str]:
    room = name.split(".")[0]
    assert room in MAY_IMPORT, f"{name} lies in no room: add it to MAY_IMPORT"
    rooms = {room, *MAY_IMPORT[room]}
    wrong = []
    for target, line in imports(path):
        head, _, inner = target.partition(".")
        if head == "xmcompat" and not allowed(inner or "__init__", rooms):
            wrong.append(f"{path.relative_to(CHECKOUT)}:{line} imports {target}")
        elif head in LIBRARIES and name not in LIBRARIES[head]:
            wrong.append(f"{path.relative_to(CHECKOUT)}:{line} imports {head}")
        elif head in IMPURE.get(room, set()):
            wrong.append(f"{path.relative_to(CHECKOUT)}:{line} imports {head}")
    return wrong


@pytest.mark.parametrize("name", sorted(MODULES))
def test_arrows_go_one_way(name: str) -> None:
    assert wrong_arrows(name, MODULES[name]) == []


def test_a_wrong_arrow_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_architecture.CHECKOUT", tmp_path)
    file = tmp_path / "sharing.py"
    file.write_text("from xmcompat import errors\ndef f():\n    import libvirt\n    from xmcompat.xm import main\n")
    assert wrong_arrows("storage.sharing", file) == [
        "sharing.py:3 imports libvirt", "sharing.py:4 imports xmcompat.xm.main",
    ]  # fmt: skip
    file.write_text("import time\n")
    assert wrong_arrows("translate.clock", file) == ["sharing.py:1 imports time"]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_file_can_be_read_at_one_sitting(name: str) -> None:
    assert len(MODULES[name].read_text().splitlines()) <= 450
    assert MODULES[name].stem not in ("utils", "helpers", "common", "misc")


LOADED = """
import os, sys
def leave(status):
    sys.stderr.write("\\n".join(sorted(sys.modules)))
    sys.stderr.flush()
    os.write(1, b"")
    raise SystemExit(status)
from xmcompat.xm import main
main._leave = leave
sys.argv = ["xm", "list"]
main.run()
"""


@pytest.mark.libvirt
def test_xm_list_loads_nothing_that_it_does_not_need(node: PrivateLibvirtd) -> None:
    shutil.rmtree(moving_folder(node.uri), ignore_errors=True)  # an xm that a test has killed may have left its mark there
    argv = xm_command(node, "list")
    start = argv.index(sys.executable)
    done = subprocess.run(
        [*argv[:start], sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Name "), done.stderr
    loaded = {name.split(".")[0] for name in done.stderr.split()} - {"xmcompat"}
    assert not loaded & {"libvirt", "lxml", "click", "dataclasses", "typing", "subprocess", "re"}
    rooms = {name.split(".")[1] for name in done.stderr.split() if name.startswith("xmcompat.")}
    assert not rooms & {"config", "translate", "network", "storage", "tour", "tool"}


BEFORE = """
import os, sys
from xmcompat.backends import libvirt_reading
from xmcompat.xm import main
def connect(uri):
    sys.stderr.write("\\n".join(sorted(sys.modules)))
    sys.stderr.flush()
    os._exit(0)
libvirt_reading.connect = connect
main.run()
"""

XML = (
    "<domain type='kvm'><name>web1</name><uuid>0f000000-0000-0000-0000-00000000f001</uuid><memory unit='KiB'>65536</memory>"
    "<vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"
)

#: What reads the files of xm and xl, what makes a guest, and what has to do with devices that only some guests have.
LATER = {
    "xmcompat.config.read", "xmcompat.config.load", "xmcompat.config.python", "xmcompat.config.interpret", "xmcompat.config.xl",
    "xmcompat.config.keys", "xmcompat.translate.machine", "xmcompat.translate.disks", "xmcompat.network.steps",
    "xmcompat.network.programs", "xmcompat.vifs", "xmcompat.storage.composite", "xmcompat.storage.image_programs",
    "xmcompat.storage.partitions", "xmcompat.storage.holds", "xmcompat.backends.domain_xml_write",
}  # fmt: skip


@pytest.mark.parametrize(("words", "more"), [
    (("save", "web1", "{folder}/new"), {"json", "socket", "xmcompat.backends.domain_xml_read"}),
    (("restore", "{folder}/image"), {"json", "socket"}),
    (("migrate", "web1", "node2"), {"ssl", "socket", "tempfile", "xmcompat.backends.domain_xml_read"}),
])  # fmt: skip
def test_a_guest_that_goes_is_asked_for_before_what_it_may_need_is_loaded(
    tmp_path: Path, words: tuple[str, ...], more: set[str]
) -> None:
    (tmp_path / "image").write_bytes(image(XML))
    (tmp_path / "settings").write_text('[migration]\nssh = "/bin/false"\n')
    done = subprocess.run(
        [sys.executable, "-c", BEFORE, *(word.format(folder=tmp_path) for word in words)], capture_output=True, text=True,
        timeout=60, check=False, cwd=CHECKOUT, env={**os.environ, "XMCOMPAT_CONFIG": str(tmp_path / "settings")},
    )  # fmt: skip
    loaded = set(done.stderr.split())
    assert done.returncode == 0, done.stderr
    assert "xmcompat.migrating" in loaded or "xmcompat.saving" in loaded
    assert not loaded & (LATER | more | {"libvirt", "click", "hashlib", "secrets", "uuid", "ipaddress", "fractions"})
    assert "subprocess" not in loaded or words[0] == "migrate"
