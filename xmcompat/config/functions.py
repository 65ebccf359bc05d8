"""Functions of a configuration script, and the ways out of a statement. Pure."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field


class Break(Exception):
    pass


class Continue(Exception):
    pass


class Return(Exception):
    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value


#: What names stand for.
Names = dict[str, object]


class ScriptFunction:
    """A ``def`` or ``lambda`` of the script; ``around`` are the names of the functions that it stands in."""

    def __init__(
        self, name: str, arguments: ast.arguments, body: list[ast.stmt], defaults: list[object], around: tuple[Names, ...]
    ) -> None:
        self.name = name
        self.around = around
        self.names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
        self.defaults = dict(zip(reversed(self.names), reversed(defaults), strict=False))
        self.body = body


@dataclass(slots=True)
class Frame:
    """A call of a function that goes on: its names, those around it, how deeply its caller was nested.

    ``declared`` are the names of its ``global`` statements.
    """

    names: Names
    around: tuple[Names, ...]
    depth: int
    declared: set[str] = field(default_factory=set)
