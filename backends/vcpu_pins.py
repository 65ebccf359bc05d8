"""The CPUs that the vcpus of a domain are kept to, from its XML. Pure; loads no lxml."""

from __future__ import annotations

from xmcompat.backends import glance
from xmcompat.units import parse_cpus


def vcpu_pins(xml: str) -> list[tuple[int, ...]]:
    """For each vcpu that a domain can have, the CPUs that it is kept to; () for one that may use any."""
    domain = glance.read(xml)
    count = int(domain.text_of("vcpu", "1"))
    pins = {pin.get("vcpu"): parse_cpus(pin.get("cpuset")) for pin in domain.all("cputune/vcpupin")}
    return [pins.get(str(number), ()) for number in range(count)]
