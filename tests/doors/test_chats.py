"""The tools that show chats, as a client meets them: strict, short, and nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from codex_control_plane_mcp.desk.runtime import AppServerState
from codex_control_plane_mcp.doors.mcp import chats
from codex_control_plane_mcp.model.ids import ThreadId
from codex_control_plane_mcp.model.transcript import Entry, Role
from tests.desk.reception import Reception
from tests.desk.shelves import Shelves, a_thread, said
from tests.doors.clients import EVERYTHING, Caller, calling, task

LONG_ID = "i" * 100


@pytest.fixture
def shelves(at: Reception) -> Shelves:
    shelves = Shelves(page=100)
    at.runtime.shelves = shelves
    return shelves


def test_the_tools_are_small_and_only_look() -> None:
    names = {tool.name for tool in chats.TOOLS}
    listed = [one for one in EVERYTHING.definitions if one["name"] in names]
    assert len(json.dumps(listed, separators=(",", ":"))) <= 6_000
    for one in listed:
        assert one["annotations"]["readOnlyHint"] is True


async def whole(client: Caller, **arguments: Any) -> list[dict[str, Any]]:
    """The messages of a chat, each page checked for its size by the client."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await client.ok("codex_get_chat", chat_id="t-1", cursor=cursor, **arguments)
        assert "truncated" not in page
        if page["pagination"]["hasMoreBefore"] and cursor is None and not arguments.get("range"):
            assert page["historySummary"]["mode"] == "local"
        found += page.get("messages", ())
        cursor = page["pagination"]["cursor"]
        if cursor is None:
            return found


@pytest.mark.parametrize("text", ["x", "\n", '"\\', "\x01", "größer \U0001f600 "])
@pytest.mark.parametrize("style", ["structured", "compact"])
async def test_pages_fit_whatever_is_in_them_and_lose_nothing(
    at: Reception, shelves: Shelves, text: str, style: str
) -> None:
    at.project.rename(at.project.with_name("p" * 60))
    entries = [
        Entry(f"{LONG_ID}{number}", None, Role.PLAN, text * size, None)
        for number, size in enumerate((1, 40, 9_000, 3, *[7] * 300))
    ]
    title = '"\\' * 500
    shelves.add(a_thread("t-1", at.project.with_name("p" * 60), name=title), *entries)
    async with calling(at) as client:
        read = await whole(client, range={"mode": "all"}, format=style)
        assert "".join(one["text"] for one in read) == "".join(one.text for one in entries)
        await whole(client, format="markdown")


async def test_lists_fit_and_go_on_with_their_cursor(at: Reception, shelves: Shelves) -> None:
    shelves.listed = [
        a_thread(f"{LONG_ID}{number:03}", at.project, name='"\\' * 300) for number in range(120)
    ]
    async with calling(at) as client:
        for number in range(40):
            await client.ok("codex_submit_task", **task(at, message=f"{number} " + '"' * 400))
        seen: list[str] = []
        cursor = None
        while True:
            page = await client.ok(
                "codex_list_project_chats", project_id="shop", limit=100, cursor=cursor
            )
            assert "truncated" not in page
            seen += [one["chatId"] or one["operationId"] for one in page["chats"]]
            cursor = page["nextCursor"]
            if cursor is None:
                break
    assert len(seen) == len(set(seen)) == 160
    assert seen[40:] == [thread.id for thread in shelves.listed]


async def test_active_chats_fit(at: Reception, shelves: Shelves) -> None:
    busy = {"type": "active", "activeFlags": []}
    shelves.unlisted = [
        a_thread(f"{LONG_ID}{number}", at.project, name='"\\' * 300, status=busy)
        for number in range(90)
    ]
    shelves.in_memory = tuple(thread.id for thread in shelves.unlisted)
    async with calling(at) as client:
        found = await client.ok("codex_list_active_chats")
    assert (found["total"], len(found["chats"]) > 10) == (90, True)


