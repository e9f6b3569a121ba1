"""The tools as a client of the official SDK meets them, which checks every result's schema."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio
import jsonschema
import pytest

from codex_control_plane_mcp.doors.mcp.calling import call
from codex_control_plane_mcp.doors.mcp.tools import TOOLS
from codex_control_plane_mcp.model.ids import TurnId
from codex_control_plane_mcp.model.operation import (
    Completed,
    Failed,
    Report,
    StructuredStatus,
    Trouble,
)
from tests.desk.reception import Reception
from tests.doors.clients import EVERYTHING, calling, task

# --- The surface ---------------------------------------------------------------------------------


#: What MCP says of a tool that does not say it.
GRANTED = {
    "readOnlyHint": False,
    "destructiveHint": True,
    "idempotentHint": False,
    "openWorldHint": True,
}


def test_every_schema_is_a_schema_and_only_hints_that_say_something_are_given() -> None:
    for one in EVERYTHING.definitions:
        for schema in (one["inputSchema"], one["outputSchema"]):
            jsonschema.Draft202012Validator.check_schema(schema)
            assert schema["type"] == "object"
        for name, hint in one["annotations"].items():
            assert hint is not GRANTED[name]
        if one["annotations"].get("readOnlyHint"):
            # MCP: of a tool that only reads, these mean nothing.
            assert not {"destructiveHint", "idempotentHint"} & set(one["annotations"])


def test_codex_asks_its_person_only_before_a_decision_is_given_or_work_is_cut_off() -> None:
    def asks(hints: dict[str, bool]) -> bool:
        """Codex's own rule for tools of MCP servers."""
        hints = GRANTED | hints
        if hints["readOnlyHint"]:
            return False
        return hints["destructiveHint"] or hints["openWorldHint"]

    asked_for = [one["name"] for one in EVERYTHING.definitions if asks(one["annotations"])]
    assert asked_for == [
        "codex_answer_pending_interaction",
        "codex_approve_plan",
        "codex_execute_plan",
        "codex_repair_issue",
        "codex_restart_app_server",
    ]


def test_what_may_be_sent_again_changes_nothing_twice() -> None:
    for tool in TOOLS:
        # An answer that is given twice is refused, for the first may have been another one.
        once = tool.name == "codex_answer_pending_interaction"
        # A drop-in call whose answer was lost goes on with what it began.
        is_safe = (tool.hints.idempotent and not once) or tool.toolset == "dropin"
        assert tool.repeatable == is_safe, tool.name
        assert tool.keyed == ("client_request_id" in tool.arguments.model_fields), tool.name


# --- There and back ------------------------------------------------------------------------------


async def test_a_task_goes_there_and_back(at: Reception) -> None:
    async with calling(at) as client:
        receipt = await client.ok("codex_submit_task", **task(at, client_request_id="r-1"))
        id_ = receipt["operationId"]
        assert (receipt["status"], receipt["idempotent"]) == ("queued", False)
        assert receipt["createdAt"] == "2026-01-01T00:00:00.000Z"

        await at.workshop.start(id_)
        interaction_id = await at.workshop.ask(id_, {"command": "rm -r build"})
        waited = await client.ok("codex_wait", operation_ids=[id_], wait_seconds=45)
        assert waited["operations"][0]["nextRecommendedAction"] == "answer_pending_interaction"

        listed = await client.ok("codex_list_pending_interactions", operation_id=id_)
        assert [one["command"] for one in listed["interactions"]] == ["rm -r build"]

        async with anyio.create_task_group() as group:
            group.start_soon(at.workshop.grant_wishes)
            answered = await client.ok(
                "codex_answer_pending_interaction",
                interaction_id=interaction_id,
                decision="accept",
            )
        assert answered["answeredBy"].startswith("mcp:")

        await at.workshop.grant_wishes()
        await at.workshop.complete(id_, "mended")
        status = await client.ok("codex_get_operation_status", operation_id=id_)
        assert status["status"] == "completed"
        assert status["finalReport"]["text"] == "mended"
        assert status["finalReport"]["structured"] is None
        assert status["effectivePolicy"]["approvalPolicy"] == "on-request"

        again = await client.ok("codex_submit_task", **task(at, client_request_id="r-1"))
        assert (again["operationId"], again["idempotent"]) == (id_, True)


