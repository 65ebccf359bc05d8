"""``xm pci-*``, ``scsi-*`` and ``usb-*``: devices of the host for domains."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from xmcompat import frontends
from xmcompat.errors import ConfigError, OperationError, UsageError
from xmcompat.render import host_device_tables as tables
from xmcompat.toolstack import Toolstack
from xmcompat.xm.devices import one_domain
from xmcompat.xm.numbers import integer
from xmcompat.xm.options import Words
from xmcompat.xm.output import warn

if TYPE_CHECKING:
    from xmcompat.backends.host_devices import UsbPort

NO_DRIVER = "Error: pciback/pci-stub not loaded?\n"


def pci_attach(words: Words) -> int:
    """``xm pci-attach [-o KEY=VALUE ...] DOMAIN ADDRESS [SLOT]``."""
    options = [value for name, value in words.events if name == "options"]
    for option in options:
        if option.count("=") != 1:
            raise OperationError(f"Invalid pci attach option: {option}")
    if not 2 <= len(words.operands) <= 3:
        raise OperationError("Invalid argument for 'xm pci-attach'")
    domain, address, *slot = words.operands
    text = ",".join(("@".join((address, *slot)), *options))
    with Toolstack.open() as toolstack:
        try:
            warn(toolstack.host_devices.attach_pci(domain, text))
        except ConfigError as error:
            raise UsageError(error.message) from None
    return 0


def pci_detach(words: Words) -> int:
    """``xm pci-detach DOMAIN ADDRESS``."""
    domain, address = words.operands
    with Toolstack.open() as toolstack:
        try:
            toolstack.host_devices.detach_pci(domain, address)
        except ConfigError as error:
            raise UsageError(error.message) from None
    return 0


def pci_list(words: Words) -> int:
    """``xm pci-list DOMAIN``; ``-l`` changes nothing."""
    domain = one_domain(words, "pci-list")
    with Toolstack.open() as toolstack:
        info, some = frontends.may_have_host_devices(toolstack, domain)
        found = toolstack.host_devices.pci(domain) if some else []
    rows = [(str(row.address), row.slot, row.function) for row in found]
    if words.has("json"):
        from xmcompat.render import json_values

        sys.stdout.write(json_values.pci(info, rows))
    else:
        sys.stdout.write(tables.pci_table(rows))
    return 0


def pci_assignable(words: Words) -> int:
    """``xm pci-list-assignable-devices``; without a driver that holds devices for guests it says so on stdout."""
    with Toolstack.open() as toolstack:
        addresses = toolstack.host_devices.assignable_pci()
    if words.has("json"):
        from xmcompat.render import json_values

        sys.stdout.write(json_values.assignable_pci(None if addresses is None else [str(one) for one in addresses]))
    else:
        sys.stdout.write(NO_DRIVER if addresses is None else "".join(f"{address}\n" for address in addresses))
    return 0


def scsi_attach(words: Words) -> int:
    """``xm scsi-attach DOMAIN DEVICE PLACE [BACKDOMAIN]``."""
    with Toolstack.open() as toolstack:
        warn(toolstack.host_devices.attach_scsi(*words.operands))
    return 0


def scsi_detach(words: Words) -> int:
    """``xm scsi-detach DOMAIN PLACE``."""
    with Toolstack.open() as toolstack:
        toolstack.host_devices.detach_scsi(*words.operands)
    return 0


def scsi_list(words: Words) -> int:
    """``xm scsi-list [-l] DOMAIN``."""
    domain = one_domain(words, "scsi-list")
    with Toolstack.open() as toolstack:
        info, some = frontends.may_have_host_devices(toolstack, domain)
        domid, rows = toolstack.host_devices.scsi(domain) if some else (info.domid, [])
    if words.has("json"):
        from xmcompat.render import json_values

        sys.stdout.write(json_values.scsi(info, rows))
    elif words.has("long"):
        from xmcompat.config.sxp import pretty

        sys.stdout.write("".join(pretty(tree, 80) for tree in tables.scsi_trees(rows, domid)))
    else:
        sys.stdout.write(tables.scsi_table(rows, domid))
    return 0


def usb_add(words: Words) -> int:
    """``xm usb-add DOMAIN host:BUS.ADDRESS|host:VENDOR:PRODUCT``."""
    with Toolstack.open() as toolstack:
        toolstack.host_devices.add_usb(*words.operands)
    return 0


def usb_del(words: Words) -> int:
    """``xm usb-del DOMAIN host:BUS.ADDRESS|host:VENDOR:PRODUCT``."""
    with Toolstack.open() as toolstack:
        toolstack.host_devices.remove_usb(*words.operands)
    return 0


def usb_attach(words: Words) -> int:
    """``xm usb-attach DOMAIN DEVID PORT BUSID``; most refusals are on stdout, with status 0."""
    from xmcompat.passing_usb import PortRefusal

    with Toolstack.open() as toolstack:
        try:
            warn(toolstack.host_devices.attach_port(*words.operands))
        except PortRefusal as refusal:
            sys.stdout.write(f"{refusal.message}\n")
    return 0


def usb_detach(words: Words) -> int:
    """``xm usb-detach DOMAIN DEVID PORT``."""
    with Toolstack.open() as toolstack:
        warn(toolstack.host_devices.detach_port(*words.operands))
    return 0


def usb_list(words: Words) -> int:
    """``xm usb-list DOMAIN``: its controllers, and what their ports hold."""
    with Toolstack.open() as toolstack:
        info, some = frontends.may_have_host_devices(toolstack, words.operands[0])
        domid, rows = toolstack.host_devices.usb(*words.operands) if some else (info.domid, [])
    if words.has("json"):
        from xmcompat.render import json_values

        sys.stdout.write(json_values.usb(info, [
            (row.number, row.version, [(one.bus, _kind(one.port) if one.port else None) for one in row.ports])
            for row in rows
        ]))  # fmt: skip
        return 0
    shown = [
        (row.number, row.version, [
            (one.bus, tables.usb_name(one.port.vendor, one.port.product, one.port.name) if one.port else "")
            for one in row.ports
        ])
        for row in rows
    ]  # fmt: skip
    sys.stdout.write(tables.usb_table(shown, domid))
    return 0


def usb_assignable(words: Words) -> int:
    """``xm usb-list-assignable-devices``: hubs, and what domains have, are left out."""
    with Toolstack.open() as toolstack:
        ports = toolstack.host_devices.assignable_usb()
    if words.has("json"):
        from xmcompat.render import json_values

        sys.stdout.write(json_values.assignable_usb([(port.path, port.bus, port.address, _kind(port)) for port in ports]))
        return 0
    sys.stdout.write(
        tables.assignable_usb([(port.path, tables.usb_name(port.vendor, port.product, port.name)) for port in ports])
    )
    return 0


def _kind(port: UsbPort) -> tuple[int, int, str]:
    return port.vendor, port.product, port.name


def usb_hc_create(words: Words) -> int:
    """``xm usb-hc-create DOMAIN VERSION PORTS``."""
    domain, version, ports = words.operands
    wanted = integer(version), integer(ports)
    with Toolstack.open() as toolstack:
        warn(toolstack.host_devices.create_controller(domain, *wanted))
    return 0


def usb_hc_destroy(words: Words) -> int:
    """``xm usb-hc-destroy DOMAIN DEVID``."""
    with Toolstack.open() as toolstack:
        toolstack.host_devices.destroy_controller(*words.operands)
    return 0
