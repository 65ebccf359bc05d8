"""What is known of CPU pools between two calls of ``xm``: two small SXP files, one lock.

Managed pools are in the directory that xend-config.sxp names ``xend-state-path``. What lives no longer than the host
runs (which pools are active, with which CPUs, and unmanaged ones) is in /run. Both are read as a whole, and replaced as
a whole under the lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from xmcompat.config import sxp
from xmcompat.errors import ConfigError, XmError
from xmcompat.light import NamedTuple
from xmcompat.xend.client_options import CONFIG_PATH, CONFIG_VARIABLE

Tree = list[object]
Pins = tuple[tuple[int, ...], ...]

RUN_DIRECTORY = "/run/xmcompat"
STATE_DIRECTORY = "/var/lib/xend/state"
FILE = "cpupools.sxp"
#: The uuid of Pool-0; those of the host's CPUs are made from it.
NAMESPACE = "6f0a1ddc-31b5-4ba1-8d93-3c0c1c1d7c29"


class Pool(NamedTuple):
    """One pool besides Pool-0. ``number`` is its id while it is active, None otherwise.

    ``wanted`` is how many CPUs it wants, ``proposed`` which ones if that matters; ``cpus`` are those that it has.
    """

    name: str
    uuid: str
    wanted: int
    proposed: tuple[int, ...] = ()
    sched: str = "credit"
    description: str = ""
    other_config: tuple[tuple[str, str], ...] = ()
    managed: bool = True
    autostart: bool = False
    number: int | None = None
    cpus: tuple[int, ...] = ()

    @property
    def active(self) -> bool:
        return self.number is not None


class Member(NamedTuple):
    """A domain that xm did not start, which has no record to keep this in: its pool, and its own pins."""

    uuid: str
    pool: str
    pins: Pins


class State(NamedTuple):
    """``free`` are the CPUs that are in no pool; those in none of these and not free are Pool-0's."""

    pools: tuple[Pool, ...] = ()
    free: tuple[int, ...] = ()
    members: tuple[Member, ...] = ()

    def pool(self, name: str) -> Pool | None:
        return next((pool for pool in self.pools if pool.name == name), None)


def state_directory(environ: Mapping[str, str]) -> str:
    """Where xend kept its state: by the file that XEND_CONFIG names, or the usual one."""
    path = environ.get(CONFIG_VARIABLE, CONFIG_PATH)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            from xmcompat.xend.config import read_xend_config

            return read_xend_config(file.read(), path).value("xend-state-path") or STATE_DIRECTORY
    except (OSError, ConfigError):
        return STATE_DIRECTORY  # xend itself tells what is wrong with it


def host_uuid(path: str = "/etc/machine-id") -> str:
    """The uuid of this host, made from what its system goes by."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            name = file.read().strip()
    except OSError:
        name = os.uname().nodename
    from uuid import UUID, uuid5

    return str(uuid5(UUID(NAMESPACE), name))


class Store:
    """The files in the two directories, which are made when they are needed. Raises XmError for what cannot be read
    or written."""

    def __init__(self, state_directory: str, run_directory: str = RUN_DIRECTORY) -> None:
        self._managed = os.path.join(state_directory, FILE)
        self._active = os.path.join(run_directory, FILE)

    def read(self) -> State:
        """What is known now; nothing where there are no files."""
        told = {str(sxp.value(row, "name_label", "")): row for row in _rows(self._active, "pool")}
        pools = [_pool(row, told.pop(str(sxp.value(row, "name_label", "")), None)) for row in _rows(self._managed, "pool")]
        pools += [_pool(row, row, managed=False) for row in told.values() if sxp.value(row, "managed") == "False"]
        free = [_numbers(row[1:]) for row in _rows(self._active, "free")]
        return State(
            tuple(pools), free[0] if free else (), tuple(_member(row) for row in _rows(self._active, "member"))
        )

    @contextmanager
    def changing(self) -> Iterator[State]:
        """What is known, which nobody else changes meanwhile."""
        directory = os.path.dirname(self._active)
        try:
            os.makedirs(directory, mode=0o755, exist_ok=True)
            fd = os.open(os.path.join(directory, "cpupools.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(directory, error) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield self.read()
        finally:
            os.close(fd)

    def write(self, state: State) -> None:
        """Keep STATE; to be called while ``changing``."""
        managed: Tree = ["cpupools", *(_form(pool) for pool in state.pools if pool.managed)]
        active: Tree = ["cpupools", ["free", *state.free]]
        active += [
            [*_form(pool), ["managed", str(pool.managed)], ["id", pool.number], ["host_CPU_numbers", *pool.cpus]]
            for pool in state.pools if pool.active or not pool.managed
        ]  # fmt: skip
        active += [
            ["member", ["uuid", one.uuid], ["pool_name", one.pool], ["cpus", [list(cpus) for cpus in one.pins]]]
            for one in state.members
        ]  # fmt: skip
        if managed != _document(self._managed):
            _replace(self._managed, managed, 0o700)
        _replace(self._active, active, 0o755)


def _unusable(path: str, error: OSError) -> XmError:
    return XmError(f"{error.filename or path}: {error.strerror}", hint="CPU pools are kept there")


def _document(path: str) -> Tree:
    """The (cpupools ...) form of a file; an empty one where there is no file. Raises ConfigSyntax."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            forms = sxp.parse(file.read(), path)
    except FileNotFoundError:
        return ["cpupools"]
    except OSError as error:
        raise _unusable(path, error) from None
    except ConfigError as error:
        raise XmError(error.line(), hint="CPU pools are kept there; mend it, or remove it to have Pool-0 alone") from None
    return forms[0] if forms and isinstance(forms[0], list) else ["cpupools"]