CONTRACT = frozenset(
    """
    ok operationId clientRequestId operationType status phase projectId threadId turnId workflowId
    cwd createdAt updatedAt startedAt completedAt queueState pendingInteractions latestMessages
    progressEvents latestSeq tokenUsage finalReport lastError evidence nextRecommendedAction
    pollRecommended recommendedPollAfterSeconds
    """.split()  # noqa: SIM905  a list of thirty quoted words is harder to compare
)


async def test_every_field_of_the_contract_is_there_from_the_start(at: Reception) -> None:
    async with calling(at) as client:
        id_ = (await client.ok("codex_submit_task", **task(at)))["operationId"]
        status = await client.ok("codex_get_operation_status", operation_id=id_)
        assert set(status) >= CONTRACT
        without = await client.ok("codex_get_operation_status", operation_id=id_, progress_events=0)
        assert "progressEvents" not in without


async def test_a_message_is_sent_to_a_chat(at: Reception) -> None:
    async with calling(at) as client:
        receipt = await client.ok(
            "codex_submit_task",
            operation_type="send_message",
            chat_id="t-9",
            project_id="shop",
            message="hello",
        )
        assert receipt["threadId"] == "t-9"


async def test_a_question_is_answered_with_words(at: Reception) -> None:
    question = {"id": "q", "header": "H", "question": "Why?", "isOther": True}
    async with calling(at) as client:
        id_ = (await client.ok("codex_submit_task", **task(at)))["operationId"]
        await at.workshop.start(id_)
        interaction_id = await at.workshop.ask(
            id_, {"questions": [question]}, "item/tool/requestUserInput"
        )
        (shown,) = (await client.ok("codex_list_pending_interactions"))["interactions"]
        assert shown["questions"][0]["question"] == "Why?"
        receipt = await client.ok(
            "codex_answer_pending_interaction",
            interaction_id=interaction_id,
            answers={"q": ["because"]},
        )
        assert receipt["delivered"] is False


@pytest.mark.parametrize(
    "payload", [{"decision": "accept"}, {"acceptWithExecpolicyAmendment": {"command": ["ls"]}}]
)
async def test_a_decision_may_come_as_an_object(at: Reception, payload: dict[str, Any]) -> None:
    offers = ["accept", {"acceptWithExecpolicyAmendment": {"command": ["ls"]}}]
    async with calling(at) as client:
        id_ = (await client.ok("codex_submit_task", **task(at)))["operationId"]
        await at.workshop.start(id_)
        interaction_id = await at.workshop.ask(id_, {"availableDecisions": offers})
        await client.ok(
            "codex_answer_pending_interaction",
            interaction_id=interaction_id,
            decision_payload=payload,
        )


async def test_a_turn_is_interrupted(at: Reception) -> None:
    async with calling(at) as client:
        id_ = (await client.ok("codex_submit_task", **task(at)))["operationId"]
        await at.workshop.start(id_)
        first = await client.ok("codex_interrupt_turn", thread_id="t-1", turn_id="u-1")
        assert (first["operationId"], first["ended"]) == (id_, False)
        await at.workshop.grant_wishes()
        then = await client.ok("codex_interrupt_turn", operation_id=id_)
        assert (then["status"], then["changed"]) == ("interrupted", False)


async def test_queue_and_workers_are_shown(at: Reception) -> None:
    async with calling(at) as client:
        more = {"agent_id": "ann", "resource_keys": ["src/"], "priority": "low"}
        id_ = (await client.ok("codex_submit_task", **task(at, **more)))["operationId"]
        waiting = await client.ok("codex_get_queue_status", limit=5)
        (line,) = waiting["queued"]
        assert (line["operationId"], line["agentId"], line["position"]) == (id_, "ann", 1)
        assert (line["priority"], line["resourceKeys"]) == ("low", ["src"])
        await at.workshop.start(id_)
        running = await client.ok("codex_get_queue_status", status="active")
        assert running["active"][0]["slots"] == ["global", "project", "agent", "thread"]
        assert running["limits"]["maxActiveTurnsGlobal"] == 4
        assert (await client.ok("codex_get_worker_status"))["workers"] == []


