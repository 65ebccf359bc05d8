"""The words that make a route again, from what ``ip`` shows of it. Pure.

Its JSON leaves out that a metric is locked, and writes times so that they cannot be given back; its text does neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Metrics in the text of ``ip route show``: each may be locked, and has one value.
_METRICS = (
    "mtu", "window", "rtt", "rttvar", "ssthresh", "cwnd", "advmss", "reordering", "hoplimit", "initcwnd", "rto_min",
    "initrwnd", "quickack", "congctl", "fastopen_no_cookie",
)  # fmt: skip
_FEATURES = ("ecn", "tcp_usec_ts")

#: What a route may have that ``words`` does not make, with what it is called.
_OTHERS = {"nexthops": "multipath", "nhid": "nexthop", "encap": "encapsulated"}


def kind(entry: Mapping[str, Any]) -> str:
    """Its type; "multipath", "nexthop" or "encapsulated" for one that its words do not make."""
    return next((name for key, name in _OTHERS.items() if key in entry), str(entry.get("type", "unicast")))


def lines(text: str) -> list[str]:
    """Those of ``ip -d route show`` that begin a route."""
    return [line for line in text.splitlines() if line and not line[0].isspace()]


def words(entry: Mapping[str, Any], line: str = "") -> tuple[str, ...]:
    """Those behind "ip route add" for the ENTRY of the JSON. LINE is its text, needed where it has metrics."""
    kind = str(entry.get("type", "unicast"))
    found = [*([kind] if kind != "unicast" else []), str(entry["dst"])]
    if "from" in entry:
        found += ["from", str(entry["from"])]
    if "gateway" in entry:
        found += ["via", str(entry["gateway"])]
    elif "via" in entry:
        found += ["via", str(entry["via"]["family"]), str(entry["via"]["host"])]
    named = (("prefsrc", "src"), ("metric", "metric"), ("protocol", "proto"), ("scope", "scope"), ("table", "table"))
    for key, word in (*named, ("tos", "tos"), ("pref", "pref"), ("expires", "expires")):
        if key in entry:
            found += [word, str(entry[key])]
    if flow := entry.get("flow"):
        found += ["realm", "/".join(str(flow[key]) for key in ("from", "to") if key in flow)]
    return (*found, *_metrics(line), *(str(flag) for flag in entry.get("flags", ()) if flag == "onlink"))


def _metrics(line: str) -> Iterator[str]:
    rest = line.split()
    while rest:
        word = rest.pop(0)
        if word == "features":
            yield word
            while rest and rest[0] in _FEATURES:
                yield rest.pop(0)
        elif word in _METRICS:
            yield word
            if rest[:1] == ["lock"]:
                lock = rest.pop(0)
                if word != "rto_min":  # ip locks that one by itself, and does not take the word
                    yield lock
            yield from rest[:1]
