"""What ``xend-config.sxp`` says that matters to a guest that is made: one reading of the file, for every verb that makes
one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from xmcompat.backends.facts import HostFacts
from xmcompat.errors import ConfigError
from xmcompat.xend.config import YES
from xmcompat.xend.config_file import read_config_file


def with_host_settings(facts: HostFacts, environ: Mapping[str, str]) -> HostFacts:
    """FACTS with xend's settings: what displays take that say nothing themselves, the bridge of interfaces that name none,
    and whether crashes are dumped.

    Unchanged for a hypervisor elsewhere, and where the file cannot be read, of which xend itself tells.
    """
    if not facts.local:
        return facts
    try:
        config = read_config_file(environ)
    except ConfigError:
        return facts
    return replace(
        facts,
        vnc_listen=config.vnc_listen,
        vnc_password=config.secret,
        keymap=config.value("keymap"),
        default_bridge=config.default_bridge,
        dump_crashes=config.value("enable-dump").lower() in YES,
    )
