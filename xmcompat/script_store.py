"""What scripts of Xen's ask XenStore for, where there is none: the values of one device, in files.

The tools ``xenstore-read`` and their like stand at the head of the script's PATH. They read and write files in a directory
of the caller's own, which goes with the call, but for the values where they are to be kept for the next one. What a caller
has left that was killed goes with the next call: it is locked for as long as the caller lives, or the script.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.errors import XmError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: The tools' names; each is the same program, which looks at its own name.
TOOLS = ("xenstore-read", "xenstore-write", "xenstore-list", "xenstore-exists", "xenstore-rm")
#: Where the directory may be made; in some of these no program may be started.
_PLACES = ("/run", "/tmp", "/var/tmp", "/var/lib")
#: Bytes of an answer.
_MOST_ANSWER = 4096

#: Nodes are directories, the value of each is in its file ".value". Paths are relative to those of Domain-0.
_TOOL = r"""#!/bin/sh
# Answers for XenStore while a script of Xen's sets up one device.
root=${XENSTORE_VALUES:?}
tool=${0##*/}
fail() { echo "$tool: $1" >&2; exit 1; }
node() {
  path=${1#/local/domain/0/}
  case "/$path/" in */../*|*/./*) fail "no path: $1" ;; esac
  path=$root/${path#/}
  path=${path%/}
}
while :; do
  case "$1" in
    -s|-t|-f) shift ;;
    -p) full=1; shift ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || fail "no path is given"
case "$tool" in
  xenstore-read)
    for name in "$@"; do
      node "$name"
      [ -e "$path/.value" ] || fail "couldn't read path $name"
      [ -z "$full" ] || printf '%s: ' "$name"
      cat "$path/.value"
      echo
    done ;;
  xenstore-write)
    [ $(($# % 2)) -eq 0 ] || fail "a value is missing"
    while [ $# -gt 0 ]; do
      node "$1"
      mkdir -p "$path" && printf '%s' "$2" >"$path/.value" || fail "couldn't write path $1"
      shift 2
    done ;;
  xenstore-list)
    for name in "$@"; do
      node "$name"
      [ -d "$path" ] || fail "couldn't list path $name"
      for child in "$path"/*; do
        [ -d "$child" ] || continue
        if [ -n "$full" ]; then printf '%s/%s\n' "${name%/}" "${child##*/}"; else printf '%s\n' "${child##*/}"; fi
      done
    done ;;
  xenstore-exists)
    for name in "$@"; do
      node "$name"
      [ -d "$path" ] || exit 1
    done ;;
  xenstore-rm)
    for name in "$@"; do
      node "$name"
      [ "$path" != "$root" ] && [ -d "$path" ] || fail "couldn't remove path $name"
      rm -r "$path"
    done ;;
  *) fail "no such tool" ;;
esac
exit 0
"""


class Store(NamedTuple):
    """``programs`` is the directory of the tools, ``values`` that of the nodes, which may lie elsewhere (``kept``)."""

    directory: str
    kept: str = ""

    @property
    def programs(self) -> str:
        return os.path.join(self.directory, "bin")

    @property
    def values(self) -> str:
        return self.kept or os.path.join(self.directory, "store")

    def output(self) -> str:
        """The file for what the script writes."""
        return os.path.join(self.directory, "output")

    def told(self, path: str) -> str:
        """The value at PATH, in one line, "" for none."""
        try:
            with open(os.path.join(self.values, path, ".value"), "rb") as file:
                return " ".join(file.read(_MOST_ANSWER).decode("utf-8", "replace").split())
        except OSError:
            return ""


@contextmanager
def opened(nodes: Mapping[str, str], *, kept: str = "", purpose: str = "script") -> Iterator[Store]:
    """A store of NODES, by their paths (relative to those of Domain-0), until the end of the call.

    With KEPT the nodes lie there, beside those that an earlier call has left, and stay. Raises XmError.
    """
    import shutil

    place, prefix = _place(), f"xmcompat-{purpose}-"
    _sweep(place, prefix)
    try:
        directory, held = _made(place, prefix)
    except OSError as error:
        raise XmError(f"no script can be run: {place}: {error.strerror}") from None
    try:
        store = Store(directory, kept)
        _fill(store, nodes)
        yield store
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(held)


def lock(descriptor: int) -> None:
    """Keep others from removing what a caller has left: as long as it, or what it has started, has DESCRIPTOR open, which
    is one of the store's directory or of its output. Raises OSError."""
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_SH)


def _made(place: str, prefix: str) -> tuple[str, int]:
    """A new directory, and the descriptor by which it is locked. Raises OSError."""
    import tempfile

    while True:
        directory = tempfile.mkdtemp(prefix=prefix, dir=place)
        with suppress(FileNotFoundError):  # another call came upon it before it was locked
            held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                lock(held)
                if os.path.samestat(os.fstat(held), os.lstat(directory)):
                    return directory, held
            except BaseException:
                os.close(held)
                raise
            os.close(held)


def _sweep(place: str, prefix: str) -> None:
    """Remove what callers have left that were killed."""
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False):
                with suppress(OSError):  # it is in use, or goes just now
                    _remove_left(entry.path)


def _remove_left(directory: str) -> None:
    """Raises OSError where it is in use."""
    import fcntl
    import shutil

    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(held).st_uid != os.geteuid():
            return
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(FileNotFoundError):
            output = os.open(Store(directory).output(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                os.close(output)
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(held)


def below(path: str, values: Mapping[str, str]) -> dict[str, str]:
    """The nodes of a device at PATH that has these VALUES by name."""
    return {path: "", **{f"{path}/{name}": value for name, value in values.items()}}


def _fill(store: Store, nodes: Mapping[str, str]) -> None:
    try:
        os.mkdir(store.programs, 0o700)
        for tool in TOOLS:
            _write(os.path.join(store.programs, tool), _TOOL, 0o700)
        os.makedirs(store.values, 0o700, exist_ok=True)
        for path, value in nodes.items():
            node = os.path.join(store.values, path)
            os.makedirs(node, 0o700, exist_ok=True)
            _write(os.path.join(node, ".value"), value, 0o600)
    except OSError as error:
        raise XmError(f"no script can be run: {error.filename or store.directory}: {error.strerror}") from None


def _write(path: str, text: str, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)


def _place() -> str:
    """A directory of the host in which programs may be started."""
    for place in _PLACES:
        try:
            if not os.statvfs(place).f_flag & os.ST_NOEXEC and os.access(place, os.W_OK):
                return place
        except OSError:
            continue
    raise XmError(f"no script can be run: no program can be started in {', '.join(_PLACES)}")
