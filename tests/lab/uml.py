"""Programs on another kernel, for what this machine's lacks: User Mode Linux, whose root is this machine's, copied on write.

Debian's ``user-mode-linux``, an ordinary program; it is there in a second, with modules of its own and without networks.
No udev runs in it: the kernel makes the device nodes, and device-mapper's programs their own (DM_DISABLE_UDEV).
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

#: Stage 1 lays a RAM disk over the root, stage 2 runs the program in it. The move makes it the real root: in a mere
#: chroot nobody may make a user namespace. LVM looks at each node of /dev again and again, of which 560 are terminals.
_INIT = """\
#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 PYTHONPATH={checkout}
export DM_DISABLE_UDEV=1 PYTHONPYCACHEPREFIX=/tmp/bytecode
mount -t tmpfs -o size=90% tmpfs /run
mkdir -p /run/upper /run/work /run/root /run/kernel/lib
ln -s /usr/lib/uml/modules /run/kernel/lib/modules
modprobe -d /run/kernel overlay
mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work overlay /run/root
cd /run/root
mount -t proc proc proc; mount -t sysfs sys sys; mount -t devtmpfs dev dev; mount -t tmpfs tmpfs run; mount -t tmpfs tmpfs tmp
rm dev/pty?? dev/tty??*
mkdir -p dev/pts dev/shm lib/modules run/lock run/out
mount -t devpts -o mode=620,gid=5 pts dev/pts; mount -t tmpfs tmpfs dev/shm; ln -s /proc/self/fd dev/fd
mount --bind usr/lib/uml/modules lib/modules
mount -t hostfs -o {directory}/out none run/out
mkdir tmp/bytecode; mount -t hostfs -o {bytecode} none tmp/bytecode
cp {directory}/job run/job
mount --move . /
exec chroot . /bin/sh /run/job
"""
_JOB = """\
for module in {modules}; do modprobe $module || echo "no module $module" >>/run/out/stderr; done
ip link set lo up; hostname uml
for folder in {writable}; do mkdir -p "$folder"; mount -t hostfs -o "$folder" none "$folder"; done
cd {checkout}
{command} </dev/null >>/run/out/stdout 2>>/run/out/stderr
echo $? >/run/out/status
sync
echo o >/proc/sysrq-trigger
sleep 5
"""


def in_uml(
    directory: Path,
    argv: Sequence[str],
    *,
    modules: Sequence[str],
    timeout: float = 100.0,
    disks: Sequence[Path] = (),
    writable: Sequence[Path] = (),
    memory: str = "384M",
) -> Outcome:
    """What ARGV says on that kernel with MODULES. DIRECTORY takes the files of the run, which is removed by nobody here.

    ARGV may write everywhere; what it writes goes with the kernel, but for DISKS (raw files, /dev/ubda, /dev/ubdb ... there)
    and the folders WRITABLE. MEMORY holds what it writes, too.
    The status is 125 where the kernel ends before ARGV, and 124 after TIMEOUT seconds.
    """
    out = directory / "out"
    out.mkdir(parents=True)
    init = directory / "init"
    places = {
        "checkout": shlex.quote(str(CHECKOUT)), "directory": directory,
        "bytecode": shlex.quote(os.environ["PYTHONPYCACHEPREFIX"]),
    }  # fmt: skip
    init.write_text(_INIT.format(**places))
    init.chmod(0o755)
    (directory / "job").write_text(_JOB.format(
        **places, modules=" ".join(modules), command=shlex.join(argv), writable=shlex.join(map(str, writable))
    ))  # fmt: skip
    ubd = [f"ubd{index}={disk}" for index, disk in enumerate(disks)]
    kernel = [
        "linux.uml", f"mem={memory}", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}", f"uml_dir={directory}/",
        "umid=uml", "con=null", "con0=null,fd:1", "ssl=null", "quiet", "loglevel=3", *ubd,
    ]  # fmt: skip
    console = directory / "console"
    with open(console, "wb") as stream:
        process = subprocess.Popen(
            ["taskset", "-c", _processor(), *kernel], stdin=subprocess.DEVNULL, stdout=stream,
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


def _processor() -> str:
    """One: the kernel hands over at every system call, on two processors three times slower. Of the processes that share
    the tests (``-n``), each has its own where there are enough."""
    processors = sorted(os.sched_getaffinity(0))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    number = int(worker) if worker.isdecimal() else os.getpid()
    return str(processors[number % len(processors)])


def python_in_uml(
    directory: Path,
    code: str,
    *words: str,
    modules: Sequence[str],
    timeout: float = 100.0,
    disks: Sequence[Path] = (),
    writable: Sequence[Path] = (),
    memory: str = "384M",
) -> str:
    """What the Python program CODE prints there; xmcompat and tests can be imported. The rest is as for ``in_uml``."""
    stdout, stderr, status = in_uml(
        directory, [sys.executable, "-c", code, *words], modules=modules, timeout=timeout, disks=disks, writable=writable,
        memory=memory,
    )  # fmt: skip
    assert status == 0, f"Python in UML gave {status}: {stdout}{stderr}"
    return stdout
