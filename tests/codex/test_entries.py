"""Codex's items as people read them in a chat: with what their tools said."""

from contextlib import suppress

import pytest
from hypothesis import given

from codex_control_plane_mcp.codex.words.entries import read_entry, read_turn_entries
from codex_control_plane_mcp.codex.words.reading import Odd
from codex_control_plane_mcp.model.transcript import Role
from codex_control_plane_mcp.rpc.values import Json, JsonObject
from tests.codex.test_words import json_values


def told(item: JsonObject) -> tuple[Role, str]:
    entry = read_entry({"turnId": "u-1", "item": {"id": "i-1", **item}, "completedAtMs": 7})
    assert (entry.id, entry.turn_id, entry.at) == ("i-1", "u-1", 7)
    return entry.role, entry.text


@pytest.mark.parametrize(
    ("item", "role", "text"),
    [
        ({"type": "agentMessage", "text": "Hi."}, Role.ASSISTANT, "Hi."),
        ({"type": "plan", "text": "# Plan\n"}, Role.PLAN, "# Plan\n"),
        ({"type": "reasoning", "summary": ["One.", "Two."]}, Role.REASONING, "One.\n\nTwo."),
        ({"type": "exitedReviewMode", "review": "Fine."}, Role.ASSISTANT, "Fine."),
        ({"type": "enteredReviewMode", "review": "x"}, Role.NOTICE, "A review began: x"),
        (
            {"type": "contextCompaction"},
            Role.NOTICE,
            "Codex compacted the context of this chat.",
        ),
        (
            {
                "type": "commandExecution",
                "command": "ls",
                "status": "completed",
                "exitCode": 0,
                "aggregatedOutput": "a\nb\n",
            },
            Role.TOOL,
            "$ ls\na\nb\n[exit code 0]",
        ),
        (
            {"type": "commandExecution", "command": "rm", "status": "declined"},
            Role.TOOL,
            "$ rm\n[declined]",
        ),
        (
            {
                "type": "fileChange",
                "status": "completed",
                "changes": [{"path": "/a", "kind": {"type": "update"}, "diff": "-x\n+y\n"}],
            },
            Role.TOOL,
            "update /a\n-x\n+y\n[completed]",
        ),
        (
            {
                "type": "mcpToolCall",
                "server": "files",
                "tool": "read",
                "status": "completed",
                "arguments": {"path": "/a"},
                "result": {"content": [{"type": "text", "text": "the file"}]},
            },
            Role.TOOL,
            'files.read {"path":"/a"}\nthe file\n[completed]',
        ),
        (
            {
                "type": "mcpToolCall",
                "server": "files",
                "tool": "read",
                "status": "failed",
                "error": {"message": "no such file"},
            },
            Role.TOOL,
            "files.read null\nno such file\n[failed]",
        ),
        ({"type": "webSearch", "query": "größer"}, Role.TOOL, 'webSearch {"query":"größer"}'),
    ],
)
def test_every_kind_of_item_can_be_read(item: JsonObject, role: Role, text: str) -> None:
    assert told(item) == (role, text)


def test_pictures_are_counted() -> None:
    content: Json = [{"type": "text", "text": "See:"}, {"type": "localImage", "path": "/a.png"}]
    entry = read_entry(
        {"turnId": "u-1", "item": {"type": "userMessage", "content": content, "id": "x"}}
    )
    assert (entry.role, entry.text, entry.attachment_count) == (Role.USER, "See:", 1)


@given(json_values)
def test_no_item_crashes_the_reader(raw: Json) -> None:
    with suppress(Odd):
        read_entry({"turnId": "u", "item": raw})
    read_turn_entries({"id": "u", "items": [raw]})
