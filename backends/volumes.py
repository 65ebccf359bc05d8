"""The part of the Hypervisor protocol that the disks of domains have while they are on some storage.

On the path of ``xm list``, as ``hypervisor`` is.
"""

from __future__ import annotations

from xmcompat.light import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from xmcompat.backends.hypervisor import DiskUse


class Volumes(Protocol):
    """Errors are those of ``Hypervisor``."""

    def resize_disk(self, uuid: str, path: str, size: int) -> None:
        """Give the disk with the image PATH of a domain that is there SIZE bytes, and tell the guest. An image in a file
        grows with it; a block device must have that size already."""
        ...

    def known_disks(self) -> Sequence[DiskUse]:
        """The disks with which known domains would be started."""
        ...

    def pool_place(self, name: str) -> str | None:
        """The folder, or LVM's volume group, of the hypervisor's own storage pool of that name; None where it has none."""
        ...
