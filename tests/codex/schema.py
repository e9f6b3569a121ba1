"""The installed Codex's own JSON schema: what it accepts, and samples of all that it may send."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema

#: A schema, or any JSON: this file looks at both without knowing their shape.
Any_ = Any
#: Threads hold turns hold items: deeper than this, lists stay empty.
MAX_DEPTH = 9


class Schema:
    """One generated file, e.g. `ClientRequest.json`."""

    def __init__(self, path: Path) -> None:
        self.root: dict[str, Any_] = json.loads(path.read_text(encoding="utf-8"))

    def methods(self) -> dict[str, dict[str, Any_]]:
        """The variants of a union of messages, by method."""
        return {one["properties"]["method"]["enum"][0]: one for one in self.root["oneOf"]}

    def params_of(self, method: str) -> dict[str, Any_]:
        params: dict[str, Any_] = self.methods()[method]["properties"].get("params", {})
        return self.resolved(params)

    def resolved(self, schema: dict[str, Any_]) -> dict[str, Any_]:
        while "$ref" in schema:
            found: Any_ = self.root
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            schema = found
        return schema

    def complaints(self, value: object, schema: dict[str, Any_] | None = None) -> list[str]:
        """What is wrong with `value`; also fields that Codex does not know and would ignore."""
        schema = self.root if schema is None else schema
        # Tuples are lists on the wire.
        value = json.loads(json.dumps(value))
        errors = [error.message for error in self._validator(schema).iter_errors(value)]
        return errors or [f"unknown field {path}" for path in self._unknown(value, schema, "")]

    def _validator(self, schema: dict[str, Any_]) -> jsonschema.Draft7Validator:
        return jsonschema.Draft7Validator({**schema, "definitions": self.root["definitions"]})

    def _unknown(self, value: object, schema: Any_, path: str) -> Iterator[str]:
        if schema is True or not isinstance(value, dict | list):
            return
        variants = list(self._fitting(value, schema))
        if isinstance(value, list):
            items = next((one["items"] for one in variants if "items" in one), True)
            for index, part in enumerate(value):
                yield from self._unknown(part, items, f"{path}[{index}]")
            return
        known: dict[str, Any_] = {}
        is_open = False
        for one in variants:
            known |= one.get("properties", {})
            is_open = is_open or one.get("additionalProperties", False) is not False
            is_open = is_open or ("properties" not in one and one.get("type") != "array")
        for key, part in value.items():
            if key in known:
                yield from self._unknown(part, known[key], f"{path}.{key}")
            elif not is_open:
                yield f"{path}.{key}"

    def _fitting(self, value: object, schema: Any_) -> Iterator[dict[str, Any_]]:
        """The plain schemas that describe the value, unions taken apart."""
        if schema is True:
            yield {}
            return
        schema = self.resolved(schema)
        unions = [one for key in ("oneOf", "anyOf", "allOf") for one in schema.get(key, ())]
        if "properties" in schema or not unions:
            yield schema
        for one in unions:
            if self._validator(one).is_valid(value):
                yield from self._fitting(value, one)

    def samples(self, schema: dict[str, Any_]) -> Iterator["Spy"]:
        """Enough values to have seen every variant of every union in it."""
        for number in range(30):
            sample = self._sample(schema, number, 0)
            assert isinstance(sample, Spy)
            yield sample

    def _sample(self, schema: Any_, number: int, depth: int) -> object:
        if schema is True:
            return "anything"
        schema = self.resolved(schema)
        if unions := [one for key in ("oneOf", "anyOf") for one in schema.get(key, ())]:
            return self._variant(schema, unions, number, depth)
        if "allOf" in schema:
            return self._sample(schema["allOf"][0], number, depth)
        if "enum" in schema:
            return schema["enum"][number % len(schema["enum"])]
        kinds = schema.get("type", "anything")
        kind = kinds if isinstance(kinds, str) else kinds[number % len(kinds)]
        return self._plain(kind, schema, number, depth)

    def _variant(
        self, schema: dict[str, Any_], unions: list[Any_], number: int, depth: int
    ) -> object:
        chosen = self._sample(unions[number % len(unions)], number, depth)
        shared = schema.get("properties", {})
        if not isinstance(chosen, Spy):
            return chosen
        chosen.update({k: self._sample(v, number, depth + 1) for k, v in shared.items()})
        chosen.known |= set(shared)
        # A reader may look for what only another variant has.
        for one in unions:
            chosen.known |= set(self.resolved(one).get("properties", {}))
        return chosen

    def _plain(self, kind: str, schema: dict[str, Any_], number: int, depth: int) -> object:
        match kind:
            case "object" if "properties" in schema:
                parts = schema["properties"].items()
                spy = Spy({k: self._sample(v, number, depth + 1) for k, v in parts})
                spy.known |= set(schema["properties"])
                return spy
            case "object":
                value = schema.get("additionalProperties", True)
                return Spy(key=self._sample(value, number, depth))
            case "array":
                many = range(0 if depth > MAX_DEPTH else 2)
                return [
                    self._sample(schema.get("items", True), number + i, depth + 1) for i in many
                ]
            case "string":
                return f"text {number}"
            case "integer" | "number":
                return max(number, int(schema.get("minimum", 0)))
            case "boolean":
                return number % 2 == 0
            case _:
                return None


class Spy(dict[str, object]):
    """An object that knows which of its fields exist, and notes which are asked for."""

    def __init__(self, *args: Any_, **fields: Any_) -> None:
        super().__init__(*args, **fields)
        self.known: set[str] = set()
        self.asked: set[str] = set()

    def get(self, key: str, default: object = None) -> object:
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> object:
        self.asked.add(key)
        return super().__getitem__(key)

    def inventions(self) -> set[str]:
        """Fields that were asked for, here or below, and do not exist."""
        found = self.asked - self.known
        for value in self.values():
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, Spy):
                    found |= part.inventions()
        return found
