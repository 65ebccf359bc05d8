"""An SXP form back to the values of a configuration: ``xm create -F``. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from xmcompat.config.keys import KEYS, KeyType
from xmcompat.config.specs_more import cpuid_texts, pci_texts
from xmcompat.config.sxp import Tree, children, value
from xmcompat.errors import ConfigError
from xmcompat.guest import Value

#: Keys that have another name in SXP.
_RENAMED = {"pool_name": "pool", "bootloader_args": "bootargs"}

#: What a running domain tells of itself; no part of its configuration.
RUNTIME = frozenset(
    "domid state status store_mfn console_mfn start_time cpu_time online_vcpus vcpu_avail notes".split()
)
#: What is read apart, or stands in the form a second time under the names of the Xen API (a managed domain's
#: config.sxp), where the older names win.
_STRUCTURES = frozenset(
    """image device backend security vcpus_params PV_kernel PV_ramdisk PV_args PV_bootloader PV_bootloader_args
    HVM_boot_policy HVM_boot_params memory_static_min memory_static_max memory_dynamic_min memory_dynamic_max
    VCPUs_max VCPUs_at_startup VCPUs_live actions_after_shutdown actions_after_reboot actions_after_crash platform
    name_label Description""".split()
)
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_VIF_KEYS = ("mac", "bridge", "ip", "script", "type", "model", "vifname", "rate", "backend", "accel", "policy", "label")
_VFB_RUNTIME = ("uuid", "location", "other_config", "xauthority")
#: What xm writes for every guest whose configuration gives nothing.
_XMS_OWN = {"bootargs": "-q", "videoram": "4"}


def values_of(form: Tree, path: str) -> dict[str, Value]:
    """The values that a ``(vm ...)`` or ``(domain ...)`` form stands for. Raises ConfigError.

    The first of two equal keys counts, as in xend.
    """
    values: dict[str, Value] = {}
    for child in form[1:]:
        if not isinstance(child, list) or len(child) < 2 or not isinstance(child[0], str):
            continue
        name = _RENAMED.get(child[0], child[0])
        if name in values or name in RUNTIME | _STRUCTURES:
            continue
        values[name] = [*cpuid_texts(child[1])] if name in ("cpuid", "cpuid_check") else _plain(name, child[1])
    if "memory" not in values:
        raise ConfigError("Invalid Configuration: memory_dynamic_max must be greater than zero")
    values.update(_scheduling(form))
    values.update(_security(form))
    for image in children(form, "image")[:1]:
        values.update(_image(image))
    for name, default in _XMS_OWN.items():
        if values.get(name) == default:
            del values[name]
    values.update(_devices(form, path))
    for backend in children(form, "backend"):
        values.update({str(kind[0]): 1 for kind in backend[1:] if isinstance(kind, list) and kind[:1]})
    typed = {name: _typed(name, text) for name, text in values.items()}
    typed.update(_online(form, typed))
    return typed


def _scheduling(form: Tree) -> dict[str, Value]:
    """Weight and cap of the Xen API's form, which win over the older names."""
    rows = value(form, "vcpus_params", [])
    found = {str(row[0]): str(row[1]) for row in _lists(rows) if len(row) == 2}
    names = {"weight": "cpu_weight", "cap": "cpu_cap"}
    return {new: found[old] for old, new in names.items() if old in found}


def _security(form: Tree) -> dict[str, Value]:
    for row in _lists(value(form, "security", [])):
        if row[0] == "access_control":
            return {"access_control": [_joined(row, ["policy", "label"])]}
    return {}


def _online(form: Tree, values: dict[str, Value]) -> dict[str, Value]:
    """vcpus and maxvcpus where a mask keeps some vcpus offline."""
    mask, vcpus = value(form, "vcpu_avail"), values.get("vcpus", 1)
    if not isinstance(mask, str) or not mask.isdecimal() or len(mask) > 1300 or not isinstance(vcpus, int):
        return {}
    online = bin(int(mask))[2:][::-1][:vcpus].count("1") if 0 < vcpus <= 4096 else 0
    # the mask of a new guest stands for maxvcpus; xend shows one for every domain
    return {"maxvcpus": vcpus, "vcpus": online} if 0 < online < vcpus + (form[0] == "vm") else {}


def _lists(element: object) -> list[Tree]:
    """The lists in an element that have something in them."""
    return [item for item in element if isinstance(item, list) and item] if isinstance(element, list) else []


def _plain(name: str, element: object) -> Value:
    if isinstance(element, list):
        return [str(item) if not isinstance(item, list) else ",".join(map(str, item)) for item in element]
    return str(element)


