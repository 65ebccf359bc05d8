"""The fields of each document of ``--json``: the reference is made of them, and tests hold the documents to them. Pure.

A path of "domains[].name" is the field "name" of each object in the list "domains". A field is never renamed, and never
gets another type or unit; new ones may come.
"""

from __future__ import annotations

from typing import NamedTuple

#: What a value can be. "or null" behind one: or not known, or without meaning there.
TYPES = ("text", "integer", "number", "boolean", "list of integers", "list of texts", "empty list", "object")


class Field(NamedTuple):
    path: str
    type: str
    meaning: str


def _who(path: str) -> tuple[Field, ...]:
    """The fields that stand for a domain."""
    return (
        Field(f"{path}name", "text", "its name"),
        Field(f"{path}id", "integer or null", "its id; null of one that is off"),
        Field(f"{path}uuid", "text", "its uuid"),
    )


def _state(path: str) -> tuple[Field, ...]:
    return (
        Field(
            f"{path}state", "text",
            "running, blocked, paused, shutdown (ending), crashed, dying, dead (ended, still in the list), "
            "shutoff or suspended (off, with an image to go on from)",
        ),
        Field(f"{path}letters", "text or null", "the six letters of `xm list`; null of one that is off"),
    )


def _xenbus_state(path: str) -> Field:
    return Field(f"{path}xenbus_state", "integer or null", "4 (connected); null for a domain that is off")


def _usb_kind(path: str, null: str = "") -> tuple[Field, ...]:
    return (
        Field(f"{path}vendor_id", f"text{null}", "its vendor, four hexadecimal digits"),
        Field(f"{path}product_id", f"text{null}", "its product, four hexadecimal digits"),
        Field(f"{path}name", "text or null", "what it calls itself"),
    )


def _devices(*more: Field) -> tuple[Field, ...]:
    return (
        *_who("domain."),
        Field("devices[].class", "text", "xend's class: vbd, tap, tap2, vif or vtpm"),
        Field("devices[].number", "integer", "its number, as in the first column of xm's table"),
        _xenbus_state("devices[]."),
        Field("devices[].config", "object or null", "what the configuration says of it, for a domain that is off"),
        *more,
    )


_SPAN = "domains[].vcpus[]."

