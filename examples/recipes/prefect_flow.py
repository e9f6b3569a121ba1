"""Prefect: a flow in which Codex does the work. `pip install prefect mcp`.

    python prefect_flow.py worker                       on a machine that has Codex
    python prefect_flow.py run NAME "Say which tests are missing."
    python prefect_flow.py questions NAME
    python prefect_flow.py answer NAME INTERACTION accept
    python prefect_flow.py cancel NAME

A run that crashed goes on by `prefect flow-run retry`, from an automation for example. It keeps
its id, while its tasks get new ones: so the key is the flow run's. PREFECT_API_URL says where the
server is.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import codex_steps
from codex_steps import Json, NotNow, Standing
from prefect import aserve, flow, runtime, task
from prefect.artifacts import Artifact, acreate_table_artifact
from prefect.cache_policies import INPUTS
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import arun_deployment
from prefect.states import Cancelling


async def _is_not_now(_task: object, _run: object, state: Any) -> bool:
    return isinstance(await state.aresult(raise_on_failure=False), NotNow)


@task(
    # What has ended is not asked again when the flow is run again.
    persist_result=True,
    cache_policy=INPUTS,
    retries=10,
    retry_delay_seconds=5,
    retry_condition_fn=_is_not_now,
)
async def work(key: str, task: Json, asked: list[str]) -> Standing:
    async def lives() -> None:
        """The runner watches the process, and ends it where the run is cancelled."""

    return await codex_steps.work(key, task, asked, lives)


async def interrupt(flow: object, flow_run: FlowRun, state: object) -> None:
    """The runner calls this when it has ended the process of a run that is cancelled."""
    await codex_steps.interrupt(f"{flow_run.id}/ask", flow_run.parameters["task"])


@flow(persist_result=True, on_cancellation=[interrupt])
async def ask_codex(task: Json) -> Standing:
    """One operation. A flow with several gives each a name of its own in the key."""
    key = f"{runtime.flow_run.id}/ask"
    seen = await work(key, task, [])
    while not seen.has_ended:
        await acreate_table_artifact(seen.questions, key=_questions_of(runtime.flow_run.id))
        seen = await work(key, task, seen.asked)
    return seen


@flow(retries=10, retry_delay_seconds=5)
async def answer_question(interaction_id: str, given: Json) -> None:
    await codex_steps.answer(interaction_id, given)


def _questions_of(run_id: object) -> str:
    return f"codex-{run_id}"


async def _named(name: str) -> FlowRun:
    wanted = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
    async with get_client() as client:
        return (await client.read_flow_runs(flow_run_filter=wanted))[0]


async def main(*words: str) -> None:
    match words:
        case ["worker"]:
            await aserve(
                await ask_codex.ato_deployment("codex"),
                await answer_question.ato_deployment("codex"),
            )
        case ["run", name, message]:
            task = {"operation_type": "start_chat", "cwd": str(Path.cwd()), "message": message}
            # The same name again is the same run.
            run = await arun_deployment(
                "ask-codex/codex",
                parameters={"task": task},
                flow_run_name=name,
                idempotency_key=name,
            )
            print(run.state and await run.state.aresult(raise_on_failure=False))
        case ["questions", name]:
            found = await Artifact.aget(_questions_of((await _named(name)).id))
            print(found.data if found else "[]")
        case ["answer", _, interaction_id, decision]:
            given = {"interaction_id": interaction_id, "given": {"decision": decision}}
            await arun_deployment(
                "answer-question/codex", parameters=given, idempotency_key=interaction_id
            )
        case ["cancel", name]:
            run = await _named(name)
            async with get_client() as client:
                await client.set_flow_run_state(run.id, Cancelling())
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
