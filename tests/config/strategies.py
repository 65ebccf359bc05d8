"""Guests as hypothesis draws them: settings that xm, or xl, takes, and what they make."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from xmcompat.config.build import build
from xmcompat.config.specs_more import pci_trees
from xmcompat.config.xl_build import build_xl
from xmcompat.guest import GuestConfig, Value

Settings = dict[str, Value]

words = st.text("abcdefghijklmnopqrstuvwxyz0123456789._-", min_size=1, max_size=8)
paths = words.map(lambda word: f"/srv/{word}")
#: Text of a person's: any language, quotes and backslashes, no control characters.
free = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"), max_size=20)
lines = free.map(str.strip)
flags = st.sampled_from([0, 1])
uuids = st.uuids().map(str)
macs = st.integers(0, 0xFFFFFF).map(lambda tail: f"00:16:3e:{tail >> 16:02x}:{tail >> 8 & 255:02x}:{tail & 255:02x}")
actions = st.sampled_from(
    ["destroy", "restart", "preserve", "rename-restart", "coredump-destroy", "coredump-restart"]
)  # fmt: skip
serials = st.sampled_from(["pty", "file:/srv/log", "tcp:127.0.0.1:4555,server,nowait", "none", "/dev/ttyS0"])
cpu_sets = st.sampled_from(["0-3,^1", "2", "0,5-6", "7"])
functions = st.tuples(st.integers(0, 255), st.integers(0, 31), st.integers(0, 7)).map(
    lambda place: f"{place[0]:02x}:{place[1]:02x}.{place[2]}"
)
vdevs = st.sampled_from([f"{kind}{letter}{part}" for kind in ("xvd", "hd", "sd") for letter in "abcd" for part in ("", "1")])


def some(settings: dict[str, st.SearchStrategy]) -> st.SearchStrategy[Settings]:
    """Any of the SETTINGS."""
    return st.fixed_dictionaries({}, optional=settings)


def joined(keys: dict[str, st.SearchStrategy]) -> st.SearchStrategy[str]:
    """``key=value,...`` of any of the KEYS."""
    return some(keys).map(lambda found: ",".join(f"{key}={value}" for key, value in found.items()))


# -- xm

_xm_unames = st.one_of(
    st.tuples(
        st.sampled_from(["phy:", "file:", "tap:aio:", "tap:sync:", "tap:qcow2:", "tap:vhd:", "tap2:aio:", "tap:vmdk:",
                         "tap:tapdisk:aio:", "tap:qcow:"]),
        paths,
    ).map("".join),
    words.map(lambda word: f"phy:vg0/{word}"),
    words.map(lambda word: f"nbd:{word} 10809"),
    words.map(lambda word: f"drbd:{word}"),
    words.map(lambda word: f"iscsi://192.0.2.8/iqn.2010-01.example:{word}/1"),
    words.map(lambda word: f"rbd:pool/{word}"),
)  # fmt: skip


def xm_disks() -> st.SearchStrategy[list[str]]:
    disk = st.tuples(_xm_unames, st.sampled_from(["", "ioemu:"]), vdevs, st.sampled_from(["", ":cdrom"]),
                     st.sampled_from(["r", "w", "w!"]), st.sampled_from(["", ",0", ",0,x86_32-abi"]))  # fmt: skip
    drives = st.lists(disk, max_size=4, unique_by=(lambda one: one[0], lambda one: one[2]))
    texts = drives.map(lambda found: [f"{u},{prefix}{vdev}{kind},{mode}{more}" for u, prefix, vdev, kind, mode, more in found])
    return st.one_of(texts, texts.map(lambda found: [*found, ",hde:cdrom,r"]))


_rates = st.sampled_from(["10Mb/s", "250KB/s@20ms", "1MB/s@1s", "fast", "0Mb/s"])
_xm_vifs = joined({
    "bridge": st.sampled_from(["xenbr0", "eth1"]), "ip": st.just("192.0.2.1 192.0.2.2/30"), "rate": _rates,
    "type": st.sampled_from(["ioemu", "netfront"]), "model": st.sampled_from(["e1000", "rtl8139"]), "vifname": words,
    "script": st.sampled_from(["vif-bridge", "vif-nat"]), "accel": words, "policy": words,
})  # fmt: skip
_xm_vfbs = joined({
    "vnc": flags, "sdl": flags, "vnclisten": st.just("0.0.0.0"), "vncdisplay": st.integers(0, 50), "vncunused": flags,
    "vncpasswd": words, "keymap": st.sampled_from(["de", "en-us"]), "opengl": flags, "display": st.just(":0"),
    "videoram": st.integers(4, 32), "serial": st.just("pty"),
})  # fmt: skip
_xm_pci = st.tuples(functions, st.sampled_from(["", "@6", ",msitranslate=1", ",power_mgmt=no", "@1f,msitranslate=0"])).map("".join)
_cpuid = st.sampled_from([["1:ecx=" + "x" * 32], ["0x80000001:edx=0xff", "1:eax=" + "01xks" * 6 + "11"]])

_XM = {
    "uuid": uuids, "description": lines, "pool": words, "on_xend_start": st.sampled_from(["ignore", "start"]),
    "memory": st.integers(16, 512), "maxmem": st.integers(512, 4096), "shadow_memory": st.integers(0, 9),
    "nomigrate": flags, "maxvcpus": st.integers(0, 8), "cpu_weight": st.integers(1, 65535), "cpu_cap": st.integers(0, 100),
    "on_poweroff": actions, "on_reboot": actions, "on_crash": actions, "restart": st.sampled_from(["always", "never"]),
    "acpi": flags, "apic": flags, "pae": flags, "hap": flags, "oos": flags, "hpet": flags, "viridian": flags,
    "timer_mode": st.integers(0, 4), "tsc_mode": st.integers(0, 4), "localtime": flags, "vpt_align": flags,
    "rtc_timeoffset": st.integers(-7200, 7200), "xen_platform_pci": flags, "gfx_passthru": flags, "isa": flags,
    "vif2": st.lists(joined({"front_mac": macs, "bridge": st.just("eth1"), "pdev": words}), max_size=2, unique=True),
    "nics": st.integers(-1, 3), "vfb": st.lists(_xm_vfbs, max_size=2), "pci_msitranslate": flags,
    "vscsi": st.just(["2:0:0:1,0:0:0:0"]), "vusb": st.just(["usbver=1,numports=4,port_2=1-2.3"]),
    "vtpm": st.lists(st.tuples(st.integers(-1, 5).filter(bool), words, words).map(
        lambda parts: "instance={},backend={},type={}".format(*parts)), max_size=2),
    "serial": st.one_of(serials, st.lists(serials, max_size=2)), "parallel": serials, "fda": paths,
    "soundhw": st.sampled_from(["es1370", "all"]), "usb": flags, "vncpasswd": st.sampled_from(["", "s3cret"]),
    "usbdevice": st.sampled_from(["tablet", "host:1.4", "host:0951:1666", "disk:/srv/stick"]),
    "device_model": st.sampled_from(["/usr/lib/xen/bin/qemu-dm", "/usr/lib/xen/bin/stubdom-dm"]),
    "vnc": flags, "vnclisten": st.just("0.0.0.0"), "vncdisplay": st.integers(0, 50), "vncunused": flags, "sdl": flags,
    "keymap": st.sampled_from(["de", "en-us"]), "stdvga": flags, "videoram": st.integers(1, 64), "nographic": flags,
    "opengl": flags, "features": words, "superpages": flags, "access_control": st.just(["policy=p,label=l"]),
    "cpuid": _cpuid, "cpuid_check": _cpuid, "guest_os_type": words, "s3_integrity": flags, "vcpu_avail": st.just(3),
    "boot": st.sampled_from(["c", "dc", "n", "cda"]), "vncviewer": flags, "bios": st.just("ovmf"), "vmid": st.just("3"),
}  # fmt: skip
_XM_KERNEL = {
    "ramdisk": paths, "root": st.sampled_from(["/dev/xvda1 ro", "root=/dev/sda1", "/dev/nfs"]), "extra": lines,
    "ip": st.just("192.0.2.9"), "gateway": st.just("192.0.2.1"), "hostname": words, "dhcp": st.sampled_from(["off", "dhcp"]),
    "bootentry": words,
}  # fmt: skip
_XM_BOOTS = st.sampled_from([
    {"kernel": "/boot/vmlinuz"}, {"bootloader": "pygrub"}, {"bootloader": "/usr/bin/pygrub", "bootargs": "-q --args='a b'"},
    {"builder": "hvm", "kernel": "/usr/lib/xen/boot/hvmloader"}, {"builder": "hvm", "kernel": "hvmloader"}, {},
    {"builder": "hvm", "kernel": "/boot/vmlinuz", "loader": "/usr/lib/xen/boot/hvmloader"},
    {"kernel": "/boot/vmlinuz", "nfs_root": "/exp", "nfs_server": "192.0.2.7", "root": "/dev/nfs"},
])  # fmt: skip


@st.composite
def xm_settings(draw: st.DrawFn) -> Settings:
    """What an xm file may define; pieces that exclude each other are left out."""
    found: Settings = {**draw(some(_XM)), **draw(some(_XM_KERNEL)), **draw(_XM_BOOTS)}
    found["name"] = draw(words)
    found["vcpus"] = draw(st.integers(1, 4))
    number = max(int(str(found.get("maxvcpus", 0))), int(str(found["vcpus"])))
    if found.get("maxvcpus"):
        found["maxvcpus"] = number
    pins = st.one_of(cpu_sets, st.lists(st.one_of(cpu_sets, st.just("")), min_size=number, max_size=number))
    found["cpus"] = draw(st.one_of(st.just(""), pins))
    if isinstance(found["cpus"], str):
        found["cpu"] = draw(st.integers(-1, 3))
    found["disk"] = [*draw(xm_disks())]
    found["vif"] = [*draw(st.lists(_xm_vifs, max_size=3))]
    found["pci"] = [*draw(st.lists(_xm_pci, max_size=3, unique_by=_places))]
    return found


def _places(text: str) -> str:
    return str(pci_trees(text)[0][1:5])


@st.composite
def xm_guests(draw: st.DrawFn) -> GuestConfig:
    """A guest of an xm file."""
    return build(draw(xm_settings()), path="./web1.cfg", default_name="web1", lines={"memory": 3})


# -- xl

_xl_disks = st.one_of(
    st.tuples(paths, st.sampled_from(["", "raw", "qcow2", "vhd"]), vdevs, st.sampled_from(["", "ro", "w"]),
              st.sampled_from(["", ",cdrom", ",discard", ",no-discard", ",direct-io-safe", ",specification=virtio"]))
    .map(lambda one: f"{one[0]},{one[1]},{one[2]},{one[3]}{one[4]}"),
    st.tuples(vdevs, words).map(lambda one: f"vdev={one[0]},access=rw,script=block-drbd,target={one[1]}"),
    st.tuples(vdevs, words).map(lambda one: f"vdev={one[0]},target=/srv/a,{one[1]}=b"),
    st.tuples(vdevs, words).map(lambda one: f"vdev={one[0]},format=raw,target=rbd:pool/{one[1]}"),
    vdevs.map(lambda vdev: f",,{vdev},cdrom"),
    st.tuples(paths, vdevs).map(lambda one: f"phy:{one[0]},{one[1]},w"),
)  # fmt: skip
_xl_vifs = joined({
    "bridge": st.sampled_from(["xenbr0", "eth1"]), "ip": st.just("192.0.2.1"), "mac": macs, "vifname": words,
    "rate": st.sampled_from(["10Mb/s", "250KB/s@20ms", "1MB/s@2"]), "type": st.sampled_from(["vif", "netfront"]),
    "model": st.sampled_from(["e1000", "rtl8139"]), "script": st.sampled_from(["vif-bridge", "vif-route"]),
    "mtu": st.just(1400), "devid": st.integers(0, 5), "gatewaydev": words, "trusted": flags,
})  # fmt: skip
_xl_vfbs = joined({
    "vnc": flags, "sdl": flags, "vnclisten": st.sampled_from(["0.0.0.0", "0.0.0.0:3"]), "vncunused": flags,
    "vncpasswd": words, "keymap": st.sampled_from(["de", "en-us"]), "opengl": flags, "videoram": st.integers(4, 32),
})  # fmt: skip
_xl_pci = st.tuples(functions, st.sampled_from(["", "@6", ",permissive=1", ",msitranslate=1", ",rdm_policy=strict"])).map("".join)

_XL = {
    "uuid": uuids, "pool": words, "memory": st.integers(16, 512), "maxmem": st.integers(512, 4096), "nomigrate": flags,
    "shadow_memory": st.integers(0, 9), "cpu_weight": st.integers(1, 65535), "cap": st.integers(0, 100), "nx": flags,
    "on_poweroff": actions, "on_reboot": st.one_of(actions, st.just("soft-reset")), "on_crash": actions,
    "on_watchdog": actions, "acpi": flags, "apic": flags, "pae": flags, "hap": flags, "oos": flags, "hpet": flags,
    "viridian": st.one_of(flags, st.just("1"), st.sampled_from([["base"], ["all", "!synic"], []])),
    "tsc_mode": st.sampled_from(["default", "native", "2"]), "localtime": flags,
    "rtc_timeoffset": st.one_of(st.integers(0, 7200), st.just("-3600")), "xen_platform_pci": flags,
    "gfx_passthru": st.sampled_from(["0", 1, "igd"]), "vfb": st.lists(_xl_vfbs, max_size=2), "pci_msitranslate": flags,
    "usbctrl": st.just(["type=pv,version=3,ports=20", "version=1"]), "usbdev": st.just(["hostbus=1,hostaddr=4"]),
    "vtpm": st.lists(words.map(lambda word: f"backend={word}"), max_size=2), "soundhw": st.sampled_from(["hda", "all"]),
    "serial": st.one_of(serials, st.lists(serials, max_size=2)), "usb": flags, "vncpasswd": st.sampled_from(["", "s3cret"]),
    "usbdevice": st.one_of(st.just("tablet"), st.just(["tablet", "host:1.4"])), "device_model_version": st.just("qemu-xen"),
    "vnc": flags, "vnclisten": st.just("0.0.0.0"), "vncdisplay": st.integers(0, 50), "vncunused": flags, "sdl": flags,
    "keymap": st.sampled_from(["de", "en-us"]), "stdvga": flags, "vga": st.sampled_from(["cirrus", "qxl", "none", "stdvga"]),
    "videoram": st.integers(1, 64), "nographic": flags, "opengl": flags, "seclabel": words, "nestedhvm": flags,
    "cpuid": st.sampled_from(["host,tm=0", ["1:ecx=" + "x" * 32]]), "channel": st.just(["name=a,connection=pty"]),
    "p9": st.just(["tag=a,path=/srv,security_model=none"]), "spice": flags, "spicepasswd": words, "hdtype": st.just("ahci"),
    "boot": st.sampled_from(["c", "dc", "n", "cda"]), "ms_vm_genid": st.just("generate"), "vmid": st.just("3"),
    "device_model_override": paths, "max_grant_frames": st.integers(1, 64), "vncviewer": flags,
}  # fmt: skip
_XL_BOOTS = st.sampled_from([
    {"kernel": "/boot/vmlinuz", "ramdisk": "/boot/initrd", "root": "/dev/xvda1 ro", "extra": "quiet 'a\\b\" é"},
    {"type": "pvh", "kernel": "/boot/vmlinuz", "cmdline": "root=/dev/xvda1 a root=/dev/xvda2"},
    {"kernel": "/boot/vmlinuz", "root": "/dev/xvda1", "extra": "root=/dev/xvda2"},
    {"type": "pv", "bootloader": "pygrub", "bootloader_args": ["-q", "--args=a b"]},
    {"type": "pv", "firmware": "pvgrub64"}, {"builder": "generic", "bootloader": "pygrub", "extra": "quiet"},
    {"type": "hvm"}, {"type": "hvm", "firmware": "uefi"}, {"builder": "hvm", "bios": "seabios", "boot": "n"},
    {"type": "hvm", "kernel": "/boot/vmlinuz", "root": "/dev/sda1"}, {"type": "hvm", "timer_mode": "no_missed_ticks_pending"},
])  # fmt: skip


@st.composite
def xl_settings(draw: st.DrawFn) -> Settings:
    """What an xl file may define."""
    found: Settings = {**draw(some(_XL)), **draw(_XL_BOOTS)}
    found["name"] = draw(words)
    found["vcpus"] = draw(st.integers(1, 4))
    if draw(st.booleans()):
        found["maxvcpus"] = draw(st.integers(found["vcpus"], 8))
    if draw(st.booleans()):
        found["cpus"] = draw(st.one_of(cpu_sets, st.lists(st.one_of(cpu_sets, st.just("all")), max_size=3)))
    found["disk"] = [*draw(st.lists(_xl_disks, max_size=3))]
    found["vif"] = [*draw(st.lists(_xl_vifs, max_size=3))]
    found["pci"] = [*draw(st.lists(_xl_pci, max_size=3))]
    return found


@st.composite
def xl_guests(draw: st.DrawFn) -> GuestConfig:
    """A guest of an xl file."""
    guest, _ = build_xl(draw(xl_settings()), path="./web1.cfg", lines={"memory": 3})
    return guest


guests = st.one_of(xm_guests(), xl_guests())

#: Values of any shape that a file of a dialect can hold, at most a few lists deep.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def values(singles: st.SearchStrategy[Value], names: st.SearchStrategy[str]) -> st.SearchStrategy[Settings]:
    return st.dictionaries(names, st.recursive(singles, lambda inner: st.lists(inner, max_size=3), max_leaves=6), max_size=6)


__all__: Sequence[str] = ("guests", "texts", "values", "xl_guests", "xl_settings", "xm_guests", "xm_settings")
