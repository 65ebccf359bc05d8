"""Linux guests without a disk for tests of networks: up to a shell in about ten seconds without KVM.

``boot`` starts them with xm in a node; ``QemuGuest`` is one without libvirt or xm, on taps of any host.
They have busybox (ip, ping, arping, udhcpc, nc, httpd, wget, ...) in a RAM disk, and run what a test tells them on
their serial port. Static addresses come from ``run``; ``udhcpc -i eth0 -n -q -t 5 -T 1`` asks for a lease and sets it.

    guests = boot(lan_node.host, {"web1": ["bridge=xenbr0,mac=00:16:3e:00:00:01"]})      # the fixture
    status, text = guests["web1"].run("ping -c1 -W2 198.51.100.1")
"""

from __future__ import annotations

import os
import re
import select
import socket
import termios
import time
import tty
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lxml import etree

from tests.lab.lan import NodeHost, Place, end
from tests.lab.stations import PORT_MAC, received_rate, sent_rate
from xmcompat.backends.libvirt_kvm import connect
from xmcompat.tour import cpio
from xmcompat.tour.guest import _busybox
from xmcompat.tour.kernel import fetch_kernel, module_contents
from xmcompat.tour.packages import default_cache

MODULES = ("virtio_pci", "virtio_net", "af_packet", "ipv6")
MEMORY = 96
COMMAND_LINE = "quiet console=ttyS0 no_timer_check"
SHELL_DEADLINE = 150.0
SCRIPT = "/usr/share/udhcpc/default.script"  # not every busybox looks there by itself

INIT = r"""#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ PS1=
echo 1 >/proc/sys/kernel/printk
echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
for module in $(cat /modules/order); do insmod "/modules/$module" 2>/dev/null; done
ip link set lo up
tries=0
while [ ! -e /sys/class/net/eth0 ] && [ $tries -lt 20 ]; do sleep 0.1; tries=$((tries + 1)); done
for device in /sys/class/net/eth*; do ip link set "${device##*/}" up; done
while :; do setsid cttyhack sh </dev/ttyS0 >/dev/ttyS0 2>&1; done
"""

LEASE = r"""#!/bin/sh
case $1 in
    deconfig) ip addr flush dev "$interface" scope global ;;
    bound | renew)
        ip addr replace "$ip/$mask" dev "$interface"
        [ -z "$router" ] || ip route replace default via "${router%% *}" dev "$interface"
        : >/etc/resolv.conf
        for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
        echo "lease $ip/$mask router=$router dns=$dns hostname=$hostname" ;;
esac
"""


class GuestFiles(NamedTuple):
    """What all these guests boot from."""

    kernel: Path
    ramdisk: Path


def build_network_guest(directory: Path) -> GuestFiles:
    """Write kernel and RAM disk into DIRECTORY, from the same packages as the tour's guest."""
    directory.mkdir(parents=True, exist_ok=True)
    cache = default_cache()
    kernel = fetch_kernel(cache, print)
    loaded = list(module_contents(kernel, MODULES))
    entries = [cpio.folder(name) for name in ("bin", "dev", "etc", "modules", "proc", "sys", "tmp", "var", "var/run")]
    entries += [cpio.folder("usr"), cpio.folder("usr/share"), cpio.folder("usr/share/udhcpc")]
    entries += [cpio.file("bin/busybox", _busybox(cache, print).read_bytes(), 0o755), cpio.file("init", INIT.encode(), 0o755)]
    entries += [cpio.link("bin/sh", "busybox"), cpio.file("usr/share/udhcpc/default.script", LEASE.encode(), 0o755)]
    entries += [cpio.file(f"modules/{name}", data) for name, data in loaded]
    entries.append(cpio.file("modules/order", "".join(f"{name}\n" for name, _ in loaded).encode()))
    made = GuestFiles(directory / "vmlinuz", directory / "ramdisk")
    made.kernel.write_bytes(kernel.image.read_bytes())
    made.ramdisk.write_bytes(cpio.archive(entries))
    return made


def guest_config(files: GuestFiles, name: str, vifs: Sequence[str], *, memory: int = MEMORY, more: str = "") -> str:
    """A Xen configuration; each of VIFS as in a configuration: "bridge=xenbr0,mac=...". MORE is added as it is. Pure."""
    return (
        f"kernel = {str(files.kernel)!r}\nramdisk = {str(files.ramdisk)!r}\nextra = '{COMMAND_LINE}'\n"
        f"memory = {memory}\nvcpus = 1\nname = {name!r}\nvif = {list(vifs)!r}\n"
        f"on_poweroff = 'destroy'\non_reboot = 'restart'\non_crash = 'destroy'\n{more}"
    )


