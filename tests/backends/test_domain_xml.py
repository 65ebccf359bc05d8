"""Machine to libvirt XML and back: a law for every machine, and domains that others have made."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from tests.backends.machines import SMALL, machines
from xmcompat.backends.domain_xml import METADATA_URI, parse, read_record, render
from xmcompat.backends.machine import (
    Accelerator,
    Bus,
    CharDevice,
    DeviceBoot,
    DirectKernel,
    Disk,
    DiskDevice,
    FileSource,
    Graphics,
    Machine,
    Nic,
    UsbBus,
    XenRecord,
)
from xmcompat.errors import ConfigError, HypervisorError

# -- every machine


@given(machines)
def test_a_machine_reads_back_as_it_was_written(machine: Machine) -> None:
    assert parse(render(machine)) == machine


@given(machines)
def test_the_same_machine_is_always_the_same_text(machine: Machine) -> None:
    assert render(machine) == render(replace(machine))


@given(st.text())
def test_text_that_is_no_domain_fails_only_as_an_error_of_ours(text: str) -> None:
    with pytest.raises(HypervisorError):
        parse(text)


@given(st.text(max_size=20))
def test_a_name_is_kept_exactly_or_refused(name: str) -> None:
    try:
        xml = render(replace(SMALL, name=name))
    except ConfigError:
        assert not all(char in "\t\n\r" or (char >= " " and char.isprintable()) for char in name)
        return
    assert parse(xml).name == name


# -- what is written


def test_the_record_is_one_element_in_our_namespace() -> None:
    consoles = ("console1", "serial0")
    record = XenRecord(sxp="(vm (name web1))", source="/etc/xen/web1", started=1300000000.5, consoles=consoles)
    metadata = etree.fromstring(render(replace(SMALL, record=record))).find("metadata")
    assert metadata is not None
    assert etree.tostring(metadata[0], encoding="unicode").strip() == (
        f'<x:guest xmlns:x="{METADATA_URI}" source="/etc/xen/web1" dialect="xm" started="1300000000.5" '
        'consoles="console1 serial0">(vm (name web1))</x:guest>'
    )


def test_a_control_character_in_the_record_does_not_stop_a_guest() -> None:
    record = XenRecord(sxp="(vm (description '\x1b[1m'))", source="/etc/xen/\udcff")
    found = parse(render(replace(SMALL, record=record, description="a\x00b"))).record
    assert found == XenRecord(sxp="(vm (description '\ufffd[1m'))", source="/etc/xen/\ufffd")


@pytest.mark.parametrize("path", ["/srv/\x01.img", "/srv/\udcff.img"])
def test_a_path_that_xml_cannot_hold_is_refused_and_never_changed(path: str) -> None:
    disk = Disk(source=FileSource(path=path), target="vda", bus=Bus.VIRTIO)
    with pytest.raises(ConfigError, match="characters that libvirt's XML cannot hold") as caught:
        render(replace(SMALL, disks=(disk,)))
    assert "\n" not in caught.value.line()


def test_markup_in_a_configuration_stays_text() -> None:
    machine = replace(SMALL, boot=DirectKernel(kernel="/k", cmdline="a</cmdline><boot dev='network'/>&amp;\"'"))
    root = etree.fromstring(render(machine))
    assert root.find("os/boot") is None
    assert parse(render(machine)) == machine


def test_the_door_does_not_load_lxml() -> None:
    code = "import sys, xmcompat.backends.domain_xml; print('lxml' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "False\n"


# -- what is read


def test_the_record_is_found_in_its_element_alone_and_in_a_whole_domain() -> None:
    record = XenRecord(sxp="(vm)", source="web1", started=5.0, consoles=("serial0",))
    whole = render(replace(SMALL, record=record))
    metadata = etree.fromstring(whole).find("metadata")
    assert metadata is not None
    assert read_record(whole) == record
    assert read_record(etree.tostring(metadata[0], encoding="unicode")) == record


def test_a_domain_without_our_element_has_no_record() -> None:
    assert read_record(render(SMALL)) is None
    assert read_record("<guest xmlns='urn:somebody-else'/>") is None


def test_a_start_time_that_is_no_number_is_unknown() -> None:
    assert read_record(f"<x:guest xmlns:x='{METADATA_URI}' started='noon'>(vm)</x:guest>") == XenRecord(sxp="(vm)")


@pytest.mark.parametrize(
    ("element", "kib"),
    [
        ("<memory>1024</memory>", 1024),
        ("<memory unit='bytes'>1025</memory>", 2),
        ("<memory unit='b'>2048</memory>", 2),
        ("<memory unit='k'>7</memory>", 7),
        ("<memory unit='KB'>1024</memory>", 1000),
        ("<memory unit='MiB'>3</memory>", 3072),
        ("<memory unit='M'>3</memory>", 3072),
        ("<memory unit='GiB'>2</memory>", 2097152),
        ("<memory unit='GB'>1</memory>", 976563),
        ("<memory unit='T'>1</memory>", 1073741824),
    ],
)
def test_memory_is_read_in_every_unit_of_libvirt(element: str, kib: int) -> None:
    machine = parse(f"<domain type='kvm'><name>a</name>{element}</domain>")
    assert (machine.memory, machine.current_memory) == (kib, kib)


OTHERS = """<?xml version='1.0'?>
<!-- made by another hand -->
<domain type='kvm' id='7'>
  <name>alien</name><uuid>5d3f0a44-8a7d-4b7c-9a53-0f1f4f7f1c01</uuid>
  <metadata><other xmlns='urn:other'/></metadata>
  <memory unit='MiB'>64</memory><vcpu placement='static'>2</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader><boot dev='hd'/></os>
  <cpu mode='custom'><model>qemu64</model><feature name='svm'/></cpu>
  <devices>
    <disk type='volume' device='disk'><source pool='a' volume='b'/><target dev='sda' bus='xen'/></disk>
    <disk type='file' device='cdrom'><target dev='sdb' bus='sata'/><alias name='sata0-0-1'/></disk>
    <interface type='network'><source network='default' bridge='virbr0'/><target dev='vnet3'/></interface>
    <interface type='direct'><source dev='eth9' mode='bridge'/><model type='e1000'/></interface>
    <console type='pty' tty='/dev/pts/1'><source path='/dev/pts/1'/><target type='serial' port='0'/></console>
    <graphics type='vnc' port='5901' autoport='yes' listen='0.0.0.0'/>
    <input type='mouse' bus='ps2'/><input type='tablet' bus='usb'/>
    <controller type='usb' index='0'/><tpm model='tpm-tis'/>
  </devices>
