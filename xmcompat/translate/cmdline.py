"""The kernel command line of a paravirtual guest: what must be said differently on KVM. Pure.

Device names change, the console changes, and a few words speak to Xen alone. Whatever is changed is told, and
nothing else is touched: blanks, quotes and the order of the other words stay, and what follows a lone "--" is init's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from xmcompat.backends.devices import Bus, Disk
from xmcompat.guest import Dialect, GuestConfig
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import text
from xmcompat.vdev import vdev_name

#: Words whose value is a block device, or begins with one.
_DEVICE_WORDS = ("root", "resume", "real_root", "real_resume", "rootdev", "swap", "cryptdevice", "luks_root")
_SOURCE_WORDS = ("cryptopts", "dm-mod.create", "dm")

#: Words that mean something to a kernel on Xen alone; those with "=" or "." at the end are beginnings.
_XEN_WORDS = (
    "clocksource=xen", "earlyprintk=xen", "independent_wallclock=", "xen-blkfront.", "xen_blkfront.", "xen-netfront.",
    "xen_netfront.", "xen-fbfront.", "xenfb.", "xen_emul_unplug=",
)  # fmt: skip

#: Words that helped on Xen, and that a PC needs as little.
_XEN_HELP = ("iommu=soft", "swiotlb=", "idle=")

SERIAL, VIRTIO = "ttyS0", "hvc0"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_PIECES = re.compile(r'(?:"[^"]*"?|[^\s"])+')
_PAIR = re.compile(r"([0-9]{1,3}):([0-9]{1,3})")
_NUMBER = re.compile(r"0x([0-9a-fA-F]{3,8})|([0-9a-fA-F]{3,4})")


class Cmdline(NamedTuple):
    """``primary`` is the console that ``xm console`` shows first: "hvc0" or "ttyS0"."""

    text: str
    primary: str


def pv_cmdline(
    guest: GuestConfig, cmdline: str, devices: Mapping[str, str], findings: Findings, *, panic_reboots: bool = False
) -> Cmdline:
    """CMDLINE for KVM. DEVICES maps the guest's device names to the new ones: {"xvda2": "vda"}.

    PANIC_REBOOTS adds "panic=60" where nothing is said: a guest without a driver for the panic device would stay
    there for ever, and a minute is what Xen wants a domain to have lived before it is restarted.
    """
    kernel, dashes, init = _parted(cmdline)
    words = _Words(kernel)
    words.change(lambda word: _device_word(guest, word, devices, findings))
    words.change(lambda word: _xen_word(guest, word, findings))
    if panic_reboots and not any(word.startswith("panic=") for word in words):
        words.append("panic=60")
        findings.carried(key_of(guest, ""), "panic=60 is added: the kernel itself must reboot after a crash")
    primary = _consoles(guest, words, findings)
    return Cmdline(words.text() + dashes + init, primary)


def _parted(cmdline: str) -> tuple[str, str, str]:
    """What the kernel reads, " --", and what it hands to init."""
    found = re.search(r"(?:^|\s+)--(?=\s|$)", cmdline)
    return (cmdline, "", "") if not found else (cmdline[: found.start()], " --", cmdline[found.end() :])


class _Words:
    """The words of a command line and the blanks before them."""

    def __init__(self, text: str) -> None:
        self._pieces: list[tuple[str, str]] = []
        end = 0
        for found in _PIECES.finditer(text):
            self._pieces.append((text[end : found.start()], found[0]))
            end = found.end()
        self._tail = text[end:]

    def __iter__(self) -> Iterator[str]:
        return iter([word for _, word in self._pieces])

    def change(self, into: Callable[[str], str | None]) -> None:
        """Put INTO(word) in the place of each word; None takes it away, with the blanks before it."""
        changed = [(blank, into(word)) for blank, word in self._pieces]
        self._pieces = [(blank, word) for blank, word in changed if word is not None]

    def insert(self, place: int, word: str) -> None:
        """Put WORD before the PLACEth one."""
        blank, old = self._pieces[place]
        self._pieces[place : place + 1] = [(blank, word), (" ", old)]

    def remove(self, place: int) -> None:
        del self._pieces[place]

    def append(self, word: str) -> None:
        self._pieces.append((" ", word))
        self._tail = ""

    def text(self) -> str:
        text = "".join(blank + word for blank, word in self._pieces) + self._tail
        return text.lstrip() if self._pieces else ""


def key_of(guest: GuestConfig, word: str) -> str:
    """The option that WORD of the command line comes from."""
    if text(guest, "cmdline"):
        return "cmdline"
    root = text(guest, "root")
    if guest.dialect is not Dialect.XL:  # xend leaves it out where the rest has "root=" already
        doubled = text(guest, "nfs_root") or "root=" in text(guest, "extra")
        root = "" if doubled else root.removeprefix("root=")
    return "root" if root and word in list(_Words(f"root={root}")) else "extra"


# -- devices


def _device_word(guest: GuestConfig, word: str, devices: Mapping[str, str], findings: Findings) -> str:
    key, equals, value = word.partition("=")
    if not equals:
        return word
    if key in _DEVICE_WORDS:
        device, colon, rest = (value, "", "") if _PAIR.fullmatch(value) else value.partition(":")
        new = _renamed(device, devices) + colon + rest
    elif key in _SOURCE_WORDS:
        new = re.sub(r"/dev/[a-z]+[0-9]*(?![\w/-])", lambda found: _renamed(found[0], devices), value)
    else:
        return word
    if new == value:
        _warn_of_absent(guest, word, devices, findings)
        return word
    findings.approximated(
        key_of(guest, word), f"{key}={new} in its place: so the device is called in the guest", value=word, harmless=True
    )
    return f"{key}={new}"


def _warn_of_absent(guest: GuestConfig, word: str, devices: Mapping[str, str], findings: Findings) -> None:
    name = _device_name(word.partition("=")[2])
    if name and name not in devices:
        findings.approximated(
            key_of(guest, word), f"no disk of the configuration is called {name}; the guest will not find it", value=word
        )


def _renamed(value: str, devices: Mapping[str, str]) -> str:
    """The new way to say VALUE ("/dev/xvda2", "xvda2", "0xca02", "ca02", "202:2"); as it is where it means none."""
    name = _device_name(value)
    new = _new_name(name, devices)
    if not new:
        return value
    return new if value == name else f"/dev/{new}"


def _new_name(name: str, devices: Mapping[str, str]) -> str:
    """A partition of a whole disk that was given keeps its number: "xvda1" of {"xvda": "vda"} is "vda1"."""
    if name in devices:
        return devices[name]
    whole = name.rstrip("0123456789")
    return devices[whole] + name[len(whole) :] if whole in devices else ""


def _device_name(value: str) -> str:
    """The name that Xen gives to the device, "" where VALUE means none of the guest's disks."""
    name = value.removeprefix("/dev/")
    if re.fullmatch(r"(xvd|sd|hd)[a-z]{1,2}[0-9]*", name):
        return name
    if pair := _PAIR.fullmatch(value):
        return vdev_name(int(pair[1]) << 8 | int(pair[2])) or ""
    number = _NUMBER.fullmatch(value)
    return (vdev_name(int(number[1] or number[2], 16)) or "") if number else ""


