"""What OpenSSH says where it cannot be used, and what is made of it."""

from __future__ import annotations

import pytest

from xmcompat.ssh_complaints import Complaint, meant

#: As ssh 9.2 of Debian says it; each line ends as on a terminal without a mode of its own.
CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
Add correct host key in /root/.ssh/known_hosts to get rid of this message.\r
Offending ED25519 key in /root/.ssh/known_hosts:3\r
Host key for web2 has changed and you have requested strict checking.\r
Host key verification failed.\r
"""


@pytest.mark.parametrize(
    ("said", "status", "message", "hint"),
    [
        ("", 255, "", None),
        ("", 127, "xmcompat cannot be started on me@web2: status 127",
         "install it there, where 'ssh me@web2 xmcompat --version' finds it"),
        ("Host key verification failed.\r\n", 255, "ssh does not know the key of me@web2: Host key verification failed.",
         "type 'ssh me@web2' once as this user, and compare its key"),
        (CHANGED, 255, "the key of me@web2 is not the one in line 3 of /root/.ssh/known_hosts: Host key verification failed.",
         "if it was installed anew, type 'ssh-keygen -f /root/.ssh/known_hosts -R web2' and 'ssh me@web2', and compare its key"),
        ("Authorized use only\r\nme@web2: Permission denied (publickey,password).\r\n", 255,
         "me@web2: Permission denied (publickey,password).", "have a key without a passphrase let in there: 'ssh-copy-id me@web2'"),
        ("bash: line 1: /opt/xmcompat: Permission denied\n", 126,
         "xmcompat cannot be started on me@web2: bash: line 1: /opt/xmcompat: Permission denied",
         "install it there, where 'ssh me@web2 xmcompat --version' finds it"),
        ("ssh: connect to host web2 port 22: No route to host\r\n", 255, "ssh: connect to host web2 port 22: No route to host",
         "is me@web2 up, and does its sshd listen there?"),
        ("Connection closed by 192.0.2.2 port 22\r\n", 255, "Connection closed by 192.0.2.2 port 22",
         "see the log of sshd on me@web2"),
        ("Error: \x1b[1mno libvirt here\n\n", 1, "?[1mno libvirt here", None),
    ],
)  # fmt: skip
def test_a_complaint_is_one_line_and_says_what_to_do(said: str, status: int, message: str, hint: str | None) -> None:
    found = meant(said, "me@web2", status=status)
    assert (found.message, found.hint) == (message, hint)


def test_only_what_keys_decide_depends_on_who_runs_ssh() -> None:
    assert meant(CHANGED, "web2").of_keys
    assert meant("Permission denied (publickey).", "web2").of_keys
    assert not meant("ssh: connect to host web2 port 22: Connection refused", "web2").of_keys


def test_no_file_of_a_strange_name_gets_into_what_there_is_to_type() -> None:
    said = CHANGED.replace("/root/.ssh/known_hosts:3", "/tmp/x'; reboot #:3")
    assert meant(said, "web2") == meant("Host key verification failed.", "web2")
    assert isinstance(meant(said, "web2"), Complaint)
