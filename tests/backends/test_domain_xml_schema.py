"""Machines with every field set: they read back, and fit libvirt's own schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from tests.backends.machines import FULL, HVM, HYPERV, PV
from xmcompat.backends import devices, machine
from xmcompat.backends.domain_xml import parse, render
from xmcompat.backends.machine import CpuTune, Machine, NumaCell

SCHEMA = "/usr/share/libvirt/schemas/domain.rng"
VALUES = sorted(
    (kind for module in (machine, devices) for kind in vars(module).values()
     if isinstance(kind, type) and is_dataclass(kind) and kind is not devices.HostNeed), key=lambda kind: kind.__name__,
)  # fmt: skip
#: What is in no XML: it tells of the host before the disk is there.
UNWRITTEN = ("need", "members")


@pytest.fixture(scope="module")
def schema() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(SCHEMA))


def values(value: object) -> Iterator[object]:
    """VALUE and all that lies in it."""
    yield value
    if is_dataclass(value):
        for field in fields(value):
            yield from values(getattr(value, field.name))
    elif isinstance(value, tuple):
        for one in value:
            yield from values(one)


def misfit(schema: etree.RelaxNG, machine: Machine) -> str:
    return "" if schema.validate(etree.fromstring(render(machine))) else str(schema.error_log)


@pytest.mark.parametrize("kind", dict.fromkeys(VALUES), ids=lambda kind: kind.__name__)
def test_no_field_is_forgotten_here(kind: type) -> None:
    found = [value for value in values(FULL) if type(value) is kind]
    for field in (field for field in fields(kind) if field.name not in UNWRITTEN):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        assert any(getattr(value, field.name) != default for value in found), field.name


@pytest.mark.parametrize("machine", FULL, ids=lambda machine: machine.name)
def test_a_machine_with_every_field_reads_back(machine: Machine) -> None:
    assert parse(render(machine)) == machine


@pytest.mark.parametrize("machine", FULL, ids=lambda machine: machine.name)
def test_a_machine_with_every_field_fits_the_schema(machine: Machine, schema: etree.RelaxNG) -> None:
    assert misfit(schema, machine) == ""


switches = st.none() | st.booleans()
cpusets = st.sets(st.integers(0, 70), min_size=1, max_size=8).map(lambda cpus: tuple(sorted(cpus)))
platforms = st.fixed_dictionaries(
    {
        "hyperv": st.sets(st.sampled_from(HYPERV)).map(lambda names: tuple(sorted(names, key=HYPERV.index))),
        "pmu": switches, "cpu_migratable": switches, "hugepages": st.booleans(), "private_pages": st.booleans(),
        "genid": st.booleans(), "acpi": st.booleans(), "apic": st.booleans(),
        "acpi_table": st.sampled_from(["", "/srv/xen/slic.bin"]), "sleep_to_memory": switches,
        "sleep_to_disk": switches, "watchdog": st.sampled_from(["", "reset", "poweroff", "pause", "dump"]),
        "panics": st.sampled_from([(), ("isa",), ("hyperv",), ("isa", "hyperv")]),
        "cpu_mode": st.sampled_from(["", "host-model", "host-passthrough", "maximum"]),
        "tune": st.builds(
            CpuTune, pins=st.just(()) | st.tuples(cpusets, cpusets), shares=st.none() | st.integers(2, 262144),
            quota=st.none() | st.integers(1000, 17592186044414),
        ),
        "numa": st.lists(
            st.builds(
                NumaCell, vcpus=cpusets, memory=st.integers(1, 2**40),
                distances=st.tuples(*[st.integers(10, 255)] * 2), host_node=st.none() | st.integers(0, 63),
            ),
            min_size=2, max_size=2,
        ).map(tuple) | st.just(()),
        "usb": st.sampled_from([(), HVM.usb]), "hostdevs": st.sampled_from([(), HVM.hostdevs]),
        "tpm": st.sampled_from(["", "1.2", "2.0"]),
    }
)  # fmt: skip


@given(platforms)
def test_any_choice_of_them_fits_the_schema(schema: etree.RelaxNG, platform: dict[str, object]) -> None:
    chosen = replace(PV, **platform)  # type: ignore[arg-type]
    assert misfit(schema, chosen) == ""
    assert parse(render(chosen)) == chosen
