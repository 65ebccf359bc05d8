"""Signals that are raised: none is lost."""

from __future__ import annotations

import subprocess
import sys

from tests.lab.fixtures import CHECKOUT

#: A signal comes when lxml begins to be loaded; its handler notes whether it has been.
CODE = """
import os, signal, sys
from xmcompat.xm import signals

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "lxml.etree":
            os.kill(os.getpid(), signal.SIGTERM)

loaded = []
signal.signal(signal.SIGTERM, lambda *_: loaded.append(hasattr(sys.modules.get("lxml.etree"), "fromstring")))
sys.meta_path.insert(0, Finder())
with signals.raised():
    print(loaded)
"""


def test_one_that_comes_while_lxml_is_loaded_waits_since_its_code_in_c_would_throw_away_what_is_raised() -> None:
    said = subprocess.run([sys.executable, "-c", CODE], cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=60)
    assert (said.stdout, said.stderr) == ("[True]\n", "")
