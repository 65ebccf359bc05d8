"""The programs that configure a card by DHCP. They go on asking on the card when it is put into a bridge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_ALONE = ("dhclient", "dhcpcd", "udhcpc", "pump")

#: Daemons that configure cards, and where each says that it does so for the card of a number.
_LEASES = {"systemd-networkd": "/run/systemd/netif/leases/{index}", "NetworkManager": "/run/NetworkManager/devices/{index}"}


def clients(device: str, index: int) -> list[str]:
    """Those of DEVICE, the link number INDEX: "dhclient (process 412)", "systemd-networkd"."""
    daemons = (name for name, path in _LEASES.items() if _asks(name, Path(path.format(index=index))))
    return [*of_card(device, _processes()), *daemons]


def of_card(device: str, processes: Iterable[tuple[int, Sequence[str]]]) -> Iterator[str]:
    """Among PROCESSES, each a number and its words, those that were started for DEVICE, or for all cards. Pure."""
    for number, words in processes:
        name = words[0].rpartition("/")[2].rstrip(":") if words else ""
        rest = words[1:]
        named = any(word == device or word.endswith(f"/{device}") for word in rest)
        for_all = name == "dhcpcd" and all(word.startswith("-") for word in rest)
        if name in _ALONE and (named or for_all):
            yield f"{name} (process {number})"


def _asks(name: str, path: Path) -> bool:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return False
    return name == "systemd-networkd" or "dhcp" in text


def _processes() -> Iterator[tuple[int, list[str]]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if line:
            yield int(folder.name), line.decode(errors="replace").rstrip("\0").split("\0")
