"""block-list, network-list, vtpm-list: tables and SXP byte for byte, for domains that run and that are off."""

from __future__ import annotations

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat.backends.domain_xml import render
from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.backends.machine import (
    Accelerator,
    BlockSource,
    Bus,
    DeviceBoot,
    Disk,
    DiskDevice,
    FileSource,
    Machine,
    Nic,
    XenRecord,
)
from xmcompat.xm.help import short_help_text, usage_text

UUID = "83caefad-e5d4-82f0-82f4-757e2375c399"
DISK = "41ce0176-88e9-a571-0c0a-fcbf9354d057"
SXP = (
    f"(vm (name web1) (device (vbd (uname phy:vg0/web1) (dev xvda) (mode w) (uuid {DISK}))) "
    "(device (tap (uname tap:aio:/b.img) (dev sdb1) (mode r))) (device (vbd (uname '') (dev ioemu:hdc:cdrom) (mode r))) "
    "(device (vif (bridge xenbr0) (mac 00:16:3e:01:02:03))) (device (vif (mac 00:16:3e:01:02:04))) "
    "(device (vtpm (instance 1))))"
)
DISKS = (
    Disk(source=BlockSource(path="/dev/vg0/web1"), target="vda", bus=Bus.VIRTIO, vdev="xvda"),
    Disk(source=FileSource(path="/b.img"), target="sda", bus=Bus.SCSI, vdev="sdb1", readonly=True),
    Disk(source=None, target="hdc", bus=Bus.IDE, device=DiskDevice.CDROM, readonly=True),
    Disk(source=FileSource(path="/f.img"), target="fda", bus=Bus.FDC, device=DiskDevice.FLOPPY),
    Disk(source=FileSource(path="/later.img"), target="vdc", bus=Bus.VIRTIO),
)
NICS = (Nic(mac="00:16:3e:01:02:03", bridge="xenbr0"), Nic(mac="00:16:3e:01:02:04", bridge="xenbr0"))

BLOCKS = """\
Vdev  BE handle state evt-ch ring-ref BE-path
51712  0    0     4      18     8     /local/domain/0/backend/vbd/3/51712  \n\
2065   0    0     4      19     9     /local/domain/0/backend/tap/3/2065  \n\
5632   0    0     4      20     10    /local/domain/0/backend/vbd/3/5632  \n\
51744  0    0     4      21     11    /local/domain/0/backend/vbd/3/51744  \n\
"""
NETWORKS = """\
Idx BE     MAC Addr.     handle state evt-ch tx-/rx-ring-ref BE-path
0   0  00:16:3e:01:02:03    0     4      20    768  /769     /local/domain/0/backend/vif/3/0  \n\
1   0  00:16:3e:01:02:04    1     4      21    770  /771     /local/domain/0/backend/vif/3/1  \n\
"""
TPMS = """\
Idx  BE handle state evt-ch ring-ref BE-path
0     0    0     4      12     6     /local/domain/0/backend/vtpm/3/0  \n\
"""
BLOCKS_OFF = """\
Vdev  BE handle state evt-ch ring-ref BE-path
51712  -1   0     -1     -1     -1    ??                              \n\
2065   -1   0     -1     -1     -1    ??                              \n\
5632   -1   0     -1     -1     -1    ??                              \n\
"""
NETWORKS_OFF = """\
Idx BE     MAC Addr.     handle state evt-ch tx-/rx-ring-ref BE-path
0   -1 00:16:3e:01:02:03    0     -1     -1    -1   /-1      ??                              \n\
1   -1 00:16:3e:01:02:04    0     -1     -1    -1   /-1      ??                              \n\
"""
BLOCKS_LONG = """\
(51712
    ((virtual-device 51712)
        (device-type disk)
        (protocol x86_64-abi)
        (backend-id 0)
        (state 4)
        (backend /local/domain/0/backend/vbd/3/51712)
        (ring-ref 8)
        (event-channel 18)
    )
)
"""
NETWORKS_LONG = """\
(0
    ((mac 00:16:3e:01:02:03)
        (handle 0)
        (protocol x86_64-abi)
        (backend-id 0)
        (state 4)
        (backend /local/domain/0/backend/vif/3/0)
        (tx-ring-ref 768)
        (rx-ring-ref 769)
        (event-channel 20)
        (request-rx-copy 1)
    )
)
"""
LISTS = ("block-list", "network-list", "vtpm-list")
each_list = pytest.mark.parametrize("verb", LISTS)


def known(host: FakeHypervisor, info: DomainInfo, *, sxp: str = SXP, disks: tuple[Disk, ...] = DISKS, **more: object) -> None:
    machine = Machine(
        name=info.name, uuid=UUID, accelerator=Accelerator.KVM, memory=262144, current_memory=262144, vcpus=1,
        boot=DeviceBoot(), disks=disks, record=XenRecord(sxp=sxp) if sxp else None, **more,  # type: ignore[arg-type]
    )  # fmt: skip
    host.known[UUID] = info
    host.xml[UUID] = render(machine)


@pytest.fixture
def web(host: FakeHypervisor) -> FakeHypervisor:
    known(host, domain("web1", 3, uuid=UUID), nics=NICS, tpm="2.0")
    return host


