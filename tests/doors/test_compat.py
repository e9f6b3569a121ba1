"""The older calls that start a turn: answered once it runs, and durable underneath."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from codex_control_plane_mcp.desk.wait import ANSWER_SECONDS
from codex_control_plane_mcp.model.operation import Claimed, Failed, Trouble
from codex_control_plane_mcp.model.request import SendMessage, StartChat
from codex_control_plane_mcp.store import lookup
from tests.desk.reception import ME, Reception
from tests.doors.clients import begun, calling


async def test_a_chat_is_started_and_the_answer_names_its_thread_and_turn(at: Reception) -> None:
    async def work() -> None:
        await at.workshop.start(await begun(at))

    async with calling(at) as client, anyio.create_task_group() as group:
        group.start_soon(work)
        started = await client.ok(
            "codex_start_chat",
            project_id="shop",
            message="mend the till",
            title="Till",
            sandbox="workspace-write",
        )
    assert (started["status"], started["threadId"], started["turnId"]) == ("running", "t-1", "u-1")
    (operation,) = await at.book.read(lookup.unfinished)
    assert isinstance(operation.request, StartChat)
    assert operation.request.title == "Till"
    assert operation.request.options.sandbox == "workspace-write"


async def test_a_message_is_sent_to_a_chat(at: Reception) -> None:
    async with calling(at) as client:
        sent = await client.ok(
            "codex_send_message",
            chat_id="t-9",
            cwd=str(at.project),
            message="and the door",
            timeout_seconds=0,
        )
    assert (sent["status"], sent["threadId"]) == ("queued", "t-9")
    (operation,) = await at.book.read(lookup.unfinished)
    assert isinstance(operation.request, SendMessage)


@pytest.mark.parametrize("more", [{}, {"timeout_seconds": 600}])
async def test_a_turn_that_does_not_start_in_time_leaves_the_handle(
    at: Reception, more: dict[str, Any]
) -> None:
    async with calling(at) as client:
        before = anyio.current_time()
        waiting = await client.ok(
            "codex_start_chat", project_id="shop", message="mend the till", **more
        )
        assert anyio.current_time() - before == pytest.approx(ANSWER_SECONDS)
    assert (waiting["status"], waiting["nextRecommendedAction"]) == ("queued", "wait")


async def test_a_turn_that_cannot_start_is_told_at_once(at: Reception) -> None:
    async def work() -> None:
        trouble = Trouble("CODEX_APP_SERVER_UNAVAILABLE", "no Codex here")
        await at.workshop.record(await begun(at), Claimed(ME), Failed(trouble))

    async with calling(at) as client, anyio.create_task_group() as group:
        group.start_soon(work)
        failed = await client.ok("codex_start_chat", project_id="shop", message="mend the till")
    assert (failed["status"], failed["lastError"]["message"]) == ("failed", "no Codex here")


async def test_the_same_call_with_its_id_is_the_same_operation(at: Reception) -> None:
    call = {"project_id": "shop", "message": "mend", "client_request_id": "r", "timeout_seconds": 0}
    async with calling(at) as client:
        first = await client.ok("codex_start_chat", **call)
        again = await client.ok("codex_start_chat", **call)
        other = await client.refused("codex_start_chat", **(call | {"message": "break"}))
        unnamed = await client.refused("codex_start_chat", project_id="shop", message="mend")
    assert again["operationId"] == first["operationId"]
    assert (first["idempotent"], again["idempotent"]) == (False, True)
    assert other["code"] == "CODEX_IDEMPOTENCY_MISMATCH"
    assert unnamed["details"]["existingOperationId"] == first["operationId"]


@pytest.mark.parametrize(
    ("tool", "change", "named"),
    [
        ("codex_start_chat", {"chat_id": "t-9"}, "chat_id"),
        ("codex_start_chat", {"message": ""}, "message"),
        ("codex_start_chat", {"message": "x" * 200_001}, "message"),
        ("codex_start_chat", {"message": "a\0b"}, "message"),
        ("codex_start_chat", {"project_id": None}, "cwd"),
        ("codex_start_chat", {"cwd": "/"}, "cwd"),
        ("codex_start_chat", {"timeout_seconds": -1}, "timeout_seconds"),
        ("codex_start_chat", {"client_request_id": "r" * 201}, "client_request_id"),
        ("codex_start_chat", {"sandbox": "none"}, "sandbox"),
        ("codex_send_message", {}, "chat_id"),
        ("codex_send_message", {"chat_id": ""}, "chat_id"),
        ("codex_send_message", {"chat_id": "t-9", "title": "x"}, "title"),
        ("codex_send_message", {"chat_id": "t-9", "project_id": None}, "project_id"),
    ],
)
async def test_bad_input_is_refused_by_name_and_nothing_is_stored(
    at: Reception, tool: str, change: dict[str, Any], named: str
) -> None:
    arguments = {"project_id": "shop", "message": "mend the till"} | change
    async with calling(at) as client:
        error = await client.refused(tool, **arguments)
    assert error["code"] == "INVALID_ARGUMENT"
    assert named in error["message"]
    assert not await at.book.read(lookup.unfinished)


async def test_a_chat_in_a_project_that_does_not_exist_has_its_own_code(at: Reception) -> None:
    async with calling(at) as client:
        error = await client.refused("codex_start_chat", project_id="nothing", message="mend")
    assert error["code"] == "CODEX_PROJECT_NOT_FOUND"
