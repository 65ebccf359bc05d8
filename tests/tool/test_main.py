"""The xmcompat program as a whole: statuses, streams, and never a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from xmcompat import __version__
from xmcompat.errors import UsageError, XmError
from xmcompat.tool import keys
from xmcompat.tool.main import main, program

PROGRAM = [sys.executable, "-m", "xmcompat.tool"]


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"xmcompat, version {__version__}\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in ("host", "keys", "explain"):
        assert f"\n  {name} " in out


@pytest.mark.parametrize("words", [["nonsense"], ["keys", "--nonsense"], ["explain"], ["host", "--uri"]])
def test_what_is_not_understood_exits_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize(
    ("error", "line", "status"),
    [
        (XmError("bad", hint="do this"), "Error: bad; do this\n", 1),
        (UsageError("bad"), "Error: bad\n", 2),
        (XmError("a\x1b[2Jb\nc"), "Error: a\\x1b[2Jb\nc\n", 1),
        (FileNotFoundError(2, "No such file or directory", "/x"), "Error: /x: No such file or directory\n", 1),
        (KeyboardInterrupt(), "", 130),
        (ZeroDivisionError("oops"),
         "Error: a mistake in xmcompat itself: ZeroDivisionError: oops; XMCOMPAT_DEBUG=1 shows where\n", 1),
    ],
)
def test_every_error_is_one_line(
    error: BaseException, line: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.delenv("XMCOMPAT_DEBUG", raising=False)
    monkeypatch.setattr(keys, "named", fail)
    assert main(["keys"]) == status
    out, err = capsys.readouterr()
    assert (out, err.lstrip("\n") if status == 130 else err) == ("", line)


def test_a_mistake_shows_its_place_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XMCOMPAT_DEBUG", "1")
    monkeypatch.setattr(keys, "named", lambda *_: 1 // 0)
    assert main(["keys"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error() -> None:
    program = subprocess.Popen([*PROGRAM, "keys", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert program.stdout is not None
    assert program.stdout.readline() == b"[\n"
    program.stdout.close()
    assert program.stderr is not None
    assert program.stderr.read() == b""
    program.stderr.close()
    assert program.wait() in (0, 1)


def test_keys_asks_nothing_of_libvirt() -> None:
    code = (
        "import sys; from xmcompat.tool.main import main; main(['keys', 'memory']); "
        "print(*sorted({'libvirt', 'lxml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == [""]


def test_a_command_is_loaded_without_the_others() -> None:
    code = (
        "import sys; from xmcompat.tool.main import main; main(['image', 'convert', '--help']); "
        "print(*sorted(name for name in sys.modules if name.startswith('xmcompat.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stderr.split())
    assert "xmcompat.tool.image" in loaded
    others = {"xmcompat.guest", "xmcompat.storage", *(f"xmcompat.tool.{name}" for name in program.commands)}
    assert not loaded & (others - {"xmcompat.tool.image"})


def test_a_daemon_that_is_not_there_is_one_line_in_the_report() -> None:
    uri = "qemu+unix:///system?socket=/nonexistent/libvirt-sock"
    done = subprocess.run([*PROGRAM, "host", "--uri", uri], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"hypervisor   {uri}"
    assert lines[1].strip()
    assert lines[2].startswith("accelerator  ")
