"""Guests moved by ``xm migrate`` between hosts of the lab: they go on where they were, and leave nothing behind."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.moving_hosts import WARNED, Ticking, migrate, moving_hosts, names, tool
from tests.lab import disk_guest
from tests.lab.hosts import Hosts, MovingHost, eventually
from tests.lab.iscsi_target import IQN, PASSWORD, PORT, USER, Target
from xmcompat import disk_secrets
from xmcompat.backends.hypervisor import DomainState

#: 32 KiB each, that a guest writes.
BATCHES = 4000

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def lab(lab_directory: Path) -> Iterator[Hosts]:
    with moving_hosts(lab_directory, 2) as hosts:
        yield hosts


@pytest.fixture
def hosts(lab: Hosts) -> Iterator[Hosts]:
    yield lab
    lab.clear()


def moved(one: MovingHost, two: MovingHost, guest: Ticking, *words: str) -> None:
    """Move it, and see that it goes on there, and is nowhere else."""
    done = migrate(one, *words, guest.name, two.name)
    assert (done.stdout, done.stderr, done.status) == ("", "", 0)
    assert names(two) == [guest.name]
    arrived = two.hypervisor.find(guest.name)
    assert (arrived.uuid, arrived.state) == (guest.info.uuid, DomainState.RUNNING)
    guest.goes_on()


def test_a_guest_goes_there_live_and_back_stopped(hosts: Hosts) -> None:
    one, two = hosts.nodes
    guest = Ticking(hosts, one, "counts")
    moved(one, two, guest, "-l")
    assert names(one) == []
    assert not two.hypervisor.find("counts").persistent
    moved(two, one, guest)
    assert names(two) == []


def test_a_managed_guest_takes_its_entry_along_where_that_is_asked_for(hosts: Hosts) -> None:
    one, two = hosts.nodes
    guest = Ticking(hosts, one, "known")
    one.hypervisor.define_again(one.hypervisor.domain_xml(guest.info.uuid))
    moved(one, two, guest, "-l")
    assert one.hypervisor.find("known").state == DomainState.SHUTOFF
    assert not two.hypervisor.find("known").persistent
    moved(two, one, guest, "-l")
    assert names(two) == []
    assert one.hypervisor.find("known").persistent
    moved(one, two, guest, "-l", "-c")
    assert names(one) == []
    assert two.hypervisor.find("known").persistent


def test_a_disk_of_a_folder_that_both_have_goes_along(hosts: Hosts) -> None:
    one, two = hosts.nodes
    disk = hosts.shared / "shared.img"
    disk.write_bytes(bytes(1 << 20))
    guest = Ticking(hosts, one, "shared", disks=[disk])
    moved(one, two, guest, "-l")
    assert names(one) == []


def test_a_guest_that_writes_to_its_disk_meanwhile_loses_no_sector(hosts: Hosts) -> None:
    one, two = hosts.nodes
    image, console = hosts.shared / "writer.img", hosts.shared / "writer.log"
    disk_guest.make(image, "writer", batches=BATCHES, size=(BATCHES + 2) * 32 * 1024)
    xml = disk_guest.guest_xml("writer", disk_guest.disk("file", f"<source file='{image}'/>"), console)
    one.hypervisor.create(xml.replace("<source path=", "<source append='on' path="))
    eventually(lambda: b"...." in console.read_bytes(), 60.0, what="it writes")
    done = migrate(one, "-l", "writer", two.name)
    assert done.status == 0
    assert re.fullmatch(WARNED, done.stderr)
    assert (names(one), names(two)) == ([], ["writer"])  # it was still at it
    eventually(lambda: names(two) == [], 120.0, what="it has written all, and is off")
    assert console.read_bytes().count(b".") == BATCHES
    assert disk_guest.written(image, BATCHES)


def test_a_disk_that_the_other_host_does_not_have_is_copied_where_that_is_asked_for(hosts: Hosts, tmp_path: Path) -> None:
    one, two = hosts.nodes
    for host in hosts.nodes:
        host.run("mkdir", "-p", "/run/disks")  # each has a /run of its own
    one.run("sh", "-c", "head -c 4M /dev/urandom >/run/disks/own.img")
    guest = Ticking(hosts, one, "copied", disks=[Path("/run/disks/own.img")])
    done = migrate(one, "-l", "copied", two.name)
    assert done.status == 1
    assert done.stderr == (
        "Error: disk vda: /run/disks/own.img is not there on host2; share it with host2, or have it copied\n"
    )
    assert (names(one), names(two)) == (["copied"], [])
    before = one.run("sha256sum", "/run/disks/own.img")
    moved(one, two, guest, "-l", "--with-disks")
    assert two.run("sha256sum", "/run/disks/own.img") == before


def test_a_guest_that_changes_its_memory_too_fast_goes_on_there(hosts: Hosts) -> None:
    one, two = hosts.nodes
    guest = Ticking(hosts, one, "busy", busy=True)
    done = migrate(one, "-l", "-r", "8", "--finish=post-copy", "--deadline=1", "busy", two.name)
    assert (done.status, "and fetches the rest" in done.stderr) == (0, True), done
    guest.goes_on()
    assert (names(one), names(two)) == ([], ["busy"])


def test_several_obstacles_are_told_at_once_and_nothing_is_changed(hosts: Hosts) -> None:
    one, two = hosts.nodes
    guest = Ticking(hosts, one, "stays", bridges=["xenbr0"])
    two.run("ip", "link", "set", "xenbr0", "name", "xenbr9")
    try:
        two.hypervisor.create(one.hypervisor.domain_xml(guest.info.uuid).replace("xenbr0", "xenbr9").replace(
            guest.info.uuid, "00000000-1111-4222-8333-444444444444").replace("stays.log", "other.log"))  # fmt: skip
        done = migrate(one, "-l", "stays", two.name)
    finally:
        two.run("ip", "link", "set", "xenbr9", "name", "xenbr0")
    assert done.status == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "Error: 'stays' cannot move to host2:"
    assert any("VM name 'stays' already exists on host2" in line for line in lines)
    assert any("bridge 'xenbr0', which host2 has not" in line for line in lines)
    guest.goes_on()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_memory_is_copied_leaves_the_guest_running_here(hosts: Hosts, number: signal.Signals) -> None:
    one, two = hosts.nodes
    guest = Ticking(hosts, one, "broken", busy=True)
    hosts.slow("4mbit")
    process = one.start(one.program_argv("xmcompat.xm", "migrate", "-l", "broken", two.name), env=one.program_env())
    eventually(lambda: "migrating-broken" in names(one), 60.0, what="it is listed as migrating")
    eventually(lambda: names(two) == ["broken"], 60.0, what="it is arriving")
    assert one.xm("domid", "migrating-broken").stdout == f"{guest.info.domid}\n"
    (program,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(program), number)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (-number, 128 + number)
    assert err == "Warning: 'broken' runs on here\n"
    assert (names(one), names(two)) == (["broken"], [])
    guest.goes_on()


def test_a_guest_that_moves_to_its_own_host_gets_a_new_id(hosts: Hosts) -> None:
    one = hosts.nodes[0]
    guest = Ticking(hosts, one, "self")
    assert migrate(one, "-l", "self", "localhost") == ("", "", 0)
    back = one.hypervisor.find("self")
    assert back.uuid == guest.info.uuid and back.domid != guest.info.domid
    guest.goes_on()
    assert one.run("ls", "-A", "/var/lib/xmcompat/moving") == ""


def test_a_host_is_emptied(hosts: Hosts) -> None:
    one, two = hosts.nodes
    guests = [Ticking(hosts, one, f"web{number}") for number in range(3)]
    one.hypervisor.pause(guests[2].info.uuid)
    assert tool(one, "evacuate", "localhost", "--to", two.name, "--plan") == (
        "web0 -> host2\nweb1 -> host2\nweb2 -> host2\n", "", 0
    )  # fmt: skip
    assert names(one) == ["web0", "web1", "web2"]
    done = tool(one, "evacuate", "localhost", "--to", two.name)
    assert (done.stderr, done.status) == ("", 0)
    assert (names(one), names(two)) == ([], ["web0", "web1", "web2"])
    assert two.hypervisor.find("web2").state == DomainState.PAUSED
    two.hypervisor.unpause(guests[2].info.uuid)
    for guest in guests:
        guest.goes_on()


def test_the_end_of_a_host_moves_its_guests(hosts: Hosts) -> None:
    one, two = hosts.nodes
    guest = Ticking(hosts, one, "web1")
    one.run("mkdir", "-p", "/etc/default", "/etc/sysconfig")
    for folder in ("default", "sysconfig"):
        one.run("tee", f"/etc/{folder}/xendomains", input='XENDOMAINS_MIGRATE="host2 --live"\nXENDOMAINS_AUTO=""\n')
    done = one.program("xmcompat.xend.xendomains", "stop")
    assert (done.stdout.replace(".", ""), done.stderr, done.status) == ("Stopping Xen domains: web1(migrate)\n", "", 0)
    assert (names(one), names(two)) == ([], ["web1"])
    guest.goes_on()


# -- a disk that a password opens

CHAP = """\
name = 'chap'
builder = 'hvm'
memory = 32
boot = 'c'
usb = 0
sdl = 0
vnc = 0
disk = ['iscsi://{user}@{address}:{port}/{iqn}/1?password_file={file},hda,w']
"""


#: As docs/howto-migrate.md has it.
SECRET = """\
<secret ephemeral="yes" private="yes"><usage type="iscsi"><target>xmcompat:{uuid}:hda</target></usage></secret>
"""


@pytest.fixture
def target(hosts: Hosts) -> Iterator[Target]:
    """Outside, where both hosts reach it."""
    lun = hosts.directory / "lun.img"
    lun.write_bytes(bytes(1 << 20))  # its guest waits for a boot sector
    target = Target(hosts.outside, [lun], hosts.outside.address)
    try:
        yield target
    finally:
        target.end()


def passwords(host: MovingHost) -> list[str]:
    """The names of the secrets that libvirt of HOST keeps, and what xmcompat has noted of them there."""
    noted = host.outcome("ls", disk_secrets.FOLDER).stdout.split()
    return [*host.hypervisor.secret_names("xmcompat:"), *noted]


def telling(host: MovingHost) -> list[str]:
    """The files and command lines of HOST that have the password."""
    words = ("/var/log", "/run", "/etc", "/var/lib/xmcompat", f"{host.node.directory}/log")
    patterns = f"{PASSWORD}\n{base64.b64encode(PASSWORD.encode()).decode()}"
    found = host.outcome("sh", "-c", f"grep -raFls -D skip -f - /proc/[0-9]*/cmdline {' '.join(words)}", input=patterns)
    return found.stdout.split()


def test_the_password_of_a_disk_goes_along_and_never_stays_where_the_guest_is_not(hosts: Hosts, target: Target) -> None:
    one, two = hosts.nodes
    file = "/run/chap.pw"  # each has a /run of its own
    one.run("tee", file, input=f"{PASSWORD}\n")
    text = CHAP.format(user=USER, address=hosts.outside.address, port=PORT, iqn=IQN, file=file)
    (hosts.directory / "chap.cfg").write_text(text)
    assert one.xm("create", str(hosts.directory / "chap.cfg")).status == 0
    uuid = one.hypervisor.find("chap").uuid
    kept = [f"xmcompat:{uuid}:hda", uuid]
    assert (passwords(one), passwords(two)) == (kept, [])

    done = migrate(one, "chap", two.name)
    assert (done.stderr, done.status) == ("", 0)
    assert (names(one), names(two)) == ([], ["chap"])
    assert (passwords(one), passwords(two)) == ([], kept)
    assert two.hypervisor.secret("iscsi", kept[0]) == b""  # it is told to QEMU alone
    assert (telling(one), telling(two)) == ([file], [])

    one.run("tee", file, input="not-this-one-1\n")
    done = migrate(two, "chap", one.name)
    assert done.status == 1 and done.stderr.endswith("; 'chap' runs on here\n"), done.stderr
    assert (names(one), names(two), passwords(one), passwords(two)) == ([], ["chap"], [], kept)

    one.run("rm", file)
    done = tool(two, "migrate", "check", "chap", one.name, "--json")
    assert [(found["what"], found["do"]) for found in json.loads(done.stdout)["findings"] if found["stops"]] == [
        ("disk hda: host1 does not have the password of 'alice', and this host cannot tell it", f"write it into {file} there")
    ]
    (hosts.directory / "secret.xml").write_text(SECRET.format(uuid=uuid))
    virsh = ("virsh", "-c", one.node.uri)
    (secret,) = re.findall(r"[0-9a-f-]{36}", one.run(*virsh, "secret-define", str(hosts.directory / "secret.xml")))
    one.run("tee", "/run/by-hand", input=PASSWORD)
    one.run(*virsh, "secret-set-value", secret, "--plain", "--file", "/run/by-hand")
    done = migrate(two, "chap", one.name)
    assert (done.stderr, done.status) == ("", 0)
    assert (passwords(one), passwords(two)) == (kept, [])
