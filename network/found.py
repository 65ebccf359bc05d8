"""What a mode finds of its own in the kernel."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

W = TypeVar("W", covariant=True)

#: It is whole.
UP = "up"
#: A change has stopped in the middle, or somebody has taken a part of it away.
MAKING = "making"


class Found(NamedTuple, Generic[W]):
    """A network that is ours, as ``network.wanted`` has it. ``state`` is UP or MAKING."""

    wanted: W
    state: str
