"""``xmcompat convert``: every form, every way in, and what goes wrong on the way out."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lxml import etree

from xmcompat.config.read import SAVED, offline_host, read
from xmcompat.guest import Dialect
from xmcompat.tool import convert_facts, convert_write
from xmcompat.tool.convert_write import file_name
from xmcompat.tool.main import main

PV = """kernel = '/boot/vmlinuz'
name = '%s'
memory = 256
vif = ['bridge=xenbr7']
disk = ['phy:vg0/a,xvda,w']
on_crash = 'restart'
"""
XL = "name = '%s'\ntype = 'hvm'\nmemory = 64\ndisk = ['/dev/vg0/a,raw,hda,rw']\nvif = ['bridge=br0']\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "web1").write_text(PV % "web1")
    return tmp_path


class Run:
    """One run of the command, with what it has printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *words: object) -> None:
        capsys.readouterr()
        self.status = main(["convert", *map(str, words)])
        self.out, self.err = capsys.readouterr()

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("Error: ")]


@pytest.fixture
def convert(here: Path, capsys: pytest.CaptureFixture[str]):
    return lambda *words: Run(capsys, *words)


# -- forms


def test_libvirts_xml_is_what_one_gets(convert) -> None:
    done = convert("web1")
    root = etree.fromstring(done.out)
    assert (done.status, root.findtext("name"), root.get("type")) == (0, "web1", "kvm")
    assert root.find("uuid") is None
    assert root.find("devices/interface/source").get("bridge") == "xenbr7"


@pytest.mark.parametrize("text", [PV % "web1", XL % "web1"])
@pytest.mark.parametrize(("to", "dialect"), [("sxp", Dialect.SXP), ("xl", Dialect.XL), ("cfg", Dialect.XM)])
def test_each_form_of_xen_is_read_back_to_an_equal_guest(convert, here: Path, text: str, to: str, dialect: Dialect) -> None:
    (here / "web1").write_text(text)
    done = convert("--to", to, "web1")
    assert done.status == 0
    (before,) = read(text.encode(), "web1", host=offline_host())
    (after,) = read(done.out.encode(), "web1", dialect=dialect, host=offline_host())
    for part in ("name", "kind", "memory", "vcpus", "on_crash", "on_reboot"):
        assert getattr(after.guest, part) == getattr(before.guest, part)
    assert [(disk.path, disk.vdev, disk.mode) for disk in after.guest.disks] == [
        (disk.path, disk.vdev, disk.mode) for disk in before.guest.disks
    ]


def test_json_is_one_document_for_each_guest(convert) -> None:
    assert json.loads(convert("--to", "json", "web1").out)["memory"] == 256


def test_guests_are_printed_one_after_another(convert, here: Path) -> None:
    (here / "web2").write_text(XL % "web2")
    out = convert("--to", "sxp", "web1", "web2").out
    assert [document.guest.name for document in read(out.encode(), "x", host=offline_host())] == ["web1", "web2"]


def test_the_standard_input_is_a_file(convert, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xmcompat.tool", "convert", "--to", "cfg", "-"], input="kernel = '/k'\nmemory = 64\n",
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2], timeout=30,
    )  # fmt: skip
    assert "name = 'stdin'" in done.stdout


def test_two_runs_agree(convert) -> None:
    first, second = convert("web1"), convert("web1")
    assert (first.out, first.err) == (second.out, second.err)
    mac = etree.fromstring(first.out).find("devices/interface/mac").get("address")
    assert mac.startswith("00:16:3e:")
    assert int(mac.split(":")[3], 16) < 0x80
    assert f"{mac} is made of the guest's name" in first.err


def test_each_interface_has_an_address_of_its_own(convert, here: Path) -> None:
    (here / "web1").write_text(PV.replace("'bridge=xenbr7'", "'', '', ''") % "web1")
    root = etree.fromstring(convert("web1").out)
    assert len({mac.get("address") for mac in root.iter("mac")}) == 3


