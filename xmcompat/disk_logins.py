"""Who logs in to the server of a disk, and where the password is: parts of what a configuration says. Pure."""

from __future__ import annotations

import re

from xmcompat import iscsi_names
from xmcompat.light import NamedTuple

#: "password=s3cret" and "key=AQ==" among words, and what follows a user in front of an "@"; no name of a file.
_WORD = re.compile(r"(?P<before>^|[,:?])(?P<name>\s*(?:password|key)\s*=)(?P<value>(?:\\.|[^,:\\])*)", re.DOTALL)
_IN_URL = re.compile(r"(?P<user>//[^%@/\s,]+)%(?P<value>[^/]*)(?=@)")
#: What the texts of disks have whose servers may ask for a password.
_ASKING = ("iscsi:", "block-iscsi", "rbd:")
_KEYRING = "/etc/ceph/ceph.client.{}.keyring"
#: Under what a disk's secret is kept: for the domain's uuid, or its name where it has none yet.
_NAME = "xmcompat:{}:{}"


class Login(NamedTuple):
    """USER of a server of KIND ("iscsi", "ceph"). ``password`` None: it is in ``file``, or where that is "", nowhere.

    A password of Ceph's is a key in its own text, base64; its file is a keyring.
    """

    kind: str
    user: str
    password: str | None = None
    file: str = ""


def login_of(protocol: str, path: str) -> Login | None:
    """Who logs in for the disk "PROTOCOL:PATH"; None where nobody need."""
    if protocol == "iscsi":
        lun = iscsi_names.of_words(path)
        return Login("iscsi", lun.user, lun.password, lun.password_file) if lun and lun.user else None
    if protocol != "rbd":
        return None
    words = rbd_words(path)[1]
    user, key = words.get("id", "admin"), words.get("key")
    if key is None and user == "admin":
        return None  # Ceph's own settings tell
    return Login("ceph", user, key, "" if key is not None else words.get("keyring") or _KEYRING.format(user))


def rbd_words(path: str) -> tuple[str, dict[str, str]]:
    """"POOL/IMAGE" and the words of "POOL/IMAGE:name=value:...", as QEMU writes them: a backslash keeps what follows it."""
    pieces = [re.sub(r"\\(.)", r"\1", piece, flags=re.DOTALL) for piece in re.split(r"(?<!\\):", path)]
    return pieces[0], dict(piece.partition("=")[::2] for piece in pieces[1:])


def masked(text: str) -> str:
    """TEXT, of a disk, with dots for passwords."""
    return _IN_URL.sub(r"\g<user>%...", _WORD.sub(r"\g<before>\g<name>...", text))


def without_password(uname: str) -> str:
    """UNAME as it may travel with a domain: whose password is left out, its user is not."""
    protocol, _, path = uname.partition(":")
    return f"{protocol}:{_left_out(path).removeprefix(',')}" if protocol in ("iscsi", "rbd") else uname


def without_passwords(text: str) -> str:
    """The same of the TEXT of a disk in any dialect, and of any other value of a configuration."""
    return _left_out(text) if any(word in text for word in _ASKING) else text


def _left_out(text: str) -> str:
    return _IN_URL.sub(r"\g<user>", _WORD.sub("", text))


def secret_name(owner: str, vdev: str) -> str:
    """Under what the password of a disk is kept for the domain OWNER, its uuid as libvirt writes it."""
    return _NAME.format(owner, vdev)
