"""``xm info``: what is known of the machine, key by key. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from xmcompat.backends.hypervisor import NodeInfo

#: The Xen whose commands and formats these are.
VERSION = ("4", "1", ".6-xmcompat")
CAPABILITIES = "xen-3.0-x86_64 xen-3.0-x86_32p hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 "
#: Of the processors that Xen's 64-bit hypervisor had.
PLATFORM = "virt_start=0xffff800000000000"
CONFIG_FORMAT = 4


def info_text(node: NodeInfo, *, numa: bool = False, free_cpus: int = 0) -> str:
    """The lines of ``xm info``, with NUMA those of ``-n`` as well. What is not known is "(none)".

    FREE_CPUS are in no CPU pool.

    Differs from xm: all that speaks of the hypervisor speaks of the host's kernel, which is KVM; the version is that
    of the commands.
    """
    rows: list[tuple[str, object]] = [
        ("host", node.hostname), ("release", node.release), ("version", node.version), ("machine", node.machine),
        ("nr_cpus", node.cpus), ("nr_nodes", node.nodes), ("cores_per_socket", node.cores_per_socket),
        ("threads_per_core", node.threads_per_core), ("cpu_mhz", node.mhz),
        ("hw_caps", ":".join(f"{word:08x}" for word in node.hw_caps)),
        ("virt_caps", _virtual(node)), ("total_memory", node.memory // 1024), ("free_memory", node.free // 1024),
        ("free_cpus", free_cpus),
    ]  # fmt: skip
    if numa:
        rows += [("cpu_topology", _topology(node)), ("numa_info", "none")]
    compiler, by, domain, date = _build(node.build)
    rows += [
        ("xen_major", VERSION[0]), ("xen_minor", VERSION[1]), ("xen_extra", VERSION[2]), ("xen_caps", CAPABILITIES),
        ("xen_scheduler", "credit"), ("xen_pagesize", 4096), ("platform_params", PLATFORM),
        ("xen_changeset", "unavailable"), ("xen_commandline", node.command_line), ("cc_compiler", compiler),
        ("cc_compile_by", by), ("cc_compile_domain", domain), ("cc_compile_date", date),
        ("xend_config_format", CONFIG_FORMAT),
    ]  # fmt: skip
    may_be_empty = ("virt_caps", "xen_commandline")
    return "".join(
        f"{key:<23}: {'(none)' if value == '' and key not in may_be_empty else value}\n" for key, value in rows
    )


def _virtual(node: NodeInfo) -> str:
    return " ".join(word for word, there in (("hvm", node.virtualises), ("hvm_directio", node.directs_io)) if there)


def _topology(node: NodeInfo) -> str:
    rows = ["", "cpu:    core    socket     node"]
    rows += [f"{cpu:3d}:{core:8d} {socket:8d} {place:8d}" for cpu, core, socket, place in node.places]
    return "\n".join(rows)


def _build(text: str) -> tuple[str, str, str, str]:
    """Compiler, who and where, and when, from what Linux says of its making; "" for what it does not say.

    "Linux version 6.1.0 (me@there.example) (gcc-12 (Debian 12.2.0) 12.2.0, GNU ld 2.40) #1 SMP Debian 6.1 (2024-01-01)"
    """
    found = re.match(r"Linux version \S+ \(([^@()]*)@?([^()]*)\) \((.*)\) (#.*)", text, re.DOTALL)
    if not found:
        return "", "", "", ""
    by, domain, compiler, made = found.groups()
    return re.split(r", (?:GNU )?(?:ld|LLD)\b", compiler, maxsplit=1)[0], by, domain, made.strip()


def options_text(options: Iterable[tuple[str, str | None]]) -> str:
    """The lines of ``xm info -c``; a setting without a value is "(none)"."""
    return "".join(f"{name:<38}: {'(none)' if value is None else value}\n" for name, value in options)
