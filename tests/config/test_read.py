"""Bytes to guests: which dialect, how many, what is told of each, and which line an error is in."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xmcompat.config.read import SAVED, Document, offline_host, read, read_each
from xmcompat.config.words import for_any_tool
from xmcompat.errors import ConfigError, ConfigLimit, NotConvertible, UnsupportedConfig, XmError
from xmcompat.guest import Dialect, GuestKind, KernelBoot, LoaderBoot
from xmcompat.migration import save_file
from xmcompat.notes import Fate, Note

XM = "kernel = '/k'\nname = 'web1'\nmemory = 64\non_crash = 'restart'\n"
XL = "name = 'web1'\ntype = 'hvm'\nmemory = 64\ndisk = ['/dev/vg0/a,raw,hda,rw']\n"
FORM = "(vm (name {name}) (memory 64) (vcpus 1) (image (linux (kernel /k))){more})\n"


def read_text(text: str, *words: str, path: str = "web1.cfg", dialect: Dialect | None = None) -> tuple[Document, ...]:
    return read(text.encode(), path, dialect=dialect, words=for_any_tool(words), host=offline_host())


def one(text: str, *words: str, dialect: Dialect | None = None) -> Document:
    (document,) = read_text(text, *words, dialect=dialect)
    return document


def notes_on(document: Document, key: str) -> list[Note]:
    return [note for note in document.notes if note.key == key]


def form(name: str = "a", more: str = "") -> str:
    return FORM.format(name=name, more=more)


# -- which dialect


@pytest.mark.parametrize(
    ("text", "dialect", "kind"),
    [(XM, Dialect.XM, GuestKind.PV), (XL, Dialect.XL, GuestKind.HVM), (form(), Dialect.SXP, GuestKind.PV)],
)
def test_the_dialect_is_told_from_the_text(text: str, dialect: Dialect, kind: GuestKind) -> None:
    guest = one(text).guest
    assert (guest.dialect, guest.kind, guest.source) == (dialect, kind, "web1.cfg")


def test_a_dialect_that_is_given_counts() -> None:
    assert one("name='a'\nkernel='/k'\n", dialect=Dialect.XM).guest.on_crash.value == "restart"
    assert one("name='a'\nkernel='/k'\n", dialect=Dialect.XL).guest.on_crash.value == "destroy"


def test_a_text_that_both_tools_read_is_xms_and_says_what_xl_would_make_of_it() -> None:
    (note,) = notes_on(one("kernel = '/k'\nvif = ['type=ioemu']\n"), "(dialect)")
    assert note.fate is Fate.APPROXIMATED
    assert not note.harmless
    for part in ("on_crash is restart (xl: destroy)", "memory is 128 MiB (xl: 32)", "type=ioemu"):
        assert part in note.reason


@pytest.mark.parametrize("text", [XM, "import os\nkernel = '/k'\n"])
def test_nothing_is_said_where_there_is_no_doubt_or_no_difference(text: str) -> None:
    assert notes_on(one(text), "(dialect)") == []


def test_nothing_is_said_where_the_dialect_is_given() -> None:
    assert notes_on(one("kernel = '/k'\n", dialect=Dialect.XM), "(dialect)") == []


# -- a file without marks of either tool, which one of them cannot read

PLAIN = "name = 'a'\nmemory = 64\nkernel = '/k'\non_crash = 'restart'\n"


@pytest.mark.parametrize("line", ["disk = ['phy:vg/a,xvda']", "vif = ['bridge=br0,']", "vcpus = 4; cpus = ['0', '1']"])
def test_what_xm_cannot_read_and_xl_can_is_xls_and_a_note_says_why(line: str) -> None:
    document = one(f"{PLAIN}{line}\n")
    assert document.guest.dialect is Dialect.XL
    (note,) = notes_on(document, "(dialect)")
    assert (note.fate, note.harmless, note.value) == (Fate.APPROXIMATED, False, "xl")
    assert note.suggestion == "if it was xm's, read it with --dialect xm"
    with pytest.raises(ConfigError) as caught:
        one(f"{PLAIN}{line}\n", dialect=Dialect.XM)
    assert caught.value.message in note.reason


def test_words_that_xm_cannot_take_are_no_reason_to_take_a_file_for_xls() -> None:
    with pytest.raises(ConfigError, match="Invalid value: 0x2"):
        one(PLAIN, "vcpus=0x2")


@pytest.mark.parametrize("line", ["disk = 'phy:vg/a,xvda,w'", "vif = ['colour=red']", "memory = '64M'", "vfb = ['colour=1']",
                                  "cpuid = ['1:ecx=01']", "disk = ['phy:a,xvda,w', 'phy:b,xvda,w']"])  # fmt: skip
def test_what_xl_would_pass_over_is_xms_mistake_and_has_a_hint(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        one(f"{PLAIN}{line}\n")
    assert caught.value.hint == "if it was xl's, read it with --dialect xl"
    with pytest.raises(ConfigError) as caught:
        read_each(f"{PLAIN}{line}\n".encode(), "web1.cfg", usual=Dialect.XM, host=offline_host())
    assert caught.value.hint is None


def test_what_neither_can_read_fails_in_xms_words() -> None:
    with pytest.raises(ConfigError, match="Invalid mode"):
        one(f"{PLAIN}disk = ['phy:vg/a,xvda,x']\n")


def test_what_is_never_done_on_kvm_is_refused_whatever_xl_would_make_of_it() -> None:
    with pytest.raises(NotConvertible):
        one(f"{PLAIN}pci = []\nioports = ['3f8']\n")


def test_what_has_a_key_of_xls_is_xls_and_says_what_xm_would_make_of_it() -> None:
    document = one("name = 'a'; memory = 64; kernel = '/k'\ncap = 50\n")
    assert (document.guest.dialect, document.guest.cap) == (Dialect.XL, 50)
    (note,) = notes_on(document, "(dialect)")
    assert note.reason == "only xl knows cap, and nothing else tells which tool's it is; as xl's, on_crash is destroy (xm: restart)"


def test_what_has_a_key_of_xls_and_is_unreadable_for_xl_is_xms() -> None:
    document = one("memory = 64; kernel = '/k'\nnx = 1\n")
    assert document.guest.dialect is Dialect.XM
    assert "Domain name must be specified." in notes_on(document, "(dialect)")[0].reason


def test_the_tool_that_the_host_had_counts_where_no_mark_decides() -> None:
    def read_as(text: str, usual: Dialect) -> Document | XmError:
        (outcome,) = read_each(text.encode(), "web1.cfg", usual=usual, host=offline_host())
        return outcome

    outcomes = [read_as(PLAIN, usual) for usual in (Dialect.XM, Dialect.XL)]
    assert [outcome.guest.dialect for outcome in outcomes if isinstance(outcome, Document)] == [Dialect.XM, Dialect.XL]
    outcome = read_as(f"{PLAIN}disk = ['phy:vg/a,xvda']\n", Dialect.XM)
    assert isinstance(outcome, Document) and outcome.guest.dialect is Dialect.XL
    outcome = read_as(f"{PLAIN}disk = ['phy:a,xvda,w!']\n", Dialect.XL)
    assert isinstance(outcome, Document) and outcome.guest.dialect is Dialect.XM


# -- what xm refuses, and is plain all the same

HERE = replace(offline_host(), absent=False)


@pytest.mark.parametrize(
    ("path", "uname"), [("/dev/vg/a", "phy:/dev/vg/a"), ("/srv/a.img", "file:/srv/a.img"), ("/dev/shm/a", "file:/dev/shm/a")]
)
def test_a_path_without_its_kind_is_read_where_nobody_starts_the_guest(path: str, uname: str) -> None:
    text = f"{PLAIN}disk = ['file:/x,xvdb,r', '{path},xvda,w']\n"
    document = one(text)
    assert document.guest.dialect is Dialect.XM
    assert document.guest.disks[1].uname == uname
    assert document.guest.options["disk"] == ["file:/x,xvdb,r", f"{uname},xvda,w"]
    (note,) = notes_on(document, "disk[1]")
    assert (note.fate, note.harmless, note.value, note.line) == (Fate.APPROXIMATED, False, f"'{path},xvda,w'", 5)
    assert note.suggestion == f"write {uname}"
    with pytest.raises(ConfigError, match="Block device must have physical details specified"):
        read(text.encode(), "web1.cfg", dialect=Dialect.XM, host=HERE)


def test_an_image_without_a_whole_path_lies_below_the_root_and_a_note_says_so() -> None:
    document = one(f"{PLAIN}disk = ['file:a.img,xvda,w', 'tap:aio:b/c.img,xvdb,w', 'phy:vg/c,xvdc,w', 'drbd:d,xvdd,w']\n")
    assert [disk.path for disk in document.guest.disks] == ["/a.img", "/b/c.img", "/dev/vg/c", "d"]
    found = [note for note in document.notes if note.key.startswith("disk[")]
    assert [(note.key, note.fate, note.harmless, note.value) for note in found] == [
        ("disk[0]", Fate.APPROXIMATED, False, "'file:a.img'"), ("disk[1]", Fate.APPROXIMATED, False, "'tap:aio:b/c.img'"),
    ]  # fmt: skip
    assert "/a.img" in found[0].reason


def test_an_image_without_a_whole_path_is_told_of_in_a_form_too() -> None:
    document = one(form(more="(device (vbd (uname file:a.img) (dev xvda) (mode w)))"))
    assert [note.harmless for note in notes_on(document, "disk[0]")] == [False]


def test_the_number_0_of_a_tpm_is_read_as_any_where_nobody_starts_the_guest() -> None:
    text = f"{PLAIN}vtpm = ['instance=0,backend=0']\n"
    document = one(text, dialect=Dialect.XM)
    assert [(tpm.instance, tpm.backend) for tpm in document.guest.tpms] == [("0", "0")]
    assert [note.harmless for note in notes_on(document, "vtpm[0]")] == [False]
    with pytest.raises(ConfigError, match="vTPM instance must not be 0."):
        read(text.encode(), "web1.cfg", dialect=Dialect.XM, host=HERE)


@pytest.mark.parametrize("dialect", [Dialect.XM, Dialect.XL, None])
def test_a_very_long_value_is_not_in_an_error_as_a_whole(dialect: Dialect | None) -> None:
    for line in (f"vif = ['{'a' * 900_000}']", f"disk = ['{'a' * 900_000}']", f"uuid = '{'a' * 900_000}'"):
        try:
            one(f"{PLAIN}{line}\n", dialect=dialect)
        except ConfigError as error:
            assert len(error.line()) < 1200
    with pytest.raises(ConfigError) as caught:
        read(f"{PLAIN}vif = ['{'a' * 9000}']\n".encode(), "a", dialect=Dialect.XM, host=HERE)
    assert len(caught.value.line()) > 9000


# -- xm


def test_the_name_is_that_of_the_file_unless_another_is_given() -> None:
    assert one("kernel='/k'\n").guest.name == "web1.cfg"
    (document,) = read(b"kernel='/k'\n", "/etc/xen/x", host=offline_host(), default_name="y")
    assert document.guest.name == "y"


def test_a_relative_kernel_stays_as_it_is() -> None:
    assert one("kernel='vmlinuz'\nname='a'\n").guest.boot == KernelBoot(kernel="vmlinuz")


def test_words_of_the_command_line() -> None:
    guest = one("name = 'n%s' % vmid\nmemory = 32\nkernel = '/k'\n", "vmid=3", "memory=99").guest
    assert (guest.name, guest.memory) == ("n3", 99)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("kernel='/k'\n\ndisk=['phy:a,xvda,x']\n", 3),
        ("kernel='/k'\nvcpus=2\ncpus=['1']\n", 3),
        ("memory=64\nmaxmem=32\nkernel='/k'\n", 2),
        ("kernel='/k'\non_crash='foo'\n", 2),
        ("kernel='/k'\nuuid='x'\nmemory=3\n", 2),
    ],
)
def test_an_error_in_xms_words_knows_its_line_all_the_same(text: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        one(text)
    assert (caught.value.path, caught.value.line_number) == ("web1.cfg", line)
    assert "web1.cfg" not in caught.value.message or "uuid" in caught.value.message


def test_a_script_away_from_its_host_finds_no_file_and_a_note_says_so() -> None:
    document = one("import os\nkernel = os.path.exists('/bin/sh') and '/a' or '/b'\nname='a'\n")
    assert document.guest.boot == KernelBoot(kernel="/b")
    assert [note.reason for note in notes_on(document, "(script)")] == [
        "it asks for files that are there, which depends on the host"
    ]


def test_a_script_away_from_its_host_gives_the_same_each_time() -> None:
    text = "import os, time\nname = '%s-%d' % (os.uname()[1], time.time())\nkernel = os.getcwd() + '/k'\n"
    guest = one(text).guest
    assert (guest.name, guest.boot) == ("localhost-0", KernelBoot(kernel="/etc/xen/k"))
    assert any("the time" in note.reason for note in one(text).notes)


# -- xl


def test_every_key_of_an_xl_file_has_a_note() -> None:
    text = XL + "cpu_cap = 50\nvif2 = ['x']\nspam = 1\non_crash = 'destroy'\nmemory = 65\nboot = 'c'\n"
    document = one(text)
    told = {note.key.partition("[")[0] for note in document.notes}
    assert {"name", "type", "memory", "disk", "cpu_cap", "vif2", "spam", "on_crash", "boot"} <= told
    (note,) = notes_on(document, "cpu_cap")
    assert (note.fate, note.suggestion, note.line) == (Fate.NO_MEANING, "xl's own word is cap", 5)
    (note,) = notes_on(document, "(file)")
    assert (note.line, note.reason) == (9, "memory is set again; what line 3 says of it does not count")


@pytest.mark.parametrize("key", ["boot", "hpet", "serial", "spice"])
def test_settings_of_the_device_model_mean_nothing_to_a_paravirtual_guest_of_xl(key: str) -> None:
    (note,) = notes_on(one(f"name='a'\ntype='pv'\nkernel='/k'\n{key} = '1'\n"), key)
    assert (note.fate, note.harmless) == (Fate.NO_MEANING, True)


def test_a_display_of_a_paravirtual_guest_of_xl_needs_vnc() -> None:
    text = "name='a'\ntype='pv'\nkernel='/k'\nvncdisplay = 3\n"
    assert notes_on(one(text), "vncdisplay")[0].fate is Fate.NO_MEANING
    assert notes_on(one(text + "vnc = 1\n"), "vncdisplay")[0].fate is not Fate.NO_MEANING


def test_words_change_an_xl_file_and_texts_need_no_quotes() -> None:
    guest = one(XL, "memory=99", "name=other", "spice=1", 'disk=/dev/vg0/b,raw,hda,rw').guest
    assert (guest.memory, guest.name, guest.options["spice"], guest.disks[0].path) == (99, "other", 1, "/dev/vg0/b")
    assert "memory" not in guest.lines


def test_a_nameless_xl_file_is_refused_unless_a_name_is_given() -> None:
    with pytest.raises(ConfigError, match="Domain name must be specified"):
        one("type='pv'\nkernel='/k'\n")
    assert one("type='pv'\nkernel='/k'\n", "name=x").guest.name == "x"


# -- forms


def test_each_form_is_a_guest_and_domain_0_is_none() -> None:
    text = (
        "(domain (domid 0) (uuid 00000000-0000-0000-0000-000000000000) (name Domain-0) (memory 512))\n"
        "# a comment\n" + form("a") + form("b")
    )
    first, second = read_text(text)
    assert (first.guest.name, second.guest.name) == ("a", "b")
    (note,) = notes_on(first, "(file)")
    assert (note.value, note.harmless) == ("Domain-0", True)


def test_one_form_that_cannot_be_read_leaves_the_others() -> None:
    text = form("a") + "(vm (name b) (vcpus 1))\n" + form("c")
    outcomes = read_each(text.encode(), "x.sxp", host=offline_host())
    assert [outcome.guest.name for outcome in outcomes if isinstance(outcome, Document)] == ["a", "c"]
    assert isinstance(outcomes[1], XmError)
    assert outcomes[1].line().startswith("domain 'b': Invalid Configuration: memory_dynamic_max")
    with pytest.raises(ConfigError):
        read_text(text)


def test_only_domain_0_is_no_guest() -> None:
    with pytest.raises(ConfigError, match="there is no"):
        read_text("(domain (domid 0) (name Domain-0) (memory 512))")


def test_what_xm_says_in_front_of_a_form_is_passed_over() -> None:
    assert one(f'Using config file "./a".\n{form("a")}').guest.name == "a"
    assert len(read_text(f'Using config file "./a".\n{form("a")}Using config file "./b".\n{form("b")}')) == 2


def test_attributes_are_passed_over_and_told() -> None:
    document = one("(vm (@ (id 3)) (name a) (memory 64) (vcpus 1) (image (linux (@ (x y)) (kernel /k))))")
    assert document.guest.boot == KernelBoot(kernel="/k")
    assert notes_on(document, "@id")[0].harmless
    assert notes_on(document, "@x")[0].harmless


def test_devices_of_old_forms_stand_alone() -> None:
    guest = one(form(more="(vbd (uname phy:vg0/a) (dev xvda) (mode w)) (vif (mac 00:16:3e:00:00:01))")).guest
    assert guest.disks[0].path == "/dev/vg0/a"
    assert guest.vifs[0].mac == "00:16:3e:00:00:01"


@pytest.mark.parametrize(
    ("device", "text"),
    [
        ("(pci (domain 0x0000) (bus 0x03) (slot 0x1c) (func 0x2))", "0000:03:1c.2"),
        ("(pci (domain 1) (bus 3) (dev 1) (func 0))", "0001:03:01.0"),
        ("(pci (dev (domain 0x0) (bus 0x03) (slot 0x01) (func 0x0) (vdevfn 0x30) (opts (msitranslate 1))))",
         "0000:03:01.0@06,msitranslate=1"),
        ("(pci (uuid u) (dev (domain 0x0) (bus 0x3) (slot 0x1) (func 0x0) (key '0000:03:01.0')))", "0000:03:01.0"),
    ],
)  # fmt: skip
def test_pci_devices_of_every_age(device: str, text: str) -> None:
    for more in (f"(device {device})", device):
        assert one(form(more=more)).guest.options["pci"] == [text]


def test_a_pci_device_with_a_number_that_is_none() -> None:
    with pytest.raises(ConfigError, match="the bus 'zz', which is no number"):
        one(form(more="(pci (bus zz) (slot 1) (func 0))"))


def test_an_old_display_and_an_old_tpm() -> None:
    guest = one(form(more="(device (vfb (type vnc) (uuid u))) (device (vtpm (pref_instance 2) (backend 0)))")).guest
    assert guest.vfbs[0].vnc
    assert (guest.tpms[0].instance, guest.tpms[0].backend) == ("2", "0")


MANAGED = """(domain (vcpus_params ((cap 50) (weight 300) (cpumap0 '0,2') (cpumap1 '3')))
    (PV_kernel /k) (PV_args 'root=/dev/xvda1') (memory_static_max 2147483648) (memory_dynamic_max 1073741824)
    (VCPUs_max 2) (actions_after_crash preserve) (name_label shop) (auto_power_on True) (platform ((localtime 1)))
    (PV_bootloader '') (is_a_template False)%s)"""


def test_a_managed_domain_that_has_the_xen_apis_names_alone() -> None:
    guest = one(MANAGED % "").guest
    assert (guest.name, guest.memory, guest.maxmem, guest.vcpus, guest.localtime) == ("shop", 1024, 2048, 2, True)
    assert (guest.cap, guest.weight, guest.pins, guest.on_crash.value) == (50, 300, ((0, 2), (3,)), "preserve")
    assert guest.options["on_xend_start"] == "start"
    assert guest.boot == KernelBoot(kernel="/k", cmdline="root=/dev/xvda1")


def test_older_names_count_before_the_xen_apis() -> None:
    guest = one(MANAGED % "(name old) (memory 512) (maxmem 600) (vcpus 1) (on_crash destroy)").guest
    assert (guest.name, guest.memory, guest.maxmem, guest.vcpus, guest.on_crash.value) == ("old", 512, 600, 1, "destroy")


def test_a_guest_that_boots_by_bios_by_the_xen_apis_names() -> None:
    guest = one("(domain (name a) (memory 64) (HVM_boot_policy 'BIOS order') (HVM_boot_params ((order dc))))").guest
    assert (guest.kind, guest.boot.order) == (GuestKind.HVM, "dc")  # type: ignore[union-attr]


def test_pins_that_xen_may_have_chosen_for_a_running_domain_are_let_go() -> None:
    text = "(domain (domid 3) (name a) (memory 64) (vcpus 2) (cpus (%s)) (image (linux (kernel /k))))"
    document = one(text % "(0 1 2 3) (0 1 2 3)")
    assert document.guest.pins == ()
    assert notes_on(document, "cpus")[0].suggestion == "if they were chosen, write cpus = '0,1,2,3'"
    assert one(text % "(0 2) (1)").guest.pins == ((0, 2), (1,))
    assert one((text % "(0 1) (0 1)").replace("(domid 3)", "")).guest.pins == ((0, 1), (0, 1))


def test_vcpus_of_the_image_serve_where_the_form_has_none() -> None:
    assert one("(vm (name a) (memory 64) (image (linux (kernel /k) (vcpus 3))))").guest.vcpus == 3
    assert one("(vm (name a) (memory 64) (vcpus 2) (image (linux (kernel /k) (vcpus 3))))").guest.vcpus == 2


def test_the_first_of_two_keys_counts_and_the_second_is_told() -> None:
    document = one(form(more="(memory 99)"))
    assert document.guest.memory == 64
    assert any(not note.harmless and "twice" in note.reason for note in notes_on(document, "memory"))
    assert not any("twice" in note.reason for note in notes_on(one(form(more="(memory 64)")), "memory"))


def test_what_a_device_has_besides_is_told() -> None:
    more = (
        "(device (vbd (uname phy:a) (dev xvda) (uuid u) (bootable 1) (security_label x)))"
        "(device (vbd (uname phy:b) (dev xvdb) (bootable 1))) (device (odd (a b)))"
    )
    document = one(form(more=more))
    assert notes_on(document, "disk[0].uuid")[0].harmless
    assert not notes_on(document, "disk[0].security_label")[0].harmless
    assert not notes_on(document, "odd")[0].harmless


@pytest.mark.parametrize(
    ("parts", "matters"),
    [
        ("(image (linux (kernel /k)))", False), ("(image (linux (kernel '')))", True),
        ("(image (linux (kernel /k))) (bootloader pygrub)", True), ("(image (hvm (kernel hvmloader)))", False),
    ],
)  # fmt: skip
def test_which_disk_is_to_be_started_from_matters_to_a_boot_loader_alone(parts: str, matters: bool) -> None:
    disks = "(device (vbd (uname phy:a) (dev xvda) (bootable 0))) (device (vbd (uname phy:b) (dev xvdb) (bootable 1)))"
    (note,) = notes_on(one(f"(vm (name a) (memory 64) {parts} {disks})"), "disk[1].bootable")
    assert note.harmless is not matters
    assert note.suggestion == ("make it the first" if matters else "")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [("cpu_weight", "256.0", 256), ("cpu_weight", "512.00", 512), ("memory", "128.0", 128), ("cpu_cap", "0.0", 0)],
)
def test_whole_numbers_may_be_written_as_old_xend_did(key: str, text: str, value: int) -> None:
    memory = "" if key == "memory" else "(memory 64)"
    guest = one(f"(vm (name a) {memory} ({key} {text}) (image (linux (kernel /k))))").guest
    assert guest.options[key] == value


def test_a_number_with_a_fraction_is_none() -> None:
    with pytest.raises(ConfigError, match="cpu_weight = '256.5' is not a whole number"):
        one("(vm (name a) (memory 64) (cpu_weight 256.5) (image (linux (kernel /k))))")


def test_a_password_of_a_form_is_not_in_its_notes() -> None:
    document = one(form(more="(device (vfb (vnc 1) (vncpasswd s3cret))) (vncpasswd s3cret) (vncpasswd s3cret2)"))
    assert document.guest.vfbs[0].password == "s3cret"
    assert "s3cret" not in repr(document.notes)


def test_words_mean_nothing_to_forms_and_that_is_said() -> None:
    assert not notes_on(one(form(), "vmid=3"), "vmid")[0].harmless


def test_a_boot_loader_of_a_form() -> None:
    document = one("(vm (name a) (memory 64) (vcpus 1) (bootloader /usr/bin/pygrub) (bootloader_args -q) (image (linux)))")
    assert document.guest.boot == LoaderBoot(bootloader="/usr/bin/pygrub")


# -- other files


def test_the_configuration_in_front_of_a_saved_guest() -> None:
    inside = form().encode()
    data = SAVED + struct.pack(">I", len(inside)) + inside + b"\0memory" * 100
    (document,) = read(data, "a.chk", host=offline_host())
    assert document.guest.name == "a"
    assert "its memory cannot be used" in notes_on(document, "(file)")[0].reason


def test_a_guest_that_xm_has_saved_is_one_for_restore() -> None:
    data = save_file.header(form(), 64 << 20, 4096, checksum=0, forms="(disks)") + bytes(4096)
    (document,) = read(data, "a.chk", host=offline_host())
    assert document.guest.name == "a"
    (note,) = notes_on(document, "(file)")
    assert (note.harmless, note.reason) == (
        True, "this is a saved guest; 'xm restore' starts it from its memory, only its configuration is read",
    )  # fmt: skip


@pytest.mark.parametrize("rest", [b"", b"\0", struct.pack(">I", 0), struct.pack(">I", 2**32 - 1) + b"(vm)"])
def test_a_saved_guest_that_is_cut_off(rest: bytes) -> None:
    with pytest.raises(ConfigError, match="without its configuration"):
        read(SAVED + rest, "a.chk", host=offline_host())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"Xen saved domain, xl format\n", "this is a saved guest of Xen"),
        (b"<domain type='kvm'/>", "this is libvirt's XML"),
        (b'{"c_info": {}}', "this is JSON"),
        (b"\x7fELF", "this is no text"),
        (b"(domain\n\t(domid 3)\n\t(create_info)\n\t(hvm 1)", "xl list has printed this"),
        (b"(xend-relocation-server no) (vif-script vif-bridge)", "it may be the configuration of xend itself"),
    ],
)
def test_what_is_no_configuration_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        read(data, "a", host=offline_host())


def test_no_configuration_is_so_large() -> None:
    with pytest.raises(ConfigLimit):
        read(b"#" * 1024 * 1025, "a", host=offline_host())


def test_xls_words_for_a_display_that_nothing_reads() -> None:
    with pytest.raises(UnsupportedConfig):
        read(b"[ {}", "a", host=offline_host())


_PIECES = st.lists(
    st.sampled_from("(vm (domain (device (vbd (pci (image (hvm (@ ( ) ' name memory 64 = [ ] , # x 'a' \n cpus uuid".split(" ")), max_size=25
).map(" ".join)


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=80) | _PIECES.map(str.encode), st.sampled_from([None, *Dialect]))
@example(b"(vm (name a) (memory 64) (image ()))", None)
@example(b"(vm (name a) (memory 64) (device ()))", Dialect.SXP)
@example(SAVED + b"\0\0\0\1(", None)
def test_no_bytes_fail_but_as_an_error_of_ours(data: bytes, dialect: Dialect | None) -> None:
    with suppress(XmError):
        for document in read(data, "a", dialect=dialect, host=offline_host()):
            assert document.guest.name


# -- the mask of a form


@pytest.mark.parametrize(
    ("mask", "vcpus", "fate", "harmless", "online"),
    [("3", 4, Fate.CARRIED, True, 2), ("5", 4, Fate.APPROXIMATED, False, 2), ("15", 4, Fate.CARRIED, True, 4),
     ("0", 4, Fate.NO_MEANING, False, None), ("x", 4, Fate.NO_MEANING, False, None)],
)  # fmt: skip
def test_the_mask_of_vcpus_is_told_of(mask: str, vcpus: int, fate: Fate, harmless: bool, online: int | None) -> None:
    document = one(f"(vm (name a) (memory 64) (vcpus {vcpus}) (vcpu_avail {mask}) (image (linux (kernel /k))))")
    (note,) = notes_on(document, "vcpu_avail")
    assert (note.fate, note.harmless, note.value) == (fate, harmless, mask)
    assert document.guest.vcpus == vcpus
    assert document.guest.vcpus_online == (online if online != vcpus else None)
