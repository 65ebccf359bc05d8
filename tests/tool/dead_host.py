"""A dead host's folder for the tests of the report: a Xen 4.1 host as its backup would have it."""

from __future__ import annotations

from pathlib import Path

XEND_CONFIG = """\
# -*- sh -*-
(logfile /var/log/xen/xend.log)
(xend-relocation-server yes)
(xend-relocation-port 8002)
(xend-relocation-hosts-allow '^localhost$ ^10\\\\.0\\\\.0\\\\.')
(network-script 'network-bridge netdev=eth1 bridge=xenbr1')
(vif-script vif-bridge)
(dom0-min-mem 512)
(enable-dom0-ballooning no)
(dom0-cpus 0)
(vncpasswd 'hostsecret')
"""

WEB1 = """\
name = 'web1'
memory = 512
vcpus = 2
bootloader = '/usr/bin/pygrub'
vif = ['mac=00:16:3e:00:00:01,bridge=xenbr1']
disk = ['phy:vg0/web1-disk,xvda,w', 'phy:vg0/web1-swap,xvdb,w']
on_crash = 'restart'
"""

DB1 = """\
kernel = '/boot/vmlinuz-2.6.32-xenU'
ramdisk = '/boot/initrd-2.6.32-xenU.img'
name = "db1"
memory = 2048
vcpus = 4
maxmem = 4096
root = '/dev/xvda1 ro'
vif = ['mac=00:16:3e:00:00:02, bridge=xenbr1', 'bridge=storage0']
disk = ['phy:vg0/db1-root,xvda1,w', 'phy:vg0/db1-data,xvdb,w']
vfb = ['type=vnc,vncpasswd=guestsecret']
on_chrash = 'restart'
"""

WIN1 = """\
builder = 'hvm'
kernel = 'hvmloader'
name = 'win1'
memory = 1024
disk = ['file:/srv/xen/win1.img,hda,w', 'file:/srv/iso/win.iso,hdc:cdrom,r']
vif = ['type=ioemu, model=e1000, mac=00:16:3e:00:00:03']
vnc = 1
vnclisten = '127.0.0.1'
boot = 'dc'
on_crash = 'destroy'
"""

READY = """\
builder = 'hvm'
name = 'plain1'
memory = 256
disk = ['phy:/dev/vg0/plain1,hda,w']
vif = ['type=ioemu, model=e1000, mac=00:16:3e:00:00:04, bridge=xenbr1']
vnc = 0
"""

MANAGED = """\
(domain
    (domid 3)
    (cpu_weight 256)
    (cpu_cap 0)
    (on_crash restart)
    (uuid 11111111-2222-3333-4444-555555555555)
    (vcpus 1)
    (name NAME)
    (on_poweroff destroy)
    (on_reboot restart)
    (maxmem 256)
    (memory MEMORY)
    (shadow_memory 0)
    (image (linux (kernel /boot/vmlinuz-xenU) (args 'root=/dev/xvda1 ro')))
    (device (vif (bridge xenbr1) (mac 00:16:3e:00:00:05) (uuid 1)))
    (device (vbd (uname phy:vg0/NAME) (dev xvda1:disk) (mode w)))
)
"""


def write(top: Path, files: dict[str, str | bytes]) -> Path:
    """Files below TOP, with their folders."""
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return top


def managed(name: str, memory: int = 256) -> str:
    return MANAGED.replace("NAME", name).replace("MEMORY", str(memory))


def dead_host(top: Path) -> Path:
    """Four files, a managed guest, what else lies beside them, and links as the old host had them."""
    write(top, {
        "etc/xen/xend-config.sxp": XEND_CONFIG,
        "etc/xen/web1.cfg": WEB1,
        "etc/xen/db1": DB1,
        "etc/xen/vm/win1.cfg": WIN1,
        "etc/xen/plain1": READY,
        "etc/xen/web1.cfg.bak": WEB1,
        "etc/xen/xmexample1": "memory = 64\n",
        "etc/xen/README": "read me\n",
        "etc/xen/scripts/network-bridge": "#!/bin/bash\n",
        "etc/xen/start-all": "#!/bin/sh\nfor x in *; do xm create $x; done\n",
        "etc/xen/logo.bin": b"\x7fELF\0\0",
        "var/lib/xend/domains/11111111-2222-3333-4444-555555555555/config.sxp": managed("mail1"),
    })  # fmt: skip
    auto = top / "etc/xen/auto"
    auto.mkdir()
    (auto / "web1.cfg").symlink_to("/etc/xen/web1.cfg")
    (auto / "db1").symlink_to("../db1")
    return top
