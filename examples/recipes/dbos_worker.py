"""DBOS: a workflow in which Codex does the work. `pip install dbos mcp`.

    python dbos_worker.py worker                        on a machine that has Codex
    python dbos_worker.py run ID "Say which tests are missing."
    python dbos_worker.py questions ID
    python dbos_worker.py answer ID INTERACTION accept
    python dbos_worker.py cancel ID

A worker that was killed goes on with its workflows when it is started again, under the same
executor id. DBOS_SYSTEM_DATABASE_URL says where they are kept.
"""

import json
import os
import platform
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import codex_steps
from codex_steps import Json, NotNow, Standing
from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions, error

QUEUE = "codex"
DATABASE = os.environ.get("DBOS_SYSTEM_DATABASE_URL", "sqlite:///codex_recipes.sqlite")
CONFIG: DBOSConfig = {
    "name": "codex-recipes",
    "system_database_url": DATABASE,
    # Workflows are found again by these two: change the version when the steps change.
    "executor_id": os.environ.get("DBOS__VMID", platform.node()),
    "application_version": "1",
}


def _is_not_now(trouble: BaseException) -> bool:
    return isinstance(trouble, NotNow)


@DBOS.step(preemptible=True, retries_allowed=True, max_attempts=10, should_retry=_is_not_now)
async def work(key: str, task: Json, asked: list[str]) -> Standing:
    async def lives() -> None:
        """DBOS judges no heartbeat: a step is repeated when its process is started again."""

    return await codex_steps.work(key, task, asked, lives)


@DBOS.step(retries_allowed=True, max_attempts=10, should_retry=_is_not_now)
async def answer(interaction_id: str, given: Json) -> None:
    await codex_steps.answer(interaction_id, given)


@DBOS.step(retries_allowed=True, max_attempts=10, should_retry=_is_not_now)
async def interrupt(key: str, task: Json) -> None:
    await codex_steps.interrupt(key, task)


@DBOS.workflow()
async def ask_codex(task: Json) -> Standing:
    """One operation. A workflow with several gives each a name of its own in the key."""
    key = f"{DBOS.workflow_id}/ask"
    try:
        seen = await work(key, task, [])
        while not seen.has_ended:
            await DBOS.set_event_async("questions", seen.questions)
            seen = await work(key, task, seen.asked)
    except error.DBOSWorkflowCancelledError:
        # It runs no more steps, so this is none. Where no worker lives, `stop` does it.
        await codex_steps.interrupt(key, task)
        raise
    await DBOS.set_event_async("questions", [])
    return seen


@DBOS.workflow()
async def answer_question(interaction_id: str, given: Json) -> None:
    await answer(interaction_id, given)


@DBOS.workflow()
async def stop(workflow_id: str, task: Json) -> None:
    await interrupt(f"{workflow_id}/ask", task)


def main(*words: str) -> None:
    if words == ("worker",):
        DBOS(config=CONFIG)
        DBOS.launch()
        DBOS.register_queue(QUEUE)
        threading.Event().wait()
    client = DBOSClient(system_database_url=DATABASE, application_name=CONFIG["name"])

    def enqueue(workflow: str, id_: str, *given: object) -> Any:
        options: EnqueueOptions = {
            "workflow_name": workflow,
            "queue_name": QUEUE,
            # The same id again is the same workflow.
            "workflow_id": id_,
        }
        return client.enqueue(options, *given)

    match words:
        case ["run", id_, message]:
            task = {"operation_type": "start_chat", "cwd": str(Path.cwd()), "message": message}
            print(json.dumps(asdict(enqueue("ask_codex", id_, task).get_result())))
        case ["questions", id_]:
            print(json.dumps(client.get_event(id_, "questions", timeout_seconds=0) or []))
        case ["answer", _, interaction_id, decision]:
            given = {"decision": decision}
            enqueue("answer_question", f"answer-{interaction_id}", interaction_id, given)
        case ["cancel", id_]:
            begun = client.retrieve_workflow(id_).get_status().input
            client.cancel_workflow(id_)
            if begun is not None:
                enqueue("stop", f"stop-{id_}", id_, *begun["args"])
        case _:
            sys.exit(__doc__)
    client.destroy()


if __name__ == "__main__":
    main(*sys.argv[1:])