def test_a_kernel_without_a_whole_path_has_one_for_libvirt_alone(convert, here: Path) -> None:
    (here / "web1").write_text(PV.replace("/boot/vmlinuz", "vmlinuz") % "web1")
    done = convert("web1")
    assert etree.fromstring(done.out).findtext("os/kernel") == "/etc/xen/vmlinuz"
    assert "web1:1: kernel = vmlinuz: approximated" in done.err
    assert "kernel = 'vmlinuz'" in convert("--to", "cfg", "web1").out


def test_libvirts_xml_with_our_record_goes_back(convert, here: Path) -> None:
    (here / "web1.xml").write_text(convert("web1").out)
    done = convert("--to", "cfg", "web1.xml")
    assert done.status == 0
    assert "disk = ['phy:vg0/a,xvda,w']" in done.out
    assert "web1.xml: (file): approximated; this is libvirt's XML" in done.err


@pytest.mark.parametrize(
    "text", ["<domain type='kvm'><name>a</name></domain>", "<domain", "<?xml version='1.0' encoding='utf-8'?><domain/>",
             "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><domain>&b;</domain>"],
)  # fmt: skip
def test_other_xml_of_libvirts_is_refused(convert, here: Path, text: str) -> None:
    (here / "a.xml").write_text(text)
    done = convert("a.xml")
    assert (done.status, done.out) == (1, "")
    assert done.err == "Error: a.xml: this is libvirt's XML; use virsh for libvirt's XML\n"


def test_a_saved_guest_gives_its_configuration(convert, here: Path) -> None:
    inside = b"(domain (name old) (memory 64) (vcpus 1) (image (linux (kernel /k))))"
    (here / "old.chk").write_bytes(SAVED + struct.pack(">I", len(inside)) + inside + bytes(2 * 1024 * 1024))
    done = convert("--to", "cfg", "old.chk")
    assert done.status == 0
    assert "name = 'old'" in done.out
    assert "its memory cannot be used on KVM" in done.err


# -- words of the command line


def test_variables_and_settings(convert, here: Path) -> None:
    (here / "web1").write_text("name = 'n' + vmid\nkernel = '/k'\n")
    done = convert("--to", "cfg", "--var", "vmid=3", "--var", "memory=99", "web1")
    assert "name = 'n3'" in done.out
    assert "memory = 99" in done.out


def test_each_tool_takes_words_in_its_own_way(convert, here: Path) -> None:
    (here / "x.cfg").write_text('type = "pv"\nname = "x"\nkernel = "/k"\n')
    done = convert("--to", "cfg", "--var", 'name="y"', "--var", "memory=0x200", "--var", "disk=/a.img,,xvda,w", "x.cfg")
    assert (done.status, "memory = 512" in done.out, "name = 'y'" in done.out) == (0, True, True)
    assert "'file:/a.img,xvda,w'" in done.out
    failed = convert("--var", "memory=0x200", "web1")
    assert (failed.status, failed.errors) == (1, ["Error: web1: Invalid value: 0x200"])


@pytest.mark.parametrize(
    "words",
    [("--dialect", "xm", "--var", "memory=x"), ("--var", "memory"), ("--to", "vmx"), ("--dialect", "py"), ("--host-facts", "nowhere"), ("--bad",)],
)
def test_a_wrong_command_line_is_2(convert, words: tuple[str, ...]) -> None:
    done = convert(*words, "web1")
    assert (done.status, done.out) == (2, "")


def test_no_file_is_2(convert) -> None:
    assert convert().status == 2


def test_the_dialect_can_be_given(convert, here: Path) -> None:
    (here / "both").write_text("name='a'\nkernel='/k'\n")
    assert json.loads(convert("--to", "json", "--dialect", "xl", "both").out)["memory"] == 32
    assert json.loads(convert("--to", "json", "both").out)["memory"] == 128
    assert convert("--dialect", "sxp", "both").status == 1


# -- notes


def test_harmless_notes_need_verbose(convert) -> None:
    assert "carried over" not in convert("web1").err
    assert "web1:3: memory = 256: carried over" in convert("-v", "web1").err


def test_notes_as_json_are_one_object_a_line(convert, here: Path) -> None:
    (here / "bad").write_text("name = = 3\n")
    entries = [json.loads(line) for line in convert("--notes", "json", "web1", "bad").err.splitlines()]
    assert {"path": "web1", "guest": "web1", "key": "memory", "line": 3, "fate": "carried over"}.items() <= next(
        entry for entry in entries if entry.get("key") == "memory"
    ).items()
    assert entries[-1] == {"path": "bad", "line": 1, "error": "this is no Python: name = = 3"}


