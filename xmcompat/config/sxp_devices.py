"""The devices of an SXP form as the texts of xm's list options. Pure.

What a device has besides, and no option can say, is told.
"""

from __future__ import annotations

from collections.abc import Sequence

from xmcompat.config.specs_more import pci_texts
from xmcompat.config.sxp import Tree, children, value
from xmcompat.errors import ConfigError
from xmcompat.guest import Value
from xmcompat.notes import Fate, Note, is_secret

#: The classes of devices. Old forms have them without ``device`` around them.
CLASSES = frozenset(
    "vbd tap tap2 vif vif2 vfb vkbd console pci vscsi vusb vtpm ioports irq".split()
)
_DISKS = ("vbd", "tap", "tap2")
_VIF_KEYS = ("mac", "bridge", "ip", "script", "type", "model", "vifname", "rate", "backend", "accel", "policy", "label")

#: What each class is read for; what else it has is told.
_READ = {
    **dict.fromkeys(_DISKS, frozenset(["uname", "dev", "mode", "backend", "protocol"])),
    "vif": frozenset(_VIF_KEYS), "pci": frozenset(["dev", "domain", "bus", "slot", "func", "vdevfn", "opts", "key"]),
    "vscsi": frozenset(["dev", "backend"]), "vusb": frozenset(["usb-ver", "num-ports"]),
    "ioports": frozenset(["from", "to"]), "irq": frozenset(["irq"]),
    "vtpm": frozenset(["instance", "pref_instance", "backend", "type", "uuid"]),
}  # fmt: skip
#: What xend adds to a device, or tells of a running one.
_XENDS = frozenset(
    """uuid location other_config bootable driver VDI device devid state frontstate p-devname xauthority backend
    port""".split()
)


