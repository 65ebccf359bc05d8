"""Does KVM really work here? Else guests run emulated (TCG).

In this order: what the user chose (XMCOMPAT_ACCELERATOR, then the setting ``accelerator``); for a hypervisor on
another host, what it says of itself; on this host, a guest is run (``kvm_probe`` says which, and why nothing less
will do), once per boot: the verdict is remembered in /run/xmcompat, by an ordinary user in his XDG_RUNTIME_DIR.
A host that is too busy to run that guest, as one where many start at its boot, has proved nothing: it is asked with more
time, and where that tells nothing either, KVM is taken. Emulation would be for the guest's whole life. Busy is a host that
has kept the test guest waiting; a KVM that sleeps where nothing holds it up does not work.
Xen has no counterpart.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from xmcompat.backends.kvm_probe import DEADLINE, FAILED, HUNG, REFUSED, SLOW, Outcome, probe
from xmcompat.backends.machine import Accelerator
from xmcompat.errors import ConfigError

VARIABLE = "XMCOMPAT_ACCELERATOR"
DEVICE = "/dev/kvm"
ROOT_DIRECTORY = "/run/xmcompat"

#: Changes whenever the probe does, so that an older probe's verdict does not count.
PROBE_VERSION = 2

#: Seconds that each try has: a further one is made where the host kept the guest of the one before waiting.
DEADLINES = (DEADLINE, 30.0)
#: Seconds of processor time that the guest, which needs some hundredths, must have had to count as hanging.
_ENOUGH = DEADLINE / 4
#: The share of its time for which a guest must have been kept waiting by its host, for that to be why it came to no end.
_HELD_UP = 0.5

_WORDS = {"auto": None, "kvm": Accelerator.KVM, "tcg": Accelerator.TCG}
_INSTEAD = f"{VARIABLE}=kvm uses it all the same"

#: What the guest had reached when it stopped, by the last mark it made.
_REACHED = {
    "": "did not run its first instruction",
    "R": "stopped between real and protected mode",
    "P": "stopped between protected and 64-bit mode",
    "L": "stopped in 64-bit mode at its first breakpoint trap",
    "T": "stopped on its return from a trap",
    "I": "stopped in a loop of loads and stores",
    "M": "stopped at cpuid",
    "C": "did not halt",
}


class Settings(Protocol):
    """What is asked of the settings: "auto", "kvm" or "tcg"."""

    @property
    def accelerator(self) -> str: ...


class Verdict(NamedTuple):
    """``reason`` is a clause without capital or full stop. ``chosen``: by the user; nothing was tried then.

    ``remembered`` is the file that holds the verdict for this boot, "" where none does. ``untried``: it is KVM, and this
    host was too busy to prove it.
    """

    accelerator: Accelerator
    reason: str
    chosen: bool = False
    remembered: str = ""
    untried: bool = False


class Boot(NamedTuple):
    """What a remembered verdict is tied to: this boot, and this /dev/kvm (a reloaded module makes a new one)."""

    boot_id: str
    device: int
    inode: int


def decide(
    *, local: bool, supports_kvm: Callable[[], bool], environ: Mapping[str, str], settings: Settings,
    device: str = DEVICE, directories: Sequence[str] | None = None, run_probe: Callable[[str, float], Outcome] = probe,
    again: bool = False,
) -> Verdict:
    """KVM or TCG, and why. Takes up to 0.2 s once per boot, up to 3.5 s where KVM hangs, up to 34 s where this host is too
    busy to tell; afterwards no time.

    SUPPORTS_KVM asks the hypervisor; it is called only where the answer matters. AGAIN disregards what is remembered.
    Raises ConfigError for a word that is no accelerator.
    """
    for word, place in ((environ.get(VARIABLE, ""), VARIABLE), (settings.accelerator, "the setting accelerator")):
        if not word:
            continue
        chosen = read_word(word, place)
        if chosen is not None:
            return Verdict(chosen, f"chosen by {place}", chosen=True)
        break
    if not local:
        offered = supports_kvm()
        reason = "the hypervisor's host offers KVM" if offered else "the hypervisor's host offers no KVM"
        return Verdict(Accelerator.KVM if offered else Accelerator.TCG, reason)
    verdict = _on_this_host(
        device, default_directories(environ) if directories is None else directories, run_probe, again=again
    )
    if verdict.accelerator is Accelerator.KVM and not supports_kvm():
        return verdict._replace(
            accelerator=Accelerator.TCG,
            reason=f"{'libvirt offers no KVM' if verdict.untried else 'KVM works, but libvirt offers none'}; "
            "look whether libvirtd and its QEMU may open /dev/kvm, then restart libvirtd",
            untried=False,
        )
    return verdict


def read_word(word: str, place: str) -> Accelerator | None:
    """The accelerator that WORD names, None for auto. Raises ConfigError that names PLACE."""
    try:
        return _WORDS[word.strip().lower()]
    except KeyError:
        raise ConfigError(f"{place}: '{word}' is not an accelerator", hint="write auto, kvm or tcg") from None


def _on_this_host(
    device: str, directories: Sequence[str], run_probe: Callable[[str, float], Outcome], *, again: bool
) -> Verdict:
    obstacle = _obstacle(device)
    if obstacle:
        return Verdict(Accelerator.TCG, obstacle)
    boot = this_boot(device)
    if boot and not again and (found := recall(boot, directories)):
        return found
    if not os.access(device, os.R_OK | os.W_OK):
        return Verdict(Accelerator.TCG, f"you may not open {device}; join the group kvm or work as root")
    outcome = run_probe(device, DEADLINES[0])
    for deadline in DEADLINES[1:]:
        if not _got_no_time(outcome):
            break
        if boot and not again and (found := recall(boot, directories)):
            return found  # another one has found out meanwhile
        outcome = run_probe(device, deadline)
    accelerator, reason = judge(outcome, device)
    verdict = Verdict(accelerator, reason, untried=_got_no_time(outcome))
    return remember(verdict, boot, directories) if boot and _is_lasting(outcome) else verdict


def _obstacle(device: str) -> str | None:
    """Why there is nothing to try, and what to do about it."""
    machine = os.uname().machine
    if machine not in ("x86_64", "i686"):
        return f"this host is {machine}; guests for x86 are emulated on it"
    try:
        mode = os.stat(device).st_mode
    except FileNotFoundError:
        if not _cpu_virtualizes():
            return (
                "this host's CPU offers no virtualization; switch it on in the firmware, or, in a virtual machine, "
                "let the outer host pass it on"
            )
        return f"{device} does not exist; load the module: modprobe kvm_intel or modprobe kvm_amd"
    except OSError as error:
        return f"{device}: {error.strerror}"
    return None if stat.S_ISCHR(mode) else f"{device} is not a device"


def _cpu_virtualizes() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "").split()
    except OSError:
        return False
    return "vmx" in flags or "svm" in flags


def judge(outcome: Outcome, device: str = DEVICE) -> tuple[Accelerator, str]:
    """What a try of the probe's guest says of this host."""
    if outcome.works:
        return Accelerator.KVM, "a test guest ran"
    if _got_no_time(outcome):
        return Accelerator.KVM, (
            f"it was given no time to answer within {DEADLINES[-1]:.0f} s; this host is busy; {VARIABLE}=tcg emulates"
        )
    where = _REACHED.get(outcome.marks[-1:], f"stopped after '{outcome.marks}'")
    if outcome.end == HUNG:
        why = f"{device} opens but runs no kernel: a test guest {where} and hung"
    elif outcome.end == SLOW:
        why = f"{device} runs guests far slower than QEMU's own emulation: {outcome.detail}"
    elif outcome.end == REFUSED:
        why = f"{device} runs no guest: {outcome.detail}"
    elif outcome.end == FAILED:
        why = f"{device} opens but runs no kernel: a test guest {where} ({outcome.detail})"
    else:
        why = f"KVM could not be tried: {outcome.detail or where}"
    return Accelerator.TCG, f"{why}; {_INSTEAD}"


