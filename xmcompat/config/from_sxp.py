"""An SXP form back to the values of a configuration: what ``xm create -F`` reads. Pure.

A form may be what a dry run, a long list or xend itself has written, of any age.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from xmcompat.config.keys import KEYS, KeyType
from xmcompat.config.specs_more import cpuid_texts
from xmcompat.config.sxp import Tree, children, value
from xmcompat.config.sxp_devices import Told, devices, is_device, lists
from xmcompat.errors import ConfigError
from xmcompat.guest import Value
from xmcompat.notes import Fate, Note

#: Keys that have another name in SXP.
_RENAMED = {"pool_name": "pool", "bootloader_args": "bootargs"}

#: What a running domain tells of itself; no part of its configuration.
RUNTIME = frozenset(
    """domid state status store_mfn console_mfn start_time cpu_time online_vcpus vcpu_avail notes change_home_server
    snapshotname""".split()
)
#: What is read apart.
_STRUCTURES = frozenset(["image", "device", "backend", "security"])
#: The names of the Xen API, under which a managed domain's config.sxp says everything a second time, and what they say.
#: They count where the older names are not there.
_XEN_API = {
    "name_label": "name", "Description": "description", "memory_dynamic_max": "memory", "memory_static_max": "maxmem",
    "memory_dynamic_min": "", "memory_static_min": "", "VCPUs_max": "vcpus", "VCPUs_at_startup": "", "VCPUs_live": "",
    "actions_after_shutdown": "on_poweroff", "actions_after_reboot": "on_reboot", "actions_after_crash": "on_crash",
    "PV_kernel": "kernel", "PV_ramdisk": "ramdisk", "PV_args": "extra", "PV_bootloader": "bootloader",
    "PV_bootloader_args": "bootargs", "HVM_boot_policy": "", "HVM_boot_params": "", "platform": "", "vcpus_params": "",
    "auto_power_on": "on_xend_start",
}  # fmt: skip
_BYTES = ("memory_dynamic_max", "memory_static_max")

_NUMBER = re.compile(r"-?[0-9]{1,18}")
#: Old xend printed some of them as floats.
_WHOLE = re.compile(r"(-?[0-9]{1,18})(?:\.0+)?")
#: What xm writes for every guest whose configuration gives nothing.
_XMS_OWN = {"bootargs": "-q", "videoram": "4"}
_SAID_ELSEWHERE = ("pci", "cpuid", "cpuid_check")


class FormValues(NamedTuple):
    """The values of a form, and notes on what it has besides."""

    values: dict[str, Value]
    notes: tuple[Note, ...]


def values_of(form: Tree, path: str) -> dict[str, Value]:
    """The values that a ``(vm ...)`` or ``(domain ...)`` form stands for. Raises ConfigError."""
    return read_form(form, path).values


def read_form(form: Tree, path: str) -> FormValues:
    """The values that a form stands for; PATH is for messages. Raises ConfigError.

    The first of two equal keys counts, as in xend. Differs from xend: the pins of a running domain that may be the
    automatic ones of its host are left out.
    """
    told = Told(path)
    form = _without_attributes(form, told)
    values = _top(form, told)
    values.update(_scheduling(form))
    values.update(_security(form))
    for image in children(form, "image")[:1]:
        values.update({name: item for name, item in _image(image, told).items() if name != "vcpus" or name not in values})
    values.update(_of_the_api(form, values))
    if "memory" not in values:
        raise ConfigError("Invalid Configuration: memory_dynamic_max must be greater than zero")
    for name, default in _XMS_OWN.items():
        if values.get(name) == default:
            del values[name]
            told.harmless(name, "what xm writes for every guest", default)
    loads = values.get("builder") != "hvm" and bool(values.get("bootloader") or not values.get("kernel"))
    values.update(devices(form, told, by_loader=loads))
    for backend in children(form, "backend"):
        values.update({str(kind[0]): 1 for kind in lists(backend)})
    typed = {name: _typed(name, text) for name, text in values.items()}
    typed.update(_online(form, typed, told))
    _release(form, typed, told)
    return FormValues(typed, tuple(told.notes))


def _top(form: Tree, told: Told) -> dict[str, Value]:
    """The keys of the form itself."""
    values: dict[str, Value] = {}
    seen: set[str] = set()
    for child in form[1:]:
        if not isinstance(child, list) or not child or not isinstance(child[0], str) or not child[0]:
            told.lost("(form)", "it is no (KEY VALUE)", child if isinstance(child, str) else "")
            continue
        name = _RENAMED.get(child[0], child[0])
        if name in _STRUCTURES or is_device(child):
            continue
        if name == "vcpu_avail" and len(child) > 1 and name not in seen:
            seen.add(name)
            continue  # told where it is read
        if name in RUNTIME:
            told.harmless(name, "it is of the domain that ran")
        elif name in _XEN_API:
            told.harmless(name, "it is the Xen API's; it counts where no older key says the same")
        elif len(child) < 2:
            told.harmless(name, "it has no value")
        elif name in values:
            if _plain(child[1]) != values[name]:
                told.lost(name, "it is there twice; the first counts, as in xend")
        else:
            values[name] = [*cpuid_texts(child[1])] if name in ("cpuid", "cpuid_check") else _plain(child[1])
    return values


def _without_attributes(form: Tree, told: Told) -> Tree:
    """FORM without the lists of attributes, (HEAD (@ (KEY VALUE) ...) ...), which are passed over as xend does."""
    body = form[1:]
    if body and isinstance(body[0], list) and body[0][:1] == ["@"]:
        for pair in lists(body[0]):
            told.harmless(f"@{pair[0]}", "an attribute of the form; xend does not look at it")
        body = body[1:]
    return [*form[:1], *(_without_attributes(child, told) if isinstance(child, list) else child for child in body)]


def _of_the_api(form: Tree, values: dict[str, Value]) -> dict[str, Value]:
    """What only the names of the Xen API say."""
    found: dict[str, Value] = {}
    for key, name in _XEN_API.items():
        text = value(form, key)
        if name and name not in values and isinstance(text, str) and text:
            if key in _BYTES:
                found[name] = str(int(text) // 1024**2) if _NUMBER.fullmatch(text) else text
            elif key == "auto_power_on":
                found.update({name: "start"} if text in ("True", "1") else {})
            else:
                found[name] = text
    for row in lists(value(form, "platform", [])):
        if len(row) == 2 and str(row[0]) in KEYS and row[0] not in values:
            found[str(row[0])] = _plain(row[1])
    order = [row[1] for row in lists(value(form, "HVM_boot_params", [])) if row[0] == "order" and len(row) == 2]
    if order and "boot" not in values:
        found["boot"] = str(order[0])
    if "builder" not in values and value(form, "HVM_boot_policy"):
        found["builder"] = "hvm"
    return found


def _scheduling(form: Tree) -> dict[str, Value]:
    """Weight, cap and pins of the Xen API's form, which win over the older names."""
    rows = value(form, "vcpus_params", [])
    found = {str(row[0]): str(row[1]) for row in lists(rows) if len(row) == 2}
    names = {"weight": "cpu_weight", "cap": "cpu_cap"}
    values: dict[str, Value] = {new: found[old] for old, new in names.items() if old in found}
    pins = {int(name[6:]): text for name, text in found.items() if re.fullmatch("cpumap[0-9]{1,4}", name)}
    vcpus = value(form, "vcpus", value(form, "VCPUs_max", "1"))
    if pins and isinstance(vcpus, str) and re.fullmatch("[0-9]{1,4}", vcpus):
        values["cpus"] = [pins.get(number, "") for number in range(int(vcpus))]
    return values


