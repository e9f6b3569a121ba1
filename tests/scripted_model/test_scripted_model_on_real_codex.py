"""Every step of a script, as the real `codex app-server` shows it to its client."""

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after

from codex_control_plane_mcp.scripted_model import ScriptedModel, serving, write_codex_home
from codex_control_plane_mcp.scripted_model.wire import streamed

pytestmark = [pytest.mark.real, pytest.mark.anyio]

Message = dict[str, Any]

#: Codex starts in a tenth of a second and a turn takes less; a loaded machine gets its time.
PATIENCE_SECONDS = 30


class Codex:
    """As much of an app-server client as these tests need: one thread, read in order."""

    def __init__(self, process: asyncio.subprocess.Process, cwd: Path) -> None:
        self._process = process
        self._cwd = cwd
        self._next_id = 0
        self.seen: list[Message] = []
        self.thread_id = ""
        self.turn_id = ""

    async def request(self, method: str, **params: object) -> Message:
        self._next_id += 1
        await self.send({"id": self._next_id, "method": method, "params": params})
        request_id = self._next_id
        reply = await self.until(lambda m: m.get("id") == request_id and "method" not in m)
        assert "result" in reply, reply
        result: Message = reply["result"]
        return result

    async def send(self, message: Message) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        await self._process.stdin.drain()

    async def until(self, wanted: Any) -> Message:
        assert self._process.stdout is not None
        with fail_after(PATIENCE_SECONDS):
            while line := await self._process.stdout.readline():
                message: Message = json.loads(line)
                self.seen.append(message)
                if wanted(message):
                    return message
        raise AssertionError("codex app-server has gone")

    async def until_method(self, method: str) -> Message:
        return await self.until(lambda m: m.get("method") == method)

    async def start_thread(self, sandbox: str = "workspace-write", policy: str = "never") -> None:
        thread = await self.request(
            "thread/start", cwd=str(self._cwd), sandbox=sandbox, approvalPolicy=policy
        )
        self.thread_id = thread["thread"]["id"]

    async def start_turn(self, prompt: str, **params: object) -> None:
        if not self.thread_id:
            await self.start_thread()
        self.seen.clear()
        reply = await self.request(
            "turn/start",
            threadId=self.thread_id,
            input=[{"type": "text", "text": prompt}],
            **params,
        )
        self.turn_id = reply["turn"]["id"]

    async def finish_turn(self) -> Message:
        completed = await self.until_method("turn/completed")
        turn: Message = completed["params"]["turn"]
        return turn

    async def play(self, prompt: str, **params: object) -> Message:
        await self.start_turn(prompt, **params)
        return await self.finish_turn()

    async def answer(self, request: Message, **result: object) -> None:
        await self.send({"id": request["id"], "result": result})

    def items(self, kind: str) -> list[Message]:
        completed = [m for m in self.seen if m.get("method") == "item/completed"]
        items = [m["params"]["item"] for m in completed]
        return [item for item in items if item["type"] == kind]

    def said(self) -> list[str]:
        return [item["text"] for item in self.items("agentMessage")]

    def deltas(self, method: str) -> list[str]:
        return [m["params"]["delta"] for m in self.seen if m.get("method") == method]


PLAN_MODE = {
    "mode": "plan",
    "settings": {"model": "scripted", "reasoning_effort": None, "developer_instructions": None},
}


@asynccontextmanager
async def running_codex(home: Path, cwd: Path) -> AsyncIterator[Codex]:
    codex_cli_bin = pytest.importorskip("codex_cli_bin")
    cwd.mkdir()
    process = await asyncio.create_subprocess_exec(
        str(codex_cli_bin.bundled_codex_path()),
        "app-server",
        stdin=PIPE,
        stdout=PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "CODEX_HOME": str(home)},
        cwd=cwd,
        limit=2**24,
    )
    assert process.stdin is not None
    try:
        codex = Codex(process, cwd)
        await codex.request(
            "initialize",
            clientInfo={"name": "tests", "title": "tests", "version": "1"},
            capabilities={"experimentalApi": True},
        )
        await codex.send({"method": "initialized"})
        yield codex
    finally:
        # Its stdin closes, so it aborts the turn and exits; read to the end, or it could block.
        process.stdin.close()
        with fail_after(PATIENCE_SECONDS, shield=True):
            await process.communicate()


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with serving() as model:
        yield model


@pytest.fixture
async def codex(model: ScriptedModel, tmp_path: Path) -> AsyncIterator[Codex]:
    home = write_codex_home(tmp_path / "home", model.base_url)
    async with running_codex(home, tmp_path / "work") as codex:
        yield codex


