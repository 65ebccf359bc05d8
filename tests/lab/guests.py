"""The XML of the lab's guests."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from tests.lab.tickrom import rom


def write_roms(directory: Path) -> None:
    """Put the variants of the firmware into DIRECTORY."""
    (directory / "tick.rom").write_bytes(rom())
    (directory / "busy.rom").write_bytes(rom(busy=True))
    (directory / "idle.rom").write_bytes(rom(idle=True))


def tick_xml(
    name: str,
    roms: Path,
    *,
    kvm: bool = True,
    idle: bool = False,
    busy: bool = False,
    uuid: str | None = None,
    memory: int = 16 * 1024,
    bridges: Sequence[str] = (),
    disks: Sequence[Path] = (),
    metadata: str = "",
    log: Path | None = None,
    actions: tuple[str, str, str] = ("destroy", "restart", "destroy"),
) -> str:
    """A guest that runs the ROM in the directory ROMS, with MEMORY KiB; its console can be logged to a file.

    ACTIONS follow power off, reboot and crash.
    """
    nics = "".join(f"<interface type='bridge'><source bridge={quoteattr(name)}/></interface>" for name in bridges)
    vbds = "".join(
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file={quoteattr(str(path))}/>"
        f"<target dev='vd{chr(ord('a') + index)}' bus='virtio'/></disk>"
        for index, path in enumerate(disks)
    )
    logging = f"<log file={quoteattr(str(log))} append='on'/>" if log else ""
    return f"""<domain type='{'kvm' if kvm else 'qemu'}'>
  <name>{escape(name)}</name>
  <uuid>{uuid or uuids.uuid4()}</uuid>
  <metadata>{metadata}</metadata>
  <memory unit='KiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <loader readonly='yes' type='rom'>{escape(str(roms / ('idle.rom' if idle else 'busy.rom' if busy else 'tick.rom')))}</loader>
  </os>
  <features><acpi/><apic/></features>
  <on_poweroff>{actions[0]}</on_poweroff>
  <on_reboot>{actions[1]}</on_reboot>
  <on_crash>{actions[2]}</on_crash>
  <devices>
    <controller type='usb' model='none'/>{vbds}{nics}
    <serial type='pty'>{logging}<target port='0'/></serial>
    <console type='pty'><target type='serial' port='0'/></console>
    <memballoon model='none'/>
    <panic model='isa'/>
  </devices>
</domain>
"""
