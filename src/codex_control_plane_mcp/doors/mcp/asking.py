"""Puts Codex's questions to the person at a client that shows forms, while a call waits for it.

The inbox stays what it is: a question put here waits there too, the first answer counts, and one
that gets none here is told in the call's result as ever. A client of 2026-07-28 is asked by a
result that wants input, and makes the same call again with it; an older one by a request.
"""

import logging
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CallToolRequestParams,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    InputResponse,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.interactions import Given, Page
from codex_control_plane_mcp.desk.views import InteractionView
from codex_control_plane_mcp.desk.wait import ANSWER_SECONDS, awaited
from codex_control_plane_mcp.doors.mcp import dropin
from codex_control_plane_mcp.doors.mcp.fit import Json
from codex_control_plane_mcp.doors.mcp.forms import answer, form, takes_forms
from codex_control_plane_mcp.errors import InteractionUnavailable, InvalidArgument
from codex_control_plane_mcp.model.ids import InteractionId, OperationId, WorkflowId
from codex_control_plane_mcp.store.interactions import Search

logger = logging.getLogger(__name__)

Context = ServerRequestContext[Any]

_WAITING = frozenset(tool.name for tool in dropin.TOOLS)


def patience(params: CallToolRequestParams) -> float:
    """How long a call waits; 0 for one that does not: it puts nothing to anybody."""
    if params.name in _WAITING:
        return ANSWER_SECONDS
    stated = (params.arguments or {}).get("wait_seconds")
    return float(stated) if isinstance(stated, int | float) else 0.0


def is_modern(context: Context) -> bool:
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


class Outcome(Enum):
    """What came of putting questions to somebody."""

    UNANSWERED = "unanswered"
    ANSWERED = "answered"
    #: Somebody was faster, at another door.
    ELSEWHERE = "elsewhere"


class Asking:
    """Questions of one call."""

    def __init__(self, desk: Desk, context: Context, by: str) -> None:
        self._desk = desk
        self._context = context
        #: An answer that came by a form was a person's; one that came by a tool may be an agent's.
        self._by = f"{by} (form)"[:100]
        #: What was put to an older client: nobody is asked twice in one call.
        self._put_before: set[InteractionId] = set()

    @property
    def shows_forms(self) -> bool:
        return takes_forms(self._context.session.client_capabilities)

    async def take(self, responses: Mapping[str, InputResponse]) -> None:
        """Pass on what a client of 2026-07-28 brings with its call."""
        for key, reply in responses.items():
            asked = await self._desk.question(InteractionId(key))
            if asked is not None and isinstance(reply, ElicitResult):
                await self._pass_on(asked, reply)

    async def wanted(
        self, result: Json, brought: Mapping[str, object]
    ) -> InputRequiredResult | None:
        """What to ask such a client before it gets `result`, but for what it was asked before."""
        if not self.shows_forms:
            return None
        requests: dict[str, InputRequest] = {
            asked.interaction_id: request
            for asked in await self._told_of(result)
            if asked.interaction_id not in brought and (request := form(asked)) is not None
        }
        return InputRequiredResult(input_requests=requests) if requests else None

    async def ask(self, result: Json, until: float) -> Outcome:
        """Put to an older client what `result` tells of."""
        outcome = Outcome.UNANSWERED
        for asked in await self._told_of(result) if self.shows_forms else ():
            if (id_ := InteractionId(asked.interaction_id)) in self._put_before:
                continue
            self._put_before.add(id_)
            request = form(asked)
            if request is not None and isinstance(request.params, ElicitRequestFormParams):
                reply = await self._put(asked, request.params, until)
                if reply is Outcome.ELSEWHERE and outcome is Outcome.UNANSWERED:
                    outcome = reply
                if isinstance(reply, ElicitResult) and await self._pass_on(asked, reply):
                    outcome = Outcome.ANSWERED
        return outcome

    async def _put(
        self, asked: InteractionView, shown: ElicitRequestFormParams, until: float
    ) -> ElicitResult | Outcome:
        """The reply, or what became of the question without one."""
        awaited.get()([OperationId(asked.operation_id)])
        reply: ElicitResult | Outcome = Outcome.UNANSWERED
        async with anyio.create_task_group() as group:

            async def withdraw() -> None:
                nonlocal reply
                await self._closed(asked)
                reply = Outcome.ELSEWHERE
                group.cancel_scope.cancel()

            group.start_soon(withdraw)
            with anyio.CancelScope(deadline=until):
                try:
                    reply = await self._context.session.elicit_form(
                        shown.message, shown.requested_schema, self._context.request_id
                    )
                except (MCPError, ValidationError) as error:
                    logger.info("a client that shows forms did not show one: %s", error)
            group.cancel_scope.cancel()
        return reply

    async def _pass_on(self, asked: InteractionView, reply: ElicitResult) -> bool:
        given = answer(asked, reply)
        if given is None:
            return False
        try:
            await self._desk.answer(Given(InteractionId(asked.interaction_id), given, self._by))
        except (InteractionUnavailable, InvalidArgument) as error:
            logger.info("a form's answer was not taken: %s", error.message)
            return False
        return True

    async def _closed(self, asked: InteractionView) -> None:
        async with self._desk.changes() as changes:
            while await self._desk.question(InteractionId(asked.interaction_id)) is not None:
                await changes.next()

    async def _told_of(self, result: Json) -> Sequence[InteractionView]:
        """The open questions that a result tells of."""
        found: list[InteractionView] = []
        for one in (result, *result.get("operations", ()), *result.get("workflows", ())):
            if one.get("nextRecommendedAction") != "answer_pending_interaction":
                continue
            if (operation_id := one.get("operationId")) is not None:
                found += await self._open(Search(operation_id=OperationId(operation_id)))
            else:
                found += await self._open(Search(workflow_id=WorkflowId(one["workflowId"])))
        return found

    async def _open(self, search: Search) -> Sequence[InteractionView]:
        return (await self._desk.interactions(Page(search))).interactions
