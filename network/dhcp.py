"""DHCP for guests behind NAT: one dnsmasq for the bridge, apart from the host's own.

It gives fixed addresses to the guests that it is told of, one small file each, and none to others. Whether it runs is seen
from the processes; its files lie in a directory of the bridge's own and go with it. dnsmasq drops root's rights; it reads
nothing of /etc/dnsmasq.conf.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from xmcompat.network import files, programs
from xmcompat.network.host import SERVERS, Host
from xmcompat.network.nat_addresses import gateway_of, network_of
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Command, File, Signal, Step
from xmcompat.network.wanted import Nat

DIRECTORY = f"/run{SERVERS}"
RESOLV_CONF = "/etc/resolv.conf"

#: How long a guest may keep its address without asking again.
LEASE = "12h"

#: Names that dnsmasq reads as something else: a time, or a word of its own.
_NO_NAMES = re.compile(r"[0-9]+[smhdw]?|ignore|infinite", re.IGNORECASE)


class Names(NamedTuple):
    """The name servers of the host that guests can reach, and its domain. ``own``: there are only others, so that dnsmasq
    has to ask them for the guests."""

    servers: tuple[str, ...] = ()
    domain: str = ""
    own: bool = False


def names(text: str) -> Names:
    """What a resolv.conf says. Pure."""
    servers, domain, others = [], "", False
    for line in text.splitlines():
        word, *values = line.split()[:2] or [""]
        value = values[0] if values else ""
        if word == "nameserver" and re.fullmatch(r"[0-9]+(\.[0-9]+){3}", value) and not value.startswith(("127.", "0.")):
            servers.append(value)
        elif word == "nameserver" and value:
            others = True
        elif word in ("domain", "search") and re.fullmatch(r"[A-Za-z0-9._-]+", value):
            domain = value.rstrip(".")
    return Names(tuple(servers), domain, others and not servers)


def host_names() -> Names:
    """Those of this host. Raises NetworkError."""
    return names(files.read(RESOLV_CONF))


def folder(bridge: str, directory: str = DIRECTORY) -> str:
    return f"{directory}/{bridge}"


def configuration(nat: Nat, known: Names, place: str) -> str:
    """What dnsmasq reads. Pure."""
    network, gateway = network_of(nat.network), gateway_of(nat.network)
    lines = [
        f"# The dnsmasq of {nat.bridge}, written by xmcompat.",
        f"interface={nat.bridge}", "except-interface=lo", "bind-dynamic", "no-hosts", "user=nobody",
        f"pid-file={place}/pid", f"dhcp-leasefile={place}/leases", f"dhcp-hostsdir={place}/hosts",
        f"dhcp-range={network[0]},static,{network.netmask},{LEASE}", "dhcp-authoritative",
        f"dhcp-option=option:router,{gateway}",
    ]  # fmt: skip
    if not known.own:
        lines.append("port=0")
    if known.servers or known.own:
        lines.append(f"dhcp-option=option:dns-server,{','.join(known.servers) or gateway}")
    if known.domain:
        lines.append(f"dhcp-option=option:domain-name,{known.domain}")
    return "\n".join((*lines, ""))


def runs(nat: Nat, host: Host) -> bool:
    """Whether the bridge has its dnsmasq."""
    return any(server.bridge == nat.bridge for server in host.servers)


def up(nat: Nat, host: Host, known: Names | None = None, directory: str = DIRECTORY) -> tuple[Step, ...]:
    """What starts it where it does not run. KNOWN are the host's name servers, read now where they are not given.

    Raises NetworkError where dnsmasq is not installed.
    """
    if runs(nat, host):
        return ()
    if not programs.is_there("dnsmasq"):
        raise NetworkError(
            f"'{nat.bridge}' is to have DHCP, and the program 'dnsmasq' is missing",
            hint="install the package dnsmasq-base, or write dhcp=no",
        )
    place = folder(nat.bridge, directory)
    made, file = _files(nat, known, place)
    return (
        Step(text=f"make {place}", do=made, undo=(*_unknown(nat, host, place), _emptied(place))),
        Step(text=f"write {file.path}", do=file, undo=(File(file.path, None),)),
        Step(text=f"start dnsmasq for '{nat.bridge}'", do=_start(place), undo=(_stop(place),)),
    )


def down(nat: Nat, host: Host) -> tuple[Step, ...]:
    """What stops it. Its files remain; ``forget`` removes them."""
    return tuple(
        _stopped(nat.bridge, server.directory)
        for server in host.servers if server.bridge == nat.bridge
    )  # fmt: skip


def forget(nat: Nat, host: Host, known: Names | None = None, directory: str = DIRECTORY) -> tuple[Step, ...]:
    """What removes its files. Those that tell of guests and leases do not come back when that is undone."""
    places = {server.directory for server in host.servers if server.bridge == nat.bridge} | {folder(nat.bridge, directory)}
    return tuple(
        Step(text=f"remove {place}", do=Command(("rm", "-r", "-f", "--", place)), undo=_files(nat, known, place))
        for place in sorted(places)
    )  # fmt: skip


def _files(nat: Nat, known: Names | None, place: str) -> tuple[Command, File]:
    """What makes the directory PLACE, and what dnsmasq reads in it."""
    text = configuration(nat, host_names() if known is None else known, place)
    folders = (os.path.dirname(place), place, f"{place}/hosts")
    return Command(("install", "-d", "-m", "755", *folders)), File(f"{place}/dnsmasq.conf", text)


def _unknown(nat: Nat, host: Host, place: str) -> tuple[Command, ...]:
    """Removes what dnsmasq has written, where there was no bridge on which it can have served anybody before."""
    written = tuple(f"{place}/{name}" for name in ("leases", "pid"))
    return () if host.link(nat.bridge) else (Command(("rm", "-f", "--", *written)),)


def _emptied(place: str) -> Command:
    """Removes what ``up`` has made, and keeps the hosts that were there before."""
    folders = (f"{place}/hosts", place, os.path.dirname(place))
    return Command(("rmdir", "--ignore-fail-on-non-empty", *folders))


def _start(place: str) -> Command:
    return Command(("dnsmasq", f"--conf-file={place}/dnsmasq.conf"))


def _stop(place: str) -> Signal:
    return Signal("TERM", "dnsmasq", f"--conf-file={place}/dnsmasq.conf")


def _stopped(bridge: str, place: str) -> Step:
    """Undone, it stops it once more: where it could not be stopped there would be two."""
    return Step(text=f"stop dnsmasq of '{bridge}'", do=_stop(place), undo=(_stop(place), _start(place)))


# -- guests


def guest_name(domain: str, index: int = 0) -> str:
    """The host name that the interface INDEX of DOMAIN is given.

    Source: vif-nat: "_.:/+" become "-", and the second interface has the suffix "-2". Differs from xm: so do all other
    characters that a host name cannot have; 63 are enough; "12h", "ignore" and the like, which dnsmasq understands in its
    own way, have "-0" behind them.
    """
    suffix = f"-{index + 1}" if index else ""
    name = re.sub(r"[^A-Za-z0-9-]", "-", domain).strip("-")[: 63 - len(suffix)] + suffix
    name = name.strip("-") or "guest"
    return f"{name}-0" if _NO_NAMES.fullmatch(name) else name


def guest_up(
    bridge: str, mac: str, address: str, name: str, *, leases: str = "", directory: str = DIRECTORY
) -> tuple[Step, ...]:
    """What makes dnsmasq give ADDRESS and NAME to the guest with MAC, without a new start.

    LEASES is the text of its file (``read_leases``): a MAC that was given ADDRESS before, and may be gone for long, would
    keep it from this guest. Then the lease is taken out, for which dnsmasq is started again.
    """
    place = folder(bridge, directory)
    file = _host_file(place, mac)
    kept = [line for line in leases.splitlines() if not _of_another(line, mac, address)]
    entry = File(file, f"{mac},{address},{name},{LEASE}\n")
    steps = [Step(text=f"let {mac} have {address}", do=entry, undo=(File(file, None),))]
    if len(kept) < len(leases.splitlines()):
        cleared = "".join(f"{line}\n" for line in kept)
        steps += [
            _stopped(bridge, place),
            Step(text=f"free {address}", do=File(f"{place}/leases", cleared), undo=(File(f"{place}/leases", leases),)),
            Step(text=f"start dnsmasq for '{bridge}'", do=_start(place), undo=(_stop(place),)),
        ]
    return tuple(steps)


def guest_down(bridge: str, mac: str, *, directory: str = DIRECTORY) -> tuple[Step, ...]:
    """What makes dnsmasq forget the guest with MAC."""
    place = folder(bridge, directory)
    heard = Signal("HUP", "dnsmasq", f"--conf-file={place}/dnsmasq.conf")
    return (
        Step(text=f"let {mac} have no address any more", do=File(_host_file(place, mac), None)),
        Step(text=f"tell dnsmasq of '{bridge}'", do=heard),
    )


def read_leases(bridge: str, directory: str = DIRECTORY) -> str:
    """What it has given to whom: lines of end, MAC, address, name and the guest's own id. "" for none."""
    return files.read(f"{folder(bridge, directory)}/leases")


def _host_file(place: str, mac: str) -> str:
    return f"{place}/hosts/{mac.lower().replace(':', '-')}"


def _of_another(line: str, mac: str, address: str) -> bool:
    words = line.split()
    return len(words) >= 3 and words[2] == address and words[1].lower() != mac.lower()
