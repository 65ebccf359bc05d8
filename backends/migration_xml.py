"""What decides about a migration in libvirt's XML of hosts and domains. Pure; loads lxml."""

from __future__ import annotations

from typing import NamedTuple

from lxml import etree


class WantedCpu(NamedTuple):
    """The processor that a domain wants: the XML of its <cpu>, and what it is for. ``emulator`` may be None."""

    emulator: str | None
    arch: str | None
    machine: str | None
    kind: str
    cpu: str


def wanted_cpu(xml: str) -> WantedCpu | None:
    """Of the domain XML; None where it leaves the processor to QEMU, or takes whatever the host has."""
    root = etree.fromstring(xml)
    cpu, kind = root.find("cpu"), root.find("os/type")
    if cpu is None or (cpu.find("model") is None and cpu.get("mode") != "host-model") or cpu.get("check") == "none":
        return None
    machine = (None, None) if kind is None else (kind.get("arch"), kind.get("machine"))
    return WantedCpu(
        root.findtext("devices/emulator"), *machine, root.get("type") or "qemu", etree.tostring(cpu, encoding="unicode")
    )


def host_identity(capabilities: str) -> tuple[str, tuple[str, ...]]:
    """The host's uuid, and its machine types by both names, from the XML of its capabilities."""
    root = etree.fromstring(capabilities)
    names = dict.fromkeys(
        name for machine in root.iterfind("guest/arch/machine") for name in (machine.text, machine.get("canonical")) if name
    )
    return (root.findtext("host/uuid") or ""), tuple(names)
