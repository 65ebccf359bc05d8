"""Running the programs as a user without any rights: from a copy of the checkout that everybody may read, since the
checkout itself may lie in a home that is closed to others."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.lab.fixtures import CHECKOUT, Outcome

NOBODY = 65534

#: The system's Python, which everybody may run; the packages of libvirt, lxml and click are the system's as well.
PYTHON = "/usr/bin/python3"


class Nobody:
    """``directory`` is everybody's to read and nobody's (the user's) own to write in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._code = directory / "code"

    def python(
        self, words: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Outcome:
        """Run Python with these WORDS; xmcompat can be imported."""
        done = subprocess.run(
            [PYTHON, *words], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True,
            cwd=cwd or self.directory, timeout=60, check=False,
            env={"PYTHONPATH": str(self._code), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8",
                 "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
        )  # fmt: skip
        return Outcome(done.stdout, done.stderr, done.returncode)


@pytest.fixture(scope="session")
def nobody() -> Iterator[Nobody]:
    """A user without rights, with a readable copy of the code."""
    directory = Path(tempfile.mkdtemp(prefix="xmcompat-nobody-", dir="/tmp"))
    try:
        shutil.copytree(
            CHECKOUT / "xmcompat", directory / "code" / "xmcompat", ignore=shutil.ignore_patterns("__pycache__")
        )
        subprocess.run(["chmod", "-R", "a+rX", str(directory)], check=True)
        shutil.chown(directory, NOBODY, NOBODY)
        directory.chmod(0o755)
        yield Nobody(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
