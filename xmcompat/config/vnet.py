"""Configurations of vnets: ``(vnet (id 4) (bridge vnet0004) (vnetif vnif0004) (security none))``. Pure.

xend's words are id, bridge, vnetif and security; those that say where the other hosts are come from here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from xmcompat.config import sxp
from xmcompat.errors import ConfigError

SECURITIES = ("none", "auth", "conf")
#: What each word of a vnet takes: one value, or as many as there are.
ONE, MANY = "one", "many"
WORDS = {
    "id": ONE, "bridge": ONE, "vnetif": ONE, "security": ONE, "underlay": ONE, "local": ONE, "group": ONE, "port": ONE,
    "peers": MANY,
}  # fmt: skip

#: Numbers of VXLANs for ids that do not fit: above all that do, and with a multicast group of their own.
_FIRST_HASHED, _NUMBERS = 0x20000, 2**24


@dataclass(frozen=True, slots=True)
class VnetId:
    """``value`` has 128 bits."""

    value: int

    def __str__(self) -> str:
        digits = f"{self.value:032x}"
        return ":".join(digits[start : start + 4] for start in range(0, 32, 4))

    @property
    def vni(self) -> int:
        """The number of its VXLAN: the low 16 bits where there are no others, else the same hash on every host."""
        if self.value <= 0xFFFF:
            return self.value
        digest = hashlib.sha256(str(self).encode()).digest()
        return _FIRST_HASHED + int.from_bytes(digest[:8], "big") % (_NUMBERS - _FIRST_HASHED)

    @property
    def short(self) -> str:
        """What names of links end in: "0004", and six digits of the VXLAN's number where there are more than 16 bits."""
        return f"{self.vni:04x}" if self.value <= 0xFFFF else f"{self.vni:06x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vnet:
    """What a configuration says of a vnet. "" is what it does not say. Names of links are those of this host."""

    id: VnetId
    bridge: str
    vnetif: str
    security: str = "none"
    underlay: str = ""
    local: str = ""
    group: str = ""
    port: int = 0
    peers: tuple[str, ...] = ()


def parse_id(text: str) -> VnetId:
    """"4", "00a4" or eight such groups with ":" between them, in hexadecimal digits.

    Raises ConfigError for anything else, for 0, and for 1, which is the physical network.
    """
    groups = text.split(":")
    if len(groups) not in (1, 8) or not all(re.fullmatch(r"[0-9a-fA-F]{1,4}", group) for group in groups):
        raise ConfigError(
            f"'{text[:60]}' is not the id of a vnet", hint="write four hexadecimal digits, or eight such groups with ':'"
        )
    value = int("".join(group.rjust(4, "0") for group in groups), 16)
    if value == 0:
        raise ConfigError(f"'{text}' is not the id of a vnet", hint="ids begin with 2")
    if value == 1:
        raise ConfigError("the vnet 1 is the physical network, and always there", hint="ids begin with 2")
    return VnetId(value)


def read(text: str, path: str) -> tuple[Vnet, ...]:
    """The vnets of a file, one or more. Raises ConfigError in its kinds."""
    forms = sxp.parse(text, path)
    if not forms:
        raise ConfigError("there is no vnet in it", path=path, hint="write (vnet (id 4))")
    return tuple(_vnet(form, path) for form in forms)


def form(vnet: Vnet) -> sxp.Tree:
    """What ``read`` reads as VNET."""
    tree: list[object] = [
        "vnet", ["id", str(vnet.id)], ["bridge", vnet.bridge], ["vnetif", vnet.vnetif], ["security", vnet.security],
    ]  # fmt: skip
    for word in ("underlay", "local", "group"):
        if value := getattr(vnet, word):
            tree.append([word, value])
    if vnet.port:
        tree.append(["port", vnet.port])
    if vnet.peers:
        tree.append(["peers", *vnet.peers])
    return tree


def _vnet(tree: object, path: str) -> Vnet:
    if not isinstance(tree, list) or tree[:1] != ["vnet"]:
        raise ConfigError(f"'{_shown(tree)}' is no vnet", path=path, hint="write (vnet (id 4))")
    values: dict[str, tuple[str, ...]] = {}
    for part in tree[1:]:
        if not isinstance(part, list) or not part or not all(isinstance(one, str | int) for one in part):
            raise ConfigError(f"'{_shown(part)}' says nothing of a vnet", path=path, hint="write (bridge vnet0004)")
        word, found = str(part[0]), tuple(str(one) for one in part[1:])
        if word not in WORDS:
            raise ConfigError(f"a vnet has no '{word}'", path=path, hint=f"known: {', '.join(WORDS)}")
        if word in values:
            raise ConfigError(f"'{word}' stands twice in a vnet", path=path)
        if (len(found) != 1 and WORDS[word] == ONE) or not found or not all(found):
            raise ConfigError(f"'{_shown(part)}' has not the one value that it needs", path=path)
        values[word] = found
    return _made(values, path)


def _made(values: dict[str, tuple[str, ...]], path: str) -> Vnet:
    """The vnet of the VALUES by their words."""
    one = {word: found[0] for word, found in values.items() if WORDS[word] == ONE}
    if "id" not in one:
        raise ConfigError("a vnet has no id", path=path, hint="write (vnet (id 4))")
    try:
        number = parse_id(one["id"])
    except ConfigError as error:
        raise ConfigError(str(error), path=path, hint=error.hint) from None
    if one.get("security", "none") not in SECURITIES:
        raise ConfigError(f"security '{one['security']}' is unknown", path=path, hint=f"known: {', '.join(SECURITIES)}")
    port = one.get("port", "0")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5) or int(port) > 65535:
        raise ConfigError(f"port '{port[:40]}' is not a number from 1 to 65535", path=path)
    return Vnet(
        id=number, bridge=one.get("bridge", f"vnet{number.short}"), vnetif=one.get("vnetif", f"vnif{number.short}"),
        security=one.get("security", "none"), underlay=one.get("underlay", ""), local=one.get("local", ""),
        group=one.get("group", ""), port=int(port), peers=values.get("peers", ()),
    )  # fmt: skip


def _shown(tree: object) -> str:
    text = sxp.write(tree) if isinstance(tree, str | int | float | Sequence) else str(tree)
    return text if len(text) <= 60 else f"{text[:57]}..."
