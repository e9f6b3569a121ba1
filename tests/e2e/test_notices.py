"""Notices of real turns: the receiver is down, the worker is killed, and every event arrives."""

import json
import sys
from pathlib import Path

import anyio
import pytest

from tests.e2e.stage import SOON_SECONDS, stage_of

pytestmark = [pytest.mark.anyio, pytest.mark.real]

#: Keeps what it is given, but only while its second argument exists.
KEEP = """
import pathlib, sys
if not pathlib.Path(sys.argv[2]).exists():
    sys.exit(75)
with open(sys.argv[1], "a") as told:
    told.write(sys.stdin.read() + "\\n")
"""


async def test_a_question_and_an_end_are_told_though_the_receiver_was_down_and_the_worker_killed(
    tmp_path: Path,
) -> None:
    told, up = tmp_path / "told", tmp_path / "up"
    argv = json.dumps([sys.executable, "-c", KEEP, str(told), str(up)])
    async with stage_of(CODEX_MCP_NOTICES_COMMAND=argv) as stage:
        async with stage.client() as client:
            task = await client.submit("run! true # to see\nsay Seen.", cwd=str(stage.project))
            question = await client.asked(task["operationId"])
        stage.kill(stage.worker())
        up.touch()
        async with stage.client() as client:
            await client.answer(question, decision="accept")
            await client.finished(task["operationId"])
            events: list[dict[str, str]] = []
            with anyio.fail_after(SOON_SECONDS):
                while len(events) < 2:
                    await anyio.sleep(0.05)
                    lines = told.read_text().splitlines() if told.exists() else []
                    # Told at least once: the same notice may come again, by its id.
                    events = list({one["id"]: one for one in map(json.loads, lines)}.values())
    assert [one["event"] for one in events] == ["interaction.opened", "operation.ended"]
    assert events[0]["id"] == events[0]["interactionId"] == question["interactionId"]
    assert {one["operationId"] for one in events} == {task["operationId"]}
    assert (events[1]["status"], "text" in events[1]) == ("completed", False)
