"""Where guests may be in the folder of a dead host: which files are worth reading, and why the others are not."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from xmcompat.render.report_values import Finding, Passed
from xmcompat.tool.no_guest import folder_of_scripts, kept_aside
from xmcompat.tool.report_tree import Entry, Path, Tree, Unreachable, shown

#: Where Xen's tools, and the distributions, keep what they know of guests.
_CONFIGS = (("etc", "xen"), ("usr", "pkg", "etc", "xen"), ("usr", "local", "etc", "xen"), ("OVS", "running_pool"))
_DOMAINS = ("var", "lib", "xend", "domains")
_SAVED = (("var", "lib", "xen", "save"), ("var", "lib", "xend", "save"))
_SERVICE = (("etc", "default", "xendomains"), ("etc", "sysconfig", "xendomains"))

#: Names that one search looks at.
_MOST = 200_000


@dataclass(slots=True, kw_only=True)
class Candidate:
    """A file worth reading, by its path without links. ``started`` by a name in a folder of guests to start at boot;
    ``copy`` where it lies there itself."""

    path: Path
    managed: bool = False
    started: bool = False
    copy: bool = False


@dataclass(slots=True, kw_only=True)
class Places:
    """``xend`` is the path of the xend-config.sxp that counts, ``xl`` whether there is an xl.conf; ``scripts`` are
    folders of Xen's scripts; ``suspended`` the managed guests' folders with a saved state in them, ``saved`` files
    where guests are saved; ``looked`` where the search began."""

    candidates: dict[Path, Candidate] = field(default_factory=dict)
    xend: Path | None = None
    xl: bool = False
    scripts: list[Path] = field(default_factory=list)
    suspended: list[Path] = field(default_factory=list)
    saved: list[Path] = field(default_factory=list)
    skipped: list[Passed] = field(default_factory=list)
    unreadable: list[Passed] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)

    @property
    def managed(self) -> bool:
        return any(candidate.managed for candidate in self.candidates.values())


def find(tree: Tree, *, domains: str = "") -> Places:
    """Look through the folder. DOMAINS is the old host's path of managed guests, where that is another one.

    A whole host is looked at only where guests are kept; any other folder as a whole.
    """
    search = _Search(tree)
    if tree.base:
        search.begin(())
    else:
        search.top()
        other = tuple(filter(None, domains.split("/")))
        for place in dict.fromkeys((*_CONFIGS, _DOMAINS, *([other] if other else []), *search.started)):
            search.begin(place)
        for place in _SAVED:
            search.saved(place)
    search.settle()
    return search.places


class _Search:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.places = Places()
        self.started = [path for path in map(self._auto, _SERVICE) if path]
        self._seen: set[tuple[int, int]] = set()
        self._lost: list[tuple[Path, str]] = []
        self._count = 0

    def begin(self, path: Path) -> None:
        """Look through what is at PATH, if anything is."""
        try:
            real = self.tree.resolve(path)
        except FileNotFoundError:
            return
        except (OSError, Unreachable) as error:
            self._unreadable(path, error)
            return
        if path:
            self.places.looked.append(shown(path))
        self._folder(real)

    def top(self) -> None:
        """The files right in the folder of a whole host."""
        try:
            for entry in self.tree.entries(()):
                if entry.kind == "file" and not entry.path[-1].startswith("."):
                    self._file(entry.path)
        except (OSError, Unreachable) as error:
            self._unreadable((), error)

    def saved(self, path: Path) -> None:
        try:
            entries = self.tree.entries(self.tree.resolve(path))
            self.places.saved += [entry.path for entry in entries if entry.kind == "file"]
        except FileNotFoundError:
            return
        except (OSError, Unreachable) as error:
            self._unreadable(path, error)

    def settle(self) -> None:
        """Links in a folder of guests to start that lead nowhere: the file of that name is meant, if there is one."""
        chosen = {shown(path) for path in self.places.candidates}
        self.places.skipped = [passed for passed in self.places.skipped if passed.path not in chosen]
        by_name: dict[str, list[Candidate]] = {}
        for candidate in self.places.candidates.values():
            by_name.setdefault(candidate.path[-1], []).append(candidate)
        for path, reason in self._lost:
            named = by_name.get(path[-1], [])
            for candidate in named:
                candidate.started = True
            if not named:
                text = f"{shown(path)} names a guest to start with the host, but {reason}; it is not in this report"
                self.places.findings.append(Finding(text=text))

    def _folder(self, path: Path) -> None:
        try:
            identity = self.tree.identity(path)
            if identity in self._seen:
                return
            self._seen.add(identity)
            entries = list(self.tree.entries(path))
        except (OSError, Unreachable) as error:
            self._unreadable(path, error)
            return
        names = {entry.path[-1] for entry in entries}
        if path and folder_of_scripts(path[-1], names):
            self._skip(path, "scripts of Xen, which nothing here runs")
            return
        started = path[-1:] == ("auto",) or path in self.started
        for entry in entries:
            self._count += 1
            if self._count > _MOST:
                self.places.unreadable.append(Passed(path=shown(path), reason=f"only {_MOST} names are looked at"))
                return
            self._entry(entry, names, started=started)

    def _entry(self, entry: Entry, beside: Collection[str], *, started: bool) -> None:
        name = entry.path[-1]
        if name.startswith(".") or name == "lost+found":
            self._skip(entry.path, "a hidden name" if name.startswith(".") else "the file system's own")
        elif entry.kind == "folder":
            self._inner(entry.path)
        elif entry.kind == "link":
            self._linked(entry, started=started)
        elif entry.kind == "file":
            self._file(entry.path, beside, started=started)
        else:
            self._skip(entry.path, f"it is {entry.kind}")

    def _inner(self, path: Path) -> None:
        if path[-1:] == ("scripts",):
            self.places.scripts.append(path)
        self._folder(path)

    def _linked(self, entry: Entry, *, started: bool) -> None:
        try:
            real = self.tree.resolve(entry.path)
            kind = self.tree.kind(real)
        except (OSError, Unreachable) as error:
            if started:
                self._lost.append((entry.path, _why(error, link=True)))
            else:
                self._unreadable(entry.path, error, link=True)
            return
        if kind == "folder":
            self._inner(real)
        elif kind == "file":
            self._file(real, started=started, copy=False)
        else:
            self._skip(entry.path, f"it leads to what is no file ({kind})")

    def _file(self, path: Path, beside: Collection[str] = (), *, started: bool = False, copy: bool = True) -> None:
        known = self.places.candidates.get(path)
        if known:
            known.started |= started
            return
        if path[-1] == "xend-config.sxp" and self.places.xend in (None, path):
            self.places.xend = path
            return
        self.places.xl |= path[-1] == "xl.conf"
        reason = "" if started else kept_aside(path[-1], beside)
        if path[-1] == "config.sxp" and self._is_domain(path):
            self.places.candidates[path] = Candidate(path=path, managed=True)
        elif self._is_domain(path):
            if path[-1] == "checkpoint.chk":
                self.places.suspended.append(path[:-1])
            self._skip(path, "the memory of a suspended guest" if path[-1] == "checkpoint.chk" else "xend's own")
        elif reason:
            self._skip(path, reason)
        else:
            self.places.candidates[path] = Candidate(path=path, started=started, copy=started and copy)

    def _is_domain(self, path: Path) -> bool:
        """Whether a file lies in the folder of one managed guest."""
        return (*self.tree.base, *path)[-3:-2] == ("domains",)

    def _auto(self, service: Path) -> Path | None:
        """The folder of guests to start, where the service of Xen's guests names another one than usual."""
        if self.tree.base[:1] == ("etc",):
            service = service[1:]
        if self.tree.base not in ((), ("etc",)):
            return None
        try:
            text = self.tree.read(self.tree.resolve(service)).decode("utf-8", "replace")
        except (OSError, Unreachable):
            return None
        found = re.findall(r"^\s*XENDOMAINS_AUTO=[\"']?(/[^\"'\s]*)", text, re.MULTILINE)
        parts = tuple(filter(None, found[-1].split("/"))) if found else ()
        return parts[len(self.tree.base) :] if parts[: len(self.tree.base)] == self.tree.base else None

    def _skip(self, path: Path, reason: str) -> None:
        self.places.skipped.append(Passed(path=shown(path), reason=reason))

    def _unreadable(self, path: Path, error: OSError | Unreachable, *, link: bool = False) -> None:
        self.places.unreadable.append(Passed(path=shown(path), reason=_why(error, link=link)))


def _why(error: OSError | Unreachable, *, link: bool = False) -> str:
    if isinstance(error, FileNotFoundError) and link:
        return "the link leads to what is not in this folder"
    return error.strerror or "it cannot be read" if isinstance(error, OSError) else str(error)
