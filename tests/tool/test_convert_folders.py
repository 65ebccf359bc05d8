"""``xmcompat convert DIR``: which files of a folder are guests, and what is said of all others; pipes and closed files."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tool.dead_host import dead_host, write
from tests.tool.test_convert import PV, XL, Run
from xmcompat.config import source_file
from xmcompat.config.read import SAVED
from xmcompat.tool.main import main
from xmcompat.tool.report_host import survey

CHECKOUT = Path(__file__).parents[2]
UUID = "uuid = '11111111-2222-3333-4444-555555555555'\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xen").mkdir()
    (tmp_path / "web1").write_text(PV % "web1")
    return tmp_path


@pytest.fixture
def convert(here: Path, capsys: pytest.CaptureFixture[str]):
    return lambda *words: Run(capsys, "--to", "cfg", *words)


def names(done: Run) -> list[str]:
    return [line.split("'")[1] for line in done.out.splitlines() if line.startswith("name = ")]


def skipped(done: Run) -> dict[str, str]:
    lines = [line.partition(": skipped: ") for line in done.err.splitlines()]
    return {path: reason for path, mark, reason in lines if mark}


# -- which files are guests


def test_the_files_of_a_folder_in_order(convert, here: Path) -> None:
    write(here / "xen", {
        "b": PV % "b", "a": PV % "a", ".hidden/c": PV % "c",
        "domains/uuid/config.sxp": "(domain (name m) (memory 64) (image (linux (kernel /k))))",
    })  # fmt: skip
    done = convert("xen")
    assert (done.status, names(done)) == (0, ["a", "b", "m"])
    assert skipped(done) == {"xen/.hidden": "a hidden name"}


@pytest.mark.parametrize(
    "name", ["notes", "notes.example.org", "license", "todo", "todo.cfg", "changelog", "README.vm", "vm.html", "g.sh", "g.key"]
)
def test_a_guest_is_one_whatever_its_file_is_called(convert, here: Path, name: str) -> None:
    (here / "xen" / name).write_text(PV % "g")
    done = convert("xen")
    assert (done.status, names(done), skipped(done)) == (0, ["g"], {})


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("README", b"text", "a text for people"), ("readme.txt", b"name = it's\nmemory = yours\n", "a text for people"),
        ("web1~", b"x=1", "a copy that is kept aside, by its name"), ("web1.rpmsave", b"x=1", "a copy that is kept aside, by its name"),
        ("web1.cfg.disabled", b"x=1", "a copy that is kept aside, by its name"), (".web1.swp", b"b0VIM", "a hidden name"),
        ("xmexample1", (PV % "x").encode(), "an example that comes with Xen"), ("xlexample.hvm", b"a", "an example that comes with Xen"),
        ("disk", b"\0" * 10, "it is no text"), ("xend-config.sxp", b"(xend-port 8000)", "settings of Xen itself"),
        ("empty", b"\n", "it is empty"), ("vif-bridge", b"#!/bin/bash\n", "a script"), ("common.sh", b"type=$1\nvif=$2\n", "a script"),
        ("xmlrpc.crt", b"Certificate:\n", "a key or certificate"), ("xmlrpc", b"-----BEGIN RSA", "a key or certificate"),
        ("old.chk", SAVED, "the memory of a saved guest, which KVM cannot use"), ("big", b"#" * 2**21, "it is larger than 1024 KiB"),
        ("words", b"just words\n", "it sets nothing that makes a guest"), ("x", b"x = = 1; memory = = 2\n", "no guest's configuration: "),
        ("xl.conf", b'autoballoon="auto"\n', "settings of Xen itself"), ("a.xml", b"<domain type='xen'/>", "libvirt's XML"),
    ],
)  # fmt: skip
def test_what_is_no_guest_is_passed_over_and_named(convert, here: Path, name: str, data: bytes, reason: str) -> None:
    (here / "xen" / name).write_bytes(data)
    done = convert("xen")
    assert (done.status, done.out, done.err.count("\n")) == (0, "", 1)
    assert done.err.startswith(f"xen/{name}: skipped: {reason}")


def test_a_guest_that_cannot_be_read_is_an_error(convert, here: Path) -> None:
    (here / "xen" / "g").write_text("name = 'g'\nmemory = = 3\n")
    done = convert("xen")
    assert (done.status, done.errors) == (1, ["Error: xen/g:2: this is no Python: memory = = 3"])


def test_a_program_in_python_is_a_configuration(convert, here: Path) -> None:
    (here / "xen" / "a").write_text("#!/usr/bin/env python\n" + PV % "a")
    assert names(convert("xen")) == ["a"]


def test_xens_folder_of_scripts_is_one_line(convert, here: Path) -> None:
    write(here / "xen", {"scripts/vif-bridge": "#!/bin/sh\n", "scripts/block-common.sh": "type=1\nvif=2\n"})
    write(here / "mine", {"scripts/g": PV % "g"})
    done = convert("xen", "mine")
    assert (done.status, names(done)) == (0, ["g"])
    assert skipped(done) == {"xen/scripts": "scripts of Xen, which nothing here runs"}


def test_what_is_in_a_whole_etc_xen_is_no_failure(convert, here: Path) -> None:
    write(here / "xen", {
        "web1": PV % "web1", "web1.2011-03-04": PV % "web1", "old/web1": PV % "web1", "db1.disabled": XL % "db1",
        "xmexample2": "vmid = int(vmid)\n", "xend-config.sxp": "(xend-port 8000)\n", "xl.conf": "", "README": "read me\n",
        "scripts/vif-common.sh": "vif=$1\ntype=$2\n", "xend-pci-quirks.sxp": "(a (b c))", "xmlrpc.key": "-----BEGIN RSA PRIVATE KEY-----\n",
        "cpupool": "name=\"p\"\nmemory = x\ntype = 1\n",
    })  # fmt: skip
    done = convert("--output-dir", "out", "xen")
    assert (done.status, done.errors, os.listdir("out")) == (0, [], ["web1.cfg"])
    assert skipped(done)["xen/web1.2011-03-04"] == "a copy that is kept aside, by its name"
    assert skipped(done)["xen/old/web1"] == "the same guest 'web1' as in xen/web1"
    assert len(skipped(done)) == 11


def test_convert_and_report_agree_on_what_is_a_guest(convert, here: Path) -> None:
    folder = dead_host(here / "host") / "etc/xen"
    shutil.rmtree(folder / "auto")  # links, which report follows
    write(folder, {
        "notes": PV % "n", "NOTES.txt": "memory = much\nname = none\n", "xl.conf": "", "key": "-----BEGIN", "bad": "name = = 1\nmemory = 2\n",
        "x.sh": "type=1\nvif=2\n", "y.sh": XL % "y", "web1.cfg.2012-01-31": "x", "empty": "", "some": "memory = = 1\n",
        "a.xml": "<domain/>", ".hid": "", ".dir/x": "", "d.img": b"\0" * 9, "big": "#" * 2**21, "f/scripts/g": PV % "g",
    })  # fmt: skip
    os.mkfifo(folder / "fifo")
    report = survey(str(folder))
    done = convert("host/etc/xen")
    assert sorted([*names(done), *(["bad"] if "host/etc/xen/bad:1" in done.err else [])]) == [row.name for row in report.guests]
    prefix = "host/etc/xen/"
    assert {prefix + row.path: row.reason.partition(":")[0] for row in report.skipped} == {
        path: reason.partition(":")[0] for path, reason in skipped(done).items() if path != f"{prefix}xend-config.sxp"  # which report reads
    }


# -- guests that are there twice


def test_a_dated_name_alone_is_no_copy(convert, here: Path) -> None:
    (here / "xen" / "web9.2011-03-04").write_text(PV % "web9")
    assert names(convert("xen")) == ["web9"]


def test_two_different_guests_of_one_name_are_an_error(convert, here: Path) -> None:
    write(here / "xen", {"a": PV % "web1", "b": (PV % "web1").replace("256", "300")})
    done = convert("--output-dir", "out", "xen")
    assert (done.status, done.errors) == (1, ["Error: xen/b: there is another guest 'web1', of xen/a, which has been written"])


def test_one_guest_by_name_and_uuid_is_converted_once(convert, here: Path) -> None:
    write(here / "xen", {"a": PV % "web1" + UUID, "b": (PV % "web1").replace("256", "300") + UUID})
    done = convert("--output-dir", "out", "xen")
    assert (done.status, skipped(done)) == (
        0, {"xen/b": "by name and uuid the guest 'web1' of xen/a; what differs in this file is left out"}
    )  # fmt: skip
    assert "memory = 256" in Path("out/web1.cfg").read_text()


def test_an_input_that_is_named_twice_is_read_once(convert, here: Path) -> None:
    done = convert("web1", "./web1", "web1")
    assert (done.status, names(done)) == (0, ["web1"])
    assert skipped(done) == {"./web1": "it has been read already", "web1": "it has been read already"}
    (here / "xen" / "a").write_text(PV % "a")
    assert names(convert("xen/a", "xen", "xen")) == ["a"]


# -- what is in the way


def test_a_folder_that_cannot_be_read_leaves_the_others(convert, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here / "xen", {"a": PV % "a", "closed/b": PV % "b", "z": PV % "z", "zz/y": PV % "y"})
    real = os.listdir

    def refuse(path: str) -> list[str]:
        if path.endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("xmcompat.tool.convert_input.os.listdir", refuse)
    done = convert("xen", "web1")
    assert (done.status, names(done)) == (1, ["a", "z", "y", "web1"])
    assert done.errors == ["Error: xen/closed: Permission denied"]


def test_every_link_and_folder_that_is_not_followed_has_a_line(convert, here: Path) -> None:
    folder = here / "xen"
    write(folder, {"web2": PV % "web2", ".git/x": "", ".store/kept": PV % "kept"})
    write(here / "other", {"x": PV % "x"})
    write(folder / Path(*"abcdefghijklmnopqr"), {"deep": PV % "deep"})
    (folder / "auto").mkdir()
    for name, target in {
        "auto/web2": "../web2", "out": here / "web1", "gone": "nowhere", "loop": "loop", "self": folder, "dir": here / "other",
        "null": "/dev/null", "kept": ".store/kept", "kept2": ".store/kept",
    }.items():  # fmt: skip
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("xen/socket")
    done = convert("xen")
    assert (done.status, names(done)) == (0, ["kept", "web2"])
    assert skipped(done) == {
        "xen/auto/web2": "a link to a file that is read anyway", "xen/out": "a link that leads out of the folder",
        "xen/gone": "a link that leads nowhere", "xen/loop": "a link that leads in a circle, or over too many others",
        "xen/self": "a link to a folder of this one", "xen/dir": "a link that leads out of the folder", "xen/.git": "a hidden name",
        "xen/null": "a link that leads out of the folder", "xen/pipe": "it is a FIFO", "xen/socket": "it is a socket",
        "xen/.store": "a hidden name", "xen/kept2": "a link to a file that is read anyway",
        "xen/" + "/".join("abcdefghijklmnopq"): "it lies deeper than 16 folders",
    }  # fmt: skip


def test_what_is_passed_over_is_an_object_of_the_notes(convert, here: Path) -> None:
    (here / "xen" / "README").write_text("x")
    assert json.loads(convert("--notes", "json", "xen").err) == {"path": "xen/README", "skipped": "a text for people"}


@pytest.mark.parametrize("to", ["xml", "cfg", "json", "sxp"])
def test_a_second_run_into_the_folder_itself_does_the_same(convert, here: Path, to: str) -> None:
    (here / "xen" / "a").write_text(PV % "a")
    for _ in range(2):
        done = convert("--to", to, "--output-dir", "xen/new", "xen")
        assert (done.status, done.errors, len(os.listdir("xen/new"))) == (0, [], 1)
        assert skipped(done) == {"xen/new": "the folder that is written to"}


def test_a_second_run_beside_the_files_does_the_same(convert, here: Path) -> None:
    (here / "xen" / "a").write_text(PV % "a")
    for _ in range(2):
        done = convert("--to", "xml", "--output-dir", "xen", "xen")
        assert (done.status, done.errors, sorted(os.listdir("xen"))) == (0, [], ["a", "a.xml"])
    assert skipped(done) == {"xen/a.xml": "libvirt's XML in the folder that is written to"}


# -- one file


def test_an_empty_file_is_called_empty(convert, here: Path) -> None:
    (here / "empty").touch()
    assert convert("empty", "/dev/null").errors == ["Error: empty: it is empty", "Error: /dev/null: it is empty"]
    assert names(convert("--var", "name=x", "--var", "kernel=/k", "empty")) == ["x"]


def test_a_pipe_is_read_and_not_waited_for(convert, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_file, "NO_WRITER", 0.1)
    os.mkfifo("pipe")
    assert convert("pipe").errors == ["Error: pipe: nobody writes into this pipe"]
    failed = convert("--host-facts", "pipe", "web1")
    assert (failed.status, "nobody writes into this pipe" in failed.err) == (2, True)


def started(script: str) -> subprocess.CompletedProcess[str]:
    """SCRIPT in a shell that knows xmcompat."""
    program = f"xmcompat() {{ PYTHONPATH={CHECKOUT} {sys.executable} -m xmcompat.tool \"$@\"; }}\n"
    return subprocess.run(["bash", "-c", program + script], capture_output=True, text=True, timeout=60, check=False)


def test_what_another_program_prints_can_be_read(here: Path) -> None:
    done = started("xmcompat convert --notes none --to cfg --host-facts <(echo '{\"cpus\": 3}') <(cat web1)")
    assert (done.returncode, done.stderr) == (0, "")
    assert "name = 'web1'" in done.stdout


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("convert - <&-", "Error: (stdin): it is closed\n"), ("convert --notes none web1 >&-", "Error: stdout: it is closed\n"),
        ("keys >&-", "Error: stdout: it is closed\n"), ("convert --notes none web1 >/dev/full", "Error: stdout: No space left on device\n"),
    ],
)  # fmt: skip
def test_a_closed_or_full_stream_is_one_line(here: Path, script: str, said: str) -> None:
    done = started(f"xmcompat {script}")
    assert (done.returncode, done.stderr) == (1, said)


def test_a_closed_stderr_loses_the_notes_alone(here: Path) -> None:
    done = started("xmcompat convert -v --to cfg web1 2>&-")
    assert (done.returncode, "name = 'web1'" in done.stdout) == (0, True)


def test_a_closed_stdout_is_no_matter_where_nothing_is_printed(here: Path) -> None:
    done = started("xmcompat convert --notes none --output-dir out web1 >&-")
    assert (done.returncode, done.stderr, os.listdir("out")) == (0, "", ["web1.xml"])


def test_a_variable_without_a_name_is_2(convert) -> None:
    done = convert("--var", "=3", "web1")
    assert (done.status, "'=3' has no name" in done.err) == (2, True)


def test_json_is_utf_8_whatever_a_file_is_called(here: Path) -> None:
    folder = os.fsencode(here) + b"/d\xe9"
    os.mkdir(folder)
    Path(os.fsdecode(folder + b"/g")).write_text(PV % "g")
    done = subprocess.run(
        [sys.executable, "-m", "xmcompat.tool", "convert", "--to", "json", folder + b"/g"], capture_output=True, check=True,
        cwd=CHECKOUT, timeout=60,
    )  # fmt: skip
    document = json.loads(done.stdout.decode("utf-8"))
    assert document["name"] == "g"
    assert os.fsencode(document["source"]) == folder + b"/g"


# -- passwords, strictness, and the host's memory


@pytest.mark.parametrize("dialect", ["auto", "xm", "xl", "sxp"])
@pytest.mark.parametrize(
    "text",
    ['name = "g"\nmemory = 1\nvncpasswd="hunter22\n', "(vm (name g) (memory 64) (vncpasswd hunter22)", PV % "g" + "vfb=['vncpasswd=ab,hunter22']\n",
     PV % "g" + "disk=['rbd:p/i:id=a:key=hunter22,sda,q']\n", "print 'hunter22'\nvncpasswd='hunter22'\nraise ValueError, 'hunter22'\n",
     PV % "g" + "foo='hunter22'\nvncpaswd='hunter22'\nextra='x hunter22'\nvif=['vifname=hunter22']\n"],
)  # fmt: skip
@pytest.mark.parametrize("notes", ["text", "json"])
def test_no_line_has_a_password(convert, here: Path, text: str, dialect: str, notes: str) -> None:
    (here / "g").write_text(text)
    assert "hunter22" not in convert("-v", "--notes", notes, "--dialect", dialect, "g").err
    (here / "xen" / "g").write_text(text)
    assert "hunter22" not in convert("-v", "--notes", notes, "--dialect", dialect, "xen").err


def test_a_password_of_the_host_is_not_said(convert, here: Path) -> None:
    (here / "facts").write_text(json.dumps({"vnc_password": "hun\x01ter22345"}))
    (here / "g").write_text("builder='hvm'\nname='g'\nmemory=64\nvnc=1\ndisk=['phy:a,hda,w']\n")
    done = convert("--to", "xml", "--host-facts", "facts", "g")
    assert done.errors == ["Error: g: '(not shown)' has characters that libvirt's XML cannot hold; write it without them"]


def test_a_word_of_the_command_line_is_not_said(convert, here: Path) -> None:
    (here / "g").write_text("name='g'\nkernel='/k'\nraise ValueError, vncpw + vncpasswd\n")
    assert "hunter22" not in convert("--var", "vncpasswd=hunter22", "g").err
    assert "hunter22" not in convert("--dialect", "xm", "--var", "vncpasswd=hunter22", "--var", "memory=hunter22", "g").err


def test_strict_does_not_mind_that_two_tools_read_the_file(convert, here: Path) -> None:
    (here / "g").write_text("name = 'g'\nmemory = 64\nkernel = '/k'\n")
    done = convert("--to", "xml", "--strict", "g")
    assert (done.status, "(dialect) = xm" in done.err) == (0, True)


@pytest.mark.parametrize(("memory", "status"), [(0, 0), (256 + 196, 0), (256 + 195, 1)])
def test_a_guest_larger_than_the_host_cannot_be_converted_for_it(convert, here: Path, memory: int, status: int) -> None:
    (here / "facts").write_text(json.dumps({"memory": memory}))
    done = convert("--to", "xml", "--host-facts", "facts", "web1")
    assert done.status == status
    assert done.errors == ([] if not status else [
        f"Error: web1:3: it wants 256 MiB of memory; the host has {memory} MiB, and keeps 196 MiB of it for itself; "
        "give it less memory, or another host"
    ])  # fmt: skip


def test_main_gives_stdout_back_its_name(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_words: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("xmcompat.tool.main.program.main", lambda *_words, **_options: full(_words))
    assert main(["keys"]) == 1
    assert capsys.readouterr().err == "Error: system: Operation not permitted\n"