def _security(form: Tree) -> dict[str, Value]:
    for row in lists(value(form, "security", [])):
        if row[0] == "access_control":
            pairs = [f"{key}={value(row, key)}" for key in ("policy", "label") if value(row, key)]
            return {"access_control": [",".join(pairs)]}
    return {}


def _online(form: Tree, values: dict[str, Value], told: Told) -> dict[str, Value]:
    """vcpus and maxvcpus where a mask keeps some vcpus offline."""
    mask, vcpus = value(form, "vcpu_avail"), values.get("vcpus", 1)
    if mask is None:
        return {}
    bits = 0
    if isinstance(mask, str) and mask.isdecimal() and len(mask) < 1300 and isinstance(vcpus, int) and 0 < vcpus <= 4096:
        bits = int(mask) & ((1 << vcpus) - 1)
    online = bits.bit_count()
    if not online:
        told.lost("vcpu_avail", "it is no mask of vcpus that are online; all of them are", mask)
        return {}
    assert isinstance(vcpus, int)
    if bits & bits + 1:
        reason = f"{online} of {vcpus} vcpus are online at the start: the first ones, not those of the mask"
        told.became("vcpu_avail", Fate.APPROXIMATED, reason, mask)
    else:
        told.became("vcpu_avail", Fate.CARRIED, f"{online} of {vcpus} vcpus are online at the start", mask)
    # the mask of a new guest stands for maxvcpus; xend shows one for every domain
    return {"maxvcpus": vcpus, "vcpus": online} if online < vcpus + (form[0] == "vm") else {}


