"""block-attach and its like, over a hypervisor in memory: words, errors to the byte, what is plugged in and what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat.backends import domain_xml
from xmcompat.backends.domain_xml_hotplug import plugged_disks, plugged_nics
from xmcompat.backends.hypervisor import DiskUse, DomainInfo
from xmcompat.backends.machine import (
    Accelerator,
    BlockSource,
    Bus,
    DeviceBoot,
    DirectKernel,
    Disk,
    DiskDevice,
    FileSource,
    Machine,
    Nic,
    XenRecord,
)
from xmcompat.config import device_forms, sxp
from xmcompat.errors import ConnectionLost, HypervisorError
from xmcompat.xm.help import usage_text

UUID = "83caefad-e5d4-82f0-82f4-757e2375c399"
MACS = ("00:16:3e:01:02:03", "00:16:3e:01:02:04")
FORM = (
    "(vm (name web1) (memory 256) (image ({image})) (device (vbd (uname phy:vg0/web1) (dev xvda) (mode w))) "
    "(device (vbd (uname '') (dev hdc:cdrom) (mode r))) "
    "(device (vif (bridge xenbr0) (mac {0}))) (device (vif (mac {1}))))"
)
DISKS = (
    Disk(source=BlockSource(path="/dev/vg0/web1"), target="vda", bus=Bus.VIRTIO, vdev="xvda"),
    Disk(source=None, target="hdc", bus=Bus.IDE, device=DiskDevice.CDROM, readonly=True, vdev="hdc"),
)
NICS = tuple(Nic(mac=mac, bridge="xenbr0") for mac in MACS)


def known(
    host: FakeHypervisor, *, domid: int | None = 3, image: str = "linux", disks: tuple[Disk, ...] = DISKS,
    nics: tuple[Nic, ...] = NICS, persistent: bool = False, sxp: str = FORM,
) -> DomainInfo:  # fmt: skip
    info = domain("web1", domid, uuid=UUID, persistent=persistent or domid is None)
    record = XenRecord(sxp=sxp.format(*MACS, image=image), source="/etc/xen/web1", started=5.0) if sxp else None
    machine = Machine(
        name="web1", uuid=UUID, accelerator=Accelerator.KVM, memory=262144, current_memory=262144, vcpus=1,
        boot=DirectKernel(kernel="/k") if image == "linux" else DeviceBoot(), disks=disks, nics=nics, record=record,
    )  # fmt: skip
    xml = domain_xml.render(machine)
    host.known[UUID] = info
    host.xml[UUID] = xml
    if domid is not None:
        for number in range(len(nics)):  # libvirt names what has no name
            xml = xml.replace("</interface>", f"<alias name='net{number}'/></ interface>", 1)
        host.xml[UUID] = xml.replace("</ interface>", "</interface>")
        if persistent:
            host.definitions[UUID] = domain_xml.render(machine)
    if record is not None:
        host.records[UUID] = domain_xml.render_record(record)
    host.uri = "qemu:///system"
    return info


@pytest.fixture
def web(host: FakeHypervisor) -> FakeHypervisor:
    known(host)
    return host


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "data.img"
    path.write_bytes(bytes(4096))
    return path


def form(host: FakeHypervisor) -> list[object]:
    """The form in the record, as libvirt keeps it after a change, in the domain's XML as well."""
    record = domain_xml.read_record(host.records[UUID])
    assert record is not None
    assert (record.source, record.started) == ("/etc/xen/web1", 5.0)
    found = sxp.parse(record.sxp)[0]
    assert isinstance(found, list)
    return found


def kept(host: FakeHypervisor, *kinds: str) -> list[str]:
    return [sxp.write(device) for _, device in device_forms.devices_of(form(host), kinds or ("vbd", "tap", "tap2", "vif"))]


def targets(xml: str) -> list[tuple[str, str, str]]:
    return [(one.disk.vdev, one.disk.target, one.disk.bus.value) for one in plugged_disks(xml)]


