"""Scripts of the user's own: which are run, what they are told and may ask, and that none holds anything up."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.fixtures import CHECKOUT
from xmcompat import script_store
from xmcompat.network.programs import NetworkError
from xmcompat.network.script import Call, ScriptFailed, find, offline, online
from xmcompat.script_store import below, opened

VALUES = {"mac": "00:16:3e:00:00:01", "ip": "192.0.2.1 192.0.2.2", "domain": "web's \"own\" $1", "frontend-id": "3"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "scripts"
    folder.mkdir(mode=0o755)
    return folder


def write(folder: Path, body: str, name: str = "vif-mine") -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def call(file: str, *words: str) -> Call:
    return Call(file, words, 3, 0, "vnet0", VALUES)


def up(file: str, tmp_path: Path, *words: str, deadline: float = 10.0) -> None:
    online(call(file, *words), deadline=deadline, log=str(tmp_path / "hotplug.log"))


def test_it_is_found_by_name_and_by_path(folder: Path) -> None:
    file = write(folder, "")
    assert find("vif-mine", str(folder)) == find(file, str(folder)) == file
    (folder / "sub").mkdir()
    inner = write(folder / "sub", "", "vif-x")
    assert find("sub/vif-x", str(folder)) == inner


@pytest.mark.parametrize("name", ["/bin/true", "../vif-out", "sub/../../vif-out", "vif-link", "", ".", "/", "sub/link"])
def test_nothing_outside_the_folder_is_run(folder: Path, tmp_path: Path, name: str) -> None:
    outside = write(tmp_path, "", "vif-out")
    (folder / "vif-link").symlink_to(outside)
    (folder / "sub").symlink_to(tmp_path)
    write(tmp_path, "", "link")
    with pytest.raises(ScriptFailed, match=r"^The script .* is not run: only those in "):
        find(name, str(folder))


def test_nothing_is_run_that_others_could_have_written(folder: Path) -> None:
    file = write(folder, "")
    os.chmod(file, 0o775)
    with pytest.raises(ScriptFailed, match="is not trusted: others than root may write it"):
        find("vif-mine", str(folder))
    os.chmod(file, 0o755)
    os.chown(file, 65534, -1)
    with pytest.raises(ScriptFailed, match="is not trusted"):
        find("vif-mine", str(folder))
    os.chown(file, 0, -1)
    folder.chmod(0o777)
    with pytest.raises(ScriptFailed, match=f"^{folder} is not trusted"):
        find("vif-mine", str(folder))


def test_what_is_no_program_is_not_run(folder: Path) -> None:
    os.chmod(write(folder, ""), 0o644)
    with pytest.raises(ScriptFailed, match="it is no program"):
        find("vif-mine", str(folder))
    with pytest.raises(ScriptFailed, match="No such file"):
        find("vif-none", str(folder))


def test_it_is_called_with_its_words_and_xens_environment(folder: Path, tmp_path: Path) -> None:
    file = write(folder, f'echo "$# $*" >{tmp_path}/told; env | sort >>{tmp_path}/told; pwd >>{tmp_path}/told')
    up(file, tmp_path, "zone=dmz", "$(touch x)", "; rm")
    lines = (tmp_path / "told").read_text().splitlines()
    assert lines[0] == "5 zone=dmz $(touch x) ; rm online type_if=vif"
    assert lines[-1] == "/"
    told = dict(line.split("=", 1) for line in lines[1:-1])
    assert told["XENBUS_PATH"] == "backend/vif/3/0" and told["vif"] == "vnet0" and told["script"] == file
    assert set(told) <= {"PATH", "LC_ALL", "LANG", "HOME", "TERM", "XENBUS_TYPE", "XENBUS_BASE_PATH", "XENBUS_PATH", "vif",
                         "script", "XENSTORE_VALUES", "PWD", "_", "OLDPWD", "SHLVL"}  # fmt: skip
    log = (tmp_path / "hotplug.log").read_text()
    assert f"backend/vif/3/0 (vnet0): {file} zone=dmz $(touch x) ; rm online type_if=vif: status 0" in log
    assert (tmp_path / "hotplug.log").stat().st_mode & 0o777 == 0o600


def test_it_can_ask_and_tell_xenstore(folder: Path, tmp_path: Path) -> None:
    file = write(folder, f"""exec >{tmp_path}/said 2>&1
