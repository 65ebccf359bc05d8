"""What device-mapper makes of volumes, on a kernel that has it: prints what test_mapped.py looks at, as JSON."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path

from tests.lab.storage_uml import inside, sh, volume_group
from xmcompat.storage import holds, mapped
from xmcompat.storage.composite import Composite, Part
from xmcompat.storage.needs import Need
from xmcompat.storage.programs import StorageError

MIB = 1 << 20
UUID = "11111111-2222-3333-4444-555555555555"


def pattern(number: int, size: int) -> bytes:
    return hashlib.sha256(bytes([number])).digest() * (size // 32)


def need(*numbers: int, writable: bool = True, vdev: str = "xvda") -> Need:
    parts = tuple(Part(number, f"/dev/vg0/part{number}", writable, False, 51712 + number) for number in numbers)
    return mapped.need(Composite(f"/nowhere/{UUID}-{vdev}", "web1", parts))


def volumes() -> None:
    volume_group()
    for number, size in ((1, 4), (2, 8), (3, 4), (5, 4), (6, 4)):
        sh("lvcreate", "-y", "-Wn", "-Zn", "-L", f"{size}M", "-n", f"part{number}", "vg0")
        Path(f"/dev/vg0/part{number}").write_bytes(pattern(number, size * MIB))


def partitions(path: str) -> dict[str, list[int]]:
    """Number to [first byte, bytes], as sfdisk sees the table."""
    table = json.loads(sh("sfdisk", "--json", path))["partitiontable"]
    found = table["partitions"]
    return {re.findall(r"[0-9]+$", one["node"])[0]: [one["start"] * 512, one["size"] * 512] for one in found}


def content(path: str, start: int, size: int) -> str:
    with open(path, "rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(size)).hexdigest()


def joined(*numbers: int) -> dict[str, object]:
    """A disk of these volumes: its table, what is in each partition, and where a write goes."""
    wanted = need(*numbers)
    path = holds.take(wanted, f"{UUID}.51712", hypervisor="test")
    places = partitions(path)
    same = {
        number: content(path, start, size) == hashlib.sha256(pattern(int(number), size)).hexdigest()
        for number, (start, size) in places.items() if number in map(str, numbers)
    }  # fmt: skip
    last = str(numbers[-1])
    with open(path, "r+b", buffering=0) as file:
        file.seek(places[last][0] + 4096)
        file.write(b"w" * 4096)
        os.fsync(file.fileno())
    sh("blockdev", "--flushbufs", f"/dev/vg0/part{last}")  # what this host has read before
    written = Path(f"/dev/vg0/part{last}").read_bytes()[4096:8192] == b"w" * 4096
    loops = sh("losetup", "-nO", "NAME").split()
    busy = ""
    with open(path, "rb"):
        try:
            mapped.release(wanted)
        except StorageError as error:
            busy = mapped.explain(wanted, error).line()
    again = mapped.assemble(wanted, 10.0)
    holds.give(wanted, f"{UUID}.51712")
    Path(f"/dev/vg0/part{last}").write_bytes(pattern(numbers[-1], places[last][1]))
    return {
        "places": places, "same": same, "written": written, "loops": len(loops), "busy": busy, "again": again,
        "left": [sh("dmsetup", "ls"), sh("losetup", "-nO", "NAME"), sorted(os.listdir("/run/xmcompat"))],
    }  # fmt: skip


def readonly() -> str:
    path = mapped.assemble(need(1, writable=False), 10.0)
    try:
        with open(path, "r+b", buffering=0) as file:
            file.write(b"x" * 512)
        return "written"
    except OSError as error:
        return error.strerror or ""
    finally:
        mapped.release(need(1, writable=False))


def killed() -> list[str]:
    """What is left of a process that was killed at each program that it starts, after a sweep."""
    left = []
    for at in range(1, 8):
        child = os.fork()
        if child == 0:
            _die_at(at)
            holds.take(need(1, 2), f"{UUID}.51712", hypervisor="test")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        holds.sweep(set(), hypervisor="test")
        devices = sh("dmsetup", "ls") + sh("losetup", "-nO", "NAME")
        left += [f"{at}: {devices}"] if "xmc-" in devices or "loop" in devices else []
        if os.WEXITSTATUS(status) == 0 and not os.WIFSIGNALED(status):
            left.append(f"whole at {at}")
            break
    return left


def holders() -> list[object]:
    """Who has the volumes while the disk is there, and then."""
    def now() -> object:
        return [use[:4] for use in mapped.held([(hold.need, True) for hold in holds.held()])]

    holds.take(need(1, 2), f"{UUID}.51712", hypervisor="test")
    during = now()
    holds.give(need(1, 2), f"{UUID}.51712")
    return [during, now()]


def _die_at(count: int) -> None:
    """Have this process killed before the COUNTth start of a program, call of a loop device, or removal of a file."""
    seen = [0]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("subprocess.Popen", "fcntl.ioctl", "os.remove"):
            seen[0] += 1
            if seen[0] == count:
                os.kill(os.getpid(), 9)

    sys.addaudithook(hook)


def main() -> None:
    inside()
    volumes()
    print(json.dumps({
        "possible": mapped.possible(),
        "fits": [mapped.fits(mapped._parts(need(1, 2))), mapped.fits([Part(1, "/etc/fstab")])],
        "gap": joined(1, 3), "logical": joined(1, 5, 6), "gpt": joined(1, 2, 3, 6), "readonly": readonly(), "killed": killed(),
        "holders": holders(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
