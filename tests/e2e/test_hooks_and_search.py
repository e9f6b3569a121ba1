"""What people type in Codex is found beside what we did for them, on real Codex over MCP stdio."""

import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import anyio
import pytest

from codex_control_plane_mcp.codex.aside import aside
from codex_control_plane_mcp.codex.binary import find_binary
from codex_control_plane_mcp.doors.cli.hooks_command import Command, written
from codex_control_plane_mcp.doors.cli.hooks_file import installed
from codex_control_plane_mcp.journal_hook import spool_of
from codex_control_plane_mcp.processes import terminate
from tests.e2e.stage import SOON_SECONDS, Client, Result, Stage, ToolError, gone

pytestmark = [pytest.mark.real, pytest.mark.anyio]

#: A loaded machine may be late once; it is not late each time.
TRIES = 3


async def hooks(stage: Stage, *arguments: str) -> None:
    argv = [sys.executable, "-P", "-m", "codex_control_plane_mcp.doors.cli.hooks", *arguments]
    done = await anyio.run_process(argv, env=stage.environ, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr.decode()


async def types(stage: Stage, prompt: str) -> str:
    """A person has Codex do a turn, without us; its answer."""
    argv = [str(find_binary(None)), "exec", "--skip-git-repo-check", prompt]
    with anyio.fail_after(SOON_SECONDS):
        done = await anyio.run_process(
            argv, env={**os.environ, **stage.environ}, cwd=stage.project, stdin=subprocess.DEVNULL
        )
    return done.stdout.decode().strip()


async def leave(stage: Stage) -> None:
    """The worker leaves, and what runs in Codex goes on."""
    worker = stage.worker()
    terminate(worker)
    await gone(worker)


def spooled(stage: Stage) -> list[Path]:
    return list(Path(spool_of(str(stage.state_db))).glob("*.json"))


async def found(client: Client, query: str, **more: object) -> list[Result]:
    """Search until there is something to find."""
    with anyio.fail_after(SOON_SECONDS):
        while True:
            page = await client.call("codex_search_chats", query=query, **more)
            if page["results"]:
                results: list[Result] = page["results"]
                return results
            await anyio.sleep(0.02)


async def test_a_persons_turn_is_found_within_a_second(stage: Stage, client: Client) -> None:
    await hooks(stage, "install", "--trust")
    late = []
    for number in range(TRIES):
        await types(stage, f"Please.\nsay The walnut{number} drawer runs.")
        (answer,) = await found(client, f"walnut{number} runs", match_mode="all", limit=1)
        late.append(time.time() - datetime.fromisoformat(answer["at"]).timestamp())
    assert min(late) < 1

    prompt, said = sorted(await found(client, "walnut0"), key=lambda one: one["kind"])[::-1]
    assert (prompt["kind"], said["kind"]) == ("prompt", "answer")
    assert said["snippet"] == "The walnut0 drawer runs."
    assert prompt["threadId"] == said["threadId"] == prompt["chatId"]
    assert prompt["turnId"] == said["turnId"]
    assert {prompt["source"], said["source"]} == {"hook_history"}
    assert await found(client, "walnut0", project_id="shop") == await found(client, "walnut0")


async def test_a_turn_of_ours_is_found_once_though_hooks_run_in_it(stage: Stage) -> None:
    await hooks(stage, "install", "--trust")
    async with stage.client() as client:
        receipt = await client.submit(
            "Mend the cherry drawer.\nhold door\nsay The cherry drawer runs.",
            cwd=str(stage.project),
        )
        with anyio.fail_after(SOON_SECONDS):
            await stage.model.arrived("door")
        await client.until(receipt["operationId"], "running")
    await leave(stage)
    stage.model.release("door")
    with anyio.fail_after(SOON_SECONDS):
        while not any("drawer runs" in file.read_text() for file in spooled(stage)):  # noqa: ASYNC110  # a folder does not say when there is more in it
            await anyio.sleep(0.02)

    async with stage.client() as client:
        done = await client.finished(receipt["operationId"])
        # They are taken in in the order they came: once this is found, so is all before it.
        await types(stage, "say Afterwards.")
        await found(client, "Afterwards")
        ours = await found(client, "cherry")
    assert sorted(one["kind"] for one in ours) == ["prompt", "report"]
    for one in ours:
        assert one["source"] == "tracked_turn"
        assert one["operationId"] == receipt["operationId"]
        assert (one["threadId"], one["turnId"]) == (done["threadId"], done["turnId"])


async def test_what_was_typed_while_no_worker_ran_is_found_by_the_next(stage: Stage) -> None:
    await hooks(stage, "install", "--trust")
    async with stage.client() as client:
        await client.call("codex_health_summary")
    await leave(stage)
    await types(stage, "say The oak drawer runs.")
    assert len(spooled(stage)) == 3

    async with stage.client() as client:
        prompt, _ = await found(client, "oak")
        chat = await client.call("codex_get_chat", chat_id=prompt["chatId"], format="compact")
    assert chat["source"] == "hook_history"
    assert chat["messages"] == [
        {"role": "user", "text": "say The oak drawer runs."},
        {"role": "assistant", "text": "The oak drawer runs."},
    ]


async def test_a_hook_whose_file_is_gone_is_in_nobodys_way(stage: Stage) -> None:
    gone_hook = Path("/gone/codex_control_plane_mcp/journal_hook.py")
    command = written(Command(Path(sys.executable), gone_hook, stage.state_db))
    home = Path(stage.environ["CODEX_HOME"])
    (home / "hooks.json").write_text(installed("{}", command))
    async with aside(home, None, {**os.environ, **stage.environ}) as codex:
        listed = await codex.list_hooks((str(stage.project),))
        await codex.trust_hooks({one.key: one.current_hash or "" for one in listed})
    assert len(listed) == 3
    assert await types(stage, "say The ash drawer runs.") == "The ash drawer runs."


async def test_words_that_nobody_said_and_projects_that_nobody_has(client: Client) -> None:
    page = await client.call("codex_search_chats", query="mahogany")
    assert (page["results"], page["nextCursor"], page["complete"]) == ([], None, True)
    for arguments, code in (
        ({"query": "drawer", "project_id": "nowhere"}, "CODEX_PROJECT_NOT_FOUND"),
        ({"query": "?"}, "INVALID_ARGUMENT"),
        ({"query": "drawer", "match_mode": "some"}, "INVALID_ARGUMENT"),
        ({"query": "drawer", "cursor": "x"}, "INVALID_ARGUMENT"),
    ):
        with pytest.raises(ToolError) as refused:
            await client.call("codex_search_chats", **arguments)
        assert refused.value.code == code
