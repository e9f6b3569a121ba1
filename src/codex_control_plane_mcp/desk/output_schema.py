"""Which output schemas are taken: JSON Schema, and of it what the model's provider calls strict.

A schema that breaks a rule would be refused in the middle of the turn, after the work; so it is
refused here, with the place and what to do. Codex is not asked.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from codex_control_plane_mcp.errors import InvalidArgument

FIELD = "output_schema"

#: What is larger costs more tokens in every request than it can be worth.
MAX_CHARS = 32_768
#: Levels of objects and arrays; the provider's own bound.
MAX_LEVELS = 10

#: Combinations and conditions that strict schemas do not have, and what would make a `$ref` lead
#: elsewhere than to `$defs`.
NOT_STRICT = (
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "patternProperties",
    "unevaluatedProperties",
    "$id",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
)
#: A schema says with one of these what it describes.
_TELLING = ("type", "anyOf", "$ref", "enum", "const")
_DEFINITIONS = ("$defs", "definitions")

_Schema: TypeAlias = Mapping[str, Any]
#: A schema within the whole: its place, itself, and its level.
_Part: TypeAlias = tuple[str, _Schema | bool, int]


def strict(schema: _Schema) -> _Schema:
    """`schema`, if it is a strict object schema. Raises InvalidArgument."""
    if schema.get("type") != "object":
        raise _wrong(FIELD, 'describes the whole answer: write "type": "object"')
    if "anyOf" in schema:
        raise _wrong(FIELD, "must be one object at its top: move anyOf into a property")
    if len(json.dumps(schema)) > MAX_CHARS:
        raise _wrong(FIELD, f"has more than {MAX_CHARS} characters as JSON: make it smaller")
    _check_by_meta_schema(schema)
    names = {f"#/{holder}/{name}" for holder in _DEFINITIONS for name in schema.get(holder, {})}
    waiting: list[_Part] = [(FIELD, schema, 1)]
    while waiting:
        place, part, level = waiting.pop()
        if level > MAX_LEVELS:
            raise _wrong(place, f"is more than {MAX_LEVELS} levels deep: flatten it")
        if isinstance(part, bool):
            raise _wrong(place, "must say what it describes: give it a type")
        _check(place, part, names)
        waiting += _parts(place, part, level)
    return schema


def _check_by_meta_schema(schema: _Schema) -> None:
    # Seldom needed, and a twentieth of all that a worker imports to start.
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    meta = Draft202012Validator(Draft202012Validator.META_SCHEMA)
    problem = best_match(meta.iter_errors(schema))
    if problem is not None:
        place = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem.absolute_path
        )
        raise _wrong(FIELD + place, f"is not JSON Schema: {problem.message[:200]}")


# From here on a schema has the shape that the meta-schema gives it.


def _check(place: str, schema: _Schema, names: set[str]) -> None:
    """The rules for one schema, whatever it is part of."""
    if banned := next((word for word in NOT_STRICT if word in schema), None):
        raise _wrong(place, f"uses {banned}, which strict schemas do not have: leave it out")
    if not any(word in schema for word in _TELLING):
        raise _wrong(place, "must say what it describes: give it a type")
    if (reference := schema.get("$ref", "#")) not in ("#", *names):
        raise _wrong(place, f"refers to {reference!r}: only # and #/$defs/NAME can be referred to")
    types = schema.get("type", ())  # one name or several; no name is part of another
    if "array" in types and "items" not in schema:
        raise _wrong(place, "is an array of anything: say with items what is in it")
    if "object" in types or "properties" in schema:
        _check_object(place, schema)


def _check_object(place: str, schema: _Schema) -> None:
    if schema.get("additionalProperties") is not False:
        raise _wrong(place, 'is not strict: write "additionalProperties": false')
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if missing := [name for name in properties if name not in required]:
        raise _wrong(
            place,
            f"is not strict: add {', '.join(map(repr, missing))} to required (what may be missing "
            'has "null" among its types)',
        )
    if unknown := [name for name in required if name not in properties]:
        raise _wrong(place, f"requires {', '.join(map(repr, unknown))} without describing it")


def _parts(place: str, schema: _Schema, level: int) -> Iterator[_Part]:
    """The schemas within a schema."""
    for name, part in schema.get("properties", {}).items():
        yield f"{place}.properties.{name}", part, level + 1
    if "items" in schema:
        yield f"{place}.items", schema["items"], level + 1
    for number, part in enumerate(schema.get("anyOf", ())):
        yield f"{place}.anyOf[{number}]", part, level
    for holder in _DEFINITIONS:
        for name, part in schema.get(holder, {}).items():
            yield f"{place}.{holder}.{name}", part, level


def _wrong(place: str, what: str) -> InvalidArgument:
    return InvalidArgument(f"{place} {what}", field=FIELD)
