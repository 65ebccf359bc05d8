"""The units of systemd for hosts that have it. Pure: the folder of the programs goes in, text comes out."""

from __future__ import annotations

_XEND = """\
[Unit]
Description=xend: looks after guests that are handled by xm
Documentation=man:xend(1)
Wants=libvirtd.service
After=libvirtd.service virtqemud.service network-online.target
Wants=network-online.target

[Service]
Type=notify
ExecStart={programs}/xend start --foreground
ExecReload={programs}/xend reload
Restart=on-failure
RestartSec=1
TimeoutStartSec=2min
# guests whose on_xend_stop is suspend take their time
TimeoutStopSec=15min
# a libvirtd that xend had to start itself goes on, and so do guests
KillMode=process
# no more than this: where libvirt has no unit, libvirtd and its guests inherit what is said here
LockPersonality=true
UMask=0022

[Install]
WantedBy=multi-user.target
"""

_XENDOMAINS = """\
[Unit]
Description=Start guests of /etc/xen/auto, and save or shut them down when the host stops
Documentation=man:xend(1)
# not Requires: guests must not be saved because xend is restarted
Wants=xend.service
After=xend.service network-online.target remote-fs.target iscsid.service
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=true
ExecStart=-{programs}/xendomains start
ExecStop={programs}/xendomains stop
ExecReload={programs}/xendomains reload
TimeoutStartSec=infinity
# as long as XENDOMAINS_STOP_MAXWAIT allows each step
TimeoutStopSec=30min
# what this has started goes on when it has ended
KillMode=process

[Install]
WantedBy=multi-user.target
"""

#: The units by their files.
UNITS = {"xend.service": _XEND, "xendomains.service": _XENDOMAINS}

#: Where a package of a distribution has its programs; for these are the units of ``share/systemd``.
PACKAGED = "/usr/bin"


def unit(name: str, programs: str) -> str:
    """The unit NAME, one of UNITS, for programs in the folder PROGRAMS, which is written as systemd wants it."""
    return UNITS[name].format(programs=programs.replace("\\", "\\\\").replace("%", "%%").replace(" ", "\\x20"))