#: What the kernel calls the emulated disk "hda" (partition 1), by its bus.
_CALLED = {Bus.IDE: "/dev/hd{0}, or /dev/sd{0} with libata", Bus.VIRTIO: "/dev/vd{0}"}


def tell_of_xen_disks(guest: GuestConfig, cmdline: str, disks: Sequence[Disk], findings: Findings) -> None:
    """Tell of the words of CMDLINE, for the kernel of a guest with a BIOS, that name a disk of Xen's kind (xvda): there
    are but emulated ones and those of virtio. Nothing is put in their place: who made the ramdisk knows what the kernel
    calls them."""
    for word in _Words(_parted(cmdline)[0]):
        key, _, value = word.partition("=")
        name = _device_name(value.partition(":")[0]) or _device_name(value)
        if key not in _DEVICE_WORDS or not name.startswith("xvd"):
            continue
        letters, part = name[3:].rstrip("0123456789"), name[3:].lstrip(_LETTERS)
        places = {disk.vdev.removeprefix("/dev/"): disk for disk in disks}
        disk = places.get(name) or places.get(f"xvd{letters}") or places.get(f"hd{letters}")
        if disk is None:
            reason, called = f"no disk of the configuration is called {name}", "/dev/..."
        else:
            reason = f"there are no disks of Xen's kind: it is the {disk.bus.value} disk {disk.target} in the guest"
            called = _CALLED.get(disk.bus, "/dev/sd{0}").format(disk.target[2:] + part)
        findings.approximated(
            key_of(guest, word), reason, value=word,
            suggestion=f"write {key}=UUID=..., or the name that the guest's kernel gives it: {called}",
        )  # fmt: skip


