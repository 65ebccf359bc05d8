"""Debian and Ubuntu packages, unpacked into a cache of our own. Nothing is installed on the host.

A package is downloaded once: apt resumes a download that was cut off, and what is unpacked appears under its own
name only when it is complete.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from xmcompat.errors import XmError
from xmcompat.tour.programs import ProgramFailed, run

Say = Callable[[str], None]

LOOKUP_SECONDS = 60.0
DOWNLOAD_SECONDS = 1800.0
UPDATE_SECONDS = 600.0
UNPACK_SECONDS = 300.0

#: apt's own user may not write into a cache that is root's.
AS_WE_ARE = ("-o", "APT::Sandbox::User=root")


class Package(NamedTuple):
    """One version of a package, as apt would install it."""

    name: str
    version: str
    depends: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Its name in the cache."""
        return f"{self.name}_{self.version.replace(':', '%3a')}"


def default_cache() -> Path:
    """XMCOMPAT_CACHE, else /var/cache/xmcompat for root, else a folder in the user's own cache."""
    named = os.environ.get("XMCOMPAT_CACHE")
    if named:
        return Path(os.path.abspath(named))
    if os.geteuid() == 0:
        return Path("/var/cache/xmcompat")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xmcompat"


def candidate(name: str) -> Package | None:
    """What apt would install as NAME; None where it knows none. Raises XmError without apt."""
    try:
        output = run(("apt-cache", "show", "--no-all-versions", name), seconds=LOOKUP_SECONDS)
    except ProgramFailed as error:
        if "is not installed" in error.message:
            raise XmError("there is no apt here", hint="the guest is made of Debian's or Ubuntu's packages") from None
        return None
    return parse_candidate(output, name)


def parse_candidate(text: str, name: str) -> Package | None:
    """The package NAME in what ``apt-cache show`` prints. Of alternatives the first counts."""
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): *(.*)$", stanza, re.MULTILINE))
        if fields.get("Package") == name and "Version" in fields:
            words = [word.split("|")[0].split("(")[0].strip() for word in fields.get("Depends", "").split(",")]
            depends = tuple(word.partition(":")[0] for word in words if word)
            return Package(name, fields["Version"], depends)
    return None


def update_lists(say: Say) -> None:
    """Fetch apt's lists anew. Raises ProgramFailed."""
    say("apt-get update")
    run(("apt-get", "-q", "update"), seconds=UPDATE_SECONDS)


def unpacked(package: Package, cache: Path, say: Say) -> Path:
    """The folder with the files of PACKAGE, downloaded and unpacked now if it is not in CACHE yet.

    May be repeated and run at the same time by several. Raises ProgramFailed; nothing half done is ever taken.
    """
    folder = cache / "unpacked" / package.folder
    if folder.is_dir():
        return folder
    with _locked(cache):
        if folder.is_dir():
            return folder
        archive = _downloaded(package, cache / "downloads", say)
        partial = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        run(("dpkg", "-x", archive, partial), seconds=UNPACK_SECONDS)
        partial.chmod(0o755)
        partial.rename(folder)
        archive.unlink()
    return folder


def _downloaded(package: Package, folder: Path, say: Say) -> Path:
    """The archive; where the lists are older than the archive's server, they are fetched anew, once."""
    folder.mkdir(parents=True, exist_ok=True)
    argv = ("apt-get", "-q", *AS_WE_ARE, "download", f"{package.name}={package.version}")
    say(f"download {package.name} {package.version}")
    try:
        run(argv, seconds=DOWNLOAD_SECONDS, cwd=folder)
    except ProgramFailed:
        update_lists(say)
        run(argv, seconds=DOWNLOAD_SECONDS, cwd=folder)
    found = sorted(folder.glob(f"{package.folder}_*.deb"))
    if not found:
        raise ProgramFailed(f"apt-get has downloaded no {package.name}")
    return found[-1]


def clear(cache: Path) -> None:
    """Remove all that was ever put into CACHE, and CACHE itself if it holds nothing else."""
    if cache.is_dir():
        with _locked(cache):
            for folder in ("unpacked", "downloads"):
                shutil.rmtree(cache / folder, ignore_errors=True)
            (cache / "lock").unlink()
        with suppress(OSError):
            cache.rmdir()


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """One process at a time fills the cache."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
