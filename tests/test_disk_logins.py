"""Passwords in the words of disks: found, shown with dots, and left out of what travels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.disk_logins import Login, login_of, masked, without_password

IQN = "iqn.2010-01.com.example:store"


@pytest.mark.parametrize(
    ("uname", "dots", "without"),
    [
        (f"iscsi://alice%s3:c,ret@a/{IQN}/1", f"iscsi://alice%...@a/{IQN}/1", f"iscsi://alice@a/{IQN}/1"),
        (f"iscsi:iqn={IQN},portal=a,user=u,password=s3cret", f"iscsi:iqn={IQN},portal=a,user=u,password=...",
         f"iscsi:iqn={IQN},portal=a,user=u"),
        (f"iscsi:password=s3cret,iqn={IQN},portal=a", f"iscsi:password=...,iqn={IQN},portal=a", f"iscsi:iqn={IQN},portal=a"),
        (f"iscsi://a@b/{IQN}/1?password_file=/x", f"iscsi://a@b/{IQN}/1?password_file=/x", f"iscsi://a@b/{IQN}/1?password_file=/x"),
        (r"rbd:p/i:id=x:key=AQ\:s3cret==:conf=y", "rbd:p/i:id=x:key=...:conf=y", "rbd:p/i:id=x:conf=y"),
        ("rbd:p/i:keyring=/k:id=x", "rbd:p/i:keyring=/k:id=x", "rbd:p/i:keyring=/k:id=x"),
        ("file:/srv/key=x,y", "file:/srv/key=x,y", "file:/srv/key=x,y"),
    ],
)  # fmt: skip
def test_passwords_of_disks(uname: str, dots: str, without: str) -> None:
    assert (masked(uname), without_password(uname)) == (dots, without)
    assert "s3" not in without and (uname.startswith("file:") or "s3" not in dots)


@pytest.mark.parametrize(
    ("protocol", "path", "login"),
    [
        ("iscsi", f"//alice%pw@a/{IQN}", Login("iscsi", "alice", "pw")),
        ("iscsi", f"//alice@a/{IQN}?password_file=/x", Login("iscsi", "alice", None, "/x")),
        ("iscsi", f"//a/{IQN}", None),
        ("iscsi", f"iqn={IQN},portal=a,auth_method=CHAP,user=u,password=p", Login("iscsi", "u", "p")),
        ("rbd", "p/i", None), ("rbd", "p/i:id=admin", None),
        ("rbd", r"p/i:id=x:key=A\:B", Login("ceph", "x", "A:B")),
        ("rbd", "p/i:id=x", Login("ceph", "x", None, "/etc/ceph/ceph.client.x.keyring")),
        ("rbd", "p/i:id=x:keyring=/k", Login("ceph", "x", None, "/k")),
        ("phy", f"//alice%pw@a/{IQN}", None),
    ],
)
def test_who_logs_in(protocol: str, path: str, login: Login | None) -> None:
    assert login_of(protocol, path) == login


@given(st.from_regex(r"[a-zA-Z0-9!.-]{4,20}", fullmatch=True), st.sampled_from([
    f"iscsi://u%{{}}@a/{IQN}/1", f"iscsi:iqn={IQN},portal=a,user=u,password={{}}", "rbd:p/i:id=u:key={}",
    f"iscsi:iqn={IQN},password={{}},portal=a,user=u",
]))  # fmt: skip
def test_what_travels_has_the_user_and_never_the_password(password: str, form: str) -> None:
    uname = form.format(f"#{password}")
    protocol, _, path = uname.partition(":")
    assert f"#{password}" not in masked(uname) + without_password(uname)
    told = login_of(protocol, without_password(uname).removeprefix(f"{protocol}:"))
    login = login_of(protocol, path)
    assert login is not None and login.password == f"#{password}"
    assert told is not None and (told.kind, told.user, told.password) == (login.kind, login.user, None)
