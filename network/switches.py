"""The bridges of Open vSwitch on this host, which its own database knows and the kernel does not.

Its database outlives the host's restart, so the mark of ours stands there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from xmcompat.network import programs
from xmcompat.network.programs import ProgramFailed

#: The key of our mark among a bridge's external ids.
KEY = "xmcompat"


class OpenSwitch(NamedTuple):
    """``mark`` is ours as ``marks.text`` writes it, "" for a bridge of somebody else's. ``ports``: without its own."""

    name: str
    mark: str = ""
    ports: tuple[str, ...] = ()
    datapath: str = ""


def vsctl(*words: str) -> tuple[str, ...]:
    """The command; it gives up after ten seconds where the daemon does not answer."""
    return ("ovs-vsctl", "--timeout=10", *words)


def stopped() -> bool:
    """Whether Open vSwitch is installed, and does not run."""
    return not _socket().exists() and programs.is_there("ovs-vsctl")


def _socket() -> Path:
    return Path(os.environ.get("OVS_RUNDIR", "/run/openvswitch"), "db.sock")


def read() -> tuple[OpenSwitch, ...]:
    """() where Open vSwitch is not installed or does not run."""
    if not _socket().exists() or not programs.is_there("ovs-vsctl"):
        return ()
    bridges = ("--columns=name,external_ids,ports,datapath_type", "list", "Bridge")
    try:
        text = programs.run(vsctl("--format=json", "--data=json", *bridges, "--", "--columns=_uuid,name", "list", "Port"))
    except ProgramFailed:
        return ()
    return parse(text)


def parse(text: str) -> tuple[OpenSwitch, ...]:
    """From two tables, bridges and ports, a line each. Pure."""
    tables = [json.loads(line) for line in text.splitlines() if line.strip()]
    if len(tables) != 2:
        return ()
    names = {str(row["_uuid"][1]): str(row["name"]) for row in _rows(tables[1])}
    return tuple(
        OpenSwitch(
            str(row["name"]), dict(row["external_ids"][1]).get(KEY, ""),
            tuple(sorted(names[uuid] for uuid in _uuids(row["ports"]) if names.get(uuid, row["name"]) != row["name"])),
            str(row["datapath_type"]),
        )
        for row in _rows(tables[0])
    )  # fmt: skip


def _rows(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for row in table["data"]:
        yield dict(zip(table["headings"], row, strict=True))


def _uuids(value: list[Any]) -> Iterable[str]:
    """Of a set, which is no set where it has one member."""
    return [str(one[1]) for one in value[1]] if value[0] == "set" else [str(value[1])]