def test_no_notes(convert, here: Path) -> None:
    assert convert("--notes", "none", "web1").err == ""
    assert convert("--notes", "none", "nowhere").errors == ["Error: nowhere: No such file or directory"]


def test_strict_refuses_what_is_not_carried_over(convert, here: Path) -> None:
    (here / "odd").write_text(PV % "odd" + "vcpuss = 2\nlocaltime = True\n")
    done = convert("--strict", "odd")
    assert (done.status, done.out) == (1, "")
    assert done.errors == ["Error: odd:7: not carried over: vcpuss, localtime"]
    assert convert("--strict", "web1").status == 0


def test_what_a_script_prints_does_not_come_between(convert, here: Path) -> None:
    (here / "web1").write_text("print 'hello'\n" + PV % "web1")
    done = convert("web1")
    assert "web1: the script printed: hello" in done.err
    etree.fromstring(done.out)


@pytest.mark.parametrize("to", ["xml", "json", "sxp", "xl", "cfg"])
def test_a_password_is_where_it_is_needed_and_in_no_note(convert, here: Path, to: str) -> None:
    (here / "web1").write_text(
        "builder='hvm'\nname='w'\nkernel='hvmloader'\nvnc=1\nvncpasswd='s3cret'\ndisk=['phy:a,hda,w']\n"
    )
    done = convert("-v", "--to", to, "web1")
    assert done.status == 0
    assert "s3cret" in done.out
    assert "s3cret" not in done.err
    assert "s3cret" not in convert("--notes", "json", "--to", to, "web1").err
    convert("--to", to, "--output-dir", "out", "web1")
    (made,) = (here / "out").iterdir()
    assert stat.S_IMODE(made.stat().st_mode) == 0o600


# -- errors


def test_the_others_are_converted_and_each_failure_is_one_line(convert, here: Path) -> None:
    (here / "bad").write_text(PV % "bad" + "disk = ['phy:a,xvda,x']\n")
    (here / "worse").write_text("raise ValueError, 'no vmid'\n")
    done = convert("bad", "worse", "web1", "nowhere")
    assert done.status == 1
    assert etree.fromstring(done.out).findtext("name") == "web1"
    assert done.errors == [
        "Error: bad:7: Invalid mode", "Error: worse:1: no vmid", "Error: nowhere: No such file or directory",
    ]  # fmt: skip


