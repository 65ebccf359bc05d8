"""Starts programs of the host: argument lists and no shell, the C locale, a deadline.

What a failure means is said by the room that asked (``network.programs``, ``storage.programs``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.errors import XmError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Seconds after which a program hangs rather than works.
DEADLINE = 20.0

#: Where administrators' programs lie; an ordinary PATH may leave them out.
SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")

#: The package that has a program, for the hint.
PACKAGES = {
    "ip": "iproute2", "bridge": "iproute2", "tc": "iproute2", "ss": "iproute2", "nft": "nftables",
    "dnsmasq": "dnsmasq-base",
    "ovs-vsctl": "openvswitch-switch", "lvs": "lvm2", "lvm": "lvm2", "vgs": "lvm2", "lvchange": "lvm2", "lvcreate": "lvm2",
    "lvresize": "lvm2", "lvremove": "lvm2", "lvconvert": "lvm2", "lvrename": "lvm2", "pvs": "lvm2", "thin_check":
    "thin-provisioning-tools", "iscsiadm": "open-iscsi", "aoe-discover": "aoetools", "drbdadm": "drbd-utils",
    "mount": "mount", "umount": "mount", "mount.nfs": "nfs-common", "modprobe": "kmod", "losetup": "mount",
    "blkid": "util-linux", "multipath": "multipath-tools", "multipathd": "multipath-tools", "dmsetup": "dmsetup",
    "qemu-img": "qemu-utils", "rbd": "ceph-common",
    "openssl": "openssl",
}  # fmt: skip


class CannotRun(XmError):
    """A program that is missing, cannot be started, or does not end."""


class Ended(NamedTuple):
    """How a program has ended. ``status`` is negative where a signal has ended it."""

    status: int
    out: str
    complaint: str


def run(
    words: Sequence[str], *, text: str = "", deadline: float = DEADLINE, more: Mapping[str, str] | None = None,
    inherited: Sequence[int] = (),
) -> Ended:  # fmt: skip
    """Run the program, fed with TEXT, with MORE in its environment. Ctrl-C at the terminal does not reach it.

    It has the INHERITED descriptors until it ends, which may be later than this process does.

    Raises CannotRun where it is missing or takes longer than DEADLINE seconds.
    """
    import subprocess

    try:
        done = subprocess.run(
            list(words), input=text, capture_output=True, encoding="utf-8", errors="surrogateescape", timeout=deadline,
            env={**environment(), **(more or {})}, check=False, start_new_session=True,
            pass_fds=tuple(inherited),
        )  # fmt: skip
    except FileNotFoundError:
        raise CannotRun(f"the program '{words[0]}' is missing", hint=package_hint(words[0])) from None
    except subprocess.TimeoutExpired:
        raise CannotRun(f"'{' '.join(words)}' did not end within {deadline:.0f} s") from None
    except OSError as error:
        raise CannotRun(f"'{words[0]}' cannot be started: {error.strerror}") from None
    return Ended(done.returncode, done.stdout, done.stderr)


def package_hint(program: str) -> str | None:
    """What to do where PROGRAM is missing."""
    package = PACKAGES.get(program)
    return f"install the package {package}" if package else None


def is_there(program: str) -> bool:
    """Whether PROGRAM is installed."""
    import shutil

    return shutil.which(program, path=environment()["PATH"]) is not None


def environment() -> dict[str, str]:
    """This process's, in the C locale, and with the folders of administrators' programs in PATH."""
    path = os.environ.get("PATH", "/usr/bin:/bin").split(":")
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("LC_")},
        "PATH": ":".join((*path, *(folder for folder in SBIN if folder not in path))),
        "LC_ALL": "C",
    }


def last_line(text: str) -> str:
    """The last line that says something; nft marks the place of an error below its own line, "ip -batch" counts lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" ^~-\t") and not line.startswith("Command failed")]
    told = [line for line in lines if "rror" in line]
    return (told or lines or [""])[-1].removeprefix("Error: ")
