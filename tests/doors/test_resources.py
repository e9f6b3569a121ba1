"""Resources and prompts as a client of the official SDK meets them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError
from mcp.types import PaginatedRequestParams, TextContent, TextResourceContents

from codex_control_plane_mcp.desk.recent import PAGE
from codex_control_plane_mcp.doors.mcp.fit import MAX_RESULT_CHARS
from codex_control_plane_mcp.doors.mcp.tools import TOOLS
from codex_control_plane_mcp.store.retention import prune
from tests.desk.reception import Reception
from tests.desk.test_status import running, submitted
from tests.doors.clients import client_of

SECRET = "ghp_" + "a1" * 20


@pytest.fixture
async def session(at: Reception) -> AsyncIterator[ClientSession]:
    async with client_of(at.desk) as session:
        yield session


async def read(session: ClientSession, uri: str) -> str:
    (contents,) = (await session.read_resource(uri)).contents
    assert isinstance(contents, TextResourceContents)
    assert contents.uri == uri
    assert len(contents.text) <= MAX_RESULT_CHARS
    return contents.text


async def read_json(session: ClientSession, uri: str) -> dict[str, Any]:
    found = json.loads(await read(session, uri))
    assert isinstance(found, dict)
    return found


async def refused(session: ClientSession, uri: str) -> MCPError:
    with pytest.raises(MCPError) as caught:
        await session.read_resource(uri)
    return caught.value


# --- Lists ---------------------------------------------------------------------------------------


async def test_the_newest_operations_are_listed_page_by_page(
    at: Reception, session: ClientSession
) -> None:
    ids = []
    for number in range(PAGE + 3):
        at.clock.at += 1
        ids.append(await submitted(at, f"task {number}\nwith more words"))

    first = await session.list_resources()
    assert len(first.resources) == PAGE
    newest = first.resources[0]
    assert newest.uri == f"codex://operation/{ids[-1]}"
    assert newest.title == f"task {PAGE + 2} with more words"
    assert newest.description is not None
    assert newest.description.startswith("start_chat, queued, in shop-")

    second = await session.list_resources(params=PaginatedRequestParams(cursor=first.next_cursor))
    assert second.next_cursor is None
    listed = [one.name for one in (*first.resources, *second.resources)]
    assert listed == ids[::-1]


async def test_a_list_shows_no_secret_and_takes_no_strange_cursor(
    at: Reception, session: ClientSession
) -> None:
    await submitted(at, f"use {SECRET}")
    (listed,) = (await session.list_resources()).resources
    assert listed.title == "use [redacted]"
    with pytest.raises(MCPError, match="cursor"):
        await session.list_resources(params=PaginatedRequestParams(cursor="7"))


async def test_the_templates_say_what_else_can_be_read(session: ClientSession) -> None:
    templates = (await session.list_resource_templates()).resource_templates
    assert [one.uri_template for one in templates] == [
        "codex://operation/{operation_id}",
        "codex://operation/{operation_id}/report{?offset}",
        "codex://operation/{operation_id}/events{?after_seq}",
        "codex://thread/{thread_id}{?cursor}",
    ]


# --- Reading -------------------------------------------------------------------------------------


async def test_an_operation_is_what_its_tool_shows(at: Reception, session: ClientSession) -> None:
    operation_id = await running(at)
    await at.workshop.say(operation_id, "I look.")
    shown = await read_json(session, f"codex://operation/{operation_id}")
    told = await session.call_tool(
        "codex_get_operation_status", {"operation_id": str(operation_id)}
    )
    assert {"ok": True, **shown} == told.structured_content


async def test_a_report_is_read_to_its_end(at: Reception, session: ClientSession) -> None:
    operation_id = await running(at)
    uri = f"codex://operation/{operation_id}/report"
    assert "it is running" in (await refused(session, uri)).message

    whole = "".join(f"Line {number}.\n" for number in range(1500))
    await at.workshop.complete(operation_id, whole)
    parts: list[str] = []
    following: str | None = uri
    while following is not None:
        text, _, note = (await read(session, following)).partition("\n\n[of ")
        parts.append(text)
        following = note.rpartition(" ")[2].removesuffix("]") or None
    assert "".join(parts) == whole
    assert len(parts) == 3


async def test_events_are_read_by_their_numbers(at: Reception, session: ClientSession) -> None:
    operation_id = await running(at)
    await at.workshop.note(operation_id, *(f"step {number}: {'x' * 400}" for number in range(60)))

    seen: list[int] = []
    latest = 0
    following: str | None = f"codex://operation/{operation_id}/events"
    while following is not None:
        found = await read_json(session, following)
        seen += [event["seq"] for event in found["progressEvents"]]
        following, latest = found.get("next"), found["latestSeq"]
    assert seen == list(range(1, latest + 1))
    beyond = await read_json(session, f"codex://operation/{operation_id}/events?after_seq=999")
    assert (beyond["progressEvents"], beyond.get("next")) == ([], None)


async def test_events_that_were_removed_are_said_to_be_gone(
    at: Reception, session: ClientSession
) -> None:
    operation_id = await running(at)
    await at.workshop.note(operation_id, *("x" * 100 for _ in range(9)))
    await at.workshop.complete(operation_id, "done")
    uri = f"codex://operation/{operation_id}/events"
    latest = (await read_json(session, uri))["latestSeq"]
    prune(at.book, older_than=None, keep_bytes=0)

    for after_seq in (0, latest - 2):
        found = await read_json(session, f"{uri}?after_seq={after_seq}")
        (gap,) = found["progressEvents"]
        assert (gap["seq"], gap["category"]) == (latest, "gap")
        assert gap["text"] == f"Entries 1 to {latest} were removed."
        assert (found["nextAfterSeq"], found.get("next")) == (latest, None)
    assert await read(session, f"codex://operation/{operation_id}/report") == "done"


async def test_a_thread_shows_its_tasks_newest_first_and_a_summary(
    at: Reception, session: ClientSession
) -> None:
    operation_id = await running(at)
    await at.workshop.complete(operation_id, f"The till rings. {SECRET}")
    await running(at, 2)

    shown = await read_json(session, "codex://thread/t-1")
    assert shown["source"] == "tracked_turn"
    assert [one["operationId"] for one in shown["operations"]] == [operation_id]
    assert shown["operations"][0]["hasReport"] is True
    summary = shown["historySummary"]
    assert (summary["mode"], summary["status"]) == ("local", "ok")
    assert "Last answered: The till rings. [redacted]" in summary["text"]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("codex://operation/op_none", "op_none"),
        ("codex://operation/op_none/report", "op_none"),
        ("codex://thread/none", "none"),
        ("codex://operation/op_x/diff", "there is no such resource"),
        ("codex://nothing", "there is no such resource"),
        ("file:///etc/passwd", "there is no such resource"),
        ("codex://operation/op_x/report?offset=-1", "offset"),
        ("codex://operation/op_x/events?limit=5", "limit"),
        ("codex://[/x", "no URI"),
        ("codex://thread/t-1?cursor=x", "cursor"),
    ],
)
async def test_what_is_not_there_is_named(session: ClientSession, uri: str, said: str) -> None:
    error = await refused(session, uri)
    assert error.code == -32602
    assert said in error.message
    assert set(error.data) == {"code", "details", "retryable"}


# --- Prompts -------------------------------------------------------------------------------------


async def prompted(session: ClientSession, name: str, **arguments: str) -> str:
    (message,) = (await session.get_prompt(name, arguments)).messages
    assert isinstance(message.content, TextContent)
    return message.content.text


async def test_three_prompts_are_offered_with_their_arguments(session: ClientSession) -> None:
    listed = {
        prompt.name: [(one.name, one.required) for one in prompt.arguments or ()]
        for prompt in (await session.list_prompts()).prompts
    }
    assert listed == {
        "delegate": [("task", True), ("project", False), ("sandbox", False)],
        "review": [("target", False), ("project", False), ("focus", False)],
        "status": [("operation_id", False)],
    }


async def test_a_prompt_bears_what_was_given_and_names_tools(session: ClientSession) -> None:
    delegate = await prompted(session, "delegate", task="Mend the till.", project="shop")
    assert "Task:\nMend the till.\n\nWhere: shop\n" in delegate
    assert "codex_submit_task" in delegate
    assert "base branch main" in await prompted(session, "review", target="base branch main")
    assert "op_1" in await prompted(session, "status", operation_id="op_1")
    assert "codex_health_summary" in await prompted(session, "status")


async def test_a_prompt_that_cannot_be_made_says_why(session: ClientSession) -> None:
    for name, arguments, said in (
        ("cook", {}, "there is no prompt 'cook'"),
        ("delegate", {}, "needs task"),
        ("delegate", {"task": " "}, "needs task"),
        ("status", {"thread": "t"}, "thread is no argument"),
        ("delegate", {"task": "x" * MAX_RESULT_CHARS}, "at most"),
    ):
        with pytest.raises(MCPError, match=said) as caught:
            await session.get_prompt(name, arguments)
        assert caught.value.code == -32602


async def test_every_tool_that_a_prompt_names_is_there(session: ClientSession) -> None:
    texts = [
        await prompted(session, "delegate", task="x"),
        await prompted(session, "review"),
        await prompted(session, "status"),
        await prompted(session, "status", operation_id="op_1"),
    ]
    named = set(re.findall(r"codex_\w+", " ".join(texts)))
    assert len(named) > 6
    assert named <= {tool.name for tool in TOOLS}
