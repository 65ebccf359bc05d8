"""What verbs say beside xm's own words."""

from __future__ import annotations

import sys
from collections.abc import Iterable


def warn(sentences: Iterable[str]) -> None:
    """A line on stderr for each of the SENTENCES: xm itself was silent."""
    for sentence in sentences:
        sys.stderr.write(f"Warning: {sentence}\n")
