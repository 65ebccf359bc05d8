"""What every test may use."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.lab.fixtures", "tests.lab.networks", "tests.lab.nobody"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the answers anew; read the diff before a commit")
