#!/usr/bin/env python3
"""Look for bytes that a reader of configurations does not bear: a coverage-guided search, for a bounded time.

    .venv/bin/python tests/fuzz/fuzz_readers.py [xm|xl|sxp|any]... [--seconds N]

A reader may refuse what it is given, in one line; it may not fail otherwise, nor take longer than 5 s or 1 GiB. What
breaks it is written into ``tests/fuzz/found/``, from where ``test_found.py`` gives it to the reader ever after.
The search begins with the files of ``tests/corpus``. As many readers are searched at once as there are processors. Exit
status 0 where nothing was found, 1 else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
FOUND = Path(__file__).resolve().parent / "found"
CORPUS = CHECKOUT / "tests" / "corpus"
READERS = ("xm", "xl", "sxp", "any")

#: In seconds, for one input; in MiB, for the process.
SLOWEST = 5
LARGEST = 1024
LONGEST_INPUT = 8192


def seeds(reader: str, directory: Path) -> int:
    """Copy what is known into DIRECTORY, which the search then fills; returns how many."""
    folders = READERS[:-1] if reader == "any" else (reader,)
    files = [path for folder in folders for base in (CORPUS, FOUND) for path in sorted((base / folder).glob("*"))
             if path.is_file() and path.suffix in (".cfg", ".xl", ".sxp", "")]  # fmt: skip
    for number, path in enumerate(files):
        shutil.copyfile(path, directory / f"{number:04}")
    return len(files)


def search(reader: str, seconds: int) -> int:
    """Run the search in a process of its own, which dies where it finds something; returns its exit status."""
    FOUND.joinpath(reader).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="xmcompat-fuzz-") as directory:
        begun_with = seeds(reader, Path(directory))
        command = [
            sys.executable, __file__, reader, "--inside", directory, f"-max_total_time={seconds}",
            f"-timeout={SLOWEST}", f"-rss_limit_mb={LARGEST}", f"-max_len={LONGEST_INPUT}", "-seed=1",
            f"-artifact_prefix={FOUND / reader}/", "-print_final_stats=1",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120, check=False)
        kept = len(list(Path(directory).iterdir()))
    stats = dict(line.removeprefix("stat::").split(":", 1) for line in done.stderr.splitlines() if line.startswith("stat::"))
    runs = stats.get("number_of_executed_units", "?").strip()
    print(f"fuzz {reader}: {runs} inputs in {seconds} s, from {begun_with} known to {kept} of interest", flush=True)
    if done.returncode == 0 and not runs.isdecimal():
        print("\n".join(done.stderr.splitlines()[-20:]), file=sys.stderr)
        return 1
    if done.returncode:
        print("\n".join(done.stderr.splitlines()[-60:]), file=sys.stderr)
    return done.returncode


def inside(reader: str, arguments: list[str]) -> None:
    """The process that searches; it does not come back."""
    try:
        import atheris
    except ImportError:
        sys.exit("there is no atheris for this Python: pip install atheris, on x86-64 and Python 3.11 to 3.13")
    with atheris.instrument_imports(include=["xmcompat"]):
        from tests.fuzz.reading import read_all
    atheris.Setup([sys.argv[0], *arguments], lambda data: read_all(reader, data))
    atheris.Fuzz()


def main() -> int:
    sys.path.insert(0, str(CHECKOUT))
    if sys.argv[2:3] == ["--inside"]:
        inside(sys.argv[1], sys.argv[3:])
    parser = argparse.ArgumentParser(description="coverage-guided search for what readers do not bear")
    parser.add_argument("readers", choices=(*READERS, []), nargs="*", metavar="|".join(READERS))
    parser.add_argument("--seconds", type=int, default=20, help="for each reader (default: 20)")
    options = parser.parse_args()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as at_once:
        statuses = list(at_once.map(lambda reader: search(reader, options.seconds), options.readers or READERS))
    return 1 if any(statuses) else 0


if __name__ == "__main__":
    sys.exit(main())