class Told:
    """The notes on a document, as they come up."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.notes: list[Note] = []

    def harmless(self, key: str, reason: str, value: object = "") -> None:
        """What a guest cannot miss."""
        self._note(key, reason, value, "", harmless=True)

    def lost(self, key: str, reason: str, value: object = "", suggestion: str = "") -> None:
        """What does not reach the guest."""
        self._note(key, reason, value, suggestion, harmless=False)

    def became(self, key: str, fate: Fate, reason: str, value: object) -> None:
        """What reaches the guest, as it is or nearly."""
        self._note(key, reason, value, "", harmless=fate is Fate.CARRIED, fate=fate)

    def _note(
        self, key: str, reason: str, value: object, suggestion: str, *, harmless: bool, fate: Fate = Fate.NO_MEANING
    ) -> None:
        text = "(not shown)" if is_secret(key, value) else str(value)
        self.notes.append(Note(
            key=key, fate=fate, reason=reason, value=text if len(text) <= 60 else text[:57] + "...",
            path=self.path, suggestion=suggestion, harmless=harmless,
        ))  # fmt: skip


def lists(element: object) -> list[Tree]:
    """The lists in an element that have something in them."""
    return [item for item in element if isinstance(item, list) and item] if isinstance(element, list) else []


def devices(form: Tree, told: Told, *, by_loader: bool = True) -> dict[str, Value]:
    """The list options that the devices of a form stand for. BY_LOADER: a boot loader starts the guest from a disk.

    Raises ConfigError.
    """
    found: dict[str, list[Value]] = {}
    for device in _each(form):
        kind = str(device[0])
        option = "disk" if kind in _DISKS else kind
        place = f"{option}[{len(found.get(option, []))}]"
        if kind in ("vkbd", "console"):
            told.harmless(kind, "what every guest with a display or console has")
        elif kind not in CLASSES:
            told.lost(kind, "no device of that kind is known")
        elif kind in _DISKS:
            _tell_rest(device, place, told, by_loader=by_loader)
            found.setdefault("disk", []).append(_disk(device, told.path))
        else:
            _tell_rest(device, place, told)
            found.setdefault(kind, []).extend(_texts(kind, device, told.path))
    return {kind: texts for kind, texts in found.items() if texts}


def _each(form: Tree) -> list[Tree]:
    """The devices, in ``device`` or bare."""
    found = []
    for child in form[1:]:
        if isinstance(child, list) and child and child[0] == "device":
            found += lists(child)[:1]
        elif is_device(child):
            assert isinstance(child, list)
            found.append(child)
    return found


def is_device(child: object) -> bool:
    """Whether a part of a form is a device of the old form, without ``device`` around it."""
    return isinstance(child, list) and bool(child) and isinstance(child[0], str) and child[0] in CLASSES and all(
        isinstance(part, list) for part in child[1:]
    )


def _tell_rest(device: Tree, place: str, told: Told, *, by_loader: bool = False) -> None:
    """A note on what the device has and is not read."""
    kind = str(device[0])
    read = _READ.get(kind)
    for pair in lists(device):
        key = str(pair[0])
        if (read is not None and key in read) or (kind == "vusb" and key.startswith("port-")):
            continue
        shown = pair[1] if len(pair) > 1 and not isinstance(pair[1], list) else ""
        if key == "bootable" and shown == "1" and place != "disk[0]" and by_loader:
            told.lost(f"{place}.{key}", "the guest starts from its first disk", shown, "make it the first")
        elif key in _XENDS:
            if read is not None or key in ("uuid", "location", "other_config"):
                told.harmless(f"{place}.{key}", "xend's own entry", shown)
        elif key == "feature-host" and shown in ("0", "False", ""):
            told.harmless(f"{place}.{key}", "it is not asked for", shown)
        elif read is not None:
            told.lost(f"{place}.{key}", "no setting of a device says it", shown)


def _texts(kind: str, device: Tree, path: str) -> Sequence[Value]:
    """The device as the option of its name would say it."""
    names = list(dict.fromkeys(str(pair[0]) for pair in lists(device)))
    if kind == "vif":
        return [_joined(device, [key for key in _VIF_KEYS if key != "backend" or _get(device, key) != "0"])]
    if kind == "vfb":
        # an empty password says that there is none, a missing one leaves the host's
        own = [name for name in names if name not in ("uuid", "location", "other_config", "xauthority")]
        return [_joined(device, own, empty=("vncpasswd",))]
    if kind == "pci":
        return pci_texts(_with_keys(device, path))
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
    if kind == "vtpm":
        keys = {name: _get(device, name) for name in ("instance", "backend", "type", "uuid")}
        number = keys["instance"] or _get(device, "pref_instance")
        keys |= {"instance": number if number not in ("", "0") else "-1", "backend": keys["backend"] or "0"}
        return [",".join(f"{name}={_one(text)}" for name, text in keys.items() if text)]
    own = [name for name in names if name != "uuid" and (name, _get(device, name)) != ("backend", "0")]
    return [_joined(device, own)]


def _with_keys(device: Tree, path: str) -> Tree:
    """A PCI device whose functions have their ``key``; the old flat form has one function and no ``dev``."""
    functions = children(device, "dev")
    inner = [dev for dev in functions if any(isinstance(part, list) for part in dev[1:])]
    if not inner and _get(device, "bus"):
        inner = [["dev", *device[1:]]]
    return ["pci", *(dev if _get(dev, "key") else [*dev, ["key", _pci_key(dev, path)]] for dev in inner)]


def _pci_key(dev: Tree, path: str) -> str:
    """DDDD:BB:SS.F[@SLOT] of numbers in hexadecimal digits."""

    def number(name: str, default: str = "0") -> int:
        text = _get(dev, name) or default
        try:
            return int(text, 16)
        except ValueError:
            raise ConfigError(f"a PCI device has the {name} '{text}', which is no number", path=path) from None

    slot = number("slot", _get(dev, "dev") or "0")
    place = number("vdevfn", "0x100")
    wanted = "" if place & 0x100 else f"@{place >> 3:02x}"
    return f"{number('domain'):04x}:{number('bus'):02x}:{slot:02x}.{number('func'):x}{wanted}"


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
    return ",".join(_one(field) for field in fields)


def _joined(device: Tree, keys: list[str], *, empty: Sequence[str] = ()) -> str:
    """``key=value,...`` of those KEYS that have a value; those of EMPTY in any case."""
    return ",".join(f"{key}={_one(_get(device, key))}" for key in keys if key in empty or _get(device, key))


def _one(text: str) -> str:
    """TEXT, which must stand alone between commas."""
    if "," in text:
        raise ConfigError(f"'{text}' has a comma, which no setting of a device can have")
    return text