def refused(result: tuple[int, str, str], verb: str, message: str) -> bool:
    assert result == (1, usage_text(verb), f"Error: {message}\n")
    return True


# -- disks in


def test_a_disk_is_plugged_in_in_silence_and_kept(xm: Xm, web: FakeHypervisor, image: Path) -> None:
    assert xm("block-attach", "web1", f"file:{image}", "xvdb", "w") == (0, "", "")
    assert targets(web.xml[UUID])[-1] == ("xvdb", "vdb", "virtio")
    (xml,) = web.plugged
    assert f"<source file='{image}'/>" in xml.replace('"', "'")
    assert kept(web, "vbd")[-1] == f"(vbd (uname file:{image}) (dev xvdb) (mode w))"


@pytest.mark.parametrize(("mode", "element", "word"), [("r", "readonly", "r"), ("w!", "shareable", "'w!'")])
def test_the_mode_counts(xm: Xm, web: FakeHypervisor, image: Path, mode: str, element: str, word: str) -> None:
    assert xm("block-attach", "web1", f"tap:aio:{image}", "/dev/xvdq1", mode, "0") == (0, "", "")
    assert f"<{element}/>" in web.plugged[0]
    assert kept(web, "tap") == [f"(tap (uname tap:aio:{image}) (dev xvdq1) (mode {word}) (backend 0))"]


def test_the_old_names(xm: Xm, web: FakeHypervisor, image: Path) -> None:
    told = "Command {} is deprecated.  Please use xm {} instead.\n"
    assert xm("vbd-create", "web1", f"file:{image}", "51728", "w") == (0, "", told.format("vbd-create", "block-attach"))
    assert targets(web.xml[UUID])[-1] == ("xvdb", "vdb", "virtio")
    assert xm("vbd-destroy", "web1", "xvdb") == (0, "", told.format("vbd-destroy", "block-detach"))


def test_in_a_guest_with_a_bios_it_is_a_virtio_disk_and_that_is_said(xm: Xm, host: FakeHypervisor, image: Path) -> None:
    known(host, image="hvm")
    status, out, err = xm("block-attach", "web1", f"file:{image}", "hdb", "w")
    assert (status, out) == (0, "")
    assert err == (
        "Warning: disk = hdb: approximated; QEMU adds no emulated drives to a guest that runs; it is the virtio disk vdb in "
        "the guest; the guest needs a driver for that\n"
    )
    assert targets(host.xml[UUID])[-1] == ("hdb", "vdb", "virtio")


def test_a_cd_rom_drive_comes_with_a_controller_that_takes_it(xm: Xm, web: FakeHypervisor, image: Path) -> None:
    assert xm("block-attach", "web1", f"file:{image}", "xvdd:cdrom", "r").status == 0
    controller, drive = web.plugged
    assert controller == '<controller type="scsi" index="0" model="virtio-scsi"/>'
    assert 'device="cdrom"' in drive and '<address type="drive" controller="0" bus="0" target="0" unit="0"/>' in drive
    assert xm("block-attach", "web1", "", "xvde:cdrom", "r").status == 0
    assert len(web.plugged) == 3 and 'controller="0" bus="0" target="0" unit="1"' in web.plugged[-1]
    assert targets(web.xml[UUID])[2:] == [("xvdd", "sda", "scsi"), ("xvde", "sdb", "scsi")]


