"""Tools of the conformance suite that take their time: real operations in a real book, and a
stand-in for Codex that does to each what its tool is for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any

import anyio
from anyio.abc import TaskGroup
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolRequestParams,
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    TextContent,
)

from codex_control_plane_mcp.desk.status import Look
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.wait import WAITS_FOR_PEOPLE
from codex_control_plane_mcp.doors.mcp.calling import call
from codex_control_plane_mcp.doors.mcp.task_calls import TASKS, TaskCalls
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.operation import FINAL, Failed, Lost, Trouble
from codex_control_plane_mcp.model.request import DedupPolicy, OperationType
from codex_control_plane_mcp.store.bell import Subject
from tests.desk.reception import Reception

Context = ServerRequestContext[Any]
Fate = Callable[[str], Awaitable[None]]

FORM = "mcpServer/elicitation/request"
CONFIRM = {
    "type": "object",
    "properties": {"confirm": {"type": "boolean"}, "name": {"type": "string"}},
    "required": ["confirm"],
}
NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


class Jobs:
    """What the suite's task tools do."""

    def __init__(self, at: Reception, group: TaskGroup) -> None:
        self._at = at
        self._group = group
        self._calls = TaskCalls(at.desk)
        self._numbers = count(1)
        self.tools: Mapping[str, Callable[[Context, CallToolRequestParams], Awaitable[Any]]] = {
            "greet": self._greet,
            "slow_compute": self._slow_compute,
            "failing_job": self._failing_job,
            "protocol_error_job": self._protocol_error_job,
            "confirm_delete": self._confirm_delete,
            "multi_input": self._multi_input,
            "test_tool_with_task": self._with_task,
        }

    async def deliver_wishes(self) -> None:
        """Answers reach Codex, and what is to be cancelled ends."""
        with self._at.book.bell.listening(about=Subject.WISH) as listener:
            while True:
                await self._at.workshop.grant_wishes()
                await listener.wait()

    async def _greet(self, _context: Context, params: CallToolRequestParams) -> CallToolResult:
        return said(f"Hello, {(params.arguments or {}).get('name')}!")

    async def _slow_compute(self, context: Context, params: CallToolRequestParams) -> Any:
        seconds = float((params.arguments or {}).get("seconds", 0))

        async def fate(id_: str) -> None:
            await anyio.sleep(seconds)
            await self._at.workshop.complete(id_, "computed", turn=f"u-{id_}")

        return await self._job(context, fate)

    async def _failing_job(self, context: Context, _params: CallToolRequestParams) -> Any:
        declared = context.session.client_capabilities
        if declared is None or TASKS not in (declared.extensions or {}):
            raise MCPError(
                MISSING_REQUIRED_CLIENT_CAPABILITY,
                "this tool runs as a task only",
                {"requiredCapabilities": {"extensions": {TASKS: {}}}},
            )

        async def fate(id_: str) -> None:
            await self._at.workshop.record(id_, Failed(Trouble("CODEX_SEND_FAILED", "it failed")))

        return await self._job(context, fate)

    async def _protocol_error_job(self, context: Context, _params: CallToolRequestParams) -> Any:
        async def fate(id_: str) -> None:
            await self._at.workshop.record(
                id_, Lost(Trouble("CODEX_APP_SERVER_UNAVAILABLE", "nobody knows"))
            )

        return await self._job(context, fate)

    async def _confirm_delete(self, context: Context, _params: CallToolRequestParams) -> Any:
        return await self._job(context, lambda id_: self._ask(id_, 1))

    async def _multi_input(self, context: Context, _params: CallToolRequestParams) -> Any:
        return await self._job(context, lambda id_: self._ask(id_, 2))

    async def _with_task(self, context: Context, params: CallToolRequestParams) -> Any:
        match (params.input_responses or {}).get("user_name"):
            case ElicitResult(content={"name": name}):
                pass
            case _:
                form = ElicitRequestFormParams(message="Your name?", requested_schema=NAME)
                return InputRequiredResult(input_requests={"user_name": ElicitRequest(params=form)})

        async def fate(id_: str) -> None:
            await self._at.workshop.complete(id_, f"done for {name}", turn=f"u-{id_}")

        return await self._job(context, fate)

    async def _ask(self, id_: str, questions: int) -> None:
        for number in range(questions):
            asked = {
                "threadId": f"t-{id_}",
                "turnId": f"u-{id_}",
                "serverName": "files",
                "mode": "form",
                "message": f"Shall {number} be deleted?",
                "requestedSchema": CONFIRM,
            }
            await self._at.workshop.ask(id_, asked, FORM, next(self._numbers))
        with self._at.book.bell.listening(OperationId(id_)) as listener:
            # Not only answered: Codex has the answers, and goes on.
            while (await self._look(id_)).status in WAITS_FOR_PEOPLE:
                await listener.wait()
        if (await self._look(id_)).status not in FINAL:  # nor cancelled meanwhile
            await self._at.workshop.complete(id_, "deleted", turn=f"u-{id_}")

    async def _job(self, context: Context, fate: Fate) -> Any:
        """An operation with this fate: as a task, or for a client without tasks, its result."""
        task = Task(
            operation_type=OperationType.START_CHAT,
            message=f"job {next(self._numbers)}",
            cwd=str(self._at.project),
            dedup_policy=DedupPolicy.IDEMPOTENCY_ONLY,
        )
        id_ = (await self._at.desk.submit(task)).operation_id
        self._group.start_soon(self._run, id_, fate)
        made = await self._calls.made(
            context, "codex_submit_task", {"ok": True, "operationId": id_}
        )
        if made is not None:
            return made
        await self._until_final(id_)
        shown = await call(
            self._at.desk, "codex_get_operation_status", {"operation_id": id_}, "mcp"
        )
        return said(str(shown["finalReport"]))

    async def _run(self, id_: str, fate: Fate) -> None:
        """Until its fate, or until somebody cancels it."""
        await self._at.workshop.start(id_, thread=f"t-{id_}", turn=f"u-{id_}")
        async with anyio.create_task_group() as group:

            async def cancelled() -> None:
                await self._until_final(id_)
                group.cancel_scope.cancel()

            group.start_soon(cancelled)
            await fate(id_)
            group.cancel_scope.cancel()

    async def _until_final(self, id_: str) -> None:
        with self._at.book.bell.listening(OperationId(id_)) as listener:
            while (await self._look(id_)).status not in FINAL:
                await listener.wait()

    async def _look(self, id_: str) -> Any:
        return await self._at.desk.status(Look(operation_id=OperationId(id_)))


def said(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)])
