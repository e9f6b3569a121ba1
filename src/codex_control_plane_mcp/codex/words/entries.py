"""Codex's items as what people read in a chat.

Here output, diffs and the payload of tools are kept, which `things` only counts: whoever reads a
chat may ask for them. Hidden reasoning is not among what Codex hands out.
"""

import json

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.codex.words import things
from codex_control_plane_mcp.codex.words.reading import (
    Odd,
    inner,
    maybe_text,
    needed,
    objects,
    text,
    turn_id,
    whole,
)
from codex_control_plane_mcp.model.ids import TurnId
from codex_control_plane_mcp.model.transcript import Entry, Role
from codex_control_plane_mcp.rpc.values import Json, JsonObject


def read_entry(raw: JsonObject) -> Entry:
    """An entry of `thread/items/list`."""
    at = whole(raw, "completedAtMs") or whole(raw, "startedAtMs")
    return _entry(needed(raw, "item"), turn_id(raw), None if at is None else Moment(at))


def read_turn_entries(raw: JsonObject) -> tuple[Entry, ...]:
    """What stands in a turn of `thread/turns/list`. Codex does not say when each was said."""
    turn = TurnId(text(raw, "id"))
    return tuple(_entry(item, turn, None) for item in objects(raw, "items"))


def _entry(raw: JsonObject, turn: TurnId, at: Moment | None) -> Entry:
    role, words = _told(raw, things.read_item(raw))
    attached = len([part for part in objects(raw, "content") if part.get("type") != "text"])
    return Entry(
        id=maybe_text(raw, "id") or "",
        turn_id=turn,
        role=role,
        text=words,
        at=at,
        attachment_count=attached if role is Role.USER else 0,
    )


def _told(raw: JsonObject, item: things.Item) -> tuple[Role, str]:
    match item:
        case things.UserMessage(text=words):
            return Role.USER, words
        case things.AgentMessage(text=words):
            return Role.ASSISTANT, words
        case things.ProposedPlan(text=words):
            return Role.PLAN, words
        case things.Reasoning(summary=summary):
            return Role.REASONING, "\n\n".join(summary)
        case things.CommandExecution():
            return Role.TOOL, _command(raw, item)
        case things.FileChange(status=status):
            return Role.TOOL, _changes(raw, status)
        case things.McpToolCall():
            return Role.TOOL, _tool_call(raw, item)
        case things.ContextCompaction():
            return Role.NOTICE, "Codex compacted the context of this chat."
        case things.EnteredReviewMode(review=review):
            return Role.NOTICE, f"A review began: {review}"
        case things.ExitedReviewMode(review=review):
            return Role.ASSISTANT, review
        case things.OtherItem(kind=kind):
            payload = {key: value for key, value in raw.items() if key not in ("id", "type")}
            return Role.TOOL, f"{kind} {_written(payload)}"


def _command(raw: JsonObject, item: things.CommandExecution) -> str:
    ended = item.status if item.exit_code is None else f"exit code {item.exit_code}"
    return _lines(f"$ {item.command}", maybe_text(raw, "aggregatedOutput"), f"[{ended}]")


def _changes(raw: JsonObject, status: str) -> str:
    parts: list[str | None] = []
    for change in objects(raw, "changes"):
        kind = maybe_text(inner(change, "kind"), "type") or "change"
        parts += [f"{kind} {maybe_text(change, 'path') or ''}", maybe_text(change, "diff")]
    return _lines(*parts, f"[{status}]")


def _tool_call(raw: JsonObject, item: things.McpToolCall) -> str:
    return _lines(
        f"{item.server}.{item.tool} {_written(raw.get('arguments'))}",
        item.error or _result(raw.get("result")),
        f"[{item.status}]",
    )


def _result(result: Json) -> str | None:
    """A tool's answer: its text where it is nothing but text."""
    if result is None:
        return None
    try:
        parts = objects(things.as_object(result), "content")
        return "\n".join(text(part, "text") for part in parts) or _written(result)
    except Odd:
        return _written(result)


def _lines(*parts: str | None) -> str:
    return "\n".join(part.rstrip("\n") for part in parts if part)


def _written(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
