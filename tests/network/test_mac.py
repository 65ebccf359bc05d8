from __future__ import annotations

import re

from xmcompat.network import mac


def test_generated_macs_are_in_xens_range_and_differ() -> None:
    drawn = {mac.generate() for _ in range(200)}
    assert all(re.fullmatch(r"00:16:3e:[0-7][0-9a-f]:[0-9a-f]{2}:[0-9a-f]{2}", address) for address in drawn)
    assert len(drawn) > 190