@pytest.fixture
def off(host: FakeHypervisor) -> FakeHypervisor:
    known(host, domain("web1", None, uuid=UUID), nics=NICS, tpm="2.0")
    return host


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(("verb", "table"), [("block-list", BLOCKS), ("network-list", NETWORKS), ("vtpm-list", TPMS)])
@pytest.mark.parametrize("designation", ["web1", "3", UUID])
def test_the_devices_of_a_domain_that_runs(xm: Xm, verb: str, table: str, designation: str) -> None:
    assert xm(verb, designation) == (0, table, "")


def test_disks_come_in_the_order_of_the_configuration(xm: Xm, host: FakeHypervisor) -> None:
    """libvirt sorts them by its own names."""
    known(host, domain("web1", 3, uuid=UUID), disks=DISKS[::-1])
    assert xm("block-list", "web1").out == BLOCKS


@pytest.mark.usefixtures("web")
def test_the_old_names_of_the_lists(xm: Xm) -> None:
    deprecated = "Command {} is deprecated.  Please use xm {} instead.\n"
    assert xm("vbd-list", "web1") == (0, BLOCKS, deprecated.format("vbd-list", "block-list"))
    assert xm("vif-list", "web1") == (0, NETWORKS, deprecated.format("vif-list", "network-list"))


@pytest.mark.usefixtures("off")
def test_the_devices_of_a_domain_that_is_off_are_those_of_its_configuration(xm: Xm) -> None:
    assert xm("block-list", "web1") == (0, BLOCKS_OFF, "")
    assert xm("network-list", "web1") == (0, NETWORKS_OFF, "")
    assert xm("vtpm-list", "web1").out.splitlines()[1].split() == ["0", "-1", "0", "-1", "-1", "-1", "??"]


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("word", ["-l", "--long", "--lo"])
def test_everything_as_sxp(xm: Xm, word: str) -> None:
    status, out, err = xm("block-list", word, "web1")
    assert (status, err) == (0, "")
    assert out.startswith(BLOCKS_LONG + "(2065\n")
    assert "    ((virtual-device 5632)\n        (device-type cdrom)\n" in out
    assert xm("network-list", "web1", word).out.startswith(NETWORKS_LONG + "(1\n")
    assert xm("vtpm-list", "web1", word).out == (
        "(0\n    ((handle 0)\n        (backend-id 0)\n        (state 4)\n"
        "        (backend /local/domain/0/backend/vtpm/3/0)\n        (ring-ref 6)\n        (event-channel 12)\n    )\n)\n"
    )


@pytest.mark.usefixtures("off")
def test_everything_as_sxp_of_a_domain_that_is_off(xm: Xm) -> None:
    out = xm("block-list", "--long", "web1").out
    assert out.startswith(
        "(51712\n    (vbd\n        (uname phy:vg0/web1)\n        (dev xvda)\n        (mode w)\n"
        f"        (uuid {DISK})\n    )\n)\n(2065\n    (tap\n"
    )
    assert xm("network-list", "-l", "web1").out.startswith(
        "(0\n    (vif\n        (bridge xenbr0)\n        (mac 00:16:3e:01:02:03)\n        (uuid "
    )
    assert xm("vtpm-list", "-l", "web1").out.startswith("(0 (vtpm (instance 1) (uuid ")


@each_list
@pytest.mark.parametrize("domid", [3, None])
@pytest.mark.parametrize("words", [[], ["--long"], ["-l"]])
def test_no_devices_no_output(xm: Xm, host: FakeHypervisor, verb: str, domid: int | None, words: list[str]) -> None:
    known(host, domain("web1", domid, uuid=UUID), sxp="(vm (name web1))", disks=())
    assert xm(verb, "web1", *words) == (0, "", "")


@each_list
def test_domain_0_has_no_devices(xm: Xm, verb: str) -> None:
    assert xm(verb, "0") == xm(verb, "Domain-0", "-l") == (0, "", "")


@pytest.mark.parametrize("domid", [3, None])
def test_a_domain_that_xm_did_not_start(xm: Xm, host: FakeHypervisor, domid: int | None) -> None:
    known(host, domain("web1", domid, uuid=UUID), sxp="", nics=NICS)
    numbers = [line.split()[0] for line in xm("block-list", "web1").out.splitlines()[1:]]
    assert numbers == ["51712", "2065", "5632", "51744"]
    assert [line.split()[2] for line in xm("network-list", "web1").out.splitlines()[1:]] == [nic.mac for nic in NICS] or (
        domid is None
    )


@each_list
def test_an_unknown_domain_ends_in_3(xm: Xm, verb: str) -> None:
    assert xm(verb, "nosuch") == (3, "", "Error: Domain 'nosuch' does not exist.\n")


@each_list
@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "No domain parameter given"),
        (["-l"], "No domain parameter given"),
        (["a", "b"], "No multiple domain parameters allowed"),
    ],
)
def test_not_one_domain_is_said_on_stdout(xm: Xm, verb: str, words: list[str], line: str) -> None:
    assert xm(verb, *words) == (1, f"{line}\n{usage_text(verb)}", "")


@each_list
def test_an_option_that_is_none(xm: Xm, verb: str) -> None:
    assert xm(verb, "-x", "web1") == (1, usage_text(verb), "Error: option -x not recognized\n")


def test_an_old_name_has_no_usage_of_its_own(xm: Xm) -> None:
    """xend's errors show the usage of the word as typed; an alias is no verb."""
    assert usage_text("vif-list") == short_help_text()