async def test_say_is_the_final_message(codex: Codex, model: ScriptedModel) -> None:
    turn = await codex.play("Please greet me.\nsay Hello there")

    assert turn["status"] == "completed"
    assert [item["text"] for item in turn["items"]] == ["Hello there"]
    with fail_after(PATIENCE_SECONDS):
        await model.idle()
    (request,) = model.requests
    assert request.user_message == "Please greet me.\nsay Hello there"
    assert (request.thread_id, request.turn_id) == (codex.thread_id, codex.turn_id)
    assert request.outcome == "played"
    assert {"exec_command", "request_user_input", "apply_patch"} <= set(request.tools)


async def test_a_prompt_without_a_step_gets_the_default_answer(codex: Codex) -> None:
    await codex.play("How are you?")

    assert "scripted model" in codex.said()[0]


async def test_stream_arrives_as_one_delta_a_word(codex: Codex) -> None:
    await codex.play("stream 50 words every 1ms")

    assert codex.deltas("item/agentMessage/delta") == list(streamed(50))
    assert codex.said() == ["".join(streamed(50))]


async def test_think_arrives_as_reasoning_summary(codex: Codex) -> None:
    await codex.play("think First I look around\nsay Done")

    deltas = codex.deltas("item/reasoning/summaryTextDelta")
    assert "".join(deltas) == "First I look around"
    assert codex.items("reasoning")[0]["summary"] == ["First I look around"]


async def test_run_runs_the_command_in_the_sandbox_and_goes_on(
    codex: Codex, model: ScriptedModel
) -> None:
    await codex.play("say I count first\nrun echo $((40 + 2))\nsay Counted")

    (command,) = codex.items("commandExecution")
    assert command["aggregatedOutput"] == "42\n"
    assert codex.said() == ["I count first", "Counted"]
    assert [request.step for request in model.requests] == [0, 1]
    assert "42" in model.requests[1].tool_outputs[0]


async def test_run_with_a_bang_asks_for_approval_and_gives_the_reason(
    codex: Codex, tmp_path: Path
) -> None:
    await codex.start_thread("read-only", "on-request")
    await codex.start_turn("run! printf hi > hi.txt # because I need to write\nsay Written")
    approval = await codex.until_method("item/commandExecution/requestApproval")
    await codex.answer(approval, decision="accept")
    await codex.finish_turn()

    assert approval["params"]["reason"] == "I need to write"
    assert "printf hi > hi.txt" in approval["params"]["command"]
    assert (tmp_path / "work" / "hi.txt").read_text() == "hi"
    assert codex.said() == ["Written"]


async def test_patches_change_files_and_ask_where_writing_is_not_allowed(
    codex: Codex, tmp_path: Path
) -> None:
    await codex.start_thread("read-only", "on-request")
    await codex.start_turn(
        "patch add hi.txt: one\\ntwo\n"
        "patch add gone.txt: soon\n"
        "patch update hi.txt: two => three\n"
        "patch delete gone.txt"
    )
    for _ in range(4):
        approval = await codex.until_method("item/fileChange/requestApproval")
        await codex.answer(approval, decision="accept")
    await codex.finish_turn()

    assert (tmp_path / "work" / "hi.txt").read_text() == "one\nthree\n"
    assert not (tmp_path / "work" / "gone.txt").exists()
    assert codex.said() == ["Done."]


async def test_ask_in_plan_mode_asks_every_question_and_brings_the_answers_back(
    codex: Codex, model: ScriptedModel
) -> None:
    await codex.start_turn(
        "ask Which colour? | Red: warm | Blue: cold || How big? | Small | Large\nsay Thank you",
        collaborationMode=PLAN_MODE,
    )
    question = await codex.until_method("item/tool/requestUserInput")
    answers = {"q1": {"answers": ["Blue"]}, "q2": {"answers": ["Large"]}}
    await codex.answer(question, answers=answers)
    await codex.finish_turn()

    first, second = question["params"]["questions"]
    assert (first["id"], first["question"]) == ("q1", "Which colour?")
    assert [option["label"] for option in second["options"]] == ["Small", "Large"]
    assert "Blue" in model.requests[1].tool_outputs[0]
    assert codex.said() == ["Thank you"]


async def test_plan_becomes_a_plan_item_in_plan_mode(codex: Codex) -> None:
    await codex.play(
        "plan # Greeting\\n\\n1. Write hi.txt\\n2. Check it", collaborationMode=PLAN_MODE
    )

    (plan,) = codex.items("plan")
    assert plan["text"].strip() == "# Greeting\n\n1. Write hi.txt\n2. Check it"
    assert plan["id"] == f"{codex.turn_id}-plan"


async def test_call_reaches_any_tool_that_codex_offers(codex: Codex, model: ScriptedModel) -> None:
    await codex.play('call get_goal {}\ncall no_such_tool {"a": 1}\nsay Looked')

    assert "goal" in model.requests[1].tool_outputs[0]
    assert "unsupported" in model.requests[2].tool_outputs[1]
    assert codex.said() == ["Looked"]


async def test_a_failing_status_fails_the_turn_for_good(codex: Codex) -> None:
    turn = await codex.play("fail 429 usage_limit_reached")

    assert turn["status"] == "failed"
    assert turn["error"]["codexErrorInfo"] == "usageLimitExceeded"


