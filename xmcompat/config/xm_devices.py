"""The devices that xm's list options name, as the typed parts of a guest. Pure.

Errors are xm's, word for word. Source: xm's create command and xend, Xen 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from xmcompat.config.specs import is_on, parse_disk, parse_vif, vfb_from, vfb_values
from xmcompat.config.specs_more import pci_trees, vif2_tree, vscsi_tree, vtpm_tree, vusb_tree
from xmcompat.config.sxp import children, value
from xmcompat.config.xm_values import Values, entries, number
from xmcompat.errors import ConfigError
from xmcompat.guest import (
    GuestKind,
    PciDevice,
    ScsiDevice,
    Tpm,
    UsbController,
    UsbDevice,
    Value,
    Vbd,
    Vfb,
    Vif,
)
from xmcompat.vdev import vdev_number

Tree = list[object]

#: Arbitrary, above what any guest has.
MOST_NICS = 64

#: Set in the place of a function whose slot in the guest is left to Xen.
_AUTOMATIC_SLOT = 0x100


def disks(known: Values) -> tuple[Vbd, ...]:
    """Those of ``disk``. Raises ConfigError for a back end or a device name that is there twice."""
    found: list[Vbd] = []
    unames: set[str] = set()
    numbers: set[int | None] = set()
    for text in entries(known, "disk"):
        disk = parse_disk(text)
        vdev = vdev_number(disk.vdev)
        if disk.uname and disk.uname in unames:
            raise ConfigError(f'The file "{disk.uname}" is already used')
        if vdev in numbers:
            raise ConfigError(f'The device "{disk.vdev}" is already defined')
        unames.add(disk.uname)
        numbers.add(vdev)
        found.append(disk)
    return tuple(found)


def vifs(known: Values) -> tuple[Vif, ...]:
    """Those of ``vif``, as many more as ``nics`` asks for, then those of ``vif2``, which are ordinary ones here."""
    found = [parse_vif(text) for text in entries(known, "vif")]
    wanted = number(known, "nics", -1)
    if wanted > MOST_NICS:
        raise ConfigError(f"nics = {wanted} is not a number of interfaces")
    found += [Vif()] * max(0, wanted - len(found))
    found += [_second_kind(text) for text in entries(known, "vif2")]
    macs: set[str] = set()
    for vif in found:
        if vif.mac and vif.mac.lower() in macs:
            raise ConfigError(f'The mac "{vif.mac}" is already defined')
        macs.add(vif.mac.lower())
    return tuple(found)


def _second_kind(text: str) -> Vif:
    tree = vif2_tree(text)
    return Vif(mac=_text(tree, "front_mac"), bridge=_text(tree, "bridge"), backend=_text(tree, "backend"))


def vfbs(known: Values, kind: GuestKind) -> tuple[Vfb, ...]:
    """Those of ``vfb``; else, for a guest that boots by BIOS, the display of ``vnc`` and ``sdl``."""
    found = tuple(vfb_from(vfb_values(text)) for text in entries(known, "vfb"))
    if found or kind is not GuestKind.HVM or is_on(known.get("nographic", 0)):
        return found
    if not is_on(known.get("vnc", 0)) and not is_on(known.get("sdl", 0)):
        return ()
    names = ("vnc", "sdl", "vnclisten", "vncdisplay", "vncunused", "keymap", "videoram")
    values = {key: str(known[key]) for key in names if key in known}
    if known.get("vncpasswd"):  # an empty one leaves the host's default
        values["vncpasswd"] = str(known["vncpasswd"])
    return (vfb_from(values),)


def serials(known: Values) -> tuple[str, ...]:
    """The serial ports; "none" is none."""
    given = known.get("serial", "")
    texts: Sequence[Value] = given if isinstance(given, list) else [given]
    return tuple(str(text) for text in texts if text not in ("", "none"))


def pci_devices(known: Values) -> tuple[PciDevice, ...]:
    """The functions of ``pci``, one by one. Raises ConfigError for one that is there twice."""
    found: dict[tuple[int, int, int, int | None], PciDevice] = {}
    for text in entries(known, "pci"):
        for tree in pci_trees(text):
            device = _pci_device(tree)
            place = (device.domain, device.bus, device.slot, device.function)
            if place in found:
                raise ConfigError(f"the PCI device {text} is there twice")
            found[place] = device
    return tuple(found.values())


def _pci_device(tree: Tree) -> PciDevice:
    domain, bus, slot, place = (int(_text(tree, key), 16) for key in ("domain", "bus", "slot", "vdevfn"))
    function = _text(tree, "func")
    options = [(str(option[0]), str(option[1])) for opts in children(tree, "opts") for option in opts[1:]
               if isinstance(option, list)]  # fmt: skip
    return PciDevice(
        domain=domain, bus=bus, slot=slot, function=None if function == "*" else int(function, 16),
        virtual_slot=None if place & _AUTOMATIC_SLOT else place >> 3, options=tuple(options),
    )  # fmt: skip


def usb_controllers(known: Values) -> tuple[UsbController, ...]:
    """One for each entry of ``vusb``."""
    trees = [vusb_tree(text) for text in entries(known, "vusb")]
    return tuple(UsbController(version=int(_text(tree, "usb-ver")), ports=int(_text(tree, "num-ports"))) for tree in trees)


def usb_devices(known: Values, kind: GuestKind) -> tuple[UsbDevice, ...]:
    """Those that ports of ``vusb`` hold; for a guest that boots by BIOS, those of the host that ``usbdevice`` names."""
    found = []
    for index, text in enumerate(entries(known, "vusb")):
        for pair in vusb_tree(text)[3:]:
            assert isinstance(pair, list)
            if pair[1]:
                port = int(str(pair[0]).removeprefix("port-"))
                found.append(UsbDevice(bus_id=str(pair[1]), controller=index, port=port))
    if kind is GuestKind.HVM and (given := known.get("usbdevice", "")):
        from xmcompat.config.xl_specs import host_usb

        texts: Sequence[Value] = given if isinstance(given, list) else [given]
        found += [device for text in texts if (device := host_usb(str(text)))]
    return tuple(found)


def scsi_devices(known: Values) -> tuple[ScsiDevice, ...]:
    """Those of ``vscsi``."""
    found = []
    for text in entries(known, "vscsi"):
        tree = vscsi_tree(text)
        (device,) = children(tree, "dev")
        found.append(
            ScsiDevice(host=_text(device, "p-dev"), guest=_text(device, "v-dev"), backend=_text(tree, "backend"))
        )
    return tuple(found)


def tpms(known: Values) -> tuple[Tpm, ...]:
    """The first of ``vtpm``: xm follows no other."""
    return tuple(
        Tpm(**{key: _text(vtpm_tree(text), key) for key in ("instance", "backend", "type", "uuid")})
        for text in entries(known, "vtpm")[:1]
    )


def _text(tree: Tree, key: str) -> str:
    return str(value(tree, key, ""))
