"""The disks of domains and their sizes: the protocol's part in ``FakeHypervisor``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xmcompat.backends.hypervisor import DiskUse
from xmcompat.errors import XmError


@dataclass
class FakeVolumes:
    """``known_uses`` is what definitions have, ``places`` the hypervisor's own pools, ``resized`` the calls."""

    known_uses: list[DiskUse] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    resized: list[tuple[str, str, int]] = field(default_factory=list)
    resize_refusal: XmError | None = None

    def resize_disk(self, uuid: str, path: str, size: int) -> None:
        if self.resize_refusal is not None:
            raise self.resize_refusal
        self.resized.append((uuid, path, size))

    def known_disks(self) -> Sequence[DiskUse]:
        return self.known_uses

    def pool_place(self, name: str) -> str | None:
        return self.places.get(name)
