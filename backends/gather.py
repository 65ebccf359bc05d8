"""What this host is, asked once per create: from the hypervisor, the kernel and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from xmcompat.backends.accelerator import Verdict, decide
from xmcompat.backends.cgroups import has_cgroup_v2
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.local_host import cpu_vendor, free_huge_pages, numa_nodes, small_mtus
from xmcompat.backends.openvswitch import switches_here
from xmcompat.backends.settings import Settings, is_local, read

if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import Hypervisor


def gather(
    hypervisor: Hypervisor, *, environ: Mapping[str, str], bridges: bool = True, settings: Settings | None = None
) -> HostFacts:
    """The facts that translation needs. BRIDGES False leaves them out, and saves the questions.

    Reads the settings of ENVIRON if none are given. ``accelerator_reason`` is empty where the user chose: nobody
    needs to be told of his own choice. Raises HypervisorUnreachable and ConfigError. May be repeated.
    """
    if settings is None:
        settings = read(environ)
    verdict = accelerator(hypervisor, environ=environ, settings=settings)
    host = hypervisor.host()
    local = is_local(hypervisor.uri)
    there = tuple(hypervisor.bridges()) if bridges else ()
    return HostFacts(
        accelerator=verdict.accelerator,
        accelerator_reason="" if verdict.chosen else verdict.reason,
        kvm_untried=verdict.untried,
        memory=host.memory,
        cpus=host.cpus,
        bridges=there,
        small_mtus=small_mtus(there) if local else (),
        bridge_aliases=settings.bridge_aliases,
        openvswitch=tuple(switches_here()) if bridges and local else (),
        cgroup_v2=local and has_cgroup_v2(),
        local=local,
        cpu_vendor=cpu_vendor() if local else "",
        hugepages=free_huge_pages() if local else 0,
        numa_nodes=numa_nodes() if local else 0,
    )


def accelerator(
    hypervisor: Hypervisor, *, environ: Mapping[str, str], settings: Settings, again: bool = False
) -> Verdict:
    """The accelerator for guests of HYPERVISOR. AGAIN tries KVM anew instead of remembering."""
    return decide(
        local=is_local(hypervisor.uri), supports_kvm=hypervisor.supports_kvm, environ=environ, settings=settings,
        again=again,
    )
