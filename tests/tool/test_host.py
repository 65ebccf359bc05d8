"""``xmcompat host``: every fact shown, in text and JSON, with a hypervisor and without."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor
from xmcompat.backends import accelerator, libvirt_kvm
from xmcompat.backends.hypervisor import HostInfo
from xmcompat.errors import HypervisorUnreachable
from xmcompat.network import hostname
from xmcompat.tool.main import main


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings, memory or variables of this host; a host name that resolves."""
    for name in ("XMCOMPAT_URI", "XMCOMPAT_ACCELERATOR", "LIBVIRT_DEFAULT_URI"):
        monkeypatch.delenv(name, raising=False)
    settings = tmp_path / "xmcompat.toml"
    settings.touch()
    monkeypatch.setenv("XMCOMPAT_CONFIG", str(settings))
    monkeypatch.setattr(accelerator, "ROOT_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")


def answering(monkeypatch: pytest.MonkeyPatch, hypervisor: FakeHypervisor) -> list[str]:
    """Let HYPERVISOR answer at every URI; returns the list of those asked for."""
    asked: list[str] = []

    def connect(uri: str) -> FakeHypervisor:
        asked.append(uri)
        hypervisor.uri = uri
        return hypervisor

    monkeypatch.setattr(libvirt_kvm, "connect", connect)
    return asked


def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(uri: str) -> FakeHypervisor:
        raise HypervisorUnreachable(f"nothing answers at {uri}", hint="start libvirtd")

    monkeypatch.setattr(libvirt_kvm, "connect", connect)


def test_every_fact_has_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    hypervisor = FakeHypervisor(host_info=HostInfo("h", 4194304, 3, 0), host_bridges=["xenbr0", "xenbr1"])
    answering(monkeypatch, hypervisor)
    monkeypatch.setenv("XMCOMPAT_ACCELERATOR", "tcg")
    assert main(["host", "--uri", "qemu:///system"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "hypervisor   qemu:///system",
        "             answers",
        "accelerator  tcg: chosen by XMCOMPAT_ACCELERATOR",
        "memory       4096 MiB",
        "cpus         3",
    ]
    assert lines[5] in ("cgroups      version 1", "cgroups      version 2")
    assert lines[6:] == ["bridges      xenbr0 xenbr1", "host name    localhost resolves"]
    assert hypervisor.closed


def test_json_says_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answering(monkeypatch, FakeHypervisor(host_bridges=[]))
    monkeypatch.setenv("XMCOMPAT_ACCELERATOR", "kvm")
    assert main(["host", "--json", "--uri", "qemu:///system"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.pop("cgroup_version") in (1, 2)
    assert document["facts"].pop("cgroup_v2") in (True, False)
    assert document == {
        "uri": "qemu:///system",
        "local": True,
        "reachable": True,
        "error": None,
        "accelerator": {
            "name": "kvm", "reason": "chosen by XMCOMPAT_ACCELERATOR", "chosen": True, "remembered": None
        },
        "memory_kib": 8 * 1024 * 1024,
        "cpus": 4,
        "bridges": [],
        "hostname": {"name": "localhost", "resolves": True, "complaint": None},
        "facts": {"accelerator": "kvm", "memory": 8192, "cpus": 4, "bridges": []},
    }


def test_a_hypervisor_that_does_not_answer_is_reported_beside_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silent(monkeypatch)
    monkeypatch.setenv("XMCOMPAT_ACCELERATOR", "tcg")
    assert main(["host"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[:3] == [
        "hypervisor   qemu:///system",
        "             nothing answers at qemu:///system; start libvirtd",
        "accelerator  tcg: chosen by XMCOMPAT_ACCELERATOR",
    ]
    assert err == ""


def test_of_another_host_that_does_not_answer_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silent(monkeypatch)
    assert main(["host", "--json", "--uri", "qemu+ssh://dom0/system"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["local"], document["reachable"]) == (False, False)
    assert [document[key] for key in ("accelerator", "cgroup_version", "hostname", "cpus")] == [None] * 4


def test_the_verdict_of_this_boot_is_shown_with_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answering(monkeypatch, FakeHypervisor())
    assert main(["host", "--json", "--uri", "qemu:///system"]) == 0
    first = json.loads(capsys.readouterr().out)["accelerator"]
    assert first["name"] in ("kvm", "tcg")
    assert first["chosen"] is False
    if first["remembered"] is None:
        return  # nothing to try on this host
    place = Path(first["remembered"])
    assert place.parent == tmp_path / "run"
    place.write_text(place.read_text().replace(first["reason"], "as remembered"))
    main(["host", "--json", "--uri", "qemu:///system"])
    assert json.loads(capsys.readouterr().out)["accelerator"]["reason"] == "as remembered"
    main(["host", "--json", "--again", "--uri", "qemu:///system"])
    assert json.loads(capsys.readouterr().out)["accelerator"] == first


def test_the_uri_is_that_of_xm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = answering(monkeypatch, FakeHypervisor())
    monkeypatch.setenv("XMCOMPAT_ACCELERATOR", "tcg")
    monkeypatch.setenv("XMCOMPAT_URI", "qemu+unix:///system?socket=/here")
    assert main(["host"]) == 0
    assert asked == ["qemu+unix:///system?socket=/here"]


def test_a_word_that_is_no_accelerator_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, FakeHypervisor())
    monkeypatch.setenv("XMCOMPAT_ACCELERATOR", "xen")
    assert main(["host"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "Error: XMCOMPAT_ACCELERATOR: 'xen' is not an accelerator; write auto, kvm or tcg\n")


def test_a_name_that_hangs_is_named_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, FakeHypervisor())
    monkeypatch.setenv("XMCOMPAT_ACCELERATOR", "tcg")
    monkeypatch.setattr(hostname, "SLOW", 0.0)
    assert main(["host", "--uri", "qemu:///system"]) == 0
    assert "add '127.0.1.1 localhost' to /etc/hosts" in capsys.readouterr().out
