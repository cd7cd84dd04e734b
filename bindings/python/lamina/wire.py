"""Turns the daemon's JSON into values. The generated api.py is written in these words."""

from __future__ import annotations

import uuid
from typing import Any, Callable, Dict, Optional, Tuple, TypeVar

T = TypeVar("T")
# Takes a JSON value and the name of its place; raises MalformedAnswer.
Decoder = Callable[[Any, str], T]


class MalformedAnswer(ValueError):
    """An answer that does not have the documented form."""


def _wrong(value: Any, place: str, what: str) -> MalformedAnswer:
    return MalformedAnswer(f"{place} is {type(value).__name__}, not {what}")


def text(value: Any, place: str) -> str:
    """A string."""
    if not isinstance(value, str):
        raise _wrong(value, place, "a string")
    return value


def identifier(value: Any, place: str) -> uuid.UUID:
    """A UUID."""
    try:
        return uuid.UUID(text(value, place))
    except ValueError:
        raise MalformedAnswer(f"{place} is '{value}', not a UUID") from None


def integer(value: Any, place: str) -> int:
    """An integer."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(value, place, "an integer")
    return value


def number(value: Any, place: str) -> float:
    """A number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong(value, place, "a number")
    return float(value)


def flag(value: Any, place: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong(value, place, "true or false")
    return value


def mapping(value: Any, place: str) -> Dict[str, Any]:
    """An object, as it is."""
    if not isinstance(value, dict):
        raise _wrong(value, place, "an object")
    return value


def items(decode: Decoder[T]) -> Decoder[Tuple[T, ...]]:
    """A list of what `decode` reads."""
    def decode_items(value: Any, place: str) -> Tuple[T, ...]:
        if not isinstance(value, list):
            raise _wrong(value, place, "a list")
        return tuple(decode(item, f"{place}[{i}]") for i, item in enumerate(value))
    return decode_items


def nullable(decode: Decoder[T]) -> Decoder[Optional[T]]:
    """Null, or what `decode` reads."""
    return lambda value, place: None if value is None else decode(value, place)


class Fields:
    """The fields of an object. Those that this package does not know are ignored."""

    def __init__(self, value: Any, place: str) -> None:
        self._fields = mapping(value, place)
        self._place = place

    def required(self, name: str, decode: Decoder[T]) -> T:
        """A field that must be there."""
        if name not in self._fields:
            raise MalformedAnswer(f"{self._place} has no field '{name}'")
        return decode(self._fields[name], f"{self._place}.{name}")

    def optional(self, name: str, decode: Decoder[T]) -> Optional[T]:
        """A field that may be missing: None."""
        return self.required(name, decode) if name in self._fields else None

    def all(self) -> Dict[str, Any]:
        """All fields, as they are."""
        return dict(self._fields)
