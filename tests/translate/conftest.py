"""What the tests of translation share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def boot_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels and ramdisks of the golden cases are there, as far as the reader of configurations looks."""
    exists = os.path.exists
    monkeypatch.setattr("os.path.exists", lambda path: str(path).startswith(("/boot/", "/usr/lib/xen/")) or exists(path))
