"""What durable steps do with Codex: three calls, each of which may be made again at any time.

Whatever makes them needs no more than the key: a step that is repeated finds its operation, in the
queue, in its turn or ended, and never starts a second turn. This file knows no engine; it needs
the MCP SDK and the command `codex-control-plane-mcp`.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

#: One call waits this long at most (45 may be asked for). Between two of them the engine hears
#: that the step lives, and the step that it is to stop.
WAIT_SECONDS = 10

FINAL = ("completed", "failed", "interrupted", "cancelled", "unknown_after_app_server_exit")

Json = dict[str, Any]


class Refused(Exception):
    """The call is wrong, or something stands against it: to repeat it is of no use."""


class NotNow(Exception):
    """The same call may succeed later: for the engine to repeat."""


@dataclass(frozen=True)
class Standing:
    """How an operation stands once it has ended, or people are asked something."""

    operation_id: str
    status: str
    #: To go on in it: `operation_type="send_message", thread_id=...`, under another key.
    thread_id: str | None
    report: str | None
    #: What people are asked: `interactionId`, `prompt`, `command`, `availableDecisions`, ...
    questions: list[Json]

    @property
    def has_ended(self) -> bool:
        return self.status in FINAL

    @property
    def asked(self) -> list[str]:
        return [question["interactionId"] for question in self.questions]


async def work(
    key: str, task: Json, asked: Sequence[str], lives: Callable[[], Awaitable[None]]
) -> Standing:
    """Have the task done under this key, until it has ended or people are asked something that is
    not among the `asked`. `lives` is called between the waits."""
    async with _connected() as codex:
        operation_id = await _submit(codex, key, task)
        seen = await _look(codex, operation_id)
        while seen["status"] not in FINAL and _ids(seen) <= {*asked}:
            await lives()
            after = {"after_seq": seen["latestSeq"], "wait_seconds": WAIT_SECONDS}
            seen = await _look(codex, operation_id, **after)
        return Standing(
            operation_id,
            seen["status"],
            seen["threadId"],
            await _whole_report(codex, seen),
            seen["pendingInteractions"],
        )


async def answer(interaction_id: str, given: Json) -> None:
    """Answer a question: `{"decision": "accept"}`, `{"answers": {...}}`, ... The first answer
    counts; another one, and so the same one again, is dropped."""
    async with _connected() as codex:
        try:
            await _call(
                codex, "codex_answer_pending_interaction", interaction_id=interaction_id, **given
            )
        except Refused as refused:
            if refused.args[0] != "CODEX_PENDING_INTERACTION_UNAVAILABLE":
                raise


async def interrupt(key: str, task: Json) -> None:
    """End what was begun under this key, in the queue or in its turn; what has ended stays as it
    is. What was not begun is handed in and ended, so that a belated step finds it ended, too."""
    async with _connected() as codex:
        operation_id = await _submit(codex, key, task)
        while True:
            told = await _call(codex, "codex_interrupt_turn", operation_id=operation_id)
            if told["ended"]:
                return


async def _submit(codex: ClientSession, key: str, task: Json) -> str:
    receipt = await _call(codex, "codex_submit_task", client_request_id=key, **task)
    return str(receipt["operationId"])


async def _look(codex: ClientSession, operation_id: str, **how: object) -> Json:
    return await _call(codex, "codex_get_operation_status", operation_id=operation_id, **how)


def _ids(seen: Json) -> set[str]:
    return {question["interactionId"] for question in seen["pendingInteractions"]}


async def _whole_report(codex: ClientSession, seen: Json) -> str | None:
    """A long report comes in parts."""
    part = seen["finalReport"]
    if part is None:
        return None
    text: str = part["text"]
    while part["nextOffset"] is not None:
        more = await _look(codex, seen["operationId"], report_offset=part["nextOffset"])
        part = more["finalReport"]
        text += part["text"]
    return text


async def _call(codex: ClientSession, tool: str, **arguments: object) -> Json:
    answered = await codex.call_tool(tool, arguments)
    result: Json | None = answered.structured_content
    if result is None:
        raise NotNow("CODEX_NO_ANSWER", f"{tool} was not answered")
    if not result["ok"]:
        error = result["error"]
        raise (NotNow if error["retryable"] else Refused)(error["code"], error["message"])
    return result


@asynccontextmanager
async def _connected() -> AsyncIterator[ClientSession]:
    """A connection of the step's own: steps run anywhere, and a connection takes milliseconds."""
    server = StdioServerParameters(command="codex-control-plane-mcp", env=dict(os.environ))
    trouble: Exception | None = None
    async with stdio_client(server) as (read, write), ClientSession(read, write) as codex:
        await codex.initialize()
        try:
            yield codex
        except Exception as error:  # noqa: BLE001  # raised again below, not within a group
            trouble = error
    if trouble is not None:
        raise trouble
