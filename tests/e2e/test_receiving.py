"""The receiving side of a migration between real libvirtds: certificates by one command, xend's port, and what is prepared,
settled and given back. The source is played by the test, which speaks as ``xm migrate`` does."""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.moving_hosts import WARNED
from tests.lab.far_shell import far_shell
from tests.lab.fixtures import Outcome
from tests.lab.guests import tick_xml
from tests.lab.hosts import Hosts, MovingHost, eventually, new_hosts
from xmcompat.backends import domain_xml
from xmcompat.backends.machine import XenRecord
from xmcompat.backends.migration import MigrationPhase, Transfer

pytestmark = pytest.mark.libvirt

MAC = "00:16:3e:00:00:51"
CERTIFICATES = "/etc/xmcompat/migration"
XEND = """\
(logfile {log})
(xend-relocation-ssl-server yes)
(xend-relocation-hosts-allow '{allow}')
"""


class Ended(NamedTuple):
    """What the source has seen."""

    transport: str
    early: bool  # the interfaces were set up while memory was still copied
    life: str
    domid: int | None
    told: tuple[str, ...]


@dataclass
class Pair:
    """Two hosts that believe each other; xend of the second one is open for guests of the first."""

    hosts: Hosts
    setup: Outcome

    @property
    def source(self) -> MovingHost:
        return self.hosts.nodes[0]

    @property
    def destination(self) -> MovingHost:
        return self.hosts.nodes[1]

    def guest(self, name: str, *, vif: str = "", kvm: bool = True, busy: bool = False) -> str:
        """Start one at the source, with an interface of the words VIF; its uuid."""
        xml = tick_xml(name, self.hosts.shared, bridges=("xenbr0",) if vif else (), kvm=kvm, busy=busy)
        xml = xml.replace("<interface type='bridge'>", f"<interface type='bridge'><mac address='{MAC}'/>")
        hypervisor = self.source.hypervisor
        uuid = hypervisor.create(xml, paused=False).uuid
        sxp = f"(vm (name {name}) (device (vif (mac {MAC}) (bridge xenbr0) {vif})))"
        hypervisor.set_metadata(uuid, domain_xml.render_record(XenRecord(sxp=sxp)), known=False)
        return uuid

    def xend(self, host: MovingHost, allow: str, verb: str = "reload") -> None:
        """Have xend of HOST read its settings, by which ALLOW is admitted."""
        host.run("mkdir", "-p", "/etc/xen")
        host.run("tee", "/etc/xen/xend-config.sxp", input=XEND.format(log=log_of(host), allow=allow))
        done = host.program("xmcompat.xend", verb)
        assert done.status == 0, done

    def log(self, host: MovingHost) -> str:
        path = log_of(host)
        return path.read_text() if path.exists() else ""

    def held(self) -> list[str]:
        """What is promised at the destination."""
        return host_files(self.destination, f"{self.destination.node.directory}/run/xmcompat/arriving")


def log_of(host: MovingHost) -> Path:
    """xend's log, in a folder that is the host's alone."""
    return host.node.directory / "xend.log"


def host_files(host: MovingHost, folder: str) -> list[str]:
    return host.outcome("ls", folder).stdout.split()


@pytest.fixture(scope="module")
def pair(lab_directory: Path) -> Iterator[Pair]:
    with new_hosts(lab_directory, 2) as hosts, far_shell(hosts) as shell:
        for host in hosts.nodes:
            without_certificates(host)
            host.run("mkdir", "-p", "/etc/xmcompat")
            host.run("tee", "/etc/xmcompat/xmcompat.toml", input=f'[migration]\nssh = "{shell.program}"\n')
        pair = Pair(hosts, hosts.nodes[0].program("xmcompat.tool", "migrate", "setup", "host2"))
        for host in hosts.nodes:
            host.kill_libvirtd()  # it finds QEMU's certificates when it starts
            host.await_libvirtd()
        pair.xend(pair.destination, "^host1$", "start")
        try:
            yield pair
        finally:
            pair.destination.program("xmcompat.xend", "stop")


def without_certificates(host: MovingHost) -> None:
    """Take those of the lab away."""
    conf = host.node.directory / "etc/qemu.conf"
    conf.write_text("".join(line for line in conf.read_text().splitlines(True) if "tls_x509" not in line))
    host.run("rm", "-rf", "/etc/pki")