def test_an_emulated_controller_takes_no_drive_while_the_guest_runs(xm: Xm, host: FakeHypervisor, image: Path) -> None:
    known(host, image="hvm", disks=(Disk(source=FileSource(path="/a"), target="sda", bus=Bus.SCSI, vdev="sda"),))
    host.xml[UUID] = host.xml[UUID].replace("<devices>", "<devices><controller type='scsi' index='0' model='lsilogic'/>")
    assert xm("block-attach", "web1", f"file:{image}", "hdd:cdrom", "r").status == 0
    assert '<controller type="scsi" index="1" model="virtio-scsi"/>' in host.plugged
    assert 'controller="1" bus="0" target="0" unit="0"' in host.plugged[-1]
    assert targets(host.xml[UUID])[-1] == ("hdd", "sdb", "scsi")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("file:/x", "xvda", "w"), 'The device "xvda" is already defined'),
        (("file:/x", "51712", "w"), 'The device "51712" is already defined'),
        (("tap:aio:/x", "xvda", "w"), "Device xvda (51712, tap) is already connected."),
        (("phy:/dev/vg0/web1", "xvdb", "w"), 'The file "/dev/vg0/web1" is already used'),
        (("phy:vg0/web1", "xvdb", "r"), 'The file "/dev/vg0/web1" is already used'),
        (("tap:zap:/x", "xvdb", "w"), "tap:zap not a valid disk type"),
        (
            ("foo:/x", "xvdb", "w"), 'Block device type "foo" is invalid.\n'
            "Hint: a script block-foo in the folder of Xen's scripts would bring it up",
        ),
        (("/x", "xvdb", "w"), "Block device must have physical details specified"),
        (("", "xvdb", "w"), "Block device must have physical details specified"),
        (("file:/x", "xvdb", "rw"), "Invalid mode"),
        (("file:/x", "vdb", "w"), "Unable to find number for device (vdb)"),
        (("file:/x", "xvdb", "w", "nosuch"), "Cannot configure device for unknown backend nosuch"),
        (("file:/nosuch", "xvdb", "w"), "Device 51728 (vbd) could not be connected. /nosuch does not exist."),
        (("tap:aio:/tmp", "xvdb", "w"), "Device 51728 (tap) could not be connected. /tmp is a directory."),
        (("phy:/etc/hosts", "xvdb", "w"), "Device 51728 (vbd) could not be connected. /etc/hosts is not a block device."),
        (
            ("tap:ram:x", "xvdb", "w"),
            "disk = tap:ram:x,xvdb,w: 'tap:ram:' does not exist on KVM: a disk in memory is gone with its host; give an "
            "image or a volume",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_attached(xm: Xm, web: FakeHypervisor, words: tuple[str, ...], message: str) -> None:
    before = web.records[UUID]
    assert refused(xm("block-attach", "web1", *words), "block-attach", message)
    assert (web.plugged, web.records[UUID]) == ([], before)


def test_a_disk_of_another_guest_is_not_shared(xm: Xm, web: FakeHypervisor, image: Path) -> None:
    web.uses = [DiskUse("db1", str(image), False, False)]
    assert refused(
        xm("block-attach", "web1", f"file:{image}", "xvdb", "w"), "block-attach",
        f"Device 51728 (vbd) could not be connected.\nDevice {image} is mounted in a guest domain,\n"
        "and so cannot be mounted now.\nHint: the domain db1 has it",
    )  # fmt: skip
    assert xm("block-attach", "web1", f"file:{image}", "xvdb", "w!").status == 0


def test_a_disk_that_only_libvirt_knows_of_is_connected(xm: Xm, web: FakeHypervisor, image: Path) -> None:
    web.attach_device(UUID, "<disk type='file' device='disk'><source file='/v.img'/><target dev='vdb' bus='virtio'/></disk>")
    message = "Device xvdb (51728, vbd) is already connected."
    assert refused(xm("block-attach", "web1", f"file:{image}", "xvdb", "w"), "block-attach", message)


def test_a_guest_that_xm_did_not_start_gets_the_disk_alone(xm: Xm, host: FakeHypervisor, image: Path) -> None:
    known(host, sxp="")
    assert xm("block-attach", "3", f"file:{image}", "xvdb", "w") == (0, "", "")
    assert UUID not in host.records
    assert xm("block-detach", "3", "xvdb") == (0, "", "")
    assert "ua-xvdb" in host.unplugged


def test_where_the_record_cannot_be_written_the_disk_is_taken_back_out(
    xm: Xm, web: FakeHypervisor, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: FakeHypervisor, uuid: str, element: str, **_which: bool) -> None:
        raise HypervisorError("no space left on device")

    monkeypatch.setattr(FakeHypervisor, "set_metadata", fails)
    words = ("block-attach", "web1", f"file:{image}", "xvdb", "w")
    assert refused(xm(*words), "block-attach", "no space left on device")
    assert web.unplugged == ["ua-xvdb"] and len(targets(web.xml[UUID])) == 2
    web.stubborn = True
    monkeypatch.setattr("xmcompat.plugging._UNDO", 0.0)
    assert refused(
        xm(*words), "block-attach",
        "no space left on device; device 51728 (vbd) is there all the same, and can be detached",
    )  # fmt: skip


def test_ctrl_c_in_the_call_takes_it_back_out(xm: Xm, web: FakeHypervisor, image: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    before, web.on_attach = web.records[UUID], interrupt
    with pytest.raises(KeyboardInterrupt):
        xm("block-attach", "web1", f"file:{image}", "xvdb", "w")
    assert len(targets(web.xml[UUID])) == 2 and web.records[UUID] == before


def test_a_name_that_somebody_takes_meanwhile_is_looked_for_again(
    xm: Xm, web: FakeHypervisor, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = FakeHypervisor.attach_device
    other = "<disk type='file' device='disk'><source file='/v.img'/><target dev='{}' bus='virtio'/><alias name='{}'/></disk>"

    def late(self: FakeHypervisor, uuid: str, xml: str) -> None:
        monkeypatch.setattr(FakeHypervisor, "attach_device", plain)
        self.attach_device(uuid, other.format("vdb", alias))
        plain(self, uuid, xml)

    alias = "ua-xvdx"
    monkeypatch.setattr(FakeHypervisor, "attach_device", late)
    assert xm("block-attach", "web1", f"file:{image}", "xvdb", "w") == (0, "", "")
    assert targets(web.xml[UUID])[2:] == [("xvdx", "vdb", "virtio"), ("xvdb", "vdc", "virtio")]


def test_of_two_for_one_name_the_late_one_hears_so(
    xm: Xm, web: FakeHypervisor, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = FakeHypervisor.attach_device

    def late(self: FakeHypervisor, uuid: str, xml: str) -> None:
        monkeypatch.setattr(FakeHypervisor, "attach_device", plain)
        plain(self, uuid, xml)
        plain(self, uuid, xml)

    monkeypatch.setattr(FakeHypervisor, "attach_device", late)
    message = "Device xvdb (51728, vbd) is already connected."
    assert refused(xm("block-attach", "web1", f"file:{image}", "xvdb", "w"), "block-attach", message)


def test_a_second_try_writes_down_what_the_first_could_not(xm: Xm, web: FakeHypervisor, image: Path) -> None:
    before = web.records[UUID]
    words = ("block-attach", "web1", f"file:{image}", "xvdb", "w")
    assert xm(*words).status == 0
    after, web.records[UUID] = web.records[UUID], before
    assert xm(*words) == (0, "", "")
    assert web.records[UUID] == after and len(targets(web.xml[UUID])) == 3
    assert refused(xm(*words), "block-attach", f'The file "{image}" is already used')


def test_a_lost_connection_says_what_may_remain(xm: Xm, web: FakeHypervisor, image: Path) -> None:
    web.refusal = ConnectionLost("Xend has probably crashed!  The connection was lost")
    assert xm("block-attach", "web1", f"file:{image}", "xvdb", "w") == (
        1, "", "Error: Xend has probably crashed!  The connection was lost\n"
        "Hint: device 51728 (vbd) may be there all the same; try again\n",
    )  # fmt: skip


def test_no_free_pci_slot_is_one_line(xm: Xm, web: FakeHypervisor, image: Path) -> None:
    web.refusal = HypervisorError("The guest has no free PCI slot", hint="take another device away first")
    assert refused(
        xm("block-attach", "web1", f"file:{image}", "xvdb", "w"), "block-attach",
        "The guest has no free PCI slot; take another device away first",
    )  # fmt: skip


def test_a_known_domain_that_is_off_only_keeps_it(xm: Xm, host: FakeHypervisor) -> None:
    known(host, domid=None, image="hvm")
    assert xm("block-attach", "web1", "file:/not/there/yet.img", "hda", "w") == (0, "", "")
    assert targets(host.xml[UUID])[-1] == ("hda", "hda", "ide")
    assert kept(host, "vbd")[-1] == "(vbd (uname file:/not/there/yet.img) (dev hda) (mode w))"
    assert xm("block-detach", "web1", "hda") == (0, "", "")
    assert len(targets(host.xml[UUID])) == len(kept(host, "vbd")) == 2 and host.unplugged == []
    assert refused(xm("block-detach", "web1", "xvdb"), "block-detach", "Device xvdb is not defined")


def test_a_known_domain_that_runs_keeps_it_too(xm: Xm, host: FakeHypervisor, image: Path) -> None:
    known(host, persistent=True)
    assert xm("block-attach", "web1", f"file:{image}", "xvdb", "w").status == 0
    assert targets(host.definitions[UUID])[-1] == ("xvdb", "vdb", "virtio")
    assert xm("block-detach", "web1", "xvdb").status == 0
    assert len(targets(host.definitions[UUID])) == len(targets(host.xml[UUID])) == 2


# -- media


@pytest.mark.parametrize("verb", ["block-attach", "block-configure"])
def test_a_medium_is_changed_and_taken_out(xm: Xm, web: FakeHypervisor, image: Path, verb: str) -> None:
    assert xm(verb, "web1", f"file:{image}", "hdc:cdrom", "r") == (0, "", "")
    assert plugged_disks(web.xml[UUID])[1].disk.source == FileSource(path=str(image))
    assert kept(web, "vbd")[1] == f"(vbd (uname file:{image}) (dev hdc:cdrom) (mode r))"
    assert xm(verb, "web1", "", "hdc:cdrom", "r") == (0, "", "")
    assert plugged_disks(web.xml[UUID])[1].disk == DISKS[1]
    assert kept(web, "vbd")[1] == "(vbd (uname '') (dev hdc:cdrom) (mode r))"
    assert web.plugged == []


def test_a_drive_that_the_guest_has_locked_is_opened_by_force(xm: Xm, web: FakeHypervisor, image: Path) -> None:
    web.refusal = HypervisorError("Device 'ide0-1-0' is locked and force was not specified, wait for tray to open")
    assert xm("block-configure", "web1", f"file:{image}", "hdc:cdrom", "r") == (0, "", "")
    assert [force for _, force in web.changed] == [True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("file:/x", "xvda", "w"),
            "Refusing to reconfigure device vbd:51712 to {'uname': 'file:/x', 'dev': 'xvda', 'mode': 'w'}",
        ),
        (
            ("file:/x", "hdc", "r", "0"),
            "Refusing to reconfigure device vbd:5632 to {'uname': 'file:/x', 'dev': 'hdc', 'mode': 'r', 'backend': '0'}",
        ),
        (("tap:aio:/x", "xvdb:cdrom", "r"), "Device 51728 not connected"),
        (("file:/nosuch", "hdc:cdrom", "r"), "Device 5632 (vbd) could not be connected. /nosuch does not exist."),
    ],
)
def test_nothing_else_is_configured(xm: Xm, web: FakeHypervisor, words: tuple[str, ...], message: str) -> None:
    assert refused(xm("block-configure", "web1", *words), "block-configure", message)
    assert web.changed == []


# -- disks out


@pytest.mark.parametrize("name", ["xvda", "/dev/xvda", "51712", "vbd/51712", "0xca00", "xvda:disk", "ioemu:xvda"])
def test_a_disk_goes_by_any_of_its_names(xm: Xm, web: FakeHypervisor, name: str) -> None:
    assert xm("block-detach", "web1", name) == (0, "", "")
    assert web.unplugged == ["ua-xvda"]
    assert [target for _, target, _ in targets(web.xml[UUID])] == ["hdc"]
    assert [text.split("(dev ")[1].split(")")[0] for text in kept(web, "vbd")] == ["hdc:cdrom"]
    assert [line.split()[0] for line in xm("block-list", "web1").out.splitlines()[1:]] == ["5632"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("xvdb", "Device 51728 not connected"),
        ("vbd/51728", "Device 51728 not connected"),
        ("vda", "Device None not connected"),
        ("nonsense", "Device None not connected"),
        (
            "hdc",
            "Device 5632 (vbd) could not be disconnected. QEMU lets go of no emulated drive while the guest runs; "
            "'xm block-configure' takes its medium out",
        ),
    ],
)
def test_what_cannot_be_detached(xm: Xm, web: FakeHypervisor, name: str, message: str) -> None:
    before = web.records[UUID]
    assert refused(xm("block-detach", "web1", name), "block-detach", message)
    assert (web.unplugged, web.records[UUID]) == ([], before)


@pytest.fixture
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "xend-config.sxp"
    path.write_text("(device-destroy-timeout 0)\n")
    monkeypatch.setenv("XEND_CONFIG", str(path))


@pytest.mark.usefixtures("impatient")
def test_a_guest_that_does_not_let_go(xm: Xm, web: FakeHypervisor) -> None:
    """What is kept has the disk no longer; the list has it as long as the guest."""
    web.stubborn = True
    message = "Device 51712 (vbd) could not be disconnected. "
    assert refused(xm("block-detach", "web1", "xvda"), "block-detach", message)
    assert len(kept(web, "vbd")) == 1
    assert xm("block-list", "web1").out.splitlines()[1].startswith("51712 ")
    assert refused(xm("block-detach", "web1", "xvda"), "block-detach", message)
    web.stubborn = False
    assert xm("block-detach", "web1", "xvda") == (0, "", "")


@pytest.mark.parametrize("word", ["-f", "--force"])
def test_by_force_nobody_waits(xm: Xm, web: FakeHypervisor, word: str) -> None:
    web.stubborn = True
    assert xm("block-detach", "web1", "xvda", word) == (0, "", "")
    assert web.unplugged == ["ua-xvda"] and len(kept(web, "vbd")) == 1
    assert xm("network-detach", "web1", "0", word) == (0, "", "")


def test_another_third_word_is_named_and_passed_over(xm: Xm, web: FakeHypervisor) -> None:
    assert xm("block-detach", "web1", "xvda", "--now") == (0, "Ignoring option --now\n", "")
    assert xm("network-detach", "web1", "1", "0") == (0, "Ignoring option 0\n", "")


def test_ctrl_c_while_it_is_asked_for_leaves_it_out_of_what_is_kept(
    xm: Xm, web: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: FakeHypervisor, uuid: str, alias: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeHypervisor, "unplug_device", interrupted)
    with pytest.raises(KeyboardInterrupt):
        xm("block-detach", "web1", "xvda")
    assert len(kept(web, "vbd")) == 1


def test_the_others_keep_the_uuids_that_they_are_shown_with(xm: Xm, web: FakeHypervisor) -> None:
    def uuids() -> list[object]:
        status, out, err = xm("list", "-l", "web1")
        assert (status, err) == (0, "")
        found = sxp.parse(out)[0]
        assert isinstance(found, list)
        return [sxp.value(device, "uuid") for _, device in device_forms.devices_of(found, ("vbd", "vif"))]

    before = uuids()
    assert xm("network-detach", "web1", "0").status == xm("block-detach", "web1", "xvda").status == 0
    assert len(before) == 4 and uuids() == [before[1], before[3]]


# -- network interfaces


def numbers(host: FakeHypervisor) -> list[tuple[int, str]]:
    return [(one.number, one.nic.mac) for one in plugged_nics(host.xml[UUID])]


def test_an_interface_with_all_its_words(xm: Xm, web: FakeHypervisor) -> None:
    words = ("mac=00:16:3E:0A:0B:0C", "bridge=xenbr0", "rate=10Mb/s", "vifname=web1-dmz", "type=netfront", "backend=0")
    assert xm("network-attach", "web1", *words) == (0, "", "")
    one = plugged_nics(web.xml[UUID])[-1]
    assert (one.number, one.alias) == (2, "ua-vif-2")
    assert (one.nic.mac, one.nic.target, one.nic.outbound_average) == ("00:16:3e:0a:0b:0c", "web1-dmz", 1250)
    assert kept(web, "vif")[-1] == (
        "(vif (bridge xenbr0) (mac 00:16:3E:0A:0B:0C) (type netfront) (vifname web1-dmz) (rate 10Mb/s) (backend 0))"
    )


def test_without_words_it_has_an_address_of_xens_and_the_first_bridge(xm: Xm, web: FakeHypervisor) -> None:
    web.host_bridges = ["br7", "br8"]
    assert xm("network-attach", "web1") == (0, "", "")
    one = plugged_nics(web.xml[UUID])[-1]
    assert one.nic.mac.startswith("00:16:3e:") and one.nic.bridge == "br7"
    assert f"(mac {one.nic.mac})" in kept(web, "vif")[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bridge"], "Invalid argument: bridge"),
        (["bridge="], "Invalid argument: bridge="),
        (["bridge=a=b"], "Invalid argument: bridge=a=b"),
        (["colour=red"], "Invalid argument: colour=red"),
        (["mac=00:16:3e:01:02:09", "x"], "Invalid argument: x"),
        (["mac=hello"], "Cannot create a new virtual network interface - MAC address is not valid!"),
        (["mac=00:16:3e:1:2:3"], "Cannot create a new virtual network interface - MAC address is not valid!"),
        ([f"mac={MACS[0]}"], f'The mac "{MACS[0]}" is already defined'),
        (["mac=00:16:3E:01:02:04"], 'The mac "00:16:3E:01:02:04" is already defined'),
        (["bridge=br9"], "Device 2 (vif) could not be connected. Could not find bridge device br9"),
        (["backend=nosuch"], "Cannot configure device for unknown backend nosuch"),
        (
            ["backend=web1"],
            "vif = backend=web1: KVM has no driver domains (back end 'web1'); give one of this host",
        ),
    ],
)
def test_what_no_interface_can_be(xm: Xm, web: FakeHypervisor, words: list[str], message: str) -> None:
    before = web.records[UUID]
    assert refused(xm("network-attach", "web1", *words), "network-attach", message)
    assert (web.plugged, web.records[UUID]) == ([], before)


