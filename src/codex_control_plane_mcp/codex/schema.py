"""A Codex's own JSON schema: what it accepts, and samples of all that it may send.

Not a validator: it knows the few words that `generate-json-schema` uses, and it looks for one thing
that validators pass over, fields that Codex does not know and so would ignore in silence.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: A schema, or any JSON: this file looks at both without knowing their shape.
Any_ = Any
#: Threads hold turns hold items: deeper than this, lists stay empty.
MAX_DEPTH = 9
#: Enough samples to have seen every variant of every union: the largest has about twenty.
SAMPLES = 30


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why a value does not do, or not wholly."""

    message: str
    #: Codex would take the value and ignore a field; otherwise it would refuse the value.
    is_ignored: bool = False

    def __str__(self) -> str:
        return self.message


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

    # What it accepts

    def complaints(self, value: object, schema: dict[str, Any_] | None = None) -> list[Complaint]:
        """What is wrong with `value`."""
        # Tuples are lists on the wire.
        plain = json.loads(json.dumps(value))
        return self._check(plain, self.root if schema is None else schema, "", frozenset())

    def _check(
        self, value: Any_, schema: Any_, path: str, known: frozenset[str]
    ) -> list[Complaint]:
        """`known`: fields that are described elsewhere, beside this part of the schema."""
        if schema is True:
            return []
        schema = self.resolved(schema)
        if wrong := _wrong_kind(value, schema, path):
            return [wrong]
        unions = [schema[key] for key in ("oneOf", "anyOf") if key in schema]
        unions += [[one] for one in schema.get("allOf", ())]
        found: list[Complaint] = []
        for variants in unions:
            shared = known | set(schema.get("properties", {}))
            tried = [self._check(value, variant, path, shared) for variant in variants]
            found += min(tried, key=_badness)
        if isinstance(value, list):
            for index, part in enumerate(value):
                items = schema.get("items", True)
                found += self._check(part, items, f"{path}[{index}]", frozenset())
        if isinstance(value, dict):
            found += self._check_fields(value, schema, path, None if unions else known)
        return found

    def _check_fields(
        self,
        value: dict[str, Any_],
        schema: dict[str, Any_],
        path: str,
        known: frozenset[str] | None,
    ) -> list[Complaint]:
        fields: dict[str, Any_] = schema.get("properties", {})
        others = schema.get("additionalProperties", False)
        is_open = known is None or others is not False or not fields
        found = [
            Complaint(f"{path}.{name} is required")
            for name in schema.get("required", ())
            if name not in value
        ]
        for name, part in value.items():
            if name in fields:
                found += self._check(part, fields[name], f"{path}.{name}", frozenset())
            elif is_open:
                found += self._check(part, others or True, f"{path}.{name}", frozenset())
            elif known is not None and name not in known:
                found.append(Complaint(f"unknown field {path}.{name}", is_ignored=True))
        return found

    # What it may send

    def samples(self, schema: dict[str, Any_]) -> Iterator["Spy"]:
        """Enough values to have seen every variant of every union in it."""
        for number in range(SAMPLES):
            sample = self._sample(schema, number, 0)
            if isinstance(sample, Spy):
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


class Spy(dict[str, Any_]):
    """An object that knows which of its fields exist, and notes which are asked for."""

    def __init__(self, *args: Any_, **fields: Any_) -> None:
        super().__init__(*args, **fields)
        self.known: set[str] = set()
        self.asked: set[str] = set()

    def get(self, key: str, default: Any_ = None) -> Any_:
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any_:
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


def _wrong_kind(value: Any_, schema: dict[str, Any_], path: str) -> Complaint | None:
    shown = json.dumps(value)
    shown = shown if len(shown) < 60 else f"{shown[:60]}..."
    if "enum" in schema and value not in schema["enum"]:
        return Complaint(f"{path or '.'}: {shown} is none of {json.dumps(schema['enum'])}")
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds is not None and not any(_is_of(value, kind) for kind in kinds):
        return Complaint(f"{path or '.'}: {shown} is not {' or '.join(kinds)}")
    return None


def _is_of(value: Any_, kind: str) -> bool:
    match kind:
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return isinstance(value, _KINDS.get(kind, object))


_KINDS: dict[str, type] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
}


def _badness(complaints: Iterable[Complaint]) -> tuple[int, int]:
    refusals = [not one.is_ignored for one in complaints]
    return sum(refusals), len(refusals)