def test_a_file_that_may_not_be_read(convert, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", name)

    monkeypatch.setattr("xmcompat.tool.convert_input.os.open", refuse)
    assert convert("web1").err == "Error: web1: Permission denied\n"


def test_a_mistake_of_ours_in_one_file_leaves_the_others(convert, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "web2").write_text(PV % "web2")
    real = convert_write.converted

    def stumble(document, to, given):
        if document.guest.name == "web1":
            raise ZeroDivisionError("oh")
        return real(document, to, given)

    monkeypatch.setattr(convert_write, "converted", stumble)
    done = convert("web1", "web2")
    assert done.status == 1
    assert etree.fromstring(done.out).findtext("name") == "web2"
    assert done.errors == ["Error: web1: a mistake in xmcompat itself: ZeroDivisionError: oh; XMCOMPAT_DEBUG=1 shows where"]


def test_a_domain_that_fails_leaves_those_beside_it(convert, here: Path) -> None:
    (here / "list").write_text("(domain (name a))\n(domain (name b) (memory 64) (image (linux (kernel /k))))\n")
    done = convert("--to", "cfg", "list")
    assert (done.status, "name = 'b'" in done.out) == (1, True)
    assert done.errors[0].startswith("Error: list: domain 'a': Invalid Configuration")


# -- files that are written


def test_a_file_for_each_guest(convert, here: Path) -> None:
    (here / "web2").write_text(XL % "web2")
    done = convert("--output-dir", "out/deep", "web1", "web2")
    assert (done.status, done.out) == (0, "")
    assert sorted(path.name for path in (here / "out/deep").iterdir()) == ["web1.xml", "web2.xml"]
    assert stat.S_IMODE((here / "out/deep/web1.xml").stat().st_mode) & ~0o644 == 0
    before = (here / "out/deep/web1.xml").read_text()
    convert("--output-dir", "out/deep", "web1")
    assert (here / "out/deep/web1.xml").read_text() == before


def test_what_others_may_not_read_they_may_not_read_converted(convert, here: Path) -> None:
    (here / "web1").chmod(0o600)
    convert("--output-dir", "out", "web1")
    assert stat.S_IMODE((here / "out/web1.xml").stat().st_mode) == 0o600


@pytest.mark.parametrize("link", [False, True])
def test_an_input_is_never_written_to(convert, here: Path, link: bool) -> None:
    name = here / "web1.cfg"
    if link:
        name.symlink_to("web1")
    else:
        name.write_text(PV % "web1")
    done = convert("--to", "cfg", "--output-dir", ".", *(["web1"] if link else []), "web1.cfg")
    assert done.status == 1
    assert "would be written, and is an input" in done.errors[0]
    assert name.read_text() == PV % "web1"
    assert sorted(os.listdir(here)) == ["web1", "web1.cfg"]


def test_two_guests_of_one_name(convert, here: Path) -> None:
    (here / "again").write_text(XL % "web1")
    done = convert("--output-dir", "out", "web1", "again")
    assert done.errors == ["Error: again: there is another guest 'web1', of web1, which has been written"]
    assert 'machine="pc"' in (here / "out/web1.xml").read_text()
    assert "/boot/vmlinuz" in (here / "out/web1.xml").read_text()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("web1", "web1.xml"), ("a.b+c:d-e_f", "a.b+c:d-e_f.xml"), ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd.xml"),
        ("..", "%2E..xml"), ("-rf", "%2Drf.xml"), ("a b\n", "a%20b%0A.xml"), ("é", "é.xml"), ("%2E.", "%252E..xml"),
    ],
)
def test_names_that_are_unsafe(name: str, file: str) -> None:
    assert file_name(name, "xml") == file


def test_long_names_are_cut_and_stay_different() -> None:
    names = {file_name("ü" * 400 + end, "xml") for end in "ab"}
    assert len(names) == 2
    assert all(len(name.encode()) < 250 for name in names)


def test_an_unsafe_name_of_xls_is_told(convert, here: Path) -> None:
    (here / "evil").write_text(XL % "..evil")
    done = convert("--to", "xl", "--output-dir", "out", "evil")
    assert os.listdir(here / "out") == ["%2E.evil.cfg"]
    assert "evil: written to out/%2E.evil.cfg" in done.err


def test_a_name_of_xls_with_a_slash_is_none_for_libvirt(convert, here: Path) -> None:
    (here / "evil").write_text(XL % "../../evil")
    done = convert("--to", "xl", "--output-dir", "out", "evil")
    assert done.errors == ["Error: evil:1: name = '../../evil' is no name for a guest of libvirt; leave out / and line ends"]
    assert not os.listdir(here / "out")


def test_the_piece_that_an_error_names_is_shown_even_where_it_is_empty(convert, here: Path) -> None:
    (here / "g").write_text(PV % "g" + "vif = ['bridge=br0,']\non_xend_stop = 'ignore'\n")
    assert convert("g").errors == ["Error: g:7:  should be a pair, separated by an equals sign."]


def test_a_very_long_value_is_not_said_as_a_whole(convert, here: Path) -> None:
    (here / "g").write_text(PV % "g" + f"vif = ['{'a' * 100_000}']\non_xend_stop = 'ignore'\n")
    done = convert("g")
    assert len(done.errors) == 1
    assert len(done.err) < 2000


def test_a_folder_that_cannot_be_made_is_2(convert, here: Path) -> None:
    assert convert("--output-dir", "web1/out", "web1").status == 2


@pytest.mark.parametrize("step", ["os.replace", "open"])
def test_a_full_disk_leaves_no_half_file(convert, here: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_values: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"xmcompat.tool.convert_write.{step}", full, raising=False)
    done = convert("--output-dir", "out", "web1")
    assert (done.status, done.errors) == (1, ["Error: web1: out: No space left on device"])
    assert os.listdir(here / "out") == []


