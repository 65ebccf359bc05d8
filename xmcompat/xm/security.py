"""The verbs of xm's security modules, as a host answers that has none of them (xend's module ``dummy``).

What is in configuration files is real: getlabel, addlabel and rmlabel read and change them. libvirt confines guests by
itself (sVirt); 'virsh dominfo' shows the label of one that runs.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from xmcompat.errors import ConfigNotFound, OperationError, UsageError
from xmcompat.labels import SecurityError
from xmcompat.xm.options import Words

FAILED = 255


def labels(_words: Words) -> int:
    """``xm labels [POLICY] [type=...]``: there is no policy, so there are none."""
    return 0


def resources(words: Words) -> int:
    """``xm resources``: none has a label."""
    if words.operands:
        _wrong("resources", "No arguments required")
    return 0


def dumppolicy(words: Words) -> int:
    """``xm dumppolicy``: nothing."""
    _no_words(words, "dumppolicy")
    return 0


def getpolicy(words: Words) -> int:
    """``xm getpolicy [--dumpxml]``."""
    if any(word != "--dumpxml" for word in words.operands):
        _wrong("getpolicy", "No arguments expected.")
    sys.stdout.write("Supported security subsystems   : None \n\nNo policy is installed.\n")
    return 0


def setpolicy(words: Words) -> int:
    """``xm setpolicy TYPE NAME``."""
    if len(words.operands) < 2:
        _wrong("setpolicy", "Need at least 3 arguments.")
    raise SecurityError("Policy type not supported.")


def resetpolicy(words: Words) -> int:
    """``xm resetpolicy``."""
    _no_words(words, "resetpolicy")
    raise SecurityError("ACM policy type not supported.")


def getenforce(words: Words) -> int:
    """``xm getenforce``."""
    _no_words(words, "getenforce")
    raise OperationError("Unsupported policy type")


def setenforce(words: Words) -> int:
    """``xm setenforce 1|0|Enforcing|Permissive``."""
    if len(words.operands) != 1:
        _wrong("setenforce", "Invalid arguments")
    (mode,) = words.operands
    if mode not in ("1", "0", "Enforcing", "Permissive"):
        _wrong("setenforce", f"{mode} is an unsupported mode")
    raise OperationError("Unsupported policy type")


def getlabel(words: Words) -> int:
    """``xm getlabel dom FILE|res RESOURCE|mgt DOMAIN``: of a file what it says; of a domain an empty line."""
    if len(words.operands) != 2:
        _wrong("getlabel", "Requires 2 arguments")
    kind, name = words.operands
    if kind == "dom":
        from xmcompat.labels import label_of

        policy, label = label_of(name)
        sys.stdout.write(f"policytype=ACM,policy={policy},label={label}\n")
    elif kind == "mgt":
        _find(name)
        sys.stdout.write("\n")
    elif kind == "res":
        raise SecurityError("Resource not labeled")
    else:
        _no_kind("getlabel", kind)
    return 0


def addlabel(words: Words) -> int:
    """``xm addlabel LABEL dom FILE POLICY``; resources and domains cannot be labelled.

    Differs from xm: with a policy it does what it is for; xm died of an error of its own.
    """
    if len(words.operands) not in (3, 4):
        _wrong("addlabel", "Needs either 2 or 3 arguments")
    label, kind, name, *policy = words.operands
    if kind == "dom":
        if not policy:
            _wrong("addlabel", "ACM security is not enabled. You must specify the policy on the command line.")
        from xmcompat.labels import add

        add(name, policy=policy[0], label=label)
        return 0
    if kind == "mgt":
        _find(name)
    elif kind != "res":
        _no_kind("addlabel", kind)
    raise OperationError("\"Command not supported under XSM 'dummy' module.\"")


def rmlabel(words: Words) -> int:
    """``xm rmlabel dom FILE|res RESOURCE|mgt DOMAIN``."""
    if len(words.operands) != 2:
        _wrong("rmlabel", "Requires 2 arguments")
    kind, name = words.operands
    if kind == "dom":
        from xmcompat.labels import remove

        remove(name)
        return 0
    if kind == "res":
        raise SecurityError("Resource not labeled")
    if kind != "mgt":
        _no_kind("rmlabel", kind)
    _find(name)
    raise SecurityError("Domain was not labeled.")


def dry_run(words: Words) -> int:
    """``xm dry-run FILE``: whether the guest might use its resources. With a label it might not: no policy knows it."""
    if len(words.operands) != 1:
        _wrong("dry-run", "Invalid number of arguments")
    from xmcompat.config import load

    try:
        loaded = load.load(load.find_config(words.operands[0]))
    except ConfigNotFound as error:
        _wrong("dry-run", error.line())
    guest = loaded.guest
    sys.stdout.write(loaded.printed)
    sys.stderr.write(loaded.complained)
    sys.stdout.write("Checking domain:\n")
    labelled = guest.options.get("access_control")
    if labelled:
        said = labelled[0] if isinstance(labelled, list) else labelled
        sys.stdout.write(
            f"   {guest.name}: DENIED\n   --> no policy is installed that has the label of '{said}'\n"
            "Checking resources: (skipped)\nDry Run: FAILED\n"
        )
        return FAILED
    sys.stdout.write(f"   {guest.name}: PERMITTED\nChecking resources:\n")
    disks = guest.options.get("disk")
    for disk in disks if isinstance(disks, list) else ():
        sys.stdout.write(f"   {str(disk).split(',')[0]}: PERMITTED\n")
    sys.stdout.write("Dry Run: PASSED\n")
    return 0


def _find(designation: str) -> None:
    """Raises DomainNotFound."""
    from xmcompat.toolstack import Toolstack

    with Toolstack.open() as toolstack:
        toolstack.find(designation)


def _no_words(words: Words, verb: str) -> None:
    if words.operands:
        _wrong(verb, "No arguments expected.")


def _no_kind(verb: str, word: str) -> NoReturn:
    _wrong(verb, f"'{word}' is none of dom, res and mgt")


def _wrong(verb: str, message: str) -> NoReturn:
    """An error of the words: the usage follows, and then the text about the verb's use."""
    from xmcompat.xm.dispatch import with_use

    raise with_use(UsageError(message), verb)
