"""Frozen dataclasses as JSON data and back, by their type hints.

For what is stored: texts, numbers, enums, tuples, JSON objects, dataclasses within dataclasses, and
unions of dataclasses that a `type` field tells apart. A field that is missing has its default, so
what an earlier release wrote can be read.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_Read = Callable[[Any], Any]


def to_plain(value: Any) -> Any:
    """`value` as JSON data."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [to_plain(one) for one in value]
    return dict(value) if isinstance(value, Mapping) else value


def from_plain(kind: Any, data: object) -> Any:
    """The value of type `kind` that `to_plain` made `data` of.

    Raises KeyError, TypeError or ValueError for anything else.
    """
    return _reader(kind)(data)


@cache
def _reader(hint: Any) -> _Read:
    if isinstance(hint, NewType):
        return _reader(hint.__supertype__)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _either([part for part in args if part is not NoneType], maybe=NoneType in args)
    if origin is tuple:
        each = _reader(args[0])
        return lambda data: tuple(each(one) for one in _checked(list, data))
    if origin is Literal:
        return _one_of(args)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if is_dataclass(hint):
        return _dataclass(hint)
    kind = dict if origin is not None else hint
    return lambda data: _checked(kind, data)


def _either(parts: list[Any], *, maybe: bool) -> _Read:
    if len(parts) == 1:
        read = _reader(parts[0])
    else:
        by_type = {_type_of(part): _reader(part) for part in parts}

        def read(data: Any) -> Any:
            return by_type[_checked(dict, data)["type"]](data)

    return lambda data: None if maybe and data is None else read(data)


def _one_of(choices: tuple[object, ...]) -> _Read:
    def read(data: object) -> object:
        found = next((one for one in choices if one == data), None)
        if found is None:
            raise ValueError(f"{data!r} is none of {choices}")
        return found

    return read


def _dataclass(kind: Any) -> _Read:
    hints = get_type_hints(kind)
    readers = [(field, _reader(hints[field.name])) for field in fields(kind) if field.init]

    def read(data: object) -> Any:
        given = _checked(dict, data)
        return kind(
            **{
                field.name: each(given[field.name] if _is_needed(field) else given.get(field.name))
                for field, each in readers
                if field.name in given or _is_needed(field)
            }
        )

    return read


def _is_needed(field: "Field[Any]") -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _type_of(kind: Any) -> str:
    (field,) = (one for one in fields(kind) if one.name == "type")
    return str(getattr(field.default, "value", field.default))


def _checked(kind: type[T], data: object) -> T:
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise TypeError(f"{data!r} is no {kind.__name__}")
    return data
