"""``xend-config.sxp``: the settings of xend itself, and what each one means for a host with KVM. Pure: text in.

Source: the rules of xend 4.1. The first of two equal keys counts; a key that xend does not know is passed over.
Differs from xend: a value that it would refuse, at its start or later, is told and its default taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from xmcompat.config.sxp import parse, write
from xmcompat.notes import Fate
from xmcompat.xend.config_keys import XEND_KEYS, XendKey, XendType

YES = ("yes", "y", "1", "on", "true", "t")
NO = ("no", "n", "0", "off", "false", "f")
_SECRET = "vncpasswd"
#: Names of passwords, misspelt ones included.
_SECRETS = re.compile(r"pas+(?:wo?r?)?d|pass|secret|pwd", re.IGNORECASE)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LOCALHOST = r"^localhost$", r"^localhost\.localdomain$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key: its value (the default where it is not ``given``) as text, without passwords.

    ``attention`` is what somebody has to see to, "" where nothing is; ``wrong`` the part of it that speaks of a value
    that cannot be used. ``line`` is where it stands.
    """

    name: str
    value: str
    default: str
    given: bool
    fate: Fate
    meaning: str
    attention: str = ""
    wrong: str = ""
    line: int | None = None


class HostBridge(NamedTuple):
    """A bridge that the host's network script made. ``uplink`` "" is the device of the default route."""

    name: str
    uplink: str


@dataclass(frozen=True, slots=True, kw_only=True)
class XendConfig:
    """``settings`` has every key of the table once, in its order, then what else the file has. ``vnc_password`` says
    whether there is one; the password itself is not kept, but in ``secret``, to be left out of other texts."""

    settings: tuple[Setting, ...] = ()
    bridges: tuple[HostBridge, ...] = ()
    default_bridge: str = ""
    vnc_listen: str = "127.0.0.1"
    secret: str = ""

    def value(self, name: str) -> str:
        """What a key of the table is set to."""
        return next((setting.value for setting in self.settings if setting.name == name), "")

    @property
    def vnc_password(self) -> bool:
        return bool(self.secret)


def read_xend_config(text: str, path: str = "xend-config.sxp") -> XendConfig:
    """Every setting of the file. Raises ConfigSyntax and ConfigLimit for what is no SXP."""
    elements = parse(text, path)
    lines = _lines(text)
    first: dict[str, list[object]] = {}
    others: list[Setting] = []
    for element in elements:
        if not isinstance(element, list) or not element or not isinstance(element[0], str):
            others.append(_stray(_short(element), "it is no (KEY VALUE); xend passes over it"))
        elif element[0] in first:
            others.append(_stray(element[0], "it is there a second time; the first one counts"))
        else:
            first[element[0]] = element
    values = {name: element[1] for name, element in first.items() if len(element) > 1}
    settings = [_setting(key, first.get(key.name), values, lines) for key in XEND_KEYS.values()]
    strangers = [
        _stray(name, "xend does not know it", " ".join(map(_short, element[1:])), lines.get(name))
        for name, element in first.items()
        if name not in XEND_KEYS
    ]
    return XendConfig(
        settings=(*settings, *strangers, *others),
        bridges=network_bridges(_text(values.get("network-script"))),
        default_bridge=_argument(_text(values.get("vif-script")), "bridge"),
        vnc_listen=_text(values.get("vnc-listen")) or "127.0.0.1",
        secret=_text(values.get(_SECRET)),
    )


def network_bridges(script: str) -> tuple[HostBridge, ...]:
    """What a ``network-script`` line makes: network-bridge one bridge, others none that is known."""
    words = script.split()
    if not words or words[0].rpartition("/")[2] != "network-bridge":
        return ()
    uplink = _argument(script, "netdev")
    name = _argument(script, "bridge") or uplink or "eth0"
    return () if name == "null" else (HostBridge(name, uplink),)


