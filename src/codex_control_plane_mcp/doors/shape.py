"""Views as JSON, and the JSON schema of a view, both from its dataclass.

Names become camelCase, moments RFC 3339. Only what views are made of is known here.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from codex_control_plane_mcp.clock import Moment, isoformat

Json = dict[str, Any]


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


# --- JSON ----------------------------------------------------------------------------------------


def as_json(view: Any) -> Json:
    """A view as a JSON object."""
    return {
        spelled: _value(value, is_moment=is_moment)
        for name, spelled, is_moment, is_optional in _plan(type(view))
        if not ((value := getattr(view, name)) is None and is_optional)
    }


_PLAIN = frozenset({NoneType, str, bool, int, float})


def _value(value: object, *, is_moment: bool = False) -> object:
    # Most values, and the quickest to tell.
    if type(value) in _PLAIN and not is_moment:
        return value
    match value:
        case Enum():
            return value.value
        case int() if is_moment:
            return isoformat(Moment(value))
        case None | str() | int() | float():
            return value
        case Mapping():
            return {str(key): _value(item) for key, item in value.items()}
        case list() | tuple():
            return [_value(item) for item in value]
        case _:
            return as_json(value)


_Plan = tuple[tuple[str, str, bool, bool], ...]
_plans: dict[type, _Plan] = {}


def _plan(view: type) -> _Plan:
    """Of each field: its name, its spelling, whether it is a moment, whether it may be missing."""
    if view not in _plans:
        _plans[view] = _planned(view)
    return _plans[view]


def _planned(view: type) -> _Plan:
    hints = get_type_hints(view)
    return tuple(
        (
            field.name,
            camel(field.name),
            hints[field.name] in (Moment, Moment | None),
            bool(field.metadata.get("optional")),
        )
        for field in fields(view)
    )


# --- Schema --------------------------------------------------------------------------------------


def schema_of(*views: type, depth: int = 2, tacit: bool = False) -> Json:
    """The schema of a result that shows these views side by side, or an error.

    `ok` alone is required: an error has nothing else. Below `depth` objects are not spelled out,
    nor is what is the same for every tool (`ok`, `error`, `truncated`), to keep the tools that an
    agent must read small; with `tacit` also what goes without saying.
    """
    properties: Json = {}
    for view in views:
        properties |= _properties(view, depth, tacit=tacit)
    return {"type": "object", "properties": properties, "required": ["ok"]}


def _properties(view: type, depth: int, *, tacit: bool = False) -> Json:
    hints = get_type_hints(view)
    properties: Json = {}
    for field in fields(view):
        if field.metadata.get("tacit") and not tacit:
            continue
        schema = _schema(hints[field.name], 1 if field.metadata.get("brief") else depth)
        if field.metadata.get("optional") and "type" in schema:
            schema["type"] = schema["type"][0]  # it is left out, never null
        properties[camel(field.name)] = schema
    return properties


_TYPES: dict[object, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    Moment: "string",
}


def _schema(hint: Any, depth: int) -> Json:
    if hint is object:
        return {}
    if get_origin(hint) in (Union, UnionType):
        return _nullable([part for part in get_args(hint) if part is not NoneType], depth)
    if get_origin(hint) is tuple:
        return _array(get_args(hint)[0], depth)
    if hint in _TYPES:
        return {"type": _TYPES[hint]}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"type": "string"}
    if is_dataclass(hint) and isinstance(hint, type) and depth > 1:
        return {"type": "object", "properties": _properties(hint, depth - 1)}
    return {"type": "object"}


def _nullable(parts: list[Any], depth: int) -> Json:
    (part,) = parts
    schema = _schema(part, depth)
    return {**schema, "type": [schema["type"], "null"]}


def _array(item: Any, depth: int) -> Json:
    schema = _schema(item, depth)
    # That they are objects says nothing about them.
    is_told = schema not in ({}, {"type": "object"})
    return {"type": "array", "items": schema} if is_told else {"type": "array"}
