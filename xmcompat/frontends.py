"""The devices of one domain as Xen counts them, for the lists of devices: from its machine and from its record."""

from __future__ import annotations

from xmcompat.backends import devices_glance, glance
from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.config.sxp import children, value
from xmcompat.describe import recorded_form
from xmcompat.errors import DomainNotFound
from xmcompat.render.device_tables import FrontEnd, Tree
from xmcompat.toolstack import DOM0_UUID, Toolstack
from xmcompat.vdev import split_vdev, vdev_name, vdev_number

#: The classes of one list.
DISKS, NICS, TPMS = ("vbd", "tap", "tap2"), ("vif",), ("vtpm",)
#: The classes of devices of the host.
OF_HOST = ("pci", "vscsi", "vusb")


def front_ends(toolstack: Toolstack, designation: str, kinds: tuple[str, ...]) -> tuple[DomainInfo, list[FrontEnd]]:
    """The domain, and its devices of these KINDS: those that it has where it is there, else those configured.

    Domain-0 has none. Raises DomainNotFound.
    """
    info = toolstack.find(designation)
    if info.uuid == DOM0_UUID:
        return info, []
    try:
        xml = toolstack.hypervisor.domain_xml(info.uuid)
    except DomainNotFound:
        raise DomainNotFound(designation) from None
    domain = glance.read(xml)
    form = recorded_form(devices_glance.record(domain))
    configured = _configured(info, _form_of(xml) if form is None else form, kinds)
    if info.domid is None:
        return info, configured
    if kinds == DISKS:
        return info, _disks(devices_glance.disks(domain), {device.number: device.kind for device in configured})
    if kinds == NICS:
        nics = devices_glance.nics(domain)
        return info, [FrontEnd("vif", number, place, mac=mac) for place, (number, mac) in enumerate(nics)]
    return info, [FrontEnd("vtpm", 0, 0)] if devices_glance.has_tpm(domain) else []


def may_have_host_devices(toolstack: Toolstack, designation: str) -> tuple[DomainInfo, bool]:
    """The domain, and whether it may have devices of the host: a quick look, since most have none.

    Raises DomainNotFound.
    """
    info = toolstack.find(designation)
    if info.uuid == DOM0_UUID:
        return info, False
    try:
        domain = glance.read(toolstack.hypervisor.domain_xml(info.uuid))
    except DomainNotFound:
        raise DomainNotFound(designation) from None
    if domain.first("devices/hostdev") is not None:
        return info, True
    form = recorded_form(devices_glance.record(domain)) or []
    kinds = [element[1] for element in children(form, "device") if len(element) > 1]
    return info, any(isinstance(device, list) and device[:1] in ([kind] for kind in OF_HOST) for device in kinds)


def _form_of(xml: str) -> Tree:
    """The form of a domain that xm did not start, as far as its XML tells it."""
    from xmcompat.backends import domain_xml
    from xmcompat.render.domain_sxp import form_of

    return form_of(domain_xml.parse(xml))


def _configured(info: DomainInfo, form: Tree, kinds: tuple[str, ...]) -> list[FrontEnd]:
    """What the ``(vm ...)`` FORM says, with a uuid for each device, as ``list --long`` shows it."""
    found: list[FrontEnd] = []
    counts: dict[str, int] = {}
    for element in children(form, "device"):
        device = element[1] if len(element) > 1 else None
        if not isinstance(device, list) or not device or device[0] not in kinds:
            continue
        kind = str(device[0])
        place = counts.get(kind, 0)
        counts[kind] = place + 1
        uuid = value(device, "uuid") or _device_uuid(info, f"{kind}/{place}")
        own = [child for child in device[1:] if not (isinstance(child, list) and child[:1] == ["uuid"])]
        name = str(value(device, "dev", ""))
        number = disk_number(name) if kinds == DISKS else place
        if number is not None:
            found.append(
                FrontEnd(
                    kind, number, len(found), mac=str(value(device, "mac", "")), cdrom=name.endswith(":cdrom"),
                    form=[kind, *own, ["uuid", uuid]],
                )
            )  # fmt: skip
    return found


def _device_uuid(info: DomainInfo, place: str) -> str:
    from uuid import UUID, uuid5

    return str(uuid5(UUID(info.uuid), place))


def _disks(found: list[tuple[str, bool]], kinds: dict[int, str]) -> list[FrontEnd]:
    """Those that the domain has now; KINDS are the classes of those that were configured, which come first."""
    numbered = [(number, cdrom) for name, cdrom in found if (number := disk_number(name)) is not None]
    numbered = [(part, cdrom) for number, cdrom in numbered for part in _parts(number, kinds, dict(numbered))]
    order = {number: place for place, number in enumerate(kinds)}
    numbered.sort(key=lambda pair: order.get(pair[0], len(order)))
    return [
        FrontEnd(kinds.get(number, "vbd"), number, place, cdrom=cdrom) for place, (number, cdrom) in enumerate(numbered)
    ]


def _parts(number: int, kinds: dict[int, str], there: dict[int, bool]) -> list[int]:
    """The disk itself; where it was not configured, but partitions of it were that are not THERE by themselves, those: it
    is made of them."""
    whole = split_vdev(vdev_name(number) or "")
    parts = [one for one in kinds if one not in there and split_vdev(vdev_name(one) or "")[:2] == whole[:2]]
    return parts if whole[0] and number not in kinds and parts else [number]


def disk_number(name: str) -> int | None:
    """The number of "ioemu:hdc:cdrom"; "vda", which is KVM's, has that of "xvda"."""
    plain = name.removeprefix("ioemu:").partition(":")[0]
    return vdev_number(f"x{plain}" if plain.startswith("vd") else plain)
