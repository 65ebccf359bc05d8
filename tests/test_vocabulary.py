"""Every word that Xen's configurations know is in the corpus: the keys of the table, and the words of device options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.test_corpus import CORPUS, KINDS, REFUSED, RUNNING, read_case
from xmcompat.config import specs, specs_more, sxp_devices, xl_disk, xl_specs
from xmcompat.config.keys import KEYS
from xmcompat.guest import Dialect, Value

#: Words of device options that stand in lists of these keys, "key=value" in each, by dialect.
PAIRS: dict[tuple[str, str], tuple[str, ...]] = {
    ("xm", "vif"): specs.VIF_KEYS,
    ("xm", "vfb"): (*specs.VFB_KEYS, "type"),
    ("xm", "vif2"): specs_more.VIF2_KEYS,
    ("xm", "vtpm"): specs_more.VTPM_KEYS,
    ("xm", "vusb"): ("usbver", "numports", "port_1"),
    ("xm", "pci"): ("msitranslate", "power_mgmt"),
    ("xm", "access_control"): ("policy", "label"),
    ("xl", "vif"): (*xl_specs._VIF_TEXTS, "type", "rate", "mtu", "devid", "trusted", "untrusted"),
    ("xl", "vfb"): xl_specs._VFB_KEYS,
    ("xl", "disk"): (*xl_disk._NAMED, "target"),
    ("xl", "pci"): (*xl_specs._PCI_OPTIONS, "bdf", "vslot"),
    ("xl", "vtpm"): ("backend", "uuid"),
    ("xl", "channel"): ("name", "connection", "path", "backend"),
    ("xl", "p9"): ("tag", "path", "security_model", "backend"),
    ("xl", "usbctrl"): ("type", "version", "ports"),
    ("xl", "usbdev"): ("type", "hostbus", "hostaddr", "controller", "port"),
    ("xl", "vnuma"): ("pnode", "size", "vcpus", "vdistances"),
}

#: Words without a value, or values of which there are but a few: these stand between commas or after "=" or ":".
FEW: dict[tuple[str, str], tuple[str, ...]] = {
    ("xm", "disk"): ("phy", "file", "vhd", "drbd", "iscsi", "nbd", "rbd", *specs.TAP_TYPES, "cdrom", "r", "w", "w!"),
    ("xl", "disk"): (
        *(word for word in xl_disk._FLAGS if word not in ("no-colo", "untrusted")), *filter(None, xl_disk._FORMATS),
        *(word for words in xl_disk._CHOICES.values() for word in words), *filter(None, xl_disk._MODES),
    ),
    ("xl", "vif"): ("vif", "ioemu"),
    ("xl", "usbctrl"): xl_specs._USB_TYPES,
    ("xl", "channel"): ("pty", "socket"),
}  # fmt: skip

#: What a device of xend's form may have, by its class.
FORM_WORDS = {
    "vbd": ("uname", "dev", "mode", "backend", "protocol", "driver", "bootable", "VDI", "uuid"),
    "tap": ("uname", "dev", "mode"),
    "tap2": ("uname", "dev", "mode"),
    "vif": (*sxp_devices._VIF_KEYS, "uuid"),
    "vif2": specs_more.VIF2_KEYS,
    "vfb": (*specs.VFB_KEYS, "type", "location", "uuid", "other_config"),
    "vkbd": ("backend",),
    "console": ("protocol", "location", "uuid"),
    "vscsi": ("feature-host", "dev", "p-dev", "p-devname", "v-dev", "devid", "state", "backend"),
    "vusb": ("usb-ver", "num-ports", "port-1"),
    "vtpm": ("instance", "pref_instance", "backend", "type", "uuid"),
    "pci": ("domain", "bus", "slot", "func", "vdevfn", "opts", "key", "uuid"),
    "ioports": ("from", "to"),
    "irq": ("irq",),
}


def texts(kind: str) -> str:
    return "\n".join(path.read_bytes().decode("latin-1") for path in sorted((CORPUS / kind).glob("*.[cs][fx][gp]")))


def flat(value: Value) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from flat(item)
    else:
        yield str(value)


@cache
def entries(kind: str) -> dict[str, list[str]]:
    """The texts of each list option of those guests that can be read, and of broken files as they stand."""
    found: dict[str, list[str]] = {}
    for case in (*RUNNING, *REFUSED):
        if case.parent.name == kind:
            for guest in read_case(case):
                for key, value in guest.document.guest.options.items():
                    found.setdefault(key, []).extend(flat(value))
    for path in (CORPUS / kind).glob("broken*"):
        for key, value in re.findall(r"(?m)^(\w+) *= *(\[.*)", path.read_bytes().decode("latin-1")):
            found.setdefault(key, []).extend(re.findall("""['"]([^'"]*)['"]""", value))
    return found


@pytest.mark.parametrize("kind", ["xm", "xl"])
def test_every_key_is_in_the_corpus(kind: str) -> None:
    """In a file of each tool that knows it."""
    text = texts(kind)
    wanted = [key.name for key in KEYS.values() if Dialect(kind) in key.dialects]
    missing = [name for name in wanted if not re.search(rf"(?m)(?:^|;)\s*{re.escape(name)}\s*\+?=", text)]
    assert not missing, f"no file of {kind} has {', '.join(missing)}"


@pytest.mark.parametrize(("kind", "key"), PAIRS, ids="-".join)
def test_every_word_of_a_device_option_is_in_the_corpus(kind: str, key: str) -> None:
    said = {piece.partition("=")[0].strip() for text in entries(kind)[key] for piece in text.split(",")}
    said |= {text.split(",target=")[0] and "target" for text in entries(kind)[key] if "target=" in text}
    bare = said & {"untrusted", "trusted"}
    missing = [word for word in PAIRS[kind, key] if word not in said | bare]
    assert not missing, f"no {key} of {kind} has {', '.join(missing)}"


@pytest.mark.parametrize(("kind", "key"), FEW, ids="-".join)
def test_every_choice_of_a_device_option_is_in_the_corpus(kind: str, key: str) -> None:
    said = {word.strip() for text in entries(kind)[key] for word in re.split("[,=:]", text)}
    missing = [word for word in FEW[kind, key] if word not in said]
    assert not missing, f"no {key} of {kind} has {', '.join(missing)}"


@pytest.mark.parametrize("kind", sorted(FORM_WORDS))
def test_every_word_of_a_device_of_a_form_is_in_the_corpus(kind: str) -> None:
    text = texts("sxp")
    devices = re.findall(rf"\({re.escape(kind)}(?=[\s)])((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*)\)", text)
    said = {word for device in devices for word in re.findall(r"\(([^\s()]+)", device)}
    missing = [word for word in FORM_WORDS[kind] if word not in said]
    assert not missing, f"no {kind} has {', '.join(missing)}"


def test_every_class_of_devices_has_its_words_here() -> None:
    assert set(FORM_WORDS) == sxp_devices.CLASSES


def test_all_kinds_of_files_are_there() -> None:
    assert all(texts(kind) for kind in KINDS)