class LinuxGuest:
    """A running guest, and the shell on its serial port."""

    def __init__(self, host: Place, name: str) -> None:
        self.host = host
        self.name = name
        self._console: int | None = None

    def run(self, command: str, *, timeout: float = 30.0) -> tuple[int, str]:
        """The status and the whole output of a shell COMMAND in the guest. Raises AssertionError after TIMEOUT."""
        mark = uuid.uuid4().hex[:10]
        self._say(f'echo "=B""{mark}"; {command}\necho "=E""{mark} $?"\n')
        text = self._hear(re.compile(rf"=B{mark}\n(.*?)=E{mark} (\d+)\n", re.S), timeout, command)
        return int(text[2]), text[1]

    def check(self, command: str, *, timeout: float = 30.0) -> str:
        """What COMMAND says. Raises AssertionError where it fails."""
        status, text = self.run(command, timeout=timeout)
        assert status == 0, f"{command!r} in {self.name} gave {status}: {text}"
        return text

    def awaits(self, test: str, *, seconds: int = 60) -> None:
        """Return when the shell command TEST succeeds in the guest. Raises AssertionError where it fails for SECONDS."""
        loop = f"until {test}; do [ $(date +%s) -lt $end ] || break; sleep 0.1; done"
        self.check(f"end=$(($(date +%s) + {seconds})); {loop}; {test}", timeout=seconds + 30.0)

    def pings(self, address: str, *, count: int = 10, seconds: int = 2, options: str = "") -> bool:
        """Whether ADDRESS answers one of COUNT echo requests, each within SECONDS; the first answer is enough."""
        return self.run(_pinging(address, count, seconds, options), timeout=30.0 + count * seconds)[0] == 0

    def answering(self, *addresses: str, count: int = 10, seconds: int = 2) -> list[str]:
        """Those of ADDRESSES that answer, all of them asked at the same time; see ``pings``."""
        asked = []
        for address in addresses:
            asked.append(f"{{ {{ {_pinging(address, count, seconds)}; }} && echo answers {address}; }} &")
        said = self.run(f"{' '.join(asked)} wait", timeout=30.0 + count * seconds)[1].splitlines()
        return [address for address in addresses if f"answers {address}" in said]

    def use(self, *addresses: str, gateway: str | None = None, device: str = "eth0") -> None:
        """Give DEVICE exactly ADDRESSES (with their length), and GATEWAY as the way to all others."""
        words = [f"ip addr flush dev {device} scope global", f"ip link set {device} up"]
        words += [f"ip addr add {address} dev {device}" for address in addresses]
        words += [f"ip route replace default via {gateway} dev {device}"] if gateway else []
        self.check(" && ".join(words))

    def lease(self, *, device: str = "eth0", timeout: float = 30.0) -> str:
        """Ask for an address by DHCP; returns the line "lease ADDRESS/BITS router=...", "" where nobody answers."""
        _, text = self.run(f"udhcpc -i {device} -n -q -t 6 -T 1 -s {SCRIPT} 2>&1", timeout=timeout)
        return next((line for line in text.splitlines() if line.startswith("lease ")), "")

    def sends_at(self, place: Place, address: str, *, seconds: float = 3.0, port: int = 5001) -> float:
        """Mbit/s of TCP from the guest to ADDRESS, which PLACE has; the start is left out."""
        with _server(place, address, port) as server:
            self.check(f"(timeout {int(seconds * 2 + 8)} nc {address} {port} </dev/zero >/dev/null 2>&1 &)")
            connection, _ = server.accept()
            with connection, self._explained():
                return received_rate(connection, seconds)

    def receives_at(self, place: Place, address: str, *, seconds: float = 3.0, port: int = 5001) -> float:
        """Mbit/s of TCP from PLACE, which has ADDRESS, to the guest; the start is left out."""
        with _server(place, address, port) as server:
            self.check(f"(timeout {int(seconds * 2 + 8)} nc {address} {port} </dev/null >/dev/null 2>&1 &)")
            connection, _ = server.accept()
            with connection, self._explained():
                return sent_rate(connection, seconds)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Where the body has waited in vain: with what the guest says of its connections. Where it says nothing, with that."""
        try:
            yield
        except TimeoutError:
            said = self.run("cat /proc/net/dev /proc/net/tcp; ps; dmesg | tail -5", timeout=30.0)[1]
            raise AssertionError(f"nothing came or went; {self.name} says: {said}") from None

    def await_shell(self, timeout: float = SHELL_DEADLINE) -> None:
        """Wait until it has booted; also to be called after a restore or a migration, which gives it another console."""
        self.close()
        self._open()
        deadline = time.monotonic() + timeout
        mark = uuid.uuid4().hex[:10]  # a late answer to an earlier question is one too
        while True:
            self._say(f'stty -echo; echo "=R""{mark}"\n')
            try:
                self._hear(re.compile(f"=R{mark}\n"), 0.3, "stty")
                return
            except AssertionError:
                assert time.monotonic() < deadline, f"{self.name} has no shell after {timeout} s"

    def close(self) -> None:
        """Let go of its console. May be repeated."""
        if self._console is not None:
            os.close(self._console)
            self._console = None

    def _open(self) -> None:
        """Open its serial port."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it, as a power cut would. May be repeated."""
        raise NotImplementedError

    def _say(self, text: str) -> None:
        assert self._console is not None, f"the console of {self.name} is not open"
        os.write(self._console, text.encode())

    def _hear(self, pattern: re.Pattern[str], timeout: float, what: str) -> re.Match[str]:
        assert self._console is not None
        deadline = time.monotonic() + timeout
        text = ""
        while not (found := pattern.search(text)):
            left = deadline - time.monotonic()
            assert left > 0, f"{what!r} in {self.name} takes longer than {timeout} s; it said {text!r}"
            if select.select([self._console], [], [], left)[0]:
                text += os.read(self._console, 65536).decode(errors="replace").replace("\r", "")
        return found