def moved(pair: Pair, uuid: str, *, leave_after: str = "") -> Ended:
    """Move the domain from the first host to the second, as the first one; stop speaking after a step."""

    def move() -> Ended:
        from xmcompat import departing, peers
        from xmcompat.errors import XmError
        from xmcompat.toolstack import Toolstack

        with Toolstack.open() as toolstack:
            hypervisor = toolstack.hypervisor
            info = hypervisor.find(uuid)
            way = peers.open_way("host2", hypervisor)
            wanted = departing.wanted_of(hypervisor, info, live=True, persist=info.persistent)
            way.peer.look(wanted)
            prepared = way.peer.prepare(wanted)
            if leave_after == "prepare":
                os._exit(0)
            transfer = Transfer(
                way.uri, migrate_uri=f"tcp://{prepared.address}", tls=way.tls, xml=prepared.xml, bandwidth=1,
                persist=wanted.persist, unsafe=True,
            )  # fmt: skip
            job = hypervisor.begin_migration(uuid, transfer)
            if leave_after == "begin":
                time.sleep(0.5)
                os._exit(0)
            pending = way.peer.connect(uuid)
            while not pending.ended(0.1):
                assert not job.ended(0.0), job.result()
            pending.result()
            early = not job.ended(0.0)
            while not job.ended(0.05):
                with suppress(XmError):  # it is over meanwhile
                    seen = hypervisor.migration_progress(uuid)
                    if seen is not None and seen.phase != MigrationPhase.SETUP:
                        hypervisor.set_bandwidth(uuid, None)  # libvirt takes it once it copies memory
            job.result()
            settled = way.peer.settle(uuid)
            way.close()
            return Ended(way.transport, early, settled.copy.life, settled.domid, tuple(one.line() for one in settled.told))

    return inside(pair.source, move)


def inside(host: MovingHost, act: Callable[[], Ended]) -> Ended:
    """What ACT returns in a process of HOST."""

    def acted() -> Ended:
        os.environ.update(host.program_env())
        return act()

    return host.call(acted)


def test_one_command_certifies_both_hosts_and_keeps_keys_where_they_are(pair: Pair) -> None:
    lines = pair.setup.stdout.splitlines()
    assert (pair.setup.status, lines[0], lines[1]) == (
        0, "host2: has certificates for host2, 198.51.100.12", "this host: has certificates for host1, 198.51.100.11"
    )  # fmt: skip
    assert "(xend-relocation-hosts-allow '^host2$ ^host1$')" in lines[-1]
    assert [line.partition(": restart")[0] for line in pair.setup.stderr.splitlines()] == [
        "Warning: host2", "Warning: this host"
    ]  # fmt: skip
    for host in pair.hosts.nodes:
        modes = host.run("stat", "-c", "%a", f"{CERTIFICATES}/serverkey.pem", f"{CERTIFICATES}/data-key.pem",
                         "/etc/pki/libvirt/private/clientkey.pem", "/etc/pki/libvirt-migrate/server-key.pem")  # fmt: skip
        assert modes.split() == ["600"] * 4  # the lab's QEMU runs as root
    keys = [host.run("cat", f"{CERTIFICATES}/serverkey.pem") for host in pair.hosts.nodes]
    assert keys[0] != keys[1]
    assert host_files(pair.destination, f"{CERTIFICATES}/ca") == []
    assert host_files(pair.source, f"{CERTIFICATES}/ca") == [
        "control-cert.pem", "control-key.pem", "data-cert.pem", "data-key.pem", "hosts.json", "lock"
    ]  # fmt: skip


def test_the_command_may_be_repeated(pair: Pair) -> None:
    before = pair.destination.run("cat", f"{CERTIFICATES}/servercert.pem")
    stdout, stderr, status = pair.source.program("xmcompat.tool", "migrate", "setup", "host2")
    assert (stdout.splitlines()[:2], stderr, status) == (["host2: has what it needs", "this host: has what it needs"], "", 0)
    assert pair.destination.run("cat", f"{CERTIFICATES}/servercert.pem") == before


def test_a_guest_comes_by_the_port_of_xend_alone_encrypted(pair: Pair) -> None:
    uuid = pair.guest("tls1", vif="(vifname tls1-0)")
    ended = moved(pair, uuid)
    assert (ended.transport, ended.life, ended.told) == ("tls", "running", ())
    assert pair.destination.hypervisor.find(uuid).domid == ended.domid
    assert pair.held() == []
    assert "Domain tls1 may come from host1." in pair.log(pair.destination)
    assert f"Domain tls1 ({ended.domid}) has come from host1." in pair.log(pair.destination)
    pair.destination.hypervisor.destroy(uuid)


