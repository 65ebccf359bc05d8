"""The kernel command line of paravirtual guests: devices, consoles, words for Xen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.translate.guests import HOST, PV, said, vbd
from xmcompat.backends.machine import DirectKernel, XenRecord
from xmcompat.guest import Dialect, EventAction, GuestConfig, KernelBoot, Vfb
from xmcompat.notes import Fate
from xmcompat.translate.cmdline import Cmdline, pv_cmdline
from xmcompat.translate.findings import Findings
from xmcompat.translate.machine import translate

BOTH = "console=ttyS0 console=hvc0"
DEVICES = {"xvda1": "vda", "xvda2": "vdb", "xvdb": "vdc", "xvdc": "sr0"}


def line(text: str, guest: GuestConfig = PV, **devices: str) -> Cmdline:
    return pv_cmdline(guest, text, devices or DEVICES, Findings(guest))


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ("root=/dev/xvda2 ro", "root=/dev/vdb ro"),
        ("root=xvda2", "root=vdb"),
        ("root=/dev/xvdb1", "root=/dev/vdc1"),
        ("root=/dev/xvdc", "root=/dev/sr0"),
        ("root=0xca01", "root=/dev/vda"),
        ("root=ca02", "root=/dev/vdb"),
        ("root=202:1", "root=/dev/vda"),
        ("resume=/dev/xvda1 root=/dev/xvda2", "resume=/dev/vda root=/dev/vdb"),
        ("real_root=/dev/xvda2 rootdev=/dev/xvda1", "real_root=/dev/vdb rootdev=/dev/vda"),
        ("cryptdevice=/dev/xvda2:root", "cryptdevice=/dev/vdb:root"),
        ("cryptopts=target=c,source=/dev/xvda2,key=none", "cryptopts=target=c,source=/dev/vdb,key=none"),
        ("root=LABEL=xvda2", "root=LABEL=xvda2"),
        ("root=UUID=ca01-ca02", "root=UUID=ca01-ca02"),
        ("root=/dev/mapper/xvda2", "root=/dev/mapper/xvda2"),
        ("root=/dev/vg0/root", "root=/dev/vg0/root"),
        ("root=/dev/nfs nfsroot=/dev/xvda2", "root=/dev/nfs nfsroot=/dev/xvda2"),
        ("init=/dev/xvda2 myroot=/dev/xvda2", "init=/dev/xvda2 myroot=/dev/xvda2"),
        ("root=/dev/xvdz9", "root=/dev/xvdz9"),
        ('dyndbg="file a.c +p" root=/dev/xvda2', 'dyndbg="file a.c +p" root=/dev/vdb'),
        ("root=/dev/xvda2  3", "root=/dev/vdb  3"),
    ],
)
def test_device_names(given: str, becomes: str) -> None:
    assert line(given).text == f"{becomes} {BOTH}"


@pytest.mark.parametrize(
    ("given", "becomes", "primary"),
    [
        ("", BOTH, "hvc0"),
        ("quiet", f"quiet {BOTH}", "hvc0"),
        ("console=hvc0", BOTH, "hvc0"),
        ("console=xvc0 quiet", f"{BOTH} quiet", "hvc0"),
        ("console=xvc0 console=hvc0", BOTH, "hvc0"),
        ("console=tty0 console=hvc0", f"console=tty0 {BOTH}", "hvc0"),
        ("console=hvc0 console=tty0", f"{BOTH} console=tty0", "hvc0"),
        ("console=tty0", f"console=tty0 {BOTH}", "hvc0"),
        ("console=ttyS0", "console=hvc0 console=ttyS0", "ttyS0"),
        ("console=hvc0 console=ttyS0,115200n8", "console=hvc0 console=ttyS0,115200n8", "ttyS0"),
        ("console=ttyS0,9600 a console=hvc0", "console=ttyS0,9600 a console=hvc0", "hvc0"),
        ("xencons=ttyS", "console=hvc0 console=ttyS0", "ttyS0"),
        ("xencons=tty quiet", f"quiet {BOTH}", "hvc0"),
        ("a -- b console=x", f"a {BOTH} -- b console=x", "hvc0"),
        ("-- b", f" {BOTH} -- b".strip(), "hvc0"),
    ],
)
def test_consoles(given: str, becomes: str, primary: str) -> None:
    assert line(given) == Cmdline(becomes, primary)


def test_a_screen_that_was_the_console_stays_it_where_there_is_a_screen() -> None:
    guest = replace(PV, vfbs=(Vfb(vnc=True),))
    assert line("console=tty0 quiet", guest).text == f"{BOTH} console=tty0 quiet"


@pytest.mark.parametrize(
    "word",
    ["clocksource=xen", "independent_wallclock=1", "xen_emul_unplug=never", "xenfb.video=4,1024,768",
     "xen-blkfront.sda_is_xvda=1", "earlyprintk=xen", "xen_netfront.max_queues=1", "iommu=soft", "swiotlb=force",
     "idle=poll"],
)  # fmt: skip
def test_words_for_xen_are_left_out_and_told(word: str) -> None:
    findings = Findings(PV)
    assert pv_cmdline(PV, f"a {word} b", {}, findings).text == f"a b {BOTH}"
    assert [(note.key, note.value, note.fate, note.harmless) for note in findings.notes] == [
        ("extra", word, Fate.NO_MEANING, True)
    ]


@pytest.mark.parametrize("word", ["clocksource=xenon", "clocksource=tsc", "swiotlbs=1", "iommu=pt", "idle", "xencons"])
def test_other_words_stay(word: str) -> None:
    assert line(word).text == f"{word} {BOTH}"


def test_each_rewrite_is_told_under_the_option_that_said_it() -> None:
    guest = replace(PV, options={"root": "/dev/xvda2", "extra": "resume=/dev/xvda1"}, lines={"root": 4, "extra": 5})
    findings = Findings(guest)
    pv_cmdline(guest, "root=/dev/xvda2 resume=/dev/xvda1", DEVICES, findings)
    assert [(note.key, note.line, note.value, note.reason.split()[0]) for note in findings.notes] == [
        ("root", 4, "root=/dev/xvda2", "root=/dev/vdb"),
        ("extra", 5, "resume=/dev/xvda1", "resume=/dev/vda"),
    ]


def test_a_root_that_no_disk_has_is_told() -> None:
    guest = replace(PV, disks=(vbd("file:/a.img,xvdb,w"),), boot=KernelBoot(kernel="/k", cmdline="root=/dev/xvda1"))
    assert said(translate(guest, HOST), "extra") == [
        (Fate.APPROXIMATED, "no disk of the configuration is called xvda1; the guest will not find it")
    ]


@pytest.mark.parametrize(
    ("cmdline", "on_crash", "becomes"),
    [
        ("", EventAction.RESTART, f"panic=60 {BOTH}"),
        ("panic=5", EventAction.RESTART, f"panic=5 {BOTH}"),
        ("", EventAction.PRESERVE, BOTH),
        ("", EventAction.DESTROY, BOTH),
    ],
)
def test_a_guest_that_shall_come_back_after_a_crash_reboots_by_itself(
    cmdline: str, on_crash: EventAction, becomes: str
) -> None:
    guest = replace(PV, boot=KernelBoot(kernel="/k", cmdline=cmdline), on_crash=on_crash)
    assert translate(guest, HOST).machine.boot == DirectKernel(kernel="/k", cmdline=becomes)


@pytest.mark.parametrize(
    ("cmdline", "consoles"), [("", ("console1", "serial0")), ("console=ttyS0", ("serial0", "console1"))]
)
def test_the_record_names_the_main_console_first(cmdline: str, consoles: tuple[str, ...]) -> None:
    guest = replace(PV, boot=KernelBoot(kernel="/k", cmdline=cmdline))
    record = translate(guest, HOST, record=XenRecord(sxp="(vm)", started=1.0)).machine.record
    assert record == XenRecord(sxp="(vm)", started=1.0, consoles=consoles)


words = st.lists(
    st.sampled_from(["quiet", "root=/dev/xvda2", "console=hvc0", "console=xvc0", "console=tty0", "console=ttyS0",
                     "xencons=tty", "clocksource=xen", 'a="b c"', "--", "panic=1", "console=", "x"]),
    max_size=8,
).map(" ".join)  # fmt: skip


@given(words)
def test_both_consoles_are_always_named_and_the_main_one_is_the_later(text: str) -> None:
    done = line(text)
    kernel = (" " + done.text + " ").split(" -- ")[0].split()
    names = [word.removeprefix("console=").split(",")[0] for word in kernel if word.startswith("console=")]
    assert {"ttyS0", "hvc0"} <= set(names)
    assert [name for name in names if name in ("ttyS0", "hvc0")][-1] == done.primary


@given(words)
def test_what_has_been_translated_needs_no_more(text: str) -> None:
    done = line(text)
    assert line(done.text) == done


@given(st.text())
def test_any_text_is_translated(text: str) -> None:
    assert "console=" in line(text).text


@pytest.mark.parametrize(
    ("options", "cmdline", "key"),
    [
        ({"root": "/dev/xvda1", "extra": "root=/dev/xvda2"}, "root=/dev/xvda2", "extra"),
        ({"root": "/dev/xvda2 ro resume=/dev/xvda1", "extra": "3"}, "root=/dev/xvda2 ro resume=/dev/xvda1 3", "root"),
        ({"root": "root=/dev/xvda2", "extra": "3"}, "root=/dev/xvda2 3", "root"),
        ({"extra": "root=/dev/xvda2"}, "root=/dev/xvda2", "extra"),
        ({"root": "/dev/xvda2", "cmdline": "quiet"}, "root=/dev/xvda2", "root"),  # xm does not know cmdline
    ],
)
def test_a_word_belongs_to_the_option_that_it_came_from(options: dict[str, str], cmdline: str, key: str) -> None:
    guest = replace(PV, options=options, lines={"root": 4, "extra": 5})
    findings = Findings(guest)
    pv_cmdline(guest, cmdline, DEVICES, findings)
    assert {(note.key, note.line) for note in findings.notes} == {(key, guest.lines[key])}


def test_the_words_of_xls_cmdline_are_its_own() -> None:
    guest = replace(PV, dialect=Dialect.XL, options={"cmdline": "root=/dev/xvda2"})
    findings = Findings(guest)
    pv_cmdline(guest, "root=/dev/xvda2", DEVICES, findings)
    assert [note.key for note in findings.notes] == ["cmdline"]
