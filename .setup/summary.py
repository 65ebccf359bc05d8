"""The end of ./check: which tests could not run and why, and one line that counts them.

    summary.py RESULTS.xml

Exit status 1 where a test failed or none ran, and where CI=true and one was skipped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree import ElementTree


class Summary(NamedTuple):
    passed: int
    failed: int
    #: Test and reason.
    skipped: tuple[tuple[str, str], ...]

    def text(self) -> str:
        lines = ["[check] what could not run, and why:"] if self.skipped else ["[check] no test was left out"]
        lines += [f"  {name}: {reason}" for name, reason in self.skipped]
        counts = f"{self.passed} passed, {self.failed} failed"
        return "\n".join([*lines, "", f"{counts}, {len(self.skipped)} skipped" if self.skipped else counts])

    def succeeded(self, environ: Mapping[str, str]) -> bool:
        allowed = not self.skipped or environ.get("CI") != "true"
        return self.failed == 0 and self.passed > 0 and allowed


def read(text: str) -> Summary:
    """What a JUnit file of pytest says."""
    passed, failed, skipped = 0, 0, []
    for case in ElementTree.fromstring(text).iter("testcase"):
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif skip is not None:
            skipped.append((f"{case.get('classname')}::{case.get('name')}", skip.get("message", "")))
        else:
            passed += 1
    return Summary(passed, failed, tuple(skipped))


def main() -> int:
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            summary = read(file.read())
    except (OSError, ElementTree.ParseError) as error:
        sys.stderr.write(f"check: the tests have left no results: {error}\n")
        return 1
    sys.stdout.write(summary.text() + "\n")
    return 0 if summary.succeeded(os.environ) else 1


if __name__ == "__main__":
    sys.exit(main())