async def test_projects_and_health_are_shown(at: Reception) -> None:
    async with calling(at) as client:
        projects = await client.ok("codex_list_projects")
        assert [one["name"] for one in projects["projects"]] == ["shop"]

        health = await client.ok("codex_health_summary")
        assert health["overallStatus"] == "healthy"
        assert health["serverName"] == "codex-control-plane-mcp"
        assert health["contractVersion"] == "1"
        known = {*health["stableTools"], *health["compatibilityTools"]}
        assert known == {tool.name for tool in TOOLS}
        assert health["activeWork"] == {
            "activeTurnCount": 0,
            "pendingInteractionCount": 0,
            "pendingRequests": 0,
        }


# --- Refusals ------------------------------------------------------------------------------------


DEEP: Any = "x"
for _ in range(100):  # the SDK's own client sends no more; the listener's tests do
    DEEP = {"x": DEEP}


@pytest.mark.parametrize(
    ("tool", "change", "named"),
    [
        ("codex_submit_task", {"colour": "red"}, "colour"),
        ("codex_submit_task", {"message": 5}, "message"),
        ("codex_submit_task", {"message": ""}, "message"),
        ("codex_submit_task", {"message": "x" * 200_001}, "message"),
        ("codex_submit_task", {"message": "a\0b"}, "message"),
        ("codex_submit_task", {"message": "a\ud800b"}, "message"),
        ("codex_submit_task", {"client_request_id": "r" * 201}, "client_request_id"),
        ("codex_submit_task", {"operation_type": "fly"}, "operation_type"),
        ("codex_submit_task", {"collaboration_mode": "chaos"}, "collaboration_mode"),
        ("codex_submit_task", {"sandbox": "none"}, "sandbox"),
        ("codex_submit_task", {"ephemeral": "yes"}, "ephemeral"),
        ("codex_submit_task", {"cwd": "/"}, "cwd"),
        ("codex_submit_task", {"resource_keys": "src"}, "resource_keys"),
        ("codex_submit_task", {"resource_keys": ["../etc"]}, "resource_keys"),
        ("codex_submit_task", {"resource_keys": ["k"] * 33}, "resource_keys"),
        ("codex_submit_task", {"thread_id": "a", "chat_id": "b"}, "chat_id"),
        ("codex_get_queue_status", {"limit": 0}, "limit"),
        ("codex_get_queue_status", {"status": "done"}, "status"),
        ("codex_get_worker_status", {"limit": 51}, "limit"),
        ("codex_get_operation_status", {}, "operation_id"),
        ("codex_get_operation_status", {"operation_id": "x", "wait_seconds": 46}, "wait_seconds"),
        ("codex_get_operation_status", {"operation_id": "x", "wait_seconds": True}, "wait_seconds"),
        ("codex_wait", {"operation_ids": []}, "operation_ids"),
        ("codex_wait", {"operation_ids": ["x"] * 51}, "operation_ids"),
        ("codex_wait", {"operation_ids": [5]}, "operation_ids"),
        ("codex_list_pending_interactions", {"status": "open"}, "status"),
        ("codex_list_pending_interactions", {"cursor": "x"}, "cursor"),
        ("codex_answer_pending_interaction", {"interaction_id": "x"}, "decision"),
        (
            "codex_answer_pending_interaction",
            {"interaction_id": "x", "action": "accept", "content": DEEP},
            "content",
        ),
        (
            "codex_answer_pending_interaction",
            {"interaction_id": "x", "action": "accept", "content": {"a": ["\ud800"]}},
            "content",
        ),
        ("codex_interrupt_turn", {}, "operation_id"),
        ("codex_interrupt_turn", {"operation_id": "x", "turn_id": "y"}, "operation_id"),
        ("codex_nothing", {}, "codex_nothing"),
    ],
)
async def test_bad_input_is_refused_by_name_and_nothing_is_stored(
    at: Reception, tool: str, change: dict[str, Any], named: str
) -> None:
    arguments = task(at) | change if tool == "codex_submit_task" else change
    async with calling(at) as client:
        error = await client.refused(tool, **arguments)
        assert error["code"] == "INVALID_ARGUMENT"
        assert named in error["message"]
        assert error["retryable"] is False
        health = await client.ok("codex_health_summary")
        assert health["activeWork"]["pendingRequests"] == 0


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("codex_get_operation_status", {"operation_id": "op_x"}, "CODEX_OPERATION_NOT_FOUND"),
        ("codex_wait", {"operation_ids": ["op_x"]}, "CODEX_OPERATION_NOT_FOUND"),
        ("codex_interrupt_turn", {"thread_id": "t", "turn_id": "u"}, "CODEX_TURN_NOT_FOUND"),
        (
            "codex_answer_pending_interaction",
            {"interaction_id": "ia_x", "decision": "accept"},
            "CODEX_PENDING_INTERACTION_NOT_FOUND",
        ),
        (
            "codex_submit_task",
            {"operation_type": "start_chat", "message": "m", "project_id": "nothing"},
            "CODEX_PROJECT_NOT_FOUND",
        ),
        ("codex_health_summary", {"thread_id": "t"}, "CODEX_THREAD_NOT_FOUND"),
    ],
)
async def test_what_does_not_exist_has_its_own_code(
    at: Reception, tool: str, arguments: dict[str, Any], code: str
) -> None:
    async with calling(at) as client:
        assert (await client.refused(tool, **arguments))["code"] == code


