"""xm's and xl's masks of CPUID to features by libvirt's names. Pure.

Two forms: ``LEAF[,SUBLEAF]:eax=BITS,...``, of both tools, and xl's ``host,FLAG=VALUE,...``. BITS are 32 characters from
bit 31 down, or in xm a number in hexadecimal; each is 0 (off), 1 (on), x (as it comes), or k or s (as the host has it).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from xmcompat.guest import GuestConfig
from xmcompat.translate.cpuid_names import NAMES, NOT_IN_QEMU, SET_BY_GUEST, name_of_flag
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import texts
from xmcompat.units import format_cpus

_NUMBER = "(0x[0-9a-fA-F]{1,8}|[0-9]{1,10})"
_LEAF = re.compile(rf"\s*{_NUMBER}\s*(?:,\s*{_NUMBER}\s*)?:(.*)", re.DOTALL)
_REGISTER = re.compile(r"\s*(e[abcd]x)\s*=\s*([01xks]{32}|0x[0-9a-fA-F]{1,8})\s*")
_FLAG = re.compile(r"\s*([A-Za-z0-9._-]+)\s*=\s*([01xks])\s*")

#: Numbers of xl's second form, not flags.
_NUMBERS = frozenset(
    "apicidsize brandid clflush family localapicid maxleaf maxhvleaf model nc proccount procpkg stepping".split()
)
#: Where Xen shows itself.
_XEN_LEAVES = range(0x40000000, 0x40010000)

_POLICIES = {"0": "disable", "1": "force", "k": "optional", "s": "optional"}
_CHECKS = {"0": "forbid", "1": "require"}
#: A check that the mask of the same feature leaves possible, and what does both.
_BOTH = {("disable", "forbid"): "forbid", ("force", "require"): "require"}

_WIDTH = 32
#: So many are named in one note.
_MOST_NAMED = 8

#: Leaf, subleaf, register, bit.
_Bit = tuple[int, int, str, int]


class _Lost:
    """What has no effect on KVM, gathered so that each reason is one note."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._bits: dict[tuple[int, int, str], set[int]] = {}
        self._others: dict[str, dict[str, None]] = {}

    def bit(self, bit: _Bit) -> None:
        self._bits.setdefault(bit[:3], set()).add(bit[3])

    def other(self, reason: str, what: str) -> None:
        self._others.setdefault(reason, {})[what] = None

    def tell(self, findings: Findings) -> None:
        for (leaf, subleaf, register), bits in self._bits.items():
            place = f"{leaf:#x}" + (f",{subleaf}" if subleaf else "")
            reason = "libvirt has no name for these bits, which stay as KVM shows them"
            self.other(reason, f"{place}:{register} bit {format_cpus(bits)}")
        for reason, found in self._others.items():
            more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
            findings.no_meaning(self._key, reason, value=", ".join(list(found)[:_MOST_NAMED]) + more)


def masked(guest: GuestConfig, findings: Findings) -> dict[str, str]:
    """The features that ``cpuid`` names, with libvirt's policies. The last of two that disagree counts."""
    return _features(guest, "cpuid", _POLICIES.get, findings)


def checked(guest: GuestConfig, features: dict[str, str], findings: Findings) -> dict[str, str]:
    """FEATURES, which ``cpuid`` names, and what ``cpuid_check`` demands of the host."""
    found = dict(features)
    lost = _Lost("cpuid_check")
    for name, policy in _features(guest, "cpuid_check", _CHECKS.get, findings).items():
        mask = features.get(name, "optional")
        if mask == "optional":
            found[name] = policy
        elif (mask, policy) in _BOTH:
            found[name] = _BOTH[mask, policy]
        else:
            lost.other("cpuid gives the guest the opposite, so the host is not checked for it", name)
    lost.tell(findings)
    return found


def _features(
    guest: GuestConfig, key: str, policy_of: Callable[[str], str | None], findings: Findings
) -> dict[str, str]:
    lost = _Lost(key)
    found: dict[str, str] = {}
    for text in texts(guest, key):
        flags = _bits(text, lost) if ":" in text else _flags(text, lost)
        for name, value in flags:
            policy = policy_of(value)
            if policy is None:
                continue
            if name in SET_BY_GUEST:
                lost.other("the guest's own kernel sets it", name)
            elif name in NOT_IN_QEMU:
                if value == "1":
                    lost.other("QEMU cannot give it to a guest", name)
            else:
                found[name] = policy
    lost.tell(findings)
    return found


def _bits(text: str, lost: _Lost) -> Iterator[tuple[str, str]]:
    """(name, value) for each bit of the first form that is not as it comes."""
    head = _LEAF.fullmatch(text)
    registers = [_REGISTER.fullmatch(piece) for piece in head[3].split(",")] if head else [None]
    if head is None or None in registers:
        lost.other("it is not LEAF:eax=BITS,...", text[:60])
        return
    leaf, subleaf = _number(head[1]), _number(head[2] or "0")
    if leaf in _XEN_LEAVES:
        lost.other("Xen shows itself there, and there is no Xen", f"{leaf:#x}")
        return
    for match in registers:
        if match is not None:
            yield from _of_register((leaf, subleaf, match[1]), match[2], lost)


def _number(digits: str) -> int:
    return int(digits, 16 if digits.startswith("0x") else 10)


def _of_register(place: tuple[int, int, str], bits: str, lost: _Lost) -> Iterator[tuple[str, str]]:
    written = bits if len(bits) == _WIDTH else f"{int(bits, 16):032b}"  # "0xxx..." may be either
    for bit, value in enumerate(reversed(written)):
        name = NAMES.get((*place, bit))
        if name:
            yield name, value
        elif value in "01":
            lost.bit((*place, bit))


def _flags(text: str, lost: _Lost) -> Iterator[tuple[str, str]]:
    """(name, value) for each flag of xl's second form; "host" in front is the only beginning that it has."""
    for piece in text.split(","):
        word, equals, _ = piece.partition("=")
        flag = _FLAG.fullmatch(piece)
        name = name_of_flag(word.strip())
        if word.strip() in _NUMBERS:
            lost.other("libvirt takes flags alone; the number stays as KVM shows it", piece.strip()[:60])
        elif flag and name:
            yield name, flag[2]
        elif flag:
            lost.other("libvirt has no name for this flag, which stays as KVM shows it", flag[1][:60])
        elif equals or word.strip() not in ("host", ""):
            lost.other("it is not FLAG=VALUE with a value of 0, 1, x, k, s", piece.strip()[:60])
