"""An SXP form back to the values of a configuration: ``xm create -F``. Pure."""

from __future__ import annotations

from xmcompat.config.keys import KEYS, KeyType
from xmcompat.config.sxp import Tree, children, value
from xmcompat.errors import ConfigError
from xmcompat.guest import Value

#: Keys that have another name in SXP.
_RENAMED = {"pool_name": "pool", "bootloader_args": "bootargs"}

#: What a running domain tells of itself; no part of its configuration.
RUNTIME = frozenset(
    ["domid", "state", "status", "store_mfn", "console_mfn", "start_time", "cpu_time", "online_vcpus", "vcpu_avail", "notes"]
)
_STRUCTURES = frozenset(["image", "device", "backend", "security", "vcpus_params"])
_VIF_KEYS = ("mac", "bridge", "ip", "script", "type", "model", "vifname", "rate", "backend", "accel", "policy", "label")
_VFB_RUNTIME = ("uuid", "location", "other_config", "xauthority")


def values_of(form: Tree, path: str) -> dict[str, Value]:
    """The values that a ``(vm ...)`` or ``(domain ...)`` form stands for. Raises ConfigError."""
    values: dict[str, Value] = {}
    for child in form[1:]:
        if not isinstance(child, list) or len(child) < 2 or not isinstance(child[0], str):
            continue
        name = _RENAMED.get(child[0], child[0])
        if name not in values and name not in RUNTIME | _STRUCTURES:
            values[name] = _plain(name, child[1])
    if "memory" not in values:
        raise ConfigError("Invalid Configuration: memory_dynamic_max must be greater than zero")
    online = value(form, "vcpu_avail")
    if isinstance(online, str) and online.isdecimal() and form[0] == "vm":
        values["maxvcpus"], values["vcpus"] = values.get("vcpus", "1"), int(online).bit_count()
    for image in children(form, "image"):
        values.update(_image(image))
    values.update(_devices(form, path))
    return {name: _typed(name, text) for name, text in values.items()}


def _plain(name: str, element: object) -> Value:
    if isinstance(element, list):
        return [str(item) if not isinstance(item, list) else ",".join(map(str, item)) for item in element]
    return str(element)


def _typed(name: str, text: Value) -> Value:
    """Numbers are numbers again where the key is one."""
    key = KEYS.get(name)
    numeric = key is not None and key.type in (KeyType.INT, KeyType.BOOL, KeyType.LONG)
    if numeric and isinstance(text, str) and text.lstrip("-").isdecimal():
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
            elif name not in ("vcpus", "pci"):
                values[name] = _plain(name, element)
    return values


def _ip(text: str) -> dict[str, Value]:
    names = ("ip", "nfs_server", "gateway", "netmask", "hostname", "interface", "dhcp")
    found: dict[str, Value] = {name: field for name, field in zip(names, text.split(":"), strict=False) if field}
    if found.get("nfs_server") == "127.0.255.255":
        del found["nfs_server"]
    return found


def _devices(form: Tree, path: str) -> dict[str, Value]:
    disks: list[Value] = []
    vifs: list[Value] = []
    vfbs: list[Value] = []
    others: dict[str, Value] = {}
    for wrapped in children(form, "device"):
        device = wrapped[1] if len(wrapped) > 1 and isinstance(wrapped[1], list) else None
        if not device:
            continue
        kind = str(device[0])
        if kind in ("vbd", "tap", "tap2"):
            disks.append(_disk(device, path))
        elif kind == "vif":
            vifs.append(_joined(device, [key for key in _VIF_KEYS if key != "backend" or _get(device, key) != "0"]))
        elif kind == "vfb":
            names = [str(pair[0]) for pair in device[1:] if isinstance(pair, list) and pair]
            vfbs.append(_joined(device, [name for name in names if name not in _VFB_RUNTIME]))
        elif kind not in ("vkbd", "console"):
            gathered = others.setdefault("irq" if kind == "irq" else kind, [])
            assert isinstance(gathered, list)
            gathered.append(" ".join(map(str, device[1:])))
    lists: dict[str, Value] = {"disk": disks, "vif": vifs, "vfb": vfbs}
    return {**{name: items for name, items in lists.items() if items}, **others}


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
    elif backend not in ("", "0"):
        fields.append(backend)
    return ",".join(fields)


def _joined(device: Tree, keys: list[str]) -> str:
    return ",".join(f"{key}={_get(device, key)}" for key in keys if _get(device, key))
