"""The facts of the host that guests are converted for: those of a file, and sensible ones where it says nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from xmcompat.errors import ConfigError

if TYPE_CHECKING:
    from xmcompat.backends.facts import HostFacts
    from xmcompat.guest import GuestConfig

#: What xm gives an interface that names no bridge, on hosts that nobody has changed.
DEFAULT_BRIDGE = "xenbr0"

_LARGEST = 1024 * 1024


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_address(value: object) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return False
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_truth(value: object) -> bool:
    return isinstance(value, bool)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_aliases(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _is_accelerator(value: object) -> bool:
    return value in ("kvm", "tcg")


#: What the file may say: the check of each value, and what it must be.
FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "accelerator": (_is_accelerator, '"kvm" or "tcg"'),
    "memory": (_is_count, "a number of MiB"),
    "cpus": (_is_count, "a number"),
    "bridges": (_is_texts, "a list of names"),
    "bridge_aliases": (_is_aliases, "an object: the old host's bridge, and the one that stands for it"),
    "openvswitch": (_is_texts, "a list of names"),
    "cgroup_v2": (_is_truth, "true or false"),
    "cpu_vendor": (_is_text, '"Intel", "AMD" or ""'),
    "vnc_listen": (_is_address, "an IP address"),
    "vnc_password": (_is_text, "a text"),
}


def read_facts(path: str) -> dict[str, object]:
    """The facts in the JSON file or pipe at PATH: an object of FIELDS, or what ``xmcompat host --json`` prints, which has
    one.

    Raises ConfigError with the file's name for one that cannot be read or used.
    """
    from xmcompat.config.source_file import read_source

    try:
        data = read_source(path, _LARGEST)
    except ConfigError as error:
        error.message = error.message.removesuffix(": no guest configuration")
        raise
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"this is no JSON: {error}", path=path) from None
    if isinstance(document, dict) and isinstance(document.get("facts"), dict):
        document = document["facts"]
    if not isinstance(document, dict):
        raise ConfigError("this is no JSON object of facts", path=path, hint=f"known: {', '.join(FIELDS)}")
    return checked(document, path)


def checked(document: Mapping[str, object], path: str) -> dict[str, object]:
    """The facts of DOCUMENT. Raises ConfigError for one that is unknown, or of the wrong type."""
    unknown = [name for name in document if name not in FIELDS]
    if unknown:
        raise ConfigError(f"unknown: {', '.join(unknown)}", path=path, hint=f"known: {', '.join(FIELDS)}")
    for name, value in document.items():
        fits, kind = FIELDS[name]
        if not fits(value):
            raise ConfigError(f"{name} must be {kind}", path=path)
    return dict(document)


def facts_for(guest: GuestConfig, given: Mapping[str, object]) -> HostFacts:
    """The facts of a host with KVM that has what GUEST asks for, but for what the GIVEN ones say."""
    from xmcompat.backends.facts import HostFacts
    from xmcompat.backends.machine import Accelerator

    bridges = dict.fromkeys(vif.bridge for vif in guest.vifs if vif.bridge)
    most = max((cpu for cpus in guest.pins for cpu in cpus), default=0) + 1
    facts: dict[str, object] = {
        "accelerator": "kvm", "bridges": list(bridges) or [DEFAULT_BRIDGE], "cpus": max(guest.vcpus, most), **given,
    }  # fmt: skip
    facts["accelerator"] = Accelerator[str(facts["accelerator"]).upper()]
    for name in ("bridges", "openvswitch"):
        if isinstance(names := facts.get(name), list):
            facts[name] = tuple(names)
    if isinstance(aliases := facts.get("bridge_aliases"), dict):
        facts["bridge_aliases"] = tuple(aliases.items())
    if isinstance(memory := facts.get("memory"), int):
        facts["memory"] = memory * 1024
    return HostFacts(**facts)  # type: ignore[arg-type]  # each has been checked against FIELDS


def refuse_too_large(guest: GuestConfig, given: Mapping[str, object]) -> None:
    """Raise ConfigError where GUEST wants more memory than a host of the GIVEN facts could ever leave to it.

    The rule is that of ``xm create``.
    """
    memory = given.get("memory")
    if not isinstance(memory, int) or not memory:
        return
    from xmcompat.preflight import DOM0_MIN_MEM

    own = DOM0_MIN_MEM // 1024
    if guest.memory > memory - own:
        raise ConfigError(
            f"it wants {guest.memory} MiB of memory; the host has {memory} MiB, and keeps {own} MiB of it for itself",
            path=guest.source or None, line=guest.lines.get("memory"), hint="give it less memory, or another host",
        )  # fmt: skip