async def test_secrets_are_masked_also_where_a_page_ends(at: Reception, shelves: Shelves) -> None:
    secret = "sk-" + "a1B2" * 10
    for spaces in range(6_980, 7_000, 5):
        shelves.add(a_thread("t-1", at.project, preview=secret), said(0, " " * spaces + secret))
        async with calling(at) as client:
            read = await whole(client, range={"mode": "all"})
            assert "".join(one["text"] for one in read).strip() == "[redacted]"
            assert secret not in json.dumps(await client.ok("codex_get_chat_status", chat_id="t-1"))


@pytest.mark.parametrize(
    ("tool", "arguments", "named"),
    [
        ("codex_list_project_chats", {}, "project_id"),
        ("codex_list_project_chats", {"project_id": ""}, "project_id"),
        ("codex_list_project_chats", {"project_id": "shop", "limit": 0}, "limit"),
        ("codex_list_project_chats", {"project_id": "shop", "limit": 101}, "limit"),
        ("codex_list_project_chats", {"project_id": "shop", "cursor": "x"}, "cursor"),
        ("codex_list_active_chats", {"project_id": "shop"}, "project_id"),
        ("codex_get_chat_status", {"chat_id": ""}, "chat_id"),
        ("codex_get_chat_status", {"chat_id": "x" * 5_000}, "chat_id"),
        ("codex_get_chat", {"chat_id": "t-1", "range": "all"}, "range"),
        ("codex_get_chat", {"chat_id": "t-1", "range": {"mode": "some"}}, "range.mode"),
        ("codex_get_chat", {"chat_id": "t-1", "range": {"limit": 0}}, "range.limit"),
        ("codex_get_chat", {"chat_id": "t-1", "format": "html"}, "format"),
        ("codex_get_chat", {"chat_id": "t-1", "include_tool_calls": "yes"}, "include_tool_calls"),
        ("codex_get_chat", {"chat_id": "t-1", "cursor": "!"}, "cursor"),
        ("codex_get_turn_status", {"turn_id": ""}, "turn_id"),
        ("codex_get_turn_status", {"turn_id": "u", "thread_id": ""}, "chat_id"),
        ("codex_get_app_server_status", {"start": True}, "start"),
    ],
)
async def test_bad_input_is_refused_by_name(
    at: Reception, shelves: Shelves, tool: str, arguments: dict[str, Any], named: str
) -> None:
    shelves.add(a_thread("t-1", at.project), said(0, "Hi."))
    async with calling(at) as client:
        error = await client.refused(tool, **arguments)
    assert error["code"] == "INVALID_ARGUMENT"
    assert named in error["message"]


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("codex_get_chat", {"chat_id": "t-x"}, "CODEX_THREAD_NOT_FOUND"),
        ("codex_get_chat_status", {"chat_id": "t-x"}, "CODEX_THREAD_NOT_FOUND"),
        ("codex_get_turn_status", {"turn_id": "u-x"}, "CODEX_TURN_NOT_FOUND"),
        ("codex_list_project_chats", {"project_id": "nothing"}, "CODEX_PROJECT_NOT_FOUND"),
    ],
)
async def test_what_does_not_exist_has_its_own_code(
    at: Reception, tool: str, arguments: dict[str, Any], code: str
) -> None:
    async with calling(at) as client:
        assert (await client.refused(tool, **arguments))["code"] == code


async def test_the_app_server_is_told_of_and_not_started(at: Reception) -> None:
    async with calling(at) as client:
        idle = await client.ok("codex_get_app_server_status")
        assert (idle["status"], idle["pid"], idle["ownership"]) == ("not_started", None, None)
        at.runtime.state = AppServerState(True, 4711, "0.163.0", "unix", "own", active_turns=2)
        running = await client.ok("codex_get_app_server_status")
        assert (running["status"], running["pid"], running["activeTurns"]) == ("running", 4711, 2)


async def test_ids_of_threads_are_taken_as_they_are(at: Reception, shelves: Shelves) -> None:
    shelves.add(a_thread("../t-1", at.project), said(0, "Hi."))
    async with calling(at) as client:
        found = await client.ok("codex_get_chat", chat_id=ThreadId("../t-1"), format="compact")
    assert found["messages"] == [{"role": "assistant", "text": "Hi."}]
