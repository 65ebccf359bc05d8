"""Guests in xl's words: what xm takes for granted is said, and what xl has no word for is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from tests.config.sameness import gist, lost
from tests.config.strategies import xl_guests, xm_guests
from xmcompat.config.build import build
from xmcompat.config.keys import KEYS
from xmcompat.config.to_xl import xl_values
from xmcompat.config.write_xl import print_xl
from xmcompat.config.xl import parse
from xmcompat.config.xl_build import build_xl
from xmcompat.guest import Dialect, GuestConfig, Value
from xmcompat.notes import Fate, Note


def guest(**settings: Value) -> GuestConfig:
    return build({"name": "web1", "kernel": "/k", **settings}, path="web1.cfg", default_name="web1", lines={"disk": 7})


def hvm(**settings: Value) -> GuestConfig:
    return guest(**{"builder": "hvm", "kernel": "hvmloader", **settings})


def said(made: GuestConfig) -> dict[str, Value]:
    return xl_values(made)[0]


def told(made: GuestConfig, key: str) -> list[tuple[Fate, str, bool]]:
    return [(note.fate, note.reason, note.harmless) for note in xl_values(made)[1] if note.key == key]


def loud(notes: tuple[Note, ...]) -> list[str]:
    return [note.key for note in notes if not note.harmless]


@given(xm_guests())
def test_xl_makes_the_same_guest_of_it(made: GuestConfig) -> None:
    values, notes = xl_values(made)
    text = print_xl(values)
    again, _ = build_xl(parse(text, "web1.cfg").values, path="web1.cfg", lines={})
    assert gist(again) == gist(made, without=lost(notes))


@given(xm_guests())
def test_every_setting_is_said_or_told(made: GuestConfig) -> None:
    values, notes = xl_values(made)
    named = {note.key.partition("[")[0].partition(".")[0] for note in notes}
    folded = {
        "builder", "cpu", "cpu_cap", "restart", "nics", "bootargs", "vif2", "vusb", "loader", "ip", "gateway", "hostname",
        "dhcp", "nfs_root", "nfs_server", "root", "extra",
    }  # fmt: skip
    asking = {key for key, value in made.options.items() if value not in (0, "", [], "none")}
    assert asking - set(values) - named - folded <= {"cpus", "serial", "maxvcpus", "bootloader", "vncpasswd", "keymap",
                                                     "vnclisten", "vncdisplay", "vncunused", "sdl", "vnc", "vfb",
                                                     "opengl", "display"}  # fmt: skip
    assert all(Dialect.XL in KEYS[name].dialects for name in values)
    assert not any("s3cret" in note.text() for note in notes)


@given(xl_guests())
def test_a_guest_of_xls_own_stays_as_it_was(made: GuestConfig) -> None:
    assert xl_values(made) == ({**made.options, "name": made.name}, ())


def test_what_xm_takes_for_granted_is_said() -> None:
    assert said(guest()) == {
        "name": "web1", "type": "pv", "memory": 128, "vcpus": 1, "kernel": "/k", "on_poweroff": "destroy",
        "on_reboot": "restart", "on_crash": "restart",
    }  # fmt: skip
    assert said(hvm()) == {
        "name": "web1", "type": "hvm", "memory": 128, "vcpus": 1, "boot": "c", "hpet": 0, "vnc": 0,
        "nographic": 1,         "on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "restart",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        ({"cpu_cap": 50}, "cap", 50),
        ({"bootloader": "pygrub", "bootargs": "-q --args='a b'"}, "bootloader_args", ["-q", "--args=a b"]),
        ({"kernel": ""}, "bootloader", "pygrub"),
        ({"vcpus": 2, "cpus": ["0-3,^1", ""]}, "cpus", ["0,2-3", "all"]),
        ({"vcpus": 2, "cpu": 3}, "cpus", "3"),
        ({"vcpus": 2, "maxvcpus": 4}, "maxvcpus", 4),
        ({"restart": "never"}, "on_reboot", "destroy"),
        ({"tsc_mode": 2}, "tsc_mode", "native"),
        ({"cpuid": ["1:eax=0xff"]}, "cpuid", ["1:eax=" + "0" * 24 + "1" * 8]),
        ({"root": "/dev/xvda1 ro", "extra": "quiet"}, "extra", "quiet"),
        ({"root": "/dev/xvda1 ro", "extra": "quiet"}, "root", "/dev/xvda1 ro"),
        ({"root": "/dev/sda1", "extra": "root=/dev/sda2"}, "extra", "root=/dev/sda2"),
        ({"nfs_root": "/exp", "nfs_server": "10.0.0.9", "root": "/dev/nfs", "dhcp": "dhcp", "extra": "quiet"}, "extra",
         "ip=:10.0.0.9::::eth0:dhcp nfsroot=10.0.0.9:/exp quiet"),
        ({"vif": ["type=netfront,mac=00:16:3e:00:00:01"]}, "vif", ["mac=00:16:3e:00:00:01"]),
        ({"vif2": ["front_mac=00:16:3e:00:00:01,bridge=b"]}, "vif", ["mac=00:16:3e:00:00:01,bridge=b"]),
        ({"vfb": ["type=vnc,vncunused=0,vncdisplay=5"]}, "vfb", ["vnc=1,vncdisplay=5,vncunused=0"]),
        ({"vfb": ["sdl=1"]}, "vfb", ["vnc=0,sdl=1"]),
        ({"pci": ["03:00.0@6"]}, "pci", ["0000:03:00.0@6"]),
        ({"pci": ["03:00.0@6"]}, "pci_msitranslate", 1),
        ({"vusb": ["usbver=1,numports=4"]}, "usbctrl", ["type=pv,version=1,ports=4"]),
        ({"vtpm": ["instance=1,backend=0"]}, "vtpm", ["backend=0"]),
    ],
)  # fmt: skip
def test_words_of_xl(settings: dict[str, Value], name: str, value: Value) -> None:
    assert said(guest(**settings))[name] == value


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        ({"vnc": 1, "vncpasswd": "s3cret", "vncdisplay": 5, "vncunused": 0}, "vncpasswd", "s3cret"),
        ({"vnc": 1, "vncdisplay": 5, "vncunused": 0}, "vncunused", 0),
        ({"vnc": 0, "vfb": ["vnc=1,vnclisten=0.0.0.0"]}, "vnc", 1),
        ({"vnc": 0, "vfb": ["vnc=1,vnclisten=0.0.0.0"]}, "vnclisten", "0.0.0.0"),
        ({"sdl": 1}, "vnc", 0),
        ({"viridian": 1}, "viridian", ["base", "time_ref_count", "apic_assist"]),
        ({"timer_mode": 2}, "timer_mode", "no_missed_ticks_pending"),
        ({"hpet": 1}, "hpet", 1),
        ({"stdvga": 1, "videoram": 32}, "videoram", 32),
        ({"serial": ["pty", "none"]}, "serial", "pty"),
        ({"vif": ["type=netfront,bridge=b"]}, "vif", ["bridge=b,type=vif"]),
        ({"kernel": "/k", "loader": "/usr/lib/xen/boot/hvmloader", "extra": "quiet"}, "kernel", "/k"),
    ],
)  # fmt: skip
def test_words_of_xl_for_a_guest_that_boots_by_bios(settings: dict[str, Value], name: str, value: Value) -> None:
    assert said(hvm(**settings))[name] == value


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("phy:vg0/web1,xvda1,w", "/dev/vg0/web1,raw,xvda1,rw,no-discard"),
        ("file:/srv/a.img,xvda,r", "/srv/a.img,raw,xvda,ro"),
        ("tap:qcow2:/srv/a.qcow2,xvda,w", "/srv/a.qcow2,qcow2,xvda,rw,no-discard"),
        ("tap:tapdisk:aio:/srv/a.img,xvda,w", "/srv/a.img,raw,xvda,rw,direct-io-safe,no-discard"),
        ("tap2:aio:/srv/a=b.img,xvda,w", "format=raw,vdev=xvda,access=rw,direct-io-safe,no-discard,target=/srv/a=b.img"),
        ("tap:aio:/srv/a.iso,hdc:cdrom,r", "/srv/a.iso,raw,hdc,ro,cdrom"),
        ("tap:sync:/srv/a.img,xvda,w", "/srv/a.img,raw,xvda,rw,no-discard"),
        ("file:/srv/cd.iso,hdc:cdrom,r", "/srv/cd.iso,raw,hdc,ro,cdrom"),
        (",hdc:cdrom,r", ",,hdc,ro,cdrom"),
        ("mine:pool/web1,xvda,w", "format=raw,vdev=xvda,access=rw,no-discard,script=block-mine,target=pool/web1"),
        ("nbd:10.0.0.1 10809,xvda,w", "format=raw,vdev=xvda,access=rw,no-discard,script=block-nbd,target=10.0.0.1 10809"),
        ("rbd:pool/web1,xvda,w", "format=raw,vdev=xvda,access=rw,no-discard,target=rbd:pool/web1"),
        ("file:/srv/a=b.img,xvda,w", "format=raw,vdev=xvda,access=rw,no-discard,target=/srv/a=b.img"),
        ("phy:/dev/a,xvda,w,0", "/dev/a,raw,xvda,rw,backend=0,no-discard"),
        ("phy:/dev/a,xvda,w!", "/dev/a,raw,xvda,rw,no-discard"),
        ("phy:/srv/node,xvda,w", "/srv/node,raw,xvda,rw,no-discard,backendtype=phy"),
    ],
)
def test_disks(text: str, written: str) -> None:
    assert said(guest(disk=[text]))["disk"] == [written]


def test_two_words_for_one_image_are_told_of_where_it_is_written_to() -> None:
    ((fate, sentence, harmless),) = told(guest(disk=["phy:/srv/0,xvda,w", "file:/srv/0,xvdb,r"]), "disk[1]")
    assert (fate, harmless) == (Fate.APPROXIMATED, False)
    assert sentence == "disk[0] has /srv/0 as well, and one of them writes to it: xl refuses that"
    assert told(guest(disk=["phy:/srv/0,xvda,r", "file:/srv/0,xvdb,r"]), "disk[1]") == []


def test_a_shared_disk_is_told_of() -> None:
    made = guest(disk=["phy:/dev/a,xvda,w!"])
    assert "disk[0]" in loud(xl_values(made)[1])
    assert told(made, "disk[0]")[0][0] is Fate.APPROXIMATED
    note = xl_values(made)[1][0]
    assert (note.path, note.line, note.value) == ("web1.cfg", 7, "phy:/dev/a")


@pytest.mark.parametrize("text", ["tap:vmdk:/srv/a.vmdk,xvda,w", "tap:ram:1024,xvda,w", "tap:remus:h:1|aio:/a,xvda,w"])
def test_a_disk_that_xl_cannot_have_is_left_out_and_told_of(text: str) -> None:
    made = guest(disk=[text])
    assert "disk" not in said(made)
    assert [(fate, harmless) for fate, _, harmless in told(made, "disk[0]")] == [(Fate.NO_COUNTERPART, False)]


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"vscsi": ["/dev/sdb,0:0:0:0"]}, "vscsi"), ({"cpuid_check": ["1:ecx=" + "x" * 32]}, "cpuid_check"),
        ({"on_xend_start": "start"}, "on_xend_start"), ({"vif": ["rate=fast"]}, "vif[0]"), ({"vif": [""]}, "vif[0]"),
        ({"vusb": ["usbver=2,port_1=1-2"]}, "vusb[0]"), ({"vtpm": ["instance=1,backend=0"]}, "vtpm[0].instance"), ({"tsc_mode": 7}, "tsc_mode"),
        ({"vfb": ["vnc=1,serial=pty"]}, "vfb[0].serial"), ({"access_control": ["policy=p,label=l"]}, "access_control"),
        ({"vif2": ["pdev=eth0"]}, "vif2[0].pdev"),
    ],
)  # fmt: skip
def test_what_xl_has_no_word_for_is_told_of(settings: dict[str, Value], key: str) -> None:
    assert key in loud(xl_values(guest(**settings))[1])


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"fda": "/f.img"}, "fda"), ({"parallel": "/dev/parport0"}, "parallel"), ({"monitor": 1}, "monitor"),
        ({"device_model": "/usr/lib/xen/bin/stubdom-dm"}, "device_model"), ({"vnc": 1, "vncpasswd": ""}, "vncpasswd"),
    ],
)
def test_what_xl_has_no_word_for_in_a_guest_that_boots_by_bios(settings: dict[str, Value], key: str) -> None:
    assert key in loud(xl_values(hvm(**settings))[1])


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"bios": "ovmf"}, "bios"), ({"vnc": 1}, "vnc"), ({"s3_integrity": 1}, "s3_integrity"),
        ({"disk": ["tap:sync:/a,xvda,w"]}, "disk[0]"), ({"parallel": "/dev/parport0"}, "parallel"),
    ],
)  # fmt: skip
def test_what_the_guest_cannot_miss_is_told_in_a_low_voice(settings: dict[str, Value], key: str) -> None:
    notes = xl_values(guest(**settings))[1]
    assert key in [note.key for note in notes]
    assert key not in loud(notes)


def test_a_form_of_xends_is_taken_as_xm_takes_it() -> None:
    made = replace(guest(cpu_cap=50), dialect=Dialect.SXP)
    assert xl_values(made) == xl_values(guest(cpu_cap=50))


def test_an_unnamed_file_of_xl_gets_the_name_of_its_guest() -> None:
    made, _ = build_xl({"kernel": "/k"}, path="web1.cfg", lines={}, default_name="web1")
    assert said(made) == {"name": "web1", "kernel": "/k"}
