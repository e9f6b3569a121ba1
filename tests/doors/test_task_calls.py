"""Operations and workflows as tasks of MCP, to a client of 2026-07-28 that takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client import advertise
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitResult, Request, RequestParams, Result
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import ConfigDict

from codex_control_plane_mcp import tracing
from codex_control_plane_mcp.doors.mcp.task_calls import TASKS
from codex_control_plane_mcp.model.operation import Failed, Interrupted, Lost, Trouble
from tests.desk.reception import Reception
from tests.doors.clients import calling, task
from tests.doors.eras import LEGACY, MODERN, call, client_in
from tests.doors.test_workflow_tools import planned


class _Params(RequestParams):
    model_config = ConfigDict(extra="allow")


class _Answer(Result):
    model_config = ConfigDict(extra="allow")


class Requester:
    """Speaks the extension as it is on the wire."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        request: Any = Request[Any, Any](method=method, params=_Params(**params))
        result = await self.client.session.send_request(request, _Answer)
        found = result.model_dump(by_alias=True, mode="json")
        del found["_meta"]
        return found

    async def refused(self, method: str, **params: Any) -> MCPError:
        with pytest.raises(MCPError) as caught:
            await self.ask(method, **params)
        return caught.value

    async def get(self, task_id: str) -> dict[str, Any]:
        return await self.ask("tasks/get", taskId=task_id)


async def show(_context: Any, _params: Any) -> ElicitResult:
    raise AssertionError("a task's input is fetched, not pushed")


@asynccontextmanager
async def requesting(at: Reception, **more: Any) -> AsyncIterator[Requester]:
    """A client that takes tasks and shows forms."""
    more = {"elicitation_callback": show, "extensions": [advertise(TASKS)], **more}
    async with client_in(MODERN, at.desk, **more) as client, anyio.create_task_group() as group:

        async def deliver() -> None:
            with at.book.bell.listening() as listener:
                while True:
                    await at.workshop.grant_wishes()
                    await listener.wait()

        group.start_soon(deliver)
        yield Requester(client)
        group.cancel_scope.cancel()


async def submitted(at: Reception, requester: Requester) -> str:
    made = await requester.ask("tools/call", name="codex_submit_task", arguments=task(at))
    assert (made["resultType"], made["status"]) == ("task", "working")
    id_: str = made["taskId"]
    return id_


async def test_a_task_is_the_operation_from_its_start_to_its_report(at: Reception) -> None:
    async with requesting(at) as requester:
        id_ = await submitted(at, requester)
        queued = await requester.get(id_)
        assert (queued["resultType"], queued["statusMessage"]) == ("complete", "queued")
        assert queued["ttlMs"] is None
        await at.workshop.start(id_)
        assert (await requester.get(id_))["status"] == "working"
        await at.workshop.complete(id_, "the till is mended")
        done = await requester.get(id_)
        assert done["status"] == "completed"
        report = done["result"]["structuredContent"]["finalReport"]
        assert report["text"] == "the till is mended"
        assert done["result"]["isError"] is False
    # It is in the book and nowhere else: another client, another server.
    async with requesting(at) as another:
        assert await another.get(id_) == done


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (Failed(Trouble("usageLimitExceeded", "come back at six")), "completed"),
        (Interrupted(), "cancelled"),
        (Lost(Trouble("CODEX_APP_SERVER_UNAVAILABLE", "nobody knows")), "failed"),
    ],
)
async def test_no_other_end_is_shown_as_a_success(at: Reception, end: Any, status: str) -> None:
    async with requesting(at) as requester:
        id_ = await submitted(at, requester)
        await at.workshop.start(id_)
        await at.workshop.record(id_, end)
        ended = await requester.get(id_)
    assert ended["status"] == status
    assert ("result" in ended, "error" in ended) == (status == "completed", status == "failed")
    if status == "completed":
        assert ended["result"]["isError"] is True
        assert ended["statusMessage"] == "come back at six"
    if status == "failed":
        assert ended["error"] == {"code": -32603, "message": "nobody knows"}


async def test_what_codex_asks_is_the_tasks_input(at: Reception) -> None:
    async with requesting(at) as requester:
        id_ = await submitted(at, requester)
        await at.workshop.start(id_)
        first = await at.workshop.ask(id_, {"command": "rm -r build"}, request_id=1)
        second = await at.workshop.ask(id_, {"command": "make"}, request_id=2)
        asking = await requester.get(id_)
        assert asking["status"] == "input_required"
        assert set(asking["inputRequests"]) == {first, second}
        shown = asking["inputRequests"][first]
        assert shown["method"] == "elicitation/create"
        assert "rm -r build" in shown["params"]["message"]

        said = {"action": "accept", "content": {"decision": "decline"}}
        given = {first: said, "ia_unknown": said}
        assert await requester.ask("tasks/update", taskId=id_, inputResponses=given) == {
            "resultType": "complete"
        }
        assert set((await requester.get(id_))["inputRequests"]) == {second}
        # The inbox is as good: whoever is first.
        await call(
            requester.client,
            "codex_answer_pending_interaction",
            interaction_id=second,
            decision="accept",
        )
        assert (await requester.get(id_))["status"] == "working"
        late = {second: said}
        await requester.ask("tasks/update", taskId=id_, inputResponses=late)


async def test_a_client_that_shows_no_forms_is_asked_for_nothing(at: Reception) -> None:
    async with requesting(at, elicitation_callback=None) as requester:
        id_ = await submitted(at, requester)
        await at.workshop.start(id_)
        await at.workshop.ask(id_, {"command": "rm -r build"})
        shown = await requester.get(id_)
    assert (shown["status"], shown["statusMessage"]) == ("working", "waiting_for_approval")
    assert "inputRequests" not in shown


