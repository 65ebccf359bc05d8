"""A host on which nothing runs libvirt: xend starts it with the system's own places, and ends it again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.fixtures import CHECKOUT
from xmcompat.backends.private_init import HIDDEN

pytestmark = pytest.mark.libvirt

SCRIPT = """
set -e
mount --make-rprivate /
for folder in {hidden}; do mkdir -p $folder; mount -t tmpfs tmpfs $folder; done
mkdir /run/lock
ip link set lo up
xend() {{ {python} -m xmcompat.xend "$@"; }}
xm() {{ {python} -m xmcompat.xm "$@"; }}
xm list >/dev/null 2>&1 && echo "there is a libvirt already"
xend start; echo "start $?"
xm list | head -1
cut -d' ' -f1 /run/xend/libvirtd
xend restart; echo "restart $?"
xm list | head -1
xend stop; echo "stop $?"
for _ in $(seq 600); do [ -e /run/xend/libvirtd ] || break; sleep 0.1; done
pgrep -x libvirtd || echo "no libvirtd"
pgrep -x virtlogd >/dev/null && echo "virtlogd"
xm list >/dev/null 2>&1 || echo "xm list $?"
"""
ANSWER = """\
start 0
Name                                        ID   Mem VCPUs      State   Time(s)
libvirtd
restart 0
Name                                        ID   Mem VCPUs      State   Time(s)
stop 0
no libvirtd
virtlogd
xm list 1
"""


def test_xend_brings_libvirt_up_and_takes_it_down_with_itself(tmp_path: Path) -> None:
    (tmp_path / "xend-config.sxp").write_text(f"(logfile {tmp_path}/xend.log)")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XMCOMPAT_", "LIBVIRT_"))}
    env = {**kept, "PYTHONPATH": str(CHECKOUT), "XEND_CONFIG": str(tmp_path / "xend-config.sxp")}
    script = SCRIPT.format(hidden=" ".join(HIDDEN), python=sys.executable)
    argv = ["unshare", "--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script]
    done = subprocess.run(argv, env=env, cwd="/", capture_output=True, text=True, timeout=100, check=False)
    log = (tmp_path / "xend.log").read_text() if (tmp_path / "xend.log").exists() else ""
    assert (done.stdout, done.stderr) == (ANSWER, ""), log
    assert log.count("libvirt does not answer; started libvirtd (") == 2
    assert log.count("which was started by xend, is stopped; guests go on.") == 2
