"""Guests in xm's words: what xl takes for granted is said, and what xm has no word for is told."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.config.sameness import gist, lost
from tests.config.strategies import xl_guests, xm_guests
from xmcompat.config.build import build
from xmcompat.config.dryrun import dry_run
from xmcompat.config.keys import KEYS
from xmcompat.config.sxp import parse, pretty, write
from xmcompat.config.sxp_form import record_form, vm_form
from xmcompat.config.to_xm import xm_values
from xmcompat.config.xl_build import build_xl
from xmcompat.errors import ConfigError
from xmcompat.guest import Dialect, EventAction, GuestConfig, KernelBoot, Value, Vbd
from xmcompat.notes import Fate


def guest(**settings: Value) -> GuestConfig:
    return build_xl({"name": "web1", "kernel": "/k", **settings}, path="web1.cfg", lines={})[0]


def hvm(**settings: Value) -> GuestConfig:
    return build_xl({"name": "web1", "type": "hvm", **settings}, path="web1.cfg", lines={})[0]


def said(made: GuestConfig) -> dict[str, Value]:
    return xm_values(made)[0]


def loud(made: GuestConfig) -> list[str]:
    return [note.key for note in xm_values(made)[1] if not note.harmless]


def soft_resets_aside(parts: dict[str, object]) -> dict[str, object]:
    events = parts["events"]
    assert isinstance(events, tuple)
    restart = EventAction.RESTART
    return {**parts, "events": tuple(restart if one is EventAction.SOFT_RESET else one for one in events)}


@given(xl_guests())
def test_xm_makes_the_same_guest_of_it(made: GuestConfig) -> None:
    values, notes = xm_values(made)
    try:
        again = build(values, path="web1.cfg", default_name="")
    except ConfigError as error:  # what xl takes and xm refuses: something that is there twice
        assert "already" in error.message or "twice" in error.message
        return
    assert gist(again) == soft_resets_aside(gist(made, without=lost(notes)))


@given(xl_guests())
def test_every_setting_is_said_or_told(made: GuestConfig) -> None:
    values, notes = xm_values(made)
    named = {note.key.partition("[")[0].partition(".")[0] for note in notes}
    folded = {"type", "cap", "bootloader_args", "cmdline", "root", "extra", "firmware", "usbctrl", "usbdev", "vga", "cpus",
              "serial", "maxvcpus", "vfb", "vnc", "sdl", "vnclisten", "vncdisplay", "vncunused", "vncpasswd", "keymap",
              "opengl", "display", "boot", "nx"}  # fmt: skip
    asking = {key for key, value in made.options.items() if value not in (0, "", [], "0")}
    assert asking - set(values) - named <= folded
    assert all(Dialect.XM in KEYS[name].dialects for name in values)
    assert not any("s3cret" in note.text() for note in notes)


@given(xm_guests())
def test_a_guest_of_xms_own_stays_as_it_was(made: GuestConfig) -> None:
    assert xm_values(made) == (made.options, ())


def test_what_xl_takes_for_granted_is_said() -> None:
    assert said(guest()) == {
        "name": "web1", "builder": "linux", "memory": 32, "vcpus": 1, "kernel": "/k", "on_poweroff": "destroy",
        "on_reboot": "restart", "on_crash": "destroy",
    }  # fmt: skip
    assert said(hvm()) == {
        "name": "web1", "builder": "hvm", "memory": 32, "vcpus": 1, "kernel": "hvmloader", "boot": "cda", "hpet": 1,
        "vnc": 1, "vnclisten": "127.0.0.1", "on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        ({"cap": 50}, "cpu_cap", 50), ({"vcpus": 2, "cpus": ["0"]}, "cpus", ["0", ""]),
        ({"kernel": "", "bootloader": "pygrub", "bootloader_args": ["-q", "--args=a b"]}, "bootargs", "-q '--args=a b'"),
        ({"cmdline": "root=/dev/a b", "root": "/dev/b"}, "extra", "root=/dev/a b"),
        ({"root": "/dev/a", "extra": "b"}, "root", "/dev/a"), ({"root": "/dev/a", "extra": "root=/dev/b"}, "extra",
                                                                 "root=/dev/a root=/dev/b"),
        ({"tsc_mode": "native"}, "tsc_mode", 2), ({"disk": ["/dev/a,,xvda"]}, "disk", ["phy:/dev/a,xvda,w"]),
        ({"disk": ["/srv/a.qcow2,qcow2,xvda,ro"]}, "disk", ["tap:qcow2:/srv/a.qcow2,xvda,r"]),
        ({"disk": [",,hdc,cdrom"]}, "disk", [",hdc:cdrom,r"]), ({"vif": [""]}, "vif", ["bridge=xenbr0"]),
        ({"disk": ["vdev=xvda,script=block-drbd,target=web1"]}, "disk", ["drbd:web1,xvda,w"]),
        ({"vnc": 1}, "vfb", ["vnc=1,vnclisten=127.0.0.1,vncpasswd="]), ({"pci": ["3:0.0"]}, "pci_msitranslate", 0),
        ({"usbctrl": ["version=1,ports=4,type=pv"]}, "vusb", ["usbver=1,numports=4"]),
    ],
)  # fmt: skip
def test_words_of_xm(settings: dict[str, Value], name: str, value: Value) -> None:
    assert said(guest(**settings))[name] == value


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        ({"vga": "stdvga"}, "stdvga", 1), ({"timer_mode": "no_missed_ticks_pending"}, "timer_mode", 2),
        ({"vnc": 0}, "vnc", 0), ({"usbdevice": ["tablet"]}, "usbdevice", "tablet"), ({"kernel": "/k"}, "loader", "hvmloader"),
        ({"usbdev": ["hostbus=1,hostaddr=4"]}, "usbdevice", "host:1.4"), ({"gfx_passthru": "igd"}, "gfx_passthru", 1),
        ({"vif": ["type=vif,bridge=b"]}, "vif", ["bridge=b,type=netfront"]), ({"viridian": ["base"]}, "viridian", 1),
    ],
)
def test_words_of_xm_for_a_guest_that_boots_by_bios(settings: dict[str, Value], name: str, value: Value) -> None:
    assert said(hvm(**settings))[name] == value


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"type": "pvh"}, "type"), ({"kernel": "", "firmware": "pvgrub64"}, "firmware"), ({"on_reboot": "soft-reset"}, "on_reboot"),
        ({"cpuid": "host,tm=0"}, "cpuid"), ({"channel": ["name=a,connection=pty"]}, "channel"), ({"nx": 0}, "nx"),
        ({"p9": ["tag=a,path=/srv,security_model=none"]}, "p9"), ({"vif": ["mtu=1400"]}, "vif[0]"), ({"cpus": "node:0"}, "cpus"),
        ({"disk": ["vdev=xvda,target=/srv/a,b"]}, "disk[0]"), ({"usbdev": ["hostbus=1,hostaddr=4"]}, "usbdev[0]"),
        ({"vtpm": ["backend=a", "backend=b"]}, "vtpm[1]"), ({"seclabel": "a"}, "seclabel"),
        ({"memory": 64, "vnuma": [["pnode=0", "size=64", "vcpus=0"]]}, "vnuma"),
    ],
)  # fmt: skip
def test_what_xm_has_no_word_for_is_told_of(settings: dict[str, Value], key: str) -> None:
    assert key in loud(guest(**settings))


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"firmware": "uefi"}, "firmware"), ({"spice": 1, "spicepasswd": "a"}, "spice"), ({"vga": "qxl"}, "vga"),
        ({"hdtype": "ahci"}, "hdtype"), ({"usbdevice": ["tablet", "mouse"]}, "usbdevice"), ({"viridian": 1}, "viridian"),
        ({"ms_vm_genid": "generate"}, "ms_vm_genid"), ({"nestedhvm": 1}, "nestedhvm"), ({"vnc": 0}, "vnc"),
        ({"vnc": 0, "vga": "stdvga"}, "vnc"),
    ],
)
def test_what_xm_has_no_word_for_in_a_guest_that_boots_by_bios(settings: dict[str, Value], key: str) -> None:
    assert key in loud(hvm(**settings))


@pytest.mark.parametrize("settings", [{"vnc": 0, "nographic": 1}, {"vnc": 0, "vga": "none"}, {"vnc": 0, "spice": 1}, {}])
def test_a_guest_without_a_display_and_without_a_card_loses_none(settings: dict[str, Value]) -> None:
    assert "vnc" not in loud(hvm(**settings))


def test_what_goes_past_the_hosts_cache_is_xms_aio() -> None:
    values, notes = xm_values(guest(disk=["/srv/a.img,raw,xvda,rw,direct-io-safe", "/dev/a,raw,xvdb,rw,direct-io-safe"]))
    assert values["disk"] == ["tap:aio:/srv/a.img,xvda,w", "phy:/dev/a,xvdb,w"]
    assert [note.key for note in notes if note.value == "direct-io-safe"] == []


def test_passwords_are_not_shown() -> None:
    notes = xm_values(hvm(spice=1, spicepasswd="s3cret"))[1]
    assert [note.value for note in notes if note.key == "spicepasswd"] == ["(not shown)"]
    assert all(note.fate in (Fate.NO_COUNTERPART, Fate.APPROXIMATED) for note in notes)


# -- as a form of xend's


@given(xm_guests())
def test_the_form_of_a_guest_of_xms_is_that_of_a_dry_run(made: GuestConfig) -> None:
    assert pretty(vm_form(made, environ={"HOME": "/root"})) == pretty(dry_run(made, environ={"HOME": "/root"}))


@given(xl_guests())
def test_a_form_is_read_back_as_it_was(made: GuestConfig) -> None:
    try:
        form = vm_form(made)
    except ConfigError:
        return
    (read,) = parse(pretty(form))
    assert [read] == parse(write(form))
    assert write(parse(write(read))[0]) == write(read)
    assert ["name", made.name] in read


def test_the_form_of_a_guest_of_xls() -> None:
    form = vm_form(guest(memory=64, disk=["/dev/a,,xvda"], vnc=1, vncpasswd="s3cret"), secrets=False)
    text = pretty(form)
    assert "(device (vbd (uname phy:/dev/a) (dev xvda) (mode w)))\n" in text
    assert "(on_crash destroy)\n" in text
    assert "s3cret" not in text


def test_the_words_of_block_iscsi_become_an_address_without_commas_and_travel_with_the_domain() -> None:
    words = "iqn=iqn.2010-01.com.example:x,portal=192.0.2.8:3261,user=alice,password=s3cret,multipath=y"
    disk = Vbd(uname=f"iscsi:{words}", protocol="iscsi", path=words, vdev="xvda", script="block-iscsi")
    guest = GuestConfig(name="a", boot=KernelBoot(kernel="/k"), dialect=Dialect.XL, disks=(disk,))
    values, _ = xm_values(guest)
    assert values["disk"] == ["iscsi://alice%s3cret@192.0.2.8:3261/iqn.2010-01.com.example:x/0?multipath=y,xvda,w"]
    text = write(record_form(guest))
    assert "(uname 'iscsi://alice@192.0.2.8:3261/iqn.2010-01.com.example:x/0?multipath=y')" in text and "s3cret" not in text
