"""Answers of ``xm`` as JSON, for ``--json``: one document a verb, of the fields that ``json_fields`` lists. Pure.

A document is an object, so that fields can be added. Names have their unit at the end; what is not known is null. The text
is ASCII; a byte of a name that is not UTF-8 is a lone surrogate ("\\udcXX"), as in Python's own names of files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.backends.hypervisor import DomainInfo, DomainState, NodeInfo, VcpuInfo
from xmcompat.render.device_tables import CONNECTED, FrontEnd
from xmcompat.render.node import CAPABILITIES, VERSION
from xmcompat.render.state import letters
from xmcompat.vdev import vdev_name

if TYPE_CHECKING:
    from xmcompat.render.host_device_tables import Pci, Scsi
    from xmcompat.render.pool_tables import PoolRow

Document = dict[str, object]
#: What is plugged in: vendor, product, what it calls itself.
UsbKind = tuple[int, int, str]


def text(document: Mapping[str, object]) -> str:
    """The DOCUMENT as it is printed."""
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def who(info: DomainInfo) -> Document:
    """The three fields that stand for a domain in every document; ``id`` is null of one that is off."""
    return {"name": info.name, "id": info.domid, "uuid": info.uuid}


def domains(infos: Iterable[DomainInfo]) -> str:
    """``xm list``."""
    return text({"domains": [
        {
            **who(info), "state": info.state, "letters": letters(info.state) or None, "memory_kib": info.memory,
            "max_memory_kib": info.max_memory, "vcpus": info.vcpus, "cpu_time_ns": info.cpu_time,
            "managed": info.persistent,
        }
        for info in infos
    ]})  # fmt: skip


def uptimes(rows: Iterable[tuple[DomainInfo, float | None]]) -> str:
    """``xm uptime``: domains with the seconds they have been up, None where they are off or nothing tells."""
    return text({"domains": [
        {**who(info), "uptime_seconds": None if seconds is None else round(seconds, 3)} for info, seconds in rows
    ]})  # fmt: skip


def domain(info: DomainInfo) -> str:
    """``xm domid`` and ``xm domname``."""
    return text(who(info))


def state(info: DomainInfo, *, by_admin: bool) -> str:
    """``xm domstate``, of which a domain that runs has a word here."""
    return text({
        **who(info), "state": info.state, "letters": letters(info.state) or None,
        "paused_by_admin": by_admin and info.state == DomainState.PAUSED,
    })  # fmt: skip


def vcpus(rows: Iterable[tuple[DomainInfo, Sequence[VcpuInfo]]], host_cpus: Sequence[int]) -> str:
    """``xm vcpu-list``. HOST_CPUS are those that the host has; others are left out of affinities."""
    return text({
        "host_cpus": list(host_cpus),
        "domains": [{**who(info), "vcpus": [_vcpu(info, row, host_cpus) for row in vcpus]} for info, vcpus in rows],
    })  # fmt: skip


def _vcpu(info: DomainInfo, row: VcpuInfo, host_cpus: Sequence[int]) -> Document:
    there = info.domid is not None
    return {
        "number": row.number,
        "online": there and row.online,
        "cpu": row.cpu if there and row.online else None,
        "state": row.state if there and row.online else None,
        "cpu_time_ns": row.cpu_time,
        "affinity": sorted(set(row.affinity).intersection(host_cpus)),
    }


def credits(rows: Iterable[tuple[DomainInfo, int, int]]) -> str:
    """``xm sched-credit``: what xm's table shows as -1 is null."""
    return text({"domains": [
        {**who(info), "weight": None if weight < 0 else weight, "cap_percent": None if cap < 0 else cap}
        for info, weight, cap in rows
    ]})  # fmt: skip


def devices(info: DomainInfo, front_ends: Iterable[FrontEnd]) -> str:
    """``xm block-list`` and the lists of other devices: an empty list where there are none."""
    return text({"domain": who(info), "devices": [_device(info, device) for device in front_ends]})


def _device(info: DomainInfo, device: FrontEnd) -> Document:
    """The fields of every class, and those that disks and interfaces have besides."""
    document: Document = {
        "class": device.kind,
        "number": device.number,
        "xenbus_state": _xenbus_state(info),
        "config": _config(device),
    }
    if device.kind == "vif":
        return {**document, "mac": device.mac or None}
    if device.kind == "vtpm":
        return document
    return {**document, "vdev": vdev_name(device.number), "cdrom": device.cdrom}


def _config(device: FrontEnd) -> Document | None:
    """What the configuration says, in xend's words; None where the device itself was asked."""
    pairs = [child for child in device.form[1:] if isinstance(child, list) and len(child) == 2]
    return {str(key): value if isinstance(value, list) else str(value) for key, value in pairs} or None