# -- facts of the host


def test_facts_of_a_file(convert, here: Path) -> None:
    facts = {"accelerator": "tcg", "memory": 4096, "cpus": 2, "bridges": ["br0"], "bridge_aliases": {"xenbr7": "br0"},
             "cgroup_v2": True, "cpu_vendor": "AMD", "openvswitch": ["br0"], "vnc_listen": "0.0.0.0", "vnc_password": ""}  # fmt: skip
    (here / "facts").write_text(json.dumps(facts))
    root = etree.fromstring(convert("--host-facts", "facts", "web1").out)
    assert root.get("type") == "qemu"
    assert root.find("devices/interface/source").get("bridge") == "br0"
    assert set(facts) == set(convert_facts.FIELDS)


def test_what_xmcompat_host_prints_is_taken(convert, here: Path) -> None:
    (here / "host").write_text(json.dumps({"uri": "x", "facts": {"accelerator": "tcg", "bridges": ["xenbr7"]}}))
    assert etree.fromstring(convert("--host-facts", "host", "web1").out).get("type") == "qemu"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ('{"cpu": 3, "bridge": 1}', "unknown: cpu, bridge; known: accelerator, memory"), ('{"cpus": true}', "cpus must be a number"),
        ('{"vnc_listen": "here"}', "vnc_listen must be an IP address"), ('{"vnc_listen": 1}', "vnc_listen must be"),
        ('{"bridges": "x"}', "bridges must be a list"), ("[]", "no JSON object"), ("{", "no JSON"), ('{"memory": -1}', "memory must be"),
    ],
)  # fmt: skip
def test_facts_that_are_wrong(convert, here: Path, facts: str, reason: str) -> None:
    (here / "facts").write_text(facts)
    done = convert("--host-facts", "facts", "web1")
    assert done.status == 2
    assert reason in done.err


def test_a_bridge_that_the_host_lacks_is_a_reason(convert, here: Path) -> None:
    (here / "facts").write_text('{"bridges": ["br0"]}')
    done = convert("--host-facts", "facts", "web1")
    assert (done.status, "xenbr7" in done.errors[0]) == (1, True)


# -- the process


def started(here: Path, *words: str, **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "xmcompat.tool", "convert", *words], cwd=here, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, **options,  # type: ignore[call-overload]
    )  # fmt: skip


def test_a_reader_that_goes_away_ends_it_quietly(here: Path) -> None:
    for number in range(60):
        (here / f"g{number}").write_text(PV % f"g{number}")
    process = started(here, "--notes", "none", *(f"g{number}" for number in range(60)), stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    assert (process.stderr.read(), process.wait(30)) == (b"", 1)


def test_a_full_device_is_one_line(here: Path) -> None:
    with open("/dev/full", "wb") as full:
        process = started(here, "--notes", "none", "web1", stdout=full)
        assert process.stderr is not None
        assert (process.stderr.read(), process.wait(30)) == (b"Error: stdout: No space left on device\n", 1)


def test_ctrl_c_ends_it_without_a_traceback(here: Path) -> None:
    process = started(here, "-", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    reading = "0 0x0 "  # the system call read of descriptor 0
    while not Path(f"/proc/{process.pid}/syscall").read_text().startswith(reading):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert (process.stderr.read().strip(), process.wait(30)) == (b"", 130)


def test_ctrl_c_while_the_program_is_loaded_is_no_traceback_either(here: Path) -> None:
    (here / "click.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-m", "xmcompat.tool", "convert", "web1"], cwd=here, capture_output=True, timeout=30,
        env={**os.environ, "PYTHONPATH": f"{here}:{Path(__file__).parents[2]}"},
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 130)


LOADED = """
import sys
from xmcompat.tool.main import main
main(["convert", "web1"])
sys.stderr.write("\\n".join(sorted(sys.modules)))
"""


def test_nothing_of_a_hypervisor_is_loaded(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=here, capture_output=True, text=True, check=True, timeout=30,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    loaded = set(done.stderr.split())
    assert "xmcompat.translate.machine" in loaded
    assert not loaded & {"libvirt", "socket", "xmcompat.toolstack", "xmcompat.backends.libvirt_kvm"}
