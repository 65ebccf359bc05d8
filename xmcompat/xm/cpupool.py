"""``xm cpupool-*``: sets of the host's CPUs, and the domains that are kept to them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from xmcompat.errors import ConfigError, UsageError
from xmcompat.toolstack import Toolstack
from xmcompat.xm.numbers import integer
from xmcompat.xm.options import Words
from xmcompat.xm.output import warn

if TYPE_CHECKING:
    from xmcompat.config.pool import PoolConfig
    from xmcompat.pools import PoolInfo
    from xmcompat.render.pool_tables import PoolRow

SEARCH_PATH = ".:/etc/xen/cpupool"
DEFAULT_NAME = "xmdefpool"
#: The status of what is wrong with a configuration.
CONFIG_STATUS = 255


def create(words: Words) -> int:
    """``xm cpupool-create [options] CONFIG [name=value ...]``: make a pool and use it."""
    config = _wanted(words)
    if config is not None:
        with Toolstack.open() as toolstack:
            warn(toolstack.pools.create(config))
    return 0


def new(words: Words) -> int:
    """``xm cpupool-new``: register a pool that stays known, without using it."""
    config = _wanted(words)
    if config is not None:
        with Toolstack.open() as toolstack:
            toolstack.pools.new(config)
    return 0


def _wanted(words: Words) -> PoolConfig | None:
    """The pool of the configuration; None where something was only to be printed.

    Everything that is wrong with it ends in 255, as with xm.
    """
    from xmcompat.config import pool

    if words.has("help_config"):
        from xmcompat.render.help import own_options

        rows = [(f"{name}={kind}", meaning) for name, kind, meaning in pool.VARIABLES]
        sys.stdout.write(own_options("Values", rows))
        return None
    try:
        config = _read(words)
    except ConfigError as error:
        error.exit_code, error.shows_usage = CONFIG_STATUS, False
        raise
    sys.stdout.write(config.printed)
    sys.stdout.flush()
    sys.stderr.write(config.complained)
    warn(f"{name} is passed over: {reason}" for name, reason in config.passed_over)
    if words.has("dryrun"):
        from xmcompat.config.sxp import pretty

        sys.stdout.write(pretty(pool.dry_form(config), 80))
        return None
    return config


def _read(words: Words) -> PoolConfig:
    """Of the last file named, or of the SXP file of --config. Raises ConfigError."""
    from xmcompat.config import load, pool

    name, given = DEFAULT_NAME, {}
    for option, value in words.events:
        key, equals, text = value.partition("=")
        if option == "" and equals:
            given[key.strip()] = text.strip()
        elif option in ("", "defconfig"):
            name = value
    sxp_file = words.value("config")
    if sxp_file:
        if not os.path.exists(sxp_file):
            raise ConfigError(f"Cannot open file {sxp_file}")
        return pool.read_form(load.read_file(sxp_file).decode("utf-8", "surrogateescape"), sxp_file)
    path = load.find_config(name, search_path=words.value("path", SEARCH_PATH))
    return pool.read_script(load.read_file(path), path, given, load.script_host(), os.path.basename(path))


def show(words: Words) -> int:
    """``xm cpupool-list [POOL] [-l] [-c]``: a table of the pools, their CPUs, or SXP.

    A pool that is not there is said to be so; the status is 0 all the same, as with xm.
    """
    if len(words.operands) > 1:
        raise UsageError("Only one cpupool name for selection allowed")
    with Toolstack.open() as toolstack:
        pools = toolstack.pools.overview()
    if words.operands:
        wanted = words.operands[0]
        named = [one for one in pools if one.pool.name == wanted]
        pools = named or [one for one in pools if one.pool.active and str(one.pool.number) == wanted]
        if not pools:
            sys.stderr.write(f"Error: Pool '{wanted}' does not exist.\n")
            return 0
    sys.stdout.write(_shown(words, pools))
    return 0


def _shown(words: Words, pools: list[PoolInfo]) -> str:
    from xmcompat.render import pool_tables

    rows = [_row(one) for one in pools]
    if words.has("json"):
        from xmcompat.render import json_values

        return json_values.pools((row, one.pool.number, one.domains) for row, one in zip(rows, pools, strict=True))
    if words.has("long"):
        from xmcompat.config.sxp import pretty
        from xmcompat.pool_store import NAMESPACE, host_uuid

        host = host_uuid()
        return "".join(pretty(pool_tables.pool_form(row, host, NAMESPACE), 80) for row in rows)
    return pool_tables.cpu_table(rows) if words.has("cpus") else pool_tables.pool_table(rows)


def _row(info: PoolInfo) -> PoolRow:
    from xmcompat.render.pool_tables import PoolRow

    pool = info.pool
    return PoolRow(
        pool.name, pool.uuid, pool.active, pool.sched, pool.cpus, pool.wanted,
        tuple((one.name, one.uuid) for one in info.domains), pool.autostart, pool.description, pool.proposed,
        pool.other_config,
    )  # fmt: skip


def start(words: Words) -> int:
    """``xm cpupool-start POOL``: use a pool that was registered with cpupool-new."""
    with Toolstack.open() as toolstack:
        warn(toolstack.pools.start(words.operands[0]))
    return 0


def destroy(words: Words) -> int:
    """``xm cpupool-destroy POOL``: stop using a pool; one of cpupool-create is forgotten."""
    with Toolstack.open() as toolstack:
        toolstack.pools.destroy(words.operands[0])
    return 0


def delete(words: Words) -> int:
    """``xm cpupool-delete POOL``: forget a pool that is not used."""
    with Toolstack.open() as toolstack:
        toolstack.pools.delete(words.operands[0])
    return 0


def cpu_add(words: Words) -> int:
    """``xm cpupool-cpu-add POOL CPU``: give a pool a CPU that is in none."""
    pool, cpu = words.operands[0], integer(words.operands[1])
    with Toolstack.open() as toolstack:
        warn(toolstack.pools.add_cpu(pool, cpu))
    return 0


def cpu_remove(words: Words) -> int:
    """``xm cpupool-cpu-remove POOL CPU``: take a CPU out of a pool."""
    pool, cpu = words.operands[0], integer(words.operands[1])
    with Toolstack.open() as toolstack:
        warn(toolstack.pools.remove_cpu(pool, cpu))
    return 0


def migrate(words: Words) -> int:
    """``xm cpupool-migrate DOMAIN POOL``: keep a domain to the CPUs of another pool."""
    domain, pool = words.operands
    with Toolstack.open() as toolstack:
        warn(toolstack.pools.migrate(domain, pool))
    return 0