FIELDS: dict[str, tuple[Field, ...]] = {
    "list": (
        *_who("domains[]."),
        *_state("domains[]."),
        Field("domains[].memory_kib", "integer", "the memory that it has"),
        Field("domains[].max_memory_kib", "integer", "the most memory that it can have"),
        Field("domains[].vcpus", "integer", "vcpus that are online"),
        Field("domains[].cpu_time_ns", "integer", "the time that its vcpus have run"),
        Field("domains[].managed", "boolean", "whether it stays known when it is off"),
    ),
    "uptime": (
        *_who("domains[]."),
        Field("domains[].uptime_seconds", "number or null", "since it was started; null of one that is off"),
    ),
    "domid": _who(""),
    "domname": _who(""),
    "domstate": (
        *_who(""),
        *_state(""),
        Field("paused_by_admin", "boolean", "whether `xm pause` has paused it"),
    ),
    "vcpu-list": (
        Field("host_cpus", "list of integers", "the CPUs of the host that are online"),
        *_who("domains[]."),
        Field(f"{_SPAN}number", "integer", "its number"),
        Field(f"{_SPAN}online", "boolean", "whether the domain can use it"),
        Field(f"{_SPAN}cpu", "integer or null", "the CPU that it runs on"),
        Field(f"{_SPAN}state", "text or null", "running or blocked; null where it is offline"),
        Field(f"{_SPAN}cpu_time_ns", "integer", "the time that it has run"),
        Field(f"{_SPAN}affinity", "list of integers", "the CPUs of the host that it may use"),
    ),
    "info": (
        Field("host", "text", "the host's name"),
        Field("release", "text", "the kernel's release"),
        Field("version", "text", "the kernel's version"),
        Field("machine", "text", "the kind of processor"),
        Field("nr_cpus", "integer", "CPUs"),
        Field("nr_nodes", "integer", "NUMA nodes"),
        Field("cores_per_socket", "integer", "cores of each socket"),
        Field("threads_per_core", "integer", "threads of each core"),
        Field("cpu_mhz", "integer or null", "the processor's speed in MHz"),
        Field("hw_caps", "list of texts", "Xen's eight words of processor features, in hexadecimal digits"),
        Field("virt_caps", "list of texts", "hvm and hvm_directio, where the host has them"),
        Field("total_memory_kib", "integer", "the host's memory"),
        Field("free_memory_kib", "integer", "what new programs can have of it"),
        Field("free_cpus", "integer", "CPUs that are in no pool"),
        Field("cpu_topology[].cpu", "integer", "a CPU's number"),
        Field("cpu_topology[].core", "integer", "its core"),
        Field("cpu_topology[].socket", "integer", "its socket"),
        Field("cpu_topology[].node", "integer", "its NUMA node"),
        Field("xen_version", "text", "the version of Xen whose commands these are"),
        Field("xen_caps", "list of texts", "the kinds of guests that Xen names"),
        Field("xen_scheduler", "text", "credit"),
        Field("kernel_command_line", "text or null", "the host kernel's command line"),
        Field("kernel_build", "text or null", "what the host's kernel says of its making"),
    ),
    "info -c": (
        Field("settings", "object", "each setting of xend's by its name; null where it has no value"),
    ),
    "sched-credit": (
        *_who("domains[]."),
        Field("domains[].weight", "integer or null", "its weight, from 1 to 65535"),
        Field("domains[].cap_percent", "integer or null", "the most it may use, in percent of one CPU; 0 is no limit"),
    ),
    "block-list": _devices(
        Field("devices[].vdev", "text or null", "the name that Xen has for its number"),
        Field("devices[].cdrom", "boolean", "whether it is a drive for CDs"),
    ),
    "network-list": _devices(Field("devices[].mac", "text or null", "its address")),
    "network2-list": (*_who("domain."), Field("devices", "empty list", "KVM has no such devices")),
    "vtpm-list": _devices(),
    "pci-list": (
        *_who("domain."),
        Field("devices[].address", "text", "the function's address on the host, 0000:01:00.0"),
        Field("devices[].guest_slot", "integer or null", "its slot in the guest; null where nothing tells"),
        Field("devices[].guest_function", "integer or null", "its function in that slot"),
    ),
    "pci-list-assignable-devices": (
        Field("driver_loaded", "boolean", "whether the host has a driver that holds devices for guests"),
        Field("devices[].address", "text", "the address of a function that can be given away"),
    ),
    "scsi-list": (
        *_who("domain."),
        Field("devices[].number", "integer", "the adapter that the guest sees, the first column of xm's table"),
        _xenbus_state("devices[]."),
        Field("devices[].host_place", "text", "HOST:CHANNEL:TARGET:LUN, or the device file that was configured"),
        Field("devices[].host_name", "text or null", "the name of its device file on the host"),
        Field("devices[].guest_place", "text", "HOST:CHANNEL:TARGET:LUN in the guest"),
    ),
    "usb-list": (
        *_who("domain."),
        Field("controllers[].number", "integer", "its number, as in the first column of xm's table"),
        _xenbus_state("controllers[]."),
        Field("controllers[].usb_version", "integer", "1 or 2"),
        Field("controllers[].ports[].number", "integer", "its number, from 1"),
        Field("controllers[].ports[].bus_id", "text or null", "the place on the host that it stands for, 1-2.3"),
        *_usb_kind("controllers[].ports[].", " or null"),
    ),
    "usb-list-assignable-devices": (
        Field("devices[].bus_id", "text", "its place on the host, 1-2.3"),
        Field("devices[].bus", "integer", "its bus, as `lsusb` and `xm usb-add` have it"),
        Field("devices[].address", "integer", "its number on that bus"),
        *_usb_kind("devices[]."),
    ),
    "vnet-list": (
        Field("vnets[].id", "text", "its id: eight groups of four hexadecimal digits"),
        Field("vnets[].vni", "integer", "the number of its VXLAN"),
        Field("vnets[].bridge", "text", "the bridge that guests name"),
        Field("vnets[].vnetif", "text", "the VXLAN in it"),
        Field("vnets[].security", "text", "none"),
        Field("vnets[].underlay", "text or null", "the device that it was made over"),
        Field("vnets[].local", "text or null", "this host's address there; null of one that is not whole"),
        Field("vnets[].group", "text or null", "the multicast group that finds the other hosts; null of one with peers"),
        Field("vnets[].peers", "list of texts", "the addresses of the other hosts, where it has no group"),
        Field("vnets[].port", "integer", "the port of UDP"),
        Field("vnets[].whole", "boolean", "false of one that is half made, or that a part of has gone"),
    ),
    "cpupool-list": (
        Field("pools[].name", "text", "its name"),
        Field("pools[].id", "integer or null", "its id; null of one that is not active"),
        Field("pools[].uuid", "text", "its uuid"),
        Field("pools[].active", "boolean", "whether it is used"),
        Field("pools[].scheduler", "text", "credit"),
        Field("pools[].cpus", "list of integers", "the CPUs that it has"),
        Field("pools[].wanted_cpus", "integer", "how many CPUs it takes when it is started"),
        Field("pools[].proposed_cpus", "list of integers", "which ones, if that matters"),
        Field("pools[].autostart", "boolean", "whether it starts with xend"),
        Field("pools[].description", "text or null", "what is said of it"),
        Field("pools[].other_config", "object", "texts kept with it, by their names"),
        *_who("pools[].domains[]."),
    ),
}  # fmt: skip


def markdown() -> str:
    """The tables of the reference, one for each verb."""
    parts = []
    for verb, fields in FIELDS.items():
        rows = [f"| `{field.path}` | {field.type} | {field.meaning} |" for field in fields]
        parts.append("\n".join((f"## xm {verb}", "", "| field | type | meaning |", "| --- | --- | --- |", *rows)))
    return "\n\n".join(parts) + "\n"
