"""From JSON to frozen dataclasses, by their annotations."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


@cache
def _hints(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    return get_type_hints(kind)


def _plain(kind: type, value: object, where: str) -> object:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float and is_number:
        return float(str(value))
    # a bool is an int to Python, not to a reader of the table
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"{where}: {kind.__name__}, got {type(value).__name__}")


def _sequence(item: Any, value: object, where: str) -> tuple[object, ...]:  # noqa: ANN401 - an annotation
    if not isinstance(value, list):
        raise ValueError(f"{where}: a list, got {type(value).__name__}")  # noqa: TRY004 - one error for a bad document
    if item is int and all(type(entry) is int for entry in value):  # raw latencies: hundreds of thousands
        return tuple(value)
    return tuple(_any(item, entry, where) for entry in value)


def _any(hint: Any, value: object, where: str) -> object:  # noqa: ANN401 - an annotation
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _any(next(kind for kind in arguments if kind is not type(None)), value, where)
    if origin is tuple:
        return _sequence(arguments[0], value, where)
    if origin is Mapping:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: an object, got {type(value).__name__}")
        return {str(key): _any(arguments[1], entry, f"{where}.{key}") for key, entry in value.items()}
    if is_dataclass(hint) and isinstance(hint, type):
        return decode(hint, value, where)
    return _plain(hint, value, where)


def decode(kind: type[Record], value: object, where: str = "") -> Record:
    """Returns a dataclass from what ``json.loads`` gave for ``dataclasses.asdict`` of it.

    Fields that the dataclass does not know are passed over.

    Args:
        kind: A dataclass of plain types, tuples, mappings, optional values and other dataclasses.
        value: The JSON value.
        where: Its place, for errors.

    Raises:
        ValueError: A field is missing or has another type; or the dataclass itself refuses.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'document'}: an object, got {type(value).__name__}")  # noqa: TRY004 - as above
    hints = _hints(kind)  # type: ignore[arg-type] # classes are hashable
    named = {}
    for field in fields(kind):  # type: ignore[arg-type] # the callers give dataclasses only
        if field.name not in value:
            raise ValueError(f"{where or 'document'}: {field.name} is missing")
        place = f"{where}.{field.name}" if where else field.name
        named[field.name] = _any(hints[field.name], value[field.name], place)
    return kind(**named)
