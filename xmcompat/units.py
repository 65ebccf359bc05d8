"""Amounts and lists as Xen writes them: lists of CPUs. Pure.

Memory is MiB in GuestConfig and KiB in Machine; ``translate.machine`` is where one becomes the other.
"""

from __future__ import annotations

from collections.abc import Iterable

from xmcompat.errors import ConfigError

#: Microseconds for which a quota of processor time counts.
QUOTA_PERIOD = 100_000

#: A bound above any host, so that "0-99999999" is not spelt out.
MOST_CPUS = 4096


def parse_cpus(text: str) -> tuple[int, ...]:
    """The CPUs that "0-3,^1" names, in order of their numbers: 0, 2, 3. Empty text is any CPU: ().

    Pieces count from left to right: "^1,0-3" has 1 again. Raises ConfigError, as xm does, for an excluded range.
    Source: the cpus option of xend, Xen 4.1.
    """
    chosen: set[int] = set()
    if not text.strip():
        return ()
    for piece in text.split(","):
        excluded = piece.strip().startswith("^")
        first, dash, last = piece.strip().removeprefix("^").partition("-")
        if excluded and dash:
            raise _wrong(text, piece.strip()[1:])
        low, high = _cpu(text, first), _cpu(text, last if dash else first)
        if excluded:
            chosen.discard(low)
        else:
            chosen.update(range(low, high + 1))
    return tuple(sorted(chosen))


def _cpu(text: str, digits: str) -> int:
    digits = digits.strip()
    if not (digits.isascii() and digits.isdecimal()):
        raise _wrong(text, digits)
    if len(digits) > 6 or int(digits) >= MOST_CPUS:
        raise ConfigError(f"cpus = {text}: there is no CPU {digits}")
    return int(digits)


def _wrong(text: str, piece: str) -> ConfigError:
    return ConfigError(f"cpus = {text}: invalid literal for int() with base 10: '{piece}'")


def format_cpus(cpus: Iterable[int]) -> str:
    """The shortest list of ranges: 0, 2, 3 is "0,2-3"; none is ""."""
    runs: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if runs and runs[-1][-1] == cpu - 1:
            runs[-1][1:] = [cpu]
        else:
            runs.append([cpu])
    return ",".join("-".join(map(str, run)) for run in runs)