async def test_a_second_task_of_the_same_words_names_the_first(at: Reception) -> None:
    async with calling(at) as client:
        id_ = (await client.ok("codex_submit_task", **task(at)))["operationId"]
        error = await client.refused("codex_submit_task", **task(at))
    assert error["code"] == "CODEX_DUPLICATE_PROMPT_ACTIVE"
    assert error["details"]["existingOperationId"] == id_


async def test_a_fault_of_ours_shows_nothing_of_the_inside(
    at: Reception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_down(_scope: object) -> None:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(at.desk, "health", break_down)
    async with calling(at) as client:
        with caplog.at_level(logging.ERROR):
            error = await client.refused("codex_health_summary")
    assert error["code"] == "CODEX_STATE_BUSY"
    assert error["retryable"] is True
    assert "inside" not in error["message"]
    assert "the secret inside" in caplog.text


# --- Size and secrets ----------------------------------------------------------------------------


async def test_secrets_are_masked_and_commands_are_not(at: Reception) -> None:
    async with calling(at) as client:
        id_ = (await client.ok("codex_submit_task", **task(at)))["operationId"]
        await at.workshop.start(id_)
        await at.workshop.ask(id_, {"command": "curl -H 'Authorization: Bearer abcdefgh1234' x"})
        (shown,) = (await client.ok("codex_list_pending_interactions"))["interactions"]
    assert shown["command"] == "curl -H 'Authorization: Bearer [redacted]' x"


async def test_a_result_is_valid_unicode_whatever_it_has_to_name(at: Reception) -> None:
    for arguments in ({"\ud800": 1}, {"operation_id": "größer \ud800"}):
        result = await call(at.desk, "codex_get_operation_status", arguments, "ann")
        assert result["error"]["code"] == "INVALID_ARGUMENT"
        json.dumps(result, ensure_ascii=False).encode()
    unknown = await call(at.desk, "codex_\ud800", {}, "ann")
    json.dumps(unknown, ensure_ascii=False).encode()


async def test_a_long_report_is_read_to_the_letter_though_every_page_is_cut_to_fit(
    at: Reception,
) -> None:
    report = "".join(f'{n}: "quoted" \\ größer\n' for n in range(900))
    async with calling(at) as client:
        id_ = (await client.ok("codex_submit_task", **task(at)))["operationId"]
        await at.workshop.start(id_)
        await at.workshop.note(id_, *("step " * 40 for _ in range(50)))
        await at.workshop.complete(id_, report)
        parts: list[str] = []
        arguments: dict[str, Any] = {"operation_id": id_}
        while True:
            page = await client.ok(
                "codex_get_operation_status",
                progress_events=50,
                progress_max_chars=4000,
                **arguments,
            )
            parts.append(page["finalReport"]["text"])
            if page["finalReport"]["nextOffset"] is None:
                break
            follow = page["finalReport"]["readFullVia"]
            assert follow["tool"] == "codex_get_operation_status"
            arguments = follow["arguments"]
    assert "".join(parts) == report
    assert len(parts) > 1


async def test_a_structured_report_is_shown_whole_or_not_at_all(at: Reception) -> None:
    schema = {
        "type": "object",
        "properties": {"lines": {"type": "array", "items": {"type": "string"}}},
        "required": ["lines"],
        "additionalProperties": False,
    }
    async with calling(at) as client:
        for count, is_shown in ((1, True), (390, True), (900, False)):
            answer = {"lines": ['a "quote"'] * count}
            given = task(at, message=f"{count} lines", output_schema=schema)
            id_ = (await client.ok("codex_submit_task", **given))["operationId"]
            await at.workshop.start(id_)
            report = Report(json.dumps(answer), TurnId("u-1"), None, StructuredStatus.VALID)
            await at.workshop.note(id_, *("step " * 40 for _ in range(50)))
            await at.workshop.record(id_, Completed(report))
            shown = await client.ok("codex_get_operation_status", operation_id=id_)
            assert shown["finalReport"]["structured"] == (answer if is_shown else None)
            assert shown["finalReport"]["structuredStatus"] == "valid"
            assert shown["outputSchemaState"] == {
                "provided": True,
                "applied": True,
                "structuredStatus": "valid",
            }


async def test_events_followed_by_number_are_not_lost_to_a_short_result(at: Reception) -> None:
    async with calling(at) as client:
        id_ = (await client.ok("codex_submit_task", **task(at)))["operationId"]
        await at.workshop.start(id_)
        for number in range(60):
            await at.workshop.note(id_, f"{number} " + "x" * 900)
        seen: list[int] = []
        after = 0
        while True:
            page = await client.ok(
                "codex_get_operation_status",
                operation_id=id_,
                after_seq=after,
                progress_events=50,
                progress_max_chars=4000,
            )
            if not page["progressEvents"]:
                break
            seen += [event["seq"] for event in page["progressEvents"]]
            after = page["nextAfterSeq"]
    assert seen == list(range(1, page["latestSeq"] + 1))


async def test_long_questions_come_page_by_page_and_a_very_long_one_is_cut(
    at: Reception,
) -> None:
    async with calling(at) as client:
        id_ = (await client.ok("codex_submit_task", **task(at)))["operationId"]
        await at.workshop.start(id_)
        for number in range(6):
            at.clock.at += 1
            size = 50_000 if number == 3 else 2_500
            command = {"command": f"{number} " + "x" * size}
            await at.workshop.ask(id_, command, request_id=number)
        seen: list[str] = []
        arguments: dict[str, Any] = {}
        while True:
            page = await client.ok("codex_list_pending_interactions", **arguments)
            seen += [one["command"] for one in page["interactions"]]
            if page["nextCursor"] is None:
                break
            assert page.get("truncated") or len(page["interactions"]) == 20
            arguments = {"cursor": page["nextCursor"]}
    assert [command[0] for command in seen] == list("012345")
    assert "characters cut" in seen[3]


async def test_many_projects_and_errors_still_fit(at: Reception) -> None:
    for number in range(150):
        (at.project.parent / f"project-with-a-long-name-{number}").mkdir()
    async with calling(at) as client:
        found = await client.ok("codex_list_projects", limit=200)
        assert found["truncated"] is True
        assert (found["total"], len(found["projects"]) > 20) == (151, True)

        id_ = (await client.ok("codex_submit_task", **task(at)))["operationId"]
        await at.workshop.start(id_)
        await at.workshop.record(id_, Failed(Trouble("x", "y" * 50_000)))
        await client.ok("codex_health_summary")
        status = await client.ok("codex_get_operation_status", operation_id=id_)
        assert status["truncated"] is True
        assert "characters cut" in status["lastError"]["message"]