def _typed(name: str, text: Value) -> Value:
    """Numbers are numbers again where the key is one."""
    key = KEYS.get(name)
    numeric = key is not None and key.type in (KeyType.INT, KeyType.BOOL, KeyType.LONG)
    if numeric and isinstance(text, str) and _NUMBER.fullmatch(text):
        return int(text)
    if name == "cpus" and isinstance(text, list) and not any(text):
        return ""
    return text


def _image(image: Tree) -> dict[str, Value]:
    body = image[1] if len(image) > 1 and isinstance(image[1], list) else ["linux"]
    values: dict[str, Value] = {"builder": str(body[0])}
    for child in body[1:]:
        if isinstance(child, list) and len(child) > 1 and isinstance(child[0], str) and child[0] not in RUNTIME:
            name, element = child[0], child[1]
            if name == "args":
                values["extra"] = str(element)
            elif name == "ip":
                values.update(_ip(str(element)))
            elif name not in ("vcpus", "pci", "cpuid", "cpuid_check") and name not in values:
                values[name] = _plain(name, element)
    return values


def _ip(text: str) -> dict[str, Value]:
    names = ("ip", "nfs_server", "gateway", "netmask", "hostname", "interface", "dhcp")
    found: dict[str, Value] = {name: field for name, field in zip(names, text.split(":"), strict=False) if field}
    if found.get("nfs_server") == "127.0.255.255":
        del found["nfs_server"]
    return found


def _devices(form: Tree, path: str) -> dict[str, Value]:
    found: dict[str, list[Value]] = {}
    for wrapped in children(form, "device"):
        for device in _lists(wrapped)[:1]:
            kind = str(device[0])
            if kind in ("vbd", "tap", "tap2"):
                found.setdefault("disk", []).append(_disk(device, path))
            elif kind not in ("vkbd", "console"):
                found.setdefault(kind, []).extend(_texts(kind, device))
    return {kind: texts for kind, texts in found.items() if texts}


def _texts(kind: str, device: Tree) -> Sequence[Value]:
    """The device as the option of its name would say it."""
    names = list(dict.fromkeys(str(pair[0]) for pair in _lists(device)))
    if kind == "vif":
        return [_joined(device, [key for key in _VIF_KEYS if key != "backend" or _get(device, key) != "0"])]
    if kind == "vfb":
        # an empty password says that there is none, a missing one leaves the host's
        return [_joined(device, [name for name in names if name not in _VFB_RUNTIME], empty=("vncpasswd",))]
    if kind == "pci":
        return pci_texts(device)
    if kind == "vscsi":
        pairs = [(_get(dev, "p-dev"), _get(dev, "v-dev"), _get(device, "backend")) for dev in children(device, "dev")]
        return [",".join(filter(None, pair)) for pair in pairs]
    if kind == "vusb":
        ports = [f"port_{name[5:]}={_get(device, name)}" for name in names if name.startswith("port-")]
        return [",".join([f"usbver={_get(device, 'usb-ver')}", f"numports={_get(device, 'num-ports')}", *ports])]
    if kind == "ioports":
        return ["-".join(filter(None, (_get(device, "from"), _get(device, "to"))))]
    if kind == "irq":
        return [_get(device, "irq")]
    return [_joined(device, [name for name in names if name not in ("uuid", "backend") or kind == "vtpm"])]


def _get(device: Tree, key: str) -> str:
    found = value(device, key, "")
    return "" if isinstance(found, list) else str(found)


def _disk(device: Tree, path: str) -> str:
    uname, dev = _get(device, "uname"), _get(device, "dev")
    if not dev:
        raise ConfigError("a disk has no device name (dev)", path=path)
    mode, backend, abi = _get(device, "mode") or "r", _get(device, "backend"), _get(device, "protocol")
    if device[0] == "tap2" and uname.startswith("tap:"):
        uname = "tap2:" + uname.removeprefix("tap:")
    fields = [uname, dev, mode]
    if abi:
        fields += [backend or "0", abi]
    elif backend:
        fields.append(backend)
    return ",".join(map(_one, fields))


def _joined(device: Tree, keys: list[str], *, empty: Sequence[str] = ()) -> str:
    """``key=value,...`` of those KEYS that have a value; those of EMPTY in any case."""
    return ",".join(f"{key}={_one(_get(device, key))}" for key in keys if key in empty or _get(device, key))


def _one(text: str) -> str:
    """TEXT, which must stand alone between commas."""
    if "," in text:
        raise ConfigError(f"'{text}' has a comma, which no setting of a device can have")
    return text