def _is_lasting(outcome: Outcome) -> bool:
    """Whether a second try in this boot would end the same. One that slept, or of which too little is known, might not."""
    ran = outcome.cpu is not None and outcome.cpu > _ENOUGH
    return outcome.works or outcome.end in (SLOW, FAILED) or (outcome.end == HUNG and ran)


def _got_no_time(outcome: Outcome) -> bool:
    """Whether nothing is known yet: it hung, hardly got any processor time, and this host is why."""
    little = outcome.cpu is not None and outcome.cpu <= _ENOUGH
    return outcome.end == HUNG and little and outcome.held_up >= _HELD_UP


# -- memory


def this_boot(device: str = DEVICE) -> Boot | None:
    """What to tie a verdict to; None where the kernel does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot_id = file.read().strip()
        found = os.stat(device)
    except OSError:
        return None
    return Boot(boot_id, found.st_rdev, found.st_ino) if boot_id else None


def default_directories(environ: Mapping[str, str]) -> list[str]:
    """Where verdicts are looked for, in order; the last one is where this user writes."""
    if os.geteuid() == 0:
        return [ROOT_DIRECTORY]
    own = environ.get("XDG_RUNTIME_DIR", "")
    return [ROOT_DIRECTORY, os.path.join(own, "xmcompat")] if own.startswith("/") else [ROOT_DIRECTORY]


def recall(boot: Boot, directories: Sequence[str]) -> Verdict | None:
    """The verdict of this boot. A file that is unreadable, garbled, another's or of another boot is none."""
    for directory in directories:
        path = _file(directory, boot)
        text = _read_trusted(path)
        try:
            found = json.loads(text) if text is not None else None
            if not isinstance(found, dict) or any(found.get(key) != value for key, value in _tie(boot).items()):
                continue
            accelerator, reason = Accelerator(found["accelerator"]), found["reason"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if isinstance(reason, str):
            return Verdict(accelerator, reason, remembered=path)
    return None


def remember(verdict: Verdict, boot: Boot, directories: Sequence[str]) -> Verdict:
    """Write the verdict where this user may; returns it with the file's name, unchanged where none can be written."""
    directory = directories[-1] if directories else ""
    if not directory or not _own_directory(directory):
        return verdict
    import tempfile

    path = _file(directory, boot)
    content = {**_tie(boot), "accelerator": verdict.accelerator.value, "reason": verdict.reason}
    try:
        handle, draft = tempfile.mkstemp(prefix=".accelerator-", dir=directory)
    except OSError:
        return verdict
    try:
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
            # Nothing in it is secret, and root's proof spares other users theirs.
            os.fchmod(file.fileno(), 0o644)
        os.replace(draft, path)
    except OSError:
        os.unlink(draft)
        return verdict
    return verdict._replace(remembered=path)


def _tie(boot: Boot) -> dict[str, object]:
    return {"probe": PROBE_VERSION, **boot._asdict()}


def _file(directory: str, boot: Boot) -> str:
    return os.path.join(directory, f"accelerator-{boot.boot_id[:8]}")


def _own_directory(directory: str) -> bool:
    """Make DIRECTORY; true if it is this user's own and nobody else may write there."""
    try:
        with suppress(FileExistsError):
            os.mkdir(directory)
            os.chmod(directory, 0o755)  # whatever the umask
        found = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _read_trusted(path: str) -> str | None:
    """The text of a file that only root or this user can have written."""
    try:
        parent = os.lstat(os.path.dirname(path))
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found, owners = os.fstat(handle), {0, os.geteuid()}
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o022 or found.st_uid not in owners:
            return None
        if not stat.S_ISDIR(parent.st_mode) or parent.st_mode & 0o022 or parent.st_uid not in owners:
            return None
        return os.read(handle, 4096).decode("utf-8", "replace")
    finally:
        os.close(handle)
