"""Attach and detach beside other changes: what two records of one domain keep, and what is taken back."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor
from tests.xm.conftest import Xm
from tests.xm.test_hotplug import FORM, MACS, UUID, known
from xmcompat import recorded
from xmcompat.backends import domain_xml
from xmcompat.backends.machine import XenRecord
from xmcompat.config import device_forms as forms
from xmcompat.config import sxp
from xmcompat.errors import HypervisorError
from xmcompat.plugging import Plugging


def two_records(host: FakeHypervisor) -> None:
    """A domain that runs with 256 MiB, and whose definition says 512 and has another medium."""
    known(host, persistent=True)
    other = FORM.format(*MACS, image="linux").replace("(memory 256)", "(memory 512)").replace("''", "file:/other.iso")
    record = XenRecord(sxp=other, source="/etc/xen/managed", started=1.0)
    host.known_records[UUID] = domain_xml.render_record(record)


def kept(text: str | None) -> sxp.Tree:
    assert text is not None
    record = domain_xml.read_record(text)
    assert record is not None
    (form,) = sxp.parse(record.sxp or "")
    assert isinstance(form, list)
    return form


def unames(form: sxp.Tree) -> list[str]:
    return [forms.text(device, "uname") for _, device in forms.devices_of(form, ("vbd",))]


def test_what_is_attached_comes_into_both_records_which_else_stay_what_they_are(
    host: FakeHypervisor, xm: Xm, tmp_path: Path
) -> None:
    two_records(host)
    (tmp_path / "data.img").write_bytes(b"")
    assert xm("block-attach", "web1", f"file:{tmp_path}/data.img", "xvdb", "w") == (0, "", "")
    definition = kept(host.known_records[UUID])
    assert sxp.value(definition, "memory") == "512"
    assert unames(definition) == ["phy:vg0/web1", "file:/other.iso", f"file:{tmp_path}/data.img"]
    assert sxp.value(kept(host.metadata(UUID)), "memory") == "256"
    record = domain_xml.read_record(host.known_records[UUID])
    assert record is not None and record.source == "/etc/xen/managed"


def test_what_is_detached_goes_from_both_records(host: FakeHypervisor, xm: Xm) -> None:
    two_records(host)
    assert xm("network-detach", "web1", MACS[0]) == (0, "", "")
    for text in (host.metadata(UUID), host.known_records[UUID]):
        assert [forms.text(vif, "mac") for _, vif in forms.devices_of(kept(text), ("vif",))] == [MACS[1]]
    assert unames(kept(host.known_records[UUID])) == ["phy:vg0/web1", "file:/other.iso"]


def test_a_new_medium_is_in_both_records(host: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    two_records(host)
    (tmp_path / "new.iso").write_bytes(b"")
    assert xm("block-configure", "web1", f"file:{tmp_path}/new.iso", "hdc:cdrom", "r") == (0, "", "")
    for text in (host.metadata(UUID), host.known_records[UUID]):
        assert unames(kept(text)) == ["phy:vg0/web1", f"file:{tmp_path}/new.iso"]


def test_what_changes_in_one_form_is_carried_over_to_another() -> None:
    before = ["vm", ["device", ["pci", ["dev", ["slot", "1"]], ["dev", ["slot", "2"]]]]]
    after = ["vm", ["device", ["pci", ["dev", ["slot", "2"]], ["dev", ["slot", "3"]]]]]
    other = ["vm", ["memory", "9"], ["device", ["pci", ["dev", ["slot", "7"]], ["dev", ["slot", "1"]]]]]
    assert forms.carried_over(before, after, other) == [
        "vm", ["memory", "9"], ["device", ["pci", ["dev", ["slot", "7"]], ["dev", ["slot", "3"]]]],
    ]  # fmt: skip
    assert forms.carried_over(before, after, before) == after
    assert forms.carried_over(before, before, other) == other


def test_a_setting_is_kept_while_nobody_else_changes_the_record(
    host: FakeHypervisor, xm: Xm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is read when the domain's lock is had, not before."""
    known(host)
    seen: list[str] = []

    class Lock:
        def __enter__(self) -> None:
            seen.append("locked")
            other = kept(host.metadata(UUID))
            record = XenRecord(sxp=sxp.write([*other, ["device", ["vbd", ["dev", "xvdz"]]]]), source="x", started=5.0)
            host.set_metadata(UUID, domain_xml.render_record(record))

        def __exit__(self, *_: object) -> None:
            seen.append("free")

    monkeypatch.setattr(recorded, "locked", lambda uuid, _environ: Lock() if uuid == UUID else None)
    assert xm("mem-set", "web1", "128") == (0, "", "")
    assert seen == ["locked", "free"]
    form = kept(host.metadata(UUID))
    assert sxp.value(form, "memory") == "128"
    assert [forms.text(device, "dev") for _, device in forms.devices_of(form, ("vbd",))][-1] == "xvdz"


def test_a_controller_that_was_plugged_in_for_a_drive_that_did_not_come_is_taken_back(
    host: FakeHypervisor, xm: Xm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known(host)
    (tmp_path / "a.iso").write_bytes(b"")

    def refuse(*_args: object, **_more: object) -> None:
        raise HypervisorError("it does not fit")

    monkeypatch.setattr(Plugging, "plug", refuse)
    end = xm("block-attach", "web1", f"file:{tmp_path}/a.iso", "xvdd:cdrom", "r")
    assert end.err == "Error: it does not fit\n" and end.status == 1
    assert host.unplugged == ["scsi0"]


def test_ctrl_c_while_the_records_are_written_leaves_them_as_they_were(
    host: FakeHypervisor, xm: Xm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    two_records(host)
    (tmp_path / "data.img").write_bytes(b"")
    before = [kept(text) for text in (host.metadata(UUID), host.known_records[UUID])]
    write, calls = FakeHypervisor.set_metadata, []

    def interrupted(self: FakeHypervisor, uuid: str, element: str, **which: bool) -> None:
        write(self, uuid, element, **which)
        calls.append(which)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(FakeHypervisor, "set_metadata", interrupted)
    with suppress(KeyboardInterrupt):
        xm("block-attach", "web1", f"file:{tmp_path}/data.img", "xvdb", "w")
    assert len(calls) == 4 and host.unplugged == ["ua-xvdb"]
    assert [kept(text) for text in (host.metadata(UUID), host.known_records[UUID])] == before
