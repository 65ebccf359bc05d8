"""``xm vncviewer``: which display, which words the viewer gets, and what is said where there is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat import display
from xmcompat.backends.domain_xml import render
from xmcompat.backends.machine import Accelerator, DeviceBoot, Graphics, Machine
from xmcompat.xm.help import usage_text

UUID = "83caefad-e5d4-82f0-82f4-757e2375c399"



@pytest.fixture
def viewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A viewer in the path; gives what it was called with, and what it could read."""
    calls: list[list[str]] = []
    (tmp_path / "vncviewer").write_text("")
    (tmp_path / "vncviewer").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    def execv(path: str, argv: list[str]) -> NoReturn:
        calls.append([path, *argv])
        raise BrokenPipeError  # the one error that main lets through

    monkeypatch.setattr(os, "execv", execv)
    return calls


def shown(host: FakeHypervisor, *graphics: Graphics, domid: int | None = 3) -> None:
    host.known[UUID] = domain("web1", domid, uuid=UUID)
    host.xml[UUID] = render(
        Machine(name="web1", uuid=UUID, accelerator=Accelerator.KVM, memory=65536, current_memory=65536, vcpus=1,
                boot=DeviceBoot(), graphics=graphics)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("listen", "port", "where"),
    [("127.0.0.1", 5900, "localhost:0"), ("0.0.0.0", 5912, "0.0.0.0:12"), ("192.0.2.7", 6001, "192.0.2.7:101")],
)
def test_the_viewer_gets_host_and_display(
    xm: Xm, host: FakeHypervisor, viewer: list[list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path,
    listen: str, port: int, where: str,
) -> None:  # fmt: skip
    shown(host, Graphics(type="spice", port=5900), Graphics(listen=listen, port=port))
    with pytest.raises(BrokenPipeError):
        xm("vncviewer", "web1")
    assert capsys.readouterr() == (f"invoking  vncviewer {where}\n", "")
    assert viewer == [[str(tmp_path / "vncviewer"), "vncviewer", where]]


@pytest.mark.parametrize("option", ["--autopass", "--vncviewer-autopass"])
def test_the_password_is_the_viewers_input(
    xm: Xm, host: FakeHypervisor, viewer: list[list[str]], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, option: str,
) -> None:  # fmt: skip
    given: list[str] = []
    monkeypatch.setattr("xmcompat.xm.vncviewer._give", given.append)
    shown(host, Graphics(port=5901, password="geheim"))
    with pytest.raises(BrokenPipeError):
        xm("vncviewer", option, "web1")
    assert capsys.readouterr() == ("invoking  vncviewer -autopass localhost:1\n", "")
    assert viewer[0][1:] == ["vncviewer", "-autopass", "localhost:1"]
    assert given == ["geheim"]


@pytest.mark.parametrize(
    ("listen", "where", "how"),
    [("127.0.0.1", "localhost:3", "through a tunnel (ssh -L), "), ("0.0.0.0", "0.0.0.0:3", "")],
)
def test_without_a_viewer_it_says_what_to_type(
    xm: Xm, host: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listen: str, where: str, how: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    shown(host, Graphics(listen=listen, port=5903))
    assert xm("vncviewer", "3") == (
        255, f"invoking  vncviewer {where}\n",
        "Error: external vncviewer missing or not in the path\nExiting\n"
        f"Hint: install a VNC viewer here, or {how}type where there is one: vncviewer {where}\n",
    )  # fmt: skip


@pytest.mark.parametrize("words", [[], ["a", "b"], ["--autopass"]])
def test_not_one_domain(xm: Xm, words: list[str]) -> None:
    line = "Error: No domain given (or several parameters specified)\n"
    assert xm("vncviewer", *words) == (1, usage_text("vncviewer") + "\n", line)


def test_domains_without_a_display(xm: Xm, host: FakeHypervisor) -> None:
    shown(host, Graphics(type="spice", port=5900))
    line = "Error: Domain 'web1' has no VNC display; set vnc = 1, or a vfb with vnc=1\n"
    assert xm("vncviewer", "web1") == (1, usage_text("vncviewer"), line)
    assert xm("vncviewer", "nosuch") == (3, "", "Error: Domain 'nosuch' does not exist.\n")
    line = "Error: Domain '0' is this host itself; it has no VNC display\n"
    assert xm("vncviewer", "0") == (1, usage_text("vncviewer"), line)
    shown(host, Graphics(port=5900), domid=None)
    assert xm("vncviewer", "web1") == (1, usage_text("vncviewer"), "Error: Domain 'web1' is not started\n")


def test_a_display_without_a_port_is_waited_for(xm: Xm, host: FakeHypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "PATIENCE", 0.3)
    shown(host, Graphics())
    assert xm("vncviewer", "web1").err == "Error: the VNC display of domain 'web1' has no port after 0 s\n"
