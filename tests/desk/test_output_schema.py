"""Which output schemas are taken, and what is said of the others."""

from typing import Any

import pytest

from codex_control_plane_mcp.desk.output_schema import MAX_CHARS, NOT_STRICT, strict
from codex_control_plane_mcp.errors import InvalidArgument


def of(part: object, **more: object) -> dict[str, Any]:
    """A strict schema with one property."""
    return {
        "type": "object",
        "properties": {"a": part},
        "required": ["a"],
        "additionalProperties": False,
        **more,
    }


TEXT = {"type": "string"}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array", "items": TEXT}
    for _ in range(levels):
        schema = of(schema)
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        of(TEXT),
        {"type": "object", "additionalProperties": False},
        of({"type": ["string", "null"], "description": "what it is", "maxLength": 10}),
        of({"enum": ["red", "blue"]}),
        of({"anyOf": [of(TEXT), {"type": "null"}]}),
        of({"$ref": "#"}),
        of({"$ref": "#/$defs/b"}, **{"$defs": {"b": of(TEXT)}}),
        of({"type": "array", "items": of(TEXT), "minItems": 1}),
        nested(8),
    ],
)
def test_a_strict_schema_is_taken_as_it_is(schema: dict[str, Any]) -> None:
    assert strict(schema) is schema


@pytest.mark.parametrize(
    ("schema", "place", "advice"),
    [
        ({}, "output_schema ", '"type": "object"'),
        ({"type": "array", "items": TEXT}, "output_schema ", '"type": "object"'),
        (of(TEXT, anyOf=[of(TEXT)]), "output_schema ", "anyOf"),
        (of(TEXT, additionalProperties=True), "output_schema ", '"additionalProperties": false'),
        (of({"type": "object"}), "output_schema.properties.a ", '"additionalProperties": false'),
        (of({"properties": {}}), "output_schema.properties.a ", "type"),
        (of(TEXT, required=[]), "output_schema ", "add 'a' to required"),
        (of(TEXT, required=["a", "b"]), "output_schema ", "'b'"),
        (of({"type": "array"}), "output_schema.properties.a ", "items"),
        (of({"type": "array", "items": True}), "output_schema.properties.a.items ", "type"),
        (of({"description": "anything"}), "output_schema.properties.a ", "type"),
        (of({"$ref": "https://example.com/s"}), "output_schema.properties.a ", "$defs/NAME"),
        (of({"$ref": "#/$defs/none"}), "output_schema.properties.a ", "$defs/NAME"),
        (of({"anyOf": [TEXT, {}]}), "output_schema.properties.a.anyOf[1] ", "type"),
        (of({"type": "strnig"}), "output_schema.properties.a.type ", "not JSON Schema"),
        (of({"type": "number", "minimum": "3"}), "output_schema.properties.a.minimum ", "JSON"),
        (of(TEXT, **{"$defs": {"b": {}}}), "output_schema.$defs.b ", "type"),
        (nested(10), "output_schema" + ".properties.a" * 10 + " ", "levels"),
        (of({"enum": ["x" * MAX_CHARS]}), "output_schema ", "smaller"),
    ],
)
def test_what_is_not_strict_is_refused_with_its_place_and_what_to_do(
    schema: dict[str, Any], place: str, advice: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        strict(schema)
    assert str(refused.value).startswith(place)
    assert advice in str(refused.value)
    assert refused.value.details["field"] == "output_schema"


@pytest.mark.parametrize("word", NOT_STRICT)
def test_words_that_strict_schemas_do_not_have_are_refused_by_name(word: str) -> None:
    meant = {"allOf": [TEXT], "oneOf": [TEXT], "$anchor": "x", "$dynamicAnchor": "x"}
    value = meant.get(word, "#" if word.startswith("$") else {})
    with pytest.raises(InvalidArgument) as refused:
        strict(of({**TEXT, word: value}))
    assert word in str(refused.value)
