"""``xmcompat host``: what xm sees of this host, and what keeps it from working."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import click

from xmcompat.errors import XmError
from xmcompat.tool.output import print_json, print_pairs

if TYPE_CHECKING:
    from xmcompat.backends.accelerator import Verdict
    from xmcompat.network.hostname import HostnameLookup

#: How long (seconds) to wait for the host's own name: just longer than what counts as slow.
NAME_PATIENCE = 2.5


_WORDS = {"KVM": "kvm", "TCG": "tcg"}


class HostReport(NamedTuple):
    """What was found out. Memory in KiB; None where nothing could be asked."""

    uri: str
    local: bool
    error: str | None = None
    verdict: Verdict | None = None
    memory: int | None = None
    cpus: int | None = None
    bridges: list[str] | None = None
    cgroup_version: int | None = None
    hostname: HostnameLookup | None = None


@click.command("host")
@click.option("--uri", metavar="URI", help="The hypervisor to ask, instead of the one that xm would use.")
@click.option("--again", is_flag=True, help="Try KVM anew instead of remembering the verdict of this boot.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
def host(uri: str | None, again: bool, as_json: bool) -> int:
    """Show what xm sees of this host: the hypervisor, KVM, memory, bridges.

    Exits 1 where the hypervisor cannot be reached.
    """
    report = examine(uri, again=again)
    if as_json:
        print_json(_document(report))
    else:
        print_pairs(_pairs(report))
    return 0 if report.error is None else 1


def examine(uri: str | None, *, again: bool = False) -> HostReport:
    """Ask the hypervisor at URI (None: xm's) and this host. Raises ConfigError; an unreachable one is reported."""
    from xmcompat.backends.accelerator import decide
    from xmcompat.backends.cgroups import has_cgroup_v2
    from xmcompat.backends.libvirt_kvm import connect
    from xmcompat.backends.settings import hypervisor_uri, is_local, read
    from xmcompat.network.hostname import HostnameLookup

    settings = read(os.environ)
    uri = hypervisor_uri(uri, os.environ)
    local = is_local(uri)
    lookup = HostnameLookup() if local else None
    report = HostReport(uri, local=local, hostname=lookup)
    if local:
        report = report._replace(cgroup_version=2 if has_cgroup_v2() else 1)

    def verdict(supports_kvm: Callable[[], bool]) -> Verdict:
        return decide(local=local, supports_kvm=supports_kvm, environ=os.environ, settings=settings, again=again)

    try:
        hypervisor = connect(uri)
    except XmError as error:
        report = report._replace(error=error.line())
        return report._replace(verdict=verdict(lambda: True)) if local else report
    try:
        info = hypervisor.host()
        return report._replace(
            verdict=verdict(hypervisor.supports_kvm), memory=info.memory, cpus=info.cpus, bridges=hypervisor.bridges()
        )
    finally:
        hypervisor.close()


def _pairs(report: HostReport) -> Iterator[tuple[str, str]]:
    yield "hypervisor", report.uri
    yield "", "answers" if report.error is None else report.error
    if report.verdict is not None:
        yield "accelerator", f"{_WORDS[report.verdict.accelerator.name]}: {report.verdict.reason}"
        if report.verdict.remembered:
            yield "", f"remembered in {report.verdict.remembered}"
    if report.memory is not None:
        yield "memory", f"{report.memory // 1024} MiB"
    if report.cpus is not None:
        yield "cpus", str(report.cpus)
    if report.cgroup_version is not None:
        yield "cgroups", f"version {report.cgroup_version}"
    if report.bridges is not None:
        yield "bridges", " ".join(report.bridges) or "none"
    if report.hostname is not None:
        resolves = report.hostname.wait(NAME_PATIENCE)
        yield "host name", report.hostname.complaint() or (
            f"{report.hostname.hostname} {'resolves' if resolves else 'does not resolve, which is known at once'}"
        )


def _document(report: HostReport) -> dict[str, object]:
    verdict, name = report.verdict, report.hostname
    return {
        "uri": report.uri,
        "local": report.local,
        "reachable": report.error is None,
        "error": report.error,
        "accelerator": verdict and {
            "name": _WORDS[verdict.accelerator.name],
            "reason": verdict.reason,
            "chosen": verdict.chosen,
            "remembered": verdict.remembered or None,
        },
        "memory_kib": report.memory,
        "cpus": report.cpus,
        "cgroup_version": report.cgroup_version,
        "bridges": report.bridges,
        "hostname": name and {
            "name": name.hostname, "resolves": name.wait(NAME_PATIENCE), "complaint": name.complaint()
        },
        "facts": _facts(report),
    }


def _facts(report: HostReport) -> dict[str, object]:
    """What is known of this host in the words of ``xmcompat convert --host-facts``."""
    facts = {
        "accelerator": report.verdict and _WORDS[report.verdict.accelerator.name],
        "memory": None if report.memory is None else report.memory // 1024,
        "cpus": report.cpus,
        "bridges": report.bridges,
        "cgroup_v2": None if report.cgroup_version is None else report.cgroup_version == 2,
    }
    return {name: value for name, value in facts.items() if value is not None}
