"""``xm pci-list``, ``scsi-list``, ``usb-list`` and the lists of what can be given away: byte for byte. Pure.

Numbers and paths of the back ends are as Xen's would look; a device of a domain that is there is connected (state 4).
"""

from __future__ import annotations

from collections.abc import Sequence

from xmcompat.render.device_tables import CONNECTED, UNKNOWN

Tree = list[object]

SCSI_HEADER = f"{'Idx':<3} {'BE':<3} {'state':<5} {'host':<4}  {'phy-hctl':<10} {'phy':<5} {'vir-hctl':<10} {'devstate':<4}"
USB_HEADER = f"{'Idx':<3} {'BE':<3} {'state':<5} {'usb-ver':<7}  {'BE-path':<30}"
_VERSIONS = {1: "USB1.1", 2: "USB2.0"}

#: (address, slot and function in the guest), (adapter, place on the host, name there, place in the guest),
#: (number, version, (what the port is to hold, what of that is there) of each port)
Pci = tuple[str, int | None, int]
Scsi = tuple[int, str, str, str]
Usb = tuple[int, int, Sequence[tuple[str, str]]]


def pci_table(rows: Sequence[Pci]) -> str:
    """With the slots of the guest where at least one is told; nothing at all where there are no ROWS."""
    if not rows:
        return ""
    if all(slot is None for _, slot, _ in rows):
        return "".join(f"{line}\n" for line in ("Device", *(address for address, _, _ in rows)))
    shown = ("-" if slot is None else f"{slot:02x}.{function:x}" for _, slot, function in rows)
    lines = (f"{where:<4} {row[0]}" for where, row in zip(shown, rows, strict=True))
    return "".join(f"{line}\n" for line in ("Vdev Device", *lines))


def scsi_table(rows: Sequence[Scsi], domid: int | None) -> str:
    """Nothing at all where there are no ROWS; DOMID is None for a domain that is off."""
    back, state, front = (-1, -1, UNKNOWN) if domid is None else (0, CONNECTED, str(CONNECTED))
    lines = [
        f"{adapter:<3d} {back:<3d} {state:<5d} {0:<4d}  {host:<10} {name or UNKNOWN:<5} {guest:<10} {front:<4}"
        for adapter, host, name, guest in rows
    ]
    return "".join(f"{line}\n" for line in (SCSI_HEADER, *lines)) if lines else ""


def scsi_trees(rows: Sequence[Scsi], domid: int | None) -> list[Tree]:
    """``(ADAPTER ((dev ...) ...))`` for ``--long``, one for each adapter that the guest sees."""
    trees = []
    for adapter in sorted({row[0] for row in rows}):
        devs: list[object] = []
        for _, host, name, guest in (row for row in rows if row[0] == adapter):
            state: Tree = [["state", CONNECTED], ["frontstate", CONNECTED]] if domid is not None else []
            devs.append(["dev", ["devid", adapter], ["p-dev", host], ["p-devname", name], ["v-dev", guest], *state])
        shared: Tree = [["feature-host", 0]]
        if domid is not None:
            path = f"/local/domain/0/backend/vscsi/{domid}/{adapter}"
            shared += [["backend-id", 0], ["state", CONNECTED], ["backend", path]]
        trees.append([adapter, [*devs, *shared]])
    return trees


def usb_table(rows: Sequence[Usb], domid: int | None) -> str:
    """A table of its own for each controller, with a line for each of its ports."""
    lines = []
    for number, version, ports in rows:
        back, state = (-1, -1) if domid is None else (0, CONNECTED)
        path = UNKNOWN if domid is None else f"/local/domain/0/backend/vusb/{domid}/{number}"
        lines += [USB_HEADER, f"{number:<3d} {back:<3d} {state:<5d} {_VERSIONS[version]:<7} {path:<30}  "]
        lines += [f"port {port}: {bus}{f' [{there}]' if there else ''}" for port, (bus, there) in enumerate(ports, 1)]
    return "".join(f"{line}\n" for line in lines)


def usb_name(vendor: int, product: int, name: str) -> str:
    """What is plugged in, in the words of ``lsusb``."""
    return f"ID {vendor:04x}:{product:04x} {name}"


def assignable_usb(ports: Sequence[tuple[str, str]]) -> str:
    """A line for each (path, name)."""
    return "".join(f"{path:<13}: {name}\n" for path, name in ports)
