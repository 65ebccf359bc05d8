"""What ``test_aoe`` looks at, done on a kernel that has AoE; prints what was found, as JSON. Run by ``tests.lab.uml`` alone."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.lab import disk_guest
from tests.lab.outages import BATCHES, outage, refusal, without_modules
from tests.lab.storage_uml import eventually, inside, sh
from xmcompat.storage import aoe, holds, needs
from xmcompat.storage.needs import Need

found: dict[str, object] = {}


def vblade(shelf: int, image: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["vblade", str(shelf), "0", "av1", image], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def aoe_devices() -> None:
    need = needs.need_of("/dev/etherd/e0.0")
    second = needs.need_of("/dev/etherd/e1.0")
    assert need and second
    found["no module"] = without_modules(lambda: refusal(need, 0.5))
    found["no interface"] = refusal(need, 0.5)
    sh("ip", "link", "add", "av0", "type", "veth", "peer", "name", "av1")
    for name in ("av0", "av1"):
        sh("ip", "link", "set", name, "up")
    held_to = Path("/sys/module/aoe/parameters/aoe_iflist")
    held_to.write_text("eth2 eth3")
    found["held to others"] = refusal(need, 0.5)
    held_to.write_text("av0")
    found["held to one"] = refusal(need, 0.5)
    held_to.write_text("av0 av1")
    found["nobody answers"] = refusal(need, 0.5)
    disk_guest.make("/dev/shm/a.img", "a shelf", size=32 << 20, batches=BATCHES)
    disk_guest.make("/dev/shm/b.img", "another", size=4 << 20)
    other = vblade(1, "/dev/shm/b.img")
    eventually(lambda: sh("aoe-discover") == "" and aoe.is_up(second), 20, "the other shelf answers")
    found["another answers"] = refusal(need, 1.5)
    shelves = [vblade(0, "/dev/shm/a.img")]
    found["aoe path"] = holds.take(need, "one")
    holds.take(need, "two")
    found["aoe up"] = aoe.is_up(need)
    found["aoe outage"] = outage(
        "/dev/etherd/e0.0", "/dev/shm/a.img", lambda: end(shelves[0]), lambda: shelves.append(vblade(0, "/dev/shm/a.img"))
    )
    holds.give(need, "one")
    with open("/dev/etherd/e0.0", "rb", buffering=0) as stays:
        holds.give(need, "two")
        found["aoe given back while open"] = len(stays.read(512))
    end(shelves[1])
    aoe_is_lost(need)
    end(other)


def aoe_is_lost(need: Need) -> None:
    """The shelf stays away until the kernel gives it up, and is back later."""
    node = "/dev/etherd/e0.0"
    Path("/sys/module/aoe/parameters/aoe_deadsecs").write_text("1")
    with open(node, "rb", buffering=0) as stays:
        reader = subprocess.Popen(["dd", f"if={node}", "of=/dev/null", "iflag=direct", "count=1"], stderr=subprocess.DEVNULL)
        eventually(lambda: not aoe.is_up(need), 20, "the kernel takes the shelf for up")
        found["aoe lost: read"] = reader.wait(20)
        aoe.release(need)
        found["aoe lost: known while open"] = os.path.exists(node) and stays.fileno() > 0
    aoe.release(need)
    found["aoe lost: known"] = os.path.exists(node)
    found["aoe lost: others known"] = os.path.exists("/dev/etherd/e1.0")
    shelf = vblade(0, "/dev/shm/a.img")
    found["aoe back"] = (holds.take(need, "three"), aoe.is_up(need))
    holds.give(need, "three")
    end(shelf)


if __name__ == "__main__":
    inside()
    aoe_devices()
    print(json.dumps({**found, "kernel": os.uname().release}))
