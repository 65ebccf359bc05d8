"""The whole state of a network namespace as lines of text that can be compared.

Links (with their details and bridge ports), addresses, routes and rules of both families, permanent neighbours and
forwarding entries, nftables rules, queueing disciplines with classes and filters, and every sysctl of net.ipv4,
net.ipv6 and net.bridge. What moves by itself is taken out: counters, handles, timers, lifetimes, learnt neighbours.

``taken`` is for a process that is in the namespace, with its mounts.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Seconds that addresses have to become usable before they are described as they are, and a host to be as it was.
SETTLE = 15.0

#: The programs that tell what there is, what each is fed with, and the sections that it answers, one JSON value each.
QUERIES = (
    (("ip", "-j", "-d", "-batch", "-"), "link\nneigh show proxy\nneigh show nud permanent\n", ("link", "proxy", "neigh")),
    (("ip", "-j", "-4", "-batch", "-"), "route show table all\nrule\n", ("route4", "rule4")),
    (("ip", "-j", "-6", "-batch", "-"), "route show table all\nrule\n", ("route6", "rule6")),
    (("bridge", "-j", "fdb"), "", ("fdb",)),
    (("nft", "-j", "list", "ruleset"), "", ("nft",)),
    (("tc", "-j", "qdisc"), "", ("qdisc",)),
)
ADDRESSES = (("ip", "-j", "addr"), "", ("addr",))
Query = tuple[tuple[str, ...], str, tuple[str, ...]]
Sections = dict[str, list[dict[str, Any]]]

SYSCTLS = ("ipv4", "ipv6", "bridge")

#: Kernel-wide lists and write-only files.
MOVING_SYSCTLS = ("tcp_available_congestion_control", "tcp_allowed_congestion_control", "tcp_fastopen_key", "flush")

#: What the kernel gives a link by itself.
DEFAULT_QDISCS = ("noqueue", "pfifo_fast", "mq")

#: Keys that move by themselves or are new for what is made again.
MOVING = frozenset(
    "handle packets bytes expires refcnt link_netnsid topology_change topology_change_detected"
    " used age updated direct_packets_stat".split()
)
LIFETIMES = ("valid_life_time", "preferred_life_time")
FOREVER = 4294967295

#: The same in tc's lines: the number of an action, and handles that the kernel has chosen.
MOVING_WORDS = r"index \d+ ref \d+ bind \d+|\b8[0-9a-f]{3}:"

#: The lifetimes of an address that a bridge's mark remembers.
MOVING_LEASE = r"(lease=[^ /]+)/\d+/\d+"

#: What names an object of each section, first to last.
NAMES = {
    "link": ("ifname",),
    "addr": ("ifname",),
    "route4": ("table", "type", "dst", "dev", "metric"),
    "route6": ("table", "type", "dst", "dev", "metric"),
    "rule4": ("priority",),
    "rule6": ("priority",),
    "proxy": ("dev", "dst"),
    "neigh": ("dev", "dst"),
    "fdb": ("ifname", "mac"),
    "qdisc": ("dev", "kind", "parent"),
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``lines`` begin with their section: ``link up0 mtu = 1500``, ``sysctl net.ipv4.ip_forward = 0``."""

    lines: tuple[str, ...]

    def section(self, *names: str) -> tuple[str, ...]:
        """The lines of the sections NAMES: link, addr, route4, nft, sysctl..."""
        return tuple(line for line in self.lines if line.partition(" ")[0] in names)

    def without(self, *beginnings: str) -> Snapshot:
        """All but the lines that begin with one of BEGINNINGS."""
        return Snapshot(tuple(line for line in self.lines if not line.startswith(beginnings)))

    def difference(self, later: Snapshot) -> str:
        """What LATER lacks ("-") and has in addition ("+"), one a line; "" where both are equal."""
        here, there = set(self.lines), set(later.lines)
        gone = [f"- {line}" for line in self.lines if line not in there]
        come = [f"+ {line}" for line in later.lines if line not in here]
        if not gone and not come and self.lines != later.lines:
            return "the same lines in another order"
        return "\n".join(sorted([*gone, *come], key=lambda line: (line[2:], line[0])))


def same(before: Snapshot, look: Callable[[], Snapshot]) -> bool:
    """Whether LOOK finds all as BEFORE; the kernel does some things a little later than it is asked to. What differs is
    printed."""
    deadline = time.monotonic() + SETTLE
    while (told := before.difference(look())) and time.monotonic() < deadline:
        time.sleep(0.1)
    print(told)
    return not told


