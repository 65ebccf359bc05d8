"""Saves and restores in memory: the protocol's part in ``FakeHypervisor``. Files are real, and small."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.image_feed import Along
from xmcompat.errors import DomainNotFound, XmError
from xmcompat.migration.image_head import IMAGE_MAGIC
from xmcompat.migration.save_file import HALF_MAGIC

MEMORY = b"what the guest has in its memory" * 64


def image(xml: str, *, running: bool = True, whole: bool = True, room: int = 1 << 16) -> bytes:
    """An image as libvirt writes it, with ROOM in its header."""
    text = xml.encode() + b"\0" * (1 + room)
    head = struct.pack("=16s4I", IMAGE_MAGIC if whole else HALF_MAGIC, 2, len(text), running, 0) + bytes(60)
    return head + text + MEMORY


def image_in(path: str, spans: Sequence[tuple[int, int]]) -> bytes:
    """What libvirt is given of the file PATH."""
    with open(path, "rb") as file:
        whole = file.read()
    return b"".join(whole[start:end] for start, end in spans)


def xml_of(info: DomainInfo) -> str:
    return (
        f"<domain type='kvm'><name>{info.name}</name><uuid>{info.uuid}</uuid>"
        f"<memory unit='KiB'>{info.max_memory}</memory><vcpu>{info.vcpus}</vcpu>"
        f"<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"
    )


class FakeSaveJob:
    """Is over after so many looks; ERROR is what it ends with, otherwise ACT is called. ON_OVER is called once."""

    def __init__(self, looks: int, act: Callable[[], None], error: XmError | None, on_over: Callable[[], None]) -> None:
        self._looks = looks
        self._act = act
        self._error = error
        self._on_over = on_over
        self._over = False

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._on_over()

    def ended(self, seconds: float) -> bool:
        self._looks -= 1
        if self._looks < 0 and not self._over:
            self._end()
            if self._error is None:
                self._act()
        return self._over

    def result(self) -> None:
        if self._error is not None:
            raise self._error

    def abort(self) -> None:
        if not self._over:
            self._end()
            self._error = XmError("operation aborted")


@dataclass
class FakeSaving:
    """``saves_left``: how often a save whose process has ended is to be given up.

    ``save_looks`` and ``save_errors`` by name of the domain: how long its save takes, and what it ends with."""

    known: dict[str, DomainInfo] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    xml: dict[str, str] = field(default_factory=dict)
    saves_left: int = 0
    save_looks: dict[str, int] = field(default_factory=dict)
    save_errors: dict[str, XmError] = field(default_factory=dict)
    restore_error: XmError | None = None
    disk_contents: dict[str, bytes] = field(default_factory=dict)  # by target
    saves_under_way: int = 0
    most_saves: int = 0
    last_restored: int = 100

    def begin_save(
        self, uuid: str, path: str, *, running: bool = False, disks: Mapping[str, str] | None = None,
        moment: Callable[[], None] = lambda: None,
    ) -> FakeSaveJob:  # fmt: skip
        if uuid not in self.known:
            raise DomainNotFound(uuid)
        info = self.known[uuid]
        self.calls.append(("save", info.name))
        assert os.path.exists(path)

        self.saves_under_way += 1
        self.most_saves = max(self.most_saves, self.saves_under_way)

        def act() -> None:
            for target, copy in (disks or {}).items():
                with open(copy, "xb") as file:
                    file.write(self.disk_contents.get(target, b""))
            with open(path, "wb") as file:
                file.write(image(self.xml.get(uuid) or xml_of(info), running=info.state != DomainState.PAUSED))
            if disks:
                moment()
            if not running:
                self._off(uuid)

        def over() -> None:
            self.saves_under_way -= 1

        return FakeSaveJob(self.save_looks.get(info.name, 0), act, self.save_errors.get(info.name), over)

    def give_up_save(self, uuid: str) -> bool:
        self.calls.append(("give up save", uuid))
        self.saves_left -= self.saves_left > 0
        return self.saves_left == 0

    def _off(self, uuid: str) -> None:
        info = self.known[uuid]
        if info.persistent:
            self.known[uuid] = info._replace(domid=None, state=DomainState.SHUTOFF)
        else:
            del self.known[uuid]

    def restore(
        self, uuid: str, path: str, spans: Sequence[tuple[int, int]], xml: str = "", along: Along | None = None
    ) -> DomainInfo:
        from xmcompat.backends import domain_xml

        if self.restore_error is not None:
            raise self.restore_error
        data = image_in(path, spans)
        assert data.startswith(IMAGE_MAGIC)
        assert len(data) == 92 + int.from_bytes(data[20:24], "little") + len(MEMORY)
        machine = domain_xml.parse(data[92:].partition(b"\0")[0].decode())
        machine = domain_xml.parse(xml) if xml else machine
        assert machine.uuid == uuid
        self.last_restored += 1
        info = DomainInfo(
            self.last_restored, machine.name, uuid, DomainState.PAUSED, machine.memory, machine.memory, machine.vcpus, 0,
            uuid in self.known,
        )  # fmt: skip
        self.known[uuid] = info
        self.calls.append(("restore", info.name))
        return info
