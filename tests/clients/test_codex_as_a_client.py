"""Codex uses our server in full: its model hands a task to another Codex and reads the report.

Also what Codex does on the way, as docs/clients.md tells it: what of our tools it sends to its
model, and to whom it puts a question of ours.
"""

import json

import pytest

from tests.clients.outer_codex import NAMESPACE, outer_codex
from tests.e2e.stage import stage_of

pytestmark = [pytest.mark.real, pytest.mark.anyio]

SALE = "run! printf sold > ledger.txt # because the sale must be written down\nsay Sold."


async def test_its_model_hands_a_task_to_another_codex_and_says_what_that_reported() -> None:
    async with stage_of() as stage, outer_codex(stage) as codex:
        thread_id = await codex.thread("never")
        task = {"operation_type": "start_chat", "message": "hold oven\nsay The bread is done."}
        prompt = f"""Have the bread baked.
call codex_submit_task {json.dumps({**task, "cwd": str(stage.project)})}
call codex_wait {{"operation_ids": ["${{operationId}}"], "wait_seconds": 45}}
call codex_get_operation_status {{"operation_id": "${{operationId}}"}}
say The other one says: ${{finalReport.text}}"""
        async with codex.turn(thread_id, prompt):
            await codex.begins("codex_wait")
            stage.model.release("oven")
            said = await codex.says(thread_id)
        assert said == "The other one says: The bread is done."
        theirs = [one for one in stage.model.requests if NAMESPACE in one.tool_bytes]
        # To hand it over, to wait for it through all that it went through, to read, and to say.
        assert len(theirs) == 4
        first = theirs[0]
        assert f"{NAMESPACE}.codex_wait" in first.tools
        # All of our tools are in its model's context, with what `initialize` told of them.
        assert first.tool_bytes[NAMESPACE] < 25_000


async def test_a_question_is_put_to_its_user_unless_it_may_ask_nobody() -> None:
    async with stage_of() as stage, stage.client() as we, outer_codex(stage) as codex:
        task = {"operation_type": "start_chat", "message": SALE, "cwd": str(stage.project)}
        # With this policy Codex declines every form by itself, so a declined one decides nothing.
        alone = await codex.thread("never")
        receipt = await codex.tool(alone, "codex_submit_task", **task)
        waiting = {"operation_ids": [receipt["operationId"]], "wait_seconds": 45}
        await we.asked(receipt["operationId"])
        [line] = (await codex.tool(alone, "codex_wait", **waiting))["operations"]
        assert line["nextRecommendedAction"] == "answer_pending_interaction"
        assert not codex.asked

        attended = await codex.thread("on-request")
        prompt = f"Wait.\ncall codex_wait {json.dumps(waiting)}\nsay It is ${{status}}."
        async with codex.turn(attended, prompt):
            request_id, form = await codex.question()
            assert "printf sold > ledger.txt" in form["message"]
            accepted = {"action": "accept", "content": {"decision": "accept"}, "_meta": None}
            await codex.peer.respond(request_id, accepted)
            said = await codex.says(attended)
        assert said == "It is completed."
        assert (stage.project / "ledger.txt").read_text() == "sold"
