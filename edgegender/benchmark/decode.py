"""From JSON to frozen dataclasses, by their annotations."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


_Decoder = Callable[[object, str], object]


def _decode_plain(kind: type, value: object, where: str) -> object:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float and is_number:
        return float(str(value))
    # a bool is an int to Python, not to a reader of the table
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"{where}: {kind.__name__}, got {type(value).__name__}")


def _plain(kind: type) -> _Decoder:
    return lambda value, where: value if type(value) is kind else _decode_plain(kind, value, where)


def _sequence(item: Any) -> _Decoder:  # noqa: ANN401 - an annotation
    decode_item = _decoder(item)

    def decode_sequence(value: object, where: str) -> tuple[object, ...]:
        if not isinstance(value, list):
            raise ValueError(f"{where}: a list, got {type(value).__name__}")  # noqa: TRY004 - one error for a bad document
        if set(map(type, value)) == {item}:  # raw latencies: hundreds of thousands
            return tuple(value)
        return tuple(decode_item(entry, where) for entry in value)

    return decode_sequence


def _mapping(item: Any) -> _Decoder:  # noqa: ANN401 - an annotation
    decode_item = _decoder(item)

    def decode_mapping(value: object, where: str) -> dict[str, object]:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: an object, got {type(value).__name__}")  # noqa: TRY004 - as above
        return {str(key): decode_item(entry, f"{where}.{key}") for key, entry in value.items()}

    return decode_mapping


def _record(kind: Any) -> _Decoder:  # noqa: ANN401 - a dataclass
    hints = get_type_hints(kind)
    decoders = {field.name: _decoder(hints[field.name]) for field in fields(kind)}

    def decode_record(value: object, where: str) -> object:
        if not isinstance(value, dict):
            raise ValueError(f"{where or 'document'}: an object, got {type(value).__name__}")  # noqa: TRY004 - as above
        named = {}
        for name, decode_field in decoders.items():
            if name not in value:
                raise ValueError(f"{where or 'document'}: {name} is missing")
            named[name] = decode_field(value[name], f"{where}.{name}" if where else name)
        return kind(**named)

    return decode_record


@cache
def _decoder(hint: Any) -> _Decoder:  # noqa: ANN401 - an annotation
    """Returns what decodes values of an annotation. Looking at annotations is slow, so each is looked at once."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        decode_some = _decoder(next(kind for kind in arguments if kind is not type(None)))
        return lambda value, where: None if value is None else decode_some(value, where)
    if origin is tuple:
        return _sequence(arguments[0])
    if origin is Mapping:
        return _mapping(arguments[1])
    return _record(hint) if is_dataclass(hint) else _plain(hint)


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
    record = _decoder(kind)(value, where)  # type: ignore[arg-type] # classes are hashable
    if not isinstance(record, kind):  # pragma: no cover - the callers give dataclasses only
        raise TypeError(kind.__name__)
    return record