def test_numbers_are_not_given_twice_while_the_domain_runs(xm: Xm, web: FakeHypervisor) -> None:
    assert xm("network-detach", "web1", "1").status == 0
    assert [number for number, _ in numbers(web)] == [0]
    assert xm("network-attach", "web1", "mac=00:16:3e:00:00:02").status == 0
    assert numbers(web) == [(0, MACS[0]), (2, "00:16:3e:00:00:02")]
    assert xm("network-detach", "web1", "00:16:3E:00:00:02").status == 0
    assert xm("network-attach", "web1", "mac=00:16:3e:00:00:03").status == 0
    assert xm("network-detach", "web1", "0").status == 0
    assert [line.split()[0] for line in xm("network-list", "web1").out.splitlines()[1:]] == ["3"]
    web.known[UUID] = web.known[UUID]._replace(domid=9)  # it has been started anew
    assert xm("network-detach", "web1", "3").status == 0
    assert xm("network-attach", "web1").status == 0
    assert [number for number, _ in numbers(web)] == [4]


@pytest.mark.parametrize("name", ["1", "vif/1", MACS[1], MACS[1].upper()])
def test_an_interface_goes_by_number_and_address(xm: Xm, web: FakeHypervisor, name: str) -> None:
    assert xm("network-detach", "web1", name) == (0, "", "")
    assert web.unplugged == ["net1"] and numbers(web) == [(0, MACS[0])]
    assert len(kept(web, "vif")) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("7", "Device 7 not connected"),
        ("eth0", "unknown devid eth0"),
        ("00:16:3e:aa:aa:aa", "Cannot find device '00:16:3e:aa:aa:aa' in domain '3'"),
    ],
)
def test_no_such_interface(xm: Xm, web: FakeHypervisor, name: str, message: str) -> None:
    assert refused(xm("network-detach", "3", name), "network-detach", message)
    assert web.unplugged == []