async def test_a_task_can_be_cancelled_and_that_again_changes_nothing(at: Reception) -> None:
    async with requesting(at) as requester:
        id_ = await submitted(at, requester)
        await at.workshop.start(id_)
        for _ in range(2):
            answer = await requester.ask("tasks/cancel", taskId=id_)
            assert answer == {"resultType": "complete"}
            assert (await requester.get(id_))["status"] == "cancelled"


async def test_a_plan_is_decided_on_as_the_tasks_input(at: Reception) -> None:
    async with requesting(at) as requester:
        async with calling(at) as other:
            id_ = await planned(at, other, "1. Oil it")
        ready = await requester.get(id_)
        assert ready["status"] == "input_required"
        ((key, asked),) = ready["inputRequests"].items()
        assert "1. Oil it" in asked["params"]["message"]
        assert asked["params"]["requestedSchema"]["properties"]["decision"]["enum"] == [
            "approve",
            "revise",
        ]
        # A form that was put away decides nothing.
        await requester.ask("tasks/update", taskId=id_, inputResponses={key: {"action": "cancel"}})
        assert (await requester.get(id_))["status"] == "input_required"

        approved = {key: {"action": "accept", "content": {"decision": "approve"}}}
        await requester.ask("tasks/update", taskId=id_, inputResponses=approved)
        carried_out = await requester.get(id_)
        assert (carried_out["status"], carried_out["statusMessage"]) == ("working", "executing")
        # Once: the key is gone.
        await requester.ask("tasks/update", taskId=id_, inputResponses=approved)
        await requester.ask("tasks/cancel", taskId=id_)
        assert (await requester.get(id_))["status"] == "cancelled"


async def test_a_plan_that_is_not_shown_as_a_whole_is_not_approved(at: Reception) -> None:
    async with requesting(at) as requester:
        async with calling(at) as other:
            id_ = await planned(at, other, "1. Oil it\n" * 1_000)
        ((key, asked),) = (await requester.get(id_))["inputRequests"].items()
        offered = asked["params"]["requestedSchema"]["properties"]["decision"]["enum"]
        assert offered == ["revise"]
        approved = {key: {"action": "accept", "content": {"decision": "approve"}}}
        error = await requester.refused("tasks/update", taskId=id_, inputResponses=approved)
        assert error.code == -32602


async def test_a_plan_can_be_sent_back(at: Reception) -> None:
    async with requesting(at) as requester:
        async with calling(at) as other:
            id_ = await planned(at, other, "1. Oil it")
        (key,) = (await requester.get(id_))["inputRequests"]
        empty = {key: {"action": "accept", "content": {"decision": "revise"}}}
        error = await requester.refused("tasks/update", taskId=id_, inputResponses=empty)
        assert error.code == -32602
        words = {"decision": "revise", "message": "Use less oil."}
        revised = {key: {"action": "accept", "content": words}}
        await requester.ask("tasks/update", taskId=id_, inputResponses=revised)
        again = await requester.get(id_)
        assert (again["status"], again["statusMessage"]) == ("working", "planning")


async def test_a_task_that_there_is_not_is_refused(at: Reception) -> None:
    async with requesting(at) as requester:
        for method in ("tasks/get", "tasks/cancel"):
            assert (await requester.refused(method, taskId="op_nothing")).code == -32602
        assert (await requester.refused("tasks/get", taskId="wf_nothing")).code == -32602


async def test_nobody_else_gets_tasks(at: Reception) -> None:
    async with client_in(MODERN, at.desk) as client:
        receipt = await call(client, "codex_submit_task", **task(at))
        assert receipt["status"] == "queued"
        error = await Requester(client).refused("tasks/get", taskId=receipt["operationId"])
        assert error.code == -32021
        assert error.data == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
        wanted = {"taskIds": [receipt["operationId"]]}
        error = await Requester(client).refused("subscriptions/listen", notifications=wanted)
        assert error.code == -32021
    async with client_in(LEGACY, at.desk, extensions=[advertise(TASKS)]) as client:
        again = await call(client, "codex_submit_task", **task(at, message="another"))
        assert again["status"] == "queued"
        error = await Requester(client).refused("tasks/get", taskId=again["operationId"])
        assert error.code == -32601


async def test_what_is_asked_and_told_of_a_task_is_a_part_of_what_the_client_does(
    at: Reception,
) -> None:
    client_says = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    exporter = InMemorySpanExporter()
    with tracing.exporting_to(exporter):
        async with requesting(at) as requester, calling(at) as client:
            id_ = await planned(at, client, "1. Oil it")
            [key] = (await requester.get(id_))["inputRequests"]
            approved = {key: {"action": "accept", "content": {"decision": "approve"}}}
            answered = {"taskId": id_, "inputResponses": approved}
            await requester.ask("tasks/update", **answered, _meta=client_says)
            view = await client.ok("codex_get_workflow_status", workflow_id=id_)
            execution = view["executionOperationId"]
            with tracing.span_of_operation(execution, "operation execute_plan", {}):
                await at.workshop.start(execution)
                await at.workshop.complete(execution)
            await requester.ask("tasks/get", taskId=id_, _meta=client_says)
    theirs = {
        span.name
        for span in exporter.get_finished_spans()
        if span.parent is not None and f"{span.parent.trace_id:032x}" == "a" * 32
    }
    assert theirs == {"operation execute_plan", "execute_tool codex_get_workflow_status"}