def pci(info: DomainInfo, rows: Iterable[Pci]) -> str:
    """``xm pci-list``. A function without a slot in the guest that is told has no function there either."""
    return text({"domain": who(info), "devices": [
        {"address": address, "guest_slot": slot, "guest_function": None if slot is None else function}
        for address, slot, function in rows
    ]})  # fmt: skip


def assignable_pci(addresses: Sequence[str] | None) -> str:
    """``xm pci-list-assignable-devices``. ADDRESSES are None where no driver holds devices for guests."""
    return text({
        "driver_loaded": addresses is not None, "devices": [{"address": address} for address in addresses or ()],
    })  # fmt: skip


def scsi(info: DomainInfo, rows: Iterable[Scsi]) -> str:
    """``xm scsi-list``."""
    return text({"domain": who(info), "devices": [
        {
            "number": adapter, "xenbus_state": _xenbus_state(info), "host_place": host, "host_name": name or None,
            "guest_place": guest,
        }
        for adapter, host, name, guest in rows
    ]})  # fmt: skip


def usb(info: DomainInfo, rows: Iterable[tuple[int, int, Sequence[tuple[str, UsbKind | None]]]]) -> str:
    """``xm usb-list``: ROWS are (number, version, what each port is to hold and what of that is there)."""
    return text({"domain": who(info), "controllers": [
        {
            "number": number, "xenbus_state": _xenbus_state(info), "usb_version": version,
            "ports": [
                {"number": place, "bus_id": bus or None, **_usb_kind(there)} for place, (bus, there) in enumerate(ports, 1)
            ],
        }
        for number, version, ports in rows
    ]})  # fmt: skip


def assignable_usb(ports: Iterable[tuple[str, int, int, UsbKind]]) -> str:
    """``xm usb-list-assignable-devices``: PORTS are (place on the host, bus, number on it, what is plugged in)."""
    return text({"devices": [
        {"bus_id": path, "bus": bus, "address": address, **_usb_kind(kind)} for path, bus, address, kind in ports
    ]})  # fmt: skip


def _usb_kind(kind: UsbKind | None) -> Document:
    if kind is None:
        return {"vendor_id": None, "product_id": None, "name": None}
    vendor, product, name = kind
    return {"vendor_id": f"{vendor:04x}", "product_id": f"{product:04x}", "name": name or None}


def _xenbus_state(info: DomainInfo) -> int | None:
    return None if info.domid is None else CONNECTED


def pools(rows: Iterable[tuple[PoolRow, int | None, Sequence[DomainInfo]]]) -> str:
    """``xm cpupool-list``: pools with their ids and the domains in them; one that is not active has neither."""
    return text({"pools": [
        {
            "name": row.name, "id": number, "uuid": row.uuid, "active": row.active, "scheduler": row.sched,
            "cpus": list(row.cpus), "wanted_cpus": row.wanted, "proposed_cpus": list(row.proposed),
            "autostart": row.autostart, "description": row.description or None, "other_config": dict(row.other_config),
            "domains": [who(info) for info in infos] if row.active else [],
        }
        for row, number, infos in rows
    ]})  # fmt: skip


class VnetRow(NamedTuple):
    """A vnet as ``vnet-list`` has it; "" for what is not known."""

    id: str
    vni: int
    bridge: str
    vnetif: str
    security: str
    underlay: str
    local: str
    group: str
    peers: list[str]
    port: int
    whole: bool


def vnets(rows: Iterable[VnetRow]) -> str:
    """``xm vnet-list``."""
    return text({"vnets": [{key: None if value == "" else value for key, value in row._asdict().items()} for row in rows]})


def node(info: NodeInfo, *, free_cpus: int) -> str:
    """``xm info``, in its words where it has some; the placement of processors is always there."""
    virtual = (("hvm", info.virtualises), ("hvm_directio", info.directs_io))
    return text({
        "host": info.hostname, "release": info.release, "version": info.version, "machine": info.machine,
        "nr_cpus": info.cpus, "nr_nodes": info.nodes, "cores_per_socket": info.cores_per_socket,
        "threads_per_core": info.threads_per_core, "cpu_mhz": info.mhz or None,
        "hw_caps": [f"{word:08x}" for word in info.hw_caps], "virt_caps": [word for word, there in virtual if there],
        "total_memory_kib": info.memory, "free_memory_kib": info.free, "free_cpus": free_cpus,
        "cpu_topology": [
            {"cpu": cpu, "core": core, "socket": socket, "node": place} for cpu, core, socket, place in info.places
        ],
        "xen_version": f"{VERSION[0]}.{VERSION[1]}{VERSION[2]}", "xen_caps": CAPABILITIES.split(),
        "xen_scheduler": "credit", "kernel_command_line": info.command_line or None, "kernel_build": info.build or None,
    })  # fmt: skip


def settings(options: Iterable[tuple[str, str | None]]) -> str:
    """``xm info -c``: each setting of xend, null where it has no value."""
    return text({"settings": dict(options)})
