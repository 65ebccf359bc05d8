"""pci-list, scsi-list, usb-list: byte for byte."""

from __future__ import annotations

from xmcompat.render import host_device_tables as tables

PCI = """\
Vdev Device
05.0 0000:01:00.0
-    0000:02:1f.3
"""
SCSI = """\
Idx BE  state host  phy-hctl   phy   vir-hctl   devstate
0   0   4     0     2:0:0:0    sdc   0:0:0:0    4   \n\
"""
SCSI_OFF = """\
Idx BE  state host  phy-hctl   phy   vir-hctl   devstate
1   -1  -1    0     12:0:0:100 ??    1:0:0:0    ??  \n\
"""
USB = """\
Idx BE  state usb-ver  BE-path                       \n\
0   0   4     USB2.0  /local/domain/0/backend/vusb/3/0  \n\
port 1: 1-2 [ID 0781:5567 Cruzer Blade]
port 2: 1-3
port 3: \n\
Idx BE  state usb-ver  BE-path                       \n\
1   0   4     USB1.1  /local/domain/0/backend/vusb/3/1  \n\
port 1: \n\
"""
USB_OFF = """\
Idx BE  state usb-ver  BE-path                       \n\
0   -1  -1    USB2.0  ??                              \n\
port 1: \n\
"""


def test_slots_are_shown_where_one_is_told() -> None:
    assert tables.pci_table([("0000:01:00.0", 5, 0), ("0000:02:1f.3", None, 0)]) == PCI
    assert tables.pci_table([("0000:01:00.0", None, 0)]) == "Device\n0000:01:00.0\n"


def test_nothing_at_all_where_there_are_no_devices() -> None:
    assert tables.pci_table([]) == tables.scsi_table([], 3) == tables.usb_table([], 3) == ""
    assert tables.scsi_trees([], 3) == []


def test_scsi_devices_of_a_domain_that_is_there_and_of_one_that_is_off() -> None:
    assert tables.scsi_table([(0, "2:0:0:0", "sdc", "0:0:0:0")], 3) == SCSI
    assert tables.scsi_table([(1, "12:0:0:100", "", "1:0:0:0")], None) == SCSI_OFF


def test_a_form_for_each_scsi_adapter() -> None:
    trees = tables.scsi_trees([(0, "2:0:0:0", "sdc", "0:0:0:0"), (2, "2:0:0:1", "sdd", "2:0:0:0")], 3)
    assert [tree[0] for tree in trees] == [0, 2]
    assert trees[1] == [2, [
        ["dev", ["devid", 2], ["p-dev", "2:0:0:1"], ["p-devname", "sdd"], ["v-dev", "2:0:0:0"], ["state", 4],
         ["frontstate", 4]],
        ["feature-host", 0], ["backend-id", 0], ["state", 4], ["backend", "/local/domain/0/backend/vscsi/3/2"],
    ]]  # fmt: skip


def test_a_table_for_each_usb_controller_with_its_ports() -> None:
    stick = tables.usb_name(0x781, 0x5567, "Cruzer Blade")
    rows = [(0, 2, [("1-2", stick), ("1-3", ""), ("", "")]), (1, 1, [("", "")])]
    assert tables.usb_table(rows, 3) == USB
    assert tables.usb_table([(0, 2, [("", "")])], None) == USB_OFF


def test_what_can_be_given_away_on_usb() -> None:
    assert tables.assignable_usb([("1-2.3", tables.usb_name(0x781, 1, "Cruzer"))]) == "1-2.3        : ID 0781:0001 Cruzer\n"
