"""The report on a dead host as one JSON document, complete. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from xmcompat.notes import Note
from xmcompat.render.report_values import DiskRow, Fact, GuestRow, NicRow, Report, Verdict


def json_text(report: Report) -> str:
    """ASCII, with a newline at the end. Memory is in MiB; what is not known is null."""
    return json.dumps(document(report), indent=2, ensure_ascii=True) + "\n"


def document(report: Report) -> dict[str, object]:
    return {
        "folder": report.folder,
        "looked": list(report.looked),
        "made": report.made or None,
        "summary": {
            "guests": len(report.guests),
            "verdicts": {verdict.value: report.count(verdict) for verdict in Verdict},
            "memory": report.memory,
            "vcpus": report.vcpus,
            "autostart": sum(guest.autostart for guest in report.guests),
            "bridges": _used(report.bridges()),
            "volumes": _used(report.volumes("volume")),
            "images": _used(report.volumes("image")),
            "network_disks": _used(report.volumes("network")),
            "script_disks": _used(report.volumes("script")),
            "files": _used(report.needs()),
        },
        "guests": [_guest(guest) for guest in report.guests],
        "findings": [{"text": finding.text, "guests": list(finding.guests)} for finding in report.findings],
        "host_bridges": [{"name": name, "uplink": uplink or None} for name, uplink in report.host_bridges],
        "xend": {"path": report.xend_path or None, "settings": [_fact(fact) for fact in report.facts]},
        "unreadable": [{"path": passed.path, "reason": passed.reason} for passed in report.unreadable],
        "skipped": [{"path": passed.path, "reason": passed.reason} for passed in report.skipped],
    }


def _used(things: Mapping[str, Sequence[str]]) -> list[dict[str, object]]:
    return [{"name": thing, "guests": list(names)} for thing, names in things.items()]


def _guest(guest: GuestRow) -> dict[str, object]:
    read = bool(guest.kind)
    return {
        "name": guest.name,
        "uuid": guest.uuid or None,
        "files": list(guest.files),
        "kind": guest.kind or None,
        "memory": guest.memory if read else None,
        "vcpus": guest.vcpus if read else None,
        "boot": guest.boot or None,
        "disks": [_disk(disk) for disk in guest.disks],
        "networks": [_nic(nic) for nic in guest.nics],
        "needs": list(guest.needs),
        "autostart": guest.autostart,
        "managed": guest.managed,
        "verdict": guest.verdict.value,
        "reasons": list(guest.reasons),
        "differences": list(guest.differs),
        "notes": [_note(note) for note in guest.notes],
        "other_keys": dict(guest.quiet),
    }


def _disk(disk: DiskRow) -> dict[str, object]:
    return {
        "device": disk.vdev, "source": disk.source or None, "path": disk.path or None, "kind": disk.kind or None,
        "mode": disk.mode, "cdrom": disk.cdrom,
    }  # fmt: skip


def _nic(nic: NicRow) -> dict[str, object]:
    return {"bridge": nic.bridge, "named": nic.named, "mac": nic.mac or None}


def _note(note: Note) -> dict[str, object]:
    return {
        "key": note.key, "value": note.value or None, "line": note.line, "fate": note.fate.value,
        "reason": note.reason or None, "suggestion": note.suggestion or None,
    }  # fmt: skip


def _fact(fact: Fact) -> dict[str, object]:
    return {
        "name": fact.name, "value": fact.value, "default": fact.default, "given": fact.given, "fate": fact.fate,
        "meaning": fact.meaning, "attention": fact.attention or None,
    }  # fmt: skip