xenstore-read "$XENBUS_PATH/mac" "$XENBUS_PATH/ip"
xenstore-read /local/domain/0/$XENBUS_PATH/domain
xenstore-read "$XENBUS_PATH/none" || echo "status $?"
xenstore-exists "$XENBUS_PATH/ip" && xenstore-exists "$XENBUS_PATH/none" || echo "not there"
xenstore-write "$XENBUS_PATH/a/b" "one  two" "$XENBUS_PATH/c" ""
xenstore-read -p "$XENBUS_PATH/a/b"
xenstore-list "$XENBUS_PATH"
xenstore-rm "$XENBUS_PATH/a"; xenstore-exists "$XENBUS_PATH/a/b" || echo gone
xenstore-read ../../../etc/passwd; xenstore-write "$XENBUS_PATH/../../../../x" y; xenstore-rm /
xenstore-read
exit 0""")
    up(file, tmp_path)
    said = (tmp_path / "said").read_text().splitlines()
    assert said[:8] == [
        "00:16:3e:00:00:01", "192.0.2.1 192.0.2.2", "web's \"own\" $1",
        "xenstore-read: couldn't read path backend/vif/3/0/none", "status 1", "not there", "backend/vif/3/0/a/b: one  two", "a",
    ]  # fmt: skip
    assert said[8:] == [
        "c", "domain", "frontend-id", "ip", "mac", "gone", "xenstore-read: no path: ../../../etc/passwd",
        "xenstore-write: no path: backend/vif/3/0/../../../../x", "xenstore-rm: couldn't remove path /",
        "xenstore-read: no path is given",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("exit 7", "Backend device not found.; {file} ended with status 7"),
        ("echo first; echo 'no zone here' >&2; exit 1", "no zone here; {file} ended with status 1"),
        ('xenstore-write "$XENBUS_PATH/hotplug-error" "in two\nlines" "$XENBUS_PATH/hotplug-status" error',
         "in two lines; see {log}"),
        ("kill -9 $$", "Backend device not found.; {file} was ended by signal 9"),
    ],
)  # fmt: skip
def test_failures_are_one_line(folder: Path, tmp_path: Path, body: str, line: str) -> None:
    file = write(folder, body)
    with pytest.raises(ScriptFailed) as caught:
        up(file, tmp_path)
    assert caught.value.line() == line.format(file=file, log=tmp_path / "hotplug.log")


def test_one_that_hangs_is_killed_with_all_that_it_started(folder: Path, tmp_path: Path) -> None:
    file = write(folder, f"sleep 300 & echo $! >{tmp_path}/pid; sleep 301")
    begun = time.monotonic()
    with pytest.raises(ScriptFailed, match=r"^Hotplug scripts not working\.$"):
        up(file, tmp_path, deadline=0.5)
    assert time.monotonic() - begun < 5
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_that_leaves_something_running_holds_nothing_up(folder: Path, tmp_path: Path) -> None:
    file = write(folder, f"sleep 20 & echo $! >{tmp_path}/pid")
    begun = time.monotonic()
    up(file, tmp_path)
    assert time.monotonic() - begun < 5
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_offline_fails_in_the_log_alone(folder: Path, tmp_path: Path) -> None:
    file = write(folder, 'echo "$@"; exit 3')
    offline(call(file), log=str(tmp_path / "hotplug.log"))
    lines = (tmp_path / "hotplug.log").read_text().splitlines()
    assert lines[0].endswith("offline type_if=vif: status 3") and lines[1] == "    offline type_if=vif"


def test_nothing_is_left_of_the_store(folder: Path, tmp_path: Path) -> None:
    with opened(below("backend/vif/3/0", VALUES)) as store:
        place = Path(store.directory)
        assert place.stat().st_mode & 0o777 == 0o700
        tool = subprocess.run([f"{store.programs}/xenstore-list", "backend/vif"], capture_output=True, text=True, check=True,
                              env={"XENSTORE_VALUES": store.values, "PATH": "/usr/bin:/bin"})  # fmt: skip
        assert tool.stdout == "3\n"
    assert not place.exists()


def test_a_script_that_the_kernel_cannot_start_is_told(folder: Path, tmp_path: Path) -> None:
    path = folder / "vif-bad"
    path.write_text("#!/no/such/program\n")
    path.chmod(0o755)
    with pytest.raises(NetworkError, match="cannot be run: No such file or directory"):
        up(str(path), tmp_path)


#: Opens a store, runs what it is told in it, and waits.
HOLDER = """
import sys, time
from xmcompat import hotplug_script, script_store
script_store._PLACES = (sys.argv[1],)
with script_store.opened({}) as store:
    print(store.directory, flush=True)
    if sys.argv[2:]:
        call = hotplug_script.Call(sys.argv[2], (), "backend/vif/3/0", "vnet0", {})
        hotplug_script.run(call, store, log=f"{sys.argv[1]}/log")
    time.sleep(60)
"""


@contextmanager
def holder(place: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process with a store in PLACE, and its directory."""
    argv = [sys.executable, "-c", HOLDER, str(place), *words]
    with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where stores are made."""
    monkeypatch.setattr(script_store, "_PLACES", (str(tmp_path),))
    return tmp_path


def test_what_a_killed_caller_has_left_goes_with_the_next_one_and_what_is_in_use_stays(place: Path) -> None:
    with holder(place) as (killed, left), holder(place) as (_, used):
        killed.kill()
        killed.wait()
        other = place / "xmcompat-other-x"
        other.mkdir()
        assert (left / "bin").is_dir()
        with opened({}) as store:
            assert sorted(place.glob("xmcompat-*")) == sorted([used, other, Path(store.directory)])
            assert (used / "bin/xenstore-read").exists()
        with opened({}), opened({}) as inner, opened({}):  # several at once in one process
            assert os.path.isdir(inner.programs)
    assert sorted(place.glob("xmcompat-*")) == sorted([used, other])


def test_what_a_script_uses_that_outlives_its_caller_stays_until_its_end(place: Path, folder: Path) -> None:
    go = place / "go"
    file = write(folder, f"echo $$ >{place}/pid; while [ ! -e {go} ]; do sleep 0.05; done; xenstore-write a/b done")
    with holder(place, file) as (killed, left):
        deadline = time.monotonic() + 20
        while not (place / "pid").exists() or not (place / "pid").read_text().strip():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        killed.kill()
        killed.wait()
        with opened({}):
            assert (left / "bin/xenstore-write").exists()
        go.touch()
        value = left / "store/a/b/.value"
        while not value.exists() or value.read_text() != "done":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        while left.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
            with opened({}):
                pass


def test_a_directory_that_another_has_swept_before_it_was_locked_is_made_anew(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def make(prefix: str, dir: str) -> str:
        made.append(mkdtemp(prefix=prefix, dir=dir))
        if len(made) == 1:
            script_store._sweep(dir, prefix)
        return made[-1]

    mkdtemp = tempfile.mkdtemp
    monkeypatch.setattr(tempfile, "mkdtemp", make)
    with opened({}) as store:
        assert [os.path.isdir(path) for path in made] == [False, True]
        assert store.directory == made[1]