def test_interfaces_of_a_domain_that_is_off(xm: Xm, host: FakeHypervisor) -> None:
    known(host, domid=None)
    assert xm("network-attach", "web1", "mac=00:16:3e:00:00:02", "bridge=xenbr0") == (0, "", "")
    assert [mac for _, mac in numbers(host)] == [*MACS, "00:16:3e:00:00:02"] and "<alias" not in host.plugged[0]
    assert xm("network-detach", "web1", "0") == (0, "", "")
    assert [mac for _, mac in numbers(host)] == [MACS[1], "00:16:3e:00:00:02"]
    assert refused(xm("network-detach", "web1", "2"), "network-detach", "Device 2 is not defined")


# -- what all have in common

ATTACH = (
    ("block-attach", "file:/x", "xvdb", "w"), ("block-configure", "file:/x", "hdc:cdrom", "r"), ("network-attach", "bridge=b"),
)  # fmt: skip
DETACH = (("block-detach", "xvdb"), ("network-detach", "0"))


@pytest.mark.parametrize("words", [*ATTACH, *DETACH])
def test_an_unknown_domain_ends_in_3(xm: Xm, words: tuple[str, ...]) -> None:
    assert xm(words[0], "nosuch", *words[1:]) == (3, "", "Error: Domain 'nosuch' does not exist.\n")