def taken() -> Snapshot:
    """The state of the network that this process is in, once addresses that are being tried can be used, and have come into
    the table of the host's own: the kernel does both a little later than what asks for them."""
    deadline = time.monotonic() + SETTLE
    while _unsettled(_asked([ADDRESSES])["addr"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    while (found := _all())["unrouted"] and time.monotonic() < deadline:
        time.sleep(0.05)
    return _described(found)


def _all() -> dict[str, Any]:
    """Everything, and the IPv6 addresses of links with a carrier that the kernel does not know as its own yet."""
    asking = [(_start(query), query) for query in (*QUERIES, ADDRESSES)]
    sysctls = _sysctls()
    found = dict(pair for process, query in asking for pair in _answers(process, query).items())
    own = {(route.get("dev"), route["dst"]) for route in found["route6"] if route.get("table") == "local"}
    unrouted = [place for place in _addresses6(found["addr"]) if place not in own]
    return {**found, "traffic": _traffic_control(found["qdisc"]), "sysctl": sysctls, "unrouted": unrouted}


def _addresses6(links: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Device and address of those that can be used, on links with a carrier."""
    for link in links:
        if "LOWER_UP" in link.get("flags", ()):
            for info in link.get("addr_info", ()):
                if info.get("family") == "inet6" and not info.get("tentative") and not info.get("dadfailed"):
                    yield link["ifname"], info["local"]


def _described(found: Mapping[str, Any]) -> Snapshot:
    lines: list[str] = []
    for section, names in NAMES.items():
        lines += sorted(_object_lines(section, names, found.get(section) or []))
    lines += found["traffic"]
    lines += [f"nft {_one_line(item)}" for item in found["nft"] if "metainfo" not in item]
    lines += [f"sysctl {name} = {value}" for name, value in sorted(found["sysctl"].items())]
    return Snapshot(tuple(lines))


def _object_lines(section: str, names: Sequence[str], objects: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for item in objects:
        if section == "fdb" and item.get("state") not in ("permanent", "static"):
            continue
        if section == "addr":
            item = {"ifname": item["ifname"], "addr_info": item["addr_info"]} if item.get("ifname") else {}
        if not item:
            continue
        name = " ".join(str(item[key]) for key in names if key in item)
        rest = {key: value for key, value in item.items() if key not in names}
        flat = list(_flat(_steady(rest)))
        yield from (f"{section} {name} {path} = {value}" for path, value in flat)
        if not flat:
            yield f"{section} {name}"


def _one_line(item: object) -> str:
    return json.dumps(_steady(item), sort_keys=True)


def _steady(value: Any) -> Any:
    """VALUE without what moves by itself."""
    if isinstance(value, dict):
        kept: dict[str, Any] = {}
        for key, part in value.items():
            if key in LIFETIMES:
                kept[key] = "forever" if part == FOREVER else "limited"
            elif key == "flags" and isinstance(part, list):
                kept[key] = sorted(str(word) for word in part)
            elif key == "ifalias" and isinstance(part, str):
                kept[key] = re.sub(MOVING_LEASE, r"\1 ticking", part)
            elif key not in MOVING and not key.endswith("_timer"):
                kept[key] = _steady(part)
        return kept
    if isinstance(value, list):
        return [_steady(part) for part in value]
    return value


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each scalar of VALUE by its path; addresses by what they are, other lists in their order."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _flat(part, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        for index, part in enumerate(value):
            named = part.get("local") or index
            yield from _flat({key: word for key, word in part.items() if key != "local"}, f"{path}[{named}]")
    else:
        yield path, json.dumps(value) if isinstance(value, list | dict) else str(value)


# -- inside the namespace


def _start(query: Query) -> subprocess.Popen[str]:
    """The program runs; it has been fed."""
    argv, text, _ = query
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(text)
    return process


def _answers(process: subprocess.Popen[str], query: Query) -> Sections:
    """What the program says, by section. Raises AssertionError where it fails."""
    argv, _, names = query
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 0, f"{' '.join(argv)}: {stderr}"
    found: Sections = {}
    decoder, place = json.JSONDecoder(), 0
    for name in names:
        while place < len(stdout) and stdout[place].isspace():
            place += 1
        value, place = decoder.raw_decode(stdout, place)
        found[name] = list(value["nftables"] if isinstance(value, dict) else value)
    assert not stdout[place:].strip(), f"{' '.join(argv)} says more than was asked: {stdout}"
    return found


def _asked(queries: Sequence[Query]) -> Sections:
    return {name: value for query in queries for name, value in _answers(_start(query), query).items()}


def _unsettled(addresses: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an address is still being tried on a link that has a carrier."""
    return any(
        info.get("tentative") and not info.get("dadfailed")
        for link in addresses
        if "LOWER_UP" in link.get("flags", ())
        for info in link.get("addr_info", ())
    )


def _sysctls() -> dict[str, str]:
    found = {}
    for top in SYSCTLS:
        for folder, _, files in os.walk(f"/proc/sys/net/{top}"):
            for name in files:
                if name in MOVING_SYSCTLS:
                    continue
                path = f"{folder}/{name}"
                try:
                    file = os.open(path, os.O_RDONLY)
                except OSError:
                    continue  # cannot be read, or its link has just gone
                try:
                    found[path.removeprefix("/proc/sys/").replace("/", ".")] = os.read(file, 1 << 16).decode().strip()
                except OSError:
                    continue
                finally:
                    os.close(file)
    return found


def _traffic_control(qdiscs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The classes and filters of links with a queueing discipline that somebody gave them, as tc's lines.

    As text: tc's JSON is none for some kinds.
    """
    lines = []
    for device, kind in sorted({(item["dev"], item["kind"]) for item in qdiscs}):
        if kind in DEFAULT_QDISCS:
            continue
        shows = [("filter", "parent", "ffff:")] if kind in ("ingress", "clsact") else [("class",), ("filter",)]
        for what, *parent in shows:
            argv = ("tc", what, "show", "dev", device, *parent)
            done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
            found = (re.sub(MOVING_WORDS, "", line) for line in done.stdout.splitlines())
            lines += [f"{what} {device} {' '.join(line.split())}" for line in found if line.strip()]
    return lines
