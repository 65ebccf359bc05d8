"""``xm create -n``: the (vm ...) form of a guest, and that it says all that the guest's configuration said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from xmcompat.config.build import build
from xmcompat.config.dryrun import dry_run
from xmcompat.config.from_sxp import values_of
from xmcompat.config.sxp import parse, pretty, write
from xmcompat.config.sxp_form import form_notes, record_form, vm_form
from xmcompat.errors import ConfigError
from xmcompat.guest import Dialect, GuestConfig, GuestKind, Value
from xmcompat.notes import Fate

ROOT = {"HOME": "/root"}


def guest(**values: Value) -> GuestConfig:
    return build({"kernel": "/k", **values}, path="./web1.cfg", default_name="web1")


def form(made: GuestConfig, **more: object) -> str:
    return pretty(dry_run(made, **more))  # type: ignore[arg-type]


def test_a_paravirtual_guest() -> None:
    made = guest(
        kernel="/boot/vmlinuz", ramdisk="/boot/initrd", name="db", memory=1024, maxmem=2048, vcpus=2,
        uuid="11111111-2222-4333-8444-555555555555", cpus=["0-3,^1", 2], localtime=1, on_crash="coredump-restart",
        root="/dev/xvda1 ro", extra="console=hvc0", ip="192.0.2.10", gateway="192.0.2.1", netmask="255.255.255.0",
        hostname="db",
        disk=["phy:vg0/db-root,xvda1,w", "tap:aio:/srv/db-swap.img,xvda2,w", "file:/srv/cd.iso,xvdc:cdrom,r"],
        vif=["bridge=xenbr0, mac=00:16:3e:11:22:33, ip=192.0.2.10", "bridge=xenbr1,rate=10Mb/s", ""],
        vfb=["vnc=1,vncunused=1,vnclisten=0.0.0.0,vncpasswd=s3cret"],
    )  # fmt: skip
    text = form(made, environ=ROOT)
    assert (
        text
        == """\
(vm
    (name db)
    (memory 1024)
    (maxmem 2048)
    (on_crash coredump-restart)
    (on_xend_start ignore)
    (on_xend_stop ignore)
    (vcpus 2)
    (uuid 11111111-2222-4333-8444-555555555555)
    (cpus ('0-3,^1' 2))
    (localtime 1)
    (oos 1)
    (image
        (linux
            (kernel /boot/vmlinuz)
            (ramdisk /boot/initrd)
            (ip 192.0.2.10:127.0.255.255:192.0.2.1:255.255.255.0:db:eth0:off)
            (root '/dev/xvda1 ro')
            (videoram 4)
            (args 'console=hvc0')
            (tsc_mode 0)
            (nomigrate 0)
        )
    )
    (s3_integrity 1)
    (device (vbd (uname phy:vg0/db-root) (dev xvda1) (mode w)))
    (device (tap (uname tap:aio:/srv/db-swap.img) (dev xvda2) (mode w)))
    (device (vbd (uname file:/srv/cd.iso) (dev xvdc:cdrom) (mode r)))
    (device (vif (bridge xenbr0) (mac 00:16:3e:11:22:33) (ip 192.0.2.10)))
    (device (vif (bridge xenbr1) (rate 10Mb/s)))
    (device (vif))
    (device (vkbd))
    (device
        (vfb
            (vnc 1)
            (vncunused 1)
            (vnclisten 0.0.0.0)
            (vncpasswd s3cret)
            (xauthority /root/.Xauthority)
        )
    )
)
"""
    )


def test_a_guest_that_boots_by_bios() -> None:
    made = guest(
        builder="hvm", kernel="hvmloader", name="desk", memory=512, vcpus=2, boot="dc", serial="pty", usb=1,
        usbdevice="tablet", soundhw="es1370", viridian=1, vnc=1, vncpasswd="", pci=["03:00.0@6,msitranslate=1"],
    )  # fmt: skip
    assert (
        form(made, environ={"HOME": "/root", "DISPLAY": ":0"})
        == """\