def wrapper_bridges(script: str) -> tuple[HostBridge, ...]:
    """The bridges that a script of one's own names, where it calls network-bridge with plain words.

    Differs from xend 4.1: there the second call did nothing, for a bridge was there already.
    """
    found: list[HostBridge] = []
    for line in script.splitlines():
        call = re.search(r"network-bridge[\"']?((?:\s+[\"']?[$@\w.=:{}-]+[\"']?)+)", line.partition("#")[0])
        words = call[1].replace('"', "").replace("'", "") if call else ""
        if "netdev=" in words or "bridge=" in words:
            found += network_bridges(f"network-bridge {words}")
    return tuple(bridge for bridge in dict.fromkeys(found) if "$" not in bridge.name)


def _argument(script: str, name: str) -> str:
    """The value of NAME=VALUE among the words of a script's line."""
    return next((word.partition("=")[2] for word in script.split()[1:] if word.startswith(f"{name}=")), "")


def _lines(text: str) -> dict[str, int]:
    """The line of each key that begins one."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if key := re.match(r"\s*\(\s*([^\s()'\"#]+)", line):
            found.setdefault(key[1], number)
    return found


def _text(element: object) -> str:
    return element if isinstance(element, str) else "" if element is None else write(element)


def _short(element: object) -> str:
    text = write(element)
    return text if len(text) <= 40 else text[:37] + "..."


def _stray(name: str, why: str, value: str = "", line: int | None = None) -> Setting:
    shown = "(not shown)" if value and _SECRETS.search(name) else value
    return Setting(name=name, value=shown, default="", given=True, fate=Fate.NO_MEANING, meaning=why, line=line)


def _setting(
    key: XendKey, element: list[object] | None, values: Mapping[str, object], lines: Mapping[str, int]
) -> Setting:
    given = element is not None
    value = _text(values.get(key.name)) if key.name in values else key.default
    wrong = _wrong(key, value) if key.name in values else "it has no value" if given else ""
    judge = _ATTENTION.get(key.name)
    many = element is not None and len(element) > 2
    unread = "only its first value counts; put a value with blanks into quotes" if many else ""
    attention = wrong or (judge(value, values) if judge else "") or unread
    if key.name == _SECRET and value:
        value = "(not shown)"
    return Setting(
        name=key.name, value=key.default if wrong else value, default=key.default, given=given, fate=key.fate,
        meaning=key.meaning, attention=attention, wrong=wrong or unread, line=lines.get(key.name) if given else None,
    )  # fmt: skip


def _wrong(key: XendKey, value: str) -> str:
    """Why xend would refuse VALUE."""
    if "\0" in value:
        return "it holds a NUL byte; xend refuses it"
    if key.type is XendType.BOOL and value.lower() not in (*YES, *NO):
        return f"'{_short(value)}' is neither yes nor no; xend refuses it"
    if key.type is XendType.NUMBER and not re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", value):
        return f"'{_short(value)}' is no number; xend refuses it"
    return ""


def _on(values: Mapping[str, object], name: str) -> bool:
    return _text(values.get(name)).lower() in YES


# -- what somebody has to see to, by the value and those of other keys


def _network_script(value: str, values: Mapping[str, object]) -> str:
    name = value.split()[0].rpartition("/")[2] if value.split() else ""
    made = network_bridges(value)
    if made:
        uplink = made[0].uplink or "the network card of the default route"
        beware = "; call it otherwise, say xenbr0, on the new host" if re.fullmatch(r"eth[0-9]+", made[0].name) else ""
        return f"it made the bridge {made[0].name} on {uplink}{beware}"
    if name in ("", "network-bridge", "network-dummy", "true"):
        return ""
    if name in ("network-nat", "network-route"):
        kind = "translated (NAT)" if name == "network-nat" else "routed"
        return f"the guests' network was {kind}, not bridged: xend and 'xmcompat network' make it from the same words"
    return f"{name} is a script of this host: 'xmcompat network plan' says what is understood of it"


def _vif_script(value: str, values: Mapping[str, object]) -> str:
    name = value.split()[0].rpartition("/")[2] if value.split() else ""
    if name in ("", "vif-bridge", "vif-openvswitch", "vif-route"):
        return ""
    if name == "vif-nat":
        return "vif-nat needs a network of network-nat on the new host"
    return f"{name} is a script of this host: bring it to /etc/xen/scripts of the new one, where xm runs it"


def _relocation(value: str, values: Mapping[str, object]) -> str:
    """Of the port in clear, which stays closed unless xmcompat.toml allows for it."""
    if value.lower() not in YES:
        return ""
    words = _text(values.get("xend-relocation-hosts-allow")).split(" ")
    if "" in words:
        return "any host could send guests here; nothing is opened for that: set xend-relocation-ssl-server, and name hosts"
    if set(words) <= set(_LOCALHOST):
        return ""
    return "it stays closed, but for allow_tcp in xmcompat.toml: set xend-relocation-ssl-server; see xmcompat migrate setup"


def _ssl_relocation(value: str, values: Mapping[str, object]) -> str:
    words = _text(values.get("xend-relocation-hosts-allow")).split(" ")
    asked = value.lower() in YES and not set(words) <= set(_LOCALHOST)
    return "it needs certificates: type xmcompat migrate setup HOST" if asked else ""


def _hosts_allow(value: str, values: Mapping[str, object]) -> str:
    words = value.split(" ")
    if not value or not (_on(values, "xend-relocation-server") or _on(values, "xend-relocation-ssl-server")):
        return ""
    if "" in words:
        return "a blank too many in it admits everybody"
    foreign = [word for word in words if word not in _LOCALHOST]
    return f"admit those hosts in the new host's firewall: {' '.join(foreign)}" if foreign else ""


def _vnc_listen(value: str, values: Mapping[str, object]) -> str:
    if value in _LOOPBACK or _text(values.get(_SECRET)) or _on(values, "vnc-tls"):
        return ""
    return f"displays can be reached at {value or 'every address'} without a password"


def _api_server(value: str, values: Mapping[str, object]) -> str:
    servers = values.get("xen-api-server")
    if not isinstance(servers, list) or all(server in (["unix"], "unix") for server in servers):
        return ""
    return "it listens for other hosts; what calls it must be moved to libvirt (ssh, TLS)"


def _if_yes(text: str) -> Callable[[str, Mapping[str, object]], str]:
    return lambda value, values: text if value.lower() in YES else ""


def _if_set(text: str) -> Callable[[str, Mapping[str, object]], str]:
    return lambda value, values: text if value and value not in ("0", "dummy") else ""


#: By key: what its value asks of somebody, with the values of the others.
_ATTENTION: dict[str, Callable[[str, Mapping[str, object]], str]] = {
    "network-script": _network_script,
    "vif-script": _vif_script,
    "xend-relocation-server": _relocation,
    "xend-relocation-ssl-server": _ssl_relocation,
    "xend-relocation-hosts-allow": _hosts_allow,
    "vnc-listen": _vnc_listen,
    "xen-api-server": _api_server,
    "xend-http-server": _if_yes("what calls it must be moved to libvirt (ssh, TLS)"),
    "xend-tcp-xmlrpc-server": _if_yes("what calls it must be moved to libvirt (ssh, TLS)"),
    "vnc-tls": _if_yes("set vnc_tls in the new host's qemu.conf, and bring the certificates"),
    "enable-dump": _if_yes("keep the file in /etc/xen of the new host, where xm create obeys it"),
    "external-migration-tool": _if_set("it is not run"),
    "resource-label-change-script": _if_set("it is not run"),
    "xsm_module_name": _if_set("its policy is not enforced; libvirt's is SELinux or AppArmor"),
    "vncpasswd": _if_set("give it to the displays again; this report does not hold it"),
    "dom0-cpus": _if_set("host and guests share all CPUs unless systemd's slices divide them"),
    "pci-passthrough-strict-check": lambda value, values: (
        "set relaxed_acs_check in qemu.conf; groups of the IOMMU stay whole" if value.lower() in NO else ""
    ),
}
