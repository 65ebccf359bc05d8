"""HostFacts: what translation needs to know of the host, gathered once."""

from __future__ import annotations

from dataclasses import dataclass

from xmcompat.backends.machine import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """Memory in KiB. ``bridges`` in the host's order; ``local`` false where the hypervisor is elsewhere."""

    accelerator: Accelerator
    accelerator_reason: str = ""
    memory: int = 0
    cpus: int = 1
    bridges: tuple[str, ...] = ()
    cgroup_v2: bool = False
    local: bool = True
    vnc_listen: str = "127.0.0.1"
    vnc_password: str = ""
