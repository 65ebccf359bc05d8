"""libvirt takes every machine of the corpus, and keeps it as it was given. The schema alone does not tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.test_corpus import RUNNING, machines, name_of
from xmcompat.backends.domain_xml import parse, render
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.machine import Hostdev, Machine, PciHostdev, UsbHostdev

pytestmark = pytest.mark.libvirt

VALIDATE, NVRAM, INACTIVE_WITH_SECRETS = 1, 4, 3

NO_TLS = "spice TLS port set in XML configuration, but TLS is disabled in qemu.conf"
#: What the lab's host cannot define, and in libvirt's own words why: certificates are not there.
#: Devices of the host, its IOMMU, and the servers of network disks are looked for at the start alone.
NOT_HERE = {
    "xl/spice": NO_TLS,
}


def defined(hypervisor: LibvirtKvm, machine: Machine) -> Machine:
    """MACHINE as libvirt keeps it; what it draws, spells out or places itself is taken away again."""
    domain = hypervisor._connection.defineXMLFlags(render(machine), VALIDATE)
    try:
        shown = parse(domain.XMLDesc(INACTIVE_WITH_SECRETS))
    finally:
        domain.undefineFlags(NVRAM)
    assert shown.machine_type.startswith("pc-i440fx-")
    places = zip(shown.hostdevs, machine.hostdevs, strict=True)
    return replace(
        shown, machine_type=machine.machine_type, uuid=machine.uuid and shown.uuid,
        hostdevs=tuple(_placed_as(device, given) for device, given in places),
    )  # fmt: skip


def _placed_as(device: Hostdev, given: Hostdev) -> Hostdev:
    """DEVICE without the place that libvirt chose because GIVEN has none."""
    if isinstance(device, PciHostdev) and isinstance(given, PciHostdev) and given.guest_slot is None:
        return replace(device, guest_slot=None)
    if isinstance(device, UsbHostdev) and isinstance(given, UsbHostdev) and given.guest_bus is None:
        return replace(device, guest_bus=None)
    return device


def without(machine: Machine) -> Machine:
    """MACHINE without what needs certificates."""
    return replace(machine, graphics=tuple(replace(one, tls_port=None) for one in machine.graphics))


@pytest.mark.parametrize("case", [case for case in RUNNING if name_of(case) not in NOT_HERE], ids=name_of)
def test_libvirt_keeps_the_machine_as_it_was_given(case: Path, hypervisor: LibvirtKvm) -> None:
    for machine in machines(case):
        assert defined(hypervisor, machine) == machine


@pytest.mark.parametrize("case", [case for case in RUNNING if name_of(case) in NOT_HERE], ids=name_of)
def test_what_libvirt_cannot_define_here_is_for_one_reason(case: Path, hypervisor: LibvirtKvm) -> None:
    (machine,) = machines(case)
    with pytest.raises(Exception, match=NOT_HERE[name_of(case)]):
        defined(hypervisor, machine)
    rest = without(machine)
    assert rest != machine
    assert defined(hypervisor, rest) == rest


def test_each_exception_is_a_case() -> None:
    assert NOT_HERE.keys() <= {name_of(case) for case in RUNNING}
