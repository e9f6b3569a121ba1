"""What MCP has around calls, over the real pipe and on real Codex: tasks, and forms."""

from typing import Any

import anyio
import pytest
from mcp import Client as McpClient
from mcp.client import advertise
from mcp.types import ElicitRequestFormParams, ElicitResult

from codex_control_plane_mcp.doors.mcp.task_calls import TASKS
from tests.doors.test_task_calls import Requester
from tests.e2e.stage import SOON_SECONDS, Stage, gone

pytestmark = [pytest.mark.real, pytest.mark.anyio]

MODERN = "2026-07-28"


async def fill_in(context: Any, params: Any) -> ElicitResult:
    assert isinstance(params, ElicitRequestFormParams)
    assert "touch sold" in params.message
    return ElicitResult(action="accept", content={"decision": "accept"})


def connected(stage: Stage, era: str, **more: Any) -> McpClient:
    return McpClient(stage.server(), mode=era, elicitation_callback=fill_in, **more)


async def until(requester: Requester, task_id: str, status: str) -> dict[str, Any]:
    with anyio.fail_after(SOON_SECONDS):
        while (task := await requester.get(task_id))["status"] != status:
            assert task["status"] in ("working", "input_required"), task
            await anyio.sleep(0.05)  # as the extension has it, a client polls
    return task


async def test_a_task_outlives_its_client_its_pipe_and_the_worker(stage: Stage) -> None:
    takes_tasks = {"extensions": [advertise(TASKS)]}
    arguments = {
        "operation_type": "start_chat",
        "message": "run! touch sold # because I want to\nsay Sold after all.",
        "cwd": str(stage.project),
    }
    async with connected(stage, MODERN, **takes_tasks) as client:
        requester = Requester(client)
        made = await requester.ask("tools/call", name="codex_submit_task", arguments=arguments)
        assert made["resultType"] == "task"
        asking = await until(requester, made["taskId"], "input_required")
        worker = stage.worker()
        stage.kill(worker)
        await gone(worker)
        # The same client, over the next worker.
        still_asking = await until(requester, made["taskId"], "input_required")
        assert still_asking["inputRequests"] == asking["inputRequests"]
    async with connected(stage, MODERN, **takes_tasks) as client:
        requester = Requester(client)
        ((key, _),) = asking["inputRequests"].items()
        said = {key: {"action": "accept", "content": {"decision": "accept"}}}
        await requester.ask("tasks/update", taskId=made["taskId"], inputResponses=said)
        done = await until(requester, made["taskId"], "completed")
    report = done["result"]["structuredContent"]["finalReport"]
    assert report["text"] == "Sold after all."
    assert (stage.project / "sold").exists()


@pytest.mark.parametrize("era", ["legacy", MODERN])
async def test_a_person_at_the_client_answers_codex_in_a_form(stage: Stage, era: str) -> None:
    async with connected(stage, era) as client:
        submitted = await client.call_tool(
            "codex_submit_task",
            {
                "operation_type": "start_chat",
                "message": "run! touch sold # because I want to\nsay Sold after all.",
                "cwd": str(stage.project),
            },
        )
        assert submitted.structured_content is not None
        ids = [submitted.structured_content["operationId"]]
        heard: list[str | None] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            heard.append(message)

        cursor: dict[str, str] = {}
        unfinished = 1
        with anyio.fail_after(SOON_SECONDS):
            while unfinished:
                waited = await client.call_tool(
                    "codex_wait",
                    {"operation_ids": ids, "wait_seconds": 20, **cursor},
                    progress_callback=hear,
                )
                assert waited.structured_content is not None
                unfinished = waited.structured_content["unfinished"]
                cursor = {"cursor": waited.structured_content["cursor"]}
    assert (stage.project / "sold").exists()
