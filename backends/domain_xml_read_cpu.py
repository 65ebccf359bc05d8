"""Processors of libvirt XML to those of a Machine: pins and shares, NUMA, Hyper-V. Pure; loads lxml."""

from __future__ import annotations

from lxml import etree

from xmcompat.backends.machine import QUOTA_PERIOD, CpuTune, NumaCell
from xmcompat.backends.xml_elements import attribute, cpuset, kibibytes, number
from xmcompat.units import MOST_CPUS

#: What a host's own nodes are apart, where nothing is said.
_LOCAL, _REMOTE = 10, 20
#: A quota from here on is none.
_NO_QUOTA = 17592186044415


def tune(root: etree._Element, vcpus: int) -> CpuTune:
    named = {
        number(element.get("vcpu")): cpuset(element.get("cpuset", "")) for element in root.iterfind("cputune/vcpupin")
    }
    pins = tuple(named.get(vcpu, ()) for vcpu in range(min(vcpus, MOST_CPUS)))
    return CpuTune(
        pins=pins if any(pins) else (),
        shares=number(root.findtext("cputune/shares")),
        quota=_quota(root),
        emulator=_emulator(root),
    )


def _emulator(root: etree._Element) -> tuple[int, ...]:
    element = root.find("cputune/emulatorpin")
    return () if element is None else cpuset(element.get("cpuset", ""))


def _quota(root: etree._Element) -> int | None:
    """That of the whole guest; one of each vcpu alone has no word."""
    quota = number(root.findtext("cputune/global_quota"))
    period = number(root.findtext("cputune/global_period")) or QUOTA_PERIOD  # libvirt's own as well
    if quota is None or not 0 < quota < _NO_QUOTA:
        return None
    return quota * QUOTA_PERIOD // period


def numa(root: etree._Element) -> tuple[NumaCell, ...]:
    """The cells by number. Memory that may lie on several nodes of the host is as good as free."""
    nodes = {
        number(element.get("cellid")): cpuset(element.get("nodeset", ""))
        for element in root.iterfind("numatune/memnode")
        if element.get("mode") == "strict"
    }
    cells = {}
    for place, element in enumerate(root.iterfind("cpu/numa/cell")):
        stated = number(element.get("id"))
        cells[place if stated is None else stated] = element
    found = []
    for cell, element in sorted(cells.items()):
        there = nodes.get(cell, ())
        found.append(
            NumaCell(
                vcpus=cpuset(element.get("cpus", "")),
                memory=kibibytes(element.get("memory"), element.get("unit", "KiB")),
                distances=_distances(element, cell, len(cells)),
                host_node=there[0] if len(there) == 1 else None,
            )
        )
    return tuple(found)


def _distances(element: etree._Element, cell: int, cells: int) -> tuple[int, ...]:
    siblings = {number(one.get("id")): number(one.get("value")) for one in element.iterfind("distances/sibling")}
    if not siblings:
        return ()
    return tuple(siblings.get(other) or (_LOCAL if other == cell else _REMOTE) for other in range(cells))


def hyperv(root: etree._Element) -> tuple[str, ...]:
    """The names of what is on; a vendor's name has no word."""
    return tuple(
        str(element.tag)
        for element in root.iterfind("features/hyperv/*")
        if attribute(element, "state") == "on" and element.tag != "vendor_id"
    )


def features(root: etree._Element) -> tuple[tuple[str, str], ...]:
    """(name, policy) of each feature of the processor that is named."""
    return tuple((element.get("name", ""), element.get("policy", "require")) for element in root.iterfind("cpu/feature"))
