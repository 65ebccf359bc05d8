"""``xmcompat storage check``: the lines, the document and the status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xmcompat.storage import lockspace
from xmcompat.storage.lockspace import Manager
from xmcompat.storage.mounts import Mount
from xmcompat.tool import storage_words
from xmcompat.tool.main import main
from xmcompat.tool.storage_uses import Use


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An image on what is said to be NFS whose locks stay here, which web1 writes to, web2 reads and web3 shares."""
    path = tmp_path / "web1.img"
    path.write_bytes(b"")
    nolock = Mount("store:/xen", str(tmp_path), "nfs", "rw,nolock")
    monkeypatch.setattr(lockspace, "mounted", lambda: [nolock])
    monkeypatch.setattr(lockspace, "PID_FILES", ())
    monkeypatch.setattr(storage_words, "uses", lambda: [
        Use("web1", str(path), True, False), Use("web2", str(path), False, True), Use("web3", str(path), True, False, shareable=True),
    ])  # fmt: skip
    return str(path)


def told(monkeypatch: pytest.MonkeyPatch, manager: Manager) -> None:
    monkeypatch.setattr(lockspace, "manager", lambda: manager)


def test_what_could_be_written_to_twice_is_named_with_what_to_set(
    image: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told(monkeypatch, Manager())
    assert main(["storage", "check"]) == 1
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == "libvirt's lock manager: off"
    assert second == (
        f"web1: {image}: other hosts reach it by NFS (store:/xen): its locks stay on this host, and libvirt's lock manager "
        "is off"
    )
    assert third == f"  {lockspace.ADVICE}"
    assert main(["storage", "check", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["lock_manager"] == {**Manager()._asdict(), "answers": None, "read": True}
    assert [(one["domain"], one["path"]) for one in document["disks"]] == [("web1", image)]


def test_a_lock_manager_that_does_not_listen_is_named(
    image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told(monkeypatch, Manager("lockd", files="/srv/locks"))
    monkeypatch.setattr(lockspace, "SOCKET", str(tmp_path / "none"))
    locked = Mount("store:/locks", "/srv/locks", "nfs4", "rw")
    monkeypatch.setattr(lockspace, "mounted", lambda: [locked])
    assert main(["storage", "check"]) == 1
    assert capsys.readouterr().out.splitlines()[1] == (
        f"virtlockd does not listen at {tmp_path}/none, and no guest starts without it"
    )
    (tmp_path / "none").touch()
    assert main(["storage", "check"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "libvirt's lock manager: lockd", "No disk of a guest could be written to by a guest of another host at the same time.",
    ]  # fmt: skip