</domain>"""


def test_a_domain_of_another_maker_is_read_as_far_as_there_are_words_for_it() -> None:
    assert parse(OTHERS) == Machine(
        name="alien", uuid="5d3f0a44-8a7d-4b7c-9a53-0f1f4f7f1c01", accelerator=Accelerator.KVM, memory=65536,
        current_memory=65536, vcpus=2, boot=DeviceBoot(order=("hd",), firmware="efi"), machine_type="pc-q35-7.2",
        cpu_mode="custom", cpu_features=(("svm", "require"),), acpi=False, apic=False, on_crash="destroy",
        disks=(
            Disk(source=None, target="sda", bus=Bus.VIRTIO),
            Disk(source=None, target="sdb", bus=Bus.SATA, device=DiskDevice.CDROM),
        ),
        nics=(Nic(mac="", bridge="virbr0", model=""), Nic(mac="", bridge="eth9", model="e1000")),
        consoles=(CharDevice(kind="serial"),), graphics=(Graphics(listen="0.0.0.0"),), usb=(UsbBus(model="piix3-uhci"),),
        inputs=(("tablet", "usb"),),
    )  # fmt: skip


def test_entities_are_not_resolved() -> None:
    xml = "<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><domain><name>&e;</name></domain>"
    assert parse(xml).name == ""


def test_other_xml_is_refused() -> None:
    with pytest.raises(HypervisorError, match="^this is not the XML of a domain: <network>$"):
        parse("<network/>")
