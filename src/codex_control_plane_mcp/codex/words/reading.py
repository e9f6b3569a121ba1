"""Reading fields of a message without trusting it.

A field that must be there and is not raises `Odd`; whoever reads a whole message turns that into
its "unknown" case. Everything else has a harmless default: Codex adds and drops fields freely.
"""

from collections.abc import Mapping

from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.rpc.values import Json, JsonObject, Sendable


class Odd(ValueError):
    """A message lacks what makes it what it claims to be."""


def text(of: JsonObject, key: str) -> str:
    """A string that must be there."""
    value = of.get(key)
    if not isinstance(value, str):
        raise Odd(f"{key} is not a string")
    return value


def maybe_text(of: JsonObject, key: str) -> str | None:
    value = of.get(key)
    return value if isinstance(value, str) else None


def thread_id(of: JsonObject) -> ThreadId:
    return ThreadId(text(of, "threadId"))


def maybe_thread_id(of: JsonObject) -> ThreadId | None:
    value = maybe_text(of, "threadId")
    return None if value is None else ThreadId(value)


def turn_id(of: JsonObject) -> TurnId:
    return TurnId(text(of, "turnId"))


def maybe_turn_id(of: JsonObject) -> TurnId | None:
    value = maybe_text(of, "turnId")
    return None if value is None else TurnId(value)


def whole(of: JsonObject, key: str) -> int | None:
    value = of.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def flag(of: JsonObject, key: str) -> bool:
    return of.get(key) is True


def inner(of: JsonObject, key: str) -> JsonObject:
    """An object; empty when it is missing."""
    value = of.get(key)
    return value if isinstance(value, dict) else {}


def needed(of: JsonObject, key: str) -> JsonObject:
    """An object that must be there."""
    value = of.get(key)
    if not isinstance(value, dict):
        raise Odd(f"{key} is not an object")
    return value


def listed(of: JsonObject, key: str) -> list[Json]:
    value = of.get(key)
    return value if isinstance(value, list) else []


def objects(of: JsonObject, key: str) -> list[JsonObject]:
    """The objects in a list; anything else in it is passed over."""
    return [value for value in listed(of, key) if isinstance(value, dict)]


def texts(of: JsonObject, key: str) -> tuple[str, ...]:
    return tuple(value for value in listed(of, key) if isinstance(value, str))


def tag(of: JsonObject, key: str) -> str | None:
    """The name of a variant that is spelled `"name"` or `{"name": {...}}`."""
    value = of.get(key)
    if isinstance(value, dict):
        return next(iter(value), None)
    return value if isinstance(value, str) else None


def present(**fields: Sendable) -> Mapping[str, Sendable]:
    """The fields that were given: Codex reads a missing field as "as it is"."""
    return {name: value for name, value in fields.items() if value is not None}
