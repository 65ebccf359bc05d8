"""Taps whose guest is the test: what is written to one has been sent by the guest, what is read the guest receives.

A cable joins two taps by moving whole packets between them, those of up to 64 KiB that the card is to cut as well: a guest's
kernel is then behind a tap as it is behind QEMU's.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import threading
import time
from types import TracebackType

from tests.lab.inside import inside
from tests.lab.lan import Place

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x2, 0x1000, 0x4000
CHECKSUM, TSO4, TSO6 = 1, 2, 4


class Tap:
    """The tap NAME of PLACE, up, with the address that libvirt gives to that of a guest with MAC."""

    def __init__(self, place: Place, name: str, mac: str, *, offload: bool = False, lines: str = "") -> None:
        def opened() -> int:
            file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            flags = IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if offload else 0)
            fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
            if offload:
                fcntl.ioctl(file, TUNSETOFFLOAD, CHECKSUM | TSO4 | TSO6)
            return file

        self.place, self.name = place, name
        self.file: int = inside(place.pid, opened)
        place.run("ip", "-batch", "-", input=f"link set dev {name} address {mac} addrgenmode none up\n{lines}")

    def send(self, frame: bytes) -> None:
        """The kernel has dealt with it when this returns, unless something delays it."""
        os.write(self.file, frame)

    def frames(self, last: bytes, *, seconds: float = 5.0) -> list[bytes]:
        """What has come, up to the frame LAST."""
        found: list[bytes] = []
        deadline = time.monotonic() + seconds
        while last not in found:
            left = deadline - time.monotonic()
            assert left > 0, f"the last frame did not come to {self.name}"
            if select.select([self.file], [], [], left)[0]:
                found.append(os.read(self.file, 1 << 17))
        return found

    def close(self) -> None:
        """The link goes. May be repeated."""
        if self.file >= 0:
            os.close(self.file)
        self.file = -1

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Cable:
    """Joins two taps with offload until it is closed. ``largest`` is the size of the largest packet that went over it."""

    def __init__(self, one: Tap, other: Tap) -> None:
        self.largest = 0
        self._ends = {one.file: other.file, other.file: one.file}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._move, name="cable")
        self._thread.start()

    def _move(self) -> None:
        while not self._ended.is_set():
            for file in select.select(list(self._ends), [], [], 0.1)[0]:
                try:
                    packet = os.read(file, 1 << 17)
                    self.largest = max(self.largest, len(packet))
                    os.write(self._ends[file], packet)
                except OSError:
                    continue  # full, or taken down

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
