"""The survey of a dead host's folder: files to the report's values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from xmcompat.config.read import LARGEST, is_of_xm_save
from xmcompat.errors import XmError
from xmcompat.guest import Dialect
from xmcompat.render.report_values import Fact, Finding, Passed, Report
from xmcompat.tool.no_guest import NoGuest, SavedGuest, called
from xmcompat.tool.report_guests import OldHost, guests_in
from xmcompat.tool.report_merge import Found, across, merge
from xmcompat.tool.report_places import Candidate, Places, find
from xmcompat.tool.report_tree import Path, Tree, Unreachable, shown
from xmcompat.xend.config import HostBridge, Setting, XendConfig, read_xend_config, wrapper_bridges

_XEND = ("etc", "xen", "xend-config.sxp")


def survey(folder: str, *, made: str = "") -> Report:
    """Everything that FOLDER tells. Raises OSError for what is no folder, XmError where nothing in it can be read."""
    tree = Tree(folder)
    try:
        return _Survey(tree, folder, made).report()
    finally:
        tree.close()


class _Survey:
    def __init__(self, tree: Tree, folder: str, made: str) -> None:
        self.tree = tree
        self.folder = folder
        self.made = made
        self.read = 0
        self.xend = XendConfig()
        #: Where xend's own configuration has been looked for.
        self.tried: Path | None = None
        self.skipped: list[Passed] = []
        self.unreadable: list[Passed] = []
        self.findings: list[Finding] = []

    def report(self) -> Report:
        self._settings(_XEND[len(self.tree.base) :] if _XEND[: len(self.tree.base)] == self.tree.base else None)
        places = find(self.tree, domains=self.xend.value("xend-domains-path"))
        if not self.xend.settings:
            self._settings(places.xend)
        bridges = self._bridges(places)
        host = self._host(bridges, places)
        found = [item for candidate in places.candidates.values() for item in self._rows(candidate, host, places)]
        guests = merge(found)
        if not self.read and not places.skipped:
            self._nothing(places)
        return Report(
            folder=self.folder,
            looked=tuple(places.looked),
            made=self.made,
            guests=guests,
            findings=(*across(guests), *places.findings, *self.findings, *self._saved(places)),
            xend_path=shown(places.xend) if places.xend and self.xend.settings else "",
            facts=tuple(map(_fact, self.xend.settings)),
            host_bridges=tuple(bridges),
            skipped=(*places.skipped, *self.skipped),
            unreadable=(*places.unreadable, *self.unreadable),
        )

    def _nothing(self, places: Places) -> None:
        unread = (*places.unreadable, *self.unreadable)
        why = f"{unread[0].path}: {unread[0].reason}" if unread else "it holds no file where guests could be"
        raise XmError(f"nothing in {self.folder} can be read: {why}",
                      hint="name the folder that holds etc/xen, or the configurations")  # fmt: skip

    def _settings(self, path: Path | None) -> None:
        """Read xend's own configuration, if it is at PATH and can be."""
        if path is None or path == self.tried:
            return
        self.tried = path
        data = self._bytes(path)
        if data is None:
            return
        try:
            self.xend = read_xend_config(data.decode("utf-8", "surrogateescape"), shown(path))
        except XmError as error:
            self.unreadable.append(Passed(path=shown(path), reason=error.line().removeprefix(f"{shown(path)}:")))

    def _bytes(self, path: Path) -> bytes | None:
        """A file's bytes; None where it is not there, or cannot be read, which is told."""
        try:
            data = self.tree.read(self.tree.resolve(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            self.unreadable.append(Passed(path=shown(path), reason=error.strerror or "it cannot be read"))
        except Unreachable as error:
            self.unreadable.append(Passed(path=shown(path), reason=str(error)))
        else:
            self.read += 1
            return data
        return None

    def _bridges(self, places: Places) -> list[HostBridge]:
        """Those that the network script made, or names if it is one of the host's own."""
        words = self.xend.value("network-script").split()
        if self.xend.bridges or not words:
            return list(self.xend.bridges)
        name = tuple(filter(None, words[0].split("/")))
        size = len(self.tree.base)
        tries = [name[size:]] if words[0].startswith("/") and name[:size] == self.tree.base else []
        tries += [(*folder, name[-1]) for folder in places.scripts if name]
        for path in tries:
            data = self._bytes(path)
            if data:
                return list(wrapper_bridges(data.decode("utf-8", "replace")))
        return []

    def _host(self, bridges: list[HostBridge], places: Places) -> OldHost:
        tools = [*([Dialect.XM] if places.xend or places.managed else []), *([Dialect.XL] if places.xl else [])]
        bridge = self.xend.default_bridge or (bridges[0].name if bridges else "")
        return OldHost(
            bridge=bridge or "xenbr0", vnc_listen=self.xend.vnc_listen, vnc_password=self.xend.vnc_password,
            secrets=tuple(filter(None, (self.xend.secret,))), tool=tools[0] if len(tools) == 1 else None,
        )  # fmt: skip

    def _rows(self, candidate: Candidate, host: OldHost, places: Places) -> Iterator[Found]:
        """The guests of one file. Nothing of the file itself is kept."""
        path = shown(candidate.path)
        data = self._candidate(candidate)
        if data is None:
            return
        self.read += 1
        try:
            rows = guests_in(data, path, host)
        except SavedGuest as error:
            self.skipped.append(Passed(path=path, reason=str(error)))
            return
        except NoGuest as error:
            if candidate.started:
                text = f"{path} is to be started with the host, but is no guest: {error}"
                self.findings.append(Finding(text=text))
            self.skipped.append(Passed(path=path, reason=called(candidate.path[-1]) or str(error)))
            return
        suspended = candidate.managed and candidate.path[:-1] in places.suspended
        for row in rows:
            started = row.autostart or candidate.started
            if suspended:
                self.findings.append(_suspended(row.name, path))
            yield Found(row=replace(row, managed=candidate.managed, autostart=started), copy=candidate.copy)

    def _candidate(self, candidate: Candidate) -> bytes | None:
        """The file's bytes. One that is too large is no configuration; else what cannot be read is told."""
        path = shown(candidate.path)
        try:
            return self.tree.read(candidate.path)
        except OSError as error:
            self.unreadable.append(Passed(path=path, reason=error.strerror or "it cannot be read"))
        except Unreachable as error:
            self.skipped.append(Passed(path=path, reason=str(error)))
        return None

    def _saved(self, places: Places) -> Iterator[Finding]:
        """Images of saved guests, as the service of Xen's guests left them when the host was shut down."""
        for path in places.saved:
            try:
                head = self.tree.head(path, LARGEST)
            except (OSError, Unreachable):
                head = b""
            if is_of_xm_save(head):
                yield Finding(text=f"{path[-1]} was saved by xm while it ran, in {shown(path)}: 'xm restore' starts it")
            elif re.match(rb"LinuxGuestRecord|Xen saved domain", head):
                yield _suspended(path[-1], shown(path))


def _suspended(name: str, path: str) -> Finding:
    return Finding(
        text=f"{name} was saved while it ran, near {path}: KVM cannot go on from there; shut it down under Xen first, or "
        "have its file systems checked at the first start", guests=(name,),
    )  # fmt: skip


def _fact(setting: Setting) -> Fact:
    return Fact(
        name=setting.name, value=setting.value, default=setting.default, given=setting.given, fate=setting.fate.value,
        meaning=setting.meaning, attention=setting.attention,
    )  # fmt: skip
