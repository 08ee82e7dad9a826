"""The values of the control path: frozen, named, told apart by their type.

What attrs makes of a class costs 0.6 ms at import, since it writes and compiles code for each; a
node loads dozens of such classes before it does anything. These share the code below, at 0.01 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, ClassVar, NoReturn, Self, dataclass_transform


@dataclass_transform(frozen_default=True)
class _ValueType(type):
    """Makes slots of a class's annotations."""

    _setters: tuple[Callable[[object, object], None], ...]

    def __new__(
        cls,
        name: str,
        bases: tuple[type, ...],
        body: dict[str, Any],
        *,
        secret: tuple[str, ...] = (),
    ) -> _ValueType:
        fields = tuple(body.get("__annotations__", ())) if bases else ()
        defaults = {field: body.pop(field) for field in fields if field in body}
        body |= {"__slots__": fields, "__match_args__": fields, "_defaults": defaults}
        body["_compared"] = attrgetter("__class__", *fields)
        body["_shown"] = tuple(field for field in fields if field not in secret)
        return super().__new__(cls, name, bases, body)

    def __init__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any], **_: object):
        super().__init__(name, bases, body)
        # As `__setattr__` refuses; each slot's own way in is also the quickest there is.
        cls._setters = tuple(vars(cls)[field].__set__ for field in body["__slots__"])


class Value(metaclass=_ValueType):
    """Base of value classes: ``class LinkLost(Value)``, then fields as of a data class.

    Two values are equal if they are of one class and their fields are equal. Fields cannot be set
    anew; `replaced` makes another. A class takes no fields from another value class. Of
    ``class KeyPair(Value, secret=("secret",))``, that field stays out of ``repr`` and so out of
    logs. What changes or checks what it is given is an attrs class instead.
    """

    __match_args__: ClassVar[tuple[str, ...]]
    _defaults: ClassVar[dict[str, Any]]
    _compared: ClassVar[attrgetter[Any]]
    _shown: ClassVar[tuple[str, ...]]
    _setters: ClassVar[tuple[Callable[[object, object], None], ...]]

    def __init__(self, *given: Any, **named: Any) -> None:
        fields = self.__match_args__
        if named or len(given) != len(fields):
            given = self._completed(given, named)
        for set_field, value in zip(self._setters, given, strict=True):
            set_field(self, value)

    def _completed(self, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        fields, what = self.__match_args__, type(self).__name__
        if len(given) > len(fields):
            raise TypeError(f"{what}() takes {len(fields)} values, {len(given)} were given")
        if twice := named.keys() & set(fields[: len(given)]):
            raise TypeError(f"{what}() got {min(twice)!r} twice")
        if unknown := named.keys() - set(fields):
            raise TypeError(f"{what}() has no field {min(unknown)!r}")
        rest = self._defaults | named if named else self._defaults
        try:
            return (*given, *(rest[field] for field in fields[len(given) :]))
        except KeyError as error:
            raise TypeError(f"{what}() lacks {error.args[0]!r}") from None

    def replaced(self, **changes: Any) -> Self:
        """Another value, equal but for ``changes``. Raises TypeError for a field it lacks."""
        fields = dict(zip(self.__match_args__, self._values(), strict=True))
        return type(self)(**(fields | changes))

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field) for field in self.__match_args__)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bool(self._compared(self) == self._compared(other))

    def __hash__(self) -> int:
        return hash(self._compared(self))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shown)
        return f"{type(self).__qualname__}({fields})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot delete {name!r}")

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), self._values()
