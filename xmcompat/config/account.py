"""The account of a configuration: what became of every name that it sets. Pure.

What depends on the host, or on the machine that a guest becomes, is told by the translation; here is what the table
of keys, the value and the kind of guest decide.
"""

from __future__ import annotations

import difflib
from typing import NamedTuple

from xmcompat.config import account_xl
from xmcompat.config.build import RESTARTS, boots_kernel
from xmcompat.config.kernel_line import left_out
from xmcompat.config.keys import KEYS, Key
from xmcompat.config.specs import is_on, vfb_values
from xmcompat.guest import Dialect, GuestConfig, GuestKind, Value
from xmcompat.notes import Fate, Note, is_secret

#: Keys whose value is never shown.
SECRET = ("vncpasswd", "spicepasswd")

#: Values that ask for nothing beyond what every guest gets; then nothing of the key is lost.
_NOTHING: dict[str, tuple[Value, ...]] = {
    "on_xend_start": ("ignore",), "on_xend_stop": ("ignore",), "cpus": ("",),
    "cpu_weight": (256,), "cpu": (),
}  # fmt: skip
#: Values that a guest can miss, of keys that are otherwise nothing to speak of.
_MISSED: dict[str, tuple[tuple[Value, ...], str]] = {
    "hap": ((0,), "it is a setting of the host's kvm module (ept, npt)"),
    "apic": ((0,), "QEMU's PC always has one"),
    "tsc_mode": ((1, 3), "the guest reads the time stamp counter as QEMU and KVM give it"),
}
#: The device model that runs in a domain of its own.
_STUB = "stubdom-dm"
#: Settings of the device model, which paravirtual guests never had.
HVM_ONLY = frozenset(
    """acpi apic boot pae hpet isa viridian timer_mode vpt_align xen_platform_pci xen_extended_power_mgmt gfx_passthru
    hap guest_os_type serial parallel monitor monitor_path fda fdb soundhw usb usbdevice device_model vnc vnclisten
    vncdisplay vncunused vncpasswd vncconsole vncviewer sdl opengl display xauthority keymap stdvga videoram nographic
    memory_sharing loader nx""".split()
)
#: Settings of a kernel that the host starts.
_KERNEL_ONLY = frozenset(
    "root extra ramdisk ip gateway netmask hostname interface dhcp nfs_server nfs_root".split()
)
#: Settings of paravirtual guests alone.
_LOADER_ONLY = frozenset(["bootloader", "bootargs", "bootentry", "features", "superpages"])
#: xm's own words for what xl calls otherwise.
_XM_WORDS = {
    "cap": "cpu_cap", "bootloader_args": "bootargs", "type": "builder", "irqs": "irq", "usbdev": "usbdevice",
    "cmdline": "root and extra", "vga": "stdvga", "usbctrl": "usb",
}  # fmt: skip
#: What old files set that Xen 4.1 no longer reads.
_OUTDATED = {
    "cdrom": "give it in disk, as 'file:/x.iso,hdc:cdrom,r'", "sched": "", "ne2000": "give model=ne2k_pci in vif",
    "console": "", "snapshot": "", "acpi_s3": "", "enable_audio": "use soundhw",
}  # fmt: skip
#: Keys of a frame buffer that nothing here follows.
_VFB_UNUSED = {
    "opengl": "there is no SDL window", "display": "there is no SDL window",
    "xauthority": "there is no SDL window", "serial": "give it as a key of the guest",
    "monitor": "use 'virsh qemu-monitor-command'",
}  # fmt: skip

#: Of a key that ends so, it is worth telling that its value asks for nothing.
_LOSSES = (Fate.APPROXIMATED, Fate.NOT_YET, Fate.REFUSED)
#: The shortest names for which a likeness to a key says something.
_LIKENESS = 0.8
_SHORTEST = 4
#: For so many unknown names of one file a key is looked for that is meant.
_MOST_ALIKE = 200
#: How names of tools around Xen begin, which are nobody's mistakes: Oracle VM's, and those of scripts.
_OTHERS = ("OVM_", "vm_")


class _Verdict(NamedTuple):
    fate: Fate
    reason: str = ""
    suggestion: str = ""
    harmless: bool = False


def account(guest: GuestConfig) -> tuple[Note, ...]:
    """One note for each name that the configuration sets, in the order of its lines, and one for each part of a
    frame buffer or disk that has no effect."""
    notes = [_note(guest, name, value, _verdict(guest, KEYS[name], value)) for name, value in guest.options.items()]
    notes += [
        _note(guest, name, value, _stranger(guest, name, value, alike=index < _MOST_ALIKE))
        for index, (name, value) in enumerate(guest.unknown.items())
    ]
    notes += _parts(guest)
    return tuple(sorted(notes, key=lambda note: note.line or 0))


def _note(guest: GuestConfig, key: str, value: Value, verdict: _Verdict, *, setting: str = "") -> Note:
    return Note(
        key=key, value=_shown(key, value), path=guest.source or None, line=guest.lines.get(setting or key),
        fate=verdict.fate, reason=verdict.reason, suggestion=verdict.suggestion, harmless=verdict.harmless,
    )  # fmt: skip


def _verdict(guest: GuestConfig, key: Key, value: Value) -> _Verdict:
    if guest.dialect is Dialect.XL:
        return _xl_verdict(guest, key, account_xl.plain(key.name, value))
    if Dialect.XM not in key.dialects:
        word = _XM_WORDS.get(key.name)
        return _Verdict(
            Fate.NO_MEANING, "xm does not know it; it is a key of xl", f"xm's own word is {word}" if word else "",
            harmless=_asks_nothing(key, value),
        )  # fmt: skip
    if verdict := _out_of_place(guest, key, value):
        return verdict
    if reason := left_out(guest.options, key.name):
        return _Verdict(Fate.NO_MEANING, reason, harmless=True)
    return _by_value(key, value)


