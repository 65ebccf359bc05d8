"""Errors that libvirt's binding for Python loses, since freed handles wipe them out, are raised all the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.lab.fixtures import CHECKOUT

pytestmark = pytest.mark.libvirt

#: Makes handles that only garbage collection lets go of, looking for them at each THRESHOLD new objects, and as many errors, in
#: two threads; prints how many of those came without a number. With "kept" after libvirt has been loaded as xm loads it.
LOSING = """
import gc, sys, threading
if sys.argv[2] == "kept":
    from xmcompat.backends import libvirt_kvm
    libvirt = libvirt_kvm._load()
    assert libvirt_kvm._load() is libvirt
else:
    import libvirt
    libvirt.registerErrorHandler(lambda context, error: None, None)
gc.set_threshold(int(sys.argv[1]))
lost, wrong = [], []

def fail(lookup, code):
    connection = libvirt.open("test:///default")
    for _ in range(1000):
        kept = {"handle": connection.lookupByID(1)}
        kept["itself"] = kept
        try:
            getattr(connection, lookup)("nosuch")
        except libvirt.libvirtError as error:
            lost.append(error.get_error_code() is None)
            wrong.append(error.get_error_code() not in (None, code))

threads = [threading.Thread(target=fail, args=one) for one in (("lookupByName", 42), ("networkLookupByName", 43))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(lost), sum(lost), sum(wrong))
"""


def lost(threshold: int, how: str) -> tuple[int, int]:
    """How many of 2000 errors were lost, and how many were those of another call."""
    argv = [sys.executable, "-c", LOSING, str(threshold), how]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=CHECKOUT, timeout=60)
    assert done.stderr == ""
    number, gone, wrong = map(int, done.stdout.split())
    assert number == 2000
    return gone, wrong


def test_the_binding_loses_some_where_garbage_is_looked_for_often() -> None:
    assert any(lost(threshold, "plain")[0] for threshold in range(1, 9))


@pytest.mark.parametrize("threshold", range(1, 9))
def test_as_xm_loads_it_none_is_lost_and_none_is_told_in_the_place_of_another(threshold: int) -> None:
    assert lost(threshold, "kept") == (0, 0)


#: An error that was not lost is not given to a later call that says nothing of its own.
LATER = """
from xmcompat.backends import libvirt_kvm
libvirt = libvirt_kvm._load()
try:
    libvirt.open("test:///default").lookupByName("nosuch")
except libvirt.libvirtError as error:
    print(error.get_error_code(), error)
libvirt.libvirtmod.virResetLastError()
print(libvirt.libvirtError("virSomething() failed").get_error_code())
"""


def test_an_error_that_was_raised_is_not_raised_again() -> None:
    done = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True, check=True, cwd=CHECKOUT, timeout=60)
    assert done.stdout.splitlines() == ["42 Domain not found", "None"]
