"""Guests whose disks are brought up by a script of the user's own, through all of their lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import Bench, Writer
from tests.lab import disk_guest
from tests.lab.fixtures import Outcome, xm_command

pytestmark = [pytest.mark.libvirt, pytest.mark.timeout(120)]

#: Makes loop devices of files, as Xen's own script for "file:" does, and tells what it was asked.
SCRIPT = """#!/bin/sh
read_() { xenstore-read "$XENBUS_PATH/$1"; }
echo "$1 $(read_ dev) $(read_ params) $(read_ mode) $(read_ domain)" >>FOLDER/calls
case "$1" in
add)
  [ -e "FOLDER/$(read_ params)" ] || { xenstore-write "$XENBUS_PATH/hotplug-error" "no volume $(read_ params)" \\
    "$XENBUS_PATH/hotplug-status" error; exit 1; }
  device=$(losetup -f --show "FOLDER/$(read_ params)") || exit 1
  xenstore-write "$XENBUS_PATH/node" "$device" "$XENBUS_PATH/physical-device" "$(stat -c %t:%T "$device")"
  xenstore-write "$XENBUS_PATH/hotplug-status" connected ;;
remove) losetup -d "$(read_ node)" ;;
esac
"""


class Volumes:
    """A folder of volumes, and the script block-mine that brings them up by name."""

    def __init__(self, bench: Bench, earlier: frozenset[str] = frozenset()) -> None:
        self.bench = bench
        self.earlier = earlier
        self.folder = bench.directory
        scripts = self.folder / "scripts"
        scripts.mkdir()
        self.script = scripts / "block-mine"
        self.script.write_text(SCRIPT.replace("FOLDER", str(self.folder)))
        self.script.chmod(0o755)
        (self.folder / "vol1").write_bytes(bytes(1024 * 1024))
        self.settings = bench.config("xmcompat.toml", f'script_folder = "{scripts}"\n')

    def xm(self, *words: str, **env: str) -> Outcome:
        return self.bench.xm(*words, XMCOMPAT_CONFIG=str(self.settings), **env)

    def calls(self) -> list[str]:
        """What the script was asked since this was asked last."""
        path = self.folder / "calls"
        said = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return said

    def devices(self) -> list[str]:
        """The loop devices over the volumes."""
        shown = subprocess.run(["losetup", "-l", "-J"], capture_output=True, check=True).stdout
        found = json.loads(shown or '{"loopdevices": []}')["loopdevices"]
        return [one["name"] for one in found if (one["back-file"] or "").startswith(str(self.folder))]

    def left(self) -> list[str]:
        """What is on the host of links, stores and holds."""
        places = ("disks", "scripts", "storage")
        found = subprocess.run(
            self.bench.node.enter(["find", *(f"/run/xmcompat/{place}" for place in places), "-name", "lock", "-prune", "-o",
                                   "(", "-type", "f", "-o", "-type", "l", ")", "-print"]),
            capture_output=True, text=True,
        )  # fmt: skip
        return [line for line in found.stdout.splitlines() if not self.earlier & set(line.split("/"))]


@pytest.fixture
def volumes(bench: Bench, held_before: frozenset[str]) -> Iterator[Volumes]:
    found = Volumes(bench, held_before)
    yield found
    for device in found.devices():
        subprocess.run(["losetup", "-d", device], check=False)


def eventually(true: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def test_a_guest_runs_from_what_the_script_has_made(bench: Bench, pv: Writer, volumes: Volumes) -> None:
    disk_guest.make(volumes.folder / "boot", "the volume", size=4 << 20)
    bench.config("web1.cfg", "builder = 'hvm'\nname = 'web1'\nmemory = 32\ndisk = ['mine:boot,hda,w']\n"
                 "on_poweroff = 'destroy'\nvnc = 0\n")  # fmt: skip
    assert volumes.xm("create", "-q", "web1.cfg") == ("", "", 0)
    assert volumes.calls() == ["add hda boot w web1"] and len(volumes.devices()) == 1
    eventually(lambda: bench.remains()[0] == [], "the guest has not ended")
    assert disk_guest.written(volumes.folder / "boot")
    pv("web2.cfg", disk=[f"file:{bench.directory}/root.img,xvda,w"], root="/dev/xvda ro", vif=[])
    assert volumes.xm("create", "-q", "web2.cfg").status == 0  # which finds what the first one has left
    assert volumes.calls() == ["remove hda boot w web1"]
    assert (volumes.devices(), volumes.left()) == ([], [])


def test_the_script_removes_the_disk_when_the_guest_is_destroyed(bench: Bench, pv: Writer, volumes: Volumes) -> None:
    pv(disk=["mine:vol1,xvda,w"], root="/dev/xvda ro", vif=[])
    assert volumes.xm("create", "-q", "web1.cfg").status == 0
    shown = volumes.xm("list", "-l", "web1").stdout
    assert "(uname mine:vol1)" in shown and "/dev/loop" not in shown
    assert [line.split()[0] for line in volumes.xm("block-list", "web1").stdout.splitlines()[1:]] == ["51712"]
    assert volumes.xm("destroy", "web1") == ("", "", 0)
    assert volumes.calls() == ["add xvda vol1 w web1", "remove xvda vol1 w web1"]
    assert (volumes.devices(), volumes.left()) == ([], [])


def test_what_the_script_refuses_is_one_line_and_nothing_is_left(bench: Bench, pv: Writer, volumes: Volumes) -> None:
    pv(disk=["mine:vol1,xvda,w", "mine:novol,xvdb,w"], root="/dev/xvda ro", vif=[])
    _, stderr, status = volumes.xm("create", "-q", "web1.cfg")
    assert (stderr, status) == (
        f"Error: Device 51728 (vbd) could not be connected. no volume novol; {volumes.script} ended with status 1\n", 1
    )
    assert [call.split()[:3] for call in volumes.calls()] == [
        ["add", "xvda", "vol1"], ["add", "xvdb", "novol"], ["remove", "xvdb", "novol"], ["remove", "xvda", "vol1"],
    ]  # fmt: skip
    assert (bench.remains()[0], volumes.devices(), volumes.left()) == ([], [], [])


def test_one_volume_is_not_written_by_two_guests(bench: Bench, pv: Writer, volumes: Volumes) -> None:
    for name, mode in (("web1", "w"), ("web2", "w"), ("web3", "w!")):
        pv(f"{name}.cfg", disk=[f"mine:vol1,xvda,{mode}"], root="/dev/xvda ro", vif=[])
    assert volumes.xm("create", "-q", "web1.cfg").status == 0
    _, stderr, status = volumes.xm("create", "-q", "web2.cfg")
    assert status == 1 and "is mounted in a guest domain,\nand so cannot be mounted now.\nHint: the domain web1 has it" in stderr
    assert len(volumes.devices()) == 1
    assert volumes.xm("create", "-q", "web3.cfg").status == 0
    assert len(volumes.devices()) == 2
    for name in ("web1", "web3"):
        assert volumes.xm("destroy", name).status == 0
    assert (volumes.devices(), volumes.left()) == ([], [])


def test_a_disk_of_a_script_comes_and_goes_while_the_guest_runs(bench: Bench, pv: Writer, volumes: Volumes) -> None:
    pv(vif=[])
    assert volumes.xm("create", "-q", "web1.cfg").status == 0
    assert volumes.xm("block-attach", "web1", "mine:vol1", "xvdb", "w") == ("", "", 0)
    assert volumes.calls() == ["add xvdb vol1 w web1"] and len(volumes.devices()) == 1
    _, stderr, status = volumes.xm("block-attach", "web1", "mine:novol", "xvdc", "w")
    assert stderr.startswith("Error: Device 51744 (vbd) could not be connected. no volume novol; ") and status == 1
    assert [call.split()[:3] for call in volumes.calls()] == [["add", "xvdc", "novol"], ["remove", "xvdc", "novol"]]
    _, stderr, status = volumes.xm("block-attach", "web1", "other:x", "xvdc", "w")
    assert (stderr.splitlines()[0], status) == ('Error: Block device type "other" is invalid.', 1)
    assert volumes.xm("destroy", "web1").status == 0
    assert volumes.calls() == ["remove xvdb vol1 w web1"]
    assert (volumes.devices(), volumes.left()) == ([], [])


def test_a_managed_guest_has_its_disk_while_it_runs(bench: Bench, pv: Writer, volumes: Volumes) -> None:
    pv(disk=["mine:vol1,xvda,w"], root="/dev/xvda ro", vif=[])
    assert volumes.xm("new", "-q", "web1.cfg").status == 0
    assert volumes.calls() == []
    for _ in range(2):
        assert volumes.xm("start", "web1") == ("", "", 0)
        assert volumes.calls() == ["add xvda vol1 w web1"] and len(volumes.devices()) == 1
        assert volumes.xm("destroy", "web1").status == 0
        assert volumes.calls() == ["remove xvda vol1 w web1"] and volumes.devices() == []
    assert volumes.xm("delete", "web1").status == 0
    assert volumes.left() == []


def test_a_saved_guest_gets_its_disk_back_when_it_is_restored(bench: Bench, pv: Writer, volumes: Volumes) -> None:
    pv(disk=["mine:vol1,xvda,w"], root="/dev/xvda ro", vif=[])
    assert volumes.xm("create", "-q", "web1.cfg").status == 0
    assert volumes.xm("save", "web1", "image").status == 0
    assert volumes.calls() == ["add xvda vol1 w web1", "remove xvda vol1 w web1"] and volumes.devices() == []
    assert volumes.xm("restore", "image").status == 0
    assert volumes.calls() == ["add xvda vol1 w web1"] and len(volumes.devices()) == 1
    assert volumes.xm("destroy", "web1").status == 0
    assert (volumes.devices(), volumes.left()) == ([], [])


def test_a_script_that_others_may_write_is_not_run(bench: Bench, pv: Writer, volumes: Volumes) -> None:
    pv(disk=["mine:vol1,xvda,w"], root="/dev/xvda ro", vif=[])
    volumes.script.chmod(0o777)
    _, stderr, status = volumes.xm("create", "-q", "web1.cfg")
    assert (stderr, status) == (
        f"Error: Device 51712 (vbd) could not be connected. {volumes.script} is not trusted: others than root may write it; "
        f"try: chown root {volumes.script}; chmod go-w {volumes.script}\n", 1
    )  # fmt: skip
    assert volumes.calls() == [] and bench.remains()[0] == []


def test_xends_settings_are_the_scripts(bench: Bench, pv: Writer, volumes: Volumes) -> None:
    pv(disk=["mine:vol1,xvda,w"], root="/dev/xvda ro", vif=[])
    volumes.script.write_text("#!/bin/sh\necho here I hang\nsleep 60\n")
    xend = bench.config("xend-config.sxp", f"(device-create-timeout 2)(logfile {bench.directory}/log/xend.log)")
    log = bench.directory / "log/xen-hotplug.log"
    _, stderr, status = volumes.xm("create", "-q", "web1.cfg", XEND_CONFIG=str(xend))
    assert (stderr, status) == (
        "Error: Device 51712 (vbd) could not be connected. Hotplug scripts not working.; "
        f"{volumes.script} did not end within 2 s; see {log}\n", 1
    )  # fmt: skip
    said = [line.rpartition("]")[2].strip() for line in log.read_text().splitlines()]
    assert [line.partition("block-mine ")[2] or line for line in said] == [
        "add: no end", "here I hang", "remove: no end", "here I hang",
    ]  # fmt: skip
    assert (bench.remains()[0], volumes.left()) == ([], [])


def test_a_second_try_works_after_xm_was_killed_in_the_first(bench: Bench, pv: Writer, volumes: Volumes) -> None:
    pv(disk=["mine:vol1,xvda,w"], root="/dev/xvda ro", vif=[])
    well = volumes.script.read_text()
    ready = bench.directory / "ready"
    volumes.script.write_text(f"{well}touch {ready}\nsleep 60\n")  # all is done, but it does not end
    environ = {"XMCOMPAT_ACCELERATOR": "tcg", "XMCOMPAT_CONFIG": str(volumes.settings)}
    killed = xm_command(bench.node, "create", "-q", "web1.cfg", cwd=bench.directory, env=environ)
    with subprocess.Popen(killed, start_new_session=True) as process:
        eventually(ready.exists, "the script does not come to its end")
        os.killpg(process.pid, signal.SIGKILL)
    volumes.script.write_text(well)
    assert volumes.calls() == ["add xvda vol1 w web1"]
    assert volumes.xm("create", "-q", "web1.cfg").status == 0
    assert volumes.calls() == ["remove xvda vol1 w web1", "add xvda vol1 w web1"]
    assert volumes.xm("destroy", "web1").status == 0
    assert (volumes.devices(), volumes.left()) == ([], [])
