"""Programs on another kernel, for what this machine's lacks: User Mode Linux, whose root is this machine's, read-only.

Debian's ``user-mode-linux``, an ordinary program; it is there in a second, with modules of its own and without networks.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.lab.fixtures import CHECKOUT, Outcome
from tests.lab.lan import end

_INIT = """\
#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 PYTHONPATH={checkout}
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /tmp
mkdir -p /run/kernel/lib; ln -s /usr/lib/uml/modules /run/kernel/lib/modules
mkdir /run/out; mount -t hostfs -o {directory}/out none /run/out
mkdir /tmp/bytecode; mount -t hostfs -o {bytecode} none /tmp/bytecode; export PYTHONPYCACHEPREFIX=/tmp/bytecode
for module in {modules}; do modprobe -d /run/kernel $module || echo "no module $module" >>/run/out/stderr; done
ip link set lo up
cd {checkout}
{command} </dev/null >>/run/out/stdout 2>>/run/out/stderr
echo $? >/run/out/status
echo o >/proc/sysrq-trigger
sleep 5
"""


def in_uml(directory: Path, argv: Sequence[str], *, modules: Sequence[str], timeout: float = 100.0) -> Outcome:
    """What ARGV says on that kernel with MODULES. DIRECTORY takes the files of the run; ARGV may write to /run and /tmp.

    The status is 125 where the kernel ends before ARGV, and 124 after TIMEOUT seconds.
    """
    out = directory / "out"
    out.mkdir(parents=True)
    init = directory / "init"
    init.write_text(_INIT.format(
        checkout=shlex.quote(str(CHECKOUT)), directory=directory, modules=" ".join(modules), command=shlex.join(argv),
        bytecode=shlex.quote(os.environ["PYTHONPYCACHEPREFIX"]),
    ))  # fmt: skip
    init.chmod(0o755)
    kernel = [
        "linux.uml", "mem=384M", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}", f"uml_dir={directory}/", "umid=uml",
        "con=null", "con0=null,fd:1", "ssl=null", "quiet", "loglevel=3",
    ]  # fmt: skip
    console = directory / "console"
    with open(console, "wb") as stream:
        process = subprocess.Popen(
            ["taskset", "-c", str(min(os.sched_getaffinity(0))), *kernel], stdin=subprocess.DEVNULL, stdout=stream,
            stderr=stream, start_new_session=True, env={**os.environ, "TMPDIR": "/dev/shm"},
        )  # fmt: skip
    status = "125"
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        status = "124"
    finally:
        end(process)
    said = {name: (out / name).read_text() if (out / name).exists() else "" for name in ("stdout", "stderr", "status")}
    said["stderr"] += "" if said["status"] else console.read_text(errors="replace")[-2000:]
    return Outcome(said["stdout"], said["stderr"], int(said["status"] or status))


def python_in_uml(directory: Path, code: str, *words: str, modules: Sequence[str], timeout: float = 100.0) -> str:
    """What the Python program CODE prints there; xmcompat and tests can be imported."""
    stdout, stderr, status = in_uml(directory, [sys.executable, "-c", code, *words], modules=modules, timeout=timeout)
    assert status == 0, f"Python in UML gave {status}: {stdout}{stderr}"
    return stdout
