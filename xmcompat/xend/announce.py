"""What xend's log says of each setting at the daemon's start: what it becomes on this host. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from xmcompat.xend.config import Setting, XendConfig
from xmcompat.xend.log import DEFAULT_LEVEL, LEVELS
from xmcompat.xend.networks import bridge_called


class Entry(NamedTuple):
    level: str
    text: str


#: Settings that ``xm create`` acts on: what a host without that would have to do about them is no matter here.
_OBEYED = ("enable-dump", "vncpasswd", "vif-script", "xend-relocation-ssl-server")


def announced(
    config: XendConfig, path: str, bridges: Collection[str] | None, aliases: Mapping[str, str]
) -> Iterator[Entry]:
    """One entry for every setting, in the table's order, and then one for each bridge that is needed.

    PATH is the settings' file. BRIDGES are those of this host, None where nothing tells; ALIASES those that stand for
    others. What is not given is DEBUG, what somebody has to see to WARNING.
    """
    for setting in config.settings:
        yield _entry(setting, path)
    if bridges is not None:
        yield from _needed(config, bridges, aliases)


def _entry(setting: Setting, path: str) -> Entry:
    """The value shown is the one that counts."""
    place = f"{path}:{setting.line}" if setting.line else path if setting.given else "default"
    shown = f"{setting.name} = {setting.value}" if setting.value else setting.name
    warning = _warning(setting)
    level = "WARNING" if warning else "INFO" if setting.given else "DEBUG"
    said = "; ".join(filter(None, (setting.fate.value, setting.meaning, warning)))
    return Entry(level, f"{place}: {shown}: {said}")


def _warning(setting: Setting) -> str:
    """What somebody has to see to."""
    if setting.wrong:
        return setting.wrong
    if setting.name in _OBEYED or setting.name == "network-script":  # its networks are told of when they are made
        return ""
    if setting.name == "loglevel" and setting.value not in LEVELS:
        return f"there is no such level; {DEFAULT_LEVEL} is taken"
    return setting.attention


def _needed(config: XendConfig, bridges: Collection[str], aliases: Mapping[str, str]) -> Iterator[Entry]:
    """The bridges that guests will look for, by the settings, and whether this host has them."""
    wanted = {
        bridge_called(bridge.name, bridge.uplink or "eth0"): bridge.uplink or "the network card of the default route"
        for bridge in config.bridges
    }
    for name in dict.fromkeys((*wanted, *filter(None, (config.default_bridge,)))):
        real = aliases.get(name, name)
        stands = f"bridge {name}" if real == name else f"bridge {real}, which stands for {name},"
        if real in bridges:
            yield Entry("INFO", f"The {stands} is there.")
        else:
            uplink = f", which has {wanted[name]} in it" if name in wanted else ""
            yield Entry("WARNING", f"The {stands} is missing{uplink}: guests that need it cannot start.")
