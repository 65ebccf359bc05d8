"""NamedTuple and Protocol without loading ``typing``, which takes longer than all that ``xm list`` does of its own.

Type checkers see those of ``typing``. For modules on the path of ``xm list``; others use ``typing`` itself. Such a
module writes ``TYPE_CHECKING = False`` (checkers know the name) and imports beneath it what only annotations need.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
    from typing import Protocol as Protocol
else:
    from _operator import itemgetter

    class Protocol:
        """At run time, a class like any other."""

    class NamedTuple(tuple):
        """A tuple whose items have the names, and defaults, of the class's annotations in their order."""

        __slots__ = ()

        def __init_subclass__(cls) -> None:
            cls._fields = tuple(cls.__annotations__)
            cls._field_defaults = {name: cls.__dict__[name] for name in cls._fields if name in cls.__dict__}
            for index, name in enumerate(cls._fields):
                setattr(cls, name, property(itemgetter(index)))

        def __new__(cls, *values: object, **named: object) -> NamedTuple:
            if len(values) < len(cls._fields) or named:
                values += tuple(cls._value(name, named) for name in cls._fields[len(values) :])
            if named or len(values) != len(cls._fields):
                raise TypeError(f"{cls.__name__} has the items {', '.join(cls._fields)}")
            return tuple.__new__(cls, values)

        @classmethod
        def _value(cls, name: str, named: dict[str, object]) -> object:
            if name in named:
                return named.pop(name)
            if name in cls._field_defaults:
                return cls._field_defaults[name]
            raise TypeError(f"{cls.__name__} needs {name}")

        def _asdict(self) -> dict[str, object]:
            return dict(zip(self._fields, self, strict=True))

        def _replace(self, **changes: object) -> NamedTuple:
            return type(self)(**(self._asdict() | changes))

        def __getnewargs__(self) -> tuple[object, ...]:
            return tuple(self)

        def __repr__(self) -> str:
            items = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
            return f"{type(self).__name__}({items})"
