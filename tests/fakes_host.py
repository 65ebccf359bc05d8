"""A host's /sys made up for tests, and a hypervisor whose domains keep their records in their XML, as libvirt's do."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from tests.fakes import FakeHypervisor, domain
from xmcompat.backends.domain_xml import METADATA_URI, parse, render
from xmcompat.backends.machine import Accelerator, DeviceBoot, Machine, XenRecord
from xmcompat.config.sxp import write
from xmcompat.describe import recorded_form
from xmcompat.toolstack import Toolstack

UUID, OTHER = "83caefad-e5d4-82f0-82f4-757e2375c399", "83caefad-e5d4-82f0-82f4-757e2375c398"
HVM, PV = "(vm (name web1) (image (hvm (kernel ''))))", "(vm (name web1) (image (linux (kernel /vmlinuz))))"


class KeepingHypervisor(FakeHypervisor):
    def set_metadata(self, uuid: str, element: str, *, live: bool = True, known: bool = True) -> None:
        super().set_metadata(uuid, element, live=live, known=known)
        for xmls in (self.xml, self.definitions):
            if uuid in xmls:
                root = etree.fromstring(xmls[uuid])
                record, new = root.find(f"metadata/{{{METADATA_URI}}}guest"), etree.fromstring(element)
                assert record is not None
                record.attrib.update(new.attrib)
                record.text = new.text
                xmls[uuid] = etree.tostring(root, encoding="unicode")

    def metadata(self, uuid: str) -> str | None:
        return self.xml[uuid] if METADATA_URI in self.xml.get(uuid, "") else None


class Host:
    """The folder that stands for /sys."""

    def __init__(self, sysfs: Path) -> None:
        self.sysfs = sysfs

    def driver(self, name: str) -> None:
        (self.sysfs / "bus/pci/drivers" / name).mkdir(parents=True, exist_ok=True)

    def pci(self, address: str, driver: str = "", *, group: int | None = None, kind: str = "0x020000") -> None:
        folder = self.sysfs / "bus/pci/devices" / address
        folder.mkdir(parents=True)
        (folder / "class").write_text(f"{kind}\n")
        if driver:
            self.driver(driver)
            (folder / "driver").symlink_to(self.sysfs / "bus/pci/drivers" / driver)
        if group is not None:
            members = self.sysfs / "kernel/iommu_groups" / str(group) / "devices"
            members.mkdir(parents=True, exist_ok=True)
            (members / address).symlink_to(folder)
            (folder / "iommu_group").symlink_to(members.parent)

    def usb(self, path: str, address: int, kind: str = "0781:5567", name: str = "Cruzer Blade", *, hub: bool = False) -> None:
        folder = self.sysfs / "bus/usb/devices" / path
        folder.mkdir(parents=True)
        vendor, product = kind.split(":")
        bus = path.removeprefix("usb").partition("-")[0]
        for file, text in (
            ("busnum", bus), ("devnum", str(address)), ("idVendor", vendor), ("idProduct", product), ("product", name),
            ("bDeviceClass", "09" if hub else "00"),
        ):  # fmt: skip
            (folder / file).write_text(f"{text}\n")

    def scsi(self, place: str, **names: str) -> None:
        """NAMES are those of its device files, and "wwid"."""
        folder = self.sysfs / "bus/scsi/devices" / place
        folder.mkdir(parents=True)
        for kind, name in names.items():
            if kind == "wwid":
                (folder / kind).write_text(f"{name}\n")
            else:
                (folder / kind / name).mkdir(parents=True)


def installed(monkeypatch: pytest.MonkeyPatch) -> KeepingHypervisor:
    """The hypervisor that every Toolstack of the test talks to; empty at first."""
    fake = KeepingHypervisor()
    monkeypatch.setattr(Toolstack, "open", classmethod(lambda cls, uri=None: cls(lambda: fake)))
    return fake


def known(
    host: KeepingHypervisor, name: str = "web1", domid: int | None = 3, uuid: str = UUID, *, sxp: str = HVM,
    persistent: bool = False, **more: object,
) -> None:  # fmt: skip
    machine = Machine(
        name=name, uuid=uuid, accelerator=Accelerator.KVM, memory=262144, current_memory=262144, vcpus=1,
        boot=DeviceBoot(), record=XenRecord(sxp=sxp) if sxp else None, **more,  # type: ignore[arg-type]
    )  # fmt: skip
    host.known[uuid] = domain(name, domid, uuid=uuid, persistent=persistent or domid is None)
    host.xml[uuid] = render(machine)
    if persistent and domid is not None:
        host.definitions[uuid] = render(machine)


def form(host: KeepingHypervisor, uuid: str = UUID) -> str:
    return write(recorded_form(parse(host.xml[uuid]).record))
