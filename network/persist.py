"""Networks that are there after a reboot too: what the host's own configuration has to say for them. Pure.

The host is configured by systemd-networkd, ifupdown or NetworkManager; each has a module that writes its files. What it
writes is what the kernel has now: the networks of ours that are up. Our files can be told by their first line. A file of
somebody else is changed by ifupdown's module alone, in a way that can be taken back from the file itself; the others have
files that go before those that are there.

What none of them can say stays with ``xend start``: nftables, DHCP of NAT, what guests need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from xmcompat.network import (
    forwarding,
    interfaces,
    moving,
    persist_ifupdown,
    persist_networkd,
    persist_networkmanager,
    sysctl,
)
from xmcompat.network.configured import HEADER, KEPT, Facts, Stored, Text, Writing, in_place, kept, settings_of
from xmcompat.network.host import Host
from xmcompat.network.programs import NetworkError
from xmcompat.network.wanted import Bridge, Nat, Network, Overlay, Routing, Segment, Switch

SYSCTLS = "/etc/sysctl.d/60-xmcompat-network.conf"


class System(Enum):
    """What configures the host's network, by the name that people call it."""

    NETWORKD = "systemd-networkd"
    IFUPDOWN = "ifupdown"
    NETWORKMANAGER = "NetworkManager"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One file, before and after; None where it is not there. MODE is for a new one; others keep theirs."""

    path: str
    before: str | None
    after: str | None
    mode: int = 0o644


# -- which system


def runs(device: str, host: Host, facts: Facts) -> tuple[System, ...]:
    """The systems that configure DEVICE."""
    claims = {
        System.NETWORKD: persist_networkd.manages(device, host, facts),
        System.NETWORKMANAGER: persist_networkmanager.manages(device, host, facts),
        System.IFUPDOWN: interfaces.manages(device, facts),
    }
    return tuple(system for system, claim in claims.items() if claim)


def system_of(wanted: Sequence[Network], host: Host, facts: Facts, asked: System | None = None) -> System:
    """The system that all devices below the networks belong to, or the one ASKED for.

    Raises NetworkError where there is none, or more than one.
    """
    if asked is not None:
        return asked
    made = {getattr(network, "name", "") for network in wanted}
    below = [getattr(network, key, "") for network in wanted for key in ("uplink", "parent", "underlay")]
    devices = list(dict.fromkeys(name for name in below if name and name not in made)) or [host.default_device]
    found = {system: device for device in devices for system in runs(device, host, facts)}
    found = found or {system: host.default_device for system in runs(host.default_device, host, facts)}
    if len(found) > 1:
        who = " and ".join(f"{system.value} ({device})" for system, device in found.items())
        raise NetworkError(f"more than one program configures this host: {who}", hint="say which, with --system")
    if not found:
        names = ", ".join(filter(None, devices)) or "a card"
        raise NetworkError(
            f"neither systemd-networkd, ifupdown nor NetworkManager configures {names}",
            hint="let 'xend start' make the networks at boot, or say --system",
        )
    return next(iter(found))


# -- what is to be changed


def sysctls(wanted: Sequence[Network], host: Host, *, by_device: bool) -> tuple[Text, ...]:
    """The file of settings that the kernel is to have from the beginning, () for none. BY_DEVICE: those of new devices,
    which udev applies, as well."""
    lines: dict[str, str] = {}
    for network in wanted:
        match network:
            case Routing():
                lines[forwarding.IPV4] = "1"
                lines[sysctl.of_device("net.ipv4.conf.*.proxy_arp", network.uplink)] = "1"
                if network.ipv6 and forwarding.has_ipv6(host, network.uplink):
                    lines[forwarding.IPV6] = "1"
                    lines[sysctl.of_device("net.ipv6.conf.*.proxy_ndp", network.uplink)] = "1"
                    if moving.kernel_hears_routers(host, network.uplink):
                        lines[sysctl.of_device("net.ipv6.conf.*.accept_ra", network.uplink)] = "2"
            case Segment() | Overlay() if by_device:
                lines |= {key: value for one in settings_of(network, host).values() for key, value in one.items()}
    if not lines:
        return ()
    return (Text(SYSCTLS, HEADER + "\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())),)


def is_ours(path: str, text: str) -> bool:
    """Whether 'persist' has written that file."""
    return text.partition("\n")[0] == HEADER or persist_networkmanager.is_ours(path, text)


def writing(wanted: Sequence[Network], host: Host, facts: Facts, system: System) -> Writing:
    """The files for SYSTEM. Raises NetworkError where there can be none."""
    write = {System.NETWORKD: persist_networkd.write, System.IFUPDOWN: persist_ifupdown.write,
             System.NETWORKMANAGER: persist_networkmanager.write}[system]  # fmt: skip
    made = write(wanted, host, original(facts))
    left = [
        f"{what}: 'xend start' does that at boot" for what in (
            *(f"NAT behind {one.bridge}, with its firewall and DHCP" for one in wanted if isinstance(one, Nat)),
            *("the routes to guests" for one in wanted if isinstance(one, Routing)),
            *(f"{one.name} is kept by Open vSwitch; its card's addresses"
              for one in wanted if isinstance(one, Switch) and one.uplink),
            *("filters and rates of guests" for one in wanted if isinstance(one, Bridge | Segment) and one.antispoof),
        )
    ]  # fmt: skip
    settings = sysctls(wanted, host, by_device=system is not System.IFUPDOWN)
    return Writing((*made.files, *settings), made.edited, (*made.notes, *dict.fromkeys(left)))


def original(facts: Facts) -> Facts:
    """FACTS without anything of ours. Raises NetworkError where ours cannot be told from others' any more."""
    files = {
        path: Stored(interfaces.unedited(one.text, path), one.mode) if not path.startswith(f"{KEPT}/") else one
        for path, one in facts.files.items() if not is_ours(path, one.text)
    }  # fmt: skip
    pairs = (in_place(one.text) for path, one in facts.files.items() if is_ours(path, one.text))
    replaced = {card: path for card, path in pairs if card and path in files}
    return Facts(files=files, programs=facts.programs, replaced=replaced)