(vm
    (name desk)
    (memory 512)
    (on_xend_start ignore)
    (on_xend_stop ignore)
    (vcpus 2)
    (oos 1)
    (image
        (hvm
            (kernel hvmloader)
            (videoram 4)
            (serial pty)
            (acpi 1)
            (apic 1)
            (boot dc)
            (cpuid_check ())
            (display :0)
            (fda '')
            (fdb '')
            (guest_os_type default)
            (hap 1)
            (hpet 0)
            (isa 0)
            (keymap '')
            (localtime 0)
            (nographic 0)
            (oos 1)
            (pae 1)
            (pci
                ((0x0000 0x03 0x00 0x0 0x30 ((msitranslate 1)) '0000:03:00.0@6')
                )
            )
            (pci_msitranslate 1)
            (pci_power_mgmt 0)
            (rtc_timeoffset 0)
            (soundhw es1370)
            (stdvga 0)
            (timer_mode 1)
            (usb 1)
            (usbdevice tablet)
            (vcpus 2)
            (vnc 1)
            (vncunused 1)
            (viridian 1)
            (vpt_align 1)
            (xauthority /root/.Xauthority)
            (xen_platform_pci 1)
            (memory_sharing 0)
            (vncpasswd '')
            (tsc_mode 0)
            (nomigrate 0)
        )
    )
    (s3_integrity 1)
    (device
        (pci
            (dev
                (domain 0x0000)
                (bus 0x03)
                (slot 0x00)
                (func 0x0)
                (vdevfn 0x30)
                (opts (msitranslate 1))
                (key '0000:03:00.0@6')
            )
        )
    )
)
"""
    )


def heads(tree: list[object]) -> list[object]:
    return [child[0] for child in tree[1:] if isinstance(child, list)]


def test_the_order_of_the_keys() -> None:
    made = guest(
        shadow_memory=8, restart="always", on_poweroff="destroy", tsc_mode=1, nomigrate=1, on_reboot="restart",
        on_crash="destroy", features="x", on_xend_start="start", on_xend_stop="shutdown", maxmem=256, description="d",
        machine_address_size=32, suppress_spurious_page_faults=1, maxvcpus=4, vcpus=2, uuid="0" * 32, cpu=1, cpus="",
        cpu_cap=50, cpu_weight=512, localtime=1, pool="p", bootloader="pygrub", access_control=["policy=a,label=b"],
        cpuid=["1:ecx=" + "x" * 32], cpuid_check=["1:ecx=" + "x" * 32], disk=["phy:a,xvda,w"], pci=["1:0.0"],
        vscsi=["a,b"], vusb=["usbver=1"], vif=[""], vif2=["bridge=b"], vtpm=["instance=1,backend=0"], vfb=["vnc=1"],
    )  # fmt: skip
    tree = dry_run(made)
    assert heads(tree) == (
        "name memory maxmem shadow_memory restart on_poweroff tsc_mode nomigrate on_reboot on_crash features "
        "on_xend_start on_xend_stop cpuid cpuid_check machine_address_size suppress_spurious_page_faults description "
        "vcpu_avail vcpus uuid cpu cpu_cap cpu_weight localtime oos pool_name bootloader bootloader_args image "
        "s3_integrity security".split() + ["device"] * 9
    )
    devices = [child[1][0] for child in tree if isinstance(child, list) and child[0] == "device"]
    assert devices == ["vbd", "pci", "vscsi", "vusb", "vif", "vif2", "vtpm", "vkbd", "vfb"]


def test_the_order_of_the_images_common_keys() -> None:
    made = guest(
        ramdisk="/r", loader="/l", ip="1.2.3.4", root="/dev/xvda", videoram=8, parallel="pty", serial="pty",
        monitor_path="/m", monitor=1, extra="3", superpages=1, vhpt=1,
    )  # fmt: skip
    (image,) = [child[1] for child in dry_run(made) if isinstance(child, list) and child[0] == "image"]
    assert [child[0] for child in image[1:]] == (
        "kernel ramdisk loader ip root videoram parallel serial monitor_path monitor args superpages vhpt tsc_mode "
        "nomigrate".split()
    )


def test_vcpus_at_the_start_are_a_mask_in_quotes() -> None:
    assert "    (vcpu_avail '3')\n    (vcpus 4)\n" in form(guest(vcpus=2, maxvcpus=4))
    assert "vcpu_avail" not in form(guest(vcpus=2))


def test_a_leading_root_is_taken_off_and_an_nfs_root_joins_the_arguments() -> None:
    text = form(guest(root="root=/dev/xvda1", nfs_root="/exp", nfs_server="10.0.0.9", extra="quiet"))
    assert "(root /dev/xvda1)" in text
    assert "(args 'nfsroot=10.0.0.9:/exp quiet')" in text


def test_boot_loaders() -> None:
    assert "    (bootloader pygrub)\n    (bootloader_args -q)\n" in form(guest(bootloader="pygrub"))
    assert "    (bootloader_args '--entry=2')\n" in form(guest(bootloader="pygrub", bootargs="--entry=2"))


def test_a_disk_with_everything() -> None:
    made = guest(disk=["phy:a,ioemu:hda,w!,0,x86_64-abi"])
    assert write(dry_run(made)[-1]) == (
        "(device (vbd (uname phy:a) (dev ioemu:hda) (mode 'w!') (backend 0) (protocol x86_64-abi)))"
    )


def test_the_x_display_comes_from_the_environment_unless_it_is_given() -> None:
    made = guest(vfb=["sdl=1,xauthority=/x"])
    assert "(vfb (sdl 1) (xauthority /x) (display :1))" in form(made, environ={"DISPLAY": ":1", "HOME": "/root"})
    assert "(vfb (sdl 1) (xauthority /x))" in form(made)
    assert "(xauthority /a)" in form(guest(vfb=["vnc=1"]), environ={"XAUTHORITY": "/a", "HOME": "/root"})


@pytest.mark.parametrize(
    "values",
    [
        {"vfb": ["vnc=1,vncpasswd=s3cret"]},
        {"builder": "hvm", "vnc": 1, "vncpasswd": "s3cret"},
        {"builder": "hvm", "vnc": 1, "vncpasswd": "s3cret", "vfb": ["vnc=1,vncpasswd=s3cret"]},
        {"vncpasswd": "s3cret"},
    ],
)
def test_passwords_stay_here_when_the_form_travels(values: dict[str, Value]) -> None:
    assert "s3cret" not in form(guest(**values), secrets=False)
    assert "vncpasswd" not in form(guest(**values), secrets=False)


# -- law: the form says all that the configuration said

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]), max_size=12)
WORD = st.text("abcXYZ019._-/", min_size=1, max_size=8)
FLAG = st.sampled_from([0, 1])
DISK = st.builds(
    "{}{},{}{},{}".format,
    st.sampled_from(["phy:vg/", "phy:/dev/", "file:/srv/", "tap:aio:/", "tap2:aio:/", "tap:qcow2:/", "vhd:/"]), WORD,
    st.sampled_from(["", "ioemu:"]), st.sampled_from(["xvda", "xvdb1", "hdc:cdrom", "sdd", "51712"]),
    st.sampled_from(["r", "w", "w!", "w,0", "r,0,x86_64-abi"]),
)  # fmt: skip
VIF = st.builds(
    ",".join,
    st.lists(
        st.builds("{}={}".format, st.sampled_from(["bridge", "mac", "ip", "model", "type", "rate", "vifname"]), WORD),
        max_size=4,
    ),
)
VFB = st.sampled_from(["vnc=1", "type=vnc,vncdisplay=3,vncunused=0", "vnc=1,vncpasswd=", "sdl=1,vncpasswd=a b,keymap=de"])
SETTINGS: dict[str, st.SearchStrategy[Value]] = {
    "memory": st.integers(1, 4096), "maxmem": st.integers(4096, 8192), "vcpus": st.integers(1, 40),
    "maxvcpus": st.integers(0, 40), "builder": st.sampled_from(["linux", "hvm"]), "ramdisk": WORD, "loader": WORD,
    "root": TEXT, "extra": TEXT, "ip": st.sampled_from(["", "10.0.0.1"]), "dhcp": st.sampled_from(["off", "dhcp"]),
    "gateway": st.just("10.0.0.2"), "hostname": WORD, "nfs_root": WORD, "nfs_server": st.just("10.0.0.9"),
    "boot": st.sampled_from(["c", "dca", ""]), "localtime": FLAG, "rtc_timeoffset": st.integers(-9999, 9999),
    "acpi": FLAG, "hpet": FLAG, "pae": FLAG, "description": TEXT, "on_crash": st.sampled_from(["destroy", "preserve"]),
    "restart": st.sampled_from(["always", "never", "onreboot", ""]), "serial": st.sampled_from(["pty", "", "file:/x"]),
    "usb": FLAG, "usbdevice": st.sampled_from(["", "tablet"]), "stdvga": FLAG, "videoram": st.integers(1, 64),
    "vnc": FLAG, "vncdisplay": st.integers(0, 9), "vncunused": FLAG, "vnclisten": WORD, "vncpasswd": WORD, "keymap": WORD,
    "nographic": FLAG, "cpu_weight": st.integers(1, 65535), "cpus": st.sampled_from(["", "0-3,^1"]), "pool": WORD,
    "bootloader": st.sampled_from(["", "pygrub"]), "bootargs": WORD, "uuid": st.uuids().map(str),
    "disk": st.lists(DISK, max_size=2, unique_by=lambda disk: disk.split(",")[0]),
    "vif": st.lists(VIF, max_size=2), "vfb": st.lists(VFB, max_size=2),
    "vscsi": st.lists(st.sampled_from(["/dev/sdb,0:0:0:0", "host,host"]), max_size=2, unique=True),
    "vif2": st.lists(st.just("bridge=b,pdev=eth0"), max_size=1), "pci": st.lists(st.just("0000:03:00.0@6"), max_size=1),
    "cpuid": st.lists(st.just("1:ecx=" + "x" * 32), max_size=1), "name": st.text("abc.:+-_0", min_size=1, max_size=9),
}  # fmt: skip


def meaning(made: GuestConfig) -> GuestConfig:
    """What a guest is, without how its file said so; the form of a paravirtual one has no place for two settings."""
    if made.kind is GuestKind.PV:
        made = replace(made, acpi=True, rtc_timeoffset=0)
    return replace(made, options={}, unknown={}, lines={}, source="", dialect=Dialect.XM)


@settings(deadline=None, max_examples=200)
@given(st.fixed_dictionaries({}, optional=SETTINGS))
def test_a_form_read_back_is_the_same_guest(values: dict[str, Value]) -> None:
    try:
        made = guest(**values)
    except ConfigError:  # two disks of one name, say
        reject()
    text = form(made, environ=ROOT)
    (tree,) = parse(text)
    assert isinstance(tree, list)
    again = build(values_of(tree, "x"), path="x", default_name="x", dialect=Dialect.SXP)
    assert meaning(again) == meaning(made)
    assert form(again, environ=ROOT) == text


def test_what_xm_leaves_out_of_a_paravirtual_guests_form_is_told_and_travels_all_the_same() -> None:
    values: dict[str, Value] = {"kernel": "/k", "memory": 64, "rtc_timeoffset": -7200}
    guest = build(values, path="a.cfg", default_name="a", lines={"rtc_timeoffset": 3})
    assert "rtc_timeoffset" not in write(vm_form(guest))
    assert "(rtc_timeoffset -7200)" in write(record_form(guest))
    assert [(note.key, note.line, note.fate) for note in form_notes(guest)] == [
        ("rtc_timeoffset", 3, Fate.NO_COUNTERPART)
    ]
    full = build({**values, "builder": "hvm"}, path="a.cfg", default_name="a")
    assert write(record_form(full)).count("(rtc_timeoffset -7200)") == 1
    assert form_notes(full) == ()
