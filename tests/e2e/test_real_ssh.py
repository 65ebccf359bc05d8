"""Guests moved over the real OpenSSH: they arrive, and where ssh cannot be used they stay, and one line says why."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.moving_hosts import KVM, WARNED, Ticking, migrate, names, settle, tool
from tests.lab.fixtures import Outcome
from tests.lab.hosts import Hosts, MovingHost, eventually, new_hosts
from tests.lab.real_ssh import AUTHORIZED, HOME, KNOWN, PROGRAMS, SERVER, RealSsh, real_ssh
from tests.lab.terminal import Terminal
from xmcompat.backends.hypervisor import DomainState

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(180)]

#: Nothing is said of the program: it is ssh itself.
MIGRATION = 'transport = "ssh"\nallow_tcp = true\nsilence = 5\n'
USER_KEY = f"{HOME}/.ssh/id_ed25519"
SHARES = f"ControlMaster auto\nControlPath {HOME}/.ssh/shared-%C\n"


@dataclass
class Lab:
    """Two hosts and the ssh between them."""

    hosts: Hosts
    ssh: RealSsh

    @property
    def one(self) -> MovingHost:
        return self.hosts.nodes[0]

    @property
    def two(self) -> MovingHost:
        return self.hosts.nodes[1]

    def guest(self) -> Ticking:
        return Ticking(self.hosts, self.one, "counts")

    def moved(self) -> Outcome:
        """Move the guest to the second host, with whatever ssh says: it asks nobody, so that it does not take long."""
        return migrate(self.one, "-l", "counts", self.two.name, timeout=90.0)

    def begun(self) -> subprocess.Popen[str]:
        argv = self.one.program_argv("xmcompat.xm", "migrate", "-l", "counts", self.two.name)
        return self.one.start(argv, env=self.one.program_env())

    def arrived(self, guest: Ticking, done: Outcome) -> None:
        """It runs there, goes on where it was, and is nowhere else."""
        assert (done.stdout, done.status) == ("", 0), done
        assert re.fullmatch(WARNED, done.stderr)
        assert (names(self.one), names(self.two)) == ([], [guest.name])
        found = self.two.hypervisor.find(guest.name)
        assert (found.uuid, found.state) == (guest.info.uuid, DomainState.RUNNING)
        guest.goes_on()

    def stayed(self, guest: Ticking, done: Outcome, said: str) -> None:
        """It runs here as if nothing had been, nothing of it is there, and this one line SAID why."""
        assert done.status == 1
        assert re.fullmatch(WARNED + re.escape(f"Error: {said}\n"), done.stderr), done.stderr
        assert (names(self.one), names(self.two)) == ([guest.name], [])
        assert self.two.outcome("ls", f"{self.two.node.directory}/run/xmcompat/arriving").stdout == ""
        found = self.one.hypervisor.find(guest.name)
        assert (found.domid, found.state) == (guest.info.domid, DomainState.RUNNING)
        guest.goes_on()


@pytest.fixture(scope="module")
def made(lab_directory: Path) -> Iterator[Lab]:
    with new_hosts(lab_directory, 2) as hosts:
        for host in hosts.nodes:
            host.accelerator = "kvm" if KVM else "tcg"
            settle(host, MIGRATION)
        with real_ssh(hosts) as ssh:
            yield Lab(hosts, ssh)


@pytest.fixture
def lab(made: Lab) -> Iterator[Lab]:
    yield made
    made.hosts.clear()
    made.ssh.mend()


# -- where ssh can be used


def test_a_guest_goes_there_and_back_over_openssh(lab: Lab) -> None:
    one, two = lab.one, lab.two
    guest = lab.guest()
    before = [lab.ssh.of(host).sessions for host in (one, two)]
    lab.arrived(guest, lab.moved())
    done = migrate(two, "-l", guest.name, one.name)
    assert (done.stdout, done.status) == ("", 0), done
    assert (names(one), names(two)) == ([guest.name], [])
    assert one.hypervisor.find(guest.name).uuid == guest.info.uuid
    guest.goes_on()
    after = [lab.ssh.of(host).sessions for host in (one, two)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 2]  # xm's own, and that of libvirt


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (f"{SERVER}/banner", "Authorized use only\n"),
        (f"{HOME}/.bashrc", "echo Welcome to two >&2\n"),
        (f"{HOME}/.bashrc", "[ -t 0 ] || return\necho Welcome to two\n"),
    ],
    ids=["banner", "stderr", "terminal"],
)
def test_words_on_stderr_or_at_a_terminal_alone_do_no_harm(lab: Lab, path: str, text: str) -> None:
    guest = lab.guest()
    lab.ssh.of(lab.two).write(path, text)
    lab.arrived(guest, lab.moved())


@pytest.mark.parametrize("more", ["", "ControlPersist 60\n"], ids=["shared", "kept"])
def test_connections_that_the_user_has_ssh_share_do_no_harm(lab: Lab, more: str) -> None:
    guest = lab.guest()
    lab.ssh.of(lab.one).write(f"{HOME}/.ssh/config", SHARES + more)
    lab.arrived(guest, lab.moved())


# -- where it cannot

UNKNOWN = (
    "can't connect: ssh does not know the key of host2: Host key verification failed.; "
    "type 'ssh host2' once as this user, and compare its key"
)


def test_a_host_whose_key_is_not_known_gets_no_guest(lab: Lab) -> None:
    guest = lab.guest()
    lab.ssh.forget(lab.one, lab.two)
    lab.stayed(guest, lab.moved(), UNKNOWN)
    assert lab.one.run("cat", KNOWN) == ""  # nobody has believed it


def test_nothing_is_asked_at_a_terminal_either(lab: Lab) -> None:
    guest = lab.guest()
    lab.ssh.forget(lab.one, lab.two)
    words = lab.one.program_argv("xmcompat.xm", "migrate", "-l", guest.name, lab.two.name)
    with Terminal(lab.one.enter(words, env=lab.one.program_env())) as terminal:
        assert terminal.wait() == 1
        lines = terminal.output.decode().splitlines(keepends=True)
    assert "yes/no" not in "".join(lines)
    errors = "".join(line.replace("\r", "") for line in lines if line.startswith("Error: "))
    lab.stayed(guest, Outcome("", errors, 1), UNKNOWN)


def test_a_host_whose_key_has_changed_gets_no_guest(lab: Lab) -> None:
    guest = lab.guest()
    lab.ssh.forget(lab.one, lab.two, takes=lab.ssh.of(lab.one).host_key)
    lab.stayed(guest, lab.moved(), (
        f"can't connect: the key of host2 is not the one in line 1 of {KNOWN}: Host key verification failed.; "
        f"if it was installed anew, type 'ssh-keygen -f {KNOWN} -R host2' and 'ssh host2', and compare its key"
    ))  # fmt: skip


def test_a_host_that_lets_no_key_in_is_not_asked_by_password(lab: Lab) -> None:
    guest = lab.guest()
    lab.ssh.of(lab.two).write(AUTHORIZED, "")
    before = lab.ssh.of(lab.two).log.read_text().count("password")
    lab.stayed(guest, lab.moved(), (
        "can't connect: root@host2: Permission denied (publickey,password).; "
        "have a key without a passphrase let in there: 'ssh-copy-id host2'"
    ))  # fmt: skip
    assert lab.ssh.of(lab.two).log.read_text().count("password") == before


def test_a_key_that_only_the_agent_of_the_user_has_does_not_do_for_libvirt(lab: Lab) -> None:
    guest = lab.guest()
    agent = lab.one.start(["ssh-agent", "-D", "-a", "/run/agent"])
    try:
        eventually(lambda: lab.one.outcome("test", "-S", "/run/agent").status == 0, what="the agent listens")
        environment = {"SSH_AUTH_SOCK": "/run/agent"}
        assert lab.one.outcome("ssh-add", "-q", USER_KEY, env=environment).status == 0
        lab.one.run("mv", USER_KEY, f"{SERVER}/away")
        done = lab.one.program("xmcompat.xm", "migrate", "-l", guest.name, lab.two.name, env=environment, timeout=90.0)
    finally:
        lab.one.outcome("mv", f"{SERVER}/away", USER_KEY)
        lab.one.outcome("rm", "-f", "/run/agent")
        os.killpg(agent.pid, signal.SIGKILL)
        agent.communicate()
    lab.stayed(guest, done, (
        "Cannot reach host2 by ssh: root@host2: Permission denied (publickey,password).; "
        "libvirtd runs ssh by itself, as root and without an agent: "
        "have a key without a passphrase let in there: 'ssh-copy-id host2'; 'counts' runs on here"
    ))  # fmt: skip


REFUSED = "connect to host host2 port 22: Connection refused; is host2 up, and does its sshd listen there?"


def test_where_no_sshd_listens_the_guest_stays(lab: Lab) -> None:
    guest = lab.guest()
    lab.ssh.of(lab.two).stop()
    lab.stayed(guest, lab.moved(), f"can't connect: ssh: {REFUSED}")


@pytest.mark.parametrize(
    ("sessions", "said"),
    [
        (True, "can't connect: Connection to host2 closed by remote host.; see the log of sshd on host2"),
        (False, f"Cannot reach host2 by ssh: {REFUSED}; 'counts' runs on here"),
    ],
    ids=["with its sessions", "alone"],
)
def test_an_sshd_that_ends_while_both_hosts_are_asked_leaves_the_guest_here(lab: Lab, sessions: bool, said: str) -> None:
    guest = lab.guest()
    lab.ssh.gate.touch()
    process = lab.begun()
    eventually(lab.ssh.reached.exists, what="the other host is asked")
    lab.ssh.of(lab.two).stop(sessions=sessions)
    lab.ssh.gate.unlink()
    out, err = process.communicate(timeout=60)
    lab.stayed(guest, Outcome(out, err, process.returncode), said)


@pytest.mark.parametrize("config", ["", SHARES], ids=["alone", "shared"])
def test_a_conversation_that_breaks_while_memory_is_copied_leaves_one_copy_where_it_says(lab: Lab, config: str) -> None:
    """It is made anew, unless the interfaces were just being waited for: then the guest stays."""
    guest = Ticking(lab.hosts, lab.one, "counts", busy=True)
    lab.ssh.of(lab.one).write(f"{HOME}/.ssh/config", config)
    lab.hosts.slow("8mbit")
    process = lab.begun()
    eventually(lambda: names(lab.two) == [guest.name], 60.0, what="it is arriving")
    lab.ssh.of(lab.two).kill("receive")
    lab.hosts.fast()
    out, err = process.communicate(timeout=60)
    if process.returncode:
        lab.stayed(guest, Outcome(out, err, process.returncode), "host2 has closed the connection; 'counts' runs on here")
    else:
        assert "Error" not in err
        lab.arrived(guest, Outcome(out, "", 0))


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (("mv", f"{PROGRAMS}/xmcompat", f"{PROGRAMS}/other"), "bash: line 1: xmcompat: command not found"),
        (("chmod", "-x", f"{PROGRAMS}/xmcompat"), f"bash: line 1: {PROGRAMS}/xmcompat: Permission denied"),
    ],
    ids=["missing", "not executable"],
)
def test_a_host_on_which_ssh_cannot_start_xmcompat_is_told(lab: Lab, act: tuple[str, ...], said: str) -> None:
    guest = lab.guest()
    lab.two.run(*act)
    lab.stayed(guest, lab.moved(), (
        f"can't connect: xmcompat cannot be started on host2: {said}; "
        "install it there, where 'ssh host2 xmcompat --version' finds it"
    ))  # fmt: skip


@pytest.mark.parametrize("text", ["echo Welcome to two\n", "printf 'Welcome to two'\n"], ids=["a line", "no line"])
def test_a_login_shell_that_speaks_on_stdout_is_told_before_anything_moves(lab: Lab, text: str) -> None:
    guest = lab.guest()
    lab.ssh.of(lab.two).write(f"{HOME}/.bashrc", text)
    said = (
        "a login shell of host2 says 'Welcome to two' on stdout to every command of ssh, which libvirt cannot read; "
        "let ~/.bashrc there, or what else it reads, print nothing where there is no terminal"
    )
    lab.stayed(guest, lab.moved(), said)
    done = tool(lab.one, "migrate", "check", guest.name, lab.two.name)
    assert (done.stderr, done.status) == (f"Error: {said}\n", 1)


# -- other commands


def test_another_host_is_emptied_over_openssh(lab: Lab) -> None:
    guest = lab.guest()
    done = tool(lab.two, "evacuate", lab.one.name, "--to", lab.two.name)
    assert (done.stdout.splitlines()[0], done.status) == ("counts -> host2", 0), done
    lab.arrived(guest, Outcome("", "", 0))


def test_it_is_emptied_also_where_its_login_shell_speaks(lab: Lab) -> None:
    guest = lab.guest()
    lab.ssh.of(lab.one).write(f"{HOME}/.bashrc", "printf 'Welcome to one'\n")
    done = tool(lab.two, "evacuate", lab.one.name, "--to", lab.two.name, "--plan", "--json")
    assert [move["name"] for move in json.loads(done.stdout)["moves"]] == [guest.name]
    assert (done.stderr, done.status) == ("", 0)


def emptying(lab: Lab, guest: Ticking) -> subprocess.Popen[str]:
    """The guest is on its way to the second host, which has asked for it, and does not get there."""
    lab.hosts.slow("8mbit")
    argv = lab.two.program_argv("xmcompat.tool", "evacuate", lab.one.name, "--to", lab.two.name)
    process = lab.two.start(argv, env=lab.two.program_env())
    eventually(lambda: names(lab.two) == [guest.name], 60.0, what="it is arriving")
    return process


def signalled(process: subprocess.Popen[str], number: signal.Signals) -> Outcome:
    """The program in the host, which PROCESS waits for, gets signal NUMBER; how it ends."""
    (program,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(program), number)
    out, err = process.communicate(timeout=60)
    return Outcome(out, err, process.returncode)


def test_ctrl_c_gives_up_there_what_is_under_way(lab: Lab) -> None:
    guest = Ticking(lab.hosts, lab.one, "counts", busy=True)
    done = signalled(emptying(lab, guest), signal.SIGINT)
    assert (done.stdout, done.status) == ("counts -> host2\n", 128 + signal.SIGINT), done
    lab.hosts.fast()
    lab.stayed(guest, Outcome("", done.stderr, 1), "counts: it was given up; 'counts' runs on here")


def test_a_connection_that_ends_gives_up_there_what_is_under_way(lab: Lab) -> None:
    guest = Ticking(lab.hosts, lab.one, "counts", busy=True)
    signalled(emptying(lab, guest), signal.SIGKILL)
    eventually(lambda: (names(lab.one), names(lab.two)) == ([guest.name], []), 60.0, what="it is given up")
    lab.hosts.fast()
    lab.arrived(guest, lab.moved())


def test_where_no_sshd_listens_it_is_not_emptied(lab: Lab) -> None:
    lab.ssh.of(lab.one).stop()
    done = tool(lab.two, "evacuate", lab.one.name, "--to", lab.two.name)
    said = REFUSED.replace("host2", lab.one.name)
    assert done == Outcome("", f"Error: can't connect: ssh: {said}\n", 1)


def test_certificates_are_made_over_openssh_and_taken_away_again(lab: Lab) -> None:
    lab.ssh.of(lab.two).write(f"{HOME}/.bashrc", "printf 'Welcome to two'\n")
    done = tool(lab.one, "migrate", "setup", lab.two.name)
    assert (done.stdout.splitlines()[0], done.status) == ("host2: has certificates for host2, 198.51.100.12", 0), done
    done = tool(lab.one, "migrate", "setup", "--undo", lab.two.name)
    assert done.status == 0, done
    assert lab.two.outcome("ls", "/etc/xmcompat/migration/servercert.pem").status == 2
