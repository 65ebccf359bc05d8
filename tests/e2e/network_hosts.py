"""What the tests of whole networks share: a host's files as its operator writes them, and guests that tell lies."""

from __future__ import annotations

from collections.abc import Callable

from tests.lab.lan import NodeHost, Place
from tests.lab.linux_guests import LinuxGuest
from tests.lab.snapshot import Snapshot
from tests.lab.stations import Ear

#: Mbit/s that a test asks for, far below what a guest does without KVM, and what may come of it.
RATE = 8.0
LEAST, MOST = RATE * 0.9, RATE * 1.1

FOREIGN_MAC = "00:16:3e:00:00:99"
#: What of a host moves by itself once guests have been there.
RESTLESS = ("sysctl net.ipv4.neigh.default.", "sysctl net.ipv6.neigh.default.")


def configure(host: NodeHost, words: str, settings: str = "") -> None:
    """Write xend-config.sxp, with its log in the lab, and xmcompat.toml."""
    host.run("mkdir", "-p", "/etc/xen/scripts", "/etc/xmcompat")
    host.run("tee", "/etc/xen/xend-config.sxp", input=f"(logfile {host.node.directory}/log/xend.log)\n{words}\n")
    host.run("tee", "/etc/xmcompat/xmcompat.toml", input=settings)


def network(host: NodeHost, *words: str, input: str = "", status: int = 0) -> str:
    """What ``xmcompat network WORDS`` says. Raises AssertionError where it ends with another STATUS."""
    done = host.program("xmcompat.tool", "network", *words, input=input)
    assert done.status == status, f"xmcompat network {' '.join(words)} gave {done.status}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def xm(host: NodeHost, *words: str, timeout: float = 60.0) -> str:
    """What ``xm WORDS`` says. Raises AssertionError where it fails."""
    done = host.xm(*words, timeout=timeout)
    assert (done.status, done.stderr) == (0, ""), f"xm {' '.join(words)} gave {done}"
    return done.stdout


def device_of(host: NodeHost, guest: str, number: int = 0) -> str:
    """The kernel's name of the host's end of a guest's interface, found by Xen's name for it."""
    domid = xm(host, "domid", guest).strip()
    return str(host.json("ip", "-j", "link", "show", "dev", f"vif{domid}.{number}")[0]["ifname"])


def lies_that_pass(
    guest: LinuxGuest, place: Place, port: str, *, mac: str, foreign: str, target: str, device: str = "eth0",
    honest: str = "",
) -> list[str]:  # fmt: skip
    """What of a guest's lies arrives at PORT of PLACE: packets and ARP from the address FOREIGN, and another MAC.

    TARGET answers the truth. Raises AssertionError where the truth is not heard at PORT, which is known by the MAC address
    or by HONEST, the guest's address: nothing would be proven then.
    """
    with Ear(place, port, outgoing=True) as ear:
        assert guest.pings(target, options=f"-I {device}"), f"{target} does not answer {guest.name}"
        guest.check(
            f"ip addr add {foreign}/32 dev {device}\n"
            f"(ping -q -c1 -W1 -I {foreign} {target} & arping -q -c1 -w1 -I {device} -s {foreign} {target} &"
            f" arping -q -c1 -w1 -U -I {device} -s {foreign} {foreign} & wait) >/dev/null 2>&1\n"
            f"ip addr del {foreign}/32 dev {device}\n"
            f"ip link set {device} address {FOREIGN_MAC}\n"
            f"ping -q -c1 -W1 -I {device} {target} >/dev/null 2>&1\n"
            f"ip link set {device} address {mac}"
        )
        assert guest.pings(target, options=f"-I {device}"), f"{target} answers {guest.name} no more"
        assert any(frame.source == honest if honest else frame.source_mac == mac for frame in ear.listen(0.2))
        lies = [frame for frame in ear.heard if frame.source == foreign or frame.source_mac == FOREIGN_MAC]
    return [f"{frame.kind} from {frame.source}, {frame.source_mac}" for frame in lies]


def sending_speed(guest: LinuxGuest, place: Place, address: str, *, seconds: float = 2) -> float:
    """Mbit/s of what the guest sends to ADDRESS of PLACE, measured for SECONDS."""
    return _fair(lambda: guest.sends_at(place, address, seconds=seconds))


def speeds(guest: LinuxGuest, place: Place, address: str) -> tuple[float, float]:
    """Mbit/s of what the guest sends to ADDRESS of PLACE, and of what it gets from there."""
    return sending_speed(guest, place, address), _fair(lambda: guest.receives_at(place, address, seconds=2))


def _fair(measure: Callable[[], float]) -> float:
    """The first of four measurements between LEAST and MOST, else the last. A guest that gets no processor for a while
    uses less than it may, and sends at once what has piled up meanwhile; a connection whose slow start is punished late
    uses less too. A limit that is wrong is so each time."""
    for _ in range(4):
        found = measure()
        if LEAST < found < MOST:
            break
    return found


def left_over(before: Snapshot, host: NodeHost) -> str:
    """How the host's network differs from what it was BEFORE."""
    return before.without(*RESTLESS).difference(host.snapshot().without(*RESTLESS))
