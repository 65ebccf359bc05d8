"""What the tests of migrations share: hosts with the settings that let guests move, and guests whose ticks are counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.far_shell import far_shell
from tests.lab.fixtures import Outcome
from tests.lab.guests import tick_xml
from tests.lab.hosts import Hosts, MovingHost, eventually, new_hosts
from xmcompat.backends.hypervisor import DomainInfo

#: Guests run on KVM where they can: QEMU's own emulation, before 9.0, loses some of what is written while memory is copied.
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
#: What is said of emulated guests that move live, by QEMU before 9.0; a pattern.
WARNED = r"(Warning: the guest is emulated, and QEMU [78]\..* may lose some of what it writes while .*\n)?"
MIGRATION = 'transport = "ssh"\nallow_tcp = true\nsilence = 5\nssh = "{program}"\n'


@contextmanager
def moving_hosts(lab_directory: Path, number: int = 2, *, kvm: bool = KVM) -> Iterator[Hosts]:
    """NUMBER of hosts that reach each other by ssh, or what stands in for it."""
    with new_hosts(lab_directory, number) as hosts, far_shell(hosts) as shell:
        for host in hosts.nodes:
            host.accelerator = "kvm" if kvm else "tcg"
            settle(host, MIGRATION.format(program=shell.program))
        yield hosts


@contextmanager
def fault_hosts(lab_directory: Path) -> Iterator[tuple[Hosts, Callable[[], None]]]:
    """Two of them, and what is called after each test: all is as it was, whatever has broken."""
    with new_hosts(lab_directory, 2) as hosts, far_shell(hosts) as shell:

        def clear() -> None:
            hosts.clear()
            shell.renew()
            for host in hosts.nodes:
                settle(host, MIGRATION.format(program=shell.program))

        for host in hosts.nodes:
            host.accelerator = "kvm" if KVM else "tcg"
        clear()
        yield hosts, clear


def settle(host: MovingHost, migration: str) -> None:
    """Write xmcompat.toml with this table [migration]."""
    host.run("mkdir", "-p", "/etc/xmcompat", "/etc/xen")
    host.run("tee", "/etc/xmcompat/xmcompat.toml", input=f"[migration]\n{migration}")
    host.run("tee", "/etc/xen/xend-config.sxp", input=f"(logfile {host.node.directory}/log/xend.log)\n")


class Ticking:
    """A guest that counts on its console, and the file in which all hosts write down what it says."""

    def __init__(self, hosts: Hosts, host: MovingHost, name: str, **details: object) -> None:
        self.name = name
        self.log = hosts.shared / f"{name}.log"
        self.log.unlink(missing_ok=True)
        details.setdefault("kvm", KVM)
        xml = tick_xml(name, hosts.shared, log=self.log, **details)  # type: ignore[arg-type]
        self.info: DomainInfo = host.hypervisor.create(xml)
        eventually(lambda: self.count > 2, 20.0, what="the guest counts")

    @property
    def count(self) -> int:
        return self.log.read_bytes().count(b"TICK ") if self.log.exists() else 0

    def goes_on(self) -> None:
        """It says the next numbers, left none out, said none twice, and never began anew."""
        count = self.count
        eventually(lambda: self.count > count + 1, 20.0, what="the guest goes on counting")
        said = self.log.read_bytes()
        assert said.count(b"TICKROM-UP") == 1
        numbers = [int(line.split()[1], 16) for line in said.split(b"\r\n")[:-1] if line.startswith(b"TICK ")]
        broken = [pair for pair in enumerate(numbers) if pair[0] != pair[1]][:5]
        assert not broken, (broken, said.split(b"\r\n")[max(broken[0][0] - 2, 0) : broken[0][0] + 4])


def names(host: MovingHost) -> list[str]:
    """Whatever is on HOST, running or known, as its list calls it."""
    return sorted(line.split()[0] for line in host.xm("list").stdout.splitlines()[1:] if not line.startswith("Domain-0"))


def migrate(host: MovingHost, *words: str, timeout: float = 90.0) -> Outcome:
    return host.xm("migrate", *words, timeout=timeout)


def tool(host: MovingHost, *words: str, timeout: float = 90.0) -> Outcome:
    """Run ``xmcompat WORDS`` on HOST."""
    return host.program("xmcompat.tool", *words, timeout=timeout)
