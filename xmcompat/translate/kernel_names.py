"""What the name of a kernel's file says of it, where the file itself cannot be asked. Pure.

Source: what distributions called the kernels that ran on Xen alone, and the boot loaders that took a kernel's place.
"""

from __future__ import annotations

import re

from xmcompat.guest import is_loader as is_loader

#: Systems whose kernels for Xen run on nothing else, and what to do.
_FOREIGN = (
    (re.compile(r"netbsd.*xen|xen3(?:pae)?_dom", re.IGNORECASE),
     "let NetBSD's GENERIC kernel start from the guest's own disk, with builder = 'hvm'"),
    (re.compile(r"/i86xpv/"), "let Solaris start from the guest's own disk, with builder = 'hvm'"),
    (re.compile(r"xnloader\.sys", re.IGNORECASE), "let NetWare start from the guest's own disk, with builder = 'hvm'"),
    (re.compile(r"mini-?os", re.IGNORECASE), "leave this guest with Xen"),
)  # fmt: skip

#: Up to where kernels called so are for Xen alone: SUSE's "-xen", and the "-xen-686" of others, which Linux itself
#: took over in 2.6.32.
_FIRST_OF_BOTH_FROM_SUSE, _FIRST_OF_BOTH = (4, 3, 0), (2, 6, 32)
_VERSION = re.compile(r"(?<![0-9.])([0-9]+)\.([0-9]+)(?:\.([0-9]+))?")
#: Whatever the version: xenU and xen0 of Xen's own builds, RHEL 5's and Fedora's "el5xen", "fc7xen".
_CLASSIC = re.compile(r"(?:-|EL)xen[0U](?![a-z])|\.(?:el|fc)[0-9]+xen(?:PAE)?$")

_ANY_PACKAGE = "a kernel that is not for Xen alone"
_PACKAGES = (
    (re.compile(r"ELxenU"), "RHEL 4.8's kernel package or later"),
    (re.compile(r"\.el5xen"), "RHEL 5.3's kernel package or later"),
    (re.compile(r"-2\.6\.24-[0-9]+-xen$"), "linux-image-virtual"),
    (re.compile(r"-xen-686$"), "linux-image-686"),
    (re.compile(r"-xen-amd64$"), "linux-image-amd64"),
    (re.compile(r"-[0-9.]+-[0-9.]+-xen$"), "kernel-default"),
)


def foreign_system(path: str) -> str:
    """What to do with a guest whose kernel at PATH runs on Xen alone, whatever is in the file; "" for all others."""
    return next((advice for pattern, advice in _FOREIGN if pattern.search(path)), "")


def classic_name(path: str) -> str:
    """The package that has another kernel, where that at PATH is called as Linux kernels for Xen alone were; else "".

    A name proves nothing: ``kernel_verdict`` looks into the file.
    """
    name = path.rpartition("/")[2].removesuffix(".gz")
    version = _VERSION.search(name)
    release = tuple(int(part[:6] or 0) for part in version.groups("0")) if version else (0, 0, 0)
    plain = re.search(r"-xen(?:-r[0-9]+)?$", name) is not None and release < _FIRST_OF_BOTH_FROM_SUSE
    flavour = re.search(r"-xen-", name) is not None and release < _FIRST_OF_BOTH
    if not (_CLASSIC.search(name) or plain or flavour):
        return ""
    return next((package for pattern, package in _PACKAGES if pattern.search(name)), _ANY_PACKAGE)
