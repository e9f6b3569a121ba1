"""The tools for workflows: what they take, refuse and show, as a client meets them."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.model.operation import (
    Claimed,
    Completed,
    Plan,
    Policy,
    Report,
    ThreadBound,
    TurnAccepted,
    TurnIntended,
)
from tests.desk.reception import APP_SERVER, ME, Reception
from tests.doors.clients import Caller, calling


async def planned(at: Reception, client: Caller, markdown: str) -> str:
    """A workflow whose plan is ready; its id."""
    begun = await client.ok(
        "codex_start_plan_workflow", message="mend the till", cwd=str(at.project)
    )
    await at.workshop.record(
        begun["planOperationId"],
        Claimed(ME),
        ThreadBound(ThreadId("t-1"), APP_SERVER, Policy("read-only", "on-request", "gpt")),
        TurnIntended(None),
        TurnAccepted(TurnId("u-1")),
        Completed(Report("Like this.", TurnId("u-1"), Plan("u-1-plan", markdown))),
    )
    id_: str = begun["workflowId"]
    return id_


async def test_a_plan_goes_there_and_back(at: Reception) -> None:
    async with calling(at) as client:
        id_ = await planned(at, client, "1. Oil it")
        shown = await client.ok("codex_get_workflow_status", workflow_id=id_)
        assert (shown["workflowKind"], shown["phase"]) == ("plan_then_execute", "plan_ready")
        assert shown["latestPlan"]["markdown"] == "1. Oil it"
        assert shown["latestPlan"]["itemId"] == "u-1-plan"
        approval = {"workflow_id": id_, "plan_hash": shown["latestPlan"]["planHash"]}
        first = await client.ok("codex_approve_plan", **approval)
        again = await client.ok("codex_approve_plan", **approval)
        assert (first["idempotent"], again["idempotent"]) == (False, True)
        assert again["executionOperationId"] == first["executionOperationId"]

        waited = await client.ok("codex_wait", workflow_ids=[id_], wait_seconds=0)
        assert waited["workflows"] == []  # Nothing that wants anybody.
        execution = await client.ok(
            "codex_get_operation_status", operation_id=first["executionOperationId"]
        )
        assert (execution["operationType"], execution["workflowId"]) == ("execute_plan", id_)


async def test_a_plan_is_carried_out_by_the_older_call_too(at: Reception) -> None:
    async with calling(at) as client:
        id_ = await planned(at, client, "1. Oil it")
        stale = await client.refused("codex_execute_plan", workflow_id=id_, plan_hash="0" * 64)
        assert stale["details"]["field"] == "plan_hash"
        began = anyio.current_time()
        shown = await client.ok("codex_execute_plan", workflow_id=id_)
        # Nobody works here: it answers all the same, in time.
        assert (shown["status"], shown["operationType"]) == ("queued", "execute_plan")
        assert anyio.current_time() - began == 40
        again = await client.ok("codex_execute_plan", workflow_id=id_, timeout_seconds=0)
        assert (again["operationId"], again["idempotent"]) == (shown["operationId"], True)

        await at.workshop.start(shown["operationId"], turn="u-2")
        running = await client.ok("codex_execute_plan", workflow_id=id_)
        assert running["status"] == "running"
        chat = await client.ok("codex_execute_plan", chat_id="t-1", timeout_seconds=0)
        assert (chat["operationType"], chat["threadId"]) == ("execute_plan", "t-1")


async def test_a_long_plan_is_cut_with_a_cursor_and_nowhere_else(at: Reception) -> None:
    long = "\n".join(f'{number}. Turn the "screw"' for number in range(3_000))
    async with calling(at) as client:
        id_ = await planned(at, client, long)
        text, offset = "", 0
        while offset is not None:
            shown = await client.ok(
                "codex_get_workflow_status",
                workflow_id=id_,
                plan_offset=offset,
                include_events=True,
            )
            text += shown["latestPlan"]["markdown"]
            offset = shown["latestPlan"]["nextOffset"]
        assert text == long


async def test_a_long_plan_and_a_long_report_have_both_their_cursor(at: Reception) -> None:
    async with calling(at) as client:
        id_ = await planned(at, client, "plan " * 5_000)
        approved = await client.ok("codex_approve_plan", workflow_id=id_)
        execution = approved["executionOperationId"]
        await at.workshop.start(execution, turn="u-2")
        await at.workshop.complete(execution, "report " * 5_000, turn="u-2")
        shown = await client.ok("codex_get_workflow_status", workflow_id=id_)
        plan, report = shown["latestPlan"], shown["finalReport"]
        assert plan["nextOffset"] == len(plan["markdown"])
        assert report["nextOffset"] == len(report["text"])
        assert len(report["text"]) > len(plan["markdown"])
        assert report["readFullVia"]["tool"] == "codex_get_operation_status"


WHERE: dict[str, Any] = {"project_id": "shop"}


@pytest.mark.parametrize(
    ("tool", "arguments", "named"),
    [
        ("codex_start_plan_workflow", {"message": "x", **WHERE, "plan": 1}, "plan"),
        ("codex_start_plan_workflow", WHERE, "message"),
        ("codex_start_plan_workflow", {"message": "", **WHERE}, "message"),
        ("codex_start_plan_workflow", {"message": "x" * 200_001, **WHERE}, "message"),
        ("codex_start_plan_workflow", {"message": "x\0", **WHERE}, "message"),
        ("codex_start_plan_workflow", {"message": "x"}, "cwd"),
        ("codex_start_plan_workflow", {"message": "x", "cwd": "/"}, "cwd"),
        (
            "codex_start_plan_workflow",
            {"message": "x", **WHERE, "client_request_id": "r" * 201},
            "client_request_id",
        ),
        (
            "codex_start_plan_workflow",
            {"message": "x", **WHERE, "goal": "y", "goal_token_budget": 0},
            "goal_token_budget",
        ),
        ("codex_start_review_workflow", WHERE, "target_type"),
        ("codex_start_review_workflow", {"target_type": "all", **WHERE}, "target_type"),
        ("codex_start_review_workflow", {"target_type": "base_branch", **WHERE}, "base_branch"),
        ("codex_start_review_workflow", {"target_type": "commit", **WHERE}, "commit_sha"),
        ("codex_start_review_workflow", {"target_type": "custom", **WHERE}, "instructions"),
        (
            "codex_start_review_workflow",
            {"target_type": "uncommitted_changes", "base_branch": "main", **WHERE},
            "base_branch",
        ),
        (
            "codex_start_review_workflow",
            {"target_type": "uncommitted_changes", "thread_id": "t-unknown"},
            "cwd",
        ),
        ("codex_get_workflow_status", {}, "workflow_id"),
        ("codex_get_workflow_status", {"workflow_id": "w", "wait_seconds": 46}, "wait_seconds"),
        ("codex_approve_plan", {"workflow_id": "w", "sandbox": "none"}, "sandbox"),
        ("codex_adopt_workflow_plan", {"workflow_id": "w"}, "candidate_turn_id"),
        ("codex_wait", {}, "operation_ids"),
        ("codex_execute_plan", {}, "workflow_id"),
        ("codex_execute_plan", {"workflow_id": "w", "chat_id": "t"}, "workflow_id"),
        ("codex_execute_plan", {"chat_id": "t", "plan_hash": "h"}, "plan_hash"),
        ("codex_interrupt_turn", {"workflow_id": "w", "operation_id": "o"}, "operation_id"),
    ],
)
async def test_bad_input_is_refused_by_name_and_stores_nothing(
    at: Reception, tool: str, arguments: dict[str, Any], named: str
) -> None:
    async with calling(at) as client:
        error = await client.refused(tool, **arguments)
        assert error["code"] == "INVALID_ARGUMENT"
        assert error["details"]["field"] == named
        health = await client.ok("codex_health_summary")
        assert health["queue"]["queued"] == 0


@pytest.mark.parametrize(
    ("tool", "more"),
    [
        ("codex_get_workflow_status", {}),
        ("codex_approve_plan", {}),
        ("codex_adopt_workflow_plan", {"candidate_turn_id": "u", "candidate_plan_hash": "h"}),
        ("codex_interrupt_turn", {}),
        ("codex_list_pending_interactions", {}),
        ("codex_submit_task", {"operation_type": "send_message", "message": "x"}),
    ],
)
async def test_an_unknown_workflow_has_a_code_of_its_own(
    at: Reception, tool: str, more: dict[str, Any]
) -> None:
    async with calling(at) as client:
        error = await client.refused(tool, workflow_id="wf-none", **more)
        assert error["code"] == "CODEX_WORKFLOW_NOT_FOUND"
