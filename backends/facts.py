"""HostFacts: what translation needs to know of the host, gathered once."""

from __future__ import annotations

from dataclasses import dataclass

from xmcompat.backends.machine import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """Memory in KiB. ``bridges`` in the host's order; ``local`` false where the hypervisor is elsewhere.

    ``bridge_aliases`` gives the bridge of this host that stands for one of the old host. ``cpu_vendor`` is "Intel",
    "AMD", or "" where it is not known. ``hugepages`` is the memory in huge pages that guests can have;
    ``numa_nodes`` is 0 where it is not known. ``dump_crashes``: the memory of each guest that crashes is written to a
    file.
    """

    accelerator: Accelerator
    accelerator_reason: str = ""
    kvm_untried: bool = False            # KVM is used, and could not be tried
    memory: int = 0
    cpus: int = 0                        # 0 where it is not known
    bridges: tuple[str, ...] = ()
    cgroup_v2: bool = False
    local: bool = True
    vnc_listen: str = "127.0.0.1"
    vnc_password: str = ""
    bridge_aliases: tuple[tuple[str, str], ...] = ()
    small_mtus: tuple[tuple[str, int], ...] = ()  # of bridges that take smaller packets than Ethernet's, in bytes
    openvswitch: tuple[str, ...] = ()    # those of the bridges that are Open vSwitch's
    cpu_vendor: str = ""
    hugepages: int = 0
    numa_nodes: int = 0
    keymap: str = ""                     # of displays that name none
    default_bridge: str = ""             # of interfaces that name none, "" for the first
    dump_crashes: bool = False           # xend's enable-dump
    pool_cpus: tuple[int, ...] | None = None  # of the guest's CPU pool, where that has not all
    knows_pools: bool = False            # whether that was looked up
    ports: bool = False                  # whether the toolstack itself sets up the host's ends of interfaces
    vif_script: str = ""                 # xend's vif-script with its words, where ``ports``
    cards: tuple[tuple[str, str], ...] = ()  # a card that is in a bridge of ours, and that bridge
    nat_bridge: str = ""                 # of guests that speak in the host's name
    boot_folder: str = ""                # for kernels that are taken out of guests' disks, "" where none is taken
    scripts: tuple[str, ...] = ()        # in the folder of Xen's scripts, those that can be started
    composites: str = ""                 # folder for disks that are joined of several volumes, "" where none can be served
