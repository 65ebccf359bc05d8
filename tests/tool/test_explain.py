"""``xmcompat explain``: every key of a file is accounted for, and none twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xmcompat.config.keys import KEYS
from xmcompat.notes import Fate
from xmcompat.tool.main import main

WEB1 = """\
kernel = '/boot/vmlinuz'
memory = 128 * 2
name = 'web1'
on_chrash = 'restart'
vif = ['mac=00:16:3E:01:02:03,bridge=xenbr7']
disk = ['file:/srv/web1.img,xvda,w']
cpu_weight = 512
vncpasswd = 'secret'
"""


@pytest.fixture
def web1(tmp_path: Path) -> Path:
    path = tmp_path / "web1.cfg"
    path.write_text(WEB1)
    (tmp_path / "vmlinuz").touch()
    path.write_text(WEB1.replace("/boot", str(tmp_path)))
    return path


def explained(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, dict[str, object]]:
    main(["explain", "--json", *map(str, words)])
    document = json.loads(capsys.readouterr().out)
    return {entry["key"]: entry for entry in document["keys"]}


def test_every_key_of_the_file_has_its_fate(web1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = explained(capsys, web1)
    set_here = {line.split(" = ")[0] for line in WEB1.splitlines()}
    told = {key.partition("[")[0].partition(".")[0] for key in entries}
    assert set_here <= told
    assert {entry["fate"] for entry in entries.values()} <= {fate.value for fate in Fate}
    assert entries["memory"]["fate"] == "carried over"
    assert entries["memory"]["value"] == "256"
    assert entries["cpu_weight"]["fate"] == KEYS["cpu_weight"].fate.value
    assert "on_crash" in str(entries["on_chrash"]["suggestion"])


def test_they_come_in_the_order_of_the_file_with_their_lines(web1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["explain", "--json", str(web1)])
    lines = [entry["line"] for entry in json.loads(capsys.readouterr().out)["keys"] if entry["line"]]
    assert lines == sorted(lines, key=int)
    assert {2, 3, 4, 7} <= set(lines)


def test_a_password_is_not_shown(web1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["explain", str(web1)])
    out, err = capsys.readouterr()
    assert "vncpasswd" in out
    assert "secret" not in out + err
    main(["explain", "--json", str(web1)])
    assert "secret" not in capsys.readouterr().out


def test_the_text_ends_with_the_count_and_the_verdict(web1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(web1)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("web1: ")
    assert lines[-1].endswith("; can be started")
    assert any(line.startswith(f"{web1}:4: on_chrash = 'restart': ") for line in lines)


def test_a_bridge_or_disk_that_this_host_lacks_does_not_matter(
    web1: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(web1)]) == 0
    assert capsys.readouterr().err == ""


def test_variables_are_set_as_on_xms_command_line(web1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explained(capsys, web1, "memory=300")["memory"]["value"] == "300"


def test_what_cannot_be_started_is_accounted_for_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "py.cfg"
    text = "bootloader = 'pygrub'\nmemory = 64\nname = 'py'\ndisk = ['%s:/srv/py.img,xvda1,w']\n"
    path.write_text(text % "file")
    assert main(["explain", "--json", str(path)]) == 0
    assert "taken out of xvda1" in capsys.readouterr().out
    path.write_text(text.replace("%s:/srv/py.img", "nbd:192.0.2.1:10809"))
    assert main(["explain", "--json", str(path)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["startable"] is False
    assert "pygrub" in document["refusal"]
    assert {"bootloader", "memory", "name"} <= {entry["key"] for entry in document["keys"]}


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(tmp_path / "none.cfg")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1


def test_a_syntax_error_names_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.cfg"
    path.write_text("memory = 64\nname = = 'x'\n")
    assert main(["explain", str(path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: ")
    assert "line 2" in err
    assert str(path) in err
    assert "mistake in xmcompat" not in err


def test_the_form_that_xm_prints_is_read_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "web1.sxp"
    (tmp_path / "vmlinuz").touch()
    path.write_text(f"(vm (name web1) (memory 64) (vcpus 1) (image (linux (kernel {tmp_path}/vmlinuz))))\n")
    assert main(["explain", "-F", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(": memory = 64: carried over" in line for line in lines)
    assert lines[-1].endswith("; can be started")


def test_an_sxp_file_takes_no_variables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "-F", "x.sxp", "memory=3"]) == 2
    assert "an SXP file has none" in capsys.readouterr().err


XL = "name = 'web2'\ntype = 'hvm'\nmemory = 64\ndisk = ['/dev/vg0/a,raw,hda,rw']\ncpu_cap = 5\nspicepasswd = 'secret'\n"


def test_a_file_of_xls_is_read_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "web2.cfg"
    path.write_text(XL)
    entries = explained(capsys, path)
    assert {"name", "type", "memory", "disk", "cpu_cap", "spicepasswd"} <= set(entries)
    assert "xl does not know it" in str(entries["cpu_cap"]["reason"])
    assert main(["explain", str(path)]) == 0
    out = capsys.readouterr().out
    assert "secret" not in out
    assert out.splitlines()[-1].endswith("; can be started")


def test_the_dialect_can_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "both.cfg"
    path.write_text("name = 'a'\nbuilder = 'hvm'\nmemory = 64\n")
    assert "no Xen" not in str(explained(capsys, path))
    main(["explain", "--dialect", "xl", str(path)])
    assert "can be started" in capsys.readouterr().out
    path.write_text("(vm (name a) (memory 64) (image (hvm (boot c))))")
    assert main(["explain", "--dialect", "sxp", str(path)]) == 0
    assert main(["explain", str(path)]) == 0
    assert main(["explain", "--dialect", "xl", "-F", str(path)]) == 2


def test_the_same_is_said_each_time(web1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    web1.write_text(web1.read_text().replace("mac=00:16:3E:01:02:03,", ""))
    assert explained(capsys, web1) == explained(capsys, web1)


def test_what_xm_cannot_read_and_xl_can_is_read_as_xls_with_a_note(web1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kernel = web1.parent / "vmlinuz"
    web1.write_text(f"name = 'a'\nmemory = 64\nkernel = '{kernel}'\ndisk = ['phy:vg0/a,xvda']\n")
    assert explained(capsys, web1)["(dialect)"]["value"] == "xl"
    assert main(["explain", "--dialect", "xm", str(web1)]) == 1
    assert "Invalid disk specifier" in capsys.readouterr().err


def test_a_missing_kernel_does_not_make_a_file_xls(web1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    web1.write_text("name = 'a'\nmemory = 64\nkernel = '/nowhere/k'\n")
    assert explained(capsys, web1)["(dialect)"]["value"] == "xm"


def test_a_path_without_its_kind_is_read_with_a_note(web1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    web1.write_text(f"name = 'a'\nmemory = 64\nkernel = '{web1.parent / 'vmlinuz'}'\ndisk = ['/dev/vg0/a,xvda,w']\n")
    assert main(["explain", str(web1)]) == 0
    assert "write phy:/dev/vg0/a" in capsys.readouterr().out


def test_a_very_long_value_is_not_said_as_a_whole(web1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    web1.write_text(f"name = 'a'\nkernel = '{web1.parent / 'vmlinuz'}'\nvif = ['{'a' * 100_000}']\n")
    main(["explain", str(web1)])
    out, err = capsys.readouterr()
    assert len(out + err) < 2000


# -- away from the host


def test_a_file_is_explained_where_its_kernel_is_not(web1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    web1.write_text("name = 'a'\nmemory = 64\nkernel = '/nowhere/k'\nramdisk = 'initrd'\non_crash = 'restart'\n")
    assert main(["explain", str(web1)]) == 0
    out = capsys.readouterr().out
    assert f"{web1}:3: kernel = '/nowhere/k': carried over; there is no such file on this host" in out
    assert "ramdisk" in out
    assert out.splitlines()[-1].endswith("can be started")


def test_a_kernel_that_is_here_has_no_such_note(web1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(web1)]) == 0
    assert "no such file" not in capsys.readouterr().out


@pytest.mark.parametrize("dialect", ["auto", "xm", "sxp", "xl"])
@pytest.mark.parametrize(
    "text", ["(vm (name a) (vncpasswd hunter22)", "name = 'a'\nvncpasswd=\"hunter22\nmemory = 64\n",
             "name = 'a'\nbuilder='hvm'\nmemory=64\nvfb=['type=vnc,vncpasswd=hunter21,hunter22']\n"],
)  # fmt: skip
def test_no_error_has_a_password(web1: Path, capsys: pytest.CaptureFixture[str], text: str, dialect: str) -> None:
    web1.write_text(text)
    main(["explain", "--dialect", dialect, str(web1)])
    out, err = capsys.readouterr()
    assert "hunter" not in out + err
    assert out + err


def test_an_empty_file_is_called_empty(web1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    web1.write_text("\n")
    assert main(["explain", str(web1)]) == 1
    assert capsys.readouterr().err == f"Error: {web1}: it is empty\n"


def test_a_word_without_a_name_is_2(web1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(web1), "=3"]) == 2
    assert "'=3' is not NAME=VALUE" in capsys.readouterr().err


def test_an_error_names_file_and_line(web1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    web1.write_text("name = 'a'\nkernel = '/k'\nmemory = 64\nvif = ['odd']\n")
    assert main(["explain", "--dialect", "xm", str(web1)]) == 1
    assert capsys.readouterr().err == f"Error: {web1}:4: odd should be a pair, separated by an equals sign.\n"
