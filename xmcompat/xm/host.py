"""``xm info``, ``dmesg``, ``log``, ``debug-keys``: verbs about this host."""

from __future__ import annotations

import os
import sys

from xmcompat.errors import UsageError
from xmcompat.toolstack import Toolstack
from xmcompat.xm.options import Words


def info(words: Words) -> int:
    """``xm info [-n]``: facts about the host; with -c the settings of xend, for which nothing is contacted."""
    if words.has("config"):
        return _settings(json=words.has("json"))
    with Toolstack.open() as toolstack:
        node, free = toolstack.hypervisor.node(), toolstack.pools.free_cpus()
    if words.has("json"):
        from xmcompat.render import json_values

        sys.stdout.write(json_values.node(node, free_cpus=len(free)))
    else:
        from xmcompat.render.node import info_text

        sys.stdout.write(info_text(node, numa=words.has("numa"), free_cpus=len(free)))
    return 0


def _settings(*, json: bool) -> int:
    from xmcompat.render import json_values
    from xmcompat.render.node import options_text
    from xmcompat.xend.client_options import CONFIG_PATH, CONFIG_VARIABLE, client_options

    path = os.environ.get(CONFIG_VARIABLE, CONFIG_PATH)
    settings = client_options(_settings_file(path), path)
    sys.stdout.write(json_values.settings(settings) if json else options_text(settings))
    return 0


def _settings_file(path: str) -> str:
    """Its text; of one that is not there, xm says so and goes on."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        sys.stderr.write(f"xend [ERROR] Config file does not exist: {path}\n")
        return ""


def dmesg(words: Words) -> int:
    """``xm dmesg [-c]``: the messages of the kernel, which is the hypervisor here; with -c they are forgotten."""
    if words.operands:
        raise UsageError("No parameter required")
    with Toolstack.open() as toolstack:
        text = toolstack.hypervisor.kernel_log(clear=words.has("clear"))
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    return 0


def log(words: Words) -> int:
    """``xm log``: xend's log and one newline more; where xend has not run, what libvirt's daemon has logged."""
    from xmcompat.xend.config_file import log_path, read_config_file

    try:
        with open(log_path(read_config_file()), encoding="utf-8", errors="surrogateescape") as file:
            for part in iter(lambda: file.read(1 << 16), ""):
                sys.stdout.write(part)
    except FileNotFoundError:
        with Toolstack.open() as toolstack:
            sys.stdout.write(toolstack.hypervisor.daemon_log())
    sys.stdout.write("\n")
    return 0


def debug_keys(words: Words) -> int:
    """``xm debug-keys KEYS``: nothing takes them, which is said on stderr; scripts go on."""
    sys.stderr.write(
        f"Warning: KVM has no debug keys: nothing was done for '{words.operands[0]}'; "
        "the host's own are in /proc/sysrq-trigger\n"
    )
    return 0
