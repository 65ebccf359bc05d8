"""Stand-ins for guests, there in a moment: a network namespace whose cable ends in a host as a guest's tap would.

    station = joined(host, lan.directory, port="vif1.0", mac="00:16:3e:00:00:01", addresses=["198.51.100.101/24"])
    host.run("ip", "link", "set", "vif1.0", "master", "xenbr0")
    with Ear(lan.outside, "lan") as ear:
        station.send(arp_request(station.mac, "198.51.100.177", "198.51.100.1"), source_mac="00:16:3e:00:00:99")
        assert not ear.hears(lambda frame: frame.source == "198.51.100.177", seconds=0.5)

Frames are made by ``frames``. A guest's port has the MAC fe:ff:ff:ff:ff:ff, is up, and has no address of its own.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from tests.lab.frames import BROADCAST, Frame, Payload, ethernet, read_frame
from tests.lab.lan import BareHost, Place, wire

ETH_P_ALL = 3
PORT_MAC = "fe:ff:ff:ff:ff:ff"
DEVICE = "eth0"


class Station(BareHost):
    """A stand-in for one guest; its device is ``eth0``, its end in the host ``port``."""

    def __init__(self, directory: Path, name: str, host: Place, port: str, mac: str) -> None:
        super().__init__(directory, name)
        self.host = host
        self.port = port
        self.mac = mac
        try:
            wire(self, DEVICE, host, port, mac=mac)
            host.run("ip", "link", "set", port, "address", PORT_MAC, "addrgenmode", "none")
        except BaseException:
            self.stop()
            raise

    def send(
        self, payload: Payload, *, target_mac: str = BROADCAST, source_mac: str | None = None, count: int = 1
    ) -> None:
        """Send COUNT frames with PAYLOAD, from SOURCE_MAC or its own."""
        send(self, DEVICE, ethernet(source_mac or self.mac, target_mac, payload), count=count)


def joined(
    host: Place, directory: Path, *, port: str, mac: str, addresses: Sequence[str] = (), gateway: str | None = None
) -> Station:
    """A new station with its cable to PORT of HOST, in DIRECTORY's folder for it.

    ADDRESSES are written with their length (198.51.100.101/24, 2001:db8:1::65/64). The caller stops it; it ends with
    the run in any case. The fixture ``station`` does both.
    """
    name = f"station-{host.name}-{port}"[:60]
    station = Station(directory / name, name, host, port, mac)
    lines = [f"addr add {address} dev {DEVICE}\n" for address in addresses]
    lines += [f"route add default via {gateway} dev {DEVICE}\n"] if gateway else []
    station.sysctl(f"net.ipv6.conf.{DEVICE}.accept_dad", "0")
    station.run("ip", "-batch", "-", input="".join(lines))
    return station


def send(place: Place, device: str, frame: bytes, *, count: int = 1) -> None:
    """Send a whole FRAME out of DEVICE of PLACE, COUNT times."""
    with place.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((device, 0))
        for _ in range(count):
            raw.send(frame)


class Ear:
    """Hears what arrives at DEVICE of PLACE, whoever it is for, from the moment it is entered.

    What the place itself sends out of the device is heard only with OUTGOING. A device need not be up yet.
    """

    def __init__(self, place: Place, device: str, *, outgoing: bool = False) -> None:
        self._raw = place.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._outgoing = outgoing
        self.heard: list[Frame] = []
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._raw.bind((device, ETH_P_ALL))

    def listen(self, seconds: float) -> list[Frame]:
        """All frames that came since it was entered, after listening for SECONDS more."""
        self._listen(seconds, lambda frame: False)
        return self.heard

    def hears(self, wanted: Callable[[Frame], bool], *, seconds: float = 2.0) -> bool:
        """Whether a WANTED frame came since it was entered, or comes within SECONDS."""
        return any(wanted(frame) for frame in self.heard) or self._listen(seconds, wanted)

    def _listen(self, seconds: float, wanted: Callable[[Frame], bool]) -> bool:
        deadline = time.monotonic() + seconds
        while select.select([self._raw], [], [], max(deadline - time.monotonic(), 0))[0]:
            try:
                data, sender = self._raw.recvfrom(65536)
            except OSError:
                continue  # the device went down
            if sender[2] == socket.PACKET_OUTGOING and not self._outgoing:
                continue
            self.heard.append(read_frame(data))
            if wanted(self.heard[-1]):
                return True
            if time.monotonic() > deadline:
                break
        return False

    def __enter__(self) -> Ear:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()


# -- how fast

#: Of the time that is measured, the part that is left out: buffers fill, and a limit lets a first burst through.
LEFT_OUT = 1 / 3


def throughput(
    sender: Place, receiver: Place, address: str, *, seconds: float = 3.0, port: int = 5001, timeout: float = 10.0
) -> float:
    """Mbit/s of one TCP connection from SENDER to ADDRESS, which RECEIVER has, as received; the start is left out.

    It takes SECONDS and half of that before them. Raises OSError where no connection comes about in TIMEOUT seconds.
    """
    six = ":" in address
    family = socket.AF_INET6 if six else socket.AF_INET
    with receiver.socket(family, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(1)
        server.settimeout(timeout)
        client = sender.socket(family, socket.SOCK_STREAM)
        feeder = threading.Thread(target=_feed, args=(client,), name="throughput")
        with client:
            client.settimeout(timeout)
            client.connect((address, port))
            connection, _ = server.accept()
            feeder.start()
            try:
                with connection:
                    return received_rate(connection, seconds)
            finally:
                feeder.join()


def _feed(client: socket.socket) -> None:
    """Send zeros until the other side has enough."""
    block = bytes(256 * 1024)
    try:
        while True:
            client.sendall(block)
    except OSError:
        return


def received_rate(connection: socket.socket, seconds: float) -> float:
    """Mbit/s that arrive on CONNECTION for SECONDS, once a half of that has passed. Raises OSError for silence."""
    connection.settimeout(20.0)
    block = bytearray(256 * 1024)
    start = time.monotonic()
    begin = start + seconds * LEFT_OUT / (1 - LEFT_OUT)
    first = last = None
    total = 0
    while last is None or last < begin + seconds:
        size = connection.recv_into(block)
        if size == 0:
            raise ConnectionError("the sender has ended")
        last = time.monotonic()
        if first is None:
            first = last if last >= begin else None  # this one belongs to the time before
        else:
            total += size
    assert first is not None
    return total * 8e-6 / (last - first)


def sent_rate(connection: socket.socket, seconds: float) -> float:
    """Mbit/s that CONNECTION takes for SECONDS, once a half of that has passed: for a receiver inside a guest."""
    connection.settimeout(20.0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    block = bytes(16 * 1024)
    begin = time.monotonic() + seconds * LEFT_OUT / (1 - LEFT_OUT)
    first: float | None = None
    total = 0
    while True:
        size = connection.send(block)
        now = time.monotonic()
        if first is None:
            first = now if now >= begin else None
            continue
        total += size
        if now - first >= seconds:
            return total * 8e-6 / (now - first)