def _release(form: Tree, values: dict[str, Value], told: Told) -> None:
    """Take away the pins of a domain that ran, if all its vcpus have the same CPUs: Xen chooses so by itself."""
    pins = values.get("cpus")
    if value(form, "domid") is None or not isinstance(pins, list) or not pins:
        return
    first = str(pins[0])
    if all(item == pins[0] for item in pins) and "," in first:
        del values["cpus"]
        told.lost(
            "cpus", "the domain ran, and Xen may have chosen them by itself; the guest may use every CPU", first,
            f"if they were chosen, write cpus = '{first}'",
        )  # fmt: skip


def _plain(element: object) -> Value:
    if isinstance(element, list):
        return [str(item) if not isinstance(item, list) else ",".join(map(str, item)) for item in element]
    return str(element)


def _typed(name: str, text: Value) -> Value:
    """Numbers are numbers again where the key is one."""
    key = KEYS.get(name)
    numeric = key is not None and key.type in (KeyType.INT, KeyType.BOOL, KeyType.LONG)
    if numeric and isinstance(text, str) and (whole := _WHOLE.fullmatch(text)):
        return int(whole[1])
    if name == "cpus" and isinstance(text, list) and not any(text):
        return ""
    return text


def _image(image: Tree, told: Told) -> dict[str, Value]:
    body = image[1] if len(image) > 1 and isinstance(image[1], list) and image[1] else ["linux"]
    values: dict[str, Value] = {"builder": str(body[0])}
    for child in body[1:]:
        if not isinstance(child, list) or not child or not isinstance(child[0], str) or not child[0]:
            told.lost("image", "it is no (KEY VALUE)", child if isinstance(child, str) else "")
            continue
        name = child[0]
        if name in RUNTIME or name in _SAID_ELSEWHERE:
            told.harmless(f"image.{name}", "it is of the domain that ran, or stands elsewhere in the form as well")
        elif len(child) < 2:
            told.harmless(f"image.{name}", "it has no value")
        elif name == "args":
            values["extra"] = str(child[1])
        elif name == "ip":
            values.update(_ip(str(child[1])))
        elif name not in values:
            values[name] = _plain(child[1])
    return values


def _ip(text: str) -> dict[str, Value]:
    names = ("ip", "nfs_server", "gateway", "netmask", "hostname", "interface", "dhcp")
    found: dict[str, Value] = {name: field for name, field in zip(names, text.split(":"), strict=False) if field}
    if found.get("nfs_server") == "127.0.255.255":
        del found["nfs_server"]
    return found
