"""The guest's root file system: busybox, a login on each console, and an orderly end on the power button.

The image is made from a folder by mke2fs, without mounting anything.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from xmcompat.tour.programs import run

MAKE_SECONDS = 60.0

FOLDERS = ("bin", "dev", "etc/acpi/PWRF", "etc/init.d", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "usr/bin",
           "usr/sbin", "var/log")  # fmt: skip

INITTAB = """\
::sysinit:/etc/init.d/start
hvc0::respawn:/etc/init.d/login hvc0
ttyS0::respawn:/etc/init.d/login ttyS0
::ctrlaltdel:/sbin/reboot
::shutdown:/etc/init.d/stop
"""

START = """\
#!/bin/sh
# Once, before the logins.
dmesg -n 1    # the kernel's own lines would come between what is typed and its answer
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620 pts /dev/pts
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp
mount -o remount,rw /
hostname -F /etc/hostname
swapon -a 2>/dev/null
ip link set lo up
for link in /sys/class/net/eth*; do
    [ -e "$link" ] && ip link set "${link##*/}" up
done
acpid    # the power button: /etc/acpi/PWRF
"""

STOP = """\
#!/bin/sh
# Once, at the end: every program goes, so that the file system is not in use any more.
kill -TERM -1
sleep 0.2
kill -KILL -1
swapoff -a 2>/dev/null
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do    # one that is ending still has its files open
    mount -o remount,ro / 2>/dev/null && break
    sleep 0.1
done
"""

LOGIN = """\
#!/bin/sh
# A login on the terminal $1; a guest may lack it.
[ -c "/dev/$1" ] || exec sleep 86400
stty -F "/dev/$1" rows 24 columns 80    # nobody tells it how large the other end is
exec getty -L 0 "$1" vt100
"""

POWER_BUTTON = "#!/bin/sh\nexec poweroff\n"

FSTAB = """\
LABEL=root / ext4 defaults 0 1
LABEL=swap none swap sw 0 0
"""


def files(name: str) -> dict[str, tuple[str, int]]:
    """Path, text and permissions of what the guest NAME has beside busybox. Pure."""
    return {
        "etc/acpi/PWRF/00000080": (POWER_BUTTON, 0o755),
        "etc/fstab": (FSTAB, 0o644),
        "etc/group": ("root:x:0:\n", 0o644),
        "etc/hostname": (f"{name}\n", 0o644),
        "etc/hosts": (f"127.0.0.1 localhost {name}\n", 0o644),
        "etc/init.d/login": (LOGIN, 0o755),
        "etc/init.d/start": (START, 0o755),
        "etc/init.d/stop": (STOP, 0o755),
        "etc/inittab": (INITTAB, 0o644),
        "etc/issue": ("A Xen guest configuration, running on KVM or QEMU\n", 0o644),
        "etc/passwd": ("root::0:0:root:/root:/bin/sh\n", 0o644),
        "etc/profile": ("export PATH=/bin:/sbin:/usr/bin:/usr/sbin PS1='\\h:\\w\\$ '\n", 0o644),
    }


def write_root_image(image: Path, *, name: str, busybox: Path, mebibytes: int) -> None:
    """Make IMAGE, an ext4 file system of that size labelled "root". Raises ProgramFailed, and OSError."""
    with tempfile.TemporaryDirectory(prefix="rootfs-", dir=image.parent) as folder:
        tree = Path(folder) / "root"
        _write_tree(tree, files(name), busybox)
        image.unlink(missing_ok=True)
        _sparse(image, mebibytes)
        options = ("-q", "-F", "-t", "ext4", "-L", "root", "-m", "0", "-E", "lazy_itable_init=1,root_owner=0:0")
        run(("mke2fs", *options, "-d", tree, image), seconds=MAKE_SECONDS)


def _write_tree(tree: Path, texts: Mapping[str, tuple[str, int]], busybox: Path) -> None:
    for folder in FOLDERS:
        (tree / folder).mkdir(parents=True, exist_ok=True)
    tree.chmod(0o755)
    shutil.copyfile(busybox, tree / "bin/busybox")
    (tree / "bin/busybox").chmod(0o755)
    for applet in run((busybox, "--list-full"), seconds=10).split():
        place = tree / applet
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.symlink_to("/bin/busybox")
    if not os.path.lexists(tree / "sbin/init"):
        (tree / "sbin/init").symlink_to("/bin/busybox")
    for path, (text, permissions) in texts.items():
        (tree / path).write_text(text)
        (tree / path).chmod(permissions)


def write_swap_image(image: Path, *, mebibytes: int) -> None:
    """Make IMAGE, swap space of that size labelled "swap". Raises ProgramFailed, and OSError."""
    image.unlink(missing_ok=True)
    _sparse(image, mebibytes)
    image.chmod(0o600)
    run(("mkswap", "-q", "-L", "swap", image), seconds=MAKE_SECONDS)


def _sparse(image: Path, mebibytes: int) -> None:
    with open(image, "wb") as file:
        file.truncate(mebibytes * 1024 * 1024)
