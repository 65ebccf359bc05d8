"""Errors that libvirt's binding for Python loses, since freed handles wipe them out, are raised all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.fixtures import CHECKOUT

pytestmark = pytest.mark.libvirt

#: As many errors as ROUNDS, of two kinds in two threads, while Python looks for garbage at each THRESHOLD new objects, finds
#: handles, and has no tuples in stock. Prints how many errors were lost, and how many were told by another's number or words.
LOSING = """
import gc, sys, threading
how, rounds = sys.argv[1], 1000
if how == "kept":
    from xmcompat.backends import libvirt_kvm
    libvirt = libvirt_kvm._load()
    assert libvirt_kvm._load() is libvirt
else:
    import libvirt
    libvirt.registerErrorHandler(lambda context, error: None, None)
lost, wrong = [], []

def fail(lookup, told):
    connection = libvirt.open("test:///default")
    for number in range(rounds):
        gc.collect()
        kept = {"handle": connection.lookupByID(1)}
        kept["itself"] = kept
        del kept
        gc.set_threshold(number % 40 + 1)
        try:
            getattr(connection, lookup)("nosuch")
        except libvirt.libvirtError as error:
            gc.set_threshold(700)
            found = error.get_error_code(), error.get_error_message(), str(error)
            lost.append(not found[0])
            wrong.append(bool(found[0]) and found != told)

no_domain, no_network = "Domain not found", "Network not found: no network with matching name 'nosuch'"
threads = [
    threading.Thread(target=fail, args=("lookupByName", (42, no_domain, no_domain))),
    threading.Thread(target=fail, args=("networkLookupByName", (43, no_network, no_network))),
]
for thread in threads:
    thread.start()
    thread.join() if sys.argv[2] == "apart" else None
for thread in threads:
    thread.join()
print(len(lost), sum(lost), sum(wrong))
"""


def lost(how: str, threads: str) -> tuple[int, int]:
    """How many of 2000 errors were lost, and how many were those of another call."""
    argv = [sys.executable, "-c", LOSING, how, threads]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=CHECKOUT, timeout=60)
    assert done.stderr == ""
    number, gone, wrong = map(int, done.stdout.split())
    assert number == 2000
    return gone, wrong


def test_the_binding_loses_some_where_garbage_is_looked_for_often() -> None:
    assert lost("plain", "apart")[0] > 0


@pytest.mark.parametrize("threads", ["apart", "at once"])
def test_as_xm_loads_it_none_is_lost_and_none_is_told_in_the_place_of_another(threads: str) -> None:
    assert lost("kept", threads) == (0, 0)


#: An error that was not lost is not given to a later call that says nothing of its own.
LATER = """
from xmcompat.backends import libvirt_kvm
libvirt = libvirt_kvm._load()
try:
    libvirt.open("test:///default").lookupByName("nosuch")
except libvirt.libvirtError as error:
    print(error.get_error_code(), error)
libvirt.libvirtmod.virResetLastError()
error = libvirt.libvirtError("virSomething() failed")
print(error.get_error_code(), error)
"""


def test_an_error_that_was_raised_is_not_raised_again() -> None:
    done = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True, check=True, cwd=CHECKOUT, timeout=60)
    assert done.stdout.splitlines() == ["42 Domain not found", "None virSomething() failed"]


#: A libvirtd that hangs up in the middle of a question, and Ctrl-C before it does.
INTERRUPTED = """
import os, signal, socket, sys, threading, time
from xmcompat.backends import libvirt_kvm
from xmcompat.xm import signals
libvirt, place = libvirt_kvm._load(), sys.argv[1]
listener = socket.socket(socket.AF_UNIX)
listener.bind(place)
listener.listen()

def serve():
    asking, _ = listener.accept()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.3)
    asking.close()

threading.Thread(target=serve, daemon=True).start()
try:
    with signals.raised():
        libvirt.open(f"qemu+unix:///system?socket={place}")
except BaseException as error:
    print(repr(error))
"""


def test_ctrl_c_in_the_middle_of_a_call_that_fails_is_ctrl_c(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, str(tmp_path / "socket")], capture_output=True, text=True,
                          check=True, cwd=CHECKOUT, timeout=60)  # fmt: skip
    assert (done.stdout, done.stderr) == ("Ended(2)\n", "")
