"""Resources and prompts over MCP stdio, of a task on real Codex."""

import json

import pytest
from mcp.types import TextResourceContents

from tests.e2e.stage import Client, Stage

pytestmark = [pytest.mark.real, pytest.mark.anyio]


async def read(client: Client, uri: str) -> str:
    (contents,) = (await client.session.read_resource(uri)).contents
    assert isinstance(contents, TextResourceContents)
    return contents.text


async def test_a_task_is_listed_and_read_and_prompts_are_offered(
    stage: Stage, client: Client
) -> None:
    receipt = await client.submit("run echo ready\nsay The shop is open.", cwd=str(stage.project))
    done = await client.finished(receipt["operationId"])

    (listed,) = (await client.session.list_resources()).resources
    assert listed.uri == f"codex://operation/{done['operationId']}"
    assert json.loads(await read(client, listed.uri))["status"] == "completed"
    assert await read(client, f"{listed.uri}/report") == "The shop is open."
    events = json.loads(await read(client, f"{listed.uri}/events"))
    seqs = [event["seq"] for event in events["progressEvents"]]
    assert seqs == list(range(1, events["latestSeq"] + 1))
    thread = json.loads(await read(client, f"codex://thread/{done['threadId']}"))
    assert thread["operations"][0]["operationId"] == done["operationId"]
    assert len((await client.session.list_prompts()).prompts) == 3