# -- words for Xen


def _xen_word(guest: GuestConfig, word: str, findings: Findings) -> str | None:
    for words, reason in ((_XEN_WORDS, "it speaks to Xen"), (_XEN_HELP, "it is of use on Xen alone")):
        if any(word == xen or (xen[-1] in ".=" and word.startswith(xen)) for xen in words):
            findings.no_meaning(key_of(guest, word), f"left out: {reason}", value=word, harmless=True)
            return None
    return word


# -- consoles


def _consoles(guest: GuestConfig, words: _Words, findings: Findings) -> str:
    """Name the serial port and the virtio console, the last one as /dev/console; returns the main one."""
    wish = _classic_wish(guest, words, findings)
    words.change(lambda word: _console_word(guest, word, findings))
    _drop_repeated(words)
    names = _names(words)
    virtio, serial = _last(names, VIRTIO), _last(names, SERIAL)
    if virtio < 0 and serial < 0:
        pair = (VIRTIO, SERIAL) if wish == SERIAL else (SERIAL, VIRTIO)
        screen = _last(names, "tty0") if guest.vfbs else -1
        for name in pair:
            if screen < 0:
                words.append(f"console={name}")
            else:  # the screen stays /dev/console
                words.insert(_last(_names(words), "tty0"), f"console={name}")
        return pair[1]
    if serial < 0:
        words.insert(names.index(VIRTIO), f"console={SERIAL}")
    elif virtio < 0:
        words.insert(names.index(SERIAL), f"console={VIRTIO}")
    return VIRTIO if virtio > serial else SERIAL


def _names(words: _Words) -> list[str]:
    """For each word the console that it names, "" for other words."""
    return [_console_name(word) for word in words]


def _last(names: list[str], name: str) -> int:
    return len(names) - 1 - names[::-1].index(name) if name in names else -1


def _drop_repeated(words: _Words) -> None:
    """Of equal consoles the last one counts."""
    every = list(words)
    for place in reversed(range(len(every))):
        if every[place].startswith("console=") and every[place] in every[place + 1 :]:
            words.remove(place)


def _console_name(word: str) -> str:
    """"ttyS0" of "console=ttyS0,115200n8", "" of what names no console."""
    return word.removeprefix("console=").partition(",")[0] if word.startswith("console=") else ""


def _console_word(guest: GuestConfig, word: str, findings: Findings) -> str:
    if _console_name(word) not in ("xvc0", "xvc"):
        return word
    findings.approximated(
        key_of(guest, word), f"console={VIRTIO} in its place: the guest has no xvc0 on KVM", value=word,
        suggestion="a login on xvc0 (inittab, securetty) must move to hvc0 or ttyS0 in the guest",
    )  # fmt: skip
    return f"console={VIRTIO}"


def _classic_wish(guest: GuestConfig, words: _Words, findings: Findings) -> str:
    """Take xencons= away. "xencons=ttyS" had put the console where the serial port is here: then that one leads."""
    wish = ""

    def without(word: str) -> str | None:
        nonlocal wish
        if not word.startswith("xencons="):
            return word
        wish = SERIAL if word.startswith("xencons=ttyS") else VIRTIO
        findings.no_meaning(
            key_of(guest, word), f"left out: the console is {wish} here", value=word,
            suggestion=f"the guest needs a login on {wish}", harmless=wish == SERIAL,
        )  # fmt: skip
        return None

    words.change(without)
    return wish
