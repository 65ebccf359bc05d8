"""The guest's initial RAM disk: busybox and the modules that its disks need; it mounts root= and steps aside."""

from __future__ import annotations

from collections.abc import Iterable

from xmcompat.tour import cpio

#: The first program; it gives up a root device that has not appeared after ten seconds.
INIT = """\
#!/bin/sh
# First program of the guest: load what its disks need, mount root=, and go on there.
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in $(cat /modules/order); do insmod "/modules/$module" 2>/dev/null; done
root= mode=ro init=/sbin/init
for word in $(cat /proc/cmdline); do
    case $word in
        root=*) root=${word#root=} ;;
        init=*) init=${word#init=} ;;
        ro | rw) mode=$word ;;
    esac
done
tries=0
while :; do
    device=$root
    case $root in LABEL=* | UUID=*) device=$(findfs "$root" 2>/dev/null) ;; esac
    [ -b "$device" ] && break
    tries=$((tries + 1))
    [ $tries -lt 100 ] || break
    sleep 0.1
done
if ! mount -t ext4 -o "$mode" "$device" /root; then
    echo "There is no file system to start on: root=$root"
    echo "Disks here: $(echo $(ls /sys/block))"
    poweroff -f
fi
for place in dev proc sys; do mount --move /$place /root/$place; done
exec switch_root /root "$init"
"""

APPLETS = ("sh", "mount", "cat", "insmod", "findfs", "sleep", "echo", "ls", "poweroff", "switch_root", "[")


def ramdisk(busybox: bytes, modules: Iterable[tuple[str, bytes]]) -> bytes:
    """The archive, uncompressed: a guest without KVM takes longer to unpack it than to read it. Pure."""
    loaded = list(modules)
    entries = [cpio.folder(name) for name in ("bin", "dev", "modules", "proc", "root", "sys")]
    entries += [cpio.file("bin/busybox", busybox, 0o755), cpio.file("init", INIT.encode(), 0o755)]
    entries += [cpio.link(f"bin/{applet}", "busybox") for applet in APPLETS]
    entries += [cpio.file(f"modules/{name}", data) for name, data in loaded]
    entries.append(cpio.file("modules/order", "".join(f"{name}\n" for name, _ in loaded).encode()))
    return cpio.archive(entries)
