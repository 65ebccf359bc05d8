"""Guests on LVs that are joined to one disk, on a kernel with device-mapper: prints what test_partition_volumes.py looks at."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from tests.e2e.conftest import pv_writer
from tests.lab.storage_uml import URI, eventually, inside, libvirtd, sh, volume_group
from xmcompat import disk_needs
from xmcompat.config.load import load
from xmcompat.errors import XmError
from xmcompat.storage import holds, mapped
from xmcompat.toolstack import Toolstack

WORK = Path("/tmp/guests")
UUID = "11111111-2222-4333-8444-555555555555"


def active() -> list[str]:
    return [name for name in ("swap", "root") if os.path.exists(f"/dev/vg0/{name}")]


def sources(xml: str) -> list[str]:
    return re.findall(r"<source (?:dev|protocol)='[^']*'", xml)


def state(toolstack: Toolstack) -> dict[str, object]:
    running = [info for info in toolstack.hypervisor.domains() if info.domid]
    xml = toolstack.hypervisor.domain_xml(running[0].uuid) if running else ""
    return {
        "guests": [info.name for info in running],
        "sources": sources(xml),
        "active": active(),
        "joined": [line.split()[0] for line in sh("dmsetup", "ls").splitlines() if line.startswith("xmc-")],
        "held": sorted(hold.need.kind for hold in holds.held(disk_needs.FOLDER)),
    }


def refusal(toolstack: Toolstack, path: Path) -> str:
    try:
        toolstack.create(load(str(path)))
    except XmError as error:
        return error.line()
    return ""


def linux(files: Path) -> dict[str, object]:
    """The settings of a Linux guest of the FILES (see ``test_partition_volumes``), which are put into the volumes."""
    for name in ("swap", "root"):
        sh("dd", f"if={files}/{name}.img", f"of=/dev/vg0/{name}", "bs=1M", "conv=fsync", "status=none")
    return {
        "kernel": f"{files}/vmlinuz", "ramdisk": f"{files}/initrd.img", "memory": 80, "root": "/dev/xvda3 ro",
        "extra": "init=/prove quiet console=ttyS0 no_timer_check mitigations=off tsc=reliable lpj=4000000 cryptomgr.notests",
    }  # fmt: skip


def in_root(path: str) -> str:
    """The guest's file, out of the volume, which is active for that long."""
    sh("lvchange", "-ay", "vg0/root")
    try:
        return sh("debugfs", "-R", f"cat {path}", "/dev/vg0/root") + sh("e2fsck", "-fn", "/dev/vg0/root").splitlines()[-1]
    finally:
        sh("lvchange", "-an", "vg0/root")


def main() -> None:
    inside()
    os.environ["XMCOMPAT_ACCELERATOR"] = "tcg"
    volume_group()
    for name, size in (("swap", 4), ("root", 12)):
        sh("lvcreate", "-y", "-Wn", "-Zn", "-L", f"{size}M", "-n", name, "vg0")
    WORK.mkdir()
    write = pv_writer(WORK)
    settings = linux(Path(sys.argv[1]))
    sh("vgchange", "-an", "vg0")
    disks = ["phy:/dev/vg0/root,xvda3,w", "phy:vg0/swap,xvda1,w"]
    web1 = write("web1.cfg", disk=disks, root="/dev/xvda3 ro", vif=[], uuid=UUID)
    web2 = write("web2.cfg", disk=["phy:/dev/vg0/root,xvda,w"], root="/dev/xvda", vif=[])
    linux1 = write("linux1.cfg", disk=disks, vif=[], uuid=UUID, **settings)
    found: dict[str, object] = {"before": active()}
    with libvirtd() as hypervisor, Toolstack.open(URI) as toolstack:
        toolstack.create(load(str(linux1)))
        found["created"] = state(toolstack)
        found["other"] = refusal(toolstack, web2)
        eventually(lambda: not toolstack.hypervisor.domains(), 150, "linux1 goes on")  # nobody of xm's sees it
        found["ended"] = state(toolstack)
        disk_needs.sweep(toolstack.hypervisor)
        found["swept"] = state(toolstack)
        found["wrote"] = in_root("/found")
        toolstack.managed.new(load(str(web1)))
        found["known"] = [state(toolstack), sources(hypervisor.definition(UUID))]
        toolstack.managed.start("web1")
        found["started"] = state(toolstack)
        toolstack.saving.save("web1", f"{WORK}/web1.save")
        found["saved"] = state(toolstack)
        can, mapped.possible = mapped.possible, lambda: False
        toolstack.saving.restore(f"{WORK}/web1.save")
        mapped.possible = can
        found["restored"] = state(toolstack)
        toolstack.destroy("web1")
        found["destroyed"] = state(toolstack)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