@pytest.mark.parametrize("words", ATTACH)
@pytest.mark.parametrize("name", ["0", "Domain-0"])
def test_domain_0_gets_no_devices(xm: Xm, words: tuple[str, ...], name: str) -> None:
    status, out, err = xm(words[0], name, *words[1:])
    assert (status, out) == (1, usage_text(words[0]))
    assert err.startswith("Error: Domain-0 is this host itself, to which no devices are added; ")


def test_domain_0_has_none_to_take_away(xm: Xm) -> None:
    assert refused(xm("block-detach", "0", "xvda"), "block-detach", "Device 51712 not connected")
    assert refused(xm("network-detach", "0", "1"), "network-detach", "Device 1 not connected")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("block-attach", "a", "b", "c"), "between 4 and 5"), (("block-configure", *"abcdef"), "between 4 and 5"),
        (("block-detach", "a"), "between 2 and 3"), (("network-attach",), "between 1 and 11"),
        (("network-detach", *"abcd"), "between 2 and 3"),
    ],
)  # fmt: skip
def test_numbers_of_words(xm: Xm, words: tuple[str, ...], wanted: str) -> None:
    assert xm(*words) == (1, usage_text(words[0]), f"Error: 'xm {words[0]}' requires {wanted} arguments.\n\n")


# -- forms


@given(st.lists(st.sampled_from(["vbd", "tap", "vif"]), max_size=6), st.integers(0, 5))
def test_a_form_without_a_device_has_all_the_others(kinds: list[str], which: int) -> None:
    form: list[object] = ["vm", ["name", "web1"]]
    for index, kind in enumerate(kinds):
        form = device_forms.with_device(form, [kind, ["dev", f"d{index}"]])
    devices = device_forms.devices_of(form, ("vbd", "tap", "vif"))
    if which < len(devices):
        less = device_forms.without_device(form, devices[which][0], UUID)
        left = [device_forms.text(device, "dev") for _, device in device_forms.devices_of(less, ("vbd", "tap", "vif"))]
        assert left == [f"d{index}" for index in range(len(kinds)) if index != which]
        assert less[:2] == form[:2]