def _xl_verdict(guest: GuestConfig, key: Key, value: Value) -> _Verdict:
    if Dialect.XL not in key.dialects:
        word = account_xl.WORDS.get(key.name)
        return _Verdict(
            Fate.NO_MEANING, "xl does not know it; it is a key of xm", f"xl's own word is {word}" if word else "",
            harmless=_asks_nothing(key, value),
        )  # fmt: skip
    reason = account_xl.out_of_place(guest, key.name)
    return _Verdict(Fate.NO_MEANING, reason, harmless=True) if reason else _by_value(key, value)


def _out_of_place(guest: GuestConfig, key: Key, value: Value) -> _Verdict | None:
    """A setting that Xen does not follow for this kind of guest."""
    if guest.kind is not GuestKind.HVM and key.name in HVM_ONLY:
        display = key.name in ("vnc", "sdl") and is_on(value)
        return _Verdict(
            Fate.NO_MEANING, "Xen does not follow it for paravirtual guests either",
            f"write vfb = ['{key.name}=1']" if display else "", harmless=not display,
        )  # fmt: skip
    if guest.kind is not GuestKind.HVM:
        return None
    if key.name == "kernel" and not boots_kernel(guest.options):
        return _Verdict(Fate.NO_MEANING, "it is Xen's firmware; QEMU brings its own", harmless=True)
    if key.name in _LOADER_ONLY or (key.name in _KERNEL_ONLY and not boots_kernel(guest.options)):
        return _Verdict(Fate.NO_MEANING, "Xen does not follow it for guests that boot by BIOS either", harmless=True)
    return None


def _by_value(key: Key, value: Value) -> _Verdict:
    values, reason = _MISSED.get(key.name, ((), ""))
    if value in values:
        return _Verdict(Fate.NO_MEANING, reason)
    if key.name == "device_model" and _STUB in str(value):
        return _Verdict(
            Fate.NO_MEANING, "there are no stub domains; QEMU runs on the host itself",
            "confine it with the security driver and the sandbox in qemu.conf",
        )  # fmt: skip
    if key.fate in _LOSSES and _asks_nothing(key, value):
        return _Verdict(Fate.CARRIED, "it asks for what every guest gets", harmless=True)
    if key.name == "restart" and value:
        return _restart(str(value))
    if key.fate is Fate.CARRIED:
        return _Verdict(Fate.CARRIED, key.reason, key.suggestion, harmless=True)
    quiet = key.fate is Fate.NO_MEANING and _asks_nothing(key, value)
    return _Verdict(key.fate, key.reason, key.suggestion, harmless=key.harmless or quiet)


def _restart(word: str) -> _Verdict:
    if word not in RESTARTS:
        return _Verdict(Fate.NO_MEANING, "xend ignores it too", "write onreboot, always or never")
    if word == "never":
        return _Verdict(Fate.APPROXIMATED, "xend 4.1 stumbled over it; each of the three events destroys the domain")
    return _Verdict(Fate.CARRIED, "obsolete", "write on_poweroff, on_reboot and on_crash", harmless=True)


def _asks_nothing(key: Key, value: Value) -> bool:
    return value in _NOTHING.get(key.name, (0, "", "0", [], key.xm_default, key.xl_default))


def _stranger(guest: GuestConfig, name: str, value: Value, *, alike: bool) -> _Verdict:
    """A name that no Xen tool knows: mostly a variable of the script; perhaps a key misspelt, which is looked for if
    ALIKE."""
    if guest.dialect is Dialect.SXP:
        return _Verdict(Fate.NO_MEANING, "it is no part of a guest's configuration", harmless=True)
    if name in _OUTDATED and guest.dialect is Dialect.XM:
        return _Verdict(
            Fate.NO_MEANING, "Xen 4.1 does not read it any more", _OUTDATED[name], harmless=value in (0, "", "0", [])
        )
    own = Dialect.XL if guest.dialect is Dialect.XL else Dialect.XM
    known = [key for key in KEYS if own in KEYS[key].dialects] if alike and len(name) >= _SHORTEST else []
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=_LIKENESS)
    # "memory2" beside "memory", "disk1" beside "disk": a script's own variable
    meant = bool(near) and near[0] not in guest.options and not name[-1].isdigit() and not name.startswith(_OTHERS)
    suggestion = f"did you mean '{near[0]}'?" if meant else ""
    return _Verdict(Fate.NO_MEANING, "no Xen tool knows it", suggestion, harmless=not meant)


def _parts(guest: GuestConfig) -> list[Note]:
    """Parts of devices without effect; what becomes of the others depends on the host, and is told there."""
    notes = []
    for index, disk in enumerate(guest.disks):
        if disk.abi:
            verdict = _Verdict(Fate.NO_MEANING, "the layout of a ring that KVM's disks do not have", harmless=True)
            notes.append(_note(guest, f"disk[{index}].protocol", disk.abi, verdict, setting="disk"))
    texts = guest.options.get("vfb", [])
    for index, text in enumerate(texts if isinstance(texts, list) else []):
        read = account_xl.vfb_values if guest.dialect is Dialect.XL else vfb_values
        for name, value in read(str(text)).items():
            if name in _VFB_UNUSED and value:
                verdict = _Verdict(Fate.NO_MEANING, _VFB_UNUSED[name], harmless=name not in ("serial", "monitor"))
                notes.append(_note(guest, f"vfb[{index}].{name}", value, verdict, setting="vfb"))
    return notes


def _shown(name: str, value: Value) -> str:
    """The value as the user wrote it, shortened; without passwords."""
    if is_secret(name, value):
        return "(not shown)"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
