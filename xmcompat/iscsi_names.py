"""Where a LUN of iSCSI is, as udev writes it in a device's name and as configurations write it. Pure.

"/dev/disk/by-path/ip-192.0.2.8:3260-iscsi-iqn.2010-01.com.example:store-lun-1", "iqn=IQN,portal=HOST:PORT,multipath=y",
"//USER%PASSWORD@HOST:PORT/IQN/LUN?password_file=PATH&multipath=y".
"""

from __future__ import annotations

import re

from xmcompat.light import NamedTuple

BY_PATH = "/dev/disk/by-path/"
PORT = 3260

_HOST = r"\[[0-9a-fA-F:.]+\]|[^\s:/,\[\]@%]+"
_DEVICE = re.compile(
    re.escape(BY_PATH) + r"ip-(?P<host>\S+?):(?P<port>[0-9]{1,5})-iscsi-(?P<target>[^/\s]+)-lun-"
    r"(?P<lun>[0-9]{1,5}|0x[0-9a-f]{16})(?:-part[0-9]+)?"
)
_URL = re.compile(
    rf"//(?:(?P<user>[^%@/\s]+)(?:%(?P<password>[^/]*))?@)?(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?"
    r"/(?P<target>[^/?\s]+)(?:/(?P<lun>[0-9]{1,5}))?(?:\?(?P<more>.+))?", re.DOTALL
)
_PORTAL = re.compile(rf"({_HOST})(?::([0-9]{{1,5}}))?(?:,[0-9]+)?")
#: A target's name becomes a file's name in the initiator's database.
_TARGET = re.compile(r"(?:iqn|eui|naa)\.[a-z0-9._:-]{1,219}", re.IGNORECASE)
_YES = ("y", "yes", "1", "true")


class Lun(NamedTuple):
    """A LUN of a target behind a portal. ``password`` None: none is written, or ``password_file`` has it.

    ``host`` of IPv6 has no brackets. ``multipath``: all ways to the target are wanted.
    """

    host: str
    port: int
    target: str
    lun: int = 0
    user: str = ""
    password: str | None = None
    password_file: str = ""
    multipath: bool = False

    @property
    def portal(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """In words without a comma; what is no part of one is read back otherwise."""
        user = f"{self.user}{'' if self.password is None else f'%{self.password}'}@" if self.user else ""
        more = [f"password_file={self.password_file}"] if self.password_file else []
        more += ["multipath=y"] if self.multipath else []
        return f"//{user}{self.portal}/{self.target}/{self.lun}{'?' if more else ''}{'&'.join(more)}"

    @property
    def device(self) -> str:
        """udev's name for it once the host has logged in."""
        lun = self.lun if self.lun < 256 else f"0x{self.lun & 0xFFFF:04x}{self.lun >> 16:04x}00000000"
        return f"{BY_PATH}ip-{self.host}:{self.port}-iscsi-{self.target}-lun-{lun}"


def of_device(path: str) -> Lun | None:
    """The LUN behind a name of udev's; None for another path."""
    found = _DEVICE.fullmatch(path)
    if not found or not _TARGET.fullmatch(found["target"]):
        return None
    number = found["lun"]
    lun = int(number) if not number.startswith("0x") else int(number[2:6], 16) | int(number[6:10], 16) << 16
    return Lun(host=found["host"].strip("[]"), port=int(found["port"]), target=found["target"], lun=lun)


def of_words(text: str) -> Lun | None:
    """The LUN that follows "iscsi:" in a configuration; None where no portal or no target is told."""
    if found := _URL.fullmatch(text):
        more = dict(word.partition("=")[::2] for word in (found["more"] or "").split("&"))
        lun = Lun(
            host=found["host"].strip("[]"), port=int(found["port"] or PORT), target=found["target"],
            lun=int(found["lun"] or 0), user=found["user"] or "", password=found["password"],
            password_file=more.get("password_file", ""), multipath=more.get("multipath", "n").lower() in _YES,
        )  # fmt: skip
    else:
        words = {name.strip(): value.strip() for name, _, value in (word.partition("=") for word in text.split(","))}
        portal = _PORTAL.fullmatch(words.get("portal", ""))
        if not portal or not words.get("iqn"):
            return None
        chap = words.get("auth_method", "CHAP").lower() != "none"
        lun = Lun(
            host=portal[1].strip("[]"), port=int(portal[2] or PORT), target=words["iqn"],
            user=words.get("user", "") if chap else "", password=words.get("password") if chap else None,
            password_file=words.get("password_file", ""), multipath=words.get("multipath", "n").lower() in _YES,
        )  # fmt: skip
    return lun


def is_target(name: str) -> bool:
    """Whether NAME can be a target's: "iqn.2010-01.com.example:store", "eui.02004567a425678d"."""
    return _TARGET.fullmatch(name) is not None