async def test_a_failing_status_may_come_after_a_command(codex: Codex) -> None:
    turn = await codex.play("run true\nfail 500 broken The model fell over")

    assert turn["status"] == "failed"
    assert len(codex.items("commandExecution")) == 1


async def test_a_failed_response_says_why(codex: Codex) -> None:
    turn = await codex.play("fail response context_length_exceeded Too long for me")

    assert turn["status"] == "failed"
    assert turn["error"]["codexErrorInfo"] == "contextWindowExceeded"


async def test_a_stream_cut_in_the_middle_fails_the_turn_and_keeps_what_was_said(
    codex: Codex,
) -> None:
    turn = await codex.play("say So far so good\nfail stream")

    assert turn["status"] == "failed"
    assert "stream" in turn["error"]["message"]
    assert codex.said() == ["So far so good"]


async def test_a_step_that_cannot_be_read_fails_the_turn_and_says_how_to_write_it(
    codex: Codex,
) -> None:
    turn = await codex.play("wait a moment")

    assert turn["status"] == "failed"
    assert "script line 1" in turn["error"]["message"]
    assert "500ms" in turn["error"]["message"]


async def test_a_hanging_model_can_be_interrupted(codex: Codex, model: ScriptedModel) -> None:
    await codex.start_turn("hang")
    with fail_after(PATIENCE_SECONDS):
        await model.arrived("hang")
    await codex.request("turn/interrupt", threadId=codex.thread_id, turnId=codex.turn_id)
    turn = await codex.finish_turn()
    with fail_after(PATIENCE_SECONDS):
        await model.idle()

    assert turn["status"] == "interrupted"
    assert [request.outcome for request in model.requests] == ["client gone"]


async def test_a_prompt_after_an_interrupted_one_plays_its_own_script(
    codex: Codex, model: ScriptedModel
) -> None:
    await codex.start_turn("run true\nhold first")
    with fail_after(PATIENCE_SECONDS):
        await model.arrived("first")
    await codex.request("turn/interrupt", threadId=codex.thread_id, turnId=codex.turn_id)
    await codex.finish_turn()
    await codex.play("say Second")

    assert codex.said() == ["Second"]
    assert model.requests[-1].user_message == "say Second"


async def test_a_held_turn_goes_on_when_it_is_released(codex: Codex, model: ScriptedModel) -> None:
    await codex.start_turn("say Before\nhold gate\nsay After")
    with fail_after(PATIENCE_SECONDS):
        await model.arrived("gate")
    assert [request.outcome for request in model.requests] == ["playing"]

    model.release("gate")
    await codex.finish_turn()

    assert codex.said() == ["Before", "After"]


async def test_project_instructions_are_not_taken_for_the_prompt(
    codex: Codex, model: ScriptedModel, tmp_path: Path
) -> None:
    (tmp_path / "work" / "AGENTS.md").write_text("say I am not the prompt\n")

    await codex.play("say I am the prompt")

    assert codex.said() == ["I am the prompt"]
    assert model.requests[0].user_message == "say I am the prompt"


async def test_a_steering_message_is_answered_by_its_own_script(
    codex: Codex, model: ScriptedModel
) -> None:
    await codex.start_turn("hold gate\nsay First")
    with fail_after(PATIENCE_SECONDS):
        await model.arrived("gate")
    await codex.request(
        "turn/steer",
        threadId=codex.thread_id,
        expectedTurnId=codex.turn_id,
        input=[{"type": "text", "text": "say Steered"}],
    )
    model.release("gate")
    await codex.finish_turn()

    # Whether "First" is still heard is Codex's affair: a steer may cut the response short.
    assert codex.said()[-1] == "Steered"
    assert [request.user_message for request in model.requests][1:] == ["say Steered"]


async def test_a_goal_plays_the_steps_in_its_objective(codex: Codex, model: ScriptedModel) -> None:
    await codex.play("say Ready")
    await codex.request(
        "thread/goal/set",
        threadId=codex.thread_id,
        objective='call update_goal {"status": "complete"}',
        status="active",
        tokenBudget=100_000,
    )
    await codex.finish_turn()

    assert [request.step for request in model.requests] == [0, 0, 1]
    assert '"status":"complete"' in model.requests[2].tool_outputs[0]


async def test_codex_is_quiet_about_its_configuration(codex: Codex) -> None:
    await codex.play("say Quiet")

    warnings = [m["params"] for m in codex.seen if m.get("method") in {"warning", "error"}]
    assert warnings == []


async def test_usage_is_the_same_for_the_same_script(codex: Codex) -> None:
    await codex.play("stream 10 words")
    await codex.play("stream 10 words")

    usages = [m for m in codex.seen if m.get("method") == "thread/tokenUsage/updated"]
    last = usages[-1]["params"]["tokenUsage"]["last"]
    assert (last["inputTokens"], last["outputTokens"]) == (3, 10)
