"""Devices of the host that domains are given: the operations beneath ``xm pci-attach``, ``scsi-attach``, ``usb-attach``.

A device is given to the domain that runs, and to the definition of a known one; its form in the record is kept in step.
What the host has is read below /sys. Domain-0 is the host itself, and has no such devices.
"""

from __future__ import annotations

from xmcompat.passing_pci import PciPassing
from xmcompat.passing_scsi import ScsiPassing
from xmcompat.passing_usb import UsbPassing


class HostDevices(PciPassing, ScsiPassing, UsbPassing):
    """The operations over a TOOLSTACK. A setter returns what the operator should know: sentences, mostly none."""
