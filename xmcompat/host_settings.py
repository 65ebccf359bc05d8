"""What ``xend-config.sxp`` says that matters to a guest that is made: one reading of the file, for every verb that makes
one; and whether its interfaces are set up by us."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from xmcompat.backends.local_host import link_alias, run_folder
from xmcompat.backends.settings import hypervisor_uri
from xmcompat.backends.settings import read as read_settings
from xmcompat.errors import ConfigError
from xmcompat.guest_kernels import folder as boot_folder
from xmcompat.hotplug_script import DEADLINE, FOLDER, LOG, programs_in
from xmcompat.network import marks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xmcompat.backends.facts import HostFacts
    from xmcompat.xend.config import XendConfig


def with_host_settings(facts: HostFacts, environ: Mapping[str, str]) -> HostFacts:
    """FACTS with xend's settings: what displays take that say nothing themselves, the bridge of interfaces that name none,
    and whether crashes are dumped.

    Unchanged for a hypervisor elsewhere, and where the file cannot be read, of which xend itself tells.
    """
    if not facts.local:
        return facts
    from xmcompat.translate import partitions
    from xmcompat.xend.config import YES

    facts = replace(
        facts, ports=sets_up_ports(), nat_bridge=nat_bridge(facts.bridges), cards=cards(facts.bridges),
        scripts=disk_scripts(environ), boot_folder=boot_folder(environ),
        composites=partitions.folder_in(run_folder(hypervisor_uri(environ=environ))) if sets_up_ports() else "",
    )  # fmt: skip
    try:
        config = _xend_config(environ)
    except ConfigError:
        return facts
    return replace(
        facts,
        vif_script=config.value("vif-script") if facts.ports else "",
        vnc_listen=config.vnc_listen,
        vnc_password=config.secret,
        keymap=config.value("keymap"),
        default_bridge=config.default_bridge,
        dump_crashes=config.value("enable-dump").lower() in YES,
    )


def _xend_config(environ: Mapping[str, str]) -> XendConfig:
    """Raises ConfigError."""
    from xmcompat.xend.config_file import read_config_file

    return read_config_file(environ)


def vif_script(environ: Mapping[str, str]) -> str:
    """xend's vif-script with its words; that of Xen where the file cannot be read."""
    try:
        return _xend_config(environ).value("vif-script")
    except ConfigError:
        return ""


def script_folder(environ: Mapping[str, str]) -> str:
    """Where the scripts of guests' interfaces and disks lie. Raises ConfigError for settings that cannot be used."""
    return read_settings(environ).script_folder or FOLDER


def disk_scripts(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The scripts of this host that may bring disks up."""
    return programs_in(script_folder(environ))


def script_words(environ: Mapping[str, str]) -> dict[str, str]:
    """What xend's settings say to the script of a disk: words of its need."""
    deadline = xend_number(environ, "device-create-timeout", DEADLINE)
    return {"scripts": script_folder(environ), "log": script_log(environ), "deadline": f"{deadline:g}"}


def script_log(environ: Mapping[str, str]) -> str:
    """The log of the scripts of guests' interfaces: beside xend's own."""
    try:
        config = _xend_config(environ)
    except ConfigError:
        return LOG
    from xmcompat.xend.config_file import log_path

    return os.path.join(os.path.dirname(log_path(config)), os.path.basename(LOG))


def sets_up_ports() -> bool:
    """Whether this process may change the host's network; for others libvirt's own filters and limits must do."""
    return os.geteuid() == 0


def nat_bridge(bridges: tuple[str, ...]) -> str:
    """The one of the BRIDGES that network-nat has made, "" for none."""
    return next((name for name in bridges if (mark := marks.read(link_alias(name))) and mark.kind == "nat"), "")


def cards(bridges: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The cards that are in the BRIDGES that network-bridge has made, each with its bridge."""
    marked = ((name, marks.read(link_alias(name))) for name in bridges)
    return tuple((mark.values["uplink"], name) for name, mark in marked
                 if mark and mark.kind == "bridge" and "uplink" in mark.values)  # fmt: skip


def xend_number(environ: Mapping[str, str], name: str, default: float) -> float:
    """A number of xend's settings; DEFAULT where there is none. xend itself tells what is wrong with its file."""
    try:
        return float(_xend_config(environ).value(name))
    except (ConfigError, ValueError):
        return default
