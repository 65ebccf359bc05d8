"""The part of ``test_drbd`` that needs DRBD: a program for the kernel of ``tests.lab.uml``.

It prints what each of its parts has found, as JSON. Both hosts of the resource are this one: "uml" with /dev/drbd0, and "xen2" with /dev/drbd1, by a configuration of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab import disk_guest
from tests.lab.storage_uml import eventually, sh
from xmcompat.storage import drbd, holds
from xmcompat.storage.needs import Need
from xmcompat.storage.programs import StorageError

Report = dict[str, Any]

OTHER = Path("/run/xen2/drbd.conf")
RESOURCE = """\
resource {name} {{
  protocol C;
  on uml {{ device /dev/drbd0; disk /dev/loop0; meta-disk internal; address 127.0.0.1:7788; }}
  on xen2 {{ device /dev/drbd1; disk /dev/loop1; meta-disk internal; address 127.0.0.1:7789; }}
}}
"""
R0, BY_NUMBER = "/dev/drbd/by-res/r0", "/dev/drbd0"


def need(path: str) -> Need:
    found = drbd.need_of(path)
    assert found, path
    return found


def refused(path: str) -> str:
    try:
        return f"was taken: {holds.take(need(path), 'web1')}"
    except StorageError as error:
        return error.line()


def given(path: str, holder: str) -> str:
    try:
        holds.give(need(path), holder)
        return "was given"
    except StorageError as error:
        return error.line()


def role() -> str:
    return sh("drbdadm", "role", "r0").strip()


def on_xen2(*words: str) -> None:
    done = subprocess.run(
        ["drbdadm", "-c", str(OTHER), *words, "other"], env={**os.environ, "__DRBD_NODE__": "xen2"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def down() -> Report:
    """Before there is anything of the resource in the kernel."""
    for number in (0, 1):
        sh("truncate", "-s", "16M", f"/dev/shm/{number}")
        sh("losetup", f"/dev/loop{number}", f"/dev/shm/{number}")
    OTHER.parent.mkdir()
    for folder in ("/var/lib/drbd", "/run/drbd"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    Path("/etc/drbd.d/r0.res").write_text(RESOURCE.format(name="r0"))
    OTHER.write_text(RESOURCE.format(name="other"))
    report = {path: refused(path) for path in (R0, BY_NUMBER, "/dev/drbd/by-res/r1", "/dev/drbd7")}
    sh("drbdadm", "create-md", "--force", "r0")
    on_xen2("create-md", "--force")
    sh("drbdadm", "up", "r0")
    report["inconsistent"] = refused(R0)
    on_xen2("up")
    eventually(lambda: "Established" in sh("drbdadm", "status", "r0"), 20)
    sh("drbdadm", "new-current-uuid", "--clear-bitmap", "r0/0")
    eventually(lambda: "peer-disk:UpToDate" in sh("drbdadm", "status", "r0"), 20)
    return report


def promoted() -> Report:
    """From the first holder to the last."""
    roles = [role()]
    said = holds.take(need(R0), "web1")
    holds.take(need(R0), "web2")
    roles.append(role())
    holds.give(need(R0), "web1")
    roles.append(role())
    holds.give(need(R0), "web2")
    return {"said": said, "roles": [*roles, role()]}


def was_primary() -> str:
    sh("drbdadm", "primary", "r0")
    holds.take(need(R0), "web1")
    holds.give(need(R0), "web1")
    left = role()
    sh("drbdadm", "secondary", "r0")
    return left


def two_names() -> Report:
    """By its name and by its number it is one resource."""
    devices = [holds.take(need(R0), "web1"), holds.take(need(BY_NUMBER), "web2")]
    one, said = len(holds.held()) == 1, given(R0, "web1")
    kept = role()
    holds.give(need(BY_NUMBER), "web2")
    return {"devices": devices, "one": one, "said": said, "kept": kept, "given": role(), "held": len(holds.held())}


def primary_there() -> Report:
    on_xen2("primary")
    said = refused(R0)
    on_xen2("secondary")
    eventually(lambda: role() == "Secondary/Secondary", 20)  # this host hears of it a little later
    again = refused(R0)
    holds.give(need(R0), "web1")
    return {"said": said, "again": again, "role": role(), "held": len(holds.held())}


def in_use() -> Report:
    holds.take(need(R0), "web1")
    with open(BY_NUMBER, "rb"):
        said = given(R0, "web1")
    holds.sweep(())
    return {"said": said, "role": role(), "held": len(holds.held())}


def killed() -> Report:
    """Whoever takes and gives is killed before each of its steps; then a sweep, and another try."""
    faults: list[str] = []
    point = 0
    while True:
        child = os.fork()
        if child == 0:
            _die_at(point)
            holds.take(need(R0), "web1")
            holds.give(need(R0), "web1")
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        holds.sweep(())
        if role() != "Secondary/Secondary" or holds.held():
            faults.append(f"{point}: {role()} {holds.held()}")
        if not os.WIFSIGNALED(status):
            return {"faults": faults, "points": point, "status": status}
        point += 1


def _die_at(point: int) -> None:
    count = 0

    def dying(step: Callable[..., object]) -> Callable[..., object]:
        def counted(*words: object, **more: object) -> object:
            nonlocal count
            if count == point:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            return step(*words, **more)

        return counted

    drbd.run = dying(drbd.run)  # type: ignore[assignment, attr-defined]
    holds._write = dying(holds._write)  # type: ignore[assignment]


def guest() -> Report:
    """A guest writes, and its pattern is on the disks of both hosts."""
    device = holds.take(need(R0), "web1")
    disk_guest.make(device, "from both hosts")
    blank = [disk_guest.written(path) for path in ("/dev/shm/0", "/dev/shm/1")]
    done = subprocess.run(
        ["qemu-system-x86_64", "-accel", "tcg", "-m", "32", "-nodefaults", "-display", "none", "-serial", "stdio", "-drive",
         f"file={device},if=virtio,format=raw,cache=none"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    holds.give(need(R0), "web1")
    written = [disk_guest.written(path) for path in ("/dev/shm/0", "/dev/shm/1")]
    return {"blank": blank, "said": done.stdout, "written": written, "role": role()}


def cut_off() -> Report:
    """Without its peer a host whose data are good goes on: that is what DRBD is for."""
    sh("drbdadm", "disconnect", "r0")
    said = refused(R0)
    holds.give(need(R0), "web1")
    sh("drbdadm", "down", "r0")
    return {"said": said, "down": refused(R0), "held": len(holds.held())}


PARTS = (down, promoted, was_primary, two_names, primary_there, in_use, killed, guest, cut_off)


def main() -> None:
    print(json.dumps({part.__name__: part() for part in PARTS}))


if __name__ == "__main__":
    main()
