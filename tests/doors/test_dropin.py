"""`codex` and `codex-reply`: an answer in time, and the same call again goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.repeats import OWED_SECONDS
from codex_control_plane_mcp.desk.wait import ANSWER_SECONDS
from codex_control_plane_mcp.model.operation import Claimed, Failed, Interrupted, Trouble
from codex_control_plane_mcp.model.request import SendMessage, StartChat
from codex_control_plane_mcp.store import lookup
from tests.desk.reception import ME, Reception, reception
from tests.doors.clients import Caller, begun, calling

CALL = {"prompt": "mend the till"}


async def handle(client: Caller) -> str:
    """A call that Codex has not answered in time."""
    waiting = await client.ok("codex", **CALL)
    assert waiting["status"] == "queued"
    operation_id: str = waiting["operationId"]
    return operation_id


# --- One call ------------------------------------------------------------------------------------


async def test_the_answer_is_there_when_the_turn_ends(at: Reception) -> None:
    async def work() -> None:
        id_ = await begun(at)
        await at.workshop.start(id_)
        await at.workshop.complete(id_, "The till is mended.")

    async with calling(at) as client, anyio.create_task_group() as group:
        group.start_soon(work)
        answer = await client.ok("codex", **CALL, cwd=str(at.project))
    assert (answer["content"], answer["threadId"]) == ("The till is mended.", "t-1")
    assert (answer["status"], answer["idempotent"]) == ("completed", False)


async def test_the_native_arguments_arrive(at: Reception) -> None:
    async with calling(at) as client, anyio.create_task_group() as group:
        call = {
            "cwd": str(at.project),
            "model": "gpt-test",
            "sandbox": "workspace-write",
            "approval-policy": "never",
            "config": {"model_reasoning_effort": "high"},
            "profile": None,
        }
        group.start_soon(lambda: client.ok("codex", **CALL, **call))
        await begun(at)
        group.cancel_scope.cancel()
    (operation,) = await at.book.read(lookup.unfinished)
    request = operation.request
    assert isinstance(request, StartChat)
    assert (request.message, request.cwd) == ("mend the till", str(at.project))
    options = request.options
    assert (options.model, options.sandbox) == ("gpt-test", "workspace-write")
    assert (options.approval_policy, options.effort) == ("never", "high")


async def test_after_forty_seconds_there_is_a_handle_and_how_to_go_on(at: Reception) -> None:
    async with calling(at) as client:
        before = anyio.current_time()
        waiting = await client.ok("codex", **CALL)
        assert anyio.current_time() - before == pytest.approx(ANSWER_SECONDS)
    assert (waiting["status"], waiting["nextRecommendedAction"]) == ("queued", "wait")
    assert "same call again" in waiting["content"]


async def test_a_question_is_shown_at_once_and_the_same_call_then_waits_for_the_result(
    at: Reception,
) -> None:
    async with calling(at) as client:
        id_ = await handle(client)
        await at.workshop.start(id_)
        await at.workshop.ask(id_, {"command": "rm -r build"})
        before = anyio.current_time()
        asked = await client.ok("codex", **CALL)
        assert anyio.current_time() == before
        assert asked["nextRecommendedAction"] == "answer_pending_interaction"
        assert asked["pendingInteractions"][0]["command"] == "rm -r build"
        assert "codex_answer_pending_interaction" in asked["content"]


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        (Failed(Trouble("usageLimitExceeded", "come back at six")), "failed", "come back at six"),
        (Interrupted(), "interrupted", "interrupted"),
    ],
)
async def test_an_end_that_is_no_success_is_never_shown_as_an_answer(
    at: Reception, end: Failed | Interrupted, status: str, said: str
) -> None:
    async with calling(at) as client:
        id_ = await handle(client)
        await at.workshop.start(id_)
        await at.workshop.record(id_, end)
        answer = await client.ok("codex", **CALL)
    assert answer["status"] == status
    assert answer["content"].startswith("Codex did not complete this")
    assert said in answer["content"]


async def test_a_long_answer_is_read_to_its_end(at: Reception) -> None:
    report = "".join(f'{n}: "quoted" \\ größer\n' for n in range(900))
    async with calling(at) as client:
        id_ = await handle(client)
        await at.workshop.start(id_)
        await at.workshop.complete(id_, report)
        answer = await client.ok("codex", **CALL)
        read, follow = answer["content"], answer["readFullVia"]
        while follow["arguments"]["report_offset"]:
            assert follow["arguments"]["report_offset"] == len(read)
            page = (await client.ok(follow["tool"], **follow["arguments"]))["finalReport"]
            read, follow = read + page["text"], page["readFullVia"]
    assert read == report


# --- The same call again -------------------------------------------------------------------------


async def test_the_same_call_goes_on_with_what_is_at_work_and_gets_the_result(
    at: Reception,
) -> None:
    async with calling(at) as client:
        id_ = await handle(client)
        await at.workshop.start(id_)
        again = await client.ok("codex", **CALL)
        assert (again["operationId"], again["idempotent"]) == (id_, True)
        await at.workshop.complete(id_, "mended")
        done = await client.ok("codex", **CALL)
    assert (done["operationId"], done["content"], done["idempotent"]) == (id_, "mended", True)


async def test_once_the_result_was_given_the_same_call_is_a_new_task(at: Reception) -> None:
    async with calling(at) as client:
        id_ = await handle(client)
        await at.workshop.start(id_)
        await at.workshop.complete(id_)
        await client.ok("codex", **CALL)
        assert await handle(client) != id_


async def test_a_result_that_its_client_gave_up_on_is_still_owed(at: Reception) -> None:
    async with calling(at) as client:
        with anyio.move_on_after(ANSWER_SECONDS / 2):
            await client.ok("codex", **CALL)
        (operation,) = await at.book.read(lookup.unfinished)
        await at.workshop.start(operation.id)
        await at.workshop.complete(operation.id, "mended")
        assert (await client.ok("codex", **CALL))["content"] == "mended"


async def test_a_result_is_not_owed_for_ever(at: Reception) -> None:
    async with calling(at) as client:
        id_ = await handle(client)
        await at.workshop.start(id_)
        await at.workshop.complete(id_)
        at.clock.at += int(OWED_SECONDS * 1000) + 1
        assert await handle(client) != id_


async def test_the_next_worker_rather_gives_a_result_twice_than_does_a_task_twice(
    at: Reception,
) -> None:
    async with calling(at) as client:
        id_ = await handle(client)
        await at.workshop.start(id_)
        await at.workshop.complete(id_, "mended")
        await client.ok("codex", **CALL)
    desk = Desk(at.book, at.settings, at.clock, at.runtime, threads=False)
    async with calling(at, desk) as client:
        again = await client.ok("codex", **CALL)
        assert (again["operationId"], again["idempotent"]) == (id_, True)
        assert await handle(client) != id_


@pytest.mark.parametrize(
    "change",
    [{"prompt": "mend the Till"}, {"sandbox": "workspace-write"}, {"model": "gpt-test"}],
)
async def test_another_call_is_another_task_at_the_same_time(
    at: Reception, change: dict[str, str]
) -> None:
    async with calling(at) as client:
        first = await handle(client)
        assert (await client.ok("codex", **(CALL | change)))["operationId"] != first


async def test_the_words_of_a_submitted_task_are_no_call(at: Reception) -> None:
    async with calling(at) as client:
        submitted = await client.ok(
            "codex_submit_task",
            operation_type="start_chat",
            message=CALL["prompt"],
            cwd=str(at.project),
            dedup_policy="idempotency_only",
        )
        assert await handle(client) != submitted["operationId"]


# --- A reply -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["threadId", "conversationId"])
async def test_a_reply_runs_in_the_thread_as_the_turn_before_it_ran(
    at: Reception, name: str
) -> None:
    how = {"sandbox": "workspace-write", "approval-policy": "never", "model": "gpt-test"}
    async with calling(at) as client:
        first = await client.ok("codex", **CALL, **how)
        await at.workshop.start(first["operationId"])
        await at.workshop.complete(first["operationId"])

        reply = {"prompt": "and the door", name: "t-1"}
        waiting = await client.ok("codex-reply", **reply)
        (operation,) = await at.book.read(lookup.unfinished)
        await at.workshop.start(operation.id, turn="u-2")
        await at.workshop.complete(operation.id, "it closes", turn="u-2")
        done = await client.ok("codex-reply", **reply)
    assert (done["operationId"], done["content"]) == (waiting["operationId"], "it closes")
    assert done["threadId"] == "t-1"
    request = operation.request
    assert isinstance(request, SendMessage)
    assert request.options.sandbox == "workspace-write"
    assert request.options.approval_policy == "never"
    assert request.options.model == "gpt-test"


# --- Refusals ------------------------------------------------------------------------------------


async def test_without_a_cwd_the_only_folder_is_meant_and_among_several_none(
    tmp_path: Path,
) -> None:
    with reception(tmp_path, toolsets=("dropin",)) as at:
        async with calling(at) as client:
            await client.ok("codex", **CALL)
            (operation,) = await at.book.read(lookup.unfinished)
            assert operation.request.cwd == str(at.project)

            (at.project.parent / "garden").mkdir()
            error = await client.refused("codex", **CALL)
    assert (error["code"], error["details"]["field"]) == ("INVALID_ARGUMENT", "cwd")
    assert "cwd is needed" in error["message"]


async def test_without_a_cwd_the_only_allowed_root_is_meant(tmp_path: Path) -> None:
    root = (tmp_path / "roots").resolve()
    with reception(tmp_path, toolsets=("dropin",), projects_root=None, allowed_roots=(root,)) as at:
        (at.project.parent / "garden").mkdir()
        async with calling(at) as client:
            await client.ok("codex", **CALL)
        (operation,) = await at.book.read(lookup.unfinished)
        assert operation.request.cwd == str(root)


@pytest.mark.parametrize(
    ("tool", "change", "named"),
    [
        ("codex", {"prompt": None}, "prompt"),
        ("codex", {"prompt": ""}, "prompt"),
        ("codex", {"prompt": "x" * 200_001}, "prompt"),
        ("codex", {"prompt": "a\0b"}, "prompt"),
        ("codex", {"cwd": "/"}, "cwd"),
        ("codex", {"cwd": "shop"}, "cwd"),
        ("codex", {"cwd": ""}, "cwd"),
        ("codex", {"sandbox": "none"}, "sandbox"),
        ("codex", {"approval-policy": "on-failure"}, "approval-policy"),
        ("codex", {"approval_policy": "never"}, "approval_policy"),
        ("codex", {"config": {"mcp_servers": {}}}, "config.mcp_servers"),
        ("codex", {"config": {"model_reasoning_effort": 5}}, "config.model_reasoning_effort"),
        ("codex", {"profile": "fast"}, "profile"),
        ("codex", {"base-instructions": "be kind"}, "base-instructions"),
        ("codex", {"developer-instructions": "be kind"}, "AGENTS.md"),
        ("codex", {"compact-prompt": "be short"}, "compact-prompt"),
        ("codex", {"include-plan-tool": True}, "include-plan-tool"),
        ("codex", {"threadId": "t-1"}, "threadId"),
        ("codex-reply", {}, "threadId"),
        ("codex-reply", {"threadId": ""}, "threadId"),
        ("codex-reply", {"threadId": "a", "conversationId": "b"}, "conversationId"),
        ("codex-reply", {"threadId": "t-9"}, "not known here"),
        ("codex-reply", {"threadId": "t-9", "cwd": "/"}, "cwd"),
    ],
)
async def test_bad_input_is_refused_by_name_and_nothing_is_stored(
    at: Reception, tool: str, change: dict[str, Any], named: str
) -> None:
    async with calling(at) as client:
        error = await client.refused(tool, **(CALL | change))
    assert error["code"] == "INVALID_ARGUMENT"
    assert named in error["message"]
    assert not await at.book.read(lookup.unfinished)


async def test_a_task_that_fails_to_start_can_be_asked_for_again(at: Reception) -> None:
    async with calling(at) as client:
        id_ = await handle(client)
        trouble = Trouble("CODEX_APP_SERVER_UNAVAILABLE", "no Codex here")
        await at.workshop.record(id_, Claimed(ME), Failed(trouble))
        assert "no Codex here" in (await client.ok("codex", **CALL))["content"]
        assert await handle(client) != id_