class XmGuest(LinuxGuest):
    """One that ``xm create`` has started in a node. Once it was migrated, set ``host`` and ``await_shell`` again."""

    host: NodeHost

    def __init__(self, host: NodeHost, name: str) -> None:
        super().__init__(host, name)

    def _open(self) -> None:
        hypervisor = connect(self.host.node.uri)
        try:
            xml = hypervisor._connection.lookupByName(self.name).XMLDesc()
        finally:
            hypervisor.close()
        source = etree.fromstring(xml).find("devices/serial[@type='pty']/source")
        assert source is not None, f"{self.name} has no serial port"
        self._console = os.open(source.attrib["path"], os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._console)
        termios.tcflush(self._console, termios.TCIFLUSH)

    def stop(self) -> None:
        self.close()
        if self.host.node.running:
            self.host.xm("destroy", self.name)


class QemuGuest(LinuxGuest):
    """One in any place without libvirt or xm; its network devices are the taps TAPS (name, MAC), made here if need be.

    ``await_shell`` comes next.
    """

    def __init__(
        self, host: Place, files: GuestFiles, name: str, taps: Mapping[str, str], *, memory: int = MEMORY
    ) -> None:
        super().__init__(host, name)
        self._socket = files.kernel.parent / f"{host.name}-{name}.serial"
        argv = ["qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-m", str(memory), "-nodefaults", "-display", "none"]
        argv += ["-serial", f"unix:{self._socket},server=on,wait=off", "-no-reboot", "-name", name]
        argv += ["-kernel", str(files.kernel), "-initrd", str(files.ramdisk), "-append", COMMAND_LINE]
        there = host.links()
        for number, (tap, mac) in enumerate(taps.items()):
            if tap not in there:
                host.run("ip", "tuntap", "add", "dev", tap, "mode", "tap")
                host.run("ip", "link", "set", tap, "address", PORT_MAC, "addrgenmode", "none", "up")
            argv += ["-netdev", f"tap,id=n{number},ifname={tap},script=no,downscript=no"]
            argv += ["-device", f"virtio-net-pci,netdev=n{number},mac={mac},romfile="]
        self._process = host.start(argv)

    def _open(self) -> None:
        deadline = time.monotonic() + 10
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as serial:
            while serial.connect_ex(str(self._socket)) != 0:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise AssertionError(f"QEMU of {self.name} did not start: {self._process.communicate()[1]}")
                time.sleep(0.02)
            self._console = serial.detach()

    def stop(self) -> None:
        self.close()
        end(self._process)


def _pinging(address: str, count: int, seconds: int, options: str = "") -> str:
    """What asks ADDRESS in a guest until it answers, COUNT times at most; its status says whether it has. Pure."""
    return f"for try in $(seq {count}); do ping -q -c1 -W{seconds} {options} {address} >/dev/null 2>&1 && break; done"


def _server(place: Place, address: str, port: int) -> socket.socket:
    server = place.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(1)
    server.settimeout(15.0)
    return server


def boot_guests(
    host: NodeHost, files: GuestFiles, vifs: Mapping[str, Sequence[str]], *, more: str = ""
) -> dict[str, XmGuest]:
    """Start a guest for each name in VIFS with ``xm create``, all at once, and wait for their shells.

    Raises AssertionError with what xm said where it refuses.
    """
    guests = {}
    for name, words in vifs.items():
        config = host.node.directory / f"{name}.cfg"
        config.write_text(guest_config(files, name, words, more=more))
        stdout, stderr, status = host.xm("create", str(config))
        assert status == 0, f"xm create {name} gave {status}: {stdout}{stderr}"
        guests[name] = XmGuest(host, name)
    for guest in guests.values():
        guest.await_shell()
    return guests