def changes(made: Writing, facts: Facts) -> tuple[Change, ...]:
    """What differs from what is there: () where all is as it should be. Raises NetworkError for a file that is not ours."""
    found = []
    for file in made.files:
        there = facts.files.get(file.path)
        if there is not None and not is_ours(file.path, there.text):
            raise NetworkError(f"{file.path} is there already, and is not ours", hint="remove it, or give it another name")
        found.append(_change(file, there))
    for file in made.edited:
        there = facts.files[file.path]
        before = original(facts).text(file.path)
        copy = Text(kept(file.path), before, there.mode)
        found.append(_change(copy, facts.files.get(copy.path)))
        found.append(_change(file, there))
    named = {change.path for change in found}
    return (*(one for one in found if one.before != one.after), *(one for one in forgotten(facts) if one.path not in named))


def _change(file: Text, there: Stored | None) -> Change:
    return Change(path=file.path, before=there.text if there else None, after=file.text, mode=file.mode)


def forgotten(facts: Facts) -> tuple[Change, ...]:
    """What removes all of ours, and makes others' files what they were but for what others have changed since.

    Raises NetworkError where our changes of a file are no longer whole.
    """
    before = original(facts)
    edited, gone = [], []
    for path, one in facts.files.items():
        if is_ours(path, one.text) or path.startswith(f"{KEPT}/"):
            gone.append(Change(path=path, before=one.text, after=None, mode=one.mode))
        elif before.text(path) != one.text:
            edited.append(Change(path=path, before=one.text, after=before.text(path), mode=one.mode))
    return (*edited, *gone)  # a card is configured twice rather than not at all


def changed_since(facts: Facts) -> dict[str, tuple[str, str]]:
    """Files of others that were changed again after us: what was kept, and what it would be now without ours."""
    before = original(facts)
    pairs = {
        path: (one.text, before.text(path)) for path in before.files
        if (one := facts.files.get(kept(path))) is not None
    }  # fmt: skip
    return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}