def test_xm_migrate_takes_that_port_by_itself_and_when_it_is_told(pair: Pair) -> None:
    for number, words in enumerate((("-l",), ("-s",))):
        uuid = pair.guest(f"xm{number}", kvm=False)  # as the lab's settings have it, which both hosts ask
        done = pair.source.xm("migrate", *words, f"xm{number}", "host2")
        assert (done.stdout, done.status) == ("", 0)
        assert re.fullmatch(WARNED, done.stderr)
        assert pair.destination.hypervisor.find(uuid).state == "running"
        assert f"Domain xm{number} may come from host1." in pair.log(pair.destination)  # which ssh does not say there
        pair.destination.hypervisor.destroy(uuid)
    assert pair.held() == []


def test_a_guest_has_its_filters_before_it_runs_here(pair: Pair) -> None:
    uuid = pair.guest("filt1", vif="(ip 203.0.113.5) (rate 1MB/s)", busy=True)
    ended = moved(pair, uuid)
    assert (ended.early, ended.life, ended.told) == (True, "running", ())
    rules = pair.destination.run("nft", "list", "table", "netdev", "xmcompat")
    assert "203.0.113.5" in rules
    assert f"vif{ended.domid}.0" in pair.destination.run("ip", "link", "show")
    pair.destination.hypervisor.destroy(uuid)


def test_what_was_prepared_is_given_back_when_the_source_goes_before_it_sends(pair: Pair) -> None:
    uuid = pair.guest("gone1")
    with pytest.raises(AssertionError):
        moved(pair, uuid, leave_after="prepare")
    eventually(lambda: "The source of gone1 has gone" in pair.log(pair.destination), what="the loss is seen")
    assert pair.held() == [uuid]
    assert pair.source.hypervisor.find(uuid).state == "running"
    pair.source.hypervisor.destroy(uuid)


def test_a_guest_is_settled_whose_source_has_gone_while_libvirt_moves_it(pair: Pair) -> None:
    uuid = pair.guest("alone1")
    with pytest.raises(AssertionError):
        moved(pair, uuid, leave_after="begin")
    eventually(lambda: "Domain alone1 (" in pair.log(pair.destination), 60, what="it has come")
    state = pair.destination.hypervisor.find(uuid).state
    assert state in ("running", "blocked"), pair.log(pair.destination)[-3000:]
    assert uuid not in pair.held()
    pair.destination.hypervisor.destroy(uuid)


def handshake(pair: Pair, context: ssl.SSLContext) -> str:
    """What the destination says to the source that speaks TLS in this way."""

    def speak() -> str:
        with socket.create_connection(("host2", 8003), timeout=20) as plain:
            try:
                with context.wrap_socket(plain, server_hostname="host2") as secure:
                    return secure.recv(200).decode()
            except (ssl.SSLError, ConnectionError) as error:
                return type(error).__name__

    return pair.source.call(speak)


def test_nobody_comes_in_without_a_certificate(pair: Pair) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    assert handshake(pair, context) in ("SSLError", "ConnectionResetError")
    eventually(lambda: "peer did not return a certificate" in pair.log(pair.destination).lower(), what="it is logged")


def test_a_host_that_is_not_named_is_rejected_with_its_certificate(pair: Pair) -> None:
    pair.xend(pair.destination, "^host7$")
    try:
        uuid = pair.guest("no1")

        def refused() -> str:
            from xmcompat import peers
            from xmcompat.errors import XmError
            from xmcompat.toolstack import Toolstack

            os.environ.update(pair.source.program_env())
            with Toolstack.open() as toolstack:
                try:
                    peers.open_way("host2", toolstack.hypervisor, ssl=True)
                except XmError as error:
                    return error.line()
            return ""

        eventually(lambda: "Rejected" in pair.source.call(refused), what="xend obeys")
        told = pair.source.call(refused)
        assert "Rejected connection from 198.51.100.11 (host1)." in told
        assert "Rejected connection from 198.51.100.11 (host1)." in pair.log(pair.destination)
        pair.source.hypervisor.destroy(uuid)
    finally:
        pair.xend(pair.destination, "^host1$")


def test_a_text_that_is_not_guessed_at_closes_the_port(pair: Pair) -> None:
    pair.xend(pair.destination, "^host[0-9]$")
    eventually(lambda: ":8003" not in pair.destination.run("ss", "-Hltn"), what="the port is closed")
    eventually(lambda: "'^host[0-9]$' is not guessed at" in pair.log(pair.destination), what="it is logged")
    pair.xend(pair.destination, "^host1$")
    eventually(lambda: ":8003" in pair.destination.run("ss", "-Hltn"), what="the port is open")
