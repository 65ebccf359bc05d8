"""What every test may use."""

from __future__ import annotations

import signal

import pytest

pytest_plugins = ["tests.lab.fixtures", "tests.lab.networks", "tests.lab.nobody"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the answers anew; read the diff before a commit")


def pytest_configure() -> None:
    """Have the signals as at a terminal, also under nohup and in the background of a shell: programs inherit what is ignored."""
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
