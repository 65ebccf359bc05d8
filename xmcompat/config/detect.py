"""Which tool a configuration was written for, told from its text. Pure; nothing is evaluated.

What only Python can read is xm's; what xm never knew, or reads otherwise, is xl's. Much is the same in both, and is
taken as xm's.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from xmcompat.config.differences import WEAK_KEYS
from xmcompat.config.keys import KEYS
from xmcompat.guest import Dialect

#: Of a larger file, only so many bytes are looked at: no configuration is as large.
_LARGEST = 256 * 1024

_SPACE = b" \t\n\v\f\r\xef\xbb\xbf"
#: The line that xm prints in front of a form, where its whole output was kept.
_ANNOUNCED = re.compile(rb'Using config file "[^"\n]*"\.\s*(?=\()')
#: A tuple that is assigned to, at the start of a script, is no form.
_TUPLE = re.compile(rb"\([\w\s,]*\)\s*=")

_TOKEN = re.compile(
    r"""(?P<skip>[ \t\r\f\xef\xbb\xbf]+|\\\r?\n|\#[^\n]*)
    |(?P<newline>\n+)
    |(?P<long>[A-Za-z]{0,2}(?:'{3}|"{3}))
    |(?P<string>(?P<prefix>[A-Za-z]{0,2})(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
    |(?P<name>[A-Za-z_][A-Za-z_0-9]*)
    |(?P<number>-?[0-9][0-9A-Za-z_]*)
    |(?P<mark>\+=|[=;,\[\]])
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)

_XL_NUMBER = re.compile(r"[0-9][0-9a-fx]*")

#: Keys of xl that no script of xm has cause to use as a name of its own.
_XL_KEYS = frozenset(
    """bios device_model_version device_model_override device_model_args device_model_args_pv device_model_args_hvm
    device_model_user usbctrl usbdev usbversion vnuma channel p9 pvcalls vdispl vsnd
    spice spicehost spiceport spicetls_port spicepasswd spicedisable_ticketing spiceagent_mouse spicevdagent
    spice_clipboard_sharing spiceusbredirection spice_image_compression spice_streaming_video nestedhvm cmdline firmware
    ms_vm_genid vga hdtype cpus_soft seclabel init_seclabel acpi_laptop_slate acpi_firmware
    smbios_firmware bios_path_override firmware_override vendor_device mmio_hole rdm rdm_mem_boundary altp2m altp2mhvm
    e820_host driver_domain on_watchdog on_soft_reset pci_permissive pci_seize iomem irqs pvh passthrough
    max_grant_frames max_grant_version max_maptrack_frames max_event_channels claim_mode dm_restrict vkb_device
    xend_suspend_evtchn_compat vpmu mca_caps tee gic_version vuart dtdev msr_relaxed bootloader_args vmtrace_buf_kb
    xenstore_feature_mask""".split()
)
#: How more of them begin.
_XL_PREFIXES = ("stubdomain_", "device_model_stubdomain_", "pvshim")
#: Keys that xl alone takes a list for.
_XL_LISTS = frozenset(["usbdevice", "virtio"])
#: Values that xl alone takes, by key.
_XL_VALUES = {
    "type": ("pv", "pvh", "hv", "hvm"),
    "builder": ("generic", "generi", "gener", "gene", "gen", "ge", "g"),
    "tsc_mode": ("default", "always_emulate", "native", "native_paravirt"),
    "timer_mode": (
        "delay_for_missed_ticks", "no_delay_for_missed_ticks", "no_missed_ticks_pending", "one_missed_tick_pending",
    ),
    "gfx_passthru": ("igd", "default"),
}  # fmt: skip
#: An address with the number of a display.
_LISTEN = r"(?:\[[^\]]*\]|[^:\[,]*):[0-9]{1,5}"
#: Texts of entries that xl alone takes, by key, and those that xm alone takes.
_XL_ENTRIES = {
    "disk": re.compile(
        r"(?:^|,)\s*(?:vdev|format|access|target|devtype|backendtype|script|specification)=|(?:^|,)\s*(?:cdrom|discard"
        r"|no-discard|direct-io-safe)\s*(?:,|$)|,\s*(?:rw|ro)\s*$|^(?:[^,:]*|/[^,]*),[ \t]*(?:raw|qcow2?|vhd|qed|),"
        # a prefix that xm lacks; blanks in front of the device's name or the mode
        r"|^(?:raw|qcow2?|aio|ioemu|tapdisk):|,[ \t]+(?:hd|sd|xvd)[a-z]+[0-9]*(?::cdrom|:disk)?(?:,|$)|,[ \t]+[rw](?:,|$)"
    ),
    "vif": re.compile(
        r"(?:^|,)\s*(?:(?:mtu|devid|gatewaydev|netdev|trusted)=|type=vif\s*(?:,|$)|rate=[0-9]+[GMK]?[Bb]/s@[0-9]+(?:,|$))"
    ),
    "vfb": re.compile(rf"(?:^|,)\s*vnclisten={_LISTEN}(?:,|$)"),
    "vnclisten": re.compile(rf"^{_LISTEN}$"),
    "pci": re.compile(r"(?:^|,)(?:bdf|vslot|permissive|seize|rdm_policy|name)="),
    "cpus": re.compile(r"^\s*\^?(?:all|nodes?:)|\^[0-9]+-"),
    "viridian": re.compile(r"^!?[a-z_]+$"),
    "cpuid": re.compile(r"^host(?:,|$)"),
}  # fmt: skip
_XM_ENTRIES = {
    "disk": re.compile(r",\s*(?:w!|ioemu:)"),
    "vif": re.compile(r"type=netfront"),
    "builder": re.compile(r"linux$|vmx$"),
}  # fmt: skip


class Recognised(NamedTuple):
    """``certain`` is false where no mark of either tool decides: it is xl's by a key that a script might use as a name
    of its own, else xm's."""

    dialect: Dialect
    certain: bool


def detect(data: bytes) -> Dialect:
    """The dialect of a guest's configuration. No bytes fail; what is no configuration is taken as xm's."""
    return recognise(data).dialect


def recognise(data: bytes) -> Recognised:
    """The dialect, and whether it is beyond doubt. Marks of Python count more than keys of xl, which could not read
    them; names in capitals and True count less."""
    data = data[:_LARGEST]
    if is_sxp(data):
        return Recognised(Dialect.SXP, True)
    evidence = _Evidence()
    evidence.read(data.decode("latin-1"))
    if evidence.python:
        return Recognised(Dialect.XM, True)
    if evidence.xl:
        return Recognised(Dialect.XL, True)
    return Recognised(Dialect.XL if evidence.weak and not evidence.xm else Dialect.XM, evidence.xm)


def is_sxp(data: bytes) -> bool:
    """Whether a list comes first, behind blanks, comments, and what xm says before it prints one."""
    at = 0
    while True:
        while at < len(data) and data[at] in _SPACE:
            at += 1
        if data[at : at + 1] != b"#":
            break
        newline = data.find(b"\n", at)
        at = len(data) if newline < 0 else newline
    if announced := _ANNOUNCED.match(data, at, at + 5000):
        at = announced.end()
    return data[at : at + 1] == b"(" and not _TUPLE.match(data, at, at + 1000)


class _Evidence:
    """What speaks for each: ``python`` is beyond xl's grammar; ``xl`` is a key or text of xl's; ``xm`` one of xm's;
    ``weak`` is a key of xl's that may be a name of a script's own."""

    def __init__(self) -> None:
        self.python = False
        self.xl = False
        self.xm = False
        self.weak = False
        self._key = ""
        self._depth = 0
        self._line: list[str] = []
        self._defined: set[str] = set()

    def read(self, text: str) -> None:
        """Look at TEXT, token by token, up to the first mark of Python."""
        at = 0
        while at < len(text) and not self.python:
            found = _TOKEN.match(text, at)
            assert found is not None
            at = found.end()
            kind = found.lastgroup or ""
            if kind == "newline":
                self._newline()
            elif kind != "skip":
                self._token(kind, found[0], found["prefix"] or "")
        self._newline()

    def _newline(self) -> None:
        if self._depth == 0:
            # a name alone is a statement of Python
            self.python |= self._line == ["name"]
            self._line = []

    def _token(self, kind: str, text: str, prefix: str) -> None:
        if kind == "mark":
            self._mark(text)
            return
        if self._line == ["name"]:
            # a name is assigned to, or it begins a statement
            self.python = True
        if kind in ("long", "other") or prefix:
            # "+", "%", "(", ".", a text over several lines, or one with a letter in front
            self.python = True
        elif kind == "name":
            self._name(text)
        elif self._line[-1:] in (["string"], ["number"]):
            # two texts in a row are one, in Python alone; 2 -1 is a difference
            self.python = True
        elif kind == "string":
            self._text(text[1:-1])
        else:
            # xl would say that texts need quotes
            self.xm |= not _XL_NUMBER.fullmatch(text)
        self._line.append(kind)

    def _mark(self, text: str) -> None:
        if text == ";" and self._depth == 0:
            self._newline()
            return
        if text in ("=", "+="):
            # an assignment to several names is Python's
            self.python = self._line != ["name"]
            if text == "+=" and self._key not in self._defined:
                self.xl = True
            self._defined.add(self._key)
        elif self._line == ["name"]:
            self.python = True
        self.xl |= text == "[" and self._depth == 0 and self._key in _XL_LISTS
        self._depth = max(0, self._depth + (text == "[") - (text == "]"))
        self._line.append(text)

    def _name(self, name: str) -> None:
        if self._line:
            # a bare word is a variable, or a keyword of Python behind another; True is a slip that xm bears
            self.python = name not in ("True", "False", "None")
            self.xm = True
            return
        self._key = name
        self.xm |= not name.islower() or (name in KEYS and Dialect.XL not in KEYS[name].dialects)
        self.xl |= name in _XL_KEYS or name.startswith(_XL_PREFIXES)
        self.weak |= name in WEAK_KEYS

    def _text(self, text: str) -> None:
        if self._key == "cpuid" and self._depth:
            return
        self.xl |= text in _XL_VALUES.get(self._key, ()) or _found(_XL_ENTRIES, self._key, text)
        self.xm |= _found(_XM_ENTRIES, self._key, text)


def _found(patterns: dict[str, re.Pattern[str]], key: str, text: str) -> bool:
    return key in patterns and patterns[key].search(text[:1000]) is not None
