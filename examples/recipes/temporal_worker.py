"""Temporal: a workflow in which Codex does the work. `pip install temporalio mcp`.

    python temporal_worker.py worker                    on a machine that has Codex
    python temporal_worker.py run ID "Say which tests are missing."
    python temporal_worker.py questions ID
    python temporal_worker.py answer ID INTERACTION accept
    python temporal_worker.py cancel ID

Activities are repeated and workflows replayed. The key is made in the workflow and stands in its
history, so that it is the same each time. TEMPORAL_ADDRESS says where the server is.
"""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    import codex_steps
    from codex_steps import Json, Standing

T = TypeVar("T")

QUEUE = "codex"


class Times(TypedDict, total=False):
    start_to_close_timeout: timedelta
    heartbeat_timeout: timedelta


#: A task takes as long as it takes. A worker that is silent for half a minute is dead: its
#: activity is given to another one, or to its successor.
LONG = Times(start_to_close_timeout=timedelta(days=30), heartbeat_timeout=timedelta(seconds=30))
SHORT = Times(start_to_close_timeout=timedelta(minutes=2))


@activity.defn
async def work(key: str, task: Json, asked: list[str]) -> Standing:
    async def lives() -> None:
        activity.heartbeat()

    return await _or_give_up(codex_steps.work(key, task, asked, lives))


@activity.defn
async def answer(interaction_id: str, given: Json) -> None:
    await _or_give_up(codex_steps.answer(interaction_id, given))


@activity.defn
async def interrupt(key: str, task: Json) -> None:
    await _or_give_up(codex_steps.interrupt(key, task))


async def _or_give_up(call: Coroutine[Any, Any, T]) -> T:
    try:
        return await call
    except codex_steps.Refused as refused:
        code, message = refused.args
        raise ApplicationError(message, type=code, non_retryable=True) from refused


@workflow.defn
class AskCodex:
    """One operation. A workflow with several gives each a name of its own in the key."""

    def __init__(self) -> None:
        self._questions: list[Json] = []

    @workflow.run
    async def run(self, task: Json) -> Standing:
        # A workflow's id may be used again for new work. What tells that apart from a retry or a
        # reset of the same work is the first run.
        key = f"{workflow.info().workflow_id}/{workflow.info().first_execution_run_id}/ask"
        try:
            seen = await workflow.execute_activity(work, args=[key, task, []], **LONG)
            while not seen.has_ended:
                self._questions = seen.questions
                asked = seen.asked
                seen = await workflow.execute_activity(work, args=[key, task, asked], **LONG)
        except (asyncio.CancelledError, ActivityError) as error:
            if is_cancelled_exception(error):
                # Not in `work`: an activity is cancelled, too, where its worker is shut down.
                await workflow.execute_activity(interrupt, args=[key, task], **SHORT)
            raise
        self._questions = []
        return seen

    @workflow.query
    def questions(self) -> list[Json]:
        return self._questions

    @workflow.signal
    async def answer(self, interaction_id: str, given: Json) -> None:
        await workflow.execute_activity(answer, args=[interaction_id, given], **SHORT)


async def main(*words: str) -> None:
    client = await Client.connect(os.environ.get("TEMPORAL_ADDRESS", "localhost:7233"))
    match words:
        case ["worker"]:
            worker = Worker(
                client,
                task_queue=QUEUE,
                workflows=[AskCodex],
                activities=[work, answer, interrupt],
                # An activity hears with a heartbeat that it is cancelled.
                max_heartbeat_throttle_interval=timedelta(seconds=5),
            )
            await worker.run()
        case ["run", id_, message]:
            task = {"operation_type": "start_chat", "cwd": str(Path.cwd()), "message": message}
            # The same id again is the same workflow.
            once = WorkflowIDReusePolicy.REJECT_DUPLICATE
            with suppress(WorkflowAlreadyStartedError):
                await client.start_workflow(
                    AskCodex.run, task, id=id_, task_queue=QUEUE, id_reuse_policy=once
                )
            ended = await client.get_workflow_handle_for(AskCodex.run, id_).result()
            print(json.dumps(asdict(ended)))
        case ["questions", id_]:
            print(json.dumps(await client.get_workflow_handle(id_).query(AskCodex.questions)))
        case ["answer", id_, interaction_id, decision]:
            handle = client.get_workflow_handle(id_)
            await handle.signal(AskCodex.answer, args=[interaction_id, {"decision": decision}])
        case ["cancel", id_]:
            await client.get_workflow_handle(id_).cancel()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
