"""The example of the Python API's document, run as it stands beside the guests of a private libvirtd."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.e2e.conftest import Bench, Writer
from tests.lab.fixtures import CHECKOUT
from tests.test_python_api import example

pytestmark = pytest.mark.libvirt


def run(bench: Bench, script: str) -> subprocess.CompletedProcess[str]:
    variables = {"XMCOMPAT_URI": bench.node.uri, "PYTHONPATH": str(CHECKOUT), "XMCOMPAT_ACCELERATOR": "tcg"}
    argv = bench.node.enter([sys.executable, "-c", script], cwd=bench.directory, env=variables)
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_the_example_creates_lists_and_destroys_a_guest(bench: Bench, pv: Writer) -> None:
    pv(disk=None)
    done = run(bench, example())
    assert (done.stderr, done.returncode) == ("", 0)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["Domain-0", "web1"]
    assert bench.remains() == ([], [])


def test_what_fails_is_an_error_with_a_type_and_the_text_that_xm_shows(bench: Bench) -> None:
    script = """
from xmcompat.errors import DomainNotFound
from xmcompat.toolstack import Toolstack

with Toolstack.open() as xen:
    try:
        xen.destroy("nosuch")
    except DomainNotFound as error:
        print(error.line(), error.exit_code)
"""
    done = run(bench, script)
    assert (done.stdout, done.stderr) == ("Domain 'nosuch' does not exist. 3\n", "")
