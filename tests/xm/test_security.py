"""The verbs of xm's security modules, as a host without one answers; labels in configuration files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat.xm.help import after_usage, usage_text

LABEL = "access_control = ['policy=acme,label=red']\n"


@pytest.fixture(autouse=True)
def guests(host: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.known = {info.uuid: info for info in (domain("orchid", 3), domain("basalt", None))}
    monkeypatch.chdir(tmp_path)


def wrong(verb: str, line: str) -> tuple[int, str, str]:
    return 1, f"{usage_text(verb)}{after_usage(verb)}\n", f"Error: {line}\n"


@pytest.mark.parametrize("words", ["labels", "labels acme", "labels type=dom", "labels acme type=any", "resources", "dumppolicy"])
def test_what_lists_labels_prints_nothing(xm: Xm, words: str) -> None:
    assert xm(*words.split()) == (0, "", "")


@pytest.mark.parametrize("words", ["getpolicy", "getpolicy --dumpxml"])
def test_no_policy_is_installed(xm: Xm, words: str) -> None:
    assert xm(*words.split()) == (0, "Supported security subsystems   : None \n\nNo policy is installed.\n", "")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("setpolicy ACM acme", "'Policy type not supported.'"), ("setpolicy ACM acme more", "'Policy type not supported.'"),
        ("resetpolicy", "'ACM policy type not supported.'"), ("getlabel res phy:vg0/a", "'Resource not labeled'"),
        ("rmlabel res phy:vg0/a", "'Resource not labeled'"), ("rmlabel mgt orchid", "'Domain was not labeled.'"),
        ("getlabel dom none.cfg", "'Domain not labeled'"), ("rmlabel dom none.cfg", "'Domain not labeled'"),
    ],
)  # fmt: skip
def test_what_the_module_refuses_is_a_text_in_quotes_without_usage(xm: Xm, tmp_path: Path, words: str, line: str) -> None:
    (tmp_path / "none.cfg").write_text("name = 'a'\n")
    assert xm(*words.split()) == (1, "", f"Error: {line}\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("getenforce", "Unsupported policy type"), ("setenforce 1", "Unsupported policy type"),
        ("setenforce Permissive", "Unsupported policy type"),
        ("addlabel red res phy:vg0/a", "\"Command not supported under XSM 'dummy' module.\""),
        ("addlabel red mgt orchid", "\"Command not supported under XSM 'dummy' module.\""),
    ],
)  # fmt: skip
def test_what_is_refused_with_the_usage(xm: Xm, words: str, line: str) -> None:
    assert xm(*words.split()) == (1, usage_text(words.split()[0]), f"Error: {line}\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("getlabel", "Requires 2 arguments"), ("getlabel dom a b", "Requires 2 arguments"),
        ("rmlabel dom", "Requires 2 arguments"), ("rmlabel foo a", "'foo' is none of dom, res and mgt"),
        ("getlabel foo a", "'foo' is none of dom, res and mgt"), ("addlabel red foo a", "'foo' is none of dom, res and mgt"),
        ("addlabel red", "Needs either 2 or 3 arguments"), ("addlabel red dom a b c", "Needs either 2 or 3 arguments"),
        ("addlabel red dom a.cfg",
         "ACM security is not enabled. You must specify the policy on the command line."),
        ("dry-run", "Invalid number of arguments"), ("dry-run a b", "Invalid number of arguments"),
        ("dry-run nosuch.cfg", "Unable to open config file: nosuch.cfg"),
        ("dumppolicy x", "No arguments expected."), ("resetpolicy x", "No arguments expected."),
        ("getenforce x", "No arguments expected."), ("getpolicy x", "No arguments expected."),
        ("resources x", "No arguments required"), ("setpolicy ACM", "Need at least 3 arguments."),
        ("setenforce", "Invalid arguments"), ("setenforce 1 0", "Invalid arguments"),
        ("setenforce maybe", "maybe is an unsupported mode"),
    ],
)  # fmt: skip
def test_wrong_words_show_the_usage_and_the_text_about_it(xm: Xm, words: str, line: str) -> None:
    assert after_usage(words.split()[0])
    assert xm(*words.split()) == wrong(words.split()[0], line)


def test_the_label_of_a_domain_is_an_empty_line(xm: Xm) -> None:
    assert xm("getlabel", "mgt", "orchid") == (0, "\n", "")
    assert xm("getlabel", "mgt", "basalt") == (0, "\n", "")
    assert xm("getlabel", "mgt", "0") == (0, "\n", "")


@pytest.mark.parametrize("words", ["getlabel mgt nosuch", "rmlabel mgt nosuch", "addlabel red mgt nosuch"])
def test_the_domain_is_looked_for(xm: Xm, words: str) -> None:
    assert xm(*words.split()) == (3, "", "Error: Domain 'nosuch' does not exist.\n")


# -- files


def test_a_label_is_put_in_read_and_taken_out(xm: Xm, tmp_path: Path) -> None:
    file = tmp_path / "web1.cfg"
    begun = b"name = 'web1'  # \xe9\xff\r\n\tmemory = 64\n\n"
    file.write_bytes(begun)
    assert xm("addlabel", "red", "dom", "web1.cfg", "acme") == (0, "", "")
    assert file.read_bytes() == begun + LABEL.encode()
    assert xm("getlabel", "dom", "web1.cfg") == (0, "policytype=ACM,policy=acme,label=red\n", "")
    assert xm("addlabel", "blue", "dom", "web1.cfg", "acme") == (
        1, "", 'Error: "Config file \'web1.cfg\' is already labeled."\n',
    )  # fmt: skip
    assert xm("rmlabel", "dom", "web1.cfg") == (0, "", "")
    assert file.read_bytes() == begun + b"# " + LABEL.encode()
    assert xm("getlabel", "dom", "web1.cfg") == (1, "", "Error: 'Domain not labeled'\n")


def test_a_label_in_any_encoding_comes_back_as_it_went_in(xm: Xm, tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text("")
    label = os.fsdecode(b"r\xc3\xb6t\xff")
    assert xm("addlabel", label, "dom", "a.cfg", "acme") == (0, "", "")
    assert (tmp_path / "a.cfg").read_bytes() == b"access_control = ['policy=acme,label=r\xc3\xb6t\xff']\n"


def test_mode_and_link_stay_and_nothing_is_left_behind(xm: Xm, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    file = tmp_path / "real" / "a.cfg"
    file.write_text("name = 'a'\n")
    file.chmod(0o640)
    (tmp_path / "link.cfg").symlink_to("real/a.cfg")
    assert xm("addlabel", "red", "dom", "link.cfg", "acme").status == 0
    assert (tmp_path / "link.cfg").is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert os.listdir(tmp_path / "real") == ["a.cfg"]


@pytest.mark.parametrize("word", ["a'b", 'a"b', "a,b", "a\\b", "a\nb", "a=b", "", " ", " a", "a\t"])
def test_a_word_that_would_change_the_script_is_refused(xm: Xm, tmp_path: Path, word: str) -> None:
    (tmp_path / "a.cfg").write_text("name = 'a'\n")
    for words in ([word, "dom", "a.cfg", "acme"], ["red", "dom", "a.cfg", word]):
        assert xm("addlabel", *words).status == 1
    assert (tmp_path / "a.cfg").read_text() == "name = 'a'\n"


@pytest.mark.parametrize("words", ["getlabel dom nosuch.cfg", "rmlabel dom nosuch.cfg", "addlabel red dom nosuch.cfg acme"])
def test_a_file_that_is_not_there(xm: Xm, words: str) -> None:
    status, _, err = xm(*words.split())
    assert (status, err) == (1, "Error: Unable to open config file: nosuch.cfg\n")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("(vm (name a))\n", "this is an SXP file"), ("# x\n(domain (name a))\n", "this is an SXP file"),
     ("<domain type='kvm'/>\n", "this is libvirt's XML"), ("a = '\0'\n", "this is no text")],
)  # fmt: skip
def test_what_is_no_script_is_not_changed(xm: Xm, tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "a.cfg").write_text(text)
    for words in ("addlabel red dom a.cfg acme", "getlabel dom a.cfg", "rmlabel dom a.cfg"):
        status, out, err = xm(*words.split())
        assert (status, out) == (1, "")
        assert err.startswith(f"Error: ./a.cfg: {complaint}")
    assert (tmp_path / "a.cfg").read_text() == text


def test_a_file_with_two_names_keeps_both(xm: Xm, tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text("name = 'a'\n")
    (tmp_path / "b.cfg").hardlink_to(tmp_path / "a.cfg")
    status, _, err = xm("addlabel", "red", "dom", "a.cfg", "acme")
    assert (status, err) == (1, "Error: ./a.cfg: this file has 2 names (hard links); give it one, or change it by hand\n")
    assert (tmp_path / "a.cfg").samefile(tmp_path / "b.cfg")
    assert (tmp_path / "a.cfg").read_text() == "name = 'a'\n"


def test_an_empty_name_means_no_file(xm: Xm, tmp_path: Path) -> None:
    (tmp_path / "xmdefconfig").write_text("name = 'a'\n")
    for words in (["addlabel", "red", "dom", "", "acme"], ["getlabel", "dom", ""], ["rmlabel", "dom", ""]):
        assert xm(*words).err == "Error: Unable to open config file: \n"
    assert (tmp_path / "xmdefconfig").read_text() == "name = 'a'\n"


def test_a_long_name_in_any_encoding_is_no_hindrance(xm: Xm, tmp_path: Path) -> None:
    name = "\xe9" * 125 + ".cfg"
    (tmp_path / name).write_text("name = 'a'\n")
    assert xm("addlabel", "red", "dom", name, "acme") == (0, "", "")
    assert os.listdir(tmp_path) == [name]


def test_a_name_that_is_not_ascii_is_told_as_python_2_wrote_it(xm: Xm, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xc3\xa9\xff.cfg")
    (tmp_path / name).write_text(LABEL)
    assert xm("addlabel", "blue", "dom", name, "acme").err == (
        'Error: "Config file \'caf\\xc3\\xa9\\xff.cfg\' is already labeled."\n'
    )


def test_what_is_no_file_is_not_changed(xm: Xm, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert xm("addlabel", "red", "dom", "pipe", "acme") == (1, "", "Error: ./pipe: this is not a file\n")


def test_where_the_disk_is_full_the_file_stays(xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.cfg").write_text("name = 'a'\n")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert xm("addlabel", "red", "dom", "a.cfg", "acme") == (1, "", "Error: ./a.cfg: No space left on device\n")
    assert (os.listdir(tmp_path), (tmp_path / "a.cfg").read_text()) == (["a.cfg"], "name = 'a'\n")


# -- dry-run

GUEST = "name = 'web1'\nmemory = 64\ndisk = ['phy:vg0/web1,xvda,w', 'file:/b.iso,hdc:cdrom,r']\nkernel = '/dev/null'\n"


def test_a_guest_without_label_passes(xm: Xm, tmp_path: Path) -> None:
    (tmp_path / "web1.cfg").write_text(GUEST)
    assert xm("dry-run", "web1.cfg") == (
        0,
        "Checking domain:\n   web1: PERMITTED\nChecking resources:\n   phy:vg0/web1: PERMITTED\n"
        "   file:/b.iso: PERMITTED\nDry Run: PASSED\n",
        "",
    )


def test_a_guest_with_a_label_fails_for_no_policy_knows_it(xm: Xm, tmp_path: Path) -> None:
    (tmp_path / "web1.cfg").write_text(GUEST + LABEL)
    assert xm("dry-run", "web1.cfg") == (
        255,
        "Checking domain:\n   web1: DENIED\n   --> no policy is installed that has the label of 'policy=acme,label=red'\n"
        "Checking resources: (skipped)\nDry Run: FAILED\n",
        "",
    )


def test_what_the_script_prints_comes_first(xm: Xm, tmp_path: Path) -> None:
    (tmp_path / "web1.cfg").write_text(f"print('hello')\n{GUEST}")
    status, out, err = xm("dry-run", "web1.cfg")
    assert (status, err) == (0, "")
    assert out.startswith("hello\nChecking domain:\n")