def _rows(path: str, kind: str) -> list[Tree]:
    return sxp.children(_document(path), kind)


def _replace(path: str, form: Tree, directory_mode: int) -> None:
    """Put FORM in the place of the file at PATH; whoever reads it finds the old or the new one."""
    draft = f"{path}.{os.getpid()}.new"
    try:
        os.makedirs(os.path.dirname(path), mode=directory_mode, exist_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(sxp.pretty(form))
            file.flush()
            os.fsync(fd)
        os.replace(draft, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(draft)
        raise _unusable(path, error) from None


# -- forms


def _form(pool: Pool) -> Tree:
    """What stays of a pool while it is not active."""
    return [
        "pool", ["name_label", pool.name], ["uuid", pool.uuid], ["name_description", pool.description],
        ["sched_policy", pool.sched], ["ncpu", pool.wanted], ["proposed_CPUs", *pool.proposed],
        ["auto_power_on", str(pool.autostart)], ["other_config", *([key, value] for key, value in pool.other_config)],
    ]  # fmt: skip


def _pool(row: Tree, told: Tree | None, *, managed: bool = True) -> Pool:
    """From its form, and from what /run tells of it while it is active."""
    others = next(iter(sxp.children(row, "other_config")), ["other_config"])
    number = _numbers([sxp.value(told, "id", "")]) if told is not None else ()
    return Pool(
        name=str(sxp.value(row, "name_label", "")),
        uuid=str(sxp.value(row, "uuid", "")),
        wanted=next(iter(_numbers([sxp.value(row, "ncpu", "1")])), 1),
        proposed=_listed(row, "proposed_CPUs"),
        sched=str(sxp.value(row, "sched_policy", "credit")),
        description=str(sxp.value(row, "name_description", "")),
        other_config=tuple((str(pair[0]), str(pair[1])) for pair in others[1:] if isinstance(pair, list) and len(pair) > 1),
        managed=managed,
        autostart=str(sxp.value(row, "auto_power_on", "False")).lower() in ("true", "1"),
        number=number[0] if number else None,
        cpus=_listed(told, "host_CPU_numbers") if told is not None else (),
    )


def _member(row: Tree) -> Member:
    pins = sxp.value(row, "cpus", [])
    items = pins if isinstance(pins, list) else []
    return Member(
        str(sxp.value(row, "uuid", "")), str(sxp.value(row, "pool_name", "")),
        tuple(_numbers(item) if isinstance(item, list) else () for item in items),
    )  # fmt: skip


def _listed(row: Tree, key: str) -> tuple[int, ...]:
    return next((_numbers(child[1:]) for child in sxp.children(row, key)), ())


def _numbers(words: list[object]) -> tuple[int, ...]:
    """Those of WORDS that are numbers; somebody may have edited the file."""
    return tuple(int(str(word)) for word in words if str(word).isascii() and str(word).isdecimal() and len(str(word)) < 7)
